"""DenseNet (Huang et al. 2016): every layer of a stage reads the outputs of all layers before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from workloads.builders.knobs import size, sizes, switch
from workloads.builders.vision.layers import ImageNetwork, Layers, Sketch
from workloads.graph import BLOCK_INPUT


@dataclass(frozen=True)
class DenseNet(ImageNetwork):
    """A stem of 2 x `growth` channels, stages of dense layers with transitions that halve channels and map.

    Attributes:
        growth: channels that a layer adds (k in the paper); `inner` x growth is the width of its 1x1 convolution.
        depths: layers of each stage.
        deep: the stem is three 3x3 convolutions.
        blur: the stem's pool has stride 1, and a blurring filter the stride.
    """

    family: ClassVar[str] = "densenet"

    growth: int = size(32, high=100_000)
    inner: int = size(4, high=100)
    depths: tuple[int, ...] = sizes((6, 12, 24, 16), high=1000)
    deep: bool = switch(False)
    blur: bool = switch(False)

    def draw(self, net: Sketch) -> None:
        net.block("stem", self._stem)
        for stage, depth in enumerate(self.depths, start=1):
            if stage > 1:
                net.block(f"transition{stage - 1}", self._transition)
            for i in range(depth):
                net.block(f"stage{stage}.{i}", self._layer)
        net.block("head", self._head)

    def _stem(self, layers: Layers) -> None:
        if self.deep:
            for i, width in enumerate((self.growth, self.growth, 2 * self.growth)):
                layers.conv(f"conv{i + 1}", width, 3, stride=1 if i else 2, act="relu")
        else:
            layers.conv("conv", 2 * self.growth, 7, stride=2, act="relu")
        layers.pool("pool", 3, 1 if self.blur else 2, 1)
        if self.blur:
            layers.depthwise("blur", 3, stride=2, batch_norm=False, stored=False)

    def _layer(self, layers: Layers) -> None:
        entry = layers.here
        layers.norm("norm1", "batch", "relu")
        layers.conv("conv1", self.inner * self.growth, 1, act="relu")
        layers.conv("conv2", self.growth, 3, batch_norm=False)
        layers.concat("concat", (entry._replace(name=BLOCK_INPUT), layers.here))

    def _transition(self, layers: Layers) -> None:
        layers.norm("norm", "batch", "relu")
        layers.conv("conv", layers.channels // 2, 1, batch_norm=False)
        layers.pool("pool", 2, 2, 0)

    def _head(self, layers: Layers) -> None:
        layers.norm("norm", "batch", "relu")
        layers.classify(self.classes)
