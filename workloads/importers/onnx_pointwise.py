"""Costs of ONNX operators without matrix work: arithmetic, reductions, norms, pools, moves.

FLOP per element count one for each add, multiply, divide, compare, root and transcendental function, as
`workloads.work` does for the softmax. Traffic is compulsory: every input read once, every output written once.
"""

from __future__ import annotations

from math import log2, prod

from workloads.importers.onnx_node import Handler, Node, Part, by_channels, by_rows, pointwise

PER_ELEMENT: dict[str, float] = {
    **dict.fromkeys(
        ("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor",
         "IsInf", "IsNaN", "Log", "Neg", "Not", "Reciprocal", "Relu", "Round", "Sign", "Sin", "Sinh", "Sqrt", "Tan",
         "Add", "Sub", "Mul", "Div", "Mod", "Pow", "And", "Or", "Xor", "Equal", "Greater", "GreaterOrEqual",
         "Less", "LessOrEqual", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Where", "Cast",
         "CastLike", "BitCast", "ThresholdedRelu", "Trilu", "OneHot", "EyeLike", "Range", "Bernoulli"), 1.0),
    "Clip": 2.0, "LeakyRelu": 2.0, "PRelu": 2.0, "Shrink": 3.0, "Tanh": 3.0, "Sigmoid": 3.0, "Softplus": 3.0,
    "Softsign": 3.0, "Elu": 3.0, "Celu": 4.0, "Selu": 5.0, "HardSigmoid": 4.0, "HardSwish": 5.0, "Swish": 4.0,
    "Mish": 7.0, "Gelu": 5.0, "SwiGLU": 5.0, "QuantizeLinear": 4.0, "DequantizeLinear": 2.0,
    "DynamicQuantizeLinear": 6.0,
    "RotaryEmbedding": 3.0, "RandomNormal": 10.0, "RandomNormalLike": 10.0, "RandomUniform": 5.0,
    "RandomUniformLike": 5.0, "BlackmanWindow": 6.0, "HannWindow": 3.0, "HammingWindow": 3.0, "AffineGrid": 12.0,
    "GridSample": 8.0, "CumSum": 1.0, "CumProd": 1.0,
}  # fmt: skip
"""Operators whose every output element costs the same. Sigmoid: exp, add, divide; Tanh likewise by exp(2x); GELU by
erf: scale, erf, add, two multiplies; quantise: divide, round, add, clip. Random numbers are estimates (5-20)."""

COPIES: tuple[str, ...] = (
    "Transpose", "Concat", "Slice", "Split", "Pad", "Tile", "Expand", "DepthToSpace", "SpaceToDepth", "CenterCropPad",
    "ReverseSequence", "GatherElements", "GatherND", "ConcatFromSequence", "SplitToSequence", "ConstantOfShape",
    "Compress", "MaxUnpool", "Scatter", "ScatterElements", "ScatterND", "TensorScatter",
)  # fmt: skip
"""Operators that only move elements."""
READ_ONCE: frozenset[str] = frozenset({"Expand", "Tile", "Pad", "CenterCropPad", "MaxUnpool"})
"""Copies that read their whole (first) input; the others read what they write."""
NOT_READ: frozenset[str] = frozenset({"ConstantOfShape", "RandomNormal", "RandomUniform", "Range", "EyeLike"})

REDUCTIONS: dict[str, float] = {
    "ReduceMax": 1.0, "ReduceMin": 1.0, "ReduceSum": 1.0, "ReduceMean": 1.0, "ReduceProd": 1.0, "ReduceL1": 2.0,
    "ReduceL2": 2.0, "ReduceSumSquare": 2.0, "ReduceLogSum": 1.0, "ReduceLogSumExp": 3.0, "ArgMax": 1.0, "ArgMin": 1.0,
    "GlobalAveragePool": 1.0, "GlobalMaxPool": 1.0, "GlobalLpPool": 2.0,
}  # fmt: skip
"""FLOP per element read."""

