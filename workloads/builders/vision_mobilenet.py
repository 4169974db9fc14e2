"""MobileNet v2 (Sandler et al. 2018): inverted residuals around depthwise convolutions, with a width multiplier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import KnobModel, choice, number_format_knob, share, size, sizes
from workloads.builders.one_pass import checked_batch
from workloads.builders.vision_layers import Layers, image_pass, in_format, largest_boundary
from workloads.graph import BLOCK_INPUT, Block, Size, Workload, WorkloadGraph
from workloads.model import Request


@dataclass(frozen=True)
class MobileNet(KnobModel):
    """Stages of inverted residuals; entry i of `expansions`, `widths`, `depths`, `strides` describes stage i.

    Attributes:
        width: multiplier of all channels, each rounded to a multiple of 8 (the paper's table 2 is at 1.0).
        last: channels before the classifier; a multiplier below 1 leaves them alone.
    """

    family: ClassVar[str] = "mobilenet"

    image: int = size(224, high=100_000)
    channels: int = size(3, high=100_000)
    classes: int = size(1000)
    width: float = share(1.0, high=100.0, strict=True)
    stem: int = size(32, high=100_000)
    last: int = size(1280, high=100_000)
    expansions: tuple[int, ...] = sizes((1, 6, 6, 6, 6, 6, 6), high=100)
    widths: tuple[int, ...] = sizes((16, 24, 32, 64, 96, 160, 320), high=100_000)
    depths: tuple[int, ...] = sizes((1, 2, 3, 4, 3, 3, 1), high=1000)
    strides: tuple[int, ...] = sizes((1, 2, 2, 2, 1, 2, 1), high=4)
    kernel: int = size(3, high=99)
    act: str = choice("relu6", ("relu", "relu6", "silu"))
    dtype: str = number_format_knob("fp16")

    def check(self) -> None:
        lengths = {name: len(getattr(self, name)) for name in ("expansions", "widths", "depths", "strides")}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise BadValueError(f"expansions, widths, depths and strides need one entry a stage each, found: {found}.")

    @property
    def defaults(self) -> Mapping[str, Any]:
        return {"prompt": 0, "generate": 0, "dtype": self.dtype}

    def workload(self, request: Request) -> Workload:
        """Return one forward pass over a batch of images, or a training step. Raises BadValueError."""
        model: MobileNet = in_format(self, request)
        batch = checked_batch(request)
        return image_pass(model, model.graph(batch), batch, request)

    def graph(self, batch: Size) -> WorkloadGraph:
        """Return the graph of one pass; the equal blocks of a stage are one block and a count."""
        layers = Layers(batch, self.dtype, self.channels, self.image, self.image)
        layers.conv("conv", in_eights(self.stem * self.width), 3, stride=2, act=self.act)
        stacks, blocks = [layers], [Block("stem", tuple(layers.operators))]
        stages = zip(self.expansions, self.widths, self.depths, self.strides, strict=True)
        for stage, (expansion, width, depth, stride) in enumerate(stages, start=1):
            for part, count in (("first", 1), ("rest", depth - 1)):
                if not count:
                    continue
                layers = layers.next_block()
                self._inverted(layers, expansion, in_eights(width * self.width), stride if part == "first" else 1)
                stacks.append(layers)
                blocks.append(Block(f"stage{stage}.{part}", tuple(layers.operators), count))
        layers = layers.next_block()
        layers.conv("conv", in_eights(self.last * max(1.0, self.width)), 1, act=self.act)
        layers.classify(self.classes)
        blocks.append(Block("head", tuple(layers.operators)))
        return WorkloadGraph(self.name, tuple(blocks), boundary_elements=largest_boundary([*stacks, layers]))

    def _inverted(self, layers: Layers, expansion: int, width: int, stride: int) -> None:
        entry, inner = layers.channels, layers.channels * expansion
        if expansion > 1:
            layers.conv("expand", inner, 1, act=self.act)
        layers.conv("depthwise", inner, self.kernel, stride=stride, groups=inner, act=self.act)
        layers.conv("project", width, 1)
        if stride == 1 and entry == width:
            layers.residual("add", BLOCK_INPUT)


def in_eights(channels: float) -> int:
    """Return channels rounded to the nearest multiple of 8, at least 8 and never below 90 % of what was asked.

    The rule of the authors' code (tensorflow/models, `_make_divisible`).
    """
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
