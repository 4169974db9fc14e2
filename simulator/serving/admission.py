"""Prompts, in time: which requests are admitted, the chunks of their prompts, and who gives blocks back."""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush

from simulator.serving.decoding import Decoding
from simulator.serving.log import Log
from simulator.serving.policy import Policy
from simulator.serving.step_costs import StepCosts
from simulator.serving.waiting import Urgent


class Admission(Decoding):
    """The waiting requests of a lane, and those whose prompts are being computed."""

    def __init__(self, costs: StepCosts, policy: Policy, prompt: list[int], generate: list[int], log: Log) -> None:
        super().__init__(costs, policy, prompt, generate, log)
        self.reserve, self.whole = policy.reserve, policy.whole
        self.longest = policy.longest_chunk or policy.most_tokens
        self.priority: list[int] | None = None
        self.waiting: deque[int] | Urgent = deque()
        self.filled: dict[int, int] = {}  # tokens of a filling request whose keys and values are there
        self.planned: dict[int, int] = {}  # of them, those that this step computes
        self.refund = 0  # tokens of this step's budget that those who gave way leave
        self.kept: dict[int, int] = {}  # of a waiting request: tokens whose keys and values come with it
        self.swapped: set[int] = set()  # those that come from the host's memory
        self.running: list[tuple[int, int, int]] = []  # (priority, admission, request) by who gives way last; some left
        self.admissions = 0
        self.queued = 0  # tokens to be computed before the next token of every waiting request
        self.lost = False  # whether this step took blocks from a request: then none is admitted
        self.stepping = 0  # tokens of each decode in this step for which it holds blocks already

    def _need(self, request: int) -> int:
        """Return the tokens whose keys and values must be there before the next token of a request is made."""
        return self.prompt[request] + self.made.get(request, 0)

    def _admissible(self, budget: int) -> bool:
        """Return whether the first waiting request can be admitted now."""
        policy = self.policy
        if not self.waiting or budget <= 0 or self.decodes + len(self.filling) >= policy.most_requests:
            return False
        request = self.waiting[0]
        need, start, shared = self._need(request), self.kept.get(request, 0) if self.kept else 0, 0
        if self.cache is not None and not start:
            self.cache.settle(self.free)
            units, idle = self.cache.find(self.prefix[request], self._units(request, need - 1))
            start, shared = units * self.unit_tokens, (units - idle) * self.cache.unit
        if start == need - 1 and request in self.made:
            if budget < self.verified:
                return False
            need = start + self.verified
        elif not self.whole:
            need = min(need, start + min(budget, self.longest))
        reserve = self.reserve if self.decodes or self.filling else 0
        return self.free - self.blocks_of(need) + shared >= reserve

    def _mixed(self, with_decodes: bool) -> bool:
        """Make one step of chunks of prompts, beside the decodes or alone."""
        budget = self.policy.most_tokens
        if with_decodes:
            while self.decodes and self._needed() > self.free:
                self._preempt()
            self.free -= self._needed()
            self.stepping = self.verified
            budget -= self.decodes * self.verified
        chunks = self._chunks(budget)
        self.stepping = 0
        self.planned.clear()
        decodes = self.decodes if with_decodes else 0
        if not chunks and not decodes:
            return False
        self._pass(chunks, decodes)
        ended = False
        if decodes:
            self._progress()
            ended = self._ends()
        else:
            self._ended.clear()
        for request, _ in chunks:
            if self.cache is not None:
                self._share(request)
            if self.filled[request] == self._need(request):
                ended = self._ready(request) or ended
        return ended

    def _pass(self, chunks: list[tuple[int, int]], decodes: int) -> None:
        """Let the time of one step pass."""
        costs, filled, ready = self.costs, self.filled, []
        tokens, took, joules = decodes * self.verified, self.moved * self.block_ticks, 0.0
        self.moved = 0
        outputs = tokens
        for request, chunk in chunks:
            tokens += chunk
            ticks, energy_j = costs.chunk_costs(chunk, filled[request] - chunk)
            took += ticks
            joules += energy_j
            if filled[request] == self._need(request):
                ready.append(request)
        outputs += len(ready)
        took += costs.work[tokens] + costs.sampling[outputs]
        joules += costs.work_j[tokens] + costs.sampling_j[outputs]
        if decodes:
            ticks, _, _, energy_j, _ = costs.pieces(decodes, self.base + decodes * self.step)
            took += ticks + self.draft_ticks
            joules += energy_j + self.draft_j
        self._readied = ready
        self._account(1, took, 0, decodes, tokens, joules, 0.0)

    def _chunks(self, budget: int) -> list[tuple[int, int]]:
        """Return (request, tokens) of this step: prompts that were begun, then those that can be admitted."""
        chunks: list[tuple[int, int]] = []
        for request in list(self.filling):
            if budget <= 0:
                break
            if request not in self.number:
                continue
            chunk = min(self._need(request) - self.filled[request], budget, self.longest)
            self.refund = 0
            if self._grow(request, chunk):
                chunks.append((request, chunk))
                budget -= chunk
            budget += self.refund
        if self.lost:
            return [(r, c) for r, c in chunks if r in self.number]
        while self._admissible(budget):
            request = self._admit()
            filled, need = self.filled[request], self._need(request)
            if filled == need - 1 and request in self.made:
                budget -= self._resume(request)
                continue
            chunk = min(need - filled, budget, self.longest)
            self._hold(request, filled + chunk)
            self.filled[request] = filled + chunk
            chunks.append((request, chunk))
            budget -= chunk
        return chunks

    def _admit(self) -> int:
        """Take the first waiting request in, with what keys and values come with it or are here."""
        request = self.waiting.popleft()
        self.admissions += 1
        self.number[request] = self.admissions
        if self.priority is None:
            self.running.append((0, self.admissions, request))
        else:
            heappush(self.running, (-self.priority[request], -self.admissions, request))
        self.filling.append(request)
        kept = self.kept.pop(request, 0)
        self.queued -= self._need(request) - kept
        if request in self.swapped:
            self.swapped.discard(request)
            self.moved += self.blocks_of(kept)
        if self.cache is not None and not kept:
            kept = self._reuse(request)
        self.filled[request] = kept
        if self.log.admitted[request] < 0:
            self.log.admitted[request] = self.now
        return request

    def _reuse(self, request: int) -> int:
        """Use the blocks of its prompt that are cached; returns their tokens. `_admissible` has settled the cache."""
        assert self.cache is not None
        ids = self.prefix[request]
        units, idle = self.cache.find(ids, self._units(request, self._need(request) - 1))
        if units:
            self.cache.take(ids[:units])
            self.free -= idle * self.cache.unit
            self.units[request] = units
            self.log.hit[request] += units * self.unit_tokens
        return units * self.unit_tokens

    def _share(self, request: int) -> None:
        """Put the blocks of a prompt that are complete into the cache."""
        assert self.cache is not None
        begin, end = self.units.get(request, 0), self._units(request, self.filled[request])
        if begin < end:
            self.cache.settle(self.free)
            ids = self.prefix[request]
            self.free += sum(self.cache.add(ids[i]) for i in range(begin, end)) * self.cache.unit
            self.units[request] = end

    def _units(self, request: int, tokens: int) -> int:
        """Return how many whole blocks of its prefix lie in the first `tokens` tokens of a request."""
        return min(len(self.prefix[request]), min(tokens, self.prompt[request]) // self.unit_tokens)

    def _resume(self, request: int) -> int:
        """Let an admitted request with all its keys and values decode; returns the tokens it computes in this step."""
        self.filling.remove(request)
        self._hold(request, self.filled.pop(request) + self.stepping)
        self._begin_decoding(request, self.made[request])
        return self.stepping

    def _hold(self, request: int, tokens: int) -> None:
        """Give a request the blocks of so many tokens, but for those that it shares."""
        self.free -= self.blocks_of(tokens)
        if self.cache is not None:
            self.free += self.units.get(request, 0) * self.cache.unit

    def _grow(self, request: int, chunk: int) -> bool:
        """Give a prompt the blocks of its next chunk, taking them from others; False if it lost its own."""
        need = self.blocks_of(self.filled[request] + chunk) - self.blocks_of(self.filled[request])
        while need > self.free:
            if self._preempt() == request:
                return False
        self.free -= need
        self.filled[request] += chunk
        self.planned[request] = chunk
        return True

    def _ready(self, request: int) -> bool:
        """Note the token that ends a prompt; the request decodes from now on, or is done."""
        made = self.made.get(request, 0) + 1
        need = self._need(request)
        self.filling.remove(request)
        del self.filled[request]
        if self.log.first_token[request] < 0:
            self.log.first_token[request] = self.now
        if made == self.generate[request]:
            self._give_back(request, need)
            self._finish(request)
            return True
        self._begin_decoding(request, made)
        return False

    def _preempt(self) -> int:
        """Take the blocks of the least urgent request, the last admitted of those; it waits before all of its kind."""
        if self.cache is not None:
            self.cache.settle(0)
        while True:
            _, admission, request = self.running.pop() if self.priority is None else heappop(self.running)
            if self.number.get(request) == abs(admission):
                break
        del self.number[request]
        if request in self.place:
            made = self.made_of(request)
            tokens = self.prompt[request] + made - 1
            self._give_back(request, tokens + self.stepping)
            self.refund += self.stepping
            self._leave_decoding(request)
            self.made[request] = made
        else:
            tokens = self.filled.pop(request)
            self._give_back(request, tokens)
            unspent = self.planned.pop(request, 0)
            tokens -= unspent
            self.refund += unspent
            self.filling.remove(request)
        self._drop_stale()
        self.lost = True
        self.waiting.appendleft(request)
        self.queued += self._need(request)
        self.log.preempted[request] += 1
        if self.policy.preemption == "swap":
            self.kept[request] = tokens
            self.swapped.add(request)
            self.moved += self.blocks_of(tokens)
            self.queued -= tokens
        return request

    def _clear(self) -> None:
        super()._clear()
        for emptied in (self.waiting, self.filled, self.kept, self.swapped, self.running):
            emptied.clear()
        self.queued = self.moved = 0
