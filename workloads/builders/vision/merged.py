"""Networks whose parallel branches are merged into single convolutions for inference: RepVGG, MobileOne.

What is built is the merged form, which is what runs: every convolution has a bias and no normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import choice, share, size, sizes
from workloads.builders.vision.layers import ACTIVATION_FLOP, ImageNetwork, Layers, Sketch, divisible


@dataclass(frozen=True)
class Merged(ImageNetwork):
    """A stem convolution, stages of plain blocks that each begin with stride 2, a classifier.

    Attributes:
        block: a 3x3 convolution (`full`: RepVGG, Ding et al. 2021), or a depthwise one and a 1x1 one (`separable`:
            MobileOne, Vasu et al. 2022).
        stem, depths, widths: channels of the stem; blocks and channels of each stage.
        groups: groups of every second 3x3 convolution.
        squeezed: blocks at the end of each stage that have channel attention, one entry a stage.
        ratio, divisor: inner over outer width of the attention, and what it is a multiple of.
    """

    family: ClassVar[str] = "merged"

    block: str = choice("full", ("full", "separable"))
    stem: int = size(64, high=100_000)
    depths: tuple[int, ...] = sizes((4, 6, 16, 1), high=1000)
    widths: tuple[int, ...] = sizes((64, 128, 256, 1280), high=100_000)
    groups: int = size(1, high=100_000)
    squeezed: tuple[int, ...] = sizes((0, 0, 0, 0), low=0, high=1000)
    ratio: float = share(1 / 16, strict=True)
    divisor: int = size(8, high=1024)

    def check(self) -> None:
        if not len(self.depths) == len(self.widths) == len(self.squeezed):
            raise BadValueError("depths, widths and squeezed need one entry a stage each.")

    def draw(self, net: Sketch) -> None:
        attended = self.block == "full" and any(self.squeezed)
        net.block("stem", partial(self._conv, "conv", self.stem, 3, 2, 1, attended))
        number = 1
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True)):
            for i in range(depth):
                attend, stride = depth - i <= self.squeezed[stage], 1 if i else 2
                name = f"stage{stage + 1}.{i}"
                if self.block == "full":
                    groups = self.groups if number % 2 == 0 else 1
                    net.block(name, partial(self._conv, "conv", width, 3, stride, groups, attend))
                else:
                    net.block(name, partial(self._separable, width, stride, attend))
                number += 1
        net.block("head", lambda layers: layers.classify(self.classes))

    def _separable(self, width: int, stride: int, attend: bool, layers: Layers) -> None:
        self._conv("depthwise", layers.channels, 3, stride, layers.channels, attend, layers)
        self._conv("point", width, 1, 1, 1, attend, layers)

    def _conv(self, name: str, width: int, kernel: int, stride: int, groups: int, attend: bool, layers: Layers) -> None:
        layers.conv(name, width, kernel, stride=stride, groups=groups, bias=1, batch_norm=False)
        if attend:
            layers.squeeze_excite(f"{name}.se", divisible(width * self.ratio, self.divisor, limit=0.0))
        layers.fused(f"{name}.relu", "elementwise", ACTIVATION_FLOP["relu"])
