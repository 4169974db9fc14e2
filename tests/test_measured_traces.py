"""Traces of real programs as measurements: Kineto, ONNX Runtime, Nsight Systems, Chakra; and hostile ones."""

from __future__ import annotations

import gzip
import json
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from costmodel.measured.base import ImportRequest, find_importer
from costmodel.measured.chakra import read_chakra
from costmodel.measured.kineto import read_kineto
from costmodel.measured.kineto_operators import Call, kernel_family, operator_of
from costmodel.measured.nsys import range_call, read_nsys
from costmodel.measured.onnxruntime import read_onnxruntime
from costmodel.measured.trace_rows import Trace, device_named
from foundation.errors import ArchcastError, BadFileError, BadValueError
from workloads.measurements import MeasurementTable

TRACES = Path(__file__).parent / "fixtures" / "traces"
READERS: dict[str, Callable[[Path], Trace]] = {
    "kineto": read_kineto, "onnxruntime": read_onnxruntime, "chakra": read_chakra, "nsys": read_nsys,
}  # fmt: skip


def loaded(name: str, path: Path, *, devices: tuple[str, ...] = (), **options: str) -> tuple[MeasurementTable, Any]:
    """Return the one table of an import, and its report."""
    request = ImportRequest(path, devices, options)
    (table,) = find_importer(name).load(request)
    assert isinstance(table, MeasurementTable)
    return table, request.report


# --- Kineto: real traces of the host ---------------------------------------------------------------------------------
def test_a_real_resnet_18_has_each_convolution_with_its_shape() -> None:
    trace = read_kineto(TRACES / "resnet18_cpu.json.gz")
    convolutions = [row for row in trace.rows if row.op == "conv2d"]
    assert len(convolutions) == 20
    assert len(trace.rows) == 68
    assert dict(convolutions[0].shape) == {
        "batch": 2, "c_in": 3, "h": 224, "w": 224, "c_out": 64, "kh": 7, "kw": 7, "stride": 2, "padding": 3,
        "groups": 1, "dtype": "fp32",
    }  # fmt: skip
    assert convolutions[0].latency_s == pytest.approx(33694.062e-6), "the time of aten::conv2d with all that is inside"
    assert [row.name for row in trace.rows[-1:]] == ["aten::linear"]
    assert dict(trace.rows[-1].shape) == {"m": 2, "n": 1000, "k": 512, "dtype": "fp32"}


def test_the_outermost_call_is_the_row_and_views_are_none() -> None:
    trace = read_kineto(TRACES / "bert_cpu.json.gz")
    counts = {name: sum(row.name == name for row in trace.rows) for name in ("aten::linear", "aten::addmm")}
    assert counts == {"aten::linear": 73, "aten::addmm": 0}
    attentions = [row for row in trace.rows if row.op == "attention"]
    assert len(attentions) == 12
    assert attentions[0].shape["q_len"] == 64
    assert attentions[0].shape["causal"] == 0
    assert {row.name for row in trace.rows}.isdisjoint({"aten::view", "aten::transpose", "aten::empty"})
    assert 0 < trace.overhead_s < trace.total_s


def test_attention_by_products_in_bf16_is_products_and_a_softmax() -> None:
    trace = read_kineto(TRACES / "attention_bf16_cpu.json.gz")
    found = [(row.op, row.shape.get("m"), row.shape.get("n"), row.shape.get("batch")) for row in trace.rows]
    assert ("gemm", 64, 384, None) in found
    assert found.count(("gemm", 32, 32, 8)) == 2
    assert {row.shape["dtype"] for row in trace.rows} == {"bf16"}
    assert [row.op for row in trace.rows].count("norm") == 1


def test_a_training_trace_has_the_products_of_its_backward_pass() -> None:
    rows = read_kineto(TRACES / "attention_training_cpu.json.gz").rows
    names = [row.name for row in rows]
    assert names.count("aten::bmm") == 4, "two products of the scores, each with two gradients"
    assert {row.name for row in rows if not row.op} >= {"aten::_softmax_backward_data"}, "rows all the same"
    assert not any("Backward0" in row.name for row in rows)


