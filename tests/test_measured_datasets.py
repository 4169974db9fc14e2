"""Every measured data set: what is read of it, how much means something here, and one row of each by hand, in SI."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costmodel.measured import ImportReport, data_sets, read
from costmodel.measured.archgym import KnobTable
from costmodel.measured.base import ImportRequest
from costmodel.measured.data_files import read_file, set_folder
from costmodel.measured.helm import least_devices
from costmodel.measured.help import batch_of, cell_class
from costmodel.measured.mlperf_small import clock_hz
from costmodel.measured.npu_vision import hailo_network
from costmodel.measured.silicon_sample import ranks_of
from costmodel.measured.timm import software_of, timm_family
from foundation.errors import BadFileError, UnknownNameError
from hardware_specs import device_ids
from workloads.catalogue import load_model
from workloads.measurements import MeasurementTable
from workloads.workload_measurements import WorkloadMeasurements


@dataclass(frozen=True)
class Expected:
    """Measurements in the files; the share that must at least be used; `row` picks one row, `values` are its cells."""

    read: int
    share: float
    row: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)


MS, US, GIB = 1e-3, 1e-6, 2.0**30

SETS: dict[str, Expected] = {
    "archgym": Expected(1792, 1.0),
    "argonne": Expected(5173, 0.98, {"device": "gh200-96gb", "model": "mistralai/Mistral-7B-v0.1", "prompt": 128.0,
                                     "software": "tensorrt-llm", "batch": 1.0},
                        {"latency_s": 0.688306736946106, "workload": "mistral-7b", "count": 1}),
    "dosa": Expected(1849, 0.15, {"software": "gemmini default tiling", "c_in": 128.0, "h": 140.0, "c_out": 256.0},
                     {"latency_s": 22583682e-9, "device": "gemmini-16x16", "kh": 3}),
    "hailo": Expected(1646, 0.17, {"device": "hailo-10h", "workload": "davit-tiny", "batch": 1.0},
                      {"rate_hz": 17.5, "params": '{"image": 224}', "dtype": "int8"}),
    "helm": Expected(513, 0.42, {"workload": "gpt-3-175b", "prompt": 1920.0},
                     {"ttft_s": 0.597, "tpot_s": 0.081, "count": 8, "group": "curve 1"}),
    "help": Expected(524375, 0.99, {"column": "1080ti_1", "arch_idx": "0", "workload": "nas-bench-201"},
                     {"latency_s": 10.754371 * MS, "device": "gtx-1080-ti", "batch": 1}),
    "ibm_llm_pilot": Expected(526, 0.96, {"workload": "gpt-neox-20b", "device": "a10", "concurrency": 1.0},
                              {"latency_s": 1128.8704 * MS, "rate_hz": 108 / 120, "generate": 22.25}),
    "inferencex": Expected(169, 0.0),
    "llm_edge": Expected(102, 0.95, {"workload": "llama-3.2-3b", "system": "Framework Mainboard (128GB)"},
                         {"tpot_s": 1 / 88.14, "device": "ryzen-ai-max-395", "dtype": "q4_k_m"}),
    "llmcompass": Expected(170, 1.0, {"device": "a100-sxm-80gb", "op": "elementwise", "hidden": 1024.0},
                           {"latency_s": 1024 / 0.021262214336633663e9, "dtype": "fp16"}),
    "llmservingsim": Expected(763818, 0.29, {"device": "rtx-pro-6000", "layer": "gate_up_proj", "m": 1024.0,
                                             "n": 14336.0, "model": "Llama-3.1-8B"},
                              {"latency_s": 318.752 * US, "k": 4096, "dtype": "bf16"}),
    "ml_energy": Expected(1362, 0.65, {"workload": "qwen3-14b", "concurrency": 8.0, "task": "gpqa"},
                          {"power_w": 483.6227004443375, "energy_j": 6057.803040527457, "tpot_s": 14.423347 * MS,
                           "count": 1, "device": "h100-sxm"}),
    "mlperf": Expected(2620, 0.23, {"workload": "resnet-50", "system": "XE8640_H100_SXM_80GBx4_TRT"},
                       {"rate_hz": 356320.0, "count": 4, "device": "h100-sxm"}),
    "mlperf_mobile": Expected(43, 0.41, {"workload": "mobilebert", "device": "snapdragon-8-gen-3"},
                              {"latency_s": 2200269e-9, "prompt": 384}),
    "mlperf_tiny": Expected(139, 0.2, {"device": "stm32l4r5", "software": "X-CUBE-AI v9.0"},
                            {"latency_s": 1 / 11.245, "energy_j": 3894.566e-6, "dtype": "int8"}),
    "neusight": Expected(335499, 0.99, {"device": "p100-pcie", "op": "gemm", "m": 1114.0, "n": 291.0, "k": 368.0},
                         {"latency_s": 0.1003093 * MS, "batch": 1, "dtype": "fp32"}),
    "qualcomm_ai_hub": Expected(5274, 0.2, {"device": "qcs9075", "workload": "albert-base", "latency_s": 0.02714},
                                {"latency_s": 27.14 * MS, "memory_bytes": 33e6, "dtype": "fp16", "prompt": 384}),
    "rknn": Expected(292, 0.04, {"device": "rk3568", "workload": "mobilenet-v2"}, {"rate_hz": 180.7, "dtype": "int8"}),
    "silicon_sample": Expected(4525, 0.7, {"ttft_s": 233.4754473529756 * MS, "tpot_s": 11.467447283379183 * MS},
                               {"count": 8, "tp": 8, "ep": 8, "concurrency": 8, "device": "h200-sxm"}),
    "simumax": Expected(30, 1.0, {"workload": "llama-3-70b", "tp": 1.0, "batch": 16.0},
                        {"latency_s": 0.843, "memory_bytes": 66.55 * GIB, "params": '{"layers": 12}', "mode": "train"}),
    "splitwise": Expected(1260, 0.66, {"workload": "llama-2-70b", "device": "h100-sxm", "tp": 2.0, "prompt": 512.0,
                                       "batch": 1.0, "generate": 128.0},
                          {"ttft_s": 85.399550 * MS, "tpot_s": 36.971361 * MS, "latency_s": 4.784076691}),
    "timm": Expected(27186, 0.82, {"model": "tinynet_e", "software": "pytorch 1.13", "dtype": "fp16"},
                     {"latency_s": 20.77 * MS, "rate_hz": 49277.65, "batch": 1024, "params": '{"image": 106}'}),
    "vidur": Expected(227274, 0.89, {"device": "a100-sxm-80gb", "part": "mlp_up_proj", "m": 3168.0, "n": 57344.0},
                      {"latency_s": 12.519 * MS, "k": 8192, "latency_std_s": 0.195187 * MS}),
    "vtrain": Expected(1440, 1.0, {"group": "1024 x 24", "count": 2.0, "batch": 16.0, "micro_batch": 8.0, "pp": 2.0},
                       {"latency_s": 372.160408 * MS, "mode": "train", "prompt": 1024}),
    "zeus": Expected(1609, 0.017, {"workload": "resnet-50", "device": "p100-pcie", "batch": 128.0},
                     {"rate_hz": 1281167 / 6277.98, "latency_s": 128 * 6277.98 / 1281167}),
}  # fmt: skip
"""At least what is used today; more networks in the catalogue raise it."""


def cells(table: MeasurementTable | WorkloadMeasurements, name: str) -> Any:
    """A column by its name, wherever the table keeps it."""
    return table.raw.get(name)


def picked(table: MeasurementTable | WorkloadMeasurements, row: dict[str, Any]) -> Any:
    """The rows of a table whose cells are those of `row` (numbers to 6 digits)."""
    keep = np.ones(table.rows, dtype=bool)
    for name, value in row.items():
        column = cells(table, name)
        if column is None:
            return np.zeros(0, dtype=int)
        keep &= np.isclose(column, value, rtol=1e-6, atol=0) if isinstance(value, float) else column == value
    return np.flatnonzero(keep)


@pytest.mark.parametrize("name", sorted(SETS))
def test_a_data_set_is_read_counted_and_in_si(name: str, shared_data: Path) -> None:
    expected, report, hits = SETS[name], ImportReport(), 0
    networks: set[tuple[str, str]] = set()
    known = {"", *device_ids()}
    for table in read(name, shared_data, report=report):
        assert table.rows > 0
        if isinstance(table, KnobTable):
            continue
        assert isinstance(table, MeasurementTable | WorkloadMeasurements)
        assert set(table.device.tolist()) <= known
        if isinstance(table, WorkloadMeasurements):
            networks |= set(zip(table.workload.tolist(), table.text("params").tolist(), strict=True))
        for i in picked(table, expected.row) if expected.row else ():
            hits += all(_equal(cells(table, key)[i], value) for key, value in expected.values.items())
    for workload, params in sorted(networks)[:: max(1, len(networks) // 40)]:
        assert load_model(workload, json.loads(params) if params else {}).name  # its knobs can be set
    print(f"{name}: {report.mapped:,} of {report.read:,} ({report.mapped / report.read:.1%})")
    assert report.read == expected.read
    assert report.mapped + sum(report.skipped.values()) == report.read
    assert report.mapped / report.read >= expected.share
    assert hits > 0 or not expected.row, "the row that was checked by hand is not there"


def _equal(found: Any, value: Any) -> bool:
    return bool(found == value) if isinstance(value, str) else bool(np.isclose(found, value, rtol=1e-6, atol=0))


def test_every_data_set_has_a_hand_checked_row() -> None:
    assert set(data_sets()) == set(SETS)


def test_only_the_devices_that_are_asked_for_are_yielded(shared_data: Path) -> None:
    report = ImportReport()
    tables = list(read("rknn", shared_data, devices=("rk3588",), report=report))
    assert {name for table in tables for name in table.device.tolist()} == {"rk3588"}  # type: ignore[attr-defined]
    assert report.skipped["a device that was not asked for"] > 0


@pytest.mark.parametrize("name", ["yolov5s", "mobilenetv2-12"])
def test_a_network_that_the_catalogue_lacks_keeps_its_own_name_only_where_asked(name: str, tmp_path: Path) -> None:
    (tmp_path / "rknn").mkdir()
    text = f'family,model,input,dtype,platform,fps\na,odd_{name},"[1, 3, 64, 64]",INT8,RK1808,5\n'
    (tmp_path / "rknn" / "fps.csv.gz").write_bytes(gzip.compress(text.encode()))
    report = ImportReport()
    assert not list(read("rknn", tmp_path, report=report))
    assert report.skipped == {f"network 'odd_{name}' is not in the catalogue": 1}
    (table,) = read("rknn", tmp_path, options={"names": "own"})
    assert isinstance(table, WorkloadMeasurements)
    assert table.workload.tolist() == table.groups().tolist() == [f"own:odd_{name}"]
    assert table.knobs(0) == {"image": 64}
    with pytest.raises(UnknownNameError, match="Nearest: own"):
        list(read("rknn", tmp_path, options={"names": "owns"}))


def test_hailos_networks_have_the_operations_and_parameters_of_its_table(shared_data: Path) -> None:
    found = read_file(
        shared_data / "hailo" / "fps.csv.gz", ("params_m", "ops_g"), ("network", "input_resolution")
    )  # fmt: skip
    seen: set[str] = set()
    for network, size, params_m, ops_g in zip(
        found["network"], found["input_resolution"], found["params_m"], found["ops_g"], strict=True
    ):
        workload = hailo_network(network)
        if not workload or network in seen or network == "vit_tiny":  # its operations contradict those of deit_tiny
            continue
        seen.add(network)
        summary = load_model(workload, {"image": int(size.split("x")[0])}).summary()
        assert summary["parameters"] == pytest.approx(params_m * 1e6, rel=0.1), network
        assert 2 * summary["macs"] == pytest.approx(ops_g * 1e9, rel=0.1), network
    assert len(seen) >= 30


def published_class(cell: str) -> str:
    """The class of a cell by its authors' code (`to_unique_str` of NAS-Bench-201, zeros considered)."""
    nodes = ["0"]
    for part in cell.split("|+|"):
        terms = []
        for operation, start in re.findall(r"([a-z0-9_]+)~(\d)", part):
            read_from = nodes[int(start)]
            nothing = operation == "none" or read_from == "#"
            kept = read_from if operation == "skip_connect" else f"({read_from})@{operation}"
            terms.append("#" if nothing else kept)
        nodes.append("+".join(sorted(terms)))
    return nodes[-1]


