"""The picture of an allocation: worth against what a budget allows, where the choice stands, and what safety costs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from archcast.allocating.words import amount, plain
from archcast.render.human import digits
from archcast.render.labels import Box, Labels
from archcast.render.markup import esc, num, svg_text, tip
from archcast.render.plan_front import Scale

if TYPE_CHECKING:
    from archcast.allocating.answer import Allocation

WIDE, NARROW = (900, 400), (390, 340)
LEFT, RIGHT, TOP, BOTTOM = 66, 24, 18, 50
STYLE = """
svg.worth{width:100%;height:auto;overflow:visible}
.worth text{fill:var(--soft);font-size:12px}
.worth .axis{font-size:12.5px}
.worth .name{fill:var(--ink);font-weight:600;pointer-events:none}
.worth .name,.worth .limit-name{paint-order:stroke;stroke:var(--card);stroke-width:3px;stroke-linejoin:round}
.worth .stair{fill:none;stroke:var(--accent);stroke-width:1.8;stroke-linejoin:round}
.worth .design{fill:var(--accent);stroke:var(--card);stroke-width:1}
.worth .design:hover{stroke:var(--ink);stroke-width:2}
.worth .limit-line{stroke:var(--bad);stroke-width:1.4;stroke-dasharray:5 4;fill:none}
.worth .limit-name{fill:var(--bad)}
.worth .reach{stroke:var(--memory);stroke-width:3;fill:none;stroke-linecap:round}
.worth .chosen{fill:var(--memory);stroke:var(--card);stroke-width:1.4}
.worth .leader{stroke:var(--soft);stroke-width:.8;fill:none}
.budgets{display:grid;grid-template-columns:max-content minmax(120px,1fr) max-content;gap:9px 14px;align-items:center}
.budgets .track{position:relative;height:16px;background:var(--line);border-radius:3px}
.budgets .fill{position:absolute;left:0;top:0;bottom:0;border-radius:3px;background:var(--accent)}
.budgets .fill.tight{background:var(--bad)}
.budgets .about{grid-column:1/-1;margin:-4px 0 4px;color:var(--soft);font-size:13px}
@media (max-width:560px){.budgets{grid-template-columns:minmax(0,1fr) max-content}.budgets .track{grid-column:1/-1}}
"""


def worth_html(answer: Allocation) -> str:
    """Return the frontier with its legend, drawn once for wide and once for narrow screens."""
    if len(answer.frontier) < 2:
        return '<p class="note">There is one point only: no other budget gives another choice.</p>'
    risk = answer.study.risk.kind
    keys = '<li><i class="key c-front"></i>best worth at most likely costs</li>'
    keys += '<li><i class="key c-chosen"></i>the choice: most likely cost, and what is held against the budget</li>'
    note = "" if risk == "nominal" else (
        '<p class="note">The height between the line at the budget and the choice is what safety gives up.</p>'
    )  # fmt: skip
    return (
        f'<ul class="legend inline">{keys}</ul><div class="wideonly">{worth_svg(answer)}</div>'
        f'<div class="narrow">{worth_svg(answer, *NARROW)}</div>{note}'
    )


def worth_svg(answer: Allocation, width: int = WIDE[0], height: int = WIDE[1]) -> str:
    """Return worth against the use of the main budget: the frontier, the budget, the choice and its reach."""
    main = next(one for one in answer.used if one.name == answer.main)
    spent = answer.totals[answer.main].value
    reach = max(main.level, answer.totals[answer.main].hi)
    points = answer.frontier
    xs = [p.spent for p in points] + [main.budget, spent, reach]
    ys = [p.worth for p in points] + [answer.worth]
    pad = 0.06 * max(max(ys) - min(ys), 1e-3 * abs(max(ys)), 1e-12)
    x = Scale(0.0, max(xs) * 1.05, False, LEFT, width - RIGHT)
    y = Scale(min(ys) - pad, max(ys) + pad, False, height - BOTTOM, TOP)
    labels = Labels(Box(LEFT, TOP, width - RIGHT, height - BOTTOM), [])
    at = x.at(main.budget)
    labels.block(Box(at - 2, TOP, at + 2, height - BOTTOM))
    path, dots = "", []
    for p in points:
        px, py = x.at(p.spent), y.at(p.worth)
        labels.block(Box(px - 7, py - 7, px + 7, py + 7))
        path += f"H{num(px)}V{num(py)}" if path else f"M{num(px)} {num(py)}"
        about = tip(
            f"{p.scale:g} times the budget", f"spent {amount(answer.main, p.spent)}", f"worth {digits(p.worth)}"
        )
        dots.append(f'<circle class="design" cx="{num(px)}" cy="{num(py)}" r="4.5">{about}</circle>')
    body = _grid(answer.main, x, y, width, height)
    body += f'<path class="limit-line" d="M{num(at)} {TOP}V{height - BOTTOM}"/>'
    body += f'<path class="stair" d="{path}"/>' + "".join(dots) + _choice(answer, x, y, spent, main.level, labels)
    end = "end" if at > width / 2 else "start"
    words = f"budget {amount(answer.main, main.budget)}"
    body += svg_text(at + (-6 if end == "end" else 6), height - BOTTOM - 8, words, "limit-name", end)
    about_all = f"worth against {plain(answer.main)}, {len(points)} points"
    return f'<svg class="worth" viewBox="0 0 {width} {height}" role="img" aria-label="{esc(about_all)}">{body}</svg>'


def _choice(answer: Allocation, x: Scale, y: Scale, spent: float, level: float, labels: Labels) -> str:
    """Return the choice: a dot at its most likely cost and a line to what is held against the budget."""
    px, py, to = x.at(spent), y.at(answer.worth), x.at(level)
    about = tip(f"worth {digits(answer.worth)}", f"most likely {amount(answer.main, spent)}",
                f"held against the budget: {amount(answer.main, level)} ({answer.basis})")  # fmt: skip
    found = f'<path class="reach" d="M{num(px)} {num(py)}H{num(to)}"/>' if level > spent * 1.0001 else ""
    labels.block(Box(min(px, to) - 8, py - 8, max(px, to) + 8, py + 8))
    found += f'<circle class="chosen" cx="{num(px)}" cy="{num(py)}" r="7">{about}</circle>'
    spot = labels.place(f"chosen: worth {digits(answer.worth)}", px, py, 9.0)
    if spot is not None:
        found += svg_text(spot.x, spot.y, f"chosen: worth {digits(answer.worth)}", "name", spot.anchor)
    return found


def _ticks(scale: Scale) -> list[float]:
    span = max(scale.hi - scale.lo, 1e-300)
    step = 10.0 ** math.floor(math.log10(span / 4))
    step *= next(m for m in (1, 2, 5, 10) if span / (m * step) <= 6)
    return [k * step for k in range(math.ceil(scale.lo / step), math.floor(scale.hi / step) + 1)]


def _grid(name: str, x: Scale, y: Scale, width: int, height: int) -> str:
    parts = []
    for value in _ticks(x):
        at = x.at(value)
        parts.append(f'<path class="grid" d="M{num(at)} {TOP}V{height - BOTTOM}"/>')
        parts.append(svg_text(at, height - BOTTOM + 17, amount(name, value) if value else "0", "", "middle"))
    for value in _ticks(y):
        at = y.at(value)
        parts.append(f'<path class="grid" d="M{LEFT} {num(at)}H{width - RIGHT}"/>')
        parts.append(svg_text(LEFT - 7, at + 4, digits(value), "", "end"))
    parts.append(f'<path class="axisline" d="M{LEFT} {TOP}V{height - BOTTOM}H{width - RIGHT}"/>')
    parts.append(svg_text((LEFT + width - RIGHT) / 2, height - 8, f"{plain(name)} of all requests", "axis", "middle"))
    parts.append(svg_text(LEFT - 50, TOP - 6, "expected worth", "axis"))
    return "".join(parts)


def budgets_html(answer: Allocation) -> str:
    """Return a bar for each shared budget: the share that is held against it, and what more of it buys."""
    rows = []
    for one in answer.used:
        share = 100 * min(max(one.share, 0.0), 1.0)
        tight = " tight" if one.binds else ""
        more = f"10 % more of it buys {digits(one.more)} more worth" if one.more > 0 else "10 % more of it buys nothing"
        price = f"; relaxed price {digits(one.price)} for one more" if one.price > 0 else ""
        if one.one_more is not None:
            price = f"; one more of it buys {digits(one.one_more)}" if one.one_more > 0 else ""
        kept = ""
        if one.coverage is not None and one.assured is not None and one.nominal_coverage is not None:
            kept = (
                f"; kept in {100 * one.coverage:.1f} % of scenarios that had no part in the choice (at least "
                f"{100 * one.assured:.1f} %), the choice at most likely costs in {100 * one.nominal_coverage:.1f} %"
            )
        state = "binds: " if one.binds else ""
        rows.append(
            f"<span>{esc(plain(one.name))}</span>"
            f'<span class="track"><span class="fill{tight}" style="width:{num(share)}%"></span></span>'
            f"<span>{esc(amount(one.name, one.level))} of {esc(amount(one.name, one.budget))}</span>"
            f'<p class="about">{esc(state + more + price + kept)}.</p>'
        )
    return f'<div class="budgets">{"".join(rows)}</div>'
