"""Files of kind `allocate`: what they answer, by hand and by brute force, and what is refused in one sentence."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_runner import archcast

from archcast.allocating.allocate_file import read_allocate
from archcast.allocating.run import allocate
from archcast.allocating.success import mean_tokens, success_at
from archcast.render.allocate import allocate_page
from foundation.errors import BadFileError, BadValueError

ROWS = [
    ("a", "small", 3, 2), ("a", "middle", 8, 5), ("a", "large", 10, 9),
    ("b", "small", 1, 1), ("b", "middle", 7, 5), ("b", "large", 9, 6),
]  # fmt: skip


def table(**changes: Any) -> dict[str, Any]:
    """Two items; the best that ten credits buy is both middle ones, worth 15."""
    rows = [{"item": i, "option": o, "value": v, "credits": c} for i, o, v, c in ROWS]
    return {"kind": "allocate", "name": "t", "table": rows, "budgets": {"credits": 10}, **changes}


def uncertain(low: float = 0.8, high: float = 1.5, **changes: Any) -> dict[str, Any]:
    rows = [
        {"item": i, "option": o, "value": v, "credits": c, "credits_lo": c * low, "credits_hi": c * high}
        for i, o, v, c in ROWS
    ]
    return table(table=rows, **changes)


def modelled(**changes: Any) -> dict[str, Any]:
    """Two classes, two models on one device, without anything learned: quick."""
    return {
        "kind": "allocate", "name": "m", "budgets": {"cost_usd": 0.1, "latency_s": 20},
        "options": [
            {"name": "small", "workload": "qwen3-0.6b", "on": "l40s", "tokens": [64, 256], "samples": [1, 4]},
            {"name": "large", "workload": "llama-3.1-8b", "on": "l40s", "tokens": [64, 256]},
        ],
        "items": [
            {"name": "easy", "count": 100, "prompt": 200, "success": {
                "small": {64: {1: 0.5, 4: 0.6}, 256: {1: 0.6, 4: 0.7}}, "large": {64: 0.8, 256: 0.85}}},
            {"name": "hard", "count": 20, "prompt": 400, "worth": 3, "success": {
                "small": {64: {1: 0.1, 4: 0.2}, 256: {1: 0.3, 4: 0.4}}, "large": {64: 0.3, 256: 0.6}}},
        ],
        **changes,
    }  # fmt: skip


def test_a_table_by_hand() -> None:
    found = allocate(table())
    assert [(one.item, one.option) for one in found.chosen] == [("a", "middle"), ("b", "middle")]
    assert found.worth == 15
    assert found.bound == pytest.approx(15, rel=1e-5)
    assert found.status == "optimal"
    assert found.used[0].share == 1
    assert found.used[0].binds


def test_what_ten_percent_more_buys_is_what_a_larger_budget_buys() -> None:
    """11 credits: a middle, b large, 17 instead of 15."""
    assert allocate(table()).used[0].more == pytest.approx(2)
    assert allocate(table(budgets={"credits": 11})).worth == 17


def test_each_kind_of_risk_by_hand() -> None:
    """Upper ends are 1.5 times the costs: of 10 credits 6.67 are left, for a middle and b small (6, worth 9)."""
    assert allocate(uncertain(risk="upper")).worth == 9
    one_at_a_time = allocate(uncertain(risk={"kind": "robust", "gamma": 1}))
    best = max(
        v1 + v2
        for (_, _, v1, c1), (_, _, v2, c2) in itertools.product(ROWS[:3], ROWS[3:])
        if c1 + c2 + 0.5 * max(c1, c2) <= 10
    )
    assert one_at_a_time.worth == best
    nominal = allocate(uncertain())
    assert nominal.worth == 15
    chance = allocate(uncertain(risk={"kind": "chance", "probability": 0.9}))
    assert 9 <= chance.worth <= 15
    assert chance.used[0].coverage is not None
    assert chance.used[0].coverage >= 0.87
    assert chance.price_of_risk == pytest.approx((15 - chance.worth) / 15)


def test_shares_split_an_item_between_options() -> None:
    """9 credits: both middle cost 10. The relaxed best takes b partly."""
    found = allocate(table(budgets={"credits": 9}, choose="shares"))
    assert sum(one.share for one in found.chosen) == pytest.approx(2)
    assert found.worth > allocate(table(budgets={"credits": 9})).worth
    assert found.used[0].level == pytest.approx(9)


def test_infeasible_names_the_budget_and_by_how_much() -> None:
    found = allocate(table(budgets={"credits": 2}))
    assert found.verdict == "infeasible"
    assert "3.00 at the least, 1.00 over 2.00" in found.summary
    assert found.to_json()["lacking"][0]["short_by"] == 1
    free = allocate(table(budgets={"credits": 2}, choose="at most one"))
    assert free.worth == 3
    assert {one.option for one in free.chosen} == {"small", "nothing"}


def test_a_csv_table_beside_the_file_is_read(tmp_path: Path) -> None:
    lines = ["item,option,value,credits", *(f"{i},{o},{v},{c}" for i, o, v, c in ROWS)]
    (tmp_path / "costs.csv").write_text("\n".join(lines), encoding="utf-8")
    file = tmp_path / "t.yaml"
    file.write_text("kind: allocate\ntable: costs.csv\nbudgets: {credits: 10}\n", encoding="utf-8")
    assert archcast("allocate", file, "--json").json()["worth"] == 15
    assert archcast("allocate", file, "--set", "budgets.credits=11", "--json").json()["worth"] == 17


def test_the_models_answer_equals_brute_force_over_its_own_cost_table() -> None:
    found = allocate(modelled())
    from archcast.allocating.model_costs import model_costs

    costs = model_costs(read_allocate(modelled()))
    k, late = costs.of("cost_usd"), costs.of("latency_s")
    best = max(
        sum(costs.count[i] * costs.value[i, j] for i, j in enumerate(choice))
        for choice in itertools.product(range(len(costs.options)), repeat=2)
        if sum(costs.count[i] * costs.cost[i, j, k] for i, j in enumerate(choice)) <= 0.1
        and all(costs.cost[i, j, late] <= 20 for i, j in enumerate(choice))
    )
    assert found.worth == pytest.approx(best)


def test_tokens_and_samples_become_seconds_joules_and_dollars() -> None:
    """k in turn take longer than k in parallel and cost more; a verifier adds to both; truncation takes off."""
    from archcast.allocating.model_costs import model_costs

    reader = {"workload": "qwen3-0.6b", "on": "l40s"}
    way = {"workload": "qwen3-0.6b", "on": "l40s", "tokens": 256}
    options = [
        {"name": "one", **way}, {"name": "parallel", **way, "samples": 4},
        {"name": "in turn", **way, "samples": 4, "parallel": False},
        {"name": "checked", **way, "samples": 4, "verifier": reader},
        {"name": "checked twice", **way, "samples": 4, "passes": 2, "verifier": reader},
    ]  # fmt: skip
    items = [
        {"name": "q", "prompt": 200, "success": 0.5},
        {"name": "short", "prompt": 200, "success": 0.5, "lengths": {128: 0.5, 256: 1.0}},
    ]
    costs = model_costs(read_allocate(modelled(items=items, options=options)))
    for name in ("latency_s", "energy_j", "cost_usd"):
        one, parallel, turn, checked, twice = costs.cost[0, :, costs.of(name)]
        assert one < parallel < turn < 4 * one
        assert parallel < checked < twice
        assert twice - checked == pytest.approx(checked - parallel)
    late, money = costs.of("latency_s"), costs.of("cost_usd")
    assert costs.cost[1, 0, late] == costs.cost[0, 0, late]  # a limit is met by the longest answer
    assert costs.cost[1, 0, money] < costs.cost[0, 0, money]  # money is of the mean length
    assert costs.draw(50).shape == (50, *costs.cost.shape)


def test_draws_of_one_device_go_together() -> None:
    import numpy as np

    from archcast.allocating.model_costs import model_costs

    costs = model_costs(read_allocate(modelled()))
    draws = np.log(costs.draw(1500)[:, :, :, costs.of("latency_s")].reshape(1500, -1))
    assert np.corrcoef(draws[:, 0], draws[:, 1])[0, 1] > 0.3


def test_mean_tokens_by_hand() -> None:
    """Half end by 100, all by 200, straight between: to 100 the mean of 1 and 0.5, to 200 that of 0.5 and 0."""
    assert mean_tokens(100, {100: 0.5, 200: 1.0}) == pytest.approx(75)
    assert mean_tokens(200, {100: 0.5, 200: 1.0}) == pytest.approx(100)
    assert mean_tokens(400, {100: 0.5, 200: 1.0}) == pytest.approx(100)
    with pytest.raises(BadValueError, match="cannot fall"):
        mean_tokens(10, {1: 0.5, 2: 0.4})


def test_success_is_between_given_points_and_never_beyond_them() -> None:
    curve = {256: 0.4, 1024: 0.8}
    assert success_at(curve, 512, 1, by_samples=False) == pytest.approx(0.6)  # half way in the logarithm
    assert success_at({256: {1: 0.1, 4: 0.3}, 1024: {1: 0.3, 4: 0.5}}, 512, 2, by_samples=False) == pytest.approx(0.3)
    with pytest.raises(BadValueError, match="given for 256 to 1024 tokens, not for 2048"):
        success_at(curve, 2048, 1, by_samples=False)


def test_the_same_seed_gives_the_same_answer() -> None:
    asked = uncertain(risk={"kind": "chance"})
    one, same = (allocate(asked, seed=5).to_json() for _ in range(2))
    one.pop("wall_s")
    same.pop("wall_s")
    assert one == same


def test_the_page_has_the_choice_the_frontier_and_escapes_names() -> None:
    rows = [{**row, "option": f"<b>{row['option']}</b>"} for row in table()["table"]]
    page = allocate_page(allocate(table(table=rows, name="<script>x</script>")))
    assert "<script>x" not in page
    assert "<b>middle" not in page
    assert "&lt;b&gt;middle&lt;/b&gt;" in page
    assert 'class="worth"' in page
    assert "chosen: worth 15.0" in page
    missing = allocate_page(allocate(table(budgets={"credits": 2})))
    assert "What is missing" in missing


def test_the_example_answers_with_coverage_and_says_whose_success_it_is(tmp_path: Path) -> None:
    file = Path(__file__).parents[1] / "examples" / "test_time_budget.yaml"
    found = archcast("allocate", file, "--json", "--html", tmp_path / "p.html").json()
    assert found["verdict"] == "feasible"
    assert len(found["items"]) == 3
    assert found["budgets"]["cost_usd"]["coverage"] >= 0.94
    assert found["budgets"]["cost_usd"]["nominal_coverage"] < 0.95
    assert all(one["limits_kept"]["latency_s"] >= 0.95 for one in found["items"])
    assert found["gap"] == 0
    assert any("made up" in note for note in found["notes"])
    assert (tmp_path / "p.html").stat().st_size > 10_000
    text = archcast("allocate", file).stdout
    assert "Next best" in text
    assert "safety gives up" in text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (table(kind="plan"), "'kind: allocate'"), (table(bugets=1), "unknown key 'bugets'"),
        (table(budgets={}), "there is no budget"), (table(budgets={"credits": -1}), "credits must be a finite number"),
        (table(budgets={"credits": float("nan")}), "credits must be"), (table(items=[]), "or a table of costs"),
        (table(table=[]), "no rows"), (table(table=[{"item": "a", "option": "x", "credits": 1}]), "has no 'value'"),
        (table(table=[{"item": "a", "option": "x", "value": 1, "credits": 1, "eur": 2}]), "unknown key 'eur'"),
        (table(table=2 * table()["table"]), "stands twice"), (table(table="none.csv"), "none.csv"),
        (table(risk="certain"), "kind of risk"), (table(risk={"kind": "chance", "probability": 0.2}), "probability"),
        (table(choose="all"), "way to choose"), (table(choose="shares", risk="chance"), "nominal or upper"),
        (table(budgets={"credits": {"most": 3, "of": "each"}}), "no budget is shared"),
        (modelled(budgets={"cost_eur": 1}), "unknown key 'cost_eur'"),
        (modelled(budgets={"memory_bytes": {"most": 1, "of": "total"}}), "does not add up"),
        (modelled(items=[{"name": "x", "prompt": 10}]), "says nothing about success"),
        (modelled(items=[{"name": "x", "success": {"huge": 0.5}}]), "unknown key 'huge'"),
        (modelled(items=[{"name": "x", "success": {"large": {64: 0.5, 128: 0.6}}}]), "not for 256"),
        (modelled(items=[{"name": "x", "success": {"large": 1.5}}]), "success must be"),
        (modelled(items=[{"name": "x", "success": {"small": {64: 0.5, 256: 0.6}}}]), "give success by both"),
        (modelled(options=[{"name": "x", "workload": "resnet-50"}]), "needs a device"),
        (modelled(options=[{"name": "x", "on": "l40s", "tokens": [1] * 3, "verifier": 3}]), "a verifier is a mapping"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(given: dict[str, Any], words: str) -> None:
    with pytest.raises(BadFileError) as caught:
        allocate(given)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_file_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "t.yaml"
    file.write_text(yaml.safe_dump(table(budgets={"credits": -3}), sort_keys=False), encoding="utf-8")
    ended = archcast("allocate", file)
    assert ended.code == 2
    assert "budgets.credits" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_an_item_that_no_option_serves_in_time_says_the_least_possible() -> None:
    found = allocate(modelled(budgets={"cost_usd": 1, "latency_s": 1e-4}))
    assert found.verdict == "infeasible"
    assert "latency of 'easy'" in found.summary
    assert json.dumps(found.to_json(), allow_nan=False)
