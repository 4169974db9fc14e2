"""Depth-first execution: chains of convolutions whose intermediate maps never leave the chip.

A stack of layers is computed band by band: some rows of the last output, and of each layer before it the rows these
need (Fused-layer CNN, Alwani et al., MICRO 2016, section III). Rows that two bands share are kept on chip
(`keeps_rows`, line buffers) or computed again (DeFiNES, Mei et al., HPCA 2023, calls these fully cached along the
bands and fully recomputed). `fuse` tries every stack of neighbours, every power of two of rows and both ways in
columns, and cuts the chain where the sum of cycles is least, then that of bytes.

Device memory then moves the first input, the last output, and the weights: once where those of the stack fit beside
the maps, once a band where they do not. Cycles are the larger of arithmetic (bands pay skew and short streams each)
and memory where buffers are double, else their sum.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from costmodel.spatial.fixed import fixed_mapping
from costmodel.spatial.layers import FIELDS, Layers
from costmodel.spatial.machine import Machine
from costmodel.spatial.traffic import array_tile
from foundation.errors import BadValueError
from workloads.table import Array


@dataclass(frozen=True)
class Stack:
    """Layers `first` to `last` computed together, `rows` of the last output at a time (all rows: a layer alone)."""

    first: int
    last: int
    rows: int
    keeps_rows: bool
    cycles: float
    dram_bytes: float
    buffer_bytes: float
    recomputed_macs: float

    @property
    def fused(self) -> bool:
        """Whether maps stay on chip between layers."""
        return self.last > self.first


@dataclass(frozen=True)
class Fusion:
    """The best cut of a chain into stacks, against the same layers one after the other."""

    stacks: tuple[Stack, ...]
    layer_cycles: float
    layer_dram_bytes: float

    @property
    def cycles(self) -> float:
        """Cycles of all stacks."""
        return sum(stack.cycles for stack in self.stacks)

    @property
    def dram_bytes(self) -> float:
        """Bytes of all stacks to and from device memory."""
        return sum(stack.dram_bytes for stack in self.stacks)

    @property
    def saved_dram_bytes(self) -> float:
        """Bytes that layers one after the other would move more."""
        return self.layer_dram_bytes - self.dram_bytes

    @property
    def buffer_bytes(self) -> float:
        """Bytes on chip that the largest fused stack needs (0 where none is)."""
        return max((stack.buffer_bytes for stack in self.stacks if stack.fused), default=0.0)

    @property
    def recomputed_macs(self) -> float:
        """Multiply-accumulates done more than once."""
        return sum(stack.recomputed_macs for stack in self.stacks)


def chained(layers: Layers) -> Array:
    """Return, for each layer but the last, whether the next reads just what it writes (no pooling, no branch)."""
    column = _columns(layers)
    channels = column["groups"] * column["k"] == np.roll(column["groups"] * column["c"], -1)
    ahead = {name: np.roll(values, -1) for name, values in column.items()}
    fits = channels & (column["batch"] == ahead["batch"])
    for out, kernel, pad in (("oy", "fy", "pad_y"), ("ox", "fx", "pad_x")):
        read = (ahead[out] - 1) * ahead["stride"] + ahead[kernel] - ahead[pad]
        fits &= (read <= column[out]) & (read > column[out] - ahead["stride"])
    return np.asarray(fits[:-1])


def fuse(layers: Layers, machine: Machine, *, deepest: int = 16) -> Fusion:
    """Return the best cut of a chain of layers (in order) into stacks of up to `deepest` layers, on one machine.

    Raises:
        BadValueError: there are no layers, several machines, or a layer that does not fit even alone.
    """
    designs = (machine.rows, machine.cols, machine.dataflow, machine.cores, *machine.buffer_bytes)
    if any(np.size(value) > 1 for value in designs):
        raise BadValueError("Layers are fused on one machine; take the columns of machines one by one.")
    column = _columns(layers)
    count = len(column["k"])
    if not count:
        raise BadValueError("There is no chain to fuse: no layers.")
    alone = fixed_mapping(layers, machine)
    if not alone.feasible.all():
        raise BadValueError(f"A layer of the chain does not fit alone, by {np.max(alone.shortfall_bytes):,.0f} B.")
    cycles, moved = (np.broadcast_to(v, (count,)) for v in (alone.cycles, alone.dram_bytes))
    best: dict[tuple[int, int], Stack] = {
        (i, i): Stack(i, i, int(column["oy"][i]), True, float(cycles[i]), float(moved[i]), 0.0, 0.0)
        for i in range(count)
    }
    joined = chained(layers)
    for last in range(1, count):
        for stack in _stacks_ending(column, machine, joined, last, deepest):
            best[stack.first, last] = stack
    return Fusion(_cut(best, count), float(cycles.sum()), float(moved.sum()))


def _columns(layers: Layers) -> dict[str, Array]:
    count = np.size(layers.macs)
    return {name: np.broadcast_to(np.asarray(getattr(layers, name), dtype=float), (count,)) for name in FIELDS}


def _cut(best: dict[tuple[int, int], Stack], count: int) -> tuple[Stack, ...]:
    """Return the stacks that cover the chain in the fewest cycles, then bytes (Bellman, over the ends)."""
    found: list[tuple[float, float, tuple[Stack, ...]]] = [(0.0, 0.0, ())]
    for end in range(count):
        options = []
        for start in range(end + 1):
            if (stack := best.get((start, end))) is not None:
                before = found[start]
                options.append((before[0] + stack.cycles, before[1] + stack.dram_bytes, (*before[2], stack)))
        found.append(min(options, key=lambda option: option[:2]))
    return found[count][2]


@dataclass
class _Bands:
    """Stacks that end at one layer, grown backwards: columns over (rows of the last output, keeps rows or not).

    `rows` are those that a band makes of the layer in front, `overlap` those of them that the band before made too;
    `weights_bytes` and `maps_bytes` are what the stack holds, `tile_bytes` what its largest array tile takes.
    """

    last_rows: Array
    keeps: Array
    bands: Array
    rows: Array
    overlap: Array
    compute_cycles: Array
    again_macs: Array
    maps_bytes: Array
    weights_bytes: float = 0.0
    tile_bytes: float = 0.0


def _stacks_ending(
    column: dict[str, Array], machine: Machine, joined: Array, last: int, deepest: int
) -> list[Stack]:  # fmt: skip
    """Return the best stack of each depth that ends at a layer and fits on chip."""
    oy = column["oy"][last]
    tiles = np.unique(np.minimum(2.0 ** np.arange(np.ceil(np.log2(max(oy, 2.0))) + 1), oy))
    rows, keeps = (grid.ravel() for grid in np.meshgrid(tiles, np.array([True, False]), indexing="ij"))
    none = np.zeros(rows.size)
    state = _Bands(rows, keeps, np.ceil(oy / rows), rows, none, none, none, none)
    _add_layer(state, _layer(column, last), machine)
    found = []
    for first in range(last - 1, max(last - deepest, -1), -1):
        if not joined[first]:
            break
        _add_layer(state, _layer(column, first), machine)
        stack = _best_of(state, column, machine, first, last)
        if stack is not None:
            found.append(stack)
    return found


def _layer(column: dict[str, Array], index: int) -> Layers:
    values: dict[str, Any] = {name: float(values[index]) for name, values in column.items()}
    return Layers(**values)


def _add_layer(state: _Bands, whole: Layers, machine: Machine) -> None:
    """Put one more layer in front: its rows a band, their cycles, its weights, and room for the rows that it reads."""
    oy, stride, kernel = whole.oy, whole.stride, whole.fy
    made = np.minimum(oy + (state.bands - 1.0) * state.overlap, oy * state.bands)  # rows in all
    band = replace(whole, oy=made / state.bands, batch=1.0, pad_y=0.0)
    # memory is counted for the stack as a whole
    fast = replace(machine, dram_bytes_per_cycle=1e30, dram_latency_cycles=0.0, issue_cycles=0.0)
    state.compute_cycles = state.compute_cycles + fixed_mapping(band, fast).onchip_cycles * state.bands * whole.batch
    state.again_macs = state.again_macs + whole.macs * (made / oy - 1.0)
    state.weights_bytes += float(whole.weight_bytes)
    state.tile_bytes = max(state.tile_bytes, float(sum(array_tile(whole, machine).bytes)))
    read = np.minimum((state.rows - 1.0) * stride + kernel, float(whole.iy))
    state.maps_bytes = state.maps_bytes + read * _row_bytes(whole)
    # kept rows lie below the new ones: a band makes only the new ones of the layer in front
    state.rows = np.where(state.keeps, np.minimum(state.rows * stride, read), read)
    state.overlap = np.where(state.keeps, 0.0, state.overlap * stride + max(float(kernel - stride), 0.0))


def _row_bytes(layer: Layers) -> float:
    """Return the bytes of one row of inputs of one image."""
    return float(layer.groups * layer.c * (layer.ix - layer.pad_x) * layer.input_bits / 8)


def _best_of(state: _Bands, column: dict[str, Array], machine: Machine, first: int, last: int) -> Stack | None:
    """Return the best rows and way for one stack, None where none fits."""
    front, end = _layer(column, first), _layer(column, last)
    room = sum(machine.buffer_bytes) * machine.cores + machine.shared_bytes
    # what comes in and what goes out passes through: twice its band where buffers are double
    passing = 2.0 if machine.double_buffered else 1.0
    output_row = end.output_bytes / (end.batch * end.oy)
    maps = state.maps_bytes + (passing - 1.0) * state.rows * _row_bytes(front) + passing * state.last_rows * output_row
    resident = maps + state.weights_bytes <= room
    fits = resident | (maps + passing * state.tile_bytes <= room)
    if not fits.any():
        return None
    images = state.bands * front.batch
    again = (images - front.batch) * state.overlap * _row_bytes(front)
    weights = state.weights_bytes * np.where(resident, 1.0, images)
    moved = front.input_bytes + again + weights + end.output_bytes
    memory = moved / machine.dram_bytes_per_cycle
    cycles = np.maximum(state.compute_cycles, memory) if machine.double_buffered else state.compute_cycles + memory
    waits = machine.dram_latency_cycles * (1.0 if machine.double_buffered else images)
    cycles = np.where(fits, cycles + waits + machine.issue_cycles * images, np.inf)
    at = int(np.lexsort((maps, moved, cycles))[0])
    held = maps + np.where(resident, state.weights_bytes, passing * state.tile_bytes)
    return Stack(
        first, last, int(state.last_rows[at]), bool(state.keeps[at]), float(cycles[at]), float(moved[at]),
        float(held[at]), float(state.again_macs[at]),
    )  # fmt: skip
