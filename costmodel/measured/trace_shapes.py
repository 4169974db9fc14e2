"""Operators from tensor sizes: what a product, a convolution or an attention of these tensors is, as table columns."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, prod

from costmodel.measured.trace_json import Dims
from costmodel.measured.trace_rows import Shape

Found = tuple[str, dict[str, float | str]] | str
"""An operator and its columns, or the reason why it is none."""

NO_SHAPES = "no shapes in the trace (PyTorch: record_shapes=True)"
ODD_SHAPES = "shapes that do not make this operator"
NOT_2D = "a convolution in one or three dimensions, or a transposed one"


def gemm(m: int, n: int, k: int, batch: int = 1) -> Found:
    """Return C[m,n] += A[m,k] B[k,n], `batch` times."""
    shape: dict[str, float | str] = {"m": m, "n": n, "k": k}
    return "gemm", {**shape, "batch": batch} if batch != 1 else shape


def matmul(a: Dims, b: Dims) -> Found:
    """Return the product of two tensors as numpy and PyTorch broadcast them: a matrix B is used by all rows of A."""
    if not a or not b:
        return NO_SHAPES
    if len(a) == 1:
        a = (1, *a)
    if len(b) == 1:
        b = (*b, 1)
    if a[-1] != b[-2]:
        return ODD_SHAPES
    if len(b) == 2:
        return gemm(prod(a[:-1]), b[-1], a[-1])
    batch = broadcast(a[:-2], b[:-2])
    return ODD_SHAPES if batch is None else gemm(a[-2], b[-1], a[-1], prod(batch))


def broadcast(*shapes: Dims) -> Dims | None:
    """Return the common shape of tensors under numpy's rule, None where there is none."""
    result: list[int] = []
    for axis in range(1, max((len(shape) for shape in shapes), default=0) + 1):
        sizes = {shape[-axis] for shape in shapes if len(shape) >= axis} - {1}
        if len(sizes) > 1:
            return None
        result.append(sizes.pop() if sizes else 1)
    return tuple(reversed(result))


def conv(x: Dims, weight: Dims, stride: Sequence[int], padding: Sequence[int], dilation: Sequence[int]) -> Found:
    """Return a convolution of N x C x H x W by C_out x C_in/groups x KH x KW; a missing W is one column."""
    if len(x) == 3 and len(weight) == 3:  # along one axis: an image of one column
        x, weight = (*x, 1), (*weight, 1)
        stride, padding, dilation = (*stride[:1], 1), (*padding[:1], 0), (*dilation[:1], 1)
    if len(x) != 4 or len(weight) != 4:
        return NOT_2D
    if not weight[1] or x[1] % weight[1]:
        return ODD_SHAPES
    (sh, sw), (ph, pw), (dh, dw) = (_pair(v, d) for v, d in ((stride, 1), (padding, 0), (dilation, 1)))
    out_h = (x[2] + 2 * ph - dh * (weight[2] - 1) - 1) // max(1, sh) + 1
    out_w = (x[3] + 2 * pw - dw * (weight[3] - 1) - 1) // max(1, sw) + 1
    return conv_to(x, weight, out_h, out_w, sh, ph, plain=(sh, ph, dh) == (sw, pw, dw) and dh == 1)


def conv_to(x: Dims, weight: Dims, out_h: int, out_w: int, stride: int, padding: int, *, plain: bool) -> Found:
    """Return a convolution whose output is known; `plain`: it follows from one stride and one padding."""
    if out_h < 1 or out_w < 1:
        return ODD_SHAPES
    shape: dict[str, float | str] = {
        "batch": x[0], "c_in": x[1], "h": x[2], "w": x[3], "c_out": weight[0], "kh": weight[2], "kw": weight[3],
        "stride": max(1, stride), "padding": padding, "groups": x[1] // max(1, weight[1]),
    }  # fmt: skip
    return "conv2d", shape if plain else {**shape, "out_h": out_h, "out_w": out_w}


