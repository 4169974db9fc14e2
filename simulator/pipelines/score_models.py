"""Scores that a classifier gives to relevant and to other events, as tables: no sampling, so no noise.

The turn-on models follow github.com/wilkieolin/system_flow (systemflow/classifier.py, read, not copied), which draws
50,000 events a class. Here the efficiency of every object is put on a grid of scores, the objects of an event are
convolved, and the patterns of objects mixed; the result is what the published code tends to for many events.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from foundation.errors import BadValueError, UnknownNameError
from simulator.pipelines.turn_on import (
    HIGH_LEVEL_CURVES,
    LEVEL_1_CURVES,
    TRACKING,
    Array,
    TurnOn,
    bounded_efficiency,
    fitted_scale_per_gev,
)

MODELS = ("cms-l1t", "cms-hlt")

_STEPS_PER_UNIT = 1000  # of the score; an efficiency is at most 1, a sum of four at most 4
_CELLS = 4096
_QUANTILES = (np.arange(2000) + 0.5) / 2000

# Level 1: share of all accepts, scale limits of the fit (1/GeV), thresholds (GeV): trigger_rates of system_flow.
_LEVEL_1_RATES = (0.282, 0.364, 0.444, 0.18)
_LEVEL_1_LIMITS_PER_GEV = (0.40, 0.60, 0.40, 0.40)
_LEVEL_1_THRESHOLDS_GEV = (320.0, 22.0, 30.0, 38.0)
_PUBLISHED_RATE = 0.444  # the published fit takes the e/gamma rate for all four objects
# Share of each pattern of objects above threshold: (share, (jet, muon, e/gamma, tau)).
_PATTERNS = (
    (0.010, (1, 0, 0, 0)), (0.026, (1, 0, 0, 0)), (0.032, (1, 1, 0, 0)), (0.033, (0, 1, 1, 0)),
    (0.046, (1, 0, 1, 0)), (0.053, (1, 1, 1, 1)), (0.064, (0, 0, 1, 0)), (0.098, (0, 1, 0, 0)),
    (0.115, (1, 0, 0, 0)), (0.127, (0, 0, 0, 1)), (0.148, (0, 1, 0, 0)), (0.248, (0, 0, 1, 0)),
)  # fmt: skip

# High level: path rates in Hz (CMS HLTplots2018Rates; muons, tracking and taus share 202 Hz) and scale limits (1/GeV).
_PATH_RATES_HZ = (96.0, 235.0, 202 / 3, 189.0, 202 / 3, 202 / 3)
# The published search stops at the upper limit for SUSY and misses the scale of 0.0004 that would give its rate.
_PATH_LIMITS_PER_GEV = ((0.001, 0.005), (1e-4, 0.008), (1e-4, 0.008), (0.002, 0.008), (1e-4, 0.008), (1e-4, 0.008))
_WIDE_LIMITS_PER_GEV = (1e-4, 0.2)
_TRACKING_TURN_ON_GEV = 2.0  # the published code takes the design value, not the curve's midpoint


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Distinct scores, ascending, and the probability of each for other (`null`) and for relevant events."""

    scores: Array
    null: Array
    relevant: Array

    @classmethod
    def of(cls, scores: Any, null: Any, relevant: Any) -> ScoreTable:
        """Return the table of scores in any order, equal ones joined; weights become probabilities.

        Raises:
            BadValueError: lengths differ, a number is not finite, a weight is negative, or all of a class are 0.
        """
        given = [np.asarray(part, float).ravel() for part in (scores, null, relevant)]
        if len({part.size for part in given}) != 1 or not given[0].size:
            raise BadValueError("A table of scores needs as many scores as weights of each class, and at least one.")
        if not all(np.isfinite(part).all() for part in given) or min(given[1].min(), given[2].min()) < 0:
            raise BadValueError("Scores must be finite, and their weights finite and not negative.")
        distinct, place = np.unique(given[0], return_inverse=True)
        weights = [np.bincount(place, part, distinct.size) for part in given[1:]]
        if not all(weight.sum() > 0 for weight in weights):
            raise BadValueError("A table of scores needs a weight above 0 for relevant and for other events.")
        return cls(distinct, *(weight / weight.sum() for weight in weights))

    def shifted(self, boost: float) -> ScoreTable:
        """Return the table with the scores of relevant events raised by `boost`."""
        if boost == 0:
            return self
        scores = np.concatenate([self.scores, self.scores + boost])
        nothing = np.zeros_like(self.null)
        return ScoreTable.of(
            scores, np.concatenate([self.null, nothing]), np.concatenate([nothing, self.relevant])
        )  # fmt: skip