def test_cells_that_their_authors_count_as_one_are_of_one_class(shared_data: Path) -> None:
    found = read_file(shared_data / "help" / "nasbench201_latency_ms.csv.gz", (), ("arch_str",))
    ours: dict[str, set[str]] = {}
    for cell in found["arch_str"]:
        ours.setdefault(published_class(cell), set()).add(cell_class(cell))
    assert len(ours) == 6466  # Dong & Yang 2020 (arXiv 2001.00326), section 2
    assert all(len(classes) == 1 for classes in ours.values())


def test_cells_are_of_one_class_where_only_skips_zeros_or_order_differ() -> None:
    plain = cell_class("|nor_conv_3x3~0|+|none~0|none~1|+|none~0|skip_connect~1|none~2|")
    assert plain == cell_class("|skip_connect~0|+|none~0|none~1|+|none~0|nor_conv_3x3~1|none~2|") == "nor_conv_3x3(0)"
    assert plain == cell_class("|none~0|+|nor_conv_3x3~0|none~1|+|none~0|none~1|skip_connect~2|")
    assert cell_class("|none~0|+|none~0|none~1|+|none~0|none~1|nor_conv_3x3~2|") == ""
    with pytest.raises(BadFileError, match="is no cell"):
        cell_class("|nor_conv_3x3~0|+|none~0|")


