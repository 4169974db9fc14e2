"""List scheduling for many chips at once: each task in the order of its rank goes where it ends first.

The rank of a task is the longest way from it to the end (Topcuoglu et al., HEFT, IEEE TPDS 2002), by operations; a unit
runs one task at a time, and what a task reads from another unit goes over the network, from the SRAM where all that is
handed over fits into it, else from DRAM. Loops are over tasks and units; all chips are one array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simulator.soc import parts
from simulator.soc.graphs import CLASSES, Task
from workloads.table import Array


@dataclass(frozen=True)
class Chips:
    """Chips in columns of shape (chips,): numbers of cores, clock, lanes of the accelerators by class (0: none), bytes
    a cycle of the network, SRAM, and DRAM by its columns in `parts.MEMORIES`."""

    big: Array
    little: Array
    clock_hz: Array
    lanes: dict[str, Array]
    network_bytes: Array
    sram_bytes: Array
    dram_bytes_per_s: Array
    dram_j_per_byte: Array
    dram_area_mm2: Array
    dram_idle_w: Array


@dataclass(frozen=True)
class Scheduled:
    """Arrays of shape (chips,); `start_s` and `unit` of each task (tasks, chips), -1 where a chip has no core."""

    latency_s: Array
    energy_j: Array
    area_mm2: Array
    feasible: Array
    start_s: Array
    end_s: Array
    unit: Array


def ranked(graph: Sequence[Task]) -> list[int]:
    """Return the places of tasks by falling rank; every task comes after those that it waits for."""
    names = [task.name for task in graph]
    rank = [task.operations for task in graph]
    for place in range(len(graph) - 1, -1, -1):
        for before in graph[place].after:
            at = names.index(before)
            rank[at] = max(rank[at], graph[at].operations + rank[place])
    return sorted(range(len(graph)), key=lambda place: (-rank[place], place))


def schedule(graph: Sequence[Task], chips: Chips) -> Scheduled:
    """Return latency, energy and area of one frame on every chip."""
    count, most = len(chips.clock_hz), (int(chips.big.max(initial=0)), int(chips.little.max(initial=0)))
    units = sum(most) + len(CLASSES) - 1
    speed, joules, allowed, overhead = _units(chips, most)
    free, energy = np.zeros((units, count)), np.zeros(count)
    start, end, chosen = np.zeros((len(graph), count)), np.zeros((len(graph), count)), np.full((len(graph), count), -1)
    names = [task.name for task in graph]
    handed = sum(task.out_bytes for task in graph)
    inside = chips.sram_bytes >= handed
    network = chips.network_bytes * chips.clock_hz / 2
    bandwidth = np.where(inside, network, np.minimum(network, chips.dram_bytes_per_s))
    byte_j = parts.NETWORK_J_PER_BYTE + np.where(inside, parts.SRAM_J_PER_BYTE, chips.dram_j_per_byte)
    rows = np.arange(count)
    for place in ranked(graph):
        task = graph[place]
        usable = allowed[CLASSES.index(task.kind)]
        ready = np.zeros((units, count))
        for name in task.after:
            at = names.index(name)
            moved = np.where(np.arange(units)[:, None] == chosen[at], 0.0, graph[at].out_bytes / bandwidth)
            ready = np.maximum(ready, end[at] + moved)
        begin = np.maximum(free, ready)
        finish = np.where(usable, begin + overhead[:, None] + task.operations / speed, np.inf)
        unit = np.argmin(finish, axis=0)
        chosen[place], start[place], end[place] = unit, begin[unit, rows], finish[unit, rows]
        free[unit, rows] = end[place]
        energy += task.operations * joules[unit, rows]
        for name in task.after:
            at = names.index(name)
            energy += np.where(chosen[at] == unit, 0.0, graph[at].out_bytes * 2 * byte_j)
    latency = end.max(axis=0)
    feasible = np.isfinite(latency)
    return Scheduled(latency, energy + idle_w(chips) * latency, area_mm2(chips), feasible, start, end, chosen)


def _units(chips: Chips, most: tuple[int, int]) -> tuple[Array, Array, list[Array], Array]:
    """Return operations a second, joules an operation (units, chips), who may run each class, and seconds to start."""
    volt = parts.VOLT_AT_HALF + (parts.VOLT_AT_FULL - parts.VOLT_AT_HALF) * np.clip(
        2 * chips.clock_hz / parts.FULL_CLOCK_HZ - 1, 0.0, 1.0
    )
    speed, joules, there = [], [], []
    for core, number, have in ((parts.BIG, most[0], chips.big), (parts.LITTLE, most[1], chips.little)):
        for place in range(number):
            speed.append(core.operations_per_cycle * chips.clock_hz)
            joules.append(core.operation_j * volt**2)
            there.append(have > place)
    cores = len(speed)
    for kind in CLASSES[1:]:
        lanes = chips.lanes[kind]
        speed.append(np.maximum(lanes, 1.0) * chips.clock_hz * parts.ACCELERATOR_CLOCK)
        joules.append(parts.ACCELERATOR_J * volt**2)
        there.append(lanes > 0)
    present = np.array(there)
    allowed = []
    for number in range(len(CLASSES)):
        usable = present.copy()
        for other in range(len(CLASSES) - 1):
            if other != number - 1:
                usable[cores + other] = False
        allowed.append(usable)
    overhead = np.r_[np.zeros(cores), np.full(len(CLASSES) - 1, parts.START_S)]
    return np.array(speed), np.array(joules), allowed, overhead


def area_mm2(chips: Chips) -> Array:
    """Return the area of all parts."""
    lanes = sum(chips.lanes.values())
    ports = chips.big + chips.little + sum((column > 0).astype(float) for column in chips.lanes.values()) + 2
    return np.asarray(
        chips.big * parts.BIG.area_mm2 + chips.little * parts.LITTLE.area_mm2 + lanes * parts.ACCELERATOR_MM2_PER_LANE
        + chips.sram_bytes * parts.SRAM_MM2_PER_BYTE + chips.dram_area_mm2
        + chips.network_bytes * ports * parts.NETWORK_MM2_PER_BYTE_AND_PORT
    )  # fmt: skip


def idle_w(chips: Chips) -> Array:
    """Return the power of all parts at rest."""
    return np.asarray(
        chips.big * parts.BIG.idle_w + chips.little * parts.LITTLE.idle_w + chips.dram_idle_w
        + sum(chips.lanes.values()) * parts.ACCELERATOR_IDLE_W_PER_LANE + chips.sram_bytes * parts.SRAM_IDLE_W_PER_BYTE
    )  # fmt: skip
