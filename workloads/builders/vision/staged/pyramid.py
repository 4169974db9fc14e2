"""Pyramids whose attention sees a reduced map, and the MetaFormers: PVT v2, Twins, PoolFormer, CAFormer, ConvFormer."""

from __future__ import annotations

from workloads.builders.vision.staged.conv import mean
from workloads.builders.vision.staged.plain import attention
from workloads.builders.vision.staged.stage import Part, Stage, feed_forward, finish
from workloads.builders.vision.staged.tokens import Tokens
from workloads.builders.vision.staged.window import window_attention

POOLED = 7
"""Side of the pooled map of PVT v2's linear attention (Wang et al. 2021, section 3.1)."""


def reduced_attention(t: Tokens, s: Stage, *, pooled: bool = False) -> None:
    """Append attention of all tokens to a map that is `reductions` times smaller (`pooled`: of 7 x 7)."""
    width, heads, tokens, entry = t.channels, s.heads, t.tokens, t.last
    t.linear("attention.query", width)
    query, side = t.last, (t.height, t.width)
    t.last = entry
    if pooled:
        before = t.height * t.width
        t.height = t.width = POOLED
        reads = before / POOLED**2
        shape = {**t._pixels(), "operands": reads, "flop_per_element": reads}
        t.add("attention.pool", "elementwise", shape)
        t.conv("attention.reduce", width, 1, batch_norm=False, bias=True)
        t.norm("attention.norm")
        t.activate("attention.gelu", "gelu")
    elif s.reductions > 1:
        step = s.reductions
        t.conv("attention.reduce", width, step, stride=step, padding=0, batch_norm=False, bias=True)
        t.norm("attention.norm")
    keys = t.tokens
    t.linear("attention.keys_values", 2 * width)
    t.height, t.width = side
    t.attend("attention", heads, width // heads, queries=tokens, keys=keys, inputs=(query, t.last))
    t.linear("attention.out", width)


def _pvt(t: Tokens, s: Stage, *, pooled: bool) -> None:
    entry, width = t.last, t.channels
    t.norm("norm")
    reduced_attention(t, s, pooled=pooled)
    entry = t.residual("attention.add", entry)
    t.norm("mlp.norm")
    t.linear("mlp.up", s.inner, act="relu" if pooled else "")
    t.depthwise("mlp.conv", 3, batch_norm=False, bias=True, act="gelu")
    t.linear("mlp.down", width)
    t.residual("mlp.add", entry)


def pvt2(t: Tokens, s: Stage) -> None:
    """PVT v2: reduced attention, a depthwise convolution inside the feed-forward part."""
    _pvt(t, s, pooled=False)


def pvt2_linear(t: Tokens, s: Stage) -> None:
    """PVT v2 with attention to a map of fixed size."""
    _pvt(t, s, pooled=True)


def subsampled(t: Tokens, s: Stage) -> None:
    """Twins (Chu et al. 2021): attention to a reduced map."""
    entry = t.last
    t.norm("norm")
    reduced_attention(t, s)
    t.residual("attention.add", entry)
    feed_forward(t, s)


def local(t: Tokens, s: Stage) -> None:
    """Twins: attention within windows, without positions."""
    entry = t.last
    t.norm("norm")
    window_attention(t, s, table=False)
    t.residual("attention.add", entry)
    feed_forward(t, s)


def position(t: Tokens) -> None:
    """Append a residual depthwise convolution, from which tokens learn where they are (Chu et al. 2021)."""
    entry = t.last
    t.depthwise("position", 3, batch_norm=False, bias=True)
    t.residual("position.add", entry)


def _subsampled_position(t: Tokens, s: Stage) -> None:
    subsampled(t, s)
    position(t)


def _local_position(t: Tokens, s: Stage) -> None:
    local(t, s)
    position(t)


def _meta(t: Tokens, s: Stage, mixer: Part) -> None:
    """MetaFormer (Yu et al. 2021, 2022): any token mixer, then a feed-forward part.

    Traits: `layer-scale` scales the branches, `residual-scale` the stream in the last two stages.
    """
    width, biased = t.channels, not s.has("no-bias")
    for part in ("mixer", "mlp"):
        entry = t.last
        t.norm(f"{part}.norm", s.norm, bias=biased)
        if part == "mixer":
            mixer(t, s)
        else:
            t.mlp("mlp.fc", s.inner, s.act, bias=biased)
        if s.has("residual-scale") and s.index >= 2:
            t.scale(f"{part}.residual_scale")
        finish(t, s, f"{part}.add", entry)
    t.channels = width


def _pool_mixer(t: Tokens, s: Stage) -> None:
    t.pool("pool", 3, 1, 1)
    t.fused("pool.less", "elementwise", 1.0)


def _separable_mixer(t: Tokens, s: Stage) -> None:
    width = t.channels
    t.linear("mixer.up", 2 * width, bias=False, act="star")
    t.depthwise("mixer.conv", 7, batch_norm=False)
    t.linear("mixer.down", width, bias=False)


def pool_former(t: Tokens, s: Stage) -> None:
    """Average pooling as the mixer."""
    _meta(t, s, _pool_mixer)


def conv_former(t: Tokens, s: Stage) -> None:
    """An inverted separable 7x7 convolution as the mixer."""
    _meta(t, s, _separable_mixer)


def attention_former(t: Tokens, s: Stage) -> None:
    """Attention as the mixer."""
    _meta(t, s, attention)


def _stem_overlap(t: Tokens, s: Stage) -> None:
    """A 7x7 convolution of stride 4, normalised."""
    t.conv("conv", s.width, 7, stride=4, batch_norm=False, bias=True)
    t.norm("norm")


def _stem_meta(t: Tokens, s: Stage) -> None:
    """A 7x7 convolution of stride 4 with padding 2, normalised unless trait `no-stem-norm`."""
    t.conv("conv", s.width, 7, stride=4, padding=2, batch_norm=False, bias=True)
    if not s.has("no-stem-norm"):
        t.norm("norm", bias=not s.has("no-bias"))


def _down_overlap(t: Tokens, s: Stage) -> None:
    """The last stage's normalisation, a strided 3x3 convolution, a normalisation (PVT v2)."""
    t.norm("stage.norm")
    t.conv("conv", s.width, 3, stride=2, batch_norm=False, bias=True)
    t.norm("norm")


def _down_meta(t: Tokens, s: Stage) -> None:
    """A normalisation (unless trait `no-stem-norm`) and a strided 3x3 convolution."""
    if not s.has("no-stem-norm"):
        t.norm("norm", bias=not s.has("no-bias"))
    t.conv("conv", s.width, 3, stride=2, batch_norm=False, bias=True)


def _down_patch(t: Tokens, s: Stage) -> None:
    """Patches of 2 x 2, normalised (Twins)."""
    t.conv("patches", s.width, 2, stride=2, padding=0, batch_norm=False, bias=True)
    t.norm("norm")


def _mlp_head(t: Tokens, s: Stage) -> None:
    """The mean, a normalisation, a projection with squared ReLU and a normalisation, the classifier (MetaFormer)."""
    mean(t)
    t.norm("norm")
    t.linear("hidden", 4 * t.channels, act="relu6")  # a squared ReLU: compare, multiply
    t.norm("hidden.norm")
    t.linear("fc", s.classes)


PYRAMID_STEMS: dict[str, Part] = {"overlap": _stem_overlap, "metaformer": _stem_meta}
PYRAMID_BLOCKS: dict[str, Part] = {
    "pvt2": pvt2, "pvt2-linear": pvt2_linear, "subsampled": subsampled, "subsampled-position": _subsampled_position,
    "local": local, "local-position": _local_position, "pool-former": pool_former, "conv-former": conv_former,
    "attention-former": attention_former,
}  # fmt: skip
PYRAMID_DOWNS: dict[str, Part] = {"overlap": _down_overlap, "metaformer": _down_meta, "patch": _down_patch}
PYRAMID_HEADS: dict[str, Part] = {"mean-norm-mlp": _mlp_head}
