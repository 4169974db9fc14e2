"""Parts of planning by themselves: bisection, the front, percentiles over replications, demand."""

from __future__ import annotations

import gzip
import itertools
import math
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_samples import SMALL, small

from archcast.planning.closed_form import Profiles, Steady
from archcast.planning.confirm import Confirmer, Outcome, _jackknife
from archcast.planning.demand import demand_of
from archcast.planning.engines import candidates_of, model_of, sites_of
from archcast.planning.front import on_front
from archcast.planning.plan_file import Slo, read_plan
from archcast.planning.run import plan
from archcast.planning.screen import least_instances, screen
from archcast.planning.search import least_fleet
from costmodel.stack import find_stack


@dataclass
class Threshold:
    """Stands in for the events: so many instances serve, fewer do not."""

    enough: int
    rate_hz: float = 10.0
    asked: list[int] = field(default_factory=list)

    @property
    def demand(self) -> Any:
        return SimpleNamespace(rate_hz=self.rate_hz)

    def outcome(self, _: object, instances: int, **__: object) -> Any:
        self.asked.append(instances)
        return SimpleNamespace(instances=instances, meets=instances >= self.enough)


@given(st.integers(1, 300), st.integers(0, 300), st.integers(1, 300), st.integers(1, 300))
def test_bisection_finds_the_least_number_that_serves_at_or_above_the_bound(
    enough: int, guess: int, bound: int, most: int
) -> None:
    events = Threshold(enough)
    screened = SimpleNamespace(candidate=None, least_at=lambda rate_hz, slower: bound)
    found = least_fleet(cast(Confirmer, events), cast(Any, screened), most, start=guess)
    if max(enough, bound) > most:
        assert found is None
    else:
        assert found is not None
        assert found.instances == max(enough, bound)
    assert max(events.asked, default=0) <= most
    assert min(events.asked, default=bound) >= bound
    assert len(set(events.asked)) <= 4 + 2 * math.log2(301)


def test_the_bound_of_the_closed_form_grows_with_demand_and_slower_steps() -> None:
    steady = Steady(np.array([5.0, 10.0]), np.array([0.01, 0.02]), np.array([100.0, 150.0]), np.ones(2))
    assert least_instances(steady, 100.0, None) == 10  # 95 requests/s, at 10 an instance
    assert least_instances(steady, 100.0, 0.01) == 19  # at 5 an instance
    assert least_instances(steady, 100.0, 0.04, slower=2.0) == 19  # 190 at 10
    assert least_instances(steady, 100.0, 0.001) == 10  # no rate keeps it: what is served at all


def test_a_short_sample_at_a_high_rate_keeps_the_bound_and_says_so() -> None:
    burst = {**SMALL["traffic"], "rate_hz": 300, "requests": 200}
    answer = plan(small(traffic=burst, devices=["l40s"], instance_devices=[1]), seed=1)
    assert answer.chosen is not None
    assert answer.chosen.outcome.instances == answer.chosen.screened.least
    assert any("that bound is kept" in note for note in answer.notes)
    assert any("traffic.requests: at least 18,000" in note for note in answer.notes)
    assert all(point.outcome.instances >= answer.chosen.screened.least for point in answer.points)
    doubled = next(stress for stress in answer.stresses if stress.name == "demand +100 %")
    assert doubled.needed is None or doubled.needed.instances >= doubled.least
    assert not doubled.holds


def test_the_fleet_beyond_the_limits_is_no_smaller_than_the_bound() -> None:
    burst = {**SMALL["traffic"], "rate_hz": 300, "requests": 200}
    answer = plan(small(traffic=burst, devices=["l40s"], instance_devices=[1], limits={"devices": 5}), seed=1)
    assert answer.nearest is not None
    assert answer.nearest.screened is not None
    assert answer.beyond is not None
    assert answer.beyond.instances >= answer.nearest.screened.least
    assert f"at least {answer.nearest.screened.least} instances are needed" in answer.summary


