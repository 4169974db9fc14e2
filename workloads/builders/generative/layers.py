"""Layers of U-Nets and image autoencoders (Rombach et al. 2022): residual blocks, spatial transformers, resampling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from workloads.builders.vision.layers import Point
from workloads.builders.vision.staged.tokens import Tokens
from workloads.graph import BLOCK_INPUT

MERGE_TARGETS = 0.25
"""Share of tokens that others merge into: one in each 2 x 2 square (Bolya & Hoffman 2023)."""


class Maps(Tokens):
    """A stack of layers over feature maps, with what diffusion networks add to image networks."""

    def next_block(self) -> Maps:
        return Maps(self.batch, self.dtype, self.channels, self.height, self.width)

    def normed(self, name: str) -> str:
        """Append group normalisation with SiLU in its kernel."""
        self.norm(name, "group")
        return self.activate(f"{name}.silu", "silu")

    def filter(self, name: str, c_out: int, kernel: int = 3, *, stride: int = 1) -> str:
        """Append a convolution with bias and nothing fused."""
        return self.conv(name, c_out, kernel, stride=stride, bias=True, batch_norm=False)

    def vector(self, name: str, n: int, k: int, *, source: str = BLOCK_INPUT, act: str = "") -> str:
        """Append a dense layer with bias over one vector an image; the map stays the one that the next layer reads."""
        before = self.last
        shape = {"m": self.batch, "n": n, "k": k}
        made = self.add(name, "gemm", shape, (source,), parameters=float(n * (k + 1)))
        if act:
            flop = {"rows": self.batch, "hidden": n, "flop_per_element": 4.0}
            made = self.add(f"{name}.{act}", "elementwise", flop, (made,), fused=True)
        self.last = before
        return made

    def residual_block(self, name: str, c_out: int, *, time: str = "", time_width: int = 0) -> str:
        """Append two convolutions with group norms, a vector of the time added between, and the shortcut."""
        entry = self.here
        self.normed(f"{name}.norm1")
        mid = self.filter(f"{name}.conv1", c_out)
        if time:
            shift = self.vector(f"{name}.time", c_out, time_width, source=time)
            self.add(f"{name}.shift", "elementwise", self._pixels(), (mid, shift), fused=True)
        self.normed(f"{name}.norm2")
        out = self.filter(f"{name}.conv2", c_out)
        shortcut = entry.name
        if entry.channels != c_out:
            self.back_to(entry)
            shortcut = self.filter(f"{name}.shortcut", c_out, 1)
        self.last = out
        return self.residual(f"{name}.add", shortcut)

    def upsample2(self, name: str) -> str:
        """Append an enlargement to twice the sides (nearest pixel) and a convolution."""
        self.resize(f"{name}.resize", 2)
        return self.filter(f"{name}.conv", self.channels)

    def self_attention(self, name: str, heads: int, *, bias: bool, merged: float = 0.0) -> str:
        """Append attention among all pixels with a bias on the output projection, and the addition of its input.

        `merged`: share of the tokens that are merged before and copied back after (Bolya & Hoffman 2023).
        """
        width, entry, rows = self.channels, self.last, self.tokens
        self.norm(f"{name}.norm")
        tokens = rows - round(rows * merged)
        if merged:
            self._match(name, tokens)
        self.linear(f"{name}.qkv", 3 * width, bias=bias, rows=self.batch * tokens)
        self.attend(f"{name}.attention", heads, width // heads, queries=tokens)
        self.linear(f"{name}.o", width, rows=self.batch * tokens)
        if merged:
            self.copy(f"{name}.unmerge")
        return self.residual(f"{name}.add", entry)

    def _match(self, name: str, kept: int) -> None:
        """Append the similarities of tokens with those that they may merge into, and the gathering of what is kept."""
        normed, targets = self.last, round(self.tokens * MERGE_TARGETS)
        scores = self.product(
            f"{name}.match", 1, self.tokens - targets, targets, self.channels, inputs=(normed,)
        )  # fmt: skip
        shape = {"rows": self.batch * kept, "hidden": self.channels, "operands": self.tokens / kept}
        self.add(f"{name}.merge", "elementwise", shape, (normed, scores))

    def spatial_transformer(
        self, name: str, depth: int, heads: int, text_width: int, text_tokens: int, *, merged: float = 0.0
    ) -> None:  # fmt: skip
        """Append `depth` transformer layers over the pixels: self and cross attention, gated GELU."""
        width, entry = self.channels, self.last
        self.norm(f"{name}.norm", "group")
        self.linear(f"{name}.in", width)
        for layer in range(depth):
            own = f"{name}.{layer}"
            self.self_attention(f"{own}.self", heads, bias=False, merged=merged)
            self._cross_attention(f"{own}.cross", heads, text_width, text_tokens)
            self._gated(f"{own}.mlp")
        self.linear(f"{name}.out", width)
        self.residual(f"{name}.add", entry)

    def _cross_attention(self, name: str, heads: int, text_width: int, text_tokens: int) -> None:
        width, entry = self.channels, self.last
        self.norm(f"{name}.norm")
        query = self.linear(f"{name}.q", width, bias=False)
        shape = {"m": self.batch * text_tokens, "n": 2 * width, "k": text_width}
        keys = self.add(f"{name}.kv", "gemm", shape, (BLOCK_INPUT,), parameters=2.0 * width * text_width)
        self.attend(f"{name}.attention", heads, width // heads, keys=text_tokens, inputs=(query, keys))
        self.linear(f"{name}.o", width)
        self.residual(f"{name}.add", entry)

    def _gated(self, name: str) -> None:
        width, entry = self.channels, self.last
        self.norm(f"{name}.norm")
        self.linear(f"{name}.up", 8 * width)
        self.channels = 4 * width
        shape = {**self._pixels(), "operands": 2, "flop_per_element": 9.0}  # GELU of one half times the other
        self.add(f"{name}.gate", "elementwise", shape)
        self.linear(f"{name}.down", width)
        self.residual(f"{name}.add", entry)

    def join(self, name: str, points: Sequence[Point], *, kept: bool) -> str:
        """Append the joining of maps; `kept`: the first of them stays in memory between steps."""
        made = self.concat(name, points)
        if kept:
            first = points[0]
            self.operators[-1] = replace(
                self.operators[-1], state_elements=float(first.channels * first.height * first.width)
            )
        return made
