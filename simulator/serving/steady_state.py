"""The steady state of an engine that batches continuously, in closed form, vectorised over candidates.

C slots are busy all the time. In the N steps of one request's life every other slot starts one request too, so the life
sees C prompts and, in every step, a token of each request that decodes. Prompts go in chunks of what the decodes leave
of the token budget T, first come first served: alone, a prompt of P tokens takes ceil(P / B) steps of B = T - decodes;
behind others, P / B of full ones. How many steps there are depends on lengths, slots and budget only, what a step costs
on its decodes and tokens: times and energies are then sums over the entries of a `Profile`.

With one slot this is what the events give, to their rounding (tests/test_serving_steady_state.py). Beyond that, phases
of requests are taken as random: prompts that fall into one step are binomial, prompts that wait for a busy budget wait
as in a closed M/G/1 queue, of which lengths that do not vary know nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from simulator.serving.cycle import Cycle
from simulator.serving.loads import Case, Lengths, Limits
from simulator.serving.profile import ENERGIES, TIMES, Profile
from workloads.table import Array

__all__ = ["Lengths", "Limits", "SteadyState", "open_arrivals", "steady_state"]


@dataclass(frozen=True)
class SteadyState:
    """Arrays of shape (candidates, 3): value, lo, hi; those named below have shape (candidates,).

    ttft_s: first token minus arrival, waiting included; tpot_s: (last - first) / (generated - 1), NaN where one token
    is generated; rates, power and energy are those of the whole engine with all its devices. batch: requests that all
    lanes compute; waiting: requests that wait; kv_tokens: held by one lane; utilisation: share of the time in which a
    lane computes; steps: of a request's life. unstable: more arrives than can be served (the rest is NaN).
    """

    ttft_s: Array
    tpot_s: Array
    latency_s: Array
    request_rate_hz: Array
    tokens_per_s: Array
    power_w: Array
    energy_per_token_j: Array
    batch: Array
    waiting: Array
    kv_tokens: Array
    utilisation: Array
    steps: Array
    unstable: Array


def steady_state(
    profile: Profile, lengths: Lengths, concurrency: Any, limits: Limits, engine: Any = 0
) -> SteadyState:  # fmt: skip
    """Return what users see who ask anew as soon as they are answered: `concurrency` of them at an engine.

    Args:
        concurrency, engine: of each candidate; `engine` is its place in the profile. What one argument has once stands
            for all candidates.

    Requests beyond those that the KV blocks and the policy let in wait; Little's law says for how long.
    """
    case = Case.of(profile, lengths, limits, engine, np.asarray(concurrency, float))
    wanted = case.users / case.lanes
    slots = np.minimum(np.maximum(wanted, 1.0), case.room())
    busy = np.minimum(wanted, 1.0)
    cycle = Cycle.of(case, slots)
    waits = np.maximum(wanted - slots, 0.0)[:, None] * cycle.life[:, TIMES] / slots[:, None]
    return _state(case, cycle, slots, busy, waits, np.maximum(case.users - slots * case.lanes, 0.0))


def open_arrivals(
    profile: Profile, lengths: Lengths, rate_hz: Any, limits: Limits, engine: Any = 0, *, randomness: float = 1.0
) -> SteadyState:  # fmt: skip
    """Return what users see who come at a rate, whether or not others were answered.

    The number in service is what the rate times the time in service gives (Little); of a request that is in service
    the others are as many as at any time (Poisson arrivals see time averages, Wolff 1982). A request waits for the step
    in progress, and where slots are short for one of them, as in an M/G/c queue (Sakasegawa 1977).

    Args:
        rate_hz: requests a second at the whole engine. randomness: squared coefficient of variation of the time
            between arrivals (1: Poisson).
    """
    closed = Case.of(profile, lengths, limits, engine, np.asarray(rate_hz, float))
    case = replace(closed, is_open=True)
    rate, room = case.users / case.lanes, case.room()
    capacity = room / Cycle.of(closed, room).life[:, 0]
    unstable = rate >= capacity
    feasible = np.where(unstable, 0.5 * capacity, rate)
    others = _in_service(case, feasible, room)
    slots = np.minimum(1.0 + others, room)
    cycle = Cycle.of(case, slots)
    busy = -np.expm1(-feasible * cycle.life[:, 0])
    load = feasible / capacity
    varied = case.lengths.generate_var / case.lengths.generate**2
    queue = cycle.life[:, TIMES] * (0.5 * (randomness + varied) * load ** np.sqrt(2 * (room + 1) - 1)
                                    / (room * (1 - load)))[:, None]  # fmt: skip
    waits = busy[:, None] * cycle.residual[:, TIMES] + queue
    found = _state(case, cycle, slots, busy, waits, feasible * queue[:, 0] * case.lanes, feasible * case.lanes)
    missing = {f.name: np.where(unstable.reshape((-1,) + (1,) * (getattr(found, f.name).ndim - 1)), np.nan,
                                getattr(found, f.name)) for f in fields(found)}  # fmt: skip
    return replace(found, **(missing | {"unstable": unstable}))


def _in_service(case: Case, rate: Array, room: Array) -> Array:
    """Return the mean number in service of one lane at a rate below its capacity, by bisection."""
    value = replace(case, profile=case.profile.value_only())
    low, high = np.zeros(len(rate)), room.copy()
    for _ in range(16):
        middle = (low + high) / 2
        # the number that this many beside a request in service would bring about
        found = rate * Cycle.of(value, np.minimum(1.0 + middle, room)).life[:, 0]
        more = found > middle
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    return (low + high) / 2


def _state(
    case: Case, cycle: Cycle, slots: Array, busy: Array, waits: Array, waiting: Array, rate: Array | None = None
) -> SteadyState:  # fmt: skip
    """Return what users see: waits (n, 3) in seconds and `waiting` requests stand before what a cycle says."""
    profile, engine, generate = case.profile, case.engine, case.lengths.generate[:, None]
    seconds, joules = cycle.life[:, TIMES], cycle.life[:, ENERGIES]
    many, devices = slots[:, None], profile.devices[engine][:, None].astype(float)
    if rate is None:
        rates = case.lanes[:, None] * busy[:, None] * many / seconds[:, [0, 2, 1]]
    else:
        rates = np.repeat(rate[:, None], 3, axis=1)
    idle = devices * profile.idle_w[engine] * (1 - busy[:, None])
    power = devices * busy[:, None] * joules / seconds[:, [0, 2, 1]] + idle
    most = np.maximum(power[:, 0], np.minimum(power[:, 2], profile.limit_w[engine] * devices[:, 0]))
    per_token = profile.ranks[engine][:, None] * joules / (many * generate)
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.where(generate > 1, (seconds - cycle.first[:, TIMES]) / (generate - 1), np.nan)
    return SteadyState(
        ttft_s=waits + cycle.first[:, TIMES], tpot_s=each, latency_s=waits + seconds, request_rate_hz=rates,
        tokens_per_s=rates * generate, power_w=np.stack([power[:, 0], power[:, 1], most], axis=1),
        energy_per_token_j=per_token + idle / (rates[:, [0, 2, 1]] * generate),
        batch=slots * busy * case.lanes, waiting=waiting, kv_tokens=slots * case.held, utilisation=busy,
        steps=cycle.steps, unstable=np.zeros(len(slots), dtype=bool),
    )  # fmt: skip
