"""Windows beside something that sees further: DaViT (channels), GCViT (a global query), NesT (nested), FocalNet."""

from __future__ import annotations

from workloads.builders.vision.staged.plain import position_table
from workloads.builders.vision.staged.stage import Part, Stage, feed_forward, finish
from workloads.builders.vision.staged.tokens import Tokens
from workloads.builders.vision.staged.window import window_attention, windows


def channel_attention(t: Tokens, s: Stage, *, name: str = "channels") -> None:
    """Append attention of channels to channels within each head."""
    width, heads, tokens = t.channels, s.heads, t.tokens
    dim = width // heads
    t.linear(f"{name}.qkv", 3 * width)
    t.product(f"{name}.scores", heads, dim, dim, tokens)
    t.softmax(f"{name}.softmax", width, dim)
    t.product(f"{name}.values", heads, dim, tokens, dim)
    t.channels = width
    t.linear(f"{name}.out", width)


def davit(t: Tokens, s: Stage) -> None:
    """DaViT (Ding et al. 2022, section 3): a spatial and a channel block, each with convolved positions twice."""
    for kind in ("space", "channels"):
        position_of(t, f"{kind}.position1")
        entry = t.last
        t.norm(f"{kind}.norm")
        if kind == "space":
            window_attention(t, s, table=False)
        else:
            channel_attention(t, s)
        t.residual(f"{kind}.add", entry)
        position_of(t, f"{kind}.position2")
        feed_forward(t, s, name=f"{kind}.mlp")


def position_of(t: Tokens, name: str) -> None:
    """Append a residual depthwise convolution under a name."""
    entry = t.last
    t.depthwise(name, 3, batch_norm=False, bias=True)
    t.residual(f"{name}.add", entry)


def _norm_patch(t: Tokens, s: Stage) -> None:
    """A normalisation, then patches of 2 x 2."""
    t.norm("norm")
    t.conv("patches", s.width, 2, stride=2, padding=0, batch_norm=False, bias=True)


def focal(t: Tokens, s: Stage) -> None:
    """FocalNet (Yang et al. 2022, section 3): `groups` depthwise convolutions, each 2 wider than the one before.

    The first is `windows` wide; gates weigh the levels and the mean of the map, and the sum modulates the queries.
    """
    entry, width, levels = t.last, t.channels, s.groups
    t.norm("norm")
    t.linear("project", 2 * width + levels + 1)
    projected = t.last
    t.channels = width
    for level in range(levels):
        t.depthwise(f"level{level}", s.windows + 2 * level, batch_norm=False, act="gelu")
    focused = t.last
    shape = {**t._pixels(), "operands": levels + 1, "flop_per_element": 2.0 * levels + 2}
    t.add("gather", "elementwise", shape, (focused, projected))
    t.linear("modulator", width)
    t.multiply("modulate", projected)
    if s.has("inner-norm"):
        t.norm("inner_norm")
    t.linear("out", width)
    finish(t, s, "focal.add", entry)
    feed_forward(t, s)


def _conv_layer_norm(t: Tokens, s: Stage) -> None:
    """A strided 3x3 convolution, then a normalisation."""
    t.conv("conv", s.width, 3, stride=2, batch_norm=False, bias=True)
    t.norm("norm")


def global_query(t: Tokens, s: Stage) -> None:
    """GCViT (Hatamizadeh et al. 2022, section 3): windows whose queries are one map, made for the whole stage.

    The query comes with the input of the block; every window reads it.
    """
    entry, width = t.last, t.channels
    window, count = windows(t, s.windows)
    rows = t.batch * count * window**2
    t.norm("norm")
    t.copy("attention.window")
    t.linear("attention.keys_values", 2 * width, rows=rows)
    table = float(s.heads * (2 * window - 1) ** 2)
    inputs = (entry, t.last)
    t.attend("attention", s.heads, s.head_dim, queries=window**2, windows=count, bias=table, inputs=inputs)
    t.linear("attention.out", width, rows=rows)
    t.copy("attention.unwindow")
    finish(t, s, "attention.add", entry)
    feed_forward(t, s)


def _squeeze_conv(t: Tokens, name: str) -> None:
    """GCViT's residual block: a depthwise convolution, squeeze and excitation, a 1x1 convolution."""
    entry, width = t.last, t.channels
    t.depthwise(f"{name}.depthwise", 3, batch_norm=False, act="gelu")
    t.squeeze_excite(f"{name}.se", width // 4, act="gelu", bias=False)
    t.conv(f"{name}.point", width, 1, batch_norm=False)
    t.residual(f"{name}.add", entry)


def _global_reduce(t: Tokens, width: int) -> None:
    t.norm("reduce.norm1")
    _squeeze_conv(t, "reduce.block")
    t.conv("reduce.conv", width, 3, stride=2, batch_norm=False)
    t.norm("reduce.norm2")


def _query(t: Tokens, s: Stage) -> None:
    """Append the making of the stage's query: blocks and pooling down to one window; the map itself stays."""
    entry = t.here
    for level in range(max(1, (t.height // s.windows).bit_length() - 1)):
        _squeeze_conv(t, f"query{level}")
        if t.height > s.windows:
            t.pool(f"query{level}.pool", 3, 2, 1)
    t.back_to(entry)


def _stem_global(t: Tokens, s: Stage) -> None:
    """GCViT's stem, and the query of the first stage."""
    t.conv("conv", s.width, 3, stride=2, batch_norm=False, bias=True)
    _global_reduce(t, s.width)
    _query(t, s)


def _down_global(t: Tokens, s: Stage) -> None:
    _global_reduce(t, s.width)
    _query(t, s)


def _pool_table(t: Tokens, s: Stage) -> None:
    """NesT's aggregation (Zhang et al. 2021): a 3x3 convolution, a normalisation, max pooling, a table of positions."""
    t.conv("conv", s.width, 3, batch_norm=False, bias=True)
    t.norm("norm")
    t.pool("pool", 3, 2, 1)
    position_table(t)


DUAL_STEMS: dict[str, Part] = {"global-context": _stem_global}
DUAL_BLOCKS: dict[str, Part] = {"davit": davit, "focal": focal, "global-query": global_query}
DUAL_DOWNS: dict[str, Part] = {
    "norm-patch": _norm_patch, "conv-layer-norm": _conv_layer_norm, "global-context": _down_global,
    "pool-table": _pool_table,
}  # fmt: skip
