"""Laws that hold for any trace, any policy and any mix of features; first-fit against a scheduler without tricks."""

from __future__ import annotations

import heapq
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cluster_samples import made_machines, made_tasks
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.cluster.checks import check_record
from simulator.cluster.curves import curves_of
from simulator.cluster.interference import ConstantPerNeighbour
from simulator.cluster.made import MadeTrace
from simulator.cluster.metrics import queue_stays
from simulator.cluster.migration import Migration, RelieveOverload
from simulator.cluster.placement import AS_IN_TRACE, POLICIES, Machines, Task
from simulator.cluster.record import Record
from simulator.cluster.replay import EVICTED, QUEUES, PlugInError, Replay, Rules, replay
from simulator.cluster.trace import SCHEDULE, SUBMIT, AttributeChange, Constraint, MachineTrace, TaskTrace
from simulator.engine import InvariantError
from simulator.streams import DEFAULT_SEED

SETS = ((), (Constraint("zone", 0, "a"),), (Constraint("zone", 1, "a"), Constraint("size", 2, "3")))
Job = dict[str, Any]


@st.composite
def clusters(draw: st.DrawFn) -> tuple[TaskTrace, MachineTrace]:
    """Return a small cluster with everything that can happen in one."""
    whole = st.integers
    rows: list[Job] = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "at": whole(0, 30), "runs": st.one_of(st.none(), whole(0, 20)), "cpu": whole(0, 5),
                    "memory": whole(0, 9), "priority": whole(0, 3), "job": whole(0, 3), "apart": whole(0, 1),
                    "constraint": whole(0, 2),
                }
            ),
            min_size=1, max_size=25,
        )
    )  # fmt: skip
    rows.sort(key=lambda row: row["at"])
    machines = draw(st.lists(st.tuples(whole(1, 4), whole(1, 8)), min_size=1, max_size=4))
    who = whole(0, len(machines) - 1)
    kinds = st.sampled_from(["add", "remove", "update"])
    events = draw(st.lists(st.tuples(whole(1, 40), kinds, who, whole(0, 5), whole(0, 9)), max_size=6))
    events.sort(key=lambda event: event[0])
    updates = draw(st.lists(st.tuples(whole(0, 40), whole(0, len(rows) - 1), whole(0, 5), whole(0, 9)), max_size=4))
    updates = [(max(at, rows[task]["at"]), task, cpu, memory) for at, task, cpu, memory in updates]
    attributes = draw(st.lists(st.tuples(whole(0, 30), who, st.sampled_from(["a", "b", None])), max_size=4))
    changes = [
        AttributeChange(at * 10**6, machine, "zone", value) for at, machine, value in sorted(attributes, key=str)
    ]
    changes.sort(key=lambda change: change.time)
    return made_tasks(rows, updates, SETS), made_machines(machines, events, changes)


@st.composite
def rules(draw: st.DrawFn) -> Rules:
    migration = Migration(
        RelieveOverload(threshold=0.7, moves=3), period_s=3, bandwidth_bytes_per_s=1.5, downtime_s=0.5,
        live=draw(st.booleans()),
    )  # fmt: skip
    return Rules(
        draw(st.sampled_from(sorted(POLICIES))), draw(st.sampled_from(QUEUES)), draw(st.booleans()),
        draw(st.sampled_from(EVICTED)),
        draw(st.sampled_from([None, 12.5])), draw(st.sampled_from([None, migration])),
        draw(st.sampled_from([None, ConstantPerNeighbour(0.3)])),
    )  # fmt: skip


@settings(max_examples=100)
@given(clusters(), rules())
def test_nothing_is_lost_and_no_machine_is_above_its_capacity(
    cluster: tuple[TaskTrace, MachineTrace], asked: Rules
) -> None:
    record = replay(*cluster, asked)  # checks its own laws
    assert sum(record.counts().values()) == len(record.attempts)
    curves = curves_of(record)
    lasting = curves.ticks > 0
    assert (curves.used[lasting] <= curves.capacity[lasting]).all()
    assert (curves.used >= 0).all()
    begin, end = queue_stays(record)
    assert (end - begin).sum() == record.waited.sum()
    assert begin.min(initial=0) >= 0
    assert end.max(initial=0) <= record.end


