"""FLOP and bytes of every operator family, against numbers derived by hand and against loops."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.table import OPS, OpTable
from workloads.work import FIELDS, OpWork, attention_span, conv_output, count_work, expert_load


def work(op: str, **columns: object) -> OpWork:
    return count_work(OpTable.from_columns({"op": op, "dtype": "bf16", "kv_dtype": "bf16", **columns}))


def moved(w: OpWork) -> tuple[float, float, float]:
    return float(np.squeeze(w.weight_bytes)), float(np.squeeze(w.input_bytes)), float(np.squeeze(w.output_bytes))


def one(value: object) -> float:
    return float(np.squeeze(np.asarray(value)))


def test_a_gemm_counts_two_flop_a_multiply_add_and_each_operand_once() -> None:
    w = work("gemm", m=3, n=5, k=7)
    assert one(w.matrix_flop) == 2 * 3 * 5 * 7 == 210
    assert one(w.macs) == 105
    assert moved(w) == (5 * 7 * 2, 3 * 7 * 2, 3 * 5 * 2) == (70, 42, 30)
    assert one(w.vector_flop) == one(w.link_bytes) == 0


def test_a_batched_gemm_is_so_many_gemms() -> None:
    w = work("gemm", m=3, n=5, k=7, batch=4)
    assert one(w.matrix_flop) == 4 * 210
    assert moved(w) == (280, 168, 120)


@pytest.mark.parametrize(
    ("dtype", "weights", "inputs", "outputs"),
    [
        ("fp32", 4 * 128 * 256, 4 * 64 * 128, 4 * 64 * 256),
        ("fp8", 128 * 256, 64 * 128, 2 * 64 * 256),
        ("int8", 128 * 256, 64 * 128, 64 * 256),
        # 4-bit weights, an FP16 scale and a 4-bit zero point in 128: 4 + 20/128 bits
        ("w4a16", 128 * 256 * (4 + 20 / 128) / 8, 2 * 64 * 128, 2 * 64 * 256),
        # one 8-bit scale in 32 elements
        ("mxfp4", 128 * 256 * 4.25 / 8, 64 * 128 * 4.25 / 8, 2 * 64 * 256),
        # an FP32 scale a 128 x 128 block of weights and a 1 x 128 strip of activations
        ("fp8_block", 128 * 256 * (8 + 32 / 16384) / 8, 64 * 128 * 8.25 / 8, 2 * 64 * 256),
    ],
)
def test_bytes_of_a_gemm_follow_its_format_scales_included(
    dtype: str, weights: float, inputs: float, outputs: float
) -> None:
    w = work("gemm", m=64, n=256, k=128, dtype=dtype)
    assert moved(w) == pytest.approx((weights, inputs, outputs), rel=1e-12)


def test_causal_attention_of_four_tokens_by_hand() -> None:
    # pairs 1 + 2 + 3 + 4 = 10; a score and a value product of depth 8 each; 2 sequences, 6 heads, 3 key-value heads
    w = work("attention", batch=2, q_len=4, heads=6, kv_heads=3, head_dim=8)
    assert one(w.matrix_flop) == 2 * 10 * (8 + 8) * 6 * 2 == 3840
    assert one(w.vector_flop) == 5 * 10 * 6 * 2 == 600
    assert moved(w) == (2 * 4 * 3 * 16 * 2, 2 * 4 * 6 * 8 * 2, 2 * 4 * 6 * 8 * 2) == (768, 768, 768)


def test_a_decode_step_reads_the_whole_cache_once() -> None:
    w = work("attention", batch=2, q_len=1, kv_len=100, heads=8, kv_heads=2, head_dim=16, kv_dtype="fp8")
    assert one(w.matrix_flop) == 2 * 100 * 32 * 8 * 2
    assert moved(w) == (2 * 100 * 2 * 32 * 1, 2 * 8 * 16 * 2, 2 * 8 * 16 * 2)


def test_uncausal_attention_with_its_own_value_size() -> None:
    w = work("attention", batch=1, q_len=3, kv_len=5, heads=2, head_dim=4, v_dim=6, causal=0)
    assert one(w.matrix_flop) == 2 * 15 * (4 + 6) * 2 == 600
    assert moved(w) == (5 * 2 * 10 * 2, 3 * 2 * 4 * 2, 3 * 2 * 6 * 2)


def test_sparse_attention_does_a_share_of_the_pairs_and_a_decode_step_reads_that_share() -> None:
    prefill = work("attention", batch=1, q_len=4, heads=1, head_dim=8, density=0.5)
    assert one(prefill.matrix_flop) == 2 * 5 * 16
    assert moved(prefill)[0] == 4 * 16 * 2
    decode = work("attention", batch=1, q_len=1, kv_len=64, heads=1, head_dim=8, density=0.25)
    assert moved(decode)[0] == 16 * 16 * 2


@given(q=st.integers(1, 12), more=st.integers(0, 12), window=st.integers(0, 30), causal=st.booleans())
def test_attention_pairs_and_keys_equal_those_counted_one_by_one(q: int, more: int, window: int, causal: bool) -> None:
    kv = q + more
    seen: list[set[int]] = []
    for i in range(q):
        last = kv - q + i if causal else kv - 1
        reach = window or kv
        # an uncausal window may lie anywhere: here it slides with the query, kept inside the keys
        first = max(0, last - reach + 1) if causal else min(max(0, kv - q + i - reach + 1), max(0, kv - reach))
        seen.append(set(range(first, last + 1 if causal else min(kv, first + reach))))
    table = OpTable.from_columns(
        {"op": "attention", "q_len": q, "kv_len": kv, "window": window, "causal": int(causal), "batch": 1, "heads": 1}
    )
    pairs, touched = attention_span(table)
    assert one(pairs) == sum(len(keys) for keys in seen)
    # every query's window, sliding by one, covers exactly these; without a mask fewer may be touched, never more
    assert one(touched) >= len(set().union(*seen)) if not causal else one(touched) == len(set().union(*seen))
    assert one(touched) <= kv


def test_latent_attention_in_prefill_by_hand() -> None:
    # head 4 + rope 2 for scores, 4 for values; causal pairs of 3 tokens: 6
    w = work("mla", batch=2, q_len=3, heads=5, kv_rank=7, rope_dim=2, head_dim=4, phase="prefill")
    assert one(w.matrix_flop) == 2 * 6 * 5 * 2 * (4 + 2 + 4) == 1200
    assert one(w.vector_flop) == 5 * 6 * 5 * 2
    assert moved(w) == (2 * 3 * (7 + 2) * 2, 2 * 3 * 5 * 6 * 2, 2 * 3 * 5 * 4 * 2)


def test_latent_attention_in_decode_works_on_the_latent() -> None:
    w = work("mla", batch=2, q_len=1, kv_len=10, heads=5, kv_rank=7, rope_dim=2, head_dim=4, phase="decode")
    assert one(w.matrix_flop) == 2 * 10 * 5 * 2 * (7 + 2 + 7) == 3200
    assert moved(w) == (2 * 10 * 9 * 2, 2 * 5 * 9 * 2, 2 * 5 * 7 * 2)


def test_gated_experts_by_hand() -> None:
    # 1 token, 2 of 4 experts: 2 rows, 2 distinct experts (4 (1 - 1/2)), three matrices of 8 x 16
    w = work("moe", tokens=1, hidden=8, inter=16, experts=4, topk=2)
    assert one(w.matrix_flop) == 2 * 2 * 8 * 16 * 3 == 1536
    assert one(w.vector_flop) == 2 * 16 * 4
    assert moved(w) == (2 * 8 * 16 * 3 * 2, 2 * 8 * 2, 2 * 8 * 2)


def test_experts_with_two_matrices_divided_over_four_ranks() -> None:
    whole = work("moe", tokens=64, hidden=8, inter=16, experts=4, topk=2, gated=0)
    assert one(whole.matrix_flop) == 2 * 128 * 8 * 16 * 2
    part = work("moe", tokens=64, hidden=8, inter=16, experts=4, topk=2, gated=0, tp=2, ep=2)
    assert one(part.matrix_flop) * 4 == one(whole.matrix_flop)


@given(experts=st.integers(1, 6), topk=st.integers(1, 3), tokens=st.integers(1, 4))
def test_expected_distinct_experts_equal_the_mean_over_all_choices(experts: int, topk: int, tokens: int) -> None:
    topk = min(topk, experts)
    choices = list(itertools.combinations(range(experts), topk))
    draws = list(itertools.product(choices, repeat=tokens)) if len(choices) ** tokens <= 4000 else []
    if not draws:
        return
    mean = sum(len({e for choice in draw for e in choice}) for draw in draws) / len(draws)
    _, hit = expert_load(OpTable.from_columns({"op": "moe", "tokens": tokens, "experts": experts, "topk": topk}))
    assert one(hit) == pytest.approx(mean, rel=1e-12)


def test_skewed_experts_hit_as_many_as_independent_draws_do() -> None:
    experts, topk, tokens, skew = 16, 2, 12, 0.8
    p = np.arange(1, experts + 1, dtype=float) ** -skew
    p /= p.sum()
    chosen = np.random.default_rng(7).random((20_000, tokens, experts)) < np.minimum(1, topk * p)
    mean = chosen.any(axis=1).sum(axis=1).mean()
    table = OpTable.from_columns({"op": "moe", "tokens": tokens, "experts": experts, "topk": topk, "skew": skew})
    assert one(expert_load(table)[1]) == pytest.approx(mean, rel=0.005)


def test_the_busiest_rank_bears_the_most_popular_expert() -> None:
    columns = {"op": "moe", "tokens": 100, "experts": 4, "topk": 1, "ep": 4}
    even, _ = expert_load(OpTable.from_columns({**columns, "skew": 0}))
    skewed, _ = expert_load(OpTable.from_columns({**columns, "skew": 1.0}))
    assert one(even) == 25
    assert one(skewed) == pytest.approx(100 / (1 + 1 / 2 + 1 / 3 + 1 / 4))  # p_1 = 12/25


@given(size=st.integers(1, 20), kernel=st.integers(1, 5), stride=st.integers(1, 4), padding=st.integers(0, 3))
def test_convolution_outputs_are_as_many_as_the_places_of_the_window(
    size: int, kernel: int, stride: int, padding: int
) -> None:
    places = len(range(-padding, size + padding - kernel + 1, stride))
    if not places:
        return
    shape = {"op": "conv2d", "h": size, "w": size + stride, "kh": kernel, "kw": kernel, "stride": stride}
    out_h, out_w = conv_output(OpTable.from_columns({**shape, "padding": padding}))
    assert (one(out_h), one(out_w)) == (places, places + 1)


def test_the_first_convolution_of_resnet_50_by_hand() -> None:
    w = work("conv2d", batch=1, c_in=3, h=224, w=224, c_out=64, kh=7, kw=7, stride=2, padding=3)
    assert one(w.macs) == 112 * 112 * 64 * 3 * 49 == 118_013_952
    assert moved(w) == (3 * 64 * 49 * 2, 3 * 224 * 224 * 2, 64 * 112 * 112 * 2)


def test_a_depthwise_convolution_has_one_filter_a_channel() -> None:
    w = work("conv2d", batch=2, c_in=32, h=8, w=8, c_out=32, kh=3, kw=3, padding=1, groups=32)
    assert one(w.macs) == 2 * 64 * 32 * 9
    assert moved(w) == (32 * 9 * 2, 2 * 32 * 64 * 2, 2 * 32 * 64 * 2)


@pytest.mark.parametrize(
    ("op", "extra", "flop", "traffic"),
    [
        ("norm", {}, 7 * 24, (6 * 2, 48, 48)),
        ("norm", {"flop_per_element": 4}, 4 * 24, (6 * 2, 48, 48)),
        ("softmax", {}, 5 * 24, (0, 48, 48)),
        ("elementwise", {"operands": 2}, 24, (0, 96, 48)),
        ("elementwise", {"operands": 2, "flop_per_element": 5}, 120, (0, 96, 48)),
        ("copy", {}, 0, (0, 48, 48)),
        ("embedding", {}, 0, (48, 4 * 8, 48)),
    ],
)
def test_pointwise_operators_on_four_rows_of_six(
    op: str, extra: dict[str, float], flop: float, traffic: tuple[float, float, float]
) -> None:
    w = work(op, rows=4, hidden=6, **extra)
    assert one(w.vector_flop) == flop
    assert one(w.matrix_flop) == 0
    assert moved(w) == traffic


def test_a_scan_by_hand() -> None:
    # 2 sequences, 3 tokens, 4 heads of 5: 120 channels; 6 FLOP for each of 7 states
    w = work("scan", batch=2, q_len=3, heads=4, head_dim=5, state=7)
    assert one(w.vector_flop) == 6 * 120 * 7
    assert moved(w) == (2 * (2 * 4 * 5 * 7) * 2, (2 * 120 + 2 * 6 * 7) * 2, 120 * 2)


@pytest.mark.parametrize(
    ("kind", "sent", "additions"),
    [
        # 1000 bytes of bf16 on 4 ranks: a part is 750 bytes, 375 numbers
        ("all_reduce", 1500, 375),
        ("all_gather", 750, 0),
        ("reduce_scatter", 750, 375),
        ("all_to_all", 750, 0),
        ("send_recv", 1000, 0),
    ],
)
def test_a_collective_sends_what_the_optimal_algorithm_sends(kind: str, sent: float, additions: float) -> None:
    w = work("collective", kind=kind, bytes=1000, ranks=4)
    assert one(w.link_bytes) == sent
    assert one(w.vector_flop) == additions
    assert moved(w) == (0, sent, sent)


@pytest.mark.parametrize("kind", ["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send_recv"])
def test_a_collective_of_one_rank_sends_nothing(kind: str) -> None:
    assert one(work("collective", kind=kind, bytes=1000, ranks=1).link_bytes) == 0


EXAMPLES: dict[str, dict[str, float]] = {
    "gemm": {"m": 3, "n": 5, "k": 7, "batch": 2},
    "attention": {"batch": 2, "q_len": 4, "kv_len": 9, "heads": 6, "kv_heads": 3, "head_dim": 8, "window": 5},
    "mla": {"batch": 2, "q_len": 3, "heads": 5, "kv_rank": 7, "rope_dim": 2, "head_dim": 4},
    "moe": {"tokens": 9, "hidden": 8, "inter": 16, "experts": 4, "topk": 2},
    "conv2d": {"batch": 2, "c_in": 4, "h": 9, "w": 7, "c_out": 6, "kh": 3, "kw": 3, "stride": 2, "groups": 2},
    "collective": {"bytes": 64, "ranks": 4},
    "scan": {"batch": 2, "q_len": 3, "heads": 4, "head_dim": 5, "state": 7},
}


def example(op: str) -> dict[str, object]:
    return {"op": op, "dtype": "bf16", "kv_dtype": "bf16", **EXAMPLES.get(op, {"rows": 4, "hidden": 6})}


@pytest.mark.parametrize("op", ["gemm", "attention", "mla", "moe", "conv2d"])
@pytest.mark.parametrize("phase", ["prefill", "decode"])
def test_the_matrix_view_has_exactly_the_matrix_flop(op: str, phase: str) -> None:
    w = count_work(OpTable.from_columns({**example(op), "phase": phase}))
    assert one(2 * w.m * w.n * w.k * w.gemms) == pytest.approx(one(w.matrix_flop), rel=1e-12)
    assert one(w.matrix_flop) > 0


def test_a_mixed_table_counts_as_its_rows_do_alone() -> None:
    tables = [OpTable.from_columns(example(op)) for op in OPS]
    together = count_work(OpTable.concat(tables))
    for i, table in enumerate(tables):
        alone = count_work(table)
        for name in FIELDS:
            assert getattr(together, name)[i] == pytest.approx(one(getattr(alone, name)), rel=1e-12), (OPS[i], name)
