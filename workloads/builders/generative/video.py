"""Autoencoders of video: 3-D convolutions that never look at later frames (Wan 2.1; CogVideoX, Yang et al. 2024).

A 3-D convolution is written as a 2-D one: the frames are part of the batch, the kernel's depth part of the input
channels. Its products are exact; what it reads counts each frame once for every place in the kernel. Videos are decoded
in chunks of a few latent frames, and each convolution keeps the last frames of a chunk for the next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from workloads.builders.generative.layers import Maps
from workloads.graph import Block


class Plan(NamedTuple):
    """Sizes of a video autoencoder.

    `halvings`: which changes of size, from the pixels inwards, halve the frames too; `doublings`: which, from the
    latent outwards, double them. `chunk`: latent frames that are decoded at a time; the first takes the remainder.
    `narrowing`: an enlargement also halves the channels. `time_conv`: it has a convolution over time. `told`: norms of
    the decoder are scaled and shifted by what two 1x1 convolutions make of the latent.
    """

    widths: tuple[int, ...]
    layers: int
    latent: int
    halvings: tuple[bool, ...]
    doublings: tuple[bool, ...]
    chunk: int
    norm: str
    quant_conv: bool
    attention: bool
    narrowing: bool
    time_conv: bool
    told: bool


PLANS: dict[str, Plan] = {
    "wan": Plan(
        widths=(96, 192, 384, 384), layers=2, latent=16, halvings=(False, True, True), doublings=(True, True, False),
        chunk=1, norm="rms", quant_conv=True, attention=True, narrowing=True, time_conv=True, told=False,
    ),
    "cogvideox": Plan(
        widths=(128, 256, 256, 512), layers=3, latent=16, halvings=(True, True, False), doublings=(True, True, False),
        chunk=2, norm="group", quant_conv=False, attention=False, narrowing=False, time_conv=False, told=True,
    ),
}  # fmt: skip
"""config.json of the `vae` of Wan-AI/Wan2.1-T2V-1.3B-Diffusers and of THUDM/CogVideoX-2b."""


@dataclass(frozen=True)
class VideoAutoencoder:
    """Encoder and decoder of videos of `frames` frames (1 more than a multiple of the latent's step)."""

    kind: str
    frames: int
    dtype: str
    factor: int = 8

    @property
    def latent(self) -> tuple[int, int]:
        """Channels of the latent, and frames of the video for each of its frames after the first."""
        plan = PLANS[self.kind]
        return plan.latent, 2 ** sum(plan.halvings)

    def decoding(self, height: int, width: int) -> list[tuple[str, float, tuple[Block, ...]]]:
        """Return (pass, times, blocks) of decoding one video: the first chunk, and the others."""
        plan = PLANS[self.kind]
        total = 1 + (self.frames - 1) // self.latent[1]
        chunks = max(1, total // plan.chunk)
        start = total - (chunks - 1) * plan.chunk
        runs = [
            ("image-first" if chunks > 1 else "image", 1.0, self._decoder(plan, start, height, width, chunks, True))
        ]
        if chunks > 1:
            runs.append(("image", chunks - 1.0, self._decoder(plan, plan.chunk, height, width, chunks, False)))
        return runs

    def _decoder(
        self, plan: Plan, frames: int, height: int, width: int, chunks: int, first: bool
    ) -> tuple[Block, ...]:  # fmt: skip
        maps = Maps(frames, self.dtype, plan.latent, height // self.factor, width // self.factor)
        net = _Video(plan, maps, told=plan.told, first=first, kept=chunks > 1)
        blocks = [net.block("vae.decoder.in", lambda: self._enter(net, plan))]
        for index, channels in enumerate(reversed(plan.widths)):
            blocks.append(net.block(f"vae.decoder.up{index}", self._up(net, plan, channels, index)))
        blocks.append(net.block("vae.decoder.out", lambda: net.finish(3)))
        return tuple(blocks)

    def encoder(self, height: int, width: int) -> tuple[Block, ...]:
        """Return the blocks that turn one video, all at once, into its latent (mean and log-variance)."""
        plan = PLANS[self.kind]
        net = _Video(plan, Maps(self.frames, self.dtype, 3, height, width))
        blocks = [net.block("vae.encoder.in", lambda: net.conv3("conv", plan.widths[0]))]
        for index, channels in enumerate(plan.widths):
            blocks.append(net.block(f"vae.encoder.down{index}", self._down(net, plan, channels, index)))
        blocks.append(net.block("vae.encoder.out", lambda: self._leave(net, plan)))
        return tuple(blocks)

    def _enter(self, net: _Video, plan: Plan) -> None:
        if plan.quant_conv:
            net.conv3("quant", plan.latent, 1, 1)
        net.conv3("conv", plan.widths[-1])
        net.middle()

    def _leave(self, net: _Video, plan: Plan) -> None:
        net.middle()
        net.finish(2 * plan.latent)
        if plan.quant_conv:
            net.conv3("quant", 2 * plan.latent, 1, 1)

    def _up(self, net: _Video, plan: Plan, channels: int, index: int) -> Callable[[], None]:
        def draw() -> None:
            for layer in range(plan.layers + 1):
                net.residual(f"{layer}", channels)
            if index < len(plan.widths) - 1:
                net.enlarge("up", plan.doublings[index])

        return draw

    def _down(self, net: _Video, plan: Plan, channels: int, index: int) -> Callable[[], None]:
        def draw() -> None:
            for layer in range(plan.layers):
                net.residual(f"{layer}", channels)
            if index < len(plan.widths) - 1:
                net.reduce("down", plan.halvings[index])

        return draw


class _Video:
    """Layers over frames: the stack's batch is the frames of one video or chunk, the `first` or a later one.

    `kept`: convolutions keep their last frames for the next chunk. `told`: see `Plan`.
    """

    def __init__(
        self, plan: Plan, maps: Maps, *, told: bool = False, first: bool = True, kept: bool = False
    ) -> None:  # fmt: skip
        self.plan, self.maps = plan, maps
        self.told, self.first, self.kept = told, first, kept

    def block(self, name: str, draw: Callable[[], Any]) -> Block:
        self.maps = self.maps.next_block()
        draw()
        return Block(name, tuple(self.maps.operators))

    def conv3(self, name: str, c_out: int, kernel: int = 3, depth: int = 3, *, stride: int = 1) -> str:
        """Append a convolution over `depth` frames and `kernel` x `kernel` pixels."""
        maps = self.maps
        held = float((depth - 1) * maps.channels * maps.height * maps.width)
        maps.take(maps.channels * depth)
        made = maps.filter(name, c_out, kernel, stride=stride)
        if self.kept:
            maps.operators[-1] = replace(maps.operators[-1], state_elements=held)
        return made

    def norm(self, name: str) -> None:
        maps = self.maps
        maps.norm(name, self.plan.norm, bias=self.plan.norm == "group")
        if not self.told:
            return
        normed, channels = maps.here, maps.channels
        for part in ("scale", "shift"):
            shape = {"batch": maps.batch, "c_in": self.plan.latent, "h": maps.height, "w": maps.width, "kh": 1,
                     "kw": 1, "c_out": channels}  # fmt: skip
            stored = float(channels * (self.plan.latent + 1))
            maps.add(f"{name}.{part}", "conv2d", shape, ("",), parameters=stored)
        maps.back_to(normed)
        maps.pointwise(f"{name}.told", 2.0, inputs=(normed.name, f"{name}.scale", f"{name}.shift"))

    def residual(self, name: str, c_out: int) -> None:
        maps = self.maps
        entry = maps.here
        for part in ("1", "2"):
            self.norm(f"{name}.norm{part}")
            maps.activate(f"{name}.silu{part}", "silu")
            self.conv3(f"{name}.conv{part}", c_out)
        out, shortcut = maps.last, entry.name
        if entry.channels != c_out:
            maps.back_to(entry)
            shortcut = maps.filter(f"{name}.shortcut", c_out, 1)
        maps.last = out
        maps.residual(f"{name}.add", shortcut)

    def middle(self) -> None:
        channels = self.maps.channels
        self.residual("mid0", channels)
        if self.plan.attention:
            maps, entry = self.maps, self.maps.last
            maps.norm("mid.norm", "rms", bias=False)
            maps.linear("mid.qkv", 3 * channels)
            maps.attend("mid.attention", 1, channels)
            maps.linear("mid.o", channels)
            maps.residual("mid.add", entry)
        self.residual("mid1", channels)

    def finish(self, channels: int) -> None:
        self.norm("norm")
        self.maps.activate("silu", "silu")
        self.conv3("out", channels)

    def enlarge(self, name: str, twice: bool) -> None:
        """Append an enlargement to twice the sides, and to twice the frames (but a video's first) where `twice`."""
        maps, channels = self.maps, self.maps.channels
        if twice:
            if self.plan.time_conv:
                self._over_time(f"{name}.time", 2 * channels)
                maps.take(channels)  # the two halves are frames of their own
            maps.batch = 2 * maps.batch - self.first
        maps.resize(f"{name}.resize", 2)
        maps.filter(f"{name}.conv", channels // 2 if self.plan.narrowing else channels)

    def reduce(self, name: str, twice: bool) -> None:
        """Append a halving of the sides, and of the frames after the first where `twice`."""
        maps, channels = self.maps, self.maps.channels
        if twice and not self.plan.time_conv:
            maps.batch = (maps.batch + 1) // 2
            maps.pointwise(f"{name}.frames", 2.0)
        maps.filter(f"{name}.conv", channels, stride=2)
        if twice and self.plan.time_conv:
            maps.batch = (maps.batch + 1) // 2
            self._over_time(f"{name}.time", channels)

    def _over_time(self, name: str, c_out: int) -> None:
        self.conv3(name, c_out, 1, 3)
