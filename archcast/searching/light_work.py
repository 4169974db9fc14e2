"""`LightWork`: operators without matrix work: what they move to and from device memory, added to an array's costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from costmodel.spatial.machine import Machine
from costmodel.spatial.networks import NetworkCosts
from workloads.elementwise import unwrapped
from workloads.table import Array, OpTable
from workloads.work import count_work


@dataclass(frozen=True)
class LightWork:
    """All operators without matrix work of a workload: how often they are called, and the bytes of all calls.

    A vector unit that keeps up with memory computes them one after the other: each takes its compulsory traffic over
    the rate of device memory, and the energy of these bytes. What the graph marks as fused moves none.
    """

    calls: float
    read_bytes: float
    write_bytes: float

    def cycles(self, machine: Machine) -> Array:
        """Return the cycles of all calls at the machines' rate of device memory, shape (designs,)."""
        return np.asarray((self.read_bytes + self.write_bytes) / machine.dram_bytes_per_cycle)

    def added(self, costs: NetworkCosts, machine: Machine) -> NetworkCosts:
        """Return costs of matrix work with these operators added to their cycles and bytes of device memory."""
        return replace(
            costs, cycles=costs.cycles + self.cycles(machine), dram_read_bytes=costs.dram_read_bytes + self.read_bytes,
            dram_write_bytes=costs.dram_write_bytes + self.write_bytes,
        )  # fmt: skip


def light_work(table: OpTable) -> LightWork:
    """Return what the rows of a table without matrix work move, each as often as it runs."""
    work = count_work(unwrapped(table))
    times = np.where(np.broadcast_to(work.matrix_flop, (table.rows,)) > 0, 0.0, table.full("count"))
    read, written = (
        np.broadcast_to(size, times.shape) for size in (work.weight_bytes + work.input_bytes, work.output_bytes)
    )
    return LightWork(float(times.sum()), float(np.sum(times * read)), float(np.sum(times * written)))
