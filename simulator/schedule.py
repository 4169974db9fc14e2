"""Runs a task graph on its engines and returns the timeline.

Policies, for the engines whose discipline is `scheduled`:

- `in-order`: each engine is a stream that starts its tasks in program order; the head of the line blocks the rest.
- `critical-path`: list scheduling; among the ready tasks the one with the longest way to the end goes first (HEFT's
  upward rank).
- a sequence of task names: list scheduling, earlier names first, unnamed tasks after them in program order.
- a mapping of task name to priority: list scheduling, larger priorities first, unnamed tasks have priority 0.

Every policy is free of needless idling: as long as work remains, some engine works. So the makespan lies between
`TaskGraph.bounds_ticks`, which every run checks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from foundation.errors import BadValueError, UnknownNameError
from simulator.dag import cycle_text, find_cycle, topological_order
from simulator.engine import EventEngine
from simulator.invariants import check_schedule
from simulator.stations import SharedStation, SlotStation
from simulator.tasks import TaskGraph
from simulator.timeline import Timeline

POLICIES = ("in-order", "critical-path")
Policy = str | Sequence[str] | Mapping[str, float]


def simulate_graph(graph: TaskGraph, policy: Policy = "in-order") -> Timeline:
    """Run `graph` under `policy` and return its timeline, checked against the bounds and the dependencies.

    Raises:
        UnknownNameError: no such policy, or a task named in it does not exist.
        BadValueError: the program order of the streams contradicts the dependencies (in-order), or a priority is NaN.
        InvariantError: the simulator broke one of its own laws.
    """
    in_order, keys = _task_keys(graph, policy)
    if in_order:
        _check_streams(graph)
    run = _Run(graph, keys, in_order)
    run.engine.run()
    start, end = np.array(run.start, dtype=np.int64), np.array(run.end, dtype=np.int64)
    check_schedule(graph, start, end)
    return Timeline(graph, start, end, np.array(run.cause, dtype=np.int64), policy_text(policy), run.engine.events)


def policy_text(policy: Policy) -> str:
    """Return the name under which a timeline records its policy."""
    return policy if isinstance(policy, str) else "user"


class _Run:
    """One run: the state of each task, and what happens when one ends."""

    def __init__(self, graph: TaskGraph, keys: list[int], in_order: bool) -> None:
        count = len(graph)
        self.engine = EventEngine()
        self.start, self.end = [-1] * count, [-1] * count
        self.cause = [-1] * count  # the task whose end let this one start
        self.ready_at = [0] * count
        self.waits = np.bincount(graph.after, minlength=count).tolist()
        self.next_start, self.next_index = graph.successors
        self.engine_of = graph.task_engine.tolist()
        self.keys, self.fifo = keys, [e.discipline == "fifo" for e in graph.engines]
        self.last_done = [-1] * len(graph.engines)
        self.last_started = [-1] * len(graph.engines)
        self.dirty: set[int] = set()
        work = graph.duration_ticks.tolist()
        self.stations: list[SlotStation | SharedStation] = [
            SharedStation(self.engine, work, self._started, self._finished)
            if e.discipline == "share"
            else SlotStation(
                self.engine, work, e.capacity, self._started, self._finished, in_order and e.discipline == "scheduled"
            )
            for e in graph.engines
        ]
        for task, waits in enumerate(self.waits):
            if not waits:
                self._ready(task)

    def _ready(self, task: int) -> None:
        at = self.engine_of[task]
        now = self.engine.now
        self.ready_at[task] = now
        self.stations[at].arrive(task, (now, task) if self.fifo[at] else self.keys[task])
        self._settle_later(at)

    def _settle_later(self, at: int) -> None:
        """Let the engine choose after all ends of this instant are known."""
        if not self.dirty:
            self.engine.at(self.engine.now, self._settle, priority=1)
        self.dirty.add(at)

    def _settle(self, _: Any) -> None:
        dirty = sorted(self.dirty) if len(self.dirty) > 1 else tuple(self.dirty)
        self.dirty.clear()
        for at in dirty:
            self.stations[at].settle()

    def _started(self, task: int) -> None:
        now, at = self.engine.now, self.engine_of[task]
        self.start[task] = now
        if self.ready_at[task] < now:
            freed, ahead = self.last_done[at], self.last_started[at]
            self.cause[task] = freed if freed >= 0 and self.end[freed] == now else self.cause[ahead]
        self.last_started[at] = task

    def _finished(self, task: int) -> None:
        at = self.engine_of[task]
        self.end[task] = self.engine.now
        self.last_done[at] = task
        waits = self.waits
        for follower in self.next_index[self.next_start[task] : self.next_start[task + 1]]:
            waits[follower] -= 1
            if not waits[follower]:
                self.cause[follower] = task
                self._ready(follower)
        station = self.stations[at]
        if station.has_work:
            self._settle_later(at)


def _task_keys(graph: TaskGraph, policy: Policy) -> tuple[bool, list[int]]:
    """Return (in order?, the key of each task): lower keys go first among the ready tasks of an engine."""
    count = len(graph)
    if isinstance(policy, str):
        if policy not in POLICIES:
            hint = f"A policy is one of: {', '.join(POLICIES)}, a list of task names, or a mapping of name to priority."
            raise UnknownNameError("policy", policy, POLICIES, hint)
        if policy == "in-order":
            return True, _stream_positions(graph)
        return False, _positions(sorted(range(count), key=lambda t, rank=graph.rank_ticks: -rank[t]))  # type: ignore[misc]
    known = {name: task for task, name in enumerate(graph.names)}
    for name in policy:
        if name not in known:
            raise UnknownNameError("task", str(name), known, "The policy names it.")
    if isinstance(policy, Mapping):
        for name, value in policy.items():
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise BadValueError(f"The priority of task '{name}' must be a finite number, not {value!r}.")
        return False, _positions(sorted(range(count), key=lambda t: -policy.get(graph.names[t], 0.0)))
    place = {name: at for at, name in reversed(list(enumerate(policy)))}
    return False, _positions(sorted(range(count), key=lambda t: place.get(graph.names[t], len(place) + count)))


def _positions(order: list[int]) -> list[int]:
    """Return the place of each task in `order`."""
    place = [0] * len(order)
    for at, task in enumerate(order):
        place[task] = at
    return place


def _stream_positions(graph: TaskGraph) -> list[int]:
    """Return the place of each task among those of its engine, in program order."""
    seen, place = [0] * len(graph.engines), []
    for at in graph.task_engine.tolist():
        place.append(seen[at])
        seen[at] += 1
    return place


def _check_streams(graph: TaskGraph) -> None:
    """Refuse streams whose program order contradicts the dependencies: they would wait for each other for ever."""
    if bool(np.all(graph.before < graph.after)):
        return
    scheduled = np.array([e.discipline == "scheduled" for e in graph.engines], dtype=bool)
    tasks = np.flatnonzero(scheduled[graph.task_engine])
    by_engine = tasks[np.argsort(graph.task_engine[tasks], kind="stable")]
    same = graph.task_engine[by_engine[:-1]] == graph.task_engine[by_engine[1:]]
    before = np.concatenate([graph.before, by_engine[:-1][same]])
    after = np.concatenate([graph.after, by_engine[1:][same]])
    if topological_order(len(graph), before, after) is None:
        cycle = find_cycle(len(graph), before, after)
        raise BadValueError(
            f"In program order these tasks wait for each other in a circle: {cycle_text(graph.names, cycle)}. "
            "List a task before those that need it, or use the policy critical-path."
        )
