"""Pictures of a growth plan: capacity against demand, money and carbon by period, and what is not known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from archcast.growing.course import WAYS
from archcast.growing.program import PARTS
from archcast.growing.words import usd
from archcast.render.growth_text import sensitivity_rows
from archcast.render.human import digits
from archcast.render.markup import esc, num, svg_text, tip
from workloads.table import Array

if TYPE_CHECKING:
    from archcast.growing.answer import Growth

WIDTH, HEIGHT = 380, 230
LEFT, RIGHT, TOP, BOTTOM = 56, 10, 12, 30
FAN_WIDTH, FAN_HEIGHT = 900, 300
MOST_DRAWN = 6
WAY_STYLES = ("c0", "c1", "c2")
PART_STYLES = {"bought": "c0", "hall": "c4", "maintenance": "c6", "energy": "c3", "leased": "c1", "rented": "c2",
               "carbon": "c7", "short": "c5", "sold": "c-rest"}  # fmt: skip
PART_WORDS = {
    "hall": "rent of the hall",
    "carbon": "carbon price",
    "short": "requests not served",
    "sold": "sold again",
}
STYLE = """
.many{display:grid;grid-template-columns:repeat(3,minmax(0,1fr));gap:18px 24px}
.many h3{margin:0 0 4px}
svg.grow{width:100%;height:auto;overflow:visible}
.grow text{fill:var(--soft);font-size:12px}
.grow .demand{fill:none;stroke:var(--ink);stroke-width:2}
.grow .mean{fill:none;stroke:var(--ink);stroke-width:1.4;stroke-dasharray:4 4}
.grow .whisker{stroke:var(--ink);stroke-width:1.2;fill:none;opacity:.7}
.grow .name{fill:var(--ink);font-weight:600;paint-order:stroke;stroke:var(--card);stroke-width:3px}
.grow .fan{fill:none;stroke-width:2.2;stroke-linejoin:round}
.grow .more{stroke:var(--faint);stroke-width:1.2;opacity:.55}
.grow .low{fill:var(--network)}.grow .dear{fill:var(--memory)}
.g0{stroke:var(--c0)}.g1{stroke:var(--c1)}.g2{stroke:var(--c3)}.g3{stroke:var(--c5)}.g4{stroke:var(--c6)}.g5{stroke:var(--c4)}
.grow .middle{stroke:var(--ink);stroke-width:1.5}
@media (max-width:900px){.many{grid-template-columns:repeat(2,minmax(0,1fr))}}
@media (max-width:560px){.many{grid-template-columns:minmax(0,1fr)}}
"""


@dataclass(frozen=True)
class Frame:
    """A picture of periods: `high` is the top of the axis, `low` its bottom (0 or below)."""

    periods: int
    high: float
    low: float = 0.0
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def step(self) -> float:
        return (self.width - LEFT - RIGHT) / self.periods

    def px(self, t: float) -> float:
        return LEFT + t * self.step

    def py(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.height - BOTTOM - share * (self.height - TOP - BOTTOM)

    def grid(self, dates: Sequence[str], label: str) -> str:
        """Return the axes; `label` is "usd", "kg" or "hz"."""
        parts = []
        for value in ticks(self.low, self.high):
            at = self.py(value)
            parts.append(f'<path class="grid" d="M{LEFT} {num(at)}H{self.width - RIGHT}"/>')
            parts.append(svg_text(LEFT - 6, at + 4, tick_text(value, label, max(self.high, -self.low)), anchor="end"))
        every = max(1, math.ceil(self.periods / (self.width / 95)))
        for t in range(0, self.periods, every):
            parts.append(svg_text(self.px(t + 0.5), self.height - BOTTOM + 17, dates[t], anchor="middle"))
        parts.append(f'<path class="axisline" d="M{LEFT} {TOP}V{self.height - BOTTOM}H{self.width - RIGHT}"/>')
        return "".join(parts)


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Return round values between the ends of an axis."""
    raw = (high - low) / about
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= raw * 0.999)
    return [k * step for k in range(math.ceil(low / step - 1e-9), int(high / step + 1e-9) + 1)]


