"""The roofline: dots stand where the arithmetic says, and names overlap neither each other nor leave the plot."""

from __future__ import annotations

import math
import re
from itertools import combinations

import pytest
import render_samples as samples
from hypothesis import given
from hypothesis import strategies as st

from archcast.render.labels import Box, Labels
from archcast.render.roofline import Frame, roofline, roofline_svg
from archcast.render.waterfall import waterfall_html
from costmodel.explain import Step


def test_a_product_stands_at_its_intensity_and_rate() -> None:
    estimate = samples.estimate_of([samples.gemm("up", 512, 1024, 2048)])
    assert estimate.detail is not None
    assert estimate.latency_s is not None
    dot = roofline(estimate.detail, estimate.explain().operators).dots[0]
    flop, moved = 2 * 512 * 1024 * 2048, 2 * (512 * 2048 + 1024 * 2048 + 512 * 1024)
    assert dot.intensity_flop_per_byte == pytest.approx(flop / moved)
    assert dot.rate_flop_per_s == pytest.approx(flop / estimate.latency_s.value)
    assert dot.share == pytest.approx(1.0)


def test_no_dot_stands_above_the_peak() -> None:
    estimate = samples.language_model()
    assert estimate.detail is not None
    chart = roofline(estimate.detail, estimate.explain().operators)
    top = max(rate for _, rate, _ in chart.peaks)
    assert top == pytest.approx(989.4e12)
    assert all(dot.rate_flop_per_s <= top for dot in chart.dots)
    assert dict(chart.roofs)["device memory"] == pytest.approx(3.35e12)


def test_operators_without_arithmetic_are_counted_not_drawn() -> None:
    estimate = samples.language_model()
    assert estimate.detail is not None
    operators = estimate.explain().operators
    chart = roofline(estimate.detail, operators)
    silent = [o for o in operators if o.work_flop == 0]
    assert silent
    assert chart.off == len(silent)
    assert chart.off_share == pytest.approx(sum(o.share for o in silent))
    assert len(chart.dots) + chart.off + chart.hidden == len(operators)
    few = roofline(estimate.detail, operators, limit=3)
    assert (len(few.dots), few.hidden) == (3, len(chart.dots) - 3)


@pytest.mark.parametrize("width", [380, 1080])
def test_dots_lie_inside_the_drawing(width: int) -> None:
    estimate = samples.language_model()
    assert estimate.detail is not None
    svg = roofline_svg(roofline(estimate.detail, estimate.explain().operators), width_px=width, height_px=420)
    centres = re.findall(r'<circle class="dot[^>]*cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert len(centres) > 20
    assert all(0 < float(x) < width and 0 < float(y) < 420 for x, y in centres)


def test_the_area_of_a_dot_is_its_share_of_the_time() -> None:
    estimate = samples.language_model()
    assert estimate.detail is not None
    chart = roofline(estimate.detail, estimate.explain().operators)
    radii = [float(r) for r in re.findall(r'<circle class="dot[^>]* r="([\d.]+)"', roofline_svg(chart))]
    assert (radii[0] / radii[1]) ** 2 == pytest.approx(chart.dots[0].share / chart.dots[1].share, rel=0.01)


@given(st.floats(1e-3, 1e6), st.floats(1e9, 1e16))
def test_a_decade_is_the_same_length_everywhere(intensity: float, rate: float) -> None:
    frame = Frame(50, 1050, 10, 480, -3, 7, 9, 17)
    assert frame.x(10 * intensity) - frame.x(intensity) == pytest.approx(100)
    assert frame.y(rate) - frame.y(10 * rate) == pytest.approx(470 / 8)


@given(st.lists(st.tuples(st.floats(0, 800), st.floats(0, 400), st.text("abc", min_size=1, max_size=25)), max_size=25))
def test_names_never_overlap(dots: list[tuple[float, float, str]]) -> None:
    area = Box(0, 0, 800, 400)
    labels = Labels(area, [])
    before = 0
    for x, y, name in dots:
        spot = labels.place(name, x, y, 5.0)
        assert len(labels.taken) == before + (spot is not None)
        before = len(labels.taken)
    assert not any(a.meets(b) for a, b in combinations(labels.taken, 2))
    assert all(area.holds(box) for box in labels.taken)


def test_a_name_without_room_is_left_out() -> None:
    labels = Labels(Box(0, 0, 60, 20), [])
    assert labels.place("a name far too long for this", 30, 10, 4) is None


def test_the_bars_of_the_waterfall_lie_end_to_end() -> None:
    estimate = samples.language_model()
    html = waterfall_html(estimate.explain().steps)
    bars = [
        (float(x), float(w)) for x, w in re.findall(r'<rect class="seg [^"]*" x="([\d.]+)%" width="([\d.]+)%"', html)
    ]
    *steps, whole = bars
    assert whole == (0.0, 100.0)
    end = 0.0
    for x, width in steps:
        assert x == pytest.approx(end, abs=0.3)
        end = x + width
    assert end == pytest.approx(100, abs=0.3)


def test_a_step_that_gains_time_is_drawn_backwards() -> None:
    steps = (Step("peak", "", 2.0, 100.0), Step("device memory", "", 2.0, 50.0), Step("power", "", -1.0, 66.7))
    html = waterfall_html(steps)
    last = re.findall(r'<rect class="seg b-overhead" x="([\d.]+)%" width="([\d.]+)%"', html)
    assert [(float(x), float(w)) for x, w in last] == [(75.0, 25.0)]
    assert "-1.00 s" in html
    assert math.isclose(sum(s.added_s for s in steps), 3.0)
    assert "3.00 s" in html


def test_a_waterfall_of_nothing_says_so() -> None:
    assert "no time" in waterfall_html(())
