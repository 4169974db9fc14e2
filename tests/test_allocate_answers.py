"""What an allocation says of its choice: coverage, budgets that bind, what more of them buys, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from archcast.allocating.allocate_file import read_allocate
from archcast.allocating.run import allocate

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
