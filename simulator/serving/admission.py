"""Prompts, in time: which requests are admitted, the chunks of their prompts, and who gives blocks back."""

from __future__ import annotations

from simulator.serving.decoding import Decoding
from simulator.serving.log import Log
from simulator.serving.policy import Policy
from simulator.serving.step_costs import StepCosts


class Admission(Decoding):
    """The waiting requests of a lane, and those whose prompts are being computed."""

    def __init__(self, costs: StepCosts, policy: Policy, prompt: list[int], generate: list[int], log: Log) -> None:
        super().__init__(costs, policy, prompt, generate, log)
        self.reserve, self.whole = policy.reserve, policy.whole
        self.filled: dict[int, int] = {}  # tokens of a filling request whose keys and values are there
        self.kept: dict[int, int] = {}  # of a waiting request: tokens whose keys and values come with it
        self.running: list[tuple[int, int]] = []  # (admission, request), the last admitted last; some have left
        self.admissions = 0
        self.queued = 0  # tokens to be computed before the next token of every waiting request
        self.lost = False  # whether this step took blocks from a request: then none is admitted
        self.stepping = False  # whether the decodes hold the blocks of the tokens that this step makes

    def _need(self, request: int) -> int:
        """Return the tokens whose keys and values must be there before the next token of a request is made."""
        return self.prompt[request] + self.made.get(request, 0)

    def _admissible(self, budget: int) -> bool:
        """Return whether the first waiting request can be admitted now."""
        policy = self.policy
        if not self.waiting or budget <= 0 or self.decodes + len(self.filling) >= policy.most_requests:
            return False
        request = self.waiting[0]
        need, start = self._need(request), self.kept.get(request, 0) if self.kept else 0
        blocks = self.blocks_of(need if self.whole else min(need, start + budget))
        reserve = self.reserve if self.decodes or self.filling else 0
        return self.free - blocks >= reserve

    def _mixed(self, with_decodes: bool) -> bool:
        """Make one step of chunks of prompts, beside the decodes or alone."""
        policy, costs = self.policy, self.costs
        budget, self.stepping = policy.most_tokens, with_decodes
        if with_decodes:
            needed = self._needed()
            while self.decodes and needed > self.free:
                self.stepping = False
                self._preempt()
                needed = self._needed()
            self.stepping = True
            self.free -= needed
            budget -= self.decodes
        chunks = self._chunks(budget)
        self.stepping = False
        decodes = self.decodes if with_decodes else 0
        if not chunks and not decodes:
            return False
        cached = self.base + decodes * self.step if decodes else 0
        filled, ready, tokens, took, joules = self.filled, [], decodes, 0, 0.0
        for request, chunk in chunks:
            tokens += chunk
            ticks, energy_j = costs.chunk_costs(chunk, filled[request] - chunk)
            took += ticks
            joules += energy_j
            if filled[request] == self._need(request):
                ready.append(request)
        outputs = decodes + len(ready)
        took += costs.work[tokens] + costs.sampling[outputs]
        joules += costs.work_j[tokens] + costs.sampling_j[outputs]
        if decodes:
            ticks, _, _, energy_j, _ = costs.pieces(decodes, cached)
            took += ticks
            joules += energy_j
        self._readied = ready
        self._account(1, took, 0, decodes, tokens, decodes, joules, 0.0)
        if decodes:
            self.step += 1
        ended = self._ends()
        for request in ready:
            ended = self._ready(request) or ended
        return ended

    def _chunks(self, budget: int) -> list[tuple[int, int]]:
        """Return (request, tokens) of this step: prompts that were begun, then those that can be admitted."""
        chunks: list[tuple[int, int]] = []
        for request in list(self.filling):
            if budget <= 0:
                break
            chunk = min(self._need(request) - self.filled[request], budget)
            if self._grow(request, chunk):
                chunks.append((request, chunk))
                budget -= chunk
            elif request in self.number:
                break
        if self.lost:
            return [(r, c) for r, c in chunks if r in self.number]
        while self._admissible(budget):
            request = self._admit()
            if self.made.get(request) and self.filled[request] == self._need(request) - 1:
                budget -= self._resume(request)
                continue
            chunk = min(self._need(request) - self.filled[request], budget)
            self.free -= self.blocks_of(self.filled[request] + chunk)
            self.filled[request] += chunk
            chunks.append((request, chunk))
            budget -= chunk
        return chunks

    def _admit(self) -> int:
        """Take the first waiting request in, with what keys and values come with it."""
        request = self.waiting.popleft()
        self.admissions += 1
        self.number[request] = self.admissions
        self.running.append((self.admissions, request))
        self.filling.append(request)
        self.filled[request] = kept = self.kept.pop(request, 0)
        self.queued -= self._need(request) - kept
        if self.log.admitted[request] < 0:
            self.log.admitted[request] = self.now
        return request

    def _resume(self, request: int) -> int:
        """Let an admitted request with all its keys and values decode; returns the tokens it makes in this step."""
        tokens = self.filled.pop(request)
        self.filling.remove(request)
        self.free -= self.blocks_of(tokens + self.stepping)
        self._begin_decoding(request, self.made[request])
        return int(self.stepping)

    def _grow(self, request: int, chunk: int) -> bool:
        """Give a prompt the blocks of its next chunk, taking them from the last admitted; False if it lost its own."""
        if request not in self.number:
            return False
        need = self.blocks_of(self.filled[request] + chunk) - self.blocks_of(self.filled[request])
        while need > self.free:
            victim = self._preempt()
            if victim == request:
                return False
        self.free -= need
        self.filled[request] += chunk
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
        """Take the blocks of the request that was admitted last; it waits at the front, to be computed anew."""
        while True:
            admission, request = self.running.pop()
            if self.number.get(request) == admission:
                break
        del self.number[request]
        if request in self.place:
            made = self.generate[request] - (self.place[request][0] - self.step)
            self._give_back(request, self.prompt[request] + made - 1 + self.stepping)
            self._leave_decoding(request)
            self.made[request] = made
        else:
            self._give_back(request, self.filled.pop(request))
            self.filling.remove(request)
        self._drop_stale()
        self.lost = True
        self.waiting.appendleft(request)
        self.queued += self._need(request)
        self.log.preempted[request] += 1
        return request

    def _clear(self) -> None:
        super()._clear()
        self.filled.clear()
        self.kept.clear()
        self.running.clear()
        self.queued = 0
