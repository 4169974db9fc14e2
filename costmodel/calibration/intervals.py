"""Errors on rows that training never saw, made into intervals and scores."""

from __future__ import annotations

import numpy as np

from costmodel.artefact import Score
from costmodel.calibration.rows import Rows
from costmodel.difficulty import FARTHEST, forest_name, grown, inputs
from costmodel.features import LAYOUTS
from costmodel.knowledge import FEWEST, Intervals, Scope
from costmodel.residual import TOLERANCE, LearnedModel
from workloads.table import Array

COVERAGE = 0.9
PRIOR_GROUPS = 20
"""Shape groups that the width of all devices counts for against a device's own (estimated, 5 to 60)."""
LEAST_SPREAD = 0.25
"""Least standard deviation of the log widths of designs (estimated, 0.2 to 0.4): few designs may be alike by chance."""
STUDENT_80 = (1.376, 1.061, 0.978, 0.941, 0.920, 0.906, 0.896, 0.889, 0.883, 0.879)
"""Student's t at 80 %, one-sided, for 1 to 10 degrees of freedom."""
Thirds = tuple[float, float, float]


def predicted_s(rows: Rows, model: LearnedModel) -> Array:
    """Return the learned latency of each row from its own model, bounded by the floor."""
    return np.asarray(np.maximum(rows.physics_s * np.exp(own_factor(rows, model).astype(np.float64)), rows.floor_s))


def own_factor(rows: Rows, model: LearnedModel) -> Array:
    """Return the log factor of each row by its own model."""
    factor = np.empty(len(rows), dtype=np.float32)
    for code in np.unique(rows.model):
        where = np.flatnonzero(rows.model == code)
        factor[where] = model.log_factor(rows.words.models[int(code)], np.ascontiguousarray(rows.matrix[where]))
    return factor


def hardness(rows: Rows, model: LearnedModel, group: str) -> Array:
    """Return how hard each row is by the model's forest; ones where there is none."""
    name = forest_name(group, kin=False)
    if name not in model.forest:
        return np.ones(len(rows))
    return np.exp(model.log_factor(name, inputs(rows.matrix, own_factor(rows, model))).astype(np.float64))


def conformal_half(errors: Array, coverage: float = COVERAGE) -> float:
    """Return the half width that covers 90 % of new errors: the ceil((n + 1) 0.9)-th smallest; NaN below 9 errors."""
    rank = int(np.ceil((len(errors) + 1) * coverage))
    if len(errors) < FEWEST or rank > len(errors):
        return float("nan")
    return float(np.partition(errors, rank - 1)[rank - 1])


def thirds(size: Array, cuts: tuple[float, float]) -> Array:
    """Return which third of the size range each row is in."""
    return np.asarray(1 * (size > cuts[0]) + (size > cuts[1]))


def widths(error: Array, size: Array, group: Array, usual: float) -> tuple[tuple[float, float], Thirds]:
    """Return the cuts between thirds of the log size, and the half width of each third (that of all, if too few).

    Where there is a `usual` width, that of the same operator on all devices (NaN: none), those of a device and its
    thirds are drawn to it: rows of a shape err together, and few shapes tell a third from another by chance.
    """
    low, high = (float(x) for x in np.quantile(size, (1 / 3, 2 / 3)))
    third, whole = thirds(size, (low, high)), conformal_half(np.abs(error))
    found = [conformal_half(np.abs(error[third == i])) for i in range(3)]
    if not np.isnan(usual) and not np.isnan(whole):
        whole = _drawn(whole, len(np.unique(group)), usual)
        found = [_drawn(width, len(np.unique(group[third == i])), whole) for i, width in enumerate(found)]
    a, b, c = (whole if np.isnan(width) else width for width in found)
    return (low, high), (a, b, c)


def _drawn(width: float, groups: int, usual: float) -> float:
    return float(np.exp((groups * np.log(width) + PRIOR_GROUPS * np.log(usual)) / (groups + PRIOR_GROUPS)))


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


