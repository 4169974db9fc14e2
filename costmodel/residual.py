"""`LearnedModel`: the closed form times a learned factor, bounded by what physics allows, with a calibrated interval.

A row is priced by boosted trees on log(measured / physics) where training saw its kernel (operator, format, device,
software) and its ratios; never below the physical floor. Elsewhere the closed form answers alone: `physics` for a
kind of operator or a device that training never saw, `extrapolated` with a widened interval for one that lies outside
the ranges of training. Intervals are split conformal on the absolute log error (Vovk et al. 2005; Lei et al. 2018),
by device, operator family and third of the size range.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from costmodel.collectives import Fabric
from costmodel.costs import COLUMNS, NUMERIC, SOURCES, OpCosts
from costmodel.features import RATIOS, describe
from costmodel.physics import CHUNK, Priced, predict_physics, price
from costmodel.rates import Rates
from costmodel.trees import FlatTrees
from foundation.formats import FORMAT_NAMES
from workloads.elementwise import Value, choose, larger, lesser, some, unwrapped
from workloads.table import OP_CODES, OPS, Array, OpTable

LEARNED, PHYSICS, EXTRAPOLATED = (SOURCES.index(name) for name in ("learned", "physics", "extrapolated"))
FLAT_ROWS = 48
"""Up to here the flat trees are faster than a call of XGBoost (benchmarks/bench_learned.py)."""
TOLERANCE = 0.05
"""How far outside the trained range a ratio may lie, as a part of that range (estimated, 0 to 0.1)."""
MOST_PLANS = 256
"""Devices (and what-ifs of them) whose lookups are remembered."""
FEWEST = 9
"""Rows that a 90 % conformal quantile needs: with fewer the quantile does not exist."""


@dataclass(frozen=True)
class Scope:
    """What training saw. `kernels` are (op, dtype, device, software); `lo` and `hi` bound each of `RATIOS`.

    `softwares` are in order of falling row count: the first one is meant where a caller names none.
    """

    devices: tuple[str, ...]
    softwares: tuple[str, ...]
    kernels: tuple[tuple[str, str, str, str], ...]
    lo: tuple[float, ...]
    hi: tuple[float, ...]

    def software_of(self, device: str, software: str) -> str:
        """Return the software that is meant on a device."""
        if software:
            return software
        here = {kernel[3] for kernel in self.kernels if kernel[2] == device}
        return next((name for name in self.softwares if name in here), "")


@dataclass(frozen=True)
class Intervals:
    """Half widths of the log error by 'device/op': one a third of the size range, NaN where there were too few rows.

    `cuts` are the two log latencies of the closed form that part the thirds; `physics` is the half width of the closed
    form alone on the same rows.
    """

    coverage: float
    cuts: dict[str, tuple[float, float]]
    half: dict[str, tuple[float, float, float]]
    physics: dict[str, float]


@dataclass(frozen=True)
class _Plan:
    """`Scope` and `Intervals` of one device and software as arrays, by operator and format code (cuts: two rows)."""

    device_code: int
    software_code: int
    known: Array
    family: Array
    cuts: Array
    half: Array
    physics: Array


@dataclass(frozen=True)
class LearnedModel:
    """A `CostModel`: physics, a learned factor, and calibrated intervals. Load one with `costmodel.artefact`.

    `rates_digests` are those of the devices as training priced them; a device whose figures differ is extrapolated.
    """

    trees: FlatTrees
    scope: Scope
    intervals: Intervals
    shared_log_error: float
    rates_digests: dict[str, str]
    model_json: bytes = field(repr=False)
    name: str = "learned"
    version: str = "1"

    def predict(self, table: OpTable, rates: Rates, fabric: Fabric | None = None, *, software: str = "") -> OpCosts:
        """Return the cost of one instance of every row on one device; equal rows are priced once."""
        plan = self._plan(rates, software)
        if plan is None:
            return predict_physics(table, rates, fabric)
        small, inverse = distinct(table)
        if small.rows <= CHUNK:
            small = unwrapped(small)
            costs = self._correct(small, rates, price(small, rates, fabric), plan)
        else:
            pieces = (small.take(slice(i, i + CHUNK)) for i in range(0, small.rows, CHUNK))
            parts = [self._correct(piece, rates, price(piece, rates, fabric), plan) for piece in pieces]
            whole = all(part.interval_kind == "conformal" for part in parts)
            shared, kind = (self.shared_log_error, "conformal") if whole else (1.0, "propagated")
            costs = replace(OpCosts.concat(parts), interval_kind=kind, shared_log_error=shared)
        return costs if inverse is None else costs.take(inverse)

    def log_residual(self, features: Array) -> Array:
        """Return log(measured / physics) as predicted for feature rows (float32, shape (rows, features))."""
        if len(features) <= FLAT_ROWS:
            return self.trees.predict(features)
        booster = self._booster
        return np.asarray(booster.inplace_predict(features))

    @cached_property
    def _booster(self) -> Any:
        import xgboost

        booster = xgboost.Booster()
        booster.load_model(bytearray(self.model_json))
        booster.set_param({"nthread": 1})  # starting threads costs more than they save on a chunk
        return booster

    @cached_property
    def _range(self) -> tuple[Array, Array, Array]:
        lo, hi = np.array(self.scope.lo, dtype=np.float32), np.array(self.scope.hi, dtype=np.float32)
        return lo, hi, 1.0 / np.maximum(hi - lo, 0.1).astype(np.float32)

    @cached_property
    def _plans(self) -> dict[tuple[int, str], tuple[Rates, _Plan | None]]:
        return {}

    def _plan(self, rates: Rates, software: str) -> _Plan | None:
        """Return what training saw of a device; None where it saw nothing."""
        key = (id(rates), software)
        found = self._plans.get(key)
        if found is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            # beside the plan stand the rates, so that their id is not given to others while it serves as a key
            found = self._plans[key] = (rates, self._planned(rates, software))
        return found[1]

    def _planned(self, rates: Rates, software: str) -> _Plan | None:
        device = rates.device
        software = self.scope.software_of(device, software)
        if device not in self.scope.devices:
            return None
        stacks = self.scope.softwares
        known = np.zeros((len(OPS), len(FORMAT_NAMES)), dtype=bool)
        # a factor over other figures of the device (a what-if, a newer description) would be no measured truth
        same = self.rates_digests.get(device) == rates.digest()
        for op, dtype, where, stack in self.scope.kernels:
            if same and (where, stack) == (device, software):
                known[OP_CODES[op], FORMAT_NAMES.index(dtype)] = True
        family = np.array([f"{device}/{op}" in self.intervals.physics for op in OPS])
        cuts = np.array([self.intervals.cuts.get(f"{device}/{op}", (0.0, 0.0)) for op in OPS])
        half = np.array([self.intervals.half.get(f"{device}/{op}", (np.nan,) * 3) for op in OPS])
        physics = np.array([self.intervals.physics.get(f"{device}/{op}", np.nan) for op in OPS])
        codes = self.scope.devices.index(device), stacks.index(software) if software in stacks else -1
        return _Plan(*codes, known, family, cuts.T.copy(), half, physics)

    def _correct(self, table: OpTable, rates: Rates, priced: Priced, plan: _Plan) -> OpCosts:
        """Return the closed form's costs corrected by the learned factor where it applies."""
        table, physics = unwrapped(table), _unwrapped(priced.costs)
        seen = describe(table, priced, rates, plan.device_code, plan.software_code)
        features = np.ascontiguousarray(seen.matrix)
        distance, factor, floor_s = self.distance(features), self._factor(features), seen.floor_s
        if table.rows == 1:
            distance, factor, floor_s = distance[0], factor[0], floor_s[0]
        op = table["op"]
        inside = (distance <= TOLERANCE) & plan.known[op, table["dtype"]] & (physics.latency_s < np.inf)
        latency = larger(physics.latency_s * factor, floor_s)
        log_size = np.log(physics.latency_s)
        half = plan.half[op, 1 * (log_size > plan.cuts[0, op]) + (log_size > plan.cuts[1, op])]
        spread = np.exp(half)
        times = _Times(latency, lesser(larger(latency / spread, floor_s), latency), latency * spread, LEARNED)
        kind, shared = "conformal", self.shared_log_error
        missing = np.isnan(half) & inside
        if some(~inside) or some(missing):
            wide = plan.physics[op] * (1.0 + lesser(distance, 1.0))
            times = _outside(times, physics, inside, missing, plan.family[op], wide, floor_s)
            kind, shared = "propagated", 1.0
        columns = _columns(table.rows, times.value_s, times.lo_s, times.hi_s, *_energy(times, physics, rates))
        source = priced.costs.source  # a column of our own: its last reader
        source[...] = times.source
        numbers: Any = dict(zip(NUMERIC, (*columns, priced.costs.dram_bytes), strict=True))
        return OpCosts(
            **numbers, bound=priced.costs.bound, source=source, interval_kind=kind, shared_log_error=shared
        )  # fmt: skip

    def _factor(self, features: Array) -> Array:
        return np.asarray(np.exp(self.log_residual(features).astype(np.float64)))

    def distance(self, features: Array) -> Array:
        """Return how far each row lies outside the trained ranges: the worst ratio, as a part of its range."""
        lo, hi, per_range = self._range
        ratios = features[:, : len(RATIOS)]
        return np.asarray((np.maximum(lo - ratios, ratios - hi) * per_range).max(axis=1, initial=0.0))


