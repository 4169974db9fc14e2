"""The state of a replay in motion: who runs where with how much work left, and the calendar of what comes."""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np

from simulator.cluster.attempts import Attempts
from simulator.cluster.bins import NO_MACHINE, Bins, Mask, Request
from simulator.cluster.constraints import Allowed
from simulator.cluster.interference import RATE_UNIT, Interference, rates_of
from simulator.cluster.record import DONE, FUTURE, LOST, RUNNING, SegmentLog
from simulator.cluster.trace import REMOVE, Column, MachineTrace, TaskTrace

DEPARTURE, MACHINE, UPDATED, ARRIVAL, TICK = range(5)
"""Order at one time: who ends gives room back first, machines change next, then who comes is placed."""
ENDLESS = -1


class HookError(Exception):
    """The interference model failed on a machine (the cause is attached)."""

    def __init__(self, machine: int) -> None:
        self.machine = machine
        super().__init__(f"machine {machine}")


class State:
    """Lists by attempt (fast to read one at a time), and the bins. All times are ticks, all work is whole numbers.

    left: work that remains, ticks times `full` (the full rate), ENDLESS where no end is known. rate: progress a tick.
    """

    def __init__(
        self, attempts: Attempts, machines: MachineTrace, trace: TaskTrace, interference: Interference | None = None
    ) -> None:  # fmt: skip
        count = len(attempts)
        self.attempts, self.trace = attempts, trace
        self.now, self.events = 0, 0
        there = machines.capacity[machines.event != REMOVE]
        largest = there.max(axis=0).tolist() if len(there) else [0, 0, 0]
        self.bins = Bins(len(machines.names), (largest[0], largest[1], largest[2]))
        self.allowed = Allowed(trace.constraint_sets, len(machines.names), machines.attributes)
        self.request: list[Request] = [(a, b, c) for a, b, c in attempts.request.tolist()]
        self.constraint: list[int] = attempts.constraint.tolist()
        self.priority: list[int] = attempts.priority.tolist()
        self.job: list[int] = trace.job[attempts.task].tolist()
        apart = np.isin(trace.job[attempts.task], trace.job[attempts.task][attempts.different])
        self.apart: list[bool] = apart.tolist()
        self.different: list[bool] = attempts.different.tolist()
        self.interference = interference
        self.full = RATE_UNIT if interference is not None else 1
        self.work: list[int] = [d * self.full if d >= 0 else ENDLESS for d in attempts.duration.tolist()]
        self.left = list(self.work)
        self.rate, self.since = [self.full] * count, [0] * count
        self.version, self.at = [0] * count, [NO_MACHINE] * count
        self.began, self.queued = [0] * count, [0] * count
        self.state, self.first_start = [FUTURE] * count, [-1] * count
        self.finished, self.waited = [-1] * count, [0] * count
        self.paused: set[int] = set()
        self.moving: dict[int, tuple[int, int]] = {}
        """Attempts that move: their target, and since when its room is held."""
        self.on: list[dict[int, None]] = [{} for _ in machines.names]
        self.job_machines: dict[int, dict[int, int]] = {}
        self.log = SegmentLog()
        self.calendar: list[tuple[int, int, int, str, int, int]] = []
        self._sequence = 0
        self.ending = 0
        """Attempts that run and whose end will come by itself."""
        self.levels: dict[int, int] = {p: i for i, p in enumerate(sorted(set(self.priority)))}
        self.held: np.ndarray[tuple[int, ...], np.dtype[np.int64]] | None = None

    def hold_by_priority(self) -> None:
        """Keep what each priority and those below hold on each machine, shape (priorities, 3, machines)."""
        self.held = np.zeros((len(self.levels), 3, self.bins.machines), dtype=np.int64)

    def push(self, time: int, rank: int, what: str, attempt: int, version: int = 0) -> None:
        self._sequence += 1
        heapq.heappush(self.calendar, (time, rank, self._sequence, what, attempt, version))

    def tasks_on(self, machine: int) -> list[int]:
        """Return who runs on a machine, in the order of starting there."""
        return list(self.on[machine])

    def is_moving(self, attempt: int) -> bool:
        return attempt in self.moving

    def name(self, attempt: int) -> str:
        return self.trace.name(int(self.attempts.task[attempt]))

    def may_run(self, attempt: int, room: Mask | None = None) -> Mask:
        """Return the machines with room (else `room`) that meet the constraints of an attempt."""
        fits = self.bins.fits(self.request[attempt]) if room is None else room
        if self.constraint[attempt]:
            fits &= self.allowed.table[self.constraint[attempt]]
        if self.different[attempt]:
            for machine in self.job_machines.get(self.job[attempt], ()):
                fits[machine] = False
        return fits

    def start(self, attempt: int, machine: int) -> None:
        """Let an attempt run on a machine from now on."""
        self.bins.take(machine, self.request[attempt])
        self.state[attempt] = RUNNING
        self.waited[attempt] += self.now - self.queued[attempt]
        if self.first_start[attempt] < 0:
            self.first_start[attempt] = self.now
        self.since[attempt], self.rate[attempt] = self.now, self.full
        self.ending += self.left[attempt] >= 0
        self._enter(attempt, machine)
        self._finish_later(attempt)
        self.retime(machine)

    def stop(self, attempt: int, state: int) -> int:
        """Let a running attempt leave its machine, and return the machine. Its move, if any, ends too."""
        if attempt in self.moving:
            self.cancel_move(attempt)
        machine = self._leave(attempt)
        self.bins.give(machine, self.request[attempt])
        self.version[attempt] += 1
        self.ending -= self.left[attempt] >= 0
        self.state[attempt] = state
        if state in (DONE, LOST):
            self.finished[attempt] = self.now
        self.paused.discard(attempt)
        return machine

    def _enter(self, attempt: int, machine: int) -> None:
        self.at[attempt], self.began[attempt] = machine, self.now
        self.on[machine][attempt] = None
        if self.held is not None:
            self.held[self.levels[self.priority[attempt]] :, :, machine] += self.request[attempt]
        if self.apart[attempt]:
            places = self.job_machines.setdefault(self.job[attempt], {})
            places[machine] = places.get(machine, 0) + 1

    def _leave(self, attempt: int) -> int:
        machine = self.at[attempt]
        self.advance(attempt)
        self.log.add(attempt, machine, self.began[attempt], self.now, self.request[attempt])
        del self.on[machine][attempt]
        self.at[attempt] = NO_MACHINE
        if self.held is not None:
            self.held[self.levels[self.priority[attempt]] :, :, machine] -= self.request[attempt]
        if self.apart[attempt]:
            places = self.job_machines[self.job[attempt]]
            places[machine] -= 1
            if not places[machine]:
                del places[machine]
        return machine

    def resize(self, attempt: int, request: Request) -> None:
        """Let a running attempt hold another amount from now on; the caller knows that it fits."""
        machine = self._leave(attempt)
        self.bins.give(machine, self.request[attempt])
        self.request[attempt] = request
        self.bins.take(machine, request)
        self._enter(attempt, machine)

    def advance(self, attempt: int) -> None:
        """Count the work done up to now."""
        if self.left[attempt] >= 0:
            done = (self.now - self.since[attempt]) * self.rate[attempt]
            self.left[attempt] = max(self.left[attempt] - done, 0)
        self.since[attempt] = self.now

    def _finish_later(self, attempt: int) -> None:
        self.version[attempt] += 1
        if self.left[attempt] >= 0 and self.rate[attempt]:
            ticks = -(-self.left[attempt] // self.rate[attempt])
            self.push(self.now + ticks, DEPARTURE, "finish", attempt, self.version[attempt])

    def set_rate(self, attempt: int, rate: int) -> None:
        """Change how fast an attempt works from now on."""
        if rate != self.rate[attempt]:
            self.advance(attempt)
            self.rate[attempt] = rate
            self._finish_later(attempt)

    def retime(self, machine: int) -> None:
        """Ask how fast everyone on a machine works now. Raises HookError: the hook failed, or gave no ratios."""
        tasks = self.on[machine]
        if self.interference is None or not tasks:
            return
        who = list(tasks)
        try:
            rates = rates_of(self.interference.ratios(machine, who), len(who))
        except Exception as error:
            raise HookError(machine) from error
        for attempt, rate in zip(who, rates, strict=True):
            if attempt not in self.paused:
                self.set_rate(attempt, rate)

    def pause(self, attempt: int) -> None:
        self.paused.add(attempt)
        self.set_rate(attempt, 0)

    def resume(self, attempt: int) -> None:
        self.paused.discard(attempt)
        self.set_rate(attempt, self.full)

    def begin_move(self, attempt: int, target: int) -> None:
        self.bins.take(target, self.request[attempt])
        self.moving[attempt] = (target, self.now)

    def cancel_move(self, attempt: int) -> int:
        """Let go of the target's room, and return the target."""
        target, began = self.moving.pop(attempt)
        self.log.add(attempt, target, began, self.now, self.request[attempt], 1)
        if self.bins.up[target]:
            self.bins.give(target, self.request[attempt])
        if attempt in self.paused:
            self.resume(attempt)
        return target

    def end_move(self, attempt: int) -> tuple[int, int]:
        """Let a moving attempt go on at its target, and return (source, target)."""
        target, began = self.moving.pop(attempt)
        self.log.add(attempt, target, began, self.now, self.request[attempt], 1)
        source = self._leave(attempt)
        self.bins.give(source, self.request[attempt])
        self._enter(attempt, target)
        self.resume(attempt)
        self.retime(source)
        self.retime(target)
        return source, target

    def close(self) -> int:
        """Log the stays of all who still run, at the end of the replay, and return how many; they keep their state."""
        before = len(self.log)
        for attempt, (target, began) in self.moving.items():
            self.log.add(attempt, target, began, self.now, self.request[attempt], 1)
        for tasks in self.on:
            for attempt in tasks:
                self.log.add(attempt, self.at[attempt], self.began[attempt], self.now, self.request[attempt])
        return len(self.log) - before


def calendar_of(
    *groups: tuple[Column, int, Callable[[int], None]],
) -> list[tuple[int, int, Callable[[int], None], int]]:
    """Return what is known beforehand, sorted by (time, rank, order): tuples (time, rank, handler, row).

    Each group is (times, rank, handler); a negative time stands for never. The groups keep their order at equal rank.
    """
    columns: list[list[Column]] = [[], [], [], []]
    for number, (times, rank, _) in enumerate(groups):
        there = np.flatnonzero(times >= 0)
        for column, values in zip(
            columns, (times[there], np.full(len(there), rank), np.full(len(there), number), there), strict=True
        ):
            column.append(values)
    time, ranks, handlers, rows = (np.concatenate(column) for column in columns)
    order = np.lexsort((ranks, time))  # stable: rows of a group stay in order
    sorted_columns = (column[order].tolist() for column in (time, ranks, handlers, rows))
    return [(t, rank, groups[handler][2], row) for t, rank, handler, row in zip(*sorted_columns, strict=True)]
