"""From typed ONNX nodes to segments of operators, with a report of what has no cost model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from foundation.errors import BadFileError
from workloads.graph import BLOCK_INPUT
from workloads.importers.onnx_formats import QUANTISED, STORED, element_format, format_of
from workloads.importers.onnx_fusion import Entry, fuse
from workloads.importers.onnx_node import Node, Part, pointwise
from workloads.importers.onnx_read import node_label, subgraphs
from workloads.importers.onnx_shapes import Shapes, Tensor, missing_shape, tensors_of
from workloads.importers.onnx_table import CONTROL, FREE, HANDLERS, SHAPELESS, reason_unmodelled
from workloads.table import DEFAULTS, NEEDED

MAX_REPEATS = 10**9
MAX_SIZE = 1e15
HOST_ELEMENTS = 64
"""Arithmetic on shapes of up to so many elements runs on the host, beside the kernels."""
PARAMETER_INPUTS: dict[str, tuple[int, ...]] = {
    "QuantizeLinear": (0,), "DequantizeLinear": (0,), "BatchNormalization": (1, 2), "Resize": (), "Upsample": (),
    "Pad": (), "QLinearConv": (3, 8), "QLinearMatMul": (0, 3), "ConvInteger": (1,), "MatMulInteger": (0, 1),
}  # fmt: skip
"""Inputs that can be parameters, where not all are (running statistics, scales and pads are not)."""


@dataclass(frozen=True)
class Row:
    """One operator before the batch is applied."""

    name: str
    part: Part
    dtype: str
    inputs: tuple[str, ...]
    parameters: float
    fused: bool


@dataclass(frozen=True)
class Segment:
    """Operators that run `count` times one after the other."""

    name: str
    count: int
    rows: tuple[Row, ...]


@dataclass
class Findings:
    """What the report is made of."""

    nodes: int = 0
    free: int = 0
    folded: int = 0
    unmodelled: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Walker:
    """Walks the nodes of a model in order. `segments` and `findings` are the result."""

    def __init__(self, shapes: Shapes, path: Path) -> None:
        self.path = path
        self.opset = max((o.version for o in shapes.model.opset_import if o.domain in ("", "ai.onnx")), default=13)
        self.segments: list[Segment] = []
        self.findings = Findings(notes=list(shapes.assumed))
        self.largest = 1
        self._tensors: dict[str, Tensor] = {}
        self._entries: list[Entry] = []
        self._names: set[str] = set()
        self._roots: dict[str, frozenset[str]] = {}  # constant -> the stored tensors that it is made of
        self._sizes: dict[str, int] = {}  # stored tensor -> elements
        self._counted: set[str] = set()
        self._view: dict[str, str] = {}  # tensor -> the tensor that it is a view of
        self._host: set[str] = set()
        self._quantised: dict[str, str] = {}
        graph = shapes.model.graph
        self._graph(graph, {}, 1)
        self._close(1, frozenset(self._canonical(info.name) for info in graph.output))

    def _graph(self, graph: Any, outer: Mapping[str, Tensor], count: int) -> None:
        before, self._tensors = self._tensors, tensors_of(graph, outer)
        for name, tensor in self._tensors.items():
            if tensor.constant and name not in self._roots:
                self._roots[name], self._sizes[name] = frozenset((name,)), tensor.elements
        for node in graph.node:
            self.findings.nodes += 1
            self._node(node, graph, count)
        self._tensors = {**before, **{name: t for name, t in self._tensors.items() if t.constant}}

    def _node(self, node: Any, graph: Any, count: int) -> None:
        reads = [name for name in node.input if name]
        standard = node.domain in ("", "ai.onnx")
        if standard and node.op_type in CONTROL:
            self._control(node, graph, count)
        elif standard and node.op_type != "Constant" and reads and all(name in self._roots for name in reads):
            self._fold(node, reads)
        elif standard and (node.op_type in FREE or self._is_host(node, reads)):
            self._pass(node, reads)
        else:
            self._cost(node, graph, reads)

    def _fold(self, node: Any, reads: list[str]) -> None:
        """A node that reads only constants is computed once, when the model is loaded."""
        self.findings.folded += 1
        sources = reads[:1] if node.op_type in ("QuantizeLinear", "DequantizeLinear") else reads
        roots = frozenset().union(*(self._roots[name] for name in sources))
        if node.op_type == "ConstantOfShape":
            known = self._tensors.get(node.output[0])
            roots, self._sizes[node.output[0]] = frozenset(node.output[:1]), known.elements if known else 0
        for name in node.output:
            self._roots[name] = roots
            if name in self._tensors:
                value = (
                    self._tensors[reads[0]].value
                    if node.op_type in ("Identity", "Cast") and reads[0] in self._tensors
                    else None
                )
                self._tensors[name] = replace(self._tensors[name], constant=True, value=value)
        if node.op_type == "DequantizeLinear" and reads[0] in self._tensors:
            self._quantised[node.output[0]] = QUANTISED.get(self._tensors[reads[0]].element, "")
        elif reads[0] in self._quantised:
            self._quantised[node.output[0]] = self._quantised[reads[0]]

    def _is_host(self, node: Any, reads: list[str]) -> bool:
        if node.op_type in ("Shape", "Size"):
            return True
        if not reads or not all(name in self._host or name in self._roots for name in reads):
            return False
        return all(n in self._tensors and self._tensors[n].elements <= HOST_ELEMENTS for n in node.output if n)

    def _pass(self, node: Any, reads: list[str]) -> None:
        """A view or host arithmetic: its outputs stand for its first input."""
        self.findings.free += 1
        moving = [name for name in reads if name not in self._roots]
        host = node.op_type in ("Shape", "Size") or (
            bool(reads) and all(n in self._host or n in self._roots for n in reads)
        )
        for name in node.output:
            if host:
                self._host.add(name)
            elif moving:
                self._view[name] = self._canonical(moving[0])
                if moving[0] in self._quantised:
                    self._quantised[name] = self._quantised[moving[0]]

    def _canonical(self, name: str) -> str:
        return self._view.get(name, name)

    def _cost(self, node: Any, graph: Any, reads: list[str]) -> None:
        outputs = [name for name in node.output if name]
        reason = reason_unmodelled(node.op_type, node.domain)
        unknown = [name for name in (*reads, *outputs) if name not in self._tensors]
        if not reason and unknown:
            if not self._is_collection(unknown[0], graph, node):
                raise missing_shape(unknown[0], graph, node, self.path)
            reason = SHAPELESS
        if all(n in self._tensors and self._tensors[n].elements == 0 for n in outputs):
            self._pass(node, reads)  # nothing to compute, e.g. an empty cache
            return
        view = self._viewed(node)
        parts, dtype = ([], "fp32") if reason else self._parts(view, node)
        if reason:
            parts, dtype = self._traffic(view)
        written = view.written if view.outputs else 1
        self.largest = max(self.largest, written)
        moving = tuple(dict.fromkeys(self._canonical(n) for n in reads if n not in self._roots and n not in self._host))
        name = self._unique(node)
        parameters = 0.0 if reason else self._parameters(node)
        self._entries.append(
            Entry(name, "" if reason else node.op_type, dtype, parts, moving, tuple(outputs), written, parameters)
        )
        if reason:
            self.findings.unmodelled.append({"op": node.op_type, "domain": node.domain, "node": name, "reason": reason})
        if node.op_type == "DequantizeLinear" and view.inputs and view.inputs[0] is not None:
            self._quantised[outputs[0]] = QUANTISED.get(view.inputs[0].element, "")

    def _viewed(self, node: Any) -> Node:
        from onnx import helper

        attributes = {
            a.name: helper.get_attribute_value(a) for a in node.attribute if not (a.HasField("g") or a.graphs)
        }
        inputs = tuple(self._tensors.get(name) if name else None for name in node.input)
        outputs = tuple(self._tensors[name] for name in node.output if name in self._tensors)
        return Node(node.op_type, node_label(node), attributes, inputs, outputs, self.opset)

    def _parts(self, view: Node, node: Any) -> tuple[list[Part], str]:
        try:
            parts = HANDLERS[node.op_type](view)
        except (LookupError, ValueError, ZeroDivisionError, TypeError) as error:
            raise BadFileError(
                self.path,
                f"{node_label(node)} has inputs or attributes that do not fit it ({type(error).__name__}: {error}).",
            ) from None
        for part in parts:
            for key in NEEDED[part.op]:
                size = part.shape.get(key, DEFAULTS[key])
                if not 0 < size < MAX_SIZE:
                    raise BadFileError(self.path, f"{node_label(node)} has the impossible size {key} = {size:g}.")
        return parts, format_of(view, self._quantised)

    def _traffic(self, view: Node) -> tuple[list[Part], str]:
        """An operator without a cost model still reads its inputs and writes its outputs."""
        written = max(1, view.written)
        reads = sum(tensor.elements for tensor in view.present)
        tensors = [*view.outputs, *view.present]
        part = pointwise(written, 1, 0, reads=reads, op="copy")
        return [part], element_format(tensors[0]) if tensors else "fp32"

    def _parameters(self, node: Any) -> float:
        """Return the stored elements that a node is the first to read."""
        total = 0
        allowed = PARAMETER_INPUTS.get(node.op_type)
        for place, name in enumerate(node.input):
            if name not in self._roots or (allowed is not None and place not in allowed):
                continue
            for root in self._roots[name] - self._counted:
                tensor = self._tensors.get(root)
                if tensor is not None and tensor.element in STORED and self._sizes[root] > 1:
                    self._counted.add(root)
                    total += self._sizes[root]
        return float(total)

    def _unique(self, node: Any) -> str:
        base = node.name or f"{node.op_type}_{self.findings.nodes}"
        name, i = base, 1
        while name in self._names:
            i += 1
            name = f"{base}_{i}"
        self._names.add(name)
        return name

    def _is_collection(self, name: str, graph: Any, node: Any) -> bool:
        if "Sequence" in node.op_type:
            return True
        infos = (*graph.input, *graph.value_info, *graph.output)
        return any(i.name == name and not i.type.HasField("tensor_type") and i.type.WhichOneof("value") for i in infos)

    def _close(self, count: int, kept: frozenset[str] | None = None, name: str = "") -> None:
        """End the current segment; `kept` None means that anything may be read later."""
        if not self._entries:
            return
        everything = frozenset(t for e in self._entries for t in e.writes)
        read = {t for e in self._entries for t in e.reads}
        fuse(self._entries, kept if kept is not None else everything - read)
        rows = tuple(_rows(self._entries))
        self.segments.append(Segment(name or f"part{len(self.segments) + 1}", count, rows))
        self._entries = []

    def _control(self, node: Any, graph: Any, count: int) -> None:
        bodies = subgraphs(node)
        if node.op_type == "If":
            self._branch(node, bodies, count)
            return
        trips, note = self._trips(node)
        if note:
            self.findings.notes.append(note)
        self._close(count)
        if trips and bodies:
            repeats = count * trips
            if repeats > MAX_REPEATS:
                raise BadFileError(
                    self.path, f"{node_label(node)} repeats its body {repeats:,} times; at most {MAX_REPEATS:,}."
                )
            self._graph(bodies[0], self._tensors, repeats)
            self._close(repeats, name=self._unique(node))

    def _trips(self, node: Any) -> tuple[int, str]:
        """Return how often a body runs, and what to say where that is not known."""
        if node.op_type == "Loop":
            first = self._tensors.get(node.input[0]) if node.input and node.input[0] else None
            if first is not None and first.value is not None:
                return max(0, min(int(first.value.reshape(-1)[0]), 2**62)), ""
        elif node.op_type == "Scan" and node.input:
            scanned = self._tensors.get(node.input[-1])
            if scanned is not None and scanned.dims:
                return scanned.dims[0], ""
        return 1, f"{node_label(node)} runs an unknown number of times; its body is counted once."

    def _branch(self, node: Any, bodies: list[Any], count: int) -> None:
        """A constant condition picks its branch; otherwise the longer one is counted."""
        names = [a.name for a in node.attribute if a.HasField("g")]
        by_name = dict(zip(names, bodies, strict=False))
        condition = self._tensors.get(node.input[0])
        if condition is not None and condition.value is not None:
            body = by_name.get("then_branch" if bool(condition.value.reshape(-1)[0]) else "else_branch")
        else:
            body = max(bodies, key=lambda g: len(g.node), default=None)
            self.findings.notes.append(f"{node_label(node)} depends on data; its longer branch is counted.")
        if body is None:
            return
        self._graph(body, self._tensors, count)
        for inner, outer in zip(body.output, node.output, strict=False):
            if inner.name in self._roots:
                self._roots[outer] = self._roots[inner.name]
            else:
                self._view[outer] = self._canonical(inner.name)


def _rows(entries: Iterable[Entry]) -> Iterable[Row]:
    """Yield the operators of a segment's entries, each reading by name what the segment holds."""
    source: dict[str, str] = {}
    for entry in entries:
        inputs = tuple(dict.fromkeys(source.get(tensor, BLOCK_INPUT) for tensor in entry.reads)) or (BLOCK_INPUT,)
        last = ""
        for i, part in enumerate(entry.parts):
            name = f"{entry.name}.{part.suffix}" if part.suffix and i < len(entry.parts) - 1 else entry.name
            yield Row(
                name, part, entry.dtype, (last,) if last else inputs, entry.parameters if i == 0 else 0.0, entry.fused
            )
            last = name
        for tensor in entry.writes:
            source[tensor] = entry.name
