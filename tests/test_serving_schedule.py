"""The engine's schedule equals that of a plain scheduler that makes every step and looks at every request."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_scheduler import Story, agree, costs, engine

from foundation.errors import BadValueError
from simulator.serving.replica import Log, Policy, Replica

PRICES = costs()
Rows = list[tuple[int, int, int]]
ROWS = st.lists(st.tuples(st.integers(0, 3_000), st.integers(1, 150), st.integers(1, 60)), min_size=1, max_size=16)


def story_of(rows: Rows) -> Story:
    arrival = np.cumsum([gap * 100_000 for gap, _, _ in rows]).tolist()
    return Story(arrival, [p for _, p, _ in rows], [g for _, _, g in rows])


def most_blocks(rows: Rows, width: int) -> int:
    return max(-(-(p + g) // width) for _, p, g in rows)


@settings(max_examples=60, deadline=None)
@given(
    ROWS, st.integers(1, 8), st.integers(8, 64), st.sampled_from([1, 4, 16]), st.integers(0, 60),
    st.sampled_from([0.0, 0.05]), st.booleans(), st.booleans(),
)  # fmt: skip
def test_every_step_equals_that_of_a_plain_scheduler(
    rows: Rows, cap: int, budget: int, width: int, spare: int, watermark: float, whole: bool, prompts_first: bool
) -> None:
    policy = Policy(budget, cap, width, most_blocks(rows, width) + spare, watermark, whole, prompts_first)
    agree(PRICES, policy, story_of(rows))


@settings(max_examples=40, deadline=None)
@given(
    ROWS, st.sampled_from([1, 4, 16]), st.integers(0, 60), st.lists(st.integers(0, 10**9), max_size=4),
    st.lists(st.tuples(st.integers(0, 10**9), st.sampled_from([0.5, 1.0, 1.37, 3.0])), max_size=4), st.booleans(),
)  # fmt: skip
def test_failures_and_slow_times_equal_those_of_a_plain_scheduler(
    rows: Rows, width: int, spare: int, failures: list[int], slowings: list[tuple[int, float]], prompts_first: bool
) -> None:
    story = story_of(rows)
    story.failures, story.slowings = failures, slowings
    agree(PRICES, Policy(48, 6, width, most_blocks(rows, width) + spare, prompts_first=prompts_first), story)


@settings(max_examples=40, deadline=None)
@given(
    ROWS, st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=25, max_size=25), st.sampled_from([1, 4, 16]),
    st.integers(0, 60), st.booleans(), st.booleans(),
)  # fmt: skip
def test_requests_that_were_begun_elsewhere_go_on_where_they_were(
    rows: Rows, shares: list[tuple[float, float]], width: int, spare: int, whole: bool, prompts_first: bool
) -> None:
    story = story_of(rows)
    for i, ((_, prompt, generate), (one, other)) in enumerate(zip(rows, shares, strict=False)):
        made = int(one * (generate - 1))
        cached = int(other * (prompt + made - 1))
        story.brought[i] = (cached, made)
    agree(PRICES, Policy(48, 6, width, most_blocks(rows, width) + spare, 0.0, whole, prompts_first), story)


def test_one_request_takes_its_prompt_and_its_steps() -> None:
    found, _ = engine(PRICES, Policy(64, 8, 16, 100), Story([5], [40], [3]))
    first = PRICES.work[40] + PRICES.sampling[1] + PRICES.chunk_ticks(40, 0)
    steps = sum(PRICES.work[1] + PRICES.sampling[1] + PRICES.decode_ticks(1, 40 + j) for j in (1, 2))
    assert found.log.first_token == [5 + first]
    assert found.log.done == [5 + first + steps]


def test_a_request_whose_prompt_is_cached_decodes_at_once() -> None:
    found, _ = engine(PRICES, Policy(64, 8, 16, 100), Story([5], [40], [3], {0: (40, 0)}))
    steps = sum(PRICES.work[1] + PRICES.sampling[1] + PRICES.decode_ticks(1, 40 + j) for j in (1, 2))
    assert found.log.done == [5 + steps]
    assert found.log.first_token == [-1]  # it was made elsewhere


def test_the_energy_of_one_request_is_that_of_its_steps() -> None:
    found, replica = engine(PRICES, Policy(64, 8, 16, 100), Story([0], [40], [3]))
    prompt = PRICES.work_j[40] + PRICES.sampling_j[1] + PRICES.chunk_energy_j(40, 0)
    steps = sum(PRICES.work_j[1] + PRICES.sampling_j[1] + PRICES.decode_energy_j(1, 40 + j) for j in (1, 2))
    assert replica.energy_j == pytest.approx(prompt + steps, rel=1e-12)
    assert found.log.segments is not None
    assert found.log.segments.columns()["energy_j"].sum() == pytest.approx(prompt + steps, rel=1e-12)


def test_a_failure_loses_the_step_in_progress_and_keeps_what_was_made_before() -> None:
    log = Log.of(2)
    replica = Replica(PRICES, Policy(64, 8, 16, 100), [40, 5], [30, 7], log)
    replica.enqueue(0, 0)
    replica.advance(1)
    third = log_time(40, 3)
    replica.advance(third - 1)
    assert replica.abort(third - 1) == [0]
    assert replica.abandoned == {0: 2}
    assert replica.busy == third - 1
    assert (replica.idle, replica.free, log.done) == (True, 100, [-1, -1])
    replica.enqueue(0, third, made=2)
    replica.advance()
    again = PRICES.work[42] + PRICES.sampling[1] + PRICES.chunk_ticks(42, 0)
    rest = sum(PRICES.work[1] + PRICES.sampling[1] + PRICES.decode_ticks(1, 43 + j) for j in range(27))
    assert log.done[0] == third + again + rest


def log_time(prompt: int, tokens: int) -> int:
    """Return the tick at which a lone request has so many tokens."""
    found, _ = engine(PRICES, Policy(64, 8, 16, 100), Story([0], [prompt], [tokens]))
    return found.log.done[0]


def test_a_failure_before_the_first_token_is_complete_takes_it_back() -> None:
    log = Log.of(1)
    replica = Replica(PRICES, Policy(64, 8, 16, 100), [40], [1], log)
    replica.enqueue(0, 0)
    replica.advance(1)
    assert log.done[0] > 1
    assert replica.abort(1) == [0]
    assert (log.done, log.first_token, replica.abandoned) == ([-1], [-1], {0: 0})


def test_a_log_grows_and_can_do_without_segments() -> None:
    log = Log.of(1, segments=False)
    prompt, generate = [40], [3]
    replica = Replica(PRICES, Policy(64, 8, 16, 100), prompt, generate, log)
    replica.enqueue(0, 0)
    replica.advance()
    prompt.append(10)
    generate.append(2)
    log.grow(1)
    replica.enqueue(1, replica.now)
    replica.advance()
    assert log.done[1] > log.done[0] > 0
    assert len(log.occupancy()["start"]) == 0


def test_the_next_end_is_never_promised_too_late() -> None:
    log = Log.of(3)
    replica = Replica(PRICES, Policy(64, 8, 16, 100), [40, 30, 20], [30, 9, 14], log)
    for request in range(3):
        replica.enqueue(request, 0)
    while not replica.idle:
        promised = replica.next_end()
        replica.advance(one_end=True)
        assert promised <= max(log.done)


def test_a_budget_that_cannot_hold_one_token_of_each_request_is_refused() -> None:
    with pytest.raises(BadValueError, match="most_tokens"):
        Policy(4, 8)


@pytest.mark.parametrize("name", ["most_tokens", "most_requests", "block_tokens", "blocks"])
def test_a_policy_without_room_is_refused(name: str) -> None:
    with pytest.raises(BadValueError, match=name):
        Policy(**{name: 0})


def test_a_request_that_can_never_fit_is_refused() -> None:
    replica = Replica(PRICES, Policy(64, 8, 16, 2), [40], [3], Log.of(1))
    with pytest.raises(BadValueError, match=r"Request 1 .* 2 KV blocks of 16 tokens"):
        replica.enqueue(0, 0)


def test_more_tokens_made_than_asked_for_are_refused() -> None:
    replica = Replica(PRICES, Policy(64, 8, 16, 20), [40], [3], Log.of(1))
    with pytest.raises(BadValueError, match="at least one token is left"):
        replica.enqueue(0, 0, made=3)


def test_a_factor_of_no_time_is_refused() -> None:
    with pytest.raises(BadValueError, match="factor"):
        PRICES.slowed(0.0)