def scheduled(tasks: TaskTrace, machines: int, later: int) -> TaskTrace:
    """Return the trace with a machine for each submission, `later` ticks after it."""
    told = np.flatnonzero(tasks.event == SUBMIT)
    rows = np.concatenate([np.arange(len(tasks)), told])
    time = np.concatenate([tasks.time, tasks.time[told] + later])
    event = np.concatenate([tasks.event, np.full(len(told), SCHEDULE)])
    machine = np.concatenate([tasks.machine, tasks.task[told] % machines])
    order = np.argsort(time, kind="stable")
    columns = {
        name: getattr(tasks, name)[rows][order]
        for name in ("task", "priority", "scheduling_class", "request", "duration", "constraint", "different")
    }
    return replace(tasks, time=time[order], event=event[order], machine=machine[order], **columns)


@settings(max_examples=60)
@given(clusters(), rules(), st.integers(0, 3 * 10**6))
def test_the_laws_hold_where_tasks_go_as_in_the_trace(
    cluster: tuple[TaskTrace, MachineTrace], asked: Rules, later: int
) -> None:
    tasks, machines = cluster
    record = replay(scheduled(tasks, len(machines.names), later), machines, replace(asked, placement=AS_IN_TRACE))
    log, own = record.segments, record.segments["copy"] == 0
    begin, end = queue_stays(record)
    assert (end - begin).sum() == record.waited.sum()
    if asked.migration is None:
        wanted = record.attempts.machine[log["attempt"][own]]
        assert (log["machine"][own] == wanted).all()


@settings(max_examples=25)
@given(clusters(), rules())
def test_the_same_seed_gives_the_same_hash(cluster: tuple[TaskTrace, MachineTrace], asked: Rules) -> None:
    assert replay(*cluster, asked, 5).trace_hash() == replay(*cluster, asked, 5).trace_hash()


@settings(max_examples=60)
@given(clusters(), st.sampled_from(sorted(POLICIES)), st.booleans())
def test_in_backfill_nobody_waits_who_would_have_room(
    cluster: tuple[TaskTrace, MachineTrace], placement: str, preemption: bool
) -> None:
    run = Replay(*cluster, Rules(placement, preemption=preemption), DEFAULT_SEED)
    record = run.run()
    for attempt in np.flatnonzero(record.state == 1).tolist():
        assert not run.state.may_run(attempt).any()


@settings(max_examples=40)
@given(clusters())
def test_a_task_that_was_never_evicted_moved_or_slowed_runs_for_exactly_its_duration(
    cluster: tuple[TaskTrace, MachineTrace],
) -> None:
    record = replay(*cluster, Rules("best-fit"))
    if record.evictions:
        return
    known = (record.state == 3) & (record.attempts.duration >= 0)
    ran = (record.finished - record.first_start)[known]
    assert (ran == record.attempts.duration[known]).all()


@settings(max_examples=60)
@given(clusters(), rules(), st.integers(0, 12), st.booleans())
def test_a_plug_in_that_fails_at_any_time_loses_nothing_of_the_record(
    cluster: tuple[TaskTrace, MachineTrace], asked: Rules, calls: int, in_policy: bool
) -> None:
    left = calls

    def failing() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError("out of luck")

    class Hook:
        def ratios(self, machine: int, attempts: list[int]) -> list[float]:
            failing()
            return [1 / len(attempts)] * len(attempts)

    def policy(task: Task, machines: Machines) -> int:
        failing()
        return int(machines.candidates[-1])

    broken_rules = replace(asked, placement=policy) if in_policy else replace(asked, interference=Hook())
    message = ""
    try:
        record = replay(*cluster, broken_rules)
    except PlugInError as error:
        record, message = error.record, str(error)
    assert record.partial == ("out of luck" in message)
    assert sum(record.counts().values()) == len(record.attempts)


