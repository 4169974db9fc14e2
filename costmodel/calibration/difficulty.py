"""Forests that say how hard a row is, trained on the errors of calibration rows: see `costmodel.difficulty`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from costmodel.adaptation import FEWEST_LEFT_OUT, KinTable, Mix, filled, mixed, prior_of
from costmodel.calibration.intervals import own_factor
from costmodel.calibration.rows import Rows
from costmodel.calibration.split import folds
from costmodel.difficulty import MOST, inputs, target_of
from costmodel.features import DEVICE_RATIOS, LAYOUTS
from costmodel.forest import Forest, packed
from costmodel.residual import LearnedModel
from costmodel.trees import FlatTrees, trees_from_json
from workloads.table import Array

SETTINGS: dict[str, Any] = {
    "objective": "reg:squarederror", "tree_method": "hist", "eta": 0.2, "max_bin": 64, "max_depth": 5,
    "min_child_weight": 20, "subsample": 0.8, "colsample_bytree": 0.5, "lambda": 5.0, "nthread": 1,
}  # fmt: skip
ROUNDS = 30
"""Trees of a forest, and their settings: a seventh of the time that a model of the residual takes."""
FEWEST_ROWS, FEWEST_GROUPS = 200, 8
"""Rows and shape groups below which errors do not tell hard rows from easy ones."""
FEWEST_DEVICES = 4
"""Devices below which leaving each out does not tell hard rows of another."""
MOST_ROWS = 60_000
"""Rows that a forest is trained on; of more, a random part."""
FOLDS = 4


def train_difficulty(
    seen: Array, error: Array, seed: int, weight: Array | None = None, rising: int = 0
) -> FlatTrees:  # fmt: skip
    """Return the forest of log errors: its sum is the logarithm of an expected |log error|, up to a factor.

    Args:
        seen: features, shape (rows, width); the expected error does not fall with the last `rising` ones.
        error: log errors, shape (rows,).
        weight: of each row.
    """
    import xgboost

    if len(seen) > MOST_ROWS:
        chosen = np.sort(np.random.default_rng(seed).permutation(len(seen))[:MOST_ROWS])
        seen, error, weight = seen[chosen], error[chosen], None if weight is None else weight[chosen]
    data = xgboost.DMatrix(seen, label=target_of(error), weight=weight, nthread=1)
    settings = {**SETTINGS, "seed": seed}
    if rising:
        settings["monotone_constraints"] = (0,) * (seen.shape[1] - rising) + (1,) * rising
    booster = xgboost.train(settings, data, num_boost_round=ROUNDS)
    return trees_from_json(bytes(booster.save_raw("json")))


def crossed_difficulty(
    seen: Array, error: Array, fold: Array, seed: int, weight: Array | None = None, rising: int = 0
) -> tuple[FlatTrees, Array]:
    """Return the forest of all rows, and how hard each is by a forest that did not see its fold.

    Both are scaled so that the mean of the second is that of |log error|.
    """
    hard = np.empty(len(error))
    for i in np.unique(fold):
        there, here = fold != i, np.flatnonzero(fold == i)
        part = train_difficulty(seen[there], error[there], seed, None if weight is None else weight[there], rising)
        for some in np.array_split(here, max(1, len(here) // 4096)):
            hard[some] = np.exp(part.predict(seen[some]))
    share = np.ones(len(error)) if weight is None else weight
    scale = float((share * np.minimum(np.abs(error), MOST)).sum() / (share * hard).sum())
    whole = train_difficulty(seen, error, seed, weight, rising)
    return replace(whole, base=np.float32(whole.base + np.log(scale))), hard * scale


def learned_difficulty(rows: Rows, error: Array, model: LearnedModel, seed: int) -> tuple[FlatTrees | None, Array]:
    """Return the forest of a group of operators and how hard each row is; (None, ones) where there are too few rows."""
    if len(rows) < FEWEST_ROWS or len(np.unique(rows.group)) < FEWEST_GROUPS:
        return None, np.ones(len(rows))
    seen = inputs(rows.matrix, own_factor(rows, model))
    return crossed_difficulty(seen, error, folds(rows.group, FOLDS, seed), seed)


@dataclass(frozen=True)
class KinErrors:
    """Rows of one operator as the kin of their device would answer them: the device itself is left out.

    `seen` are the inputs of the forest, `error` log errors, `size` log seconds of the closed form, `target` the index
    of the device.
    """

    seen: Array
    error: Array
    size: Array
    target: Array

    @staticmethod
    def of(
        rows: Rows, table: KinTable, kinship: Mapping[str, tuple[float, ...]], mix: Mix, group: str
    ) -> KinErrors:  # fmt: skip
        """Return the errors of the rows of a table that some kin can answer."""
        blend, apart, away = (np.full(len(rows), np.nan) for _ in range(3))
        for index in np.unique(table.target):
            others = np.delete(np.arange(len(table.devices)), index)
            mine = np.flatnonzero(table.target == index)
            mine = mine[np.isfinite(table.factor[np.ix_(mine, others)]).any(axis=1)]
            if len(mine) < FEWEST_LEFT_OUT:
                continue
            device = table.devices[index]
            prior = prior_of(table, kinship, device, kinship[device], mix.reach)[others]
            factor, weights = mixed(filled(table.factor[np.ix_(mine, others)], prior), table.shared[mine], prior, mix)
            factor, weights = factor[:, :-1], weights[:-1]  # how far models are apart, the closed form does not tell
            blend[mine], whole = factor @ weights, max(float(weights.sum()), 1e-9)
            apart[mine] = np.sqrt(np.maximum(whole * (factor**2 @ weights) - blend[mine] ** 2, 0.0))
            far = np.array([np.linalg.norm(np.subtract(kinship[table.devices[i]], kinship[device])) for i in others])
            away[mine] = np.where(np.isfinite(table.factor[np.ix_(mine, others)]), far, np.inf).min(axis=1)
        known = np.flatnonzero(np.isfinite(blend))
        features = rows.matrix[known].copy()
        features[:, np.isin(LAYOUTS[group].names, DEVICE_RATIOS)] = 0.0  # those of a new device say nothing
        error = table.error - np.maximum(blend, table.floor)
        seen = inputs(features, blend[known], apart[known], away[known])
        return KinErrors(seen, error[known], table.size[known], table.target[known])


def kin_difficulty(parts: Sequence[KinErrors], seed: int) -> tuple[FlatTrees | None, list[Array]]:
    """Return the forest of a group's operators on devices left out, and how hard each row is by one of the others."""
    error, target = (np.concatenate([getattr(p, name) for p in parts]) for name in ("error", "target"))
    devices, inverse, counts = np.unique(target, return_inverse=True, return_counts=True)
    if len(error) < FEWEST_ROWS or len(devices) < FEWEST_DEVICES:
        return None, [np.ones(len(p.error)) for p in parts]
    weight = len(error) / (len(devices) * counts[inverse])  # no device counts twice
    seen = np.concatenate([p.seen for p in parts])
    trees, hard = crossed_difficulty(seen, error, inverse, seed, weight, rising=2)
    return trees, np.split(hard, np.cumsum([len(p.error) for p in parts])[:-1])


def with_forests(model: LearnedModel, forests: Mapping[str, FlatTrees | None]) -> LearnedModel:
    """Return the model with more forests beside its own; None stands for one that could not be trained."""
    some = {name: trees for name, trees in forests.items() if trees is not None}
    sections = {**model.forest.sections, **packed(some).sections}
    return replace(model, forest=Forest(sections, model.forest.tables), _boosters={})
