"""Token mixers with a state of fixed size: linear attention, state spaces, delta rule, RWKV, short convolution.

Recurrences are `scan` operators. Their states are kept in the format `state_dtype` of the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workloads.builders.chain import SILU_FLOP, Chain

if TYPE_CHECKING:
    from workloads.builders.language.decoder import Decoder


def linear_attention(d: Decoder, chain: Chain) -> None:
    """Linear attention as a recurrence (Katharopoulos et al. 2020): a state of features x head size for each head.

    `linear_key_dim` is the size of projected queries and keys, `linear_state` that after the feature map (BASED,
    arXiv 2402.18668: 16 and 1 + 16 + 16^2 = 273).
    """
    heads, value = d.heads, d.head_size
    key = d.linear_key_dim or value
    state = d.linear_state or key
    chain.gemm("qkv", heads * (2 * key + value), d.hidden, shard="column", bias=d.bias != "none")
    chain.pointwise("features", heads * 2 * state, 1.0)
    _recurrence(d, chain, heads, value, state)
    chain.gemm("o", d.hidden, heads * value, shard="row", bias=d.bias == "all")


def delta_net(d: Decoder, chain: Chain) -> None:
    """Gated delta rule (arXiv 2412.06464) as in Qwen3-Next: few key heads serve many value heads (`linear_heads`).

    One projection yields queries, keys, values, output gate, and a decay and a step a head; queries, keys and values
    pass a short convolution without bias.
    """
    heads, size = d.linear_heads or d.heads, d.linear_value_dim or d.head_size
    key, value = (d.linear_key_heads or heads) * (d.linear_key_dim or size), heads * size
    chain.gemm("in_proj", 2 * key + 2 * value + 2 * heads, d.hidden, shard="column")
    _short_convolution(d, chain, 2 * key + value, bias=False)
    _recurrence(d, chain, heads, size, d.linear_key_dim or size, parameters=2.0 * heads)
    chain.pointwise("gate_norm", value, SILU_FLOP + 5, operands=2, op="norm", parameters=float(size))
    chain.gemm("out_proj", d.hidden, value, shard="row")


def mamba(d: Decoder, chain: Chain) -> None:
    """Selective state space of Mamba (Gu & Dao 2023, arXiv 2312.00752, section 3.4): per-channel recurrence."""
    inner, rank, state = d.ssm_inner, d.dt_rank or -(-d.hidden // 16), d.ssm_state
    chain.gemm("in_proj", 2 * inner, d.hidden, shard="column")
    _short_convolution(d, chain, inner)
    chain.gemm("x_proj", rank + 2 * state, inner, shard="row")
    if d.ssm_norm:  # Jamba (arXiv 2403.19887, section 3.2) normalises the step, B and C
        chain.pointwise("x_norm", rank + 2 * state, 4.0, op="norm", shard="", parameters=float(rank + 2 * state))
    chain.gemm("dt_proj", inner, rank, shard="column", bias=True)
    _recurrence(d, chain, inner, 1, state, parameters=float(inner * state + inner))
    chain.pointwise("gate", inner, SILU_FLOP + 1, operands=2, fused=True)
    chain.gemm("out_proj", d.hidden, inner, shard="row")


def mamba2(d: Decoder, chain: Chain) -> None:
    """State space duality of Mamba-2 (Dao & Gu 2024, arXiv 2405.21060): one decay a head, shared B and C a group."""
    inner, state = d.ssm_inner, d.ssm_state
    heads, shared = inner // d.ssm_head_dim, 2 * d.ssm_groups * state
    chain.gemm("in_proj", 2 * inner + shared + heads, d.hidden, shard="column")
    _short_convolution(d, chain, inner + shared)
    _recurrence(d, chain, heads, d.ssm_head_dim, state, parameters=3.0 * heads)
    chain.pointwise("gate_norm", inner, SILU_FLOP + 5, operands=2, op="norm", parameters=float(inner))
    chain.gemm("out_proj", d.hidden, inner, shard="row")


def rwkv6(d: Decoder, chain: Chain) -> None:
    """Time mix of RWKV-6 (arXiv 2404.05892, section 4): a matrix-valued state a head, decays that depend on the token.

    Five interpolations between a token and the one before it, their weights by a low-rank map of `mix_rank`; the
    decay by one of `decay_rank`; receptance, key, value and gate as four multiplications in one batch.
    """
    hidden, heads, size = d.hidden, d.heads, d.head_size
    shifted = token_shift(chain, hidden, interpolations=1, parameters=6.0 * hidden)
    chain.gemm("mix_a", 5 * d.mix_rank, hidden)
    low_rank = {"batch": 5, "m": chain.step.tokens, "n": hidden, "k": d.mix_rank}
    chain.add("mix_b", "gemm", low_rank, dtype=chain.step.dtype, parameters=5.0 * hidden * d.mix_rank)
    mixed = chain.pointwise("mix", 5 * hidden, 2.0, operands=2, shard="", inputs=(shifted, chain.last))
    chain.gemm("decay_a", d.decay_rank, hidden)
    decay = chain.gemm("decay_b", hidden, d.decay_rank, shard="column", bias=True)
    four = {"batch": 4, "m": chain.step.tokens, "n": hidden, "k": hidden}
    stored = 4.0 * hidden * hidden
    chain.add("rkvg", "gemm", four, dtype=chain.step.dtype, shard="column", parameters=stored, inputs=(mixed,))
    _recurrence(d, chain, heads, size, size, parameters=float(hidden), inputs=(chain.last, decay))
    chain.pointwise("gate_norm", hidden, SILU_FLOP + 8, operands=2, op="norm", parameters=2.0 * hidden)
    chain.gemm("o", hidden, hidden, shard="row")


def token_shift(chain: Chain, hidden: int, *, interpolations: int, parameters: float) -> str:
    """Append the blend of each token with the one before it (RWKV); that token's features are state."""
    step = chain.step
    shape = {"rows": step.tokens, "hidden": interpolations * hidden, "flop_per_element": 3.0}
    return chain.add(
        "shift", "elementwise", shape, parameters=parameters, state_elements=step.batch * float(hidden),
        state_dtype=step.act,
    )  # fmt: skip


