"""`LearnedModel`: the closed form times a learned factor, bounded by what physics allows, with a calibrated interval.

A row of a measured kernel (operator, format, device, software) is priced by that device's own trees on log(measured /
physics), never below the physical floor. A device that training never saw, but that resembles those it saw, is priced
by a blend of their trees, weighted by resemblance, or by a few rows of its own (`costmodel.adaptation`). Rows outside
the ranges of training are `extrapolated`, by the learned factor or the closed form, whichever has the narrower
interval there; `physics` is the closed form for what is unlike anything measured. Intervals are split conformal (Vovk
et al. 2005; Lei et al. 2018) on the absolute log error over how hard the row is (`costmodel.difficulty`), by device,
operator family and third of the size range; those of a blend come from source devices left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from costmodel.anchors import anchored
from costmodel.collectives import Fabric
from costmodel.costs import COLUMNS, SOURCES, OpCosts
from costmodel.curves import BEYOND, COMPLETED, LINKS, PREFIX, Curves, completed_name, found_in, unseen_name
from costmodel.difficulty import FARTHEST, MEAN_OVER_HALF, forest_name, grown, inputs
from costmodel.features import GROUP_OF, LAYOUTS, Described, describe, floor_s
from costmodel.forest import Forest, xgboost_json
from costmodel.forms import formed
from costmodel.kin import NEAR_KIN
from costmodel.knowledge import PARTS, Intervals, Scope, Transfer, format_of, part_codes
from costmodel.physics import CHUNK, Priced, predict_physics, price
from costmodel.plans import Answer, Plan, as_bf16, planned
from costmodel.power import PowerModel
from costmodel.rates import Rates
from costmodel.tree_kernel import CompiledTrees, Walk, walker
from workloads.elementwise import Value, choose, larger, lesser, occurring, some, unwrapped
from workloads.table import OP_CODES, Array, OpTable
from workloads.work import FIELDS, OpWork

COLLECTIVE = OP_CODES[LINKS]
LEARNED, PHYSICS, EXTRAPOLATED = (SOURCES.index(name) for name in ("learned", "physics", "extrapolated"))
KINDS = ("conformal", "pseudo_target", "propagated")
"""What intervals rest on, the most trusted first; a table has the least trusted of its rows."""
FLAT_ROWS = 48
"""Up to here the flat trees are faster than a call of XGBoost (benchmarks/bench_learned.py)."""
DIFFERENT_ROWS = 128
"""Up to here rows are priced without a look for equal ones, which takes as long (estimated, 50 to 200)."""
COMPILED_ROWS = 50_000
"""Rows of one forest, of all questions together, from which compiled trees are faster: numba's loops (2 s to compile,
once a machine, then 1 us a row in place of 6), else XGBoost (0.3 s to read a forest, then 3 us a row less). estimated,
20,000 to 100,000. All give the same bits, so that no answer depends on what was asked before."""
FLAT_CHUNK = 1024
"""Rows of a piece whose places in the flat trees stay in the processor's caches (estimated, 500 to 4,000)."""
TOLERANCE = 0.05
"""How far outside the trained range a ratio may lie, as a part of that range (estimated, 0 to 0.1)."""
UNKNOWN = np.float64(np.nan)
WIDEST = np.float64(5.0)
"""Largest half width of an interval in log time (a factor of 150)."""
MOST_PLANS = 256
"""Devices (and what-ifs of them) whose lookups are remembered."""


