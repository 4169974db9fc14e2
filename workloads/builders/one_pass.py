"""Workloads of one forward pass over a batch, or of the training step of it: image networks, files, encoders."""

from __future__ import annotations

import numpy as np

from workloads.builders.chain import request_sizes
from workloads.graph import Pass, Size, Workload, WorkloadGraph
from workloads.model import Request
from workloads.table import Array


def checked_batch(request: Request) -> Array:
    """Return the batch of a request to a model that takes no tokens (shape () or (S,)). Raises BadValueError."""
    return request_sizes(Request(batch=request.batch), {"prompt": 1, "generate": 0}).batch


def one_pass(
    name: str, graph: WorkloadGraph, batch: Array, request: Request, *, tokens_in: Size = 0.0,
    notes: tuple[str, ...] = (),
) -> Workload:  # fmt: skip
    """Return the pass `forward` over a graph that was built for `batch`, or the training step of it (`mode`)."""
    forward = Pass("forward", graph, np.ones(batch.shape))
    if request.mode == "train":
        from workloads.training import training_workload

        return training_workload(forward, name=name, batch=batch, tokens_in=tokens_in, notes=notes)
    return Workload(
        name, (forward,), batch=batch, tokens_in=tokens_in, requests=int(batch.size),
        owners={"forward": np.arange(batch.size)}, notes=notes,
    )  # fmt: skip
