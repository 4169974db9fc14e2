"""CoAtNet (Dai et al. 2021) and MaxViT (Tu et al. 2022): inverted residuals, attention over all, windows and grids.

Traits: `expand-output`, a strided block expands what it puts out, not what it takes in; `output-bias`, biases in its
last convolution and shortcut; `stride-pool`, pooling in place of a strided convolution; `convnext`, ConvNeXt's block
in its place; `position-network`, relative positions by a network of `groups` hidden features; `expand-first`,
attention that grows the width before it, not after; `shortcut-bias`, of the transformer's shortcut; `stem-bias`.
`reductions` is what squeeze and excitation divides by.
"""

from __future__ import annotations

from workloads.builders.vision.staged.conv import classify, mean
from workloads.builders.vision.staged.stage import Part, Stage, feed_forward, finish
from workloads.builders.vision.staged.tokens import Tokens

HEAD = 32
"""Features of a head in every published size."""
PARTITION = 32
"""A window or grid has image / 32 tokens a side (Tu et al. 2022, section 3.4), unless `windows` says."""


def _halve(t: Tokens, name: str, out: int, *, bias: bool) -> str:
    """Append 2 x 2 pooling, and a 1x1 convolution where the width changes: the shortcut of a strided block."""
    t.pool(f"{name}.pool", 2, 2, 0)
    return t.conv(f"{name}.expand", out, 1, batch_norm=False, bias=bias) if out != t.channels else t.last


def _inverted(t: Tokens, s: Stage, stride: int) -> None:
    out, bias, entry = s.width, s.has("output-bias"), t.here
    shortcut = _halve(t, "shortcut", out, bias=bias) if stride > 1 else entry.name
    t.back_to(entry)
    inner = s.expansions * (out if s.has("expand-output") else t.channels)
    t.norm("conv.norm", "batch")
    if stride > 1 and s.has("stride-pool"):
        t.pool("conv.pool", 2, 2, 0)
        stride = 1
    t.conv("conv.expand", inner, 1, act=s.act)
    t.depthwise("conv.depthwise", 3, stride=stride, act=s.act)
    t.squeeze_excite("conv.se", inner // s.reductions, act="silu")
    t.conv("conv.project", out, 1, batch_norm=False, bias=bias)
    t.residual("conv.add", shortcut)


def _convnext(t: Tokens, s: Stage, stride: int) -> None:
    out, entry = s.width, t.here
    if stride > 1:
        shortcut = _halve(t, "shortcut", out, bias=True)
    elif t.channels != out:
        shortcut = t.conv("shortcut", out, 1, batch_norm=False, bias=True)
    else:
        shortcut = entry.name
    t.back_to(entry)
    t.conv("conv.depthwise", out, 7, stride=stride, groups=t.channels, batch_norm=False, bias=True)
    t.norm("conv.norm")
    t.mlp("conv.fc", s.expansions * out, "gelu")
    t.scale("conv.scale")
    t.residual("conv.add", shortcut)


def _conv(t: Tokens, s: Stage, stride: int) -> None:
    (_convnext if s.has("convnext") else _inverted)(t, s, stride)


def _positions(s: Stage, heads: int, side: int) -> float:
    """Return the stored elements of relative positions within a square of `side`."""
    return s.groups * 3.0 + heads * (s.groups + 1.0) if s.has("position-network") else heads * (2.0 * side - 1) ** 2


def _partition(t: Tokens, s: Stage, name: str) -> None:
    """Append attention within squares of tokens (neighbours, or every n-th), then a feed-forward part."""
    entry, width, side = t.last, t.channels, s.windows or s.image // PARTITION
    heads, count = width // HEAD, (t.height / side) ** 2
    t.norm(f"{name}.norm")
    t.copy(f"{name}.window")
    t.linear(f"{name}.qkv", 3 * width)
    t.attend(name, heads, HEAD, queries=side**2, windows=count, bias=_positions(s, heads, side))
    t.linear(f"{name}.out", width)
    t.copy(f"{name}.unwindow")
    finish(t, s, f"{name}.add", entry)
    feed_forward(t, s, name=f"{name}.mlp")


def window_grid(t: Tokens, s: Stage) -> None:
    """Attention within windows, then within grids."""
    _partition(t, s, "window")
    _partition(t, s, "grid")


def grid(t: Tokens, s: Stage) -> None:
    """Attention within grids alone."""
    _partition(t, s, "grid")


def max_block(t: Tokens, s: Stage) -> None:
    """MaxViT's block: a convolutional block, windows, grids."""
    _conv(t, s, 1)
    window_grid(t, s)


def grid_block(t: Tokens, s: Stage) -> None:
    """A convolutional block, then grids (timm's MaxxViT 2)."""
    _conv(t, s, 1)
    grid(t, s)


def _transformer(t: Tokens, s: Stage, stride: int) -> None:
    out, entry = s.width, t.here
    shortcut = _halve(t, "shortcut", out, bias=s.has("shortcut-bias")) if stride > 1 else entry.name
    t.back_to(entry)
    t.norm("norm", s.norm)
    if stride > 1:
        t.pool("pool", 2, 2, 0)
    inner = out if s.has("expand-first") else t.channels
    heads = inner // HEAD
    t.linear("qkv", 3 * inner)
    t.attend("attention", heads, HEAD, bias=_positions(s, heads, t.height))
    t.linear("out", out)
    finish(t, s, "attention.add", shortcut)
    entry_name = t.last
    t.norm("mlp.norm", s.norm)
    t.mlp("mlp.fc", s.expansions * out, "gelu")
    finish(t, s, "mlp.add", entry_name)


def _stem(t: Tokens, s: Stage) -> None:
    """A strided and a plain 3x3 convolution to `stem_widths`."""
    first, second = s.stem_widths
    bias, layer = s.has("stem-bias"), s.has("convnext")
    t.conv("conv1", first, 3, stride=2, bias=bias, batch_norm=not layer, act="" if layer else s.act)
    if layer:
        t.norm("norm", act="gelu")
    t.conv("conv2", second, 3, batch_norm=False, bias=bias)


def _tanh_head(t: Tokens, s: Stage) -> None:
    """The mean, a normalisation, a projection with tanh, the classifier."""
    mean(t)
    t.norm("norm")
    t.linear("hidden", s.head_widths[0], act="tanh")
    classify(t, s)


MAXVIT_STEMS: dict[str, Part] = {"conv-two": _stem}
MAXVIT_BLOCKS: dict[str, Part] = {
    "coat-conv": lambda t, s: _conv(t, s, 1), "coat-transformer": lambda t, s: _transformer(t, s, 1),
    "window-grid": window_grid, "grid": grid, "conv-window-grid": max_block, "conv-grid": grid_block,
}  # fmt: skip
MAXVIT_DOWNS: dict[str, Part] = {
    "coat-conv": lambda t, s: _conv(t, s, 2), "coat-transformer": lambda t, s: _transformer(t, s, 2),
}  # fmt: skip
MAXVIT_HEADS: dict[str, Part] = {"mean-norm-tanh": _tanh_head}
