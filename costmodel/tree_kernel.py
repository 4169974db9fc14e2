"""Flat trees by compiled loops: the sums of `trees.FlatTrees` to the last bit, where numba is installed.

Rows go through one tree after the other, so that a tree's nodes stay in the first cache. Nothing is compiled before a
process has asked for many rows (`residual.COMPILED_ROWS`, or `residual.LearnedModel.warmed`), so that a single answer
never waits for it.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any

import numpy as np

from costmodel.trees import FlatTrees
from workloads.table import Array

Walk = Callable[[Array, Array, Array, Array, int, Array], None]


@functools.cache
def walker() -> Walk | None:
    """Return the compiled walk over trees, or None where numba is absent; the first call takes about a second."""
    if importlib.util.find_spec("numba") is None:
        return None
    import numba

    options: dict[str, Any] = {"error_model": "numpy", "nogil": True}
    try:
        made = numba.njit(_SIGNATURE, cache=True, **options)(_walk)
    except RuntimeError:  # no folder for the cache: neither beside the source nor the user's
        made = numba.njit(_SIGNATURE, **options)(_walk)
    return made


_SIGNATURE = "void(float32[:,::1], uint8[:,::1], float32[:,::1], float32[:,::1], int64, float32[::1])"


def _walk(rows: Any, feature: Any, threshold: Any, leaves: Any, depth: int, sums: Any) -> None:
    """Add each row's leaf of every tree to `sums`; node 1 is a tree's root, 2n and 2n + 1 the children of n.

    All rows take a step before any takes the next: their loads do not wait for each other.
    """
    first, count = 1 << depth, rows.shape[0]
    at = np.empty(count, dtype=np.uint32)
    for tree in range(feature.shape[0]):
        split, limit, leaf = feature[tree], threshold[tree], leaves[tree]
        for row in range(count):
            at[row] = 2 + (rows[row, split[1]] >= limit[1])
        for _ in range(1, depth):
            for row in range(count):
                node = at[row]
                at[row] = 2 * node + (rows[row, split[node]] >= limit[node])
        for row in range(count):
            sums[row] += leaf[at[row] - first]


class CompiledTrees:
    """One forest as the walk takes it: heaps of shape (trees, 2^depth)."""

    def __init__(self, trees: FlatTrees) -> None:
        heap = (trees.trees, 1 << trees.depth)
        self.depth, self.base = trees.depth, trees.base
        self.feature, self.threshold = np.zeros(heap, dtype=np.uint8), np.full(heap, np.inf, dtype=np.float32)
        for level, (feature, threshold) in enumerate(zip(trees.features, trees.thresholds, strict=True)):
            part = slice(1 << level, 2 << level)
            self.feature[:, part] = feature.reshape(trees.trees, -1)
            self.threshold[:, part] = threshold.reshape(trees.trees, -1)
        self.leaves = np.ascontiguousarray(trees.leaves.reshape(heap), dtype=np.float32)

    def predict(self, rows: Array, walk: Walk) -> Array:
        """Return the sum over trees of each row of a float32 matrix in C order (rows, features), as float32."""
        sums = np.full(len(rows), self.base, dtype=np.float32)
        walk(rows, self.feature, self.threshold, self.leaves, self.depth, sums)
        return sums
