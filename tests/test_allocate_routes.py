"""Routes, cascades and items that come one by one."""

from __future__ import annotations

import numpy as np
import pytest

from archcast.allocating.cascades import Stage, best_cascade, cascade_cost
from archcast.allocating.exact import solve_exact
from archcast.allocating.knapsack import Knapsack, knapsack
from archcast.allocating.online import Forecast, Prefix, Threshold, regrets, run_online, threshold_of
from archcast.allocating.routing import mixed_cost, pure_costs, route
from foundation.errors import BadValueError


def test_half_the_requests_go_to_the_dear_model_by_hand() -> None:
    """100 requests, 0.6 right for 1 $ and 0.9 for 3 $, budget 200 $: half each, 75 right, 0.15 more a dollar."""
    found = route([100], [[0.6, 0.9]], [[1, 3]], 200)
    np.testing.assert_allclose(found.share, [[0.5, 0.5]])
    assert found.value == pytest.approx(75)
    assert found.prices.tolist() == pytest.approx([0.15])
    assert found.gap < 1e-9


def test_routes_are_at_least_as_good_as_one_choice_each_and_within_budgets() -> None:
    rng = np.random.default_rng(6)
    count, success = rng.uniform(1, 50, 12), rng.uniform(0, 1, (12, 5))
    cost = rng.uniform(0.1, 2, (12, 5, 3)) * (0.5 + success[:, :, None])
    budget = (count[:, None, None] * cost).mean(axis=1).sum(axis=0) * 0.9
    found = route(count, success, cost, budget)
    one = solve_exact(knapsack(count[:, None] * success, count[:, None, None] * cost, budget))
    assert found.value >= one.value - 1e-9
    assert (found.used <= budget * (1 + 1e-9)).all()
    assert found.gap < 1e-7


def test_routes_that_no_budget_has_room_for_are_infeasible_unless_requests_may_be_dropped() -> None:
    assert not route([10], [[0.5]], [[2.0]], 1).feasible
    assert route([10], [[0.5]], [[2.0]], 1, drop=True).value == pytest.approx(0.25)
    with pytest.raises(BadValueError, match="at least 0"):
        route([10], [[0.5]], [[-1.0]], 1)


def test_a_cascade_by_hand() -> None:
    """Small 1 $ 0.1 s passes 0.3 on, right 0.9 of the rest; large 10 $ 1 s right 0.8 at the end."""
    small, large = Stage("small", {"cost_usd": 1}, 0.1, 0.3, 0.9, 0.7), Stage("large", {"cost_usd": 10}, 1.0, 0.0, 0.8)
    found = cascade_cost([small, large])
    assert found.cost["cost_usd"] == pytest.approx(1 + 0.3 * 10)
    assert found.success == pytest.approx(0.7 * 0.9 + 0.3 * 0.8)
    assert found.latency_s(0.5) == pytest.approx(0.1)
    assert found.latency_s(0.95) == pytest.approx(1.1)
    assert found.mean_s == pytest.approx(0.7 * 0.1 + 0.3 * 1.1)
    assert cascade_cost([small]).success == pytest.approx(0.7)


def test_the_best_cascade_is_that_of_all_and_its_front_rises() -> None:
    models = [
        [Stage("a", {"cost_usd": 1}, 0.1, e, s, 0.6, t) for t, e, s in ((0.5, 0.2, 0.7), (0.8, 0.5, 0.85))],
        [Stage("b", {"cost_usd": 4}, 0.4, 0.3, 0.85, 0.75)],
        [Stage("c", {"cost_usd": 20}, 2.0, 0.0, 0.95)],
    ]
    found = best_cascade(models, {"cost_usd": 9}, p95_s=3)
    assert found.best is not None
    assert found.best.cost["cost_usd"] <= 9
    assert found.best.latency_s(0.95) <= 3
    costs, right = [c.cost["cost_usd"] for c in found.front], [c.success for c in found.front]
    assert costs == sorted(costs)
    assert right == sorted(right)
    by_hand = cascade_cost([models[0][1], models[1][0], models[2][0]])  # 1 + .5 4 + .15 20 = 6 $
    assert by_hand.cost["cost_usd"] == pytest.approx(6)
    assert found.best.success >= by_hand.success
    assert best_cascade(models, {"cost_usd": 0.5}).best is None
    with pytest.raises(BadValueError, match="no stage has the cost"):
        best_cascade(models, {"cost_eur": 1})


