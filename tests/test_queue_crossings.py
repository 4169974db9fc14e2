"""Arrivals on a fill pattern of bunch crossings, and the dead times and losses that they give (daq.md, section B)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BadValueError
from simulator.queues.crossings import Crossings, crossings_at
from simulator.queues.fill_patterns import EVERY_CROSSING, FillPattern, from_mask, lhc_trains, runs
from simulator.streams import RandomStreams

PS = 10**12
LHC_HZ = 40.0789e6
PATTERNS = {"uniform": EVERY_CROSSING, "trains": lhc_trains()}
RULES = ((1, 3), (2, 25), (3, 100), (4, 240))
"""At most k accepted in n crossings; dropped where the k-th last accepted one passed less than n crossings ago."""


def first(process: Crossings, tps: int = PS, seed: int = 1) -> list[int]:
    found: list[int] = next(process.blocks(RandomStreams(seed).get("beam/arrivals"), tps)).tolist()
    return found


def test_runs_are_filled_and_empty_in_turn_and_repeat_up_to_the_slots() -> None:
    assert runs([(2, 1), (1, 3)]) == FillPattern(7, (0, 1, 3))
    assert runs([(2, 1)], slots=7) == FillPattern(7, (0, 1, 3, 4, 6))
    assert runs([(0, 2), (1, 0)]).filled == (2,)
    assert from_mask([False, True]) == FillPattern(2, (1,))


def test_the_trains_of_the_lhc_fill_2808_of_3564_slots() -> None:
    pattern = lhc_trains()
    assert (pattern.slots, len(pattern.filled)) == (3_564, 2_808)
    mask = np.zeros(pattern.slots + 1, int)
    mask[list(pattern.filled)] = 1
    edges = np.diff(mask, prepend=0)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    assert len(starts) == 39
    assert set((ends - starts).tolist()) == {72}
    gaps, counts = np.unique(np.append(starts[1:], pattern.slots) - ends, return_counts=True)
    assert dict(zip(gaps.tolist(), counts.tolist(), strict=True)) == {8: 27, 38: 8, 39: 3, 119: 1}


def test_crossing_numbers_of_filled_ones_go_through_the_orbit() -> None:
    pattern = runs([(2, 1), (1, 3)])
    assert pattern.crossings(np.arange(8)).tolist() == [0, 1, 3, 7, 8, 10, 14, 15]


def test_every_filled_crossing_gives_one_where_the_probability_is_1() -> None:
    # Crossing n of 3 Hz: n / 3 s, each rounded on its own.
    found = first(Crossings(3.0, 1.0, runs([(2, 1)])))
    assert found[:4] == [0, 333_333_333_333, 1_000_000_000_000, 1_333_333_333_333]


def test_instants_come_from_crossing_numbers_by_hand() -> None:
    process = Crossings(10.0, 0.3, runs([(2, 3)]))
    gaps = RandomStreams(7).get("beam/arrivals").geometric(0.3, 16_384)
    want, filled = [], -1
    for gap in gaps[:100].tolist():
        filled += gap
        want.append(filled // 2 * 5 + filled % 2)
    assert first(process, tps=10, seed=7)[:100] == want


@given(
    mask=st.lists(st.booleans(), min_size=1, max_size=30).filter(any),
    probability=st.floats(0.01, 1.0),
    seed=st.integers(0, 1000),
)
def test_arrivals_lie_in_filled_crossings_each_at_most_once(mask: list[bool], probability: float, seed: int) -> None:
    found = np.array(first(Crossings(1.0, probability, from_mask(mask)), tps=1, seed=seed)[:2000])
    assert np.array(mask)[found % len(mask)].all()
    assert (np.diff(found) > 0).all()


def test_each_filled_slot_has_its_share() -> None:
    pattern = runs([(3, 2), (1, 1)])
    blocks = Crossings(1.0, 0.1, pattern).blocks(RandomStreams(3).get("b"), 1)
    found = np.concatenate([next(blocks) for _ in range(20)])
    counts = np.bincount(found % pattern.slots, minlength=pattern.slots)
    mean = len(found) / 4
    assert counts[[3, 4, 6]].sum() == 0
    assert counts[[0, 1, 2, 5]] == pytest.approx(mean, abs=4 * (mean * 0.75) ** 0.5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FillPattern(0, (0,)),
        lambda: FillPattern(3, ()),
        lambda: FillPattern(3, (0, 3)),
        lambda: FillPattern(3, (1, 1)),
        lambda: FillPattern(3, (2, 1)),
        lambda: FillPattern(3, (0.5,)),  # type: ignore[arg-type]
        lambda: runs([(0, 5)]),
        lambda: runs([]),
        lambda: runs([(-1, 5)]),
        lambda: runs([(5, 5)], slots=0),
        lambda: from_mask([False]),
        lambda: Crossings(0.0, 0.5),
        lambda: Crossings(40e6, 0.0),
        lambda: Crossings(40e6, 1.5),
        lambda: crossings_at(31e6, 40e6, runs([(3, 1)])),
    ],
)
def test_patterns_and_rates_that_cannot_be_are_refused(make: object) -> None:
    with pytest.raises(BadValueError):
        make()  # type: ignore[operator]


def test_the_rate_that_was_asked_for_is_the_mean_rate() -> None:
    process = crossings_at(750e3, LHC_HZ, lhc_trains())
    assert process.mean_rate_hz() == pytest.approx(750e3)
    assert process.probability == pytest.approx(750e3 / LHC_HZ * 3564 / 2808)