def tick_text(value: float, label: str, whole: float) -> str:
    """Return a value of an axis, all in the unit of its largest."""
    if label == "usd":
        return usd(value) if value else "$0"
    if label == "kg":
        return f"{value / 1e3:g} t" if whole >= 1e3 else f"{value:g} kg"
    return f"{value:,.6g}/s"


def drawn(answer: Growth) -> list[int]:
    """Return the scenarios that are drawn: all, or some from the lowest to the highest."""
    order = np.argsort(answer.course.mean_hz[:, -1], kind="stable")
    if len(order) <= MOST_DRAWN:
        return list(range(len(order)))
    return [int(order[i]) for i in np.unique(np.linspace(0, len(order) - 1, MOST_DRAWN).round().astype(int))]


def legend(items: Sequence[tuple[str, str]]) -> str:
    """Return (style, name) as a legend."""
    keys = "".join(f'<li><i class="key {style}"></i>{esc(name)}</li>' for style, name in items)
    return f'<ul class="legend inline">{keys}</ul>'


def fan_svg(answer: Growth) -> str:
    """Return the mean demand of every scenario over time on a logarithmic axis, and its expectation."""
    tree, mean = answer.solved.program.tree, answer.course.mean_hz
    low, high = float(mean.min()) / 1.15, float(mean.max()) * 1.15
    frame = Frame(tree.periods, 1.0, width=FAN_WIDTH, height=FAN_HEIGHT)

    def py(value: float) -> float:
        return frame.py(math.log(value / low) / math.log(high / low))

    parts = []
    for value in (m * 10.0**e for e in range(-3, 9) for m in (1, 2, 5)):
        if low <= value <= high:
            parts.append(f'<path class="grid" d="M{LEFT} {num(py(value))}H{FAN_WIDTH - RIGHT}"/>')
            parts.append(svg_text(LEFT - 6, py(value) + 4, f"{value:,g}/s", anchor="end"))
    for t, date in enumerate(answer.dates):
        parts.append(svg_text(frame.px(t + 0.5), FAN_HEIGHT - BOTTOM + 17, date, anchor="middle"))
    shown = drawn(answer)
    ends: list[float] = []
    for s in sorted(range(tree.scenarios), key=lambda s: (s in shown, -mean[s, -1])):
        points = "L".join(f"{num(frame.px(t + 0.5))} {num(py(float(mean[s, t])))}" for t in range(tree.periods))
        words = tip(f"{tree.names[s]}, probability {tree.probability[s]:.3g}",
                    *(f"{d}: {digits(float(x))}/s" for d, x in zip(answer.dates, mean[s], strict=True)))  # fmt: skip
        style = f"g{shown.index(s) % 6}" if s in shown else "more"
        parts.append(f'<path class="fan {style}" d="M{points}">{words}</path>')
        at = py(float(mean[s, -1])) - 7
        if s in shown and all(abs(at - other) > 14 for other in ends):
            ends.append(at)
            parts.append(svg_text(frame.px(tree.periods - 0.5) - 4, at, tree.names[s], "name", "end"))
    middle = tree.probability @ mean
    points = "L".join(f"{num(frame.px(t + 0.5))} {num(py(float(x)))}" for t, x in enumerate(middle))
    parts.append(f'<path class="mean" d="M{points}">{tip("expected")}</path>')
    parts.append(f'<path class="axisline" d="M{LEFT} {TOP}V{FAN_HEIGHT - BOTTOM}H{FAN_WIDTH - RIGHT}"/>')
    return _svg("".join(parts), "demand over time", FAN_WIDTH, FAN_HEIGHT)


