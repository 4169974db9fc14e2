"""A whole training step: forward and backward for each microbatch, then one update."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from foundation.checks import whole_number
from workloads.graph import Block, Operator, Pass, Size, TrainingState, Workload, WorkloadGraph
from workloads.training.backward import Recompute, backward_graph, check_recompute
from workloads.training.gradients import is_learnable
from workloads.training.memory import workload_retained_bytes
from workloads.training.optimizers import (
    Optimizer,
    gradient_collective,
    optimizer_graph,
    optimizer_named,
    parallel_class,
    weight_bytes,
)


def training_workload(
    forward: Pass, *, name: str, batch: Size, tokens_in: Size, optimizer: str = "adamw", recompute: Recompute = "none",
    gradient_accumulation: int = 1, zero_stage: int = 0, notes: tuple[str, ...] = (),
) -> Workload:  # fmt: skip
    """Return the passes `forward`, `backward` and `optimizer` of one training step of one data-parallel replica.

    `forward` holds the sizes of one microbatch of one replica; it and its backward run `gradient_accumulation` times,
    the update once. `batch` is what a replica processes in the whole step.

    Raises:
        BadValueError: nothing to train, or a count out of range.
        UnknownNameError: no such optimizer or kind of recomputation.
    """
    chosen = optimizer_named(optimizer)
    check_recompute(recompute)
    repeats = whole_number("gradient_accumulation", gradient_accumulation, high=1_000_000)
    stage = whole_number("zero_stage", zero_stage, low=0, high=3)
    times = np.asarray(forward.times, dtype=np.float64)
    ahead, behind = forward.graph, backward_graph(forward.graph, recompute)
    if stage == 3:
        ahead, behind = _with_gathered_weights(ahead, ahead), _with_gathered_weights(behind, ahead)
    passes = (
        Pass("forward", ahead, times * repeats),
        Pass("backward", behind, times * repeats),
        Pass("optimizer", optimizer_graph(forward.graph, chosen, stage), np.minimum(times, 1.0)),
    )
    state = TrainingState(_bytes_beside_weight(forward.graph, chosen), workload_retained_bytes(recompute, repeats))
    requests = max(np.size(batch), np.size(tokens_in), np.size(times))
    return Workload(name, passes, batch=batch, tokens_in=tokens_in, requests=requests, notes=notes, training=state)


def _bytes_beside_weight(graph: WorkloadGraph, optimizer: Optimizer) -> float:
    """Return the mean over trainable parameters of what is kept beside the weight."""
    sizes = [
        (o.parameters * block.copies, optimizer.state_bytes(o.dtype))
        for block in graph.blocks
        for o in block.operators
        if is_learnable(o) and o.parameters
    ]
    return sum(size * each for size, each in sizes) / max(1.0, sum(size for size, _ in sizes))


def _with_gathered_weights(graph: WorkloadGraph, stored: WorkloadGraph) -> WorkloadGraph:
    """Return the graph with the weights of each block gathered from the replicas before it (ZeRO stage 3)."""
    weights = {block.name: _gathers(block) for block in stored.blocks}
    blocks = []
    for block in graph.blocks:
        gathers = weights.get(block.name.removesuffix(".first"), ())
        blocks.append(replace(block, operators=(*gathers, *block.operators)))
    return replace(graph, blocks=tuple(blocks))


def _gathers(block: Block) -> tuple[Operator, ...]:
    sizes = {"sharded": 0.0, "replicated": 0.0, "experts": 0.0}
    for o in block.operators:
        sizes[parallel_class(o)] += o.parameters * weight_bytes(o.dtype)
    return tuple(
        gradient_collective(f"weights.{held}.gather", sizes[held], kind="all_gather", sharded=held == "sharded")
        for held in ("sharded", "replicated")
        if sizes[held]
    )
