"""Attention of encoders: every token sees all, a window and a few global tokens, or content and position apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from workloads.builders.chain import Chain
from workloads.builders.language.mixers import multi_head

if TYPE_CHECKING:
    from workloads.builders.language.encoder import Encoder


def full_attention(e: Encoder, chain: Chain) -> None:
    """Every token sees every other (or, with `window`, so many around it; with `causal`, those before it)."""
    multi_head(
        chain, hidden=e.hidden, heads=e.heads, kv_heads=e.heads, head_dim=e.head_size, norm=e.norm, bias=e.bias,
        rope=e.position == "rope", causal=e.causal, cached=False, window=e.window,
    )  # fmt: skip


def global_attention(e: Encoder, chain: Chain) -> None:
    """A window around each token, and global tokens that see and are seen by all (Longformer, section 3.1).

    The global tokens have projections of their own for queries, keys and values; the keys and values are made for the
    whole sequence.
    """
    step, entry, width = chain.step, chain.last, e.heads * e.head_size
    few = np.minimum(e.global_tokens, step.kv_len)

    def seen_by_all() -> None:
        if not e.global_tokens:
            return
        local = chain.last
        shape = {
            "batch": step.batch, "q_len": step.q_len, "kv_len": few, "heads": e.heads, "head_dim": e.head_size,
            "causal": 0,
        }  # fmt: skip
        chain.add("to_global", "attention", shape, dtype=step.attention, inputs=(local,), shard="heads")
        queries = chain.gemm("global_q", width, e.hidden, rows=step.batch * few, bias=True, inputs=(entry,))
        chain.gemm("global_kv", 2 * width, e.hidden, shard="column", bias=True, inputs=(entry,))
        chain.last = queries
        shape = {**shape, "q_len": few, "kv_len": step.kv_len}
        chain.add("from_global", "attention", shape, dtype=step.attention, inputs=(queries, "global_kv"), shard="heads")
        chain.last = local

    multi_head(
        chain, hidden=e.hidden, heads=e.heads, kv_heads=e.heads, head_dim=e.head_size, norm=e.norm, bias=e.bias,
        rope=False, causal=False, cached=False, window=e.window + 1, before=seen_by_all,
    )  # fmt: skip


def disentangled_attention(e: Encoder, chain: Chain) -> None:
    """Content to content, content to position and position to content (DeBERTa, arXiv 2006.03654, equation 4).

    The queries and keys of relative positions are made in each layer with the projections of the content, once for the
    whole batch, and shared by its sequences; their scores are gathered by distance.
    """
    step, entry, pair = chain.step, chain.last, e.heads * e.head_size

    def positions() -> None:
        content = chain.last
        placed = chain.gemm("position_qk", 2 * pair, e.hidden, rows=e.relative_buckets, stored=False, inputs=(entry,))
        shape = {
            "batch": 2 * step.batch * e.heads, "m": step.q_len, "n": e.relative_buckets, "k": e.head_size,
        }  # fmt: skip
        chain.add("position_scores", "gemm", shape, dtype=step.attention, inputs=(content, placed))
        gathered = {"rows": step.batch * step.q_len * e.heads, "hidden": 2 * step.kv_len}
        chain.add("position_gather", "copy", gathered, dtype=step.attention)

    multi_head(
        chain, hidden=e.hidden, heads=e.heads, kv_heads=e.heads, head_dim=e.head_size, norm=e.norm, bias=e.bias,
        rope=False, causal=False, cached=False, before=positions,
    )  # fmt: skip


ATTENTIONS: dict[str, Callable[[Encoder, Chain], None]] = {
    "full": full_attention, "global": global_attention, "disentangled": disentangled_attention,
}  # fmt: skip
"""Attention of an encoder by the name that its knob `attention` uses."""
