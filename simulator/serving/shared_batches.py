"""Attention of batches that are not uniform: decodes beside chunks of prompts, and contexts of unequal length.

Step costs add up a batch's attention: that of its decodes, all of their mean length, and that of each chunk. One kernel
computes them together (FlashAttention 2 over a paged cache), and where chunks are in the batch it neither packs the
heads that share keys nor splits long contexts, so decodes cost up to twice as much beside a chunk; and a batch waits
for its longest context. Both are measured by profilers that time such batches; a lane that is given them keeps two
sets of costs: of steps of decodes alone, and of steps with chunks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foundation.errors import BadValueError
from simulator.clock import PICOSECONDS_PER_SECOND
from simulator.serving.replica import Log, Policy, Replica
from simulator.serving.step_costs import StepCosts, Table
from workloads.table import Array

SAMPLES = 400
"""Moments of a run at which the contexts in flight are looked at."""


@dataclass(frozen=True)
class Tail:
    """How much of the way from a batch of its mean context to one of its longest a batch costs.

    `shares[i]` are the shares at `ratios[i]` (longest over mean context, ascending) of batches of `decodes[i]`.
    """

    decodes: Array
    ratios: tuple[Array, ...]
    shares: tuple[Array, ...]

    def at(self, decodes: Array, ratio: Array) -> Array:
        """Return the share, linear in the ratio and in the logarithm of the decodes; none of a single decode."""
        every = np.stack([np.interp(ratio, r, s) for r, s in zip(self.ratios, self.shares, strict=True)])
        place = np.interp(np.log(decodes), np.log(self.decodes), np.arange(len(self.decodes), dtype=float))
        low = np.minimum(place.astype(int), len(self.decodes) - 1)
        high, here = np.minimum(low + 1, len(self.decodes) - 1), np.arange(len(decodes))
        share = every[low, here] * (1 - (place - low)) + every[high, here] * (place - low)
        return np.where(decodes > 1, np.maximum(share, 0.0), 0.0)


@dataclass(frozen=True)
class Mixing:
    """What was measured of mixed batches, of one layer.

    `beside_s` are the seconds that `decodes` requests with `contexts` cached tokens each add to the attention of a
    chunk, shape (decodes, contexts); `alone` and `beside` say what unequal contexts cost without and with a chunk.
    """

    decodes: Array
    contexts: Array
    beside_s: Array
    alone: Tail
    beside: Tail


@dataclass(frozen=True)
class SharedCosts:
    """Costs of steps of decodes alone, and of steps that compute chunks of prompts too."""

    alone: StepCosts
    beside: StepCosts


def shared_costs(
    costs: StepCosts, layers: int, mixing: Mixing, longest_over_mean: Callable[[Array], Array]
) -> SharedCosts:
    """Return step costs with the attention of mixed batches.

    Args:
        costs: of uniform batches.
        layers: layers of attention in the network.
        longest_over_mean: the longest context over the mean one in batches of so many decodes.
    """
    decodes, contexts = np.arange(1.0, costs.most_decodes + 1), costs.contexts.astype(float)
    ticks = [[costs.decode_ticks(int(n), round(n * c)) for c in contexts] for n in decodes]
    even = np.array(ticks) / PICOSECONDS_PER_SECOND
    ratio = np.maximum(longest_over_mean(decodes), 1.0)

    def alone(context: Array) -> Array:
        return np.stack([_line(contexts, even[i], context[i]) for i in range(len(decodes))])

    def beside(context: Array) -> Array:
        columns = np.stack([_line(mixing.contexts.astype(float), row, context) for row in mixing.beside_s])
        flat = columns.reshape(len(mixing.decodes), -1)
        which = np.repeat(np.arange(len(decodes)), context.shape[1])
        low = np.clip(np.searchsorted(mixing.decodes, decodes, side="right") - 1, 0, len(mixing.decodes) - 2)
        share = (decodes - mixing.decodes[low]) / (mixing.decodes[low + 1] - mixing.decodes[low])
        cells = np.arange(flat.shape[1])
        below, above = flat[low[which], cells], flat[low[which] + 1, cells]
        found = below * (1 - share[which]) + above * share[which]
        return np.asarray(layers * np.maximum(found, 0.0).reshape(context.shape))

    def uneven(cost: Callable[[Array], Array], tail: Tail) -> Array:
        mean = cost(np.broadcast_to(contexts, even.shape))
        longest = cost(contexts[None, :] * ratio[:, None])
        return np.asarray(mean + tail.at(decodes, ratio)[:, None] * np.maximum(longest - mean, 0.0))

    return SharedCosts(
        _with_decode(costs, uneven(alone, mixing.alone)), _with_decode(costs, uneven(beside, mixing.beside))
    )


def _line(points: Array, values: Array, at: Array) -> Array:
    """Return values linear between points, and beyond the last as between the last two."""
    slope = (values[-1] - values[-2]) / (points[-1] - points[-2])
    return np.asarray(np.interp(at, points, values) + slope * np.maximum(at - points[-1], 0.0))


def _with_decode(costs: StepCosts, decode: Array) -> StepCosts:
    """Return the same costs with other seconds of the decodes' attention, shape (decodes, contexts)."""
    chunk = [[costs.chunk_ticks(int(c), int(b)) for b in costs.before] for c in costs.chunks]
    work, sampling, chunk_s = (
        np.array(ticks) / PICOSECONDS_PER_SECOND for ticks in (costs.work, costs.sampling, chunk)
    )
    table = Table(work, sampling, np.vstack([np.zeros(decode.shape[1]), decode]), chunk_s)
    return StepCosts(table, costs.energy, costs.contexts, costs.chunks, costs.before)


