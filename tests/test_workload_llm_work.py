"""Work of decoder-only models against values derived by hand, and the invariants of their graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads import Mapping, Request, Workload, count_work, lower
from workloads.builders.language.decoder import Decoder
from workloads.catalogue import load_model

TINY: dict[str, Any] = {
    "layers": 3,
    "hidden": 8,
    "heads": 2,
    "kv_heads": 1,
    "inter": 16,
    "vocab": 32,
    "max_context": 64,
}


def tiny(**knobs: Any) -> Decoder:
    return Decoder.from_knobs("tiny", TINY | knobs)


def rows(workload: Workload, name: str) -> dict[str, dict[str, float]]:
    """Return the work of every operator of one pass (first scenario), by its name."""
    lowered = lower([p for p in workload.passes if p.name == name])
    work = count_work(lowered.table)
    found: dict[str, dict[str, float]] = {}
    for i, label in enumerate(lowered.table.labels):
        if lowered.scenario[i] == 0:
            fields = ("matrix_flop", "vector_flop", "weight_bytes", "input_bytes", "output_bytes")
            values = {f: float(np.broadcast_to(getattr(work, f), lowered.table.rows)[i]) for f in fields}
            found[label] = values | {"count": float(lowered.table["count"][i])}
    return found


def matrix_flop(workload: Workload, mapping: Mapping | None = None) -> np.ndarray[Any, Any]:
    """Return matrix FLOP of a whole workload, shape (requests,)."""
    lowered = lower(workload.passes, mapping or Mapping())
    flop = np.broadcast_to(count_work(lowered.table).matrix_flop, lowered.table.rows) * lowered.table["count"]
    owners = [workload.owners[p.name] for p in workload.passes]
    total = np.zeros(workload.requests)
    for p, owner in enumerate(owners):
        where = lowered.pass_index == p
        np.add.at(total, owner[lowered.scenario[where]], flop[where])
    return total


def state_elements(workload: Workload) -> float:
    """Return what all layers keep at the end of a request (first request), in elements."""
    graph = workload.passes[0].graph
    return sum(float(np.ravel(o.state_elements)[0]) * b.count for b in graph.blocks for o in b.operators)


def test_matrix_flop_of_a_tiny_layer_are_those_derived_by_hand() -> None:
    """batch 2, 5 prompt tokens: 10 tokens; a causal head sees 1+2+3+4+5 = 15 pairs; the head sees the last token."""
    found = rows(tiny().workload(Request(batch=2, prompt=5, generate=1)), "prefill")
    by_hand = {
        "qkv": 2 * 10 * 8 * (8 + 2 * 4),
        "attention": 2 * 15 * (4 + 4) * 2 * 2,
        "o": 2 * 10 * 8 * 8,
        "gate_up": 2 * 10 * 8 * 32,
        "down": 2 * 10 * 16 * 8,
        "lm_head": 2 * 2 * 8 * 32,
    }
    assert {name: work["matrix_flop"] for name, work in found.items() if work["matrix_flop"]} == by_hand
    assert {name: work["count"] for name, work in found.items() if name in by_hand} == dict.fromkeys(by_hand, 3) | {
        "lm_head": 1
    }


def test_bytes_of_a_tiny_layer_are_those_derived_by_hand() -> None:
    found = rows(tiny().workload(Request(batch=2, prompt=5, generate=1)), "prefill")

    def moved(name: str) -> tuple[float, float, float]:
        work = found[name]
        return work["weight_bytes"], work["input_bytes"], work["output_bytes"]

    assert moved("qkv") == (8 * 16 * 2, 10 * 8 * 2, 10 * 16 * 2)
    assert moved("attention") == (2 * 5 * (4 + 4) * 2, 10 * 2 * 4 * 2, 10 * 2 * 4 * 2)
    assert moved("act_mul") == (0, 2 * 10 * 16 * 2, 10 * 16 * 2)
    assert moved("ffn_norm") == (8 * 2, 3 * 10 * 8 * 2, 10 * 8 * 2)
    assert moved("cache") == (0, 10 * 8 * 2, 10 * 8 * 2)
    assert moved("embed") == (10 * 8 * 2, 10 * 8, 10 * 8 * 2)


def test_a_decode_step_attends_to_all_tokens_so_far() -> None:
    """Prompt 5, 3 tokens: the two decode steps see 6 and 7 tokens; the table's rows interpolate between them."""
    workload = tiny().workload(Request(batch=1, prompt=5, generate=3))
    lowered = lower(workload.passes)
    here = np.array([label == "attention" for label in lowered.table.labels]) & (lowered.pass_index == 1)
    seen, times = lowered.table["kv_len"][here], lowered.table["count"][here] / 3
    assert times.sum() == 2
    assert (seen * times).sum() == 6 + 7


