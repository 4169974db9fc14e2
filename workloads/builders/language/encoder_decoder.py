"""Encoder-decoder transformers (T5, BART): encode the prompt once, then generate with self and cross attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from foundation.errors import BadValueError
from workloads.builders.chain import Chain, Sizes, Step, context_notes
from workloads.builders.knobs import choice, number_format_knob, size, switch
from workloads.builders.language.sequence_to_sequence import SequenceToSequence, embed_tokens, language_head
from workloads.builders.language.transformer_stack import BIASES, Stack
from workloads.graph import BLOCK_INPUT, Block, Size, WorkloadGraph


@dataclass(frozen=True)
class EncoderDecoder(SequenceToSequence):
    """An encoder and a decoder of the same width.

    Attributes:
        position: `relative`: one learned bias a head and bucket of distance, computed once a stack and added inside
            the attention kernel (Raffel et al. 2020, section 2.1); `table`: learned positions of encoder and decoder,
            `position_rows` each (0: max_context).
        post_norm: each part is normalised after it was added to the stream (BART).
        embedding_norm: a normalisation after the embeddings.
    """

    family: ClassVar[str] = "encoder-decoder"

    encoder_layers: int = size(24, high=10_000)
    decoder_layers: int = size(24, high=10_000)
    hidden: int = size(1024)
    heads: int = size(16, high=100_000)
    kv_heads: int = size(0, low=0, high=100_000)
    head_dim: int = size(0, low=0, high=100_000)
    inter: int = size(4096)
    vocab: int = size(32128, high=10**8)
    tied: bool = switch(True)
    gated: bool = switch(False)
    norm: str = choice("rms", ("rms", "layer"))
    post_norm: bool = switch(False)
    embedding_norm: bool = switch(False)
    bias: str = choice("none", BIASES)
    position: str = choice("relative", ("relative", "rope", "table", "none"))
    position_rows: int = size(0, low=0, high=10**9)
    relative_buckets: int = size(32)
    max_context: int = size(10**6, high=10**9)
    dtype: str = number_format_knob("bf16")
    kv_dtype: str = number_format_knob()
    attention_dtype: str = number_format_knob()
    lm_head_dtype: str = number_format_knob()

    def check(self) -> None:
        if self.kv_heads and self.heads % self.kv_heads:
            raise BadValueError(f"kv_heads={self.kv_heads} does not divide heads={self.heads}.")
        if not self.head_dim and self.hidden % self.heads:
            raise BadValueError(f"heads={self.heads} does not divide hidden={self.hidden}; set head_dim.")

    @property
    def defaults(self) -> Mapping[str, Any]:
        return {"prompt": min(512, self.max_context), "generate": min(128, self.max_context), "dtype": self.dtype}

    def source(self, sizes: Sizes) -> Size:
        return sizes.prompt

    def prefix(self, sizes: Sizes) -> Size:
        """One token starts the output."""
        return np.ones_like(sizes.prompt)

    def length_notes(self, sizes: Sizes) -> tuple[str, ...]:
        longest = np.maximum(sizes.prompt, sizes.generate)
        return context_notes(self.name, longest, self.max_context, table=self.position == "table")

    def graph(
        self, step: Step, source: Size, encoder: Step | None, *, logits: Size, cached: bool = True
    ) -> WorkloadGraph:
        """Return the decoder's graph over `source` encoded tokens, after the encoder's where it runs too."""
        blocks = [self._embedding(encoder, step)]
        if encoder is not None:
            stack = self._stack(self.encoder_layers)
            blocks += [*stack.blocks(encoder, "encoder"), *stack.final_norm(encoder, "encoder_norm")]
        stack = replace(self._stack(self.decoder_layers), causal=True, cached=cached)
        blocks += stack.blocks(step, "decoder", source=source, encode=encoder is not None)
        head = language_head(
            step, vocab=self.vocab, hidden=self.hidden, logits=logits, dtype=self.lm_head_dtype or step.act,
            tied=self.tied, norm="" if self.post_norm else self.norm,
        )  # fmt: skip
        across = (encoder or step).tokens * self.hidden
        return WorkloadGraph(self.name, (*blocks, head), boundary_elements=across)

    def _stack(self, layers: int) -> Stack:
        return Stack(
            layers, self.hidden, self.heads, self.inter, kv_heads=self.kv_heads, head_dim=self.head_dim,
            gated=self.gated, norm=self.norm, bias=self.bias, post_norm=self.post_norm, rope=self.position == "rope",
        )  # fmt: skip

    def _embedding(self, encoder: Step | None, decoder: Step) -> Block:
        """Encoder and decoder share one table of embeddings; the encoder's, which runs first, leaves the block."""
        chain = Chain(decoder)
        stacks = [("target", decoder)] + ([("source", encoder)] if encoder is not None else [])
        for name, step in stacks:
            chain.step = step
            if self.position == "relative":
                shape = {"rows": step.q_len * step.kv_len, "hidden": self.heads}
                parameters = float(self.relative_buckets * self.heads)
                chain.add(f"{name}_bias", "embedding", shape, inputs=(BLOCK_INPUT,), parameters=parameters)
            rows = self.position_rows or self.max_context
            embed_tokens(
                chain, name, self.hidden, vocab=self.vocab if name == "source" else 0,
                positions=rows if self.position == "table" else 0, norm=self.norm if self.embedding_norm else "",
            )  # fmt: skip
        return Block("embed", tuple(chain.operators))
