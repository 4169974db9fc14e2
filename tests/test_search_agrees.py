"""A design of a search, written as a device, is predicted to take what the search says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from search_samples import small

import archcast as ac
from archcast.searching.light_work import LightWork, light_work
from archcast.searching.npu_array import DRAM_SHARE, NpuArray
from archcast.searching.problem import evaluate
from archcast.searching.search_file import read_search
from costmodel.estimate import Estimate
from costmodel.spatial.energy import static_w
from costmodel.spatial.machine import DATAFLOWS
from workloads.graph import Block, Operator, Pass, WorkloadGraph
from workloads.lowering import lower
from workloads.table import OpTable


def figure(value: float, unit: str = "") -> dict[str, Any]:
    text = f"{value!r} {unit}".strip() if unit else value
    return {"value": text, "range": [text, text], "estimated": True}


def device(problem: NpuArray, codes: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return the description of one design (codes of shape (knobs, 1)): what the search takes for granted, written out.

    Efficiencies are 1 and the bandwidth is what transfers reach; the vector unit is free; the idle power is leakage
    and idle device memory; device memory takes the table's energy, and accesses on chip are counted at the node.
    """
    machine = problem.machine(problem.space.columns(codes))
    known = problem.technology
    rows, cols, clock = int(machine.rows[0]), int(machine.cols[0]), float(machine.clock_hz)
    peak, dram = 2.0 * rows * cols * float(machine.cores[0]) * clock, float(machine.dram_bytes_per_cycle[0]) * clock
    rate = DRAM_SHARE * dram
    idle_w = float(static_w(machine, known, known.value)[0])
    unit = {"count": int(machine.cores[0]), "clock_hz": figure(clock, "Hz"), "efficiency": figure(1.0)}
    buffers = {
        name: {"capacity_bytes": figure(float(size[0]), "B"),
               "bandwidth_bytes_per_s": figure(float(port[0]) * clock, "B/s")}
        for name, size, port in zip(("inputs", "weights", "outputs"), machine.buffer_bytes,
                                    machine.buffer_bytes_per_cycle, strict=True)
    }  # fmt: skip
    level = {"reserved_bytes": figure(0.0, "B"), "efficiency": figure(1.0)}
    return {
        "id": "my-design", "name": "A design of a search", "vendor": "test", "kind": "npu", "released": "2026-01-01",
        "process_node_nm": figure(known.node_nm, "nm"),
        "units": [
            {"name": "matrix", **unit, "peak_flop_per_s": {"int8": figure(peak, "OP/s")},
             "array": {"rows": rows, "cols": cols, "dataflow": DATAFLOWS[int(np.ravel(machine.dataflow)[0])]},
             "energy_per_flop_j": {"int8": figure(1e-12, "J/OP")}},
            {"name": "vector", **unit,
             "peak_flop_per_s": {"int8": figure(1e18, "OP/s"), "fp32": figure(1e18, "FLOP/s")},
             "energy_per_flop_j": {"int8": figure(1e-15, "J/OP"), "fp32": figure(1e-15, "J/FLOP")}},
        ],
        "memory": [
            {"name": "dram", "capacity_bytes": figure(8e9, "B"), "bandwidth_bytes_per_s": figure(rate, "B/s"), **level,
             "energy_per_byte_j": figure(8.0 * known.value.dram_j_per_bit, "J/B")},
            {"name": "buffers", "capacity_bytes": figure(1024.0, "B"), "bandwidth_bytes_per_s": figure(1e15, "B/s"),
             **level, "energy_per_byte_j": figure(1e-15, "J/B")},
        ],
        "spatial": buffers | {
            "double_buffered": True, "preload_hidden": True,
            "dram_latency_s": figure(problem.fixed["dram_latency_s"], "s"),
            "issue_s": figure(problem.fixed["issue_cycles"] / clock, "s"),
        },
        "power": {"idle_w": figure(idle_w, "W"), "limit_w": figure(1000.0, "W")},
        "launch_overhead_s": figure(1e-9, "s"),
    }  # fmt: skip


def both(problem: NpuArray, workload: str, design: int, folder: Path) -> tuple[dict[str, Any], Estimate]:
    """Return what the search and what the prediction say about one design."""
    codes = problem.space.codes(np.array([design]))
    path = folder / "my-design.yaml"
    path.write_text(json.dumps(device(problem, codes)), encoding="utf-8")
    return problem.details(codes)[0], ac.predict(workload, on=path, batch=1, dtype="int8", model="physics")


