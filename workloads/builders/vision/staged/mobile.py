"""Mobile hybrids: MobileViT 1 and 2 (attention across patches), MobileNetV4 with multi-query attention."""

from __future__ import annotations

from functools import partial

from workloads.builders.vision.layers import divisible
from workloads.builders.vision.staged.conv import classify, mean
from workloads.builders.vision.staged.stage import Part, Stage, feed_forward, finish
from workloads.builders.vision.staged.tokens import Tokens

PATCH = 2
"""Side of the patches; pixels at one place of their patches form a sequence."""
UNIVERSAL = ("3-5-4", "3-3-2", "0-0-2", "3-3-4", "3-0-4", "5-5-4", "3-5-2", "0-0-4", "5-0-4", "5-3-4")
"""Universal inverted bottlenecks: kernels of the first and the middle depthwise convolution (0: none), expansion."""
UNIVERSAL_DOWN = ("3-5-4", "3-5-6", "5-5-6", "5-5-4")
"""Those that halve the map."""


def mobilevit(t: Tokens, s: Stage) -> None:
    """MobileViT (Mehta & Rastegari 2021, section 3.1): `groups` encoder layers of heads x head_dims features.

    A 3x3 convolution before, a 1x1 one after, and a 3x3 one over input and output side by side.
    """
    entry, width, dim = t.last, t.channels, s.heads * s.head_dims
    t.conv("local", width, 3, act=s.act)
    t.conv("into", dim, 1, batch_norm=False)
    t.copy("unfold")
    for layer in range(s.groups):
        stream = t.last
        t.norm(f"{layer}.norm")
        t.linear(f"{layer}.qkv", 3 * dim)
        t.attend(f"{layer}.attention", s.heads, s.head_dims, queries=t.tokens // PATCH**2, windows=PATCH**2)
        t.linear(f"{layer}.out", dim)
        t.residual(f"{layer}.add", stream)
        feed_forward(t, s, name=f"{layer}.mlp", inner=2 * dim)
    t.norm("norm")
    t.copy("fold")
    t.conv("project", width, 1, act=s.act)
    t.channels = 2 * width
    t.copy("concat", inputs=(entry, t.last))
    t.conv("fuse", width, 3, act=s.act)


def mobilevit2(t: Tokens, s: Stage) -> None:
    """MobileViT v2 (Mehta & Rastegari 2022, section 3): one score a token, the mean of keys it weighs scales values."""
    width, dim = t.channels, s.head_dims
    t.depthwise("local", 3, act=s.act)
    t.conv("into", dim, 1, batch_norm=False)
    t.copy("unfold")
    for layer in range(s.groups):
        stream = t.last
        t.norm(f"{layer}.norm", "group")
        t.linear(f"{layer}.qkv", 1 + 2 * dim)
        projected = t.last
        t.softmax(f"{layer}.softmax", 1, t.tokens)
        scores = t.last
        t.channels = dim
        t.multiply(f"{layer}.context", projected, flop=2.0)
        context = t.last
        t.add(f"{layer}.scale", "elementwise", {**t._pixels(), "flop_per_element": 2.0}, (projected, context, scores))
        t.linear(f"{layer}.out", dim)
        t.residual(f"{layer}.add", stream)
        feed_forward(t, s, name=f"{layer}.mlp", inner=2 * dim)
    t.norm("norm", "group")
    t.copy("fold")
    t.conv("project", width, 1)


def universal(t: Tokens, s: Stage, *, form: str, stride: int = 1) -> None:
    """MobileNetV4's universal inverted bottleneck (Qin et al. 2024, section 3)."""
    first, middle, expansion = (int(part) for part in form.split("-"))
    entry, before = t.last, t.channels
    if first:
        t.depthwise("start", first, stride=1 if middle else stride)
    t.conv("expand", divisible(before * expansion), 1, act=s.act)
    if middle:
        t.depthwise("middle", middle, stride=stride, act=s.act)
    t.conv("project", s.width, 1)
    if s.has("layer-scale"):
        t.scale("scale")
    if stride == 1 and before == s.width:
        t.residual("add", entry)


def multi_query(t: Tokens, s: Stage) -> None:
    """MobileNetV4's mobile multi-query attention: one key and value for all heads, of a map with stride `strides`."""
    entry, width, key = t.last, t.channels, s.head_dims
    normed = t.norm("norm", "batch")
    start, queries = t.here, t.conv("query", s.heads * key, 1, batch_norm=False)
    tokens, found = t.tokens, [queries]
    for name in ("key", "value"):
        t.back_to(start)
        t.last = normed
        if s.strides > 1:
            t.depthwise(f"{name}.reduce", 3, stride=s.strides)
        found.append(t.conv(name, key, 1, batch_norm=False))
    keys = t.tokens
    t.height, t.width = start.height, start.width
    shape = {
        "batch": t.batch, "q_len": tokens, "kv_len": keys, "heads": s.heads, "kv_heads": 1, "head_dim": key,
        "causal": 0, "phase": "prefill",
    }  # fmt: skip
    t.channels = s.heads * key
    t.add("attention", "attention", shape, found)
    t.conv("out", width, 1, batch_norm=False)
    finish(t, s, "attention.add", entry)


def _mobile_head(t: Tokens, s: Stage) -> None:
    """A 1x1 convolution, the mean, a normalised projection, the classifier (MobileNetV4)."""
    first, second = s.head_widths
    t.conv("conv", first, 1, act=s.act)
    mean(t)
    t.linear("hidden", second, bias=False)
    t.norm("hidden.bn", "batch", s.act)
    classify(t, s)


MOBILE_BLOCKS: dict[str, Part] = {
    "mobilevit": mobilevit, "mobilevit2": mobilevit2, "multi-query": multi_query,
    **{f"universal-{form}": partial(universal, form=form) for form in UNIVERSAL},
}  # fmt: skip
MOBILE_DOWNS: dict[str, Part] = {
    f"universal-{form}": partial(universal, form=form, stride=2) for form in UNIVERSAL_DOWN
}  # fmt: skip
MOBILE_HEADS: dict[str, Part] = {"conv-mean-hidden": _mobile_head}
