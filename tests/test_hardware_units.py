"""Text with units becomes SI numbers once, or one sentence that says what was found and what was wanted."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BadValueError
from hardware_specs.units import Quantity, parse_quantity

DATA = Quantity("B", 0, 1e15)
RATE = Quantity("B/s", 1, 1e15)
LINK = Quantity("B/s", 1, 1e15, bits=True)


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("3.35 TB/s", "B/s", 3.35e12),
        ("700 W", "W", 700.0),
        ("25 pJ/bit", "J/B", 200e-12),
        ("80 GiB", "B", 85_899_345_920.0),
        ("80 GB", "B", 80e9),
        ("151,397,597,184 B", "B", 151_397_597_184.0),
        ("989 TFLOP/s", "FLOP/s", 989e12),
        ("6 TOPS", "FLOP/s", 6e12),
        ("1 TMAC/s", "FLOP/s", 2e12),
        ("0.5 pJ/MAC", "J/FLOP", 0.25e-12),
        ("3 us", "s", 3e-6),
        ("1.755 GHz", "Hz", 1.755e9),
        ("4267 MT/s", "Hz", 4.267e9),
        ("2.50 USD/h", "USD/h", 2.5),
        ("4 nm", "nm", 4.0),
        ("1e3 kB", "B", 1e6),
        (0.85, "", 0.85),
    ],
)
def test_a_quantity_is_read_in_the_unit_that_the_field_wants(text: object, unit: str, expected: float) -> None:
    assert parse_quantity(text, Quantity(unit, 0, math.inf)) == pytest.approx(expected, rel=1e-12)


def test_links_may_be_given_in_bits() -> None:
    assert parse_quantity("400 Gb/s", LINK) == pytest.approx(50e9)


@pytest.mark.parametrize(
    ("text", "wanted", "words"),
    [
        ("3.35 TB", RATE, ["'3.35 TB' is an amount of data (bytes)", "a data rate (bytes per second) is expected"]),
        ("3.35 TB/s", DATA, ["is a data rate", "an amount of data (bytes) is expected"]),
        ("3.35 Tb", DATA, ["counts bits", "B is a byte and b a bit"]),
        ("3.35 Tb/s", RATE, ["counts bits"]),
        ("3.35 Tbit/s", RATE, ["counts bits"]),
        ("700", DATA, ["has no unit", "such as '700 B'"]),
        (700, DATA, ["has no unit"]),
        ("80 KB", DATA, ["unknown unit 'KB'", "kB decimal"]),
        ("80 parsec", DATA, ["unknown unit 'parsec'"]),
        ("nan W", DATA, ["is not a number with a unit"]),
        ("much", DATA, ["is not a number with a unit"]),
        ("2**99 B", DATA, ["is not a number with a unit"]),
        (None, DATA, ["is not a quantity"]),
        (True, DATA, ["is not a quantity"]),
        ([1], DATA, ["is not a quantity"]),
        ("0.8 W", Quantity("", 0, 1), ["is a power", "a number without a unit is expected"]),
    ],
)
def test_a_wrong_unit_is_one_sentence_with_what_was_found_and_expected(
    text: object, wanted: Quantity, words: list[str]
) -> None:
    with pytest.raises(BadValueError) as caught:
        parse_quantity(text, wanted)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert str(caught.value).count(". ") == 0


@given(st.floats(1e-3, 1e6), st.sampled_from([("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12), ("MiB", 2.0**20)]))
def test_writing_a_number_with_a_unit_and_reading_it_gives_it_back(number: float, unit: tuple[str, float]) -> None:
    assert parse_quantity(f"{number!r} {unit[0]}", DATA) == pytest.approx(number * unit[1], rel=1e-12)


@given(st.text(max_size=40))
def test_any_text_is_a_number_or_a_bad_value(text: str) -> None:
    with contextlib.suppress(BadValueError):
        assert not math.isnan(parse_quantity(text, RATE))
