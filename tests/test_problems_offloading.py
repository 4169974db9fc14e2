"""The space `offloading`: closed form against runs, queues by hand, and designs that depend on themselves alone."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.stats import spearmanr

from archcast.searching.knobs import planned
from archcast.searching.problem import evaluate
from archcast.searching.problems import offloading as module
from archcast.searching.problems.offloading import OffloadingProblem
from archcast.searching.space import DesignSpace
from simulator.offloading.closed_form import Systems, estimate, shares


@cache
def problem(events: bool = False, seed: int = 1, tasks: int = 300) -> OffloadingProblem:
    knobs = tuple(planned(name, module.SPACE[name], kind).knob() for name, kind in module.KNOBS.items())
    build = module.DESIGN.fidelities["events"] if events else module.DESIGN.build
    fixed = {**module.FIXED_DEFAULTS, "tasks": tasks, "seed": seed}
    return build(DesignSpace(knobs), module.OBJECTIVES, (), fixed, None, None)  # type: ignore


def some(count: int) -> dict[str, np.ndarray]:
    space = problem().space
    return space.columns(space.codes(np.random.default_rng(2).integers(0, space.size, count)))


def systems(policy: int, rate_hz: float) -> Systems:
    one = np.ones((1, 2))
    return Systems(one > 0, one * 0.5, one * 0.1, np.array([[0.0, 1.0]]), one * 2.0, one * 0.5, np.array([policy]),
                   np.array([0.5]), rate_hz, 100)  # fmt: skip


def test_a_lone_server_is_a_queue_that_shares_itself() -> None:
    delay, joules = estimate(systems(1, 1.0))  # all to the cloud: load 0.5
    assert delay[0] == pytest.approx(0.1 + 0.5 / (1 - 0.5))
    assert joules[0] == pytest.approx(2.5)
    apart, _ = estimate(systems(0, 1.0))  # half each: load 0.25
    assert apart[0] == pytest.approx(0.1 + 0.5 / (1 - 0.25))


def test_shares_of_every_policy_add_up_to_one() -> None:
    for policy in range(5):
        assert shares(systems(policy, 1.0)).sum() == pytest.approx(1.0)


def test_more_than_a_server_does_piles_up() -> None:
    assert estimate(systems(1, 10.0))[0][0] > 10 * estimate(systems(1, 1.0))[0][0]


def test_closed_form_and_runs_rank_designs_alike() -> None:
    low, high = (evaluate(problem(events), some(40)) for events in (False, True))
    assert spearmanr(low.values["latency_s"], high.values["latency_s"])[0] > 0.85
    assert spearmanr(low.values["energy_j"], high.values["energy_j"])[0] > 0.8


def test_designs_are_worth_the_same_alone_and_among_others_and_seeds_differ() -> None:
    for events in (False, True):
        columns = some(6)
        whole = evaluate(problem(events), columns).values["latency_s"]
        alone = evaluate(problem(events), {name: column[3:4] for name, column in columns.items()}).values["latency_s"]
        assert alone[0] == whole[3]
        assert (evaluate(problem(events, seed=2), columns).values["latency_s"] != whole).any()
