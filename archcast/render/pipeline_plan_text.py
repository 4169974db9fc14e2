"""A plan of a pipeline's farm for a terminal: the answer, the front, what events show, how far it holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from archcast.planning.pipeline_confirm import room_events
from archcast.planning.pipeline_words import share
from archcast.render.human import percent, text
from archcast.render.plan_text import table

if TYPE_CHECKING:
    from archcast.planning.pipeline_answer import PipelinePlan
    from archcast.planning.pipeline_search import Judged
    from archcast.planning.pipeline_stress import Stress

MOST_ROWS = 12


def pipeline_plan_text(plan: PipelinePlan) -> str:
    """Return the answer as lines."""
    parts = [plan.summary]
    if plan.chosen is not None:
        parts += [
            "",
            plan.binds,
            *([plan.why] if plan.why else []),
            "",
            f"Front of {plan.study.objective} against buffer:",
            *front_lines(plan),
        ]
        if plan.confirmation is not None:
            parts += ["", f"Events ({plan.confirmation.verdict}): {plan.confirmation.words}", *level_lines(plan)]
        parts += ["", "How far it holds:", *(f"  {stress_line(stress, _upper(plan))}" for stress in plan.stresses)]
    parts += ["", effort_words(plan)]
    return "\n".join([*parts, *(f"note: {note}" for note in plan.notes)])


def front_lines(plan: PipelinePlan) -> list[str]:
    """Return the front as a table, fewest servers first; the chosen one is marked."""
    several = any(row.farm.parts > 1 for row in plan.front)
    heads: tuple[str, ...] = ("", "servers", "parts", "buffer a part", "in all", "busy", "loss", "closed form")
    priced = any(row.price_usd for row in plan.front)
    rows = [(*heads, "price") if priced else heads]
    for row in sorted(plan.front, key=lambda r: r.objective)[:MOST_ROWS]:
        farm = row.farm
        cells = (
            ("> " if plan.chosen is not None and farm == plan.chosen.farm else "  ") + farm.site.name,
            f"{farm.total:,}", f"{farm.parts:,}", text(farm.buffer_bytes, "traffic_bytes"),
            text(farm.buffer_total_bytes, "traffic_bytes"), percent(row.load), loss_words(plan, row),
            share(row.closed_loss),
        )  # fmt: skip
        rows.append((*cells, text(row.price_usd, "usd")) if priced else cells)
    return table(rows if several else [(*row[:2], row[3], *row[5:]) for row in rows])


def loss_words(plan: PipelinePlan, row: Judged) -> str:
    """Return the loss as events see it, or as the closed form gives it."""
    return share(plan.seen(row).value)


def level_lines(plan: PipelinePlan) -> list[str]:
    """Return the levels at which events were held against the closed form."""
    assert plan.confirmation is not None
    rows = [("  buffer", "busy", "events", "lost", "loss", "closed form", "dispersion")]
    for one in plan.confirmation.ratio.levels:
        rows.append((
            f"  {room_events(one.farm, one.part):,} events", percent(one.part.load), f"{one.events:,}",
            f"{one.losses:,}", share(one.loss), share(one.closed_loss), f"{one.dispersion:.3g}",
        ))  # fmt: skip
    return table(rows)


def _upper(plan: PipelinePlan) -> bool:
    """Tell whether losses of changed farms are upper ends of what events say (else the closed form's)."""
    return plan.chosen is not None and not plan.seen(plan.chosen).exact and math.isfinite(plan.seen(plan.chosen).hi)


def stress_line(stress: Stress, upper: bool) -> str:
    """Return one change in a line; `upper`: its loss is the upper end of what events say."""
    farm, judged = stress.judged.farm, stress.judged
    loss = f"loss {'up to ' if upper else ''}{share(judged.loss)}" if judged.loss else "no loss"
    head = f"{stress.name}: {'holds' if stress.holds else 'fails'}, {loss}"
    if math.isfinite(judged.load):
        head += f", {percent(judged.load)} busy"
    if stress.needed is None:
        return f"{head}; no number of servers would hold"
    more = stress.needed.total - farm.total
    if more == 0:
        return head
    return f"{head}; {stress.needed.total:,} servers ({more:+,}) would {'do' if stress.holds else 'hold'}"


def effort_words(plan: PipelinePlan) -> str:
    """Return how much was looked at."""
    site = plan.site
    ran = ""
    if plan.confirmation is not None:
        found = plan.confirmation
        ran = f" Events: {found.events:,} in {found.runs} runs ({found.counted.engine}), one live part each."
    law = "" if plan.chosen is None else f" Closed form: {plan.chosen.farm.part(0).named}."
    cv = "" if site.law in ("constant", "exponential") else f", cv {site.cv[0]:g}"
    return (
        f"{plan.evaluated:,} candidates in closed form.{ran}{law} Service {text(site.service_s[0], 's')} "
        f"({site.law}{cv}), events of {text(site.size_bytes, 'traffic_bytes')}. Seed {plan.seed}."
    )
