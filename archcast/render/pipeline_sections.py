"""Parts of a pipeline's page that are tables first: losses, latency, physics, services, details, where it is from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from archcast.render.bars import stacked
from archcast.render.breakdown import Part
from archcast.render.human import digits, percent, text
from archcast.render.markup import esc, section
from archcast.render.pipeline_charts import LogRow, batch_charts, keys, log_bars, sojourn_chart
from archcast.render.pipeline_rows import (
    CAUSE_WORDS,
    LEAST_LOSS,
    StageRow,
    detector_bytes_per_s,
    kept_events,
    mean_shares_where_lost,
    place_words,
    share_words,
    shares_where_lost,
    span_words,
    words,
)
from archcast.render.pipeline_text import cause_words
from archcast.render.pipeline_words import off_by, share_off_by
from simulator.intervals import Uncertain

if TYPE_CHECKING:
    from archcast.pipeline import Pipeline

SOURCES = ("measured", "interpolated", "learned", "physics", "extrapolated")


def table(heads: Sequence[str], rows: Sequence[Sequence[tuple[str, float | str]]], *, left: int = 1) -> str:
    """Return a table that sorts; a cell is (shown, sorted by), and the first `left` columns are words."""
    cells = []
    for row in rows:
        line = []
        for i, (shown, key) in enumerate(row):
            value = f"{key:.9g}" if isinstance(key, float) else key
            style = ' class="name"' if i < left else ' class="n"'
            line.append(f'<td{style} data-v="{esc(value)}">{esc(shown, 200)}</td>')
        cells.append(f"<tr>{''.join(line)}</tr>")
    top = "".join(
        f'<th{" class=n" if i >= left else ""}><button type="button">{esc(head)}</button></th>'
        for i, head in enumerate(heads)
    )
    body = f"<thead><tr>{top}</tr></thead><tbody>{''.join(cells)}</tbody>"
    return f'<div class="scroll"><table class="sortable plain">{body}</table></div>'


def losses(answer: Pipeline, rows: list[StageRow]) -> str:
    """Return losses by stage and cause: as closed forms have them, and as events of the windows did."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        for cause, share in mean_shares_where_lost(row.rates).items():
            if share > LEAST_LOSS:
                found.setdefault((row.name, CAUSE_WORDS[cause]), [share, math.nan])
    seen = dict[tuple[str, str], str]()
    for window in answer.windows:
        for name, stage in window.stages.items():
            reach = shares_where_lost(window, name)
            for cause, lost in stage.lost_by_cause.items():
                if lost.value > 0:
                    key = _closed_cause(name, cause_words(cause), found)
                    share = reach[cause]
                    found.setdefault(key, [math.nan, math.nan])[1] = share
                    if lost.known:
                        factor = share / lost.value
                        seen[key] = share_off_by(Uncertain(share, lost.lo * factor, lost.hi * factor))
    if not found:
        none = '<p class="note">No stage loses events, neither in the mean nor in the windows.</p>'
        return section("Losses", none, name="losses")
    bars = []
    for (name, cause), (mean, events) in sorted(found.items(), key=lambda item: -max(_or_0(x) for x in item[1])):
        shown = [
            (_or_0(mean), "b-in", f"in the mean {share_words(mean)}"),
            (_or_0(events), "b-lost", f"in events {share_words(events)}"),
        ]
        bars.append(LogRow(name, cause, shown, share_words(mean), f"events: {share_words(events)}"))
    most = max(_or_0(x) for pair in found.values() for x in pair)
    legend = keys(("b-in", "mean rates (closed form)"), ("b-lost", "events of the windows"))
    dead = [(row.name, row.rates.dead_time_share) for row in rows if row.rates.dead_time_share.value > 0]
    said = "".join(
        f'<p class="note">Dead time and trigger rules cost {esc(name, 60)} {share_words(share.value)} of its accepted '
        "triggers in the mean.</p>"
        for name, share in dead
    )
    spans = "".join(
        f'<p class="note">{esc(name, 60)}, {esc(cause)}: {esc(span)} over the replications.</p>'
        for (name, cause), span in seen.items()
        if span
    )
    lead = (
        "Each a share of the events that reach the place where they are lost: trigger rules and dead time see the "
        "events that the decision accepts, a full buffer all that come to it. The axis is logarithmic; rejected events "
        "are not lost."
    )
    return section(
        "Losses", legend + log_bars(bars, "", most=most, share=True) + said + spans, lead=lead, name="losses"
    )


