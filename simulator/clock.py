"""Simulated time: an int64 count of ticks, one picosecond unless a study declares a coarser tick.

Seconds are floats only at the border. A duration is rounded to ticks once, and sums of ticks are exact, so n equal
steps take exactly n times one step, in whatever order they are added.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from foundation.errors import BadValueError

Ticks = npt.NDArray[np.int64]

PICOSECONDS_PER_SECOND = 10**12
"""The default tick: 2**63 picoseconds are 106.75 days."""
MAX_TICKS = 2**63 - 1


def to_ticks(
    seconds: npt.ArrayLike, ticks_per_second: int = PICOSECONDS_PER_SECOND, *, what: str = "a duration"
) -> Ticks:
    """Return `seconds` as int64 ticks, each rounded once to the nearest (ties to even).

    Raises:
        BadValueError: a value is not a number, NaN, infinite, negative, or too long for this tick; the message
            gives its position.
    """
    try:
        values = np.asarray(seconds, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadValueError(f"{what} must be a finite number of seconds, at least 0, not {seconds!r}.") from None
    with np.errstate(over="ignore"):
        scaled = np.rint(values * float(checked_rate(ticks_per_second)))
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any():
        raise BadValueError(f"{what} must be a finite number of seconds, at least 0, not {_first(values, bad)}.")
    long = scaled >= 2.0**63
    if long.any():
        days = MAX_TICKS / ticks_per_second / 86_400
        raise BadValueError(
            f"{what} of {_first(values, long)} s does not fit into 64 bits: with {ticks_per_second:g} ticks per second "
            f"the longest is {days:.4g} days. Declare a coarser tick (ticks_per_second)."
        )
    return scaled.astype(np.int64)


def to_seconds(ticks: npt.ArrayLike, ticks_per_second: int = PICOSECONDS_PER_SECOND) -> npt.NDArray[np.float64]:
    """Return ticks as float seconds."""
    return np.asarray(ticks, dtype=np.float64) / float(ticks_per_second)


def checked_rate(ticks_per_second: int) -> int:
    """Return `ticks_per_second` where it is a whole number from 1 to 10**15.

    Raises:
        BadValueError: it is not.
    """
    whole = isinstance(ticks_per_second, (int, np.integer)) and not isinstance(ticks_per_second, bool)
    if not whole or not 1 <= ticks_per_second <= 10**15:
        raise BadValueError(f"ticks_per_second must be a whole number from 1 to 1e15, not {ticks_per_second!r}.")
    return int(ticks_per_second)


def _first(values: npt.NDArray[np.float64], bad: npt.NDArray[np.bool_]) -> str:
    """Name the first bad value, with its position where there are several values."""
    if values.ndim == 0:
        return f"{float(values):g}"
    at = int(np.argmax(bad.ravel()))
    return f"{float(values.ravel()[at]):g} (position {at})"
