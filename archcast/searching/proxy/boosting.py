"""Boosted trees of a proxy: trained by XGBoost, answered by flat trees without it (`costmodel.trees`)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from costmodel.tree_kernel import CompiledTrees, walker
from costmodel.trees import FlatTrees, trees_from_json
from workloads.table import Array

COMPILED_ROWS = 256
"""From so many designs on the compiled walk is worth its start."""
BLOCK = 4096
DEPTHS = (4, 6, 8)
"""Tried by cross validation on at most `TRIED` designs."""
TRIED = 3000


@dataclass(frozen=True)
class Boosted:
    """One forest. Both ways to evaluate it agree to the last bit."""

    trees: FlatTrees

    @cached_property
    def compiled(self) -> CompiledTrees | None:
        return CompiledTrees(self.trees) if self.trees.depth and walker() is not None else None

    def predict(self, features: Array) -> Array:
        """Return sums of leaves for float32 features (designs, features)."""
        if len(features) >= COMPILED_ROWS and self.compiled is not None:
            walk = walker()
            assert walk is not None
            parts = [self.compiled.predict(np.ascontiguousarray(features[at : at + BLOCK]), walk)
                     for at in range(0, len(features), BLOCK)]  # fmt: skip
        else:
            parts = [self.trees.predict(features[at : at + 64]) for at in range(0, len(features), 64)]
        return np.concatenate(parts).astype(float) if parts else np.zeros(0)


def boosted(features: Array, values: Array, counts: Array, depth: int, rounds: int = 500, rate: float = 0.05) -> Any:
    """Return XGBoost's model of values, each the mean of so many runs. One thread: the same bits every time."""
    import xgboost

    data = xgboost.DMatrix(features, values, weight=counts, nthread=1)
    asked = {
        "max_depth": depth, "eta": rate, "subsample": 0.8, "colsample_bytree": 0.6, "min_child_weight": 3.0,
        "max_bin": 128, "nthread": 1, "seed": 7,
    }  # fmt: skip
    return xgboost.train(asked, data, rounds)


def fitted_trees(features: Array, values: Array, counts: Array, folds: Array) -> tuple[Boosted, Array, int]:
    """Return trees of values, what they say of each left-out fold, and their depth, chosen on left-out folds."""
    some = np.arange(min(len(values), TRIED))
    tried = {
        depth: float(((_left_out(features[some], values[some], counts[some], folds[some], depth, 200) - values[some]) ** 2).mean())  # noqa: E501
        for depth in DEPTHS
    }  # fmt: skip
    depth = min(tried, key=lambda one: tried[one])
    model = boosted(features, values, counts, depth)
    found = Boosted(trees_from_json(bytes(model.save_raw("json"))))
    return found, _left_out(features, values, counts, folds, depth), depth


def _left_out(features: Array, values: Array, counts: Array, folds: Array, depth: int, rounds: int = 500) -> Array:
    """Return what trees of the other folds say of each fold."""
    import xgboost

    found = np.empty(len(values))
    for fold in np.unique(folds):
        mine = folds == fold
        model = boosted(features[~mine], values[~mine], counts[~mine], depth, rounds, 0.05 if rounds > 300 else 0.1)
        found[mine] = model.predict(xgboost.DMatrix(features[mine], nthread=1))
    return found
