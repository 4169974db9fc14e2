"""What every reader of a trace shares: rows in, checked columns out, and the line of whatever is wrong."""

from __future__ import annotations

import csv
import math
from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from foundation.errors import BadFileError
from workloads.traffic.stream import MAX_TOKENS, Traffic
from workloads.traffic.traces.lines import MAX_LINES, numbered_lines

MAX_REQUESTS = MAX_LINES - 1
MAX_IDS = 50_000_000
MAX_TIME_S = 1e10
"""About 300 years; a time stamp beyond it is in another unit."""
MAX_WHOLE = 2**62


class Row(NamedTuple):
    """One request as a file says it, before it is checked against the others."""

    arrival_s: float
    prompt: int
    generate: int
    session: int = -1
    priority: int = 0
    prefix: Sequence[int] = ()


class Wrong(Exception):
    """A row that cannot be read: the message says why, `read_with` adds the file and the line."""


class TraceReader(ABC):
    """Reads one format. `format` names it, `header` is what its first line holds."""

    format: ClassVar[str]
    header: ClassVar[str]
    prefix_tokens: ClassVar[int] = 512
    has_header: ClassVar[bool] = True
    from_first: ClassVar[bool] = False
    """Times count from the first row; those of earlier requests, which only a sorted reading takes, are negative."""

    @staticmethod
    @abstractmethod
    def knows(first_line: str) -> bool:
        """Return whether a file that begins with this line is of this format."""

    @abstractmethod
    def row(self, text: str) -> Row:
        """Return the request of one line.

        Raises:
            Wrong: it is none.
        """

    def begin(self, text: str) -> None:  # noqa: B027 (most formats have nothing to learn from it)
        """Take in the header line. Raises `Wrong`."""


class _Columns:
    """Requests as they are gathered: machine numbers, not Python objects, so that long traces fit."""

    def __init__(self) -> None:
        self.arrival_s = array("d")
        self.whole = {name: array("q") for name in ("prompt", "generate", "session", "priority")}
        self._add = [column.append for column in self.whole.values()]
        self.ids = array("q")
        self.prefix_start = array("q", [0])

    def add(self, row: Row) -> None:
        self.arrival_s.append(row.arrival_s)
        for add, value in zip(self._add, row[1:5], strict=True):  # prompt, generate, session, priority
            add(value)
        self.ids.extend(row.prefix)
        self.prefix_start.append(len(self.ids))
        if len(self.arrival_s) > MAX_REQUESTS or len(self.ids) > MAX_IDS:
            raise Wrong(f"more than {MAX_REQUESTS:,} requests or {MAX_IDS:,} prefix ids. Split the trace.")

    def traffic(self, prefix_tokens: int, name: str, source: str) -> Traffic:
        times = np.array(self.arrival_s)
        times -= min(0.0, times.min())
        whole = {key: np.array(column) for key, column in self.whole.items()}
        found = Traffic(
            times, **whole, prefix_start=np.array(self.prefix_start), prefix_ids=np.array(self.ids, dtype=np.int64),
            prefix_tokens=prefix_tokens, name=name, source=source,
        )  # fmt: skip
        order = np.argsort(times, kind="stable")
        return found if np.array_equal(order, np.arange(len(times))) else found.take(order)


def read_with(reader: TraceReader, path: str | Path, *, sort: bool, drop_empty: bool) -> Traffic:
    """Return the requests that `reader` finds in the file; see `read_traffic`."""
    columns = _Columns()
    before, number = -math.inf, 0
    for number, text in _rows_after_header(reader, path):
        try:
            row = reader.row(text)
            if drop_empty and min(row.prompt, row.generate) == 0:
                continue
            _check(row, reader)
            if row.arrival_s < before and not sort:
                raise Wrong(
                    f"the time {row.arrival_s:g} s is before that of the row above ({before:g} s). Sort the file by "
                    "time, or read it with sort=True."
                )
            columns.add(row)
        except Wrong as wrong:
            raise BadFileError(path, str(wrong), line=number) from None
        before = row.arrival_s
    if not columns.arrival_s:
        raise BadFileError(path, "the trace holds no request.", hint="A trace has one row a request.")
    return columns.traffic(reader.prefix_tokens, _plain_name(path), f"{reader.format} trace {Path(path).name}")


def _rows_after_header(reader: TraceReader, path: str | Path) -> Iterator[tuple[int, str]]:
    lines = numbered_lines(path)
    if reader.has_header:
        number, text = next(lines)
        try:
            reader.begin(text)
        except Wrong as wrong:
            raise BadFileError(path, str(wrong), line=number) from None
    yield from lines


def _check(row: Row, reader: TraceReader) -> None:
    prefix_tokens = reader.prefix_tokens
    least_s = -MAX_TIME_S if reader.from_first else 0.0
    if not least_s <= row.arrival_s <= MAX_TIME_S:
        raise Wrong(f"a request cannot arrive at {row.arrival_s:g} s; times are from 0 to {MAX_TIME_S:g} s.")
    for name, value in (("prompt", row.prompt), ("generate", row.generate)):
        if not 1 <= value <= MAX_TOKENS:
            hint = " Remove the row, or read with drop_empty=True." if value == 0 else ""
            raise Wrong(f"{name} must be from 1 to {MAX_TOKENS:,} tokens, not {value}.{hint}")
    if len(row.prefix) * prefix_tokens >= row.prompt + prefix_tokens:
        raise Wrong(
            f"{len(row.prefix)} prefix ids of {prefix_tokens} tokens are more than a prompt of {row.prompt} tokens has."
        )


def cells(text: str, count: int) -> list[str]:
    """Return the cells of one CSV line, trimmed. Raises `Wrong` where there are not `count` of them."""
    if '"' not in text and "\r" not in text:
        found = text.split(",")  # the same, and several times as fast
    else:
        try:
            found = next(csv.reader([text], strict=True))
        except (csv.Error, StopIteration):
            raise Wrong(f"the line is not CSV: {text[:60]!r}.") from None
    if len(found) != count:
        raise Wrong(f"{len(found)} cells where the header has {count}.")
    return [cell.strip() for cell in found]


def whole(name: str, value: object) -> int:
    """Return a whole number from text or JSON. Raises `Wrong` (a bool, 1.5, NaN and words are none)."""
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        try:
            number = int(value) if isinstance(value, str) and len(value) <= 30 else _from_float(value)
        except (ValueError, OverflowError, TypeError):
            raise Wrong(f"{name} must be a whole number, not {str(value)[:40]!r}.") from None
    if abs(number) > MAX_WHOLE:
        raise Wrong(f"{name} is out of range: {str(number)[:40]}.")
    return number


def _from_float(value: object) -> int:
    if not isinstance(value, float) or value != math.floor(value):
        raise ValueError
    return int(value)


def finite(name: str, value: object) -> float:
    """Return a finite number from text or JSON. Raises `Wrong`."""
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise Wrong(f"{name} must be a finite number, not {str(value)[:40]!r}.")
    return number


def _plain_name(path: str | Path) -> str:
    return Path(path).name.removesuffix(".gz").rsplit(".", 1)[0]
