"""Trees of the power model: trained by XGBoost, kept as plain numbers of a few dozen kilobytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from costmodel.trees import MAX_DEPTH, MAX_TREES, FlatTrees, trees_from_json
from workloads.table import Array

DEPTH = 5
THREADS = 1
"""One thread: the same rows and seed give the same bytes."""
SETTINGS: dict[str, Any] = {
    "objective": "reg:absoluteerror", "tree_method": "hist", "max_depth": DEPTH, "eta": 0.1, "max_bin": 128,
    "min_child_weight": 5, "subsample": 0.8, "colsample_bytree": 0.8, "lambda": 1.0,
}  # fmt: skip
"""The objective is the median: means follow the readings that are of something else."""


def train_trees(features: Array, target: Array, weight: Array, monotone: int, rounds: int, seed: int) -> FlatTrees:
    """Return trees on `target` (rows,) that never fall in the first `monotone` features (float32, (rows, features))."""
    import xgboost

    rising = tuple(int(i < monotone) for i in range(features.shape[1]))
    data = xgboost.DMatrix(features, label=target.astype(np.float32), weight=weight, nthread=THREADS)
    settings = {**SETTINGS, "nthread": THREADS, "seed": seed, "monotone_constraints": str(rising)}
    booster = xgboost.train(settings, data, num_boost_round=rounds)
    return trees_from_json(bytes(booster.save_raw("json")))


def trees_to_plain(trees: FlatTrees) -> dict[str, Any]:
    """Return trees as lists of numbers; a threshold of infinity (a leaf above the last level) is None."""
    return {
        "width": trees.width, "base": float(trees.base),
        "features": [level.tolist() for level in trees.features],
        "thresholds": [[None if np.isinf(t) else _short(t) for t in level] for level in trees.thresholds],
        "leaves": [_short(leaf) for leaf in trees.leaves],
    }  # fmt: skip


def _short(value: np.float32) -> float:
    """Return the shortest decimal that reads back as the same float32."""
    return float(np.format_float_scientific(value, unique=True, trim="-"))


def trees_from_plain(plain: Mapping[str, Any], width: int) -> FlatTrees:
    """Return the trees that `trees_to_plain` wrote down.

    Raises:
        ValueError, KeyError, TypeError: anything else.
    """
    levels, leaves = plain["features"], _numbers(plain["leaves"])
    depth = len(levels)
    count = len(leaves) >> depth
    if plain["width"] != width or not 1 <= depth <= MAX_DEPTH or not 1 <= count <= MAX_TREES:
        raise ValueError("trees")
    if len(leaves) != count << depth or len(plain["thresholds"]) != depth:
        raise ValueError("trees")
    features, thresholds = [], []
    for level, (codes, cuts) in enumerate(zip(levels, plain["thresholds"], strict=True)):
        feature = np.array(codes)
        cut = _numbers([np.inf if value is None else value for value in cuts], np.inf)
        if feature.dtype.kind != "i" or feature.shape != (count << level,) or cut.shape != feature.shape:
            raise ValueError("level")
        if feature.min() < 0 or feature.max() >= width:
            raise ValueError("feature")
        features.append(feature.astype(np.intp))
        thresholds.append(cut)
    return FlatTrees(tuple(features), tuple(thresholds), leaves, _numbers([plain["base"]])[0], width)


def _numbers(values: Any, most: float = 1e30) -> Array:
    array = np.array(values, dtype=np.float64)
    if array.ndim != 1 or np.isnan(array).any() or (np.abs(array) > most).any():
        raise ValueError("numbers")
    return array.astype(np.float32)
