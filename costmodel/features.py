"""What the learned residual sees of an operator: ratios, and how its sizes fall into the pieces that kernels work in.

Each group of operators has features of its own. They compare the operator with the device (compute over memory time,
tiles over units, bytes over cache) or one of its sizes with another, and say how well sizes fill the pieces of likely
kernels (tiles, waves, powers of two). A time never enters as it is: the size of a row stays in the physics, since the
leaves of trees are constants. No feature names a device; what tells two of them apart are their ratios.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from costmodel.collectives import Fabric
from costmodel.physics import GRANULE, SPLIT, Priced, Stages
from costmodel.rates import Rates
from foundation.formats import FORMATS
from workloads.elementwise import ONE, ZERO, Entries, Value, ceil, choose, larger, lesser, pieces, unwrapped
from workloads.routing import TILES as EXPERT_TILES
from workloads.routing import busiest, busiest_of_one
from workloads.table import OPS, Array, OpTable
from workloads.work import OpWork

GROUPS: dict[str, tuple[str, ...]] = {
    "gemm": ("gemm",), "attention": ("attention", "mla"), "moe": ("moe",), "collective": ("collective",),
    "other": ("conv2d", "norm", "elementwise", "softmax", "embedding", "scan", "copy"),
}  # fmt: skip
"""Operators that share their features."""
GROUP_OF: tuple[str, ...] = tuple(next(g for g, ops in GROUPS.items() if op in ops) for op in OPS)
"""The group of each operator, in the order of `OPS`."""

_LOGARITHMS: tuple[str, ...] = (
    "compute_over_memory", "shape_waste", "waves", "bytes_over_cache", "input_over_bytes", "output_over_bytes",
    "blocked_over_compulsory", "time_over_launch", "vector_over_matrix", "floor_over_time", "memory_over_time",
    "m_tiles", "n_tiles", "k_tiles", "m_over_n", "k_over_n", "products",
    "ridge_flop_per_byte", "cache_over_dram", "matrix_over_vector", "launch_bytes_over_cache", "units",
)  # fmt: skip
_SHARES: tuple[str, ...] = ("last_wave_use", "m_granule_use", "n_tile_use", "k_tile_use")
CODES: tuple[str, ...] = ("dtype", "weight_bits", "framework", "version")
"""The last features of every group."""
STAGES: dict[str, tuple[str, ...]] = {
    "moe": (
        "stage_microsecond", "stage_weights", "stage_flop", "stage_rows", "stage_choices", "stage_tokens",
        "stage_routing", "stage_experts", "stage_held", "stage_largest", "stage_waves", "stage_bound",
        "stage_tiled_bound", *(f"stage_tiles_{tile}" for tile in EXPERT_TILES[1:]),
    ),
}  # fmt: skip
"""Features that are times over the closed form's: what an anchor (`costmodel.anchors`) weighs."""
_TILES: dict[str, tuple[tuple[float, float], ...]] = {
    "gemm": ((64, 128), (128, 256), (64, 64), (256, 128), (128, 64), (16, 64)),
    "moe": ((16, 128), (64, 128), (128, 256)),
}
"""Tiles of kernels that a library may choose: their waves and the use of the last one tell where it switches."""


def _tile_names(group: str) -> tuple[str, ...]:
    return tuple(f"waves_{m:g}x{n:g}" for m, n in _TILES[group])


