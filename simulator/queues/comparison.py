"""Two networks on the same random numbers: the difference of each pair of runs, with its interval.

Streams belong to names, so elements that both networks have see the same arrivals and service draws (common random
numbers). What they have in common cancels in the differences, which need far fewer runs than two separate means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from foundation.errors import BadValueError
from simulator.intervals import half_width
from simulator.queues.replications import Metric, Replications


@dataclass(frozen=True)
class Difference:
    """b - a of one number, with the 95 % t interval of the paired differences; NaN where it is not known."""

    value: float
    half_width: float
    replications: int
    a: float
    b: float
    correlation: float
    """Of the pairs: near 1, common random numbers help much; NaN where one of the two never varies."""
    unpaired_half_width: float
    """What independent runs would have given (the two variances added)."""

    @property
    def lo(self) -> float:
        return self.value - self.half_width

    @property
    def hi(self) -> float:
        return self.value + self.half_width

    @property
    def sign(self) -> int:
        """1 where b is larger beyond chance, -1 where smaller, 0 where the interval holds 0 or is not known."""
        return int(self.lo > 0) - int(self.hi < 0)

    def to_json(self) -> dict[str, Any]:
        """Return the numbers; None stands for what is not known."""
        numbers = {
            "value": self.value, "lo": self.lo, "hi": self.hi, "a": self.a, "b": self.b,
            "correlation": self.correlation,
        }  # fmt: skip
        return {
            **{key: x if math.isfinite(x) else None for key, x in numbers.items()},
            "replications": self.replications,
            "interval": "95 %, t over paired differences with common random numbers",
        }


def compare(a: Replications, b: Replications, metric: Metric, metric_b: Metric | None = None) -> Difference:
    """Return the difference b - a of a number (named `metric_b` in b, where its name differs there).

    Raises:
        BadValueError: the runs are no pairs: other seeds, counts, horizons or warm-ups.
    """
    for what in ("seed", "replication", "horizon_s", "warm_up_s"):
        first, second = ([getattr(run, what) for run in found.runs] for found in (a, b))
        if first != second:
            raise BadValueError(
                f"The runs cannot be compared in pairs: their {what} differs. Replicate both with the same seed, "
                "number of replications, horizon_s and warm_up_s."
            )
    left, right = np.array(a.values(metric)), np.array(b.values(metric if metric_b is None else metric_b))
    if not (np.isfinite(left).all() and np.isfinite(right).all()):
        return Difference(*(math.nan,) * 2, len(left), float(left.mean()), float(right.mean()), *(math.nan,) * 2)
    varies = len(left) > 1 and left.std() > 0 and right.std() > 0
    correlation = float(np.corrcoef(left, right)[0, 1]) if varies else math.nan
    return Difference(
        float((right - left).mean()), half_width(right - left), len(left), float(left.mean()), float(right.mean()),
        correlation, math.hypot(half_width(left), half_width(right)),
    )  # fmt: skip
