"""Requests in service all the time: what an engine gives its users in the steady state, and what a named stack adds.

`concurrency` users ask anew as soon as they are answered. The closed form of a serving engine says what they see
(`simulator.serving.steady_state`): steps mix decodes with chunks of prompts, as vLLM's do. A network that computes more
than tokens before its first one (an encoder of images, sound or text) has no such steps: its prefills stand apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archcast.quantities import SECONDS_PER_HOUR, TOKENS
from archcast.question import Question
from archcast.render.human import text
from archcast.serving_columns import steady_answer
from costmodel.estimate import Quantity
from costmodel.protocol import CostModel
from costmodel.stack import Stack, framework, is_calibrated, known_stacks, stack_of
from simulator.serving.power import NOTE
from simulator.serving.pricing import beyond_tokens
from workloads.graph import Workload
from workloads.mapping import Mapping
from workloads.table import Array

SWAPPED = [0, 2, 1]
"""Ends of what falls as another rises."""


@dataclass(frozen=True)
class InService:
    """What an engine of all devices gives; arrays of shape (3,): value, lo, hi. `tpot_s` is NaN where there is none."""

    ttft_s: Array
    tpot_s: Array
    rate_hz: Array
    power_w: Array
    energy_per_token_j: Array


def in_service(
    question: Question, mapping: Mapping, cost_model: CostModel, workload: Workload, columns: dict[str, Array],
    weights_bytes: float,
) -> dict[str, Quantity | None]:  # fmt: skip
    """Return the fields of an `Estimate` that concurrency decides, by name.

    `latency_s` is the time in which each user is answered once: users / rate (by Little's law the mean time of one
    request). `energy_j` and `cost_usd` are of the same time.

    Args:
        columns: `archcast.quantities.quantities` of prefills apart from decode steps. weights_bytes: of the fullest
            device.
    """
    users, generated = question.concurrency, float(np.ravel(workload.tokens_out)[0])
    if beyond_tokens(workload):
        found = _apart(columns, users, generated)
    else:
        steady = steady_answer(question, mapping, cost_model, weights_bytes)
        rows = (steady.ttft_s, steady.tpot_s, steady.request_rate_hz, steady.power_w, steady.energy_per_token_j)
        found = InService(*(row[0] for row in rows))
    idle_w, limit_w = (mapping.devices * w for w in (question.target.rates.idle_w[1], question.target.rates.limit_w))
    seen = seen_of(found, stack_of(mapping.software, cost_model), idle_w, limit_w)
    latency, price = users / seen.rate_hz[SWAPPED], question.target.spec.price
    hourly = np.array(price.usd_per_hour.interval if price else (np.nan,) * 3)
    cost = latency * mapping.devices * hourly / SECONDS_PER_HOUR
    tokens = users * generated
    fields = {
        "latency_s": latency, "ttft_s": seen.ttft_s, "tpot_s": seen.tpot_s, "rate_hz": seen.rate_hz,
        "energy_j": seen.energy_per_token_j * tokens, "power_w": seen.power_w, "cost_usd": cost,
        "tokens_per_s": seen.rate_hz * generated, "energy_per_token_j": seen.energy_per_token_j,
        "usd_per_million_tokens": cost / tokens * TOKENS,
    }  # fmt: skip
    return {name: None if np.isnan(row[0]) else Quantity(*row.tolist()) for name, row in fields.items()}


def _apart(columns: dict[str, Array], users: int, generated: float) -> InService:
    """Return what users see of an engine that computes each prompt in steps of its own."""
    latency, energy = columns["latency_s"][0], columns["energy_j"][0]
    return InService(
        columns["ttft_s"][0], columns["tpot_s"][0], users / latency[SWAPPED], energy / latency[SWAPPED],
        energy / (users * generated),
    )  # fmt: skip


def seen_of(found: InService, stack: Stack, idle_w: float, limit_w: float) -> InService:
    """Return what users of a stack see: steps take longer for the same joules, the first token is shown later.

    Intervals of the engine and of the stack add up in quadrature, as logarithms.

    Args:
        idle_w, limit_w: between which the power of all devices lies.
    """
    steps = np.nan_to_num(found.tpot_s)  # where one token is generated, no further step shows it
    power = _wider(found.power_w / stack.step_factor, stack.tpot_half)
    low, high = min(power[0], idle_w), max(power[0], limit_w)
    return InService(
        _wider(stack.ttft_s(found.ttft_s, steps), stack.ttft_half), _wider(stack.tpot_s(found.tpot_s), stack.tpot_half),
        _wider(found.rate_hz / stack.step_factor, stack.tpot_half), np.clip(power, low, high), found.energy_per_token_j,
    )  # fmt: skip


def _wider(row: Array, half: float) -> Array:
    """Return (value, lo, hi) with both ends further off by a half width in logarithms (NaN: none is known)."""
    value, lo, hi = np.asarray(row, dtype=float)
    half = half if np.isfinite(half) else 0.0
    below, above = (np.hypot(np.log(ratio), half) for ratio in (value / lo, hi / value))
    return np.array([value, value * np.exp(-below), value * np.exp(above)])


def service_notes(
    question: Question, software: str, cost_model: CostModel, workload: Workload, apart_s: float
) -> tuple[str, ...]:  # fmt: skip
    """Say what the answer leaves out, and what the stack rests on.

    Args:
        apart_s: the time of the same work with prefills apart from decode steps, of which shares are shown.
    """
    more = beyond_tokens(workload)
    if more:
        parts = (f"'{question.model.name}' computes more than tokens before its first one ({', '.join(more[:3])}): ",
                 "its prefills stand apart from decode steps.")  # fmt: skip
    else:
        parts = ("Operators and shares of the time are those of prefills apart from decode steps, ",
                 f"one pipeline stage after the other ({text(apart_s, 's')}).")  # fmt: skip
    power = (NOTE,) if question.target.rates.kind == "gpu" else ()
    return "".join(parts), stack_note(software, cost_model), *power


def stack_note(software: str, cost_model: CostModel) -> str:
    """Say what a stack adds and what that rests on."""
    known = known_stacks(cost_model)
    name, stack = framework(software), stack_of(software, cost_model)
    if not name:
        return f"The engine and its kernels alone: --software ({', '.join(known)}) adds what a serving stack takes."
    who = name if name in known else f"a serving stack ('{name}' is none of {', '.join(known)})"
    source = "of your calibration" if is_calibrated(software, cost_model) else "of aiconfigurator's silicon sample"
    return (
        f"Added for {who}: steps take {stack.step_factor:.2f} times as long, and the first token "
        f"{stack.first_factor:.2f} times, {stack.seen_steps:.1f} steps and {text(stack.request_s, 's')} more; fitted "
        f"to {stack.rows:,} served runs {source}; intervals hold what was left out of the fit."
    )