def test_a_trace_of_the_host_needs_a_device_and_takes_the_only_one_asked_for() -> None:
    path = TRACES / "resnet18_cpu.json.gz"
    with pytest.raises(BadFileError, match="does not say which device"):
        list(find_importer("kineto").load(ImportRequest(path)))
    table, report = loaded("kineto", path, devices=("xeon-8592-plus",))
    assert set(table.device) == {"xeon-8592-plus"}
    assert set(table.software) == {"pytorch"}
    assert report.read == 68 == report.mapped + sum(report.skipped.values())
    assert set(loaded("kineto", path, device="h100")[0].device) == {"h100-sxm"}
    assert set(loaded("kineto", path, device="h100", software="pytorch 2.15")[0].software) == {"pytorch 2.15"}


def test_runs_of_one_operator_are_one_row_with_median_and_spread(tmp_path: Path) -> None:
    calls = [cpu_op("aten::mm", 100.0 * i, dur, [[4, 8], [8, 2]]) for i, dur in enumerate((5.0, 9.0, 6.0))]
    table, report = loaded("kineto", kineto_file(tmp_path, calls), device="a100")
    assert table.rows == 1
    assert table.value("latency_s")[0] == pytest.approx(6e-6)
    assert table.value("n_repeat")[0] == 3
    assert table.value("latency_std_s")[0] == pytest.approx(np.std([5e-6, 9e-6, 6e-6], ddof=1))
    assert report.skipped["further runs of an operator (the median is kept)"] == 2


# --- Kineto: a device ------------------------------------------------------------------------------------------------
def cpu_op(name: str, ts: float, dur: float, dims: Any, types: Any = None, values: Any = None, **args: Any) -> Any:
    types = types or ["float" if item else "" for item in dims]
    return {
        "ph": "X",
        "cat": "cpu_op",
        "name": name,
        "pid": 1,
        "tid": 1,
        "ts": ts,
        "dur": dur,
        "args": {"Input Dims": dims, "Input type": types, "Concrete Inputs": values or ["" for _ in dims], **args},
    }


def launch(ts: float, correlation: int) -> Any:
    return {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 1, "tid": 1, "ts": ts, "dur": 1.0,
            "args": {"correlation": correlation}}  # fmt: skip


def kernel(
    name: str, ts: float, dur: float, correlation: int = 0, cat: str = "kernel", notes: Any = None
) -> Any:  # fmt: skip
    return {"ph": "X", "cat": cat, "name": name, "pid": 0, "tid": 7, "ts": ts, "dur": dur,
            "args": {"device": 0, "stream": 7, "correlation": correlation, **(notes or {})}}  # fmt: skip


def kineto_file(folder: Path, events: list[Any], **meta: Any) -> Path:
    path = folder / "trace.json"
    path.write_text(json.dumps({"schemaVersion": 1, **meta, "traceEvents": events}), encoding="utf-8")
    return path


H100 = [{"id": 0, "name": "NVIDIA H100 80GB HBM3"}]
BF16 = ["c10::BFloat16"] * 3


def test_a_row_has_the_time_of_the_kernels_launched_inside_it(tmp_path: Path) -> None:
    events = [
        cpu_op("aten::linear", 10, 50, [[2, 64, 512], [1024, 512], [1024]], BF16),
        cpu_op("aten::addmm", 12, 40, [[1024], [128, 512], [512, 1024]], BF16),
        launch(20, 1), launch(30, 2),
        kernel("nvjet_tst_128x256", 100, 7.5, 1), kernel("splitKreduce_kernel", 108, 1.5, 2),
        cpu_op("aten::gelu", 70, 5, [[2, 64, 1024]], BF16[:1]), launch(71, 3),
        kernel("vectorized_elementwise_kernel<GeluCUDA>", 110, 2.0, 3),
    ]  # fmt: skip
    trace = read_kineto(kineto_file(tmp_path, events, deviceProperties=H100))
    assert trace.device == "h100-sxm"
    product, gelu = trace.rows
    assert (product.op, dict(product.shape)) == ("gemm", {"m": 128, "n": 1024, "k": 512, "dtype": "bf16"})
    assert product.latency_s == pytest.approx(9e-6)
    assert gelu.latency_s == pytest.approx(2e-6)
    assert gelu.op == "elementwise"
    assert gelu.shape["rows"] == 128
    assert gelu.shape["hidden"] == 1024


