"""Decoder-only language models: a list of layers, each a token mixer and a feed-forward part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from foundation.errors import BadValueError
from foundation.formats import gguf_embedding, gguf_head
from workloads.builders.chain import Chain, Sizes, Step, context_notes, in_formats, layer_blocks, request_sizes, wide
from workloads.builders.knobs import KnobModel, choice, names, number_format_knob, share, size, switch
from workloads.builders.language.parts import FEEDFORWARDS, MIXERS
from workloads.graph import BLOCK_INPUT, Block, Pass, Workload, WorkloadGraph
from workloads.model import Request, decode_steps


@dataclass(frozen=True)
class Decoder(KnobModel):
    """A decoder-only model.

    `mixers` and `ffns` name what each layer does; a list shorter than `layers` repeats. Zero means "derived":
    `kv_heads` = heads, `head_dim` = hidden / heads, `moe_inter` = inter. Formats left "" follow `dtype`: attention,
    cache, embeddings and logits stay 16-bit (or wider) under quantised weights; under formats of GGUF files embedding
    and head have the blocks of those files. In a `parallel` layer the mixer and
    the feed-forward part read the same stream, through one norm (GPT-J, PaLM) or two (GPT-NeoX). With `recursions`,
    the whole stack runs several times over with one set of parameters, each time with a cache of its own
    (Mixture-of-Recursions, arXiv 2507.10524).

    `cached` tokens of context are in the cache when the prompt arrives (earlier turns, the prefix of many requests,
    what a draft is verified against). `sharing` sequences hold them in common, each its own part with the default 1;
    `cascade` reads them once for all of those. `logits`: the head sees the last token of the prompt or all of it.
    Without `ends` there is no embedding and no head: a slice of a model, or latents that are fed back.
    """

    family: ClassVar[str] = "decoder"

    layers: int = size(32, high=10_000)
    recursions: int = size(1, high=1000)
    hidden: int = size(4096)
    heads: int = size(32, high=100_000)
    kv_heads: int = size(0, low=0, high=100_000)
    head_dim: int = size(0, low=0, high=100_000)
    inter: int = size(14336)
    vocab: int = size(128256, high=10**8)
    tied: bool = switch(False)
    gated: bool = switch(True)
    norm: str = choice("rms", ("rms", "layer", "layer-gain"))
    post_norm: bool = switch(False)
    embedding_norm: bool = switch(False)
    parallel: str = choice("none", ("none", "one-norm", "two-norms"))
    bias: str = choice("none", ("none", "qkv", "attention", "mlp", "all"))
    head_bias: bool = switch(False)
    qk_norm: bool = switch(False)
    qk_norm_wide: bool = switch(False)
    attention_gate: bool = switch(False)
    sinks: bool = switch(False)
    position: str = choice("rope", ("rope", "table", "none"))
    rotary_dim: int = size(0, low=0)
    position_rows: int = size(0, low=0, high=10**9)
    max_context: int = size(131072, high=10**9)
    causal: bool = switch(True)
    ends: bool = switch(True)
    logits: str = choice("last", ("last", "all"))
    cached: int = size(0, low=0, high=10**9)
    sharing: float = share(1.0, low=1.0, high=1e6)
    cascade: bool = switch(False)

    dtype: str = number_format_knob("bf16")
    kv_dtype: str = number_format_knob()
    attention_dtype: str = number_format_knob()
    expert_dtype: str = number_format_knob()
    lm_head_dtype: str = number_format_knob()
    embedding_dtype: str = number_format_knob()
    state_dtype: str = number_format_knob()

    mixers: tuple[str, ...] = names(("attention",), tuple(MIXERS))
    ffns: tuple[str, ...] = names(("dense",), tuple(FEEDFORWARDS))
    first_k_dense: int = size(0, low=0, high=10_000)

    window: int = size(4096, high=10**9)
    kv_budget: int = size(4096, high=10**9)
    sparse_density: float = share(1.0, strict=True)
    estimator_heads: int = size(0, low=0, high=100_000)
    estimator_pool: int = size(64)
    topk_keys: int = size(2048, high=10**9)
    topk_page: int = size(16)
    linear_heads: int = size(0, low=0, high=100_000)
    linear_key_heads: int = size(0, low=0, high=100_000)
    linear_key_dim: int = size(0, low=0)
    linear_value_dim: int = size(0, low=0)
    linear_state: int = size(0, low=0)
    mix_rank: int = size(32)
    decay_rank: int = size(64)

    q_rank: int = size(0, low=0)
    kv_rank: int = size(512)
    rope_dim: int = size(64)
    v_dim: int = size(0, low=0)
    index_heads: int = size(64, high=100_000)
    index_dim: int = size(128)

    ssm_expand: int = size(2, high=100)
    ssm_state: int = size(16)
    ssm_heads: int = size(0, low=0, high=100_000)
    ssm_head_dim: int = size(64)
    ssm_groups: int = size(1)
    ssm_norm: bool = switch(False)
    conv_width: int = size(4, high=1000)
    conv_expand: int = size(2, high=100)
    dt_rank: int = size(0, low=0)

    experts: int = size(0, low=0, high=1_000_000)
    topk: int = size(2, high=1_000_000)
    moe_inter: int = size(0, low=0)
    shared_experts: int = size(0, low=0, high=10_000)
    shared_inter: int = size(0, low=0)
    shared_gate: bool = switch(False)
    zero_experts: int = size(0, low=0, high=1_000_000)
    skew: float = share(0.0, high=10.0)

    def check(self) -> None:
        if self.kv_heads and self.heads % self.kv_heads:
            raise BadValueError(f"kv_heads={self.kv_heads} does not divide heads={self.heads}.")
        if not self.head_dim and self.hidden % self.heads:
            raise BadValueError(f"heads={self.heads} does not divide hidden={self.hidden}; set head_dim.")
        for knob, listed in (("mixers", self.mixers), ("ffns", self.ffns)):
            if len(listed) > self.layers:
                raise BadValueError(f"{knob} lists {len(listed)} layers, but there are {self.layers}.")
        if {"moe", "shortcut-moe"} & set(self.ffns) and self.experts < self.topk:
            raise BadValueError(f"topk={self.topk} exceeds experts={self.experts}.")
        if self.head_bias and self.tied:
            raise BadValueError("head_bias needs an output projection of its own; set tied to false.")
        if self.parallel != "none" and self.post_norm:
            raise BadValueError("post_norm does not go with parallel layers.")
        if self.rotary_dim > self.head_size:
            raise BadValueError(f"rotary_dim={self.rotary_dim} exceeds the {self.head_size} features of a head.")
        if "mamba2" in self.mixers and self.ssm_inner % self.ssm_head_dim:
            raise BadValueError(f"ssm_head_dim={self.ssm_head_dim} does not divide {self.ssm_inner} channels.")
        self._check_caches()

    def _check_caches(self) -> None:
        listed = [mixer for mixer, _ in self.layer_list()]
        makers = [listed.index(mixer) for mixer in ("attention", "keys") if mixer in listed]
        if self.ends and "reuse" in listed and listed.index("reuse") < min(makers, default=len(listed)):
            raise BadValueError("a 'reuse' layer needs an 'attention' or 'keys' layer before it in mixers.")
        backwards = {"attention", "window", "sparse", "reuse", "keys"}
        if not self.causal and set(listed) - backwards:
            raise BadValueError(f"causal=false goes with mixers of {', '.join(sorted(backwards))} only.")
        if self.sharing > 1 and not self.cached:
            raise BadValueError(f"sharing={self.sharing:g} needs tokens to share; set cached.")
        if self.cascade and self.sharing == 1:
            raise BadValueError("cascade needs sequences that share their cached tokens; set sharing above 1.")

    @property
    def key_value_heads(self) -> int:
        return self.kv_heads or self.heads

    @property
    def head_size(self) -> int:
        return self.head_dim or self.hidden // self.heads

    @property
    def ssm_inner(self) -> int:
        """Channels of a state space."""
        return self.ssm_heads * self.ssm_head_dim or self.ssm_expand * self.hidden

    @property
    def defaults(self) -> Mapping[str, Any]:
        generate = min(128, self.max_context // 2)
        return {"prompt": max(1, min(1024, self.max_context - generate)), "generate": generate, "dtype": self.dtype}

    def layer_list(self) -> list[tuple[str, str]]:
        """Return (mixer, feed-forward) of every layer."""
        dense = "dense" if "moe" in self.ffns else self.ffns[0]
        return [
            (self.mixers[i % len(self.mixers)], dense if i < self.first_k_dense else self.ffns[i % len(self.ffns)])
            for i in range(self.layers)
        ]

    def workload(self, request: Request) -> Workload:
        """Return prefill and decode (`mode` "infer"), or a training step over full sequences.

        Prefill yields the first token, decode the other generate - 1.
        """
        model = in_formats(self, request)
        sizes = request_sizes(request, self.defaults)
        if request.mode == "train":
            return model._training(sizes)
        return model._inference(sizes)

    def _inference(self, sizes: Sizes) -> Workload:
        final = self.cached + sizes.prompt + sizes.generate
        notes = self.notes + self._notes(final)
        whole = self.step(sizes.batch, sizes.prompt, self.cached + sizes.prompt, final, "prefill")
        kv_len, times, owner = decode_steps(self.cached + sizes.prompt, sizes.generate)
        each = sizes.at(owner)
        one = self.step(each.batch, 1, kv_len, self.cached + each.prompt + each.generate, "decode")
        scored = whole.tokens if self.logits == "all" else sizes.batch
        prefill = Pass("prefill", self.graph(whole, logits=scored), np.ones(sizes.batch.shape))
        decode = Pass("decode", self.graph(one, logits=each.batch), times)
        return Workload(
            self.name, (prefill, decode), batch=sizes.batch, tokens_in=sizes.prompt, tokens_out=sizes.generate,
            requests=sizes.requests, owners={"prefill": np.arange(sizes.requests), "decode": owner}, notes=notes,
        )  # fmt: skip

    def _training(self, sizes: Sizes) -> Workload:
        from workloads.training import training_workload

        if self.cached:
            raise BadValueError("a training step runs the whole sequence; set cached to 0.")
        notes = self.notes + self._notes(sizes.prompt)
        step = self.step(sizes.batch, sizes.prompt, sizes.prompt, 0.0 * sizes.prompt, "prefill")
        forward = Pass("forward", self.graph(step, logits=step.tokens), np.ones(sizes.batch.shape))
        return training_workload(forward, name=self.name, batch=sizes.batch, tokens_in=sizes.prompt, notes=notes)

    def step(self, batch: Any, q_len: Any, kv_len: Any, final_len: Any, phase: str) -> Step:
        """Return a pass's sizes with the model's formats."""
        act = wide(self.dtype)
        attention = self.attention_dtype or act
        return Step(
            batch, q_len, kv_len, final_len, phase, self.dtype, act, attention, self.kv_dtype or attention,
            cached=float(self.cached), sharing=self.sharing, cascade=self.cascade,
        )  # fmt: skip

    def graph(self, step: Step, *, logits: Any) -> WorkloadGraph:
        """Return the graph of one pass whose head sees `logits` tokens."""
        blocks = layer_blocks(self.layer_list(), self._layer, step, "layers", recursions=self.recursions)
        if self.ends:
            blocks = (self._embedding(step), *blocks, self._head(step, logits))
        return WorkloadGraph(self.name, blocks, boundary_elements=step.tokens * self.hidden)

    def _embedding(self, step: Step) -> Block:
        chain = Chain(step)
        table = self.embedding_dtype or gguf_embedding(self.dtype, tied=self.tied) or step.act
        shape = {"rows": step.tokens, "hidden": self.hidden}
        stored = float(self.vocab * self.hidden)
        embedded = chain.add("embed", "embedding", shape, dtype=table, shard="vocab", parameters=stored)
        if self.position == "table":
            stored = float((self.position_rows or self.max_context) * self.hidden)
            place = chain.add("position", "embedding", shape, dtype=table, inputs=(BLOCK_INPUT,), parameters=stored)
            chain.pointwise("add", self.hidden, 1.0, operands=2, shard="", inputs=(embedded, place), fused=True)
        if self.embedding_norm:
            chain.norm("embed_norm", self.norm, self.hidden, residual=False)
        return Block("embed", tuple(chain.operators))

    def _layer(self, kinds: tuple[str, str], chain: Chain) -> None:
        mixer, feedforward = kinds
        normed = chain.norm("mixer_norm", self.norm, self.hidden)
        MIXERS[mixer](self, chain)
        if self.parallel != "none" and feedforward != "none":
            self._beside(feedforward, chain, normed)
            return
        if self.post_norm:
            chain.norm("mixer_post_norm", self.norm, self.hidden, residual=False)
        if feedforward == "none":
            return
        chain.norm("ffn_norm", self.norm, self.hidden)
        FEEDFORWARDS[feedforward](self, chain)
        if self.post_norm:
            chain.norm("ffn_post_norm", self.norm, self.hidden, residual=False)

    def _beside(self, feedforward: str, chain: Chain, normed: str) -> None:
        """Append the feed-forward part of a parallel layer, beside the mixer, and their sum."""
        mixed, chain.last = chain.last, normed
        if self.parallel == "two-norms":
            chain.last = chain.stream
            chain.norm("ffn_norm", self.norm, self.hidden, residual=False)
        FEEDFORWARDS[feedforward](self, chain)
        chain.pointwise("join", self.hidden, 1.0, operands=2, shard="", inputs=(mixed, chain.last))

    def _head(self, step: Step, logits: Any) -> Block:
        chain = Chain(step)
        chain.norm("final_norm", self.norm, self.hidden, rows=logits)
        dtype = self.lm_head_dtype or gguf_head(self.dtype) or step.act
        chain.gemm(
            "lm_head", self.vocab, self.hidden, rows=logits, shard="logits", dtype=dtype, stored=not self.tied,
            bias=self.head_bias,
        )  # fmt: skip
        chain.pointwise("probabilities", self.vocab, 0.0, op="softmax", rows=logits, shard="")
        return Block("head", tuple(chain.operators))

    def _notes(self, length: Any) -> tuple[str, ...]:
        return context_notes(self.name, length, self.max_context, table=self.position == "table")
