"""Darknet (Redmon and Farhadi 2018) and cross-stage partial networks (Wang et al. 2019), whose stages split in two."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import choice, share, size, sizes, switch
from workloads.builders.vision.layers import ACTIVATIONS, ImageNetwork, Layers, Sketch, divisible


@dataclass(frozen=True)
class CrossStage(ImageNetwork):
    """A stem, stages that begin with a convolution that halves the map, and a classifier.

    Attributes:
        stage: `dark` (blocks only), `csp` (half of the channels passes by the blocks), `cs3` (the same with one
            transition less).
        block: `dark` (1x1, 3x3), `edge` (3x3, 1x1), `bottle` (1x1, 3x3, 1x1).
        depths, widths: blocks and output channels of each stage.
        groups, block_percent, inner_percent, expand_percent: groups of the 3x3 convolutions, width of a block's output
            in percent of the stage's, inside it of the block's, and before the split of the stage's; one entry a stage
            or one for all.
        first_stride: stride of the first stage (all others halve the map).
        stem_widths, stem_kernel, stem_padding, stem_stride: the stem's convolutions (padding -1: the map keeps its
            size); stride 2 of the first, of 4 with a 3x3 maximum.
        average: stages shrink by an average and a 1x1 convolution.
        wide_down: the convolution that shrinks has the stage's output channels, not those of its input.
        linear: no activation before the split.
        squeeze: channel attention inside the blocks, inner over outer width (0: none).
    """

    family: ClassVar[str] = "csp"

    stage: str = choice("dark", ("dark", "csp", "cs3"))
    block: str = choice("dark", ("dark", "edge", "bottle"))
    depths: tuple[int, ...] = sizes((1, 2, 8, 8, 4), high=1000)
    widths: tuple[int, ...] = sizes((64, 128, 256, 512, 1024), high=100_000)
    groups: tuple[int, ...] = sizes((1,), high=100_000)
    block_percent: tuple[int, ...] = sizes((100,), high=1000)
    inner_percent: tuple[int, ...] = sizes((50,), high=1000)
    expand_percent: tuple[int, ...] = sizes((100,), high=1000)
    first_stride: int = size(2, high=8)
    stem_widths: tuple[int, ...] = sizes((32,), high=100_000)
    stem_kernel: int = size(3, high=99)
    stem_padding: int = size(-1, low=-1, high=99)
    stem_stride: int = size(1, high=4)
    average: bool = switch(False)
    wide_down: bool = switch(False)
    linear: bool = switch(False)
    squeeze: float = share(0.0)
    act: str = choice("leaky", ACTIVATIONS)

    def check(self) -> None:
        for name in ("depths", "groups", "block_percent", "inner_percent", "expand_percent"):
            if len(getattr(self, name)) not in (len(self.widths), *([1] if name != "depths" else [])):
                raise BadValueError(f"{name} needs one entry a stage ({len(self.widths)}).")

    def draw(self, net: Sketch) -> None:
        net.block("stem", self._stem)
        for number, depth in enumerate(self.depths):
            net.block(f"down{number + 1}", partial(self._down, number))
            if self.stage == "dark":
                for i in range(depth):
                    net.block(f"stage{number + 1}.{i}", partial(self._block, number, ""))
            else:
                net.block(f"stage{number + 1}", partial(self._cross, number, depth))
        net.block("head", lambda x: x.classify(self.classes))

    def _of(self, knob: tuple[int, ...], number: int) -> int:
        return knob[number] if len(knob) > 1 else knob[0]

    def _stem(self, x: Layers) -> None:
        for i, width in enumerate(self.stem_widths):
            padding = self.stem_padding if self.stem_padding >= 0 and not i else None
            stride = 2 if self.stem_stride > 1 and not i else 1
            x.conv(f"conv{i + 1}", width, self.stem_kernel, stride=stride, padding=padding, act=self.act)
        if self.stem_stride > 2:
            x.pool("pool", 3, 2, 1)

    def _down(self, number: int, x: Layers) -> None:
        stride = 2 if number else self.first_stride
        groups = self._of(self.groups, number)
        if self.average:
            x.pool("average", stride, stride, 0)
            x.conv("conv", self.widths[number], 1, groups=groups, act=self.act)
        elif stride > 1:
            width = self.widths[number] if self.wide_down or self.stage == "dark" else x.channels
            x.conv("conv", width, 3, stride=stride, groups=groups, act=self.act)
        if self.stage != "dark":
            expanded = self.widths[number] * self._of(self.expand_percent, number) // 100
            x.conv("expand", expanded, 1, act="" if self.linear else self.act)

    def _cross(self, number: int, depth: int, x: Layers) -> None:
        half = x.here._replace(channels=x.channels // 2)
        x.back_to(half)
        for i in range(depth):
            self._block(number, f"{i}.", x)
        if self.stage == "csp":
            x.conv("transition", half.channels, 1, act=self.act)
        x.concat("concat", (half, x.here))
        x.conv("out", self.widths[number], 1, act=self.act)

    def _block(self, number: int, prefix: str, x: Layers) -> None:
        out = self.widths[number] * self._of(self.block_percent, number) // 100
        inner = round(out * self._of(self.inner_percent, number) / 100)
        groups, entry = self._of(self.groups, number), x.here
        first, second = (3, 1) if self.block == "edge" else (1, 3)
        x.conv(f"{prefix}conv1", inner, first, groups=groups if first == 3 else 1, act=self.act)
        if self.block == "bottle":
            x.conv(f"{prefix}conv2", inner, 3, groups=groups, act=self.act)
            self._attend(prefix, x)
            x.conv(f"{prefix}conv3", out, 1)
        else:
            self._attend(prefix, x)
            x.conv(f"{prefix}conv2", out, second, groups=groups if second == 3 else 1, act=self.act)
        x.residual(f"{prefix}add", entry.name, act=self.act if self.block == "bottle" else "")

    def _attend(self, prefix: str, x: Layers) -> None:
        if self.squeeze:
            x.squeeze_excite(f"{prefix}se", divisible(x.channels * self.squeeze, limit=0.0), act=self.act)
