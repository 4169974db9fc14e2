"""Columns of operators in memory, read as a measurement table's file is: NaN, None and '' are empty cells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from foundation.errors import BadValueError, InputError
from workloads.table import CATEGORIES, DEFAULTS, NEEDED, OPS, Array, OpTable

EMPTY_CATEGORIES = ("phase", "kind")
"""Columns of names in which an empty cell says that they do not apply; in `kv_dtype` it is the format of `dtype`."""


def operator_table(columns: Mapping[str, Any]) -> OpTable:
    """Return the table of columns. An empty cell of an optional column has its default (docs/measurements.md).

    Raises:
        BadValueError: a needed cell is empty, or a value is infinite, negative or no number; UnknownNameError.
    """
    try:
        return _table(columns)
    except InputError:
        filled = _filled(columns)  # the rare case pays for it
        if filled is None:
            raise
    return _table(filled)


def texts(name: str, values: Any, rows: int) -> Array:
    """Return a column of text, shape (rows,), empty cells as ''. Raises BadValueError where its length is another."""
    if one_word(values) and len(values) == rows:
        values = values[0]
    elif not isinstance(values, str) and not _all_words(values):
        values = np.where(empty_cells(values), "", np.asarray(values, dtype=object))
    labels = np.asarray(values, dtype=str)
    if labels.shape not in ((), (1,), (rows,)):
        raise BadValueError(f"The column '{name}' has {labels.size} values where the table has {rows} rows.")
    return np.broadcast_to(labels, (rows,))


def one_word(values: Any) -> bool:
    """Say whether a column is a list of one word, again and again."""
    known = isinstance(values, list) and bool(values) and type(values[0]) is str
    return known and values.count(values[0]) == len(values)


def _all_words(values: Any) -> bool:
    if isinstance(values, list):
        return all(type(value) is str for value in values)
    return bool(np.asarray(values).dtype.kind == "U")


def empty_cells(values: Any) -> Array:
    """Return which cells are NaN, None or '', shape (rows,) or ()."""
    # a list of words and NaN would become words
    array = np.asarray(values, dtype=object if isinstance(values, list | tuple) else None)
    if array.dtype.kind == "f":
        return np.asarray(np.isnan(array))
    if array.dtype.kind not in "OU":
        return np.zeros(array.shape, dtype=bool)
    flat = [value is None or value == "" or value != value for value in array.astype(object).ravel().tolist()]
    return np.array(flat, dtype=bool).reshape(array.shape)


def _table(columns: Mapping[str, Any]) -> OpTable:
    """Return the table of columns; a word that stands in every row is kept once. Raises InputError."""
    words = {name: len(values) for name, values in columns.items() if one_word(values)}
    if not words or len(set(words.values())) > 1 or len(words) == len(columns):
        return OpTable.from_columns(columns)
    found = OpTable.from_columns({name: values[0] if name in words else values for name, values in columns.items()})
    if found.rows not in words.values():
        return OpTable.from_columns(columns)  # which says what lengths they have
    return found


def _filled(columns: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the columns with defaults in their empty cells, None where no cell is. Raises BadValueError."""
    known = {name: values for name, values in columns.items() if name in DEFAULTS or name in CATEGORIES}
    empty = {name: mask for name, values in known.items() if (mask := empty_cells(values)).any()}
    if not empty or "op" not in columns:
        return None
    out = dict(columns)
    for name, mask in sorted(empty.items()):  # dtype before kv_dtype, which may stand for it
        values = np.asarray(columns[name], dtype=object)
        if name in DEFAULTS:
            _refuse_needed(name, mask, columns["op"])
            values = np.where(mask, DEFAULTS[name], values)
        elif name == "kv_dtype":
            values = np.where(mask, np.asarray(out.get("dtype", "bf16"), dtype=object), values)
        elif name == "dtype":
            _refuse(
                mask & ~_is("collective", columns["op"], mask), "dtype", "the cell is empty; name the number format."
            )
            values = np.where(mask, "bf16", values)  # a collective is sized in bytes
        elif name in EMPTY_CATEGORIES:
            values = np.where(mask, "", values)
        else:
            _refuse(mask, name, f"the cell is empty, but every operator needs an {name}.")
        out[name] = values.tolist() if name in CATEGORIES and values.ndim else values[()]
    return out


def _refuse_needed(name: str, mask: Array, ops: Any) -> None:
    """Refuse an empty cell of a size that its operator needs and that has no default."""
    if DEFAULTS[name] > 0:
        return
    for op in OPS:
        if name in NEEDED[op]:
            _refuse(mask & _is(op, ops, mask), name, f"{op} needs {name} above 0, found nothing.")


def _is(op: str, ops: Any, like: Array) -> Array:
    names = np.asarray(ops)
    codes = names.dtype.kind in "iu"
    return np.asarray(
        np.broadcast_to(names == (OPS.index(op) if codes else op), np.broadcast_shapes(names.shape, like.shape))
    )


def _refuse(mask: Array, name: str, problem: str) -> None:
    if mask.any():
        row = f"Row {int(np.argmax(mask)) + 1}: " if mask.ndim else ""
        raise BadValueError(f"{row}column '{name}': {problem}")