def _closed_cause(name: str, cause: str, found: dict[tuple[str, str], list[float]]) -> tuple[str, str]:
    """Return the row that events of a cause belong to: rules and dead time are one cause there."""
    for known in (CAUSE_WORDS["rule"], CAUSE_WORDS["dead_time"]):
        if " and " in cause and (name, known) in found:
            return name, known
    return name, cause


def _or_0(value: float) -> float:
    return value if math.isfinite(value) else 0.0


def latency(answer: Pipeline, rows: list[StageRow]) -> str:
    """Return where the time goes in the mean, quantiles of each window, and their distributions."""
    bars = []
    for row in rows:
        stage = row.rates
        if stage.unstable:
            continue
        if stage.latency_s.value > 0:
            wait = "" if stage.wait_s is None or not stage.wait_s.value else f"wait {text(stage.wait_s.value, 's')}"
            bars.append(_late(row.name, wait, stage.latency_s.value))
        if stage.link is not None and stage.link.latency_s.value > 0:
            bars.append(_late(f"{row.name} link", "with sending", stage.link.latency_s.value))
    wide = "" if len(answer.windows) % 2 else " class=wide"
    body = f"<div{wide}><h3>In the mean, by stage and link</h3>{log_bars(bars, 's')}</div>" if bars else ""
    drawings = "".join(
        f"<div><h3>{esc(window.name, 60)} <small>share of its events</small></h3>{sojourn_chart(window)}</div>"
        for window in answer.windows
    )
    quantiles = ("mean", "p50", "p90", "p99", "p999")
    lines = []
    for window in answer.windows:
        known = window.latency_s
        cells: list[tuple[str, float | str]] = [(window.name, window.name)]
        for key in quantiles:
            number = known.get(key)
            shown = "-" if number is None else off_by(number, "s")
            cells.append((shown, -1.0 if number is None or math.isnan(number.value) else number.value))
        cells.append((f"{kept_events(window):,}", float(kept_events(window))))
        lines.append(cells)
    heads = ("window", "mean", "p50", "p90", "p99", "p99.9", "events")
    found = table(heads, lines) if lines else ""
    lead = "Through a window: from its entry to its end, of kept events. A quantile needs ten of them beyond it."
    charts = (
        f'<div class="charts">{body}{drawings}</div>' if body or drawings else "<p class=note>Nothing takes time.</p>"
    )
    return section("Latency", f"{found}<p class=note></p>{charts}", lead=lead if lines else "", name="latency")


def _late(name: str, under: str, seconds: float) -> LogRow:
    return LogRow(name, under, [(seconds, "b-out", f"{name}: {text(seconds, 's')}")], text(seconds, "s"))


