"""Speculative decoding gives the tokens a step that its closed form says."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_scheduler import Story, agree, costs, engine, random_policy, random_story

from foundation.errors import BadValueError
from simulator.serving.replica import Log, Policy, Replica
from simulator.serving.speculation import Speculation
from simulator.streams import RandomStreams

PRICES = costs()


@given(st.integers(1, 16), st.floats(0, 0.99))
def test_a_chain_gives_the_closed_form_of_leviathan(tokens: int, acceptance: float) -> None:
    expected = (1 - acceptance ** (tokens + 1)) / (1 - acceptance)
    assert Speculation(tokens, acceptance).expected == pytest.approx(expected, rel=1e-12)


def test_acceptance_by_position_and_trees_have_their_own_closed_forms() -> None:
    assert Speculation(3, (0.9, 0.5, 0.2)).expected == pytest.approx(1 + 0.9 + 0.9 * 0.5 + 0.9 * 0.5 * 0.2)
    tree = Speculation(2, 0.5, widths=(4, 2))
    assert tree.expected == pytest.approx(1 + (1 - 0.5**4) + (1 - 0.5**4) * (1 - 0.5**2))
    assert tree.verified == 1 + 4 + 4 * 2
    assert Speculation(4, 0.5).verified == 5


@given(st.integers(1, 8), st.floats(0, 0.99), st.integers(1, 5000))
def test_expected_progress_is_exact_in_its_mean(tokens: int, acceptance: float, steps: int) -> None:
    speculation = Speculation(tokens, acceptance)
    gains = [speculation.gain(step) for step in range(steps)]
    assert abs(sum(gains) - steps * speculation.expected) < 1 + steps * 2**-20
    assert {math.floor(speculation.expected), math.ceil(speculation.expected)} >= set(gains)


@pytest.mark.parametrize("acceptance", [0.0, 0.3, 0.8, (0.9, 0.6, 0.3, 0.1)])
def test_drawn_progress_has_the_mean_of_the_closed_form(acceptance: float | tuple[float, ...]) -> None:
    speculation = Speculation(4, acceptance, drawn=True)
    draws = np.array(speculation.draw(RandomStreams(7).get("lane0/speculation"), 20_000))
    error = draws.std() / math.sqrt(len(draws))
    assert abs(draws.mean() - speculation.expected) <= 3 * error
    assert set(draws.tolist()) <= set(range(1, 6))


@settings(max_examples=50, deadline=None)
@given(
    st.randoms(use_true_random=False), st.sampled_from([1, 4, 16]), st.integers(1, 4), st.floats(0, 0.95),
    st.booleans(), st.booleans(), st.lists(st.integers(0, 10**9), max_size=2),
)  # fmt: skip
def test_every_step_equals_that_of_a_plain_scheduler(
    random: Random, width: int, tokens: int, acceptance: float, drawn: bool, cache: bool, failures: list[int]
) -> None:
    story = random_story(random, width)
    story.failures = failures
    speculation = Speculation(tokens, acceptance, draft_s=1e-6, draft_j=1.5, drawn=drawn)
    if drawn:
        story.more["random"] = 11
    agree(PRICES, random_policy(random, story, width, speculation=speculation, prefix_cache=cache), story)


def test_one_request_takes_its_tokens_over_the_expected_tokens_a_step() -> None:
    speculation = Speculation(3, 0.8, draft_s=5e-6)
    found, replica = engine(PRICES, Policy(64, 8, 16, 100, speculation=speculation), Story([0], [40], [1001]))
    steps = math.ceil(1000 / speculation.expected)
    assert len(found.steps) == 1 + steps
    assert replica.tokens == 40 + 4 * steps
    assert found.steps[1][1] == PRICES.work[4] + PRICES.sampling[4] + PRICES.decode_ticks(1, 41) + 5_000_000


def test_a_drawn_engine_makes_the_tokens_a_step_of_the_closed_form() -> None:
    speculation = Speculation(3, 0.7, drawn=True)
    story = Story([0] * 8, [10] * 8, [600] * 8, more={"random": RandomStreams(3).get("lane0/speculation")})
    found, replica = engine(PRICES, Policy(64, 8, 16, 2000, speculation=speculation), story)
    decodes = sum(decodes for _, _, decodes, _ in found.steps)
    chances = [0.3, 0.7 * 0.3, 0.7**2 * 0.3, 0.7**3]  # of 1, 2, 3 and 4 tokens
    variance = sum(p * (tokens - speculation.expected) ** 2 for tokens, p in enumerate(chances, 1))
    error = math.sqrt(variance / decodes)
    assert 8 * 599 / decodes <= speculation.expected + 3 * error
    assert 8 * (599 + 3) / decodes >= speculation.expected - 3 * error  # the last step of each may make 3 too many
    assert replica.free == 2000


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"tokens": 0, "acceptance": 0.5}, "tokens"),
        ({"tokens": 2, "acceptance": 1.0}, "acceptance"),
        ({"tokens": 2, "acceptance": -0.1}, "acceptance"),
        ({"tokens": 2, "acceptance": float("nan")}, "acceptance"),
        ({"tokens": 2, "acceptance": (0.5,)}, "acceptance has 1 values"),
        ({"tokens": 2, "acceptance": 0.5, "widths": (2,)}, "widths"),
        ({"tokens": 2, "acceptance": 0.5, "widths": (2, 0)}, "width"),
        ({"tokens": 2, "acceptance": 0.5, "draft_s": -1.0}, "draft_s"),
    ],
)
def test_a_draft_that_cannot_be_is_refused(fields: dict[str, object], word: str) -> None:
    with pytest.raises(BadValueError, match=word):
        Speculation(**fields)  # type: ignore[arg-type]


def test_a_budget_below_the_tokens_to_verify_is_refused() -> None:
    with pytest.raises(BadValueError, match="most_requests=16 x 5"):
        Policy(64, 16, speculation=Speculation(4, 0.5))


def test_a_drawn_speculation_without_random_numbers_is_refused() -> None:
    policy = Policy(64, 8, 16, 100, speculation=Speculation(4, 0.5, drawn=True))
    with pytest.raises(BadValueError, match="random numbers"):
        Replica(PRICES, policy, [1], [1], Log.of(1))