def test_a_kernel_without_a_runtime_event_finds_its_call_by_external_id(tmp_path: Path) -> None:
    call = cpu_op("aten::mm", 10, 50, [[4, 8], [8, 2]])
    call["args"]["External id"] = 77
    events = [call, kernel("sgemm_32x32", 100, 3.0, 5, notes={"External id": 77})]
    (row,) = read_kineto(kineto_file(tmp_path, events, deviceProperties=H100)).rows
    assert row.op == "gemm"
    assert row.latency_s == pytest.approx(3e-6)


def test_tf32_kernels_make_a_product_of_floats_tf32(tmp_path: Path) -> None:
    events = [cpu_op("aten::mm", 10, 50, [[4, 8], [8, 2]]), launch(20, 1),
              kernel("ampere_tf32_s1688gemm_128x128", 90, 3.0, 1)]  # fmt: skip
    (row,) = read_kineto(kineto_file(tmp_path, events)).rows
    assert row.shape["dtype"] == "tf32"


def test_collectives_are_sized_by_the_full_buffer(tmp_path: Path) -> None:
    def nccl(name: str, kind: str, sent: int, got: int) -> Any:
        notes = {"Collective name": kind, "In msg nelems": sent, "Out msg nelems": got, "Group size": 8,
                 "dtype": "BFloat16"}  # fmt: skip
        return kernel(name, 10, 40, notes=notes)

    events = [
        nccl("ncclDevKernel_AllReduce_Sum_bf16_RING_LL", "allreduce", 1024, 1024),
        nccl("ncclDevKernel_AllGather_RING_LL", "_allgather_base", 128, 1024),
        nccl("ncclDevKernel_ReduceScatter", "_reduce_scatter_base", 1024, 128),
        nccl("ncclDevKernel_Broadcast", "broadcast", 16, 16),
    ]
    rows = read_kineto(kineto_file(tmp_path, events, deviceProperties=H100)).rows
    assert [(row.shape.get("kind"), row.shape.get("bytes"), row.shape.get("ranks")) for row in rows] == [
        ("all_reduce", 2048, 8), ("all_gather", 2048, 8), ("reduce_scatter", 2048, 8), (None, None, None),
    ]  # fmt: skip
    assert "broadcast" in rows[3].reason


def test_kernels_of_graphs_and_copies_from_the_host_are_rows_without_an_operator(tmp_path: Path) -> None:
    events = [
        cpu_op("aten::copy_", 5, 20, [[4, 8], [4, 8]]), launch(6, 1),
        kernel("Memcpy HtoD (Pageable -> Device)", 50, 4.0, 1, cat="gpu_memcpy"),
        kernel("flash_fwd_kernel", 60, 6.0, 99),
        kernel("sgemm", 70, 6.0, 98) | {"args": {"device": 1}},
    ]  # fmt: skip
    trace = read_kineto(kineto_file(tmp_path, events, deviceProperties=H100))
    assert [(row.op, row.family) for row in trace.rows] == [("", "copy"), ("", "attention")]
    assert "host" in trace.rows[0].reason
    assert "graph" in trace.rows[1].reason
    assert trace.notes == {"a kernel of another device of the trace": 1}


