"""Xception (Chollet 2016) in the aligned form of DeepLab v3+ (Chen et al. 2018): modules of three separable layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import size, sizes, switch
from workloads.builders.vision.layers import ACTIVATION_FLOP, ImageNetwork, Layers, Sketch
from workloads.graph import BLOCK_INPUT


@dataclass(frozen=True)
class Xception(ImageNetwork):
    """Two convolutions, an entry flow, equal modules in the middle, two modules at the exit, a classifier.

    Attributes:
        widths, strides: channels and stride of the modules of the entry flow.
        middle: modules of the middle flow, as wide as the last of the entry flow.
        exit: channels of the layers of the exit's modules, three each; the first halves the map, the last has no
            shortcut.
        early: normalisation and activation stand before the convolutions.
    """

    family: ClassVar[str] = "xception"

    widths: tuple[int, ...] = sizes((128, 256, 728), high=100_000)
    strides: tuple[int, ...] = sizes((2, 2, 2), high=8)
    middle: int = size(8, high=1000)
    exit: tuple[int, ...] = sizes((728, 1024, 1024, 1536, 1536, 2048), high=100_000)
    early: bool = switch(False)

    def check(self) -> None:
        if len(self.widths) != len(self.strides):
            raise BadValueError("widths and strides need one entry a module each.")
        if len(self.exit) != 6:
            raise BadValueError(f"exit needs six entries, three for each of two modules, not {len(self.exit)}.")

    def draw(self, net: Sketch) -> None:
        net.block("stem", self._stem)
        for i, (width, stride) in enumerate(zip(self.widths, self.strides, strict=True), start=1):
            net.block(f"entry{i}", partial(self._module, (width,) * 3, stride, True, True))
        for i in range(self.middle):
            net.block(f"middle.{i}", partial(self._module, (self.widths[-1],) * 3, 1, True, True))
        net.block("exit1", partial(self._module, self.exit[:3], 2, True, True))
        net.block("exit2", partial(self._module, self.exit[3:], 1, False, False))
        net.block("head", self._head)

    def _stem(self, layers: Layers) -> None:
        layers.conv("conv1", 32, 3, stride=2, act="relu")
        layers.conv("conv2", 64, 3, act="" if self.early else "relu", batch_norm=not self.early)

    def _head(self, layers: Layers) -> None:
        if self.early:
            layers.pointwise("relu", ACTIVATION_FLOP["relu"])
        layers.classify(self.classes)

    def _module(self, widths: tuple[int, ...], stride: int, shortcut: bool, first: bool, layers: Layers) -> None:
        source = layers.norm("norm", "batch", "relu") if self.early else BLOCK_INPUT
        entry = layers.here
        act = "" if first or self.early else "relu"  # the last module activates after its convolutions
        for i, width in enumerate(widths, start=1):
            if self.early and i > 1:
                layers.norm(f"norm{i}", "batch", "relu")
            elif first and not self.early:
                layers.pointwise(f"relu{i}", ACTIVATION_FLOP["relu"])
            at = stride if i == len(widths) else 1
            layers.depthwise(f"depthwise{i}", 3, stride=at, act=act, batch_norm=not self.early)
            layers.conv(f"point{i}", width, 1, act=act, batch_norm=not self.early)
        if not shortcut:
            return
        branch = layers.here
        if stride > 1 or entry.channels != branch.channels:
            layers.back_to(entry)
            source = layers.conv("shortcut", branch.channels, 1, stride=stride, batch_norm=not self.early)
            layers.back_to(branch)
        layers.residual("add", source)