def problem_of(given: Any) -> NpuArray:
    problem = read_search(given).problem
    assert isinstance(problem, NpuArray)
    return problem


def some_feasible(problem: NpuArray, count: int) -> list[int]:
    index = np.random.default_rng(7).integers(0, problem.space.size, 8 * count)
    found = evaluate(problem, problem.space.columns(problem.space.codes(index)))
    return [int(one) for one in index[found.feasible][:count]]


@pytest.mark.parametrize("workload", ["resnet-18", "mobilenet-v2", "vgg-16"])
def test_a_design_takes_the_time_and_energy_that_its_device_is_predicted_to(workload: str, tmp_path: Path) -> None:
    problem = problem_of(small(workload=workload))
    for design in some_feasible(problem, 4):
        searched, predicted = both(problem, workload, design, tmp_path)
        assert predicted.latency_s is not None
        assert predicted.energy_j is not None
        assert predicted.latency_s.value == pytest.approx(searched["latency_s"]["value"], rel=0.02)
        assert predicted.energy_j.value == pytest.approx(searched["energy_j"]["value"], rel=0.02)


def test_designs_of_the_example_take_what_their_devices_are_predicted_to(repository: Path, tmp_path: Path) -> None:
    """What is left: a prediction reads the whole input of a strided 1x1 layer, of which the array needs a part."""
    problem = problem_of(repository / "examples" / "npu_resnet50.yaml")
    for design in some_feasible(problem, 6):
        searched, predicted = both(problem, "resnet-50", design, tmp_path)
        assert predicted.latency_s is not None
        assert predicted.energy_j is not None
        assert predicted.latency_s.value == pytest.approx(searched["latency_s"]["value"], rel=0.02)
        assert predicted.energy_j.value == pytest.approx(searched["energy_j"]["value"], rel=0.01)


def test_what_operators_without_matrix_work_move_is_counted_call_by_call() -> None:
    light = problem_of(small(workload="resnet-50")).light
    assert light.calls == 16 + 2  # a sum a block, two pools
    # by hand: a sum reads two tensors and writes one, in each of 3, 4, 6 and 3 blocks; pools read all and write less
    sums = 3 * 256 * 56**2 + 4 * 512 * 28**2 + 6 * 1024 * 14**2 + 3 * 2048 * 7**2
    assert light.read_bytes == 2 * sums + 64 * 112**2 + 2048 * 7**2
    assert light.write_bytes == sums + 64 * 56**2 + 2048


def test_operators_without_matrix_work_take_their_bytes_over_the_rate_of_memory() -> None:
    problem = problem_of(small(workload="resnet-50"))
    free = replace(problem, light=LightWork(0.0, 0.0, 0.0))
    codes = problem.space.codes(np.array(some_feasible(problem, 5)))
    for one, other in zip(problem.details(codes), free.details(codes), strict=True):
        longer = one["latency_s"]["value"] - other["latency_s"]["value"]
        moved = problem.light.read_bytes + problem.light.write_bytes
        rate = DRAM_SHARE * one["knobs"]["dram_bandwidth_bytes_per_s"]
        assert longer == pytest.approx(moved / rate, rel=1e-9)
        assert one["stages_s"]["others"] == pytest.approx(longer, rel=1e-9)
        assert "others" not in other["stages_s"]
        dearer = one["energy_parts_j"]["dram"] - other["energy_parts_j"]["dram"]
        assert dearer == pytest.approx(8 * moved * problem.technology.value.dram_j_per_bit, rel=1e-9)
        assert one["energy_parts_j"]["static"] > other["energy_parts_j"]["static"]


def test_what_the_graph_marks_as_fused_is_free() -> None:
    def table(fused: bool) -> OpTable:
        relu = Operator("relu", "elementwise", {"rows": 64.0, "hidden": 32.0}, "int8", inputs=("conv",), fused=fused)
        conv = Operator("conv", "gemm", {"m": 64, "n": 32, "k": 16}, "int8")
        return lower([Pass("run", WorkloadGraph("net", (Block("block", (conv, relu), count=3),)))]).table

    assert light_work(table(fused=True)) == LightWork(0.0, 0.0, 0.0)
    assert light_work(table(fused=False)) == LightWork(3.0, 3 * 64 * 32, 3 * 64 * 32)


def test_the_notes_count_calls_and_say_what_they_take() -> None:
    notes = " ".join(problem_of(small(workload="resnet-50")).notes)
    assert "18 calls of operators without matrix work take the time and energy of the 17.7 MB" in notes
