"""Measurements of whole models (op `workload` of docs/measurements.md): one row a network, a setting and its times.

Reading is as strict as that of operators (`workloads.measurements`): every cell that says what ran is checked, and a
bad row is reported with its number, its column and the reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from foundation.checks import MAX_SIZE
from foundation.errors import BadFileError, UnknownNameError
from foundation.formats import number_format
from workloads.column_files import ColumnFile, read_columns, write_columns
from workloads.measurements import LABELS, MEASURED, BadRow
from workloads.table import Array

SIZES: tuple[str, ...] = ("count", "batch", "tp", "pp", "dp", "ep", "concurrency", "prompt", "generate")
"""Columns of numbers that say what ran; an empty cell does not apply, or was not stated."""
TEXTS: tuple[str, ...] = ("workload", "dtype", "kv_dtype", "mode", "params", "group")
"""Columns of text beside `LABELS`."""
MODES = ("", "infer", "train")
MEANS = frozenset({"batch", "concurrency", "prompt", "generate"})
"""Sizes that may be means over requests, and so need not be whole."""
MAX_NAME, MAX_PARAMS = 300, 10_000
NUMBERS = frozenset((*SIZES, *MEASURED))


@dataclass(frozen=True)
class WorkloadMeasurements:
    """Measurements of whole models.

    `workload` is a name of the catalogue or the path of a model file; `params` a JSON object of knobs set on it (''
    = none). `dtype` and `kv_dtype` '' are the network's own, or not stated. `mode` '' is `infer`. `sizes` and
    `measured` map columns of `SIZES` and `MEASURED` to float64, NaN where empty; absent columns are left out.
    `group` names what must stay on one side of a split ('' = the workload). `batch` is that of the whole system.
    Where `concurrency` is given, `energy_j` is that of one request; else that of the batch. `rate_hz` counts samples
    (images, requests). `raw` holds every column, to be written back. All arrays have shape (rows,).
    """

    path: str
    texts: dict[str, Array]
    sizes: dict[str, Array]
    measured: dict[str, Array]
    raw: dict[str, Array] = field(repr=False)
    row_numbers: Array = field(repr=False)
    skipped: tuple[BadRow, ...] = ()

    @property
    def rows(self) -> int:
        return len(self.row_numbers)

    def text(self, name: str) -> Array:
        """Return a column of `LABELS` or `TEXTS` as objects, shape (rows,); '' where it was not given."""
        return self.texts.get(name, _blank(self.rows))

    @property
    def device(self) -> Array:
        return self.text("device")

    @property
    def workload(self) -> Array:
        return self.text("workload")

    def size(self, name: str, default: float = np.nan) -> Array:
        """Return a column of `SIZES`, shape (rows,), with `default` where it is empty."""
        values = self.sizes.get(name, np.full(self.rows, np.nan))
        return np.where(np.isnan(values), default, values)

    def value(self, name: str) -> Array:
        """Return a measured column, shape (rows,); NaN where it was not measured."""
        return self.measured.get(name, np.full(self.rows, np.nan))

    def groups(self) -> Array:
        """Return what must stay on one side of a split, a text each row: `group`, else the workload's name."""
        return np.where(self.text("group") == "", self.workload, self.text("group"))

    def knobs(self, row: int) -> dict[str, Any]:
        """Return the knobs that are set on the workload of one row."""
        return dict(_parsed(self.text("params")[row]) or {})

    def take(self, index: Array | slice) -> WorkloadMeasurements:
        """Return the rows at `index`, in that order."""
        texts, sizes, measured, raw = (
            {name: column[index] for name, column in part.items()}
            for part in (self.texts, self.sizes, self.measured, self.raw)
        )
        return WorkloadMeasurements(self.path, texts, sizes, measured, raw, self.row_numbers[index], self.skipped)


