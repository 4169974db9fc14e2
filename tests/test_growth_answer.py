"""The answer of a growth plan: costs by hand from the books, JSON, text, page, and the command."""

from __future__ import annotations

import json
import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from cli_runner import archcast, refused
from growth_samples import growth_file

import archcast as ac
from archcast.cli import plan as _command  # noqa: F401  adds the command
from archcast.growing.answer import Growth
from archcast.growing.dates import year_of
from archcast.growing.words import usd
from hardware_specs import load_device
from hardware_specs.books import load_book

SETTINGS: dict[str, Any] = {
    "start": "2027-01", "periods": 3, "length": "half-year", "regions": ["us-virginia", "fr-paris"],
    "scenarios": [{"name": "low", "probability": 0.4, "per_year": 0.1},
                  {"name": "high", "probability": 0.6, "per_year": 2.0}],
    "acquire": ["buy", "lease", "rent"], "lead_months": 6, "life_years": 4, "discount_per_year": 0.1,
    "peak": {"ratio": 1.5, "share": 0.3}, "carbon": {"usd_per_tonne": 50}, "limits": {"power_w": 50e3},
    "future": [{"name": "later", "like": "h100-sxm", "from": "2028-01", "times_faster": 2}],
}  # fmt: skip
UNITS = ("_usd", "_kg", "_hz", "_w", "_usd_per_period", "_s", "_share", "ratio")
PLAIN = {"value", "probability", "share", "months", "gap", "bound", "mean", "p50", "p99", "against_lease"}


@cache
def answer() -> Growth:
    file = {**growth_file(), "instance_devices": [1], "policies": {"most_tokens": 2048}, "growth": SETTINGS}
    found: Growth = ac.grow({**file, "traffic": {"name": "azure-2023-conv", "rate_hz": 80}})
    return found