_OWN_LOGARITHMS: dict[str, tuple[str, ...]] = {
    "gemm": _tile_names("gemm"),
    "attention": (
        "heads_over_kv_heads", "queries_over_keys", "head_dim", "queries", "keys", "seen_keys", "window_over_keys",
        "batch", "heads", "kv_heads", "streams_over_units", "keys_over_units", "waves_64", "waves_128", "waves_shared",
    ),
    "moe": (
        *STAGES["moe"], *_tile_names("moe"), "tokens", "mean_rows_an_expert", "waves_down", "rows_an_expert",
        "experts_hit", "hit_share", "largest_over_mean", *(f"padding_{tile}" for tile in EXPERT_TILES),
    ),
    "collective": ("ranks", "bytes"),
    "other": ("kernel_area", "stride", "channel_groups", "hidden", "rows", "channels", "state", "queries"),
}  # fmt: skip
_OWN_SHARES: dict[str, tuple[str, ...]] = {
    "gemm": tuple(f"use_{m:g}x{n:g}" for m, n in _TILES["gemm"]),
    "attention": ("use_64", "use_128", "use_shared", "fill_64", "fill_128"),
    "moe": (*(f"use_{m:g}x{n:g}" for m, n in _TILES["moe"]), "use_down"),
    "collective": (),
    "other": (),
}
_OWN_PLAIN: dict[str, tuple[str, ...]] = {
    "gemm": ("m_alignment", "n_alignment", "k_alignment"),
    "attention": ("heads_alignment", "phase", "kv_dtype", "latent", "causal", "windowed"),
    "moe": ("skew", "inter_alignment", "ep", "tp", "gated"),
    "collective": ("kind",),
    "other": ("op", "phase", "operands", "flop_per_element"),
}


@dataclass(frozen=True)
class Layout:
    """Columns of one group's features: first those that enter by their logarithm, then shares of whole pieces, then
    values as they are. `ranged` counts the leading columns whose trained range bounds what the trees may answer."""

    names: tuple[str, ...]
    logarithms: int
    shares: int

    @property
    def ranged(self) -> int:
        return self.logarithms + self.shares


def _layout(group: str) -> Layout:
    logs = (*_LOGARITHMS, *_OWN_LOGARITHMS[group])
    shares = (*_SHARES, *_OWN_SHARES[group])
    return Layout((*logs, *shares, *_OWN_PLAIN[group], *CODES), len(logs), len(shares))


LAYOUTS: dict[str, Layout] = {group: _layout(group) for group in GROUPS}
DEVICE_RATIOS: tuple[str, ...] = (
    "ridge_flop_per_byte", "cache_over_dram", "matrix_over_vector", "launch_bytes_over_cache", "units",
)  # fmt: skip
"""Features that are one value for a device (and format): an unseen device always lies outside their trained points."""

_BOUNDED: dict[str, tuple[str, ...]] = {
    "moe": ("tokens", *DEVICE_RATIOS),
    "mla": ("batch", "queries", "keys", "seen_keys", "queries_over_keys", "window_over_keys", *DEVICE_RATIOS),
}
UNBOUNDED: dict[str, tuple[str, ...]] = {
    op: tuple(name for name in LAYOUTS[GROUP_OF[OPS.index(op)]].names if name not in bounded)
    for op, bounded in _BOUNDED.items()
}
"""Ratios whose trained range bounds nothing, by operator: sizes of which tables have some twenty (expert layers) or
eight (heads of latent attention). Their sums of stages (`costmodel.anchors`) extend to other sizes, and intervals know
how far that reaches, since they come from shapes left out."""

LEAST_ROWS = 0.01
"""Rows of a device that gets none on most draws."""
TINY, HUGE = np.float32(1e-30), np.float32(1e30)
BOOST = 1.05
"""Margin on peak rates: boards run above the stated boost clock (estimated, 1.0 to 1.1)."""
_WEIGHT_BITS = Entries(np.array([f.weight_bits for f in FORMATS.values()]))
MOST_ALIGNED = 12.0
FRAMEWORKS: tuple[str, ...] = ("", "vllm", "sglang", "trtllm", "nccl", "oneccl", "torch", "onnxruntime", "numpy")
"""Stacks with a code of their own; any other has the code of ''."""


@dataclass(frozen=True)
class Described:
    """Rows as features (float32, shape (rows, features of the group)) and the physical floor of their time."""

    matrix: Array
    floor_s: Array


