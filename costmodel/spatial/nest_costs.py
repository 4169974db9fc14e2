"""Cycles and energy of loop nests: what the links of `nest.py` cost at the ports of a hierarchy's memories."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from costmodel.spatial.hierarchy import Hierarchy, Port
from costmodel.spatial.nest import Layout, Link, Nest, tiles_below
from workloads.elementwise import Value
from workloads.table import Array

CHUNK = 16384
"""Candidates at once: of 4,096 to 16,384 the fastest, by 5 to 60 %."""


@dataclass(frozen=True)
class NestCosts:
    """What candidates cost, one entry each: cycles (NaN where a tile does not fit) and picojoules.

    `cycles` = `temporal_cycles` (the loops) + `stall_cycles` (of ports that move more than their windows hold;
    `onchip_stall_cycles` without those of the outermost memory) + `load_cycles` (first tiles before, last outputs
    after) + `skew_cycles` (systolic fill). `memory_pj` is (memories, candidates). `moved_bits` has a row for each of
    `moves`, e.g. ("sram", "I feed"). `handovers` are the transfers to and from the outermost memory, `port_cycles`
    what the busiest port needs for all its bits.
    """

    macs: Array
    ideal_cycles: Array
    temporal_cycles: Array
    skew_cycles: Array
    onchip_stall_cycles: Array
    stall_cycles: Array
    load_cycles: Array
    mac_pj: Array
    memory_pj: Array
    moved_bits: Array
    feasible: Array
    shortfall_bytes: Array
    handovers: Array
    port_cycles: Array
    moves: tuple[tuple[str, str], ...] = ()

    @property
    def cycles(self) -> Array:
        """All cycles; NaN where a tile does not fit."""
        whole = self.temporal_cycles + self.stall_cycles + self.load_cycles + self.skew_cycles
        return np.where(self.feasible, whole, np.nan)

    @property
    def bound_cycles(self) -> Array:
        """Cycles of the loops or of the busiest port, whatever is more: no windows, no first and last transfers."""
        return np.where(self.feasible, np.maximum(self.temporal_cycles, self.port_cycles), np.nan)

    @property
    def energy_pj(self) -> Array:
        """Energy of arithmetic and memories in pJ; NaN where a tile does not fit."""
        return np.where(self.feasible, self.mac_pj + self.memory_pj.sum(axis=0), np.nan)


class End(NamedTuple):
    """One end of a link at a memory's port: `times` transfers of `bits`, each `real` cycles."""

    memory: int
    move: str
    port: Port | None
    link: Link
    bits: Array
    times: Array
    inner: Array
    real: Array


def ends_of(hierarchy: Hierarchy, made: list[Link]) -> list[End]:
    """Return both ends of every link; partial sums that come back have ends of their own."""
    found = []
    for link in made:
        name = link.operand
        if name == "O":
            kinds = [(link.upper, "O sink", link.upper_data, False), (link.upper, "O feed", link.upper_data, True),
                     (link.lower, "O drain", link.data, False), (link.lower, "O fill", link.data, True)]  # fmt: skip
        else:
            kinds = [(link.upper, f"{name} feed", link.upper_data, False),
                     (link.lower, f"{name} fill", link.data, False)]  # fmt: skip
        for memory, move, data, returned in kinds:
            if memory < 0:
                continue
            port = hierarchy.memories[memory].port_of(move)
            bits = np.asarray(data * link.bits)
            real = bits / port.bits_per_cycle if port and not port.is_free else np.zeros(1)
            if not hierarchy.streams:
                real = np.ceil(real - 1e-9)
            times = np.asarray(link.back) if returned else link.times
            inner = times if returned or hierarchy.streams else times - 1
            found.append(End(memory, move, port, link, bits, times, inner, real))
    return found


def evaluate(nest: Nest, hierarchy: Hierarchy, *, chunk: int = CHUNK) -> NestCosts:
    """Return what each candidate costs; candidates are taken `chunk` at a time."""
    count = len(nest.dims)
    if count <= chunk:
        return _evaluated(nest, hierarchy)
    parts = [_evaluated(nest.rows(slice(at, at + chunk)), hierarchy) for at in range(0, count, chunk)]
    columns = {f.name: np.concatenate([getattr(part, f.name) for part in parts], axis=-1)
               for f in fields(NestCosts) if f.name != "moves"}  # fmt: skip
    return NestCosts(**columns, moves=parts[0].moves)


