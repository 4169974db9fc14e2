"""Sparse and narrow attention: kernels that skip pairs of queries and keys, or compute in another format."""

from __future__ import annotations

from dataclasses import replace

from foundation.checks import finite_number
from foundation.formats import number_format
from workloads.graph import Block, Operator, WorkloadGraph
from workloads.rewrites.matching import matching, rewritten


def sparse_attention(graph: WorkloadGraph, pattern: str, density: float = 1.0, dtype: str = "") -> WorkloadGraph:
    """Return the graph whose matching attention evaluates the share `density` of its pairs, computing in `dtype`.

    Queries and results keep their shapes, and the keys that are touched stay those of the whole sequence; choosing the
    pairs, reordering tokens and casting cost operators of their own, which are not added here.

    Raises:
        UnknownNameError: the pattern matches no attention, or no such format.
        BadValueError: a density outside (0, 1].
    """
    fits = matching(graph, pattern, among=("attention", "mla"))
    share = finite_number("density", density, high=1.0, strict=True)
    name = number_format(dtype).name if dtype else ""

    def change(block: Block, o: Operator) -> list[Operator]:
        if not fits(block, o):
            return [o]
        left = float(o.shape.get("density", 1.0)) * share
        return [replace(o, shape={**o.shape, "density": left}, dtype=name or o.dtype, kv_dtype=name or o.kv_dtype)]

    return rewritten(graph, change)
