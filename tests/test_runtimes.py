"""Runtimes of the catalogue: names, the devices that they run on, and what `--software` does with them."""

from __future__ import annotations

import csv
import gzip
import os
from pathlib import Path

import numpy as np
import pytest

import archcast as ac
from costmodel.partition import WORDS
from foundation.errors import UnsupportedError
from hardware_specs import device_ids, device_of, load_device
from hardware_specs.figures import Figure
from hardware_specs.reader import read_file
from hardware_specs.runtimes import NORMS, RuntimeSpec, find_runtime, load_runtime, runtime_ids
from workloads.table import DEFAULTS, OPS

DATA = Path(os.environ.get("ARCHCAST_DATA", Path(__file__).parents[1] / ".." / "shared" / "data"))
HUB = DATA / "qualcomm_ai_hub" / "perf.csv.gz"
FOLDER = Path(__file__).parents[1] / "hardware_specs" / "catalogue" / "runtimes"


@pytest.mark.parametrize("name", runtime_ids())
def test_a_runtime_names_operators_formats_and_devices_that_exist(name: str) -> None:
    spec = load_runtime(name)
    assert set(spec.operators) <= set(OPS)
    assert set(spec.activations) <= WORDS
    assert set(spec.norms) <= set(NORMS)
    assert set(spec.fuses) <= {*spec.activations, *NORMS}
    assert set(spec.float_only) <= {*spec.operators, *spec.activations}
    assert {limit.operator for limit in spec.limits} <= set(spec.operators)
    assert {limit.size for limit in spec.limits} <= set(DEFAULTS)
    assert any(spec.runs_on.rank(load_device(device)) for device in device_ids())
    figures = [spec.switch_s, spec.convert_s_per_element, *spec.pace.values()]
    assert all(isinstance(figure, Figure) and figure.lo <= figure.value <= figure.hi for figure in figures)


def test_the_compiled_runtimes_are_those_of_the_files() -> None:
    files = {path.stem: read_file(path, RuntimeSpec) for path in FOLDER.glob("*.yaml")}
    assert sorted(files) == runtime_ids()
    assert all(load_runtime(name) == spec for name, spec in files.items())


@pytest.mark.parametrize("name", [n for n in device_ids() if load_device(n).host])
def test_a_host_is_a_processor_without_a_host_of_its_own(name: str) -> None:
    port = load_device(name).host
    assert port is not None
    host = load_device(port.device)
    assert host.kind == "cpu"
    assert host.host is None


@pytest.mark.parametrize(
    ("software", "device", "runtime"),
    [
        ("litert", "edge-tpu", "litert-edgetpu"),
        ("tflite", "raspberry-pi-4", "litert-xnnpack"),
        ("LiteRT 2.1", "snapdragon-8-elite", "litert-qnn"),
        ("litert-nnapi", "snapdragon-8-elite", "litert-nnapi"),
        ("litert", "jetson-orin-nano", "litert-gpu"),
        ("onnxruntime 1.20", "snapdragon-8-gen-3", "onnxruntime-qnn"),
        ("onnxruntime", "apple-a14", "onnxruntime-coreml"),
        ("onnxruntime", "h100-sxm", "onnxruntime-cuda"),
        ("ort-trt", "h100-sxm", "onnxruntime-tensorrt"),
        ("onnxruntime", "epyc-milan", "onnxruntime-cpu"),
        ("qairt 2.42", "qcs8550", "qnn"),
        ("hailo", "hailo-8", "hailo-dfc"),
        ("rknn", "rk3588", "rknn"),
        ("cmsis-nn", "stm32l4r5", "tflite-micro"),
        ("x-cube-ai v10", "stm32l4r5", "x-cube-ai"),
        ("llama.cpp", "raspberry-pi-5", "llama.cpp"),
    ],
)
def test_a_name_and_a_device_mean_one_runtime(software: str, device: str, runtime: str) -> None:
    found = find_runtime(software, load_device(device))
    assert found is not None
    assert found.id == runtime


@pytest.mark.parametrize(
    "software", ["vllm 0.24.0", "sglang", "trtllm 1.0.0", "tensorrt-llm", "my engine 1.0", "", " "]
)
def test_learned_stacks_and_unknown_names_are_no_runtimes(software: str) -> None:
    assert find_runtime(software, load_device("h100-sxm")) is None