@pytest.mark.parametrize(
    ("name", "expected"), [("llama-3.1-8b", 131_072), ("deepseek-v3", (512 + 64) * 61 * 2), ("gpt-2", 12 * 2 * 768 * 2)]
)
def test_cache_bytes_per_token_are_exact(name: str, expected: int) -> None:
    model = load_model(name)
    long, short = (state_elements(model.workload(Request(prompt=n, generate=0))) for n in (101, 100))
    assert (long - short) * 2 == expected


@pytest.mark.parametrize(
    "name",
    [
        "llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3", "mamba-2.8b", "t5-large", "bert-large", "deepseek-v3.2",
        "qwen3-next-80b-a3b", "rwkv-6-1.6b", "longcat-flash", "jamba-v0.1", "gpt-j-6b", "based-360m",
    ],
)  # fmt: skip
def test_many_requests_at_once_equal_one_at_a_time(name: str) -> None:
    model = load_model(name)
    batch, prompt, generate = np.array([1, 3, 8]), np.array([17, 512, 100]), np.array([1, 2, 40])
    together = model.workload(Request(batch=batch, prompt=prompt, generate=generate))
    alone = [
        model.workload(Request(batch=b, prompt=p, generate=g)) for b, p, g in zip(batch, prompt, generate, strict=True)
    ]
    assert together.requests == 3
    np.testing.assert_array_equal(matrix_flop(together), np.concatenate([matrix_flop(w) for w in alone]))
    for one, many in zip(alone[1].passes, together.passes, strict=True):
        mine = together.owners[many.name] == 1
        a, b = lower([one]), lower([many])
        assert a.table.labels == tuple(np.array(b.table.labels)[mine[b.scenario]])
        for column in a.table.columns:
            np.testing.assert_array_equal(a.table.full(column), b.table.full(column)[mine[b.scenario]])


@pytest.mark.parametrize(
    "mixers", ["attention", "window,attention", "mamba,mamba,attention", "deltanet*3,attention", "dsa", "conv,rwkv6"]
)
def test_a_repeated_block_equals_the_unrolled_graph(mixers: str) -> None:
    from dataclasses import replace

    workload = tiny(layers=12, mixers=mixers).workload(Request(batch=2, prompt=9, generate=4))
    flat = replace(workload, passes=tuple(replace(p, graph=p.graph.unrolled()) for p in workload.passes))
    assert len(flat.graph.blocks) > len(workload.graph.blocks)
    assert flat.graph.parameters == workload.graph.parameters
    assert state_elements(flat) == state_elements(workload)
    np.testing.assert_allclose(matrix_flop(flat), matrix_flop(workload), rtol=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        "llama-3.1-8b", "llama-3.1-70b", "mixtral-8x7b", "qwen3-30b-a3b", "mamba-2.8b", "mamba-2-2.7b", "jamba-v0.1",
        "gpt-j-6b", "gpt-neox-20b", "phi-2", "falcon-40b", "palm-8b", "bloom-7b", "gpt-oss-120b", "glm-4.5", "glm-5",
        "deepseek-v3", "deepseek-v3.2", "kimi-k2", "longcat-flash", "minimax-m2", "qwen3-next-80b-a3b", "qwen3.5-27b",
        "nemotron-h-56b", "nemotron-3-nano-30b-a3b", "rwkv-6-3b", "llama-4-scout", "starcoder2-15b",
    ],
)  # fmt: skip
def test_a_short_prompt_costs_two_flop_per_active_parameter_and_token(name: str) -> None:
    """Beyond attention (2 % at 128 tokens), the embedding table does no work and the head sees one token only."""
    model = load_model(name)
    workload = model.workload(Request(prompt=128, generate=1))
    embedding = next(o.parameters for o in workload.graph.blocks[0].operators)
    head = 0.0 if model.knobs()["tied"] else embedding
    expected = 2 * 128 * (workload.graph.active_parameters - embedding - head) + 2 * embedding
    assert matrix_flop(workload)[0] == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("tp", [2, 4, 8])
