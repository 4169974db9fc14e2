"""ONNX files become workloads: ResNet-50 equals the builder's, batches scale exactly, open dimensions are knobs."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra `onnx` is not installed")

import onnx
from onnx import TensorProto, helper
from onnx_models import ConvNet, GraphBuilder, resnet50, small_cnn, transformer

from foundation.errors import BadFileError, BadValueError, UnknownNameError, UnsupportedError
from workloads.catalogue import load_model
from workloads.graph import Operator, WorkloadGraph
from workloads.importers.onnx import OnnxModel, load_onnx
from workloads.lowering import lower
from workloads.model import Request
from workloads.work import count_work


def operators(graph: WorkloadGraph) -> dict[str, Operator]:
    return {o.name: o for b in graph.blocks for o in b.operators}


def totals(model: Any, request: Request) -> tuple[float, float]:
    """Return (FLOP, bytes) of all passes."""
    table = lower(model.workload(request).passes).table
    work, count = count_work(table), table.full("count")
    return float((work.flop * count).sum()), float((work.bytes_moved * count).sum())


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    return load_onnx(resnet50(tmp_path_factory.mktemp("onnx") / "resnet-50.onnx"))


def test_resnet_50_from_a_file_equals_the_builder(resnet: OnnxModel) -> None:
    ours, theirs = resnet.summary(), load_model("resnet-50").summary()
    assert ours["parameters"] == theirs["parameters"] == 25_557_032
    assert ours["macs"] == theirs["macs"]


def test_resnet_50_from_a_file_moves_the_bytes_and_does_the_work_of_the_builder(resnet: OnnxModel) -> None:
    request = Request(batch=8, dtype="fp16")
    assert totals(resnet, request) == pytest.approx(totals(load_model("resnet-50"), request), rel=1e-12)


def test_every_convolution_of_resnet_50_takes_its_normalisation_and_activation_along(resnet: OnnxModel) -> None:
    graph = resnet.workload(Request()).graph
    launched = [o for b in graph.blocks for o in b.operators if not o.fused]
    assert len(launched) == 53 + 16 + 2 + 1  # convolutions, additions, pools, the classifier
    assert resnet.report["unmodelled"] == []
    assert resnet.report["nodes"] == resnet.report["operators"] + resnet.report["fused"] + resnet.report["free"]


def test_the_file_of_a_model_is_read_by_its_suffix(tmp_path: Path) -> None:
    assert load_model(str(small_cnn(tmp_path / "net.onnx"))).name == "net"


def test_many_batches_at_once_equal_one_after_the_other(resnet: OnnxModel) -> None:
    batches = np.array([1, 3, 64])
    together = lower(resnet.workload(Request(batch=batches)).passes)
    work = count_work(together.table)
    for s, batch in enumerate(batches):
        alone = count_work(lower(resnet.workload(Request(batch=int(batch))).passes).table)
        np.testing.assert_allclose(work.flop[together.scenario == s], alone.flop, rtol=1e-12)
        np.testing.assert_allclose(work.bytes_moved[together.scenario == s], alone.bytes_moved, rtol=1e-12)


@pytest.mark.parametrize("batch", [1, 2, 5, 32])
def test_an_open_batch_costs_what_a_file_with_that_batch_costs(tmp_path: Path, batch: int) -> None:
    model = load_onnx(transformer(tmp_path / "open.onnx")).with_knobs({"sequence": 16})
    fixed = load_onnx(transformer(tmp_path / "fixed.onnx", batch=batch, tokens=16))
    one, other = (
        lower((p,)).table
        for p in (model.workload(Request(batch=batch)).passes[0], fixed.workload(Request(batch=batch)).passes[0])
    )
    assert one.labels == other.labels
    np.testing.assert_allclose(count_work(one).flop, count_work(other).flop, rtol=1e-12)
    np.testing.assert_allclose(count_work(one).bytes_moved, count_work(other).bytes_moved, rtol=1e-12)


def test_a_fixed_batch_scales_to_the_batch_of_the_request(tmp_path: Path) -> None:
    four = load_onnx(small_cnn(tmp_path / "four.onnx", batch=4))
    free = load_onnx(small_cnn(tmp_path / "free.onnx"))
    for batch in (1, 4, 6):
        assert totals(four, Request(batch=batch)) == pytest.approx(totals(free, Request(batch=batch)), rel=1e-12)


def test_a_transformer_has_its_hand_computed_work(tmp_path: Path) -> None:
    model = load_onnx(transformer(tmp_path / "t.onnx")).with_knobs({"sequence": 16})
    t, h = 16, 64
    assert model.summary()["macs"] == 4 * t * h * h + 2 * t * t * h + 8 * t * h * h
    assert model.summary()["parameters"] == 100 * h + 4 * (h * h + h) + 2 * h + 2 * 4 * h * h + 4 * h + h
    found = operators(model.graph)
    assert dict(found["scores"].shape) == {"m": 16, "n": 16, "k": 16, "batch": 4}
    assert found["scores"].parameters == 0
    assert found["embedding"].op == "embedding"


def test_a_bias_and_a_gelu_run_inside_their_product_and_a_residual_does_not(tmp_path: Path) -> None:
    found = operators(load_onnx(transformer(tmp_path / "t.onnx")).with_knobs({"sequence": 16}).graph)
    assert all(found[name].fused for name in ("q.add", "gelu.div", "gelu.erf", "gelu.one", "gelu.mul", "gelu.half"))
    assert not found["residual"].fused
    assert set(found["residual"].inputs) == {"o.add", "embedding"}


def test_an_activation_stays_alone_where_the_value_before_it_is_needed_too(tmp_path: Path) -> None:
    g = GraphBuilder(weights="inline")
    y = g.node("MatMul", [g.input("x", [1, 8]), g.weight("w", (8, 8))], "mm")
    g.node("Add", [g.node("Relu", [y], "relu"), g.node("MatMul", [y, g.weight("v", (8, 8))], "mm2")], "add", ["z"])
    found = operators(load_onnx(g.save(tmp_path / "m.onnx", {"z": [1, 8]})).graph)
    assert not found["relu"].fused
    assert set(found["add"].inputs) == {"relu", "mm2"}


def test_shape_arithmetic_costs_nothing(tmp_path: Path) -> None:
    model = load_onnx(transformer(tmp_path / "t.onnx")).with_knobs({"sequence": 16})
    assert not {"shape", "size_b", "size_t"} & set(operators(model.graph))
    assert model.report["free"] == 9  # Shape, two Gathers, two Concats, four Reshapes


def test_shapes_by_range_and_expand_are_worked_out(tmp_path: Path) -> None:
    """Positions by Range, and `expand(-1, ...)` as exporters write it: Where(shape == -1, ones, shape)."""
    g = GraphBuilder(weights="inline")
    ids = g.input("ids", ["batch", "sequence"], TensorProto.INT64)
    size = g.node("Shape", [ids], "shape")
    tokens = g.node("Gather", [size, g.constant("1", np.array(1))], "tokens")
    span = g.node("Range", [g.constant("0", np.array(0)), tokens, "1"], "positions")
    rows = g.node("Gather", [g.weight("table", (64, 8)), span], "rows")
    g.constant("axis", np.array([0]))
    first = g.node("Unsqueeze", [g.node("Gather", [size, "0"], "b"), "axis"], "b1")
    asked = g.node("Concat", [first, g.constant("tail", np.array([-1, -1]))], "asked", axis=0)
    fill = helper.make_tensor("v", TensorProto.INT64, [1], [1])
    ones = g.node("ConstantOfShape", [g.node("Shape", [asked], "rank")], "ones", value=fill)
    is_open = g.node("Equal", [asked, g.constant("m1", np.array([-1]))], "is_open")
    wanted = g.node("Where", [is_open, ones, asked], "wanted")
    places = g.node("Expand", [g.node("Unsqueeze", [rows, "axis"], "rows1"), wanted], "expanded")
    words = g.node("Gather", [g.weight("words", (100, 8)), ids], "words_of")
    g.node("MatMul", [g.node("Add", [words, places], "add"), g.weight("w", (8, 4))], "mm", ["y"])
    model = load_onnx(g.save(tmp_path / "m.onnx", {"y": None})).with_knobs({"sequence": 16})
    assert model.workload(Request(batch=3)).graph.macs() == 3 * 16 * 8 * 4
    assert model.summary()["parameters"] == 64 * 8 + 100 * 8 + 8 * 4
    assert set(operators(model.graph)) == {"words_of", "add", "mm"}  # the rest is known before the first sample arrives


def test_an_open_dimension_without_a_size_is_one_error_that_names_it(tmp_path: Path) -> None:
    model = load_onnx(transformer(tmp_path / "t.onnx"))
    assert model.knobs() == {"sequence": None}
    with pytest.raises(
        BadValueError, match=r"'sequence' \(axis 1 of input 'ids'\) has no size; set it: --set sequence=N"
    ):
        model.workload(Request())


def test_a_longer_sequence_costs_more_and_the_scores_grow_with_its_square(tmp_path: Path) -> None:
    model = load_onnx(transformer(tmp_path / "t.onnx"))
    short, long = (operators(model.with_knobs({"sequence": n}).graph)["scores"].shape for n in (16, 32))
    assert long["m"] * long["n"] == 4 * short["m"] * short["n"]


@pytest.mark.parametrize("changes", [{"sequence": -1}, {"sequence": 1.5}, {"sequence": "many"}])
def test_a_dimension_that_is_no_size_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(BadValueError, match="sequence"):
        load_onnx(transformer(tmp_path / "t.onnx")).with_knobs(changes)


def test_an_unknown_dimension_names_the_nearest_and_the_batch_points_to_the_request(tmp_path: Path) -> None:
    model = load_onnx(transformer(tmp_path / "t.onnx"))
    with pytest.raises(UnknownNameError, match="sequence"):
        model.with_knobs({"sequense": 4})
    with pytest.raises(UnknownNameError, match="--batch"):
        model.with_knobs({"batch": 4})


def test_a_size_that_depends_on_data_is_asked_for_and_can_be_set(tmp_path: Path) -> None:
    g = GraphBuilder(weights="inline")
    found = g.node("NonZero", [g.input("x", [4, 8])], "nonzero")
    g.node("Add", [g.node("Cast", [found], "cast", to=TensorProto.FLOAT), g.weight("b", (1,))], "add", ["y"])
    path = g.save(tmp_path / "m.onnx", {"y": None})
    with pytest.raises(BadValueError, match=r"axis 1 of tensor 'nonzero_out' .* --set nonzero_out.1=N"):
        load_onnx(path)
    model = OnnxModel.with_knobs(_unbuilt(path), {"nonzero_out.1": 10})
    shape = operators(model.workload(Request(batch=4)).graph)["cast"].shape
    assert float(shape["rows"] * shape["hidden"]) == 2 * 10
    assert model.report["unmodelled"][0]["op"] == "NonZero"


def _unbuilt(path: Path) -> OnnxModel:
    from workloads.importers.onnx_read import read_onnx
    from workloads.importers.onnx_shapes import open_dimensions

    proto = read_onnx(path)
    return OnnxModel(path.stem, path, proto, open_dimensions(proto, path))


def test_an_operator_of_another_domain_is_reported_with_its_share_and_not_fatal(tmp_path: Path) -> None:
    model = load_onnx(small_cnn(tmp_path / "m.onnx", custom=True))
    plain = load_onnx(small_cnn(tmp_path / "p.onnx"))
    (entry,) = model.report["unmodelled"]
    assert (entry["op"], entry["domain"], entry["nodes"]) == ("Sparkle", "com.example", ["sparkle"])
    moved = 2 * 8 * 32 * 32 * 4  # its input and its output, fp32
    assert entry["share_of_bytes"] == pytest.approx(moved / totals(model, Request())[1])
    assert totals(model, Request())[1] - totals(plain, Request())[1] == moved
    assert any("Sparkle" in note for note in model.workload(Request()).notes)


def test_formats_follow_the_weights_unless_the_request_names_one(tmp_path: Path) -> None:
    g = ConvNet(weights="inline", element=TensorProto.FLOAT16)
    g.node("Identity", [g.conv(g.input("x", ["N", 3, 8, 8]), "c", 3, 8, 3)], "out", ["y"])
    model = load_onnx(g.save(tmp_path / "m.onnx", {"y": ["N", 8, 8, 8]}))
    assert model.defaults["dtype"] == "fp16"
    assert {o.dtype for o in operators(model.graph).values()} == {"fp16"}
    assert {o.dtype for o in operators(model.workload(Request(dtype="int8")).graph).values()} == {"int8"}


def quantised(path: Path, *, activations: bool, element: int = TensorProto.INT8) -> OnnxModel:
    """A product between quantise/dequantise pairs, as quantisers write it."""
    g = GraphBuilder(weights="inline")
    scale, zero = g.constant("s", np.float32(0.1)), "z"
    g.initializers.append(helper.make_tensor("z", element, [], [0]))
    g.initializers.append(helper.make_tensor("w8", element, [16, 8], [0] * 128))
    w = g.node("DequantizeLinear", ["w8", scale, zero], "dq.w")
    x = g.input("x", ["N", 16])
    if activations:
        x = g.node("DequantizeLinear", [g.node("QuantizeLinear", [x, scale, zero], "q"), scale, zero], "dq")
    y = g.node("Relu", [g.node("MatMul", [x, w], "mm")], "relu")
    if activations:
        y = g.node("DequantizeLinear", [g.node("QuantizeLinear", [y, scale, zero], "q2"), scale, zero], "dq2")
    g.node("Identity", [y], "out", ["y"])
    return load_onnx(g.save(path, {"y": ["N", 8]}, opset=21))


def test_a_quantised_pair_makes_an_integer_product_and_runs_inside_it(tmp_path: Path) -> None:
    found = operators(quantised(tmp_path / "m.onnx", activations=True).graph)
    assert found["mm"].dtype == "int8"
    assert found["mm"].parameters == 128
    assert "dq.w" not in found  # of a constant: done when the model is loaded
    assert not found["q"].fused
    assert all(found[name].fused for name in ("dq", "relu", "q2", "dq2"))


def test_quantised_weights_alone_make_a_weight_only_format(tmp_path: Path) -> None:
    assert operators(quantised(tmp_path / "8.onnx", activations=False).graph)["mm"].dtype == "w8a16"
    four = quantised(tmp_path / "4.onnx", activations=False, element=TensorProto.INT4)
    assert operators(four.graph)["mm"].dtype == "w4a16"


def loop(path: Path, trips: int | None) -> OnnxModel:
    """x <- x @ w, `trips` times (None: as often as an input says)."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["x_in", "w"], ["x_out"], name="step"),
            helper.make_node("Identity", ["go"], ["go_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_out", TensorProto.FLOAT, None),
        ],
    )
    g = GraphBuilder(weights="inline")
    x = g.node("Relu", [g.input("x", [4, 8])], "before")
    g.weight("w", (8, 8))
    count = g.constant("n", np.int64(trips)) if trips is not None else g.input("n", [], TensorProto.INT64)
    x = g.node("Loop", [count, "", x], "loop", body=body)
    g.node("Sigmoid", [x], "after", ["y"])
    return load_onnx(g.save(path, {"y": None}))


