"""What a serving simulation says: hand-computed levels, gaps and intervals, and what must hold in whole runs."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_samples import SMALL, own_trace, served

from simulator.intervals import (
    Uncertain,
    batches,
    combined,
    combined_log,
    half_width,
    half_width_log,
    in_order,
    mser_5,
    t_975,
)
from simulator.serving.results import TIMES, Spread, gaps_s, spent
from simulator.serving.run import once
from simulator.serving.series import level_of, thinned, windows

# -- levels and gaps -------------------------------------------------------------------------------------------------


def test_a_level_is_the_mean_in_each_span_and_its_most() -> None:
    # 0 until 1 s, 2 until 3 s, 1 until the end at 4 s; changes at the same time count as one
    level = level_of(np.array([1.0, 1.0, 3.0]), np.array([1, 1, -1]), 0.0, 4.0, spans=4)
    assert level.value.tolist() == [0.0, 2.0, 2.0, 1.0]
    assert level.mean == pytest.approx(5 / 4)
    assert level.most == 2


def test_a_level_knows_what_was_there_before_its_window() -> None:
    level = level_of(np.array([0.0, 10.0]), np.array([3, -3]), 2.0, 4.0, spans=2)
    assert level.value.tolist() == [3.0, 3.0]
    assert level.most == 3


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(-3, 3)), min_size=1, max_size=30), st.integers(1, 7))
def test_the_spans_of_a_level_average_to_its_mean(changes: list[tuple[float, int]], spans: int) -> None:
    times, steps = (np.array(x, dtype=float) for x in zip(*changes, strict=True))
    level = level_of(times, steps, 1.0, 9.0, spans)
    assert level.value.mean() == pytest.approx(level.mean, abs=1e-9)
    assert level.most >= level.value.max() - 1e-9


def test_gaps_between_tokens_are_the_steps_that_decoded() -> None:
    # three steps of 5, 6 and 7 us with two decodes, then a prompt alone, then one step of 9 us with one decode
    columns = {"steps": [3, 1, 1], "first": [5, 40, 9], "more": [1, 0, 0], "decodes": [2, 0, 1]}
    seconds, weights = gaps_s({name: np.array(values) * (10**6 if name in ("first", "more") else 1)
                               for name, values in columns.items()})  # fmt: skip
    assert np.allclose(seconds, [5e-6, 6e-6, 7e-6, 9e-6])
    assert weights.tolist() == [2, 2, 2, 1]
    spread = Spread.of(seconds, weights)
    assert spread.p50 == pytest.approx(6e-6)
    assert spread.p99 == pytest.approx(9e-6)
    assert spread.mean == pytest.approx((2 * 18 + 9) / 7 * 1e-6)


def test_percentiles_in_windows_and_thinned_distributions() -> None:
    at, values = np.array([0.1, 0.2, 0.9, 1.5]), np.array([1.0, 3.0, 2.0, 7.0])
    found = windows(at, values, np.array([0.0, 1.0, 2.0, 3.0]), 50)
    assert found[:2].tolist() == [2.0, 7.0]
    assert np.isnan(found[2])
    points, share = thinned(np.arange(1000.0), 11)
    assert (points[0], points[-1], share[-1]) == (0.0, 999.0, 1.0)
    assert np.allclose(share, (points + 1) / 1000)


# -- intervals -------------------------------------------------------------------------------------------------------


def test_half_of_a_t_interval_is_that_of_the_textbook() -> None:
    # mean 3, deviation 1.5811, five values: 2.776 x 1.5811 / sqrt(5)
    assert half_width([1, 2, 3, 4, 5]) == pytest.approx(1.963, abs=1e-3)
    assert np.isnan(half_width([7.0]))
    assert t_975(40) == pytest.approx(2.0211, abs=1e-3)
    assert t_975(1000) == pytest.approx(1.9623, abs=1e-3)


def test_chance_and_the_error_of_step_costs_add_in_quadrature() -> None:
    number = combined([10.0, 10.0], 3.0, faster=[6.0, 6.0], slower=[14.0, 14.0])
    assert (number.value, number.lo, number.hi) == (10.0, 5.0, 15.0)


def test_times_have_intervals_in_the_logarithm() -> None:
    # logarithms 0 and ln 4: deviation ln 4 / sqrt 2, half width 12.706 x ln 4 / 2; two runs reach too far
    assert half_width_log([1.0, 4.0]) == pytest.approx(12.706 * np.log(4) / 2)
    assert not combined_log([1.0, 4.0], half_width_log([1.0, 4.0])).known
    # at 10 +- a factor of 2 by chance, and of 2 at each end of the step costs: hypot(ln 2, ln 2)
    number = combined_log([10.0, 10.0], np.log(2), faster=[5.0, 5.0], slower=[20.0, 20.0])
    assert (number.lo, number.hi) == pytest.approx((10 / 2**2**0.5, 10 * 2**2**0.5))
    assert np.isnan(half_width_log([0.0, 1.0]))


def test_intervals_of_rising_percentiles_rise() -> None:
    rising = in_order([Uncertain(1, 0.8, 5), Uncertain(2, 0.5, 3), Uncertain(4), Uncertain(5, 0.9, 9)])
    assert [(x.value, x.lo, x.hi) for x in rising if x.known] == [(1, 0.8, 5), (2, 0.8, 5), (5, 0.9, 9)]
    assert not rising[2].known


@pytest.mark.parametrize("replications", [1, 2, 3])
def test_intervals_of_times_lie_above_zero_and_rise(tmp_path: Path, replications: int) -> None:
    doc = served(tmp_path, replications=replications, traffic__rate_hz=250, traffic__requests=350).to_json()
    for name in ("ttft_s", "tpot_s", "latency_s"):
        known = [doc[name][key] for key in ("p50", "p90", "p99") if doc[name][key]["lo"] is not None]
        assert known
        assert all(0 < each["lo"] <= each["value"] <= each["hi"] for each in known)
        for key in ("lo", "hi"):
            assert sorted(each[key] for each in known) == [each[key] for each in known]


def test_an_interval_is_never_invented() -> None:
    number = combined([10.0], half_width([10.0]), faster=[6.0], slower=[14.0])
    assert not number.known
    assert number.to_json() == {"value": 10.0, "lo": None, "hi": None}
    assert batches(299) is None
    parts = batches(305)
    assert parts is not None
    assert [len(range(*part.indices(305))) for part in parts] == [30] * 9 + [35]


def test_mser_5_cuts_a_ramp_and_keeps_a_level() -> None:
    random = np.random.default_rng(3)
    noise = random.normal(0, 1, 500)
    ramp = np.concatenate([np.linspace(50, 0, 100), np.zeros(400)])
    assert 80 <= mser_5(ramp + noise) <= 130
    assert mser_5(noise) < 250


# -- whole runs ------------------------------------------------------------------------------------------------------


def test_one_request_alone_takes_its_prompt_and_its_steps(tmp_path: Path) -> None:
    answer = served(tmp_path, trace=str(own_trace(tmp_path, "1.0,100,4\n")), warmup=0)
    assert answer.study is not None
    costs = answer.scenario.pools[0].costs["value"]
    first = costs.work[100] + costs.sampling[1] + costs.chunk_ticks(100, 0)
    steps = [costs.work[1] + costs.sampling[1] + costs.decode_ticks(1, 101 + i) for i in range(3)]
    times = answer.study.sample.times
    assert times["ttft_s"][0] == pytest.approx(first / 1e12, rel=1e-9)
    assert times["tpot_s"][0] == pytest.approx(sum(steps) / 3 / 1e12, rel=1e-9)
    assert times["latency_s"][0] == pytest.approx((first + sum(steps)) / 1e12, rel=1e-9)
    assert answer.study.times["itl_s"]["mean"].value == pytest.approx(times["tpot_s"][0], rel=1e-9)


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path: Path) -> None:
    one, same, other = (served(tmp_path, seed=seed).study for seed in (1, 1, 2))
    assert one is not None
    assert same is not None
    assert other is not None
    assert one.trace_hashes == same.trace_hashes
    assert set(one.trace_hashes).isdisjoint(other.trace_hashes)
    assert len(set(one.trace_hashes)) == 2


def test_below_saturation_it_is_stable_and_above_it_is_not(tmp_path: Path) -> None:
    offered = served(tmp_path, traffic__arrivals="at-once", traffic__requests=600, warmup=0).study
    assert offered is not None
    capacity_hz = offered.numbers["request_rate_hz"].value
    for share, unstable in ((0.5, False), (0.8, False), (1.3, True), (3.0, True)):
        study = served(tmp_path, traffic__rate_hz=share * capacity_hz, traffic__requests=1500).study
        assert study is not None
        assert study.unstable is unstable, f"at {share} of {capacity_hz:.0f} requests a second"
        assert study.unstable_runs == (study.runs if unstable else 0)


def test_a_closed_loop_waits_for_its_answers_and_is_never_unstable(tmp_path: Path) -> None:
    answer = served(tmp_path, closed_loop__users=200, traffic__requests=800)
    assert answer.study is not None
    assert not answer.study.unstable


def test_requests_and_tokens_are_conserved(tmp_path: Path) -> None:
    answer = served(tmp_path, max_queue=3, traffic__rate_hz=400)
    assert answer.study is not None
    run = answer.study.first
    lost = sum(len(numbers) for numbers in run.lost.values())
    done = sum(tick >= 0 for tick in run.log.done)
    assert lost > 0
    assert done + lost == len(run.requests)
    assert set(answer.study.lost) == {"rejected"}
    share = answer.study.numbers["goodput_share"].value
    assert share <= done / len(run.requests) + 0.1


def test_energy_lies_between_idle_and_the_limit_and_money_is_the_hours(tmp_path: Path) -> None:
    answer = served(tmp_path, instances=2)
    assert answer.study is not None
    run, plan = answer.study.first, answer.scenario.pools[0]
    horizon_s = run.horizon / 1e12
    rates = plan.engine.rates
    assert 2 * rates.idle_w[0] * horizon_s <= run.energy_j <= 2 * rates.limit_w * horizon_s
    assert run.device_s == pytest.approx(2 * horizon_s)
    assert run.usd == pytest.approx(plan.usd_per_hour * 2 * horizon_s / 3600)


def test_the_interval_holds_the_error_of_the_step_costs(tmp_path: Path) -> None:
    alone, both = served(tmp_path).study, served(tmp_path, intervals=True).study
    assert alone is not None
    assert both is not None
    for name in ("ttft_s", "tpot_s"):
        narrow, wide = alone.times[name]["p50"], both.times[name]["p50"]
        assert wide.value == narrow.value
        assert wide.lo < narrow.lo <= narrow.hi < wide.hi


def test_faster_and_slower_steps_meet_the_same_requests(tmp_path: Path) -> None:
    scenario = served(tmp_path, intervals=True).scenario
    value, low, high = (once(scenario, 0, level) for level in ("value", "lo", "hi"))
    assert np.array_equal(value.requests.arrival, low.requests.arrival)
    assert np.array_equal(value.requests.generate, high.requests.generate)
    assert low.horizon <= value.horizon <= high.horizon


def test_one_run_has_intervals_of_batches_for_times_and_none_for_rates(tmp_path: Path) -> None:
    study = served(tmp_path, replications=1).study
    assert study is not None
    assert study.chance == "batch means"
    assert study.times["ttft_s"]["p99"].known
    assert not study.numbers["request_rate_hz"].known
    few = served(tmp_path, replications=1, traffic__requests=50).study
    assert few is not None
    assert few.chance == ""
    assert not any(number.known for found in few.times.values() for number in found.values())


def test_the_json_answer_is_strict_and_holds_every_distribution(tmp_path: Path) -> None:
    doc = json.loads(json.dumps(served(tmp_path).to_json(), allow_nan=False))
    for name in TIMES:
        assert set(doc[name]) == {"value", "lo", "hi", "mean", "p50", "p90", "p99"}
        assert doc[name]["p50"]["value"] <= doc[name]["p90"]["value"] <= doc[name]["p99"]["value"]
    assert doc["verdict"] == "feasible"
    assert doc["unstable"] is False
    assert doc["goodput"]["share"]["value"] == 1.0
    assert sum(doc["source"].values()) == pytest.approx(1.0)
    assert len(doc["queue_requests"]["time_s"]) == len(doc["queue_requests"]["values"]) > 10
    assert {"archcast", "cost_model", "numpy"} <= set(doc["versions"])
    assert len(doc["trace_hashes"]) == doc["replications"] == 2


def test_requests_that_generate_one_token_have_no_time_per_token(tmp_path: Path) -> None:
    study = served(tmp_path, SMALL.replace("{kind: uniform, least: 5, most: 25}", "1")).study
    assert study is not None
    assert np.isnan(study.times["tpot_s"]["p50"].value)
    assert study.numbers["goodput_share"].value == 1.0
    assert "tpot_s" in json.loads(json.dumps(served(tmp_path, SMALL).to_json(), allow_nan=False))


def test_what_no_engine_can_hold_is_lost_by_its_cause(tmp_path: Path) -> None:
    trace = own_trace(tmp_path, "0.0,50,5\n1.0,5000,5\n2.0,60,5\n")
    study = served(tmp_path, trace=str(trace), policy__blocks=16, warmup=0).study
    assert study is not None
    assert study.lost == {"too long": 1.0}


# -- one window for rates, energy and money --------------------------------------------------------------------------


def test_one_user_is_done_as_often_as_answers_take(tmp_path: Path) -> None:
    lengths: dict[str, Any] = {"traffic__prompt": 60, "traffic__generate": 20, "traffic__requests": 30}
    study = served(tmp_path, closed_loop__users=1, replications=1, **lengths).study
    assert study is not None
    latency_s = study.times["latency_s"]["mean"].value
    assert study.numbers["request_rate_hz"].value == pytest.approx(1 / latency_s, rel=1e-3)
    assert study.numbers["token_rate_hz"].value == pytest.approx(20 / latency_s, rel=1e-3)


@pytest.mark.parametrize("changes", [{}, {"closed_loop__users": 4}, {"traffic__arrivals": "at-once"}])
def test_rates_power_energy_and_money_of_one_window_agree(tmp_path: Path, changes: dict[str, Any]) -> None:
    answer = served(tmp_path, replications=3, slo__ttft_s=900, slo__tpot_s=900, instances=2, **changes)
    assert answer.study is not None
    found = {name: number.value for name, number in answer.study.numbers.items()}
    assert found["goodput_share"] == 1
    assert found["goodput_hz"] == found["request_rate_hz"]
    assert found["token_rate_hz"] * found["energy_per_token_j"] == pytest.approx(found["power_w"])
    usd_per_s = 2 * answer.scenario.pools[0].usd_per_hour / 3600  # two engines of one device
    assert found["token_rate_hz"] * found["usd_per_million_tokens"] / 1e6 == pytest.approx(usd_per_s)


def test_energy_and_money_of_the_whole_run_are_those_of_its_parts(tmp_path: Path) -> None:
    study = served(tmp_path, dp=2, failures=[{"instance": 0, "at_s": 3, "down_s": 2}]).study
    assert study is not None
    run = study.first
    ends = [0, run.horizon // 3, run.horizon // 2, run.horizon]
    parts = [spent(run, *pair) for pair in pairwise(ends)]
    assert sum(energy for energy, _ in parts) == pytest.approx(run.energy_j)
    assert sum(usd for _, usd in parts) == pytest.approx(run.usd)


def test_instances_that_come_and_go_count_while_they_are_there(tmp_path: Path) -> None:
    """A burst of work a minute, for one instance or two: those that were let go are not idle for the rest."""
    rows = "".join(f"{60 * burst + i * 0.01},60,25\n" for burst in range(6) for i in range(40))
    rule: dict[str, Any] = {"target": 8, "most": 2, "least": 0, "period_s": 1.0, "cold_start_s": 1.0}
    answer = served(tmp_path, trace=str(own_trace(tmp_path, rows)), warmup=0, autoscaling=rule)
    assert answer.study is not None
    pool, run = answer.to_json()["pools"][0], answer.study.first
    assert pool["instances"] <= 2 < pool["instances_started"]
    busy_s = (run.steps["end"] - run.steps["start"]).sum() / 1e12
    assert pool["utilisation"] == pytest.approx(busy_s / pool["instance_s"])
    assert answer.study.numbers["utilisation"].value == pytest.approx(pool["utilisation"])
    blocks = answer.rooms["engines"].blocks
    assert pool["kv_blocks"] == blocks * pool["instances"]
    fullest = run.steps["blocks"].max() / blocks
    assert fullest / 2 <= answer.study.numbers["kv_max"].value <= fullest
