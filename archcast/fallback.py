"""What a runtime leaves to the host: operators priced on both processors, the switches between them, and why.

The host is counted while it works and while data cross; the accelerator idles meanwhile. The two do not overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archcast.cost_models import shipped
from archcast.frame_rate import AnyCosts, LaidOut
from archcast.question import Target, find_target
from archcast.render.human import text
from costmodel.collectives import Fabric
from costmodel.costs import BOUNDS, NUMERIC, SOURCES, DividedCosts, OpCosts
from costmodel.in_network import costs_in_network
from costmodel.memory import MemoryReport
from costmodel.on_chip import OnChip
from costmodel.partition import FORMAT_REASON, Partition, activation_word, divide, norm_kind, on_cores, paced, refusals
from costmodel.protocol import CostModel
from costmodel.rates import Range
from foundation.errors import UnsupportedError
from foundation.formats import FORMAT_CODES
from hardware_specs import load_link
from hardware_specs.runtimes import RuntimeSpec, find_runtime
from workloads.graph import Operator, Workload
from workloads.lowering import Lowered
from workloads.mapping import Mapping
from workloads.table import Array, OpTable
from workloads.work import ACTIVATION_BYTES, count_work

OVERHEAD, PHYSICS = BOUNDS.index("overhead"), SOURCES.index("physics")
ENDS = (("latency_s", "energy_j"), ("latency_lo_s", "energy_lo_j"), ("latency_hi_s", "energy_hi_j"))
SHOWN = 4
"""Reasons that a note names; the others are counted."""


@dataclass(frozen=True)
class Fallback:
    """What a runtime does with a network. Counts are of one run of the first pass, seconds of the whole workload.

    `reasons` says how many operators the accelerator does not take, by cause; `behind` are those on the host beside
    them (after the cut, or in parts that are not worth a switch).
    """

    runtime: str
    host: str
    operators: int
    on_host: int
    reasons: dict[str, int]
    behind: int
    switches: int
    fixed_s: float
    crossing_s: float
    convert_s: float
    crossing_bytes: float
    parts: int

    @property
    def switches_s(self) -> float:
        """Seconds that all switches of the workload take."""
        return self.fixed_s + self.crossing_s + self.convert_s

    def notes(self, device: str) -> tuple[str, ...]:
        """Return what a reader must know, a sentence each."""
        all_there = f"{self.runtime}: all {self.operators} operators run on {device}."
        if not self.on_host and not self.switches:
            return (all_there,)
        causes = [f"{name} ({count})" for name, count in sorted(self.reasons.items(), key=lambda item: -item[1])]
        shown = ", ".join(causes[:SHOWN]) + (f" and {len(causes) - SHOWN} more" if len(causes) > SHOWN else "")
        also = f"; {self.behind} others follow them" if self.behind else ""
        there = (
            f"{self.parts} {'part' if self.parts == 1 else 'parts'} on {device}" if self.parts else f"none on {device}"
        )
        first = (
            f"{self.runtime}: {self.on_host} of {self.operators} operators run on {self.host}, {there}. "
            f"Not taken there: {shown}{also}."
        )
        if not self.on_host:
            first = all_there
        if not self.switches:
            return (first,)
        often = "once" if self.switches == 1 else f"{self.switches} times"
        return first, (
            f"Changing processor costs {text(self.switches_s, 's')}: {often} a pass, of which fixed "
            f"{text(self.fixed_s, 's')}, moving {text(self.crossing_bytes, 'traffic_bytes')} "
            f"{text(self.crossing_s, 's')}, quantising {text(self.convert_s, 's')}."
        )


def runtime_of(software: str, target: Target, concurrency: int = 0) -> RuntimeSpec | None:
    """Return the runtime that `--software` names on a device; None for learned stacks, unknown names and services.

    Raises:
        UnsupportedError: the runtime does not run on this device.
    """
    return None if concurrency or not software else find_runtime(software, target.spec)


def under_runtime(target: Target, runtime: RuntimeSpec | None) -> tuple[Target, tuple[str, ...]]:
    """Return the device with the cores that a runtime gives one network, and what to say of that."""
    units = target.rates.units
    if runtime is None or runtime.cores is None or runtime.cores >= units:
        return target, ()
    said = f"{runtime.name} runs a network on {runtime.cores} of the {units} cores of {target.spec.id}, its default."
    return replace(target, rates=on_cores(target.rates, runtime.cores)), (said,)


def as_run(workload: Workload, runtime: RuntimeSpec | None) -> Workload:
    """Return the workload with those operators as kernels of their own that the runtime does not fuse."""
    if runtime is None:
        return workload
    fuses = frozenset(runtime.fuses)

    def apart(o: Operator) -> Operator:
        kind = activation_word(o.name)
        if not kind and o.op == "norm":
            kind = norm_kind(float(np.ravel(o.shape.get("flop_per_element", 0.0))[0]))
        return replace(o, fused=False) if o.fused and kind and kind not in fuses else o

    passes = tuple(
        replace(run, graph=replace(run.graph, blocks=tuple(
            replace(block, operators=tuple(map(apart, block.operators))) for block in run.graph.blocks
        )))
        for run in workload.passes
    )  # fmt: skip
    return replace(workload, passes=passes)


def costs_under_runtime(
    cost_model: CostModel, workload: Workload, lowered: Lowered, target: Target, fabric: Fabric | None,
    mapping: Mapping, report: MemoryReport, runtime: RuntimeSpec | None, chip: LaidOut | None = None,
) -> tuple[OpCosts, tuple[str, ...]]:  # fmt: skip
    """Return the costs of all rows where the runtime puts them, switches included, and notes.

    Without a runtime these are the costs on the device alone; those of a network that is laid out on a `chip` add up
    to its pipeline's.

    Raises:
        UnsupportedError: an operator that neither processor takes, or a division that is not answered.
    """
    table = lowered.table
    price = _Pricing(cost_model, fabric, mapping.software, report)
    if runtime is None:
        return _as_pipeline(price.on_device(table, target), lowered, chip), ()
    why = refusals(table, runtime)
    repeats = _repeats(workload, lowered)
    taken = why == ""
    apart = target.spec.host is not None and bool(target.spec.host.link)
    partition = divide(lowered, taken, repeats, runtime, apart)
    if taken.all() and not apart:
        nothing = Fallback(runtime.name, "", _one_run(lowered, repeats), 0, {}, 0, 0, 0.0, 0.0, 0.0, 0.0, 1)
        whole = _as_pipeline(price.on_device(table, target, runtime), lowered, chip)
        whole, said = _engine(cost_model, whole, workload, lowered, target, mapping, runtime)
        return whole, (*nothing.notes(target.spec.id), *said)
    host = _host(runtime, target, why, table, mapping, partition)
    parts = _Parts(table, partition, runtime, target, host)
    costs = parts.blended(price, lowered, chip)
    return costs, _report(lowered, repeats, why, parts).notes(target.spec.id)


def _as_pipeline(
    costs: AnyCosts, lowered: Lowered, chip: LaidOut | None, share: Array | float = 1.0
) -> AnyCosts:  # fmt: skip
    return costs if chip is None else chip.scaled(costs, lowered, share)


def _engine(
    cost_model: CostModel, costs: OpCosts, workload: Workload, lowered: Lowered, target: Target, mapping: Mapping,
    runtime: RuntimeSpec,
) -> tuple[OpCosts, tuple[str, ...]]:  # fmt: skip
    """Return the costs of an engine whose tokens were measured, where no other model is asked for, and notes."""
    if runtime.framework != "llama.cpp" or mapping.devices > 1 or cost_model is not shipped():
        return costs, ()
    from archcast.token_rate import with_token_rate

    return with_token_rate(costs, workload, lowered, target.spec, mapping.software)


def is_alone(target: Target) -> bool:
    """Say whether a device has memory that software manages, so that each request is placed by itself."""
    return len(target.spec.memory) > 1 and (target.spec.memory[0].read_only or target.spec.memory[1].keeps_weights)


@dataclass(frozen=True)
class _Pricing:
    """What both processors need to be asked for costs."""

    cost_model: CostModel
    fabric: Fabric | None
    software: str
    report: MemoryReport

    def on_device(self, table: OpTable, target: Target, runtime: RuntimeSpec | None = None) -> OpCosts:
        """Return costs on the accelerator: with weights where they lie, and kernels as fast as the runtime's."""
        place, weights_bytes = self.report, float(self.report.parts["weights"][0])
        software = "" if runtime else self.software
        if not isinstance(place, OnChip) or place.rates is None:
            costs = costs_in_network(self.cost_model, table, target.rates, self.fabric, software, weights_bytes)
        else:
            costs = place.priced(
                costs_in_network(self.cost_model, table, place.rates, self.fabric, software, 0.0), table
            )
        return costs if runtime is None else paced(costs, table, runtime)

    def on_host(self, table: OpTable, host: Target) -> OpCosts:
        weights_bytes = float(self.report.parts["weights"][0])
        return costs_in_network(self.cost_model, table, host.rates, None, "", weights_bytes)


