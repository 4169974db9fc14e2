"""`OpCosts`: what each operator costs, as columns, with an interval, the bound and the source of each number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workloads.table import Array

BOUNDS: tuple[str, ...] = ("compute", "memory", "network", "overhead")
SOURCES: tuple[str, ...] = ("measured", "interpolated", "learned", "physics", "extrapolated")

NUMERIC: tuple[str, ...] = (
    "latency_s", "latency_lo_s", "latency_hi_s", "energy_j", "energy_lo_j", "energy_hi_j", "dram_bytes",
)  # fmt: skip


@dataclass(frozen=True)
class OpCosts:
    """Costs of one instance of each row, all of shape (rows,); repeat counts are not applied.

    `bound` and `source` are codes into `BOUNDS` and `SOURCES`. `interval_kind` says what the intervals rest on.
    `shared_log_error` is the part of the log error that rows have in common (1 = all of it): it decides how intervals
    add up over a workload.
    """

    latency_s: Array
    latency_lo_s: Array
    latency_hi_s: Array
    energy_j: Array
    energy_lo_j: Array
    energy_hi_j: Array
    dram_bytes: Array
    bound: Array
    source: Array
    interval_kind: str = "propagated"
    shared_log_error: float = 1.0

    @property
    def rows(self) -> int:
        return len(self.latency_s)

    def bounds(self) -> list[str]:
        return [BOUNDS[int(i)] for i in self.bound]

    def sources(self) -> list[str]:
        return [SOURCES[int(i)] for i in self.source]

    def take(self, index: Array | slice) -> OpCosts:
        """Return the rows at `index`."""
        columns: Any = {name: getattr(self, name)[index] for name in COLUMNS}
        return replace(self, **columns)

    @staticmethod
    def empty(rows: int) -> OpCosts:
        """Return columns of NaN to be filled (bound and source 0)."""
        numbers: Any = {name: np.full(rows, np.nan) for name in NUMERIC}
        return OpCosts(**numbers, bound=np.zeros(rows, dtype=np.int8), source=np.zeros(rows, dtype=np.int8))

    @staticmethod
    def concat(parts: Iterable[OpCosts]) -> OpCosts:
        """Return the rows of all parts, one after the other (they must rest on the same kind of interval)."""
        all_parts = list(parts)
        first = all_parts[0]
        columns: Any = {name: np.concatenate([getattr(p, name) for p in all_parts]) for name in COLUMNS}
        return replace(first, **columns)


COLUMNS: tuple[str, ...] = (*NUMERIC, "bound", "source")


@dataclass(frozen=True)
class DividedCosts(OpCosts):
    """Costs of which parts, in seconds of each row's latency, are not the device's own.

    `elsewhere_s` is spent on another processor or on the way to it, `streamed_s` on weights that come from outside.
    """

    elsewhere_s: Array | float = 0.0
    streamed_s: Array | float = 0.0
