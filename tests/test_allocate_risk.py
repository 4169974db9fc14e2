"""Budgets under uncertainty: chance constraints, upper ends, Gamma at once, and choose now, correct later."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.allocating.chance import asked_of_tuning, coverage, solve_chance
from archcast.allocating.exact import solve_exact
from archcast.allocating.knapsack import Knapsack, knapsack
from archcast.allocating.robust import solve_gamma, solve_upper, worst_use
from archcast.allocating.scenarios import Cases, SharedErrors, as_scenarios, within
from archcast.allocating.two_stage import BudgetSet, TwoStage, master, reserve, solve_two_stage
from foundation.errors import BadValueError


def instance(seed: int, items: int = 5, options: int = 3, budgets: int = 2) -> tuple[Knapsack, np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    cost = rng.uniform(1, 10, (items, options, budgets))
    value = cost.mean(axis=2) * rng.uniform(0.5, 1.5, (items, options))
    spread = cost * rng.uniform(0, 0.6, cost.shape)
    least = cost.min(axis=1).sum(axis=0)
    return knapsack(value, cost, least * rng.uniform(1.1, 1.6)), spread


def choices(problem: Knapsack) -> list[np.ndarray[Any, Any]]:
    return [np.array(c) for c in itertools.product(range(problem.value.shape[1]), repeat=problem.items)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 1.0, 1.5, 2.0, 5.0]))
def test_gamma_at_once_equals_brute_force_over_choices_and_subsets(seed: int, gamma: float) -> None:
    """The worst of at most Gamma items at their upper ends is the Gamma largest spreads; every choice is tried."""
    problem, spread = instance(seed)
    good = [c for c in choices(problem) if (worst_use(problem, spread, gamma, c) <= problem.budget).all()]
    found = solve_gamma(problem, spread, gamma)
    if not good:
        assert not found.feasible
        return
    best = max(problem.worth(c) for c in good)
    assert found.value == pytest.approx(best, rel=1e-6)
    assert found.bound >= best - 1e-6
    assert (worst_use(problem, spread, gamma, found.choice) <= problem.budget).all()


def test_the_worst_of_two_at_once_is_the_two_largest_by_hand() -> None:
    problem = knapsack([[1], [1], [1]], [[2], [3], [4]], 100)
    spread = np.array([[[1.0]], [[5.0]], [[3.0]]])
    choice = np.zeros(3, dtype=int)
    assert worst_use(problem, spread, 2, choice).tolist() == [9 + 8]
    assert worst_use(problem, spread, 1.5, choice).tolist() == [9 + 5 + 1.5]
    assert worst_use(problem, spread, 9, choice).tolist() == [18]


def test_more_that_may_go_wrong_never_buys_more_and_all_of_it_is_the_box() -> None:
    problem, spread = instance(4, items=8, options=4)
    worth = [solve_gamma(problem, spread, g).value for g in (0, 1, 2, 4, 8)]
    assert all(a >= b - 1e-9 for a, b in itertools.pairwise(worth))
    assert worth[0] == pytest.approx(solve_exact(problem).value)
    assert worth[-1] == pytest.approx(solve_upper(problem, spread).value)


def test_large_gamma_problems_hold_and_come_near_their_bound() -> None:
    rng = np.random.default_rng(2)
    cost = rng.uniform(1, 10, (250, 9, 2))
    problem = knapsack(rng.uniform(0, 10, (250, 9)), cost, cost.mean(axis=1).sum(axis=0) * 0.7)
    spread = cost * rng.uniform(0, 0.5, cost.shape)
    found = solve_gamma(problem, spread, 20)
    assert (worst_use(problem, spread, 20, found.choice) <= problem.budget).all()
    assert found.gap < 0.003


def joint_cases(seed: int, problem: Knapsack, n: int, sigma: float = 0.25) -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(seed)
    shared, own = rng.normal(size=(n, 1, 1, 1)), rng.normal(size=(n, *problem.cost.shape))
    return np.asarray(problem.cost * np.exp(sigma * (0.8 * shared + 0.6 * own)))


@pytest.mark.parametrize("method", ["enumeration", "scenario program"])
def test_a_small_chance_problem_is_the_best_of_all_choices_on_its_cases(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the tuning cases equal to those that make the choice, brute force over choices finds the same worth."""
    if method != "enumeration":
        monkeypatch.setattr("archcast.allocating.chance.MOST_CHOICES", 0)
    tight, _ = instance(11, items=4)
    problem = knapsack(tight.value, tight.cost, tight.budget * 2)
    part = joint_cases(1, problem, 60)
    doubled = np.repeat(part, 2, axis=0)  # every second case is for tuning
    found = solve_chance(problem, doubled, probability=0.9, fresh=part)
    best = max(
        problem.worth(c) for c in choices(problem)
        if (coverage(problem, Cases(part), c) >= asked_of_tuning(0.9, 60)).all()
    )  # fmt: skip
    assert found.method == method
    assert found.solution.value == pytest.approx(best)
    assert (found.in_sample >= 0.9).all()


