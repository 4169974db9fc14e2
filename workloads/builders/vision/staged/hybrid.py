"""Hybrids for mobile and server runtimes: SwiftFormer (additive attention), Next-ViT (grouped convolutions first)."""

from __future__ import annotations

from workloads.builders.vision.staged.stage import Part, Stage, finish
from workloads.builders.vision.staged.tokens import Tokens

GROUP = 32
"""Channels of a group, and of a head, in Next-ViT."""


def _encode(t: Tokens, s: Stage, name: str, inner: int) -> None:
    """Append a residual depthwise convolution with two 1x1 ones."""
    entry, width = t.last, t.channels
    t.depthwise(f"{name}.conv", 3, bias=True)
    t.conv(f"{name}.up", inner, 1, batch_norm=False, bias=True, act="gelu")
    t.conv(f"{name}.down", width, 1, batch_norm=False, bias=True)
    finish(t, s, f"{name}.add", entry)


def conv_encoder(t: Tokens, s: Stage) -> None:
    """SwiftFormer's convolutional block (Shaker et al. 2023, section 3.2)."""
    _encode(t, s, "encoder", s.expansions * t.channels)


def additive_attention(t: Tokens, s: Stage) -> None:
    """SwiftFormer's attention: a learned vector scores queries, their weighted mean scales the keys; no key pairs."""
    width = t.channels
    _encode(t, s, "local", width)
    entry, pixels = t.last, t.tokens
    queries = t.linear("queries", width)
    t.last = entry
    keys = t.linear("keys", width)
    scores = {"m": t.batch * pixels, "n": 1, "k": width}
    t.add("scores", "gemm", scores, (queries,), parameters=float(width))
    shape = {**t._pixels(), "operands": 2, "flop_per_element": 4.0}
    context = t.add("context", "elementwise", shape, (t.last, queries))
    t.add("scale", "elementwise", {**t._pixels(), "operands": 1, "flop_per_element": 1.0}, (keys, context))
    t.linear("mix", width)
    t.residual("mix.add", queries)
    t.linear("out", width)
    entry = finish(t, s, "attention.add", entry)
    t.norm("mlp.norm", "batch")
    t.conv("mlp.up", s.expansions * width, 1, batch_norm=False, bias=True, act="gelu")
    t.conv("mlp.down", width, 1, batch_norm=False, bias=True)
    finish(t, s, "mlp.add", entry)


def _grouped(t: Tokens, name: str) -> None:
    """Append Next-ViT's multi-head convolution: 3x3 in groups, then 1x1, residual."""
    entry, width = t.last, t.channels
    t.conv(f"{name}.group", width, 3, groups=width // GROUP, act="relu")
    t.conv(f"{name}.point", width, 1, batch_norm=False)
    t.residual(f"{name}.add", entry)


def _into(t: Tokens, name: str, width: int, stride: int) -> None:
    """Append what changes map or width: 2 x 2 pooling, a 1x1 convolution; nothing where neither changes."""
    if stride > 1:
        t.pool(f"{name}.pool", 2, 2, 0, ceil=True)
    if stride > 1 or t.channels != width:
        t.conv(name, width, 1)


def _batch_mlp(t: Tokens, inner: int) -> None:
    entry, width = t.last, t.channels
    t.norm("mlp.norm", "batch")
    t.conv("mlp.up", inner, 1, batch_norm=False, bias=True, act="relu")
    t.conv("mlp.down", width, 1, batch_norm=False, bias=True)
    t.residual("mlp.add", entry)


def _next_conv(t: Tokens, s: Stage, stride: int) -> None:
    """Next-ViT's convolution block (Li et al. 2022, section 3.2)."""
    _into(t, "patch", s.width, stride)
    _grouped(t, "mix")
    _batch_mlp(t, 3 * s.width)


def next_transformer(t: Tokens, s: Stage) -> None:
    """Next-ViT's transformer block of `v_dims` features: attention on three quarters, convolution makes the rest.

    Keys and values are means of `reductions`^2 neighbouring tokens.
    """
    seen = max(32, int(0.75 * s.v_dims + 16) // 32 * 32)
    _into(t, "patch", seen, 1)
    stream = t.last
    normed = t.norm("norm", "batch")
    queries = t.linear("queries", seen)
    t.last = normed
    tokens, area = t.tokens, s.reductions**2
    rows = tokens // area
    if area > 1:
        shape = {"rows": t.batch * rows, "hidden": seen, "operands": area, "flop_per_element": area}
        t.add("reduce", "elementwise", shape)
        t.add("reduce.bn", "norm", {"rows": t.batch * rows, "hidden": seen, "flop_per_element": 2.0},
              parameters=2.0 * seen, fused=True)  # fmt: skip
    t.linear("keys_values", 2 * seen, rows=t.batch * rows)
    t.attend("attention", seen // GROUP, GROUP, queries=tokens, keys=rows, inputs=(queries, t.last))
    t.linear("out", seen)
    first = t.residual("attention.add", stream)
    t.conv("widen", s.v_dims - seen, 1)
    _grouped(t, "mix")
    t.channels = s.v_dims
    t.copy("concat", inputs=(first, t.last))
    _batch_mlp(t, 2 * s.v_dims)


def _stem_next(t: Tokens, s: Stage) -> None:
    """Four 3x3 convolutions to `stem_widths`, the first and last strided."""
    for place, (width, stride) in enumerate(zip(s.stem_widths, (2, 1, 1, 2), strict=True)):
        t.conv(f"conv{place}", width, 3, stride=stride, act="relu")


HYBRID_STEMS: dict[str, Part] = {"conv-four": _stem_next}
HYBRID_BLOCKS: dict[str, Part] = {
    "conv-encoder": conv_encoder, "additive": additive_attention, "next-conv": lambda t, s: _next_conv(t, s, 1),
    "next-conv-narrow": lambda t, s: _next_conv(t, s, 1), "next-transformer": next_transformer,
}  # fmt: skip
"""`next-conv-narrow` is the one that follows a wider transformer block."""
HYBRID_DOWNS: dict[str, Part] = {"next-conv": lambda t, s: _next_conv(t, s, 2)}
