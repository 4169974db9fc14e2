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

from foundation.errors import BadValueError
from simulator.serving.profile import ENERGIES, TIMES, Profile
from simulator.serving.replica import Policy
from workloads.table import Array

NODES = 16
"""Numbers of prompts in one step over which its cost is averaged."""
CHUNKS = 16
"""Chunks of a prompt that are summed one by one; of more, so many are, linear between them."""
SETTLE = 4
"""Rounds in which decodes beside a chunk and the chunk's size agree."""
SURE = (0.6, 0.9)
"""Shares of all token budgets used, between which steps become full (estimated)."""
SPILL = 3.0
"""Of k prompts that began together but do not fit beside the decodes, this over k^2 wait a step (estimated, 1 to 4)."""
MIXING = 0.05
"""Squared coefficient of variation of lengths at which phases are half random (estimated, 0.01 to 0.2)."""
_HERMITE_X, _HERMITE_W = np.polynomial.hermite_e.hermegauss(NODES)
_HERMITE_W = _HERMITE_W / _HERMITE_W.sum()


@dataclass(frozen=True)
class Lengths:
    """Lengths of requests in tokens, one entry a candidate.

    prompt, generate: means. prompt_var, generate_var: variances. attended: mean number of tokens that a decode step
    attends to, over all steps of all requests. together: 1 where all users began at the same moment, which those whose
    requests are alike stay at: as many prompts as fit are computed in one step; 0 where phases are random.
    """

    prompt: Array
    generate: Array
    prompt_var: Array
    generate_var: Array
    attended: Array
    together: Array

    @staticmethod
    def constant(prompt: Any, generate: Any, *, together: bool = False) -> Lengths:
        """Return requests that are all alike. Raises BadValueError: a length below 1."""
        p, g = np.broadcast_arrays(np.atleast_1d(np.asarray(prompt, float)), np.atleast_1d(np.asarray(generate, float)))
        if not ((p >= 1) & (g >= 1)).all():
            raise BadValueError("A request has at least 1 token of prompt and generates at least 1.")
        return Lengths(p, g, np.zeros(p.shape), np.zeros(p.shape), p + g / 2, np.full(p.shape, float(together)))

    @staticmethod
    def of(prompt: Array, generate: Array) -> Lengths:
        """Return the one entry that stands for requests of these lengths together. Raises BadValueError."""
        one = Lengths.constant(prompt, generate)
        p, g = one.prompt, one.generate
        steps = np.maximum(g - 1, 0)
        attended = (steps * (p + g / 2)).sum() / steps.sum() if steps.any() else p.mean()
        return Lengths(*(np.atleast_1d(x) for x in (p.mean(), g.mean(), p.var(), g.var(), attended, 0.0)))


@dataclass(frozen=True)
class Limits:
    """What one lane may do, one entry a candidate: tokens and requests of a step, tokens that its KV blocks hold.

    `block_tokens`: of a KV block; half of the last one is empty.
    """

    most_tokens: Array
    most_requests: Array
    kv_tokens: Array
    block_tokens: Array

    @staticmethod
    def of(policy: Policy) -> Limits:
        kv = policy.blocks * policy.block_tokens
        return Limits(*(np.atleast_1d(float(x)) for x in (policy.most_tokens, policy.most_requests, kv,
                                                         policy.block_tokens)))  # fmt: skip


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
    case = _Case.of(profile, lengths, limits, engine, np.asarray(concurrency, float))
    wanted = case.users / case.lanes
    slots = np.minimum(np.maximum(wanted, 1.0), case.room())
    busy = np.minimum(wanted, 1.0)
    cycle = _Cycle.of(case, slots)
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
    closed = _Case.of(profile, lengths, limits, engine, np.asarray(rate_hz, float))
    case = replace(closed, is_open=True)
    rate, room = case.users / case.lanes, case.room()
    capacity = room / _Cycle.of(closed, room).life[:, 0]
    unstable = rate >= capacity
    feasible = np.where(unstable, 0.5 * capacity, rate)
    others = _in_service(case, feasible, room)
    slots = np.minimum(1.0 + others, room)
    cycle = _Cycle.of(case, slots)
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