@pytest.mark.parametrize(
    ("sizes", "devices", "tp", "dp", "ep"),
    [
        ((8, np.nan, 1, 1), 8, 8, 1, 1),  # a dense network
        ((8, 1, 8, 1), 8, 8, 1, 1),
        ((8, 1, 1, 8), 8, 8, 1, 8),
        ((64, 1, 8, 8), 8, 8, 1, 8),  # tp8_ep8: the product stands as tp
        ((1, 64, 8, 8), 8, 1, 8, 8),
        ((4, 4, 1, 16), 4, 1, 4, 4),
        ((1, 8, 1, 8), 8, 1, 8, 8),
        ((8, np.nan, 2, 4), 8, 8, 1, 4),
    ],
)
def test_parallel_sizes_are_those_of_the_run(sizes: tuple[float, ...], devices: int, tp: int, dp: int, ep: int) -> None:
    names = ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    found = {name: np.array([float(size)]) for name, size in zip(names, sizes, strict=True)}
    got = ranks_of({**found, "pp_size": np.array([1.0])})
    assert [float(part[0]) for part in got] == [devices, tp, dp, ep, 0.0]


@pytest.mark.parametrize("sizes", [(1, np.nan, 2, 1), (72, 1, 72, 1), (12, 1, 12, 1), (2, np.nan, 4, 1)])
def test_parallel_sizes_that_no_run_can_have_are_marked(sizes: tuple[float, ...]) -> None:
    names = ("tp_size", "attention_dp_size", "moe_tp_size", "moe_ep_size")
    found = {name: np.array([float(size)]) for name, size in zip(names, sizes, strict=True)}
    assert ranks_of({**found, "pp_size": np.array([1.0])})[-1][0]


