"""A cost model that is a table: layers of one network as they were timed on one device, linear between the points.

Profilers of serving stacks time every layer of a network at many numbers of tokens. Between two of them the time is
linear; below the least it is that of the least, beyond the largest it grows in proportion. Operators that the table
does not hold are those of another cost model. Timings are of layers as they run inside the network, so weights that
come from memory and the write to the KV cache (part of the attention layer) are in them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from costmodel.collectives import Fabric
from costmodel.costs import NUMERIC, SOURCES, OpCosts
from costmodel.protocol import CostModel, PhysicsModel
from costmodel.rates import Rates
from foundation.errors import BadValueError
from workloads.measurements import MeasurementTable
from workloads.table import OP_CODES, PHASES, Array, OpTable

SIZE_OF = {"gemm": "m", "norm": "rows", "elementwise": "rows", "embedding": "rows"}
"""The column that grows with the tokens of a step."""
SHAPE_OF = {
    "gemm": ("n", "k"), "norm": ("hidden",), "elementwise": ("hidden", "operands"), "embedding": ("hidden",),
    "attention": ("heads", "kv_heads", "head_dim"),
}  # fmt: skip
SPREAD = 0.03
"""Half of the interval's width: the same layer timed again (estimated, 0.01 to 0.06)."""
NOTHING_S = 1e-12
"""Time of what is part of another layer's timing; not 0, since intervals are ratios."""
INTERPOLATED = SOURCES.index("interpolated")
DECODE = PHASES.index("decode")

Key = tuple[float, ...]
Curve = tuple[Array, Array]


@dataclass(frozen=True)
class Surface:
    """A time over two sizes whose grid need not be full: at each of `rows`, ascending, a curve over the other size."""

    rows: Array
    curves: tuple[Curve, ...]

    def at(self, row: Array, column: Array) -> Array:
        """Return the time, linear in both sizes; beyond the last row it goes on as between the last two."""
        every = np.stack([_on_curve(curve, column) for curve in self.curves])
        if len(self.rows) == 1:
            return np.asarray(every[0])
        low = np.clip(np.searchsorted(self.rows, row, side="right") - 1, 0, len(self.rows) - 2)
        share = np.maximum((row - self.rows[low]) / (self.rows[low + 1] - self.rows[low]), 0.0)
        here = np.arange(len(column))
        return np.asarray(every[low, here] * (1 - share) + every[low + 1, here] * share)


@dataclass(frozen=True)
class LayerTables:
    """The layers of networks on `device` in one format, over `fallback`.

    `layers` are curves over `SIZE_OF` by (operator, format, sizes of `SHAPE_OF`); `decode` surfaces over (requests,
    cached tokens), `chunks` over (tokens of a chunk, tokens before it).
    """

    device: str
    layers: Mapping[Key, Curve]
    decode: Mapping[Key, Surface]
    chunks: Mapping[Key, Surface]
    fallback: CostModel
    version: str
    name: str = "layer tables"

    @staticmethod
    def of(tables: Iterable[MeasurementTable], device: str, fallback: CostModel | None = None) -> LayerTables:
        """Return the tables of a device; rows of others are left out.

        Raises:
            BadValueError: no row is of the device.
        """
        layers: dict[Key, list[Curve]] = {}
        decode: dict[Key, list[Array]] = {}
        chunks: dict[Key, list[Array]] = {}
        digest = hashlib.sha256()
        for table in tables:
            mine = table.take(np.flatnonzero((table.device == device) & (table.value("latency_s") > 0)))
            for name, shape in SHAPE_OF.items():
                rows = mine.take(np.flatnonzero(mine.table.full("op") == OP_CODES[name]))
                for key, some in _by_shape(rows, name, shape):
                    digest.update(repr(key).encode() + some.value("latency_s").tobytes())
                    if name == "attention":
                        _attention_rows(some, key, decode, chunks)
                    else:
                        layers.setdefault(key, []).append((some.table.full(SIZE_OF[name]), some.value("latency_s")))
        if not layers and not decode:
            raise BadValueError(f"The tables hold no layer of '{device}' that was timed.")
        curves = {key: _curve(*(np.concatenate(side) for side in zip(*some, strict=True)))
                  for key, some in layers.items()}  # fmt: skip
        decodes, parts = ({key: _surface(np.concatenate(some)) for key, some in found.items()}
                          for found in (decode, chunks))  # fmt: skip
        version = digest.hexdigest()[:12]
        return LayerTables(device, curves, decodes, parts, fallback or PhysicsModel(), version)

    def predict(self, table: OpTable, rates: Rates, fabric: Fabric | None = None, *, software: str = "") -> OpCosts:
        """Return the cost of one instance of every row; rows that are not in the table are the fallback's."""
        base = self.fallback.predict(table, rates, fabric, software=software)
        if rates.device != self.device:
            return base
        found = np.full(table.rows, np.nan)
        for key, rows in _keys(table):
            value = self._times(key, table, rows)
            if value is not None:
                found[rows] = value
        known = np.flatnonzero(np.isfinite(found))
        return _with_times(base, known, found[known], rates)

    def _times(self, key: Key, table: OpTable, rows: Array) -> Array | None:
        name = _OPS[int(key[0])]
        if name == "copy":
            kept = {2 * shape[3] * shape[4] for shape in self.decode if shape[1] == key[1]}
            return np.full(len(rows), NOTHING_S) if key[2] in kept else None
        if name != "attention":
            curve = self.layers.get(key)
            return None if curve is None else _on_curve(curve, table.full(SIZE_OF[name])[rows])
        batch, queries, cached = (table.full(column)[rows] for column in ("batch", "q_len", "kv_len"))
        cached = np.where(cached > 0, cached, queries)
        decode = queries == 1
        out = np.full(len(rows), np.nan)
        if decode.any() and key in self.decode:
            out[decode] = self.decode[key].at(batch[decode], cached[decode])
        if (~decode).any() and key in self.chunks:
            out[~decode] = batch[~decode] * self.chunks[key].at(queries[~decode], (cached - queries)[~decode])
        return out


