"""The front of a plan as pictures: each fleet that was run by what it costs and how long its users wait, or power."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from archcast.render.human import digits, text, unit_of
from archcast.render.labels import Box, Labels
from archcast.render.markup import esc, num, svg_text, tip

if TYPE_CHECKING:
    from archcast.planning.answer import Plan
    from archcast.planning.front import Point

FAR = 4.0
"""Fleets that miss an objective by more than this are not drawn (they would press all others together)."""
COLOURS = 8
STYLE = """
svg.front{width:100%;height:auto;overflow:visible}
.front text{fill:var(--soft);font-size:12px}
.front .axis{font-size:12.5px}
.front .fleetname{fill:var(--ink);font-size:12px;pointer-events:none}
.front .fleetname{paint-order:stroke;stroke:var(--card);stroke-width:3px;stroke-linejoin:round}
.front .chosenname{font-weight:650}
.front .stair{fill:none;stroke:var(--ink);stroke-width:1.4;stroke-dasharray:5 4;opacity:.55}
.front .fleet{stroke:var(--card);stroke-width:1.2;fill-opacity:.85}
.front .fleet.no{fill:none;stroke-width:1.8;fill-opacity:0;opacity:.75}
.front .fleet:hover{fill-opacity:1;stroke:var(--ink)}
.front .ring{fill:none;stroke:var(--ink);stroke-width:2}
.front .limit-line{stroke:var(--bad);stroke-width:1.4;stroke-dasharray:5 4;fill:none}
.front .limit-name{fill:var(--bad);paint-order:stroke;stroke:var(--card);stroke-width:3px}
.o0{stroke:var(--c0)!important}.o1{stroke:var(--c1)!important}.o2{stroke:var(--c2)!important}.o3{stroke:var(--c3)!important}
.o4{stroke:var(--c4)!important}.o5{stroke:var(--c5)!important}.o6{stroke:var(--c6)!important}.o7{stroke:var(--c7)!important}
.fronts{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:18px 26px}
.fronts h3{margin:0 0 4px}
.key.open{background:none;border:2px solid var(--soft)}
@media (max-width:720px){.fronts{grid-template-columns:minmax(0,1fr)}}
"""
WIDTH, HEIGHT = 540, 340
LEFT, RIGHT, TOP, BOTTOM = 62, 18, 14, 46


@dataclass(frozen=True)
class Scale:
    """One axis: its ends, whether it is logarithmic, and its place in pixels."""

    lo: float
    hi: float
    log: bool
    start: float
    end: float

    def at(self, value: float) -> float:
        lo, hi, x = (math.log(v) if self.log else v for v in (self.lo, self.hi, value))
        return self.start + (x - lo) / max(hi - lo, 1e-12) * (self.end - self.start)


def front_svgs(plan: Plan) -> str:
    """Return the two pictures with their legend."""
    points = drawn(plan)
    if not points:
        return '<p class="note">No fleet that was run comes near the objectives.</p>'
    devices = list(dict.fromkeys(p.outcome.candidate.site.id for p in points))
    style = {device: i % COLOURS for i, device in enumerate(devices)}
    keys = "".join(f'<li><i class="key c{style[d]}"></i>{esc(d)}</li>' for d in devices)
    keys += (
        '<li><i class="key c-rest"></i>filled: meets the objectives</li><li><i class="key open"></i>misses them</li>'
    )
    slo = plan.study.slo
    waiting = _panel(plan, points, style, f"{slo.name} TTFT", slo.ttft_s)
    power = _panel(plan, points, style, "power", None)
    hidden = len(plan.points) - len(points)
    why = "miss an objective by far, or in the busiest replication already, and are not drawn"
    note = f'<p class="note">{hidden} fleets {why}.</p>' if hidden else ""
    return (
        f'<ul class="legend inline">{keys}</ul><div class="fronts"><div><h3>Money against waiting</h3>{waiting}</div>'
        f"<div><h3>Money against power</h3>{power}</div></div>{note}"
    )


def drawn(plan: Plan) -> list[Point]:
    """Return the fleets that are in the pictures."""
    return [
        p for p in plan.points
        if math.isfinite(p.outcome.usd_per_hour) and p.outcome.whole and (p.meets or p.outcome.worst[1] <= FAR)
    ]  # fmt: skip


def _value(point: Point, name: str) -> float:
    return point.outcome.power_w.value if name == "power" else point.outcome.ttft_s.value


def _panel(plan: Plan, points: Sequence[Point], style: dict[str, int], name: str, limit: float | None) -> str:
    kind = "w" if name == "power" else "s"
    xs, ys = [p.outcome.usd_per_hour for p in points], [_value(p, name) for p in points]
    if limit is not None and limit < 4 * max(ys):
        ys = [*ys, limit]
    room = 0.08 * max(max(xs) - min(xs), 0.1 * max(xs), 1e-9)
    x = Scale(max(min(xs) - room, 0.0), max(xs) + room, False, LEFT, WIDTH - RIGHT)
    lo, hi = min(ys), max(ys)
    log = kind == "s"
    y = Scale(
        lo / 1.3 if log else max(lo - 0.1 * (hi - lo) - 1e-9, 0.0),
        hi * (1.3 if log else 1.08),
        log,
        HEIGHT - BOTTOM,
        TOP,
    )
    shapes = {id(p): (x.at(p.outcome.usd_per_hour), y.at(_value(p, name))) for p in points}
    labels = Labels(Box(LEFT, TOP, WIDTH - RIGHT, HEIGHT - BOTTOM), [])
    for px, py in shapes.values():
        labels.block(Box(px - 6, py - 6, px + 6, py + 6))
    line, line_name = _limit(limit if limit in ys else None, y, labels)
    body = _grid(x, y, kind) + line + _stair(points, shapes, name, labels)
    body += (
        "".join(_dot(p, *shapes[id(p)], style, plan) for p in points) + line_name + _names(plan, points, shapes, labels)
    )
    middle = (LEFT + WIDTH - RIGHT) / 2
    body += svg_text(middle, HEIGHT - 6, "USD per hour", "axis", "middle")
    about = f"{len(points)} fleets by money and {name}"
    return f'<svg class="front" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{esc(about)}">{body}</svg>'


def _limit(limit: float | None, y: Scale, labels: Labels) -> tuple[str, str]:
    """Return the line of an objective and its name; names of fleets keep away from both."""
    if limit is None:
        return "", ""
    at = y.at(limit)
    labels.block(Box(LEFT, at - 1, WIDTH - RIGHT, at + 1))
    labels.block(Box(WIDTH - RIGHT - 110, at - 18, WIDTH - RIGHT, at))
    line = f'<path class="limit-line" d="M{LEFT} {num(at)}H{WIDTH - RIGHT}"/>'
    return line, svg_text(WIDTH - RIGHT - 4, at - 5, f"objective {text(limit, 's')}", "limit-name", "end")


def _stair(points: Sequence[Point], shapes: dict[int, tuple[float, float]], name: str, labels: Labels) -> str:
    """Return the front of the two quantities of this picture as a stair; names keep away from it."""
    best, path, before = math.inf, "", (0.0, 0.0)
    for point in sorted((p for p in points if p.meets), key=lambda p: (p.outcome.usd_per_hour, _value(p, name))):
        if _value(point, name) < best:
            best = _value(point, name)
            px, py = shapes[id(point)]
            if path:
                labels.block(Box(before[0], before[1] - 1, px, before[1] + 1))
                labels.block(Box(px - 1, before[1], px + 1, py))
            path += f"H{num(px)}V{num(py)}" if path else f"M{num(px)} {num(py)}"
            before = (px, py)
    return f'<path class="stair" d="{path}"/>' if "V" in path else ""


def _dot(point: Point, px: float, py: float, style: dict[str, int], plan: Plan) -> str:
    outcome, index = point.outcome, style[point.outcome.candidate.site.id]
    look = f"c{index}" if point.meets else f"no o{index}"
    slo = plan.study.slo
    about = tip(
        f"{outcome.instances} x {outcome.candidate.label}",
        f"{outcome.devices} devices, {text(outcome.usd_per_hour, 'usd_per_hour')}, {text(outcome.power_w.value, 'w')}",
        f"{slo.name} TTFT {text(outcome.ttft_s.value, 's')}, TPOT {text(outcome.tpot_s.value, 's')}",
        "meets the objectives" if point.meets else "misses an objective", "on the front" if point.front else "",
    )  # fmt: skip
    ring = f'<circle class="ring" cx="{num(px)}" cy="{num(py)}" r="9"/>' if _chosen(plan, point) else ""
    return f'{ring}<circle class="fleet {look}" cx="{num(px)}" cy="{num(py)}" r="5.5">{about}</circle>'


def _chosen(plan: Plan, point: Point) -> bool:
    chosen = plan.chosen
    return chosen is not None and point.outcome.candidate is chosen.outcome.candidate and (
        point.outcome.instances == chosen.outcome.instances
    )  # fmt: skip


def _names(plan: Plan, points: Sequence[Point], shapes: dict[int, tuple[float, float]], labels: Labels) -> str:
    """Return names of the chosen fleet, of the front, and of the cheapest of each device, while there is room."""
    cheapest: dict[str, Point] = {}
    for point in points:
        if point.meets:
            cheapest.setdefault(point.outcome.candidate.site.id, point)
    wanted = sorted(
        (p for p in points if p.front or p in cheapest.values()), key=lambda p: (not _chosen(plan, p), not p.front)
    )
    found = []
    for point in wanted:
        outcome = point.outcome
        inside = "" if outcome.candidate.devices == 1 else f"{outcome.candidate.devices} "
        name = f"{outcome.instances} x {inside}{outcome.candidate.site.id}"
        px, py = shapes[id(point)]
        spot = labels.place(name, px, py, 7.0)
        if spot is None:
            continue
        if spot.far:
            found.append(f'<path class="leader" d="M{num(px)} {num(py)}L{num(spot.foot_x)} {num(spot.foot_y)}"/>')
        style = "fleetname chosenname" if _chosen(plan, point) else "fleetname"
        found.append(svg_text(spot.x, spot.y, name, style, spot.anchor))
    return "".join(found)


def _grid(x: Scale, y: Scale, kind: str) -> str:
    parts = []
    for value in _ticks(x):
        at = x.at(value)
        parts.append(f'<path class="grid" d="M{num(at)} {TOP}V{HEIGHT - BOTTOM}"/>')
        parts.append(svg_text(at, HEIGHT - BOTTOM + 17, f"${digits(value)}", "", "middle"))
    for value in _ticks(y):
        at = y.at(value)
        factor, unit = unit_of(value, kind)
        parts.append(f'<path class="grid" d="M{LEFT} {num(at)}H{WIDTH - RIGHT}"/>')
        parts.append(svg_text(LEFT - 7, at + 4, f"{value / factor:g} {unit}", "", "end"))
    parts.append(f'<path class="axisline" d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}"/>')
    return "".join(parts)


def _ticks(scale: Scale) -> list[float]:
    """Return four to eight round numbers within a scale."""
    if scale.log:
        first, last = math.floor(math.log10(scale.lo)), math.ceil(math.log10(scale.hi))
        for steps in ((1, 2, 5), (1, 3), (1,)):
            found = [m * 10.0**p for p in range(first, last + 1) for m in steps if scale.lo <= m * 10.0**p <= scale.hi]
            if len(found) <= 8:
                return found
        return found
    span = max(scale.hi - scale.lo, 1e-12)
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(m for m in (1, 2, 5, 10) if span / (m * step) <= 7)
    return [k * step for k in range(math.ceil(scale.lo / step), math.floor(scale.hi / step) + 1)]
