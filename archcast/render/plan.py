"""The page of a plan: the fleet, the front as pictures, latency over time, how far the answer holds, what cannot."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from archcast.planning.words import amount, binds_of, name_of, objectives
from archcast.render.document import report
from archcast.render.human import digits, percent, text
from archcast.render.markup import esc, section
from archcast.render.plan_front import STYLE, front_svgs
from archcast.render.plan_text import NAMES, by_constraint, demand_words, interval, price_words
from archcast.render.serving_charts import STYLE as CHART_STYLE
from archcast.render.serving_charts import Axis, Line, chart
from foundation.files import write_text_whole
from simulator.serving.series import windows

if TYPE_CHECKING:
    from archcast.planning.answer import Plan
    from archcast.planning.confirm import Outcome
    from archcast.planning.robustness import Stress
    from archcast.planning.search import Fleet

WINDOWS = 48
LISTED = 5
"""Candidates a constraint in the table of what cannot serve."""


def write_plan_html(plan: Plan, path: str | Path) -> None:
    """Write the page whole or not at all. Raises BadFileError: the folder is absent or cannot be written."""
    write_text_whole(path, plan_page(plan))


def plan_page(plan: Plan) -> str:
    """Return the page as text."""
    parts = [_header(plan)]
    if plan.chosen is not None:
        parts += [_cards(plan, plan.chosen), _chosen(plan, plan.chosen), _money(plan)]
    if plan.points:
        lead = (
            "Every fleet that was run under the demand. The dashed stair is the front of each picture among the fleets "
            "that keep the objectives; the ring is the chosen one. The pointer shows each fleet's numbers."
        )
        parts.append(section("Front", front_svgs(plan), lead=lead, name="front"))
    if plan.chosen is not None:
        parts += [_over_time(plan, plan.chosen.outcome), _robustness(plan), _fleets(plan)]
    parts += [_cannot(plan), _provenance(plan)]
    return report(f"{Path(plan.file).name} - archcast", CHART_STYLE + STYLE, parts, plan.versions.get("archcast", ""))


def _binds(fleet: Fleet) -> str:
    return binds_of(fleet.outcome, fleet.screened.least)


def _header(plan: Plan) -> str:
    study = plan.study
    chips = {
        "objective": study.objective, "service": objectives(study), "demand": plan.demand.name,
        "rate": f"{digits(plan.demand.rate_hz)}/s", "devices": ", ".join(study.devices),
    }  # fmt: skip
    items = "".join(f"<li><i>{esc(key)}</i>{esc(value, 200)}</li>" for key, value in chips.items())
    verdict = (
        f'<p class="verdict"><b>Feasible.</b> {esc(_binds(plan.fleets[0]))}. {esc(plan.why)}</p>'
        if plan.fleets
        else '<p class="verdict no"><b>Infeasible.</b> Nothing within the limits keeps the objectives.</p>'
    )  # fmt: skip
    return (
        '<header class="wide"><p class="brand"><b>archcast</b> · plan</p>'
        f"<h1>{esc(plan.model, 120)} <span>at</span> {digits(plan.demand.rate_hz)} requests/s</h1>"
        f'<ul class="chips">{items}</ul><p class="answer">{esc(plan.summary, 2000)}</p>{verdict}</header>'
    )


def _cards(plan: Plan, fleet: Fleet) -> str:
    outcome, found = fleet.outcome, plan.fleet_json(fleet)
    slo, per_million = plan.study.slo, found["usd_per_million_tokens"]
    cards = [
        (f"TTFT, {slo.name}", text(outcome.ttft_s.value, "s"), interval(outcome.ttft_s, "s"), "first token - arrival"),
        (f"TPOT, {slo.name}", text(outcome.tpot_s.value, "s"), interval(outcome.tpot_s, "s"),
         "(last token - first) / (tokens - 1)"),
        ("Goodput", percent(outcome.goodput_share.value), _shares(outcome), "requests that keep every objective"),
        ("Power", text(outcome.power_w.value, "w"), interval(outcome.power_w, "w"), "all boards, idle power included"),
    ]  # fmt: skip
    if math.isfinite(outcome.usd_per_hour):
        price = found["usd_per_hour"]
        ends = f"{digits(price['lo'])} .. {digits(price['hi'])} $/h"
        about = f"{text(per_million['value'], 'usd')} a million generated tokens"
        cards.insert(0, ("Money", text(outcome.usd_per_hour, "usd_per_hour"), ends, about))
    energy = found["energy_per_token_j"]
    about = f"a generated token, PUE {plan.study.pue:g}"
    cards.append(("Energy", text(energy["value"], "j"), _ends(energy, "j"), about))
    carbon = found["carbon_kg_per_hour"]
    if carbon is not None:
        cards.append(("Carbon", f"{digits(carbon['value'])} kg/h", "", "CO2 of the electricity"))
    cards.append(("Busy", percent(outcome.busy_share), "", "share of the time in which a lane computes"))
    html = "".join(
        f'<div class="stat"><span class="name">{esc(name)}</span><span class="big">{esc(value)}</span>'
        f'<div class="ends">{esc(ends)}</div><p class="about">{esc(about)}</p></div>'
        for name, value, ends, about in cards
    )
    note = (
        "Intervals of times and power are those of chance (95 %, over replications), those of money of the price; the "
        "error of the cost model is a line of the table of how far the answer holds."
    )
    notes = "".join(f'<p class="note">{esc(words)}</p>' for words in plan.notes)
    return f'<div class="wide"><div class="stats">{html}</div><p class="note">{note}</p>{notes}</div>'


def _shares(outcome: Outcome) -> str:
    share = outcome.goodput_share
    return f"{percent(share.lo)} .. {percent(share.hi)}" if share.known else ""


def _ends(found: dict[str, float | None], kind: str) -> str:
    lo, hi = found["lo"], found["hi"]
    return f"{text(lo, kind)} .. {text(hi, kind)}" if lo is not None and hi is not None else ""


def _chosen(plan: Plan, fleet: Fleet) -> str:
    outcome = fleet.outcome
    candidate = outcome.candidate
    memory = candidate.room
    held = ", ".join(f"{text(size, 'bytes')} {name}" for name, size in memory.held_bytes.items() if size)
    rows = {
        "instances": outcome.instances, "devices": f"{outcome.devices} x {candidate.site.id}",
        "one instance": f"{candidate.devices} x {candidate.site.id}, {candidate.engine.mapping.label()}",
        "format": candidate.format, "policy": candidate.policy_label, "router": plan.study.router,
        "KV cache": f"{candidate.policy.blocks:,} blocks of {candidate.policy.block_tokens} tokens an instance",
        "memory of a device": f"{held}, {text(memory.kv_bytes, 'bytes')} for the KV cache, of "
        f"{text(memory.capacity_bytes, 'bytes')}",
        "closed form": f"one instance serves at most {digits(fleet.screened.most_hz)} requests/s, so at least "
        f"{fleet.screened.least} instances",
        "preemptions": f"{sum(run.preempted for run in outcome.runs):,} in {len(outcome.runs)} replications",
    }  # fmt: skip
    return _facts("The fleet", rows, wide=False)


def _money(plan: Plan) -> str:
    chosen = plan.chosen
    assert chosen is not None
    rows: dict[str, object] = {"objective": f"{plan.study.objective}: {amount(plan.study, chosen.objective)}"}
    if plan.runner_up is not None:
        rows["runner-up"] = name_of(plan.runner_up.outcome)
        rows["its objective"] = amount(plan.study, plan.runner_up.objective)
        rows["why it lost"] = plan.why
    rows["prices"] = price_words(plan)
    return _facts("Why this one", rows, wide=False)


def _over_time(plan: Plan, outcome: Outcome) -> str:
    """Return times of the busiest replication by arrival."""
    seen = outcome.runs[0]
    edges = np.linspace(float(seen.arrival_s[0]), float(seen.arrival_s[-1]) + 1e-9, WINDOWS + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    drawings = []
    for name, title, limit in (
        ("ttft_s", "Time to first token", plan.study.slo.ttft_s),
        ("tpot_s", "Time per output token", plan.study.slo.tpot_s),
    ):
        lines = [
            Line(f"p{q}", middle, windows(seen.arrival_s, getattr(seen, name), edges, q), style)
            for style, q in enumerate((50, 90, 99))
        ]
        mark = None if limit is None else (limit, f"objective {text(limit, 's')}")
        drawing = chart(lines, Axis("arrival", "s"), Axis(title.lower(), "s"), limit=mark)
        drawings.append(f"<div><h3>{title}</h3>{drawing}</div>")
    lead = "The chosen fleet in its busiest replication: percentiles of the requests that arrive in equal windows."
    return section("Latency over time", f'<div class="charts">{"".join(drawings)}</div>', lead=lead, name="latency")


def _robustness(plan: Plan) -> str:
    slo = plan.study.slo
    rows = [_stress_row(stress, plan) for stress in plan.stresses]
    heads = ["change", "the fleet", f"{slo.name} TTFT", f"{slo.name} TPOT", "instances that hold", "money"]
    lead = (
        "The same requests, arriving faster; one instance fewer; steps at the upper end of the cost model's interval. "
        "Where the fleet misses an objective, the least fleet of its kind that would not."
    )
    return section("How far it holds", _table(heads, rows, left=2), lead=lead, name="robustness")


def _stress_row(stress: Stress, plan: Plan) -> list[str]:
    outcome = stress.outcome
    times = ["-", "-"] if outcome is None else [text(q.value, "s") for q in (outcome.ttft_s, outcome.tpot_s)]
    needed = ["none within the limits", "-"]
    if stress.needed is not None:
        more = stress.needed.instances - (plan.chosen.outcome.instances if plan.chosen else 0)
        usd = stress.needed.usd_per_hour
        needed = [f"{stress.needed.instances}{f' (+{more})' if more > 0 else ''}",
                  text(usd, "usd_per_hour") if math.isfinite(usd) else "-"]  # fmt: skip
    name = f"{stress.name} ({stress.remark})" if stress.remark else stress.name
    return [name, stress.verdict, *times, *needed]


def _fleets(plan: Plan) -> str:
    slo = plan.study.slo
    heads = ["fleet", "instances", "devices", "$/h", "$/M tokens", f"{slo.name} TTFT", f"{slo.name} TPOT", "goodput",
             "power", "busy"]  # fmt: skip
    rows = []
    for fleet in plan.fleets:
        outcome, found = fleet.outcome, plan.fleet_json(fleet)
        rows.append([
            outcome.candidate.label, str(outcome.instances), str(outcome.devices), digits(outcome.usd_per_hour),
            digits(found["usd_per_million_tokens"]["value"] or math.nan), text(outcome.ttft_s.value, "s"),
            text(outcome.tpot_s.value, "s"), percent(outcome.goodput_share.value), text(outcome.power_w.value, "w"),
            percent(outcome.busy_share),
        ])  # fmt: skip
    lead = "The least fleet of each engine that could be best, best first; every one is confirmed by events."
    return section(f"Confirmed fleets ({len(rows)})", _table(heads, rows, left=1), lead=lead, name="fleets")


def _cannot(plan: Plan) -> str:
    if not plan.rejected:
        return ""
    rows = []
    for constraint, several in by_constraint(plan.rejected).items():
        for one in several[:LISTED]:
            ratio = one.binding.ratio
            shown = f"{ratio:.3g} x" if math.isfinite(ratio) else "-"
            rows.append([NAMES[constraint], one.label, shown, one.binding.words])
        if len(several) > LISTED:
            rows.append([NAMES[constraint], f"{len(several) - LISTED} more", "", ""])
    heads = ["what binds", "candidate", "of the limit", "why"]
    lead = "Candidates that no number of instances helps, or whose least fleet is over a limit; the nearest first."
    return section(f"What cannot serve ({len(plan.rejected)})", _table(heads, rows, left=4), lead=lead, name="cannot")


def _provenance(plan: Plan) -> str:
    effort = plan.effort
    rows: dict[str, object] = {
        "file": Path(plan.file).name, "demand": demand_words(plan), "hash of the demand": plan.demand.digest,
        "seed": plan.seed, "replications": len(plan.demand.runs), "candidates": f"{effort.candidates:,}",
        "left by the closed form": f"{effort.screened:,}",
        "runs": f"{effort.runs:,} of {effort.fleets:,} fleets, {effort.requests:,} requests",
    }  # fmt: skip
    if plan.chosen is not None:
        rows["trace hash"] = plan.chosen.outcome.trace_hashes[0]
    return _facts("Where it is from", rows | dict(plan.versions), wide=True)


def _facts(title: str, rows: dict[str, object], *, wide: bool) -> str:
    items = "".join(f"<dt>{esc(key, 80)}</dt><dd>{esc(value, 600)}</dd>" for key, value in rows.items())
    return section(title, f'<dl class="facts">{items}</dl>', wide=wide)


def _table(heads: list[str], rows: list[list[str]], left: int) -> str:
    """Return a table; the first `left` columns are words, the others numbers."""
    head = "".join(f"<th{'' if i < left else ' class=n'}>{esc(h)}</th>" for i, h in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{'' if i < left else ' class=n'}>{esc(c, 400)}</td>" for i, c in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
