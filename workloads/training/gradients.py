"""The backward of one operator: which operators yield the gradients of its inputs and of its weights.

Names: `x.dgrad` yields the gradient of what operator x read, `x.wgrad` that of its weights. Tensor parallelism is
conjugate (Megatron-LM, Shoeybi et al. 2019, section 3): the input gradient of a column-parallel operator is
row-parallel, and so ends in an all-reduce; that of a row-parallel one is column-parallel and needs none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from foundation.formats import number_format
from workloads.graph import Operator, Shard
from workloads.training.tensors import conv_grid

SOFTMAX_BACKWARD_FLOP = 4.0
"""Per element: dx = p (dy - sum(p dy)): multiply, add, subtract, multiply."""
BACKWARD_FLOP_RATIO = 2.0
"""FLOP of a pointwise backward over its forward: estimated (1 to 3); its traffic is exact."""
LINEAR_NAMES = ("dropout", "rope", "rotary", "cast", "quantise", "quantize", "mask", "scale")
"""An elementwise operator of one input with such a word in its name is linear: its backward is itself on gradients."""
DGRAD_SHARD: dict[str, Shard] = {"column": "row", "logits": "row", "row": "column"}
CONJUGATE_KINDS = {"all_gather": "reduce_scatter", "reduce_scatter": "all_gather", "all_reduce": ""}
"""The collective that the gradient needs; `""`: none (the result of an all-reduce is the same on every rank)."""


def is_two_activations(o: Operator) -> bool:
    """Say whether a gemm multiplies two activations (attention scores), so that neither operand is a weight."""
    return o.op == "gemm" and not o.parameters and len(o.inputs) > 1


def is_learnable(o: Operator) -> bool:
    """Say whether an operator has weights to train; a tied head or table stores none but has them."""
    tied = o.op in ("gemm", "embedding") and not is_two_activations(o)
    return o.trainable and (o.parameters > 0 or tied)


def is_sum(o: Operator) -> bool:
    """Say whether an operator only adds: several inputs, the 1 FLOP an element of the family itself."""
    several = len(o.inputs) > 1 and o.shape.get("operands", 1) > 1
    return o.op == "elementwise" and several and o.shape.get("flop_per_element", 0) in (0, 1)


def is_linear(o: Operator) -> bool:
    """Say whether an elementwise operator needs no activation for its backward."""
    if o.op != "elementwise" or o.shape.get("operands", 1) > 1 or o.parameters:
        return False
    return o.shape.get("flop_per_element", 0) in (0, 1) or any(word in o.name for word in LINEAR_NAMES)


def passes_gradient_on(o: Operator) -> bool:
    """Say whether the gradient of the inputs is the gradient of the output itself, at no cost."""
    return is_sum(o) or (o.op == "collective" and CONJUGATE_KINDS.get(o.shape.get("kind", ""), "?") == "")


def adds_to_residual(o: Operator) -> bool:
    """Say whether a norm also writes the residual stream: its backward then sums both gradients itself."""
    return o.op == "norm" and o.shape.get("operands", 1) > 1


def input_gradient(o: Operator, arriving: tuple[str, ...]) -> list[Operator]:
    """Return the operators that yield the gradients of what `o` read (for two activations, one for each)."""
    parts = [replace(part, inputs=arriving) for part in _INPUT_GRADIENTS[o.op](o)]
    if adds_to_residual(o):
        operands = max(3, 1 + len(arriving))
        return [replace(part, shape=dict(part.shape) | {"operands": operands}) for part in parts]
    return parts


def weight_gradient(o: Operator, arriving: tuple[str, ...]) -> list[Operator]:
    """Return the operator that yields the gradient of the weights, where it is one of its own."""
    rule = _WEIGHT_GRADIENTS.get(o.op)
    return [replace(rule(o), inputs=arriving)] if rule is not None else []


def merged_dgrad(siblings: list[Operator], arriving: tuple[str, ...]) -> Operator:
    """Return the one input gradient of column-parallel gemms that read the same input (queries, keys, values).

    [dy1 dy2 dy3] times the stacked weights: the FLOP of the three, one result, one all-reduce.
    """
    first = siblings[0]
    width = sum(o.shape["n"] for o in siblings)
    merged = replace(first, shape=dict(first.shape) | {"n": width}, name="+".join(o.name for o in siblings))
    return replace(_gemm_dgrad(merged), inputs=arriving)


def wide_format(dtype: str) -> str:
    """Return the format of gradients: that of the arithmetic where only weights are compressed."""
    fmt = number_format(dtype)
    return fmt.math if fmt.weight_bits < fmt.activation_bits else dtype


def _part(o: Operator, suffix: str, changes: dict[str, Any], **fields: Any) -> Operator:
    """Return an operator of the backward of `o`: no parameters or state of its own, never fused."""
    return replace(
        o, name=f"{o.name}.{suffix}", shape=dict(o.shape) | changes, parameters=0.0, active_parameters=None,
        state_elements=0.0, fused=False, **fields,
    )  # fmt: skip


def _gemm_dgrad(o: Operator) -> Operator:
    """Return dx[m,k] = dy[m,n] w[n,k]."""
    shard = DGRAD_SHARD.get(o.shard, o.shard)
    return _part(o, "dgrad", {"n": o.shape["k"], "k": o.shape["n"]}, shard=shard)


def _gemm_inputs(o: Operator) -> list[Operator]:
    if not is_two_activations(o):
        return [_gemm_dgrad(o)]
    second = {"m": o.shape["k"], "n": o.shape["n"], "k": o.shape["m"]}
    return [_gemm_dgrad(o), _part(o, "dgrad_second", second)]


def _gemm_weight(o: Operator) -> Operator:
    """Return dw[k,n] = x[m,k]^T dy[m,n], or its transpose where the input features are divided."""
    m, n, k = (o.shape[name] for name in "mnk")
    shape = {"m": n, "n": k, "k": m} if o.shard == "row" else {"m": k, "n": n, "k": m}
    shard: Shard = "column" if o.shard in ("row", "column", "logits") else o.shard
    return _part(o, "wgrad", shape, shard=shard, dtype=wide_format(o.dtype))


def _attention_inputs(o: Operator) -> list[Operator]:
    """FlashAttention-2 (Dao 2023, section 3.1): five products, S = QK' recomputed, dP, dV, dQ, dK.

    Three have the depth of a key and two that of a value, so one attention row with head sizes (3d, 2v) has exactly
    their FLOP: 2.5 x the forward where d = v. Its traffic, 5 parts an element where 4 are compulsory, stands for the
    float32 accumulation of dQ.
    """
    d = o.shape["head_dim"]
    v = o.shape.get("v_dim", 0) or d
    return [_part(o, "dgrad", {"head_dim": 3 * d, "v_dim": 2 * v}, kv_dtype=o.dtype)]


def _mla_inputs(o: Operator) -> list[Operator]:
    """Training runs the expanded form: heads with keys of head_dim + rope_dim and values of head_dim."""
    head, rope = o.shape.get("head_dim", 0) or 128, o.shape.get("rope_dim", 0)
    sizes = {"head_dim": 3 * (head + rope), "v_dim": 2 * head, "kv_heads": o.shape["heads"]}
    shape = {key: value for key, value in o.shape.items() if key not in ("kv_rank", "rope_dim")}
    return [_part(replace(o, op="attention", shape=shape), "dgrad", sizes, kv_dtype=o.dtype)]


def _conv_inputs(o: Operator) -> list[Operator]:
    """Return the transposed convolution, on the grid of the output: the FLOP of the forward.

    Where stride > 1 the written gradient is larger than this grid by stride^2; that part of the traffic is left out.
    """
    out_h, out_w = conv_grid(o)
    shape = {"c_in": o.shape["c_out"], "c_out": o.shape["c_in"], "h": out_h, "w": out_w, "out_h": out_h, "out_w": out_w}
    return [_part(o, "dgrad", shape | {"stride": 1})]


def _moe_inputs(o: Operator) -> list[Operator]:
    """Gradients of rows and weights in one operator: twice the columns are twice the FLOP.

    The weights are read once and their gradients written once; frozen experts need the first half only.
    """
    return [_part(o, "dgrad", {"inter": o.shape["inter"] * (2 if is_learnable(o) else 1)})]


def _norm_inputs(o: Operator) -> list[Operator]:
    """Reads the output gradient and the kept input (and the gradient of the residual), writes the input gradient."""
    flop = BACKWARD_FLOP_RATIO * (o.shape.get("flop_per_element", 0) or 7.0)
    return [_part(o, "dgrad", {"operands": 2, "flop_per_element": flop})]


def _softmax_inputs(o: Operator) -> list[Operator]:
    return [_part(o, "dgrad", {"operands": 2, "flop_per_element": SOFTMAX_BACKWARD_FLOP})]


def _elementwise_inputs(o: Operator) -> list[Operator]:
    """Reads the output gradient and every operand, writes one gradient an operand. A linear one reads no operand."""
    if is_linear(o):
        return _same(o)
    operands = o.shape.get("operands", 1)
    flop = BACKWARD_FLOP_RATIO * (o.shape.get("flop_per_element", 0) or 1.0)
    sizes = {
        "hidden": o.shape["hidden"] * operands, "operands": (operands + 1) / operands,
        "flop_per_element": flop / operands,
    }  # fmt: skip
    return [_part(o, "dgrad", sizes)]


def _embedding_weight(o: Operator) -> Operator:
    """Read the output gradient and the row of the table's gradient, write that row."""
    return _part(replace(o, op="elementwise"), "wgrad", {"operands": 2}, shard="", dtype=wide_format(o.dtype))


