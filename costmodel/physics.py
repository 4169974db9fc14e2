"""The closed form: what an operator costs on a device from first principles, vectorised over rows.

Time is the largest of compute, each memory level and network, plus the launch (a roofline per level: Williams,
Waterman and Patterson 2009). Compute counts whole tiles and whole waves of them over the units, or, on a systolic
array, the folds with their fill and drain (SCALE-Sim v2, Samajdar et al. 2020, equations 1 to 3). Traffic to device
memory is compulsory traffic, or that of a blocked product where the operands do not stay on chip (Hong and Kung 1981:
2 m n k / sqrt(capacity)). Energy is operations x energy + bytes x energy + idle power x time; where that would exceed
the power limit, the device is slowed until it does not.

Times never fall when work grows, nor rise when a rate grows (tests/test_physics_invariants.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodel.collectives import Fabric
from costmodel.costs import BOUNDS, SOURCES, OpCosts
from costmodel.rates import Rates
from workloads.table import OP_CODES, Array, OpTable
from workloads.work import ACTIVATION_BYTES, OpWork, count_work

CHUNK = 8192
"""Rows evaluated at a time: the temporaries of one chunk stay in the L2 cache."""
GRANULE = 8.0
"""Smallest sub-tile edge that tensor and SIMD instructions come in (mma.m16n8k16, AVX-512 fp64 lanes)."""
SPLIT = 32.0
"""A product is split along k into pieces of this many k-tiles when tiles alone do not fill the units (stream-K)."""
PHYSICS = SOURCES.index("physics")
COMPUTE, MEMORY, NETWORK, OVERHEAD = range(len(BOUNDS))


@dataclass(frozen=True)
class Stages:
    """Seconds of each row at full efficiency; each compute stage includes the one before it.

    ideal_s: FLOP at the peak; shaped_s: with whole tiles, waves and folds; filled_s: with array fill and drain.
    """

    ideal_s: Array
    shaped_s: Array
    filled_s: Array
    dram_bytes: Array
    dram_s: Array
    cache_s: Array


def stages(table: OpTable, work: OpWork, rates: Rates) -> Stages:
    """Return where the time of each row goes, before efficiencies and launch."""
    fmt = table["dtype"]
    vector_s = work.vector_flop / rates.vector_flop_per_s[fmt]
    peak = rates.peak_flop_per_s[fmt]
    ideal = work.matrix_flop / peak + vector_s
    if rates.array is not None:
        streamed, filled = _folds(work, rates.array, rates.units)
        rows, cols, _ = rates.array
        cycle_s = 2.0 * rows * cols * rates.units / peak
        shaped, filled = streamed * cycle_s + vector_s, filled * cycle_s + vector_s
    else:
        shaped = filled = _tiles(work, rates) / peak + vector_s
    dram = _dram_bytes(table, work, rates)
    return Stages(ideal, shaped, filled, dram, dram / rates.dram_bytes_per_s, work.bytes_moved / rates.cache_bytes_per_s)


def _tiles(work: OpWork, rates: Rates) -> Array:
    """FLOP as if every unit worked until the last wave ends: waves x units x FLOP of one work item."""
    tile_m, tile_n, tile_k = rates.tile
    depth = tile_k * SPLIT
    edge_m, edge_n = min(GRANULE, tile_m), min(GRANULE, tile_n)
    items = np.ceil(work.m / tile_m) * np.ceil(work.n / tile_n) * work.gemms * np.ceil(work.k / depth)
    waves = np.ceil(items / rates.units)
    used_m = np.minimum(np.ceil(work.m / edge_m) * edge_m, tile_m)
    used_n = np.minimum(np.ceil(work.n / edge_n) * edge_n, tile_n)
    return np.asarray(waves * used_m * used_n * np.minimum(work.k, depth) * (2.0 * rates.units))


def _folds(work: OpWork, array: tuple[int, int, int], units: int) -> tuple[Array, Array]:
    """Return (streaming cycles, cycles with fill and drain) of the folds of a product over an R x C array.

    os: ceil(M/R) ceil(N/C) (R + C + K - 2); ws: ceil(K/R) ceil(N/C) (2R + C + M - 2); is: ws with M and N swapped.
    """
    rows, cols, dataflow = array
    down, across, along, fill = {
        1: (work.k, work.n, work.m, 2 * rows + cols - 2),
        2: (work.m, work.n, work.k, rows + cols - 2),
        3: (work.k, work.m, work.n, 2 * rows + cols - 2),
    }[dataflow]
    folds = np.ceil(np.ceil(down / rows) * np.ceil(across / cols) * work.gemms / units)
    return np.asarray(folds * along), np.asarray(folds * (along + fill))


def _dram_bytes(table: OpTable, work: OpWork, rates: Rates) -> Array:
    """Traffic to device memory: compulsory, or that of the best blocking on chip where that is more."""
    operands = work.weight_bytes + work.input_bytes
    if rates.cache_bytes > 0:
        element = ACTIVATION_BYTES[table["dtype"]]
        # 2 m n k / sqrt(S) elements, S elements on chip; matrix_flop = 2 m n k
        operands = np.maximum(operands, work.matrix_flop * (element**1.5 / rates.cache_bytes**0.5))
    return np.asarray(operands + work.output_bytes)


def predict_physics(table: OpTable, rates: Rates, fabric: Fabric | None = None) -> OpCosts:
    """Return the cost of every row on one device.

    Rows in a format that the device cannot compute in come out as NaN; `rates.require_format` refuses them by name.
    """
    if table.rows <= CHUNK:
        return _chunk(table, rates, fabric)
    out = OpCosts.empty(table.rows)
    for start in range(0, table.rows, CHUNK):
        part = slice(start, min(start + CHUNK, table.rows))
        costs = _chunk(_view(table, part), rates, fabric)
        for name in _FILLED:
            getattr(out, name)[part] = getattr(costs, name)
    out.source[:] = PHYSICS
    return out


_FILLED = ("latency_s", "latency_lo_s", "latency_hi_s", "energy_j", "energy_lo_j", "energy_hi_j", "dram_bytes", "bound")


def _view(table: OpTable, part: slice) -> OpTable:
    columns = {name: column if column.ndim == 0 else column[part] for name, column in table.columns.items()}
    return OpTable(part.stop - part.start, columns)


def _chunk(table: OpTable, rates: Rates, fabric: Fabric | None) -> OpCosts:
    work = count_work(table)
    parts = stages(table, work, rates)
    _, eff_lo, eff_hi = eff = rates.compute_efficiency
    _, mem_lo, mem_hi = mem = rates.memory_efficiency
    compute, memory = parts.filled_s / eff[0], np.maximum(parts.dram_s / mem[0], parts.cache_s)
    link, link_lo, link_hi = _links(table, fabric)
    active = np.maximum(np.maximum(compute, memory), link)
    launch, launch_lo, launch_hi = rates.launch_s
    dynamic = _dynamic_energy(table, work, parts, rates, fabric, 0)
    floor = dynamic * (1.0 / (rates.limit_w - rates.idle_w[0]))  # slowed until the power limit holds
    throttled = np.maximum(active, floor)
    latency = throttled + launch
    # the least time: best efficiencies, and a set that fits on chip may stay there between repeats
    resident = parts.dram_bytes <= rates.cache_bytes
    memory_lo = np.where(resident, np.minimum(parts.cache_s, parts.dram_s), parts.dram_s) / mem_hi
    least = np.maximum(np.maximum(parts.filled_s / eff_hi, memory_lo), link_lo) + launch_lo
    most = np.maximum(np.maximum(parts.filled_s / eff_lo, np.maximum(parts.dram_s / mem_lo, parts.cache_s)), link_hi)
    most = np.maximum(most, floor) + launch_hi
    energy = dynamic + rates.idle_w[0] * latency
    energy_lo = _dynamic_energy(table, work, parts, rates, fabric, 1) + rates.idle_w[1] * least
    energy_hi = np.minimum(
        _dynamic_energy(table, work, parts, rates, fabric, 2) + rates.idle_w[2] * most, rates.limit_w * most
    )
    bound = np.where(memory > compute, MEMORY, COMPUTE)
    bound = np.where(link > np.maximum(compute, memory), NETWORK, bound)
    bound = np.where(launch > active, OVERHEAD, bound).astype(np.int8)
    rows = table.rows
    return OpCosts(
        latency_s=_rows(latency, rows), latency_lo_s=_rows(np.minimum(least, latency), rows),
        latency_hi_s=_rows(np.maximum(most, latency), rows), energy_j=_rows(energy, rows),
        energy_lo_j=_rows(np.minimum(energy_lo, energy), rows), energy_hi_j=_rows(np.maximum(energy_hi, energy), rows),
        dram_bytes=_rows(parts.dram_bytes, rows), bound=_rows(bound, rows), source=np.full(rows, PHYSICS, dtype=np.int8),
    )  # fmt: skip


def _rows(column: Array, rows: int) -> Array:
    """Give a column of one value for all rows its full shape."""
    return column if np.shape(column) == (rows,) else np.broadcast_to(column, (rows,))


def _dynamic_energy(
    table: OpTable, work: OpWork, parts: Stages, rates: Rates, fabric: Fabric | None, part: int
) -> Array:  # fmt: skip
    """Energy above idle in joules: part 0 = value, 1 = lo, 2 = hi of the ranges."""
    fmt = table["dtype"]
    energy = work.matrix_flop * rates.matrix_energy_j[fmt, part] + work.vector_flop * rates.vector_energy_j[fmt, part]
    energy = energy + parts.dram_bytes * rates.dram_energy_j[part] + work.bytes_moved * rates.cache_energy_j[part]
    if fabric is not None:
        energy = energy + work.link_bytes * fabric.energy_per_byte_j[part]
    return np.asarray(energy)


def _links(table: OpTable, fabric: Fabric | None) -> tuple[Array, Array, Array]:
    """Return the network time of each row (value, lo, hi)."""
    is_collective = table["op"] == OP_CODES["collective"]
    if fabric is None or not np.any(is_collective):
        zero = np.zeros(())
        return zero, zero, zero
    mask = np.broadcast_to(is_collective, (table.rows,))
    times = []
    where = np.flatnonzero(mask)
    rows = table.take(where)
    for part in range(3):
        time = np.zeros(table.rows)
        time[where] = fabric.seconds(rows, part)
        times.append(time)
    return times[0], times[1], times[2]
