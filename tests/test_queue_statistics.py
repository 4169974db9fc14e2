"""What a run reports: hand-computed columns, intervals, and flags of lines that cannot be averaged."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest

from foundation.errors import BadValueError, UnknownNameError, UnsupportedError
from simulator.queues.arrivals import Arrivals, Periodic, Recorded, poisson
from simulator.queues.elements import Delay, Exit, Gate, Network, Route, Service, Source, Station, to
from simulator.queues.laws import EXPONENTIAL
from simulator.queues.replications import estimate
from simulator.queues.run import engine_for, run_network, warm_up_of
from simulator.queues.stability import shape_of
from simulator.queues.statistics import NetworkRun, summary

MS = 1000


def one_station(arrivals: Arrivals, service: Service, tps: int = 10**9, **more: Any) -> Network:
    return Network((Source("in", arrivals, to("line")), Station("line", service, to("out"), **more), Exit("out")), tps)


def mm1(load: float, **more: Any) -> Network:
    """Return M/M/1 with a mean service of 1 s."""
    return one_station(poisson(load), Service((1.0,), EXPONENTIAL), 10**6, **more)


@pytest.fixture(scope="module")
def small() -> NetworkRun:
    """One server of 2 s and one place; items at 0, 1, 1.5 (lost), 2 and 5 s; 10 s long."""
    network = one_station(Recorded((0.0, 1.0, 1.5, 2.0, 5.0)), Service((2.0,)), MS, places=1)
    return run_network(network, horizon_s=10.0, observe=("line",), samples=10, engine="callbacks")


def test_a_small_run_has_the_columns_computed_by_hand(small: NetworkRun) -> None:
    line = small.element("line")
    assert (line.arrived_hz, line.left_hz, line.lost_hz) == (0.5, 0.4, 0.1)
    assert line.loss_share == 0.2
    assert line.loss_shares == {"full": 0.2, "rule": 0.0, "failure": 0.0, "part": 0.0, "blocked": 0.0}
    assert (line.utilisation, line.blocked_share, line.down_share) == (0.8, 0.0, 0.0)
    assert (line.mean_wait_s, line.wait_share) == (1.0, 0.75)  # waits 0, 1, 2, 1
    assert (line.mean_waiting, line.mean_present) == (0.4, 1.2)
    assert line.mean_sojourn_s == 3.0  # 2, 3, 4, 3
    assert (line.waiting_p50, line.waiting_p99, line.waiting_p999) == (0.0, 1.0, 1.0)
    assert (line.most_waiting, line.present_at_end, line.unstable, line.kind) == (1, 0, False, "station")


def test_elements_without_a_server_or_line_have_no_such_numbers(small: NetworkRun) -> None:
    source = small.element("in")
    assert source.arrived_hz == source.left_hz == 0.5
    assert math.isnan(source.utilisation)
    assert math.isnan(source.mean_wait_s)
    assert math.isnan(source.waiting_p99)
    assert [row.name for row in small.elements] == ["in", "line", "out"]


def test_sojourns_and_observed_waits_are_kept_one_by_one(small: NetworkRun) -> None:
    assert small.sojourn_s("out").tolist() == [2.0, 3.0, 4.0, 3.0]
    assert small.wait_s("line").tolist() == [0.0, 1.0, 2.0, 1.0]
    times = small.sojourns("out")
    assert (times.count, times.mean_s.value, times.most_s) == (4, 3.0, 4.0)
    assert times.quantiles_s[0.5].value == 3.0
    assert not times.mean_s.known  # four times give no interval
    with pytest.raises(UnknownNameError, match="observe"):
        small.wait_s("in")
    with pytest.raises(UnknownNameError):
        small.sojourn_s("line")
    with pytest.raises(UnknownNameError, match="line"):
        small.element("lime")


def test_the_warm_up_is_left_out() -> None:
    network = one_station(Recorded((0.0, 1.0, 1.5, 2.0, 5.0)), Service((2.0,)), MS, places=1)
    run = run_network(network, horizon_s=10.0, warm_up_s=4.5, observe=("line",), engine="callbacks")
    line = run.element("line")
    assert run.warm_up_s == 4.5
    assert line.arrived_hz == pytest.approx(1 / 5.5)
    assert line.utilisation == pytest.approx(3.5 / 5.5)  # to 6, then 6 to 8
    assert run.wait_s("line").tolist() == [1.0]
    assert run.sojourn_s("out").tolist() == [4.0, 3.0]
    assert line.loss_share == 0.0


def test_the_series_has_at_least_what_was_asked(small: NetworkRun) -> None:
    times, waiting, busy = small.series("line")
    assert len(times) >= 64
    assert times[-1] <= 10.0
    at = {round(t, 3): (w, b) for t, w, b in zip(times.tolist(), waiting.tolist(), busy.tolist(), strict=True)}
    inside = {t: found for t, found in at.items() if 1.01 < t < 1.99}
    assert inside
    assert set(inside.values()) == {(1.0, 1.0)}


def test_json_is_plain_and_names_its_units(small: NetworkRun) -> None:
    found = small.to_json(series=True)
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["elements"]["line"]["mean_wait_s"] == 1.0
    assert found["trace_hash"] == small.record.trace_hash
    assert (found["seed"], found["warm_up_s"], found["warm_up_rule"], found["engine"]) == (
        small.seed, 0.0, "given", "callbacks",
    )  # fmt: skip
    assert found["elements"]["in"]["utilisation"] is None
    plain = {
        "kind", "loss_share", "loss_shares", "utilisation", "blocked_share", "down_share", "wait_share", "mean_waiting",
        "mean_present", "waiting_p50", "waiting_p99", "waiting_p999", "most_waiting", "unstable", "present_at_end",
    }  # fmt: skip
    for name in set(found["elements"]["line"]) - plain:
        assert name.endswith(("_s", "_hz", "_bytes", "_bytes_per_s")), name


@pytest.mark.parametrize("load", [1.05, 1.5, 4.0])
def test_a_line_at_a_load_above_1_is_flagged_and_not_averaged(load: float) -> None:
    run = run_network(mm1(load), horizon_s=20_000.0, engine="callbacks")
    assert run.unstable == ("line",)
    line = run.element("line")
    assert line.unstable
    assert math.isnan(line.mean_wait_s)
    assert math.isnan(line.mean_waiting)
    assert line.utilisation > 0.98
    assert math.isnan(run.sojourns("out").mean_s.value)
    assert run.to_json()["elements"]["line"]["mean_wait_s"] is None


def test_a_server_that_never_rests_is_flagged_at_exactly_1() -> None:
    run = run_network(one_station(Periodic(1.0), Service((1.0,)), MS), horizon_s=1000.0, engine="callbacks")
    assert run.unstable == ("line",)


@pytest.mark.parametrize("load", [0.3, 0.8, 0.9])
def test_stable_lines_are_not_flagged(load: float) -> None:
    flagged = [
        seed
        for seed in range(12)
        if run_network(mm1(load), horizon_s=8000.0, warm_up_s=800.0, seed=seed, engine="callbacks").unstable
    ]
    assert flagged == []


def test_a_loss_system_above_1_has_means_and_no_flag() -> None:
    run = run_network(mm1(1.2, places=9), horizon_s=5000.0, engine="callbacks")
    assert run.unstable == ()
    assert run.element("line").mean_wait_s > 3


def test_a_shared_station_above_1_is_flagged() -> None:
    over = run_network(mm1(1.3, discipline="share"), horizon_s=4000.0, engine="callbacks")
    below = run_network(mm1(0.7, discipline="share"), horizon_s=4000.0, engine="callbacks")
    assert (over.unstable, below.unstable) == (("line",), ())


def test_a_gate_without_enough_credits_is_flagged() -> None:
    def network(credits: int) -> Network:
        return Network(
            (
                Source("in", poisson(10.0), to("gate")),
                Gate("gate", credits, to("flight")),
                Delay("flight", Service((1.0,), EXPONENTIAL), to("out"), returns="gate"),
                Exit("out"),
            ),
            10**6,
        )

    over, below = (run_network(network(c), horizon_s=600.0, warm_up_s=60.0, engine="callbacks") for c in (8, 20))
    assert (over.unstable, below.unstable) == (("gate",), ())


def blocking_circle(when_full: str) -> Network:
    """Return two stations that send to each other half of the time, without waiting places."""
    return Network(
        (
            Source("in", poisson(0.8), to("a")),
            Station("a", Service((1.0,)), to("b"), places=0, when_full=when_full),  # type: ignore[arg-type]
            Station("b", Service((1.0,)), Route(("a", "out"), (0.5, 0.5)), places=0, when_full=when_full),  # type: ignore[arg-type]
            Exit("out"),
        ),
        10**6,
    )


def test_stations_that_hold_each_other_up_are_a_deadlock() -> None:
    run = run_network(blocking_circle("block"), horizon_s=2000.0, engine="callbacks")
    assert run.deadlock == ("a", "b")
    assert run.to_json()["deadlock"] == ["a", "b"]


def test_stations_that_drop_never_stand_still() -> None:
    assert run_network(blocking_circle("drop"), horizon_s=2000.0, engine="callbacks").deadlock == ()


def test_circles_are_found_through_elements_without_room() -> None:
    shape = shape_of(blocking_circle("block"))
    assert shape.cycles == ((1, 2),)
    assert shape_of(mm1(0.5, places=3, when_full="block")).cycles == ()


def test_one_long_run_gives_an_interval_that_holds_the_truth() -> None:
    run = run_network(mm1(0.5), horizon_s=60_000.0, warm_up_s=1000.0, seed=3, observe=("line",), engine="callbacks")
    waits, times = run.waits("line"), run.sojourns("out")
    assert waits.mean_s.lo < 1.0 < waits.mean_s.hi  # Wq = rho / (1 - rho)
    assert times.mean_s.lo < 2.0 < times.mean_s.hi
    assert times.mean_s.hi - times.mean_s.lo < 0.3
    # The sojourn is exponential with mean 2.
    assert times.quantiles_s[0.99].lo < 2 * math.log(100) < times.quantiles_s[0.99].hi


def test_batches_that_depend_on_each_other_give_no_interval() -> None:
    rising = summary(np.linspace(1.0, 2.0, 3000))
    assert rising.lag_1 > 0.5
    assert not rising.mean_s.known
    independent = summary(np.random.default_rng(1).exponential(1.0, 3000))
    assert independent.mean_s.known


def test_no_times_are_no_mean() -> None:
    none = summary(np.zeros(0))
    assert (none.count, none.to_json()["mean_s"]["value"]) == (0, None)


def test_the_warm_up_is_found_and_reported() -> None:
    """A delay of 50 s in front of the exit of a feedback-free line: nothing comes out before."""
    run = run_network(mm1(0.8), horizon_s=40_000.0, warm_up_s="auto", engine="callbacks")
    again = run_network(mm1(0.8), horizon_s=40_000.0, warm_up_s="auto", engine="callbacks")
    assert run.warm_up_rule.startswith("MSER-5 on a pilot run of 10000 s")
    assert 0 <= run.warm_up_s <= 5000
    assert run.trace_hash == again.trace_hash
    assert run.to_json()["warm_up_s"] == run.warm_up_s


def test_a_slow_start_is_cut() -> None:
    """Items of a burst at 0 wait long: their times are left out."""
    burst = Recorded(tuple([0.0] * 400 + list(np.arange(1.0, 8000.0))))
    network = one_station(burst, Service((0.5,)), MS)
    found_s, rule = warm_up_of(network, horizon_s=8000.0, engine="callbacks")
    # The 400 items are served by 400 s (one of two halves of the server goes to newcomers).
    assert 300 <= found_s <= 1000
    assert "bound" not in rule


def test_too_few_items_for_a_warm_up_are_refused() -> None:
    with pytest.raises(BadValueError, match="Give warm_up_s"):
        run_network(mm1(0.5), horizon_s=100.0, warm_up_s="auto", engine="callbacks")


@pytest.mark.parametrize(
    "wrong",
    [
        {"horizon_s": 0.0},
        {"horizon_s": math.inf},
        {"horizon_s": 1e15},
        {"horizon_s": 10.0, "warm_up_s": 10.0},
        {"horizon_s": 10.0, "warm_up_s": -1.0},
        {"horizon_s": 10.0, "samples": -1},
        {"horizon_s": 10.0, "seed": -1},
        {"horizon_s": 10.0, "replication": -1},
        {"horizon_s": 10.0, "engine": "fast"},
        {"horizon_s": 10.0, "observe": ("nowhere",)},
    ],
    ids=str,
)
def test_runs_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((BadValueError, UnknownNameError)):
        run_network(mm1(0.5), **wrong)


def test_few_items_run_on_plain_callbacks_and_many_on_the_kernel_where_numba_is() -> None:
    pytest.importorskip("numba")
    assert engine_for(mm1(0.5), "auto", 100.0) == "callbacks"
    assert engine_for(mm1(0.5), "auto", 1e7) == "kernel"
    farm = Station("farm", Service((1.0,)), to("out"), servers=10**6)
    assert engine_for(Network((Source("in", poisson(1.0), to("farm")), farm, Exit("out"))), "auto", 1.0) == "kernel"


def test_the_kernel_without_numba_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.queues.run.find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"pip install archcast\[fast\]"):
        engine_for(mm1(0.5), "kernel", 1e7)
    assert engine_for(mm1(0.5), "auto", 1e7) == "callbacks"


def test_gates_that_items_take_in_opposite_orders_are_a_deadlock() -> None:
    """Class 0 holds the credit of x and waits for that of y, class 1 the other way round."""
    network = Network(
        (
            Source("first", poisson(0.5), to("x")),
            Source("second", poisson(0.5), to("y"), classes=(0.0, 1.0)),
            Gate("x", 1, Route(("work", "out"), {0: (1.0, 0.0), 1: (0.0, 1.0)})),
            Gate("y", 1, Route(("out", "other"), {0: (1.0, 0.0), 1: (0.0, 1.0)})),
            Station("work", Service((1.0,)), to("y")),
            Station("other", Service((1.0,)), to("x")),
            Exit("out"),
        ),
        10**6,
    )
    run = run_network(network, horizon_s=1000.0, engine="callbacks")
    assert run.deadlock == ("x", "y")
    assert run.unstable == ("x", "y")


def test_a_circle_of_full_stations_that_block_each_other_stands_still_and_is_not_averaged() -> None:
    network = Network(
        (
            Source("in", poisson(2.0), to("a")),
            Station("a", Service((1.0,)), to("b"), places=0, when_full="block"),
            Station("b", Service((1.0,)), Route(("a", "out"), (0.9, 0.1)), places=0, when_full="block"),
            Exit("out"),
        ),
        1000,
    )
    run = run_network(network, horizon_s=100.0, engine="callbacks")
    assert (run.deadlock, run.unstable) == (("a", "b"), ())
    assert 0 < run.deadlock_since_s < 10
    ticks = run.record.end.tick - run.record.end.sums["busy_ticks"][1:3] - run.record.end.sums["blocked_ticks"][1:3]
    assert (ticks < run.deadlock_since_s * 1000).all()  # both worked or were blocked from then on
    assert math.isnan(run.element("a").mean_present)
    assert run.element("a").unstable
    assert math.isnan(estimate([run, run], "out.sojourn_mean_s").value)
    assert run.to_json()["deadlock_since_s"] == run.deadlock_since_s
    free = run_network(mm1(0.5), horizon_s=1000.0, engine="callbacks")
    assert (free.deadlock, free.to_json()["deadlock_since_s"]) == ((), None)
