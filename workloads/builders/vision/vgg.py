"""VGG (Simonyan and Zisserman 2014): plain 3x3 convolutions in stages that end in a pool, and three dense layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import size, sizes, switch
from workloads.builders.vision.layers import ImageNetwork, Layers, Sketch


@dataclass(frozen=True)
class Vgg(ImageNetwork):
    """`depths` convolutions of `widths` channels a stage; the dense layers read `side` x `side` pixels.

    A map of another size is averaged down (or repeated up) to `side`, as torchvision does.
    """

    family: ClassVar[str] = "vgg"

    depths: tuple[int, ...] = sizes((2, 2, 3, 3, 3), high=1000)
    widths: tuple[int, ...] = sizes((64, 128, 256, 512, 512), high=100_000)
    dense: tuple[int, ...] = sizes((4096, 4096), high=1_000_000)
    side: int = size(7, high=1000)
    batch_norm: bool = switch(False)

    def check(self) -> None:
        if len(self.depths) != len(self.widths):
            raise BadValueError(
                f"depths and widths need one entry a stage each, found: {len(self.depths)}, {len(self.widths)}."
            )
        if self.image < 2 ** len(self.depths):
            raise BadValueError(f"image={self.image} has no pixel left after {len(self.depths)} halvings.")

    def draw(self, net: Sketch) -> None:
        for number, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            net.block(f"stage{number}", self._stage(depth, width))
        net.block("head", self._head)

    def _stage(self, depth: int, width: int) -> Callable[[Layers], None]:
        def draw(layers: Layers) -> None:
            for i in range(depth):
                layers.conv(f"conv{i + 1}", width, 3, act="relu", bias=True, batch_norm=self.batch_norm)
            layers.pool("pool", 2, 2, 0)

        return draw

    def _head(self, layers: Layers) -> None:
        if (layers.height, layers.width) != (self.side, self.side):
            reads = layers.height * layers.width / self.side**2
            layers.height = layers.width = self.side
            shape = {"rows": self.side**2, "hidden": layers.channels, "operands": reads, "flop_per_element": reads}
            layers.add("average", "elementwise", shape)
        layers.channels, layers.height, layers.width = layers.channels * self.side**2, 1, 1
        for i, features in enumerate(self.dense, start=1):
            layers.dense(f"dense{i}", features, act="relu")
        layers.dense("fc", self.classes, shard="logits")