def _in_service(case: _Case, rate: Array, room: Array) -> Array:
    """Return the mean number in service of one lane at a rate below its capacity, by bisection."""
    value = replace(case, profile=case.profile.value_only())
    low, high = np.zeros(len(rate)), room.copy()
    for _ in range(16):
        middle = (low + high) / 2
        # the number that this many beside a request in service would bring about
        found = rate * _Cycle.of(value, np.minimum(1.0 + middle, room)).life[:, 0]
        more = found > middle
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class _Case:
    """The candidates, all columns of one length. `is_open`: others come whether or not they are answered."""

    profile: Profile
    lengths: Lengths
    limits: Limits
    engine: Array
    users: Array
    is_open: bool = False

    @staticmethod
    def of(profile: Profile, lengths: Lengths, limits: Limits, engine: Any, users: Array) -> _Case:
        if not (np.isfinite(users) & (users > 0)).all():
            raise BadValueError("Concurrency and rates must be above 0 and finite.")
        columns = [getattr(lengths, f.name) for f in fields(lengths)] + [
            getattr(limits, f.name) for f in fields(limits)
        ]
        wide = [np.array(c) for c in np.broadcast_arrays(*columns, np.atleast_1d(engine), np.atleast_1d(users))]
        count = len(fields(lengths))
        if (wide[count] > profile.axes.tokens[-1]).any():
            raise BadValueError(
                f"The profile reaches {profile.axes.tokens[-1]} tokens a step; most_tokens asks for more."
            )
        return _Case(profile, Lengths(*wide[:count]), Limits(*wide[count:-2]), wide[-2].astype(np.intp), wide[-1])

    @property
    def lanes(self) -> Array:
        return np.asarray(self.profile.lanes[self.engine], float)

    @property
    def held(self) -> Array:
        """Tokens of the KV blocks that a request holds, on average over its decode steps."""
        block = self.limits.block_tokens
        return self.lengths.attended + (block - 1) / 2

    def room(self) -> Array:
        """Return how many requests a lane can compute at a time, at least one."""
        # what is free is too little for the next prompt's first chunk: half of one on average (estimated, 0 to 1)
        square = self.lengths.prompt + self.lengths.prompt_var / self.lengths.prompt
        free = self.limits.kv_tokens - np.minimum(square, self.limits.most_tokens) / 2
        fitting = np.minimum(free / self.held, self.limits.most_requests)
        return np.maximum(np.minimum(fitting, self.limits.most_tokens), 1.0)


@dataclass(frozen=True)
class _Cycle:
    """One request's life: costs (candidates, 6) of the whole, of what precedes its first token, of a step left over."""

    life: Array
    first: Array
    residual: Array
    steps: Array

    @staticmethod
    def of(case: _Case, slots: Array) -> _Cycle:
        counts = _Counts.of(case, slots)
        profile, engine, generate = case.profile, case.engine, case.lengths.generate
        start, more = case.lengths.attended - generate / 2, np.maximum(generate - 1, 1e-9)
        pure = profile.work_of(engine, slots) + profile.sampling_of(engine, slots)
        pure = pure + profile.attention_of(engine, slots, start, more)
        ready = slots / counts.mixed
        beside = profile.sampling_of(engine, counts.decodes + ready)
        beside = beside + profile.attention_of(engine, counts.decodes, start, more)
        chunks, every, own = _prompt_costs(case, slots, counts)
        mixed = every * slots[:, None] + beside * counts.mixed[:, None] + chunks * slots[:, None]
        alone = np.maximum(counts.steps - counts.mixed, 0.0)
        life = pure * alone[:, None] + mixed
        filling = counts.filling[:, None]
        first = own + filling * (beside + chunks * (slots / counts.mixed)[:, None])
        # near saturation the rest is a small difference of large numbers: there, the mean over the decodes of all steps
        mean = pure * alone[:, None] + mixed * (counts.decodes / slots)[:, None]
        sure = counts.sure[:, None]
        first = np.minimum(first * (1 - sure) + (life - mean) * sure, life)
        # of prompts that fill steps, the wait in steps counts what is left of the one in progress
        unfilled = 1 - np.minimum((counts.weight * counts.packed).sum(axis=1), 1.0)
        squares = alone[:, None] * pure**2 + mixed**2 * (unfilled / counts.mixed)[:, None]
        return _Cycle(life, first, squares / np.maximum(2 * life, 1e-300), counts.steps)


