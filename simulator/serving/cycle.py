"""What one request's life costs: steps of decodes alone, and steps that carry prompts of its own and of others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.serving.loads import Case
from simulator.serving.step_counts import Counts, bunch_of
from workloads.table import Array

NODES = 16
"""Numbers of prompts in one step over which its cost is averaged."""
CHUNKS = 16
"""Chunks of a prompt that are summed one by one; of more, so many are, linear between them."""
SPILL = 3.0
"""Of k prompts that began together but do not fit beside the decodes, this over k^2 wait a step (estimated, 1 to 4)."""
_HERMITE_X, _HERMITE_W = np.polynomial.hermite_e.hermegauss(NODES)
_HERMITE_W = _HERMITE_W / _HERMITE_W.sum()


@dataclass(frozen=True)
class Cycle:
    """One request's life: costs (candidates, 6) of the whole, of what precedes its first token, of a step left over."""

    life: Array
    first: Array
    residual: Array
    steps: Array

    @staticmethod
    def of(case: Case, slots: Array) -> Cycle:
        counts = Counts.of(case, slots)
        profile, engine, generate = case.profile, case.engine, case.lengths.generate
        start, more = case.lengths.attended - generate / 2, np.maximum(generate - 1, 1e-9)
        pure = profile.work_of(engine, slots) + profile.sampling_of(engine, slots)
        pure = pure + profile.attention_of(engine, slots, start, more)
        ready = slots / counts.mixed
        beside = profile.sampling_of(engine, counts.decodes + ready)
        beside = beside + profile.attention_of(engine, counts.decodes, start, more)
        chunks, every, own = prompt_costs(case, slots, counts)
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
        return Cycle(life, first, squares / np.maximum(2 * life, 1e-300), counts.steps)


def prompt_costs(case: Case, slots: Array, counts: Counts) -> tuple[Array, Array, Array]:
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
    bunch = bunch_of(case, slots)[:, None]
    spills = np.where(fits & (bunch * counts.prompts > budget), case.lengths.together[:, None] * SPILL / bunch**2, 0.0)
    waits = np.maximum(counts.filling - (counts.weight * steps).sum(axis=1), 0.0)[:, None, None]
    small, mine = _together(case, slots, counts, budgeted)
    weight, fits = counts.weight[..., None], fits[..., None]
    every = (weight * np.where(fits, small * (1 - behind) + budgeted * packed * behind, large)).sum(axis=1)
    mine = mine * (1 - behind) + budgeted * (behind + spills[..., None])
    own = (weight * (np.where(fits, mine, large) + waits * budgeted)).sum(axis=1)
    return (weight * _chunk_sums(case, counts)).sum(axis=1), every, own


def _together(case: Case, slots: Array, counts: Counts, budgeted: Array) -> tuple[Array, Array]:
    """Return work (n, points, 6) of a prompt's share of the steps, and of its own step, where prompts fit one step.

    Of the other slots each starts in the same step with probability 1 / steps.
    """
    others = (slots - 1)[:, None]
    number, chance = _binomial(others, 1.0 / counts.steps[:, None])
    alike, one = case.lengths.together[:, None] > 0, np.arange(NODES) == 0
    number, chance = np.where(alike, bunch_of(case, slots)[:, None] - 1, number), np.where(alike, one, chance)
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


def _chunk_sums(case: Case, counts: Counts) -> Array:
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
