"""The answer of a pipeline for a terminal, at most 120 columns wide."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from archcast.pipeline_agreement import blocking_stages
from archcast.render.human import digits, percent, printable, text
from archcast.render.pipeline_rows import (
    CAUSE_WORDS,
    RULES_OF_WINDOWS,
    StageRow,
    busy_of_up,
    chain_loss_share,
    detectors_power_w,
    kept_events,
    notes_of,
    relevant_per_kilojoule,
    servers_and_room,
    share_words,
    span_words,
    stage_rows,
    unstable_words,
)
from archcast.render.pipeline_words import count_words, level_words, off_by, share_off_by, short

if TYPE_CHECKING:
    from archcast.pipeline import Pipeline
    from simulator.pipelines.window_run import StageEvents, WindowRun

COLUMNS = 120
NAME = 22


def pipeline_text(answer: Pipeline) -> str:
    """Return the head, one line a stage, the windows with occupancy and losses, and the notes."""
    rows = stage_rows(answer)
    lines = [*head(answer, rows), "", *_stages(answer, rows)]
    for window in answer.windows:
        lines += ["", *_window(window)]
    lines += ["", *_services(answer)] if answer.services else []
    differ = [printable(found.text(), 400) for found in answer.disagreements]
    lines += ["", *_wrapped(*(f"DISAGREE: {sentence}" for sentence in differ))] if differ else []
    notes = [printable(note, 1000) for note in notes_of(answer)]
    lines += ["", *_wrapped(*(f"note: {note}" for note in notes))] if notes else []
    return "\n".join(lines)


def head(answer: Pipeline, rows: list[StageRow]) -> list[str]:
    """Return name, power, rates, latency, loss, physics and whether it keeps up."""
    rates, spec = answer.rates, answer.spec
    on = f", improved by {', '.join(spec.improved_by)}" if spec.improved_by else ""
    lines = _wrapped(f"{printable(spec.name)} ({printable(spec.id)}){printable(on)}")
    span = span_words(rates.power_w, "w")
    scaled = ""
    if rates.scaling.value != 1:
        whole = text(rates.unscaled_power_w.value, "w")
        scaled = f"; {whole} before scaling to {spec.year} by {digits(rates.scaling.value)}"
    if rates.power_w.value > 0:
        lines.append(f"power     {text(rates.power_w.value, 'w')}{f' ({span})' if span else ''}{scaled}")
    else:
        lines.append("power     not known: no figure of the file gives a power or an energy")
    late = "no mean latency" if rates.latency_s is None else f"{text(rates.latency_s.value, 's')} from first to last"
    lines.append(
        f"rates     {text(rates.rate_in_hz.value, 'hz')} in, {text(rates.rate_out_hz.value, 'hz')} out, "
        f"{text(rates.throughput_bytes_per_s.value, 'bytes_per_s')} out; {late}"
    )
    loss = chain_loss_share(rows)
    lost = f"{share_words(loss)} of the wanted events" if loss else "none in the mean"
    lines += _wrapped(f"loss      {lost}{blocking_words(answer)}")
    if rates.physics is not None:
        physics, per_kj = rates.physics, relevant_per_kilojoule(answer)
        each = f", {digits(per_kj)} relevant per kJ" if math.isfinite(per_kj) else ""
        lines.append(
            f"physics   precision {percent(physics.precision.value)}, recall {percent(physics.recall.value)}, "
            f"F1 {percent(physics.f1.value)}{each}"
        )
    if rates.price_usd.value > 0:
        lines.append(f"money     {text(rates.price_usd.value, 'usd')} of servers")
    faults = unstable_words(answer)
    return lines + (_wrapped(*(f"UNSTABLE: {printable(fault, 400)}" for fault in faults)) if faults else ["stable"])


def _stages(answer: Pipeline, rows: list[StageRow]) -> list[str]:
    heads = ("stage", "kind", "in", "out", "bytes out", "load", "link", "lost", "wait", "latency", "buffer", "power")
    found: list[tuple[str, ...]] = [heads]
    for row in rows:
        stage = row.rates
        late = None if stage.unstable else stage.latency_s.value
        wait = None if stage.wait_s is None or stage.servers is None else stage.wait_s.value
        found.append(
            (
                printable(row.name, NAME), stage.kind, short(stage.rate_in_hz.value, "hz"),
                short(stage.rate_out_hz.value, "hz"), short(stage.throughput_bytes_per_s.value, "bytes_per_s"),
                _load(row.load), _load(row.link_load), share_words(row.loss_share).replace(" %", "%"),
                short(wait, "s"), short(late, "s"), _bytes(stage.memory_bytes.value), _power(row.power_w),
            )
        )  # fmt: skip
    own = detectors_power_w(answer)
    if own > 0:
        found.append(("detectors and links", "", *[""] * 9, _power(own)))
    return _columns(found, left=2)


def _bytes(value: float) -> str:
    return short(value, "traffic_bytes") if value > 0 else "-"


def _power(value: float) -> str:
    return short(value, "w") if value > 0 else "-"


def _columns(rows: Sequence[Sequence[str]], *, left: int, indent: str = "") -> list[str]:
    """Return rows as columns as wide as their longest cell, two spaces apart, or one where the line gets too long."""
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    room = COLUMNS - len(indent)
    between = "  " if sum(wide) + 2 * len(wide) - 2 <= room else " "
    over = sum(wide) + len(between) * (len(wide) - 1) - room
    wide[0] = max(6, wide[0] - max(0, over))  # names give way
    return [
        indent
        + between.join(
            f"{printable(cell, wide[i]):{wide[i]}}" if i < left else f"{cell:>{wide[i]}}" for i, cell in enumerate(row)
        ).rstrip()
        for row in rows
    ]


def _load(load: float) -> str:
    """Return a load as percent, as times where it is large; one at or over 1 is marked."""
    if not math.isfinite(load):
        return "-"
    if load >= 100:
        return f"{short(load, '')}x !"
    return f"{percent(load)} !".replace(" %", "%") if load >= 1 else share_words(load).replace(" %", "%")


def blocking_words(answer: Pipeline) -> str:
    """Return, where a stage blocks or a window disagrees, that the loss is of mean rates, and what the windows lose."""
    blocking = blocking_stages(answer.spec)
    differ = {found.window for found in answer.disagreements if found.quantity == "loss_share"}
    if not blocking and not differ:
        return ""
    seen = [
        f"window '{window.name}' loses {share_words(window.loss_share.value)}"
        for window in answer.windows
        if window.name in differ or any(name in window.stages for name in blocking)
    ]
    mean = " in mean rates, which have no blocking" if blocking else " in mean rates"
    return f"{mean}{'; ' if seen else ''}{', '.join(seen)}"


def window_head(window: WindowRun) -> str:
    """Return what was simulated, in words."""
    first, runs = window.runs[0], len(window.runs)
    begins = "begins with accepted events, " if window.network.begins_accepted else ""
    many = f", {runs} replications" if runs > 1 else ""
    return (
        f"{text(window.network.horizon_s, 's')} of which {text(first.warm_up_s, 's')} are warm-up, {begins}"
        f"{sum(run.record.events for run in window.runs):,} steps{many}"
    )


def _window(window: WindowRun) -> list[str]:
    late, name, kept = window.latency_s, printable(window.name, 40), kept_events(window)
    keys = [key for key in ("mean", "p50", "p99", "p999") if key in late]
    times = ", ".join(f"{key.replace('p999', 'p99.9')} {off_by(late[key], 's')}" for key in keys)
    few = kept > 0 and any(not math.isfinite(late[key].value) for key in keys if key != "mean")
    rest = f" (of {kept:,} kept events: too few for quantiles that are -)" if few else ""
    found = _wrapped(
        f"window '{name}': {window_head(window)}",
        f"  latency {times}{rest}",
        f"  {off_by(window.rate_out_hz, 'hz')} out, {share_off_by(window.loss_share)} lost",
    )
    heads = (
        "waiting events",
        "in",
        "busy",
        "down",
        "held",
        "mean",
        "p50",
        "p99",
        "p99.9",
        "most",
        "room",
        "wait",
        "lost",
    )
    rows = [heads, *(_events(window, row) for row in window.stages.values())]
    lines = _columns(rows, left=1, indent="  ")
    found.append(lines[0])
    for line, row in zip(lines[1:], window.stages.values(), strict=True):
        found.append(line)
        causes = ", ".join(f"{share_off_by(share)} {cause_words(cause)}" for cause, share in row.lost_by_cause.items())
        found += _wrapped(f"    lost: {causes}") if causes else []
    return [*found, "  (busy: of the servers that are up; down and held by what comes next: of all)"]


def _events(window: WindowRun, row: StageEvents) -> tuple[str, ...]:
    name, lost = printable(row.stage, NAME), share_off_by(row.loss_share).replace(" %", "%")
    rate = short(row.rate_in_hz.value, "hz")
    if not row.line:
        return (name, rate, *[""] * 10, lost)
    room = servers_and_room(window, row.stage)[1]
    shares = [share_words(x.value).replace(" %", "%") for x in (busy_of_up(row), row.down_share, row.blocked_share)]
    levels = [level_words(row.waiting[key].value) for key in ("p50", "p99", "p999", "most")]
    places = "no limit" if math.isinf(room) else count_words(room)
    mean = count_words(row.waiting["mean"].value)
    return (name, rate, *shares, mean, *levels, places, short(row.mean_wait_s.value, "s"), lost)


def cause_words(cause: str) -> str:
    """Return a cause of a window in words; its rules and dead time are one cause."""
    return RULES_OF_WINDOWS if cause == "rule" else CAUSE_WORDS[cause]


def _services(answer: Pipeline) -> list[str]:
    found = []
    for name, service in answer.services.items():
        times, most = service.times, len(service.times.time_s)
        source = ", ".join(f"{percent(share)} {origin}" for origin, share in service.source.items())
        batch = "" if most == 1 else f", {text(times.time_s[-1], 's')} for a batch of {most}"
        energy = "" if times.energy_j is None else f", {text(times.energy_j, 'j')} an event"
        found += _wrapped(
            f"service of {printable(name, 40)}: {printable(times.source)}: {text(times.time_s[0], 's')} for one"
            f"{batch}{energy} ({source})"
        )
    return found


def _wrapped(*sentences: str) -> list[str]:
    return [line for each in sentences for line in textwrap.wrap(each, COLUMNS, subsequent_indent="  ")]
