"""Vision towers that take images of any size: patches, layers over windows or over all patches (Qwen-VL), or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from foundation.errors import BadValueError
from workloads.builders.chain import Chain, Step, layer_blocks, wide
from workloads.builders.knobs import KnobModel, choice, number_format_knob, size, sizes, switch
from workloads.builders.language.feedforward import two_layer
from workloads.builders.language.mixers import multi_head
from workloads.builders.one_pass import checked_batch
from workloads.builders.vision.layers import image_pass, in_format
from workloads.graph import BLOCK_INPUT, Block, Size, Workload, WorkloadGraph
from workloads.model import Request


@dataclass(frozen=True)
class PatchTower(KnobModel):
    """An image of `image` x `image` pixels (`image_height` of 0: square) becomes patches; layers without class token.

    With `window`, layers attend within windows of so many pixels, but for those listed in `full_layers` (Qwen2.5-VL,
    arXiv 2502.13923, section 2.1.1). `layers` 0: the patches alone, for decoders that see them as they are (EVE,
    HoVLE).

    Attributes:
        frames: images that a patch spans; a still image stands in all of them (its 3-D convolution is one over
            frames x channels).
        position_rows: rows of a learned table of positions that is interpolated (0: none). rope: rotary in two axes.
        multiple: patches that each side of the scaled image is a multiple of (those that a decoder merges).
    """

    family: ClassVar[str] = "patch-tower"

    image: int = size(448, high=100_000)
    image_height: int = size(0, low=0, high=100_000)
    channels: int = size(3, high=100_000)
    frames: int = size(1, high=1000)
    patch: int = size(14, high=10_000)
    multiple: int = size(1, high=100)
    layers: int = size(32, low=0, high=10_000)
    hidden: int = size(1280)
    heads: int = size(16, high=100_000)
    inter: int = size(3420)
    gated: bool = switch(False)
    norm: str = choice("layer", ("rms", "layer"))
    patch_bias: bool = switch(False)
    position_rows: int = size(0, low=0)
    rope: bool = switch(True)
    window: int = size(0, low=0, high=100_000)
    full_layers: tuple[int, ...] = sizes((0,), low=0, high=10_000)
    dtype: str = number_format_knob("bf16")
    attention_dtype: str = number_format_knob()

    def check(self) -> None:
        if self.hidden % self.heads:
            raise BadValueError(f"heads={self.heads} does not divide hidden={self.hidden}.")
        if min(self.grid) < self.multiple:
            raise BadValueError(f"image={self.image} is smaller than one token of {self.patch * self.multiple} pixels.")

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across; the image is scaled to a multiple of a token."""
        token = self.patch * self.multiple
        sides = (self.image_height or self.image, self.image)
        high, across = (max(1, round(side / token)) * self.multiple for side in sides)
        return high, across

    @property
    def patches(self) -> int:
        return self.grid[0] * self.grid[1]

    @property
    def defaults(self) -> Mapping[str, Any]:
        return {"prompt": 0, "generate": 0, "dtype": self.dtype}

    def workload(self, request: Request) -> Workload:
        """Return one forward pass over a batch of images, or a training step. Raises BadValueError."""
        model: PatchTower = in_format(self, request)
        batch = checked_batch(request)
        return image_pass(model, model.graph(batch), batch, request)

    def graph(self, batch: Size) -> WorkloadGraph:
        """Return the graph of one pass."""
        act = wide(self.dtype)
        attention = self.attention_dtype or act
        step = Step(batch, self.patches, self.patches, 0.0, "prefill", self.dtype, act, attention, attention)
        kinds = [not self.window or i in self.full_layers for i in range(self.layers)]
        layers = layer_blocks(kinds, self._layer, step, "layers") if kinds else ()
        blocks = (self._embedding(step), *layers)
        return WorkloadGraph(self.name, blocks, boundary_elements=step.tokens * self.hidden)

    def _embedding(self, step: Step) -> Block:
        chain, (high, across) = Chain(step), self.grid
        c_in = self.channels * self.frames
        shape = {
            "batch": step.batch, "c_in": c_in, "h": high * self.patch, "w": across * self.patch, "c_out": self.hidden,
            "kh": self.patch, "kw": self.patch, "stride": self.patch,
        }  # fmt: skip
        stored = float(self.hidden * (c_in * self.patch**2 + self.patch_bias))
        chain.add("patches", "conv2d", shape, dtype=self.dtype, inputs=(BLOCK_INPUT,), parameters=stored)
        if self.position_rows:
            # a place between four entries of the table: four multiplications, four additions
            table = float(self.position_rows * self.hidden)
            chain.pointwise("position", self.hidden, 8.0, operands=5, shard="", parameters=table)
        return Block("embed", tuple(chain.operators))

    def _layer(self, full: bool, chain: Chain) -> None:
        columns = {} if full else self._windows(chain.step)
        chain.norm("mixer_norm", self.norm, self.hidden)
        multi_head(
            chain, hidden=self.hidden, heads=self.heads, kv_heads=self.heads, head_dim=self.hidden // self.heads,
            bias="all", rope=self.rope, causal=False, cached=False, columns=columns,
        )  # fmt: skip
        chain.norm("ffn_norm", self.norm, self.hidden)
        two_layer(chain, self.hidden, self.inter, gated=self.gated, bias=True)

    def _windows(self, step: Step) -> dict[str, Any]:
        """Return windows as sequences of one mean length, which keeps both their patches and their pairs exact."""
        side = self.window // self.patch
        pairs = 1.0
        for patches in self.grid:
            whole, rest = divmod(patches, side)
            pairs *= whole * side**2 + rest**2
        length = pairs / self.patches
        return {"batch": step.batch * (self.patches / length), "q_len": length, "kv_len": length}
