"""When a source emits: sorted int64 instants in blocks, drawn by numpy, so that an event loop only merges them.

An arrival process does not depend on the state of the network. A new one is a class with `blocks`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from foundation.checks import finite_number
from foundation.errors import BadFileError, BadValueError
from simulator.clock import Ticks
from simulator.queues.laws import Floats, Law
from workloads.column_files import read_columns

BLOCK = 16_384
"""Instants a block: large enough that drawing costs nothing an event, small enough for short runs."""
LAST = 2**62
"""Instants beyond any horizon: an instant that does not fit into 64 bits comes here, so that the order holds."""
MAX_RECORDED = 10_000_000
"""Rows of a trace that is read from a file."""


def rounded_ticks(values: Floats) -> Ticks:
    """Return floor(values + 0.5) as int64, at most LAST."""
    return np.minimum(np.floor(values + 0.5), LAST).astype(np.int64)


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
        if not isinstance(self.gap_s, Law):
            raise BadValueError(f"The gaps of arrivals are a Law, e.g. Law('exponential', 1e-3), not {self.gap_s!r}.")
        finite_number("The mean gap of arrivals", self.gap_s.mean, strict=True)

    def mean_rate_hz(self) -> float:
        return 1 / self.gap_s.mean

    def blocks(self, rng: np.random.Generator, ticks_per_second: int) -> Iterator[Ticks]:
        last = 0
        while True:
            gaps = rounded_ticks(self.gap_s.draw(rng, BLOCK) * ticks_per_second)
            instants = last + np.cumsum(gaps)
            last = int(instants[-1])
            yield instants


def poisson(rate_hz: float) -> Renewal:
    """Return Poisson arrivals."""
    finite_number("rate_hz", rate_hz, strict=True)
    return Renewal(Law("exponential", 1 / rate_hz))


@dataclass(frozen=True)
class Periodic(Arrivals):
    """One arrival every 1/rate_hz seconds from `offset_s`; instants are rounded one by one, so none drift.

    With `jitter_s` each is late by a uniform time up to it, independently (at most a period: they keep their order).
    """

    rate_hz: float
    offset_s: float = 0.0
    jitter_s: float = 0.0

    def __post_init__(self) -> None:
        finite_number("rate_hz", self.rate_hz, strict=True)
        finite_number("offset_s", self.offset_s)
        finite_number("jitter_s", self.jitter_s, high=1 / self.rate_hz)

    def mean_rate_hz(self) -> float:
        return self.rate_hz

    def blocks(self, rng: np.random.Generator, ticks_per_second: int) -> Iterator[Ticks]:
        first = 0
        while True:
            index = np.arange(first, first + BLOCK, dtype=np.float64)
            nominal_s = self.offset_s + index / self.rate_hz
            if self.jitter_s:
                nominal_s += self.jitter_s * rng.random(BLOCK)
            yield rounded_ticks(nominal_s * ticks_per_second)
            first += BLOCK


@dataclass(frozen=True)
class Recorded(Arrivals):
    """The instants of a trace (seconds, in order).

    Raises:
        BadValueError: no instant, one that is negative or not finite, or one before that in front of it.
    """

    times_s: tuple[float, ...] = field(repr=False)

    def __post_init__(self) -> None:
        try:
            times = np.asarray(self.times_s, dtype=float)
        except (TypeError, ValueError):
            times = np.zeros(0)
        if (
            times.ndim != 1
            or not len(times)
            or not np.isfinite(times).all()
            or times[0] < 0
            or (np.diff(times) < 0).any()
        ):
            raise BadValueError("The instants of a trace must be finite, at least 0, and in order.")

    def mean_rate_hz(self) -> float:
        last = self.times_s[-1]
        return len(self.times_s) / last if last else float(len(self.times_s))

    def blocks(self, rng: np.random.Generator, ticks_per_second: int) -> Iterator[Ticks]:
        instants = rounded_ticks(np.asarray(self.times_s) * ticks_per_second)
        for first in range(0, len(instants), BLOCK):
            yield instants[first : first + BLOCK]


def recorded_csv(path: str | Path, column: str = "time_s", *, scale_s: float = 1.0) -> Recorded:
    """Return the arrivals of a CSV (or Parquet) column, times `scale_s` seconds, in order.

    Raises:
        BadFileError: absent, too large, not a table, no such column, or a cell that is no time in order; with its line.
    """
    finite_number("scale_s", scale_s, strict=True)
    table = read_columns(path, lambda name: name == column, lambda name: name == column)
    if column not in table.columns:
        raise BadFileError(path, f"there is no column '{column}'.", line=1, hint="Name the column of the times.")
    times = np.asarray(table.columns[column], dtype=float) * scale_s
    if not 1 <= len(times) <= MAX_RECORDED:
        raise BadFileError(path, f"the trace has {len(times):,} rows; it may have 1 to {MAX_RECORDED:,}.")
    late = np.maximum.accumulate(np.where(np.isfinite(times), times, 0.0))
    wrong = ~np.isfinite(times) | (times < 0) | (times < np.concatenate([[0.0], late[:-1]]))
    if wrong.any():
        row = int(np.argmax(wrong))
        line = int(table.lines[row]) if len(table.lines) else None
        raise BadFileError(
            path, "a time must be finite, at least 0 and not before the one above.", line=line, key=column
        )
    return Recorded(tuple(times.tolist()))
