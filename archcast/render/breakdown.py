"""Where time, energy and memory go: an estimate divided into parts, for the terminal and the page alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archcast.render.human import listed, percent, text
from costmodel.estimate import Detail, Estimate, Quantity
from costmodel.on_chip import Store
from costmodel.spatial.costs import SHORT_BUFFERS
from foundation.formats import FORMAT_CODES, FORMATS
from workloads.table import OPS, Array
from workloads.work import ACTIVATION_BYTES

INTERVAL_MEANING: dict[str, str] = {
    "conformal": "calibrated on measurements of this device that the model had not seen",
    "pseudo_target": "calibrated on other devices, each taken as if it were unknown",
    "propagated": "from the ranges of the device's figures; no measurement has tested it",
    "uncalibrated": "no interval is known; value, lo and hi are the same",
}
MIXED_INTERVAL = "for learned operators from measurements, for the others from the ranges of the device's figures"


def interval_meaning(estimate: Estimate) -> str:
    """Return what the intervals of an answer rest on."""
    if estimate.interval_kind == "propagated" and estimate.source.get("learned", 0.0) > 0:
        return MIXED_INTERVAL
    return INTERVAL_MEANING.get(estimate.interval_kind, "")


SOURCE_MEANING: dict[str, str] = {
    "measured": "this very case was measured",
    "interpolated": "between measured cases",
    "learned": "physics corrected by a model trained on measurements",
    "physics": "closed form from the device's figures",
    "extrapolated": "outside what was measured: physics, with a wider interval",
}
BOUND_MEANING: dict[str, str] = {
    "compute": "the arithmetic units",
    "memory": "moving data",
    "network": "waiting for other devices",
    "overhead": "starting operators",
}


@dataclass(frozen=True)
class Part:
    """One part of a whole; `value` is in the whole's unit."""

    name: str
    value: float
    share: float


@dataclass(frozen=True)
class Axis:
    """One answer: its label, the field of `Estimate`, how to print it, what it means, and that in few words."""

    label: str
    field: str
    kind: str
    meaning: str
    short: str


AXES: tuple[Axis, ...] = (
    Axis("Latency", "latency_s", "s", "one whole batch, from start to last output", "whole batch"),
    Axis("First token", "ttft_s", "s", "TTFT: from start to the first output token", "TTFT"),
    Axis("Each further token", "tpot_s", "s", "TPOT: mean time between output tokens", "TPOT"),
    Axis("Rate", "rate_hz", "per_s", "requests finished a second", "requests"),
    Axis("Energy", "energy_j", "j", "of all devices used, idle power included", "all devices"),
    Axis("Power", "power_w", "w", "mean over the run, of all devices used", "mean, all devices"),
    Axis("Memory", "memory_bytes", "bytes", "peak on the fullest device", "fullest device"),
    Axis("Cost", "cost_usd", "usd", "price an hour x devices x time", "price x devices x time"),
)
PER_TOKEN: tuple[Axis, ...] = (
    Axis("Output tokens", "tokens_per_s", "per_s", "generated a second, all requests together", "all requests"),
    Axis("Energy a token", "energy_per_token_j", "j", "energy over generated tokens", "all devices"),
    Axis("Cost, million tokens", "usd_per_million_tokens", "usd", "cost of a million generated tokens",
         "generated tokens"),
)  # fmt: skip
"""What a network that generates has beside."""
ALL_ANSWERED = replace(
    AXES[0],
    meaning="in which each of the users is answered once; energy and cost are of this time",
    short="all users once",
)
"""Latency where users are in service all the time."""


def answers(estimate: Estimate) -> list[tuple[Axis, Quantity]]:
    """Return the axes that this estimate has a quantity for."""
    first = ALL_ANSWERED if "concurrency" in estimate.request else AXES[0]
    return _known(estimate, (first, *AXES[1:]))


def per_token(estimate: Estimate) -> list[tuple[Axis, Quantity]]:
    """Return what a generator has beside: output tokens a second, joules and dollars a token."""
    return _known(estimate, PER_TOKEN)


def _known(estimate: Estimate, axes: Sequence[Axis]) -> list[tuple[Axis, Quantity]]:
    found = ((axis, getattr(estimate, axis.field)) for axis in axes)
    return [(axis, quantity) for axis, quantity in found if quantity is not None]


