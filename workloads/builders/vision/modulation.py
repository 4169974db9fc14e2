"""EfficientMod (Ma et al. 2024): a context of large depthwise windows modulates a dense layer, in one block."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from foundation.errors import BadValueError
from workloads.builders.knobs import size, sizes
from workloads.builders.vision.layers import ACTIVATION_FLOP, ImageNetwork, Layers, Sketch
from workloads.graph import BLOCK_INPUT


@dataclass(frozen=True)
class EfficientMod(ImageNetwork):
    """Stages of modulation blocks (section 3.2), then of attention blocks; a 3x3 convolution between stages.

    Attributes:
        depths, attention_depths, widths: modulation blocks, attention blocks and channels of each stage.
        expansions: inner over outer width of the modulation blocks of a stage, in turn.
        attention_expansions: the same of the attention blocks, one entry a stage.
        kernel: window of the context; heads: attention heads, of `head_dim` features at least.
    """

    family: ClassVar[str] = "efficientmod"

    depths: tuple[int, ...] = sizes((2, 2, 6, 2), high=1000)
    attention_depths: tuple[int, ...] = sizes((0, 0, 1, 2), low=0, high=1000)
    widths: tuple[int, ...] = sizes((32, 64, 128, 256), high=100_000)
    expansions: tuple[int, ...] = sizes((1, 6), high=64)
    attention_expansions: tuple[int, ...] = sizes((4, 4, 4, 4), high=64)
    kernel: int = size(7, high=99)
    heads: int = size(8, high=10_000)
    head_dim: int = size(32, high=10_000)

    def check(self) -> None:
        names = ("depths", "attention_depths", "widths", "attention_expansions")
        if len({len(getattr(self, name)) for name in names}) > 1:
            raise BadValueError(f"{', '.join(names)} need one entry a stage each.")

    def draw(self, net: Sketch) -> None:
        for stage, width in enumerate(self.widths):
            net.block(f"embed{stage + 1}", partial(self._embed, width, not stage))
            for i in range(self.depths[stage]):
                expansion = self.expansions[i % len(self.expansions)]
                net.block(f"stage{stage + 1}.{i}", partial(self._modulation, expansion))
            for i in range(self.attention_depths[stage]):
                net.block(f"attention{stage + 1}.{i}", partial(self._attention, self.attention_expansions[stage]))
        net.block("head", self._head)

    def _embed(self, width: int, first: bool, layers: Layers) -> None:
        layers.conv("conv", width, 7 if first else 3, stride=4 if first else 2, bias=1, batch_norm=False)
        layers.norm("norm")

    def _head(self, layers: Layers) -> None:
        layers.norm("norm")
        layers.classify(self.classes)

    def _modulation(self, expansion: int, layers: Layers) -> None:
        width = layers.channels
        layers.norm("norm")
        entry = layers.here
        layers.dense("context.in", width)
        layers.depthwise("context.conv", self.kernel, bias=1, batch_norm=False, act="gelu")
        layers.dense("context.out", width)
        context = layers.last
        layers.back_to(entry)
        layers.dense("up", width * expansion, act="gelu" if expansion > 1 else "")
        layers.pointwise("modulate", inputs=(layers.last, context))  # the context is repeated `expansion` times
        layers.dense("down", width)
        layers.residual("add", BLOCK_INPUT, parameters=float(width))

    def _attention(self, expansion: int, layers: Layers) -> None:
        width, tokens = layers.channels, layers.height * layers.width
        head = max(width // self.heads, self.head_dim)
        layers.norm("norm1")
        layers.dense("qkv", 3 * self.heads * head, bias=False)
        shape = {
            "batch": layers.batch, "q_len": tokens, "kv_len": tokens, "heads": self.heads, "head_dim": head,
            "causal": 0,
        }  # fmt: skip
        layers.add("attention", "attention", shape)
        layers.take(self.heads * head)
        layers.dense("out", width)
        layers.residual("add1", BLOCK_INPUT)
        middle = layers.last
        layers.norm("norm2")
        layers.dense("up", width * expansion)
        layers.fused("gelu", "elementwise", ACTIVATION_FLOP["gelu"])
        layers.dense("down", width)
        layers.residual("add2", middle)
