"""Pyramids that pool queries inside attention: Hiera (Ryali et al. 2023) and MViT v2 (Li et al. 2021)."""

from __future__ import annotations

from workloads.builders.vision.staged.plain import position_table
from workloads.builders.vision.staged.stage import Part, Stage, feed_forward, finish
from workloads.builders.vision.staged.tokens import Tokens


def _pool_tokens(t: Tokens, name: str) -> None:
    """Append the maximum over 2 x 2 neighbours."""
    t.pool(name, 2, 2, 0)


def hiera(t: Tokens, s: Stage) -> None:
    """Hiera's block: attention within `windows` x `windows` tokens (0: all), a feed-forward part."""
    entry, width = t.last, t.channels
    side = s.windows or t.height
    t.norm("norm")
    t.linear("qkv", 3 * width)
    t.attend("attention", s.heads, s.head_dim, queries=side**2, windows=t.tokens / side**2)
    t.linear("out", width)
    finish(t, s, "attention.add", entry)
    feed_forward(t, s)


def _hiera_down(t: Tokens, s: Stage) -> None:
    """The first block of a stage: queries and shortcut are pooled 2 x 2; keys within `groups` x `groups` tokens.

    The shortcut is projected and pooled; with trait `pool-first` it is maximum and mean side by side.
    """
    entry, out = t.here, s.width
    side = s.groups or t.height
    count = t.tokens / side**2
    normed = t.norm("norm")
    if s.has("pool-first"):
        t.back_to(entry)
        t.pool("shortcut.pool", 2, 2, 0)
        t.take(out)
        shortcut = t.copy("shortcut.concat")
    else:
        t.linear("shortcut.project", out)
        _pool_tokens(t, "shortcut.pool")
        shortcut = t.last
    t.back_to(entry)
    t.linear("qkv", 3 * out, inputs=(normed,))
    keys = t.last
    t.take(out)
    _pool_tokens(t, "queries")
    t.attend("attention", s.heads, s.head_dim, queries=side**2 // 4, keys=side**2, windows=count, inputs=(t.last, keys))
    t.linear("out", out)
    finish(t, s, "attention.add", shortcut)
    feed_forward(t, s)


def _stem_hiera(t: Tokens, s: Stage) -> None:
    """A 7x7 convolution of stride 4 and a table of positions; `window-table`: one of `reductions`^2 and one of 8^2."""
    t.conv("conv", s.width, 7, stride=4, batch_norm=False, bias=True)
    if not s.has("window-table"):
        position_table(t)
        return
    stored = float(s.width * (s.reductions**2 + 8**2))
    t.add("position", "elementwise", {**t._pixels(), "operands": 2}, parameters=stored)


def _multiscale(t: Tokens, s: Stage, stride: int) -> None:
    """MViT v2's block (section 4.1): depthwise pooling of queries, keys and values, decomposed relative positions.

    The convolutions are shared by the heads; a class token passes by them. Keys and values have stride `reductions`.
    """
    out, entry, heads = s.width, t.here, s.heads
    dim = out // heads
    t.norm("norm")
    normed = t.last
    shortcut = entry.name
    if t.channels != out:
        shortcut = t.linear("shortcut.project", out)
    if stride > 1:
        shortcut = t.pool("shortcut.pool", 3, stride, 1)
    t.back_to(entry)
    t.linear("qkv", 3 * out, inputs=(normed,))
    projected = t.here
    pooled = []
    for name, step in (("queries", stride), ("keys", s.reductions), ("values", s.reductions)):
        t.back_to(projected)
        t.take(out)
        _head_pool(t, name, dim, step)
        pooled.append(t.here)
        if name == "queries":
            queries, side = t.tokens, t.height
    keys, key_side = t.tokens, t.height
    stored = 2.0 * (2 * max(side, key_side) - 1) * dim
    pairs = {"batch": t.batch * 2 * heads, "m": side**2, "n": key_side, "k": dim}
    relative = t.add("relative", "gemm", pairs, (pooled[0].name,), parameters=stored)
    t.back_to(pooled[0])
    inputs = (*(point.name for point in pooled), relative)
    t.attend("attention", heads, dim, queries=queries, keys=keys, inputs=inputs)
    t.residual("attention.queries", pooled[0].name)
    t.linear("out", out)
    finish(t, s, "attention.add", shortcut)
    feed_forward(t, s)


def _head_pool(t: Tokens, name: str, dim: int, stride: int) -> None:
    """Append a 3x3 depthwise convolution with one filter for each of `dim` features, and a normalisation of a head."""
    shape = {
        "batch": t.batch, "c_in": t.channels, "h": t.height, "w": t.width, "c_out": t.channels, "kh": 3, "kw": 3,
        "stride": stride, "padding": 1, "groups": t.channels,
    }  # fmt: skip
    t.height, t.width = ((side - 1) // stride + 1 for side in (t.height, t.width))
    t.add(name, "conv2d", shape, parameters=9.0 * dim)
    t.add(f"{name}.norm", "norm", {**t._pixels(), "flop_per_element": 7.0}, parameters=2.0 * dim)


def _stem_multiscale(t: Tokens, s: Stage) -> None:
    """A 7x7 convolution of stride 4, and with trait `class-token` a learned token."""
    t.conv("conv", s.width, 7, stride=4, batch_norm=False, bias=True)
    if s.has("class-token"):
        t.prefix = 1
        t.add("class", "copy", t._pixels(), parameters=float(t.channels))


MULTISCALE_STEMS: dict[str, Part] = {"hiera": _stem_hiera, "multiscale": _stem_multiscale}
MULTISCALE_BLOCKS: dict[str, Part] = {"hiera": hiera, "multiscale": lambda t, s: _multiscale(t, s, 1)}
MULTISCALE_DOWNS: dict[str, Part] = {"hiera": _hiera_down, "multiscale": lambda t, s: _multiscale(t, s, 2)}
