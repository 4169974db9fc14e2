"""What is simulated: pools of engines with their step costs, who asks, and how it is measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from costmodel.costs import SOURCES, OpCosts
from costmodel.estimate import shares
from costmodel.stack import PLAIN, Stack, stack_of
from foundation.errors import BadValueError
from simulator.serving.kv_blocks import kv_bytes_per_token, not_kv_bytes
from simulator.serving.policy import Policy
from simulator.serving.power import busy_of, costs_with_power
from simulator.serving.pricing import HOST_S, Engine, step_costs
from simulator.serving.step_costs import StepCosts
from simulator.streams import DEFAULT_SEED, RandomStreams
from workloads.lowering import lower
from workloads.table import OpTable
from workloads.traffic import Traffic

LEVELS = ("value", "lo", "hi")
ENDLESS_BLOCKS = 10**9


@dataclass(frozen=True)
class Room:
    """Memory of the fullest device, bytes: what is held beside the KV cache, and what is left for it.

    `blocks` are those of one engine, `allocated_bytes` what they (or at least the shortest request) take on the device;
    `shortfall_bytes` is what is missing for the shortest request (0: it fits).
    """

    capacity_bytes: float
    held_bytes: Mapping[str, float]
    kv_bytes: float
    token_bytes: float
    blocks: int
    allocated_bytes: float = 0.0
    shortfall_bytes: float = 0.0

    def to_json(self) -> dict[str, Any]:
        doc = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "held_bytes"}
        return {**doc, "held_bytes": dict(self.held_bytes)}


def room_of(engine: Engine, policy: Policy, share: float, shortest: int, blocks: int | None = None) -> Room:
    """Return the KV blocks of one engine: what a share of the device's memory leaves (`kv_blocks`).

    A token's bytes are those of the fullest device. `blocks` replaces the count where it is given: then only what else
    is held must fit. Data-parallel ranks have blocks of their own; pipeline lanes share those of their devices.
    """
    held = not_kv_bytes(engine, policy.most_tokens, policy.most_requests)
    capacity = engine.spec.dram.capacity_bytes.value
    loose = share * capacity - sum(held.values())
    try:
        token = kv_bytes_per_token(engine)
    except BadValueError:  # nothing grows with the context: blocks are never short
        return Room(capacity, held, max(loose, 0.0), 0.0, ENDLESS_BLOCKS * engine.mapping.dp, 0.0, max(-loose, 0.0))
    block_bytes, ranks = token * policy.block_tokens, engine.mapping.dp
    least = -(-shortest // policy.block_tokens) * engine.mapping.pp  # each lane of a rank can hold the request
    found = int(max(loose, 0.0) / block_bytes) if blocks is None else blocks // ranks
    missing = max((least if blocks is None else 0) * block_bytes - loose, 0.0)
    if missing == 0.0 and found < least:  # the blocks that were asked for are too few
        missing = (least - found) * block_bytes
    return Room(capacity, held, max(loose, 0.0), token, found * ranks, max(found, least) * block_bytes, missing)


@dataclass(frozen=True)
class EndEngine(Engine):
    """An engine that prices each table once, and answers at the value or at an end of the interval.

    At an end, a row is off by the part of its error that it shares with its neighbours (sqrt of the shared share of the
    variance): over the hundreds of rows of a step the parts of their own cancel.
    """

    level: str = LEVELS[0]
    kept: dict[str, OpCosts] = field(default_factory=dict)

    def price(self, table: OpTable) -> OpCosts:
        """Return the costs of every row at this level. Raises UnsupportedError: no unit can compute a row."""
        key = _digest(table)
        if key not in self.kept:
            self.kept[key] = super().price(table)
        costs = self.kept[key]
        if self.level == LEVELS[0]:
            return costs
        weight = np.sqrt(costs.shared_log_error)
        low = self.level == "lo"
        time_s, energy_j = (costs.latency_lo_s, costs.energy_lo_j) if low else (costs.latency_hi_s, costs.energy_hi_j)
        return replace(
            costs,
            latency_s=costs.latency_s + weight * (time_s - costs.latency_s),
            energy_j=costs.energy_j + weight * (energy_j - costs.energy_j),
        )


def _digest(table: OpTable) -> str:
    found = hashlib.sha256(str(table.rows).encode())
    for name in sorted(table.columns):
        found.update(name.encode())
        found.update(np.ascontiguousarray(table.columns[name]).tobytes())
    return found.hexdigest()


def priced(
    engine: Engine, policy: Policy, longest: int, intervals: bool, host_s: float = HOST_S
) -> dict[str, StepCosts]:
    """Return the step costs of an engine by level: `value`, and with `intervals` also `lo` and `hi`.

    What the stack makes of a step (its `step_factor`, and `host_s` on top) enters here and nowhere else; boards of GPUs
    draw what `power` says over the steps that result.
    """
    factor = stack_of(engine.mapping.software, engine.cost_model).step_factor
    parts: Any = {name: getattr(engine, name) for name in Engine.__dataclass_fields__}
    asked, found = EndEngine(**parts), dict[str, StepCosts]()
    busy = busy_of([engine])
    for place, level in enumerate(LEVELS if intervals else LEVELS[:1]):
        at = replace(asked, level=level)
        costs = step_costs(at, policy.most_tokens, policy.most_requests, longest, host_s)
        costs = costs if factor == 1.0 else costs.slowed(factor)
        found[level] = costs_with_power(costs, engine, busy, place)
    return found


def source_shares(engine: Engine, prompt: int, generate: int, batch: int) -> dict[str, float]:
    """Return where the time of a typical request comes from: its prefill, and its part of decode steps of `batch`."""
    parts = (
        (engine.run("prefill", 1, np.array([prompt]))[0], 1.0),
        (engine.run("decode", max(batch, 1), np.array([max(prompt + generate // 2, 1)]))[0], generate / max(batch, 1)),
    )
    codes, weights = [], []
    for run, times in parts:
        table = lower([run], engine.mapping).table
        costs = engine.price(table)
        codes.append(costs.source)
        weights.append(costs.latency_s * table.full("count") * times)
    return shares(np.concatenate(codes), SOURCES, np.concatenate(weights))


@dataclass(frozen=True)
class PoolPlan:
    """A pool before it runs: its engine, its scheduler, its costs by level, and how many there are of it.

    `options` holds what the fleet takes beside: router, role, max_queue, autoscaling, failures, power_caps.
    """

    name: str
    engine: Engine
    policy: Policy
    costs: Mapping[str, StepCosts]
    room: Room
    instances: int = 1
    usd_per_hour: float = float("nan")
    price_date: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def lanes(self) -> int:
        """Of one instance: each pipeline lane and each data-parallel rank has a batch of its own."""
        return self.engine.mapping.pp * self.engine.mapping.dp

    @property
    def devices(self) -> int:
        return self.engine.mapping.devices


@dataclass(frozen=True)
class Scenario:
    """A whole study. `traffic` draws who asks from the streams of a replication; `random` says whether it draws at all.

    warmup: (rule, share), see `results.window_of`. slo: limits by the name of a time; slo_share: of the requests that
    must meet them all.
    """

    pools: tuple[PoolPlan, ...]
    traffic: Callable[[RandomStreams], Traffic]
    slo: Mapping[str, float] = field(default_factory=dict)
    replications: int = 5
    seed: int = DEFAULT_SEED
    warmup: tuple[str, float] = ("share", 0.1)
    random: bool = True
    fleet: Mapping[str, Any] = field(default_factory=dict)
    slo_share: float = 0.99

    @property
    def stack(self) -> Stack:
        """What users see of engines: that of the first pool's stack."""
        if not self.pools:
            return PLAIN
        engine = self.pools[0].engine
        return stack_of(engine.mapping.software, engine.cost_model)
