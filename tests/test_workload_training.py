"""Training steps: backward FLOP and bytes, optimizers, and memory, against numbers derived by hand."""

from __future__ import annotations

import csv
import doctest
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BadValueError, UnknownNameError
from workloads.graph import Block, Operator, Pass, Workload, WorkloadGraph
from workloads.lowering import Lowered, lower
from workloads.mapping import Mapping
from workloads.training import retained_bytes, state_bytes, training_workload
from workloads.work import count_work


def gemm(name: str, m: float, n: float, k: float, *inputs: str, shard: Any = "", **rest: Any) -> Operator:
    fields = {"parameters": float(n * k), **rest}
    return Operator(name, "gemm", {"m": m, "n": n, "k": k}, inputs=inputs or ("",), shard=shard, **fields)


def graph_of(*operators: Operator, count: int = 1) -> WorkloadGraph:
    return WorkloadGraph("net", (Block("block", operators, count),))


def training(graph: WorkloadGraph, times: Any = 1.0, **options: Any) -> Workload:
    return training_workload(Pass("forward", graph, times), name="net", batch=1, tokens_in=8, **options)


def total(lowered: Lowered, passed: int, field: str = "matrix_flop") -> float:
    values = np.broadcast_to(getattr(count_work(lowered.table), field), lowered.table.rows)
    return float((values * lowered.table.full("count"))[lowered.pass_index == passed].sum())


def flop(workload: Workload, passed: int, mapping: Mapping | None = None) -> float:
    return total(lower(workload.passes, mapping or Mapping()), passed)


def backward(workload: Workload, block: int = 0) -> dict[str, Operator]:
    return {o.name: o for o in workload.passes[1].graph.blocks[block].operators}


def mlp(shards: bool = False) -> WorkloadGraph:
    up, down = ("column", "row") if shards else ("", "")
    act = {"rows": 8, "hidden": 32, "flop_per_element": 8}
    return graph_of(
        gemm("up", 8, 32, 16, shard=up),
        Operator("act", "elementwise", act, inputs=("up",), shard="hidden" if shards else ""),
        gemm("down", 8, 16, 32, "act", shard=down),
        count=3,
    )


def test_a_gemm_has_an_input_and_a_weight_gradient_of_its_own_flop() -> None:
    # the first repeat needs no gradient of its input: 2 x 4096 FLOP forward, 4 - 1/3 times it backward over 3 repeats
    step = training(mlp())
    one = 2 * 8 * 32 * 16
    assert flop(step, 0) == 3 * 2 * one
    assert flop(step, 1) == 3 * 4 * one - one
    first = step.passes[1].graph.blocks[-1]
    assert first.name == "block.first"
    assert [o.name for o in first.operators] == ["down.wgrad", "down.dgrad", "act.dgrad", "up.wgrad"]


def test_gradient_gemms_are_the_transposed_products() -> None:
    found = backward(training(mlp()))
    assert dict(found["up.dgrad"].shape) == {"m": 8, "n": 16, "k": 32}
    assert dict(found["up.wgrad"].shape) == {"m": 16, "n": 32, "k": 8}
    assert found["up.dgrad"].inputs == ("act.dgrad",)
    assert sum(o.parameters for o in found.values()) == 0


def test_the_input_gradient_leaves_the_backward_block_last() -> None:
    assert training(mlp()).passes[1].graph.blocks[0].operators[-1].name == "up.dgrad"


def test_gradients_of_divided_operators_reduce_where_megatron_does() -> None:
    lowered = lower(training(mlp(shards=True)).passes, Mapping(tp=4))
    reduced = [
        (label, float(bytes_))
        for label, p, kind, bytes_ in zip(
            lowered.table.labels,
            lowered.pass_index,
            lowered.table.names("kind"),
            lowered.table.full("bytes"),
            strict=True,
        )
        if kind == "all_reduce" and p < 2
    ]
    # forward: after the row-parallel `down`; backward: after the column-parallel `up`; each of 8 x 16 bf16 numbers
    assert reduced == [("down", 256.0), ("up.dgrad", 256.0)]


@given(tp=st.sampled_from([1, 2, 4, 8]))
def test_ranks_share_the_work_of_both_passes(tp: int) -> None:
    step = training(mlp(shards=True))
    for passed in (0, 1):
        assert flop(step, passed, Mapping(tp=tp)) * tp == flop(step, passed)


