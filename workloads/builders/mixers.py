"""Token mixers of a layer: what lets a token see others. One function a mixer, chosen by name from `MIXERS`.

Each appends the operators from the normalised input to the output projection, as serving stacks fuse them: one
projection for queries, keys and values, one kernel for the rotation, one for the write to the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.builders.chain import ROPE_FLOP, SILU_FLOP, Chain

if TYPE_CHECKING:
    from workloads.builders.decoder import Decoder

Mixer = Callable[["Decoder", Chain], None]


def multi_head(
    chain: Chain, *, hidden: int, heads: int, kv_heads: int, head_dim: int, norm: str = "rms", bias: str = "none",
    qk_norm: bool = False, rope: bool = True, name: str = "attention", causal: bool = True, window: int = 0,
    cached: bool = True, columns: dict[str, Any] | None = None, before: Callable[[], None] | None = None,
) -> None:  # fmt: skip
    """Append self-attention with `kv_heads` key-value heads (MHA, GQA, MQA) from projection to projection.

    `columns` adds to the attention operator's shape; `before` appends what must run just before it (a selector).
    """
    query, pair = heads * head_dim, 2 * kv_heads * head_dim
    chain.gemm("qkv", query + pair, hidden, shard="column", bias=bias != "none")
    rotated = query + pair / 2
    if qk_norm:
        parameters = 2.0 * head_dim * (2 if norm == "layer" else 1)
        chain.pointwise("qk_norm", rotated, 4.0, op="norm", parameters=parameters)
    if rope:
        chain.pointwise("rope", rotated, ROPE_FLOP)
    if cached:
        write_cache(chain, pair)
    if before is not None:
        before()
    attend(chain, name, heads, kv_heads, head_dim, causal=causal, window=window, cached=cached, columns=columns)
    chain.gemm("o", hidden, query, shard="row", bias=bias == "all")


def write_cache(chain: Chain, width: float, *, shard: Any = "hidden") -> None:
    """Append the copy of new keys and values into the cache."""
    chain.pointwise("cache", width, 0.0, op="copy", shard=shard, dtype=chain.step.kv)


def attend(
    chain: Chain, name: str, heads: int, kv_heads: int, head_dim: int, *, causal: bool = True, window: int = 0,
    cached: bool = True, columns: dict[str, Any] | None = None, kv_len: Any = None, kept: Any = None,
) -> None:  # fmt: skip
    """Append the attention kernel over `kv_len` tokens and the state that it keeps (`kept` tokens a sequence)."""
    step = chain.step
    length = step.kv_len if kv_len is None else kv_len
    kept = step.final_len if kept is None else kept
    kept = np.minimum(kept, window) if window else kept
    shape: dict[str, Any] = {
        "batch": step.batch, "q_len": step.q_len, "kv_len": length, "heads": heads, "kv_heads": kv_heads,
        "head_dim": head_dim, "causal": int(causal),
    }  # fmt: skip
    if window:
        shape["window"] = window
    state = step.batch * kept * (2.0 * kv_heads * head_dim) if cached else 0.0
    chain.add(
        name, "attention", shape | (columns or {}), dtype=step.attention, kv_dtype=step.kv, shard="heads",
        state_elements=state, state_dtype=step.kv, state_shards=float(kv_heads),
    )  # fmt: skip


def attention(d: Decoder, chain: Chain, **extra: Any) -> None:
    """Full causal attention."""
    multi_head(
        chain, hidden=d.hidden, heads=d.heads, kv_heads=d.key_value_heads, head_dim=d.head_size, norm=d.norm,
        bias=d.bias, qk_norm=d.qk_norm, rope=d.position == "rope", **extra,
    )  # fmt: skip


def window_attention(d: Decoder, chain: Chain) -> None:
    """Causal attention over the last `window` tokens; the cache holds no more."""
    attention(d, chain, window=d.window)


def sparse_attention(d: Decoder, chain: Chain) -> None:
    """Block-sparse attention that evaluates `sparse_density` of the pairs, in prefill and in decode.

    The estimator that finds the blocks scores `estimator_heads` heads on queries and keys pooled by
    `estimator_pool` (FlexPrefill, arXiv 2502.20766; ProxyAttn pools heads instead).
    """
    attention(d, chain, columns={"density": d.sparse_density}, before=lambda: _estimator(d, chain))


def _estimator(d: Decoder, chain: Chain) -> None:
    if not d.estimator_heads:
        return
    step = chain.step
    shape = {
        "batch": step.batch * d.estimator_heads, "m": np.ceil(step.q_len / d.estimator_pool),
        "n": np.ceil(step.kv_len / d.estimator_pool), "k": d.head_size,
    }  # fmt: skip
    chain.add("estimate", "gemm", shape, dtype=step.attention)


def topk_attention(d: Decoder, chain: Chain) -> None:
    """Full attention in prefill; a decode step scores the cache by pages and reads `topk_keys` tokens of it.

    The selector reads one vector a page of `topk_page` tokens (Quest, arXiv 2406.10774); the cache stays whole.
    """
    step = chain.step
    if not step.decode:
        attention(d, chain)
        return
    kv_heads = d.key_value_heads
    pages = np.ceil(step.kv_len / d.topk_page)

    def select() -> None:
        shape = {"batch": step.batch * kv_heads, "m": d.heads / kv_heads, "n": pages, "k": d.head_size}
        chain.add("select", "gemm", shape, dtype=step.attention)

    density = np.minimum(1.0, d.topk_keys / step.kv_len)
    attention(d, chain, columns={"density": density}, before=select)


def latent_attention(d: Decoder, chain: Chain) -> None:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): the cache holds one latent a token.

    Prefill expands the latent to keys and values. Decode absorbs the expansion into two small batched
    multiplications, one before and one after attention.
    """
    step, heads, nope, rope = chain.step, d.heads, d.head_size, d.rope_dim
    latent, value = d.kv_rank + rope, d.v_dim or d.head_size
    if d.q_rank:
        chain.gemm("qkv_a", d.q_rank + latent, d.hidden)
        chain.pointwise("latent_norm", d.q_rank + d.kv_rank, 4.0, op="norm", shard="", parameters=d.q_rank + d.kv_rank)
        chain.gemm("q_b", heads * (nope + rope), d.q_rank, shard="column")
    else:
        chain.gemm("kv_a", latent, d.hidden, inputs=(normed := chain.last,))
        chain.pointwise("latent_norm", d.kv_rank, 4.0, op="norm", shard="", parameters=d.kv_rank)
        chain.gemm("q", heads * (nope + rope), d.hidden, shard="column", inputs=(normed, chain.last))
    chain.pointwise("rope", heads * rope + rope, ROPE_FLOP)
    write_cache(chain, latent, shard="")
    expand = {"batch": heads, "m": step.tokens}
    if step.decode:
        parameters = float(heads * d.kv_rank * nope)
        shape = expand | {"n": d.kv_rank, "k": nope}
        chain.add("absorb_q", "gemm", shape, dtype=step.dtype, shard="heads", parameters=parameters)
    else:
        chain.gemm("kv_b", heads * (nope + value), d.kv_rank, shard="column")
    columns = {"batch": step.batch, "q_len": step.q_len, "kv_len": step.kv_len, "heads": heads, "head_dim": nope}
    chain.add(
        "attention", "mla", columns | {"kv_rank": d.kv_rank, "rope_dim": rope}, dtype=step.attention, kv_dtype=step.kv,
        shard="heads", state_elements=step.batch * step.final_len * float(latent), state_dtype=step.kv,
    )  # fmt: skip
    if step.decode:
        parameters = float(heads * d.kv_rank * value)
        shape = expand | {"n": value, "k": d.kv_rank}
        chain.add("absorb_v", "gemm", shape, dtype=step.dtype, shard="heads", parameters=parameters)
    chain.gemm("o", d.hidden, heads * value, shard="row")


