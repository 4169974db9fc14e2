"""Descriptions of arrays that a mapping or its arithmetic would ignore or contradict are refused, with the remedy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import archcast as ac
from costmodel.spatial.devices import machine_of, tile_shortfall
from costmodel.spatial.gemmini_tiling import GemminiHardware, buffer_rows, default_tiling, least_bytes
from costmodel.spatial.layers import Layers, products
from foundation.errors import BadFileError
from hardware_specs import load_device
from hardware_specs.schema import LEAST_OF_ARRAY, MOST_OF_ARRAY
from workloads.table import OpTable

FOLDER = Path(__file__).resolve().parents[1] / "hardware_specs" / "catalogue" / "devices"
ARRAY = "array: {rows: 16, cols: 16, dataflow: ws}"
BUFFER = "{capacity_bytes: {value: 64 KiB, source: config}, bandwidth_bytes_per_s: {value: 64 GB/s, source: config}}"
DRAM = "bandwidth_bytes_per_s: {value: 16 GB/s, source: config}  # 16 B a clock"


def written(folder: Path, mapping: str, *changes: tuple[str, str]) -> Path:
    """Gemmini's file under another id and mapping, with changes."""
    text = (FOLDER / "gemmini-16x16.yaml").read_text(encoding="utf-8")
    names = (("id: gemmini-16x16", "id: my-npu"), ("aliases: [gemmini]", "aliases: []"))
    for old, new in (*names, ("  mapping: gemmini\n", f"  mapping: {mapping}\n"), *changes):
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / "my-npu.yaml"
    path.write_text(text, encoding="utf-8")
    return path


KEYS = [
    ("  double_buffered: true", "  double_buffered: false", "double_buffered"),
    ("  preload_hidden: true", "  preload_hidden: false", "preload_hidden"),
    ("  double_buffered: true", "  double_buffered: true\n  packs_groups: true", "packs_groups"),
    ("  double_buffered: true", "  double_buffered: true\n  skips_weights: true", "skips_weights"),
    ("  double_buffered: true", "  double_buffered: true\n  skips_inputs: true", "skips_inputs"),
]


@pytest.mark.parametrize("mapping", ["best", "gemmini"])
@pytest.mark.parametrize(("old", "new", "key"), KEYS, ids=[key for *_, key in KEYS])
def test_a_mapping_refuses_the_keys_it_does_not_know(
    tmp_path: Path, mapping: str, old: str, new: str, key: str
) -> None:
    with pytest.raises(
        BadFileError, match=rf"spatial.{key}': 'mapping: {mapping}' knows only '{key}: .*mapping: fixed"
    ):
        ac.predict("mobilenet-v2", on=written(tmp_path, mapping, (old, new)))
    assert ac.predict("mobilenet-v2", on=written(tmp_path, "fixed", (old, new))).latency_s is not None


GEMMINI = [
    (ARRAY, "array: {rows: 3, cols: 500, dataflow: ws}", r"units\[0\].array': .*4 x 4 to 64 x 64, not 3 x 500 'ws'"),
    (ARRAY, "array: {rows: 16, cols: 16, dataflow: os}", r"units\[0\].array': .*not 16 x 16 'os'"),
    (ARRAY, "array: {rows: 16, cols: 16, dataflow: is}", r"units\[0\].array': .*not 16 x 16 'is'"),
    ("count: 1", "count: 4", r"units\[0\].count': .*one array, not 4; write 'mapping: fixed'"),
    ("  double_buffered", f"  shared: {BUFFER}\n  double_buffered", "spatial.shared': .*leave 'shared' out"),
    ("  kernel_on_rows: false", "  kernel_on_rows: true", "kernel_on_rows': .*knows only 'kernel_on_rows: false'"),
    ("  double_buffered", "  sum_bits: 16\n  double_buffered", "sum_bits': .*knows only 'sum_bits: 32'"),
    (DRAM, "bandwidth_bytes_per_s: {value: 12 GB/s, source: config}", r"memory\[0\].*16 bytes a cycle \(1.6e\+10 B/s"),
    (DRAM, "bandwidth_bytes_per_s: {value: 160 GB/s, source: config}", "a bus of 16 bytes a cycle .* not 160"),
]


@pytest.mark.parametrize(("old", "new", "problem"), GEMMINI)
def test_geminis_law_refuses_what_it_was_not_fitted_on(tmp_path: Path, old: str, new: str, problem: str) -> None:
    peak = ("int8: {value: 512 GOP/s,", "int8: {value: 2048 GOP/s,") if "count" in old or "500" in new else (old, old)
    with pytest.raises(BadFileError, match=problem):
        ac.predict("mobilenet-v2", on=written(tmp_path, "gemmini", peak, (old, new)))


def test_geminis_law_refuses_a_unified_buffer_and_one_that_is_missing(tmp_path: Path) -> None:
    text = (FOLDER / "gemmini-16x16.yaml").read_text(encoding="utf-8")
    start, stop = text.index("  inputs:\n"), text.index("  double_buffered: true")
    own = text[start:stop]
    with pytest.raises(BadFileError, match=r"spatial\.unified': Gemmini's library tiles for 'inputs', 'weights'"):
        ac.predict("mobilenet-v2", on=written(tmp_path, "gemmini", (own, f"  unified: {BUFFER}\n")))
    with pytest.raises(BadFileError, match=r"spatial\.weights': 'mapping: gemmini' needs this buffer"):
        ac.predict("mobilenet-v2", on=written(tmp_path, "gemmini", (own, f"  inputs: {BUFFER}\n  outputs: {BUFFER}\n")))


