"""Memory that software manages: what a network keeps in flash and in SRAM, what is short, and what streams.

A microcontroller computes from SRAM and reads weights from flash (or PSRAM), without a cache that would hide it: the
core waits for both. An engine such as the Edge TPU keeps weights on the chip from one inference to the next as far as
they fit; the others come over its link every time, beside the arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from costmodel.costs import BOUNDS, DividedCosts, OpCosts
from costmodel.memory import MARGIN, MemoryReport, live_peak
from costmodel.rates import Rates
from hardware_specs import DeviceSpec, MemoryLevel
from workloads.graph import BLOCK_INPUT, Operator, Workload
from workloads.lowering import Lowered
from workloads.table import Array, OpTable
from workloads.work import count_work

MEMORY = BOUNDS.index("memory")
IN_PLACE = ("elementwise",)
"""Families that write over an input that nothing reads afterwards."""


@dataclass(frozen=True)
class Store:
    """One memory of a device: what a network keeps there, beside what is reserved (code, stacks, the runtime)."""

    name: str
    holds: str
    used_bytes: float
    reserved_bytes: float
    capacity_bytes: float

    @property
    def usable_bytes(self) -> float:
        return self.capacity_bytes - self.reserved_bytes

    @property
    def shortfall_bytes(self) -> float:
        return max(self.used_bytes + self.reserved_bytes - self.capacity_bytes, 0.0)

    def to_json(self) -> dict[str, Any]:
        """Return the memory as plain values; bytes."""
        sizes = {name: float(getattr(self, name)) for name in ("used_bytes", "usable_bytes", "shortfall_bytes")}
        return {"name": self.name, "holds": self.holds, **sizes}

    def text(self) -> str:
        """Return e.g. `SRAM 212 of 320 KiB (activations, 32 KiB reserved)`."""
        held = f"{self.holds}, {_bytes(self.reserved_bytes)} reserved" if self.reserved_bytes else self.holds
        return f"{self.name} {of_text(self.used_bytes + self.reserved_bytes, self.capacity_bytes)} ({held})"


@dataclass(frozen=True)
class OnChip(MemoryReport):
    """A memory report of a device that keeps weights and activations in memories of their own.

    `kept` is the share of the weights that is on the chip before an inference starts; the rest streams at
    `stream_bytes_per_s` (value, lo, hi). `spare` says whether arithmetic goes on meanwhile. `strict`: what does not fit
    into its memory cannot run; else it comes from outside.
    """

    stores: tuple[Store, ...] = ()
    rates: Rates | None = None
    kept: float = 0.0
    stream_bytes_per_s: tuple[float, float, float] = (np.inf, np.inf, np.inf)
    stream_from: str = ""
    stream_energy_j: tuple[float, float, float] = (0.0, 0.0, 0.0)
    spare: bool = False
    strict: bool = True
    weights_bytes: float = field(default=0.0)

    @property
    def shortfall_bytes(self) -> Array:
        """Bytes that are missing in all memories together (0 where each holds its part)."""
        if not self.strict:
            return np.maximum(self.total_bytes - self.capacity_bytes, 0.0)
        return np.full(self.total_bytes.shape, sum(store.shortfall_bytes for store in self.stores))

    def reason(self) -> str:
        """Return which memory is short, and by how much."""
        if not self.strict:
            missing = float(self.shortfall_bytes[0])
            held = _bytes(float(self.total_bytes[0]))
            return f"{self.stream_from} is {_bytes(missing)} short of the {held} that it must hold"
        short = [store for store in self.stores if store.shortfall_bytes > 0]
        return ", and ".join(
            f"the {store.name} is {_bytes(store.shortfall_bytes)} short of the "
            f"{_bytes(store.used_bytes + store.reserved_bytes)} that it must hold ({store.holds})"
            for store in short
        )

    def notes(self) -> tuple[str, ...]:
        """Return what lies where, and what streams."""
        where = "; ".join(store.text() for store in self.stores)
        if self.shortfall_bytes.any():
            return (f"Memory: {where}: {self.reason()}.",)
        if self.rates is None:
            return (f"Memory: {where}: they do not fit, so that they come from {self.stream_from} as weights do.",)
        streamed = self.weights_bytes * (1 - self.kept)
        rate = f"{self.stream_from} at {self.stream_bytes_per_s[0] / 1e6:,.0f} MB/s"
        if streamed <= 0:
            return (f"Memory: {where}. All weights stay on the chip.",)
        return (f"Memory: {where}. {_bytes(streamed)} of weights come from {rate} in every inference.",)

    def priced(self, costs: OpCosts, table: OpTable) -> OpCosts:
        """Return costs, of a device with everything on chip, to which the streams of weights are added."""
        stored = np.broadcast_to(count_work(table).weight_bytes, (table.rows,)) * (1 - self.kept)
        columns: dict[str, Any] = {}
        for part, (latency, energy) in enumerate(
            (("latency_s", "energy_j"), ("latency_lo_s", "energy_lo_j"), ("latency_hi_s", "energy_hi_j"))
        ):
            alone = getattr(costs, latency)
            stream = stored / self.stream_bytes_per_s[(0, 2, 1)[part]]
            beside = self.spare and part < 2
            columns[latency] = np.maximum(alone, stream) if beside else alone + stream
            idle_w = self.rates.idle_w[part] if self.rates else 0.0
            columns[energy] = (
                getattr(costs, energy) + stored * self.stream_energy_j[part] + idle_w * (columns[latency] - alone)
            )
        waits = stored / self.stream_bytes_per_s[0] > 0.5 * columns["latency_s"]
        columns["bound"] = np.where(waits, MEMORY, costs.bound).astype(np.int8)
        rest = {name: getattr(costs, name) for name in ("dram_bytes", "source", "interval_kind", "shared_log_error")}
        return DividedCosts(**columns, **rest, streamed_s=columns["latency_s"] - costs.latency_s)


def placed(report: MemoryReport, spec: DeviceSpec, rates: Rates, workload: Workload, lowered: Lowered) -> MemoryReport:
    """Return the report by memory for devices with memory that software manages, as it is for others.

    These are devices whose outermost level is flash, or that keep weights on the chip (`keeps_weights`).
    """
    if len(spec.memory) < 2 or workload.training is not None:
        return report
    outer, inner = spec.memory[0], spec.memory[1]
    if not (outer.read_only or inner.keeps_weights):
        return report
    weights = float(report.parts["weights"][0])
    arena = arena_bytes(workload, lowered)
    parts = dict(report.parts)
    parts["activations"] = np.full_like(parts["activations"], arena)
    parts["margin"] = np.zeros_like(parts["margin"])  # the arena is planned to the byte
    moving = arena + float(np.max(parts["state"]))
    free = max(inner.usable_bytes - moving, 0.0)
    kept = min(free / weights, 1.0) if inner.keeps_weights and weights > 0 else 0.0
    inside = Store(inner.name, "activations and weights" if kept else "activations", moving + kept * weights,
                   inner.reserved_bytes.value, inner.capacity_bytes.value)  # fmt: skip
    outside = Store(outer.name, "weights", weights, outer.reserved_bytes.value, outer.capacity_bytes.value)
    stores = (_named(inside), _named(outside, "flash")) if outer.read_only else (_named(inside),)
    capacity = sum(s.capacity_bytes - s.reserved_bytes for s in stores) if outer.read_only else report.capacity_bytes
    total = np.sum(list(parts.values()), axis=0)
    fits = moving <= inner.usable_bytes
    return OnChip(
        parts, total, total + MARGIN[2] * arena, capacity, stores=stores,
        rates=on_chip_rates(rates, inner) if fits else None, kept=kept, stream_bytes_per_s=_stream(outer),
        stream_from=_outside(spec), stream_energy_j=outer.energy_per_byte_j.interval,
        spare=not outer.read_only, strict=outer.read_only, weights_bytes=weights,
    )  # fmt: skip


def on_chip_rates(rates: Rates, inner: MemoryLevel) -> Rates:
    """Return the rates of a device all of whose operands lie in a level on the chip."""
    return replace(
        rates, dram_bytes_per_s=inner.bandwidth_bytes_per_s.value, memory_efficiency=inner.efficiency.interval,
        dram_energy_j=inner.energy_per_byte_j.interval, cache_bytes=0.0, cache_energy_j=(0.0, 0.0, 0.0),
        cache_bytes_per_s=inner.bandwidth_bytes_per_s.value,
    )  # fmt: skip


def _outside(spec: DeviceSpec) -> str:
    """Return what weights come from that are not on the chip."""
    return "flash" if spec.memory[0].read_only else "its host" if spec.host else "external memory"


def _stream(outer: MemoryLevel) -> tuple[float, float, float]:
    rate, efficiency = outer.bandwidth_bytes_per_s.interval, outer.efficiency.interval
    return rate[0] * efficiency[0], rate[1] * efficiency[1], rate[2] * efficiency[2]


def arena_bytes(workload: Workload, lowered: Lowered) -> float:
    """Return the largest sum of tensors that are alive at once, over all passes, blocks and scenarios.

    Operators run in the order of the graph. An elementwise operator writes over its first input where nothing reads
    that later. A pool's result is as small as its reader finds it. A tensor that passes by blocks (a shortcut around
    them) is alive in all of them.
    """
    sizes = _sizes(lowered)
    best = 0.0
    for p, blocks in enumerate(lowered.operators):
        peaks: list[float] = []
        left: list[float] = []
        for b, operators in enumerate(blocks):
            own = [sizes.get((p, b, i)) for i in range(len(operators))]
            first = next((size for size in own if size is not None), None)
            if first is None:
                peaks.append(0.0)
                left.append(left[-1] if left else 0.0)
                continue
            entering = left[-1] if left else first[1]
            peak, leaving = live_peak(operators, _tensors(operators, own), np.asarray(entering))
            peaks.append(float(peak))
            left.append(float(leaving))
            since, passing = _passing(operators, own, entering, left[:-1])
            peaks[since:] = [before + passing for before in peaks[since:]]
        best = max([best, *peaks])
    return best


def _sizes(lowered: Lowered) -> dict[tuple[int, int, int], tuple[float, float]]:
    """Return (bytes written, bytes read) of each launched operator by its place; the most of all scenarios."""
    work = count_work(lowered.table)
    outputs, inputs = (np.broadcast_to(x, (lowered.table.rows,)) for x in (work.output_bytes, work.input_bytes))
    sizes: dict[tuple[int, int, int], tuple[float, float]] = {}
    keys = zip(lowered.pass_index.tolist(), lowered.block_index.tolist(), lowered.operator_index.tolist(), strict=True)
    for key, out, read in zip(keys, outputs.tolist(), inputs.tolist(), strict=True):
        before = sizes.get(key, (0.0, 0.0))
        sizes[key] = (max(before[0], out), max(before[1], read))
    return sizes


def _passing(
    operators: tuple[Operator, ...], own: list[tuple[float, float] | None], entering: float, left: list[float]
) -> tuple[int, float]:
    """Return (first block that it passes, bytes) of a tensor that a block reads from further back than its input.

    Graphs do not say where such a tensor comes from: it is the last block output of the size that is read beyond the
    block's input (or in its place).
    """
    reads = [size[1] for o, size in zip(operators, own, strict=True) if size and tuple(o.inputs) == (BLOCK_INPUT,)]
    most = max(reads, default=0.0)
    if most <= entering * (1 + 1e-9):
        return len(left), 0.0
    for wanted in (most - entering, most):
        for b in range(len(left) - 2, -1, -1):
            if abs(left[b] - wanted) <= 1e-9 * wanted:
                return b + 1, wanted
    return len(left), most - entering


def _tensors(operators: tuple[Operator, ...], own: list[tuple[float, float] | None]) -> list[Array | None]:
    """Return what each operator adds to the arena, None where it works in place."""
    readers: dict[str, list[int]] = {}
    for i, o in enumerate(operators):
        for source in o.inputs:
            readers.setdefault(source, []).append(i)
    found: list[Array | None] = []
    for i, (o, size) in enumerate(zip(operators, own, strict=True)):
        if size is None:
            found.append(None)
            continue
        pool = o.name.rpartition(".")[2].endswith("pool")
        source = o.inputs[0] if o.inputs else BLOCK_INPUT
        dies = source != BLOCK_INPUT and readers[source][-1] == i and _owner(operators, source, readers) == i
        if o.op in IN_PLACE and dies and not pool:
            found.append(None)
            continue
        reads = [own[j] for j in _through(operators, o.name, readers)] if pool else []
        found.append(np.asarray(min([size[0], *(r[1] for r in reads if r is not None)])))
    return found


def _owner(operators: tuple[Operator, ...], source: str, readers: dict[str, list[int]]) -> int:
    """Return the last operator that reads a tensor or one that was written over it (a fused activation)."""
    by_name = {o.name: o for o in operators}
    last = max(readers.get(source, [0]))
    while source in by_name and by_name[source].fused and by_name[source].inputs:
        source = by_name[source].inputs[0]
        last = max(last, *(j for j in readers.get(source, [0])))
    return last


def _through(operators: tuple[Operator, ...], name: str, readers: dict[str, list[int]]) -> list[int]:
    """Return the readers of a tensor, those of fused operators behind it in their place."""
    found: list[int] = []
    for j in readers.get(name, []):
        found += _through(operators, operators[j].name, readers) if operators[j].fused else [j]
    return found


def _named(store: Store, name: str = "") -> Store:
    word = name or store.name
    return replace(store, name=word.upper() if word == "sram" else word)


_UNITS = ((2.0**30, "GiB"), (2.0**20, "MiB"), (1024.0, "KiB"))


def of_text(used: float, capacity: float) -> str:
    """Return `212 of 320 KiB`: both in the unit of the capacity."""
    size, unit = next(((s, u) for s, u in _UNITS if capacity >= s), (1.0, "B"))
    digits = [f"{x / size:.3g}" if x < 1000 * size else f"{x / size:,.0f}" for x in (used, capacity)]
    return f"{digits[0]} of {digits[1]} {unit}"


def _bytes(count: float) -> str:
    """Return bytes in the units of `of_text`, three digits."""
    size, unit = next(((s, u) for s, u in _UNITS if count >= s), (1.0, "B"))
    return f"{count / size:.3g} {unit}" if count < 1000 * size else f"{count / size:,.0f} {unit}"
