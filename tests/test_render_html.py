"""The page: well formed, self-contained, every answer on it, and nothing from a stranger's file can run."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import render_samples as samples

import archcast
from archcast.render.html import page, write_html
from archcast.render.human import text
from costmodel.estimate import Estimate
from foundation.errors import InputError
from hardware_specs import load_device

VOID = {"meta", "br", "img", "input", "link", "hr"}


class Checker(HTMLParser):
    """Holds that tags close in order, and collects what the page would load or run."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.ids: list[str] = []
        self.scripts = 0
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self._note(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        self.handlers += [name for name in names if name.startswith("on")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        loading = ("src", "href", "xlink:href", "action", "data", "srcset", "poster")
        self.loads += [f"{tag} {name}={value}" for name, value in attrs if name in loading]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def checked(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    return checker


def hostile() -> Estimate:
    bad = samples.HOSTILE
    return samples.estimate_of([samples.gemm(bad), samples.gemm(f"{bad}2", n=2048, k=1024)], name=bad)


@pytest.mark.parametrize("make", [samples.language_model, samples.infeasible, samples.small, hostile])
def test_tags_close_and_the_page_loads_nothing(make: object) -> None:
    assert callable(make)
    html = page(make())
    checker = checked(html)
    assert checker.loads == []
    assert checker.handlers == []
    assert checker.scripts == 1
    assert len(checker.ids) == len(set(checker.ids))
    assert "@import" not in html
    assert set(re.findall(r"url\(([^)]*)\)", html)) <= {"#hatch"}


def test_only_the_script_of_the_page_may_run() -> None:
    html = page(samples.small())
    script = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)[0]
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_hostile_names_are_text() -> None:
    html = page(hostile())
    assert "<script>document" not in html
    assert "<img" not in html
    assert "\x1b" not in html
    assert "&lt;script&gt;document" in html
    assert "dataset.hacked" in "".join(checked(html).words)


def test_the_answer_its_intervals_and_its_origin_are_on_the_page() -> None:
    estimate = samples.language_model()
    words = " ".join(checked(page(estimate)).words)
    assert "llama-3.1-8b" in words
    assert "Feasible." in words
    for quantity, kind in ((estimate.latency_s, "s"), (estimate.energy_j, "j"), (estimate.cost_usd, "usd")):
        assert quantity is not None
        assert text(quantity.value, kind) in words
    assert estimate.versions["device"] in words
    assert estimate.price_date in words
    assert "propagated" in words
    for source in load_device("h100-sxm").sources.values():
        assert source in words
    for step in estimate.explain().steps:
        assert step.meaning in words


def test_every_operator_is_in_the_table_and_every_section_is_there() -> None:
    estimate = samples.language_model()
    html = page(estimate)
    body = html[html.index('<table class="sortable">') :]
    rows = re.findall(r"<tr><td class=\"name\" data-v=\"([^\"]*)\"", body)
    assert rows == [o.name for o in estimate.explain().operators]
    assert set(checked(html).ids) >= {"roofline", "waterfall", "time", "energy", "memory", "operators", "sources"}


def test_what_does_not_fit_gets_a_page_too() -> None:
    estimate = samples.infeasible()
    html = page(estimate)
    words = " ".join(checked(html).words)
    assert "Infeasible." in words
    assert f"{estimate.shortfall_bytes:,.0f} bytes" in words
    assert "at least 2 times as many devices" in words
    assert 'fill="url(#hatch)"' in html
    assert 'id="roofline"' not in html


def test_a_workload_of_ten_thousand_operators_stays_small_and_says_what_is_hidden() -> None:
    operators = [samples.gemm(f"{samples.HOSTILE} {i}", m=1 + i % 700) for i in range(10_000)]
    html = page(samples.estimate_of(operators))
    assert len(html.encode()) < 1_500_000
    assert "more operators, each with less time" in html
    assert html.count('<tr><td class="name"') == 250


def test_the_timeline_is_drawn_and_one_that_is_too_large_is_left_out() -> None:
    class Drawing:
        def __init__(self, size: int) -> None:
            self.size = size

        def to_svg(self, *, width_px: int = 0, title: str = "") -> str:
            return f'<svg viewBox="0 0 1 1" width="{width_px}"><desc>{"x" * self.size}</desc></svg>'

    assert "<desc>xxx</desc>" in page(samples.small(), Drawing(3))
    large = page(samples.small(), Drawing(2_000_000))
    assert "Left out" in large
    assert len(large) < 1_500_000


def test_the_real_timeline_stands_on_the_page() -> None:
    from archcast.simulation import timeline_of

    estimate = samples.language_model()
    timeline = timeline_of(estimate)
    assert timeline is not None
    html = page(estimate, timeline)
    assert 'id="timeline"' in html
    assert "makespan" in html
    checked(html)


def test_figures_that_are_not_the_catalogues_are_not_claimed() -> None:
    spec = load_device("h100-sxm")
    slower = spec.dram.bandwidth_bytes_per_s.model_copy(update={"value": 1e12, "lo": 1e12, "hi": 1e12})
    dram = spec.dram.model_copy(update={"bandwidth_bytes_per_s": slower})
    own = spec.model_copy(update={"memory": (dram, *spec.memory[1:])})
    estimate = archcast.predict("llama-3.1-8b", on=own, generate=2)
    assert "not the catalogue" in page(estimate)
    assert "1.00 TB/s" in page(estimate, device=own)
    assert "not the catalogue" not in page(samples.language_model())


def test_the_file_is_written_whole_and_over_an_old_one(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_text("old")
    write_html(samples.small(), target)
    assert target.read_text(encoding="utf-8").endswith("</html>\n")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_is_missing_or_in_the_way_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no folder .*absent; make it first"):
        write_html(samples.small(), tmp_path / "absent" / "report.html")
    with pytest.raises(InputError, match="is a folder; name a file in it"):
        write_html(samples.small(), tmp_path)
    assert list(tmp_path.iterdir()) == []
