"""A plan for a terminal: the answer, the fleets beside it, how far it holds, and what could not serve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from archcast.planning.robustness import sentence
from archcast.planning.words import binds_of
from archcast.render.human import digits, percent, text

if TYPE_CHECKING:
    from archcast.planning.answer import Plan
    from archcast.planning.confirm import Outcome
    from archcast.planning.screen import Rejected
    from simulator.intervals import Uncertain

MOST_FLEETS = 8
NAMES = {
    "memory": "memory", "ttft_alone": "TTFT even when alone", "tpot_alone": "TPOT even when alone", "tpot": "TPOT",
    "ttft": "TTFT", "goodput": "goodput", "devices": "number of devices", "price": "price",
    "unpriced": "unknown price", "format": "number format",
    "mapping": "mapping",
}  # fmt: skip


def plan_text(plan: Plan) -> str:
    """Return the answer as lines."""
    parts = [plan.summary]
    if plan.fleets:
        parts += ["", f"{binds_of(plan.fleets[0].outcome, plan.fleets[0].screened.least)}.", "", *fleet_lines(plan)]
        if plan.why:
            parts += ["", plan.why]
        parts += ["", "How far it holds:", *(f"  {line}" for line in stress_lines(plan))]
    parts += ["", *cannot_lines(plan.rejected)] if plan.rejected else []
    effort = plan.effort
    parts += [
        "",
        f"{effort.candidates:,} candidates; the closed form left {effort.screened:,}; {effort.fleets:,} fleets of them "
        f"were run ({effort.runs:,} runs of {effort.requests:,} requests). Demand: {demand_words(plan)}.",
        f"Prices: {price_words(plan)}. Seed {plan.seed}.",
    ]  # fmt: skip
    return "\n".join([*parts, *(f"note: {note}" for note in plan.notes)])


def demand_words(plan: Plan) -> str:
    """Return who asks, in words."""
    demand = plan.demand
    return (
        f"{demand.name}, {digits(demand.rate_hz)} requests/s, {float(demand.prompt.mean()):,.0f} tokens in and "
        f"{float(demand.generate.mean()):,.0f} out on average"
    )


def price_words(plan: Plan) -> str:
    """Return the price of each device with its range and its day."""
    found = []
    for site in plan.sites:
        price = site.usd_per_hour
        if math.isfinite(price.value):
            span = "" if price.lo == price.hi else f" [{digits(price.lo)} .. {digits(price.hi)}]"
            found.append(f"{site.id} {text(price.value, 'usd_per_hour')}{span} ({site.price_date})")
    return ", ".join(found) or "none"


def stress_lines(plan: Plan) -> list[str]:
    """Return a line for each change."""
    chosen = plan.chosen
    return [] if chosen is None else [sentence(s, chosen, plan.study.slo.name) for s in plan.stresses]


HEADS = ("fleet", "instances", "devices", "$/h", "TTFT", "TPOT", "power", "busy")


def fleet_lines(plan: Plan) -> list[str]:
    """Return the confirmed fleets as a table, best first."""
    rows = [HEADS[:4] + tuple(f"{plan.study.slo.name} {name}" for name in HEADS[4:6]) + HEADS[6:]]
    rows += [row_of(fleet.outcome) for fleet in plan.fleets[:MOST_FLEETS]]
    return table(rows)


def row_of(outcome: Outcome) -> tuple[str, ...]:
    """Return one fleet as cells."""
    return (
        outcome.candidate.label, str(outcome.instances), str(outcome.devices), digits(outcome.usd_per_hour),
        text(outcome.ttft_s.value, "s"), text(outcome.tpot_s.value, "s"), text(outcome.power_w.value, "w"),
        percent(outcome.busy_share),
    )  # fmt: skip


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows with columns of equal width; the first to the left, all others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def interval(quantity: Uncertain, kind: str) -> str:
    """Return the ends of an interval, or nothing where it is not known."""
    return f"{text(quantity.lo, kind)} .. {text(quantity.hi, kind)}" if quantity.known else ""


def cannot_lines(rejected: Sequence[Rejected]) -> list[str]:
    """Return what could not serve: by constraint, how many, and what came nearest."""
    found = ["Cannot serve:"]
    for constraint, several in by_constraint(rejected).items():
        near = several[0]
        how = f" ({near.binding.ratio:.3g} x the limit)" if 1.01 < near.binding.ratio < math.inf else ""
        found.append(f"  {NAMES[constraint]}: {len(several):,}; nearest {near.label}{how}: {near.binding.words}")
    return found


def by_constraint(rejected: Sequence[Rejected]) -> dict[str, list[Rejected]]:
    """Return what could not serve by constraint, most first, each nearest to its limit first."""
    found: dict[str, list[Rejected]] = {}
    for one in rejected:
        found.setdefault(one.binding.constraint, []).append(one)

    def near(one: Rejected) -> tuple[float, str]:
        ratio = one.binding.ratio
        return (ratio if math.isfinite(ratio) else math.inf, one.label)

    return {key: sorted(found[key], key=near) for key in sorted(found, key=lambda k: (-len(found[k]), k))}