@pytest.mark.parametrize(
    ("call", "op", "wanted"),
    [
        (Call("aten::baddbmm", [(8, 4, 2), (8, 4, 16), (8, 16, 2)]), "gemm", {"batch": 8, "m": 4, "n": 2, "k": 16}),
        (Call("aten::matmul", [(2, 3, 4, 5), (5, 6)]), "gemm", {"m": 24, "n": 6, "k": 5}),
        (Call("aten::matmul", [(2, 1, 4, 5), (3, 5, 6)]), "gemm", {"batch": 6, "m": 4, "n": 6, "k": 5}),
        (Call("aten::layer_norm", [(2, 3, 8), (), (8,)], (), ("", "[8]", "")), "norm", {"rows": 6, "hidden": 8}),
        (Call("aten::softmax", [(2, 5, 7), ()], (), ("", "1")), "softmax", {"rows": 14, "hidden": 5}),
        (Call("aten::embedding", [(100, 16), (2, 3)]), "embedding", {"rows": 6, "hidden": 16}),
        (Call("aten::add_", [(2, 3), (3,)]), "elementwise", {"rows": 2, "hidden": 3, "operands": 1.5}),
        (Call("aten::mean", [(2, 8, 7, 7), ()], (), ("", "[2, 3]")), "elementwise", {"operands": 49.0}),
        (Call("aten::cat", [[(2, 3), (2, 5)]]), "copy", {"rows": 2, "hidden": 8}),
        (
            Call("aten::_scaled_dot_product_flash_attention", [(2, 32, 1, 128), (2, 8, 99, 128), (2, 8, 99, 128)]),
            "attention", {"phase": "decode", "heads": 32, "kv_heads": 8, "q_len": 1, "kv_len": 99, "head_dim": 128},
        ),
        (
            Call("flash_attn::_flash_attn_forward", [(2, 16, 32, 64)] * 3, (), ("",) * 5 + ("True",)),
            "attention", {"heads": 32, "q_len": 16, "causal": 1.0},
        ),
        (
            Call("aten::conv2d", [(1, 32, 9, 9), (32, 1, 3, 3)], (), ("", "", "", "[2, 2]", "[1, 1]", "[1, 1]", "32")),
            "conv2d", {"groups": 32, "stride": 2, "padding": 1},
        ),
        (
            Call("aten::conv2d", [(1, 4, 9, 9), (8, 4, 3, 3)], (), ("", "", "", "[1]", "[2]", "[2]", "1")),
            "conv2d", {"out_h": 9, "out_w": 9},
        ),
        (
            Call("aten::max_pool2d", [(1, 4, 8, 8)], (), ("", "[2, 2]", "[2, 2]", "[0, 0]")),
            "elementwise", {"rows": 16, "hidden": 4, "operands": 4.0, "flop_per_element": 4},
        ),
    ],
)  # fmt: skip
def test_calls_are_operators_by_hand(call: Call, op: str, wanted: dict[str, float]) -> None:
    told = operator_of(call)
    assert told is not None, call
    assert told[0] == op, told
    assert {name: told[1][name] for name in wanted} == wanted


@pytest.mark.parametrize(
    "call",
    [
        Call("aten::mm", [(4, 8), (9, 2)]), Call("aten::mm", []), Call("aten::conv2d", [(1, 3, 8, 8), (4, 3, 3, 3)]),
        Call("aten::convolution", [(1, 3, 8, 8), (3, 4, 3, 3)], (), ("", "", "", "1", "0", "1", "True")),
        Call("aten::add", [(2, 3), (4,)]), Call("aten::add", [(2, 3)], ("long int",)),
    ],
)  # fmt: skip
def test_calls_that_cannot_be_told_say_why(call: Call) -> None:
    told = operator_of(call)
    assert told is not None
    assert (told[0], bool(told[2])) == ("", True)


def test_names_of_drivers_and_kernels_are_understood() -> None:
    assert [device_named(name) for name in (
        "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "Tesla T4", "NVIDIA GeForce RTX 4090", "NVIDIA L40S", "GPU X",
        "/etc/passwd", "x.yaml",
    )] == ["h100-sxm", "a100-sxm-80gb", "t4", "rtx-4090", "l40s", "", "", ""]  # fmt: skip
    assert [kernel_family(name) for name in (
        "sm90_xmma_gemm_bf16bf16", "void cudnn::winograd_nonfused", "flash_fwd_splitkv_kernel", "ncclKernel_AllReduce",
        "vectorized_layer_norm_kernel", "softmax_warp_forward", "some_thing",
    )] == ["gemm", "conv2d", "attention", "collective", "norm", "softmax", ""]  # fmt: skip


# --- ONNX Runtime ----------------------------------------------------------------------------------------------------
def test_a_real_profile_of_resnet_50_has_strides_and_padding_from_sizes() -> None:
    trace = read_onnxruntime(TRACES / "onnxruntime_resnet50.json.gz")
    convolutions = [row for row in trace.rows if row.op == "conv2d"]
    assert len(convolutions) == 2 * 53
    first = convolutions[0]
    assert {n: first.shape[n] for n in ("kh", "stride", "padding", "c_in", "c_out")} == {
        "kh": 7, "stride": 2, "padding": 3, "c_in": 3, "c_out": 64,
    }  # fmt: skip
    assert not any("out_h" in row.shape for row in convolutions), "one stride and one padding explain all outputs"
    (product, _) = [row for row in trace.rows if row.op == "gemm"]
    assert dict(product.shape) == {"m": 1, "n": 1000, "k": 2048, "dtype": "fp32"}


