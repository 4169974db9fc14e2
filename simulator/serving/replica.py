"""One engine that serves requests: continuous batching over a paged KV cache, as vLLM, SGLang and TensorRT-LLM do it.

Every step computes one token of each decoding request and, with what is left of the token budget, chunks of prompts, in
the order of admission; then waiting requests are admitted, first come first served, while there is room (Agrawal et al.
2024, Sarathi-Serve, algorithm 3; vLLM's scheduler since 0.8). Where blocks run out, the request admitted last gives its
blocks back and waits at the front to be computed anew (Kwon et al. 2023, section 4.5).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from foundation.errors import BadValueError
from simulator.serving.admission import Admission
from simulator.serving.decoding import NEVER
from simulator.serving.log import Log, Segment, Segments
from simulator.serving.policy import Policy
from simulator.serving.prefix_cache import PrefixCache, unit_of
from simulator.serving.step_costs import StepCosts
from simulator.serving.waiting import Urgent

__all__ = ["NEVER", "Log", "Policy", "Replica", "Segment", "Segments"]


class Replica(Admission):
    """One lane of an engine in time. `enqueue` hands it requests in the order of time, `advance` lets it work.

    Args:
        prompt, generate: tokens by request number; both lists may grow (and `log.grow` with them).
        lane: the number under which its segments are logged.
        priority: by request number, for the order 'priority'. prefix: ids of the blocks of `prefix_tokens` tokens with
            which each prompt begins, for a prefix cache. Both lists may grow.
        random: for a speculation that is drawn.

    Raises:
        BadValueError: what the policy asks for is not there, or the step costs do not reach as far.
    """

    def __init__(
        self, costs: StepCosts, policy: Policy, prompt: list[int], generate: list[int], log: Log, *, lane: int = 0,
        priority: list[int] | None = None, prefix: Sequence[Sequence[int]] | None = None, prefix_tokens: int = 512,
        random: np.random.Generator | None = None,
    ) -> None:  # fmt: skip
        if costs.most_tokens < policy.most_tokens or costs.most_decodes < policy.most_requests:
            raise BadValueError("The step costs do not reach as far as the policy's most_tokens and most_requests.")
        super().__init__(costs, policy, prompt, generate, log)
        self.lane = lane
        self._usual = costs
        self._draining = False  # a batch is decoded to its end
        self.abandoned: dict[int, int] = {}
        if policy.order == "priority" and priority is not None:
            self.priority, self.waiting = priority, Urgent(priority)
        if policy.prefix_cache and prefix is not None:
            self.prefix, self.unit_tokens = prefix, prefix_tokens
            self.cache = PrefixCache(unit_of(prefix_tokens, policy.block_tokens))
        if policy.speculation is not None and policy.speculation.drawn:
            if random is None:
                raise BadValueError("A speculation that is drawn needs a stream of random numbers.")
            self.random = random

    @property
    def load(self) -> int:
        """Return how many requests wait or run."""
        return len(self.waiting) + len(self.filling) + self.decodes

    @property
    def idle(self) -> bool:
        return not (self.waiting or self.filling or self.decodes)

    @property
    def tokens_waiting(self) -> int:
        """Return the tokens to be computed before every request here decodes (hits of a prefix cache count too)."""
        return self.queued + sum(self._need(request) - self.filled[request] for request in self.filling)

    @property
    def blocks_used(self) -> int:
        """Return the KV blocks that requests hold now."""
        return self.policy.blocks - self.free

    def fits(self, request: int) -> bool:
        """Return whether the engine could ever hold this request."""
        tokens = self.prompt[request] + self.generate[request] - 1
        if self.generate[request] > 1:
            tokens += self.verified - 1
        return self.blocks_of(tokens) <= self.policy.blocks

    def prefix_hits(self, request: int) -> int:
        """Return the tokens of a request's prompt that the prefix cache holds now."""
        if self.cache is None:
            return 0
        self.cache.settle(self.free)
        most = self._units(request, self._need(request) - 1)
        return self.cache.find(self.prefix[request], most)[0] * self.unit_tokens

    def enqueue(self, request: int, at: int, cached: int = 0, made: int = 0) -> None:
        """Take a request that arrives at a time; `advance(at)` was called before.

        Args:
            cached: tokens whose keys and values come with it; they need blocks but no work. Where they cover the
                prompt, the first token was made elsewhere.
            made: tokens of its answer that were made elsewhere; what of them is not cached is computed like a prompt.

        Raises:
            BadValueError: the request can never fit, or has fewer tokens than that.
        """
        if cached or made:
            made = self._arrives_with(request, cached, made)
        if not self.fits(request):
            raise BadValueError(
                f"Request {request + 1} (prompt {self.prompt[request]:,}, generate {self.generate[request]:,}) needs "
                f"more than the {self.policy.blocks:,} KV blocks of {self.policy.block_tokens} tokens of one lane."
            )
        if self.idle:
            self.now = max(self.now, at)
        self.waiting.append(request)
        self.queued += self.prompt[request] + made - cached

    def _arrives_with(self, request: int, cached: int, made: int) -> int:
        """Note what was done elsewhere; returns the tokens made."""
        prompt, generate = self.prompt[request], self.generate[request]
        if cached >= prompt and made == 0:
            made = 1
        if not 0 <= made < generate or not 0 <= cached < prompt + made:
            raise BadValueError(
                f"Request {request + 1} (prompt {prompt:,}, generate {generate:,}) cannot arrive with {made:,} tokens "
                f"made and {cached:,} cached: at least one token is left to make, and its predecessor to compute."
            )
        if made:
            self.made[request] = made
        if cached:
            self.kept[request] = cached
        return made

    def advance(self, until: int = NEVER, one_end: bool = False) -> bool:
        """Make every step that starts before `until`; with `one_end` stop after one in which a request was done.

        Returns whether a request was done.
        """
        ended = False
        while self.now < until and (self.waiting or self.filling or self.decodes):
            done = self._turn(until)
            ended = ended or done
            if done and one_end:
                break
        return ended

    def _turn(self, until: int) -> bool:
        """Make one step, or many equal ones. Returns whether a request was done."""
        policy, self.lost = self.policy, False
        if policy.prompts_first or policy.decodes_first:
            self._draining = policy.decodes_first and self._draining and self.decodes > 0
            if not self._draining and (self.filling or self._admissible(policy.most_tokens)):
                return self._mixed(with_decodes=False)
            self._draining = True
        elif self.filling or (self.waiting and (self._admissible(self._room()) or self._evicts())):
            return self._mixed(with_decodes=True)
        while self._needed() > self.free:
            self._preempt()
            if not self.decodes:
                return False
        if self.speculation is None:
            return self._decode(until, 1 if self.lost or self.moved else NEVER)
        self.free -= self._needed()
        self._pass([], self.decodes)
        self._progress()
        return self._ends()

    def _room(self) -> int:
        """Return the tokens that a step has left for prompts."""
        return self.policy.most_tokens - (0 if self.policy.prompts_first else self.decodes * self.verified)

    def _evicts(self) -> bool:
        """Return whether the next step of the decodes evicts from the prefix cache: that may let a request in."""
        return self.cache is not None and self._needed() > self.free - len(self.cache.idle) * self.cache.unit

    def next_end(self) -> int:
        """Return a lower bound of the tick at which a request is next done, if none arrives (NEVER: there is none)."""
        if self.idle:
            return NEVER
        if self.speculation is not None or not self.decodes or self.filling or self.moved:
            return self.now
        if (self.waiting and self._admissible(self._room())) or self._needed() > self.free:
            return self.now
        decodes, costs = self.decodes, self.costs
        steps = min(self.decoding[0][0] - self.step, self._steps_with_blocks())
        attention = costs.pieces(decodes, self.base + decodes * self.step)[0]
        return self.now + steps * (costs.work[decodes] + costs.sampling[decodes] + attention)

    def slow(self, at: int, factor: float) -> None:
        """Let steps that start from `at` on take `factor` times as long (1: as usual); `advance(at)` was called before.

        Raises:
            BadValueError: the factor is not a finite number above 0.
        """
        self.advance(at)
        self.costs = self._usual.slowed(factor)

    def abort(self, at: int) -> list[int]:
        """Fail at a time: the step in progress and all keys and values are lost. `advance(at)` was called before.

        Returns the requests that waited or ran, by number (the order of arrival). `abandoned` holds the tokens that
        each had made: whoever kept them hands the request on with `enqueue(..., made=abandoned[request])`. What the
        log says of the step in progress is undone.
        """
        self.advance(at)
        late = self.now > at
        ready = set(self._readied) if late else set()
        lost = {request: self.made.get(request, 0) for request in [*self.waiting, *self.filling]}
        step = self._before if late and self._last[3] else self.step
        for request, (end, _) in self.place.items():
            lost[request] = self.made[request] - 1 if request in ready else self.generate[request] - end + step
        if late:
            ended = {request: self.generate[request] - end + step for _, request, end in self._ended}
            ended |= {request: self.generate[request] - 1 for request in ready if request not in self.number}
            for request in ended:
                self.log.done[request] = -1
            lost |= ended
            if self.random is not None and self._last[3]:
                lost |= self._made_before
            self._cut(at)
        for request in lost:
            if self.log.first_token[request] > at:
                self.log.first_token[request] = -1
        self.abandoned = dict(sorted(lost.items()))
        self._clear()
        self.now = at
        return list(self.abandoned)
