"""Measured rows made ready for learning: thinned, priced by the closed form, described, and put into shape groups."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from costmodel.collectives import Fabric, fabric_of
from costmodel.features import GROUP_OF, GROUPS, describe
from costmodel.kin import kin_ratios, siblings
from costmodel.knowledge import POOLED, model_name, part_of
from costmodel.physics import price
from costmodel.rates import Rates, compile_rates
from foundation.errors import ArchcastError, BadValueError
from foundation.formats import FORMAT_NAMES
from hardware_specs import load_device
from workloads.measurements import MeasurementTable
from workloads.table import OPS, PHASES, Array, OpTable

STRATUM_ROWS = 16_000
"""Rows that are used of one kernel (device, software, operator, format, phase); of more, a random part."""
STRATUM_RULE = f"at most {STRATUM_ROWS:,} random rows of each (device, software, operator, formats, phase)"

SHAPE_KEYS: dict[str, tuple[str, ...]] = {
    "gemm": ("n", "k"), "attention": ("heads", "kv_heads", "head_dim", "window"),
    "mla": ("heads", "kv_rank", "rope_dim"), "moe": ("hidden", "inter", "experts", "topk"),
    "collective": ("kind", "ranks", "bytes"),
    "conv2d": ("c_in", "c_out", "kh", "kw", "groups"), "scan": ("heads", "head_dim", "state"),
    "norm": ("hidden",), "elementwise": ("hidden",), "softmax": ("hidden",), "embedding": ("hidden",),
    "copy": ("hidden",),
}  # fmt: skip
"""Columns that name a shape group of each operator: what is held out together."""


@dataclass(frozen=True)
class Words:
    """What the codes of `Rows` stand for."""

    devices: list[str] = field(default_factory=list)
    softwares: list[str] = field(default_factory=list)
    models: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Rows:
    """Usable measurements of one group of operators: one array a column, shape (rows,), `matrix` (rows, features).

    `model` is the name of the trees that serve a row, `family` its 'device/op'. Times are in seconds; `physics_s`,
    `lo_s` and `hi_s` are the closed form's.
    """

    words: Words
    op: Array
    dtype: Array
    device: Array
    software: Array
    model: Array
    group: Array
    latency_s: Array
    physics_s: Array
    lo_s: Array
    hi_s: Array
    floor_s: Array
    roofline_s: Array
    matrix: Array

    def __len__(self) -> int:
        return len(self.latency_s)

    @property
    def log_error(self) -> Array:
        """log(measured / physics)."""
        return np.asarray(np.log(self.latency_s / self.physics_s))

    @property
    def family(self) -> Array:
        pairs, inverse = np.unique(self.device.astype(np.int64) * len(OPS) + self.op, return_inverse=True)
        names = [f"{self.words.devices[int(pair) // len(OPS)]}/{OPS[int(pair) % len(OPS)]}" for pair in pairs]
        return np.asarray(np.array(names, dtype=object)[inverse])

    def take(self, index: Array) -> Rows:
        return Rows(self.words, *(getattr(self, name)[index] for name in _ARRAYS))

    @staticmethod
    def concat(parts: Sequence[Rows]) -> Rows:
        return Rows(parts[0].words, *(np.concatenate([getattr(p, name) for p in parts]) for name in _ARRAYS))


_ARRAYS: tuple[str, ...] = tuple(f.name for f in fields(Rows) if f.name != "words")


def _code(names: list[str], name: str) -> int:
    if name not in names:
        names.append(name)
    return names.index(name)


@dataclass(frozen=True)
class Gathered:
    """Rows by group, rows that could not be priced, what collectives ran over by device, and a hash of the data."""

    rows: dict[str, Rows]
    words: Words
    unpriced: int
    thinned: int
    fabrics: dict[str, str]
    digest: str


def gather(measurements: Sequence[MeasurementTable], seed: int) -> Gathered:
    """Return the rows that have a latency and that the closed form can price.

    Raises:
        BadValueError: no tables, or rows without a device.
        UnknownNameError: a device that is not in the catalogue.
    """
    if not measurements:
        raise BadValueError("There are no measurements to calibrate from.")
    parts: dict[str, list[Rows]] = {}
    fabrics: dict[str, str] = {}
    unpriced = thinned = 0
    digest, words = hashlib.sha256(), Words()
    rng = np.random.default_rng(seed)
    pools = _pools(measurements)
    for table in measurements:
        _hash_into(digest, table)
        timed = table.take(np.flatnonzero(np.isfinite(table.value("latency_s"))))
        for some in _strata(timed):
            keep = some
            if some.rows > STRATUM_ROWS:
                keep = some.take(np.sort(rng.permutation(some.rows)[:STRATUM_ROWS]))
                thinned += some.rows - keep.rows
            rates = compile_rates(load_device(str(some.device[0])))
            rows, fabric = _priced(keep, rates, words, pools)
            if rows is None:
                unpriced += keep.rows
                continue
            if fabric is not None:
                fabrics[rates.device] = fabric.name
            good = np.isfinite(rows.physics_s) & np.isfinite(rows.matrix).all(axis=1)
            unpriced += int((~good).sum())
            parts.setdefault(GROUP_OF[int(rows.op[0])], []).append(rows.take(np.flatnonzero(good)))
    ready = {group: Rows.concat(parts[group]) for group in GROUPS if group in parts}
    return Gathered({g: r for g, r in ready.items() if len(r)}, words, unpriced, thinned, fabrics, digest.hexdigest())


def _strata(table: MeasurementTable) -> Iterator[MeasurementTable]:
    """Yield the rows of each (device, software, operator, formats, phase), in the order of their names."""
    if "" in set(table.device.tolist()):
        raise BadValueError("A row to calibrate from names no device; fill the column 'device'.")
    if table.rows == 0:
        return
    ops = table.table
    labels = [np.unique(column.astype(str), return_inverse=True)[1] for column in (table.device, table.software)]
    codes = [ops.full(name).astype(np.int64) for name in ("op", "dtype", "kv_dtype", "phase")]
    keys = np.stack([*labels, *codes], axis=1)
    strata, inverse = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(inverse.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(inverse.ravel(), minlength=len(strata)))
    for start, end in zip(np.concatenate(([0], ends[:-1])), ends, strict=True):
        if end > start:
            yield table.take(order[start:end])


def fabric_for(rates: Rates, table: OpTable) -> Fabric | None:
    """Return what the collectives of a table ran over: the device's usual node. None where there is none."""
    if OPS[int(table.full("op")[0])] != "collective":
        return None
    try:
        return fabric_of(load_device(rates.device), int(table.full("ranks").max()))
    except ArchcastError:
        return None