def test_a_replication_lasts_a_minute_at_any_rate_and_several_stays() -> None:
    for rate_hz in (2.0, 40.0, 300.0):
        fast = {**SMALL["traffic"], "rate_hz": rate_hz, "requests": None}
        demand = demand_of(read_plan(small(traffic=fast, replications=12)), 1)
        assert len(demand.runs[0]) / rate_hz >= 0.9 * 60
        assert sum(len(run) for run in demand.runs) <= 110_000
        assert len(demand.runs) >= 3
    slow = {**SMALL["traffic"], "requests": None}
    stays = demand_of(read_plan(small(traffic=slow, slo={"tpot_s": 1.0})), 1)
    assert len(stays.runs[0]) / 12 >= 0.9 * 5 * 0.5 * 120


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3, st.booleans()), min_size=1, max_size=12))
def test_the_front_is_what_nothing_allowed_dominates(rows: list[tuple[int, int, int, bool]]) -> None:
    table = np.array([row[:3] for row in rows], dtype=float)
    allowed = np.array([row[3] for row in rows])
    found = on_front(table, allowed)
    for i, row in enumerate(table):
        beaten = any(allowed[j] and (other <= row).all() and (other < row).any() for j, other in enumerate(table))
        assert found[i] == (allowed[i] and not beaten)


def test_a_percentile_is_that_of_all_replications_together() -> None:
    busy, calm = np.full(30, 10.0), np.full(70, 1.0)
    assert _jackknife([busy, calm], 70).value == 1.0
    assert _jackknife([busy, calm], 71).value == 10.0


def test_replications_that_agree_leave_no_doubt_and_one_or_two_tell_nothing() -> None:
    part = np.arange(1.0, 101.0)
    same = _jackknife([part, part, part], 99)
    assert (same.value, same.lo, same.hi) == (99.0, 99.0, 99.0)
    assert not _jackknife([part], 99).known
    assert not _jackknife([part, 2 * part], 99).known


@given(st.lists(st.lists(st.floats(1e-3, 1e3), min_size=2, max_size=30), min_size=3, max_size=6))
def test_intervals_of_percentiles_are_above_0_and_rise_with_the_percentile(parts: list[list[float]]) -> None:
    runs = tuple(SimpleNamespace(ttft_s=np.array(part)) for part in parts)
    outcome = Outcome(cast(Any, None), 1, Slo(1.0, None, 95.0), cast(Any, runs))
    found = [outcome.quantity("ttft_s", rank) for rank in (50, 90, 95, 99)]
    assert found[2] == outcome.ttft_s
    for quantity in found:
        assert 0 < quantity.lo <= quantity.value * (1 + 1e-9)
        assert quantity.value <= quantity.hi * (1 + 1e-9)
    for less, more in itertools.pairwise(found):
        assert less.lo <= more.lo
        assert less.hi <= more.hi


def test_the_jackknife_of_means_at_the_median_is_the_textbooks() -> None:
    parts = [np.array([1.0]), np.array([2.0]), np.array([9.0])]
    without = np.log([2.0, 1.0, 1.0])  # the lower median of what is left
    factor = math.exp(4.303 * math.sqrt(2 / 3 * ((without - without.mean()) ** 2).sum()))
    found = _jackknife(parts, 50)
    assert [found.value, found.lo, found.hi] == pytest.approx([2.0, 2.0 / factor, 2.0 * factor])


def test_the_largest_rate_that_keeps_a_limit_lies_on_the_curve() -> None:
    steady = Steady(
        np.array([1.0, 2.0, 4.0]), np.array([0.01, 0.02, 0.04]), np.array([100.0, 150.0, 200.0]), np.ones(3)
    )
    assert steady.most_hz(0.03) == pytest.approx(3.0)
    assert steady.most_hz(0.005) == 0.0
    assert steady.most_hz(None) == steady.most_hz(1.0) == 4.0
    assert steady.power_at(0.5, idle_w=60.0) == pytest.approx(80.0)


def test_replications_ask_for_the_rate_of_the_file_on_average() -> None:
    bursty = {"name": "azure-2023-conv", "rate_hz": 7.0, "requests": 400}
    demand = demand_of(read_plan(small(traffic=bursty, replications=5)), 3)
    requests = sum(len(run) for run in demand.runs)
    horizon = 400 / 7.0 * requests / (5 * 400)  # times were scaled by drawn over asked
    assert requests / (5 * horizon) == pytest.approx(7.0)
    assert all(run.arrival_s[-1] <= horizon for run in demand.runs)


def test_grown_demand_is_the_same_requests_sooner() -> None:
    demand = demand_of(read_plan(SMALL), 1)
    twice = demand.grown(2.0)
    assert twice.rate_hz == 2 * demand.rate_hz
    assert np.array_equal(twice.prompt, demand.prompt)
    assert np.allclose(twice.runs[0].arrival_s, demand.runs[0].arrival_s / 2)


