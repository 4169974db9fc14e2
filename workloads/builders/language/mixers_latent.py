"""Multi-head latent attention, and the sparse attention on top of it that an indexer steers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.builders.chain import ROPE_FLOP, Chain
from workloads.builders.language.mixers import write_cache
from workloads.graph import Size

if TYPE_CHECKING:
    from workloads.builders.language.decoder import Decoder

INDEX_FORMAT = "fp8"
INDEX_SCALE_BYTES, INDEX_SCALE_KEYS = 4, 128
"""Keys of the indexer are FP8 with one FP32 scale for 128 elements (inference code of DeepSeek-V3.2-Exp)."""


def latent_attention(d: Decoder, chain: Chain) -> None:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): the cache holds one latent a token.

    Prefill expands the latent to keys and values. Decode absorbs the expansion into two small batched
    multiplications, one before and one after attention.
    """
    _project(d, chain)
    _attend(d, chain, absorbed=chain.step.decode, columns={})


def indexed_attention(d: Decoder, chain: Chain) -> None:
    """DeepSeek sparse attention (DeepSeek-V3.2, arXiv 2512.02556, section 2.1): each query reads `topk_keys` latents.

    A lightning indexer of `index_heads` small heads scores all keys (ReLU, a weight a head, the sum) from a cache of
    one FP8 key a token. The chosen latents are gathered, so that prefill is absorbed as decode is. All pairs before
    the query are scored; prompts that end below `topk_keys` could do without, which is not modelled.
    """
    normed = chain.last
    query_latent = _project(d, chain)
    ready = chain.last
    chosen = _index(d, chain, normed, query_latent)
    density = chosen_share(chain.step.q_len, chain.step.kv_len, d.topk_keys)
    _attend(d, chain, absorbed=True, columns={"density": density, "phase": "decode"}, inputs=(ready, chosen))


def chosen_share(q_len: Size, kv_len: Size, limit: float) -> Size:
    """Return the share of causal pairs that remain where each query sees at most `limit` keys."""
    first = kv_len - q_len + 1
    whole = np.clip(limit - first + 1, 0, q_len)
    pairs = whole * (2 * first + whole - 1) / 2 + (q_len - whole) * limit
    share: Size = pairs / (q_len * (2 * kv_len - q_len + 1) / 2)
    return share


def _project(d: Decoder, chain: Chain) -> str:
    """Append the projections to queries and to the latent, and its write to the cache; return the query latent."""
    heads, nope, rope = d.heads, d.head_size, d.rope_dim
    latent = d.kv_rank + rope
    source = normed = chain.last
    if d.q_rank:
        chain.gemm("qkv_a", d.q_rank + latent, d.hidden)
        ranks = d.q_rank + d.kv_rank
        source = chain.pointwise("latent_norm", ranks, 4.0, op="norm", shard="", parameters=ranks)
        chain.gemm("q_b", heads * (nope + rope), d.q_rank, shard="column")
    else:
        chain.gemm("kv_a", latent, d.hidden, inputs=(normed,))
        chain.pointwise("latent_norm", d.kv_rank, 4.0, op="norm", shard="", parameters=d.kv_rank)
        chain.gemm("q", heads * (nope + rope), d.hidden, shard="column", inputs=(normed, chain.last))
    chain.pointwise("rope", heads * rope + rope, ROPE_FLOP)
    write_cache(chain, latent, shard="")
    return source


def _attend(
    d: Decoder, chain: Chain, *, absorbed: bool, columns: dict[str, Any], inputs: tuple[str, ...] = ()
) -> None:  # fmt: skip
    """Append attention over the latents, with the expansion before it or absorbed around it, and the output."""
    step, heads, nope, value = chain.step, d.heads, d.head_size, d.v_dim or d.head_size
    expand = {"batch": heads, "m": step.tokens}
    if absorbed:
        shape = expand | {"n": d.kv_rank, "k": nope}
        stored = float(heads * d.kv_rank * nope)
        chain.add("absorb_q", "gemm", shape, dtype=step.dtype, shard="heads", parameters=stored, inputs=inputs)
    else:
        rows = step.batch * step.kv_len  # latents of the cache are expanded too
        chain.gemm("kv_b", heads * (nope + value), d.kv_rank, shard="column", rows=rows)
    sizes = {"batch": step.batch, "q_len": step.q_len, "kv_len": step.kv_len, "heads": heads, "head_dim": nope}
    chain.add(
        "attention", "mla", sizes | {"kv_rank": d.kv_rank, "rope_dim": d.rope_dim} | columns, dtype=step.attention,
        kv_dtype=step.kv, shard="heads", state_dtype=step.kv,
        state_elements=step.batch * step.held() * float(d.kv_rank + d.rope_dim),
    )  # fmt: skip
    if absorbed:
        shape = expand | {"n": value, "k": d.kv_rank}
        stored = float(heads * d.kv_rank * value)
        chain.add("absorb_v", "gemm", shape, dtype=step.dtype, shard="heads", parameters=stored)
    chain.gemm("o", d.hidden, heads * value, shard="row")


def _index(d: Decoder, chain: Chain, normed: str, query_latent: str) -> str:
    """Append the lightning indexer; return the operator that yields the chosen keys.

    Every tensor-parallel rank runs it whole: all its heads add up to one score.
    """
    step, heads, size = chain.step, d.index_heads, d.index_dim
    projected = chain.gemm("index_q", heads * size, d.q_rank or d.hidden, inputs=(query_latent,))
    chain.gemm("index_k", size, d.hidden, inputs=(normed,))
    chain.pointwise("index_norm", size, 7.0, op="norm", shard="", parameters=2.0 * size)
    key = chain.pointwise("index_cache", size, 0.0, op="copy", shard="", dtype=INDEX_FORMAT)
    weights = chain.gemm("index_weights", heads, d.hidden, inputs=(normed,))
    seen = step.kv_len - (step.q_len - 1) / 2  # keys that a query sees in the mean
    stored = size + INDEX_SCALE_BYTES * -(-size // INDEX_SCALE_KEYS)
    chain.add(
        "index_scores", "gemm", {"batch": step.batch, "m": step.q_len * heads, "n": seen, "k": size},
        dtype=INDEX_FORMAT, inputs=(projected, key, weights), state_dtype=INDEX_FORMAT,
        state_elements=step.batch * step.held() * float(stored),
    )  # fmt: skip
    return chain.pointwise("index_topk", seen, 2.0, shard="")
