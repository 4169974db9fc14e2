"""Layers of diffusion transformers, one function a kind, chosen by name from `LAYERS`.

All modulate: a vector of the time (and of class, prompt) shifts and scales what follows a normalisation and gates
what a part adds (Peebles & Xie 2023, section 3.2, adaLN-Zero). Each layer ends with an addition in a kernel of its own
that yields the whole stream; inside, gates and additions are fused with the norm after them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from workloads.builders.chain import GELU_FLOP, NORM_FLOP, ROPE_FLOP, Chain
from workloads.graph import BLOCK_INPUT, Shard, Size

if TYPE_CHECKING:
    from workloads.builders.generative.transformer import TransformerDiffusion

MODULATION_FLOP = 4.0
"""Per element: scale and shift after a norm, gate and addition before it."""
Layer = Callable[["TransformerDiffusion", Chain], None]


class Stream:
    """The tokens of one kind (image or text) in a layer: `rows` of them, `last` what was made of them."""

    def __init__(self, d: TransformerDiffusion, chain: Chain, rows: Size, prefix: str = "") -> None:
        self.d, self.chain, self.rows, self.prefix = d, chain, rows, prefix
        self.last = BLOCK_INPUT

    def gemm(self, name: str, n: int, k: int, *, shard: Shard = "", inputs: Sequence[str] = ()) -> str:
        sources = inputs or (self.last,)
        self.last = self.chain.gemm(self.prefix + name, n, k, rows=self.rows, bias=True, shard=shard, inputs=sources)
        return self.last

    def norm(self, name: str, vector: str = "", *, residual: str = "", affine: bool = False) -> str:
        """Append a norm with its modulation; with `residual`, it first adds the gated branch to that stream."""
        d = self.d
        shape = {
            "rows": self.rows, "hidden": d.hidden, "operands": 3 if residual else 1,
            "flop_per_element": NORM_FLOP["layer"] + MODULATION_FLOP,
        }  # fmt: skip
        inputs = [name for name in (self.last, residual, vector) if name]
        stored = 2.0 * d.hidden if affine else 0.0
        self.last = self.chain.add(self.prefix + name, "norm", shape, inputs=inputs, parameters=stored)
        return self.last

    def heads(self, name: str) -> str:
        """Append the norm of each head's queries and keys (`qk_norm`) and their rotation."""
        d, chain = self.d, self.chain
        wide, prefix = 2.0 * d.hidden, self.prefix + name
        if d.qk_norm != "none":
            stored = wide if d.qk_norm == "wide" else 2.0 * d.head_dim * (2 if d.qk_norm == "layer" else 1)
            chain.pointwise(
                f"{prefix}qk_norm", wide, 4.0, op="norm", rows=self.rows, inputs=(self.last,), parameters=stored
            )  # fmt: skip
            self.last = chain.last
        if d.position == "rope":
            chain.pointwise(f"{prefix}rope", wide, ROPE_FLOP, rows=self.rows, inputs=(self.last,))
            self.last = chain.last
        return self.last

    def feedforward(self) -> str:
        d = self.d
        self.gemm("up", d.inter, d.hidden, shard="column")
        act = self.chain.pointwise(f"{self.prefix}act", d.inter, GELU_FLOP, rows=self.rows, inputs=(self.last,))
        return self.gemm("down", d.hidden, d.inter, shard="row", inputs=(act,))


def modulation(d: TransformerDiffusion, chain: Chain, parts: int, name: str = "modulation") -> str:
    """Append the vectors of a layer, `parts` x hidden an image: a dense layer of the time, or a table added to it."""
    width = parts * d.hidden
    if d.shared_modulation:
        shape = {"rows": chain.step.batch, "hidden": width, "operands": 1, "flop_per_element": 1.0}
        return chain.add(name, "elementwise", shape, inputs=(BLOCK_INPUT,), parameters=float(width))
    return chain.gemm(name, width, d.time, rows=chain.step.batch, bias=True, inputs=(BLOCK_INPUT,))


def _finish(d: TransformerDiffusion, chain: Chain, rows: Size, inputs: Sequence[str]) -> None:
    """Append the gated addition that ends a layer."""
    chain.pointwise("out", d.hidden, 2.0, operands=2, rows=rows, shard="", inputs=inputs)


def _attend(d: TransformerDiffusion, chain: Chain, inputs: Sequence[str], *, name: str = "", keys: Size = 0) -> str:
    """Append the attention kernel over `keys` tokens (0: those that ask)."""
    step = chain.step
    shape = {
        "batch": step.batch, "q_len": step.q_len, "kv_len": keys or step.q_len, "heads": d.heads,
        "head_dim": d.head_dim, "causal": 0,
    }  # fmt: skip
    return chain.add(name or "attention", "attention", shape, dtype=step.attention, inputs=inputs, shard="heads")


def plain(d: TransformerDiffusion, chain: Chain, *, cross: bool = False) -> None:
    """Self-attention and a feed-forward part (DiT)."""
    image = Stream(d, chain, chain.step.tokens)
    vector = modulation(d, chain, 6)
    image.norm("mixer_norm", vector, affine=d.affine_norms)
    image.gemm("qkv", 3 * d.hidden, d.hidden, shard="column")
    image.last = _attend(d, chain, (image.heads(""),))
    image.gemm("o", d.hidden, d.hidden, shard="row")
    stream = BLOCK_INPUT
    if cross:
        stream = _cross_attention(d, chain, image)
    normed = image.norm("ffn_norm", vector, residual=stream, affine=d.affine_norms)
    _finish(d, chain, image.rows, (image.feedforward(), normed))


