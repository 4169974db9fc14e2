"""The space `network-architecture`: sub-networks of Once-for-All's MobileNet v3 on a device, by tables of blocks.

Every block that a sub-network may have is priced once; a network is the sum of its blocks. What a sum leaves out
(operators that overlap or are fused, calls, weights that stay) is a factor: the median, over networks drawn at random,
of the whole by `predict` over the sum, whose least and most are the ends of the interval. Accuracy is not modelled:
the caller has it, and `macs` and `parameters` are values too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from archcast.prediction import predict
from archcast.question import find_target
from archcast.searching.knobs import KnobKind
from archcast.searching.limits import Limit
from archcast.searching.problem import Design, Found, Problem, Stage
from archcast.searching.problems.columns import knob_of
from archcast.searching.problems.posed import Posed
from archcast.searching.space import Columns, DesignSpace
from costmodel.in_network import costs_of_queue
from costmodel.protocol import PhysicsModel
from foundation.formats import FORMAT_NAMES
from hardware_specs.catalogue import device_ids
from workloads.builders.search.chains import OnceForAll
from workloads.lowering import lower
from workloads.model import Model, Request
from workloads.table import Array
from workloads.work import count_work

STAGES, PLACES = 5, 4
KNOBS: dict[str, KnobKind] = {
    "resolution": KnobKind("whole", 32, 1024),
    **{f"depth_{i}": KnobKind("whole", 1, PLACES) for i in range(1, STAGES + 1)},
    **{f"kernel_{i}": KnobKind("whole", 1, 15) for i in range(1, STAGES + 1)},
    **{f"expand_{i}": KnobKind("whole", 1, 16) for i in range(1, STAGES + 1)},
}
"""Depth, kernel and expansion of each of the five stages; all blocks of a stage are alike."""
DEFAULTS: dict[str, Any] = {
    name: 224 if name == "resolution" else {"depth": 4, "kernel": 5, "expand": 4}[name.split("_")[0]] for name in KNOBS
}
FIXED: dict[str, KnobKind] = {
    "device": KnobKind("name", names=tuple(device_ids())), "dtype": KnobKind("name", names=tuple(FORMAT_NAMES)),
    "batch": KnobKind("whole", 1, 4096), "width": KnobKind("real", 0.1, 10.0),
}  # fmt: skip
FIXED_DEFAULTS: dict[str, Any] = {"device": "jetson-orin-nano", "dtype": "int8", "batch": 1, "width": 1.0}
VALUES = {"latency_s": "s", "energy_j": "J", "memory_bytes": "B", "power_w": "W", "macs": "", "parameters": ""}
"""`parameters` are the weights that operators read: biases and norms are not counted."""
SPACE: dict[str, Any] = {
    name: [128, 160, 192, 224] if name == "resolution"
    else {"depth": [2, 3, 4], "kernel": [3, 5, 7], "expand": [3, 4, 6]}[name.split("_")[0]]
    for name in KNOBS
}  # fmt: skip
WORKLOAD = ""
OBJECTIVES = ("latency_s", "energy_j", "memory_bytes")
ADDED = ("latency_s", "energy_j", "weight_bytes", "macs", "parameters")
CHECKED, CHECK_SEED = 12, 8
"""Networks on which the sum is held against `predict`, and the seed by which they are drawn."""


class Tables(NamedTuple):
    """What blocks cost: `fixed` (resolutions, 5) of stem, first block and head; `blocks` (resolutions, kernels,
    expansions, stages, first or further, 5), all in the order of `ADDED`; `peak_bytes` likewise without the last axis.
    """

    fixed: Array
    blocks: Array
    fixed_peak_bytes: Array
    peak_bytes: Array


@dataclass(frozen=True)
class NetworkArchitecture(Posed):
    """One search. Implements `Problem`."""

    @property
    def notes(self) -> tuple[str, ...]:
        middle, low, high = self.correction["latency_s"]
        return (
            f"Sums of blocks on {self.fixed['device']} by the closed form, times what `predict` gives for whole "
            f"networks over the sum: {middle:.3f} ({low:.3f} to {high:.3f} over {CHECKED} networks) for latency. "
            "Accuracy is the caller's to add.",
        )

    @property
    def stages(self) -> tuple[Stage, ...]:
        return (self._sums,)

    @cached_property
    def _axes(self) -> tuple[Array, Array, Array]:
        """Return all resolutions, kernels and expansions that a knob may have."""
        names = [["resolution"], *([f"{one}_{i}" for i in range(1, STAGES + 1)] for one in ("kernel", "expand"))]
        found = [np.unique(np.concatenate([knob_of(self.space, name).numbers for name in group])) for group in names]
        return found[0], found[1], found[2]

    @cached_property
    def tables(self) -> Tables:
        """Price all blocks, a network of one kernel and one expansion at a time."""
        sizes, kernels, expands = self._axes
        shape = (len(sizes), len(kernels), len(expands), STAGES, 2)
        blocks, peaks = np.zeros((*shape, len(ADDED))), np.zeros(shape)
        fixed, fixed_peaks = np.zeros((len(sizes), len(ADDED))), np.zeros(len(sizes))
        for r, size in enumerate(sizes):
            for k, kernel in enumerate(kernels):
                for e, expand in enumerate(expands):
                    costs, peak = self._priced(self._network(int(size), [4], [int(kernel)], [int(expand)]))
                    inner = [place for name, place in costs if name.startswith("stage")]
                    blocks[r, k, e] = np.reshape([costs[key] for key in costs if key[1] in inner], (STAGES, 2, -1))
                    peaks[r, k, e] = np.reshape([peak[key] for key in costs if key[1] in inner], (STAGES, 2))
            outer = [key for key in costs if not key[0].startswith("stage")]
            fixed[r], fixed_peaks[r] = np.sum([costs[key] for key in outer], axis=0), max(peak[key] for key in outer)
        return Tables(fixed, blocks, fixed_peaks, peaks)

    def _network(self, size: int, depth: list[int], kernels: list[int], expand: list[int]) -> OnceForAll:
        return OnceForAll(
            name="sub-network", image=size, width=float(self.fixed["width"]), depth=tuple(depth),
            kernels=tuple(kernels), expand=tuple(expand),
        )  # fmt: skip

    def _priced(self, model: Model) -> tuple[dict[tuple[str, int], Array], dict[tuple[str, int], float]]:
        """Return what each distinct block costs once (`ADDED`), and the most bytes that one of its operators holds."""
        request = Request(int(self.fixed["batch"]), dtype=str(self.fixed["dtype"]))
        run = model.workload(request).passes[0]
        lowered = lower([run])
        costs = costs_of_queue(PhysicsModel(), lowered.table, find_target(self.fixed["device"]).rates, None, "")
        work, rows = count_work(lowered.table), lowered.table.rows
        columns = [
            costs.latency_s,
            costs.energy_j,
            work.weight_bytes,
            work.macs,
            work.weight_bytes / self._weight_bytes,
        ]
        values = np.stack([np.broadcast_to(np.asarray(column, float), (rows,)) for column in columns], axis=1)
        held = np.broadcast_to(work.input_bytes + work.output_bytes, (rows,))
        found, peak = {}, {}
        for place, block in enumerate(run.graph.blocks):
            mine = lowered.block_index == place
            found[block.name, place] = values[mine].sum(axis=0)
            peak[block.name, place] = float(held[mine].max())
        return found, peak

    @cached_property
    def _weight_bytes(self) -> float:
        from foundation.formats import number_format

        return number_format(str(self.fixed["dtype"])).weight_bits / 8

    def _added(self, columns: Columns) -> tuple[dict[str, Array], Array]:
        """Return sums over blocks, and the most bytes of inputs and outputs of an operator."""
        sizes, kernels, expands = self._axes
        r = np.searchsorted(sizes, columns["resolution"])
        tables = self.tables
        total, peak = tables.fixed[r].copy(), tables.fixed_peak_bytes[r].copy()
        for i in range(STAGES):
            k = np.searchsorted(kernels, columns[f"kernel_{i + 1}"])
            e = np.searchsorted(expands, columns[f"expand_{i + 1}"])
            depth = columns[f"depth_{i + 1}"]
            total += tables.blocks[r, k, e, i, 0] + (depth - 1)[:, None] * tables.blocks[r, k, e, i, 1]
            further = np.where(depth > 1, tables.peak_bytes[r, k, e, i, 1], 0.0)
            peak = np.maximum(peak, np.maximum(tables.peak_bytes[r, k, e, i, 0], further))
        return dict(zip(ADDED, total.T, strict=True)), peak

    @cached_property
    def correction(self) -> dict[str, tuple[float, float, float]]:
        """Return median, least and most of the whole by `predict` over the sum; for memory, of what is beside it."""
        codes = self.space.codes(np.random.default_rng(CHECK_SEED).integers(0, self.space.size, CHECKED))
        columns = self.space.columns(codes)
        sums, peak = self._added(columns)
        sums["memory_bytes"] = sums["weight_bytes"] + peak
        whole = [self.whole({name: float(column[i]) for name, column in columns.items()}) for i in range(CHECKED)]
        found = {}
        for name in ("latency_s", "energy_j", "memory_bytes"):
            known = np.array([one[name] for one in whole])
            ratio = known - sums[name] if name == "memory_bytes" else known / sums[name]
            found[name] = (float(np.median(ratio)), float(ratio.min()), float(ratio.max()))
        return found

    def whole(self, design: Mapping[str, float]) -> dict[str, float]:
        """Return what `predict` gives for a whole network: latency, energy and memory."""
        places = [
            [int(design[f"{what}_{i}"]) for i in range(1, STAGES + 1) for _ in range(PLACES)]
            for what in ("kernel", "expand")
        ]  # fmt: skip
        depth = [int(design[f"depth_{i}"]) for i in range(1, STAGES + 1)]
        found = predict(
            self._network(int(design["resolution"]), depth, *places), on=str(self.fixed["device"]),
            batch=int(self.fixed["batch"]), dtype=str(self.fixed["dtype"]), model="physics",
        )  # fmt: skip
        return {name: getattr(found, name).value for name in ("latency_s", "energy_j", "memory_bytes")}

    def _sums(self, columns: Columns) -> Found:
        sums, peak = self._added(columns)
        factor = {name: ends[0] for name, ends in self.correction.items()}
        latency, joules = sums["latency_s"] * factor["latency_s"], sums["energy_j"] * factor["energy_j"]
        return Found({
            "latency_s": latency, "energy_j": joules,
            "memory_bytes": sums["weight_bytes"] + peak + factor["memory_bytes"], "power_w": joules / latency,
            "macs": sums["macs"], "parameters": sums["parameters"],
        })  # fmt: skip

    def details(self, codes: Array) -> list[dict[str, Any]]:
        """Return designs as JSON; ends are those of the correction: the cost model's own are not counted."""
        found = self._sums(self.space.columns(codes)).values
        ends = {name: (low / middle, high / middle) for name, (middle, low, high) in self.correction.items()}
        beside, least, most = self.correction["memory_bytes"]
        bytes_ = found["memory_bytes"]
        return [
            {
                "knobs": self.space.values(codes[:, i]),
                **{name: {"value": float(column[i]), "lo": float(column[i]) * ends.get(name, (1.0, 1.0))[0],
                          "hi": float(column[i]) * ends.get(name, (1.0, 1.0))[1]}
                   for name, column in found.items() if name != "memory_bytes"},
                "memory_bytes": dict(zip(("value", "lo", "hi"), map(float, bytes_[i] + np.array(
                    [0.0, least - beside, most - beside])), strict=True)),
            }
            for i in range(codes.shape[1])
        ]  # fmt: skip


def network_architecture(
    space: DesignSpace, objectives: tuple[str, ...], limits: tuple[Limit, ...], fixed: Mapping[str, Any],
    model: Model | None, request: Request | None,
) -> Problem:  # fmt: skip
    """Return the problem of a sub-network on a device; the super-network is the workload."""
    return NetworkArchitecture(space, objectives, limits, fixed)


DESIGN = Design(
    KNOBS, (), DEFAULTS, FIXED, FIXED_DEFAULTS, VALUES, network_architecture, workload=False,
)  # fmt: skip