@lru_cache(maxsize=4096)
def stack_of(software: str) -> tuple[float, float]:
    """Return (framework code, version as one number that grows with it) of a label such as `vllm 0.24.0`."""
    name, _, version = software.partition(" ")
    numbers = [int(x) for x in re.findall(r"\d{1,6}", version)[:3]]
    major, minor, patch = (numbers + [0, 0, 0])[:3]
    candidate = re.search(r"rc(\d{1,4})", version)
    code = FRAMEWORKS.index(name.lower()) if name.lower() in FRAMEWORKS else 0
    tail = int(candidate[1]) / 1e4 if candidate else 0.0099
    return float(code), min(major, 99) * 1000.0 + min(minor, 999) + min(patch, 99) / 100 + tail


def describe(
    table: OpTable, priced: Priced, rates: Rates, group: str, software: str = "", fabric: Fabric | None = None
) -> Described:  # fmt: skip
    """Return features and floors of rows of one group that the closed form has priced."""
    table, layout = unwrapped(table), LAYOUTS[group]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        waves, logs, floor = _ratios(table, priced, rates)
        _, tile_n, tile_k = rates.tile
        work = priced.work
        own_logs, own_shares, own_plain = _OWN[group](table, work, priced, rates, fabric)
        shares = [waves, work.m / GRANULE, work.n / tile_n, work.k / tile_k, *own_shares]
        fmt = table["dtype"]
        codes = [fmt, _WEIGHT_BITS[fmt], *stack_of(software)]
        matrix = _filled([*logs, *own_logs, *shares, *own_plain, *codes], table.rows)
        part = matrix[: layout.logarithms]
        np.fmin(np.fmax(part, TINY, out=part), HUGE, out=part)  # also turns 0/0 into a bound
        np.log(part, out=part)
        part = matrix[layout.logarithms : layout.ranged]
        np.divide(part, np.maximum(np.ceil(part), 1.0), out=part)
    return Described(matrix.T, floor if isinstance(floor, np.ndarray) and floor.ndim else np.full(table.rows, floor))


def _filled(columns: list[Value], rows: int) -> Array:
    """Return columns and scalars as the rows of a matrix (float32)."""
    if rows == 1 and np.ndarray not in map(type, columns):
        return np.array(columns, dtype=np.float32)[:, None]
    matrix = np.empty((len(columns), rows), dtype=np.float32)
    for i, column in enumerate(columns):
        matrix[i] = column
    return matrix


def floor_s(parts: Stages, rates: Rates) -> Value:
    """Return the time that no kernel can beat: peak FLOP, and bytes from the level that can hold them."""
    outside = larger(parts.moved_bytes - rates.cache_bytes, ZERO) * rates.inverses.dram_byte_s
    return larger(larger(parts.ideal_s, parts.cache_s), outside) * (1.0 / BOOST)


def _ratios(table: OpTable, priced: Priced, rates: Rates) -> tuple[Value, list[Value], Value]:
    """Return waves, the ratios of `_LOGARITHMS` (before the logarithm), and the floor."""
    work, parts, inverse = priced.work, priced.stages, rates.inverses
    tile_m, tile_n, tile_k = rates.tile
    waves = pieces(work.m, tile_m) * pieces(work.n, tile_n) * work.gemms * pieces(work.k, tile_k * SPLIT) / rates.units
    compulsory, cache = parts.moved_bytes, max(rates.cache_bytes, 1.0)
    time_s = priced.plain.latency_s
    floor, fmt = floor_s(parts, rates), table["dtype"]
    per_s = 1.0 / time_s
    logs = [
        parts.ideal_s / parts.dram_s, parts.shaped_s / parts.ideal_s, waves, compulsory * (1.0 / cache),
        work.input_bytes / compulsory, work.output_bytes / compulsory, parts.dram_bytes / compulsory,
        time_s * (1.0 / rates.launch_s[0]), work.vector_flop / work.matrix_flop, floor * per_s, parts.dram_s * per_s,
        work.m / tile_m, work.n / tile_n, work.k / tile_k, work.m / work.n, work.k / work.n, work.gemms,
        inverse.dram_byte_s / inverse.flop_s[fmt], rates.cache_bytes_per_s * inverse.dram_byte_s,
        inverse.vector_flop_s[fmt] / inverse.flop_s[fmt], rates.launch_s[0] * rates.dram_bytes_per_s / cache,
        float(rates.units),
    ]  # fmt: skip
    return waves, logs, floor