def _unwrapped(costs: OpCosts) -> OpCosts:
    """Return the costs with scalars in place of columns of one row."""
    return OpCosts(*(getattr(costs, name)[0] for name in COLUMNS)) if costs.rows == 1 else costs


def _columns(rows: int, *values: Value) -> Iterable[Array]:
    """Return columns, also of values that are scalars for the one row."""
    return np.array(values)[:, None] if rows == 1 else values


@dataclass(frozen=True)
class _Times:
    """Latency with its interval in seconds, and the source codes."""

    value_s: Value
    lo_s: Value
    hi_s: Value
    source: Value


def _outside(
    learned: _Times, physics: OpCosts, inside: Value, missing: Value, family: Value, half: Value, floor: Value
) -> _Times:  # fmt: skip
    """Return times with the closed form where training does not reach, widened (by `half`) where it extrapolates.

    A learned row without a conformal width (too few rows) keeps the closed form's relative range about its value.
    """
    widened = np.exp(lesser(half, 5.0))
    farther = family & ~inside & np.isfinite(widened)
    lo, hi = physics.latency_lo_s, physics.latency_hi_s
    lo = choose(farther, lesser(larger(physics.latency_s / widened, floor), lo), lo)
    hi = choose(farther, larger(physics.latency_s * widened, hi), hi)
    ratio = learned.value_s / physics.latency_s
    own_lo = choose(missing, larger(physics.latency_lo_s * ratio, floor), learned.lo_s)
    own_hi = choose(missing, physics.latency_hi_s * ratio, learned.hi_s)
    value = choose(inside, learned.value_s, physics.latency_s)
    source = choose(inside, LEARNED, choose(family, EXTRAPOLATED, PHYSICS))
    return _Times(value, lesser(choose(inside, own_lo, lo), value), choose(inside, own_hi, hi), source)