def read_workload_measurements(
    path: str | Path, *, skip_bad: bool = False, devices: Collection[str] = ()
) -> WorkloadMeasurements:
    """Read measurements of whole models from CSV or Parquet.

    Args:
        skip_bad: leave bad rows out and list them in `skipped`, in place of refusing the file.
        devices: names that the column `device` may hold (empty = any; an empty cell is always allowed).

    Raises:
        BadFileError: the file is no table, has no column `workload`, no rows, or a bad row.
        UnsupportedError: Parquet without pyarrow.
    """
    return _checked(read_columns(path, NUMBERS.__contains__, bool), str(path), devices, skip_bad)


def workload_measurements(
    origin: str, columns: Mapping[str, Any], *, skip_bad: bool = False, devices: Collection[str] = ()
) -> WorkloadMeasurements:
    """Build the table from columns in memory, under the checks of a file.

    Args:
        origin: where the columns are from; it stands where a file's name would.
        columns: arrays of one length or single values; numbers in SI units with NaN = empty, text with '' = empty.
        skip_bad, devices: as in `read_workload_measurements`.

    Raises:
        BadFileError: no column `workload`, no rows, columns of different lengths, or a bad row.
    """
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    lengths = {array.shape[0] for array in arrays.values() if array.ndim}
    if len(lengths) > 1 or any(array.ndim > 1 for array in arrays.values()):
        raise BadFileError(origin, f"the columns have different lengths: {sorted(lengths)}.")
    rows = lengths.pop() if lengths else 1
    ready: dict[str, Array] = {}
    for name, array in arrays.items():
        if name in NUMBERS or (array.dtype.kind in "fiu" and name not in (*LABELS, *TEXTS)):
            ready[name] = _numbers(origin, name, array, rows)
        else:
            ready[name] = _blank(rows)
            ready[name][:] = array if array.dtype.kind == "O" else array.astype(str).astype(object)
    return _checked(ColumnFile(origin, ready, rows, [], np.zeros(0, dtype=np.int64)), origin, devices, skip_bad)


def write_workload_measurements(path: str | Path, table: WorkloadMeasurements) -> None:
    """Write a table as it was read (CSV or Parquet, by the name's end). Raises BadFileError, UnsupportedError."""
    write_columns(path, {"op": np.full(table.rows, "workload", dtype=object), **table.raw})


def params_text(**knobs: Any) -> str:
    """Return knobs as the text of a `params` cell: one object, keys sorted."""
    return json.dumps(knobs, sort_keys=True)


def _numbers(origin: str, name: str, array: Array, rows: int) -> Array:
    try:
        return np.array(np.broadcast_to(array, rows), dtype=np.float64)
    except (TypeError, ValueError):
        raise BadFileError(origin, "a column of numbers holds something else.", key=name) from None


def _blank(rows: int) -> Array:
    column = np.empty(rows, dtype=object)
    column[:] = ""
    return column


def _checked(file: ColumnFile, origin: str, devices: Collection[str], skip_bad: bool) -> WorkloadMeasurements:
    """Return the good rows of a table. Raises BadFileError where one is bad and none may be skipped."""
    if "workload" not in file.columns:
        raise BadFileError(origin, "the table has no column 'workload'.", hint="Operators have a table of their own.")
    if file.rows == 0:
        raise BadFileError(origin, "the table has no rows.")
    faults = _faults(file, devices)
    bad = [
        BadRow(row + 1, int(file.lines[row]) if len(file.lines) else 0, *faults[row]) for row in sorted(faults)
    ]  # fmt: skip
    if bad and (not skip_bad or len(bad) == file.rows):
        more = f"{len(bad) - 1} more {'row is' if len(bad) == 2 else 'rows are'} bad." if len(bad) > 1 else ""
        first = bad[0]
        problem = f"row {first.row}: {first.reason}"
        raise BadFileError(origin, problem, line=first.line or None, key=first.column, hint=more)
    columns = {name: column for name, column in file.columns.items() if name != "op"}
    texts = {name: columns[name] for name in (*LABELS, *TEXTS) if name in columns}
    sizes = {name: columns[name] for name in SIZES if name in columns}
    measured = {name: columns[name] for name in MEASURED if name in columns}
    numbers = np.arange(1, file.rows + 1)
    table = WorkloadMeasurements(origin, texts, sizes, measured, columns, numbers, tuple(bad))
    return table.take(np.setdiff1d(np.arange(file.rows), list(faults))) if faults else table


