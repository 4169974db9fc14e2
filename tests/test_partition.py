"""How a network is divided between an accelerator and its host: parts, cuts and switches, counted by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import archcast as ac
from archcast.fallback import Fallback, as_run, costs_under_runtime
from archcast.question import find_target
from costmodel.memory import memory_of
from costmodel.partition import KERNELS, Partition, divide, kernel_of, refusals, written_out
from costmodel.protocol import PhysicsModel
from foundation.errors import UnsupportedError
from hardware_specs.runtimes import RuntimeSpec, load_runtime
from workloads.graph import BLOCK_INPUT, Block, Operator, Pass, Workload, WorkloadGraph
from workloads.lowering import Lowered, lower
from workloads.mapping import ONE_DEVICE
from workloads.table import OpTable

CONV: dict[str, Any] = {"batch": 1, "c_in": 8, "h": 16, "w": 16, "c_out": 8, "kh": 3, "kw": 3, "padding": 1}


def conv(name: str, source: str = BLOCK_INPUT, dtype: str = "int8", **sizes: Any) -> Operator:
    return Operator(name, "conv2d", CONV | sizes, dtype=dtype, inputs=(source,))


def pointwise(name: str, source: str, fused: bool = False) -> Operator:
    shape = {"rows": 256, "hidden": 8, "operands": 1, "flop_per_element": 4}
    return Operator(name, "elementwise", shape, dtype="int8", inputs=(source,), fused=fused)


def workload(*blocks: Block) -> Workload:
    return Workload("test", (Pass("forward", WorkloadGraph("test", blocks)),))


def runtime(divides: str, **changes: Any) -> RuntimeSpec:
    spec = load_runtime("litert-edgetpu")
    return spec.model_copy(update={"divides": divides, **changes})


def divided(
    taken: list[bool], counts: list[int], spec: RuntimeSpec, per_block: int, apart: bool = False
) -> Partition:  # fmt: skip
    """Divide blocks of `per_block` convolutions each, run `counts` times, of which rows are taken or not."""
    blocks = [
        Block(f"b{b}", tuple(conv(f"c{i}", f"c{i - 1}" if i else BLOCK_INPUT) for i in range(per_block)), count)
        for b, count in enumerate(counts)
    ]
    lowered = lower(workload(*blocks).passes)
    return divide(lowered, np.array(taken), np.repeat(np.array(counts, float), per_block), spec, apart)


def test_every_run_of_operators_that_are_taken_is_a_part() -> None:
    found = divided([True, False, True, True], [1], runtime("parts"), 4)
    assert found.parts == 2
    assert found.host_share.tolist() == [0, 1, 0, 0]
    assert found.to_host.tolist() == [0, 1, 0, 0]
    assert found.to_device.tolist() == [0, 0, 1, 0]


def test_a_compiler_that_cuts_once_leaves_all_that_follows_to_the_host() -> None:
    found = divided([True, False, True, True], [1], runtime("head"), 4)
    assert found.parts == 1
    assert found.host_share.tolist() == [0, 1, 1, 1]
    assert found.switches.sum() == 1


def test_a_cut_inside_a_repeated_block_leaves_its_first_repeat_on_the_accelerator() -> None:
    # five repeats of (taken, refused): the first operator of the first repeat runs there, four of five on the host
    found = divided([True, False], [5], runtime("head"), 2)
    assert found.host_share.tolist() == [0.8, 1.0]
    assert (found.switches * 5).sum() == pytest.approx(1)


def test_repeats_of_a_block_switch_between_them_too() -> None:
    # A h A h A h: five changes, three parts
    found = divided([True, False], [3], runtime("parts"), 2)
    assert (found.to_host * 3).tolist() == [0, 3]
    assert (found.to_device * 3).tolist() == [2, 0]
    assert found.parts == 3


def test_only_as_many_parts_as_allowed_are_delegated_the_longest_first() -> None:
    # parts of 1, 3 and 2 operators
    taken = [True, False, True, True, True, False, True, True]
    one = divided(taken, [1], runtime("parts", most_parts=1), 8)
    assert one.host_share.tolist() == [1, 1, 0, 0, 0, 1, 1, 1]
    two = divided(taken, [1], runtime("parts", most_parts=2), 8)
    assert two.host_share.tolist() == [1, 1, 0, 0, 0, 1, 0, 0]


def test_behind_a_link_inputs_and_answers_cross_too() -> None:
    found = divided([True, False, True], [1], runtime("parts"), 3, apart=True)
    assert found.to_device.tolist() == [1, 0, 1]
    assert found.to_host.tolist() == [0, 1, 0]
    assert found.leaves.tolist() == [0, 0, 1]
    on_host = divided([False, False], [1], runtime("parts"), 2, apart=True)
    assert on_host.switches.sum() == 0


def test_a_part_that_is_too_short_stays_on_the_host() -> None:
    found = divided([True, False, True, True], [1], runtime("parts", fewest_operators=2), 4)
    assert found.host_share.tolist() == [1, 1, 0, 0]
    assert found.switches.sum() == 1


def test_a_network_that_is_too_long_written_out_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="Leave --software out"):
        divided([True], [30_000_000], runtime("parts"), 1)


@given(
    taken=st.lists(st.booleans(), min_size=6, max_size=6),
    counts=st.lists(st.integers(1, 7), min_size=3, max_size=3),
    divides=st.sampled_from(["head", "parts"]),
    most=st.sampled_from([None, 1, 3]),
)
def test_repeated_blocks_are_divided_as_the_unrolled_graph(
    taken: list[bool], counts: list[int], divides: str, most: int | None
) -> None:
    spec = runtime(divides, most_parts=most if divides == "parts" else None)
    short = divided(taken, counts, spec, 2)
    pairs = [taken[0:2], taken[2:4], taken[4:6]]
    long = divided([t for p, c in zip(pairs, counts, strict=True) for t in p * c], [1] * sum(counts), spec, 2)
    repeats = np.repeat(counts, 2)
    for name in ("host_share", "to_host", "to_device"):
        assert (getattr(short, name) * repeats).sum() == pytest.approx(getattr(long, name).sum())
    assert short.parts == long.parts


@given(taken=st.lists(st.booleans(), min_size=1, max_size=30))
def test_the_host_takes_at_least_what_is_refused_and_switches_alternate(taken: list[bool]) -> None:
    for divides in ("head", "parts"):
        found = divided(taken, [1], runtime(divides), len(taken))
        assert (found.host_share >= ~np.array(taken)).all()
        assert abs(found.to_host.sum() - found.to_device.sum()) <= 1
        assert found.switches.sum() <= len(taken) - 1


def test_rows_written_out_follow_the_order_of_execution() -> None:
    blocks = (Block("a", (conv("x"), conv("y", "x")), 2), Block("b", (conv("z"),), 3))
    order, run = written_out(lower(workload(*blocks).passes), np.array([2.0, 2.0, 3.0]))
    assert order.tolist() == [0, 1, 0, 1, 2, 2, 2]
    assert set(run.tolist()) == {0}


def why(operators: list[Operator], spec: RuntimeSpec) -> list[str]:
    table: OpTable = lower(workload(Block("b", tuple(operators))).passes).table
    return [str(reason) for reason in refusals(table, spec)]


def test_what_is_refused_has_its_cause() -> None:
    spec = load_runtime("litert-edgetpu")
    softmax = Operator("s", "softmax", {"rows": 1, "hidden": 20_000}, dtype="int8")
    attention = Operator("a", "attention", {"batch": 1, "q_len": 8, "heads": 2, "head_dim": 16}, dtype="int8")
    norm = Operator("n", "norm", {"rows": 4, "hidden": 8, "flop_per_element": 5}, dtype="int8")
    found = why([conv("c"), conv("d", dtype="fp16"), pointwise("c.hard-swish", "c"), softmax, attention, norm], spec)
    assert found == ["", "the format fp16", "hard-swish", "softmax with hidden above 16000", "attention", "norm"]


def test_a_window_beyond_the_limit_of_a_runtime_is_refused() -> None:
    assert why([conv("c", kh=31, kw=31, padding=15), conv("d", kh=33, kw=33, padding=16)], load_runtime("rknn")) == [
        "", "conv2d with kh above 31",
    ]  # fmt: skip


def test_a_norm_is_refused_in_a_quantised_network_only() -> None:
    spec = load_runtime("onnxruntime-qnn")

    def norm(dtype: str) -> Operator:
        return Operator("n", "norm", {"rows": 4, "hidden": 8, "flop_per_element": 5}, dtype=dtype)

    assert why([conv("c", dtype="fp16"), norm("fp16")], spec) == ["", ""]
    assert why([conv("c", dtype="int8"), norm("bf16")], spec) == ["", "norm in a quantised network"]


def test_an_activation_that_a_runtime_does_not_fuse_is_a_kernel_of_its_own() -> None:
    operators = (conv("c"), pointwise("c.relu", "c", fused=True), pointwise("c.hard-swish", "c.relu", fused=True))
    run = as_run(workload(Block("b", operators)), load_runtime("litert-edgetpu"))
    assert [o.fused for o in run.passes[0].graph.blocks[0].operators] == [False, True, False]
    assert as_run(run, None) is run


def test_kernels_are_told_apart_by_what_they_do() -> None:
    rows = [conv("a"), conv("b", kh=1, kw=1, padding=0), conv("c", groups=8), pointwise("d", "c")]
    rows.append(Operator("e", "gemm", {"m": 1, "n": 2, "k": 3, "batch": 1}, dtype="int8"))
    table = lower(workload(Block("b", tuple(rows))).passes).table
    assert [KERNELS[i] for i in kernel_of(table)] == ["conv", "pointwise", "depthwise", "other", "dense"]


def priced(blocks: list[Block], spec: RuntimeSpec) -> tuple[Any, tuple[str, ...], Lowered]:
    run, target = workload(*blocks), find_target("edge-tpu")
    lowered = lower(run.passes)
    report = memory_of(run, lowered, ONE_DEVICE, target.rates)
    costs, notes = costs_under_runtime(PhysicsModel(), run, lowered, target, None, ONE_DEVICE, report, spec)
    return costs, notes, lowered


def test_a_divided_network_costs_its_parts_and_its_switches() -> None:
    operators = (conv("c"), pointwise("c.hard-swish", "c"), conv("d", "c.hard-swish"))
    spec = runtime("parts")
    costs, notes, lowered = priced([Block("b", operators)], spec)
    physics, host = PhysicsModel(), find_target("raspberry-pi-4").rates
    alone = physics.predict(lowered.table, find_target("edge-tpu").rates).latency_s
    there = physics.predict(lowered.table, host).latency_s
    # 2,048 bytes cross each way: 100 us of the runtime, 60 us of USB, and the bytes at 500 MB/s and 70 %; the input
    # crosses before the first operator, the answer after the last
    switch = 100e-6 + 60e-6 + 2048 / (500e6 * 0.7)
    expected = [alone[0] + switch, there[1] + switch, alone[2] + 2 * switch]
    assert costs.latency_s.tolist() == pytest.approx(expected)
    assert "1 of 3 operators run on raspberry-pi-4, 2 parts on edge-tpu" in notes[0]
    assert "hard-swish (1)" in notes[0]
    assert "4 times a pass" in notes[1]


def test_the_switches_of_a_note_are_those_of_the_rows() -> None:
    found = Fallback("R", "cpu", 9, 3, {"gelu": 2}, 1, 4, 1e-3, 2e-3, 3e-3, 1e6, 2)
    assert found.switches_s == pytest.approx(6e-3)
    assert found.notes("npu")[1].startswith("Changing processor costs 6.00 ms: 4 times a pass")


def test_energy_counts_the_host_while_it_works() -> None:
    operators = (conv("c"), pointwise("c.hard-swish", "c"), conv("d", "c.hard-swish"))
    costs, _, _ = priced([Block("b", operators)], runtime("head"))
    idle = find_target("edge-tpu").rates.idle_w[0] + find_target("raspberry-pi-4").rates.idle_w[0]
    assert (costs.energy_j[1:] >= idle * costs.latency_s[1:] * (1 - 1e-9)).all()
    assert (costs.energy_lo_j <= costs.energy_j).all()
    assert (costs.energy_j <= costs.energy_hi_j).all()


def test_the_steps_of_a_divided_network_add_up_to_its_time() -> None:
    found = ac.predict("mobilenet-v3-large", on="edge-tpu", software="litert", model="physics")
    steps = found.explain().steps
    assert found.latency_s is not None
    assert sum(step.added_s for step in steps) == pytest.approx(found.latency_s.value)
    assert steps[-1].name == "other processor"
    assert steps[-1].added_s > 0.5 * found.latency_s.value


def test_a_device_without_a_host_refuses_what_its_runtime_does_not_take() -> None:
    target = find_target("edge-tpu")
    bare = replace(target, spec=target.spec.model_copy(update={"host": None}))
    run = workload(Block("b", (conv("c"), pointwise("c.gelu", "c"))))
    lowered = lower(run.passes)
    report = memory_of(run, lowered, ONE_DEVICE, target.rates)
    with pytest.raises(UnsupportedError, match=r"'c\.gelu' on edge-tpu \(gelu\), and the device names no host"):
        costs_under_runtime(PhysicsModel(), run, lowered, bare, None, ONE_DEVICE, report, runtime("parts"))
