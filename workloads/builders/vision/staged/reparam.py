"""Blocks with branches that inference folds into one convolution: FastViT and MobileCLIP's encoders, RepViT; SHViT.

With trait `branches` a block is what is trained and stored (and what published counts of parameters and timm's tables
hold); without it, each sum of branches is the one convolution with bias that a runtime folds it into.
"""

from __future__ import annotations

from typing import Any

from workloads.builders.vision.layers import divisible
from workloads.builders.vision.staged.conv import classify, mean
from workloads.builders.vision.staged.stage import Part, Stage, finish
from workloads.builders.vision.staged.tokens import Tokens


def branched(
    t: Tokens, s: Stage, name: str, out: int, kernels: tuple[int, ...], *, stride: int = 1, groups: int = 1,
    identity: bool = False, act: str = "",
) -> str:  # fmt: skip
    """Append convolutions of several `kernels` side by side, each normalised, and their sum with the normalised input.

    `identity`: the input takes part in the sum. Trait `branches` as above.
    """
    entry, found = t.here, []
    if not s.has("branches"):
        return t.conv(name, out, kernels[0], stride=stride, groups=groups, batch_norm=False, bias=True, act=act)
    if identity:
        found.append(t.norm(f"{name}.identity", "batch"))
    for place, kernel in enumerate(kernels):
        t.back_to(entry)
        found.append(t.conv(f"{name}.{place}", out, kernel, stride=stride, groups=groups))
    if len(found) > 1:
        shape = {**t._pixels(), "operands": len(found), "flop_per_element": len(found) - 1.0}
        t.add(f"{name}.sum", "elementwise", shape, found)
    return t.activate(f"{name}.{act}", act) if act else t.last


def _mobile_one(t: Tokens, s: Stage, name: str, out: int, kernel: int, *, stride: int = 1, groups: int = 1,
                scale: bool = True, act: str = "gelu") -> str:  # fmt: skip
    """Append MobileOne's block: a convolution, a 1x1 one beside it where it is larger, the input where shapes allow."""
    kernels = (kernel, 1) if kernel > 1 and scale else (kernel,)
    same = stride == 1 and out == t.channels
    return branched(t, s, name, out, kernels, stride=stride, groups=groups, identity=same, act=act)


def _stem_fast(t: Tokens, s: Stage) -> None:
    """FastViT's stem: three MobileOne blocks; `stem-plain`: without 1x1 branches."""
    scale = not s.has("stem-plain")
    _mobile_one(t, s, "conv0", s.width, 3, stride=2, scale=scale)
    _mobile_one(t, s, "conv1", s.width, 3, stride=2, groups=s.width, scale=scale)
    _mobile_one(t, s, "conv2", s.width, 1, scale=scale)


def _fast_down(t: Tokens, s: Stage, *, squeeze: bool = False, position: bool = False) -> None:
    """FastViT's transition: a strided 7x7 convolution with a 3x3 one beside it, then a 1x1 MobileOne block."""
    before = t.channels
    branched(t, s, "patch", s.width, (7, 3), stride=2, groups=before)
    if squeeze:
        t.squeeze_excite("patch.se", divisible(s.width / 4, limit=0.0))
    if s.has("stem-act"):
        t.activate("patch.gelu", "gelu")
    _mobile_one(t, s, "point", s.width, 1)
    if position:
        entry = t.last
        t.depthwise("position", 7, batch_norm=False, bias=True)
        t.residual("position.add", entry)


def _conv_mlp(t: Tokens, s: Stage) -> None:
    entry, width = t.last, t.channels
    t.depthwise("mlp.conv", 7)
    t.conv("mlp.up", s.expansions * width, 1, batch_norm=False, bias=True, act="gelu")
    t.conv("mlp.down", width, 1, batch_norm=False, bias=True)
    t.scale("mlp.scale")
    t.residual("mlp.add", entry)


def rep_mixer(t: Tokens, s: Stage) -> None:
    """FastViT's block (Vasu et al. 2023, section 3.1): a depthwise convolution less its normalised input."""
    if s.has("branches"):
        entry, width = t.last, t.channels
        normed = t.norm("mixer.norm", "batch")
        t.last = entry
        branched(t, s, "mixer", width, (3, 1), groups=width, identity=True)
        t.add("mixer.less", "elementwise", {**t._pixels(), "operands": 2}, (t.last, normed))
        t.scale("mixer.scale")
        t.residual("mixer.add", entry)
    else:
        t.depthwise("mixer", 3, batch_norm=False, bias=True)
    _conv_mlp(t, s)


