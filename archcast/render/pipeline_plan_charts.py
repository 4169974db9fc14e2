"""Pictures of a plan of a pipeline's farm: the front of servers against buffer, and loss against servers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from archcast.planning.pipeline_binds import load_only
from archcast.planning.pipeline_confirm import Seen, seen_loss
from archcast.planning.pipeline_words import share
from archcast.render.human import digits, text
from archcast.render.markup import esc, num, svg_text, tip

if TYPE_CHECKING:
    from archcast.planning.pipeline_answer import PipelinePlan
    from archcast.planning.pipeline_farm import Farm
    from archcast.planning.pipeline_search import Judged

WIDTH, HEIGHT = 540, 320
LEFT, RIGHT, TOP, BOTTOM = 66, 22, 16, 46
POINTS = 72
FLOOR = 1e-3
"""Losses below the limit times this are not drawn."""
STYLE = """
svg.farm{width:100%;height:auto;overflow:visible}
.farm text{fill:var(--soft);font-size:12px}
.farm .line{fill:none;stroke-width:1.9;stroke-linejoin:round}
.farm .line.dash{stroke-dasharray:5 4;stroke-width:1.5}
.farm .band{stroke:none;fill-opacity:.15}
.farm .dot{stroke:var(--card);stroke-width:1.2}
.farm .ring{fill:none;stroke:var(--ink);stroke-width:2}
.farm .limit-line{stroke:var(--bad);stroke-width:1.4;stroke-dasharray:5 4;fill:none}
.farm .limit-name{fill:var(--bad);paint-order:stroke;stroke:var(--card);stroke-width:3px}
.farm .name{fill:var(--ink);paint-order:stroke;stroke:var(--card);stroke-width:3px}
.farm .hit{fill:transparent}
"""


class _Frame:
    """Two scales, each linear or logarithmic, and their grid."""

    def __init__(self, xs: Sequence[float], ys: Sequence[float], log: tuple[bool, bool]) -> None:
        self.log = log
        self.x, self.y = _ends(xs, log[0]), _ends(ys, log[1])

    def px(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * _place(value, self.x, self.log[0])

    def py(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * _place(value, self.y, self.log[1])

    def path(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        inside = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y) and y >= self.y[0]]
        return "M" + "L".join(f"{num(self.px(x))} {num(self.py(min(y, self.y[1])))}" for x, y in inside)

    def band(self, xs: Sequence[float], low: Sequence[float], high: Sequence[float]) -> str:
        """Return the path around what lies between two curves, cut at the frame."""
        ends = [[min(max(y, self.y[0]), self.y[1]) for y in ys] for ys in (low, high)]
        rows = [(x, a, b) for x, a, b in zip(xs, *ends, strict=True) if b > self.y[0]]
        there = "L".join(f"{num(self.px(x))} {num(self.py(b))}" for x, _, b in rows)
        back = "L".join(f"{num(self.px(x))} {num(self.py(a))}" for x, a, _ in reversed(rows))
        return f"M{there}L{back}Z"

    def svg(self, body: str, names: tuple[str, str], kinds: tuple[str, str]) -> str:
        parts, bottom = [], HEIGHT - BOTTOM
        for value in _ticks(self.x, self.log[0]):
            at = self.px(value)
            parts.append(f'<path class="grid" d="M{num(at)} {TOP}V{bottom}"/>')
            parts.append(svg_text(at, bottom + 17, _label(value, kinds[0]), "", "middle"))
        for value in _ticks(self.y, self.log[1]):
            at = self.py(value)
            parts.append(f'<path class="grid" d="M{LEFT} {num(at)}H{WIDTH - RIGHT}"/>')
            parts.append(svg_text(LEFT - 7, at + 4, _label(value, kinds[1]), "", "end"))
        parts.append(f'<path class="axisline" d="M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}"/>')
        parts.append(svg_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, names[0], "axis", "middle"))
        return (
            f'<svg class="farm" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{esc(names[1])}">'
            f"{''.join(parts)}{body}</svg>"
        )


def front_chart(plan: PipelinePlan) -> str:
    """Return servers against the buffer of a part: the front with events, and that of the closed form alone."""
    rows, closed = list(plan.front), list(plan.closed_front)
    if not rows:
        return '<p class="note">Nothing holds, so there is no front.</p>'
    every = rows + closed
    frame = _Frame([_buffer(r) for r in every], [r.objective for r in every], (True, False))
    body = ""
    corrected = plan.confirmation is not None and [r.farm for r in rows] != [r.farm for r in closed]
    if corrected:
        body += f'<path class="line dash l1" d="{_curve(frame, closed)}"/>'
    body += f'<path class="line l0" d="{_curve(frame, rows)}"/>'
    for row in rows:
        at = frame.px(_buffer(row)), frame.py(row.objective)
        body += (
            f'<circle class="dot f0" cx="{num(at[0])}" cy="{num(at[1])}" r="5">'
            f"{tip(row.farm.label, text(row.farm.buffer_bytes, 'traffic_bytes'), f'loss {share(row.loss)}')}</circle>"
        )
        if plan.chosen is not None and row.farm == plan.chosen.farm:
            body += f'<circle class="ring" cx="{num(at[0])}" cy="{num(at[1])}" r="9"/>'
    keys = ["with what events say", "closed form alone"] if corrected else ["closed form"]
    kind = {"servers": "servers", "price": "usd", "power": "w"}[plan.study.objective]
    names = ("buffer of a part" if rows[0].farm.parts > 1 else "buffer", f"{plan.study.objective} against buffer")
    picture = frame.svg(body, names, ("traffic_bytes", kind))
    return _legend(keys) + picture


def loss_chart(plan: PipelinePlan) -> str:
    """Return loss against servers at the chosen buffer, with the limit: events' extrapolation and the closed form."""
    chosen = plan.chosen
    assert chosen is not None
    xs, found = losses_by_servers(plan, chosen.farm)
    if len(xs) < 2:
        return '<p class="note">No fewer servers lose enough to be drawn: the load alone binds.</p>'
    closed = [seen.closed for seen in found]
    limit = plan.study.limits.loss
    corrected = all(math.isfinite(seen.hi) and not seen.exact for seen in found)
    frame = _Frame(xs, [limit * FLOOR, max([limit * 10, *closed])], (False, True))
    body = ""
    if corrected:
        low, mid, high = ([getattr(seen, end) for seen in found] for end in ("lo", "value", "hi"))
        body += (
            f'<path class="band f0" d="{frame.band(xs, low, high)}"/><path class="line l0" d="{frame.path(xs, mid)}"/>'
        )
        body += f'<path class="line dash l1" d="{frame.path(xs, closed)}"/>'
    else:
        body += f'<path class="line l0" d="{frame.path(xs, closed)}"/>'
    at = frame.py(limit)
    body += f'<path class="limit-line" d="M{LEFT} {num(at)}H{WIDTH - RIGHT}"/>'
    body += svg_text(WIDTH - RIGHT - 4, at - 5, f"limit {share(limit)}", "limit-name", "end")
    x = frame.px(chosen.farm.total)
    body += f'<path class="grid" d="M{num(x)} {TOP}V{HEIGHT - BOTTOM}"/>'
    body += svg_text(x + 5, TOP + 12, f"{chosen.farm.sought:,} chosen", "name")
    body += _hits(frame, xs, found)
    keys = ["events, continued (band: 95 %)", "closed form"] if corrected else ["closed form"]
    return _legend(keys) + frame.svg(body, ("servers", "loss against servers"), ("servers", "loss"))


