"""Modules that rows name: the blocks of ShuffleNet v2, MobileNet v2 and YOLO."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from workloads.builders.chain import wide
from workloads.builders.vision.layers import Layers, Point
from workloads.builders.vision.rows.notation import Module
from workloads.graph import BLOCK_INPUT


class Style(NamedTuple):
    """What every convolution of a network has."""

    act: str
    batch_norm: bool
    bias: bool


def in_wide_format(x: Layers) -> None:
    """Let the last operator keep a format of 16 bits or more: what normalises activations is not quantised."""
    x.operators[-1] = replace(x.operators[-1], dtype=wide(x.dtype))


def add(x: Layers, m: Module, style: Style) -> None:
    """Append the sum of the two maps that the row reads, and its activation (`n`: none)."""
    x.residual("add", BLOCK_INPUT, act="" if "n" in m.flags else style.act)


def shuffle(x: Layers, m: Module, style: Style) -> None:
    """Append a stage of ShuffleNet v2 (Ma et al. 2018, figure 3 c and d): the first unit halves the map."""
    half = m.numbers[0] // 2
    for i in range(m.repeat):
        entry, stride = x.here, 1 if i else 2
        if i:
            kept = entry._replace(channels=half)
            x.back_to(kept)  # a view of the other half has the same shape
        else:
            x.depthwise(f"{i}.short.depthwise", 3, stride=stride)
            x.conv(f"{i}.short.conv", half, 1, act=style.act)
            kept = x.here
            x.back_to(entry)
        x.conv(f"{i}.conv1", half, 1, act=style.act)
        x.depthwise(f"{i}.depthwise", 3, stride=stride)
        x.conv(f"{i}.conv2", half, 1, act=style.act)
        x.concat(f"{i}.join", (kept, x.here))
        x.add(f"{i}.shuffle", "copy", {"rows": x.height * x.width, "hidden": x.channels})


def inverted(x: Layers, m: Module, style: Style) -> None:
    """Append inverted residuals (Sandler et al. 2018), the first with the row's stride; `e` is the expansion."""
    out, expansion = m.numbers[0], m.expansion or 1.0
    for i in range(m.repeat):
        entry, stride = x.here, 1 if i else m.stride
        if expansion > 1:
            x.conv(f"{i}.expand", max(1, round(entry.channels * expansion)), 1, act=style.act)
        x.depthwise(f"{i}.depthwise", 3, stride=stride, act=style.act)
        x.conv(f"{i}.project", out, 1)
        if stride == 1 and entry.channels == out:
            x.residual(f"{i}.add", entry.name)


def l2(x: Layers, m: Module, style: Style) -> None:
    """Append SSD's normalisation of every pixel to length 1, with one learned scale a channel."""
    x.norm("norm", "rms")


def c3(x: Layers, m: Module, style: Style) -> None:
    """Append YOLOv5's cross-stage module: half of the channels pass through the bottlenecks."""
    _c3(x, "", m.numbers[0], m.repeat, style.act, shortcut="n" not in m.flags, first=1)


def c2f(x: Layers, m: Module, style: Style) -> None:
    """Append YOLOv8's module: every bottleneck's result is joined."""
    _c2f(x, m, style.act, 0.5, lambda name, width: _bottleneck(x, name, width, style.act, "n" not in m.flags, 3, 1.0))


def c3k2(x: Layers, m: Module, style: Style) -> None:
    """Append YOLO11's module: as `c2f`, with narrow bottlenecks, or (`k`) cross-stage modules, in their place."""

    def inner(name: str, width: int) -> None:
        if "k" in m.flags:
            _c3(x, name, width, 2, style.act, shortcut=True, first=3)
        else:
            _bottleneck(x, name, width, style.act, True, 3, 0.5)

    _c2f(x, m, style.act, m.expansion or 0.5, inner)


def sppf(x: Layers, m: Module, style: Style) -> None:
    """Append fast spatial pyramid pooling: three maxima of 5 in a row, joined."""
    x.conv("conv1", max(1, x.channels // 2), 1, act=style.act)
    points = [x.here]
    for i in range(3):
        x.pool(f"pool{i + 1}", 5, 1, 2)
        points.append(x.here)
    x.concat("join", points)
    x.conv("conv2", m.numbers[0], 1, act=style.act)


def psa(x: Layers, m: Module, style: Style) -> None:
    """Append YOLO11's attention module: half of the channels pass through attention and two dense layers a pixel."""
    half = max(2, x.channels // 2)
    x.conv("conv1", 2 * half, 1, act=style.act)
    kept = x.here._replace(channels=half)
    x.take(half)
    for i in range(m.repeat):
        entry = x.here
        _attention(x, f"{i}.", half)
        x.residual(f"{i}.add1", entry.name)
        entry = x.here
        x.conv(f"{i}.dense1", 2 * half, 1, act=style.act)
        x.conv(f"{i}.dense2", half, 1)
        x.residual(f"{i}.add2", entry.name)
    x.concat("join", (kept, x.here))
    x.conv("conv2", m.numbers[0], 1, act=style.act)


def _attention(x: Layers, name: str, width: int) -> None:
    """Append attention whose keys have half the width of its values, and a position code by a depthwise window."""
    heads = max(1, width // 64)
    head = width // heads
    qkv = x.conv(f"{name}qkv", width + 2 * (head // 2) * heads, 1)
    here = x.here._replace(channels=width)
    tokens = x.height * x.width
    shape = {
        "q_len": tokens, "kv_len": tokens, "heads": heads, "kv_heads": heads, "head_dim": head // 2, "v_dim": head,
        "causal": 0,
    }  # fmt: skip
    attended = x.add(f"{name}attention", "attention", shape)
    in_wide_format(x)
    x.back_to(here._replace(name=qkv))
    position = x.depthwise(f"{name}position", 3)
    x.pointwise(f"{name}positioned", inputs=(attended, position))
    x.conv(f"{name}project", width, 1)


def _c3(x: Layers, name: str, width: int, repeat: int, act: str, *, shortcut: bool, first: int) -> None:
    entry, inner = x.here, width // 2
    x.conv(f"{name}pass", inner, 1, act=act)
    passed = x.here
    x.back_to(entry)
    x.conv(f"{name}in", inner, 1, act=act)
    for i in range(repeat):
        _bottleneck(x, f"{name}{i}.", inner, act, shortcut, first, 1.0)
    x.concat(f"{name}join", (x.here, passed))
    x.conv(f"{name}out", width, 1, act=act)


def _c2f(x: Layers, m: Module, act: str, expansion: float, inner: Callable[[str, int], None]) -> None:
    width = max(2, int(m.numbers[0] * expansion))
    x.conv("in", 2 * width, 1, act=act)
    points: list[Point] = [x.here]
    x.take(width)
    for i in range(m.repeat):
        inner(f"{i}.", width)
        points.append(x.here)
    x.concat("join", points)
    x.conv("out", m.numbers[0], 1, act=act)


def _bottleneck(x: Layers, name: str, width: int, act: str, shortcut: bool, first: int, expansion: float) -> None:
    entry = x.here
    x.conv(f"{name}conv1", max(1, int(width * expansion)), first, act=act)
    x.conv(f"{name}conv2", width, 3, act=act)
    if shortcut:
        x.residual(f"{name}add", entry.name)


MODULES: dict[str, Callable[[Layers, Module, Style], None]] = {
    "add": add, "shuffle": shuffle, "inverted": inverted, "l2": l2, "c3": c3, "c2f": c2f, "c3k2": c3k2, "sppf": sppf,
    "psa": psa,
}  # fmt: skip
