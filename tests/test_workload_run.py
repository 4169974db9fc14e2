"""A prediction run in time: the same rows that are added up, on engines that may overlap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archcast as ac
from archcast.simulation import timeline_of
from costmodel.costs import OpCosts
from simulator.clock import PICOSECONDS_PER_SECOND, to_ticks
from simulator.timeline import Timeline
from simulator.workload_run import MAX_TASKS, run_workload
from workloads.graph import Block, Operator, Pass, Workload, WorkloadGraph
from workloads.lowering import Lowered, lower
from workloads.mapping import Mapping


def op(name: str, *inputs: str, kind: str = "norm", fused: bool = False) -> Operator:
    shape: dict[str, Any] = {"rows": 1, "hidden": 1}
    if kind == "collective":
        shape = {"kind": "all_reduce", "bytes": 8, "ranks": 2}
    return Operator(name, kind, shape, inputs=inputs or ("",), fused=fused)


def workload_of(*blocks: Block, boundary: float = 0.0) -> Workload:
    return Workload("drawn", (Pass("forward", WorkloadGraph("drawn", blocks, boundary)),))


def costs_of(lowered: Lowered, **latency_s: float) -> OpCosts:
    costs = OpCosts.empty(lowered.table.rows)
    costs.latency_s[:] = [latency_s.get(label.replace(".", "_"), 1.0) for label in lowered.table.labels]
    return costs


def run(workload: Workload, stages: int = 1, **latency_s: float) -> Timeline:
    lowered = lower(workload.passes, Mapping(pp=stages))
    return run_workload(workload, lowered, costs_of(lowered, **latency_s), stages)


def starts(timeline: Timeline) -> dict[str, float]:
    return dict(zip(timeline.graph.names, (timeline.start_ticks / PICOSECONDS_PER_SECOND).tolist(), strict=True))


@given(seconds=st.lists(st.floats(1e-9, 1e-2), min_size=1, max_size=12), count=st.integers(1, 5))
def test_a_chain_takes_the_sum_of_its_ticks(seconds: list[float], count: int) -> None:
    names = [f"op{i}" for i in range(len(seconds))]
    operators = tuple(op(name, *names[max(i - 1, 0) : i]) for i, name in enumerate(names))
    timeline = run(workload_of(Block("one", operators, count=count)), **dict(zip(names, seconds, strict=True)))
    assert timeline.makespan_ticks == count * int(to_ticks(seconds).sum())


def test_branches_on_different_engines_overlap() -> None:
    # a (1 s); then compute (5 s) beside the links (3 s); then the join (2 s)
    operators = (op("a"), op("math", "a"), op("sum", "a", kind="collective"), op("join", "math", "sum"))
    timeline = run(workload_of(Block("fork", operators)), a=1, math=5, sum=3, join=2)
    assert timeline.makespan_s == 8
    assert starts(timeline)["forward/fork/sum"] == starts(timeline)["forward/fork/math"] == 1


def test_branches_on_one_engine_do_not() -> None:
    operators = (op("a"), op("left", "a"), op("right", "a"), op("join", "left", "right"))
    assert run(workload_of(Block("fork", operators)), left=5, right=3).makespan_s == 10


def test_what_follows_a_fused_join_waits_for_both_branches() -> None:
    # the fused sum reads the short branch first: the reader must still wait for the long one on the links
    branches = op("a"), op("short", "a"), op("long", "a", kind="collective")
    operators = (*branches, op("sum", "short", "long", fused=True), op("b", "sum"))
    timeline = run(workload_of(Block("fork", operators)), short=1, long=9)
    assert starts(timeline)["forward/fork/b"] == 10


def test_a_block_waits_for_the_block_before_it() -> None:
    first, second = Block("one", (op("a"),)), Block("two", (Operator("free", "collective", {
        "kind": "all_reduce", "bytes": 8, "ranks": 2}, inputs=()),))  # fmt: skip
    timeline = run(workload_of(first, second), a=4)
    assert starts(timeline) == {"forward/one/a": 0, "forward/two/free": 4}


def test_stages_pass_activations_on_with_a_send() -> None:
    timeline = run(workload_of(Block("layer", (op("a"),), count=4), boundary=16), stages=2, a=1, stage_send=0.5)
    assert timeline.makespan_s == 4.5
    assert starts(timeline)["forward/send to stage 1"] == 2
    assert {e.name for e in timeline.graph.engines} == {"stage 0 compute", "stage 0 links", "stage 1 compute"}


def test_a_graph_without_boundary_has_no_sends() -> None:
    timeline = run(workload_of(Block("layer", (op("a"),), count=4)), stages=2, a=1)
    assert timeline.makespan_s == 4
    assert len(timeline) == 4


def test_very_many_repeats_become_one_task_each_and_take_as_long() -> None:
    count = MAX_TASKS * 3
    timeline = run(workload_of(Block("layer", (op("a"), op("b", "a")), count=count)), a=1e-6, b=2e-6)
    assert len(timeline) <= MAX_TASKS
    assert timeline.makespan_ticks == count * 3_000_000


def test_a_vision_network_on_one_device_takes_as_long_as_predicted() -> None:
    found = ac.predict("resnet-50", on="h100-sxm", batch=4)
    timeline = timeline_of(found)
    assert timeline is not None
    assert found.latency_s is not None
    assert timeline.makespan_s == pytest.approx(found.latency_s.value, rel=1e-6)


@settings(max_examples=8)
@given(
    name=st.sampled_from(("gpt-2", "mixtral-8x7b", "mamba-2.8b", "t5-large")), batch=st.integers(1, 8),
    sizes=st.sampled_from(({}, {"tp": 2}, {"pp": 2}, {"tp": 2, "pp": 2})),
)  # fmt: skip
def test_no_run_is_longer_than_its_serial_sum_or_shorter_than_its_bound(
    name: str, batch: int, sizes: dict[str, int]
) -> None:
    if name == "mamba-2.8b":
        sizes = {}
    found = ac.predict(name, on="h200-sxm", batch=batch, prompt=64, generate=9, **sizes)
    timeline = timeline_of(found)
    assert timeline is not None
    low, high = timeline.graph.bounds_ticks
    assert low <= timeline.makespan_ticks <= high
    assert np.isfinite(timeline.makespan_s)


@pytest.mark.parametrize("sizes", [{}, {"tp": 2}, {"pp": 2}, {"tp": 2, "pp": 4}, {"dp": 2}])
def test_prefill_and_one_decode_step_take_as_long_as_predicted(sizes: dict[str, int]) -> None:
    # generate=2 is one decode step; the operators of a dense model stand in one chain, whatever engines they run on
    found = ac.predict("llama-3.1-8b", on="h100-sxm", batch=4, prompt=100, generate=2, **sizes)
    timeline = timeline_of(found)
    assert timeline is not None
    assert found.latency_s is not None
    assert timeline.makespan_s == pytest.approx(found.latency_s.value, rel=1e-6)


def test_what_does_not_fit_has_no_timeline() -> None:
    assert timeline_of(ac.predict("llama-3.1-70b", on="h100-sxm")) is None
