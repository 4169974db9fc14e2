"""The answer of a pipeline for a terminal, at most 120 columns wide."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from archcast.render.human import digits, percent, printable, text
from archcast.render.pipeline_rows import (
    CAUSE_WORDS,
    RULES_OF_WINDOWS,
    StageRow,
    chain_loss_share,
    notes_of,
    relevant_per_kilojoule,
    servers_and_room,
    share_words,
    span_words,
    stage_rows,
    unstable_words,
    words,
)

if TYPE_CHECKING:
    from archcast.pipeline import Pipeline
    from simulator.pipelines.window_run import StageEvents, WindowRun

COLUMNS = 120
NAME = 22


def pipeline_text(answer: Pipeline) -> str:
    """Return the head, one line a stage, the windows with occupancy and losses, and the notes."""
    rows = stage_rows(answer)
    lines = [*head(answer, rows), "", *_stages(rows)]
    for window in answer.windows:
        lines += ["", *_window(window)]
    lines += ["", *_services(answer)] if answer.services else []
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
    lines.append(f"loss      {share_words(loss)} of the wanted events" if loss else "loss      none in the mean")
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


def _stages(rows: list[StageRow]) -> list[str]:
    found = [
        f"{'stage':{NAME}} {'kind':8}{'in':>10}{'out':>10}{'bytes out':>12}{'load':>8}{'link':>8}{'lost':>10}"
        f"{'wait':>10}{'latency':>10}{'power':>10}"
    ]
    for row in rows:
        stage = row.rates
        late = None if stage.unstable else stage.latency_s.value
        wait = None if stage.wait_s is None or stage.servers is None else stage.wait_s.value
        found.append(
            f"{printable(row.name, NAME):{NAME}} {stage.kind:8}{text(stage.rate_in_hz.value, 'hz'):>10}"
            f"{text(stage.rate_out_hz.value, 'hz'):>10}{text(stage.throughput_bytes_per_s.value, 'bytes_per_s'):>12}"
            f"{_load(row.load):>8}{_load(row.link_load):>8}{share_words(row.loss_share):>10}"
            f"{words(wait, 's'):>10}{words(late, 's'):>10}"
            f"{text(row.power_w, 'w'):>10}"
        )
    return found


def _load(load: float) -> str:
    """Return a load as percent; one at or over 1 is marked."""
    if not math.isfinite(load):
        return "-"
    return f"{percent(load)} !".replace(" %", "%") if load >= 1 else share_words(load).replace(" %", "%")


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
    late, name = window.latency_s, printable(window.name, 40)
    times = ", ".join(f"{key} {words(late[key].value, 's')}" for key in ("mean", "p50", "p99", "p999") if key in late)
    found = [
        *_wrapped(f"window '{name}': {window_head(window)}"),
        f"  latency {times.replace('p999', 'p99.9')}; {text(window.rate_out_hz.value, 'hz')} out, "
        f"{share_words(window.loss_share.value)} lost",
        f"  {'waiting events':{NAME}}{'in':>10}{'busy':>9}{'mean':>9}{'p50':>8}{'p99':>8}{'p99.9':>8}{'most':>8}"
        f"{'room':>9}{'wait':>10}{'lost':>10}",
    ]
    for row in window.stages.values():
        found += _events(window, row)
    return found


def _events(window: WindowRun, row: StageEvents) -> list[str]:
    name = printable(row.stage, NAME)
    rate, lost = words(row.rate_in_hz.value, "hz"), share_words(row.loss_share.value)
    if not row.line:
        found = [f"  {name:{NAME}}{rate:>10}{'':69}{lost:>10}"]
    else:
        room = servers_and_room(window, row.stage)[1]
        levels = [count_words(row.waiting[key].value) for key in ("mean", "p50", "p99", "p999", "most")]
        wait, places = words(row.mean_wait_s.value, "s"), "no limit" if math.isinf(room) else count_words(room)
        found = [
            f"  {name:{NAME}}{rate:>10}{share_words(row.utilisation.value).replace(' %', '%'):>9}{levels[0]:>9}"
            f"{levels[1]:>8}{levels[2]:>8}{levels[3]:>8}{levels[4]:>8}"
            f"{places:>9}{wait:>10}{lost:>10}"
        ]
    causes = ", ".join(f"{share_words(share.value)} {cause_words(cause)}" for cause, share in row.lost_by_cause.items())
    return found + ([f"    lost: {causes}"] if causes else [])


def cause_words(cause: str) -> str:
    """Return a cause of a window in words; its rules and dead time are one cause."""
    return RULES_OF_WINDOWS if cause == "rule" else CAUSE_WORDS[cause]


def count_words(number: float) -> str:
    """Return how many wait, short: `12`, `0.31`, `1.2e6`, `> 4095`."""
    if math.isnan(number):
        return "-"
    if math.isinf(number):
        return "> 4095"  # the histogram of a run ends there
    if number == round(number):
        return f"{number:,.0f}" if number < 1e5 else f"{number:.1e}".replace("e+0", "e")
    return digits(number)


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
