"""Two pictures of the layers in the order in which they run: the efficiency gap, and the waterline."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from archcast.render.human import digits, percent, text
from archcast.render.markup import esc, num, section, svg_text, tip
from costmodel.estimate import Detail
from costmodel.layer_gaps import LayerGaps, layer_gaps

MAX_LAYERS = 600
"""Layers drawn; where there are more, the shortest are left out and what they take stands in a note."""
WIDE, NARROW, HEIGHT = 1080, 380, 330
LEFT, RIGHT, TOP, BOTTOM = 72, 14, 14, 44
LEAST_DECADES = 2.0


def waterline_section(detail: Detail) -> str:
    """Return the card with both pictures; an empty text where there is one layer or no arithmetic."""
    gaps = layer_gaps(detail)
    if len(gaps.names) < 3 or not gaps.ideal_s.sum() > 0:
        return ""
    shown = _longest(gaps)
    share = percent(gaps.efficiency_share)
    which = f" of the pass '{esc(gaps.pass_name)}'" if len(detail.workload.passes) > 1 else ""
    lead = (
        f"Layers{which} in the order in which they run, coloured by bound. MACs alone at the peak would take {share} "
        "of the time. Above: where a layer climbs steeper than the straight line, it loses time that its MACs do not "
        "explain. Below: the width of a layer is its time; one that does not reach the waterline could not run at the "
        "peak even if it lost nothing else: memory delivers too little for its arithmetic."
    )
    body = "".join(
        f'<h3>{title}</h3><div class="wideonly">{draw(shown, WIDE)}</div>'
        f'<div class="narrow">{draw(shown, NARROW)}</div>'
        for title, draw in (("efficiency gap", gap_svg), ("waterline", waterline_svg))
    )
    hidden = len(gaps.names) - len(shown.names)
    if hidden:
        left = percent(1 - float(shown.latency_s.sum()) / float(gaps.latency_s.sum()))
        body += f'<p class="note">{hidden:,} shorter layers are not drawn ({left} of the time).</p>'
    return section("Layer by layer", body, lead=lead, name="layers")


def _longest(gaps: LayerGaps) -> LayerGaps:
    if len(gaps.names) <= MAX_LAYERS:
        return gaps
    kept = np.sort(np.argsort(-gaps.latency_s, kind="stable")[:MAX_LAYERS])
    changes: dict[str, Any] = {name: tuple(getattr(gaps, name)[i] for i in kept) for name in ("names", "ops", "bounds")}
    changes |= {
        name: getattr(gaps, name)[kept] for name in ("repeats", "ideal_s", "latency_s", "intensity_flop_per_byte")
    }
    return replace(gaps, **changes)


def gap_svg(gaps: LayerGaps, width_px: int = WIDE) -> str:
    """Return cumulative time over cumulative ideal time: one piece a layer, and the line of no loss."""
    ideal, actual = float(gaps.ideal_s.sum()), float(gaps.latency_s.sum())
    x = _scale(0.0, ideal, LEFT, width_px - RIGHT)
    y = _scale(0.0, actual, HEIGHT - BOTTOM, TOP)
    parts = [_frame(width_px)]
    for i in range(5):
        at = actual * i / 4
        parts.append(_rule(y(at), width_px) + svg_text(LEFT - 7, y(at) + 4, text(at, "s") if i else "0", "tick", "end"))
    for i in range(1, 5 if width_px > 600 else 3):
        at = ideal * i / (4 if width_px > 600 else 2)
        parts.append(svg_text(x(at), HEIGHT - BOTTOM + 17, text(at, "s"), "tick", "end" if at == ideal else "middle"))
    parts.append(f'<path class="nolossline" d="M{num(x(0))} {num(y(0))}L{num(x(ideal))} {num(y(ideal))}"/>')
    done_x = done_y = 0.0
    for i in range(len(gaps.names)):
        end_x, end_y = done_x + float(gaps.ideal_s[i]), done_y + float(gaps.latency_s[i])
        parts.append(
            f'<path class="layer s-{esc(gaps.bounds[i])}" d="M{num(x(done_x))} {num(y(done_y))}'
            f'L{num(x(end_x))} {num(y(end_y))}">{_tip(gaps, i)}</path>'
        )
        done_x, done_y = end_x, end_y
    parts.append(svg_text(x(ideal) - 8, y(ideal) - 8, "no loss", "dotname", "end"))
    parts.append(_below(width_px, "ideal time so far: MACs at the peak"))
    label = f"Efficiency gap: {text(actual, 's')} beside an ideal of {text(ideal, 's')}"
    return _svg(width_px, label, parts)


def waterline_svg(gaps: LayerGaps, width_px: int = WIDE) -> str:
    """Return the intensity of each layer over the time so far, and the line below which layers wait for memory."""
    line = gaps.waterline_flop_per_byte
    finite = np.isfinite(gaps.intensity_flop_per_byte) & (gaps.intensity_flop_per_byte > 0)
    known = np.append(gaps.intensity_flop_per_byte[finite], line)
    high = math.log10(float(known.max())) + 0.15
    low = max(min(math.log10(float(known.min())) - 0.15, high - LEAST_DECADES), high - 6)
    x = _scale(0.0, float(gaps.latency_s.sum()), LEFT, width_px - RIGHT)
    y = _scale(low, high, HEIGHT - BOTTOM, TOP)
    parts = [_frame(width_px)]
    for power in range(math.ceil(low), math.floor(high) + 1):
        parts.append(_rule(y(power), width_px))
        parts.append(svg_text(LEFT - 7, y(power) + 4, f"{10.0**power:,.{max(0, -power)}f}", "tick", "end"))
    begin = 0.0
    for i, name in enumerate(gaps.bounds):
        end = begin + float(gaps.latency_s[i])
        value = gaps.intensity_flop_per_byte[i]
        top = y(high if not finite[i] and value > 0 else max(low, math.log10(value)) if value > 0 else low)
        parts.append(
            f'<rect class="layerbar b-{esc(name)}" x="{num(x(begin))}" y="{num(top)}" '
            f'width="{num(max(x(end) - x(begin), 0.3))}" height="{num(max(HEIGHT - BOTTOM - top, 0.8))}">'
            f"{_tip(gaps, i)}</rect>"
        )
        begin = end
    at = y(math.log10(line))
    parts.append(f'<path class="waterline" d="M{LEFT} {num(at)}H{num(width_px - RIGHT)}"/>')
    name = f"waterline: {digits(line)} FLOP/B"
    parts.append(svg_text(width_px - RIGHT - 6, at - 7, name, "dotname", "end"))
    parts.append(_below(width_px, "time so far; height: FLOP per byte of device memory"))
    return _svg(width_px, f"Waterline: intensity of {len(gaps.names)} layers over their time", parts)


def _scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = high - low if high > low else 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _frame(width_px: int) -> str:
    return f'<path class="axisline" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{width_px - RIGHT}"/>'


def _rule(y: float, width_px: int) -> str:
    return f'<path class="grid" d="M{LEFT} {num(y)}H{width_px - RIGHT}"/>'


def _below(width_px: int, words: str) -> str:
    return svg_text((LEFT + width_px - RIGHT) / 2, HEIGHT - BOTTOM + 37, words, "axis", "middle")


def _svg(width_px: int, label: str, parts: list[str]) -> str:
    head = f'<svg class="roofline layers" viewBox="0 0 {width_px} {HEIGHT}" role="img" aria-label="{esc(label)}">'
    return head + "".join(parts) + "</svg>"


def _tip(gaps: LayerGaps, i: int) -> str:
    latency, ideal = float(gaps.latency_s[i]), float(gaps.ideal_s[i])
    times = f", {gaps.repeats[i]:,.0f} times" if gaps.repeats[i] > 1 else ""
    return tip(
        f"{gaps.names[i]} ({gaps.ops[i]}){times}", f"{text(latency, 's')}, ideal {text(ideal, 's')}",
        f"{digits(float(gaps.intensity_flop_per_byte[i]))} FLOP/B, bound by {gaps.bounds[i]}",
    )  # fmt: skip
