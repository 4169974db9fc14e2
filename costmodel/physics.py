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

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from costmodel import physics_numba
from costmodel.collectives import Fabric, has_traffic
from costmodel.costs import BOUNDS, NUMERIC, SOURCES, OpCosts
from costmodel.kernels import EXPONENTIAL_FLOP, SERIAL
from costmodel.rates import Rates
from costmodel.spatial.machine import Machine
from foundation.errors import BadValueError
from workloads.elementwise import (
    ZERO,
    Entries,
    Value,
    ceil,
    choose,
    larger,
    lesser,
    pieces,
    plus,
    some,
    times,
    unwrapped,
)
from workloads.table import OP_CODES, Array, OpTable
from workloads.work import ACTIVATION_BYTES, OpWork, count_work

CHUNK = 32768
"""Rows evaluated at a time: what one operation reads and writes stays in 1 MiB of L2 cache. Of 6,144 to 65,536 rows
the fastest, by 5 to 30 %: in smaller chunks the fixed cost of some 100 calls of numpy weighs more."""
GRANULE = 8.0
"""Smallest sub-tile edge that tensor and SIMD instructions come in (mma.m16n8k16, AVX-512 fp64 lanes).

Lanes of a processor lie along n; rows of m are not padded there: one row is one broadcast and one chain of sums."""
SPLIT = 32.0
"""A product is split along k into pieces of this many k-tiles where that fills the units better (stream-K)."""
_ACTIVATION_1_5: Array = ACTIVATION_BYTES.many**1.5
PHYSICS = SOURCES.index("physics")
COMPUTE, MEMORY, NETWORK, OVERHEAD = range(len(BOUNDS))
_MEMORY, _OVERHEAD = np.int8(MEMORY), np.int8(OVERHEAD)


@dataclass(frozen=True)
class Stages:
    """Seconds of each row at full efficiency; each matrix stage includes the one before it.

    ideal_s: FLOP at the peak; shaped_s: with whole tiles, waves and folds; filled_s: with fill and drain of arrays.
    vector_s comes on top of them, and what `waves` blocks after each other do not hide of their starts and ends (0 for
    families that hide it). moved_bytes: what passes the last on-chip level. On a spatial array `exposed_s` is what
    arithmetic waits for at both ends, `serial_s` what hides behind nothing (latencies, moves without double buffers,
    starts of tiles); `spread` is the factor either way that holds 90 % of measured runs, where there are any;
    `array_j` (value, lo, hi) are joules on chip where accesses of the array are counted, NaN on other rows.
    """

    ideal_s: Array
    shaped_s: Array
    filled_s: Array
    vector_s: Array
    waves: Array
    dram_bytes: Array
    dram_s: Array
    moved_bytes: Array
    cache_s: Array
    exposed_s: Value = ZERO
    serial_s: Value = ZERO
    spread: float = 1.0
    array_j: tuple[Value, Value, Value] | None = None


def stages(table: OpTable, work: OpWork, rates: Rates) -> Stages:
    """Return where the time of each row goes, before efficiencies and launch."""
    if rates.spatial is not None:
        return _on_array(table, work, rates, rates.spatial)
    fmt, inverse = table["dtype"], rates.inverses
    vector_s = _lanes(work, rates) * inverse.vector_flop_s[fmt]
    per_flop_s = inverse.flop_s[fmt]
    ideal = work.matrix_flop * per_flop_s
    if rates.array is not None:
        streamed, filled = _folds(work, rates.array, rates.units)
        rows, cols, _ = rates.array
        cycle_s = 2.0 * rows * cols * rates.units * per_flop_s
        shaped, filled = streamed * cycle_s, filled * cycle_s
        if not rates.matrix_formats.all():  # the vector unit has no folds
            on_array = rates.matrix_formats[fmt]
            shaped, filled = choose(on_array, shaped, ideal), choose(on_array, filled, ideal)
    else:
        shaped = filled = _tiles(work, rates) * per_flop_s
    operands = work.weight_bytes + work.input_bytes
    moved = operands + work.output_bytes
    if rates.cache_bytes > 0:  # compulsory traffic, or that of the best blocking on chip where that is more
        operands = larger(operands, work.matrix_flop * _blocked_bytes(rates.cache_bytes)[fmt], out=operands)
    dram = operands
    dram += work.output_bytes
    return Stages(
        ideal, shaped, filled, vector_s, _waves(table, work, rates), dram, dram * inverse.dram_byte_s, moved,
        moved * inverse.cache_byte_s,
    )  # fmt: skip


