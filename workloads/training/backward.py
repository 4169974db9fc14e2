"""The backward graph: blocks in reverse, gradients summed where an output had several readers, recomputation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from foundation.errors import BadValueError, UnknownNameError
from workloads.graph import BLOCK_INPUT, Block, Operator, Shard, WorkloadGraph
from workloads.training.gradients import (
    adds_to_residual,
    input_gradient,
    is_learnable,
    is_two_activations,
    merged_dgrad,
    passes_gradient_on,
    weight_gradient,
    wide_format,
)
from workloads.training.tensors import output_elements

Recompute = Literal["none", "selective", "full"]
RECOMPUTE: tuple[Recompute, ...] = ("none", "selective", "full")


def check_recompute(recompute: str) -> None:
    """Raises UnknownNameError unless `recompute` is one of `RECOMPUTE`."""
    if recompute not in RECOMPUTE:
        raise UnknownNameError("recompute", recompute, RECOMPUTE, f"It is one of {', '.join(RECOMPUTE)}.")


def backward_graph(graph: WorkloadGraph, recompute: Recompute = "none") -> WorkloadGraph:
    """Return what yields all gradients of a forward graph, from its last block to its first trainable one.

    Raises:
        BadValueError: nothing in the graph is trainable.
    """
    blocks: list[Block] = []
    for block, entering in with_entering_gradient(graph):
        again = recomputed_names(block, recompute, is_end=block.name == graph.blocks[-1].name)
        operators = _backward_block(block, entering, again)
        if operators:
            blocks.append(replace(block, operators=tuple(operators)))
    if not blocks:
        raise BadValueError(f"'{graph.name}' has nothing to train: every operator is frozen or has no parameters.")
    return replace(graph, name=f"{graph.name}.backward", blocks=tuple(reversed(blocks)))


def with_entering_gradient(graph: WorkloadGraph) -> list[tuple[Block, bool]]:
    """Return each block and whether what enters it needs a gradient, in forward order.

    The first repeat of a block above which everything is frozen needs none where the others do: it stands alone.
    """
    found: list[tuple[Block, bool]] = []
    entering = False
    for block in graph.blocks:
        leaving = needs_gradient(block.operators, entering)[block.operators[-1].name] if block.operators else entering
        if block.count > 1 and leaving and not entering:
            found.append((replace(block, name=f"{block.name}.first", count=1), False))
            found.append((replace(block, count=block.count - 1), True))
        else:
            found.append((block, entering))
        entering = leaving
    return found


def needs_gradient(operators: Sequence[Operator], entering: bool) -> dict[str, bool]:
    """Return for each operator of a block whether a gradient of its output is needed."""
    needs = {BLOCK_INPUT: entering}
    for o in operators:
        needs[o.name] = is_learnable(o) or any(needs[source] for source in o.inputs)
    return needs


def recomputed_names(block: Block, recompute: Recompute, *, is_end: bool = False) -> frozenset[str]:
    """Return the operators of a block that run again in the backward pass.

    `full`: all of them, from the block's input; not a last block that stands once (its backward begins at once).
    `selective`: from the scores to the last operator before the product with the values, which are quadratic in the
    sequence (Korthikanti et al. 2022, section 5). A fused attention kernel recomputes them itself.
    """
    if recompute == "full":
        return frozenset() if is_end and block.count == 1 else frozenset(o.name for o in block.operators)
    if recompute == "none":
        return frozenset()
    by_name = {o.name: o for o in block.operators}
    again: set[str] = set()
    for o in block.operators:
        if is_two_activations(o):
            chain = _scores_before(o, by_name)
            again |= chain
    return frozenset(again)


def _scores_before(o: Operator, by_name: dict[str, Operator]) -> set[str]:
    """Return scores, softmax and what is pointwise between, if that is what `o` multiplies with the values."""
    found: set[str] = set()
    at = by_name.get(o.inputs[0])
    while at is not None and at.op in ("softmax", "elementwise"):
        found.add(at.name)
        at = by_name.get(at.inputs[0])
    has_softmax = any(by_name[name].op == "softmax" for name in found)
    return found | {at.name} if at is not None and is_two_activations(at) and has_softmax else set()


class _Sums:
    """Gradients that arrive at each tensor of a block, by the names of the operators that yield them."""

    def __init__(self) -> None:
        self.parts: dict[str, list[str]] = defaultdict(list)
        self.operators: list[Operator] = []

    def gather(self, o: Operator, tensor: str, elements: Any) -> tuple[str, ...]:
        """Return the one gradient of `tensor`, after an operator that adds the parts where there are several."""
        parts = tuple(self.parts[tensor])
        if len(parts) < 2:
            return parts
        name = f"{tensor or 'input'}.accumulate"
        shape = {"rows": 1, "hidden": elements, "operands": len(parts), "flop_per_element": len(parts) - 1}
        if "phase" in o.shape:
            shape["phase"] = o.shape["phase"]
        dtype, shard = wide_format(o.dtype), _split_of(o, tensor)
        self.operators.append(Operator(name, "elementwise", shape, dtype=dtype, inputs=parts, shard=shard))
        return (name,)


def _split_of(o: Operator, tensor: str) -> Shard:
    return "hidden" if tensor and o.shard in ("column", "heads", "hidden") else ""


def _backward_block(block: Block, entering: bool, again: frozenset[str]) -> list[Operator]:
    needs = needs_gradient(block.operators, entering)
    siblings = _column_siblings(block, needs)
    sums, waiting = _Sums(), defaultdict[str, tuple[str, ...]](tuple)
    sums.operators += _recomputed(block, again)
    if block.operators:
        sums.parts[block.operators[-1].name].append(BLOCK_INPUT)
    for o in reversed(block.operators):
        if not needs[o.name] or not sums.parts[o.name]:
            continue
        together = adds_to_residual(o)
        arriving = tuple(sums.parts[o.name]) if together else sums.gather(o, o.name, output_elements(o))
        wanted = [source for source in o.inputs if needs[source] and o.op != "embedding"]  # indices have no gradient
        if passes_gradient_on(o):
            for source in wanted:
                sums.parts[source].append(arriving[0])
            continue
        reads = arriving + tuple(f"{x}.recompute" for x in (*o.inputs, o.name) if x in again)
        if is_learnable(o):
            sums.operators += weight_gradient(o, reads)
        group = siblings.get(o.name, [o])
        waiting[group[0].name] += reads
        if not wanted and (is_learnable(o) and o.op in ("gemm", "conv2d", "embedding")):
            continue
        if group[0].name == o.name:
            _append_dgrad(sums, o, group, waiting[o.name], wanted)
    return _ending_with_input_gradient(block, sums, entering)


def _append_dgrad(
    sums: _Sums, o: Operator, group: list[Operator], arriving: tuple[str, ...], wanted: list[str]
) -> None:  # fmt: skip
    reads = tuple(dict.fromkeys(arriving))
    parts = [merged_dgrad(group, reads)] if len(group) > 1 else input_gradient(o, reads)
    sums.operators += parts
    for source in wanted:
        second = is_two_activations(o) and source == o.inputs[1]
        sums.parts[source].append(parts[1 if second else 0].name if is_two_activations(o) else parts[-1].name)


def _recomputed(block: Block, again: frozenset[str]) -> list[Operator]:
    """Return the forward operators that run again; what enters the block is a kept checkpoint."""
    return [
        replace(
            o, name=f"{o.name}.recompute", parameters=0.0, active_parameters=None, state_elements=0.0,
            inputs=tuple(f"{source}.recompute" for source in o.inputs if source in again),
        )
        for o in block.operators
        if o.name in again
    ]  # fmt: skip


def _column_siblings(block: Block, needs: dict[str, bool]) -> dict[str, list[Operator]]:
    """Return by name the groups of column-parallel gemms that read one input: their gradients share one all-reduce."""
    groups: dict[tuple[Any, ...], list[Operator]] = defaultdict(list)
    read = {source for o in block.operators for source in o.inputs} | {o.name for o in block.operators[-1:]}
    for o in block.operators:
        plain = o.op == "gemm" and o.shard == "column" and np.all(np.asarray(o.shape.get("batch", 1)) == 1)
        if plain and len(o.inputs) == 1 and needs[o.inputs[0]] and o.name in read:
            groups[(o.inputs, o.dtype, float(o.shape["k"]))].append(o)
    return {o.name: group for group in groups.values() if len(group) > 1 for o in group}


def _ending_with_input_gradient(block: Block, sums: _Sums, entering: bool) -> list[Operator]:
    """Return the operators so that the gradient of the block's input is what leaves the backward block."""
    if not entering or not block.operators:
        return sums.operators
    reader = next((o for o in block.operators if BLOCK_INPUT in o.inputs), block.operators[0])
    last = sums.gather(reader, BLOCK_INPUT, output_elements(block.operators[-1]))
    first = [o for o in sums.operators if o.name not in last]
    return first + [o for o in sums.operators if o.name in last]
