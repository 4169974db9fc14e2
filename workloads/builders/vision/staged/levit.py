"""Attention beside convolutions in the LeViT line: LeViT, EfficientFormer 1 and 2, TinyViT.

Queries and keys are small, values larger; scores have a learned bias for each distance (one a head and offset).
"""

from __future__ import annotations

from workloads.builders.vision.staged.conv import inverted
from workloads.builders.vision.staged.stage import Part, Stage, feed_forward, finish
from workloads.builders.vision.staged.tokens import Tokens
from workloads.builders.vision.staged.window import windows


def _normed(t: Tokens, name: str, n: int, *, act: str = "") -> str:
    """Append a projection without bias, with the batch normalisation that is folded into it."""
    t.linear(name, n, bias=False)
    return t.norm(f"{name}.bn", "batch", act)


def _small_mlp(t: Tokens, s: Stage) -> None:
    entry, width = t.last, t.channels
    _normed(t, "mlp.up", 2 * width, act=s.act)
    _normed(t, "mlp.down", width)
    t.residual("mlp.add", entry)


def levit(t: Tokens, s: Stage) -> None:
    """LeViT (Graham et al. 2021, section 4): values of twice the key size, batch normalisation only."""
    entry, width, key = t.last, t.channels, s.head_dims
    _normed(t, "qkv", s.heads * 4 * key)
    t.attend("attention", s.heads, key, v_dim=2 * key, bias=float(s.heads * t.tokens))
    t.activate("attention.act", s.act)
    _normed(t, "out", width)
    t.residual("attention.add", entry)
    _small_mlp(t, s)


