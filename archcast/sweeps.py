"""`sweep`: many rows of questions or designs, in chunks, on any executor, kept in a folder as they are done."""

from __future__ import annotations

import hashlib
import pickle
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from archcast.batches import check_sizes, predict_batch
from archcast.executing import Rows, Task, find_executor
from archcast.executing import sweep as sweep_chunks
from archcast.searching.designs import DESIGNS
from archcast.searching.problem import Problem
from archcast.searching.problem import evaluate as evaluate_designs
from archcast.searching.search_file import Study, read_search
from foundation.checks import whole_number
from foundation.errors import BadValueError, UnknownNameError
from workloads.table import Array

Columns = Mapping[str, Any]
Evaluate = str | Path | Mapping[str, Any] | Callable[[dict[str, Array]], Columns]

CHUNK = 4096
"""Rows at a time."""
MOST_ROWS = 100_000_000


def sweep(
    columns: Columns, evaluate: Evaluate = "predict", *, executor: str = "serial", workers: int = 0, address: str = "",
    folder: str | Path | None = None, chunk: int = CHUNK, progress: Callable[[int, int], None] | None = None,
) -> dict[str, Array]:  # fmt: skip
    """Return the columns with what each row comes to; the same for any executor, workers and chunk.

    Args:
        columns: by name, each a list or array with one entry a row, or one value for all.
        evaluate: "predict" (the columns of `predict_batch`); a file of kind `search` or a mapping with its keys
            (columns are its knobs; one that has a single value there may be left out); or a function that takes
            columns of some rows as arrays and returns columns of as many.
        executor, workers, address: `serial`, `processes` or `dask`; processes (0: every core); a Dask scheduler.
        folder: where finished chunks are kept; the same call goes on from there after a kill.
        chunk: rows at a time: 1,000 or more where a row takes microseconds, few where it takes seconds.
        progress: told the rows done and those in all.

    Returns:
        Arrays of shape (rows,). Of a file of kind `search`: its values (NaN where a design was refused before they
        were known), `feasible` and `reason`.

    Raises:
        InputError: a bad file, executor or column; columns of different lengths.
        ChunkError: the function failed, or returned columns of another length; it names the rows.
    """
    whole_number("chunk", chunk)
    task, given = _task(columns, evaluate, folder is not None)
    rows = len(next(iter(given.values())))
    parts = [
        Rows({name: column[at : at + chunk] for name, column in given.items()}, at) for at in range(0, rows, chunk)
    ]
    with find_executor(executor, workers, address) as where:
        found = sweep_chunks(task, parts, executor=where, folder=folder, progress=progress)
    return given | _joined(found, [part.designs for part in parts], isinstance(task, FunctionTask))


@dataclass(frozen=True)
class FunctionTask(Task):
    """A function of columns."""

    digest: str
    function: Callable[[dict[str, Array]], Columns]

    def __call__(self, chunk: Rows) -> dict[str, Array]:
        found = {name: _plain(name, column) for name, column in self.function(dict(chunk.columns)).items()}
        for name, column in found.items():
            if column.shape[:1] != (chunk.designs,):
                raise BadValueError(f"the function's column '{name}' has not one entry for each of {chunk}.")
        return found


@dataclass(frozen=True)
class DesignsTask(Task):
    """The values of designs of a problem; the columns are its knobs, names as text."""

    digest: str
    problem: Problem

    def __call__(self, chunk: Rows) -> dict[str, Array]:
        coded = {
            knob.name: knob.codes(chunk.columns[knob.name]) if knob.category else chunk.columns[knob.name]
            for knob in self.problem.space.knobs
        }
        found = evaluate_designs(self.problem, coded)
        reasons = np.array(["", *found.reasons], dtype=str)
        return {**found.values, "feasible": found.feasible, "reason": reasons[found.reason]}


def _task(columns: Columns, evaluate: Evaluate, kept: bool) -> tuple[Task, dict[str, Array]]:
    """Return what is done to rows, and the rows as arrays of one length."""
    if evaluate == "predict":
        check_sizes(columns)
        return FunctionTask("predict", _predict), _rows(columns)
    if callable(evaluate):
        return FunctionTask(_digest(evaluate, kept), evaluate), _rows(columns)
    study = read_search(evaluate)
    return DesignsTask(f"designs {study.digest}", study.problem), _rows(_knobs(study, _rows(columns)))


