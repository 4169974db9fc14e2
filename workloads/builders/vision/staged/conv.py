"""Convolutional blocks of hybrid networks: inverted residuals and their kin, as functions of what they vary in."""

from __future__ import annotations

from workloads.builders.vision.staged.stage import Part, Stage
from workloads.builders.vision.staged.tokens import Tokens


def inverted(
    t: Tokens, out: int, inner: int, *, kernel: int = 3, stride: int = 1, act: str = "hard-swish", norms: str = "yyy",
    biases: str = "nnn", shortcut: bool | None = None, name: str = "",
) -> str:  # fmt: skip
    """Append an inverted residual: expand, depthwise, project. `norms`, `biases`: y or n for each convolution.

    With a shortcut (default: where shapes allow) the input is added.
    """
    entry, width = t.last, t.channels
    yes = [(n == "y", b == "y") for n, b in zip(norms, biases, strict=True)]
    t.conv(f"{name}expand", inner, 1, act=act, batch_norm=yes[0][0], bias=yes[0][1])
    t.depthwise(f"{name}depthwise", kernel, stride=stride, act=act, batch_norm=yes[1][0], bias=yes[1][1])
    t.conv(f"{name}project", out, 1, batch_norm=yes[2][0], bias=yes[2][1])
    return _shortcut(t, f"{name}add", entry, shortcut, stride == 1 and width == out)


def fused_inverted(
    t: Tokens, out: int, inner: int, *, kernel: int = 3, stride: int = 1, act: str = "hard-swish", norms: str = "yy",
    biases: str = "nn", shortcut: bool | None = None, last: int = 1, name: str = "",
) -> str:  # fmt: skip
    """Append a fused inverted residual: a full convolution expands, a 1x1 (or `last` x `last`) one projects."""
    entry, width = t.last, t.channels
    t.conv(f"{name}spatial", inner, kernel, stride=stride, act=act, batch_norm=norms[0] == "y", bias=biases[0] == "y")
    t.conv(f"{name}project", out, last, batch_norm=norms[1] == "y", bias=biases[1] == "y")
    return _shortcut(t, f"{name}add", entry, shortcut, stride == 1 and width == out)


def separable(t: Tokens, out: int, *, stride: int = 1, act: str = "hard-swish", shortcut: bool | None = None,
              name: str = "") -> str:  # fmt: skip
    """Append a depthwise separable convolution, normalised after each part."""
    entry, width = t.last, t.channels
    t.depthwise(f"{name}depthwise", 3, stride=stride, act=act)
    t.conv(f"{name}point", out, 1)
    return _shortcut(t, f"{name}add", entry, shortcut, stride == 1 and width == out)


def _shortcut(t: Tokens, name: str, entry: str, asked: bool | None, possible: bool) -> str:
    return t.residual(name, entry) if (possible if asked is None else asked) else t.last


def _mbconv(t: Tokens, s: Stage) -> None:
    inverted(t, t.channels, s.expansions * t.channels, act=s.act, shortcut=True)


def _mbconv_fewer(t: Tokens, s: Stage) -> None:
    inverted(t, t.channels, s.expansions * t.channels, act=s.act, norms="nny", biases="yyn", shortcut=True)


def _fused(t: Tokens, s: Stage) -> None:
    fused_inverted(t, t.channels, s.expansions * t.channels, act=s.act, shortcut=True)


def _down(t: Tokens, s: Stage) -> None:
    inverted(t, s.width, s.groups * t.channels, act=s.act, stride=2, shortcut=False)


def _down_inverted(t: Tokens, s: Stage) -> None:
    inverted(t, s.width, s.expansions * t.channels, act=s.act, stride=s.strides)


def _conv_mean(t: Tokens, s: Stage) -> None:
    """A 1x1 convolution to `head_widths`, the mean, the classifier (MobileViT)."""
    t.conv("conv", s.head_widths[0], 1, act=s.act)
    mean(t)
    classify(t, s)


def _conv_norm(t: Tokens, s: Stage) -> None:
    t.conv("conv", s.width, 3, stride=2, bias=True)


def _down_fewer(t: Tokens, s: Stage) -> None:
    inverted(t, s.width, s.groups * t.channels, act=s.act, stride=2, norms="nny", biases="yyn", shortcut=False)


