"""Small replays whose every start and end was worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from cluster_samples import WHOLE, made_machines, made_tasks, ticks

from foundation.errors import BadValueError, UnknownNameError
from simulator.cluster.metrics import metrics_of, queue_stays
from simulator.cluster.migration import Migration, RelieveOverload
from simulator.cluster.placement import Machines, Task
from simulator.cluster.record import STATES, Record
from simulator.cluster.replay import PlugInError, Rules, replay
from simulator.cluster.trace import FINISH, KILL, SUBMIT, AttributeChange, Constraint, TaskTrace

TWO = made_machines([(4, 8), (4, 8)])


def starts(record: Record) -> list[float]:
    return [at / 1e6 for at in record.first_start.tolist()]


def ends(record: Record) -> list[float]:
    return [at / 1e6 for at in record.finished.tolist()]


def places(record: Record) -> list[int]:
    """Return the machine of each attempt's first stay, in the order of attempts."""
    log = record.segments
    found = {}
    for attempt, machine in zip(log["attempt"][::-1].tolist(), log["machine"][::-1].tolist(), strict=True):
        found[attempt] = machine
    return [found[i] for i in range(len(record.attempts))]


def test_a_task_waits_until_the_one_before_it_leaves() -> None:
    tasks = made_tasks([{"at": 0, "runs": 10, "cpu": 3}, {"at": 1, "runs": 5, "cpu": 2}])
    record = replay(tasks, made_machines([(4, 8)]), Rules("first-fit"))
    assert starts(record) == [0, 10]
    assert ends(record) == [10, 15]
    metrics = metrics_of(record)
    assert metrics.numbers["wait_mean_s"] == 4.5
    assert metrics.numbers["wait_p99_s"] == 9
    assert metrics.numbers["utilisation_cpu"] == pytest.approx((3 * 10 + 2 * 5) / (4 * 15), rel=1e-15)


def test_who_is_more_important_leaves_the_queue_first() -> None:
    rows = [
        {"at": 0, "runs": 10, "cpu": 4},
        {"at": 1, "runs": 5, "cpu": 4},
        {"at": 2, "runs": 5, "cpu": 4, "priority": 9},
    ]
    record = replay(made_tasks(rows), made_machines([(4, 8)]), Rules("first-fit"))
    assert starts(record) == [0, 15, 10]


def test_a_small_task_passes_a_large_one_in_backfill_and_not_in_a_strict_queue() -> None:
    rows = [{"at": 0, "runs": 10, "cpu": 3}, {"at": 1, "runs": 5, "cpu": 4}, {"at": 2, "runs": 2, "cpu": 1}]
    machine = made_machines([(4, 8)])
    assert starts(replay(made_tasks(rows), machine, Rules("first-fit"))) == [0, 10, 2]
    assert starts(replay(made_tasks(rows), machine, Rules("first-fit", queue="strict"))) == [0, 10, 15]


@pytest.mark.parametrize(
    ("placement", "where"),
    [("first-fit", [0, 0, 1]), ("best-fit", [0, 0, 1]), ("worst-fit", [0, 1, 0]), ("lowest-utilisation", [0, 1, 0])],
)
def test_policies_place_three_tasks_as_they_are_defined(placement: str, where: list[int]) -> None:
    rows = [{"at": 0, "runs": 9, "cpu": 2}, {"at": 1, "runs": 9, "cpu": 2}, {"at": 2, "runs": 9, "cpu": 2}]
    assert places(replay(made_tasks(rows), TWO, Rules(placement))) == where


def test_dot_product_goes_where_free_room_has_the_shape_of_the_request() -> None:
    machines = made_machines([(8, 2), (2, 8)])
    rows = [{"at": 0, "runs": 9, "cpu": 1, "memory": 2}, {"at": 0, "runs": 9, "cpu": 2, "memory": 1}]
    assert places(replay(made_tasks(rows), machines, Rules("dot-product"))) == [1, 0]


