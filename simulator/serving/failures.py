"""Engines that fail and come back, and engines that are slowed to hold a power cap."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError
from simulator.clock import PICOSECONDS_PER_SECOND

LONGEST_S = 9e6
"""Of one time that a file names: a run lasts at most 2**63 picoseconds, which are 9.22e6 s (106 days)."""
MOST_MTBF_S = 1e12
"""A mean may be longer than a run: then hardly anything fails in it."""
MOST_INTERRUPTIONS = 1_000
"""A request that was interrupted so often never ends: failures come faster than it can be served."""


@dataclass(frozen=True)
class Outage:
    """Instance `instance` (from 0) fails at `at_s` and is back after `down_s` seconds (infinite: never)."""

    instance: int
    at_s: float
    down_s: float = math.inf

    def __post_init__(self) -> None:
        whole_number("The instance of an outage", self.instance, low=0)
        seconds("at_s of an outage", self.at_s)
        if self.down_s != math.inf:
            seconds("down_s of an outage", self.down_s, strict=True)


@dataclass(frozen=True)
class Failures:
    """Given outages, and others drawn: up and down times of each instance are exponential with means mtbf_s, mttr_s.

    A failure loses the step in progress and all that is cached on the instance. Its requests keep the tokens that
    their users have seen and are computed anew on other instances.
    """

    mtbf_s: float | None = None
    mttr_s: float | None = None
    given: tuple[Outage, ...] = ()

    def __post_init__(self) -> None:
        if (self.mtbf_s is None) != (self.mttr_s is None):
            raise BadValueError("Failures need both mtbf_s (mean seconds up) and mttr_s (mean seconds down), or none.")
        if self.mtbf_s is not None:
            finite_number("mtbf_s", self.mtbf_s, high=MOST_MTBF_S, strict=True)
            seconds("mttr_s", self.mttr_s, strict=True)

        by_instance: dict[int, float] = {}
        for outage in sorted(self.given, key=lambda o: o.at_s):
            if outage.at_s < by_instance.get(outage.instance, 0.0):
                raise BadValueError(f"Instance {outage.instance} cannot fail at {outage.at_s:g} s: it is still down.")
            by_instance[outage.instance] = outage.at_s + outage.down_s

    def of(self, instance: int, started: int, random: np.random.Generator) -> Iterator[tuple[int, int | None]]:
        """Yield (tick of the failure, tick of its end) of an instance, in turn; None stands for never back."""
        now = started
        for outage in sorted((o for o in self.given if o.instance == instance), key=lambda o: o.at_s):
            at = ticks(outage.at_s)
            if at < started:
                continue
            if math.isinf(outage.down_s):
                yield at, None
                return
            now = at + ticks(outage.down_s)
            yield at, now
        while self.mtbf_s is not None and self.mttr_s is not None:
            at = now + ticks(random.exponential(self.mtbf_s))
            now = at + ticks(random.exponential(self.mttr_s))
            yield at, now


@dataclass(frozen=True)
class PowerCap:
    """From `at_s` on, steps take `factor` times as long: 1 is full speed (what a cap costs: `costmodel`)."""

    at_s: float
    factor: float

    def __post_init__(self) -> None:
        seconds("at_s of a power cap", self.at_s)
        finite_number("factor of a power cap", self.factor, strict=True)


def seconds(name: str, value: object, *, strict: bool = False) -> float:
    """Return a time in seconds that a run can last. Raises BadValueError: it is none, or above `LONGEST_S`."""
    return finite_number(name, value, high=LONGEST_S, strict=strict)


def ticks(duration_s: float) -> int:
    """Return seconds as whole ticks, at least one where the seconds are not 0."""
    return max(round(duration_s * PICOSECONDS_PER_SECOND), int(duration_s > 0))
