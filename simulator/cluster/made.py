"""Made traces: seeded, with the features that matter of real ones. They are synthetic and stand for no cluster.

Arrivals are a Poisson stream that follows the day, in jobs of several tasks. Durations are lognormal with a heavy tail
and scaled so that the tasks ask for the wanted share of the cluster's CPU. Requests come in a few shapes, most of them
small. Every quantity has a stream of its own, named, so that changing one leaves the others as they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError
from simulator.cluster.trace import (
    ADD,
    FAIL,
    FINISH,
    KILL,
    REMOVE,
    SCHEDULE,
    SHARES,
    SUBMIT,
    TICKS_PER_SECOND,
    UNLIMITED,
    UPDATE_RUNNING,
    Column,
    MachineTrace,
    Sizes,
    TaskTrace,
)
from simulator.streams import DEFAULT_SEED, RandomStreams

DAY_S = 86_400.0
GOOGLE_MIX: tuple[tuple[float, float, int], ...] = (
    (0.5, 0.5, 6732), (0.5, 0.25, 3863), (0.5, 0.75, 1001), (1.0, 1.0, 795), (0.25, 0.25, 126), (0.5, 0.12, 52),
    (0.5, 0.03, 5), (0.5, 0.97, 5), (1.0, 0.5, 3), (0.5, 0.06, 1),
)  # fmt: skip
"""(CPU, memory, machines) as shares: Reiss et al., "Heterogeneity and Dynamicity of Clouds at Scale", 2012, tab. 1."""
PRIORITIES = ((0, 0.28), (1, 0.14), (2, 0.05), (4, 0.35), (6, 0.05), (8, 0.02), (9, 0.10), (10, 0.005), (11, 0.005))
"""(priority, share of jobs): estimated, so that free, batch and production bands of Google's traces all occur."""
SPREAD = 2.0
"""Standard deviation of the logarithm of durations (estimated, 1.5 to 2.5)."""
LONGEST_SHARE = 0.5
"""Of the horizon, the longest duration."""
ENDINGS = ((FINISH, 0.75), (KILL, 0.20), (FAIL, 0.05))
"""How tasks end (estimated)."""
UPDATED = 0.02
"""Share of tasks whose request changes while they run (estimated, 0 to 0.05)."""
OUTAGE_S = 2 * 3600.0


