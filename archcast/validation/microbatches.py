"""A training step in microbatches, from the estimate of one: how frameworks ran what the data sets measured.

With p equal stages and m microbatches a step takes (m + p - 1) / p passes through all stages (1F1B; Narayanan et al.
2021, arXiv 2104.04473, section 2.2) and one update; the first stage keeps the activations of min(p, m) microbatches.
Gradients are counted as exchanged in each microbatch, though frameworks exchange them once: an upper bound.
"""

from __future__ import annotations

from costmodel.estimate import Detail, Estimate, Quantity


def step(estimate: Estimate, quantity: str, micro: int, stages: int) -> Quantity | None:
    """Return latency or memory of a step of `micro` microbatches, given the estimate of one; None where it has none."""
    found: Quantity | None = getattr(estimate, quantity)
    if found is None:
        return None
    if quantity == "memory_bytes":
        kept = estimate.memory_parts_bytes.get("activations", 0.0) * (min(stages, micro) - 1)
        return Quantity(found.value + kept, found.lo + kept, found.hi + kept)
    if quantity == "latency_s" and estimate.detail is not None:
        return found.scaled(repeats(estimate.detail, micro, stages))
    return None


def repeats(detail: Detail, micro: int, stages: int) -> float:
    """Return the time of a step over that of one microbatch with its update."""
    seconds = detail.costs.latency_s * detail.lowered.table.full("count")
    updates = [i for i, run in enumerate(detail.workload.passes) if run.name == "optimizer"]
    update = sum(float(seconds[detail.lowered.pass_index == i].sum()) for i in updates)
    total = float(seconds.sum())
    return ((total - update) * (micro + stages - 1) / stages + update) / total