def test_projections_of_one_input_share_one_input_gradient_and_one_all_reduce() -> None:
    shape = {"batch": 1, "q_len": 8, "heads": 4, "head_dim": 4}
    step = training(
        graph_of(
            Operator("norm", "norm", {"rows": 8, "hidden": 16}, parameters=16.0),
            *(gemm(name, 8, 16, 16, "norm", shard="column") for name in ("q", "k", "v")),
            Operator("attention", "attention", shape, inputs=("q", "k", "v"), shard="heads"),
        )
    )
    found = backward(step)
    assert found["q+k+v.dgrad"].shape["k"] == 48
    assert "q.dgrad" not in found
    assert flop(step, 1) == 2 * 3 * (2 * 8 * 16 * 16) + 2.5 * (2 * 36 * 8 * 4)
    kinds = lower(step.passes, Mapping(tp=2)).table.names("kind")
    assert kinds.count("all_reduce") == 1


@given(q=st.integers(1, 30), heads=st.sampled_from([2, 4]), d=st.integers(1, 64), causal=st.integers(0, 1))
def test_attention_backward_has_two_and_a_half_times_the_forward(q: int, heads: int, d: int, causal: int) -> None:
    shape = {"batch": 2, "q_len": q, "heads": heads, "kv_heads": 2, "head_dim": d, "causal": causal}
    operators = (
        gemm("in", 2 * q, heads * d, 3),
        Operator("attention", "attention", shape, inputs=("in",)),
    )
    step = training(graph_of(*operators))
    dense = 2 * (2 * q) * heads * d * 3
    assert flop(step, 1) - dense == 2.5 * (flop(step, 0) - dense)


def test_attention_with_a_value_size_has_three_products_of_keys_and_two_of_values() -> None:
    shape = {"batch": 1, "q_len": 3, "heads": 1, "head_dim": 5, "v_dim": 7, "causal": 0}
    step = training(graph_of(gemm("in", 3, 5, 2), Operator("attention", "attention", shape, inputs=("in",))))
    assert flop(step, 1) - 2 * 3 * 5 * 2 == 2 * 9 * (3 * 5 + 2 * 7)


def test_latent_attention_trains_expanded() -> None:
    shape = {"batch": 1, "q_len": 3, "heads": 2, "head_dim": 4, "rope_dim": 2, "kv_rank": 7}
    step = training(graph_of(gemm("in", 3, 5, 2), Operator("attention", "mla", shape, inputs=("in",))))
    # 6 causal pairs, 2 heads: three products of 4 + 2, two of 4
    assert flop(step, 1) - 2 * 3 * 5 * 2 == 2 * 6 * 2 * (3 * 6 + 2 * 4)


def test_two_activations_have_a_gradient_each_and_no_weight_gradient() -> None:
    step = training(
        graph_of(
            gemm("q", 4, 6, 2),
            gemm("k", 4, 6, 2),
            Operator("scores", "gemm", {"m": 4, "n": 4, "k": 6}, inputs=("q", "k")),
        )
    )
    found = backward(step)
    assert set(found) == {"scores.dgrad", "scores.dgrad_second", "q.wgrad", "k.wgrad"}
    assert found["q.wgrad"].inputs == ("scores.dgrad",)
    assert found["k.wgrad"].inputs == ("scores.dgrad_second",)
    assert flop(step, 1) == 2 * (2 * 4 * 4 * 6) + 2 * (2 * 4 * 6 * 2)


def convolution(**extra: float) -> Operator:
    shape = {"batch": 2, "c_in": 8, "h": 12, "w": 10, "c_out": 6, "kh": 3, "kw": 3, **extra}
    return Operator("conv", "conv2d", shape, inputs=("before",), parameters=8 * 6 * 9.0)


@pytest.mark.parametrize("extra", [{}, {"stride": 2, "padding": 1}, {"padding": 1}, {"groups": 2}])
def test_a_convolution_has_two_gradients_of_its_own_flop(extra: dict[str, float]) -> None:
    before = Operator("before", "norm", {"rows": 2 * 120, "hidden": 8}, parameters=8.0)
    step = training(graph_of(before, convolution(**extra)))
    assert flop(step, 1) == 2 * flop(step, 0)


def test_a_convolution_of_an_image_needs_its_weight_gradient_only() -> None:
    step = training(graph_of(replace(convolution(), inputs=("",))))
    assert flop(step, 1) == flop(step, 0)