def lengths_in_flight(prompt: Array, generate: Array, log: Log) -> Callable[[Array], Array]:
    """Return the longest over the mean context in batches of so many decodes, as a run had them.

    Contexts grow evenly from a request's first token to its last. The ratio is fitted as a line over the logarithm of
    the decodes.

    Raises:
        BadValueError: no two requests of the run decoded at a time.
    """
    first, done = (np.array(ticks, dtype=float) for ticks in (log.first_token, log.done))
    moments = np.linspace(first.min(), done.max(), SAMPLES + 2)[1:-1]
    there = (first < moments[:, None]) & (done > moments[:, None])
    share = (moments[:, None] - first) / np.maximum(done - first, 1.0)
    context = np.where(there, prompt + (generate - 1) * share, 0.0)
    count = there.sum(axis=1)
    kept = count > 1
    if not kept.any():
        raise BadValueError("No two requests of the run decoded at a time, so batches have no spread of lengths.")
    ratio = context.max(axis=1)[kept] * count[kept] / context.sum(axis=1)[kept]
    size = np.log(count[kept])
    slope, level = np.polyfit(size, ratio, 1) if np.ptp(size) > 0 else (0.0, float(ratio.mean()))
    return lambda decodes: np.maximum(level + slope * np.log(decodes), 1.0)


class SharedLane(Replica):
    """A lane whose steps with chunks have costs of their own, and whose preempted requests find blocks again.

    vLLM's prefix cache keeps the blocks of a preempted request until others take them, those of its end first (blocks
    are freed in reverse and taken from the front of a queue: vllm/v1/core/block_pool.py); what is left of them when the
    request is admitted again is not computed anew.
    """

    def __init__(
        self, costs: SharedCosts, policy: Policy, prompt: list[int], generate: list[int], log: Log, *,
        finds_blocks: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(costs.alone, policy, prompt, generate, log)
        self.shared, self.finds_blocks = costs, finds_blocks
        self.returned = self.found = 0  # blocks given back so far, and those found again
        self.left: dict[int, tuple[int, int, int]] = {}  # of a preempted request: blocks, taken before, free before

    @property
    def taken(self) -> int:
        """Blocks that were taken from the front of the queue of free ones so far."""
        return self.returned - self.found + self.policy.blocks - self.free

    def _mixed(self, with_decodes: bool) -> bool:
        self.costs = self.shared.beside
        try:
            return super()._mixed(with_decodes)
        finally:
            self.costs = self.shared.alone

    def _give_back(self, request: int, tokens: int) -> None:
        self.returned += self.blocks_of(tokens)
        super()._give_back(request, tokens)

    def _preempt(self) -> int:
        free = self.free
        request = super()._preempt()
        if self.finds_blocks:
            self.left[request] = (self.free - free, self.taken, free)
        return request

    def _admit(self) -> int:
        request = self.waiting[0]
        if request in self.left:
            held, taken, free = self.left.pop(request)
            gone = min(max(self.taken - taken - free, 0), held)
            full = min(held - gone, (self._need(request) - 1) // self.policy.block_tokens)
            if full > 0:
                self.found += full
                self.kept[request] = full * self.policy.block_tokens
                self.queued -= self.kept[request]
        return super()._admit()
