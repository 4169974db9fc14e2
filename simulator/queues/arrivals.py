"""When a source emits: sorted int64 instants in blocks, drawn by numpy, so that an event loop only merges them.

An arrival process does not depend on the state of the network. A new one is a class with `blocks`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from foundation.checks import finite_number
from foundation.errors import BadValueError
from simulator.clock import Ticks
from simulator.queues.laws import Law

BLOCK = 16_384
"""Instants a block: large enough that drawing costs nothing an event, small enough for short runs."""


class Arrivals(ABC):
    """A stream of arrival instants."""

    @abstractmethod
    def blocks(self, rng: np.random.Generator, ticks_per_second: int) -> Iterator[Ticks]:
        """Yield sorted instants (ticks from 0), in blocks of any size above 0, for ever or until none are left.

        An engine asks for the next block when it has used up the last one; two engines that ask for the same blocks
        see the same instants.
        """

    @abstractmethod
    def mean_rate_hz(self) -> float:
        """Return the mean number of arrivals a second."""


@dataclass(frozen=True)
class Renewal(Arrivals):
    """Independent gaps of one law (seconds): Poisson arrivals with the exponential law, periodic with the constant."""

    gap_s: Law

    def __post_init__(self) -> None:
        finite_number("The mean gap of arrivals", self.gap_s.mean, strict=True)

    def mean_rate_hz(self) -> float:
        return 1 / self.gap_s.mean

    def blocks(self, rng: np.random.Generator, ticks_per_second: int) -> Iterator[Ticks]:
        last = 0
        while True:
            gaps = np.floor(self.gap_s.draw(rng, BLOCK) * ticks_per_second + 0.5).astype(np.int64)
            instants = last + np.cumsum(gaps)
            last = int(instants[-1])
            yield instants


def poisson(rate_hz: float) -> Renewal:
    """Return Poisson arrivals."""
    finite_number("rate_hz", rate_hz, strict=True)
    return Renewal(Law("exponential", 1 / rate_hz))


@dataclass(frozen=True)
class Periodic(Arrivals):
    """One arrival every 1/rate_hz seconds from `offset_s`; instants are rounded one by one, so none drift."""

    rate_hz: float
    offset_s: float = 0.0

    def __post_init__(self) -> None:
        finite_number("rate_hz", self.rate_hz, strict=True)
        finite_number("offset_s", self.offset_s)

    def mean_rate_hz(self) -> float:
        return self.rate_hz

    def blocks(self, rng: np.random.Generator, ticks_per_second: int) -> Iterator[Ticks]:
        first = 0
        while True:
            index = np.arange(first, first + BLOCK, dtype=np.float64)
            yield np.floor((self.offset_s + index / self.rate_hz) * ticks_per_second + 0.5).astype(np.int64)
            first += BLOCK


@dataclass(frozen=True)
class Recorded(Arrivals):
    """The instants of a trace (seconds, in order)."""

    times_s: tuple[float, ...] = field(repr=False)

    def __post_init__(self) -> None:
        times = np.asarray(self.times_s, dtype=float)
        if not len(times) or not np.isfinite(times).all() or times[0] < 0 or (np.diff(times) < 0).any():
            raise BadValueError("The instants of a trace must be finite, at least 0, and in order.")

    def mean_rate_hz(self) -> float:
        last = self.times_s[-1]
        return len(self.times_s) / last if last else float(len(self.times_s))

    def blocks(self, rng: np.random.Generator, ticks_per_second: int) -> Iterator[Ticks]:
        instants = np.floor(np.asarray(self.times_s) * ticks_per_second + 0.5).astype(np.int64)
        for first in range(0, len(instants), BLOCK):
            yield instants[first : first + BLOCK]