@dataclass(frozen=True)
class LearnedModel:
    """A `CostModel`: physics, a learned factor, and calibrated intervals. Load one with `costmodel.artefact`.

    `rates_digests` are those of the devices as training priced them; a device whose figures differ is extrapolated.
    """

    forest: Forest
    scope: Scope
    intervals: Intervals
    transfer: Transfer
    shared_log_error: float
    rates_digests: dict[str, str]
    name: str = "learned"
    version: str = "1"
    power: PowerModel | None = None
    _boosters: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def predict(self, table: OpTable, rates: Rates, fabric: Fabric | None = None, *, software: str = "") -> OpCosts:
        """Return the cost of one instance of every row on one device; equal rows are priced once."""
        plan = self._plan(rates, software)
        known = bool(plan.answers) or bool(plan.family.any()) or self.knows_power(rates)
        if not known and not self._links_like(rates, fabric):
            return predict_physics(table, rates, fabric)
        small, inverse = distinct(as_bf16(table) if plan.halves else table)
        if small.rows <= CHUNK:
            costs = self._priced(unwrapped(small), rates, fabric, plan)
        else:
            pieces = (small.take(slice(i, i + CHUNK)) for i in range(0, small.rows, CHUNK))
            parts = [self._priced(unwrapped(piece), rates, fabric, plan) for piece in pieces]
            kind = max((part.interval_kind for part in parts), key=KINDS.index)
            shared = max(part.shared_log_error for part in parts)
            costs = replace(OpCosts.concat(parts), interval_kind=kind, shared_log_error=shared)
        return costs if inverse is None else costs.take(inverse)

    def knows_power(self, rates: Rates) -> bool:
        """Say whether energy on a device rests on board power that was measured on it."""
        return self.power is not None and self.power.digests.get(rates.device) == rates.digest()

    def log_factor(self, name: str, features: Array) -> Array:
        """Return log(measured / physics) as one model predicts it (features: float32, C order)."""
        if name in self.forest.tables:
            return formed(self.forest.tables[name], features, name.split("/", 1)[1])
        trees = self.forest.trees(name)
        if (walk := self._walk(name, len(features))) is not None and trees.depth:
            found = self._compiled_trees(name).predict(np.ascontiguousarray(features, dtype=np.float32), walk)
        elif len(features) <= FLAT_ROWS:
            found = trees.predict(features)
        elif self._seen.get(name, 0) > COMPILED_ROWS or name in self._boosters:
            found = self._booster(name).inplace_predict(features)
        else:
            pieces = [trees.predict(features[i : i + FLAT_CHUNK]) for i in range(0, len(features), FLAT_CHUNK)]
            found = np.concatenate(pieces)
        return np.asarray(found if trees.anchor is None else found + anchored(trees.anchor, features, name))

    def blended(self, answer: Answer, features: Array) -> tuple[Array, Array | float]:
        """Return the log factor of an answer (its models' weighted sum), and how far the models are apart (rms)."""
        if len(answer.models) == 1 and answer.weights[0] == 1.0:
            return self.log_factor(answer.models[0], features), 0.0
        found, squares = np.zeros(len(features)), np.zeros(len(features))
        whole = sum(answer.weights)  # what it lacks of 1 is the closed form's
        for name, weight in zip(answer.models, answer.weights, strict=True):
            said, part = self.log_factor(name, features), weight / (whole or 1.0)
            found, squares = found + part * said, squares + part * said.astype(np.float64) ** 2
        return whole * found, abs(whole) * np.sqrt(np.maximum(squares - found**2, 0.0))

    def difficulty(
        self, table: OpTable, rates: Rates, fabric: Fabric | None = None, *, software: str = ""
    ) -> Array:  # fmt: skip
        """Return the |log error| of latency to expect of each row's answer, shape (rows,)."""
        plan, found = self._plan(rates, software), np.empty(table.rows)
        for start in range(0, table.rows, CHUNK):
            piece = unwrapped(table.take(slice(start, start + CHUNK)))
            priced, codes = price(piece, rates, fabric), part_codes(piece)
            for code in occurring(codes):
                where = np.flatnonzero(np.broadcast_to(codes == code, piece.rows))
                some = unwrapped(piece.take(where))
                found[start + where] = self._expected(some, rates, _taken(priced, where), plan, int(code), fabric)
        return found

    def _expected(
        self, table: OpTable, rates: Rates, priced: Priced, plan: Plan, code: int, fabric: Fabric | None
    ) -> Value:  # fmt: skip
        """Return the |log error| to expect of rows that one answer serves."""
        op, answer, physics = code // (4 * PARTS), plan.answer(code, fabric), priced.plain
        linked = self._linked(table, rates, priced, plan, code, fabric) if op == COLLECTIVE else None
        if linked is not None:
            times = linked[0]
        elif answer is None:
            times = _outside(physics, plan.physics[op], 1.0, bool(plan.family[op]), physics.latency_lo_s)
        else:
            seen = describe(table, priced, rates, GROUP_OF[op], answer.software or plan.software, fabric)
            times = self._times(table, priced, plan, answer, seen, op)[0]
        with np.errstate(invalid="ignore"):  # what cannot be priced takes for ever, and so does its bound
            of_interval = MEAN_OVER_HALF * np.log(times.hi_s / times.value_s)
        return np.where(np.isnan(times.hard), of_interval, times.hard)

    @cached_property
    def curves(self) -> Curves:
        """The curves of collectives."""
        return Curves({name: table for name, table in self.forest.tables.items() if name.startswith(PREFIX)})

    def _links_like(self, rates: Rates, fabric: Fabric | None) -> bool:
        """Say whether curves of other devices may speak for this one's links."""
        return fabric is not None and bool(self.curves.tables) and rates.kind in self.transfer.kinds.values()

    def _linked(
        self, table: OpTable, rates: Rates, priced: Priced, plan: Plan, code: int, fabric: Fabric | None
    ) -> tuple[_Times, str, float] | None:  # fmt: skip
        """Return times of collectives by curves, the kind of their interval, and the share of its error; None without.

        Curves of the device itself serve; those of links like its own where it was measured with other links, another
        format, or not at all. Beyond the measured ranks or sizes the answer is `extrapolated`.
        """
        answer, kind, shared = plan.answer(code, fabric), "conformal", self.shared_log_error
        names = f"{rates.device}/{LINKS}", completed_name(rates.device)
        if fabric is None:
            return None
        if answer is not None:
            curves = self.curves.of(rates.device, answer.software, format_of(code))
        elif not self._links_like(rates, fabric) or (rates.device in self.scope.devices and not plan.answers):
            return None  # of another kind, or with other figures than those that were measured
        else:
            curves, kind, shared = self.curves.like(fabric, plan.software, format_of(code)), "pseudo_target", 1.0
            names = (unseen_name(fabric.switched),) * 2
        if curves is None:
            return None
        physics, floor = priced.plain, floor_s(priced.stages, rates)
        floor = floor[0] if isinstance(floor, np.ndarray) and floor.shape == (1,) else floor
        own, other = (self._widths(name) for name in names)
        found = found_in(curves, table, np.log(physics.latency_s), (own, other))
        near = found.rests <= COMPLETED
        closed_half = self.intervals.physics.get(names[0], np.nan)
        latency = larger(physics.latency_s * np.exp(found.log_factor), floor)
        half = lesser(choose(near, found.half, np.float64(closed_half)), WIDEST)
        source = choose(near, np.int8(LEARNED), np.int8(EXTRAPOLATED))
        times, missing = _about(latency, half, physics, floor, source)
        far = ~near & ((found.rests != BEYOND) | (table["ranks"] > fabric.node_size))
        if some(far):
            times = _chosen(far, _outside(physics, closed_half, 1.0, True, floor), times)
        if missing or some(~near):
            kind, shared = "propagated", 1.0
        return times, kind, shared

    def _widths(self, name: str) -> tuple[tuple[float, float], Array]:
        return self.intervals.cuts.get(name, (0.0, 0.0)), np.array(self.intervals.half.get(name, (np.nan,) * 3))

    @cached_property
    def _seen(self) -> dict[str, int]:
        return {}

    def warmed(self) -> LearnedModel:
        """Return the model with its trees ready for many rows: with numba they run in compiled loops from now on."""
        self._walks[:] = [walker()]
        return self

    @cached_property
    def _walks(self) -> list[Walk | None]:
        """The compiled loops, once they are worth their compilation (None: numba is absent)."""
        return []

    def _walk(self, name: str, rows: int) -> Walk | None:
        """Return the compiled loops where they are in use; rows are counted until then."""
        if not self._walks:
            seen = self._seen[name] = self._seen.get(name, 0) + rows
            if seen <= COMPILED_ROWS:
                return None
            self.warmed()
        elif self._walks[0] is None:
            self._seen[name] = self._seen.get(name, 0) + rows
        return self._walks[0]

    def _compiled_trees(self, name: str) -> CompiledTrees:
        found = self._heaps.get(name)
        if found is None:
            found = self._heaps[name] = CompiledTrees(self.forest.trees(name))
        return found

    @cached_property
    def _heaps(self) -> dict[str, CompiledTrees]:
        return {}

    def _booster(self, name: str) -> Any:
        booster = self._boosters.get(name)
        if booster is None:
            import xgboost

            booster = xgboost.Booster()
            booster.load_model(bytearray(xgboost_json(self.forest.trees(name))))
            booster.set_param({"nthread": 1})  # starting threads costs more than they save on a chunk
            self._boosters[name] = booster
        return booster

    @cached_property
    def _plans(self) -> dict[tuple[int, str], tuple[Rates, Plan]]:
        return {}

    def _plan(self, rates: Rates, software: str) -> Plan:
        """Return how each kind of operator is answered on a device."""
        key = (id(rates), software)
        found = self._plans.get(key)
        if found is None:
            if len(self._plans) >= MOST_PLANS:
                self._plans.clear()
            plan = planned(self.scope, self.intervals, self.transfer, self.rates_digests, rates, software)
            # beside the plan stand the rates, so that their id is not given to others while it serves as a key
            found = self._plans[key] = (rates, plan)
        return found[1]

    def _priced(self, table: OpTable, rates: Rates, fabric: Fabric | None, plan: Plan) -> OpCosts:
        """Return the closed form's costs corrected by the learned factor where it applies."""
        priced = price(table, rates, fabric)
        codes = part_codes(table)
        if isinstance(codes, int):
            return self._correct(table, rates, priced, plan, codes, fabric)
        present = occurring(codes)
        parts, order = [], []
        for code in present:
            where = np.flatnonzero(codes == code)
            order.append(where)
            parts.append(self._correct(table.take(where), rates, _taken(priced, where), plan, int(code), fabric))
        kind = max((part.interval_kind for part in parts), key=KINDS.index)
        shared = max(part.shared_log_error for part in parts)
        back = np.argsort(np.concatenate(order), kind="stable")
        return replace(OpCosts.concat(parts).take(back), interval_kind=kind, shared_log_error=shared)

    def _correct(
        self, table: OpTable, rates: Rates, priced: Priced, plan: Plan, code: int, fabric: Fabric | None
    ) -> OpCosts:  # fmt: skip
        """Return the costs of rows that one answer serves."""
        table, physics, op = unwrapped(table), priced.plain, code // (4 * PARTS)
        linked = self._linked(table, rates, priced, plan, code, fabric) if op == COLLECTIVE else None
        if linked is not None:
            energy = self._energy(table, rates, priced, linked[0], op, plan.software)
            return _costs(table.rows, linked[0], energy, priced, *linked[1:])
        answer = plan.answer(code, fabric) if op != COLLECTIVE else None
        software = answer.software or plan.software if answer is not None else plan.software
        if answer is None and not plan.family[op]:
            if self.power is None or not self.power.knows(rates, op):
                return priced.costs
            plain = _Times(
                physics.latency_s, physics.latency_lo_s, physics.latency_hi_s, np.int8(PHYSICS), UNKNOWN
            )  # fmt: skip
            energy = self._energy(table, rates, priced, plain, op, software)
            return _costs(table.rows, plain, energy, priced, "propagated", 1.0)
        seen = describe(table, priced, rates, GROUP_OF[op], software, fabric)
        if answer is None:
            floor = seen.floor_s[0] if table.rows == 1 else seen.floor_s
            times = _outside(physics, plan.physics[op], 1.0, bool(plan.family[op]), floor)
            energy = self._energy(table, rates, priced, times, op, software)
            return _costs(table.rows, times, energy, priced, "propagated", 1.0)
        return self._answered(table, rates, priced, plan, answer, seen, op)

    def _energy(
        self, table: OpTable, rates: Rates, priced: Priced, times: _Times, op: int, software: str
    ) -> tuple[Value, Value, Value]:
        """Return energy (value, lo, hi): from measured board power where that of the operator is known."""
        power = self.power
        if power is None or not power.knows(rates, op) or not np.isfinite(times.hi_s).all():
            return _energy(times, priced.plain, rates)
        ends = (times.value_s, times.lo_s, times.hi_s)
        return power.energy_of_kind(table, priced.work, priced.stages, rates, ends, op, software)

    def _answered(
        self, table: OpTable, rates: Rates, priced: Priced, plan: Plan, answer: Answer, seen: Described, op: int
    ) -> OpCosts:  # fmt: skip
        """Return the costs of rows that have a learned answer."""
        times, kind, shared = self._times(table, priced, plan, answer, seen, op)
        energy = self._energy(table, rates, priced, times, op, answer.software or plan.software)
        return _costs(table.rows, times, energy, priced, kind, shared)

    def _times(
        self, table: OpTable, priced: Priced, plan: Plan, answer: Answer, seen: Described, op: int
    ) -> tuple[_Times, str, float]:  # fmt: skip
        """Return times of rows that have a learned answer, the kind of their interval, and the share of its error."""
        physics = priced.plain
        features = np.ascontiguousarray(seen.matrix)
        log_size = np.log(physics.latency_s)
        third = 1 * (log_size > answer.cuts[0]) + (log_size > answer.cuts[1])
        log_factor, apart = self.blended(answer, features)
        hard: Value = self._hard(answer, features, log_factor, apart, GROUP_OF[op])
        log_factor = log_factor.astype(np.float64)
        if answer.adapted is not None:
            log_factor = log_factor + answer.adapted.shift(features, GROUP_OF[op])
        factor, distance = np.exp(log_factor), answer.distance(features[:, : LAYOUTS[GROUP_OF[op]].ranged])
        floor_s = seen.floor_s
        if table.rows == 1:
            distance, factor, floor_s = distance[0], factor[0], floor_s[0]
            hard = hard if hard is None else hard[0]
        inside = (distance <= TOLERANCE) & (physics.latency_s < np.inf)
        all_inside = bool(inside.all() if isinstance(inside, np.ndarray) else inside)
        latency = larger(physics.latency_s * factor, floor_s)
        half = answer.half[third] if hard is None else answer.half[third] * hard
        if some(distance):  # also of rows that count as inside: no row's width may depend on the rows beside it
            half, hard = half * grown(distance), None if hard is None else hard * grown(distance)
        half = lesser(half, WIDEST)
        spread = np.exp(half)
        lo, hi = lesser(larger(latency / spread, floor_s), latency), latency * spread
        kind, shared = answer.kind, self.shared_log_error if answer.kind == "conformal" else 1.0
        missing = np.isnan(half)
        if some(missing):  # too few rows for a width: the closed form's relative range about the learned value
            ratio = latency / physics.latency_s
            lo = choose(missing, lesser(larger(physics.latency_lo_s * ratio, floor_s), latency), lo)
            hi = choose(missing, physics.latency_hi_s * ratio, hi)
            kind, shared = "propagated", 1.0
        hard = UNKNOWN if hard is None else hard
        far = answer.away > NEAR_KIN and answer.adapted is None
        times = _Times(latency, lo, hi, np.int8(EXTRAPOLATED if far else LEARNED), hard)
        if not all_inside:
            known = bool(plan.family[op])
            closed = _outside(physics, plan.physics[op], distance, known, floor_s)
            near = (distance <= FARTHEST) & (half <= plan.physics[op]) & (physics.latency_s < np.inf)
            beyond = _Times(latency, lo, hi, np.int8(EXTRAPOLATED), hard)
            times = _chosen(inside, times, _chosen(near, beyond, closed))
            kind, shared = "propagated", 1.0
        return times, kind, shared

    def _hard(
        self, answer: Answer, features: Array, log_factor: Array, apart: Array | float, group: str
    ) -> Array | None:  # fmt: skip
        """Return the |log error| to expect of rows inside the trained ranges; None where no forest tells."""
        kin = answer.kind != "conformal"
        name = forest_name(group, kin)
        if answer.adapted is not None or name not in self.forest:
            return None
        columns = (log_factor, apart, answer.away) if kin else (log_factor,)
        return np.asarray(np.exp(self.log_factor(name, inputs(features, *columns))), dtype=np.float64)