def alignment(size: Value) -> Value:
    """Return how often 2 divides a whole size, at most 12 times."""
    if isinstance(size, float):  # one value for all rows
        least = max(int(size), 1)
        return min(float((least & -least).bit_length() - 1), MOST_ALIGNED)
    whole = np.maximum(size, 1).astype(np.int64)
    return np.minimum(np.frexp((whole & -whole).astype(np.float64))[1] - 1.0, MOST_ALIGNED)


Own = tuple[list[Value], list[Value], list[Value]]


def _waves(m: Value, n: Value, products: Value, tile: tuple[float, float], units: int) -> Value:
    return pieces(m, tile[0]) * pieces(n, tile[1]) * products * (1.0 / units)


def _gemm(table: OpTable, work: OpWork, priced: Priced, rates: Rates, fabric: Fabric | None) -> Own:
    down, across = ({tile[i] for tile in _TILES["gemm"]} for i in (0, 1))
    rows, columns = {edge: pieces(work.m, edge) for edge in down}, {edge: pieces(work.n, edge) for edge in across}
    waves = [rows[m] * columns[n] * work.gemms * (1.0 / rates.units) for m, n in _TILES["gemm"]]
    return waves, waves, [alignment(work.m), alignment(work.n), alignment(work.k)]


def _attention(table: OpTable, work: OpWork, priced: Priced, rates: Rates, fabric: Fabric | None) -> Own:
    heads, queries, batch = larger(table["heads"], ONE), larger(table["q_len"], ONE), table["batch"]
    kv_heads = choose(table["kv_heads"] > 0, table["kv_heads"], heads)
    latent = table["kv_rank"] > 0
    kv_heads = choose(latent, ONE, kv_heads)
    keys = larger(table["kv_len"], queries)
    seen = choose(table["window"] > 0, lesser(table["window"], keys), keys)
    shared = heads / kv_heads
    per_unit = 1.0 / rates.units
    all_heads, streams = batch * heads * per_unit, batch * kv_heads * per_unit
    waves_64, waves_128 = pieces(queries, 64.0) * all_heads, pieces(queries, 128.0) * all_heads
    rows = queries * shared
    waves_shared = pieces(rows, 64.0) * streams
    logs = [
        shared, queries / keys, larger(table["head_dim"], ONE), queries, keys, seen, seen / keys, batch, heads,
        kv_heads, streams, streams * seen, waves_64, waves_128, waves_shared,
    ]  # fmt: skip
    shares = [waves_64, waves_128, waves_shared, rows * (1 / 64.0), rows * (1 / 128.0)]
    kv_dtype = table["kv_dtype"] if "kv_dtype" in table.columns else table["dtype"]
    return (
        logs,
        shares,
        [alignment(heads), table["phase"], kv_dtype, 1.0 * latent, table["causal"], 1.0 * (table["window"] > 0)],
    )


def _moe(table: OpTable, work: OpWork, priced: Priced, rates: Rates, fabric: Fabric | None) -> Own:
    inter, held = table["inter"] / table["tp"], larger(np.floor(table["experts"] / table["ep"]), ONE)
    tokens, hidden, choices = table["tokens"], table["hidden"], table["tokens"] * table["topk"]
    names = ("tokens", "experts", "topk", "ep", "skew")
    rows: Value
    hit: Value
    largest: Value
    tiles: Value
    if table.rows == 1:
        rows, hit, largest, *tiles = busiest_of_one(*(float(table[n]) for n in names))
    else:
        routed = busiest(*(np.atleast_1d(table.full(n)) for n in names))
        rows, hit, largest, tiles = routed.rows, routed.hit, routed.largest, routed.tiles.T
    rows, hit = larger(rows, LEAST_ROWS), larger(hit, LEAST_ROWS)
    waves = [_waves(work.m, 2.0 * inter, work.gemms, tile, rates.units) for tile in _TILES["moe"]]
    down = _waves(work.m, hidden, work.gemms, (128.0, 128.0), rates.units)
    filled = [count * tile / rows for count, tile in zip(tiles, EXPERT_TILES, strict=True)]
    logs = [
        *_expert_stages(table, priced, rates, rows, hit, largest, tiles), *waves, tokens, choices / table["experts"],
        down, rows / hit, hit, hit / held, largest * hit / rows, *filled,
    ]  # fmt: skip
    plain = [table["skew"], alignment(ceil(inter)), table["ep"], table["tp"], table["gated"]]
    return logs, [*waves, down], plain


