"""Designs as columns that models learn from: levels of knobs, and what the closed form says.

A listed number is a thermometer (one column a step, 1 from its value on), so that a model may find one step to matter
and the next not at all; a name is one column a value; a knob that a condition switches off has a column that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from archcast.searching.space import Columns, DesignSpace
from workloads.table import Array

Guess = Callable[[Columns], Mapping[str, Array]]
"""A closed form: columns of knobs to columns of values above 0 (others are taken as unknown)."""
HALF = np.sqrt(0.5)
"""Of a name's column: two names are then as far apart as two steps of a thermometer."""


@dataclass(frozen=True)
class Encoding:
    """Columns of designs of a space. `guesses` are the names of what the closed form says, in order."""

    space: DesignSpace
    guesses: tuple[str, ...] = ()

    @cached_property
    def conditional(self) -> frozenset[str]:
        return frozenset(one.knob for one in self.space.conditions)

    @cached_property
    def _levels(self) -> tuple[Array, ...]:
        """Return for each listed knob its columns by code, the last row where it is switched off."""
        found = []
        for knob in self.space.knobs:
            if knob.span is not None:
                rows = np.zeros((1, 0))
            else:
                count, own = len(knob.values), np.arange(len(knob.values))
                rows = np.eye(count) * HALF if knob.category else (own[:, None] >= own[1:]).astype(float)
                rows = np.concatenate((rows, rows[-1:]))
            if knob.name in self.conditional:
                rows = np.concatenate((rows, np.zeros((len(rows), 1))), axis=1)
                rows[-1, -1] = 1.0
            found.append(rows)
        return tuple(found)

    @cached_property
    def groups(self) -> Array:
        """Return a number for each column of `points`: columns of one number share a length. All differ but spans'."""
        return np.arange(self.width)

    @cached_property
    def width(self) -> int:
        return sum(self._width(k) for k in range(len(self.space.knobs))) + len(self.guesses)

    def _width(self, place: int) -> int:
        return int(self._levels[place].shape[1]) + (self.space.knobs[place].span is not None)

    def points(self, codes: Array, guessed: Array) -> Array:
        """Return (designs, width), numbers of about -1 to 1; `guessed` (designs, guesses) is standardised."""
        active = self.space.active(codes)
        found = []
        for place, knob in enumerate(self.space.knobs):
            levels = self._levels[place]
            if knob.span is not None:
                found.append(np.where(active[place], knob.encode(codes[place]), 0.5)[:, None])
                found.append(np.where(active[place][:, None], 0.0, levels[-1]))
            else:
                found.append(levels[np.where(active[place], codes[place], len(levels) - 1).astype(np.intp)])
        return np.concatenate([*found, guessed * 0.25], axis=1)

    def features(self, codes: Array, guessed: Array) -> Array:
        """Return what trees split: codes on the unit cube (-1 switched off), names one by one, guesses; float32."""
        unit = np.where(self.space.active(codes).T, self.space.encode(codes), -1.0)
        named = [(codes[place] == code)[:, None] for place, knob in enumerate(self.space.knobs) if knob.category
                 for code in range(len(knob.values))]  # fmt: skip
        return np.concatenate([unit, *named, guessed], axis=1).astype(np.float32)


def guessed_logs(guess: Guess | None, names: tuple[str, ...], columns: Columns) -> Array:
    """Return the logarithms of what a closed form says (designs, names), NaN where it says nothing above 0."""
    count = len(next(iter(columns.values())))
    if guess is None or not names:
        return np.zeros((count, 0))
    found = guess(columns)
    table = np.stack([np.broadcast_to(np.asarray(found[name], dtype=float), (count,)) for name in names], axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.log(table)
    return np.where(np.isfinite(logs), logs, np.nan)
