"""Dual path networks (Chen et al. 2017): a residual path and a densely connected one in one feature map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import size, sizes, switch
from workloads.builders.vision.layers import ImageNetwork, Layers, Sketch
from workloads.graph import BLOCK_INPUT


@dataclass(frozen=True)
class DualPath(ImageNetwork):
    """A stem, stages of dual path blocks, a last normalisation, a classifier.

    Attributes:
        depths: blocks of each stage; every stage but the first halves the map, and the residual path doubles.
        width: channels of the residual path in the first stage.
        growth: channels that a block adds to the dense path, one entry a stage.
        inner, groups: channels of the grouped 3x3 convolutions in the first stage, and their groups.
        stem, stem_kernel: channels and window of the first convolution.
        apart: the paths' last convolutions are two, after one normalisation of their own.
    """

    family: ClassVar[str] = "dual-path"

    depths: tuple[int, ...] = sizes((3, 4, 20, 3), high=1000)
    width: int = size(256, high=100_000)
    growth: tuple[int, ...] = sizes((16, 32, 24, 128), high=100_000)
    inner: int = size(96, high=100_000)
    groups: int = size(32, high=100_000)
    stem: int = size(64, high=100_000)
    stem_kernel: int = size(7, high=99)
    apart: bool = switch(False)

    def check(self) -> None:
        if len(self.depths) != len(self.growth):
            raise BadValueError("depths and growth need one entry a stage each.")
        if self.inner % self.groups:
            raise BadValueError(f"inner={self.inner} is not a multiple of groups={self.groups}.")

    def draw(self, net: Sketch) -> None:
        net.block("stem", self._stem)
        for stage, depth in enumerate(self.depths):
            for i in range(depth):
                net.block(f"stage{stage + 1}.{i}", self._block(stage, i == 0))
        net.block("head", self._head)

    def _stem(self, x: Layers) -> None:
        x.conv("conv", self.stem, self.stem_kernel, stride=2, act="relu")
        x.pool("pool", 3, 2, 1)

    def _head(self, x: Layers) -> None:
        x.norm("norm", "batch", "relu")
        x.classify(self.classes)

    def _block(self, stage: int, first: bool) -> Callable[[Layers], None]:
        residual, inner, growth = self.width * 2**stage, self.inner * 2**stage, self.growth[stage]
        stride = 2 if stage and first else 1

        def draw(x: Layers) -> None:
            entry = x.here._replace(name=BLOCK_INPUT)
            if first:
                x.norm("project.norm", "batch", "relu")
                x.conv("project", residual + 2 * growth, 1, stride=stride, batch_norm=False)
            shortcut = x.here
            x.back_to(entry)
            x.norm("norm1", "batch", "relu")
            x.conv("conv1", inner, 1, act="relu")  # with the normalisation and activation before the next
            x.conv("conv2", inner, 3, stride=stride, groups=self.groups, act="relu")
            made = x.here
            x.conv("conv3", residual if self.apart else residual + growth, 1, batch_norm=False)
            x.take(residual)
            x.pointwise("add", inputs=(x.last, shortcut.name))
            added, dense = x.here, x.operators[-2].name
            x.back_to(made)
            if self.apart:
                dense = x.conv("conv3.dense", growth, 1, batch_norm=False)
            old = shortcut._replace(channels=shortcut.channels - residual)
            x.concat("concat", (added, old, added._replace(name=dense, channels=growth)))

        return draw