def test_a_loop_costs_its_body_as_often_as_it_runs(tmp_path: Path) -> None:
    graph = loop(tmp_path / "m.onnx", 7).workload(Request(batch=4)).graph
    assert [b.count for b in graph.blocks] == [1, 7, 1]
    assert graph.macs() == 7 * 4 * 8 * 8
    assert graph.parameters == 64  # every round uses the same weights


def test_a_loop_of_unknown_length_is_counted_once_and_says_so(tmp_path: Path) -> None:
    workload = loop(tmp_path / "m.onnx", None).workload(Request(batch=4))
    assert workload.graph.macs() == 4 * 8 * 8
    assert any("unknown number of times" in note for note in workload.notes)


def test_a_branch_that_depends_on_data_counts_the_longer_one(tmp_path: Path) -> None:
    def branch(name: str, layers: int) -> Any:
        names = ["x", *(f"{name}{i}" for i in range(layers))]
        nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in pairwise(names)]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, [4, 8])])

    g = GraphBuilder(weights="inline")
    g.input("x", [4, 8])
    g.weight("w", (8, 8))
    condition = g.input("c", [], TensorProto.BOOL)
    g.node("If", [condition], "if", ["y"], then_branch=branch("t", 1), else_branch=branch("e", 3))
    model = load_onnx(g.save(tmp_path / "m.onnx", {"y": [4, 8]}))
    assert model.workload(Request(batch=4)).graph.macs() == 3 * 4 * 8 * 8
    assert any("longer branch" in note for note in model.workload(Request()).notes)


