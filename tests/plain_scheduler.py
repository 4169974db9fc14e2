"""A scheduler that makes every step and looks at every request: what the engine in time must equal."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import numpy as np

from simulator.serving.replica import Log, Policy, Replica
from simulator.serving.step_costs import StepCosts, Table, grid

Row = dict[str, Any]


def costs(most_tokens: int = 64, most_decodes: int = 8, longest: int = 4096) -> StepCosts:
    """Return costs with round numbers: a step of t tokens takes 10 + t us, a cached token 3 ns, a chunk a square."""
    contexts, chunks, before = grid(longest), np.append(grid(most_tokens), most_tokens + 1), np.append(0, grid(longest))
    tokens = np.arange(most_tokens + most_decodes + 1)
    outputs = np.arange(most_decodes + most_tokens + 1)
    decode = np.outer(np.arange(most_decodes + 1), contexts) * 3e-9
    chunk = np.array([[(c * b + c * c / 2) * 1e-9 for b in before] for c in chunks])
    time = Table(1e-5 + 1e-6 * tokens, 1e-7 * outputs, decode, chunk)
    energy = Table(2.0 + 0.5 * tokens, 0.25 * outputs, np.sqrt(decode), chunk * 7e5)
    return StepCosts(time, energy, contexts, chunks, before)


@dataclass
class Story:
    """What happens to an engine. Ticks by request; `brought` has (cached, made) of requests that were begun elsewhere.

    failures: ticks; the engine loses all and gets its requests back with the tokens they had made. slowings: (tick,
    factor).
    """

    arrival: list[int]
    prompt: list[int]
    generate: list[int]
    brought: dict[int, tuple[int, int]] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    slowings: list[tuple[int, float]] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)

    def events(self) -> list[tuple[int, int, Any]]:
        """Return (tick, kind, what) in order: arrivals (0), then slowings (1), then failures (2)."""
        found: list[tuple[int, int, Any]] = [(at, 0, request) for request, at in enumerate(self.arrival)]
        found += [(at, 1, factor) for at, factor in self.slowings]
        return sorted(found + [(at, 2, None) for at in self.failures])


@dataclass
class Found:
    """What a scheduler did: its log, its steps as (start, ticks, decodes, tokens), and tokens waiting at arrivals."""

    log: Log
    steps: list[tuple[int, int, int, int]]
    held: dict[int, tuple[int, int, int]]
    queued: list[int]
    energy_j: float


class Plain:
    """Lists of dictionaries, and nothing clever."""

    def __init__(self, prices: StepCosts, policy: Policy, story: Story) -> None:
        self.prices, self.usual, self.policy, self.story = prices, prices, policy, story
        self.log, self.found = Log.of(len(story.arrival)), Found(Log.of(0), [], {}, [], 0.0)
        self.waiting: list[Row] = []
        self.running: list[Row] = []
        self.plan: list[tuple[Row, int]] = []
        self.now = self.came = self.begun = self.rounds = self.moved = 0
        self.draining = False
        self.priority = story.more.get("priority") if policy.order == "priority" else None
        self.prefix = story.more.get("prefix") if policy.prefix_cache else None
        self.size = story.more.get("prefix_tokens", 512)
        self.unit = self.size // policy.block_tokens
        self.idle: list[int] = []  # ids of blocks that nobody uses, the first to go first
        self.whole = policy.whole_prompt or policy.prompts_first or policy.decodes_first
        self.each = policy.speculation.verified if policy.speculation else 1

    def blocks(self, tokens: int) -> int:
        return -(-tokens // self.policy.block_tokens)

    def shared(self) -> set[int]:
        """Return the ids of blocks that running requests use."""
        return {block for r in self.running for block in r["uses"]}

    def room(self) -> int:
        """Return the blocks that neither a request holds nor the plan takes; idle ones are among them."""
        planned = {id(r): t for r, t in self.plan}
        own = sum(self.blocks(r["cached"] + planned.get(id(r), 0)) - len(r["uses"]) * self.unit for r in self.running)
        return self.policy.blocks - own - len(self.shared()) * self.unit

    def evict(self) -> None:
        while len(self.idle) * self.unit > self.room():
            self.idle.pop(0)

    def row(self, request: int, cached: int, made: int) -> Row:
        prompt = self.story.prompt[request]
        if cached >= prompt and made == 0:
            made = 1
        self.came += 1
        r = {"id": request, "cached": cached, "made": made, "came": self.came, "uses": [], "swapped": False}
        return self.aim(r)

    def aim(self, r: Row) -> Row:
        """Say how much must be cached before the request decodes."""
        need = self.story.prompt[r["id"]] + r["made"]
        r["need"] = need - 1 if r["cached"] == need - 1 and r["made"] else need
        self.begun += 1
        r["begun"] = self.begun
        return r

    def line_up(self) -> None:
        if self.priority is not None:
            self.waiting.sort(key=lambda r: (self.priority[r["id"]], r["came"]))

    def happen(self, kind: int, what: Any) -> None:
        if kind == 0:
            self.found.queued.append(sum(self.left(r) for r in self.waiting + self.running if r["cached"] < r["need"]))
            self.found.queued[-1] += sum(1 for r in self.waiting if r["cached"] >= r["need"])
            self.waiting.append(self.row(what, *self.story.brought.get(what, (0, 0))))
        elif kind == 1:
            self.prices = self.usual.slowed(what)
        else:
            rows = sorted(self.waiting + self.running, key=lambda r: r["id"])
            self.waiting = [self.row(r["id"], 0, r["made"]) for r in rows]
            self.running, self.idle, self.moved = [], [], 0
        self.line_up()

    def left(self, r: Row) -> int:
        return self.story.prompt[r["id"]] + r["made"] - r["cached"]

    def run(self) -> Found:
        events = self.story.events()
        while events or self.waiting or self.running:
            if not self.waiting and not self.running:
                self.now = max(self.now, events[0][0])
            while events and events[0][0] <= self.now:
                self.happen(*events.pop(0)[1:])
            if not self.waiting and not self.running:
                continue
            self.admit(self.form())
            if not self.plan:
                continue
            took, joules = self.price()
            end = self.now + took
            failure = next((at for at, kind, _ in events if kind == 2 and self.now < at < end), None)
            self.note(took if failure is None else failure - self.now, failure is not None)
            if self.policy.speculation and any(self.decoding(r) for r, _ in self.plan):
                self.rounds += 1
            if failure is not None:
                self.found.energy_j += joules * (failure - self.now) / took
                self.now = failure
                if "random" in self.story.more:
                    self.gains()
                continue
            self.found.energy_j += joules
            self.now = end
            self.effect()
        self.found.log = self.log
        return self.found

    def decoding(self, r: Row) -> bool:
        return bool(r["cached"] >= r["need"])

    def step_of(self, r: Row) -> int:
        """Return the tokens that a request computes in a step, at most."""
        if self.decoding(r):
            return self.each
        return min(r["need"] - r["cached"], self.budget, self.policy.longest_chunk or self.budget)

    def form(self) -> bool:
        """Plan what runs already; returns whether a request lost its blocks."""
        self.plan, self.budget, lost = [], self.policy.most_tokens, False
        order = [r for r in self.running if self.decoding(r)] + [r for r in self.running if not self.decoding(r)]
        self.alone = False
        if self.policy.prompts_first or self.policy.decodes_first:
            self.draining = self.draining and self.policy.decodes_first and any(self.decoding(r) for r in self.running)
            if not self.draining and (any(not self.decoding(r) for r in order) or self.admissible()):
                self.alone = True
                order = [r for r in order if not self.decoding(r)]
            else:
                self.draining = True
        for r in order:
            tokens = self.step_of(r)
            if tokens <= 0 or r not in self.running:
                continue
            while self.blocks(r["cached"] + tokens) - self.blocks(r["cached"]) > self.room():
                victim, lost = max(self.running, key=self.urgency), True
                self.preempt(victim)
                if victim is r:
                    break
            if r in self.running:
                self.plan.append((r, tokens))
                self.budget -= tokens
                self.evict()
        return lost

    def urgency(self, r: Row) -> tuple[int, int]:
        return (self.priority[r["id"]] if self.priority is not None else 0, self.running.index(r))

    def preempt(self, victim: Row) -> None:
        self.idle.clear()
        self.running.remove(victim)
        self.budget += sum(t for q, t in self.plan if q is victim)
        self.plan = [(q, t) for q, t in self.plan if q is not victim]
        self.log.preempted[victim["id"]] += 1
        self.let_go(victim)
        if self.policy.preemption == "swap":
            self.moved += self.blocks(victim["cached"])
            victim["swapped"] = True
        else:
            victim["cached"] = 0
        self.aim(victim)
        self.waiting.insert(0, victim)
        self.line_up()

    def let_go(self, r: Row) -> None:
        """Use no shared blocks any more; those that nobody uses become idle, the last first."""
        used = self.shared()
        self.idle += [block for block in reversed(r["uses"]) if block not in used]
        r["uses"] = []

    def hits(self, r: Row) -> list[int]:
        if self.prefix is None or r["cached"]:
            return []
        ids, found = self.prefix[r["id"]], []
        there = self.shared() | set(self.idle)
        for i, block in enumerate(ids):
            end = (i + 1) * self.size
            if block not in there or end > self.left(r) - 1 or end > self.story.prompt[r["id"]]:
                break
            found.append(block)
        return found

    def admissible(self) -> bool:
        """Return whether the first in the queue can be admitted."""
        if not self.waiting or self.budget <= 0 or len(self.running) >= self.policy.most_requests:
            return False
        r, hits = dict(self.waiting[0]), self.hits(self.waiting[0])
        self_used = len([block for block in hits if block in self.shared()])
        r["cached"] += len(hits) * self.size
        self.aim(r)
        tokens = self.step_of(r)
        asked = r["cached"] + tokens if self.decoding(r) or not self.whole else r["need"]
        reserve = int(self.policy.watermark * self.policy.blocks) if self.running else 0
        fits = self.room() - self.blocks(asked) + self_used * self.unit >= reserve
        return fits and tokens <= self.budget

    def admit(self, lost: bool) -> None:
        if self.alone is False and (self.policy.prompts_first or self.policy.decodes_first):
            return
        while not lost and self.admissible():
            r = self.waiting.pop(0)
            r["uses"] = self.hits(r)
            self.idle = [block for block in self.idle if block not in r["uses"]]
            self.log.hit[r["id"]] += len(r["uses"]) * self.size
            if r["swapped"]:
                self.moved += self.blocks(r["cached"])
                r["swapped"] = False
            r["cached"] += len(r["uses"]) * self.size
            self.running.append(self.aim(r))
            if self.log.admitted[r["id"]] < 0:
                self.log.admitted[r["id"]] = self.now
            tokens = self.step_of(r)
            if not (self.alone and self.decoding(r)):
                self.plan.append((r, tokens))
                self.budget -= tokens
            self.evict()

    def price(self) -> tuple[int, float]:
        """Return (ticks, joules) of the plan."""
        prices = self.prices
        decodes = [r for r, _ in self.plan if self.decoding(r)]
        chunks = [(t, r["cached"]) for r, t in self.plan if not self.decoding(r)]
        cached = sum(r["cached"] + 1 for r in decodes)
        outputs = len(decodes) * self.each + sum(r["cached"] + t >= r["need"] for r, t in self.plan if r not in decodes)
        tokens = sum(t for _, t in self.plan)
        took = prices.work[tokens] + prices.sampling[outputs] + prices.decode_ticks(len(decodes), cached)
        joules = float(prices.energy.work[tokens] + prices.energy.sampling[outputs])
        joules += prices.decode_energy_j(len(decodes), cached)
        if decodes and self.policy.speculation:
            took += round(self.policy.speculation.draft_s * 1e12)
            joules += self.policy.speculation.draft_j
        per_block = self.policy.block_tokens * self.policy.kv_bytes_per_token / (self.policy.swap_bytes_per_s or 1)
        took += self.moved * round(per_block * 1e12)
        self.moved = 0
        took += sum(prices.chunk_ticks(*chunk) for chunk in chunks)
        return took, joules + math.fsum(prices.chunk_energy_j(*chunk) for chunk in chunks)

    def note(self, took: int, cut: bool) -> None:
        decodes = sum(self.decoding(r) for r, _ in self.plan)
        self.found.steps.append((self.now, took, decodes, 0 if cut else sum(t for _, t in self.plan)))
        self.found.held[self.now] = (len(self.running), len(self.waiting), self.policy.blocks - self.room())

    def gains(self) -> dict[int, int]:
        """Return the tokens that each decode makes, by request."""
        decodes = sorted((r for r, _ in self.plan if self.decoding(r)), key=lambda r: r["begun"])
        speculation = self.policy.speculation
        if speculation is None or not decodes:
            return {r["id"]: 1 for r in decodes}
        if "random" in self.story.more:
            drawn = speculation.draw(self.story.more["random"], len(decodes))
            return {r["id"]: gain for r, gain in zip(decodes, drawn, strict=True)}
        whole, n = round(speculation.expected * 2**20), self.rounds - 1
        return {r["id"]: whole * (n + 1) // 2**20 - whole * n // 2**20 for r in decodes}

    def effect(self) -> None:
        """Give each request what the step made: decodes first."""
        gains, plan = self.gains(), self.plan
        self.plan = []
        decodes = [r for r, _ in plan if self.decoding(r)]
        for r, tokens in sorted(plan, key=lambda row: not self.decoding(row[0])):
            request = r["id"]
            if r in decodes:
                r["cached"] += gains[request]
                r["made"] = min(r["made"] + gains[request], self.story.generate[request])
            else:
                r["cached"] += tokens
                self.share(r)
                if r["cached"] < r["need"]:
                    continue
                r["made"] += 1
                self.aim(r)
                if self.log.first_token[request] < 0:
                    self.log.first_token[request] = self.now
            if r["made"] == self.story.generate[request]:
                self.log.done[request] = self.now
                self.running.remove(r)
                self.let_go(r)

    def share(self, r: Row) -> None:
        """Let others use the blocks of a prompt that are complete; where there is such a block, use that one."""
        if self.prefix is not None:
            end = min(r["cached"], self.story.prompt[r["id"]]) // self.size
            r["uses"] = r["uses"] + self.prefix[r["id"]][len(r["uses"]) : end]
            self.idle = [block for block in self.idle if block not in r["uses"]]


def engine(prices: StepCosts, policy: Policy, story: Story) -> tuple[Found, Replica]:
    """Let the engine in time live through a story."""
    log = Log.of(len(story.arrival))
    replica = Replica(prices, policy, story.prompt, story.generate, log, **story.more)
    queued = []
    for at, kind, what in story.events():
        replica.advance(at)
        if kind == 0:
            queued.append(replica.tokens_waiting)
            replica.enqueue(what, at, *story.brought.get(what, (0, 0)))
        elif kind == 1:
            replica.slow(at, what)
        else:
            for request in replica.abort(at):
                replica.enqueue(request, at, made=replica.abandoned[request])
    replica.advance()
    steps, held = [], {}
    assert log.segments is not None
    for s in log.segments:
        starts = [s.start + j * s.first + s.more * (j * (j - 1) // 2) for j in range(s.steps)]
        steps += [(at, s.first + j * s.more, s.decodes, s.tokens) for j, at in enumerate(starts)]
        held[starts[-1]] = (s.running, s.waiting, s.blocks)
    return Found(log, steps, held, queued, replica.energy_j), replica


def agree(prices: StepCosts, policy: Policy, story: Story) -> Replica:
    """Assert that the engine does what the plain scheduler does, step by step; returns the engine at its end.

    Where a speculation is drawn, `more` has "random": the seed of the stream.
    """
    stories = [story, story]
    if "random" in story.more:
        seed = story.more["random"]
        stories = [replace(story, more={**story.more, "random": np.random.default_rng(seed)}) for _ in range(2)]
    expected = Plain(prices, policy, stories[0]).run()
    found, replica = engine(prices, policy, stories[1])
    for name in ("first_token", "done", "admitted", "preempted", "hit"):
        assert getattr(found.log, name) == getattr(expected.log, name), name
    assert found.steps == expected.steps
    if not story.failures:  # the engine sees a failure only after the step that it cuts short
        assert found.held == {at: expected.held[at] for at in found.held}
        assert found.queued == expected.queued
    assert math.isclose(found.energy_j, expected.energy_j, rel_tol=1e-9)
    assert math.isclose(found.log.energy_j, expected.energy_j, rel_tol=1e-9)
    assert replica.busy == sum(took for _, took, _, _ in expected.steps)
    assert replica.tokens == sum(tokens for _, _, _, tokens in expected.steps)
    assert replica.idle
    assert (replica.free, replica.load, replica.tokens_waiting) == (policy.blocks, 0, 0)
    return replica


def random_story(random: Random, width: int, most_requests: int = 10) -> Story:
    """Return requests that come in bursts, some at one time, with priorities and prefixes that share their beginnings.

    Blocks of prefixes are of 1, 2 or 5 times `width` tokens.
    """
    story, at, size = Story([], [], []), 0, width * random.choice([1, 2, 5])
    prefix: list[list[int]] = []
    for request in range(random.randint(1, most_requests)):
        at += random.choice([0, random.randint(0, 3_000) * 100_000])
        story.arrival.append(at)
        story.prompt.append(random.randint(1, 150))
        story.generate.append(random.randint(1, 60))
        known = random.choice(prefix)[: random.randint(0, 40)] if prefix and random.random() < 0.8 else []
        count = -(-story.prompt[-1] // size)
        prefix.append([*known[:count], *(1000 * request + i for i in range(min(len(known), count), count))])
    story.more = {"priority": [random.randint(0, 2) for _ in prefix], "prefix": prefix, "prefix_tokens": size}
    return story


def random_policy(random: Random, story: Story, width: int, **more: Any) -> Policy:
    """Return a policy with few blocks to spare, in any order of decodes and prompts."""
    each = more["speculation"].verified if "speculation" in more else 1
    longest = max(p + g for p, g in zip(story.prompt, story.generate, strict=True))
    cap = random.randint(1, 8)
    first = random.choice(["", "", "prompts_first", "decodes_first"])
    return Policy(
        most_tokens=max(random.randint(8, 64), cap * each), most_requests=cap, block_tokens=width,
        blocks=-(-(longest + each) // width) + random.randint(0, 60), watermark=random.choice([0, 0.05]),
        whole_prompt=random.random() < 0.5, longest_chunk=random.choice([0, 0, random.randint(1, 20)]),
        **({first: True} if first else {}), **more,
    )  # fmt: skip
