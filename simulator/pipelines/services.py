"""Service times that a cost model resolved for a stage: what a workload on a device takes, by batch size."""

from __future__ import annotations

import math
from dataclasses import dataclass

from foundation.errors import BadValueError


@dataclass(frozen=True, slots=True)
class ServiceTimes:
    """Times of one service, in seconds: `time_s[n - 1]` of a batch of n events, with the bounds `lo_s` and `hi_s`.

    `energy_j` is that of one event at the largest batch (None: not known), with its bounds `energy_ends_j`; `source`
    says where the times come from.

    Raises:
        BadValueError: no time, different numbers of them, or one that is not above 0 and within its bounds.
    """

    time_s: tuple[float, ...]
    lo_s: tuple[float, ...]
    hi_s: tuple[float, ...]
    energy_j: float | None = None
    source: str = ""
    energy_ends_j: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if not self.time_s or not len(self.time_s) == len(self.lo_s) == len(self.hi_s):
            raise BadValueError(
                "Service times need one time, lower and upper bound for each batch size, and at least one."
            )
        for time_s, lo_s, hi_s in zip(self.time_s, self.lo_s, self.hi_s, strict=True):
            if not (0 < lo_s <= time_s <= hi_s < math.inf):
                raise BadValueError(f"A service time must be above 0 and within its bounds, not {time_s:g} s.")

    def of_batch(self, size: int) -> tuple[float, float, float]:
        """Return (time, lower, upper bound) of a batch; one larger than any known takes that many of the largest."""
        at = min(size, len(self.time_s)) - 1
        rounds = -(-size // len(self.time_s))
        return rounds * self.time_s[at], rounds * self.lo_s[at], rounds * self.hi_s[at]
