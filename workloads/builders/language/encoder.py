"""Encoder-only transformers (BERT): one pass over the whole sequence, every token sees every other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from foundation.errors import BadValueError
from workloads.builders.chain import (
    GELU_FLOP,
    Chain,
    Sizes,
    Step,
    context_notes,
    in_formats,
    layer_blocks,
    request_sizes,
    wide,
)
from workloads.builders.knobs import KnobModel, choice, number_format_knob, size, switch
from workloads.builders.language.encoder_attention import ATTENTIONS
from workloads.builders.language.feedforward import two_layer
from workloads.builders.one_pass import one_pass
from workloads.graph import BLOCK_INPUT, Block, Size, Workload, WorkloadGraph
from workloads.model import Request

TANH_FLOP = 4.0
"""Per element: two exponentials' worth of work, an add and a divide."""


@dataclass(frozen=True)
class Encoder(KnobModel):
    """An encoder with normalisation after each part (Devlin et al. 2018), or before it (`pre_norm`).

    Attributes:
        attention: `full`; `window` tokens around each, and `global_tokens` that see and are seen by all, with
            projections of their own (`global`, Longformer, arXiv 2004.05150, section 3); `disentangled`: scores of
            content and of `relative_buckets` relative positions (DeBERTa, arXiv 2006.03654, section 3).
        embed_hidden: width of the tables of embeddings, which a projection widens (0: hidden).
        shared_layers: all layers use one set of parameters (ALBERT, arXiv 1909.11942, section 3.1).
        types: number of segment embeddings. position_rows: rows of the table of positions (0: max_context).
        causal: a token sees only those before it (CLIP's text tower).
        head: `pooler` (first token through one dense layer), `mlm` (scores over the vocabulary for every token), none.
    """

    family: ClassVar[str] = "encoder"

    layers: int = size(12, high=10_000)
    hidden: int = size(768)
    heads: int = size(12, high=100_000)
    head_dim: int = size(0, low=0, high=100_000)
    inter: int = size(3072)
    vocab: int = size(30522, high=10**8)
    embed_hidden: int = size(0, low=0)
    types: int = size(2, low=0, high=1000)
    shared_layers: bool = switch(False)
    gated: bool = switch(False)
    norm: str = choice("layer", ("rms", "layer", "layer-gain"))
    pre_norm: bool = switch(False)
    embedding_norm: bool = switch(True)
    bias: str = choice("all", ("none", "qkv", "all"))
    position: str = choice("table", ("table", "rope", "none"))
    position_rows: int = size(0, low=0, high=10**9)
    attention: str = choice("full", tuple(ATTENTIONS))
    causal: bool = switch(False)
    window: int = size(0, low=0, high=10**9)
    global_tokens: int = size(1, low=0, high=10**9)
    relative_buckets: int = size(512)
    max_context: int = size(512, high=10**9)
    head: str = choice("pooler", ("pooler", "mlm", "none"))
    dtype: str = number_format_knob("bf16")
    attention_dtype: str = number_format_knob()

    def check(self) -> None:
        if not self.head_dim and self.hidden % self.heads:
            raise BadValueError(f"heads={self.heads} does not divide hidden={self.hidden}; set head_dim.")
        if self.attention == "global" and not self.window:
            raise BadValueError("attention=global needs a window; set window to the tokens that each token sees.")

    @property
    def head_size(self) -> int:
        return self.head_dim or self.hidden // self.heads

    @property
    def defaults(self) -> Mapping[str, Any]:
        return {"prompt": min(512, self.max_context), "generate": 0, "dtype": self.dtype}

    def workload(self, request: Request) -> Workload:
        """Return one forward pass over `prompt` tokens, or a training step."""
        model = in_formats(self, request)
        sizes = request_sizes(request, self.defaults)
        notes = context_notes(self.name, sizes.prompt, self.max_context, table=self.position == "table")
        graph, notes = model.graph(sizes), self.notes + notes
        return one_pass(self.name, graph, sizes.batch, request, tokens_in=sizes.prompt, notes=notes)

    def graph(self, sizes: Sizes) -> WorkloadGraph:
        """Return the graph of one pass."""
        step = self.step(sizes.batch, sizes.prompt)
        if self.shared_layers:
            layers = layer_blocks([()], self.layer, step, "layers", recursions=self.layers)
        else:
            layers = layer_blocks([()] * self.layers, self.layer, step, "layers")
        blocks = (self.embedding(step), *layers, *self._head(step))
        return WorkloadGraph(self.name, blocks, boundary_elements=step.tokens * self.hidden)

    def step(self, batch: Size, tokens: Size) -> Step:
        """Return the sizes of a pass over `tokens` a sequence, with the model's formats."""
        act = wide(self.dtype)
        attention = self.attention_dtype or act
        return Step(batch, tokens, tokens, 0.0 * np.asarray(tokens), "prefill", self.dtype, act, attention, attention)

    def embedding(self, step: Step) -> Block:
        """Return the block that looks up tokens, positions and types, adds and normalises them, and widens them."""
        chain = Chain(step)
        width = self.embed_hidden or self.hidden
        tables = {"embed": self.vocab}
        tables |= {"position": self.position_rows or self.max_context} if self.position == "table" else {}
        tables |= {"type": self.types} if self.types else {}
        shape = {"rows": step.tokens, "hidden": width}
        found = [
            chain.add(
                name, "embedding", shape, inputs=(BLOCK_INPUT,), parameters=float(rows * width),
                shard="vocab" if name == "embed" else "",
            )
            for name, rows in tables.items()
        ]  # fmt: skip
        if len(found) > 1:
            flop = len(found) - 1.0
            chain.pointwise("add", width, flop, operands=len(found), shard="", inputs=found, fused=True)
        if self.embedding_norm:
            chain.norm("embed_norm", self.norm, width, residual=False)
        if width != self.hidden:
            chain.gemm("embed_project", self.hidden, width, bias=True)
        if self.attention == "disentangled":  # one table of relative positions for all layers, normalised (DeBERTa-v3)
            shape = {"rows": self.relative_buckets, "hidden": self.hidden}
            stored = float((self.relative_buckets + 2) * self.hidden)
            chain.add("relative_norm", "norm", shape, inputs=(chain.last,), parameters=stored)
        return Block("embed", tuple(chain.operators))

    def layer(self, _: Any, chain: Chain) -> None:
        """Append one layer."""
        if self.pre_norm:
            chain.norm("mixer_norm", self.norm, self.hidden)
        ATTENTIONS[self.attention](self, chain)
        chain.norm("ffn_norm" if self.pre_norm else "mixer_norm", self.norm, self.hidden)
        two_layer(chain, self.hidden, self.inter, gated=self.gated, bias=self.bias == "all")
        if not self.pre_norm:
            chain.norm("ffn_norm", self.norm, self.hidden)

    def _head(self, step: Step) -> tuple[Block, ...]:
        chain, width = Chain(step), self.embed_hidden or self.hidden
        if self.pre_norm:
            chain.norm("final_norm", self.norm, self.hidden)
        if self.head == "pooler":
            chain.gemm("pooler", self.hidden, self.hidden, rows=step.batch, bias=True, dtype=step.act)
            chain.pointwise("tanh", self.hidden, TANH_FLOP, rows=step.batch, shard="")
        elif self.head == "mlm":
            chain.gemm("transform", width, self.hidden, bias=True, dtype=step.act)
            chain.pointwise("gelu", width, GELU_FLOP, shard="")
            chain.norm("head_norm", self.norm, width, residual=False)
            chain.gemm("lm_head", self.vocab, width, shard="logits", dtype=step.act, stored=False)
            chain.pointwise("bias", self.vocab, 1.0, shard="", parameters=float(self.vocab), fused=True)
        return (Block("head", tuple(chain.operators)),) if chain.operators else ()
