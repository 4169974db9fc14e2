"""`ac.sweep`: rows of questions, of designs and of one's own function, the same on any executor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_samples import small
from sweep_tasks import Tallied, twice

import archcast as ac
from archcast.executing.attempt import ChunkError
from archcast.searching.grid import run_grid
from archcast.searching.search_file import read_search
from archcast.sweeps import _digest, sweep
from foundation.errors import BadValueError, InputError, UnknownNameError

QUESTIONS = {"workload": "resnet-50", "on": ["h100-sxm", "a100-sxm-80gb"] * 4, "batch": [1, 2, 4, 8, 16, 32, 64, 128]}
STUDY = read_search(small())
SPACE = STUDY.problem.space


def designs() -> dict[str, Any]:
    codes = SPACE.codes(np.arange(SPACE.size))
    return {
        knob.name: np.array([knob.value(int(code)) for code in row])
        for knob, row in zip(SPACE.knobs, codes, strict=True)
    }


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and one[name].tobytes() == other[name].tobytes() for name in one
    )


WHOLE = sweep(designs(), small())


def test_questions_are_answered_as_predict_batch_answers_them() -> None:
    found, known = sweep(QUESTIONS, chunk=3), ac.predict_batch(**QUESTIONS)
    assert found["workload"].tolist() == ["resnet-50"] * 8
    for name in known:
        np.testing.assert_array_equal(found[name], known[name])


def test_designs_of_a_file_come_to_what_the_search_of_the_file_finds() -> None:
    tally = run_grid(STUDY.problem, 0, SPACE.size)
    assert WHOLE["feasible"].sum() == tally.feasible
    front = np.stack([WHOLE[name][tally.archive.index] for name in STUDY.problem.objectives], axis=1)
    assert front.tobytes() == tally.archive.values.tobytes()
    reasons, counts = np.unique(WHOLE["reason"][~WHOLE["feasible"]], return_counts=True)
    assert dict(zip(reasons.tolist(), counts.tolist(), strict=True)) == {
        name: refused.designs for name, refused in tally.refused.items()
    }


@settings(max_examples=15)
@given(st.integers(7, 500))
def test_the_cut_into_chunks_does_not_matter(chunk: int) -> None:
    assert same(sweep(designs(), small(), chunk=chunk), WHOLE)


def test_processes_and_a_folder_give_the_same_columns(tmp_path: Path) -> None:
    assert same(sweep(designs(), small(), chunk=100, executor="processes", workers=2, folder=tmp_path), WHOLE)
    kept = sorted(tmp_path.glob("*.shard"))
    before = [file.stat().st_mtime_ns for file in kept]
    assert same(sweep(designs(), small(), chunk=100, folder=tmp_path), WHOLE)
    assert [file.stat().st_mtime_ns for file in sorted(tmp_path.glob("*.shard"))] == before


def test_dask_gives_the_same_columns() -> None:
    pytest.importorskip("distributed", reason="the extra cluster is not installed")
    assert same(sweep(designs(), small(), chunk=50, executor="dask", workers=2), WHOLE)


def test_a_knob_of_one_value_may_be_left_out_and_others_may_not() -> None:
    one = small(space_rows=[8])
    columns = designs()
    rows = columns.pop("rows")
    found = sweep(columns, one)
    assert np.array_equal(found["latency_s"][rows == 8], WHOLE["latency_s"][rows == 8], equal_nan=True)
    with pytest.raises(BadValueError, match="the columns lack the knob rows, which has 2 values in the file"):
        sweep(columns, small())


def test_numbers_need_not_be_those_of_the_file() -> None:
    columns = {name: column[:1] for name, column in designs().items()} | {"rows": [8, 9, 10]}
    found = sweep(columns, small())
    assert len(set(found["area_mm2"].tolist())) == 3


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"rowz": 8}, UnknownNameError, "Nearest: rows"),
        ({"rows": [8.5]}, BadValueError, "rows must be a whole number"),
        ({"rows": [float("nan")]}, BadValueError, "rows must be a finite number"),
        ({"rows": [float("inf")]}, BadValueError, "rows must be a finite number"),
        ({"rows": ["8"]}, BadValueError, "the column 'rows' holds text"),
        ({"rows": [8, 9], "cols": [1, 2, 3]}, BadValueError, "lists of one length"),
        ({"rows": [object()]}, BadValueError, "holds neither numbers"),
        ({"dataflow": ["xs"]}, BadValueError, "dataflow is one of ws, os, is, not 'xs'"),
    ],
)
def test_columns_that_cannot_be_are_refused(change: dict[str, Any], error: type[InputError], words: str) -> None:
    columns = {name: column[0] for name, column in designs().items()}
    with pytest.raises(error, match=words):
        sweep(columns | change, small())


def test_a_function_of_columns_is_evaluated_in_chunks() -> None:
    found = sweep({"x": np.arange(10.0)}, twice, chunk=3)
    assert found["double"].tolist() == [2.0 * x for x in range(10)]
    assert found["name"].tolist() == [f"x{x}" for x in range(10)]
    assert same(found, sweep({"x": np.arange(10.0)}, twice, executor="processes", workers=1, chunk=4))


def test_a_function_that_returns_too_few_rows_names_those_it_was_given() -> None:
    with pytest.raises(InputError, match="'y' has not one entry for each of rows 4 to 7"):
        sweep({"x": np.arange(9.0)}, lambda columns: {"y": columns["x"][: 4 if columns["x"][0] < 4 else 1]}, chunk=4)


def test_a_function_that_returns_other_columns_for_some_rows_is_refused() -> None:
    with pytest.raises(BadValueError, match="'y' for some rows"):
        sweep({"x": np.arange(9.0)}, lambda c: {"y": c["x"]} if c["x"][0] < 4 else {}, chunk=4)


def test_a_function_that_fails_names_the_rows() -> None:
    with pytest.raises(ChunkError, match=r"^The rows 0 to 3 failed: KeyError: 'y'"):
        sweep({"x": np.arange(9.0)}, lambda columns: {"z": columns["y"]}, chunk=4)


def _scaled(by: float) -> Callable[[Any], Any]:
    return lambda columns: {"y": by * columns["x"]}


def test_functions_differ_by_their_code_and_by_what_they_hold() -> None:
    assert _digest(_scaled(2.0), True) == _digest(_scaled(2.0), True)
    held = [_scaled(2.0), _scaled(3.0), twice, lambda columns: columns, lambda columns: {"y": columns["x"]}]
    held += [partial(twice), Tallied(1), Tallied(2)]
    assert len({_digest(function, True) for function in held}) == len(held)
    with pytest.raises(BadValueError, match="give it an attribute `digest`"):
        _digest(_scaled(lambda: 1), True)  # type: ignore[arg-type]


def test_changed_functions_and_changed_rows_are_evaluated_again_and_only_they(tmp_path: Path) -> None:
    first = sweep({"x": np.arange(10.0)}, _scaled(2.0), folder=tmp_path, chunk=5)
    assert sweep({"x": np.arange(10.0)}, _scaled(3.0), folder=tmp_path, chunk=5)["y"][3] == 9.0
    assert len(list(tmp_path.glob("*.shard"))) == 4
    changed = np.arange(10.0)
    changed[9] = 100.0
    assert sweep({"x": changed}, _scaled(2.0), folder=tmp_path, chunk=5)["y"][:9].tolist() == first["y"][:9].tolist()
    assert len(list(tmp_path.glob("*.shard"))) == 5
