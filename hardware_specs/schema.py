"""What a device is: compute units, memory levels, links, power, price. All figures are SI; see `docs/hardware.md`."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from hardware_specs.cores import CoreGroup
from hardware_specs.figures import Figure, Place, Sourced, Spec, check_range, fault
from hardware_specs.spatial import GEMMINI_BUS_BYTES, GEMMINI_BUS_SHARE, GEMMINI_SIDES, ElementArray, Spatial
from hardware_specs.thermal import Thermal
from hardware_specs.units import Quantity

MathFormat = Literal["fp64", "fp32", "tf32", "bf16", "fp16", "fp8", "int8", "int4", "fp4"]
"""Formats that a peak rate is given for; `foundation.formats.NumberFormat.math` is one of these."""

DeviceKind = Literal["gpu", "cpu", "npu", "mcu", "fpga", "accelerator"]
"""`npu`: inference engines of phones, boards and cameras; `accelerator`: server parts that are no GPU (TPU, Gaudi)."""

Count = Annotated[int, Field(strict=True, ge=1, le=10**7)]
Share = Quantity("", 1e-3, 1.0)
_DRAM_RATE = Quantity("B/s", 1e6, 1e14)
LEAST_OF_ARRAY, MOST_OF_ARRAY = 0.25, 4.2
"""Between which the fastest peak may be, of two operations a cycle and element of the array."""


class Tile(Spec):
    """The native block of a GEMM C[m,n] += A[m,k] B[k,n] on one unit; sizes are elements."""

    m: Count
    n: Count
    k: Count


class Array(Spec):
    """A systolic array: PE rows and columns, and what stays in place (weights, outputs or inputs)."""

    rows: Count
    cols: Count
    dataflow: Literal["ws", "os", "is"]


class ComputeUnit(Spec):
    """One kind of execution unit of a device.

    'matrix' serves GEMM-like operators and 'vector' all others. On a CPU both name the same SIMD lanes: their
    peaks are alternatives, never added. `peak_flop_per_s` is that of the whole device for dense operands.
    """

    name: Literal["matrix", "vector"]
    count: Count
    clock_hz: Annotated[Figure, Quantity("Hz", 1e5, 2e10)]
    peak_flop_per_s: Annotated[dict[MathFormat, Figure], Quantity("FLOP/s", 1e6, 1e18)]
    tile: Tile | None = None
    array: Array | None = None
    efficiency: Annotated[Figure, Share]
    energy_per_flop_j: Annotated[dict[MathFormat, Figure], Quantity("J/FLOP", 1e-15, 1e-7)] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _has_a_peak(self) -> ComputeUnit:
        if not self.peak_flop_per_s:
            raise fault("a compute unit needs the peak rate of at least one format.", ("peak_flop_per_s",))
        if extra := set(self.energy_per_flop_j) - set(self.peak_flop_per_s):
            raise fault(f"no peak rate is given for {', '.join(sorted(extra))}.", ("energy_per_flop_j",))
        return self


class MemoryLevel(Spec):
    """One level of memory, all instances on the device together.

    `capacity_bytes` includes `reserved_bytes` (driver context, ECC). Where `bus_width_bits` and `transfer_rate_hz`
    (per pin) are both given, their product must be the bandwidth within 2 %. `read_only` (flash): weights and code lie
    there, what a network computes must fit in the next level inwards. `keeps_weights`: those that fit beside the
    activations stay there from one inference to the next, and only the others come from outside.
    """

    name: Annotated[str, Field(min_length=1)]
    capacity_bytes: Annotated[Figure, Quantity("B", 64, 1e15)]
    reserved_bytes: Annotated[Figure, Quantity("B", 0, 1e13)]
    bandwidth_bytes_per_s: Annotated[Figure, Quantity("B/s", 1e6, 1e17)]
    efficiency: Annotated[Figure, Share]
    energy_per_byte_j: Annotated[Figure, Quantity("J/B", 1e-15, 1e-6)]
    bus_width_bits: Count | None = None
    transfer_rate_hz: Annotated[Figure | None, Quantity("Hz", 1e5, 1e12)] = None
    read_only: bool = False
    keeps_weights: bool = False

    @property
    def usable_bytes(self) -> float:
        """Bytes that a workload may fill."""
        return self.capacity_bytes.value - self.reserved_bytes.value

    @model_validator(mode="after")
    def _consistent(self) -> MemoryLevel:
        if self.reserved_bytes.value >= self.capacity_bytes.value:
            raise fault("nothing is left: reserved_bytes is not below capacity_bytes.", ("reserved_bytes",))
        if self.name == "dram":  # catches Tb/s read as TB/s and MB/s as GB/s off chip, where rates are known well
            check_range(self.bandwidth_bytes_per_s, _DRAM_RATE, ("bandwidth_bytes_per_s",))
        if self.bus_width_bits and self.transfer_rate_hz:
            pins = self.bus_width_bits * self.transfer_rate_hz.value / 8
            if abs(pins / self.bandwidth_bytes_per_s.value - 1) > 0.02:
                given = self.bandwidth_bytes_per_s.value
                raise fault(
                    f"bandwidth is {given:.4g} B/s, but pins x transfer rate is {pins:.4g} B/s.",
                    ("bandwidth_bytes_per_s",),
                )
        return self


class LinkPort(Spec):
    """Ports of one kind: `link` is the id of a `LinkSpec`, `count` how many the device has."""

    link: str
    count: Count


class HostPort(Spec):
    """The processor beside an accelerator: the id of its device, and of the link to it ("": they share memory)."""

    device: str
    link: str = ""


class Power(Spec):
    """Board power in watts: doing nothing, and the limit that the device keeps to."""

    idle_w: Annotated[Figure, Quantity("W", 1e-7, 1e5)]
    limit_w: Annotated[Figure, Quantity("W", 1e-6, 1e5)]

    @model_validator(mode="after")
    def _idle_below_limit(self) -> Power:
        if self.idle_w.value >= self.limit_w.value:
            raise fault("idle power is not below the limit.", ("idle_w",))
        return self


class Price(Spec):
    """What an hour of one device costs, and the day (YYYY-MM-DD) on which it did."""

    usd_per_hour: Annotated[Figure, Quantity("USD/h", 1e-6, 1e4)]
    date: str

    @field_validator("date")
    @classmethod
    def _is_date(cls, text: str) -> str:
        return date_text(text)


class DeviceSpec(Sourced):
    """One device. `memory` runs from the outermost level (device memory) inwards.

    `like` is the id of a device of the catalogue whose runtimes this one takes too (a chip of the same family).
    """

    vendor: str
    kind: DeviceKind
    aliases: tuple[str, ...] = ()
    like: str = ""
    released: str
    process_node_nm: Annotated[Figure | None, Quantity("nm", 0.5, 1e4)] = None
    units: Annotated[tuple[ComputeUnit, ...], Field(min_length=1)]
    memory: Annotated[tuple[MemoryLevel, ...], Field(min_length=1)]
    cores: tuple[CoreGroup, ...] = ()
    links: tuple[LinkPort, ...] = ()
    host: HostPort | None = None
    power: Power
    thermal: Thermal | None = None
    price: Price | None = None
    spatial: Spatial | None = None
    launch_overhead_s: Annotated[Figure, Quantity("s", 1e-9, 1.0)]

    @field_validator("released")
    @classmethod
    def _is_date(cls, text: str) -> str:
        return date_text(text)

    @model_validator(mode="after")
    def _names_stand_once(self) -> DeviceSpec:
        for field, names in (("units", [u.name for u in self.units]), ("memory", [m.name for m in self.memory])):
            for index, name in enumerate(names):
                if name in names[:index]:
                    raise fault(f"the name '{name}' stands twice among {', '.join(names)}.", (field, index, "name"))
        return self

    @model_validator(mode="after")
    def _spatial_has_an_array(self) -> DeviceSpec:
        if self.spatial is not None and self.spatial.array is None and self.unit("matrix").array is None:
            raise fault("neither this section nor the matrix unit has an array.", ("spatial", "array"))
        unit, own = self.unit("matrix"), self.spatial.array if self.spatial else None
        at = ("units", self.units.index(unit))
        if array := own or unit.array:
            _peak_is_of_its_array(unit, array.rows * array.cols, at)
            if self.spatial is not None and self.spatial.mapping == "gemmini":
                place = ("spatial", "array") if own else (*at, "array")
                _gemmini_is_one(unit, array, self.dram.bandwidth_bytes_per_s.value, at, place)
        return self

    @property
    def dram(self) -> MemoryLevel:
        """The outermost memory."""
        return self.memory[0]

    def unit(self, name: Literal["matrix", "vector"]) -> ComputeUnit:
        """Return the unit of that name, or the only unit of a device that has one kind."""
        return next((unit for unit in self.units if unit.name == name), self.units[0])


def _peak_is_of_its_array(unit: ComputeUnit, elements: int, at: Place) -> None:
    """Hold the fastest peak against two operations an element and cycle; narrow formats are composed, up to 4 times."""
    fastest = max(figure.value for figure in unit.peak_flop_per_s.values())
    whole = 2.0 * elements * unit.count * unit.clock_hz.value
    if not LEAST_OF_ARRAY <= fastest / whole <= MOST_OF_ARRAY:
        raise fault(
            f"the fastest peak is {fastest:.4g} FLOP/s, but {unit.count} x {elements:,} elements at "
            f"{unit.clock_hz.value:.4g} Hz do {whole:.4g}: correct the peak, the array, count or clock_hz (from "
            f"{LEAST_OF_ARRAY:g} to {MOST_OF_ARRAY:g} times it is possible).", (*at, "peak_flop_per_s"),
        )  # fmt: skip


def _gemmini_is_one(
    unit: ComputeUnit, array: Array | ElementArray, dram_bytes_per_s: float, at: Place, place: Place
) -> None:  # fmt: skip
    """Refuse what the law of Gemmini's library was not fitted on."""
    least, most = GEMMINI_SIDES
    if array.rows != array.cols or not least <= array.rows <= most or array.dataflow != "ws":
        raise fault(
            f"'mapping: gemmini' knows square 'ws' arrays of {least} x {least} to {most} x {most}, not "
            f"{array.rows} x {array.cols} '{array.dataflow}'; write 'mapping: fixed' or 'best'.", place,
        )  # fmt: skip
    if unit.count != 1:
        raise fault(f"'mapping: gemmini' knows one array, not {unit.count}; write 'mapping: fixed'.", (*at, "count"))
    bytes_a_cycle = dram_bytes_per_s / unit.clock_hz.value
    if abs(bytes_a_cycle / GEMMINI_BUS_BYTES - 1) > GEMMINI_BUS_SHARE:
        raise fault(
            f"'mapping: gemmini' knows a bus of {GEMMINI_BUS_BYTES:g} bytes a cycle ("
            f"{GEMMINI_BUS_BYTES * unit.clock_hz.value:.4g} B/s at this clock), not {bytes_a_cycle:.4g}; write that, "
            "or 'mapping: fixed'.", ("memory", 0, "bandwidth_bytes_per_s"),
        )  # fmt: skip


def date_text(text: str) -> str:
    """Accept YYYY, YYYY-MM or YYYY-MM-DD."""
    try:
        datetime.date.fromisoformat(text + {4: "-01-01", 7: "-01"}.get(len(text), ""))
    except ValueError:
        raise fault(f"'{text}' is not a date such as 2026-03-01.") from None
    return text
