"""TFLite files as models: operators at the cost of the ONNX operators that they equal; see docs/importers.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log2, prod
from pathlib import Path
from typing import ClassVar

from foundation.errors import BadFileError
from workloads.importers.onnx_matrix import gemm_part, product
from workloads.importers.onnx_node import Node, Part, by_rows, pointwise
from workloads.importers.onnx_shapes import Tensor
from workloads.importers.tflite_read import LiteGraph, LiteOperator, read_tflite
from workloads.importers.traced import TracedModel, Tracer, require_operators, stored_elements

MAX_CALLS = 8
QUANTISED = {"INT8": "int8", "UINT8": "int8", "INT4": "int4"}

POINTWISE: dict[str, float] = {
    **dict.fromkeys(
        ("ADD", "SUB", "MUL", "DIV", "FLOOR", "RELU", "RELU_N1_TO_1", "RELU6", "EXP", "CAST", "PRELU", "MAXIMUM",
         "MINIMUM", "LESS", "NEG", "GREATER", "GREATER_EQUAL", "LESS_EQUAL", "SELECT", "SIN", "EQUAL", "NOT_EQUAL",
         "LOG", "SQRT", "POW", "LOGICAL_OR", "LOGICAL_AND", "LOGICAL_NOT", "FLOOR_DIV", "SQUARE", "FLOOR_MOD", "ABS",
         "CEIL", "COS", "WHERE", "ROUND", "SELECT_V2", "RELU_0_TO_1", "ATAN2", "SIGN", "BITWISE_XOR", "RIGHT_SHIFT"),
        1.0),
    "RSQRT": 2.0, "LEAKY_RELU": 2.0, "SQUARED_DIFFERENCE": 2.0, "DEQUANTIZE": 2.0, "LOGISTIC": 3.0, "TANH": 3.0,
    "ELU": 3.0, "QUANTIZE": 4.0, "FAKE_QUANT": 6.0, "HARD_SWISH": 5.0, "GELU": 5.0, "ADD_N": 1.0, "COMPLEX_ABS": 4.0,
}  # fmt: skip
REDUCTIONS = (
    "MEAN",
    "SUM",
    "REDUCE_PROD",
    "REDUCE_MAX",
    "REDUCE_MIN",
    "REDUCE_ANY",
    "REDUCE_ALL",
    "ARG_MAX",
    "ARG_MIN",
)
VIEWS = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS", "BITCAST", "SHAPE", "RANK", "DENSIFY", "CALL_ONCE", "READ_VARIABLE",
         "VAR_HANDLE")  # fmt: skip
COPIES = (
    "CONCATENATION", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "PAD", "PADV2", "MIRROR_PAD", "BATCH_TO_SPACE_ND",
    "SPACE_TO_BATCH_ND", "TRANSPOSE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "SLICE", "TILE", "PACK", "UNPACK", "GATHER",
    "GATHER_ND", "REVERSE_V2", "REVERSE_SEQUENCE", "BROADCAST_TO", "SCATTER_ND", "DYNAMIC_UPDATE_SLICE", "ONE_HOT",
    "SPARSE_TO_DENSE", "MATRIX_DIAG", "MATRIX_SET_DIAG", "ASSIGN_VARIABLE", "FILL", "ZEROS_LIKE", "RANGE", "REAL",
    "IMAG", "EMBEDDING_LOOKUP", "BROADCAST_ARGS",
)  # fmt: skip
UNKNOWN = "an operator that archcast has no cost model for"
CUSTOM = "a custom operator; archcast does not know what it computes"


@dataclass(frozen=True)
class LiteModel(TracedModel):
    """A network from a TFLite file."""

    family: ClassVar[str] = "tflite"


def load_tflite(path: str | Path) -> LiteModel:
    """Return the model in a TFLite file. Raises BadFileError."""
    file = Path(path)
    graphs = read_tflite(file)
    walker = _Walker(file, graphs)
    walker.graph(0, "", 0)
    first = graphs[0]
    tracer = walker.tracer
    tracer.close(1, frozenset(f"0.{number}" for number in first.outputs))
    require_operators(tracer)
    leading = next((first.tensors[n].dims[0] for n in first.inputs if first.tensors[n].dims), 1)
    return LiteModel(
        file.stem, file, tuple(tracer.segments), tracer.findings, max(1, leading), tracer.largest
    )  # fmt: skip


class _Walker:
    """Walks subgraphs in order (the file is in execution order)."""

    def __init__(self, path: Path, graphs: tuple[LiteGraph, ...]) -> None:
        self.path, self.graphs = path, graphs
        self.tracer = Tracer(path)

    def graph(self, number: int, prefix: str, depth: int) -> None:
        if not 0 <= number < len(self.graphs):
            raise BadFileError(self.path, f"an operator calls graph {number}, of which there is none.")
        if depth > MAX_CALLS:
            raise BadFileError(self.path, f"its graphs call each other deeper than {MAX_CALLS} levels.")
        graph = self.graphs[number]
        tag = f"{prefix}{number}"
        tensors = [Tensor(f"{tag}.{i}", t.element, t.dims) for i, t in enumerate(graph.tensors)]
        biases = {op.inputs[2] for op in graph.operators if op.name in _BIASED and len(op.inputs) > 2}
        for i, (tensor, stored) in enumerate(zip(tensors, graph.tensors, strict=True)):
            if stored.quantised and tensor.element in QUANTISED:
                self.tracer.quantised[tensor.name] = QUANTISED[tensor.element]
            if stored.constant:
                count = tensor.elements if i in biases else stored_elements(tensor.element, tensor.dims)
                self.tracer.constant(tensor.name, count)
        for place, operator in enumerate(graph.operators):
            self.tracer.count_node()
            inputs = tuple(tensors[n] if n >= 0 else None for n in operator.inputs)
            outputs = tuple(tensors[n] for n in operator.outputs if n >= 0)
            label = f"{prefix}{operator.name.rpartition(':')[2].lower()}_{place}"
            self._operator(operator, Node(operator.name, label, {}, inputs, outputs), depth)

    def _operator(self, operator: LiteOperator, node: Node, depth: int) -> None:
        name, present = operator.name, node.present
        if name in ("IF", "WHILE"):
            self._control(operator, node, depth)
        elif not node.outputs:
            return
        elif name in VIEWS:
            if present:
                self.tracer.view(present[0].name, *(tensor.name for tensor in node.outputs))
            else:
                self.tracer.constant(node.output.name)
        elif name == "DEQUANTIZE" and present and self.tracer.is_constant(present[0].name):
            self.tracer.view(present[0].name, node.output.name)  # weights are widened when the model is loaded
        elif name in HANDLERS and present and node.output.elements:
            op_type, parts = self._parts(name, operator, node)
            kinds = {"CONV_2D": (1, 2), "DEPTHWISE_CONV_2D": (1, 2), "TRANSPOSE_CONV": (1, 3)}
            ordered = _data_first(name, node)
            weights = kinds.get(name) if ordered is node else None
            self.tracer.node(_renamed(ordered, op_type), parts=parts, weights=weights)
        else:
            reason = CUSTOM if name.startswith("CUSTOM") else UNKNOWN
            self.tracer.unmodelled(_renamed(node, name.rpartition(":")[2] or "CUSTOM"), reason)

    def _parts(self, name: str, operator: LiteOperator, node: Node) -> tuple[str, list[Part]]:
        inputs = tuple(
            Tensor(t.name, t.element, t.dims, self.tracer.is_constant(t.name)) if t is not None else None
            for t in node.inputs
        )
        if all(tensor.constant for tensor in inputs if tensor is not None):
            return "Mul", []  # computed when the model is loaded
        try:
            return HANDLERS[name](Node(name, node.label, {}, inputs, node.outputs), operator)
        except (LookupError, ValueError, ZeroDivisionError, TypeError) as error:
            problem = f"{node.label} has tensors or options that do not fit it ({type(error).__name__}: {error})."
            raise BadFileError(self.path, problem) from None

    def _control(self, operator: LiteOperator, node: Node, depth: int) -> None:
        """A loop's body is counted once; of two branches the longer one."""
        options = operator.options
        chosen = [options.number(i, "i") for i in (0, 1)] if options is not None else []
        known = [number for number in chosen if 0 <= number < len(self.graphs)]
        if operator.name == "WHILE":
            known = known[1:]
            self.tracer.findings.notes.append(f"{node.label} runs as often as data says; its body is counted once.")
        else:
            self.tracer.findings.notes.append(f"{node.label} depends on data; its longer branch is counted.")
        body = max(known, key=lambda number: len(self.graphs[number].operators), default=None)
        if body is None:
            raise BadFileError(self.path, f"{node.label} names no graph to run.")
        self.graph(body, f"{node.label}.", depth + 1)


