"""Devices with an array of their own: from the description to the machine, the time of a row, and what does not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import archcast as ac
from archcast.question import find_target
from costmodel.physics import predict_physics, stages
from costmodel.rates import Rates, compile_rates
from costmodel.spatial.devices import machine_of, tile_shortfall
from costmodel.spatial.fixed import fixed_mapping
from costmodel.spatial.layers import layers_of
from costmodel.spatial.machine import IS, WS, Machine
from foundation.errors import BadFileError, BadValueError
from hardware_specs import load_device
from hardware_specs.schema import DeviceSpec
from workloads.table import OpTable
from workloads.work import count_work

KIB = 1024.0
FOLDER = Path(__file__).resolve().parents[1] / "hardware_specs" / "catalogue" / "devices"


def by_rule() -> tuple[Rates, Machine]:
    """Gemmini's array tiled by the rule of `fixed_mapping`, with the efficiencies of its description."""
    rates = find_target("gemmini-16x16").rates
    assert rates.spatial is not None
    machine = replace(rates.spatial, mapping="fixed")
    return replace(rates, spatial=machine), machine


def conv(**sizes: Any) -> OpTable:
    given = {"batch": 1, "c_in": 64, "h": 56, "w": 56, "c_out": 64, "kh": 3, "kw": 3, "padding": 1, "stride": 1}
    return OpTable.from_columns({"op": ["conv2d"], "dtype": "int8", **given, **sizes})


def written(folder: Path, *changes: tuple[str, str]) -> Path:
    """Gemmini's file under another id, tiled by the rule, with changes."""
    text = (FOLDER / "gemmini-16x16.yaml").read_text(encoding="utf-8")
    names = (("id: gemmini-16x16", "id: my-npu"), ("aliases: [gemmini]", "aliases: []"), ("  mapping: gemmini\n", ""))
    for old, new in (*names, *changes):
        assert old in text
        text = text.replace(old, new)
    path = folder / "my-npu.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_description_becomes_a_machine_in_cycles_of_its_clock() -> None:
    gemmini = machine_of(load_device("gemmini-16x16"))
    assert (gemmini.rows, gemmini.cols, gemmini.dataflow, gemmini.cores) == (16, 16, WS, 1)
    assert tuple(gemmini.buffer_bytes) == (128 * KIB, 128 * KIB, 64 * KIB)
    assert tuple(gemmini.buffer_bytes_per_cycle) == (32, 32, 128)
    assert gemmini.dram_bytes_per_cycle == 16
    assert gemmini.dram_latency_cycles == pytest.approx(100, rel=1e-12)
    eyeriss = machine_of(load_device("eyeriss"))
    assert (eyeriss.rows, eyeriss.cols, eyeriss.dataflow, eyeriss.unified) == (12, 14, IS, True)
    assert sum(eyeriss.buffer_bytes) == 108 * KIB
    assert sum(eyeriss.buffer_bytes_per_cycle) == pytest.approx(64, rel=1e-6)


@pytest.mark.parametrize("device", ["gemmini-16x16", "gemmini-128x128", "eyeriss", "tpu-like-128x128"])
def test_the_peak_of_an_array_is_that_of_its_elements(device: str) -> None:
    spec = load_device(device)
    machine, rates = machine_of(spec), compile_rates(spec)
    peak = np.nanmax(rates.peak_flop_per_s[rates.matrix_formats])
    assert 2 * machine.elements * machine.clock_hz == pytest.approx(peak, rel=0.01)


def test_a_device_without_an_array_has_no_machine_and_keeps_its_closed_form() -> None:
    with pytest.raises(BadValueError, match="h100-sxm has no section 'spatial'"):
        machine_of(load_device("h100-sxm"))
    assert compile_rates(load_device("h100-sxm")).spatial is None


def test_the_stages_of_a_row_are_those_of_the_fixed_mapping() -> None:
    (rates, machine), table = by_rule(), conv()
    work = count_work(table)
    parts, costs = stages(table, work, rates), fixed_mapping(layers_of(table, work), machine)
    for stage, cycles in (
        (parts.ideal_s, costs.ideal_cycles), (parts.shaped_s, costs.shape_cycles), (parts.filled_s, costs.fill_cycles),
        (parts.cache_s, costs.onchip_cycles),
    ):  # fmt: skip
        assert np.ravel(stage)[0] * 1e9 == pytest.approx(float(np.ravel(cycles)[0]), rel=1e-12)
    # by hand: 4 x 4 folds at each of 9 positions, 3136 pixels each; skew of 30 and 16 rows of weights once
    assert np.ravel(parts.filled_s)[0] * 1e9 == pytest.approx(144 * 3136 + 46, rel=1e-12)
    # two bands of inputs: 64 channels of 58 columns hold 17 rows in 64 KiB, 15 of output: 4 bands, 3 halos of 2 rows
    assert np.ravel(parts.dram_bytes)[0] == 64 * (56 + 3 * 2) * 56 + 64 * 64 * 9 + 64 * 56 * 56


def test_a_machine_at_full_efficiency_takes_the_cycles_of_the_fixed_mapping() -> None:
    rates, machine = by_rule()
    exact = replace(rates, compute_efficiency=(1.0,) * 3, memory_efficiency=(1.0,) * 3, launch_s=(1e-30,) * 3)
    for sizes in ({}, {"c_in": 512, "c_out": 512, "h": 7, "w": 7}, {"groups": 64}):
        table = conv(**sizes)
        cycles = float(fixed_mapping(layers_of(table), machine).cycles[0])
        assert predict_physics(table, exact).latency_s[0] * 1e9 == pytest.approx(cycles, rel=1e-9)


