"""Blocks over all tokens: plain attention, talking heads and class attention (CaiT), cross-covariance (XCiT), PiT."""

from __future__ import annotations

from workloads.builders.vision.staged.conv import classify
from workloads.builders.vision.staged.stage import Part, Stage, feed_forward, finish
from workloads.builders.vision.staged.tokens import Tokens

FOURIER = 32
"""Features a coordinate of XCiT's positional encoding (El-Nouby et al. 2021; its code)."""


def attention(t: Tokens, s: Stage, *, name: str = "attention", bias: float = 0.0) -> None:
    """Append self-attention of all tokens: one projection in, one out; `bias` is the size of a table of positions."""
    width, biased = t.channels, not s.has("no-bias")
    inner = s.heads * s.head_dim
    t.linear(f"{name}.qkv", 3 * inner, bias=biased and not s.has("no-qkv-bias"))
    t.attend(name, s.heads, s.head_dim, bias=bias)
    t.linear(f"{name}.out", width, bias=biased)


def transformer(t: Tokens, s: Stage) -> None:
    """A plain encoder layer."""
    entry = t.last
    t.norm("norm", s.norm)
    attention(t, s)
    finish(t, s, "attention.add", entry)
    feed_forward(t, s)


def talking_heads(t: Tokens, s: Stage) -> None:
    """CaiT (Touvron et al. 2021): heads mix by a projection before and after the softmax, so that scores are stored."""
    entry, width, heads, tokens = t.last, t.channels, s.heads, t.tokens
    t.norm("norm")
    t.linear("qkv", 3 * width)
    t.product("scores", heads, tokens, tokens, width // heads)
    pairs = {"m": t.batch * tokens**2, "n": heads, "k": heads}
    t.add("talk1", "gemm", pairs, parameters=float(heads * (heads + 1)))
    t.softmax("softmax", heads * tokens, tokens)
    t.add("talk2", "gemm", pairs, parameters=float(heads * (heads + 1)))
    t.product("values", heads, tokens, width // heads, tokens)
    t.channels = width
    t.linear("out", width)
    finish(t, s, "attention.add", entry)
    feed_forward(t, s)


def class_attention(t: Tokens, s: Stage) -> None:
    """Attention of the class token to all tokens, and a feed-forward part of it alone (CaiT, section 3)."""
    width, heads, tokens, one = t.channels, s.heads, t.tokens, t.batch
    entry = t.last
    normed = t.norm("norm")
    t.linear("query", width, rows=one, bias=not s.has("no-qkv-bias"))
    query = t.last
    t.linear("keys_values", 2 * width, inputs=(normed,), bias=not s.has("no-qkv-bias"))
    t.attend("attention", heads, width // heads, queries=1, keys=tokens, inputs=(query, t.last))
    t.linear("out", width, rows=one)
    side = (t.height, t.width, t.prefix)
    t.height, t.width, t.prefix = 1, 1, 0
    finish(t, s, "attention.add", entry)
    feed_forward(t, s)
    t.height, t.width, t.prefix = side


def cross_covariance(t: Tokens, s: Stage) -> None:
    """XCiT (El-Nouby et al. 2021, section 3): channels attend to channels, 3x3 convolutions connect tokens."""
    entry, width, heads, tokens = t.last, t.channels, s.heads, t.tokens
    dim = width // heads
    t.norm("norm")
    t.linear("qkv", 3 * width)
    t.add("unit", "norm", {"rows": t.batch * tokens, "hidden": 2 * width, "flop_per_element": 3.0},
          parameters=float(heads))  # fmt: skip
    t.product("scores", heads, dim, dim, tokens)
    t.softmax("softmax", width, dim)
    t.product("values", heads, dim, tokens, dim)
    t.channels = width
    t.linear("out", width)
    entry = finish(t, s, "attention.add", entry)
    t.norm("local.norm")
    t.depthwise("local.conv1", 3, batch_norm=False, bias=True, act="gelu")
    t.norm("local.bn", "batch")
    t.depthwise("local.conv2", 3, batch_norm=False, bias=True)
    finish(t, s, "local.add", entry)
    feed_forward(t, s)


def position_table(t: Tokens, *, prefix: int = 0) -> None:
    """Append the addition of a learned table of positions of the map, and learned tokens before it."""
    stored = float(t.channels * (t.tokens + prefix))
    t.prefix += prefix
    t.add("position", "elementwise", {**t._pixels(), "operands": 2}, parameters=stored)


def _class_token(t: Tokens, s: Stage) -> None:
    """A learned token in front of the others."""
    t.prefix = 1
    t.add("class", "copy", t._pixels(), parameters=float(t.channels))


def _stem_table(t: Tokens, s: Stage) -> None:
    """Patches and a table of their positions; with trait `class-token` (and `distilled`), learned tokens too."""
    t.conv("patches", s.width, s.kernels, stride=s.patch, padding=0, batch_norm=False, bias=True)
    position_table(t, prefix=s.has("class-token") + s.has("distilled"))


def _stem_fourier(t: Tokens, s: Stage) -> None:
    """Strided convolutions and a projected Fourier encoding of positions, which is the same for all images."""
    for place, width in enumerate(s.stem_widths):
        t.conv(f"conv{place}", width, 3, stride=2, act="" if place == len(s.stem_widths) - 1 else "gelu")
    tokens, width, entry = t.tokens, t.channels, t.last
    shape = {"m": tokens, "n": width, "k": 2 * FOURIER}
    t.add("position", "gemm", shape, parameters=float(width * (2 * FOURIER + 1)))
    t.residual("position.add", entry)


def _pit_pool(t: Tokens, s: Stage) -> None:
    """PiT's pooling (Heo et al. 2021): a strided depthwise convolution of the map, a projection of the class token."""
    entry, before = t.last, t.channels
    t.conv("conv", s.width, 3, stride=2, groups=before, batch_norm=False, bias=True)
    mapped = t.last
    shape = {"m": t.batch * t.prefix, "n": s.width, "k": before}
    t.add("class", "gemm", shape, (entry,), parameters=float(s.width * (before + 1)))
    t.copy("concat", inputs=(mapped, t.last))


def _norm_token(t: Tokens, s: Stage) -> None:
    """Normalisation and a classifier of the class token; `distilled`: of a second one too, averaged."""
    t.norm("norm")
    classify(t, s)


PLAIN_STEMS: dict[str, Part] = {"patch-table": _stem_table, "conv-fourier": _stem_fourier}
PLAIN_BLOCKS: dict[str, Part] = {
    "transformer": transformer, "talking-heads": talking_heads, "class-attention": class_attention,
    "cross-covariance": cross_covariance,
}  # fmt: skip
PLAIN_DOWNS: dict[str, Part] = {"class-token": _class_token, "pit-pool": _pit_pool}
PLAIN_HEADS: dict[str, Part] = {"norm-token": _norm_token}
