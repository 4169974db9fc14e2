"""The tiles that Gemmini's own software chooses: those of `tiled_conv_auto` and `tiled_matmul_auto`, in columns.

Rules as in gemmini.h of ucb-bar/gemmini-rocc-tests (commit 928aba8c), restated. A convolution starts as one tile; while
it does not fit half of the scratchpad and half of the accumulator, its largest side shrinks (channels by the array's
width, all else by one; columns of 16 or fewer only where rows are gone); then columns, then all sides grow by one in
turn while they fit. A product starts square in the accumulator and grows by blocks in the order columns, rows, depth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from costmodel.spatial.layers import Layers
from foundation.checks import MAX_SIZE
from foundation.errors import BadValueError
from workloads.table import Array

SIDES: tuple[str, ...] = ("batch", "oy", "ox", "k", "fy", "fx", "c")
"""Sides of a tile, in the order in which the software goes through them."""
BATCH, ROWS, COLS, OUT, KERNEL_ROWS, KERNEL_COLS, DEPTH = range(7)
CONV_ORDER = (DEPTH, KERNEL_COLS, KERNEL_ROWS, OUT, COLS, ROWS, BATCH)
"""Loops over tiles from the innermost out: partial sums finish first, images last."""
PRODUCT_ORDER = (DEPTH, OUT, COLS, ROWS, KERNEL_COLS, KERNEL_ROWS, BATCH)
MAX_SIDE = 1 << 20
"""Longest side of a layer that is tiled: the rule takes steps of one."""


@dataclass(frozen=True)
class GemminiHardware:
    """Sizes of a Gemmini: the array's side, buffers, caches of its chip. Defaults: the generator's (64 KiB accumulator,
    256 KiB scratchpad of 8-bit elements) on Chipyard's chip (512 KiB L2) in FireSim (4 MiB last-level cache model).
    """

    side: int = 16
    scratchpad_bytes: float = 256 * 1024
    accumulator_bytes: float = 64 * 1024
    l2_bytes: float = 512 * 1024
    llc_bytes: float = 4 * 1024**2
    bus_bytes: int = 16
    request_bytes: int = 64

    def __post_init__(self) -> None:
        for name, value in (("side of the array", self.side), ("request", self.request_bytes), ("bus", self.bus_bytes)):
            if not 1 <= value <= 4096:
                raise BadValueError(f"The {name} of a Gemmini must be from 1 to 4096, not {value}.")
        for name, rows in (("scratchpad", self.scratchpad_rows), ("accumulator", self.accumulator_rows)):
            if not rows >= 2:
                raise BadValueError(
                    f"The {name} of a Gemmini must hold at least 2 rows of its {self.side}-wide array: a tile lives in "
                    "half of it."
                )

    @property
    def scratchpad_rows(self) -> float:
        """Rows of 8-bit elements, one a column of the array."""
        return self.scratchpad_bytes // self.side

    @property
    def accumulator_rows(self) -> float:
        """Rows of 32-bit sums."""
        return self.accumulator_bytes // (4 * self.side)


@dataclass(frozen=True)
class GemminiTiles:
    """Tiles of layers, one row a layer: `sizes` (layers, 7) by `SIDES`, `order` (layers, 7) of loops over tiles as
    indices into `SIDES`, innermost first.
    """

    sizes: Array
    order: Array

    def side(self, name: str) -> Array:
        """Return one side of every tile."""
        return np.asarray(self.sizes[:, SIDES.index(name)])


def limits_of(layers: Layers) -> Array:
    """Return the sides of layers (of one group), (layers, 7) by `SIDES`; one group of a depthwise layer is a channel.

    Raises:
        BadValueError: a side is not from 1 to `MAX_SIDE` (channels and pixels of products to 10^12).
    """
    columns = np.broadcast_arrays(*(np.atleast_1d(np.asarray(getattr(layers, name), float)) for name in SIDES))
    limits = np.stack(columns, axis=1)
    good = np.isfinite(limits) & (limits >= 1) & (limits <= MAX_SIZE) & (limits == np.floor(limits))
    if not good.all():
        row, side = np.argwhere(~good)[0]
        raise BadValueError(f"'{SIDES[side]}' of a layer must be a whole number from 1, not {limits[row, side]:g}.")
    return limits


def is_product(layers: Layers) -> Array:
    """Tell which layers run as matrix products: 1x1 kernels on one row of pixels."""
    limits = limits_of(layers)
    stride = np.broadcast_to(np.asarray(layers.stride, float), limits.shape[:1])
    return np.asarray((limits[:, [ROWS, KERNEL_ROWS, KERNEL_COLS]] == 1).all(axis=1) & (stride == 1))


def buffer_rows(sizes: Array, stride: Array, side: int) -> tuple[Array, Array]:
    """Return the rows of scratchpad and accumulator that tiles (..., 7) take, halos of the inputs included."""
    wide_in, wide_out = -(-sizes[..., DEPTH] // side), -(-sizes[..., OUT] // side)
    rows = sizes[..., ROWS] * stride + sizes[..., KERNEL_ROWS] - 1
    cols = sizes[..., COLS] * stride + sizes[..., KERNEL_COLS] - 1
    inputs = wide_in * sizes[..., BATCH] * rows * cols
    weights = wide_out * sizes[..., KERNEL_ROWS] * sizes[..., KERNEL_COLS] * sizes[..., DEPTH]
    return inputs + weights, wide_out * sizes[..., BATCH] * sizes[..., ROWS] * sizes[..., COLS]


def least_bytes(layers: Layers, side: int) -> tuple[Array, Array]:
    """Return the bytes of scratchpad and accumulator below which not even the least tile of layers fits half of them.

    Of a convolution that is one pixel of one channel, of a product a block of the array's side.
    """
    limits, product = limits_of(layers), is_product(layers)
    stride = np.broadcast_to(np.asarray(layers.stride, float), limits.shape[:1])
    inner, outer = buffer_rows(np.ones_like(limits), stride, side)
    inner, outer = np.where(product, 2.0 * side, inner), np.where(product, float(side), outer)
    return 2.0 * inner * side, 2.0 * outer * side * 4.0


def default_tiling(layers: Layers, hardware: GemminiHardware | None = None) -> GemminiTiles:
    """Return the tiles that Gemmini's software chooses for layers (each a column).

    Raises:
        BadValueError: a side that is not a whole number from 1, or a convolution's above `MAX_SIDE`.
    """
    hardware = hardware or GemminiHardware()
    limits, product = limits_of(layers), is_product(layers)
    stride = np.broadcast_to(np.asarray(layers.stride, float), limits.shape[:1])
    if (limits[~product] > MAX_SIDE).any():
        raise BadValueError(f"No side of a convolution may exceed {MAX_SIDE:,}, not {limits[~product].max():,.0f}.")
    sizes = np.ones_like(limits)
    order = np.where(product[:, None], PRODUCT_ORDER, CONV_ORDER)
    if (~product).any():
        sizes[~product] = _conv_tiles(limits[~product], stride[~product], hardware)
    if product.any():
        sizes[product] = _product_tiles(limits[product], hardware)
    return GemminiTiles(sizes, order)


def _conv_tiles(limits: Array, stride: Array, hardware: GemminiHardware) -> Array:
    side, sizes, every = hardware.side, limits.copy(), np.arange(len(limits))
    most = hardware.scratchpad_rows // 2, hardware.accumulator_rows // 2

    def fits(candidate: Array) -> Array:
        scratchpad, accumulator = buffer_rows(candidate, stride, side)
        return np.asarray((scratchpad <= most[0]) & (accumulator <= most[1]))

    _lower(sizes, side, fits)
    while (large := ~fits(sizes) & (sizes > 1).any(axis=1)).any():
        choice = sizes.copy()
        choice[(sizes[:, COLS] <= side) & (sizes[:, ROWS] > 1), COLS] = -1
        at = np.argmax(choice, axis=1)
        now = sizes[every, at]
        channels = np.where(now % side, now // side * side, now - side)
        less = np.where((at == OUT) | (at == DEPTH), channels, now - 1)
        sizes[every, at] = np.where(large, np.maximum(less, 1), now)
    while (grown := _grow(sizes, limits, COLS, fits)).any():
        pass
    grown = np.ones(len(limits), bool)
    while grown.any():
        grown = np.zeros(len(limits), bool)
        for at in range(len(SIDES)):
            grown |= _grow(sizes, limits, at, fits)
    return sizes


def _lower(sizes: Array, side: int, fits: Callable[[Array], Array]) -> None:
    """Take the largest sides down to a level at once, in place, while no step down to it would have fitted.

    Above the array's width, single steps from any start pass through: pixels at the level, channels at the multiple of
    the width below it. A tile that does not fit there did not fit on the way.
    """
    channels = np.isin(np.arange(len(SIDES)), (OUT, DEPTH))
    for share in (0.75, 0.93, 0.98):
        going = np.ones(len(sizes), bool)
        while going.any():
            level = np.floor(sizes.max(axis=1, keepdims=True) * share)
            reached = np.where(channels, level // side * side, level)
            lower = np.where(sizes > level, reached, sizes)
            going &= (level[:, 0] > side) & ~fits(lower)
            sizes[going] = lower[going]


def _grow(sizes: Array, limits: Array, at: int, fits: Callable[[Array], Array]) -> Array:
    """Grow one side by one where the layer has it and the tile still fits, in place; tell where it did."""
    larger = sizes.copy()
    larger[:, at] += 1
    grown = (larger[:, at] <= limits[:, at]) & fits(larger)
    sizes[grown, at] += 1
    return np.asarray(grown)


def _product_tiles(limits: Array, hardware: GemminiHardware) -> Array:
    """Tiles in blocks of the array's side, at most the padded product."""
    side = hardware.side
    most = {COLS: -(-limits[:, COLS] // side), OUT: -(-limits[:, OUT] // side), DEPTH: -(-limits[:, DEPTH] // side)}
    half = hardware.scratchpad_rows // 2, hardware.accumulator_rows // 2
    square = max(1.0, float(np.floor(np.sqrt(half[1] // side))))
    deep = max(1.0, half[0] // 2 // side // square)
    now = {at: np.minimum(blocks, deep if at == DEPTH else square) for at, blocks in most.items()}
    grown = np.ones(len(limits), bool)
    while grown.any():
        grown = np.zeros(len(limits), bool)
        for at in (OUT, COLS, DEPTH):
            larger = {**now, at: now[at] + 1}
            rows, cols, deep_now = larger[COLS], larger[OUT], larger[DEPTH]
            fits = (rows * deep_now + deep_now * cols) * side <= half[0]
            fits &= (at == DEPTH) | (rows * cols * side <= half[1])
            fits &= larger[at] <= most[at]
            now[at] = np.where(fits, larger[at], now[at])
            grown |= fits
    sizes = np.ones_like(limits)
    for at, blocks in now.items():
        sizes[:, at] = blocks * side
    return sizes
