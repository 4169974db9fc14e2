"""Structured pruning: fewer output features, and as many fewer input features in what reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

import numpy as np

from foundation.checks import finite_number
from foundation.errors import BadValueError, UnsupportedError
from workloads.graph import Block, Operator, WorkloadGraph
from workloads.rewrites.matching import Matcher, matching, readers

PRUNED = ("gemm", "conv2d", "moe")
FOLLOWING = ("gemm", "conv2d", "elementwise", "norm", "softmax", "copy")


def prune(graph: WorkloadGraph, keep: Mapping[str, float], *, structured: bool = True) -> WorkloadGraph:
    """Return the graph with a share of the output features of the matching operators kept: {pattern: share}.

    A gemm keeps `share` of its n columns, a convolution of its c_out channels, experts of their `inter` size (rounded,
    at least 1). Pointwise operators, depthwise convolutions and the input side of gemms and convolutions follow; the
    parameters of each go along, biases included. Unstructured zeros change neither FLOP nor bytes on dense kernels,
    and no column describes a sparse kernel for weights: they are refused rather than counted as a gain.

    Raises:
        BadValueError: a share outside (0, 1]; features that leave the block, or that meet others that are not pruned
            alike (a residual sum: prune every operator that feeds it), or that an operator cannot follow.
        UnknownNameError: a pattern matches no gemm, conv2d or moe.
        UnsupportedError: `structured` is False.
    """
    if not structured:
        raise UnsupportedError(
            "Unstructured pruning leaves the FLOP and bytes of dense kernels as they are: there is nothing to rewrite. "
            "Prune structures, or quantize, to change what a device does."
        )
    shares = {pattern: finite_number(f"share kept of '{pattern}'", share, high=1.0, strict=True) for pattern, share in
              keep.items()}  # fmt: skip
    chosen = [(matching(graph, pattern, among=PRUNED), share) for pattern, share in shares.items()]
    return replace(graph, blocks=tuple(_pruned_block(block, chosen) for block in graph.blocks))


def _pruned_block(block: Block, chosen: list[tuple[Matcher, float]]) -> Block:
    """Walk the block in order; `widths` holds for each pruned tensor the share of its features that is left."""
    widths: dict[str, Fraction] = {}
    operators = []
    for o in block.operators:
        followed = _following(block, o, widths)
        share = next((share for fits, share in chosen if fits(block, o)), None)
        if share is not None:
            followed, left = _narrowed(followed, share)
            if left != 1:
                widths[o.name] = left
        operators.append(followed)
    last = block.operators[-1].name if block.operators else ""
    if last in widths:
        raise BadValueError(
            f"Pruning would change what leaves block '{block.name}', the output of '{last}'; leave that operator whole."
        )
    unread = [name for name in widths if name not in readers(block)]
    if unread:
        raise BadValueError(f"Nothing in block '{block.name}' reads the pruned output of '{unread[0]}'.")
    return replace(block, operators=tuple(operators))


def _narrowed(o: Operator, share: float) -> tuple[Operator, Fraction]:
    """Return the operator with fewer output features, and the share of its output that is left."""
    key = {"gemm": "n", "conv2d": "c_out", "moe": "inter"}[o.op]
    if o.op == "conv2d" and float(o.shape.get("groups", 1)) > 1:
        raise BadValueError(f"'{o.name}' is a grouped convolution; prune the operator before it, and it follows.")
    old = int(np.max(o.shape[key]))
    new = max(1, round(old * share))
    left = Fraction(new, old)
    changed = replace(o, shape=dict(o.shape) | {key: new}, parameters=o.parameters * float(left))
    if o.op == "moe":
        active = None if o.active_parameters is None else o.active_parameters * float(left)
        return replace(changed, active_parameters=active), Fraction(1)
    return changed, left


def _following(block: Block, o: Operator, widths: dict[str, Fraction]) -> Operator:
    """Return the operator on pruned inputs. Records in `widths` what it passes on. Raises BadValueError."""
    found = {widths.get(source, Fraction(1)) for source in o.inputs}
    if found <= {Fraction(1)}:
        return o
    if len(found) > 1:
        names = ", ".join(f"'{s}' keeps {float(widths.get(s, Fraction(1))):.4g}" for s in o.inputs)
        raise BadValueError(f"'{o.name}' in block '{block.name}' reads inputs pruned differently: {names}.")
    left = found.pop()
    if o.op not in FOLLOWING or (o.op == "gemm" and not o.parameters):
        raise BadValueError(
            f"'{o.name}' ({o.op}) in block '{block.name}' cannot follow pruned features; change the model's own knob "
            "(heads, head size) instead."
        )
    if o.op == "gemm":
        return _fewer_inputs(o, "k", left, outputs=float(np.max(o.shape["n"])) * float(o.shape.get("batch", 1)))
    if o.op == "conv2d":
        return _convolution(o, left, widths)
    widths[o.name] = left
    hidden = _whole(o, "hidden", left)
    return replace(o, shape=dict(o.shape) | {"hidden": hidden}, parameters=o.parameters * float(left))


def _convolution(o: Operator, left: Fraction, widths: dict[str, Fraction]) -> Operator:
    groups = float(o.shape.get("groups", 1))
    if groups == 1:
        return _fewer_inputs(o, "c_in", left, outputs=float(o.shape["c_out"]))
    if groups != float(o.shape["c_in"]):
        raise BadValueError(f"'{o.name}' has {groups:g} groups of several channels and cannot follow pruned features.")
    widths[o.name] = left
    changes = {key: _whole(o, key, left) for key in ("c_in", "c_out", "groups")}
    return replace(o, shape=dict(o.shape) | changes, parameters=o.parameters * float(left))


def _fewer_inputs(o: Operator, key: str, left: Fraction, *, outputs: float) -> Operator:
    """Return the operator with fewer input features; its bias (what is beyond the matrix) stays."""
    depth = float(o.shape[key]) * float(o.shape.get("kh", 1)) * float(o.shape.get("kw", 1))
    bias = max(0.0, o.parameters - depth * outputs)
    parameters = (o.parameters - bias) * float(left) + bias
    return replace(o, shape=dict(o.shape) | {key: _whole(o, key, left)}, parameters=parameters)


def _whole(o: Operator, key: str, left: Fraction) -> float:
    size = Fraction(float(np.max(o.shape[key]))) * left
    if size.denominator != 1:
        raise BadValueError(f"{key}={float(o.shape[key]):g} of '{o.name}' cannot keep {left} of its features exactly.")
    return float(size)
