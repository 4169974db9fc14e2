"""Sizes of the tensors that flow between operators, in elements, by closed form from an operator's shape."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from workloads.graph import BLOCK_INPUT, Operator, as_table
from workloads.table import DEFAULTS
from workloads.work import conv_output


def sizes_of(o: Operator, *names: str) -> list[Any]:
    """Return numeric columns of one operator as floats or arrays of shape (S,)."""
    return [np.asarray(o.shape.get(name, DEFAULTS[name]), dtype=np.float64) for name in names]


def output_elements(o: Operator) -> Any:
    """Return the elements that an operator writes for others to read."""
    if o.op == "gemm":
        m, n, batch = sizes_of(o, "m", "n", "batch")
        return m * n * batch
    if o.op in ("attention", "scan", "mla"):
        batch, q, heads, d, v = sizes_of(o, "batch", "q_len", "heads", "head_dim", "v_dim")
        return batch * q * heads * np.where((v > 0) & (o.op == "attention"), v, d)
    if o.op == "moe":
        tokens, hidden = sizes_of(o, "tokens", "hidden")
        return tokens * hidden
    if o.op == "conv2d":
        out_h, out_w = conv_grid(o)
        batch, c_out = sizes_of(o, "batch", "c_out")
        return batch * c_out * out_h * out_w
    if o.op == "collective":
        return np.asarray(0.0)
    rows, hidden = sizes_of(o, "rows", "hidden")
    return rows * hidden


def input_elements(o: Operator) -> Any:
    """Return the activation elements that an operator reads in all (keys and values included)."""
    if o.op == "gemm":
        m, n, k, batch = sizes_of(o, "m", "n", "k", "batch")
        return batch * k * (m + n) if not o.parameters and len(o.inputs) > 1 else batch * m * k
    if o.op in ("attention", "mla"):
        return _attention_input(o)
    if o.op == "moe":
        tokens, hidden = sizes_of(o, "tokens", "hidden")
        return tokens * hidden
    if o.op == "conv2d":
        batch, c_in, h, w = sizes_of(o, "batch", "c_in", "h", "w")
        return batch * c_in * h * w
    if o.op == "scan":
        batch, q, heads, d, state = sizes_of(o, "batch", "q_len", "heads", "head_dim", "state")
        return 2 * batch * q * (heads * d + state)
    if o.op in ("embedding", "collective"):
        return np.asarray(0.0)
    rows, hidden, operands = sizes_of(o, "rows", "hidden", "operands")
    return rows * hidden * operands


def _attention_input(o: Operator) -> Any:
    batch, q, kv, heads, kv_heads, d, v, rope = sizes_of(
        o, "batch", "q_len", "kv_len", "heads", "kv_heads", "head_dim", "v_dim", "rope_dim"
    )
    kv, kv_heads, v = (np.where(x > 0, x, other) for x, other in ((kv, q), (kv_heads, heads), (v, d)))
    return batch * (q * heads * (d + rope) + kv * kv_heads * (d + rope + v))


def read_from(o: Operator, source: str, by_name: dict[str, Operator]) -> Any:
    """Return how many elements `o` reads from one of its inputs.

    An operator with one input reads all it reads from there; of several, each is as large as its producer's output,
    and what enters the block is the rest.
    """
    total = input_elements(o)
    if len(o.inputs) == 1:
        return total
    known = {s: output_elements(by_name[s]) for s in o.inputs if s != BLOCK_INPUT}
    if source in known:
        return known[source]
    return np.maximum(total - sum(known.values()), 0.0)


def conv_grid(o: Operator) -> tuple[Any, Any]:
    """Return the output height and width of a convolution."""
    out_h, out_w = conv_output(as_table([replace(o, fused=False)]))
    return (out_h[0], out_w[0]) if np.size(out_h) == 1 else (out_h, out_w)
