"""Elementwise arithmetic that serves columns of many rows and the single values of one row alike.

numpy takes some 300 ns for an operation on an array of one element, 40 ns for one on a scalar (`np.float64`) and 16 ns
for one on a `float`, so what is one value for all rows is held as a scalar, and a table of one row as plain numbers
(see `unwrapped`). `+ - * /` take all as they are; the functions here do the rest. They agree with numpy's to the last
bit, and NaN passes through them. Zeros stay `np.float64`, since a division of plain numbers by one would raise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy import ndarray

from foundation.formats import FORMAT_CODES
from workloads.table import CATEGORIES, DEFAULTS, Array, OpTable

Value = Any
"""A column, or the scalar that all rows share (`Array` would have every operation on scalars cast back)."""

ZERO: Value = np.float64(0.0)
ONE: Value = np.float64(1.0)
_ABSENT: dict[str, Value] = {
    **{name: np.int16(0) for name in CATEGORIES},
    "dtype": np.int16(FORMAT_CODES["bf16"]),
    **{name: np.float64(value) for name, value in DEFAULTS.items()},
}
_ABSENT_OF_ONE: dict[str, Value] = {name: value.item() or value for name, value in _ABSENT.items()}


class Entries:
    """Numbers by code: a plain number for an int, a column for a column of codes."""

    __slots__ = ("many", "one")

    def __init__(self, many: Array) -> None:
        self.many = many
        self.one: list[Value] = [value.item() or value for value in many]

    def __getitem__(self, code: Value) -> Value:
        return self.one[code] if code.__class__ is int else self.many[code]


class Unwrapped(OpTable):
    """A table whose columns of one value, and all columns of a table of one row, are numpy scalars."""

    def __post_init__(self) -> None:
        """Nothing: the columns were checked when the table was built."""

    def __getitem__(self, name: str) -> Value:
        column = self.columns.get(name)
        if column is not None:
            return column
        return self["dtype"] if name == "kv_dtype" else _ABSENT[name]


class UnwrappedRow(Unwrapped):
    """A table of one row as plain numbers (a zero is `np.float64`, a code an int)."""

    def __getitem__(self, name: str) -> Value:
        value = self.columns.get(name)
        if value is not None:
            return value
        return self["dtype"] if name == "kv_dtype" else _ABSENT_OF_ONE[name]

    def take(self, index: Array | slice) -> OpTable:
        """Return the row as often as the index names it."""
        columns = {
            name: np.asarray(value, dtype=np.int16 if name in CATEGORIES else np.float64)
            for name, value in self.columns.items()
        }
        return OpTable(len(np.arange(1)[index]), columns)


def unwrapped(table: OpTable) -> OpTable:
    """Return the same table, without labels, with scalars in place of arrays of one element."""
    if isinstance(table, Unwrapped):
        return table
    if table.rows == 1:
        row: dict[str, Value] = {
            name: column.item() if name in CATEGORIES else column.item() or ZERO
            for name, column in table.columns.items()
        }
        return UnwrappedRow(1, row)
    columns = {name: column[()] if column.ndim == 0 else column for name, column in table.columns.items()}
    return Unwrapped(table.rows, columns)


def larger(a: Value, b: Value, out: Value = None) -> Value:
    """Return the larger of two; written into `out` where that is a column."""
    if isinstance(a, float) and isinstance(b, float):
        return _put(b if a < b or b != b else a, out)
    return np.maximum(a, b, out=_column(out))


def lesser(a: Value, b: Value, out: Value = None) -> Value:
    """Return the lesser of two; written into `out` where that is a column."""
    if not isinstance(b, float):
        return np.minimum(a, b, out=_column(out))
    if isinstance(a, float):
        return _put(b if b < a or b != b else a, out)
    # numpy has vector code for the minimum of two columns and for a clip by two numbers
    return a.clip(-np.inf, b, out=_column(out))


def choose(condition: Value, a: Value, b: Value) -> Value:
    """Return a where the condition holds, b elsewhere."""
    if condition.__class__ is ndarray and condition.ndim:
        return np.where(condition, a, b)
    return a if condition else b


def some(condition: Value) -> bool:
    """Say whether the condition holds, or the value is not zero, in any row."""
    return bool(condition.any() if condition.__class__ is ndarray else condition)


def plus(a: Value, b: Value) -> Value:
    """Return a + b; a b of one zero for all rows costs nothing."""
    return a if isinstance(b, float) and b == 0 else a + b


def times(a: Value, b: Value) -> Value:
    """Return a * b; a b of one 1 for all rows costs nothing."""
    return a if isinstance(b, float) and b == 1 else a * b


def pieces(size: Value, edge: float, out: Value = None) -> Value:
    """Return ceil(size / edge). A power of two is multiplied by its (exact) inverse: a quarter of the time."""
    if isinstance(size, float):
        return ceil(size / edge)
    exact = math.frexp(edge)[0] == 0.5
    count = np.multiply(size, 1.0 / edge, out=out) if exact else np.divide(size, edge, out=out)
    return np.ceil(count, out=_column(count))


def ceil(value: Value) -> Value:
    """Return the least whole number that is not below."""
    if value.__class__ is not float:
        return np.ceil(value)
    down = -value // 1.0
    return -down if down == down else np.ceil(value)  # infinity has no whole part


def _put(value: Value, out: Value) -> Value:
    if out.__class__ is np.ndarray:
        out[...] = value
    return value


def _column(out: Value) -> Value:
    return out if isinstance(out, np.ndarray) and out.ndim else None


def occurring(codes: Array) -> Array:
    """Return the values that occur, sorted.

    Asked for counts as well, numpy does not load its masked arrays for it: a tenth of what a cold start takes.
    """
    return np.unique(codes, return_counts=True)[0]