_BIASED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "CONV_3D")
Handler = Callable[[Node, LiteOperator], tuple[str, list[Part]]]


def _renamed(node: Node, op_type: str) -> Node:
    return Node(op_type, node.label, {}, node.inputs, node.outputs)


def _data_first(name: str, node: Node) -> Node:
    """A transposed convolution has its output's shape first; formats are those of data and filters."""
    if name != "TRANSPOSE_CONV" or len(node.inputs) < 3:
        return node
    return Node(node.op_type, node.label, {}, (node.inputs[2], node.inputs[1], *node.inputs[3:]), node.outputs)


def _strides(operator: LiteOperator) -> tuple[int, int]:
    """Return (vertical, horizontal) strides: fields 2 and 1 of every option table of windows."""
    options = operator.options
    return (options.number(2, "i", 1), options.number(1, "i", 1)) if options is not None else (1, 1)


def _conv(data: Sequence[int], filters: Sequence[int], after: Sequence[int], groups: int, **other: float) -> Part:
    """Input and output [N, H, W, C], filters [out, H, W, in / groups]."""
    shape = {
        "batch": data[0], "c_in": data[3], "h": data[1], "w": data[2], "c_out": after[3], "kh": filters[1],
        "kw": filters[2], "groups": groups, "out_h": after[1], "out_w": after[2], **other,
    }  # fmt: skip
    return Part("conv2d", {key: float(value) for key, value in shape.items()})


