"""The page of a search: self-contained, every design drawn with its knobs, names apart, and drawn by a browser."""

from __future__ import annotations

import html
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from drawings import overlapping
from search_samples import small, small_search

from archcast.render.search import search_page, write_search_html
from archcast.render.search_front import NARROW, front_html, front_svg, log_ticks, reach_svgs
from archcast.render.search_text import search_text
from archcast.render.search_words import plain, shown, step_words
from archcast.searching.run import search

SVG = re.compile(r"<svg.*?</svg>", re.DOTALL)


def front(*size: int) -> ElementTree.Element:
    return ElementTree.fromstring(front_svg(small_search(), range(len(small_search().front)), *size))


def test_the_page_loads_nothing_and_has_every_part() -> None:
    page = search_page(small_search())
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    assert "default-src 'none'" in page
    for words in ("Front", "What each knob can reach", "Where time goes", "Where energy goes", "Where area goes",
                  "Designs", "What was refused", "Where it is from", "Hypervolume"):  # fmt: skip
        assert f">{words}" in page


def test_every_design_of_the_front_is_drawn_with_its_knobs() -> None:
    tips = [title.text or "" for circle in front().iter("circle") for title in circle.iter("title")]
    assert len(tips) == len(small_search().front)
    assert all("latency" in words and "dataflow" in words for words in tips)


def test_the_best_and_the_knee_are_ringed_and_named() -> None:
    picture = front()
    marked = {*small_search().best.values(), small_search().knee}
    assert sum(circle.get("class") == "ring" for circle in picture.iter("circle")) == len(marked)
    words = " ".join(text.text or "" for text in picture.iter("text") if text.get("class") == "name")
    for name in ("least latency", "least energy", "least area"):
        assert name in words


@pytest.mark.parametrize("size", [(), NARROW])
def test_words_in_the_picture_do_not_overlap(size: tuple[int, ...]) -> None:
    assert overlapping(front(*size)) == []


def test_a_narrow_screen_has_a_picture_of_its_own() -> None:
    found = front_html(small_search())
    assert len(SVG.findall(found)) == 2
    assert 'class="narrow"' in found


def test_each_knob_with_a_choice_has_a_picture_of_what_it_reaches() -> None:
    pictures = [ElementTree.fromstring(svg) for svg in SVG.findall(reach_svgs(small_search()))]
    choices = small_search().sensitivity()
    assert len(pictures) == len(choices) == 7
    for picture, rows in zip(pictures, choices.values(), strict=True):
        assert sum(1 for _ in picture.iter("circle")) == len(rows) * 3


def test_the_waterfall_of_the_knee_has_all_stages() -> None:
    page = search_page(small_search())
    for words in ("at the peak rate", "fill and drain", "on-chip memory", "device memory", "achieved"):
        assert words in page


def test_a_search_without_an_answer_has_a_page_and_text() -> None:
    answer = search(small(space_output_buffer_bytes=4))
    assert "Infeasible." in search_page(answer)
    assert "none of 144 designs is feasible" in search_text(answer)


@pytest.mark.parametrize(
    "objectives", [["latency_s"], ["energy_j", "latency_s"], ["latency_s", "energy_j", "area_mm2", "power_w"]]
)
def test_any_number_of_objectives_has_a_page(objectives: list[str]) -> None:
    assert "Where time goes" in search_page(search(small(objectives=objectives)))


def test_words_of_strangers_are_escaped() -> None:
    evil = '<script>alert("x")</script>'
    answer = small_search()
    page = search_page(replace(answer, study=replace(answer.study, name=evil), notes=(evil,)))
    assert evil not in page
    assert "&lt;script&gt;" in page


def test_names_and_numbers_read_as_people_write_them() -> None:
    assert plain("dram_bandwidth_bytes_per_s") == "dram bandwidth"
    assert [shown("a_bytes", 65536), shown("area_mm2", 28.21), shown("latency_s", 0.00114), shown("rows", 128)] == [
        "64 KiB", "28.2 mm²", "1.14 ms", "128",
    ]  # fmt: skip
    assert [shown("year", 2028.0), shown("loss", 0.000988251712683), shown("places", 1000.0), shown("loss", 0.0)] == [
        "2028", "0.0009883", "1,000", "0",
    ]  # fmt: skip
    assert [shown("price_usd", 801_234.0), shown("events", 500.0)] == ["$801,234", "500"]
    steps = [step_words({"knob": "nodes", "to": 100.0, "ratio": ratio}) for ratio in (0.4, 0.997, 0.99999)]
    assert steps == ["nodes to 100 (-60 %)", "nodes to 100 (-0.3 %)", "nodes to 100 (by less than 0.1 %)"]


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.2), (0.3, 40.0), (1e-6, 1e3), (0.0011, 0.0019)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    found = log_ticks(low, high)
    assert 1 <= len(found) <= 9
    assert all(low <= tick <= high for tick in found)
    assert np.all(np.diff(found) > 0)


