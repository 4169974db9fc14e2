"""Checks of a measurement table's columns: every cell that describes an operator, and what was measured.

A bad row is noted with its column and the reason; nothing here loops over good rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np

from foundation.checks import MAX_SIZE
from foundation.errors import UnknownNameError
from foundation.formats import FORMAT_CODES
from workloads.column_files import ColumnFile
from workloads.table import CATEGORIES, DEFAULTS, NEEDED, OP_CODES, OPS, Array, OpTable, category_code
from workloads.work import conv_output

MEASURED: tuple[str, ...] = (
    "latency_s", "energy_j", "power_w", "memory_bytes", "ttft_s", "tpot_s", "rate_hz", "n_repeat", "latency_std_s",
)  # fmt: skip
"""Columns of what was measured; any may be absent or empty."""
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


def blank_texts(rows: int) -> Array:
    """Return a text column of empty cells."""
    blank = np.empty(rows, dtype=object)
    blank[:] = ""
    return blank


class Checker:
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
        column = self.file.columns.get(name, blank_texts(self.file.rows))
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