def _expert_stages(
    table: OpTable, priced: Priced, rates: Rates, rows: Value, hit: Value, largest: Value, tiles: Value
) -> list[Value]:  # fmt: skip
    """Return `STAGES` of expert layers over the closed form's time.

    Kernels read the weights of experts that have rows, work whole tiles of each, move every row between products, and
    on each device sort and add up the choices of all tokens, also of those whose experts stand elsewhere. Products wait
    for the largest expert and for whole waves of tiles. Of sorting only the number of choices and experts is known:
    their unit is 1 ns.
    """
    fmt, inverse, per_s = table["dtype"], rates.inverses, 1.0 / priced.plain.latency_s
    hidden, inter = table["hidden"], table["inter"] / table["tp"]
    matrices = choose(table["gated"] > 0, 3.0, 2.0)
    width = hidden * inter * matrices
    row_s = 2.0 * width * inverse.flop_s[fmt]
    byte_s = inverse.dram_byte_s
    weights_s = hit * width * _WEIGHT_BITS[fmt] * (0.125 * byte_s)
    moved_s = rows * (2.0 * hidden + matrices * inter) * (2.0 * byte_s)
    choices = table["tokens"] * table["topk"]
    blocks = tiles[EXPERT_TILES.index(64)]
    waves = ceil(blocks * pieces(2.0 * inter, 128.0) * (1.0 / rates.units)) * hidden
    waves = waves + ceil(blocks * pieces(hidden, 128.0) * (1.0 / rates.units)) * inter
    tiled = [count * (tile * row_s) for count, tile in zip(tiles, EXPERT_TILES, strict=True)]
    times = [
        1e-6, weights_s, rows * row_s, moved_s, choices * hidden * (2.0 * byte_s),
        table["tokens"] * hidden * (2.0 * byte_s), choices * 1e-9, table["experts"] * 1e-9,
        table["experts"] / table["ep"] * 1e-9, largest * row_s * rates.units / pieces(inter, 32.0),
        waves * (2.0 * 64.0 * 128.0 * rates.units) * inverse.flop_s[fmt], larger(weights_s, rows * row_s),
        larger(weights_s + moved_s, tiled[EXPERT_TILES.index(64)]), *tiled[1:],
    ]  # fmt: skip
    return [time * per_s for time in times]


def _collective(table: OpTable, work: OpWork, priced: Priced, rates: Rates, fabric: Fabric | None) -> Own:
    return [larger(table["ranks"], ONE), table["bytes"]], [], [table["kind"]]


def _other(table: OpTable, work: OpWork, priced: Priced, rates: Rates, fabric: Fabric | None) -> Own:
    logs = [
        table["kh"] * table["kw"], table["stride"], table["groups"], table["hidden"], table["rows"], table["c_in"],
        table["state"], table["q_len"],
    ]  # fmt: skip
    return logs, [], [table["op"], table["phase"], table["operands"], table["flop_per_element"]]


_OWN: dict[str, Callable[[OpTable, OpWork, Priced, Rates, Fabric | None], Own]] = {
    "gemm": _gemm, "attention": _attention, "moe": _moe, "collective": _collective, "other": _other,
}  # fmt: skip
