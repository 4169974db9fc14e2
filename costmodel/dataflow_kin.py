"""What costs leave of a dataflow chip's rates, carried between networks that are alike: a Gaussian process.

Two rows are alike as far as the logs of their networks' amounts are near, and more so on one chip, on chips of one
memory (weights over the host's link, or from DRAM of its own), at one batch, and if both networks run in one context or
both in several. The kernel is a rational quadratic of the mean squared distance (Rasmussen and Williams 2006, equation
4.19, with alpha 1). How far it reaches and how much of it counts is the caller's choice (`Kin`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodel.dataflow_work import AMOUNTS
from workloads.table import Array

VARIANCE, NOISE = 0.1, 0.09
"""Prior variance of a log error that networks share, and of what is each row's own (estimated from the costs' errors on
Hailo's table: about 0.3 in the log, 0.03 to 0.3 for either)."""
CHIP, MEMORY, BATCH, CONTEXTS = 0.3, 0.5, 0.3, 0.5
"""Variance on top that rows share on one chip, on chips of one memory, at one batch; and the share that rows of one
context and of several have in common (estimated)."""
LARGEST = 1.0
"""Log error beyond which a row's counts no more: such a row is another regime than its neighbours."""


@dataclass(frozen=True)
class Kin:
    """Squared length of the kernel in standard deviations of the features, and the share of its mean that counts."""

    length: float = 0.5
    share: float = 0.5


@dataclass(frozen=True)
class Places:
    """Where rows are: features (rows, features), indices of chip and memory, batch, and several contexts or one."""

    features: Array
    chip: Array
    memory: Array
    batch: Array
    several: Array

    def take(self, at: Array) -> Places:
        return Places(*(getattr(self, name)[at] for name in self.__dataclass_fields__))


def kin_features(amounts: Array) -> Array:
    """Return what tells networks apart: logs of amounts, shares of operations, operations a weight, layer and input."""
    whole = amounts[:, :5].sum(axis=1, keepdims=True)
    by = amounts[:, [AMOUNTS.index(name) for name in ("weights", "layers", "input_elements")]]
    return np.column_stack([np.log1p(amounts), amounts[:, :5] / whole, np.log(whole / by)])


def carried(train: Places, rest: Array, test: Places, kin: Kin) -> Array:
    """Return the log factor of the test rows that the train rows' log errors `rest` suggest, shape (test rows,)."""
    centre, spread = train.features.mean(axis=0), train.features.std(axis=0) + 1e-9
    left, right = ((x.features - centre) / spread for x in (train, test))
    own = _kernel(train, left, train, left, kin.length) + NOISE * np.eye(len(rest))
    weights = np.linalg.solve(own, np.clip(rest, -LARGEST, LARGEST))
    return np.asarray(kin.share * (_kernel(test, right, train, left, kin.length) @ weights))


def _kernel(a: Places, left: Array, b: Places, right: Array, length: float) -> Array:
    far = ((left**2).mean(axis=1)[:, None] + (right**2).mean(axis=1) - 2 * left @ right.T / left.shape[1]).clip(0)
    same = {name: getattr(a, name)[:, None] == getattr(b, name) for name in ("chip", "memory", "batch", "several")}
    together = 1 + CHIP * same["chip"] + MEMORY * same["memory"]
    return np.asarray(
        VARIANCE / (1 + far / (2 * length)) * together * (1 + BATCH * same["batch"])
        * (CONTEXTS + (1 - CONTEXTS) * same["several"])
    )  # fmt: skip
