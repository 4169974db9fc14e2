"""The parts of a vision transformer: one encoder layer with what may vary in it, and the attention-pooling head."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from workloads.builders.chain import GELU_FLOP, ROPE_FLOP, SILU_FLOP, Chain

if TYPE_CHECKING:
    from workloads.builders.vision.vit import VisionTransformer

MLPS: dict[str, float] = {"gelu": GELU_FLOP, "quickgelu": SILU_FLOP + 1, "silu": SILU_FLOP, "swiglu": SILU_FLOP + 1}
"""FLOP an element of the activation; `swiglu` multiplies the activated half with the other."""
RELATIVE = ("none", "table", "network", "network-shared")
"""Learned scores of relative positions."""


def encoder_layer(v: VisionTransformer, chain: Chain) -> None:
    """Append one layer: attention and feed-forward part, each normalised and added to the residual stream."""
    entry = chain.last
    chain.norm("norm1", v.norm, v.hidden, residual=False)
    _attention(v, chain)
    middle = _add(v, chain, "add1", entry)
    if v.merge:
        middle = _merge(v, chain)
    chain.norm("norm2", v.norm, v.hidden, residual=False)
    _feed_forward(v, chain)
    _add(v, chain, "add2", middle)


def _attention(v: VisionTransformer, chain: Chain) -> None:
    step, head, inner = chain.step, v.head_size, v.heads * v.head_size
    chain.gemm("qkv", 3 * inner, v.hidden, shard="column", bias=v.bias and v.qkv_bias in ("auto", "all"))
    if v.qkv_bias == "no-key":
        chain.pointwise("qkv_bias", 2 * inner, 1.0, parameters=2.0 * inner, fused=True)
    if v.key_norm:
        per_norm = head * (2 if v.norm == "layer" else 1)
        chain.pointwise("qk_norm", 2 * inner, 4.0, op="norm", parameters=2.0 * per_norm)
    if v.rope != "none":
        frequencies = float(v.heads * head) if v.rope == "mixed" else 0.0
        chain.pointwise("rope", 2 * inner, ROPE_FLOP, parameters=frequencies)
    shape = {
        "batch": step.batch, "q_len": step.q_len, "kv_len": step.kv_len, "heads": v.heads, "head_dim": head,
        "causal": 0,
    }  # fmt: skip
    chain.add(
        "attention", "attention", shape, dtype=step.attention, kv_dtype=step.kv, shard="heads",
        parameters=_relative_parameters(v),
    )  # fmt: skip
    if v.attention_norm:
        chain.norm("attention_norm", v.norm, inner, residual=False)
    chain.gemm("out", v.hidden, inner, shard="row", bias=v.bias)


def _relative_parameters(v: VisionTransformer) -> float:
    """Return the stored elements of one layer's scores of relative positions.

    A table has an entry for each offset, and three for pairs with a class token (Bao et al. 2021). A network reads two
    coordinates. A shared network is stored once: each layer bears its part.
    """
    side = v.image // v.patch
    if v.relative == "table":
        return v.heads * ((2 * side - 1) ** 2 + 3.0 * v.has_class_token)
    if v.relative == "none":
        return 0.0
    network = v.relative_width * 3.0 + v.heads * (v.relative_width + 1)
    return network / v.layers if v.relative == "network-shared" else network


def _feed_forward(v: VisionTransformer, chain: Chain) -> None:
    inter, gated = v.inter or 4 * v.hidden, v.mlp == "swiglu"
    chain.gemm("up", inter * (1 + gated), v.hidden, shard="column", bias=v.bias)
    chain.pointwise("gelu" if v.mlp == "gelu" else "act", inter, MLPS[v.mlp], operands=1 + gated, fused=not gated)
    if v.mlp_norm:
        chain.norm("mlp_norm", v.norm, inter, residual=False)
    chain.gemm("down", v.hidden, inter, shard="row", bias=v.bias)


def _merge(v: VisionTransformer, chain: Chain) -> str:
    """Append the merging of tokens (Bolya et al. 2022, section 3): each of one half of the patches finds the most
    similar of the other half by its mean key, and the closest pairs become their mean. Later layers have fewer tokens.
    """
    step = chain.step
    half = (step.q_len - v.prefix) // 2
    gone = min(v.merge, half)
    if not gone:
        return chain.last
    similar = {"batch": step.batch, "m": half, "n": half, "k": v.head_size}
    chain.add("match", "gemm", similar, dtype=step.attention)
    chain.pointwise("closest", half, 1.0, rows=step.batch * half, shard="")
    chain.step = replace(step, q_len=step.q_len - gone, kv_len=step.kv_len - gone)
    inputs = (chain.last, "add1")
    shape = {"rows": chain.step.tokens, "hidden": v.hidden, "operands": step.q_len / chain.step.q_len}
    return chain.add("merge", "elementwise", shape, inputs=inputs)


def _add(v: VisionTransformer, chain: Chain, name: str, stream: str) -> str:
    if v.layer_scale:
        chain.pointwise(f"{name}_scale", v.hidden, 1.0, shard="", parameters=float(v.hidden), fused=True)
    return chain.pointwise(name, v.hidden, 1.0, operands=2, shard="", inputs=(chain.last, stream))


def attention_pool(v: VisionTransformer, chain: Chain) -> None:
    """Append the head that attends with one learned query to all tokens (Zhai et al. 2022, section 2; SigLIP)."""
    step, hidden, inter = chain.step, v.hidden, v.pool_inter or v.inter or 4 * v.hidden
    chain.gemm("pool_kv", 2 * hidden, hidden, shard="column", bias=v.bias)
    chain.gemm("pool_q", hidden, hidden, rows=1, bias=v.bias)
    shape = {
        "batch": step.batch, "q_len": 1, "kv_len": step.kv_len, "heads": v.heads, "head_dim": v.head_size, "causal": 0,
    }  # fmt: skip
    inputs = ("pool_kv", "pool_q")
    chain.add("pool", "attention", shape, dtype=step.attention, kv_dtype=step.kv, inputs=inputs, shard="heads",
              parameters=float(hidden))  # fmt: skip
    entry = chain.gemm("pool_out", hidden, hidden, rows=step.batch, bias=v.bias)
    chain.norm("pool_norm", v.norm, hidden, residual=False, rows=step.batch)
    chain.gemm("pool_up", inter, hidden, rows=step.batch, bias=v.bias)
    chain.pointwise("pool_act", inter, GELU_FLOP, rows=step.batch, fused=True)
    chain.gemm("pool_down", hidden, inter, rows=step.batch, bias=v.bias)
    chain.pointwise("pool_add", hidden, 1.0, operands=2, rows=step.batch, shard="", inputs=(chain.last, entry))
