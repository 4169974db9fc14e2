"""The closed form in one pass over the rows, compiled by numba where it is installed: for tables of many rows.

`costmodel.physics` is the definition; this is the same arithmetic in the same order, without temporaries, and
tests/test_physics_numba.py holds the two equal. It serves devices without a systolic array and rows without links.
"""

from __future__ import annotations

import functools
import importlib.util
import math
from typing import Any

import numpy as np

from costmodel.costs import OpCosts
from costmodel.rates import Rates
from workloads.table import Array, OpTable
from workloads.work import OpWork

FIRST_ROWS = 4_000_000
"""Rows from which loading the kernel (0.5 s from numba's cache, 3 s to compile once) is worth it."""
ROWS = 20_000
"""Rows from which a kernel that is already loaded is used."""


@functools.cache
def installed() -> bool:
    """Say whether numba can be imported."""
    return importlib.util.find_spec("numba") is not None


def worth_it(rows: int, tile: tuple[float, float, float]) -> bool:
    """Say whether a table of this many rows should take the compiled path (the answers are the same).

    The kernel multiplies by inverses of the tile's edges, which is exact for powers of two only.
    """
    enough = rows >= (ROWS if kernel.cache_info().currsize else FIRST_ROWS)
    return enough and all(math.frexp(edge)[0] == 0.5 for edge in tile) and installed()


@functools.cache
def kernel() -> Any:
    """Return the compiled function; loads numba."""
    import numba
    from numba import types

    def read(element: Any, dimensions: int = 1) -> Any:
        return types.Array(element, dimensions, "C", readonly=True)

    number, code = read(types.float64), read(types.uint64)
    writes = [types.Array(types.float64, 1, "C")] * 7 + [types.Array(types.int8, 1, "C")]
    given = [number] * 9 + [code] * 2 + [number] * 2 + [read(types.float64, 2)] * 2 + [number] * 3 + [types.float64]
    # one signature, whatever the flags of the arrays are: nothing is compiled twice
    return numba.njit(types.void(*given, *[number] * 7, *writes), cache=True, error_model="numpy", nogil=True)(_rows)


def fill(table: OpTable, work: OpWork, rates: Rates, blocked: Array, limits: tuple[float, ...], out: OpCosts,
         part: slice) -> None:  # fmt: skip
    """Fill the rows `part` of `out`.

    blocked: bytes a FLOP of a blocked product by format; limits: (depth, granule of n, 1.0 where weights come from
    memory, granule of m).
    """
    rows = table.rows
    columns = (
        work.matrix_flop, work.vector_flop, work.weight_bytes, work.input_bytes, work.output_bytes,
        work.m, work.n, work.k, work.gemms,
    )  # fmt: skip
    flat = [np.ascontiguousarray(np.atleast_1d(c), dtype=np.float64) for c in columns]
    # unsigned: no wrap-around of indices to test for
    fmt = np.atleast_1d(table["dtype"]).astype(np.uint64)
    steps = np.array([len(c) > 1 or rows == 1 for c in (*flat, fmt)], dtype=np.uint64)
    results = (
        out.latency_s, out.latency_lo_s, out.latency_hi_s, out.energy_j, out.energy_lo_j, out.energy_hi_j,
        out.dram_bytes, out.bound,
    )  # fmt: skip
    kernel()(
        *flat, fmt, steps, 1.0 / rates.peak_flop_per_s, 1.0 / rates.vector_flop_per_s, rates.matrix_energy_j,
        rates.vector_energy_j, blocked, np.array(rates.tile, dtype=np.float64), np.array(limits), float(rates.units),
        np.array(rates.compute_efficiency), np.array(rates.memory_efficiency), np.array(rates.launch_s),
        np.array(rates.idle_w), np.array(rates.dram_energy_j), np.array(rates.cache_energy_j),
        np.array((rates.dram_bytes_per_s, rates.cache_bytes, rates.cache_bytes_per_s, rates.limit_w)),
        *(column[part] for column in results),
    )  # fmt: skip


