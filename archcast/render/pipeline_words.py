"""Words for numbers of a pipeline: short ones that fit a column, with what they may be off by."""

from __future__ import annotations

import math

from archcast.render.human import digits, unit_of, with_unit
from archcast.render.pipeline_rows import Spanned, share_words

LONGEST = 7
"""Characters of a number, beyond which it has an exponent: `495,187` fits."""


def short(value: float | None, kind: str) -> str:
    """Return a number with its unit in at most 14 characters, `-` where none is known."""
    if value is None or not math.isfinite(value):
        return "-"
    factor, unit = unit_of(value, kind)
    number = digits(value / factor)
    if len(number) <= LONGEST:
        return with_unit(number, unit)
    if abs(value) < factor:  # below the smallest unit: in the plain one
        plain = unit_of(0.0, kind)[1]
        return with_unit(f"{value:.1e}", plain)
    return with_unit(_exponent(value / factor), unit)


def off_by(number: Spanned, kind: str) -> str:
    """Return `96.9 ± 0.3 µs`, without ± where the interval is not known; `-` where nothing is."""
    if not math.isfinite(number.value):
        return "-"
    if not (math.isfinite(number.lo) and math.isfinite(number.hi)):
        return short(number.value, kind)
    factor, unit = unit_of(number.value or number.hi, kind)
    half = max(number.hi - number.value, number.value - number.lo) / factor
    return with_unit(f"{digits(number.value / factor)} ± {_two(half)}", unit)


def share_off_by(number: Spanned) -> str:
    """Return `2.60 ± 0.12 %` of a share."""
    known = math.isfinite(number.lo) and math.isfinite(number.hi) and number.hi > 0
    if not known or not math.isfinite(number.value):
        return share_words(number.value)
    half = max(number.hi - number.value, number.value - number.lo)
    if number.value < 1e-5:
        return f"{number.value:.1e} ± {half:.1e}"
    return f"{digits(100 * number.value)} ± {_two(100 * half)} %"


def level_words(number: float) -> str:
    """Return a quantile or the most of a count: whole, or with one decimal where it is a mean over replications."""
    if math.isfinite(number) and number != round(number):
        number = round(number, 1)
        if number != round(number):
            return f"{number:,.1f}"
    return count_words(number)


def count_words(number: float) -> str:
    """Return how many wait, short: `12`, `0.31`, `1,900,000`, `> 4095`."""
    if math.isnan(number):
        return "-"
    if math.isinf(number):
        return "> 4095"  # the histogram of a run ends there
    if number == round(number):
        return f"{number:,.0f}" if abs(number) < 1e9 else _exponent(number)
    return digits(number)


def _two(half: float) -> str:
    return "0" if half == 0 else f"{float(f'{half:.2g}'):g}" if half < 1e4 else f"{half:,.0f}"


def _exponent(number: float) -> str:
    found, power = f"{number:.2e}".split("e")
    return f"{found}e{int(power)}"
