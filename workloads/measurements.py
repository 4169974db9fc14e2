"""The measurement table (docs/measurements.md): one row a measurement of one operator, SI units, CSV or Parquet.

Reading is strict: every cell that describes an operator is checked, and a bad row is reported with its number, its
column and the reason. Names are codes afterwards, so a table of a million rows is a dozen arrays.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foundation.errors import BadFileError, nearest_names
from workloads.column_files import ColumnFile, read_columns, write_columns
from workloads.measurement_checks import MEASURED, BadRow, Checker, blank_texts
from workloads.table import CATEGORIES, DEFAULTS, OPS, Array, OpTable

__all__ = [
    "LABELS", "MEASURED", "BadRow", "MeasurementTable", "measurement_table", "read_measurements", "write_costs",
]  # fmt: skip

LABELS: tuple[str, ...] = ("device", "software", "source")
"""Columns of text that say where a row is from."""


@dataclass(frozen=True)
class MeasurementTable:
    """Measurements of operators.

    `table` holds the operators; `device`, `software` and `source` are text, one a row ('' = not given). `measured`
    maps a column of `MEASURED` to float64 with NaN where empty; absent columns are left out. `raw` holds every column
    of the file in its order, to be written back. `row_numbers` are the data rows of the file, from 1; `skipped` the
    rows that were left out. All arrays have shape (rows,).
    """

    path: str
    table: OpTable
    device: Array
    software: Array
    source: Array
    measured: dict[str, Array]
    raw: dict[str, Array] = field(repr=False)
    row_numbers: Array = field(repr=False)
    skipped: tuple[BadRow, ...] = ()

    @property
    def rows(self) -> int:
        return self.table.rows

    @property
    def header(self) -> tuple[str, ...]:
        return tuple(self.raw)

    @property
    def extra(self) -> tuple[str, ...]:
        """Columns of the file that mean nothing here; they are carried along."""
        return tuple(name for name in self.raw if name not in _KNOWN)

    def value(self, name: str) -> Array:
        """Return a measured column, shape (rows,); NaN where it was not measured."""
        return self.measured.get(name, np.full(self.rows, np.nan))

    def take(self, index: Array | slice) -> MeasurementTable:
        """Return the rows at `index`, in that order."""
        return MeasurementTable(
            self.path, self.table.take(index), self.device[index], self.software[index], self.source[index],
            {n: c[index] for n, c in self.measured.items()}, {n: c[index] for n, c in self.raw.items()},
            self.row_numbers[index], self.skipped,
        )  # fmt: skip

    def drop_measured(self) -> MeasurementTable:
        """Return the operators alone: without what was measured and without `source`."""
        raw = {n: c for n, c in self.raw.items() if n not in MEASURED and n != "source"}
        blank = blank_texts(self.rows)
        return MeasurementTable(
            self.path, self.table, self.device, self.software, blank, {}, raw, self.row_numbers, self.skipped
        )


def read_measurements(
    path: str | Path, *, skip_bad: bool = False, devices: Collection[str] = (), measured: bool = True
) -> MeasurementTable:
    """Read a measurement table from CSV or Parquet.

    Args:
        skip_bad: leave bad rows out and list them in `skipped`, in place of refusing the file.
        devices: names that the column `device` may hold (empty = any; an empty cell is always allowed).
        measured: False leaves the measured columns and `source` out unread, as a prediction needs.

    Raises:
        BadFileError: the file is no table, has no column `op`, no rows, or a bad row.
        UnsupportedError: Parquet without pyarrow.
    """
    dropped = () if measured else (*MEASURED, "source")
    file = read_columns(path, lambda name: name in _NUMBERS, lambda name: name not in dropped)
    if "op" not in file.columns:
        near = nearest_names("op", file.columns, 1)
        hint = f"Nearest: {near[0]}." if near else f"The columns are those of the measurement table: {', '.join(OPS)}."
        raise BadFileError(path, "the table has no column 'op'.", hint=hint if near else "")
    if file.rows == 0:
        raise BadFileError(path, "the table has a header but no rows.")
    return _checked(file, str(path), devices, skip_bad)


def measurement_table(
    origin: str, columns: Mapping[str, Any], *, skip_bad: bool = False, devices: Collection[str] = ()
) -> MeasurementTable:  # fmt: skip
    """Build a measurement table from columns in memory, under the checks of a file.

    Args:
        origin: where the columns are from; it stands where a file's name would (in `path`, in errors).
        columns: by the names of the measurement table, arrays of one length or single values; numbers in SI units with
            NaN = empty, text with '' = empty. Other columns are carried along.
        skip_bad, devices: as in `read_measurements`.

    Raises:
        BadFileError: no column `op`, no rows, columns of different lengths, or a bad row.
    """
    arrays = {name: np.asarray(values) for name, values in columns.items()}
    lengths = {array.shape[0] for array in arrays.values() if array.ndim}
    if "op" not in arrays:
        raise BadFileError(origin, "the table has no column 'op'.")
    if len(lengths) > 1 or any(array.ndim > 1 for array in arrays.values()):
        raise BadFileError(origin, f"the columns have different lengths: {sorted(lengths)}.")
    rows = lengths.pop() if lengths else 1
    if rows == 0:
        raise BadFileError(origin, "the table has no rows.")
    unread: list[tuple[int, str, str]] = []
    ready = {name: _in_memory(name, array, rows, unread) for name, array in arrays.items()}
    file = ColumnFile(origin, ready, rows, unread, np.zeros(0, dtype=np.int64))
    return _checked(file, origin, devices, skip_bad)


def _in_memory(name: str, array: Array, rows: int, unread: list[tuple[int, str, str]]) -> Array:
    """Return a column as a file's would be: float64 with NaN = empty, or text as objects; notes what is no number."""
    if name not in _NUMBERS:
        text = np.empty(rows, dtype=object)
        text[:] = array if array.dtype.kind == "O" else array.astype(str).astype(object)
        return text
    try:
        values = np.array(np.broadcast_to(array, rows), dtype=np.float64)
    except (TypeError, ValueError):
        raise BadFileError("the columns given", "a column of numbers holds something else.", key=name) from None
    for i in np.flatnonzero(np.isinf(values)):
        unread.append((int(i), name, f"{values[i]:g}"))
        values[i] = np.nan
    return values