def test_random_placement_repeats_with_its_seed_and_differs_with_another() -> None:
    tasks = made_tasks([{"at": i, "runs": 100, "cpu": 1} for i in range(12)])
    machines = made_machines([(4, 8)] * 8)
    hashes = [replay(tasks, machines, Rules("random"), seed).trace_hash() for seed in (1, 1, 2)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_preemption_evicts_the_least_important_and_newest_and_it_starts_again() -> None:
    rows = [
        {"at": 0, "runs": 10, "cpu": 2, "priority": 1}, {"at": 1, "runs": 10, "cpu": 2, "priority": 0},
        {"at": 4, "runs": 3, "cpu": 2, "priority": 9},
    ]  # fmt: skip
    record = replay(made_tasks(rows), made_machines([(4, 8)]), Rules("first-fit", preemption=True))
    assert starts(record) == [0, 1, 4]
    assert ends(record) == [10, 17, 7]  # the second ran from 1 to 4, and again from 7 for all of its 10 s
    assert record.evictions == {"preempted": 1}
    resumed = replay(made_tasks(rows), made_machines([(4, 8)]), Rules("first-fit", preemption=True, evicted="resume"))
    assert ends(resumed) == [10, 14, 7]
    lost = replay(made_tasks(rows), made_machines([(4, 8)]), Rules("first-fit", preemption=True, evicted="lost"))
    assert lost.counts()["lost"] == 1
    assert lost.reasons == {"lost: preempted": 1}


def test_equals_do_not_preempt_each_other() -> None:
    rows = [{"at": 0, "runs": 10, "cpu": 4, "priority": 5}, {"at": 1, "runs": 1, "cpu": 4, "priority": 5}]
    record = replay(made_tasks(rows), made_machines([(4, 8)]), Rules("first-fit", preemption=True))
    assert starts(record) == [0, 10]
    assert not record.evictions


def test_a_machine_that_goes_evicts_its_tasks_and_takes_new_ones_when_it_is_back() -> None:
    machines = made_machines([(4, 8)], [(5, "remove", 0, 0, 0), (20, "add", 0, 4, 8)])
    record = replay(made_tasks([{"at": 0, "runs": 10, "cpu": 4}]), machines, Rules("first-fit"))
    assert ends(record) == [30]
    assert record.evictions == {"its machine was removed": 1}
    metrics = metrics_of(record, idle_w=100.0, busy_w=200.0)
    assert metrics.numbers["machines_mean"] == pytest.approx(15 / 30, rel=1e-15)
    assert metrics.numbers["energy_j"] == pytest.approx(200.0 * 15, rel=1e-15)


def test_a_machine_that_shrinks_keeps_what_fits() -> None:
    machines = made_machines([(4, 8)], [(5, "update", 0, 2, 8), (50, "update", 0, 4, 8)])
    rows = [{"at": 0, "runs": 10, "cpu": 2, "priority": 3}, {"at": 1, "runs": 10, "cpu": 2}]
    record = replay(made_tasks(rows), machines, Rules("first-fit"))
    assert ends(record) == [10, 20]
    assert record.evictions == {"its machine shrank": 1}


def test_a_request_that_shrinks_lets_another_task_in() -> None:
    rows = [{"at": 0, "runs": 10, "cpu": 4}, {"at": 1, "runs": 2, "cpu": 2}]
    record = replay(made_tasks(rows, [(5, 0, 2, 0)]), made_machines([(4, 8)]), Rules("first-fit"))
    assert starts(record) == [0, 5]
    assert ends(record) == [10, 7]


def test_a_request_that_grows_without_room_moves_the_task_and_one_that_grows_too_far_is_unplaceable() -> None:
    rows = [{"at": 0, "runs": 10, "cpu": 2}, {"at": 0, "runs": 10, "cpu": 2}]
    record = replay(made_tasks(rows, [(5, 0, 3, 0)]), TWO, Rules("first-fit"))
    assert ends(record) == [15, 10]
    assert record.evictions == {"its request grew": 1}
    hopeless = replay(made_tasks(rows, [(5, 0, 5, 0)]), TWO, Rules("first-fit"))
    assert hopeless.counts()["unplaceable"] == 1


def test_a_task_larger_than_any_machine_is_said_to_be_so_and_the_rest_runs() -> None:
    rows = [{"at": 0, "runs": 1, "cpu": 5}, {"at": 0, "runs": 1, "cpu": 1}]
    record = replay(made_tasks(rows), TWO)
    assert record.counts()["unplaceable"] == 1
    assert record.counts()["done"] == 1
    assert record.reasons == {"asks for more than any machine has": 1}
    assert record.end == ticks(1)


def test_constraints_choose_machines_by_their_attributes_and_follow_their_changes() -> None:
    fast, never = (Constraint("speed", 3, "2"),), (Constraint("zone", 0, "x"),)
    attributes = [AttributeChange(0, 1, "speed", "3"), AttributeChange(int(ticks(7)), 0, "speed", "9")]
    machines = made_machines([(4, 8), (4, 8)], attributes=attributes)
    rows = [
        {"at": 0, "runs": 20, "cpu": 4, "constraint": 1}, {"at": 1, "runs": 5, "cpu": 4, "constraint": 1},
        {"at": 2, "runs": 5, "cpu": 1, "constraint": 2},
    ]  # fmt: skip
    record = replay(made_tasks(rows, sets=((), fast, never)), machines, Rules("first-fit"))
    assert places(record)[:2] == [1, 0] if len(record.segments["begin"]) > 2 else True
    assert starts(record) == [0, 7, -1e-6]
    assert record.reasons == {"no machine meets its constraints": 1}


def test_tasks_of_a_job_that_ask_for_it_run_on_different_machines() -> None:
    rows = [{"at": i, "runs": 10, "cpu": 1, "job": 1, "apart": 1} for i in range(3)]
    record = replay(made_tasks(rows), TWO, Rules("first-fit"))
    assert places(record)[:2] == [0, 1]
    assert starts(record) == [0, 1, 10]


def test_a_move_takes_state_over_bandwidth_and_then_the_downtime() -> None:
    def away(state: Any) -> list[tuple[int, int]]:
        return [(0, 1)] if state.now == ticks(4) else []

    tasks = made_tasks([{"at": 0, "runs": 20, "cpu": 2, "memory": 6}])
    live = Migration(away, period_s=4, bandwidth_bytes_per_s=2.0, downtime_s=1.5)
    record = replay(tasks, TWO, Rules("first-fit", migration=live))
    assert ends(record) == [21.5]  # paused for the downtime alone
    log = record.segments
    stays = sorted(zip(*(log[k].tolist() for k in ("copy", "machine", "begin", "end")), strict=True))
    assert [(c, m, b / 1e6, e / 1e6) for c, m, b, e in stays] == [(0, 0, 0, 8.5), (0, 1, 8.5, 21.5), (1, 1, 4, 8.5)]
    assert record.moved_bytes == 6
    stopped = Migration(away, period_s=4, bandwidth_bytes_per_s=2.0, downtime_s=1.5, live=False)
    assert ends(replay(tasks, TWO, Rules("first-fit", migration=stopped))) == [24.5]


def test_a_task_that_ends_while_it_moves_gives_both_places_back() -> None:
    tasks = made_tasks([{"at": 0, "runs": 5, "cpu": 2, "memory": 6}])
    rules = Rules("first-fit", migration=Migration(lambda state: [(0, 1)], period_s=4, bandwidth_bytes_per_s=1.0))
    record = replay(tasks, TWO, rules)
    assert ends(record) == [5]
    assert record.migrations == {"started": 1, "cancelled": 1}


def test_overload_is_relieved_to_the_emptiest_machine() -> None:
    rows = [{"at": 0, "runs": 100, "cpu": 3, "memory": 1}, {"at": 0, "runs": 100, "cpu": 1, "memory": 1}]
    migration = Migration(RelieveOverload(threshold=0.8), period_s=10, bandwidth_bytes_per_s=1.0)
    record = replay(made_tasks(rows), TWO, Rules("first-fit", migration=migration))
    assert record.migrations["completed"] == 1
    metrics = metrics_of(record, overload=0.8)
    assert metrics.numbers["overload_share"] == pytest.approx(11 / 200, rel=1e-12)  # full from 0 to 11 s, one of two


def test_a_horizon_leaves_who_runs_and_who_waits_in_the_record() -> None:
    rows = [{"at": 0, "runs": 10, "cpu": 4}, {"at": 1, "runs": 10, "cpu": 4}, {"at": 9, "runs": 1, "cpu": 1}]
    record = replay(made_tasks(rows), made_machines([(4, 8)]), Rules(horizon_s=5))
    assert [STATES[s] for s in record.state.tolist()] == ["running", "waiting", "not reached"]
    assert record.waited.tolist() == [0, ticks(4), 0]


def test_a_policy_that_raises_names_task_time_and_itself_and_the_record_is_kept() -> None:
    def picky(task: Task, machines: Machines) -> int:
        if task.now >= ticks(3):
            raise ZeroDivisionError("no such zone")
        return int(machines.candidates[0])

    rows = [{"at": i, "runs": 10, "cpu": 1, "job": 70 + i} for i in range(6)]
    with pytest.raises(PlugInError, match=r"'picky' failed for task 73/3 at 3\.0+ s: ZeroDivisionError: no such zone"):
        replay(made_tasks(rows), TWO, Rules(picky))
    with pytest.raises(PlugInError) as found:
        replay(made_tasks(rows), TWO, Rules(picky))
    record = found.value.record
    assert record.partial
    assert record.counts() == {**dict.fromkeys(STATES, 0), "running": 3, "waiting": 1, "not reached": 2}


def test_a_policy_may_let_a_task_wait_but_not_choose_a_full_machine() -> None:
    record = replay(made_tasks([{"at": 0, "runs": 1}]), TWO, Rules(lambda task, machines: None))
    assert record.counts()["waiting"] == 1
    with pytest.raises(PlugInError, match="machine 7 has no room"):
        replay(made_tasks([{"at": 0, "runs": 1}]), TWO, Rules(lambda task, machines: 7))


def test_a_rebalancer_that_fails_keeps_the_record() -> None:
    def broken(state: Any) -> list[tuple[int, int]]:
        raise KeyError("gone")

    rules = Rules("first-fit", migration=Migration(broken, period_s=2))
    with pytest.raises(PlugInError, match="rebalancer 'broken' failed at 2") as found:
        replay(made_tasks([{"at": 0, "runs": 10}]), TWO, rules)
    assert found.value.record.counts()["running"] == 1


def test_an_unknown_placement_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="best-fit"):
        Rules("bestfitt")
    with pytest.raises(BadValueError, match="bandwidth"):
        Migration(RelieveOverload(), bandwidth_bytes_per_s=0.0)