@pytest.mark.parametrize(("trainable", "ratio"), [(True, 2), (False, 1)])
def test_experts_have_twice_their_forward_and_half_of_that_when_frozen(trainable: bool, ratio: int) -> None:
    shape = {"tokens": 16, "hidden": 8, "inter": 4, "experts": 4, "topk": 2}
    norm = Operator("norm", "norm", {"rows": 16, "hidden": 8}, parameters=8.0)
    moe = Operator("moe", "moe", shape, inputs=("norm",), parameters=4 * 96.0, trainable=trainable, shard="experts")
    step = training(graph_of(norm, moe))
    assert flop(step, 1) == ratio * flop(step, 0)
    assert flop(step, 1, Mapping(tp=4, ep=4)) * 4 == flop(step, 1)


def test_a_scan_recomputes_its_states_and_then_does_twice_the_work() -> None:
    shape = {"batch": 1, "q_len": 4, "heads": 2, "head_dim": 3, "state": 5}
    step = training(graph_of(Operator("scan", "scan", shape, parameters=6.0)))
    lowered = lower(step.passes)
    assert total(lowered, 1, "vector_flop") == 3 * total(lowered, 0, "vector_flop")


@pytest.mark.parametrize(
    ("op", "extra", "reads", "writes", "flop_ratio"),
    [
        ("norm", {}, 2, 1, 2),
        ("norm", {"operands": 3, "flop_per_element": 5}, 3, 1, 2),
        ("softmax", {}, 2, 1, 4 / 5),
        ("elementwise", {"flop_per_element": 8}, 2, 1, 2),
        ("elementwise", {"flop_per_element": 5, "operands": 2}, 3, 2, 2),
        ("elementwise", {}, 1, 1, 1),
        ("copy", {}, 1, 1, 0),
    ],
)
def test_pointwise_gradients_read_and_write_whole_tensors(
    op: str, extra: dict[str, float], reads: int, writes: int, flop_ratio: float
) -> None:
    tensor = 6 * 10
    before = gemm("before", 6, 10, 4)
    step = training(graph_of(before, Operator("x", op, {"rows": 6, "hidden": 10, **extra}, inputs=("before",))))
    work = count_work(lower((Pass("b", graph_of(*(o for o in backward(step).values() if o.name == "x.dgrad"))),)).table)
    ahead = count_work(lower((Pass("f", graph_of(replace(step.graph.blocks[0].operators[1], inputs=("",)))),)).table)
    assert float(work.input_bytes[0]) == pytest.approx(reads * tensor * 2)
    assert float(work.output_bytes[0]) == writes * tensor * 2
    assert float(work.vector_flop[0]) == pytest.approx(flop_ratio * float(ahead.vector_flop[0]))


def test_an_embedding_reads_and_writes_the_rows_of_its_gradient() -> None:
    table = Operator("embed", "embedding", {"rows": 6, "hidden": 10}, parameters=1000.0)
    lowered = lower(training(graph_of(table)).passes)
    assert total(lowered, 1, "input_bytes") + total(lowered, 1, "output_bytes") == 3 * 60 * 2


def residual() -> WorkloadGraph:
    both = {"rows": 8, "hidden": 16, "operands": 2}
    return graph_of(
        gemm("stem", 8, 16, 16),
        gemm("branch", 8, 16, 16, "stem"),
        Operator("sum", "elementwise", both, inputs=("stem", "branch")),
    )


def test_a_sum_costs_nothing_backward_and_its_fork_adds_two_gradients() -> None:
    found = backward(training(residual()))
    assert set(found) == {"branch.wgrad", "branch.dgrad", "stem.accumulate", "stem.wgrad"}
    assert set(found["stem.accumulate"].inputs) == {"", "branch.dgrad"}
    work = count_work(lower((Pass("b", graph_of(replace(found["stem.accumulate"], inputs=()))),)).table)
    assert (float(work.vector_flop[0]), float(work.bytes_moved[0])) == (128, 3 * 128 * 2)


def test_frozen_layers_below_the_first_trained_one_have_no_backward() -> None:
    operators = (
        gemm("a", 8, 16, 16, trainable=False),
        gemm("b", 8, 16, 16, "a"),
        gemm("c", 8, 16, 16, "b", trainable=False),
    )
    assert list(backward(training(graph_of(*operators)))) == ["c.dgrad", "b.wgrad"]


