"""Rewrites of workload graphs: what each changes, what it leaves, and that they compose."""

from __future__ import annotations

import doctest
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BadValueError, UnknownNameError, UnsupportedError
from workloads.graph import Block, Operator, Pass, WorkloadGraph
from workloads.lowering import Lowered, lower
from workloads.mapping import Mapping
from workloads.rewrites import (
    drop_layers,
    freeze,
    fuse,
    fuse_attention,
    fuse_pointwise,
    lora,
    low_rank,
    prune,
    quantize,
    share,
)
from workloads.training import state_bytes, training_workload
from workloads.work import count_work

TOKENS, HIDDEN, INTER, HEADS = 16, 64, 256, 4


def gemm(name: str, n: int, k: int, *inputs: str, bias: bool = False, **rest: Any) -> Operator:
    fields = {"parameters": float(n * k + n * bias), **rest}
    return Operator(name, "gemm", {"m": TOKENS, "n": n, "k": k}, inputs=inputs or ("",), **fields)


def pointwise(name: str, hidden: int, *inputs: str, op: str = "elementwise", **shape: Any) -> Operator:
    rows = shape.pop("rows", TOKENS)
    return Operator(name, op, {"rows": rows, "hidden": hidden, **shape}, inputs=inputs)


def net() -> WorkloadGraph:
    """Two blocks: three layers with attention in its parts and a gated feed-forward network, then a head."""
    product = {"batch": HEADS, "m": TOKENS, "n": TOKENS, "k": HIDDEN // HEADS}
    layer = (
        replace(pointwise("norm", HIDDEN, "", op="norm"), parameters=float(HIDDEN)),
        *(gemm(name, HIDDEN, HIDDEN, "norm", shard="column") for name in ("attn.q", "attn.k", "attn.v")),
        Operator("scores", "gemm", product, inputs=("attn.q", "attn.k")),
        pointwise("scale", TOKENS, "scores", rows=HEADS * TOKENS),
        pointwise("softmax", TOKENS, "scale", op="softmax", rows=HEADS * TOKENS),
        Operator("values", "gemm", {**product, "n": HIDDEN // HEADS, "k": TOKENS}, inputs=("softmax", "attn.v")),
        gemm("attn.out", HIDDEN, HIDDEN, "values", shard="row"),
        pointwise("sum", HIDDEN, "attn.out", "", operands=2),
        gemm("mlp.gate", INTER, HIDDEN, "sum", shard="column", bias=True),
        gemm("mlp.up", INTER, HIDDEN, "sum", shard="column"),
        replace(pointwise("mlp.act", INTER, "mlp.gate", flop_per_element=4), shard="hidden"),
        replace(pointwise("mlp.mul", INTER, "mlp.act", "mlp.up", operands=2), shard="hidden"),
        gemm("mlp.down", HIDDEN, INTER, "mlp.mul", shard="row", bias=True),
    )
    return WorkloadGraph(
        "net", (Block("layer", layer, 3), Block("head", (gemm("head", 100, HIDDEN),))), TOKENS * HIDDEN
    )


def find(graph: WorkloadGraph, name: str) -> Operator:
    (found,) = [o for block in graph.blocks for o in block.operators if o.name == name]
    return found


def names(graph: WorkloadGraph) -> list[str]:
    return [o.name for block in graph.blocks for o in block.operators]


def lowered(graph: WorkloadGraph, mapping: Mapping | None = None) -> Lowered:
    return lower((Pass("forward", graph),), mapping or Mapping())


def total(graph: WorkloadGraph, field: str = "matrix_flop", mapping: Mapping | None = None) -> float:
    rows = lowered(graph, mapping)
    values = np.broadcast_to(getattr(count_work(rows.table), field), rows.table.rows)
    return float((values * rows.table.full("count")).sum())


REWRITES: dict[str, Callable[[WorkloadGraph], WorkloadGraph]] = {
    "fuse": fuse,
    "quantize": lambda g: quantize(g, "fp8"),
    "prune": lambda g: prune(g, {"mlp.gate": 0.5, "mlp.up": 0.5}),
    "low_rank": lambda g: low_rank(g, "attn.out*", 8),
    "lora": lambda g: lora(g, "attn.q", 4),
    "freeze": lambda g: freeze(g, "*"),
    "drop_layers": lambda g: drop_layers(g, "layer", 2),
    "share": lambda g: share(g, "layer"),
}


@pytest.mark.parametrize("name", REWRITES)
def test_a_rewrite_leaves_the_graph_it_was_given_as_it_was(name: str) -> None:
    graph = net()
    REWRITES[name](graph)
    assert graph == net()


@given(st.permutations(sorted(REWRITES)))
def test_rewrites_compose_in_any_order_into_a_graph_that_runs(order: list[str]) -> None:
    graph = net()
    for name in order:
        graph = REWRITES[name](graph)
    assert lowered(graph).table.faults() == []
    assert lowered(graph, Mapping(tp=2)).table.faults() == []


@pytest.mark.parametrize(
    "rewrite",
    [lambda g: freeze(g, "mpl.*"), lambda g: low_rank(g, "mpl.down", 4), lambda g: lora(g, "mpl.down", 4),
     lambda g: prune(g, {"mpl.up": 0.5}), lambda g: quantize(g, "fp8", keep=("mpl.up",))],
)  # fmt: skip
def test_a_pattern_that_matches_nothing_is_an_error_with_what_is_near(
    rewrite: Callable[[WorkloadGraph], WorkloadGraph],
) -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown operator pattern 'mpl\..*Nearest: mlp\."):
        rewrite(net())


def test_a_pattern_may_name_the_block_and_counts_only_what_the_rewrite_can_change() -> None:
    assert find(freeze(net(), "layer/mlp.*"), "mlp.up").trainable is False
    assert find(freeze(net(), "layer/mlp.*"), "head").trainable
    with pytest.raises(UnknownNameError, match="applies to operators of conv2d, gemm"):
        low_rank(net(), "softmax", 4)


# fusion


def test_pointwise_operators_join_the_kernel_that_wrote_their_only_input() -> None:
    fused = {o.name for block in fuse_pointwise(net()).blocks for o in block.operators if o.fused}
    assert fused == {"scale", "mlp.act"}


def test_fusion_saves_the_traffic_of_what_is_fused_and_no_matrix_work() -> None:
    graph = WorkloadGraph(
        "g", (Block("b", (gemm("a", 32, 8), pointwise("act", 32, "a"), pointwise("cast", 32, "act"))),)
    )
    fused = fuse_pointwise(graph)
    saved = 2 * 2 * TOKENS * 32 * 2  # two operators, a tensor of bf16 read and written by each
    assert total(graph, "bytes_moved") - total(fused, "bytes_moved") == saved
    assert total(fused) == total(graph)
    assert lowered(fused).table.labels == ("a",)


def test_an_output_with_two_readers_is_not_fused_away() -> None:
    operators = (gemm("a", 32, 8), pointwise("act", 32, "a"), pointwise("sum", 32, "act", "a", operands=2))
    assert not any(o.fused for o in fuse_pointwise(WorkloadGraph("g", (Block("b", operators),))).blocks[0].operators)


def test_a_pooling_that_changes_the_size_is_not_fused() -> None:
    operators = (gemm("a", 32, 8), pointwise("halve", 16, "a", operands=2))
    assert not fuse_pointwise(WorkloadGraph("g", (Block("b", operators),))).blocks[0].operators[1].fused


def test_a_norm_joins_a_convolution_and_a_gemm_only_on_request() -> None:
    shape = {"batch": 1, "c_in": 4, "h": 8, "w": 8, "c_out": 6, "kh": 3, "kw": 3, "padding": 1}
    operators = (
        Operator("conv", "conv2d", shape, parameters=216.0),
        pointwise("batch_norm", 6, "conv", op="norm", rows=64),
        pointwise("relu", 6, "batch_norm", rows=64),
    )
    found = fuse_pointwise(WorkloadGraph("g", (Block("b", operators),)))
    assert [o.fused for o in found.blocks[0].operators] == [False, True, True]
    graph = WorkloadGraph("g", (Block("b", (gemm("a", 32, 8), pointwise("norm", 32, "a", op="norm"))),))
    assert not find(fuse_pointwise(graph), "norm").fused
    assert find(fuse_pointwise(graph, norms_into_gemm=True), "norm").fused


def test_scores_softmax_and_values_become_attention_with_the_same_matrix_work() -> None:
    fused = fuse_attention(net(), heads=HEADS)
    attention = find(fused, "values")
    assert (attention.op, attention.inputs) == ("attention", ("attn.q", "attn.k", "attn.v"))
    assert not {"scores", "scale", "softmax"} & set(names(fused))
    assert total(fused) == total(net())
    saved = total(net(), "bytes_moved") - total(fused, "bytes_moved")
    # each of 3 layers no longer writes and reads scores, scaled scores and probabilities: 6 x 4 x 16 x 16 bf16
    assert saved == 3 * 6 * HEADS * TOKENS * TOKENS * 2


def test_fused_attention_can_be_divided_by_its_heads() -> None:
    fused = fuse_attention(net(), heads=HEADS)
    attention = [o for o in lowered(fused, Mapping(tp=2)).operators[0][0] if o.name == "values"]
    assert [o.shape["heads"] for o in attention] == [2]


def test_heads_that_do_not_divide_the_batch_are_refused() -> None:
    with pytest.raises(BadValueError, match="heads=3 does not divide the batch 4 of 'scores'"):
        fuse_attention(net(), heads=3)


def test_scores_that_something_else_reads_stay() -> None:
    layer = net().blocks[0].operators
    probe = pointwise("probe", TOKENS, "scores", rows=HEADS * TOKENS)
    at = [o.name for o in layer].index("scores") + 1
    graph = WorkloadGraph("g", (Block("b", (*layer[:at], probe, *layer[at:])),))
    assert fuse_attention(graph, heads=HEADS) == graph


# quantisation


def test_weight_only_formats_shrink_weights_and_add_no_cast() -> None:
    graph = quantize(net(), "w4a16")
    assert names(graph) == names(net())
    assert find(graph, "mlp.up").parameter_bytes == pytest.approx(HIDDEN * INTER * (4 + 20 / 128) / 8)
    assert find(graph, "norm").dtype == find(graph, "scores").dtype == "bf16"


def test_formats_that_quantise_activations_cast_each_tensor_once() -> None:
    graph = quantize(net(), "fp8")
    casts = [name for name in names(graph) if name.endswith(".quantise")]
    assert casts == [f"{name}.quantise" for name in ("attn.q", "attn.out", "mlp.gate", "mlp.down", "head")]
    assert find(graph, "attn.v").inputs == ("attn.q.quantise",)


@pytest.mark.parametrize(("dtype", "written"), [("int8", 1), ("fp8_block", 8.25 / 8), ("nvfp4", 4.5 / 8)])
def test_a_cast_reads_the_old_format_and_writes_the_new(dtype: str, written: float) -> None:
    cast = find(quantize(WorkloadGraph("g", (Block("b", (gemm("a", 32, 8),)),)), dtype), "a.quantise")
    work = count_work(lowered(WorkloadGraph("g", (Block("b", (cast,)),))).table)
    assert float(work.input_bytes[0]) == pytest.approx(TOKENS * 8 * 2)
    assert float(work.output_bytes[0]) == pytest.approx(TOKENS * 8 * written)


def test_casts_can_be_left_out_or_fused_into_the_norm_before() -> None:
    assert names(quantize(net(), "int8", cast_overhead=False)) == names(net())
    chain = WorkloadGraph("g", (Block("b", (pointwise("norm", 8, "", op="norm"), gemm("a", 32, 8, "norm"))),))
    assert find(fuse_pointwise(quantize(chain, "int8")), "a.quantise").fused


def test_kept_operators_stay_in_their_format() -> None:
    graph = quantize(net(), "fp8", keep=("head", "attn.*"))
    assert (find(graph, "head").dtype, find(graph, "attn.q").dtype, find(graph, "mlp.up").dtype) == (
        "bf16",
        "bf16",
        "fp8",
    )


def test_the_cache_has_a_format_of_its_own() -> None:
    shape = {"batch": 1, "q_len": 1, "kv_len": 64, "heads": 4, "head_dim": 16}
    graph = WorkloadGraph("g", (Block("b", (Operator("attention", "attention", shape, state_elements=8192.0),)),))
    found = quantize(graph, "w4a16", kv_dtype="fp8")
    attention = find(found, "attention")
    assert (attention.dtype, attention.kv_dtype, attention.state_dtype) == ("bf16", "fp8", "fp8")
    assert total(found, "weight_bytes") * 2 == total(graph, "weight_bytes")


def test_integer_engines_run_everything_in_the_format_without_casts() -> None:
    graph = quantize(net(), "int8", everywhere=True)
    assert names(graph) == names(net())
    assert {o.dtype for block in graph.blocks for o in block.operators} == {"int8"}


def test_an_unknown_format_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Unknown number format 'int9'"):
        quantize(net(), "int9")


# pruning


def test_pruned_columns_leave_their_readers_too() -> None:
    graph = prune(net(), {"mlp.gate": 0.25, "mlp.up": 0.25})
    assert find(graph, "mlp.gate").shape["n"] == find(graph, "mlp.act").shape["hidden"] == 64
    assert find(graph, "mlp.down").shape["k"] == 64
    assert find(graph, "mlp.gate").parameters == 64 * HIDDEN + 64  # the bias goes with its column
    assert find(graph, "mlp.down").parameters == HIDDEN * 64 + HIDDEN  # and stays where inputs go
    dense = 3 * 3 * 2 * TOKENS * HIDDEN * INTER
    assert total(net()) - total(graph) == dense * 0.75


def test_inputs_pruned_differently_are_refused() -> None:
    with pytest.raises(BadValueError, match=r"'mlp.mul' in block 'layer' reads inputs pruned differently"):
        prune(net(), {"mlp.gate": 0.5})


def test_pruning_what_leaves_a_block_is_refused() -> None:
    with pytest.raises(BadValueError, match=r"would change what leaves block 'layer', the output of 'mlp.down'"):
        prune(net(), {"mlp.down": 0.5})


def test_pruning_heads_by_columns_is_refused() -> None:
    with pytest.raises(BadValueError, match="cannot follow pruned features"):
        prune(net(), {"attn.[qkv]": 0.5})


@pytest.mark.parametrize("kept", [0, -0.5, 1.5, float("nan")])
def test_a_share_outside_zero_to_one_is_refused(kept: float) -> None:
    with pytest.raises(BadValueError, match=r"share kept of 'mlp.up'"):
        prune(net(), {"mlp.up": kept})


def test_unstructured_pruning_is_refused_with_the_reason() -> None:
    with pytest.raises(UnsupportedError, match="FLOP and bytes of dense kernels"):
        prune(net(), {"mlp.up": 0.5}, structured=False)


def test_pruned_channels_run_through_norms_and_depthwise_convolutions() -> None:
    shape = {"batch": 1, "h": 8, "w": 8, "kh": 1, "kw": 1}
    deep = {**shape, "kh": 3, "kw": 3, "padding": 1, "c_in": 32, "c_out": 32, "groups": 32}
    operators = (
        Operator("expand", "conv2d", {**shape, "c_in": 8, "c_out": 32}, parameters=256.0),
        replace(pointwise("norm", 32, "expand", op="norm", rows=64), parameters=64.0),
        Operator("depth", "conv2d", deep, inputs=("norm",), parameters=288.0),
        Operator("project", "conv2d", {**shape, "c_in": 32, "c_out": 8}, inputs=("depth",), parameters=256.0),
    )
    graph = WorkloadGraph("g", (Block("b", operators),))
    found = prune(graph, {"expand": 0.5})
    assert found.parameters * 2 == graph.parameters
    assert total(found) * 2 == total(graph)
    assert find(found, "depth").shape["groups"] == 16


def test_pruned_experts_have_a_smaller_inside() -> None:
    shape = {"tokens": 8, "hidden": 16, "inter": 32, "experts": 4, "topk": 2}
    moe = Operator("experts", "moe", shape, parameters=4 * 1536.0, active_parameters=2 * 1536.0)
    graph = WorkloadGraph("g", (Block("b", (moe,)),))
    found = prune(graph, {"experts": 0.5})
    assert (found.parameters, found.active_parameters, total(found)) == (2 * 1536, 1536, total(graph) / 2)


# low rank, adapters, freezing


def test_a_low_rank_gemm_is_two_thin_ones() -> None:
    graph = low_rank(net(), "mlp.down", 8)
    down, up = find(graph, "mlp.down.down"), find(graph, "mlp.down")
    assert (dict(down.shape), dict(up.shape)) == (
        {"m": TOKENS, "n": 8, "k": INTER}, {"m": TOKENS, "n": HIDDEN, "k": 8},
    )  # fmt: skip
    assert down.parameters + up.parameters == 8 * (INTER + HIDDEN) + HIDDEN
    assert (down.shard, up.shard, up.inputs) == ("row", "", ("mlp.down.down",))
    assert total(net()) - total(graph) == 3 * 2 * TOKENS * (INTER * HIDDEN - 8 * (INTER + HIDDEN))


def test_a_low_rank_convolution_ends_in_a_one_by_one() -> None:
    shape = {"batch": 1, "c_in": 16, "h": 9, "w": 9, "c_out": 32, "kh": 3, "kw": 3, "stride": 2}
    graph = WorkloadGraph("g", (Block("b", (Operator("conv", "conv2d", shape, parameters=16 * 32 * 9.0),)),))
    # output 4 x 4: 4 channels from 16 x 9, then 32 from 4
    assert total(low_rank(graph, "conv", 4)) == 2 * 16 * (4 * 16 * 9 + 32 * 4)


def test_a_rank_that_is_no_lower_is_refused() -> None:
    with pytest.raises(BadValueError, match=r"rank 64 is not below the sides 64 and 256 of 'mlp.down'"):
        low_rank(net(), "mlp.down", 64)


def test_a_product_of_activations_has_no_matrix_to_factor() -> None:
    with pytest.raises(BadValueError, match="'scores' has no single weight matrix"):
        low_rank(net(), "scores", 2)


def test_adapters_are_small_trained_and_summed_into_what_others_read() -> None:
    graph = lora(net(), "attn.[qv]", 4)
    assert find(graph, "attn.q.lora_a").shape["n"] == find(graph, "attn.q.lora_b").shape["k"] == 4
    assert find(graph, "attn.q").inputs == ("attn.q.base", "attn.q.lora_b")
    assert find(graph, "scores").inputs == ("attn.q", "attn.k")
    assert graph.parameters - net().parameters == 3 * 2 * 4 * 2 * HIDDEN
    trained = {o.name for block in graph.blocks for o in block.operators if o.trainable and o.parameters}
    assert trained == {f"attn.{x}.lora_{y}" for x in "qv" for y in "ab"}


def test_training_adapters_saves_the_weight_gradients_and_the_state_of_the_base() -> None:
    graph = lora(net(), "attn.[qv]", 4)
    state = state_bytes(graph)
    adapters = 3 * 2 * 4 * 2 * HIDDEN
    assert state.gradient_bytes + state.optimizer_bytes == 14 * adapters
    step = training_workload(Pass("forward", graph), name="lora", batch=1, tokens_in=TOKENS)
    wgrads = {o.name for block in step.passes[1].graph.blocks for o in block.operators if o.name.endswith(".wgrad")}
    assert wgrads == {f"attn.{x}.lora_{y}.wgrad" for x in "qv" for y in "ab"}


def test_adapters_on_top_of_adapters_leave_the_first_trained() -> None:
    graph = lora(lora(net(), "attn.q", 4), "attn.v", 4)
    assert find(graph, "attn.q.lora_a").trainable


def test_merged_adapters_cost_nothing_at_inference() -> None:
    merged = lora(net(), "attn.[qv]", 4, merged=True)
    assert total(merged) == total(net())
    assert merged.parameters == net().parameters


def test_adapters_of_a_compressed_base_are_in_the_format_of_the_arithmetic() -> None:
    graph = lora(quantize(net(), "w4a16"), "attn.q", 4)
    assert (find(graph, "attn.q.base").dtype, find(graph, "attn.q.lora_a").dtype) == ("w4a16", "bf16")


@pytest.mark.parametrize("pattern", ["attn.q", "attn.out", "mlp.down"])
def test_adapters_and_factors_share_work_over_ranks_as_their_base_does(pattern: str) -> None:
    for graph in (lora(net(), pattern, 8), low_rank(net(), pattern, 8)):
        two = [
            o for o in lowered(graph, Mapping(tp=2)).operators[0][0] if o.name.startswith(pattern) and o.op == "gemm"
        ]
        stored = sum(o.parameters for o in two)
        whole = sum(o.parameters for o in graph.blocks[0].operators if o.name.startswith(pattern))
        assert whole / 2 <= stored < whole


# layers


def test_dropped_layers_take_their_parameters_with_them() -> None:
    graph = drop_layers(net(), "layer", 1)
    layer = sum(o.parameters for o in net().blocks[0].operators)
    assert net().parameters - graph.parameters == 2 * layer
    assert [block.name for block in drop_layers(net(), "layer", 0).blocks] == ["head"]


@pytest.mark.parametrize("keep", [4, -1, 1.5])
def test_more_layers_than_there_are_cannot_be_kept(keep: Any) -> None:
    with pytest.raises(BadValueError, match="whole number from 0 to 3"):
        drop_layers(net(), "layer", keep)


def test_the_only_block_cannot_be_dropped() -> None:
    with pytest.raises(BadValueError, match="'head' is the only block"):
        drop_layers(drop_layers(net(), "layer", 0), "head", 0)


def test_shared_layers_run_as_often_and_store_one_set() -> None:
    graph = share(net(), "layer")
    assert total(graph) == total(net())
    head = 100 * HIDDEN
    assert (graph.parameters - head) * 3 == net().parameters - head


def test_an_unknown_block_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown block 'layers'. Nearest: layer"):
        share(net(), "layers")


def test_the_examples_of_the_page_on_rewrites_are_true(repository: Path) -> None:
    assert doctest.testfile(str(repository / "docs" / "rewrites.md"), module_relative=False) == (0, 15)
