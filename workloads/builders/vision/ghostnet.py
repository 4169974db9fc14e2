"""GhostNet v1 (Han et al. 2019), v2 (Tang et al. 2022) and RepGhost: cheap depthwise convolutions make the channels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import share, size, sizes, switch
from workloads.builders.vision.layers import ACTIVATION_FLOP, ImageNetwork, Layers, Point, Sketch, divisible
from workloads.graph import BLOCK_INPUT


@dataclass(frozen=True)
class GhostNet(ImageNetwork):
    """A stem, ghost bottlenecks, a last convolution and a dense layer before the classifier.

    Attributes:
        kernels, inner, widths, squeezed, strides: window of the depthwise convolution, expanded and output channels,
            1 where there is channel attention (a quarter as wide), and stride; one entry a block.
        width: multiplier of all channels, rounded to fours.
        far: long-range attention by rows and columns beside the first ghost module (v2), from the third block on.
        merged: a module's depthwise convolution makes all channels and takes in the parallel branch that it was
            trained with (RepGhost, Chen et al. 2022, section 3); nothing is joined.
        last_expansion: channels of the last convolution over the inner ones of the last block.
    """

    family: ClassVar[str] = "ghostnet"

    kernels: tuple[int, ...] = sizes((3, 3, 3, 5, 5, 3, 3, 3, 3, 3, 3, 5, 5, 5, 5, 5), high=99)
    inner: tuple[int, ...] = sizes(
        (16, 48, 72, 72, 120, 240, 200, 184, 184, 480, 672, 672, 960, 960, 960, 960), high=100_000
    )
    widths: tuple[int, ...] = sizes(
        (16, 24, 24, 40, 40, 80, 80, 80, 80, 112, 112, 160, 160, 160, 160, 160), high=100_000
    )
    squeezed: tuple[int, ...] = sizes((0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1, 0, 1, 0, 1), low=0, high=1)
    strides: tuple[int, ...] = sizes((1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1), high=4)
    width: float = share(1.0, high=100.0, strict=True)
    stem: int = size(16, high=100_000)
    last: int = size(1280, high=100_000)
    far: bool = switch(False)
    merged: bool = switch(False)
    last_expansion: int = size(1, high=64)

    def check(self) -> None:
        names = ("kernels", "inner", "widths", "squeezed", "strides")
        if len({len(getattr(self, name)) for name in names}) > 1:
            raise BadValueError(f"{', '.join(names)} need one entry a block each.")

    def draw(self, net: Sketch) -> None:
        net.block("stem", lambda x: x.conv("conv", self._scaled(self.stem), 3, stride=2, act="relu"))
        for i in range(len(self.widths)):
            net.block(f"block{i + 1}", partial(self._block, i))
        net.block("head", self._head)

    def _head(self, layers: Layers) -> None:
        layers.conv("conv", self._scaled(self.inner[-1] * self.last_expansion), 1, act="relu")
        layers.average()
        layers.dense("dense", self.last, act="relu")
        layers.dense("fc", self.classes, shard="logits")

    def _block(self, i: int, layers: Layers) -> None:
        entry, stride, kernel = layers.here, self.strides[i], self.kernels[i]
        inner, out = self._scaled(self.inner[i]), self._scaled(self.widths[i])
        module = merged_ghost if self.merged else ghost
        module(layers, "ghost1", inner, "relu")
        if self.far and i > 1:
            attend_far(layers, entry, inner)
        if stride > 1:
            layers.depthwise("depthwise", kernel, stride=stride)
        if self.squeezed[i]:
            layers.squeeze_excite("se", divisible(inner / 4, 4), gate="hard-sigmoid")
        module(layers, "ghost2", out, "")
        shortcut = BLOCK_INPUT
        if stride > 1 or entry.channels != out:
            branch = layers.here
            layers.back_to(entry)
            layers.depthwise("shortcut.depthwise", kernel, stride=stride)
            shortcut = layers.conv("shortcut", out, 1)
            layers.back_to(branch)
        layers.residual("add", shortcut)

    def _scaled(self, channels: int) -> int:
        return divisible(channels * self.width, 4)


def ghost(layers: Layers, name: str, out: int, act: str) -> None:
    """Append a ghost module: a 1x1 convolution for half of the channels, a depthwise one of it for the others."""
    half = -(-out // 2)
    layers.conv(f"{name}.primary", half, 1, act=act)
    primary = layers.here
    layers.depthwise(f"{name}.cheap", 3, act=act)
    layers.concat(f"{name}.concat", (primary, layers.here))
    layers.take(out)


def merged_ghost(layers: Layers, name: str, out: int, act: str) -> None:
    """Append a module of RepGhost: a 1x1 convolution, then a depthwise one with the identity merged into it."""
    layers.conv(f"{name}.primary", out, 1, act=act)
    layers.depthwise(f"{name}.cheap", 3, act=act, bias=1, batch_norm=False)


def attend_far(layers: Layers, entry: Point, channels: int) -> None:
    """Append the decoupled attention of v2 (section 3.2): at half size, a 1x5 and a 5x1 window; a gate on the map."""
    made = layers.here
    layers.back_to(entry)
    layers.pool("far.pool", 2, 2, 0)
    layers.conv("far.conv", channels, 1)
    layers.conv("far.wide", channels, (1, 5), groups=channels)
    layers.conv("far.high", channels, (5, 1), groups=channels)
    gates = layers.fused("far.sigmoid", "elementwise", ACTIVATION_FLOP["sigmoid"])
    layers.back_to(made)
    layers.pointwise("far.scale", inputs=(made.name, gates))  # each gate serves 2 x 2 pixels
