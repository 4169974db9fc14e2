"""Encoder-decoder transformers (T5): encode the prompt once, then generate with self and cross attention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from foundation.errors import BadValueError
from workloads.builders.chain import Chain, Sizes, Step, in_formats, layer_blocks, request_sizes, wide
from workloads.builders.feedforward import two_layer
from workloads.builders.knobs import KnobModel, choice, number_format_knob, size, switch
from workloads.builders.mixers import attend, multi_head
from workloads.graph import BLOCK_INPUT, Block, Pass, Workload, WorkloadGraph
from workloads.model import Request, decode_steps


@dataclass(frozen=True)
class EncoderDecoder(KnobModel):
    """An encoder and a decoder of the same width.

    `relative` position: one learned bias a head and bucket of distance, computed once a stack and added inside the
    attention kernel (Raffel et al. 2020, section 2.1).
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
    bias: str = choice("none", ("none", "qkv", "all"))
    position: str = choice("relative", ("relative", "rope", "none"))
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
        return {"prompt": min(512, self.max_context), "generate": 128, "dtype": self.dtype}

    def workload(self, request: Request) -> Workload:
        """Return prefill (encode the prompt, first output token) and decode (the other generate - 1 tokens)."""
        model = in_formats(self, request)
        sizes = request_sizes(request, self.defaults)
        if request.mode == "train":
            return model._training(sizes)
        final = np.maximum(sizes.generate, 1)
        encoder = model.step(sizes.batch, sizes.prompt, sizes.prompt, 0.0 * final, "prefill")
        first = model.step(sizes.batch, 1, np.ones_like(final), final, "prefill")
        kv_len, times, owner = decode_steps(np.ones_like(final), sizes.generate)
        each = sizes.at(owner)
        one = model.step(each.batch, 1, kv_len, np.maximum(each.generate, 1), "decode")
        prefill = Pass("prefill", model.graph(first, sizes.prompt, encoder), np.ones(sizes.batch.shape))
        decode = Pass("decode", model.graph(one, each.prompt, None), times)
        return Workload(
            self.name, (prefill, decode), batch=sizes.batch, tokens_in=sizes.prompt, tokens_out=sizes.generate,
            requests=sizes.requests, owners={"prefill": np.arange(sizes.requests), "decode": owner}, notes=self.notes,
        )  # fmt: skip

    def _training(self, sizes: Sizes) -> Workload:
        """Teacher forcing: the decoder sees all `generate` target tokens at once."""
        from workloads.training import training_workload

        target = np.maximum(sizes.generate, 1)
        encoder = self.step(sizes.batch, sizes.prompt, sizes.prompt, 0.0 * target, "prefill")
        decoder = self.step(sizes.batch, target, target, 0.0 * target, "prefill")
        forward = Pass("forward", self.graph(decoder, sizes.prompt, encoder, cached=False), np.ones(target.shape))
        tokens = sizes.prompt + target
        return training_workload(forward, name=self.name, batch=sizes.batch, tokens_in=tokens, notes=self.notes)

    def step(self, batch: Any, q_len: Any, kv_len: Any, final_len: Any, phase: str) -> Step:
        """Return a pass's sizes with the model's formats."""
        act = wide(self.dtype)
        attention = self.attention_dtype or act
        return Step(batch, q_len, kv_len, final_len, phase, self.dtype, act, attention, self.kv_dtype or attention)

    def graph(self, step: Step, source: Any, encoder: Step | None, *, cached: bool = True) -> WorkloadGraph:
        """Return the decoder's graph over `source` encoded tokens, after the encoder's where it runs too."""

        def layer(_: Any, chain: Chain) -> None:
            self._decoder_layer(chain, source, cached=cached, encode=encoder is not None)

        blocks = [self._embedding(encoder, step)]
        if encoder is not None:
            blocks += layer_blocks([()] * self.encoder_layers, self._encoder_layer, encoder, "encoder")
            blocks.append(self._final_norm(encoder))
        blocks += layer_blocks([()] * self.decoder_layers, layer, step, "decoder")
        blocks.append(self._head(step))
        across = (encoder or step).tokens * self.hidden
        return WorkloadGraph(self.name, tuple(blocks), boundary_elements=across)

    def _sizes(self) -> tuple[int, int, int]:
        return self.heads, self.kv_heads or self.heads, self.head_dim or self.hidden // self.heads

    def _embedding(self, encoder: Step | None, decoder: Step) -> Block:
        """Encoder and decoder share one table of embeddings; the encoder's, which runs first, leaves the block."""
        chain = Chain(decoder)
        stacks = [("target", decoder)] + ([("source", encoder)] if encoder is not None else [])
        for name, step in stacks:
            if self.position == "relative":
                shape = {"rows": step.q_len * step.kv_len, "hidden": self.heads}
                parameters = float(self.relative_buckets * self.heads)
                chain.add(f"{name}_bias", "embedding", shape, inputs=(BLOCK_INPUT,), parameters=parameters)
            shape = {"rows": step.tokens, "hidden": self.hidden}
            parameters = float(self.vocab * self.hidden) if name == "source" else 0.0
            chain.add(f"{name}_embed", "embedding", shape, inputs=(BLOCK_INPUT,), shard="vocab", parameters=parameters)
        return Block("embed", tuple(chain.operators))

    def _self_attention(self, chain: Chain, *, causal: bool, cached: bool) -> None:
        heads, kv_heads, size = self._sizes()
        multi_head(
            chain, hidden=self.hidden, heads=heads, kv_heads=kv_heads, head_dim=size, bias=self.bias,
            rope=self.position == "rope", causal=causal, cached=cached,
        )  # fmt: skip

    def _encoder_layer(self, _: Any, chain: Chain) -> None:
        chain.norm("mixer_norm", self.norm, self.hidden)
        self._self_attention(chain, causal=False, cached=False)
        self._feedforward(chain)

    def _decoder_layer(self, chain: Chain, source: Any, *, cached: bool, encode: bool) -> None:
        """Keys and values of the encoded prompt are made once, in the pass that encodes it, and then kept."""
        heads, kv_heads, size = self._sizes()
        bias = self.bias != "none"
        chain.norm("mixer_norm", self.norm, self.hidden)
        self._self_attention(chain, causal=True, cached=cached)
        normed = chain.norm("cross_norm", self.norm, self.hidden)
        if encode:
            rows = chain.step.batch * source
            chain.gemm("cross_kv", 2 * kv_heads * size, self.hidden, shard="column", bias=bias, rows=rows)
        encoded = chain.last
        chain.gemm("cross_q", heads * size, self.hidden, shard="column", bias=bias, inputs=(normed, encoded))
        attend(chain, "cross_attention", heads, kv_heads, size, causal=False, cached=cached, kv_len=source, kept=source)
        chain.gemm("cross_o", self.hidden, heads * size, shard="row", bias=self.bias == "all")
        self._feedforward(chain)

    def _feedforward(self, chain: Chain) -> None:
        chain.norm("ffn_norm", self.norm, self.hidden)
        two_layer(chain, self.hidden, self.inter, gated=self.gated, bias=self.bias == "all")

    def _final_norm(self, step: Step) -> Block:
        chain = Chain(step)
        chain.norm("encoder_norm", self.norm, self.hidden)
        return Block("encoder_norm", tuple(chain.operators))

    def _head(self, step: Step) -> Block:
        chain = Chain(step)
        chain.norm("final_norm", self.norm, self.hidden)
        dtype = self.lm_head_dtype or step.act
        chain.gemm("lm_head", self.vocab, self.hidden, shard="logits", dtype=dtype, stored=not self.tied)
        chain.pointwise("probabilities", self.vocab, 0.0, op="softmax", shard="")
        return Block("head", tuple(chain.operators))