def _on_array(table: OpTable, work: OpWork, rates: Rates, machine: Machine) -> Stages:
    """Return the stages of rows on an array with its buffers; work of the vector unit is as on any other device."""
    from costmodel.spatial.devices import SpatialTimes, spatial_times
    from costmodel.spatial.mapped import GEMMINI_SPREAD

    fmt, inverse = table["dtype"], rates.inverses
    per_flop_s = inverse.flop_s[fmt]
    ideal = work.matrix_flop * per_flop_s
    moved = work.weight_bytes + work.input_bytes + work.output_bytes
    able = rates.matrix_formats[fmt]
    cycle_s = np.where(able, 2.0 * machine.elements * per_flop_s, 1.0 / machine.clock_hz)
    array = spatial_times(table, work, machine, cycle_s, inverse.dram_byte_s)
    on_array = able & (work.matrix_flop > 0)
    # padding is read on chip, and all of an image even where a stride skips some of it: never less than is compulsory
    dram = larger(moved, np.where(on_array, array.dram_bytes, 0.0))
    if table.rows == 1:
        one = {name: float(np.ravel(value)[0]) or ZERO for name, value in vars(array).items()}
        array, dram = SpatialTimes(**one), float(np.ravel(dram)[0])
    none = np.nan + 0.0 * ideal
    counted = (choose(on_array, array.energy_j, none), choose(on_array, array.energy_lo_j, none),
               choose(on_array, array.energy_hi_j, none))  # fmt: skip
    return Stages(
        ideal, choose(on_array, array.shape_s, ideal), choose(on_array, array.fill_s, ideal),
        _lanes(work, rates) * inverse.vector_flop_s[fmt], _waves(table, work, rates), dram, dram * inverse.dram_byte_s,
        moved, choose(on_array, array.onchip_s, moved * inverse.cache_byte_s),
        choose(on_array, array.exposed_s, 0.0 * ideal), choose(on_array, array.serial_s, 0.0 * ideal),
        GEMMINI_SPREAD if machine.mapping == "gemmini" else 1.0, counted if machine.node_nm > 0 else None,
    )  # fmt: skip


def _lanes(work: OpWork, rates: Rates) -> Value:
    """Return vector work in FLOP-times: an exponential takes as long as `EXPONENTIAL_FLOP`, one of which is counted.

    Tiles that masks leave partly empty cost exponentials too.
    """
    if not some(work.exponentials):
        return work.vector_flop
    all_of_them = work.exponentials + work.masked * rates.tile[0] * work.n * work.gemms
    return work.vector_flop + all_of_them * (EXPONENTIAL_FLOP - 1.0)


def _waves(table: OpTable, work: OpWork, rates: Rates) -> Value:
    """Return how many waves of thread blocks run one after the other (0 for families that hide their fill)."""
    shown = rates.inverses.wave_s[0][table["op"]] > 0
    if not some(shown):
        return ZERO
    return ceil(work.gemms * pieces(work.m, rates.tile[0]) / rates.units) * shown


def _tiles(work: OpWork, rates: Rates) -> Value:
    """FLOP as if every unit worked until the last wave ends: waves x units x FLOP of one work item."""
    tile_m, tile_n, tile_k = rates.tile
    depth = tile_k * SPLIT
    edge_m, edge_n = min(_row_granule(rates), tile_m), min(GRANULE, tile_n)
    items = plus(pieces(work.m, tile_m), work.masked)
    items *= pieces(work.n, tile_n)
    items = times(items, work.gemms)
    # a split that would only pad the last piece is not made; each of the two ways is monotone, so the lesser is too
    split = pieces(work.k, depth)
    split *= items
    split = pieces(split, rates.units, out=split)
    split *= lesser(work.k, depth)
    tiles = pieces(items, rates.units, out=items)
    tiles *= work.k
    tiles = lesser(tiles, split, out=tiles)
    for size, edge, most in ((work.m, edge_m, tile_m), (work.n, edge_n, tile_n)):
        used = pieces(size, edge)
        used *= edge
        tiles *= lesser(used, most, out=used)
    tiles *= 2.0 * rates.units
    return tiles


