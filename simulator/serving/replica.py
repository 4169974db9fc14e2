"""One engine that serves requests: continuous batching over a paged KV cache, as vLLM, SGLang and TensorRT-LLM do it.

Every step computes one token of each decoding request and, with what is left of the token budget, chunks of prompts, in
the order of admission; then waiting requests are admitted, first come first served, while there is room (Agrawal et al.
2024, Sarathi-Serve, algorithm 3; vLLM's scheduler since 0.8). Where blocks run out, the request admitted last gives its
blocks back and waits at the front to be computed anew (Kwon et al. 2023, section 4.5).

Between two changes of the batch the steps of its decodes are one event: their sum is a closed form. Decoding requests
are kept by the step at which they end, so a step costs the same however many there are.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush

from foundation.errors import BadValueError
from simulator.serving.step_costs import StepCosts

NEVER = 2**63 - 1


@dataclass(frozen=True)
class Policy:
    """How an engine forms its batches.

    most_tokens: token budget of a step; most_requests: requests computed at a time; block_tokens: tokens a KV block
    holds; blocks: KV blocks of the device; watermark: share of them that stays free when a request is admitted;
    whole_prompt: a request is admitted only when its whole prompt has room (else room for its first chunk will do);
    prompts_first: prompts are computed whole and alone before decoding goes on (vLLM before 0.8), not beside it.
    """

    most_tokens: int = 2048
    most_requests: int = 256
    block_tokens: int = 16
    blocks: int = 10_000
    watermark: float = 0.0
    whole_prompt: bool = False
    prompts_first: bool = False


@dataclass
class Segment:
    """Equal batches in a row: `steps` steps from `start`, the first of `first` ticks, each `more` ticks longer."""

    start: int
    steps: int
    first: int
    more: int
    decodes: int
    tokens: int


@dataclass
class Log:
    """What happened: ticks by request number (-1 = not yet), and segments if they are asked for."""

    first_token: list[int]
    done: list[int]
    admitted: list[int]
    preempted: list[int]
    segments: list[Segment] = field(default_factory=list)

    @staticmethod
    def of(requests: int) -> Log:
        return Log(*([-1] * requests for _ in range(3)), [0] * requests)


class Replica:
    """An engine in time. `enqueue` hands it requests in the order of time, `advance` lets it work."""

    def __init__(self, costs: StepCosts, policy: Policy, prompt: list[int], generate: list[int], log: Log) -> None:
        if policy.most_tokens < policy.most_requests:
            raise BadValueError(
                f"most_tokens={policy.most_tokens} is less than most_requests={policy.most_requests}: a step could not "
                "hold one token of each; raise the one or lower the other."
            )
        if costs.most_tokens < policy.most_tokens or costs.most_decodes < policy.most_requests:
            raise BadValueError("The step costs do not reach as far as the policy's most_tokens and most_requests.")
        self.costs, self.policy, self.log = costs, policy, log
        self.prompt, self.generate = prompt, generate
        self.now = 0
        self.free = policy.blocks
        self.reserve = math.floor(policy.watermark * policy.blocks)
        self.waiting: deque[int] = deque()
        self.filling: list[int] = []
        self.decoding: list[tuple[int, int, int]] = []  # heap of (step of its end, admission, request)
        self.decodes = 0
        self.step = 0
        self.base = 0  # sum over decodes of (tokens attended in the next step - step)
        self.classes = [0] * policy.block_tokens  # decodes by that difference, modulo the tokens of a block
        self.made: dict[int, int] = {}  # tokens generated before the request was preempted
        self.filled: dict[int, int] = {}
        self.place: dict[int, tuple[int, int]] = {}  # of a decode: (end step, attended - step)
        self.running: list[tuple[int, int]] = []  # (admission, request), the last admitted last; some have left
        self.number: dict[int, int] = {}  # of a running request: its admission
        self.admissions = 0
        self.lost = False  # whether this step took blocks from a request: then none is admitted
        self.busy = 0
        self.tokens = 0
        self.energy_j = 0.0

    @property
    def load(self) -> int:
        """Return how many requests wait or run."""
        return len(self.waiting) + len(self.filling) + self.decodes

    @property
    def idle(self) -> bool:
        return not (self.waiting or self.filling or self.decodes)

    def blocks_of(self, tokens: int) -> int:
        return -(-tokens // self.policy.block_tokens)

    def fits(self, request: int) -> bool:
        """Return whether the engine could ever hold this request."""
        return self.blocks_of(self.prompt[request] + self.generate[request] - 1) <= self.policy.blocks

    def enqueue(self, request: int, at: int) -> None:
        """Take a request that arrives at a time; `advance(at)` was called before."""
        if self.idle:
            self.now = max(self.now, at)
        self.waiting.append(request)

    def advance(self, until: int = NEVER, one_end: bool = False) -> bool:
        """Make every step that starts before `until`; with `one_end` stop after one in which a request was done.

        Returns whether a request was done.
        """
        ended = False
        while self.now < until and not self.idle:
            done = self._turn(until)
            ended = ended or done
            if done and one_end:
                break
        return ended

    def _turn(self, until: int) -> bool:
        """Make one step, or many equal ones. Returns whether a request was done."""
        policy, self.lost = self.policy, False
        if policy.prompts_first and (self.filling or self._admissible(policy.most_tokens)):
            return self._mixed(with_decodes=False)
        if self.filling or (self.waiting and self._admissible(policy.most_tokens - self.decodes)):
            return self._mixed(with_decodes=True)
        while self.classes[(1 - self.step) % policy.block_tokens] > self.free:
            self._preempt()
            if not self.decodes:
                return False
        return self._decode(until, 1 if self.lost else NEVER)

    def _admissible(self, budget: int) -> bool:
        """Return whether the first waiting request can be admitted now."""
        policy = self.policy
        if not self.waiting or budget <= 0 or self.decodes + len(self.filling) >= policy.most_requests:
            return False
        need = self._need(self.waiting[0])
        blocks = self.blocks_of(need if policy.whole_prompt else min(need, budget))
        reserve = self.reserve if self.decodes or self.filling else 0
        return self.free - blocks >= reserve

    def _need(self, request: int) -> int:
        """Return the tokens whose keys and values must be computed before the next token of a request."""
        return self.prompt[request] + self.made.get(request, 0)

    # -- decoding -------------------------------------------------------------------------------------------------

    def _decode(self, until: int, most: int) -> bool:
        """Make steps of the decodes alone, as many as are equal but for one more token each."""
        decodes, costs = self.decodes, self.costs
        cached = self.base + decodes * self.step
        attention, slope, last = costs.piece(decodes, cached)
        first = costs.work[decodes] + costs.sampling[decodes] + attention
        more = slope * decodes
        steps = min(self.decoding[0][0] - self.step, -(-(last - cached) // decodes), self._steps_with_blocks(), most)
        if until < NEVER:
            steps = min(steps, _steps_until(until - self.now, first, more, steps))
        took = steps * first + more * (steps * (steps - 1) // 2)
        self._take_blocks(steps)
        self._account(took, steps, first, more, decodes, decodes, cached)
        self.step += steps
        return self._ends()

    def _steps_with_blocks(self) -> int:
        """Return how many steps the free blocks last, at least one (that many are free now)."""
        width, decodes = self.policy.block_tokens, self.decodes
        cycles = self.free // decodes  # in `width` steps every decode needs one block
        left, steps = self.free - cycles * decodes, cycles * width
        if cycles > 1000:
            return steps
        for j in range(width):
            left -= self.classes[(1 - self.step - j) % width]
            if left < 0:
                break
            steps += 1
        return steps

    def _take_blocks(self, steps: int) -> None:
        width = self.policy.block_tokens
        cycles, rest = divmod(steps, width)
        taken = cycles * self.decodes
        for j in range(rest):
            taken += self.classes[(1 - self.step - j) % width]
        self.free -= taken

    def _ends(self) -> bool:
        """Let go of the decodes whose last token was just made."""
        heap, ended = self.decoding, False
        while heap and heap[0][0] <= self.step:
            end, admission, request = heappop(heap)
            if self.number.get(request) != admission or self.place[request][0] != end:
                continue  # it was preempted meanwhile
            self._leave_decoding(request)
            self.free += self.blocks_of(self.prompt[request] + self.generate[request] - 1)
            self._finish(request)
            ended = True
        self._drop_stale()
        return ended

    def _drop_stale(self) -> None:
        heap = self.decoding
        while heap and (self.number.get(heap[0][2]) != heap[0][1] or heap[0][2] not in self.place):
            heappop(heap)

    def _leave_decoding(self, request: int) -> None:
        _, offset = self.place.pop(request)
        self.base -= offset
        self.classes[offset % self.policy.block_tokens] -= 1
        self.decodes -= 1

    def _finish(self, request: int) -> None:
        del self.number[request]
        self.made.pop(request, None)
        self.log.done[request] = self.now

    # -- prompts --------------------------------------------------------------------------------------------------

    def _mixed(self, with_decodes: bool) -> bool:
        """Make one step of chunks of prompts, beside the decodes or alone."""
        policy, costs = self.policy, self.costs
        if with_decodes:
            while self.decodes and self.classes[(1 - self.step) % policy.block_tokens] > self.free:
                self._preempt()
            if self.decodes:
                self.free -= self.classes[(1 - self.step) % policy.block_tokens]
        decodes = self.decodes if with_decodes else 0
        chunks = self._chunks(policy.most_tokens - decodes)
        if not chunks and not decodes:
            return False
        cached = self.base + decodes * self.step if decodes else 0
        ready = [r for r, _ in chunks if self.filled[r] == self._need(r)]
        tokens = decodes + sum(chunk for _, chunk in chunks)
        took = costs.work[tokens] + costs.sampling[decodes + len(ready)] + costs.decode_ticks(decodes, cached)
        for request, chunk in chunks:
            took += costs.chunk_ticks(chunk, self.filled[request] - chunk)
            self.energy_j += costs.chunk_energy_j(chunk, self.filled[request] - chunk)
        self._account(took, 1, took, 0, decodes, tokens, cached)
        if decodes:
            self.step += 1
        ended = self._ends() if decodes else False
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
            if self._grow(request, chunk, [r for r, _ in chunks]):
                chunks.append((request, chunk))
                budget -= chunk
            elif request in self.number:
                break
        chunks = [(r, c) for r, c in chunks if r in self.number]
        while not self.lost and self._admissible(budget):
            request = self.waiting.popleft()
            self.admissions += 1
            self.number[request] = self.admissions
            self.running.append((self.admissions, request))
            self.filling.append(request)
            self.filled[request] = 0
            if self.log.admitted[request] < 0:
                self.log.admitted[request] = self.now
            chunk = min(self._need(request), budget)
            self.free -= self.blocks_of(chunk)
            self.filled[request] = chunk
            chunks.append((request, chunk))
            budget -= chunk
        return chunks

    def _grow(self, request: int, chunk: int, kept: list[int]) -> bool:
        """Give a prompt the blocks of its next chunk, taking them from the last admitted; False if it lost its own."""
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
            self.free += self.blocks_of(need)
            self._finish(request)
            return True
        self.made[request] = made
        offset = self.prompt[request] + made - self.step
        end = self.step + self.generate[request] - made
        self.place[request] = (end, offset)
        self.base += offset
        self.classes[offset % self.policy.block_tokens] += 1
        self.decodes += 1
        heappush(self.decoding, (end, self.number[request], request))
        return False

    def _preempt(self) -> int:
        """Take the blocks of the request that was admitted last; it waits at the front, to be computed anew."""
        while True:
            admission, request = self.running.pop()
            if self.number.get(request) == admission:
                break
        del self.number[request]
        if request in self.place:
            end, _ = self.place[request]
            made = self.generate[request] - (end - self.step)
            self.free += self.blocks_of(self.prompt[request] + made - 1)
            self._leave_decoding(request)
            self.made[request] = made
        else:
            self.free += self.blocks_of(self.filled.pop(request))
            self.filling.remove(request)
        self._drop_stale()
        self.lost = True
        self.waiting.appendleft(request)
        self.log.preempted[request] += 1
        return request

    def _account(self, took: int, steps: int, first: int, more: int, decodes: int, tokens: int, cached: int) -> None:
        if self.log.segments is not None:
            self.log.segments.append(Segment(self.now, steps, first, more, decodes, tokens))
        self.now += took
        self.busy += took
        self.tokens += tokens * steps


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
