"""The space `daq-chain`: queues with known answers, closed form against events, and what thresholds keep."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from archcast.searching.knobs import planned
from archcast.searching.problem import evaluate
from archcast.searching.problems import daq_chain as module
from archcast.searching.problems.daq_chain import LINKS, DaqChain
from archcast.searching.run import search
from archcast.searching.space import DesignSpace
from simulator.pipelines.small_chain import Chains, erlang_b, estimate, kept_signal, simulate

LOSSLESS = {
    "kind": "search", "design": "daq-chain", "fixed": {"events": 500}, "objectives": ["loss", "power_w", "latency_s"],
    "space": {"first_reduction": [2000, 4000], "links": [16, 64], "nodes": [20, 100], "places": [0, 1000]},
}  # fmt: skip
"""Some of its designs lose nothing."""


@cache
def problem(events: bool = False, seed: int = 1) -> DaqChain:
    knobs = tuple(planned(name, module.SPACE[name], kind).knob() for name, kind in module.KNOBS.items())
    build = module.DESIGN.fidelities["events"] if events else module.DESIGN.build
    fixed = {**module.FIXED_DEFAULTS, "seed": seed}
    return build(DesignSpace(knobs), module.OBJECTIVES, (), fixed, None, None)  # type: ignore


def some(count: int) -> dict[str, np.ndarray]:
    space = problem().space
    return space.columns(space.codes(np.random.default_rng(6).integers(0, space.size, count)))


def chain(servers: float, places: float, load: float, link_s: float = 1e-9) -> Chains:
    one = np.ones(1)
    return Chains(1000.0 * load, one, one * 2, 3.0, 3.0, 1.0, one / link_s, one * servers, one * places, 1e-3)


def test_erlangs_table_is_met() -> None:
    assert erlang_b(np.array([1.0, 5.0, 20.0]), np.array([1.0, 10.0, 30.0])) == pytest.approx(
        [0.5, 0.018385, 0.008459], rel=1e-3
    )


def test_one_server_with_places_is_m_m_1_k() -> None:
    r, k = 0.8, 4
    found = estimate(chain(1, k - 1, r))
    assert found.loss[0] == pytest.approx((1 - r) * r**k / (1 - r ** (k + 1)))
    mean = r * (1 - (k + 1) * r**k + k * r ** (k + 1)) / ((1 - r) * (1 - r ** (k + 1)))
    assert found.latency_s[0] == pytest.approx(mean / (800 * (1 - found.loss[0])), rel=1e-6)


def test_links_are_m_d_1() -> None:
    found = estimate(chain(50, 50, 0.6, link_s=1e-3))
    assert found.latency_s[0] == pytest.approx(1e-3 + 1e-3 * 0.6 / (2 * 0.4) + 1e-3)


@pytest.mark.parametrize(("servers", "places", "load"), [(1, 3, 0.8), (8, 0, 7.0), (8, 20, 9.0)])
def test_events_meet_the_closed_form(servers: int, places: int, load: float) -> None:
    random = np.random.default_rng(9)
    one, count = chain(servers, places, load), 300_000
    loss, latency, busy = simulate(one, 0, random.exponential(1, count), random.exponential(1, count))
    found = estimate(one)
    assert loss == pytest.approx(found.loss[0], abs=0.006)
    assert latency == pytest.approx(found.latency_s[0], rel=0.04)
    assert busy == pytest.approx(found.busy[0], rel=0.03)


def test_a_tighter_threshold_keeps_less_and_blind_levels_keep_their_share() -> None:
    kept = kept_signal(np.array([0.5, 0.1, 0.01]), 3.0)
    assert (np.diff(kept) < 0).all()
    assert kept_signal(np.array([0.1]), 0.0)[0] == pytest.approx(0.1)


def test_closed_form_and_events_rank_designs_alike() -> None:
    low, high = (evaluate(problem(events), some(60)) for events in (False, True))
    assert np.array_equal(low.feasible, high.feasible)
    both = low.feasible
    for name in ("missed", "latency_s", "power_w"):
        assert spearmanr(low.values[name][both], high.values[name][both])[0] > 0.9, name


def test_an_overloaded_farm_with_many_places_is_the_sum_over_its_states() -> None:
    servers, places, load = 6, 1500, 60.0
    n = np.arange(servers + places + 1)
    logs = n * np.log(load) - np.cumsum(np.log(np.clip(n, 1, servers)))
    state = np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum()
    found = estimate(chain(servers, places, load))
    assert found.loss[0] == pytest.approx(state[-1])
    waiting = (state * np.maximum(n - servers, 0)).sum()
    kept_hz = 1000 * load * (1 - state[-1])
    assert found.latency_s[0] == pytest.approx(waiting / kept_hz + 1e-3 + 1e-9, rel=1e-6)


def test_no_more_cores_work_than_there_are() -> None:
    random = np.random.default_rng(4)
    _, _, busy = simulate(chain(3, 500, 30.0), 0, random.exponential(1, 2000), random.exponential(1, 2000))
    assert 2.9 < busy <= 3


def held(events: bool, name: str, columns: dict[str, np.ndarray]) -> float:
    """Return the share of other runs' values within the ends."""
    details = problem(events, seed=3).details(problem().space.codes_of(columns))
    lo, hi = (np.array([one[name][end] for one in details]) for end in ("lo", "hi"))
    assert (lo <= hi).all()
    runs = [evaluate(problem(True, seed), columns).values[name] for seed in (21, 22, 23)]
    return float(np.mean([(lo * (1 - 1e-9) <= run) & (run <= hi * (1 + 1e-9)) for run in runs]))


