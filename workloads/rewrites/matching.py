"""What rewrites share: operators by pattern, and blocks with their operators replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from foundation.errors import UnknownNameError
from workloads.graph import Block, Operator, WorkloadGraph

Matcher = Callable[[Block, Operator], bool]


def matching(graph: WorkloadGraph, pattern: str, *, among: Iterable[str] = ()) -> Matcher:
    """Return a test for operators whose name, or `block/name`, fits an fnmatch pattern.

    `among`: only operators of these families count as matches.

    Raises:
        UnknownNameError: no operator (of these families) fits.
    """
    families = frozenset(among)

    def fits(block: Block, o: Operator) -> bool:
        named = fnmatchcase(o.name, pattern) or fnmatchcase(f"{block.name}/{o.name}", pattern)
        return named and (not families or o.op in families)

    if not any(fits(block, o) for block in graph.blocks for o in block.operators):
        known = {o.name: None for block in graph.blocks for o in block.operators if not families or o.op in families}
        hint = f"The rewrite applies to operators of {', '.join(sorted(families))}." if families else ""
        raise UnknownNameError("operator pattern", pattern, known, hint)
    return fits


def find_block(graph: WorkloadGraph, name: str) -> Block:
    """Return the block of that name. Raises UnknownNameError."""
    for block in graph.blocks:
        if block.name == name:
            return block
    raise UnknownNameError("block", name, [block.name for block in graph.blocks])


def rewritten(graph: WorkloadGraph, change: Callable[[Block, Operator], Iterable[Operator]]) -> WorkloadGraph:
    """Return the graph with each operator replaced by what `change` returns, in place."""
    blocks = []
    for block in graph.blocks:
        operators = tuple(part for o in block.operators for part in change(block, o))
        blocks.append(block if operators == block.operators else replace(block, operators=operators))
    return replace(graph, blocks=tuple(blocks))


def with_block(graph: WorkloadGraph, name: str, new: Block | None) -> WorkloadGraph:
    """Return the graph with one block replaced, or left out."""
    blocks = [new if block.name == name else block for block in graph.blocks]
    return replace(graph, blocks=tuple(block for block in blocks if block is not None))


def readers(block: Block) -> dict[str, list[Operator]]:
    """Return for each name in a block the operators that read it."""
    found: dict[str, list[Operator]] = {}
    for o in block.operators:
        for source in o.inputs:
            found.setdefault(source, []).append(o)
    return found
