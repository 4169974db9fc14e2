"""Transformers that denoise latents: DiT (Peebles & Xie 2023), PixArt, SD3, FLUX.1, and for video CogVideoX, Wan.

The latent is cut into patches of `patch` x `patch` elements (times frames), which are the tokens of the layers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from foundation.errors import BadValueError
from workloads.builders.chain import SILU_FLOP, Chain, Step, layer_blocks, wide
from workloads.builders.generative.blocks import LAYERS, TOGETHER, Stream, modulation
from workloads.builders.generative.model import DiffusionModel
from workloads.builders.generative.video import VideoAutoencoder
from workloads.builders.knobs import choice, names, size, sizes, switch
from workloads.graph import BLOCK_INPUT, Block
from workloads.table import Array

TIME_FEATURES = 256
"""Sines and cosines of the time that the first dense layer reads (Peebles & Xie 2023, their code)."""


@dataclass(frozen=True)
class TransformerDiffusion(DiffusionModel):
    """A list of `layers` (kinds of `diffusion_blocks`) over the tokens of an image or video, and of the text.

    `time_width`, `time_features`: of the embedded time and of what it is made from (0: hidden, 256 or hidden).
    `shared_modulation`: one dense layer makes the modulation of all layers, each adds a table (adaLN-single).
    `vectors`: widths of what else is embedded and added to the time (pooled text, guidance, sizes), each through two
    dense layers. `class_table`: classes that are embedded instead. `text_layers`: dense layers before the text.
    `learn_sigma`: the output has a variance beside the noise. `frames` are those of the video, of which the latent has
    one in `frame_step` and the first; 1 is an image.
    """

    family: ClassVar[str] = "diffusion-transformer"

    layers: tuple[str, ...] = names(("plain",) * 28, tuple(LAYERS))
    hidden: int = size(1152)
    heads: int = size(16, high=100_000)
    inter: int = size(4608)
    patch: int = size(2, high=1000)
    time_width: int = size(0, low=0)
    time_features: int = size(0, low=0)
    shared_modulation: bool = switch(False)
    vectors: tuple[int, ...] = sizes((0,), low=0)
    vector_widths: tuple[int, ...] = sizes((0,), low=0)
    class_table: int = size(0, low=0)
    text_width: int = size(0, low=0)
    text_layers: int = size(0, low=0, high=2)
    qk_norm: str = choice("none", ("none", "head", "wide", "layer"))
    position: str = choice("fixed", ("fixed", "stored", "rope"))
    affine_norms: bool = switch(False)
    cross_norm: bool = switch(False)
    learn_sigma: bool = switch(False)
    final: str = choice("dense", ("dense", "table", "expert"))
    frames: int = size(1, high=100_000)
    frame_step: int = size(4, high=1000)
    video_vae: str = choice("none", ("none", "wan", "cogvideox"))

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    @property
    def time(self) -> int:
        """Width of the embedded time."""
        return self.time_width or self.hidden

    @property
    def latent_frames(self) -> int:
        return 1 + (self.frames - 1) // self.frame_step

    @property
    def image_tokens(self) -> int:
        """Tokens of one image or video."""
        high, wide_ = (-(-side // self.patch) for side in self.latent)
        return high * wide_ * self.latent_frames

    @property
    def autoencoder(self) -> Any:
        if self.video_vae == "none":
            return super().autoencoder
        return VideoAutoencoder(self.video_vae, self.frames, self.vae_dtype or self.dtype)

    def check(self) -> None:
        super().check()
        if self.hidden % self.heads:
            raise BadValueError(f"heads={self.heads} does not divide hidden={self.hidden}.")
        if (self.frames - 1) % self.frame_step:
            near = 1 + round((self.frames - 1) / self.frame_step) * self.frame_step
            raise BadValueError(
                f"frames={self.frames} must be 1 more than a multiple of {self.frame_step}, e.g. {near}."
            )
        if self.frames > 1 and self.video_vae == "none":
            raise BadValueError(f"frames={self.frames} needs a video_vae: wan or cogvideox.")
        if self.video_vae != "none" and self.autoencoder.latent != (self.latent_channels, self.frame_step):
            channels, step = self.autoencoder.latent
            raise BadValueError(f"video_vae={self.video_vae} makes latent_channels={channels}, frame_step={step}.")
        if set(self.layers) != {"plain"} and not self.text_tokens:
            raise BadValueError("text_tokens=0: layers other than 'plain' see the text; it must be at least 1.")
        if len(self.vector_widths) not in (1, len(self.vectors)):
            raise BadValueError(f"vector_widths has {len(self.vector_widths)} entries for {len(self.vectors)} vectors.")
        kinds = {kind in TOGETHER for kind in self.layers}
        if len(kinds) > 1:
            raise BadValueError(f"layers mixes kinds that see the text ({', '.join(TOGETHER)}) with others.")

    def denoiser(self, batch: Array, *, cheap: bool = False) -> tuple[Block, ...]:
        """Return the blocks of one evaluation; a cheap step runs the first `reuse_depth` layers."""
        step = self._step(batch)
        kinds = self.layers[: self.reuse_depth] if cheap else self.layers
        layers = layer_blocks(kinds, lambda kind, chain: LAYERS[kind](self, chain), step, "layers")
        if len(layers) == 1:  # of the same name whether others follow or not
            layers = (replace(layers[0], name="layers.0"),)
        return (self._embedding(step), *layers, self._final(step))

    def _step(self, batch: Array) -> Step:
        together = self.layers[0] in TOGETHER
        length = np.asarray(float(self.image_tokens + self.text_tokens * together))
        act = wide(self.dtype)
        return Step(batch, length, length, 0.0 * length, "prefill", self.dtype, act, act, act)

    def _embedding(self, step: Step) -> Block:
        chain = Chain(step)
        time = self._vectors(chain)
        text = self._text(chain)
        rows, area = step.batch * self.image_tokens, self.patch**2 * self.latent_channels
        image = chain.gemm("patches", self.hidden, area, rows=rows, bias=True, inputs=(BLOCK_INPUT,))
        if self.position != "rope":
            stored = float(self.image_tokens * self.hidden) if self.position == "stored" else 0.0
            image = chain.pointwise("position", self.hidden, 1.0, rows=rows, shard="", parameters=stored, fused=True)
        found = [name for name in (image, text, time) if name]
        chain.pointwise("tokens", self.hidden, 0.0, op="copy", shard="", inputs=found, fused=True)
        if self.reuse_share:  # what the layers added, for the cheap steps
            kept = chain.step.tokens * self.hidden
            chain.operators[-1] = replace(chain.operators[-1], state_elements=kept)
        return Block("embed", tuple(chain.operators))

    def _vectors(self, chain: Chain) -> str:
        """Append the embedding of the time and of what is added to it, and the modulation that all layers share."""
        rows = chain.step.batch
        first = self.time_features or TIME_FEATURES
        made = [self._two(chain, "time", first, self.time)]
        if self.class_table:
            shape = {"rows": rows, "hidden": self.hidden}
            stored = float(self.class_table * self.hidden)
            made.append(chain.add("class", "embedding", shape, inputs=(BLOCK_INPUT,), parameters=stored))
        out = self.vector_widths * (len(self.vectors) // len(self.vector_widths))
        for index, (features, width) in enumerate(zip(self.vectors, out, strict=True)):
            if features:
                made.append(self._two(chain, f"vector{index}", features, width or self.time))
        if len(made) > 1:
            chain.pointwise("vectors", self.time, 1.0, operands=len(made), rows=rows, shard="", inputs=made)
        if self.shared_modulation:
            chain.gemm("modulation", 6 * self.hidden, self.time, rows=rows, bias=True)
        return chain.last

    def _two(self, chain: Chain, name: str, features: int, width: int) -> str:
        """Append two dense layers over one vector an image, SiLU between."""
        rows = chain.step.batch
        chain.gemm(f"{name}1", width, features, rows=rows, bias=True, inputs=(BLOCK_INPUT,))
        chain.pointwise(f"{name}.act", width, SILU_FLOP, rows=rows, shard="", fused=True)
        return chain.gemm(f"{name}2", width, width, rows=rows, bias=True)

    def _text(self, chain: Chain) -> str:
        rows, width = chain.step.batch * self.text_tokens, self.text_width
        chain.last = BLOCK_INPUT
        for layer in range(self.text_layers):
            chain.gemm(f"text{layer}", self.hidden, width, rows=rows, bias=True)
            width = self.hidden
        return chain.last if self.text_layers else ""

    def _final(self, step: Step) -> Block:
        """Append the last norm with its modulation, and the projection to what a patch holds."""
        chain = Chain(step)
        image = Stream(self, chain, step.batch * self.image_tokens)
        if self.final == "expert":
            image.norm("norm", affine=True)
        if self.final == "table":
            shape = {"rows": step.batch, "hidden": 2 * self.hidden}
            stored = 2.0 * self.hidden
            vector = chain.add("modulation", "elementwise", shape, inputs=(BLOCK_INPUT,), parameters=stored)
        else:
            vector = modulation(self, chain, 2)
        image.norm("final_norm", vector, affine=self.final == "expert")
        image.gemm("out", self.patch**2 * self.latent_channels * (2 if self.learn_sigma else 1), self.hidden)
        return Block("final", tuple(chain.operators))
