"""Which bunch crossings of an orbit are filled: all, runs of filled and empty ones, or trains like those of the LHC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from foundation.checks import whole_number
from foundation.errors import BadValueError
from simulator.clock import Ticks

MAX_SLOTS = 10**7
LHC_SLOTS = 3_564
LHC_FILLED = 2_808


@dataclass(frozen=True)
class FillPattern:
    """The filled slots of an orbit of `slots` crossings, in order; the orbit repeats without end.

    Raises:
        BadValueError: no slot, slots out of order or outside the orbit, or none filled.
    """

    slots: int
    filled: tuple[int, ...] = field(repr=False)

    def __post_init__(self) -> None:
        whole_number("The slots of a fill pattern", self.slots, high=MAX_SLOTS)
        at = np.asarray(self.filled)
        whole = at.ndim == 1 and len(at) > 0 and np.issubdtype(at.dtype, np.integer)
        if not whole or at[0] < 0 or at[-1] >= self.slots or (np.diff(at) <= 0).any():
            raise BadValueError(
                f"The filled slots of a fill pattern are whole numbers from 0 to {self.slots - 1}, in order, each "
                "once, and at least one."
            )

    @cached_property
    def _filled(self) -> Ticks:
        return np.asarray(self.filled, dtype=np.int64)

    @property
    def share(self) -> float:
        """Filled slots over all slots."""
        return len(self.filled) / self.slots

    def crossings(self, filled_index: Ticks) -> Ticks:
        """Return the crossing numbers, from 0, of the filled crossings with these numbers, from 0."""
        orbit, within = np.divmod(filled_index, len(self.filled))
        found: Ticks = orbit * self.slots + self._filled[within]
        return found


EVERY_CROSSING = FillPattern(1, (0,))
"""Uniform: all crossings are filled."""


def runs(lengths: Sequence[tuple[int, int]], slots: int | None = None) -> FillPattern:
    """Return the pattern of runs (filled, empty), in a row.

    Args:
        slots: crossings of the orbit, up to which the runs repeat (the last repeat is cut); None: the runs once.

    Raises:
        BadValueError: a length below 0, or no filled slot.
    """
    pairs = [
        (whole_number("filled", filled, low=0, high=MAX_SLOTS), whole_number("empty", empty, low=0, high=MAX_SLOTS))
        for filled, empty in lengths
    ]
    total = sum(map(sum, pairs))
    if not 1 <= total <= MAX_SLOTS:
        raise BadValueError(f"The runs of a fill pattern have {total} slots; they need 1 to {MAX_SLOTS:,}.")
    once = np.repeat([True, False] * len(pairs), [length for pair in pairs for length in pair])
    orbit = whole_number("slots", total if slots is None else slots, high=MAX_SLOTS)
    return from_mask(np.resize(once, orbit))


def from_mask(mask: Sequence[bool] | np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> FillPattern:
    """Return the pattern of one True or False a slot. Raises BadValueError where none is True."""
    filled = np.flatnonzero(np.asarray(mask, dtype=bool))
    return FillPattern(len(mask), tuple(filled.tolist()))


def lhc_trains() -> FillPattern:
    """Return the nominal 25 ns scheme of the LHC: 39 trains of 72 filled crossings in 3,564 slots, the first at slot 0.

    Groups of trains and gaps: `hardware_specs/pipeline_parts.py` (from memory; the sums hold), where pipelines have it.
    """
    from hardware_specs.pipeline_parts import train_pattern

    return from_mask(train_pattern(LHC_SLOTS, LHC_FILLED))
