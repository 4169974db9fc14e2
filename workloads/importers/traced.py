"""What importers of tensor programs share: typed nodes, in order, become segments of operators, and those a model.

A reader hands over nodes whose tensors have names, element types and sizes (`onnx_shapes.Tensor`). Costs are those of
the ONNX operators of the same meaning (docs/onnx.md), or parts that the reader gives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from foundation.errors import BadFileError, UnknownNameError
from workloads.builders.one_pass import checked_batch, one_pass
from workloads.graph import BLOCK_INPUT, Block, Operator, Workload, WorkloadGraph
from workloads.graph_model import BATCHED
from workloads.importers.onnx_formats import STORED, element_format, format_of
from workloads.importers.onnx_fusion import Entry, fuse
from workloads.importers.onnx_graph import MAX_REPEATS, MAX_SIZE, Findings, Row, Segment
from workloads.importers.onnx_node import Node, Part, pointwise
from workloads.importers.onnx_table import HANDLERS
from workloads.model import Model, Request
from workloads.table import DEFAULTS, NEEDED, Array

MAX_NODES = 200_000
"""Nodes walked, those of functions counted at every call."""
MAX_ELEMENTS = 10**13
"""No tensor of a file may claim more elements."""


class Tracer:
    """Collects nodes. `segments`, `findings` and `largest` (elements of the largest result) are the outcome."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.segments: list[Segment] = []
        self.findings = Findings()
        self.largest = 1
        self.quantised: dict[str, str] = {}
        self._entries: list[Entry] = []
        self._names: set[str] = set()
        self._roots: dict[str, frozenset[str]] = {}  # constant -> the stored tensors that it is made of
        self._sizes: dict[str, int] = {}
        self._counted: set[str] = set()
        self._view: dict[str, str] = {}  # tensor -> the tensor that it is a view of

    def constant(self, name: str, parameters: int = 0) -> None:
        """Note a tensor that is known before the program runs; `parameters` of its elements are stored weights."""
        self._roots[name] = frozenset((name,)) if parameters else frozenset()
        self._sizes[name] = parameters

    def is_constant(self, name: str) -> bool:
        return name in self._roots

    def view(self, source: str, *targets: str) -> None:
        """Note tensors that name the same data as `source`: no kernel runs."""
        self.findings.free += 1
        self.alias(source, *targets)

    def alias(self, source: str, *targets: str) -> None:
        """As `view`, for names that no node of the file makes (arguments of functions, results of loops)."""
        for target in targets:
            if source in self._roots:
                self._roots[target] = self._roots[source]
            else:
                self._view[target] = self._view.get(source, source)
            if source in self.quantised:
                self.quantised[target] = self.quantised[source]

    def count_node(self) -> None:
        """Count a node of the file. Raises BadFileError: there are too many."""
        self.findings.nodes += 1
        if self.findings.nodes > MAX_NODES:
            raise BadFileError(self.path, f"the program has more than {MAX_NODES:,} operators, functions written out.")

    def node(
        self, node: Node, *, parts: Sequence[Part] | None = None, weights: Iterable[int] | None = None, dtype: str = ""
    ) -> None:  # fmt: skip
        """Add a node at the cost of its ONNX operator (or of `parts`), in the format of its tensors (or in `dtype`).

        `weights` are the inputs that can be stored parameters, where not all can.

        A node that reads only constants is computed once, when the model is loaded: it costs nothing.
        """
        reads = [tensor.name for tensor in node.present]
        if reads and all(name in self._roots for name in reads):
            self.findings.folded += 1
            roots = frozenset().union(*(self._roots[name] for name in reads))
            stored_as = next((self.quantised[name] for name in reads if name in self.quantised), "")
            for tensor in node.outputs:
                self._roots[tensor.name] = roots
                if stored_as:
                    self.quantised[tensor.name] = stored_as
            return
        if all(tensor.elements == 0 for tensor in node.outputs):
            self.view(reads[0] if reads else "", *(tensor.name for tensor in node.outputs))
            return
        node = replace(node, inputs=tuple(self._marked(tensor) for tensor in node.inputs))
        found = list(parts) if parts is not None else self._costed(node)
        self._check(found, node.label)
        stored = self._parameters(node, weights)
        self._entry(node, found, dtype or format_of(node, self.quantised), node.op_type, stored)

    def unmodelled(self, node: Node, reason: str, *, domain: str = "") -> None:
        """Add a node without a cost model: it reads its inputs and writes its outputs, and the report names it."""
        written = max(1, node.written)
        tensors = [*node.outputs, *node.present]
        reads = sum(tensor.elements for tensor in node.present)
        part = pointwise(written, 1, 0, reads=reads, op="copy")
        self._check([part], node.label)
        name = self._entry(node, [part], element_format(tensors[0]) if tensors else "fp32", "", 0.0)
        self.findings.unmodelled.append({"op": node.op_type, "domain": domain, "node": name, "reason": reason})

    def close(self, count: int, kept: frozenset[str] | None = None, name: str = "") -> None:
        """End the current segment, which runs `count` times; `kept` None means that anything may be read later."""
        if not self._entries:
            return
        if count > MAX_REPEATS:
            raise BadFileError(self.path, f"a loop repeats its body {count:,} times; at most {MAX_REPEATS:,}.")
        if kept is None:
            kept = frozenset(t for e in self._entries for t in e.writes) - {t for e in self._entries for t in e.reads}
        else:
            kept = frozenset(self._view.get(tensor, tensor) for tensor in kept)
        fuse(self._entries, kept)
        self.segments.append(Segment(name or f"part{len(self.segments) + 1}", count, tuple(_rows(self._entries))))
        self._entries = []

    def _marked(self, tensor: Any) -> Any:
        return replace(tensor, constant=tensor.name in self._roots) if tensor is not None else None

    def _costed(self, node: Node) -> list[Part]:
        try:
            return HANDLERS[node.op_type](node)
        except (LookupError, ValueError, ZeroDivisionError, TypeError) as error:
            problem = f"{node.label} has inputs or attributes that do not fit it ({type(error).__name__}: {error})."
            raise BadFileError(self.path, problem) from None

    def _check(self, parts: Sequence[Part], label: str) -> None:
        for part in parts:
            for key in NEEDED[part.op]:
                size = part.shape.get(key, DEFAULTS[key])
                if not 0 < size < MAX_SIZE:
                    raise BadFileError(self.path, f"{label} has the impossible size {key} = {size:g}.")

    def _parameters(self, node: Node, weights: Iterable[int] | None) -> float:
        """Return the stored elements that a node is the first to read."""
        allowed = None if weights is None else frozenset(weights)
        total = 0
        for place, tensor in enumerate(node.inputs):
            if tensor is None or tensor.name not in self._roots or (allowed is not None and place not in allowed):
                continue
            new = self._roots[tensor.name] - self._counted
            self._counted |= new
            total += sum(self._sizes[root] for root in new)
        return float(total)

    def _entry(self, node: Node, parts: list[Part], dtype: str, op_type: str, parameters: float) -> str:
        self.largest = max(self.largest, node.written)
        moving = (self._view.get(t.name, t.name) for t in node.present if t.name not in self._roots)
        name = self._unique(node.label)
        writes = tuple(tensor.name for tensor in node.outputs)
        reads = tuple(dict.fromkeys(moving))
        self._entries.append(Entry(name, op_type, dtype, parts, reads, writes, node.written, parameters))
        return name

    def _unique(self, base: str) -> str:
        name, i = base, len(self._names)
        while name in self._names:
            name, i = f"{base}_{i}", i + 1
        self._names.add(name)
        return name


