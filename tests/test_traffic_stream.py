"""Traffic as columns: what it checks, how it is cut and stretched, and the figures that describe it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BadValueError
from workloads.traffic import Traffic
from workloads.traffic.statistics import blocks_seen, dispersion, prefix_share, rank_correlation


def four() -> Traffic:
    return Traffic.of(
        [0.0, 1.0, 2.0, 6.0], [10, 1030, 1030, 600], [1, 2, 3, 4], session=[-1, 7, 7, -1],
        prefix=[[], [5, 6], [5, 6, 8], [5, 9]],
    )  # fmt: skip


def test_requests_are_put_in_order_of_arrival_with_all_their_columns() -> None:
    found = Traffic.of([3.0, 1.0], [513, 20], [1, 2], session=[4, 5], priority=[0, -1], prefix=[[1, 2], [3]])
    assert found.arrival_s.tolist() == [1.0, 3.0]
    assert found.prompt.tolist() == [20, 513]
    assert found.session.tolist() == [5, 4]
    assert found.priority.tolist() == [-1, 0]
    assert found.prefix_start.tolist() == [0, 1, 3]
    assert found.prefix_ids.tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Traffic.of([0.0, -1.0], [1, 1], [1, 1]), "Request 2: it cannot arrive at -1.0 s"),
        (lambda: Traffic.of([float("nan")], [1], [1]), "Request 1: it cannot arrive at nan s"),
        (lambda: Traffic.of([0.0], [0], [1]), "Request 1: prompt must be a whole number of tokens, at least 1, not 0"),
        (lambda: Traffic.of([0.0], [1], [0]), "Request 1: generate must be"),
        (lambda: Traffic.of([0.0], [1.5], [1]), "not 1.5"),
        (lambda: Traffic.of([0.0], ["a"], [1]), "prompt must be numbers"),
        (lambda: Traffic.of([[0.0]], [1], [1]), "not a table"),
        (lambda: Traffic.of([0.0], [1, 2], [1]), "one value a request: 2 for 1"),
        (lambda: Traffic.of([0.0], [1], [1], session=[0.5]), "Request 1: session must be a whole number"),
        (lambda: Traffic.of([0.0], [1], [1], priority=[float("nan")]), "priority must be a whole number"),
        (lambda: Traffic.of([0.0], [512], [1], prefix=[[1, 2]]), "2 prefix ids of 512 tokens are more than a prompt"),
        (lambda: Traffic.of([0.0], [512], [1], prefix=[]), "one list a request: 0 lists for 1"),
        (lambda: Traffic.of([0.0], [512], [1], prefix_tokens=0), "prefix_tokens must be a whole number"),
    ],
)
def test_what_a_request_cannot_be_is_named(make: Callable[[], Traffic], words: str) -> None:
    with pytest.raises(BadValueError) as caught:
        make()
    assert words in str(caught.value)


@given(st.lists(st.integers(0, 4), max_size=8), st.data())
def test_taking_requests_takes_their_prefixes(lengths: list[int], data: st.DataObject) -> None:
    ids = [[10 * i + j for j in range(n)] for i, n in enumerate(lengths)]
    whole = Traffic.of(range(len(ids)), [5000] * len(ids), [1] * len(ids), prefix=ids)
    index = (
        data.draw(st.lists(st.integers(0, max(0, len(ids) - 1)), max_size=8, unique=True).map(sorted)) if ids else []
    )
    part = whole.take(np.array(index, dtype=int))
    start = part.prefix_start.tolist()
    assert [part.prefix_ids[a:b].tolist() for a, b in pairwise(start)] == [ids[i] for i in index]
    assert part.arrival_s.tolist() == index


def test_a_mask_takes_the_requests_that_it_marks() -> None:
    part = four().take(np.array([False, True, False, True]))
    assert part.generate.tolist() == [2, 4]
    assert part.prefix_ids.tolist() == [5, 6, 5, 9]


def test_a_part_of_the_time_counts_from_its_start_and_leaves_out_its_end() -> None:
    part = four().within(1.0, 6.0)
    assert part.arrival_s.tolist() == [0.0, 1.0]
    assert part.generate.tolist() == [2, 3]
    assert four().within(2.0).arrival_s.tolist() == [0.0, 4.0]
    assert four().within(end_s=1.0).generate.tolist() == [1]
    with pytest.raises(BadValueError, match=r"No request arrives from 3 to 5 s"):
        four().within(3.0, 5.0)
    with pytest.raises(BadValueError, match="end_s must be"):
        four().within(3.0, 3.0)


def test_another_rate_stretches_the_times_and_keeps_the_requests() -> None:
    assert four().rate_hz == pytest.approx(3 / 6)
    found = four().at_rate(2.0)
    assert found.rate_hz == pytest.approx(2.0)
    assert found.arrival_s.tolist() == pytest.approx([0.0, 0.25, 0.5, 1.5])
    assert found.prompt.tolist() == four().prompt.tolist()


@pytest.mark.parametrize("rate_hz", [0, -1, float("nan"), "fast"])
def test_a_rate_that_cannot_be_is_refused(rate_hz: float) -> None:
    with pytest.raises(BadValueError, match="rate_hz"):
        four().at_rate(rate_hz)


def test_requests_that_arrive_at_once_have_no_rate_to_change() -> None:
    with pytest.raises(BadValueError, match="have no rate to change"):
        Traffic.of([1.0, 1.0], [1, 1], [1, 1]).at_rate(2.0)


def test_dispersion_is_zero_for_a_clock_and_by_hand_for_pairs() -> None:
    assert dispersion(np.arange(100) + 0.5, 1.0) == 0.0
    # Two arrivals in every second window: counts 2, 0, 2, 0 have mean 1 and variance 1.
    assert dispersion(np.repeat(np.arange(0, 100, 2) + 0.5, 2), 1.0) == pytest.approx(1.0, abs=0.03)
    assert np.isnan(dispersion(np.array([0.5]), 1.0))


def test_rank_correlation_is_that_of_ranks_with_ties_shared() -> None:
    assert rank_correlation(np.array([1, 2, 3]), np.array([10, 100, 1000])) == pytest.approx(1.0)
    assert rank_correlation(np.array([1, 2, 3]), np.array([3, 2, 1])) == pytest.approx(-1.0)
    # Ranks (1, 2.5, 2.5, 4) and (1, 3, 2, 4): covariance 4.5, norms sqrt(4.5) and sqrt(5).
    found = rank_correlation(np.array([1, 2, 2, 3]), np.array([1, 3, 2, 4]))
    assert found == pytest.approx(4.5 / np.sqrt(4.5 * 5))
    assert rank_correlation(np.array([1, 1]), np.array([1, 2])) == 0.0


def test_blocks_seen_are_the_leading_run_that_earlier_prompts_had() -> None:
    assert blocks_seen(four()).tolist() == [0, 0, 2, 1]
    # 2 and 1 blocks of 512 of 10 + 1030 + 1030 + 600 tokens.
    assert prefix_share(four()) == pytest.approx(3 * 512 / 2670)
    assert blocks_seen(Traffic.of([0, 1], [1, 1], [1, 1])).tolist() == [0, 0]


def test_the_summary_names_what_describes_the_traffic() -> None:
    found = four().summary()
    assert found["requests"] == 4
    assert found["sessions"] == 1
    assert found["prompt_mean"] == pytest.approx(2670 / 4)
    assert found["prefix_share"] == pytest.approx(1536 / 2670)
    assert Traffic.of([], [], []).summary()["requests"] == 0
