"""Quantisation: number formats of matrix operators and caches, and the casts that activations need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from foundation.formats import NumberFormat, number_format
from workloads.graph import Operator, WorkloadGraph
from workloads.rewrites.matching import matching

WEIGHTED = ("gemm", "conv2d", "moe")
QUANTISE_FLOP = 3.0
"""Per element: magnitude for the scale, multiply, round. Estimated (2 to 5)."""


def quantize(
    graph: WorkloadGraph, dtype: str, kv_dtype: str = "", keep: Sequence[str] = (), cast_overhead: bool = True,
    everywhere: bool = False,
) -> WorkloadGraph:  # fmt: skip
    """Return the graph with the weights of gemm, conv2d and moe in `dtype`, and KV caches in `kv_dtype`.

    Attention, norms and pointwise operators stay as they are, as serving stacks keep them; `everywhere` puts every
    operator in `dtype`, as integer NPUs do (then nothing is cast between operators). Where the format quantises
    activations, each tensor that such an operator reads is cast first by an elementwise operator `quantise`, once for
    all its readers: it reads the format it had and writes `dtype`. `cast_overhead=False` leaves the casts out (fused
    into the producers, or static scales); `fuse_pointwise` marks those as fused that follow a pointwise operator.

    Raises:
        UnknownNameError: no such format, or a `keep` pattern that matches nothing.
    """
    fmt = number_format(dtype)
    cache = number_format(kv_dtype).name if kv_dtype else ""
    kept = [matching(graph, pattern) for pattern in keep]
    blocks = []
    for block in graph.blocks:
        chosen = {o.name for o in block.operators if _applies(o, everywhere) and not any(k(block, o) for k in kept)}
        operators: list[Operator] = []
        casts: dict[tuple[str, ...], str] = {}
        for o in block.operators:
            changed = _with_cache(o, cache)
            if o.name in chosen:
                if cast_overhead and not everywhere and _narrows(fmt, o):
                    changed, cast = _after_cast(changed, fmt, casts)
                    operators += cast
                changed = replace(changed, dtype=fmt.name)
            operators.append(changed)
        blocks.append(replace(block, operators=tuple(operators)))
    return replace(graph, blocks=tuple(blocks))


def _applies(o: Operator, everywhere: bool) -> bool:
    return o.op != "collective" if everywhere else o.op in WEIGHTED and (o.parameters > 0 or o.op == "moe")


def _with_cache(o: Operator, cache: str) -> Operator:
    if not cache or o.op not in ("attention", "mla"):
        return o
    return replace(o, kv_dtype=cache, state_dtype=cache)


def _narrows(fmt: NumberFormat, o: Operator) -> bool:
    """Say whether an operator's activations must be cast: the format holds them in fewer bits than they come in."""
    return fmt.activation_bits < number_format(o.dtype).output_bits


def _after_cast(o: Operator, fmt: NumberFormat, casts: dict[tuple[str, ...], str]) -> tuple[Operator, list[Operator]]:
    """Return the operator reading a quantised tensor, and the cast unless another reader already made it.

    The cast is an elementwise operator in the narrow format; `operands` of old bits over new bits makes its reads
    exactly those of the old format.
    """
    known = casts.get(o.inputs)
    if known is not None:
        return replace(o, inputs=(known,)), []
    name = f"{o.name}.quantise"
    casts[o.inputs] = name
    shape: dict[str, Any] = _rows_and_columns(o) | {
        "operands": number_format(o.dtype).output_bits / fmt.activation_bits, "flop_per_element": QUANTISE_FLOP,
    }  # fmt: skip
    if "phase" in o.shape:
        shape["phase"] = o.shape["phase"]
    cast = Operator(
        name, "elementwise", shape, dtype=fmt.name, inputs=o.inputs, shard="hidden" if o.shard == "row" else ""
    )  # fmt: skip
    return replace(o, inputs=(name,)), [cast]


def _rows_and_columns(o: Operator) -> dict[str, Any]:
    if o.op == "gemm":
        return {"rows": o.shape["m"] * o.shape.get("batch", 1), "hidden": o.shape["k"]}
    if o.op == "moe":
        return {"rows": o.shape["tokens"], "hidden": o.shape["hidden"]}
    return {"rows": o.shape["batch"] * o.shape["h"] * o.shape["w"], "hidden": o.shape["c_in"]}
