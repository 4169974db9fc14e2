"""Low-rank rewrites: factors in place of a matrix, adapters beside a frozen one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from foundation.checks import whole_number
from foundation.errors import BadValueError
from foundation.formats import number_format
from workloads.graph import Block, Operator, Shard, WorkloadGraph
from workloads.rewrites.matching import matching, rewritten

ADAPTER_SUFFIXES = (".lora_a", ".lora_b")
FACTOR_SHARDS: dict[str, tuple[Shard, Shard]] = {"row": ("row", ""), "column": ("", "column"), "logits": ("", "logits")}
"""Shards of the first and second factor: the divided side stays divided, the narrow middle is whole on every rank."""


def freeze(graph: WorkloadGraph, pattern: str) -> WorkloadGraph:
    """Return the graph with the matching operators' parameters frozen: no weight gradient, no optimizer state.

    Raises:
        UnknownNameError: the pattern matches nothing.
    """
    fits = matching(graph, pattern)
    return rewritten(graph, lambda block, o: [replace(o, trainable=False) if fits(block, o) else o])


def low_rank(graph: WorkloadGraph, pattern: str, rank: int) -> WorkloadGraph:
    """Return the graph with matching matrices as products of rank `rank`: [m, n, k] -> [m, rank, k], [m, n, rank].

    A convolution becomes one of `rank` channels and a 1 x 1 convolution. The second factor keeps name and bias.

    Raises:
        UnknownNameError: the pattern matches no gemm or conv2d.
        BadValueError: the rank is not below both sides, or the operator has no weight (or is a grouped convolution).
    """
    fits = matching(graph, pattern, among=("gemm", "conv2d"))
    size = whole_number("rank", rank)
    return rewritten(graph, lambda block, o: _factors(o, size) if fits(block, o) else [o])


def lora(graph: WorkloadGraph, pattern: str, rank: int, merged: bool = False) -> WorkloadGraph:
    """Return the graph with low-rank adapters beside the matching gemms (Hu et al. 2021, arXiv 2106.09685).

    y = x W + (x A) B: A [k, rank] and B [rank, n] are trained, every other parameter of the graph is frozen, and what
    read the gemm reads the sum. `merged`: A B is added into W ahead of time, so that inference has no extra work: the
    graph stays as it is, frozen.

    Raises:
        UnknownNameError: the pattern matches no gemm.
        BadValueError: the rank is not below both sides, or the gemm has no weight.
    """
    fits = matching(graph, pattern, among=("gemm",))
    size = whole_number("rank", rank)

    def change(block: Block, o: Operator) -> list[Operator]:
        frozen = o if o.name.endswith(ADAPTER_SUFFIXES) else replace(o, trainable=False)
        return [frozen] if merged or not fits(block, o) else _adapted(frozen, size)

    return rewritten(graph, change)


def _factors(o: Operator, rank: int) -> list[Operator]:
    n, k = _sides(o, rank)
    shape, bias = dict(o.shape), o.parameters - n * k
    first_shard, second_shard = FACTOR_SHARDS.get(o.shard, ("", ""))
    down, up = f"{o.name}.down", rank * n + bias
    if o.op == "gemm":
        first, second = shape | {"n": rank}, shape | {"k": rank}
    else:
        first = shape | {"c_out": rank}
        second = _pointwise_convolution(o) | {"c_in": rank}
    return [
        replace(o, name=down, shape=first, parameters=rank * k, active_parameters=None, shard=first_shard),
        replace(o, shape=second, inputs=(down,), parameters=up, active_parameters=None, shard=second_shard),
    ]


def _pointwise_convolution(o: Operator) -> dict[str, Any]:
    """Return the shape of a 1 x 1 convolution on the output grid of `o`."""
    from workloads.graph import as_table
    from workloads.work import conv_output

    out_h, out_w = (a if a.size > 1 else a[0] for a in conv_output(as_table([replace(o, fused=False)])))
    sizes = {"h": out_h, "w": out_w, "out_h": out_h, "out_w": out_w}
    return dict(o.shape) | sizes | {"kh": 1, "kw": 1, "stride": 1, "padding": 0}


def _adapted(o: Operator, rank: int) -> list[Operator]:
    n, k = _sides(o, rank)
    base, a, b = f"{o.name}.base", f"{o.name}.lora_a", f"{o.name}.lora_b"
    shape, dtype = dict(o.shape), number_format(o.dtype).math
    dtype = dtype if number_format(dtype).weight_bits >= 16 else "bf16"
    first_shard, second_shard = FACTOR_SHARDS.get(o.shard, ("", ""))
    summed = {"rows": shape["m"], "hidden": shape["n"], "operands": 2}
    if "phase" in shape:
        summed["phase"] = shape["phase"]
    pointwise: Shard = "hidden" if o.shard == "column" else ""
    return [
        replace(o, name=base, trainable=False),
        Operator(a, "gemm", shape | {"n": rank}, dtype=dtype, inputs=o.inputs, parameters=rank * k, shard=first_shard),
        Operator(b, "gemm", shape | {"k": rank}, dtype=dtype, inputs=(a,), parameters=rank * n, shard=second_shard),
        Operator(o.name, "elementwise", summed, dtype=dtype, inputs=(base, b), shard=pointwise, trainable=False),
    ]


def _sides(o: Operator, rank: int) -> tuple[float, float]:
    """Return output and input features of an operator's one weight matrix. Raises BadValueError."""
    shape = o.shape
    if o.op == "gemm":
        n, k, single = float(shape["n"]), float(shape["k"]), float(shape.get("batch", 1)) == 1
    else:
        n, k = float(shape["c_out"]), float(shape["c_in"]) * float(shape["kh"]) * float(shape["kw"])
        single = float(shape.get("groups", 1)) == 1
    if not single or not o.parameters:
        raise BadValueError(f"'{o.name}' has no single weight matrix to factor: it is batched, grouped, tied or none.")
    if rank >= min(n, k):
        raise BadValueError(f"rank {rank} is not below the sides {n:g} and {k:g} of '{o.name}'; choose a smaller one.")
    return n, k
