"""The page and the terminal's text of a pipeline: what they say, one stage or forty detectors, hostile names."""

from __future__ import annotations

import html
import json
import math
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from pipeline_samples import CHAIN, overloaded, shown, small

from archcast.render.pipeline_chain import _broken
from archcast.render.pipeline_charts import LogRow, log_bars
from archcast.render.pipeline_rows import (
    busy_of_up,
    chain_loss_share,
    detectors_power_w,
    lost_share,
    mean_shares_where_lost,
    servers_and_room,
    share_words,
    shares_where_lost,
    span_words,
    stage_rows,
    tidied,
)
from archcast.render.pipeline_text import COLUMNS
from archcast.render.pipeline_words import count_words, level_words, off_by, share_off_by, short
from simulator.intervals import Uncertain
from simulator.pipelines.rates_ranges import Range

HOSTILE = "<img src=x onerror=\"document.documentElement.dataset.hacked='1'\">"

ONE = """kind: pipeline
id: one
name: One stage
detectors: [{name: d, to: s, size_bytes: 1 kB, rate_hz: 1 kHz}]
stages: [{name: s, kind: storage}]
"""


def forty_detectors() -> str:
    """Return a chain whose names are hostile, long or strange, with forty detectors."""
    rows = "\n".join(
        f"  - {{name: {json.dumps(f'{HOSTILE} {i}')}, to: {json.dumps(HOSTILE)}, size_bytes: 1 kB, rate_hz: 1 kHz}}"
        for i in range(40)
    )
    return f"""kind: pipeline
id: many
name: {json.dumps(HOSTILE)}
detectors:
{rows}
stages:
  - {{name: {json.dumps(HOSTILE)}, kind: merge}}
  - {{name: "a-very-long-name-without-any-space-that-does-not-fit-in-a-box", kind: farm,
     inputs: [{json.dumps(HOSTILE)}], service: {{time_s: 1.5 ms}}, servers: 2, places: 3}}
events: [{{name: {json.dumps(HOSTILE)}, horizon_s: 1 s, warm_up_s: 0.1 s}}]
"""


def drawings(page: str) -> list[ElementTree.Element]:
    """Return every SVG of a page; a fault in one raises."""
    return [ElementTree.fromstring(found) for found in re.findall(r"<svg.*?</svg>", page, re.S)]


def words_of(element: ElementTree.Element) -> list[str]:
    return [text.text or "" for text in element.iter("text")]


def test_the_page_says_power_rates_losses_and_physics_of_the_chain() -> None:
    answer = small()
    page = answer.page()
    for words in (
        "Every stage keeps up.", "The chain", "Rates along the chain", "Window: all of it", "Power", "By stage",
        "By part", "Losses", "no place left", "Latency", "Decisions and physics", "Every stage", "Where it is from",
        "precision", "recall", "relevant per kJ", "Estimated figures and their ranges: 2",
        "stages.Buffer.service.time_s", "fast (off)", "trace hash", "room for 4", "p99.9",
    ):  # fmt: skip
        assert words in page, words
    assert "Services from the cost model" not in page
    assert "NaN" not in page
    assert not re.search(r"\bnan\b", page)
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_every_drawing_is_well_formed_and_stays_in_its_frame() -> None:
    for answer in (small(), overloaded(), shown(ONE), shown(forty_detectors())):
        found = drawings(answer.page())
        assert found
        for drawing in found:
            if drawing.get("viewBox") is None:
                continue
            _, _, wide, high = (float(x) for x in (drawing.get("viewBox") or "").split())
            for box in drawing.iter("rect"):
                left, top = float(box.get("x") or 0), float(box.get("y") or 0)
                assert -0.01 <= left <= left + float(box.get("width") or 0) <= wide + 0.01
                assert -0.01 <= top <= top + float(box.get("height") or 0) <= high + 0.01


def test_the_chain_has_every_stage_in_order_with_its_rates() -> None:
    chain = next(x for x in drawings(small().page()) if x.get("class") == "chain")
    words = words_of(chain)
    for name in ("Camera", "Muon", "Trigger", "Buffer", "Farm", "Disk"):
        assert name in words
    assert "40.0 MHz" in words
    assert "100 kHz" in words
    assert {"40.0 GB/s", "20.0 GB/s"} <= set(words)  # 40 MHz of 1 kB and of 500 B
    assert "150 MB/s" in words  # 100 kHz of both
    places = {}
    for group in chain.iter("g"):
        names = [text.text for text in group.iter("text") if text.get("class") == "boxname"]
        box = next(group.iter("rect"))
        places[names[0]] = float(box.get("x") or 0)
    assert places["Camera"] == places["Muon"] < places["Trigger"] < places["Buffer"] < places["Farm"] < places["Disk"]
    frames = {rect.get("class") for rect in chain.iter("rect")}
    assert "box lossy" in frames  # the buffer has four places
    assert "box over" not in frames


