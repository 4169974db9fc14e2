"""CoaT-Lite: factorised attention with convolved positions."""

from __future__ import annotations

from workloads.builders.vision.staged.stage import Part, Stage, feed_forward
from workloads.builders.vision.staged.tokens import Tokens

POSITION_WINDOWS = ((3, 2), (5, 3), (7, 3))
"""CoaT's convolutional positions: kernel, and how many of the 8 heads it serves (Xu et al. 2021, section 3.2)."""


def factorised(t: Tokens, s: Stage) -> None:
    """CoaT's serial block (Xu et al. 2021): keys after a softmax over tokens meet values first; convolved positions.

    The convolutions for positions are shared by the blocks of a stage: each bears its part of their parameters.
    """
    width, heads, tokens = t.channels, s.heads, t.tokens
    dim, shared = width // heads, 1.0 / s.depth
    _shared_depthwise(t, "position", width, 3, shared)
    entry = t.residual("position.add", t.operators[-1].inputs[0])
    t.norm("norm")
    t.linear("qkv", 3 * width)
    projected = t.here
    t.take(width)
    t.add("softmax", "softmax", {"rows": t.batch * width, "hidden": tokens})
    t.product("keys_values", heads, dim, dim, tokens, inputs=(t.last, projected.name))
    factor = t.product("queries", heads, tokens, dim, dim, inputs=(projected.name, t.last))
    convolved = []
    for kernel, served in POSITION_WINDOWS:
        t.last = projected.name
        convolved.append(_shared_depthwise(t, f"relative{kernel}", served * dim, kernel, shared))
    t.take(width)
    shape = {**t._pixels(), "operands": 3, "flop_per_element": 3.0}
    t.add("combine", "elementwise", shape, (factor, projected.name, *convolved))
    t.linear("out", width)
    t.residual("attention.add", entry)
    feed_forward(t, s)


def _shared_depthwise(t: Tokens, name: str, channels: int, kernel: int, share: float) -> str:
    """Append a depthwise convolution with bias of which the block stores a share."""
    shape = {
        "batch": t.batch, "c_in": channels, "h": t.height, "w": t.width, "c_out": channels, "kh": kernel, "kw": kernel,
        "padding": kernel // 2, "groups": channels,
    }  # fmt: skip
    return t.add(name, "conv2d", shape, parameters=share * channels * (kernel**2 + 1))


def _patch_class(t: Tokens, s: Stage, *, side: int = 2) -> None:
    """Append patches of the map, normalised, and a class token of the stage's own."""
    t.prefix = 0
    t.conv("patches", s.width, side, stride=side, padding=0, batch_norm=False, bias=True)
    t.norm("norm")
    t.prefix = 1
    t.add("class", "copy", t._pixels(), parameters=float(t.channels))


COAT_STEMS: dict[str, Part] = {"patch-class": lambda t, s: _patch_class(t, s, side=s.patch)}
COAT_BLOCKS: dict[str, Part] = {"factorised": factorised}
COAT_DOWNS: dict[str, Part] = {"patch-class": _patch_class}