def parts_of(values: dict[str, float], total: float | None = None) -> tuple[Part, ...]:
    """Return the positive values as parts of their sum (or of `total`), largest first."""
    kept = {name: value for name, value in values.items() if value > 0 and math.isfinite(value)}
    whole = sum(kept.values()) if total is None else total
    ranked = sorted(kept.items(), key=lambda item: -item[1])
    return tuple(Part(name, value, value / whole if whole > 0 else 0.0) for name, value in ranked)


def grouped(parts: Sequence[Part], keep: int, *, rest: str = "other") -> tuple[Part, ...]:
    """Return at most `keep` parts; the smallest are added up under the name `rest`."""
    if len(parts) <= keep:
        return tuple(parts)
    tail = parts[keep - 1 :]
    name = f"{rest} ({len(tail)})"
    return (*parts[: keep - 1], Part(name, sum(p.value for p in tail), sum(p.share for p in tail)))


def time_by_family(detail: Detail) -> tuple[Part, ...]:
    """Return seconds by operator family (gemm, attention, ...)."""
    return parts_of(_sums(detail.lowered.table.full("op"), OPS, _seconds(detail)))


def time_by_phase(detail: Detail) -> tuple[Part, ...]:
    """Return seconds by pass (prefill, decode, forward, ...), in the order in which they run."""
    names = tuple(run.name for run in detail.workload.passes)
    totals = np.bincount(detail.lowered.pass_index, weights=_seconds(detail), minlength=len(names))
    return _in_order(names, totals)


def energy_by_family(estimate: Estimate) -> tuple[Part, ...]:
    """Return joules by operator family, and what idle power takes, over all devices; they add up to `energy_j`."""
    detail, total = estimate.detail, estimate.energy_j
    if detail is None or total is None:
        return ()
    table, costs = detail.lowered.table, detail.costs
    count = table.full("count")
    idle_w = float(detail.rates.idle_w[0])
    idle = np.minimum(idle_w * costs.latency_s, costs.energy_j) * count
    parts = _sums(table.full("op"), OPS, costs.energy_j * count - idle)
    parts["idle power"] = float(idle.sum())
    scaled = {name: value * ranks(detail) for name, value in parts.items()}
    together = sum(scaled.values())
    if "concurrency" in estimate.request and together > 0 and (detail.mapping.pp == 1 or together > total.value):
        scaled = {name: value * total.value / together for name, value in scaled.items()}  # steps share weights read
    waiting = total.value - sum(scaled.values())
    if waiting > 1e-6 * total.value:  # stages of a pipeline that wait for their turn
        scaled["waiting stages"] = waiting
    return parts_of(scaled)


def ranks(detail: Detail) -> int:
    """Return how many devices work at once: all but the pipeline stages that wait, whose rows stand in one table."""
    return detail.mapping.ranks


def memory_parts(estimate: Estimate) -> tuple[Part, ...]:
    """Return bytes by use on the fullest device, in the order of the report, as shares of the capacity."""
    capacity = estimate.capacity_bytes
    return tuple(
        Part(name, value, value / capacity if capacity > 0 else 0.0)
        for name, value in estimate.memory_parts_bytes.items()
        if value > 0
    )


def _seconds(detail: Detail) -> Array:
    return np.asarray(detail.costs.latency_s * detail.lowered.table.full("count"))


def _sums(codes: Array, names: tuple[str, ...], weights: Array) -> dict[str, float]:
    totals = np.bincount(codes.astype(np.intp), weights=weights, minlength=len(names))
    return {name: float(totals[i]) for i, name in enumerate(names)}


def _in_order(names: tuple[str, ...], totals: Array) -> tuple[Part, ...]:
    merged: dict[str, float] = {}
    for name, value in zip(names, totals.tolist(), strict=True):
        merged[name] = merged.get(name, 0.0) + value
    whole = sum(merged.values())
    return tuple(Part(n, v, v / whole if whole > 0 else 0.0) for n, v in merged.items() if v > 0)


NARROWEST_BITS = 4.0
"""Bits of a weight that formats in wide use come down to."""


