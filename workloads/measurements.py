"""The measurement table (docs/measurements.md): one row a measurement of one operator, SI units, CSV or Parquet.

Reading is strict: every cell that describes an operator is checked, and a bad row is reported with its number, its
column and the reason. Names are codes afterwards, so a table of a million rows is a dozen arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foundation.checks import MAX_SIZE
from foundation.errors import BadFileError, UnknownNameError, nearest_names
from foundation.formats import FORMAT_CODES
from workloads.column_files import ColumnFile, read_columns, write_columns
from workloads.table import CATEGORIES, DEFAULTS, NEEDED, OP_CODES, OPS, Array, OpTable, category_code
from workloads.work import conv_output

MEASURED: tuple[str, ...] = (
    "latency_s", "energy_j", "power_w", "memory_bytes", "ttft_s", "tpot_s", "rate_hz", "n_repeat", "latency_std_s",
)  # fmt: skip
"""Columns of what was measured; any may be absent or empty."""
LABELS: tuple[str, ...] = ("device", "software", "source")
"""Columns of text that say where a row is from."""
FRACTIONAL = frozenset({"count", "kv_len", "density", "skew", "operands", "flop_per_element"})
"""Operator columns that need not be whole numbers (a mean context length, an exponent, a share)."""
MAX_BUFFER_BYTES = 10**15


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used. `row` counts data rows from 1, `line` is the line of a text file (0 = none)."""

    row: int
    line: int
    column: str
    reason: str

    def __str__(self) -> str:
        return f"row {self.row}, column '{self.column}': {self.reason}"


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
        blank = _texts(self.rows)
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
    checker = _Checker(file, devices)
    table = checker.operators()
    checker.measured()
    bad = checker.bad_rows()
    if bad and (not skip_bad or len({b.row for b in bad}) == file.rows):
        raise _refusal(origin, bad)
    device, software, source = (file.columns.get(name, _texts(file.rows)) for name in LABELS)
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


def _texts(rows: int) -> Array:
    blank = np.empty(rows, dtype=object)
    blank[:] = ""
    return blank


def _refusal(path: str | Path, bad: list[BadRow]) -> BadFileError:
    first = bad[0]
    more = len({b.row for b in bad}) - 1
    hint = f"{more} more {'row is' if more == 1 else 'rows are'} bad." if more else ""
    problem = f"row {first.row}: {first.reason}"
    return BadFileError(path, problem, line=first.line or None, key=first.column, hint=hint)


