"""Traces as columns: what happened to tasks and to machines, one row an event.

Times are int64 microseconds. Sizes are int64 counts of a unit that the trace names, so that what is taken and what is
given back are exact sums. The codes of events are those of the Google cluster-data 2011 schema.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from foundation.errors import BadValueError
from simulator.clock import Ticks

TICKS_PER_SECOND = 1_000_000
"""Microseconds: the tick of the Google traces; 2**63 of them are 292,000 years."""
EVENTS = ("submit", "schedule", "evict", "fail", "finish", "kill", "lost", "update_pending", "update_running")
SUBMIT, SCHEDULE, EVICT, FAIL, FINISH, KILL, LOST, UPDATE_PENDING, UPDATE_RUNNING = range(9)
MACHINE_EVENTS = ("add", "remove", "update")
ADD, REMOVE, UPDATE = range(3)
RESOURCES = ("cpu", "memory", "disk")
UNLIMITED = 2**53
"""Capacity of a resource that the trace does not give."""
LARGEST = 2**52
"""The largest size in units: sums over one machine and over many stay exact or nearly so."""
LONGEST = 2**55
"""The latest time in ticks (1,142 years): sums with durations stay inside 64 bits."""
OPERATORS = ("equal", "not equal", "less than", "greater than")

Column = npt.NDArray[np.int64]
Sizes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Units:
    """What one count of each resource is: `scale` times the unit of that name, e.g. 1e-6 of cores."""

    scale: tuple[float, float, float]
    names: tuple[str, str, str]

    def amount(self, counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return counts, shape (..., 3), in the named units."""
        return np.asarray(np.asarray(counts, dtype=np.float64) * np.array(self.scale))


SHARES = Units((1e-9, 1e-9, 1e-9), ("share", "share", "share"))
"""Google's traces give sizes as shares of the largest machine."""
CORES_AND_BYTES = Units((1e-6, 1.0, 1.0), ("cores", "bytes", "bytes"))


@dataclass(frozen=True)
class Constraint:
    """A demand on a machine's attribute. `operator` is a place in OPERATORS; less and greater compare whole numbers."""

    attribute: str
    operator: int
    value: str

    def holds(self, found: str | None) -> bool:
        """Return whether a machine with that value of the attribute will do (None: it has none).

        Without the attribute only `not equal` to something, and `equal` to nothing (""), hold.
        """
        if self.operator < 2:
            return ((found or "") == self.value) == (self.operator == 0)
        try:
            mine, bound = int(found or ""), int(self.value)
        except ValueError:
            return False
        return mine < bound if self.operator == 2 else mine > bound


@dataclass(frozen=True)
class TaskTrace:
    """Events of tasks in the order of time; columns of shape (events,), `request` (events, 3) in `units`.

    task is a row of `job` and `index`, what the trace calls it. machine: a row of `MachineTrace.names`, -1 where it is
    not known. duration: ticks that the trace gives outright, -1 where they follow from schedule and end. constraint:
    place in `constraint_sets` (0: none). different: no two running tasks of the job on one machine.
    """

    time: Ticks
    event: Column
    task: Column
    machine: Column
    priority: Column
    scheduling_class: Column
    request: Sizes
    duration: Ticks
    constraint: Column
    different: npt.NDArray[np.bool_]
    job: Column
    index: Column
    units: Units
    constraint_sets: tuple[tuple[Constraint, ...], ...] = ((),)
    ignored: int = 0

    def __len__(self) -> int:
        return len(self.time)

    def name(self, task: int) -> str:
        """Return how errors call a task: its job and its index in it."""
        return f"{int(self.job[task])}/{int(self.index[task])}"


@dataclass(frozen=True)
class AttributeChange:
    """From `time` (ticks) on, a machine's attribute has this value (None: it is gone)."""

    time: int
    machine: int
    name: str
    value: str | None


@dataclass(frozen=True)
class MachineTrace:
    """Events of machines in the order of time; columns of shape (events,), `capacity` (events, 3) in `units`."""

    time: Ticks
    event: Column
    machine: Column
    capacity: Sizes
    names: tuple[str, ...]
    units: Units
    attributes: Sequence[AttributeChange] = field(default=())

    def __len__(self) -> int:
        return len(self.time)

    @property
    def known(self) -> tuple[bool, bool, bool]:
        """Return which resources have capacities; the rest are without limit."""
        added = self.capacity[self.event != REMOVE]
        found = (added < UNLIMITED).any(axis=0) if len(added) else np.zeros(3, dtype=bool)
        return bool(found[0]), bool(found[1]), bool(found[2])

    @staticmethod
    def equal(count: int, capacity: Sequence[int], units: Units) -> MachineTrace:
        """Return `count` equal machines that are there from the start."""
        zeros = np.zeros(count, dtype=np.int64)
        names = tuple(f"m{i}" for i in range(count))
        return MachineTrace(
            zeros, zeros, np.arange(count), np.tile(np.array(capacity, dtype=np.int64), (count, 1)), names, units
        )


def counts_of(amounts: npt.ArrayLike, units: Units, what: str) -> Sizes:
    """Return amounts, shape (..., 3), as counts of the trace's units, each rounded once.

    Raises:
        BadValueError: an amount is NaN, infinite, negative, or too large; its position is named.
    """
    values = np.asarray(amounts, dtype=np.float64)
    scaled = np.rint(values / np.array(units.scale))
    bad = ~(np.isfinite(values) & (values >= 0) & (scaled <= LARGEST))
    if bad.any():
        at = np.argwhere(bad)[0]
        raise BadValueError(f"{what} must be finite, at least 0 and at most 2^52 units, not {values[tuple(at)]!r}.")
    return np.asarray(scaled.astype(np.int64))
