"""One operator as a small ONNX program, in the form in which ONNX Runtime runs it inside networks.

Products and convolutions have biases and constant weights (so that they are packed once), residual sums and
normalisation are one operator, attention takes the joint projection apart and keeps its cache in place. An operator
with weights stands there several times, each with its own, since in a network others have passed through the caches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from archcast.measuring.backends.base import Row
from archcast.measuring.pool import UNARY
from foundation.errors import UnsupportedError
from workloads.table import Array

CONTRIB = "com.microsoft"
OPSET, CONTRIB_OPSET, IR_VERSION = 17, 1, 8
COPIES_BYTES, MOST_COPIES = 9.6e7, 32
SMALL_BYTES, FEW_COPIES = 5e5, 8
"""Weights of up to half a megabyte stay in the caches of a network too."""
BUSY_FLOP_PER_BYTE = 64.0
"""Operators with more arithmetic than this for a byte of weights do not wait for weights; two copies are enough."""
LAYOUT = frozenset({"ReorderInput", "ReorderOutput"})
"""Nodes that change the layout of an image: a network has them at its ends, not at every convolution."""


@dataclass
class Program:
    """Nodes of all copies, what they read, and what each copy writes.

    `outputs[i]` are (name, shape, numpy type) of copy i; `shared` names the input whose memory an output is written to
    (a cache in place). `left_out` are node types whose time is not the operator's.
    """

    nodes: list[Any] = field(default_factory=list)
    inputs: dict[str, Array] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)
    outputs: list[list[tuple[str, tuple[int, ...], Any]]] = field(default_factory=list)
    shared: dict[str, str] = field(default_factory=dict)
    left_out: frozenset[str] = LAYOUT


class Noise:
    """Random arrays, cut from one pool: drawing each anew would take longer than measuring."""

    SIZE = 1 << 24

    def __init__(self, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self._floats = random.standard_normal(self.SIZE, dtype=np.float32)
        self._floats *= np.float32(0.05)
        self._bytes = random.integers(0, 255, self.SIZE, dtype=np.uint8)
        self._at = 0

    def floats(self, *shape: int) -> Array:
        """Return float32 of mean 0 and spread 0.05."""
        return self._cut(self._floats, shape)

    def small(self, signed: bool, *shape: int) -> Array:
        """Return int8 or uint8."""
        cut = self._cut(self._bytes, shape)
        return cut.view(np.int8) if signed else cut

    def _cut(self, pool: Array, shape: tuple[int, ...]) -> Array:
        size = int(np.prod(shape))
        self._at = (self._at + 7919) % self.SIZE  # another start, so that no two weights are equal
        if self._at + size <= self.SIZE:
            return np.asarray(pool[self._at : self._at + size].reshape(shape))
        return np.asarray(np.resize(np.roll(pool, self._at), size).reshape(shape))


def copies_of(weight_bytes: float, flop: float = 0.0) -> int:
    """Return how many copies of the operator, each with its weights, take turns."""
    if flop > BUSY_FLOP_PER_BYTE * weight_bytes:
        return 2
    most = MOST_COPIES if weight_bytes > SMALL_BYTES else FEW_COPIES
    return int(min(max(COPIES_BYTES // max(weight_bytes, 1), 2), most))


def build(row: Row, noise: Noise) -> Program:
    """Return the program of one operator.

    Raises:
        UnsupportedError: ONNX Runtime has no such operator, or not in that format.
    """
    builders: dict[tuple[str, str], Callable[[Row, Noise], Program]] = {
        ("gemm", "fp32"): _gemm, ("gemm", "int8"): _gemm_int8, ("conv2d", "fp32"): _conv,
        ("conv2d", "int8"): _conv_int8, ("attention", "fp32"): _attention, ("norm", "fp32"): _norm,
        ("elementwise", "fp32"): _elementwise, ("softmax", "fp32"): _softmax, ("embedding", "fp32"): _embedding,
        ("copy", "fp32"): _copy,
    }  # fmt: skip
    key = str(row["op"]), str(row["dtype"])
    if key not in builders:
        raise UnsupportedError(f"ONNX Runtime is not measured on '{key[0]}' in {key[1]}.")
    return builders[key](row, noise)


def node(op: str, inputs: list[str], outputs: list[str], domain: str = "", **attributes: Any) -> Any:
    """Return an ONNX node, named after its first output."""
    from onnx import helper

    return helper.make_node(op, inputs, outputs, name=outputs[0], domain=domain, **attributes)


def _sizes(row: Row, *names: str) -> list[int]:
    return [int(row[name]) for name in names]


def _gemm(row: Row, noise: Noise) -> Program:
    m, n, k, batch = _sizes(row, "m", "n", "k", "batch")
    made = Program()
    lead = (batch,) if batch > 1 else ()
    made.inputs["x"] = noise.floats(*lead, m, k)
    for i in range(copies_of(4.0 * batch * n * k, 2.0 * batch * m * n * k)):
        made.weights[f"w{i}"] = noise.floats(*lead, k, n)
        if batch > 1:
            made.nodes.append(node("MatMul", ["x", f"w{i}"], [f"y{i}"]))
        else:
            made.weights[f"b{i}"] = noise.floats(n)
            made.nodes.append(node("Gemm", ["x", f"w{i}", f"b{i}"], [f"y{i}"]))
        made.outputs.append([(f"y{i}", (*lead, m, n), np.float32)])
    return made


def _scales(made: Program) -> None:
    """Add the scale and the zero points that quantised operators read."""
    made.weights["s"] = np.array(0.02, np.float32)
    made.weights["zu"], made.weights["zs"] = np.array(128, np.uint8), np.array(0, np.int8)


def _gemm_int8(row: Row, noise: Noise) -> Program:
    m, n, k, batch = _sizes(row, "m", "n", "k", "batch")
    made = Program(inputs={"x": noise.small(False, *((batch, m, k) if batch > 1 else (m, k)))})
    _scales(made)
    for i in range(copies_of(1.0 * batch * n * k, 2.0 * batch * m * n * k)):
        made.weights[f"w{i}"] = noise.small(True, *((batch, k, n) if batch > 1 else (k, n)))
        made.nodes.append(node("QLinearMatMul", ["x", "s", "zu", f"w{i}", "s", "zs", "s", "zu"], [f"y{i}"]))
        made.outputs.append([(f"y{i}", (batch, m, n) if batch > 1 else (m, n), np.uint8)])
    return made


def _conv_shapes(row: Row) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Return the shapes of input, weight and output, and the node's attributes."""
    batch, c_in, h, w, c_out, kh, kw, stride, padding, groups = _sizes(
        row, "batch", "c_in", "h", "w", "c_out", "kh", "kw", "stride", "padding", "groups"
    )
    out = ((h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1)
    attributes = {"strides": [stride] * 2, "pads": [padding] * 4, "group": groups, "kernel_shape": [kh, kw]}
    return (batch, c_in, h, w), (c_out, c_in // groups, kh, kw), (batch, c_out, *out), attributes


def _conv_flop(weight: tuple[int, ...], out: tuple[int, ...]) -> float:
    return 2.0 * float(np.prod(weight)) * out[0] * out[2] * out[3]


def _conv(row: Row, noise: Noise) -> Program:
    shape, weight, out, attributes = _conv_shapes(row)
    made = Program(inputs={"x": noise.floats(*shape)})
    for i in range(copies_of(4.0 * np.prod(weight), _conv_flop(weight, out))):
        made.weights[f"w{i}"], made.weights[f"b{i}"] = noise.floats(*weight), noise.floats(weight[0])
        made.nodes.append(node("Conv", ["x", f"w{i}", f"b{i}"], [f"c{i}"], **attributes))
        made.nodes.append(node("Relu", [f"c{i}"], [f"y{i}"]))  # becomes part of the convolution
        made.outputs.append([(f"y{i}", out, np.float32)])
    return made


def _conv_int8(row: Row, noise: Noise) -> Program:
    shape, weight, out, attributes = _conv_shapes(row)
    made = Program(inputs={"x": noise.small(False, *shape)}, left_out=LAYOUT | {"Transpose"})
    _scales(made)
    for i in range(copies_of(1.0 * np.prod(weight), _conv_flop(weight, out))):
        made.weights[f"w{i}"] = noise.small(True, *weight)
        made.weights[f"b{i}"] = np.arange(weight[0], dtype=np.int32)
        read = ["x", "s", "zu", f"w{i}", "s", "zs", "s", "zu", f"b{i}"]
        made.nodes.append(node("QLinearConv", read, [f"y{i}"], **attributes))
        made.outputs.append([(f"y{i}", out, np.uint8)])
    return made


def _attention(row: Row, noise: Noise) -> Program:
    batch, q_len, kv_len, heads, kv_heads, head_dim = _sizes(
        row, "batch", "q_len", "kv_len", "heads", "kv_heads", "head_dim"
    )
    made = Program()
    made.inputs["qkv"] = noise.floats(batch, q_len, (heads + 2 * kv_heads) * head_dim)
    made.weights["parts"] = np.array([heads * head_dim, kv_heads * head_dim, kv_heads * head_dim], np.int64)
    causal = bool(row["causal"])
    cache_bytes = 8.0 * batch * kv_heads * kv_len * head_dim
    for i in range(copies_of(cache_bytes, 4.0 * batch * heads * q_len * kv_len * head_dim) if causal else 1):
        made.nodes.append(node("Split", ["qkv", "parts"], [f"q{i}", f"k{i}", f"v{i}"], axis=2))
        out = (f"y{i}", (batch, q_len, heads * head_dim), np.float32)
        if not causal:
            made.nodes.append(node("MultiHeadAttention", [f"q{i}", f"k{i}", f"v{i}"], [f"y{i}"], CONTRIB,
                                   num_heads=heads))  # fmt: skip
            made.outputs.append([out])
            continue
        cache = (batch, kv_heads, kv_len, head_dim)
        made.inputs[f"pk{i}"], made.inputs[f"pv{i}"] = noise.floats(*cache), noise.floats(*cache)
        made.nodes.append(grouped_attention(i, heads, kv_heads))
        made.outputs.append([out, (f"ok{i}", cache, np.float32), (f"ov{i}", cache, np.float32)])
        made.shared |= {f"ok{i}": f"pk{i}", f"ov{i}": f"pv{i}"}
    if causal:
        made.inputs["last"] = np.full(batch, kv_len - 1, np.int32)
        made.weights["total"] = np.array([kv_len], np.int32)
    return made


def grouped_attention(i: int | str, heads: int, kv_heads: int) -> Any:
    """Return causal attention over a cache that is kept in place: inputs q, k, v, pk, pv, outputs y, ok, ov."""
    read = [f"q{i}", f"k{i}", f"v{i}", f"pk{i}", f"pv{i}", "last", "total"]
    return node("GroupQueryAttention", read, [f"y{i}", f"ok{i}", f"ov{i}"], CONTRIB, num_heads=heads,
                kv_num_heads=kv_heads)  # fmt: skip


def _norm(row: Row, noise: Noise) -> Program:
    rows, hidden = _sizes(row, "rows", "hidden")
    made = Program(inputs={"x": noise.floats(rows, hidden)})
    made.weights |= {"g": noise.floats(hidden), "b": noise.floats(hidden)}
    made.outputs.append([("y", (rows, hidden), np.float32)])
    if row["operands"] == 1:
        made.nodes.append(node("LayerNormalization", ["x", "g", "b"], ["y"], axis=-1))
        return made
    # with the sum that it normalises, read by the next one: three operands beside the output
    made.inputs = {"x": noise.floats(1, rows, hidden), "r": noise.floats(1, rows, hidden)}
    made.nodes.append(node("SkipLayerNormalization", ["x", "r", "g", "b"], ["y"], CONTRIB))
    made.outputs = [[("y", (1, rows, hidden), np.float32)]]
    return made


def _elementwise(row: Row, noise: Noise) -> Program:
    rows, hidden = _sizes(row, "rows", "hidden")
    operands, flop = float(row["operands"]), float(row["flop_per_element"])
    made = Program()
    if operands >= 4:
        return _pooling(rows, hidden, operands, noise)
    made.inputs["x"] = noise.floats(rows, hidden)
    made.outputs.append([("y", (rows, hidden), np.float32)])
    if operands == 2:
        made.inputs["z"] = noise.floats(rows, hidden)
        made.nodes.append(node("Add", ["x", "z"], ["y"]))
    else:
        made.nodes.append(unary(UNARY[flop], "x", "y", made.weights))
    return made


def unary(name: str, source: str, target: str, weights: dict[str, Array]) -> Any:
    """Return a pointwise function of one tensor; Clip is that of ReLU6, whose bounds join the weights."""
    if name == "Clip":
        weights |= {"clip.lo": np.array(0, np.float32), "clip.hi": np.array(6, np.float32)}
        return node("Clip", [source, "clip.lo", "clip.hi"], [target])
    return node(name, [source], [target], CONTRIB if name == "Gelu" else "")


def _pooling(rows: int, hidden: int, operands: float, noise: Noise) -> Program:
    """The largest of 3 x 3 with stride 2 (4 operands: the input is four times the output), or the mean of an image."""
    edge = round(rows**0.5)
    made = Program()
    if operands == 4:
        made.inputs["x"] = noise.floats(1, hidden, 2 * edge, 2 * edge)
        made.nodes.append(node("MaxPool", ["x"], ["y"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]))
        made.outputs.append([("y", (1, hidden, edge, edge), np.float32)])
    else:
        side = round(operands**0.5)
        made.inputs["x"] = noise.floats(rows, hidden, side, side)
        made.nodes.append(node("GlobalAveragePool", ["x"], ["y"]))
        made.outputs.append([("y", (rows, hidden, 1, 1), np.float32)])
    return made


def _softmax(row: Row, noise: Noise) -> Program:
    shape = tuple(_sizes(row, "rows", "hidden"))
    made = Program(inputs={"x": noise.floats(*shape)}, outputs=[[("y", shape, np.float32)]])
    made.nodes.append(node("Softmax", ["x"], ["y"], axis=-1))
    return made


def _embedding(row: Row, noise: Noise) -> Program:
    rows, hidden = _sizes(row, "rows", "hidden")
    words = max(512, min(32768, int(6e7 / (4 * hidden))))
    made = Program(weights={"table": noise.floats(words, hidden)}, outputs=[[("y", (rows, hidden), np.float32)]])
    made.inputs["x"] = (np.arange(rows, dtype=np.int64) * 7919) % words
    made.nodes.append(node("Gather", ["table", "x"], ["y"], axis=0))
    return made


def _copy(row: Row, noise: Noise) -> Program:
    """Two halves joined: each is copied once."""
    rows, hidden = _sizes(row, "rows", "hidden")
    if rows < 2:
        raise UnsupportedError("A copy of one row is not measured with ONNX Runtime.")
    made = Program(outputs=[[("y", (rows, hidden), np.float32)]])
    made.inputs |= {"x": noise.floats(rows // 2, hidden), "z": noise.floats(rows - rows // 2, hidden)}
    made.nodes.append(node("Concat", ["x", "z"], ["y"], axis=0))
    return made
