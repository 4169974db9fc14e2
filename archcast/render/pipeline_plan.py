"""The page of a plan of a pipeline's farm: the answer, two pictures, what events show, and how far it holds."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from archcast.planning.pipeline_binds import degraded_words
from archcast.planning.pipeline_confirm import room_events
from archcast.planning.pipeline_words import buffer_words, demand_words, limits_words, share
from archcast.render.document import report
from archcast.render.human import percent, text
from archcast.render.markup import esc, section
from archcast.render.pipeline_charts import STYLE as BAR_STYLE
from archcast.render.pipeline_plan_chain import chain_sections, over_time
from archcast.render.pipeline_plan_charts import STYLE, front_chart, loss_chart
from archcast.render.pipeline_plan_text import effort_words, loss_words
from archcast.render.serving_charts import STYLE as CHART_STYLE

if TYPE_CHECKING:
    from archcast.planning.pipeline_answer import PipelinePlan
    from archcast.planning.pipeline_confirm import Counted
    from archcast.planning.pipeline_search import Judged


def pipeline_plan_page(plan: PipelinePlan) -> str:
    """Return the page as text."""
    parts = [_header(plan)]
    if plan.chosen is not None:
        parts += [_cards(plan, plan.chosen), _pictures(plan), _front(plan)]
        if plan.confirmation is not None:
            parts += [_events(plan), over_time(plan.confirmation.counted, degraded_words(plan.study))]
        parts += [_robustness(plan), chain_sections(plan)]
    parts.append(_provenance(plan))
    title, style = f"{Path(plan.file).name} - archcast", CHART_STYLE + BAR_STYLE + STYLE
    return report(title, style, parts, plan.versions.get("archcast", ""))


def _header(plan: PipelinePlan) -> str:
    study, site = plan.study, plan.site
    chips = {
        "objective": study.objective, "limits": limits_words(study), "rate": text(site.rate_hz, "hz"),
        "failing": percent(study.failing), "service": f"{text(site.service_s[0], 's')}, {site.law}",
        "event": text(site.size_bytes, "traffic_bytes"),
    }  # fmt: skip
    items = "".join(f"<li><i>{esc(key)}</i>{esc(value, 200)}</li>" for key, value in chips.items())
    sure = "" if plan.verdict == "feasible" else " no"
    verdict = (
        f'<p class="verdict{sure}"><b>{plan.verdict.capitalize()}.</b> {esc(plan.binds)} {esc(plan.why)}</p>'
        if plan.chosen is not None
        else '<p class="verdict no"><b>Infeasible.</b> No choice keeps the limits.</p>'
    )
    return (
        '<header class="wide"><p class="brand"><b>archcast</b> · plan</p>'
        f"<h1>{esc(site.stage.name, 120)} <span>of</span> {esc(site.spec.id, 120)}</h1>"
        f'<ul class="chips">{items}</ul><p class="answer">{esc(plan.summary, 2000)}</p>{verdict}</header>'
    )


def _cards(plan: PipelinePlan, chosen: Judged) -> str:
    farm, seen = chosen.farm, plan.seen(chosen)
    span = (
        "" if math.isnan(seen.lo) else "exact in closed form" if seen.exact else f"{share(seen.lo)} .. {share(seen.hi)}"
    )
    shape, limit = f"{farm.parts:,} x {farm.servers:,}" if farm.parts > 1 else "", share(plan.study.limits.loss)
    cards = [
        ("Servers", f"{farm.total:,}", shape, "parts x servers"),
        ("Buffer", text(farm.buffer_total_bytes, "traffic_bytes"), buffer_words(farm), "all parts together"),
        ("Loss", loss_words(plan, chosen), span, f"share of events without a place; limit {limit}"),
        ("Busy", percent(chosen.load), "", f"of the servers that are up {degraded_words(plan.study)}".strip()),
        ("Latency, p99.9", text(chosen.latency_p999_s, "s"), "", "wait and service, closed form"),
    ]  # fmt: skip
    if chosen.price_usd:
        cards.append(("Price", text(chosen.price_usd, "usd"), "", "servers and buffers"))
    if chosen.power_w:
        cards.append(("Power", text(chosen.power_w, "w"), "", "of the servers, all up"))
    html = "".join(
        f'<div class="stat"><span class="name">{esc(name)}</span><span class="big">{esc(value)}</span>'
        f'<div class="ends">{esc(ends_)}</div><p class="about">{esc(about)}</p></div>'
        for name, value, ends_, about in cards
    )
    notes = "".join(f'<p class="note">{esc(words)}</p>' for words in plan.notes)
    return f'<div class="wide"><div class="stats">{html}</div>{notes}</div>'


def _pictures(plan: PipelinePlan) -> str:
    lead = (
        "Left: the best that holds, by the buffer of a part. Right: loss by servers at the chosen buffer, on "
        "a logarithmic axis; the dashed red line is the limit. The pointer shows the numbers."
    )
    pictures = (
        f"<div><h3>{esc(plan.study.objective.capitalize())} against buffer</h3>{front_chart(plan)}</div>"
        f"<div><h3>Loss against servers</h3>{loss_chart(plan)}</div>"
    )
    return section("Front", f'<div class="charts">{pictures}</div>', lead=lead, name="front")


def _front(plan: PipelinePlan) -> str:
    heads = ["farm", "servers", "parts", "buffer a part", "in all", "busy", "loss", "closed form", "price"]
    rows = []
    for row in sorted(plan.front, key=lambda r: r.objective):
        farm = row.farm
        mark = " (chosen)" if plan.chosen is not None and farm == plan.chosen.farm else ""
        rows.append([
            farm.label + mark, f"{farm.total:,}", f"{farm.parts:,}", text(farm.buffer_bytes, "traffic_bytes"),
            text(farm.buffer_total_bytes, "traffic_bytes"), percent(row.load), loss_words(plan, row),
            share(row.closed_loss), text(row.price_usd, "usd") if row.price_usd else "-",
        ])  # fmt: skip
    return section("Farms on the front", _table(heads, rows, left=1), name="farms")


def _events(plan: PipelinePlan) -> str:
    found = plan.confirmation
    assert found is not None
    heads = ["run", "buffer", "busy", "events", "lost", "loss", "95 % bound", "if single", "closed form"]
    rows = [_counted("against the closed form", one) for one in found.ratio.levels]
    rows.append(_counted("the chosen farm", found.counted))
    for one in plan.smaller:
        if one.counted is not None:
            rows.append(_counted(f"one below in {one.what}", one.counted))
    lead = esc(f"Verdict: {found.verdict}. {found.words}", 3000)
    return section("What events show", _table(heads, rows, left=1), lead=lead, name="events")


def _counted(name: str, one: Counted) -> list[str]:
    return [
        name, f"{room_events(one.farm, one.part):,} events", percent(one.part.load), f"{one.events:,}",
        f"{one.losses:,}", share(one.loss), share(one.upper), share(one.upper_if_single), share(one.closed_loss),
    ]  # fmt: skip


def _robustness(plan: PipelinePlan) -> str:
    rows = []
    for stress in plan.stresses:
        needed, judged = stress.needed, stress.judged
        more = "-" if needed is None else f"{needed.total:,} ({needed.total - judged.farm.total:+,})"
        busy = percent(judged.load) if math.isfinite(judged.load) else "-"
        rows.append([stress.name, "holds" if stress.holds else "fails", share(judged.loss), busy, more])
    heads = ["change", "the farm", "loss, upper end", "busy", "servers that hold"]
    lead = "One change at a time; the least number of servers, with the same buffer, that would hold."
    return section("How far it holds", _table(heads, rows, left=2), lead=lead, name="robustness")


def _provenance(plan: PipelinePlan) -> str:
    rows: dict[str, object] = {
        "file": Path(plan.file).name, "demand": demand_words(plan.study, plan.site), "effort": effort_words(plan),
        "seed": plan.seed,
    }  # fmt: skip
    if plan.confirmation is not None:
        rows["trace hash"] = plan.confirmation.counted.trace_hash
    items = "".join(
        f"<dt>{esc(key, 80)}</dt><dd>{esc(value, 900)}</dd>" for key, value in (rows | dict(plan.versions)).items()
    )
    return section("Where it is from", f'<dl class="facts">{items}</dl>')


def _table(heads: list[str], rows: list[list[str]], left: int) -> str:
    """Return a table; the first `left` columns are words, the others numbers."""
    head = "".join(f"<th{'' if i < left else ' class=n'}>{esc(h)}</th>" for i, h in enumerate(heads))
    body = "".join(
        "<tr>" + "".join(f"<td{'' if i < left else ' class=n'}>{esc(c, 400)}</td>" for i, c in enumerate(row)) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
