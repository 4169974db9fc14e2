"""Boosted trees of a proxy: trained by XGBoost, answered by flat trees without it (`costmodel.trees`)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from costmodel.tree_kernel import CompiledTrees, walker
from costmodel.trees import FlatTrees, trees_from_json
from workloads.table import Array

COMPILED_ROWS = 256
"""From so many designs on the compiled walk is worth its start."""
BLOCK = 4096
TRIED, HALVES = 2000, 2
"""Settings are tried on at most so many designs, in so many folds."""
QUICK = 60, 0.25
"""Rounds and rate of a trial."""
MANY = 8000
"""Designs from which on trees are more and deeper: they go on getting better."""
MANY_TRIED = 6000
"""Of many designs."""
GROWN = ((600, 120, 0.15), (MANY, 250, 0.08), (10**12, 500, 0.1))
"""Below so many designs: rounds, and the rate of learning."""
SLICE = 50
"""Trees read from XGBoost's JSON at a time: deep ones are large as text."""


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
    """How trees are grown, and the error of trials with it (root of the mean square on left-out designs).

    `least`: weight in a leaf. `columns`: share of them that a tree may split. `ridge`: pull of leaves towards 0.
    `worth`: designs count by their value, as they do in an error over the mean. `bare`: knobs alone are split, and
    nothing that the closed form says.
    """

    depth: int
    least: float
    columns: float = 0.6
    ridge: float = 1.0
    worth: bool = False
    bare: bool = False
    error: float = math.inf


SETTINGS = (Setting(5, 4.0), Setting(8, 2.0), Setting(10, 1.0))
"""Tried by cross validation."""
DEEP = (Setting(12, 0.3, 1.0, 0.3, worth=True), Setting(12, 0.3, 1.0, 0.3, worth=True, bare=True))
"""Tried too of many designs. Where runs have no noise: interactions of many knobs, which a tree finds only if it may
split them all."""


@dataclass(frozen=True)
class Lesson:
    """What trees learn: float32 features (designs, features) of which the first `own` are of knobs, values (each the
    mean of so many runs), what a design counts where its value does, and folds."""

    features: Array
    own: int
    values: Array
    counts: Array
    worth: Array
    folds: Array

    def of(self, which: Array | slice) -> Lesson:
        """Return some of the designs."""
        cut = (self.values[which], self.counts[which], self.worth[which], self.folds[which])
        return Lesson(self.features[which], self.own, *cut)

    def grown(self, setting: Setting, rounds: int, rate: float) -> Any:
        """Return XGBoost's model."""
        weight = self.counts * self.worth if setting.worth else self.counts
        how = setting.depth, setting.least, rounds, rate, setting.columns, setting.ridge
        return boosted(self.seen(setting), self.values, weight, *how)

    def seen(self, setting: Setting) -> Array:
        """Return features as a setting sees them: a column that is all 0 is never split."""
        if not setting.bare:
            return self.features
        found = self.features.copy()
        found[:, self.own :] = 0.0
        return found


def boosted(
    features: Array, values: Array, counts: Array, depth: int, least: float = 3.0, rounds: int = 500,
    rate: float = 0.05, columns: float = 0.6, ridge: float = 1.0,
) -> Any:  # fmt: skip
    """Return XGBoost's model of values, weighed by counts. One thread: the same bits every time."""
    import xgboost

    data = xgboost.DMatrix(features, values, weight=counts, nthread=1)
    asked = {
        "max_depth": depth, "eta": rate, "subsample": 0.8, "colsample_bytree": columns, "min_child_weight": least,
        "lambda": ridge, "max_bin": 128, "nthread": 1, "seed": 7,
    }  # fmt: skip
    return xgboost.train(asked, data, rounds)


def tried(lesson: Lesson) -> Setting:
    """Return the best setting on left-out folds of some designs."""
    many = len(lesson.values) >= MANY
    some = lesson.of(slice(0, MANY_TRIED if many else TRIED))
    some = replace(some, folds=some.folds % HALVES)
    guessed = lesson.own < lesson.features.shape[1]
    known = SETTINGS + tuple(one for one in DEEP if many and (guessed or not one.bare))
    return min((_trial(some, one) for one in known), key=lambda one: one.error)


def _trial(some: Lesson, setting: Setting) -> Setting:
    """Return a setting with its error on left-out designs."""
    off = _left_out(some, setting, *QUICK) - some.values
    return replace(setting, error=float(np.sqrt((off**2).mean())))


def fitted_trees(lesson: Lesson, setting: Setting) -> tuple[Boosted, Array]:
    """Return trees of values, and what they say of each left-out fold."""
    rounds, rate = next((many, slow) for most, many, slow in GROWN if len(lesson.values) < most)
    return flat(lesson.grown(setting, rounds, rate)), _left_out(lesson, setting, rounds, rate)


def flat(model: Any) -> Boosted:
    """Return XGBoost's model as flat trees, some at a time: deep ones are large as text."""
    rounds = model.num_boosted_rounds()
    parts = [
        trees_from_json(bytes(model[at : min(at + SLICE, rounds)].save_raw("json"))) for at in range(0, rounds, SLICE)
    ]
    depth = max(part.depth for part in parts)
    levels = [_as_deep(part, depth) for part in parts]
    split, limit = (
        tuple(np.concatenate([each[kind][level] for each in levels]) for level in range(depth)) for kind in (0, 1)
    )
    leaves = np.concatenate([each[2] for each in levels])
    return Boosted(FlatTrees(split, limit, leaves, parts[0].base, parts[0].width))


def _as_deep(trees: FlatTrees, depth: int) -> tuple[list[Array], list[Array], Array]:
    """Return splits, thresholds and leaves of trees with levels added that send every row to the left."""
    split, limit = list(trees.features), list(trees.thresholds)
    for level in range(trees.depth, depth):
        split.append(np.zeros(trees.trees << level, dtype=np.intp))
        limit.append(np.full(trees.trees << level, np.inf, dtype=np.float32))
    return split, limit, np.repeat(trees.leaves, 1 << (depth - trees.depth))


def _left_out(lesson: Lesson, setting: Setting, rounds: int, rate: float) -> Array:
    """Return what trees of the other folds say of each fold."""
    import xgboost

    found, features = np.empty(len(lesson.values)), lesson.seen(setting)
    for fold in np.unique(lesson.folds):
        mine = lesson.folds == fold
        model = lesson.of(~mine).grown(setting, rounds, rate)
        found[mine] = model.predict(xgboost.DMatrix(features[mine], nthread=1))
    return found