def physics(answer: Pipeline) -> str:
    """Return what each classifier passes, and what the chain as a whole keeps."""
    chosen = [(stage.name, stage.selection) for stage in answer.rates.stages if stage.selection is not None]
    if not chosen:
        return ""
    rows: list[list[tuple[str, float | str]]] = []
    for name, found in chosen:
        cells = (
            (found.requested, digits(found.requested)), (found.reduction, digits(found.reduction)),
            (found.threshold, digits(found.threshold) if math.isfinite(found.threshold) else "-"),
            (found.relevant_pass, percent(found.relevant_pass)),
            (1 - found.relevant_pass, percent(1 - found.relevant_pass)),
            (found.null_pass, share_words(found.null_pass)), (1 - found.null_pass, percent(1 - found.null_pass)),
        )  # fmt: skip
        rows.append([(name, name), *((shown, float(value)) for value, shown in cells)])
    heads = (
        "stage", "reduction asked", "achieved", "threshold", "relevant kept", "relevant missed", "others passed",
        "others rejected",
    )  # fmt: skip
    body, yields = table(heads, rows), answer.rates.physics
    if yields is not None:
        kilo = yields.relevant_per_joule * 1e3
        facts = {
            "precision": (f"{percent(yields.precision.value)} of what is kept is relevant", yields.precision, True),
            "recall": (f"{percent(yields.recall.value)} of what is relevant is kept", yields.recall, True),
            "F1": (percent(yields.f1.value), yields.f1, True),
            "relevant a second": (text(yields.relevant_rate_hz.value, "hz"), yields.relevant_rate_hz, False),
            "relevant per kJ": (digits(kilo.value) if math.isfinite(kilo.value) else "-", kilo, False),
        }
        items = []
        for key, (shown, span, share) in facts.items():
            ends = span_words(span, "hz" if key == "relevant a second" else "")
            if share:
                low, high = percent(span.lo), percent(span.hi)
                ends = "" if low == high else f"{low} to {high}"
            items.append(f"<dt>{esc(key)}</dt><dd>{esc(shown)}{f' <small>({esc(ends)})</small>' if ends else ''}</dd>")
        body += f'<p class="note"></p><dl class="facts">{"".join(items)}</dl>'
    lead = "Each row is a confusion matrix: shares of the relevant and of the other events that reach the stage."
    if yields is not None:
        lead += " Relevant per kJ is F1 x rate out / power, as the published study counts it."
    return section("Decisions and physics", body, lead=lead, name="physics")


def services(answer: Pipeline) -> str:
    """Return the stages whose times come from the cost model: by batch, and what the times rest on."""
    parts = []
    for name, found in answer.services.items():
        times, most = found.times, len(found.times.time_s)
        energy = "" if times.energy_j is None else f", {text(times.energy_j, 'j')} an event"
        span = f"{text(times.lo_s[-1], 's')} to {text(times.hi_s[-1], 's')}"
        batch = f" of a batch of {most}" if most > 1 else ""
        parts.append(f"<h3>{esc(name, 60)}: {esc(times.source, 160)}</h3>")
        parts.append(f'<p class="note">{text(times.time_s[-1], "s")}{batch} ({span}){energy}.</p>')
        if most > 1:
            parts.append(f'<div class="charts">{batch_charts(found)}</div>')
        sources = [Part(origin, share, share) for origin, share in found.source.items() if share > 0]
        styles = [f"s-{part.name}" if part.name in SOURCES else "c-rest" for part in sources]
        parts.append(f"<h3>What the time of the largest batch rests on</h3>{stacked(sources, '', styles)}")
    if not parts:
        return ""
    lead = "Times that no figure gives: the cost model's prediction of a workload on a device, with its range."
    return section("Services from the cost model", "".join(parts), lead=lead, name="services")


def details(answer: Pipeline, rows: list[StageRow]) -> str:
    """Return a table a stage, and one of the detectors."""
    heads = (
        "stage", "kind", "in", "out", "load", "link load", "servers", "needed", "service", "batch", "wait",
        "latency", "lost", "buffer", "power", "link power",
    )  # fmt: skip
    lines = [_details(row, answer.rates.scaling.value) for row in rows]
    spec = answer.spec
    detectors: list[list[tuple[str, float | str]]] = [
        [
            (d.name, d.name), (d.to, d.to), (f"{d.count:,}", float(d.count)),
            (text(spec.rate_of(d), "hz"), spec.rate_of(d)),
            (text(d.size_bytes.value, "traffic_bytes"), d.size_bytes.value),
            (text(detector_bytes_per_s(spec, d), "bytes_per_s"), detector_bytes_per_s(spec, d)),
        ]
        for d in spec.detectors
    ]  # fmt: skip
    shown = table(("detector", "goes to", "units", "rate", "event of a unit", "bytes out"), detectors, left=2)
    count = len(spec.detectors)
    many = f"{count} detectors" if count > 1 else "The detector"
    body = f"<div class=dense>{table(heads, lines, left=2)}</div><details><summary>{many}</summary>{shown}</details>"
    return section("Every stage", body, lead="Servers are of all parts; a heading sorts.", name="details")


