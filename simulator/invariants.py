"""Laws that every finished schedule keeps, checked after every run, independent of how it was made.

All checks are columns: a run of 100,000 tasks spends a few milliseconds here.
"""

from __future__ import annotations

import numpy as np

from simulator.clock import Ticks
from simulator.engine import InvariantError
from simulator.tasks import TaskGraph


def check_schedule(graph: TaskGraph, start: Ticks, end: Ticks) -> None:
    """Check that all tasks ran, after what they wait for, for their full work, within capacity and within the bounds.

    Raises:
        InvariantError: naming the law and the first task or engine that breaks it.
    """
    if not len(graph):
        return
    _refuse(graph, (start < 0) | (end < start), "never ran to its end")
    early = start[graph.after] < end[graph.before]
    if early.any():
        _refuse(graph, np.isin(np.arange(len(graph)), graph.after[early]), "started before a task it waits for ended")
    shared = np.array([e.discipline == "share" for e in graph.engines], dtype=bool)[graph.task_engine]
    took = end - start
    _refuse(graph, took < graph.duration_ticks, "ended before its work was done")
    _refuse(graph, ~shared & (took != graph.duration_ticks), "took longer than its work on an engine of its own")
    _check_engines(graph, start, end)
    low, high = graph.bounds_ticks
    makespan = int(end.max())
    if not low <= makespan <= high:
        raise InvariantError(f"The makespan of {makespan} ticks lies outside its bounds, {low} to {high} ticks.")


def busy_and_idle(start: Ticks, end: Ticks, horizon: int) -> tuple[int, int]:
    """Return (ticks with at least one task, ticks with none) of one engine from 0 to `horizon`."""
    order = np.argsort(start, kind="stable")
    first, last = start[order], np.maximum.accumulate(end[order]) if len(end) else end
    free_from = np.concatenate([[0], last])
    free_until = np.concatenate([first, [horizon]])
    idle = int(np.maximum(free_until - free_from, 0).sum())
    covered_from = np.concatenate([[0], last[:-1]]) if len(last) else last
    busy = int(np.maximum(last - np.maximum(first, covered_from), 0).sum())
    return busy, idle


def _check_engines(graph: TaskGraph, start: Ticks, end: Ticks) -> None:
    """Per engine: busy + idle = horizon, work is conserved, and no more tasks at a time than its capacity."""
    horizon, work = int(end.max()), graph.work_ticks
    order = np.argsort(graph.task_engine, kind="stable")
    groups = np.split(order, np.searchsorted(graph.task_engine[order], np.arange(1, len(graph.engines))))
    for index, (engine, tasks) in enumerate(zip(graph.engines, groups, strict=True)):
        busy, idle = busy_and_idle(start[tasks], end[tasks], horizon)
        if busy + idle != horizon:
            raise InvariantError(
                f"Engine '{engine.name}': busy {busy} + idle {idle} is not the horizon {horizon} ticks."
            )
        one_at_a_time = engine.discipline == "share" or engine.capacity == 1
        if one_at_a_time and busy != work[index]:
            raise InvariantError(
                f"Engine '{engine.name}' was busy for {busy} ticks but has work of {work[index]} ticks."
            )
        if engine.discipline == "share":
            continue
        began, ended = np.sort(start[tasks]), np.sort(end[tasks])
        running = np.arange(1, len(began) + 1) - np.searchsorted(ended, began, side="right")
        if len(running) and int(running.max()) > engine.capacity:
            raise InvariantError(
                f"Engine '{engine.name}' ran {int(running.max())} tasks at once; its capacity is {engine.capacity}."
            )


def _refuse(graph: TaskGraph, bad: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], law: str) -> None:
    if bad.any():
        raise InvariantError(f"Task '{graph.names[int(np.argmax(bad))]}' {law}.")