def test_an_unknown_name_is_noted_and_nothing_is_divided() -> None:
    plain, unknown = (
        ac.predict("gpt-2", on="h100-sxm", prompt=16, generate=2, software=software, model="physics")
        for software in ("", "my engine 1.0")
    )
    assert plain.latency_s == unknown.latency_s
    assert any("knows no software stacks" in note for note in unknown.notes)
    learned = ac.predict("gpt-2", on="h100-sxm", prompt=16, generate=2, software="my engine 1.0")
    assert any("was not calibrated on the software 'my engine 1.0'" in note for note in learned.notes)


def test_a_runtime_that_does_not_run_on_a_device_says_which_do_and_names_the_host() -> None:
    with pytest.raises(UnsupportedError, match=r"'llama\.cpp' does not run on edge-tpu \(npu\).*--on raspberry-pi-4"):
        ac.predict("gpt-2", on="edge-tpu", software="llama.cpp")
    with pytest.raises(UnsupportedError, match="there are litert, onnxruntime, qnn"):
        ac.predict("gpt-2", on="snapdragon-8-elite", software="tensorrt")


def test_what_a_runtime_takes_as_a_whole_costs_what_the_device_costs() -> None:
    plain, named = (ac.predict("resnet-50", on="h100-sxm", software=s, model="physics") for s in ("", "tensorrt"))
    assert plain.latency_s == named.latency_s
    assert plain.energy_j == named.energy_j
    assert any("all 72 operators run on h100-sxm" in note for note in named.notes)


def test_a_runtime_that_takes_networks_as_a_whole_refuses_the_rest_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"QNN.*runs a network as a whole"):
        ac.predict("mamba-130m", on="snapdragon-8-elite", software="qnn", dtype="fp16")


def test_hard_swish_sends_mobilenet_v3_to_the_host_of_the_edge_tpu_and_relu6_keeps_v2() -> None:
    third = ac.predict("mobilenet-v3-large", on="edge-tpu", software="litert")
    second = ac.predict("mobilenet-v2", on="edge-tpu", software="litert")
    assert third.latency_s is not None
    assert second.latency_s is not None
    # 217 MMAC against 301: on the accelerator alone the third version would be the faster one
    assert third.latency_s.value > 5 * second.latency_s.value
    assert any("hard-swish (26)" in note and "raspberry-pi-4" in note for note in third.notes)
    assert any("2 times a pass" in note for note in third.notes)  # the input goes there, the first map comes back
    assert any("all 64 operators run on edge-tpu" in note for note in second.notes)


def test_answers_in_columns_are_those_one_by_one() -> None:
    table = ac.predict_batch(workload="mobilenet-v3-large", on="edge-tpu", software="litert", batch=[1, 2])
    for row, batch in enumerate((1, 2)):
        alone = ac.predict("mobilenet-v3-large", on="edge-tpu", software="litert", batch=batch)
        assert alone.latency_s is not None
        assert table["latency_s"][row] == alone.latency_s.value


HELD_OUT = {"vit": "vit-base", "mobile_vit": "mobilevit-s", "efficientformer": "efficientformer-l1"}
"""Networks that the cost of a quantisation was not set on (that are ConvNeXt and BERT)."""


@pytest.mark.skipif(not HUB.exists(), reason="the rows of Qualcomm AI Hub are not here (ARCHCAST_DATA)")
def test_rows_of_ai_hub_that_fell_back_are_met_where_the_device_alone_is_far_off() -> None:
    formats = {"w8a16": "w8a16", "w8a8": "int8"}
    errors: dict[str, list[float]] = {"": [], "onnxruntime": []}
    with gzip.open(HUB, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            known = row["model"] in HELD_OUT and row["precision"] in formats and row["runtime"] == "onnx"
            if known and row["primary_compute_unit"] == "NPU" and float(row["layers_cpu"] or 0) > 0:
                measured_s = float(row["inference_ms"]) * 1e-3
                device = device_of("qualcomm_ai_hub", row["device"])
                for software, found in errors.items():
                    one = ac.predict(HELD_OUT[row["model"]], on=device, dtype=formats[row["precision"]],
                                     software=software, model="physics")  # fmt: skip
                    assert one.latency_s is not None
                    found.append(abs(np.log(one.latency_s.value / measured_s)))
    assert len(errors[""]) >= 10
    assert np.exp(np.median(errors[""])) > 5  # the device alone: 13 times too fast at the median
    assert np.exp(np.median(errors["onnxruntime"])) < 1.3