def conv_by_output(x: Dims, weight: Dims, out: Dims) -> Found:
    """Return a convolution of which only tensors are known: stride and padding are the smallest that fit."""
    if len(x) == 3 and len(weight) == 3 and len(out) == 3:
        x, weight, out = (*x, 1), (*weight, 1), (*out, 1)
    if len(x) != 4 or len(weight) != 4 or len(out) != 4:
        return NOT_2D
    if not weight[1] or x[1] % weight[1] or out[1] != weight[0] or not min(out[2:], default=0):
        return ODD_SHAPES
    steps = [max(1, round(size / result)) for size, result in zip(x[2:], out[2:], strict=True)]
    pads = [max(0, ceil(((result - 1) * step + kernel - size) / 2))
            for size, result, step, kernel in zip(x[2:], out[2:], steps, weight[2:], strict=True)]  # fmt: skip
    fits = all((size + 2 * pad - kernel) // step + 1 == result for size, result, step, kernel, pad in
               zip(x[2:], out[2:], steps, weight[2:], pads, strict=True))  # fmt: skip
    plain = fits and steps[0] == steps[1] and pads[0] == pads[1]
    return conv_to(x, weight, out[2], out[3], steps[0], pads[0], plain=plain)


def attention(q: Dims, k: Dims, v: Dims, causal: bool) -> Found:
    """Return attention of tensors batch x heads x length x head size."""
    if len(q) == 3 and len(k) == 3 and len(v) == 3:
        q, k, v = (1, *q), (1, *k), (1, *v)
    if len(q) != 4 or len(k) != 4 or len(v) != 4 or not k[1] or q[1] % k[1]:
        return ODD_SHAPES
    shape: dict[str, float | str] = {
        "phase": "decode" if q[2] == 1 < k[2] else "prefill", "batch": q[0], "q_len": q[2], "kv_len": k[2],
        "heads": q[1], "kv_heads": k[1], "head_dim": q[3], "causal": float(causal),
    }  # fmt: skip
    return "attention", shape if v[3] == q[3] else {**shape, "v_dim": v[3]}


def pointwise(op: str, written: Dims, *, flop: float = 0.0, read: int | None = None) -> Found:
    """Return an operator that writes a tensor, all leading axes as rows; `read` elements in all (default: as many)."""
    rows, hidden = (prod(written[:-1]), written[-1]) if written else (1, 1)
    return by_rows(op, rows, hidden, flop=flop, read=read)


def channelwise(op: str, written: Dims, *, flop: float = 0.0, read: int | None = None) -> Found:
    """Return an operator on N x C x ...: pixels as rows, channels as columns."""
    channels = written[1] if len(written) > 1 else 1
    return by_rows(op, prod(written) // max(1, channels), channels, flop=flop, read=read)


def by_rows(op: str, rows: int, hidden: int, *, flop: float = 0.0, read: int | None = None) -> Found:
    """Return a pointwise operator on rows x hidden elements with `flop` for each."""
    shape: dict[str, float | str] = {"rows": rows, "hidden": hidden}
    if read is not None and rows * hidden and read != rows * hidden:
        shape["operands"] = read / (rows * hidden)
    if flop and op != "copy":
        shape["flop_per_element"] = flop
    return op, shape


def collective(kind: str, full_bytes: int, ranks: int) -> Found:
    """Return a collective; `full_bytes` is the gathered, unscattered buffer of one rank."""
    if ranks < 2:
        return "a collective of one rank, or of a number that the trace does not tell (give ranks=)"
    return ("collective", {"kind": kind, "bytes": full_bytes, "ranks": ranks}) if full_bytes > 0 else ODD_SHAPES


def _pair(values: Sequence[int], default: int) -> tuple[int, int]:
    if not values:
        return default, default
    return values[0], values[1] if len(values) > 1 else values[0]


def with_format(found: Found, dtype: str) -> tuple[str, Shape, str]:
    """Return (op, shape with its format, reason)."""
    if isinstance(found, str):
        return "", {}, found
    return found[0], {**found[1], "dtype": dtype}, ""
