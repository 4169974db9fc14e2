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
from workloads.elementwise import ONE, ZERO, Value, choose, larger, pieces, some, unwrapped
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
    table = unwrapped(table)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        waves, ratios = _device_ratios(priced, rates)
        ratios += _shape_ratios(table, priced.work, rates)
        shares = _shares(table, priced.work, rates, waves)
        matrix = _filled([*ratios, *shares, *_codes(table), device_code, software_code], table.rows)
        logs = matrix[: len(LOGARITHMS)]
        np.fmin(np.fmax(logs, TINY, out=logs), HUGE, out=logs)  # also turns 0/0 into a bound
        np.log(logs, out=logs)
        part = matrix[len(LOGARITHMS) : len(RATIOS) - 1]
        np.divide(part, np.maximum(np.ceil(part), 1.0), out=part)
    floor = floor_s(priced.stages, rates)
    return Described(matrix.T, floor if floor.ndim else np.full(table.rows, floor))


def _filled(columns: list[Value], rows: int) -> Array:
    """Return columns and scalars as the rows of a matrix (float32)."""
    if rows == 1 and np.ndarray not in map(type, columns):
        return np.array(columns, dtype=np.float32)[:, None]
    matrix = np.empty((len(columns), rows), dtype=np.float32)
    for i, column in enumerate(columns):
        matrix[i] = column
    return matrix


def _codes(table: OpTable) -> tuple[Value, ...]:
    """Return op, dtype, kv_dtype, phase and kind; those that say nothing of a family stay at what an absent one is.

    A product is the same kernel in prefill, in decode and in a table of nothing but products.
    """
    ops, dtype = table["op"], table["dtype"]
    heads, linked = WITH_HEADS[ops], ops == OP_CODES["collective"]
    kv_dtype = choose(heads, table["kv_dtype"], dtype) if "kv_dtype" in table.columns else dtype
    return ops, dtype, kv_dtype, choose(heads, table["phase"], 0), choose(linked, table["kind"], 0)


def floor_s(parts: Stages, rates: Rates) -> Value:
    """Return the time that no kernel can beat: peak FLOP, and bytes from the level that can hold them."""
    outside = larger(parts.moved_bytes - rates.cache_bytes, ZERO) * rates.inverses.dram_byte_s
    return larger(larger(parts.ideal_s, parts.cache_s), outside) * (1.0 / BOOST)


def _device_ratios(priced: Priced, rates: Rates) -> tuple[Value, list[Value]]:
    """Return waves, and the ratios of the operator to the device (before the logarithm)."""
    work, parts = priced.work, priced.stages
    tile_m, tile_n, tile_k = rates.tile
    items = pieces(work.m, tile_m) * pieces(work.n, tile_n) * work.gemms * pieces(work.k, tile_k * SPLIT)
    waves = items / rates.units
    compulsory, cache = parts.moved_bytes, max(rates.cache_bytes, 1.0)
    latency_s = priced.costs.latency_s
    return waves, [
        parts.ideal_s / parts.dram_s,
        parts.shaped_s / parts.ideal_s,
        waves,
        compulsory / cache,
        work.input_bytes / compulsory,
        work.output_bytes / compulsory,
        parts.dram_bytes / compulsory,
        (latency_s if len(latency_s) > 1 else latency_s[0]) / rates.launch_s[0],
        work.vector_flop / work.matrix_flop,
    ]


def _shape_ratios(table: OpTable, work: OpWork, rates: Rates) -> list[Value]:
    """Return the ratios of the operator's sizes to each other and to the tile, and the device's own two."""
    tile_m, tile_n, tile_k = rates.tile
    sizes = [work.m / tile_m, work.n / tile_n, work.k / tile_k, work.m / work.n, work.k / work.n, work.gemms]
    shared = queried = wide = ranks = ONE
    ops = table["op"]
    with_heads = WITH_HEADS[ops]
    if some(with_heads):
        heads, queries = larger(table["heads"], ONE), larger(table["q_len"], ONE)
        kv_heads = choose(table["kv_heads"] > 0, table["kv_heads"], heads)
        shared = choose(with_heads, heads / kv_heads, ONE)
        queried = choose(with_heads, queries / larger(table["kv_len"], queries), ONE)
        wide = choose(with_heads, larger(table["head_dim"], ONE) / 128, ONE)
    if "ranks" in table.columns:
        ranks = choose(ops == OP_CODES["collective"], table["ranks"], ONE)
    cache = max(rates.cache_bytes, 1.0)
    device = [rates.inverses.ridge_flop_per_byte, rates.launch_s[0] * rates.dram_bytes_per_s / cache]
    return [*sizes, shared, queried, wide, ranks, *device]


def _shares(table: OpTable, work: OpWork, rates: Rates, waves: Value) -> list[Value]:
    """Return pieces, of which the filled share enters (an operator without matrix work fills nothing), and the skew."""
    _, tile_n, tile_k = rates.tile
    skew = choose(table["op"] == OP_CODES["moe"], table["skew"], ZERO)
    return [waves, work.m / GRANULE, work.n / tile_n, work.k / tile_k, skew]
