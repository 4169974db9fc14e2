"""From sums over rows to what is answered: time, energy and money, for one request or for many at once."""

from __future__ import annotations

import numpy as np

from archcast.question import Target
from costmodel.estimate import Totals
from workloads.graph import Workload
from workloads.mapping import Mapping
from workloads.table import Array

SECONDS_PER_HOUR = 3600.0
TOKENS = 1e6
"""What the money of generated tokens is told for."""


def quantities(
    workload: Workload, totals: Totals, mapping: Mapping, target: Target, concurrency: int = 0
) -> dict[str, Array]:
    """Return latency_s, ttft_s, tpot_s, energy_j and cost_usd by name, NaN where there is none.

    Each has shape (requests, 3): value, lo, hi. Energy and money are those of all devices: the ranks that work, and
    the stages of a pipeline that wait, each of which is busy for 1/pp of the time.

    `concurrency` slots share the time in the steady state (0: one batch): each slot starts once in it, and between its
    first and last token a request waits for the prefills of the others.
    """
    latency, ranks, price = totals.latency_s, mapping.ranks, target.spec.price
    hourly = np.array(price.usd_per_hour.interval if price else (np.nan,) * 3)
    waiting_w = (mapping.pp - 1) * ranks * np.array(target.rates.idle_w)
    generated = np.broadcast_to(np.asarray(workload.tokens_out, float), (workload.requests,))[:, None]
    slots = max(concurrency, 1)
    first_s = totals.first_s / slots
    with np.errstate(divide="ignore", invalid="ignore"):
        each_s = (totals.step_s + first_s * (slots - 1)) / (generated - 1)
    return {
        "latency_s": latency,
        "ttft_s": np.where(generated > 0, first_s, np.nan),
        "tpot_s": np.where(generated > 1, each_s, np.nan),
        "energy_j": totals.energy_j * ranks + waiting_w * latency,
        "cost_usd": latency * mapping.devices * hourly / SECONDS_PER_HOUR,
    }
