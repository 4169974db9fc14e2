"""Errors on rows that training never saw, made into intervals and scores."""

from __future__ import annotations

import numpy as np

from costmodel.artefact import Score
from costmodel.calibration.rows import Rows
from costmodel.features import LAYOUTS
from costmodel.plans import FEWEST, Intervals, Scope
from costmodel.residual import TOLERANCE, LearnedModel
from workloads.table import Array

COVERAGE = 0.9
Thirds = tuple[float, float, float]


def predicted_s(rows: Rows, model: LearnedModel) -> Array:
    """Return the learned latency of each row from its own model, bounded by the floor."""
    factor = np.empty(len(rows), dtype=np.float64)
    for code in np.unique(rows.model):
        where = np.flatnonzero(rows.model == code)
        factor[where] = model.log_factor(rows.words.models[int(code)], np.ascontiguousarray(rows.matrix[where]))
    return np.asarray(np.maximum(rows.physics_s * np.exp(factor), rows.floor_s))


def conformal_half(errors: Array, coverage: float = COVERAGE) -> float:
    """Return the half width that covers 90 % of new errors: the ceil((n + 1) 0.9)-th smallest; NaN below 9 errors."""
    rank = int(np.ceil((len(errors) + 1) * coverage))
    if len(errors) < FEWEST or rank > len(errors):
        return float("nan")
    return float(np.partition(errors, rank - 1)[rank - 1])


def thirds(size: Array, cuts: tuple[float, float]) -> Array:
    """Return which third of the size range each row is in."""
    return np.asarray(1 * (size > cuts[0]) + (size > cuts[1]))


def widths(error: Array, size: Array) -> tuple[tuple[float, float], Thirds]:
    """Return the cuts between thirds of the log size, and the half width of each third (that of all, if too few)."""
    low, high = (float(x) for x in np.quantile(size, (1 / 3, 2 / 3)))
    third, whole = thirds(size, (low, high)), conformal_half(np.abs(error))
    found = [conformal_half(np.abs(error[third == i])) for i in range(3)]
    a, b, c = (whole if np.isnan(width) else width for width in found)
    return (low, high), (a, b, c)


def widths_by_device(error: Array, size: Array, target: Array) -> tuple[tuple[float, float], Thirds]:
    """Return cuts and half widths for a device that was never measured: those of the worst device left out.

    A new device is one draw among devices, not among rows: of fewer than nine devices the conformal rank is the last.
    """
    low, high = (float(x) for x in np.quantile(size, (1 / 3, 2 / 3)))
    third, worst = thirds(size, (low, high)), []
    for device in np.unique(target):
        mine = target == device
        whole = conformal_half(np.abs(error[mine]))
        own = [conformal_half(np.abs(error[mine & (third == i)])) for i in range(3)]
        worst.append([whole if np.isnan(width) else width for width in own])
    a, b, c = (float(x) for x in np.max(worst, axis=0))
    return (low, high), (a, b, c)


def calibrated(rows: Rows, error: Array) -> Intervals:
    """Return the half widths by family from log errors on rows that did not train."""
    cuts, half, physics = {}, {}, {}
    size, family = np.log(rows.physics_s), rows.family
    for name in sorted(set(family.tolist())):
        mine = family == name
        cuts[name], half[name] = widths(error[mine], size[mine])
        physics[name] = conformal_half(np.abs(rows.log_error[mine]))
    return Intervals(COVERAGE, cuts, half, physics)


def shared_share(error: Array, group: Array) -> float:
    """Return the intraclass correlation of errors in groups, in [0, 1] (one-way analysis of variance, Fisher 1925)."""
    _, inverse, counts = np.unique(group, return_inverse=True, return_counts=True)
    n, groups = len(error), len(counts)
    if groups < 2 or n <= groups:
        return 1.0
    means = np.bincount(inverse, error) / counts
    between = float((counts * (means - error.mean()) ** 2).sum() / (groups - 1))
    within = float(((error - means[inverse]) ** 2).sum() / (n - groups))
    size = (n - float((counts**2).sum()) / n) / (groups - 1)
    if between + (size - 1) * within <= 0:
        return 1.0
    return float(np.clip((between - within) / (between + (size - 1) * within), 0.0, 1.0))


def inside_range(rows: Rows, scope: Scope, group: str) -> Array:
    """Return which rows lie within the trained ranges of their models."""
    inside, ranged = np.zeros(len(rows), dtype=bool), LAYOUTS[group].ranged
    for code in np.unique(rows.model):
        where = np.flatnonzero(rows.model == code)
        lo, hi = (np.array(ends, dtype=np.float32) for ends in scope.ranges[rows.words.models[int(code)]])
        ratios = rows.matrix[where, :ranged]
        away = np.maximum(lo - ratios, ratios - hi) / np.maximum(hi - lo, np.float32(0.1))
        inside[where] = away.max(axis=1) <= TOLERANCE
    return inside


def scores(rows: Rows, model: LearnedModel, group: str) -> dict[str, Score]:
    """Return the held-out scores by 'device/op'; what lies out of range counts with the closed form, as in use."""
    family, found = rows.family, {}
    inside = inside_range(rows, model.scope, group)
    latency = np.where(inside, predicted_s(rows, model), rows.physics_s)
    size = np.log(rows.physics_s)
    for name in sorted(set(family.tolist())):
        i = np.flatnonzero(family == name)
        half = np.array(model.intervals.half[name])[thirds(size[i], model.intervals.cuts[name])]
        width = np.where(inside[i], half, model.intervals.physics[name])
        truth = rows.latency_s[i]
        error, physics = np.abs(latency[i] / truth - 1), np.abs(rows.physics_s[i] / truth - 1)
        covered = (truth >= rows.lo_s[i]) & (truth <= rows.hi_s[i])
        found[name] = Score(
            rows=len(i), mape=_mean(error), median=float(np.median(error)), p90=float(np.quantile(error, 0.9)),
            coverage=_mean(np.abs(np.log(truth / latency[i])) <= width), width=float(np.median(np.exp(2 * width))),
            learned_share=_mean(inside[i]), roofline_mape=_mean(np.abs(rows.roofline_s[i] / truth - 1)),
            physics_mape=_mean(physics), physics_median=float(np.median(physics)), physics_coverage=_mean(covered),
        )  # fmt: skip
    return found


def _mean(values: Array) -> float:
    return float(np.mean(values))
