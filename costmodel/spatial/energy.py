"""Energy of layers or whole networks on arrays: accesses times what each takes, in columns, by component."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from costmodel.spatial.area import Parts, parts_mm2
from costmodel.spatial.machine import IS, OS, Machine, Operands
from costmodel.spatial.technology import Coefficients, Technology
from workloads.elementwise import Value
from workloads.table import Array

COMPONENTS: tuple[str, ...] = (
    "mac", "registers", "buffer_inputs", "buffer_weights", "buffer_outputs", "shared", "noc", "dram", "static",
)  # fmt: skip


class Counts(Protocol):
    """What energy is counted from: `SpatialCosts` and `NetworkCosts` have it."""

    @property
    def macs(self) -> Array: ...
    @property
    def cycles(self) -> Array: ...
    @property
    def buffer_bytes(self) -> Operands: ...
    @property
    def shared_bytes(self) -> Value: ...
    @property
    def dram_read_bytes(self) -> Any: ...
    @property
    def dram_write_bytes(self) -> Value: ...


class Energy(Parts):
    """Joules by component, of the shape of the counts."""


def energy(costs: Counts, machine: Machine, technology: Technology) -> Energy:
    """Return the energy of counts on machines that broadcast to the same shape; NaN where they are infeasible."""
    return Energy(*(parts_j(costs, machine, technology, one) for one in technology.sets))


def parts_j(costs: Counts, machine: Machine, technology: Technology, of: Coefficients) -> dict[str, Array]:
    """Return the components with one set of coefficients; a unified buffer is one, of all sizes and rates."""
    capacities = [np.where(machine.unified, sum(machine.buffer_bytes), size) for size in machine.buffer_bytes]
    rates = machine.buffer_bytes_per_cycle
    ports = [np.where(machine.unified, sum(rates), rate) for rate in rates]
    buffers = [
        moved * sram_j_per_byte(size, port, technology, of)
        for moved, size, port in zip(costs.buffer_bytes, capacities, ports, strict=True)
    ]
    shared = costs.shared_bytes * sram_j_per_byte(machine.shared_bytes, machine.shared_bytes_per_cycle, technology, of)
    seconds = costs.cycles / machine.clock_hz
    parts = (
        costs.macs * of.mac_j, costs.macs * _register_bits(machine, technology) * of.register_j_per_bit, *buffers,
        shared, _noc(costs, machine, technology, of), 8 * _dram_bytes(costs) * of.dram_j_per_bit,
        seconds * static_w(machine, technology, of),
    )  # fmt: skip
    return {name: np.asarray(part) for name, part in zip(COMPONENTS, parts, strict=True)}


def sram_j_per_byte(size: Value, bytes_per_cycle: Value, technology: Technology, of: Coefficients) -> Array:
    """Return joules of a byte from a memory of `size` bytes with a port of so many bytes a cycle.

    A port wider than a bank is banks side by side, each with its share of the capacity. Nothing takes less than a
    register; a memory of 0 bytes is not there and takes nothing.
    """
    size = np.asarray(size, dtype=float)
    bits = 8.0 * np.minimum(bytes_per_cycle, 2.0**20)  # a port without a limit has banks without end; keep them finite
    banks = np.maximum(np.minimum(bits / technology.bank_bits, size / 1024), 1.0)
    width = np.clip(bits, 8.0, technology.bank_bits)
    access = np.sqrt(size / 1024 / banks) * (of.sram_root_j + of.sram_root_j_per_bit * width)
    return np.where(size > 0, np.maximum(access / width, of.register_j_per_bit) * 8.0, 0.0)


def static_w(machine: Machine, technology: Technology, of: Coefficients) -> Array:
    """Return leakage by area and idle power of device memory by its bandwidth, in watts."""
    parts = parts_mm2(machine, technology, of)
    memories = parts["buffers"] + parts["shared"]
    leaking = (parts["array"] + parts["overhead"]) * of.logic_leakage_w_per_mm2 + memories * of.sram_leakage_w_per_mm2
    return np.asarray(leaking + machine.dram_bytes_per_cycle * machine.clock_hz * of.dram_idle_j_per_byte)


def _dram_bytes(costs: Counts) -> Value:
    """Return bytes to and from device memory; reads are by operand, or their sum over a network."""
    read = costs.dram_read_bytes
    return (sum(read) if isinstance(read, tuple) else read) + costs.dram_write_bytes


def _register_bits(machine: Machine, technology: Technology) -> Array:
    """Return bits read or written in a PE by one MAC.

    What moves on is written and read; what stays is read, and a partial sum that stays is read and written.
    """
    weights, inputs, sums = technology.weight_bits, technology.input_bits, technology.sum_bits
    stays_weights = weights + 2 * inputs + 2 * sums
    stays_outputs = 2 * weights + 2 * inputs + 2 * sums
    stays_inputs = 2 * weights + inputs + 2 * sums
    flow = np.asarray(machine.dataflow)
    return np.where(flow == OS, stays_outputs, np.where(flow == IS, stays_inputs, stays_weights))


def _noc(costs: Counts, machine: Machine, technology: Technology, of: Coefficients) -> Array:
    """Return the energy of wires: half the side of a core for buffers, half that of the chip for all beyond."""
    parts = parts_mm2(machine, technology, of)
    core = (parts["array"] + parts["buffers"]) / machine.cores
    chip = parts["array"] + parts["buffers"] + parts["shared"]
    near = sum(costs.buffer_bytes) * np.sqrt(core) / 2
    far = (costs.shared_bytes + _dram_bytes(costs)) * np.sqrt(chip) / 2
    return np.asarray(8 * (near + far) * of.wire_j_per_bit_mm)