def test_a_packed_matrix_is_inferred_from_input_and_output() -> None:
    trace = read_onnxruntime(TRACES / "onnxruntime_transformer.json.gz")
    by_name = {row.name: row for row in trace.rows}
    assert dict(by_name["up/MatMulAddFusion"].shape) == {"m": 64, "n": 256, "k": 64, "dtype": "fp32"}
    assert dict(by_name["scores"].shape) == {"batch": 8, "m": 32, "n": 32, "k": 16, "dtype": "fp32"}
    assert by_name["embedding"].op == "embedding"
    assert by_name["ln"].op == "norm"
    assert all(row.op for row in trace.rows)


def ort_file(folder: Path, nodes: list[Any]) -> Path:
    path = folder / "profile.json"
    path.write_text(json.dumps(nodes), encoding="utf-8")
    return path


def ort_node(op: str, inputs: list[Any], out: list[int], provider: str = "CPUExecutionProvider", dur: Any = 40) -> Any:
    args = {"op_name": op, "provider": provider, "input_type_shape": [{"float": dims} for dims in inputs],
            "output_type_shape": [{"float": out}]}  # fmt: skip
    return {"cat": "Node", "ph": "X", "name": f"{op}_kernel_time", "ts": 5, "dur": dur, "args": args}


def test_nodes_of_a_provider_that_returns_early_are_left_out(tmp_path: Path) -> None:
    nodes = [ort_node("MatMul", [[2, 4], [4, 3]], [2, 3]),
             ort_node("MatMul", [[2, 4], [4, 3]], [2, 3], "CUDAExecutionProvider")]  # fmt: skip
    trace = read_onnxruntime(ort_file(tmp_path, nodes))
    assert len(trace.rows) == 1
    assert sum(trace.notes.values()) == 1
    with pytest.raises(BadFileError, match="launches, not kernels"):
        read_onnxruntime(ort_file(tmp_path, nodes[1:]))


def test_turned_products_and_unknown_nodes(tmp_path: Path) -> None:
    nodes = [
        ort_node("FusedMatMul", [[2, 8, 32, 16], [2, 8, 32, 16]], [2, 8, 32, 32]),
        ort_node("Gemm", [[5, 7], [7, 3], [3]], [7, 3]) | {"ts": 6},
        ort_node("NonMaxSuppression", [[5, 7]], [7, 3]) | {"ts": 7},
    ]
    first, second, third = read_onnxruntime(ort_file(tmp_path, nodes)).rows
    assert dict(first.shape) == {"m": 32, "n": 32, "k": 16, "batch": 16, "dtype": "fp32"}
    assert dict(second.shape) == {"m": 7, "n": 3, "k": 5, "dtype": "fp32"}, "A was turned: 5 x 7"
    assert third.op == ""
    assert "NonMaxSuppression" in third.reason


# --- Nsight Systems --------------------------------------------------------------------------------------------------
SCHEMA = """
CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INT NOT NULL, end INT NOT NULL, deviceId INT NOT NULL,
    correlationId INT, globalPid INT, demangledName INT NOT NULL, shortName INT NOT NULL);
CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INT NOT NULL, end INT NOT NULL, globalTid INT, correlationId INT,
    nameId INT NOT NULL);
CREATE TABLE NVTX_EVENTS (start INT NOT NULL, end INT, eventType INT NOT NULL, text TEXT, globalTid INT, textId INT);
CREATE TABLE TARGET_INFO_GPU (id INT, name TEXT);
"""
"""As documented by NVIDIA (SQLite Export Schema Reference); columns that are not read are left out."""
PROCESS = 0x1000000000
THREAD = PROCESS + 42


def nsys_file(folder: Path, script: str = "", *, schema: str = SCHEMA) -> Path:
    path = folder / "report.sqlite"
    database = sqlite3.connect(path)
    database.executescript(schema + script)
    database.commit()
    database.close()
    return path


