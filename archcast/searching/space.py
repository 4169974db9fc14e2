"""`DesignSpace`: named knobs with their values or spans; designs are numbers, codes or columns of values.

A code is the place of a value among those listed, or the number itself where a knob has a span. Designs whose codes
are equal are one design: a knob that a condition switches off has its neutral code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from foundation.errors import BadValueError, UnknownNameError
from workloads.table import Array

Columns = Mapping[str, Array]
"""Designs by knob: values of numbers, codes into `Knob.values` of categories; each of shape (designs,)."""
MOST_WHOLE = 10**12
"""Of the ends of a span of whole numbers: what a float tells apart on a logarithmic scale too."""


@dataclass(frozen=True)
class Span:
    """All numbers from `low` to `high`, or all whole ones, spread evenly or by their logarithm."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @property
    def count(self) -> float:
        """How many values there are (infinite for real numbers)."""
        return self.high - self.low + 1 if self.whole else 1 if self.low == self.high else math.inf

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """Return the ends of the scale that 0 and 1 stand for: whole numbers have a cell of one around them."""
        low, high = (self.low - 0.5, self.high + 0.5) if self.whole else (self.low, self.high)
        return (math.log(low), math.log(high)) if self.log else (low, high)

    def encode(self, values: Array) -> Array:
        """Return numbers from 0 to 1."""
        low, high = self._ends
        found = np.log(values) if self.log else np.asarray(values, dtype=float)
        return np.clip((found - low) / (high - low), 0.0, 1.0) if high > low else np.full(np.shape(values), 0.5)

    def decode(self, unit: Array) -> Array:
        """Return the values that numbers from 0 to 1 stand for."""
        low, high = self._ends
        share = np.asarray(unit, dtype=float)
        found = low + share * (high - low)
        found = np.exp(found) if self.log else found
        if self.whole:
            return np.clip(np.rint(found), self.low, self.high)
        # logarithms miss the ends by a few bits
        return np.where(share <= 0, self.low, np.where(share >= 1, self.high, np.clip(found, self.low, self.high)))


@dataclass(frozen=True)
class Knob:
    """One choice of a design. Values of numbers rise, so that one code up or down is the next larger or smaller."""

    name: str
    values: tuple[float, ...] | tuple[str, ...] = ()
    span: Span | None = None
    """Instead of values: any number of it."""

    @property
    def category(self) -> bool:
        """Whether the values are names, without an order."""
        return self.span is None and isinstance(self.values[0], str)

    @property
    def count(self) -> float:
        """How many values there are."""
        return len(self.values) if self.span is None else self.span.count

    @property
    def neutral(self) -> float:
        """The code that the knob has where it is switched off."""
        return 0.0 if self.span is None else self.span.low

    @cached_property
    def numbers(self) -> Array:
        """What a column has for each code: the value, or the code itself of a category."""
        return np.arange(len(self.values)) if self.category else np.array(self.values, dtype=float)

    def column(self, codes: Array) -> Array:
        """Return what a column has for codes."""
        return (
            np.asarray(codes, dtype=float) if self.span is not None else np.asarray(self.numbers[codes.astype(np.intp)])
        )

    def codes(self, column: Array) -> Array:
        """Return the codes of a column, the inverse of `column`; names are codes too.

        Raises:
            BadValueError: a value that the knob does not have.
        """
        found = np.asarray(column)
        if self.category and found.dtype.kind in "UO":
            known = {name: code for code, name in enumerate(self.values)}
            if missing := [name for name in found.tolist() if name not in known]:
                raise BadValueError(f"{self.name} is one of {', '.join(map(str, self.values))}, not {missing[0]!r}.")
            return np.array([known[name] for name in found.tolist()], dtype=float)
        found = found.astype(float)
        if self.span is not None:
            inside = (found >= self.span.low) & (found <= self.span.high)
            if not inside.all() or (self.span.whole and (found != np.rint(found)).any()):
                kind = "a whole number" if self.span.whole else "a number"
                raise BadValueError(f"{self.name} is {kind} from {self.span.low:g} to {self.span.high:g}.")
            return found
        codes = np.clip(np.searchsorted(self.numbers, found), 0, len(self.values) - 1)
        codes -= (codes > 0) & (np.abs(self.numbers[codes - 1] - found) < np.abs(self.numbers[codes] - found))
        if not np.allclose(self.numbers[codes], found, rtol=1e-12, atol=0):
            raise BadValueError(f"a value of {self.name} is none of those listed.")
        return codes.astype(float)

    def encode(self, codes: Array) -> Array:
        """Return codes as numbers from 0 to 1; a listed value is the middle of its cell."""
        return self.span.encode(codes) if self.span is not None else (np.asarray(codes) + 0.5) / len(self.values)

    def decode(self, unit: Array) -> Array:
        """Return the codes that numbers from 0 to 1 stand for, the inverse of `encode`."""
        if self.span is not None:
            return self.span.decode(unit)
        count = len(self.values)
        return np.asarray(np.minimum(np.floor(np.asarray(unit) * count), count - 1))

    def value(self, code: float) -> float | int | str:
        """Return the value of a code as people write it: whole numbers without a point."""
        found = float(code) if self.span is not None else self.values[int(code)]
        return int(found) if isinstance(found, float) and found.is_integer() else found


