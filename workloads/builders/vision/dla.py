"""Deep layer aggregation (Yu et al. 2017): every stage is a binary tree of residual blocks, joined at its nodes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import choice, size, sizes, switch
from workloads.builders.vision.layers import ImageNetwork, Layers, Point, Sketch
from workloads.builders.vision.middles import splits


@dataclass(frozen=True)
class LayerAggregation(ImageNetwork):
    """A 7x7 convolution, plain convolutions, then trees that halve the map each.

    Attributes:
        levels: convolutions of the first two stages, depth of the tree of the others.
        widths: channels of each stage.
        block: `basic` (two 3x3), `bottleneck`, `splits` (Res2Net's, of `parts`).
        groups, group_width: a bottleneck is width x group_width / 64 x groups / 2 wide inside.
        root_shortcut: a node adds its last block's output to what it joins.
    """

    family: ClassVar[str] = "dla"

    levels: tuple[int, ...] = sizes((1, 1, 1, 2, 2, 1), high=10)
    widths: tuple[int, ...] = sizes((16, 32, 64, 128, 256, 512), high=100_000)
    block: str = choice("basic", ("basic", "bottleneck", "splits"))
    groups: int = size(1, high=100_000)
    group_width: int = size(64, high=100_000)
    parts: int = size(4, high=64)
    root_shortcut: bool = switch(False)

    def check(self) -> None:
        if len(self.levels) != len(self.widths) or len(self.levels) < 3:
            raise BadValueError("levels and widths need one entry a stage each, and at least three.")

    def draw(self, net: Sketch) -> None:
        net.block("stem", self._stem)
        for stage in range(2, len(self.levels)):
            net.block(f"stage{stage}", partial(self._stage, stage))
        net.block("head", lambda layers: layers.classify(self.classes))

    def _stem(self, layers: Layers) -> None:
        layers.conv("conv", self.widths[0], 7, act="relu")
        for stage in (0, 1):
            for i in range(self.levels[stage]):
                name = f"stage{stage}.conv{i + 1}"
                layers.conv(name, self.widths[stage], 3, stride=2 if stage and not i else 1, act="relu")

    def _stage(self, stage: int, layers: Layers) -> None:
        children: list[Point] = []
        if stage > 2:  # a tree but the first joins what enters it, too
            entry = layers.here
            layers.pool("bottom", 2, 2, 0)
            children.append(layers.here)
            layers.back_to(entry)
        self._tree(layers, "", self.levels[stage], self.widths[stage], 2, children)

    def _tree(self, x: Layers, name: str, level: int, width: int, stride: int, children: list[Point]) -> None:
        """Append a tree; its last node joins `children` (outputs of trees beside it)."""
        if level > 1:
            self._tree(x, f"{name}1.", level - 1, width, stride, [])
            self._tree(x, f"{name}2.", level - 1, width, 1, [*children, x.here])
            return
        entry = x.here
        if stride > 1:
            x.pool(f"{name}down", stride, stride, 0)
        if x.channels != width:
            x.conv(f"{name}project", width, 1)
        shortcut = x.last
        x.back_to(entry)
        self._block(x, f"{name}a.", width, stride, shortcut)
        first = x.here
        self._block(x, f"{name}b.", width, 1, first.name)
        second = x.here
        x.concat(f"{name}concat", (second, first, *children))
        x.conv(f"{name}root", width, 1, act="" if self.root_shortcut else "relu")
        if self.root_shortcut:
            x.residual(f"{name}root.add", second.name, act="relu")

    def _block(self, x: Layers, name: str, width: int, stride: int, shortcut: str) -> None:
        if self.block == "basic":
            x.conv(f"{name}conv1", width, 3, stride=stride, act="relu")
            x.conv(f"{name}conv2", width, 3)
        else:
            inner = width * self.group_width // 64 * self.groups // 2
            parts = self.parts if self.block == "splits" else 1
            x.conv(f"{name}conv1", inner * parts, 1, act="relu")
            if parts > 1:
                splits(
                    x, inner, parts, stride=stride, groups=self.groups, first=stride > 1, act="relu", prefix=name
                )  # fmt: skip
            else:
                x.conv(f"{name}conv2", inner, 3, stride=stride, groups=self.groups, act="relu")
            x.conv(f"{name}conv3", width, 1)
        x.residual(f"{name}add", shortcut, act="relu")