def test_a_trace_gives_its_busiest_part(tmp_path: Path) -> None:
    slow, fast = np.arange(200) * 1.0, 200 + np.arange(300) * 0.1
    rows = [f"{t:.3f},{100 + i},{20}" for i, t in enumerate(np.concatenate([slow, fast]))]
    trace = tmp_path / "trace.csv.gz"
    trace.write_bytes(gzip.compress("\n".join(["arrival_s,prompt,generate", *rows]).encode()))
    demand = demand_of(read_plan(small(traffic=None, trace={"file": str(trace), "requests": 250})), 1)
    assert demand.rate_hz == pytest.approx(10.0)
    assert (len(demand.runs), len(demand.runs[0])) == (1, 250)
    assert demand.prompt.min() >= 300
    assert "busiest 250 requests in a row of the trace's 500" in demand.notes[0]


def test_the_setting_trace_takes_the_place_of_traffic(tmp_path: Path) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("arrival_s,prompt,generate\n" + "\n".join(f"{i},100,20" for i in range(120)))
    study = read_plan(SMALL, {"trace": str(trace)})
    assert study.traffic is None
    assert demand_of(study, 1).rate_hz == pytest.approx(1.0)
    assert demand_of(read_plan(SMALL, {"trace": str(trace), "trace.rate_hz": "5"}), 1).rate_hz == pytest.approx(5.0)


def test_slower_steps_are_faster_arrivals_in_stretched_time() -> None:
    study = read_plan(SMALL)
    demand = demand_of(study, 1)
    candidates, _ = candidates_of(study, sites_of(study), model_of(study), demand.longest)
    confirmer = Confirmer(study, demand, Profiles(candidates, demand.longest), 1)
    candidate = next(c for c in candidates if c.site.id == "h100-sxm")
    slow = confirmer.outcome(candidate, 1, slower=1.5, whole=True)
    fast = confirmer.outcome(candidate, 1, growth=1.5, whole=True)
    # not to the tick: what a cached token adds to a step is a whole number of ticks in either
    assert slow.ttft_s.value == pytest.approx(1.5 * fast.ttft_s.value, rel=1e-4)
    assert slow.tpot_s.value == pytest.approx(1.5 * fast.tpot_s.value, rel=1e-4)


def test_times_are_those_that_users_of_a_stack_see() -> None:
    stack = find_stack("vllm")
    plain, seen = (one_quiet_outcome(software) for software in ("", "vllm"))
    assert seen.tpot_s.value == pytest.approx(stack.step_factor * plain.tpot_s.value, rel=0.01)
    least = stack.first_factor * plain.ttft_s.value + stack.request_s
    assert least <= seen.ttft_s.value <= 1.3 * least + stack.seen_steps * seen.tpot_s.value


def one_quiet_outcome(software: str) -> Outcome:
    """Return an instance that has one request at a time, nearly always."""
    traffic = {"arrivals": "constant", "rate_hz": 0.5, "prompt": 500, "generate": 50, "requests": 100}
    study = read_plan(small(traffic=traffic, software=software, devices=["h100-sxm"], instance_devices=[1]))
    demand = demand_of(study, 1)
    candidates, _ = candidates_of(study, sites_of(study), model_of(study), demand.longest)
    return Confirmer(study, demand, Profiles(candidates, demand.longest), 1).outcome(candidates[0], 1, whole=True)


def test_the_closed_form_of_one_request_is_what_the_events_give() -> None:
    traffic = {"arrivals": "constant", "rate_hz": 0.5, "prompt": 500, "generate": 50, "requests": 100}
    for software in ("", "vllm"):
        study = read_plan(small(traffic=traffic, software=software, devices=["h100-sxm"], instance_devices=[1]))
        demand = demand_of(study, 1)
        candidates, _ = candidates_of(study, sites_of(study), model_of(study), demand.longest)
        (screened,), _ = screen(study, demand, candidates, Profiles(candidates, demand.longest))
        outcome = one_quiet_outcome(software)
        assert screened.form.ttft_alone_s == pytest.approx(outcome.ttft_s.value, rel=1e-3)
        assert screened.form.tpot_alone_s == pytest.approx(outcome.tpot_s.value, rel=1e-3)


def test_two_fleets_see_the_same_requests() -> None:
    study = read_plan(SMALL)
    demand = demand_of(study, 1)
    candidates, _ = candidates_of(study, sites_of(study), model_of(study), demand.longest)
    confirmer = Confirmer(study, demand, Profiles(candidates, demand.longest), 1)
    arrivals = [confirmer.outcome(c, 2, whole=True).runs[0].arrival_s for c in (candidates[0], candidates[-1])]
    assert np.array_equal(arrivals[0], arrivals[1])
