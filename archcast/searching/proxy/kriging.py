"""Kriging of many designs: a Gaussian process whose lengths are fitted on some and whose weights on all.

Matern 5/2 (Rasmussen and Williams 2006, 4.2). Distances are added column by column and not by a product of matrices,
so that a design's value does not depend on those beside it, to the bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from workloads.table import Array

LENGTHS_FROM = 700
"""Designs on which lengths are fitted."""
BLOCK = 64
"""Designs at a time: their distances stay in the cache."""
PRODUCT_BLOCK = 256
FARTHEST = 1e-7
"""A column over whose whole reach the squared distance is less is left out."""


@dataclass(frozen=True)
class Kriging:
    """`points` are the designs' columns over their lengths (columns, designs), float32; `weights` theirs."""

    columns: Array
    lengths: Array
    points: Array
    weights: Array
    offset: float

    def predict(self, points: Array, together: bool = False) -> Array:
        """Return means at points (designs, all columns); `together`: by products of matrices, for a whole table."""
        scaled = (points[:, self.columns] / self.lengths).astype(np.float32)
        found = np.empty(len(scaled))
        if together:
            norms, own = (self.points**2).sum(axis=0), (scaled**2).sum(axis=1)
            for start in range(0, len(scaled), PRODUCT_BLOCK):
                at = slice(start, start + PRODUCT_BLOCK)
                squares = scaled[at] @ self.points
                squares *= -2.0
                squares += norms
                squares += own[at, None]
                found[at] = matern(np.maximum(squares, 0.0, out=squares)) @ self.weights
            return self.offset + found
        for start in range(0, len(scaled), BLOCK):
            part = scaled[start : start + BLOCK]
            squares = np.zeros((len(part), self.points.shape[1]), dtype=np.float32)
            for place in range(len(self.columns)):
                apart = part[:, place, None] - self.points[place]
                apart *= apart
                squares += apart
            found[start : start + BLOCK] = np.einsum("ij,j->i", matern(squares), self.weights)
        return self.offset + found


def matern(squares: Array) -> Array:
    """Return the covariance of Matern 5/2 by squared distance, in its own precision."""
    far = np.sqrt(5.0 * squares)
    return np.asarray((1.0 + far + far * far * np.asarray(1.0 / 3.0, dtype=far.dtype)) * np.exp(-far))


def fitted_kriging(
    points: Array, values: Array, counts: Array, folds: Array, rng: np.random.Generator
) -> tuple[Kriging, Array]:
    """Return the process of values at points, each the mean of so many runs, and what it says of each left-out fold.

    What is left out has a say in the lengths, but not in the weights.
    """
    from scipy.linalg import cho_factor, cho_solve

    from archcast.searching.surrogate import GaussianProcess

    some = np.sort(rng.permutation(len(values))[:LENGTHS_FROM])
    process = GaussianProcess(points[some], values[some], np.arange(points.shape[1]))
    lengths, signal = np.exp(process.log_lengths), math.exp(process.log_signal)
    reach = (np.ptp(points, axis=0) / lengths) ** 2
    columns = np.flatnonzero(reach > FARTHEST)
    scaled = (points[:, columns] / lengths[columns]).astype(np.float32)
    exact = scaled.astype(float)
    norms = (exact**2).sum(axis=1)
    cover = matern(np.maximum(norms[:, None] + norms - 2.0 * (exact @ exact.T), 0.0))
    cover[np.diag_indices(len(values))] += math.exp(process.log_noise) / signal / counts
    offset = process.offset
    factor = cho_factor(cover, lower=True, check_finite=False)
    weights = cho_solve(factor, values - offset, check_finite=False)
    inverse = cho_solve(factor, np.eye(len(values)), check_finite=False)
    left_out = np.empty(len(values))
    for fold in np.unique(folds):  # values of a fold less the prediction from the others: K^-1_ff^-1 weights_f
        mine = np.flatnonzero(folds == fold)
        left_out[mine] = values[mine] - np.linalg.solve(inverse[np.ix_(mine, mine)], weights[mine])
    points_kept = np.ascontiguousarray(scaled.T)
    return Kriging(columns, lengths[columns], points_kept, weights.astype(np.float32), offset), left_out
