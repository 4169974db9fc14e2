"""What of a tile's data the caches of a Gemmini's chip hold: lines fetched again because they were evicted.

Every tile loads its inputs and weights anew, so what counts is whether a line is still in the L2 (or the last-level
cache behind it) since the tile that touched it last. Between them lies one round of the loops inside: its footprint
against the capacity tells the share that is gone. Rows of a strided tile fall into few sets: a run of 16 bytes every
512 uses one set in eight, so such a footprint counts eight times for itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from costmodel.spatial.gemmini_tiling import BATCH, COLS, DEPTH, KERNEL_COLS, KERNEL_ROWS, OUT, ROWS
from costmodel.spatial.machine import Operands
from workloads.table import Array

LINE_BYTES = 64.0
SHARPNESS = 3.0, 4.0
"""Exponent of the share that is gone against footprint over capacity, at the L2 and at the last level (estimated, 2 to
8: replacement is not of the least recently used)."""


@dataclass(frozen=True)
class Touched:
    """Layers as the software runs them and their tiles: all that traffic and reuse follow from.

    `limits` and `sizes` (layers, 7) by `SIDES`; `order` of the loops over tiles, innermost first; `in_rows`, `in_cols`
    are the image, `element_bytes` those of inputs, weights and outputs in memory.
    """

    limits: Array
    sizes: Array
    order: Array
    stride: Array
    product: Array
    in_rows: Array
    in_cols: Array
    element_bytes: Operands

    @property
    def tiles(self) -> Array:
        """Tiles along every side, (layers, 7)."""
        return np.asarray(np.ceil(self.limits / self.sizes))

    def footprint(self, sizes: Array) -> Operands:
        """Return the bytes of lines that a box of sides `sizes` touches, of each operand."""
        rows, cols = self._reach(sizes)
        of_in, of_weight, of_out = self.element_bytes
        kernel = sizes[:, KERNEL_ROWS] * sizes[:, KERNEL_COLS]
        pixels = sizes[:, BATCH] * sizes[:, ROWS] * sizes[:, COLS]
        return Operands(
            sizes[:, BATCH] * rows * cols * _lines(sizes[:, DEPTH] * of_in, self.limits[:, DEPTH] * of_in),
            kernel * sizes[:, DEPTH] * _lines(sizes[:, OUT] * of_weight, self.limits[:, OUT] * of_weight),
            pixels * _lines(sizes[:, OUT] * of_out, self.limits[:, OUT] * of_out),
        )

    def crowding(self, sizes: Array) -> Operands:
        """Return how many times its own footprint a box counts, for the sets that its strided runs leave out."""
        of_in, of_weight, of_out = self.element_bytes
        deep, out = DEPTH, OUT
        return Operands(
            _crowding(sizes[:, deep] * of_in, self.limits[:, deep] * of_in),
            _crowding(sizes[:, out] * of_weight, self.limits[:, out] * of_weight),
            _crowding(sizes[:, out] * of_out, self.limits[:, out] * of_out),
        )

    def _reach(self, sizes: Array) -> tuple[Array, Array]:
        """Rows and columns of the input under a box of outputs; a stride beyond the kernel skips none."""
        rows = sizes[:, ROWS] * self.stride + sizes[:, KERNEL_ROWS] - 1
        cols = sizes[:, COLS] * self.stride + sizes[:, KERNEL_COLS] - 1
        rows = np.where(self.product, sizes[:, ROWS], np.minimum(rows, self.in_rows))
        return rows, np.where(self.product, sizes[:, COLS], np.minimum(cols, self.in_cols))


def _lines(run_bytes: Array, full_bytes: Array) -> Array:
    rounded = np.minimum(np.ceil(run_bytes / LINE_BYTES) * LINE_BYTES, np.maximum(full_bytes, 1.0))
    return np.asarray(np.where(run_bytes >= full_bytes, full_bytes, rounded))


def _crowding(run_bytes: Array, pitch_bytes: Array) -> Array:
    whole = np.maximum(pitch_bytes, 1.0).astype(np.int64)
    power = (whole & -whole).astype(float)
    run = np.ceil(run_bytes / LINE_BYTES) * LINE_BYTES
    return np.asarray(np.where(run_bytes >= pitch_bytes, 1.0, np.maximum(1.0, power / run)))


def fetched_bytes(run: Touched, capacity_bytes: float, sharpness: float, *, warm: bool) -> Operands:
    """Return the bytes of lines that a cache of that size fetches from behind it over a whole layer, by operand.

    `warm`: the layer ran before, so what fits is there from the start; else everything comes in once.
    """
    box, tiles, every = run.sizes.copy(), run.tiles, np.arange(len(run.sizes))
    inside = run.footprint(box)
    total = [np.array(value, float) for value in inside]
    for position in range(run.order.shape[1]):
        crowd, side = run.crowding(box), run.order[:, position]
        times = tiles[every, side]
        larger = box.copy()
        larger[every, side] = np.minimum(box[every, side] * times, run.limits[every, side])
        outside = run.footprint(larger)
        for i, (own, grown, crowded) in enumerate(zip(inside, outside, crowd, strict=True)):
            gone = _gone(sum(inside) + own * (crowded - 1), capacity_bytes, sharpness)
            fresh = np.minimum(grown / np.maximum(own, 1e-9), times)
            total[i] = total[i] * (times * gone + (1 - gone) * fresh)
        box, inside = larger, outside
    if warm:
        once = run.footprint(run.limits)
        gone = _gone(np.asarray(sum(once)), capacity_bytes, sharpness)
        total = [np.maximum(t - o, 0) + np.minimum(t, o) * gone for t, o in zip(total, once, strict=True)]
    return Operands(*total)


def _gone(footprint_bytes: Array, capacity_bytes: float, sharpness: float) -> Array:
    return np.asarray(1 / (1 + (capacity_bytes / np.maximum(footprint_bytes, 1.0)) ** sharpness))


def rows_of(run: Touched, rows: Array) -> Touched:
    """Return some rows of a table of layers."""
    fields = ("limits", "sizes", "order", "stride", "product", "in_rows", "in_cols")
    return replace(run, **{name: getattr(run, name)[rows] for name in fields})