ONE_PRODUCT = f"""
INSERT INTO StringIds VALUES (1, 'sm80_xmma_gemm_bf16bf16_tn'), (2, 'aten::addmm, seq = 3, op_id = 9, sizes = [[64], [32, 16], [16, 64]]'), (3, 'vectorized_elementwise_kernel');
INSERT INTO NVTX_EVENTS VALUES (900, 3000, 59, 'step 1', {THREAD}, NULL), (1000, 2000, 59, NULL, {THREAD}, 2);
INSERT INTO CUPTI_ACTIVITY_KIND_RUNTIME VALUES (1500, 1600, {THREAD}, 7, 1), (2500, 2600, {THREAD}, 8, 1);
INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (5000, 9000, 0, 7, {PROCESS}, 1, 1), (9500, 9900, 0, 8, {PROCESS}, 3, 3);
INSERT INTO TARGET_INFO_GPU VALUES (0, 'NVIDIA A100-SXM4-80GB');
"""  # noqa: E501


def test_a_kernel_in_a_range_with_sizes_is_an_operator_and_others_are_families(tmp_path: Path) -> None:
    trace = read_nsys(nsys_file(tmp_path, ONE_PRODUCT))
    product, other = trace.rows
    assert trace.device == "a100-sxm-80gb"
    assert (product.op, dict(product.shape)) == ("gemm", {"m": 32, "n": 64, "k": 16, "dtype": "bf16"})
    assert product.latency_s == pytest.approx(4000e-9)
    assert (other.op, other.family) == ("", "elementwise")
    assert other.reason
    table, report = loaded("nsys", tmp_path / "report.sqlite", software="pytorch 2.15")
    assert table.rows == 1
    assert set(table.device) == {"a100-sxm-80gb"}
    assert sum(report.skipped.values()) == 1


def test_sizes_of_lists_of_tensors_are_read_from_a_range() -> None:
    call = range_call("aten::cat, seq = 1, sizes = [[[2, 3], [2, 5]], []]")
    assert list(call.dims) == [[(2, 3), (2, 5)], ()]
    assert list(range_call("aten::mm, sizes = [[4, 8], [8, 2]]").dims) == [(4, 8), (8, 2)]
    assert range_call("forward").dims == []


def test_a_database_that_is_a_program_is_not_run(tmp_path: Path) -> None:
    view = """
    CREATE TABLE other (start, end, deviceId, correlationId, globalPid, demangledName, shortName);
    CREATE VIEW CUPTI_ACTIVITY_KIND_KERNEL AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
        SELECT i AS start, i AS end, 0 AS deviceId, i AS correlationId, 0 AS globalPid, 1 AS demangledName, 1 AS
        shortName FROM n;
    """
    start = time.monotonic()
    with pytest.raises(BadFileError, match="no table CUPTI_ACTIVITY_KIND_KERNEL"):
        read_nsys(nsys_file(tmp_path, schema=view))
    assert time.monotonic() - start < 2


def test_reading_a_database_stops_after_its_time(tmp_path: Path) -> None:
    rows = f"""WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
    INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL SELECT i, i + 1, 0, i, {PROCESS}, 1, 1 FROM n;"""
    path = nsys_file(tmp_path, rows)
    with pytest.raises(BadFileError, match="interrupted"):
        read_nsys(path, max_seconds=0.0)


@pytest.mark.parametrize(
    "script",
    [
        "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES ('x', x'00ff', 0, 1, 1, 'y', 2);",
        "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (9, 3, 0, 1, 1, 1, 2);",
        "INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (-9, 1e300, 9e99, -1, 1, 1, 2);",
        "DROP TABLE CUPTI_ACTIVITY_KIND_KERNEL; CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INT);",
    ],
)
def test_tables_of_wrong_types_or_columns_are_refused(tmp_path: Path, script: str) -> None:
    with pytest.raises(BadFileError):
        read_nsys(nsys_file(tmp_path, script))


def test_a_cut_or_damaged_database_is_refused_or_read_but_never_fails(tmp_path: Path) -> None:
    whole = nsys_file(tmp_path, ONE_PRODUCT).read_bytes()
    generator = random.Random(4)
    path = tmp_path / "bad.sqlite"
    for _ in range(80):
        data = bytearray(whole[: generator.randint(0, len(whole))] if generator.random() < 0.5 else whole)
        for _ in range(generator.randint(1, 60) if data else 0):
            data[generator.randrange(len(data))] = generator.randrange(256)
        path.write_bytes(data)
        with suppress(BadFileError):
            read_nsys(path)


