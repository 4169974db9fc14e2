"""The multiple-choice knapsack: exact answers equal brute force, budgets hold exactly, and every bound is a bound."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.allocating.exact import solve_exact
from archcast.allocating.greedy import solve_greedy
from archcast.allocating.knapsack import NONE, Knapsack, knapsack
from archcast.allocating.prices import best_prices, certified_bound
from archcast.allocating.reduction import affordable, hull, undominated
from archcast.allocating.shortfall import least_use
from foundation.errors import BadValueError


def brute(problem: Knapsack) -> float:
    """Return the worth of the best choice, -inf where none holds, in exact arithmetic."""
    options = [[j for j in range(problem.value.shape[1]) if problem.mask[i, j]] + ([NONE] if problem.optional else [])
               for i in range(problem.items)]  # fmt: skip
    best = -math.inf
    for choice in itertools.product(*options):
        taken = [(i, j) for i, j in enumerate(choice) if j != NONE]
        fits = all(
            sum((Fraction(float(problem.cost[i, j, k])) for i, j in taken), Fraction(0)) <= Fraction(float(b))
            for k, b in enumerate(problem.budget)
        )
        if fits:
            best = max(best, math.fsum(problem.value[i, j] for i, j in taken))
    return best


@st.composite
def problems(draw: Any, budgets: int | None = None) -> Knapsack:
    items, options = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    many = draw(st.integers(1, 3)) if budgets is None else budgets
    whole = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cost = (
        rng.integers(0, 9, (items, options, many)).astype(float) if whole else rng.uniform(0, 9, (items, options, many))
    )
    value = rng.integers(-3, 9, (items, options)).astype(float) if whole else rng.normal(3, 3, (items, options))
    mask = rng.uniform(size=(items, options)) < 0.85
    budget = np.round(rng.uniform(0, 6, many) * items, 0 if whole else 3)
    return knapsack(value, cost, budget, mask, optional=draw(st.booleans()))


@settings(max_examples=150, deadline=None)
@given(problems())
def test_the_exact_choice_is_worth_what_brute_force_finds(problem: Knapsack) -> None:
    best, found = brute(problem), solve_exact(problem)
    if best == -math.inf:
        assert not found.feasible
        return
    assert found.feasible
    assert problem.holds(found.choice)
    assert found.value == pytest.approx(best, abs=1e-5 * max(1.0, float(np.abs(problem.value).max())))
    assert found.bound >= best - 1e-9
    assert found.price_bound >= best
    assert found.status == "optimal"


@settings(max_examples=120, deadline=None)
@given(problems())
def test_the_greedy_choice_holds_the_budgets_and_its_bound_is_above_the_best(problem: Knapsack) -> None:
    best, found = brute(problem), solve_greedy(problem)
    if not found.feasible:
        assert best == -math.inf or found.notes
        return
    assert problem.holds(found.choice)
    assert found.value <= best + 1e-9
    assert found.bound >= best


@settings(max_examples=100, deadline=None)
@given(problems(), st.lists(st.floats(0, 5), min_size=3, max_size=3))
def test_any_prices_bound_the_best_choice(problem: Knapsack, prices: list[float]) -> None:
    whole = problem.extended()
    if not whole.mask.any(axis=1).all():
        return
    best = brute(problem)
    at = np.array(prices[: problem.budgets])
    assert certified_bound(whole, whole.mask, at) >= best
    assert certified_bound(whole, whole.mask, at) >= best_prices(whole, whole.mask).bound - 1e-6 * (1 + abs(best))


@settings(max_examples=100, deadline=None)
@given(problems())
def test_dropping_dominated_and_unaffordable_options_keeps_the_best_worth(problem: Knapsack) -> None:
    keep = affordable(problem.extended(), undominated(problem.extended()))
    left = Knapsack(problem.extended().value, problem.extended().cost, problem.budget, keep, False, problem.names)
    assert brute(left) == brute(problem)


def test_the_bound_of_the_prices_is_the_optimum_of_the_linear_relaxation() -> None:
    """Lagrange's dual equals the linear relaxation; scipy solves that one on its own."""
    from scipy.optimize import linprog

    rng = np.random.default_rng(5)
    for budgets in (1, 2, 3, 5):
        value, cost = rng.uniform(0, 1, (30, 6)), rng.uniform(0, 1, (30, 6, budgets))
        problem = knapsack(value, cost, cost.mean(axis=1).sum(axis=0) * 0.9)
        relaxed = linprog(
            -value.ravel(), A_ub=cost.reshape(-1, budgets).T, b_ub=problem.budget,
            A_eq=np.kron(np.eye(30), np.ones(6)), b_eq=np.ones(30), bounds=(0, None),
        )  # fmt: skip
        assert best_prices(problem, problem.mask).bound == pytest.approx(-relaxed.fun, rel=1e-6)