def test_tuning_cases_must_keep_a_standard_error_more() -> None:
    assert asked_of_tuning(0.9, 900) == pytest.approx(0.91)
    assert asked_of_tuning(0.95, 10) == pytest.approx(0.9)  # of ten cases nine


def test_a_budget_with_room_for_the_safest_choice_only_gets_it() -> None:
    """One option an item uses 0.9 of the other at 0.95: only with it does the budget hold often enough."""
    cost = np.tile([[0.9], [1.0]], (30, 1, 1)).reshape(30, 2, 1) + np.zeros((30, 2, 1))
    problem = knapsack(np.tile([1.0, 2.0], (30, 1)), cost, 30 * 0.9 * np.exp(0.25 * 1.75))
    shared = np.random.default_rng(1).normal(size=(3000, 1, 1, 1))
    found = solve_chance(problem, cost * np.exp(0.25 * shared), probability=0.95)
    assert found.solution.feasible
    assert found.out_of_sample[0] >= 0.95
    assert (found.solution.choice == 0).sum() >= 25


@pytest.mark.parametrize("joint", [False, True])
def test_budgets_hold_as_often_as_asked_on_cases_that_had_no_part(joint: bool) -> None:
    rng = np.random.default_rng(8)
    cost = rng.uniform(1, 10, (40, 6, 2))
    problem = knapsack(cost.mean(axis=2) ** 0.7 + rng.uniform(0, 1, (40, 6)), cost, cost.mean(axis=1).sum(axis=0) * 0.9)
    found = solve_chance(problem, joint_cases(3, problem, 3000), probability=0.95, joint=joint)
    fresh = coverage(problem, Cases(joint_cases(99, problem, 3000)), found.solution.choice, joint)
    assert found.method == "safety factor"
    assert found.kept
    assert (fresh >= 0.935).all()
    assert (found.nominal_coverage < 0.7).all()
    assert 0 < found.price < 0.4
    assert (found.assured <= found.out_of_sample).all()


def test_shared_errors_equal_the_same_cases_written_out() -> None:
    problem, _ = instance(5)
    rng = np.random.default_rng(0)
    group = rng.integers(0, 2, problem.value.shape)
    normal = rng.normal(size=(50, 2))
    down, up = rng.uniform(0.1, 0.3, problem.cost.shape), rng.uniform(0.1, 0.5, problem.cost.shape)
    held = SharedErrors(problem.cost, down, up, group, normal)
    z = normal[:, group][..., None]
    written = Cases(problem.cost * np.exp(np.where(z < 0, down, up) * z))
    choice = rng.integers(0, 3, problem.items)
    np.testing.assert_allclose(held.totals(choice), written.totals(choice))
    np.testing.assert_allclose(held.mean(), written.mean())
    np.testing.assert_allclose(held.quantile(0.9), written.quantile(0.9))
    np.testing.assert_allclose(held.part(np.arange(7)).mean(), written.part(np.arange(7)).mean())


