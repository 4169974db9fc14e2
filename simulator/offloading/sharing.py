"""Processor sharing in continuous time, exactly: a server that gives each of its n tasks 1/n of its speed.

In the time of one task's service (virtual time, which runs at 1/n) a task of work w that joins at v ends at v + w:
one heap holds all, and a step costs the logarithm of the tasks.
"""

from __future__ import annotations

import math
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

    Exact. Where none is on its way and it joins at once this is work + 2 x the sum of min(left, work).
    """
    if not joins_s and wait_s == 0:
        return work_s + 2 * sum(min(left, work_s) for left in running_s)
    return summed_delay_s(running_s, (*joins_s, (wait_s, work_s))) - summed_delay_s(running_s, joins_s)
