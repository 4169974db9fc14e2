"""The engine's schedule equals that of a plain scheduler that makes every step and looks at every request."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.replica import Log, Policy, Replica
from simulator.serving.step_costs import StepCosts, Table, grid


def costs(most_tokens: int = 64, most_decodes: int = 8, longest: int = 4096) -> StepCosts:
    """Return costs with round numbers: a step of t tokens takes 10 + t us, a cached token 3 ns, a chunk a square."""
    contexts, chunks, before = grid(longest), np.append(grid(most_tokens), most_tokens + 1), np.append(0, grid(longest))
    tokens = np.arange(most_tokens + most_decodes + 1)
    outputs = np.arange(most_decodes + most_tokens + 1)
    decode = np.outer(np.arange(most_decodes + 1), contexts) * 3e-9
    chunk = np.array([[(c * b + c * c / 2) * 1e-9 for b in before] for c in chunks])
    time = Table(1e-5 + 1e-6 * tokens, 1e-7 * outputs, decode, chunk)
    return StepCosts(time, time, contexts, chunks, before)


def plain(prices: StepCosts, policy: Policy, arrival: list[int], prompt: list[int], generate: list[int]) -> Log:
    """Schedule step by step, with a list of dictionaries and nothing clever."""
    log = Log.of(len(arrival))
    width = policy.block_tokens
    waiting: list[dict[str, int]] = []
    running: list[dict[str, int]] = []
    now, coming = 0, 0

    def held(r: dict[str, int]) -> int:
        return -(-r["cached"] // width)

    def free() -> int:
        return policy.blocks - sum(held(r) for r in running)

    while coming < len(arrival) or waiting or running:
        if not waiting and not running:
            now = max(now, arrival[coming])
        while coming < len(arrival) and arrival[coming] <= now:
            waiting.append({"id": coming, "cached": 0, "made": 0, "need": prompt[coming]})
            coming += 1
        budget, lost = policy.most_tokens, False
        plan: list[tuple[dict[str, int], int]] = []
        order = [r for r in running if r["cached"] >= r["need"]] + [r for r in running if r["cached"] < r["need"]]
        for r in order:
            if r not in running:
                continue
            decoding = r["cached"] >= r["need"]
            tokens = 1 if decoding else min(r["need"] - r["cached"], budget)
            if tokens <= 0:
                continue
            while True:
                more = -(-(r["cached"] + tokens) // width) - held(r)
                if more <= free() - sum(-(-(q["cached"] + t) // width) - held(q) for q, t in plan):
                    plan.append((r, tokens))
                    budget -= tokens
                    break
                victim, lost = running.pop(), True
                plan = [(q, t) for q, t in plan if q is not victim]
                log.preempted[victim["id"]] += 1
                victim.update(cached=0, need=prompt[victim["id"]] + victim["made"])
                waiting.insert(0, victim)
                if victim is r:
                    break
        while waiting and budget > 0 and not lost and len(running) < policy.most_requests:
            r = waiting[0]
            tokens = min(r["need"], budget)
            room = free() - sum(-(-(q["cached"] + t) // width) - held(q) for q, t in plan)
            asked = -(-(r["need"] if policy.whole_prompt else tokens) // width)
            if room - asked < (int(policy.watermark * policy.blocks) if running else 0):
                break
            waiting.pop(0)
            running.append(r)
            if log.admitted[r["id"]] < 0:
                log.admitted[r["id"]] = now
            plan.append((r, tokens))
            budget -= tokens
        decodes = [r for r, _ in plan if r["cached"] >= r["need"]]
        cached = sum(r["cached"] + 1 for r in decodes)
        outputs = len(decodes) + sum(r["cached"] + t >= r["need"] for r, t in plan if r["cached"] < r["need"])
        took = prices.work[sum(t for _, t in plan)] + prices.sampling[outputs]
        took += prices.decode_ticks(len(decodes), cached)
        took += sum(prices.chunk_ticks(t, r["cached"]) for r, t in plan if r["cached"] < r["need"])
        now += took
        for r, tokens in plan:
            r["cached"] += tokens
            if r["cached"] >= r["need"]:
                r["made"] += 1
                r["need"] = min(r["need"], r["cached"])
                if log.first_token[r["id"]] < 0:
                    log.first_token[r["id"]] = now
                if r["made"] == generate[r["id"]]:
                    log.done[r["id"]] = now
                    running.remove(r)
    return log


def engine(prices: StepCosts, policy: Policy, arrival: list[int], prompt: list[int], generate: list[int]) -> Log:
    log = Log.of(len(arrival))
    replica = Replica(prices, policy, prompt, generate, log)
    for i, at in enumerate(arrival):
        replica.advance(at)
        replica.enqueue(i, at)
    replica.advance()
    return log


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3_000), st.integers(1, 150), st.integers(1, 60)), min_size=1, max_size=25),
    st.integers(1, 8), st.integers(8, 64), st.sampled_from([1, 4, 16]), st.integers(0, 60), st.sampled_from([0.0, 0.05]),
    st.booleans(),
)  # fmt: skip
def test_every_time_equals_that_of_a_plain_scheduler(
    rows: list[tuple[int, int, int]], cap: int, budget: int, width: int, spare: int, watermark: float, whole: bool
) -> None:  # fmt: skip
    arrival = np.cumsum([gap * 100_000 for gap, _, _ in rows]).tolist()
    prompt, generate = [p for _, p, _ in rows], [g for _, _, g in rows]
    most = max(-(-(p + g) // width) for _, p, g in rows)
    policy = Policy(budget, cap, width, most + spare, watermark, whole)
    prices = costs(64, 8)
    assert engine(prices, policy, arrival, prompt, generate).__dict__ | {"segments": 0} == plain(
        prices, policy, arrival, prompt, generate
    ).__dict__ | {"segments": 0}


def test_one_request_takes_its_prompt_and_its_steps() -> None:
    prices = costs()
    log = engine(prices, Policy(64, 8, 16, 100), [5], [40], [3])
    first = prices.work[40] + prices.sampling[1] + prices.chunk_ticks(40, 0)
    steps = sum(prices.work[1] + prices.sampling[1] + prices.decode_ticks(1, 40 + j) for j in (1, 2))
    assert log.first_token == [5 + first]
    assert log.done == [5 + first + steps]


def test_a_budget_that_cannot_hold_one_token_of_each_request_is_refused() -> None:
    with pytest.raises(Exception, match="most_tokens"):
        Replica(costs(), Policy(4, 8), [1], [1], Log.of(1))
