"""The page, the terminal's table and the trace of a serving simulation."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import archcast
from serving_samples import SMALL, served, written

from archcast.render.serving_charts import Axis, Line, chart
from simulator.serving.run import once

HOSTILE = "<img src=x onerror=\"document.documentElement.dataset.hacked='1'\">"


def test_the_page_has_the_verdict_the_limits_and_every_figure(tmp_path: Path) -> None:
    page = served(tmp_path, slo__tpot_s=0.003).page()
    for words in (
        "Feasible, stable and within its limits", "TTFT ≤ 1.00 s", "TPOT ≤ 3.00 ms", "limit 1.00 s",
        "Latency over time", "Time to first token", "Distributions",
        "Between tokens", "Requests in the fleet", "KV blocks in use", "Tokens a second", "trace hash",
    ):  # fmt: skip
        assert words in page, words
    assert page.count('<svg class="chart"') == 9
    assert page.count('class="limit-line"') == 2  # that of TTFT is far beyond its drawings
    assert "NaN" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_past_saturation_the_page_says_so_in_place_of_a_verdict(tmp_path: Path) -> None:
    answer = served(tmp_path, traffic__rate_hz=2000, traffic__requests=1500)
    assert "<b>Unstable.</b>" in answer.page()
    assert "Feasible, stable" not in answer.page()
    assert "UNSTABLE" in answer.text()


def test_the_headline_says_whether_the_limits_are_met(tmp_path: Path) -> None:
    short: dict[str, Any] = {"traffic__requests": 350, "replications": 1}
    met, missed, some, none = (
        served(tmp_path, **short, **more)
        for more in ({}, {"slo__ttft_s": 1e-4}, {"slo__ttft_s": 1e-4, "slo__share": 1e-9}, {"slo": {"share": 0.5}})
    )
    assert [answer.to_json()["slo_met"] for answer in (met, missed, none)] == [True, False, None]
    assert all(answer.to_json()["stable"] is True for answer in (met, missed, none))
    assert all(answer.verdict == "feasible" for answer in (met, missed, none))  # it fits: that is all it says
    assert "Feasible, stable and within its limits" in met.page()
    assert "misses its limits: 0.0 %" in missed.text()
    assert "99.0 % are asked for" in missed.text()
    assert "feasible, stable" not in missed.text()
    assert 'class="verdict no"><b>Misses its limits.</b>' in missed.page()
    assert some.slo_met is False  # none meets it: less than any share
    assert not any("Too short" in note for note in met.notes)


@pytest.mark.parametrize("changes", [{"traffic__requests": 200}, {"traffic__rate_hz": 250, "traffic__generate": 800}])
def test_a_run_too_short_to_tell_says_so(tmp_path: Path, changes: dict[str, Any]) -> None:
    answer = served(tmp_path, replications=1, policy={"most_tokens": 1024, "most_requests": 1024}, **changes)
    assert answer.stable
    assert any("Too short to tell whether it keeps up" in note for note in answer.notes)
    assert "raise traffic.requests" in answer.text()


def test_the_head_says_the_rate_that_was_asked_for_and_those_that_were_drawn(tmp_path: Path) -> None:
    answer = served(tmp_path, replications=3, traffic__requests=60)
    asked = answer.to_json()["asked"]["traffic"]
    spans = [once(answer.scenario, i).requests.arrival.max() / 1e12 for i in range(3)]
    assert asked["rate_hz"] == pytest.approx(np.mean([60 / span for span in spans]))
    assert asked["rate_drawn_hz"] == pytest.approx([60 / max(spans), 60 / min(spans)])
    assert asked["rate_asked_hz"] == 20
    head = answer.text().splitlines()[1]
    assert f"at 20.0/s (drawn: {60 / max(spans):.1f} to {60 / min(spans):.1f}/s)" in head
    assert "20.0/s (drawn:" in answer.page()


def test_the_text_tells_of_failures_scaling_and_pools(tmp_path: Path) -> None:
    plain = served(tmp_path, traffic__requests=60).text()
    assert not any(line.startswith(("outages", "scaling", "pool")) for line in plain.splitlines())
    rule: dict[str, Any] = {"target": 1, "most": 3, "period_s": 0.5, "cold_start_s": 0.5}
    text = SMALL + "pools:\n  - {name: a, failures: [{instance: 0, at_s: 1, down_s: 0.5}]}\n  - {name: b}\n"
    shares: dict[str, Any] = {"kind": "route", "shares": {"a": 0.5, "b": 0.5}}
    answer = served(tmp_path, text, workflow=shares, autoscaling=rule, replications=1)
    assert answer.study is not None
    lines = {line.split()[0]: line for line in answer.text().splitlines() if line}
    assert "1 a run" in lines["outages"]
    assert "interrupted and sent to another instance" in lines["outages"]
    hours = answer.study.numbers["instance_s"].value / 3600
    assert f"{hours:.3f}"[:4] in lines["scaling"]
    pools = [line for line in answer.text().splitlines() if line.startswith("pool")]
    assert ["a:" in pools[0], "b:" in pools[1]] == [True, True]
    energy = sum(pool["energy_j"] for pool in answer.to_json()["pools"])
    watts = sum(pool["power_w"] for pool in answer.to_json()["pools"])
    assert watts * answer.study.first.horizon / 1e12 == pytest.approx(energy)
    assert "pool a" in answer.page()


def test_with_speculation_gaps_are_those_of_steps(tmp_path: Path) -> None:
    short: dict[str, Any] = {"traffic__requests": 60, "replications": 1}
    answer = served(tmp_path, speculation={"tokens": 3, "acceptance": 0.7}, **short)
    assert "between decode steps" in answer.text()
    assert "Between decode steps" in answer.page()
    assert "between tokens" not in answer.text()
    assert "between decode steps" not in served(tmp_path, **short).text()


def test_what_does_not_fit_has_a_page_without_figures(tmp_path: Path) -> None:
    answer = served(tmp_path, model="llama-3.1-70b")
    page = answer.page()
    assert "Infeasible." in page
    assert "<svg" not in page
    # 131.4 GiB of weights and what 0.9 x 80 GiB of an H100 do not hold
    assert re.search(r"infeasible: a device of 80\.0 GiB has 13\d GiB .* is 5\d\.\d GiB short", answer.text())
    assert answer.to_chrome_trace()["traceEvents"] == []


def test_names_of_files_and_pools_stay_text(tmp_path: Path) -> None:
    text = SMALL + f"pools:\n  - {{name: '{HOSTILE.replace(chr(39), chr(39) * 2)}'}}\n"
    page = served(tmp_path, text).page()
    assert "<img" not in page
    assert "&lt;img" in page


def test_the_terminal_shows_times_by_percentile_and_what_they_rest_on(tmp_path: Path) -> None:
    ended = archcast("simulate", written(tmp_path), "--seed", "1")
    assert ended.code == 0
    for words in ("time to first token", "time per output token", "between tokens", "end to end", "p99", "stable",
                  "ttft <= 1.00 s", "2 replications, seed 1", "KV blocks", "a million tokens out"):  # fmt: skip
        assert words in ended.stdout, words
    assert max(len(line) for line in ended.stdout.splitlines() if not line.startswith("note")) <= 140


def test_the_trace_has_every_step_and_every_request(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    answer = served(tmp_path)
    ended = archcast("simulate", written(tmp_path), "--seed", "1", "--trace", file, "--html", tmp_path / "page.html")
    assert ended.code == 0
    doc = json.loads(file.read_text())
    assert answer.study is not None
    assert doc["otherData"]["trace_hash"] == answer.study.trace_hashes[0]
    slices = [event for event in doc["traceEvents"] if event["ph"] == "X"]
    assert len(slices) == len(answer.study.first.steps["start"])
    ends = [event["ts"] + event["dur"] for event in slices]
    assert all(end <= later["ts"] + 1e-3 for end, later in zip(ends, slices[1:], strict=False))  # one lane, in order
    begun = [event for event in doc["traceEvents"] if event["ph"] == "b" and event["name"] == "answer"]
    assert len(begun) == 400
    assert sum(event["args"]["generate"] for event in begun) == answer.study.first.requests.generate.sum()
    assert (tmp_path / "page.html").stat().st_size > 20_000


def test_a_chart_keeps_its_points_in_its_frame_and_breaks_where_there_is_none() -> None:
    x, y = np.arange(5.0), np.array([1.0, 3.0, np.nan, 2.0, 4.0])
    drawing = chart([Line("one", x, y, 0)], Axis("time", "s"), Axis("value", "s"), limit=(5.0, "limit"))
    path = re.search(r'class="line l0" d="([^"]+)"', drawing)
    assert path is not None
    assert path[1].count("M") == 2
    points = [tuple(map(float, point.split())) for point in re.split("[ML]", path[1]) if point]
    assert all(58 <= px <= 506 and 14 <= py <= 210 for px, py in points)
    assert "limit" in drawing
    far = chart([Line("one", x, y, 0)], Axis("time", "s"), Axis("value", "s"), limit=(500.0, "limit"))
    assert "limit-line" not in far


def test_a_chart_of_nothing_says_so() -> None:
    empty = chart([Line("one", np.zeros(0), np.zeros(0), 0)], Axis("time", "s"), Axis("value", "s"))
    assert "Nothing to draw" in empty


@pytest.mark.browser
def test_the_page_draws_in_a_browser_without_an_error(chromium: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(served(tmp_path).page(), encoding="utf-8")
    command = [
        chromium, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--virtual-time-budget=2000",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    tree = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert 'data-ready="yes"' in tree
    assert "data-error" not in tree
    assert tree.count("data-tip=") > 100
