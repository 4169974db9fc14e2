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
SETTINGS = ((5, 4.0), (8, 2.0), (10, 1.0))
"""(Depth, least designs in a leaf) tried by cross validation on at most `TRIED` designs."""
TRIED, HALVES = 2000, 2
QUICK = 60, 0.25
"""Rounds and rate of a trial."""
MANY = 8000
"""Designs from which on trees are more and slower to learn: they go on getting better."""
GROWN = ((600, 120, 0.15), (MANY, 250, 0.08), (10**12, 1200, 0.05))
"""Below so many designs: rounds, and the rate of learning."""


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


@dataclass(frozen=True)
class Setting:
    """How trees are grown, and the error of trials with it (root of the mean square on left-out designs)."""

    depth: int
    least: float
    error: float


def boosted(
    features: Array, values: Array, counts: Array, depth: int, least: float = 3.0, rounds: int = 500, rate: float = 0.05
) -> Any:
    """Return XGBoost's model of values, each the mean of so many runs. One thread: the same bits every time."""
    import xgboost

    data = xgboost.DMatrix(features, values, weight=counts, nthread=1)
    asked = {
        "max_depth": depth, "eta": rate, "subsample": 0.8, "colsample_bytree": 0.6, "min_child_weight": least,
        "max_bin": 128, "nthread": 1, "seed": 7,
    }  # fmt: skip
    return xgboost.train(asked, data, rounds)


def tried(features: Array, values: Array, counts: Array, folds: Array) -> Setting:
    """Return the best setting on left-out folds of some designs."""
    some = slice(0, TRIED)
    cut = features[some], values[some], counts[some], folds[some] % HALVES
    found = [
        Setting(depth, least, float(np.sqrt(((_left_out(*cut, depth, least, *QUICK) - cut[1]) ** 2).mean())))
        for depth, least in SETTINGS
    ]
    return min(found, key=lambda one: one.error)


def fitted_trees(
    features: Array, values: Array, counts: Array, folds: Array, setting: Setting
) -> tuple[Boosted, Array]:  # fmt: skip
    """Return trees of values, and what they say of each left-out fold."""
    rounds, rate = next((many, slow) for most, many, slow in GROWN if len(values) < most)
    model = boosted(features, values, counts, setting.depth, setting.least, rounds, rate)
    found = Boosted(trees_from_json(bytes(model.save_raw("json"))))
    return found, _left_out(features, values, counts, folds, setting.depth, setting.least, rounds, rate)


def _left_out(
    features: Array, values: Array, counts: Array, folds: Array, depth: int, least: float, rounds: int, rate: float
) -> Array:  # fmt: skip
    """Return what trees of the other folds say of each fold."""
    import xgboost

    found = np.empty(len(values))
    for fold in np.unique(folds):
        mine = folds == fold
        model = boosted(features[~mine], values[~mine], counts[~mine], depth, least, rounds, rate)
        found[mine] = model.predict(xgboost.DMatrix(features[mine], nthread=1))
    return found