@pytest.mark.parametrize(
    ("config", "software"),
    [
        ("infer-amp-nchw-pt113-cu117-rtx3090", "pytorch 1.13"),
        ("infer-amp-nhwc-pt240-cu124-rtx4090", "pytorch 2.4.0 channels-last"),
        ("infer-fp32-nchw-pt221-cpu-i9_10940x-dynamo", "pytorch 2.2.1 compiled"),
    ],
)
def test_a_configuration_of_timm_names_its_stack(config: str, software: str) -> None:
    assert software_of(config) == software


def test_small_parsers() -> None:
    assert timm_family("tf_efficientnetv2_s") == "efficientnetv2"
    assert timm_family("seresnext50_32x4d") == "resnext"
    assert batch_of("titan_rtx_256") == ("titan_rtx", 256)
    assert batch_of("essential_ph_1") == ("essential_ph_1", 1)
    assert clock_hz("30.7 MHz") == pytest.approx(30.7e6)
    assert clock_hz("Prime Core, up to 3.4Ghz") == pytest.approx(3.4e9)
    assert np.isnan(clock_hz("fast"))
    assert [least_devices(name) for name in ("gpt-j-6b", "opt-66b", "gpt-3-175b")] == [1, 2, 8]


def test_a_set_is_found_under_the_root_by_variable_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rknn").mkdir()
    monkeypatch.setenv("ARCHCAST_DATA", str(tmp_path))
    assert set_folder(ImportRequest(), "rknn") == tmp_path / "rknn"
    assert set_folder(ImportRequest(path=tmp_path / "rknn"), "rknn") == tmp_path / "rknn"
    with pytest.raises(BadFileError, match="no folder 'timm'"):
        set_folder(ImportRequest(), "timm")
    monkeypatch.delenv("ARCHCAST_DATA")
    with pytest.raises(BadFileError, match="set ARCHCAST_DATA"):
        set_folder(ImportRequest(), "timm")