def linear_attention(d: Decoder, chain: Chain) -> None:
    """Linear attention as a recurrence (Katharopoulos et al. 2020): a state of features x head size for each head.

    `linear_key_dim` is the size of projected queries and keys, `linear_state` that after the feature map (BASED,
    arXiv 2402.18668: 16 and 1 + 16 + 16^2 = 273).
    """
    step, heads, value = chain.step, d.heads, d.head_size
    key = d.linear_key_dim or value
    state = d.linear_state or key
    chain.gemm("qkv", heads * (2 * key + value), d.hidden, shard="column", bias=d.bias != "none")
    chain.pointwise("features", heads * 2 * state, 1.0)
    shape = {"batch": step.batch, "q_len": step.q_len, "heads": heads, "head_dim": value, "state": state}
    chain.add(
        "scan", "scan", shape, shard="heads", state_elements=step.batch * float(heads * value * state),
        state_dtype=step.act, state_shards=float(heads),
    )  # fmt: skip
    chain.gemm("o", d.hidden, heads * value, shard="row", bias=d.bias == "all")


def mamba(d: Decoder, chain: Chain) -> None:
    """Selective state space of Mamba (Gu & Dao 2023, arXiv 2312.00752, section 3.4): per-channel recurrence."""
    inner, rank, state = d.ssm_inner, d.dt_rank or -(-d.hidden // 16), d.ssm_state
    chain.gemm("in_proj", 2 * inner, d.hidden, shard="column")
    _short_convolution(d, chain, inner)
    chain.gemm("x_proj", rank + 2 * state, inner, shard="row")
    chain.gemm("dt_proj", inner, rank, shard="column", bias=True)
    _recurrence(chain, inner, 1, state, parameters=float(inner * state + inner))
    chain.pointwise("gate", inner, SILU_FLOP + 1, operands=2, fused=True)
    chain.gemm("out_proj", d.hidden, inner, shard="row")


def mamba2(d: Decoder, chain: Chain) -> None:
    """State space duality of Mamba-2 (Dao & Gu 2024, arXiv 2405.21060): one decay a head, shared B and C a group."""
    inner, state = d.ssm_inner, d.ssm_state
    heads, shared = inner // d.ssm_head_dim, 2 * d.ssm_groups * state
    chain.gemm("in_proj", 2 * inner + shared + heads, d.hidden, shard="column")
    _short_convolution(d, chain, inner + shared)
    _recurrence(chain, heads, d.ssm_head_dim, state, parameters=3.0 * heads)
    chain.pointwise("gate_norm", inner, SILU_FLOP + 5, operands=2, op="norm", parameters=float(inner))
    chain.gemm("out_proj", d.hidden, inner, shard="row")


def _short_convolution(d: Decoder, chain: Chain, channels: int) -> None:
    """Causal depthwise convolution of `conv_width` taps with SiLU; the last taps are state between steps."""
    state = chain.step.batch * float(channels * (d.conv_width - 1))
    shape = {"rows": chain.step.tokens, "hidden": channels, "flop_per_element": 2.0 * d.conv_width + SILU_FLOP}
    chain.add(
        "conv", "elementwise", shape, shard="hidden", parameters=float(channels * (d.conv_width + 1)),
        state_elements=state, state_dtype=chain.step.act, state_shards=float(channels),
    )  # fmt: skip


def _recurrence(chain: Chain, heads: int, head_dim: int, state: int, *, parameters: float) -> None:
    step = chain.step
    shape = {"batch": step.batch, "q_len": step.q_len, "heads": heads, "head_dim": head_dim, "state": state}
    chain.add(
        "scan", "scan", shape, shard="heads", parameters=parameters, state_dtype=step.act, state_shards=float(heads),
        state_elements=step.batch * float(heads * head_dim * state),
    )  # fmt: skip


MIXERS: dict[str, Mixer] = {
    "attention": attention, "window": window_attention, "sparse": sparse_attention, "topk": topk_attention,
    "mla": latent_attention, "linear": linear_attention, "mamba": mamba, "mamba2": mamba2,
}  # fmt: skip
"""Mixers by the name that the knob `mixers` uses; a new one is a function here."""