def test_by_hand_the_budget_of_ten_is_best_spent_so() -> None:
    """Two items; (cost, value): a (2, 3) (5, 8) (9, 10), b (1, 1) (5, 7) (6, 9). Spend 10: 5 + 5 gives 15."""
    found = solve_exact(knapsack([[3, 8, 10], [1, 7, 9]], [[2, 5, 9], [1, 5, 6]], 10))
    assert found.choice.tolist() == [1, 1]
    assert found.value == 15
    assert found.used.tolist() == [10]
    assert found.status == "optimal"
    assert found.gap == 0


def test_a_budget_is_held_to_the_last_bit() -> None:
    """0.1 + 0.2 is above 0.3 in exact arithmetic of these floats, so that the pair does not fit."""
    found = solve_exact(knapsack([[0, 1], [0, 1]], [[0, 0.1], [0, 0.2]], 0.3))
    assert Fraction(0.1) + Fraction(0.2) > Fraction(0.3)
    assert found.value == 1
    assert solve_exact(knapsack([[0, 1], [0, 1]], [[0, 0.25], [0, 0.5]], 0.75)).value == 2


def test_one_item_one_option_and_a_budget_of_nothing() -> None:
    assert solve_exact(knapsack([[5.0]], [[2.0]], 2.0)).value == 5
    assert not solve_exact(knapsack([[5.0]], [[2.0]], 1.0)).feasible
    assert solve_exact(knapsack([[5.0, 1.0]], [[2.0, 0.0]], 0.0)).value == 1
    assert solve_exact(knapsack([[5.0]], [[2.0]], 1.0, optional=True)).choice.tolist() == [NONE]


def test_options_that_do_not_run_anywhere_are_never_chosen() -> None:
    found = solve_exact(knapsack([[9, 1], [9, 2]], [[[np.nan], [1]], [[1], [1]]], 5, [[True, True], [False, True]]))
    assert found.choice.tolist() == [1, 1]


def test_scaling_values_or_costs_changes_no_choice() -> None:
    rng = np.random.default_rng(3)
    value, cost = rng.uniform(0, 1, (12, 5)), rng.uniform(0, 1, (12, 5, 2))
    budget = cost.min(axis=1).sum(axis=0) + 1.5
    one = solve_exact(knapsack(value, cost, budget))
    other = solve_exact(knapsack(value * 1e-9, cost * [1e12, 1e-6], budget * [1e12, 1e-6]))
    assert one.choice.tolist() == other.choice.tolist()


def test_a_thousand_items_are_certified_within_a_thousandth() -> None:
    rng = np.random.default_rng(1)
    value, cost = rng.uniform(1, 100, (1000, 20)), rng.uniform(1, 100, (1000, 20, 3))
    problem = knapsack(value, cost, cost.mean(axis=1).sum(axis=0) * 0.6)
    found = solve_exact(problem)
    assert problem.holds(found.choice)
    assert found.gap <= 1e-3
    assert found.price_bound >= found.value
    assert found.bound <= found.price_bound


def test_hull_points_rise_with_falling_worth_per_weight() -> None:
    weight, value = np.array([1.0, 2, 3, 4, 2, 5]), np.array([0.0, 1, 4, 4.5, 3, 4.4])
    assert hull(weight, value).tolist() == [0, 4, 2, 3]


def test_what_cannot_be_met_names_the_least_use() -> None:
    problem = knapsack([[1, 2], [1, 2]], [[[3, 1], [1, 4]], [[2, 2], [3, 1]]], [2, 9], names=("energy_j", "cost_usd"))
    found = least_use(problem)
    assert found.alone.tolist() == [3, 2]
    assert found.over.tolist() == [1, 0]
    joint = least_use(knapsack([[1, 2]], [[[1, 5], [5, 1]]], [2, 2]))
    assert joint.over.tolist() == [0, 0]
    assert joint.together == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("value", "cost", "budget", "words"),
    [
        ([[1, 2]], [[1]], 1, "value is"), ([[1]], [[-1]], 1, "negative"), ([[1]], [[1]], -1, "budget"),
        ([[1]], [[1]], np.nan, "budget"), ([[1], [1, 2]], [[1]], 1, "rows of equal length"),
    ],
)  # fmt: skip
def test_problems_that_make_no_sense_are_refused(value: Any, cost: Any, budget: Any, words: str) -> None:
    with pytest.raises(BadValueError, match=words):
        knapsack(value, cost, budget)


def test_the_solver_writes_nothing_to_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    size = np.sort(rng.lognormal(0, 1, (60, 12)), axis=1)
    cost = size[:, :, None] * rng.lognormal(0, 0.2, (60, 1, 3))
    solve_exact(knapsack(1 - np.exp(-size), cost, cost.mean(axis=1).sum(axis=0) * 0.5), gap=0.0)
    assert capfd.readouterr().out == ""
