"""Autoencoders between pixels and latents (Rombach et al. 2022): convolutions, one attention in the middle.

Stages of `widths` channels from the pixels inwards; each but the last halves the sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workloads.builders.generative.layers import Maps
from workloads.graph import Block


@dataclass(frozen=True)
class Autoencoder:
    """Encoder and decoder of images of `colours` channels; `quant_conv`: a 1x1 convolution on the latent's side."""

    widths: Sequence[int]
    layers: int
    latent: int
    quant_conv: bool
    dtype: str
    colours: int = 3

    @property
    def factor(self) -> int:
        """Pixels of one side of a latent's element."""
        return int(2 ** (len(self.widths) - 1))

    def decoder(self, height: int, width: int) -> tuple[Block, ...]:
        """Return the blocks that turn a latent into an image of height x width pixels, for one image."""
        net = _Blocks(Maps(1, self.dtype, self.latent, height // self.factor, width // self.factor), "vae.decoder")
        net.block("in", self._decoder_in)
        for index, channels in enumerate(reversed(self.widths)):
            net.block(f"up{index}", self._stage(self.layers + 1, channels, index, up=True))
        net.block("out", lambda maps: self._out(maps, self.colours))
        return tuple(net.blocks)

    def decoding(self, height: int, width: int) -> list[tuple[str, float, tuple[Block, ...]]]:
        """Return (pass, times, blocks) of decoding one image."""
        return [("image", 1.0, self.decoder(height, width))]

    def encoder(self, height: int, width: int) -> tuple[Block, ...]:
        """Return the blocks that turn one image into a latent (mean and log-variance)."""
        net = _Blocks(Maps(1, self.dtype, self.colours, height, width), "vae.encoder")
        net.block("in", lambda maps: maps.filter("conv", self.widths[0]))
        for index, channels in enumerate(self.widths):
            net.block(f"down{index}", self._stage(self.layers, channels, index, up=False))
        net.block("out", self._encoder_out)
        return tuple(net.blocks)

    def _decoder_in(self, maps: Maps) -> None:
        if self.quant_conv:
            maps.filter("quant", self.latent, 1)
        maps.filter("conv", self.widths[-1])
        _middle(maps)

    def _encoder_out(self, maps: Maps) -> None:
        _middle(maps)
        self._out(maps, 2 * self.latent)
        if self.quant_conv:
            maps.filter("quant", 2 * self.latent, 1)

    def _out(self, maps: Maps, channels: int) -> None:
        maps.normed("norm")
        maps.filter("out", channels)

    def _stage(self, layers: int, channels: int, index: int, *, up: bool) -> Callable[[Maps], None]:
        def draw(maps: Maps) -> None:
            for layer in range(layers):
                maps.residual_block(f"{layer}", channels)
            if index < len(self.widths) - 1 and up:
                maps.upsample2("up")
            elif index < len(self.widths) - 1:
                maps.filter("down", channels, stride=2)

        return draw


class _Blocks:
    def __init__(self, maps: Maps, prefix: str) -> None:
        self.maps, self.prefix = maps, prefix
        self.blocks: list[Block] = []

    def block(self, name: str, draw: Callable[[Maps], object]) -> None:
        self.maps = self.maps.next_block()
        draw(self.maps)
        self.blocks.append(Block(f"{self.prefix}.{name}", tuple(self.maps.operators)))


def _middle(maps: Maps) -> None:
    """Append a residual block, attention with one head, and a residual block."""
    channels = maps.channels
    maps.residual_block("mid0", channels)
    maps.self_attention("mid", 1, bias=True)
    maps.residual_block("mid1", channels)
