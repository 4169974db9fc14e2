"""How good a search or a proxy is: IGD+, best so far, ranks that agree, and how many of the best a proxy finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archcast.searching.front import Archive, hypervolume, nondominated
from foundation.errors import BadValueError
from workloads.table import Array

POINTS = 60
"""At most, of a curve of volumes."""


def igd_plus(front: Array, reference: Array) -> float:
    """Return IGD+ (Ishibuchi et al. 2015): the mean over a reference front of how far the nearest design is worse.

    Only what a design is worse by counts. Scale the objectives first where their units differ. 0 is best.

    Raises:
        BadValueError: a front without a design.
    """
    if not len(front) or not len(reference):
        raise BadValueError("IGD+ is of two fronts with at least one design each.")
    total = 0.0
    for start in range(0, len(reference), 256):
        worse = np.maximum(front[None, :, :] - reference[start : start + 256, None, :], 0.0)
        total += float(np.sqrt((worse**2).sum(axis=2)).min(axis=1).sum())
    return total / len(reference)


def union_front(*fronts: Array) -> Array:
    """Return the front of several fronts together."""
    both = np.concatenate(fronts)
    return np.asarray(both[nondominated(both, np.arange(len(both)))])


def spearman(first: Array, second: Array) -> float:
    """Return Spearman's rank correlation; ties have the mean of their ranks. NaN where a column has one value."""
    from scipy.stats import rankdata

    one, other = (rankdata(column) - (len(column) + 1) / 2 for column in (first, second))
    scale = float(np.sqrt((one**2).sum() * (other**2).sum()))
    return float((one * other).sum()) / scale if scale > 0 else float("nan")


def kendall(first: Array, second: Array) -> float:
    """Return Kendall's tau-b. NaN where a column has one value."""
    from scipy.stats import kendalltau

    return float(kendalltau(first, second).statistic)


def front_recall(proxy: Array, true: Array, count: int) -> float:
    """Return the share of the true front that is among the `count` designs a proxy puts first.

    Args:
        proxy, true: values of the same designs, (designs, objectives).
        count: designs that would be simulated, by the proxy's ranks of domination, the loneliest of a rank first.
    """
    from archcast.searching.candidates import thinned_front

    best = nondominated(true, np.arange(len(true)))
    chosen = thinned_front(proxy, count)
    return float(np.isin(best, chosen).mean())


@dataclass(frozen=True)
class Convergence:
    """Best so far, at some numbers of evaluations: `best` of each objective (points, objectives), volume as a share.

    The volume is that of the box from the best values of the whole run to `reference`; None beyond three objectives.
    """

    evaluations: Array
    wall_s: Array
    best: Array
    volume: Array | None


def convergence(values: Array, feasible: Array, wall_s: Array, reference: Array, points: int = POINTS) -> Convergence:
    """Return the course of a run: values in the order of evaluation (NaN where infeasible), seconds at each."""
    count = len(values)
    at = np.unique(np.rint(np.geomspace(1, count, min(points, count))).astype(int))
    best = np.minimum.accumulate(np.where(feasible[:, None], values, np.inf), axis=0)[at - 1]
    if values.shape[1] not in (2, 3) or not feasible.any():
        return Convergence(at, wall_s[at - 1], best, None)
    low = values[feasible].min(axis=0)
    box = float(np.prod(reference - low))
    archive, volumes, start = Archive(values.shape[1]), [], 0
    for stop in at:
        rows = start + np.flatnonzero(feasible[start:stop])
        archive.add(rows, values[rows])
        volumes.append((hypervolume(archive.values, reference) or 0.0) / box if box > 0 else 1.0)
        start = int(stop)
    return Convergence(at, wall_s[at - 1], best, np.array(volumes))
