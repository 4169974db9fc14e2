"""Replications: the same serial and in processes, t intervals, the stop rule, and paired differences."""

from __future__ import annotations

import math
from functools import partial

import pytest

from foundation.errors import BadValueError, UnknownNameError, UnsupportedError
from simulator.queues.arrivals import poisson
from simulator.queues.comparison import compare
from simulator.queues.elements import Custom, Exit, Network, Service, Source, Station, to
from simulator.queues.executor import Processes, Serial
from simulator.queues.laws import EXPONENTIAL
from simulator.queues.replications import RelativePrecision, Replications, replicate, value_of
from simulator.queues.run import run_network


def mm1(load: float = 0.5, servers: int = 1) -> Network:
    return Network(
        (
            Source("in", poisson(load), to("line")),
            Station("line", Service((1.0,), EXPONENTIAL), to("out"), servers=servers),
            Exit("out"),
        ),
        10**6,
    )


def few(count: int = 5, load: float = 0.5, horizon_s: float = 500.0, servers: int = 1) -> Replications:
    return replicate(mm1(load, servers), count, horizon_s=horizon_s, warm_up_s=50.0, engine="callbacks")


def test_processes_give_the_runs_of_one_process_bit_for_bit() -> None:
    until = RelativePrecision("line.mean_wait_s", 0.15, floor=3, ceiling=40)
    found = []
    for executor in (Serial(), Processes(2)):
        found.append(
            replicate(partial(mm1, 0.5), horizon_s=400.0, warm_up_s=40.0, engine="callbacks",
                      executor=executor, until=until)
        )  # fmt: skip
        if isinstance(executor, Processes):
            executor.close()
    serial, parallel = found
    assert serial.trace_hashes == parallel.trace_hashes
    assert len(serial) == len(parallel)
    assert serial.values("line.mean_wait_s") == parallel.values("line.mean_wait_s")
    assert serial.to_json(["line.mean_wait_s"]) == parallel.to_json(["line.mean_wait_s"])
    assert len(set(serial.trace_hashes)) == len(serial)


@pytest.mark.slow
def test_serial_two_processes_and_the_kernel_give_the_same_hashes() -> None:
    pytest.importorskip("numba")
    plain = few(3)
    with Processes(2) as executor:
        kernel = replicate(mm1(), 3, horizon_s=500.0, warm_up_s=50.0, engine="kernel", executor=executor)
    assert kernel.runs[0].record.engine == "kernel"
    assert plain.trace_hashes == kernel.trace_hashes
    assert [run.columns["mean_wait_s"].tolist()[1] for run in plain.runs] == kernel.values("line.mean_wait_s")


def test_replications_are_single_runs_with_their_number() -> None:
    found = few(3)
    alone = run_network(mm1(), horizon_s=500.0, warm_up_s=50.0, replication=2, engine="callbacks")
    assert found.runs[2].trace_hash == alone.trace_hash
    assert [run.replication for run in found.runs] == [0, 1, 2]


def test_the_interval_is_students_t() -> None:
    values = iter([2.0, 4.0, 9.0])
    runs = few(3)
    found = runs.estimate(lambda run: next(values))
    # Mean 5, standard deviation sqrt(13), t(0.975, 2) = 4.303.
    assert found.value == 5.0
    assert found.half_width == pytest.approx(4.303 * math.sqrt(13 / 3))
    assert (found.lo, found.hi) == (5.0 - found.half_width, 5.0 + found.half_width)
    assert found.standard_error == pytest.approx(math.sqrt(13 / 3))


def test_the_stop_rule_stops_at_the_first_count_that_is_narrow_enough() -> None:
    until = RelativePrecision("line.utilisation", 0.03, floor=3, ceiling=200)
    found = replicate(mm1(), horizon_s=500.0, engine="callbacks", until=until)
    assert found.reached
    values = found.values("line.utilisation")
    assert until.met(values)
    assert not any(until.met(values[:count]) for count in range(len(values)))
    assert "0.03" in found.stop_rule


def test_a_ceiling_ends_a_rule_that_is_not_met_and_says_so() -> None:
    until = RelativePrecision("line.mean_wait_s", 0.001, floor=3, ceiling=6)
    found = replicate(mm1(), horizon_s=100.0, engine="callbacks", until=until)
    assert (len(found), found.reached) == (6, False)


