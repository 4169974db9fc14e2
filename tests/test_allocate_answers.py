"""What an allocation says of its choice: coverage, budgets that bind, what more of them buys, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archcast.allocating.allocate_file import read_allocate
from archcast.allocating.run import allocate
from archcast.render.allocate import allocate_page

EXAMPLE = Path(__file__).parents[1] / "examples" / "test_time_budget.yaml"


def table(*rows: tuple[Any, ...], columns: str = "item option value credits", **changes: Any) -> dict[str, Any]:
    named = [dict(zip(columns.split(), row, strict=True)) for row in rows]
    return {"kind": "allocate", "name": "t", "table": named, "budgets": {"credits": 5}, **changes}


def test_the_coverage_told_is_of_the_choice_at_most_likely_costs() -> None:
    """Value 7 at 5 credits [4 .. 6] of 5: the draws exceed 5 half of the time; 0.9 leaves value 1 at 1 credit."""
    ends = "item option value credits credits_lo credits_hi"
    asked = table(("a", "much", 7, 5, 4, 6), ("a", "little", 1, 1, 1, 1), columns=ends,
                  risk={"kind": "chance", "probability": 0.9})  # fmt: skip
    found = allocate(asked)
    assert found.worth == 1
    assert found.nominal_worth == 7
    assert found.used[0].coverage == 1
    assert found.used[0].nominal_coverage == pytest.approx(0.5, abs=0.04)  # 2,000 draws: a standard error of 0.011


@pytest.mark.slow
def test_the_example_tells_the_coverage_of_its_best_choice_at_most_likely_costs() -> None:
    """That choice is found by an allocation without risk, and tried on draws of another seed."""
    from archcast.allocating.model_costs import model_costs

    found = allocate(EXAMPLE)
    calm = allocate(EXAMPLE, settings={"risk": "nominal"})
    assert calm.worth == pytest.approx(found.nominal_worth)
    costs = model_costs(read_allocate(EXAMPLE, {"seed": 77}))
    k, draws = costs.of("cost_usd"), costs.draw(3000)
    total = sum(one.count * draws[:, costs.items.index(one.item), costs.options.index(one.option), k]
                for one in calm.chosen)  # fmt: skip
    assert found.used[0].nominal_coverage == pytest.approx(float(np.mean(total <= 6.0)), abs=0.05)


def test_a_budget_binds_where_a_little_more_of_it_buys_more_and_only_there() -> None:
    """The next option of a costs 9: neither 5.5 nor 6 credits pay it, 5.5 euros of 5 pay b's 5.2."""
    rows = (("a", "low", 1, 1, 1), ("a", "high", 9, 9, 1), ("b", "low", 1, 1, 1), ("b", "high", 3, 1, 4.2))
    found = allocate(table(*rows, columns="item option value credits euros", budgets={"credits": 5, "euros": 5}))
    credits, euros = found.used
    assert found.worth == 2
    assert not credits.binds
    assert (euros.binds, euros.more, euros.one_more) == (True, 2, 2)
    assert "; euros (40.0 % of 5.00) binds;" in found.summary


def test_where_no_tenth_more_buys_anything_nothing_binds_and_the_text_says_why() -> None:
    wide = allocate(table(("a", "low", 1, 2), ("a", "high", 9, 9)))
    assert not wide.used[0].binds
    assert "no better choice fits in what is left of the budgets" in wide.summary
    rich = allocate(table(("a", "low", 1, 2), ("a", "high", 9, 3)))
    assert not rich.used[0].binds
    assert "every item has its most valuable option, no shared budget binds" in rich.summary


def test_one_more_buys_what_a_budget_of_one_more_is_worth() -> None:
    """The relaxed price of a credit is 8 / 7; one more of 5 buys nothing, with 8 the eighth buys all."""
    rows = (("a", "low", 1, 2), ("a", "high", 9, 9))
    assert allocate(table(*rows)).used[0].one_more == 0
    near = allocate(table(*rows, budgets={"credits": 8}))
    assert near.used[0].one_more == 8
    assert near.used[0].price == pytest.approx(8 / 7, rel=1e-3)
    assert "one more buys" in near.text()
    assert near.to_json()["budgets"]["credits"]["worth_of_one_more"] == 8


def test_under_a_probability_more_of_a_budget_is_solved_again() -> None:
    """One option in seven credits has no spread: with 6.5 of a tenth more it does not fit, one more does."""
    rows = (("a", "low", 1, 2), ("a", "high", 9, 7))
    risk = {"kind": "chance", "probability": 0.9}
    found = allocate(table(*rows, budgets={"credits": 6.2}, risk=risk))
    assert (found.used[0].more, found.used[0].one_more) == (0, 8)
    assert not found.used[0].binds
    tenth = allocate(table(*rows, budgets={"credits": 6.5}, risk={"kind": "robust", "gamma": 1}))
    assert (tenth.used[0].more, tenth.used[0].binds) == (8, True)