class _Checker:
    """Checks the columns of a file and collects the faults of its rows; nothing here loops over good rows."""

    def __init__(self, file: ColumnFile, devices: Collection[str]) -> None:
        self.file, self.devices = file, devices
        self.faults: dict[int, tuple[str, str]] = {}
        for row, column, text in file.unread:
            self.faults.setdefault(row, (column, f"'{text[:40]}' is not a usable number."))

    def mark(self, mask: Array, column: str, reason: Callable[[int], str]) -> None:
        """Note a fault for every row of `mask` (the first fault of a row stays)."""
        for i in np.flatnonzero(mask):
            self.faults.setdefault(int(i), (column, reason(int(i))))

    def bad_rows(self) -> list[BadRow]:
        lines = self.file.lines
        return [BadRow(row + 1, int(lines[row]) if len(lines) else 0, *self.faults[row]) for row in sorted(self.faults)]

    def operators(self) -> OpTable:
        """Return the table of operators; rows with faults hold placeholders."""
        columns: dict[str, Array] = {"op": self._names("op", lambda word: category_code("op", word))}
        columns["dtype"] = self._names("dtype", lambda word: category_code("dtype", word), empty=-1)
        # a collective is sized in bytes; only its additions need a format
        moved = columns["op"] == OP_CODES["collective"]
        self.mark((columns["dtype"] < 0) & ~moved, "dtype", lambda _: "the cell is empty; name the number format.")
        columns["dtype"] = np.where(columns["dtype"] < 0, FORMAT_CODES["bf16"], columns["dtype"]).astype(np.int16)
        if self._given("kv_dtype"):
            codes = self._names("kv_dtype", lambda word: category_code("kv_dtype", word), empty=-1)
            columns["kv_dtype"] = np.where(codes < 0, columns["dtype"], codes).astype(np.int16)
        for name in ("phase", "kind"):
            if self._given(name):
                columns[name] = self._names(name, _coder(name), empty=0)
        for name in DEFAULTS:
            if name in self.file.columns and self._given(name):
                columns[name] = self._sizes(name)
        self._devices()
        table = OpTable(self.file.rows, columns)
        self._families(table)
        return table

    def measured(self) -> None:
        """Check what was measured: a latency is above zero, nothing is negative."""
        for name in MEASURED:
            values = self.file.columns.get(name)
            if values is None:
                continue
            with np.errstate(invalid="ignore"):
                self.mark(values < 0, name, lambda i, v=values: f"{v[i]:g} is below zero.")  # type: ignore[misc]
                if name == "latency_s":
                    self.mark(values == 0, name, lambda i: "a latency of 0 cannot be.")

    def _given(self, name: str) -> bool:
        column = self.file.columns.get(name)
        if column is None:
            return False
        return bool((column != "").any() if column.dtype == object else ~np.isnan(column).all())

    def _names(self, name: str, code: Callable[[str], int], empty: int | None = None) -> Array:
        """Return codes of a text column; without `empty`, an empty cell is a fault."""
        column = self.file.columns.get(name, _texts(self.file.rows))
        coded: dict[str, int] = {}
        reasons: dict[str, str] = {}
        for word in set(column.tolist()):
            coded[word] = 0
            if word == "":
                coded[word] = 0 if empty is None else empty
                reasons[word] = f"the cell is empty, but every operator needs a {name}." if empty is None else ""
            elif name == "op" and word == "workload":
                reasons[word] = "a whole-model row is not an operator; keep such rows in a table of their own."
            else:
                try:
                    coded[word] = code(word)
                except UnknownNameError as error:
                    reasons[word] = str(error)
        for word, reason in reasons.items():
            if reason:
                self.mark(column == word, name, lambda _, r=reason: r)  # type: ignore[misc]
        return np.array([coded[word] for word in column.tolist()], dtype=np.int16)

    def _sizes(self, name: str) -> Array:
        """Return a numeric column with its default where empty, and note what is out of range."""
        values = self.file.columns[name]
        high = MAX_BUFFER_BYTES if name == "bytes" else MAX_SIZE
        low = 1 if DEFAULTS[name] == 1 and name not in ("causal", "gated", "density", "operands", "count") else 0
        given = ~np.isnan(values)
        wrong = given & ((values < low) | (values > high))
        self.mark(wrong, name, lambda i: f"{name} must be from {low} to {high}, found {values[i]:g}.")
        if name not in FRACTIONAL:
            self.mark(given & ~wrong & (values % 1 != 0), name,
                      lambda i: f"{name} must be a whole number, found {values[i]:g}.")  # fmt: skip
        return np.where(given & ~wrong, values, DEFAULTS[name])

    def _devices(self) -> None:
        if not self.devices or "device" not in self.file.columns:
            return
        column = self.file.columns["device"]
        for word in set(column.tolist()) - {"", *self.devices}:
            reason = str(UnknownNameError("device", word, self.devices, "`archcast devices` lists them."))
            self.mark(column == word, "device", lambda _, r=reason: r)  # type: ignore[misc]

    def _families(self, table: OpTable) -> None:
        """Note rows whose sizes do not make an operator."""
        ops = table.full("op")
        for code in np.unique(ops):
            mine = ops == code
            for needed in NEEDED[OPS[int(code)]]:
                self._needs(mine, OPS[int(code)], needed, table.full(needed))
        no_kind = (ops == OP_CODES["collective"]) & (table.full("kind") == 0)
        self.mark(no_kind, "kind", lambda _: f"a collective needs a kind: {', '.join(CATEGORIES['kind'][1:])}.")
        topk, experts = table.full("topk"), table.full("experts")
        above = (ops == OP_CODES["moe"]) & (topk > experts)
        self.mark(above, "topk", lambda i: f"topk {topk[i]:g} is above experts {experts[i]:g}.")
        conv = ops == OP_CODES["conv2d"]
        if conv.any():
            out_h, out_w = (np.broadcast_to(size, ops.shape) for size in conv_output(table))
            self.mark(conv & ((out_h < 1) | (out_w < 1)), "kh", lambda _: "the kernel is larger than the padded input.")

    def _needs(self, mine: Array, op: str, needed: str, values: Array) -> None:
        def reason(row: int) -> str:
            return f"{op} needs {needed} above 0, found {self._cell(needed, row)}."

        self.mark(mine & ~(values > 0), needed, reason)

    def _cell(self, name: str, row: int) -> str:
        column = self.file.columns.get(name)
        return "no such column" if column is None else "nothing" if np.isnan(column[row]) else f"{column[row]:g}"


def _coder(name: str) -> Callable[[str], int]:
    return lambda word: category_code(name, word)
