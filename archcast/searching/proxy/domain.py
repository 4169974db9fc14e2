"""Which designs are like those of a log: levels that it saw, pairs of levels, and reaches of the closed form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archcast.searching.space import DesignSpace
from workloads.table import Array

CELLS = 6
"""Of a knob with a span or with more values than `MOST_LEVELS`."""
MOST_LEVELS = 24
EXPECTED = 8.0
"""Designs that a pair of levels would have by chance in the log before its absence says something (3 in 10,000)."""
MARGIN = 0.1
"""Share of its reach in the log by which the closed form may be beyond it."""


@dataclass(frozen=True)
class Domain:
    """`seen` has for each pair of knobs (k < l, rows) which pairs of levels are known; `low` and `high` by guess."""

    cells: tuple[int, ...]
    seen: Array
    span_ends: Array
    low: Array
    high: Array

    @staticmethod
    def of(space: DesignSpace, codes: Array, guessed: Array) -> Domain:
        """Return the domain of the designs of a log; `guessed` (designs, guesses), NaN where unknown."""
        cells = tuple(CELLS if knob.count > MOST_LEVELS else int(knob.count) for knob in space.knobs)
        at = _cells(space, cells, codes)
        most, knobs = max(cells), len(cells)
        seen = np.zeros((knobs, knobs, most, most), dtype=bool)
        for k in range(knobs):
            for other in range(k, knobs):
                pairs = np.bincount(at[k] * most + at[other], minlength=most * most).reshape(most, most)
                alone = np.bincount(at[k], minlength=most), np.bincount(at[other], minlength=most)
                rare = np.outer(*alone) / len(at[k]) < EXPECTED if other != k else np.zeros((most, most), dtype=bool)
                seen[k, other] = (pairs > 0) | rare
        ends = np.stack([codes.min(axis=1), codes.max(axis=1)], axis=1)
        lows, highs = (end(np.where(np.isnan(guessed), empty, guessed), axis=0, initial=empty)
                       for end, empty in ((np.min, np.inf), (np.max, -np.inf)))  # fmt: skip
        room = MARGIN * np.maximum(highs - lows, 0.0)
        low = np.where(np.isnan(guessed).any(axis=0), -np.inf, lows - room)  # a guess of 0 lies below all others
        return Domain(cells, seen, ends.astype(float), low, highs + room)

    def outside(self, space: DesignSpace, codes: Array, guessed: Array) -> Array:
        """Return which designs are unlike those of the log."""
        at = _cells(space, self.cells, codes)
        found = np.zeros(codes.shape[1], dtype=bool)
        for k, knob in enumerate(space.knobs):
            if knob.span is not None:
                found |= (codes[k] < self.span_ends[k, 0]) | (codes[k] > self.span_ends[k, 1])
            for other in range(k, len(space.knobs)):
                if not self.seen[k, other].all():
                    found |= ~self.seen[k, other][at[k], at[other]]
        with np.errstate(invalid="ignore"):
            missing = np.isnan(guessed) & np.isfinite(self.low)
            found |= ((guessed < self.low) | (guessed > self.high) | missing).any(axis=1)
        return found


def _cells(space: DesignSpace, cells: tuple[int, ...], codes: Array) -> Array:
    rows = [
        np.minimum((knob.encode(row) * count).astype(np.intp), count - 1) if knob.count > MOST_LEVELS
        else (row - (0 if knob.span is None else knob.span.low)).astype(np.intp)
        for knob, count, row in zip(space.knobs, cells, codes, strict=True)
    ]  # fmt: skip
    return np.stack(rows)