def conv_2d(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    data, filters = node.needed(0).dims, node.needed(1).dims
    groups = max(1, data[3] // filters[3])
    return "Conv", [_conv(data, filters, node.output.dims, groups, stride=_strides(operator)[0])]


def depthwise(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    """Filters are [1, H, W, out]; out is a multiple of the input's channels."""
    data, filters = node.needed(0).dims, node.needed(1).dims
    return "Conv", [_conv(data, filters, node.output.dims, data[3], stride=_strides(operator)[0])]


def transpose_conv(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    """As a sub-pixel convolution on the input's grid (docs/onnx.md)."""
    filters, data, after = node.needed(1).dims, node.needed(2).dims, node.output.dims
    first, second = after[1] / data[1], after[2] / data[2]
    part = _conv(data, filters, (data[0], data[1], data[2], after[3]), 1)
    shape = {**part.shape, "c_out": after[3] * first * second, "kh": filters[1] / first, "kw": filters[2] / second}
    return "Conv", [Part("conv2d", shape)]


def conv_3d(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    """[N, D, H, W, C] and filters [D, H, W, in, out]: depth as height, the rest as width."""
    data, filters, after = node.needed(0).dims, node.needed(1).dims, node.output.dims
    inside = (data[0], data[1], prod(data[2:4]), data[4])
    outside = (after[0], after[1], prod(after[2:4]), after[4])
    return "Conv", [_conv(inside, (0, filters[0], prod(filters[1:3]), filters[3]), outside, 1)]


def fully_connected(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    """Filters are [out, in]; the input is taken as rows of `in`."""
    data, filters = node.needed(0), node.needed(1)
    rows = data.elements // filters.dims[1]
    return "Gemm", [gemm_part(rows, filters.dims[0], filters.dims[1], weights=filters.constant)]


def batch_matmul(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    options, sides = operator.options, []
    for place in (0, 1):
        tensor = node.needed(place)
        turned = options is not None and options.number(place, "B")
        dims = (*tensor.dims[:-2], tensor.dims[-1], tensor.dims[-2]) if turned else tensor.dims
        sides.append(Tensor(tensor.name, tensor.element, dims, tensor.constant))
    if sides[0].dims[-1] != sides[1].dims[-2]:
        raise ValueError(f"{sides[0].dims} times {sides[1].dims}")
    return "MatMul", product(sides[0], sides[1])


def lstm(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    """Inputs 1 to 4 are the gates' input weights, 5 to 8 their recurrent ones (1 and 5 absent in a coupled gate)."""
    data = node.needed(0)
    inside, state = [t for t in node.inputs[1:5] if t is not None], [t for t in node.inputs[5:9] if t is not None]
    options = operator.options
    steps_first = options is not None and options.number(3, "B")
    steps = 1 if node.op_type == "LSTM" or len(data.dims) < 3 else data.dims[0 if steps_first else 1]
    batch = max(1, data.elements // data.dims[-1] // steps)
    cells, width, fed = inside[0].dims[0], inside[0].dims[1], state[0].dims[1]
    return "LSTM", [
        gemm_part(steps * batch, cells * len(inside), width, weights=True, suffix="input"),
        gemm_part(batch, cells * len(state), fed, batch=steps, weights=True, suffix="state"),
        pointwise(steps * batch, cells, 24.0, suffix="gates"),
    ]


def rnn(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    data, inside, state = node.needed(0), node.needed(1).dims, node.needed(2).dims
    steps = data.dims[1] if len(data.dims) > 2 else 1
    batch = max(1, data.elements // data.dims[-1] // steps)
    return "RNN", [
        gemm_part(steps * batch, *inside, weights=True, suffix="input"),
        gemm_part(batch, *state, batch=steps, weights=True, suffix="state"),
        pointwise(steps * batch, state[0], 8.0, suffix="gates"),
    ]


def svdf(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    """A product with the feature weights, then one over the memory of each filter (Alvarez & Park 2019)."""
    data, feature, time = node.needed(0).dims, node.needed(1).dims, node.needed(2).dims
    second = pointwise(data[0] * time[0], 1, 2.0 * time[1], reads=data[0] * prod(time), suffix="time")
    return "SVDF", [gemm_part(data[0], feature[0], feature[1], weights=True, suffix="feature"), second]


def elementwise(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    flop = POINTWISE[node.op_type] * (max(1, len(node.present) - 1) if node.op_type == "ADD_N" else 1)
    rows, hidden = by_rows(node.output)
    return "Mul", [pointwise(rows, hidden, flop, reads=sum(tensor.elements for tensor in node.present))]


def pool(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    """One operation for each element of the window; the map is read once."""
    options = operator.options
    window = options.number(3, "i", 1) * options.number(4, "i", 1) if options is not None else 1
    flop = max(1, window) * (2 if node.op_type == "L2_POOL_2D" else 1)
    return "MaxPool", [pointwise(*by_rows(node.output), float(flop), reads=node.needed(0).elements)]


def reduction(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    data, out = node.needed(0), node.output
    return "ReduceSum", [pointwise(*by_rows(out), data.elements / out.elements, reads=data.elements)]


def resize(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    """Nearest: an index; bilinear: two axes of two multiplies and an add."""
    flop = 6.0 if node.op_type == "RESIZE_BILINEAR" else 1.0
    return "Resize", [pointwise(*by_rows(node.output), flop, reads=node.needed(0).elements)]


def softmax(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    return "Softmax", [pointwise(*by_rows(node.output), 6.0 if "LOG" in node.op_type else 5.0, op="softmax")]


def norm(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    return "LpNormalization", [pointwise(*by_rows(node.output), 3.0 if "L2" in node.op_type else 14.0)]


def move(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    """A lookup of rows in a stored table is an embedding; anything else is a move."""
    written = max(1, node.written)
    if node.op_type in ("GATHER", "EMBEDDING_LOOKUP"):
        table = node.needed(0 if node.op_type == "GATHER" else 1)
        if table.constant and len(table.dims) > 1:
            width = prod(table.dims[1:])
            return "Gather", [Part("embedding", {"rows": max(1.0, written / width), "hidden": float(width)})]
    reads = sum(tensor.elements for tensor in node.present)
    return "Slice", [pointwise(written, 1, 0, op="copy", reads=min(written, reads))]


def top_k(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    data, out = node.needed(0), node.output
    flop = (log2(max(1, out.dims[-1])) + 1) * data.elements / out.elements
    return "TopK", [pointwise(*by_rows(out), flop, reads=data.elements)]


def running(node: Node, operator: LiteOperator) -> tuple[str, list[Part]]:
    return "CumSum", [pointwise(*by_rows(node.output), 1.0, reads=node.needed(0).elements)]


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(POINTWISE, elementwise), **dict.fromkeys(REDUCTIONS, reduction), **dict.fromkeys(COPIES, move),
    "CONV_2D": conv_2d, "DEPTHWISE_CONV_2D": depthwise, "TRANSPOSE_CONV": transpose_conv, "CONV_3D": conv_3d,
    "FULLY_CONNECTED": fully_connected, "BATCH_MATMUL": batch_matmul, "LSTM": lstm,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": lstm, "RNN": rnn, "UNIDIRECTIONAL_SEQUENCE_RNN": rnn, "SVDF": svdf,
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), pool),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), resize),
    **dict.fromkeys(("SOFTMAX", "LOG_SOFTMAX"), softmax),
    **dict.fromkeys(("L2_NORMALIZATION", "LOCAL_RESPONSE_NORMALIZATION"), norm),
    "TOPK_V2": top_k, "CUMSUM": running,
}  # fmt: skip
"""Cost of each operator."""
