"""Windows of pipelines as events: they agree with mean rates, hand-computed times, and with themselves."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest

from foundation.errors import BadValueError
from hardware_specs.pipeline_schema import PipelineSpec
from hardware_specs.pipelines import load_pipeline, read_pipeline
from simulator.intervals import t_975
from simulator.pipelines.events import window_network
from simulator.pipelines.flows import flows_of
from simulator.pipelines.rates import mean_rates
from simulator.pipelines.window_run import WindowRun, run_window
from simulator.queues.run import EngineName

SEED = 4


def described(
    *stages: dict[str, Any], rate: str = "1 kHz", size: str = "1 kB", horizon: str = "40 s", **more: Any
) -> Any:
    """Return a chain of stages fed by one detector, with one window over all of them."""
    chain = [{"kind": "buffer", **stage} for stage in stages]
    for before, stage in pairwise(chain):
        stage.setdefault("inputs", [before["name"]])
    detectors = [{"name": "detector", "to": chain[0]["name"], "size_bytes": size, "rate_hz": rate}]
    window = {"name": "all", "horizon_s": horizon, "warm_up_s": "1 s", **more.pop("window", {})}
    return read_pipeline(
        {
            "kind": "pipeline",
            "id": "made",
            "name": "made",
            "detectors": detectors,
            "stages": chain,
            "events": [window],
            **more,
        }
    )


def simulated(
    spec: PipelineSpec, *, replications: int = 1, seed: int = SEED, engine: EngineName = "callbacks"
) -> WindowRun:
    flows = flows_of(mean_rates(spec))
    return run_window(spec, spec.events[0], flows, {}, seed=seed, replications=replications, engine=engine)


def within(run: WindowRun, stage: str, name: str, wanted: float, errors: float = 4.0) -> None:
    """Hold the mean over replications to a value, within so many standard errors."""
    number = getattr(run.stages[stage], name)
    half = (number.hi - number.lo) / 2
    count = len(run.runs)
    error = half / t_975(count - 1)
    assert abs(number.value - wanted) <= errors * error, (number, wanted, error)


FARM = {"name": "farm", "kind": "farm", "servers": 8, "service": {"time_s": "6.4 ms", "law": "exponential"}}


def test_events_agree_with_mean_rates_where_buffers_have_no_end() -> None:
    single = {"name": "readout", "service": {"time_s": "0.7 ms", "law": "exponential"}}
    spec = described(single, FARM)
    rates, run = mean_rates(spec), simulated(spec, replications=10)
    for stage in ("readout", "farm"):
        expected = rates.stage(stage)
        assert expected.servers is not None
        assert expected.wait_s is not None
        within(run, stage, "rate_in_hz", expected.rate_in_hz.value)
        within(run, stage, "utilisation", expected.servers.utilisation.value)
        within(run, stage, "mean_wait_s", expected.wait_s.value)
    assert run.loss_share.value == 0
    assert not run.unstable


def test_a_full_buffer_loses_what_the_closed_form_says() -> None:
    spec = described({"name": "readout", "places": 3, "service": {"time_s": "0.8 ms", "law": "exponential"}})
    run, rates = simulated(spec, replications=10), mean_rates(spec)
    # M/M/1/4 at 0.8: (1 - r) r^4 / (1 - r^5)
    loss = 0.2 * 0.8**4 / (1 - 0.8**5)
    assert rates.stage("readout").losses["full"].value == pytest.approx(loss, rel=1e-9)
    within(run, "readout", "loss_share", loss)
    assert set(run.stages["readout"].lost_by_cause) == {"full"}


def test_a_decision_passes_relevant_and_other_events_at_their_own_rates() -> None:
    classifier = {"kind": "rates", "true_pass": 0.9, "false_pass": 0.1}
    spec = described({"name": "trigger", "kind": "trigger", "classifier": classifier}, FARM, relevant_fraction=0.25)
    run = simulated(spec, replications=10)
    within(run, "farm", "rate_in_hz", 1_000 * (0.25 * 0.9 + 0.75 * 0.1))


def test_a_window_fed_by_every_crossing_begins_with_what_the_trigger_accepts() -> None:
    spec = described(
        {"name": "L1", "kind": "trigger", "reduction": 400}, {**FARM, "service": {"time_s": "50 us"}}, rate="40 MHz",
        horizon="0.1 s", window={"warm_up_s": "0 s"},
        beam={"crossing_rate_hz": "40 MHz", "slots": 3564, "filled_slots": 2808},
    )  # fmt: skip
    network = window_network(spec, spec.events[0], flows_of(mean_rates(spec)), {})
    assert network.begins_accepted
    assert network.entry_hz == pytest.approx(1e5)
    run = simulated(spec)
    # Bernoulli in 78.8 % of the crossings: standard deviation of 10,000 counts below 100
    assert run.stages["farm"].rate_in_hz.value == pytest.approx(1e5, rel=0.04)


def test_a_window_that_no_one_could_wait_for_is_refused() -> None:
    fast = described({**FARM, "service": {"time_s": "1 ns"}}, rate="40 MHz", horizon="1 s", window={"warm_up_s": "0 s"})
    with pytest.raises(
        BadValueError, match=r"begins with 4e\+07 events a second at farm.*Begin it at a stage that decides"
    ):
        simulated(fast)
    long = described({**FARM, "service": {"time_s": "1 us"}}, rate="1 MHz", horizon="1 h")
    with pytest.raises(BadValueError, match=r"would simulate 3\.6e\+09 events; at most 2e\+07 are\. Shorten"):
        simulated(long)


def test_one_of_equal_parts_stands_for_all_of_them() -> None:
    spec = described({**FARM, "servers": 1, "parts": 10, "service": {"time_s": "7 ms"}})
    run = simulated(spec, replications=4)
    within(run, "farm", "rate_in_hz", 1_000.0)
    assert run.stages["farm"].utilisation.value == pytest.approx(0.7, rel=0.01)
    assert run.rate_out_hz.value == pytest.approx(1_000, rel=0.01)
    # every tenth event of a Poisson stream comes more evenly than Poisson: less than the wait of M/D/1
    assert run.stages["farm"].mean_wait_s.value < 0.7 * 7e-3 / (2 * 0.3)


def test_fragments_travel_on_their_own_links_and_meet() -> None:
    builder = {"name": "builder", "kind": "builder", "fragments": 4}
    link = {"bandwidth_bytes_per_s": "1 MB/s", "lanes": 4, "latency_s": "0 s"}
    spec = described({"name": "readout", "link": link}, builder, rate="10 Hz", size="8 kB", horizon="100 s")
    run = simulated(spec)
    # 2 kB on a lane of 1 MB/s take 2 ms, and no two events wait for each other often at 10 Hz
    wanted = 2e-3 * (1 + 0.02 / (2 * 0.98))  # M/D/1: s + rho s / (2 (1 - rho))
    assert run.latency_s["mean"].value == pytest.approx(wanted, rel=0.01)
    assert run.latency_s["p50"].value == pytest.approx(2e-3, rel=1e-9)


def test_packets_wait_until_they_are_full() -> None:
    builder = {"name": "builder", "kind": "builder", "fragments": 2, "events_per_packet": 5}
    spec = described({"name": "readout"}, builder, rate="10 Hz", horizon="400 s")
    run = simulated(spec)
    # the k-th of five Poisson events waits for 5 - k gaps of 0.1 s: 0.2 s in the mean
    assert run.latency_s["mean"].value == pytest.approx(0.2, rel=0.1)
    assert run.loss_share.value == 0


def test_credits_bound_the_rate_of_an_event_builder() -> None:
    builder = {"name": "builder", "kind": "builder", "fragments": 2, "credits": 1, "service": {"time_s": "1 ms"}}
    link = {"bandwidth_bytes_per_s": "1 MB/s", "lanes": 2}
    spec = described({"name": "readout", "link": link}, builder, rate="400 Hz", size="2 kB", horizon="20 s")
    run = simulated(spec)
    # one event at a time: 1 ms of sending and 1 ms of building; at most 500 a second, and they wait for the credit
    assert run.rate_out_hz.value == pytest.approx(400, rel=0.05)
    assert run.latency_s["mean"].value > 4e-3
    faster = described(
        {"name": "readout", "link": link}, {**builder, "credits": 4}, rate="400 Hz", size="2 kB", horizon="20 s"
    )
    assert simulated(faster).latency_s["mean"].value < run.latency_s["mean"].value


def test_a_farm_that_rests_lets_its_buffer_fill() -> None:
    farm = {**FARM, "servers": 2, "service": {"time_s": "10 ms"}, "duty": {"on_s": "5 s", "period_s": "10 s"}}
    run = simulated(described(farm, rate="80 Hz", horizon="200 s"))
    row = run.stages["farm"]
    # in 5 s without service 400 events come; the backlog drains at 200 - 80 = 120 a second in 3.3 s
    assert row.waiting["mean"].value == pytest.approx(400 / 2 * (5 + 400 / 120) / 10, rel=0.1)
    assert 400 < row.waiting["most"].value < 500  # the largest of twenty Poisson numbers
    assert row.down_share.value == pytest.approx(0.5, abs=0.02)
    assert not run.unstable
    assert run.loss_share.value == 0


def test_failing_servers_are_down_as_long_as_stated_and_what_they_lose_is_counted() -> None:
    failures = {"mtbf_s": "3 s", "mttr_s": "1 s", "lost": "lose"}
    spec = described({**FARM, "failures": failures, "service": {"time_s": "4 ms"}}, rate="500 Hz", horizon="120 s")
    run = simulated(spec, replications=5)
    within(run, "farm", "down_share", 0.25)
    cause = run.stages["farm"].lost_by_cause["failure"]
    # a busy server fails once in 3 s: 4 ms of work are hit with a probability of 1 - exp(-4 ms / 3 s)
    assert cause.value == pytest.approx(1 - math.exp(-4e-3 / 3), rel=0.2)


def test_branches_meet_again_and_the_slower_one_sets_the_time() -> None:
    stages: list[dict[str, Any]] = [
        {"name": "split", "kind": "buffer"},
        {"name": "left", "kind": "buffer", "inputs": ["split"], "latency_s": "3 ms"},
        {"name": "right", "kind": "buffer", "inputs": ["split"], "latency_s": "5 ms"},
        {"name": "merge", "kind": "merge", "inputs": ["left", "right"]},
    ]
    run = simulated(described(*stages, rate="100 Hz", horizon="10 s"))
    assert run.latency_s["p50"].value == pytest.approx(5e-3, rel=1e-9)
    assert run.stages["merge"].rate_in_hz.value == pytest.approx(100, rel=0.15)


def test_a_seed_repeats_a_window_and_another_does_not() -> None:
    spec = described(FARM, horizon="4 s")
    first, again, other = (simulated(spec, seed=seed).runs[0].trace_hash for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.slow
def test_both_engines_give_one_trace_of_a_catalogue_window() -> None:
    pytest.importorskip("numba", reason="the compiled kernel needs numba (pip install 'archcast[fast]')")
    spec = load_pipeline("cms-run5-pu200", {"events.front end.horizon_s": "3 ms", "events.front end.warm_up_s": "1 ms"})
    plain, compiled = (simulated(spec, engine=name) for name in ("callbacks", "kernel"))
    assert plain.runs[0].trace_hash == compiled.runs[0].trace_hash
    assert plain.to_json() | {"engine": ""} == compiled.to_json() | {"engine": ""}


def test_a_stage_at_its_limit_is_flagged_and_not_averaged() -> None:
    run = simulated(described({**FARM, "service": {"time_s": "9 ms"}}, horizon="30 s"))
    assert run.unstable == ("farm",)
    assert math.isnan(run.stages["farm"].mean_wait_s.value)
    assert math.isnan(run.latency_s["mean"].value)


def test_a_batch_without_a_longest_wait_is_served_when_it_is_full() -> None:
    batch = {**FARM, "servers": 1, "batch": {"size": 5}, "service": {"polynomial": {"coefficients": [0, 1e-6]}}}
    run = simulated(described(batch, rate="10 Hz", horizon="400 s"))
    # the k-th of five waits for 5 - k gaps of 0.1 s (0.2 s in the mean), then five events of 1 kB take 1 ms each
    assert run.latency_s["mean"].value == pytest.approx(0.2 + 5e-3, rel=0.1)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.8), (16, 0.9)])
def test_parts_that_take_turns_wait_as_the_closed_form_says(servers: int, load: float) -> None:
    farm = {
        **FARM,
        "servers": servers,
        "parts": 1_000,
        "service": {"time_s": f"{servers * load} s", "law": "exponential"},
    }
    spec = described(farm, rate="1 kHz", horizon="9000 s", window={"warm_up_s": "1000 s"})
    wait_s, run = mean_rates(spec).stage("farm").wait_s, simulated(spec, replications=6)
    assert wait_s is not None
    # arrivals at one part are almost even: half of the wait of Poisson arrivals for one server, far less for many
    assert run.stages["farm"].mean_wait_s.value == pytest.approx(wait_s.value, rel=0.15)


def test_a_part_in_the_middle_of_a_window_takes_its_turn() -> None:
    spec = described({"name": "trigger", "latency_s": "1 us"}, {**FARM, "parts": 10, "servers": 1}, horizon="20 s")
    run = simulated(spec)
    assert run.stages["farm"].rate_in_hz.value == pytest.approx(1_000, rel=0.03)
    elements = {row.name: row for row in run.runs[0].elements}
    assert elements["other parts"].arrived_hz == pytest.approx(9 * elements["farm"].arrived_hz, rel=1e-2)


def test_rejected_events_too_take_the_time_of_the_servers_that_decide() -> None:
    gpu = {
        "name": "HLT1",
        "kind": "trigger",
        "reduction": 30,
        "parts": 100,
        "service": {"time_s": "5 us"},
        "servers": 1,
    }
    spec = described(gpu, rate="16 MHz", horizon="0.2 s", window={"warm_up_s": "0.02 s"})
    run = simulated(spec)
    assert not run.network.begins_accepted
    assert run.stages["HLT1"].utilisation.value == pytest.approx(0.8, rel=0.02)
    assert run.rate_out_hz.value == pytest.approx(16e6 / 30, rel=0.1)


def test_the_link_into_an_event_builder_has_its_latency() -> None:
    builder = {"name": "builder", "kind": "builder", "fragments": 4}
    link = {"bandwidth_bytes_per_s": "1 MB/s", "lanes": 4, "latency_s": "30 ms"}
    spec = described({"name": "readout", "link": link}, builder, rate="10 Hz", size="8 kB", horizon="20 s")
    assert simulated(spec).latency_s["p50"].value == pytest.approx(32e-3, rel=1e-9)


def test_a_stage_behind_one_of_several_parts_is_refused_unless_it_has_as_many() -> None:
    chain = [{**FARM, "parts": 5}, {"name": "disk", "service": {"time_s": "0.5 ms"}}]
    with pytest.raises(BadValueError, match=r"follows one of 5 parts of 'farm', so 'disk' behind it would see"):
        simulated(described(*chain))
    own = described({**FARM, "parts": 5}, {"name": "disk", "service": {"time_s": "0.5 ms"}, "parts": 5})
    assert simulated(own).stages["disk"].rate_in_hz.value == pytest.approx(1_000, rel=0.05)


def test_what_passes_a_decision_takes_turns_at_the_parts_behind_it() -> None:
    trigger = {"name": "trigger", "kind": "trigger", "reduction": 4, "service": {"time_s": "0.1 ms"}}
    spec = described(trigger, {**FARM, "parts": 5, "servers": 1, "service": {"time_s": "10 ms"}})
    run = simulated(spec)
    assert run.stages["farm"].rate_in_hz.value == pytest.approx(250, rel=0.05)
    assert run.stages["farm"].utilisation.value == pytest.approx(0.5, rel=0.05)


def test_a_blocking_receiver_fills_the_link_and_then_the_buffer_before_it() -> None:
    link = {"bandwidth_bytes_per_s": "100 MB/s"}
    first = {"name": "readout", "places": 10, "service": {"time_s": "0.2 ms"}, "link": link}
    slow = {"name": "farm", "service": {"time_s": "1.25 ms"}, "places": 3, "when_full": "block"}
    run = simulated(described(first, slow))
    # the farm serves 800 of 1000 a second: the rest is lost at the readout, nothing behind it
    assert run.loss_share.value == pytest.approx(0.2, abs=0.01)
    assert set(run.stages["readout"].lost_by_cause) == {"full"}
    assert run.stages["readout"].blocked_share.value > 0.5
    assert run.stages["farm"].loss_share.value == 0


def test_a_link_that_cannot_keep_up_is_unstable() -> None:
    first = {"name": "readout", "service": {"time_s": "0.2 ms"}, "link": {"bandwidth_bytes_per_s": "500 kB/s"}}
    run = simulated(described(first, {**FARM, "service": {"time_s": "1 ms"}}))
    assert "readout" in run.unstable


def test_an_event_of_which_two_branches_lose_their_parts_is_lost_once() -> None:
    stages: list[dict[str, Any]] = [
        {"name": "split", "kind": "buffer"},
        {"name": "left", "inputs": ["split"], "places": 0, "service": {"time_s": "0.1 ms", "law": "exponential"}},
        {"name": "right", "inputs": ["split"], "places": 0, "service": {"time_s": "0.1 ms", "law": "exponential"}},
        {"name": "merge", "kind": "merge", "inputs": ["left", "right"]},
    ]
    run = simulated(described(*stages))
    kept = run.rate_out_hz.value / run.stages["split"].rate_in_hz.value
    assert run.loss_share.value == pytest.approx(1 - kept, abs=2e-3)
    assert run.stages["merge"].rate_in_hz.value < run.stages["split"].rate_in_hz.value * 1.001


def test_branches_that_end_apart_and_servers_that_flicker_are_refused_in_words() -> None:
    ends: list[dict[str, Any]] = [
        {"name": "split", "kind": "buffer"},
        {"name": "disk", "kind": "storage", "inputs": ["split"]},
        {"name": "monitor", "kind": "storage", "inputs": ["split"]},
    ]
    with pytest.raises(BadValueError, match=r"that part at split end apart, at disk and monitor"):
        simulated(described(*ends))
    flicker = {**FARM, "failures": {"mtbf_s": "2 ms", "mttr_s": "1 ms"}}
    with pytest.raises(BadValueError, match=r"'farm' would stop and go on .* times in the window 'all'"):
        simulated(described(flicker, rate="1 Hz", horizon="10000 s"))


def test_a_share_that_is_down_takes_whole_servers() -> None:
    spec = described({**FARM, "servers": 5, "share_down": 0.3, "service": {"time_s": "1 ms"}}, horizon="20 s")
    # 3.5 servers are left: three work
    assert simulated(spec).stages["farm"].utilisation.value == pytest.approx(1 / 3, rel=0.03)