# --- Chakra ----------------------------------------------------------------------------------------------------------
def attribute(name: str, **value: Any) -> Any:
    return {"name": name, **value}


def coll(kind: int, size: int, **more: Any) -> Any:
    return {"id": "5", "name": "coll", "type": "COMM_COLL_NODE", "durationMicros": "120",
            "attr": [attribute("comm_type", int64Val=str(kind)), attribute("comm_size", int64Val=str(size)),
                     *([attribute("pg_size", int32Val=more["ranks"])] if "ranks" in more else [])]}  # fmt: skip


def aten_node(number: int, name: str, time_us: int, shapes: str, parent: int | None = None, host: bool = True) -> Any:
    return {"id": number, "name": name, "type": 4, "duration_micros": time_us, "start_time_micros": 10 * number,
            "ctrl_deps": [] if parent is None else [parent],
            "inputs": {"values": "[]", "shapes": shapes, "types": "['Tensor(c10::BFloat16)', 'Tensor(c10::BFloat16)']"},
            "attr": [attribute("is_cpu_op", bool_val=host)]}  # fmt: skip


def test_chakra_collectives_have_their_kind_and_full_buffer(tmp_path: Path) -> None:
    path = tmp_path / "et.json"
    send = {"id": 9, "name": "s", "type": "COMM_SEND_NODE", "duration_micros": 7, "attr": {"comm_size": 4096}}
    nodes = [coll(0, 1024, ranks=4), coll(2, 1024, ranks=4), coll(7, 1024, ranks=4), coll(5, 1024, ranks=4), send]
    path.write_text("\n".join(json.dumps(item) for item in [{"version": "0.0.4"}, *nodes]))
    trace = read_chakra(path)
    assert [(row.shape.get("kind"), row.shape.get("bytes"), row.shape.get("ranks")) for row in trace.rows] == [
        ("all_reduce", 1024, 4), ("all_gather", 4096, 4), ("reduce_scatter", 1024, 4), (None, None, None),
        ("send_recv", 4096, 2),
    ]  # fmt: skip
    assert trace.rows[0].latency_s == pytest.approx(120e-6)
    assert trace.software == "chakra 0.0.4"


def test_chakra_ranks_that_are_not_told_are_an_option(tmp_path: Path) -> None:
    path = tmp_path / "et.json"
    path.write_text(json.dumps({"nodes": [coll(0, 1024)]}))
    assert "ranks" in read_chakra(path).rows[0].reason
    table, _ = loaded("chakra", path, device="h100", ranks="16")
    assert table.table.full("ranks")[0] == 16
    with pytest.raises(BadValueError, match="ranks must be a whole number"):
        loaded("chakra", path, device="h100", ranks="-3")


def test_chakra_operators_take_the_time_of_their_kernels(tmp_path: Path) -> None:
    path = tmp_path / "et.json"
    nodes = [
        aten_node(1, "aten::linear", 90, "[[8, 32], [64, 32]]"),
        aten_node(2, "aten::mm", 70, "[[8, 32], [32, 64]]", 1),
        aten_node(3, "sm90_gemm", 11, "[]", 2, host=False),
        {"id": 4, "name": "COMP", "type": "COMP_NODE", "duration_micros": 5, "attr": {"num_ops": 9, "tensor_size": 4}},
    ]
    path.write_text(json.dumps({"nodes": nodes}))
    (product,) = read_chakra(path).rows
    assert dict(product.shape) == {"m": 8, "n": 64, "k": 32, "dtype": "bf16"}
    assert product.latency_s == pytest.approx(11e-6)
    path.write_text(json.dumps({"nodes": [nodes[0], nodes[3]]}))
    host, unknown = read_chakra(path).rows
    assert host.latency_s == pytest.approx(90e-6) or unknown.latency_s == pytest.approx(90e-6)
    assert any("num_ops" in row.reason for row in (host, unknown))


def test_a_ring_of_parents_ends(tmp_path: Path) -> None:
    path = tmp_path / "et.json"
    nodes = [aten_node(1, "a", 5, "[]", 2), aten_node(2, "b", 5, "[]", 1), aten_node(3, "c", 5, "[]", 3)]
    path.write_text(json.dumps({"nodes": nodes}))
    assert len(read_chakra(path).rows) >= 1


