"""Calibration: measurements in, an artefact out, with its error on rows that it never saw.

Rows are split by groups of one shape (a gemm's n and k, an attention's heads), never by rows, so that the held-out
error is that of a shape that was not measured. The larger part trains the trees, one part calibrates the intervals,
one part is scored. Same rows, seed and platform give the same bytes.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.artefact import Card, Score, save_artefact
from costmodel.costs import OpCosts
from costmodel.features import RATIOS, Described, describe
from costmodel.physics import price
from costmodel.rates import Rates, compile_rates
from costmodel.residual import FEWEST, TOLERANCE, Intervals, LearnedModel, Scope
from costmodel.trees import trees_from_json
from foundation.errors import BadValueError
from foundation.formats import FORMAT_NAMES
from hardware_specs import load_device
from workloads.measurements import MeasurementTable
from workloads.table import OPS, Array, OpTable

FEWEST_ROWS = 30
FEWEST_GROUPS = 5
"""Shape groups that a (device, operator) needs: fewer leave nothing to hold out."""
COVERAGE = 0.9
CALIBRATE_SHARE, HELD_OUT_SHARE = 0.2, 0.2
TRAIN, CONFORMAL, HELD_OUT = range(3)

SHAPE_KEYS: dict[str, tuple[str, ...]] = {
    "gemm": ("n", "k"), "attention": ("heads", "kv_heads", "head_dim", "window"),
    "mla": ("heads", "kv_rank", "rope_dim"), "moe": ("hidden", "inter", "experts", "topk"),
    "conv2d": ("c_in", "c_out", "kh", "kw", "groups"), "scan": ("heads", "head_dim", "state"),
    "norm": ("hidden",), "elementwise": ("hidden",), "softmax": ("hidden",), "embedding": ("hidden",),
    "copy": ("hidden",),
}  # fmt: skip
"""Columns that name a shape group of each operator; collectives need the fabric and are not learned here."""

SETTINGS: dict[str, Any] = {
    "objective": "reg:squarederror", "tree_method": "hist", "max_depth": 6, "eta": 0.08, "max_bin": 256,
    "min_child_weight": 3, "subsample": 0.8, "colsample_bytree": 0.8, "lambda": 1.0,
}  # fmt: skip
ONE_THREAD_ROWS = 20_000
"""Tables below this are trained on one thread: two gain nothing, and spin where other work shares the cores."""
ROUNDS = 300
FARTHEST = 4.0
"""Log residuals beyond this (a factor of 55) are pulled in: they are faults of a row, not of a kernel."""


@dataclass(frozen=True)
class _Rows:
    """Usable measurements of all tables: one array a column, shape (rows,) or (rows, features)."""

    op: Array
    dtype: Array
    device: Array
    software: Array
    group: Array
    latency_s: Array
    physics: OpCosts
    described: Described
    roofline_s: Array

    @property
    def log_error(self) -> Array:
        """log(measured / physics)."""
        return np.asarray(np.log(self.latency_s / self.physics.latency_s))

    @property
    def family(self) -> Array:
        return np.array([f"{d}/{OPS[int(o)]}" for d, o in zip(self.device, self.op, strict=True)], dtype=object)

    def take(self, index: Array) -> _Rows:
        seen = Described(self.described.matrix[index], self.described.floor_s[index])
        plain = {n: getattr(self, n)[index] for n in ("op", "dtype", "device", "software", "group", "latency_s")}
        return _Rows(**plain, physics=self.physics.take(index), described=seen, roofline_s=self.roofline_s[index])


def calibrate(
    measurements: Sequence[MeasurementTable], out: str | Path, *, seed: int = 0, rounds: int = ROUNDS,
    progress: Callable[[str], None] = lambda _: None,
) -> Card:  # fmt: skip
    """Fit a model to measured latencies and write it as an artefact; returns its card with the held-out scores.

    Args:
        seed: decides the split and the trees' samples.
        progress: told in one line what is being done.

    Raises:
        BadValueError: too few rows or shape groups, a row without a device, latencies in another unit.
        UnknownNameError: a device that is not in the catalogue.
        BadFileError: `out` holds something else.
    """
    progress("pricing the measured rows by the closed form")
    softwares, devices = _ranked(measurements, "software"), _ranked(measurements, "device")
    rows, unpriced = _gather(measurements, devices, softwares)
    _check_units(rows)
    left_out, keep = _families(rows)
    rows = rows.take(keep)
    part = split(rows.group, rows.family, seed)
    progress(f"training on {int((part == TRAIN).sum())} of {len(part)} rows")
    model_json = _train(rows.take(part == TRAIN), seed, rounds, _threads(len(part)))
    blank = Intervals(COVERAGE, {}, {}, {})
    scope = _scope(rows.take(part == TRAIN), devices, softwares)
    digests = {name: compile_rates(load_device(name)).digest() for name in scope.devices}
    model = LearnedModel(trees_from_json(model_json), scope, blank, 1.0, digests, model_json)
    progress("calibrating intervals and scoring the held-out rows")
    intervals, shared = _calibrated(rows.take(part == CONFORMAL), model)
    model = replace(model, intervals=intervals, shared_log_error=shared)
    used = {OPS[int(o)] for o in rows.op}
    card = Card(
        scope=scope, intervals=intervals, shared_log_error=shared, scores=_scores(rows.take(part == HELD_OUT), model),
        rows={"train": int((part == TRAIN).sum()), "conformal": int((part == CONFORMAL).sum()),
              "held_out": int((part == HELD_OUT).sum()), "unpriced": unpriced},
        groups=_group_counts(rows, part), left_out=left_out, below_floor=_below_floor(rows),
        data_sha256=_data_hash(measurements),
        rates_digests=digests,
        settings={**SETTINGS, "nthread": _threads(len(part)), "rounds": rounds, "seed": seed,
                  "shape_keys": {k: SHAPE_KEYS[k] for k in sorted(used)}},
        versions=_versions(),
    )  # fmt: skip
    return save_artefact(out, model_json, card)


def _ranked(measurements: Sequence[MeasurementTable], name: str) -> tuple[str, ...]:
    """Return the different texts of a label column, the most frequent first."""
    if not measurements:
        raise BadValueError("There are no measurements to calibrate from.")
    words, counts = np.unique(np.concatenate([getattr(t, name) for t in measurements]).astype(str), return_counts=True)
    if name == "device":
        if "" in words:
            raise BadValueError("A row to calibrate from names no device; fill the column 'device'.")
        return tuple(sorted({load_device(str(word)).id for word in words}))
    return tuple(str(words[i]) for i in sorted(range(len(words)), key=lambda i: (-counts[i], words[i])))


def _gather(
    measurements: Sequence[MeasurementTable], devices: tuple[str, ...], softwares: tuple[str, ...]
) -> tuple[_Rows, int]:
    """Return the rows that have a latency and that the closed form can price, and how many it cannot."""
    parts: list[_Rows] = []
    unpriced = 0
    for table in measurements:
        timed = np.isfinite(table.value("latency_s"))
        learnable = np.isin(table.table.full("op"), [OPS.index(op) for op in SHAPE_KEYS])
        unpriced += int((timed & ~learnable).sum())
        names = table.device.astype(str)
        for name in np.unique(names[timed & learnable]):
            rates = compile_rates(load_device(str(name)))
            mine = table.take(np.flatnonzero(timed & learnable & (names == name)))
            for stack in np.unique(mine.software.astype(str)):
                some = mine.take(np.flatnonzero(mine.software.astype(str) == stack))
                rows = _priced(some, rates, devices.index(rates.device), str(stack), softwares.index(str(stack)))
                good = np.isfinite(rows.physics.latency_s)
                unpriced += int((~good).sum())
                parts.append(rows.take(good))
    total = sum(len(part.latency_s) for part in parts)
    if total < FEWEST_ROWS:
        raise BadValueError(
            f"Calibration needs at least {FEWEST_ROWS} rows with a latency_s that can be priced; {total} are given"
            f"{f' ({unpriced} cannot be priced)' if unpriced else ''}."
        )
    return _joined(parts), unpriced


def _priced(table: MeasurementTable, rates: Rates, device: int, stack: str, software: int) -> _Rows:
    ops = table.table
    priced = price(ops, rates)
    roofline = np.maximum(priced.stages.ideal_s, priced.stages.moved_bytes / rates.dram_bytes_per_s)
    rows = ops.rows
    return _Rows(
        op=ops.full("op"), dtype=ops.full("dtype"), device=np.array([rates.device] * rows, dtype=object),
        software=np.array([stack] * rows, dtype=object), group=_group_hash(ops), latency_s=table.value("latency_s"),
        physics=priced.costs, described=describe(ops, priced, rates, device, software),
        roofline_s=np.asarray(np.broadcast_to(roofline, (rows,))),
    )  # fmt: skip


def _joined(parts: Sequence[_Rows]) -> _Rows:
    plain = {n: np.concatenate([getattr(p, n) for p in parts])
             for n in ("op", "dtype", "device", "software", "group", "latency_s", "roofline_s")}  # fmt: skip
    seen = Described(
        np.concatenate([p.described.matrix for p in parts]), np.concatenate([p.described.floor_s for p in parts])
    )
    return _Rows(**plain, physics=OpCosts.concat([p.physics for p in parts]), described=seen)


def _group_hash(table: OpTable) -> Array:
    """Return a hash of each row's shape group, without the device: a shape held out is held out everywhere."""
    ops = table.full("op")
    groups = np.zeros(table.rows, dtype=np.uint64)
    for code in np.unique(ops):
        where = np.flatnonzero(ops == code)
        keys = np.stack([table.full(name)[where] for name in SHAPE_KEYS[OPS[int(code)]]], axis=1)
        shapes, inverse = np.unique(keys, axis=0, return_inverse=True)
        digests = [hashlib.blake2b(bytes([int(code)]) + shape.tobytes(), digest_size=8).digest() for shape in shapes]
        groups[where] = np.frombuffer(b"".join(digests), dtype="<u8")[inverse.ravel()]
    return groups