def _row_granule(rates: Rates) -> float:
    return 1.0 if rates.kind == "cpu" else GRANULE


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
    return folds * along, folds * (along + fill)


@functools.lru_cache(maxsize=256)
def _blocked_bytes(cache_bytes: float) -> Entries:
    """Traffic of the best blocking in bytes a FLOP, by format: 2 m n k / sqrt(S) elements, S elements on chip."""
    return Entries(_ACTIVATION_1_5 / max(cache_bytes, 1.0) ** 0.5)


def predict_physics(
    table: OpTable, rates: Rates, fabric: Fabric | None = None, *, out: OpCosts | None = None
) -> OpCosts:  # fmt: skip
    """Return the cost of every row on one device; into the columns of `out`, where a caller brings them.

    A search that asks again and again saves by it what fresh memory costs (57 bytes a row, a third of the time).
    Rows in a format that the device cannot compute in come out as NaN; `rates.require_format` refuses them by name.
    """
    out = _allocate(table.rows) if out is None else out
    if table.rows > CHUNK:
        _keep_memory()
    simple = (
        rates.array is None
        and rates.spatial is None
        and fabric is None
        and physics_numba.worth_it(table.rows, rates.tile)
    )
    fused = simple and bool(rates.kernels.plain[table["op"]].all())
    limits = (rates.tile[2] * SPLIT, GRANULE, float("count" in table.columns), _row_granule(rates))
    for start in range(0, table.rows, CHUNK):
        part = slice(start, min(start + CHUNK, table.rows))
        rows = table if table.rows <= CHUNK else _view(table, part)
        if fused:
            blocked = _blocked_bytes(rates.cache_bytes).many
            physics_numba.fill(rows, count_work(rows), rates, blocked, limits, out, part)
        else:
            _chunk(rows, rates, fabric, out, part)
    return out


@functools.cache
def _keep_memory() -> None:
    """Make the C library keep what the temporaries of a chunk free, for the next chunk: twice as fast on Linux.

    glibc hands freed memory back to the system beyond a threshold, which it sets to twice the largest block that it
    saw freed (mallopt(3), M_MMAP_THRESHOLD). This block is never touched, so it costs no memory.
    """
    np.empty(2_000_000)


def _allocate(rows: int) -> OpCosts:
    bound, source = np.empty((2, rows), dtype=np.int8)
    source.fill(PHYSICS)
    # one block: the system hands out large pages for it, which halves the cost of first touching it
    numbers: Any = dict(zip(NUMERIC, np.empty((len(NUMERIC), rows)), strict=True))
    return OpCosts(**numbers, bound=bound, source=source)


def _view(table: OpTable, part: slice) -> OpTable:
    columns = {name: column if column.ndim == 0 else column[part] for name, column in table.columns.items()}
    return OpTable(part.stop - part.start, columns)


@dataclass(frozen=True)
class Priced:
    """Rows with their work, where their time goes, and their costs; `plain` are these, of one row as plain numbers."""

    work: OpWork
    stages: Stages
    plain: OpCosts

    @functools.cached_property
    def costs(self) -> OpCosts:
        """The costs as columns."""
        plain = self.plain
        if isinstance(plain.latency_s, np.ndarray):
            return plain
        columns: Any = np.array([getattr(plain, name) for name in NUMERIC])[:, None]
        codes: Any = np.array([[plain.bound], [plain.source]], dtype=np.int8)
        return OpCosts(*columns, *codes)