@pytest.mark.parametrize(
    "name",
    ["llama-3.1-8b", "gpt-3-175b", "mamba-2.8b", "deepseek-v3", "deepseek-v3.2", "qwen3-next-80b-a3b", "rwkv-6-1.6b"],
)
def test_tensor_parallel_ranks_do_the_work_of_one_device_together(name: str, tp: int) -> None:
    """All sharded work divides exactly; only what every rank repeats (latents, indexer, router, low ranks) is extra."""
    workload = load_model(name).workload(Request(batch=4, prompt=64, generate=8))
    repeated = {"qkv_a", "kv_a", "router", "index_q", "index_k", "index_weights", "index_scores", "shared_gate"}
    repeated |= {"mix_a", "mix_b", "decay_a", "channel_receptance"}
    one, many = (sharded_flop(workload, Mapping(tp=n), repeated) for n in (1, tp))
    assert many * tp == pytest.approx(one, rel=1e-3 if name == "gpt-3-175b" else 1e-9)  # 50,257 logits in tp parts


def sharded_flop(workload: Workload, mapping: Mapping, without: set[str]) -> float:
    lowered = lower(workload.passes, mapping)
    flop = np.broadcast_to(count_work(lowered.table).matrix_flop, lowered.table.rows) * lowered.table["count"]
    return float(
        sum(
            f for f, label in zip(flop, lowered.table.labels, strict=True) if label.lstrip("0123456789.") not in without
        )
    )


def test_a_window_bounds_the_cache_and_the_work() -> None:
    wide, narrow = (tiny(mixers=m, window=8, max_context=10**6) for m in ("attention", "window"))
    request = Request(prompt=1000, generate=24)
    assert state_elements(wide.workload(request)) == 1024 * 2 * 4 * 3
    assert state_elements(narrow.workload(request)) == 8 * 2 * 4 * 3
    found = rows(narrow.workload(request), "prefill")["attention"]["matrix_flop"]
    pairs = sum(min(i, 8) for i in range(1, 1001))
    assert found == 2 * pairs * (4 + 4) * 2


def test_sparse_attention_does_its_share_of_the_pairs_and_its_estimator_is_counted() -> None:
    request = Request(prompt=1024, generate=1)
    full = rows(tiny(max_context=10**6).workload(request), "prefill")["attention"]["matrix_flop"]
    sparse = tiny(max_context=10**6, mixers="sparse", sparse_density=0.25, estimator_heads=1, estimator_pool=64)
    found = rows(sparse.workload(request), "prefill")
    assert found["attention"]["matrix_flop"] == full / 4
    assert found["estimate"]["matrix_flop"] == 2 * 16 * 16 * 4


def test_top_k_attention_reads_only_the_chosen_keys_but_keeps_all() -> None:
    request = Request(prompt=4096, generate=2)
    full, chosen = (tiny(max_context=10**6, mixers=m, topk_keys=128, topk_page=16) for m in ("attention", "topk"))
    assert state_elements(full.workload(request)) == state_elements(chosen.workload(request))
    found = rows(chosen.workload(request), "decode")
    assert found["attention"]["weight_bytes"] == pytest.approx(128 * (4 + 4) * 2)
    assert found["select"]["matrix_flop"] == 2 * 2 * np.ceil(4097 / 16) * 4


