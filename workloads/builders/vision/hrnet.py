"""HRNet (Wang et al. 2019): branches of several resolutions side by side, which exchange their maps after every module.

The maps of all branches cross from block to block; the graph names them as one input.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import size, sizes, switch
from workloads.builders.vision.layers import ImageNetwork, Layers, Point, Sketch
from workloads.graph import BLOCK_INPUT

HEAD_WIDTHS = (32, 64, 128, 256)
"""Inner channels of the head's bottlenecks, one a branch; their output is four times as wide."""


@dataclass(frozen=True)
class HighResolution(ImageNetwork):
    """A stem of stride 4, bottlenecks, then stages of 2, 3 and 4 branches (section 3), and a head.

    Attributes:
        width: channels of the finest branch; every coarser one has twice those of the one before.
        first_width, first_depth: inner channels and number of the bottlenecks before the branches.
        modules: modules of each stage; depth: basic blocks of a branch in a module.
        head_bias: the head's convolutions have a bias.
    """

    family: ClassVar[str] = "hrnet"

    width: int = size(18, high=100_000)
    stem: int = size(64, high=100_000)
    first_width: int = size(64, high=100_000)
    first_depth: int = size(4, high=1000)
    modules: tuple[int, ...] = sizes((1, 4, 3), high=100)
    depth: int = size(4, high=1000)
    head_bias: bool = switch(True)

    def check(self) -> None:
        if len(self.modules) != 3:
            raise BadValueError(f"modules needs three entries, one a stage, not {len(self.modules)}.")

    def draw(self, net: Sketch) -> None:
        net.block("stem", self._stem)
        for i in range(self.first_depth):
            net.block(f"stage1.{i}", lambda x: bottleneck(x, "", self.first_width))
        maps = [net.layers.here]
        for stage, modules in enumerate(self.modules, start=2):
            net.block(f"transition{stage}", partial(self._transition, maps, stage))
            for i in range(modules):
                net.block(f"stage{stage}.{i}", partial(self._module, maps))
        net.block("head", partial(self._head, maps))

    def _stem(self, x: Layers) -> None:
        x.conv("conv1", self.stem, 3, stride=2, act="relu")
        x.conv("conv2", 64, 3, stride=2, act="relu")

    def _transition(self, maps: list[Point], branches: int, x: Layers) -> None:
        """Append a branch of half the resolution; existing branches get the channels that they should have."""
        entering = _entering(maps)
        for i, point in enumerate(entering):
            x.back_to(point)
            if point.channels != self.width * 2**i:
                x.conv(f"branch{i}", self.width * 2**i, 3, act="relu")
                maps[i] = x.here
        x.back_to(entering[-1])
        x.conv(f"branch{branches - 1}", self.width * 2 ** (branches - 1), 3, stride=2, act="relu")
        maps.append(x.here)

    def _module(self, maps: list[Point], x: Layers) -> None:
        """Append the basic blocks of every branch, then the sums that every branch receives."""
        for i, point in enumerate(_entering(maps)):
            x.back_to(point)
            for k in range(self.depth):
                entry = x.last
                x.conv(f"branch{i}.{k}.conv1", point.channels, 3, act="relu")
                x.conv(f"branch{i}.{k}.conv2", point.channels, 3)
                x.residual(f"branch{i}.{k}.add", entry, act="relu")
            maps[i] = x.here
        done = list(maps)
        for i, target in enumerate(done):
            received = [self._moved(x, f"fuse{j}to{i}", point, j, i, target) for j, point in enumerate(done)]
            x.back_to(target)
            x.pointwise(f"fuse{i}", float(len(done)), inputs=received)  # additions, and the activation
            maps[i] = x.here

    def _moved(self, x: Layers, name: str, point: Point, origin: int, goal: int, target: Point) -> str:
        """Bring the map of one branch to the resolution and channels of another; return its operator."""
        x.back_to(point)
        if origin > goal:
            x.conv(f"{name}.conv", target.channels, 1)
            x.resize(f"{name}.up", 2 ** (origin - goal))
        for step in range(goal - origin):
            last = step == goal - origin - 1
            width = target.channels if last else point.channels
            x.conv(f"{name}.down{step}", width, 3, stride=2, act="" if last else "relu")
        return x.last

    def _head(self, maps: list[Point], x: Layers) -> None:
        total: Point | None = None
        for i, point in enumerate(_entering(maps)):
            x.back_to(point)
            bottleneck(x, f"widen{i}.", HEAD_WIDTHS[i])
            widened = x.here
            if total is not None:
                x.back_to(total)
                x.conv(f"down{i}", widened.channels, 3, stride=2, act="relu", bias=self.head_bias)
                x.residual(f"add{i}", widened.name)
            total = x.here
        x.conv("conv", 2048, 1, act="relu", bias=self.head_bias)
        x.classify(self.classes)


def bottleneck(x: Layers, name: str, width: int) -> None:
    """Append a residual block of a 1x1, a 3x3 and a 1x1 convolution, four times as wide outside."""
    entry = x.here
    x.conv(f"{name}conv1", width, 1, act="relu")
    x.conv(f"{name}conv2", width, 3, act="relu")
    x.conv(f"{name}conv3", 4 * width, 1)
    branch, shortcut = x.here, entry.name
    if entry.channels != 4 * width:
        x.back_to(entry)
        shortcut = x.conv(f"{name}shortcut", 4 * width, 1)
        x.back_to(branch)
    x.residual(f"{name}add", shortcut, act="relu")


def _entering(maps: list[Point]) -> list[Point]:
    return [point._replace(name=BLOCK_INPUT) for point in maps]
