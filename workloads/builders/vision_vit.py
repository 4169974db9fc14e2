"""Vision transformers (Dosovitskiy et al. 2020): patches, a class token, pre-norm encoder layers, a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from foundation.errors import BadValueError
from workloads.builders.chain import GELU_FLOP, Chain, Step, layer_blocks, wide
from workloads.builders.knobs import KnobModel, choice, number_format_knob, size, switch
from workloads.builders.one_pass import checked_batch
from workloads.builders.vision_layers import image_pass, in_format
from workloads.graph import BLOCK_INPUT, Block, Size, Workload, WorkloadGraph
from workloads.model import Request


@dataclass(frozen=True)
class VisionTransformer(KnobModel):
    """An image of `image` x `image` pixels becomes (image / patch)^2 tokens and, with `pool` token, a class token.

    `inter` 0 means 4 x hidden; `head_dim` 0 means hidden / heads.
    """

    family: ClassVar[str] = "vit"

    image: int = size(224, high=100_000)
    channels: int = size(3, high=100_000)
    classes: int = size(1000)
    patch: int = size(16, high=10_000)
    layers: int = size(12, high=10_000)
    hidden: int = size(768)
    heads: int = size(12, high=100_000)
    head_dim: int = size(0, low=0, high=100_000)
    inter: int = size(0, low=0)
    bias: bool = switch(True)
    pool: str = choice("token", ("token", "mean"))
    dtype: str = number_format_knob("fp16")
    attention_dtype: str = number_format_knob()

    def check(self) -> None:
        if not self.head_dim and self.hidden % self.heads:
            raise BadValueError(f"heads={self.heads} does not divide hidden={self.hidden}; set head_dim.")
        if self.image < self.patch:
            raise BadValueError(f"image={self.image} is smaller than patch={self.patch}.")

    @property
    def patches(self) -> int:
        return (self.image // self.patch) ** 2

    @property
    def tokens(self) -> int:
        """Tokens of one image."""
        return self.patches + (self.pool == "token")

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
        layers = layer_blocks([()] * self.layers, self._layer, step, "layers")
        blocks = (self._embedding(step), *layers, self._head(step))
        return WorkloadGraph(self.name, blocks, boundary_elements=step.tokens * self.hidden)

    def _embedding(self, step: Step) -> Block:
        chain = Chain(step)
        shape = {
            "batch": step.batch, "c_in": self.channels, "h": self.image, "w": self.image, "c_out": self.hidden,
            "kh": self.patch, "kw": self.patch, "stride": self.patch,
        }  # fmt: skip
        stored = self.hidden * (self.channels * self.patch**2 + self.bias)
        chain.add("patches", "conv2d", shape, dtype=self.dtype, inputs=(BLOCK_INPUT,), parameters=float(stored))
        table = self.hidden * (self.tokens + (self.pool == "token"))
        chain.pointwise("position", self.hidden, 1.0, operands=2, shard="", parameters=float(table))
        return Block("embed", tuple(chain.operators))

    def _layer(self, _: Any, chain: Chain) -> None:
        head, step, hidden = self.head_dim or self.hidden // self.heads, chain.step, self.hidden
        inner, inter = self.heads * head, self.inter or 4 * hidden
        entry = chain.last
        chain.norm("norm1", "layer", hidden, residual=False)
        chain.gemm("qkv", 3 * inner, hidden, shard="column", bias=self.bias)
        shape = {
            "batch": step.batch, "q_len": step.q_len, "kv_len": step.kv_len, "heads": self.heads, "head_dim": head,
            "causal": 0,
        }  # fmt: skip
        chain.add("attention", "attention", shape, dtype=step.attention, kv_dtype=step.kv, shard="heads")
        branch = chain.gemm("out", hidden, inner, shard="row", bias=self.bias)
        middle = chain.pointwise("add1", hidden, 1.0, operands=2, shard="", inputs=(branch, entry))
        chain.norm("norm2", "layer", hidden, residual=False)
        chain.gemm("up", inter, hidden, shard="column", bias=self.bias)
        chain.pointwise("gelu", inter, GELU_FLOP, fused=True)
        branch = chain.gemm("down", hidden, inter, shard="row", bias=self.bias)
        chain.pointwise("add2", hidden, 1.0, operands=2, shard="", inputs=(branch, middle))

    def _head(self, step: Step) -> Block:
        chain = Chain(step)
        chain.norm("norm", "layer", self.hidden, residual=False)
        if self.pool == "mean":
            chain.pointwise("pool", self.hidden, self.tokens, operands=self.tokens, rows=step.batch, shard="")
        chain.gemm("fc", self.classes, self.hidden, rows=step.batch, shard="logits", bias=self.bias)
        return Block("head", tuple(chain.operators))
