"""`Estimate`: the five axes (time, energy, memory, money, traffic) of a workload on a device, each with an interval.

Rows add up to requests. The log error of a row has a part shared with its neighbours and a part of its own; deviations
of the shared part add up, those of the rest add in quadrature, so that a sum neither assumes perfect correlation nor
shrinks to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from costmodel.collectives import Fabric
from costmodel.costs import BOUNDS, SOURCES, OpCosts
from costmodel.memory import MemoryReport
from costmodel.on_chip import Store
from costmodel.rates import Rates
from workloads.graph import Workload
from workloads.lowering import Lowered
from workloads.mapping import Mapping
from workloads.table import Array
from workloads.work import OpWork, count_work

if TYPE_CHECKING:
    from costmodel.explain import Explanation


@dataclass(frozen=True)
class Quantity:
    """A number with its interval, all in the unit that the field's name ends in."""

    value: float
    lo: float
    hi: float

    def to_json(self) -> dict[str, float]:
        return {"value": self.value, "lo": self.lo, "hi": self.hi}

    def scaled(self, factor: float) -> Quantity:
        """Return the quantity times a factor >= 0."""
        return Quantity(self.value * factor, self.lo * factor, self.hi * factor)


@dataclass(frozen=True)
class Distribution(Quantity):
    """A number that differs from input to input: `value`, `lo`, `hi` of its mean, and quantiles over the inputs."""

    p50: float
    p90: float
    p99: float

    def to_json(self) -> dict[str, float]:
        return {**super().to_json(), "p50": self.p50, "p90": self.p90, "p99": self.p99, "mean": self.value}


@dataclass(frozen=True)
class PathCost:
    """What an input that takes one path of a dynamic network costs by itself, and the share of inputs that do."""

    name: str
    share: float
    latency_s: Quantity
    energy_j: Quantity

    def to_json(self) -> dict[str, Any]:
        costs = {"latency_s": self.latency_s.to_json(), "energy_j": self.energy_j.to_json()}
        return {"name": self.name, "share": self.share, **costs}


@dataclass(frozen=True)
class Totals:
    """Sums over rows for each request; arrays of shape (requests, 3) hold value, lo, hi.

    `first_s` is everything before the first output token (or the whole pass), `step_s` all decode steps.
    """

    latency_s: Array
    first_s: Array
    step_s: Array
    energy_j: Array
    dram_bytes: Array
    link_bytes: Array
    flop: Array


def compose(workload: Workload, lowered: Lowered, costs: OpCosts, work: OpWork | None = None) -> Totals:
    """Add the costs of rows up to requests; `work` is that of the rows, where a caller has counted it.

    Shapes: `costs` has one row a row of `lowered.table`; the totals have one a request of `workload`.
    """
    table = lowered.table
    count = table.full("count")
    work = count_work(table) if work is None else work
    owner, fan = owners_of(workload, lowered)
    decode = np.isin(lowered.pass_index, [i for i, run in enumerate(workload.passes) if run.name == "decode"])
    sums = _Summer(owner, fan, workload.requests)
    latency = (costs.latency_s, costs.latency_lo_s, costs.latency_hi_s)
    energy = (costs.energy_j, costs.energy_lo_j, costs.energy_hi_j)
    shared = costs.shared_log_error
    return Totals(
        latency_s=sums.interval(latency, count, shared),
        first_s=sums.interval(latency, count * ~decode, shared),
        step_s=sums.interval(latency, count * decode, shared),
        energy_j=sums.interval(energy, count, shared),
        dram_bytes=sums.plain(costs.dram_bytes * count),
        link_bytes=sums.plain(work.link_bytes * count),
        flop=sums.plain(work.flop * count),
    )


def owners_of(workload: Workload, lowered: Lowered) -> tuple[Array, Array]:
    """Return (request of each row, whether the row belongs to every request)."""
    owner = lowered.scenario.copy()
    for p, run in enumerate(workload.passes):
        mine = lowered.pass_index == p
        if run.name in workload.owners:
            owner[mine] = workload.owners[run.name][lowered.scenario[mine]]
    widths = np.zeros(len(workload.passes), dtype=np.intp)
    np.maximum.at(widths, lowered.pass_index, lowered.scenario + 1)
    named = np.array([run.name in workload.owners for run in workload.passes])
    return owner, ((widths == 1) & ~named)[lowered.pass_index] & (workload.requests > 1)


@dataclass(frozen=True)
class _Summer:
    owner: Array
    everyone: Array
    requests: int

    def plain(self, values: Array) -> Array:
        """Return sums a request, shape (requests,)."""
        values = np.broadcast_to(values, self.owner.shape)
        if not self.everyone.any():
            return np.asarray(np.bincount(self.owner, weights=values, minlength=self.requests))
        own = np.where(self.everyone, 0.0, values)
        return np.asarray(np.bincount(self.owner, weights=own, minlength=self.requests) + values[self.everyone].sum())

    def interval(self, columns: tuple[Array, Array, Array], count: Array, shared: float) -> Array:
        """Return (value, lo, hi) a request, shape (requests, 3)."""
        value = self.plain(columns[0] * count)
        ends = []
        for column, sign in ((columns[1], -1.0), (columns[2], 1.0)):
            deviation = np.abs(column - columns[0]) * count
            spread = self.plain(deviation)
            if shared < 1:
                own = self.plain(deviation**2)
                spread = np.sqrt(shared * spread**2 + (1 - shared) * own)
            ends.append(value + sign * spread)
        return np.stack((value, np.maximum(ends[0], 0.0), ends[1]), axis=1)


