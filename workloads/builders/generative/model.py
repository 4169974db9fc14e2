"""Generators that denoise a latent (Rombach et al. 2022): what a request is, whatever network denoises.

A request encodes its prompt once, runs the denoiser `steps` times (on both the prompt and the empty prompt where
`guidance` is on: Ho & Salimans 2022), and decodes the latent once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from foundation.errors import BadValueError
from workloads.builders.generative.text import PATTERN, TextEncoder
from workloads.builders.generative.vae import Autoencoder
from workloads.builders.knobs import KnobModel, choice, number_format_knob, rows, share, size, sizes, switch
from workloads.builders.one_pass import checked_batch, one_pass
from workloads.builders.vision.layers import in_format
from workloads.graph import Block, Pass, Size, Workload, WorkloadGraph
from workloads.graph_model import with_batch
from workloads.model import Request
from workloads.table import Array

PARTS = ("all", "text", "denoiser", "decoder", "encoder", "autoencoder")
CHEAP = "denoise-cheap"
TRAINING_NOTE = "A training step is one of the denoiser; latents and encoded prompts are taken as given."


@dataclass(frozen=True)
class DiffusionModel(KnobModel):
    """A latent diffusion model. `part`: the whole request, or one evaluation of one network (`autoencoder`:
    encoder and decoder).

    `image` is the side of a square image in pixels, `height` and `width` those of another one. `guidance_apart`: the
    empty prompt is a call of its own, not part of the batch. `text` lists the text encoders (`diffusion_text`); the
    denoiser sees `text_tokens` tokens. `reuse_share` of the steps are cheap: they run the outer `reuse_depth` layers
    and read the rest from the step before. `vae_batch`: how many are decoded at a time (0: the whole batch).
    """

    part: str = choice("all", PARTS)
    image: int = size(512, high=100_000)
    height: int = size(0, low=0, high=100_000)
    width: int = size(0, low=0, high=100_000)
    steps: int = size(50, high=100_000)
    guidance: bool = switch(True)
    guidance_apart: bool = switch(False)
    reuse_share: float = share(0.0, high=0.99)
    reuse_depth: int = size(1, high=10_000)
    text: tuple[str, ...] = rows(("clip-l",), PATTERN, "t5-xxl@256 or clip:12x768x12x3072x49408->768@77")
    text_tokens: int = size(77, low=0, high=10**6)
    latent_channels: int = size(4, high=10_000)
    vae_widths: tuple[int, ...] = sizes((128, 256, 512, 512))
    vae_layers: int = size(2, high=1000)
    vae_quant_conv: bool = switch(True)
    vae_batch: int = size(0, low=0)
    vae_dtype: str = number_format_knob()
    dtype: str = number_format_knob("fp16")

    @abstractmethod
    def denoiser(self, batch: Array, *, cheap: bool = False) -> tuple[Block, ...]:
        """Return the blocks of one evaluation for `batch` latents; those of a cheap step are some of them."""

    @property
    def defaults(self) -> Mapping[str, Any]:
        return {"prompt": 0, "generate": 0, "dtype": self.dtype}

    @property
    def pixels(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.height or self.image, self.width or self.image

    @property
    def latent(self) -> tuple[int, int]:
        """Height and width of the latent. Raises BadValueError where the sides are no multiples of its step."""
        factor = self.autoencoder.factor
        for side in self.pixels:
            if side % factor:
                near = max(factor, round(side / factor) * factor)
                raise BadValueError(f"A side of {side} pixels is no multiple of {factor}; {near} is the nearest.")
        return self.pixels[0] // factor, self.pixels[1] // factor

    @property
    def autoencoder(self) -> Any:
        """The networks between pixels and latents."""
        return Autoencoder(
            self.vae_widths, self.vae_layers, self.latent_channels, self.vae_quant_conv, self.vae_dtype or self.dtype
        )

    def check(self) -> None:
        if not self.latent:
            raise BadValueError("The latent has no pixels.")
        self.encoders()

    def encoders(self) -> list[TextEncoder]:
        """Return the text encoders, in order. Raises UnknownNameError."""
        return [TextEncoder.of(entry) for entry in self.text if entry != "none"]

    def workload(self, request: Request) -> Workload:
        """Return the passes of a request for `batch` images, one pass of one part, or a training step."""
        model: DiffusionModel = in_format(self, request)
        batch = checked_batch(request)
        if request.mode == "train":
            notes = (*self.notes, TRAINING_NOTE)
            return one_pass(self.name, model._graph(model.denoiser(batch), batch), batch, request, notes=notes)
        passes = tuple(model._request(batch) if self.part == "all" else model._one_part(batch))
        owners = {run.name: np.arange(batch.size) for run in passes}
        whole = Workload(self.name, passes, batch=batch, requests=int(batch.size), owners=owners, notes=self.notes)
        full = tuple(run for run in passes if run.name != CHEAP)  # cheap steps run parts of what these hold
        return replace(whole, stored=tuple(replace(whole, passes=full).distinct_blocks()))

    def summary(self) -> dict[str, Any]:
        """Return parameters held, and the MACs of everything that runs for one image."""
        from workloads.lowering import lower
        from workloads.work import count_work

        table = lower(self.workload(Request()).passes).table
        return {**super().summary(), "macs": float((count_work(table).macs * table.full("count")).sum())}

    def _request(self, batch: Array) -> list[Pass]:
        """Return the passes of a whole request: text, denoise (full and cheap steps), image."""
        prompts = batch * (2.0 if self.guidance else 1.0)
        noisy, calls = (batch, 2) if self.guidance and self.guidance_apart else (prompts, 1)
        cheap = min(round(self.steps * self.reuse_share), self.steps - 1)
        passes = [self._pass("text", self._text_blocks(prompts), batch)] if self.encoders() else []
        full = kept(self.denoiser(noisy), calls)
        passes.append(self._pass("denoise", full, batch, calls * (self.steps - cheap)))
        if cheap:
            passes.append(self._pass(CHEAP, self.denoiser(noisy, cheap=True), batch, calls * cheap))
        return [*passes, *self._decoding(batch)]

    def _one_part(self, batch: Array) -> list[Pass]:
        """Return one evaluation of the network that `part` names."""
        if self.part == "denoiser":
            return [self._pass("forward", self.denoiser(batch), batch)]
        if self.part == "text":
            if not self.encoders():
                raise BadValueError(
                    f"'{self.name}' has no text encoder; its parts are the denoiser and the autoencoder."
                )
            return [self._pass("forward", self._text_blocks(batch), batch)]
        passes = []
        if self.part != "decoder":
            passes.append(self._pass("encode", for_batch(self.autoencoder.encoder(*self.pixels), batch), batch))
        return passes if self.part == "encoder" else passes + self._decoding(batch)

    def _decoding(self, batch: Array) -> list[Pass]:
        together = np.minimum(batch, self.vae_batch) if self.vae_batch else batch
        return [
            self._pass(name, for_batch(blocks, together), together, times * batch / together)
            for name, times, blocks in self.autoencoder.decoding(*self.pixels)
        ]

    def _pass(self, name: str, blocks: Sequence[Block], batch: Array, times: Size = 1.0) -> Pass:
        return Pass(name, self._graph(blocks, batch), np.ones(batch.shape) * times)

    def _text_blocks(self, batch: Array) -> Sequence[Block]:
        return [block for encoder in self.encoders() for block in encoder.blocks(batch, self.dtype)]

    def _graph(self, blocks: Sequence[Block], batch: Size) -> WorkloadGraph:
        across = batch * float(self.latent_channels * self.latent[0] * self.latent[1])
        return WorkloadGraph(self.name, tuple(blocks), boundary_elements=across)


def kept(blocks: Sequence[Block], times: Size) -> tuple[Block, ...]:
    """Return blocks that hold so many times what they hold between steps."""
    return tuple(
        replace(b, operators=tuple(replace(o, state_elements=o.state_elements * times) for o in b.operators))
        for b in blocks
    )


def for_batch(blocks: Sequence[Block], batch: Array) -> tuple[Block, ...]:
    """Return blocks that were built for one image, for `batch` of them; what they keep grows with it."""
    return kept(with_batch(WorkloadGraph("image", tuple(blocks)), batch).blocks, batch)