def _taken(priced: Priced, where: Array) -> Priced:
    """Return the priced rows at `where`; what is one value for all rows stays so."""
    rows = priced.costs.rows

    def pick(value: Any) -> Any:
        return value[at] if isinstance(value, np.ndarray) and value.shape == (rows,) else value

    at = int(where[0]) if len(where) == 1 else where

    work = OpWork(**{name: pick(getattr(priced.work, name)) for name in FIELDS})
    names = type(priced.stages).__dataclass_fields__
    stages = type(priced.stages)(**{name: pick(getattr(priced.stages, name)) for name in names})
    return Priced(work, stages, OpCosts(*(pick(getattr(priced.plain, name)) for name in COLUMNS)))


@dataclass(frozen=True)
class _Times:
    """Latency with its interval in seconds, the source codes, and the |log error| to expect (NaN: see the interval)."""

    value_s: Value
    lo_s: Value
    hi_s: Value
    source: Value
    hard: Value


def _costs(
    rows: int, times: _Times, energy: tuple[Value, Value, Value], priced: Priced, kind: str, shared: float
) -> OpCosts:  # fmt: skip
    plain = priced.plain
    if rows == 1:
        columns: Any = np.array((times.value_s, times.lo_s, times.hi_s, *energy, plain.dram_bytes))[:, None]
        codes: Any = np.array(((plain.bound,), (times.source,)), dtype=np.int8)
        kinds: Any = (kind, shared)
        return OpCosts(*columns, *codes, *kinds)
    source = plain.source  # a column of our own: its last reader
    source[...] = times.source
    return OpCosts(times.value_s, times.lo_s, times.hi_s, *energy, plain.dram_bytes, plain.bound, source, kind, shared)


