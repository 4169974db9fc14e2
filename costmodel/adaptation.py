"""From known devices to one that was not measured, or of which a few rows were: weights of the known, and an offset.

The factor of a new device is a blend of the factors that its kin would have at the same ratios. Without rows of its
own the weights follow from resemblance (`costmodel.plans.kin_weights`). A few rows move them by ridge regression
towards what was measured: the prior is resemblance, and how far rows may move it is what served the known devices
best, each left out in turn with the same number of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from costmodel.plans import kin_weights
from workloads.table import Array

REACHES: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8, 1.6)
STIFFNESS: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0)
"""Weight of the prior on each source's share, against one measured row."""
LOOSENESS: tuple[float, ...] = (0.5, 2.0, 8.0)
"""Weight of the prior on the offset (which is 0), in rows."""
DRAWS = 4
"""Random choices of the few rows for each source device that is left out."""
LARGEST = 1.5
"""Largest log residual of one measured row that counts (a factor of 4.5)."""


@dataclass(frozen=True)
class KinTable:
    """What the models of all devices say of measured rows of each: the material of transfer, for one operator.

    target (rows,): index into `devices`; error: log(measured / physics); size: log physics seconds; floor: log(floor /
    physics); factor (rows, devices): log factors, NaN where a device has no model for such a row.
    """

    devices: tuple[str, ...]
    target: Array
    error: Array
    size: Array
    floor: Array
    factor: Array

    def matrix(self) -> Array:
        """Return the table as one matrix."""
        return np.column_stack([self.target, self.error, self.size, self.floor, self.factor]).astype(np.float32)

    @staticmethod
    def of(devices: tuple[str, ...], matrix: Array) -> KinTable:
        """Read what `matrix` made. Raises ValueError where it does not fit the devices."""
        if matrix.shape[1] != 4 + len(devices):
            raise ValueError("a table of kin has another number of devices")
        wide = matrix.astype(np.float64)
        return KinTable(devices, wide[:, 0].astype(np.intp), wide[:, 1], wide[:, 2], wide[:, 3], wide[:, 4:])


def filled(factor: Array, prior: Array) -> Array:
    """Return factors (rows, sources) without gaps: a source without a model says what the others say on average."""
    known = np.isfinite(factor)
    weight = known * (prior + 1e-9)
    mean = (np.where(known, factor, 0.0) * weight).sum(axis=1) / weight.sum(axis=1)
    return np.where(known, factor, mean[:, None])


@dataclass(frozen=True)
class Shots:
    """How an answer leaves the prior: weights of the sources (adding up to 1) and an offset for each third of size."""

    weights: Array
    offsets: Array

    def answer(self, factor: Array, third: Array) -> Array:
        """Return log factors of rows from those of the sources, shape (rows,)."""
        return np.asarray(factor @ self.weights + self.offsets[third])


def fit_shots(
    factor: Array, error: Array, third: Array, prior: Array, stiffness: float, looseness: float
) -> Shots:  # fmt: skip
    """Return what few rows say: ridge on what moves the prior's weights, on an offset, and on one for each regime.

    Args:
        factor: log factors of the sources, shape (rows, sources).
        error: log(measured / physics), shape (rows,).
        third: third of the size range (launches, in between, throughput) of each row.
        prior: weights to start from, shape (sources,).
    """
    start = factor @ prior
    left = np.clip(error - start, -LARGEST, LARGEST)
    apart = factor - start[:, None]  # moving weight to a source moves the answer by this
    basis = np.column_stack([np.ones(len(left)), np.eye(3)[third], apart])
    penalty = np.diag([looseness / 4] + [looseness] * 3 + [stiffness] * factor.shape[1])
    found = np.linalg.solve(basis.T @ basis + penalty, basis.T @ left)
    moved = found[4:]
    return Shots(prior * (1.0 - moved.sum()) + moved, found[0] + found[1:4])