def _host(
    runtime: RuntimeSpec, target: Target, why: Array, table: OpTable, mapping: Mapping, partition: Partition
) -> Target:  # fmt: skip
    """Return the processor that takes the rest. Raises UnsupportedError: there is none, or none may."""
    if target.spec.host is not None and not np.any(why != ""):
        return find_target(target.spec.host.device)
    row = int(np.argmax(why != ""))
    name = table.labels[row] if table.labels else str(why[row])
    form = str(why[row]).startswith(FORMAT_REASON)
    what = (
        f"{runtime.name} does not take {why[row]} on {target.spec.id} ('{name}')" if form
        else f"{runtime.name} does not take '{name}' on {target.spec.id} ({why[row]})"
    )  # fmt: skip
    takes = f" It takes {', '.join(runtime.formats)}." if form else ""
    if runtime.divides == "whole":
        raise UnsupportedError(
            f"{what}, and runs a network as a whole; name another runtime or leave --software out.{takes}"
        )
    if target.spec.host is None:
        raise UnsupportedError(f"{what}, and the device names no host that would run it (key 'host').{takes}")
    if mapping.devices > 1:
        raise UnsupportedError(f"{what}; what a host takes over is answered for one device, not {mapping.devices}.")
    if not np.any(partition.host_share < 1):
        raise UnsupportedError(
            f"{what}, so that nothing would run on {target.spec.id}; ask for its host, --on {target.spec.host.device}, "
            f"or another format or runtime.{takes}"
        )
    return find_target(target.spec.host.device)


