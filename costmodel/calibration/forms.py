"""Models of all devices (`costmodel.forms`): sums of stages fitted to relative errors, and trees on all rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from costmodel.calibration.rows import Rows
from costmodel.features import DEVICE_RATIOS, GROUP_OF, LAYOUTS
from costmodel.forms import kernels, stages
from costmodel.trees import FlatTrees, trees_from_json
from workloads.table import OP_CODES, Array

KERNEL_ROWS = 200
"""Rows of each kernel of each device that the models of all devices learn from."""
PULL = 0.01
"""How much a kernel's weights are drawn to its framework's, these to those of all and these to the closed form, as a
part of the squared error (0.003 to 0.03 differ by less than 1 % of error on devices left out)."""
ROUNDS, SWEEPS = 6, 30
"""Steps of weighing rows anew (towards absolute relative errors), and sweeps of descent in each."""
SURE = 0.1
"""Relative error from which a row counts less."""
TREES: dict[str, object] = {
    "objective": "reg:squarederror", "tree_method": "hist", "eta": 0.1, "max_depth": 6, "min_child_weight": 3,
    "subsample": 0.8, "colsample_bytree": 0.5, "max_bin": 64, "nthread": 1,
}  # fmt: skip
TREE_ROUNDS = 150
MOST = 4.0
"""Largest log residual that trees of all devices are taught."""


@dataclass(frozen=True)
class Pooled:
    """Rows of one operator that models of all devices learn from: `device` and `design` are the numbers of each row's,
    `weight` such that each kernel counts alike on each design."""

    op: str
    features: Array
    error: Array
    device: Array
    design: Array
    weight: Array

    def take(self, kept: Array) -> Pooled:
        columns = (self.features, self.error, self.device, self.design, self.weight)
        return Pooled(self.op, *(column[kept] for column in columns))

    def without(self, design: int) -> Pooled:
        return self.take(self.design != design)

    def mates_of(self, device: int, design: int) -> Pooled:
        return self.take((self.design == design) & (self.device != device))


def pooled(rows: Rows, usable: Array, op: str, design: Mapping[str, int], seed: int) -> Pooled:
    """Return some rows of each kernel (device, stack, format, phase) of an operator; `usable` are indices of rows.

    `design` is the number of the design of each device.
    """
    mine = usable[rows.op[usable] == OP_CODES[op]]
    phase = kernels(rows.matrix[mine], op)[:, 2]
    keys = np.stack([rows.device[mine], rows.software[mine], rows.dtype[mine], phase.astype(np.int64)], axis=1)
    mixed = np.random.default_rng(seed).permutation(len(mine))
    _, inverse = np.unique(keys[mixed], axis=0, return_inverse=True)
    order = np.argsort(inverse.ravel(), kind="stable")
    counts = np.bincount(inverse.ravel())
    place = np.arange(len(mine)) - np.repeat(np.cumsum(counts) - counts, counts)
    some = rows.take(mine[np.sort(mixed[order[place < KERNEL_ROWS]])])
    features, names = some.matrix, list(design)
    numbers = np.array([design[some.words.devices[int(code)]] for code in some.device])
    _, inverse, counts = np.unique(
        np.column_stack([numbers, kernels(features, op)]), axis=0, return_inverse=True, return_counts=True
    )
    device = np.array([names.index(some.words.devices[int(code)]) for code in some.device])
    return Pooled(op, features, some.log_error, device, numbers, 1.0 / counts[inverse.ravel()])


def fitted_form(rows: Pooled) -> Array:
    """Return the table of weights by kernel, by framework and phase, and of all (see `costmodel.forms.KEYS`)."""
    parts, key = stages(rows.features, rows.op) / np.exp(rows.error)[:, None], kernels(rows.features, rows.op)
    closed = np.zeros(parts.shape[1])
    closed[0] = 1.0
    every = descended(parts, rows.weight, closed)
    found = [np.concatenate(([0.0, 0.0, 0.0, 0.0], every))]
    for family in np.unique(key[:, 1:], axis=0):
        mine = (key[:, 1:] == family).all(axis=1)
        of_family = descended(parts[mine], rows.weight[mine], every)
        found.append(np.concatenate(([1.0, 0.0], family, of_family)))
        for dtype in np.unique(key[mine, 0]):
            here = mine & (key[:, 0] == dtype)
            own = descended(parts[here], rows.weight[here], of_family)
            found.append(np.concatenate(([2.0, dtype], family, own)))
    return np.array(found, dtype=np.float32)


def descended(parts: Array, weight: Array, prior: Array) -> Array:
    """Return weights, none negative, that make the parts of each row sum to about 1, drawn to the prior.

    Coordinate descent; rows far from 1 count less, so that the mean absolute relative error is what falls.
    """
    scale = np.sqrt((weight[:, None] * parts**2).sum(axis=0) / weight.sum()) + 1e-12
    x, start = parts / scale, prior * scale
    found, trust = start.copy(), weight / weight.sum()
    for _ in range(ROUNDS):
        square = x.T @ (trust[:, None] * x) + PULL * np.eye(len(start))
        right = (trust[:, None] * x).sum(axis=0) + PULL * start
        for _ in range(SWEEPS):
            for i in range(len(found)):
                found[i] = max(0.0, found[i] + (right[i] - square[i] @ found) / square[i, i])
        trust = weight / np.maximum(np.abs(x @ found - 1.0), SURE)
        trust = trust / trust.sum()
    return np.asarray(found / scale)


def fitted_pool(rows: Pooled, seed: int) -> FlatTrees:
    """Return trees of all devices' rows that see no ratio of a device alone."""
    import xgboost

    features = rows.features.copy()
    features[:, np.isin(LAYOUTS[GROUP_OF[OP_CODES[rows.op]]].names, DEVICE_RATIOS)] = 0.0
    weight = np.sqrt(rows.weight)
    target = np.clip(rows.error, -MOST, MOST).astype(np.float32)
    bins = 64
    data = xgboost.QuantileDMatrix(features, label=target, weight=weight / weight.mean(), nthread=1, max_bin=bins)
    booster = xgboost.train({**TREES, "seed": seed}, data, num_boost_round=TREE_ROUNDS)
    return trees_from_json(bytes(booster.save_raw("json")))