def split(group: Array, family: Array, seed: int) -> Array:
    """Return the part of each row (TRAIN, CONFORMAL, HELD_OUT). A group is in one part; every family is in all three.

    Groups of each family are ordered by a hash of group and seed, and cut by count; the first family (in order of its
    name) that has a group decides for all.
    """
    part = np.full(len(group), -1, dtype=np.int8)
    decided: dict[int, int] = {}
    for name in sorted(set(family.tolist())):
        mine = [int(g) for g in np.unique(group[family == name])]
        salt = seed.to_bytes(8, "little", signed=True)
        order = sorted(mine, key=lambda g: hashlib.blake2b(g.to_bytes(8, "little") + salt, digest_size=8).digest())
        held, calibrated = (max(1, round(share * len(order))) for share in (HELD_OUT_SHARE, CALIBRATE_SHARE))
        for i, g in enumerate(order):
            decided.setdefault(g, HELD_OUT if i < held else CONFORMAL if i < held + calibrated else TRAIN)
    shapes, inverse = np.unique(group, return_inverse=True)
    part[:] = np.array([decided[int(g)] for g in shapes], dtype=np.int8)[inverse]
    return part


def _families(rows: _Rows) -> tuple[dict[str, str], Array]:
    """Return why families are left out, and a mask of the rows of the others."""
    left_out: dict[str, str] = {}
    family = rows.family
    keep = np.ones(len(family), dtype=bool)
    for name in sorted(set(family.tolist())):
        mine = family == name
        groups = len(np.unique(rows.group[mine]))
        if groups < FEWEST_GROUPS:
            op = name.rsplit("/", 1)[1]
            left_out[name] = f"{groups} different ({', '.join(SHAPE_KEYS[op])}); at least {FEWEST_GROUPS} are needed"
            keep &= ~mine
    if not keep.any():
        name, reason = next(iter(left_out.items()))
        raise BadValueError(f"Nothing can be held out: {name} has {reason}. Measure more shapes.")
    return left_out, keep


