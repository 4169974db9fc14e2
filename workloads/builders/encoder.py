"""Encoder-only transformers (BERT): one pass over the whole sequence, every token sees every other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

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
from workloads.builders.feedforward import two_layer
from workloads.builders.knobs import KnobModel, choice, number_format_knob, size, switch
from workloads.builders.mixers import multi_head
from workloads.builders.one_pass import one_pass
from workloads.graph import BLOCK_INPUT, Block, Workload, WorkloadGraph
from workloads.model import Request

TANH_FLOP = 4.0
"""Per element: two exponentials' worth of work, an add and a divide."""


@dataclass(frozen=True)
class Encoder(KnobModel):
    """An encoder with normalisation after each part (Devlin et al. 2018).

    `head`: `pooler` (first token through one dense layer), `mlm` (scores over the vocabulary for every token), none.
    `types` is the number of segment embeddings.
    """

    family: ClassVar[str] = "encoder"

    layers: int = size(12, high=10_000)
    hidden: int = size(768)
    heads: int = size(12, high=100_000)
    head_dim: int = size(0, low=0, high=100_000)
    inter: int = size(3072)
    vocab: int = size(30522, high=10**8)
    types: int = size(2, low=0, high=1000)
    gated: bool = switch(False)
    norm: str = choice("layer", ("rms", "layer"))
    bias: str = choice("all", ("none", "qkv", "all"))
    position: str = choice("table", ("table", "rope", "none"))
    window: int = size(0, low=0, high=10**9)
    max_context: int = size(512, high=10**9)
    head: str = choice("pooler", ("pooler", "mlm", "none"))
    dtype: str = number_format_knob("bf16")
    attention_dtype: str = number_format_knob()

    def check(self) -> None:
        if not self.head_dim and self.hidden % self.heads:
            raise BadValueError(f"heads={self.heads} does not divide hidden={self.hidden}; set head_dim.")

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
        act = wide(self.dtype)
        attention = self.attention_dtype or act
        zero = 0.0 * sizes.prompt
        step = Step(sizes.batch, sizes.prompt, sizes.prompt, zero, "prefill", self.dtype, act, attention, attention)
        blocks = (self._embedding(step), *layer_blocks([()] * self.layers, self._layer, step, "layers"))
        return WorkloadGraph(self.name, blocks + self._head(step), boundary_elements=step.tokens * self.hidden)

    def _embedding(self, step: Step) -> Block:
        chain = Chain(step)
        tables = {"embed": self.vocab}
        tables |= {"position": self.max_context} if self.position == "table" else {}
        tables |= {"type": self.types} if self.types else {}
        shape = {"rows": step.tokens, "hidden": self.hidden}
        found = [
            chain.add(
                name, "embedding", shape, inputs=(BLOCK_INPUT,), parameters=float(rows * self.hidden),
                shard="vocab" if name == "embed" else "",
            )
            for name, rows in tables.items()
        ]  # fmt: skip
        if len(found) > 1:
            flop = len(found) - 1.0
            chain.pointwise("add", self.hidden, flop, operands=len(found), shard="", inputs=found, fused=True)
        chain.norm("embed_norm", self.norm, self.hidden, residual=False)
        return Block("embed", tuple(chain.operators))

    def _layer(self, _: Any, chain: Chain) -> None:
        size = self.head_dim or self.hidden // self.heads
        multi_head(
            chain, hidden=self.hidden, heads=self.heads, kv_heads=self.heads, head_dim=size, bias=self.bias,
            rope=self.position == "rope", causal=False, cached=False, window=self.window,
        )  # fmt: skip
        chain.norm("mixer_norm", self.norm, self.hidden)
        two_layer(chain, self.hidden, self.inter, gated=self.gated, bias=self.bias == "all")
        chain.norm("ffn_norm", self.norm, self.hidden)

    def _head(self, step: Step) -> tuple[Block, ...]:
        chain = Chain(step)
        if self.head == "none":
            return ()
        if self.head == "pooler":
            chain.gemm("pooler", self.hidden, self.hidden, rows=step.batch, bias=True, dtype=step.act)
            chain.pointwise("tanh", self.hidden, TANH_FLOP, rows=step.batch, shard="")
        else:
            chain.gemm("transform", self.hidden, self.hidden, bias=True, dtype=step.act)
            chain.pointwise("gelu", self.hidden, GELU_FLOP, shard="")
            chain.norm("head_norm", self.norm, self.hidden, residual=False)
            chain.gemm("lm_head", self.vocab, self.hidden, shard="logits", dtype=step.act, stored=False)
            chain.pointwise("bias", self.vocab, 1.0, shard="", parameters=float(self.vocab), fused=True)
        return (Block("head", tuple(chain.operators)),)
