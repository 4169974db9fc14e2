"""The page of a plan: self-contained, names that do not overlap, strangers' words escaped."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from drawings import overlapping
from plan_samples import small, small_plan

from archcast.planning.run import plan
from archcast.render.plan import plan_page, write_plan_html
from archcast.render.plan_front import Scale, _ticks, drawn, front_svgs
from archcast.render.plan_text import plan_text, table

SVG = re.compile(r'<svg class="front".*?</svg>', re.DOTALL)


def fronts() -> list[ElementTree.Element]:
    return [ElementTree.fromstring(found) for found in SVG.findall(front_svgs(small_plan()))]


def test_the_page_loads_nothing() -> None:
    page = plan_page(small_plan())
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)
    assert "default-src 'none'" in page
    assert len(page) < 300_000


def test_the_page_has_the_front_the_fleet_the_latency_and_how_far_it_holds() -> None:
    page = plan_page(small_plan())
    for words in ("The fleet", "Front", "Latency over time", "How far it holds", "Confirmed fleets", "why it lost"):
        assert words in page
    assert "1 instance of 1 x h100-sxm" in page


def test_every_drawn_fleet_is_in_both_pictures_with_its_numbers() -> None:
    pictures = fronts()
    assert len(pictures) == 2
    for picture in pictures:
        tips = [title.text or "" for circle in picture.iter("circle") for title in circle.iter("title")]
        assert len(tips) == len(drawn(small_plan()))
        assert all("p99 TTFT" in words and "devices" in words for words in tips)


def test_exactly_one_fleet_is_ringed() -> None:
    for picture in fronts():
        assert sum(circle.get("class") == "ring" for circle in picture.iter("circle")) == 1


def test_names_in_a_picture_do_not_overlap() -> None:
    for picture in fronts():
        assert overlapping(picture) == []


def test_words_of_a_file_are_escaped() -> None:
    answer = plan(small(traffic={**small()["traffic"], "rate_hz": 13}, prices={"l40s": 9.0}), seed=1)
    evil = '<script>alert("x")</script>'
    page = plan_page(type(answer)(**{**answer.__dict__, "file": evil, "notes": (evil,), "model": evil}))
    assert evil not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(("lo", "hi", "log"), [(0.9, 31.0, False), (0.04, 3.0, True), (199.0, 201.0, False)])
def test_ticks_are_few_and_within_the_scale(lo: float, hi: float, log: bool) -> None:
    found = _ticks(Scale(lo, hi, log, 0.0, 100.0))
    assert 2 <= len(found) <= 9
    assert all(lo <= tick <= hi for tick in found)


def test_the_text_says_the_answer_first_and_every_change() -> None:
    lines = plan_text(small_plan()).splitlines()
    assert lines[0].startswith("The cheapest fleet for llama-3.1-8b at 12.0 requests/s is 1 instance of 1 x h100-sxm")
    assert sum(line.startswith("  demand +") for line in lines) == 3
    assert any(line.startswith("  one instance down: nothing is left that serves; 2 instances") for line in lines)


def test_a_table_lines_its_columns_up() -> None:
    assert table([("a", "number"), ("long name", "1")]) == ["a          number", "long name       1"]


def test_a_plan_without_an_answer_has_a_page() -> None:
    page = plan_page(plan(small(slo={"ttft_s": 0.001}), seed=1))
    assert "What cannot serve" in page
    assert "TTFT even when alone" in page


@pytest.mark.browser
def test_a_browser_draws_the_page(chromium: str, tmp_path: Path) -> None:
    write_plan_html(small_plan(), tmp_path / "plan.html")
    done = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"file://{tmp_path}/plan.html"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.count('class="front"') == 2
