"""`Range`: a quantity of at least 0 with bounds, and its arithmetic (each bound from the worst of its inputs)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hardware_specs.figures import Figure


@dataclass(frozen=True, slots=True)
class Range:
    """A value and its bounds; 0 <= lo <= value <= hi. Uncertain inputs are taken as independent of one another."""

    value: float
    lo: float
    hi: float

    @classmethod
    def of(cls, figure: Figure | None, default: float = 0.0) -> Range:
        """Return a figure with its range; `default` where there is none."""
        return exactly(default) if figure is None else cls(figure.value, figure.lo, figure.hi)

    def __add__(self, other: Range) -> Range:
        return Range(self.value + other.value, self.lo + other.lo, self.hi + other.hi)

    def __mul__(self, other: Range | float) -> Range:
        if isinstance(other, Range):
            return Range(self.value * other.value, self.lo * other.lo, self.hi * other.hi)
        return Range(self.value * other, self.lo * other, self.hi * other)

    def __truediv__(self, other: Range | float) -> Range:
        if isinstance(other, Range):
            return Range(_over(self.value, other.value), _over(self.lo, other.hi), _over(self.hi, other.lo))
        return Range(_over(self.value, other), _over(self.lo, other), _over(self.hi, other))

    def rest(self) -> Range:
        """Return 1 minus a share."""
        return Range(1 - self.value, 1 - self.hi, 1 - self.lo)

    def at_most(self, limit: Range) -> Range:
        """Return the smaller of two, bound by bound."""
        return Range(min(self.value, limit.value), min(self.lo, limit.lo), min(self.hi, limit.hi))

    def json(self) -> dict[str, float | None]:
        """Return it as JSON has it; what is infinite becomes null."""
        return {key: finite(getattr(self, key)) for key in ("value", "lo", "hi")}


ZERO = Range(0.0, 0.0, 0.0)
ONE = Range(1.0, 1.0, 1.0)


def exactly(value: float) -> Range:
    """Return a value that is certain."""
    return Range(value, value, value)


def total(parts: list[Range]) -> Range:
    """Return the sum."""
    return sum(parts, ZERO)


def spanning(value: float, *others: float) -> Range:
    """Return the smallest range that holds all of them."""
    return Range(value, min((value, *others)), max((value, *others)))


def finite(value: float | None) -> float | None:
    """Return a number as JSON can have it."""
    return value if value is not None and math.isfinite(value) else None


def _over(above: float, below: float) -> float:
    if below:
        return above / below
    return 0.0 if above == 0 else math.inf
