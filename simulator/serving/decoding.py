"""Decoding, in time: every step gives a token to each decode, and steps that differ in nothing else are one event.

Between two changes of the batch the sum of the steps is a closed form. Decodes are kept by the step at which they end,
so a step costs the same however many there are.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush

import numpy as np

from simulator.clock import PICOSECONDS_PER_SECOND
from simulator.serving.log import Log
from simulator.serving.policy import Policy
from simulator.serving.prefix_cache import PrefixCache
from simulator.serving.step_costs import StepCosts
from simulator.serving.waiting import Urgent

NEVER = 2**63 - 1


class Decoding:
    """The state of a lane, and its decodes."""

    def __init__(self, costs: StepCosts, policy: Policy, prompt: list[int], generate: list[int], log: Log) -> None:
        self.costs, self.policy, self.log = costs, policy, log
        self.prompt, self.generate = prompt, generate
        self.now = 0
        self.free = policy.blocks
        self.waiting: deque[int] | Urgent = deque()
        self.filling: list[int] = []
        self.decoding: list[tuple[int, int, int]] = []  # heap of (step of its end, admission, request)
        self.decodes = 0
        self.step = 0
        self.base = 0  # sum over decodes of (tokens attended in the next step - step)
        self.classes = [0] * policy.block_tokens  # decodes by that difference, modulo the tokens of a block
        self.place: dict[int, tuple[int, int]] = {}  # of a decode: (end step, attended - step)
        self.made: dict[int, int] = {}  # tokens generated before the request began to wait or to decode
        self.number: dict[int, int] = {}  # of a running request: its admission
        self.speculation = policy.speculation
        self.verified, self.draft_ticks, self.draft_j, self.rounds = 1, 0, 0.0, 0
        if policy.speculation is not None:
            self.verified = policy.speculation.verified
            self.draft_ticks, self.draft_j = policy.speculation.draft_ticks, policy.speculation.draft_j
        self.random: np.random.Generator | None = None
        self.cache: PrefixCache | None = None
        self.prefix: Sequence[Sequence[int]] = ()
        self.unit_tokens = 1
        self.units: dict[int, int] = {}  # of a running request: blocks of its prefix that it shares
        self.moved = 0  # blocks that went to the host's memory or came from it, in no step yet
        self.block_ticks = round(policy.swap_s_per_block * PICOSECONDS_PER_SECOND)
        self.busy = 0
        self.tokens = 0
        self.energy_j = 0.0
        self.lane = 0
        self._ended: list[tuple[int, int, int]] = []  # (admission, request, end) of decodes that ended in the last turn
        self._readied: list[int] = []  # requests whose prompt ended in the last turn
        self._before = 0  # the step that the decodes were at before the last step of the last turn
        self._made_before: dict[int, int] = {}  # the same for each decode, where progress is drawn
        self._last = (0, 0, 0, 0, 0.0)  # of the last turn: ticks of its last step, steps, tokens, decodes, joules
        self._segment = -1  # of the log: the last of this lane

    def blocks_of(self, tokens: int) -> int:
        return -(-tokens // self.policy.block_tokens)

    def _needed(self) -> int:
        """Return the blocks that the decodes need for their next step."""
        if self.verified > 1:
            return self._blocks_for(self.verified)
        return self.classes[(1 - self.step) % self.policy.block_tokens]

    def _decode(self, until: int, most: int) -> bool:
        """Make steps of the decodes alone, as many as are equal but for one more token each."""
        decodes, costs = self.decodes, self.costs
        cached = self.base + decodes * self.step
        attention, slope, last, joules, slope_j = costs.pieces(decodes, cached)
        first = costs.work[decodes] + costs.sampling[decodes] + attention + self.moved * self.block_ticks
        self.moved = 0
        more = slope * decodes
        steps = min(self.decoding[0][0] - self.step, -(-(last - cached) // decodes), self._steps_with_blocks(), most)
        if until < NEVER:
            steps = min(steps, _steps_until(until - self.now, first, more, steps))
        self.free -= self._blocks_for(steps)
        joules += costs.work_j[decodes] + costs.sampling_j[decodes]
        self._readied = []
        self._account(steps, first, more, decodes, decodes, joules, slope_j * decodes)
        self.step += steps
        self._before = self.step - 1
        return self._ends()

    def _steps_with_blocks(self) -> int:
        """Return how many steps the free blocks last, at least one (that many are free now).

        While a request waits for blocks, they last until the first idle one of the prefix cache would be evicted: that
        one may be its own.
        """
        width, decodes, free = self.policy.block_tokens, self.decodes, self.free
        if self.cache is not None and self.cache.idle and self.waiting and decodes < self.policy.most_requests:
            self.cache.settle(free)
            free -= len(self.cache.idle) * self.cache.unit
        cycles = free // decodes  # in `width` steps every decode needs one block
        left, steps = free - cycles * decodes, cycles * width
        if cycles > 1000:
            return steps
        for j in range(width):
            left -= self.classes[(1 - self.step - j) % width]
            if left < 0:
                break
            steps += 1
        return max(steps, 1)

    def _blocks_for(self, tokens: int) -> int:
        """Return the blocks that the next so many tokens of every decode need."""
        width = self.policy.block_tokens
        cycles, rest = divmod(tokens, width)
        needed = cycles * self.decodes
        for j in range(rest):
            needed += self.classes[(1 - self.step - j) % width]
        return needed

    def _progress(self) -> None:
        """Give every decode the tokens of the step just made; it holds the blocks of all that it computed."""
        self._before = self.step
        if self.speculation is None:
            self.step += 1
            return
        if self.cache is not None:
            self.cache.settle(self.free)
        self.free += self._blocks_for(self.verified)
        if self.random is None:
            gain = self.speculation.gain(self.rounds)
            self.rounds += 1
            self.free -= self._blocks_for(gain)
            self.step += gain
            return
        self._made_before = {request: self.made_of(request) for request in self.place}
        gains = self.speculation.draw(self.random, self.decodes)
        self.step += 1
        for (request, (end, offset)), gain in zip(list(self.place.items()), gains, strict=True):
            held = self.step - 1 + offset - 1
            self.free -= self.blocks_of(held + gain) - self.blocks_of(held)
            if gain > 1:
                self._shift(request, end, offset, gain - 1)

    def _shift(self, request: int, end: int, offset: int, tokens: int) -> None:
        """Let a decode be ahead of the others by so many tokens."""
        width = self.policy.block_tokens
        self.place[request] = (end - tokens, offset + tokens)
        self.base += tokens
        self.classes[offset % width] -= 1
        self.classes[(offset + tokens) % width] += 1
        heappush(self.decoding, (end - tokens, self.number[request], request))

    def made_of(self, request: int) -> int:
        """Return the tokens of its answer that a request here has made."""
        if request in self.place:
            return self.generate[request] - (self.place[request][0] - self.step)
        return self.made.get(request, 0)

    def _begin_decoding(self, request: int, made: int) -> None:
        """Let a request that has made so many tokens decode; it holds the blocks of all but the last of them."""
        offset = self.prompt[request] + made - self.step
        end = self.step + self.generate[request] - made
        self.made[request] = made
        self.place[request] = (end, offset)
        self.base += offset
        self.classes[offset % self.policy.block_tokens] += 1
        self.decodes += 1
        heappush(self.decoding, (end, self.number[request], request))

    def _ends(self) -> bool:
        """Let go of the decodes whose last token was just made."""
        heap, ended = self.decoding, self._ended
        ended.clear()
        while heap and heap[0][0] <= self.step:
            end, admission, request = heappop(heap)
            if self.number.get(request) != admission or self.place[request][0] != end:
                continue  # it was preempted meanwhile, or is ahead of where it was
            held = self.step + self.place[request][1] - 1
            self._leave_decoding(request)
            ended.append((admission, request, end))
            self._give_back(request, held)
            self._finish(request)
        self._drop_stale()
        return bool(ended)

    def _drop_stale(self) -> None:
        heap = self.decoding
        while heap and (self.number.get(heap[0][2]) != heap[0][1] or heap[0][2] not in self.place):
            heappop(heap)

    def _leave_decoding(self, request: int) -> None:
        _, offset = self.place.pop(request)
        self.base -= offset
        self.classes[offset % self.policy.block_tokens] -= 1
        self.decodes -= 1

    def _give_back(self, request: int, tokens: int) -> None:
        """Take the blocks of a request that holds so many tokens."""
        if self.cache is not None:
            self.cache.settle(self.free)
            units = self.units.pop(request, 0)
            self.free += (self.cache.release(self.prefix[request][:units]) - units) * self.cache.unit
        self.free += self.blocks_of(tokens)

    def _finish(self, request: int) -> None:
        del self.number[request]
        self.made.pop(request, None)
        self.log.done[request] = self.now

    def _account(
        self, steps: int, first: int, more: int, decodes: int, tokens: int, joules: float, more_j: float
    ) -> None:
        """Let so many steps pass: the first takes `first` ticks and `joules`, each one more by `more` and `more_j`."""
        pairs = steps * (steps - 1) // 2
        took, energy_j = steps * first + more * pairs, steps * joules + more_j * pairs
        segments, log = self.log.segments, self.log
        if segments is not None:
            running = self.decodes + len(self.filling)
            blocks = self.policy.blocks - self.free
            segments.cells.extend(
                (self.now, steps, first, more, decodes, tokens, running, len(self.waiting), blocks, self.lane)
            )
            self._segment = len(segments.energy_j)
            segments.energy_j.append(energy_j)
        self.now += took
        self.busy += took
        self.tokens += tokens * steps
        self.energy_j += energy_j
        log.energy_j += energy_j
        self._last = (first + more * (steps - 1), steps, tokens, decodes, joules + more_j * (steps - 1))

    def _cut(self, at: int) -> None:
        """Let the step in progress end at `at`, with nothing computed and the energy of so much of it."""
        took, steps, tokens, _, joules = self._last
        rest = self.now - at
        saved = joules * rest / took
        segments = self.log.segments
        if segments is not None:
            segments.cut(self._segment, steps, self.now - took, took - rest, joules, joules - saved)
        self.now = at
        self.busy -= rest
        self.tokens -= tokens
        self.energy_j -= saved
        self.log.energy_j -= saved

    def _clear(self) -> None:
        """Let go of every request, and of all keys and values."""
        for kept in (self.waiting, self.filling, self.decoding, self.place, self.made, self.number):
            kept.clear()
        self.units.clear()
        if self.cache is not None:
            self.cache.clear()
        self._ended.clear()
        self._readied = []
        self.decodes = self.base = 0
        self.classes = [0] * self.policy.block_tokens
        self.free = self.policy.blocks


def _steps_until(gap: int, first: int, more: int, most: int) -> int:
    """Return the least number of steps, at most `most`, whose sum is at least `gap` ticks."""
    if most <= 1 or first * most + more * (most * (most - 1) // 2) < gap:
        return most
    if more == 0:
        return max(1, min(most, -(-gap // max(first, 1))))
    half = first - more / 2
    guess = int((math.sqrt(half * half + 2.0 * more * gap) - half) / more)
    steps = max(1, min(most, guess))
    while steps > 1 and (steps - 1) * first + more * ((steps - 1) * (steps - 2) // 2) >= gap:
        steps -= 1
    while steps < most and steps * first + more * (steps * (steps - 1) // 2) < gap:
        steps += 1
    return steps
