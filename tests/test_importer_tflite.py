"""TFLite files: a real network and built ones, MACs by hand, formats from types and scales, hostile bytes refused."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from cli_runner import archcast
from hypothesis import given, settings
from hypothesis import strategies as st
from importer_files import FIXTURES, flipped, flips, with_bytes
from tflite_files import flatbuffer, network, operator, small_cnn, tensor

from workloads.catalogue import load_model
from workloads.graph import Operator
from workloads.importers import tflite_read
from workloads.importers.tflite import LiteModel, load_tflite
from workloads.model import Request

REAL = FIXTURES / "tflite" / "hand_recrop.tflite"
STAGES = (
    (128, 3, 8, 3),
    (64, 8, 8, 2),
    (32, 16, 16, 2),
    (16, 32, 32, 2),
    (8, 64, 32, 2),
    (4, 64, 16, 2),
    (2, 32, 8, 2),
)
"""Of hand_recrop: edge of the map, channels in and out, and edge of the filters of each convolution with stride."""
WIDER = ((64, 8, 16), (32, 16, 32), (16, 32, 64), (8, 32, 64), (4, 16, 32), (2, 8, 16))
"""Edge, channels in and out of the 1x1 convolutions."""
DEPTHWISE = (
    (128, 1, 8), (128, 1, 8), (64, 1, 8), (64, 3, 8), (64, 1, 16), (32, 1, 16), (32, 3, 16), (32, 1, 32), (16, 1, 32),
    (16, 3, 32), (16, 1, 64), (8, 1, 32), (8, 3, 32), (8, 1, 64), (4, 1, 16), (4, 3, 16), (4, 1, 32), (2, 1, 8),
    (2, 3, 8),
)  # fmt: skip
SLOPES = (8, 8, 8, 16, 16, 32, 32, 64, 32, 64, 16, 32, 8)
"""Channels of each PReLU."""
SMALL_MACS = 8 * 8 * 8 * 27 + 8 * 8 * 8 * 9 + 80


def load(tmp_path: Path, tables: dict[int, Any]) -> LiteModel:
    path = tmp_path / "m.tflite"
    path.write_bytes(flatbuffer(tables))
    return load_tflite(path)


def operators(model: LiteModel) -> dict[str, Operator]:
    return {o.name: o for block in model.graph.blocks for o in block.operators}


def test_a_real_network_has_its_hand_computed_macs_and_parameters() -> None:
    summary = load_tflite(REAL).summary()
    macs = sum(e * e * i * o * k * k for e, i, o, k in STAGES) + sum(e * e * i * o for e, i, o in WIDER)
    macs += sum(e * e * c * k * k for e, k, c in DEPTHWISE) + 4 * 2 * 2 * 16
    assert summary["macs"] == macs == 9_969_728
    weights = sum(i * o * k * k + o for _, i, o, k in STAGES) + sum(i * o + o for _, i, o in WIDER)
    weights += sum(c * k * k + c for _, k, c in DEPTHWISE) + 4 * 2 * 2 * 16 + 4
    assert summary["parameters"] == weights + sum(SLOPES) == 27_012


def test_every_operator_of_the_real_network_is_modelled() -> None:
    report = load_tflite(REAL).report
    assert report["unmodelled"] == []
    assert report["nodes"] == 63 == report["operators"] + report["fused"] + report["free"]


@pytest.mark.parametrize(
    ("weights", "data", "bias", "matrix"),
    [
        ("FLOAT32", "FLOAT32", "FLOAT32", "fp32"), ("INT8", "INT8", "INT32", "int8"),
        ("UINT8", "UINT8", "INT32", "int8"), ("INT8", "FLOAT32", "FLOAT32", "w8a16"),
        ("INT4", "INT8", "INT32", "w4a8"), ("INT8", "INT16", "INT32", "w8a16"),
    ],
)  # fmt: skip
def test_formats_follow_types_and_scales(tmp_path: Path, weights: str, data: str, bias: str, matrix: str) -> None:
    model = load(tmp_path, small_cnn(weights, data, bias))
    assert {o.dtype for o in operators(model).values() if o.op in ("conv2d", "gemm")} == {matrix}
    assert model.summary()["parameters"] == 8 * 27 + 8 + 72 + 8 + 80 + 10
    assert model.summary()["macs"] == SMALL_MACS
    assert model.workload(Request(batch=6)).graph.macs() == 6 * SMALL_MACS
    assert model.native_dtype == matrix


def test_a_depthwise_convolution_has_a_group_for_each_channel(tmp_path: Path) -> None:
    shape = operators(load(tmp_path, small_cnn()))["depthwise_conv_2d_1"].shape
    assert (shape["groups"], shape["c_in"], shape["c_out"], shape["kh"]) == (8, 8, 8, 3)


def test_a_transposed_convolution_counts_each_input_once(tmp_path: Path) -> None:
    tensors = [
        tensor([4], "INT32", buffer=1), tensor([8, 2, 2, 4], buffer=1), tensor([1, 5, 5, 4]), tensor([1, 10, 10, 8]),
    ]  # fmt: skip
    model = load(tmp_path, network(["TRANSPOSE_CONV"], tensors, [operator(0, [0, 1, 2], [3])], [2], [3]))
    assert model.summary()["macs"] == 5 * 5 * 4 * 2 * 2 * 8
    assert model.summary()["parameters"] == 8 * 2 * 2 * 4


def test_custom_operators_are_reported_and_loops_counted_once(tmp_path: Path) -> None:
    body = {0: [tensor([1, 4]), tensor([1, 4])], 1: [0], 2: [1], 3: [operator(2, [0], [1])]}
    tensors = [tensor([1, 4]), tensor([1, 4]), tensor([1, 4])]
    steps = [operator(0, [0], [1]), operator(1, [1], [2], {0: 1, 1: 1})]
    model = load(tmp_path, network(["CUSTOM", "WHILE", "RELU"], tensors, steps, [0], [2], more=[body]))
    assert [o.op for o in operators(model).values()] == ["copy", "elementwise"]
    assert model.report["unmodelled"][0]["op"] == "my_op"
    assert any("as often as data says" in note for note in model.workload(Request()).notes)


def test_the_command_line_predicts_a_network_by_its_path() -> None:
    answer = archcast("predict", REAL, "--on", "h100-sxm", "--json")
    assert answer.code == 0, answer.stderr
    assert load_model(REAL).family == "tflite"


def damaged(**changes: Any) -> bytes:
    tables = small_cnn()
    graph = tables[2][0]
    for key, value in changes.items():
        if key == "dims":
            graph[0][0][0] = value
        elif key == "operator":
            graph[3][0] = value
        elif key == "inputs":
            graph[1] = value
        elif key == "buffer":
            graph[0][1][2] = ("I", value)
    return flatbuffer(tables)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "TFL3"),
        (b"\x08\0\0\0TFL3", "beyond the end"),
        (struct.pack("<I", 2**31) + b"TFL3" + b"\0" * 40, "beyond the end"),
        (b"\x08\0\0\0TFL3" + struct.pack("<i", 2**30) + b"\0" * 40, "before the beginning"),
        (flatbuffer({}), "no graph"),
        (flatbuffer(small_cnn(), b"TFL2"), "TFL3"),
        (damaged(dims=[2**30] * 4), "impossible shape"),
        (damaged(dims=[2, -16, 16, 3]), "impossible shape"),
        (damaged(dims=[1] * 40), "at most 32"),
        (damaged(dims=[]), "do not fit it"),
        (damaged(operator=operator(99, [0], [1])), "of which there is none"),
        (damaged(operator=operator(0, [0, 999, 2], [3])), "does not exist"),
        (damaged(operator=operator(0, [0], [3])), "do not fit it"),
        (damaged(operator=operator(0, [-1, -1, -1], [3])), "cost model"),
        (damaged(inputs=[77]), "does not exist"),
        (damaged(buffer=1000), "of which there is none"),
    ],
)
def test_a_broken_file_is_refused_or_reported(data: bytes, problem: str, tmp_path: Path) -> None:
    if problem != "cost model":
        assert problem in with_bytes(load_tflite, data, ".tflite")
        return
    (tmp_path / "m.tflite").write_bytes(data)
    assert any(problem in note for note in load_tflite(tmp_path / "m.tflite").workload(Request()).notes)


def test_graphs_that_call_each_other_are_refused() -> None:
    step = operator(0, [0], [1], {0: 0, 1: 0})
    tables = network(["WHILE"], [tensor([1, 4]), tensor([1, 4])], [step], [0], [1])
    assert "call each other" in with_bytes(load_tflite, flatbuffer(tables), ".tflite")


def test_tables_that_share_bytes_do_not_multiply_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite_read, "MAX_ITEMS", 100)
    assert "more than 100 entries" in with_bytes(load_tflite, flatbuffer(small_cnn()), ".tflite")


@pytest.mark.parametrize("share", [0.0001, 0.1, 0.5, 0.95])
def test_a_truncated_file_is_refused(share: float) -> None:
    data = REAL.read_bytes()
    said = with_bytes(load_tflite, data[: int(len(data) * share)], ".tflite")
    assert "truncated" in said or "TFL3" in said


SMALL = flatbuffer(small_cnn())


@settings(max_examples=400)
@given(places=flips(len(SMALL)))
def test_a_file_with_flipped_bytes_is_read_or_refused(places: list[tuple[int, int]]) -> None:
    with_bytes(load_tflite, flipped(SMALL, places), ".tflite")


@settings(max_examples=150)
@given(st.binary(max_size=300))
def test_random_bytes_after_the_mark_are_refused(data: bytes) -> None:
    assert with_bytes(load_tflite, b"\x10\0\0\0TFL3" + data, ".tflite")
