"""Area of arrays with their memories, in mm2 with a range, in columns; docs/npu-energy.md holds it against dies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodel.spatial.machine import Machine
from costmodel.spatial.technology import Coefficients, Technology
from workloads.table import Array

PARTS: tuple[str, ...] = ("array", "buffers", "shared", "overhead", "phy")
"""PEs, buffers of all cores, the shared level, wiring and control, and the interface to device memory."""


@dataclass(frozen=True)
class Parts:
    """Columns by part with their range; `value`, `lo` and `hi` are the sums of the parts.

    Ends are those of all parts at once, so that they hold also where the errors of a table are of one sign.
    """

    parts: dict[str, Array]
    parts_lo: dict[str, Array]
    parts_hi: dict[str, Array]

    @property
    def value(self) -> Array:
        return total(self.parts)

    @property
    def lo(self) -> Array:
        return total(self.parts_lo)

    @property
    def hi(self) -> Array:
        return total(self.parts_hi)


class Area(Parts):
    """Square millimetres by part, columns of designs."""


def area(machine: Machine, technology: Technology) -> Area:
    """Return the area of machines.

    A processing element is its MAC unit and registers of one weight (two where the next is loaded meanwhile), one
    input and one partial sum, over the share of the area that cells fill; memories by the byte; wiring and control as
    a share of both; the interface by bandwidth. Host, vector units and pads are not in it.
    """
    return Area(*(parts_mm2(machine, technology, one) for one in technology.sets))


def parts_mm2(machine: Machine, technology: Technology, of: Coefficients) -> dict[str, Array]:
    """Return the parts with one set of coefficients."""
    weights = np.where(machine.preload_hidden, 2.0, 1.0)
    bits = technology.weight_bits * weights + technology.input_bits + technology.sum_bits
    array = machine.elements * (of.mac_mm2 + bits * of.register_mm2_per_bit) / of.utilisation
    buffers = sum(machine.buffer_bytes) * machine.cores * of.sram_mm2_per_byte
    shared = machine.shared_bytes * of.sram_mm2_per_byte
    overhead = (array + buffers + shared) * of.overhead_share
    phy = machine.dram_bytes_per_cycle * machine.clock_hz * of.phy_mm2_per_byte_per_s
    return {name: np.asarray(part) for name, part in zip(PARTS, (array, buffers, shared, overhead, phy), strict=True)}


def total(parts: dict[str, Array]) -> Array:
    """Return the sum of parts, always in the same order."""
    found = np.zeros(())
    for part in parts.values():
        found = found + part
    return np.asarray(found)