def _cross_attention(d: TransformerDiffusion, chain: Chain, image: Stream) -> str:
    """Append attention to the text, with a norm of its own where `cross_norm`; returns the stream that it joins."""
    if d.cross_norm:
        stream = image.norm("cross_norm", residual=BLOCK_INPUT, affine=True)
    else:
        stream = chain.pointwise(
            "self_out", d.hidden, 2.0, operands=2, rows=image.rows, shard="", inputs=(image.last, BLOCK_INPUT)
        )  # fmt: skip
        image.last = stream
    query = image.gemm("cross_q", d.hidden, d.hidden, shard="column")
    text = chain.step.batch * d.text_tokens
    keys = chain.gemm("cross_kv", 2 * d.hidden, d.hidden, rows=text, bias=True, shard="column", inputs=(BLOCK_INPUT,))
    if d.qk_norm != "none":
        stored = float(d.hidden if d.qk_norm == "wide" else d.head_dim)
        for name, rows, source in (("q", image.rows, query), ("k", text, keys)):
            chain.pointwise(
                f"cross_{name}_norm", d.hidden, 4.0, op="norm", rows=rows, inputs=(source,), parameters=stored
            )  # fmt: skip
        query, keys = "cross_q_norm", "cross_k_norm"
    image.last = _attend(d, chain, (query, keys), name="cross_attention", keys=d.text_tokens)
    image.gemm("cross_o", d.hidden, d.hidden, shard="row")
    return stream


def crossed(d: TransformerDiffusion, chain: Chain) -> None:
    """Self-attention, attention to the text, a feed-forward part (PixArt, Chen et al. 2023; Wan 2.1)."""
    plain(d, chain, cross=True)


def joint(d: TransformerDiffusion, chain: Chain, *, last: bool = False) -> None:
    """Image and text, each with weights of its own, in one attention (MMDiT, Esser et al. 2024, section 4).

    `last`: the text serves the attention only.
    """
    batch = chain.step.batch
    image, text = Stream(d, chain, batch * d.image_tokens), Stream(d, chain, batch * d.text_tokens, "text_")
    vectors = modulation(d, chain, 6), modulation(d, chain, 2 if last else 6, "text_modulation")
    for stream, vector in zip((image, text), vectors, strict=True):
        stream.norm("mixer_norm", vector)
        stream.gemm("qkv", 3 * d.hidden, d.hidden, shard="column")
        stream.heads("")
    attended = _attend(d, chain, (image.last, text.last))
    made: list[str] = []
    for stream, vector in zip((image, text)[: 1 if last else 2], vectors, strict=False):
        stream.gemm("o", d.hidden, d.hidden, shard="row", inputs=(attended,))
        normed = stream.norm("ffn_norm", vector, residual=BLOCK_INPUT)
        made += [stream.feedforward(), normed]
    _finish(d, chain, image.rows if last else chain.step.tokens, made)


def joint_last(d: TransformerDiffusion, chain: Chain) -> None:
    """The last layer of SD3: nothing reads its text."""
    joint(d, chain, last=True)


def single(d: TransformerDiffusion, chain: Chain) -> None:
    """All tokens with one set of weights, attention beside the feed-forward part (FLUX.1; Dehghani et al. 2023)."""
    both = Stream(d, chain, chain.step.tokens)
    normed = both.norm("norm", modulation(d, chain, 3))
    both.gemm("qkv", 3 * d.hidden, d.hidden, shard="column")
    attended = _attend(d, chain, (both.heads(""),))
    up = both.gemm("up", d.inter, d.hidden, shard="column", inputs=(normed,))
    act = chain.pointwise("act", d.inter, GELU_FLOP, rows=both.rows, inputs=(up,))
    out = both.gemm("o", d.hidden, d.hidden + d.inter, shard="row", inputs=(attended, act))
    _finish(d, chain, both.rows, (out, BLOCK_INPUT))


def expert(d: TransformerDiffusion, chain: Chain) -> None:
    """Text and video with one set of weights, each with its modulation (CogVideoX, Yang et al. 2024, section 2.2)."""
    both = Stream(d, chain, chain.step.tokens)
    both.norm("mixer_norm", modulation(d, chain, 6), affine=True)
    both.gemm("qkv", 3 * d.hidden, d.hidden, shard="column")
    both.last = _attend(d, chain, (both.heads(""),))
    both.gemm("o", d.hidden, d.hidden, shard="row")
    second = modulation(d, chain, 6, "ffn_modulation")
    normed = both.norm("ffn_norm", second, residual=BLOCK_INPUT, affine=True)
    _finish(d, chain, both.rows, (both.feedforward(), normed))


LAYERS: dict[str, Layer] = {
    "plain": plain, "cross": crossed, "joint": joint, "joint-last": joint_last, "single": single, "expert": expert,
}  # fmt: skip
"""Kinds of layers."""
TOGETHER = ("joint", "joint-last", "single", "expert")
"""Kinds whose attention sees text and image at once."""
