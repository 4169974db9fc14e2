"""ONNX files as models: every standard operator has a cost, or the report names it as unmodelled.

Open dimensions are knobs; the batch is the request's. See docs/onnx.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from foundation.checks import whole_number
from foundation.errors import BadFileError, BadValueError, UnknownNameError
from workloads.builders.one_pass import checked_batch, one_pass
from workloads.graph import Block, Operator, Size, Workload, WorkloadGraph
from workloads.graph_model import BATCHED
from workloads.importers.onnx_graph import Findings, Row, Segment, Walker
from workloads.importers.onnx_read import read_onnx
from workloads.importers.onnx_shapes import OpenDimensions, infer, open_dimensions
from workloads.model import Model, Request
from workloads.table import DEFAULTS, Array

RATIOS = ("operands", "flop_per_element")
"""Columns that are so many for each element written: of a + b/batch where the elements grow with the batch."""


def load_onnx(path: str | Path) -> OnnxModel:
    """Return the model in an ONNX file.

    Raises:
        BadFileError: the file cannot be used; the tensor or node at fault is named.
        UnsupportedError: the package `onnx` is not installed.
    """
    file = Path(path)
    proto = read_onnx(file)
    dimensions = open_dimensions(proto, file)
    model = OnnxModel(file.stem, file, proto, dimensions, dict.fromkeys(dimensions.others))
    if not dimensions.others:
        _ = model.built  # a fixed model shows its faults when it is loaded
    return model


@dataclass(frozen=True)
class Built:
    """Segments at batch 1 (or the file's fixed batch) and, where the batch is open, at batch 2."""

    one: tuple[Segment, ...]
    two: tuple[Segment, ...] | None
    largest: int
    findings: Findings


@dataclass(frozen=True)
class OnnxModel(Model):
    """A graph from an ONNX file. Its knobs are the dimensions, other than the batch, that the file leaves open."""

    family: ClassVar[str] = "onnx"
    name: str
    path: Path
    proto: Any = field(repr=False, compare=False)
    dimensions: OpenDimensions = field(repr=False)
    sizes: Mapping[str, int | None] = field(default_factory=dict)

    def knobs(self) -> Mapping[str, int | None]:
        return dict(self.sizes)

    def with_knobs(self, changes: Mapping[str, Any]) -> OnnxModel:
        checked: dict[str, int | None] = dict(self.sizes)
        for name, value in changes.items():
            if name not in self.sizes and not self._is_axis(name):
                hint = "The batch is the request's (`--batch`)." if name == self.dimensions.batch else ""
                raise UnknownNameError(
                    "knob", name, self.sizes, hint or f"The open dimensions of {self.path} are knobs."
                )
            checked[name] = whole_number(name, value, low=0)
        return replace(self, sizes=checked)

    def _is_axis(self, name: str) -> bool:
        """Tell whether a name is `tensor.axis` of a tensor of the file (a size that depends on data)."""
        tensor, _, axis = name.rpartition(".")
        return axis.isdigit() and any(tensor in node.output for node in self.proto.graph.node)

    @property
    def defaults(self) -> Mapping[str, Any]:
        return {"prompt": 0, "generate": 0, "dtype": self.native_dtype}

    @cached_property
    def native_dtype(self) -> str:
        """The format that most parameters are in."""
        held: dict[str, float] = {}
        for segment in self.built.one:
            for row in segment.rows:
                held[row.dtype] = held.get(row.dtype, 0.0) + row.parameters
        return max(held, key=lambda name: held[name], default="fp32")

    @cached_property
    def built(self) -> Built:
        """The walked graph.

        Raises:
            BadValueError: an open dimension has no size.
            BadFileError: a tensor's shape cannot be known.
        """
        for name, value in self.sizes.items():
            if value is None:
                where = self.dimensions.others[name]
                raise BadValueError(f"{self.path}: dimension '{name}' ({where}) has no size; set it: --set {name}=N.")
        first = self._walk(1)
        second = None
        if self.dimensions.batch:
            try:
                second = self._walk(2).segments
            except (BadFileError, BadValueError):
                second = None  # the file fixes batch 1 inside: its operators are scaled one by one
        both = tuple(second) if second is not None and _alike(first.segments, second) else None
        return Built(tuple(first.segments), both, first.largest, first.findings)

    def _walk(self, batch: int) -> Walker:
        sizes = {name: value for name, value in self.sizes.items() if value is not None}
        if self.dimensions.batch:
            sizes[self.dimensions.batch] = batch
        return Walker(infer(self.proto, sizes, self.path), self.path)

    def workload(self, request: Request) -> Workload:
        """Return one forward pass over a batch, or the training step of it. Raises as `built`, and BadValueError."""
        batch = checked_batch(request)
        return one_pass(self.name, self.graph_at(batch, request.dtype), batch, request, notes=self._notes())

    @property
    def graph(self) -> WorkloadGraph:
        """The graph of one pass at batch 1."""
        return self.graph_at(np.asarray(1.0))

    def graph_at(self, batch: Array, dtype: str = "") -> WorkloadGraph:
        """Return the graph of one pass; `dtype` "" keeps the formats of the file."""
        built, fixed = self.built, self.dimensions.fixed_batch
        blocks = []
        for place, segment in enumerate(built.one):
            others: Sequence[Row | None] = built.two[place].rows if built.two else [None] * len(segment.rows)
            rows = zip(segment.rows, others, strict=True)
            operators = tuple(_operator(row, other, batch, fixed, dtype) for row, other in rows)
            blocks.append(Block(segment.name, operators, segment.count, shared=segment.count > 1))
        if not blocks:
            raise BadFileError(self.path, "the graph computes nothing: every node is constant or a view.")
        return WorkloadGraph(self.name, tuple(blocks), boundary_elements=batch * (built.largest / fixed))

    @cached_property
    def report(self) -> Mapping[str, Any]:
        """What was read and what was not: see docs/onnx.md."""
        from workloads.importers.onnx_report import report_of

        return report_of(self.graph, self.built.findings)

    def _notes(self) -> tuple[str, ...]:
        found = self.built.findings
        notes = tuple(found.notes)
        if found.unmodelled:
            names = ", ".join(sorted({entry["op"] for entry in found.unmodelled}))
            share = self.report["share_of_bytes"]
            notes += (f"{len(found.unmodelled)} operators have no cost model ({names}): {share:.1%} of the bytes.",)
        return notes


def _alike(one: Sequence[Segment], two: Sequence[Segment]) -> bool:
    """Tell whether two walks found the same operators."""
    same = [(s.name, s.count, tuple((r.name, r.part.op, r.fused) for r in s.rows)) for s in one]
    return same == [(s.name, s.count, tuple((r.name, r.part.op, r.fused) for r in s.rows)) for s in two]


def _operator(row: Row, other: Row | None, batch: Array, fixed: int, dtype: str) -> Operator:
    shape = dict(row.part.shape) if other is None else _between(row.part.shape, other.part.shape, batch)
    if other is None:
        column = row.part.grows or BATCHED[row.part.op]
        shape[column] = shape.get(column, 1.0) * batch / fixed  # type: ignore[assignment]
    return Operator(
        row.name, row.part.op, shape, dtype=dtype or row.dtype, inputs=row.inputs, parameters=row.parameters,
        fused=row.fused,
    )  # fmt: skip


def _between(one: Mapping[str, float], two: Mapping[str, float], batch: Array) -> dict[str, Any]:
    """Return the columns at any batch from those at 1 and 2: straight lines, and a + b/batch for ratios."""
    shape: dict[str, Size] = {}
    for key in {**one, **two}:
        a, b = one.get(key, DEFAULTS[key]), two.get(key, DEFAULTS[key])
        if a == b:
            shape[key] = a
        elif key in RATIOS and two["rows"] == 2 * one["rows"]:
            shape[key] = (2 * b - a) + 2 * (a - b) / batch
        else:
            shape[key] = a + (b - a) * (batch - 1)
    return shape