@dataclass(frozen=True)
class MadeTrace:
    """A trace to make. load: share of the CPU asked for, mean over the horizon; swing: of the rate over the day,
    in [0, 1).

    cpu_median: of what tasks ask for, as a share of the largest machine.

    outages: times a machine is away during the horizon, on average (two hours each on average, exponential).

    Raises:
        BadValueError: a number that no trace can have.
    """

    machines: int = 12_500
    task_events: int = 1_000_000
    horizon_s: float = 29 * DAY_S
    load: float = 0.6
    swing: float = 0.4
    cpu_median: float = 0.1
    tasks_per_job: float = 8.0
    outages: float = 0.3

    def __post_init__(self) -> None:
        whole_number("machines", self.machines, high=1_000_000)
        whole_number("task_events", self.task_events, low=3, high=100_000_000)
        finite_number("horizon_s", self.horizon_s, low=1.0, high=1e9)
        finite_number("load", self.load, strict=True, high=10.0)
        finite_number("cpu_median", self.cpu_median, strict=True, high=0.5)
        finite_number("outages", self.outages, high=1000.0)
        finite_number("tasks_per_job", self.tasks_per_job, low=1.0, high=1e6)
        if finite_number("swing", self.swing) >= 1:
            raise BadValueError(f"swing must be at least 0 and below 1, not {self.swing!r}.")

    def make(self, seed: int = DEFAULT_SEED, replication: int = 0) -> tuple[TaskTrace, MachineTrace]:
        """Return a trace; the same numbers give the same one."""
        streams = RandomStreams(seed, replication)
        machines = self._machines(streams)
        count = self.task_events // 3
        submit, job = self._arrivals(streams.get("cluster/arrivals"), count)
        request, priority = self._requests(streams.get("cluster/requests"), job)
        added = machines.event == ADD
        capacity = np.zeros(len(machines.names))
        capacity[machines.machine[added]] = machines.capacity[added, 0]
        duration = self._durations(streams.get("cluster/durations"), request[:, 0], float(capacity.sum()))
        return self._events(streams.get("cluster/endings"), submit, duration, job, priority, request), machines

    def _machines(self, streams: RandomStreams) -> MachineTrace:
        random = streams.get("cluster/machines")
        weights = np.array([n for _, _, n in GOOGLE_MIX], dtype=float)
        kinds = random.choice(len(GOOGLE_MIX), self.machines, p=weights / weights.sum())
        sizes = np.array([(cpu, memory) for cpu, memory, _ in GOOGLE_MIX])[kinds]
        capacity = np.column_stack([np.rint(sizes * 1e9).astype(np.int64), np.full(self.machines, UNLIMITED)])
        random = streams.get("cluster/outages")
        times = random.poisson(self.outages, self.machines)
        who = np.repeat(np.arange(self.machines), np.minimum(times, 1))  # at most one outage each: none overlap
        begin = np.rint(random.random(len(who)) * self.horizon_s * TICKS_PER_SECOND).astype(np.int64)
        back = begin + np.rint(random.exponential(OUTAGE_S, len(who)) * TICKS_PER_SECOND).astype(np.int64) + 1
        everyone = np.arange(self.machines)
        machine = np.concatenate([everyone, who, who])
        time = np.concatenate([np.zeros(self.machines, dtype=np.int64), begin, back])
        event = np.repeat([ADD, REMOVE, ADD], [self.machines, len(who), len(who)])
        order = np.argsort(time, kind="stable")
        names = tuple(f"m{i}" for i in range(self.machines))
        return MachineTrace(time[order], event[order], machine[order], capacity[machine][order], names, SHARES)

    def _arrivals(self, random: np.random.Generator, count: int) -> tuple[Column, Column]:
        """Return when each task comes (ticks), and its job: jobs follow the day (thinning of a uniform stream)."""
        sizes = random.geometric(1 / self.tasks_per_job, count)
        jobs = int(np.searchsorted(np.cumsum(sizes), count)) + 1
        times = np.zeros(0)
        while len(times) < jobs:
            drawn = random.random(2 * jobs) * self.horizon_s * 0.95
            kept = random.random(2 * jobs) * (1 + self.swing) < 1 + self.swing * np.sin(2 * np.pi * drawn / DAY_S)
            times = np.concatenate([times, drawn[kept]])
        job = np.repeat(np.arange(jobs), sizes[:jobs])[:count]
        starts = np.sort(times[:jobs])
        return np.rint(starts[job] * TICKS_PER_SECOND).astype(np.int64), job

    def _requests(self, random: np.random.Generator, job: Column) -> tuple[Sizes, Column]:
        """Return what each task asks for and its priority; tasks of a job are alike."""
        jobs = int(job.max()) + 1
        shares = np.array([share for _, share in PRIORITIES])
        priority = np.array([p for p, _ in PRIORITIES])[random.choice(len(PRIORITIES), jobs, p=shares / shares.sum())]
        cpu = np.clip(self.cpu_median * np.exp2(np.rint(random.normal(0.0, 1.0, jobs) * 2) / 2), 0.001, 0.5)
        memory = np.clip(cpu * np.exp2(np.rint(random.normal(-0.3, 1.0, jobs) * 2) / 2), 0.0005, 0.9)
        disk = np.full(jobs, 1e-4)
        request = np.rint(np.column_stack([cpu, memory, disk]) * 1e9).astype(np.int64)
        return request[job], priority[job]

    def _durations(self, random: np.random.Generator, cpu: Column, capacity: float) -> Column:
        shape = np.exp(random.normal(0.0, SPREAD, len(cpu)))
        most = LONGEST_SHARE * self.horizon_s
        wanted = self.load * capacity * self.horizon_s
        scale = wanted / float((shape * cpu).sum())
        got = 0.0
        for _ in range(200):  # the cut at the longest takes work away: find the scale that gives it back
            got = float((np.minimum(shape * scale, most) * cpu).sum())
            if abs(got / wanted - 1) < 1e-6:
                break
            scale *= wanted / got
        if abs(got / wanted - 1) > 0.01:
            raise BadValueError(
                f"load={self.load:g} cannot be reached: {len(cpu):,} tasks of at most {LONGEST_SHARE:.0%} of the "
                f"horizon ask for {got / wanted * self.load:.3g}. Make more task_events, larger ones (cpu_median), or "
                "less load."
            )
        kept_s = np.maximum(np.minimum(shape * scale, most), 1.0)
        return np.asarray(np.rint(kept_s * TICKS_PER_SECOND).astype(np.int64))

    def _events(
        self, random: np.random.Generator, submit: Column, duration: Column, job: Column, priority: Column,
        request: Sizes,
    ) -> TaskTrace:  # fmt: skip
        count = len(submit)
        shares = np.array([share for _, share in ENDINGS])
        ending = np.array([event for event, _ in ENDINGS])[random.choice(len(ENDINGS), count, p=shares)]
        schedule = submit + np.rint(random.exponential(5.0, count) * TICKS_PER_SECOND).astype(np.int64)
        who = np.flatnonzero(random.random(count) < UPDATED)
        later = schedule[who] + (duration[who] * random.random(len(who))).astype(np.int64)
        task = np.concatenate([np.arange(count)] * 3 + [who])
        time = np.concatenate([submit, schedule, schedule + duration, later])
        event = np.concatenate(
            [np.full(count, SUBMIT), np.full(count, SCHEDULE), ending, np.full(len(who), UPDATE_RUNNING)]
        )
        asked = np.concatenate([request, request, request, (request[who] * 0.8).astype(np.int64)])
        order = np.lexsort((task, np.where(event == UPDATE_RUNNING, 1, event), time))
        task, event = task[order], event[order]
        index = np.arange(count) - np.searchsorted(job, job)
        return TaskTrace(
            time[order], event, task, np.full(len(task), -1), priority[task], np.zeros_like(task), asked[order],
            np.full(len(task), -1), np.zeros_like(task), np.zeros(len(task), dtype=bool), job, index, SHARES,
        )  # fmt: skip