def kept(columns: dict[str, np.ndarray], which: np.ndarray, most: int = 40) -> dict[str, np.ndarray]:
    return {name: column[which][:most] for name, column in columns.items()}


@pytest.mark.parametrize("events", [False, True])
def test_the_latency_of_another_run_lies_within_nine_times_of_ten(events: bool) -> None:
    columns = some(80)
    assert 0.8 < held(events, "latency_s", kept(columns, evaluate(problem(), columns).feasible)) <= 1


@pytest.mark.parametrize("events", [False, True])
def test_rare_losses_of_another_run_lie_within_nine_times_of_ten(events: bool) -> None:
    columns = some(4000)
    lost = problem().means(columns)[0]
    rare = (problem().fullness(columns) == 0) & (lost * 5000 > 1) & evaluate(problem(), columns).feasible
    assert rare.sum() >= 10
    for name in ("loss", "missed"):
        assert 0.75 < held(events, name, kept(columns, rare, 20)) <= 1, name
    details = problem(events).details(problem().space.codes_of(kept(columns, rare, 20)))
    assert all(one["loss"]["lo"] < one["loss"]["hi"] for one in details)


def test_power_has_what_idle_cores_may_draw_and_how_technology_may_grow() -> None:
    columns = {**some(1), "year": np.array([2022.0]), "links": np.array([32.0]), "link_bits_per_s": np.array([400e9])}
    found = problem(True).details(problem().space.codes_of(columns))[0]
    busy = problem(True).means(columns)[2]
    cores = float(columns["nodes"][0] * columns["cores"][0])
    assert found["power_w"]["value"] == pytest.approx(8 * (0.4 * cores + 0.6 * busy[0]) + 5 * 32)
    assert found["power_w"]["lo"] < 8 * (0.2 * cores + 0.8 * busy[0]) + 5 * 32 < found["power_w"]["value"]
    assert found["power_w"]["hi"] > 8 * (0.6 * cores + 0.4 * busy[0]) + 5 * 32
    assert found["price_usd"]["lo"] == found["price_usd"]["hi"]
    later = problem(True).details(problem().space.codes_of({**columns, "year": np.array([2030.0])}))[0]["power_w"]
    assert later["hi"] / later["lo"] > 2 * found["power_w"]["hi"] / found["power_w"]["lo"]


def test_links_that_carry_too_little_are_refused() -> None:
    found = evaluate(problem(), some(300))
    columns = some(300)
    offered = 40e6 / columns["first_reduction"] * 2e6 * 8
    assert np.array_equal(found.reason > 0, offered >= columns["links"] * columns["link_bits_per_s"])
    assert LINKS in found.reasons


def test_later_years_take_less_power_and_seeds_differ() -> None:
    columns = some(4)
    early, late = ({**columns, "year": np.full(4, year)} for year in (2022.0, 2030.0))
    powers = [problem()._values(one, np.ones((3, 4)))["power_w"] for one in (early, late)]
    assert (powers[1] < powers[0] / 3).all()
    wide = {**columns, "links": np.full(4, 32.0), "link_bits_per_s": np.full(4, 400e9)}
    first, second = (evaluate(problem(True, seed), wide).values["latency_s"] for seed in (1, 2))
    assert (first != second).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("how", [{}, {"method": "random", "evaluations": 12}])
def test_a_front_that_loses_nothing_has_a_volume_and_steps_for_what_is_left_to_lower(how: dict[str, Any]) -> None:
    said = search(LOSSLESS, fidelity="events", **how).to_json()
    assert {one["loss"]["value"] for one in said["front"]} == {0.0}
    assert 0 < said["hypervolume_share"] <= 1
    found = search(LOSSLESS)  # in closed form, of which steps are asked
    lossless = found.values[:, 0] == 0
    assert lossless.any()
    assert not any("loss" in binds for binds, none in zip(found.binds, lossless, strict=True) if none)
    assert any("power_w" in binds for binds in found.binds)


def test_an_overloaded_farm_whose_buffers_a_short_run_cannot_fill_is_remarked_on() -> None:
    space = {"first_reduction": 1000, "links": 64, "link_bits_per_s": 400e9, "nodes": 20, "places": [0, 20_000]}
    file = {**LOSSLESS, "space": space, "objectives": ["loss", "latency_s"], "fidelity": "events",
            "fixed": {"events": 5000}}  # fmt: skip
    answer = search(file)  # 160 cores' work for 80: half is lost in the end
    shown = {one["knobs"]["places"]: one for one in answer.front}
    assert shown[20_000]["loss"]["value"] == 0
    assert "too short" in shown[20_000]["remark"]
    assert shown[0]["loss"]["value"] == pytest.approx(0.5, abs=0.05)
    assert any(note.startswith("1 of 2 designs on the front: the farm is offered more") for note in answer.notes)
    assert answer.notes[0].startswith("40,000,000 crossings a second through two levels, 5,000 events")
    assert not any("remark" in one for one in search({**file, "fidelity": "closed_form"}).front)