NORMS: dict[str, float] = {
    "LayerNormalization": 7.0, "RMSNormalization": 4.0, "InstanceNormalization": 7.0, "GroupNormalization": 7.0,
    "BatchNormalization": 2.0, "MeanVarianceNormalization": 5.0, "LpNormalization": 3.0,
}  # fmt: skip
"""FLOP per element; a batch normalisation at inference has constant statistics: one multiply, one add."""


def elementwise(node: Node) -> list[Part]:
    rows, hidden = by_rows(node.output)
    reads = 0 if node.op_type in NOT_READ else sum(tensor.elements for tensor in node.present)
    extra = node.written - node.output.elements
    return [pointwise(rows, hidden, PER_ELEMENT[node.op_type], reads=reads + extra)]


def variadic(node: Node) -> list[Part]:
    """Sum, Mean, Max, Min of several tensors: one operation for each tensor after the first."""
    rows, hidden = by_rows(node.output)
    flop = max(1, len(node.present) - 1)
    return [pointwise(rows, hidden, flop, reads=sum(tensor.elements for tensor in node.present))]


def copy(node: Node) -> list[Part]:
    rows, hidden = by_rows(node.output) if len(node.outputs) == 1 else (node.written, 1)
    read = node.needed(0).elements if node.op_type in READ_ONCE else rows * hidden
    if node.op_type in NOT_READ:
        read = 0
    if node.op_type in ("Scatter", "ScatterElements", "ScatterND", "TensorScatter"):
        updates = node.needed(1 if node.op_type == "TensorScatter" else 2).elements
        return [pointwise(updates, 1, 0, op="copy")]  # written in place
    return [pointwise(rows, hidden, 0, reads=read, op="copy")]


def gather(node: Node) -> list[Part]:
    """A lookup of whole rows in a stored table is an embedding; anything else is a move."""
    table, indices = node.needed(0), node.needed(1)
    if table.constant and len(table.dims) > 1 and node.number("axis", 0) == 0:
        rows = max(1, indices.elements)
        return [Part("embedding", {"rows": float(rows), "hidden": node.output.elements / rows})]
    return copy(node)


def reduction(node: Node) -> list[Part]:
    data = node.needed(0)
    rows, hidden = by_rows(node.output)
    flop = REDUCTIONS[node.op_type] * data.elements / node.output.elements
    return [pointwise(rows, hidden, flop, reads=data.elements)]


def pool(node: Node) -> list[Part]:
    """One compare or add for each element of the window; the map is read once."""
    kernel = prod(node.numbers("kernel_shape", (1,)))
    rows, hidden = by_channels(node.output)
    flop = kernel * (2 if node.op_type == "LpPool" else 1)
    return [pointwise(rows, hidden, flop, reads=node.needed(0).elements)]


def region_pool(node: Node) -> list[Part]:
    """Each output is an average of bilinear samples (8 FLOP each); `sampling_ratio` 0 is taken as 2."""
    samples = (node.number("sampling_ratio", 0) or 2.0) ** 2 if node.op_type == "RoiAlign" else 1.0
    rows, hidden = by_channels(node.output)
    return [pointwise(rows, hidden, 8.0 * samples, reads=4 * samples * node.output.elements)]


def norm(node: Node) -> list[Part]:
    data, flop = node.needed(0), NORMS[node.op_type]
    channels_first = node.op_type in ("BatchNormalization", "InstanceNormalization", "GroupNormalization")
    if channels_first:
        rows, hidden = by_channels(data)
    else:
        axis = int(node.number("axis", -1)) % max(1, len(data.dims))
        hidden = prod(data.dims[axis:])
        rows = data.elements // hidden
    return [pointwise(rows, hidden, flop, op="norm")]


def lrn(node: Node) -> list[Part]:
    """Per element: a sum of squares over `size` channels, scale, add, power, divide."""
    rows, hidden = by_channels(node.output)
    return [pointwise(rows, hidden, 2 * node.number("size", 5) + 4, op="norm")]


