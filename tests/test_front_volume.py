"""The hypervolume in public: by hand, of any points, in any order, and what has none is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import archcast as ac
from archcast.searching.front import hypervolume as of_front
from foundation.errors import BadValueError, InputError, UnsupportedError

NAN, INF = float("nan"), float("inf")


def test_by_hand_in_one_two_and_three_objectives() -> None:
    assert ac.hypervolume([[3.0], [2.0]], [5.0]) == 3.0
    assert ac.hypervolume([[1, 3], [2, 2], [3, 1]], [4, 4]) == 3 + 2 + 1
    assert ac.hypervolume([[0, 0, 0]], [1, 2, 3]) == 6.0
    assert ac.hypervolume([[0, 1, 1], [1, 0, 1]], [2, 2, 2]) == 2 + 2 - 1


def test_what_is_beyond_the_reference_or_has_no_value_dominates_nothing() -> None:
    assert ac.hypervolume([[1, 3], [NAN, 0], [0, NAN], [9, 0], [INF, INF]], [4, 4]) == 3.0
    assert ac.hypervolume([[4, 0]], [4, 4]) == 0.0
    assert ac.hypervolume([], [1, 1]) == 0.0
    assert ac.hypervolume(np.empty((0, 2)), [1, 1]) == 0.0


@given(arrays(float, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.floats(0, 2)))
def test_order_and_dominated_points_change_nothing(points: Any) -> None:
    corner = np.ones(points.shape[1])
    volume = ac.hypervolume(points, corner)
    assert 0.0 <= volume <= 1.0 + 1e-12
    assert ac.hypervolume(points[::-1], corner) == pytest.approx(volume, abs=1e-12)
    assert ac.hypervolume(np.concatenate((points, points + 0.1)), corner) == pytest.approx(volume, abs=1e-12)
    assert volume == of_front(points, corner)


@pytest.mark.parametrize(
    ("values", "reference", "said"),
    [
        ([[1, 2]], [3], "shape"),
        ([1, 2], [3, 3], "shape"),
        ([[1, 2]], [3, NAN], "finite number for each objective"),
        ([[1, 2]], 3, "finite number for each objective"),
        ([[1, 2], [1]], [3, 3], "rows of one length"),
        ([["a", 2]], [3, 3], "must hold numbers"),
        ([[-INF, 2]], [3, 3], "minus infinity"),
    ],
)
def test_what_has_no_volume_is_refused(values: Any, reference: Any, said: str) -> None:
    with pytest.raises(BadValueError, match=said):
        ac.hypervolume(values, reference)


def test_four_objectives_are_refused_in_one_sentence() -> None:
    with pytest.raises(InputError, match="at most 3 objectives, not 4") as refused:
        ac.hypervolume([[1, 1, 1, 1]], [2, 2, 2, 2])
    assert isinstance(refused.value, UnsupportedError)