def test_a_rebalancer_that_would_be_called_without_end_is_refused() -> None:
    rules = Rules(migration=Migration(RelieveOverload(), period_s=1e-6))
    with pytest.raises(BadValueError, match="take a longer one"):
        replay(made_tasks([{"at": 0, "runs": 1e6}]), TWO, rules)


def test_fragmentation_is_the_free_room_where_the_median_task_does_not_fit() -> None:
    rows = [{"at": 0, "runs": 10, "cpu": 3, "memory": 1}, {"at": 0, "runs": 10, "cpu": 3, "memory": 1}]
    record = replay(made_tasks(rows), made_machines([(4, 8), (4, 8), (8, 8)]), Rules("worst-fit"))
    # The first goes to the machine of 8 (5 free, 5 >= 3), the second there too or to an empty one: count it out.
    free = {0: 4, 1: 4, 2: 8}
    for machine in places(record):
        free[machine] -= 3
    stranded = sum(room for room in free.values() if room < 3)
    assert metrics_of(record).numbers["fragmentation"] == pytest.approx(stranded / sum(free.values()), rel=1e-15)


def test_series_hold_the_same_area_as_the_means() -> None:
    rows = [{"at": i * 0.7, "runs": 5 + i % 7, "cpu": 1 + i % 3} for i in range(60)]
    record = replay(made_tasks(rows), TWO, Rules("best-fit"))
    metrics = metrics_of(record)
    assert np.mean(metrics.series.utilisation["cpu"]) == pytest.approx(metrics.numbers["utilisation_cpu"], rel=1e-9)
    waited = record.waited.sum() / record.end
    assert np.mean(metrics.series.waiting) == pytest.approx(waited, rel=1e-9)