def test_links_are_as_wide_as_the_logarithm_of_their_bytes() -> None:
    chain = next(x for x in drawings(small().page()) if x.get("class") == "chain")
    wide: dict[str, float] = {}
    for path in chain.iter("path"):
        title = path.find("title")
        assert title is not None
        wide[(title.text or "").split(":")[0]] = float(path.get("stroke-width") or 0)
    most, least = 40e9, 15e6 * (1 - small().rates.stage("Buffer").losses["full"].value)
    trigger = 1.5 + 13.5 * math.log10(150e6 / least) / math.log10(most / least)
    assert wide["Camera"] == pytest.approx(15, abs=0.01)
    assert wide["Farm"] == pytest.approx(1.5, abs=0.01)
    assert wide["Trigger"] == pytest.approx(trigger, abs=0.01)


def test_what_is_offered_too_much_is_said_in_words_and_marked_red() -> None:
    answer = overloaded()
    assert "Farm" in answer.unstable
    page, text = answer.page(), answer.text()
    assert "<b>Unstable.</b>" in page
    assert "Every stage keeps up" not in page
    assert 'class="box over"' in page
    assert "UNSTABLE: Stage 'Farm' is offered 1.4" in text  # 100 kHz x 60 us / 4, less what the buffer loses
    assert "stable" not in text.splitlines()
    assert "no mean latency" in text
    assert "Buffer link" not in text  # its load is 12 %
    assert answer.to_json()["stable"] is False


def test_a_single_stage_and_forty_detectors_are_shown() -> None:
    one, many = shown(ONE), shown(forty_detectors())
    assert "One stage" in one.page()
    assert "Nothing takes time." in one.page()
    assert "Of <b>1.00 kHz</b> of events the chain keeps" in one.page()
    assert "not known: no figure" in one.text()
    chain = next(x for x in drawings(many.page()) if x.get("class") == "chain")
    assert "40 detectors" in words_of(chain)
    assert many.page().count('<td class="name" data-v="&lt;img') >= 40  # each in the table


def test_hostile_names_stay_text() -> None:
    answer = shown(forty_detectors())
    page = answer.page()
    assert "<img" not in page
    assert html.escape(HOSTILE, quote=True)[:40] in page
    assert max(map(len, answer.text().splitlines())) <= COLUMNS


def test_the_text_fits_in_120_columns() -> None:
    for answer in (small(), overloaded(), shown(ONE), shown(forty_detectors())):
        assert max(map(len, answer.text().splitlines())) <= COLUMNS


def test_the_text_has_a_line_a_stage_and_the_losses_of_windows_by_cause() -> None:
    lines = small().text().splitlines()
    rows = {line.split()[0]: line for line in lines if line and not line.startswith(" ")}
    assert {"Trigger", "Buffer", "Farm", "Disk", "power", "rates", "loss", "physics", "money"} <= set(rows)
    assert "$800" in rows["money"]
    assert "100 kHz" in rows["Buffer"]
    assert any("no place left" in line for line in lines)
    assert "stable" in lines


def test_power_by_stage_and_detectors_adds_up_to_the_headline() -> None:
    for answer in (small(), overloaded()):
        total = sum(row.power_w for row in stage_rows(answer)) + detectors_power_w(answer)
        assert total == pytest.approx(answer.rates.power_w.value, rel=1e-12)
        document = answer.to_json()
        assert sum(document["power_by_stage_w"].values()) == pytest.approx(document["power_w"]["value"], rel=1e-12)
        parts = sum(part["value"] for part in document["power_by_part_w"].values())
        assert parts / document["technology_factor"]["value"] == pytest.approx(document["power_w"]["value"], rel=1e-12)


def test_the_loss_of_the_chain_is_that_of_its_stages_one_after_the_other() -> None:
    answer = small()
    rows = stage_rows(answer)
    lost = answer.rates.stage("Buffer").losses["full"].value
    assert lost_share(answer.rates.stage("Buffer")) == pytest.approx(lost, rel=1e-9)
    assert lost_share(answer.rates.stage("Farm")) == 0  # what is rejected is not lost
    assert chain_loss_share(rows) == pytest.approx(lost, rel=1e-9)
    assert answer.to_json()["loss_share"] == pytest.approx(lost, rel=1e-9)


def test_dead_time_costs_a_share_of_the_accepted_events_not_of_all() -> None:
    text = CHAIN.replace("latency_s: 4 us}", "latency_s: 4 us, dead_time_s: 1 us}")
    stage = shown(text, fidelity="rates").rates.stage("Trigger")
    # 100 kHz of accepted events, each followed by 1 us in which none is taken: 1 / 11 of them are lost
    assert lost_share(stage) == pytest.approx(1 / 11, rel=1e-6)
    assert stage.losses["dead_time"].value == pytest.approx(1 / 11 / 400, rel=1e-2)