def test_a_floor_keeps_lucky_starts_from_stopping() -> None:
    assert not RelativePrecision("line.utilisation", 1.0, floor=5).met([1.0, 1.0, 1.0])
    assert RelativePrecision("line.utilisation", 1.0, floor=5).met([1.0] * 5)


def test_an_unstable_run_gives_no_value_and_is_never_precise() -> None:
    found = few(3, load=1.5, horizon_s=4000.0)
    estimate = found.estimate("line.mean_wait_s")
    assert math.isnan(estimate.value)
    assert estimate.unstable
    assert estimate.to_json()["value"] is None
    assert found.unstable == ("line",)
    assert found.estimate("line.utilisation").value > 0.95


def test_one_warm_up_is_found_for_all_replications() -> None:
    found = replicate(mm1(), 3, horizon_s=4000.0, warm_up_s="auto", engine="callbacks")
    assert len({run.warm_up_s for run in found.runs}) == 1
    assert found.runs[1].warm_up_rule.startswith("MSER-5")


def test_common_random_numbers_make_differences_narrow() -> None:
    """A server more: the same arrivals and the same service draws, so the difference varies less than its parts."""
    one, two = few(10, load=0.7, horizon_s=2000.0), few(10, load=0.7, horizon_s=2000.0, servers=2)
    found = compare(one, two, "line.mean_wait_s")
    assert found.sign == -1
    assert found.value == pytest.approx(found.b - found.a)
    assert found.correlation > 0.5
    assert found.half_width < found.unpaired_half_width
    assert compare(one, one, "line.mean_wait_s").value == 0.0
    assert compare(one, one, "line.mean_wait_s").sign == 0


def test_runs_that_are_no_pairs_are_not_compared() -> None:
    with pytest.raises(BadValueError, match="horizon_s differs"):
        compare(few(2), few(2, horizon_s=600.0), "line.mean_wait_s")
    with pytest.raises(BadValueError, match="replication"):
        compare(few(2), few(3), "line.mean_wait_s")


def test_metrics_are_named_by_element_and_column() -> None:
    run = few(1).runs[0]
    times = run.sojourn_s("out")
    assert value_of(run, "line.mean_wait_s") == run.element("line").mean_wait_s
    assert value_of(run, "line.loss_share_full") == 0.0
    assert value_of(run, "out.sojourn_mean_s") == pytest.approx(times.mean())
    assert value_of(run, "out.sojourn_p50_s") == sorted(times)[math.ceil(len(times) / 2) - 1]
    with pytest.raises(UnknownNameError, match="mean_wait_s"):
        value_of(run, "line.mean_wait")
    with pytest.raises(UnknownNameError):
        value_of(run, "lime.mean_wait_s")
    with pytest.raises(BadValueError, match=r"ELEMENT\.COLUMN"):
        value_of(run, "mean_wait_s")


def test_what_cannot_be_sent_to_a_process_is_refused_before_any_starts() -> None:
    network = Network(
        (Source("in", poisson(1.0), to("own")), Custom("own", lambda env, item, net: None, to("out")), Exit("out"))
    )
    with Processes(2) as executor, pytest.raises(UnsupportedError, match="top level"):
        replicate(network, 2, horizon_s=1.0, executor=executor)


def _fails(number: int) -> int:
    if number == 1:
        raise BadValueError("number 1 is bad")
    return number


def test_an_error_in_a_process_comes_back_as_it_was() -> None:
    with Processes(1) as executor, pytest.raises(BadValueError, match="number 1 is bad"):
        executor.run(_fails, [0, 1, 2])


@pytest.mark.parametrize(
    "wrong", [{"share": 0.0}, {"share": 2.0}, {"share": 0.1, "floor": 1}, {"share": 0.1, "ceiling": 5}]
)
def test_rules_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadValueError):
        RelativePrecision("line.mean_wait_s", **wrong)  # type: ignore[arg-type]


def test_a_number_of_replications_below_1_is_refused() -> None:
    with pytest.raises(BadValueError):
        replicate(mm1(), 0, horizon_s=1.0)