def _rows(
    matrix: Any, vector: Any, weights: Any, inputs: Any, outputs: Any, ms: Any, ns: Any, ks: Any, gemms: Any,
    fmt: Any, steps: Any, per_flop_s: Any, per_vector_s: Any, matrix_j: Any, vector_j: Any, blocked: Any, tile: Any,
    limits: Any, units: float, compute_eff: Any, memory_eff: Any, launch: Any, idle: Any, dram_j: Any, cache_j: Any,
    device: Any,
    latency_s: Any, lo_s: Any, hi_s: Any, energy_j: Any, lo_j: Any, hi_j: Any, dram_bytes: Any, bound: Any,
) -> None:  # fmt: skip
    """One row at a time; comparisons are written so that NaN (a format that the device lacks) passes through."""
    dram_rate, cache_bytes, cache_rate, limit_w = device[0], device[1], device[2], device[3]
    tile_m, tile_n, depth, granule, cold = tile[0], tile[1], limits[0], limits[1], limits[2]
    edge_m, edge_n = min(limits[3], tile_m), min(granule, tile_n)
    per_dram, per_cache = 1.0 / dram_rate, 1.0 / cache_rate
    h0, h1, h2 = (
        1.0 / max(limit_w - idle[0], 1e-3 * limit_w),
        1.0 / max(limit_w - idle[1], 1e-3 * limit_w),
        1.0 / max(limit_w - idle[2], 1e-3 * limit_w),
    )
    c0, c1, c2 = 1.0 / compute_eff[0], 1.0 / compute_eff[1], 1.0 / compute_eff[2]
    m0, m1, m2 = 1.0 / memory_eff[0], 1.0 / memory_eff[1], 1.0 / memory_eff[2]
    inv_m, inv_n, inv_k, inv_em, inv_en = 1.0 / tile_m, 1.0 / tile_n, 1.0 / depth, 1.0 / edge_m, 1.0 / edge_n
    s0, s1, s2, s3, s4 = steps[0], steps[1], steps[2], steps[3], steps[4]
    s5, s6, s7, s8, s9 = steps[5], steps[6], steps[7], steps[8], steps[9]
    for row in range(len(latency_s)):
        i = np.uint64(row)
        f, m, n, k = fmt[i * s9], ms[i * s5], ns[i * s6], ks[i * s7]
        flop, lanes, write = matrix[i * s0], vector[i * s1], outputs[i * s4]
        items = np.ceil(m * inv_m) * np.ceil(n * inv_n) * gemms[i * s8]
        deep = min(np.ceil(items / units) * k, np.ceil(items * np.ceil(k * inv_k) / units) * min(k, depth))
        used_m, used_n = min(np.ceil(m * inv_em) * edge_m, tile_m), min(np.ceil(n * inv_en) * edge_n, tile_n)
        tiles = deep * used_m * used_n * (2.0 * units)
        filled, vector_s = tiles * per_flop_s[f], lanes * per_vector_s[f]
        operands = weights[i * s2] + inputs[i * s3]
        moved = operands + write
        if cache_bytes > 0:
            operands = max(operands, flop * blocked[f])
        dram = operands + write
        dram_s, cache_s = dram * per_dram, moved * per_cache
        compute, memory = filled * c0 + vector_s, max(dram_s * m0, cache_s)
        active = memory if memory > compute else compute
        dynamic = flop * matrix_j[f, 0] + lanes * vector_j[f, 0] + dram * dram_j[0] + moved * cache_j[0]
        low = flop * matrix_j[f, 1] + lanes * vector_j[f, 1] + dram * dram_j[1] + moved * cache_j[1]
        high = flop * matrix_j[f, 2] + lanes * vector_j[f, 2] + dram * dram_j[2] + moved * cache_j[2]
        floor = dynamic * h0
        latency = (floor if floor > active else active) + launch[0]
        on_chip = max(min(cache_s, dram_s), cold * weights[i * s2] * per_dram)
        resident = max((on_chip if dram <= cache_bytes else dram_s) * m2, low * h1)
        least = filled * c2 + vector_s
        least = (resident if resident > least else least) + launch[1]
        most, slow = filled * c1 + vector_s, max(max(dram_s * m1, cache_s), high * h2)
        most = (slow if slow > most else most) + launch[2]
        energy = dynamic + idle[0] * latency
        low, high = low + idle[1] * least, min(high + idle[2] * most, limit_w * most)
        latency_s[i], energy_j[i], dram_bytes[i] = latency, energy, dram
        lo_s[i], hi_s[i] = min(least, latency), max(most, latency)
        lo_j[i], hi_j[i] = min(low, energy), max(high, energy)
        bound[i] = 3 if active < launch[0] else (1 if memory > compute else 0)