def price(table: OpTable, rates: Rates, fabric: Fabric | None = None) -> Priced:
    """Return the costs of a table of few rows (see `CHUNK`) together with what they came from."""
    if table.rows == 1:
        work, parts, one = _evaluated(unwrapped(table), rates, fabric)
        codes: Any = (PHYSICS,)
        return Priced(work, parts, OpCosts(*one, *codes))
    out = _allocate(table.rows)
    return Priced(*_chunk(table, rates, fabric, out, slice(0, table.rows)), out)


def _chunk(
    table: OpTable, rates: Rates, fabric: Fabric | None, out: OpCosts, part: slice
) -> tuple[OpWork, Stages]:  # fmt: skip
    """Fill the rows `part` of `out`; returns what their costs came from."""
    ends = tuple(getattr(out, name)[part] for name in ("latency_lo_s", "latency_hi_s", "energy_lo_j", "energy_hi_j"))
    work, parts, columns = _evaluated(unwrapped(table), rates, fabric, ends)
    out.latency_s[part], out.energy_j[part], out.dram_bytes[part] = columns[0], columns[3], columns[6]
    out.bound[part] = columns[7]
    return work, parts


def _evaluated(
    table: OpTable, rates: Rates, fabric: Fabric | None, out: tuple[Array | None, ...] = (None,) * 4
) -> tuple[OpWork, Stages, tuple[Value, ...]]:  # fmt: skip
    """Return the work of an unwrapped table, where its time goes, and its costs in the order of `COLUMNS` (no source).

    Sums are made in place: fewer columns then share the cache. `out` are columns for the ends of latency and energy.
    """
    work = count_work(table)
    parts = stages(table, work, rates)
    link, link_lo, link_hi = _links(table, fabric)
    ops, inverse = table["op"], rates.inverses
    memory = parts.dram_s * inverse.memory[0][ops]
    memory = larger(memory, parts.cache_s, out=memory)
    compute = plus(compute_s(parts, rates, ops), parts.exposed_s)
    active = _with_link(larger(compute, memory), link)
    launch, launch_lo, launch_hi = (launches_s[ops] for launches_s in inverse.launches_s)
    energy = _dynamic_energy(table, work, parts, rates, fabric, 0)
    energy_lo, energy_hi = (_dynamic_energy(table, work, parts, rates, fabric, end) for end in (1, 2))
    # slowed until the power limit holds, at each end of the energy's range
    slowed, slowed_lo, slowed_hi = inverse.headroom_s_per_j
    latency = larger(active, energy * slowed)
    latency += plus(launch, parts.serial_s)
    least = _least(table, work, parts, rates, link_lo)
    if parts.spread > 1.0:
        least = (latency - launch) / parts.spread
    least = larger(least, energy_lo * slowed_lo, out=least)
    least += launch_lo
    most = _most(parts, rates, ops, link_hi)
    most = larger(most, energy_hi * slowed_hi, out=most)
    most += plus(launch_hi, parts.serial_s)
    if parts.spread > 1.0:
        most = larger(most, parts.spread * (latency - launch) + launch_hi)
    energy += rates.idle_w[0] * latency
    energy_lo += rates.idle_w[1] * least
    energy_hi += rates.idle_w[2] * most
    energy_hi = lesser(energy_hi, rates.limit_w * most, out=energy_hi)
    least, most = lesser(least, latency, out=out[0]), larger(most, latency, out=out[1])
    energy_lo, energy_hi = lesser(energy_lo, energy, out=out[2]), larger(energy_hi, energy, out=out[3])
    bound = _MEMORY * (memory > compute)  # COMPUTE is 0
    if not _is_zero(link):
        bound = choose(link > larger(compute, memory), NETWORK, bound)
    bound = bound | _OVERHEAD * (active < launch)  # OVERHEAD has all bits of a bound
    return work, parts, (latency, least, most, energy, energy_lo, energy_hi, parts.dram_bytes, bound)


