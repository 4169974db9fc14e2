"""What GPUs draw while they serve, as measured: it replaces the joules of operators in step costs.

Operators alone say half of what boards draw while they serve at most. `costmodel.served_power`, fitted to measured
deployments, says the watts of a device from how busy a step keeps it. Each part of a step burns watts x its time:

    work, sampling, chunks of prompts    the watts of a step of so many tokens that attends to nothing
    decode attention                     what that leaves of the watts of all decodes at that context x their time

so steps stay exactly additive, and a step of decodes alone burns its watts x its time. In every part watts lie between
the idle power and the limit of a device. What is no GPU keeps the joules of its operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from costmodel.physics import predict_physics
from costmodel.served_power import ServedPower, shipped_served_power
from costmodel.served_work import PARTS, as_routed, busy_signs
from costmodel.stack import framework
from foundation.errors import ArchcastError
from hardware_specs import DeviceSpec, load_device
from simulator.serving.pricing import ATTENTION, Engine
from simulator.serving.profile import ENERGIES, TIMES, Place, Profile
from simulator.serving.step_costs import StepCosts, Table
from workloads.lowering import lower
from workloads.table import OP_CODES, Array, OpTable

GPU = "gpu"
MEASURED_DEVICES, MEASURED_STACKS = ("h100-sxm",), ("", "vllm")
"""Where watts were measured; a stack that is not named counts as one of them."""
WIDER = 2.0
"""Elsewhere half widths of intervals, in logarithms, are so many times as wide (estimated, 1 to 3)."""
NOTE = (
    "Power of served steps follows measurements on H100 with vLLM (ML.ENERGY); other devices and stacks are less "
    "certain, so their intervals are wider."
)
TOKENS: Array = np.array([1, 4, 16, 64, 256, 1024, 4096, 16384])
"""Tokens of a step at which what it keeps busy is counted, linear between them and beyond."""
CONTEXTS: Array = np.array([1, 256, 1024, 4096, 16384, 131072])
"""Tokens that a request attends to, likewise."""
_COLLECTIVES: Array = np.array([code for name, code in OP_CODES.items() if name == "collective"])


@dataclass(frozen=True)
class Busy:
    """What steps of engines keep busy, as seconds at the peaks of a device.

    dram_s, flop_s, uneven, narrow: (engines, `TOKENS`), of steps that attend to one token each; cached_dram_s,
    cached_flop_s: (engines, `CONTEXTS`), of one request's attention. routed, ranks, wider: (engines,). powered: whether
    watts are known. nominal_w is the limit that the device is made with, limit_w the one that it keeps; idle_w
    (engines, 3). model: says watts (None: the one that ships).
    """

    dram_s: Array
    flop_s: Array
    uneven: Array
    narrow: Array
    cached_dram_s: Array
    cached_flop_s: Array
    routed: Array
    ranks: Array
    wider: Array
    powered: Array
    nominal_w: Array
    limit_w: Array
    idle_w: Array
    model: ServedPower | None = None

    def watts(self, tokens: Array, contexts: Array | None, seconds: Array) -> Array:
        """Return watts (value, lo, hi) of one device, shape (engines, tokens, contexts, 3).

        Args:
            tokens: of a step, shape (tokens,). contexts: that all its requests attend to (None: work alone).
            seconds: that the step takes, shape (engines, tokens, contexts).
        """
        place = Place.on(TOKENS, np.maximum(tokens, 1))
        dram, flop, uneven, narrow = (
            np.broadcast_to(_between(column, place)[:, :, None], seconds.shape)
            for column in (self.dram_s, self.flop_s, self.uneven, self.narrow)
        )
        if contexts is not None:
            many, cached = np.asarray(tokens, float)[:, None], Place.on(CONTEXTS, contexts)
            dram = dram + many * _between(self.cached_dram_s, cached)[:, None]
            flop = flop + many * _between(self.cached_flop_s, cached)[:, None]
        whole = seconds.shape

        def each(column: Array) -> Array:
            return np.broadcast_to(column[:, None, None], whole).ravel()

        batch = np.broadcast_to(np.maximum(tokens, 1.0)[:, None], whole).ravel()
        nothing = np.zeros(batch.shape)
        work = {
            f"{PARTS[0]}_dram_s": dram.ravel(), f"{PARTS[0]}_flop_s": flop.ravel(), f"{PARTS[1]}_dram_s": nothing,
            f"{PARTS[1]}_flop_s": nothing, "batch": batch, "ranks": each(self.ranks), "uneven": uneven.ravel(),
            "expert_layers": each(self.routed), "narrow": narrow.ravel(), "idle_w": each(self.idle_w[:, 0]),
            "limit_w": each(self.nominal_w),
        }  # fmt: skip
        step_s = np.maximum(seconds.ravel(), 1e-12)
        ends = (self.model or shipped_served_power()).device_ends_w(work, step_s, each(self.wider))
        found = np.stack(ends, axis=-1).reshape(*whole, 3)
        limit = np.maximum(self.limit_w, self.idle_w.max(axis=1))[:, None, None, None]
        return np.asarray(np.clip(found, self.idle_w[:, None, None], limit))


def _between(table: Array, place: Place) -> Array:
    """Return a table (engines, points) at places, never below 0 (beyond the last point: its slope)."""
    low, high = table[:, place.index], table[:, place.index + 1]
    return np.asarray(np.maximum(low * (1.0 - place.share) + high * place.share, 0.0))


def busy_of(engines: Sequence[Engine], model: ServedPower | None = None) -> Busy:
    """Return what steps of engines keep busy, in one pass over the operators of each device.

    model: says watts (None: the one that ships).

    Raises:
        BadValueError: a model that does not generate tokens. MappingError: a mapping that a model cannot have.
    """
    points = len(TOKENS) + len(CONTEXTS)
    columns = {name: np.zeros((len(engines), points)) for name in ("dram_s", "flop_s", "uneven", "narrow")}
    routed = np.zeros(len(engines))
    lowered: dict[object, tuple[OpTable, Array]] = {}
    groups: dict[int, list[int]] = {}
    for i, engine in enumerate(engines):
        if engine.rates.kind == GPU:
            groups.setdefault(id(engine.rates), []).append(i)
    for members in groups.values():
        rates = engines[members[0]].rates
        parts = [_rows(engines[i], lowered) for i in members]
        table = as_routed(OpTable.concat([rows for rows, _ in parts]))
        owner = np.concatenate([mine + k * points for k, (_, mine) in enumerate(parts)])
        closed = predict_physics(table, rates)
        found = busy_signs(table, table.full("count"), owner, rates, closed.dram_bytes, len(members) * points)
        for name, column in columns.items():
            column[members] = found[name].reshape(-1, points)
        routed[members] = found["expert_layers"].reshape(-1, points)[:, 0]
    split = len(TOKENS)
    rates_of = [engine.rates for engine in engines]
    limit = np.array([rates.limit_w for rates in rates_of])
    made_for = np.array([_made_for_w(engine.spec.id) if engine.rates.kind == GPU else 0.0 for engine in engines])
    return Busy(
        **{name: column[:, :split] for name, column in columns.items()}, cached_dram_s=columns["dram_s"][:, split:],
        cached_flop_s=columns["flop_s"][:, split:], routed=routed,
        ranks=np.array([float(engine.mapping.tp) for engine in engines]),
        wider=np.array([1.0 if is_measured(engine) else WIDER for engine in engines]),
        powered=np.array([rates.kind == GPU for rates in rates_of]), nominal_w=np.maximum(limit, made_for),
        limit_w=limit, idle_w=np.array([rates.idle_w for rates in rates_of]), model=model,
    )  # fmt: skip


def _rows(engine: Engine, known: dict[object, tuple[OpTable, Array]]) -> tuple[OpTable, Array]:
    """Return the operators of steps of `TOKENS` decodes, then of attention at `CONTEXTS`, and which step each is of.

    Collectives are left out: watts do not depend on them.
    """
    key = (id(engine.model), engine.dtype, engine.kv_dtype, engine.mapping)
    if key not in known:
        split = len(TOKENS)
        batch = np.concatenate([TOKENS, np.ones_like(CONTEXTS)])
        run, owner = engine.run("decode", batch, np.concatenate([np.ones_like(TOKENS), np.maximum(CONTEXTS - 1, 1)]))
        found = lower([run], engine.mapping)
        op, step = found.table.full("op"), owner[found.scenario]
        keep = (found.table.full("count") > 0) & ~np.isin(op, _COLLECTIVES)
        rows = np.flatnonzero(keep & ((step < split) | np.isin(op, ATTENTION)))
        known[key] = OpTable(len(rows), found.table.take(rows).columns), step[rows]
    return known[key]


@lru_cache(maxsize=1024)
def _made_for_w(device: str) -> float:
    """Return the limit of a device of the catalogue as it is made, W: a cap does not lower what work would draw."""
    try:
        spec: DeviceSpec = load_device(device)
    except ArchcastError:
        return 0.0
    return float(spec.power.limit_w.value)


def is_measured(engine: Engine) -> bool:
    """Return whether watts were measured on this device and stack."""
    return engine.spec.id in MEASURED_DEVICES and framework(engine.mapping.software) in MEASURED_STACKS


def power_notes(engines: Sequence[Engine]) -> tuple[str, ...]:
    """Return what the reader of an answer must know of the power of these engines: one sentence, or none."""
    return (NOTE,) if any(engine.rates.kind == GPU for engine in engines) else ()


def with_served_power(
    profile: Profile, engines: Engine | Sequence[Engine], step_factor: Array | float = 1.0, busy: Busy | None = None
) -> Profile:  # fmt: skip
    """Return the profile with the joules that boards of GPUs draw in its steps; others keep theirs.

    Args:
        engines: those of the profile, in its order.
        step_factor: how many times as long the stack lets steps take, of all engines or of each. Joules are those of
            these steps; times stay as they are, for the caller to multiply.
        busy: `busy_of` the engines, where the caller has it.

    Raises:
        BadValueError: a model that does not generate tokens.
    """
    several = [engines] if isinstance(engines, Engine) else list(engines)
    busy, axes = busy_of(several) if busy is None else busy, profile.axes
    if not busy.powered.any():
        return profile
    tables: dict[str, Array] = {name: getattr(profile, name) for name in _PARTS}
    factor = np.broadcast_to(np.asarray(step_factor, float), (len(several),))

    def taken(table: Array) -> Array:
        return np.asarray(table[..., TIMES] * factor.reshape(-1, *(1,) * (table.ndim - 1)))

    joules = _joules(
        busy, Table(**{name: taken(table) for name, table in tables.items()}),
        Table(**{name: table[..., ENERGIES] for name, table in tables.items()}),
        axes.tokens, axes.decodes, axes.decodes, axes.contexts, axes.chunks,
    )  # fmt: skip
    both = {name: np.concatenate([table[..., TIMES], getattr(joules, name)], axis=-1) for name, table in tables.items()}
    return replace(profile, **both)  # type: ignore[arg-type]


def costs_with_power(costs: StepCosts, engine: Engine, busy: Busy | None = None, level: int = 0) -> StepCosts:
    """Return step costs of an engine with the joules that its boards draw; what is no GPU keeps its own.

    Args:
        busy: `busy_of([engine])` where the caller has it. level: 0 for the value, 1 and 2 for the ends of watts.
    """
    busy = busy_of([engine]) if busy is None else busy
    if not busy.powered[0]:
        return costs
    time = Table(*(np.asarray(getattr(costs.time, name), float)[None, ..., None] for name in _PARTS))
    old = Table(*(np.asarray(getattr(costs.energy, name), float)[None, ..., None] for name in _PARTS))
    found = _joules(
        busy, time, old, np.arange(time.work.shape[1]), np.arange(time.sampling.shape[1]),
        np.arange(time.decode.shape[1]), costs.contexts, costs.chunks, level,
    )  # fmt: skip
    energy = Table(*(getattr(found, name)[0, ..., 0] for name in _PARTS))
    return StepCosts(costs.time, energy, costs.contexts, costs.chunks, costs.before)


_PARTS = tuple(Table.__dataclass_fields__)


def _joules(
    busy: Busy, time: Table, old: Table, tokens: Array, outputs: Array, decodes: Array, contexts: Array,
    chunks: Array, level: int | None = None,
) -> Table:  # fmt: skip
    """Return joules of tables (engines, ..., ends) of seconds: watts x seconds, with the old ones of what is no GPU.

    Args:
        tokens, outputs, decodes, contexts, chunks: where the tables have entries.
        level: which end of watts the one column of the tables is (None: it has a column for each).
    """
    ends = slice(None) if level is None else slice(level, level + 1)
    plain = busy.watts(tokens, None, time.work[:, :, :1])[:, :, 0, ends]

    work = plain * time.work
    sampling = _inside(plain, tokens, outputs) * time.sampling
    alone_s, alone = (
        _inside(first, tokens, decodes) + _inside(second, outputs, decodes)
        for first, second in ((time.work, time.sampling), (work, sampling))
    )
    steps_s = alone_s[:, :, None] + time.decode
    watts = busy.watts(decodes, contexts, steps_s[..., 0])[..., ends]
    idle = busy.idle_w[:, None, None, ends]
    most = np.maximum(busy.limit_w, busy.idle_w.max(axis=1))[:, None, None, None] * time.decode
    decode = np.clip(watts * steps_s - alone[:, :, None], idle * time.decode, most)
    decode = np.maximum.accumulate(decode, axis=2)  # more tokens never burn less
    chunk = _inside(plain, tokens, chunks)[:, :, None] * time.chunk
    made = Table(work, sampling, decode, chunk)

    def kept(name: str) -> Array:
        new: Array = getattr(made, name)
        return np.where(busy.powered.reshape(-1, *(1,) * (new.ndim - 1)), new, getattr(old, name))

    return Table(*(kept(name) for name in _PARTS))


def _inside(table: Array, axis: Array, points: Array) -> Array:
    """Return a table (engines, axis, ends) at points, those beyond the axis at its ends."""
    place = Place.on(axis, np.clip(points, axis[0], axis[-1]))
    share, upper = place.share[:, None], np.minimum(place.index + 1, len(axis) - 1)
    return np.asarray(table[:, place.index] * (1 - share) + table[:, upper] * share)