def cycles_and_energy(nest: Nest, hierarchy: Hierarchy, *, chunk: int = CHUNK) -> tuple[Array, Array]:
    """Return only cycles and pJ of each candidate (infinite where a tile does not fit): what a search compares."""
    cycles, energy = np.empty(len(nest.dims)), np.empty(len(nest.dims))
    for at in range(0, len(cycles), chunk):
        part = slice(at, at + chunk)
        costs = _evaluated(nest.rows(part), hierarchy, moved=False)
        cycles[part] = np.where(costs.feasible, costs.cycles, np.inf)
        energy[part] = np.where(costs.feasible, costs.energy_pj, np.inf)
    return cycles, energy


def _evaluated(nest: Nest, hierarchy: Hierarchy, moved: bool = True) -> NestCosts:
    layout = Layout(nest, hierarchy)
    links = layout.links()
    ends = ends_of(hierarchy, links)
    total, units = layout.whole, nest.each(tiles_below(nest, hierarchy, tuple(a.name for a in hierarchy.axes)).count)
    copies = [units / nest.each(below.count) for below in layout.below]
    memory_pj, moves, bits = _moved(hierarchy, ends, copies, total, moved)
    busiest = np.zeros_like(total)
    for _, port, served in _ports(hierarchy, ends) if moved else ():
        np.maximum(busiest, sum(end.bits * end.times for end in served) / port.bits_per_cycle, out=busiest)
    onchip, stall = _stalls(hierarchy, ends, total)
    first = {o: layout.held[o, chain[0]].take(layout.pick(layout.codes, layout.cuts[o][0])) * layout.bits[o, chain[0]]
             for o, chain in hierarchy.chains.items()}  # fmt: skip
    if hierarchy.streams:
        first = {link.operand: np.asarray(link.upper_data * link.bits) for link in links if link.lower < 0}
    load = _loads(hierarchy, ends, links, first, total + stall)
    skew: Value = 0.0
    for axis, taken in zip(hierarchy.axes, nest.spatial, strict=True):
        if axis.systolic:
            used: Value = 1.0
            for value in taken.values():
                used = used * value
            skew = skew + np.maximum(np.ceil(used) - 1, 0)
    outermost = len(hierarchy.memories) - 1
    handovers = np.asarray(sum(link.times + link.back for link in links if link.upper == outermost))
    macs = total * units
    return NestCosts(
        macs, macs / hierarchy.units, total, np.broadcast_to(nest.each(skew), total.shape), onchip, stall, load,
        hierarchy.mac_pj * macs, memory_pj, bits, layout.feasible, layout.short / 8, handovers, busiest, moves,
    )  # fmt: skip


def _moved(
    hierarchy: Hierarchy, ends: list[End], copies: list[Value], total: Array, moved: bool
) -> tuple[Array, tuple[tuple[str, str], ...], Array]:
    """Return pJ by memory, and the bits of each move over all copies of a memory."""
    energy = np.zeros((len(hierarchy.memories), len(total)))
    names, bits = [], []
    for end in ends:
        memory = hierarchy.memories[end.memory]
        times = end.times * copies[end.memory]
        if end.port is not None:
            least = end.port.least_bits or end.port.bits_per_cycle
            words = np.ceil(end.bits / least - 1e-9) * (least / end.port.bits_per_cycle) * times
            reads = end.move[2:] in ("feed", "drain")
            energy[end.memory] += words * (memory.read_pj if reads else memory.write_pj)
        if moved:
            names.append((memory.name, end.move))
            bits.append(np.broadcast_to(end.bits * times, total.shape))
    return energy, tuple(names), np.array(bits) if moved else np.zeros((0, len(total)))


def _ports(hierarchy: Hierarchy, ends: list[End]) -> Iterator[tuple[int, Port, list[End]]]:
    for at, memory in enumerate(hierarchy.memories):
        for port in memory.ports:
            served = [end for end in ends if end.memory == at and end.port is port]
            if served and not port.is_free:
                yield at, port, served


def _stalls(hierarchy: Hierarchy, ends: list[End], total: Array) -> tuple[Array, Array]:
    """Return stall cycles without and with the outermost memory: the worst port, all work side by side.

    Of each transfer, what its window does not hold stalls; what the windows hold stalls where they overlap so much
    that the port is asked for more than their union (Mei et al., DATE 2022).
    """
    onchip, outer = np.zeros_like(total), np.zeros_like(total)
    last = len(hierarchy.memories) - 1
    for at, _, served in _ports(hierarchy, ends):
        over, held = np.zeros_like(total), np.zeros_like(total)
        for end in served:
            over += np.maximum(end.real - end.link.window, 0) * end.inner
            if len(served) > 1:
                held += np.minimum(end.real, end.link.window) * end.inner
        if len(served) > 1:
            over += np.maximum(held - _union(served, held, total), 0)
        target = outer if at == last else onchip
        np.maximum(target, over, out=target)
    return onchip, np.maximum(onchip, outer)


