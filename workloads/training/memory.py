"""What a training step keeps in memory: weights, gradients, optimizer state, and activations for the backward."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np

from foundation.checks import whole_number
from workloads.graph import BLOCK_INPUT, Operator, Workload, WorkloadGraph
from workloads.lowering import shard
from workloads.mapping import ONE_DEVICE, Mapping
from workloads.table import Array, category_code
from workloads.training.backward import (
    Recompute,
    check_recompute,
    needs_gradient,
    recomputed_names,
    with_entering_gradient,
)
from workloads.training.gradients import adds_to_residual, is_learnable, is_linear, is_sum, is_two_activations
from workloads.training.optimizers import optimizer_named, parallel_class, weight_bytes
from workloads.training.tensors import output_elements, read_from, sizes_of
from workloads.work import OUTPUT_BYTES

MASK_BYTES = 1.0
"""A dropout mask, one byte an element (Korthikanti et al. 2022, section 4)."""


@dataclass(frozen=True)
class StateBytes:
    """Bytes on one rank that do not depend on the batch."""

    weight_bytes: float
    gradient_bytes: float
    optimizer_bytes: float

    @property
    def total_bytes(self) -> float:
        return self.weight_bytes + self.gradient_bytes + self.optimizer_bytes


def state_bytes(
    graph: WorkloadGraph, optimizer: str = "adamw", *, mapping: Mapping = ONE_DEVICE, zero_stage: int = 0
) -> StateBytes:  # fmt: skip
    """Return weights, gradients and optimizer state of a whole graph on one rank (pipeline stages not divided).

    ZeRO (Rajbhandari et al. 2020, section 5): stage 1 divides optimizer state over the replicas, 2 gradients too, 3
    weights too. Frozen parameters have weights only; experts have no replicas to divide over.

    Raises:
        UnknownNameError: no such optimizer.
        BadValueError: a ZeRO stage outside 0 to 3.
    """
    kept, stage = optimizer_named(optimizer), whole_number("zero_stage", zero_stage, low=0, high=3)
    totals = [0.0, 0.0, 0.0]
    for block in graph.blocks:
        for o in block.operators:
            replicas = 1 if parallel_class(o) == "experts" else mapping.dp
            parameters = sum(part.parameters for part in shard(o, mapping)) * block.copies
            divided = [replicas if stage >= needed else 1 for needed in (3, 2, 1)]
            totals[0] += parameters * weight_bytes(o.dtype) / divided[0]
            if is_learnable(o):
                totals[1] += parameters * kept.gradient_bytes(o.dtype) / divided[1]
                totals[2] += parameters * (kept.state_bytes(o.dtype) - kept.gradient_bytes(o.dtype)) / divided[2]
    return StateBytes(*totals)


def retained_bytes(
    graph: WorkloadGraph, recompute: Recompute = "none", *, mapping: Mapping = ONE_DEVICE, microbatches: int = 1
) -> Array:  # fmt: skip
    """Return the bytes of forward activations that one device keeps for the backward, shape () or (S,).

    An operator keeps what its backward reads: a gemm its input (if its weights are trained), a norm and a nonlinear
    function their input, softmax its output, attention its queries, keys, values, output and row sums; a sum keeps
    nothing. Each tensor counts once. A recomputed operator keeps nothing; with `full`, each repeat keeps what enters
    it, and one repeat at a time is there in full. A pipeline stage holds its share of the repeats for as many
    microbatches as are in flight (at most pp, of `microbatches`; 1F1B).

    Raises:
        UnknownNameError: `recompute` is none of the three.
    """
    check_recompute(recompute)
    total, working, single = np.zeros(()), np.zeros(()), np.zeros(())
    end = graph.blocks[-1].name
    for block, entering in with_entering_gradient(graph):
        again = recomputed_names(block, recompute, is_end=block.name == end)
        operators = [part for o in block.operators for part in shard(o, mapping)]
        needs = needs_gradient(block.operators, entering)
        full = recompute == "full" and again
        kept = _kept(operators, block.operators, needs, frozenset() if full else again)
        whole = sum(kept.values(), np.zeros(()))
        if full:
            entering_bytes = kept.get(BLOCK_INPUT, np.zeros(()))
            working, whole = np.maximum(working, whole - entering_bytes), entering_bytes
        if block.count == 1 and mapping.pp > 1:
            single = np.maximum(single, whole)
        else:
            total = total + whole * -(-block.count // mapping.pp)
    return np.asarray(total * min(mapping.pp, microbatches) + single + working)


def workload_retained_bytes(recompute: Recompute, microbatches: int) -> Any:
    """Return the callable that `TrainingState.retained_bytes` holds."""

    def retained(workload: Workload, mapping: Mapping) -> Array:
        return retained_bytes(workload.graph, recompute, mapping=mapping, microbatches=microbatches)

    return retained


def _kept(
    operators: list[Operator], forward: tuple[Operator, ...], needs: dict[str, bool], again: frozenset[str]
) -> dict[str, Array]:  # fmt: skip
    """Return bytes by tensor of what the backward of a block reads; a tensor is named by its producer."""
    by_name = {o.name: o for o in operators}
    whole = {o.name: o for o in forward}
    kept: dict[str, Array] = defaultdict(lambda: np.zeros(()))

    def keep(tensor: str, size_bytes: Any) -> None:
        if tensor.split("|")[0] not in again:
            kept[tensor] = np.maximum(kept[tensor], size_bytes)

    for name, o in whole.items():
        if not needs[name]:
            continue
        local = _computing_part(name, by_name)
        if _reads_inputs(o):
            for source in local.inputs:
                producer = whole.get(source, o)
                keep(source, read_from(local, source, by_name | _outputs(whole, by_name)) * _element_bytes(producer))
        for tensor, size_bytes in _own_tensors(o, local):
            keep(tensor, size_bytes)
    return dict(kept)


def _computing_part(name: str, by_name: dict[str, Operator]) -> Operator:
    """Return the part of a sharded operator that computes (the last part may be a collective)."""
    o = by_name[name]
    while o.op == "collective" and o.inputs and o.inputs[0] in by_name and o.inputs[0].startswith(f"{name}."):
        o = by_name[o.inputs[0]]
    return o


def _outputs(whole: dict[str, Operator], by_name: dict[str, Operator]) -> dict[str, Operator]:
    """Return for each operator that ends in a collective the whole one, whose output every rank then has."""
    return {name: o for name, o in whole.items() if by_name[name].op == "collective" and o.op != "collective"}


def _reads_inputs(o: Operator) -> bool:
    """Say whether the backward of an operator reads what the forward read."""
    if o.op in ("gemm", "conv2d", "moe"):
        return is_two_activations(o) or is_learnable(o) or o.op == "moe"
    if o.op == "elementwise":
        return not (is_linear(o) or is_sum(o))
    return o.op in ("attention", "mla", "scan") or (o.op == "norm" and not adds_to_residual(o))


def _own_tensors(o: Operator, local: Operator) -> list[tuple[str, Any]]:
    """Return (tensor, bytes) of what an operator keeps of its own making."""
    element = _element_bytes(o)
    if o.op == "softmax":
        return [(o.name, output_elements(local) * element)]
    if o.op in ("attention", "mla"):
        batch, q, heads = sizes_of(local, "batch", "q_len", "heads")
        return [(o.name, output_elements(local) * element), (f"{o.name}|row sums", 4.0 * batch * q * heads)]
    if adds_to_residual(o):
        return [(f"{o.name}|stream", output_elements(local) * element)]
    if o.op == "elementwise" and "dropout" in o.name:
        return [(f"{o.name}|mask", output_elements(local) * MASK_BYTES)]
    if o.op == "moe":
        return [(f"{o.name}|inside", _expert_elements(local) * element)]
    return []


def _expert_elements(o: Operator) -> Any:
    """Rows as dispatched, and each expert's products before and after the activation, on one rank."""
    tokens, topk, hidden, inter, gated, tp, ep = sizes_of(o, "tokens", "topk", "hidden", "inter", "gated", "tp", "ep")
    return tokens * topk / ep * (hidden + inter / tp * np.where(gated > 0, 3, 2))


def _element_bytes(o: Operator) -> float:
    return float(OUTPUT_BYTES[category_code("dtype", o.dtype)])
