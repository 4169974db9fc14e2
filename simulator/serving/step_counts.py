"""How many steps a request's life has, and how many of them carry prompts: by lengths, slots and budget only.

Where a prompt finds the token budget in use it waits as in a queue, of which only the mean is told: closed for users
who ask anew (Bard 1979), open for arrivals at a rate (Pollaczek and Khinchine).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.serving.loads import Case, Lengths
from workloads.table import Array

SETTLE = 8
"""Rounds in which decodes beside a chunk and the chunk's size agree."""
SURE = (0.6, 0.9)
"""Shares of all token budgets used, between which steps become full (estimated)."""
MIXING = 0.05
"""Squared coefficient of variation of lengths at which phases are half random (estimated, 0.01 to 0.2)."""


@dataclass(frozen=True)
class Counts:
    """Steps: of a life, of these with prompts (of all slots), those in which a request's own prompt is computed or
    waits; decodes beside prompts; and by point of the prompts' lengths: their tokens and weight, chunks alone, steps of
    a full budget, the share of prompts that find it busy; how near all budgets are to be used up (0 to 1).

    Shapes (n,) or (n, points).
    """

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
    def of(case: Case, slots: Array) -> Counts:
        lengths, budget = case.lengths, case.limits.most_tokens
        prompts, weight = _points(lengths)
        made, many = np.maximum(lengths.generate - 1, 0.0), np.maximum(slots - 1, 0.0) / slots
        decodes, load = np.minimum(slots - 1, budget - 1), np.zeros(len(slots))
        longer = _longer(case, slots) if case.is_open else np.ones(len(slots))
        for _ in range(SETTLE):
            left = np.maximum(budget - decodes, 1.0)
            alone, packed = np.ceil(prompts / left[:, None] - 1e-9), prompts / left[:, None]
            own, full = (weight * alone).sum(axis=1), (weight * packed).sum(axis=1)
            square = (weight * packed**2).sum(axis=1) / full**2
            steps, busy = _life(case, slots, own, full, square, longer, load)
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
                1.0 / bunch_of(case, slots)[:, None],
                (steps * (1.0 - none) / slots)[:, None],
            )
            each = np.where(fits, small, alone) * (1 - behind) + packed * behind
            mixed = np.clip(slots * (weight * each).sum(axis=1), 1e-9, steps)
            decodes = np.clip(slots - slots * (steps - made) / mixed, 0.0, np.minimum(slots - 1, budget - 1))
        return Counts(
            steps, mixed, steps - made, decodes, prompts, weight, np.maximum(budget - decodes, 1.0), alone, packed,
            behind, sure,
        )  # fmt: skip


def _life(
    case: Case, slots: Array, own: Array, full: Array, square: Array, longer: Array, load: Array
) -> tuple[Array, Array]:  # fmt: skip
    """Return the steps of a life, and those of full budgets that prompts of all slots take in it.

    Args:
        own, full: steps of a prompt alone, and of full budgets; square: of the latter, mean square over squared mean.
        longer: how many times longer a full step is. load: share of the budgets in use, as known so far.
    """
    made = np.maximum(case.lengths.generate - 1, 0.0)
    busy, think = slots * full, made + own - full
    if case.is_open:  # N = think + s + v s load / (1 - load), load = (C - 1) s / N
        v = np.minimum(square / 2, 1.0)
        # more arrive in a full step than in others, by how much longer it takes
        busy = (busy - full) * longer / (1 + load * (longer - 1))
        # behind others a prompt ends anywhere in a step, so it is in half a step more than it takes
        unhindered, rest = think + full + load * (full + 0.5 - own), v * full * busy
    else:  # by Little's law and the arrival theorem: (N - think - (1 - v) s) (N - C s) = v s think
        v = np.minimum(square / 2 * _varied(case.lengths) * np.maximum(slots - 1, 0.0) / slots, 1.0)
        unhindered, rest = think + (1 - v) * full, v * full * think
    steps = (unhindered + busy + np.sqrt((unhindered - busy) ** 2 + 4 * rest)) / 2
    return np.maximum(steps, slots * (case.lengths.prompt + made) / case.limits.most_tokens), busy


def _longer(case: Case, slots: Array) -> Array:
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


def bunch_of(case: Case, slots: Array) -> Array:
    """Return how many prompts that began together are computed in one step, at least one."""
    fitting = np.floor(case.limits.most_tokens / case.lengths.prompt + 1e-9)
    return np.maximum(np.minimum(fitting, slots), 1.0)