def widths_of_next(error: Array, size: Array, design: Array) -> tuple[tuple[float, float], Thirds]:
    """Return cuts and half widths for a design that was never measured, from the errors of each left out.

    A new design is one draw among designs, not among rows: the width that covers 90 % of its rows is drawn like those
    of the others. Its bound is the one-sided 80 % prediction bound of a normal logarithm (Student's t, one new draw):
    four new designs of five have 90 % of their rows within it.
    """
    low, high = (float(x) for x in np.quantile(size, (1 / 3, 2 / 3)))
    third, found = thirds(size, (low, high)), []
    for one in np.unique(design):
        mine = design == one
        whole = conformal_half(np.abs(error[mine]))
        own = [conformal_half(np.abs(error[mine & (third == i)])) for i in range(3)]
        found.append([whole if np.isnan(width) else width for width in own])
    logs = np.log(np.maximum(np.array(found)[~np.isnan(found).any(axis=1)], 1e-3))
    if not len(logs):
        return (low, high), (float("nan"),) * 3
    count = len(logs)
    spread = np.maximum(logs.std(axis=0, ddof=1) if count > 1 else 0.0, LEAST_SPREAD)
    bound = STUDENT_80[min(count - 1, len(STUDENT_80)) - 1 if count > 1 else 0] * np.sqrt(1.0 + 1.0 / count)
    a, b, c = (float(x) for x in np.exp(logs.mean(axis=0) + bound * spread))
    return (low, high), (a, b, c)


def calibrated(rows: Rows, error: Array, hard: Array | None = None) -> Intervals:
    """Return the half widths by family from log errors on rows that did not train.

    `hard` is how hard each row is by a forest that did not see its shape; widths are multiples of it.
    """
    cuts, half, physics = {}, {}, {}
    size, family = np.log(rows.physics_s), rows.family
    score = error if hard is None else error / hard
    usual = {int(op): conformal_half(np.abs(score[rows.op == op])) for op in np.unique(rows.op)}
    for name in sorted(set(family.tolist())):
        mine = family == name
        drawn_to = float("nan") if hard is None else usual[int(rows.op[mine][0])]
        cuts[name], half[name] = widths(score[mine], size[mine], rows.group[mine], drawn_to)
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


def distances(rows: Rows, scope: Scope, group: str) -> Array:
    """Return how far each row lies outside the trained ranges of its model, as a part of the range."""
    found, ranged = np.zeros(len(rows)), LAYOUTS[group].ranged
    for code in np.unique(rows.model):
        where = np.flatnonzero(rows.model == code)
        lo, hi = (np.array(ends, dtype=np.float32) for ends in scope.ranges[rows.words.models[int(code)]])
        ratios = rows.matrix[where, :ranged]
        away = np.maximum(lo - ratios, ratios - hi) / np.maximum(hi - lo, np.float32(0.1))
        found[where] = np.maximum(away.max(axis=1), 0.0)
    return found


def scores(rows: Rows, model: LearnedModel, group: str) -> dict[str, Score]:
    """Return the held-out scores by 'device/op'; what lies out of range counts as it is answered."""
    family, found, size = rows.family, {}, np.log(rows.physics_s)
    away, hard = distances(rows, model.scope, group), hardness(rows, model, group)
    inside = away <= TOLERANCE
    learned, closed = np.empty(len(rows)), np.empty(len(rows))
    for name in sorted(set(family.tolist())):
        i = np.flatnonzero(family == name)
        half = np.array(model.intervals.half[name])[thirds(size[i], model.intervals.cuts[name])]
        learned[i], closed[i] = half * hard[i] * grown(away[i]), model.intervals.physics[name]
    serves = inside | ((away <= FARTHEST) & (learned <= closed))
    latency = np.where(serves, predicted_s(rows, model), rows.physics_s)
    width_of = np.where(serves, learned, closed * (1.0 + np.minimum(away, 1.0)))
    for name in sorted(set(family.tolist())):
        i = np.flatnonzero(family == name)
        width, truth = width_of[i], rows.latency_s[i]
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
