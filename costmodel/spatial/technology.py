"""`Technology`: the table of components at one node, with one device memory and one number format, as plain numbers.

The table (`hardware_specs/catalogue/technology`) gives each component at the node it was measured at; here it is
scaled to the node asked for, by the factor of its class: logic, SRAM and wires fall at rates of their own, device
memory not at all. docs/npu-energy.md says where the numbers are from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

from foundation.checks import finite_number
from foundation.errors import UnknownNameError, UnsupportedError
from foundation.formats import MATH_FALLBACK, number_format
from hardware_specs.figures import Figure
from hardware_specs.schema import MathFormat
from hardware_specs.technology import NodeScale, TechnologySpec, load_technology

SUM_BITS = 32.0
"""Bits of a partial sum in the processing elements, as `Layers.sum_bits`."""


@dataclass(frozen=True)
class Coefficients:
    """What everything takes, scaled; one set for the values, one for the lower and one for the upper ends."""

    mac_j: float
    register_j_per_bit: float
    sram_root_j: float
    sram_root_j_per_bit: float
    wire_j_per_bit_mm: float
    dram_j_per_bit: float
    dram_idle_j_per_byte: float
    mac_mm2: float
    register_mm2_per_bit: float
    sram_mm2_per_byte: float
    phy_mm2_per_byte_per_s: float
    utilisation: float
    overhead_share: float
    logic_leakage_w_per_mm2: float
    sram_leakage_w_per_mm2: float


@dataclass(frozen=True)
class Technology:
    """Components at `node_nm` with the device memory `dram`, multiplying the format `math` in PEs.

    `dram_idle_j_per_byte` is idle power over bandwidth (W per byte/s); bits are those of one operand in a PE.
    `dram_least_bytes_per_s` is the bandwidth of the smallest system of that memory: one channel, device or stack.
    """

    node_nm: float
    dram: str
    math: str
    weight_bits: float
    input_bits: float
    sum_bits: float
    bank_bits: float
    dram_least_bytes_per_s: float
    value: Coefficients
    lo: Coefficients
    hi: Coefficients

    @property
    def sets(self) -> tuple[Coefficients, Coefficients, Coefficients]:
        """(value, lo, hi)."""
        return self.value, self.lo, self.hi


@lru_cache(maxsize=256)
def technology(
    node_nm: float = 16.0, dram: str = "lpddr4", dtype: str = "int8", table: str | Path | None = None
) -> Technology:
    """Return the components at a node with a type of device memory, for arithmetic in a number format.

    `table` is a YAML file in place of the catalogue's table. A format whose products have no entry takes that of the
    format that it is widened to. Between nodes of the table the factors are interpolated in logarithms.

    Raises:
        UnknownNameError: no such device memory or number format.
        BadValueError: the node is outside of the table.
    """
    spec = load_technology(table)
    nodes = spec.nodes
    node = finite_number("node_nm", node_nm, low=nodes[-1].node_nm, high=nodes[0].node_nm)
    memory = next((one for one in spec.dram if one.name == dram), None)
    if memory is None:
        raise UnknownNameError("type of device memory", dram, spec.dram_names, f"Known: {', '.join(spec.dram_names)}.")
    asked = number_format(dtype)
    math_format = _math(asked.math, spec)
    sets = []
    for end in ("value", "lo", "hi"):
        low = {"value": "value", "lo": "hi", "hi": "lo"}[end]  # cells fill less where the area is at its upper end
        scaled = _Scaled(spec.nodes, node, end)
        sets.append(Coefficients(
            mac_j=_get(spec.macs.energy_j[math_format], end) * scaled("logic_energy", spec.macs.node_nm),
            register_j_per_bit=_get(spec.registers.energy_j_per_bit, end)
            * scaled("logic_energy", spec.registers.node_nm),
            sram_root_j=_get(spec.sram.root_j, end) * scaled("sram_energy", spec.sram.node_nm),
            sram_root_j_per_bit=_get(spec.sram.root_j_per_bit, end) * scaled("sram_energy", spec.sram.node_nm),
            wire_j_per_bit_mm=_get(spec.wire.energy_j_per_bit_mm, end) * scaled("wire_energy", spec.wire.node_nm),
            dram_j_per_bit=_get(memory.energy_j_per_bit, end),
            dram_idle_j_per_byte=_get(memory.idle_w_per_gb_per_s, end) / 1e9,
            mac_mm2=_get(spec.macs.area_um2[math_format], end) * 1e-6 * scaled("logic_area", spec.macs.node_nm),
            register_mm2_per_bit=_get(spec.registers.area_um2_per_bit, end) * 1e-6
            * scaled("logic_area", spec.registers.node_nm),
            sram_mm2_per_byte=scaled("sram_mm2_per_mib") / 2**20 / _get(spec.layout.memory_fill, low),
            phy_mm2_per_byte_per_s=_get(memory.phy_mm2_per_gb_per_s, end) / 1e9,
            utilisation=_get(spec.layout.utilisation, low),
            overhead_share=_get(spec.layout.overhead_share, end),
            logic_leakage_w_per_mm2=_get(spec.layout.logic_leakage_w_per_mm2, end),
            sram_leakage_w_per_mm2=_get(spec.layout.sram_leakage_w_per_mm2, end),
        ))  # fmt: skip
    return Technology(
        node, dram, math_format, math.ceil(asked.weight_bits), math.ceil(asked.activation_bits), SUM_BITS,
        spec.sram.bank_bits.value, memory.least_bytes_per_s.value, *sets,
    )  # fmt: skip


def _math(name: str, spec: TechnologySpec) -> MathFormat:
    """Return the format of the table that products of a format are made in."""
    for wider in (name, *MATH_FALLBACK.get(name, ())):
        for known in spec.macs.energy_j:
            if known == wider:
                return known
    has = ", ".join(spec.macs.energy_j)
    raise UnsupportedError(f"The table of components has no multiplier for {name} or wider; it has {has}.")


@dataclass(frozen=True)
class _Scaled:
    """Factors of a node: `scaled("logic_energy", 40)` is what a figure of 40 nm is multiplied with."""

    nodes: tuple[NodeScale, ...]
    node_nm: float
    end: str

    def __call__(self, name: str, from_nm: float | None = None) -> float:
        here = self._at(name, self.node_nm, self.end)
        return here if from_nm is None else here / self._at(name, from_nm, "value")

    def _at(self, name: str, node_nm: float, end: str) -> float:
        """Return a factor at a node, interpolated between its neighbours in logarithms; ends of the table hold on."""
        before = next((n for n in reversed(self.nodes) if n.node_nm >= node_nm), self.nodes[0])
        after = next((n for n in self.nodes if n.node_nm <= node_nm), self.nodes[-1])
        start, stop = (_get(getattr(n, name), end) for n in (before, after))
        if before.node_nm == after.node_nm:
            return start
        share = math.log(before.node_nm / node_nm) / math.log(before.node_nm / after.node_nm)
        return float(start * (stop / start) ** share)


def _get(figure: Figure, end: str) -> float:
    return float(getattr(figure, end))


COEFFICIENTS: tuple[str, ...] = tuple(field.name for field in fields(Coefficients))