@dataclass(frozen=True)
class _Parts:
    """Rows, where they run, and both processors."""

    table: OpTable
    partition: Partition
    runtime: RuntimeSpec
    target: Target
    host: Target

    def blended(self, price: _Pricing, lowered: Lowered, chip: LaidOut | None = None) -> OpCosts:
        """Return the costs of rows: each processor's by its share of the repeats, and the switches before them."""
        share = self.partition.host_share
        table, on_host_table = self.table, self._host_table()
        there = _spread(table, share < 1, lambda rows: price.on_device(table.take(rows), self.target, self.runtime))
        there = _as_pipeline(there, lowered, chip, 1 - share)
        here = _spread(table, share > 0, lambda rows: price.on_host(on_host_table.take(rows), self.host))
        idle = (self.target.rates.idle_w, self.host.rates.idle_w)
        columns: dict[str, Any] = {}
        for part, (latency, energy) in enumerate(ENDS):
            seconds = sum(self.switch_s(part))
            on_host = share * getattr(here, latency)
            columns[latency] = (1 - share) * getattr(there, latency) + on_host + seconds
            columns[energy] = (
                (1 - share) * getattr(there, energy) + share * getattr(here, energy) + idle[0][part] * on_host
                + (idle[0][part] + idle[1][part]) * seconds + self.crossing_bytes * self._wire_j(part)
            )  # fmt: skip
        columns["dram_bytes"] = (1 - share) * there.dram_bytes + share * here.dram_bytes
        mostly = share > 0.5
        waits = sum(self.switch_s(0)) > 0.5 * columns["latency_s"]
        columns["bound"] = np.where(waits, OVERHEAD, np.where(mostly, here.bound, there.bound)).astype(np.int8)
        sources = np.where(mostly, here.source, np.where(waits, PHYSICS, there.source))
        columns["source"] = sources.astype(np.int8)
        elsewhere = np.minimum(share * here.latency_s + sum(self.switch_s(0)), columns["latency_s"])
        streamed = (1 - share) * there.streamed_s
        return DividedCosts(**columns, interval_kind="propagated", elsewhere_s=elsewhere, streamed_s=streamed)

    def switch_s(self, part: int) -> tuple[Array, Array, Array]:
        """Return seconds of each row's switches: fixed, of the bytes, of quantising (part: value, lo, hi)."""
        switches, crossing = self.partition.switches, self.crossing_bytes
        latency_s, byte_s = self._wire(part)
        elements = crossing / ACTIVATION_BYTES[self.table.full("dtype")]
        fixed = switches * (self.runtime.switch_s.interval[part] + latency_s)
        return fixed, crossing * byte_s, elements * self.runtime.convert_s_per_element.interval[part]

    @property
    def crossing_bytes(self) -> Array:
        """What a row reads, as often as execution changes processor before it, and what the last ones answer."""
        work, division = count_work(self.table), self.partition
        return np.asarray(
            work.input_bytes * (division.to_host + division.to_device) + work.output_bytes * division.leaves
        )

    def _wire(self, part: int) -> tuple[float, float]:
        """Return (seconds of a message, seconds a byte): of the link, else of a copy (read and written) in memory."""
        port = self.target.spec.host
        end = (0, 2, 1)[part]  # the least time goes with the highest efficiency
        if port is not None and port.link:
            link = load_link(port.link)
            rate = link.bandwidth_bytes_per_s.interval[end] * link.efficiency.interval[end]
            return link.latency_s.interval[part], 1 / rate
        memory = self.host.spec.dram
        return 0.0, 2 / (memory.bandwidth_bytes_per_s.interval[end] * memory.efficiency.interval[end])

    def _wire_j(self, part: int) -> float:
        port = self.target.spec.host
        if port is not None and port.link:
            return load_link(port.link).energy_per_byte_j.interval[part]
        energy: Range = self.host.rates.dram_energy_j
        return 2 * energy[part]

    def _host_table(self) -> OpTable:
        if not self.runtime.host_format:
            return self.table
        column = np.asarray(FORMAT_CODES[self.runtime.host_format], dtype=np.int16)
        return OpTable(self.table.rows, {**self.table.columns, "dtype": column, "kv_dtype": column}, self.table.labels)


