"""The middle of the page: what limits the time, the roofline, the waterfall, and where time, energy and memory go."""

from __future__ import annotations

from collections.abc import Sequence

from archcast.render.bars import memory_html, numbered, sorted_bars, stacked
from archcast.render.breakdown import (
    BOUND_MEANING,
    SOURCE_MEANING,
    Part,
    energy_by_family,
    grouped,
    memory_parts,
    ranks,
    time_by_family,
    time_by_phase,
)
from archcast.render.human import listed, percent, text
from archcast.render.markup import LONGEST_NAME, esc, section
from archcast.render.roofline import Roofline, roofline, roofline_svg
from archcast.render.waterfall import waterfall_html
from costmodel.costs import BOUNDS
from costmodel.estimate import Detail, Estimate
from costmodel.explain import OperatorCost, Step

MAX_ROWS = 250
"""Operators in the table; those that take least time are left out with a note."""
TOP = 10


def limits_section(estimate: Estimate) -> str:
    """Return shares of the time by bound and by source of the number."""
    bounds = [Part(name, share, share) for name, share in estimate.bound.items()]
    sources = [Part(name, share, share) for name, share in estimate.source.items()]
    left = stacked(bounds, "", [f"b-{esc(part.name)}" for part in bounds], meanings=BOUND_MEANING)
    right = stacked(sources, "", [f"s-{esc(part.name)}" for part in sources], meanings=SOURCE_MEANING)
    return section(
        "What bounds the time", left, wide=False, lead="Share of the time in which this was the slowest part."
    ) + section("Where the numbers come from", right, wide=False, lead="Share of the time by origin of its prediction.")


def roofline_section(detail: Detail, operators: Sequence[OperatorCost]) -> str:
    """Return the roofline, drawn once for wide and once for narrow screens."""
    chart = roofline(detail, operators)
    if not chart.dots:
        none = f'<p class="note">No operator has both FLOP and memory traffic here.</p>{_left_out(chart)}'
        return section("Roofline", none, name="roofline")
    present = {dot.bound for dot in chart.dots}
    keys = "".join(f'<li><i class="key b-{b}"></i><span>bound by {b}</span></li>' for b in BOUNDS if b in present)
    lead = (
        "Each dot is an operator over the whole workload; its area is its share of the time. Its height is the rate "
        "that it reaches, the lines are what the device could do at that intensity."
    )
    wide = roofline_svg(chart)
    narrow = roofline_svg(chart, width_px=380, height_px=360, label_count=4)
    body = (
        f'<ul class="legend inline">{keys}</ul><div class="wideonly">{wide}</div><div class="narrow">{narrow}</div>'
        f"{_left_out(chart)}"
    )
    return section("Roofline", body, lead=lead, name="roofline")


def _left_out(chart: Roofline) -> str:
    words = []
    if chart.hidden:
        words.append(f"{chart.hidden:,} more operators, each with less time than those drawn, are not shown.")
    if chart.off:
        off = percent(chart.off_share)
        words.append(
            f"{chart.off:,} operators that do no arithmetic or move no data are not shown ({off} of the time)."
        )
    if chart.elsewhere:
        away = percent(chart.elsewhere_share)
        words.append(
            f"{chart.elsewhere:,} operators ran on another processor, or mostly waited for it, and are not shown "
            f"({away} of the time)."
        )
    return f'<p class="note">{" ".join(words)}</p>' if words else ""


def waterfall_section(steps: Sequence[Step]) -> str:
    """Return the ladder from the peak to what is achieved."""
    lead = (
        "The time if every FLOP ran at the peak of its format, and what each loss adds; the rows add up to the whole. "
        "The rate is that of all FLOP over the time so far, as a share of the peak."
    )
    return section("From peak to achieved", waterfall_html(steps), lead=lead, name="waterfall")


def time_section(detail: Detail, operators: Sequence[OperatorCost]) -> str:
    """Return time by phase, by family, and by operator."""
    phases, families = grouped(time_by_phase(detail), 8), grouped(time_by_family(detail), 8)
    body = ""
    if len(phases) > 1:
        body += f"<h3>by phase</h3>{stacked(phases, 's', numbered(phases))}"
    body += f"<h3>by kind of operator</h3>{stacked(families, 's', numbered(families))}"
    rows = [(o.name, o.phase, o.share, f"b-{esc(o.bound)}", text(o.latency_s, "s")) for o in operators[:TOP]]
    rest = sum(o.share for o in operators[TOP:])
    body += f"<h3>by operator, coloured by bound</h3>{sorted_bars(rows)}"
    if rest > 0:
        body += f'<p class="note">The other {len(operators) - TOP:,} take {percent(rest)}.</p>'
    return section("Where time goes", body, wide=False, name="time")


