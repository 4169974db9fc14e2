"""Lowering: what one device executes under a mapping, for repeats, scenarios and parallel sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BadValueError, MappingError, UnknownNameError
from workloads.graph import Block, Operator, Pass, WorkloadGraph, ordered
from workloads.lowering import Lowered, lower
from workloads.mapping import Mapping
from workloads.work import count_work

HIDDEN, INTER, HEADS, VOCAB, TOKENS = 64, 256, 8, 96, 32


def gemm(name: str, n: int, k: int, shard: Any, *inputs: str, m: Any = TOKENS) -> Operator:
    return Operator(
        name, "gemm", {"m": m, "n": n, "k": k}, inputs=inputs or ("",), shard=shard, parameters=float(n * k)
    )


def layer(tokens: Any = TOKENS) -> Block:
    """A transformer layer with 8 heads of 8, sharded as Megatron-LM does."""
    attention = {"batch": 1, "q_len": tokens, "heads": HEADS, "kv_heads": 4, "head_dim": 8}
    return Block(
        "layer",
        (
            Operator("norm", "norm", {"rows": tokens, "hidden": HIDDEN}, parameters=float(HIDDEN)),
            gemm("qkv", 128, HIDDEN, "column", "norm", m=tokens),
            Operator("attention", "attention", attention, inputs=("qkv",), shard="heads"),
            gemm("out", HIDDEN, HIDDEN, "row", "attention", m=tokens),
            gemm("up", INTER, HIDDEN, "column", "out", m=tokens),
            Operator("act", "elementwise", {"rows": tokens, "hidden": INTER}, inputs=("up",), shard="hidden"),
            gemm("down", HIDDEN, INTER, "row", "act", m=tokens),
        ),
        count=3,
    )


def model(tokens: Any = TOKENS) -> WorkloadGraph:
    head = Block("head", (gemm("head", VOCAB, HIDDEN, "logits", m=tokens),))
    return WorkloadGraph("small", (layer(tokens), head), boundary_elements=tokens * HIDDEN)


def total(lowered: Lowered, field: str = "matrix_flop", scenario: int | None = None) -> float:
    rows = lowered.table.rows
    values = np.broadcast_to(getattr(count_work(lowered.table), field), rows) * lowered.table.full("count")
    return float(values.sum() if scenario is None else values[lowered.scenario == scenario].sum())


def once(graph: WorkloadGraph, mapping: Mapping | None = None, times: Any = 1.0) -> Lowered:
    return lower((Pass("forward", graph, times),), mapping or Mapping())


def row(lowered: Lowered, label: str) -> dict[str, float]:
    (index,) = [i for i, name in enumerate(lowered.table.labels) if name == label]
    return {name: float(lowered.table.full(name)[index]) for name in lowered.table.columns}


def test_flop_of_the_small_model_by_hand() -> None:
    # a layer: gemms 2 x 32 x (128 + 64 + 256 + 256) x 64, attention 2 x (32 x 33 / 2) x 16 x 8; head 2 x 32 x 96 x 64
    layers = 3 * (2 * 32 * 704 * 64 + 2 * 528 * 16 * 8)
    assert total(once(model())) == layers + 2 * 32 * 96 * 64 == 9_449_472


def test_a_repeated_block_equals_the_unrolled_graph() -> None:
    graph = model()
    rolled, unrolled = once(graph), once(graph.unrolled())
    assert unrolled.table.rows == 3 * 7 + 1
    for field in ("matrix_flop", "vector_flop", "weight_bytes", "input_bytes", "output_bytes"):
        assert total(rolled, field) == total(unrolled, field)
    assert graph.parameters == graph.unrolled().parameters
    assert graph.macs() == graph.unrolled().macs()


def test_a_shared_block_runs_every_repeat_and_stores_one() -> None:
    block = replace(layer(), shared=True)
    shared, own = WorkloadGraph("shared", (block,)), WorkloadGraph("own", (layer(),))
    assert total(once(shared)) == total(once(own))
    assert shared.parameters * 3 == own.parameters


@pytest.mark.parametrize("tp", [2, 4, 8])
def test_the_ranks_of_tensor_parallelism_share_all_matrix_work(tp: int) -> None:
    assert total(once(model(), Mapping(tp=tp))) * tp == total(once(model()))


def test_a_row_parallel_operator_ends_in_an_all_reduce_that_bears_its_name() -> None:
    lowered = once(model(), Mapping(tp=4))
    assert row(lowered, "down.row")["k"] == INTER / 4
    reduced = row(lowered, "down")
    assert (reduced["kind"], reduced["ranks"], reduced["bytes"]) == (1, 4, TOKENS * HIDDEN * 2)
    gathered = row(lowered, "head")
    assert (gathered["kind"], gathered["bytes"]) == (2, TOKENS * VOCAB * 2)


def test_what_one_rank_stores_of_a_divided_operator_is_its_part() -> None:
    lowered = once(model(), Mapping(tp=4))
    stored = sum(o.parameters for o in lowered.operators[0][0])
    whole = sum(o.parameters for o in layer().operators)
    assert stored == (whole - HIDDEN) / 4 + HIDDEN  # the norm is on every rank


def test_fewer_key_value_heads_than_ranks_are_copied() -> None:
    attention = row(once(model(), Mapping(tp=8)), "attention")
    assert (attention["heads"], attention["kv_heads"]) == (1, 1)


def test_a_tp_that_does_not_divide_the_heads_is_an_error_with_those_that_do() -> None:
    with pytest.raises(MappingError, match=r"tp=3 does not divide the 8 heads of 'attention'.*\[1, 2, 4, 8\]"):
        once(model(), Mapping(tp=3))


def test_a_tp_that_does_not_fit_the_key_value_heads_is_an_error() -> None:
    shape = {"batch": 1, "q_len": 4, "heads": 12, "kv_heads": 4, "head_dim": 8}
    graph = WorkloadGraph("g", (Block("b", (Operator("attention", "attention", shape, shard="heads"),)),))
    with pytest.raises(MappingError, match="tp=6 neither divides nor is a multiple of the 4 key-value heads"):
        once(graph, Mapping(tp=6))


def test_parallel_sizes_below_one_are_refused() -> None:
    with pytest.raises(BadValueError, match="tp must be a whole number from 1"):
        Mapping(tp=0)


def test_pipeline_stages_send_once_between_them() -> None:
    lowered = once(model(), Mapping(pp=3))
    sent = row(lowered, "stage.send")
    assert (sent["count"], sent["bytes"], sent["kind"]) == (2, TOKENS * HIDDEN * 2, 5)
    assert total(lowered) == total(once(model()))


def test_a_graph_that_hands_nothing_on_has_no_send() -> None:
    graph = replace(model(), boundary_elements=0.0)
    assert "stage.send" not in once(graph, Mapping(pp=2)).table.labels


def experts(tokens: Any = TOKENS) -> WorkloadGraph:
    shape = {"tokens": tokens, "hidden": HIDDEN, "inter": 32, "experts": 8, "topk": 2}
    moe = Operator("experts", "moe", shape, shard="experts", parameters=8.0 * 3 * HIDDEN * 32)
    return WorkloadGraph("moe", (Block("block", (moe,)),))


@pytest.mark.parametrize("mapping", [Mapping(tp=4), Mapping(tp=4, ep=2), Mapping(tp=4, ep=4), Mapping(tp=8, ep=8)])
def test_experts_over_ranks_share_all_matrix_work_and_parameters(mapping: Mapping) -> None:
    lowered = once(experts(), mapping)
    assert total(lowered) * mapping.tp == total(once(experts()))
    stored = sum(o.parameters for o in lowered.operators[0][0])
    assert stored * mapping.tp == experts().parameters


def test_replicas_that_share_experts_send_them_the_tokens_of_all() -> None:
    # 4 replicas of 32 tokens: 128 tokens x 2 choices over 4 ranks are 64 rows a rank, as many as one replica alone has
    lowered = once(experts(), Mapping(dp=4, ep=4))
    assert total(lowered) == total(once(experts()))
    labels = ("experts.dispatch", "experts.experts", "experts")
    assert lowered.table.labels == labels
    # a rank's own 32 tokens, each to 2 of the 4 ranks
    assert row(lowered, "experts.dispatch")["bytes"] == 32 * 2 * HIDDEN * 2


def test_an_ep_that_does_not_divide_the_experts_is_an_error() -> None:
    with pytest.raises(MappingError, match="ep=3 does not divide the 8 experts"):
        once(experts(), Mapping(tp=3, ep=3))
    with pytest.raises(MappingError, match="ep=3 does not divide the 4 ranks"):
        Mapping(tp=4, ep=3)


@given(tokens=st.lists(st.integers(1, 500), min_size=1, max_size=4), tp=st.sampled_from([1, 2, 4]))
def test_scenarios_at_once_equal_one_after_the_other(tokens: list[int], tp: int) -> None:
    mapping = Mapping(tp=tp)
    together = once(model(np.array(tokens, float)), mapping)
    for s, size in enumerate(tokens):
        alone = once(model(float(size)), mapping)
        for field in ("matrix_flop", "vector_flop", "weight_bytes", "input_bytes", "output_bytes", "link_bytes"):
            assert total(together, field, s) == pytest.approx(total(alone, field), rel=1e-12)


def test_an_operator_that_is_the_same_in_all_scenarios_has_a_row_in_each() -> None:
    head = Block("head", (gemm("head", VOCAB, HIDDEN, ""),))
    graph = WorkloadGraph("mixed", (layer(np.array([8.0, 16.0])), head))
    lowered = once(graph)
    assert lowered.table.rows == 2 * 8
    assert [int(s) for s in lowered.scenario[-2:]] == [0, 1]


def test_sizes_for_different_numbers_of_scenarios_are_refused() -> None:
    norm = layer(np.array([8.0, 16.0])).operators[0]
    graph = WorkloadGraph("g", (Block("b", (norm, gemm("qkv", 8, 8, "", m=np.ones(3)))),))
    with pytest.raises(BadValueError, match="'qkv' has sizes for 3 scenarios where its pass has 2"):
        once(graph)


def test_a_pass_runs_each_row_as_often_as_block_and_pass_together() -> None:
    lowered = once(model(), times=np.array([2.0, 5.0]))
    counts = lowered.table.full("count")
    assert counts[lowered.scenario == 0].tolist() == [6.0] * 7 + [2.0]
    assert counts[lowered.scenario == 1].tolist() == [15.0] * 7 + [5.0]


def test_every_row_knows_where_it_came_from() -> None:
    passes = (Pass("prefill", model()), Pass("decode", model(), np.array([3.0, 4.0])))
    lowered = lower(passes, Mapping(tp=2))
    for i, label in enumerate(lowered.table.labels):
        place = lowered.operators[lowered.pass_index[i]][lowered.block_index[i]][lowered.operator_index[i]]
        assert place.name == label
    assert sorted(set(lowered.scenario[lowered.pass_index == 1].tolist())) == [0, 1]


def test_a_fused_operator_has_no_row_and_keeps_its_place() -> None:
    block = layer()
    operators = tuple(replace(o, fused=o.name == "act") for o in block.operators)
    lowered = once(WorkloadGraph("fused", (replace(block, operators=operators),)))
    assert "act" not in lowered.table.labels
    assert lowered.operators[0][0][lowered.operator_index[-1]].name == "down"


def test_gradients_are_reduced_over_the_replicas_and_not_at_all_on_one() -> None:
    sync = Operator("sync", "collective", {"kind": "all_reduce", "bytes": 4096.0}, shard="gradients", state_shards=4.0)
    graph = WorkloadGraph("g", (Block("b", (sync,)),))
    assert once(graph).table.rows == 0
    reduced = row(once(graph, Mapping(dp=8, tp=2)), "sync")
    assert (reduced["ranks"], reduced["bytes"]) == (8, 2048)


def test_work_on_optimizer_state_is_divided_over_replicas_and_shards() -> None:
    update = Operator("update", "elementwise", {"rows": 1, "hidden": 960}, shard="ranks", state_shards=4.0)
    graph = WorkloadGraph("g", (Block("b", (update,)),))
    assert row(once(graph, Mapping(dp=5, tp=8)), "update")["hidden"] == 960 / (5 * 4)


def test_an_input_that_no_operator_produces_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="input of operator 'b' in block 'x', 'aa'"):
        Block("x", (gemm("a", 1, 1, ""), gemm("b", 1, 1, "", "aa")))


def test_two_operators_of_one_name_are_refused() -> None:
    with pytest.raises(BadValueError, match="two operators named 'a'"):
        Block("x", (gemm("a", 1, 1, ""), gemm("a", 1, 1, "")))


def test_operators_are_put_behind_their_inputs() -> None:
    found = ordered([gemm("c", 1, 1, "", "b"), gemm("b", 1, 1, "", "a"), gemm("a", 1, 1, "")])
    assert [o.name for o in found] == ["a", "b", "c"]


def test_a_cycle_is_named() -> None:
    with pytest.raises(BadValueError, match=r"form a cycle: .*a.*b"):
        ordered([gemm("a", 1, 1, "", "b"), gemm("b", 1, 1, "", "a")])


def test_the_networkx_graph_has_a_node_an_operator_and_an_edge_an_input() -> None:
    found = model().to_networkx()
    assert found.number_of_nodes() == 8
    assert found.has_edge("layer/down", "head/head")
    assert found.nodes["layer/up"]["parameters"] == INTER * HIDDEN
    assert model().to_networkx(unroll=True).number_of_nodes() == 3 * 7 + 1
