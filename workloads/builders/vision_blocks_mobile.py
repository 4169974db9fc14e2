"""Mobile hybrids: MobileViT 1 and 2 (attention across patches inside a convolutional block)."""

from __future__ import annotations

from workloads.builders.vision_stage import Part, Stage, feed_forward
from workloads.builders.vision_tokens import Tokens

PATCH = 2
"""Side of the patches; pixels at one place of their patches form a sequence."""


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


MOBILE_BLOCKS: dict[str, Part] = {"mobilevit": mobilevit, "mobilevit2": mobilevit2}
