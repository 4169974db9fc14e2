"""The page of a pipeline: the chain, rates, occupancy over time, power, losses, latency, physics, provenance."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from archcast.pipeline_agreement import blocking_stages
from archcast.render.document import report
from archcast.render.human import digits, percent, text, unit_of
from archcast.render.markup import esc, section
from archcast.render.pipeline_chain import chain
from archcast.render.pipeline_charts import STYLE, LogRow, keys, log_bars, occupancy
from archcast.render.pipeline_rows import (
    PART_WORDS,
    Spanned,
    StageRow,
    busy_of_up,
    chain_loss_share,
    detectors_power_w,
    notes_of,
    relevant_per_kilojoule,
    servers_and_room,
    share_words,
    span_words,
    stage_rows,
    unstable_words,
)
from archcast.render.pipeline_sections import details, latency, losses, physics, provenance, services
from archcast.render.pipeline_text import blocking_words, window_head
from archcast.render.pipeline_words import count_words, level_words, off_by, share_off_by
from archcast.render.serving_charts import STYLE as CHART_STYLE

if TYPE_CHECKING:
    from archcast.pipeline import Pipeline
    from simulator.pipelines.window_run import StageEvents, WindowRun


def pipeline_page(answer: Pipeline) -> str:
    """Return the page as text."""
    rows = stage_rows(answer)
    parts = [_header(answer, rows), _cards(answer, rows), _chain(answer, rows), _rates(rows)]
    parts += [_window(window) for window in answer.windows]
    parts += [
        _power(answer, rows), losses(answer, rows), latency(answer, rows), physics(answer), services(answer),
        details(answer, rows), provenance(answer),
    ]  # fmt: skip
    return report(f"{answer.spec.name} - archcast", CHART_STYLE + STYLE, parts, answer.versions.get("archcast", ""))


def _header(answer: Pipeline, rows: list[StageRow]) -> str:
    spec, rates = answer.spec, answer.rates
    chips = {
        "stages": len(spec.stages), "detectors": sum(d.count for d in spec.detectors),
        "improved by": ", ".join(spec.improved_by) or "nothing",
        "technology of": spec.year if spec.year is not None else "the figures' own years",
        "fidelity": "mean rates and events" if answer.windows else "mean rates", "seed": answer.seed,
    }  # fmt: skip
    if not spec.improvements:
        del chips["improved by"]
    items = "".join(f"<li><i>{esc(key)}</i>{esc(value, 80)}</li>" for key, value in chips.items())
    took = f"The chain takes <b>{text(rates.power_w.value, 'w')}</b>, and of" if rates.power_w.value > 0 else "Of"
    who = "it" if rates.power_w.value > 0 else "the chain"
    late = "" if rates.latency_s is None else f" after {text(rates.latency_s.value, 's')}"
    sentence = (
        f"{took} <b>{text(rates.rate_in_hz.value, 'hz')}</b> of events {who} keeps "
        f"<b>{text(rates.rate_out_hz.value, 'hz')}</b>{late}: "
        f"{text(rates.throughput_bytes_per_s.value, 'bytes_per_s')}."
    )
    return (
        '<header class="wide"><p class="brand"><b>archcast</b> · pipeline</p>'
        f'<h1>{esc(spec.name, 120)}</h1><ul class="chips">{items}</ul><p class="answer">{sentence}</p>'
        f"{_verdict(answer, rows)}</header>"
    )


def _verdict(answer: Pipeline, rows: list[StageRow]) -> str:
    faults = unstable_words(answer)
    if faults:
        items = "".join(f"<li>{esc(fault, 400)}</li>" for fault in faults)
        return (
            '<div class="verdict no"><b>Unstable.</b> More is offered than can be served, so what waits grows as long '
            f"as the run lasts and has no mean.<ul>{items}</ul></div>"
        )
    loads = [(row.load, row.name) for row in rows] + [(row.link_load, f"the link of {row.name}") for row in rows]
    busy, where = max((load for load in loads if math.isfinite(load[0])), default=(math.nan, ""))
    load = f" The busiest is {esc(where, 80)} at {percent(busy)}." if where else ""
    loss = chain_loss_share(rows)
    if loss > 0:
        worst = max(rows, key=lambda row: row.loss_share)
        lost = f" {share_words(loss)} of the wanted events are lost, most of them in {esc(worst.name, 60)}."
    else:
        lost = " Nothing is lost in the mean."
    if blocking_words(answer):
        lost = f" Wanted events lost: {share_words(loss)}{esc(blocking_words(answer), 600)}."
    faulty = [fault for row in rows for fault in row.rates.faults]
    style = "verdict no" if faulty else "verdict"
    more = "".join(f"<li>{esc(fault, 400)}</li>" for fault in faulty)
    return f'<div class="{style}"><b>Every stage keeps up.</b>{load}{lost}{f"<ul>{more}</ul>" if more else ""}</div>'


def _cards(answer: Pipeline, rows: list[StageRow]) -> str:
    rates = answer.rates
    cards = []
    if rates.power_w.value > 0:
        about = "of the figures as they are, no technology scaling"
        if rates.scaling.value != 1:
            whole, factor = text(rates.unscaled_power_w.value, "w"), digits(rates.scaling.value)
            about = f"{whole} in the figures' technology, divided by {factor} for {answer.spec.year}"
        cards.append(_card("Power", rates.power_w, "w", about))
    cards.append(_card("Rate in", rates.rate_in_hz, "hz", "of the fastest detector"))
    cards.append(_card("Rate out", rates.rate_out_hz, "hz", "events that are kept"))
    cards.append(_card("Data out", rates.throughput_bytes_per_s, "bytes_per_s", "of the events that are kept"))
    if rates.latency_s is not None:
        cards.append(_card("Latency", rates.latency_s, "s", "mean, from the crossing to the end of the chain"))
    loss = chain_loss_share(rows)
    about = "of the wanted events, in the mean" + (", without blocking" if blocking_stages(answer.spec) else "")
    cards.append(_plain_card("Loss", share_words(loss), about))
    if rates.physics is not None:
        per_kj = relevant_per_kilojoule(answer)
        if math.isfinite(per_kj):
            each = rates.physics.relevant_per_joule * 1e3
            cards.append(_card("Relevant per kJ", each, "", "F1 x rate out / power, as the published study has it"))
        cards.append(_plain_card("F1", percent(rates.physics.f1.value), "of precision and recall"))
    if rates.price_usd.value > 0:
        cards.append(_card("Money", rates.price_usd, "usd", "of the servers"))
    if rates.memory_bytes.value > 0:
        cards.append(_card("Buffers", rates.memory_bytes, "traffic_bytes", "of all stages together"))
    said = [*(found.text() for found in answer.disagreements), *notes_of(answer)]
    notes = "".join(f'<p class="note">{esc(note, 1000)}</p>' for note in said)
    shown = (rates.power_w, rates.rate_out_hz, rates.throughput_bytes_per_s, rates.memory_bytes, rates.price_usd)
    held = ""
    if any(number.lo < number.hi for number in shown):
        held = "Ranges below the numbers follow from the ranges of the figures, each bound from the worst of them."
    five = " five" if len(cards) in (5, 9, 10) else ""
    return f'<div class="wide"><div class="stats{five}">{"".join(cards)}</div><p class="note">{held}</p>{notes}</div>'


def _card(label: str, number: Spanned, kind: str, about: str) -> str:
    factor, unit = unit_of(number.value, kind)
    shown = digits(number.value / factor)
    big = f"${esc(shown)}" if unit == "$" else f"{esc(shown)}<u>{esc(unit)}</u>"
    return (
        f'<div class="stat"><span class="name">{esc(label)}</span><span class="big">{big}</span>'
        f'<div class="ends">{esc(span_words(number, kind))}</div><p class="about">{esc(about)}</p></div>'
    )


def _plain_card(label: str, shown: str, about: str) -> str:
    number, _, unit = shown.partition(" ")
    big = f"{esc(number)}<u>{esc(unit)}</u>" if unit else esc(number)
    return (
        f'<div class="stat"><span class="name">{esc(label)}</span><span class="big">{big}</span>'
        f'<p class="about">{esc(about)}</p></div>'
    )


def _chain(answer: Pipeline, rows: list[StageRow]) -> str:
    lead = (
        "Links are as wide as the logarithm of the bytes a second. The share in a box and the line at its foot are the "
        "load of its servers, or of the links that bring its fragments."
    )
    if any(row.loss_share > 0 for row in rows):
        lead += " Orange: loses events."
    if any(row.overloaded or row.link_overloaded for row in rows):
        lead += " Red: offered more than it can serve."
    return section("The chain", chain(answer, rows), lead=lead, name="chain")


def _rates(rows: list[StageRow]) -> str:
    events, sent = [], []
    for row in rows:
        stage = row.rates
        came, left = stage.rate_in_hz.value, stage.rate_out_hz.value
        bars = [
            (came, "b-in", f"{row.name}: {text(came, 'hz')} in"),
            (left, "b-out", f"{row.name}: {text(left, 'hz')} out"),
        ]
        events.append(LogRow(row.name, stage.kind, bars, text(left, "hz"), f"of {text(came, 'hz')}"))
        before, after = came * stage.size_in_bytes.value, stage.throughput_bytes_per_s.value
        bars = [
            (before, "b-in", f"{row.name}: {text(before, 'bytes_per_s')} in"),
            (after, "b-out", f"{row.name}: {text(after, 'bytes_per_s')} out"),
        ]
        size = f"{text(stage.size_out_bytes.value, 'traffic_bytes')} an event"
        sent.append(LogRow(row.name, stage.kind, bars, text(after, "bytes_per_s"), size))
    legend = keys(("b-in", "comes in"), ("b-out", "goes out"))
    body = (
        f'<div class="charts"><div><h3>Events a second</h3>{log_bars(events, "hz")}</div>'
        f"<div><h3>Bytes a second</h3>{log_bars(sent, 'bytes_per_s')}</div></div>"
    )
    return section("Rates along the chain", legend + body, lead="Means; both axes are logarithmic.", name="rates")


def _window(window: WindowRun) -> str:
    spec_notes = window_head(window)
    shown = [row for row in window.stages.values() if row.line]
    heads = (
        "stage",
        "events in",
        "busy",
        "down",
        "held",
        "waiting, mean",
        "p50",
        "p99",
        "p99.9",
        "most",
        "room",
        "wait",
        "lost",
    )
    table = "".join(f"<th{' class=n' if i else ''}>{esc(head)}</th>" for i, head in enumerate(heads))
    body = "".join(_window_row(window, row) for row in window.stages.values())
    drawings = "".join(occupancy(window, row) for row in shown)
    samples = len(window.runs[0].record.sampled_at)
    lead = (
        f"{esc(spec_notes)}. Curves are samples at {samples:,} instants of the first replication, warm-up included; "
        "quantiles are shares of the time after it, so a short peak may lie between two samples. Busy is of the "
        "servers that are up, down and held (by what comes next) of all."
    )
    charts = f'<div class="charts">{drawings}</div>' if drawings else ""
    name = f"Window: {window.name}"
    content = (
        f'<div class="scroll"><table class="plain"><thead><tr>{table}</tr></thead><tbody>{body}</tbody></table></div>'
    )
    return section(name, f"{content}<p class=note></p>{charts}", lead=lead)


def _window_row(window: WindowRun, row: StageEvents) -> str:
    room = servers_and_room(window, row.stage)[1]
    levels = [count_words(row.waiting["mean"].value)] if row.line else []
    levels += [level_words(row.waiting[key].value) for key in ("p50", "p99", "p999", "most")] if row.line else []
    cells = [off_by(row.rate_in_hz, "hz"), share_words(busy_of_up(row).value)]
    cells += [share_words(row.down_share.value), share_words(row.blocked_share.value)]
    cells += levels or ["-"] * 5
    cells += ["-" if not row.line else "no limit" if math.isinf(room) else count_words(room)]
    cells += [off_by(row.mean_wait_s, "s"), share_off_by(row.loss_share)]
    flag = ' <small class="est">grows without end</small>' if row.unstable else ""
    tail = "".join(f'<td class="n">{esc(cell)}</td>' for cell in cells)
    return f'<tr><td class="name">{esc(row.stage, 60)}{flag}</td>{tail}</tr>'


def _power(answer: Pipeline, rows: list[StageRow]) -> str:
    rates = answer.rates
    if rates.power_w.value <= 0:
        note = '<p class="note">No figure of the file gives a power or an energy.</p>'
        return section("Power", note, name="power")
    factor = rates.scaling.value
    stages = [(row.name, row.rates.kind, row.power_w) for row in rows]
    own = detectors_power_w(answer)
    if own > 0:
        stages.append(("detectors", "with their links", own))
    parts = [(PART_WORDS.get(name, name), "", part.value / factor) for name, part in rates.power_by_part_w.items()]
    drawn = [_power_bars(found, rates.power_w.value) for found in (stages, parts)]
    lead = "Logarithmic axes, power after technology scaling."
    if factor != 1:
        span = span_words(rates.scaling, "")
        lead = (
            f"Logarithmic axes. All powers are those of {answer.spec.year}: what the figures say, "
            f"{text(rates.unscaled_power_w.value, 'w')}, divided by {digits(factor)}{f' ({span})' if span else ''}."
        )
    elif answer.spec.year is None:
        lead = "Logarithmic axes; power as the figures have it, without technology scaling."
    body = (
        f'<div class="charts"><div><h3>By stage, its link included</h3>{drawn[0]}</div>'
        f"<div><h3>By part</h3>{drawn[1]}</div></div>"
    )
    return section("Power", body, lead=lead, name="power")


def _power_bars(found: list[tuple[str, str, float]], whole_w: float) -> str:
    ordered = sorted((row for row in found if row[2] > 0), key=lambda row: -row[2])
    bars = [
        LogRow(name, under, [(w, "b-out", f"{name}: {text(w, 'w')}")], text(w, "w"), share_words(w / whole_w))
        for name, under, w in ordered
    ]
    none = [name for name, _, w in found if w <= 0]
    rest = f'<p class="note">No power: {esc(", ".join(none), 400)}.</p>' if none else ""
    return log_bars(bars, "w") + rest
