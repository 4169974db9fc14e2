"""A scheduler that makes every step and looks at every request: what the engine in time must equal."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
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
        self.now = 0

    def blocks(self, tokens: int) -> int:
        return -(-tokens // self.policy.block_tokens)

    def room(self) -> int:
        """Return the blocks that neither a request holds nor the plan takes."""
        planned = {id(r): t for r, t in self.plan}
        return self.policy.blocks - sum(self.blocks(r["cached"] + planned.get(id(r), 0)) for r in self.running)

    def row(self, request: int, cached: int, made: int) -> Row:
        prompt = self.story.prompt[request]
        if cached >= prompt and made == 0:
            made = 1
        need = prompt + made
        return {"id": request, "cached": cached, "made": made, "need": cached if cached == need - 1 and made else need}

    def happen(self, kind: int, what: Any) -> None:
        if kind == 0:
            self.found.queued.append(sum(self.left(r) for r in self.waiting + self.running if r["cached"] < r["need"]))
            self.waiting.append(self.row(what, *self.story.brought.get(what, (0, 0))))
        elif kind == 1:
            self.prices = self.usual.slowed(what)
        else:
            rows = sorted(self.waiting + self.running, key=lambda r: r["id"])
            self.waiting, self.running = [self.row(r["id"], 0, r["made"]) for r in rows], []

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
            lost = self.form()
            self.admit(lost)
            took, joules = self.price()
            end = self.now + took
            failure = next((at for at, kind, _ in events if kind == 2 and self.now < at < end), None)
            self.note(took if failure is None else failure - self.now, failure is not None)
            if failure is not None:
                self.found.energy_j += joules * (failure - self.now) / took
                self.now = failure
                continue
            self.found.energy_j += joules
            self.now = end
            self.effect()
        self.found.log = self.log
        return self.found

    def form(self) -> bool:
        """Plan what runs already; returns whether a request lost its blocks."""
        self.plan, self.budget, lost = [], self.policy.most_tokens, False
        order = [r for r in self.running if r["cached"] >= r["need"]]
        order += [r for r in self.running if r["cached"] < r["need"]]
        if self.policy.prompts_first and ((order and order[-1]["cached"] < order[-1]["need"]) or self.admissible()):
            order = [r for r in order if r["cached"] < r["need"]]
        for r in order:
            if r not in self.running:
                continue
            tokens = 1 if r["cached"] >= r["need"] else min(r["need"] - r["cached"], self.budget)
            if tokens <= 0:
                continue
            while self.blocks(r["cached"] + tokens) - self.blocks(r["cached"]) > self.room():
                victim, lost = self.running.pop(), True
                self.plan = [(q, t) for q, t in self.plan if q is not victim]
                self.preempt(victim)
                if victim is r:
                    break
            if r in self.running:
                self.plan.append((r, tokens))
                self.budget -= tokens
        return lost

    def preempt(self, victim: Row) -> None:
        self.log.preempted[victim["id"]] += 1
        victim.update(cached=0, need=self.story.prompt[victim["id"]] + victim["made"])
        self.waiting.insert(0, victim)

    def admissible(self) -> int:
        """Return the tokens of its first step if the first in the queue can be admitted, else 0."""
        if not self.waiting or self.budget <= 0 or len(self.running) >= self.policy.most_requests:
            return 0
        r = self.waiting[0]
        decoding = r["cached"] >= r["need"]
        tokens = 1 if decoding else min(r["need"] - r["cached"], self.budget)
        whole = r["need"] + 1 if decoding else r["need"]
        asked = self.blocks(whole if self.policy.whole_prompt or self.policy.prompts_first else r["cached"] + tokens)
        reserve = int(self.policy.watermark * self.policy.blocks) if self.running else 0
        return tokens if self.room() - asked >= reserve else 0

    def admit(self, lost: bool) -> None:
        alone = self.policy.prompts_first and all(r["cached"] < r["need"] for r, _ in self.plan)
        while not lost and (tokens := self.admissible()):
            r = self.waiting.pop(0)
            self.running.append(r)
            if self.log.admitted[r["id"]] < 0:
                self.log.admitted[r["id"]] = self.now
            if not (alone and r["cached"] >= r["need"]):
                self.plan.append((r, tokens))
                self.budget -= tokens

    def price(self) -> tuple[int, float]:
        """Return (ticks, joules) of the plan."""
        prices = self.prices
        decodes = [r for r, _ in self.plan if r["cached"] >= r["need"]]
        chunks = [(t, r["cached"]) for r, t in self.plan if r["cached"] < r["need"]]
        cached = sum(r["cached"] + 1 for r in decodes)
        outputs = len(decodes) + sum(r["cached"] + t >= r["need"] for r, t in self.plan if r["cached"] < r["need"])
        tokens = sum(t for _, t in self.plan)
        took = prices.work[tokens] + prices.sampling[outputs] + prices.decode_ticks(len(decodes), cached)
        joules = float(prices.energy.work[tokens] + prices.energy.sampling[outputs])
        joules += prices.decode_energy_j(len(decodes), cached)
        took += sum(prices.chunk_ticks(*chunk) for chunk in chunks)
        return took, joules + math.fsum(prices.chunk_energy_j(*chunk) for chunk in chunks)

    def note(self, took: int, cut: bool) -> None:
        decodes = sum(r["cached"] >= r["need"] for r, _ in self.plan)
        self.found.steps.append((self.now, took, decodes, 0 if cut else sum(t for _, t in self.plan)))
        self.found.held[self.now] = (len(self.running), len(self.waiting), self.policy.blocks - self.room())

    def effect(self) -> None:
        for r, tokens in self.plan:
            r["cached"] += tokens
            if r["cached"] >= r["need"]:
                r["made"] += 1
                r["need"] = min(r["need"], r["cached"])
                if self.log.first_token[r["id"]] < 0:
                    self.log.first_token[r["id"]] = self.now
                if r["made"] == self.story.generate[r["id"]]:
                    self.log.done[r["id"]] = self.now
                    self.running.remove(r)


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
    """Assert that the engine does what the plain scheduler does, step by step; returns the engine at its end."""
    expected = Plain(prices, policy, story).run()
    found, replica = engine(prices, policy, story)
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
