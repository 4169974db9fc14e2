"""Tables of aiconfigurator as operators: what each column means, row by row of its README and its collectors' names.

Sizes are those of one device except in MoE tables (global). Facts that the tables do not state were taken from the rows
of release 0.12 and are noted where they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from workloads.table import Array

Columns = Mapping[str, Array]
"""Columns of a file: numbers as float64 (NaN = empty), text as objects ('' = empty)."""

FORMATS: dict[str, str] = {
    "bfloat16": "bf16", "half": "fp16", "float16": "fp16", "float": "fp32", "fp8": "fp8", "fp8_block": "fp8_block",
    "nvfp4": "nvfp4", "int8": "int8", "sq": "int8", "int8_wo": "w8a16", "int4_wo": "w4a16", "w4afp8": "w4afp8",
    "w4a16_mxfp4": "w4a16_mxfp4", "w4a16_mxfp4_cutlass": "w4a16_mxfp4",
    "w4a8_mxfp4_mxfp8": "w4a8_mxfp4_mxfp8", "w4a8_mxfp4_mxfp8_trtllm": "w4a8_mxfp4_mxfp8",
}  # fmt: skip
"""Its formats and ours (the package's `sdk/common.py` says what each holds). `sq` is SmoothQuant, int8 both sides;
`*_wo` quantises weights alone; `fp8_block` has a scale for each 128 x 128 of weights and 1 x 128 of activations."""

ELEMENT_BYTES: dict[str, float] = {"half": 2, "float16": 2, "bfloat16": 2, "float": 4, "int8": 1, "fp8": 1}
"""Bytes of an element of a collective's buffer; `message_size` counts elements."""

KINDS: dict[str, str] = {
    "all_reduce": "all_reduce", "all_gather": "all_gather", "reduce_scatter": "reduce_scatter",
    "alltoall": "all_to_all",
}  # fmt: skip

MLA_SHAPE: dict[str, float] = {"head_dim": 128, "rope_dim": 64, "kv_rank": 512}
"""Latent attention of DeepSeek-V2 and V3, the one shape of those tables (arXiv 2405.04434, section 3.1.2)."""

UNGATED_EXPERTS = frozenset(
    {(2688, 1856, 128, 6), (4096, 2688, 512, 22), (1024, 2688, 512, 22), (2048, 5120, 512, 22), (8192, 5120, 512, 22)}
)
"""(hidden, inter, experts, topk) of Nemotron 3, whose experts are two matrices (squared ReLU), not three."""
ALWAYS_GATED = ("vllm_fused_moe", "sglang_fused_moe_triton", "sglang_marlin_moe", "vllm_marlin_int4_moe")
"""Kernels that ran those shapes with a gate all the same: where weights are the time (128 and 256 tokens), theirs is
that of 3 matrices at 85 % of the memory's rate (at least 2.8), of the other kernels that of 2 (1.8 to 2.2)."""


@dataclass(frozen=True)
class TableKind:
    """How one table is read.

    `numbers` and `texts` are the columns needed beside latency, power and labels. `build` gives the columns of the
    measurement table; a name that it does not know is '' (or NaN, in `skew`), and such a row is left out with a reason.
    `software` names the stack where it is not the row's `framework`.
    """

    build: Callable[[Columns], dict[str, Any]]
    numbers: tuple[str, ...]
    texts: tuple[str, ...]
    software: str = ""


def named(column: Array, names: Callable[[str], Any]) -> Array:
    """Return what `names` says of each text, evaluated once a text."""
    table = {word: names(word) for word in set(column.tolist())}
    found = [table[word] for word in column.tolist()]
    if table and all(isinstance(value, float) for value in table.values()):
        return np.array(found)
    texts = np.empty(len(found), dtype=object)
    texts[:] = found
    return texts


def _format(column: Array) -> Array:
    return named(column, lambda word: FORMATS.get(word, ""))


def _gemm(c: Columns) -> dict[str, Any]:
    return {"op": "gemm", "dtype": _format(c["gemm_dtype"]), "m": c["m"], "n": c["n"], "k": c["k"]}


def _attention(c: Columns, phase: str) -> dict[str, Any]:
    """In context rows `step` is a prefix; in generation rows isl is 1 and the query sees isl + step keys."""
    return {
        "op": "attention", "phase": phase, "dtype": _format(c["attn_dtype"]), "kv_dtype": _format(c["kv_cache_dtype"]),
        "batch": c["batch_size"], "q_len": c["isl"], "kv_len": c["isl"] + c["step"], "heads": c["num_heads"],
        "kv_heads": c["num_key_value_heads"], "head_dim": c["head_dim"], "window": np.nan_to_num(c["window_size"]),
    }  # fmt: skip


def _encoder_attention(c: Columns) -> dict[str, Any]:
    dtype = _format(c["attn_dtype"])
    return {
        "op": "attention", "phase": "prefill", "causal": 0, "dtype": dtype, "kv_dtype": dtype,
        "batch": c["batch_size"], "q_len": c["isl"], "kv_len": c["isl"], "heads": c["num_heads"],
        "kv_heads": c["num_heads"], "head_dim": c["head_dim"],
    }  # fmt: skip


def _mla(c: Columns, phase: str) -> dict[str, Any]:
    return {
        "op": "mla", "phase": phase, "dtype": _format(c["mla_dtype"]), "kv_dtype": _format(c["kv_cache_dtype"]),
        "batch": c["batch_size"], "q_len": c["isl"], "kv_len": c["isl"] + c["step"], "heads": c["num_heads"],
        **MLA_SHAPE,
    }  # fmt: skip


def _mla_bmm(c: Columns) -> dict[str, Any]:
    """The absorbed products of a decode step, one a head: queries into the latent (pre), and out of it (post).

    Of the fp8 rows the kernel says the rest: scales by block, or weights that are widened to bf16 first.
    """
    into = c["op_name"] == "mla_gen_pre"
    head, rank = MLA_SHAPE["head_dim"], MLA_SHAPE["kv_rank"]
    known, dtype = into | (c["op_name"] == "mla_gen_post"), _format(c["bmm_dtype"])
    by_block = named(c["kernel_source"], lambda word: float("fp8_block" in word)) == 1
    widened = named(c["kernel_source"], lambda word: float("dequant_bf16" in word)) == 1
    dtype = np.where((dtype == "fp8") & by_block, "fp8_block", np.where((dtype == "fp8") & widened, "w8a16", dtype))
    return {
        "op": "gemm", "dtype": np.where(known, dtype, ""), "m": c["num_tokens"],
        "n": np.where(into, rank, head), "k": np.where(into, head, rank), "batch": c["num_heads"],
    }  # fmt: skip


def expert_skew(distribution: str) -> float:
    """Return the exponent of the power law of expert loads, 0 where they are even; NaN for a name not known."""
    if distribution in ("balanced", "uniform"):
        return 0.0
    head, _, exponent = distribution.rpartition("_")
    try:
        skew = float(exponent) if head == "power_law" else float("nan")
    except ValueError:
        return float("nan")
    return skew if 0 <= skew <= 10 else float("nan")


def _moe(c: Columns) -> dict[str, Any]:
    shape = np.stack([c[n] for n in ("hidden_size", "inter_size", "num_experts", "topk")], axis=1)
    ungated = np.zeros(len(shape), dtype=bool)
    for sizes in UNGATED_EXPERTS:
        ungated |= (shape == sizes).all(axis=1)
    told = named(c["kernel_source"], lambda word: float("nongated" in word)) == 1
    gate_ran = named(c["kernel_source"], lambda word: float(word.startswith(ALWAYS_GATED))) == 1
    return {
        "op": "moe", "dtype": _format(c["moe_dtype"]), "tokens": c["num_tokens"], "hidden": c["hidden_size"],
        "inter": c["inter_size"], "experts": c["num_experts"], "topk": c["topk"], "tp": c["moe_tp_size"],
        "ep": c["moe_ep_size"], "skew": named(c["distribution"], expert_skew),
        "gated": np.where(told | (ungated & ~gate_ran), 0.0, 1.0),
    }  # fmt: skip


def _collective(c: Columns, dtype: str) -> dict[str, Any]:
    """`message_size` is the full buffer of one rank, in elements: 512 MiB gathered by 8 H100 take 1.40 ms, 335 GB/s a
    link, which no other reading allows. Rows of one rank and kinds not known are left out."""
    size = named(c[dtype], lambda word: float(ELEMENT_BYTES.get(word, 0)))
    return {
        "op": "collective", "dtype": _format(c[dtype]), "kind": named(c["op_name"], lambda word: KINDS.get(word, "")),
        "bytes": c["message_size"] * size, "ranks": c["num_gpus"],
    }  # fmt: skip


def _delta_rule(c: Columns) -> dict[str, Any]:
    """The recurrence of gated delta nets; the causal convolutions of the same tables are another operator."""
    kernel = named(c["kernel_source"], lambda word: float("conv" not in word)) == 1
    phase = named(c["phase"], lambda word: {"context": "prefill", "generation": "decode"}.get(word, ""))
    return {
        "op": "scan", "dtype": np.where(kernel & (phase != ""), "bf16", ""), "phase": phase, "batch": c["batch_size"],
        "q_len": np.where(phase == "decode", 1.0, c["seq_len"]), "heads": c["num_v_heads"],
        "head_dim": c["head_v_dim"], "state": c["head_k_dim"],
    }  # fmt: skip


_ATTENTION = ("batch_size", "isl", "num_heads", "num_key_value_heads", "head_dim", "step", "window_size")
_LATENT = ("batch_size", "isl", "num_heads", "step")
_DELTA = ("batch_size", "seq_len", "num_v_heads", "head_v_dim", "head_k_dim")
_LINK = ("num_gpus", "message_size")

TABLES: dict[str, TableKind] = {
    "gemm_perf": TableKind(_gemm, ("m", "n", "k"), ("gemm_dtype",)),
    "context_attention_perf": TableKind(
        lambda c: _attention(c, "prefill"), _ATTENTION, ("attn_dtype", "kv_cache_dtype")
    ),
    "generation_attention_perf": TableKind(
        lambda c: _attention(c, "decode"), _ATTENTION, ("attn_dtype", "kv_cache_dtype")
    ),
    "encoder_attention_perf": TableKind(
        _encoder_attention, ("batch_size", "isl", "num_heads", "head_dim"), ("attn_dtype",)
    ),
    "context_mla_perf": TableKind(lambda c: _mla(c, "prefill"), _LATENT, ("mla_dtype", "kv_cache_dtype")),
    "generation_mla_perf": TableKind(lambda c: _mla(c, "decode"), _LATENT, ("mla_dtype", "kv_cache_dtype")),
    "mla_bmm_perf": TableKind(_mla_bmm, ("num_tokens", "num_heads"), ("bmm_dtype", "op_name", "kernel_source")),
    "moe_perf": TableKind(
        _moe, ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts", "moe_tp_size", "moe_ep_size"),
        ("moe_dtype", "distribution", "kernel_source"),
    ),
    "nccl_perf": TableKind(lambda c: _collective(c, "nccl_dtype"), _LINK, ("nccl_dtype", "op_name"), "nccl"),
    "oneccl_perf": TableKind(lambda c: _collective(c, "nccl_dtype"), _LINK, ("nccl_dtype", "op_name"), "oneccl"),
    "custom_allreduce_perf": TableKind(
        lambda c: _collective(c, "allreduce_dtype"), _LINK, ("allreduce_dtype", "op_name")
    ),
    "gdn_perf": TableKind(_delta_rule, _DELTA, ("phase", "kernel_source")),
    "kda_perf": TableKind(_delta_rule, _DELTA, ("phase", "kernel_source")),
}  # fmt: skip
"""The tables that are read. All others are counted and left out, see `why_not`."""

SPARSE = "sparse attention with its indexer: several operators in one time"
WHOLE_BLOCK = "a whole attention block with its projections: several operators in one time"
DISPATCH = "expert dispatch and combine: traffic depends on routing, and no operator of the table says it"
WIDE_EXPERTS = "experts of a wide expert group with placement of its own: loads are not in the table"
_REASONS: tuple[tuple[str, str], ...] = (
    ("dsa_", SPARSE), ("msa_", SPARSE), ("dsv4_megamoe", "routing, dispatch and experts in one time"),
    ("dsv4_", SPARSE), ("glm5_", SPARSE), ("mla_", WHOLE_BLOCK), ("wideep_context_mla", WHOLE_BLOCK),
    ("wideep_generation_mla", WHOLE_BLOCK), ("wideep_deepep", DISPATCH), ("moe_a2a", DISPATCH),
    ("trtllm_alltoall", DISPATCH), ("wideep_", WIDE_EXPERTS), ("mamba2", "causal convolutions alone"),
    ("computescale", "scales of an fp8 product, part of it here"),
    ("scale_matrix", "scales of an fp8 product, part of it here"),
    ("mhc_", "hyper-connections: several operators in one time"),
)  # fmt: skip


def why_not(table: str) -> str:
    """Return why a table is left out."""
    reason = next((reason for start, reason in _REASONS if table.startswith(start)), "a table that is not known here")
    return f"table {table}: {reason}"