def test_a_graph_with_nothing_to_train_is_refused() -> None:
    with pytest.raises(BadValueError, match="has nothing to train"):
        training(graph_of(gemm("a", 8, 16, 16, trainable=False)))


def test_a_tied_head_stores_nothing_and_still_has_a_weight_gradient() -> None:
    step = training(graph_of(gemm("a", 8, 16, 16), gemm("head", 8, 64, 16, "a", parameters=0.0)))
    assert "head.wgrad" in backward(step)


def test_compressed_base_weights_take_gradients_in_the_format_of_the_arithmetic() -> None:
    step = training(graph_of(gemm("a", 8, 16, 16), gemm("b", 8, 16, 16, "a", dtype="w4a16")))
    found = backward(step)
    assert (found["b.dgrad"].dtype, found["b.wgrad"].dtype) == ("w4a16", "bf16")


@pytest.mark.parametrize("recompute", ["none", "selective", "full"])
def test_recomputation_runs_what_it_says_again(recompute: Any) -> None:
    graph = transformer(layers=4)
    step = training(graph, recompute=recompute)
    once = flop(step, 0)
    scores = 4 * 2 * SEQUENCE**2 * HIDDEN * BATCH
    extra = {"none": 0, "selective": scores, "full": once}[recompute]
    assert flop(step, 1) == flop(training(graph), 1) + extra


def test_an_unknown_kind_of_recomputation_or_optimizer_names_those_there_are() -> None:
    with pytest.raises(UnknownNameError, match="Unknown recompute 'ful'"):
        training(mlp(), recompute="ful")
    with pytest.raises(UnknownNameError, match="Unknown optimizer 'adam'") as caught:
        training(mlp(), optimizer="adam")
    assert "adamw" in caught.value.nearest


def test_accumulated_microbatches_run_forward_and_backward_and_update_once() -> None:
    once, four = training(mlp()), training(mlp(), gradient_accumulation=4)
    assert [flop(four, p) for p in (0, 1)] == [4 * flop(once, p) for p in (0, 1)]
    assert total(lower(four.passes), 2, "vector_flop") == total(lower(once.passes), 2, "vector_flop")


@pytest.mark.parametrize(
    ("optimizer", "dtype", "reads", "writes", "flop_each"),
    [
        ("adamw", "bf16", 2 + 4 + 8, 4 + 8 + 2, 12),
        ("adamw", "fp32", 4 + 4 + 8, 4 + 8, 12),
        ("sgd", "fp32", 4 + 4, 4, 2),
        ("sgd_momentum", "bf16", 2 + 4 + 4, 4 + 4 + 2, 4),
    ],
)
def test_an_update_reads_and_writes_every_state_once(
    optimizer: str, dtype: str, reads: float, writes: float, flop_each: float
) -> None:
    lowered = lower(training(graph_of(gemm("a", 8, 32, 16, dtype=dtype)), optimizer=optimizer).passes)
    assert total(lowered, 2, "input_bytes") == pytest.approx(512 * reads)
    assert total(lowered, 2, "output_bytes") == pytest.approx(512 * writes)
    assert total(lowered, 2, "vector_flop") == pytest.approx(512 * flop_each)


def test_muon_orthogonalises_each_matrix_in_five_iterations() -> None:
    step = training(graph_of(gemm("a", 8, 32, 16), count=3), optimizer="muon")
    # an iteration: 2 s s l + 2 s s s + 2 s l s with s = 16, l = 32
    assert flop(step, 2) == 3 * 5 * (4 * 16 * 16 * 32 + 2 * 16**3)


def collectives(workload: Workload, mapping: Mapping, passed: int) -> list[tuple[str, float]]:
    lowered = lower(workload.passes, mapping)
    rows = zip(
        lowered.table.names("kind"),
        lowered.table.full("bytes") * lowered.table.full("count"),
        lowered.pass_index,
        strict=True,
    )
    return [(kind, float(size)) for kind, size, p in rows if kind and p == passed]


def test_gradients_go_over_the_replicas_once_a_step() -> None:
    step = training(mlp(), gradient_accumulation=8)
    parameters = 3 * 2 * 512
    assert collectives(step, Mapping(), 2) == []
    assert collectives(step, Mapping(dp=4), 2) == [("all_reduce", parameters * 2)]
    divided = training(mlp(shards=True))
    assert collectives(divided, Mapping(dp=4, tp=2), 2) == [("all_reduce", parameters * 2 / 2)]


