"""Alignment of traces with workload graphs: real traces, hand-made graphs, and what must hold of any alignment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.alignment import Alignment, align
from costmodel.measured.base import ImportRequest, find_importer
from costmodel.measured.kineto import read_kineto
from costmodel.measured.onnxruntime import read_onnxruntime
from costmodel.measured.trace_rows import Trace, TraceRow
from foundation.errors import BadValueError
from workloads.catalogue import load_model
from workloads.graph import Block, Operator, Pass, Workload, WorkloadGraph
from workloads.measurements import MeasurementTable
from workloads.model import Request

TRACES = Path(__file__).parent / "fixtures" / "traces"


def workload(name: str, **request: Any) -> Workload:
    return load_model(name).workload(Request(**request))


def linear(name: str, m: int, n: int, k: int) -> Operator:
    return Operator(name, "gemm", {"m": m, "n": n, "k": k})


def light(name: str, op: str, elements: int, *, fused: bool = False) -> Operator:
    return Operator(name, op, {"rows": elements, "hidden": 1}, fused=fused)


def network(*blocks: Block) -> Workload:
    return Workload("net", (Pass("forward", WorkloadGraph("net", blocks)),))


def row(op: str, latency_s: float = 1e-3, name: str = "", family: str = "", **shape: float) -> TraceRow:
    return TraceRow(name or op, op, shape, latency_s, family=family)


def gemm(m: int, n: int, k: int, name: str = "aten::linear", latency_s: float = 1e-3) -> TraceRow:
    return row("gemm", latency_s, name, m=m, n=n, k=k)


def rows_of(graph: Workload, repeats: int = 1) -> list[TraceRow]:
    """Return the trace that a program would leave that runs each operator of a workload alone."""
    once = [
        TraceRow(
            o.name, o.op, {n: v if isinstance(v, str) else float(np.ravel(v)[0]) for n, v in o.shape.items()}, 1e-3
        )
        for run in graph.passes
        for block in run.graph.blocks
        for _ in range(block.count)
        for o in block.operators
    ]
    return once * repeats


def how(found: Alignment) -> list[str]:
    return [match.how for match in found.matches]


# --- real traces -----------------------------------------------------------------------------------------------------
def test_each_row_of_a_real_resnet_18_finds_its_operator() -> None:
    found = align(read_kineto(TRACES / "resnet18_cpu.json.gz"), workload("resnet-18", batch=2))
    assert (len(found.matches), found.rows_alone, found.operators_alone) == (68, (), ())
    assert found.time_share == pytest.approx(1.0)
    measured = found.latency_s()
    assert measured["forward/stem/conv"] == pytest.approx(33694.062e-6)
    assert measured["forward/stage2.0/shortcut"] == pytest.approx(734.2e-6, rel=1e-3), "a branch out of order"
    assert how(found).count("moved") > 0


def test_separate_products_of_a_real_bert_are_joined() -> None:
    found = align(read_kineto(TRACES / "bert_cpu.json.gz"), workload("bert-base", batch=2, prompt=64))
    assert how(found).count("joined") == 12
    joined = next(match for match in found.matches if match.how == "joined")
    assert [found.rows[i].name for i in joined.rows] == ["aten::linear"] * 3
    assert found.operators[joined.operators[0]].place == "forward/layers.0/qkv"
    assert found.time_share > 0.95
    assert found.heavy_share == 1.0
    assert "no operator for: aten::add" in found.text()


def test_a_real_onnxruntime_profile_of_two_runs_has_operators_taken_in() -> None:
    found = align(read_onnxruntime(TRACES / "onnxruntime_resnet50.json.gz"), workload("resnet-50", batch=1))
    assert found.repeats == 2
    assert found.heavy_share == 1.0
    assert found.time_share > 0.99
    stem = next(match for match in found.matches if found.operators[match.operators[0]].place == "forward/stem/conv")
    assert [found.operators[j].operator.name for j in stem.fused] == ["conv.bn", "conv.relu"]
    key = "forward/stem/conv + forward/stem/conv.bn + forward/stem/conv.relu"
    runs = [r.latency_s for r in found.rows if r.name.startswith("stem.act")]
    assert found.latency_s()[key] == pytest.approx(np.median(runs))
    assert found.to_json()["repeats"] == 2


def test_a_trace_of_another_workload_is_refused_in_one_sentence_with_the_best_share() -> None:
    resnet = read_kineto(TRACES / "resnet18_cpu.json.gz")
    with pytest.raises(BadValueError, match=r"does not look like bert-base: at best 0% of its products") as refused:
        align(resnet, workload("bert-base", batch=2))
    assert "\n" not in str(refused.value)
    with pytest.raises(BadValueError, match="Most of the trace has a batch of 2, the workload 8"):
        align(resnet, workload("resnet-18", batch=8))
    profile = read_onnxruntime(TRACES / "onnxruntime_resnet50.json.gz")
    with pytest.raises(BadValueError, match=r"at best \d\d% of the trace's products"):
        align(profile, workload("resnet-18", batch=1))


def test_an_import_keeps_the_rows_of_the_workload_that_it_names() -> None:
    path = TRACES / "resnet18_cpu.json.gz"
    options = {"device": "xeon-8592-plus", "workload": "resnet-18", "batch": "2"}
    request = ImportRequest(path, options=options)
    (table,) = find_importer("kineto").load(request)
    assert isinstance(table, MeasurementTable)
    assert table.value("n_repeat").sum() == 68
    with pytest.raises(BadValueError, match="does not look like resnet-50"):
        list(find_importer("kineto").load(ImportRequest(path, options={**options, "workload": "resnet-50"})))


# --- by hand ---------------------------------------------------------------------------------------------------------
def test_a_repeated_block_is_written_out() -> None:
    graph = network(Block("layers", (linear("up", 8, 64, 16), linear("down", 8, 16, 64)), count=3))
    found = align([gemm(8, 64, 16), gemm(8, 16, 64)] * 3, graph)
    assert [found.operators[m.operators[0]].place for m in found.matches] == [
        f"forward/layers.{i}/{name}" for i in range(3) for name in ("up", "down")
    ]
    assert found.repeats == 1


def test_runs_of_the_workload_are_counted_and_their_median_taken() -> None:
    graph = network(Block("layers", (linear("up", 8, 64, 16), linear("down", 8, 16, 64))))
    rows = [gemm(8, n, k, latency_s=t * 1e-3) for t in (9, 2, 4) for n, k in ((64, 16), (16, 64))]
    found = align(rows, graph)
    assert found.repeats == 3
    assert found.latency_s() == {"forward/layers/up": 4e-3, "forward/layers/down": 4e-3}


def test_equal_shapes_are_told_apart_by_name_then_by_order() -> None:
    graph = network(Block("b", tuple(linear(name, 8, 16, 16) for name in ("query", "key", "value"))))
    found = align([gemm(8, 16, 16, "key"), gemm(8, 16, 16, "value")], graph)
    assert [found.operators[m.operators[0]].operator.name for m in found.matches] == ["key", "value"]
    found = align([gemm(8, 16, 16)] * 3, graph)
    assert [m.rows[0] for m in found.matches] == [0, 1, 2]


def test_one_row_may_be_several_products_of_the_graph() -> None:
    graph = network(Block("b", (*(linear(name, 8, 16, 32) for name in "qkv"), linear("o", 8, 32, 16))))
    found = align([gemm(8, 48, 32), gemm(8, 32, 16)], graph)
    assert found.matches[0].operators == (0, 1, 2)
    assert how(found) == ["joined", "shape"]
    assert found.operators_alone == ()


def test_attention_in_parts_is_one_operator() -> None:
    heads, length, size = 8, 32, 16
    attention = Operator("attention", "attention", {"batch": 2, "heads": 4, "q_len": length, "kv_len": length,
                                                    "head_dim": size})  # fmt: skip
    graph = network(Block("b", (linear("qkv", 64, 192, 64), attention, linear("o", 64, 64, 64))))
    rows = [
        gemm(64, 192, 64), row("gemm", batch=heads, m=length, n=length, k=size),
        row("elementwise", rows=heads * length, hidden=length), row("softmax", rows=heads * length, hidden=length),
        row("gemm", batch=heads, m=length, n=size, k=length), gemm(64, 64, 64),
    ]  # fmt: skip
    found = align(rows, graph)
    assert [match.rows for match in found.matches] == [(0,), (1, 2, 3, 4), (5,)]
    assert found.time_share == 1.0


def test_light_operators_without_a_row_ran_inside_the_row_before() -> None:
    graph = network(Block("b", (linear("up", 8, 64, 16), light("act", "elementwise", 512), linear("down", 8, 16, 64))))
    found = align([gemm(8, 64, 16), gemm(8, 16, 64)], graph)
    assert found.matches[0].fused == (1,)
    other = align([gemm(8, 64, 16), row("elementwise", rows=99, hidden=1), gemm(8, 16, 64)], graph)
    assert (other.matches[0].fused, other.rows_alone, other.operators_alone) == ((), (1,), (1,)), "of another size"


def test_a_heavy_operator_without_a_row_is_without_a_measurement() -> None:
    graph = network(Block("b", (linear("up", 8, 64, 16), linear("mid", 8, 48, 64), linear("down", 8, 16, 48))))
    found = align([gemm(8, 64, 16), gemm(8, 16, 48)], graph)
    assert found.operators_alone == (1,)
    assert found.heavy_share == pytest.approx(2 / 3)
    assert "no measurement for: forward/b/mid" in found.text()


def test_rows_without_shapes_are_paired_by_family_and_order_where_counts_agree() -> None:
    graph = network(Block("b", (linear("up", 8, 64, 16), light("act", "elementwise", 512), linear("down", 8, 16, 64))))
    kernels = [row("", name="sgemm", family="gemm"), row("", name="relu", family="elementwise"),
               row("", name="sgemm", family="gemm")]  # fmt: skip
    found = align(kernels, graph)
    assert how(found) == ["order"] * 3
    with pytest.raises(BadValueError, match="No row of the trace has a shape"):
        align(kernels[:2], graph)


def test_what_is_too_long_to_align_is_refused() -> None:
    graph = network(Block("layers", (linear("up", 8, 64, 16),), count=9_000))
    with pytest.raises(BadValueError, match="too long"):
        align([gemm(8, 64, 16)] * 9_000, graph)
    with pytest.raises(BadValueError, match="more than 300,000 operators"):
        align([gemm(8, 64, 16)], network(Block("layers", (linear("up", 8, 64, 16),), count=400_000)))


def test_many_runs_are_aligned_in_groups_as_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of(workload("bert-tiny", batch=2, prompt=16), 30)
    del rows[100:103], rows[40]
    rows.insert(55, gemm(7, 7, 7))
    graph = workload("bert-tiny", batch=2, prompt=16)
    whole = align(rows, graph, repeats=30)
    monkeypatch.setattr("costmodel.alignment.MAX_CELLS", 20_000)  # all at once: 474,030
    parts = align(rows, graph, repeats=30)
    assert parts.matches == whole.matches
    assert len(parts.rows_alone) == 1


def test_an_empty_trace_is_of_no_workload() -> None:
    with pytest.raises(BadValueError, match="No row of the trace has a shape"):
        align(Trace("t", "", "", "", "", ()), network(Block("b", (linear("up", 8, 64, 16),))))


# --- what must hold of any alignment ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "request_", "repeats"),
    [("resnet-18", {"batch": 4}, 3), ("bert-tiny", {"batch": 2, "prompt": 16}, 5), ("mobilevit-xs", {"batch": 1}, 1)],
)
def test_a_trace_of_a_workload_itself_aligns_whole(name: str, request_: dict[str, int], repeats: int) -> None:
    graph = workload(name, **request_)
    found = align(rows_of(graph, repeats), graph)
    assert found.repeats == repeats
    assert (found.rows_alone, found.operators_alone) == ((), ())
    assert [match.rows for match in found.matches] == [(i,) for i in range(len(found.rows))]


RESNET = workload("resnet-18", batch=1)
WHOLE = rows_of(RESNET)


def check_once(found: Alignment) -> None:
    rows = [i for match in found.matches for i in match.rows]
    operators = [j for match in found.matches for j in (*match.operators, *match.fused)]
    assert len(rows) == len(set(rows))
    assert len(operators) == len(set(operators))
    assert sorted((*rows, *found.rows_alone)) == list(range(len(found.rows)))
    assert sorted((*operators, *found.operators_alone)) == list(range(len(found.operators)))
    assert 0 <= found.time_share <= 1 + 1e-12


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, len(WHOLE) - 1), max_size=15), st.lists(st.integers(0, len(WHOLE)), max_size=8))
def test_rows_lost_and_strangers_gained_never_pair_anything_twice(lost: Sequence[int], gained: Sequence[int]) -> None:
    rows = [r for i, r in enumerate(WHOLE) if i not in lost]
    for place in gained:
        rows.insert(min(place, len(rows)), row("gemm", m=7, n=7, k=place + 1))
    found = align(rows, RESNET, repeats=1, least_share=0.0)
    check_once(found)
    shapes = {row("gemm", m=7, n=7, k=place + 1).shape["k"] for place in gained}
    strangers = {i for i, r in enumerate(rows) if r.op == "gemm" and r.shape["m"] == 7 and r.shape["k"] in shapes}
    assert strangers <= set(found.rows_alone), "a stranger has no partner"
    kept = len(rows) - len(strangers)
    assert len(found.trace_indices()) >= 0.9 * kept, "strangers do not drive rows from their places"


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(20)))
def test_rows_in_any_order_are_paired_at_most_once(order: Sequence[int]) -> None:
    rows = [replace(WHOLE[i], start_s=float(at)) for at, i in enumerate(order)]
    check_once(align(rows, RESNET, least_share=0.0))
