"""Times as people read them: a fitting unit, and axis ticks at 1, 2 or 5 times a power of ten."""

from __future__ import annotations

import math

UNITS: tuple[tuple[str, float], ...] = (
    ("days", 86_400.0),
    ("h", 3600.0),
    ("min", 60.0),
    ("s", 1.0),
    ("ms", 1e-3),
    ("µs", 1e-6),
    ("ns", 1e-9),
    ("ps", 1e-12),
)
"""(name, seconds), longest first."""


def axis_unit(span_s: float) -> tuple[str, float]:
    """Return the (name, seconds) of the longest unit of which `span_s` has at least two (one below a minute)."""
    for name, seconds in UNITS:
        if span_s >= seconds * (2 if seconds >= 60 else 1):
            return name, seconds
    return UNITS[-1]


def time_text(time_s: float) -> str:
    """Return a time with four significant digits in a fitting unit, e.g. `12.35 ms`."""
    if time_s == 0:
        return "0 s"
    name, seconds = axis_unit(time_s)
    value = time_s / seconds
    digits = max(0, 3 - math.floor(math.log10(value))) if value >= 1e-9 else 4
    text = f"{value:,.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {name}"


def axis_ticks(span_s: float, about: int = 8) -> list[tuple[float, str]]:
    """Return (time_s, label) of at most about `about` + 1 round times from 0 to `span_s`; the labels carry the unit."""
    if span_s <= 0:
        return [(0.0, "0")]
    name, seconds = axis_unit(span_s)
    rough = span_s / seconds / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    count = int(span_s / seconds / step + 1e-9)
    return [(i * step * seconds, f"{i * step:,.{digits}f} {name}" if i else "0") for i in range(count + 1)]
