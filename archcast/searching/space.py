"""`DesignSpace`: named knobs with their values; designs are numbers, codes or columns of values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from workloads.table import Array

Columns = Mapping[str, Array]
"""Designs by knob: values of numbers, codes into `Knob.values` of categories; each of shape (designs,)."""


@dataclass(frozen=True)
class Knob:
    """One choice of a design. Values of numbers rise, so that one code up or down is the next larger or smaller."""

    name: str
    values: tuple[float, ...] | tuple[str, ...]

    @property
    def category(self) -> bool:
        """Whether the values are names, without an order."""
        return isinstance(self.values[0], str)

    @cached_property
    def numbers(self) -> Array:
        """What a column has for each code: the value, or the code itself of a category."""
        return np.arange(len(self.values)) if self.category else np.array(self.values, dtype=float)

    def value(self, code: int) -> float | int | str:
        """Return the value of a code as people write it: whole numbers without a point."""
        found = self.values[code]
        return int(found) if isinstance(found, float) and found.is_integer() else found


@dataclass(frozen=True)
class DesignSpace:
    """All combinations of the values of knobs; the last knob changes fastest in the numbering of designs."""

    knobs: tuple[Knob, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(knob.values) for knob in self.knobs)

    @property
    def size(self) -> int:
        """How many designs there are (a Python int of any size)."""
        return math.prod(self.shape)

    def codes(self, index: Array) -> Array:
        """Return the codes of designs by number, shape (knobs, designs)."""
        return np.stack(np.unravel_index(np.asarray(index), self.shape)) if self.knobs else np.zeros((0, len(index)))

    def index(self, codes: Array) -> Array:
        """Return the numbers of designs by code, the inverse of `codes`."""
        return np.asarray(np.ravel_multi_index(tuple(codes), self.shape))

    def columns(self, codes: Array) -> dict[str, Array]:
        """Return the columns of designs by code."""
        return {knob.name: knob.numbers[row] for knob, row in zip(self.knobs, codes, strict=True)}

    def values(self, codes: Array) -> dict[str, float | int | str]:
        """Return one design's values by name; `codes` has one entry a knob."""
        return {knob.name: knob.value(int(code)) for knob, code in zip(self.knobs, codes, strict=True)}