@dataclass(frozen=True)
class _Counts:
    """Steps: of a life, of these with prompts (of all slots), those in which a request's own prompt is computed or
    waits; decodes beside prompts; and by point of the prompts' lengths: their tokens and weight, chunks alone, steps of
    a full budget, the share of prompts that find it busy; how near all budgets are to be
    used up (0 to 1). Shapes (n,) or (n, points)."""

    steps: Array
    mixed: Array
    filling: Array
    decodes: Array
    prompts: Array
    weight: Array
    budget: Array
    alone: Array
    packed: Array
    behind: Array
    sure: Array

    @staticmethod
    def of(case: _Case, slots: Array) -> _Counts:
        lengths, budget = case.lengths, case.limits.most_tokens
        prompts, weight = _points(lengths)
        made, many = np.maximum(lengths.generate - 1, 0.0), np.maximum(slots - 1, 0.0) / slots
        varied = 1.0 if case.is_open else many * _varied(lengths)
        decodes, load = np.minimum(slots - 1, budget - 1), np.zeros(len(slots))
        longer = _longer(case, slots) if case.is_open else np.ones(len(slots))
        for _ in range(SETTLE):
            left = np.maximum(budget - decodes, 1.0)
            alone, packed = np.ceil(prompts / left[:, None] - 1e-9), prompts / left[:, None]
            own, full = (weight * alone).sum(axis=1), (weight * packed).sum(axis=1)
            busy, think = slots * full, made + own - full
            v = np.minimum((weight * packed**2).sum(axis=1) / full**2 * varied / 2, 1.0)
            if case.is_open:  # N = think + s + v s load / (1 - load), load = (C - 1) s / N (Pollaczek and Khinchine)
                # more arrive in a full step than in others, by how much longer it takes
                busy = (busy - full) * longer / (1 + load * (longer - 1))
                # behind others a prompt ends anywhere in a step, so it is in half a step more than it takes
                unhindered, rest = think + full + load * (full + 0.5 - own), v * full * busy
            else:  # Little's law and the arrival theorem (Bard 1979): (N - think - (1 - v) s) (N - C s) = v s think
                unhindered, rest = think + (1 - v) * full, v * full * think
            steps = (unhindered + busy + np.sqrt((unhindered - busy) ** 2 + 4 * rest)) / 2
            steps = np.maximum(steps, slots * (lengths.prompt + made) / budget)
            load = np.minimum(busy / steps, 1.0)
            need = np.where(own > full, (slots * own - steps) / np.maximum(slots * (own - full), 1e-9), 0.0)
            behind = np.clip(np.maximum(need, many * np.maximum(load, lengths.together)), 0.0, 1.0)[:, None]
            none = np.exp(slots * np.log1p(-np.minimum(1.0 / steps, 1 - 1e-12)))
            fits = prompts < left[:, None]
            # prompts that fit beside others go where long ones make full steps, or where all budgets are used
            long = slots * (weight * packed * ~fits).sum(axis=1) / steps
            sure = np.clip((load - SURE[0]) / (SURE[1] - SURE[0]), 0.0, 1.0)
            among = 1 - (1 - many * np.minimum(long, 1.0)) * (1 - many * sure)
            behind = np.where(fits, among[:, None], behind)
            small = np.where(
                lengths.together[:, None] > 0,
                1.0 / _bunch(case, slots)[:, None],
                (steps * (1.0 - none) / slots)[:, None],
            )
            each = np.where(fits, small, alone) * (1 - behind) + packed * behind
            mixed = np.clip(slots * (weight * each).sum(axis=1), 1e-9, steps)
            decodes = np.clip(slots - slots * (steps - made) / mixed, 0.0, np.minimum(slots - 1, budget - 1))
        return _Counts(
            steps, mixed, steps - made, decodes, prompts, weight, np.maximum(budget - decodes, 1.0), alone, packed,
            behind, sure,
        )  # fmt: skip


