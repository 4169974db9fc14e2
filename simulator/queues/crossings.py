"""Arrivals at bunch crossings: each filled crossing gives one with the same probability, independently.

Crossings without an arrival cost nothing: the gaps between arrivals, counted in filled crossings, are geometric.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from foundation.checks import finite_number
from foundation.errors import BadValueError
from simulator.clock import Ticks
from simulator.queues.arrivals import BLOCK, Arrivals, rounded_ticks
from simulator.queues.fill_patterns import EVERY_CROSSING, FillPattern

LEAST_PROBABILITY = 1e-12
"""Below it a geometric gap may not fit into 64 bits together with the orbit's slots."""


@dataclass(frozen=True)
class Crossings(Arrivals):
    """Bernoulli arrivals on a fill pattern: crossing n is at n / crossing_rate_hz seconds, the first at 0.

    Each instant is rounded to ticks from its crossing number, so none drift (a float64 holds it to a tick up to 2^53
    ticks: 2.5 hours of picoseconds). `probability` is that of an arrival in a filled crossing.

    Raises:
        BadValueError: a rate not above 0, or a probability outside 1e-12 to 1.
    """

    crossing_rate_hz: float
    probability: float
    fill: FillPattern = EVERY_CROSSING

    def __post_init__(self) -> None:
        finite_number("crossing_rate_hz", self.crossing_rate_hz, high=1e12, strict=True)
        finite_number("The probability of an arrival in a filled crossing", self.probability, low=LEAST_PROBABILITY,
                      high=1.0)  # fmt: skip

    def mean_rate_hz(self) -> float:
        return self.crossing_rate_hz * self.fill.share * self.probability

    def blocks(self, rng: np.random.Generator, ticks_per_second: int) -> Iterator[Ticks]:
        first = 0
        while True:
            gaps = np.ones(BLOCK, np.int64) if self.probability == 1.0 else rng.geometric(self.probability, BLOCK)
            index = first - 1 + np.cumsum(gaps)
            first = int(index[-1]) + 1
            crossing = self.fill.crossings(index).astype(np.float64)
            yield rounded_ticks(crossing / self.crossing_rate_hz * ticks_per_second)


def crossings_at(rate_hz: float, crossing_rate_hz: float, fill: FillPattern = EVERY_CROSSING) -> Crossings:
    """Return the arrivals with a mean of `rate_hz`.

    Raises:
        BadValueError: more than one arrival a filled crossing.
    """
    finite_number("rate_hz", rate_hz, strict=True)
    finite_number("crossing_rate_hz", crossing_rate_hz, strict=True)
    probability = rate_hz / (crossing_rate_hz * fill.share)
    if probability > 1 + 1e-12:
        raise BadValueError(
            f"{rate_hz:g} arrivals a second are more than the {crossing_rate_hz * fill.share:g} filled crossings a "
            "second; lower the rate or fill more slots."
        )
    return Crossings(crossing_rate_hz, min(probability, 1.0), fill)


def rule_window_s(crossings: int, crossing_rate_hz: float) -> float:
    """Return the window of a trigger rule over this many crossings: half a crossing less.

    A rule drops what comes less than `crossings` after an accepted one. Instants are rounded to ticks one by one, so
    two that are exactly `crossings` apart may differ by a tick from their nominal distance; the half keeps them apart.
    """
    return (crossings - 0.5) / crossing_rate_hz