def test_limits_of_single_choices_are_masks() -> None:
    samples = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10]).reshape(10, 1, 1) * np.array([[1.0, 2.0]])
    assert within(samples, 9, 0.9).tolist() == [[True, False]]
    assert within(samples, 20, 0.95).tolist() == [[True, True]]


def test_scenarios_of_another_shape_or_too_few_are_refused() -> None:
    problem, _ = instance(1)
    with pytest.raises(BadValueError, match="shape"):
        as_scenarios(np.ones((50, 2, 2)), problem.cost.shape)
    with pytest.raises(BadValueError, match="too few"):
        as_scenarios(np.ones((5, *problem.cost.shape)), problem.cost.shape)
    with pytest.raises(BadValueError, match="probability"):
        solve_chance(problem, joint_cases(0, problem, 60), probability=1.0)


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 3))
def test_two_stages_equal_the_extensive_form_over_all_corners(seed: int, gamma: int) -> None:
    rng = np.random.default_rng(seed)
    m, n1, n2, dims = 3, 3, 5, 4
    problem = TwoStage(
        rng.uniform(1, 5, n1), np.r_[rng.uniform(1, 6, n2 - m), np.full(m, 12.0)], rng.uniform(0, 2, (m, n1)),
        np.hstack([rng.uniform(-0.5, 1.5, (m, n2 - m)), np.eye(m)]), rng.uniform(1, 6, m),
        rng.uniform(0, 3, (m, dims)), np.zeros(n1), np.full(n1, 4.0), np.array([True, True, False]),
        np.ones((1, n1)), np.array([6.0]),
    )  # fmt: skip
    uncertain = BudgetSet(rng.uniform(0, 1, dims), rng.uniform(0, 2, dims), gamma)
    _, whole = master(problem, list(uncertain.corners()))
    found = solve_two_stage(problem, uncertain)
    assert found.upper == pytest.approx(whole, rel=1e-5)
    assert found.gap <= 1e-5
    listed = solve_two_stage(problem, uncertain.corners())
    assert listed.upper == pytest.approx(whole, rel=1e-5)
    lows, highs = zip(*found.steps, strict=True)
    assert list(lows) == sorted(lows)
    assert list(highs) == sorted(highs, reverse=True)


def test_reserving_by_hand() -> None:
    """Need 10, or 16 if the one class comes worst. Reserved 1 $ a unit, later 3 $: reserve 16 for 16 $. At 1.2 $ too;
    where it comes worst for sure not (gamma 0) reserve 10."""
    worst, calm = (reserve([1.0], [3.0], [[10.0]], [[6.0]], g, [100.0]) for g in (1, 0))
    assert solve_two_stage(*worst).first.tolist() == [16]
    assert solve_two_stage(*worst).upper == pytest.approx(16)
    assert solve_two_stage(*calm).first.tolist() == [10]


def test_later_may_be_cheaper_and_then_nothing_is_reserved() -> None:
    assert solve_two_stage(*reserve([2.0], [1.5], [[10.0]], [[6.0]], 1, [100.0])).first.tolist() == [0]


def test_recourse_that_cannot_always_correct_is_refused() -> None:
    problem, uncertain = reserve([1.0, 1.0], [3.0, 3.0], [[1.0, 1.0]], [[1.0, 1.0]], 1, [9.0, 9.0])
    lame = TwoStage(
        problem.first_cost, problem.second_cost[:1], problem.by_first, problem.by_second[:, :1], problem.need,
        problem.by_case, problem.low, problem.high, problem.whole,
    )  # fmt: skip
    with pytest.raises(BadValueError, match="row 1 cannot always be corrected"):
        solve_two_stage(lame, uncertain)
