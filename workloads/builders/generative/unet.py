"""U-Nets that denoise latents: Stable Diffusion (Rombach et al. 2022), SDXL (Podell et al. 2023), KOALA (Lee 2023).

A way down and a way up over stages of halving sides; every layer of the way up also reads what a layer of the way
down left. A layer is a residual block and, in stages with `depths`, a spatial transformer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from foundation.errors import BadValueError
from workloads.builders.generative.layers import Maps
from workloads.builders.generative.model import DiffusionModel, for_batch
from workloads.builders.knobs import share, size, sizes, switch
from workloads.builders.vision.layers import Point
from workloads.graph import BLOCK_INPUT, Block
from workloads.table import Array


class Layer(NamedTuple):
    """One layer of a way: channels out, transformer layers, heads; `resample` halves or doubles the sides after."""

    stage: int
    width: int
    depth: int
    heads: int
    resample: bool = False


@dataclass(frozen=True)
class UNetDiffusion(DiffusionModel):
    """`layers` of a stage on the way down, `up_layers` (0: one more) on the way up, `depths` transformer layers each.

    `mid`: the block between the ways, with `mid_depth` transformer layers. `vectors`: width of what is told beside
    the time (SDXL's pooled text and sizes). `token_merge`: share of the tokens that self-attention of the largest maps
    leaves out (Bolya & Hoffman 2023). A cheap step runs the outer `reuse_depth` layers (Ma et al. 2023, DeepCache)
    and reads the map below them from the last full one.
    """

    family: ClassVar[str] = "diffusion-unet"

    widths: tuple[int, ...] = sizes((320, 640, 1280, 1280))
    layers: tuple[int, ...] = sizes((2,), high=100)
    up_layers: tuple[int, ...] = sizes((0,), low=0, high=100)
    depths: tuple[int, ...] = sizes((1, 1, 1, 0), low=0, high=1000)
    heads: tuple[int, ...] = sizes((8,), high=10_000)
    mid: bool = switch(True)
    mid_depth: int = size(1, low=0, high=1000)
    text_width: int = size(768)
    vectors: int = size(0, low=0)
    token_merge: float = share(0.0, high=0.75)

    def check(self) -> None:
        super().check()
        stages = len(self.widths)
        for knob in ("layers", "up_layers", "depths", "heads"):
            given = len(getattr(self, knob))
            if given not in (1, stages):
                raise BadValueError(f"{knob} has {given} entries; 1 or one for each of the {stages} widths is needed.")
        for index, (width, heads) in enumerate(zip(self.widths, self._each("heads"), strict=True)):
            if width % heads:
                raise BadValueError(f"heads={heads} does not divide the {width} channels of stage {index + 1}.")
        if (any(self.depths) or (self.mid and self.mid_depth)) and not self.text_tokens:
            raise BadValueError("text_tokens=0 leaves the cross attention nothing to see; it must be at least 1.")
        step = 2 ** (stages - 1)
        if any(side % step for side in self.latent):
            raise BadValueError(
                f"A latent of {self.latent[0]} x {self.latent[1]} cannot be halved {stages - 1} times; "
                f"sides of multiples of {step * self.autoencoder.factor} pixels can."
            )

    def denoiser(self, batch: Array, *, cheap: bool = False) -> tuple[Block, ...]:
        net = Maps(1, self.dtype, self.latent_channels, *self.latent)
        self._draw(net, self.reuse_depth if cheap else 0)
        return for_batch((Block("unet", tuple(net.operators)),), batch)

    def _each(self, knob: str) -> tuple[int, ...]:
        values: tuple[int, ...] = getattr(self, knob)
        return values if len(values) > 1 else values * len(self.widths)

    def _down(self) -> list[Layer]:
        """Return what leaves a map for the way up, after the first convolution: layers and halvings."""
        found: list[Layer] = []
        stages = zip(self.widths, self._each("layers"), self._each("depths"), self._each("heads"), strict=True)
        for stage, (width, layers, depth, heads) in enumerate(stages):
            found += [Layer(stage, width, depth, heads)] * layers
            if stage < len(self.widths) - 1:
                found.append(Layer(stage, width, 0, 0, resample=True))
        return found

    def _up(self) -> list[Layer]:
        found: list[Layer] = []
        sizes_of = (self.widths, self._each("layers"), self._each("up_layers"), self._each("depths"))
        stages = list(zip(*sizes_of, self._each("heads"), strict=True))
        for stage in reversed(range(len(stages))):
            width, down, up, depth, heads = stages[stage]
            if up not in (0, down + 1):
                raise BadValueError(f"up_layers={up} of stage {stage + 1} must be {down + 1}: one for each map kept.")
            found += [Layer(stage, width, depth, heads)] * down + [Layer(stage, width, depth, heads, stage > 0)]
        return found

    def _draw(self, net: Maps, outer: int) -> None:
        """Append the network; `outer` > 0: only so many layers of each way."""
        time = self._time(net)
        net.last = BLOCK_INPUT
        net.filter("in", self.widths[0])
        down, up = self._down(), self._up()
        whole = not outer or outer >= len(up)
        kept = [net.here]
        for index, layer in enumerate(down if whole else down[: outer - 1]):
            self._layer(net, f"down{index}", layer, time, down=True)
            kept.append(net.here)
        if whole and self.mid:
            self._middle(net, time)
        first = 0 if whole else len(up) - outer
        if first:  # what the layers inside would give stands in memory
            net.back_to(Point(BLOCK_INPUT, up[first - 1].width, kept[-1].height, kept[-1].width))
        for index in range(first, len(up)):
            held = self.reuse_share > 0 and index == len(up) - min(self.reuse_depth, len(up))
            net.join(f"up{index}.join", (net.here, kept.pop()), kept=held)
            self._layer(net, f"up{index}", up[index], time, down=False)
        net.normed("norm")
        net.filter("out", self.latent_channels)

    def _layer(self, net: Maps, name: str, layer: Layer, time: str, *, down: bool) -> None:
        if down and layer.resample:
            net.filter(f"{name}.half", layer.width, stride=2)
            return
        net.residual_block(name, layer.width, time=time, time_width=4 * self.widths[0])
        if layer.depth:
            merged = self.token_merge if layer.stage == self._largest() else 0.0
            net.spatial_transformer(
                f"{name}.t", layer.depth, layer.heads, self.text_width, self.text_tokens, merged=merged
            )  # fmt: skip
        if layer.resample:
            net.upsample2(f"{name}.double")

    def _middle(self, net: Maps, time: str) -> None:
        width, heads, time_width = self.widths[-1], self._each("heads")[-1], 4 * self.widths[0]
        net.residual_block("mid0", width, time=time, time_width=time_width)
        if self.mid_depth:
            net.spatial_transformer("mid.t", self.mid_depth, heads, self.text_width, self.text_tokens)
        net.residual_block("mid1", width, time=time, time_width=time_width)

    def _largest(self) -> int:
        """Return the stage of the largest maps that have transformer layers."""
        return next((stage for stage, depth in enumerate(self._each("depths")) if depth), -1)

    def _time(self, net: Maps) -> str:
        """Append the embedding of the time (and of other vectors), two dense layers each; layers read its SiLU."""
        first, width = self.widths[0], 4 * self.widths[0]
        made = net.vector("time2", width, width, source=net.vector("time1", width, first, act="silu"), act="silu")
        if self.vectors:
            told = net.vector("vectors1", width, self.vectors, act="silu")
            told = net.vector("vectors2", width, width, source=told)
            made = net.add("time", "elementwise", {"rows": 1, "hidden": width, "operands": 2}, (made, told))
        return made
