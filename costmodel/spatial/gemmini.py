"""Gemmini: cycles of convolutions and products under given tiles, as its hardware unrolls them, in columns.

A tile is one instruction of the loop unroller (LoopConv, LoopMatmul): it loads inputs and weights by DMA, computes
block after block of `side` x `side` weights, and stores. Two tiles are in flight, so a tile takes as long as the
slowest of its parts or half of all three; the sum of powers stands for what overlaps only in part.

* Compute: for each weight block, all its pixels in runs of up to `side` along a row, a run of r pixels r cycles (at
  least 4), the last one `side` (the next weights move in meanwhile), and no run less than `pair_share` of `side`.
* Moves: requests of up to 64 bytes, `beat_cycles` each 16 bytes; a line that the L2 lacks costs more, one from device
  memory more still (`gemmini_cache`). Nothing is kept between tiles: inputs and weights are loaded for every tile.
* Issue: the processor needs `conv_issue_cycles` to start a tile.

The structure is that of the sources (ucb-bar/gemmini: LoopConv, ExecuteController, LoadController, DMA;
gemmini-rocc-tests: gemmini.h). Constants: `GemminiConstants`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields, replace

import numpy as np

from costmodel.spatial.costs import SpatialCosts
from costmodel.spatial.gemmini_cache import LINE_BYTES, SHARPNESS, Touched, fetched_bytes
from costmodel.spatial.gemmini_tiling import (
    BATCH,
    COLS,
    DEPTH,
    KERNEL_COLS,
    KERNEL_ROWS,
    OUT,
    ROWS,
    GemminiHardware,
    GemminiTiles,
    buffer_rows,
    default_tiling,
    is_product,
    limits_of,
)
from costmodel.spatial.layers import Layers
from costmodel.spatial.machine import Operands
from workloads.elementwise import Value
from workloads.table import Array

LEAST_RUN = 4.0
"""Cycles of the shortest run of pixels (ExecuteController: rows of a command are at least 4)."""
MOST_MISSES = 1.2
"""Lines that a request touches at most: one, and a part of the next."""


@dataclass(frozen=True)
class GemminiConstants:
    """Cycles that the sources do not state. All estimated: fitted to 348 RTL runs of random mappings (DOSA's training
    rows on a 16-wide array, shapes of the test networks left out) by `costmodel.evaluation.gemmini.train_constants`.
    Ranges: one alone within them makes the fit at most a tenth worse.
    """

    conv_issue_cycles: float = 269.0  # of one convolution tile: 7 commands and addresses (239 to 309)
    product_issue_cycles: float = 128.0  # of one product tile: 6 commands (105 to 156)
    pair_share: float = 0.48  # of the array's side: preload and compute of one run (0.38 to 0.60)
    beat_cycles: float = 1.36  # 16 bytes from or to the L2 (1.1 to 1.7)
    narrow_miss_cycles: float = 7.2  # a line the L2 lacks, for part of it (4.2 to 11)
    wide_miss_cycles: float = 4.1  # the same for the whole line, in a burst of its neighbours (0 to 14)
    store_miss_cycles: float = 11.9  # a line stored in parts that the L2 must read first (0.6 to 29)
    device_cycles: float = 5.4  # more for a line from device memory; twice that for one written (0 to 17)
    start_cycles: float = 857.0  # of a layer: configuration, first load, last store (250 to 1,760)
    overlap_power: float = 4.5  # of the sum of parts that overlap (3.2 to 7.9)


CONSTANTS = GemminiConstants()
NAMES: tuple[str, ...] = tuple(field.name for field in fields(GemminiConstants))


@dataclass(frozen=True)
class TileCounts:
    """What tiles of one size do: (kinds of tiles, layers). `count` tiles of a kind in a layer; requests, beats and
    rows are those of one tile; `compute` cycles without and `runs` for the limit of commands."""

    count: Array
    blocks: Array
    padded: Array
    compute: Array
    runs: Array
    requests: Operands
    beats: Operands
    zeroed: Array


@dataclass(frozen=True)
class GemminiRuns:
    """Layers under tiles, with all that does not depend on constants worked out once."""

    hardware: GemminiHardware
    touched: Touched
    counts: TileCounts
    passes: Array
    missing: Operands
    device: Operands
    macs: Array
    ideal_cycles: Array
    groups: Array
    feasible: Array
    shortfall_bytes: Array


def gemmini_runs(
    layers: Layers, tiles: GemminiTiles | None = None, hardware: GemminiHardware | None = None, *,
    padding: Value = 0.0, warm: bool = False,
) -> GemminiRuns:  # fmt: skip
    """Return layers under tiles (the default tiling if none) on a Gemmini, ready to be priced.

    `padding` is that of the input on each side: padded pixels are filled, not loaded. `warm`: caches hold what the run
    before left of the same data. Raises BadValueError: sides that are not whole numbers from 1.
    """
    hardware = hardware or GemminiHardware()
    tiles = tiles or default_tiling(layers, hardware)
    limits, product = limits_of(layers), is_product(layers)
    rows = len(limits)
    stride, pad, groups = (
        np.broadcast_to(np.asarray(value, float), (rows,)) for value in (layers.stride, padding, layers.groups)
    )
    element = Operands(*(np.broadcast_to(np.asarray(bits, float) / 8, (rows,))
                         for bits in (layers.input_bits, layers.weight_bits, layers.output_bits)))  # fmt: skip
    sizes = np.minimum(tiles.sizes, limits)
    touched = Touched(
        limits, sizes, np.broadcast_to(tiles.order, limits.shape), stride, product,
        (limits[:, ROWS] - 1) * stride + limits[:, KERNEL_ROWS] - 2 * pad,
        (limits[:, COLS] - 1) * stride + limits[:, KERNEL_COLS] - 2 * pad, element,
    )  # fmt: skip
    counts = _counts(touched, pad, hardware)
    passes = touched.tiles[:, [DEPTH, KERNEL_ROWS, KERNEL_COLS]].prod(axis=1)
    missing, device = (
        fetched_bytes(touched, capacity, sharp, warm=warm)
        for capacity, sharp in zip((hardware.l2_bytes, hardware.llc_bytes), SHARPNESS, strict=True)
    )
    macs = groups * limits.prod(axis=1)
    scratchpad, accumulator = buffer_rows(sizes, stride, hardware.side)
    over = np.maximum(scratchpad - hardware.scratchpad_rows // 2, 0) * hardware.side
    over = over + np.maximum(accumulator - hardware.accumulator_rows // 2, 0) * 4 * hardware.side
    return GemminiRuns(
        hardware,
        touched,
        counts,
        passes,
        missing,
        device,
        macs,
        macs / hardware.side**2,
        groups,
        np.asarray(over == 0),
        over,
    )


def _counts(run: Touched, pad: Array, hardware: GemminiHardware) -> TileCounts:
    """Return the work of the tiles of every kind: inner ones and those that end a side."""
    side, tiles = float(hardware.side), run.tiles
    last = run.limits - (tiles - 1) * run.sizes
    inside = np.where(run.product, 1.0, _inside(run, pad, COLS, KERNEL_COLS) * _inside(run, pad, ROWS, KERNEL_ROWS))
    ragged = [at for at in range(run.limits.shape[1]) if (last[:, at] != run.sizes[:, at]).any()]
    kinds = []
    for ends in itertools.product((False, True), repeat=len(ragged)):
        size, count = run.sizes.copy(), np.ones(len(last))
        for at in range(run.limits.shape[1]):
            if at not in ragged:
                count = count * tiles[:, at]
            elif ends[ragged.index(at)]:
                size[:, at] = last[:, at]
            else:
                count = count * (tiles[:, at] - 1)
        if count.any():
            kinds.append(_kind(run, size, count, inside, side, hardware))
    count, blocks, padded, compute, runs, *rest = (np.array(column) for column in zip(*kinds, strict=True))
    return TileCounts(count, blocks, padded, compute, runs, Operands(*rest[:3]), Operands(*rest[3:6]), rest[6])


def _inside(run: Touched, pad: Array, at: int, kernel: int) -> Array:
    """Share of the loaded pixels along a side that are in the image."""
    reach = run.sizes[:, at] * run.stride + run.sizes[:, kernel] - 1
    return np.asarray(np.clip(1 - 2 * pad / np.maximum(run.tiles[:, at] * reach, 1), 0.3, 1))


def _kind(
    run: Touched, size: Array, count: Array, inside: Array, side: float, hardware: GemminiHardware
) -> list[Array]:
    of_in, of_weight, _ = run.element_bytes
    kernel = size[:, KERNEL_ROWS] * size[:, KERNEL_COLS]
    wide_out = np.ceil(size[:, OUT] / side)
    blocks = wide_out * kernel * np.ceil(size[:, DEPTH] / side)
    lines = size[:, BATCH] * size[:, ROWS]
    whole, rest = np.divmod(size[:, COLS], side)
    final = np.where(rest > 0, np.maximum(rest, LEAST_RUN), max(side, LEAST_RUN))
    pixels = lines * (whole * max(side, LEAST_RUN) + np.where(rest > 0, np.maximum(rest, LEAST_RUN), 0.0))
    compute = blocks * (pixels - final + np.maximum(side, final))
    runs = blocks * lines * (whole + (rest > 0))
    rows = np.where(run.product, size[:, ROWS], size[:, ROWS] * run.stride + size[:, KERNEL_ROWS] - 1)
    cols = np.where(run.product, size[:, COLS], size[:, COLS] * run.stride + size[:, KERNEL_COLS] - 1)
    read = size[:, BATCH] * rows * cols * inside
    loaded = kernel * size[:, DEPTH]
    per_pixel, beats_in = _requests(size[:, DEPTH] * of_in, hardware)
    per_row, beats_weight = _requests(size[:, OUT] * of_weight, hardware)
    stored = lines * size[:, COLS] * wide_out
    return [
        count, blocks, blocks * lines * size[:, COLS], compute, runs, read * per_pixel, loaded * per_row, stored,
        read * beats_in, loaded * beats_weight, stored, stored,
    ]  # fmt: skip


def _requests(run_bytes: Array, hardware: GemminiHardware) -> tuple[Array, Array]:
    """Return the requests that one run of bytes takes, and their beats of the bus: sizes are powers of two."""
    bus, most = hardware.bus_bytes, hardware.request_bytes
    requests = np.ceil(run_bytes / most)
    rest = run_bytes - (requests - 1) * most
    power = 2 ** np.ceil(np.log2(np.maximum(rest / bus, 1)))
    return requests, (requests - 1) * (most // bus) + power


def gemmini_costs(runs: GemminiRuns, constants: GemminiConstants = CONSTANTS) -> SpatialCosts:
    """Return cycles by stage and accesses of layers; `cycles` is NaN where a tile exceeds half of a buffer."""
    counts, power = runs.counts, constants.overlap_power
    compute = np.maximum(counts.compute, constants.pair_share * runs.hardware.side * counts.runs)
    near = _moves(runs, constants, misses=False)
    far = _moves(runs, constants, misses=True)
    issue = np.where(runs.touched.product, constants.product_issue_cycles, constants.conv_issue_cycles)
    steps = [
        counts.padded, compute, _overlapped(compute, near, 0.0, power), _overlapped(compute, far, 0.0, power),
        _overlapped(compute, far, issue, power),
    ]  # fmt: skip
    shape, fill, onchip, dram, issued = ((counts.count * step).sum(axis=0) * runs.groups for step in steps)
    ideal = runs.ideal_cycles
    good = np.where(runs.feasible, 1.0, np.nan)
    beats = counts.beats.inputs + counts.beats.weights + counts.beats.outputs / runs.passes
    moved = (counts.count * beats).sum(axis=0) * runs.hardware.bus_bytes * runs.groups
    return SpatialCosts(
        runs.macs, ideal * good, shape * good, fill * good, onchip * good, dram * good,
        (issued + constants.start_cycles) * good,
        _scratchpad_bytes(runs), moved,
        Operands(runs.device.inputs * runs.groups, runs.device.weights * runs.groups, np.zeros_like(ideal)),
        runs.device.outputs * runs.groups, counts.count.sum(axis=0) * runs.groups, runs.feasible,
        runs.shortfall_bytes,
    )  # fmt: skip


def _moves(runs: GemminiRuns, constants: GemminiConstants, *, misses: bool) -> Array:
    """Return the cycles of loads and stores of a tile of every kind; stores are spread over the passes of a sum."""
    counts, beat = runs.counts, constants.beat_cycles
    inputs, weights, outputs = (counts.beats[i] * beat for i in range(3))
    if misses:
        inputs = inputs + _miss(runs, constants, 0)
        weights = weights + _miss(runs, constants, 1)
        per_line = runs.missing.outputs, runs.device.outputs
        near, far = (_per_request(runs, lines, 2) for lines in per_line)
        costs = near * constants.store_miss_cycles + far * 2 * constants.device_cycles
        outputs = outputs + counts.requests.outputs * costs
    return np.asarray(inputs + weights + (outputs + counts.zeroed) / runs.passes)


def _miss(runs: GemminiRuns, constants: GemminiConstants, at: int) -> Array:
    requests, beats = runs.counts.requests[at], runs.counts.beats[at]
    wide = beats >= 3.5 * requests
    near = _per_request(runs, runs.missing[at], at)
    far = _per_request(runs, runs.device[at], at)
    cost = near * np.where(wide, constants.wide_miss_cycles, constants.narrow_miss_cycles)
    return np.asarray(requests * (cost + far * constants.device_cycles))


def _per_request(runs: GemminiRuns, missing_bytes: Array, at: int) -> Array:
    """Lines fetched for each request of an operand, over the whole layer."""
    requests = (runs.counts.count * runs.counts.requests[at]).sum(axis=0) / (runs.passes if at == 2 else 1.0)
    return np.asarray(np.minimum(missing_bytes / LINE_BYTES / np.maximum(requests, 1.0), MOST_MISSES))


def _overlapped(compute: Array, moves: Array, issue: Value, power: float) -> Array:
    """Return the cycles of a tile whose parts overlap, two tiles in flight; scaled so that no power overflows."""
    half = (compute + moves) / 2
    largest = np.maximum(np.maximum(compute, moves), np.maximum(issue, 1.0))
    parts = sum((part / largest) ** power for part in (compute, moves, half, issue))
    return np.asarray(largest * parts ** (1 / power))


def _scratchpad_bytes(runs: GemminiRuns) -> Operands:
    """Bytes read from scratchpad, and of sums read and written in the accumulator."""
    limits = runs.touched.limits
    pixels = limits[:, BATCH] * limits[:, ROWS] * limits[:, COLS]
    kernel = limits[:, KERNEL_ROWS] * limits[:, KERNEL_COLS]
    side = runs.hardware.side
    count, blocks = runs.counts.count, runs.counts.blocks
    read = pixels * kernel * limits[:, DEPTH] * np.ceil(limits[:, OUT] / side)
    sums = 8 * pixels * kernel * limits[:, OUT] * np.ceil(limits[:, DEPTH] / side)
    return Operands(read * runs.groups, (count * blocks).sum(axis=0) * side**2 * runs.groups, sums * runs.groups)


def with_values(names: tuple[str, ...], values: Array, start: GemminiConstants = CONSTANTS) -> GemminiConstants:
    """Return constants with some replaced."""
    return replace(start, **dict(zip(names, map(float, values), strict=True)))


def compute_share(runs: GemminiRuns, constants: GemminiConstants = CONSTANTS) -> Array:
    """Return the share of a layer's cycles in which the array computes: 1 = nothing else shows."""
    costs = gemmini_costs(runs, constants)
    return np.asarray(np.clip(costs.fill_cycles / costs.cycles, 0.0, 1.0))
