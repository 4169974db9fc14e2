"""Residual networks (He et al. 2015), and their grouped and wide forms (ResNeXt, Wide ResNet).

The stride of a bottleneck stands in its 3x3 convolution ("v1.5"), as in torchvision, timm and NVIDIA's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import KnobModel, choice, number_format_knob, size, sizes
from workloads.builders.one_pass import checked_batch
from workloads.builders.vision_layers import Layers, image_pass, in_format, largest_boundary
from workloads.graph import BLOCK_INPUT, Block, Size, Workload, WorkloadGraph
from workloads.model import Request


@dataclass(frozen=True)
class ResNet(KnobModel):
    """A stem, stages of residual blocks with one width each, and a classifier.

    Attributes:
        depths: residual blocks of each stage; the map is halved between stages, the width doubled.
        width: channels of the first stage.
        groups, group_width: a bottleneck's 3x3 convolution has width x group_width / 64 x groups channels.
        kernel, stem_kernel: window of the 3x3 convolutions and of the stem.
    """

    family: ClassVar[str] = "resnet"

    image: int = size(224, high=100_000)
    channels: int = size(3, high=100_000)
    classes: int = size(1000)
    block: str = choice("bottleneck", ("bottleneck", "basic"))
    depths: tuple[int, ...] = sizes((3, 4, 6, 3), high=1000)
    width: int = size(64, high=100_000)
    groups: int = size(1, high=100_000)
    group_width: int = size(64, high=100_000)
    kernel: int = size(3, high=99)
    stem_kernel: int = size(7, high=99)
    dtype: str = number_format_knob("fp16")

    def check(self) -> None:
        if self.block == "basic" and (self.groups, self.group_width) != (1, 64):
            raise BadValueError("groups and group_width belong to bottleneck blocks; this network has basic ones.")
        if self.width * self.group_width % 64:
            raise BadValueError(f"width={self.width} x group_width={self.group_width} is not a multiple of 64.")

    @property
    def defaults(self) -> Mapping[str, Any]:
        return {"prompt": 0, "generate": 0, "dtype": self.dtype}

    def workload(self, request: Request) -> Workload:
        """Return one forward pass over a batch of images, or a training step. Raises BadValueError."""
        model: ResNet = in_format(self, request)
        batch = checked_batch(request)
        return image_pass(model, model.graph(batch), batch, request)

    def graph(self, batch: Size) -> WorkloadGraph:
        """Return the graph of one pass; the equal blocks of a stage are one block and a count."""
        layers = Layers(batch, self.dtype, self.channels, self.image, self.image)
        layers.conv("conv", self.width, self.stem_kernel, stride=2, act="relu")
        layers.pool("pool", 3, 2, 1)
        stacks, blocks = [layers], [Block("stem", tuple(layers.operators))]
        for stage, depth in enumerate(self.depths):
            for part, count in (("first", 1), ("rest", depth - 1)):
                if not count:
                    continue
                layers = layers.next_block()
                self._residual(layers, self.width * 2**stage, stride=2 if stage and part == "first" else 1)
                stacks.append(layers)
                blocks.append(Block(f"stage{stage + 1}.{part}", tuple(layers.operators), count))
        layers = layers.next_block()
        layers.classify(self.classes)
        blocks.append(Block("head", tuple(layers.operators)))
        return WorkloadGraph(self.name, tuple(blocks), boundary_elements=largest_boundary([*stacks, layers]))

    def _residual(self, layers: Layers, width: int, stride: int) -> None:
        entry = (layers.channels, layers.height, layers.width)
        if self.block == "basic":
            out = width
            layers.conv("conv1", width, self.kernel, stride=stride, act="relu")
            layers.conv("conv2", width, self.kernel)
        else:
            inner, out = width * self.group_width // 64 * self.groups, 4 * width
            layers.conv("conv1", inner, 1, act="relu")
            layers.conv("conv2", inner, self.kernel, stride=stride, groups=self.groups, act="relu")
            layers.conv("conv3", out, 1)
        branch, shortcut = layers.last, BLOCK_INPUT
        if stride > 1 or entry[0] != out:
            layers.channels, layers.height, layers.width = entry
            shortcut = layers.conv("shortcut", out, 1, stride=stride, inputs=(BLOCK_INPUT,))
        layers.last = branch
        layers.residual("add", shortcut, act="relu")
