"""Values of knobs as files give them: one value, a list, or a range with a step, a factor or a number of points."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from archcast.searching.space import MOST_WHOLE, Knob, Span
from foundation.checks import finite_number
from foundation.errors import BadValueError, UnknownNameError
from hardware_specs.units import Quantity, parse_quantity

RANGE_KEYS = ("from", "to", "step", "times", "points", "scale")
MOST_VALUES = 1_000_000
"""Of one knob, once the size of the whole space is accepted."""
UNCOUNTED = 1e18
"""Steps beyond this are not counted exactly; no space that has them is accepted."""


def as_written(value: float) -> float:
    """Return a number without the last bits that a unit or a step adds: 17.1 GB/s is 17100000000, not ..000.000002."""
    return float(f"{value:.15g}")


@dataclass(frozen=True)
class KnobKind:
    """What a knob may be: names, or numbers from `low` to `high` in `unit` ("" for counts)."""

    kind: Literal["whole", "real", "name"]
    low: float = 0.0
    high: float = math.inf
    unit: str = ""
    names: tuple[str, ...] = ()

    def number(self, name: str, value: object) -> float:
        """Return a number in the knob's unit; text may carry another unit. Raises BadValueError."""
        if isinstance(value, str) and self.unit:
            value = as_written(parse_quantity(value, Quantity(self.unit, self.low, self.high)))
        found = finite_number(name, value, low=self.low, high=self.high)
        if self.kind == "whole" and found != int(found):
            raise BadValueError(f"{name} must be a whole number, not {value!r}.")
        return found

    def one(self, name: str, value: object) -> float | str:
        """Return one value of the knob. Raises BadValueError, UnknownNameError."""
        if self.kind != "name":
            return self.number(name, value)
        if value not in self.names:
            raise UnknownNameError(name, str(value), self.names, f"Known: {', '.join(self.names)}.")
        return str(value)


@dataclass(frozen=True)
class Planned:
    """The values of a knob before they are written out: how many there are, and how to make them."""

    name: str
    count: int
    make: Callable[[], tuple[float, ...] | tuple[str, ...]]
    span: Span | None = None

    def knob(self) -> Knob:
        """Return the knob; numbers in rising order, each once. Raises BadValueError: too many values."""
        if self.span is not None:
            return Knob(self.name, span=self.span)
        if self.count > MOST_VALUES:
            raise BadValueError(f"{self.name} has {self.count:.3g} values, more than {MOST_VALUES:,}.")
        return Knob(self.name, self.make())


def planned(name: str, given: Any, kind: KnobKind, open_range: bool = False) -> Planned:
    """Return the values that a file gives for a knob; `open_range`: a range without steps is all numbers of it.

    Raises:
        BadValueError: no value, a value outside of what is possible, a range that does not rise.
        UnknownNameError: a name that is no value of the knob.
    """
    if isinstance(given, dict):
        return _range(name, given, kind, open_range)
    values = [kind.one(name, one) for one in (given if isinstance(given, list) else [given])]
    if not values:
        raise BadValueError(f"{name} has no value, so that the space is empty; give at least one.")
    unique = tuple(dict.fromkeys(values)) if kind.kind == "name" else tuple(sorted(set(values)))
    return Planned(name, len(unique), lambda: unique)  # type: ignore[return-value, arg-type]


def _range(name: str, given: dict[str, Any], kind: KnobKind, open_range: bool) -> Planned:
    for key in given:
        if key not in RANGE_KEYS:
            raise BadValueError(
                str(UnknownNameError("key of a range", str(key), RANGE_KEYS, f"Known: {', '.join(RANGE_KEYS)}."))
            )
    if kind.kind == "name":
        raise BadValueError(f"{name} takes names ({', '.join(kind.names)}), not a range.")
    if "from" not in given or "to" not in given:
        raise BadValueError(f"the range of {name} needs from and to, such as {{from: 8, to: 256, times: 2}}.")
    first, last = (kind.number(name, given[key]) for key in ("from", "to"))
    if first > last:
        raise BadValueError(f"the range of {name} is empty: from {first:g} is above to {last:g}.")
    steps = [key for key in ("step", "times", "points") if key in given]
    if open_range and not steps:
        return _open(name, first, last, given.get("scale", "linear"), kind)
    if len(steps) != 1:
        raise BadValueError(f"the range of {name} needs exactly one of step, times and points.")
    if "scale" in given and (steps[0] != "points" or given["scale"] not in ("linear", "log")):
        raise BadValueError(f"scale is linear or log, beside points, not {given['scale']!r}.")
    if steps[0] == "step":
        return _steps(name, first, last, given["step"], kind)
    if steps[0] == "times":
        return _factors(name, first, last, given["times"], kind)
    return _points(name, first, last, given["points"], given.get("scale", "linear") == "log", kind)


def _open(name: str, first: float, last: float, scale: object, kind: KnobKind) -> Planned:
    if scale not in ("linear", "log"):
        raise BadValueError(f"scale is linear or log, not {scale!r}.")
    if scale == "log" and first <= 0:
        raise BadValueError(f"the range of {name} is logarithmic, so that it must begin above 0.")
    if kind.kind == "whole" and last > MOST_WHOLE:
        raise BadValueError(f"the range of {name} goes to {last:g}, beyond {MOST_WHOLE:,}; give it a step or a factor.")
    return Planned(name, 0, tuple, Span(first, last, scale == "log", kind.kind == "whole"))


def _steps(name: str, first: float, last: float, given: object, kind: KnobKind) -> Planned:
    whole = kind.kind == "whole"
    text = parse_quantity(given, Quantity(kind.unit, 0, math.inf)) if isinstance(given, str) and kind.unit else given
    step = finite_number(f"the step of {name}", text, low=1.0 if whole else 0.0, strict=not whole)
    if whole and step != int(step):
        raise BadValueError(f"the step of {name} must be a whole number, not {given!r}.")
    count = int(min((last - first) / step * (1 + 1e-12), UNCOUNTED)) + 1
    return Planned(name, count, lambda: tuple(dict.fromkeys(as_written(first + k * step) for k in range(count))))


def _factors(name: str, first: float, last: float, given: object, kind: KnobKind) -> Planned:
    factor = finite_number(f"times of {name}", given, low=1.0, strict=True)
    if first <= 0:
        raise BadValueError(f"the range of {name} multiplies, so that it must begin above 0.")
    count = int(math.log(last / first) / math.log(factor) * (1 + 1e-12) + 1e-9) + 1
    return _made(name, count, lambda k: first * factor**k, kind)


def _points(name: str, first: float, last: float, given: object, log: bool, kind: KnobKind) -> Planned:
    count = int(finite_number(f"points of {name}", given, low=1.0, high=1e12))
    if log and first <= 0:
        raise BadValueError(f"the range of {name} is logarithmic, so that it must begin above 0.")
    span = max(count - 1, 1)
    if log:
        return _made(name, count, lambda k: first * (last / first) ** (k / span), kind)
    return _made(name, count, lambda k: first + (last - first) * k / span, kind)


def _made(name: str, count: int, value: Callable[[int], float], kind: KnobKind) -> Planned:
    """Return planned values; whole numbers are rounded, and each is there once."""
    if kind.kind != "whole":
        return Planned(name, count, lambda: tuple(dict.fromkeys(as_written(value(k)) for k in range(count))))
    if count > MOST_VALUES:
        return Planned(name, count, tuple)
    rounded = tuple(dict.fromkeys(float(round(value(k))) for k in range(count)))
    return Planned(name, len(rounded), lambda: rounded)
