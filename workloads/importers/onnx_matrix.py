"""Costs of ONNX operators with matrix work: convolutions, products, recurrent layers, attention."""

from __future__ import annotations

from math import prod

from workloads.importers.onnx_node import Handler, Node, Part, pointwise
from workloads.importers.onnx_shapes import Tensor

GATE_FLOP = {"LSTM": 5.0, "GRU": 5.0, "RNN": 4.0}
"""Per element and gate: add the two products and the bias, then a sigmoid or tanh (exp, add, divide)."""


def convolution(node: Node, data: Tensor, filters: Tensor) -> list[Part]:
    """Any rank: the first spatial axis as height, the others together as width."""
    out = node.output
    groups = int(node.number("group", 1))
    strides, pads = node.numbers("strides", (1,)), node.numbers("pads", (0,))
    kernel = filters.dims[2:] or (1,)
    size, after = data.dims[2:] or (1,), out.dims[2:] or (1,)
    shape = {
        "batch": data.dims[0], "c_in": data.dims[1], "h": size[0], "w": prod(size[1:]), "c_out": filters.dims[0],
        "kh": kernel[0], "kw": prod(kernel[1:]), "stride": strides[0], "padding": pads[0], "groups": groups,
        "out_h": after[0], "out_w": prod(after[1:]),
    }  # fmt: skip
    return [Part("conv2d", {key: float(value) for key, value in shape.items()})]


def conv(node: Node) -> list[Part]:
    return convolution(node, node.needed(0), node.needed(1))


def qlinear_conv(node: Node) -> list[Part]:
    return convolution(node, node.needed(0), node.needed(3))


def conv_transpose(node: Node) -> list[Part]:
    """As a sub-pixel convolution: per input pixel it makes c_out x stride^2 values from kernel / stride windows.

    Work, weights, reads and writes are then exact (Shi et al. 2016, "Is the deconvolution layer the same as a
    convolutional layer?").
    """
    data, filters, out = node.needed(0), node.needed(1), node.output
    size, after, kernel = data.dims[2:], out.dims[2:], filters.dims[2:]
    first, others = after[0] / size[0], prod(after[1:]) / prod(size[1:])
    shape = {
        "batch": data.dims[0], "c_in": data.dims[1], "h": size[0], "w": prod(size[1:]),
        "c_out": out.dims[1] * first * others, "kh": kernel[0] / first, "kw": prod(kernel[1:]) / others,
        "groups": node.number("group", 1), "out_h": size[0], "out_w": prod(size[1:]),
    }  # fmt: skip
    return [Part("conv2d", {key: float(value) for key, value in shape.items()})]


def deform_conv(node: Node) -> list[Part]:
    """The convolution, and before it a bilinear sample (8 FLOP) of every input value under every window."""
    data, filters = node.needed(0), node.needed(1)
    samples = prod(filters.dims[2:]) * data.dims[1] * data.dims[0] * prod(node.output.dims[2:])
    return [pointwise(samples, 1, 8.0, reads=4 * samples, suffix="sample"), *conv(node)]


def col2im(node: Node) -> list[Part]:
    data = node.needed(0)
    return [pointwise(node.output.elements, 1, data.elements / node.output.elements, reads=data.elements)]


def product(a: Tensor, b: Tensor) -> list[Part]:
    """Return the cost of a matrix product under numpy's rules; a constant matrix is shared by all rows."""
    left = a.dims if len(a.dims) > 1 else (1, *a.dims)
    right = b.dims if len(b.dims) > 1 else (*b.dims, 1)
    m, k, n = left[-2], left[-1], right[-1]
    batch_left, batch_right = prod(left[:-2]), prod(right[:-2])
    if batch_right == 1:
        return [gemm_part(m * batch_left, n, k, weights=b.constant)]
    if batch_left == 1 and a.constant:  # a matrix from the left: the transposed product
        return [gemm_part(n * batch_right, m, k, weights=True)]
    return [gemm_part(m, n, k, batch=max(batch_left, batch_right), weights=b.constant)]


def gemm_part(m: float, n: float, k: float, *, batch: float = 1, weights: bool, suffix: str = "") -> Part:
    shape = {"m": float(m), "n": float(n), "k": float(k), "batch": float(batch)}
    return Part("gemm", shape, suffix, "m" if weights else "batch")


def matmul(node: Node) -> list[Part]:
    return product(node.needed(0), node.needed(1))


def qlinear_matmul(node: Node) -> list[Part]:
    return product(node.needed(0), node.needed(3))


def gemm(node: Node) -> list[Part]:
    a, b, out = node.needed(0), node.needed(1), node.output
    k = a.dims[0] if node.number("transA", 0) else a.dims[1]
    return [gemm_part(out.dims[0], out.dims[1], k, weights=b.constant)]


def einsum(node: Node) -> list[Part]:
    """Operands are contracted from left to right; letters that only one has and nobody else needs are summed with k."""
    equation = node.attributes.get("equation", b"")
    text = equation.decode() if isinstance(equation, bytes) else str(equation)
    left, _, right = text.replace(" ", "").partition("->")
    terms = left.split(",")
    sizes: dict[str, int] = {}
    letters = [_letters(term, tensor.dims, sizes) for term, tensor in zip(terms, node.present, strict=True)]
    wanted = _letters(right, node.output.dims, sizes) if "->" in text else _once(letters)
    first, parts = letters[0], []
    constant = node.needed(0).constant
    for place, second in enumerate(letters[1:], start=1):
        needed_later = {x for later in letters[place + 1 :] for x in later} | set(wanted)
        parts.append(_contract(first, second, needed_later, sizes, str(place) if len(letters) > 2 else "", node, place))
        first = "".join(dict.fromkeys(x for x in first + second if x in needed_later))
    if not parts:
        read = node.needed(0).elements
        return [pointwise(node.output.elements, 1, 0 if constant else read / node.output.elements, reads=read)]
    return parts


