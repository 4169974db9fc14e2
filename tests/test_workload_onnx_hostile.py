"""Hostile and broken ONNX files: each is one sentence that names the fault, and nothing outside is opened."""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("onnx", reason="the extra `onnx` is not installed")

from onnx import TensorProto, helper
from onnx_models import ConvNet, GraphBuilder, resnet50, small_cnn

from foundation.errors import ArchcastError, BadFileError
from workloads.importers import onnx_read
from workloads.importers.onnx import load_onnx
from workloads.model import Request


@pytest.fixture(scope="module")
def cnn_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return small_cnn(tmp_path_factory.mktemp("cnn") / "m.onnx").read_bytes()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_says_so(tmp_path: Path, cnn_bytes: bytes, share: float) -> None:
    path = tmp_path / "cut.onnx"
    path.write_bytes(cnn_bytes[: int(len(cnn_bytes) * share)])
    with pytest.raises(BadFileError, match="truncated"):
        load_onnx(path)


@cache
def structure() -> bytes:
    """A model whose weights are external, so that a flipped byte hits its structure."""
    g = ConvNet()
    x = g.conv(g.input("image", ["batch", 3, 32, 32]), "conv1", 3, 8, 3)
    shape = g.constant("shape", np.array([0, -1]))
    g.node("Gemm", [g.node("Reshape", [x, shape], "view"), g.weight("w", (8192, 4))], "fc", ["y"])
    return bytes(g.model({"y": ["batch", 4]}).SerializeToString())


@settings(max_examples=400)
@given(flips=st.lists(st.tuples(st.integers(0, len(structure()) - 1), st.integers(1, 255)), min_size=1, max_size=4))
def test_a_file_with_flipped_bytes_is_read_or_refused_in_one_sentence(flips: list[tuple[int, int]]) -> None:
    broken = bytearray(structure())
    for place, flip in flips:
        broken[place] ^= flip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        path.write_bytes(bytes(broken))
        said = ""
        try:
            load_onnx(path).workload(Request())
        except ArchcastError as error:
            said = str(error)
        assert "\n" not in said


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x00" * 100, b"PK\x03\x04" + b"x" * 50])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(BadFileError, match="not an ONNX"):
        load_onnx(path)


def test_an_absent_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadFileError, match="no such file"):
        load_onnx(tmp_path / "absent.onnx")
    with pytest.raises(BadFileError, match="not a plain file"):
        load_onnx(tmp_path)


def test_a_file_over_the_limit_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    monkeypatch.setattr(onnx_read, "MAX_FILE_BYTES", 100)
    with pytest.raises(BadFileError, match="at most 100 are read"):
        load_onnx(path)


def external(path: Path, location: str) -> Path:
    """A product whose weight is stored at `location`."""
    g = GraphBuilder()
    g.node("MatMul", [g.input("x", [1, 8]), g.weight("w", (8, 8))], "mm", ["y"])
    model = g.model({"y": [1, 8]})
    model.graph.initializer[0].external_data[0].value = location
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "sub/../../secret", "..\\secret", "", "a\0b"])
def test_external_data_outside_the_folder_is_refused_by_its_location(tmp_path: Path, location: str) -> None:
    with pytest.raises(BadFileError, match="outside the model's folder") as caught:
        load_onnx(external(tmp_path / "m.onnx", location))
    assert repr(location) in str(caught.value)


def test_external_data_behind_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"secret")
    os.symlink(tmp_path / "secret.bin", folder / "weights.bin")
    with pytest.raises(BadFileError, match="outside the model's folder"):
        load_onnx(external(folder / "m.onnx", "weights.bin"))


def test_external_data_inside_the_folder_is_not_opened(tmp_path: Path) -> None:
    path = resnet50(tmp_path / "m.onnx")
    (tmp_path / "weights.bin").unlink()  # its shapes stand in the model
    assert load_onnx(path).summary()["parameters"] == 25_557_032