def _rows(entries: Iterable[Entry]) -> Iterable[Row]:
    """Yield the operators of a segment, each reading by name what the segment holds."""
    source: dict[str, str] = {}
    for entry in entries:
        inputs = tuple(dict.fromkeys(source.get(tensor, BLOCK_INPUT) for tensor in entry.reads)) or (BLOCK_INPUT,)
        for i, part in enumerate(entry.parts):
            last = i == len(entry.parts) - 1
            name = entry.name if last else f"{entry.name}.{part.suffix or i}"
            yield Row(name, part, entry.dtype, inputs, entry.parameters if i == 0 else 0.0, entry.fused)
            inputs = (name,)
        source.update(dict.fromkeys(entry.writes, entry.name))


def stored_elements(element: str, dims: Sequence[int]) -> int:
    """Return how many parameters a stored tensor is: its elements, unless it is one number or an index table."""
    elements = 1
    for dim in dims:
        elements *= dim
    return elements if elements > 1 and element in STORED else 0


@dataclass(frozen=True)
class TracedModel(Model):
    """A program with the sizes that it was exported with, scaled from its batch to the request's. It has no knobs."""

    family: ClassVar[str] = "traced"
    name: str
    path: Path
    segments: tuple[Segment, ...] = field(repr=False)
    findings: Findings = field(repr=False)
    fixed_batch: int = 1
    largest: int = 1

    def knobs(self) -> Mapping[str, Any]:
        return {}

    def with_knobs(self, changes: Mapping[str, Any]) -> Model:
        for name in changes:
            hint = "The batch is the request's (`--batch`)." if name == "batch" else ""
            raise UnknownNameError("knob", name, self.knobs(), hint or f"{self.path} was exported with fixed sizes.")
        return self

    @property
    def defaults(self) -> Mapping[str, Any]:
        return {"prompt": 0, "generate": 0, "dtype": self.native_dtype}

    @cached_property
    def native_dtype(self) -> str:
        """The format that most parameters are in."""
        held: dict[str, float] = {}
        for segment in self.segments:
            for row in segment.rows:
                held[row.dtype] = held.get(row.dtype, 0.0) + row.parameters
        return max(held, key=lambda name: held[name], default="fp32")

    def workload(self, request: Request) -> Workload:
        """Return one forward pass over a batch, or the training step of it. Raises BadValueError."""
        batch = checked_batch(request)
        return one_pass(self.name, self.graph_at(batch, request.dtype), batch, request, notes=self._notes())

    @property
    def graph(self) -> WorkloadGraph:
        """The graph of one pass at batch 1."""
        return self.graph_at(np.asarray(1.0))

    def graph_at(self, batch: Array, dtype: str = "") -> WorkloadGraph:
        """Return the graph of one pass; `dtype` "" keeps the formats of the file."""
        scale = batch / self.fixed_batch
        blocks = tuple(
            Block(s.name, tuple(_operator(row, scale, dtype) for row in s.rows), s.count, shared=s.count > 1)
            for s in self.segments
        )
        return WorkloadGraph(self.name, blocks, boundary_elements=scale * self.largest)

    @cached_property
    def report(self) -> Mapping[str, Any]:
        """What was read and what was not: see docs/importers.md."""
        from workloads.importers.onnx_report import report_of

        return report_of(self.graph, self.findings)

    def _notes(self) -> tuple[str, ...]:
        notes, missing = tuple(self.findings.notes), self.findings.unmodelled
        if missing:
            names = ", ".join(sorted({entry["op"] for entry in missing})[:20])
            share = self.report["share_of_bytes"]
            notes += (f"{len(missing)} operators have no cost model ({names}): {share:.1%} of the bytes.",)
        return notes


def _operator(row: Row, scale: Array, dtype: str) -> Operator:
    column = row.part.grows or BATCHED[row.part.op]
    shape: dict[str, Any] = dict(row.part.shape)
    shape[column] = shape.get(column, 1.0) * scale
    return Operator(
        row.name, row.part.op, shape, dtype=dtype or row.dtype, inputs=row.inputs, parameters=row.parameters,
        fused=row.fused,
    )  # fmt: skip


def require_operators(tracer: Tracer) -> None:
    """Raise BadFileError where nothing of a program costs anything."""
    if not tracer.segments:
        raise BadFileError(tracer.path, "the program computes nothing: every operator is constant or a view.")
