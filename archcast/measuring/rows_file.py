"""The table that a sweep writes: a row is on the disk as soon as it is measured, and none is measured twice.

A process that dies leaves at most one torn line at the end; `--resume` cuts it off and goes on.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from foundation.errors import BadFileError

LABELS = ("device", "software", "source")
SIZES = (
    "op", "dtype", "m", "n", "k", "batch", "phase", "q_len", "kv_len", "heads", "kv_heads", "head_dim", "causal",
    "c_in", "h", "w", "c_out", "kh", "kw", "stride", "padding", "groups", "rows", "hidden", "operands",
    "flop_per_element",
)  # fmt: skip
MEASURED = ("latency_s", "energy_j", "power_w", "memory_bytes", "n_repeat", "latency_std_s")
OPERATOR_COLUMNS = (*LABELS, *SIZES, *MEASURED)
NETWORK_COLUMNS = (
    *LABELS, "op", "workload", "dtype", "batch", "prompt", "generate", "params", "latency_s", "tpot_s", "energy_j",
    "power_w", "memory_bytes", "n_repeat", "latency_std_s",
)  # fmt: skip
_NOT_KEY = frozenset((*MEASURED, "tpot_s", "source"))
MAX_BYTES = 500_000_000


class RowsFile:
    """A CSV that grows by whole rows.

    Args:
        resume: go on with a file that is there; without it, such a file is refused.

    Raises:
        BadFileError: the file is there and may not be, or is not a table of these columns, or cannot be written.
    """

    def __init__(self, path: str | Path, columns: Sequence[str], *, resume: bool = False) -> None:
        self.path, self.columns = Path(path), tuple(columns)
        self.rows: list[dict[str, str]] = []
        self._keys: set[tuple[str, ...]] = set()
        if self.path.is_dir() or not self.path.parent.is_dir():
            hint = "Name a file in it." if self.path.is_dir() else "Make it first."
            where = "this is a folder." if self.path.is_dir() else f"there is no folder {self.path.parent}."
            raise BadFileError(path, where, hint=hint)
        if self.path.exists():
            if not resume:
                raise BadFileError(path, "the file is there already.", hint="Add --resume to go on with it.")
            self._load()
        try:
            self._stream = self.path.open("a", encoding="utf-8", newline="")
            if self.path.stat().st_size == 0:
                self._write(self.columns)
        except OSError as error:
            raise BadFileError(path, f"cannot be written ({error.strerror or error}).") from None

    def __len__(self) -> int:
        return len(self.rows)

    def has(self, row: Mapping[str, Any]) -> bool:
        """Say whether this operator of this device and software has been measured."""
        return self.key(row) in self._keys

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row, and wait until it is on the disk. Raises BadFileError."""
        cells = {name: _text(row.get(name, "")) for name in self.columns}
        try:
            self._write([cells[name] for name in self.columns])
        except OSError as error:
            raise BadFileError(self.path, f"cannot be written ({error.strerror or error}).") from None
        self.rows.append(cells)
        self._keys.add(self.key(cells))

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def key(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """Return what makes a row the same measurement as another: all but what was measured."""
        return tuple(_text(row.get(name, "")) for name in self.columns if name not in _NOT_KEY)

    def _write(self, cells: Sequence[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(cells)
        self._stream.write(line.getvalue())
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def _load(self) -> None:
        """Read what is there, and cut off a last line that is not whole. Raises BadFileError."""
        try:
            if self.path.stat().st_size > MAX_BYTES:
                raise BadFileError(self.path, f"has more than {MAX_BYTES:,} bytes; no sweep wrote it.")
            data = self.path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            found = list(csv.reader(io.StringIO(whole.decode("utf-8"), newline="")))
            if found and tuple(found[0]) != self.columns:
                raise BadFileError(self.path, "is not a table of `archcast measure`.", line=1, hint="Name another.")
            for number, cells in enumerate(found[1:], start=2):
                self._take(cells, number)
            if len(whole) != len(data):
                os.truncate(self.path, len(whole))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise BadFileError(self.path, f"cannot be read ({error}).") from None

    def _take(self, cells: list[str], number: int) -> None:
        if len(cells) != len(self.columns):
            problem = f"the row has {len(cells)} cells, but the header has {len(self.columns)}."
            raise BadFileError(self.path, problem, line=number)
        row = dict(zip(self.columns, cells, strict=True))
        self.rows.append(row)
        self._keys.add(self.key(row))


def _text(value: Any) -> str:
    """Return a cell: nine digits of a number are more than any clock gives; what was not measured is empty."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.9g}"
    return "" if value is None else str(value)
