"""From known devices to one that was not measured, or of which a few rows were: weights of the known, and an offset.

The factor of a new device is a blend of the factors that its kin would have at the same ratios, and of the closed form,
whose factor is 1. Without rows of its own the weights of kin follow from resemblance (`costmodel.plans.kin_weights`)
and the closed form's share from what served the known devices best when each was left out together with those of its
own design (`costmodel.plans.NEAR_KIN`). A few rows move weights and offsets by ridge regression towards what was
measured; how far is again what served the devices left out best, with the same number of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from costmodel.plans import NEAR_KIN, REGIMES, kernel_codes, kin_weights, regimes
from workloads.table import Array

REACHES: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8, 1.6)
SHARES: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of kin in an answer that are tried; the rest is the closed form's."""
STIFFNESS: tuple[float, ...] = (1.0, 5.0, 25.0)
"""Weight of the prior on each source's share, against one measured row."""
LOOSENESS: tuple[float, ...] = (0.3, 1.0, 4.0)
"""Weight of the prior on the offsets (which are 0), in rows."""
LEANS: tuple[float, ...] = (0.0, -0.1, -0.2, -0.3)
"""Log shifts of an answer that are tried: of an uncertain time, a lower one has the least relative error."""
KERNEL_LOOSENESS = 2.0
"""The same for the offset of one kernel, as a multiple (estimated, 1 to 8)."""
DRAWS = 4
"""Random choices of the few rows for each source device that is left out."""
ROBUST, ROBUST_STEPS = 0.4, 4
"""Log residual from which a row counts less, and the steps of weighing rows anew."""
LARGEST = 2.5
"""Largest log residual of one measured row that counts (a factor of 12)."""


@dataclass(frozen=True)
class KinTable:
    """What the models of all devices say of measured rows of each: the material of transfer, for one operator.

    target (rows,): index into `devices`; error: log(measured / physics); size: log physics seconds; floor: log(floor /
    physics); regime (rows, 4) and kernel (rows,): see `costmodel.plans`; factor (rows, devices): log factors, NaN where
    a device has no model for such a row.
    """

    devices: tuple[str, ...]
    target: Array
    error: Array
    size: Array
    floor: Array
    regime: Array
    kernel: Array
    factor: Array

    def matrix(self) -> Array:
        """Return the table as one matrix."""
        columns = [self.target, self.error, self.size, self.floor, self.regime, self.kernel, self.factor]
        return np.column_stack(columns).astype(np.float32)

    def blended(self, share: float) -> KinTable:
        """Return the table with factors drawn to the closed form: a share of each."""
        return replace(self, factor=share * self.factor)

    def apart(self, kinship: Mapping[str, tuple[float, ...]]) -> KinTable:
        """Return the table without what devices say of rows of their own design: all are then far from their kin."""
        factor = self.factor.copy()
        for index in np.unique(self.target):
            mine = np.array(kinship[self.devices[index]])
            for other, name in enumerate(self.devices):
                if other != index and np.linalg.norm(np.subtract(kinship[name], mine)) <= NEAR_KIN:
                    factor[self.target == index, other] = np.nan
        return replace(self, factor=factor)

    @staticmethod
    def of(devices: tuple[str, ...], matrix: Array) -> KinTable:
        """Read what `matrix` made. Raises ValueError where it does not fit the devices."""
        if matrix.shape[1] != 5 + REGIMES + len(devices):
            raise ValueError("a table of kin has another number of devices")
        target, error, size, floor, *regime, kernel = matrix[:, : 5 + REGIMES].astype(np.float64).T
        factor = matrix[:, 5 + REGIMES :].astype(np.float64)
        return KinTable(devices, target.astype(np.intp), error, size, floor, np.stack(regime, axis=1), kernel, factor)


def filled(factor: Array, prior: Array) -> Array:
    """Return factors (rows, sources) without gaps: a source without a model says what the others say on average; the
    closed form (0) where none has one."""
    known = np.isfinite(factor)
    weight = known * (prior + 1e-9)
    total = np.maximum(weight.sum(axis=1), 1e-12)
    mean = (np.where(known, factor, 0.0) * weight).sum(axis=1) / total
    return np.where(known, factor, mean[:, None])


@dataclass(frozen=True)
class Seen:
    """What an answer for a new device rests on: log factors of its sources (rows, sources), `regime` and `kernel`."""

    factor: Array
    regime: Array
    kernel: Array

    def take(self, index: Array) -> Seen:
        return Seen(self.factor[index], self.regime[index], self.kernel[index])


@dataclass(frozen=True)
class Shots:
    """How an answer leaves the prior: weights of the sources (adding up to 1), an offset for all rows, one for the
    share of its time that a row spends in each regime, and one a kernel."""

    weights: Array
    offset: float = 0.0
    regimes: Array = field(default_factory=lambda: np.zeros(REGIMES))
    kernels: dict[float, float] = field(default_factory=dict)

    def answer(self, seen: Seen) -> Array:
        """Return log factors of rows, shape (rows,)."""
        found = seen.factor @ self.weights + self.offset + seen.regime @ self.regimes
        for kernel, offset in self.kernels.items():
            found = found + offset * (seen.kernel == kernel)
        return np.asarray(found)


