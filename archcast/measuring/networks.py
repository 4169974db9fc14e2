"""Our own workload graphs as ONNX programs with random weights, so that what is measured is what predict is asked.

One operator of the graph becomes one or a few nodes of the same sizes. Image networks without branches that change the
size of the image, and transformers of plain blocks, can be written; others are refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from archcast.measuring.backends.base import Network
from archcast.measuring.backends.onnx_operators import CONTRIB, Noise, Program, grouped_attention, node, unary
from archcast.measuring.pool import UNARY
from foundation.errors import UnsupportedError
from workloads.catalogue import load_model
from workloads.graph import BLOCK_INPUT, Operator, WorkloadGraph
from workloads.model import Request


def network_program(network: Network, noise: Noise) -> Program:
    """Return a whole network in fp32 as a program of one copy.

    Raises:
        UnsupportedError: it has an operator that cannot be written.
        UnknownNameError: no such workload.
    """
    model = load_model(network.workload, dict(network.knobs) or None)
    generate = (2 if network.decode else 1) if model.defaults["generate"] else None
    workload = model.workload(Request(network.batch, network.prompt, generate, "fp32"))
    chosen = workload.passes[-1 if network.decode else 0].graph
    return write_program(chosen, noise)


def write_program(graph: WorkloadGraph, noise: Noise) -> Program:
    """Return a graph (of several scenarios, the last) as a program. Raises UnsupportedError."""
    writer = _Writer(noise)
    for block in graph.blocks:
        for turn in range(block.count):
            writer.block(f"{block.name}.{turn}", block.operators)
    return writer.finish()


@dataclass(frozen=True)
class _Value:
    """A tensor of the program. Images are (batch, channels, height, width), tokens (rows, width)."""

    name: str
    shape: tuple[int, ...]


@dataclass
class _Writer:
    """Walks operators in order; `flow` is what leaves the last block, `stream` the residual sum of a decoder."""

    noise: Noise
    made: Program = field(default_factory=Program)
    flow: _Value | None = None
    stream: _Value | None = None
    place: str = ""

    def block(self, place: str, operators: tuple[Operator, ...]) -> None:
        """Write one run of a block."""
        self.place = place
        known: dict[str, _Value] = {} if self.flow is None else {BLOCK_INPUT: self.flow}
        for o in operators:
            known[o.name] = self._write(o, known)
        if operators:
            self.flow = known[operators[-1].name]

    def finish(self) -> Program:
        """Return the program with its output."""
        if self.flow is None:
            raise UnsupportedError("A graph without operators cannot be run.")
        self.made.outputs.insert(0, [(self.flow.name, self.flow.shape, np.float32)])
        self.made.outputs = [[output for group in self.made.outputs for output in group]]
        return self.made

    def _write(self, o: Operator, known: Mapping[str, _Value]) -> _Value:
        write: Callable[[Operator, list[_Value]], _Value] | None = {
            "conv2d": self._conv, "gemm": self._gemm, "attention": self._attention, "norm": self._norm,
            "elementwise": self._pointwise, "softmax": self._softmax, "embedding": self._embedding,
            "copy": self._copy,
        }.get(o.op)  # fmt: skip
        if write is None:
            raise UnsupportedError(f"The operator '{o.name}' ({o.op}) cannot be written as ONNX.")
        return write(o, [known[name] for name in o.inputs if name in known])

    def _size(self, o: Operator, name: str, default: float = 0) -> int:
        return int(np.ravel(o.shape.get(name, default))[-1])

    def _node(self, op: str, inputs: list[str], o: Operator, part: str = "", domain: str = "", **more: Any) -> str:
        name = f"{self.place}.{o.name}{part}"
        self.made.nodes.append(node(op, inputs, [name], domain, **more))
        return name

    def _weight(self, o: Operator, part: str, *shape: int) -> str:
        name = f"{self.place}.{o.name}.{part}"
        self.made.weights[name] = self.noise.floats(*shape)
        return name

    def _constant(self, name: str, values: Any) -> str:
        self.made.weights[name] = np.asarray(values)
        return name

    def _input(self, name: str, value: Any) -> str:
        self.made.inputs.setdefault(name, np.asarray(value))
        return name

    def _image(self, o: Operator) -> _Value:
        shape = tuple(self._size(o, name) for name in ("batch", "c_in", "h", "w"))
        return _Value(self._input("image", self.noise.floats(*shape)), shape)

    def _conv(self, o: Operator, read: list[_Value]) -> _Value:
        source = read[0] if read else self._image(o)
        c_in, c_out, kh, kw, stride, groups = (
            self._size(o, name, 1) for name in ("c_in", "c_out", "kh", "kw", "stride", "groups")
        )
        padding = self._size(o, "padding")
        expected = (self._size(o, "batch"), c_in, self._size(o, "h"), self._size(o, "w"))
        if source.shape != expected:
            raise UnsupportedError(f"'{o.name}' reads {expected}, but {source.shape} flows into it.")
        weight, bias = self._weight(o, "w", c_out, c_in // groups, kh, kw), self._weight(o, "b", c_out)
        name = self._node("Conv", [source.name, weight, bias], o, strides=[stride] * 2, pads=[padding] * 4,
                          group=groups, kernel_shape=[kh, kw])  # fmt: skip
        out = tuple((size + 2 * padding - k) // stride + 1 for size, k in zip(expected[2:], (kh, kw), strict=True))
        return _Value(name, (expected[0], c_out, *out))

    def _gemm(self, o: Operator, read: list[_Value]) -> _Value:
        m, n, k, batch = (self._size(o, name, 1) for name in ("m", "n", "k", "batch"))
        source = self._rows(o, read[0], m)
        if batch > 1 or source.shape != (m, k):
            raise UnsupportedError(f"'{o.name}' reads {batch} x ({m}, {k}), but {source.shape} flows into it.")
        name = self._node("Gemm", [source.name, self._weight(o, "w", k, n), self._weight(o, "b", n)], o)
        return _Value(name, (m, n))

    def _rows(self, o: Operator, source: _Value, rows: int) -> _Value:
        """Return tokens, of which a head reads only the first rows, or an image of one pixel as tokens."""
        if len(source.shape) == 4:
            flat = (source.shape[0], int(np.prod(source.shape[1:])))
            return _Value(self._node("Flatten", [source.name], o, ".flat", axis=1), flat)
        if source.shape[0] <= rows:
            return source
        ends = [self._constant(f"{self.place}.{o.name}.{w}", [v]) for w, v in (("from", 0), ("to", rows))]
        part = f".rows{len(self.made.nodes)}"  # tokens and their stream may both be cut
        return _Value(self._node("Slice", [source.name, *ends], o, part), (rows, source.shape[1]))

    def _norm(self, o: Operator, read: list[_Value]) -> _Value:
        if len(read[0].shape) == 4:
            if o.fused:
                return read[0]  # a batch normalisation is part of the weights before it
            raise UnsupportedError(f"'{o.name}' normalises an image by itself.")
        rows, hidden = self._size(o, "rows"), self._size(o, "hidden")
        source = self._rows(o, read[0], rows)
        scale, shift = self._weight(o, "g", hidden), self._weight(o, "b", hidden)
        skip = self._residual(o, read, source)
        if skip is None:
            return _Value(self._node("LayerNormalization", [source.name, scale, shift], o, axis=-1), source.shape)
        # the sum leaves beside the normalised tokens: the stream that the next residual adds to
        total = f"{self.place}.{o.name}.sum"
        name = f"{self.place}.{o.name}"
        inputs, both = [source.name, skip.name, scale, shift], ([name, "", "", total] if self.stream else [name])
        batched = [self._node("Unsqueeze", [value, self._constant("axis0", [0])], o, f".in{i}")
                   for i, value in enumerate(inputs[:2])]  # fmt: skip
        self.made.nodes.append(node("SkipLayerNormalization", [*batched, scale, shift],
                                    [f"{out}.3d" if out else "" for out in both], CONTRIB))  # fmt: skip
        for out in filter(None, both):
            self.made.nodes.append(node("Squeeze", [f"{out}.3d", "axis0"], [out]))
        if self.stream:
            self.stream = _Value(total, source.shape)
        return _Value(name, source.shape)

    def _residual(self, o: Operator, read: list[_Value], source: _Value) -> _Value | None:
        """Return what is added before a normalisation of three operands.

        In an encoder it is the second input. A decoder keeps a stream beside the blocks, which starts where the first
        normalisation reads the embedding.
        """
        if float(np.ravel(o.shape.get("operands", 1))[-1]) < 3:
            return None
        if self.stream is None and len(read) > 1:
            return read[1]
        if self.stream is None:
            self.stream = source
            return None
        return self._rows(o, self.stream, source.shape[0])

    def _attention(self, o: Operator, read: list[_Value]) -> _Value:
        batch, q_len, kv_len, heads, head_dim = (
            self._size(o, name) for name in ("batch", "q_len", "kv_len", "heads", "head_dim")
        )
        kv_heads = self._size(o, "kv_heads") or heads
        width = heads * head_dim
        shape = self._constant(f"qkv.{q_len}", [batch, q_len, width + 2 * kv_heads * head_dim])
        joint = self._node("Reshape", [read[0].name, shape], o, ".joint")
        parts = self._constant(f"parts.{width}", [width, kv_heads * head_dim, kv_heads * head_dim])
        tag = f"{self.place}.{o.name}"
        self.made.nodes.append(node("Split", [joint, parts], [f"q{tag}", f"k{tag}", f"v{tag}"], axis=2))
        if self._size(o, "causal", 1):
            self._cached(tag, (batch, kv_heads, kv_len, head_dim), heads)
        else:
            read3 = [f"q{tag}", f"k{tag}", f"v{tag}"]
            self.made.nodes.append(node("MultiHeadAttention", read3, [f"y{tag}"], CONTRIB, num_heads=heads))
        flat = self._constant(f"tokens.{width}", [batch * q_len, width])
        return _Value(self._node("Reshape", [f"y{tag}", flat], o), (batch * q_len, width))

    def _cached(self, tag: str, cache: tuple[int, ...], heads: int) -> None:
        """Write attention over a cache in place: an input whose memory is also an output's."""
        for part in "kv":
            self._input(f"p{part}{tag}", self.noise.floats(*cache))
            self.made.shared[f"o{part}{tag}"] = f"p{part}{tag}"
            self.made.outputs.append([(f"o{part}{tag}", cache, np.float32)])
        self._input("last", np.full(cache[0], cache[2] - 1, np.int32))
        self._constant("total", np.array([cache[2]], np.int32))
        self.made.nodes.append(grouped_attention(tag, heads, cache[1]))

    def _pointwise(self, o: Operator, read: list[_Value]) -> _Value:
        if len(read) > 1:
            names = [value.name for value in read]
            if any(value.shape != read[0].shape for value in read):
                raise UnsupportedError(f"'{o.name}' joins tensors of different shapes.")
            return _Value(self._node("Sum" if len(read) > 2 else "Add", names, o), read[0].shape)
        source = read[0]
        rows, operands = self._size(o, "rows"), float(np.ravel(o.shape.get("operands", 1))[-1])
        flop = float(np.ravel(o.shape.get("flop_per_element", 1))[-1])
        if len(source.shape) == 4:
            pixels = source.shape[0] * source.shape[2] * source.shape[3]
            if rows < pixels and operands > 1:
                return self._pooled(o, source, rows)
            if operands == 2:
                return self._positions(o, source, rows)
        if operands != 1 or flop not in UNARY:
            raise UnsupportedError(f"'{o.name}' ({operands:g} operands, {flop:g} FLOP each) cannot be written as ONNX.")
        name = f"{self.place}.{o.name}"
        self.made.nodes.append(unary(UNARY[flop], source.name, name, self.made.weights))
        return _Value(name, source.shape)

    def _pooled(self, o: Operator, source: _Value, rows: int) -> _Value:
        """Write the mean of the whole image, or the largest of 3 x 3 with stride 2."""
        batch, channels, height, width = source.shape
        if rows == batch:
            return _Value(self._node("GlobalAveragePool", [source.name], o), (batch, channels, 1, 1))
        out = ((height - 1) // 2 + 1, (width - 1) // 2 + 1)
        if rows != batch * out[0] * out[1]:
            raise UnsupportedError(f"'{o.name}' pools {height} x {width} to {rows} pixels, which is not by two.")
        name = self._node("MaxPool", [source.name], o, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        return _Value(name, (batch, channels, *out))

    def _positions(self, o: Operator, source: _Value, rows: int) -> _Value:
        """Write an image as tokens, with class tokens where there are more rows than pixels, and add positions."""
        batch, channels, height, width = source.shape
        shape = self._constant("image.tokens", [batch, channels, height * width])
        flat = self._node("Reshape", [source.name, shape], o, ".pixels")
        tokens = self._node("Transpose", [flat], o, ".tokens", perm=[0, 2, 1])
        more = rows // batch - height * width
        if more:
            first = self._weight(o, "class", batch, more, channels)
            tokens = self._node("Concat", [first, tokens], o, ".joined", axis=1)
        table = self._weight(o, "table", 1, rows // batch, channels)
        added = self._node("Add", [tokens, table], o, ".added")
        out = self._constant("image.rows", [rows, channels])
        return _Value(self._node("Reshape", [added, out], o), (rows, channels))

    def _softmax(self, o: Operator, read: list[_Value]) -> _Value:
        return _Value(self._node("Softmax", [read[0].name], o, axis=-1), read[0].shape)

    def _copy(self, o: Operator, read: list[_Value]) -> _Value:
        return read[0]  # into the cache: part of the attention node

    def _embedding(self, o: Operator, read: list[_Value]) -> _Value:
        rows, hidden = self._size(o, "rows"), self._size(o, "hidden")
        words = max(1, round(o.parameters / hidden))
        table = self._weight(o, "table", words, hidden)
        index = self._input(f"ids.{o.name}", (np.arange(rows, dtype=np.int64) * 7919) % words)
        return _Value(self._node("Gather", [table, index], o, axis=0), (rows, hidden))
