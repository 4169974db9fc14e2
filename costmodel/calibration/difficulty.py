"""Forests that say how hard a row is, trained on the errors of calibration rows: see `costmodel.difficulty`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from costmodel.calibration.intervals import own_factor
from costmodel.calibration.rows import Rows
from costmodel.calibration.split import folds
from costmodel.difficulty import MOST, inputs, target_of
from costmodel.forest import Forest, packed
from costmodel.residual import LearnedModel
from costmodel.trees import FlatTrees, trees_from_json
from workloads.table import Array

SETTINGS: dict[str, Any] = {
    "objective": "reg:squarederror", "tree_method": "hist", "eta": 0.15, "max_bin": 64, "max_depth": 4,
    "min_child_weight": 20, "subsample": 0.8, "colsample_bytree": 0.5, "lambda": 5.0, "nthread": 1,
}  # fmt: skip
ROUNDS = 60
"""Trees of a forest, and their settings: a seventh of the work of a model of the residual."""
FEWEST_ROWS, FEWEST_GROUPS = 200, 8
"""Rows and shape groups below which errors do not tell hard rows from easy ones."""
MOST_ROWS = 60_000
"""Rows that a forest is trained on; of more, a random part."""
FOLDS = 4


def train_difficulty(seen: Array, error: Array, seed: int, weight: Array | None = None) -> FlatTrees:
    """Return the forest of log errors: its sum is the logarithm of an expected |log error|, up to a factor."""
    import xgboost

    if len(seen) > MOST_ROWS:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(seen))[:MOST_ROWS])
        seen, error, weight = seen[chosen], error[chosen], None if weight is None else weight[chosen]
    data = xgboost.DMatrix(seen, label=target_of(error), weight=weight, nthread=1)
    booster = xgboost.train({**SETTINGS, "seed": seed}, data, num_boost_round=ROUNDS)
    return trees_from_json(bytes(booster.save_raw("json")))


def crossed_difficulty(
    seen: Array, error: Array, fold: Array, seed: int, weight: Array | None = None
) -> tuple[FlatTrees, Array]:
    """Return the forest of all rows, and how hard each is by a forest that did not see its fold.

    Both are scaled so that the mean of the second is that of |log error|.
    """
    hard = np.empty(len(error))
    for i in np.unique(fold):
        there, here = fold != i, np.flatnonzero(fold == i)
        part = train_difficulty(seen[there], error[there], seed, None if weight is None else weight[there])
        for some in np.array_split(here, max(1, len(here) // 4096)):
            hard[some] = np.exp(part.predict(seen[some]))
    share = np.ones(len(error)) if weight is None else weight
    scale = float((share * np.minimum(np.abs(error), MOST)).sum() / (share * hard).sum())
    whole = train_difficulty(seen, error, seed, weight)
    return replace(whole, base=np.float32(whole.base + np.log(scale))), hard * scale


def learned_difficulty(rows: Rows, error: Array, model: LearnedModel, seed: int) -> tuple[FlatTrees | None, Array]:
    """Return the forest of a group of operators and how hard each row is; (None, ones) where there are too few rows."""
    if len(rows) < FEWEST_ROWS or len(np.unique(rows.group)) < FEWEST_GROUPS:
        return None, np.ones(len(rows))
    seen = inputs(rows.matrix, own_factor(rows, model))
    return crossed_difficulty(seen, error, folds(rows.group, FOLDS, seed), seed)


def with_forests(model: LearnedModel, forests: Mapping[str, FlatTrees | None]) -> LearnedModel:
    """Return the model with more forests beside its own; None stands for one that could not be trained."""
    some = {name: trees for name, trees in forests.items() if trees is not None}
    sections = {**model.forest.sections, **packed(some).sections}
    return replace(model, forest=Forest(sections, model.forest.tables), _boosters={})
