"""The space `soc`: chips of cores, accelerators, a network and memories for one frame of a task graph.

By list scheduling in closed form (`simulator.soc`), vectorised over chips.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from archcast.searching.knobs import KnobKind
from archcast.searching.limits import Limit
from archcast.searching.problem import Design, Found, Problem, Stage
from archcast.searching.problems.columns import places
from archcast.searching.problems.posed import Posed
from archcast.searching.space import Columns, DesignSpace
from simulator.soc.graphs import CLASSES, GRAPHS, find_graph
from simulator.soc.parts import MEMORIES, RANGE
from simulator.soc.schedule import Chips, Scheduled, schedule
from workloads.model import Model, Request
from workloads.table import Array

LANES = KnobKind("whole", 0, 65536)
KNOBS: dict[str, KnobKind] = {
    "big_cores": KnobKind("whole", 0, 16), "little_cores": KnobKind("whole", 0, 16),
    "clock_hz": KnobKind("real", 1e8, 4e9, "Hz"), **{f"{kind}_lanes": LANES for kind in CLASSES[1:]},
    "network_bytes": KnobKind("whole", 1, 1024, "B"), "sram_bytes": KnobKind("whole", 0, 2**30, "B"),
    "memory": KnobKind("name", names=tuple(MEMORIES)),
}  # fmt: skip
"""Lanes: operations a cycle of the accelerator of a class of kernels; 0 leaves it out. network_bytes: a cycle."""
DEFAULTS: dict[str, Any] = {
    "big_cores": 1, "little_cores": 2, "clock_hz": 1.2e9, "stencil_lanes": 0, "transform_lanes": 0, "matrix_lanes": 0,
    "network_bytes": 16, "sram_bytes": 0, "memory": "lpddr4-1ch",
}  # fmt: skip
FIXED: dict[str, KnobKind] = {"graph": KnobKind("name", names=tuple(GRAPHS))}
FIXED_DEFAULTS: dict[str, Any] = {"graph": "cava"}
VALUES = {"latency_s": "s", "energy_j": "J", "power_w": "W", "area_mm2": "", "memory_bytes": "B"}
SPACE: dict[str, Any] = {
    "big_cores": [0, 1, 2, 4], "little_cores": [0, 1, 2, 4], "clock_hz": ["0.6 GHz", "1.2 GHz", "1.8 GHz", "2.4 GHz"],
    **{f"{kind}_lanes": [0, 16, 32, 64, 128, 256] for kind in CLASSES[1:]},
    "network_bytes": {"from": 4, "to": 64, "times": 2}, "sram_bytes": [0, "512 KiB", "2 MiB", "8 MiB", "32 MiB"],
    "memory": list(MEMORIES),
}  # fmt: skip
WORKLOAD = ""
OBJECTIVES = ("latency_s", "energy_j", "area_mm2")
NO_CORE = "no core runs the control tasks"


@dataclass(frozen=True)
class Soc(Posed):
    """One search. Implements `Problem`."""

    @property
    def notes(self) -> tuple[str, ...]:
        return (
            f"One frame of {self.fixed['graph']}: tasks in the order of their rank, each where it ends first. Energies "
            "and areas are those of a table of parts, all estimated within half and twice as much.",
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (self._framed,)

    def scheduled(self, columns: Columns) -> Scheduled:
        """Return the schedules of chips."""
        table = np.array([MEMORIES[name] for name in MEMORIES])
        memory = table[places(self.space, columns, "memory", tuple(MEMORIES))].T
        numbers = {name: np.asarray(column, dtype=float) for name, column in columns.items() if name != "memory"}
        return schedule(find_graph(str(self.fixed["graph"])), Chips(
            numbers["big_cores"], numbers["little_cores"], numbers["clock_hz"],
            {kind: numbers[f"{kind}_lanes"] for kind in CLASSES[1:]}, numbers["network_bytes"], numbers["sram_bytes"],
            *memory,
        ))  # fmt: skip

    def _framed(self, columns: Columns) -> Found:
        found = self.scheduled(columns)
        latency = np.where(found.feasible, found.latency_s, np.nan)
        joules = np.where(found.feasible, found.energy_j, np.nan)
        return Found(
            {"latency_s": latency, "energy_j": joules, "power_w": joules / latency, "area_mm2": found.area_mm2,
             "memory_bytes": np.asarray(columns["sram_bytes"], dtype=float)}, {NO_CORE: ~found.feasible},
        )  # fmt: skip

    def details(self, codes: Array) -> list[dict[str, Any]]:
        """Return chips as JSON; ends of energy, power and area are those of the table of parts."""
        found = self._framed(self.space.columns(codes)).values
        sure = ("latency_s", "memory_bytes")
        return [
            {
                "knobs": self.space.values(codes[:, i]),
                **{name: {"value": float(column[i]), "lo": float(column[i]) * (1.0 if name in sure else RANGE[0]),
                          "hi": float(column[i]) * (1.0 if name in sure else RANGE[1])}
                   for name, column in found.items()},
            }
            for i in range(codes.shape[1])
        ]  # fmt: skip


def soc(
    space: DesignSpace, objectives: tuple[str, ...], limits: tuple[Limit, ...], fixed: Mapping[str, Any],
    model: Model | None, request: Request | None,
) -> Problem:  # fmt: skip
    """Return the problem of a chip for a task graph, which is its workload."""
    return Soc(space, objectives, limits, fixed)


DESIGN = Design(KNOBS, (), DEFAULTS, FIXED, FIXED_DEFAULTS, VALUES, soc, workload=False)
