"""Who gives way when blocks run out, what that costs, and who goes first."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_scheduler import Story, agree, costs, engine, random_policy, random_story

from foundation.errors import BadValueError, UnknownNameError
from simulator.serving.replica import Policy
from simulator.serving.waiting import Urgent

PRICES = costs()
WIDTHS = st.sampled_from([1, 4, 16])
RANDOMS = st.randoms(use_true_random=False)
SWAP = {"preemption": "swap", "swap_bytes_per_s": 1e9, "kv_bytes_per_token": 1000.0}


@settings(max_examples=50, deadline=None)
@given(RANDOMS, WIDTHS, st.sampled_from([{}, SWAP]), st.sampled_from(["fcfs", "priority"]))
def test_preemption_and_priority_equal_those_of_a_plain_scheduler(
    random: Random, width: int, how: dict[str, object], order: str
) -> None:
    story = random_story(random, width)
    agree(PRICES, random_policy(random, story, width, order=order, **how), story)


@settings(max_examples=40, deadline=None)
@given(RANDOMS, WIDTHS, st.lists(st.integers(0, 10**9), max_size=3))
def test_failures_in_the_midst_of_swaps_equal_those_of_a_plain_scheduler(
    random: Random, width: int, failures: list[int]
) -> None:
    story = random_story(random, width)
    story.failures = failures
    agree(PRICES, random_policy(random, story, width, order="priority", prefix_cache=True, **SWAP), story)


def test_a_swap_takes_the_time_of_its_blocks_both_ways_and_computes_nothing_twice() -> None:
    story = Story([0, 0], [16, 16], [20, 20])
    swapped, recomputed = (
        engine(PRICES, Policy(32, 2, 16, 3, **how), story)[1] for how in (SWAP, {})
    )  # each needs 3 blocks in the end, so the second gives way
    assert swapped.log.preempted == recomputed.log.preempted == [0, 1]
    assert swapped.tokens == 16 + 16 + 19 + 19
    assert recomputed.tokens > swapped.tokens
    free, _ = engine(PRICES, Policy(32, 2, 16, 3, **{**SWAP, "swap_bytes_per_s": 1e30}), story)
    moved = swapped.now - free.log.done[1]
    assert moved == 2 * 1 * 16_000_000  # one block of 16,000 bytes at 1e9 bytes/s, out and in, in picoseconds


def test_the_most_urgent_request_is_served_first_and_the_least_urgent_gives_way() -> None:
    story = Story([0, 1, 2, 3], [30, 30, 30, 30], [2, 2, 2, 2], more={"priority": [0, 2, 1, 0]})
    found, _ = engine(PRICES, Policy(32, 1, 16, 10, order="priority"), story)
    assert sorted(range(4), key=lambda r: found.log.done[r]) == [0, 3, 2, 1]
    story = Story([0, 1], [16, 16], [20, 20], more={"priority": [1, 0]})
    found, _ = engine(PRICES, Policy(32, 2, 16, 3, order="priority"), story)
    assert found.log.preempted == [1, 0]


def test_prompts_first_makes_decodes_wait_and_decodes_first_makes_prompts_wait() -> None:
    story = Story([0, 20_000_000], [8, 64], [30, 30])
    mixed, prompts, decodes = (
        engine(PRICES, Policy(16, 4, 16, 50, prompts_first=p, decodes_first=d), story)[0].log
        for p, d in ((False, False), (True, False), (False, True))
    )
    assert prompts.first_token[1] < mixed.first_token[1] < decodes.first_token[1]
    assert decodes.done[0] < mixed.done[0] < prompts.done[0]
    assert decodes.first_token[1] > decodes.done[0]


def test_no_chunk_is_longer_than_the_policy_says() -> None:
    found, _ = engine(PRICES, Policy(64, 4, 16, 50, longest_chunk=10), Story([0], [40], [1]))
    assert [tokens for _, _, _, tokens in found.steps] == [10, 10, 10, 10]


def test_a_queue_by_priority_keeps_who_came_first_before() -> None:
    queue = Urgent([1, 0, 1])
    for request in (0, 1, 2):
        queue.append(request)
    assert list(queue) == [1, 0, 2]
    assert [queue.popleft(), queue.popleft()] == [1, 0]
    queue.appendleft(0)
    assert list(queue) == [0, 2]


@pytest.mark.parametrize(("name", "value"), [("swap_bytes_per_s", 0.0), ("kv_bytes_per_token", float("nan"))])
def test_a_swap_that_has_no_speed_or_size_is_refused(name: str, value: float) -> None:
    with pytest.raises(BadValueError, match=name):
        Policy(**{**SWAP, name: value})


def test_unknown_words_and_contradictions_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="swap"):
        Policy(preemption="swop")
    with pytest.raises(UnknownNameError, match="priority"):
        Policy(order="prio")
    with pytest.raises(BadValueError, match="exclude each other"):
        Policy(prompts_first=True, decodes_first=True)
