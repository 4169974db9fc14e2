"""What each StableHLO operator costs: products and convolutions from their dimension numbers, the rest by the element.

FLOP per element count as docs/onnx.md does: one for each add, multiply, divide, compare, root and transcendental
function. Broadcasts are read where they are used, at the size of what was broadcast.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log2, prod

from workloads.importers.mlir_text import Group, Op, Token, assigned, whole_numbers
from workloads.importers.onnx_matrix import gemm_part
from workloads.importers.onnx_node import Part, by_rows, pointwise
from workloads.importers.onnx_shapes import Tensor

POINTWISE: dict[str, float] = {
    **dict.fromkeys(
        ("abs", "add", "and", "atan2", "bitcast_convert", "cbrt", "ceil", "compare", "complex", "convert", "cosine",
         "count_leading_zeros", "divide", "erf", "erf_inv", "exponential", "floor", "imag", "is_finite", "is_inf",
         "lgamma", "log", "maximum", "minimum", "multiply", "negate", "next_after", "not", "or", "popcnt", "power",
         "real", "reduce_precision", "remainder", "round_nearest_afz", "round_nearest_even", "select", "shift_left",
         "shift_right_arithmetic", "shift_right_logical", "sign", "sine", "sqrt", "square", "subtract", "tan", "xor",
         "acos", "acosh", "asin", "asinh", "atan", "atanh", "cosh", "sinh", "digamma", "erfc", "map"), 1.0),
    "clamp": 2.0, "exponential_minus_one": 2.0, "log_plus_one": 2.0, "rsqrt": 2.0, "tanh": 3.0, "logistic": 3.0,
    "uniform_quantize": 4.0, "uniform_dequantize": 2.0,
}  # fmt: skip
VIEWS = frozenset({
    "reshape", "broadcast_in_dim", "broadcast", "dynamic_reshape", "dynamic_broadcast_in_dim", "optimization_barrier",
    "sharding_constraint", "reshard",
})  # fmt: skip
"""No kernel runs, or it is part of the one that reads the result."""
COPIES = frozenset({
    "transpose", "slice", "dynamic_slice", "real_dynamic_slice", "concatenate", "reverse", "pad", "dynamic_pad",
})  # fmt: skip
COLLECTIVES = frozenset({
    "all_reduce", "all_gather", "reduce_scatter", "all_to_all", "collective_permute", "collective_broadcast", "send",
    "recv", "partition_id", "replica_id",
})  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """An operator with its typed operands; `read` are the elements that each operand really has in memory."""

    op: Op
    kind: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    read: tuple[int, ...]

    @property
    def out(self) -> Tensor:
        return self.outputs[0]


Handler = Callable[[Seen], tuple[str, list[Part]]]
"""Returns the ONNX operator that it is like (which decides whether it joins its producer's kernel), and its parts."""


def numbers(op: Op, *keys: str) -> tuple[int, ...]:
    """Return the whole numbers of the first attribute that an operator has of these names."""
    for key in keys:
        for rest in assigned(op.tokens, key):
            group = next((token for token in rest if isinstance(token, Group)), rest[0] if rest else None)
            return whole_numbers(group)
    return ()


def dot_dimensions(op: Op) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return the batching and contracting dimensions of both operands, in either form."""
    pairs: list[tuple[int, ...]] = []
    for key in ("batching", "contracting"):
        rest = next(assigned(op.tokens, f"{key}_dims"), [])
        groups = [token for token in rest if isinstance(token, Group)][:2]
        if groups:
            pairs += [whole_numbers(group) for group in groups] + [()] * (2 - len(groups))
        else:
            pairs += [numbers(op, f"lhs_{key}_dimensions"), numbers(op, f"rhs_{key}_dimensions")]
    return pairs[0], pairs[1], pairs[2], pairs[3]


def dot_general(seen: Seen) -> tuple[str, list[Part]]:
    """A product of m x k and k x n, `batch` times; a stored matrix is the second operand, whichever it was."""
    left, right = seen.inputs[:2]
    plain: tuple[tuple[int, ...], ...] = ((), (), (len(left.dims) - 1,), (0,))
    batch_left, batch_right, sum_left, sum_right = plain if seen.kind == "dot" else dot_dimensions(seen.op)
    k = prod(left.dims[axis] for axis in sum_left)
    batch = prod(left.dims[axis] for axis in batch_left)
    if [left.dims[a] for a in sum_left] != [right.dims[a] for a in sum_right]:
        raise ValueError(f"{left.dims} and {right.dims} are summed over different sizes")
    m = prod(size for axis, size in enumerate(left.dims) if axis not in {*batch_left, *sum_left})
    n = prod(size for axis, size in enumerate(right.dims) if axis not in {*batch_right, *sum_right})
    if left.constant and not right.constant:
        m, n = n, m
    return "MatMul", [gemm_part(m, n, k, batch=batch, weights=left.constant or right.constant)]


def convolution(seen: Seen) -> tuple[str, list[Part]]:
    """Any rank: the first spatial axis as height, the others together as width.

    A dilated input (a transposed convolution) has that many zeros in each window: the taps on them are not counted.
    """
    data, filters = seen.inputs[:2]
    letters = _letters(seen.op)
    spatial = [sorted(name for name in part if name.isdigit()) for part in letters]
    size, kernel, after = (
        [tensor.dims[part.index(name)] for name in names]
        for tensor, part, names in zip((data, filters, seen.out), letters, spatial, strict=True)
    )
    groups = (numbers(seen.op, "feature_group_count") or (1,))[0]
    parts = (numbers(seen.op, "batch_group_count") or (1,))[0]
    dilated = [d for d in numbers(seen.op, "lhs_dilate", "lhs_dilation") if d > 1]
    shape = {
        "batch": data.dims[letters[0].index("b")] / parts, "c_in": data.dims[letters[0].index("f")] * parts,
        "h": (size or [1])[0], "w": prod(size[1:]), "c_out": filters.dims[letters[1].index("o")],
        "kh": (kernel or [1])[0] / prod(dilated), "kw": prod(kernel[1:]), "groups": groups * parts,
        "stride": (numbers(seen.op, "stride", "window_strides") or (1,))[0],
        "out_h": (after or [1])[0], "out_w": prod(after[1:]),
    }  # fmt: skip
    return "Conv", [Part("conv2d", {key: float(value) for key, value in shape.items()})]


def _letters(op: Op) -> list[list[str]]:
    """Return the dimension labels of input, filters and output: `[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]`."""
    nothing: list[Token] = []
    rest = next(assigned(op.tokens, "dim_numbers"), nothing) or next(assigned(op.tokens, "dimension_numbers"), nothing)
    groups = [token for token in rest if isinstance(token, Group)]
    if len(groups) == 1 and groups[0].bracket == "<":
        groups = [token for token in groups[0].items if isinstance(token, Group)]
    if len(groups) != 3:
        raise ValueError("its dimension numbers cannot be read")
    return [[str(item) for item in group.items if isinstance(item, str) and item != ","] for group in groups]


def elementwise(seen: Seen) -> tuple[str, list[Part]]:
    rows, hidden = by_rows(seen.out)
    return "Mul", [pointwise(rows, hidden, POINTWISE[seen.kind], reads=sum(seen.read))]


def move(seen: Seen) -> tuple[str, list[Part]]:
    rows, hidden = by_rows(seen.out)
    return "Slice", [pointwise(rows, hidden, 0, op="copy", reads=min(seen.out.elements, sum(seen.read)))]


def update(seen: Seen) -> tuple[str, list[Part]]:
    """Written in place: the updates are read and written."""
    updates = seen.inputs[1 if seen.kind == "dynamic_update_slice" else -1].elements
    return "Scatter", [pointwise(max(1, updates), 1, 0, op="copy")]


def gather(seen: Seen) -> tuple[str, list[Part]]:
    """Whole rows of a stored table are an embedding; anything else is a move."""
    table = seen.inputs[0]
    width = prod(numbers(seen.op, "slice_sizes") or (1,))
    if table.constant and len(table.dims) > 1 and width > 1:
        rows = max(1.0, seen.out.elements / width)
        return "Gather", [Part("embedding", {"rows": rows, "hidden": seen.out.elements / rows})]
    return move(seen)


def reduction(seen: Seen) -> tuple[str, list[Part]]:
    """One operation for each element that goes in."""
    data = seen.inputs[: max(1, len(seen.inputs) // 2)]
    size = sum(tensor.elements for tensor in data)
    rows, hidden = by_rows(seen.out)
    return "ReduceSum", [pointwise(rows, hidden, size / seen.out.elements, reads=sum(seen.read[: len(data)]))]


def window(seen: Seen) -> tuple[str, list[Part]]:
    """One operation for each element of the window; the map is read once."""
    rows, hidden = by_rows(seen.out)
    size = prod(numbers(seen.op, "window_dimensions") or (1,))
    if seen.kind == "select_and_scatter":
        rows, hidden = by_rows(seen.inputs[0])
    elif _runs(seen, size):
        size = 2 * max(1, size.bit_length())
    return "MaxPool", [pointwise(rows, hidden, float(size), reads=seen.read[0])]


def _runs(seen: Seen, size: int) -> bool:
    """Tell whether a window sums everything before (how JAX writes cumulative sums): runtimes do it in log steps."""
    return (
        len(seen.inputs[0].dims) > 0 and size == max(seen.inputs[0].dims) > 16 and seen.out.dims == seen.inputs[0].dims
    )


def sort(seen: Seen) -> tuple[str, list[Part]]:
    """log2(n) compares an element along its axis; of a selection of k, log2(k) + 1."""
    data = seen.inputs[0]
    axis = (numbers(seen.op, "dimension") or (len(data.dims) - 1,))[0]
    along = (numbers(seen.op, "k") or (1,))[0] * 2 if seen.kind == "top_k" else data.dims[axis] if data.dims else 1
    written = sum(tensor.elements for tensor in seen.outputs)
    flop = max(1.0, log2(max(2, along))) * data.elements / written
    return "TopK", [pointwise(written, 1, flop, reads=sum(seen.read))]


def fourier(seen: Seen) -> tuple[str, list[Part]]:
    """5 n log2 n FLOP for each complex transform of n points (Cooley & Tukey 1965), half of it for real ones."""
    points = prod(numbers(seen.op, "length", "fft_length") or (1,))
    largest = max(seen.inputs[0].elements, seen.out.elements)
    flop = 5 * largest * log2(max(2, points)) / (2 if seen.inputs[0].elements != seen.out.elements else 1)
    return "DFT", [pointwise(seen.out.elements, 1, flop / seen.out.elements, reads=seen.read[0])]


def random(seen: Seen) -> tuple[str, list[Part]]:
    """Ten operations an element: an estimate (5-20)."""
    written = sum(tensor.elements for tensor in seen.outputs)
    return "RandomUniform", [pointwise(written, 1, 10.0, reads=0)]


def factorisation(seen: Seen) -> tuple[str, list[Part]]:
    """Cholesky: n^3 / 3 FLOP a matrix; a triangular solve: n^2 for each column."""
    n = seen.inputs[0].dims[-1]
    flop = n * n / 3 if seen.kind == "cholesky" else n
    return "Det", [pointwise(*by_rows(seen.out), float(flop), reads=sum(seen.read))]


def norm(seen: Seen) -> tuple[str, list[Part]]:
    """Batch normalisation: multiply and add at inference; statistics as well in training."""
    rows, hidden = by_rows(seen.out)
    flop = 2.0 if seen.kind == "batch_norm_inference" else 7.0
    return "BatchNormalization", [pointwise(rows, hidden, flop, reads=sum(seen.read))]


HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(POINTWISE, elementwise), **dict.fromkeys(COPIES, move),
    "dot_general": dot_general, "dot": dot_general, "convolution": convolution, "dynamic_conv": convolution,
    "gather": gather, "dynamic_gather": gather, "torch_index_select": gather, "reduce": reduction,
    "reduce_window": window, "select_and_scatter": window, "sort": sort, "top_k": sort, "fft": fourier,
    "dynamic_update_slice": update, "scatter": update, "rng": random, "rng_bit_generator": random,
    "cholesky": factorisation, "triangular_solve": factorisation,
    **dict.fromkeys(("batch_norm_inference", "batch_norm_training", "batch_norm_grad"), norm),
}  # fmt: skip
"""Cost of each operator of the dialects stablehlo, mhlo and chlo."""


def permutes_nothing(op: Op, data: Tensor) -> bool:
    """Tell whether a transpose only moves axes of size 1."""
    order: Sequence[int] = numbers(op, "dims", "permutation")
    kept = [axis for axis in order if axis < len(data.dims) and data.dims[axis] != 1]
    return kept == sorted(kept)
