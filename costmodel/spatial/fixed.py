"""`fixed_mapping`: layers on spatial arrays in closed form, tiled by a rule instead of a search.

Cycles: folds (`folds`), then the ports of the buffers and of the level between cores, then device memory. With double
buffering the next tile arrives while this one is used: the larger of the two binds, and what nothing hides is one
array tile in at the start and one out at the end, and the latency of memory once. Without it moves and arithmetic add
up, and each tile waits for the latency. `tiles`, how often memory hands over, is its traffic over what the buffers
hold. Where folds overlap (`preload_hidden`) the way that moves least is taken, which then is also the fastest; where
they do not, every tile cut in the direction that streams repeats loads and skew, and the fastest way is taken.

A faster memory or port, more buffer or more cores never make a layer slower. A larger array may: edges waste more of
it, and its skew and loads are longer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from costmodel.spatial.costs import STAGES, SpatialCosts
from costmodel.spatial.folds import WHOLE, Folds, by_dataflow, executed_share, folds, reduction
from costmodel.spatial.layers import Layers
from costmodel.spatial.machine import Machine, Operands
from costmodel.spatial.traffic import ArrayTile, Traffic, array_tile, narrowed, ways
from workloads.elementwise import Value, choose, some
from workloads.table import Array


def fixed_mapping(layers: Layers, machine: Machine) -> SpatialCosts:
    """Return what layers cost on machines, of the shape that both broadcast to; rows without work cost nothing."""
    found = folds(layers, machine)
    tile, short = narrowed(layers, machine, array_tile(layers, machine))
    ports = _port_bytes(layers, machine)
    half = choose(machine.double_buffered, 0.5, 1.0)
    room = Operands(*(size * machine.cores * half for size in machine.buffer_bytes))
    onchip = _Onchip(layers, machine, found, ports)
    moved = _streamed(layers, machine, onchip, ways(layers, tile, room, machine.unified))
    timing = _Timing.of(layers, machine, tile, sum(room))
    if not some(machine.shared_bytes):
        chosen = _fastest(layers, machine, onchip, timing, moved)
        return _costs(layers, machine, onchip, timing, _Chosen(chosen, chosen, 0.0), short)
    found_both = _through_shared(layers, machine, onchip, timing, tile, moved, half)
    waits = layers.groups * found_both.between_bytes / machine.shared_bytes_per_cycle
    return _costs(layers, machine, replace(onchip, shared_cycles=waits), timing, found_both, short)


@dataclass(frozen=True)
class _Chosen:
    """The way chosen for the buffers, that for device memory, and the bytes a group of the level between them."""

    inner: Traffic
    outer: Traffic
    between_bytes: Value


@dataclass(frozen=True)
class _Onchip:
    """Folds, what passes the ports of the buffers (bytes of one group), and the cycles that the shared level takes."""

    layers: Layers
    machine: Machine
    folds: Folds
    port_bytes: Operands
    shared_cycles: Value = 0.0

    def bytes(self, way: Traffic) -> Operands:
        """Return what passes the ports under one way to tile: what is stationary once a run."""
        if way.run is WHOLE:
            return self.port_bytes
        flow, loads = self.machine.dataflow, np.maximum(np.ceil(self.folds.along / way.run), 1.0)
        return self.port_bytes._replace(
            inputs=self.port_bytes.inputs * by_dataflow(flow, 1.0, 1.0, loads),
            weights=self.port_bytes.weights * by_dataflow(flow, loads, 1.0, 1.0),
        )

    @cached_property
    def port_cycles(self) -> Value:
        """Cycles that the busiest port takes where every stream is whole."""
        return self.layers.groups * _port_cycles(self.machine, self.port_bytes)

    def cycles(self, way: Traffic) -> tuple[Value, Value, Value]:
        """Return cycles with whole folds, with fill and drain, and with waits for ports, under one way to tile."""
        found, uncut = self.folds, not some(self.folds.overhead_cycles)
        if way.run is WHOLE and uncut:
            shape, fill = found.shape_cycles, found.fill_cycles
        else:
            cuts = 1.0 if uncut else by_dataflow(self.machine.dataflow, way.m_tiles, 1.0, way.n_tiles)
            shape, fill = found.cut(cuts, way.run)
        ports = self.port_cycles if way.run is WHOLE else (
            self.layers.groups * _port_cycles(self.machine, self.bytes(way))
        )  # fmt: skip
        ports = np.maximum(fill, ports)
        return shape, fill, ports if self.shared_cycles is NOTHING else np.maximum(ports, self.shared_cycles)


NOTHING = _Onchip.shared_cycles
"""There is no level between buffers and device memory."""


@dataclass(frozen=True)
class _Timing:
    """Device memory: what it takes a byte, what is exposed at both ends, and what one hand-over holds and costs."""

    machine: Machine
    exposed_cycles: Value
    hand_over_bytes: Value

    @classmethod
    def of(cls, layers: Layers, machine: Machine, tile: ArrayTile, room_bytes: Value) -> _Timing:
        ends = exposed_bytes(layers, machine, tile) / machine.dram_bytes_per_cycle
        room_bytes = np.maximum(room_bytes, choose(machine.shared_bytes > 0, machine.shared_bytes, 0.0))
        return cls(machine, ends, np.maximum(room_bytes, sum(tile.bytes)))

    def cycles(self, onchip: Value, moved_bytes: Value) -> tuple[Value, Value, Value]:
        """Return cycles with device memory, those with issue as well, and the tiles."""
        machine = self.machine
        tiles = np.ceil(moved_bytes / np.maximum(self.hand_over_bytes, 1e-9))
        moving, latency = moved_bytes / machine.dram_bytes_per_cycle, machine.dram_latency_cycles
        overlapped = np.maximum(onchip + self.exposed_cycles, moving) + latency * (tiles > 0)
        memory = overlapped if machine.double_buffered is True else choose(
            machine.double_buffered, overlapped, onchip + moving + latency * tiles
        )  # fmt: skip
        return memory, memory + machine.issue_cycles * tiles, tiles


def exposed_bytes(layers: Layers, machine: Machine, tile: ArrayTile | None = None) -> Value:
    """Return what no arithmetic hides: the operands of the first array tile, and the outputs of the last."""
    tile = array_tile(layers, machine) if tile is None else tile
    return tile.bytes.inputs + tile.bytes.weights + tile.m * tile.n * (layers.output_bits / 8)


def _port_bytes(layers: Layers, machine: Machine) -> Operands:
    """Return the bytes of one group between buffers and array: partial sums are read back but for the first time."""
    m, n, k, flow = layers.pixels, layers.k, layers.depth, machine.dataflow
    rows, cols = machine.rows, machine.cols
    on_rows, positions = reduction(layers, machine)
    deep = np.ceil(on_rows / rows) * positions
    inputs = by_dataflow(flow, np.ceil(n / cols), np.ceil(n / cols), 1.0)
    weights = by_dataflow(flow, 1.0, np.ceil(m / rows), np.ceil(m / cols))
    sums = by_dataflow(flow, 2.0 * deep - 1.0, 1.0, 2.0 * deep - 1.0)
    return Operands(
        m * k * (layers.input_bits / 8) * inputs, n * k * (layers.weight_bits / 8) * weights,
        m * n * (layers.sum_bits / 8) * np.maximum(sums, 0.0),
    )  # fmt: skip


def _port_cycles(machine: Machine, ports: Operands) -> Value:
    """Return the cycles a group that the busiest port takes; a unified buffer has one port of all their rates."""
    rates = [rate * machine.cores for rate in machine.buffer_bytes_per_cycle]
    apart = np.maximum(np.maximum(ports[0] / rates[0], ports[1] / rates[1]), ports[2] / rates[2])
    return choose(machine.unified, sum(ports) / sum(rates), apart) if some(machine.unified) else apart


def _streamed(layers: Layers, machine: Machine, onchip: _Onchip, moved: tuple[Traffic, ...]) -> tuple[Traffic, ...]:
    """Return the same where an operand has no buffer: what the array takes comes straight from the next level."""
    absent = [choose(machine.unified, False, size == 0.0) for size in machine.buffer_bytes]
    if not any(some(gone) for gone in absent):
        return moved
    ports = onchip.port_bytes
    sums = by_dataflow(machine.dataflow, 0.5 * (ports.outputs - layers.pixels * layers.k * layers.sum_bits / 8), 0.0,
                       0.5 * (ports.outputs - layers.pixels * layers.k * layers.sum_bits / 8))  # fmt: skip
    return tuple(
        Traffic(
            np.where(absent[0], taken.inputs, way.inputs), np.where(absent[1], taken.weights, way.weights),
            way.outputs, np.where(absent[2], sums, way.spilled), way.m_tiles, way.n_tiles, way.run,
        )
        for way in moved for taken in (onchip.bytes(way),)
    )  # fmt: skip


def _take(better: Array, a: Traffic, b: Traffic) -> Traffic:
    """Return one way where it is better, the other elsewhere; both write the same outputs."""
    inputs, weights = np.where(better, a.inputs, b.inputs), np.where(better, a.weights, b.weights)
    m_tiles, n_tiles = np.where(better, a.m_tiles, b.m_tiles), np.where(better, a.n_tiles, b.n_tiles)
    none = a.spilled.__class__ is b.spilled.__class__ is float  # the ways that never spill
    spilled = 0.0 if none else np.where(better, a.spilled, b.spilled)
    run = WHOLE if a.run is b.run is WHOLE else np.where(better, a.run, b.run)
    return Traffic(inputs, weights, a.outputs, spilled, m_tiles, n_tiles, run)


def _least(moved: tuple[Traffic, ...]) -> Traffic:
    """Return the way that moves least."""
    best, least = moved[0], moved[0].bytes
    for way in moved[1:]:
        count = way.bytes
        best, least = _take(count < least, way, best), np.minimum(count, least)
    return best


def _fastest(layers: Layers, machine: Machine, onchip: _Onchip, timing: _Timing, moved: tuple[Traffic, ...]) -> Traffic:
    """Return the way of the fewest cycles, and of the fewest bytes among equals."""
    if not some(onchip.folds.overhead_cycles):  # ways of equal runs take equal cycles on chip: the least is the soonest
        runs = {id(way.run): way.run for way in moved}
        moved = tuple(_least(tuple(way for way in moved if way.run is run)) for run in runs.values())
        if len(moved) == 1:
            return moved[0]
    return _soonest(moved, [timing.cycles(onchip.cycles(way)[2], layers.groups * way.bytes)[1] for way in moved])


def _soonest(moved: tuple[Traffic, ...], times: list[Value]) -> Traffic:
    """Return the way of the least time, and of the fewest bytes among equals."""
    best, fewest = moved[0], times[0]
    for way, cycles in zip(moved[1:], times[1:], strict=True):
        better = (cycles < fewest) | ((cycles == fewest) & (way.bytes < best.bytes))
        best, fewest = _take(better, way, best), np.where(better, cycles, fewest)
    return best


def _through_shared(
    layers: Layers,
    machine: Machine,
    onchip: _Onchip,
    timing: _Timing,
    tile: ArrayTile,
    moved: tuple[Traffic, ...],
    half: Value,
) -> _Chosen:
    """Return what moves between buffers and the level that cores share, and between that and device memory."""
    room = Operands(machine.shared_bytes * half, 0.0, 0.0)
    inner, outer = _least(moved), _least(ways(layers, replace(tile, narrow=None), room, True))
    shared = np.asarray(machine.shared_bytes > 0)
    if tile.narrow is not None:  # not the least, but the soonest where runs wait
        times = []
        for way in moved:
            between = layers.groups * np.where(shared, way.bytes / machine.shared_bytes_per_cycle, 0.0)
            beyond = np.where(shared, np.minimum(outer.bytes, way.bytes), way.bytes)
            times.append(timing.cycles(np.maximum(onchip.cycles(way)[2], between), layers.groups * beyond)[1])
        inner = _take(tile.narrow.where, _soonest(moved, times), inner)
    return _Chosen(inner, _take(shared & (outer.bytes < inner.bytes), outer, inner), np.where(shared, inner.bytes, 0.0))


def _costs(
    layers: Layers, machine: Machine, onchip: _Onchip, timing: _Timing, both: _Chosen, short: Value
) -> SpatialCosts:
    groups, found, chosen, outer = layers.groups, onchip.folds, both.inner, both.outer
    work = layers.macs > 0
    shape, fill, ports = onchip.cycles(chosen)
    memory, issued, tiles = timing.cycles(ports, groups * outer.bytes)
    macs = layers.macs * executed_share(layers, machine)
    shortfall = short * (macs > 0)
    feasible = np.asarray(shortfall == 0)
    steps: Any = np.broadcast_arrays(found.ideal_cycles, shape, fill, ports, memory, issued, feasible)[:-1]
    if not work.all():  # what has no work costs nothing, whatever its other sides are
        steps, groups, tiles = tuple(np.where(work, step, 0.0) for step in steps), groups * work, tiles * work
    if not feasible.all():
        steps = tuple(np.where(feasible, step, np.nan) for step in steps)
    filled = Operands(chosen.inputs, chosen.weights, chosen.outputs + 2.0 * chosen.spilled)
    through = Operands(*(
        groups * np.where(size > 0, np.maximum(port, fetched) + fetched, 0.0)
        for size, port, fetched in zip(_present(machine), onchip.bytes(chosen), filled, strict=True)
    ))  # fmt: skip
    reads = Operands(groups * outer.inputs, groups * outer.weights, groups * outer.spilled)
    return SpatialCosts(
        macs=macs, **{f"{name}_cycles": step for name, step in zip(STAGES, steps, strict=True)},
        buffer_bytes=through, shared_bytes=groups * both.between_bytes, dram_read_bytes=reads,
        dram_write_bytes=groups * (outer.outputs + outer.spilled), tiles=tiles, feasible=feasible,
        shortfall_bytes=shortfall,
    )  # fmt: skip


def _present(machine: Machine) -> Operands:
    return Operands(*(choose(machine.unified, 1.0, size) for size in machine.buffer_bytes))