def fast_attention(t: Tokens, s: Stage) -> None:
    """FastViT's late block: attention in place of the convolution."""
    entry, width = t.last, t.channels
    t.norm("norm", s.norm)
    t.linear("qkv", 3 * width, bias=False)
    t.attend("attention", width // 32, 32)
    t.linear("out", width)
    t.scale("attention.scale")
    t.residual("attention.add", entry)
    _conv_mlp(t, s)


def _fast_head(t: Tokens, s: Stage) -> None:
    """A depthwise 3x3 convolution to twice the width, squeeze and excitation, the mean, the classifier."""
    width = t.channels
    kernels = (3, 1)
    branched(t, s, "conv", 2 * width, kernels, groups=width)
    t.squeeze_excite("se", 2 * width // 16)
    t.activate("gelu", "gelu")
    mean(t)
    classify(t, s)


def _folded(s: Stage) -> dict[str, Any]:
    """Return how RepViT's convolutions are normalised: folded into a bias unless trait `branches`."""
    return {"batch_norm": s.has("branches"), "bias": not s.has("branches")}


def _stem_rep(t: Tokens, s: Stage) -> None:
    """Two strided 3x3 convolutions with an activation between (RepViT)."""
    t.conv("conv0", s.width // 2, 3, stride=2, act="gelu", **_folded(s))
    t.conv("conv1", s.width, 3, stride=2, **_folded(s))


def _rep_dw(t: Tokens, s: Stage, name: str) -> None:
    """RepViT's token mixer: 3x3 and 1x1 depthwise convolutions and the input; `legacy-norm`: each normalised."""
    entry, width = t.here, t.channels
    if not s.has("branches"):
        t.depthwise(name, 3, batch_norm=False, bias=True)
        return
    first, legacy = t.depthwise(f"{name}.3", 3), s.has("legacy-norm")
    t.back_to(entry)
    second = t.conv(f"{name}.1", width, 1, groups=width, batch_norm=legacy, bias=not legacy)
    shape = {**t._pixels(), "operands": 3, "flop_per_element": 2.0}
    t.add(f"{name}.sum", "elementwise", shape, (first, second, entry.name))
    if not legacy:
        t.norm(f"{name}.bn", "batch")


def _rep_ffn(t: Tokens, s: Stage, name: str) -> None:
    entry, width = t.last, t.channels
    t.conv(f"{name}.up", 2 * width, 1, act="gelu", **_folded(s))
    t.conv(f"{name}.down", width, 1, **_folded(s))
    t.residual(f"{name}.add", entry)


def rep_vit(t: Tokens, s: Stage) -> None:
    """RepViT (Wang et al. 2023, section 3.2): depthwise mixing, then a feed-forward part."""
    _rep_dw(t, s, "mixer")
    _rep_ffn(t, s, "ffn")


def rep_vit_squeeze(t: Tokens, s: Stage) -> None:
    """RepViT's block with squeeze and excitation between (every other block)."""
    _rep_dw(t, s, "mixer")
    t.squeeze_excite("se", divisible(t.channels / 4, limit=0.0))
    _rep_ffn(t, s, "ffn")


def _rep_down(t: Tokens, s: Stage) -> None:
    rep_vit(t, s)
    t.depthwise("down", 3, stride=2, **_folded(s))
    t.conv("widen", s.width, 1, **_folded(s))
    _rep_ffn(t, s, "down.ffn")


def _residual_conv(t: Tokens, name: str) -> None:
    entry = t.last
    t.depthwise(name, 3)
    t.residual(f"{name}.add", entry)


def _relu_ffn(t: Tokens, name: str) -> None:
    entry, width = t.last, t.channels
    t.conv(f"{name}.up", 2 * width, 1, act="relu")
    t.conv(f"{name}.down", width, 1)
    t.residual(f"{name}.add", entry)


def local_block(t: Tokens, s: Stage) -> None:
    """A residual depthwise convolution and a feed-forward part (SHViT's first stage)."""
    _residual_conv(t, "conv")
    _relu_ffn(t, "ffn")


def single_head(t: Tokens, s: Stage) -> None:
    """SHViT (Yun & Ro 2024, section 3.2): one head of attention on `v_dims` of the channels, beside the others."""
    _residual_conv(t, "conv")
    entry, width, part, key = t.here, t.channels, s.v_dims, s.head_dims
    t.take(part)
    t.norm("norm", "group")
    t.conv("qkv", 2 * key + part, 1)
    t.attend("attention", 1, key, v_dim=part)
    seen = t.last
    t.take(width)
    t.copy("concat", inputs=(seen, entry.name))
    t.activate("relu", "relu")
    t.conv("out", width, 1)
    finish(t, s, "attention.add", entry.name)
    _relu_ffn(t, "ffn")


REPARAM_STEMS: dict[str, Part] = {"fast": _stem_fast, "rep-vit": _stem_rep}
REPARAM_BLOCKS: dict[str, Part] = {
    "rep-mixer": rep_mixer, "fast-attention": fast_attention, "rep-vit": rep_vit, "rep-vit-squeeze": rep_vit_squeeze,
    "local-block": local_block, "single-head": single_head,
}  # fmt: skip
REPARAM_DOWNS: dict[str, Part] = {
    "fast": _fast_down, "rep-vit": _rep_down,
    "fast-position": lambda t, s: _fast_down(t, s, position=True),
    "fast-squeeze": lambda t, s: _fast_down(t, s, squeeze=True),
    "fast-squeeze-position": lambda t, s: _fast_down(t, s, squeeze=True, position=True),
}  # fmt: skip
REPARAM_HEADS: dict[str, Part] = {"fast": _fast_head}