def losses_by_servers(plan: PipelinePlan, farm: Farm) -> tuple[list[float], list[Seen]]:
    """Return servers in all and their loss, from where load alone is enough to beyond the chosen farm."""
    each = farm.total // farm.sought
    first = max(1, int(load_only(plan.study, farm) / each * 0.985))
    last = max(farm.sought + (farm.sought - first) // 3, first + 2)
    counts = sorted({*np.linspace(first, last, POINTS).astype(int).tolist(), farm.sought})
    ratio = None if plan.confirmation is None else plan.confirmation.ratio
    farms = [farm.with_sought(int(n)) for n in counts]
    found = [(float(f.total), seen_loss(f, plan.study, ratio)) for f in farms]
    kept = [(x, seen) for x, seen in found if max(seen.closed, seen.value) > plan.study.limits.loss * FLOOR * 1e-3]
    return [x for x, _ in kept], [seen for _, seen in kept]


def _hits(frame: _Frame, xs: Sequence[float], found: Sequence[Seen]) -> str:
    parts, width = [], (WIDTH - LEFT - RIGHT) / max(1, len(xs) - 1)
    for x, seen in zip(xs, found, strict=True):
        lines = [f"{x:,.0f} servers", f"closed form {share(seen.closed)}"]
        if math.isfinite(seen.hi) and not seen.exact:
            lines.append(f"events {share(seen.value)}, up to {share(seen.hi)}")
        box = f'x="{num(frame.px(x) - width / 2)}" y="{TOP}" width="{num(width)}" height="{HEIGHT - TOP - BOTTOM}"'
        parts.append(f'<rect class="hit" {box}>{tip(*lines)}</rect>')
    return "".join(parts)


def _curve(frame: _Frame, rows: Sequence[Judged]) -> str:
    return frame.path([_buffer(row) for row in rows], [row.objective for row in rows])


def _buffer(row: Judged) -> float:
    return max(row.farm.buffer_bytes, 0.5 * max(1.0, row.farm.site.size_bytes))


def _legend(keys: Sequence[str]) -> str:
    items = "".join(f'<li><i class="key f{i}"></i>{esc(key)}</li>' for i, key in enumerate(keys))
    return f'<ul class="legend inline">{items}</ul>'


def _ends(values: Sequence[float], log: bool) -> tuple[float, float]:
    low, high = min(values), max(values)
    if log:
        return (low / 1.15, high * 1.15) if high / low < 1e3 else (low, high * 1.5)
    room = 0.06 * max(high - low, 0.02 * high, 1e-9)
    return max(0.0, low - room), high + room


def _place(value: float, ends: tuple[float, float], log: bool) -> float:
    if log:
        value, ends = math.log(value), (math.log(ends[0]), math.log(ends[1]))
    return (value - ends[0]) / (ends[1] - ends[0])


def _ticks(ends: tuple[float, float], log: bool) -> list[float]:
    low, high = ends
    if log:
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        for steps in ((1, 2, 5), (1, 3), (1,)):
            found = [m * 10.0**e for e in decades for m in steps if low <= m * 10.0**e <= high]
            if len(found) <= 7:
                return found
        return found[:: max(1, len(found) // 7)]
    size = 10.0 ** math.floor(math.log10((high - low) / 4))
    step = size * next(m for m in (1, 2, 2.5, 5, 10) if (high - low) / (size * m) <= 6)
    return [k * step for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _label(value: float, kind: str) -> str:
    if kind == "loss":
        return f"1e{round(math.log10(value))}" if f"{value:.0e}"[0] == "1" else f"{value:.0e}".replace("e-0", "e-")
    if kind == "servers":
        return f"{value / 1e6:g} M" if value >= 1e6 else f"{value:,.0f}"
    if kind == "usd":
        return f"${value / 1e6:g} M" if value >= 1e6 else f"${value:,.0f}"
    return text(value, kind) if kind else digits(value)
