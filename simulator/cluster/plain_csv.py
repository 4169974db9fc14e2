"""Traces as plain CSV with a header whose names carry the units: one row a task, and one row a change of a machine.

tasks:    submit_s, duration_s, cpu_cores, memory_bytes, disk_bytes, priority, scheduling_class, job, task, machine,
          schedule_s, constraints, different_machines (0 or 1). Needed: submit_s, duration_s, cpu_cores, memory_bytes.
machines: machine, time_s, event (add, remove, update), cpu_cores, memory_bytes, disk_bytes, attributes.
          Needed: machine, cpu_cores, memory_bytes.

constraints such as `zone=a;generation>2;gpu!=none`, attributes such as `zone=a;generation=3`. Rows are in the order of
time. Without a disk column disks are without limit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foundation.errors import BadFileError
from simulator.cluster.reading import MOST_ROWS, Batch, TraceReader, headed, in_order, joined
from simulator.cluster.trace import (
    CORES_AND_BYTES,
    FINISH,
    MACHINE_EVENTS,
    REMOVE,
    SCHEDULE,
    SUBMIT,
    UNLIMITED,
    AttributeChange,
    Column,
    Constraint,
    MachineTrace,
    TaskTrace,
)

TASKS = (
    "submit_s", "duration_s", "cpu_cores", "memory_bytes", "disk_bytes", "priority", "scheduling_class", "job", "task",
    "machine", "schedule_s", "constraints", "different_machines",
)  # fmt: skip
MACHINES = ("machine", "time_s", "event", "cpu_cores", "memory_bytes", "disk_bytes", "attributes")
SIZES = ("cpu_cores", "memory_bytes", "disk_bytes")
_DEMAND = re.compile(r"\s*([^=!<>;]+?)\s*(!=|=|<|>)\s*([^=!<>;]*?)\s*")
_SIGNS = {"=": 0, "!=": 1, "<": 2, ">": 3}


@dataclass(frozen=True)
class PlainCsv(TraceReader):
    """A table of tasks, and of machines where it is given."""

    tasks: str | Path
    machines: str | Path | None = None
    most_rows: int = MOST_ROWS

    def read(self) -> tuple[TaskTrace, MachineTrace | None]:
        """Return tasks, and machines where there is a file of them. Raises BadFileError with file, line and column."""
        machines = None if self.machines is None else self._machines(self.machines)
        names = {} if machines is None else {name: i for i, name in enumerate(machines.names)}
        return self._tasks(names), machines

    def _tasks(self, machines: dict[str, int]) -> TaskTrace:
        parts: dict[str, list[Column]] = {name: [] for name in TASKS}
        sets: dict[tuple[Constraint, ...], int] = {(): 0}
        last, rows = 0, 0
        for batch in headed(self.tasks, TASKS, TASKS[:4], most_rows=self.most_rows):
            found = _task_columns(batch, machines, sets, rows)
            rows += len(batch)
            last = in_order(batch, batch.names.index("submit_s"), found["submit_s"], last)
            for name, values in found.items():
                parts[name].append(values)
        if not rows:
            raise BadFileError(self.tasks, "the trace has no task.")
        return _as_events({name: joined(found) for name, found in parts.items()}, tuple(sets))

    def _machines(self, path: str | Path) -> MachineTrace:
        numbers: dict[str, int] = {}
        columns: dict[str, list[Column]] = {name: [] for name in ("time_s", "event", "machine", *SIZES)}
        changes, last = list[AttributeChange](), 0
        for batch in headed(path, MACHINES, ("machine", "cpu_cores", "memory_bytes"), most_rows=self.most_rows):
            names = batch.text(batch.names.index("machine"))
            blank = next((row for row, name in enumerate(names) if not name), None)
            if blank is not None:
                raise batch.fault(blank, batch.names.index("machine"), "a machine must have a name.")
            machine = np.array([numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)
            time = _ticks(batch, "time_s", 0)
            last = in_order(batch, batch.names.index("time_s"), time, last) if "time_s" in batch.names else 0
            found = {"time_s": time, "event": _machine_events(batch), "machine": machine, **_sizes(batch, UNLIMITED)}
            for name, values in found.items():
                columns[name].append(values)
            changes += _attributes(batch, time, machine)
        if not numbers:
            raise BadFileError(path, "there is no machine.")
        whole = {name: joined(found) for name, found in columns.items()}
        capacity = np.stack([whole[name] for name in SIZES], axis=1)
        return MachineTrace(
            whole["time_s"], whole["event"], whole["machine"], capacity, tuple(numbers), CORES_AND_BYTES, changes
        )


def demands_of(text: str) -> tuple[Constraint, ...]:
    """Return constraints from text such as `zone=a;generation>2`. Raises ValueError."""
    found = []
    for part in text.split(";"):
        if part.strip():
            match = _DEMAND.fullmatch(part)
            if match is None:
                raise ValueError(part.strip()[:40])
            found.append(Constraint(match[1], _SIGNS[match[2]], match[3]))
    return tuple(sorted(found, key=repr))


def _task_columns(
    batch: Batch, machines: dict[str, int], sets: dict[tuple[Constraint, ...], int], before: int
) -> dict[str, Column]:  # fmt: skip
    count = len(batch)

    def whole(name: str, missing: int, high: int = 2**40) -> Column:
        if name not in batch.names:
            return np.full(count, missing, dtype=np.int64)
        return batch.whole(batch.names.index(name), missing=missing, high=high)

    row = np.arange(before, before + count)
    job = whole("job", -1)
    task = np.where(whole("task", -1) < 0, row, whole("task", -1))
    return {
        "submit_s": _ticks(batch, "submit_s", None), "duration_s": _ticks(batch, "duration_s", -1), **_sizes(batch, 0),
        "priority": whole("priority", 0, 1_000_000), "scheduling_class": whole("scheduling_class", 0, 1000),
        "job": np.where(job < 0, row, job), "task": task, "machine": _named(batch, machines),
        "schedule_s": _ticks(batch, "schedule_s", -1), "constraints": _constraint_sets(batch, sets),
        "different_machines": whole("different_machines", 0, 1),
    }  # fmt: skip


def _as_events(columns: dict[str, Column], sets: tuple[tuple[Constraint, ...], ...]) -> TaskTrace:
    """Return one row a task as events: submit, and where the file says it schedule and finish."""
    submit, schedule, duration = (columns[name] for name in ("submit_s", "schedule_s", "duration_s"))
    count = len(submit)
    ends = (schedule >= 0) & (duration >= 0)
    kinds = (
        (np.arange(count), submit, SUBMIT),
        (np.flatnonzero(schedule >= 0), schedule, SCHEDULE),
        (np.flatnonzero(ends), schedule + duration, FINISH),
    )
    row = np.concatenate([who for who, _, _ in kinds])
    time = np.concatenate([times[who] for who, times, _ in kinds])
    event = np.concatenate([np.full(len(who), kind) for who, _, kind in kinds])
    order = np.lexsort((event, time))
    row, time, event = row[order], time[order], event[order]
    request = np.stack([columns[name] for name in SIZES], axis=1)
    return TaskTrace(
        time, event, row, columns["machine"][row], columns["priority"][row], columns["scheduling_class"][row],
        request[row], duration[row], columns["constraints"][row], (columns["different_machines"] == 1)[row],
        columns["job"], columns["task"], CORES_AND_BYTES, sets,
    )  # fmt: skip


def _ticks(batch: Batch, name: str, missing: int | None) -> Column:
    """Return times; an absent column or empty cell is `missing` (None: the column has no empty cells)."""
    if name not in batch.names:
        return np.full(len(batch), missing or 0 if missing is None else missing, dtype=np.int64)
    return batch.ticks(batch.names.index(name), 1.0, None if missing is None else 0.0)


def _sizes(batch: Batch, missing: int) -> dict[str, Column]:
    found = {}
    for name, scale in zip(SIZES, CORES_AND_BYTES.scale, strict=True):
        if name in batch.names:
            blank = 0.0 if name == "disk_bytes" else None
            found[name] = batch.counts(batch.names.index(name), scale, blank)
        else:
            found[name] = np.full(len(batch), missing, dtype=np.int64)
    return found


def _named(batch: Batch, machines: dict[str, int]) -> Column:
    if "machine" not in batch.names:
        return np.full(len(batch), -1, dtype=np.int64)
    column = batch.names.index("machine")
    found = np.array([machines.get(name, -1) if name else -1 for name in batch.text(column)], dtype=np.int64)
    for row in np.flatnonzero(found < 0).tolist():
        if batch.text(column)[row]:
            raise batch.fault(row, column, f"there is no machine '{batch.text(column)[row][:40]}'.")
    return found


def _constraint_sets(batch: Batch, sets: dict[tuple[Constraint, ...], int]) -> Column:
    if "constraints" not in batch.names:
        return np.zeros(len(batch), dtype=np.int64)
    column, found = batch.names.index("constraints"), []
    for row, text in enumerate(batch.text(column)):
        try:
            found.append(sets.setdefault(demands_of(text), len(sets)))
        except ValueError as error:
            raise batch.fault(row, column, f"'{error}' is no constraint; write name=value, !=, < or >.") from None
    return np.array(found, dtype=np.int64)


def _machine_events(batch: Batch) -> Column:
    if "event" not in batch.names:
        return np.zeros(len(batch), dtype=np.int64)
    column = batch.names.index("event")
    for row, name in enumerate(batch.text(column)):
        if name not in MACHINE_EVENTS:
            raise batch.fault(row, column, f"'{name[:40]}' is none of {', '.join(MACHINE_EVENTS)}.")
    return np.array([MACHINE_EVENTS.index(name) for name in batch.text(column)], dtype=np.int64)


def _attributes(batch: Batch, time: Column, machine: Column) -> list[AttributeChange]:
    if "attributes" not in batch.names:
        return []
    column, found = batch.names.index("attributes"), []
    events = _machine_events(batch)
    for row, text in enumerate(batch.text(column)):
        for part in text.split(";") if events[row] != REMOVE else ():
            name, equals, value = part.partition("=")
            if not part.strip():
                continue
            if not equals or not name.strip():
                raise batch.fault(row, column, f"'{part.strip()[:40]}' is no attribute; write name=value.")
            found.append(AttributeChange(int(time[row]), int(machine[row]), name.strip(), value.strip()))
    return found
