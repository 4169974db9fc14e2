"""Speech models: a frontend and an encoder over sound, then a decoder that generates (Whisper, Canary) or none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from foundation.errors import BadValueError
from workloads.builders.chain import Chain, Sizes, Step, context_notes, in_formats, layer_blocks
from workloads.builders.knobs import choice, number_format_knob, share, size, switch
from workloads.builders.language.sequence_to_sequence import SequenceToSequence, embed_tokens, language_head
from workloads.builders.language.transformer_stack import BIASES, Stack
from workloads.builders.multimodal.speech_conformer import conformer_layer
from workloads.builders.multimodal.speech_frontends import FRONTENDS
from workloads.builders.one_pass import checked_batch, one_pass
from workloads.graph import Block, Size, Workload, WorkloadGraph
from workloads.model import Request


@dataclass(frozen=True)
class Speech(SequenceToSequence):
    """`seconds` of sound a sequence. `prompt` is what the decoder is given first: start, language and task tokens.

    Attributes:
        max_seconds: the longest sound; with the `mel` frontend it is the length of the table of positions.
        frontend: `mel` (two convolutions, 2 frames a token), `subsampling` (8 frames a token), `wave` (over samples).
        mels: bands of the spectrogram. kernel: taps of a Conformer's convolution over time.
        encoder: layers of a `transformer` or a `conformer`. post_norm: as in `Stack` (encoder only).
        decoder_layers: 0 for an encoder alone: one pass, with scores over `vocab` for each token (CTC; 0: none).
        decoder_hidden, decoder_heads, decoder_inter: 0 as in the encoder; another width needs a projection between.
        position_rows: rows of the decoder's learned table of positions (0: fixed ones, not stored).
    """

    family: ClassVar[str] = "speech"

    seconds: float = share(30.0, high=100_000.0, strict=True)
    max_seconds: float = share(30.0, high=100_000.0, strict=True)
    frontend: str = choice("mel", tuple(FRONTENDS))
    mels: int = size(80, high=10_000)
    encoder: str = choice("transformer", ("transformer", "conformer"))
    layers: int = size(12, high=10_000)
    hidden: int = size(768)
    heads: int = size(12, high=100_000)
    inter: int = size(3072)
    kernel: int = size(9, high=10_000)
    bias: str = choice("all", BIASES)
    post_norm: bool = switch(False)
    decoder_layers: int = size(0, low=0, high=10_000)
    decoder_hidden: int = size(0, low=0)
    decoder_heads: int = size(0, low=0, high=100_000)
    decoder_inter: int = size(0, low=0)
    vocab: int = size(0, low=0, high=10**8)
    head_bias: bool = switch(False)
    embedding_norm: bool = switch(False)
    position_rows: int = size(0, low=0, high=10**9)
    max_context: int = size(448, high=10**9)
    default_prompt: int = size(4)
    dtype: str = number_format_knob("fp16")
    kv_dtype: str = number_format_knob()
    attention_dtype: str = number_format_knob()

    def check(self) -> None:
        if self.hidden % self.heads:
            raise BadValueError(f"heads={self.heads} does not divide hidden={self.hidden}.")
        if self.decoder_layers and self._decoder.hidden % self._decoder.heads:
            raise BadValueError(f"decoder_heads={self._decoder.heads} does not divide {self._decoder.hidden} features.")
        if self.decoder_layers and not self.vocab:
            raise BadValueError("A decoder needs a vocab of at least 1.")
        if self.frontend == "mel" and self.seconds > self.max_seconds:
            raise BadValueError(
                f"seconds={self.seconds:g} is longer than the window of {self.max_seconds:g} s that '{self.name}' "
                "reads; ask for a batch of windows."
            )

    @property
    def tokens(self) -> int:
        """Encoded tokens of one sequence."""
        return FRONTENDS[self.frontend][1](self.seconds)

    @property
    def defaults(self) -> Mapping[str, Any]:
        if not self.decoder_layers:
            return {"prompt": 0, "generate": 0, "dtype": self.dtype}
        return {"prompt": self.default_prompt, "generate": min(128, self.max_context // 2), "dtype": self.dtype}

    def workload(self, request: Request) -> Workload:
        """Return prefill (encode, first output token) and decode; one pass `forward` without a decoder."""
        if self.decoder_layers:
            return super().workload(request)
        model, batch = in_formats(self, request), checked_batch(request)
        source = np.asarray(float(self.tokens))
        step = model.step(batch, source, source, 0.0 * source, "prefill")
        blocks = model.encoder_blocks(step)
        if self.vocab:
            head = Chain(step)
            head.gemm("ctc", self.vocab, self.hidden, bias=True, shard="logits")
            blocks += (Block("head", tuple(head.operators)),)
        graph = WorkloadGraph(self.name, blocks, boundary_elements=step.tokens * self.hidden)
        asked = [k for k in ("prompt", "generate") if getattr(request, k)]
        text = f"'{self.name}' takes sound, not tokens: {' and '.join(asked)} changed nothing; use --set seconds=..."
        return one_pass(self.name, graph, batch, request, notes=self.notes + ((text,) if asked else ()))

    def source(self, sizes: Sizes) -> Size:
        return np.full(sizes.batch.shape, float(self.tokens))

    def prefix(self, sizes: Sizes) -> Size:
        return sizes.prompt

    def length_notes(self, sizes: Sizes) -> tuple[str, ...]:
        longest = sizes.prompt + sizes.generate
        return context_notes(self.name, longest, self.max_context, table=bool(self.position_rows))

    def encoder_blocks(self, step: Step) -> tuple[Block, ...]:
        """Return frontend, layers and last normalisation."""
        frontend = FRONTENDS[self.frontend][0](self, step)
        if self.encoder == "conformer":

            def layer(_: Any, chain: Chain) -> None:
                conformer_layer(chain, hidden=self.hidden, heads=self.heads, inter=self.inter, kernel=self.kernel)

            return frontend, *layer_blocks([()] * self.layers, layer, step, "encoder")
        stack = Stack(self.layers, self.hidden, self.heads, self.inter, bias=self.bias, post_norm=self.post_norm)
        return frontend, *stack.blocks(step, "encoder"), *stack.final_norm(step, "encoder_norm")

    def graph(
        self, step: Step, source: Size, encoder: Step | None, *, logits: Size, cached: bool = True
    ) -> WorkloadGraph:
        """Return the decoder's graph over `source` encoded tokens, after the encoder's where it runs too."""
        stack = replace(self._decoder, cached=cached)
        chain = Chain(step)
        norm = "layer" if self.embedding_norm else ""
        embed_tokens(chain, "target", stack.hidden, vocab=self.vocab, positions=self.position_rows, norm=norm)
        blocks = [Block("embed", tuple(chain.operators))]
        if encoder is not None:
            blocks += self.encoder_blocks(encoder)
        if encoder is not None and stack.hidden != self.hidden:
            bridge = Chain(encoder)
            bridge.gemm("bridge", stack.hidden, self.hidden, bias=True)
            blocks.append(Block("bridge", tuple(bridge.operators)))
        blocks += stack.blocks(step, "decoder", source=source, encode=encoder is not None)
        head = language_head(
            step, vocab=self.vocab, hidden=stack.hidden, logits=logits, dtype=step.act, tied=True, norm="layer",
            bias=self.head_bias,
        )  # fmt: skip
        across = (encoder or step).tokens * self.hidden
        return WorkloadGraph(self.name, (*blocks, head), boundary_elements=across)

    @property
    def _decoder(self) -> Stack:
        return Stack(
            self.decoder_layers, self.decoder_hidden or self.hidden, self.decoder_heads or self.heads,
            self.decoder_inter or self.inter, bias=self.bias, causal=True,
        )  # fmt: skip