def short_convolution(d: Decoder, chain: Chain) -> None:
    """Gated short convolution (BaseConv of BASED, arXiv 2402.18668, appendix): half the projection gates the other."""
    inner = d.conv_expand * d.hidden
    chain.gemm("in_proj", 2 * inner, d.hidden, shard="column")
    _short_convolution(d, chain, inner, activation=False)
    chain.pointwise("gate", inner, SILU_FLOP + 1, operands=2)
    chain.gemm("out_proj", d.hidden, inner, shard="row")


def _short_convolution(
    d: Decoder, chain: Chain, channels: int, *, bias: bool = True, activation: bool = True
) -> None:  # fmt: skip
    """Causal depthwise convolution of `conv_width` taps with SiLU; the last taps are state between steps."""
    state = chain.step.batch * float(channels * (d.conv_width - 1))
    flop = 2.0 * d.conv_width + SILU_FLOP * activation
    shape = {"rows": chain.step.tokens, "hidden": channels, "flop_per_element": flop}
    chain.add(
        "conv", "elementwise", shape, shard="hidden", parameters=float(channels * (d.conv_width + bias)),
        state_elements=state, state_dtype=chain.step.act, state_shards=float(channels),
    )  # fmt: skip


def _recurrence(
    d: Decoder, chain: Chain, heads: int, head_dim: int, state: int, *, parameters: float = 0.0,
    inputs: tuple[str, ...] = (),
) -> None:  # fmt: skip
    step = chain.step
    shape = {"batch": step.batch, "q_len": step.q_len, "heads": heads, "head_dim": head_dim, "state": state}
    chain.add(
        "scan", "scan", shape, shard="heads", parameters=parameters, state_dtype=d.state_dtype or step.act,
        state_shards=float(heads), state_elements=step.batch * float(heads * head_dim * state), inputs=inputs,
    )  # fmt: skip