UNIT_SLIPS: tuple[tuple[float, str], ...] = (
    (1e3, "milliseconds"), (1e6, "microseconds"), (1e9, "nanoseconds"),
)  # fmt: skip


def _check_units(rows: _Rows) -> None:
    """Refuse latencies that are off by a factor of a thousand or a million on the larger rows."""
    large = rows.physics.latency_s >= np.median(rows.physics.latency_s)
    ratio = float(np.median(rows.latency_s[large] / rows.physics.latency_s[large]))
    for factor, unit in UNIT_SLIPS:
        if factor / 20 < ratio < factor * 20 and abs(np.log10(ratio / factor)) < 1.3:
            raise BadValueError(
                f"The latencies are {ratio:,.0f} times what the hardware allows at best: they look like {unit}; "
                f"the column latency_s is in seconds."
            )
    if ratio < 0.05:
        raise BadValueError(
            f"The latencies are 1/{1 / ratio:,.0f} of what the hardware allows: the column latency_s is in seconds "
            "(check the unit, and the device)."
        )


def _threads(rows: int) -> int:
    """Return the threads of a training: decided by the table alone, so that the same data gives the same bytes."""
    return 1 if rows < ONE_THREAD_ROWS else 2


def _train(rows: _Rows, seed: int, rounds: int, threads: int) -> bytes:
    """Return the trees on the log residual as XGBoost's JSON."""
    import xgboost

    target = np.clip(rows.log_error, -FARTHEST, FARTHEST).astype(np.float32)
    data = xgboost.DMatrix(np.ascontiguousarray(rows.described.matrix), label=target, nthread=threads)
    booster = xgboost.train({**SETTINGS, "nthread": threads, "seed": seed}, data, num_boost_round=rounds)
    return bytes(booster.save_raw("json"))


