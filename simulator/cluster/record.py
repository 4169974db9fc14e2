"""What a replay leaves behind: where each attempt ran and when, and how it ended."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from simulator.cluster.attempts import Attempts
from simulator.cluster.trace import Column, MachineTrace, Units

STATES = ("not reached", "waiting", "running", "done", "withdrawn", "unplaceable", "lost")
FUTURE, WAITING, RUNNING, DONE, WITHDRAWN, UNPLACEABLE, LOST = range(7)
SEGMENT = ("attempt", "machine", "begin", "end", "cpu", "memory", "disk", "copy")


class SegmentLog:
    """Stays of attempts on machines, 64 bytes each: who, where, from when to when (ticks), how much of each resource.

    copy is 1 for room that a migration holds at its target before the task is there.
    """

    def __init__(self) -> None:
        self.cells = array("q")

    def __len__(self) -> int:
        return len(self.cells) // len(SEGMENT)

    def add(
        self, attempt: int, machine: int, begin: int, end: int, request: tuple[int, int, int], copy: int = 0
    ) -> None:
        self.cells.extend((attempt, machine, begin, end, *request, copy))

    def columns(self) -> dict[str, Column]:
        table = np.frombuffer(self.cells, dtype=np.int64).reshape(-1, len(SEGMENT))
        return {name: np.ascontiguousarray(table[:, i]) for i, name in enumerate(SEGMENT)}


@dataclass(frozen=True)
class Record:
    """One replay. Columns of attempts: state (STATES), first_start (ticks, -1: never), finished (ticks, -1).

    capacity_*: when a machine's capacity became what (-1: away), shape (changes,) and (changes, 3). evictions and
    reasons (of unplaceable and lost attempts) are counts by cause. The last `still_there` stays of the log were cut
    off by the end of the record. partial: a plug-in failed at `end`.
    """

    policy: str
    attempts: Attempts
    machines: MachineTrace
    units: Units
    segments: Mapping[str, Column]
    state: Column
    first_start: Column
    finished: Column
    waited: Column
    capacity_time: Column
    capacity_machine: Column
    capacity: Column
    evictions: Mapping[str, int]
    reasons: Mapping[str, int]
    migrations: Mapping[str, int]
    moved_bytes: float
    end: int
    events: int
    seed: int
    still_there: int = 0
    partial: bool = False

    def counts(self) -> dict[str, int]:
        """Return attempts by state."""
        found = np.bincount(self.state, minlength=len(STATES))
        return {name: int(found[i]) for i, name in enumerate(STATES)}

    def trace_hash(self) -> str:
        """Return the SHA-256 of all that happened, as 16 hexadecimal digits."""
        digest = hashlib.sha256()
        for column in (*self.segments.values(), self.state, self.first_start, self.finished, self.waited):
            digest.update(np.ascontiguousarray(column, dtype="<i8").tobytes())
        digest.update(repr((sorted(self.evictions.items()), sorted(self.migrations.items()), self.end)).encode())
        return digest.hexdigest()[:16]