def test_the_series_of_who_waits_has_waits_after_evictions_and_of_the_withdrawn() -> None:
    # On one machine: a runs 0 to 4, is evicted by b (4 to 9), waits 5 s, runs 9 to 19 from nothing.
    rows = [{"at": 0, "runs": 10, "cpu": 4}, {"at": 4, "runs": 5, "cpu": 4, "priority": 5}]
    record = replay(made_tasks(rows), made_machines([(4, 8)]), Rules("first-fit", preemption=True))
    assert record.waited.tolist() == [ticks(5), 0]
    begin, end = queue_stays(record)
    assert list(zip((begin / 1e6).tolist(), (end / 1e6).tolist(), strict=True)) == [(4.0, 9.0)]
    series = metrics_of(record).series
    assert series.waiting.mean() * record.end / 1e6 == pytest.approx(5.0)
    # A task that ended in the trace before it ever ran waits from 1 s, and is withdrawn at 6 s.
    time, event = ticks([0, 1, 6, 10]), np.array([SUBMIT, SUBMIT, KILL, FINISH])
    none, who = np.full(4, -1), np.array([0, 1, 1, 0])
    cores = np.tile([4, 0, 0], (4, 1))
    runs = np.where(event == SUBMIT, [ticks(10), -1, -1, -1], -1)
    zeros = np.zeros(4, dtype=np.int64)
    trace = TaskTrace(
        time, event, who, none, zeros, zeros, cores, runs, zeros, zeros == 1, np.arange(2), np.arange(2), WHOLE
    )
    withdrawn = replay(trace, made_machines([(4, 8)]), Rules("first-fit"))
    assert withdrawn.counts()["withdrawn"] == 1
    begin, end = queue_stays(withdrawn)
    assert list(zip((begin / 1e6).tolist(), (end / 1e6).tolist(), strict=True)) == [(1.0, 6.0)]
    assert metrics_of(withdrawn).numbers["wait_mean_s"] == 0


def test_a_trace_without_machines_cannot_be_replayed_as_it_was() -> None:
    with pytest.raises(BadValueError, match="as_in_trace needs a trace"):
        replay(made_tasks([{"at": 0, "runs": 1}]), TWO, Rules("as_in_trace"))


@pytest.mark.parametrize("name", ["free", "capacity", "load", "loose", "up"])
def test_a_policy_cannot_write_into_the_machines(name: str) -> None:
    def greedy_one(task: Task, machines: Machines) -> int:
        getattr(machines.bins, name)[...] = 0
        return 0

    def own_mask(task: Task, machines: Machines) -> int:
        machines.fits[:] = True
        return 0

    for policy in (greedy_one, own_mask):
        with pytest.raises(PlugInError, match="read-only") as caught:
            replay(made_tasks([{"at": 0, "runs": 1}]), TWO, Rules(policy))
        assert caught.value.record.counts()["waiting"] == 1