def test_zero_scatters_gradients_and_gathers_weights() -> None:
    size = 3 * 2 * 512 * 2.0
    one = training(mlp(), zero_stage=1)
    assert collectives(one, Mapping(dp=4), 2) == [("reduce_scatter", size), ("all_gather", size)]
    three = training(mlp(), zero_stage=3)
    assert collectives(three, Mapping(dp=4), 2) == [("reduce_scatter", size)]
    assert sum(each for _, each in collectives(three, Mapping(dp=4), 0)) == size
    assert sum(each for _, each in collectives(three, Mapping(dp=4), 1)) == size


def test_zero_divides_the_update_over_the_replicas() -> None:
    plain, divided = (lower(training(mlp(), zero_stage=z).passes, Mapping(dp=4)) for z in (0, 1))
    flops = [
        float(
            (count_work(x.table).vector_flop * x.table.full("count"))[np.char.endswith(x.table.labels, ".update")].sum()
        )
        for x in (plain, divided)
    ]
    assert flops == pytest.approx([12 * 3072, 12 * 3072 / 4])


def test_training_memory_of_the_zero_paper() -> None:
    """Rajbhandari et al. 2020, figure 1: 7.5 billion parameters, 64 replicas: 120, 31.4, 16.6 and 1.9 GB."""
    graph = graph_of(gemm("a", 8, 75_000, 100_000))
    found = [state_bytes(graph, mapping=Mapping(dp=64), zero_stage=z).total_bytes / 1e9 for z in range(4)]
    assert found == pytest.approx([120, 31.4, 16.6, 1.9], abs=0.05)


@pytest.mark.parametrize(
    ("optimizer", "dtype", "each"),
    [
        ("adamw", "bf16", 16),
        ("adamw_wide_gradients", "bf16", 18),
        ("adamw", "fp32", 16),
        ("sgd", "fp32", 8),
        ("sgd_momentum", "bf16", 12),
        ("muon", "bf16", 12),
    ],
)
def test_bytes_of_a_trained_parameter(optimizer: str, dtype: str, each: float) -> None:
    graph = graph_of(gemm("a", 8, 10, 10, dtype=dtype))
    assert state_bytes(graph, optimizer).total_bytes == 100 * each
    step = training(graph, optimizer=optimizer)
    weight = {"bf16": 2, "fp32": 4}[dtype]
    assert step.optimizer_bytes(graph.blocks[0].operators[0]) == 100 * (each - weight)


def test_eight_bit_moments_have_a_scale_in_two_thousand_and_forty_eight() -> None:
    assert state_bytes(graph_of(gemm("a", 8, 64, 32)), "adamw_8bit").total_bytes == 2048 * (2 + 2 + 4 + 2) + 2 * 4


def test_a_frozen_parameter_has_its_weight_only() -> None:
    found = state_bytes(graph_of(gemm("a", 8, 10, 10, trainable=False), gemm("b", 8, 10, 10, "a")))
    assert (found.weight_bytes, found.gradient_bytes, found.optimizer_bytes) == (400, 200, 1200)


SEQUENCE, BATCH, HIDDEN, HEADS = 32, 2, 64, 4
TOKENS = SEQUENCE * BATCH


def pointwise(
    name: str, hidden: float, *inputs: str, op: str = "elementwise", rows: float = TOKENS, **shape: Any
) -> Operator:
    learnt = 2.0 * hidden if op == "norm" else 0.0
    return Operator(name, op, {"rows": rows, "hidden": hidden, **shape}, inputs=inputs or ("",), parameters=learnt)