_OPS = {code: name for name, code in OP_CODES.items()}


def _keys(table: OpTable) -> Iterable[tuple[Key, Array]]:
    """Yield (operator, format, sizes) of the operators that tables can hold, and the rows that have them."""
    ops, formats = table.full("op"), table.full("dtype")
    for name, shape in {**SHAPE_OF, "copy": ("hidden",)}.items():
        rows = np.flatnonzero(ops == OP_CODES[name])
        if not len(rows):
            continue
        columns = np.stack([ops[rows], formats[rows], *(table.full(column)[rows] for column in shape)], axis=1)
        distinct, which = np.unique(columns, axis=0, return_inverse=True)
        for i, key in enumerate(distinct):
            yield tuple(float(x) for x in key), rows[which.ravel() == i]


def _by_shape(rows: MeasurementTable, name: str, shape: tuple[str, ...]) -> Iterable[tuple[Key, MeasurementTable]]:
    for key, index in _keys(rows.table):
        if _OPS[int(key[0])] == name and len(key) == 2 + len(shape):
            yield key, rows.take(index)


def _attention_rows(
    rows: MeasurementTable, key: Key, decode: dict[Key, list[Array]], chunks: dict[Key, list[Array]]
) -> None:
    batch, queries, cached = (rows.table.full(column) for column in ("batch", "q_len", "kv_len"))
    seconds, step = rows.value("latency_s"), rows.table.full("phase") == DECODE
    found = (
        (decode, step, batch, cached), (chunks, ~step & (batch == 1), queries, cached - queries),
    )  # fmt: skip
    for into, keep, row, column in found:
        if keep.any():
            into.setdefault(key, []).append(np.stack([row[keep], column[keep], seconds[keep]], axis=1))


def _curve(size: Array, seconds: Array) -> Curve:
    """Return ascending sizes and the mean time at each."""
    points, which = np.unique(size, return_inverse=True)
    return points, np.bincount(which, weights=seconds) / np.bincount(which)


def _surface(points: Array) -> Surface:
    rows = np.unique(points[:, 0])
    return Surface(rows, tuple(_curve(*points[points[:, 0] == row, 1:].T) for row in rows))


def _on_curve(curve: Curve, size: Array) -> Array:
    points, seconds = curve
    return np.asarray(np.interp(size, points, seconds) * np.maximum(size / max(points[-1], 1.0), 1.0))


def _with_times(base: OpCosts, rows: Array, seconds: Array, rates: Rates) -> OpCosts:
    columns: dict[str, Any] = {name: np.array(getattr(base, name), dtype=float) for name in NUMERIC}
    added = seconds - columns["latency_s"][rows]
    for name, idle in zip(("energy_j", "energy_lo_j", "energy_hi_j"), rates.idle_w, strict=True):
        columns[name][rows] = np.maximum(columns[name][rows] + idle * added, 0.0)
    columns["latency_s"][rows] = seconds
    columns["latency_lo_s"][rows], columns["latency_hi_s"][rows] = seconds * (1 - SPREAD), seconds * (1 + SPREAD)
    source = np.array(base.source)
    source[rows] = INTERPOLATED
    return replace(base, **columns, source=source)
