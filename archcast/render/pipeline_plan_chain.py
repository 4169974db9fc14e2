"""The chain around a planned farm on its page: rates, power and losses by stage, and what waits over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from archcast.planning.pipeline_chain import ChainRow, chain_rows
from archcast.planning.pipeline_confirm import room_events
from archcast.planning.pipeline_words import share
from archcast.render.human import text
from archcast.render.markup import esc, section
from archcast.render.pipeline_charts import LogRow, keys, log_bars
from archcast.render.serving_charts import Axis, Line, chart

if TYPE_CHECKING:
    from archcast.planning.pipeline_answer import PipelinePlan
    from archcast.planning.pipeline_confirm import Counted

MEANS = 8
"""Samples of busy servers that are averaged."""


def chain_sections(plan: PipelinePlan) -> str:
    """Return the sections of the chain: rates and losses, power."""
    if plan.chain is None:
        return ""
    rows = chain_rows(plan.chain)
    rates = [
        LogRow(
            row.name, row.kind,
            [(row.rate_in_hz, "b-in", f"{row.name}: {text(row.rate_in_hz, 'hz')} in"),
             (row.rate_out_hz, "b-out", f"{row.name}: {text(row.rate_out_hz, 'hz')} out")],
            text(row.rate_out_hz, "hz"), text(row.throughput_bytes_per_s, "bytes_per_s"),
        ) for row in rows
    ]  # fmt: skip
    legend = keys(("b-in", "comes in"), ("b-out", "goes out"))
    lost = ", ".join(f"{row.name} {share(row.loss_share)}" for row in rows if row.loss_share > 0) or "none"
    whole = plan.chain.power_w
    lead = f"Means with the chosen farm, all of it up; logarithmic axes. Lost before and behind it: {esc(lost, 400)}."
    if whole.value > 0:
        lead += (
            f" Power of the whole pipeline: {text(whole.value, 'w')} ({text(whole.lo, 'w')} to {text(whole.hi, 'w')})."
        )
    body = (
        f'<div class="charts"><div><h3>Events a second</h3>{legend}{log_bars(rates, "hz")}</div>'
        f"<div><h3>Power</h3>{_power(rows, whole.value)}</div></div>"
    )
    return section("The chain", body, lead=lead, name="chain")


def _power(rows: tuple[ChainRow, ...], whole_w: float) -> str:
    drawn = sorted((row for row in rows if row.power_w > 0), key=lambda row: -row.power_w)
    if not drawn:
        return '<p class="note">No figure of the file gives a power or an energy.</p>'
    bars = [
        LogRow(row.name, row.kind, [(row.power_w, "b-out", f"{row.name}: {text(row.power_w, 'w')}")],
               text(row.power_w, "w"), f"{100 * row.power_w / whole_w:.3g} %") for row in drawn
    ]  # fmt: skip
    return log_bars(bars, "w")


def over_time(counted: Counted, degraded: str) -> str:
    """Return what waits in one live part over time, and how many of its servers work; `degraded`: in what state."""
    if counted.series is None or not len(counted.series[0]):
        return ""
    at, waiting, busy = counted.series
    room = room_events(counted.farm, counted.part)
    limit = (float(room), f"room for {room:,}") if room else None
    first = chart([Line("waiting", at, waiting, 0, filled=True)], Axis("time", "s"), Axis("waiting events", "count"),
                  limit=limit)  # fmt: skip
    if not waiting.any():
        first = '<p class="note">At no sample does an event wait.</p>'
    count = len(at) // MEANS * MEANS
    means = [np.asarray(x[:count], dtype=float).reshape(-1, MEANS).mean(axis=1) for x in (at, busy)]
    second = chart([Line("busy", means[0], means[1] / counted.part.servers, 3, filled=True)], Axis("time", "s"),
                   Axis("share", "share"))  # fmt: skip
    lead = (
        f"{f'One of the parts that are left {degraded}' if degraded else 'One part'}, in the first replication: "
        "samples of what waits "
        f"(room for {room:,} events), and means of {MEANS} samples of the {counted.part.servers:,} servers."
    )
    body = (
        f'<div class="charts"><div class="levels"><h3>Buffer occupancy</h3>{first}</div>'
        f'<div class="levels"><h3>Servers busy</h3>{second}</div></div>'
    )
    return section("Occupancy over time", body, lead=lead, name="occupancy")
