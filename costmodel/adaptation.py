"""From known devices to one that was not measured, or of which a few rows were: weights of the known, and an offset.

The factor of a new device is a blend of the factors that its kin would have at the same ratios, of two models of all
devices (`costmodel.forms`), and of the closed form, whose factor is 1. Without rows of its own the weights of kin
follow from resemblance (`costmodel.plans.kin_weights`) and the shares of these four from what served the known devices
best when each was left out together with those of its own design (`costmodel.plans.NEAR_KIN`). A few rows move weights
and offsets by ridge regression towards what was measured; how far is again what served the devices left out best, with
the same number of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from typing import NamedTuple

import numpy as np

from costmodel.forms import SHARED
from costmodel.kin import FARTHEST_KIN, NEAR_KIN, REGIMES, kernel_codes, kin_weights, regimes
from workloads.table import Array

REACHES: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8, 1.6)
SHARES: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Shares of kin and of models of all devices in an answer that are tried; the rest is the closed form's."""
AS_GOOD = 1.05
"""Mixes whose error is within this multiple of the least are averaged: few designs do not tell them apart."""
STIFFNESS: tuple[float, ...] = (1.0, 5.0, 25.0)
"""Weight of the prior on each source's share, against one measured row."""
LOOSENESS: tuple[float, ...] = (0.3, 1.0, 4.0)
"""Weight of the prior on the offsets (which are 0), in rows."""
LEANS: tuple[float, ...] = (0.0, -0.1, -0.2, -0.3)
"""Log shifts of an answer that are tried: of an uncertain time, a lower one has the least relative error."""
KERNEL_LOOSENESS = 2.0
"""The same for the offset of one kernel, as a multiple (estimated, 1 to 8)."""
FEWEST_LEFT_OUT = 20
"""Rows below which a device is not left out."""
DRAWS = 4
"""Random choices of the few rows for each source device that is left out."""
ROBUST, ROBUST_STEPS = 0.4, 4
"""Log residual from which a row counts less, and the steps of weighing rows anew."""
LARGEST = 2.5
"""Largest log residual of one measured row that counts (a factor of 12)."""


class Mix(NamedTuple):
    """How an answer is mixed: the distance over which resemblance fades, and the shares of kin, of the sum of stages
    and of the trees of all devices. What they lack of 1 is the closed form's."""

    reach: float
    kin: float
    form: float = 0.0
    pool: float = 0.0


@dataclass(frozen=True)
class KinTable:
    """What the models of all devices say of measured rows of each: the material of transfer, for one operator.

    target (rows,): index into `devices`; error: log(measured / physics); size: log physics seconds; floor: log(floor /
    physics); regime (rows, 4) and kernel (rows,): see `costmodel.plans`; factor (rows, devices): log factors, NaN where
    a device has no model for such a row; shared (rows, 2): log factors of `costmodel.forms.SHARED`, learned without the
    design of the row's device, NaN without them; mates (rows,): those of trees of the others of that design, which did
    not learn from the device (siblings' own trees did), NaN without any.
    """

    devices: tuple[str, ...]
    target: Array
    error: Array
    size: Array
    floor: Array
    regime: Array
    kernel: Array
    factor: Array
    shared: Array = field(default_factory=lambda: np.zeros((0, len(SHARED))))
    mates: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        if len(self.shared) != len(self.target):
            object.__setattr__(self, "shared", np.full((len(self.target), len(SHARED)), np.nan))
        if len(self.mates) != len(self.target):
            object.__setattr__(self, "mates", np.full(len(self.target), np.nan))

    def matrix(self) -> Array:
        """Return the table as one matrix."""
        columns = [self.target, self.error, self.size, self.floor, self.regime, self.kernel, self.factor]
        columns += [self.shared, self.mates]
        return np.column_stack(columns).astype(np.float32)

    def apart(self, kinship: Mapping[str, tuple[float, ...]]) -> KinTable:
        """Return the table without what devices say of rows of their own design: all are then far from their kin."""
        factor = self.factor.copy()
        for index in np.unique(self.target):
            mine = np.array(kinship[self.devices[index]])
            for other, name in enumerate(self.devices):
                if other != index and np.linalg.norm(np.subtract(kinship[name], mine)) <= NEAR_KIN:
                    factor[self.target == index, other] = np.nan
        return replace(self, factor=factor)

    def of_near(self, kinship: Mapping[str, tuple[float, ...]]) -> KinTable:
        """Return the table with only what trees of the others of a row's own design say."""
        factor = np.full_like(self.factor, np.nan)
        for index in np.unique(self.target):
            mine, name = self.target == index, self.devices[index]
            away = [float(np.linalg.norm(np.subtract(kinship[d], kinship[name]))) for d in self.devices]
            away[index] = np.inf
            if min(away) <= NEAR_KIN:
                factor[mine, int(np.argmin(away))] = self.mates[mine]
        return replace(self, factor=factor)

    @staticmethod
    def of(devices: tuple[str, ...], matrix: Array) -> KinTable:
        """Read what `matrix` made. Raises ValueError where it does not fit the devices."""
        width = 5 + REGIMES + len(devices)
        if matrix.shape[1] not in (width, width + len(SHARED) + 1):
            raise ValueError("a table of kin has another number of devices")
        target, error, size, floor, *regime, kernel = matrix[:, : 5 + REGIMES].astype(np.float64).T
        factor, shared = matrix[:, 5 + REGIMES : width].astype(np.float64), matrix[:, width:].astype(np.float64)
        told = target.astype(np.intp), error, size, floor, np.stack(regime, axis=1), kernel, factor
        if not shared.shape[1]:
            return KinTable(devices, *told)
        return KinTable(devices, *told, shared[:, :-1], shared[:, -1])


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


