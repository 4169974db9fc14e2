"""The prefix cache does what a plain list of blocks in the order of their last use does."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_scheduler import Story, agree, costs, engine, random_policy, random_story

from foundation.errors import BadValueError
from simulator.serving.prefix_cache import PrefixCache, prefixes_of, unit_of
from simulator.serving.replica import Log, Policy, Replica
from simulator.serving.requests import Requests
from workloads.traffic.stream import Traffic

PRICES = costs()
DATA = Path(os.environ.get("ARCHCAST_DATA", Path(__file__).parents[1] / "../shared/data"))
TRACE = DATA / "traces/mooncake_conversation_trace.jsonl.gz"


def plain_hits(prefixes: list[list[int]], capacity: int) -> list[int]:
    """Return the blocks that each request finds, one request at a time: a list, the block used longest ago first."""
    cached: list[int] = []
    hits = []
    for ids in prefixes:
        found = 0
        while found < len(ids) and ids[found] in cached:
            found += 1
        hits.append(found)
        cached = [block for block in cached if block not in ids]
        cached += ids[::-1]
        cached = cached[max(len(cached) - capacity, 0) :]
    return hits


def cache_hits(prefixes: list[list[int]], capacity: int) -> list[int]:
    """Return the same of a `PrefixCache`."""
    cache, hits = PrefixCache(3), []
    for ids in prefixes:
        found, idle = cache.find(ids, len(ids))
        cache.take(ids[:found])
        assert idle == found
        cache.settle(3 * (capacity - len(ids)))
        for block in ids[found:]:
            assert not cache.add(block)
        assert cache.release(ids) == len(ids)
        hits.append(found)
    return hits


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 30))
def test_hits_equal_those_of_a_plain_list_on_random_streams(random: Random, spare: int) -> None:
    prefixes: list[list[int]] = [[0]]
    for i in range(40):
        known = random.choice(prefixes)[: random.randint(0, 8)]
        prefixes.append([*known, *(100 * i + j for j in range(1, random.randint(1, 6)))])
    capacity = max(map(len, prefixes)) + spare
    assert cache_hits(prefixes, capacity) == plain_hits(prefixes, capacity)


def mooncake(requests: int) -> list[dict[str, Any]]:
    """Return the first requests of the trace, or skip the test."""
    if not TRACE.exists():
        pytest.skip(f"the Mooncake trace is not there: {TRACE} (set ARCHCAST_DATA)")
    with gzip.open(TRACE, "rt") as lines:
        return [json.loads(line) for line, _ in zip(lines, range(requests), strict=False)]


@pytest.mark.parametrize("capacity", [500, 2_000])
def test_hits_equal_those_of_a_plain_list_on_the_mooncake_trace(capacity: int) -> None:
    rows = mooncake(2_500)
    prefixes = [row["hash_ids"][: (row["input_length"] - 1) // 512] for row in rows]
    assert cache_hits(prefixes, capacity) == plain_hits(prefixes, capacity)


def test_an_engine_with_room_finds_what_the_plain_list_finds_on_the_mooncake_trace() -> None:
    rows = mooncake(300)
    prompt = [row["input_length"] for row in rows]
    prefixes = [row["hash_ids"][: (row["input_length"] - 1) // 512] for row in rows]
    log, policy = Log.of(len(rows), segments=False), Policy(64, 8, 32, 16 * 20_000, prefix_cache=True)
    ids = [row["hash_ids"] for row in rows]
    replica = Replica(PRICES, policy, prompt, [1] * len(rows), log, prefix=ids, prefix_tokens=512)
    for request in range(len(rows)):
        replica.enqueue(request, replica.now)
        replica.advance()
    assert log.hit == [512 * found for found in plain_hits(prefixes, 20_000)]
    assert replica.tokens == sum(prompt) - sum(log.hit)


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from([1, 4, 16]))
def test_every_step_equals_that_of_a_plain_scheduler(random: Random, width: int) -> None:
    story = random_story(random, width)
    replica = agree(PRICES, random_policy(random, story, width, prefix_cache=True), story)
    assert replica.cache is not None
    assert len(replica.cache.idle) == len(replica.cache.users)


def test_a_second_request_computes_what_the_first_did_not() -> None:
    story = Story([0, 10**12], [40, 50], [1, 1], more={"prefix": [[1, 2, 3], [1, 2, 7]], "prefix_tokens": 16})
    found, replica = engine(PRICES, Policy(64, 8, 16, 10, prefix_cache=True), story)
    assert found.log.hit == [0, 32]
    assert replica.tokens == 40 + (50 - 32)


def test_the_last_token_of_a_prompt_is_always_computed() -> None:
    story = Story([0, 10**12], [32, 32], [1, 1], more={"prefix": [[1, 2], [1, 2]], "prefix_tokens": 16})
    found, replica = engine(PRICES, Policy(64, 8, 16, 10, prefix_cache=True), story)
    assert found.log.hit == [0, 16]
    assert replica.prefix_hits(1) == 16


def test_requests_that_share_a_prefix_hold_its_blocks_once() -> None:
    prompt, log = [40, 40, 40], Log.of(3)
    policy = Policy(64, 8, 16, 10, prefix_cache=True)
    replica = Replica(PRICES, policy, prompt, [9, 9, 9], log, prefix=[[1, 2]] * 3, prefix_tokens=16)
    replica.enqueue(0, 0)
    replica.advance(1)
    replica.enqueue(1, replica.now)
    replica.enqueue(2, replica.now)
    replica.advance(replica.now + 1)
    assert replica.blocks_used == 2 + 3 * 1  # two of the prefix, and one for the rest of each


def test_a_failure_empties_the_cache() -> None:
    policy = Policy(64, 8, 16, 10, prefix_cache=True)
    replica = Replica(PRICES, policy, [40], [1], Log.of(1), prefix=[[1, 2]], prefix_tokens=16)
    replica.enqueue(0, 0)
    replica.advance()
    assert replica.prefix_hits(0) == 32
    replica.abort(replica.now)
    assert replica.prefix_hits(0) == 0


def test_prefixes_come_from_traffic() -> None:
    traffic = Traffic.of([0.0, 1.0], [40, 30], [1, 1], prefix=[[1, 2, 3], [1]], prefix_tokens=16)
    assert prefixes_of(Requests.from_traffic(traffic)) == [[1, 2, 3], [1]]


@pytest.mark.parametrize("tokens", [0, 24])
def test_blocks_of_prefixes_that_do_not_fit_into_kv_blocks_are_refused(tokens: int) -> None:
    with pytest.raises(BadValueError, match="must be a multiple"):
        unit_of(tokens, 16)


def test_a_prefix_block_of_no_kv_blocks_is_refused() -> None:
    with pytest.raises(BadValueError, match="at least one"):
        PrefixCache(0)
