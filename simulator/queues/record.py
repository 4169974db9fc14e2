"""What every engine returns: columns by element, for the whole run and up to the end of the warm-up."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from simulator.queues.elements import CAUSES

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

HISTOGRAM_BINS = 4_097
"""Numbers of waiting items that are told apart: 0 to 4,095, and more."""

SUMS = (
    "arrived", "left", "started", "waited", "wait_ticks", "busy_ticks", "blocked_ticks", "down_ticks",
    "area_waiting", "area_present", "sojourn_ticks", "bytes_in", "bytes_out", "bytes_lost",
)  # fmt: skip
"""Columns that only grow. `waited` counts service starts after a wait above 0; areas are items x ticks; times of
servers are server-ticks; `sojourn_ticks` sums, over what left, the time since it entered the element."""


@dataclass(frozen=True)
class Totals:
    """The sums at one instant: `sums[name]` has one entry an element, `lost` is elements x causes."""

    tick: int
    sums: dict[str, Ints] = field(repr=False)
    lost: Ints = field(repr=False)
    histogram: Ints = field(repr=False)
    """Ticks with n waiting, elements x HISTOGRAM_BINS."""
    area_bytes: Floats = field(repr=False)
    """Waiting bytes x ticks."""
    exits: Ints = field(repr=False)
    """How many sojourns each element had recorded."""

    def since(self, start: Totals) -> Totals:
        """Return what was added after `start` (the tick is the length of the window)."""
        return Totals(
            self.tick - start.tick,
            {name: self.sums[name] - start.sums[name] for name in SUMS},
            self.lost - start.lost,
            self.histogram - start.histogram,
            self.area_bytes - start.area_bytes,
            self.exits - start.exits,
        )


@dataclass(frozen=True)
class RunRecord:
    """One run. Elements are in the order of the network; times are ticks."""

    names: tuple[str, ...]
    ticks_per_second: int
    warm: Totals
    end: Totals
    present: Ints
    """Items in each element at the end (waiting, in service, blocked there)."""
    present_since: Ints
    """Sum over those of the ticks since they entered."""
    most_waiting: Ints
    sojourns: dict[str, Ints] = field(repr=False)
    """By exit: birth to end of each item, in the order of their ends."""
    waits: dict[str, Ints] = field(repr=False)
    """By station that was asked for: wait before service of each item, in the order of their starts."""
    sampled_at: Ints = field(repr=False)
    sampled_waiting: Ints = field(repr=False)
    """Elements x samples."""
    sampled_busy: Ints = field(repr=False)
    hashes: npt.NDArray[np.uint64] = field(repr=False)
    events: int = 0
    engine: str = "callbacks"
    failure: str = ""
    """Why the run stopped early ('' where it did not); what was recorded until then is kept."""

    @property
    def window(self) -> Totals:
        """What happened after the warm-up."""
        return self.end.since(self.warm)

    @property
    def trace_hash(self) -> str:
        """Hash of every departure and loss of every element, in order: equal runs have equal hashes."""
        digest = hashlib.sha256()
        for name, value in zip(self.names, self.hashes.tolist(), strict=True):
            digest.update(f"{name}={value};".encode())
        digest.update(f"{self.end.tick}/{self.ticks_per_second}".encode())
        return digest.hexdigest()[:16]

    def at(self, name: str) -> int:
        """Return the index of an element."""
        return self.names.index(name)


N_CAUSES = len(CAUSES)
