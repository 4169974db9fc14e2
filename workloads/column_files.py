"""Tables of a stranger's hand as columns: CSV by the standard library, Parquet where pyarrow is installed.

A file is bounded before it is believed: bytes, rows, columns, and the length of a line. Nothing in it is executed.
Here a cell is a number or text; what it means is the business of `workloads.measurements`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from foundation.errors import BadFileError, UnsupportedError
from foundation.files import plain_file, written_whole
from workloads.table import Array

MAX_FILE_BYTES = 4_000_000_000
MAX_ROWS = 20_000_000
MAX_COLUMNS = 500
MAX_LINE = 1_000_000
BATCH = 50_000
"""Rows of a CSV that are held as text at a time."""

NEED_PARQUET = "Parquet needs the package pyarrow, which is absent; run `pip install archcast[parquet]`, or use CSV."


@dataclass(frozen=True)
class ColumnFile:
    """A table as it stands in a file.

    `columns` holds float64 (NaN = empty) for the names that the reader asked to be numbers, else text (object array,
    '' = empty). `unread` lists (row, column, text) of number cells that are not usable numbers; they are NaN in
    `columns`. `lines` is the line of each row in a text file, or empty.
    """

    path: str
    columns: dict[str, Array]
    rows: int
    unread: list[tuple[int, str, str]]
    lines: Array


def read_columns(path: str | Path, is_number: Callable[[str], bool], wanted: Callable[[str], bool]) -> ColumnFile:
    """Read a `.csv` or `.parquet` file; columns that are not `wanted` are left out.

    Raises:
        BadFileError: absent, empty, too large, not a table, ragged, or truncated.
        UnsupportedError: Parquet without pyarrow.
    """
    file = plain_file(path, MAX_FILE_BYTES)
    with file.open("rb") as stream:
        head = stream.read(4096)
    if not head:
        raise BadFileError(path, "the file is empty.")
    if head[:4] == b"PAR1" or file.suffix == ".parquet":
        return _read_parquet(file, is_number, wanted)
    if b"\0" in head:
        raise BadFileError(path, "this is not a text file.", hint="Give a CSV or a Parquet file.")
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            return _read_csv(file, text, is_number, wanted)
    except UnicodeDecodeError:
        raise BadFileError(path, "this is not a UTF-8 text file.", hint="Give a CSV or a Parquet file.") from None
    except OSError as error:
        raise BadFileError(path, f"cannot be read ({error.strerror}).") from None


def _bounded(path: Path, text: TextIO) -> Iterator[str]:
    """Yield lines; a line without end is refused before it fills the memory."""
    number = 0
    while line := text.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE:
            raise BadFileError(path, f"the line has more than {MAX_LINE:,} characters.", line=number)
        yield line


def _header(path: Path, names: list[str]) -> list[str]:
    if len(names) > MAX_COLUMNS:
        raise BadFileError(path, f"the table has {len(names)} columns; at most {MAX_COLUMNS} are read.")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise BadFileError(path, "the column stands twice.", key=min(twice), line=1)
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise BadFileError(path, "the columns must be separated by commas.", line=1)
    return names


def _read_csv(path: Path, text: TextIO, is_number: Callable[[str], bool], wanted: Callable[[str], bool]) -> ColumnFile:
    reader = csv.reader(_bounded(path, text), strict=True)
    try:
        names = _header(path, [name.strip() for name in next(reader, [])])
        if not any(names):
            raise BadFileError(path, "the file is empty.")
        keep = [(i, name) for i, name in enumerate(names) if name and wanted(name)]
        builder = _Builder(keep, is_number)
        batch: list[list[str]] = []
        lines: list[int] = []
        for row in reader:
            if not row:
                continue
            if len(row) != len(names):
                problem = f"the row has {len(row)} cells, but the header has {len(names)}."
                raise BadFileError(path, problem, line=reader.line_num)
            batch.append(row)
            lines.append(reader.line_num)
            if len(batch) == BATCH:
                builder.add(batch)
                batch = []
                if len(lines) > MAX_ROWS:
                    raise BadFileError(path, f"the table has more than {MAX_ROWS:,} rows.")
    except csv.Error as error:
        raise BadFileError(path, f"not valid CSV: {error}.", line=reader.line_num) from None
    builder.add(batch)
    return ColumnFile(str(path), builder.finish(), len(lines), builder.unread, np.array(lines, dtype=np.int64))


class _Builder:
    """Turns batches of rows of text into columns; equal texts share one object."""

    def __init__(self, keep: list[tuple[int, str]], is_number: Callable[[str], bool]) -> None:
        self.keep = keep
        self.is_number = {name: is_number(name) for _, name in keep}
        self.parts: dict[str, list[Array]] = {name: [] for _, name in keep}
        self.words: dict[str, str] = {}
        self.unread: list[tuple[int, str, str]] = []
        self.rows = 0

    def add(self, batch: list[list[str]]) -> None:
        if not batch:
            return
        cells = list(zip(*batch, strict=True))
        for i, name in self.keep:
            if self.is_number[name]:
                self.parts[name].append(self._numbers(name, cells[i]))
            else:
                words = self.words
                column = np.empty(len(batch), dtype=object)
                column[:] = [words.setdefault(text, text) for text in map(str.strip, cells[i])]
                self.parts[name].append(column)
        self.rows += len(batch)

    def _numbers(self, name: str, cells: tuple[str, ...]) -> Array:
        try:
            values = np.array([float(text) if text else np.nan for text in cells])
        except ValueError:
            values = np.array([_number(text) for text in cells])
        for i in np.flatnonzero(~np.isfinite(values)):
            if cells[i].strip():
                self.unread.append((self.rows + int(i), name, cells[i].strip()))
                values[i] = np.nan
        return values

    def finish(self) -> dict[str, Array]:
        blank = {True: np.zeros(0), False: np.zeros(0, dtype=object)}
        return {n: np.concatenate(p) if p else blank[self.is_number[n]] for n, p in self.parts.items()}


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _read_parquet(path: Path, is_number: Callable[[str], bool], wanted: Callable[[str], bool]) -> ColumnFile:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UnsupportedError(f"{path}: {NEED_PARQUET}") from None
    try:
        file = pyarrow.parquet.ParquetFile(path)
        meta = file.metadata
        names = _header(path, list(file.schema_arrow.names))
        expanded = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        if meta.num_rows > MAX_ROWS or expanded > 2 * MAX_FILE_BYTES:
            raise BadFileError(path, f"the table has {meta.num_rows:,} rows and {expanded:,} bytes; that is too large.")
        table = file.read(columns=[name for name in names if name and wanted(name)])
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:120]
        raise BadFileError(path, f"not a readable Parquet file ({reason}).") from None
    unread: list[tuple[int, str, str]] = []
    columns = {name: _arrow(path, name, table[name], is_number(name), unread) for name in table.column_names}
    return ColumnFile(str(path), columns, table.num_rows, unread, np.zeros(0, dtype=np.int64))


def _arrow(path: Path, name: str, column: Any, number: bool, unread: list[tuple[int, str, str]]) -> Array:
    import pyarrow
    import pyarrow.compute

    kind = column.type
    if pyarrow.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
        kind = column.type
    numeric = (
        pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind) or pyarrow.types.is_boolean(kind)
        or pyarrow.types.is_decimal(kind) or pyarrow.types.is_null(kind)
    )  # fmt: skip
    text = pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)
    if not numeric and not text:
        raise BadFileError(path, f"the column holds {kind}; only numbers and text are read.", key=name)
    if number and numeric:
        missing = column.is_null().to_numpy()
        values = np.array(column.cast(pyarrow.float64(), safe=False).to_numpy(), dtype=np.float64)
        for i in np.flatnonzero(~missing & ~np.isfinite(values)):
            unread.append((int(i), name, f"{values[i]:g}"))
            values[i] = np.nan
        return values
    encoded = pyarrow.compute.fill_null(column.cast(pyarrow.string()), "").combine_chunks().dictionary_encode()
    words = np.array([str(word).strip() for word in encoded.dictionary.to_pylist()] or [""], dtype=object)
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    if not number:
        return np.asarray(words[codes])
    table = np.array([_number(word) if word else np.nan for word in words])
    for i in np.flatnonzero(np.isin(codes, np.flatnonzero((words != "") & ~np.isfinite(table)))):
        unread.append((int(i), name, str(words[codes[i]])))
    return np.asarray(np.where(np.isfinite(table), table, np.nan)[codes])


def write_columns(path: str | Path, columns: Mapping[str, Array]) -> None:
    """Write columns of one length to `.csv` or `.parquet`; NaN and '' become empty cells.

    The file appears whole or not at all.

    Raises:
        BadFileError: another suffix, or the folder cannot be written.
        UnsupportedError: Parquet without pyarrow.
    """
    file = Path(path)
    writers = {".csv": _write_csv, ".parquet": _write_parquet}
    if file.suffix not in writers:
        raise BadFileError(path, "the name must end in .csv or .parquet.")
    with written_whole(file) as part:
        writers[file.suffix](part, columns)


def _write_csv(path: Path, columns: Mapping[str, Array]) -> None:
    total = len(next(iter(columns.values()))) if columns else 0
    with path.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for start in range(0, total, BATCH):
            writer.writerows(zip(*(_cells(c[start : start + BATCH]) for c in columns.values()), strict=True))


def _cells(column: Array) -> list[Any]:
    """Return cells for the CSV writer: whole numbers without a point, others so that they read back equal."""
    if column.dtype.kind != "f":
        return list(column.tolist())
    values = column.tolist()
    finite = np.isfinite(column)
    whole = finite & (np.abs(column) < 2**53) & (column == np.floor(column))
    if whole.all():
        return list(column.astype(np.int64).tolist())
    if finite.all() and not whole.any():
        return list(values)
    return [int(v) if w else (v if f else "") for v, w, f in zip(values, whole.tolist(), finite.tolist(), strict=True)]


def _write_parquet(path: Path, columns: Mapping[str, Array]) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UnsupportedError(NEED_PARQUET) from None
    arrays = {}
    for name, column in columns.items():
        if column.dtype.kind == "f":
            arrays[name] = pyarrow.array(column, mask=np.isnan(column))
        elif column.dtype.kind in "iub":
            arrays[name] = pyarrow.array(column)
        else:
            text = column.astype(object)
            arrays[name] = pyarrow.array(text, type=pyarrow.string(), mask=text == "").dictionary_encode()
    pyarrow.parquet.write_table(pyarrow.table(arrays), path)
