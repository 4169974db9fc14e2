"""Our own graphs, written as ONNX, are the networks that predict is asked about; ONNX Runtime runs and times them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")

from archcast.measuring.backends.base import Network
from archcast.measuring.backends.onnx_operators import Noise, Program, build, copies_of
from archcast.measuring.backends.onnxruntime_host import NETWORKS, kernel_samples, one_copy, program_model
from archcast.measuring.networks import network_program, write_program
from foundation.errors import UnsupportedError
from workloads.catalogue import load_model
from workloads.graph import Block, Operator, WorkloadGraph
from workloads.model import Request

NOISE = Noise()


def parameters_of(program: Program) -> int:
    """Return the stored floats of a program that are no bounds of a Clip."""
    return sum(w.size for name, w in program.weights.items() if w.dtype == np.float32 and not name.startswith("clip"))


@pytest.mark.parametrize("name", ["vit-tiny", "bert-small"])
def test_a_written_transformer_has_the_parameters_of_its_graph(name: str) -> None:
    workload = load_model(name).workload(Request(prompt=32 if name == "bert-small" else None, dtype="fp32"))
    assert parameters_of(write_program(workload.graph, NOISE)) == workload.parameters


@pytest.mark.parametrize("name", ["resnet-18", "mobilenet-v2"])
def test_a_written_image_network_has_the_macs_of_its_graph(name: str, tmp_path: Path) -> None:
    workload = load_model(name).workload(Request(dtype="fp32"))
    file = tmp_path / "network.onnx"
    file.write_bytes(program_model(write_program(workload.graph, NOISE)))
    assert load_model(file).workload(Request()).graph.macs() == workload.graph.macs()


def test_a_written_decoder_multiplies_what_its_graph_multiplies() -> None:
    network = Network("gpt-2", {"layers": 2, "vocab": 512, "hidden": 64, "heads": 4, "inter": 256}, prompt=16)
    program = network_program(network, NOISE)
    products = sorted(program.weights[node.input[1]].shape for node in program.nodes if node.op_type == "Gemm")
    assert products == sorted([(64, 192), (64, 64), (64, 256), (256, 64)] * 2 + [(64, 512)])
    attended = [node for node in program.nodes if node.op_type == "GroupQueryAttention"]
    assert len(attended) == 2
    assert program.inputs[attended[0].input[3]].shape == (1, 4, 16, 16)  # batch, heads, tokens, head size
    # each cache is written where it was read
    assert {program.shared[name] for name in program.shared} == {
        n for n in program.inputs if n.startswith(("pk", "pv"))
    }


def test_a_decode_step_reads_the_cache_of_its_prompt() -> None:
    network = Network(
        "gpt-2", {"layers": 1, "vocab": 64, "hidden": 64, "heads": 4, "inter": 64}, prompt=16, decode=True
    )
    program = network_program(network, NOISE)
    (attended,) = (node for node in program.nodes if node.op_type == "GroupQueryAttention")
    assert program.inputs[attended.input[3]].shape == (1, 4, 17, 16)
    assert list(program.inputs["last"]) == [16]


def test_an_operator_that_cannot_be_written_is_refused_by_name() -> None:
    scan = Operator("mixer", "scan", {"batch": 1, "q_len": 8, "heads": 1, "head_dim": 8, "state": 4}, dtype="fp32")
    with pytest.raises(UnsupportedError, match="mixer"):
        write_program(WorkloadGraph("g", (Block("b", (scan,)),)), NOISE)
    with pytest.raises(UnsupportedError, match="moe"):
        build({"op": "moe", "dtype": "fp32"}, NOISE)


def test_weights_have_copies_only_where_reading_them_is_what_takes_time() -> None:
    assert copies_of(4e6, 8e6) == 24  # two FLOP a byte: waits for its weights, 96 MB of which pass
    assert copies_of(6e7, 1.2e8) == 2
    assert copies_of(4e5, 8e5) == 8  # stays in the caches of a network too
    assert copies_of(4e6, 4e9) == 2  # a thousand FLOP a byte


def test_no_two_weights_are_equal() -> None:
    # equal constants would be one constant to an optimiser
    assert not np.array_equal(NOISE.floats(100), NOISE.floats(100))
    large = NOISE.floats(NOISE.SIZE + 10)
    assert large.shape == (NOISE.SIZE + 10,)
    assert large.std() == pytest.approx(0.05, rel=0.01)


def event(name: str, kind: str, micros: int, shape: object = 1) -> dict[str, Any]:
    """Return one line of a profile of ONNX Runtime."""
    if kind == "run":
        return {"cat": "Session", "name": "model_run", "dur": micros, "args": {}}
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": micros,
            "args": {"op_name": kind, "input_type_shape": [shape]}}  # fmt: skip


def test_a_profile_gives_the_kernels_of_each_run_without_changes_of_layout() -> None:
    once = [event("r", "ReorderInput", 50), event("y0", "Conv", 100), event("y1", "Conv", 104), event("", "run", 300)]
    runs = kernel_samples(json.loads(json.dumps([event("y0", "Conv", 9999), event("", "run", 9999), *once * 6])),
                          frozenset({"ReorderInput"}), skip=1)  # fmt: skip
    assert len(runs) == 6
    latency, spread, samples = one_copy(runs, np.ones(6, dtype=bool), copies=2)
    assert latency == pytest.approx(102e-6)
    assert spread == pytest.approx(2e-6)
    assert samples == 6


def test_an_operator_of_several_kernels_takes_the_sum_of_them() -> None:
    once = [event("q", "Split", 10), event("y", "MultiHeadAttention", 90), event("", "run", 120)]
    runs = kernel_samples(once * 5, frozenset())
    assert one_copy(runs, np.ones(5, dtype=bool), copies=1)[0] == pytest.approx(100e-6)


OPERATORS: list[dict[str, Any]] = [
    {"op": "gemm", "dtype": "fp32", "m": 8, "n": 64, "k": 32, "batch": 1},
    {"op": "gemm", "dtype": "fp32", "m": 8, "n": 64, "k": 32, "batch": 3},
    {"op": "gemm", "dtype": "int8", "m": 8, "n": 64, "k": 32, "batch": 1},
    {"op": "conv2d", "dtype": "fp32", "batch": 1, "c_in": 16, "h": 14, "w": 14, "c_out": 32, "kh": 3, "kw": 3,
     "stride": 2, "padding": 1, "groups": 1},
    {"op": "conv2d", "dtype": "int8", "batch": 1, "c_in": 16, "h": 14, "w": 14, "c_out": 16, "kh": 3, "kw": 3,
     "stride": 1, "padding": 1, "groups": 16},
    {"op": "attention", "dtype": "fp32", "phase": "prefill", "batch": 2, "q_len": 24, "kv_len": 24, "heads": 4,
     "kv_heads": 4, "head_dim": 32, "causal": 0},
    {"op": "attention", "dtype": "fp32", "phase": "prefill", "batch": 2, "q_len": 24, "kv_len": 24, "heads": 4,
     "kv_heads": 2, "head_dim": 32, "causal": 1},
    {"op": "attention", "dtype": "fp32", "phase": "decode", "batch": 2, "q_len": 1, "kv_len": 24, "heads": 4,
     "kv_heads": 2, "head_dim": 32, "causal": 1},
    {"op": "norm", "dtype": "fp32", "rows": 8, "hidden": 64, "operands": 1, "flop_per_element": 7.0},
    {"op": "norm", "dtype": "fp32", "rows": 8, "hidden": 64, "operands": 3, "flop_per_element": 8.0},
    *({"op": "elementwise", "dtype": "fp32", "rows": 16, "hidden": 64, "operands": operands, "flop_per_element": flop}
      for operands, flop in ((1, 1.0), (1, 2.0), (1, 4.0), (1, 8.0), (2, 1.0), (4.0, 9.0), (49.0, 49.0))),
    {"op": "softmax", "dtype": "fp32", "rows": 8, "hidden": 64, "operands": 1},
    {"op": "embedding", "dtype": "fp32", "rows": 8, "hidden": 64, "operands": 1},
    {"op": "copy", "dtype": "fp32", "rows": 8, "hidden": 64, "operands": 1},
]  # fmt: skip


@pytest.mark.parametrize("row", OPERATORS, ids=lambda row: f"{row['op']}-{row['dtype']}-{row.get('operands', '')}")
def test_onnx_runtime_runs_and_times_every_family_of_the_pool(row: dict[str, Any]) -> None:
    pytest.importorskip("onnxruntime")
    from archcast.measuring.backends.onnxruntime_host import OnnxRuntimeBackend

    timing = OnnxRuntimeBackend(1).measure(row, 0.01)
    assert 0 < timing.latency_s < 0.1
    assert timing.n_repeat >= 1


def test_the_pool_of_onnx_runtime_has_only_families_that_are_tested_here() -> None:
    pytest.importorskip("onnxruntime")
    from archcast.measuring.backends.onnxruntime_host import OnnxRuntimeBackend

    rows = OnnxRuntimeBackend(1).candidates()
    assert {(r["op"], r["dtype"]) for r in rows} == {(r["op"], r["dtype"]) for r in OPERATORS}
    assert len({tuple(sorted(r.items())) for r in rows}) >= 0.97 * len(rows)


@pytest.mark.parametrize("network", [n for n in NETWORKS if n.workload != "gpt-2"], ids=lambda n: n.workload)
def test_onnx_runtime_runs_whole_networks(network: Network) -> None:
    pytest.importorskip("onnxruntime")
    from archcast.measuring.backends.onnxruntime_host import OnnxRuntimeBackend

    assert 0 < OnnxRuntimeBackend(1).measure_network(network, 0.01).latency_s < 10