def softmax(node: Node) -> list[Part]:
    """Softmax and its logarithm over one axis (all from `axis` on before opset 13)."""
    data = node.needed(0)
    axis = int(node.number("axis", -1 if node.opset >= 13 else 1)) % max(1, len(data.dims))
    hidden = data.dims[axis] if node.opset >= 13 and data.dims else prod(data.dims[axis:])
    flop = {"Hardmax": 2.0, "LogSoftmax": 6.0}.get(node.op_type, 5.0)
    return [pointwise(data.elements // hidden, hidden, flop, op="softmax")]


def loss(node: Node) -> list[Part]:
    """Scores in, one number out."""
    data = node.needed(0)
    flop = 6.0 if node.op_type == "SoftmaxCrossEntropyLoss" else 1.0
    return [pointwise(1, 1, flop * data.elements, reads=data.elements)]


RESIZE_FLOP = {"nearest": 1.0, "linear": 3.0, "cubic": 7.0}
"""Per element and resized axis: an index; two multiplies and an add; four multiplies and three adds."""


def resize(node: Node) -> list[Part]:
    data, out = node.needed(0), node.output
    mode = node.attributes.get("mode", b"nearest")
    word = mode.decode() if isinstance(mode, bytes) else str(mode)
    axes = sum(a != b for a, b in zip(data.dims, out.dims, strict=False)) or 1
    rows, hidden = by_channels(out)
    return [pointwise(rows, hidden, RESIZE_FLOP.get(word, 3.0) * axes, reads=data.elements)]


def top_k(node: Node) -> list[Part]:
    """A heap of k for each row: log2(k) + 1 compares an element."""
    data, out = node.needed(0), node.outputs[0]
    axis = int(node.number("axis", -1)) % max(1, len(data.dims))
    flop = (log2(max(1, out.dims[axis])) + 1) * data.elements / out.elements
    rows, hidden = by_rows(out)
    return [pointwise(rows, hidden, flop, reads=data.elements + node.written - out.elements)]


def fourier(node: Node) -> list[Part]:
    """5 n log2 n FLOP for each complex transform of n points (Cooley & Tukey 1965)."""
    data, out = node.needed(0), node.output
    points = max(2, out.dims[-2] if len(out.dims) > 1 else out.elements)
    if not node.number("onesided", 0):
        transforms = out.elements / (2 * points)
    else:
        points, transforms = 2 * (points - 1) or 2, out.elements / (2 * points)
    flop = 5 * points * log2(points) * transforms
    rows, hidden = by_rows(out)
    return [pointwise(rows, hidden, flop / out.elements, reads=data.elements)]


def determinant(node: Node) -> list[Part]:
    """LU factorisation: 2/3 n^3 FLOP a matrix."""
    data = node.needed(0)
    n = data.dims[-1]
    return [pointwise(max(1, data.elements // n**2), 1, 2 / 3 * n**3, reads=data.elements)]


POINTWISE: dict[str, Handler] = {
    **dict.fromkeys(PER_ELEMENT, elementwise), **dict.fromkeys(COPIES, copy), **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(NORMS, norm), **dict.fromkeys(("Sum", "Mean", "Max", "Min"), variadic),
    **dict.fromkeys(("MaxPool", "AveragePool", "LpPool"), pool),
    **dict.fromkeys(("MaxRoiPool", "RoiAlign"), region_pool),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), softmax),
    **dict.fromkeys(("SoftmaxCrossEntropyLoss", "NegativeLogLikelihoodLoss"), loss),
    **dict.fromkeys(("Resize", "Upsample"), resize), **dict.fromkeys(("DFT", "STFT"), fourier),
    "Gather": gather, "LRN": lrn, "TopK": top_k, "Det": determinant,
}  # fmt: skip
"""Handler of each operator without matrix work."""

EPILOGUES: frozenset[str] = frozenset(
    {name for name in PER_ELEMENT if name not in NOT_READ and not name.startswith(("Random", "Dynamic"))}
    - {"RotaryEmbedding", "GridSample", "AffineGrid", "CumSum", "CumProd", "OneHot", "Bernoulli"}
    | {"BatchNormalization", "Sum", "Mean", "Max", "Min"}
)
"""Operators that a runtime computes inside the kernel that made their input."""
