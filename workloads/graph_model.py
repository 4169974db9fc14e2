"""A model that is one fixed graph, built for batch 1: what a workload file, or a graph made in Python, becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from foundation.errors import UnknownNameError
from workloads.builders.one_pass import checked_batch, one_pass
from workloads.graph import Operator, Workload, WorkloadGraph
from workloads.model import Model, Request
from workloads.table import Array

BATCHED: Mapping[str, str] = {
    "gemm": "m", "attention": "batch", "mla": "batch", "moe": "tokens", "conv2d": "batch", "norm": "rows",
    "elementwise": "rows", "softmax": "rows", "embedding": "rows", "copy": "rows", "scan": "batch",
}  # fmt: skip
"""The column of each operator that grows with the batch (a batched gemm without weights grows in `batch`)."""


@dataclass(frozen=True)
class GraphModel(Model):
    """A graph with the sizes of one sample, scaled to the request's batch. It has no knobs.

    `notes` are sentences that a user should see; `dtype` is the format that most of the graph is in.
    """

    family: ClassVar[str] = "graph"
    name: str
    graph: WorkloadGraph
    notes: tuple[str, ...] = ()
    dtype: str = "bf16"

    @property
    def defaults(self) -> Mapping[str, Any]:
        return {"prompt": 0, "generate": 0, "dtype": self.dtype}

    def workload(self, request: Request) -> Workload:
        """Return one forward pass over a batch, or the training step of it. Raises BadValueError."""
        batch = checked_batch(request)
        return one_pass(self.name, with_batch(self.graph, batch, request.dtype), batch, request, notes=self.notes)

    def knobs(self) -> Mapping[str, Any]:
        return {}

    def with_knobs(self, changes: Mapping[str, Any]) -> Model:
        for name in changes:
            raise UnknownNameError("knob", name, (), f"'{self.name}' is a fixed graph without knobs.")
        return self


def with_batch(graph: WorkloadGraph, batch: Array, dtype: str = "") -> WorkloadGraph:
    """Return a graph that was built for batch 1, for another batch and format ("" keeps those of the graph)."""

    def scaled(o: Operator) -> Operator:
        column = "batch" if o.op == "gemm" and not o.parameters else BATCHED.get(o.op)
        shape = dict(o.shape)
        if column is not None:
            shape[column] = shape.get(column, 1) * batch
        return replace(o, shape=shape, dtype=dtype or o.dtype)

    blocks = tuple(replace(b, operators=tuple(scaled(o) for o in b.operators)) for b in graph.blocks)
    return replace(graph, blocks=blocks, boundary_elements=graph.boundary_elements * batch)
