"""Pictures of a search: the front by two objectives, coloured by the third, and what each knob can reach."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from archcast.render.human import digits, listed, unit_of
from archcast.render.labels import Box, Labels
from archcast.render.markup import esc, num, svg_text, tip
from archcast.render.plan_front import Scale
from archcast.render.search_text import mark
from archcast.render.search_words import plain, shown

if TYPE_CHECKING:
    from archcast.searching.answer import SearchAnswer

DRAWN = 600
"""Designs of a front that are drawn: those farthest apart."""
MOST_REACH = 64
"""Values of a knob, for a picture of what it reaches."""
CLASSES = 5
WIDE, NARROW = (900, 420), (390, 360)
LEFT, RIGHT, TOP, BOTTOM = 74, 20, 14, 48
SMALL_W, SMALL_H = 330, 190
STYLE = """
svg.front{width:100%;height:auto;overflow:visible}
.front text{fill:var(--soft);font-size:12px}
.front .axis{font-size:12.5px}
.front .name{fill:var(--ink);font-weight:600;pointer-events:none}
.front .name{paint-order:stroke;stroke:var(--card);stroke-width:3px;stroke-linejoin:round}
.front .stair{fill:none;stroke:var(--ink);stroke-width:1.4;stroke-dasharray:5 4;opacity:.55}
.front .design{stroke:var(--card);stroke-width:.8;fill-opacity:.9}
.front .design:hover{stroke:var(--ink);stroke-width:2}
.front .ring{fill:none;stroke:var(--ink);stroke-width:2}
.k0{fill:#fde725;background:#fde725}.k1{fill:#5ec962;background:#5ec962}.k2{fill:#21918c;background:#21918c}
.k3{fill:#3b528b;background:#3b528b}.k4{fill:#440154;background:#440154}
@media (prefers-color-scheme:dark){.k3{fill:#6a86cf;background:#6a86cf}.k4{fill:#b07cc6;background:#b07cc6}}
.reach{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:14px 22px}
.reach h3{margin:0 0 2px}
.reach svg{width:100%;height:auto;overflow:visible}
.reach text{fill:var(--soft);font-size:12px}
.reach .line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.m0{stroke:var(--accent)}.m1{stroke:var(--memory)}.m2{stroke:var(--network)}.m3{stroke:var(--overhead)}.m4{stroke:var(--bad)}
.p0{fill:var(--accent);background:var(--accent)}.p1{fill:var(--memory);background:var(--memory)}
.p2{fill:var(--network);background:var(--network)}.p3{fill:var(--overhead);background:var(--overhead)}
.p4{fill:var(--bad);background:var(--bad)}
td.mark{font-weight:600;white-space:nowrap}
table.tight th,td.wrap{white-space:normal}
table.tight th{vertical-align:bottom}
table.tight td.wrap{min-width:104px;width:270px}
table.tight td,table.tight th{padding-right:10px}
@media print{main{padding:0}.scroll{overflow:visible}table.tight,table.tight .n{font-size:9.5px}
table.tight td,table.tight th{padding-right:5px}table.tight .mark{white-space:normal}
table.tight td.wrap{min-width:80px;width:110px}}
@media (max-width:900px){.reach{grid-template-columns:repeat(2,minmax(0,1fr))}}
@media (max-width:560px){.reach{grid-template-columns:minmax(0,1fr)}}
"""


def front_html(answer: SearchAnswer) -> str:
    """Return the front with its legend, drawn once for wide and once for narrow screens."""
    if len(answer.objectives) < 2:
        return '<p class="note">One objective has no front: the best design is the answer.</p>'
    if not (answer.values > 0).all():
        return '<p class="note">Fronts are drawn on logarithmic axes, which values of 0 and below have no place on.</p>'
    places = answer.listed(DRAWN)
    hidden = len(answer.front) - len(places)
    note = f'<p class="note">{hidden:,} designs that lie close to those drawn are left out.</p>' if hidden else ""
    wide, narrow = front_svg(answer, places), front_svg(answer, answer.listed(DRAWN // 3), *NARROW)
    return f'{_legend(answer)}<div class="wideonly">{wide}</div><div class="narrow">{narrow}</div>{note}'


def front_svg(answer: SearchAnswer, places: Sequence[int], width: int = WIDE[0], height: int = WIDE[1]) -> str:
    """Return designs of the front by the first two objectives, coloured by the third."""
    names = answer.objectives
    x_name, y_name = names[0], names[1]
    xs, ys = answer.values[:, 0], answer.values[:, 1]
    x = Scale(float(xs[places].min()) / 1.12, float(xs[places].max()) * 1.12, True, LEFT, width - RIGHT)
    y = Scale(float(ys[places].min()) / 1.06, float(ys[places].max()) * 1.06, True, height - BOTTOM, TOP)
    colour = _colours(answer)
    labels = Labels(Box(LEFT, TOP, width - RIGHT, height - BOTTOM), [])
    named = {place: words for place in dict.fromkeys([*answer.best.values(), answer.knee]) if place is not None
             and (words := mark(answer, place))}  # fmt: skip
    dots, rings = [], []
    for place in sorted(places, key=lambda p: p in named):
        px, py = x.at(float(xs[place])), y.at(float(ys[place]))
        if place in named:
            labels.block(Box(px - 9, py - 9, px + 9, py + 9))
            rings.append(f'<circle class="ring" cx="{num(px)}" cy="{num(py)}" r="8"/>')
        about = _about(answer, place)
        dots.append(f'<circle class="design {colour[place]}" cx="{num(px)}" cy="{num(py)}" r="4.5">{about}</circle>')
    body = _grid(x, y, x_name, y_name, width, height) + _stair(xs, ys, x, y) + "".join(dots) + "".join(rings)
    body += _names(named, xs, ys, x, y, labels)
    about = f"{len(places)} designs of the front by {plain(x_name)} and {plain(y_name)}"
    return f'<svg class="front" viewBox="0 0 {width} {height}" role="img" aria-label="{esc(about)}">{body}</svg>'


def _classes(answer: SearchAnswer) -> np.ndarray[Any, Any]:
    """Return the bounds of the classes of the third objective: equal steps of its logarithm."""
    third = answer.values[:, 2]
    return np.geomspace(third.min(), third.max(), CLASSES + 1)


def _colours(answer: SearchAnswer) -> list[str]:
    if len(answer.objectives) < 3 or np.ptp(answer.values[:, 2]) == 0:
        return ["p0"] * len(answer.front)
    bounds = _classes(answer)
    codes = np.clip(np.searchsorted(bounds, answer.values[:, 2], side="right") - 1, 0, CLASSES - 1)
    return [f"k{code}" for code in codes]


def _legend(answer: SearchAnswer) -> str:
    if len(answer.objectives) < 3 or np.ptp(answer.values[:, 2]) == 0:
        return ""
    name, bounds = answer.objectives[2], _classes(answer)
    ends = [shown(name, float(bound)) for bound in bounds]
    keys = "".join(f'<li><i class="key k{k}"></i>{esc(ends[k])} to {esc(ends[k + 1])}</li>' for k in range(CLASSES))
    return f'<ul class="legend inline"><li>{esc(plain(name))}:</li>{keys}</ul>'


def _about(answer: SearchAnswer, place: int) -> str:
    design = answer.front[place]
    values = ", ".join(f"{plain(name)} {shown(name, design[name]['value'])}" for name in answer.objectives)
    knobs = [f"{plain(k.name)} {shown(k.name, design['knobs'][k.name])}"
             for k in answer.study.problem.space.knobs if k.count > 1]  # fmt: skip
    return tip(mark(answer, place), values, *(", ".join(knobs[i : i + 3]) for i in range(0, len(knobs), 3)))


def _stair(xs: Any, ys: Any, x: Scale, y: Scale) -> str:
    """Return the front of these two objectives alone as a stair."""
    path, best = "", math.inf
    for place in np.lexsort((ys, xs)):
        if ys[place] < best:
            best = float(ys[place])
            px, py = x.at(float(xs[place])), y.at(best)
            path += f"H{num(px)}V{num(py)}" if path else f"M{num(px)} {num(py)}"
    return f'<path class="stair" d="{path}"/>' if "V" in path else ""


def _names(named: dict[int, str], xs: Any, ys: Any, x: Scale, y: Scale, labels: Labels) -> str:
    found = []
    for place, words in named.items():
        px, py = x.at(float(xs[place])), y.at(float(ys[place]))
        if spot := labels.place(words, px, py, 9.0):
            if spot.far:
                found.append(f'<path class="leader" d="M{num(px)} {num(py)}L{num(spot.foot_x)} {num(spot.foot_y)}"/>')
            found.append(svg_text(spot.x, spot.y, words, "name", spot.anchor))
    return "".join(found)


def _grid(x: Scale, y: Scale, x_name: str, y_name: str, width: int, height: int) -> str:
    parts = []
    for value in log_ticks(x.lo, x.hi, width // 100):
        at = x.at(value)
        parts.append(f'<path class="grid" d="M{num(at)} {TOP}V{height - BOTTOM}"/>')
        parts.append(svg_text(at, height - BOTTOM + 17, short(x_name, value), "", "middle"))
    for value in log_ticks(y.lo, y.hi):
        at = y.at(value)
        parts.append(f'<path class="grid" d="M{LEFT} {num(at)}H{width - RIGHT}"/>')
        parts.append(svg_text(LEFT - 7, at + 4, short(y_name, value), "", "end"))
    parts.append(f'<path class="axisline" d="M{LEFT} {TOP}V{height - BOTTOM}H{width - RIGHT}"/>')
    parts.append(svg_text((LEFT + width - RIGHT) / 2, height - 7, plain(x_name), "axis", "middle"))
    middle = (TOP + height - BOTTOM) / 2
    turned = f' transform="rotate(-90 14 {num(middle)})"'
    parts.append(svg_text(14, middle, plain(y_name), "axis", "middle", turned))
    return "".join(parts)


def log_ticks(low: float, high: float, most: int = 9) -> list[float]:
    """Return two to nine round numbers between two numbers, finer where the span is small."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for steps in (range(10, 100), range(10, 100, 2), range(10, 100, 5), (10, 15, 20, 30, 50, 70), (10, 20, 50),
                  (10, 30), (10,)):  # fmt: skip
        found = [m / 10 * 10.0**p for p in range(first, last + 1) for m in steps if low <= m / 10 * 10.0**p <= high]
        if len(found) <= most:
            return found
    return found[:: math.ceil(len(found) / most)]


def short(name: str, value: float) -> str:
    """Return a tick's words: `2 ms`, `10 mm²`."""
    kind = {"s": "s", "j": "j", "w": "w"}.get(name.rsplit("_", 1)[-1])
    if name.endswith("_mm2") or kind is None or name.endswith("_j_s"):
        return shown(name, value) if not name.endswith("_mm2") else f"{value:g} mm²"
    factor, unit = unit_of(value, kind)
    return f"{float(f'{value / factor:.3g}'):g} {unit}"


def reach_svgs(answer: SearchAnswer) -> str:
    """Return a small picture a knob: the best of each objective by value, over the best of all."""
    names = [name for name, least in zip(answer.objectives, answer.values.min(axis=0), strict=True) if least > 0]
    keys = "".join(f'<li><i class="key p{k}"></i>{esc(plain(name))}</li>' for k, name in enumerate(names))
    without = [plain(name) for name in answer.objectives if name not in names]
    words = f"The best {listed(without)} is 0 or below, of which nothing is a multiple." if without else ""
    pictures = []
    for knob, rows in answer.sensitivity().items():
        if not names or len(rows) > MOST_REACH or not any(row[names[0]] is not None for row in rows):
            continue
        table = np.array([[math.nan if row[name] is None else row[name] for name in names] for row in rows], float)
        ratios = table / np.nanmin(table, axis=0)
        values = [shown(knob, row["value"]) for row in rows]
        joined = not isinstance(rows[0]["value"], str)
        note = "" if joined else _undecided(answer, names, ratios)
        pictures.append(f"<div><h3>{esc(plain(knob))}</h3>{_reach(ratios, values, names, joined)}{note}</div>")
    note = f'<p class="note">{esc(words)}</p>' if words else ""
    return f'<ul class="legend inline">{keys}</ul><div class="reach">{"".join(pictures)}</div>{note}'


def _undecided(answer: SearchAnswer, names: Sequence[str], ratios: Any) -> str:
    """Return which objectives say nothing about names: their bests lie within the interval that the knee has."""
    assert answer.knee is not None
    knee = answer.front[answer.knee]
    within = [
        plain(name) for k, name in enumerate(names)
        if np.nanmax(ratios[:, k]) <= knee[name]["hi"] / knee[name]["value"]
    ]  # fmt: skip
    words = f"Differences in {listed(within)} are within the model's error: no name is shown to be better."
    return f'<p class="note">{esc(words)}</p>' if within else ""


def _reach(ratios: Any, values: Sequence[str], names: Sequence[str], joined: bool) -> str:
    left, bottom, top, right = 40, SMALL_H - 34, 12, SMALL_W - 14
    y = Scale(1.0 / 1.03, max(float(np.nanmax(ratios)) * 1.05, 1.3), True, bottom, top)
    xs = [left + 12 + (right - left - 24) * (i / max(len(values) - 1, 1)) for i in range(len(values))]
    parts = []
    for value in log_ticks(1.0, y.hi, 5):
        at = y.at(value)
        parts.append(f'<path class="grid" d="M{left} {num(at)}H{right}"/>')
        parts.append(svg_text(left - 6, at + 4, f"{digits(value).rstrip('0').rstrip('.')}x", "", "end"))
    room = (right - left) / (max(len(words) for words in values) * 6.4 + 8)
    step = max(math.ceil(len(values) / min(room, 6)), 1)
    parts += [svg_text(xs[i], bottom + 17, values[i], "", "middle") for i in range(0, len(values), step)]
    parts.append(f'<path class="axisline" d="M{left} {top}V{bottom}H{right}"/>')
    for k in range(len(names)) if joined else ():
        points = [(px, y.at(float(r))) for px, r in zip(xs, ratios[:, k], strict=True) if math.isfinite(r)]
        path = "L".join(f"{num(px)} {num(py)}" for px, py in points)
        parts.append(f'<path class="line m{k % 5}" d="M{path}"/>')
    for i, px in enumerate(xs):
        for k, name in enumerate(names):
            ratio = float(ratios[i, k])
            if math.isfinite(ratio):
                about = tip(values[i], f"{plain(name)}: {ratio:.3g} times the best of all")
                parts.append(
                    f'<circle class="p{k % 5}" cx="{num(px)}" cy="{num(y.at(ratio))}" r="3.4">{about}</circle>'
                )
    return f'<svg viewBox="0 0 {SMALL_W} {SMALL_H}" role="img" aria-label="best by value">{"".join(parts)}</svg>'
