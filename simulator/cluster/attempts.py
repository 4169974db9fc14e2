"""From events to attempts: each submission of a task is one thing to place, with the time it will run.

A trace says when a task was submitted, scheduled and ended by the scheduler of that time. A replay keeps what does not
depend on that scheduler: when it was submitted, what it asked for, and for how long it ran once it had a machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from simulator.clock import Ticks
from simulator.cluster.trace import (
    EVICT,
    LOST,
    SCHEDULE,
    SUBMIT,
    UPDATE_PENDING,
    Column,
    Sizes,
    TaskTrace,
)


@dataclass(frozen=True)
class Attempts:
    """One row an attempt, in the order of submission; ticks, -1 where the trace does not say.

    submit: when it comes; schedule, machine: when and where the trace placed it; duration: how long it runs; until:
    when its end comes although it never ran or its start is not known (withdrawn). ending: the event (code) that ended
    it.
    Updates, in the order of time: from `update_time` on `update_attempt` asks for `update_request`.
    """

    task: Column
    submit: Ticks
    schedule: Ticks
    machine: Column
    duration: Ticks
    until: Ticks
    ending: Column
    priority: Column
    request: Sizes
    constraint: Column
    different: npt.NDArray[np.bool_]
    update_time: Ticks
    update_attempt: Column
    update_request: Sizes

    def __len__(self) -> int:
        return len(self.task)


def attempts_of(trace: TaskTrace) -> Attempts:
    """Return the attempts of a trace.

    A new attempt begins with each submission, and with a first event of a task that is no end (its submission is
    missing). A second end of one attempt, or an end of a task that never began, is left out.
    """
    order = np.argsort(trace.task, kind="stable")  # within a task in the order of time
    event, task, time = trace.event[order], trace.task[order], trace.time[order]
    number, kept = _numbered(event, task)
    order, event, time, number = order[kept], event[kept], time[kept], number[kept]
    count = int(number.max()) + 1 if len(number) else 0
    first = np.searchsorted(number, np.arange(count))
    is_end = (event >= EVICT) & (event <= LOST)
    schedule, where = _first_of(event == SCHEDULE, number, count, time), _first_of(
        event == SCHEDULE, number, count, trace.machine[order]
    )  # fmt: skip
    end, ending = _first_of(is_end, number, count, time), _first_of(is_end, number, count, event)
    given = _first_of(trace.duration[order] >= 0, number, count, trace.duration[order])
    ran = (schedule >= 0) & (end >= 0)
    duration = np.where(given >= 0, given, np.where(ran, end - schedule, -1))
    changed = event >= UPDATE_PENDING
    rows = order[first]
    found = Attempts(
        trace.task[rows], time[first], schedule, where, duration, np.where(duration < 0, end, -1), ending,
        trace.priority[rows], trace.request[rows], trace.constraint[rows], trace.different[rows],
        time[changed], number[changed], trace.request[order][changed],
    )  # fmt: skip
    return _in_order(found)


def _numbered(event: Column, task: Column) -> tuple[Column, npt.NDArray[np.bool_]]:
    """Return the attempt of each event (sorted by task), and which events belong to one that began."""
    if not len(event):
        return event, np.zeros(0, dtype=bool)
    new_task = np.concatenate([[True], task[1:] != task[:-1]])
    is_end = (event >= EVICT) & (event <= LOST)
    after_end = np.concatenate([[False], is_end[:-1]])
    begins = (event == SUBMIT) | new_task | after_end
    number = np.cumsum(begins) - 1
    opens = event[begins]
    real = (opens == SUBMIT) | (opens == SCHEDULE) | ((opens >= UPDATE_PENDING) & new_task[begins])
    kept = real[number]
    return (np.cumsum(real) - 1)[number], kept


def _first_of(chosen: npt.NDArray[np.bool_], number: Column, count: int, values: Column) -> Column:
    """Return of each attempt the value of its first chosen event, -1 where there is none."""
    found = np.full(count, -1, dtype=np.int64)
    at = np.flatnonzero(chosen)[::-1]  # written backwards, so the first one stays
    found[number[at]] = values[at]
    return found


def _in_order(found: Attempts) -> Attempts:
    """Return the attempts sorted by submission (ties as in the trace)."""
    order = np.argsort(found.submit, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    later = np.argsort(found.update_time, kind="stable")
    columns = {
        name: getattr(found, name)[order] for name in Attempts.__dataclass_fields__ if not name.startswith("update_")
    }
    return replace(
        found, **columns, update_time=found.update_time[later], update_attempt=place[found.update_attempt[later]],
        update_request=found.update_request[later],
    )  # fmt: skip