def test_entropy_adaptive_decoding_saves_what_its_shares_say() -> None:
    """Of the paper's claims: 11B with 3B at 43 % large saves 41.5 %, 14B with 1.5B at 25 % large 67 % (+-0.5)."""
    assert 1 - mixed_cost([0.43, 0.57], [11, 3]) / 11 == pytest.approx(0.415, abs=0.005)
    assert 1 - mixed_cost([0.25, 0.75], [14, 1.5]) / 14 == pytest.approx(0.67, abs=0.005)


def test_e_lang_is_three_times_faster_where_a_quarter_goes_to_the_large_model() -> None:
    """T5-large (0.77B) first, T5-11B for 0.233 of the inputs: 3.3 times less than T5-11B alone (within 10 %)."""
    swift, large = Stage("t5-large", {"params": 0.77}, 0.077, 0.233, 1.0), Stage("t5-11b", {"params": 11}, 1.1, 0, 1.0)
    assert 11 / cascade_cost([swift, large]).cost["params"] == pytest.approx(3.3, rel=0.1)


def test_the_pure_modes_of_a2fm_follow_from_its_savings() -> None:
    reasoning, agentic = pure_costs(0.00487, [0.452, 0.335])
    assert round(reasoning, 5) == 0.00889
    assert round(agentic, 5) == 0.00732


def test_shares_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(BadValueError, match="add up to 1"):
        mixed_cost([0.5, 0.6], [1, 2])
    with pytest.raises(BadValueError, match="escalate of 'x'"):
        Stage("x", {}, 0.1, 1.5, 0.5)


def stream(seed: int, items: int = 300, budgets: int = 1) -> Knapsack:
    rng = np.random.default_rng(seed)
    cost = rng.uniform(0.2, 2, (items, 4, budgets))
    value = cost.mean(axis=2) * rng.lognormal(0, 0.5, (items, 4))
    return knapsack(value, cost, np.full(budgets, 0.15 * items), optional=True)


def test_the_threshold_policy_keeps_its_competitive_ratio() -> None:
    """ln(most / least) + 1, for items small beside the budget (here 1/30 of it at most: allow that much)."""
    for seed in range(5):
        problem = stream(seed)
        policy = threshold_of(problem)
        worth = problem.worth(run_online(problem, policy))
        assert worth * float(policy.ratio[0]) * (1 + 2 / 60) >= solve_exact(problem).value


def test_the_threshold_rises_from_the_least_over_e_to_the_most() -> None:
    policy = Threshold(np.array([2.0]), np.array([8.0]))
    problem = knapsack([[1.0]], [[1.0]], 10, optional=True)
    assert policy.prices(problem, 0, np.array([10.0]))[0] == pytest.approx(2 / np.e)
    assert policy.prices(problem, 0, np.array([0.0]))[0] == pytest.approx(8)


@pytest.mark.parametrize("budgets", [1, 2])
def test_prices_learned_from_a_forecast_or_a_prefix_lose_less_than_the_threshold(budgets: int) -> None:
    past = stream(1000, budgets=budgets)
    ends = threshold_of(past)
    found = {
        one.name: one
        for one in regrets(
            lambda seed: stream(seed, budgets=budgets),
            {
                "threshold": lambda p: ends, "forecast": lambda p: Forecast(past, p.items),
                "prefix": lambda p: Prefix(ends, p.items),
            },
            range(3),
        )
    }  # fmt: skip
    assert found["forecast"].share.mean() < 0.1
    assert found["forecast"].share.mean() < 0.5 * found["threshold"].share.mean()
    assert found["prefix"].share.mean() < found["threshold"].share.mean()
    assert (found["forecast"].worth <= found["forecast"].bound).all()


def test_a_policy_sees_nothing_of_what_is_to_come() -> None:
    """Other items at the end change no decision at the start."""
    one, other = stream(3), stream(4)
    mixed = knapsack(
        np.vstack([one.value[:150], other.value[150:]]), np.vstack([one.cost[:150], other.cost[150:]]), one.budget,
        optional=True,
    )  # fmt: skip
    for policy in (threshold_of(stream(9)), Forecast(stream(9), 300), Prefix(threshold_of(stream(9)), 300)):
        assert run_online(one, policy)[:150].tolist() == run_online(mixed, policy)[:150].tolist()


def test_an_online_knapsack_must_allow_nothing() -> None:
    with pytest.raises(BadValueError, match="optional"):
        run_online(knapsack([[1]], [[1]], 1), Threshold(np.ones(1), np.ones(1)))
