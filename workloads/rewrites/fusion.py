"""Fusion: pointwise operators into the kernels before them, and scores, softmax and values into one attention."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from foundation.checks import whole_number
from foundation.errors import BadValueError
from workloads.graph import BLOCK_INPUT, Block, Operator, WorkloadGraph
from workloads.rewrites.matching import readers, rewritten
from workloads.training.tensors import output_elements

POINTWISE = ("elementwise", "norm", "softmax")
ROOTS = ("gemm", "conv2d", "moe", *POINTWISE)


def fuse(graph: WorkloadGraph, *, heads: int = 1) -> WorkloadGraph:
    """Return the graph after `fuse_attention`, then `fuse_pointwise`."""
    return fuse_pointwise(fuse_attention(graph, heads=heads))


def fuse_pointwise(graph: WorkloadGraph, *, norms_into_gemm: bool = False) -> WorkloadGraph:
    """Return the graph with pointwise operators marked `fused` where they can run in their producer's kernel.

    An elementwise operator or norm that reads one tensor, is its only reader and keeps its size joins the gemm,
    convolution, expert or pointwise kernel that wrote it; the kernel then writes the last result only, and the fused
    FLOP are hidden behind it. A norm needs whole rows, so it joins a gemm only with `norms_into_gemm` (rows that fit
    one tile); after a convolution it is a folded batch norm. An operator that reads a second tensor (a residual sum)
    stays: its read would be lost.
    """
    return replace(graph, blocks=tuple(_fused_block(block, norms_into_gemm) for block in graph.blocks))


def unfuse(graph: WorkloadGraph, *, norms: bool = True) -> WorkloadGraph:
    """Return the graph as an eager framework runs it: what stands in a producer's kernel has one of its own.

    Without `norms`, normalisations stay where they are: folded into convolutions ahead of time, activations apart.
    """
    return rewritten(graph, lambda _, o: [replace(o, fused=False)] if o.fused and (norms or o.op != "norm") else [o])


def _fused_block(block: Block, norms_into_gemm: bool) -> Block:
    read = readers(block)
    roots: dict[str, Operator] = {}
    operators = []
    for o in block.operators:
        root = _root(o, roots, read, norms_into_gemm)
        roots[o.name] = root or o
        operators.append(replace(o, fused=True) if root is not None else o)
    return replace(block, operators=tuple(operators))


def _root(
    o: Operator, roots: dict[str, Operator], read: dict[str, list[Operator]], norms_into_gemm: bool
) -> Operator | None:  # fmt: skip
    """Return the operator into whose kernel `o` can go, or None."""
    if o.fused or o.op not in ("elementwise", "norm") or len(o.inputs) != 1 or o.inputs[0] == BLOCK_INPUT:
        return None
    root, sole = roots[o.inputs[0]], len(read[o.inputs[0]]) == 1
    if root.op not in ROOTS or root.fused or not sole or (o.op == "norm" and root.op == "moe"):
        return None
    if o.op == "norm" and root.op == "gemm" and not norms_into_gemm:
        return None
    same_size = np.array_equal(output_elements(root), output_elements(o))
    return root if same_size else None


def fuse_attention(graph: WorkloadGraph, *, heads: int = 1) -> WorkloadGraph:
    """Return the graph with scores, softmax and values as one attention operator, which keeps the scores on chip.

    The pattern is a batched gemm of two activations [m, n, k], then softmax (with pointwise operators of one input
    around it), then a batched gemm of that and a third activation [m, v, n]; nothing else may read what is between.
    `heads` of the batch are heads of one sequence, so that tensor parallelism can divide them. Masks are not known to
    the graph: every query sees every key.

    Raises:
        BadValueError: `heads` does not divide the batch of a pattern found.
    """
    count = whole_number("heads", heads)
    return replace(graph, blocks=tuple(_with_attention(block, count) for block in graph.blocks))


def _with_attention(block: Block, heads: int) -> Block:
    by_name, read = {o.name: o for o in block.operators}, readers(block)
    gone: set[str] = set()
    changed: dict[str, Operator] = {}
    for o in block.operators:
        inside = _between(o, by_name, read)
        if inside:
            changed[o.name] = _attention(block, by_name[inside[-1]], o, inside[0], heads)
            gone.update(inside)
    operators = tuple(changed.get(o.name, o) for o in block.operators if o.name not in gone)
    return replace(block, operators=operators) if gone else block


def _between(values: Operator, by_name: dict[str, Operator], read: dict[str, list[Operator]]) -> list[str]:
    """Return the names from the operator before `values` back to the scores, or [] if this is no attention."""
    if not _two_activations(values):
        return []
    found: list[str] = []
    at = by_name.get(values.inputs[0])
    while at is not None and at.op in ("softmax", "elementwise") and len(at.inputs) == 1 and len(read[at.name]) == 1:
        found.append(at.name)
        at = by_name.get(at.inputs[0])
    softmaxed = any(by_name[name].op == "softmax" for name in found)
    if at is None or not softmaxed or not _two_activations(at) or len(read[at.name]) != 1:
        return []
    fits = np.array_equal(at.shape["n"], values.shape["k"]) and np.array_equal(at.shape["m"], values.shape["m"])
    return [*found, at.name] if fits else []


def _two_activations(o: Operator) -> bool:
    return o.op == "gemm" and not o.parameters and len(o.inputs) > 1


def _attention(block: Block, scores: Operator, values: Operator, before: str, heads: int) -> Operator:
    batch = np.asarray(scores.shape.get("batch", 1))
    if np.any(batch % heads):
        raise BadValueError(
            f"heads={heads} does not divide the batch {batch} of '{scores.name}' in block '{block.name}'; "
            "give the number of heads of one sequence."
        )
    shape: dict[str, Any] = {
        "batch": batch / heads, "q_len": scores.shape["m"], "kv_len": scores.shape["n"], "heads": heads,
        "head_dim": scores.shape["k"], "v_dim": values.shape["n"], "causal": 0,
    }  # fmt: skip
    if "phase" in scores.shape:
        shape["phase"] = scores.shape["phase"]
    inputs = tuple(dict.fromkeys((*scores.inputs, *(source for source in values.inputs if source != before))))
    return replace(values, op="attention", shape=shape, inputs=inputs, shard="heads" if heads > 1 else "")
