"""A training step as frameworks ran what the data sets measured, from the estimate of one microbatch.

With p equal stages and m microbatches a step takes (m + p - 1) / p passes through all stages (1F1B; Narayanan et al.
2021, arXiv 2104.04473, section 2.2) and one update; the first stage keeps the activations of min(p, m) microbatches.
Gradients are counted as exchanged in each microbatch, though frameworks exchange them once: an upper bound. Optimizer
state is divided over the replicas, and gradients are float32, where the data set says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from costmodel.estimate import Detail, Estimate, Quantity
from workloads.training.memory import StateBytes, state_bytes


@dataclass(frozen=True)
class Step:
    """How a step ran: microbatches, pipeline stages, ZeRO stage, and whether gradients are float32."""

    micro: int
    stages: int = 1
    zero_stage: int = 0
    wide_gradients: bool = False


def step(estimate: Estimate, quantity: str, how: Step) -> Quantity | None:
    """Return latency or memory of a step, given the estimate of one microbatch; None where it has none."""
    found: Quantity | None = getattr(estimate, quantity)
    if found is None:
        return None
    if quantity == "memory_bytes":
        more = estimate.memory_parts_bytes.get("activations", 0.0) * (min(how.stages, how.micro) - 1)
        more += estimate.memory_parts_bytes.get("optimizer", 0.0) * (_state_ratio(estimate.detail, how) - 1.0)
        return Quantity(found.value + more, found.lo + more, found.hi + more)
    if quantity == "latency_s" and estimate.detail is not None:
        return found.scaled(repeats(estimate.detail, how))
    return None


def _state_ratio(detail: Detail | None, how: Step) -> float:
    """Return gradients and optimizer state as they were kept, over those that `predict` counts (AdamW, undivided)."""
    if detail is None or not (how.zero_stage or how.wide_gradients):
        return 1.0
    name = "adamw_wide_gradients" if how.wide_gradients else "adamw"
    graph = detail.workload.graph
    kept = state_bytes(graph, name, mapping=detail.mapping, zero_stage=how.zero_stage)
    plain = state_bytes(graph, mapping=detail.mapping)
    return _beside_weights(kept) / _beside_weights(plain)


def _beside_weights(state: StateBytes) -> float:
    return state.gradient_bytes + state.optimizer_bytes


def repeats(detail: Detail, how: Step) -> float:
    """Return the time of a step over that of one microbatch with its update."""
    seconds = detail.costs.latency_s * detail.lowered.table.full("count")
    updates = [i for i, run in enumerate(detail.workload.passes) if run.name == "optimizer"]
    update = sum(float(seconds[detail.lowered.pass_index == i].sum()) for i in updates)
    total = float(seconds.sum())
    return ((total - update) * (how.micro + how.stages - 1) / how.stages + update) / total
