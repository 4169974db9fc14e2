"""What the level above buffers of some size moves: the tiles that a rule chooses, and how often each is fetched.

A layer is tiled once. Of four ways, each with the largest tile that fits, a layer takes the one that moves least:

- inputs stay: bands of input rows with all their channels, past which all weights stream once a band;
- weights stay: whole output channels, past which all inputs stream once for each set of channels;
- sums stay: a block of m x n outputs for which reduction streams. Inputs are fetched once for each n, weights once for
  each m; n = sqrt(sums x bytes of inputs a pixel / bytes of weights a channel) makes these two equal;
- sums spill: a slice of weights stays, all pixels stream, and partial sums go out and come back once a slice.

A convolution tiled in rows or columns reads the halo of each tile again (exactly: (tiles - 1) x (kernel - stride) rows
or columns). Tiles are whole array tiles, so that the folds of a layer do not depend on them. Buffers of several cores
act as one: what two cores need is fetched once, and what stands still in several arrays is read once for all
(multicast). A unified buffer gives to what stays what one array tile of the others leaves, or, where sums stay, half to
sums and a quarter to inputs and to weights.

An array tile streams as many steps as loading what is stationary takes, so that loads hide. Where the buffers do not
hold that, it streams what they hold, one step at least (`narrowed`): `run` steps between loads, for which `folds` has
the array wait. Then sums stay for one array tile at a time; or they spill, and under `ws` all pixels stream past one
slice of the weights without waits. Under `os` the reduction streams, and nothing waits for its tiles.

More capacity never moves more, and larger layers never less (tests/test_spatial_fixed.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodel.spatial.folds import WHOLE, by_dataflow, reduction
from costmodel.spatial.layers import Layers
from costmodel.spatial.machine import Machine, Operands
from workloads.elementwise import Value, choose, some
from workloads.table import Array

NEVER = 1e30
"""Bytes of a way that does not fit: more than any way moves, yet a number (infinity x 0 tiles has no value)."""
EXACT = 1.0 + 1e-12
"""Quotients of whole numbers that rounding puts just below one are lifted by this before they are cut off."""


@dataclass(frozen=True)
class Narrow:
    """Tiles that stream less than a load takes, `where` they do: `m` x `n` of one array tile, and the bytes it has.

    `run` is how many steps stream between loads, `run_spilled` where sums spill (infinite: the stream is whole);
    `sums_fit` says that sums of all pixels fit and none spill, `no_spill` that the dataflow has no such way.
    """

    where: Array
    m: Value
    n: Value
    held: Operands
    run: Value
    run_spilled: Value
    sums_fit: Value
    no_spill: Value


@dataclass(frozen=True)
class ArrayTile:
    """The least tile that keeps an array busy: pixels x channels x reduction, and its bytes by operand (sums).

    `narrow` is there where buffers do not hold it (see `narrowed`).
    """

    m: Value
    n: Value
    k: Value
    bytes: Operands
    narrow: Narrow | None = None

    @property
    def held(self) -> Operands:
        """Bytes that the buffers hold at once."""
        return self.bytes if self.narrow is None else self.narrow.held


@dataclass(frozen=True)
class Traffic:
    """Bytes of one way to tile a layer: operands in and out, partial sums out (as many come back).

    `m_tiles` and `n_tiles` are how often the pixels and the output channels are cut, `run` how many steps stream before
    what is stationary changes, where that is less than its load takes.
    """

    inputs: Value
    weights: Value
    outputs: Value
    spilled: Value
    m_tiles: Value
    n_tiles: Value
    run: Value = WHOLE

    @property
    def bytes(self) -> Value:
        """All bytes, both ways."""
        return self.inputs + self.weights + self.outputs + 2.0 * self.spilled


def array_tile(layers: Layers, machine: Machine) -> ArrayTile:
    """Return the array tile of layers: rows x columns where the dataflow lays them, and as many steps along as rows."""
    rows, cols, flow = machine.rows, machine.cols, machine.dataflow
    m = np.minimum(by_dataflow(flow, rows, rows, cols), layers.pixels)
    n = np.minimum(by_dataflow(flow, cols, cols, rows), layers.k)
    k = np.minimum(rows, reduction(layers, machine)[0])
    sizes = Operands(m * k * (layers.input_bits / 8), k * n * (layers.weight_bits / 8), m * n * (layers.sum_bits / 8))
    return ArrayTile(m, n, k, sizes)


def lacking_bytes(machine: Machine, need: Operands) -> Value:
    """Return the bytes by which the buffers of a core are too small for a tile."""
    twice = choose(machine.double_buffered, 2.0, 1.0)
    lacking = []
    for size, have in zip(need, machine.buffer_bytes, strict=True):
        lack = np.maximum(size * twice - have, 0.0)
        lacking.append(np.where(have > 0, lack, 0.0) if some(have == 0) else lack)
    apart = sum(lacking)
    if not some(machine.unified):
        return apart
    return choose(machine.unified, np.maximum(sum(need) * twice - sum(machine.buffer_bytes), 0.0), apart)


def narrowed(layers: Layers, machine: Machine, tile: ArrayTile) -> tuple[ArrayTile, Value]:
    """Return the array tile with as many steps as buffers hold, and the bytes by which one step is too much."""
    short = lacking_bytes(machine, tile.bytes)
    if not some(short):
        return tile, short
    flow, half = machine.dataflow, choose(machine.double_buffered, 0.5, 1.0)
    along = np.maximum(by_dataflow(flow, tile.m, tile.k, tile.n), 1.0)
    streams = Operands(by_dataflow(flow, 1.0, 1.0, 0.0), by_dataflow(flow, 0.0, 1.0, 1.0),
                       by_dataflow(flow, 1.0, 0.0, 1.0))  # fmt: skip
    step = Operands(*(size * part / along for size, part in zip(tile.bytes, streams, strict=True)))
    still = Operands(*(size * (1.0 - part) for size, part in zip(tile.bytes, streams, strict=True)))
    apart: Value = along
    for one, have in zip(step, machine.buffer_bytes, strict=True):
        limits = (one > 0) & (np.asarray(have) > 0)
        apart = np.minimum(apart, np.where(limits, have * half / np.where(limits, one, 1.0), along))
    together = (sum(machine.buffer_bytes) * half - sum(still)) / np.maximum(sum(step), 1e-9)
    steps = np.floor(choose(machine.unified, together, apart) * EXACT)
    steps = np.minimum(np.maximum(steps, 1.0), along)
    where = np.asarray(short > 0)
    held = Operands(*(np.where(where, fixed + one * steps, whole)
                      for fixed, one, whole in zip(still, step, tile.bytes, strict=True)))  # fmt: skip
    m = np.where(where, by_dataflow(flow, steps, tile.m, tile.m), tile.m)
    n = np.where(where, by_dataflow(flow, tile.n, tile.n, steps), tile.n)
    runs = np.where(where, steps, WHOLE)
    run = by_dataflow(flow, runs, WHOLE, runs)
    sums = layers.pixels * step.outputs <= machine.buffer_bytes.outputs * (half * machine.cores)
    fit = by_dataflow(flow, choose(machine.unified, False, sums), False, False)
    narrow = Narrow(where, m, n, held, run, by_dataflow(flow, WHOLE, WHOLE, run), fit,
                    by_dataflow(flow, False, True, False))  # fmt: skip
    one_step = Operands(*(fixed + one for fixed, one in zip(still, step, strict=True)))
    missing = np.where(where, lacking_bytes(machine, one_step), 0.0)
    return ArrayTile(tile.m, tile.n, tile.k, tile.bytes, narrow), missing


def ways(layers: Layers, tile: ArrayTile, room: Operands, unified: Value) -> tuple[Traffic, ...]:
    """Return what each way moves for one group, given the bytes of `room` (their sum where `unified`)."""
    shape, rooms = _Shape.of(layers), _rooms(layers, tile, room, unified)
    return (*_one_stays(shape, tile, rooms), *_sums_stay(shape, tile, rooms))


@dataclass(frozen=True)
class _Rooms:
    """Bytes for what stays: inputs; weights and the inputs beside them; all three where sums stay."""

    inputs: Value
    weights: Value
    beside: Value
    sums: Operands


def _rooms(layers: Layers, tile: ArrayTile, room: Operands, unified: Value) -> _Rooms:
    least = tile.held
    apart = Operands(*(np.maximum(have, need) for have, need in zip(room, least, strict=True)))
    own = _Rooms(apart.inputs, apart.weights, apart.inputs, apart)
    if not some(unified):
        return own
    rest = np.maximum(sum(room) - sum(least), 0.0)
    weights = layers.k * layers.depth * (layers.weight_bits / 8)
    beside = rest - np.minimum(np.maximum(weights - least.weights, 0.0), rest)
    shares = Operands(*(need + part * rest for need, part in zip(least, (0.25, 0.25, 0.5), strict=True)))
    shared = _Rooms(least.inputs + rest, least.weights + rest, least.inputs + beside, shares)
    return _Rooms(
        choose(unified, shared.inputs, own.inputs), choose(unified, shared.weights, own.weights),
        choose(unified, shared.beside, own.beside),
        Operands(*(choose(unified, a, b) for a, b in zip(shares, apart, strict=True))),
    )  # fmt: skip


@dataclass(frozen=True)
class _Shape:
    """A layer as the ways need it: sizes of at least 1, bytes of an element, and what a kernel passes over.

    Each output row adds `sy` input rows, and a tile of them `halo_y` more; `stored_y` are those stored in all. A
    position is one pixel of the input with all its channels.
    """

    layers: Layers
    oy: Value
    ox: Value
    sy: Value
    sx: Value
    halo_y: Value
    halo_x: Value
    stored_y: Value
    stored_x: Value
    position_bytes: Value
    weight_bytes: Value
    output_bytes: Value
    batched: bool

    @classmethod
    def of(cls, layers: Layers) -> _Shape:
        sy, sx = np.minimum(layers.stride, layers.fy), np.minimum(layers.stride, layers.fx)
        halo_y, halo_x = layers.fy - sy, layers.fx - sx
        return cls(
            layers, np.maximum(layers.oy, 1.0), np.maximum(layers.ox, 1.0), sy, sx, halo_y, halo_x,
            np.maximum(layers.oy * sy + halo_y - layers.pad_y, 1.0),
            np.maximum(layers.ox * sx + halo_x - layers.pad_x, 1.0),
            layers.c * (layers.input_bits / 8), layers.k * layers.depth * (layers.weight_bits / 8),
            layers.pixels * layers.k * (layers.output_bits / 8), some(layers.batch != 1.0),
        )  # fmt: skip

    def loaded(self, y_tiles: Value, x_tiles: Value) -> Value:
        """Return the bytes of all inputs where each tile brings its halo."""
        rows = self.stored_y + (y_tiles - 1.0) * self.halo_y
        columns = self.stored_x + (x_tiles - 1.0) * self.halo_x
        return rows * columns * (self.position_bytes * self.layers.batch)

    def image_tiles(self, together: Value) -> Value:
        """Return into how many tiles images fall of which some fit together."""
        return np.ceil(self.layers.batch / _between(np.floor(together), np.maximum(self.layers.batch, 1.0)))


def _between(count: Value, most: Value) -> Value:
    """Return a count of at least 1 and at most `most`."""
    return np.minimum(np.maximum(count, 1.0), most)


def _bands(shape: _Shape, room: Value) -> tuple[Value, Value, Value, Value]:
    """Return (fits, pixel tiles, row tiles, column tiles) of inputs with all their channels in some bytes."""
    layers, position = shape.layers, np.maximum(shape.position_bytes, 1e-9)
    row = position * (shape.ox * shape.sx + shape.halo_x)
    rows = np.floor((room / row - shape.halo_y) * (EXACT / shape.sy))
    columns = np.floor((room / (position * layers.fy) - shape.halo_x) * (EXACT / shape.sx))
    y_tiles = np.ceil(shape.oy / _between(rows, shape.oy))
    x_tiles = np.where(rows >= 1.0, 1.0, np.ceil(shape.ox / _between(columns, shape.ox)))
    tiles = y_tiles * x_tiles
    if shape.batched:
        tiles = tiles * shape.image_tiles(room / (row * (shape.oy * shape.sy + shape.halo_y)))
    return columns >= 1.0, tiles, y_tiles, x_tiles


def _one_stays(shape: _Shape, tile: ArrayTile, rooms: _Rooms) -> tuple[Traffic, Traffic]:
    """Return the ways in which inputs stay and in which weights stay; see `NEVER` for one that does not fit."""
    layers, weights, outputs = shape.layers, shape.weight_bytes, shape.output_bytes
    fits, m_tiles, y_tiles, x_tiles = _bands(shape, rooms.inputs)
    loaded = np.where(fits, shape.loaded(y_tiles, x_tiles), NEVER)
    run = WHOLE if tile.narrow is None else tile.narrow.run
    inputs_stay = Traffic(loaded, weights * m_tiles, outputs, 0.0, m_tiles, 1.0, run)
    if rooms.beside is not rooms.inputs:
        fits, m_tiles, y_tiles, x_tiles = _bands(shape, rooms.beside)
        loaded = np.where(fits, shape.loaded(y_tiles, x_tiles), NEVER)
    channels = np.maximum(tile.n, 1.0)  # of one array tile
    column = np.maximum(channels * layers.depth * (layers.weight_bits / 8), 1e-9)
    sets = np.floor(rooms.weights * (EXACT / column))
    n_tiles = np.ceil(np.ceil(layers.k / channels) / np.maximum(sets, 1.0))
    n_tiles = np.where(m_tiles == 1.0, 1.0, n_tiles)
    inputs = np.where(sets >= 1.0, loaded * n_tiles, NEVER)
    return inputs_stay, Traffic(inputs, weights, outputs, 0.0, m_tiles, n_tiles, run)


def _sums_stay(shape: _Shape, tile: ArrayTile, rooms: _Rooms) -> tuple[Traffic, Traffic]:
    """Return the ways in which sums stay and in which they spill."""
    layers, weights = shape.layers, shape.weight_bytes
    one_sum, one_input, one_weight = layers.sum_bits / 8, layers.input_bits / 8, layers.weight_bits / 8
    tile_m, tile_n, tile_k = np.maximum(tile.m, 1.0), np.maximum(tile.n, 1.0), np.maximum(tile.k, 1.0)
    m_steps, n_steps = np.ceil(layers.pixels / tile_m), np.ceil(layers.k / tile_n)
    sums = rooms.sums.outputs / one_sum
    balance = shape.sy * shape.sx * one_input / (layers.fy * layers.fx * one_weight)
    channels = np.maximum(np.sqrt(sums * balance), sums / np.maximum(m_steps * tile_m, 1.0))
    slices = rooms.sums.weights / (tile_k * one_weight)
    sets = _between(np.floor(np.minimum(channels, slices) * EXACT / tile_n), np.maximum(n_steps, 1.0))
    pixels = np.minimum(sums / (sets * tile_n), rooms.sums.inputs / (tile_k * one_input))
    pixels = np.maximum(np.floor(pixels * EXACT / tile_m), 1.0) * tile_m
    narrow = tile.narrow
    if narrow is not None:
        pixels = np.where(narrow.where, np.maximum(narrow.m, 1.0), pixels)
    rows = np.floor(pixels / shape.ox)
    y_tiles, x_tiles = np.ceil(shape.oy / _between(rows, shape.oy)), np.ceil(shape.ox / np.minimum(pixels, shape.ox))
    m_tiles, n_tiles = y_tiles * x_tiles, np.ceil(n_steps / sets)
    if shape.batched:
        m_tiles = m_tiles * shape.image_tiles(rows / shape.oy)
    loaded, outputs = shape.loaded(y_tiles, x_tiles), shape.output_bytes
    if narrow is not None:
        n_steps = np.where(narrow.where, np.ceil(layers.k / np.maximum(narrow.n, 1.0)), n_steps)
        n_tiles = np.where(narrow.where, n_steps, n_tiles)
    run, run_spilled = (WHOLE, WHOLE) if narrow is None else (narrow.run, narrow.run_spilled)
    stay = Traffic(loaded * n_tiles, weights * m_tiles, outputs, 0.0, m_tiles, n_tiles, run)
    deep = np.maximum(np.floor(slices * EXACT / tile_n), 1.0)
    over = layers.pixels * tile_n > sums * EXACT
    if narrow is not None:
        deep, over = np.where(narrow.where, 1.0, deep), np.where(narrow.where, ~np.asarray(narrow.sums_fit), over)
        loaded = np.where(narrow.where & narrow.no_spill, NEVER, loaded)
    again = (np.ceil(np.ceil(layers.depth / tile_k) / deep) - 1.0) * over
    spilled = again * (layers.pixels * layers.k * one_sum)
    return stay, Traffic(loaded * n_steps, weights, outputs, spilled, 1.0, n_steps, run_spilled)