def _spread(table: OpTable, mask: Array, price: Callable[[Array], OpCosts]) -> DividedCosts:
    """Return the costs of the rows of a mask, zeros in the others."""
    zeros: Any = {name: np.zeros(table.rows) for name in (*NUMERIC, "streamed_s")}
    filled = DividedCosts(**zeros, bound=np.zeros(table.rows, np.int8), source=np.zeros(table.rows, np.int8))
    rows = np.flatnonzero(mask)
    if len(rows):
        found = price(rows)
        for name in (*NUMERIC, "bound", "source"):
            getattr(filled, name)[rows] = getattr(found, name)
        np.asarray(filled.streamed_s)[rows] = found.streamed_s if isinstance(found, DividedCosts) else 0.0
    return filled


def _report(lowered: Lowered, repeats: Array, why: Array, parts: _Parts) -> Fallback:
    """Return the counts of one run of the first pass and the seconds of the workload."""
    first = (lowered.pass_index == 0) & (lowered.scenario == 0)
    times, count = repeats * first, lowered.table.full("count")
    host = float((parts.partition.host_share * times).sum())
    reasons = {str(w): round(float(times[why == w].sum())) for w in set(why[first].tolist()) - {""}}
    fixed, crossing, convert = (float((part * count).sum()) for part in parts.switch_s(0))
    return Fallback(
        parts.runtime.name, parts.host.spec.id, _one_run(lowered, repeats), round(host), reasons,
        round(host) - sum(reasons.values()), round(float((parts.partition.switches * times).sum())), fixed, crossing,
        convert, float((parts.crossing_bytes * count).sum()), parts.partition.parts,
    )  # fmt: skip


def _one_run(lowered: Lowered, repeats: Array) -> int:
    first = (lowered.pass_index == 0) & (lowered.scenario == 0)
    return round(float(repeats[first].sum()))


def _repeats(workload: Workload, lowered: Lowered) -> Array:
    """Return how often the block of each row is repeated in one run of its pass (1 for sends between stages)."""
    counts: Iterable[list[int]] = ([block.count for block in run.graph.blocks] for run in workload.passes)
    table = [[*found, 1] for found in counts]
    starts = np.cumsum([0, *(len(found) for found in table[:-1])])
    lengths = np.array([len(found) for found in table])
    flat = np.concatenate([np.asarray(found, float) for found in table])
    block = np.minimum(lowered.block_index, lengths[lowered.pass_index] - 1)
    return np.asarray(flat[starts[lowered.pass_index] + block])
