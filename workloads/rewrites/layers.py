"""Rewrites of whole layers: fewer repeats, or repeats that share their parameters."""

from __future__ import annotations

from dataclasses import replace

from foundation.checks import whole_number
from foundation.errors import BadValueError
from workloads.graph import WorkloadGraph
from workloads.rewrites.matching import find_block, with_block


def drop_layers(graph: WorkloadGraph, block: str, keep: int) -> WorkloadGraph:
    """Return the graph with `keep` of a block's repeats (0: without the block). Parameters and state go with them.

    Raises:
        UnknownNameError: no such block.
        BadValueError: `keep` is not a whole number from 0 to the block's count, or nothing would be left.
    """
    found = find_block(graph, block)
    kept = whole_number(f"repeats of block '{block}' to keep", keep, low=0, high=found.count)
    if kept == 0 and len(graph.blocks) == 1:
        raise BadValueError(f"'{block}' is the only block of '{graph.name}'; keep 1 to {found.count} of its repeats.")
    return with_block(graph, block, replace(found, count=kept) if kept else None)


def share(graph: WorkloadGraph, block: str) -> WorkloadGraph:
    """Return the graph with one set of parameters for all repeats of a block. The work stays the same.

    Raises:
        UnknownNameError: no such block.
    """
    return with_block(graph, block, replace(find_block(graph, block), shared=True))
