"""Models that encode a source once and then generate: the passes of a request, whatever encodes."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np

from workloads.builders.chain import Chain, Sizes, Step, in_formats, request_sizes, wide
from workloads.builders.knobs import KnobModel
from workloads.graph import BLOCK_INPUT, Block, Pass, Size, Workload, WorkloadGraph
from workloads.model import Request, decode_steps


@dataclass(frozen=True)
class SequenceToSequence(KnobModel):
    """An encoder, and a decoder that attends to what it yields.

    A subclass has the knobs `dtype`, `kv_dtype`, `attention_dtype`, says how long source and prefix are, and makes the
    graph of a pass.
    """

    @abstractmethod
    def source(self, sizes: Sizes) -> Size:
        """Return the encoded tokens of a sequence."""

    @abstractmethod
    def prefix(self, sizes: Sizes) -> Size:
        """Return the tokens that the decoder is given before it generates."""

    @abstractmethod
    def graph(
        self, step: Step, source: Size, encoder: Step | None, *, logits: Size, cached: bool = True
    ) -> WorkloadGraph:
        """Return the decoder's graph over `source` encoded tokens, after the encoder's where it runs too.

        The head sees `logits` tokens.
        """

    def length_notes(self, sizes: Sizes) -> tuple[str, ...]:
        """Say that a request is longer than the model was made for. Raises BadValueError where it cannot be."""
        return ()

    def workload(self, request: Request) -> Workload:
        """Return prefill (encode the source, first output token) and decode (the other generate - 1 tokens).

        In training (`mode` "train") the decoder sees prefix and target tokens at once (teacher forcing).
        """
        model = in_formats(self, request)
        sizes = request_sizes(request, self.defaults)
        notes = self.notes + self.length_notes(sizes)
        if request.mode == "train":
            return model._training(sizes, notes)
        return model._inference(sizes, notes)

    def _inference(self, sizes: Sizes, notes: tuple[str, ...]) -> Workload:
        source, prefix = self.source(sizes), self.prefix(sizes)
        final = prefix - 1 + np.maximum(sizes.generate, 1)
        first = self.step(sizes.batch, prefix, prefix, final, "prefill")
        kv_len, times, owner = decode_steps(prefix, sizes.generate)
        each = sizes.at(owner)
        last = self.prefix(each) - 1 + np.maximum(each.generate, 1)
        one = self.step(each.batch, 1, kv_len, last, "decode")
        encoder = self.encoder_step(sizes, source)
        prefill = Pass("prefill", self.graph(first, source, encoder, logits=sizes.batch), np.ones(sizes.batch.shape))
        decode = Pass("decode", self.graph(one, self.source(each), None, logits=each.batch), times)
        return Workload(
            self.name, (prefill, decode), batch=sizes.batch, tokens_in=sizes.prompt, tokens_out=sizes.generate,
            requests=sizes.requests, owners={"prefill": np.arange(sizes.requests), "decode": owner}, notes=notes,
        )  # fmt: skip

    def _training(self, sizes: Sizes, notes: tuple[str, ...]) -> Workload:
        from workloads.training import training_workload

        source = self.source(sizes)
        target = self.prefix(sizes) - 1 + np.maximum(sizes.generate, 1)
        step = self.step(sizes.batch, target, target, 0.0 * target, "prefill")
        graph = self.graph(step, source, self.encoder_step(sizes, source), logits=step.tokens, cached=False)
        forward = Pass("forward", graph, np.ones(target.shape))
        return training_workload(forward, name=self.name, batch=sizes.batch, tokens_in=source + target, notes=notes)

    def encoder_step(self, sizes: Sizes, source: Size) -> Step:
        """Return the sizes of the pass over the encoder."""
        return self.step(sizes.batch, source, source, 0.0 * sizes.generate, "prefill")

    def step(self, batch: Any, q_len: Any, kv_len: Any, final_len: Any, phase: str) -> Step:
        """Return a pass's sizes with the model's formats."""
        knobs = self.knobs()
        act = wide(knobs["dtype"])
        attention = knobs["attention_dtype"] or act
        kv = knobs["kv_dtype"] or attention
        return Step(batch, q_len, kv_len, final_len, phase, knobs["dtype"], act, attention, kv)


def embed_tokens(
    chain: Chain, name: str, hidden: int, *, vocab: float, positions: float = 0.0, norm: str = ""
) -> None:  # fmt: skip
    """Append the look-up of tokens, the learned positions that are added, and a normalisation (`norm`: its kind).

    `vocab` and `positions` are the rows that are stored: 0 for a table that another embedding holds.
    """
    shape = {"rows": chain.step.tokens, "hidden": hidden}
    looked = chain.add(
        f"{name}_embed", "embedding", shape, inputs=(BLOCK_INPUT,), shard="vocab", parameters=float(vocab * hidden)
    )
    if positions:
        stored = float(positions * hidden)
        placed = chain.add(f"{name}_position", "embedding", shape, inputs=(BLOCK_INPUT,), parameters=stored)
        chain.pointwise(f"{name}_add", hidden, 1.0, operands=2, shard="", inputs=(looked, placed), fused=True)
    if norm:
        chain.norm(f"{name}_norm", norm, hidden, residual=False)


def language_head(
    step: Step, *, vocab: int, hidden: int, logits: Size, dtype: str, tied: bool, norm: str = "", bias: bool = False
) -> Block:  # fmt: skip
    """Return the block of the last normalisation (`norm`: its kind, "" none) and the scores over the vocabulary."""
    chain = Chain(step)
    if norm:
        chain.norm("final_norm", norm, hidden, rows=logits)
    chain.gemm("lm_head", vocab, hidden, rows=logits, shard="logits", dtype=dtype, stored=not tied)
    if bias:
        chain.pointwise("lm_bias", vocab, 1.0, rows=logits, shard="", parameters=float(vocab), fused=True)
    chain.pointwise("probabilities", vocab, 0.0, op="softmax", rows=logits, shard="")
    return Block("head", tuple(chain.operators))
