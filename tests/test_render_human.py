"""Numbers as people read them: magnitude survives, one unit for a value and its interval, three digits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archcast.render.human import LADDERS, digits, listed, percent, printable, shown, text, unit_of
from costmodel.estimate import Quantity

SIZES = {unit: factor for kind in LADDERS for factor, unit in LADDERS[kind]}
positive = st.floats(1e-14, 1e17, allow_nan=False)


def read_back(words: str, kind: str) -> float:
    """Parse what was printed with the ladder of its kind."""
    if kind == "usd":
        return float(words.replace("$", "").replace(",", ""))
    number = "".join(c for c in words.split("/")[0].split(" ")[0] if c in "0123456789.e+-,").rstrip(",")
    unit = words[len(number) :].strip()
    return float(number.replace(",", "")) * {u: f for f, u in LADDERS[kind]}[unit]


@given(
    positive, st.sampled_from(["s", "j", "w", "bytes", "traffic_bytes", "bytes_per_s", "flop_per_s", "per_s", "usd"])
)
def test_what_is_printed_reads_back_within_rounding(value: float, kind: str) -> None:
    assert read_back(text(value, kind), kind) == pytest.approx(value, rel=6e-3)


@given(st.floats(1e-12, 1e3), st.sampled_from(["s", "j", "w"]))
def test_the_number_has_one_to_three_digits_before_the_point(value: float, kind: str) -> None:
    factor, _ = unit_of(value, kind)
    assert 0.999 <= value / factor < 1000


@given(positive, st.floats(0.1, 1.0), st.floats(1.0, 10.0))
def test_an_interval_is_in_the_unit_of_its_value(value: float, below: float, above: float) -> None:
    as_shown = shown(Quantity(value, value * below, value * above), "j")
    factor = SIZES[as_shown.unit]
    for number, exact in ((as_shown.number, value), (as_shown.lo, value * below), (as_shown.hi, value * above)):
        assert float(number.replace(",", "")) * factor == pytest.approx(exact, rel=6e-3)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (1.7622, "s", "1.76 s"), (0.0009996, "s", "1.00 ms"), (90.0, "s", "90.0 s"), (700.0, "s", "11.7 min"),
        (2.5e-6, "s", "2.50 µs"), (652.27, "j", "652 J"), (12_345.0, "j", "12.3 kJ"), (16 * 2**30, "bytes", "16.0 GiB"),
        (999.6, "w", "1.00 kW"), (0.001463, "usd", "$0.00146"), (1234.5, "usd", "$1,234"),
        (3.35e12, "bytes_per_s", "3.35 TB/s"), (8.03e9, "count", "8.03 billion"), (0.0, "s", "0 s"),
        (1162.0, "per_s", "1,162/s"), (-0.25, "usd", "-$0.250"),
    ],
)  # fmt: skip
def test_known_values(value: float, kind: str, words: str) -> None:
    assert text(value, kind) == words


def test_numbers_that_are_not_finite_are_printed_as_they_are() -> None:
    assert digits(math.nan) == "nan"
    assert text(math.inf, "s") == "inf s"


def test_shares() -> None:
    assert [percent(x) for x in (0.0, 0.0001, 0.379, 1.0, 1.66)] == ["0.0 %", "< 0.1 %", "37.9 %", "100 %", "166 %"]


def test_a_list_in_words() -> None:
    assert [listed(x) for x in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == ["", "a", "a and b", "a, b and c"]


@given(st.text(max_size=300))
def test_printable_text_has_no_control_characters_and_is_short(raw: str) -> None:
    clean = printable(raw, 100)
    assert clean.isprintable()
    assert len(clean) <= 100