def capacity_html(answer: Growth) -> str:
    """Return capacity by way to have it against the demand of the peak, one picture a scenario."""
    course, tree = answer.course, answer.solved.program.tree
    found = []
    for s in drawn(answer):
        stack = course.capacity_hz[:, s]
        frame = Frame(tree.periods, 1.1 * max(float(stack.sum(axis=0).max()), float(course.demand_hz[s].max())))
        parts = [frame.grid(answer.dates, "hz")]
        for t in range(tree.periods):
            base = 0.0
            for i, way in enumerate(WAYS):
                size = float(stack[i, t])
                if size > 1e-9:
                    parts.append(_bar(frame, t, base, base + size, WAY_STYLES[i], 0.0,
                                      f"{answer.dates[t]}: {way} {digits(size)}/s"))  # fmt: skip
                base += size
        parts.append(_stair(frame, course.demand_hz[s], "demand", "demand of the peak"))
        parts.append(_stair(frame, course.mean_hz[s], "mean", "mean demand"))
        found.append(_titled(f"{tree.names[s]} ({tree.probability[s]:.0%})", _svg("".join(parts), "capacity")))
    keys = [(style, f"{way}") for style, way in zip(WAY_STYLES, WAYS, strict=True)]
    lines = '<p class="note">Solid line: demand of the peak; dashed: mean demand.</p>'
    return f'{legend(keys)}<div class="many">{"".join(found)}</div>{lines}'


def money_html(answer: Growth) -> str:
    """Return what each period costs by what it is for, with the interval of the whole, one picture a scenario."""
    course, tree = answer.course, answer.solved.program.tree
    ends = answer.intervals.cost_usd
    used = [name for i, name in enumerate(PARTS) if np.abs(course.cost_usd[i]).max() > 1e-6]
    found = []
    for s in drawn(answer):
        up = np.maximum(course.cost_usd[:, :, s], 0).sum(axis=0)
        down = np.minimum(course.cost_usd[:, :, s], 0).sum(axis=0)
        high = 1.08 * max(float(up.max()), float(ends[1][s].max()), 1e-9)
        frame = Frame(tree.periods, high, 1.05 * min(float(down.min()), float(ends[0][s].min()), 0.0))
        parts = [frame.grid(answer.dates, "usd")]
        for t in range(tree.periods):
            top, bottom = 0.0, 0.0
            for name in used:
                size = float(course.cost_usd[PARTS.index(name), t, s])
                words = f"{answer.dates[t]}: {PART_WORDS.get(name, name)} {usd(size)}"
                if size > 0:
                    parts.append(_bar(frame, t, top, top + size, PART_STYLES[name], 0.12, words))
                    top += size
                elif size < 0:
                    parts.append(_bar(frame, t, bottom + size, bottom, PART_STYLES[name], 0.12, words))
                    bottom += size
            parts.append(_whisker(frame, t, float(ends[0][s, t]), float(ends[1][s, t])))
        parts.append(f'<path class="axisline" d="M{LEFT} {num(frame.py(0))}H{WIDTH - RIGHT}"/>')
        title = f"{tree.names[s]}: {usd(float(answer.solved.costs[s]))} discounted"
        found.append(_titled(title, _svg("".join(parts), "cost by period")))
    keys = [(PART_STYLES[name], PART_WORDS.get(name, name)) for name in used]
    return f'{legend(keys)}<div class="many">{"".join(found)}</div>'


def carbon_html(answer: Growth) -> str:
    """Return carbon by period, of electricity and of making devices, one picture a scenario."""
    course, tree = answer.course, answer.solved.program.tree
    ends, found = answer.intervals.carbon_kg, []
    for s in drawn(answer):
        frame = Frame(tree.periods, 1.08 * max(float(ends[1][s].max()), float(course.total_kg[s].max()), 1e-9))
        parts = [frame.grid(answer.dates, "kg")]
        for t in range(tree.periods):
            base = 0.0
            for i, (style, name) in enumerate((("c1", "electricity"), ("c0", "manufacture"))):
                size = float(course.carbon_kg[i, t, s])
                words = f"{answer.dates[t]}: {name} {digits(size / 1e3)} t"
                parts.append(_bar(frame, t, base, base + size, style, 0.12, words))
                base += size
            parts.append(_whisker(frame, t, float(ends[0][s, t]), float(ends[1][s, t])))
        title = f"{tree.names[s]}: {digits(float(course.total_kg[s].sum()) / 1e3)} t"
        found.append(_titled(title, _svg("".join(parts), "carbon by period")))
    keys = legend([("c1", "electricity"), ("c0", "making the devices bought")])
    return f'{keys}<div class="many">{"".join(found)}</div>'