def prior_of(
    table: KinTable, kinship: Mapping[str, tuple[float, ...]], target: str, ratios: tuple[float, ...], reach: float
) -> Array:
    """Return the weights that resemblance gives to each device of a table; the target itself has none.

    Nor have its siblings, whose trees learned from it: they say nothing of its rows.
    """
    mine = table.target == table.devices.index(target) if target in table.devices else np.ones(len(table.target), bool)
    said = np.isfinite(table.factor[mine]).any(axis=0)
    with_models = [d for d, known in zip(table.devices, said, strict=True) if d != target and known]
    weights = kin_weights({d: kinship[d] for d in with_models}, ratios, reach)
    return np.array([weights.get(d, 0.0) for d in table.devices])


def left_out(
    table: KinTable, kinship: Mapping[str, tuple[float, ...]], reach: float, shots: int,
    stiffness: float, looseness: float, seed: int = 0,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Return (log errors, log sizes, target) with each device left out in turn and `shots` of its rows given."""
    errors, sizes, targets = [], [], []
    rng = np.random.default_rng(seed)
    third = np.searchsorted(np.quantile(table.size, (1 / 3, 2 / 3)), table.size)
    for index, device in enumerate(table.devices):
        rows = np.flatnonzero(table.target == index)
        others = np.delete(np.arange(len(table.devices)), index)
        usable = rows[np.isfinite(table.factor[np.ix_(rows, others)]).any(axis=1)]
        if len(usable) < max(2 * shots, 20):
            continue
        prior = prior_of(table, kinship, device, kinship[device], reach)[others]
        factor = filled(table.factor[np.ix_(usable, others)], prior)
        for _ in range(DRAWS if shots else 1):
            order = rng.permutation(len(usable))
            few, rest = order[:shots], order[shots:]
            told = Shots(prior, np.zeros(3))
            if shots:
                mine = usable[few]
                told = fit_shots(factor[few], table.error[mine], third[mine], prior, stiffness, looseness)
            mine = usable[rest]
            answer = np.maximum(told.answer(factor[rest], third[mine]), table.floor[mine])
            errors.append(table.error[usable[rest]] - answer)
            sizes.append(table.size[usable[rest]])
            targets.append(np.full(len(rest), index))
    if not errors:
        return np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.intp)
    return np.concatenate(errors), np.concatenate(sizes), np.concatenate(targets)


def typical(errors: Array, targets: Array) -> float:
    """Return the mean over devices of their mean absolute log error (each at most 1): no device counts twice."""
    kept = np.minimum(np.abs(errors), 1.0)
    return float(np.mean([kept[targets == t].mean() for t in np.unique(targets)])) if len(errors) else float("nan")


def best_reach(table: KinTable, kinship: Mapping[str, tuple[float, ...]]) -> float:
    """Return the reach of resemblance that serves left-out devices best."""
    found = [(typical(*_errors(table, kinship, reach)), reach) for reach in REACHES]
    known = [pair for pair in found if np.isfinite(pair[0])]
    return min(known)[1] if known else REACHES[2]


def _errors(table: KinTable, kinship: Mapping[str, tuple[float, ...]], reach: float) -> tuple[Array, Array]:
    error, _, target = left_out(table, kinship, reach, 0, 1.0, 1.0)
    return error, target


def best_shrinkage(
    table: KinTable, kinship: Mapping[str, tuple[float, ...]], reach: float, shots: int
) -> tuple[float, float]:  # fmt: skip
    """Return the (stiffness, looseness) that serves left-out devices best with so many rows."""
    found = []
    for stiffness, looseness in product(STIFFNESS, LOOSENESS):
        error, _, target = left_out(table, kinship, reach, shots, stiffness, looseness)
        found.append((typical(error, target), stiffness, looseness))
    known = [entry for entry in found if np.isfinite(entry[0])]
    return min(known)[1:] if known else (10.0, 2.0)
