"""RegNet (Radosavovic et al. 2020; Dollar et al. 2021 for Z): residual blocks whose widths follow a quantised line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from typing import ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import choice, share, size, switch
from workloads.builders.vision.layers import (
    ACTIVATION_FLOP,
    ACTIVATIONS,
    ImageNetwork,
    Layers,
    Point,
    Sketch,
    divisible,
)
from workloads.graph import BLOCK_INPUT


@dataclass(frozen=True)
class RegNet(ImageNetwork):
    """Block j would be w0 + wa x j wide; widths are powers of wm times w0, to eights (section 3.3 of the paper).

    Attributes:
        depth: blocks; those of one width are a stage.
        group: channels of a group of the 3x3 convolutions.
        bottleneck: inner width over outer width (4 for Z).
        squeeze: channel attention, inner width over that of the block's input (0: none; 0.25 for Y, Z).
        group_limit: widths in whole groups are never below this share of the unrounded ones (0: the nearest).
        shortcut: how a shortcut changes the map: by a convolution, after an average, or not at all (Z).
        linear: no activation after the addition (Z).
        early: normalisation and activation stand before the convolutions (V).
        last: channels of a convolution before the classifier (0: none).
    """

    family: ClassVar[str] = "regnet"

    depth: int = size(22, high=1000)
    w0: int = size(96, high=100_000)
    wa: float = share(31.41, high=100_000.0)
    wm: float = share(2.24, low=1.0, high=100.0, strict=True)
    group: int = size(64, high=100_000)
    bottleneck: float = share(1.0, high=16.0, strict=True)
    squeeze: float = share(0.0)
    group_limit: float = share(0.0)
    stem: int = size(32, high=100_000)
    shortcut: str = choice("conv", ("conv", "average", "none"))
    linear: bool = switch(False)
    early: bool = switch(False)
    last: int = size(0, low=0, high=100_000)
    act: str = choice("relu", ACTIVATIONS)

    def check(self) -> None:
        if self.w0 % 8:
            raise BadValueError(f"w0={self.w0} is not a multiple of 8.")

    def stages(self) -> list[tuple[int, int, int]]:
        """Return (width, group, blocks) of each stage."""
        counts: dict[int, int] = {}
        for j in range(self.depth):
            power = round(log((self.w0 + self.wa * j) / self.w0) / log(self.wm))
            width = round(self.w0 * self.wm**power / 8) * 8
            counts[width] = counts.get(width, 0) + 1
        found = []
        for width, blocks in sorted(counts.items()):
            inner = int(width * self.bottleneck)
            group = min(self.group, inner)
            whole = (
                divisible(inner, group, limit=self.group_limit) if self.group_limit else round(inner / group) * group
            )
            found.append((int(whole / self.bottleneck), group, blocks))
        return found

    def draw(self, net: Sketch) -> None:
        act = "" if self.early else self.act
        net.block("stem", lambda x: x.conv("conv", self.stem, 3, stride=2, act=act, batch_norm=not self.early))
        for number, (width, group, blocks) in enumerate(self.stages(), start=1):
            for i in range(blocks):
                net.block(f"stage{number}.{i}", self._block(width, group, 1 if i else 2))
        net.block("head", self._head)

    def _head(self, layers: Layers) -> None:
        if self.early:
            layers.pointwise("act", ACTIVATION_FLOP[self.act])
        elif self.last:
            layers.conv("conv", self.last, 1, act=self.act)
        layers.classify(self.classes)

    def _block(self, width: int, group: int, stride: int) -> Callable[[Layers], None]:
        inner = round(width * self.bottleneck)

        def draw(layers: Layers) -> None:
            source = BLOCK_INPUT
            if self.early:
                source = layers.norm("norm1", "batch", self.act)
            entry = layers.here
            layers.conv("conv1", inner, 1, act=self.act)
            act = "" if self.early else self.act
            layers.conv("conv2", inner, 3, stride=stride, groups=inner // group, act=act, batch_norm=not self.early)
            if self.squeeze:
                layers.squeeze_excite("se", round(entry.channels * self.squeeze), act=self.act)
            if self.early:
                layers.norm("norm3", "batch", self.act)
            layers.conv("conv3", width, 1, batch_norm=not self.early)
            self._add(layers, entry, source, stride)

        return draw

    def _add(self, layers: Layers, entry: Point, source: str, stride: int) -> None:
        branch = layers.here
        if stride > 1 or entry.channels != branch.channels:
            if self.shortcut == "none":
                return
            layers.back_to(entry)
            if self.shortcut == "average" and stride > 1:
                layers.pool("shortcut.pool", 2, 2, 0, ceil=True)
                stride = 1
            source = layers.conv("shortcut", branch.channels, 1, stride=stride, batch_norm=not self.early)
        layers.back_to(branch)
        layers.residual("add", source, act="" if self.linear or self.early else self.act)