def _letters(term: str, dims: tuple[int, ...], sizes: dict[str, int]) -> str:
    """Return the letters of a term, `...` spelled with digits counted from the right; `sizes` learns their lengths."""
    if "..." in term:
        extra = len(dims) - len(term.replace("...", ""))
        term = term.replace("...", "".join(chr(0x2460 + i) for i in reversed(range(extra))))
    for letter, dim in zip(term, dims, strict=True):
        sizes[letter] = max(dim, sizes.get(letter, 1))
    return term


def _once(letters: list[str]) -> str:
    together = "".join(letters)
    return "".join(sorted(x for x in set(together) if together.count(x) == 1))


def _contract(
    a: str, b: str, needed: set[str], sizes: dict[str, int], suffix: str, node: Node, place: int
) -> Part:  # fmt: skip
    def size(found: set[str]) -> int:
        return prod(sizes[x] for x in found)

    one, two = set(a), set(b)
    batch, summed = one & two & needed, (one | two) - needed
    weights = node.needed(place).constant
    if not one & two - needed:  # nothing shared is summed: an outer product, no matrix work
        out = size((one | two) & needed)
        return pointwise(out, 1, 1.0, reads=size(one) + size(two), suffix=suffix)
    return gemm_part(
        size(one & needed - batch),
        size(two & needed - batch),
        size(summed),
        batch=size(batch),
        weights=weights,
        suffix=suffix,
    )


def recurrent(node: Node) -> list[Part]:
    """Inputs of all steps in one product; the state's product step by step, its weights read at every step."""
    data, weights, states = node.needed(0), node.needed(1), node.needed(2)
    directions, gates_hidden, width = weights.dims
    hidden = states.dims[2]
    steps, batch = data.dims[:2] if not node.number("layout", 0) else data.dims[1::-1]
    gates, runs = gates_hidden // hidden, steps * directions
    flop = gates * GATE_FLOP[node.op_type] + 4.0  # and the state's own multiplies and adds
    reads = runs * batch * (gates_hidden + hidden)
    return [
        gemm_part(steps * batch, gates_hidden * directions, width, weights=True, suffix="input"),
        gemm_part(batch, gates_hidden, hidden, batch=runs, weights=True, suffix="state"),
        pointwise(runs * batch, hidden, flop, reads=reads, suffix="gates"),
    ]


def attention(node: Node) -> list[Part]:
    """Attention (opset 23): [batch, heads, tokens, head] tensors, or [batch, tokens, heads x head] with head counts."""
    query, key, values, past = node.needed(0), node.needed(1), node.needed(2), node.input(4)
    if len(query.dims) == 4:
        batch, heads, q_len, head_dim = query.dims
        kv_heads, kv_len, v_dim = key.dims[1], key.dims[2], values.dims[3]
    else:
        batch, q_len, width = query.dims
        heads, kv_heads = int(node.number("q_num_heads", 1)), int(node.number("kv_num_heads", 1))
        head_dim, kv_len, v_dim = width // heads, key.dims[1], values.dims[2] // kv_heads
    kv_len += past.dims[2] if past is not None else 0
    shape = {
        "batch": batch, "q_len": q_len, "kv_len": kv_len, "heads": heads, "kv_heads": kv_heads, "head_dim": head_dim,
        "v_dim": v_dim, "causal": 1.0 if node.number("is_causal", 0) else 0.0,
    }  # fmt: skip
    return [Part("attention", {key: float(value) for key, value in shape.items()})]


def linear_attention(node: Node) -> list[Part]:
    """A recurrence with a key x value state a head: what the family `scan` counts."""
    query, values = node.needed(0), node.needed(2)
    batch, tokens, width = query.dims
    heads, kv_heads = int(node.number("q_num_heads", 1)), int(node.number("kv_num_heads", 1))
    size, inner = width // heads, values.dims[2] // kv_heads
    shape = {"batch": batch, "q_len": tokens, "heads": heads, "head_dim": inner, "state": size}
    return [Part("scan", {key: float(value) for key, value in shape.items()})]


def causal_conv(node: Node) -> list[Part]:
    """A depthwise convolution along time: one multiply-add a tap."""
    data, filters = node.needed(0), node.needed(1)
    taps = filters.dims[-1]
    shape = {
        "batch": data.dims[0], "c_in": data.dims[1], "h": data.dims[2], "w": 1, "c_out": data.dims[1], "kh": taps,
        "kw": 1, "groups": data.dims[1], "out_h": data.dims[2], "out_w": 1,
    }  # fmt: skip
    return [Part("conv2d", {key: float(value) for key, value in shape.items()})]


MATRIX: dict[str, Handler] = {
    "Conv": conv, "ConvInteger": conv, "QLinearConv": qlinear_conv, "ConvTranspose": conv_transpose,
    "DeformConv": deform_conv, "Col2Im": col2im, "Gemm": gemm, "MatMul": matmul, "MatMulInteger": matmul,
    "QLinearMatMul": qlinear_matmul, "Einsum": einsum, "LSTM": recurrent, "GRU": recurrent, "RNN": recurrent,
    "Attention": attention, "LinearAttention": linear_attention, "CausalConvWithState": causal_conv,
}  # fmt: skip
"""Handler of each operator with matrix work."""

INTEGER: frozenset[str] = frozenset({"ConvInteger", "QLinearConv", "MatMulInteger", "QLinearMatMul"})
"""Operators that compute in 8-bit integers by definition."""