def _about(
    latency: Value, half: Value, physics: OpCosts, floor: Value, source: Value
) -> tuple[_Times, bool]:  # fmt: skip
    """Return times with half widths of the log error, and whether some had none: the closed form's range serves."""
    spread = np.exp(half)
    lo, hi = lesser(larger(latency / spread, floor), latency), latency * spread
    missing = np.isnan(half)
    if not some(missing):
        return _Times(latency, lo, hi, source, UNKNOWN), False
    ratio = latency / physics.latency_s
    lo = choose(missing, lesser(larger(physics.latency_lo_s * ratio, floor), latency), lo)
    hi = choose(missing, physics.latency_hi_s * ratio, hi)
    return _Times(latency, lo, hi, source, UNKNOWN), True


def _outside(physics: OpCosts, half: float, distance: Value, known: bool, floor: Value) -> _Times:
    """Return the closed form's times, widened to (more than) its own errors on measured rows of the family."""
    lo, hi = physics.latency_lo_s, physics.latency_hi_s
    if known and np.isfinite(half):
        widened = np.exp(lesser(half * (1.0 + lesser(np.float64(1.0) * distance, np.float64(1.0))), np.float64(5.0)))
        lo = lesser(larger(physics.latency_s / widened, floor), lo)
        hi = larger(physics.latency_s * widened, hi)
    source = np.int8(EXTRAPOLATED if known else PHYSICS)
    return _Times(physics.latency_s, lesser(lo, physics.latency_s), hi, source, UNKNOWN)


def _chosen(condition: Value, a: _Times, b: _Times) -> _Times:
    names = ("value_s", "lo_s", "hi_s", "source", "hard")
    return _Times(*(choose(condition, getattr(a, name), getattr(b, name)) for name in names))


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
    if table.rows <= DIFFERENT_ROWS:
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
