"""Feed-forward parts of a layer: dense, gated, mixture of experts. One function a kind, chosen from `parts`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.builders.chain import GELU_FLOP, SIGMOID_FLOP, SILU_FLOP, Chain
from workloads.builders.language.mixers_latent import latent_attention
from workloads.builders.language.mixers_state import token_shift

if TYPE_CHECKING:
    from workloads.builders.language.decoder import Decoder


def two_layer(chain: Chain, hidden: int, inter: int, *, gated: bool, bias: bool = False, prefix: str = "") -> None:
    """Append up-projection (with its gate), activation and down-projection."""
    if gated:
        chain.gemm(f"{prefix}gate_up", 2 * inter, hidden, shard="column", bias=bias)
        chain.pointwise(f"{prefix}act_mul", inter, SILU_FLOP + 1, operands=2)
    else:
        chain.gemm(f"{prefix}up", inter, hidden, shard="column", bias=bias)
        chain.pointwise(f"{prefix}act", inter, GELU_FLOP)
    chain.gemm(f"{prefix}down", hidden, inter, shard="row", bias=bias)


def dense(d: Decoder, chain: Chain) -> None:
    """One feed-forward network for every token."""
    two_layer(chain, d.hidden, d.inter, gated=d.gated, bias=d.bias in ("mlp", "all"))


def mixture(d: Decoder, chain: Chain) -> None:
    """Routed experts: each token goes to `topk` of `experts`, and through all shared experts.

    Zero-computation experts (LongCat-Flash, arXiv 2509.01322) take a share of the choices, so that a token reaches
    topk E / (E + Z) real experts on average.
    """
    normed = chain.last
    inter, choices = d.moe_inter or d.inter, d.experts + d.zero_experts
    reached = d.topk * d.experts / choices
    bias = d.bias in ("mlp", "all")
    chain.gemm("router", choices, d.hidden, dtype=chain.step.act, bias=bias)
    chain.pointwise("route", choices, 0.0, op="softmax", shard="")
    up = 2 if d.gated else 1
    shape = {
        "tokens": chain.step.tokens, "hidden": d.hidden, "inter": inter, "experts": d.experts, "topk": reached,
        "skew": d.skew, "gated": int(d.gated),
    }  # fmt: skip
    one = float((up + 1) * d.hidden * inter + (up * inter + d.hidden) * bias)
    routed = chain.add(
        "experts", "moe", shape, dtype=d.expert_dtype or chain.step.dtype, inputs=(chain.last, normed), shard="experts",
        parameters=d.experts * one, active_parameters=reached * one,
    )  # fmt: skip
    if d.shared_experts:
        _shared(d, chain, normed, routed)


def _shared(d: Decoder, chain: Chain, normed: str, routed: str) -> None:
    """Append the shared experts as one network, the gate that scales it (Qwen2-MoE), and the sum with the routed."""
    inter = d.shared_experts * (d.shared_inter or d.moe_inter or d.inter)
    gate: tuple[str, ...] = ()
    if d.shared_gate:
        gate = (chain.gemm("shared_gate", 1, d.hidden, dtype=chain.step.act, inputs=(normed,)),)
    chain.last = normed
    two_layer(chain, d.hidden, inter, gated=d.gated, prefix="shared_")
    flop = 1.0 + (SIGMOID_FLOP + 1) * d.shared_gate
    chain.pointwise("combine", d.hidden, flop, operands=2, shard="", inputs=(routed, chain.last, *gate))


def shortcut_mixture(d: Decoder, chain: Chain) -> None:
    """The rest of a layer of LongCat-Flash (arXiv 2509.01322, section 2.2): experts beside two dense networks.

    A layer has two latent attentions and two dense networks, one pair after the other; the experts read what the
    first dense network reads and are added at the end, so that their communication hides behind the second pair.
    """
    normed = chain.last
    mixture(d, chain)
    routed, prefix = chain.last, chain.prefix
    chain.last = normed
    dense(d, chain)
    chain.prefix = f"{prefix}second_"
    chain.norm("mixer_norm", d.norm, d.hidden)
    latent_attention(d, chain)
    chain.norm("ffn_norm", d.norm, d.hidden)
    dense(d, chain)
    chain.prefix = prefix
    chain.pointwise("join", d.hidden, 1.0, operands=2, shard="", inputs=(chain.last, routed))


def channel_mix(d: Decoder, chain: Chain) -> None:
    """Channel mix of RWKV-6 (arXiv 2404.05892, section 4.3): squared ReLU, gated by a sigmoid of its own projection."""
    prefix = chain.prefix
    chain.prefix = f"{prefix}channel_"
    shifted = token_shift(chain, d.hidden, interpolations=2, parameters=2.0 * d.hidden)
    gate = chain.gemm("receptance", d.hidden, d.hidden)
    chain.gemm("key", d.inter, d.hidden, shard="column", inputs=(shifted,))
    chain.pointwise("act", d.inter, 2.0)
    chain.gemm("value", d.hidden, d.inter, shard="row")
    chain.pointwise("gate", d.hidden, SIGMOID_FLOP + 1, operands=2, shard="", inputs=(gate, chain.last))
    chain.prefix = prefix


def none(d: Decoder, chain: Chain) -> None:
    """No feed-forward part (Mamba)."""