def _scan_inputs(o: Operator) -> list[Operator]:
    """States are recomputed, then two products for each of the forward (Gu & Dao 2023, section 3.3.2)."""
    first = _part(o, "recompute", {})
    return [first, _part(o, "dgrad", {"state": 2 * o.shape["state"]})]


def _same(o: Operator) -> list[Operator]:
    return [_part(o, "dgrad", {})]


def _collective_inputs(o: Operator) -> list[Operator]:
    kind = str(o.shape.get("kind", ""))
    return [_part(o, "dgrad", {"kind": CONJUGATE_KINDS.get(kind, kind)})]


_INPUT_GRADIENTS: dict[str, Callable[[Operator], list[Operator]]] = {
    "gemm": _gemm_inputs, "attention": _attention_inputs, "mla": _mla_inputs, "moe": _moe_inputs,
    "conv2d": _conv_inputs, "norm": _norm_inputs, "softmax": _softmax_inputs, "elementwise": _elementwise_inputs,
    "embedding": lambda o: [], "scan": _scan_inputs, "copy": _same, "collective": _collective_inputs,
}  # fmt: skip
_WEIGHT_GRADIENTS: dict[str, Callable[[Operator], Operator]] = {
    "gemm": _gemm_weight, "embedding": _embedding_weight,
    "conv2d": lambda o: _part(o, "wgrad", {}, dtype=wide_format(o.dtype)),
}  # fmt: skip
"""Families with a weight gradient of its own; that of moe, norm and scan is part of their input gradient."""
