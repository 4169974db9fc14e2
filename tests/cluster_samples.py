"""Small traces written by hand, with sizes and seconds as they are (one unit of each resource is 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from simulator.cluster.trace import (
    ADD,
    REMOVE,
    SUBMIT,
    TICKS_PER_SECOND,
    UNLIMITED,
    UPDATE,
    UPDATE_RUNNING,
    AttributeChange,
    Constraint,
    MachineTrace,
    TaskTrace,
    Units,
)

WHOLE = Units((1.0, 1.0, 1.0), ("cores", "bytes", "bytes"))
KINDS = {"add": ADD, "remove": REMOVE, "update": UPDATE}


def ticks(seconds: Any) -> Any:
    return np.rint(np.asarray(seconds, dtype=float) * TICKS_PER_SECOND).astype(np.int64)


def made_tasks(
    rows: Sequence[dict[str, Any]], updates: Sequence[tuple[float, int, int, int]] = (),
    sets: tuple[tuple[Constraint, ...], ...] = ((),),
) -> TaskTrace:  # fmt: skip
    """Return tasks from rows (at, runs, cpu, memory, priority, job, apart, constraint), and updates of (at, task, cpu,
    memory)."""

    def column(name: str, default: int) -> Any:
        return np.array([row.get(name, default) for row in rows] + [0] * len(updates), dtype=np.int64)

    count = len(rows)
    task = np.array([*range(count), *(who for _, who, _, _ in updates)], dtype=np.int64)
    time = ticks([row["at"] for row in rows] + [at for at, _, _, _ in updates])
    duration = np.array(
        [int(ticks(row["runs"])) if row.get("runs") is not None else -1 for row in rows] + [-1] * len(updates),
        dtype=np.int64,
    )
    event = np.array([SUBMIT] * count + [UPDATE_RUNNING] * len(updates), dtype=np.int64)
    request = np.column_stack([column("cpu", 1), column("memory", 0), np.zeros(len(task), dtype=np.int64)])
    for place, (_, _, cpu, memory) in enumerate(updates):
        request[count + place, :2] = cpu, memory
    order = np.lexsort((event, time))
    job = np.array([row.get("job", i) for i, row in enumerate(rows)], dtype=np.int64)
    return TaskTrace(
        time[order], event[order], task[order], np.full(len(task), -1), column("priority", 0)[order],
        np.zeros_like(task), request[order], duration[order], column("constraint", 0)[order],
        column("apart", 0)[order] == 1, job, np.arange(count), WHOLE, sets,
    )  # fmt: skip


def made_machines(
    sizes: Sequence[tuple[int, int]], events: Sequence[tuple[float, str, int, int, int]] = (),
    attributes: Sequence[AttributeChange] = (),
) -> MachineTrace:  # fmt: skip
    """Return machines of (cpu, memory), there from the start, and events of (at, kind, machine, cpu, memory)."""
    count = len(sizes)
    time = np.concatenate([np.zeros(count, dtype=np.int64), ticks([at for at, *_ in events])])
    event = np.array([ADD] * count + [KINDS[kind] for _, kind, *_ in events], dtype=np.int64)
    machine = np.array([*range(count), *(who for _, _, who, *_ in events)], dtype=np.int64)
    capacity = np.array(
        [(cpu, memory, UNLIMITED) for cpu, memory in sizes] + [(cpu, memory, UNLIMITED) for *_, cpu, memory in events],
        dtype=np.int64,
    ).reshape(-1, 3)
    names = tuple(f"m{i}" for i in range(count))
    return MachineTrace(time, event, machine, capacity, names, WHOLE, attributes)
