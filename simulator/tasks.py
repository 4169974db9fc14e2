"""The task graph: what runs on which engine, for how long, and after what.

Durations arrive as seconds from whoever knows them (a cost model, a trace, a file); the graph holds ticks. It is
frozen and its arrays are read-only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError, UnknownNameError
from simulator.clock import MAX_TICKS, PICOSECONDS_PER_SECOND, Ticks, checked_rate, to_ticks
from simulator.dag import Indices, cycle_text, find_cycle, neighbours, topological_order, upward_rank

KINDS = ("compute", "copy", "link")
DISCIPLINES = ("scheduled", "fifo", "share")


@dataclass(frozen=True, slots=True)
class Engine:
    """Something that runs tasks: the compute units of a device, a copy engine, one direction of a link.

    `capacity` is how many tasks run at a time, each at full speed (streams, copy channels). `discipline` says which
    ready task is next: `scheduled` follows the policy of the simulation, `fifo` the order in which tasks became
    ready, and with `share` all ready tasks run at once and share the engine equally (a contended link). Links share
    unless told otherwise; other engines are scheduled.
    """

    name: str
    kind: str = "compute"
    device: str = ""
    capacity: int = 1
    discipline: str = ""
    bandwidth_bytes_per_s: float | None = None

    def __post_init__(self) -> None:
        if not self.name or not isinstance(self.name, str):
            raise BadValueError(f"An engine needs a name, not {self.name!r}.")
        if self.kind not in KINDS:
            raise UnknownNameError("engine kind", str(self.kind), KINDS, f"An engine is one of: {', '.join(KINDS)}.")
        if not self.discipline:
            object.__setattr__(self, "discipline", "share" if self.kind == "link" else "scheduled")
        if self.discipline not in DISCIPLINES:
            known = f"A discipline is one of: {', '.join(DISCIPLINES)}."
            raise UnknownNameError("discipline", str(self.discipline), DISCIPLINES, known)
        object.__setattr__(self, "capacity", whole_number(f"capacity of engine '{self.name}'", self.capacity))
        if self.discipline == "share" and self.capacity != 1:
            raise BadValueError(
                f"Engine '{self.name}' shares its rate among all its tasks, so its capacity must be 1, not "
                f"{self.capacity}. Use the discipline fifo for several channels of full speed."
            )
        if self.bandwidth_bytes_per_s is not None:
            what = f"bandwidth_bytes_per_s of engine '{self.name}'"
            rate = finite_number(what, self.bandwidth_bytes_per_s, strict=True)
            object.__setattr__(self, "bandwidth_bytes_per_s", rate)


@dataclass(frozen=True, eq=False)
class TaskGraph:
    """Tasks in program order, the engine of each, and their dependencies. Build it with `TaskGraphBuilder` or
    `TaskGraph.from_arrays`.

    `duration_ticks` is the time a task takes alone on its engine, repeats included. Edge i of the dependencies says
    that task `before[i]` ends before task `after[i]` starts.

    Raises:
        BadValueError: lengths differ, an index or duration is out of range, a name stands twice, or tasks depend on
            each other in a circle (the message names it).
    """

    engines: tuple[Engine, ...]
    names: tuple[str, ...]
    task_engine: Indices
    duration_ticks: Ticks
    before: Indices
    after: Indices
    category: tuple[str, ...]
    repeat: Indices
    size_bytes: Indices
    ticks_per_second: int = PICOSECONDS_PER_SECOND

    def __post_init__(self) -> None:
        for field in ("task_engine", "duration_ticks", "before", "after", "repeat", "size_bytes"):
            column = np.array(getattr(self, field), dtype=np.int64).reshape(-1)
            column.setflags(write=False)
            object.__setattr__(self, field, column)
        checked_rate(self.ticks_per_second)
        self._check_columns()
        self._check_names()
        if self.order is None:
            cycle = find_cycle(len(self), self.before, self.after)
            raise BadValueError(
                f"The tasks wait for each other in a circle: {cycle_text(self.names, cycle)}. "
                "Remove one of these dependencies."
            )

    def _check_columns(self) -> None:
        count = len(self.names)
        for field in ("task_engine", "duration_ticks", "category", "repeat", "size_bytes"):
            if len(getattr(self, field)) != count:
                raise BadValueError(f"{field} has {len(getattr(self, field))} rows; there are {count} tasks.")
        if len(self.before) != len(self.after):
            raise BadValueError(f"before has {len(self.before)} rows and after {len(self.after)}; an edge needs both.")
        for field, high in (("task_engine", len(self.engines)), ("before", count), ("after", count)):
            column = getattr(self, field)
            if column.size and not 0 <= int(column.min()) <= int(column.max()) < high:
                raise BadValueError(f"{field} has an index outside 0 to {high - 1}.")
        if count and (int(self.duration_ticks.min()) < 0 or int(self.repeat.min()) < 1):
            raise BadValueError("A task's duration must not be negative, and its repeat must be at least 1.")
        if float(self.duration_ticks.sum(dtype=np.float64)) > 0.999 * MAX_TICKS:
            raise BadValueError(
                "All tasks one after the other take longer than 64 bits of ticks can count "
                f"({MAX_TICKS / self.ticks_per_second / 86_400:.4g} days). Declare a coarser tick (ticks_per_second)."
            )

    def _check_names(self) -> None:
        for what, names in (("engine", tuple(e.name for e in self.engines)), ("task", self.names)):
            if len(set(names)) != len(names):
                seen: set[str] = set()
                twice = next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
                raise BadValueError(f"Two {what}s are named '{twice}'. Give each its own name.")

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def from_arrays(
        cls,
        engines: Sequence[Engine],
        task_engine: npt.ArrayLike,
        duration_s: npt.ArrayLike,
        before: npt.ArrayLike = (),
        after: npt.ArrayLike = (),
        *,
        names: Sequence[str] | None = None,
        category: Sequence[str] | None = None,
        repeat: npt.ArrayLike = 1,
        size_bytes: npt.ArrayLike = 0,
        ticks_per_second: int = PICOSECONDS_PER_SECOND,
    ) -> TaskGraph:
        """Return the graph of columns: durations in seconds, each rounded to ticks once and then times `repeat`.

        Edge i says that task `before[i]` ends before task `after[i]` starts. Tasks without names are `task-0`, ...

        Raises:
            BadValueError: see the class and `to_ticks`.
        """
        once = to_ticks(duration_s, ticks_per_second).reshape(-1)
        count = len(once)
        times = _whole_column("repeat", repeat, count)
        if count and float((once.astype(np.float64) * times).max()) > 0.999 * MAX_TICKS:
            raise BadValueError("A repeated task exceeds 64 bits of ticks. Declare a coarser tick (ticks_per_second).")
        return cls(
            engines=tuple(engines),
            names=tuple(names) if names is not None else tuple(f"task-{i}" for i in range(count)),
            task_engine=np.asarray(task_engine, dtype=np.int64),
            duration_ticks=once * times,
            before=np.asarray(before, dtype=np.int64),
            after=np.asarray(after, dtype=np.int64),
            category=tuple(category) if category is not None else ("",) * count,
            repeat=times,
            size_bytes=_whole_column("size_bytes", size_bytes, count),
            ticks_per_second=ticks_per_second,
        )

    @cached_property
    def order(self) -> list[int] | None:
        """The tasks so that each stands after all it waits for (None only while a cyclic graph is being refused)."""
        return topological_order(len(self), self.before, self.after)

    @cached_property
    def successors(self) -> tuple[list[int], list[int]]:
        """(start, index): the tasks that wait for task i are `index[start[i]:start[i + 1]]`."""
        return neighbours(len(self), self.before, self.after)

    @cached_property
    def rank_ticks(self) -> list[int]:
        """Per task, the longest sum of durations from its start to the end of the graph."""
        return upward_rank(self.duration_ticks.tolist(), self.order or [], *self.successors)

    @cached_property
    def critical_path_ticks(self) -> int:
        """The longest chain of dependent tasks: no schedule is shorter."""
        return max(self.rank_ticks, default=0)

    @cached_property
    def work_ticks(self) -> list[int]:
        """Per engine, the sum of its tasks' durations."""
        work = np.zeros(len(self.engines), dtype=np.int64)
        np.add.at(work, self.task_engine, self.duration_ticks)
        return [int(w) for w in work]

    @cached_property
    def bounds_ticks(self) -> tuple[int, int]:
        """(low, high): low = the longer of the critical path and each engine's work over its capacity; high = all
        tasks one after the other."""
        per_engine = [-(-w // e.capacity) for w, e in zip(self.work_ticks, self.engines, strict=True)]
        return max(self.critical_path_ticks, *per_engine, 0), sum(self.work_ticks)

    def engine_index(self, name: str) -> int:
        """Return the index of the engine named `name`. Raises UnknownNameError."""
        for index, engine in enumerate(self.engines):
            if engine.name == name:
                return index
        raise UnknownNameError("engine", name, [e.name for e in self.engines])

    def describe(self) -> dict[str, Any]:
        """Return the counts that identify a graph in a log or an answer."""
        low, high = self.bounds_ticks
        return {
            "tasks": len(self),
            "dependencies": len(self.before),
            "engines": [e.name for e in self.engines],
            "critical_path_s": self.critical_path_ticks / self.ticks_per_second,
            "lower_bound_s": low / self.ticks_per_second,
            "serial_s": high / self.ticks_per_second,
        }


def _whole_column(what: str, values: npt.ArrayLike, count: int) -> Indices:
    """Return one value, or a column, as `count` whole numbers. Raises BadValueError (also for NaN)."""
    column = np.asarray(values)
    whole = column.dtype.kind in "iu" or (column.dtype.kind == "f" and bool(np.all(column == np.rint(column))))
    if not whole or column.shape not in ((), (count,)):
        raise BadValueError(f"{what} must be one whole number, or one for each of the {count} tasks.")
    if column.size and float(np.abs(column).max()) > 2.0**62:
        raise BadValueError(f"{what} has a value above 2**62.")
    return np.broadcast_to(column.astype(np.int64), (count,))
