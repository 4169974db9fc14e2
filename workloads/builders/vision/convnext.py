"""ConvNeXt v1 (Liu et al. 2022) and v2 (Woo et al. 2023): large depthwise windows, then a dense layer out and back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import choice, size, sizes, switch
from workloads.builders.vision.layers import ImageNetwork, Layers, Sketch, divisible
from workloads.graph import BLOCK_INPUT

RESPONSE_NORM_FLOP = 6.0
"""Global response normalisation an element: square, add; then divide, multiply, scale, shift."""


@dataclass(frozen=True)
class ConvNext(ImageNetwork):
    """A stem, stages of blocks with a 2x2 convolution between them, and a head.

    Attributes:
        depths, widths: blocks and channels of each stage.
        kernel, expansion: window of the depthwise convolution; inner over outer width.
        stem: one `patch` x `patch` convolution, or two 3x3 ones of stride 2 (the first of `tiered` half as wide).
        layer_scale: a learned factor a channel on the branch (v1).
        response_norm: global response normalisation in the middle (v2).
        norm: `layer`, or `rms` (a scale and no shift).
        head_width: a dense layer before the classifier (0: none).
    """

    family: ClassVar[str] = "convnext"

    depths: tuple[int, ...] = sizes((3, 3, 9, 3), high=1000)
    widths: tuple[int, ...] = sizes((96, 192, 384, 768), high=100_000)
    kernel: int = size(7, high=99)
    expansion: int = size(4, high=64)
    stem: str = choice("patch", ("patch", "overlap", "tiered"))
    patch: int = size(4, high=1000)
    layer_scale: bool = switch(True)
    response_norm: bool = switch(False)
    norm: str = choice("layer", ("layer", "rms"))
    head_width: int = size(0, low=0, high=1_000_000)

    def check(self) -> None:
        if len(self.depths) != len(self.widths):
            raise BadValueError(
                f"depths and widths need one entry a stage each, found: {len(self.depths)}, {len(self.widths)}."
            )

    def draw(self, net: Sketch) -> None:
        net.block("stem", self._stem)
        for number, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            if number > 1:
                net.block(f"down{number}", partial(self._down, width))
            for i in range(depth):
                net.block(f"stage{number}.{i}", self._block)
        net.block("head", self._head)

    def _stem(self, layers: Layers) -> None:
        width = self.widths[0]
        if self.stem == "patch":
            layers.conv("patch", width, self.patch, stride=self.patch, padding=0, bias=True, batch_norm=False)
        else:
            first = width if self.stem == "overlap" else divisible(width // 2)
            layers.conv("conv1", first, 3, stride=2, bias=True, batch_norm=False)
            layers.conv("conv2", width, 3, stride=2, bias=True, batch_norm=False)
        layers.norm("norm", self.norm)

    def _down(self, width: int, layers: Layers) -> None:
        layers.norm("norm", self.norm)
        layers.conv("conv", width, 2, stride=2, padding=0, bias=True, batch_norm=False)

    def _block(self, layers: Layers) -> None:
        width = layers.channels
        layers.depthwise("depthwise", self.kernel, bias=True, batch_norm=False)
        layers.norm("norm", self.norm)
        layers.dense("up", width * self.expansion, act="gelu")
        if self.response_norm:
            layers.pointwise("response", RESPONSE_NORM_FLOP, parameters=2.0 * layers.channels)
        layers.dense("down", width)
        layers.residual("add", BLOCK_INPUT, parameters=float(width * self.layer_scale))

    def _head(self, layers: Layers) -> None:
        layers.average()
        layers.norm("norm", self.norm)
        if self.head_width:
            layers.dense("hidden", self.head_width, act="gelu")
        layers.dense("fc", self.classes, shard="logits")