def test_functions_of_the_file_are_written_out(tmp_path: Path) -> None:
    inner = [helper.make_node("MatMul", ["a", "b"], ["c"]), helper.make_node("Relu", ["c"], ["d"])]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    function = helper.make_function("mine", "Dense", ["a", "b"], ["d"], inner, imports[:1])
    g = GraphBuilder(weights="inline")
    g.node("Dense", [g.input("x", [4, 8]), g.weight("w", (8, 8))], "dense", ["y"], domain="mine")
    path = g.save(tmp_path / "m.onnx", {"y": [4, 8]}, functions=[function], opset_imports=imports)
    assert load_onnx(path).workload(Request(batch=4)).graph.macs() == 4 * 8 * 8


def test_nodes_may_stand_in_any_order(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    model = onnx.load(path)
    shuffled = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(shuffled)
    (tmp_path / "s.onnx").write_bytes(model.SerializeToString())
    assert totals(load_onnx(tmp_path / "s.onnx"), Request()) == totals(load_onnx(path), Request())


def test_a_shared_weight_is_stored_once(tmp_path: Path) -> None:
    g = GraphBuilder(weights="inline")
    w = g.weight("w", (8, 8))
    g.node("MatMul", [g.node("MatMul", [g.input("x", [4, 8]), w], "first"), w], "second", ["y"])
    model = load_onnx(g.save(tmp_path / "m.onnx", {"y": [4, 8]}))
    assert model.summary()["parameters"] == 64
    assert dict(operators(model.workload(Request(batch=8)).graph)["second"].shape) == {
        "m": 8,
        "n": 8,
        "k": 8,
        "batch": 1,
    }


def test_weights_made_by_constant_nodes_are_parameters(tmp_path: Path) -> None:
    g = GraphBuilder(weights="inline")
    w = g.node("ConstantOfShape", [g.constant("shape", np.array([8, 8]))], "zeros")
    g.node("MatMul", [g.input("x", [4, 8]), w], "mm", ["y"])
    model = load_onnx(g.save(tmp_path / "m.onnx", {"y": [4, 8]}))
    assert model.summary()["parameters"] == 64
    assert model.report["folded"] == 1


def test_the_import_of_the_package_waits_for_an_onnx_file() -> None:
    code = "import sys, workloads.importers.onnx, workloads.catalogue; print('onnx' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_without_the_package_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'archcast\[onnx\]'"):
        load_onnx(path)


def test_a_graph_that_computes_nothing_is_refused(tmp_path: Path) -> None:
    g = GraphBuilder(weights="inline")
    g.node("Identity", [g.input("x", [4])], "same", ["y"])
    with pytest.raises(BadFileError, match="computes nothing"):
        load_onnx(g.save(tmp_path / "m.onnx", {"y": [4]})).workload(Request())
