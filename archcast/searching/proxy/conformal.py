"""Intervals from left-out folds: how far runs were from what the other folds said, by what kind of design it is.

Split conformal prediction with a scale of its own for each design (Papadopoulos et al. 2002; Lei et al. 2018): trees
learn the logarithm of the error, and the quantiles of errors over it hold for designs like those of the log.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from archcast.searching.proxy.boosting import Boosted, boosted, flat
from workloads.table import Array

DEPTH, LEAST, ROUNDS, RATE = 4, 3.0, 60, 0.1
LEAST_ERROR = 1e-6
NOMINAL = 0.90
FURTHEST = 2.0
"""No end is more times as far as the furthest left-out run (estimated; with 1 up to 11 points of coverage are lost)."""


@dataclass(frozen=True)
class Interval:
    """Ends of the errors over the scale that trees say, `low` below 0 and `high` above.

    No end lies below `least` or above `most`, which the errors of left-out runs decide: a scale that trees learn of few
    designs may be any.
    """

    scale: Boosted
    low: float
    high: float
    least: float = -math.inf
    most: float = math.inf

    def ends(self, features: Array) -> tuple[Array, Array]:
        """Return how far below and above the value the ends are, shape (designs,) each."""
        spread = np.exp(self.scale.predict(features))
        return np.maximum(self.low * spread, self.least), np.minimum(self.high * spread, self.most)


def fitted_interval(
    features: Array, errors: Array, design: Array, folds: Array, nominal: float = NOMINAL
) -> tuple[Interval, Array, Array]:
    """Return the interval of one run, and the ends that runs had in their left-out fold.

    Args:
        features: of designs. errors: of runs, from the other folds. design: of each run. folds: of designs.
    """
    sizes = _mean(np.log(np.abs(errors) + LEAST_ERROR), design, len(features))
    known = np.isfinite(sizes)
    model = _trees(features[known], sizes[known])
    spread = np.empty(len(features))
    for fold in np.unique(folds):
        mine = folds == fold
        spread[mine] = np.exp(_trees(features[known & ~mine], sizes[known & ~mine]).predict(features[mine]))
    scores = errors / spread[design]
    low, high = _quantiles(scores, nominal)
    left_low, left_high = np.empty(len(errors)), np.empty(len(errors))
    for fold in np.unique(folds):  # a fold's own errors have no say in its quantiles
        mine = folds[design] == fold
        ends, furthest = _quantiles(scores[~mine], nominal), _furthest(errors[~mine])
        left_low[mine] = np.maximum(ends[0] * spread[design[mine]], furthest[0])
        left_high[mine] = np.minimum(ends[1] * spread[design[mine]], furthest[1])
    return Interval(model, low, high, *_furthest(errors)), left_low, left_high


def _furthest(errors: Array) -> tuple[float, float]:
    return FURTHEST * min(float(errors.min()), 0.0), FURTHEST * max(float(errors.max()), 0.0)


def _trees(features: Array, sizes: Array) -> Boosted:
    return flat(boosted(features, sizes, np.ones(len(sizes)), DEPTH, LEAST, ROUNDS, RATE))


def _quantiles(scores: Array, nominal: float) -> tuple[float, float]:
    """Return the ends of scores with the correction for their number; each end leaves out half of what is left."""
    ordered, count = np.sort(scores), len(scores)
    beyond = math.floor((count + 1) * (1.0 - nominal) / 2.0)  # runs that may lie beyond each end
    place = max(beyond - 1, 0)
    return min(float(ordered[place]), 0.0), max(float(ordered[count - 1 - place]), 0.0)


def _mean(values: Array, design: Array, designs: int) -> Array:
    count = np.bincount(design, minlength=designs)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.bincount(design, values, designs) / count)
