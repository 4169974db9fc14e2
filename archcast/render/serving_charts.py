"""Line charts of a serving simulation as SVG: times over time, distributions, and levels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from archcast.render.human import digits, percent, text, unit_of
from archcast.render.markup import esc, num, svg_text, tip
from workloads.table import Array

WIDTH, HEIGHT = 520, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 14, 40

STYLE = """
svg.chart{width:100%;height:auto;overflow:visible}
.chart text{fill:var(--soft);font-size:12px}
.chart .axis{font-size:12px}
.chart .line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.chart .area{stroke:none;fill-opacity:.16}
.chart .limit-line{stroke:var(--bad);stroke-width:1.4;stroke-dasharray:5 4;fill:none}
.chart .limit-name{fill:var(--bad);paint-order:stroke;stroke:var(--card);stroke-width:3px}
.chart .hit{fill:transparent;stroke:none}
.chart .hit:hover{fill:var(--soft);fill-opacity:.1}
.l0{stroke:var(--accent)}.l1{stroke:var(--memory)}.l2{stroke:var(--bad)}.l3{stroke:var(--network)}.l4{stroke:var(--overhead)}
.f0{fill:var(--accent);background:var(--accent)}.f1{fill:var(--memory);background:var(--memory)}
.f2{fill:var(--bad);background:var(--bad)}.f3{fill:var(--network);background:var(--network)}
.f4{fill:var(--overhead);background:var(--overhead)}
.charts{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:18px 26px}
.charts h3{margin:0 0 4px}
.verdict.maybe{background:var(--badbg);color:var(--bad)}
.times td,.times td.what b{white-space:nowrap;overflow-wrap:normal}
@media (max-width:720px){.charts{grid-template-columns:minmax(0,1fr)}}
"""


@dataclass(frozen=True)
class Line:
    """One curve: points with a name; NaN breaks it. `filled` paints the area below."""

    name: str
    x: Array
    y: Array
    style: int
    filled: bool = False


@dataclass(frozen=True)
class Axis:
    """kind: of quantity (`human.LADDERS`), or "share". log: logarithmic."""

    name: str
    kind: str
    log: bool = False


def chart(
    lines: Sequence[Line], x: Axis, y: Axis, *, limit: tuple[float, str] | None = None, across: bool = False
) -> str:
    """Return one chart with axes, and a legend where there are several lines.

    limit: (value, name) of a line across: on the y axis, or with `across` on the x axis.
    """
    known = [line for line in lines if np.isfinite(line.y).any()]
    if not known:
        return '<p class="note">Nothing to draw.</p>'
    frame = _Frame(known, x, y, limit, across)
    body = frame.grid() + "".join(frame.line(line) for line in known) + frame.limit_line() + frame.hits(known)
    drawing = f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{esc(y.name)}">{body}</svg>'
    keys = "".join(f'<li><i class="key f{line.style}"></i>{esc(line.name)}</li>' for line in known)
    return (f'<ul class="legend inline">{keys}</ul>' if len(known) > 1 else "") + drawing


class _Frame:
    """Scales of both axes."""

    def __init__(
        self, lines: Sequence[Line], x: Axis, y: Axis, limit: tuple[float, str] | None, across: bool
    ) -> None:  # fmt: skip
        self.x, self.y, self.limit, self.across = x, y, limit, across
        xs = np.concatenate([line.x[np.isfinite(line.y)] for line in lines])
        ys = np.concatenate([line.y[np.isfinite(line.y)] for line in lines])
        if limit:
            inside = limit[0] < 3 * float((xs if across else ys).max())
            if inside and across:
                xs = np.append(xs, limit[0])
            elif inside:
                ys = np.append(ys, limit[0])
            else:
                self.limit = None
        self.x_ends, self.y_ends = _ends(xs, x, True), _ends(ys, y, False)

    def px(self, x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * _place(x, self.x_ends, self.x.log)

    def py(self, y: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _place(y, self.y_ends, self.y.log)

    def grid(self) -> str:
        parts, bottom = [], HEIGHT - BOTTOM
        for value, label in _ticks(self.y_ends, self.y, 5):
            at = self.py(value)
            parts.append(f'<path class="grid" d="M{LEFT} {num(at)}H{WIDTH - RIGHT}"/>')
            parts.append(svg_text(LEFT - 7, at + 4, label, anchor="end"))
        for value, label in _ticks(self.x_ends, self.x, 6):
            at = self.px(value)
            parts.append(f'<path class="grid" d="M{num(at)} {TOP}V{bottom}"/>')
            parts.append(svg_text(at, bottom + 16, label, anchor="middle"))
        parts.append(f'<path class="axisline" d="M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}"/>')
        parts.append(svg_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, self.x.name, "axis", "middle"))
        return "".join(parts)

    def line(self, line: Line) -> str:
        runs: list[list[str]] = [[]]
        for x, y in zip(line.x.tolist(), line.y.tolist(), strict=True):
            if math.isfinite(y) and not (self.y.log and y <= 0):
                runs[-1].append(f"{num(self.px(x))} {num(self.py(y))}")
            elif runs[-1]:
                runs.append([])
        path = "".join(f"M{'L'.join(points)}" for points in runs if points)
        area = ""
        if line.filled and len(runs) == 1 and path:
            first, last = (self.px(float(x)) for x in (line.x[0], line.x[-1]))
            base = num(HEIGHT - BOTTOM)
            area = f'<path class="area f{line.style}" d="{path}L{num(last)} {base}L{num(first)} {base}Z"/>'
        return f'{area}<path class="line l{line.style}" d="{path}"/>'

    def limit_line(self) -> str:
        if not self.limit:
            return ""
        value, name = self.limit
        if self.across:
            at = self.px(value)
            left = at > (LEFT + WIDTH) / 2
            words = svg_text(at - 5 if left else at + 5, TOP + 11, name, "limit-name", "end" if left else "start")
            return f'<path class="limit-line" d="M{num(at)} {TOP}V{HEIGHT - BOTTOM}"/>{words}'
        at = self.py(value)
        words = svg_text(WIDTH - RIGHT - 4, at - 5, name, "limit-name", "end")
        return f'<path class="limit-line" d="M{LEFT} {num(at)}H{WIDTH - RIGHT}"/>{words}'

    def hits(self, lines: Sequence[Line], most: int = 60) -> str:
        """Return invisible columns that show the values under the pointer."""
        longest = max(lines, key=lambda line: len(line.x))
        chosen = np.unique(np.linspace(0, len(longest.x) - 1, min(most, len(longest.x))).astype(int))
        centre = [self.px(float(longest.x[i])) for i in chosen]
        edges = [LEFT, *((a + b) / 2 for a, b in pairwise(centre)), WIDTH - RIGHT]
        parts = []
        for k, i in enumerate(chosen.tolist()):
            at = float(longest.x[i])
            words = [f"{self.x.name}: {_label(at, self.x)}"]
            for line in lines:
                near = int(np.argmin(np.abs(line.x - at)))
                if math.isfinite(line.y[near]):
                    words.append(f"{line.name}: {_label(float(line.y[near]), self.y)}")
            width = max(edges[k + 1] - edges[k], 0.5)
            box = f'x="{num(edges[k])}" y="{TOP}" width="{num(width)}" height="{HEIGHT - TOP - BOTTOM}"'
            parts.append(f'<rect class="hit" {box}>{tip(*words)}</rect>')
        return "".join(parts)


def _ends(values: Array, axis: Axis, tight: bool) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if axis.log:
        low = float(values[values > 0].min()) if (values > 0).any() else 1e-3
        return (low, high) if tight and high > low else (low / 1.2, max(high, low) * 1.2)
    if tight and high > low:
        return low, high
    return 0.0, 1.0 if axis.kind == "share" and high > 0.5 else (high * 1.08 or 1.0)


def _place(value: float, ends: tuple[float, float], log: bool) -> float:
    low, high = ends
    if log:
        return (math.log(max(value, 1e-300)) - math.log(low)) / (math.log(high) - math.log(low))
    return (value - low) / (high - low)


def _ticks(ends: tuple[float, float], axis: Axis, about: int) -> list[tuple[float, str]]:
    low, high = ends
    if axis.log:
        found = [m * 10.0**e for e in range(-9, 10) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
        if len(found) > about + 2:
            found = [x for x in found if f"{x:.0e}".startswith("1")] or found[:about]
        return [(x, _label(x, axis)) for x in found]
    # steps are round in the unit of the labels: minutes and hours are no powers of ten
    unit = unit_of(high, axis.kind)[0] if axis.kind not in ("", "share") and high > 0 else 1.0
    raw = (high - low) / about / unit
    size = 10.0 ** math.floor(math.log10(raw))
    step = unit * next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [(k * step, _label(k * step, axis, high)) for k in range(first, int(high / step + 1e-9) + 1)]


def _label(value: float, axis: Axis, whole: float = 0.0) -> str:
    """Return a value with its unit; of an axis all in the unit of its largest value."""
    if axis.kind == "share":
        return f"{100 * value:.3g} %" if whole else percent(value)
    if whole:
        factor, unit = unit_of(whole, axis.kind)
        return f"{float(f'{value / factor:.6g}'):g}{'' if unit.startswith('/') else ' '}{unit}".strip()
    return text(value, axis.kind) if axis.kind else digits(value)