def test_servers_and_room_are_those_of_the_line_that_is_shown() -> None:
    window = small().windows[0]
    assert servers_and_room(window, "Buffer") == (1, 4)
    assert servers_and_room(window, "Farm") == (8, math.inf)


def test_bars_are_as_long_as_their_logarithm() -> None:
    rows = [LogRow(name, "", [(value, "b-out", name)], "") for name, value in (("a", 10.0), ("b", 1000.0), ("c", 0.0))]
    bars = [x for x in drawings(log_bars(rows, "hz"))]
    widths = [[rect.get("width") for rect in bar.iter("rect") if rect.get("class") == "seg b-out"] for bar in bars]
    assert widths == [["33.33%"], ["100%"], []]  # an axis from 1 Hz to 1 kHz
    assert "1 kHz" in log_bars(rows, "hz")
    assert "Nothing to draw" in log_bars([], "hz")


@pytest.mark.parametrize(
    ("share", "words"), [(0.0, "0"), (1.8e-6, "1.8e-06"), (1.8e-4, "0.018 %"), (0.25, "25.0 %"), (math.nan, "-")]
)
def test_small_shares_keep_their_digits(share: float, words: str) -> None:
    assert share_words(share) == words


@pytest.mark.parametrize(
    ("low", "high", "words"), [(1e-3, 2e-3, "1.00 to 2.00 ms"), (2.67e-5, 150e3, "26.7 µs to 41.7 h"), (1.0, 1.0, "")]
)
def test_a_span_is_in_one_unit_unless_its_ends_are_far_apart(low: float, high: float, words: str) -> None:
    assert span_words(Range(low, low, high), "s") == words


def test_a_span_is_in_the_unit_of_its_number() -> None:
    assert span_words(Range(604e3, 230e3, 1.04e6), "w") == "230 to 1,040 kW"


def test_numbers_fit_their_columns() -> None:
    assert short(4.2768e13, "s") == "4.95e8 days"
    assert short(2.07e-23, "s") == "2.1e-23 s"
    assert short(40.8e6, "bytes_per_s") == "40.8 MB/s"
    assert [count_words(x) for x in (26_086.0, 1_900_000.0, 2e9)] == ["26,086", "1,900,000", "2.00e9"]
    assert [level_words(x) for x in (8.0, 8.8, 8.04, math.inf)] == ["8", "8.8", "8", "> 4095"]


def test_sentences_have_numbers_with_commas_and_names_as_they_are() -> None:
    said = "Stage 'farm 12345' is offered 1.55e+03 times what it serves; it needs 396845 servers of 0.123456 s."
    wanted = "Stage 'farm 12345' is offered 1,550 times what it serves; it needs 396,845 servers of 0.123456 s."
    assert tidied(said) == wanted


def test_an_interval_stands_behind_its_number() -> None:
    assert off_by(Uncertain(96.9e-6, 96.6e-6, 97.2e-6), "s") == "96.9 ± 0.3 µs"
    assert off_by(Uncertain(96.9e-6), "s") == "96.9 µs"
    assert share_off_by(Uncertain(0.026, 0.0248, 0.0272)) == "2.60 ± 0.12 %"
    assert (off_by(Uncertain(math.nan), "s"), share_off_by(Uncertain(0.0))) == ("-", "0")


def test_columns_of_the_text_never_run_together() -> None:
    slow = CHAIN.replace("servers: 8", "servers: 1").replace("time_s: 60 us", "time_s: 6e7 s")
    slow = slow.replace("events:", "ignored:")[: slow.index("events:")]
    lines = shown(slow, fidelity="rates").text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("stage "))
    assert len({len(line.split()) for line in lines[at : at + 1]}) == 1
    assert lines[at].split() == [
        "stage", "kind", "in", "out", "bytes", "out", "load", "link", "lost", "wait", "latency", "buffer", "power"
    ]  # fmt: skip
    farm = next(line for line in lines if line.startswith("Farm"))
    assert re.search(r"\dx !", farm)
    for unit in re.findall(r"(?:Hz|B/s|GB|%|!)\S", farm):
        assert unit == "B/s", farm


def test_the_power_of_stages_and_detectors_in_the_text_adds_up() -> None:
    answer = small()
    lines = answer.text().splitlines()
    row = next(line for line in lines if line.startswith("detectors and links"))
    assert row.split()[-2] == f"{detectors_power_w(answer):.2f}"


def test_the_text_of_replications_has_intervals() -> None:
    lines = shown(replications=3).text().splitlines()
    assert any(line.startswith("  latency mean") and "±" in line for line in lines)
    assert any(" out, " in line and "lost" in line and line.count("±") == 2 for line in lines)


