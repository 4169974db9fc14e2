"""Arrivals in bursts: a rate that switches between two values, windows of another process, several at one instant."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from foundation.checks import finite_number
from foundation.errors import BadValueError
from simulator.clock import Ticks
from simulator.queues.arrivals import BLOCK, Arrivals, rounded_ticks
from simulator.queues.laws import Floats, Law

MAX_TOGETHER = 1_000_000
"""Arrivals at one instant."""
LEAST_PER_CYCLE = 1e-2
"""Mean arrivals while the rate is high and then low once: below, the process could not be told from Poisson."""

MOST_PHASES = 2**19
"""Pairs of phases drawn together."""


@dataclass(frozen=True)
class Switching(Arrivals):
    """Poisson arrivals whose rate is high for an exponential time of mean `high_s`, then low for one of `low_s`: the
    two-state Markov-modulated Poisson process. With `low_hz` 0 it is an on/off source. It begins in its steady state.

    Raises:
        BadValueError: a time not above 0, rates out of order, or switches a hundred times faster than arrivals.
    """

    high_hz: float
    low_hz: float
    high_s: float
    low_s: float

    def __post_init__(self) -> None:
        finite_number("high_hz", self.high_hz, strict=True)
        finite_number("low_hz", self.low_hz, high=self.high_hz)
        finite_number("high_s", self.high_s, strict=True)
        finite_number("low_s", self.low_s, strict=True)
        if self._per_cycle < LEAST_PER_CYCLE:
            raise BadValueError(
                f"The rate switches so fast that a cycle has {self._per_cycle:g} arrivals in the mean (at least "
                f"{LEAST_PER_CYCLE:g}); use Poisson arrivals at {self.mean_rate_hz():g} Hz."
            )

    @property
    def _per_cycle(self) -> float:
        return self.high_hz * self.high_s + self.low_hz * self.low_s

    def mean_rate_hz(self) -> float:
        return self._per_cycle / (self.high_s + self.low_s)

    def dispersion(self, window_s: float) -> float:
        """Return variance over mean of the counts in windows of `window_s`, in closed form.

        The rate has the covariance v exp(-t / tau), v = (high - low)^2 p (1 - p), p the share of time that it is high,
        1 / tau = 1 / high_s + 1 / low_s; the counts have 1 + (v / rate) 2 tau (1 - (tau / w)(1 - exp(-w / tau))) (Cox
        and Isham, Point Processes, 1980, section 3.3).
        """
        share, tau = self.high_s / (self.high_s + self.low_s), 1 / (1 / self.high_s + 1 / self.low_s)
        variance = (self.high_hz - self.low_hz) ** 2 * share * (1 - share)
        growth = 2 * tau * (1 + tau / window_s * np.expm1(-window_s / tau))
        return float(1 + variance / self.mean_rate_hz() * growth)

    def blocks(self, rng: np.random.Generator, ticks_per_second: int) -> Iterator[Ticks]:
        """Yield BLOCK instants at a time: a Poisson process of rate 1, on a clock that runs with the rate."""
        phases = self._phases(rng, ticks_per_second)
        start, length, rate = next(phases)
        done = 0.0  # arrivals (expected) of the phases up to `start`
        last = 0.0
        while True:
            clock = last + np.cumsum(rng.standard_exponential(BLOCK))
            last = float(clock[-1])
            ends = done + np.cumsum(length * rate)
            while ends[-1] <= last:
                more = next(phases)
                start, length, rate = (np.concatenate(pair) for pair in zip((start, length, rate), more, strict=True))
                ends = done + np.cumsum(length * rate)
            at = np.searchsorted(ends, clock, side="right")
            before = np.concatenate([[done], ends[:-1]])[at]
            within = rounded_ticks((clock - before) / rate[at])
            yield start[at] + np.minimum(within, length[at])
            # Phases that are over are dropped; the clock starts at 0 again, so that it stays exact in long runs.
            over = int(at[-1])
            last -= float(before[-1])
            start, length, rate, done = start[over:], length[over:], rate[over:], 0.0

    def _phases(self, rng: np.random.Generator, ticks_per_second: int) -> Iterator[tuple[Ticks, Ticks, Floats]]:
        """Yield (start ticks, length ticks, arrivals a tick) of phases in turn, many at a time."""
        pairs = int(np.clip(2 * BLOCK / self._per_cycle, 8, MOST_PHASES))
        high = bool(rng.random() < self.high_s / (self.high_s + self.low_s))
        order = [0, 1] if high else [1, 0]
        mean_ticks = np.array([self.high_s, self.low_s])[order] * ticks_per_second
        per_tick = np.array([self.high_hz, self.low_hz])[order] / ticks_per_second
        now = 0
        while True:
            drawn = rng.standard_exponential((pairs, 2)) * mean_ticks
            length = rounded_ticks(drawn.ravel())
            start = now + np.cumsum(length) - length
            now += int(length.sum())
            yield start, length, np.tile(per_tick, pairs)


def on_off(rate_hz: float, on_s: float, off_s: float) -> Switching:
    """Return a source that sends Poisson at `rate_hz` while it is on, and nothing while it is off (means of both)."""
    return Switching(rate_hz, 0.0, on_s, off_s)


@dataclass(frozen=True)
class Windows(Arrivals):
    """Another process, on for `on_s` of every `period_s`, the first window at `offset_s`.

    `pause`: the process's own clock stands still outside the windows, so it goes on where it stopped and nothing is
    drawn in vain (a machine that waits). `drop`: its clock goes on, and what falls outside is left out (crossings of
    a beam, a gate on a detector; long gaps cost their draws). Poisson arrivals have the same law in both.
    """

    process: Arrivals
    on_s: float
    period_s: float
    offset_s: float = 0.0
    outside: Literal["pause", "drop"] = "pause"

    def __post_init__(self) -> None:
        finite_number("on_s", self.on_s, strict=True)
        finite_number("period_s", self.period_s, low=self.on_s)
        finite_number("offset_s", self.offset_s)
        if self.outside not in ("pause", "drop"):
            raise BadValueError(f"outside must be 'pause' or 'drop', not {self.outside!r}.")

    def mean_rate_hz(self) -> float:
        return self.process.mean_rate_hz() * self.on_s / self.period_s

    def blocks(self, rng: np.random.Generator, ticks_per_second: int) -> Iterator[Ticks]:
        on, period, offset = (int(x * ticks_per_second + 0.5) for x in (self.on_s, self.period_s, self.offset_s))
        if on < 1:
            raise BadValueError(f"A window of {self.on_s:g} s is shorter than a tick; declare a finer tick.")
        for instants in self.process.blocks(rng, ticks_per_second):
            if self.outside == "pause":
                window, within = np.divmod(instants, on)
                yield offset + window * period + within
                continue
            inside = instants[(instants >= offset) & ((instants - offset) % period < on)]
            if len(inside):
                yield inside


@dataclass(frozen=True)
class Together(Arrivals):
    """Several arrivals at each instant of another process; how many is drawn from `count` (whole numbers from 1).

    Raises:
        BadValueError: a law of other values; use the constant law, or a table.
    """

    process: Arrivals
    count: Law

    def __post_init__(self) -> None:
        values = {"constant": (self.count.mean,), "table": self.count.values}.get(self.count.kind)
        if values is None or any(x != int(x) or not 1 <= x <= MAX_TOGETHER for x in values):
            raise BadValueError(
                "How many arrive together is a constant or a table law of whole numbers from 1 to "
                f"{MAX_TOGETHER:,}, not {self.count.kind} of mean {self.count.mean:g}."
            )

    def mean_rate_hz(self) -> float:
        return self.process.mean_rate_hz() * self.count.mean

    def blocks(self, rng: np.random.Generator, ticks_per_second: int) -> Iterator[Ticks]:
        few = max(1, int(BLOCK // self.count.mean))
        for instants in self.process.blocks(rng, ticks_per_second):
            for first in range(0, len(instants), few):
                part = instants[first : first + few]
                yield np.repeat(part, self.count.draw(rng, len(part)).astype(np.int64))