def compute_s(parts: Stages, rates: Rates, ops: Array, part: int = 0) -> Value:
    """Return the time of the arithmetic: part 0 = value, 1 = least, 2 = most.

    Kernels reach a share of the matrix peak; of matrix and vector work the lesser is hidden but for a share.
    """
    inverse = rates.inverses
    matrix_s = parts.filled_s * inverse.compute[(0, 2, 1)[part]][ops]  # a low time goes with a high efficiency
    arithmetic = side_by_side(matrix_s, parts.vector_s, part)
    return arithmetic if _is_zero(parts.waves) else arithmetic + parts.waves * inverse.wave_s[part][ops]


def side_by_side(matrix_s: Value, vector_s: Value, part: int = 0) -> Value:
    """Return the time of matrix and vector work that run together: the larger, and a share of the lesser."""
    if _is_zero(vector_s):
        return matrix_s
    return larger(matrix_s, vector_s) + SERIAL[part] * lesser(matrix_s, vector_s)


def _is_zero(value: Array) -> bool:
    return isinstance(value, float) and value == 0


def _with_link(active: Value, link: Value) -> Value:
    return active if _is_zero(link) else larger(active, link)


def _least(table: OpTable, work: OpWork, parts: Stages, rates: Rates, link: Array) -> Value:
    """The least time before launch and power: best efficiencies, and a set that fits on chip may already be there.

    An operator on its own may be repeated, with all its operands still on chip. In a workload (rows with a count) its
    repeats have weights and caches of their own: only activations can have stayed.
    """
    ops = table["op"]
    on_chip = lesser(parts.cache_s, parts.dram_s)
    if "count" in table.columns:
        on_chip = larger(on_chip, work.weight_bytes * (1.0 / rates.dram_bytes_per_s))
    memory = choose(parts.dram_bytes <= rates.cache_bytes, on_chip, parts.dram_s)
    memory *= rates.inverses.memory[2][ops]
    return _with_link(larger(compute_s(parts, rates, ops, 1), memory, out=memory), link)


def _most(parts: Stages, rates: Rates, ops: Array, link: Array) -> Value:
    """The longest time before launch and power: worst efficiencies."""
    memory = parts.dram_s * rates.inverses.memory[1][ops]
    memory = larger(memory, parts.cache_s, out=memory)
    compute = plus(compute_s(parts, rates, ops, 2), parts.exposed_s)
    return _with_link(larger(compute, memory, out=memory), link)


def _dynamic_energy(
    table: OpTable, work: OpWork, parts: Stages, rates: Rates, fabric: Fabric | None, part: int
) -> Value:  # fmt: skip
    """Energy above idle in joules: part 0 = value, 1 = lo, 2 = hi of the ranges."""
    fmt, inverse = table["dtype"], rates.inverses
    energy = work.matrix_flop * inverse.matrix_j[part][fmt]
    on_chip = parts.moved_bytes * rates.cache_energy_j[part]
    if parts.array_j is not None:
        counted = parts.array_j[part]
        energy, on_chip = choose(counted >= 0, counted, energy), choose(counted >= 0, 0.0 * on_chip, on_chip)
    energy = plus(energy, work.vector_flop * inverse.vector_j[part][fmt])
    energy += parts.dram_bytes * rates.dram_energy_j[part]
    energy += on_chip
    if fabric is not None:
        energy = energy + work.link_bytes * fabric.energy_per_byte_j[part]
    return energy


def _links(table: OpTable, fabric: Fabric | None) -> tuple[Array, Array, Array]:
    """Return the network time of each row (value, lo, hi).

    Raises:
        BadValueError: rows send to other ranks, but nothing is given that they could talk over.
    """
    is_collective = table["op"] == OP_CODES["collective"]
    if not some(is_collective):
        return ZERO, ZERO, ZERO
    if fabric is None:
        if has_traffic(table):
            raise BadValueError("Collectives of more than one rank need a fabric; `fabric_of` gives that of a device.")
        return ZERO, ZERO, ZERO
    mask = np.broadcast_to(is_collective, (table.rows,))
    times = []
    where = np.flatnonzero(mask)
    rows = table.take(where)
    for part in range(3):
        time = np.zeros(table.rows)
        time[where] = fabric.seconds(rows, part)
        times.append(time if table.rows > 1 else time[0])
    return times[0], times[1], times[2]
