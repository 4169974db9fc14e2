"""Blocks that see far without attention to all: RepLKNet (large windows), Conv2Former (modulation), Swin as it runs.

What costs time in them is hardly a multiply-accumulate: windows that a matrix unit has no use for, products of maps,
and copies of the map that shift and cut windows.
"""

from __future__ import annotations

from workloads.builders.vision.staged.conv import classify, mean
from workloads.builders.vision.staged.stage import Part, Stage, feed_forward, finish
from workloads.builders.vision.staged.tokens import Tokens
from workloads.builders.vision.staged.window import window_attention, windows


def large_window(t: Tokens, s: Stage) -> None:
    """RepLKNet (Ding et al. 2022, section 4.1): a large depthwise window between dense layers, a feed-forward part.

    The small window beside the large one merges into it; normalisations fold into the layers around them.
    """
    entry, width = t.last, t.channels
    t.norm("large.norm", "batch")
    t.conv("large.in", width, 1, act="relu")
    t.depthwise("large.window", s.kernels, batch_norm=False, bias=True, act="relu")
    t.conv("large.out", width, 1)
    entry = t.residual("large.add", entry)
    t.norm("mlp.norm", "batch")
    t.conv("mlp.up", s.inner, 1, act=s.act)
    t.conv("mlp.down", width, 1)
    t.residual("mlp.add", entry)


def conv_modulation(t: Tokens, s: Stage) -> None:
    """Conv2Former (Hou et al. 2022, section 3.2): a depthwise window of a dense layer multiplies another dense layer.

    The feed-forward part has a residual depthwise window inside.
    """
    entry, width = t.last, t.channels
    normed = t.norm("norm")
    t.linear("context.in", width, act=s.act)
    context = t.depthwise("context.window", s.kernels, batch_norm=False, bias=True)
    t.linear("value", width, inputs=(normed,))
    t.multiply("modulate", context)
    t.linear("out", width)
    entry = finish(t, s, "add1", entry)
    t.norm("mlp.norm")
    hidden = t.linear("mlp.up", s.inner, act=s.act)
    t.depthwise("mlp.window", 3, batch_norm=False, bias=True, act=s.act)
    t.residual("mlp.window.add", hidden)
    t.linear("mlp.down", width)
    finish(t, s, "add2", entry)


def rolled_swin(t: Tokens, s: Stage) -> None:
    """Swin's block with shifted windows where the framework rolls the map: a copy before the windows, one after.

    Compilers merge the roll into the copy that cuts the windows (block `swin`); eager frameworks do not.
    """
    entry = t.last
    t.norm("norm")
    rolls = windows(t, s.windows)[1] > 1
    if rolls:
        t.copy("roll")
    window_attention(t, s)
    if rolls:
        t.copy("unroll")
    finish(t, s, "attention.add", entry)
    feed_forward(t, s)


def _stem_large(t: Tokens, s: Stage) -> None:
    """RepLKNet's stem: a strided convolution, a depthwise, a dense and a strided depthwise one."""
    t.conv("conv1", s.width, 3, stride=2, act="relu")
    t.depthwise("depthwise1", 3, act="relu")
    t.conv("conv2", s.width, 1, act="relu")
    t.depthwise("depthwise2", 3, stride=2, act="relu")


def _down_large(t: Tokens, s: Stage) -> None:
    """A dense layer, then a strided depthwise window."""
    t.conv("conv", s.width, 1, act="relu")
    t.depthwise("depthwise", 3, stride=2, act="relu")


def _stem_modulated(t: Tokens, s: Stage) -> None:
    """Conv2Former's stem: two 3x3 convolutions of half the width, the first strided, then patches of 2 x 2."""
    t.conv("conv1", s.width // 2, 3, stride=2, act=s.act)
    t.conv("conv2", s.width // 2, 3, act=s.act)
    t.conv("conv3", s.width, 2, stride=2, padding=0, batch_norm=False)


def _head_large(t: Tokens, s: Stage) -> None:
    """A folded normalisation, the mean, the classifier."""
    t.norm("norm", "batch")
    mean(t)
    classify(t, s)


def _head_modulated(t: Tokens, s: Stage) -> None:
    """A dense layer of every pixel to `head_widths`, a normalisation, the mean, the classifier."""
    t.linear("hidden", s.head_widths[0], act=s.act)
    t.norm("norm")
    mean(t)
    classify(t, s)


CONTEXT_BLOCKS: dict[str, Part] = {
    "large-window": large_window, "conv-modulation": conv_modulation, "swin-rolled": rolled_swin,
}  # fmt: skip
CONTEXT_STEMS: dict[str, Part] = {"large-window": _stem_large, "conv-modulation": _stem_modulated}
CONTEXT_DOWNS: dict[str, Part] = {"large-window": _down_large}
CONTEXT_HEADS: dict[str, Part] = {"large-window": _head_large, "conv-modulation": _head_modulated}
