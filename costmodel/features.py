"""What the learned residual sees of an operator: ratios only, so that a tree can serve sizes that it never saw.

Each feature compares the operator with the device (intensity over the ridge point, tiles over units, bytes over cache)
or one of its sizes with another. Raw sizes are not among them: trees cannot extrapolate (Chen and Guestrin 2016 leaves
are constants), so the size of a row stays in the physics. Codes say which kind of kernel runs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodel.physics import GRANULE, SPLIT, Priced, Stages
from costmodel.rates import Rates
from workloads.table import OP_CODES, OPS, Array, OpTable
from workloads.work import OpWork

LOGARITHMS: tuple[str, ...] = (
    "compute_over_memory", "shape_waste", "items_over_units", "bytes_over_cache", "input_over_bytes",
    "output_over_bytes", "blocked_over_compulsory", "time_over_launch", "vector_over_matrix", "m_tiles", "n_tiles",
    "k_tiles", "m_over_n", "k_over_n", "products", "heads_over_kv_heads", "queries_over_keys", "head_dim_over_128",
    "ranks", "ridge_flop_per_byte", "launch_bytes_over_cache",
)  # fmt: skip
"""Ratios that enter by their natural logarithm."""
SHARES: tuple[str, ...] = ("last_wave_use", "m_granule_use", "n_tile_use", "k_tile_use", "skew")
"""Ratios that enter as they are: shares of whole pieces that are filled, and the exponent of expert loads."""
RATIOS: tuple[str, ...] = (*LOGARITHMS, *SHARES)
"""Continuous features; outside the range that training saw, a row is extrapolated."""
CODES: tuple[str, ...] = ("op", "dtype", "kv_dtype", "phase", "kind", "device", "software")
"""Which kernel runs: codes; a combination of op, dtype, device and software that training never saw is extrapolated."""
FEATURES: tuple[str, ...] = (*RATIOS, *CODES)

WITH_HEADS: Array = np.isin(OPS, ("attention", "mla", "scan"))
"""Families, in the order of `OPS`, that have heads, a phase and a cache format."""
TINY, HUGE = np.float32(1e-30), np.float32(1e30)
BOOST = 1.05
"""Margin on peak rates: boards run above the stated boost clock (estimated, 1.0 to 1.1)."""


@dataclass(frozen=True)
class Described:
    """Rows as features (float32, shape (rows, len(FEATURES))) and the physical floor of their time in seconds."""

    matrix: Array
    floor_s: Array


def describe(
    table: OpTable, priced: Priced, rates: Rates, device_code: int = 0, software_code: int = 0
) -> Described:  # fmt: skip
    """Return features and floors of every row of a table that the closed form has priced."""
    matrix = np.empty((len(FEATURES), table.rows), dtype=np.float32)
    logs, total = len(LOGARITHMS), len(RATIOS)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        waves = _device_ratios(matrix, priced, rates)
        _shape_ratios(matrix, table, priced.work, rates)
        _shares(matrix[logs:total], table, priced.work, rates, waves)
        block = matrix[:logs]
        np.fmin(np.fmax(block, TINY, out=block), HUGE, out=block)  # also turns 0/0 into a bound
        np.log(block, out=block)
    for i, codes in enumerate(_codes(table)):
        matrix[total + i] = codes
    matrix[total + 5], matrix[total + 6] = device_code, software_code
    floor = floor_s(priced.stages, rates)
    return Described(matrix.T, floor if floor.ndim else np.full(table.rows, floor))


def _codes(table: OpTable) -> list[Array]:
    """Return op, dtype, kv_dtype, phase and kind; those that say nothing of a family stay at what an absent one is.

    A product is the same kernel in prefill, in decode and in a table of nothing but products.
    """
    ops, dtype = table["op"], table["dtype"]
    heads, linked = WITH_HEADS[ops], ops == OP_CODES["collective"]
    kv_dtype = np.where(heads, table["kv_dtype"], dtype) if "kv_dtype" in table.columns else dtype
    return [ops, dtype, kv_dtype, np.where(heads, table["phase"], 0), np.where(linked, table["kind"], 0)]


def floor_s(parts: Stages, rates: Rates) -> Array:
    """Return the time that no kernel can beat: peak FLOP, and bytes from the level that can hold them."""
    outside = np.maximum(parts.moved_bytes - rates.cache_bytes, 0.0) * (1.0 / rates.dram_bytes_per_s)
    return np.asarray(np.maximum(np.maximum(parts.ideal_s, parts.cache_s), outside) * (1.0 / BOOST))


def _device_ratios(out: Array, priced: Priced, rates: Rates) -> Array:
    """Fill the ratios of the operator to the device (before the logarithm); returns waves, items over units."""
    work, parts = priced.work, priced.stages
    tile_m, tile_n, tile_k = rates.tile
    items = np.ceil(work.m / tile_m) * np.ceil(work.n / tile_n) * work.gemms * np.ceil(work.k / (tile_k * SPLIT))
    waves = items / rates.units
    compulsory, cache = parts.moved_bytes, max(rates.cache_bytes, 1.0)
    out[0] = parts.ideal_s / parts.dram_s
    out[1] = parts.shaped_s / parts.ideal_s
    out[2] = waves
    out[3] = compulsory / cache
    out[4] = work.input_bytes / compulsory
    out[5] = work.output_bytes / compulsory
    out[6] = parts.dram_bytes / compulsory
    out[7] = priced.costs.latency_s / rates.launch_s[0]
    out[8] = work.vector_flop / work.matrix_flop
    out[19] = np.nanmax(rates.peak_flop_per_s) / rates.dram_bytes_per_s
    out[20] = rates.launch_s[0] * rates.dram_bytes_per_s / cache
    return np.asarray(waves)


def _shape_ratios(out: Array, table: OpTable, work: OpWork, rates: Rates) -> None:
    """Fill the ratios of the operator's sizes to each other and to the tile (before the logarithm)."""
    tile_m, tile_n, tile_k = rates.tile
    out[9], out[10], out[11] = work.m / tile_m, work.n / tile_n, work.k / tile_k
    out[12], out[13], out[14] = work.m / work.n, work.k / work.n, work.gemms
    out[15:19] = 1.0
    with_heads = WITH_HEADS[table["op"]]
    if np.any(with_heads):
        heads, queries = np.maximum(table["heads"], 1), np.maximum(table["q_len"], 1)
        out[15] = np.where(with_heads, heads / np.where(table["kv_heads"] > 0, table["kv_heads"], heads), 1.0)
        out[16] = np.where(with_heads, queries / np.maximum(table["kv_len"], queries), 1.0)
        out[17] = np.where(with_heads, np.maximum(table["head_dim"], 1) / 128, 1.0)
    if "ranks" in table.columns:
        out[18] = np.where(table["op"] == OP_CODES["collective"], table["ranks"], 1.0)


def _shares(out: Array, table: OpTable, work: OpWork, rates: Rates, waves: Array) -> None:
    """Fill the shares; an operator without matrix work fills nothing."""
    _, tile_n, tile_k = rates.tile
    pieces = (waves, work.m / GRANULE, work.n / tile_n, work.k / tile_k)
    for i, piece in enumerate(pieces):
        out[i] = piece
    part = out[: len(pieces)]
    np.divide(part, np.maximum(np.ceil(part), 1.0), out=part)
    out[4] = np.where(table["op"] == OP_CODES["moe"], table["skew"], 0.0)
