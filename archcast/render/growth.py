"""The page of a growth plan: what to buy now and later, pictures over time, what else could be done, and sources."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from archcast.growing.words import usd
from archcast.render.document import report
from archcast.render.growth_charts import STYLE, capacity_html, carbon_html, fan_svg, money_html, tornado_svg
from archcast.render.growth_text import beside, later_rows, now_words, price_words, sensitivity_rows
from archcast.render.human import digits, percent
from archcast.render.markup import esc, section

if TYPE_CHECKING:
    from archcast.growing.answer import Growth

MOST_LATER = 120
WORDS = "td.words{white-space:normal}"


def growth_page(answer: Growth) -> str:
    """Return the page as text."""
    parts = [_header(answer), _fan(answer), _capacity(answer), _later(answer)]
    if answer.verdict == "feasible":  # what is not served has no price, so plans cannot be held against each other
        parts.insert(1, _cards(answer))
        parts += [_money(answer), _carbon(answer), _tornado(answer), _others(answer), _regret(answer)]
    parts += [_break_even(answer), _provenance(answer)]
    title = f"{Path(answer.file).name} - archcast"
    return report(title, STYLE + WORDS, parts, answer.versions.get("archcast", ""))


def _header(answer: Growth) -> str:
    study = answer.study
    chips = {
        "demand": answer.capacity.demand.name, "at the start": f"{digits(answer.capacity.demand.rate_hz)}/s",
        "from": f"{answer.dates[0]}, {study.periods} periods of {study.months} months",
        "objective": study.objective, "regions": ", ".join(study.regions), "ways": ", ".join(sorted(study.acquire)),
    }  # fmt: skip
    items = "".join(f"<li><i>{esc(key)}</i>{esc(value, 200)}</li>" for key, value in chips.items())
    good = answer.verdict == "feasible"
    verdict = f'<p class="verdict{"" if good else " no"}"><b>What binds.</b> {esc("; ".join(answer.binds), 900)}.</p>'
    return (
        '<header class="wide"><p class="brand"><b>archcast</b> · growth plan</p>'
        f"<h1>{esc(answer.capacity.model, 120)} <span>while demand grows</span></h1>"
        f'<ul class="chips">{items}</ul><p class="answer">{esc(answer.summary, 2000)}</p>{verdict}</header>'
    )


def _cards(answer: Growth) -> str:
    values, course, tree = answer.values, answer.course, answer.solved.program.tree
    lo, hi = answer.intervals.expected_usd
    kilos = float(tree.probability @ course.total_kg.sum(axis=1))
    ends = [float(tree.probability @ x.sum(axis=1)) for x in answer.intervals.carbon_kg]
    cards = [
        ("Expected cost", usd(answer.solved.expected), f"{usd(lo)} .. {usd(hi)}", "discounted; interval of prices"),
        ("Spent now", usd(float(course.cost_usd[0, 0, 0])), "", "on devices that are bought"),
        ("Carbon", f"{digits(kilos / 1e3)} t", f"{digits(ends[0] / 1e3)} .. {digits(ends[1] / 1e3)} t",
         "expected, of electricity and of making what is bought"),
        ("Knowing the scenario", usd(values.evpi_usd), "", "would save so much (perfect information)"),
        ("All scenarios, not the mean", usd(values.vss_usd), "", "is saved by planning so (stochastic solution)"),
        ("Most power", f"{digits(float(course.power_w.max()) / 1e3)} kW", "",
         "mean of a period, all that serves, cooling included"),
        ("Certified", f"{100 * answer.solved.gap:.2g} %", "", "no plan is cheaper by more"),
    ]  # fmt: skip
    html = "".join(
        f'<div class="stat"><span class="name">{esc(name)}</span><span class="big">{esc(value)}</span>'
        f'<div class="ends">{esc(ends_)}</div><p class="about">{esc(about)}</p></div>'
        for name, value, ends_, about in cards
    )
    notes = "".join(f'<p class="note">{esc(words)}</p>' for words in answer.notes)
    return f'<div class="wide"><div class="stats">{html}</div>{notes}</div>'


def _fan(answer: Growth) -> str:
    lead = "Mean requests a second by scenario, logarithmic; dashed: what is expected. The pointer shows numbers."
    return section("Demand", fan_svg(answer), lead=lead, name="demand")


def _capacity(answer: Growth) -> str:
    lead = "What can be served in the peak by what is bought, leased and rented, in each scenario."
    return section("Capacity against demand", capacity_html(answer), lead=lead, name="capacity")


def _later(answer: Growth) -> str:
    rows = later_rows(answer)
    body = table(["scenario", "from", "order"], rows[:MOST_LATER], left=3)
    if len(rows) > MOST_LATER:
        body += f'<p class="note">{len(rows) - MOST_LATER} more orders stand in the JSON document.</p>'
    rest = " Rented devices fill the rest." if "rent" in answer.study.acquire else ""
    lead = f"Orders after the first period, once it is seen how demand grows.{rest}"
    return section("What later", body if rows else '<p class="note">Nothing.</p>', lead=lead, name="later")


def _money(answer: Growth) -> str:
    lead = "What each period costs, not discounted; lines are the interval of prices, power and carbon of this plan."
    return section("Cost by period", money_html(answer), lead=lead, name="cost")


def _carbon(answer: Growth) -> str:
    lead = "CO2e of each period; location-based, of all devices that serve, rented ones too."
    return section("Carbon by period", carbon_html(answer), lead=lead, name="carbon")


def _tornado(answer: Growth) -> str:
    rows = [
        [name, usd(low.cost_usd), usd(high.cost_usd), now_words(answer, low), now_words(answer, high)]
        for name, low, high in sensitivity_rows(answer)
    ]
    heads = ["figures", "cheap end", "dear end", "bought or leased now, cheap end", "dear end"]
    body = tornado_svg(answer) + table(heads, rows, left=1, words=(3, 4))
    lead = "The expected cost of the best plan when figures are at the cheap or dear end of their range."
    return section("What is not known", body, lead=lead, name="sensitivity")


def _others(answer: Growth) -> str:
    values = answer.values
    found = [values.mean, *values.alternatives]
    names = ["buying now for the mean growth", *(one.name for one in values.alternatives)]
    rows = [
        [name, usd(one.cost_usd), beside(one, values.cost_usd), tonnes(one.carbon_kg)]
        for name, one in zip(names, found, strict=True)
    ]
    lead = f"Held against the plan at {usd(values.cost_usd)}; later leases and sales may be parts of a unit here."
    heads = ["plan", "expected cost", "beside the plan", "carbon"]
    return section("Other plans", table(heads, rows, left=1), lead=lead, name="others")


def tonnes(kilos: float) -> str:
    return f"{digits(kilos / 1e3)} t" if math.isfinite(kilos) else "-"


def _regret(answer: Growth) -> str:
    values, names = answer.values, answer.solved.program.tree.names
    if len(names) == 1 or len(names) > 16:
        return ""
    rows = [["all scenarios (the plan)", *(usd(max(float(x), 0.0)) for x in values.own_regret_usd)]]
    rows += [
        [f"{one.name} only", *(usd(max(float(x), 0.0)) if np.isfinite(x) else "-" for x in row)]
        for one, row in zip(values.bought, values.regret_usd, strict=True)
    ]
    lead = "What buying now for one scenario costs more than the best plan for the scenario that comes."
    heads = ["bought now for", *(f"{name} comes" for name in names)]
    return section("Regret", table(heads, rows, left=1), lead=lead, name="regret", wide=len(names) > 4)


def _break_even(answer: Growth) -> str:
    rows = [
        [one.device, one.region, percent(one.share) if one.share <= 1 else "never", f"{one.against_lease:.2f} x",
         f"{one.months:.0f} months" if math.isfinite(one.months) else "not within the plan"]
        for one in sorted(answer.break_evens, key=lambda one: one.share)
    ]  # fmt: skip
    if not rows:
        return ""
    lead = "Of a device bought at the start and sold at the end: the share of the time it must be busy to beat renting."
    heads = ["device", "region", "busy more than", "cost over leasing", "has paid after, always busy"]
    return section("Buy or rent", table(heads, rows, left=2), lead=lead, name="breakeven", wide=True)


def _provenance(answer: Growth) -> str:
    books = answer.books
    rows: dict[str, object] = {
        "file": Path(answer.file).name, "seed": answer.seed, "prices": price_words(answer),
        "variables and rows": f"{len(answer.solved.x):,} and {len(answer.solved.program.rows):,}",
    }  # fmt: skip
    for book in (books.purchases, books.regions):
        rows |= {f"{book.id}: {key}": words for key, words in book.sources.items()}
    items = "".join(
        f"<dt>{esc(key, 80)}</dt><dd>{esc(value, 600)}</dd>" for key, value in (rows | dict(answer.versions)).items()
    )
    return section("Where it is from", f'<dl class="facts">{items}</dl>')


def table(heads: list[str], rows: list[list[str]], left: int, words: tuple[int, ...] = ()) -> str:
    """Return a table; the first `left` columns and those in `words` are text, the others numbers."""
    style = ["" if i < left else " class=words" if i in words else " class=n" for i in range(len(heads))]
    head = "".join(f"<th{style[i]}>{esc(h)}</th>" for i, h in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{style[i]}>{esc(cell, 400)}</td>" for i, cell in enumerate(row)) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