def tornado_svg(answer: Growth) -> str:
    """Return how far the expected cost moves when groups of figures are at their ends."""
    rows = [row for row in sensitivity_rows(answer) if all(math.isfinite(one.cost_usd) for one in row[1:])]
    if not rows:
        return '<p class="note">Nothing to draw.</p>'
    cost = answer.values.cost_usd
    values = [one.cost_usd for row in rows for one in row[1:]]
    low, high = min(*values, cost), max(*values, cost)
    left, width, line = 250, 900, 30

    def px(value: float) -> float:
        return left + 62 + (value - low) / max(high - low, 1e-9) * (width - left - 132)

    parts = []
    for i, (name, cheap, dear) in enumerate(rows):
        y = 8 + i * line
        parts.append(svg_text(left - 14, y + 15, name, anchor="end"))
        for one, style in ((cheap, "low"), (dear, "dear")):
            a, b = sorted((px(cost), px(one.cost_usd)))
            words = tip(f"{name}: {usd(one.cost_usd)}")
            parts.append(
                f'<rect class="{style}" x="{num(a)}" y="{y + 2}" width="{num(b - a)}" height="18">{words}</rect>'
            )
            right = one.cost_usd >= cost
            at = px(one.cost_usd) + (5 if right else -5)
            if b - a > 2:
                parts.append(svg_text(at, y + 15, usd(one.cost_usd), "", "start" if right else "end"))
    bottom = 8 + len(rows) * line
    parts.append(f'<path class="middle" d="M{num(px(cost))} 2V{bottom}"/>')
    parts.append(svg_text(px(cost), bottom + 16, f"the plan: {usd(cost)}", "name", "middle"))
    return _svg("".join(parts), "what is not known", width, bottom + 24)


def _svg(body: str, name: str, width: int = WIDTH, height: int = HEIGHT) -> str:
    return f'<svg class="grow" viewBox="0 0 {width} {height}" role="img" aria-label="{esc(name)}">{body}</svg>'


def _titled(title: str, drawing: str) -> str:
    return f"<div><h3>{esc(title)}</h3>{drawing}</div>"


def _bar(frame: Frame, t: int, low: float, high: float, style: str, gap: float, words: str) -> str:
    top, bottom = frame.py(high), frame.py(low)
    x, width = frame.px(t + gap), frame.step * (1 - 2 * gap)
    box = f'x="{num(x)}" y="{num(top)}" width="{num(width)}" height="{num(max(bottom - top, 0))}"'
    return f'<rect class="{style}" {box}>{tip(words)}</rect>'


def _stair(frame: Frame, values: Array, style: str, name: str) -> str:
    parts = []
    for t, value in enumerate(values.tolist()):
        parts.append(f"{num(frame.px(t))} {num(frame.py(value))}L{num(frame.px(t + 1))} {num(frame.py(value))}")
    return f'<path class="{style}" d="M{"L".join(parts)}">{tip(name)}</path>'


def _whisker(frame: Frame, t: int, low: float, high: float) -> str:
    x, a, b = frame.px(t + 0.5), frame.py(low), frame.py(high)
    tee = f"M{num(x - 4)} {num(a)}h8M{num(x - 4)} {num(b)}h8"
    return f'<path class="whisker" d="M{num(x)} {num(a)}V{num(b)}{tee}"/>'
