"""Boosted trees as flat arrays: the same model that XGBoost trained, evaluated by numpy without importing it.

A tree is stored as a full binary heap of the model's greatest depth, level by level, so that a step down is one
gather and one comparison for all rows and trees at once. A leaf above the last level sends every row to its left.
The sum runs over trees in XGBoost's order and precision, so both agree to the last bits of float32. For one row the
comparisons come first: a histogram has few different ones, and a step down only looks up what one said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from foundation.errors import BadValueError
from workloads.table import Array

MAX_DEPTH = 12
MAX_TREES = 20_000


@dataclass(frozen=True)
class FlatTrees:
    """Trees as one array a level.

    `features[l]` and `thresholds[l]` have trees x 2^l entries, `leaves` trees x 2^depth; a row goes left where its
    feature is below the threshold (float32, as in XGBoost). `anchor` are the weights of what the trees correct
    (`costmodel.anchors`), which `predict` does not add.
    """

    features: tuple[Array, ...]
    thresholds: tuple[Array, ...]
    leaves: Array
    base: np.float32
    width: int
    anchor: Array | None = None

    @property
    def depth(self) -> int:
        return len(self.features)

    @property
    def trees(self) -> int:
        return len(self.leaves) >> self.depth

    def predict(self, rows: Array) -> Array:
        """Return the sum over trees of each row of a float32 matrix (rows, features), as float32."""
        count = len(rows)
        if count == 1:
            return self._of_one(rows[0])
        flat = np.ascontiguousarray(rows).ravel()
        start = (np.arange(count) * rows.shape[1])[:, None]
        node = np.broadcast_to(np.arange(self.trees), (count, self.trees))
        for feature, threshold in zip(self.features, self.thresholds, strict=True):
            right = flat.take(feature.take(node) + start) >= threshold.take(node)
            node = node + node + right
        return self._sum(self.leaves.take(node))

    @cached_property
    def _questions(self) -> tuple[Array, Array, Array, tuple[Array, ...]]:
        """What splits ask: (feature, threshold) of every different comparison, the roots, and each node's comparison by
        level."""
        feature, threshold = (np.concatenate(levels or (np.zeros(0),)) for levels in (self.features, self.thresholds))
        keys = (feature.astype(np.uint64) << np.uint64(32)) | threshold.astype(np.float32).view(np.uint32)
        different, number = np.unique(keys, return_inverse=True)
        asked = (different >> np.uint64(32)).astype(np.intp), different.astype(np.uint32).view(np.float32)
        ends = np.cumsum([len(level) for level in self.features])[:-1]
        levels = tuple(np.split(number.astype(np.intp), ends)) if self.depth else ()
        return *asked, np.arange(self.trees), levels

    def _of_one(self, row: Array) -> Array:
        """Return the sum for one row, shape (1,): a third faster than one comparison a node."""
        feature, threshold, node, levels = self._questions
        answers = (row.take(feature) >= threshold).astype(np.intp)
        for number in levels:
            right = answers.take(number.take(node))
            node = node + node
            node += right
        parts = self.leaves.take(node)
        parts[0] += self.base
        return np.asarray(np.add.accumulate(parts)[-1:])

    def _sum(self, parts: Array) -> Array:
        """Add leaf values one after the other, from the base on: shape (rows, trees) to (rows,); overwrites `parts`."""
        parts[:, :1] += self.base
        return np.asarray(np.add.accumulate(parts, axis=1)[:, -1])


def trees_from_json(text: bytes | str) -> FlatTrees:
    """Read a model that XGBoost saved as JSON (gradient-boosted trees, one output, identity link).

    Raises:
        BadValueError: not such a model.
    """
    try:
        learner = json.loads(text)["learner"]
        booster = learner["gradient_booster"]
        trees = booster["model"]["trees"]
        base = str(learner["learner_model_param"]["base_score"]).strip("[]")
        width = int(learner["learner_model_param"]["num_feature"])
        objective = learner["objective"]["name"]
        if objective not in ("reg:squarederror", "reg:absoluteerror", "reg:pseudohubererror") or not trees:
            raise BadValueError(f"The model's objective is '{objective}' with {len(trees)} trees; it is not ours.")
        return _flatten([_Tree.read(t, width) for t in trees[:MAX_TREES]], np.float32(base), width)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise BadValueError(f"The model is not one that XGBoost saved as JSON ({type(error).__name__}).") from None


@dataclass(frozen=True)
class _Tree:
    left: Array
    right: Array
    feature: Array
    value: Array

    @classmethod
    def read(cls, tree: Mapping[str, Any], width: int) -> _Tree:
        arrays = [np.array(tree[name]) for name in ("left_children", "right_children", "split_indices")]
        values = np.array(tree["split_conditions"], dtype=np.float32)  # of a leaf: its value
        inner = arrays[0] >= 0
        sound = all(a.shape == values.shape and a.dtype.kind == "i" for a in arrays)
        if not sound or (arrays[2][inner] >= width).any() or (np.stack(arrays[:2]) >= len(values)).any():
            raise ValueError("tree")
        return cls(arrays[0], arrays[1], arrays[2], values)

    def depth(self) -> int:
        level, deepest = np.array([0]), 0
        while True:
            level = level[self.left[level] >= 0]
            if not len(level):
                return deepest
            deepest += 1
            if deepest > MAX_DEPTH:
                raise ValueError("depth")
            level = np.concatenate((self.left[level], self.right[level]))


def _flatten(trees: list[_Tree], base: np.float32, width: int) -> FlatTrees:
    depth = max(tree.depth() for tree in trees)
    nodes = [np.zeros(1, dtype=np.intp) for _ in trees]
    features, thresholds = [], []
    for _ in range(depth):
        level_features, level_thresholds = [], []
        for i, tree in enumerate(trees):
            at = nodes[i]
            leaf = tree.left[at] < 0
            level_features.append(np.where(leaf, 0, tree.feature[at]))
            level_thresholds.append(np.where(leaf, np.float32(np.inf), tree.value[at]))
            nodes[i] = np.stack((np.where(leaf, at, tree.left[at]), np.where(leaf, at, tree.right[at])), axis=1).ravel()
        features.append(np.concatenate(level_features).astype(np.intp))
        thresholds.append(np.concatenate(level_thresholds).astype(np.float32))
    leaves = np.concatenate([tree.value[at] for tree, at in zip(trees, nodes, strict=True)])
    return FlatTrees(tuple(features), tuple(thresholds), leaves, base, width)
