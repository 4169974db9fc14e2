"""Techniques of attention, mixtures and layer shapes, with counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
from techniques import learning, macs, op_macs, read_bytes, state_elements, technique

import archcast as ac
from workloads.catalogue import load_model
from workloads.model import Request

LONG = Request(prompt=32768, generate=2)


def causal_macs(tokens: int, width: int, layers: int) -> float:
    """Return the attention products of a causal prompt: both of them over tokens (tokens + 1) / 2 pairs."""
    return layers * 2 * width * tokens * (tokens + 1) / 2


def test_a_sparse_prompt_pays_its_density_and_the_search_for_it() -> None:
    dense = op_macs(load_model("llama-3.1-8b"), LONG, attention=True)
    sparse = op_macs(technique("sparse-prefill"), LONG, attention=True)
    one_step = 32 * 2 * 4096 * (32768 + 1)  # the decode step of both reads the whole cache
    prompt = causal_macs(32768, 4096, 32)
    assert dense == pytest.approx(prompt + one_step, rel=1e-6)
    assert sparse == pytest.approx(0.15 * prompt + one_step, rel=1e-6)
    search = op_macs(technique("sparse-prefill"), LONG, gemm=True) - op_macs(
        load_model("llama-3.1-8b"), LONG, gemm=True
    )
    assert search == 32 * 32 * (32768 / 128) ** 2 * 128  # layers, heads, pooled pairs, head size


def test_proxy_heads_search_for_all_heads() -> None:
    every, two = (op_macs(technique("proxy-head-attention", proxies=p), LONG, gemm=True) for p in (32, 2))
    assert every - two == 32 * 30 * (32768 / 64) ** 2 * 128
    cheap, full = (macs(technique("proxy-head-attention", density=d), LONG) for d in (0.1, 1.0))
    assert full - cheap == pytest.approx(0.9 * causal_macs(32768, 4096, 32), rel=1e-6)


def test_checkpoints_make_the_cache_grow_with_the_context_over_the_segment() -> None:
    model = technique("segment-checkpoints")
    held = [state_elements(model.workload(Request(prompt=p, generate=64))) for p in (16384, 65536)]
    assert held[1] - held[0] == 16 * 2 * 8 * 64 * (65536 - 16384) / 64
    full = state_elements(load_model("llama-3.2-1b").workload(Request(prompt=65536, generate=64)))
    assert held[1] < 0.05 * full


def test_a_hybrid_keeps_a_quarter_of_the_caches() -> None:
    model = technique("multimodal-mamba")
    held = [state_elements(model.workload(Request(prompt=p, generate=1))) for p in (1000, 103_000)]
    assert held[1] - held[0] == 8 * 2 * 2560 * 102_000
    full = load_model("llama-3.1-8b", {"layers": 32, "hidden": 2560, "kv_heads": 32, "head_dim": 80})
    cache = state_elements(full.workload(Request(prompt=103_000, generate=1)))
    assert held[1] / cache == pytest.approx(0.25, rel=0.01)


def test_only_active_tokens_attend() -> None:
    tokens, window = 3277, 512  # a fifth of 16384, whole tokens
    model = technique("sparse-modular-activation", active=tokens / 16384)
    pairs = tokens * window - window * (window - 1) / 2
    assert op_macs(model, attention=True) == pytest.approx(48 * 2 * 1024 * pairs, rel=1e-6)
    none = technique("sparse-modular-activation", active=1 / 16384)
    added = op_macs(model, gemm=True) - op_macs(none, gemm=True)
    assert added == pytest.approx(48 * (tokens - 1) * 4 * 1024 * 1024, rel=1e-6)


def test_linear_attention_keeps_the_same_state_for_any_context() -> None:
    model = technique("linear-attention-hybrid")
    held = {state_elements(model.workload(Request(prompt=p, generate=100))) for p in (512, 2048)}
    assert len(held) == 1


def test_a_window_bounds_what_a_token_attends_to() -> None:
    full, local = (op_macs(technique("windowed-pretraining", window=w), attention=True) for w in (0, 512))
    assert local < 0.3 * full
    heads = op_macs(technique("windowed-pretraining"), gemm=True) - macs(
        load_model("bert-base", {"window": 512, "max_context": 4096, "head": "none"}),
        Request(prompt=4096, mode="train"),
    ) + op_macs(technique("windowed-pretraining"), attention=True)  # fmt: skip
    assert 0 < heads < 1e9  # one output a token: hardly anything


@pytest.mark.parametrize("zero", [0, 256, 512])
def test_a_token_reaches_its_share_of_real_experts(zero: int) -> None:
    model = technique("zero-computation-experts", zero=zero)
    request = Request(prompt=1000, generate=1)
    reached = 12 * 512 / (512 + zero)
    assert op_macs(model, request, moe=True) == pytest.approx(28 * 1000 * reached * 3 * 6144 * 2048, rel=1e-6)


def test_active_parameters_lie_where_the_report_says() -> None:
    active = technique("zero-computation-experts").summary()["active_parameters"]
    assert 18.6e9 < active < 31.3e9


def test_finer_experts_cost_the_same_work_and_more_time() -> None:
    coarse, fine = (technique("expert-granularity", grain=g) for g in (1, 4))
    request = Request(prompt=2048)
    assert op_macs(fine, request, moe=True) == pytest.approx(op_macs(coarse, request, moe=True), rel=1e-9)
    routers = 48 * 2048 * 128 * 3  # layers, hidden, experts more
    assert fine.summary()["parameters"] - coarse.summary()["parameters"] == routers
    times = [ac.predict(m, on="h200-sxm", prompt=256, tp=4).latency_s for m in (coarse, fine)]
    assert times[0] is not None
    assert times[1] is not None
    assert times[1].value > times[0].value


def test_an_encoder_runs_once_and_the_cache_holds_both_sides() -> None:
    model = technique("encoder-decoder-small")
    held = state_elements(model.workload(Request(prompt=1000, generate=40)))
    assert held == pytest.approx(24 * 2 * 1024 * (1000 + 40), rel=2e-3)  # cross and self, keys and values
    one_more = macs(model, Request(prompt=1000, generate=41)) - macs(model, Request(prompt=1000, generate=40))
    per_layer = 4 * 1024**2 + 2 * 1024**2 + 2 * 1024 * 4096  # self, the query and output of cross, feed-forward
    attended = 24 * 2 * 1024 * (1000 + 40)
    assert one_more == pytest.approx(24 * per_layer + 32128 * 1024 + attended, rel=2e-3)


def test_muon_pays_five_iterations_a_matrix_and_keeps_one_moment() -> None:
    forward = technique("muon-mla-moe").workload(Request(prompt=64)).passes[0].graph
    expected = 0.0
    for block in forward.blocks:
        for o in block.operators:
            if o.op == "gemm" and o.parameters and not o.name.endswith("lm_head"):
                copies = block.copies * float(np.asarray(o.shape.get("batch", 1)))
                small, large = sorted((float(o.shape["n"]), float(o.shape["k"])))
                expected += copies * 5 * (2 * small**2 * large + small**3)
            if o.op == "moe":
                small, large = sorted((float(o.shape["hidden"]), float(o.shape["inter"])))
                expected += block.copies * 3 * float(o.shape["experts"]) * 5 * (2 * small**2 * large + small**3)
    assert macs(technique("muon-mla-moe"), Request(prompt=64), passes="optimizer") == pytest.approx(expected, rel=0.05)
    adam, muon = (
        ac.predict(m, on="h200-sxm", prompt=64, tp=4, ep=4, mode=mode).memory_parts_bytes["optimizer"]
        for m, mode in (("deepseek-v2-lite", "train"), (technique("muon-mla-moe"), "infer"))
    )
    assert (adam - muon) * 4 == pytest.approx(4 * 15.7e9, rel=0.05)  # one float32 moment less


def test_a_point_of_a_space_has_the_work_of_its_sizes() -> None:
    layers, hidden, tokens = 4, 256, 100
    model = technique("transformer-subspace", layers=layers, hidden=hidden, heads=4, ratio=2)
    by_hand = layers * tokens * (4 * hidden**2 + 2 * 2 * hidden**2 + 2 * hidden * tokens)
    assert macs(model, Request(prompt=tokens)) == by_hand


def test_a_narrower_embedding_makes_a_cheaper_search() -> None:
    deep, wide = (macs(technique("matryoshka-embeddings", **k)) for k in ({"depth": 12}, {"dim": 768}))
    base = macs(technique("matryoshka-embeddings"))
    assert deep - base == 6 * 128 * (12 * 768**2 + 2 * 768 * 128)
    assert wide - base == 1_000_000 * (768 - 256)


def test_a_frozen_random_projection_is_computed_and_not_stored() -> None:
    model = technique("hourglass-mlp")
    assert model.summary()["parameters"] == 8 * 2 * 8192 * 512
    assert learning(model.workload(Request()).distinct_blocks()) == 8 * 2 * 8192 * 512
    products = 3 * 8 * 2 - 1  # forward, both gradients; what enters the first block needs none
    assert macs(model) == 256 * 8192 * 1024 + products * 256 * 8192 * 512


def test_shared_parameters_are_small_in_memory_and_gathered_whole() -> None:
    model = technique("hash-shared-parameters")
    assert model.summary()["parameters"] == 4 * 4096**2 / 16
    assert macs(model) == 4 * 256 * 4096**2
    assert read_bytes(model) > 4 * 4096**2 * 2 * 2  # the matrix is read from the store and written out, in 16 bits


def test_a_low_rank_layer_is_two_thin_ones() -> None:
    saved = macs("gpt-2", Request(prompt=512, generate=0)) - macs(technique("low-rank-layers"), Request(prompt=512))
    assert saved == 12 * 512 * (2 * 768 * 3072 - (192 + 256) * (768 + 3072))