def test_a_quarter_of_the_bandwidth_of_memory_shows_only_where_memory_binds() -> None:
    rates, _ = by_rule()
    slow = rates.scaled(bandwidth=0.25)
    assert slow.spatial == rates.spatial
    bound = OpTable.from_columns({"op": ["gemm"], "dtype": "int8", "m": 1, "n": 4096, "k": 4096})
    one, quarter = (predict_physics(bound, r).latency_s[0] for r in (rates, slow))
    assert quarter > 1.9 * one


def test_the_hash_of_a_device_covers_its_array(tmp_path: Path) -> None:
    plain = find_target(written(tmp_path)).rates.digest()
    double = find_target(written(tmp_path, ("double_buffered: true", "double_buffered: false"))).rates.digest()
    assert plain != double


def test_depthwise_layers_are_named_as_what_is_lost() -> None:
    why = ac.predict("mobilenet-v2", on="gemmini-16x16").explain()
    steps = {step.name: step for step in why.steps}
    assert steps["shape"].mostly.startswith("depthwise 9")
    assert steps["shape"].added_s > 0.5 * sum(step.added_s for step in why.steps)
    assert why.to_json()["waterfall"][1]["mostly"] == steps["shape"].mostly
    plain = ac.predict("mobilenet-v2", on="h100-sxm").explain()
    assert all(step.mostly == "" and "mostly" not in step.to_json() for step in plain.steps)


def test_a_buffer_smaller_than_a_tile_is_an_infeasible_answer_with_the_bytes(tmp_path: Path) -> None:
    # 16 x 16 weights twice: 512 B; of pixels and sums the smallest tile needs one step only
    path = written(tmp_path, ("capacity_bytes: {value: 128 KiB, source: config}",
                              "capacity_bytes: {value: 400 B, source: config}"))  # fmt: skip
    found = ac.predict("mobilenet-v2", on=path)
    assert found.verdict == "infeasible"
    assert found.shortfall_bytes == 112
    assert found.latency_s is None
    assert found.reason.startswith("the buffers of the array are 112 B short of one tile of '")
    size, layer = tile_shortfall(conv(), machine_of(find_target(path).spec))
    assert (size, layer) == (112, "row 0")
    assert tile_shortfall(conv(), machine_of(load_device("gemmini-16x16"))) == (0.0, "")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("rows: 16, cols: 16", "rows: 0, cols: 16", r"units\[0\].array.rows': 0 cannot be used"),
        ("array: {rows: 16, cols: 16, dataflow: ws}", "tile: {m: 16, n: 16, k: 16}",
         r"spatial.array': neither this section nor the matrix unit has an array"),
        ("  double_buffered: true", "  unified:\n    capacity_bytes: {value: 1 KiB, source: config}\n"
         "    bandwidth_bytes_per_s: {value: 1 GB/s, source: config}", "either unified or one each, not both"),
        ("dataflow: ws", "dataflow: rs", "dataflow': 'rs' cannot be used"),
        ("  double_buffered: true", "  mapping: greedy", "mapping': 'greedy' cannot be used"),
        ("  double_buffered: true", "  double_buffer: true", "unknown key. Nearest: double_buffered"),
    ],
)  # fmt: skip
def test_a_faulty_section_is_refused_with_its_place(tmp_path: Path, old: str, new: str, problem: str) -> None:
    with pytest.raises(BadFileError, match=problem):
        ac.predict("resnet-50", on=written(tmp_path, (old, new)))


def test_a_section_without_buffers_is_refused(tmp_path: Path) -> None:
    spec = load_device("gemmini-16x16").model_dump()
    spec["spatial"] |= {"inputs": None, "weights": None, "outputs": None}
    with pytest.raises(ValueError, match="no buffer is given"):
        DeviceSpec.model_validate(spec)


def test_a_batch_of_questions_says_so_too(tmp_path: Path) -> None:
    path = written(tmp_path, ("capacity_bytes: {value: 128 KiB, source: config}",
                              "capacity_bytes: {value: 400 B, source: config}"))  # fmt: skip
    table = ac.predict_batch(workload=["mobilenet-v2"], on=[str(path)])
    assert list(table["verdict"]) == ["infeasible"]
    assert list(table["shortfall_bytes"]) == [112]
    assert table["reason"][0].endswith("112 B short of one tile of 'project'")


@pytest.mark.parametrize(("network", "cycles"), [("resnet-18", 3.865e6), ("mobilenet-v2", 2.257e7)])
def test_the_rule_comes_near_what_zigzag_searches_for_its_array(network: str, cycles: float) -> None:
    # zigzag-dse 3.9.1, LOMA for latency, run once: the sum of all layers; 46 and 20 CPU-s of that tool
    detail = ac.predict(network, on="zigzag-tpu-like").detail
    assert detail is not None
    table, machine = detail.lowered.table, machine_of(load_device("zigzag-tpu-like"))
    found = fixed_mapping(layers_of(table), machine).cycles * table.full("count")
    assert found.sum() == pytest.approx(cycles, rel=0.1)


def test_an_edge_tpu_is_no_longer_as_fast_as_its_peak_on_depthwise_layers() -> None:
    spec = load_device("edge-tpu")
    machine = machine_of(spec)
    assert 2 * machine.elements * machine.clock_hz == pytest.approx(4e12, rel=0.02)
    depthwise = conv(c_in=256, c_out=256, groups=256)
    # 64 rows hold 7 blocks of 3 x 3: 7 of 256 channels a fold, 37 folds of 3136 pixels
    assert fixed_mapping(layers_of(depthwise), machine).shape_cycles[0] == 37 * 3136