@pytest.mark.parametrize("mixer", ["linear", "mamba", "mamba2"])
def test_a_recurrent_state_does_not_grow_with_the_context(mixer: str) -> None:
    model = tiny(mixers=mixer, ssm_head_dim=4, max_context=10**6)
    short, long = (state_elements(model.workload(Request(prompt=n))) for n in (10, 10_000))
    assert short == long > 0


def test_a_latent_cache_is_read_once_for_all_heads_and_absorption_keeps_the_parameters() -> None:
    model = tiny(mixers="mla", kv_rank=6, rope_dim=2, q_rank=5)
    workload = model.workload(Request(prompt=16, generate=2))
    prefill, decode = (p.graph for p in workload.passes)
    assert prefill.parameters == decode.parameters
    found = rows(workload, "decode")
    assert found["attention"]["weight_bytes"] == 17 * (6 + 2) * 2
    assert found["absorb_q"]["matrix_flop"] == found["absorb_v"]["matrix_flop"] == 2 * 2 * 4 * 6


def test_zero_computation_experts_take_their_share_of_the_choices() -> None:
    knobs = {"ffns": "moe", "experts": 8, "topk": 3, "moe_inter": 16}
    all_real, with_zero = (tiny(**knobs, zero_experts=z) for z in (0, 4))
    request = Request(prompt=32, generate=1)
    real, fewer = (rows(m.workload(request), "prefill")["experts"]["matrix_flop"] for m in (all_real, with_zero))
    assert fewer == pytest.approx(real * 8 / 12)


def test_quantised_weights_leave_norms_attention_and_logits_wide() -> None:
    from foundation.formats import number_format

    workload = load_model("llama-3.1-8b").workload(Request(dtype="w4a16"))
    formats = {o.name: o.dtype for b in workload.graph.blocks for o in b.operators}
    assert {n for n, f in formats.items() if f == "w4a16"} == {"qkv", "o", "gate_up", "down"}
    assert {number_format(f).math for f in formats.values()} == {"bf16"}
    eight = load_model("llama-3.1-8b").workload(Request(kv_dtype="fp8"))
    kept = {(o.name, o.state_dtype) for b in eight.graph.blocks for o in b.operators if np.any(o.state_elements)}
    assert kept == {("attention", "fp8")}


@given(
    batch=st.integers(1, 64), prompt=st.integers(1, 4000), generate=st.integers(0, 300),
    mixer=st.sampled_from(["attention", "window", "linear", "mamba", "mla", "topk"]),
)  # fmt: skip
def test_work_and_state_do_not_fall_when_a_request_grows(batch: int, prompt: int, generate: int, mixer: str) -> None:
    model = tiny(mixers=mixer, window=512, max_context=10**6)
    sizes = np.array([[batch, prompt, generate], [batch + 1, prompt, generate], [batch, prompt + 7, generate]]).T
    workload = model.workload(Request(batch=sizes[0], prompt=sizes[1], generate=sizes[2]))
    flop = matrix_flop(workload)
    assert flop[0] > 0
    assert np.all(flop[1:] >= flop[0])
    kept = np.array([np.asarray(o.state_elements) + np.zeros(3) for b in workload.graph.blocks for o in b.operators])
    assert np.all(kept.sum(axis=0)[1:] >= kept.sum(axis=0)[0])
    assert not lower(workload.passes).table.faults()


def test_recursions_repeat_the_work_and_the_cache_but_not_the_parameters() -> None:
    request = Request(prompt=20, generate=2)
    once, thrice = (tiny(recursions=r).workload(request) for r in (1, 3))
    assert thrice.parameters == once.parameters
    assert state_elements(thrice) == 3 * state_elements(once)
    head = sum(rows(once, name)["lm_head"]["matrix_flop"] for name in ("prefill", "decode"))
    assert matrix_flop(thrice)[0] - head == 3 * (matrix_flop(once)[0] - head)