# --- hostile files ---------------------------------------------------------------------------------------------------
DEEP = "[" * 200_000
HOSTILE: dict[str, bytes] = {
    "empty": b"", "no JSON": b"hello", "only a brace": b"{", "a number": b"17", "an empty object": b"{}",
    "an empty list": b"[]", "no events": b'{"traceEvents": [], "nodes": []}', "null": b"null",
    "deep": DEEP.encode(), "deep events": b'{"traceEvents": [' + DEEP.encode(),
    "deep nodes": b'{"nodes": [{"inputs": {"shapes": "' + DEEP.encode() + b'"}}]}',
    "deep meta": b'{"x": ' + DEEP.encode() + b"}",
    "long number": b'{"traceEvents": [{"ph": "X", "ts": ' + b"9" * 100_000 + b"}]}",
    "not text": bytes(range(256)) * 20, "cut gzip": gzip.compress(b'{"traceEvents": [{}]}' * 500)[:-20],
    "cut in an event": b'{"traceEvents": [{"ph": "X", "cat": "cpu_op", "name": "aten::m',
    "events of numbers": b'{"traceEvents": [1, 2, null, "x"], "nodes": [3]}',
    "no comma": b'{"traceEvents": [{} {}]}', "a key of numbers": b"{1: 2}", "zip bomb": b"PK\x03\x04",
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
@pytest.mark.parametrize("name", READERS)
def test_hostile_files_are_refused_in_a_sentence(name: str, what: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(HOSTILE[what])
    start = time.monotonic()
    with pytest.raises(BadFileError) as refused:
        READERS[name](path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("name", READERS)
def test_absent_files_and_folders_are_refused(name: str, tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(BadFileError):
            READERS[name](path)


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("costmodel.measured.trace_json.MAX_BYTES", 10_000_000)
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b" " * 12_000_000))
    with pytest.raises(BadFileError, match="unpacks to more than"):
        read_kineto(path)


BAD_VALUES: tuple[Any, ...] = (
    None, -1, 0, 10**30, 1e308, "x", "9" * 50, [], {}, [[[]]], True, float("nan"), "[1, 2", "[0]", "[-3]", [10**12] * 4,
)  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("name", "file"), [("kineto", "attention_bf16_cpu.json.gz"), ("onnxruntime", "onnxruntime_transformer.json.gz")]
)
def test_mutated_traces_are_read_or_refused_but_never_fail(name: str, file: str, seed: int, tmp_path: Path) -> None:
    text = gzip.decompress((TRACES / file).read_bytes())
    generator = random.Random(seed)
    path = tmp_path / "mutated.json"
    outcomes = set()
    for _ in range(12):
        path.write_bytes(mutated(text, generator))
        with suppress(BadFileError):
            outcomes.add(bool(list(find_importer(name).load(ImportRequest(path, ("h100-sxm",))))))
    assert True in outcomes, "some mutations leave usable rows"


def mutated(text: bytes, generator: random.Random) -> bytes:
    """Return a JSON text with some values, anywhere, put to others; or a piece of it."""
    if generator.random() < 0.15:
        return text[: generator.randint(0, len(text))]
    data = json.loads(text)
    places: list[tuple[Any, Any]] = []
    level: list[Any] = [data]
    while level:
        inner: list[Any] = []
        for item in level:
            pairs = list(item.items()) if isinstance(item, dict) else list(enumerate(item))
            places += [(item, key) for key, _ in pairs]
            inner += [value for _, value in pairs if isinstance(value, dict | list)]
        level = inner
    for _ in range(generator.randint(1, 40)):
        holder, key = generator.choice(places)
        if isinstance(holder, dict) or key < len(holder):
            holder[key] = generator.choice(BAD_VALUES)
    return json.dumps(data).encode()


def test_options_that_mean_nothing_are_refused() -> None:
    path = TRACES / "resnet18_cpu.json.gz"
    for options in ({"wrong": "1"}, {"device": "no-such"}, {"workload": "no-such", "device": "h100"},
                    {"workload": "resnet-18", "batch": "two", "device": "h100"}):  # fmt: skip
        with pytest.raises(ArchcastError) as refused:
            list(find_importer("kineto").load(ImportRequest(path, options=options)))
        assert "\n" not in str(refused.value)