def _pools(measurements: Sequence[MeasurementTable]) -> dict[str, str]:
    """Return the devices that share trees with each device (see `siblings`)."""
    names = sorted({str(name) for table in measurements for name in np.unique(table.device.astype(str))} - {""})
    rates = {name: compile_rates(load_device(name)) for name in names}
    return siblings({n: kin_ratios(r) for n, r in rates.items()}, {n: r.kind for n, r in rates.items()})


def _priced(
    table: MeasurementTable, rates: Rates, words: Words, pools: dict[str, str]
) -> tuple[Rows | None, Fabric | None]:  # fmt: skip
    ops, count = table.table, table.rows
    op, stack = OPS[int(ops.full("op")[0])], str(table.software[0])
    fabric = fabric_for(rates, ops)
    if op == "collective" and fabric is None:
        return None, None
    priced = price(ops, rates, fabric)
    roofline = np.maximum(priced.stages.ideal_s, priced.stages.moved_bytes / rates.dram_bytes_per_s)
    seen = describe(ops, priced, rates, GROUP_OF[int(ops.full("op")[0])], stack, fabric)
    dtype, phase = FORMAT_NAMES[int(ops.full("dtype")[0])], PHASES[int(ops.full("phase")[0])]
    pool = pools[str(table.device[0])] if op in POOLED else rates.device
    name = model_name(op, pool, part_of(op, dtype, phase))
    device, software, model = (
        np.full(count, code, dtype=np.int32)
        for code in (_code(words.devices, rates.device), _code(words.softwares, stack), _code(words.models, name))
    )
    costs = priced.costs
    rows = Rows(
        words, ops.full("op"), ops.full("dtype"), device, software, model, group_hash(ops),
        table.value("latency_s"), costs.latency_s, costs.latency_lo_s, costs.latency_hi_s, seen.floor_s,
        np.asarray(np.broadcast_to(roofline, (count,))), np.ascontiguousarray(seen.matrix),
    )  # fmt: skip
    return rows, fabric


def group_hash(table: OpTable) -> Array:
    """Return a hash of each row's shape group, without the device: a shape held out is held out everywhere."""
    ops = table.full("op")
    groups = np.zeros(table.rows, dtype=np.uint64)
    for code in np.unique(ops):
        where = np.flatnonzero(ops == code)
        keys = np.stack([table.full(name)[where].astype(float) for name in SHAPE_KEYS[OPS[int(code)]]], axis=1)
        shapes, inverse = np.unique(keys, axis=0, return_inverse=True)
        digests = [hashlib.blake2b(bytes([int(code)]) + shape.tobytes(), digest_size=8).digest() for shape in shapes]
        groups[where] = np.frombuffer(b"".join(digests), dtype="<u8")[inverse.ravel()]
    return groups


def _hash_into(digest: hashlib._Hash, table: MeasurementTable) -> None:
    """Add what is learned from to a hash: operators, labels and latencies, in order."""
    for name in sorted(table.table.columns):
        digest.update(name.encode() + np.ascontiguousarray(table.table.full(name)).tobytes())
    for labels in (table.device, table.software):
        digest.update("\n".join(labels.tolist()).encode())
    for name in ("latency_s", *(n for n in ("energy_j", "power_w") if n in table.measured)):
        digest.update(table.value(name).tobytes())
