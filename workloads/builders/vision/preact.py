"""Residual networks that normalise before they convolve (He et al. 2016; BiT), or not at all (NFNet).

Standardised weights (BiT, NFNet) are constants at inference: they cost nothing there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import choice, share, size, sizes, switch
from workloads.builders.vision.layers import ACTIVATION_FLOP, ACTIVATIONS, ImageNetwork, Layers, Sketch, divisible
from workloads.builders.vision.middles import attention_kernel
from workloads.graph import BLOCK_INPUT


@dataclass(frozen=True)
class PreActivation(ImageNetwork):
    """A stem without a last activation, stages of residual blocks, a last normalisation, a classifier.

    Attributes:
        depths, widths: blocks and output channels of each stage; every stage but a first one after a stem of stride 4
            halves the map.
        bottleneck: inner over outer width (over the block's input with `inner_of` input; 1 in the first block then).
        group: channels of a group of the 3x3 convolutions (0: one group).
        extra: a second 3x3 convolution.
        stem_widths, stem_strides, stem_kernel: convolutions of the stem; stem_pool adds a 3x3 maximum of stride 2.
        norm: `batch`, `group`, or `none`: every filter then has a gain and a bias (scaled weight standardisation).
        shortcut: how a shortcut changes the map: by a convolution, or after an average.
        attention, ratio: channel attention (inner over outer width); before the last convolution with `inner_of` input.
        gain: one learned factor a block.
        last: channels of a convolution before the classifier (0: none).
    """

    family: ClassVar[str] = "preact"

    block: str = choice("bottleneck", ("bottleneck", "basic"))
    depths: tuple[int, ...] = sizes((3, 4, 6, 3), high=1000)
    widths: tuple[int, ...] = sizes((256, 512, 1024, 2048), high=100_000)
    bottleneck: float = share(0.25, high=16.0, strict=True)
    inner_of: str = choice("output", ("output", "input"))
    group: int = size(0, low=0, high=100_000)
    extra: bool = switch(False)
    stem_widths: tuple[int, ...] = sizes((64,), high=100_000)
    stem_strides: tuple[int, ...] = sizes((2,), high=8)
    stem_kernel: int = size(7, high=99)
    stem_pool: bool = switch(True)
    norm: str = choice("batch", ("batch", "group", "none"))
    shortcut: str = choice("conv", ("conv", "average"))
    attention: str = choice("none", ("none", "squeeze", "efficient"))
    ratio: float = share(0.5, strict=True)
    gain: bool = switch(False)
    last: int = size(0, low=0, high=100_000)
    act: str = choice("relu", ACTIVATIONS)

    def check(self) -> None:
        for one, other in (("depths", "widths"), ("stem_widths", "stem_strides")):
            lengths = len(getattr(self, one)), len(getattr(self, other))
            if lengths[0] != lengths[1]:
                raise BadValueError(f"{one} and {other} need as many entries, found: {lengths[0]}, {lengths[1]}.")

    def draw(self, net: Sketch) -> None:
        net.block("stem", self._stem)
        shrunk = self.stem_pool or self.stem_strides.count(2) > 1
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            for i in range(depth):
                stride = 1 if i or (not stage and shrunk) else 2
                net.block(f"stage{stage + 1}.{i}", self._block(width, stride, i == 0, not stage and not i))
        net.block("head", self._head)

    def _stem(self, layers: Layers) -> None:
        last = len(self.stem_widths) - 1
        for i, (width, stride) in enumerate(zip(self.stem_widths, self.stem_strides, strict=True)):
            self._conv(layers, f"conv{i + 1}", width, self.stem_kernel, stride=stride)
            if i < last:
                self._activate(layers, f"norm{i + 1}")
        if self.stem_pool:
            layers.pool("pool", 3, 2, 1)

    def _head(self, layers: Layers) -> None:
        if self.last:
            self._conv(layers, "conv", self.last, 1)
        self._activate(layers, "norm")
        layers.classify(self.classes)

    def _block(self, width: int, stride: int, first: bool, opening: bool) -> Callable[[Layers], None]:
        def draw(layers: Layers) -> None:
            channels = layers.channels
            early = self.inner_of == "input"
            ratio = 1.0 if early and opening else self.bottleneck
            inner = divisible((channels if early else width) * ratio)
            groups = inner // self.group if self.group else 1
            if self.group:
                inner = self.group * groups
            self._activate(layers, "norm1")
            entry, source = layers.here, BLOCK_INPUT
            needed = channels != width or stride > 1
            if needed or (first and self.norm != "none" and self.block == "bottleneck"):
                if self.shortcut == "average" and stride > 1:
                    layers.pool("shortcut.pool", 2, 2, 0, ceil=True)
                    self._conv(layers, "shortcut", width, 1)
                else:
                    self._conv(layers, "shortcut", width, 1, stride=stride)
                source = layers.last
                layers.back_to(entry)
            if self.block == "basic":
                self._conv(layers, "conv1", width, 3, stride=stride)
                self._activate(layers, "norm2")
                self._conv(layers, "conv2", width, 3)
            else:
                self._bottleneck(layers, inner, width, stride, groups)
            layers.residual("add", source, parameters=float(self.gain))

        return draw

    def _bottleneck(self, layers: Layers, inner: int, width: int, stride: int, groups: int) -> None:
        self._conv(layers, "conv1", inner, 1)
        self._activate(layers, "norm2")
        self._conv(layers, "conv2", inner, 3, stride=stride, groups=groups)
        if self.extra:
            self._activate(layers, "norm2b")
            self._conv(layers, "conv2b", inner, 3, groups=groups)
        if self.inner_of == "input":
            self._attend(layers)
        self._activate(layers, "norm3")
        self._conv(layers, "conv3", width, 1)
        if self.inner_of == "output":
            self._attend(layers)

    def _attend(self, layers: Layers) -> None:
        if self.attention == "squeeze":
            layers.squeeze_excite("se", divisible(layers.channels * self.ratio, limit=0.0))
        elif self.attention == "efficient":
            layers.efficient_attention("eca", attention_kernel(layers.channels))

    def _conv(self, layers: Layers, name: str, width: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        own = 2 if self.norm == "none" else 0
        layers.conv(name, width, kernel, stride=stride, groups=groups, bias=own, batch_norm=False)

    def _activate(self, layers: Layers, name: str) -> None:
        """Append what stands before a convolution: a normalisation and an activation, in one kernel."""
        if self.norm == "none":
            layers.pointwise(name, ACTIVATION_FLOP[self.act])
        else:
            layers.norm(name, self.norm, self.act)