def turn_on_scores(model: str, skill_boost: float = 0.0, *, as_published: bool = True) -> ScoreTable:
    """Return the scores of `cms-l1t` (sum of four objects' efficiencies) or `cms-hlt` (efficiency of one path).

    `skill_boost` raises the scores of relevant events (tracks at level 1: +0.4). With `as_published` false, level 1
    fits each object to its own rate and keeps the plateau beyond the curves' last points, and the high level fits
    without limits and draws relevant events above the turn-on.

    Raises:
        UnknownNameError: no such model.
    """
    if model not in MODELS:
        raise UnknownNameError("model of a turn-on classifier", model, MODELS)
    return _scores(model, float(skill_boost), as_published)


@lru_cache(maxsize=64)
def _scores(model: str, skill_boost: float, as_published: bool) -> ScoreTable:
    if skill_boost:
        return _scores(model, 0.0, as_published).shifted(skill_boost)
    null, relevant = _level_1(as_published) if model == "cms-l1t" else _high_level(as_published)
    used = np.nonzero((null > 0) | (relevant > 0))[0]
    return ScoreTable.of(used / _STEPS_PER_UNIT, null[used], relevant[used])


def _level_1(as_published: bool) -> tuple[Array, Array]:
    """Return the scores of events with all objects below threshold, and of the patterns of objects above it."""
    below, above = [], []
    for i, curve in enumerate(LEVEL_1_CURVES):
        rate = _PUBLISHED_RATE if as_published else _LEVEL_1_RATES[i]
        scale = fitted_scale_per_gev(curve, rate, 0.0, _LEVEL_1_LIMITS_PER_GEV[i])
        threshold = -np.expm1(-scale * _LEVEL_1_THRESHOLDS_GEV[i])
        efficiency = curve.with_tail if as_published else curve.efficiency
        below.append(np.fft.rfft(_on_grid(efficiency(_energies(_QUANTILES * threshold, scale)))))
        above.append(np.fft.rfft(_on_grid(efficiency(_energies(threshold + _QUANTILES * (1 - threshold), scale)))))
    null = np.prod(below, axis=0)
    relevant = sum(
        share * np.prod([(above if hit else below)[i] for i, hit in enumerate(hits)], axis=0)
        for share, hits in _PATTERNS
    )
    return _probabilities(np.fft.irfft(null)), _probabilities(np.fft.irfft(relevant))


def _high_level(as_published: bool) -> tuple[Array, Array]:
    """Return the scores below the turn-on and of relevant events, paths mixed by their rates.

    The published code draws relevant events at the quantile 1 - u x (quantile of the turn-on), which is not the range
    above the turn-on, and limits the fitted scales; the corrected one takes 1 - u x (1 - that), and no such limits.
    """
    null, relevant = np.zeros(_CELLS), np.zeros(_CELLS)
    for curve, rate_hz, limits in zip(HIGH_LEVEL_CURVES, _PATH_RATES_HZ, _PATH_LIMITS_PER_GEV, strict=True):
        share = rate_hz / sum(_PATH_RATES_HZ)
        scale = fitted_scale_per_gev(
            curve, share, *(limits if as_published else _WIDE_LIMITS_PER_GEV), whole_range=True
        )  # fmt: skip
        threshold = -np.expm1(-scale * (_TRACKING_TURN_ON_GEV if curve is TRACKING else curve.midpoint_gev()))
        upper = threshold if as_published else 1 - threshold
        null += share * _on_grid(_bounded(curve, _QUANTILES * threshold, scale))
        relevant += share * _on_grid(_bounded(curve, 1 - _QUANTILES * upper, scale))
    return null, relevant


def _bounded(curve: TurnOn, quantiles: Array, scale_per_gev: float) -> Array:
    return bounded_efficiency(curve, _energies(quantiles, scale_per_gev))


def _energies(quantiles: Any, scale_per_gev: float) -> Array:
    energies: Array = -np.log1p(-quantiles) / scale_per_gev
    return energies


def _on_grid(scores: Array) -> Array:
    """Return equal weights of the scores on the grid; a score between two cells is shared so that the mean stays."""
    place = scores * _STEPS_PER_UNIT
    cell = place.astype(np.int64)
    share = place - cell
    weight = np.bincount(cell, 1 - share, _CELLS) + np.bincount(cell + 1, share, _CELLS)
    return weight / scores.size


def _probabilities(grid: Array) -> Array:
    """Return what a convolution gave without the rounding noise of the transform."""
    return np.where(grid > 1e-15, grid, 0.0)
