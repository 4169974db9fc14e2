"""A device of which a few keys were measured, from others of which most were: log-additive factors and deviations.

Keys are what was run (a network, its parts, precision, runtime); measurements are a matrix of keys and devices with
holes. A key's level is its mean over the sources, each less its own offset; how each source deviates from that, the
precision, the runtime and the size are the directions in which a device may differ. Each group of directions gets the
variance that it shows among the sources, each of which plays the target in turn. Noise is Student-t: some boards run a
share of the networks at another clock.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodel.bayes import Prior, condition, spread_out
from foundation.errors import BadValueError
from workloads.table import Array

FEWEST_SOURCES = 3
SHRINK, SWEEPS, ROUNDS = 0.02, 30, 8
LEAST, START = 0.01, {"size": 0.1, "kind": 0.2, "small": 0.1, "source": 0.5, "mixed": 0.1}
EXPECTED_NOISE = 0.1
COVERAGE = 0.9
PLAYED_KEYS = 1500
"""Keys of a source that plays the target, evenly spread, of those it has."""


@dataclass(frozen=True)
class Completion:
    """The prior of every key (NaN mean: no source ran it), the widening of intervals, and how sources that played went.

    `played_mape` has shape (sources,): mean error of each when the others predicted it from as many shots, NaN where it
    has too few keys.
    """

    prior: Prior
    widening: float
    played_mape: Array

    @property
    def answered(self) -> Array:
        return np.isfinite(self.prior.mean)


def fit_completion(latency_s: Array, kinds: Array, shots: int) -> Completion:
    """Return the prior of keys for a device that is not among the columns.

    Args:
        latency_s: sources only, shape (keys, sources), NaN where not measured.
        kinds: 0 or 1 for each precision and runtime, shape (keys, kinds).

    Raises:
        BadValueError: fewer than three sources.
    """
    logs = np.log(latency_s)
    sources = logs.shape[1]
    if sources < FEWEST_SOURCES:
        raise BadValueError(f"Completion needs at least {FEWEST_SOURCES} source devices; {sources} are given.")
    played = [_design(np.delete(logs, i, axis=1), kinds) for i in range(sources)]
    sizes = [_coefficients(level, basis, names, logs[:, i]) for i, (level, basis, names) in enumerate(played)]
    spread = {name: max(float(np.sqrt(np.median([s[name] for s in sizes]))), LEAST) for name in START}
    ratios, errors = [], np.full(sources, np.nan)
    for i, (level, basis, names) in enumerate(played):
        prior = Prior(level, basis * np.array([spread[name] for name in names]))
        known = np.flatnonzero(np.isfinite(level) & np.isfinite(logs[:, i]))
        if len(known) < 2 * shots:
            continue
        known = known[np.linspace(0, len(known) - 1, min(len(known), PLAYED_KEYS)).astype(int)]
        at = spread_out(prior.take(known), np.arange(len(known)), shots)
        found = condition(prior.take(known), at, logs[known[at], i], expected_noise=EXPECTED_NOISE)
        rest = np.setdiff1d(np.arange(len(known)), at)
        off = found.mean[rest] - logs[known[rest], i]
        ratios.append(np.abs(off) / found.spread[rest])
        errors[i] = np.abs(np.expm1(off)).mean()
    level, basis, names = _design(logs, kinds)
    widening = float(np.quantile(np.concatenate(ratios), COVERAGE)) if ratios else float("nan")
    return Completion(Prior(level, basis * np.array([spread[name] for name in names])), widening, errors)


def predict_completion(model: Completion, at: Array, latency_s: Array) -> tuple[Array, Array, Array]:
    """Return seconds of every key and the ends of its interval (kind pseudo_target); NaN where no source ran it.

    Raises BadValueError: fewer than three shots, or one that no source ran.
    """
    if not model.answered[at].all():
        raise BadValueError("A shot is of a key that no source device ran.")
    known = np.flatnonzero(model.answered)
    place = {int(key): i for i, key in enumerate(known)}
    found = condition(
        model.prior.take(known), np.array([place[int(i)] for i in at]), np.log(latency_s),
        expected_noise=EXPECTED_NOISE,
    )  # fmt: skip
    value, half = np.full(len(model.prior.mean), np.nan), np.full(len(model.prior.mean), np.nan)
    value[known], half[known] = np.exp(found.mean), model.widening * found.spread
    return value, value * np.exp(-half), value * np.exp(half)


def _design(logs: Array, kinds: Array) -> tuple[Array, Array, list[str]]:
    """Return the level of each key, the directions in which a device may differ, and the group of each."""
    known = np.isfinite(logs)
    count = known.sum(axis=1)
    level, offset = np.zeros(len(logs)), np.zeros(logs.shape[1])
    for _ in range(SWEEPS):
        level = np.where(known, logs - offset, 0.0).sum(axis=1) / np.maximum(count, 1)
        offset = np.where(known, logs - level[:, None], 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        offset -= offset.mean()
    apart = np.where(known, logs - level[:, None] - offset, 0.0)
    size = np.where(count > 0, level - level[count > 0].mean(), 0.0) / 2
    basis = np.column_stack([size, np.minimum(size, 0.0), kinds, kinds * size[:, None], apart])
    wide = kinds.shape[1]
    names = ["size", "small", *["kind"] * wide, *["mixed"] * wide, *["source"] * logs.shape[1]]
    return np.where(count > 0, level, np.nan), basis, names


def _coefficients(level: Array, basis: Array, names: list[str], logs: Array) -> dict[str, float]:
    """Return the mean square of each group's coefficients on a source that plays the target, all its rows shown."""
    rows = np.isfinite(level) & np.isfinite(logs)
    matrix, target = np.column_stack([np.ones(int(rows.sum())), basis[rows]]), logs[rows] - level[rows]
    ridge = np.diag([0.0, *[SHRINK / START[name] ** 2 for name in names]])
    weight = np.ones(len(target))
    found = np.zeros(matrix.shape[1])
    for _ in range(ROUNDS):
        found = np.linalg.solve((matrix * weight[:, None]).T @ matrix + ridge, (matrix * weight[:, None]).T @ target)
        error = target - matrix @ found
        weight = 5 / (4 + (error / (1.48 * np.median(np.abs(error)) + 0.01)) ** 2)
    groups = np.array(names)
    return {name: float(np.mean(found[1:][groups == name] ** 2)) for name in START}