def _longer(case: _Case, slots: Array) -> Array:
    """Return how many times longer than a step of decodes alone one with a full budget is."""
    profile, more = case.profile, np.maximum(case.lengths.generate - 1, 1e-9)
    attention = profile.attention_of(case.engine, slots, case.lengths.attended - case.lengths.generate / 2, more)
    full, pure = (profile.work_of(case.engine, n) + attention for n in (case.limits.most_tokens, slots))
    return np.asarray(np.maximum(full[:, 0] / pure[:, 0], 1.0))


def _varied(lengths: Lengths) -> Array:
    """Return how random the phases of requests are, from 0 (all alike: they settle so that none waits) to 1."""
    square = lengths.prompt_var / lengths.prompt**2 + lengths.generate_var / lengths.generate**2
    return np.asarray(square / (square + MIXING))


def _points(lengths: Lengths) -> tuple[Array, Array]:
    """Return prompts and weights, shape (n, 1) or (n, 2), that have the mean and the variance of the lengths."""
    mean, sigma = lengths.prompt, np.sqrt(lengths.prompt_var)
    if not sigma.any():
        return mean[:, None], np.ones((len(mean), 1))
    low = np.maximum(mean - sigma, 1.0)
    below = np.maximum(mean - low, 1e-9)
    high = mean + lengths.prompt_var / below
    share = np.where(sigma > 0, below / np.maximum(high - low, 1e-9), 0.5)
    high = np.where(sigma > 0, high, mean)
    return np.stack([low, high], axis=1), np.stack([1 - share, share], axis=1)


def _prompt_costs(case: _Case, slots: Array, counts: _Counts) -> tuple[Array, Array, Array]:
    """Return costs (n, 6) of one prompt: its own attention; work of its share of mixed steps; work before its first
    token. The work of a mixed step is that of its decodes and all its prompt tokens."""
    profile, engine = case.profile, case.engine[:, None]
    n, budget = slots[:, None], counts.budget[:, None]
    most = case.limits.most_tokens[:, None]
    beside = np.minimum(n - 1, most - 1)
    room = np.maximum(most - beside, 1.0)  # of a chunk when all other slots decode
    chunk = np.minimum(counts.prompts, room)
    last = counts.prompts - room * (np.ceil(counts.prompts / room - 1e-9) - 1)
    full = profile.work_of(engine, np.minimum(beside + chunk, most))
    ends = profile.work_of(engine, np.minimum(beside + last, most))
    whole = np.maximum(np.ceil(counts.prompts / room - 1e-9) - 1, 0.0)[..., None]
    alone = whole * full + ends
    behind, packed = counts.behind[..., None], counts.packed[..., None]
    # a step of a full budget, whatever its parts
    budgeted = profile.work_of(engine, np.broadcast_to(counts.decodes[:, None] + budget, counts.prompts.shape))
    large = alone * (1 - behind) + budgeted * packed * behind
    fits = counts.prompts < budget
    steps = np.where(fits, 1.0, counts.alone * (1 - counts.behind) + counts.packed * counts.behind)
    bunch = _bunch(case, slots)[:, None]
    spills = np.where(fits & (bunch * counts.prompts > budget), case.lengths.together[:, None] * SPILL / bunch**2, 0.0)
    waits = np.maximum(counts.filling - (counts.weight * steps).sum(axis=1), 0.0)[:, None, None]
    small, mine = _together(case, slots, counts, budgeted)
    weight, fits = counts.weight[..., None], fits[..., None]
    every = (weight * np.where(fits, small * (1 - behind) + budgeted * packed * behind, large)).sum(axis=1)
    mine = mine * (1 - behind) + budgeted * (behind + spills[..., None])
    own = (weight * (np.where(fits, mine, large) + waits * budgeted)).sum(axis=1)
    return (weight * _chunk_sums(case, counts)).sum(axis=1), every, own


