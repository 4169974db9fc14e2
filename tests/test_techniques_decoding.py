"""Techniques of decoding and of caches, with counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from techniques import FOLDER, macs, op_macs, read_bytes, state_elements, technique

import archcast as ac
from foundation.errors import BadValueError
from workloads.builders.language.decoder import Decoder
from workloads.catalogue import load_model
from workloads.lowering import lower
from workloads.model import Model, Request
from workloads.work import count_work

TINY = {"layers": 4, "hidden": 8, "heads": 2, "kv_heads": 1, "inter": 16, "vocab": 32, "max_context": 4096}
LAYER = 8 * (8 + 2 * 4) + 8 * 8 + 3 * 8 * 16  # MACs a token of a tiny layer, without attention
HEAD = 8 * 32


def tiny(**knobs: object) -> Decoder:
    return Decoder.from_knobs("tiny", TINY | knobs)


def attention_of(model: Model, request: Request, run: str) -> dict[str, float]:
    """Return pairs, cache bytes and count of the attention of one pass, first scenario and operator of each name."""
    lowered = lower([p for p in model.workload(request).passes if p.name == run])
    work, table = count_work(lowered.table), lowered.table
    return {
        label: float(np.broadcast_to(work.weight_bytes, table.rows)[i])
        for i, label in reversed(list(enumerate(table.labels)))
        if lowered.scenario[i] == 0 and "attention" in label
    }


def span(first: float, last: float) -> float:
    """Return first + ... + last."""
    return (first + last) * (last - first + 1) / 2


class Network:
    """Closed forms of a gated decoder: MACs a token, of its attention a pair, of its head; cache elements a token."""

    def __init__(self, layers: int, hidden: int, heads: int, kv_heads: int, size: int, inter: int, vocab: int) -> None:
        query, pair = heads * size, 2 * kv_heads * size
        self.layers = layers
        self.layer = hidden * (query + pair) + query * hidden + 3 * hidden * inter
        self.pair, self.head, self.cache = 2 * query, hidden * vocab, pair

    def macs(self, tokens: float, pairs: float, scored: float) -> float:
        return self.layers * (tokens * self.layer + pairs * self.pair) + scored * self.head

    def prompt(self, tokens: int, scored: float = 1) -> float:
        return self.macs(tokens, span(1, tokens), scored)

    def steps(self, first: float, count: float) -> float:
        """Return the MACs of `count` steps of one token, the first of which sees `first` tokens."""
        return self.macs(count, span(first, first + count - 1), count)


LLAMA_1B = Network(16, 2048, 32, 8, 64, 8192, 128256)
LLAMA_8B = Network(32, 4096, 32, 8, 128, 14336, 128256)
LLAMA_2_7B = Network(32, 4096, 32, 32, 128, 11008, 32000)
LLAMA_2_13B = Network(40, 5120, 40, 40, 128, 13824, 32000)
MISTRAL = Network(32, 4096, 32, 8, 128, 14336, 32000)
QWEN3_8B = Network(36, 4096, 32, 8, 128, 12288, 151936)


# -- the knobs that the files use


def test_cached_tokens_are_attended_to_and_held_but_not_run() -> None:
    """2 sequences, 10 tokens in the cache, 3 in the prompt, 4 to generate: queries see 11, 12, 13, then 14, 15, 16."""
    model, request = tiny(cached=10), Request(batch=2, prompt=3, generate=4)
    prefill = 2 * (4 * (3 * LAYER + (11 + 12 + 13) * 2 * 8) + HEAD)
    decode = 2 * (4 * (3 * LAYER + (14 + 15 + 16) * 2 * 8) + 3 * HEAD)
    assert macs(model, request, passes="prefill") == prefill
    assert macs(model, request, passes="decode") == decode
    assert attention_of(model, request, "prefill") == {"attention": 2 * 13 * (2 * 4) * 2}
    assert state_elements(model.workload(request)) == 2 * 4 * (2 * 4) * (10 + 3 + 4)


@given(cached=st.integers(1, 500), more=st.integers(1, 50))
def test_a_prompt_in_two_parts_costs_what_it_costs_in_one(cached: int, more: int) -> None:
    whole = macs(tiny(), Request(prompt=cached + more, generate=0))
    first, second = macs(tiny(), Request(prompt=cached, generate=0)), Request(prompt=more, generate=0)
    assert first + macs(tiny(cached=cached), second) == pytest.approx(whole + HEAD, rel=1e-12)


def test_shared_tokens_are_held_once_and_read_by_each_or_once() -> None:
    """6 sequences in pairs share 10 tokens; each has 3 + 4 of its own."""
    request = Request(batch=6, prompt=3, generate=4)
    each, once = tiny(cached=10, sharing=2), tiny(cached=10, sharing=2, cascade=True)
    held = 4 * (2 * 4) * (6 * 7 + 3 * 10)
    assert state_elements(each.workload(request)) == state_elements(once.workload(request)) == held
    assert attention_of(each, request, "decode") == {"attention": 6 * 14 * (2 * 4) * 2}
    apart = {"attention_prefix": 3 * 10 * (2 * 4) * 2, "attention": 6 * 4 * (2 * 4) * 2}
    assert attention_of(once, request, "decode") == apart
    assert macs(once, request) == macs(each, request)


def test_a_window_drops_shared_tokens_before_its_own() -> None:
    """A window of 12 over 10 shared and 7 own tokens holds the 7 and the last 5 of the shared ones, for 5 sequences."""
    model = tiny(cached=10, sharing=5, window=12, mixers="window")
    assert state_elements(model.workload(Request(batch=5, prompt=3, generate=4))) == 4 * (2 * 4) * (5 * 7 + 5)


def test_latents_are_shared_as_keys_and_values_are() -> None:
    model = tiny(mixers="mla", kv_rank=6, rope_dim=2, head_dim=4, cached=10, sharing=3)
    request = Request(batch=3, prompt=3, generate=4)
    assert state_elements(model.workload(request)) == 4 * (6 + 2) * (3 * 7 + 10)
    rows = {o.name: o.shape for o in model.workload(request).passes[0].graph.blocks[1].operators}
    assert rows["kv_b"]["m"] == 3 * 13  # what is in the cache is expanded too


def test_layers_that_reuse_keys_make_and_hold_none() -> None:
    model, request = tiny(mixers="attention,reuse"), Request(batch=2, prompt=5, generate=3)
    saved = 2 * 2 * 8 * (2 * 4) * (5 + 2)  # sequences, layers, projection, tokens
    assert macs(tiny(), request) - macs(model, request) == saved
    assert tiny().summary()["parameters"] - model.summary()["parameters"] == 2 * 8 * (2 * 4)
    assert state_elements(model.workload(request)) == 2 * 2 * (2 * 4) * 8
    assert attention_of(model, request, "prefill") == {"0.attention": 2 * 5 * 8 * 2, "1.attention": 2 * 5 * 8 * 2}


def test_a_layer_of_keys_makes_one_cache_and_attends_to_nothing() -> None:
    model = tiny(layers=3, mixers="keys,reuse,reuse", ffns="none,dense,dense")
    request = Request(batch=2, prompt=5, generate=0)
    queries = LAYER - 8 * (2 * 4)
    assert macs(model, request) == 2 * (5 * 8 * (2 * 4) + 2 * (5 * queries + span(1, 5) * 16) + HEAD)
    assert state_elements(model.workload(request)) == 2 * (2 * 4) * 5


def test_an_evicting_cache_is_full_in_the_prompt_and_bounded_after_it() -> None:
    model, request = tiny(mixers="evict", kv_budget=6), Request(batch=2, prompt=20, generate=5)
    assert macs(model, request, passes="prefill") == macs(tiny(), request, passes="prefill")
    assert macs(model, request, passes="decode") == 2 * 4 * (4 * (LAYER + 6 * 16) + HEAD)
    assert attention_of(model, request, "decode") == {"attention": 2 * 6 * (2 * 4) * 2}
    assert state_elements(model.workload(request)) == 2 * 4 * (2 * 4) * 6
    roomy = tiny(mixers="evict", kv_budget=100)
    assert macs(roomy, request) == macs(tiny(), request)


def test_a_slice_has_no_ends_and_a_head_may_see_every_token() -> None:
    request = Request(batch=2, prompt=5, generate=0)
    assert macs(tiny(ends=False), request) == 2 * 4 * (5 * LAYER + span(1, 5) * 16)
    assert macs(tiny(logits="all"), request) - macs(tiny(ends=False), request) == 2 * 5 * HEAD
    assert tiny(ends=False).summary()["parameters"] == 4 * (LAYER + 2 * 8)
    assert macs(tiny(causal=False, ends=False), request) == 2 * 4 * (5 * LAYER + 5 * 5 * 16)


@pytest.mark.parametrize(
    ("knobs", "word"),
    [
        ({"mixers": "reuse,attention"}, "before it"),
        ({"mixers": "mamba", "causal": False}, "causal"),
        ({"sharing": 4}, "cached"),
        ({"cascade": True, "cached": 8}, "sharing"),
    ],
)
def test_knobs_of_caches_that_contradict_each_other_are_refused(knobs: dict[str, object], word: str) -> None:
    with pytest.raises(BadValueError, match=word):
        tiny(**knobs)


def test_layers_that_share_keys_train_what_they_hold() -> None:
    """Three times the forward pass of the weights; attention twice more and once again to recompute its scores."""
    model, request = tiny(mixers="attention,reuse"), Request(batch=2, prompt=5, mode="train")
    weights = 2 * 5 * (2 * LAYER + 2 * (LAYER - 8 * (2 * 4)) + HEAD)
    pairs = 2 * 4 * span(1, 5) * 16
    assert macs(model, request) == 3 * weights + 3.5 * pairs


@pytest.mark.parametrize("mixers", ["attention,reuse", "keys,reuse", "evict"])
def test_tensor_parallel_ranks_divide_shared_caches(mixers: str) -> None:
    model = tiny(kv_heads=2, mixers=mixers, cached=64, sharing=4, cascade=True)
    one, two = (ac.predict(model, on="h100-sxm", batch=8, prompt=8, generate=8, tp=n) for n in (1, 2))
    assert two.memory_parts_bytes["state"] == one.memory_parts_bytes["state"] / 2


def test_a_training_step_has_no_cache_before_it() -> None:
    with pytest.raises(BadValueError, match="cached"):
        tiny(cached=4).workload(Request(mode="train"))


# -- the files


def test_latent_thoughts_have_no_head_and_words_have_one() -> None:
    model, request = technique("latent-chain-of-thought"), Request(prompt=100, generate=10)
    body = Network(16, 2048, 32, 8, 64, 8192, 0)
    by_hand = LLAMA_1B.prompt(100) + body.steps(101, 6) + LLAMA_1B.steps(107, 10)
    assert macs(model, request) == pytest.approx(by_hand, rel=1e-12)
    words = technique("latent-chain-of-thought", latents=0, words=60)
    assert macs(words, request) == pytest.approx(LLAMA_1B.prompt(100) + LLAMA_1B.steps(101, 70), rel=1e-12)
    assert state_elements(model.workload(request)) == 16 * LLAMA_1B.cache * (100 + 6 + 1 + 10)


def test_a_round_of_drafts_is_levels_of_branches_and_one_pass_over_the_tree() -> None:
    model, request = technique("draft-tree-decoding", width=3, depth=5, accepted=4), Request(prompt=64, generate=40)
    draft = Network(4, 1024, 8, 8, 128, 2816, 32000)
    rounds, context = 10, 64 + 20
    levels = 5 * draft.macs(3, span(context + 1, context + 3), 3)
    tree = LLAMA_2_7B.macs(16, span(context + 1, context + 16), 16)
    by_hand = LLAMA_2_7B.prompt(64) + draft.prompt(64) + rounds * (levels + tree)
    assert macs(model, request) == pytest.approx(by_hand, rel=1e-12)
    held = 32 * LLAMA_2_7B.cache * (64 + 40 + 15 + 1) + 4 * draft.cache * (64 + 20 + 3)
    assert state_elements(model.workload(request)) == held
    assert model.summary()["parameters"] == load_model("llama-2-7b").summary()["parameters"] + round(
        4 * (draft.layer + 2 * 1024) + 1024 + 2 * 32000 * 1024
    )


def test_skipped_layers_cost_memory_and_nothing_else() -> None:
    half, request = technique("layer-skipping", speedup=2), Request(prompt=64, generate=16)
    kept = Network(16, 4096, 32, 32, 128, 11008, 32000)
    assert macs(half, request) == pytest.approx(kept.prompt(64) + kept.steps(65, 15), rel=1e-12)
    assert half.summary()["parameters"] == load_model("llama-7b").summary()["parameters"]
    assert state_elements(half.workload(request)) == 16 * kept.cache * (64 + 16) + 16 * kept.cache  # and one token


def test_nested_depths_are_one_set_of_weights() -> None:
    model, request = technique("nested-depths", first_12=0.5, first_24=0.25), Request(prompt=64, generate=16)
    by_hand = 0.0
    for layers, often in ((12, 0.5), (24, 0.25), (40, 0.25)):
        depth = Network(layers, 5120, 40, 40, 128, 13824, 32000)
        by_hand += often * (depth.prompt(64) + depth.steps(65, 15))
    assert macs(model, request) == pytest.approx(by_hand, rel=1e-12)
    assert model.summary()["parameters"] == load_model("llama-2-13b").summary()["parameters"]


def test_a_tree_holds_each_common_token_once() -> None:
    model = technique("tree-search", width=16, steps=4, step_tokens=32, sharing=4)
    request, context = Request(prompt=128), 128 + 64
    grown = 16 * MISTRAL.steps(context + 1, 32)
    body = Network(32, 4096, 32, 8, 128, 14336, 0)
    scored = 16 * body.macs(32, span(context + 1, context + 32), 0) + 16 * 4096
    assert macs(model, request) == pytest.approx(MISTRAL.prompt(128) + 4 * (grown + scored), rel=1e-12)
    shared = 16 * context / 4
    held = 32 * MISTRAL.cache * (shared + 16 * (1 + 32) + shared + 16 * 32)
    assert state_elements(model.workload(request)) == held


def test_recycled_steps_read_what_the_last_full_step_chose() -> None:
    model, request = technique("recycled-attention", stride=8, kept=1024), Request(prompt=8192, generate=17)
    full = LLAMA_8B.steps(8193, 16)
    recycled = LLAMA_8B.macs(16, 16 * 1024, 16)
    assert macs(model, request) == pytest.approx(LLAMA_8B.prompt(8192) + full / 8 + recycled * 7 / 8, rel=1e-12)
    assert state_elements(model.workload(request)) == 32 * LLAMA_8B.cache * (8192 + 17)
    fewer = read_bytes(technique("recycled-attention", stride=1), request) - read_bytes(model, request)
    caches = 32 * LLAMA_8B.cache * 2 * (span(8193, 8208) - 16 * 1024) * 7 / 8
    choices = 32 * 2 * 2 * 32 * (8192 + 8.5) * 17 * 7 / 8
    assert fewer == pytest.approx(caches + choices, rel=1e-9)


def test_switching_runs_each_model_for_its_share_and_lets_both_follow() -> None:
    model, request = technique("model-switching", large_share=0.25, run=4), Request(prompt=64, generate=41)
    small, large = LLAMA_1B, LLAMA_8B
    own = 0.75 * small.steps(65, 40) + 0.25 * large.steps(65, 40)
    runs, context = 41 * 0.25 / 4, 64 + 20
    follow = small.macs(4, span(context + 1, context + 4), 1) + large.macs(12, span(context + 1, context + 12), 1)
    by_hand = small.prompt(64) + large.prompt(64) + own + runs * follow
    assert macs(model, request) == pytest.approx(by_hand, rel=1e-12)
    assert state_elements(model.workload(request)) == (16 * small.cache + 32 * large.cache) * (64 + 41)


def test_a_cascade_pays_the_super_model_for_those_it_sends_on() -> None:
    request = Request(prompt=100, generate=1)
    none, some = (macs(technique("energy-cascade", escalated=e), request) for e in (0, 0.3))
    wide, hidden, inter, tokens = 128 * 128, 1024, 65536, 100
    encoder = tokens * (4 * hidden * wide + 2 * hidden * inter) + 2 * wide * tokens**2
    first = 4 * hidden * wide + 2 * wide + 2 * hidden * wide + 2 * wide * tokens + 2 * hidden * inter
    crossing = tokens * 2 * hidden * wide
    t5_11b = 24 * (encoder + first + crossing) + hidden * 32128
    assert some - none == pytest.approx(0.3 * t5_11b, rel=1e-9)
    held = technique("energy-cascade").summary()["parameters"]
    assert held == sum(load_model(name).summary()["parameters"] for name in ("t5-large", "t5-11b"))


def test_tokens_that_leave_a_recursion_cost_nothing_further() -> None:
    model, request = technique("mixture-of-recursions", second=0.5, third=0.25), Request(prompt=64, generate=32)
    unique, shared = Network(2, 960, 15, 5, 64, 2560, 49152), Network(10, 960, 15, 5, 64, 2560, 0)
    by_hand = unique.prompt(64) + unique.steps(65, 31)
    for share in (1, 0.5, 0.25):
        by_hand += shared.prompt(int(64 * share)) + shared.steps(64 * share + 1, 32 * share - 1)
    routers = 960 * (96 + 48)
    assert macs(model, request) == pytest.approx(by_hand + routers, rel=1e-12)
    held = 12 * (shared.layer + 2 * 960) + 960 + 49152 * 960 + 2 * 960
    assert model.summary()["parameters"] == held
    assert state_elements(model.workload(request)) == shared.cache * 96 * (2 + 10 * (1 + 0.5 + 0.25))
    one_cache = {"second.mixers": "reuse", "third.mixers": "reuse", "own_caches": 0}
    reused = technique("mixture-of-recursions", second=0.5, third=0.25, **one_cache)
    assert macs(model, request) - macs(reused, request) == 10 * 960 * 640 * ((32 + 15) + (16 + 7))
    assert state_elements(reused.workload(request)) == shared.cache * 96 * 12
    several = model.workload(Request(batch=np.array([1, 3]), prompt=64, generate=32))
    caches = [o.state_elements for b in several.stored for o in b.operators if o.name == "cache" and o.op == "copy"]
    assert any(np.array_equal(c, [640 * 72, 3 * 640 * 72]) for c in caches)


def test_a_predicted_cache_lets_the_base_model_start_at_the_last_token() -> None:
    model, request = technique("kv-prediction"), Request(prompt=101, generate=5)
    maps = 32 * 2 * 1024 * 512
    by_hand = LLAMA_1B.prompt(100) + 100 * maps + LLAMA_8B.steps(101, 5)
    assert macs(model, request) == pytest.approx(by_hand, rel=1e-12)
    parameters = sum(load_model(name).summary()["parameters"] for name in ("llama-3.2-1b", "llama-3.1-8b"))
    assert model.summary()["parameters"] == parameters + maps
    first = ac.predict(FOLDER / "kv-prediction.yaml", on="core-i7-12700h", generate=1)
    alone = ac.predict("llama-3.1-8b", on="core-i7-12700h", prompt=2048, generate=1)
    assert first.latency_s is not None
    assert alone.latency_s is not None
    assert first.latency_s.value < 0.5 * alone.latency_s.value


def test_a_student_of_half_the_depth_saves_half_of_the_layers() -> None:
    teacher, student = (technique("half-depth-longformer", layers=n) for n in (12, 6))
    request = Request(prompt=4096)
    layer = 4 * 768 * 768 + 2 * 768 * 3072  # a token
    layer += 2 * 768 * 768  # global keys and values
    window, few = 513 * 2 * 768, 1 * 2 * 768  # pairs with neighbours and with the one global token
    glob = 768 * 768 + 4096 * 2 * 768  # its own query, which sees all
    assert macs(teacher, request) - macs(student, request) == 6 * (4096 * (layer + window + few) + glob)
    everywhere = {"student.attention": "full", "student.window": 0}
    full = op_macs(technique("half-depth-longformer", **everywhere), request, attention=True)
    assert full == 6 * 4096**2 * 2 * 768


def test_every_answer_has_five_axes_and_a_life_adds_up_its_stages() -> None:
    model, request = technique("life-cycle", pretraining_steps=7, tuning_steps=2, requests=5), Request(prompt=256)
    serving = LLAMA_1B.prompt(256) + LLAMA_1B.steps(257, 127)
    step = macs("llama-3.2-1b", Request(prompt=256, mode="train"))
    assert macs(model, request) == pytest.approx(9 * step + 5 * serving, rel=1e-12)
    estimate = ac.predict(FOLDER / "life-cycle.yaml", on="h200-sxm", tp=2, prompt=256)
    axes = (estimate.work_flop, estimate.memory_bytes.value, estimate.link_bytes)
    assert all(axis is not None and axis > 0 for axis in axes)
    assert all(axis is not None and axis.value > 0 for axis in (estimate.energy_j, estimate.cost_usd))


@pytest.mark.parametrize(("wanted", "thought"), [(12000, 4096), (1000, 1000)])
def test_a_thought_ends_at_its_budget(wanted: int, thought: int) -> None:
    model, request = technique("thinking-budget", wanted=wanted), Request(prompt=64, generate=100)
    assert macs(model, request) == pytest.approx(QWEN3_8B.prompt(64) + QWEN3_8B.steps(65, thought + 99), rel=1e-12)
    assert state_elements(model.workload(request)) == 36 * QWEN3_8B.cache * (64 + thought + 100)


@pytest.mark.parametrize(
    ("name", "billions"),
    [("0.6b", 0.6), ("1.7b", 1.7), ("4b", 4.0), ("8b", 8.2), ("14b", 14.8), ("32b", 32.8), ("30b-a3b", 30.5),
     ("235b-a22b", 235)],
)  # fmt: skip
def test_the_zoo_of_qwen3_is_built_in(name: str, billions: float) -> None:
    """Sizes of the Qwen3 report (arXiv 2505.09388), tables 1 and 2."""
    assert load_model(f"qwen3-{name}").summary()["parameters"] / 1e9 == pytest.approx(billions, rel=0.03)


# -- serving and sharing of caches


def test_a_group_pays_its_prefix_once() -> None:
    model, request = technique("prefix-groups", group=8, prefix=512), Request(batch=2, prompt=16, generate=9)
    suffix = LLAMA_8B.macs(16, span(513, 528), 1) + LLAMA_8B.steps(529, 8)
    assert macs(model, request) == pytest.approx(2 * LLAMA_8B.prompt(512) + 16 * suffix, rel=1e-12)
    assert state_elements(model.workload(request)) == 32 * LLAMA_8B.cache * (2 * 512 + 16 * 25)
    once = technique("prefix-groups", group=8, prefix=512, **{"answers.cascade": True})
    asked = Request(batch=2, prompt=16, generate=0)
    prefix = 32 * LLAMA_8B.cache * 2 * 512 * (16 - 2)  # read by 2 groups in place of 16 requests
    queries = 32 * 16 * 16 * 4096 * 2 * 2  # read and written once more, for the second part of attention
    merge = 32 * 16 * 16 * 4096 * 2 * 3
    assert read_bytes(model, asked) - read_bytes(once, asked) == pytest.approx(prefix - queries - merge, rel=1e-9)


def test_samples_of_one_prompt_share_it() -> None:
    model, request = technique("self-consistency", samples=4), Request(batch=3, prompt=65, generate=8)
    by_hand = 3 * LLAMA_8B.prompt(64) + 12 * LLAMA_8B.steps(65, 8)
    assert macs(model, request) == pytest.approx(by_hand, rel=1e-12)
    assert state_elements(model.workload(request)) == 32 * LLAMA_8B.cache * (3 * 64 + 12 * 9)


def test_a_verifier_reads_each_answer_once() -> None:
    model, request = technique("best-of-n", samples=4, scores=5), Request(prompt=65, generate=8)
    policy = LLAMA_8B.prompt(64) + 4 * LLAMA_8B.steps(65, 8)
    verifier = Network(28, 3584, 28, 4, 128, 18944, 0)
    read = verifier.prompt(65) + 4 * (verifier.macs(8, span(66, 73), 0) + 5 * 3584)
    assert macs(model, request) == pytest.approx(policy + read, rel=1e-12)
    held = 32 * LLAMA_8B.cache * (64 + 4 * 9) + 28 * verifier.cache * (65 + 4 * 8)
    assert state_elements(model.workload(request)) == held


@pytest.mark.parametrize(("mixers", "makers"), [("attention,reuse", 16), ("attention,reuse*3", 8)])
def test_layers_on_one_cache_save_projections_and_memory(mixers: str, makers: int) -> None:
    model, request = technique("cross-layer-attention", **{"model.mixers": mixers}), Request(prompt=64, generate=1)
    projections = (32 - makers) * 4096 * 2048
    assert macs(model, request) == pytest.approx(LLAMA_8B.prompt(64) - 64 * projections, rel=1e-12)
    assert state_elements(model.workload(request)) == makers * LLAMA_8B.cache * 65
    assert load_model("llama-3.1-8b").summary()["parameters"] - model.summary()["parameters"] == projections


def test_one_cache_for_the_upper_half_and_no_prompt_through_it() -> None:
    model, request = technique("one-cache-decoder", window=16), Request(prompt=1025, generate=1)
    layer, pair, keys = LLAMA_8B.layer, 2 * 4096, 4096 * 2048
    seen = span(1, 16) + (1024 - 16) * 16
    lower = 16 * (1024 * layer + seen * pair) + 1024 * keys
    last = 16 * (layer + 16 * pair) + keys + 16 * (layer - keys + 1025 * pair)
    assert macs(model, request) == pytest.approx(lower + last + 2 * LLAMA_8B.head, rel=1e-12)
    assert state_elements(model.workload(request)) == LLAMA_8B.cache * (16 * 16 + 1026)
    rows = {"norms": 33 + 32 + 1, "keys": keys, "layers": 16 * layer + 16 * (layer - keys), "tables": 2 * 128256 * 4096}
    assert model.summary()["parameters"] == 4096 * rows["norms"] + rows["keys"] + rows["layers"] + rows["tables"]


def test_turns_that_find_their_cache_pay_the_new_tokens() -> None:
    request = Request(prompt=16, generate=9)
    before = 2 * 25  # the mean of five turns
    hits = technique("multi-turn", turns=5, hit=1)
    turns = sum(LLAMA_8B.macs(16, span(25 * t + 1, 25 * t + 16), 1) + LLAMA_8B.steps(25 * t + 17, 8) for t in range(5))
    assert macs(hits, request) == pytest.approx(turns, rel=1e-12)
    missed = macs(technique("multi-turn", turns=5, hit=0), request) - macs(hits, request)
    assert missed == pytest.approx(5 * LLAMA_8B.macs(before, span(1, before), 0), rel=1e-9)
    assert state_elements(hits.workload(request)) == 32 * LLAMA_8B.cache * 5 * 25


def test_chunks_of_a_prompt_sum_to_it_and_hold_little_at_a_time() -> None:
    model, request = technique("chunked-prompt", chunk=64), Request(prompt=1024, generate=9)
    whole = LLAMA_8B.prompt(1024, scored=16) + LLAMA_8B.steps(1025, 8)
    assert macs(model, request) == pytest.approx(whole, rel=1e-12)
    parts = [
        ac.predict(FOLDER / "chunked-prompt.yaml", on="h200-sxm", knobs={"chunk": c}).memory_parts_bytes
        for c in (2048, 65536)
    ]
    assert parts[1]["activations"] / parts[0]["activations"] == pytest.approx(32, rel=0.01)
    assert parts[0]["state"] == parts[1]["state"] == 131072 * (65536 + 64)


def test_pruned_tokens_pass_the_lower_layers_only() -> None:
    model, request = technique("prompt-token-pruning", kept=0.25), Request(prompt=64, generate=9)
    lower, upper = Network(8, 4096, 32, 8, 128, 14336, 128256), Network(24, 4096, 32, 8, 128, 14336, 0)
    by_hand = lower.prompt(64) + lower.steps(65, 8) + upper.prompt(16) + upper.steps(17, 8)
    assert macs(model, request) == pytest.approx(by_hand, rel=1e-12)
    assert state_elements(model.workload(request)) == LLAMA_8B.cache * (8 * 73 + 24 * 25)
    assert model.summary()["parameters"] == load_model("llama-3.1-8b").summary()["parameters"]


def test_half_the_bits_of_a_cache_are_half_its_reads_and_its_memory() -> None:
    request = Request(prompt=1024, generate=2)
    full, half = load_model("llama-3.1-8b"), technique("quantized-cache")
    read = 32 * LLAMA_8B.cache * (1024 + 1025)  # bytes less: one an element, prompt and one step
    written = 2 * 32 * LLAMA_8B.cache * 1025  # the copy into the cache reads and writes it
    assert read_bytes(full, request) - read_bytes(half, request) == pytest.approx(read + written, rel=1e-9)
    estimate = ac.predict(FOLDER / "quantized-cache.yaml", on="h200-sxm", prompt=1000, generate=24)
    assert estimate.memory_parts_bytes["state"] == 32 * LLAMA_8B.cache * 1024


def test_an_evicted_cache_does_not_grow_with_the_answer() -> None:
    model, request = technique("cache-eviction", sinks=4, recent=60), Request(prompt=512, generate=33)
    by_hand = LLAMA_8B.prompt(512) + LLAMA_8B.macs(32, 32 * 64, 32)
    assert macs(model, request) == pytest.approx(by_hand, rel=1e-12)
    assert state_elements(model.workload(request)) == 32 * LLAMA_8B.cache * 64


def test_cheap_steps_of_masked_diffusion_run_a_block_against_the_rest() -> None:
    model = technique("masked-diffusion-language-model", steps=16, refresh=4, block=8)
    llada, request = Network(32, 4096, 32, 32, 128, 12288, 126464), Request(prompt=96, generate=32)
    full, cheap = llada.macs(128, 128 * 128, 128), llada.macs(8, 8 * 128, 8)
    assert macs(model, request) == pytest.approx(4 * full + 12 * cheap, rel=1e-12)
    assert state_elements(model.workload(request)) == 32 * llada.cache * 128
    assert model.summary()["parameters"] == pytest.approx(8.02e9, rel=0.001)  # LLaDA 8B (arXiv 2502.09992)
