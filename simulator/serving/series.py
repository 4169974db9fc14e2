"""Levels over time: how many waited, ran or were held, as means over equal spans."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workloads.table import Array

SPANS = 120


@dataclass(frozen=True)
class Level:
    """A number that changes by steps. `at_s` and `value` have shape (spans,): begin of each span and mean in it."""

    mean: float
    most: float
    at_s: Array
    value: Array

    def to_json(self) -> dict[str, object]:
        return {"mean": self.mean, "max": self.most, "time_s": self.at_s.tolist(), "values": self.value.tolist()}


def level_of(times_s: Array, changes: Array, start_s: float, end_s: float, spans: int = SPANS) -> Level:
    """Return the level that changes by `changes` at `times_s` (any order), from 0; mean and most are of [start, end].

    Changes at the same time count as one.
    """
    order = np.argsort(times_s, kind="stable")
    times, first = np.unique(times_s[order], return_index=True)
    if not len(times) or end_s <= start_s:
        empty = np.zeros(0)
        return Level(0.0, 0.0, empty, empty)
    level = np.cumsum(np.add.reduceat(changes[order].astype(float), first))
    edges = np.linspace(start_s, end_s, spans + 1)
    area = _area(times, level, edges)
    means = np.diff(area) / np.diff(edges)
    inside = (times >= start_s) & (times <= end_s)
    before = level[np.searchsorted(times, start_s, side="right") - 1] if times[0] <= start_s else 0.0
    most = float(max(level[inside].max(initial=0.0), before))
    return Level(float((area[-1] - area[0]) / (end_s - start_s)), most, edges[:-1], means)


def _area(times: Array, level: Array, at: Array) -> Array:
    """Return the integral of the level from the first change to each time."""
    whole = np.concatenate([[0.0], np.cumsum(level[:-1] * np.diff(times))])
    place = np.searchsorted(times, at, side="right") - 1
    found = np.where(place < 0, 0.0, whole[place] + level[place] * (at - times[place]))
    return np.asarray(found)


def windows(at_s: Array, values: Array, edges: Array, percentile: float) -> Array:
    """Return a percentile of the values in each window of time, NaN where there is none, shape (edges - 1,)."""
    place = np.searchsorted(edges, at_s, side="right") - 1
    found = np.full(len(edges) - 1, np.nan)
    for window in range(len(found)):
        mine = values[(place == window) & np.isfinite(values)]
        if len(mine):
            found[window] = float(np.percentile(mine, percentile, method="inverted_cdf"))
    return found


def thinned(values: Array, points: int = 200) -> tuple[Array, Array]:
    """Return (value, share of the values at most it): the distribution by about so many points, ends included."""
    kept = np.sort(values[np.isfinite(values)])
    if not len(kept):
        return np.zeros(0), np.zeros(0)
    place = np.unique(np.round(np.linspace(0, len(kept) - 1, min(points, len(kept)))).astype(int))
    return kept[place], (place + 1) / len(kept)
