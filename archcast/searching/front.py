"""Fronts: which designs no other is better than, what they dominate, and which few stand for them."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np

from workloads.table import Array

BLOCK = 1024
SIEVE = 48
"""Designs that are compared with all others first: few, and chosen to dominate many."""


def nondominated(values: Array, index: Array) -> Array:
    """Return positions of rows that no other row dominates (all columns are to be small), in the order of `index`.

    Of rows that are equal in all columns the one of the lowest index stands. Time is that of rows times front.
    """
    places = _sieved(values, np.arange(len(values)))
    order = np.lexsort((index[places], *values[places].T[::-1]))
    places = places[order]  # a row comes after every row that dominates it, and after its equals of lower index
    kept = np.zeros((0, values.shape[1]))
    found = []
    for start in range(0, len(places), BLOCK):
        block = places[start : start + BLOCK]
        block = block[~_covered(values[block], kept)]
        mine = values[block]
        earlier = np.tri(len(block), k=-1, dtype=bool)
        block = block[~(_not_above(mine, mine) & earlier).any(axis=1)]
        found.append(block)
        kept = np.concatenate((kept, values[block]))
    chosen = np.concatenate(found) if found else places
    return chosen[np.argsort(index[chosen], kind="stable")]


def _not_above(rows: Array, others: Array) -> Array:
    """Return whether others[j] is in no column above rows[i], shape (rows, others)."""
    found = others[None, :, 0] <= rows[:, None, 0]
    for k in range(1, rows.shape[1]):
        found &= others[None, :, k] <= rows[:, None, k]
    return found


def _covered(rows: Array, others: Array) -> Array:
    """Return which rows have one of `others` that is as good in all columns."""
    found = np.zeros(len(rows), dtype=bool)
    for start in range(0, len(others), BLOCK):
        left = np.flatnonzero(~found)
        found[left] = _not_above(rows[left], others[start : start + BLOCK]).any(axis=1)
    return found


def _sieved(values: Array, places: Array) -> Array:
    """Return places without most of those that are dominated, by comparison with rows that dominate many."""
    if len(places) <= BLOCK:
        return places
    ranks = np.argsort(np.argsort(values, axis=0), axis=0).astype(float) / len(values)
    best = np.argsort(ranks.sum(axis=1), kind="stable")[:SIEVE]
    alive = np.ones(len(places), dtype=bool)
    for row in values[best]:
        left = np.flatnonzero(alive)
        rows = values[left]
        alive[left] = ~((row <= rows).all(axis=1) & (row < rows).any(axis=1))
    return places[alive]


@dataclass
class Archive:
    """The front of all designs seen so far: the same for any order and any cut into chunks."""

    objectives: int
    index: Array = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    values: Array = field(init=False)

    def __post_init__(self) -> None:
        self.values = np.zeros((0, self.objectives))

    def add(self, index: Array, values: Array) -> None:
        """Take designs in: those that are on the front stay, and drive others out. All values must be finite."""
        if len(self.index):  # the front is small: most of a chunk falls to a sample of it
            step = max(len(self.index) // SIEVE, 1)
            alive = np.ones(len(index), dtype=bool)
            for row in self.values[::step]:
                left = np.flatnonzero(alive)
                rows = values[left]
                alive[left] = ~((row <= rows).all(axis=1) & (row < rows).any(axis=1))
            index, values = index[alive], values[alive]
        both, numbers = np.concatenate((self.values, values)), np.concatenate((self.index, index))
        keep = nondominated(both, numbers)
        self.index, self.values = numbers[keep], both[keep]


def hypervolume(values: Array, reference: Array) -> float | None:
    """Return the volume that a front dominates up to a reference point, exactly; None for more than three columns."""
    inside = values[(values < reference).all(axis=1)]
    if not len(inside):
        return 0.0
    columns = inside.shape[1]
    if columns == 1:
        return float(reference[0] - inside.min())
    if columns == 2:
        return _area(inside, reference)
    if columns > 3:
        return None
    order = np.argsort(inside[:, 2], kind="stable")
    stair = _Stair(reference[0], reference[1])
    volume, levels = 0.0, np.append(inside[order, 2], reference[2])
    for place, row in enumerate(order):
        stair.add(float(inside[row, 0]), float(inside[row, 1]))
        volume += stair.area * (levels[place + 1] - levels[place])
    return float(volume)


def _area(values: Array, reference: Array) -> float:
    stair = _Stair(reference[0], reference[1])
    for x, y in values:
        stair.add(float(x), float(y))
    return stair.area


class _Stair:
    """The stair of points in a plane and the area above it: x rises, y falls."""

    def __init__(self, x_end: float, y_end: float) -> None:
        self.x_end, self.y_end = float(x_end), float(y_end)
        self.xs: list[float] = []
        self.ys: list[float] = []
        self.area = 0.0

    def add(self, x: float, y: float) -> None:
        at = bisect_left(self.xs, x)
        if (at and self.ys[at - 1] <= y) or (at < len(self.xs) and self.xs[at] == x and self.ys[at] <= y):
            return
        top = self.ys[at - 1] if at else self.y_end
        stop, before = at, x
        while stop < len(self.xs) and self.ys[stop] >= y:  # steps that the new point is below
            self.area += (self.xs[stop] - before) * (top - y)
            before, top = self.xs[stop], self.ys[stop]
            stop += 1
        end = self.xs[stop] if stop < len(self.xs) else self.x_end
        self.area += (end - before) * (top - y)
        self.xs[at:stop], self.ys[at:stop] = [x], [y]


def scaled(values: Array) -> Array:
    """Return columns from 0 (the best) to 1 (the worst of the front), as logarithms where all are above 0."""
    logs = np.where((values > 0).all(axis=0), np.log(np.where(values > 0, values, 1.0)), values)
    low, span = logs.min(axis=0), np.ptp(logs, axis=0)
    return np.asarray((logs - low) / np.where(span > 0, span, 1.0))


def knee(values: Array) -> int:
    """Return the row nearest to the best of every column at once, by `scaled` distance; the first of equals."""
    return int(np.argmin(np.round((scaled(values) ** 2).sum(axis=1), 12)))


def thinned(values: Array, count: int, first: list[int]) -> list[int]:
    """Return `count` rows that stand for a front: `first`, then again and again the one farthest from all chosen."""
    chosen = list(dict.fromkeys(first))[:count]
    places = scaled(values)
    near = np.full(len(values), np.inf)
    for row in chosen:
        near = np.minimum(near, ((places - places[row]) ** 2).sum(axis=1))
    while len(chosen) < min(count, len(values)):
        far = int(np.argmax(np.round(near, 12)))
        if near[far] <= 0:
            break
        chosen.append(far)
        near = np.minimum(near, ((places - places[far]) ** 2).sum(axis=1))
    return chosen
