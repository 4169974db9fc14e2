"""One layer of a Conformer: two half feed-forward parts around attention and a convolution over time."""

from __future__ import annotations

from workloads.builders.chain import SIGMOID_FLOP, SILU_FLOP, Chain
from workloads.builders.language.feedforward import two_layer
from workloads.builders.multimodal.speech_frontends import conv1d

BATCH_NORM_FLOP = 2.0
"""Per element at inference: one multiply, one add."""


def conformer_layer(chain: Chain, *, hidden: int, heads: int, inter: int, kernel: int) -> None:
    """Append one layer (Gulati et al. 2020, arXiv 2005.08100, section 2), with biases on all projections."""
    chain.norm("ffn1_norm", "layer", hidden)
    two_layer(chain, hidden, inter, gated=False, bias=True, prefix="ffn1_")
    chain.norm("mixer_norm", "layer", hidden)
    _relative_attention(chain, hidden, heads)
    chain.norm("conv_norm", "layer", hidden)
    _convolution(chain, hidden, kernel)
    chain.norm("ffn2_norm", "layer", hidden)
    two_layer(chain, hidden, inter, gated=False, bias=True, prefix="ffn2_")
    chain.norm("out_norm", "layer", hidden)


def _relative_attention(chain: Chain, hidden: int, heads: int) -> None:
    """Attention with scores of relative positions (Transformer-XL, Dai et al. 2019, section 3.3).

    The 2 T - 1 relative positions are projected once for the batch; their scores are shifted into place.
    """
    step, head, entry = chain.step, hidden // heads, chain.last
    places = 2 * step.kv_len - 1
    placed = chain.gemm("position", hidden, hidden, rows=places, inputs=(entry,))
    content = chain.gemm("qkv", 3 * hidden, hidden, shard="column", bias=True, inputs=(entry,))
    # one learned vector a head is added to the queries for the content, another for the positions
    shape = {"batch": step.batch * heads, "m": step.q_len, "n": places, "k": head}
    biased = chain.pointwise("query_bias", 2 * hidden, 1.0, fused=True, inputs=(content,), parameters=2.0 * hidden)
    chain.add("position_scores", "gemm", shape, dtype=step.attention, inputs=(biased, placed))
    shifted = {"rows": step.batch * heads * step.q_len, "hidden": step.kv_len}
    chain.add("position_shift", "copy", shifted, dtype=step.attention)
    shape = {
        "batch": step.batch, "q_len": step.q_len, "kv_len": step.kv_len, "heads": heads, "head_dim": head, "causal": 0,
    }  # fmt: skip
    chain.add("attention", "attention", shape, dtype=step.attention, inputs=(biased, chain.last), shard="heads")
    chain.gemm("o", hidden, hidden, shard="row", bias=True)


def _convolution(chain: Chain, hidden: int, kernel: int) -> None:
    chain.gemm("conv_up", 2 * hidden, hidden, bias=True)
    chain.pointwise("conv_gate", hidden, SIGMOID_FLOP + 1, operands=2, shard="")
    conv1d(chain, "conv", hidden, hidden, chain.step.q_len, kernel, groups=hidden)
    chain.pointwise("conv_bn", hidden, BATCH_NORM_FLOP + SILU_FLOP, shard="", parameters=2.0 * hidden, fused=True)
    chain.gemm("conv_down", hidden, hidden, bias=True)
