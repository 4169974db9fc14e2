"""Checks of numbers at the border: sizes are finite and positive, and not absurd."""

from __future__ import annotations

import math

from foundation.errors import BadValueError

MAX_SIZE = 10**12
"""No single dimension (tokens, channels, rows) that a user names may exceed this."""


def whole_number(name: str, value: object, *, low: int = 1, high: int = MAX_SIZE) -> int:
    """Return `value` as an int in [low, high].

    Raises:
        BadValueError: it is not a whole number, not finite, or outside the range.
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise BadValueError(f"{name} must be a whole number from {low} to {high}, not {value!r}.") from None
    if not math.isfinite(number) or number != int(number) or not low <= number <= high or isinstance(value, bool):
        raise BadValueError(f"{name} must be a whole number from {low} to {high}, not {value!r}.")
    return int(number)


def finite_number(name: str, value: object, *, low: float = 0.0, high: float = math.inf, strict: bool = False) -> float:
    """Return `value` as a finite float in [low, high] (above `low` where `strict`).

    Raises:
        BadValueError: it is not a number, not finite, or outside the range.
    """
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    ok = math.isfinite(number) and number <= high and (number > low if strict else number >= low)
    if not ok or isinstance(value, bool):
        bound = f"{'above' if strict else 'at least'} {low:g}" + ("" if math.isinf(high) else f" and at most {high:g}")
        raise BadValueError(f"{name} must be a finite number {bound}, not {value!r}.")
    return number
