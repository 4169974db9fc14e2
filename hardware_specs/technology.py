"""`TechnologySpec`: what the components of accelerators take in energy and area, and how each class scales by node."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hardware_specs.figures import Figure, Sourced, Spec, fault
from hardware_specs.schema import MathFormat
from hardware_specs.units import Quantity

TECHNOLOGY = "accelerator-components"
"""The id of the catalogue's table."""

_FACTOR = Quantity("", 1e-4, 1e3)
_AREA_UM2 = Quantity("", 1e-3, 1e7)
_J_PER_BIT = Quantity("J/bit", 1e-18, 1e-9)
Node = Annotated[float, Field(ge=1, le=500)]


class NodeScale(Spec):
    """Factors of one node, relative to the reference node, by class of component; SRAM area is absolute."""

    node_nm: Node
    logic_energy: Annotated[Figure, _FACTOR]
    logic_area: Annotated[Figure, _FACTOR]
    sram_energy: Annotated[Figure, _FACTOR]
    wire_energy: Annotated[Figure, _FACTOR]
    sram_mm2_per_mib: Annotated[Figure, _FACTOR]


class Macs(Spec):
    """Energy (J) and area (um2) of one multiply-accumulate unit by number format."""

    scales_as: Literal["logic"]
    node_nm: Node
    energy_j: Annotated[dict[MathFormat, Figure], Quantity("J", 1e-16, 1e-9)]
    area_um2: Annotated[dict[MathFormat, Figure], _AREA_UM2]

    @model_validator(mode="after")
    def _same_formats(self) -> Macs:
        if extra := set(self.energy_j) ^ set(self.area_um2):
            raise fault(f"energy and area are not both given for {', '.join(sorted(extra))}.", ("area_um2",))
        return self


class Registers(Spec):
    """Registers of processing elements: one read or write of a bit, and the area of a bit."""

    scales_as: Literal["logic"]
    node_nm: Node
    energy_j_per_bit: Annotated[Figure, _J_PER_BIT]
    area_um2_per_bit: Annotated[Figure, _AREA_UM2]


class Sram(Spec):
    """An access of w bits to a bank of C KiB takes sqrt(C) (root_j + root_j_per_bit w); banks are `bank_bits` wide."""

    scales_as: Literal["sram"]
    node_nm: Node
    root_j: Annotated[Figure, Quantity("J", 1e-16, 1e-9)]
    root_j_per_bit: Annotated[Figure, _J_PER_BIT]
    bank_bits: Annotated[Figure, Quantity("", 8, 65536)]


class Wire(Spec):
    """A bit over one millimetre."""

    scales_as: Literal["wire"]
    node_nm: Node
    energy_j_per_bit_mm: Annotated[Figure, _J_PER_BIT]


class Dram(Spec):
    """A type of device memory: a bit read or written, its interface on the chip, idle power; not scaled by node.

    `least_bytes_per_s` is what the smallest system of it delivers at its lowest usual rate: a channel, device or stack.
    """

    name: str
    energy_j_per_bit: Annotated[Figure, _J_PER_BIT]
    phy_mm2_per_gb_per_s: Annotated[Figure, Quantity("", 0, 10)]
    idle_w_per_gb_per_s: Annotated[Figure, Quantity("", 0, 10)]
    least_bytes_per_s: Annotated[Figure, Quantity("B/s", 1e6, 1e13)]


class Layout(Spec):
    """Shares of the area that cells and memory macros fill, what wiring and control add, leakage by area."""

    memory_fill: Annotated[Figure, Quantity("", 0.05, 1)]
    utilisation: Annotated[Figure, Quantity("", 0.05, 1)]
    overhead_share: Annotated[Figure, Quantity("", 0, 5)]
    logic_leakage_w_per_mm2: Annotated[Figure, Quantity("", 0, 10)]
    sram_leakage_w_per_mm2: Annotated[Figure, Quantity("", 0, 10)]


class TechnologySpec(Sourced):
    """A table of components; `nodes` from the largest to the smallest, the reference node among them."""

    reference_node_nm: Node
    nodes: Annotated[tuple[NodeScale, ...], Field(min_length=2)]
    macs: Macs
    registers: Registers
    sram: Sram
    wire: Wire
    dram: Annotated[tuple[Dram, ...], Field(min_length=1)]
    layout: Layout

    @model_validator(mode="after")
    def _nodes_fall(self) -> TechnologySpec:
        sizes = [node.node_nm for node in self.nodes]
        if sorted(sizes, reverse=True) != sizes or len(set(sizes)) != len(sizes):
            raise fault("nodes must run from the largest to the smallest.", ("nodes",))
        reference = next((node for node in self.nodes if node.node_nm == self.reference_node_nm), None)
        if reference is None or reference.logic_energy.value != 1 or reference.sram_energy.value != 1:
            raise fault("the reference node must be among the nodes, with factors of 1.", ("reference_node_nm",))
        return self

    @property
    def dram_names(self) -> tuple[str, ...]:
        """Types of device memory."""
        return tuple(dram.name for dram in self.dram)


@lru_cache(maxsize=16)
def load_technology(path: str | Path | None = None) -> TechnologySpec:
    """Return the catalogue's table of components, or that of a YAML file.

    Raises:
        BadFileError: the file cannot be used.
    """
    if path is not None:
        from hardware_specs.reader import read_file

        return read_file(path, TechnologySpec)
    from hardware_specs.catalogue import compiled_entries

    return TechnologySpec.model_validate(compiled_entries("technology")[TECHNOLOGY])