def _faults(file: ColumnFile, devices: Collection[str]) -> dict[int, tuple[str, str]]:
    """Return the first fault of each bad row: its column and the reason."""
    found: dict[int, tuple[str, str]] = {}

    def mark(mask: Array, column: str, reason: Callable[[int], str]) -> None:
        for i in np.flatnonzero(mask):
            found.setdefault(int(i), (column, reason(int(i))))

    for row, column, text in file.unread:
        found.setdefault(row, (column, f"'{text[:40]}' is not a usable number."))
    for name, check in _TEXT_CHECKS.items():
        column_text = file.columns.get(name)
        for word in set(column_text.tolist()) if column_text is not None else ():
            if problem := check(word):
                mark(column_text == word, name, lambda _, p=problem: p)  # type: ignore[misc]
    for word in set(file.columns.get("device", _blank(1)).tolist()) - {"", *devices} if devices else ():
        known = str(UnknownNameError("device", word, devices, "`archcast devices` lists them."))
        mark(file.columns["device"] == word, "device", lambda _, p=known: p)  # type: ignore[misc]
    measured = np.zeros(file.rows, dtype=bool)
    for name in (*SIZES, *MEASURED):
        values = file.columns.get(name)
        if values is None:
            continue
        given = ~np.isnan(values)
        if name in MEASURED:
            measured |= given & (name not in ("n_repeat", "latency_std_s"))
            zero = name in ("latency_s", "rate_hz", "tpot_s", "ttft_s")
            mark(given & ((values <= 0) if zero else (values < 0)) | np.isinf(values), name,
                 lambda i, n=name, v=values: f"{n} of {v[i]:g} cannot be.")  # type: ignore[misc]  # fmt: skip
        else:
            low = 0 if name == "generate" else 1
            wrong = given & ((values < low) | (values > MAX_SIZE))
            wrong |= given & (values % 1 != 0) & (name not in MEANS)
            mark(wrong, name, lambda i, n=name, lo=low, v=values:
                 f"{n} must be a whole number from {lo} to {MAX_SIZE}, found {v[i]:g}.")  # type: ignore[misc]  # fmt: skip
    mark(~measured, "latency_s", lambda _: "nothing was measured.")
    return found


def _workload_fault(word: str) -> str:
    if not word:
        return "the cell is empty; name the workload."
    return f"the name has {len(word)} characters; at most {MAX_NAME} are read." if len(word) > MAX_NAME else ""


def _format_fault(word: str) -> str:
    try:
        number_format(word or "fp32")
    except UnknownNameError as error:
        return str(error)
    return ""


@lru_cache(maxsize=65536)
def _parsed(text: str) -> dict[str, Any] | None:
    """Return the knobs of a `params` cell, or None where it is no flat JSON object."""
    if not text:
        return {}
    try:
        found = json.loads(text) if len(text) <= MAX_PARAMS else None
    except (ValueError, RecursionError):
        return None
    flat = isinstance(found, dict) and not any(
        isinstance(item, (dict, list))
        for value in found.values()
        for item in (value if isinstance(value, list) else [value])
    )
    return found if flat else None


def _params_fault(text: str) -> str:
    return "" if _parsed(text) is not None else f"'{text[:40]}' is not a JSON object of knobs (numbers, text, lists)."


_TEXT_CHECKS: dict[str, Callable[[str], str]] = {
    "op": lambda word: "" if word == "workload" else f"op must be 'workload' in this table, found '{word[:40]}'.",
    "workload": _workload_fault,
    "dtype": _format_fault,
    "kv_dtype": _format_fault,
    "mode": lambda word: "" if word in MODES else f"mode must be infer or train, found '{word[:40]}'.",
    "params": _params_fault,
}