def test_external_data_of_an_attribute_is_checked_too(tmp_path: Path) -> None:
    tensor = TensorProto(name="t", data_type=TensorProto.FLOAT, dims=[8, 8], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    g = GraphBuilder(weights="inline")
    w = g.node("Constant", [], "w", value=tensor)
    g.node("MatMul", [g.input("x", [1, 8]), w], "mm", ["y"])
    with pytest.raises(BadFileError, match="outside the model's folder"):
        load_onnx(g.save(tmp_path / "m.onnx", {"y": [1, 8]}))


def test_a_cycle_is_named(tmp_path: Path) -> None:
    g = GraphBuilder(weights="inline")
    g.node("Add", [g.input("x", [1, 8]), "c"], "first", ["a"])
    g.node("Relu", ["a"], "second", ["b"])
    g.node("Tanh", ["b"], "third", ["c"])
    with pytest.raises(BadFileError, match="cycle") as caught:
        load_onnx(g.save(tmp_path / "m.onnx", {"c": [1, 8]}))
    assert all(name in str(caught.value) for name in ("'first'", "'second'", "'third'"))


def test_a_tensor_that_nothing_produces_is_named(tmp_path: Path) -> None:
    g = GraphBuilder(weights="inline")
    g.node("Add", [g.input("x", [1, 8]), "ghost"], "add", ["y"])
    with pytest.raises(BadFileError, match=r"Add 'add' reads 'ghost', which nothing produces"):
        load_onnx(g.save(tmp_path / "m.onnx", {"y": [1, 8]}))


def test_a_tensor_that_two_nodes_produce_is_named(tmp_path: Path) -> None:
    g = GraphBuilder(weights="inline")
    x = g.input("x", [1, 8])
    g.node("Relu", [x], "a", ["y"])
    g.node("Tanh", [x], "b", ["y"])
    with pytest.raises(BadFileError, match="'y' is produced twice"):
        load_onnx(g.save(tmp_path / "m.onnx", {"y": [1, 8]}))


def test_an_input_without_a_shape_is_named(tmp_path: Path) -> None:
    g = GraphBuilder(weights="inline")
    g.node("Relu", [g.input("pixels", None)], "relu", ["y"])
    with pytest.raises(BadFileError, match="input 'pixels' has no shape"):
        load_onnx(g.save(tmp_path / "m.onnx", {"y": None}))


def test_a_tensor_without_a_shape_is_named(tmp_path: Path) -> None:
    g = GraphBuilder(weights="inline")
    target = g.input("target", [2], TensorProto.INT64)  # a shape that only the data knows
    x = g.node("Reshape", [g.input("x", [1, 8]), target], "view", ["viewed"])
    g.node("Relu", [x], "relu", ["y"])
    with pytest.raises(ArchcastError, match=r"'viewed'|'y'"):
        load_onnx(g.save(tmp_path / "m.onnx", {"y": None}))


@pytest.mark.parametrize("size", [0, -3])
def test_an_input_whose_size_is_not_positive_is_refused(tmp_path: Path, size: int) -> None:
    g = GraphBuilder(weights="inline")
    g.node("Relu", [g.input("x", [1, size])], "relu", ["y"])
    with pytest.raises(BadFileError, match=f"input 'x' has size {size} at axis 1"):
        load_onnx(g.save(tmp_path / "m.onnx", {"y": None}))


@pytest.mark.parametrize("dims", [[-8, 8], [0, 8], [10**9, 10**9]])
def test_a_weight_with_an_impossible_shape_is_refused(tmp_path: Path, dims: list[int]) -> None:
    g = GraphBuilder()
    g.weight("w", (8, 8))
    del g.initializers[0].dims[:]
    g.initializers[0].dims.extend(dims)
    g.node("MatMul", [g.input("x", [1, 8]), "w"], "mm", ["y"])
    with pytest.raises(BadFileError, match="tensor 'w'"):
        load_onnx(g.save(tmp_path / "m.onnx", {"y": [1, 8]}))


def test_a_weight_with_fewer_bytes_than_its_shape_is_refused(tmp_path: Path) -> None:
    g = GraphBuilder(weights="inline")
    g.constant("w", np.zeros((8, 8), np.float32))
    g.initializers[0].raw_data = g.initializers[0].raw_data[:-4]
    g.node("MatMul", [g.input("x", [1, 8]), "w"], "mm", ["y"])
    with pytest.raises(BadFileError, match="'w' holds 252 bytes, but its shape needs 256"):
        load_onnx(g.save(tmp_path / "m.onnx", {"y": [1, 8]}))


def test_shapes_that_do_not_go_together_are_refused(tmp_path: Path) -> None:
    g = GraphBuilder(weights="inline")
    g.node("MatMul", [g.input("x", [1, 8]), g.weight("w", (9, 8))], "mm", ["y"])
    with pytest.raises(BadFileError, match=r"mm|'y'"):
        load_onnx(g.save(tmp_path / "m.onnx", {"y": None}))


def test_too_many_nodes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    monkeypatch.setattr(onnx_read, "MAX_NODES", 5)
    with pytest.raises(BadFileError, match="more than 5 nodes"):
        load_onnx(path)


def nested(depth: int) -> Any:
    """A graph of branches within branches."""
    value = helper.make_tensor_value_info(f"v{depth}", TensorProto.FLOAT, [1])
    if not depth:
        return helper.make_graph([helper.make_node("Relu", ["x"], ["v0"])], "leaf", [], [value])
    inner = nested(depth - 1)
    node = helper.make_node("If", ["c"], [f"v{depth}"], then_branch=inner, else_branch=inner)
    return helper.make_graph([node], f"g{depth}", [], [value])


def test_subgraphs_nested_too_deep_are_refused(tmp_path: Path) -> None:
    graph = nested(onnx_read.MAX_SUBGRAPH_DEPTH + 1)
    graph.input.extend(
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ]
    )
    path = tmp_path / "m.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(BadFileError, match="nested deeper"):
        load_onnx(path)


