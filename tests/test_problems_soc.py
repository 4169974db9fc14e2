"""The space `soc`: schedules by hand, rules that every schedule keeps, and what more of a part does."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from archcast.searching.knobs import planned
from archcast.searching.problem import evaluate
from archcast.searching.problems import soc as module
from archcast.searching.problems.soc import NO_CORE, Soc
from archcast.searching.space import DesignSpace
from simulator.soc import parts
from simulator.soc.graphs import CLASSES, GRAPHS, Task
from simulator.soc.schedule import Chips, ranked, schedule


@cache
def chips(graph: str = "cava") -> Soc:
    knobs = tuple(planned(name, module.SPACE[name], kind).knob() for name, kind in module.KNOBS.items())
    return module.DESIGN.build(DesignSpace(knobs), module.OBJECTIVES, (), {"graph": graph}, None, None)  # type: ignore


def chip(big: int = 1, little: int = 0, stencil: int = 0, sram: float = 0.0) -> Chips:
    one = np.ones(1)
    lanes = {kind: one * (stencil if kind == "stencil" else 0) for kind in CLASSES[1:]}
    return Chips(
        one * big, one * little, one * 2.4e9, lanes, one * 16, one * sram, one * 6.4e9, one * 32e-12, one, one * 0
    )


def test_tasks_on_one_core_take_the_sum_of_their_times() -> None:
    graph = (Task("a", "control", 14.4e6, 1e6), Task("b", "stencil", 28.8e6, 0.0, ("a",)))
    found = schedule(graph, chip())
    assert found.latency_s[0] == pytest.approx(3e-3)  # 6 operations a cycle at 2.4 GHz
    idle = parts.BIG.idle_w * 3e-3
    assert found.energy_j[0] == pytest.approx(43.2e6 * 60e-12 + idle)


def test_an_accelerator_takes_its_start_and_what_it_reads() -> None:
    graph = (Task("a", "control", 14.4e6, 1e6), Task("b", "stencil", 28.8e6, 0.0, ("a",)))
    found = schedule(graph, chip(stencil=120))
    assert found.latency_s[0] == pytest.approx(1e-3 + 1e6 / 6.4e9 + 5e-6 + 28.8e6 / (120 * 1.2e9))
    inside = schedule(graph, chip(stencil=120, sram=2e6))
    assert inside.latency_s[0] == pytest.approx(1e-3 + 1e6 / (16 * 1.2e9) + 5e-6 + 0.2e-3)


def test_tasks_that_do_not_wait_for_each_other_run_side_by_side() -> None:
    graph = (Task("a", "control", 14.4e6, 0.0), Task("b", "control", 14.4e6, 0.0))
    assert schedule(graph, chip(big=2)).latency_s[0] == pytest.approx(1e-3)
    assert schedule(graph, chip(big=1)).latency_s[0] == pytest.approx(2e-3)


@pytest.mark.parametrize("name", list(GRAPHS))
def test_every_schedule_keeps_order_and_runs_one_task_a_unit_at_a_time(name: str):
    problem, graph = chips(name), GRAPHS[name]
    codes = problem.space.codes(np.random.default_rng(0).integers(0, problem.space.size, 50))
    found = problem.scheduled(problem.space.columns(codes))
    names = [task.name for task in graph]
    for i in np.flatnonzero(found.feasible):
        for place, task in enumerate(graph):
            assert all(found.end_s[names.index(one), i] <= found.start_s[place, i] for one in task.after)
        for unit in set(found.unit[:, i]):
            mine = np.flatnonzero(found.unit[:, i] == unit)
            order = mine[np.argsort(found.start_s[mine, i])]
            assert (found.start_s[order[1:], i] >= found.end_s[order[:-1], i]).all()
    places = ranked(graph)
    assert all(places.index(names.index(one)) < places.index(k) for k, task in enumerate(graph) for one in task.after)


def test_a_chip_without_a_core_is_refused() -> None:
    problem = chips()
    codes = np.zeros((len(problem.space.knobs), 1), dtype=int)
    found = evaluate(problem, problem.space.columns(codes))
    assert found.reasons[found.reason[0] - 1] == NO_CORE


def test_a_chip_is_worth_the_same_alone_and_among_others_and_more_parts_take_more_area() -> None:
    problem = chips()
    codes = problem.space.codes(np.random.default_rng(5).integers(0, problem.space.size, 30))
    whole = evaluate(problem, problem.space.columns(codes))
    for i in range(0, 30, 7):
        alone = evaluate(problem, problem.space.columns(codes[:, i : i + 1]))
        for name in module.OBJECTIVES:
            assert np.array_equal(alone.values[name], whole.values[name][i : i + 1], equal_nan=True)
    for knob in ("big_cores", "stencil_lanes", "sram_bytes", "network_bytes"):
        place = [one.name for one in problem.space.knobs].index(knob)
        low, high = codes.copy(), codes.copy()
        low[place], high[place] = 0, len(problem.space.knobs[place].values) - 1
        areas = [evaluate(problem, problem.space.columns(one)).values["area_mm2"] for one in (low, high)]
        assert (areas[0] < areas[1]).all()
