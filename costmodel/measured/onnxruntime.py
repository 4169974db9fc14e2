"""ONNX Runtime profiles: the JSON that a session with `enable_profiling` writes, its nodes with types and sizes.

Times are in microseconds, as whole numbers: nodes below 10 us are rounded by 10 % and more. Attributes are not in a
profile. Strides and padding follow from the sizes of input and output; a matrix that was packed ahead is not listed, so
products follow from the first input and the output. Nodes of providers that return before the device is done (CUDA,
ROCm, DirectML, WebGPU) have the time of the launch, and are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

from costmodel.measured import trace_shapes as shapes
from costmodel.measured.base import ImportRequest
from costmodel.measured.trace_json import Dims, JsonItems, number, sizes, text
from costmodel.measured.trace_rows import Trace, TraceRow, checked, load_rows, unknown
from costmodel.measured.trace_shapes import NO_SHAPES, ODD_SHAPES, Found, with_format
from foundation.errors import BadFileError
from workloads.importers.onnx_pointwise import COPIES, NORMS, PER_ELEMENT, READ_ONCE, REDUCTIONS
from workloads.measurements import MeasurementTable

MAX_NODES = 2_000_000
MICROSECOND = 1e-6
SUFFIX = "_kernel_time"
ASYNCHRONOUS = ("CUDA", "Tensorrt", "TensorRT", "NvTensorRT", "ROCM", "MIGraphX", "Dml", "DML", "WebGpu", "Js")
LAUNCH_ONLY = "a node of a provider whose profile has launches, not kernels"
FORMATS = {"float": "fp32", "float16": "fp16", "bfloat16": "bf16", "double": "fp64", "int8": "int8", "uint8": "int8",
           "float8e4m3fn": "fp8", "float8e5m2": "fp8"}  # fmt: skip
FREE = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Shape", "Size", "Constant", "Dropout"})
"""Nodes that make no numbers (a Reshape may copy a few bytes of sizes)."""
CONTROL = frozenset({"If", "Loop", "Scan", "SequenceMap"})
"""Nodes whose time holds that of nodes within, which are listed too."""

Tensor = tuple[str, Dims]


@dataclass(frozen=True)
class Node:
    """One run of a node: inputs and outputs as (type, sizes)."""

    op: str
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]

    @property
    def out(self) -> Dims:
        return self.outputs[0][1]

    def size(self, place: int) -> Dims:
        return self.inputs[place][1] if place < len(self.inputs) else ()

    @property
    def read(self) -> int:
        """Elements of all inputs."""
        return sum(prod(dims) for _, dims in self.inputs)

    @property
    def format(self) -> str:
        """The number format: of 8-bit inputs, else of the result, else of the first input that has one."""
        if self.op in INTEGER:
            return "int8"
        kinds = [self.outputs[0][0], *(kind for kind, _ in self.inputs)]
        return next((FORMATS[kind] for kind in kinds if kind in FORMATS), "")


def load_onnxruntime(request: ImportRequest) -> Iterator[MeasurementTable]:
    """Yield the measurements of a profile. Raises as `read_onnxruntime` and `load_rows`."""
    yield from load_rows(read_onnxruntime(request.needed_path("a profile of ONNX Runtime (.json)")), request)


def read_onnxruntime(path: str | Path) -> Trace:
    """Read a profile.

    Raises:
        BadFileError: the file cannot be read, is no such profile, is too large, or has no nodes.
    """
    file = Path(path)
    rows: list[TraceRow] = []
    notes: Counter[str] = Counter()
    overhead_s = 0.0
    for event in JsonItems(file, "traceEvents").read():
        if event.get("cat") != "Node" or not text(event.get("name")).endswith(SUFFIX):
            continue
        args = event.get("args")
        args = args if isinstance(args, dict) else {}
        start_s, time_s = number(event.get("ts")) * MICROSECOND, number(event.get("dur"), high=1e13) * MICROSECOND
        if not (start_s >= 0 and time_s >= 0):
            notes["an event whose time is no number"] += 1
        elif text(args.get("provider")).startswith(ASYNCHRONOUS):
            notes[LAUNCH_ONLY] += 1
        elif (op := text(args.get("op_name"), 100)) in FREE or op in CONTROL:
            overhead_s += time_s if op in FREE else 0.0
        else:
            rows.append(_row(text(event.get("name")).removesuffix(SUFFIX), op, args, time_s, start_s))
        if len(rows) > MAX_NODES:
            raise BadFileError(file, f"more than {MAX_NODES:,} nodes; profile a shorter run.")
    if not rows:
        left = f" ({notes.most_common(1)[0][0]})" if notes else ""
        raise BadFileError(file, f"the profile has no nodes that can be used{left}.")
    rows.sort(key=lambda row: row.start_s)
    source = f"ONNX Runtime profile, {file.name}"
    return Trace(str(file), source, "onnxruntime", "", "", tuple(rows), overhead_s, dict(notes))


def _row(name: str, op: str, args: Mapping[str, object], time_s: float, start_s: float) -> TraceRow:
    inputs, outputs = _tensors(args.get("input_type_shape")), _tensors(args.get("output_type_shape"))
    handler = HANDLERS.get(op)
    if handler is None:
        return unknown(name, time_s, start_s, f"the node type {op[:40] or '(none)'} has no operator here")
    if not outputs:
        return unknown(name, time_s, start_s, NO_SHAPES)
    node = Node(op, inputs, outputs)
    made, shape, reason = with_format(handler(node), node.format)
    if not made:
        return unknown(name, time_s, start_s, reason)
    if not shape["dtype"]:
        return unknown(name, time_s, start_s, "a node on integers or another type that is no number format here")
    return checked(TraceRow(name, made, shape, time_s, start_s))


def _tensors(value: object) -> list[Tensor]:
    """Return (type, sizes) of each tensor; sizes that are none are ()."""
    found = []
    for item in value[:128] if isinstance(value, list) else []:
        if isinstance(item, dict) and len(item) == 1:
            kind, dims = next(iter(item.items()))
            found.append((str(kind)[:20], sizes(dims) or ()))
    return found


def _matmul(node: Node) -> Found:
    """A[..., m, k] by B: a packed B is not listed, and is one matrix."""
    a, out = node.size(0), node.out
    others = [dims for _, dims in node.inputs[1:2] if len(dims) > 1]
    if len(a) < 2 or len(out) < 2:
        return ODD_SHAPES
    if node.op == "FusedMatMul" and others:  # either side may be turned
        batch = prod(out[:-2])
        inner = prod(a) // max(1, prod(a[:-2]) * out[-2])
        return shapes.gemm(out[-2], out[-1], inner, batch) if len(others[0]) > 2 else shapes.gemm(
            prod(out[:-1]), out[-1], prod(a) // max(1, prod(out[:-1])))  # fmt: skip
    if others:
        return shapes.matmul(a, others[0])
    return shapes.gemm(prod(out[:-1]), out[-1], a[-1])


def _gemm(node: Node) -> Found:
    """A and the result are matrices; either side may be turned."""
    a, out = node.size(0), node.out
    if len(a) != 2 or len(out) != 2 or not out[0] or prod(a) % out[0]:
        return ODD_SHAPES
    return shapes.gemm(out[0], out[1], prod(a) // out[0])


def _conv(node: Node, *, weight: int = 1) -> Found:
    return shapes.conv_by_output(node.size(0), node.size(weight), node.out)


def _attention(node: Node) -> Found:
    if min(len(node.size(i)) for i in range(3)) < 4:
        return "attention whose number of heads is not in the profile"
    return shapes.attention(node.size(0), node.size(1), node.size(2), False)


def _norm(node: Node) -> Found:
    flop = NORMS.get(node.op, 7.0)
    if node.op in ("BatchNormalization", "InstanceNormalization", "GroupNormalization", "GroupNorm"):
        return shapes.channelwise("norm", node.out, flop=flop)
    residual = sum(prod(dims) for _, dims in node.inputs if len(dims) > 1) if "Skip" in node.op else None
    return shapes.pointwise("norm", node.out, flop=flop, read=residual)


def _softmax(node: Node) -> Found:
    return shapes.pointwise("softmax", node.out)


def _elementwise(node: Node, *, flop: float) -> Found:
    return shapes.pointwise("elementwise", node.out, flop=flop, read=node.read)


def _reduction(node: Node, *, flop: float) -> Found:
    read = prod(node.size(0))
    return shapes.pointwise("elementwise", node.out, flop=flop * read / max(1, prod(node.out)), read=read)


def _pool(node: Node) -> Found:
    """The window is not in the profile: the elements of the map for each result stand for it."""
    read = prod(node.size(0))
    return shapes.channelwise("elementwise", node.out, flop=read / max(1, prod(node.out)), read=read)


def _copy(node: Node) -> Found:
    return shapes.pointwise("copy", node.out, read=prod(node.size(0)) if node.op in READ_ONCE else None)


def _gather(node: Node) -> Found:
    table, index = node.size(0), node.size(1)
    if len(table) == 2 and index and node.out == (*index, table[1]):
        return shapes.by_rows("embedding", prod(index), table[1])
    return _copy(node)


Handler = Callable[[Node], Found]

INTEGER = frozenset({"MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearMatMul", "QLinearConv",
                     "ConvInteger", "QGemm"})  # fmt: skip

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(("Sum", "Mean", "Max", "Min", "QLinearAdd", "QLinearMul"), partial(_elementwise, flop=1.0)),
    **{name: partial(_elementwise, flop=flop) for name, flop in PER_ELEMENT.items()},
    **dict.fromkeys(("BiasGelu", "FastGelu", "QuickGelu", "QLinearSigmoid"), partial(_elementwise, flop=6.0)),
    **{name: partial(_reduction, flop=flop) for name, flop in REDUCTIONS.items()},
    **dict.fromkeys((*COPIES, "ReorderInput", "ReorderOutput", "Trilu"), _copy),
    **dict.fromkeys((*NORMS, "SkipLayerNormalization", "SimplifiedLayerNormalization", "GroupNorm",
                     "SkipSimplifiedLayerNormalization"), _norm),
    **dict.fromkeys(("MatMul", "FusedMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"),
                    _matmul),
    **dict.fromkeys(("Gemm", "FusedGemm", "QGemm"), _gemm),
    **dict.fromkeys(("Conv", "FusedConv", "ConvInteger"), _conv), "QLinearConv": partial(_conv, weight=3),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), _pool),
    **dict.fromkeys(("Softmax", "LogSoftmax"), _softmax), "Attention": _attention, "Gather": _gather,
}  # fmt: skip
