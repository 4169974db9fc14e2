"""Ranks of designs by domination, with those that break limits last, and how lonely each stands in its rank."""

from __future__ import annotations

import numpy as np

from workloads.table import Array


def ranks(values: Array, violation: Array, enough: int = 0) -> Array:
    """Return 0 for designs that nothing dominates, 1 for those that only these dominate, and so on.

    A design that stands dominates all that do not, and of these the one that is less off (constraint domination, Deb
    2002). Designs beyond the first ranks that hold `enough` share one last rank (0: all are ranked).
    """
    count = len(values)
    found = np.zeros(count, dtype=np.int64)
    good = np.flatnonzero(violation <= 0)
    bad = np.flatnonzero(violation > 0)
    level = _peeled(values[good], found, good, enough) if len(good) else 0
    if len(bad):
        found[bad] = level + np.unique(violation[bad], return_inverse=True)[1]
    return found


def _peeled(values: Array, found: Array, places: Array, enough: int) -> int:
    """Set the ranks of designs that stand; return the number of ranks."""
    columns = values.T
    least = columns[0][:, None] <= columns[0]
    for column in columns[1:]:
        least &= column[:, None] <= column
    beats = least & ~least.T  # least.T too only where all columns are equal
    above = beats.sum(axis=0)
    level, done = 0, 0
    wanted = enough or len(values)
    while True:
        front = above == 0
        size = int(front.sum())
        found[places[front]] = level
        level, done = level + 1, done + size
        if done >= len(values):
            return level
        if done >= wanted:
            found[places[above > 0]] = level
            return level + 1
        above -= beats[front].sum(axis=0)
        above[front] = -1


def crowding(values: Array, rank: Array) -> Array:
    """Return for each design the sum over objectives of the gap between its neighbours of the same rank.

    Gaps are shares of the spread of the rank; designs at an end are infinitely lonely (Deb 2002).
    """
    count = len(values)
    found = np.zeros(count)
    for column in values.T:
        order = np.lexsort((column, rank))
        sorted_rank, sorted_values = rank[order], column[order]
        first = np.append(True, sorted_rank[1:] != sorted_rank[:-1])
        last = np.append(first[1:], True)
        starts = np.flatnonzero(first)
        group = np.cumsum(first) - 1
        spread = (sorted_values[np.flatnonzero(last)] - sorted_values[starts])[group]
        gap = np.empty(count)
        gap[1:-1] = sorted_values[2:] - sorted_values[:-2]
        ends = first | last
        with np.errstate(invalid="ignore", divide="ignore"):
            gap = np.where(spread > 0, gap / spread, 0.0)
        gap[ends] = np.inf
        found[order] += gap
    return found
