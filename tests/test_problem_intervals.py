"""Intervals of the spaces `dram-controller` and `offloading`: what they hold, and that they hold it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from archcast.environments import make
from archcast.searching.problem import evaluate
from archcast.searching.problems import dram_controller, offloading
from archcast.searching.search_file import read_search
from simulator.dram.device import DRAWN, find_dram
from simulator.dram.power import Costs

MODULES: dict[str, Any] = {"dram-controller": dram_controller, "offloading": offloading}


def problem(name: str, fidelity: str, **fixed: Any) -> Any:
    module = MODULES[name]
    file = {"kind": "search", "design": name, "space": module.SPACE, "fixed": fixed,
            "objectives": list(module.OBJECTIVES), "fidelity": fidelity}  # fmt: skip
    return read_search(file).problem


def drawn(found: Any, count: int, seed: int = 3) -> np.ndarray[Any, Any]:
    shape = np.array(found.space.shape)
    return (np.random.default_rng(seed).random((len(shape), count)) * shape[:, None]).astype(np.int64)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("fidelity", ["closed_form", "events"])
def test_every_value_lies_in_its_interval_and_is_that_of_the_search(name: str, fidelity: str) -> None:
    found = problem(name, fidelity)
    codes = drawn(found, 6)
    values = evaluate(found, found.space.columns(codes)).values
    for i, shown in enumerate(found.details(codes)):
        for value in MODULES[name].VALUES:
            assert shown[value]["value"] == pytest.approx(values[value][i], rel=1e-12)
            assert shown[value]["lo"] <= shown[value]["value"] <= shown[value]["hi"]


@pytest.mark.parametrize("channel", ["ddr4-2400", "lpddr4-3200"])
def test_energy_by_events_is_what_chips_may_draw_and_times_are_exact(channel: str) -> None:
    found = problem("dram-controller", "events", channel=channel, requests=200)
    for shown in found.details(drawn(found, 4)):
        for name in ("latency_s", "duration_s"):
            assert shown[name]["lo"] == shown[name]["hi"] == shown[name]["value"]
        for name in ("energy_j", "power_w"):
            assert shown[name]["lo"] == pytest.approx(DRAWN[0] * shown[name]["value"])
            assert shown[name]["hi"] < 1.03 * shown[name]["value"]


def test_the_word_line_supply_draws_up_to_four_milliamperes() -> None:
    ddr4, lpddr4 = find_dram("ddr4-2400"), find_dram("lpddr4-3200")
    most, sheet = Costs.of(ddr4.drawing(1)), Costs.of(ddr4)
    assert most.precharged_w - sheet.precharged_w == pytest.approx(8 * 2.5 * 1e-3)
    assert Costs.of(lpddr4.drawing(1)) == Costs.of(lpddr4)
    assert lpddr4.drawing(0).timing == lpddr4.timing


@pytest.mark.parametrize("trace", ["cloud-1", "random", "stream"])
def test_events_lie_within_the_intervals_of_the_closed_form_on_another_trace(trace: str) -> None:
    fixed = {"trace": trace, "load": 0.6, "seed": 77, "requests": 600}
    closed, events = (problem("dram-controller", one, **fixed) for one in ("closed_form", "events"))
    codes = drawn(closed, 30, seed=9)
    values = evaluate(events, events.space.columns(codes)).values
    inside = [
        shown[name]["lo"] <= values[name][i] <= shown[name]["hi"]
        for i, shown in enumerate(closed.details(codes)) for name in dram_controller.VALUES
    ]  # fmt: skip
    assert np.mean(inside) >= 0.8


def share_inside(source: Any, other: Any, codes: np.ndarray[Any, Any]) -> float:
    """Return how many values of one problem lie within the intervals of another."""
    values = evaluate(other, other.space.columns(codes)).values
    inside = [
        shown[name]["lo"] <= values[name][i] <= shown[name]["hi"]
        for i, shown in enumerate(source.details(codes)) for name in ("latency_s", "energy_j")
    ]  # fmt: skip
    return float(np.mean(inside))


def test_runs_and_other_draws_lie_within_the_intervals_of_offloading() -> None:
    asked = {"users": 12, "rate_hz": 3.0, "tasks": 300}
    closed, events, other = (
        problem("offloading", one, **asked, seed=seed)
        for one, seed in (("closed_form", 5), ("events", 5), ("events", 6))
    )
    codes = drawn(closed, 24, seed=5)
    assert share_inside(closed, events, codes) >= 0.8
    assert share_inside(events, other, codes) >= 0.8
    assert all(shown["capacity_hz"]["lo"] == shown["capacity_hz"]["hi"] for shown in closed.details(codes))


@pytest.mark.parametrize("name", MODULES)
def test_an_environment_shows_the_interval(name: str) -> None:
    env = make(name)
    env.reset(seed=0)
    env.action_space.seed(0)
    info = next(info for _ in range(50) if (info := env.step(env.action_space.sample())[4])["feasible"])
    low, high = info["interval"]["energy_j"]
    assert low < info["energy_j"] < high
