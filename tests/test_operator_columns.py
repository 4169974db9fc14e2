"""Operators in memory: an empty cell is read as in a file, NaN, None and '' alike; what is needed stays needed."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import archcast as ac
from archcast.operator_columns import empty_cells
from archcast.operators import predict_ops_file
from foundation.errors import BadValueError, InputError, UnknownNameError
from workloads.column_files import write_columns

NAN = float("nan")
SPARSE: dict[str, Any] = {
    "op": ["gemm", "attention", "collective"], "dtype": ["bf16", "fp16", ""], "kv_dtype": ["", "fp8", NAN],
    "m": [64, NAN, NAN], "n": [64, None, NAN], "k": [64, NAN, NAN], "batch": [NAN, 2, NAN], "q_len": [NAN, 1, NAN],
    "kv_len": [NAN, 128, NAN], "heads": [NAN, 8, NAN], "kv_heads": [NAN] * 3, "head_dim": [NAN, 64, NAN],
    "phase": ["", "decode", None], "kind": [NAN, "", "all_reduce"], "bytes": [NAN, NAN, 1e6], "ranks": [NAN, NAN, 4],
    "software": ["", NAN, None], "device": ["h100-sxm"] * 3,
}  # fmt: skip
FULL: dict[str, Any] = {
    "op": ["gemm", "attention", "collective"], "dtype": ["bf16", "fp16", "bf16"], "kv_dtype": ["bf16", "fp8", "bf16"],
    "m": [64, 0, 0], "n": [64, 0, 0], "k": [64, 0, 0], "batch": [1, 2, 1], "q_len": [0, 1, 0], "kv_len": [0, 128, 0],
    "heads": [0, 8, 0], "kv_heads": [0, 0, 0], "head_dim": [0, 64, 0], "phase": ["", "decode", ""],
    "kind": ["", "", "all_reduce"], "bytes": [0, 0, 1e6], "ranks": [1, 1, 4], "device": ["h100-sxm"] * 3,
}  # fmt: skip


def same(one: Any, other: Any) -> None:
    for name in ("latency_s", "latency_lo_s", "latency_hi_s", "energy_j", "dram_bytes"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


def test_empty_cells_have_their_defaults() -> None:
    same(ac.predict_ops(SPARSE), ac.predict_ops(FULL))


def test_arrays_of_numbers_and_objects_are_read_alike() -> None:
    arrays = {name: np.array(column, dtype=object) for name, column in SPARSE.items()}
    numbers = {name: np.array(SPARSE[name], dtype=float) for name in ("m", "n", "batch", "heads", "bytes", "ranks")}
    same(ac.predict_ops(arrays | numbers), ac.predict_ops(FULL))


def test_a_table_in_memory_is_read_as_the_same_table_of_a_file(tmp_path: Path) -> None:
    def cell(value: Any) -> str:
        return "" if value is None or value != value else str(value)

    write_columns(tmp_path / "o.csv", {name: np.array([cell(v) for v in column]) for name, column in SPARSE.items()})
    same(predict_ops_file(tmp_path / "o.csv", tmp_path / "out.csv"), ac.predict_ops(SPARSE))


def test_one_empty_value_for_all_rows_is_its_default() -> None:
    asked = {"op": "gemm", "m": [5, 6], "n": 3, "k": 4}
    same(ac.predict_ops({**asked, "batch": NAN, "kv_dtype": None}, on="l40s"), ac.predict_ops(asked, on="l40s"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"m": [NAN] * 3}, "Row 1: column 'm': gemm needs m above 0, found nothing"),
        ({"heads": [NAN, None, NAN]}, "Row 2: column 'heads': attention needs heads above 0, found nothing"),
        ({"bytes": np.array([1.0, 1.0, NAN])}, "Row 3: column 'bytes': collective needs bytes above 0, found nothing"),
        ({"op": ["gemm", None, "collective"]}, "Row 2: column 'op': the cell is empty"),
        ({"dtype": ["bf16", NAN, ""]}, "Row 2: column 'dtype': the cell is empty; name the number format"),
        ({"kind": ["", "", None]}, "Row 3: a collective needs a kind"),
        ({"device": ["h100-sxm", None, "h100-sxm"]}, "Row 2: no device is named"),
        ({"m": [64, float("inf"), 0]}, "Row 2: Column 'm' holds NaN or infinity"),
        ({"m": [64, NAN, -1]}, "Column 'm' holds a negative value"),
        ({"phase": ["x", NAN, NAN]}, "Unknown phase 'x'"),
    ],
)
def test_what_is_needed_stays_needed(change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as refused:
        ac.predict_ops({**SPARSE, **change})
    assert isinstance(refused.value, BadValueError | UnknownNameError)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"m": [64, 1.5]}, "Row 2: m must be a whole number, found 1.5."),
        ({"m": np.array([1.5, 64])}, "Row 1: m must be a whole number, found 1.5."),
        ({"m": [64, 1], "n": 1e13}, "n must be from 0 to 1000000000000, found 1e+13."),
        ({"m": [64, 1], "batch": [1, 1e13]}, "Row 2: batch must be from 1 to 1000000000000, found 1e+13."),
        ({"m": [64, True]}, "Row 2: m must be a number, found True."),
        ({"m": np.array([True, True])}, "Row 1: m must be a number, found True."),
        ({"m": [64, "64"]}, "Row 2: m must be a number, found '64'."),
        ({"m": [64, 1], "batch": [NAN, "2"]}, "Row 2: batch must be a number, found '2'."),
    ],
)
def test_sizes_that_a_file_may_not_hold_are_refused_in_memory(change: dict[str, Any], said: str) -> None:
    with pytest.raises(BadValueError) as refused:
        ac.predict_ops({"op": "gemm", "dtype": "bf16", "n": 64, "k": 64, **change}, on="l40s")
    assert str(refused.value) == said


def test_what_need_not_be_whole_and_large_buffers_are_answered_in_memory() -> None:
    asked = {"op": "attention", "q_len": 1, "kv_len": [10.5, 11], "heads": 8, "head_dim": 64, "count": 1.5}
    assert ac.predict_ops(asked, on="l40s").latency_s.shape == (2,)
    moved = {"op": "collective", "kind": "all_reduce", "ranks": 2, "bytes": [1e14]}
    assert ac.predict_ops(moved, on="h100-sxm").latency_s.shape == (1,)


def test_cells_are_empty_where_nothing_stands_in_them() -> None:
    assert empty_cells([1, NAN, None, ""]).tolist() == [False, True, True, True]
    assert empty_cells(np.array([1.0, NAN])).tolist() == [False, True]
    assert empty_cells(np.array(["a", ""])).tolist() == [False, True]
    assert not empty_cells(np.array([0, 1])).any()
    assert empty_cells(None)
    assert not empty_cells(0)


class Absent:
    """A missing value as pandas has it: it compares to nothing, not even to itself, and has no truth."""

    def __ne__(self, other: object) -> Any:
        return self

    __hash__ = object.__hash__

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")


def test_a_missing_value_without_a_truth_is_an_empty_cell() -> None:
    cells = np.array(["x", Absent(), np.float64(1.0), np.float64("nan"), np.bool_(True), None, ""], dtype=object)
    assert empty_cells(cells).tolist() == [False, True, False, True, False, True, True]


def test_empty_cells_in_columns_of_several_lengths_are_refused_in_one_sentence() -> None:
    for ops in (["gemm"] * 4, ["gemm", None, None, "x"], ["gemm", None]):
        with pytest.raises(InputError):
            ac.predict_ops({"op": ops, "dtype": "bf16", "m": [1, None, 2, 3, 4, 5, 6], "n": 8, "k": 8}, on="h100-sxm")
    with pytest.raises(InputError):
        ac.predict_ops({"op": ["gemm"] * 2, "dtype": ["bf16", None, ""], "m": 8, "n": 8, "k": 8}, on="h100-sxm")


@given(st.data())
def test_columns_of_anything_are_priced_or_refused_in_one_sentence(data: st.DataObject) -> None:
    cell = st.one_of(st.none(), st.floats(), st.integers(-5, 10**20), st.text(max_size=3), st.booleans())
    column = st.one_of(cell, st.lists(cell, max_size=4), st.lists(st.sampled_from(["gemm", "", None]), max_size=4))
    names = st.sampled_from(["op", "dtype", "kv_dtype", "m", "n", "k", "batch", "phase", "bytes", "software", "kv_len"])
    columns = {"op": "gemm", "dtype": "bf16", "m": 8, "n": 8, "k": 8, **data.draw(st.dictionaries(names, column))}
    with suppress(InputError):
        assert (ac.predict_ops(columns, on="h100-sxm", model="physics").latency_s > 0).all()
