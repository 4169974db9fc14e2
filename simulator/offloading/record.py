"""What happened to each task, as columns, and the hash of it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import numpy as np

from workloads.table import Array

COLUMNS = (
    "arrival_s", "size_bits", "user", "server", "sent_s", "finish_s", "sending_energy_j", "execution_energy_j",
    "increase_s",
)  # fmt: skip


@dataclass
class Record:
    """One row a decision in their order, tasks of size 0 included; times that are not known yet are NaN.

    arrival_s is when the task was decided on; `increase_s` what the reward counted as delay for it.
    """

    rows: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in COLUMNS})

    def __len__(self) -> int:
        return len(self.rows["arrival_s"])

    def add(self, **values: float) -> int:
        """Add a task; return its number."""
        for name, column in self.rows.items():
            column.append(values.get(name, math.nan))
        return len(self) - 1

    def note(self, name: str, times_s: list[tuple[int, float]]) -> None:
        """Write the times of tasks into a column."""
        column = self.rows[name]
        for task, at in times_s:
            column[task] = at

    def column(self, name: str) -> Array:
        """Return a column; users and servers as whole numbers."""
        kind = np.int64 if name in ("user", "server") else np.float64
        return np.array(self.rows[name], dtype=kind)

    @property
    def trace_hash(self) -> str:
        """SHA-256 of what happened, to the last bit (not of `increase_s`, which only judges it)."""
        digest = hashlib.sha256()
        for name in COLUMNS[:-1]:
            digest.update(np.ascontiguousarray(self.column(name)).astype("<f8").tobytes())
        return digest.hexdigest()
