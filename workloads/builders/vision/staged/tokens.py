"""What builders of vision transformers share: `Tokens`, a stack of layers over a map of tokens.

A map of `height` x `width` tokens of `channels` features an image, with `prefix` tokens before them (class tokens,
registers). Windows are sequences of their own: attention within them has one sequence a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from workloads.builders.chain import wide
from workloads.builders.vision.layers import ACTIVATION_FLOP, BATCH_NORM_FLOP, Layers
from workloads.graph import Size

ACT_FLOP = {**ACTIVATION_FLOP, "tanh": 4.0, "star": 4.0, "softplus": 4.0}
"""Per element. `star` is StarReLU (scale x relu(x)^2 + bias, Yu et al. 2022), of two parameters."""
LAYER_NORM_FLOP = 7.0


class Tokens(Layers):
    """Collects the operators of one block over tokens; convolutions see the map without the prefix.

    `start` is the name in front of every operator's: the place of a layer in a repeating pattern.
    """

    def __init__(
        self, batch: Size, dtype: str, channels: int, height: int, width: int, prefix: int = 0, start: str = ""
    ) -> None:  # fmt: skip
        super().__init__(batch, dtype, channels, height, width)
        self.prefix, self.start = prefix, start

    @property
    def tokens(self) -> int:
        """Tokens of one image."""
        return self.height * self.width + self.prefix

    @property
    def elements(self) -> Size:
        return self.batch * self.channels * self.tokens

    def next_block(self) -> Tokens:
        return Tokens(self.batch, self.dtype, self.channels, self.height, self.width, self.prefix)

    def add(self, name: str, op: str, shape: dict[str, Any], inputs: Sequence[str] = (), **rest: Any) -> str:
        own = name if name.startswith(self.start) else self.start + name
        added = super().add(own, op, shape, inputs, **rest)
        if op in ("attention", "softmax", "norm") or (op == "gemm" and not rest.get("parameters")):
            # as in `chain`: what multiplies activations, or normalises them, is not quantised with the weights
            self.operators[-1] = replace(self.operators[-1], dtype=wide(self.dtype))
        return added

    def conv(self, name: str, c_out: int, kernel: int | tuple[int, int], *, act: str = "", **rest: Any) -> str:
        """Append a convolution over the map, with its folded normalisation and any activation of `ACT_FLOP`."""
        last = super().conv(name, c_out, kernel, **rest)
        return self.activate(f"{name}.{act}", act) if act else last

    def transposed(self, name: str, c_out: int, kernel: int, stride: int, *, groups: int = 1) -> str:
        """Append a transposed convolution with bias that makes the map `stride` times as large.

        It is a convolution from the larger map to the smaller run backwards: the same products, and what is read and
        written change places.
        """
        before, c_in = self.height, self.channels
        self.height = self.width = before * stride
        shape = {
            "batch": self.batch, "c_in": c_out, "h": self.height, "w": self.width, "c_out": c_in, "kh": kernel,
            "kw": kernel, "stride": stride, "padding": stride // 2, "groups": groups, "out_h": before, "out_w": before,
        }  # fmt: skip
        self.channels = c_out
        return self.add(name, "conv2d", shape, parameters=float(c_in // groups * kernel**2 * c_out + c_out))

    def activate(self, name: str, act: str) -> str:
        return self.fused(name, "elementwise", ACT_FLOP[act], parameters=2.0 if act == "star" else 0.0)

    def scale(self, name: str, *, parameters: float | None = None, flop: float = 1.0) -> str:
        """Append a multiplication by a learned vector (layer scale), inside the kernel before it."""
        return self.fused(name, "elementwise", flop, parameters=self.channels if parameters is None else parameters)

    def norm(
        self, name: str, kind: str = "layer", act: str = "", *, bias: bool = True, inputs: Sequence[str] = ()
    ) -> str:  # fmt: skip
        """Append a normalisation of every token (`layer`), of the map (`group`: one group), or none.

        `batch`, whose statistics are constants, and `affine` (ResMLP) are folded into a neighbour.
        """
        if kind == "none":
            return self.last
        stored = self.channels * (2.0 if bias else 1.0)
        if kind in ("batch", "affine"):
            shape = {**self._pixels(), "flop_per_element": BATCH_NORM_FLOP}
            op = "norm" if kind == "batch" else "elementwise"
            self.add(name, op, shape, inputs, parameters=stored, fused=True)
        else:
            shape = {**self._pixels(), "flop_per_element": LAYER_NORM_FLOP}
            self.add(name, "norm", shape, inputs, parameters=stored)
        return self.activate(f"{name}.{act}", act) if act else self.last

    def linear(
        self, name: str, n: int, *, bias: bool = True, act: str = "", rows: Size | None = None,
        inputs: Sequence[str] = (), stored: bool = True,
    ) -> str:  # fmt: skip
        """Append a projection of every token (or of `rows`) to `n` features."""
        parameters = float(n * (self.channels + bias)) if stored else 0.0
        m = self.batch * self.tokens if rows is None else rows
        self.add(name, "gemm", {"m": m, "n": n, "k": self.channels}, inputs, parameters=parameters)
        self.channels = n
        return self.activate(f"{name}.{act}", act) if act else self.last

    def attend(
        self, name: str, heads: int, head_dim: int, *, v_dim: int = 0, queries: int = 0, keys: int = 0,
        windows: float = 1.0, inputs: Sequence[str] = (), bias: float = 0.0,
    ) -> str:  # fmt: skip
        """Append attention: `windows` sequences an image of `queries` tokens that see `keys` (0: all tokens).

        `bias` is the size of a learned table that is added to the scores.
        """
        length = queries or self.tokens
        shape = {
            "batch": self.batch * windows, "q_len": length, "kv_len": keys or length, "heads": heads,
            "head_dim": head_dim, "v_dim": v_dim or head_dim, "causal": 0, "phase": "prefill",
        }  # fmt: skip
        self.channels = heads * (v_dim or head_dim)
        return self.add(name, "attention", shape, inputs, parameters=bias)

    def product(self, name: str, batch: float, m: float, n: float, k: float, *, inputs: Sequence[str] = ()) -> str:
        """Append a multiplication of two activations, `batch` an image."""
        return self.add(name, "gemm", {"batch": self.batch * batch, "m": m, "n": n, "k": k}, inputs)

    def mix(self, name: str, n: int, k: int, *, bias: bool = True) -> str:
        """Append a projection across tokens (every channel alike): n tokens from k, one matrix for all images."""
        shape = {"m": self.batch * self.channels, "n": n, "k": k}
        return self.add(name, "gemm", shape, parameters=float(n * (k + bias)))

    def softmax(self, name: str, rows: float, hidden: float) -> str:
        return self.add(name, "softmax", {"rows": self.batch * rows, "hidden": hidden})

    def copy(self, name: str, *, inputs: Sequence[str] = ()) -> str:
        """Append a copy of the map: what windows, shifts and concatenations cost."""
        return self.add(name, "copy", self._pixels(), inputs)

    def multiply(self, name: str, other: str, *, flop: float = 1.0) -> str:
        """Append a product of two maps, element by element: a kernel of its own."""
        return self.add(name, "elementwise", {**self._pixels(), "operands": 2, "flop_per_element": flop},
                        (self.last, other))  # fmt: skip

    def mlp(self, name: str, inner: int, act: str = "gelu", *, bias: bool = True, out: int = 0) -> str:
        """Append two projections with an activation between."""
        width = out or self.channels
        self.linear(f"{name}1", inner, act=act, bias=bias)
        return self.linear(f"{name}2", width, bias=bias)

    def upsample(self, name: str, side: int) -> str:
        """Append bilinear interpolation to `side` x `side`: four reads, weighted, an element."""
        before = self.height * self.width
        self.height = self.width = side
        reads = before / (side * side)
        return self.add(name, "elementwise", {**self._pixels(), "operands": reads, "flop_per_element": 7.0})

    def _pixels(self) -> dict[str, Any]:
        return {"rows": self.batch * self.tokens, "hidden": self.channels}
