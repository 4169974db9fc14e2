"""Columns of operators in memory, read as a measurement table's file is: NaN, None and '' are empty cells."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np

from foundation.checks import MAX_SIZE
from foundation.errors import BadValueError, InputError
from workloads.table import CATEGORIES, DEFAULTS, NEEDED, OPS, Array, OpTable

_NUMBERS = frozenset({int, float})
EMPTY_CATEGORIES = ("phase", "kind")
"""Columns of names in which an empty cell says that they do not apply; in `kv_dtype` it is the format of `dtype`."""


def operator_table(columns: Mapping[str, Any]) -> OpTable:
    """Return the table of columns. An empty cell of an optional column has its default (docs/measurements.md).

    Raises:
        BadValueError: a needed cell is empty, or a value is infinite, negative, no number, not whole, or too large, as
            in a file; UnknownNameError.
    """
    try:
        found = _table(columns)
    except InputError:
        refuse_infinite(columns)
        filled = _filled(columns)  # the rare case pays for it
        if filled is None:
            raise
        columns, found = filled, _table(filled)
    _check_sizes(columns, found)
    return found


def refuse_infinite(columns: Mapping[str, Any]) -> None:
    """Refuse sizes that are infinite. Raises BadValueError: the first of them, with its row."""
    for name in (name for name in columns if name in DEFAULTS):
        try:
            bad = np.isinf(np.asarray(columns[name], dtype=np.float64))
        except (TypeError, ValueError):
            continue  # words and empty cells are looked at elsewhere
        if bad.any():
            row = f"Row {int(np.argmax(bad)) + 1}: " if bad.ndim else ""
            raise BadValueError(f"{row}Column '{name}' holds NaN or infinity.")


def refuse_words(columns: Mapping[str, Any]) -> None:
    """Refuse sizes that numpy takes for numbers, but are none: text, and what is true or false; '' is an empty cell.

    Raises:
        BadValueError: the first of them, with its row.
    """
    sizes = {name: values for name, values in columns.items() if name in DEFAULTS}
    lists = [values for values in sizes.values() if type(values) is list]
    known = _NUMBERS.issuperset(set(map(type, chain.from_iterable(lists))))
    for name, values in sizes.items():
        if (known and type(values) is list) or type(values) in _NUMBERS or _dtype_kind(values) in "iuf":
            continue
        many = np.ndim(values) > 0
        for row, value in enumerate(np.asarray(values, dtype=object).tolist() if many else [values]):
            if isinstance(value, bool | np.bool_ | str | bytes) and not (isinstance(value, str) and value == ""):
                plain = value.item() if isinstance(value, np.generic) else value
                where = f"Row {row + 1}: " if many else ""
                raise BadValueError(f"{where}{name} must be a number, found {plain!r:.40}.")


def _dtype_kind(values: Any) -> str:
    return str(getattr(getattr(values, "dtype", None), "kind", "O"))


def _check_sizes(columns: Mapping[str, Any], table: OpTable) -> None:
    """Refuse sizes that a file may not hold either (docs/measurements.md). Raises BadValueError: the first row."""
    sizes = {name: table.columns[name] for name in columns if name in DEFAULTS}
    if not sizes or not table.rows:
        return
    flat = np.concatenate(list(sizes.values()), axis=None)
    if not np.count_nonzero(flat != np.floor(flat)) and not np.count_nonzero(flat > MAX_SIZE):
        return  # one look at all of them: this is the hot path
    found = [fault for name, values in sizes.items() if (fault := _size_fault(name, values))]
    if found:
        row, problem, many = min(found)
        raise BadValueError(f"Row {row + 1}: {problem}" if many else problem)


def _size_fault(name: str, values: Array) -> tuple[int, str, bool] | None:
    """Return the row of a column's first bad size, what is wrong, and whether it has rows."""
    from workloads.measurement_checks import FRACTIONAL, MAX_BUFFER_BYTES

    high = MAX_BUFFER_BYTES if name == "bytes" else MAX_SIZE
    large = values > high
    bad = large if name in FRACTIONAL else large | (values != np.floor(values))
    if not bad.any():
        return None
    row = int(np.argmax(bad))
    value, low = np.ravel(values)[row], int(DEFAULTS[name] == 1 and name not in FRACTIONAL | {"causal", "gated"})
    wrong = f"from {low} to {high}" if np.ravel(large)[row] else "a whole number"
    return row, f"{name} must be {wrong}, found {value:g}.", bool(values.ndim)


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
    flat = [_empty(value) for value in array.astype(object).ravel().tolist()]
    return np.array(flat, dtype=bool).reshape(array.shape)


def _empty(value: Any) -> bool:
    """Say whether a cell is None, '' or unlike itself: NaN, and pandas' NA, which is not even a truth value then."""
    if value is None or isinstance(value, str):
        return not value
    unlike = value != value
    return bool(unlike) if isinstance(unlike, bool | np.bool_) else True


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
    shapes = {np.asarray(values, dtype=object).shape for values in known.values()} - {()}
    if not empty or "op" not in columns or len(shapes) > 1:
        return None  # columns of several lengths are the table's to refuse
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