def _down_fused(t: Tokens, s: Stage) -> None:
    fused_inverted(t, s.width, s.groups * t.channels, act=s.act, stride=2, shortcut=False)


def _stem_conv(t: Tokens, s: Stage) -> None:
    """A strided convolution to `stem_widths`."""
    t.conv("conv", s.stem_widths[0], 3, stride=2, act=s.act)


def _stem_separable(t: Tokens, s: Stage) -> None:
    """A strided convolution and a residual separable one (EfficientViT B)."""
    t.conv("conv", s.stem_widths[0], 3, stride=2, act=s.act)
    separable(t, t.channels, act=s.act)


def _stem_residual(t: Tokens, s: Stage) -> None:
    """A strided convolution and a residual pair of 3x3 ones (EfficientViT L)."""
    t.conv("conv", s.stem_widths[0], 3, stride=2, act=s.act)
    fused_inverted(t, t.channels, t.channels, act=s.act, last=3)


def _stem_fused(t: Tokens, s: Stage) -> None:
    """A strided convolution and a fused inverted residual of four times the width (LowFormer B3, E2, E3)."""
    t.conv("conv", s.stem_widths[0], 3, stride=2, act=s.act)
    fused_inverted(t, t.channels, 4 * t.channels, act=s.act)


def _stem_pyramid(t: Tokens, s: Stage) -> None:
    """Strided 3x3 convolutions to each of `stem_widths`, an activation between them (LeViT, EfficientViT M).

    Traits: `conv-bias`, biases beside the normalisation; `stem-act`, an activation after the last one too.
    """
    for place, width in enumerate(s.stem_widths):
        act = s.act if place < len(s.stem_widths) - 1 or s.has("stem-act") else ""
        t.conv(f"conv{place}", width, 3, stride=2, act=act, bias=s.has("conv-bias"))


def _conv_head(t: Tokens, s: Stage) -> None:
    """A 1x1 convolution, the mean, a projection, a normalisation and the classifier (EfficientViT, LowFormer)."""
    first, second = s.head_widths
    t.conv("conv", first, 1, act=s.act)
    mean(t)
    t.linear("hidden", second, bias=False)
    t.norm("norm")
    t.activate(f"norm.{s.act}", s.act)
    t.linear("fc", s.classes)


def classify(t: Tokens, s: Stage, *, norm: str = "none") -> None:
    """Append the classifier of one token an image; none where `classes` is 0.

    Trait `distilled`: two, averaged. Each stands behind a `norm` of its own.
    """
    if not s.classes:
        return
    entry, width, found = t.last, t.channels, []
    for name in ("fc", "fc_distilled") if s.has("distilled") else ("fc",):
        t.last, t.channels = entry, width
        t.norm(f"{name}.norm", norm)
        found.append(t.linear(name, s.classes, rows=t.batch))
    if len(found) > 1:
        t.add("average", "elementwise", {"rows": t.batch, "hidden": s.classes, "operands": 2}, found)


def mean(t: Tokens) -> None:
    """Append the mean over all tokens."""
    pixels = t.tokens
    t.height = t.width = 1
    t.prefix = 0
    t.add("pool", "elementwise", {**t._pixels(), "operands": pixels, "flop_per_element": pixels})


def _inverted(t: Tokens, s: Stage) -> None:
    inverted(t, t.channels, s.expansions * t.channels, act=s.act)


CONV_BLOCKS: dict[str, Part] = {
    "inverted": _inverted,
    "mbconv": _mbconv,
    "mbconv-fewer-norms": _mbconv_fewer,
    "fused-mbconv": _fused,
}
CONV_DOWNS: dict[str, Part] = {
    "inverted": _down_inverted,
    "conv-batch-norm": _conv_norm,
    "mbconv": _down,
    "mbconv-fewer-norms": _down_fewer,
    "fused-mbconv": _down_fused,
}
CONV_STEMS: dict[str, Part] = {
    "conv": _stem_conv, "conv-separable": _stem_separable, "conv-residual": _stem_residual, "conv-fused": _stem_fused,
    "conv-pyramid": _stem_pyramid,
}  # fmt: skip
CONV_HEADS: dict[str, Part] = {"conv": _conv_head, "conv-mean": _conv_mean}
"""Parts by the names that the knobs use. Transitions expand their input `groups`-fold; `inverted` `expansions`-fold."""
