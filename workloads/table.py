"""`OpTable`: operators as columns, the only form that a cost model sees.

One row is one operator instance with a repeat count; one operator, one network and a million candidates take the
same path. Column names are those of the measurement table (docs/measurements.md); a column that holds one value for
all rows is kept as a 0-d array and broadcasts, so a uniform table costs nothing to describe.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from foundation.errors import BadValueError, UnknownNameError
from foundation.formats import FORMAT_CODES, FORMAT_NAMES, number_format

Array = npt.NDArray[Any]

OPS: tuple[str, ...] = (
    "gemm", "attention", "mla", "moe", "collective", "conv2d", "norm", "elementwise", "softmax", "embedding", "scan",
    "copy",
)  # fmt: skip
PHASES: tuple[str, ...] = ("", "prefill", "decode")
KINDS: tuple[str, ...] = ("", "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv")
OP_CODES: dict[str, int] = {name: code for code, name in enumerate(OPS)}

CATEGORIES: dict[str, tuple[str, ...]] = {
    "op": OPS, "dtype": FORMAT_NAMES, "kv_dtype": FORMAT_NAMES, "phase": PHASES, "kind": KINDS,
}  # fmt: skip
"""Columns of names, held as integer codes into these tuples."""

DEFAULTS: dict[str, float] = {
    "count": 1, "batch": 1, "m": 0, "n": 0, "k": 0,
    "q_len": 0, "kv_len": 0, "heads": 0, "kv_heads": 0, "head_dim": 0, "v_dim": 0, "window": 0,
    "kv_rank": 0, "rope_dim": 0, "causal": 1, "density": 1,
    "tokens": 0, "hidden": 0, "inter": 0, "experts": 0, "topk": 0, "tp": 1, "ep": 1, "skew": 0, "gated": 1,
    "bytes": 0, "ranks": 1,
    "c_in": 0, "h": 0, "w": 0, "c_out": 0, "kh": 0, "kw": 0, "stride": 1, "padding": 0, "groups": 1,
    "out_h": 0, "out_w": 0,
    "rows": 0, "operands": 1, "flop_per_element": 0, "state": 0,
}  # fmt: skip
"""Numeric columns and the value that an absent one has (0 = does not apply or 'derive it').