def _as_in_time(parts: Sequence[Part], detail: Detail) -> list[str]:
    """Return the colours that the same families have where time goes; idle power is grey."""
    families = time_by_family(detail)
    known = dict(zip((part.name for part in families), numbered(families), strict=True))
    return [known.get(part.name, "c-rest") for part in parts]


def energy_section(estimate: Estimate) -> str:
    """Return energy by family of operator and idle power, and the operators that take most of it."""
    parts = grouped(energy_by_family(estimate), 8)
    if not parts or estimate.detail is None:
        return section("Where energy goes", '<p class="note">Not known.</p>', wide=False, name="energy")
    styles = _as_in_time(parts, estimate.detail)
    body = f"<h3>by kind of operator, above idle power</h3>{stacked(parts, 'j', styles)}"
    ranked = sorted(estimate.explain().operators, key=lambda o: -o.energy_j)
    total = sum(o.energy_j for o in ranked)
    if total > 0:
        scale = ranks(estimate.detail)
        rows = [(o.name, o.phase, o.energy_j / total, "c0", text(o.energy_j * scale, "j")) for o in ranked[:TOP]]
        body += f"<h3>by operator, idle power included</h3>{sorted_bars(rows)}"
        rest = sum(o.energy_j for o in ranked[TOP:]) / total
        if rest > 0:
            body += f'<p class="note">The other {len(ranked) - TOP:,} take {percent(rest)}.</p>'
    return section("Where energy goes", body, wide=False, name="energy")


def memory_section(estimate: Estimate) -> str:
    """Return memory by use against the capacity of the fullest device."""
    held = text(estimate.memory_bytes.value, "bytes")
    lead = f"The fullest device holds {held} at its peak; the upright line is what it offers."
    if estimate.stores:
        names = listed([store.name for store in estimate.stores])
        lead = f"What it computes and its weights lie apart, in {names}; the upright lines are what they offer."
        lead += " Hatched: what is missing." if estimate.shortfall_bytes > 0 else ""
    elif estimate.shortfall_bytes > 0:
        lead = f"Hatched: the {text(estimate.shortfall_bytes, 'bytes')} that the device does not have."
    return section("Where memory goes", memory_html(estimate, memory_parts(estimate)), lead=esc(lead), name="memory")


_COLUMNS: tuple[tuple[str, bool], ...] = (
    ("operator", False), ("phase", False), ("kind", False), ("calls", True), ("time", True), ("share", True),
    ("rate", True), ("traffic", True), ("energy", True), ("bound", False), ("source", False),
)  # fmt: skip


def operators_section(operators: Sequence[OperatorCost]) -> str:
    """Return the table of operators; a click on a heading sorts it."""
    heads = "".join(
        f'<th scope="col"{" class=n" if numeric else ""}{" aria-sort=descending" if name == "time" else ""}>'
        f'<button type="button">{name}</button></th>'
        for name, numeric in _COLUMNS
    )
    rows = "".join(_operator_row(o) for o in operators[:MAX_ROWS])
    hidden = len(operators) - MAX_ROWS
    note = f'<p class="note">{hidden:,} more operators, each with less time, are not listed.</p>' if hidden > 0 else ""
    table = f'<table class="sortable"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
    body = f'<div class="scroll">{table}</div>{note}'
    lead = "Repeats of an operator within a phase are added up, on one device. A click on a heading sorts."
    return section(f"Operators ({len(operators):,})", body, lead=lead, name="operators")


def _operator_row(o: OperatorCost) -> str:
    rate = o.work_flop / o.latency_s if o.latency_s > 0 else 0.0
    numbers: list[tuple[float, str]] = [
        (o.calls, f"{o.calls:,.0f}"), (o.latency_s, text(o.latency_s, "s")), (o.share, percent(o.share)),
        (rate, text(rate, "flop_per_s") if rate > 0 else "-"), (o.dram_bytes, text(o.dram_bytes, "traffic_bytes")),
        (o.energy_j, text(o.energy_j, "j")),
    ]  # fmt: skip
    words = "".join(
        f'<td class="{style}" data-v="{esc(w, LONGEST_NAME)}">{esc(w, LONGEST_NAME)}</td>'
        for w, style in ((o.name, "name"), (o.phase, "word"), (o.op, "word"))
    )
    cells = "".join(f'<td class="n" data-v="{value:.6g}">{shown}</td>' for value, shown in numbers)
    bound = f'<td data-v="{esc(o.bound)}"><span class="pill"><i class="b-{esc(o.bound)}"></i>{esc(o.bound)}</span></td>'
    return f'<tr>{words}{cells}{bound}<td data-v="{esc(o.source)}">{esc(o.source)}</td></tr>'