@dataclass(frozen=True)
class Condition:
    """`knob` is active only where `by`, whose values are listed, is active and has one of `codes`."""

    knob: str
    by: str
    codes: tuple[int, ...]


@dataclass(frozen=True)
class DesignSpace:
    """All combinations of the values of knobs; the last knob changes fastest in the numbering of designs."""

    knobs: tuple[Knob, ...]
    conditions: tuple[Condition, ...] = ()
    """In an order in which each comes after those of the knob that it asks."""

    @staticmethod
    def of(when: Mapping[str, Any] | None = None, **knobs: Any) -> DesignSpace:
        """Return the space of `rows=Choice([8, 16]), rate=Real(1e-4, 1, log=True), count=Whole(1, 64), kind=Names("a", "b")`.

        Args:
            when: knob -> (another knob, the value or values of it at which the first is active).
            knobs: in the order of the numbering.

        Raises:
            BadValueError: a knob without a value, an empty span, a condition that asks itself.
        """  # noqa: E501
        from archcast.searching.ranges import made_space

        return made_space(knobs, when or {})

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(knob.values) for knob in self.knobs)

    @cached_property
    def listed(self) -> bool:
        """Whether every knob has listed values, so that designs have numbers."""
        return all(knob.span is None for knob in self.knobs)

    @property
    def size(self) -> int:
        """How many combinations of values there are (a Python int of any size); 0: endless, by real numbers."""
        counts = [knob.count for knob in self.knobs]
        return 0 if any(math.isinf(count) for count in counts) else math.prod(int(count) for count in counts)

    @cached_property
    def places(self) -> dict[str, int]:
        """Where each knob stands."""
        return {knob.name: place for place, knob in enumerate(self.knobs)}

    def codes(self, index: Array) -> Array:
        """Return the codes of designs by number, shape (knobs, designs)."""
        return np.stack(np.unravel_index(np.asarray(index), self.shape)) if self.knobs else np.zeros((0, len(index)))

    def index(self, codes: Array) -> Array:
        """Return the numbers of designs by code, the inverse of `codes`."""
        return np.asarray(np.ravel_multi_index(tuple(np.asarray(codes).astype(np.intp)), self.shape))

    def columns(self, codes: Array) -> dict[str, Array]:
        """Return the columns of designs by code."""
        codes = self.canonical(codes)
        return {knob.name: knob.column(row) for knob, row in zip(self.knobs, codes, strict=True)}

    def codes_of(self, columns: Mapping[str, Any]) -> Array:
        """Return the codes of columns, the inverse of `columns`. Raises UnknownNameError, BadValueError."""
        for name in columns:
            if name not in self.places:
                raise UnknownNameError("knob", name, self.places)
        if missing := [name for name in self.places if name not in columns]:
            raise BadValueError(f"the designs say nothing about {', '.join(missing)}.")
        rows = [np.atleast_1d(np.asarray(knob.codes(np.atleast_1d(columns[knob.name])))) for knob in self.knobs]
        return self.canonical(np.stack(np.broadcast_arrays(*rows)))

    def values(self, codes: Array) -> dict[str, float | int | str | None]:
        """Return one design's values by name, None where a knob is inactive; `codes` has one entry a knob."""
        active = self.active(np.asarray(codes)[:, None])[:, 0] if self.conditions else np.ones(len(self.knobs), bool)
        return {
            knob.name: knob.value(float(code)) if on else None
            for knob, code, on in zip(self.knobs, codes, active, strict=True)
        }

    def active(self, codes: Array) -> Array:
        """Return which knobs matter, shape (knobs, designs)."""
        found = np.ones(codes.shape, dtype=bool)
        for one in self.conditions:
            by = self.places[one.by]
            found[self.places[one.knob]] &= found[by] & np.isin(codes[by], one.codes)
        return found

    def canonical(self, codes: Array) -> Array:
        """Return codes with the neutral code for every inactive knob."""
        if not self.conditions:
            return codes
        neutral = np.array([knob.neutral for knob in self.knobs]).astype(codes.dtype)
        return np.where(self.active(codes), codes, neutral[:, None])

    def encode(self, codes: Array) -> Array:
        """Return designs as points of the unit cube, shape (designs, knobs)."""
        return np.stack([knob.encode(row) for knob, row in zip(self.knobs, codes, strict=True)], axis=1)

    def decode(self, unit: Array) -> Array:
        """Return the codes of points of the unit cube, shape (knobs, designs), floats; inactive knobs are neutral."""
        return self.canonical(np.stack([knob.decode(row) for knob, row in zip(self.knobs, unit.T, strict=True)]))


def sorted_conditions(conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    """Return conditions, each after those of the knob that it asks. Raises BadValueError: they ask in a circle."""
    left, found = list(conditions), []
    while left:
        waiting = {one.knob for one in left}
        ready = [one for one in left if one.by not in waiting]
        if not ready:
            raise BadValueError(f"the conditions of {', '.join(sorted(waiting))} ask each other in a circle.")
        found += ready
        left = [one for one in left if one.by in waiting]
    return tuple(found)
