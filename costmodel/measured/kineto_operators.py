"""What an operator of PyTorch is as an operator of archcast, by its name, input sizes and plain arguments.

Signatures are those of PyTorch's native_functions.yaml; positions of arguments count from 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod

from costmodel.measured import trace_shapes as shapes
from costmodel.measured.trace_json import Dims
from costmodel.measured.trace_rows import Shape
from costmodel.measured.trace_shapes import NO_SHAPES, ODD_SHAPES, Found

FORMATS = {
    "float": "fp32", "double": "fp64", "c10::half": "fp16", "c10::bfloat16": "bf16", "c10::float8-e4m3fn": "fp8",
    "c10::float8-e5m2": "fp8", "c10::float8_e4m3fn": "fp8", "c10::float8_e5m2": "fp8", "signed char": "int8",
    "half": "fp16", "bfloat16": "bf16", "float8_e4m3fn": "fp8", "float8_e5m2": "fp8", "int8": "int8", "char": "int8",
    "float32": "fp32", "float16": "fp16", "float64": "fp64",
}  # fmt: skip
"""Element types as the profiler and NCCL's annotations write them, in lower case."""
ELEMENT_BYTES = {
    "float": 4, "half": 2, "bfloat16": 2, "double": 8, "int": 4, "long": 8, "char": 1, "byte": 1, "bool": 1, "short": 2,
    "float8_e4m3fn": 1, "float8_e5m2": 1, "int8": 1, "uint8": 1,
}  # fmt: skip
OTHER_FORMAT = "an operator on integers or another type that is no number format here"


@dataclass(frozen=True)
class Call:
    """One call: sizes of the inputs (a list for a list of tensors), their types and plain arguments as text.

    `types` and `values` are empty where the trace does not tell them; `notes` is what it tells of a collective.
    """

    name: str
    dims: Sequence[Dims | list[Dims]]
    types: Sequence[str] = ()
    values: Sequence[str] = ()
    notes: Mapping[str, object] = field(default_factory=dict)

    def tensor(self, place: int) -> Dims:
        """Return the sizes of an input, () where it is no tensor."""
        found = self.dims[place] if place < len(self.dims) else ()
        return found if isinstance(found, tuple) else ()

    def ints(self, place: int) -> list[int] | None:
        """Return a list argument such as '[1, 1]' (a single number is a list of one), None where it is not told."""
        value = self.values[place] if place < len(self.values) else ""
        if not re.fullmatch(r"\[?[-\d, ]{1,100}\]?", value):
            return None
        return [int(word[:12]) for word in re.findall(r"-?\d+", value)]

    def flag(self, place: int) -> bool:
        return place < len(self.values) and self.values[place] == "True"

    def format(self, place: int = 0) -> str:
        """Return the number format of an input: '' where it is not told, '?' where it is none here."""
        if not self.types:
            return ""
        kind = self.types[place].lower() if place < len(self.types) else ""
        return FORMATS.get(kind, "?" if kind else "")


Handler = Callable[[Call], Found]


def operator_of(call: Call) -> tuple[str, Shape, str] | None:
    """Return (op, columns, reason): op is '' and reason says why where it cannot be told. None: no known operator."""
    handler = HANDLERS.get(call.name) or HANDLERS.get(call.name.removesuffix("_"))
    if handler is None:
        return None
    if not any(call.dims):
        return "", {}, NO_SHAPES
    dtype = call.format(_TYPED_BY.get(call.name, 0))
    if call.name in ("aten::cat", "aten::stack"):  # types of lists are told as lists, or not at all
        known = {FORMATS.get(kind.lower(), "") for kind in _listed(call)}
        dtype = known.pop() if len(known) == 1 else ""
    if dtype == "?":
        return "", {}, OTHER_FORMAT
    return shapes.with_format(handler(call), dtype)


def _listed(call: Call) -> list[str]:
    return re.findall(r"[\w:]+(?: [a-z]+)?", call.types[0][:500]) if call.types else []


