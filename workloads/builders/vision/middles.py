"""What may stand in place of a bottleneck's 3x3 convolution: hierarchies of splits, split and selective attention."""

from __future__ import annotations

from math import log2

from workloads.builders.vision.layers import ACTIVATION_FLOP, Layers, Point, divisible

MIDDLES = ("plain", "splits", "split-attention", "selective")


def splits(
    layers: Layers, width: int, scale: int, *, stride: int, groups: int, first: bool, act: str, prefix: str = ""
) -> None:
    """Append Res2Net's middle (Gao et al. 2019, section 3.1): `scale` parts, each but the last convolved in turn.

    The part before is added to the next one, except in the first block of a stage, which pools its last part.
    """
    entry = layers.here
    part = entry._replace(channels=width)
    outputs: list[Point] = []
    for i in range(max(1, scale - 1)):
        layers.back_to(part)
        if i and not first:
            layers.back_to(outputs[-1])
            layers.pointwise(f"{prefix}split{i}.add", inputs=(outputs[-1].name, entry.name))
        layers.conv(f"{prefix}split{i}.conv", width, 3, stride=stride, groups=groups, act=act)
        outputs.append(layers.here)
    if scale > 1:
        layers.back_to(part)
        if first:
            layers.pool(f"{prefix}split.pool", 3, stride, 1)
        outputs.append(layers.here)
    layers.concat(f"{prefix}splits", outputs)


def split_attention(layers: Layers, width: int, radix: int, *, stride: int, groups: int, act: str) -> None:
    """Append ResNeSt's middle (Zhang et al. 2020, section 3.1): `radix` maps, weighted by attention and added."""
    layers.conv("conv2", width * radix, 3, stride=stride, groups=groups * radix, act=act)
    maps = layers.here
    summed = maps
    if radix > 1:
        layers.take(width)
        layers.pointwise("radix.sum", radix - 1, inputs=(maps.name,))
        summed = layers.here
    layers.average("radix.pool")
    inner = divisible(width * radix / 4, least=32)
    layers.conv("radix.reduce", inner, 1, groups=groups, bias=True, act=act)
    layers.conv("radix.select", width * radix, 1, groups=groups, bias=True, batch_norm=False)
    gates = layers.fused("radix.softmax", "elementwise", ACTIVATION_FLOP["sigmoid"])
    layers.back_to(summed)
    layers.pointwise("radix.scale", 2.0 * radix, inputs=(maps.name, gates))


def selective(
    layers: Layers, width: int, *, stride: int, groups: int, ratio: float, divisor: int, halve: bool, act: str
) -> None:
    """Append a selective kernel (Li et al. 2019, section 3.1): a 3x3 and a dilated 3x3 path, chosen between by gates.

    `halve`: each path reads half of the channels.
    """
    entry = layers.here
    paths: list[Point] = []
    for i, dilation in enumerate((1, 2)):
        layers.back_to(entry)
        layers.take(entry.channels // 2 if halve else entry.channels)
        # a dilated window covers 5 pixels with the work of 3; the map comes out the same
        layers.conv(f"path{dilation}", width, 3, stride=stride, groups=min(groups, width), act=act)
        paths.append(layers.here)
        if i:
            layers.pointwise("paths.add", inputs=[path.name for path in paths])
    layers.average("select.pool")
    layers.dense("select.reduce", divisible(width * ratio, divisor), bias=False, batch_norm=True, act=act)
    gates = layers.dense("select.gates", 2 * width, bias=False)
    layers.back_to(paths[0])
    layers.pointwise("select", 3.0, inputs=(*(path.name for path in paths), gates))


def attention_kernel(channels: int) -> int:
    """Return the window of efficient channel attention (Wang et al. 2019, equation 12): odd, at least 3."""
    size = int(abs(log2(channels) + 1) / 2)
    return max(size if size % 2 else size + 1, 3)