def test_a_quantile_with_fewer_than_ten_events_beyond_it_is_not_known() -> None:
    answer = small()  # 180 of 1,800 events are kept in the counted 18 ms
    late = answer.windows[0].latency_s
    assert late["p90"].value > 0
    assert math.isnan(late["p99"].value)
    document = answer.to_json()["windows"]["all of it"]
    assert document["latency_s"]["p999"]["value"] is None
    assert 100 < document["latency_events"] < 200
    assert "p99.9 - (of " in answer.text()


def test_power_that_no_figure_gives_is_null() -> None:
    document = shown(ONE).to_json()
    assert document["power_w"] is None
    assert document["power_by_stage_w"] is None


def test_counts_of_elements_are_conserved() -> None:
    stages = small().to_json()["windows"]["all of it"]["stages"]
    seen = 0
    for stage in stages.values():
        for row in stage["counts"]:
            assert row["arrived"] == row["left"] + sum(row["lost"].values()) + row["in_flight"], row
            seen += row["arrived"]
    assert seen > 1000
    assert stages["Buffer"]["counts"][0]["lost"]["full"] > 0


def test_losses_are_shares_of_what_reaches_them() -> None:
    text = CHAIN.replace("latency_s: 4 us}", "latency_s: 4 us, dead_time_s: 1 us}")
    answer = shown(text)
    mean = mean_shares_where_lost(answer.rates.stage("Trigger"))["dead_time"]
    seen = shares_where_lost(answer.windows[0], "Trigger")
    assert mean == pytest.approx(1 / 11, rel=1e-6)  # of accepted events; 40 MHz come
    assert seen["rule"] == pytest.approx(1 / 11, rel=0.2)
    assert "the events that the decision accepts" in answer.page()


def test_sizes_are_decimal_on_the_page() -> None:
    page = shown(CHAIN.replace("    places: 4", "    buffer_bytes: 100 TB"), fidelity="rates").page()
    assert "TiB" not in page
    assert re.search(r"100(\.0)?<u>TB", page)


def test_busy_is_of_the_servers_that_are_up() -> None:
    text = CHAIN.replace("    servers: 8", "    servers: 8\n    duty: {on_s: 1.8 ms, period_s: 2 ms}")
    row = shown(text).windows[0].stages["Farm"]
    assert row.down_share.value == pytest.approx(0.1, abs=0.02)
    assert busy_of_up(row).value == pytest.approx(row.utilisation.value / (1 - row.down_share.value))


@pytest.mark.parametrize(
    ("name", "lines"),
    [("DiskBuffer", ["Disk", "Buffer"]), ("Disk Buffer", ["Disk", "Buffer"]), ("Disk", ["Disk"]),
     ("EventBuilder", ["Event", "Builder"])],
)  # fmt: skip
def test_a_long_name_breaks_between_its_words(name: str, lines: list[str]) -> None:
    assert _broken(name, 9) == lines


def test_counts_beyond_the_histogram_say_so() -> None:
    assert [count_words(x) for x in (0.0, 12.0, 0.31, math.inf, math.nan)] == ["0", "12", "0.310", "> 4095", "-"]


def test_a_figure_that_is_estimated_is_listed_with_its_range() -> None:
    listed = {row["figure"]: row for row in small().to_json()["estimated_figures"]}
    row = listed["stages.Buffer.service.time_s"]
    assert (row["lo"], row["value"], row["hi"]) == pytest.approx((6e-6, 8e-6, 9e-6))


def test_the_json_is_strict_and_names_what_decisions_pass() -> None:
    document = json.loads(json.dumps(small().to_json(), allow_nan=False))
    stage = document["stages"][0]
    chosen = stage["classifier"]
    fraction = 1 / 4000
    passed = chosen["relevant_pass_share"] * fraction + chosen["other_pass_share"] * (1 - fraction)
    assert 1 / passed == pytest.approx(chosen["achieved_reduction"], rel=1e-6)
    assert set(stage["loss_share_by_cause"]) == {"full", "failure", "rule", "dead_time"}


def test_replications_have_intervals_on_the_page() -> None:
    answer = shown(replications=3)
    assert answer.windows[0].stages["Buffer"].loss_share.known
    assert "over the replications" in answer.page()


@pytest.mark.browser
def test_a_browser_draws_the_page_and_runs_no_hostile_name(chromium: str, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(shown(forty_detectors()).page(), encoding="utf-8")
    done = subprocess.run(
        [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", f"file://{file}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    root = re.search(r"<html[^>]*>", done.stdout)
    assert root is not None
    assert 'data-ready="yes"' in root.group()
    assert "data-error" not in root.group()
    assert "data-hacked" not in root.group()
    assert 'class="chain"' in done.stdout
