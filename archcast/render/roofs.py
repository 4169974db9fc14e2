"""The lines of the roofline: memory roofs that rise, peaks that are level, each with its name where no dot lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from archcast.render.human import text
from archcast.render.labels import Box
from archcast.render.markup import num, svg_text

if TYPE_CHECKING:
    from archcast.render.roofline import Frame, Placed, Roofline

BOLD_PX = 7.1
_PLACES = tuple(0.02 + 0.03 * i for i in range(26))
"""Where along a rising roof its name may begin, as shares of its length."""


def roofs_svg(chart: Roofline, frame: Frame, dots: Sequence[Placed]) -> tuple[str, list[Box]]:
    """Return the lines with their names, and the boxes that both cover."""
    parts: list[str] = []
    boxes: list[Box] = []
    top = max([rate for _, rate, _ in chart.peaks] or [1.0])
    peaks, taken = _peaks(chart, frame)
    covered = [*taken, *(Box(x - r, y - r, x + r, y + r) for _, x, y, r in dots)]
    for at, (name, speed) in enumerate(chart.roofs):
        begin, ridge = max(10**frame.x_lo, 10**frame.y_lo / speed), top / speed
        x0, y0, x1, y1 = frame.x(begin), frame.y(begin * speed), frame.x(ridge), frame.y(top)
        parts.append(f'<path class="roof r{at}" d="M{num(x0)} {num(y0)}L{num(x1)} {num(y1)}"/>')
        label = f"{name} {text(speed, 'bytes_per_s')}"
        below = at == 0 and len(chart.roofs) > 1
        spot, mine = _along((x0, y0, x1, y1), BOLD_PX * len(label), below, covered)
        slope = math.degrees(math.atan2(y1 - y0, x1 - x0))
        turn = f' transform="rotate({num(slope)} {num(spot[0])} {num(spot[1])}) translate(0 {15 if below else -7})"'
        parts.append(svg_text(*spot, label, "roofname", extra=turn))
        boxes += [*mine, *_beads(x0, y0, x1, y1, 3.0)]
    return "".join(parts) + peaks, boxes + taken


def _along(
    line: tuple[float, float, float, float], length: float, below: bool, covered: Sequence[Box]
) -> tuple[tuple[float, float], list[Box]]:
    """Return where a name of some length along a line begins so that it covers the fewest dots, and its boxes."""
    x0, y0, x1, y1 = line
    reach = math.hypot(x1 - x0, y1 - y0) or 1.0
    best: tuple[int, tuple[float, float], list[Box]] | None = None
    for share in _PLACES:
        x, y = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
        end = share + length / reach
        shift = 10.0 if below else -11.0
        boxes = _beads(x, y + shift, x0 + end * (x1 - x0), y0 + end * (y1 - y0) + shift, 9.0)
        hits = sum(box.meets(other) for box in boxes for other in covered) + (100 if end > 1 else 0)
        if best is None or hits < best[0]:
            best = (hits, (x, y), boxes)
    assert best is not None
    return best[1], best[2]


def _beads(x0: float, y0: float, x1: float, y1: float, half: float) -> list[Box]:
    """Return small boxes along a line, close enough that nothing slips between."""
    count = max(2, int(math.hypot(x1 - x0, y1 - y0) / (2 * half)))
    points = ((x0 + (x1 - x0) * i / (count - 1), y0 + (y1 - y0) * i / (count - 1)) for i in range(count))
    return [Box(x - half, y - half, x + half, y + half) for x, y in points]


def _peaks(chart: Roofline, frame: Frame) -> tuple[str, list[Box]]:
    """Return the level lines; of two that lie nearly on each other the upper one keeps its name."""
    parts, boxes = [], []
    named = -math.inf
    fastest = max(speed for _, speed in chart.roofs)
    for name, rate, matrix in chart.peaks:
        y, left = frame.y(rate), max(frame.left, frame.x(rate / fastest))
        parts.append(
            f'<path class="roof {"peak" if matrix else "vector"}" d="M{num(left)} {num(y)}H{num(frame.right)}"/>'
        )
        boxes.append(Box(left, y - 3, frame.right, y + 3))
        if y - named < 15:
            continue
        named = y
        label = f"{name} {text(rate, 'flop_per_s')}"
        parts.append(svg_text(frame.right - 4, y - 7, label, "roofname", "end"))
        boxes.append(Box(frame.right - 6 - BOLD_PX * len(label), y - 19, frame.right, y))
    return "".join(parts), boxes