def _together(case: _Case, slots: Array, counts: _Counts, budgeted: Array) -> tuple[Array, Array]:
    """Return work (n, points, 6) of a prompt's share of the steps, and of its own step, where prompts fit one step.

    Of the other slots each starts in the same step with probability 1 / steps.
    """
    others = (slots - 1)[:, None]
    number, chance = _binomial(others, 1.0 / counts.steps[:, None])
    alike, one = case.lengths.together[:, None] > 0, np.arange(NODES) == 0
    number, chance = np.where(alike, _bunch(case, slots)[:, None] - 1, number), np.where(alike, one, chance)
    most = case.limits.most_tokens[:, None, None]
    prompts, together = counts.prompts[..., None], 1.0 + number[:, None]
    decodes = np.minimum(others[..., None] - number[:, None], most - 1)
    mine = np.minimum(together * prompts, most - decodes)
    work = case.profile.work_of(case.engine[:, None, None], decodes + mine)
    chance = chance[:, None]
    share = ((chance / together)[..., None] * work).sum(axis=2)
    # what a full budget leaves over fills another step
    over = np.maximum(counts.prompts - (chance / together * mine).sum(axis=2), 0.0) / counts.budget[:, None]
    idle = case.profile.work_of(case.engine, slots)[:, None]
    return share + over[..., None] * np.maximum(budgeted - idle, 0.0), (chance[..., None] * work).sum(axis=2)


def _bunch(case: _Case, slots: Array) -> Array:
    """Return how many prompts that began together are computed in one step, at least one."""
    fitting = np.floor(case.limits.most_tokens / case.lengths.prompt + 1e-9)
    return np.maximum(np.minimum(fitting, slots), 1.0)


def _binomial(trials: Array, chance: Array) -> tuple[Array, Array]:
    """Return numbers and their probabilities, shape (n, NODES): exact for few, by a normal distribution for many."""
    chance = np.minimum(chance, 1 - 1e-9)
    mean = trials * chance
    number = np.arange(float(NODES))
    odds = np.maximum(trials - number[:-1], 0.0) / (number[1:]) * (chance / (1 - chance))
    exact = np.concatenate([np.ones_like(mean), np.cumprod(odds, axis=1)], axis=1)
    exact = exact / exact.sum(axis=1, keepdims=True)
    few = mean + 4 * np.sqrt(mean) + 2 <= NODES
    normal = np.clip(mean + np.sqrt(mean * (1 - chance)) * _HERMITE_X, 0.0, np.maximum(trials, 0.0))
    return np.where(few, number, normal), np.where(few, exact, _HERMITE_W)


def _chunk_sums(case: _Case, counts: _Counts) -> Array:
    """Return the attention of all chunks of a prompt, shape (n, points, 6)."""
    chunk = counts.budget[:, None]
    full = counts.alone - 1
    most = CHUNKS - 1
    number = np.arange(float(most))
    spread = np.maximum(full - 1, 0.0)[..., None] / (most - 1)
    place = np.where(full[..., None] > most, spread * number, number)
    ends = np.where((number == 0) | (number == most - 1), (spread + 1) / 2, spread)  # Euler and Maclaurin's sum
    weight = np.where(full[..., None] > most, ends, number < full[..., None])
    size = np.broadcast_to(chunk[..., None], place.shape)
    found = case.profile.chunk_of(case.engine[:, None, None], size, place * size)
    last = case.profile.chunk_of(case.engine[:, None], counts.prompts - full * chunk, full * chunk)
    return np.asarray((weight[..., None] * found).sum(axis=2) + last)


def _state(
    case: _Case, cycle: _Cycle, slots: Array, busy: Array, waits: Array, waiting: Array, rate: Array | None = None
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