def mixed(factor: Array, shared: Array, prior: Array, mix: Mix) -> tuple[Array, Array]:
    """Return factors (rows, sources) and weights of kin, of the models of all devices and of the closed form.

    Where there are no models of all devices, they say what the closed form says (a factor of 0)."""
    known = np.where(np.isfinite(shared), shared, 0.0)
    rest = 1.0 - mix.kin - mix.form - mix.pool
    return (
        np.column_stack([factor, known, np.zeros(len(factor))]),
        np.concatenate((prior * mix.kin, (mix.form, mix.pool, rest))),
    )


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
    table: KinTable, kinship: Mapping[str, tuple[float, ...]], mix: Mix, shots: int,
    stiffness: float, looseness: float, seed: int = 0,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Return (log errors, log sizes, target) with each device left out in turn and `shots` of its rows given."""
    errors, sizes, targets = [], [], []
    rng = np.random.default_rng(seed)
    for index, device in enumerate(table.devices):
        rows = np.flatnonzero(table.target == index)
        others = np.delete(np.arange(len(table.devices)), index)
        usable = rows[np.isfinite(table.factor[np.ix_(rows, others)]).any(axis=1)]
        if len(usable) < max(2 * shots, FEWEST_LEFT_OUT):
            continue
        weights = prior_of(table, kinship, device, kinship[device], mix.reach)[others]
        kin = filled(table.factor[np.ix_(usable, others)], weights)
        factor, prior = mixed(kin, table.shared[usable], weights, mix)
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


def designs(devices: tuple[str, ...], kinship: Mapping[str, tuple[float, ...]]) -> Array:
    """Return the number of the design that each device has: the first that is near it, or its own."""
    found = np.arange(len(devices))
    for i, name in enumerate(devices):
        away = [float(np.linalg.norm(np.subtract(kinship[d], kinship[name]))) for d in devices[:i]]
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


def alone(table: KinTable, kinship: Mapping[str, tuple[float, ...]]) -> Array:
    """Return which devices are farther from all others than any answer reaches: none is answered like them."""
    places = np.array([kinship[name] for name in table.devices])
    away = np.linalg.norm(places[:, None] - places, axis=2) + np.diag(np.full(len(places), np.inf))
    return np.asarray(away.min(axis=1) > FARTHEST_KIN)


def best_mix(table: KinTable, kinship: Mapping[str, tuple[float, ...]]) -> Mix:
    """Return the mix that serves left-out devices best: the mean of those that serve as well; the closed form without
    any other design."""
    design, far, found = designs(table.devices, kinship), alone(table, kinship), []
    shared = np.isfinite(table.shared).all()
    shares = [s for s in product(SHARES, SHARES, SHARES) if sum(s) <= 1 and (shared or s[1:] == (0.0, 0.0))]
    for reach in REACHES:
        rows, kin = kin_answers(table, kinship, reach)
        near = ~far[table.target[rows]]
        rows, kin = (rows[near], kin[near]) if near.any() else (rows, kin)
        three = np.column_stack([kin, np.where(np.isfinite(table.shared[rows]), table.shared[rows], 0.0)])
        for share in shares:
            error = table.error[rows] - np.maximum(three @ np.array(share), table.floor[rows])
            found.append((typical(error, table.target[rows], design), reach, *share))
    known = np.array([entry for entry in found if np.isfinite(entry[0])])
    if not len(known):
        return Mix(REACHES[2], 0.0)
    best = known[known[:, 0].argmin()]
    as_good = known[(known[:, 0] <= best[0] * AS_GOOD) & (known[:, 1] == best[1])]
    return Mix(float(best[1]), *(float(x) for x in as_good[:, 2:].mean(axis=0)))


def kin_answers(table: KinTable, kinship: Mapping[str, tuple[float, ...]], reach: float) -> tuple[Array, Array]:
    """Return (indices of rows that other devices can answer, their kin's log factor)."""
    rows, said = [np.zeros(0, dtype=np.intp)], [np.zeros(0)]
    for index, device in enumerate(table.devices):
        others = np.delete(np.arange(len(table.devices)), index)
        mine = np.flatnonzero(table.target == index)
        mine = mine[np.isfinite(table.factor[np.ix_(mine, others)]).any(axis=1)]
        if len(mine) < FEWEST_LEFT_OUT:
            continue
        weights = prior_of(table, kinship, device, kinship[device], reach)[others]
        rows.append(mine)
        said.append(filled(table.factor[np.ix_(mine, others)], weights) @ weights)
    return np.concatenate(rows), np.concatenate(said)


def best_shrinkage(
    table: KinTable, kinship: Mapping[str, tuple[float, ...]], mix: Mix, shots: int
) -> tuple[float, float, float]:  # fmt: skip
    """Return the (stiffness, looseness, lean) that serve left-out devices best with so many rows."""
    design, found = designs(table.devices, kinship), []
    for stiffness, looseness in product(STIFFNESS, LOOSENESS):
        error, _, target = left_out(table, kinship, mix, shots, stiffness, looseness)
        found += [(typical(error - lean, target, design), stiffness, looseness, lean) for lean in LEANS]
    known = [entry for entry in found if np.isfinite(entry[0])]
    return min(known)[1:] if known else (10.0, 4.0, 0.0)


def seen_of(matrix: Array, group: str, factor: Array) -> Seen:
    """Return what answers rest on, of rows as features of a group of operators."""
    return Seen(factor, regimes(matrix, group), kernel_codes(matrix, group))
