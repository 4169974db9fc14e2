"""A Gaussian process for a few hundred designs: Matern 5/2, one length for each knob, by numpy and scipy alone.

Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), sections 2.2, 4.2 and 5.4; lengths have the
prior of Hvarfner, Hellsten and Nardi (ICML 2024), which keeps many knobs from being fitted to few designs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from workloads.table import Array

LENGTH_MEAN, LENGTH_SPREAD = 0.0, 1.0
"""Of the logarithm of a length over the root of the number of knobs."""
NOISE_MEAN, NOISE_SPREAD = math.log(1e-3), 2.0
LEAST_NOISE, MOST_NOISE = 1e-6, 0.5
"""Share of the variance of the values that neighbours do not tell."""
STEPS = 40
"""Most steps of the fit."""


class GaussianProcess:
    """Fitted to values of mean 0 and spread 1 inside; `predict` answers in the values' own scale."""

    def __init__(self, points: Array, values: Array, groups: Array) -> None:
        """Fit to `points` (designs, columns) and `values`; columns of one group share a length."""
        from scipy.linalg import cho_factor, cho_solve

        self.points, self.groups = points, groups
        self.offset = float(values.mean())
        self.scale = float(values.std()) or 1.0
        target = (values - self.offset) / self.scale
        self.log_lengths, self.log_signal, self.log_noise = _fitted(points, target, groups)
        self._scaled = points / np.exp(self.log_lengths)[groups]
        cover = _matern(_squares(self._scaled, self._scaled))[0] * math.exp(self.log_signal)
        cover[np.diag_indices(len(points))] += math.exp(self.log_noise)
        self._factor = cho_factor(cover, lower=True, check_finite=False)
        self._weights = cho_solve(self._factor, target, check_finite=False)

    def predict(self, points: Array) -> tuple[Array, Array]:
        """Return means and variances at points, shape (points,) each."""
        from scipy.linalg import solve_triangular

        cross = self._cover(points)
        half = solve_triangular(self._factor[0], cross.T, lower=True, check_finite=False)
        variance = math.exp(self.log_signal) - np.einsum("ij,ij->j", half, half)
        mean = self.offset + self.scale * (cross @ self._weights)
        return mean, self.scale**2 * np.maximum(variance, 1e-12)

    def covariances(self, points: Array) -> Array:
        """Return the covariances between values at points, shape (points, points)."""
        from scipy.linalg import solve_triangular

        half = solve_triangular(self._factor[0], self._cover(points).T, lower=True, check_finite=False)
        between = _matern(_squares(self._at(points), self._at(points)))[0] * math.exp(self.log_signal)
        return self.scale**2 * np.asarray(between - half.T @ half)

    def left_out_error(self) -> float:
        """Return the mean square by which each design is missed by a process that does not know its value.

        Leave-one-out in closed form (Rasmussen and Williams, equation 5.12), with the kernel that all were fitted by.
        """
        from scipy.linalg import cho_solve

        inverse = np.diag(cho_solve(self._factor, np.eye(len(self.points)), check_finite=False))
        return self.scale**2 * float(np.mean((self._weights / inverse) ** 2))

    @property
    def noise(self) -> float:
        """Variance that neighbours do not tell."""
        return self.scale**2 * math.exp(self.log_noise)

    def _at(self, points: Array) -> Array:
        return np.asarray(points / np.exp(self.log_lengths)[self.groups])

    def _cover(self, points: Array) -> Array:
        return np.asarray(_matern(_squares(self._at(points), self._scaled))[0] * math.exp(self.log_signal))


def _squares(first: Array, second: Array) -> Array:
    """Return squared distances between rows."""
    found = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2.0 * (first @ second.T)
    return np.asarray(np.maximum(found, 0.0, out=found))


def _matern(squares: Array) -> tuple[Array, Array]:
    """Return the covariance by squared distance, and what its slope by the logarithm of a length is made of."""
    far = np.sqrt(5.0 * squares)
    fall = np.exp(-far)
    return np.asarray((1.0 + far + squares * (5.0 / 3.0)) * fall), (5.0 / 3.0) * (1.0 + far) * fall


def _fitted(points: Array, target: Array, groups: Array) -> tuple[Array, float, float]:
    """Return the logarithms of lengths, signal and noise that make the values most likely, with their priors."""
    from scipy.optimize import minimize

    count = int(groups.max()) + 1
    mean = LENGTH_MEAN + 0.5 * math.log(count)
    start = np.concatenate((np.full(count, mean), [0.0, NOISE_MEAN]))
    bounds = [(-3.0, 6.0)] * count + [(-3.0, 3.0), (math.log(LEAST_NOISE), math.log(MOST_NOISE))]
    found = minimize(
        _cost, start, (points, target, groups, mean), "L-BFGS-B", jac=True, bounds=bounds, options={"maxiter": STEPS}
    )
    best = found.x if np.isfinite(found.fun) else start
    return best[:count], float(best[count]), float(best[count + 1])


def _cost(given: Array, points: Array, target: Array, groups: Array, mean: float) -> tuple[float, Array]:
    """Return minus the logarithm of the posterior of the kernel's numbers, and its slope."""
    from scipy.linalg import cho_factor, cho_solve

    count = len(given) - 2
    lengths, signal, noise = given[:count], math.exp(given[count]), math.exp(given[count + 1])
    scaled = points / np.exp(lengths)[groups]
    shape, slope = _matern(_squares(scaled, scaled))
    cover = signal * shape
    cover[np.diag_indices(len(points))] += noise
    try:
        factor: Any = cho_factor(cover, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return math.inf, np.zeros(len(given))
    weights = cho_solve(factor, target, check_finite=False)
    inverse = cho_solve(factor, np.eye(len(points)), check_finite=False)
    cost = 0.5 * float(target @ weights) + float(np.log(np.diag(factor[0])).sum())
    outer = np.outer(weights, weights) - inverse
    found = np.zeros(len(given))
    by = outer * slope * signal
    each = by.sum(axis=1) @ scaled**2 - np.einsum("ij,ij->j", scaled, by @ scaled)  # half the sum over pairs
    np.add.at(found, groups, -each)
    found[count] = -0.5 * signal * float((outer * shape).sum())
    found[count + 1] = -0.5 * noise * float(np.trace(outer))
    away, noisy = (lengths - mean) / LENGTH_SPREAD, (given[count + 1] - NOISE_MEAN) / NOISE_SPREAD
    found[:count] += away / LENGTH_SPREAD
    found[count + 1] += noisy / NOISE_SPREAD
    return cost + 0.5 * float(away @ away) + 0.5 * noisy**2, found
