"""Spaces from Python: `Choice`, `Names`, `Real`, `Whole`, and conditions under which a knob matters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from archcast.searching.space import MOST_WHOLE, Condition, DesignSpace, Knob, Span, sorted_conditions
from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError, UnknownNameError

LOWEST = -1e300


@dataclass(frozen=True)
class Choice:
    """Listed numbers, in rising order, or names."""

    values: Sequence[float | int | str]


class Names(Choice):
    """Names without an order: `Names("ws", "os")`."""

    def __init__(self, *names: str) -> None:
        found = [str(name) for name in names]
        if again := next((name for name in found if found.count(name) > 1), ""):
            raise BadValueError(f"The name '{again}' stands twice among {', '.join(found)}; give each once.")
        super().__init__(found)


@dataclass(frozen=True)
class Real:
    """Any number from `low` to `high`."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Whole:
    """Any whole number from `low` to `high`."""

    low: int
    high: int
    log: bool = False


def made_knob(name: str, given: Any) -> Knob:
    """Return the knob that is meant by one of the classes here, by a list, or by one value. Raises BadValueError."""
    if isinstance(given, Knob):
        return given
    if isinstance(given, (Real, Whole)):
        return Knob(name, span=made_span(name, given.low, given.high, given.log, isinstance(given, Whole)))
    values = list(given.values if isinstance(given, Choice) else given if isinstance(given, (list, tuple)) else [given])
    if not values:
        raise BadValueError(f"{name} has no value; give at least one.")
    if all(isinstance(value, str) for value in values):
        return Knob(name, tuple(dict.fromkeys(values)))
    return Knob(name, tuple(sorted({finite_number(name, value, low=LOWEST) for value in values})))


def made_span(name: str, low: object, high: object, log: bool, whole: bool) -> Span:
    """Return a span of numbers. Raises BadValueError: empty, endless, or logarithmic and not above 0."""
    first, last = (
        float(whole_number(f"an end of {name}", end, low=-MOST_WHOLE, high=MOST_WHOLE)) if whole
        else finite_number(f"an end of {name}", end, low=LOWEST) for end in (low, high)
    )  # fmt: skip
    if first > last:
        raise BadValueError(f"the range of {name} is empty: from {first:g} is above to {last:g}.")
    if log and first <= 0:
        raise BadValueError(f"the range of {name} is logarithmic, so that it must begin above 0.")
    return Span(first, last, log, whole)


def made_space(knobs: Mapping[str, Any], when: Mapping[str, Any]) -> DesignSpace:
    """Return a space of named knobs (see `DesignSpace.of`). Raises BadValueError, UnknownNameError."""
    if not knobs:
        raise BadValueError("a space needs at least one knob.")
    made = tuple(made_knob(name, given) for name, given in knobs.items())
    return DesignSpace(made, made_conditions(made, when))


def made_conditions(knobs: Sequence[Knob], when: Mapping[str, Any]) -> tuple[Condition, ...]:
    """Return conditions of `knob -> (another, value or values)` or `knob -> {another: value or values, ...}`.

    Raises:
        UnknownNameError: no such knob, or no such value of the other.
        BadValueError: the other has no listed values; knobs that ask each other.
    """
    by_name = {knob.name: knob for knob in knobs}
    found = []
    for name, asked in when.items():
        pairs = asked.items() if isinstance(asked, Mapping) else [asked]
        for pair in pairs:
            if not isinstance(pair, tuple) or len(pair) != 2:
                raise BadValueError(f"the condition of {name} names a knob and its values, such as ('kind', 'a').")
            by, values = pair
            for one in (name, by):
                if one not in by_name:
                    raise UnknownNameError("knob", str(one), by_name, f"Known: {', '.join(by_name)}.")
            found.append(Condition(name, by, _codes_of(by_name[by], values)))
    return sorted_conditions(found)


def _codes_of(knob: Knob, given: Any) -> tuple[int, ...]:
    if knob.span is not None:
        raise BadValueError(f"a condition asks a knob of listed values; {knob.name} is a span.")
    values = list(given) if isinstance(given, (list, tuple)) else [given]
    known = [f"{one:g}" if isinstance(one, float) else one for one in knob.values]
    for value in values:
        if value not in knob.values:
            raise UnknownNameError(f"value of {knob.name}", str(value), known)
    return tuple(sorted({list(knob.values).index(value) for value in values}))