def walk(value: Any, name: str = "") -> Any:
    """Yield every number with its name; below a name with a unit (`regret_usd: {low: 3}`) it is that name."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from walk(item, name if name.endswith(UNITS) else str(key))
    elif isinstance(value, list):
        for item in value:
            yield from walk(item, name)
    else:
        yield name, value


def test_every_peak_is_served_and_capacity_is_what_it_is_made_of() -> None:
    found = answer()
    course, options = found.course, found.options
    assert found.verdict == "feasible"
    assert (course.capacity_hz.sum(axis=0) >= course.demand_hz * (1 - 1e-6)).all()
    assert course.demand_hz == pytest.approx(1.5 * course.mean_hz)
    assert course.capacity_hz[1] == pytest.approx((course.leased * options.hz.T).sum(axis=2))
    assert (course.hall_w <= 50e3 * (1 + 1e-6)).all()


def test_prices_are_those_of_the_books_on_their_dates() -> None:
    options = answer().options
    book, trends = load_book("purchase-prices").purchase("h100-sxm"), load_book("trends").trends
    assert book is not None
    assert trends is not None
    device = load_device("h100-sxm")
    assert device.price is not None
    years = 2027 - (2026 + 5 / 12)  # from June 2026
    one = book.price_usd.value * (1 - trends.purchase_decline.value) ** years + book.server_usd.value
    assert options.buy_usd[0, 0] / options.unit_devices[0] == pytest.approx(one)
    rent = device.price.usd_per_hour.value * (1 - trends.rental_decline.value) ** (2027.25 - 2025.5)
    assert options.rent_usd[0, 0] / 8766 * 2 / options.devices[0] == pytest.approx(rent)
    # the later device: twice as fast, and dearer by twice over what a dollar gains a year since its like came
    later = options.device.index("later")
    gain = (1 + trends.performance_per_usd.value) ** (2028 - year_of("released", device.released))
    assert options.first[later] == 2
    assert options.hz[later] == pytest.approx(2 * options.hz[0])
    assert options.rent_usd[later, 2] / options.rent_usd[0, 0] == pytest.approx(
        2 / gain * (1 - trends.rental_decline.value) ** (0.25 - (2027.25 - 2025.5)), rel=0.02
    )


def test_energy_and_carbon_are_watts_times_hours_times_the_grid() -> None:
    options, trends = answer().options, load_book("trends").trends
    region = load_book("regions").region("us-virginia")
    assert trends is not None
    hours = 8766 / 2
    usd_kwh = region.electricity[-1].usd_per_kwh.value * (1 + trends.electricity_rise.value) ** (
        2027.25 - (2023 + 11 / 12)
    )
    kwh = options.run_w[0, 0] / 1000 * hours
    assert options.run_usd[0, 0] == pytest.approx(kwh * usd_kwh)
    grams = region.grid[-1].g_per_kwh.value * (1 - trends.grid_decline.value) ** (2027.25 - 2025.5)
    assert options.run_kg[0, 0] == pytest.approx(kwh * grams / 1000)
    clean = options.region.index("fr-paris")
    assert options.run_kg[clean, 0] < options.run_kg[0, 0] / 10


def test_intervals_hold_the_value_and_every_comparison_is_no_better_than_the_plan() -> None:
    found = answer()
    for value, (lo, hi) in (
        (found.course.total_usd, found.intervals.cost_usd), (found.course.total_kg, found.intervals.carbon_kg),
        (found.solved.costs, found.intervals.by_scenario_usd),
    ):  # fmt: skip
        assert (lo <= value + 1e-6).all()
        assert (value <= hi + 1e-6).all()
    values = found.values
    assert values.cost_usd <= found.solved.expected * (1 + 1e-3)
    slack = 2e-3 * values.cost_usd  # gaps of the comparisons
    for one in (*values.bought, values.mean, *values.alternatives):
        assert math.isnan(one.cost_usd) or one.cost_usd >= values.cost_usd - slack
    for one in values.sensitivity:
        assert one.end * (one.cost_usd - values.cost_usd) >= -slack, one.name
    assert (values.regret_usd >= -slack).all()


def test_the_json_document_has_units_in_its_names_and_no_number_that_is_none() -> None:
    document = json.loads(json.dumps(answer().to_json(), allow_nan=False))
    assert document["verdict"] == "feasible"
    assert document["kind"] == "growth"
    for name, value in walk(document):
        if isinstance(value, float) and name not in PLAIN:
            assert name.endswith(UNITS), name
    assert [one["name"] for one in document["scenarios"]] == ["low", "high"]
    parts = document["scenarios"][1]["periods"][2]
    assert sum(parts["cost_by_part_usd"].values()) == pytest.approx(parts["cost_usd"]["value"])
    expected = sum(one["probability"] * one["cost_usd"]["value"] for one in document["scenarios"])
    assert document["cost_usd"]["value"] == pytest.approx(expected)


def test_the_text_says_first_what_to_do_now_and_the_page_is_one_safe_file() -> None:
    found = answer()
    first = found.text().splitlines()[0]
    assert re.match(r"In 2027-01, (buy|lease|rent) ", first)
    assert usd(found.solved.expected) in first
    page = found.page()
    assert page.startswith("<!doctype html>")
    assert "http://" not in page
    assert "<img" not in page
    assert page.count('<svg class="grow"') >= 1 + 3 * 2 + 1
    assert "NaN" not in page
    assert ">nan" not in page
    evil = growth_file(scenarios=[{"name": "<script>x</script>", "path": [1, 1]}])
    small = ac.grow({**evil, "instance_devices": [1], "policies": {"most_tokens": 512}})
    assert "<script>x" not in small.page()


def test_break_even_is_the_use_at_which_both_cost_the_same() -> None:
    found = answer()
    one = found.break_evens[0]
    study, options = found.study, found.options
    discount = 1.1 ** -((np.arange(3) + 0.5) / 2)
    keep = (options.hall_usd[0] + options.keep_usd[0] + options.buy_usd[0, 0] * options.care_share) / options.unit[0]
    price = study.carbon_usd_per_tonne / 1000
    own = options.buy_usd[0, 0] / options.unit[0] * (discount[0] - options.resale[2] * discount[2])
    own += (discount * (keep + price * options.idle_kg[0]))[1:].sum()
    saved = (discount * (options.rent_usd[0] + price * options.idle_kg[0] - options.run_usd[0]))[1:].sum()
    assert one.share == pytest.approx(own / saved)


def test_what_is_owned_and_what_can_be_had_may_be_named_by_an_alias() -> None:
    small = growth_file(scenarios=[{"name": "only", "path": [1, 2]}], acquire=["buy"], lead_months=0,
                        owned=[{"device": "h100", "devices": 2, "bought": "2026-01"}],
                        limits={"available": {"h100": 1}})  # fmt: skip
    found = ac.grow({**small, "devices": ["h100"], "instance_devices": [1], "policies": {"most_tokens": 512}})
    assert found.course.held[0, 0, 0] >= 2
    assert found.course.ordered[0].sum() <= 1


def test_the_command_dispatches_on_the_key_growth(tmp_path: Path) -> None:
    file = tmp_path / "g.yaml"
    small = growth_file(scenarios=[{"name": "only", "path": [1, 2]}])
    file.write_text(yaml.safe_dump({**small, "instance_devices": [1], "policies": {"most_tokens": 512}}))
    page = tmp_path / "g.html"
    ran = archcast("plan", file, "--json", "--html", page)
    assert ran.code == 0, ran.stderr
    assert ran.json()["kind"] == "growth"
    assert "while demand grows" in page.read_text()
    assert "Unknown length 'decade'" in refused("plan", file, "--set", "growth.length=decade")
