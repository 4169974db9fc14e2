"""Transformers with a second stream or another mixer: ConViT, TNT, Visformer, VOLO, Sequencer."""

from __future__ import annotations

from workloads.builders.vision.staged.conv import classify
from workloads.builders.vision.staged.plain import position_table
from workloads.builders.vision.staged.stage import Part, Stage, feed_forward, finish
from workloads.builders.vision.staged.tokens import Tokens

PIXELS = 16
"""Pixel tokens of a patch in TNT: patches of 16, convolved with stride 4 (Han et al. 2021, section 3.1)."""
WINDOW = 3
"""Side of VOLO's outlook windows (Yuan et al. 2021, section 3.1)."""


def gated_positions(t: Tokens, s: Stage) -> None:
    """ConViT (d'Ascoli et al. 2021, section 2): each head blends scores of content and of positions by a gate."""
    entry, width, heads, tokens = t.last, t.channels, s.heads, t.tokens
    t.norm("norm")
    t.linear("qkv", 3 * width, bias=False)
    t.product("scores", heads, tokens, tokens, width // heads)
    t.softmax("softmax", heads * tokens, tokens)
    content = t.last
    t.add("positions", "gemm", {"m": t.batch * tokens**2, "n": heads, "k": 3}, (entry,), parameters=float(heads * 4))
    t.softmax("positions.softmax", heads * tokens, tokens)
    shape = {"rows": t.batch * heads * tokens, "hidden": tokens, "operands": 2, "flop_per_element": 5.0}
    t.add("blend", "elementwise", shape, (content, t.last), parameters=float(heads))
    t.product("values", heads, tokens, width // heads, tokens)
    t.channels = width
    t.linear("out", width)
    t.residual("attention.add", entry)
    feed_forward(t, s)


def _pixel_stream(t: Tokens, s: Stage) -> tuple[int, int, int, int]:
    """Let the next layers see the pixels of the patches; return the outer map."""
    outer = (t.channels, t.height, t.width, t.prefix)
    t.channels, t.height, t.width, t.prefix = s.head_dims, 4 * t.height, 4 * t.width, 0
    return outer


def tnt(t: Tokens, s: Stage) -> None:
    """TNT: attention among the pixels of each patch (4 heads of `head_dims` features in all), then among patches."""
    entry, patches, inner = t.last, t.height * t.width, s.head_dims
    outer = _pixel_stream(t, s)
    t.norm("pixels.norm")
    t.linear("pixels.qkv", 3 * inner, bias=False)
    t.attend("pixels.attention", 4, inner // 4, queries=PIXELS, windows=patches)
    t.linear("pixels.out", inner)
    t.residual("pixels.add", entry)
    feed_forward(t, s, name="pixels.mlp", inner=4 * inner)
    legacy = s.has("legacy-norm")
    if legacy:
        t.norm("join.norm1")
    t.channels, t.height, t.width = inner * PIXELS, outer[1], outer[2]
    if not legacy:
        t.norm("join.norm1")
    t.linear("join", outer[0], bias=legacy)
    if not legacy:
        t.norm("join.norm2")
    t.prefix = outer[3]
    stream = t.residual("join.add", entry)
    t.norm("norm")
    t.linear("qkv", 3 * outer[0], bias=False)
    t.attend("attention", s.heads, outer[0] // s.heads)
    t.linear("out", outer[0])
    t.residual("attention.add", stream)
    feed_forward(t, s)


def _stem_tnt(t: Tokens, s: Stage) -> None:
    """Pixels by a 7x7 convolution of stride 4, joined to patches; tables of both positions; a class token."""
    inner = s.head_dims
    t.conv("conv", inner, 7, stride=4, batch_norm=False, bias=True)
    t.add("pixels.position", "elementwise", {**t._pixels(), "operands": 2}, parameters=float(inner * PIXELS))
    t.height, t.width, t.channels = t.height // 4, t.width // 4, inner * PIXELS
    t.norm("norm1")
    t.linear("join", s.width)
    t.norm("norm2")
    position_table(t, prefix=1)
    t.add("class", "copy", t._pixels(), parameters=float(t.channels))


def spatial_mlp(t: Tokens, s: Stage) -> None:
    """Visformer's early block (Chen et al. 2021): a feed-forward part with a grouped 3x3 convolution, no attention."""
    entry, width = t.last, t.channels
    t.norm("norm", "batch")
    t.conv("up", 2 * width, 1, batch_norm=False, act="gelu")
    t.conv("conv", 2 * width, 3, groups=8, batch_norm=False, act="gelu")
    t.conv("down", width, 1, batch_norm=False)
    t.residual("add", entry)


def _stem_visformer(t: Tokens, s: Stage) -> None:
    """A strided 7x7 convolution, patches of `patch`, batch normalisation, a table of positions."""
    t.conv("conv", s.stem_widths[0], 7, stride=2, act="relu")
    t.conv("patches", s.width, s.patch, stride=s.patch, padding=0, bias=True)
    position_table(t)


def _patch_table(t: Tokens, s: Stage) -> None:
    """Patches of 2 x 2, batch normalisation, a table of positions."""
    t.conv("patches", s.width, 2, stride=2, padding=0, bias=True)
    position_table(t)


def outlook(t: Tokens, s: Stage) -> None:
    """VOLO: each token of a map of half the side makes the weights of its 3x3 neighbours by a projection, no keys."""
    entry, width, heads = t.here, t.channels, s.heads
    area = WINDOW**2
    t.norm("norm")
    normed = t.here
    t.linear("values", width, bias=False)
    values = t.last
    t.back_to(normed)
    t.pool("pool", 2, 2, 0)
    places, side = t.tokens, (t.height, t.width)
    t.linear("weights", area**2 * heads)
    t.softmax("softmax", heads * places * area, area)
    weights = t.last
    t.channels = area * width
    t.copy("unfold", inputs=(values,))
    mixed = t.product("mix", heads * places, area, width // heads, area, inputs=(weights, t.last))
    t.back_to(entry)
    t.last = mixed
    reads = area * side[0] * side[1] / t.tokens
    t.add("fold", "elementwise", {**t._pixels(), "operands": reads, "flop_per_element": reads})
    t.linear("out", width)
    t.residual("attention.add", entry.name)
    feed_forward(t, s)


def _stem_volo(t: Tokens, s: Stage) -> None:
    """Three convolutions of `stem_widths` features, the first strided, then patches of 4."""
    for place, (kernel, stride) in enumerate(((7, 2), (3, 1), (3, 1))):
        t.conv(f"conv{place}", s.stem_widths[0], kernel, stride=stride, act="relu")
    t.conv("patches", s.width, 4, stride=4, padding=0, batch_norm=False, bias=True)


def _down_table(t: Tokens, s: Stage) -> None:
    """Patches of 2 x 2 and a table of positions, without normalisation."""
    t.conv("patches", s.width, 2, stride=2, padding=0, batch_norm=False, bias=True)
    position_table(t)


def _down_plain(t: Tokens, s: Stage) -> None:
    """Patches of `strides` x `strides`, without normalisation."""
    t.conv("patches", s.width, s.strides, stride=s.strides, padding=0, batch_norm=False, bias=True)


def _auxiliary_head(t: Tokens, s: Stage) -> None:
    """A classifier of the class token, and one of every other token, of which the largest counts (VOLO)."""
    t.norm("norm")
    entry, width, tokens = t.last, t.channels, t.tokens - 1
    t.linear("auxiliary", s.classes, rows=t.batch * tokens)
    shape = {"rows": t.batch, "hidden": s.classes, "operands": tokens, "flop_per_element": tokens}
    auxiliary = t.add("largest", "elementwise", shape)
    t.last, t.channels = entry, width
    classify(t, s)
    shape = {"rows": t.batch, "hidden": s.classes, "operands": 2, "flop_per_element": 2.0}
    t.add("add", "elementwise", shape, (t.last, auxiliary))


def sequencer(t: Tokens, s: Stage) -> None:
    """Sequencer (Tatsunami & Taki 2022, section 3): two-way LSTMs along columns and along rows, `head_dims` wide.

    The input projections of all steps are one product; the recurrent ones are a product a step and direction.
    """
    entry, width, hidden = t.last, t.channels, s.head_dims
    t.norm("norm")
    normed, found = t.last, []
    for name, steps, others in (("columns", t.height, t.width), ("rows", t.width, t.height)):
        t.last, t.channels = normed, width
        t.linear(f"{name}.input", 8 * hidden)
        shape = {"batch": 2.0 * steps, "m": t.batch * others, "n": 4 * hidden, "k": hidden}
        t.add(f"{name}.step", "gemm", shape, parameters=8.0 * hidden * (hidden + 1))
        t.channels = 2 * hidden
        found.append(t.add(f"{name}.gates", "elementwise", {**t._pixels(), "operands": 5, "flop_per_element": 20.0}))
    t.channels = 4 * hidden
    t.copy("concat", inputs=found)
    t.linear("out", width)
    finish(t, s, "rnn.add", entry)
    feed_forward(t, s)


MISC_STEMS: dict[str, Part] = {"pixels": _stem_tnt, "visformer": _stem_visformer, "volo": _stem_volo}
MISC_BLOCKS: dict[str, Part] = {
    "gated-positions": gated_positions, "tnt": tnt, "spatial-mlp": spatial_mlp, "outlook": outlook,
    "sequencer": sequencer,
}  # fmt: skip
MISC_DOWNS: dict[str, Part] = {
    "patch-batch-norm-table": _patch_table, "patch-table": _down_table, "patch-plain": _down_plain,
}  # fmt: skip
MISC_HEADS: dict[str, Part] = {"norm-token-auxiliary": _auxiliary_head}
