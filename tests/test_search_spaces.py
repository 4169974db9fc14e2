"""Spaces of a search: spans, scales, names, conditions; codes, columns and the unit cube are inverse to each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from archcast.searching.knobs import KnobKind, planned
from archcast.searching.ranges import Choice, Names, Real, Whole
from archcast.searching.sampler import keys_of
from archcast.searching.space import DesignSpace, Span
from foundation.errors import BadValueError, UnknownNameError


def mixed() -> DesignSpace:
    """Return a space with every sort of knob: `count` matters for one kind, `depth` where `count`'s kind has a mode."""
    return DesignSpace.of(
        rows=Choice([32, 8, 16]), rate=Real(1e-4, 1e-1, log=True), share=Real(0.0, 1.0), count=Whole(1, 64),
        size=Whole(1, 10**6, log=True), kind=Names("a", "b", "c"), mode=Names("x", "y"), depth=Choice([1, 2, 4]),
        when={"count": ("kind", ["a", "b"]), "mode": ("kind", "a"), "depth": ("mode", "y")},
    )  # fmt: skip


units = st.lists(st.floats(0, 1), min_size=8, max_size=8).map(lambda row: np.array([row]))


@given(units)
def test_encoding_a_decoded_point_and_decoding_it_again_is_the_same_design(unit: Any) -> None:
    space = mixed()
    codes = space.decode(unit)
    again = space.decode(space.encode(codes))
    np.testing.assert_allclose(again, codes, rtol=1e-12)
    exact = [place for place, knob in enumerate(space.knobs) if knob.span is None or knob.span.whole]
    assert np.array_equal(again[exact], codes[exact])


@given(units)
def test_columns_of_a_design_give_its_codes_again(unit: Any) -> None:
    space = mixed()
    codes = space.decode(unit)
    assert np.array_equal(space.codes_of(space.columns(codes)), codes)


@given(st.integers(1, 10**12), st.integers(0, 10**6), st.booleans())
def test_every_whole_number_of_a_span_is_its_own_inverse(low: int, more: int, log: bool) -> None:
    span = Span(float(low), float(low + more), log, True)
    values = np.unique(np.array([low, low + more // 3, low + more], dtype=float))
    assert np.array_equal(span.decode(span.encode(values)), values)


def test_a_logarithmic_span_has_as_many_designs_in_each_decade() -> None:
    values = Span(1e-4, 1e-1, True).decode(np.linspace(0, 1, 3001))
    counts = [int(((values >= low) & (values < 10 * low)).sum()) for low in (1e-4, 1e-3, 1e-2)]
    assert max(counts) - min(counts) <= 2
    assert values[0] == 1e-4
    assert values[-1] == 1e-1


def test_designs_that_differ_in_an_inactive_knob_alone_are_one_design() -> None:
    space = mixed()
    same = {"rows": 8, "rate": 0.01, "share": 0.5, "size": 7, "kind": "c"}
    one = space.codes_of({**same, "count": 3, "mode": "x", "depth": 4})
    other = space.codes_of({**same, "count": 60, "mode": "y", "depth": 1})
    assert np.array_equal(one, other)
    assert keys_of(one) == keys_of(other)
    assert space.values(one[:, 0])["count"] is None
    active = space.codes_of({**same, "kind": "b", "count": 3, "mode": "y", "depth": 4})
    shown = space.values(active[:, 0])
    assert (shown["count"], shown["mode"], shown["depth"]) == (3, None, None)  # depth asks mode, which kind b has not


def test_designs_that_differ_have_keys_that_differ() -> None:
    space = DesignSpace.of(a=Choice(list(range(40))), b=Choice(list(range(40))), c=Choice(list(range(40))))
    codes = space.codes(np.arange(space.size)).astype(float)
    assert len(set(keys_of(codes))) == space.size == 64_000


def test_the_size_of_a_space_counts_whole_numbers_and_is_endless_with_real_ones() -> None:
    assert DesignSpace.of(a=Whole(1, 64), b=Names("x", "y")).size == 128
    assert DesignSpace.of(a=Real(0, 1)).size == 0
    assert DesignSpace.of(a=Real(2, 2)).size == 1


@pytest.mark.parametrize(
    ("knobs", "when", "words"),
    [
        ({}, {}, "at least one knob"), ({"a": Choice([])}, {}, "a has no value"), ({"a": Real(2, 1)}, {}, "is empty"),
        ({"a": Real(0, 1, log=True)}, {}, "begin above 0"), ({"a": Whole(1, 2.5)}, {}, "whole number"),
        ({"a": Real(0, float("inf"))}, {}, "finite"), ({"a": Choice([1, "x"])}, {}, "finite number"),
        ({"a": 1, "b": 2}, {"a": ("b", 3)}, "Unknown value of b"), ({"a": 1}, {"a": ("z", 3)}, "Unknown knob 'z'"),
        ({"a": 1, "b": Real(0, 1)}, {"a": ("b", 0.5)}, "listed values"),
        ({"a": 1, "b": 2}, {"a": "b"}, "a knob and its"),
        ({"a": 1, "b": 2}, {"a": ("b", 2), "b": ("a", 1)}, "circle"), ({"a": 1}, {"a": ("a", 1)}, "circle"),
    ],
)  # fmt: skip
def test_spaces_that_cannot_be_are_refused(knobs: dict[str, Any], when: dict[str, Any], words: str) -> None:
    with pytest.raises((BadValueError, UnknownNameError), match=words):
        DesignSpace.of(when=when, **knobs)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"rows": 9}, "none of those listed"), ({"kind": "d"}, "one of a, b, c"), ({"count": 65}, "whole number"),
        ({"count": 1.5}, "whole number"), ({"share": 1.5}, "from 0 to 1"), ({"extra": 1}, "Unknown knob 'extra'"),
    ],
)  # fmt: skip
def test_columns_that_are_no_design_are_refused(changed: dict[str, Any], words: str) -> None:
    design = {"rows": 8, "rate": 0.01, "share": 0.5, "size": 7, "kind": "a", "count": 3, "mode": "x", "depth": 4}
    with pytest.raises((BadValueError, UnknownNameError), match=words):
        mixed().codes_of({**design, **changed})


def test_a_range_without_steps_is_open_where_a_method_can_take_it() -> None:
    kind = KnobKind("whole", 1, 1e6, "B")
    knob = planned("size", {"from": "1 KiB", "to": "64 KiB", "scale": "log"}, kind, True).knob()
    assert knob.span == Span(1024.0, 65536.0, True, True)
    with pytest.raises(BadValueError, match="exactly one of"):
        planned("size", {"from": 1, "to": 8}, kind)
    with pytest.raises(BadValueError, match="above 0"):
        planned("share", {"from": 0, "to": 1, "scale": "log"}, KnobKind("real", 0, 1), True)