def _predict(columns: dict[str, Array]) -> Columns:
    return predict_batch(**{name: column.tolist() for name, column in columns.items()})


def _knobs(study: Study, given: dict[str, Array]) -> dict[str, Array]:
    """Return all knobs of a study as columns. Raises UnknownNameError, BadValueError: what cannot be."""
    knobs = {knob.name: knob for knob in study.problem.space.knobs}
    kinds = DESIGNS[study.design].knobs
    for name in given:
        if name not in knobs:
            raise UnknownNameError("knob", name, knobs, f"Known: {', '.join(knobs)}.")
    out = {}
    for name, knob in knobs.items():
        if name not in given and len(knob.values) != 1:
            raise BadValueError(f"the columns lack the knob {name}, which has {len(knob.values)} values in the file.")
        column = given.get(name, np.array([knob.value(0)]))
        if knob.category:
            knob.codes(column)  # refuses names that it does not have
        elif column.dtype.kind == "U":
            raise BadValueError(f"the column '{name}' holds text where numbers are needed.")
        else:
            column = column.astype(float)
            for one in (column.min(), column.max(), column[np.argmax(column != np.rint(column))]):
                kinds[name].number(name, float(one))
        out[name] = column
    return out


def _rows(columns: Columns) -> dict[str, Array]:
    """Return columns as arrays of one length. Raises BadValueError."""
    if not columns:
        raise BadValueError("a sweep needs at least one column.")
    arrays = {str(name): _plain(str(name), column) for name, column in columns.items()}
    lengths = {len(array) for array in arrays.values() if array.ndim}
    if any(array.ndim > 1 for array in arrays.values()) or len(lengths - {1}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise BadValueError(f"the columns of a sweep are lists of one length or single values, not {shapes}.")
    rows = whole_number("rows of a sweep", max(lengths, default=1), high=MOST_ROWS)
    return {name: np.ascontiguousarray(np.broadcast_to(array, (rows,))) for name, array in arrays.items()}


def _plain(name: str, column: Any) -> Array:
    """Return a column as an array of numbers, truth values or text. Raises BadValueError."""
    array = np.asarray(column)
    if array.dtype == object and all(isinstance(one, str) for one in array.ravel()):
        array = array.astype(str)
    if array.dtype.kind not in "biufU":
        raise BadValueError(f"the column '{name}' holds neither numbers, truth values nor text alone.")
    return array


def _joined(parts: list[dict[str, Array]], rows: list[int], exact: bool) -> dict[str, Array]:
    """Return columns of all parts; a value that no design of a part came as far as to have is NaN there.

    With `exact` all parts have the same columns.
    """
    names = max(parts, key=len)
    for part in parts if exact else ():
        if odd := part.keys() ^ names.keys():
            raise BadValueError(f"the function returns the column '{min(odd)}' for some rows and not for others.")
    return {
        name: np.concatenate([part.get(name, np.full(n, np.nan)) for part, n in zip(parts, rows, strict=True)])
        for name in names
    }


def _digest(function: Callable[..., Any], kept: bool) -> str:
    """Return a digest of a function: its code, defaults and what it holds; not of the globals and modules it uses.

    Raises:
        BadValueError: it is to name shards, and cannot be read.
    """
    if isinstance(given := getattr(function, "digest", None), str):
        return given
    found = hashlib.sha256()
    try:
        if isinstance(function, FunctionType):
            cells = [cell.cell_contents for cell in function.__closure__ or ()]
            for part in (
                function.__module__,
                function.__qualname__,
                function.__defaults__,
                function.__kwdefaults__,
                cells,
            ):
                found.update(pickle.dumps(part))
            _add_code(found, function.__code__)
        else:
            found.update(pickle.dumps(function))
    except Exception as error:
        if kept:
            raise BadValueError(
                f"what this function holds cannot be told apart from another ({error}), so that its results cannot be "
                "kept: use a plain function, or give it an attribute `digest` of your own."
            ) from None
        return secrets.token_hex(16)
    return f"function {found.hexdigest()[:32]}"


def _add_code(found: Any, code: CodeType) -> None:
    found.update(code.co_code)
    found.update(repr(code.co_names).encode())
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            _add_code(found, constant)
        else:
            ordered = sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant
            found.update(repr(ordered).encode())
