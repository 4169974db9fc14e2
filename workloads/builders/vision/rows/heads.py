"""Detection heads: convolutions over several maps that give boxes and class scores, and the decoding of boxes.

Suppression of overlapping boxes (NMS) depends on what is in the image and is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workloads.builders.vision.layers import ACTIVATION_FLOP, Layers, Point
from workloads.builders.vision.rows.modules import Style, in_wide_format
from workloads.builders.vision.rows.notation import Module

Head = Callable[[Layers, Sequence[Point], Module, Style, int, Sequence[int], int], None]


def anchored(
    x: Layers, points: Sequence[Point], m: Module, style: Style, classes: int, anchors: Sequence[int], bins: int
) -> None:
    """Append YOLOv5's head: one 1x1 convolution a map gives 4 sides, an objectness and the classes of every anchor."""
    ends = []
    for i, (point, boxes) in enumerate(zip(points, anchors, strict=True), start=1):
        x.back_to(point)
        x.conv(f"map{i}.conv", boxes * (5 + classes), 1, batch_norm=False, bias=1)
        x.pointwise(f"map{i}.decode", 6.0)  # a sigmoid, then scale and shift by the anchor and the cell
        ends.append(_flat(x, boxes))
    x.concat("boxes", ends)


def distances(
    x: Layers, points: Sequence[Point], m: Module, style: Style, classes: int, anchors: Sequence[int], bins: int
) -> None:
    """Append the head of YOLOv8 and (`k`: depthwise class convolutions) YOLO11, without anchors.

    Each side of a box is the mean of a distribution over `bins` distances (Li et al. 2020, distribution focal loss).
    """
    first, ends = points[0].channels, []
    box_width = max(16, first // 4, 4 * bins)
    class_width = max(first, min(classes, 100))
    for i, point in enumerate(points, start=1):
        x.back_to(point)
        x.conv(f"map{i}.box1", box_width, 3, act=style.act)
        x.conv(f"map{i}.box2", box_width, 3, act=style.act)
        x.conv(f"map{i}.box3", 4 * bins, 1, batch_norm=False, bias=1)
        x.add(f"map{i}.bins", "softmax", {"rows": 4 * x.height * x.width, "hidden": bins})
        in_wide_format(x)
        x.channels = 4
        boxes = x.add(
            f"map{i}.decode", "elementwise",
            {"rows": x.height * x.width, "hidden": 4, "operands": bins, "flop_per_element": 2.0 * bins + 3.0},
        )  # fmt: skip
        x.back_to(point)
        for j in (1, 2):
            if "k" in m.flags:
                x.depthwise(f"map{i}.class{j}.depthwise", 3, act=style.act)
                x.conv(f"map{i}.class{j}", class_width, 1, act=style.act)
            else:
                x.conv(f"map{i}.class{j}", class_width, 3, act=style.act)
        x.conv(f"map{i}.class3", classes, 1, batch_norm=False, bias=1, act="sigmoid")
        x.concat(f"map{i}.join", (Point(boxes, 4, x.height, x.width), x.here))
        ends.append(_flat(x, 1))
    x.concat("boxes", ends)


def single_shot(
    x: Layers, points: Sequence[Point], m: Module, style: Style, classes: int, anchors: Sequence[int], bins: int
) -> None:
    """Append the head of SSD (Liu et al. 2015): a convolution for the sides and one for the classes of each map.

    The row's number is the window; `k`: a depthwise window, then 1x1 (SSDLite, Sandler et al. 2018). Classes count the
    background.
    """
    ends, kernel = [], m.numbers[0] if m.numbers else 3
    for i, (point, boxes) in enumerate(zip(points, anchors, strict=True), start=1):
        x.back_to(point)
        _predict(x, f"map{i}.box", 4 * boxes, kernel, m, style)
        sides = x.pointwise(f"map{i}.decode", 4.0)
        at = Point(sides, 4 * boxes, x.height, x.width)
        x.back_to(point)
        _predict(x, f"map{i}.class", classes * boxes, kernel, m, style)
        x.fused(f"map{i}.score", "elementwise", ACTIVATION_FLOP["sigmoid"])
        x.concat(f"map{i}.join", (at, x.here))
        ends.append(_flat(x, boxes))
    x.concat("boxes", ends)


def _predict(x: Layers, name: str, features: int, kernel: int, m: Module, style: Style) -> None:
    if "k" in m.flags:
        x.depthwise(f"{name}.depthwise", kernel, act=style.act)
    x.conv(name, features, 1 if "k" in m.flags else kernel, batch_norm=False, bias=1)


def _flat(x: Layers, boxes: int) -> Point:
    """Return the map as a list of numbers, so that maps of several sizes can be joined."""
    return Point(x.last, x.channels * x.height * x.width, 1, 1)


HEADS: dict[str, Head] = {"anchored": anchored, "distances": distances, "ssd": single_shot}
