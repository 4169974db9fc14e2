"""The key `growth` of a plan file: what is read, what is refused and with which words; the books behind it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from growth_samples import from_text, growth_file, study

import archcast as ac
from archcast.growing.dates import month_text, year_of
from archcast.growing.growth_file import read_growth
from archcast.growing.tree import demand_tree
from foundation.errors import ArchcastError, BadFileError
from foundation.yaml_file import load_yaml
from hardware_specs import load_device
from hardware_specs.book_document import PAGE, page
from hardware_specs.books import BookSpec, load_book
from hardware_specs.reader import read_file


def test_periods_dates_and_growth_are_read() -> None:
    found = study(length="half-year", periods=4, lead_months=9, life_years=3,
                  scenarios=[{"name": "a", "per_year": 0.44}])  # fmt: skip
    assert [month_text(year) for year in found.years] == ["2027-01", "2027-07", "2028-01", "2028-07"]
    assert (found.buy_lead, found.life) == (2, 6)
    assert found.hours == pytest.approx(8766 / 2)
    assert demand_tree(found).factor[0] == pytest.approx([1, 1.2, 1.44, 1.728])
    assert year_of("x", "2027-07") == 2027.5


def test_a_lognormal_band_keeps_the_mean_of_its_draws_and_is_the_same_for_the_same_seed() -> None:
    band = {"per_year": 0.5, "spread": 0.4, "branches": [3, 2], "draws": 3000, "seed": 4}
    found = demand_tree(study(periods=4, scenarios=None, lognormal=band))
    again = demand_tree(study(periods=4, scenarios=None, lognormal=band))
    assert np.array_equal(found.factor, again.factor)
    assert found.probability == pytest.approx(np.full(6, 1 / 6))
    # the mean of exp of a normal after a year: (1 + growth) exp(spread^2 / 2), within what 3,000 draws know
    assert found.probability @ found.factor[:, 1] == pytest.approx(1.5 * np.exp(0.08), rel=0.03)
    assert found.known.tolist() == [[0] * 6, [0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5]]
    other = demand_tree(study(periods=4, scenarios=None, lognormal={**band, "seed": 5}))
    assert not np.array_equal(found.factor, other.factor)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"perriods": 3}, r"key 'growth.perriods': unknown key 'perriods'. Nearest: periods"),
        ({"start": "soon"}, r"key 'growth.start': start must be a date"),
        ({"periods": 0}, r"key 'growth.periods': periods must be a whole number from 1"),
        ({"scenarios": [{"per_year": 0.1, "probability": 0.4}]}, r"scenarios': probabilities must sum to 1, not 0.4"),
        ({"scenarios": [{"path": [1, 2, 3]}]}, r"scenarios\[0\].path': 'path' must be a list of 2 numbers"),
        ({"scenarios": [{"path": [1, "x"]}]}, r"scenarios\[0\].path\[1\]': path must be a finite number"),
        ({"lognormal": {"per_year": 1, "spread": 1, "branches": [1]}}, r"give scenarios or lognormal"),
        ({"peak": {"ratio": 4, "share": 0.5}}, r"key 'growth.peak.share': 0.5 of the hours at 4 times the mean"),
        ({"acquire": ["steal"]}, r"key 'growth.acquire': Unknown way to acquire 'steal'"),
        ({"objective": "luck"}, r"key 'growth.objective': Unknown objective 'luck'"),
        ({"limits": {"power_w": {"mars": 1}}}, r"key 'growth.limits.power_w.mars': Unknown region 'mars'"),
        ({"limits": {"available": {"b200": 1}}}, r"key 'growth.limits.available.b200': Unknown device 'b200'"),
        ({"discount_per_year": -1}, r"key 'growth.discount_per_year': discount_per_year must be"),
        ({"future": [{"name": "x", "like": "h100-sxm"}]}, r"growth.future\[0\]': the key 'from' is missing"),
        ({"regions": []}, r"key 'growth.regions': 'regions' must be a list"),
        ({"owned": [{"device": "h100-sxm", "devices": 1, "bought": "x"}]}, r"owned\[0\].bought': bought must be"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_in_one_sentence_with_its_key(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadFileError, match=words):
        study(**changes)


def test_a_fault_names_its_line() -> None:
    text = yaml.safe_dump(growth_file(discount_per_year=7), sort_keys=True)
    line = next(i for i, words in enumerate(text.splitlines(), 1) if "discount_per_year" in words)
    with pytest.raises(BadFileError, match=rf"growth.yaml:{line}, key 'growth.discount_per_year'"):
        from_text(text)


def test_an_unknown_region_and_a_key_of_another_plan_are_named() -> None:
    with pytest.raises(BadFileError, match=r"growth.regions\[0\]': Unknown region 'fr-pariss'. Nearest: fr-paris"):
        ac.grow(growth_file(regions=["fr-pariss"]))
    with pytest.raises(BadFileError, match=r"key 'limits': a growth plan has no key 'limits' here"):
        ac.grow({**growth_file(), "limits": {"devices": 3}})


def test_the_books_have_sources_or_ranges_and_name_devices_of_the_catalogue() -> None:
    for name in ("purchase-prices", "regions", "trends"):
        book = load_book(name)
        figures = list(book.figures())
        assert figures
        for place, figure in figures:
            assert figure.source or figure.lo < figure.hi, place
        for one in book.purchases:
            assert load_device(one.device).price is not None
        file = Path(__file__).parents[1] / "hardware_specs" / "catalogue" / "books" / f"{name}.yaml"
        assert read_file(file, BookSpec) == book


def test_a_book_of_ones_own_takes_the_place_of_the_catalogues(tmp_path: Path) -> None:
    book = tmp_path / "mine.yaml"
    book.write_text(
        "id: mine\nname: mine\nregions:\n  - region: here\n"
        "    electricity: [{date: 2027-01-01, usd_per_kwh: {value: 0.1, range: [0.1, 0.1], estimated: true}}]\n"
        "    grid: [{date: 2027-01-01, g_per_kwh: {value: 100, range: [90, 110], estimated: true}}]\n"
        "    pue: {value: 1.5, range: [1.4, 1.6], estimated: true}\n"
        "    hosting_usd_per_kw_month: {value: 0, range: [0, 1], estimated: true}\n"
    )
    assert load_book(book).region("here").pue.value == 1.5
    with pytest.raises(ArchcastError, match="Unknown region 'there'"):
        load_book(book).region("there")
    book.write_text(re.sub("value: 1.5", "value: 0.5", book.read_text()))
    load_book.cache_clear()
    with pytest.raises(BadFileError, match=r"mine.yaml:\d+, key 'regions\[0\].pue"):
        load_book(book)


def test_the_example_is_read_and_an_override_names_itself() -> None:
    example = Path(__file__).parents[1] / "examples" / "growth.yaml"
    assert read_growth(load_yaml(example)).regions == ("us-virginia", "se-stockholm")
    with pytest.raises(BadFileError, match="An override gave this value"):
        read_growth(load_yaml(example), {"growth.periods": "many"})


def test_the_page_of_the_books_is_the_one_they_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m hardware_specs.book_document"
