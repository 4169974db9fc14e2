"""A stack of equal transformer layers, with or without attention to an encoded source: what towers are made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from workloads.builders.chain import Chain, Step, layer_blocks
from workloads.builders.language.feedforward import two_layer
from workloads.builders.language.mixers import attend, multi_head
from workloads.graph import Block, Size

BIASES = ("none", "qkv", "no-key", "all")
"""Where the projections have a bias; `no-key`: everywhere but on the keys (Whisper)."""


@dataclass(frozen=True)
class Stack:
    """Layers of one width. `kv_heads` 0 means heads, `head_dim` 0 means hidden / heads.

    `post_norm`: each part is added to the stream and then normalised (Vaswani et al. 2017, BERT, BART); otherwise it
    is normalised first, and a last normalisation follows the stack. `causal`: a token sees only those before it.
    """

    layers: int
    hidden: int
    heads: int
    inter: int
    kv_heads: int = 0
    head_dim: int = 0
    gated: bool = False
    norm: str = "layer"
    bias: str = "all"
    post_norm: bool = False
    rope: bool = False
    causal: bool = False
    cached: bool = False
    window: int = 0

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Heads, key-value heads, features of a head."""
        return self.heads, self.kv_heads or self.heads, self.head_dim or self.hidden // self.heads

    def blocks(self, step: Step, name: str, *, source: Size | None = None, encode: bool = False) -> tuple[Block, ...]:
        """Return the layers, with cross-attention where `source` (tokens a sequence) is given.

        Keys and values of the source are made in the pass that encodes it (`encode`), and then kept.
        """

        def layer(_: Any, chain: Chain) -> None:
            self.attention(chain)
            if source is not None:
                self.cross_attention(chain, source, encode=encode)
            self.feed_forward(chain)

        return layer_blocks([()] * self.layers, layer, step, name)

    def final_norm(self, step: Step, name: str) -> tuple[Block, ...]:
        """Return the block of the last normalisation; none where layers end with one."""
        if self.post_norm:
            return ()
        chain = Chain(step)
        chain.norm(name, self.norm, self.hidden)
        return (Block(name, tuple(chain.operators)),)

    def attention(self, chain: Chain) -> None:
        """Append self-attention and its normalisation."""
        heads, kv_heads, size = self.sizes
        whole = self.bias in ("no-key", "all")
        self._part(
            chain, "mixer_norm", lambda: multi_head(
                chain, hidden=self.hidden, heads=heads, kv_heads=kv_heads, head_dim=size, norm=self.norm,
                bias="all" if whole else self.bias, rope=self.rope, causal=self.causal, cached=self.cached,
                window=self.window,
            ),
        )  # fmt: skip
        if self.bias == "no-key":
            without_bias(chain, "qkv", kv_heads * size)

    def cross_attention(self, chain: Chain, source: Size, *, encode: bool) -> None:
        """Append attention to the encoded source and its normalisation."""
        self._part(chain, "cross_norm", lambda: self._cross(chain, source, encode))

    def feed_forward(self, chain: Chain) -> None:
        """Append the feed-forward part and its normalisation."""
        biased = self.bias in ("no-key", "all")
        self._part(chain, "ffn_norm", lambda: two_layer(chain, self.hidden, self.inter, gated=self.gated, bias=biased))

    def _cross(self, chain: Chain, source: Size, encode: bool) -> None:
        heads, kv_heads, size = self.sizes
        bias, entry = self.bias != "none", chain.last
        if encode:
            rows = chain.step.batch * source
            chain.gemm("cross_kv", 2 * kv_heads * size, self.hidden, shard="column", bias=bias, rows=rows)
            if self.bias == "no-key":
                without_bias(chain, "cross_kv", kv_heads * size)
        encoded = chain.last
        chain.gemm("cross_q", heads * size, self.hidden, shard="column", bias=bias, inputs=(entry, encoded))
        attend(
            chain, "cross_attention", heads, kv_heads, size, causal=False, cached=self.cached, kv_len=source,
            kept=source,
        )  # fmt: skip
        chain.gemm("cross_o", self.hidden, heads * size, shard="row", bias=self.bias in ("no-key", "all"))

    def _part(self, chain: Chain, name: str, part: Callable[[], None]) -> None:
        if self.post_norm:
            part()
        chain.norm(name, self.norm, self.hidden)
        if not self.post_norm:
            part()


def without_bias(chain: Chain, name: str, width: int) -> None:
    """Take the bias of `width` features from the stored elements of an operator that the chain holds."""
    full = chain.prefix + name
    chain.operators = [
        replace(o, parameters=o.parameters - width) if o.name == full else o for o in chain.operators
    ]  # fmt: skip
