"""torch.export programs as models: aten operators at the cost of the ONNX operators that they equal.

`load_torch_export` reads a `.pt2` file without torch; `from_exported_program` takes a live program. See
docs/importers.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, ClassVar

from foundation.errors import BadFileError
from workloads.importers.onnx_matrix import convolution as convolution_part
from workloads.importers.onnx_matrix import einsum as einsum_parts
from workloads.importers.onnx_matrix import gemm_part, product
from workloads.importers.onnx_node import Node, Part, by_rows, pointwise
from workloads.importers.onnx_pointwise import PER_ELEMENT
from workloads.importers.onnx_shapes import Tensor
from workloads.importers.torch_export_read import Call, Exported, read_program, read_pt2
from workloads.importers.traced import TracedModel, Tracer, require_operators, stored_elements

POINTWISE: dict[str, str] = {
    "abs": "Abs", "add": "Add", "sub": "Sub", "rsub": "Sub", "mul": "Mul", "div": "Div", "true_divide": "Div",
    "floor_divide": "Div", "remainder": "Mod", "fmod": "Mod", "pow": "Pow", "square": "Mul", "neg": "Neg", "exp": "Exp",
    "expm1": "Exp", "log": "Log", "log1p": "Log", "log2": "Log", "sqrt": "Sqrt", "rsqrt": "Sqrt",
    "reciprocal": "Reciprocal", "sin": "Sin", "cos": "Cos", "tan": "Tan", "atan": "Atan", "atan2": "Atan",
    "erf": "Erf", "sign": "Sign", "floor": "Floor", "ceil": "Ceil", "round": "Round", "trunc": "Floor", "relu": "Relu",
    "relu6": "Clip", "gelu": "Gelu", "silu": "Swish", "sigmoid": "Sigmoid", "tanh": "Tanh", "hardswish": "HardSwish",
    "hardsigmoid": "HardSigmoid", "hardtanh": "Clip", "clamp": "Clip", "clamp_min": "Relu", "clamp_max": "Relu",
    "leaky_relu": "LeakyRelu", "prelu": "PRelu", "_prelu_kernel": "PRelu", "elu": "Elu", "selu": "Selu",
    "celu": "Celu", "softplus": "Softplus", "mish": "Mish", "softsign": "Softsign", "log_sigmoid": "Softplus",
    "where": "Where", "masked_fill": "Where", "maximum": "Equal", "minimum": "Equal", "eq": "Equal", "ne": "Equal",
    "lt": "Less", "le": "Less", "gt": "Greater", "ge": "Greater", "logical_and": "And", "logical_or": "Or",
    "logical_not": "Not", "logical_xor": "Xor", "bitwise_and": "And", "bitwise_or": "Or", "bitwise_not": "Not",
    "__and__": "And", "__or__": "Or", "__xor__": "Xor",
    "isnan": "IsNaN", "isinf": "IsInf", "to": "Cast", "_to_copy": "Cast", "type_as": "Cast", "tril": "Trilu",
    "triu": "Trilu", "cumsum": "CumSum", "one_hot": "OneHot", "lerp": "Shrink", "addcmul": "Shrink",
}  # fmt: skip
"""aten operators of one result an element, by the ONNX operator whose FLOP they have."""
_VIEWS = """
view reshape _unsafe_view flatten unflatten squeeze unsqueeze expand expand_as detach alias dropout feature_dropout
alpha_dropout native_dropout lift_fresh_copy lift_fresh contiguous t transpose permute movedim swapaxes mT chunk split
split_with_sizes slice select narrow unbind view_as reshape_as diagonal _assert_tensor_metadata identity sym_size
numpy_T as_strided tensor_split unfold_view real imag view_as_complex view_as_real
"""
VIEWS = frozenset(_VIEWS.split())
"""Strides only: no kernel runs. (A `clone` or `contiguous` behind a transposition is what moves data.)"""
_COPIES = """
cat stack concat clone copy repeat repeat_interleave flip roll constant_pad_nd pad gather index index_select
scatter scatter_add index_put index_add slice_scatter select_scatter masked_select im2col col2im pixel_shuffle
pixel_unshuffle channel_shuffle tile _fft_r2c replication_pad2d reflection_pad2d take_along_dim
"""
COPIES = frozenset(_COPIES.split())
_GENERATORS = """
arange full full_like zeros zeros_like ones ones_like empty empty_like scalar_tensor eye linspace new_zeros new_ones
new_full new_empty rand randn rand_like randn_like tensor _tensor_constant
"""
GENERATORS = frozenset(_GENERATORS.split())
REDUCTIONS = frozenset({
    "sum", "mean", "amax", "amin", "max", "min", "prod", "any", "all", "argmax", "argmin", "norm", "linalg_vector_norm",
    "var", "std",
})  # fmt: skip
NORMS: dict[str, float] = {
    "layer_norm": 7.0, "native_layer_norm": 7.0, "group_norm": 7.0, "native_group_norm": 7.0, "instance_norm": 7.0,
    "rms_norm": 4.0, "_fused_rms_norm": 4.0,
}  # fmt: skip
"""FLOP per element, as in docs/onnx.md."""
UNKNOWN = "an operator that this version of archcast does not know"
CUSTOM = "an operator outside aten; archcast does not know what it computes"
CONTROL = "its body is not counted (program.run_decompositions() writes those of wrap_with_... out)"


@dataclass(frozen=True)
class TorchModel(TracedModel):
    """A program of torch.export."""

    family: ClassVar[str] = "torch-export"


def load_torch_export(path: str | Path) -> TorchModel:
    """Return the model in a `.pt2` file (`torch.export.save`). torch is not needed. Raises BadFileError."""
    file = Path(path)
    return _model(read_pt2(file), file)


def from_exported_program(program: Any, name: str = "exported") -> TorchModel:
    """Return the model of a live `torch.export.ExportedProgram`.

    Raises:
        BadFileError: the program computes nothing, or an operator has tensors that do not fit it.
    """
    return _model(read_program(program), Path(name))


def _model(program: Exported, path: Path) -> TorchModel:
    tracer = Tracer(path)
    for tensor in program.parameters:
        tracer.constant(tensor.name, stored_elements(tensor.element, tensor.dims))
    for tensor in program.constants:
        tracer.constant(tensor.name)
    for call in program.calls:
        tracer.count_node()
        if call.outputs:
            _call(call, tracer)
    tracer.close(1, frozenset(program.outputs))
    require_operators(tracer)
    leading = next((tensor.dims[0] for tensor in program.inputs if tensor.dims), 1)
    others = {name: size for name, size in program.open_sizes.items() if size != leading}
    if others:
        sizes = ", ".join(f"{name} = {size}" for name, size in list(others.items())[:8])
        tracer.findings.notes.append(f"Open sizes are those of the exported example: {sizes}.")
    stem = path.stem if path.suffix == ".pt2" else path.name
    return TorchModel(stem, path, tuple(tracer.segments), tracer.findings, max(1, leading), tracer.largest)


def _call(call: Call, tracer: Tracer) -> None:
    words = call.target.split(".")
    domain = words[2] if len(words) > 3 else ""
    name = words[3] if len(words) > 3 else words[-1]
    name = name if name.startswith("__") else name.removesuffix("_")  # in place, at the same cost
    tensors = tuple(_tensors(call.arguments))
    node = Node(name, call.name, {}, tensors, call.outputs)
    if domain not in ("aten", "prims"):
        reason = CONTROL if domain == "higher_order" else CUSTOM
        tracer.unmodelled(node, reason, domain=domain)
    elif name in GENERATORS or not tensors:
        for tensor in call.outputs:
            tracer.constant(tensor.name)
    elif name in VIEWS:
        tracer.view(tensors[0].name, *(tensor.name for tensor in call.outputs))
    elif name in HANDLERS and all(tensor.elements for tensor in call.outputs[:1]):
        _kernel(name, call, tensors, tracer)
    else:
        tracer.unmodelled(node, UNKNOWN, domain=domain)


def _tensors(arguments: Any) -> Sequence[Tensor]:
    found: list[Tensor] = []
    for value in arguments.values():
        found += [value] if isinstance(value, Tensor) else []
        found += [item for item in value if isinstance(item, Tensor)] if isinstance(value, list) else []
    return found


def _kernel(name: str, call: Call, tensors: Sequence[Tensor], tracer: Tracer) -> None:
    marked = {
        key: Tensor(value.name, value.element, value.dims, tracer.is_constant(value.name))
        for key, value in call.arguments.items()
        if isinstance(value, Tensor)
    }
    marked_list = [Tensor(t.name, t.element, t.dims, tracer.is_constant(t.name)) for t in tensors]
    outputs = call.outputs[:1] if name not in SEVERAL else call.outputs
    if all(tracer.is_constant(tensor.name) for tensor in tensors):
        tracer.node(Node("Mul", call.name, {}, tuple(tensors), call.outputs), parts=[])
        return
    try:
        op_type, parts, order = HANDLERS[name](
            Seen(name, {**call.arguments, **marked}, call.outputs, tuple(marked_list))
        )
    except (LookupError, ValueError, ZeroDivisionError, TypeError, AttributeError) as error:
        problem = f"{call.target} '{call.name}' has arguments that do not fit it ({type(error).__name__}: {error})."
        raise BadFileError(tracer.path, problem) from None
    inputs = [call.arguments[key] for key in order if isinstance(call.arguments.get(key), Tensor)] if order else tensors
    weights = None
    if name in STATISTICS:  # running statistics are no parameters
        weights = [i for i, key in enumerate(order) if key in ("weight", "bias")]
    tracer.node(Node(op_type, call.name, {}, tuple(inputs), outputs), parts=parts, weights=weights)


@dataclass(frozen=True)
class Seen:
    """A call with its arguments; `tensor` returns one that it cannot be without."""

    name: str
    arguments: dict[str, Any]
    outputs: tuple[Tensor, ...]
    tensors: tuple[Tensor, ...]

    @property
    def out(self) -> Tensor:
        return self.outputs[0]

    def tensor(self, *names: str) -> Tensor:
        for name in names:
            if isinstance(self.arguments.get(name), Tensor):
                return self.arguments[name]  # type: ignore[no-any-return]
        raise LookupError(f"there is no argument '{names[0]}'")

    def whole(self, name: str, default: int = 1) -> int:
        value = self.arguments.get(name)
        first = value[0] if isinstance(value, list) and value else value
        return first if isinstance(first, int) and not isinstance(first, bool) else default


Answer = tuple[str, list[Part], tuple[str, ...]]
"""The ONNX operator that it is like, its parts, and the order of its tensors: data, weights, bias ("" = as given)."""
Handler = Callable[[Seen], Answer]


def elementwise(seen: Seen) -> Answer:
    like = POINTWISE[seen.name]
    reads = sum(tensor.elements for tensor in seen.tensors)
    flop = PER_ELEMENT[like] * (2 if seen.name == "rsqrt" else 1)
    return like, [pointwise(*by_rows(seen.out), flop, reads=reads)], ()


def conv(seen: Seen) -> Answer:
    """Filters [out, in / groups, ...]; transposed [in, out / groups, ...], as the equal sub-pixel convolution."""
    data, filters, out = seen.tensor("input"), seen.tensor("weight"), seen.out
    groups = seen.whole("groups")
    turned = bool(seen.arguments.get("transposed")) or "transpose" in seen.name
    order = ("input", "weight", "bias")
    if turned:
        size, after, kernel = data.dims[2:], out.dims[2:], filters.dims[2:]
        first, others = after[0] / size[0], prod(after[1:]) / prod(size[1:])
        shape = {
            "batch": data.dims[0], "c_in": data.dims[1], "h": size[0], "w": prod(size[1:]),
            "c_out": out.dims[1] * first * others, "kh": kernel[0] / first, "kw": prod(kernel[1:]) / others,
            "groups": groups, "out_h": size[0], "out_w": prod(size[1:]),
        }  # fmt: skip
        return "Conv", [Part("conv2d", {key: float(value) for key, value in shape.items()})], order
    attributes = {"group": groups, "strides": [seen.whole("stride")], "pads": [seen.whole("padding", 0)]}
    node = Node("Conv", seen.name, attributes, (data, filters), (out,))
    return "Conv", convolution_part(node, data, filters), order


def linear(seen: Seen) -> Answer:
    data, matrix = seen.tensor("input"), seen.tensor("weight")
    out, inside = matrix.dims[0], matrix.dims[-1]
    rows = data.elements // inside
    return "Gemm", [gemm_part(rows, out, inside, weights=matrix.constant)], ("input", "weight", "bias")


def matmul(seen: Seen) -> Answer:
    order = _sides(seen)
    left, right = seen.tensor(order[0]), seen.tensor(order[1])
    if (left.dims or (1,))[-1] != (right.dims[-2] if len(right.dims) > 1 else right.dims[-1]):
        raise ValueError(f"{left.dims} times {right.dims}")
    if right.constant or not left.constant:
        return "MatMul", product(left, right), order
    return "MatMul", product(left, right), (order[1], order[0], *order[2:])


def _sides(seen: Seen) -> tuple[str, ...]:
    """Return the names of both factors, and of what is added."""
    for names in (("mat1", "mat2", "self"), ("batch1", "batch2", "self"), ("self", "mat2"), ("self", "other")):
        if all(isinstance(seen.arguments.get(name), Tensor) for name in names[:2]):
            return names
    raise LookupError("a factor is missing")


def einsum(seen: Seen) -> Answer:
    node = Node("Einsum", seen.name, {"equation": str(seen.arguments.get("equation"))}, seen.tensors, (seen.out,))
    return "Einsum", einsum_parts(node), ()


def attention(seen: Seen) -> Answer:
    """[batch, heads, tokens, head]; fewer key and value heads are shared."""
    query, key, value = seen.tensor("query"), seen.tensor("key"), seen.tensor("value")
    heads = query.dims[-3] if len(query.dims) > 2 else 1
    shape = {
        "batch": prod(query.dims[:-3]), "q_len": query.dims[-2], "kv_len": key.dims[-2], "heads": heads,
        "kv_heads": key.dims[-3] if len(key.dims) > 2 else 1, "head_dim": query.dims[-1], "v_dim": value.dims[-1],
        "causal": 1.0 if seen.arguments.get("is_causal") else 0.0,
    }  # fmt: skip
    part = Part("attention", {key: float(value) for key, value in shape.items()})
    return "Attention", [part], ("query", "key", "value")


def embedding(seen: Seen) -> Answer:
    table, rows = seen.tensor("weight"), max(1, seen.tensor("indices").elements)
    part = Part("embedding", {"rows": float(rows), "hidden": seen.out.elements / rows})
    return "Gather", [part], ("weight", "indices") if table.constant else ()


def norm(seen: Seen) -> Answer:
    data = seen.tensor("input")
    listed = seen.arguments.get("normalized_shape")
    hidden = prod(listed) if isinstance(listed, list) and listed else data.dims[1] if len(data.dims) > 1 else 1
    return "LayerNormalization", [pointwise(data.elements // hidden, hidden, NORMS[seen.name], op="norm")], ()


def batch_norm(seen: Seen) -> Answer:
    data = seen.tensor("input")
    channels = data.dims[1] if len(data.dims) > 1 else 1
    training = seen.arguments.get("training") is True
    part = pointwise(data.elements // channels, channels, 7.0 if training else 2.0, op="norm")
    return "BatchNormalization", [part], ("input", "weight", "bias", "running_mean", "running_var")


def softmax(seen: Seen) -> Answer:
    data = seen.tensor("self")
    hidden = data.dims[seen.whole("dim", -1)] if data.dims else 1
    flop = 6.0 if "log" in seen.name else 5.0
    return "Softmax", [pointwise(data.elements // hidden, hidden, flop, op="softmax")], ()


def pool(seen: Seen) -> Answer:
    """One operation for each element of the window; adaptive windows tile the map."""
    data, out = seen.tensor("self", "input"), seen.out
    kernel = seen.arguments.get("kernel_size")
    if isinstance(kernel, list) and kernel and all(isinstance(n, int) for n in kernel):
        axes = len(data.dims) - 2
        window = float(prod(kernel) if len(kernel) >= axes else kernel[0] ** max(1, axes))
    else:
        window = max(1.0, data.elements / out.elements)
    rows, hidden = by_rows(out)
    return "MaxPool", [pointwise(rows, hidden, window, reads=data.elements)], ()


def reduction(seen: Seen) -> Answer:
    data, out = seen.tensors[0], seen.out
    each = 3.0 if seen.name in ("var", "std") else 2.0 if "norm" in seen.name else 1.0
    return "ReduceSum", [pointwise(*by_rows(out), each * data.elements / out.elements, reads=data.elements)], ()


def move(seen: Seen) -> Answer:
    """Reads what it writes; a write into place moves the values that are put there."""
    if seen.name in ("scatter", "scatter_add", "index_put", "index_add", "slice_scatter", "select_scatter"):
        updates = seen.tensors[-1].elements
        return "Scatter", [pointwise(max(1, updates), 1, 0, op="copy")], ()
    written = sum(tensor.elements for tensor in seen.outputs)
    reads = sum(tensor.elements for tensor in seen.tensors)
    return "Slice", [pointwise(written, 1, 0, op="copy", reads=min(written, reads))], ()


def resize(seen: Seen) -> Answer:
    flop = 6.0 if "bilinear" in seen.name else 14.0 if "bicubic" in seen.name else 1.0
    return "Resize", [pointwise(*by_rows(seen.out), flop, reads=seen.tensors[0].elements)], ()


def sort(seen: Seen) -> Answer:
    data, out = seen.tensors[0], seen.out
    along = 2 * seen.whole("k") if seen.name == "topk" else (data.dims or (1,))[-1]
    flop = max(1, along.bit_length()) * data.elements / out.elements
    return "TopK", [pointwise(*by_rows(out), flop, reads=data.elements)], ()


def recurrent(seen: Seen) -> Answer:
    """Input products of all steps at once, the state's step by step; weights four tensors (or two) a layer and way."""
    data = seen.tensors[0]
    matrices = [tensor for tensor in seen.arguments.get("params") or [] if len(tensor.dims) == 2]
    first = bool(seen.arguments.get("batch_first"))
    steps, batch = (data.dims[1], data.dims[0]) if first else (data.dims[0], data.dims[1])
    gates = {"lstm": 4, "gru": 3}.get(seen.name, 1)
    parts: list[Part] = []
    for place in range(0, len(matrices) - 1, 2):
        (wide, width), (high, fed) = matrices[place].dims, matrices[place + 1].dims
        parts += [
            gemm_part(steps * batch, wide, width, weights=True, suffix=f"input{place // 2}"),
            gemm_part(batch, high, fed, batch=steps, weights=True, suffix=f"state{place // 2}"),
            pointwise(steps * batch, high / gates, 5.0 * gates + 4, suffix=f"gates{place // 2}"),
        ]
    if not parts:
        raise LookupError("there are no weights")
    return "LSTM", parts, ()


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(POINTWISE, elementwise), **dict.fromkeys(COPIES, move), **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(NORMS, norm),
    **dict.fromkeys(
        ("conv1d", "conv2d", "conv3d", "convolution", "_convolution", "conv_transpose1d", "conv_transpose2d",
         "conv_transpose3d"), conv),
    "linear": linear, "einsum": einsum, **dict.fromkeys(("mm", "bmm", "matmul", "addmm", "baddbmm"), matmul),
    "scaled_dot_product_attention": attention, "embedding": embedding,
    **dict.fromkeys(
        ("batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm", "_batch_norm_with_update"),
        batch_norm),
    **dict.fromkeys(("softmax", "_softmax", "log_softmax", "_log_softmax", "_safe_softmax"), softmax),
    **dict.fromkeys(
        ("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "avg_pool1d", "avg_pool2d", "avg_pool3d",
         "adaptive_avg_pool1d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d"), pool),
    **dict.fromkeys(
        ("upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "_upsample_bilinear2d_aa",
         "upsample_nearest1d", "grid_sampler_2d"), resize),
    **dict.fromkeys(("topk", "sort"), sort), **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), recurrent),
}  # fmt: skip
"""Cost of each aten operator."""
STATISTICS = ("batch_norm", "_native_batch_norm_legit_no_training", "native_batch_norm", "_batch_norm_with_update")
SEVERAL = COPIES | {"topk", "sort", "lstm", "gru", "max_pool2d_with_indices", "max", "min"}
"""Operators of which a caller may read any result."""
