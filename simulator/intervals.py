"""Numbers from several runs: their mean, and intervals for chance and for the error of the step costs.

Chance is the t interval over replications; of one run that of the means of ten batches in a row (Law, Simulation
Modeling and Analysis, chapter 9). Times are taken in the logarithm: they are above 0 and may vary by factors, and so
their intervals stay above 0. The error of the cost model is the same runs, on the same random numbers, at the ends
of the interval of the step costs. The two are independent: their deviations add in quadrature.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from workloads.table import Array

T_975: tuple[float, ...] = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
    2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Quantile 0.975 of Student's t by degrees of freedom, from 1."""
WIDEST = 100.0
"""An interval that reaches a factor further than this says nothing (estimated, 10 to 1000)."""
BATCHES = 10
FEWEST_IN_A_BATCH = 30


@dataclass(frozen=True)
class Uncertain:
    """A number with its interval; `lo` and `hi` are NaN where nothing is known of it."""

    value: float
    lo: float = math.nan
    hi: float = math.nan

    def to_json(self) -> dict[str, float | None]:
        """Return value, lo and hi; None stands for what is not known."""
        found = {"value": self.value, "lo": self.lo, "hi": self.hi}
        return {key: number if math.isfinite(number) else None for key, number in found.items()}

    @property
    def known(self) -> bool:
        return math.isfinite(self.lo) and math.isfinite(self.hi)


def t_975(freedom: int) -> float:
    """Return the quantile 0.975 of Student's t (beyond 30 degrees the expansion of Cornish and Fisher, 1e-4)."""
    if freedom <= len(T_975):
        return T_975[freedom - 1]
    z = 1.959964
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def half_width(values: Sequence[float] | Array) -> float:
    """Return half of the 95 % t interval of the mean of independent values, NaN for fewer than two."""
    found = np.asarray(values, dtype=float)
    found = found[np.isfinite(found)]
    if len(found) < 2:
        return math.nan
    return t_975(len(found) - 1) * float(found.std(ddof=1)) / math.sqrt(len(found))


def combined(
    values: Sequence[float], chance: float, faster: Sequence[float] = (), slower: Sequence[float] = ()
) -> Uncertain:  # fmt: skip
    """Return the mean of replications with its interval.

    Args:
        values: one a replication. chance: half of the interval for chance (NaN: not known, then there is none).
        faster, slower: the same at the ends of the step costs; empty where these were not run.
    """
    found = np.asarray(values, dtype=float)
    found = found[np.isfinite(found)]
    if not len(found):
        return Uncertain(math.nan)
    value = float(found.mean())
    if not math.isfinite(chance):
        return Uncertain(value)
    ends = [float(np.mean(x)) for x in (faster, slower) if len(x) and np.isfinite(x).all()]
    down = max((value - end for end in ends), default=0.0)
    up = max((end - value for end in ends), default=0.0)
    lo = value - math.hypot(max(down, 0.0), chance)
    return Uncertain(value, max(lo, 0.0) if value >= 0 else lo, value + math.hypot(max(up, 0.0), chance))


def half_width_log(values: Sequence[float] | Array) -> float:
    """Return `half_width` of the logarithms of positive values, NaN where one is 0 or below."""
    found = np.asarray(values, dtype=float)
    found = found[np.isfinite(found)]
    return half_width(np.log(found)) if (found > 0).all() else math.nan


def combined_log(
    values: Sequence[float], chance: float, faster: Sequence[float] = (), slower: Sequence[float] = ()
) -> Uncertain:  # fmt: skip
    """Return `combined` of positive values in the logarithm; `chance` is half of the interval there.

    No interval is given where it would reach further than a factor of `WIDEST` (few runs that differ by much).
    """
    found = np.asarray(values, dtype=float)
    value = float(found[np.isfinite(found)].mean()) if np.isfinite(found).any() else math.nan
    if not (math.isfinite(chance) and value > 0):
        return Uncertain(value)
    ends = [math.log(float(np.mean(x)) / value) for x in (faster, slower) if len(x) and np.isfinite(x).all()]
    down, up = (math.hypot(max([0.0, *(sign * end for end in ends)]), chance) for sign in (-1, 1))
    if max(down, up) > math.log(WIDEST):
        return Uncertain(value)
    return Uncertain(value, value * math.exp(-down), value * math.exp(up))


def in_order(numbers: Sequence[Uncertain]) -> list[Uncertain]:
    """Return the intervals of rising percentiles: no end lies below that of the percentile before."""
    lo = hi = -math.inf
    found = []
    for number in numbers:
        if number.known:
            lo, hi = max(lo, number.lo), max(hi, number.hi)
            number = Uncertain(number.value, lo, hi)
        found.append(number)
    return found


def batches(count: int) -> list[slice] | None:
    """Return ten equal batches in a row of `count` observations, None for too few (an interval is never invented)."""
    size = count // BATCHES
    if size < FEWEST_IN_A_BATCH:
        return None
    return [slice(i * size, (i + 1) * size if i < BATCHES - 1 else count) for i in range(BATCHES)]


def mser_5(values: Array) -> int:
    """Return how many observations to leave out at the start: MSER-5 (White 1997).

    The cut, in batches of five and at most half of the run, at which the standard error of what is left is least.
    """
    usable = len(values) // 5 * 5
    means = np.asarray(values[:usable], dtype=float).reshape(-1, 5).mean(axis=1)
    count = len(means)
    if count < 4:
        return 0
    left = np.arange(count, 0, -1)
    sums, squares = (np.cumsum(x[::-1])[::-1] for x in (means, means**2))
    error = np.maximum(squares - sums**2 / left, 0.0) / left.astype(float) ** 2
    return int(np.argmin(error[: count // 2 + 1])) * 5