@pytest.mark.browser
def test_a_browser_draws_the_page(chromium: str, tmp_path: Path) -> None:
    write_search_html(small_search(), tmp_path / "search.html")
    done = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom",
         f"--user-data-dir={tmp_path}/profile", f"file://{tmp_path}/search.html"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert 'data-ready="yes"' in done.stdout
    assert "data-error" not in done.stdout
    assert done.stdout.count('class="design ') == 2 * len(small_search().front)  # for wide screens and for narrow


def test_a_search_for_one_value_has_no_hypervolume() -> None:
    answer = search(small(objectives=["latency_s"]))
    assert answer.to_json()["hypervolume_share"] is None
    assert answer.to_json()["hypervolume_reference"] is None
    assert "Hypervolume" not in search_text(answer)
    assert "Hypervolume" not in search_page(answer)
    assert "Hypervolume" in search_text(small_search())


def test_names_whose_bests_lie_within_the_interval_are_not_called_better() -> None:
    answer = small_search()
    words = "within the model's error: no name is shown to be better"
    assert html.unescape(reach_svgs(answer)).count(words) == 1  # of dataflow, the one knob of names
    never = tuple({**one, **{name: {**one[name], "hi": 0.0} for name in answer.objectives}} for one in answer.front)
    assert words not in html.unescape(reach_svgs(replace(answer, front=never)))
    only = tuple({**one, "energy_j": answer.front[place]["energy_j"]} for place, one in enumerate(never))
    assert f"Differences in energy are {words}" in html.unescape(reach_svgs(replace(answer, front=only)))


@pytest.mark.browser
@pytest.mark.parametrize(("width", "style"), [(1200, ""), (740, "print")])
def test_no_table_is_wider_than_the_page_or_the_sheet(chromium: str, tmp_path: Path, width: int, style: str) -> None:
    page = search_page(small_search())
    if style:  # a sheet of paper is some 740 px wide
        page = page.replace("@media print", "@media all")
    probe = ("<script>addEventListener('load',()=>{document.body.setAttribute('data-over',[...document"
             ".querySelectorAll('.scroll')].map(e=>e.scrollWidth-e.clientWidth).join(','))})</script>")  # fmt: skip
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page).replace("</body>", f"{probe}</body>")
    (tmp_path / "search.html").write_text(page, encoding="utf-8")
    done = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--window-size={width},1000", "--dump-dom",
         f"--user-data-dir={tmp_path}/profile", f"file://{tmp_path}/search.html"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    over = re.search(r'data-over="([-\d,]+)"', done.stdout)
    assert over is not None
    assert all(int(pixels) <= 0 for pixels in over[1].split(","))


def test_the_page_of_kinds_is_that_of_the_designs() -> None:
    from archcast.searching.document import PAGE, kinds_text

    assert PAGE.read_text() == kinds_text()
    assert "| `most_requests` | `space` | whole, 1 to 65536 | required |" in kinds_text()


def test_money_is_shown_in_four_digits() -> None:
    from archcast.render.search_words import shown

    assert shown("usd_per_million_tokens", 0.282228120141) == "$0.2822"
    assert shown("node_usd", 2500.0) == "$2,500"


def test_an_objective_whose_best_is_zero_leaves_the_reach_of_the_others() -> None:
    space = {"first_reduction": [2000, 4000], "nodes": [20, 100], "links": 64}
    file = {"kind": "search", "design": "daq-chain", "space": space, "objectives": ["loss", "price_usd", "latency_s"]}
    page = search_page(search(file))
    assert "The best loss is 0 or below" in page
    assert page.count('aria-label="best by value"') == 2
    assert "price: 1 times the best of all" in page
    assert not re.search(r"loss: [^<]* times the best", page)
    assert plain("price_usd") == "price"
