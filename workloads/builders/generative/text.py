"""Text encoders of image and video generators: CLIP's (Radford et al. 2021) and T5's (Raffel et al. 2020).

One is written `kind:layers x hidden x heads x inter x vocabulary`, e.g. `clip:12x768x12x3072x49408`, `->768` for a
final projection, `@77` for the length to which prompts are padded; or by a name of `NAMED`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from foundation.errors import BadValueError, UnknownNameError
from workloads.builders.chain import Chain, Step, layer_blocks, wide
from workloads.builders.language.feedforward import two_layer
from workloads.builders.language.mixers import multi_head
from workloads.graph import BLOCK_INPUT, Block, Size

NAMED: dict[str, str] = {
    "clip-l": "clip:12x768x12x3072x49408@77",
    "clip-l-projected": "clip:12x768x12x3072x49408->768@77",
    "clip-h": "clip:23x1024x16x4096x49408@77",
    "open-clip-bigg": "clip:32x1280x20x5120x49408->1280@77",
    "t5-xxl": "t5:24x4096x64x10240x32128@256",
    "umt5-xxl": "umt5:24x4096x64x10240x256384@512",
}
"""config.json of openai/clip-vit-large-patch14, stable-diffusion-2-1 (text_encoder: 23 of OpenCLIP-H's 24 layers),
stable-diffusion-xl-base-1.0 (text_encoder_2), google/t5-v1_1-xxl, google/umt5-xxl."""

PATTERN = r"(none|[a-z][a-z0-9-]*|(clip|umt5|t5):[1-9]\d{0,3}(x[1-9]\d{0,6}){4}(->[1-9]\d{0,6})?)(@[1-9]\d{0,5})?"
CLIP_POSITIONS = 77
RELATIVE_BUCKETS = 32


@dataclass(frozen=True)
class TextEncoder:
    """One encoder: pre-norm layers, CLIP's causal with biases, T5's gated without biases and with relative positions.

    umT5 has a table of relative positions a layer, T5 one for all.
    """

    label: str
    kind: str
    layers: int
    hidden: int
    heads: int
    inter: int
    vocabulary: int
    projection: int
    tokens: int

    @classmethod
    def of(cls, text: str) -> TextEncoder:
        """Return the encoder that a knob's entry names. Raises UnknownNameError, BadValueError."""
        name, _, length = text.partition("@")
        if ":" not in name and name not in NAMED:
            hint = "One can be written out too: clip:12x768x12x3072x49408->768@77."
            raise UnknownNameError("text encoder", name, NAMED, hint)
        spelled, _, own = NAMED.get(name, f"{name}@{CLIP_POSITIONS}").partition("@")
        kind, _, shape = spelled.partition(":")
        layers, hidden, heads, inter, vocabulary, *rest = (int(number) for number in re.findall(r"\d+", shape))
        if hidden % heads:
            raise BadValueError(f"text encoder '{name}': {heads} heads do not divide {hidden}.")
        projection = rest[0] if rest else 0
        tokens = int(length or own)
        if kind == "clip" and tokens > CLIP_POSITIONS:
            raise BadValueError(f"text encoder '{text}': CLIP has {CLIP_POSITIONS} positions; ask for no more tokens.")
        return cls(name, kind, layers, hidden, heads, inter, vocabulary, projection, tokens)

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    def blocks(self, batch: Size, dtype: str) -> tuple[Block, ...]:
        """Return the blocks of one pass over `batch` prompts."""
        act = wide(dtype)
        length = np.asarray(float(self.tokens))
        step = Step(batch, length, length, 0.0 * length, "prefill", dtype, act, act, act)
        name = f"text.{self.label}"
        layers = layer_blocks([()] * self.layers, self._layer, step, f"{name}.layers")
        return (self._embedding(step, name), *layers, self._end(step, name))

    def _embedding(self, step: Step, name: str) -> Block:
        chain = Chain(step)
        shape = {"rows": step.tokens, "hidden": self.hidden}
        stored = float(self.vocabulary * self.hidden)
        tokens = chain.add("embed", "embedding", shape, shard="vocab", parameters=stored)
        if self.kind == "clip":
            stored = float(CLIP_POSITIONS * self.hidden)
            place = chain.add("position", "embedding", shape, inputs=(BLOCK_INPUT,), parameters=stored)
            chain.pointwise("add", self.hidden, 1.0, operands=2, shard="", inputs=(tokens, place), fused=True)
        elif self.kind == "t5":
            self._bias(chain)
            chain.last = tokens
            chain.pointwise("scale", self.hidden, 1.0, shard="", fused=True)
        return Block(f"{name}.embed", tuple(chain.operators))

    def _bias(self, chain: Chain) -> None:
        """Append the look-up of relative positions, which attention kernels add to the scores."""
        shape = {"rows": float(self.tokens) ** 2, "hidden": self.heads}
        stored = float(RELATIVE_BUCKETS * self.heads)
        chain.add("bias", "embedding", shape, inputs=(BLOCK_INPUT,), parameters=stored)

    def _layer(self, _: Any, chain: Chain) -> None:
        clip = self.kind == "clip"
        norm, bias = ("layer", "all") if clip else ("rms", "none")
        if self.kind == "umt5":
            self._bias(chain)
            chain.last = BLOCK_INPUT
        chain.norm("mixer_norm", norm, self.hidden)
        multi_head(
            chain, hidden=self.hidden, heads=self.heads, kv_heads=self.heads, head_dim=self.head_dim, bias=bias,
            rope=False, causal=clip, cached=False,
        )  # fmt: skip
        chain.norm("ffn_norm", norm, self.hidden)
        two_layer(chain, self.hidden, self.inter, gated=not clip, bias=clip)

    def _end(self, step: Step, name: str) -> Block:
        chain = Chain(step)
        chain.norm("norm", "layer" if self.kind == "clip" else "rms", self.hidden)
        if self.projection:
            normed = chain.last
            chain.gemm("project", self.projection, self.hidden, rows=step.batch)
            chain.pointwise("encoded", self.hidden, 0.0, op="copy", shard="", inputs=(normed, chain.last), fused=True)
        return Block(f"{name}.end", tuple(chain.operators))