def _details(row: StageRow, factor: float) -> list[tuple[str, float | str]]:
    stage, servers = row.rates, row.rates.servers
    link_w = 0.0 if stage.link is None else stage.link.power_w.value / factor
    wait = stage.wait_s.value if servers is not None and stage.wait_s is not None else None
    late = None if stage.unstable else stage.latency_s.value

    def cell(value: float | None, kind: str) -> tuple[str, float | str]:
        return words(value, kind), -1.0 if value is None else value

    return [
        (row.name, row.name), (stage.kind, stage.kind), cell(stage.rate_in_hz.value, "hz"),
        cell(stage.rate_out_hz.value, "hz"),
        (share_words(row.load), _or_0(row.load)), (share_words(row.link_load), _or_0(row.link_load)),
        _many(None if servers is None else servers.count * servers.parts),
        _many(None if servers is None else servers.needed * servers.parts),
        cell(None if servers is None else servers.service_s.value, "s"),
        ("-", -1.0) if servers is None else (digits(servers.batch), servers.batch),
        cell(wait, "s"), cell(late, "s"), (share_words(row.loss_share), row.loss_share),
        cell(stage.memory_bytes.value, "traffic_bytes"), cell(row.power_w - link_w, "w"), cell(link_w, "w"),
    ]  # fmt: skip


def _many(number: int | None) -> tuple[str, float | str]:
    return ("-", -1.0) if number is None else (f"{number:,}", float(number))


def provenance(answer: Pipeline) -> str:
    """Return figures that are estimated with their ranges, sources, what-ifs, seed, hashes and versions."""
    spec = answer.spec
    every = list(spec.figures())
    estimated = [(place, figure) for place, figure in every if figure.estimated]
    facts: dict[str, object] = {
        "file": Path(answer.file).name, "description": f"{spec.id}, digest {spec.digest()}",
        "figures": f"{len(every):,}, of which {len(estimated):,} estimated",
        "what-ifs of the file": ", ".join(
            f"{name} ({'on' if name in spec.improved_by else 'off'})" for name in spec.improvements
        ) or "none",
        "seed": answer.seed, "replications": answer.replications,
    }  # fmt: skip
    for window in answer.windows:
        first = window.runs[0]
        facts[f"window {window.name}"] = f"engine {first.record.engine}, trace hash {first.trace_hash}"
    items = "".join(
        f"<dt>{esc(key, 80)}</dt><dd>{esc(value, 400)}</dd>" for key, value in (facts | dict(answer.versions)).items()
    )
    rows: list[list[tuple[str, float | str]]] = [
        [
            (place_words(answer, place), place_words(answer, place)), (f"{figure.value:.4g}", figure.value),
            (f"{figure.lo:.4g} to {figure.hi:.4g}", figure.lo),
        ]
        for place, figure in estimated
    ]  # fmt: skip
    body = f'<dl class="facts">{items}</dl>'
    if rows:
        shown = table(("figure, in SI units", "value", "range"), rows)
        body += f"<details><summary>Estimated figures and their ranges: {len(rows):,}</summary>{shown}</details>"
    if spec.sources:
        listed = "".join(f"<dt>{esc(key, 80)}</dt><dd>{esc(title, 600)}</dd>" for key, title in spec.sources.items())
        body += f'<details><summary>Sources: {len(spec.sources)}</summary><dl class="facts">{listed}</dl></details>'
    notes = f'<p class="note">{esc(spec.notes, 4000)}</p>' if spec.notes else ""
    return section("Where it is from", body + notes, name="provenance")