def is_free(name: str) -> bool:
    """Tell whether an operator makes no numbers: views, allocations, bookkeeping."""
    return name.removesuffix("_") in FREE


# --- products -------------------------------------------------------------------------------------------------------
def _linear(call: Call) -> Found:
    x, weight = call.tensor(0), call.tensor(1)
    if not x or len(weight) != 2:
        return ODD_SHAPES
    return shapes.gemm(prod(x[:-1]), weight[0], x[-1]) if x[-1] == weight[1] else ODD_SHAPES


def _product(call: Call, *, first: int = 0) -> Found:
    return shapes.matmul(call.tensor(first), call.tensor(first + 1))


# --- convolutions ---------------------------------------------------------------------------------------------------
def _convolution(call: Call, *, stride: int = 3, padding: int = 4, dilation: int = 5, transposed: int = -1) -> Found:
    if transposed >= 0 and call.flag(transposed):
        return shapes.NOT_2D
    x, weight = call.tensor(0), call.tensor(1)
    steps, spread = call.ints(stride), call.ints(dilation) or [1]
    if steps is None:
        return "the trace does not tell the stride of a convolution"
    word = call.values[padding] if padding < len(call.values) else ""
    pads = call.ints(padding)
    if word == "same":
        pads = [ratio * (kernel - 1) // 2 for kernel, ratio in zip(weight[2:], spread * 2, strict=False)]
    elif word == "valid":
        pads = [0]
    if pads is None or min(*steps, *pads, *spread, 0) < 0:
        return "the trace does not tell the padding of a convolution"
    return shapes.conv(x, weight, steps, pads, spread)


# --- attention ------------------------------------------------------------------------------------------------------
def _attention(call: Call, *, causal: int) -> Found:
    return shapes.attention(call.tensor(0), call.tensor(1), call.tensor(2), call.flag(causal))


def _attention_by_length(call: Call, *, causal: int) -> Found:
    """Tensors are batch x length x heads x head size, as flash-attention has them."""
    q, k, v = (call.tensor(i) for i in range(3))
    if not len(q) == len(k) == len(v) == 4:
        return "attention on packed sequences: the trace does not tell their lengths"
    turned = [(t[0], t[2], t[1], t[3]) for t in (q, k, v)]
    return shapes.attention(turned[0], turned[1], turned[2], call.flag(causal))


# --- norms, softmax, lookups ------------------------------------------------------------------------------------------
def _layer_norm(call: Call, *, place: int = 0, flop: float = 7.0, shape_at: int = 1) -> Found:
    x, over = call.tensor(place), call.ints(shape_at) or list(call.tensor(2)) or list(call.tensor(place)[-1:])
    hidden = prod(over)
    if not x or hidden < 1 or prod(x) % hidden:
        return ODD_SHAPES
    return shapes.by_rows("norm", prod(x) // hidden, hidden, flop=flop)


def _row_norm(call: Call, *, place: int) -> Found:
    return shapes.pointwise("norm", call.tensor(place), flop=4.0)


def _channel_norm(call: Call, *, flop: float) -> Found:
    return shapes.channelwise("norm", call.tensor(0), flop=flop)


def _softmax(call: Call) -> Found:
    x, axis = call.tensor(0), (call.ints(1) or [-1])[0]
    if not x or not -len(x) <= axis < len(x) or not x[axis]:
        return ODD_SHAPES
    return shapes.by_rows("softmax", prod(x) // x[axis], x[axis])


def _embedding(call: Call) -> Found:
    table, indices = call.tensor(0), call.tensor(1)
    return shapes.by_rows("embedding", prod(indices), table[1]) if len(table) == 2 else ODD_SHAPES


# --- pointwise --------------------------------------------------------------------------------------------------------
def _pointwise(call: Call, *, flop: float) -> Found:
    inputs = [item for item in call.dims if isinstance(item, tuple) and item] or [()]
    out = shapes.broadcast(*inputs)
    if out is None:
        return ODD_SHAPES
    return shapes.pointwise("elementwise", out, flop=flop, read=sum(prod(item) for item in inputs))


def _first(call: Call, *, flop: float) -> Found:
    """The result has the sizes of the first input; the others are small."""
    return shapes.pointwise("elementwise", call.tensor(0), flop=flop)


def _gated(call: Call) -> Found:
    out = call.tensor(0)
    return shapes.pointwise("elementwise", out, flop=5.0, read=2 * prod(out))


def _reduction(call: Call) -> Found:
    x, axes = call.tensor(0), call.ints(1)
    if not x:
        return ODD_SHAPES
    kept = x if axes else ()
    if axes:
        gone = {axis % len(x) for axis in axes}
        kept = tuple(size for i, size in enumerate(x) if i not in gone)
    each = prod(x) / max(1, prod(kept))
    return shapes.pointwise("elementwise", kept or (1,), flop=each, read=prod(x))


def _pool(call: Call) -> Found:
    x, kernel = call.tensor(0), call.ints(1)
    if len(x) != 4 or not kernel or min(kernel) < 1:
        return ODD_SHAPES
    kernel = kernel * 2 if len(kernel) == 1 else kernel
    stride, padding = call.ints(2) or kernel, call.ints(3) or [0]
    found = shapes.conv(x, (x[1], 1, kernel[0], kernel[1]), stride, padding, [1])
    if isinstance(found, str):
        return found
    size = found[1]
    step, pad = int(size["stride"]), int(size["padding"])
    out = [
        int(size.get(f"out_{axis}", (x[i] + 2 * pad - kernel[i - 2]) // step + 1)) for i, axis in ((2, "h"), (3, "w"))
    ]
    return shapes.channelwise("elementwise", (x[0], x[1], *out), flop=prod(kernel), read=prod(x))


def _adaptive_pool(call: Call) -> Found:
    x, out = call.tensor(0), call.ints(1)
    if len(x) != 4 or not out or min(out) < 1:
        return ODD_SHAPES
    written = (x[0], x[1], out[0], out[-1])
    flop = (x[2] / out[0]) * (x[3] / out[-1])
    return shapes.channelwise("elementwise", written, flop=flop, read=prod(x))


# --- copies -----------------------------------------------------------------------------------------------------------
def _copy(call: Call) -> Found:
    return shapes.pointwise("copy", call.tensor(0))


def _write(call: Call) -> Found:
    return shapes.pointwise("copy", call.tensor(0), read=0)


def _joined(call: Call) -> Found:
    parts = call.dims[0] if isinstance(call.dims[0], list) else []
    if not parts:
        return NO_SHAPES
    return shapes.by_rows("copy", max(1, prod(parts[0][:-1])), sum(map(prod, parts)) // max(1, prod(parts[0][:-1])))


def _chosen(call: Call) -> Found:
    """`index_select` and `gather`: rows of the table; sizes of the index along one axis, or of the result."""
    x, index = call.tensor(0), call.tensor(2)
    if call.name == "aten::gather":
        return shapes.pointwise("copy", index)
    axis = (call.ints(1) or [0])[0]
    if not x or len(index) > 1 or not -len(x) <= axis < len(x):
        return ODD_SHAPES
    out = list(x)
    out[axis] = prod(index)
    return shapes.pointwise("copy", tuple(out))


_FLOP: dict[float, str] = {
    1.0: "add sub rsub mul div relu neg abs exp log pow sqrt rsqrt square reciprocal sin cos erf where maximum minimum "
         "lt le gt ge eq ne clamp_min clamp_max masked_fill floor ceil round sign logical_not logical_and logical_or "
         "bitwise_and bitwise_or remainder fmod threshold cumsum true_divide",
    2.0: "clamp leaky_relu prelu addcmul hardtanh relu6 lerp",
    3.0: "tanh sigmoid softplus elu addcdiv native_dropout",
    4.0: "silu hardsigmoid",
    5.0: "gelu hardswish selu",
    7.0: "mish",
}  # fmt: skip
"""FLOP of each element, as `docs/onnx.md` counts them."""

HANDLERS: dict[str, Handler] = {
    "aten::linear": _linear, "aten::mm": _product, "aten::bmm": _product, "aten::matmul": _product,
    "aten::mv": _product, "aten::_scaled_mm": _product, "aten::_int_mm": _product,
    "aten::addmm": partial(_product, first=1), "aten::baddbmm": partial(_product, first=1),
    "aten::addbmm": partial(_product, first=1), "aten::_addmm_activation": partial(_product, first=1),
    "aten::conv1d": _convolution, "aten::conv2d": _convolution,
    "aten::convolution": partial(_convolution, transposed=6), "aten::_convolution": partial(_convolution, transposed=6),
    "aten::mkldnn_convolution": partial(_convolution, stride=4, padding=3),
    "aten::cudnn_convolution": partial(_convolution, stride=3, padding=2, dilation=4),
    "aten::miopen_convolution": partial(_convolution, stride=4, padding=3),
    "aten::scaled_dot_product_attention": partial(_attention, causal=5),
    "aten::_scaled_dot_product_flash_attention": partial(_attention, causal=4),
    "aten::_scaled_dot_product_flash_attention_for_cpu": partial(_attention, causal=4),
    "aten::_scaled_dot_product_efficient_attention": partial(_attention, causal=6),
    "aten::_scaled_dot_product_cudnn_attention": partial(_attention, causal=6),
    "flash_attn::_flash_attn_forward": partial(_attention_by_length, causal=5),
    "aten::layer_norm": _layer_norm, "aten::native_layer_norm": _layer_norm,
    "aten::rms_norm": partial(_layer_norm, flop=4.0), "aten::_fused_rms_norm": partial(_layer_norm, flop=4.0),
    "_C::rms_norm": partial(_row_norm, place=1), "_C::fused_add_rms_norm": partial(_row_norm, place=0),
    "aten::group_norm": partial(_channel_norm, flop=7.0), "aten::native_group_norm": partial(_channel_norm, flop=7.0),
    "aten::instance_norm": partial(_channel_norm, flop=7.0),
    **dict.fromkeys(("aten::batch_norm", "aten::native_batch_norm", "aten::cudnn_batch_norm",
                     "aten::_batch_norm_impl_index", "aten::_native_batch_norm_legit_no_training"),
                    partial(_channel_norm, flop=2.0)),
    **dict.fromkeys(("aten::softmax", "aten::_softmax", "aten::log_softmax", "aten::_log_softmax"), _softmax),
    "aten::embedding": _embedding,
    **{f"aten::{name}": partial(_pointwise, flop=flop) for flop, names in _FLOP.items() for name in names.split()},
    "_C::silu_and_mul": _gated, "_C::gelu_and_mul": _gated, "_C::rotary_embedding": partial(_first, flop=3.0),
    **dict.fromkeys((f"aten::{name}" for name in ("sum", "mean", "amax", "amin", "max", "min", "argmax", "norm")),
                    _reduction),
    **dict.fromkeys(("aten::max_pool2d", "aten::max_pool2d_with_indices", "aten::avg_pool2d"), _pool),
    **dict.fromkeys(("aten::adaptive_avg_pool2d", "aten::_adaptive_avg_pool2d"), _adaptive_pool),
    **dict.fromkeys(("aten::copy_", "aten::_to_copy", "aten::clone"), _copy),
    **dict.fromkeys(("aten::zero_", "aten::fill_"), _write),
    "aten::cat": _joined, "aten::stack": _joined,
    "aten::index_select": _chosen, "aten::gather": _chosen,
}  # fmt: skip

_TYPED_BY = {"_C::rms_norm": 1, "aten::addmm": 1, "aten::baddbmm": 1, "aten::addbmm": 1, "aten::where": 1}
"""The input whose type is the operator's, where it is not the first."""

_FREE_NAMES = (
    "view _unsafe_view reshape _reshape_alias expand expand_as transpose t permute slice select narrow "
    "split split_with_sizes chunk unbind squeeze unsqueeze flatten as_strided alias detach empty "
    "empty_like empty_strided new_empty resize set result_type resolve_conj resolve_neg contiguous to "
    "item _local_scalar_dense is_nonzero lift_fresh unfold movedim swapaxes view_as numpy_T mT T size "
    "zeros zeros_like ones ones_like full full_like arange scalar_tensor dropout feature_dropout "
    "broadcast_tensors detach_copy _has_compatible_shallow_copy_type can_cast native_dropout_backward"
)
FREE: frozenset[str] = frozenset(f"aten::{name}" for name in _FREE_NAMES.split()) | {"detach"}

KINDS = {
    "allreduce": "all_reduce", "all_reduce": "all_reduce", "allreduce_coalesced": "all_reduce",
    "allgather": "all_gather", "_allgather_base": "all_gather", "all_gather": "all_gather",
    "all_gather_into_tensor": "all_gather", "allgather_into_tensor_coalesced": "all_gather",
    "reduce_scatter": "reduce_scatter", "_reduce_scatter_base": "reduce_scatter",
    "reduce_scatter_tensor_coalesced": "reduce_scatter",
    "all_to_all": "all_to_all", "alltoall": "all_to_all", "all_to_allv": "all_to_all", "alltoall_base": "all_to_all",
    "send": "send_recv", "recv": "send_recv",
}  # fmt: skip
"""Names of collectives in the annotations of PyTorch, in lower case."""


def collective_of(kind: str, elements_in: int, elements_out: int, element: str, ranks: int) -> Found:
    """Return a collective as PyTorch's annotation names it; elements are those of one rank's tensors."""
    name = KINDS.get(kind.lower(), "")
    if not name:
        return f"a collective of another kind ({kind[:30]})" if kind else "a collective without its annotation"
    width = ELEMENT_BYTES.get(element.lower().removeprefix("c10::"), 0)
    if not width:
        return "a collective of elements of an unknown type"
    ranks = max(2, ranks) if name == "send_recv" else ranks
    return shapes.collective(name, max(elements_in, elements_out) * width, ranks)


_FAMILIES: tuple[tuple[str, str], ...] = (
    (r"nccl|rccl|cross_device_reduce|all_?reduce", "collective"),
    (r"fmha|flash|attention|attn|paged", "attention"),
    (r"conv|winograd|implicit_gemm|dgrad|wgrad|fprop", "conv2d"),
    (r"gemm|gemv|cutlass|cublas|xmma|nvjet|matmul|_mm_|wgmma|tensorop|splitk", "gemm"),
    (r"softmax", "softmax"),
    (r"layer_?norm|rms_?norm|batch_?norm|group_?norm|bn_fw|triton_(red|per)_.*norm", "norm"),
    (r"embedding|indexselect|gather", "embedding"),
    (r"memcpy|memset|copy|catarray|transpose|fill", "copy"),
    (r"elementwise|vectorized|unrolled|pointwise|triton_poi|activation|silu|gelu|relu|reduce|pool", "elementwise"),
)


def kernel_family(name: str) -> str:
    """Return the operator family that a kernel's name suggests, '' where it suggests none."""
    plain = name[:300].lower()
    return next((family for pattern, family in _FAMILIES if re.search(pattern, plain)), "")


def kernel_format(names: Sequence[str]) -> str:
    """Return the number format that names of matrix kernels tell, '' where they tell none."""
    plain = " ".join(name[:200].lower() for name in names[:8])
    for pattern, dtype in (
        (r"bf16|bfloat16", "bf16"),
        (r"e4m3|e5m2|fp8", "fp8"),
        (r"f16|half|hgemm|h884|h1688", "fp16"),
        (r"tf32|s1688", "tf32"),  # tensor cores on single precision, where no 16-bit format is named
        (r"sgemm|f32|<float", "fp32"),
    ):
        if re.search(pattern, plain):
            return dtype
    return ""
