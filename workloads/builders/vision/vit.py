"""Vision transformers (Dosovitskiy et al. 2020) and those that differ in parts: DeiT, BEiT, EVA, DINO, SigLIP.

Patches become tokens; class tokens and registers go before them; pre-norm encoder layers; a head that reads one token,
the mean, or what a learned query attends to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from foundation.errors import BadValueError
from workloads.builders.chain import Chain, Step, layer_blocks, wide
from workloads.builders.knobs import KnobModel, choice, number_format_knob, size, switch
from workloads.builders.one_pass import checked_batch
from workloads.builders.vision.layers import image_pass, in_format
from workloads.builders.vision.vit_parts import MLPS, RELATIVE, attention_pool, encoder_layer
from workloads.graph import BLOCK_INPUT, Block, Size, Workload, WorkloadGraph
from workloads.model import Request


@dataclass(frozen=True)
class VisionTransformer(KnobModel):
    """An image of `image` x `image` pixels becomes (image / patch)^2 tokens, after the tokens that precede them.

    `inter` 0 means 4 x hidden; `head_dim` 0 means hidden / heads.

    Attributes:
        pool: what the classifier reads: the class token, the mean of the tokens, or a `map` head (SigLIP).
        pool_inter: hidden features of a map head's feed-forward part (0: inter).
        class_token: `auto`: with pool `token` only. registers: learned tokens beside it (Darcet et al. 2023).
        position: a table for all tokens, for the patches alone, or none; rope turns queries and keys, `mixed` by
            learned frequencies of each layer (Heo et al. 2024).
        relative: learned scores of relative positions: a table a layer (`table`, with entries for a class token where
            there is one), or a small network of `relative_width` hidden features, in each layer or shared.
        qkv_bias: `auto`: as bias; `no-key`: queries and values have one.
        norm_at: which tokens the last normalisation covers: all, the `pooled` one, both, or none.
        stem_norm: a normalisation before the first layer. key_norm: of queries and keys, a head. attention_norm,
            mlp_norm: of what goes into the second projection (EVA-02).
        distilled: a second class token with a classifier of its own (DeiT).
        merge: tokens that every layer merges into others after its attention (Bolya et al. 2022), at most half of
            the patches that are left.
    """

    family: ClassVar[str] = "vit"

    image: int = size(224, high=100_000)
    channels: int = size(3, high=100_000)
    classes: int = size(1000, low=0)
    patch: int = size(16, high=10_000)
    layers: int = size(12, high=10_000)
    hidden: int = size(768)
    heads: int = size(12, high=100_000)
    head_dim: int = size(0, low=0, high=100_000)
    inter: int = size(0, low=0)
    mlp: str = choice("gelu", tuple(MLPS))
    bias: bool = switch(True)
    qkv_bias: str = choice("auto", ("auto", "all", "no-key", "none"))
    patch_bias: bool = switch(True)
    pool: str = choice("token", ("token", "mean", "map"))
    pool_inter: int = size(0, low=0)
    class_token: str = choice("auto", ("auto", "with", "without"))
    registers: int = size(0, low=0, high=10_000)
    position: str = choice("table", ("table", "patches", "none"))
    rope: str = choice("none", ("none", "axial", "mixed"))
    relative: str = choice("none", RELATIVE)
    relative_width: int = size(512, high=100_000)
    norm: str = choice("layer", ("layer", "rms"))
    norm_at: str = choice("tokens", ("tokens", "pooled", "both", "none"))
    stem_norm: bool = switch(False)
    key_norm: bool = switch(False)
    attention_norm: bool = switch(False)
    mlp_norm: bool = switch(False)
    layer_scale: bool = switch(False)
    distilled: bool = switch(False)
    merge: int = size(0, low=0)
    dtype: str = number_format_knob("fp16")
    attention_dtype: str = number_format_knob()

    def check(self) -> None:
        if not self.head_dim and self.hidden % self.heads:
            raise BadValueError(f"heads={self.heads} does not divide hidden={self.hidden}; set head_dim.")
        if self.image < self.patch:
            raise BadValueError(f"image={self.image} is smaller than patch={self.patch}.")
        if self.pool == "token" and self.class_token == "without":
            raise BadValueError(
                "pool=token reads the class token, which class_token=without takes away; use mean or map."
            )

    @property
    def patches(self) -> int:
        return (self.image // self.patch) ** 2

    @property
    def has_class_token(self) -> bool:
        return self.class_token == "with" or (self.class_token == "auto" and self.pool == "token")

    @property
    def prefix(self) -> int:
        """Tokens before the patches."""
        return self.has_class_token + self.distilled + self.registers

    @property
    def tokens(self) -> int:
        """Tokens of one image."""
        return self.patches + self.prefix

    @property
    def head_size(self) -> int:
        return self.head_dim or self.hidden // self.heads

    @property
    def defaults(self) -> Mapping[str, Any]:
        return {"prompt": 0, "generate": 0, "dtype": self.dtype}

    def workload(self, request: Request) -> Workload:
        """Return one forward pass over a batch of images, or a training step. Raises BadValueError."""
        model: VisionTransformer = in_format(self, request)
        batch = checked_batch(request)
        return image_pass(model, model.graph(batch), batch, request)

    def graph(self, batch: Size) -> WorkloadGraph:
        """Return the graph of one pass."""
        act = wide(self.dtype)
        attention = self.attention_dtype or act
        step = Step(batch, self.tokens, self.tokens, 0.0, "prefill", self.dtype, act, attention, attention)
        blocks = [self._embedding(step)]
        if self.merge:
            for layer in range(self.layers):
                chain = Chain(step)
                encoder_layer(self, chain)
                blocks.append(Block(f"layers.{layer}", tuple(chain.operators)))
                step = chain.step
        else:
            blocks += layer_blocks([()] * self.layers, lambda _, chain: encoder_layer(self, chain), step, "layers")
        blocks.append(self._head(step))
        return WorkloadGraph(self.name, tuple(blocks), boundary_elements=batch * self.tokens * self.hidden)

    def _embedding(self, step: Step) -> Block:
        chain = Chain(step)
        shape = {
            "batch": step.batch, "c_in": self.channels, "h": self.image, "w": self.image, "c_out": self.hidden,
            "kh": self.patch, "kw": self.patch, "stride": self.patch,
        }  # fmt: skip
        stored = self.hidden * (self.channels * self.patch**2 + (self.bias and self.patch_bias))
        chain.add("patches", "conv2d", shape, dtype=self.dtype, inputs=(BLOCK_INPUT,), parameters=float(stored))
        places = {"table": self.tokens, "patches": self.patches, "none": 0}[self.position]
        table = self.hidden * (places + self.prefix)
        chain.pointwise("position", self.hidden, 1.0, operands=2, shard="", parameters=float(table))
        if self.stem_norm:
            chain.norm("stem_norm", self.norm, self.hidden, residual=False)
        return Block("embed", tuple(chain.operators))

    def _head(self, step: Step) -> Block:
        chain = Chain(step)
        if self.norm_at in ("tokens", "both"):
            chain.norm("norm", self.norm, self.hidden, residual=False)
        if self.pool == "mean":
            left = int(step.q_len)
            chain.pointwise("pool", self.hidden, left, operands=left, rows=step.batch, shard="")
        if self.pool == "map":
            attention_pool(self, chain)
        if self.norm_at in ("pooled", "both"):
            chain.norm("pooled_norm", self.norm, self.hidden, residual=False, rows=step.batch)
        entry = chain.last
        if self.distilled and self.classes:
            chain.gemm("fc_distilled", self.classes, self.hidden, rows=step.batch, shard="logits", bias=self.bias)
        if self.classes:
            chain.gemm("fc", self.classes, self.hidden, rows=step.batch, shard="logits", bias=self.bias,
                       inputs=(entry,))  # fmt: skip
        if self.distilled and self.classes:
            inputs = (chain.last, "fc_distilled")
            chain.pointwise("average", self.classes, 2.0, operands=2, rows=step.batch, shard="", inputs=inputs)
        return Block("head", tuple(chain.operators))