def test_damaged_files_and_missing_columns_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "rknn"
    folder.mkdir()
    whole = gzip.compress(b"family,model,input,dtype,platform,fps\n" + b"a,yolov5s,1,INT8,RK1808,5\n" * 1000)
    (folder / "fps.csv.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadFileError, match=r"fps\.csv\.gz: not a readable gzip file"):
        list(read("rknn", tmp_path))
    (folder / "fps.csv.gz").write_bytes(gzip.compress(b"family,model\na,b\n"))
    with pytest.raises(BadFileError, match=r"fps\.csv\.gz: the table has no column 'fps'"):
        list(read("rknn", tmp_path))
    (folder / "fps.csv.gz").write_bytes(gzip.compress(b"fps,model\n1\n"))
    with pytest.raises(BadFileError, match=r"fps\.csv\.gz.*the row has 1 cells"):
        list(read("rknn", tmp_path))
    (folder / "fps.csv.gz").unlink()
    with pytest.raises(BadFileError, match="there is no such file"):
        list(read("rknn", tmp_path))


def test_unknown_sets_and_options_offer_what_is_near(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="Nearest: timm"):
        list(read("tim", tmp_path))
    with pytest.raises(UnknownNameError, match="option of the import"):
        list(read("timm", tmp_path, options={"fast": "1"}))


def test_runs_that_need_more_arithmetic_than_their_devices_have_are_not_of_so_many_devices() -> None:
    from costmodel.measured.silicon_sample import FASTEST, arithmetic_share

    found = {
        "silicon_ttft_ms": np.array([719.3, 719.3]), "silicon_tpot_ms": np.array([13.66, 13.66]),
        "osl": np.array([500.0, 500.0]), "isl": np.array([15_000.0, 15_000.0]), "concurrency": np.array([416.0, 4.0]),
    }  # fmt: skip
    names = (np.array(["qwen3-32b"] * 2, dtype=object), np.array(["b200"] * 2, dtype=object))
    share = arithmetic_share(found, *names, np.array([2.0, 2.0]))
    assert share[0] > FASTEST > share[1]
    assert share[0] / share[1] == pytest.approx(104.0)
