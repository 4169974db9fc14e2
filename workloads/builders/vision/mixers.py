"""Stages of blocks that mix pixels by a cheap convolution and channels by dense layers, beside ConvNeXt.

InceptionNeXt (Yu et al. 2023), MambaOut (Yu and Wang 2024), StarNet (Ma et al. 2024), FasterNet (Chen et al. 2023),
ConvMixer (Trockman and Kolter 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import choice, share, size, sizes, switch
from workloads.builders.vision.layers import ACTIVATION_FLOP, ACTIVATIONS, ImageNetwork, Layers, Point, Sketch
from workloads.graph import BLOCK_INPUT


@dataclass(frozen=True)
class ConvMixers(ImageNetwork):
    """A stem, stages of one kind of block, a transition before each stage but the first, a head.

    Attributes:
        mixer: the kind of block (see the functions below).
        depths, widths, expansions: blocks, channels, and inner over outer width of each stage.
        kernel, portion: window of the convolution, and the share of the channels that it works on (of each of three
            branches for `inception`).
        stem: one `patch` x `patch` convolution, or two 3x3 ones of stride 2 (the first half as wide, `stem_norm`
            after it), or one of `stem_width` channels (a transition then stands before the first stage too).
        down: window of the transition, and whether the normalisation stands `first` or last.
        norm: `batch` or `layer`.
        head: `plain`; `norm` before the pool; `conv`: a dense layer of `head_width` without bias, activated; `mlp`: a
            dense layer between, of the same, before (`norm-mlp`), after (`mlp-norm`) or between (`norm-mlp-norm`).
    """

    family: ClassVar[str] = "conv-mixers"

    mixer: str = choice("gated", ("inception", "gated", "star", "partial", "isotropic"))
    depths: tuple[int, ...] = sizes((3, 3, 9, 3), high=1000)
    widths: tuple[int, ...] = sizes((96, 192, 384, 576), high=100_000)
    expansion: float = share(4.0, high=64.0, strict=True)
    last_expansion: float = share(0.0, high=64.0)
    kernel: int = size(7, high=99)
    portion: float = share(1.0, high=16.0, strict=True)
    stem: str = choice("patch", ("patch", "overlap", "conv"))
    patch: int = size(4, high=1000)
    stem_width: int = size(32, high=100_000)
    stem_norm: bool = switch(True)
    down_kernel: int = size(3, high=99)
    down_norm: str = choice("last", ("first", "last"))
    bias: bool = switch(True)
    layer_scale: bool = switch(False)
    norm: str = choice("layer", ("batch", "layer"))
    head: str = choice("plain", ("plain", "norm", "conv", "norm-mlp", "mlp-norm", "norm-mlp-norm"))
    head_width: int = size(1280, high=1_000_000)
    act: str = choice("gelu", ACTIVATIONS)

    def check(self) -> None:
        if len(self.depths) != len(self.widths):
            raise BadValueError(
                f"depths and widths need one entry a stage each, found: {len(self.depths)}, {len(self.widths)}."
            )

    def draw(self, net: Sketch) -> None:
        net.block("stem", self._stem)
        last = len(self.depths) - 1
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            if stage or self.stem == "conv":
                net.block(f"down{stage + 1}", partial(self._down, width))
            ratio = self.last_expansion if stage == last and self.last_expansion else self.expansion
            for i in range(depth):
                net.block(f"stage{stage + 1}.{i}", partial(_BLOCKS[self.mixer], self, ratio))
        net.block("head", self._head)

    def conv(self, layers: Layers, name: str, width: int, kernel: int, stride: int, act: str = "") -> None:
        """Append a convolution with the network's normalisation after it; windows of even size do not overlap."""
        padding = kernel // 2 if kernel % 2 else 0
        batch = self.norm == "batch"
        layers.conv(name, width, kernel, stride=stride, padding=padding, bias=self.bias, batch_norm=batch, act="")
        if not batch:
            layers.norm(f"{name}.norm", self.norm)
        if act:
            layers.fused(f"{name}.{act}", "elementwise", ACTIVATION_FLOP[act])

    def _stem(self, layers: Layers) -> None:
        width = self.widths[0]
        if self.mixer == "isotropic":
            layers.conv(
                "patch", width, self.patch, stride=self.patch, padding=0, bias=1, batch_norm=False, act=self.act
            )
            layers.fused("patch.norm", "norm", 2.0, parameters=2.0 * width)
        elif self.stem == "patch":
            layers.conv(
                "patch",
                width,
                self.patch,
                stride=self.patch,
                padding=0,
                bias=self.bias,
                batch_norm=self.norm == "batch",
            )
            if self.norm == "layer":
                layers.norm("norm", self.norm)
        elif self.stem == "conv":
            self.conv(layers, "conv", self.stem_width, 3, 2, self.act)
        else:
            if self.stem_norm:
                self.conv(layers, "conv1", width // 2, 3, 2, self.act)
            else:
                layers.conv("conv1", width // 2, 3, stride=2, bias=self.bias, batch_norm=False, act=self.act)
            self.conv(layers, "conv2", width, 3, 2)

    def _down(self, width: int, layers: Layers) -> None:
        if self.down_norm == "last":
            self.conv(layers, "conv", width, self.down_kernel, 2)
            return
        layers.norm("norm", self.norm)
        padding = self.down_kernel // 2 if self.down_kernel % 2 else 0
        layers.conv("conv", width, self.down_kernel, stride=2, padding=padding, bias=self.bias, batch_norm=False)

    def _head(self, layers: Layers) -> None:
        if self.head == "norm":
            layers.norm("norm", self.norm)
        layers.average()
        if self.head == "conv":
            layers.dense("conv", self.head_width, bias=False, act=self.act)
        elif "mlp" in self.head:
            if self.head.startswith("norm"):
                layers.norm("norm", "layer")
            layers.dense("hidden", self.head_width, act=self.act)
            if self.head.endswith("norm"):
                layers.norm("norm2", "layer")
        layers.dense("fc", self.classes, shard="logits")


def inception(net: ConvMixers, ratio: float, layers: Layers) -> None:
    """Append a block of InceptionNeXt: a 3x3, a 1xk and a kx1 window on a share of the channels each (section 3.2)."""
    entry = layers.here
    share = int(entry.channels * net.portion)
    parts = [entry._replace(channels=entry.channels - 3 * share)]
    for name, kernel in (("square", (3, 3)), ("wide", (1, net.kernel)), ("high", (net.kernel, 1))):
        layers.back_to(entry._replace(channels=share))
        layers.conv(name, share, kernel, groups=share, bias=1, batch_norm=False)
        parts.append(layers.here)
    layers.concat("concat", parts)
    layers.norm("norm", net.norm)
    layers.dense("up", int(entry.channels * ratio), act=net.act)
    layers.dense("down", entry.channels)
    layers.residual("add", BLOCK_INPUT, parameters=float(entry.channels * net.layer_scale))


def gated(net: ConvMixers, ratio: float, layers: Layers) -> None:
    """Append a block of MambaOut: a gated dense layer, some of whose channels are convolved (section 3)."""
    entry = layers.here
    hidden, convolved = int(ratio * entry.channels), int(net.portion * entry.channels)
    layers.norm("norm", "layer")
    layers.dense("in", 2 * hidden)
    both = layers.here
    layers.back_to(both._replace(channels=convolved))
    layers.depthwise("conv", net.kernel, bias=1, batch_norm=False)
    mixed = layers.last
    layers.back_to(both._replace(channels=hidden))
    layers.pointwise("gate", 1.0 + ACTIVATION_FLOP[net.act], inputs=(both.name, mixed))
    layers.dense("out", entry.channels)
    layers.residual("add", BLOCK_INPUT, parameters=float(entry.channels * net.layer_scale))


def star(net: ConvMixers, ratio: float, layers: Layers) -> None:
    """Append a block of StarNet: two dense layers multiplied, between two depthwise convolutions (figure 4)."""
    width = layers.channels
    layers.depthwise("conv1", net.kernel, bias=1)
    entry, branches = layers.here, []
    for name, act in (("first", net.act), ("second", "")):
        layers.back_to(entry)
        layers.dense(name, int(width * ratio), act=act)
        branches.append(layers.last)
    layers.pointwise("multiply", inputs=branches)
    layers.dense("out", width, batch_norm=True)
    layers.depthwise("conv2", net.kernel, bias=1, batch_norm=False)
    layers.residual("add", BLOCK_INPUT)


def partly(net: ConvMixers, ratio: float, layers: Layers) -> None:
    """Append a block of FasterNet: a full 3x3 convolution on a share of the channels, two dense layers (figure 4)."""
    entry: Point = layers.here
    convolved = int(entry.channels * net.portion)
    layers.take(convolved)
    layers.conv("conv", convolved, net.kernel, batch_norm=False)
    layers.concat("concat", (layers.here, entry._replace(channels=entry.channels - convolved)))
    layers.dense("up", int(entry.channels * ratio), bias=False, batch_norm=True, act=net.act)
    layers.dense("down", entry.channels, bias=False)
    layers.residual("add", BLOCK_INPUT)


def isotropic(net: ConvMixers, _: float, layers: Layers) -> None:
    """Append a block of ConvMixer: a depthwise convolution with a shortcut, then a dense layer (figure 2)."""
    width = layers.channels
    layers.depthwise("conv", net.kernel, bias=1, batch_norm=False, act=net.act)
    layers.fused("conv.norm", "norm", 2.0, parameters=2.0 * width)
    layers.residual("add", BLOCK_INPUT)
    layers.dense("dense", width, act=net.act)
    layers.fused("dense.norm", "norm", 2.0, parameters=2.0 * width)


_BLOCKS: Mapping[str, Callable[[ConvMixers, float, Layers], None]] = {
    "inception": inception, "gated": gated, "star": star, "partial": partly, "isotropic": isotropic,
}  # fmt: skip