def test_a_budget_of_nothing_has_no_share() -> None:
    found = allocate(table(("a", "free", 1, 0), ("a", "paid", 9, 1), budgets={"credits": 0}))
    assert found.used[0].share == 0
    assert found.used[0].binds
    assert "credits (none is allowed) binds" in found.summary


UNSURE = "item option value credits credits_lo credits_hi"


def test_the_first_line_says_requests_and_worth_in_words_that_are_no_share() -> None:
    found = allocate(table(("a", "low", 1, 2), ("a", "high", 3, 5), ("b", "low", 1, 0)))
    assert found.summary.startswith("t: 2 requests, worth 4.00 in all (certified the best); ")
    risk = {"kind": "chance", "probability": 0.9}
    rows = (("a", "much", 7, 5, 4, 6), ("a", "little", 1, 1, 1, 1))
    safe = allocate(table(*rows, columns=UNSURE, risk=risk))
    assert safe.summary.startswith("t: 1 request, worth 1.00 in all (7.00 if costs were certain); ")
    assert "Worth 1.00, proved best: every choice was tried." in safe.text()
    calm = allocate(table(*rows, columns=UNSURE, risk=risk, budgets={"credits": 50}))
    assert "(as much as if costs were certain)" in calm.summary
    assert "0.0 %" not in calm.text().split("budget ")[0]
    assert "safety gives up nothing" in calm.text()


def test_the_lower_end_of_coverage_is_printed() -> None:
    risk = {"kind": "chance", "probability": 0.9}
    found = allocate(table(("a", "much", 7, 5, 4, 6), ("a", "little", 1, 1, 1, 1.01), columns=UNSURE, risk=risk))
    assert "at least (95 %)" in found.text()
    assert found.used[0].assured == pytest.approx(0.05 ** (1 / 2000))  # all of 2,000 held
    assert "99.9 %" in found.text()


def test_a_table_of_many_items_says_how_many_it_shows() -> None:
    rows = [(f"i{i}", "one", 1, 0) for i in range(60)]
    found = allocate(table(*rows))
    assert "40 of 60; --json has all." in found.text()
    assert "40 of 60; --json has all." in allocate_page(found)
    assert "--json has all" not in allocate(table(*rows[:40])).text()


@pytest.mark.parametrize(
    ("credits", "euros", "words"),
    [
        (3, 99, "; raise credits to at least 5.01, or choose: at most one."),
        (6, 6, "not all of them together; 1.34 times as much of every budget is enough, or choose: at most one."),
    ],
)
def test_what_is_infeasible_says_what_would_do_and_that_does(credits: float, euros: float, words: str) -> None:
    """Least credits 5.004; both at 6: each option takes 8 of one of them, 8 / 6 = 1.3334 times is enough."""
    rows = (("a", "x", 1, 5.004, 8), ("a", "y", 1, 8, 3))
    asked = table(*rows, columns="item option value credits euros", budgets={"credits": credits, "euros": euros})
    assert words in allocate(asked).summary
    enough = {"credits": 5.01, "euros": 99} if credits == 3 else {"credits": 6 * 1.34, "euros": 6 * 1.34}
    assert allocate({**asked, "budgets": enough}).verdict == "feasible"


def test_what_upper_ends_hold_is_told_apart_from_sums_of_draws() -> None:
    found = allocate(table(("a", "x", 1, 4, 3, 5), ("a", "y", 0, 1, 1, 1), columns=UNSURE, risk="upper"))
    assert found.used[0].level == 5
    assert "In all, most likely [90 % of joint draws]: credits 4.00 [" in found.text()
    assert "Held against budgets is the sum of single upper ends" in found.text()
    assert found.totals["credits"].hi == pytest.approx(5, rel=0.02)  # one item: the 95 % quantile is the upper end


@pytest.mark.parametrize("seed", range(2))
def test_a_budget_with_room_to_spare_has_no_price_and_does_not_bind(seed: int) -> None:
    """Euros are a tenth of what they may be: rounding of the prices is not a price. Credits bind."""
    rng = np.random.default_rng(seed)
    rows = [(f"i{i}", f"o{j}", rng.uniform(0, 10), rng.uniform(1, 10), rng.uniform(0, 1))
            for i in range(30) for j in range(6)]  # fmt: skip
    named = [(i, o, float(v), float(c), float(e)) for i, o, v, c, e in rows]
    asked = table(*named, columns="item option value credits euros", budgets={"credits": 90, "euros": 300})
    credits, euros = allocate(asked).used
    assert (euros.price, euros.more, euros.binds) == (0, 0, False)
    assert credits.binds
    more = allocate({**asked, "budgets": {"credits": 91, "euros": 300}}).worth - allocate(asked).worth
    assert credits.one_more == pytest.approx(more, abs=1e-9)