def fit_shots(seen: Seen, error: Array, prior: Array, stiffness: float, looseness: float) -> Shots:
    """Return what few rows say: ridge on what moves the prior's weights, and on offsets.

    An offset for the share of time in a regime is what a launch, a byte or a FLOP costs more than the data sheet says.
    Rows far from the fit count less (Huber 1964).

    Args:
        error: log(measured / physics), shape (rows,).
        prior: weights to start from, shape (sources,).
    """
    start = seen.factor @ prior
    left = np.clip(error - start, -LARGEST, LARGEST)
    kernels = np.unique(seen.kernel)
    apart = seen.factor - start[:, None]  # moving weight to a source moves the answer by this
    basis = np.column_stack([np.ones(len(left)), seen.regime, seen.kernel[:, None] == kernels, apart])
    penalty = [looseness] * (1 + REGIMES) + [KERNEL_LOOSENESS * looseness] * len(kernels)
    ridge = np.diag(penalty + [stiffness] * seen.factor.shape[1])
    trust = np.ones(len(left))
    for _ in range(ROBUST_STEPS):
        found = np.linalg.solve(basis.T @ (trust[:, None] * basis) + ridge, basis.T @ (trust * left))
        trust = np.minimum(1.0, ROBUST / np.maximum(np.abs(left - basis @ found), 1e-9))
    moved, first = found[1 + REGIMES + len(kernels) :], 1 + REGIMES
    offsets = {float(k): float(x) for k, x in zip(kernels, found[first : first + len(kernels)], strict=True)}
    return Shots(prior * (1.0 - moved.sum()) + moved, float(found[0]), found[1:first], offsets)


def with_physics(factor: Array, prior: Array, share: float) -> tuple[Array, Array]:
    """Return factors and weights with the closed form as one more source: its factor is 0, its weight 1 - share."""
    return np.column_stack([factor, np.zeros(len(factor))]), np.append(prior * share, 1.0 - share)


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
    table: KinTable, kinship: Mapping[str, tuple[float, ...]], kin: tuple[float, float], shots: int,
    stiffness: float, looseness: float, seed: int = 0,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Return (log errors, log sizes, target) with each device left out in turn and `shots` of its rows given.

    `kin` are the reach of resemblance and the share of kin in the answer.
    """
    errors, sizes, targets = [], [], []
    rng = np.random.default_rng(seed)
    for index, device in enumerate(table.devices):
        rows = np.flatnonzero(table.target == index)
        others = np.delete(np.arange(len(table.devices)), index)
        usable = rows[np.isfinite(table.factor[np.ix_(rows, others)]).any(axis=1)]
        if len(usable) < max(2 * shots, 20):
            continue
        weights = prior_of(table, kinship, device, kinship[device], kin[0])[others]
        factor, prior = with_physics(filled(table.factor[np.ix_(usable, others)], weights), weights, kin[1])
        seen = Seen(factor, table.regime[usable], table.kernel[usable])
        for _ in range(DRAWS if shots else 1):
            order = rng.permutation(len(usable))
            few, rest = order[:shots], order[shots:]
            told = Shots(prior)
            if shots:
                told = fit_shots(seen.take(few), table.error[usable[few]], prior, stiffness, looseness)
            answer = np.maximum(told.answer(seen.take(rest)), table.floor[usable[rest]])
            errors.append(table.error[usable[rest]] - answer)
            sizes.append(table.size[usable[rest]])
            targets.append(np.full(len(rest), index))
    if not errors:
        return np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.intp)
    return np.concatenate(errors), np.concatenate(sizes), np.concatenate(targets)


def designs(table: KinTable, kinship: Mapping[str, tuple[float, ...]]) -> Array:
    """Return the number of the design that each device of a table has: the first that is near it, or its own."""
    found = np.arange(len(table.devices))
    for i, name in enumerate(table.devices):
        away = [float(np.linalg.norm(np.subtract(kinship[d], kinship[name]))) for d in table.devices[:i]]
        near = [j for j, distance in enumerate(away) if distance <= NEAR_KIN]
        found[i] = found[near[0]] if near else i
    return found


def typical(errors: Array, targets: Array, design: Array | None = None) -> float:
    """Return the mean relative error (each at most 1), as a mean over designs of the mean over their devices."""
    if not len(errors):
        return float("nan")
    kept = np.minimum(np.abs(np.expm1(np.clip(-errors, -9.0, 9.0))), 1.0)
    found: dict[int, list[float]] = {}
    for target in np.unique(targets).astype(int):
        found.setdefault(target if design is None else int(design[target]), []).append(kept[targets == target].mean())
    return float(np.mean([np.mean(devices) for devices in found.values()]))


def best_kin(table: KinTable, kinship: Mapping[str, tuple[float, ...]]) -> tuple[float, float]:
    """Return the (reach of resemblance, share of kin) that serve left-out devices best; a share of 0 without any."""
    design, found = designs(table, kinship), []
    for reach, share in product(REACHES, SHARES):
        error, _, target = left_out(table, kinship, (reach, share), 0, 1.0, 1.0)
        found.append((typical(error, target, design), reach, share))
    known = [entry for entry in found if np.isfinite(entry[0])]
    return min(known)[1:] if known else (REACHES[2], 0.0)


def best_shrinkage(
    table: KinTable, kinship: Mapping[str, tuple[float, ...]], kin: tuple[float, float], shots: int
) -> tuple[float, float, float]:  # fmt: skip
    """Return the (stiffness, looseness, lean) that serve left-out devices best with so many rows."""
    design, found = designs(table, kinship), []
    for stiffness, looseness in product(STIFFNESS, LOOSENESS):
        error, _, target = left_out(table, kinship, kin, shots, stiffness, looseness)
        found += [(typical(error - lean, target, design), stiffness, looseness, lean) for lean in LEANS]
    known = [entry for entry in found if np.isfinite(entry[0])]
    return min(known)[1:] if known else (10.0, 4.0, 0.0)


def seen_of(matrix: Array, group: str, factor: Array) -> Seen:
    """Return what answers rest on, of rows as features of a group of operators."""
    return Seen(factor, regimes(matrix, group), kernel_codes(matrix, group))
