"""The Google cluster-data 2011 traces (version 2.1): CSV without header, often packed, times in microseconds.

Columns, from the public schema (github.com/google/cluster-data, ClusterData2011_2.md, and the converters that Google
keeps beside it, amplab-charles/src/main: Convert.scala, trace.proto):

task_events       time, missing info, job ID, task index, machine ID, event type, user, scheduling class, priority,
                  CPU request, memory request, disk space request, different machines restriction
machine_events    time, machine ID, event type, platform ID, CPUs, memory
machine_attributes  time, machine ID, attribute name, attribute value, attribute deleted
task_constraints  time, job ID, task index, comparison operator, attribute name, attribute value

Event types of tasks: 0 submit, 1 schedule, 2 evict, 3 fail, 4 finish, 5 kill, 6 lost, 7 update pending, 8 update
running; of machines: 0 add, 1 remove, 2 update. Operators: 0 equal, 1 not equal, 2 less than, 3 greater than. A time of
2**63 - 1 lies after the trace; such rows are left out, and counted. Sizes are shares of the largest machine; the
disks of machines are not in the trace, so they are without limit here. The licence of the traces is CC-BY.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foundation.errors import BadFileError
from simulator.cluster.reading import MOST_ROWS, Batch, TraceReader, batches, in_order, joined
from simulator.cluster.trace import (
    LONGEST,
    OPERATORS,
    SHARES,
    UNLIMITED,
    AttributeChange,
    Column,
    Constraint,
    MachineTrace,
    TaskTrace,
)

TASK_EVENTS = (
    "time", "missing info", "job ID", "task index", "machine ID", "event type", "user", "scheduling class", "priority",
    "CPU request", "memory request", "disk space request", "different machines restriction",
)  # fmt: skip
MACHINE_EVENTS = ("time", "machine ID", "event type", "platform ID", "CPUs", "memory")
MACHINE_ATTRIBUTES = ("time", "machine ID", "attribute name", "attribute value", "attribute deleted")
TASK_CONSTRAINTS = ("time", "job ID", "task index", "comparison operator", "attribute name", "attribute value")
AFTER = 2**63 - 1
MOST_INDEX = 2**31
Paths = Sequence[str | Path]


@dataclass(frozen=True)
class GoogleTrace2011(TraceReader):
    """The tables, each in one file or in several parts in the order of time."""

    task_events: Paths
    machine_events: Paths
    task_constraints: Paths = ()
    machine_attributes: Paths = ()
    most_rows: int = MOST_ROWS

    def read(self) -> tuple[TaskTrace, MachineTrace]:
        """Return tasks and machines. Raises BadFileError with file, line and column."""
        machines, numbers = self._machines()
        sets, of_task = self._constraints()
        columns: dict[str, list[Column]] = {name: [] for name in _KEPT}
        ignored, last = 0, 0
        for path in self.task_events:
            for batch in batches(path, TASK_EVENTS, most_rows=self.most_rows):
                time = _times(batch)
                kept = time < AFTER
                ignored += int((~kept).sum())
                last = in_order(batch, 0, time, last)
                for name, values in _task_columns(batch, numbers).items():
                    columns[name].append(values[kept])
        if ignored == sum(map(len, columns["time"])) + ignored:
            raise BadFileError(self.task_events[0] if self.task_events else "", "the trace has no task event.")
        whole = {name: joined(parts) for name, parts in columns.items()}
        job, index, task = _tasks(whole["job"], whole["index"])
        constraint = _sets_of(task, whole["time"], job, index, of_task)
        request = np.stack([whole[name] for name in ("cpu", "memory", "disk")], axis=1)
        return TaskTrace(
            whole["time"], whole["event"], task, whole["machine"], whole["priority"], whole["class"], request,
            np.full(len(task), -1, dtype=np.int64), constraint, whole["different"] == 1, job, index, SHARES,
            tuple(sets), ignored,
        ), machines  # fmt: skip

    def _machines(self) -> tuple[MachineTrace, dict[int, int]]:
        numbers: dict[int, int] = {}
        size: dict[int, list[int]] = {}
        rows: list[tuple[int, int, int, int, int]] = []
        last = 0
        for path in self.machine_events:
            for batch in batches(path, MACHINE_EVENTS, most_rows=self.most_rows):
                time = _times(batch)
                last = in_order(batch, 0, time, last)
                events = (time, batch.whole(1), batch.whole(2, high=2))
                sizes = [batch.counts(column, SHARES.scale[0], missing=0.0).tolist() for column in (4, 5)]
                for row, (t, name, event) in enumerate(zip(*(x.tolist() for x in events), strict=True)):
                    if t == AFTER:
                        continue
                    machine = numbers.setdefault(name, len(numbers))
                    old = size.setdefault(machine, [0, 0])
                    for place in range(2):  # an empty size leaves what it was
                        if batch.text(4 + place)[row]:
                            old[place] = sizes[place][row]
                    rows.append((t, event, machine, *old))
        table = np.array(rows, dtype=np.int64).reshape(-1, 5)
        capacity = np.column_stack([table[:, 3:], np.full(len(table), UNLIMITED, dtype=np.int64)])
        names = tuple(str(name) for name in numbers)
        changes = self._attributes(numbers)
        return MachineTrace(table[:, 0], table[:, 1], table[:, 2], capacity, names, SHARES, changes), numbers

    def _attributes(self, numbers: dict[int, int]) -> list[AttributeChange]:
        found, last = list[AttributeChange](), 0
        for path in self.machine_attributes:
            for batch in batches(path, MACHINE_ATTRIBUTES, most_rows=self.most_rows):
                time = _times(batch)
                last = in_order(batch, 0, time, last)
                gone = batch.whole(4, missing=0, high=1)
                rows = (time, batch.whole(1), batch.text(2), batch.text(3), gone)
                for t, name, key, value, deleted in zip(*rows, strict=True):
                    if t < AFTER and int(name) in numbers:
                        found.append(AttributeChange(int(t), numbers[int(name)], key, None if deleted else value))
        return found

    def _constraints(self) -> tuple[list[tuple[Constraint, ...]], dict[tuple[int, int], list[tuple[int, int]]]]:
        """Return the different sets of constraints, and by (job, index) which applies from when on."""
        rows: dict[tuple[int, int], dict[int, list[Constraint]]] = {}
        for path in self.task_constraints:
            for batch in batches(path, TASK_CONSTRAINTS, most_rows=self.most_rows, least=5):
                operator, name = self._operator_columns(batch)
                demands = (batch.whole(operator, high=len(OPERATORS) - 1), batch.text(name), batch.text(5))
                who = (_times(batch), batch.whole(1), batch.whole(2, high=MOST_INDEX))
                for t, job, index, kind, attribute, value in zip(*who, *demands, strict=True):
                    at = rows.setdefault((int(job), int(index)), {})
                    at.setdefault(int(t), []).append(Constraint(attribute, int(kind), value))
        numbers: dict[tuple[Constraint, ...], int] = {(): 0}
        found = {
            who: [
                (t, numbers.setdefault(tuple(sorted(demands, key=repr)), len(numbers)))
                for t, demands in sorted(times.items())
            ]
            for who, times in rows.items()
        }
        return list(numbers), found

    @staticmethod
    def _operator_columns(batch: Batch) -> tuple[int, int]:
        """Return the columns of operator and attribute: descriptions of the schema differ on which comes first."""
        digits = {str(i) for i in range(len(OPERATORS))}
        return (4, 3) if set(batch.text(4)) <= digits and not set(batch.text(3)) <= digits else (3, 4)


_KEPT = (
    "time", "event", "job", "index", "machine", "class", "priority", "cpu", "memory", "disk", "different",
)  # fmt: skip


def _times(batch: Batch) -> Column:
    time = batch.whole(0)
    late = (time > LONGEST) & (time < AFTER)
    if late.any():
        raise batch.fault(int(np.argmax(late)), 0, "this time lies beyond 1,142 years, and is not the mark 2^63 - 1.")
    return time


def _task_columns(batch: Batch, numbers: dict[int, int]) -> dict[str, Column]:
    machine = [numbers.get(name, -1) for name in batch.whole(4, missing=-1).tolist()]
    return {
        "time": batch.whole(0), "event": batch.whole(5, high=8), "job": batch.whole(2),
        "index": batch.whole(3, high=MOST_INDEX), "machine": np.array(machine, dtype=np.int64),
        "class": batch.whole(7, missing=0, high=1000), "priority": batch.whole(8, missing=0, high=1_000_000),
        "cpu": batch.counts(9, SHARES.scale[0], 0.0), "memory": batch.counts(10, SHARES.scale[1], 0.0),
        "disk": batch.counts(11, SHARES.scale[2], 0.0), "different": batch.whole(12, missing=0, high=1),
    }  # fmt: skip


def _tasks(job: Column, index: Column) -> tuple[Column, Column, Column]:
    """Return (job, index) of each task, and the task of each row."""
    jobs, dense = np.unique(job, return_inverse=True)
    keys, task = np.unique(dense * (MOST_INDEX + 1) + index, return_inverse=True)
    return jobs[keys // (MOST_INDEX + 1)], keys % (MOST_INDEX + 1), task


def _sets_of(
    task: Column, time: Column, job: Column, index: Column, known: dict[tuple[int, int], list[tuple[int, int]]]
) -> Column:  # fmt: skip
    """Return the set of constraints of each row: the last one given up to its time, else the first one."""
    found = np.zeros(len(task), dtype=np.int64)
    if not known:
        return found
    order = np.argsort(task, kind="stable")
    first = np.searchsorted(task[order], np.arange(len(job) + 1))
    for number, who in enumerate(zip(job.tolist(), index.tolist(), strict=True)):
        if who in known:
            rows = order[first[number] : first[number + 1]]
            times, sets = (np.array(column) for column in zip(*known[who], strict=True))
            found[rows] = sets[np.maximum(np.searchsorted(times, time[rows], side="right") - 1, 0)]
    return found
