"""The space `npu-array`: systolic arrays with three buffers and device memory, by the closed form of costmodel.spatial.

Values are latency and energy of the workload's operators, one after the other, and area: convolutions and products on
the array, all others as a vector unit that keeps up with device memory takes them (`light_work`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from archcast.searching.knobs import KnobKind
from archcast.searching.light_work import LightWork, light_work
from archcast.searching.limits import Limit
from archcast.searching.problem import Design, Found, Stage
from archcast.searching.space import Columns, DesignSpace
from costmodel.spatial.area import area, parts_mm2, total
from costmodel.spatial.costs import SpatialCosts
from costmodel.spatial.energy import energy, parts_j
from costmodel.spatial.fixed import fixed_mapping
from costmodel.spatial.layers import FIELDS, Layers, layers_of
from costmodel.spatial.machine import DATAFLOWS, IS, Machine, Operands
from costmodel.spatial.networks import NetworkCosts, networks
from costmodel.spatial.technology import SUM_BITS, Technology, technology
from foundation.errors import BadValueError
from workloads.lowering import lower
from workloads.model import Model, Request
from workloads.table import Array

SIZE = KnobKind("whole", 0, 2.0**40, "B")
KNOBS: dict[str, KnobKind] = {
    "rows": KnobKind("whole", 1, 65536), "cols": KnobKind("whole", 1, 65536), "cores": KnobKind("whole", 1, 65536),
    "input_buffer_bytes": SIZE, "weight_buffer_bytes": SIZE, "output_buffer_bytes": SIZE, "shared_bytes": SIZE,
    "dataflow": KnobKind("name", names=DATAFLOWS[1:]),
    "dram_bandwidth_bytes_per_s": KnobKind("real", 1e6, 1e15, "B/s"),
}  # fmt: skip
"""What can be searched."""
NEEDED = ("rows", "cols", "input_buffer_bytes", "weight_buffer_bytes", "output_buffer_bytes", "dataflow",
          "dram_bandwidth_bytes_per_s")  # fmt: skip
DEFAULTS: dict[str, Any] = {"cores": 1, "shared_bytes": 0}
FIXED: dict[str, KnobKind] = {
    "clock_hz": KnobKind("real", 1e6, 1e11, "Hz"), "node_nm": KnobKind("real", 5, 65, "nm"),
    "dram": KnobKind("name", names=("ddr4", "lpddr4", "lpddr5", "gddr6", "hbm2", "hbm3")),
    "dram_latency_s": KnobKind("real", 0, 1e-3, "s"), "issue_cycles": KnobKind("whole", 0, 1e6),
    "double_buffered": KnobKind("name", names=("yes", "no")),
}  # fmt: skip
"""What all designs of a search share. They have no price here (a faster clock would cost nothing)."""
FIXED_DEFAULTS: dict[str, Any] = {
    "clock_hz": 1e9, "node_nm": 16.0, "dram": "lpddr4", "dram_latency_s": 100e-9, "issue_cycles": 20,
    "double_buffered": "yes",
}  # fmt: skip
VALUES = {"latency_s": "s", "energy_j": "J", "area_mm2": "", "power_w": "W", "edp_j_s": ""}
"""What designs are valued by, all to be small: energy over latency and energy times latency are the last two."""

DRAM_SHARE, LEAST_DRAM_SHARE, MOST_DRAM_SHARE = 0.8, 0.6, 0.95
"""Of the peak bandwidth that transfers reach. estimated, range 0.6 to 0.95."""
RTL_FACTOR = 2.9
"""Most that the cycles on the array may be over those predicted: RTL of Gemmini takes 1.2 to 2.9 times them over the
layers of ResNet-50 and U-Net, by two ways to tile and three designs (data of DOSA, Hong et al., MICRO 2023). The lower
end of a latency is that at the largest share of the bandwidth."""
TILE = "a tile does not fit its buffer"
TOO_SLOW = "dram bandwidth below {:g} GB/s, the least of {}"
AT_ONCE = 512
"""Designs whose stages are worked out at a time."""


@dataclass(frozen=True)
class NpuArray:
    """One search: `layers` with how often each runs, and what all designs share. Implements `Problem`."""

    space: DesignSpace
    objectives: tuple[str, ...]
    limits: tuple[Limit, ...]
    fixed: Mapping[str, Any]
    layers: Layers
    times: Array
    technology: Technology
    light: LightWork

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what the values hold and leave out."""
        known = (
            "Latency is that of all operators one after the other: convolutions and products on the array in closed "
            "form, whose upper end is what RTL of Gemmini took over it; the ends of energy and area are those of the "
            "table of components.",
        )
        if not self.light.calls:
            return known
        moved = f"{(self.light.read_bytes + self.light.write_bytes) / 1e6:,.1f} MB"
        calls = f"{self.light.calls:,.0f} {'call' if self.light.calls == 1 else 'calls'}"
        return (
            *known,
            f"{calls} of operators without matrix work take the time and energy of the {moved} that they move to and "
            "from device memory: a vector unit keeps up with it, and its own arithmetic and area are not counted.",
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (self._area, self._network)

    def machine(self, columns: Columns, dram_share: float = 1.0) -> Machine:
        """Return the designs. Ports of buffers are as wide as the array's sides, so that they never bind."""
        rows, cols = columns["rows"], columns["cols"]
        names = self.dataflows
        flow = names[np.asarray(columns["dataflow"], dtype=int)]
        input_bytes, weight_bytes = self.technology.input_bits / 8, self.technology.weight_bits / 8
        preloads = flow == IS  # inputs wait in the array: they enter along its columns, weights along its rows
        clock = self.fixed["clock_hz"]
        return Machine(
            rows=rows, cols=cols, dataflow=flow, cores=columns["cores"], clock_hz=clock,
            buffer_bytes=Operands(*(columns[f"{name}_buffer_bytes"] for name in ("input", "weight", "output"))),
            buffer_bytes_per_cycle=Operands(
                np.where(preloads, np.maximum(rows, cols), rows) * input_bytes,
                np.where(preloads, rows, np.maximum(rows, cols)) * weight_bytes,
                2.0 * np.maximum(rows, cols) * SUM_BITS / 8,
            ),
            shared_bytes=columns["shared_bytes"], dram_bytes_per_cycle=columns["dram_bandwidth_bytes_per_s"]
            * dram_share / clock, double_buffered=self.fixed["double_buffered"] == "yes",
            dram_latency_cycles=self.fixed["dram_latency_s"] * clock, issue_cycles=float(self.fixed["issue_cycles"]),
        )  # fmt: skip

    @property
    def dataflows(self) -> Array:
        """Return the machine's number of each code of the knob `dataflow`."""
        knob = next(knob for knob in self.space.knobs if knob.name == "dataflow")
        return np.array([DATAFLOWS.index(str(name)) for name in knob.values])

    def _area(self, columns: Columns) -> Found:
        mm2 = total(parts_mm2(self.machine(columns), self.technology, self.technology.value))
        least = self.technology.dram_least_bytes_per_s
        slow = columns["dram_bandwidth_bytes_per_s"] < least
        return Found({"area_mm2": mm2}, {TOO_SLOW.format(least / 1e9, self.technology.dram): slow})

    def _network(self, columns: Columns) -> Found:
        machine = self.machine(columns)
        costs = self._costs(self.machine(columns, DRAM_SHARE))
        latency = costs.cycles / machine.clock_hz
        joules = total(parts_j(costs, machine, self.technology, self.technology.value))
        return Found(
            {"latency_s": latency, "energy_j": joules, "power_w": joules / latency, "edp_j_s": joules * latency},
            {TILE: ~costs.feasible}, costs.shortfall_bytes,
        )  # fmt: skip

    def _costs(self, machine: Machine) -> NetworkCosts:
        """Return what all operators cost; the rate of device memory is what transfers reach."""
        return self.light.added(networks(self.layers, self.times, machine), machine)

    def details(self, codes: Array) -> list[dict[str, Any]]:
        """Return designs as JSON: knobs, values with intervals, time by stage, energy and area by part."""
        found: list[dict[str, Any]] = []
        for start in range(0, codes.shape[1], AT_ONCE):
            found += self._details(codes[:, start : start + AT_ONCE])
        return found

    def _details(self, codes: Array) -> list[dict[str, Any]]:
        columns = self.space.columns(codes)
        machine = self.machine(columns)
        reached, slow = self.machine(columns, DRAM_SHARE), self.machine(columns, LEAST_DRAM_SHARE)
        costs, fast = self._costs(reached), self._costs(self.machine(columns, MOST_DRAM_SHARE))
        cycles = (costs.cycles - self.light.cycles(reached)) * RTL_FACTOR + self.light.cycles(slow)
        latency = tuple(count / machine.clock_hz for count in (costs.cycles, fast.cycles, cycles))
        joules, mm2 = energy(costs, machine, self.technology), area(machine, self.technology)
        longer = joules.parts_hi["static"] * (latency[2] / latency[0] - 1)
        values = {"latency_s": latency, "energy_j": (joules.value, joules.lo, joules.hi + longer),
                  "area_mm2": (mm2.value, mm2.lo, mm2.hi)}  # fmt: skip
        values["power_w"] = tuple(
            e / t for e, t in zip(values["energy_j"], (latency[0], latency[2], latency[1]), strict=True)
        )
        values["edp_j_s"] = tuple(e * t for e, t in zip(values["energy_j"], latency, strict=True))
        seconds_by_stage = self._stages_s(reached)
        return [
            {
                "knobs": self.space.values(codes[:, i]),
                **{name: dict(zip(("value", "lo", "hi"), (float(end[i]) for end in ends), strict=True))
                   for name, ends in values.items()},
                "macs": float(costs.macs[i]),
                "stages_s": {name: float(steps[i]) for name, steps in seconds_by_stage.items()},
                "energy_parts_j": {name: float(part[i]) for name, part in joules.parts.items()},
                "area_parts_mm2": {name: float(part[i]) for name, part in mm2.parts.items()},
            }
            for i in range(codes.shape[1])
        ]  # fmt: skip

    def _stages_s(self, machine: Machine) -> dict[str, Array]:
        """Return what each stage of the waterfall adds over all layers, then other operators, in seconds."""
        costs: SpatialCosts = fixed_mapping(self.layers.reshaped((-1, 1)), machine.reshaped((1, -1)))
        times = self.times[:, None] / machine.clock_hz
        found = {name: np.sum(steps * times, axis=0) for name, steps in costs.waterfall().items()}
        return found | {"others": self.light.cycles(machine) / machine.clock_hz} if self.light.calls else found


def npu_array(
    space: DesignSpace, objectives: tuple[str, ...], limits: tuple[Limit, ...], fixed: Mapping[str, Any],
    model: Model, request: Request,
) -> NpuArray:  # fmt: skip
    """Return the problem of a workload on arrays.

    Raises:
        BadValueError: the workload has no convolution or product, or is in a format without a multiplier.
    """
    workload = model.workload(request)
    table = lower(workload.passes).table
    layers, times = layers_with_times(layers_of(table), np.asarray(table.full("count"), dtype=float))
    if not len(times):
        raise BadValueError(f"'{model.name}' has no convolution or product that an array could run.")
    known = technology(float(fixed["node_nm"]), str(fixed["dram"]), request.dtype)
    return NpuArray(space, objectives, limits, fixed, layers, times, known, light_work(table))


def layers_with_times(layers: Layers, times: Array) -> tuple[Layers, Array]:
    """Return layers of unequal shape that have work, and how often each runs."""
    macs = np.ravel(layers.macs)
    columns = np.stack([np.broadcast_to(np.ravel(getattr(layers, name)), macs.shape) for name in FIELDS], axis=1)
    shapes, place = np.unique(columns[macs > 0], axis=0, return_inverse=True)
    runs = np.bincount(np.ravel(place), weights=times[macs > 0], minlength=len(shapes))
    return Layers(**{name: np.ascontiguousarray(column) for name, column in zip(FIELDS, shapes.T, strict=True)}), runs


NPU_ARRAY = Design(
    KNOBS, NEEDED, DEFAULTS, FIXED, FIXED_DEFAULTS, VALUES, npu_array,
    open=tuple(name for name, knob in KNOBS.items() if knob.kind != "name"),
)  # fmt: skip