def _scope(rows: _Rows, devices: tuple[str, ...], softwares: tuple[str, ...]) -> Scope:
    kernels = {(OPS[int(o)], FORMAT_NAMES[int(f)], str(d), str(s))
               for o, f, d, s in zip(rows.op, rows.dtype, rows.device, rows.software, strict=True)}  # fmt: skip
    ratios = rows.described.matrix[:, : len(RATIOS)]
    lo, hi = (tuple(float(x) for x in ends) for ends in (ratios.min(axis=0), ratios.max(axis=0)))
    return Scope(devices, softwares, tuple(sorted(kernels)), lo, hi)


def _predicted(rows: _Rows, model: LearnedModel) -> Array:
    """Return the learned latency, bounded by the floor."""
    factor = np.exp(model.log_residual(np.ascontiguousarray(rows.described.matrix)).astype(np.float64))
    return np.asarray(np.maximum(rows.physics.latency_s * factor, rows.described.floor_s))


def _calibrated(rows: _Rows, model: LearnedModel) -> tuple[Intervals, float]:
    """Return the conformal half widths, and the share of the log error's variance that a shape group shares."""
    error = np.log(rows.latency_s / _predicted(rows, model))
    size = np.log(rows.physics.latency_s)
    cuts, half, physics = {}, {}, {}
    family = rows.family
    for name in sorted(set(family.tolist())):
        mine = family == name
        low, high = np.quantile(size[mine], (1 / 3, 2 / 3))
        third = (size > low).astype(int) + (size > high)
        whole = conformal_half(np.abs(error[mine]))
        widths = [conformal_half(np.abs(error[mine & (third == i)])) for i in range(3)]
        w = [whole if np.isnan(width) else width for width in widths]
        cuts[name], half[name] = (float(low), float(high)), (w[0], w[1], w[2])
        physics[name] = conformal_half(np.abs(rows.log_error[mine]))
    return Intervals(COVERAGE, cuts, half, physics), shared_share(error, rows.group)


