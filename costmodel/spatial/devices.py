"""Devices of the catalogue as machines: `machine_of` a spec, and what the rows of a table take on it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from costmodel.spatial.costs import SpatialCosts
from costmodel.spatial.device_energy import array_energy_j
from costmodel.spatial.fixed import exposed_bytes, fixed_mapping
from costmodel.spatial.layers import layers_of
from costmodel.spatial.machine import DATAFLOWS, Machine, Operands
from costmodel.spatial.mapped import mapped
from costmodel.spatial.sparsity import at_precision
from foundation.errors import BadValueError
from hardware_specs import DeviceSpec
from hardware_specs.spatial import OPERANDS, Buffer
from workloads.elementwise import ZERO, Value
from workloads.table import OpTable
from workloads.work import OpWork


def machine_of(spec: DeviceSpec) -> Machine:
    """Return the array of a device: sizes of one core, rates in bytes a cycle of the matrix unit's clock.

    Raises:
        BadValueError: the device has no section `spatial`.
    """
    spatial, unit = spec.spatial, spec.unit("matrix")
    array = (spatial.array or unit.array) if spatial else None
    if spatial is None or array is None:
        raise BadValueError(f"{spec.id} has no section 'spatial': its array and buffers are not described.")
    clock_hz = unit.clock_hz.value
    # a unified buffer goes by the sum of the three
    buffers = [spatial.unified, None, None] if spatial.unified else [getattr(spatial, name) for name in OPERANDS]
    shared = spatial.shared
    return Machine(
        rows=float(array.rows), cols=float(array.cols), dataflow=DATAFLOWS.index(array.dataflow),
        buffer_bytes=Operands(*(buffer.capacity_bytes.value if buffer else 0.0 for buffer in buffers)),
        buffer_bytes_per_cycle=Operands(*(_rate(buffer, clock_hz, bool(spatial.unified)) for buffer in buffers)),
        dram_bytes_per_cycle=spec.dram.bandwidth_bytes_per_s.value / clock_hz, clock_hz=clock_hz,
        cores=float(unit.count), unified=spatial.unified is not None,
        shared_bytes=shared.capacity_bytes.value if shared else 0.0,
        shared_bytes_per_cycle=shared.bandwidth_bytes_per_s.value / clock_hz if shared else np.inf,
        double_buffered=spatial.double_buffered, preload_hidden=spatial.preload_hidden,
        dram_latency_cycles=spatial.dram_latency_s.value * clock_hz, issue_cycles=spatial.issue_s.value * clock_hz,
        skips_weights=float(spatial.skips_weights), skips_inputs=float(spatial.skips_inputs),
        packs_groups=spatial.packs_groups,
        kernel_on_rows=spatial.kernel_on_rows, sum_bits=float(spatial.sum_bits), mapping=spatial.mapping,
        node_nm=_node_nm(spec),
    )  # fmt: skip


def _node_nm(spec: DeviceSpec) -> float:
    """Return the node at which accesses are counted: 0 where the energy a FLOP has a source, or no node is known."""
    spatial = spec.spatial
    node = (spatial.node_nm if spatial else None) or spec.process_node_nm
    sourced = any(not figure.estimated for figure in spec.unit("matrix").energy_per_flop_j.values())
    return 0.0 if node is None or sourced else node.value


def _rate(buffer: Buffer | None, clock_hz: float, unified: bool) -> float:
    if buffer is None:
        return (
            1e-9 if unified else np.inf
        )  # of a unified buffer the first has all; what is not there is never waited for
    return buffer.bandwidth_bytes_per_s.value / clock_hz


@dataclass(frozen=True)
class SpatialTimes:
    """Seconds of each row on an array, at full efficiency; each of the first four includes the one before it.

    `dram_bytes` go to and from device memory, `exposed_s` is the first load and the last store, and `serial_s` what
    hides behind nothing: latencies, starts of tiles, and without double buffers the lesser of arithmetic and moves.
    `energy_j` is spent on chip (zeros where the device's energy a FLOP stands). NaN where one tile does not fit, zeros
    without matrix work.
    """

    ideal_s: Value
    shape_s: Value
    fill_s: Value
    onchip_s: Value
    dram_bytes: Value
    exposed_s: Value
    serial_s: Value
    energy_j: Value = ZERO
    energy_lo_j: Value = ZERO
    energy_hi_j: Value = ZERO


def spatial_times(table: OpTable, work: OpWork, machine: Machine, cycle_s: Value, dram_byte_s: float) -> SpatialTimes:
    """Return where the time of the rows of a table goes on a machine whose cycles last `cycle_s` in each row's format.

    The last two are so taken apart that efficiencies below 1 can be put on arithmetic and on memory.
    """
    layers = replace(layers_of(table, work), sum_bits=machine.sum_bits)
    slowed = replace(at_precision(machine, cycle_s * machine.clock_hz), dram_bytes_per_cycle=cycle_s / dram_byte_s)
    if machine.mapping != "fixed":
        steps = np.broadcast_to(cycle_s * machine.clock_hz, (table.rows,))
        costs = mapped(layers, machine, steps, slowed.dram_bytes_per_cycle)
        ends = exposed_bytes(layers, slowed) * dram_byte_s if machine.mapping == "best" else 0.0
        return _under_mapping(costs, cycle_s, dram_byte_s, ends, _energy(costs, machine, table))
    costs = fixed_mapping(layers, slowed)
    moved, onchip = np.asarray(costs.dram_bytes), costs.onchip_cycles * cycle_s
    waits = costs.tiles * (machine.issue_cycles / machine.clock_hz)
    latency_s = machine.dram_latency_cycles / machine.clock_hz
    if machine.double_buffered:
        exposed, waits = exposed_bytes(layers, slowed) * dram_byte_s, waits + latency_s * (costs.tiles > 0)
    else:
        exposed, waits = 0.0 * moved, waits + latency_s * costs.tiles + np.minimum(onchip, moved * dram_byte_s)
    return SpatialTimes(
        costs.ideal_cycles * cycle_s, costs.shape_cycles * cycle_s, costs.fill_cycles * cycle_s, onchip, moved, exposed,
        waits, *_energy(costs, machine, table),
    )  # fmt: skip


def _energy(costs: SpatialCosts, machine: Machine, table: OpTable) -> tuple[Value, ...]:
    return array_energy_j(costs, machine, table.full("dtype")) if machine.node_nm > 0 else (ZERO, ZERO, ZERO)


def _under_mapping(
    costs: SpatialCosts, cycle_s: Value, dram_byte_s: float, ends_s: Value, energy_j: tuple[Value, ...]
) -> SpatialTimes:  # fmt: skip
    """Return the times of costs whose stalls are counted: what neither arithmetic nor bandwidth explains is serial.

    `ends_s` are the first load and the last store of a tile, at most what there is beyond arithmetic.
    """
    moved, onchip = np.asarray(costs.dram_bytes), costs.onchip_cycles * cycle_s
    exposed = np.clip(costs.cycles * cycle_s - onchip, 0.0, ends_s)
    waits = np.maximum(costs.cycles * cycle_s - np.maximum(onchip + exposed, moved * dram_byte_s), 0.0)
    return SpatialTimes(
        costs.ideal_cycles * cycle_s, costs.shape_cycles * cycle_s, costs.fill_cycles * cycle_s, onchip, moved,
        exposed, waits, *energy_j,
    )  # fmt: skip


def tile_shortfall(table: OpTable, machine: Machine) -> tuple[float, str]:
    """Return by how many bytes one tile does not fit in the buffers, at the worst row, and its name ('' if all fit).

    Each core must hold one array tile of every operand, twice where buffers are double.
    """
    costs = mapped(replace(layers_of(table), sum_bits=machine.sum_bits), machine)
    short = np.broadcast_to(costs.shortfall_bytes, (table.rows,))
    worst = int(np.argmax(short)) if table.rows else 0
    if not table.rows or short[worst] <= 0:
        return 0.0, ""
    return float(short[worst]), table.labels[worst] if table.labels else f"row {worst}"