def _energy(times: _Times, physics: OpCosts, rates: Rates) -> tuple[Value, Value, Value]:
    """Return energy (value, lo, hi) with the idle power of the corrected time, within the power limit."""
    idle, idle_lo, idle_hi = rates.idle_w
    limit = rates.limit_w
    value = lesser(physics.energy_j + idle * (times.value_s - physics.latency_s), limit * times.value_s)
    value = larger(value, idle_lo * times.value_s)
    lo = lesser(physics.energy_lo_j + idle_lo * (times.lo_s - physics.latency_lo_s), value)
    hi = physics.energy_hi_j + idle_hi * (times.hi_s - physics.latency_hi_s)
    hi = larger(lesser(hi, limit * times.hi_s), value)
    return value, larger(lo, lesser(idle_lo * times.lo_s, value)), hi


_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio (Knuth, The Art of Computer Programming 3, section 6.4)


def distinct(table: OpTable) -> tuple[OpTable, Array | None]:
    """Return (the different rows, the index of each row among them); (table, None) where nothing repeats.

    Rows are compared by a 64-bit hash of their columns and then checked, so that a collision cannot mix them up.
    """
    if table.rows <= FLAT_ROWS:
        return table, None
    columns = [column for name, column in table.columns.items() if column.ndim and name != "count"]
    if not columns:
        return table, None
    key = np.zeros(table.rows, dtype=np.uint64)
    for column in columns:
        key = (key ^ (key >> np.uint64(29)) ^ _bits(column)) * _MIX
    key ^= key >> np.uint64(32)
    _, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    if len(first) == table.rows:
        return table, None
    if not all(np.array_equal(column, column[first][inverse]) for column in columns):
        return table, None
    return table.take(first), inverse


def _bits(column: Array) -> Array:
    if column.dtype.itemsize == 8:
        return np.ascontiguousarray(column).view(np.uint64)
    return column.astype(np.uint64)
