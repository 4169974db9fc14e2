"""Feed-forward parts of a layer: dense, gated, mixture of experts. One function a kind, chosen from `FEEDFORWARDS`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from workloads.builders.chain import GELU_FLOP, SILU_FLOP, Chain

if TYPE_CHECKING:
    from workloads.builders.decoder import Decoder

FeedForward = Callable[["Decoder", Chain], None]


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
    two_layer(chain, d.hidden, d.inter, gated=d.gated, bias=d.bias == "all")


def mixture(d: Decoder, chain: Chain) -> None:
    """Routed experts: each token goes to `topk` of `experts`, and through all shared experts.

    Zero-computation experts (LongCat-Flash, arXiv 2509.01322) take a share of the choices, so that a token reaches
    topk E / (E + Z) real experts on average.
    """
    normed = chain.last
    inter, choices = d.moe_inter or d.inter, d.experts + d.zero_experts
    reached = d.topk * d.experts / choices
    chain.gemm("router", choices, d.hidden, dtype=chain.step.act)
    chain.pointwise("route", choices, 0.0, op="softmax", shard="")
    matrices = 3 if d.gated else 2
    shape = {
        "tokens": chain.step.tokens, "hidden": d.hidden, "inter": inter, "experts": d.experts, "topk": reached,
        "skew": d.skew, "gated": int(d.gated),
    }  # fmt: skip
    one = float(matrices * d.hidden * inter)
    routed = chain.add(
        "experts", "moe", shape, dtype=d.expert_dtype or chain.step.dtype, inputs=(chain.last, normed), shard="experts",
        parameters=d.experts * one, active_parameters=reached * one,
    )  # fmt: skip
    if d.shared_experts:
        chain.last = normed
        two_layer(chain, d.hidden, d.shared_experts * (d.shared_inter or inter), gated=d.gated, prefix="shared_")
        chain.pointwise("combine", d.hidden, 1.0, operands=2, shard="", inputs=(routed, chain.last))


def none(d: Decoder, chain: Chain) -> None:
    """No feed-forward part (Mamba)."""


FEEDFORWARDS: dict[str, FeedForward] = {"dense": dense, "moe": mixture, "none": none}
"""Feed-forward parts by the name that the knob `ffns` uses; a new one is a function here."""