def _union(served: list[End], held: Array, total: Array) -> Array:
    """Return the cycles that are in some window of a port: all where one has the whole period."""
    open_always = np.zeros(len(total), bool)
    for end in served:
        open_always |= (end.link.window >= end.link.period) & (end.times > 0)
    union = total.copy()
    rest = np.flatnonzero(~open_always & (held > 0))
    if len(rest):
        there = [(np.where(np.broadcast_to(end.times, total.shape)[rest] > 0, end.link.window[rest], 0.0),
                  end.link.period[rest]) for end in served]  # fmt: skip
        windows, periods = (np.stack(side) for side in zip(*there, strict=True))
        order = np.argsort(periods, axis=0, kind="stable")
        windows, periods = np.take_along_axis(windows, order, 0), np.take_along_axis(periods, order, 0)
        union[rest] = _covered(total[rest], windows, periods, len(served) - 1)
    return union


def _covered(until: Array, windows: Array, periods: Array, last: int) -> Array:
    """Return the cycles before `until` within the first `window` cycles of a period of any of the nested links."""
    if last < 0:
        return np.zeros_like(until)
    window, period = windows[last], periods[last]
    inside = _covered(window, windows, periods, last - 1)
    each = window + _covered(period, windows, periods, last - 1) - inside
    turns = np.floor(until / period)
    rest = until - turns * period
    beyond = window + _covered(rest, windows, periods, last - 1) - inside
    return np.asarray(turns * each + np.where(rest <= window, rest, beyond))


def _loads(hierarchy: Hierarchy, ends: list[End], made: list[Link], first: dict[str, Array], busy: Array) -> Array:
    """Return the cycles before the array can start and after it has ended.

    What moves once only (a whole operand that stays) can move while the array works, as far as its port has cycles to
    spare, but for the first innermost tile. Inputs and weights load side by side where they do not share both ports.
    """
    cycles: dict[tuple[int, int], Array] = {}
    for _, port, served in _ports(hierarchy, ends):
        if hierarchy.streams:
            for end in served:
                cycles[id(end.link), end.memory] = np.ceil(first[end.link.operand] / port.bits_per_cycle - 1e-9)
            continue
        there = [end for end in served if end.move not in ("O feed", "O fill")]
        singles = [end.link.times < 1.5 for end in there]
        asked = sum(np.where(single, 0.0, np.ceil(end.bits / end.link.period - 1e-9))
                    for end, single in zip(there, singles, strict=True))  # fmt: skip
        spare = np.maximum(1 - asked / port.bits_per_cycle, 0) * busy
        movable = []
        for end, single in zip(there, singles, strict=True):
            least = np.ceil(first[end.link.operand] / port.bits_per_cycle - 1e-9)
            movable.append(np.where(single, np.maximum(end.real - least, 0), 0.0) if single.any() else None)
        for i, (end, own) in enumerate(zip(there, movable, strict=True)):
            if end.link.lower < 0 and end.memory == end.link.upper:
                continue
            if own is None:
                cycles[id(end.link), end.memory] = end.real
                continue
            left = spare
            for j, (other, others) in enumerate(zip(there, movable, strict=True)):
                if j != i and others is not None:
                    before = other.real >= end.real if j < i else other.real > end.real
                    left = left - np.where(before, others, 0.0)
            cycles[id(end.link), end.memory] = end.real - np.minimum(np.maximum(left, 0), own)
    serial = {operand: np.zeros_like(busy) for operand in "IW"}
    aside = {operand: np.zeros_like(busy) for operand in "IW"}
    after = np.zeros_like(busy)
    for link in made:
        if link.lower < 0:
            continue
        lower, upper = cycles.get((id(link), link.lower)), cycles.get((id(link), link.upper))
        longest = np.maximum(0.0 if lower is None else lower, 0.0 if upper is None else upper)
        if link.operand == "O":
            after += longest
        else:
            (serial if _both_shared(hierarchy, link) else aside)[link.operand] += longest
    inputs_first = serial["I"] + np.maximum(serial["W"] + aside["W"], aside["I"])
    weights_first = serial["W"] + np.maximum(serial["I"] + aside["I"], aside["W"])
    return np.asarray(np.minimum(inputs_first, weights_first) + after)


def _both_shared(hierarchy: Hierarchy, link: Link) -> bool:
    """Say whether inputs and weights share the ports at both ends of a link."""
    for memory, move in ((link.lower, "fill"), (link.upper, "feed")):
        port = hierarchy.memories[memory].port_of(f"{link.operand} {move}")
        served = {name[0] for name in port.serves} if port else set()
        if not {"I", "W"} <= served:
            return False
    return True
