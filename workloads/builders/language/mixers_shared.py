"""Attention over caches that another layer made, or of which a part is kept; and a layer that only makes one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from workloads.builders.chain import ROPE_FLOP, Chain
from workloads.builders.language.mixers import attention

if TYPE_CHECKING:
    from workloads.builders.language.decoder import Decoder


def reused_attention(d: Decoder, chain: Chain) -> None:
    """Queries of this layer, keys and values of the last one that made some (cross-layer attention, arXiv 2405.12981).

    There is no projection to keys and values and no cache; what is read is the other layer's.
    """
    attention(d, chain, reused=True)


def keys_only(d: Decoder, chain: Chain) -> None:
    """Keys and values for the `reuse` layers that follow, and no attention (YOCO, arXiv 2405.05254, section 2.3)."""
    step, heads, pair = chain.step, d.key_value_heads, 2 * d.key_value_heads * d.head_size
    chain.gemm("kv", pair, d.hidden, shard="column", bias=d.bias in ("qkv", "attention", "all"))
    if d.position == "rope":
        chain.pointwise("rope", pair / 2 * (d.rotary_dim or d.head_size) / d.head_size, ROPE_FLOP)
    chain.add(
        "cache", "copy", {"rows": step.tokens, "hidden": pair}, dtype=step.kv, shard="hidden", state_dtype=step.kv,
        state_elements=step.batch * step.held() * float(pair), state_shards=float(heads),
    )  # fmt: skip


def evicting_attention(d: Decoder, chain: Chain) -> None:
    """Full attention within the prompt, after which the cache keeps `kv_budget` tokens of a sequence and no more.

    Which ones (the first and the last: StreamingLLM, arXiv 2309.17453; those with most weight: H2O, arXiv 2306.14048)
    is the same to the device; keeping the score of every key up to date is not modelled.
    """
    step = chain.step
    seen = step.q_len + np.minimum(step.kv_len - step.q_len, d.kv_budget - 1.0)
    attention(d, chain, kept=step.held(d.kv_budget), columns={"kv_len": seen})
