"""The Pareto front of points that are better the smaller they are, and its hypervolume, in two dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Point = tuple[float, float]


def front(points: Sequence[Point]) -> list[int]:
    """Return the places of the points that none dominates, by the first coordinate; of equals the first."""
    order = sorted(range(len(points)), key=lambda i: (*points[i], i))
    found: list[int] = []
    least = np.inf
    for i in order:
        if points[i][1] < least:
            found.append(i)
            least = points[i][1]
    return found


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Return the area that the points dominate up to the reference point; points beyond it add nothing."""
    inside = [point for point in points if point[0] < reference[0] and point[1] < reference[1]]
    area, above = 0.0, reference[1]
    for i in front(inside):
        area += (reference[0] - inside[i][0]) * (above - inside[i][1])
        above = inside[i][1]
    return area
