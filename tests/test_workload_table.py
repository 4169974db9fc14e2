"""The operator table: what it accepts, what it refuses, and that its rows survive taking and joining."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BadValueError, UnknownNameError
from workloads.table import CATEGORIES, DEFAULTS, NEEDED, OPS, OpTable, category_code


def gemms(m: list[float]) -> OpTable:
    return OpTable.from_columns(
        {"op": "gemm", "dtype": "bf16", "m": m, "n": 8, "k": 4}, [f"g{i}" for i in range(len(m))]
    )


def same_rows(a: OpTable, b: OpTable) -> bool:
    names = [*DEFAULTS, *CATEGORIES]
    return a.rows == b.rows and a.labels == b.labels and all(np.array_equal(a.full(n), b.full(n)) for n in names)


def test_one_value_for_all_rows_is_kept_once_and_reads_as_a_full_column() -> None:
    table = gemms([1.0, 2.0, 3.0])
    assert table.rows == 3
    assert table["n"].shape == ()
    assert table.full("n").tolist() == [8.0, 8.0, 8.0]


def test_an_absent_column_has_its_default() -> None:
    table = gemms([1.0])
    assert table["batch"] == 1
    assert table["causal"] == 1
    assert table["heads"] == 0


def test_a_table_of_single_values_has_one_row() -> None:
    assert OpTable.from_columns({"op": "gemm", "m": 2, "n": 3, "k": 4}).rows == 1


def test_names_become_codes_and_come_back() -> None:
    table = OpTable.from_columns({"op": ["norm", "gemm", "norm"], "dtype": ["fp8", "float16", "bf16"]})
    assert table.names("op") == ["norm", "gemm", "norm"]
    assert table.names("dtype") == ["fp8", "fp16", "bf16"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(BadValueError, match="'m' holds NaN or infinity"):
        OpTable.from_columns({"op": "gemm", "m": [1.0, value]})


def test_a_negative_value_is_refused_and_named() -> None:
    with pytest.raises(BadValueError, match=r"'k' holds a negative value \(-3\)"):
        OpTable.from_columns({"op": "gemm", "k": [1.0, -3.0]})


def test_text_in_a_numeric_column_is_refused() -> None:
    with pytest.raises(BadValueError, match="'m' must hold numbers"):
        OpTable.from_columns({"op": "gemm", "m": ["many"]})


def test_an_unknown_column_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Unknown operator column 'head_dims'") as caught:
        OpTable.from_columns({"op": "gemm", "head_dims": [1.0]})
    assert caught.value.nearest[0] == "head_dim"


def test_an_unknown_operator_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Unknown operator 'gem'") as caught:
        OpTable.from_columns({"op": ["gem"]})
    assert caught.value.nearest[0] == "gemm"


def test_an_unknown_format_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Unknown number format 'bf61'") as caught:
        OpTable.from_columns({"op": "gemm", "dtype": "bf61"})
    assert "bf16" in caught.value.nearest


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(BadValueError, match=r"different lengths: \[2, 3\]"):
        OpTable.from_columns({"op": "gemm", "m": [1, 2], "n": [1, 2, 3]})


def test_a_column_that_does_not_fit_the_rows_is_refused() -> None:
    with pytest.raises(BadValueError, match=r"'m' has shape \(2,\), but the table has 3 rows"):
        OpTable(3, {"m": np.array([1.0, 2.0])})


def test_labels_that_do_not_fit_the_rows_are_refused() -> None:
    with pytest.raises(BadValueError, match="1 labels for 2 rows"):
        OpTable.from_columns({"op": "gemm", "m": [1, 2]}, ["only"])


def test_every_operator_says_what_it_needs() -> None:
    assert set(NEEDED) == set(OPS)
    assert all(column in DEFAULTS for columns in NEEDED.values() for column in columns)


def test_faults_name_the_row_and_the_size_that_is_missing() -> None:
    table = OpTable.from_columns(
        {"op": ["gemm", "norm", "gemm"], "m": [1, 0, 0], "n": 2, "k": 3, "rows": 4, "hidden": 5}
    )
    assert table.faults() == [(2, "gemm needs m above 0, found 0")]


def test_a_category_code_is_its_place_in_the_list() -> None:
    assert category_code("kind", "all_gather") == 2
    with pytest.raises(UnknownNameError, match="Unknown phase 'prefil'"):
        category_code("phase", "prefil")


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=20), st.data())
def test_taking_every_row_in_any_order_and_back_is_the_table(sizes: list[int], data: st.DataObject) -> None:
    table = gemms([float(s) for s in sizes])
    order = np.array(data.draw(st.permutations(range(len(sizes)))))
    assert same_rows(table.take(order).take(np.argsort(order)), table)


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=20), st.data())
def test_a_table_cut_in_two_and_joined_is_the_table(sizes: list[int], data: st.DataObject) -> None:
    table = gemms([float(s) for s in sizes])
    cut = data.draw(st.integers(0, len(sizes)))
    joined = OpTable.concat([table.take(slice(0, cut)), table.take(slice(cut, None))])
    assert same_rows(joined, table)


def test_a_mask_takes_the_rows_where_it_is_set() -> None:
    taken = gemms([1.0, 2.0, 3.0]).take(np.array([True, False, True]))
    assert taken.full("m").tolist() == [1.0, 3.0]
    assert taken.labels == ("g0", "g2")


def test_a_table_without_a_cache_format_keeps_the_cache_in_its_own_format_when_joined() -> None:
    step = {"op": "attention", "batch": 1, "q_len": [1.0], "heads": 1, "head_dim": 8, "dtype": "fp16"}
    alone = OpTable.from_columns(step)
    joined = OpTable.concat([alone, OpTable.from_columns({**step, "kv_dtype": "fp8"})])
    assert joined.names("kv_dtype") == ["fp16", "fp8"]


def test_a_table_without_a_format_is_in_bf16() -> None:
    assert OpTable.from_columns({"op": "gemm", "m": 1, "n": 1, "k": 1}).names("dtype") == ["bf16"]


def test_tables_with_different_columns_join_with_defaults() -> None:
    norm = OpTable.from_columns({"op": "norm", "rows": [7.0], "hidden": 2})
    joined = OpTable.concat([gemms([1.0]), norm])
    assert joined.full("rows").tolist() == [0.0, 7.0]
    assert joined.full("m").tolist() == [1.0, 0.0]
    assert joined.names("op") == ["gemm", "norm"]


@pytest.mark.parametrize("code", [-1, len(OPS), 70_000])
def test_a_code_that_names_nothing_is_refused(code: int) -> None:
    with pytest.raises(BadValueError, match="'op' holds a code that names nothing"):
        OpTable.from_columns({"op": [0, code], "m": 8, "n": 8, "k": 8})
