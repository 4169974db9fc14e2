"""How full each machine was over time, from the log of a replay alone (not from the state that made it)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.clock import Ticks
from simulator.cluster.record import Record
from simulator.cluster.trace import Column, Sizes


@dataclass(frozen=True)
class Curves:
    """Levels of machines, sorted by machine and time: from `time` on for `ticks`, `used` of `capacity` is taken.

    Arrays of shape (levels,) and (levels, 3); a machine that is away has a capacity of 0.
    """

    machine: Column
    time: Ticks
    ticks: Ticks
    used: Sizes
    capacity: Sizes
    up: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def curves_of(record: Record) -> Curves:
    """Return the levels of all machines from 0 to the end of a record."""
    log = record.segments
    request = np.stack([log[name] for name in ("cpu", "memory", "disk")], axis=1)
    zeros, none = np.zeros_like(request), np.zeros(len(request), dtype=np.int64)
    capacity, presence = _changes(record)
    machine = np.concatenate([log["machine"], log["machine"], record.capacity_machine])
    time = np.concatenate([log["begin"], log["end"], record.capacity_time])
    used = np.concatenate([request, -request, np.zeros_like(capacity)])
    size = np.concatenate([zeros, zeros, capacity])
    there = np.concatenate([none, none, presence])
    order = np.lexsort((time, machine))
    machine, time = machine[order], time[order]
    if not len(order):
        return Curves(machine, time, time, used, size, there > 0)
    new = np.concatenate([[True], (machine[1:] != machine[:-1]) | (time[1:] != time[:-1])])
    first = np.flatnonzero(new)
    net = [np.add.reduceat(column[order], first, axis=0) for column in (used, size, there)]
    machine, time = machine[first], time[first]
    begins = np.concatenate([[True], machine[1:] != machine[:-1]])
    levels = [_running(column, begins) for column in net]
    until = np.where(np.append(begins[1:], True), record.end, np.append(time[1:], 0))
    return Curves(machine, time, until - time, levels[0], levels[1], levels[2] > 0)


def _running(change: Sizes, begins: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Sizes:
    """Return sums from the begin of each group; sums over all groups may wrap, their differences do not."""
    total = np.cumsum(change, axis=0)
    base = total - change
    return np.asarray(total - base[np.flatnonzero(begins)][np.cumsum(begins) - 1])


def _changes(record: Record) -> tuple[Sizes, Column]:
    """Return by how much capacity and presence change, row by row of the record's changes."""
    level = np.maximum(record.capacity, 0)
    present = (record.capacity[:, 0] >= 0).astype(np.int64)
    order = np.argsort(record.capacity_machine, kind="stable")
    machine = record.capacity_machine[order]
    again = np.concatenate([[False], machine[1:] == machine[:-1]]) if len(machine) else np.zeros(0, dtype=bool)
    before = np.zeros_like(level)
    before[order[again]] = level[order[np.flatnonzero(again) - 1]]
    was = np.zeros_like(present)
    was[order[again]] = present[order[np.flatnonzero(again) - 1]]
    return level - before, present - was
