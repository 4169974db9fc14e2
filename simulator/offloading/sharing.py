"""Processor sharing in continuous time, exactly: a server that gives each of its n tasks 1/n of its speed.

In the time of one task's service (virtual time, which runs at 1/n) a task of work w that joins at v ends at v + w:
one heap holds all, and a step costs the logarithm of the tasks.
"""

from __future__ import annotations

import math
from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop, heappush


class SharedServer:
    """One server. Work is in seconds of the whole server; tasks are numbers of the caller."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._served_s = 0.0
        self._running: list[tuple[float, int]] = []
        self._joins: list[tuple[float, int, float]] = []

    def add(self, task: int, join_s: float, work_s: float) -> None:
        """Let a task join at a time that has not passed yet."""
        heappush(self._joins, (max(join_s, self.now_s), task, work_s))

    def advance(self, to_s: float) -> list[tuple[int, float]]:
        """Go on to a time; return (task, end in s) of those that ended by then, in order."""
        ended: list[tuple[int, float]] = []
        while True:
            at = min(self._joins[0][0] if self._joins else math.inf, to_s)
            while self._running:
                wait = (self._running[0][0] - self._served_s) * len(self._running)
                if self.now_s + wait > at:
                    break
                self.now_s += wait
                self._served_s, task = heappop(self._running)
                ended.append((task, self.now_s))
            if self._running:
                self._served_s += (at - self.now_s) / len(self._running)
            else:
                self._served_s = 0.0
            if math.isfinite(at):
                self.now_s = at
            if not self._joins or self._joins[0][0] > to_s:
                return ended
            _, task, work_s = heappop(self._joins)
            heappush(self._running, (self._served_s + work_s, task))

    @property
    def running(self) -> int:
        """Tasks that share the server now."""
        return len(self._running)

    @property
    def coming(self) -> int:
        """Tasks that are on their way."""
        return len(self._joins)

    def remaining_s(self) -> list[float]:
        """Return the work that is left of each running task."""
        return [max(end - self._served_s, 0.0) for end, _ in self._running]

    def joins_s(self) -> list[tuple[float, float]]:
        """Return (seconds from now, work in s) of the tasks on their way."""
        return [(at - self.now_s, work_s) for at, _, work_s in self._joins]


def summed_delay_s(running_s: Iterable[float], joins_s: Iterable[tuple[float, float]]) -> float:
    """Return the sum of all tasks' times from now to their end on one shared server, if no other comes.

    running_s: work that is left of each task. joins_s: (seconds from now, work in s) of those on their way.
    """
    running = list(running_s)
    heapify(running)
    now = served = total = 0.0
    for at, work_s in (*sorted(joins_s), (math.inf, 0.0)):
        while running:
            wait = (running[0] - served) * len(running)
            if now + wait > at:
                break
            now += wait
            served = heappop(running)
            total += now
        if math.isinf(at):
            return total
        if running:
            served += (at - now) / len(running)
        now = at
        heappush(running, served + work_s)
    return total


def added_delay_s(
    running_s: Sequence[float], joins_s: Sequence[tuple[float, float]], wait_s: float, work_s: float
) -> float:
    """Return by how much `summed_delay_s` grows through one more task that joins in `wait_s`: its own delay included.

    Exact. Where all others are there when it joins this is wait + work + 2 x the sum of min(left, work): it waits for
    them as they wait for it. Others count from the last time before it that the server is idle, to the first after it.
    """
    joins = sorted(joins_s)
    place = bisect_right(joins, (wait_s, math.inf))
    left = _left_at(running_s, joins[:place], wait_s)
    later = _until_idle(sum(left) + work_s, wait_s, joins[place:])
    if not later:
        return wait_s + work_s + 2 * sum(other if other < work_s else work_s for other in left)
    return wait_s + summed_delay_s((*left, work_s), later) - summed_delay_s(left, later)


def _until_idle(backlog_s: float, from_s: float, joins_s: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the joins (seconds from `from_s`) before the server is idle for the first time."""
    at = from_s
    for place, (join_s, work_s) in enumerate(joins_s):
        if join_s - at >= backlog_s:
            return [(join - from_s, work) for join, work in joins_s[:place]]
        backlog_s += work_s - (join_s - at)
        at = join_s
    return [(join - from_s, work) for join, work in joins_s]


def _left_at(running_s: Sequence[float], joins_s: list[tuple[float, float]], until_s: float) -> list[float]:
    """Return the work that is left of each task in `until_s`, in rising order; all joins come before."""
    backlog_s, at, first, left = sum(running_s), 0.0, 0, sorted(running_s)
    for place, (join_s, work_s) in enumerate(joins_s):
        if join_s - at >= backlog_s:  # idle: what was before does not matter
            backlog_s, first, left = 0.0, place, []
        else:
            backlog_s -= join_s - at
        backlog_s += work_s
        at = join_s
    at = joins_s[first][0] if joins_s and not left else 0.0
    for join_s, work_s in joins_s[first:]:
        left = _served(left, join_s - at)
        insort(left, work_s)
        at = join_s
    return _served(left, until_s - at)


def _served(left_s: list[float], time_s: float) -> list[float]:
    """Return what is left of tasks (in rising order) after a time in which they share the server."""
    served, count = 0.0, len(left_s)
    for place, left in enumerate(left_s):
        share = time_s / (count - place)
        if left - served > share:
            served += share
            return [other - served for other in left_s[place:]]
        time_s -= (left - served) * (count - place)
        served = left
    return []