def transformer(layers: int = 1, *, dropout: bool = False, shards: bool = False) -> WorkloadGraph:
    """A GPT layer with attention in its parts, as in Korthikanti et al. 2022, figure 2."""
    h, s, scores = HIDDEN, SEQUENCE, BATCH * HEADS
    column, row = ("column", "row") if shards else ("", "")
    product = {"batch": scores, "m": s, "n": s, "k": h // HEADS}
    operators = [
        pointwise("norm1", h, op="norm"),
        *(gemm(name, TOKENS, h, h, "norm1", shard=column) for name in ("q", "k", "v")),
        Operator("scores", "gemm", product, inputs=("q", "k")),
        pointwise("softmax", s, "scores", op="softmax", rows=scores * s),
        pointwise("score_dropout", s, "softmax", rows=scores * s),
        Operator("values", "gemm", {**product, "n": h // HEADS, "k": s}, inputs=("score_dropout", "v")),
        gemm("out", TOKENS, h, h, "values", shard=row),
        pointwise("out_dropout", h, "out"),
        pointwise("sum1", h, "out_dropout", "", operands=2),
        pointwise("norm2", h, "sum1", op="norm"),
        gemm("up", TOKENS, 4 * h, h, "norm2", shard=column),
        replace(pointwise("gelu", 4 * h, "up", flop_per_element=8), shard="hidden" if shards else ""),
        gemm("down", TOKENS, h, 4 * h, "gelu", shard=row),
        pointwise("down_dropout", h, "down"),
        pointwise("sum2", h, "down_dropout", "sum1", operands=2),
    ]
    if not dropout:
        skipped = {o.name: o.inputs[0] for o in operators if o.name.endswith("dropout")}
        operators = [
            replace(o, inputs=tuple(skipped.get(i, i) for i in o.inputs)) for o in operators if o.name not in skipped
        ]
    embed = Operator("embed", "embedding", {"rows": TOKENS, "hidden": h}, parameters=1000.0 * h)
    return WorkloadGraph("gpt", (Block("embed", (embed,)), Block("layers", tuple(operators), layers)))


def test_a_layer_with_dropout_keeps_what_korthikanti_et_al_count() -> None:
    """Equation 1 of the paper: 34 s b h + 5 a s^2 b bytes for a layer."""
    kept = 34 * TOKENS * HIDDEN + 5 * HEADS * SEQUENCE**2 * BATCH
    assert float(retained_bytes(transformer(3, dropout=True))) == 3 * kept


def test_without_dropout_masks_and_the_dropped_scores_are_not_kept() -> None:
    kept = 32 * TOKENS * HIDDEN + 2 * HEADS * SEQUENCE**2 * BATCH
    assert float(retained_bytes(transformer())) == kept


def test_selective_recomputation_keeps_nothing_quadratic_in_the_sequence() -> None:
    """Equation 6 of the paper without parallelism: 34 s b h."""
    assert float(retained_bytes(transformer(2, dropout=True), "selective")) == 2 * 34 * TOKENS * HIDDEN


def test_full_recomputation_keeps_the_input_of_each_layer_and_one_layer_whole() -> None:
    """2 s b h for each layer (Korthikanti et al. 2022, section 5), and what the one being recomputed needs."""
    kept = 34 * TOKENS * HIDDEN + 5 * HEADS * SEQUENCE**2 * BATCH
    entry = 2 * TOKENS * HIDDEN
    assert float(retained_bytes(transformer(6, dropout=True), "full")) == 6 * entry + kept - entry


def test_a_flash_attention_layer_keeps_its_row_sums_in_place_of_the_scores() -> None:
    shape = {"batch": BATCH, "q_len": SEQUENCE, "heads": HEADS, "head_dim": HIDDEN // HEADS}
    operators = (
        pointwise("norm", HIDDEN, op="norm"),
        gemm("qkv", TOKENS, 3 * HIDDEN, HIDDEN, "norm"),
        Operator("attention", "attention", shape, inputs=("qkv",)),
        gemm("out", TOKENS, HIDDEN, HIDDEN, "attention"),
    )
    entry, normed, qkv, output, row_sums = 2, 2, 6, 2, 4 * HEADS * TOKENS
    embed = transformer().blocks[0]
    graph = WorkloadGraph("g", (embed, Block("layer", operators)))
    assert float(retained_bytes(graph)) == (entry + normed + qkv + output) * TOKENS * HIDDEN + row_sums


def test_tensor_parallelism_divides_what_korthikanti_et_al_divide() -> None:
    """Equation 2 of the paper: s b h (10 + 24 / t); the part of the scores is left out here."""
    graph = transformer(dropout=True, shards=True)
    scores = {"scores", "softmax", "score_dropout", "values"}
    attention = {"batch": BATCH, "q_len": SEQUENCE, "heads": HEADS, "head_dim": HIDDEN // HEADS}
    fused = Operator("values", "attention", attention, inputs=("q", "k", "v"), shard="heads")
    operators = [
        fused if o.name == "values" else o for o in graph.blocks[1].operators if o.name not in scores - {"values"}
    ]
    graph = replace(graph, blocks=(graph.blocks[0], replace(graph.blocks[1], operators=tuple(operators))))
    for t in (1, 2, 4):
        expected = TOKENS * HIDDEN * (10 + 24 / t) + 4 * HEADS / t * TOKENS
        assert float(retained_bytes(graph, mapping=Mapping(tp=t))) == expected


def test_adapters_keep_less_than_full_training_and_stages_hold_microbatches_in_flight() -> None:
    graph = transformer(8)
    frozen = tuple(
        replace(b, operators=tuple(replace(o, trainable=o.name == "q") for o in b.operators)) for b in graph.blocks
    )
    assert float(retained_bytes(replace(graph, blocks=frozen))) < float(retained_bytes(graph))
    layer = float(retained_bytes(transformer()))
    assert float(retained_bytes(graph, mapping=Mapping(pp=4), microbatches=1)) == 2 * layer
    assert float(retained_bytes(graph, mapping=Mapping(pp=4), microbatches=16)) == 4 * 2 * layer


def test_scenarios_of_a_step_equal_one_after_the_other() -> None:
    tokens = np.array([8.0, 32.0, 80.0])

    def net(rows: Any) -> WorkloadGraph:
        act = Operator("act", "elementwise", {"rows": rows, "hidden": 32, "flop_per_element": 8}, inputs=("up",))
        return graph_of(gemm("up", rows, 32, 16), act, gemm("down", rows, 16, 32, "act"), count=2)

    together = training(net(tokens), np.ones(3))
    lowered = lower(together.passes)
    kept = retained_bytes(net(tokens))
    for s, size in enumerate(tokens):
        alone = lower(training(net(size)).passes)
        for passed in range(3):
            rows = (lowered.pass_index == passed) & (lowered.scenario == s)
            flops = np.broadcast_to(count_work(lowered.table).flop, lowered.table.rows) * lowered.table.full("count")
            assert flops[rows].sum() == total(alone, passed) + total(alone, passed, "vector_flop")
        assert kept[s] == retained_bytes(net(size))


def test_every_row_of_a_step_is_an_operator_that_can_run() -> None:
    shape = {"tokens": TOKENS, "hidden": HIDDEN, "inter": 32, "experts": 4, "topk": 2}
    moe = Operator("moe", "moe", shape, parameters=4 * 3 * HIDDEN * 32.0, shard="experts")
    graph = transformer(2, dropout=True)
    graph = replace(graph, blocks=(*graph.blocks, Block("moe", (moe,), 2)), boundary_elements=TOKENS * HIDDEN)
    for recompute in ("none", "selective", "full"):
        step = training(graph, optimizer="muon", recompute=recompute, zero_stage=3)
        lowered = lower(step.passes, Mapping(dp=2, pp=2, ep=2))
        assert lowered.table.faults() == []


def test_the_examples_of_the_page_on_training_are_true(repository: Path) -> None:
    assert doctest.testfile(str(repository / "docs" / "training.md"), module_relative=False) == (0, 14)


@pytest.mark.parametrize("tp", [2, 4, 8])
def test_memory_measured_with_megatron_on_eight_b200_is_never_promised_away(shared_data: Path, tp: int) -> None:
    """Llama-3-70B cut to 12 layers, dp = 8 / tp. At tp=4 and 8 too much is asked for (docs/training.md), never less."""
    from workloads.catalogue import load_model
    from workloads.model import Request

    with (shared_data / "simumax" / "b200_cases.csv").open() as lines:
        rows = [
            row
            for row in csv.DictReader(lines)
            if (row["model"], row["layers"], row["tp"], row["pp"]) == ("llama3-70b", "12", str(tp), "1")
        ]
    step = load_model("llama-3.1-70b", {"layers": 12}).workload(Request(batch=1, prompt=4096, mode="train"))
    mapping = Mapping(tp=tp, dp=8 // tp)
    state = state_bytes(step.graph, "adamw_wide_gradients", mapping=mapping, zero_stage=1)
    found = (state.total_bytes + float(np.max(step.retained_bytes(mapping)))) / 2**30
    assert rows
    for row in rows:
        measured = float(row["real_alloc_gib"])
        assert found > 0.99 * measured
        if tp == 2:
            assert found == pytest.approx(measured, rel=0.01)
