"""ReXNet (Han et al. 2020): inverted residuals whose channels grow linearly, block by block."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from workloads.builders.knobs import share, size, sizes
from workloads.builders.vision.layers import ACTIVATION_FLOP, ImageNetwork, Layers, Sketch, divisible
from workloads.graph import BLOCK_INPUT


@dataclass(frozen=True)
class ReXNet(ImageNetwork):
    """Block i of n has (`first` + i x `growth` / n) x `width` channels; a shortcut adds to the first of them.

    Attributes:
        depths, strides: blocks and first stride of each stage; the first stage does not expand, the others six-fold.
        squeeze: channel attention from the third stage on, inner over outer width.
        divisor: all channels are multiples of it.
    """

    family: ClassVar[str] = "rexnet"

    depths: tuple[int, ...] = sizes((1, 2, 2, 3, 3, 5), high=1000)
    strides: tuple[int, ...] = sizes((1, 2, 2, 2, 1, 2), high=4)
    width: float = share(1.0, high=100.0, strict=True)
    first: int = size(16, high=100_000)
    growth: int = size(180, high=100_000)
    stem: int = size(32, high=100_000)
    last: int = size(1280, high=100_000)
    squeeze: float = share(1 / 12)
    divisor: int = size(1, high=1024)

    def draw(self, net: Sketch) -> None:
        shrunk = min(1.0, self.width)  # below 1, stem and first block keep their channels
        stem = self._rounded(self.stem / shrunk * self.width)
        net.block("stem", lambda x: x.conv("conv", stem, 3, stride=2, act="silu"))
        channels, step = self.first / shrunk, self.growth / sum(self.depths)
        for stage, (depth, stride) in enumerate(zip(self.depths, self.strides, strict=True)):
            for i in range(depth):
                out = self._rounded(channels * self.width)
                net.block(f"stage{stage + 1}.{i}", partial(self._block, stage, out, 1 if i else stride))
                channels += step
        net.block("head", self._head)

    def _head(self, layers: Layers) -> None:
        layers.conv("conv", divisible(self.last * self.width, self.divisor), 1, act="silu")
        layers.classify(self.classes)

    def _rounded(self, channels: float) -> int:
        return divisible(round(channels), self.divisor)

    def _block(self, stage: int, out: int, stride: int, layers: Layers) -> None:
        entry = layers.channels
        inner = self._rounded(entry * 6) if stage else entry
        if stage:
            layers.conv("expand", inner, 1, act="silu")
        layers.depthwise("depthwise", 3, stride=stride)
        if stage > 1 and self.squeeze:
            reduced = divisible(int(inner * self.squeeze), self.divisor)
            layers.squeeze_excite("se", reduced, norm=True)
        layers.fused("relu6", "elementwise", ACTIVATION_FLOP["relu6"])
        layers.conv("project", out, 1)
        if stride == 1 and entry <= out:
            layers.residual("add", BLOCK_INPUT)
