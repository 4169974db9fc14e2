"""Blocks whose attention is linear in the tokens, or convolves them first: EfficientViT (both), LowFormer."""

from __future__ import annotations

from workloads.builders.vision.layers import divisible
from workloads.builders.vision.staged.conv import classify, fused_inverted, inverted, mean
from workloads.builders.vision.staged.stage import Part, Stage
from workloads.builders.vision.staged.tokens import Tokens


def relu_attention(t: Tokens, s: Stage) -> None:
    """EfficientViT (Cai et al. 2023, section 3): multi-scale ReLU linear attention, then an inverted residual.

    Queries, keys and values are also aggregated by a `kernels` x `kernels` depthwise and a grouped 1x1 convolution.
    The sum of keys is a column more of the values, and divides the result.
    """
    entry, width, dim = t.last, t.channels, s.head_dims
    heads, pixels = width // dim, t.height * t.width
    total = 3 * heads * dim
    qkv = t.conv("qkv", total, 1, batch_norm=False)
    t.depthwise("aggregate", s.kernels, batch_norm=False)
    t.conv("group", total, 1, groups=3 * heads, batch_norm=False)
    t.channels = 2 * total
    t.copy("concat", inputs=(qkv, t.last))
    t.activate("relu", "relu")
    t.product("keys_values", 2 * heads, dim, dim + 1, pixels)
    t.product("queries", 2 * heads, pixels, dim + 1, dim)
    t.channels = 2 * heads * dim
    t.add("divide", "elementwise", {**t._pixels(), "operands": (dim + 1) / dim, "flop_per_element": 1.0})
    t.conv("out", width, 1)
    t.residual("add1", entry)
    inverted(t, width, s.expansions * width, act=s.act, norms="nny", biases="yyn", shortcut=True)


def cascaded(t: Tokens, s: Stage) -> None:
    """EfficientViT (Liu et al. 2023, section 3.1): attention between feed-forward parts, the heads one after another.

    Each head reads its share of the channels and the head before it; `windows` bounds the map that it sees.
    """
    _local(t, "0")
    entry, width, dim, heads = t.last, t.channels, s.head_dims, s.heads
    value, window = width // heads, min(s.windows, t.height)
    padded = -(-t.height // window) * window
    windows, pixels = (padded // window) ** 2, window**2
    source = t.copy("window") if windows > 1 else entry
    side, found = t.height, []
    t.height = t.width = padded
    for head in range(heads):
        t.channels = value
        if head:
            t.add(f"sum{head}", "elementwise", {**t._pixels(), "operands": 2}, (t.last, source))
        t.conv(f"qkv{head}", 2 * dim + value, 1, inputs=(t.last,) if head else (source,))
        projected = t.last
        t.channels = dim
        kernel = HEAD_KERNELS[s.kernels][head]
        t.depthwise(f"query{head}", kernel)
        found.append(t.attend(f"attention{head}", 1, dim, v_dim=value, queries=pixels, windows=windows,
                              inputs=(t.last, projected), bias=float(pixels)))  # fmt: skip
    t.channels = heads * value
    t.copy("concat", inputs=found)
    t.activate("relu", "relu")
    t.conv("out", width, 1)
    t.height = t.width = side
    if windows > 1:
        t.copy("unwindow")
    t.residual("mixer.add", entry)
    _local(t, "1")


HEAD_KERNELS = {5: (5, 5, 5, 5), 7: (7, 5, 3, 3)}
"""Depthwise kernels of the queries of each head, by that of the first (Liu et al. 2023, table 1 and its code)."""


def _local(t: Tokens, name: str) -> None:
    """A residual depthwise convolution and a residual feed-forward part of twice the width, batch-normalised."""
    entry, width = t.last, t.channels
    t.depthwise(f"dw{name}", 3)
    entry = t.residual(f"dw{name}.add", entry)
    t.conv(f"ffn{name}.up", 2 * width, 1, act="relu")
    t.conv(f"ffn{name}.down", width, 1)
    t.residual(f"ffn{name}.add", entry)


def _subsample(t: Tokens, s: Stage) -> None:
    """The transition of EfficientViT M: local parts around a strided inverted residual with squeeze."""
    _local(t, "a")
    inner = 4 * t.channels
    t.conv("merge.expand", inner, 1, act="relu")
    t.depthwise("merge.depthwise", 3, stride=2, act="relu")
    t.squeeze_excite("merge.se", divisible(inner / 4, limit=0.0))
    t.conv("merge.project", s.width, 1)
    _local(t, "b")


def lowformer(t: Tokens, s: Stage) -> None:
    """LowFormer (Nottebaum et al. 2024, section 3): attention at low resolution, feed-forward, fused inverted residual.

    The map is convolved with stride `strides` before attention and restored by a transposed convolution, which is
    also the output projection; heads have some 30 features of half the width.
    """
    width, stride = t.channels, s.strides
    if not s.has("no-attention"):
        entry = t.last
        if not s.has("no-mlp"):
            t.norm("attention.norm", "group")
        t.depthwise("reduce", 5 if stride > 1 else 3, stride=stride)
        heads = max(1, width // 2 // 30)
        dim = width // heads // 2
        t.conv("qkv", 3 * heads * dim, 1, batch_norm=False)
        t.attend("attention", heads, dim)
        t.transposed("upsample", width, 2 * stride if stride > 1 else 3, stride)
        t.residual("attention.add", entry)
    if not s.has("no-mlp"):
        entry = t.last
        t.norm("mlp.norm", "group")
        t.conv("mlp.up", 4 * width, 1, batch_norm=False, bias=True, act="gelu")
        t.conv("mlp.down", width, 1, batch_norm=False, bias=True)
        t.residual("mlp.add", entry)
    if width < 256:
        fused_inverted(t, width, s.expansions * width, act=s.act, biases="yn", shortcut=True, name="local.")
    else:
        inverted(t, width, s.expansions * width, act=s.act, norms="nny", biases="yyn", shortcut=True, name="local.")


def _norm_head(t: Tokens, s: Stage) -> None:
    """The mean, a folded batch normalisation and the classifier (LeViT, EfficientViT M)."""
    mean(t)
    classify(t, s, norm="batch")


LINEAR_BLOCKS: dict[str, Part] = {"relu-attention": relu_attention, "cascaded": cascaded, "lowformer": lowformer}
LINEAR_DOWNS: dict[str, Part] = {"subsample": _subsample}
LINEAR_HEADS: dict[str, Part] = {"mean-batch-norm": _norm_head}
