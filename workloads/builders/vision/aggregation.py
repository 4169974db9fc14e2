"""Blocks that join the outputs of all their layers once, at the end: VoVNet (Lee et al. 2019), PP-HGNet v1, v2."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import choice, size, sizes, switch
from workloads.builders.vision.layers import ImageNetwork, Layers, Sketch
from workloads.builders.vision.middles import attention_kernel
from workloads.graph import BLOCK_INPUT


@dataclass(frozen=True)
class Aggregation(ImageNetwork):
    """A stem, stages of blocks, a head; every stage but the first halves the map.

    Attributes:
        inner, widths, blocks: channels of a block's layers, of its output, and blocks, one entry a stage.
        layers, kernels, light: layers of a block, their window, and 1 where a layer is a 1x1 and a depthwise
            convolution; one entry a stage.
        stem: 3x3 convolutions (`convs`), or two branches that are joined (`branches`: HGNet v2).
        stem_widths, stem_strides: channels and strides of the stem's convolutions; stem_pool adds a 3x3 maximum.
        separable: layers are a depthwise convolution and a 1x1 one, after a 1x1 one where the block's input is wider.
        down: how the map is halved: 3x3 maximum, or a depthwise convolution.
        aggregate: one 1x1 convolution of all outputs, or two (the first half as wide).
        attention: channel attention after it: one dense layer (`effective`), a 1-D convolution (`efficient`).
        every: attention in every block, not only in the last of a stage.
        residual: blocks but the first of a stage have a shortcut.
        head_width: a dense layer without bias before the classifier (0: none).
        affine: two learned numbers after every activation.
    """

    family: ClassVar[str] = "aggregation"

    inner: tuple[int, ...] = sizes((128, 160, 192, 224), high=100_000)
    widths: tuple[int, ...] = sizes((256, 512, 768, 1024), high=100_000)
    blocks: tuple[int, ...] = sizes((1, 1, 2, 2), high=1000)
    layers: tuple[int, ...] = sizes((5, 5, 5, 5), high=100)
    kernels: tuple[int, ...] = sizes((3, 3, 3, 3), high=99)
    light: tuple[int, ...] = sizes((0, 0, 0, 0), low=0, high=1)
    stem: str = choice("convs", ("convs", "branches"))
    stem_widths: tuple[int, ...] = sizes((64, 64, 128), high=100_000)
    stem_strides: tuple[int, ...] = sizes((2, 1, 2), high=8)
    stem_pool: bool = switch(False)
    separable: bool = switch(False)
    down: str = choice("max", ("max", "depthwise"))
    aggregate: str = choice("one", ("one", "two"))
    attention: str = choice("effective", ("none", "effective", "efficient"))
    every: bool = switch(False)
    residual: bool = switch(True)
    head_width: int = size(0, low=0, high=1_000_000)
    affine: bool = switch(False)

    def check(self) -> None:
        lengths = {
            name: len(getattr(self, name)) for name in ("inner", "widths", "blocks", "layers", "kernels", "light")
        }
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise BadValueError(f"These knobs need one entry a stage each, found: {found}.")
        if self.stem == "convs" and len(self.stem_widths) != len(self.stem_strides):
            raise BadValueError("stem_widths and stem_strides need as many entries.")
        if self.stem == "branches" and len(self.stem_widths) != 2:
            raise BadValueError("stem_widths needs two entries, one inside the branches and one after them.")

    def draw(self, net: Sketch) -> None:
        net.block("stem", self._branches if self.stem == "branches" else self._stem)
        for stage, blocks in enumerate(self.blocks):
            if stage:
                net.block(f"down{stage + 1}", self._down)
            for i in range(blocks):
                net.block(f"stage{stage + 1}.{i}", self._block(stage, i > 0, i == blocks - 1))
        net.block("head", self._head)

    def _stem(self, x: Layers) -> None:
        for i, (width, stride) in enumerate(zip(self.stem_widths, self.stem_strides, strict=True)):
            if self.separable and i:
                self._separable(x, f"conv{i + 1}", width, 3, stride)
            else:
                self._conv(x, f"conv{i + 1}", width, 3, stride=stride)
        if self.stem_pool:
            x.pool("pool", 3, 2, 1)

    def _branches(self, x: Layers) -> None:
        inner, out = self.stem_widths
        self._conv(x, "conv1", inner, 3, stride=2)
        # windows of 2 read one row and one column of zeros more, so that the map keeps its size
        padded = x.here._replace(height=x.height + 1, width=x.width + 1)
        x.back_to(padded)
        self._conv(x, "conv2a", inner // 2, 2, padding=0)
        x.back_to(x.here._replace(height=x.height + 1, width=x.width + 1))
        self._conv(x, "conv2b", inner, 2, padding=0)
        branch = x.here
        x.back_to(padded)
        x.pool("pool", 2, 1, 0)
        x.concat("concat", (x.here, branch))
        self._conv(x, "conv3", inner, 3, stride=2)
        self._conv(x, "conv4", out, 1)

    def _down(self, x: Layers) -> None:
        if self.down == "max":
            x.pool("pool", 3, 2, 0, ceil=True)
        else:
            x.depthwise("depthwise", 3, stride=2)

    def _head(self, x: Layers) -> None:
        x.average()
        if self.head_width:
            x.dense("conv", self.head_width, bias=False, act="relu")
            self._affine(x, "conv")
        x.dense("fc", self.classes, shard="logits")

    def _block(self, stage: int, repeated: bool, last: bool) -> Callable[[Layers], None]:
        def draw(x: Layers) -> None:
            inner, out, parts = self.inner[stage], self.widths[stage], [x.here]
            if self.separable and x.channels != inner:
                self._conv(x, "reduce", inner, 1)
            for i in range(self.layers[stage]):
                if self.separable:
                    self._separable(x, f"layer{i + 1}", inner, self.kernels[stage], 1)
                elif self.light[stage]:
                    x.conv(f"layer{i + 1}.point", inner, 1)
                    self._conv(x, f"layer{i + 1}", inner, self.kernels[stage], groups=inner)
                else:
                    self._conv(x, f"layer{i + 1}", inner, self.kernels[stage])
                parts.append(x.here)
            x.concat("concat", parts)
            if self.aggregate == "two":
                self._conv(x, "squeeze", out // 2, 1)
            self._conv(x, "aggregate", out, 1)
            if self.attention != "none" and (last or self.every):
                self._attend(x)
            if repeated and self.residual:
                x.residual("add", BLOCK_INPUT)

        return draw

    def _attend(self, x: Layers) -> None:
        if self.attention == "efficient":
            x.efficient_attention("eca", attention_kernel(x.channels))
            return
        entry = x.here
        x.average("ese.pool")
        gates = x.dense("ese", entry.channels, act="hard-sigmoid")
        x.back_to(entry)
        x.pointwise("ese.scale", inputs=(entry.name, gates))

    def _separable(self, x: Layers, name: str, width: int, kernel: int, stride: int) -> None:
        x.depthwise(f"{name}.depthwise", kernel, stride=stride, batch_norm=False)
        self._conv(x, name, width, 1)

    def _conv(
        self, x: Layers, name: str, width: int, kernel: int, *, stride: int = 1, groups: int = 1,
        padding: int | None = None,
    ) -> None:  # fmt: skip
        x.conv(name, width, kernel, stride=stride, groups=groups, padding=padding, act="relu")
        self._affine(x, name)

    def _affine(self, x: Layers, name: str) -> None:
        if self.affine:
            x.fused(f"{name}.affine", "elementwise", 2.0, parameters=2.0)
