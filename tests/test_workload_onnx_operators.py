"""Every ONNX operator has a cost or is named with a reason; costs equal closed forms worked out by hand."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the extra `onnx` is not installed")

from onnx import TensorProto, defs, helper
from onnx_models import GraphBuilder

from foundation.errors import InputError
from workloads.importers.onnx import OnnxModel, load_onnx
from workloads.importers.onnx_table import CONTROL, FREE, HANDLERS, UNMODELLED
from workloads.lowering import lower
from workloads.model import Request
from workloads.work import OpWork, count_work

DEFAULT_DOMAIN = sorted({schema.name for schema in defs.get_all_schemas() if schema.domain == ""})


@pytest.mark.parametrize("op", DEFAULT_DOMAIN)
def test_every_standard_operator_is_costed_free_or_named_with_a_reason(op: str) -> None:
    places = [op in HANDLERS, op in FREE, op in CONTROL, op in UNMODELLED]
    assert sum(places) == 1


def test_operators_without_a_cost_are_few_and_each_has_a_reason() -> None:
    assert len(UNMODELLED) <= 12
    assert all(len(reason) > 20 for reason in UNMODELLED.values())
    assert not [op for op in DEFAULT_DOMAIN if op not in {**HANDLERS, **UNMODELLED} and op not in FREE | CONTROL]


def test_the_page_lists_the_operators_without_a_cost() -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "onnx.md").read_text(encoding="utf-8")
    assert ", ".join(sorted(UNMODELLED)) in " ".join(page.split())


Arrays = Mapping[str, tuple[int, ...]]


def single(
    tmp_path: Path,
    op: str,
    inputs: Arrays,
    *,
    weights: Arrays | None = None,
    constants: Mapping[str, Any] | None = None,
    outputs: int = 1,
    opset: int = 20,
    output_element: int = TensorProto.FLOAT,
    **attributes: Any,
) -> OnnxModel:
    """A model of one node; it reads inputs, then weights, then constants."""
    g = GraphBuilder(weights="inline")
    for name, dims in inputs.items():
        g.input(name, dims)
    for name, dims in (weights or {}).items():
        g.weight(name, dims)
    for name, value in (constants or {}).items():
        g.constant(name, value)
    names = [*inputs, *(weights or {}), *(constants or {})]
    g.node(op, names, "node", [f"y{i}" for i in range(outputs)], **attributes)
    return load_onnx(g.save(tmp_path / "m.onnx", {"y0": None}, opset=opset, output_element=output_element))


def work(model: OnnxModel, batch: int) -> OpWork:
    """Work at the batch of the file, whose leading sizes then stand as they are."""
    return count_work(lower(model.workload(Request(batch=batch)).passes).table)


def flop_and_bytes(model: OnnxModel, batch: int) -> tuple[float, float]:
    found = work(model, batch)
    return float(np.sum(found.flop)), float(np.sum(found.bytes_moved))


def test_a_grouped_dilated_convolution(tmp_path: Path) -> None:
    model = single(
        tmp_path,
        "Conv",
        {"x": (2, 8, 20, 30)},
        weights={"w": (16, 4, 3, 5)},
        group=2,
        dilations=[2, 1],
        strides=[2, 1],
        pads=[2, 2, 2, 2],
    )
    out_h, out_w = (20 + 4 - 5) // 2 + 1, 30 + 4 - 5 + 1
    found = work(model, 2)
    assert float(found.macs.sum()) == 2 * out_h * out_w * 16 * 4 * 3 * 5
    assert float(found.weight_bytes.sum()) == 16 * 4 * 3 * 5 * 4
    assert float(found.input_bytes.sum()) == 2 * 8 * 20 * 30 * 4
    assert float(found.output_bytes.sum()) == 2 * 16 * out_h * out_w * 4
    assert model.graph.parameters == 16 * 4 * 3 * 5


@pytest.mark.parametrize("rank", [1, 3])
def test_convolutions_of_other_ranks(tmp_path: Path, rank: int) -> None:
    size, kernel = (9, 7, 5)[:rank], (3,) * rank
    model = single(tmp_path, "Conv", {"x": (2, 4, *size)}, weights={"w": (6, 4, *kernel)}, strides=[2] * rank)
    out = [(s - 3) // 2 + 1 for s in size]
    found = work(model, 2)
    assert float(found.macs.sum()) == 2 * prod(out) * 6 * 4 * 3**rank
    assert float(found.input_bytes.sum()) == 2 * 4 * prod(size) * 4
    assert float(found.output_bytes.sum()) == 2 * 6 * prod(out) * 4


def test_a_transposed_convolution_works_once_for_each_input_and_weight(tmp_path: Path) -> None:
    model = single(
        tmp_path, "ConvTranspose", {"x": (2, 8, 10, 12)}, weights={"w": (8, 6, 4, 4)}, strides=[2, 2], pads=[1, 1, 1, 1]
    )
    found = work(model, 2)
    assert float(found.macs.sum()) == pytest.approx(2 * 8 * 10 * 12 * 6 * 16)
    assert float(found.weight_bytes.sum()) == pytest.approx(8 * 6 * 16 * 4)
    assert float(found.input_bytes.sum()) == 2 * 8 * 10 * 12 * 4
    assert float(found.output_bytes.sum()) == pytest.approx(2 * 6 * 20 * 24 * 4)


def test_a_gemm_with_transposed_weights_and_a_bias(tmp_path: Path) -> None:
    model = single(tmp_path, "Gemm", {"x": (5, 7)}, weights={"w": (11, 7), "b": (11,)}, transB=1)
    assert float(work(model, 5).macs.sum()) == 5 * 7 * 11
    assert model.graph.parameters == 11 * 7 + 11


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ((3, 4, 5), (5, 6), (3 * 4, 6, 5, 1)),
        ((3, 2, 4, 5), (3, 2, 5, 6), (4, 6, 5, 6)),
        ((3, 2, 4, 5), (2, 5, 6), (4, 6, 5, 6)),
        ((3, 5), (5,), (3, 1, 5, 1)),
    ],
)
def test_products_follow_the_rules_of_numpy(
    tmp_path: Path, a: tuple[int, ...], b: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    model = single(tmp_path, "MatMul", {"a": a, "b": b})
    (operator,) = model.workload(Request(batch=3)).graph.blocks[0].operators
    assert tuple(float(operator.shape[key]) for key in ("m", "n", "k", "batch")) == expected
    assert float(work(model, 3).macs.sum()) == prod(np.matmul(np.zeros(a), np.zeros(b)).shape) * a[-1]


@pytest.mark.parametrize(
    ("equation", "a", "b"),
    [
        ("bij,bjk->bik", (3, 4, 5), (3, 5, 6)),
        ("bhqd,bhkd->bhqk", (3, 2, 4, 5), (3, 2, 6, 5)),
        ("...ij,jk->...ik", (3, 2, 4), (4, 7)),
        ("ij,jk", (3, 4), (4, 5)),
    ],
)
def test_an_einsum_of_two_operands_is_a_product(
    tmp_path: Path, equation: str, a: tuple[int, ...], b: tuple[int, ...]
) -> None:
    model = single(tmp_path, "Einsum", {"a": a, "b": b}, equation=equation)
    out = np.einsum(equation, np.zeros(a), np.zeros(b)).shape
    depth = {"bij,bjk->bik": 5, "bhqd,bhkd->bhqk": 5, "...ij,jk->...ik": 4, "ij,jk": 4}[equation]
    assert float(work(model, 3).macs.sum()) == prod(out) * depth


def test_an_einsum_that_sums_nothing_is_pointwise(tmp_path: Path) -> None:
    found = work(single(tmp_path, "Einsum", {"a": (3, 4), "b": (5,)}, equation="ij,k->ijk"), 3)
    assert float(found.flop.sum()) == 3 * 4 * 5
    assert float(found.bytes_moved.sum()) == (3 * 4 + 5 + 3 * 4 * 5) * 4


def test_an_lstm_is_two_products_a_step_and_its_gates(tmp_path: Path) -> None:
    steps, batch, width, hidden = 6, 1, 8, 16
    weights = {"w": (2, 4 * hidden, width), "r": (2, 4 * hidden, hidden), "b": (2, 8 * hidden)}
    model = single(
        tmp_path,
        "LSTM",
        {"x": (steps, batch, width)},
        weights=weights,
        hidden_size=hidden,
        outputs=3,
        direction="bidirectional",
    )
    assert float(work(model, steps).macs.sum()) == 2 * steps * 4 * hidden * (width + hidden) * batch
    assert model.graph.parameters == 2 * 4 * hidden * (width + hidden + 2)
    assert [o.op for o in model.graph.blocks[0].operators] == ["gemm", "gemm", "elementwise"]


def test_attention_with_grouped_keys_and_a_cache(tmp_path: Path) -> None:
    model = single(
        tmp_path, "Attention", {"q": (2, 8, 4, 16), "k": (2, 2, 4, 16), "v": (2, 2, 4, 16)}, opset=23, is_causal=1
    )
    pairs = 4 * 5 / 2  # query i sees i + 1 keys
    assert float(work(model, 2).macs.sum()) == 2 * 8 * pairs * 2 * 16
    packed = single(
        tmp_path,
        "Attention",
        {"q": (2, 4, 128), "k": (2, 4, 32), "v": (2, 4, 32)},
        opset=23,
        is_causal=1,
        q_num_heads=8,
        kv_num_heads=2,
    )
    assert flop_and_bytes(packed, 2) == flop_and_bytes(model, 2)


POINTWISE: list[tuple[str, Arrays, dict[str, Any], float, float]] = [
    # operator, inputs, attributes, FLOP, elements read and written
    ("Relu", {"x": (2, 3, 4)}, {}, 24, 48),
    ("Sigmoid", {"x": (2, 12)}, {}, 3 * 24, 48),
    ("Add", {"x": (2, 12), "y": (2, 12)}, {}, 24, 72),
    ("Mul", {"x": (2, 12), "y": (1, 12)}, {}, 24, 24 + 12 + 24),
    ("Sum", {"x": (2, 12), "y": (2, 12), "z": (2, 12)}, {}, 2 * 24, 96),
    ("ReduceMean", {"x": (2, 12)}, {"keepdims": 0, "axes": [1], "opset": 13}, 24, 24 + 2),
    ("Softmax", {"x": (2, 12)}, {"axis": 1}, 5 * 24, 48),
    ("LayerNormalization", {"x": (2, 12), "s": (12,)}, {}, 7 * 24, 48 + 12),
    ("MaxPool", {"x": (2, 3, 8, 8)}, {"kernel_shape": [2, 2], "strides": [2, 2]}, 2 * 3 * 16 * 4, 2 * 3 * (64 + 16)),
    ("GlobalAveragePool", {"x": (2, 3, 8, 8)}, {}, 2 * 3 * 64, 2 * 3 * (64 + 1)),
    ("Transpose", {"x": (2, 12)}, {}, 0, 48),
    ("Concat", {"x": (2, 12), "y": (2, 6)}, {"axis": 1}, 0, 2 * 36),
    ("DepthToSpace", {"x": (2, 4, 3, 3)}, {"blocksize": 2}, 0, 2 * 72),
    ("Det", {"x": (2, 3, 3)}, {}, 2 * 2 / 3 * 27, 18 + 2),
    ("BatchNormalization", {"x": (2, 3, 4), "s": (3,), "b": (3,), "m": (3,), "v": (3,)}, {}, 2 * 24, 48 + 3),
    ("InstanceNormalization", {"x": (2, 3, 4), "s": (3,), "b": (3,)}, {}, 7 * 24, 48 + 3),
]


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "flop", "elements"), POINTWISE, ids=[row[0] for row in POINTWISE]
)
def test_operators_without_matrix_work_have_their_hand_computed_cost(
    tmp_path: Path, op: str, inputs: Arrays, attributes: dict[str, Any], flop: float, elements: float
) -> None:
    model = single(tmp_path, op, inputs, **attributes)
    found = flop_and_bytes(model, next(iter(inputs.values()))[0])
    assert found == pytest.approx((flop, elements * 4))


def test_a_lookup_in_a_table_is_an_embedding_and_in_an_activation_a_copy(tmp_path: Path) -> None:
    g = GraphBuilder(weights="inline")
    ids = g.input("ids", [2, 5], TensorProto.INT64)
    g.node("Gather", [g.weight("table", (1000, 16)), ids], "node", ["y"])
    model = load_onnx(g.save(tmp_path / "t.onnx", {"y": None}))
    found = work(model, 2)
    assert model.graph.parameters == 16_000
    assert float(found.weight_bytes.sum()) == 2 * 5 * 16 * 4  # only the rows that are looked up
    g = GraphBuilder(weights="inline")
    g.node("Gather", [g.input("x", [2, 9]), g.constant("i", np.array([1, 2, 3]))], "node", ["y"], axis=1)
    moved = work(load_onnx(g.save(tmp_path / "c.onnx", {"y": None})), 2)
    assert float(moved.bytes_moved.sum()) == 2 * (2 * 3) * 4


def test_a_resize_reads_the_small_map_and_writes_the_large_one(tmp_path: Path) -> None:
    g = GraphBuilder(weights="inline")
    x = g.input("x", [2, 3, 8, 8])
    g.constant("roi", np.zeros(0, np.float32))
    g.constant("scales", np.array([1, 1, 2, 2], np.float32))
    g.node("Resize", [x, "roi", "scales"], "node", ["y"], mode="linear")
    model = load_onnx(g.save(tmp_path / "m.onnx", {"y": None}))
    assert flop_and_bytes(model, 2) == (2 * 3 * 256 * 6, 2 * 3 * (64 + 256) * 4)
    assert model.graph.parameters == 0


def test_an_integer_convolution_computes_in_eight_bits(tmp_path: Path) -> None:
    g = GraphBuilder(weights="inline")
    x = g.input("x", [2, 3, 8, 8], TensorProto.UINT8)
    g.initializers.append(helper.make_tensor("w", TensorProto.UINT8, [4, 3, 3, 3], [0] * 108))
    g.node("ConvInteger", [x, "w"], "node", ["y"])
    model = load_onnx(g.save(tmp_path / "m.onnx", {"y": None}, output_element=TensorProto.INT32))
    assert model.graph.blocks[0].operators[0].dtype == "int8"
    assert float(work(model, 2).weight_bytes.sum()) == 108


def test_an_unmodelled_operator_moves_its_tensors_and_is_reported(tmp_path: Path) -> None:
    model = single(
        tmp_path,
        "Multinomial",
        {"x": (2, 10)},
        sample_size=4,
        dtype=TensorProto.INT32,
        output_element=TensorProto.INT32,
    )
    (entry,) = model.report["unmodelled"]
    assert entry["op"] == "Multinomial"
    assert entry["share_of_bytes"] == entry["share_of_flop"] == 1.0
    assert flop_and_bytes(model, 2) == (0, (20 + 8) * 4)


@pytest.mark.slow
def test_every_node_test_of_onnx_is_read_or_refused_in_one_sentence(tmp_path: Path) -> None:
    """ONNX's own conformance cases: about 1,900 graphs that use every operator in every way."""
    from onnx.backend.test.case.node import collect_testcases

    read, sentences = 0, []
    for case in collect_testcases(None):
        path = tmp_path / "case.onnx"
        path.write_bytes(case.model.SerializeToString())
        try:
            model = load_onnx(path)
            open_sizes = {name: 3 for name, value in model.knobs().items() if value is None}
            table = lower(model.with_knobs(open_sizes).workload(Request(batch=np.array([1, 2]))).passes).table
        except InputError as error:
            sentences.append(str(error))
            continue
        found = count_work(table)
        assert not table.faults(), case.name
        assert np.isfinite(found.flop).all(), case.name
        assert np.isfinite(found.bytes_moved).all(), case.name
        read += 1
    assert read > 1500
    assert len(sentences) < read / 5
    assert not [sentence for sentence in sentences if "\n" in sentence]
