"""Simulated time: seconds become whole ticks once, and nothing else is rounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BadValueError
from simulator.clock import to_seconds, to_ticks


def test_a_picosecond_is_one_tick_and_a_second_is_a_million_million() -> None:
    assert to_ticks([1e-12, 1e-9, 1.0, 0.0]).tolist() == [1, 1_000, 10**12, 0]
    assert to_ticks(0.1).tolist() == 10**11


def test_a_duration_is_rounded_to_the_nearest_tick() -> None:
    assert to_ticks([0.4e-12, 0.6e-12, 2.5e-12]).tolist() == [0, 1, 2]


@given(st.integers(min_value=0, max_value=2**52))
def test_ticks_survive_the_way_to_seconds_and_back(ticks: int) -> None:
    assert int(to_ticks(to_seconds(ticks))) == ticks


@given(st.lists(st.floats(min_value=0, max_value=1e6), max_size=20))
def test_a_column_gives_what_each_value_gives(seconds: list[float]) -> None:
    assert to_ticks(seconds).tolist() == [int(to_ticks(value)) for value in seconds]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), -1e-15])
def test_values_that_are_no_durations_are_refused_with_their_position(bad: float) -> None:
    with pytest.raises(BadValueError, match=r"duration_s must be .* \(position 2\)"):
        to_ticks([1.0, 2.0, bad], what="duration_s")


def test_text_is_refused() -> None:
    with pytest.raises(BadValueError, match="finite number of seconds"):
        to_ticks(["soon"])  # type: ignore[list-item]


def test_the_longest_time_is_106_days_unless_a_coarser_tick_is_declared() -> None:
    day_s = 86_400.0
    assert int(to_ticks(106 * day_s)) == 106 * 86_400 * 10**12
    with pytest.raises(BadValueError, match=r"the longest is 106\.8 days. Declare a coarser tick"):
        to_ticks(107 * day_s)
    assert int(to_ticks(3650 * day_s, ticks_per_second=10**9)) == 3650 * 86_400 * 10**9


def test_a_value_whose_ticks_overflow_a_float_is_refused_and_not_wrapped() -> None:
    with pytest.raises(BadValueError, match="64 bits"):
        to_ticks([1e300, 1e308])


@pytest.mark.parametrize("rate", [0, -5, 1.5, True, 10**16])
def test_a_tick_rate_must_be_a_sensible_whole_number(rate: object) -> None:
    with pytest.raises(BadValueError, match="ticks_per_second"):
        to_ticks(1.0, rate)  # type: ignore[arg-type]


def test_n_equal_steps_are_exactly_n_times_one_step() -> None:
    step_s = 1 / 3 * 1e-6
    one = int(to_ticks(step_s))
    assert int(np.sum(to_ticks([step_s] * 1_000))) == 1_000 * one
