"""Success by tokens and samples, as the caller gives it: between given points only, never beyond them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from foundation.checks import finite_number
from foundation.errors import BadValueError
from workloads.table import Array

MOST_POINTS = 1000


def success_at(given: Any, tokens: float, samples: float, *, by_samples: bool) -> float:
    """Return the success for so many tokens and samples.

    Args:
        given: a number; points by tokens, each a number or points by samples; or points by samples where `by_samples`
            (the option has one number of tokens and several of samples).

    Raises:
        BadValueError: a point that is not a share, or what is asked lies outside the points.
    """
    if not isinstance(given, Mapping):
        return finite_number("success", given, high=1.0)
    nested = any(isinstance(value, Mapping) for value in given.values())
    if not nested:
        place, name = (samples, "samples") if by_samples else (tokens, "tokens")
        return _between(given, place, name)
    points = {at: success_at(value, tokens, samples, by_samples=True) for at, value in given.items()}
    return _between(points, tokens, "tokens")


def _between(points: Mapping[Any, Any], at: float, name: str) -> float:
    """Return the value at a place between points, straight over the logarithm of the place."""
    if len(points) > MOST_POINTS:
        raise BadValueError(f"a curve has at most {MOST_POINTS} points, not {len(points)}.")
    pairs = sorted(
        (finite_number(name, key, strict=True), finite_number("success", value, high=1.0))
        for key, value in points.items()
    )
    if not pairs:
        raise BadValueError("success has no points.")
    low, high = pairs[0][0], pairs[-1][0]
    if not low <= at <= high:
        raise BadValueError(
            f"success is given for {low:g} to {high:g} {name}, not for {at:g}; give that point "
            "(archcast does not guess how often answers are right)."
        )
    places, values = np.log([p for p, _ in pairs]), [v for _, v in pairs]
    return float(np.interp(math.log(at), places, values))


def mean_tokens(cap: float, finished: Mapping[Any, Any]) -> float:
    """Return the mean tokens of answers that are cut at `cap`: the integral of the share still going.

    Args:
        finished: share of answers that end by so many tokens; straight between points, from 0 at 0 tokens; after the
            last point no more end.

    Raises:
        BadValueError: a share above 1, or shares that fall.
    """
    pairs = sorted(
        (finite_number("tokens", k, strict=True), finite_number("share", v, high=1.0)) for k, v in finished.items()
    )
    tokens: Array = np.array([0.0, *(t for t, _ in pairs)])
    shares: Array = np.array([0.0, *(s for _, s in pairs)])
    if (np.diff(shares) < 0).any():
        raise BadValueError("the share of answers that have ended cannot fall with tokens.")
    grid = np.unique(np.r_[tokens[tokens < cap], cap])
    going = 1 - np.interp(grid, tokens, shares)
    return float((0.5 * (going[1:] + going[:-1]) * np.diff(grid)).sum())
