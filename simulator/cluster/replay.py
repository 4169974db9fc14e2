"""Replay of a trace on machines: tasks come, wait, are placed, run, are moved or evicted, and leave."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foundation.checks import finite_number
from foundation.errors import ArchcastError, BadValueError, UnknownNameError
from simulator.clock import to_ticks
from simulator.cluster.attempts import Attempts, attempts_of
from simulator.cluster.bins import Mask, Request
from simulator.cluster.checks import check_record
from simulator.cluster.interference import Interference
from simulator.cluster.migration import Migration
from simulator.cluster.placement import AS_IN_TRACE, POLICIES, Machines, Policy, Task, policy_of
from simulator.cluster.record import DONE, FUTURE, LOST, RUNNING, UNPLACEABLE, WAITING, WITHDRAWN, Record
from simulator.cluster.state import ARRIVAL, DEPARTURE, MACHINE, TICK, UPDATED, HookError, State, calendar_of
from simulator.cluster.trace import REMOVE, TICKS_PER_SECOND, MachineTrace, TaskTrace
from simulator.cluster.unplaceable import Reach, hopeless, reasons_of
from simulator.cluster.waiting import WaitingRoom, key_of
from simulator.streams import DEFAULT_SEED, RandomStreams

QUEUES = ("backfill", "strict")
EVICTED = ("restart", "resume", "lost")
MOST_REBALANCES = 1_000_000


class PlugInError(ArchcastError):
    """A policy, a rebalancer or an interference model failed; `record` holds all that happened up to then."""

    def __init__(self, message: str, record: Record) -> None:
        self.record = record
        super().__init__(message)


@dataclass(frozen=True)
class Rules:
    """How a replay is run.

    placement: a name of POLICIES, `as_in_trace`, or a function. queue: `backfill` (whoever fits goes, the most
    important first) or `strict` (nobody passes the head). preemption: a task without room may evict less important
    ones. evicted: what becomes of who is evicted: `restart` (from nothing), `resume` (keeps its progress) or `lost`.
    horizon_s: when the replay stops (None: when nothing is left to happen).

    Raises:
        BadValueError, UnknownNameError: a value that there is not.
    """

    placement: str | Policy = "best-fit"
    queue: str = "backfill"
    preemption: bool = False
    evicted: str = "restart"
    horizon_s: float | None = None
    migration: Migration | None = None
    interference: Interference | None = None

    def __post_init__(self) -> None:
        policy_of(self.placement)
        if self.queue not in QUEUES:
            raise UnknownNameError("queue", str(self.queue), QUEUES, f"Known: {', '.join(QUEUES)}.")
        if self.evicted not in EVICTED:
            raise UnknownNameError("evicted", str(self.evicted), EVICTED, f"Known: {', '.join(EVICTED)}.")
        if self.horizon_s is not None:
            finite_number("horizon_s", self.horizon_s, strict=True)


def replay(tasks: TaskTrace, machines: MachineTrace, rules: Rules | None = None, seed: int = DEFAULT_SEED) -> Record:
    """Replay a trace; the same seed gives the same record. Its laws are checked before it is handed out.

    Raises:
        BadValueError: `as_in_trace` for a trace without machines.
        PlugInError: a plug-in failed; its `record` holds what happened before.
        InvariantError: a fault of the simulator.
    """
    return Replay(tasks, machines, rules or Rules(), seed).run()


class Replay:
    """One replay in motion; `replay` runs it."""

    def __init__(self, tasks: TaskTrace, machines: MachineTrace, rules: Rules, seed: int) -> None:
        self.rules, self.machines, self.seed = rules, machines, seed
        self.attempts: Attempts = attempts_of(tasks)
        self.state = State(self.attempts, machines, tasks, rules.interference)
        self.bins = self.state.bins
        self.shown = self.bins.read_only()
        self.policy_name, self.policy = policy_of(rules.placement)
        self.as_in_trace = self.policy_name == AS_IN_TRACE
        if self.as_in_trace and len(self.attempts) and not (self.attempts.machine >= 0).any():
            raise BadValueError(
                "placement=as_in_trace needs a trace that says which machine each task had, and this one names none "
                "(in a CSV file the column 'machine'); choose another placement."
            )
        self.own = self.policy not in POLICIES.values()
        self.random = RandomStreams(seed).get("cluster/placement")
        self.waiting = WaitingRoom()
        if rules.preemption:
            self.state.hold_by_priority()
        self.reach = Reach(machines, self.state.allowed)
        self.hopeless = hopeless(self.attempts, self.reach)
        self.where: list[int] = self.attempts.machine.tolist() if self.as_in_trace else [-1] * len(self.attempts)
        self.evictions, self.moves = Counter[str](), Counter[str]()
        self.reasons = Counter[str]()
        self.moved_bytes = 0.0
        self.linked: set[int] = set()
        """Machines whose link is in use by a move."""
        self.homeless: list[int] = []
        """Evicted a moment ago and not yet in the queue."""
        self.freed: list[int] = []
        """Machines where evictions left room to offer."""
        self.capacity_log: list[tuple[int, int, int, int, int]] = []
        self.end = None if rules.horizon_s is None else int(to_ticks(rules.horizon_s, TICKS_PER_SECOND))

    def run(self) -> Record:
        state, attempts = self.state, self.attempts
        come = np.where(attempts.schedule >= 0, attempts.schedule, attempts.submit)
        changes = np.array([change.time for change in self.machines.attributes], dtype=np.int64)
        known = calendar_of(
            (changes, MACHINE, self._attribute), (self.machines.time, MACHINE, self._machine),
            (attempts.update_time, UPDATED, self._update), (attempts.until, UPDATED, self._withdraw),
            (come if self.as_in_trace else attempts.submit, ARRIVAL, self._arrive),
        )  # fmt: skip
        if self.rules.migration is not None:
            self._bounded(known)
            state.push(self.rules.migration.period_ticks, TICK, "rebalance", -1)
        try:
            self._loop(known)
        except HookError as error:
            name = type(self.rules.interference).__name__
            where = f"The interference '{name}' failed on machine '{self.machines.names[error.machine]}'"
            cause = error.__cause__
            raise self._failed(where, cause if isinstance(cause, Exception) else error) from cause
        return self.record()

    def _bounded(self, known: list[tuple[int, int, Callable[[int], None], int]]) -> None:
        """Refuse a rebalancer that would be called without end. Raises BadValueError."""
        assert self.rules.migration is not None
        last = self.end or (known[-1][0] if known else 0) + int(self.attempts.duration.max(initial=0))
        if last // self.rules.migration.period_ticks > MOST_REBALANCES:
            raise BadValueError(
                f"migration: period_s={self.rules.migration.period_s:g} is called more than {MOST_REBALANCES:,} times "
                f"in {last / TICKS_PER_SECOND:.4g} s; take a longer one."
            )

    def _loop(self, known: list[tuple[int, int, Callable[[int], None], int]]) -> None:
        state, calendar, place, count = self.state, self.state.calendar, 0, len(known)
        end = self.end
        while place < count or calendar:
            if place < count and (not calendar or known[place][:2] <= calendar[0][:2]):
                time, _, handle, row = known[place]
                if end is not None and time > end:
                    break
                place += 1
                state.now = time
                state.events += 1
                handle(row)
                continue
            if end is not None and calendar[0][0] > end:
                break
            time, _, _, what, attempt, version = heapq.heappop(calendar)
            if what == "finish":
                if state.version[attempt] == version:
                    state.now = time
                    state.events += 1
                    self._finish(attempt)
            elif what == "rebalance":
                if place < count or state.ending:
                    state.now = time
                    self._rebalance()
            elif attempt in state.moving and state.moving[attempt][1] == version:
                state.now = time
                self._moved(attempt, what)
        if end is not None:
            state.now = end

    # What comes from outside.

    def _arrive(self, attempt: int) -> None:
        state = self.state
        if state.state[attempt] != FUTURE:  # withdrawn before it came
            return
        if self.hopeless[attempt] or (self.as_in_trace and self.where[attempt] < 0):
            state.state[attempt] = UNPLACEABLE
            return
        state.queued[attempt] = int(self.attempts.submit[attempt])
        self._seek(attempt)
        if self.homeless or self.freed:
            self._house()

    def _finish(self, attempt: int) -> None:
        self._gone(attempt, DONE)

    def _gone(self, attempt: int, state: int) -> None:
        """Let a running attempt leave, and whoever waits take its room."""
        target = self.state.moving.get(attempt, (-1, 0))[0]
        source = self.state.at[attempt]
        self._unlink(attempt)
        machine = self.state.stop(attempt, state)
        self.state.retime(machine)
        self._refill(source)
        if target >= 0:
            self._refill(target)

    def _withdraw(self, attempt: int) -> None:
        state = self.state
        if state.state[attempt] == WAITING:
            self.waiting.remove(attempt)
            state.waited[attempt] += state.now - state.queued[attempt]
            state.state[attempt] = WITHDRAWN
            if self.rules.queue == "strict":
                self._advance_queue()
        elif state.state[attempt] == RUNNING:
            self._gone(attempt, DONE)
        elif state.state[attempt] == FUTURE:
            state.state[attempt] = WITHDRAWN

    def _update(self, row: int) -> None:
        """Let an attempt ask for another amount."""
        state, attempt = self.state, int(self.attempts.update_attempt[row])
        cpu, memory, disk = self.attempts.update_request[row].tolist()
        request: Request = (cpu, memory, disk)
        if request == state.request[attempt] or state.state[attempt] in (DONE, LOST, WITHDRAWN, UNPLACEABLE):
            return
        if state.state[attempt] == RUNNING:
            self._resize(attempt, request)
            return
        state.request[attempt] = request
        self.hopeless[attempt] = self._too_large(attempt, request)
        if state.state[attempt] == WAITING:
            self.waiting.remove(attempt)
            if self.hopeless[attempt]:
                state.state[attempt] = UNPLACEABLE
                state.waited[attempt] += state.now - state.queued[attempt]
            else:
                self._seek(attempt)
            if self.rules.queue == "strict":
                self._advance_queue()
            self._house()

    def _resize(self, attempt: int, request: Request) -> None:
        """Let a running attempt grow or shrink in place; without room it is evicted and asks anew."""
        state, machine = self.state, self.state.at[attempt]
        if attempt in state.moving:
            target = state.moving[attempt][0]
            self._unlink(attempt)
            state.cancel_move(attempt)
            self.moves["cancelled"] += 1
            self._refill(target)
        old = state.request[attempt]
        more: Request = (request[0] - old[0], request[1] - old[1], request[2] - old[2])
        if self.bins.has_room(machine, more):
            state.resize(attempt, request)
        else:
            self._evict(attempt, "its request grew")
            state.request[attempt] = request
            if self._too_large(attempt, request) and state.state[attempt] == WAITING:
                self.homeless = [other for other in self.homeless if other != attempt]
                state.state[attempt] = UNPLACEABLE
        state.retime(machine)
        self._refill(machine)
        self._house()

    def _too_large(self, attempt: int, request: Request) -> bool:
        return bool(self.reach.too_large(np.array([request]), self.state.constraint[attempt])[0])

    def _attribute(self, row: int) -> None:
        change = self.machines.attributes[row]
        self.state.allowed.change(change)
        if self.bins.up[change.machine]:
            self._refill(change.machine)

    def _machine(self, row: int) -> None:
        """Let a machine come, go, or change its size; who no longer has room is evicted."""
        machine, event = int(self.machines.machine[row]), int(self.machines.event[row])
        bins, state = self.bins, self.state
        if event == REMOVE:
            if not bins.up[machine]:
                return
            self._clear_moves_to(machine)
            for attempt in state.tasks_on(machine):
                self._evict(attempt, "its machine was removed")
            bins.remove(machine)
            self.capacity_log.append((state.now, machine, -1, -1, -1))
            self._house()
            return
        free, old = bins.free[:, machine], bins.capacity[:, machine]
        cpu, memory, disk = self.machines.capacity[row].tolist()
        used = (old - free).tolist() if bins.up[machine] else [0, 0, 0]
        bins.set_capacity(machine, (cpu, memory, disk), (used[0], used[1], used[2]))
        self.capacity_log.append((state.now, machine, cpu, memory, disk))
        self._shrink(machine)
        self._refill(machine)
        self._house()

    def _shrink(self, machine: int) -> None:
        """Evict, the least important and then the newest first, until nothing is above the capacity."""
        state, free = self.state, self.bins.free
        if int(free[:, machine].min()) < 0:
            self._clear_moves_to(machine)
        for attempt in self._victims(machine, None):
            if int(free[:, machine].min()) >= 0:
                break
            self._evict(attempt, "its machine shrank")
        state.retime(machine)

    # The queue.

    def _seek(self, attempt: int) -> None:
        """Place an attempt now if the rules let it, else it waits."""
        state = self.state
        key = key_of(state.priority[attempt], attempt)
        waits = self.rules.queue == "strict" and len(self.waiting) and self._key_of_head() < key
        machine = None if waits else self._choose(attempt)
        if machine is None and not waits and self.rules.preemption:
            machine = self._preempt(attempt)
        if machine is None:
            state.state[attempt] = WAITING
            self.waiting.add(attempt, key, state.request[attempt], state.constraint[attempt], self.where[attempt])
        else:
            state.start(attempt, machine)

    def _key_of_head(self) -> int:
        head = self.waiting.head()
        return key_of(self.state.priority[head], head)

    def _refill(self, machine: int) -> None:
        """Offer a machine, where room has come free, to those who wait."""
        waiting, state, bins = self.waiting, self.state, self.bins
        if not len(waiting) or not bins.up[machine]:
            return
        if self.rules.queue == "strict":
            self._advance_queue()
            return
        allowed, key = state.allowed.table[:, machine], -1
        while len(waiting):
            cpu, memory, disk = bins.free[:, machine].tolist()
            found = waiting.next_fitting(machine, (cpu, memory, disk), allowed, key)
            if found is None:
                return
            key, attempt = found
            apart = state.different[attempt] and machine in state.job_machines.get(state.job[attempt], ())
            chosen = self._choose(attempt) if self.own or apart else machine
            if chosen is not None:
                waiting.remove(attempt)
                state.start(attempt, chosen)

    def _advance_queue(self) -> None:
        """Place the heads of a strict queue for as long as they find room."""
        while len(self.waiting):
            head = self.waiting.head()
            machine = self._choose(head)
            if machine is None:
                return
            self.waiting.remove(head)
            self.state.start(head, machine)

    def _house(self) -> None:
        """Place the evicted or let them wait; they may evict others, less important ones, in turn."""
        state = self.state
        while self.homeless:
            self.homeless.sort(key=lambda a: key_of(state.priority[a], a))
            self._seek(self.homeless.pop(0))
        while self.freed:
            self._refill(self.freed.pop())

    # Choices.

    def _choose(self, attempt: int) -> int | None:
        """Ask the policy for a machine with room. Raises PlugInError."""
        state, bins, only = self.state, self.bins, self.where[attempt]
        if only >= 0:
            return only if bins.has_room(only, state.request[attempt]) else None
        fits = state.may_run(attempt)
        return self._ask(attempt, fits) if fits.any() else None

    def _ask(self, attempt: int, fits: Mask) -> int | None:
        state = self.state
        task = Task(attempt, "", state.request[attempt], state.priority[attempt], state.now)
        fits.flags.writeable = False
        machines = Machines(self.shown, fits, self.random)
        if not self.own:
            return self.policy(task, machines)
        try:
            found = self.policy(Task(attempt, state.name(attempt), *(task.request, task.priority, task.now)), machines)
            if found is None:
                return None
            machine = int(found)
            if not (0 <= machine < len(fits) and fits[machine]):
                raise ValueError(f"machine {found!r} has no room for it or may not take it")
            return machine
        except Exception as error:
            who = f"The placement '{self.policy_name}' failed for task {state.name(attempt)}"
            raise self._failed(who, error, attempt) from error

    def _failed(self, who: str, error: Exception, attempt: int | None = None) -> PlugInError:
        state = self.state
        if attempt is not None and state.state[attempt] == FUTURE:
            state.state[attempt] = WAITING
        seconds = state.now / TICKS_PER_SECOND
        message = f"{who} at {seconds:.6f} s: {type(error).__name__}: {error}. The record up to then is kept."
        return PlugInError(message, self.record(partial=True))

    def _victims(self, machine: int, below: int | None) -> list[int]:
        """Return who runs on a machine with less than a priority: least important first, then the newest."""
        state = self.state
        found = [a for a in state.on[machine] if below is None or state.priority[a] <= below]
        return sorted(found, key=lambda a: (state.priority[a], -state.began[a], -a))

    def _preempt(self, attempt: int) -> int | None:
        """Make room by evicting less important tasks, the lowest priorities that will do. None: it cannot be made."""
        state, bins, request = self.state, self.bins, self.state.request[attempt]
        low, high = 0, state.levels[state.priority[attempt]] - 1
        if high < 0:
            return None
        fits = self._could_fit(attempt, high)
        if not fits.any():
            return None
        while low < high:  # what could fit only grows with the priorities that may be evicted
            middle = (low + high) // 2
            found = self._could_fit(attempt, middle)
            if found.any():
                high, fits = middle, found
            else:
                low = middle + 1
        machine = self._ask(attempt, fits)
        if machine is None:
            return None
        highest = next(priority for priority, level in state.levels.items() if level == high)
        for victim in self._victims(machine, highest):
            if bins.has_room(machine, request):
                break
            self._evict(victim, "preempted")
        self.freed.append(machine)
        return machine

    def _could_fit(self, attempt: int, level: int) -> Mask:
        """Return where an attempt would fit if all priorities up to a level were evicted."""
        state, bins, request = self.state, self.bins, self.state.request[attempt]
        assert state.held is not None
        held, free = state.held[level], bins.free
        room = bins.up.copy()
        for r in range(3):
            if request[r] or r == 0:
                room &= free[r] + held[r] >= request[r]
        fits = state.may_run(attempt, room)
        if self.where[attempt] >= 0:
            fits &= np.arange(bins.machines) == self.where[attempt]
        return fits

    def _evict(self, attempt: int, cause: str) -> None:
        """Take a running attempt off its machine. It seeks a new place when the event is dealt with (`_house`)."""
        state = self.state
        self.evictions[cause] += 1
        if attempt in state.moving:
            self.freed.append(state.moving[attempt][0])
        self._unlink(attempt)
        lost = self.rules.evicted == "lost"
        state.stop(attempt, LOST if lost else WAITING)
        if lost:
            self.reasons[f"lost: {cause}"] += 1
            return
        if self.rules.evicted == "restart":
            state.left[attempt] = state.work[attempt]
        state.queued[attempt] = state.now
        self.homeless.append(attempt)

    # Moves.

    def _rebalance(self) -> None:
        """Let the rebalancer move tasks. Raises PlugInError."""
        migration, state = self.rules.migration, self.state
        assert migration is not None
        try:
            wanted = [(int(a), int(m)) for a, m in migration.rebalancer(state)]
            for attempt, target in wanted:
                self._check_move(attempt, target)
        except Exception as error:
            name = getattr(migration.rebalancer, "__name__", type(migration.rebalancer).__name__)
            raise self._failed(f"The rebalancer '{name}' failed", error) from error
        for attempt, target in wanted:
            source = state.at[attempt]
            if attempt in state.moving or {source, target} & self.linked or not state.may_run(attempt)[target]:
                self.moves["deferred"] += 1
                continue
            self._move(attempt, source, target, migration)
        state.push(state.now + migration.period_ticks, TICK, "rebalance", -1)

    def _check_move(self, attempt: int, target: int) -> None:
        state = self.state
        if not (0 <= attempt < len(self.attempts) and state.state[attempt] == RUNNING):
            raise ValueError(f"attempt {attempt} does not run")
        if not 0 <= target < self.bins.machines or target == state.at[attempt]:
            raise ValueError(f"machine {target} is not another machine")

    def _move(self, attempt: int, source: int, target: int, migration: Migration) -> None:
        state = self.state
        memory = float(state.request[attempt][1] * state.trace.units.scale[1])
        sent = migration.state_bytes(memory)
        state.begin_move(attempt, target)
        self.linked |= {source, target}
        self.moves["started"] += 1
        self.moved_bytes += sent
        ready = state.now + migration.transfer_ticks(sent)
        if migration.live:
            state.push(ready, DEPARTURE, "pause", attempt, state.now)
        else:
            state.pause(attempt)
        state.push(ready + migration.downtime_ticks, DEPARTURE, "arrive", attempt, state.now)

    def _moved(self, attempt: int, what: str) -> None:
        state = self.state
        if what == "pause":
            state.pause(attempt)
            return
        source, target = state.end_move(attempt)
        self.linked -= {source, target}
        self.moves["completed"] += 1
        self._refill(source)

    def _unlink(self, attempt: int) -> None:
        """Free the links of an attempt that is about to stop or to give up its move."""
        state = self.state
        if attempt in state.moving:
            self.linked -= {state.at[attempt], state.moving[attempt][0]}
            if state.state[attempt] == RUNNING:
                self.moves["cancelled"] += 1

    def _clear_moves_to(self, machine: int) -> None:
        state = self.state
        for attempt in [a for a, (target, _) in state.moving.items() if target == machine]:
            self._unlink(attempt)
            state.cancel_move(attempt)

    def record(self, *, partial: bool = False) -> Record:
        """Return what happened so far, checked. Raises InvariantError: a fault of the simulator."""
        state = self.state
        cut = state.close()
        waits = np.array([s == WAITING for s in state.state], dtype=bool)
        waited = np.array(state.waited, dtype=np.int64)
        waited[waits] += state.now - np.array(state.queued, dtype=np.int64)[waits]
        capacity = np.array(self.capacity_log, dtype=np.int64).reshape(-1, 5)
        reasons = self.reasons + reasons_of(state, self.reach, self.as_in_trace)
        found = Record(
            self.policy_name, self.attempts, self.machines, state.trace.units, state.log.columns(),
            np.array(state.state, dtype=np.int64), np.array(state.first_start, dtype=np.int64),
            np.array(state.finished, dtype=np.int64), waited, capacity[:, 0], capacity[:, 1], capacity[:, 2:],
            dict(self.evictions), dict(reasons), dict(self.moves), self.moved_bytes, state.now, state.events,
            self.seed, cut, partial,
        )  # fmt: skip
        check_record(found, self.bins)
        return found
