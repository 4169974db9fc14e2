"""Token mixers that are attention: full, windowed, sparse. One function a mixer, chosen by name from `parts.MIXERS`.

Each appends the operators from the normalised input to the output projection, as serving stacks fuse them: one
projection for queries, keys and values, one kernel for the rotation, one for the write to the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from workloads.builders.chain import ROPE_FLOP, SIGMOID_FLOP, Chain

if TYPE_CHECKING:
    from workloads.builders.language.decoder import Decoder


MERGE_FLOP = 4.0
"""Per element, for two parts of attention: two scales by exp(max - common max), an add, a divide."""


def multi_head(
    chain: Chain, *, hidden: int, heads: int, kv_heads: int, head_dim: int, norm: str = "rms", bias: str = "none",
    qk_norm: bool | str = False, rope: bool = True, rotary: int = 0, gated: bool = False, sinks: bool = False,
    name: str = "attention", causal: bool = True, window: int = 0, cached: bool = True, reused: bool = False,
    kept: Any = None, columns: dict[str, Any] | None = None, before: Callable[[], None] | None = None,
) -> None:  # fmt: skip
    """Append self-attention with `kv_heads` key-value heads (MHA, GQA, MQA) from projection to projection.

    `bias`: of "none", "qkv", "attention" (the output projection too), "mlp", "all". `qk_norm`: normalise each head's
    queries and keys, or all heads' together ("wide"). `rotary`: features of a head that are rotated (0 = all).
    `gated`: a gate as wide as the queries multiplies the output (arXiv 2505.06708). `sinks`: a learned logit a head
    that takes part in the softmax. `reused`: keys and values are those of another layer. `columns` adds to the
    attention operator's shape; `before` appends what must run just before it (a selector).
    """
    cached = cached and not reused
    query, pair = heads * head_dim, 0 if reused else 2 * kv_heads * head_dim
    biased, features = bias in ("qkv", "attention", "all"), query * (2 if gated else 1) + pair
    projected = chain.gemm("q" if reused else "qkv", features, hidden, shard="column", bias=biased)
    rotated = query + pair / 2
    if qk_norm:
        width = rotated if qk_norm == "wide" else (1.0 if reused else 2.0) * head_dim
        chain.pointwise("qk_norm", rotated, 4.0, op="norm", parameters=width * (2 if norm == "layer" else 1))
    if rope:
        chain.pointwise("rope", rotated * (rotary or head_dim) / head_dim, ROPE_FLOP)
    if cached:
        write_cache(chain, pair)
    if before is not None:
        before()
    attend(
        chain, name, heads, kv_heads, head_dim, causal=causal, window=window, cached=cached, kept=kept, columns=columns,
        parameters=float(heads if sinks else 0),
    )  # fmt: skip
    if gated:
        chain.pointwise("attention_gate", query, SIGMOID_FLOP + 1, operands=2, inputs=(chain.last, projected))
    chain.gemm("o", hidden, query, shard="row", bias=bias in ("attention", "all"))


def write_cache(chain: Chain, width: float, *, shard: Any = "hidden") -> None:
    """Append the copy of new keys and values into the cache."""
    chain.pointwise("cache", width, 0.0, op="copy", shard=shard, dtype=chain.step.kv)


def attend(
    chain: Chain, name: str, heads: int, kv_heads: int, head_dim: int, *, causal: bool = True, window: int = 0,
    cached: bool = True, columns: dict[str, Any] | None = None, kv_len: Any = None, kept: Any = None,
    parameters: float = 0.0,
) -> None:  # fmt: skip
    """Append the attention kernel over `kv_len` tokens and the state that it keeps (`kept` tokens a sequence)."""
    step = chain.step
    length = step.kv_len if kv_len is None else kv_len
    if kept is None:
        kept = step.held(window or np.inf)
    elif window:
        kept = np.minimum(kept, window)
    apart = step.cascade and not window and not columns and kv_len is None
    shared = _shared_part(chain, name, heads, kv_heads, head_dim) if apart else ""
    length = length - step.cached if apart else length
    shape: dict[str, Any] = {
        "batch": step.batch, "q_len": step.q_len, "kv_len": length, "heads": heads, "kv_heads": kv_heads,
        "head_dim": head_dim, "causal": int(causal),
    }  # fmt: skip
    if window:
        shape["window"] = window
    state = step.batch * kept * (2.0 * kv_heads * head_dim) if cached else 0.0
    chain.add(
        name, "attention", shape | (columns or {}), dtype=step.attention, kv_dtype=step.kv, shard="heads",
        state_elements=state, state_dtype=step.kv, state_shards=float(kv_heads), parameters=parameters,
        inputs=chain.operators[-1].inputs if shared else (),
    )  # fmt: skip
    if shared:
        chain.pointwise("merge", heads * head_dim, MERGE_FLOP, operands=2, inputs=(shared, chain.last))


def _shared_part(chain: Chain, name: str, heads: int, kv_heads: int, head_dim: int) -> str:
    """Append attention of all sequences that share a prefix to it, as one kernel (Hydragen, arXiv 2402.05099)."""
    step = chain.step
    shape = {
        "batch": step.batch / step.sharing, "q_len": step.q_len * step.sharing, "kv_len": step.cached, "heads": heads,
        "kv_heads": kv_heads, "head_dim": head_dim, "causal": 0,
    }  # fmt: skip
    return chain.add(f"{name}_prefix", "attention", shape, dtype=step.attention, kv_dtype=step.kv, shard="heads")


def attention(d: Decoder, chain: Chain, **extra: Any) -> None:
    """Full causal attention."""
    multi_head(
        chain, hidden=d.hidden, heads=d.heads, kv_heads=d.key_value_heads, head_dim=d.head_size, norm=d.norm,
        bias=d.bias, qk_norm="wide" if d.qk_norm_wide else d.qk_norm, rope=d.position == "rope", rotary=d.rotary_dim,
        gated=d.attention_gate, sinks=d.sinks, causal=d.causal, **extra,
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
