"""A Gaussian process with a basis learned elsewhere: what 10 to 50 measurements of a device say about the rest.

The prior of a log latency over networks is a mean and a few functions (`basis`, each column scaled by its prior
standard deviation) plus noise. Noise and scale are not fixed: predictions are averaged over a grid of both, weighted by
how likely each makes the shots (Rasmussen and Williams 2006, equations 2.25 and 5.8). With `tails` set, noise is
Student-t, so that one shot from another clock or a fallback does not bend the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foundation.errors import BadValueError
from workloads.table import Array

NOISES = (0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3)
"""Standard deviations of log noise that are tried (a whole-millisecond phone has 0.1, a GPU at batch 256 0.003)."""
SCALES = (0.3, 1.0, 3.0)
"""Factors on the prior variance that are tried: devices differ more or less from each other than the sources do."""
EXPECTED_NOISE, NOISE_SPREAD = 0.04, 1.5
"""Median and log standard deviation of the prior of the noise (estimated from HELP's source devices, 0.003 to 0.15)."""
LEVEL_VARIANCE = 9.0
"""Prior variance of the log level of a device: the shots alone set it."""
FEWEST_SHOTS = 3
ROUNDS = 12
TAILS = 4.0
"""Degrees of freedom of the noise (Lange, Little and Taylor 1989 recommend 4 where it is not estimated)."""
TYPICAL = 0.9
"""Share of candidates, those least unlike the mean, that shots are taken from: a device's costs bend at the extremes.
0.9 and Student-t noise served HELP's source devices best of (0.7, 0.9, 1) and (normal, t) when they played the target.
"""


@dataclass(frozen=True)
class Prior:
    """`mean` (rows,) and `basis` (rows, functions) of the log latency."""

    mean: Array
    basis: Array

    def take(self, index: Array) -> Prior:
        return Prior(self.mean[index], self.basis[index])


@dataclass(frozen=True)
class Posterior:
    """Mean and standard deviation of the log of a new measurement, shape (rows,); `noise` is that of one reading."""

    mean: Array
    spread: Array
    noise: float


def condition(
    prior: Prior, at: Array, log_latency: Array, *, tails: float = TAILS, extra_variance: Array | float = 0.0,
    expected_noise: float = EXPECTED_NOISE,
) -> Posterior:  # fmt: skip
    """Return what shots at rows `at` of the prior say about all its rows.

    Args:
        tails: degrees of freedom of Student-t noise, 0 for a normal.
        extra_variance: known variance of each shot's log, e.g. from rounding, shape (shots,).

    Raises:
        BadValueError: fewer than three shots, or a value that is no finite log.
    """
    target = np.asarray(log_latency, float) - prior.mean[at]
    if len(at) < FEWEST_SHOTS:
        raise BadValueError(f"A device needs at least {FEWEST_SHOTS} measured networks; {len(at)} are given.")
    if not np.isfinite(target).all():
        raise BadValueError("A measured latency is not a positive finite number.")
    level = float(np.median(target))
    basis, shots = prior.basis, prior.basis[at]
    parts: list[tuple[float, Array, Array, float]] = []
    for scale in SCALES:
        inner = scale * shots @ shots.T + LEVEL_VARIANCE
        cross = scale * basis @ shots.T + LEVEL_VARIANCE
        own = scale * (basis**2).sum(axis=1) + LEVEL_VARIANCE
        for noise in NOISES:
            variance, evidence = _noise(inner, target - level, noise, extra_variance, tails)
            inverse = np.linalg.inv(inner + np.diag(variance))
            mean = level + cross @ (inverse @ (target - level))
            spread = np.maximum(own - ((cross @ inverse) * cross).sum(axis=1), 0.0) + noise**2
            drawn = (np.log(noise / expected_noise) / NOISE_SPREAD) ** 2 + np.log(scale) ** 2
            parts.append((evidence - 0.5 * float(drawn), mean, spread, noise))
    return _averaged(prior.mean, parts)


def _averaged(centre: Array, parts: list[tuple[float, Array, Array, float]]) -> Posterior:
    logs = np.array([part[0] for part in parts])
    weights = np.exp(logs - logs.max())
    weights /= weights.sum()
    means, spreads = (np.stack([part[i] for part in parts]) for i in (1, 2))
    mean = weights @ means
    variance = weights @ (spreads + (means - mean) ** 2)
    return Posterior(centre + mean, np.sqrt(variance), float(weights @ np.array([part[3] for part in parts])))


def _noise(
    inner: Array, target: Array, noise: float, extra: Array | float, tails: float
) -> tuple[Array, float]:  # fmt: skip
    """Return the variance of each shot and the log evidence; under Student-t by reweighting (Lange et al. 1989)."""
    shots = len(target)
    variance = np.full(shots, noise**2) + extra
    weight = np.ones(shots)
    for _ in range(ROUNDS if tails else 0):
        fitted = inner @ np.linalg.solve(inner + np.diag(variance / weight), target)
        weight = (tails + 1) / (tails + (target - fitted) ** 2 / variance)
    full = inner + np.diag(variance / weight)
    factor = np.linalg.cholesky(full)
    solved = np.linalg.solve(factor, target)
    evidence = -0.5 * float(solved @ solved) - float(np.log(np.diag(factor)).sum())
    # each weight is a precision drawn from its gamma prior: a shot that is explained away costs its odds
    odds = 0.5 * tails * (np.log(weight) - weight + 1) - 0.5 * np.log(weight)
    return variance / weight, evidence + (float(odds.sum()) if tails else 0.0)


def spread_out(prior: Prior, candidates: Array, shots: int, *, noise: float = 0.05, typical: float = TYPICAL) -> Array:
    """Return the candidates whose measurement would tell most about all rows, best first (no latency is used).

    Each step takes the row that lowers the summed posterior variance most (Krause et al. 2008; here for the whole
    prior, the level left out).

    Raises:
        BadValueError: fewer candidates than shots.
    """
    if len(candidates) < shots:
        raise BadValueError(f"{shots} shots are asked of {len(candidates)} networks.")
    candidates = np.asarray(candidates)
    unlike = ((prior.basis[candidates] - prior.basis[candidates].mean(axis=0)) ** 2).sum(axis=1)
    most = max(shots, int(np.ceil(typical * len(candidates))))
    candidates = candidates[np.sort(np.argsort(unlike, kind="stable")[:most])]
    mine = prior.basis[candidates]
    inner, cross = mine @ mine.T, mine @ prior.basis.T
    chosen: list[int] = []
    for _ in range(shots):
        gain = (cross**2).sum(axis=1) / (np.diag(inner) + noise**2)
        gain[chosen] = -1.0
        best = int(np.argmax(gain))
        chosen.append(best)
        share = inner[:, best] / (inner[best, best] + noise**2)
        cross = cross - np.outer(share, cross[best])
        inner = inner - np.outer(share, inner[best])
    return candidates[chosen]


def rounding_variance(latency_s: Array) -> Array:
    """Return the variance of each log latency that rounding explains: readings in whole or tenth milliseconds."""
    latency = np.asarray(latency_s, float)
    for unit in (1e-3, 1e-4):
        if len(latency) > 1 and np.allclose(latency / unit, np.round(latency / unit), rtol=0, atol=1e-6):
            return np.asarray((unit / latency) ** 2 / 12)
    return np.zeros(len(latency))