@dataclass(frozen=True)
class Estimate:
    """The answer to one question. Times, energy, money and traffic are None where the workload does not fit.

    `latency_s` is one whole batch from start to last output; `ttft_s` first token minus start; `tpot_s` is
    (last - first) / (generated - 1). `energy_j` and `power_w` are those of all devices used, `dram_bytes`, `link_bytes`
    and `work_flop` those of one rank. `detail` holds rows for `explain()`.

    Under concurrency `latency_s`, `energy_j` and `cost_usd` are of the time in which each user is answered once: users
    / `rate_hz`. Networks that generate also have `tokens_per_s` (generated, of all requests), `energy_per_token_j`,
    `usd_per_million_tokens`, and `largest_batch`: requests that fit at once, started together or, under concurrency,
    in service.

    `stores` are memories that hold a part each, where no other may take it (flash and SRAM); `linked` says whether the
    device has links, over which several could share a network.
    """

    workload: str
    device: str
    mapping: str
    devices: int
    request: dict[str, Any]
    verdict: str
    memory_bytes: Quantity
    memory_parts_bytes: dict[str, float]
    capacity_bytes: float
    shortfall_bytes: float
    latency_s: Quantity | None = None
    ttft_s: Quantity | None = None
    tpot_s: Quantity | None = None
    rate_hz: Quantity | None = None
    energy_j: Quantity | None = None
    power_w: Quantity | None = None
    cost_usd: Quantity | None = None
    tokens_per_s: Quantity | None = None
    energy_per_token_j: Quantity | None = None
    usd_per_million_tokens: Quantity | None = None
    largest_batch: int | None = None
    price_date: str = ""
    dram_bytes: float | None = None
    link_bytes: float | None = None
    work_flop: float | None = None
    source: dict[str, float] = field(default_factory=dict)
    bound: dict[str, float] = field(default_factory=dict)
    interval_kind: str = ""
    reason: str = ""
    paths: tuple[PathCost, ...] = ()
    batching: dict[str, float] = field(default_factory=dict)
    stores: tuple[Store, ...] = ()
    linked: bool = field(default=True, repr=False)
    notes: tuple[str, ...] = ()
    versions: dict[str, str] = field(default_factory=dict)
    detail: Detail | None = field(default=None, repr=False, compare=False)

    def explain(self) -> Explanation:
        """Return the waterfall from peak to achieved and the operators that take most of the time.

        Raises:
            BadValueError: the workload does not fit, so there is nothing to explain.
        """
        from costmodel.explain import explain

        return explain(self)

    def to_json(self) -> dict[str, Any]:
        """Return the answer as plain JSON values, SI units, quantities as value, lo, hi."""
        skip = {"detail", "memory_parts_bytes", "linked"}
        doc: dict[str, Any] = {}
        for name in self.__dataclass_fields__:
            item = getattr(self, name)
            if name in skip or item is None or (name in ("paths", "batching", "stores") and not item):
                continue
            doc[name] = _json(item)
        doc["memory_parts_bytes"] = self.memory_parts_bytes
        return doc


def _json(item: Any) -> Any:
    if isinstance(item, Quantity | PathCost | Store):
        return item.to_json()
    return [_json(one) for one in item] if isinstance(item, tuple) else item


@dataclass(frozen=True)
class Detail:
    """What an estimate was made from: rows, their costs, how they are laid onto devices, and the device.

    `memory` is what `rates.dram_bytes_per_s` and the bytes of the costs are of.
    """

    workload: Workload
    lowered: Lowered
    costs: OpCosts
    mapping: Mapping
    rates: Rates
    fabric: Fabric | None
    memory: str = "device memory"


def shares(codes: Array, names: tuple[str, ...], weights: Array) -> dict[str, float]:
    """Return the share of `weights` that each code has, largest first, without zeros; they sum to 1."""
    sums = np.bincount(codes.astype(np.intp), weights=weights, minlength=len(names))
    if not sums.sum() > 0:
        return {}
    sums = sums / sums.sum()
    return {names[i]: float(sums[i]) for i in np.argsort(-sums, kind="stable") if sums[i] > 0}


def time_shares(detail: Detail) -> tuple[dict[str, float], dict[str, float]]:
    """Return (source shares, bound shares) of the time."""
    weights = detail.costs.latency_s * detail.lowered.table.full("count")
    return shares(detail.costs.source, SOURCES, weights), shares(detail.costs.bound, BOUNDS, weights)


def memory_quantity(report: MemoryReport, request: int = 0) -> Quantity:
    """Return the total of one request with its interval."""
    return Quantity(*(float(x[request]) for x in (report.total_bytes, report.lo_bytes, report.hi_bytes)))