def plain_first_fit(rows: list[Job], sizes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return (start, machine) of each task by the plainest means: lists, and every machine looked at."""
    free = [list(size) for size in sizes]
    found = [(-1, -1)] * len(rows)
    running: list[tuple[int, int]] = []  # (end, task)
    queue: list[tuple[int, int]] = []  # (-priority, task)
    arrivals = list(enumerate(rows))

    def place(now: int) -> None:
        for entry in sorted(queue):
            task = entry[1]
            for machine, room in enumerate(free):
                if room[0] >= rows[task]["cpu"] and room[1] >= rows[task]["memory"]:
                    room[0] -= rows[task]["cpu"]
                    room[1] -= rows[task]["memory"]
                    found[task] = (now, machine)
                    heapq.heappush(running, (now + rows[task]["runs"], task))
                    queue.remove(entry)
                    break

    while arrivals or running:
        if running and (not arrivals or running[0][0] <= arrivals[0][1]["at"]):
            now, task = heapq.heappop(running)
            free[found[task][1]][0] += rows[task]["cpu"]
            free[found[task][1]][1] += rows[task]["memory"]
        else:
            task, row = arrivals.pop(0)
            now = row["at"]
            if any(size[0] >= row["cpu"] and size[1] >= row["memory"] for size in sizes):
                queue.append((-row["priority"], task))
        place(now)
    return found


@settings(max_examples=60)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "at": st.integers(0, 20), "runs": st.integers(1, 15), "cpu": st.integers(0, 5),
                "memory": st.integers(0, 9), "priority": st.integers(0, 2),
            }
        ),
        min_size=1, max_size=30,
    ),
    st.lists(st.tuples(st.integers(1, 4), st.integers(1, 8)), min_size=1, max_size=4),
)  # fmt: skip
def test_first_fit_agrees_with_a_scheduler_without_tricks(rows: list[Job], sizes: list[tuple[int, int]]) -> None:
    rows.sort(key=lambda row: row["at"])
    # Ends at one time come in the order in which the tasks started: let no two ends coincide.
    rows = [{**row, "runs": row["runs"] * 1000 + i, "at": row["at"] * 1000} for i, row in enumerate(rows)]
    record = replay(made_tasks(rows), made_machines(sizes), Rules("first-fit"))
    log, where = record.segments, {}
    for attempt, machine in zip(log["attempt"].tolist(), log["machine"].tolist(), strict=True):
        where[attempt] = machine
    found = [
        (int(at) // 10**6 if at >= 0 else -1, where.get(i, -1)) for i, at in enumerate(record.first_start.tolist())
    ]
    assert found == plain_first_fit(rows, sizes)


def broken(record: Record, **columns: Any) -> Record:
    return replace(record, **columns)


def test_the_checks_find_what_is_wrong_with_a_record() -> None:
    rows = [{"at": 0, "runs": 10, "cpu": 3}, {"at": 1, "runs": 5, "cpu": 2}]
    run = Replay(made_tasks(rows), made_machines([(4, 8)]), Rules("first-fit"), 1)
    record = run.run()
    check_record(record, run.bins)
    finished = record.finished.copy()
    finished[0] = -1
    with pytest.raises(InvariantError, match="ended without a time"):
        check_record(broken(record, finished=finished), run.bins)
    log = {**record.segments, "begin": np.where(record.segments["attempt"] == 1, 5 * 10**6, 0)}
    with pytest.raises(InvariantError, match="held"):
        check_record(broken(record, segments=log), run.bins)
    log = {**record.segments, "end": record.segments["end"] - np.array([1, 0])}
    with pytest.raises(InvariantError, match="before its work was"):
        check_record(broken(record, segments=log), run.bins)
    run.bins.take(0, (1, 0, 0))
    with pytest.raises(InvariantError, match="has \\[1, 0, 0\\] taken"):
        check_record(record, run.bins)


def test_a_made_trace_repeats_with_its_seed_and_asks_for_the_load_that_was_wanted() -> None:
    made = MadeTrace(machines=300, task_events=30_000, load=0.5, horizon_s=5 * 86_400)
    first, again, other = made.make(3), made.make(3), made.make(4)
    assert (first[0].time == again[0].time).all()
    assert (first[0].request == again[0].request).all()
    assert len(first[0].time) != len(other[0].time) or (first[0].time != other[0].time).any()
    record = replay(*first, Rules("best-fit"))
    wanted = (record.attempts.duration.astype(float) * record.attempts.request[:, 0]).sum()
    there = first[1].capacity[first[1].event == 0][:300, 0].sum() * 5.0 * 86_400 * 1e6
    assert wanted / there == pytest.approx(0.5, rel=0.02)


def test_an_outage_rate_changes_nothing_but_the_machines() -> None:
    calm, rough = (MadeTrace(machines=50, task_events=3000, load=0.2, outages=x).make(1)[0] for x in (0.0, 2.0))
    assert (calm.time == rough.time).all()
    assert (calm.request == rough.request).all()
