"""Peak memory: what is alive at once on graphs drawn by hand, parts known to the byte, and what fits where."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import archcast as ac
from archcast.question import find_model, find_target
from costmodel.memory import GPU_WORKSPACE_BYTES, MARGIN, MemoryReport, activation_bytes, live_peak, memory_of
from workloads.graph import Block, Operator, Pass, Workload, WorkloadGraph
from workloads.lowering import lower
from workloads.mapping import Mapping
from workloads.model import Request

LAYER_PARAMETERS = 4096 * (4096 + 2 * 1024) + 4096 * 4096 + 3 * 4096 * 14336 + 2 * 4096
"""Llama 3.1 8B, one layer: query, key and value; output; gate, up and down; two norms."""
TABLE_PARAMETERS = 128256 * 4096
KV_BYTES = 2 * 32 * 8 * 128 * 2
"""Keys and values of 32 layers x 8 heads x 128 in 16 bits: 131072 B a token."""


def node(name: str, *inputs: str, fused: bool = False) -> Operator:
    return Operator(name, "elementwise", {"rows": 1, "hidden": 1}, inputs=inputs or ("",), fused=fused)


def peak_of(entering: float, *drawn: tuple[Operator, float | None]) -> tuple[float, float]:
    sizes = [None if size is None else np.array([size]) for _, size in drawn]
    peak, leaving = live_peak(tuple(o for o, _ in drawn), sizes, np.array([entering]))
    return float(peak[0]), float(leaving[0])


def test_a_chain_holds_an_operator_and_what_it_reads() -> None:
    # 10 + 20 = 30; then 20 + 5; then 5 + 8
    assert peak_of(10, (node("a"), 20), (node("b", "a"), 5), (node("c", "b"), 8)) == (30, 8)


def test_a_fork_is_held_until_its_last_reader() -> None:
    # a (20) is read by b (30) and c (7): 20 + 30 + 7 = 57 at c; d reads b and c: 30 + 7 + 1
    drawn = ((node("a"), 20), (node("b", "a"), 30), (node("c", "a"), 7), (node("d", "b", "c"), 1))
    assert peak_of(10, *drawn) == (57, 1)


def test_a_residual_holds_what_entered_the_block() -> None:
    # 10 stays for the add: 10 + 20 + 5 = 35 at b; 10 + 5 + 10 at the add
    assert peak_of(10, (node("a"), 20), (node("b", "a"), 5), (node("add", "b", ""), 10)) == (35, 10)


def test_a_fused_operator_works_in_place() -> None:
    # relu takes no room of its own, and a lives until the last reader of relu: 20 + 30, not 20 + 20 + 30
    drawn = ((node("a"), 20), (node("relu", "a", fused=True), None), (node("b", "relu"), 30))
    assert peak_of(10, *drawn) == (50, 30)
    assert peak_of(10, (node("a"), 20), (node("relu", "a", fused=True), None)) == (30, 20)


def test_an_output_that_nobody_reads_is_freed() -> None:
    assert peak_of(10, (node("dead"), 100), (node("a", ""), 20)) == (110, 20)


def gemm(name: str, m: int, n: int, k: int, *inputs: str) -> Operator:
    return Operator(name, "gemm", {"m": m, "n": n, "k": k}, inputs=inputs or ("",), parameters=float(n * k))


def workload_of(*blocks: Block) -> Workload:
    return Workload("hand", (Pass("forward", WorkloadGraph("hand", blocks)),))


def test_activations_flow_from_block_to_block() -> None:
    # bf16: 4 x 8 enters (64 B), 4 x 16 (128 B), 4 x 2 (16 B), 4 x 50 (400 B): 64+128, 128+16, 16+400
    workload = workload_of(
        Block("one", (gemm("a", 4, 16, 8), gemm("b", 4, 2, 16, "a"))), Block("two", (gemm("c", 4, 50, 2),))
    )
    assert activation_bytes(workload, lower(workload.passes)).tolist() == [416]


def test_a_repeat_reads_what_the_repeat_before_it_left() -> None:
    # the block reads 4 x 8 (64 B) and leaves 4 x 64 (512 B): its second run holds 512 + 512
    workload = workload_of(Block("wide", (gemm("a", 4, 64, 8),), count=3))
    assert activation_bytes(workload, lower(workload.passes)).tolist() == [1024]


def report(
    name: str = "llama-3.1-8b", on: str = "h100-sxm", mapping: Mapping | None = None, **request: Any
) -> MemoryReport:
    workload = find_model(name).workload(Request(**request))
    mapping = mapping or Mapping()
    return memory_of(workload, lower(workload.passes, mapping), mapping, find_target(on).rates)


def part(found: MemoryReport, name: str) -> float:
    return float(found.parts[name][0])


def test_weights_and_cache_of_llama_8b_are_exact() -> None:
    found = report(batch=8, prompt=1024, generate=256)
    assert part(found, "weights") == 2 * (32 * LAYER_PARAMETERS + 2 * TABLE_PARAMETERS + 4096)
    assert KV_BYTES == 131072
    assert part(found, "state") == 8 * (1024 + 256) * KV_BYTES
    # gate and up side by side, and their product: 3 x 14336 x 2 B for each of 8 x 1024 tokens
    assert part(found, "activations") == 3 * 14336 * 2 * 8 * 1024
    assert part(found, "workspace") == GPU_WORKSPACE_BYTES
    assert part(found, "optimizer") == 0


def test_a_cache_in_eight_bits_is_half_as_large() -> None:
    assert part(report(batch=2, prompt=100, generate=28, kv_dtype="fp8"), "state") == 2 * 128 * KV_BYTES / 2


def test_tensor_parallelism_divides_all_but_the_norms() -> None:
    found = report(mapping=Mapping(tp=4), batch=8, prompt=1024, generate=256)
    norms = 65 * 4096 * 2
    assert part(found, "weights") == (2 * (32 * LAYER_PARAMETERS + 2 * TABLE_PARAMETERS + 4096) - norms) / 4 + norms
    assert part(found, "state") == 8 * 1280 * KV_BYTES / 4


def test_more_ranks_than_key_value_heads_copy_the_cache() -> None:
    assert part(report(mapping=Mapping(tp=16), prompt=1000, generate=24), "state") == 1024 * KV_BYTES / 8


def test_the_fullest_pipeline_stage_holds_a_share_of_layers_and_the_head() -> None:
    found = report(mapping=Mapping(pp=4), batch=8, prompt=1024, generate=256)
    assert part(found, "weights") == 2 * (8 * LAYER_PARAMETERS + TABLE_PARAMETERS + 4096)
    assert part(found, "state") == 8 * 1280 * KV_BYTES / 4
    # 32 layers on 5 stages: one of them holds 7
    assert part(report(mapping=Mapping(pp=5), prompt=1), "weights") == 2 * (
        7 * LAYER_PARAMETERS + TABLE_PARAMETERS + 4096
    )


def test_few_blocks_on_many_stages_are_one_a_stage() -> None:
    block = Block("one", (gemm("a", 4, 8, 8),), count=3)
    workload, mapping = workload_of(block), Mapping(pp=4)
    found = memory_of(workload, lower(workload.passes, mapping), mapping, find_target("h100-sxm").rates)
    assert part(found, "weights") == 8 * 8 * 2


def test_ends_of_several_blocks_add_up_on_their_stage() -> None:
    ends = [Block(name, (gemm("a", 4, 8, 8),)) for name in ("in1", "in2", "out")]
    workload = workload_of(ends[0], ends[1], Block("layers", (gemm("a", 4, 8, 8),), count=4), ends[2])
    mapping = Mapping(pp=2)
    found = memory_of(workload, lower(workload.passes, mapping), mapping, find_target("h100-sxm").rates)
    assert part(found, "weights") == (2 + 2) * 8 * 8 * 2  # two layers, and the two blocks that stand first


def test_the_verdict_turns_at_the_last_byte() -> None:
    workload = find_model("llama-3.1-8b").workload(Request(batch=1, prompt=512, generate=64))
    lowered, rates = lower(workload.passes), find_target("h100-sxm").rates
    total = float(memory_of(workload, lowered, Mapping(), rates).total_bytes[0])
    exact, short = (memory_of(workload, lowered, Mapping(), replace(rates, usable_bytes=total - by)) for by in (0, 1))
    assert exact.shortfall_bytes.tolist() == [0]
    assert short.shortfall_bytes.tolist() == [1]


def test_fragmentation_is_a_range_on_what_comes_and_goes() -> None:
    found = report(batch=8, prompt=1024, generate=256)
    loose = part(found, "state") + part(found, "activations")
    assert part(found, "margin") == MARGIN[0] * loose
    assert found.hi_bytes[0] - found.lo_bytes[0] == pytest.approx((MARGIN[2] - MARGIN[1]) * loose, rel=1e-9)
    assert found.lo_bytes[0] <= found.total_bytes[0] <= found.hi_bytes[0]


@settings(max_examples=30)
@given(
    batch=st.integers(1, 64), prompt=st.integers(1, 4096), generate=st.integers(1, 512),
    name=st.sampled_from(("llama-3.1-8b", "mixtral-8x7b", "mamba-2.8b", "mistral-7b")),
    grown=st.sampled_from(("batch", "prompt", "generate")), step=st.integers(1, 512),
)  # fmt: skip
def test_memory_grows_with_every_size(batch: int, prompt: int, generate: int, name: str, grown: str, step: int) -> None:
    small = {"batch": batch, "prompt": prompt, "generate": generate}
    large = small | {grown: small[grown] + step}
    before, after = (report(name, "h200-sxm", **sizes).total_bytes[0] for sizes in (small, large))
    assert before <= after


def test_a_recurrent_state_does_not_grow_with_the_context() -> None:
    short, long = (report("mamba-2.8b", prompt=p, generate=1) for p in (100, 10_000))
    assert 0 < part(short, "state") == part(long, "state")


def test_training_holds_gradients_moments_and_master_weights() -> None:
    found = report("gpt-2", "a100-sxm-80gb", batch=1, prompt=128, mode="train")
    parameters = find_model("gpt-2").workload(Request(mode="train")).parameters
    assert part(found, "weights") == 2 * parameters
    # Adam in mixed precision: 16-bit gradient, 32-bit master weight and two 32-bit moments
    assert part(found, "optimizer") == pytest.approx(14 * parameters, rel=1e-9)
    assert part(found, "state") == 0


def test_the_update_and_weight_gradients_are_not_counted_as_activations_too() -> None:
    # one token: next to nothing but the optimizer's share, though the gradient of the embedding alone has 1 GB
    assert part(report("llama-3.1-8b", batch=1, prompt=1, mode="train"), "activations") < 20e6


def test_training_activations_grow_with_batch_and_length() -> None:
    base = report("gpt-2", "a100-sxm-80gb", batch=2, prompt=128, mode="train")
    for bigger in ({"batch": 4, "prompt": 128}, {"batch": 2, "prompt": 256}):
        found = report("gpt-2", "a100-sxm-80gb", mode="train", **bigger)
        assert part(found, "activations") >= 1.9 * part(base, "activations")


@pytest.mark.parametrize(
    ("workload", "device", "asked", "verdict"),
    [
        # Mobile LLM study: models below 4 B parameters fit a phone of 8 GB
        ("mamba-2.8b", "raspberry-pi-5", {}, "feasible"),
        ("phi-3-mini-4k", "raspberry-pi-5", {"dtype": "w4a16"}, "feasible"),
        ("llama-3.1-8b", "raspberry-pi-5", {}, "infeasible"),
        ("llama-3.1-8b", "raspberry-pi-5", {"dtype": "w4a16"}, "feasible"),
        # 2 B a parameter: 141 GB on 85, then on 170
        ("llama-3.1-70b", "h100-sxm", {}, "infeasible"),
        ("llama-3.1-70b", "h100-sxm", {"tp": 2}, "feasible"),
        ("llama-3.1-70b", "mi300x", {}, "feasible"),
        # 16 B a parameter of state: 8 B parameters need 128 GB to train
        ("llama-3.1-8b", "a100-sxm-80gb", {"mode": "train", "prompt": 512}, "infeasible"),
        ("gpt-2", "a100-sxm-80gb", {"mode": "train", "prompt": 512}, "feasible"),
    ],
)
def test_what_fits_where(workload: str, device: str, asked: dict[str, Any], verdict: str) -> None:
    asked = {"prompt": 1024} | asked
    found = ac.predict(workload, on=device, **asked)
    assert found.verdict == verdict
    assert found.shortfall_bytes == max(0.0, found.memory_bytes.value - found.capacity_bytes)
    assert (found.latency_s is None) == (verdict == "infeasible")
    assert sum(found.memory_parts_bytes.values()) == pytest.approx(found.memory_bytes.value, rel=1e-12)
