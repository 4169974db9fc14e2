"""Energy of DRAM: by hand from currents, and the closed form against the events; the compiled kernel gives the same."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.stats import spearmanr

from archcast.searching.knobs import planned
from archcast.searching.problem import evaluate
from archcast.searching.problems import dram_controller as module
from archcast.searching.problems.dram_controller import DramController
from archcast.searching.space import DesignSpace
from simulator.dram.closed_form import ClosedForm
from simulator.dram.configuration import Configuration
from simulator.dram.device import DDR4_2400
from simulator.dram.kernel_compiled import installed
from simulator.dram.power import Costs, union_length
from simulator.dram.run import simulate
from simulator.dram.traces import Trace, make_trace


@cache
def controller(events: bool = False, trace: str = "random", load: float = 0.3, seed: int = 1) -> DramController:
    knobs = tuple(planned(name, module.SPACE[name], kind).knob() for name, kind in module.KNOBS.items())
    build = module.DESIGN.fidelities["events"] if events else module.DESIGN.build
    fixed = {**module.FIXED_DEFAULTS, "trace": trace, "load": load, "requests": 300, "seed": seed}
    return build(DesignSpace(knobs), module.OBJECTIVES, (), fixed, None, None)  # type: ignore


def some(problem: DramController, count: int) -> dict[str, np.ndarray]:
    return problem.space.columns(problem.space.codes(np.random.default_rng(0).integers(0, problem.space.size, count)))


def test_energy_of_one_read_is_that_of_its_commands_and_the_background() -> None:
    run = simulate(DDR4_2400, Configuration(RefreshPolicy="NoRefresh"), Trace.of(*np.zeros((3, 1), dtype=int)))
    core = 8 * 1.2 * 1e-3 / 1.2e9  # volts x chips x milliamperes x cycles
    activate = core * (60.75 * 55 - 44.0 * 39 - 38.25 * 16) + 8 * 2.5 * 1e-3 / 1.2e9 * (4.05 * 55 - 3.0 * 55)
    read = core * (184.5 - 44.0) * 4
    background = (core * 44.0 + 8 * 2.5 * 1e-3 / 1.2e9 * 3.0) * 36
    assert run.energy.activate_j == pytest.approx(activate, rel=1e-12)
    assert run.energy.read_j == pytest.approx(read, rel=1e-12)
    assert run.energy.background_j == pytest.approx(background, rel=1e-12)
    assert run.energy_j == pytest.approx(activate + read + background, rel=1e-12)
    assert run.power_w == pytest.approx(run.energy_j / 30e-9)


def test_an_idle_channel_draws_no_less_than_powered_down_and_no_more_than_active() -> None:
    costs = Costs.of(DDR4_2400)
    trace = make_trace("random", 50, 0.001, DDR4_2400)
    for page in ("Open", "Closed"):
        for down in ("NoPowerDown", "Staggered"):
            run = simulate(DDR4_2400, Configuration(PagePolicy=page, PowerDownPolicy=down), trace)
            background_w = run.energy.background_j / run.duration_s
            assert costs.precharged_down_w <= background_w <= costs.active_w


def test_overlapping_spans_are_counted_once() -> None:
    assert union_length(np.array([0, 2, 10]), np.array([5, 4, 12])) == 7


@pytest.mark.skipif(not installed(), reason="the compiled kernel needs numba: pip install archcast[fast]")
@pytest.mark.slow
def test_the_compiled_kernel_issues_the_same_commands() -> None:
    random = np.random.default_rng(3)
    problem = controller()
    for number in random.integers(0, problem.space.size, 12):
        values = problem.space.values(problem.space.codes(np.array([number]))[:, 0])
        trace = make_trace("cloud-1", 300, 0.7, DDR4_2400, int(number) % 1000)
        one, two = (simulate(DDR4_2400, Configuration.of(values), trace, compiled=c) for c in (False, True))
        assert np.array_equal(one.final, two.final)
        assert np.array_equal(one.commands.cycle, two.commands.cycle)
        assert np.array_equal(one.commands.kind, two.commands.kind)


def test_the_closed_form_ranks_controllers_as_the_events_do() -> None:
    low, high = (evaluate(controller(events), some(controller(), 80)) for events in (False, True))
    for name in ("latency_s", "power_w", "energy_j"):
        assert spearmanr(low.values[name], high.values[name])[0] > 0.6, name


def test_the_closed_form_is_right_where_nothing_queues() -> None:
    trace = make_trace("random", 400, 0.01, DDR4_2400)
    alone = Configuration(PagePolicy="Closed", RefreshPolicy="NoRefresh")
    run, knobs = simulate(DDR4_2400, alone, trace), alone.knobs
    found = ClosedForm(DDR4_2400, trace).estimate(type(knobs)(*(np.array([float(x)]) for x in knobs)))
    assert found.latency_s[0] == pytest.approx(run.latency_s, rel=0.03)
    assert found.energy_j[0] == pytest.approx(run.energy_j, rel=0.05)


def test_designs_are_worth_the_same_alone_and_among_others() -> None:
    for events in (False, True):
        problem = controller(events)
        columns = some(problem, 6)
        whole = evaluate(problem, columns).values["latency_s"]
        alone = evaluate(problem, {name: column[4:5] for name, column in columns.items()}).values["latency_s"]
        assert alone[0] == whole[4]


def test_the_space_that_ships_has_archgyms_names_and_a_hundred_thousand_designs() -> None:
    assert list(module.KNOBS) == [
        "PagePolicy", "Scheduler", "SchedulerBuffer", "RequestBufferSize", "CmdMux", "RespQueue", "RefreshPolicy",
        "RefreshMaxPostponed", "RefreshMaxPulledin", "PowerDownPolicy", "Arbiter", "MaxActiveTransactions",
    ]  # fmt: skip
    assert controller().space.size > 1e5


def test_another_seed_draws_another_trace() -> None:
    one, two = controller(seed=1).trace, controller(seed=2).trace
    assert not np.array_equal(one.address, two.address)
    assert np.array_equal(one.address, controller(seed=1).trace.address)
