"""The course of an adaptive search: volume and best of each objective so far, against evaluations and against time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from archcast.render.human import digits
from archcast.render.markup import esc, num, svg_text, tip
from archcast.render.plan_front import Scale
from archcast.render.search_front import SMALL_H, SMALL_W, log_ticks
from archcast.render.search_words import plain

if TYPE_CHECKING:
    from archcast.searching.answer import SearchAnswer

LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 34


def course_html(answer: SearchAnswer) -> str:
    """Return pictures of the course, "" where the search has none."""
    found = answer.convergence
    if found is None:
        return ""
    pictures = []
    axes = (("evaluations", found.evaluations.astype(float), ""), ("time", found.wall_s, " s"))
    if found.volume is not None:
        for words, along, unit in axes:
            lines = [("volume", found.volume)]
            pictures.append(_picture(f"Volume against {words}", along, unit, lines, 0.0, 1.0, "{:.0%}"))
    ratios = [
        (plain(name), found.best[:, k] / found.best[-1, k])
        for k, name in enumerate(answer.objectives) if found.best[-1, k] > 0
    ]  # fmt: skip
    if ratios:
        top = max(max(float(r[np.isfinite(r)].max()) for _, r in ratios), 1.05)
        for words, along, unit in axes:
            pictures.append(
                _picture(f"Best so far against {words}", along, unit, ratios, 1.0, min(top, 1e3), "{:.3g}x")
            )
    keys = "".join(f'<li><i class="key p{k}"></i>{esc(name)}</li>' for k, (name, _) in enumerate(ratios))
    return f'<ul class="legend inline">{keys}</ul><div class="reach">{"".join(pictures)}</div>'


def _picture(
    title: str, along: Any, unit: str, lines: Sequence[tuple[str, Any]], low: float, high: float, words: str
) -> str:
    """Return one picture: lines over a logarithmic axis."""
    positive = np.maximum(along, max(float(along.max()) * 1e-4, 1e-6))
    x = Scale(float(positive.min()), float(positive.max()) * 1.001, True, LEFT, SMALL_W - RIGHT)
    y = Scale(low, high, low > 0, SMALL_H - BOTTOM, TOP)
    parts = []
    ticks = log_ticks(low, high, 5) if low > 0 else [0.0, 0.25, 0.5, 0.75, 1.0]
    for value in ticks:
        at = y.at(value)
        parts.append(f'<path class="grid" d="M{LEFT} {num(at)}H{SMALL_W - RIGHT}"/>')
        parts.append(svg_text(LEFT - 6, at + 4, words.format(value), "", "end"))
    for value in log_ticks(x.lo, x.hi, 5):
        parts.append(svg_text(x.at(value), SMALL_H - BOTTOM + 17, f"{digits(value)}{unit}", "", "middle"))
    parts.append(f'<path class="axisline" d="M{LEFT} {TOP}V{SMALL_H - BOTTOM}H{SMALL_W - RIGHT}"/>')
    for k, (name, values) in enumerate(lines):
        points = [(x.at(float(at)), y.at(min(max(float(v), low), high)), float(at), float(v))
                  for at, v in zip(positive, values, strict=True) if math.isfinite(v)]  # fmt: skip
        if not points:
            continue
        path = f"M{num(points[0][0])} {num(points[0][1])}" + "".join(f"H{num(px)}V{num(py)}" for px, py, _, _ in points)
        parts.append(f'<path class="line m{k % 5}" d="{path}"/>')
        px, py, at, value = points[-1]
        about = tip(name, f"{words.format(value)} at {digits(at)}{unit}")
        parts.append(f'<circle class="p{k % 5}" cx="{num(px)}" cy="{num(py)}" r="3.4">{about}</circle>')
    svg = f'<svg viewBox="0 0 {SMALL_W} {SMALL_H}" role="img" aria-label="{esc(title)}">{"".join(parts)}</svg>'
    return f"<div><h3>{esc(title)}</h3>{svg}</div>"