Beyond the measurement table: `v_dim` (value head size, 0 = head_dim), `causal` (0 = every query sees every key),
`density` (share of attention pairs that a sparse kernel evaluates), `gated` (1 = three expert matrices, 0 = two),
`out_h`, `out_w` (0 = from h, kh, stride, padding), `stride` of a collective (its ranks stand so many devices apart),
`operands` (tensors that an elementwise operator reads),
`flop_per_element` (0 = the family's own).
"""

NEEDED: dict[str, tuple[str, ...]] = {
    "gemm": ("m", "n", "k", "batch"),
    "attention": ("batch", "q_len", "heads", "head_dim"),
    "mla": ("batch", "q_len", "heads", "kv_rank"),
    "moe": ("tokens", "hidden", "inter", "experts", "topk", "tp", "ep"),
    "collective": ("bytes", "ranks"),
    "conv2d": ("batch", "c_in", "h", "w", "c_out", "kh", "kw", "stride", "groups"),
    "norm": ("rows", "hidden"),
    "elementwise": ("rows", "hidden"),
    "softmax": ("rows", "hidden"),
    "embedding": ("rows", "hidden"),
    "copy": ("rows", "hidden"),
    "scan": ("batch", "q_len", "heads", "head_dim", "state"),
}
"""Columns that must be positive for an operator to mean anything."""


@dataclass(frozen=True)
class OpTable:
    """Operators as numpy columns.

    `columns` maps a column name to an array of shape (rows,) or () (one value for all rows); names of `CATEGORIES`
    hold integer codes. `labels` names each row, or is empty.
    """

    rows: int
    columns: Mapping[str, Array]
    labels: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        for name, column in self.columns.items():
            if name not in DEFAULTS and name not in CATEGORIES:
                raise UnknownNameError("operator column", name, [*DEFAULTS, *CATEGORIES])
            if column.shape not in ((), (self.rows,)):
                raise BadValueError(f"Column '{name}' has shape {column.shape}, but the table has {self.rows} rows.")
        if self.labels and len(self.labels) != self.rows:
            raise BadValueError(f"{len(self.labels)} labels for {self.rows} rows.")

    def __getitem__(self, name: str) -> Array:
        """Return a column, shape (rows,) or (); an absent one has its default (`kv_dtype`: that of `dtype`, bf16)."""
        column = self.columns.get(name)
        if column is not None:
            return column
        if name == "kv_dtype":
            return self["dtype"]
        return np.asarray(FORMAT_CODES["bf16"] if name == "dtype" else DEFAULTS.get(name, 0))

    def full(self, name: str) -> Array:
        """Return a column broadcast to shape (rows,)."""
        return np.broadcast_to(self[name], (self.rows,))

    def names(self, category: str) -> list[str]:
        """Return a category column as names, one a row."""
        words = CATEGORIES[category]
        return [words[int(code)] for code in self.full(category)]

    def take(self, index: Array | slice) -> OpTable:
        """Return the rows at `index` (integers, mask or slice), in that order."""
        columns = {name: column if column.ndim == 0 else column[index] for name, column in self.columns.items()}
        where = np.arange(self.rows)[index]
        labels = tuple(self.labels[i] for i in where) if self.labels else ()
        return OpTable(len(where), columns, labels)

    @classmethod
    def from_columns(
        cls, columns: Mapping[str, Any], labels: Sequence[str] = (), *, rows: int | None = None
    ) -> OpTable:
        """Build a table from lists, arrays or single values; category columns may hold names.

        Raises:
            BadValueError: columns of different lengths, NaN, infinite or negative values.
            UnknownNameError: an unknown column, operator, format, phase or kind.
        """
        arrays = {name: _column(name, values) for name, values in columns.items()}
        lengths = {a.shape[0] for a in arrays.values() if a.ndim == 1}
        if len(lengths) > 1:
            raise BadValueError(f"The columns have different lengths: {sorted(lengths)}.")
        count = rows if rows is not None else (lengths.pop() if lengths else 1)
        return cls(count, arrays, tuple(labels))

    @staticmethod
    def concat(tables: Iterable[OpTable]) -> OpTable:
        """Return the rows of all tables, one after the other."""
        parts = list(tables)
        total = sum(t.rows for t in parts)
        names = sorted({name for t in parts for name in t.columns})
        columns = {name: np.concatenate([t.full(name) for t in parts]) for name in names}
        labelled = all(t.labels or not t.rows for t in parts)
        return OpTable(total, columns, tuple(x for t in parts for x in t.labels) if labelled else ())

    def faults(self) -> list[tuple[int, str]]:
        """Return (row, reason) for every row that does not describe an operator, e.g. a needed size is not positive."""
        found: list[tuple[int, str]] = []
        ops = self.full("op")
        for code in np.unique(ops):
            name = OPS[int(code)]
            where = np.flatnonzero(ops == code)
            for needed in NEEDED[name]:
                bad = where[~(self.full(needed)[where] > 0)]
                found += [(int(i), f"{name} needs {needed} above 0, found {self.full(needed)[i]:g}") for i in bad]
            if name == "collective":
                found += [(int(i), "a collective needs a kind") for i in where[self.full("kind")[where] == 0]]
            if name == "conv2d" and not found:
                from workloads.work import conv_output

                edges = np.broadcast_to(np.minimum(*conv_output(self)), (self.rows,))
                found += [(int(i), "the kernel is larger than the padded input") for i in where[edges[where] < 1]]
        return sorted(found)


def category_code(category: str, name: str) -> int:
    """Return the code of a name in a category column. Raises UnknownNameError."""
    if category in ("dtype", "kv_dtype"):
        return FORMAT_CODES[number_format(name).name]
    words = CATEGORIES[category]
    if name not in words:
        raise UnknownNameError({"op": "operator"}.get(category, category), name, [w for w in words if w])
    return words.index(name)


def _column(name: str, values: Any) -> Array:
    if name in CATEGORIES:
        return _codes(name, values)
    if name not in DEFAULTS:
        raise UnknownNameError("operator column", name, [*DEFAULTS, *CATEGORIES])
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise BadValueError(f"Column '{name}' must hold numbers.") from None
    if not np.isfinite(array).all():
        raise BadValueError(f"Column '{name}' holds NaN or infinity.")
    if (array < 0).any():
        raise BadValueError(f"Column '{name}' holds a negative value ({array.min():g}).")
    return array


def _codes(name: str, values: Any) -> Array:
    if isinstance(values, str):
        return np.asarray(category_code(name, values), dtype=np.int16)
    if isinstance(values, list) and all(type(word) is str for word in values):  # faster than sorting them
        code_of = {word: category_code(name, word) for word in sorted(set(values))}
        return np.array([code_of[word] for word in values], dtype=np.int16)
    array = np.asarray(values)
    if array.dtype.kind in "iu":
        if array.size and not 0 <= int(array.min()) <= int(array.max()) < len(CATEGORIES[name]):
            most = len(CATEGORIES[name]) - 1
            raise BadValueError(f"Column '{name}' holds a code that names nothing: 0 to {most} do.")
        return array.astype(np.int16)
    words, inverse = np.unique(array.astype(str), return_inverse=True)
    codes = np.array([category_code(name, str(w)) for w in words], dtype=np.int16)
    return codes[inverse].reshape(array.shape)