def levit_down(t: Tokens, s: Stage) -> None:
    """LeViT's shrinking attention: queries from every second token, values of four times the key size."""
    entry, width, key, tokens, side = t.last, t.channels, s.head_dims, t.tokens, t.height
    heads = width // key
    keys = _normed(t, "keys_values", heads * 5 * key)
    t.height = t.width = -(-side // 2)
    t.channels, t.last = width, entry
    t.copy("subsample")
    queries = _normed(t, "queries", heads * key)
    t.attend("attention", heads, key, v_dim=4 * key, queries=t.tokens, keys=tokens, inputs=(queries, keys),
             bias=float(heads * tokens))  # fmt: skip
    t.activate("attention.act", s.act)
    _normed(t, "out", s.width)
    _small_mlp(t, s)


def meta_pool(t: Tokens, s: Stage) -> None:
    """EfficientFormer's early block (Li et al. 2022): pooling, 1x1 convolutions with batch normalisation."""
    entry, width = t.last, t.channels
    t.pool("pool", 3, 1, 1)
    t.fused("pool.less", "elementwise", 1.0)
    entry = finish(t, s, "mixer.add", entry)
    t.conv("mlp.up", s.inner, 1, bias=True, act=s.act)
    t.conv("mlp.down", width, 1, bias=True)
    finish(t, s, "mlp.add", entry)


def meta_attention(t: Tokens, s: Stage) -> None:
    """EfficientFormer's late block: heads with keys of `head_dims` and values of `v_dims`."""
    entry, width = t.last, t.channels
    t.norm("norm")
    t.linear("qkv", s.heads * (2 * s.head_dims + s.v_dims))
    t.attend("attention", s.heads, s.head_dims, v_dim=s.v_dims, bias=float(s.heads * t.tokens))
    t.linear("out", width)
    finish(t, s, "attention.add", entry)
    feed_forward(t, s)


def _conv_ffn(t: Tokens, s: Stage, expansion: int) -> None:
    """EfficientFormer V2 (Li et al. 2022, section 3): a depthwise convolution inside the feed-forward part."""
    entry, width = t.last, t.channels
    t.conv("ffn.up", expansion * width, 1, bias=True, act=s.act)
    t.depthwise("ffn.conv", 3, bias=True, act=s.act)
    t.conv("ffn.down", width, 1, bias=True)
    finish(t, s, "ffn.add", entry)


def _attention_ffn(t: Tokens, s: Stage, expansion: int) -> None:
    """EfficientFormer V2's attention: keys of 32, values of 128, heads mixed around the softmax, values convolved.

    `strides` 2 halves the map before and interpolates it after.
    """
    entry, width, heads, side = t.last, t.channels, s.heads, t.height
    if s.strides > 1:
        t.depthwise("attention.reduce", 3, stride=s.strides, bias=True)
    tokens, inner = t.tokens, heads * s.v_dims
    t.conv("attention.qkv", 2 * heads * s.head_dims + inner, 1, bias=True)
    mixed = t.last
    t.channels = inner
    local = t.depthwise("attention.local", 3, bias=True)
    pairs = {"m": t.batch * tokens**2, "n": heads, "k": heads}
    t.product("attention.scores", heads, tokens, tokens, s.head_dims, inputs=(mixed,))
    t.add("attention.talk1", "gemm", pairs, parameters=float(heads * (heads + 1 + tokens)))
    t.softmax("attention.softmax", heads * tokens, tokens)
    t.add("attention.talk2", "gemm", pairs, parameters=float(heads * (heads + 1)))
    t.product("attention.values", heads, tokens, s.v_dims, tokens)
    t.residual("attention.add_local", local)
    if s.strides > 1:
        t.upsample("attention.enlarge", side)
    t.activate("attention.act", s.act)
    t.conv("attention.out", width, 1, bias=True)
    finish(t, s, "attention.add", entry)
    _conv_ffn(t, s, expansion)


def _attention_down(t: Tokens, s: Stage) -> None:
    """EfficientFormer V2's last transition: a strided convolution plus attention with queries from every second token.

    Eight heads, keys of 16, values of 64.
    """
    heads, key, value = 8, 16, 64
    entry = t.here
    convolved = t.conv("conv", s.width, 3, stride=2, bias=True)
    after = t.here
    t.back_to(entry)
    tokens = t.tokens
    local = t.depthwise("queries.local", 3, stride=2, batch_norm=False, bias=True)
    t.residual("queries.add", local)
    queries = t.conv("queries", heads * key, 1, bias=True)
    t.back_to(entry)
    keys = t.conv("keys_values", heads * (key + value), 1, bias=True)
    t.take(heads * value)
    local = t.depthwise("values.local", 3, stride=2, bias=True)
    t.attend("attention", heads, key, v_dim=value, queries=t.tokens, keys=tokens, inputs=(queries, keys),
             bias=float(heads * tokens))  # fmt: skip
    t.residual("add_local", local)
    t.activate("act", s.act)
    t.conv("out", s.width, 1, bias=True)
    t.residual("add", convolved)
    t.height, t.width = after.height, after.width


def tiny(t: Tokens, s: Stage) -> None:
    """TinyViT (Wu et al. 2022, section 3.3): windowed attention, a depthwise convolution, a feed-forward part."""
    entry, width = t.last, t.channels
    window, count = windows(t, s.windows)
    rows = t.batch * count * window**2
    if count > 1:
        t.copy("attention.window")
    t.add("norm", "norm", {"rows": rows, "hidden": width, "flop_per_element": 7.0}, parameters=2.0 * width)
    t.linear("qkv", 3 * width, rows=rows)
    t.attend("attention", s.heads, s.head_dim, queries=window**2, windows=count, bias=float(s.heads * window**2))
    t.linear("out", width, rows=rows)
    if count > 1:
        t.copy("attention.unwindow")
    t.residual("attention.add", entry)
    t.depthwise("local", 3)
    feed_forward(t, s)


def _tiny_conv(t: Tokens, s: Stage) -> None:
    inverted(t, t.channels, 4 * t.channels, act=s.act, shortcut=True)
    t.activate("act", s.act)


def _tiny_merge(t: Tokens, s: Stage) -> None:
    """TinyViT's transition: 1x1, strided depthwise and 1x1 convolutions."""
    inverted(t, s.width, s.width, stride=2, act=s.act, shortcut=False)


LEVIT_BLOCKS: dict[str, Part] = {
    "levit": levit, "meta-pool": meta_pool, "meta-attention": meta_attention, "tiny": tiny, "tiny-conv": _tiny_conv,
    "conv-ffn-3": lambda t, s: _conv_ffn(t, s, 3), "conv-ffn-4": lambda t, s: _conv_ffn(t, s, 4),
    "attention-ffn-3": lambda t, s: _attention_ffn(t, s, 3), "attention-ffn-4": lambda t, s: _attention_ffn(t, s, 4),
}  # fmt: skip
LEVIT_DOWNS: dict[str, Part] = {"levit": levit_down, "attention": _attention_down, "tiny-merge": _tiny_merge}