def conformal_half(errors: Array) -> float:
    """Return the half width that covers 90 % of new errors: the ceil((n + 1) 0.9)-th smallest; NaN below 9 errors."""
    rank = int(np.ceil((len(errors) + 1) * COVERAGE))
    if len(errors) < FEWEST or rank > len(errors):
        return float("nan")
    return float(np.partition(errors, rank - 1)[rank - 1])


def shared_share(error: Array, group: Array) -> float:
    """Return the intraclass correlation of errors in groups, in [0, 1] (one-way analysis of variance, Fisher 1925)."""
    _, inverse, counts = np.unique(group, return_inverse=True, return_counts=True)
    n, groups = len(error), len(counts)
    if groups < 2 or n <= groups:
        return 1.0
    means = np.bincount(inverse, error) / counts
    between = float((counts * (means - error.mean()) ** 2).sum() / (groups - 1))
    within = float(((error - means[inverse]) ** 2).sum() / (n - groups))
    size = (n - float((counts**2).sum()) / n) / (groups - 1)
    if between + (size - 1) * within <= 0:
        return 1.0
    return float(np.clip((between - within) / (between + (size - 1) * within), 0.0, 1.0))


def _scores(rows: _Rows, model: LearnedModel) -> dict[str, Score]:
    """Return the held-out scores by 'device/op'; what lies out of range counts with the closed form, as in use."""
    family, scores = rows.family, {}
    inside = model.distance(rows.described.matrix) <= TOLERANCE
    latency = np.where(inside, _predicted(rows, model), rows.physics.latency_s)
    size = np.log(rows.physics.latency_s)
    for name in sorted(set(family.tolist())):
        i = np.flatnonzero(family == name)
        cuts, half = model.intervals.cuts[name], np.array(model.intervals.half[name])
        third = (size[i] > cuts[0]).astype(int) + (size[i] > cuts[1])
        width = np.where(inside[i], half[third], model.intervals.physics[name])
        truth = rows.latency_s[i]
        error = np.abs(latency[i] / truth - 1)
        physics = np.abs(rows.physics.latency_s[i] / truth - 1)
        covered = (truth >= rows.physics.latency_lo_s[i]) & (truth <= rows.physics.latency_hi_s[i])
        scores[name] = Score(
            rows=len(i), mape=_mean(error), median=float(np.median(error)), p90=float(np.quantile(error, 0.9)),
            coverage=_mean(np.abs(np.log(truth / latency[i])) <= width), width=float(np.median(np.exp(2 * width))),
            learned_share=_mean(inside[i]), roofline_mape=_mean(np.abs(rows.roofline_s[i] / truth - 1)),
            physics_mape=_mean(physics), physics_median=float(np.median(physics)), physics_coverage=_mean(covered),
        )  # fmt: skip
    return scores


def _mean(values: Array) -> float:
    return float(np.mean(values))


def _below_floor(rows: _Rows) -> dict[str, float]:
    family, below = rows.family, rows.latency_s < rows.described.floor_s
    return {name: _mean(below[family == name]) for name in sorted(set(family.tolist()))}


def _group_counts(rows: _Rows, part: Array) -> dict[str, dict[str, int]]:
    family = rows.family
    return {
        name: {word: len(np.unique(rows.group[(family == name) & (part == code)]))
               for word, code in (("train", TRAIN), ("conformal", CONFORMAL), ("held_out", HELD_OUT))}
        for name in sorted(set(family.tolist()))
    }  # fmt: skip


def _data_hash(measurements: Sequence[MeasurementTable]) -> str:
    """Return a hash of what was learned from: operators, labels and latencies, in order."""
    digest = hashlib.sha256()
    for table in measurements:
        for name in sorted(table.table.columns):
            digest.update(name.encode() + np.ascontiguousarray(table.table.full(name)).tobytes())
        for labels in (table.device, table.software):
            digest.update("\n".join(labels.tolist()).encode())
        digest.update(table.value("latency_s").tobytes())
    return digest.hexdigest()


def _versions() -> dict[str, str]:
    import xgboost

    return {"xgboost": xgboost.__version__, "numpy": np.__version__, "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}"}  # fmt: skip