def _checked(file: ColumnFile, origin: str, devices: Collection[str], skip_bad: bool) -> MeasurementTable:
    """Return the rows of a table that are good. Raises BadFileError where one is bad and none may be skipped."""
    checker = Checker(file, devices)
    table = checker.operators()
    checker.measured()
    bad = checker.bad_rows()
    if bad and (not skip_bad or len({b.row for b in bad}) == file.rows):
        raise _refusal(origin, bad)
    device, software, source = (file.columns.get(name, blank_texts(file.rows)) for name in LABELS)
    values = {n: file.columns[n] for n in MEASURED if n in file.columns}
    numbers = np.arange(1, file.rows + 1)
    whole = MeasurementTable(origin, table, device, software, source, values, file.columns, numbers, tuple(bad))
    if not bad:
        return whole
    return whole.take(np.setdiff1d(np.arange(file.rows), [b.row - 1 for b in bad]))


def write_costs(path: str | Path, measurements: MeasurementTable, costs: Mapping[str, Array]) -> None:
    """Write the operators in their order with the columns of `costs` added (CSV or Parquet, by the name's end).

    Measured columns and `source` of the input are not written; where a name stands in both, `costs` wins.

    Raises:
        BadFileError: the name's end is neither, or the folder cannot be written.
        UnsupportedError: Parquet without pyarrow.
    """
    kept = {n: c for n, c in measurements.drop_measured().raw.items() if n not in costs}
    write_columns(path, {**kept, **{n: np.asarray(c) for n, c in costs.items()}})


_NUMBERS = frozenset((*DEFAULTS, *MEASURED))
_WHOLE_MODEL = ("workload", "pp", "dp", "concurrency", "prompt", "generate", "params")
_KNOWN = frozenset((*_NUMBERS, *CATEGORIES, *LABELS, *_WHOLE_MODEL))


def _refusal(path: str | Path, bad: list[BadRow]) -> BadFileError:
    first = bad[0]
    more = len({b.row for b in bad}) - 1
    hint = f"{more} more {'row is' if more == 1 else 'rows are'} bad." if more else ""
    problem = f"row {first.row}: {first.reason}"
    return BadFileError(path, problem, line=first.line or None, key=first.column, hint=hint)
