"""Tables that strangers wrote: sizes are bounded before anything is parsed, and a fault names file, line and column."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foundation.errors import BadFileError
from foundation.files import plain_file
from simulator.clock import Ticks
from simulator.cluster.trace import LARGEST, LONGEST, Column, MachineTrace, Sizes, TaskTrace

MOST_FILE_BYTES = 1_000_000_000
MOST_TEXT_BYTES = 2_000_000_000
"""Of one file once it is unpacked: a small gzip file may hold a thousand times its size."""
MOST_ROWS = 20_000_000
LONGEST_LINE = 100_000
BATCH = 100_000


class TraceReader(ABC):
    """Reads one format. Parsing is bounded by `most_rows` for each table."""

    most_rows: int = MOST_ROWS

    @abstractmethod
    def read(self) -> tuple[TaskTrace, MachineTrace | None]:
        """Return tasks, and machines where the format has them.

        Raises:
            BadFileError: file, line and column of the fault, in one sentence.
        """


@dataclass(frozen=True)
class Batch:
    """Rows of a table, by column, with the line on which the first stands (from 1)."""

    path: Path
    names: Sequence[str]
    lines: Sequence[int]
    cells: Sequence[Sequence[str]]

    def __len__(self) -> int:
        return len(self.lines)

    def fault(self, row: int, column: int, problem: str) -> BadFileError:
        return BadFileError(self.path, problem, line=self.lines[row], key=self.names[column])

    def text(self, column: int) -> Sequence[str]:
        return self.cells[column]

    def whole(self, column: int, missing: int | None = None, low: int = 0, high: int = 2**63 - 1) -> Column:
        """Return a column of whole numbers; an empty cell is `missing`, where that is given. Raises BadFileError."""
        blank = "" if missing is None else str(missing)
        try:
            found = np.array([int(cell or blank) for cell in self.cells[column]], dtype=np.int64)
        except (ValueError, OverflowError):
            row = next(i for i, cell in enumerate(self.cells[column]) if not _is_whole(cell or blank))
            raise self.fault(row, column, f"'{self._shown(row, column)}' is not a whole number of 64 bits.") from None
        bad = (found < low) | (found > high)
        if missing is not None:
            bad &= found != missing
        if bad.any():
            row = int(np.argmax(bad))
            raise self.fault(row, column, f"{found[row]} is not from {low} to {high}.")
        return found

    def numbers(self, column: int, missing: float | None = None, high: float = 1e300) -> np.ndarray[
        tuple[int, ...], np.dtype[np.float64]
    ]:  # fmt: skip
        """Return a column of finite numbers at least 0; an empty cell is `missing`. Raises BadFileError."""
        blank = "" if missing is None else str(missing)
        try:
            found = np.array([float(cell or blank) for cell in self.cells[column]], dtype=np.float64)
        except ValueError:
            row = next(i for i, cell in enumerate(self.cells[column]) if not _is_number(cell or blank))
            raise self.fault(row, column, f"'{self._shown(row, column)}' is not a number.") from None
        bad = ~(np.isfinite(found) & (found >= 0) & (found <= high))
        if missing is not None:
            bad &= np.array([bool(cell) for cell in self.cells[column]], dtype=bool)
        if bad.any():
            row = int(np.argmax(bad))
            raise self.fault(row, column, f"{self._shown(row, column)} must be finite, at least 0, at most {high:g}.")
        return found

    def counts(self, column: int, scale: float, missing: float | None = None) -> Column:
        """Return sizes as counts of `scale`, rounded. Raises BadFileError."""
        found = np.rint(self.numbers(column, missing, LARGEST * scale) / scale)
        return np.asarray(found.astype(np.int64))

    def ticks(self, column: int, seconds: float, missing: float | None = None) -> Ticks:
        """Return times of `seconds` a unit as ticks (microseconds), -1 where the cell is empty. Raises BadFileError."""
        found = self.numbers(column, missing, LONGEST / 1e6 / seconds)
        empty = np.array([not cell for cell in self.cells[column]], dtype=bool)
        ticks = np.rint(np.where(empty, 0.0, found) * seconds * 1e6).astype(np.int64)
        return np.asarray(np.where(empty, -1, ticks))

    def _shown(self, row: int, column: int) -> str:
        return self.cells[column][row][:40]


def batches(path: str | Path, names: Sequence[str], *, most_rows: int = MOST_ROWS, least: int = 0) -> Iterator[Batch]:
    """Yield the rows of a table without a header, `BATCH` at a time; `.gz` is unpacked on the way.

    Rows may have as few as `least` columns (0: all); what is missing is empty.

    Raises:
        BadFileError: absent, too large (packed or unpacked), too many rows, not text, or a row of another width.
    """
    file = plain_file(path, MOST_FILE_BYTES)
    yield from _rows(file, _lines(file), names, most_rows, least or len(names), 1)


def headed(path: str | Path, known: Sequence[str], needed: Sequence[str], *, most_rows: int = MOST_ROWS) -> Iterator[
    Batch
]:  # fmt: skip
    """Yield the rows of a table whose first line names its columns, all of them among `known`, as `batches`."""
    file = plain_file(path, MOST_FILE_BYTES)
    lines = _lines(file)
    first = next(lines, "")
    names = [name.strip() for name in next(csv.reader([first.lstrip("﻿")]), [])]
    for place, name in enumerate(names):
        if name not in known:
            from foundation.errors import nearest_names

            near = ", ".join(nearest_names(name, known)) or ", ".join(known)
            raise BadFileError(path, f"unknown column '{name[:60]}'.", line=1, hint=f"Nearest: {near}.")
        if name in names[:place]:
            raise BadFileError(path, f"the column '{name}' is there twice.", line=1)
    for name in needed:
        if name not in names:
            raise BadFileError(path, f"the column '{name}' is missing.", line=1, hint=f"Known: {', '.join(known)}.")
    yield from _rows(file, lines, names, most_rows, len(names), 2)


def in_order(batch: Batch, column: int, times: Ticks, last: int) -> int:
    """Return the last time of a batch whose times rise. Raises BadFileError: one lies before the one above it."""
    before = np.concatenate([[last], times[:-1]])
    back = times < before
    if back.any():
        row = int(np.argmax(back))
        raise batch.fault(row, column, f"{batch.text(column)[row][:40]} lies before the time of the row above.")
    return int(times[-1]) if len(times) else last


def _rows(
    file: Path, lines: Iterator[str], names: Sequence[str], most_rows: int, least: int, first: int
) -> Iterator[Batch]:  # fmt: skip
    width, rows, numbers, number, total = len(names), list[list[str]](), list[int](), first - 1, 0
    for line in lines:
        number += 1
        line = line.strip("\r\n")
        if not line:
            continue
        cells = line.split(",") if '"' not in line else next(csv.reader([line]))
        if not least <= len(cells) <= width:
            raise BadFileError(file, f"the row has {len(cells)} columns; {width} are expected.", line=number)
        total += 1
        if total > most_rows:
            raise BadFileError(file, f"there are more than {most_rows:,} rows.", line=number, hint="Take a part.")
        rows.append(cells if len(cells) == width else cells + [""] * (width - len(cells)))
        numbers.append(number)
        if len(rows) == BATCH:
            yield Batch(file, names, numbers, list(zip(*rows, strict=True)))
            rows, numbers = [], []
    if rows:
        yield Batch(file, names, numbers, list(zip(*rows, strict=True)))


def _lines(file: Path) -> Iterator[str]:
    """Yield the lines of a plain or packed file, refusing what is too long before it is held."""
    with file.open("rb") as raw:
        packed = raw.peek(2)[:2] == b"\x1f\x8b" if hasattr(raw, "peek") else file.suffix == ".gz"
        stream: io.BufferedIOBase = gzip.GzipFile(fileobj=raw) if packed else raw
        total, number = 0, 0
        while True:
            number += 1
            try:
                line = stream.readline(LONGEST_LINE + 1)
            except (OSError, EOFError, zlib.error):
                raise BadFileError(file, "this is not a whole gzip file.", line=number) from None
            if not line:
                return
            total += len(line)
            if len(line) > LONGEST_LINE:
                raise BadFileError(file, f"the line has more than {LONGEST_LINE:,} bytes.", line=number)
            if total > MOST_TEXT_BYTES:
                raise BadFileError(file, f"it holds more than {MOST_TEXT_BYTES:,} bytes of text.", line=number)
            try:
                yield line.decode("utf-8")
            except UnicodeDecodeError:
                raise BadFileError(file, "this is not UTF-8 text.", line=number) from None


def joined(parts: Sequence[np.ndarray[tuple[int, ...], np.dtype[np.int64]]], width: int = 0) -> Sizes:
    """Return columns of batches as one; without batches an empty one (of `width` columns)."""
    if parts:
        return np.concatenate(parts)
    return np.zeros((0, width) if width else 0, dtype=np.int64)


def _is_whole(cell: str) -> bool:
    try:
        return -(2**63) <= int(cell) < 2**63
    except ValueError:
        return False


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
