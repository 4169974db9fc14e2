"""Numbers as people read them: three significant digits in the unit that fits, the same one for an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from costmodel.estimate import Quantity

Ladder = tuple[tuple[float, str], ...]

_PREFIXES: tuple[tuple[float, str], ...] = (
    (1e-15, "f"), (1e-12, "p"), (1e-9, "n"), (1e-6, "µ"), (1e-3, "m"), (1.0, ""),
    (1e3, "k"), (1e6, "M"), (1e9, "G"), (1e12, "T"), (1e15, "P"), (1e18, "E"),
)  # fmt: skip


def _si(unit: str, low: float = 1e-15) -> Ladder:
    return tuple((factor, prefix + unit) for factor, prefix in _PREFIXES if factor >= low)


LADDERS: dict[str, Ladder] = {
    "s": (*_si("s")[:6], (60.0, "min"), (3600.0, "h"), (86400.0, "days")),
    "j": _si("J"),
    "w": _si("W"),
    "bytes": tuple((1024.0**i, unit) for i, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB", "PiB"))),
    "traffic_bytes": _si("B", 1.0),
    "bytes_per_s": _si("B/s", 1.0),
    "flop": _si("FLOP", 1.0),
    "flop_per_s": _si("FLOP/s", 1.0),
    "flop_per_byte": ((1.0, "FLOP/B"),),
    "hz": _si("Hz"),
    "per_s": ((1.0, "/s"), (1e6, "M/s"), (1e9, "G/s")),
    "usd": ((1.0, "$"),),
    "usd_per_hour": ((1.0, "$/h"),),
    "nm": ((1.0, "nm"),),
    "j_per_byte": _si("J/B"),
    "j_per_flop": _si("J/FLOP"),
    "count": ((1.0, ""), (1e3, "thousand"), (1e6, "million"), (1e9, "billion"), (1e12, "trillion")),
    "": ((1.0, ""),),
}
"""Kind of quantity -> (size of the unit in SI, its name), smallest first. Memory is binary, traffic decimal."""

_AT_LEAST: dict[str, float] = {"min": 600.0, "h": 7200.0, "days": 172800.0}
"""Long times stay in the smaller unit for a while: 90 s reads better than 1.5 min."""


def unit_of(value: float, kind: str) -> tuple[float, str]:
    """Return (size in SI, name) of the unit in which `value` has one to three digits before the point."""
    ladder = LADDERS[kind]
    size = abs(_rounded(value))
    best = ladder[0] if size > 0 else next((step for step in ladder if step[0] == 1.0), ladder[0])
    for factor, unit in ladder:
        if size >= _AT_LEAST.get(unit, factor * (1 - 1e-9)):
            best = (factor, unit)
    return best


def _rounded(value: float) -> float:
    return float(f"{value:.2e}") if math.isfinite(value) else 0.0


def digits(number: float) -> str:
    """Return a number with three significant digits (whole above 100, with commas), e.g. `0.0123`, `1,250`."""
    if not math.isfinite(number):
        return str(number)
    if number == 0:
        return "0"
    number = float(f"{number:.3g}") if abs(number) < 1000 else number
    exponent = math.floor(math.log10(abs(number)))
    if exponent < -4 or exponent > 8:
        return f"{number:.2e}"
    return f"{number:,.{max(0, 2 - exponent)}f}"


def text(value: float, kind: str) -> str:
    """Return a value with its unit, e.g. `1.76 s`, `16.2 GiB`, `$0.00146`."""
    factor, unit = unit_of(value, kind)
    return with_unit(digits(value / factor), unit)


def with_unit(number: str, unit: str) -> str:
    """Put a number and its unit together; dollars stand before, rates a second without a space."""
    if unit == "$":
        return f"-${number[1:]}" if number.startswith("-") else f"${number}"
    return f"{number}{'' if unit.startswith('/') else ' '}{unit}".strip()


@dataclass(frozen=True)
class Shown:
    """A quantity ready to print: number, lo and hi are in the same `unit`."""

    number: str
    lo: str
    hi: str
    unit: str

    @property
    def value(self) -> str:
        return with_unit(self.number, self.unit)

    @property
    def interval(self) -> str:
        return f"[{self.lo} .. {self.hi}]"


def shown(quantity: Quantity, kind: str) -> Shown:
    """Return a quantity in the unit that fits its value."""
    factor, unit = unit_of(quantity.value, kind)
    number, lo, hi = (digits(x / factor) for x in (quantity.value, quantity.lo, quantity.hi))
    return Shown(number, lo, hi, unit)


def shown_s(added_s: float, whole_s: float) -> float:
    """Return what a step adds as people should read it: differences that are rounding, 1e-9 of the whole, are none."""
    return added_s if abs(added_s) > 1e-9 * whole_s else 0.0


def percent(share: float) -> str:
    """Return a share as percent: `37.9 %`, `< 0.1 %`."""
    if 0 < share < 0.0005:
        return "< 0.1 %"
    return f"{100 * share:.1f} %" if share < 0.9995 else f"{100 * share:.0f} %"


def listed(words: Sequence[str]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    return ", ".join(words[:-1]) + " and " + words[-1] if len(words) > 1 else "".join(words)


def printable(value: object, limit: int = 200) -> str:
    """Return text from a stranger's file without control characters, cut to `limit` characters."""
    raw = str(value)
    clean = "".join(c if c.isprintable() else "\ufffd" for c in raw[: limit + 1])
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
