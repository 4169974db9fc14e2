"""The program of growth plans: by hand, non-anticipativity, worst case, and what can never be."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from growth_samples import options, study, tree
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.allocating.two_stage import reserve, solve_two_stage
from archcast.growing.course import course_of
from archcast.growing.options import Options
from archcast.growing.program import build
from archcast.growing.solve import Solved, solve
from archcast.growing.study import Peak
from archcast.growing.tree import Tree
from archcast.growing.values import World, values_of
from archcast.growing.worst import separable, solve_worst

TWO = tree([1, 1], [1, 3])


def solved(columns: Options, demand: Tree, rate_hz: float = 1.0, *, objective: str = "", root: Any = None,
           **changes: Any) -> Solved:  # fmt: skip
    return solve(build(study(**changes), columns, demand, rate_hz), objective=objective, root=root, gap=1e-9)


class ByHand(World):
    """A world whose columns are given."""

    def options(self, ends: Any = None, study: Any = None) -> Options:
        return options(len(self.tree.factor[0]))


def test_a_newsvendor_of_two_periods_buys_as_the_critical_ratio_says() -> None:
    # a unit costs 10 now; renting costs 25 with probability 1/2, 12.5 in the mean: the third unit is bought as well
    found = solved(options(), TWO)
    assert found.root[0] == pytest.approx([3])
    assert found.value == pytest.approx(25 + 30)  # the first period is rented: what is bought comes in a year
    # at 15 renting the second and third unit costs 7.5 in the mean: only the sure one is bought
    dear = solved(options(rent=15), TWO)
    assert dear.root[0] == pytest.approx([1])
    assert dear.costs == pytest.approx([15 + 10, 15 + 10 + 30])


def test_the_value_of_planning_for_all_and_of_knowing_are_those_by_hand() -> None:
    values = values_of(ByHand(study(), [], None, TWO, 1.0))  # type: ignore[arg-type]
    # for the mean demand of 2 one buys 2 and rents one in the high scenario: 25 + 20 + 25 / 2
    assert values.mean.cost_usd == pytest.approx(57.5)
    assert values.vss_usd == pytest.approx(2.5)
    # knowing it one buys 1 or 3: 25 + (10 + 30) / 2 = 45
    assert values.evpi_usd == pytest.approx(10.0)
    # bought for low, high comes: 1 bought, 2 rented, against 3 bought; bought for high, low comes: 2 too many
    assert values.regret_usd == pytest.approx(np.array([[0, 30], [20, 0]]))
    assert values.own_regret_usd == pytest.approx([20, 0])


def test_nothing_is_decided_by_what_is_not_known_yet() -> None:
    paths = tree([1, 2, 4, 8], [1, 2, 4, 4], [1, 1, 1, 1])
    assert paths.known.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 1], [0, 1, 2]]
    found = solved(options(4), paths, periods=4, scenarios=None, lognormal={"per_year": 1, "spread": 0.1})
    ordered = course_of(found, 1.0).ordered[0, :, :, 0]
    assert ordered[0, :3] == pytest.approx(ordered[1, :3])  # the two share a decision until they part
    assert ordered[:, 0] == pytest.approx(np.full(3, ordered[0, 0]))
    late = tree([1, 2, 4, 8], [1, 2, 4, 4], [1, 1, 1, 1], seen_after=1)
    assert late.known.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_knowing_later_never_costs_less() -> None:
    paths = [[1.0, 2, 4, 8], [1.0, 1, 1, 1]]
    costs = [
        solved(options(4), tree(*paths, seen_after=n), periods=4, scenarios=None,
               lognormal={"per_year": 1, "spread": 0.1}).value for n in (0, 1, 2)
    ]  # fmt: skip
    assert costs == sorted(costs)
    assert costs[2] > costs[0]


def test_the_worst_case_by_scenarios_added_one_by_one_is_that_of_the_extensive_form() -> None:
    demand = tree([1, 1], [1, 2], [1, 3], [1, 5])
    columns = options(buy=10, rent=13)
    all_at_once = solved(columns, demand, objective="worst")
    one_by_one = solve_worst(study(), columns, demand, 1.0, gap=1e-9)
    assert separable(study(), demand)
    assert one_by_one.value == pytest.approx(all_at_once.value)
    assert one_by_one.root == pytest.approx(all_at_once.root)
    assert one_by_one.bound == pytest.approx(one_by_one.value)


def test_the_worst_case_agrees_with_the_two_stage_program_of_allocations() -> None:
    # demand of 1 for certain and up to 4 more, bought now at 10 or later at 13: all five units are bought
    program, uncertain = reserve([10.0], [13.0], [[1.0]], [[4.0]], 1, [100.0])
    other = solve_two_stage(program, uncertain)
    mine = solved(options(buy=10, rent=13), tree([1, 1], [1, 5]), objective="worst")
    assert mine.value - 13 == pytest.approx(other.upper)  # less the first period's rent
    assert mine.root[0] == pytest.approx(other.first)


def test_of_plans_with_one_risk_the_cheapest_in_expectation_is_taken() -> None:
    demand = tree([1, 1, 1], [1, 3, 3], probability=[0.8, 0.2])
    risk = replace(study(periods=3, scenarios=[{"path": [1, 1, 1]}]), tail=0.8)
    found = solve(build(risk, options(3), demand, 1.0), objective="cvar", gap=1e-9)
    assert found.value == pytest.approx(found.costs[1])  # the worst fifth is the second scenario
    assert found.costs[0] <= found.costs[1]
    assert found.costs[0] == pytest.approx(25 + 30)  # three are bought for the second; the first rents no more


def test_a_peak_is_rented_for_its_hours_only() -> None:
    flat = study(periods=1, scenarios=[{"path": [1]}])
    peaked = replace(flat, peak=Peak(2.0, 0.25))
    found = solve(build(peaked, options(1), tree([1]), 1.0), gap=1e-9)
    # a quarter of the hours at 2 and the others at 2/3: the mean is 1, so renting by the hour costs the same
    assert found.value == pytest.approx(25.0)
    course = course_of(found, 1.0)
    assert course.capacity_hz[2, 0] == pytest.approx([2.0])
    assert course.rented[0, 0] == pytest.approx([1.0])


def test_a_hall_a_budget_and_stock_bound_what_is_bought() -> None:
    for changes in (
        {"limits": {"power_w": 2000}},
        {"limits": {"capital_usd": 29}},
        {"limits": {"available": {"h100-sxm": 2}}},
    ):
        columns = options(device=("h100-sxm",))
        assert solved(columns, TWO, **changes).root[0] == pytest.approx([2])


def test_what_nothing_serves_is_short_and_is_said() -> None:
    found = solved(options(), TWO, acquire=["buy"])
    assert found.shorts == pytest.approx(np.array([[1, 0], [1, 0]]))  # nothing serves before the first order comes
    assert found.served_usd == pytest.approx(30)


def test_a_price_of_carbon_moves_the_plan_from_the_dirty_to_the_clean_device() -> None:
    two: dict[str, Any] = {name: np.repeat(value, 2, axis=0) for name, value in vars(options()).items()
           if isinstance(value, np.ndarray) and name != "resale"}  # fmt: skip
    two["rent_usd"] = np.array([[20.0, 20.0], [22.0, 22.0]])
    two["run_kg"] = np.array([[1000.0, 1000.0], [0.0, 0.0]])
    columns = options(device=("dirty", "clean"), region=("fr-paris",) * 2, **two)
    rent: dict[str, Any] = {"acquire": ["rent"]}
    assert solved(columns, TWO, **rent).costs == pytest.approx([40, 80])
    priced = solved(columns, TWO, carbon={"usd_per_tonne": 5}, **rent)
    assert priced.costs == pytest.approx([44, 88])
    assert solved(columns, TWO, objective="carbon", **rent).program.parts(priced.x, "carbon").sum() == 0


def test_what_is_owned_serves_first_and_is_sold_when_it_costs_more_than_it_saves() -> None:
    there = [{"device": "h100-sxm", "devices": 1, "bought": "2026-01"}]
    columns = options(device=("h100-sxm",))
    assert solved(columns, tree([1, 1]), owned=there, scenarios=[{"path": [1, 1]}]).value == pytest.approx(0)
    # kept it costs 30 a year in the hall, more than renting at 25: it is sold after the first
    dear = options(device=("h100-sxm",), hall_usd=np.array([30.0]))
    assert solved(dear, tree([1, 1]), owned=there, scenarios=[{"path": [1, 1]}]).value == pytest.approx(30 + 25)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(st.floats(0.2, 5), min_size=3, max_size=3), st.lists(st.floats(0.2, 5), min_size=3, max_size=3),
    st.floats(1.0, 3.0), st.floats(1, 30),
)  # fmt: skip
def test_more_demand_never_costs_less_and_cost_is_money_by_part(
    a: list[float], b: list[float], more: float, rent: float
) -> None:
    changes: dict[str, Any] = {"periods": 3, "scenarios": [{"path": [1, 1, 1]}]}
    demand = tree([1, *a[1:]], [1, *b[1:]])
    few, many = (solved(options(3, rent=rent), demand, rate, **changes) for rate in (1.0, more))
    assert many.value >= few.value - 1e-6
    assert few.costs == pytest.approx(few.program.parts(few.x).sum(axis=(0, 1)))
    assert few.bound <= few.value + 1e-9
    assert few.short == 0