def verdict_words(estimate: Estimate) -> str:
    """Return how full the memory is, or what is missing where; without a dot."""
    missing, capacity = estimate.shortfall_bytes, estimate.capacity_bytes
    if estimate.reason.startswith(SHORT_BUFFERS):
        return estimate.reason
    if missing > 0 and estimate.stores:
        return listed([
            f"{store.name} is {text(store.shortfall_bytes, 'bytes')} ({store.shortfall_bytes:,.0f} bytes) short of its "
            f"{store.holds}"
            for store in estimate.stores if store.shortfall_bytes > 0
        ])  # fmt: skip
    if missing > 0:
        return f"{text(missing, 'bytes')} ({missing:,.0f} bytes) missing on the fullest device"
    if estimate.verdict != "feasible":
        return estimate.reason
    if estimate.stores:
        return listed([
            f"{percent(store.used_bytes / store.usable_bytes)} of {text(store.usable_bytes, 'bytes')} {store.name}"
            for store in estimate.stores
        ])  # fmt: skip
    used = estimate.memory_bytes.value / capacity if capacity > 0 else 0.0
    return f"{percent(used)} of {text(capacity, 'bytes')} on the fullest device"


def what_would_help(estimate: Estimate) -> tuple[str, ...]:
    """Return what would make an infeasible estimate fit, from the parts of its memory; empty where it fits."""
    total, capacity = estimate.memory_bytes.value, estimate.capacity_bytes
    if estimate.shortfall_bytes <= 0 or capacity <= 0:
        return ()
    if estimate.reason.startswith(SHORT_BUFFERS):
        return ("buffers that hold one tile of the array (two where they are double), or a smaller array",)
    if estimate.stores:
        return tuple(_store_advice(store, estimate.request) for store in estimate.stores if store.shortfall_bytes > 0)
    parts = estimate.memory_parts_bytes
    weights, optimizer = parts.get("weights", 0.0), parts.get("optimizer", 0.0)
    loose = parts.get("state", 0.0) + parts.get("activations", 0.0) + parts.get("margin", 0.0)
    found = []
    room = capacity - (total - loose)
    if loose > 0 and room > 0:
        found.append(
            f"a smaller batch or a shorter context: state and activations take {text(loose, 'bytes')}, "
            f"and {text(room, 'bytes')} is left for them ({percent(room / loose)} of it)"
        )
    if weights > 0 and weights / 2 + (total - weights) <= capacity:
        found.append(f"a format of half the width for the weights ({text(weights, 'bytes')} now)")
    elif weights > 0.9 * capacity:
        form = FORMATS.get(str(estimate.request.get("dtype", "")))
        narrow = weights * min(NARROWEST_BITS / form.weight_bits, 1.0) if form else weights
        ways = ["in a narrower format"] * (narrow + total - weights <= capacity) + ["divided"] * estimate.linked
        what = f"weights {', or '.join(ways)}" if ways else "a network with fewer weights"
        found.append(f"{what}: they alone take {text(weights, 'bytes')} a device")
    if optimizer > 0.5 * capacity:
        found.append(f"fewer trained parameters or a leaner optimizer: its state takes {text(optimizer, 'bytes')}")
    if estimate.linked:
        factor = math.ceil(total / capacity)
        found.append(f"at least {factor} times as many devices to divide the model over (--tp, --pp, --count)")
    return tuple(found)


def _store_advice(store: Store, request: Mapping[str, Any]) -> str:
    """Return what helps one memory that is short: requests one after the other, bytes in place of words, less of it."""
    room, batch = store.usable_bytes, int(request.get("batch", 1))
    of = f"{store.name} has {text(room, 'bytes')} for {store.holds}"
    weights = store.holds == "weights"
    one = store.used_bytes / (1 if weights else batch)
    if one <= room:
        most = int(room // one)
        return f"a batch of at most {most} at a time, one after the other: {of}, one takes {text(one, 'bytes')}"
    name = str(request.get("dtype", ""))
    form = FORMATS.get(name)
    bits = 0.0 if form is None else form.weight_bits if weights else 8 * float(ACTIVATION_BYTES[FORMAT_CODES[name]])
    alone = " and one at a time" if batch > 1 and not weights else ""
    if one * 8 / max(bits, 8) <= room:
        return f"int8 in place of {name} (--dtype int8){alone}: {of}, that takes {text(one * 8 / bits, 'bytes')}"
    less = "a network with fewer weights" if weights else "a smaller input or a narrower network"
    return f"{less}{alone}: {of}, {percent(room / one)} of the {text(one, 'bytes')} that it needs"