def test_functions_that_call_themselves_are_refused(tmp_path: Path) -> None:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    functions = [
        helper.make_function(
            "mine", name, ["a"], ["b"], [helper.make_node(other, ["a"], ["b"], domain="mine")], imports
        )
        for name, other in (("Ping", "Pong"), ("Pong", "Ping"))
    ]
    g = GraphBuilder(weights="inline")
    g.node("Ping", [g.input("x", [1, 8])], "p", ["y"], domain="mine")
    path = g.save(tmp_path / "m.onnx", {"y": [1, 8]}, functions=functions, opset_imports=imports)
    with pytest.raises(BadFileError, match="call themselves"):
        load_onnx(path)


def test_functions_that_multiply_without_end_are_refused(tmp_path: Path) -> None:
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]

    def tenfold(level: int) -> Any:
        op, domain = (f"F{level - 1}", "mine") if level else ("Relu", "")
        nodes = [helper.make_node(op, ["a" if not i else f"t{i - 1}"], [f"t{i}"], domain=domain) for i in range(10)]
        return helper.make_function("mine", f"F{level}", ["a"], ["t9"], nodes, imports)

    g = GraphBuilder(weights="inline")
    g.node("F8", [g.input("x", [1, 8])], "bomb", ["y"], domain="mine")
    functions = [tenfold(level) for level in range(9)]
    path = g.save(tmp_path / "m.onnx", {"y": [1, 8]}, functions=functions, opset_imports=imports)
    with pytest.raises(BadFileError, match="once its functions are written out"):
        load_onnx(path)


def test_a_loop_that_runs_absurdly_often_is_refused(tmp_path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Identity", ["go"], ["go_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, 8]),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("b", TensorProto.FLOAT, [1, 8]),
        ],
    )
    g = GraphBuilder(weights="inline")
    g.node("Loop", [g.constant("n", np.int64(2**60)), "", g.input("x", [1, 8])], "loop", ["y"], body=body)
    with pytest.raises(BadFileError, match="repeats its body"):
        load_onnx(g.save(tmp_path / "m.onnx", {"y": [1, 8]}))


def test_attributes_that_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    g = ConvNet(weights="inline")
    g.node("Einsum", [g.input("x", [1, 8]), g.weight("w", (8, 8))], "e", ["y"], equation="abc,cd->abd")
    with pytest.raises(BadFileError, match="'e'"):
        load_onnx(g.save(tmp_path / "m.onnx", {"y": [1, 8]}))
