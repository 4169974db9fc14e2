"""Mappings as text: what a tile is, and hostile input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costmodel.spatial.loop_nest_text import DIMENSIONS, nest_columns, parse_loop_nest
from foundation.errors import BadValueError

TEXT = "L3[WIO] P7 Q14 - L2[WI] N1 K16X - L1[O] K4 S7 R7 Q2 P4 C3X - L0[W] Q4 P4"


def test_levels_come_out_as_written() -> None:
    levels = parse_loop_nest(TEXT)
    assert [(level.number, level.keeps) for level in levels] == [(3, "WIO"), (2, "WI"), (1, "O"), (0, "W")]
    assert levels[2].factor("K") == 4
    assert levels[1].factor("K", spatial=True) == 16
    assert levels[1].factor("K", spatial=False) == 1


def test_a_tile_is_the_product_of_the_loops_on_chip() -> None:
    columns = nest_columns([TEXT])
    assert {name: columns.tile[name][0] for name in DIMENSIONS} == {
        "R": 7, "S": 7, "P": 16, "Q": 8, "C": 3, "K": 64, "N": 1
    }  # fmt: skip
    assert (columns.passes["P"][0], columns.passes["Q"][0], columns.passes["K"][0]) == (7, 14, 1)
    assert (columns.spatial["K"][0], columns.spatial["C"][0]) == (16, 3)


def test_loops_are_ordered_from_the_innermost_out_and_absent_ones_last() -> None:
    order = "".join(DIMENSIONS[i] for i in nest_columns([TEXT]).inner_first[0])
    assert order == "QPCRSKN"


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "L0[W]P4", "L0 P4", "L1[O] P4", "L0[W] P0", "L0[W] P-4", "L0[W] Z4", "L0[W] P4 - L1[O] K2",
        "L1[O] K2 - L1[O] K2", "L0[XYZ] P4", "L0[W] P4XX", "L0[W] P4.5", "L0[W] P99999999999999",
        "L0[W] " + "P9999999999999 " * 3, "L0[W] " + "P2 " * 70, " - ".join(f"L{i}[W] P1" for i in range(20, -1, -1)),
        "x" * 5000, "L0[W] P４", "\x00", "L0[W] P4 -  - ",
    ],
)  # fmt: skip
def test_hostile_text_gives_one_clear_error(text: str) -> None:
    with pytest.raises(BadValueError, match=r"^Mapping '"):
        parse_loop_nest(text)


@given(st.text(max_size=80))
def test_any_text_is_a_mapping_or_that_error(text: str) -> None:
    try:
        levels = parse_loop_nest(text)
    except BadValueError:
        return
    assert levels[-1].number == 0


def test_columns_of_many_rows_are_those_of_each() -> None:
    texts = [TEXT, "L3[WIO] K2 - L2[WI] N1 - L1[O] C4 - L0[W] P3", TEXT]
    columns = nest_columns(texts)
    for i, text in enumerate(texts):
        alone = nest_columns([text])
        assert all(columns.tile[name][i] == alone.tile[name][0] for name in DIMENSIONS)
        assert np.array_equal(columns.inner_first[i], alone.inner_first[0])
