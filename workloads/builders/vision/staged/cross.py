"""CrossViT (Chen et al. 2021): two streams of patches of two sizes, whose class tokens read each other's patches.

The map is that of the large patches (16 pixels, of an image that is a fourteenth smaller); the stream of small patches
(12 pixels) has `v_dims` features, `expansions` holds for both. `groups` is how many layers the large one has a block.
"""

from __future__ import annotations

from typing import Any

from workloads.builders.vision.staged.stage import Part, Stage, feed_forward
from workloads.builders.vision.staged.tokens import Tokens
from workloads.graph import BLOCK_INPUT

SMALL, LARGE = 12, 16
"""Sides of the patches."""


def _sides(s: Stage) -> tuple[int, int]:
    """Return the sides of the two maps: the image, and the image scaled by 14 / 15, in patches."""
    return s.image // SMALL, round(s.image * 14 / 15 / LARGE)


def _stream(t: Tokens, s: Stage, *, large: bool) -> None:
    """Let the next layers see one of the streams."""
    side = _sides(s)[large]
    t.channels, t.height, t.width, t.prefix = (s.width if large else s.v_dims), side, side, 1


def _layer(t: Tokens, s: Stage, name: str) -> None:
    """Append a plain encoder layer."""
    entry, width = t.last, t.channels
    t.norm(f"{name}.norm")
    t.linear(f"{name}.qkv", 3 * width)
    t.attend(f"{name}.attention", s.heads, width // s.heads)
    t.linear(f"{name}.out", width)
    t.residual(f"{name}.add", entry)
    feed_forward(t, s, name=f"{name}.mlp", inner=s.expansions * width)


def _turn(t: Tokens, name: str, width: int) -> str:
    """Append what turns a class token into the other stream's: a normalisation, an activation, a projection."""
    rows = {"rows": t.batch, "hidden": t.channels}
    t.add(f"{name}.norm", "norm", {**rows, "flop_per_element": 7.0}, parameters=2.0 * t.channels)
    t.add(f"{name}.gelu", "elementwise", {**rows, "flop_per_element": 8.0}, fused=True)
    return t.linear(f"{name}.project", width, rows=t.batch)


def cross(t: Tokens, s: Stage) -> None:
    """One block: layers of each stream, then each class token attends to the other stream's patches."""
    entry, ends = t.last, []
    for large, name, depth in ((False, "small", 1), (True, "large", s.groups)):
        _stream(t, s, large=large)
        t.last = entry
        for layer in range(depth):
            _layer(t, s, f"{name}{layer}")
        ends.append(t.last)
    for large, name in ((False, "small"), (True, "large")):
        _stream(t, s, large=large)
        t.last, own = ends[large], t.channels
        _stream(t, s, large=not large)
        width, tokens = t.channels, t.tokens
        t.channels = own
        turned = _turn(t, f"{name}.turn", width)
        t.copy(f"{name}.concat", inputs=(turned, ends[not large]))
        normed = t.norm(f"{name}.cross.norm")
        query = t.linear(f"{name}.cross.query", width, rows=t.batch)
        t.linear(f"{name}.cross.keys_values", 2 * width, inputs=(normed,))
        t.attend(f"{name}.cross", s.heads, width // s.heads, queries=1, keys=tokens, inputs=(query, t.last))
        t.linear(f"{name}.cross.out", width, rows=t.batch)
        shape = {"rows": t.batch, "hidden": width, "operands": 2}
        t.add(f"{name}.cross.add", "elementwise", shape, (t.last, turned))
        ends.append(_turn(t, f"{name}.return", own))
    _stream(t, s, large=True)
    t.copy("concat", inputs=ends[2:])


def _embed(t: Tokens, s: Stage, *, large: bool, several: bool) -> str:
    """Append the patches of one stream (by one convolution, or three), its table of positions and class token."""
    name, patch, width = ("large", LARGE, s.width) if large else ("small", SMALL, s.v_dims)
    side = _sides(s)[large]
    t.channels, t.prefix, t.height, t.width = 3, 0, side * patch, side * patch
    plain: dict[str, Any] = {"batch_norm": False, "bias": True}
    if several:
        t.conv(f"{name}.conv0", width // 4, 7, stride=4, act="relu", inputs=(BLOCK_INPUT,), **plain)
        stride, padding = (2, 1) if large else (3, 0)
        t.conv(f"{name}.conv1", width // 2, 3, stride=stride, padding=padding, act="relu", **plain)
        t.conv(f"{name}.patches", width, 3, stride=2 if large else 1, **plain)
    else:
        t.conv(f"{name}.patches", width, patch, stride=patch, padding=0, inputs=(BLOCK_INPUT,), **plain)
    t.prefix = 1
    shape = {**t._pixels(), "operands": 2}
    return t.add(f"{name}.position", "elementwise", shape, parameters=float(width * (t.tokens + 1)))


def _stem(t: Tokens, s: Stage, *, several: bool) -> None:
    small = _embed(t, s, large=False, several=several)
    large = _embed(t, s, large=True, several=several)
    t.copy("concat", inputs=(small, large))


def _two_heads(t: Tokens, s: Stage) -> None:
    """A normalisation and a classifier for each stream's class token, averaged."""
    entry, found = t.last, []
    for large, name in ((False, "small"), (True, "large")):
        _stream(t, s, large=large)
        t.norm(f"{name}.norm", inputs=(entry,))
        found.append(t.linear(f"{name}.fc", s.classes, rows=t.batch))
    t.add("average", "elementwise", {"rows": t.batch, "hidden": s.classes, "operands": 2}, found)


CROSS_STEMS: dict[str, Part] = {
    "two-patches": lambda t, s: _stem(t, s, several=False), "two-patches-conv": lambda t, s: _stem(t, s, several=True),
}  # fmt: skip
CROSS_BLOCKS: dict[str, Part] = {"cross": cross}
CROSS_HEADS: dict[str, Part] = {"two-tokens": _two_heads}