def test_a_bus_within_a_tenth_and_other_sides_are_geminis(tmp_path: Path) -> None:
    near = (DRAM, "bandwidth_bytes_per_s: {value: 15 GB/s, source: config}")
    assert ac.predict("mobilenet-v2", on=written(tmp_path, "gemmini", near)).latency_s is not None
    wide = (ARRAY, "array: {rows: 32, cols: 32, dataflow: ws}"), ("value: 512 GOP/s", "value: 2048 GOP/s")
    assert ac.predict("mobilenet-v2", on=written(tmp_path, "gemmini", *wide)).latency_s is not None


@pytest.mark.parametrize("mapping", ["fixed", "best", "gemmini"])
def test_buffers_below_a_tile_are_an_infeasible_answer_whoever_tiles(tmp_path: Path, mapping: str) -> None:
    small = ("capacity_bytes: {value: 64 KiB, source: config}\n    bandwidth",
             "capacity_bytes: {value: 100 B, source: config}\n    bandwidth")  # fmt: skip
    found = ac.predict("bert-base", on=written(tmp_path, mapping, small))
    assert found.verdict == "infeasible"
    assert found.latency_s is None
    assert found.shortfall_bytes > 0
    assert "of the array are" in found.reason


def test_the_bytes_that_geminis_library_lacks_are_those_of_a_block_twice(tmp_path: Path) -> None:
    # a product: 16 x 16 sums of 4 B, twice = 2,048 B; a convolution of stride 2: 4 rows of inputs, 1 of weights
    small = ("capacity_bytes: {value: 64 KiB, source: config}\n    bandwidth",
             "capacity_bytes: {value: 1000 B, source: config}\n    bandwidth")  # fmt: skip
    machine = machine_of(load_device(written(tmp_path, "gemmini", small)))
    columns = {"dtype": "int8", "batch": 1.0}
    products_ = OpTable.from_columns({"op": "gemm", "m": [64.0], "n": 64.0, "k": 64.0, **columns})
    assert tile_shortfall(products_, machine)[0] == 2 * 16 * 16 * 4 - 1000
    conv = OpTable.from_columns(
        {"op": ["conv2d"], "c_in": 64, "c_out": 64, "h": 8, "w": 8, "kh": 3, "kw": 3, **columns}
    )
    assert tile_shortfall(conv, machine) == (0.0, "")
    strided = Layers(1.0, 1.0, 64.0, 64.0, 8.0, 8.0, 3.0, 3.0, 2.0)
    assert [float(part[0]) for part in least_bytes(strided, 16)] == [2 * 5 * 16, 2 * 16 * 4]


@pytest.mark.parametrize("layers", [products(300.0, 70.0, 90.0), Layers(1.0, 1.0, 64.0, 64.0, 8.0, 8.0, 3.0, 3.0, 2.0)])
def test_in_the_least_bytes_geminis_tile_fits_half_of_the_buffers(layers: Layers) -> None:
    scratchpad, accumulator = (float(part[0]) for part in least_bytes(layers, 16))
    hardware = GemminiHardware(16, scratchpad, accumulator)
    tiles = default_tiling(layers, hardware)
    inner, outer = buffer_rows(tiles.sizes, np.ravel(layers.stride).astype(float), 16)
    assert inner[0] <= hardware.scratchpad_rows // 2
    assert outer[0] <= hardware.accumulator_rows // 2


def test_a_peak_that_its_array_cannot_reach_is_refused_with_both_numbers(tmp_path: Path) -> None:
    fast = ("value: 512 GOP/s", "value: 100 TOP/s")
    with pytest.raises(
        BadFileError, match=r"units\[0\].peak_flop_per_s': .* 1e\+14 FLOP/s, but 1 x 256 .* do 5.12e\+11"
    ):
        ac.predict("mobilenet-v2", on=written(tmp_path, "fixed", fast))
    with pytest.raises(BadFileError, match=r"the fastest peak is 1e\+11 FLOP/s"):
        ac.predict("mobilenet-v2", on=written(tmp_path, "fixed", ("value: 512 GOP/s", "value: 100 GOP/s")))
    composed = ("value: 512 GOP/s", "value: 2048 GOP/s")  # 4 narrow products in one multiplier
    assert ac.predict("mobilenet-v2", on=written(tmp_path, "fixed", composed)).latency_s is not None


def test_peaks_of_the_catalogue_are_those_of_their_arrays() -> None:
    found = 0
    for path in sorted(FOLDER.glob("*.yaml")):
        if "array:" not in path.read_text(encoding="utf-8"):
            continue
        spec = load_device(path.stem)
        unit = spec.unit("matrix")
        array = (spec.spatial.array if spec.spatial else None) or unit.array
        assert array is not None
        whole = 2 * array.rows * array.cols * unit.count * unit.clock_hz.value
        assert LEAST_OF_ARRAY <= max(f.value for f in unit.peak_flop_per_s.values()) / whole <= MOST_OF_ARRAY, spec.id
        found += 1
    assert found >= 12
