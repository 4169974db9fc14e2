"""Residual networks (He et al. 2015) and what grew from them: grouped, wide, with attention, other stems and shortcuts.

The stride of a bottleneck stands in its 3x3 convolution ("v1.5"), as in torchvision, timm and NVIDIA's, unless
`stride_first`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import choice, share, size, sizes, switch
from workloads.builders.vision.layers import ImageNetwork, Layers, Sketch, divisible
from workloads.builders.vision.middles import MIDDLES, attention_kernel, selective, split_attention, splits
from workloads.graph import BLOCK_INPUT


@dataclass(frozen=True)
class ResNet(ImageNetwork):
    """A stem, stages of residual blocks with one width each, and a classifier.

    Attributes:
        depths: residual blocks of each stage; the map is halved between stages, the width doubled.
        width: channels of the first stage.
        groups, group_width: a bottleneck's 3x3 convolution has width x group_width / 64 x groups channels.
        reduce: what the width of the first convolution of a bottleneck is divided by.
        kernel, stem_kernel: window of the 3x3 convolutions and of the stem.
        stem_widths: channels of the stem's convolutions, the first of stride 2 (0: one convolution of `width`).
        stem_pool: a 3x3 maximum, or a convolution in its place.
        pool_shortcut: shortcuts that shrink the map do so by an average before their convolution ("-D").
        shortcut_kernel: window of the shortcut convolutions that shrink the map.
        antialias: how maps shrink after a convolution of stride 1 in place of a stride.
        attention, ratio, divisor: channel attention on the branch; inner width = ratio x channels, so rounded.
        middle, parts: what stands for the 3x3 convolution, and its number of splits (Res2Net) or radix (ResNeSt).
        split_pool: where ResNeSt shrinks the map, by an average `before` or `after` the middle.
        halve: each path of a selective kernel reads half of the channels.
    """

    family: ClassVar[str] = "resnet"

    block: str = choice("bottleneck", ("bottleneck", "basic"))
    depths: tuple[int, ...] = sizes((3, 4, 6, 3), high=1000)
    width: int = size(64, high=100_000)
    groups: int = size(1, high=100_000)
    group_width: int = size(64, high=100_000)
    reduce: int = size(1, high=64)
    kernel: int = size(3, high=99)
    stem_kernel: int = size(7, high=99)
    stem_widths: tuple[int, ...] = sizes((0,), low=0, high=100_000)
    stem_pool: str = choice("max", ("max", "conv"))
    pool_shortcut: bool = switch(False)
    shortcut_kernel: int = size(1, high=99)
    stride_first: bool = switch(False)
    antialias: str = choice("none", ("none", "average", "blur"))
    norm: str = choice("batch", ("batch", "group"))
    attention: str = choice("none", ("none", "squeeze", "efficient"))
    ratio: float = share(1 / 16, strict=True)
    divisor: int = size(8, high=1024)
    middle: str = choice("plain", MIDDLES)
    parts: int = size(1, high=64)
    split_pool: str = choice("none", ("none", "before", "after"))
    halve: bool = switch(False)

    def check(self) -> None:
        if self.block == "basic" and (self.groups, self.group_width) != (1, 64):
            raise BadValueError("groups and group_width belong to bottleneck blocks; this network has basic ones.")
        if self.width * self.group_width % 64:
            raise BadValueError(f"width={self.width} x group_width={self.group_width} is not a multiple of 64.")
        if self.block == "basic" and self.middle not in ("plain", "selective"):
            raise BadValueError(f"middle={self.middle} belongs to bottleneck blocks; this network has basic ones.")

    def draw(self, net: Sketch) -> None:
        net.block("stem", self._stem)
        for stage, depth in enumerate(self.depths):
            for i in range(depth):
                stride = 2 if stage and not i else 1
                net.block(f"stage{stage + 1}.{i}", self._residual(self.width * 2**stage, stride, not i))
        net.block("head", lambda layers: layers.classify(self.classes))

    def _stem(self, layers: Layers) -> None:
        widths = self.stem_widths if self.stem_widths != (0,) else (self.width,)
        kernel = self.stem_kernel if len(widths) == 1 else 3
        for i, width in enumerate(widths):
            self._conv(layers, f"conv{i + 1}" if i else "conv", width, kernel, stride=1 if i else 2, act="relu")
        if self.stem_pool == "conv":
            self._conv(layers, "pool", layers.channels, 3, stride=2, act="relu")
        elif self.antialias == "average":
            layers.pool("pool", 2, 2, 0)
        elif self.antialias == "blur":
            layers.pool("pool", 3, 1, 1)
            self._shrink(layers, "pool")
        else:
            layers.pool("pool", 3, 2, 1)

    def _residual(self, width: int, stride: int, first: bool) -> Callable[[Layers], None]:
        def draw(layers: Layers) -> None:
            entry = layers.here
            out = width if self.block == "basic" else 4 * width
            if self.block == "basic":
                self._basic(layers, width, stride)
            else:
                self._bottleneck(layers, width, stride, first)
            self._attend(layers)
            branch, shortcut = layers.here, BLOCK_INPUT
            if stride > 1 or entry.channels != out:
                layers.back_to(entry)
                shortcut = self._shortcut(layers, out, stride)
            layers.back_to(branch)
            layers.residual("add", shortcut, act="relu")

        return draw

    def _basic(self, layers: Layers, width: int, stride: int) -> None:
        if self.middle == "selective":
            self._selective(layers, width, stride)
        else:
            self._shrinking(layers, "conv1", width // self.reduce, stride, 1)
        self._conv(layers, "conv2", width, self.kernel)

    def _bottleneck(self, layers: Layers, width: int, stride: int, first: bool) -> None:
        inner = width * self.group_width // 64 * self.groups
        before, after = (stride, 1) if self.stride_first else (1, stride)
        entry = inner // self.reduce * (self.parts if self.middle == "splits" else 1)
        self._conv(layers, "conv1", entry, 1, stride=before, act="relu")
        if self.split_pool == "before" and first:
            layers.pool("avd", 3, after, 1)
        at = 1 if self.split_pool != "none" and first else after
        if self.middle == "splits":
            splits(layers, inner, self.parts, stride=at, groups=self.groups, first=first, act="relu")
        elif self.middle == "split-attention":
            split_attention(layers, inner, self.parts, stride=at, groups=self.groups, act="relu")
        elif self.middle == "selective":
            self._selective(layers, inner, at)
        else:
            self._shrinking(layers, "conv2", inner, at, self.groups)
        if self.split_pool == "after" and first:
            layers.pool("avd", 3, after, 1)
        self._conv(layers, "conv3", 4 * width, 1)

    def _selective(self, layers: Layers, width: int, stride: int) -> None:
        selective(
            layers, width, stride=stride, groups=self.groups, ratio=self.ratio, divisor=self.divisor, halve=self.halve,
            act="relu",
        )  # fmt: skip

    def _shrinking(self, layers: Layers, name: str, width: int, stride: int, groups: int) -> None:
        """Append a convolution whose stride may be taken by antialiasing."""
        late = stride > 1 and self.antialias != "none"
        self._conv(layers, name, width, self.kernel, stride=1 if late else stride, groups=groups, act="relu")
        if late:
            self._shrink(layers, name)

    def _shrink(self, layers: Layers, name: str) -> None:
        if self.antialias == "blur":
            layers.depthwise(f"{name}.blur", 3, stride=2, batch_norm=False, stored=False)
        else:
            layers.pool(f"{name}.average", 2, 2, 0)

    def _attend(self, layers: Layers) -> None:
        if self.attention == "squeeze":
            layers.squeeze_excite("se", divisible(layers.channels * self.ratio, self.divisor, limit=0.0))
        elif self.attention == "efficient":
            layers.efficient_attention("eca", attention_kernel(layers.channels))

    def _shortcut(self, layers: Layers, out: int, stride: int) -> str:
        kernel = self.shortcut_kernel if stride > 1 else 1
        if self.pool_shortcut and stride > 1:
            layers.pool("shortcut.pool", 2, 2, 0, ceil=True)
            stride = 1
        return self._conv(layers, "shortcut", out, kernel, stride=stride)

    def _conv(
        self, layers: Layers, name: str, width: int, kernel: int, *, stride: int = 1, groups: int = 1, act: str = ""
    ) -> str:
        if self.norm == "batch":
            return layers.conv(name, width, kernel, stride=stride, groups=groups, act=act)
        layers.conv(name, width, kernel, stride=stride, groups=groups, batch_norm=False)
        return layers.norm(f"{name}.norm", self.norm, act)
