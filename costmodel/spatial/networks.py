"""`networks`: whole networks on very many designs: the fixed mapping over columns, in chunks that stay in the cache."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from costmodel.spatial.costs import SpatialCosts
from costmodel.spatial.fixed import fixed_mapping
from costmodel.spatial.layers import FIELDS, Layers
from costmodel.spatial.machine import Machine, Operands
from costmodel.spatial.traffic import array_tile, lacking_bytes
from foundation.errors import BadValueError
from workloads.elementwise import Value
from workloads.table import Array

CELLS = 16384
"""Layers x designs evaluated at a time: of 2,048 to 32,768 the fastest, by 2 to 50 %."""
FEW = 32
"""Below so many designs all sums are made at once."""


@dataclass(frozen=True)
class NetworkCosts:
    """Costs of one network on each design; every field has the shape (designs,).

    `cycles` are those of all layers one after the other, `macs` those executed; bytes as in `SpatialCosts`, of all
    layers (`buffer_bytes` of all cores). Where `feasible` is False a layer does not fit: cycles are NaN and
    `shortfall_bytes` is what the worst layer lacks.
    """

    cycles: Array
    macs: Array
    buffer_bytes: Operands
    shared_bytes: Array
    dram_read_bytes: Array
    dram_write_bytes: Array
    tiles: Array
    feasible: Array
    shortfall_bytes: Array


def distinct(layers: Layers) -> tuple[Layers, Array]:
    """Return the layers of unequal shape that have work, and how often each of them occurs."""
    macs = np.ravel(layers.macs)
    columns = np.stack([np.broadcast_to(np.ravel(getattr(layers, name)), macs.shape) for name in FIELDS], axis=1)
    shapes, counts = np.unique(columns[macs > 0], axis=0, return_counts=True)
    unequal: dict[str, Value] = {}
    for name, column in zip(FIELDS, shapes.T, strict=True):
        same = len(column) > 0 and (column == column[0]).all()
        unequal[name] = float(column[0]) if same and name not in ("k", "c", "ox") else np.ascontiguousarray(column)
    return Layers(**unequal), counts.astype(float)


def networks(layers: Layers, counts: Array, machines: Machine) -> NetworkCosts:
    """Return what a network costs on every design: columns of layers against columns of machines.

    `counts` is how often each layer occurs. See `fixed_mapping` for the mapping.

    Raises:
        BadValueError: counts and layers differ in number, or a layer is none that a dataflow could map.
    """
    rows = len(np.atleast_1d(counts))
    if rows == 0 or any(np.ndim(getattr(layers, name)) and len(getattr(layers, name)) != rows for name in FIELDS):
        raise BadValueError(f"A network needs one count for each of its layers, and one layer at least, not {rows}.")
    macs = np.broadcast_to(layers.macs, (rows,))
    if not (np.isfinite(macs) & (macs > 0)).all():
        at = int(np.argmin(np.isfinite(macs) & (macs > 0)))
        raise BadValueError(f"No dataflow maps layer {at}: it has {macs[at]:g} multiply-accumulates. `distinct` leaves "
                            "out rows without any, which other units compute.")  # fmt: skip
    designs = _designs(machines)
    column, weight = layers.reshaped((-1, 1)), np.reshape(np.asarray(counts, dtype=float), (-1, 1))
    out = _allocate(designs)
    step = max(CELLS // rows, 1)
    if np.ndim(machines.dataflow) == 0 and designs <= step:
        _sum_into(out, slice(0, designs), fixed_mapping(column, machines), weight)
        return out
    kinds = np.broadcast_to(machines.dataflow, (designs,))
    for kind in np.unique(kinds):  # of one dataflow, so that no case is computed in vain
        for where in _alike(column, machines, np.flatnonzero(kinds == kind), kind, step):
            whole = len(where) == designs
            for start in range(0, len(where), step):
                part: Any = slice(start, min(start + step, designs)) if whole else where[start : start + step]
                _sum_into(out, part, fixed_mapping(column, _cut(machines, part, kind)), weight)
    return out


def _alike(column: Layers, machines: Machine, where: Array, kind: Value, step: int) -> tuple[Array, ...]:
    """Return the designs whose buffers hold a whole array tile of every layer, and the others, which take longer."""
    narrow = np.empty(len(where), dtype=bool)
    for start in range(0, len(where), step):
        machine = _cut(machines, where[start : start + step], kind)
        short = lacking_bytes(machine, array_tile(column, machine).bytes)
        narrow[start : start + step] = np.any(np.asarray(short) > 0, axis=0)
    return where[~narrow], where[narrow]


def _designs(machines: Machine) -> int:
    """Return how many designs the columns of machines hold."""
    sizes = {column.shape for value in vars(machines).values()
             for column in (value if isinstance(value, Operands) else (value,))
             if isinstance(column, np.ndarray) and column.ndim}  # fmt: skip
    if len(sizes) > 1 or any(len(size) > 1 for size in sizes):
        raise BadValueError(f"Columns of machines must have one length, not {', '.join(map(str, sorted(sizes)))}.")
    return next(iter(sizes))[0] if sizes else 1


def _cut(machines: Machine, part: Any, dataflow: Value) -> Machine:
    """Return some designs of one dataflow; their numbers were checked when the columns were made."""

    def cut(value: Value) -> Value:
        return value[part] if isinstance(value, np.ndarray) and value.ndim else value

    some = object.__new__(Machine)
    for name, value in vars(machines).items():
        some.__dict__[name] = Operands(*map(cut, value)) if isinstance(value, Operands) else cut(value)
    some.__dict__["dataflow"] = int(dataflow)
    return some


def _allocate(designs: int) -> NetworkCosts:
    block = iter(np.empty((10, designs)))
    return NetworkCosts(
        cycles=next(block), macs=next(block), buffer_bytes=Operands(next(block), next(block), next(block)),
        shared_bytes=next(block), dram_read_bytes=next(block), dram_write_bytes=next(block), tiles=next(block),
        feasible=np.empty(designs, dtype=bool), shortfall_bytes=next(block),
    )  # fmt: skip


def _sum_into(out: NetworkCosts, part: Any, costs: SpatialCosts, weight: Array) -> None:
    """Add layers up, each as often as it occurs, into some designs of `out`."""
    columns = (out.cycles, out.macs, *out.buffer_bytes, out.shared_bytes, out.dram_read_bytes, out.dram_write_bytes,
               out.tiles)  # fmt: skip
    values = (costs.cycles, costs.macs, *costs.buffer_bytes, costs.shared_bytes, sum(costs.dram_read_bytes),
              costs.dram_write_bytes, costs.tiles)  # fmt: skip
    shape = (len(weight), costs.feasible.shape[-1])
    if shape[1] < FEW:
        block = np.empty((len(values), *shape))
        for row, value in zip(block, values, strict=True):
            row[...] = value
        sums: Any = np.cumsum(np.multiply(block, weight, out=block), axis=1, out=block)[:, -1]
    else:
        sums = (_weighted(np.broadcast_to(value, shape), weight.ravel()) for value in values)
    for column, total in zip(columns, sums, strict=True):
        column[part] = total
    out.feasible[part] = costs.feasible.all(axis=0)
    out.shortfall_bytes[part] = np.max(costs.shortfall_bytes, axis=0)


def _weighted(value: Array, weight: Array) -> Array:
    """Return the weighted sum over rows, row after row, as `cumsum` adds them.

    What one design costs must not depend, to the last bit, on which others stand beside it, and a product of matrices
    does not promise that.
    """
    total = value[0] * weight[0]
    for row, times in zip(value[1:], weight[1:], strict=True):
        total += row * times
    return np.asarray(total)
