"""What to measure next: first spread over the leading directions of the features, then what teaches most a second.

A stratum is one kernel (software, operator, format). In each, what the closed form sees of the candidates (sizes of the
matrix view, work, bytes by kind, ratios to the device) is turned into its leading directions; the first points are
those farthest from each other there (Gonzalez 1985, k-center). After that the score of a candidate is its predicted
uncertainty over the seconds that it would take: the spread of log(measured / closed form) in its stratum (its physical
interval while nothing is known) times the distance to the nearest measured point.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from costmodel.physics import Priced, price
from costmodel.rates import Rates
from workloads.table import Array, OpTable

FIRST = 20
"""Points of each stratum that are spread before uncertainty decides: four a direction, of which there are about five;
half as many where the stratum counts for little."""
SHARE = 0.95
"""Share of the variance of the features that the leading directions hold."""
FEWEST_FOR_SPREAD = 5
LEAST_SPREAD = 0.05
"""No kernel is so regular that its log latency could be foretold better than this (estimated, 0.02 to 0.1)."""
SETUP_S, REPEATS = 0.1, 20.0
"""What one measurement is thought to take before any was made: set-up, and so many runs (estimated)."""


def seen(priced: Priced, rates: Rates, rows: int) -> Array:
    """Return what the closed form sees of operators, in logarithms, shape (rows, features)."""
    work, stages = priced.work, priced.stages
    columns = (
        work.m, work.n, work.k, work.gemms, work.matrix_flop, work.vector_flop, work.weight_bytes, work.input_bytes,
        work.output_bytes, stages.moved_bytes / max(rates.cache_bytes, 1.0), stages.shaped_s / stages.dram_s,
        priced.costs.latency_s / rates.launch_s[0],
    )  # fmt: skip
    full = np.stack([np.broadcast_to(np.asarray(column, dtype=np.float64), (rows,)) for column in columns], axis=1)
    return np.asarray(np.log(np.clip(np.nan_to_num(full), 1e-9, 1e18)))


def directions(features: Array) -> Array:
    """Return rows in the coordinates of their leading directions, shape (rows, directions), largest spread first."""
    centred = features - features.mean(axis=0)
    scale = centred.std(axis=0)
    scaled = centred[:, scale > 1e-9] / scale[scale > 1e-9]
    if not scaled.size:
        return np.zeros((len(features), 1))
    _, strength, axes = np.linalg.svd(scaled, full_matrices=False)
    shares = np.cumsum(strength**2) / np.sum(strength**2)
    return np.asarray(scaled @ axes[: int(np.searchsorted(shares, SHARE)) + 1].T)


def farthest_first(points: Array, count: int) -> list[int]:
    """Return `count` rows: the one nearest to the middle, then always the one farthest from all chosen."""
    chosen = [int(np.argmin(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
    away = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(np.argmax(away)))
        away = np.minimum(away, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return chosen


class Chooser:
    """Chooses rows of a pool.

    Args:
        table: the pool, one row a candidate.
        strata: the stratum of each row, shape (rows,); strata of a lower number come first.
        weights: importance of each stratum.
        rates: the device.
    """

    def __init__(self, table: OpTable, strata: Array, weights: Sequence[float], rates: Rates) -> None:
        priced = price(table, rates)
        costs = priced.costs
        with np.errstate(divide="ignore", invalid="ignore"):
            half = np.log(costs.latency_hi_s / costs.latency_lo_s) / 2
        self.expected_s = np.nan_to_num(costs.latency_s, nan=1.0, posinf=1.0)
        self.physics_s = self.expected_s.copy()
        self._half = np.nan_to_num(half, nan=1.0, posinf=3.0)
        features = seen(priced, rates, table.rows)
        self._strata, self._weights = strata, np.asarray(weights, dtype=float)
        self._points: list[Array] = []
        self._members: list[Array] = []
        self._away = np.ones(table.rows)
        self._open = np.ones(table.rows, dtype=bool)
        self._first: list[tuple[float, int]] = []
        self._residuals: list[list[float]] = [[] for _ in weights]
        self._noise: list[list[float]] = [[] for _ in weights]
        self._overheads: list[list[float]] = [[] for _ in weights]
        self._place = np.zeros(table.rows, dtype=np.intp)
        for stratum in range(len(weights)):
            self._prepare(stratum, np.flatnonzero(strata == stratum), features)
        self._first.sort()

    def _prepare(self, stratum: int, members: Array, features: Array) -> None:
        points = directions(features[members]) if len(members) else np.zeros((0, 1))
        self._points.append(points)
        self._members.append(members)
        self._place[members] = np.arange(len(members))
        if len(members):
            weight = float(self._weights[stratum])
            order = farthest_first(points, FIRST if weight >= 1 else FIRST // 2)
            self._first += [(rank / max(weight, 0.5), int(members[i])) for rank, i in enumerate(order)]
            self._away[members] = max(float(np.linalg.norm(points, axis=1).max()), 1e-9)

    def record(self, index: int, latency_s: float, spent_s: float | None = None, noise: float = 0.0) -> None:
        """Note that a row was measured, how long that took in all (None: earlier), and its relative spread."""
        stratum = int(self._strata[index])
        self.skip(index)
        members, points = self._members[stratum], self._points[stratum]
        away = np.linalg.norm(points - points[self._place[index]], axis=1)
        self._away[members] = np.minimum(self._away[members], away)
        self._residuals[stratum].append(float(np.log(latency_s / self.physics_s[index])))
        self._noise[stratum].append(min(noise, 1.0))
        factor = float(np.exp(np.median(self._residuals[stratum])))
        self.expected_s[members] = self.physics_s[members] * factor
        if spent_s is not None:
            self._overheads[stratum].append(max(spent_s - REPEATS * latency_s, 0.0))

    def skip(self, index: int) -> None:
        """Never choose this row (again)."""
        self._open[index] = False

    def any_left(self) -> bool:
        """Say whether rows are left that were not chosen."""
        return bool(self._open.any())

    def seconds(self) -> Array:
        """Return how long each row would take to measure, set-up included."""
        known = [float(np.median(o)) if o else SETUP_S for o in self._overheads]
        return np.asarray(np.array(known)[self._strata] + REPEATS * self.expected_s)

    def uncertainty(self) -> Array:
        """Return the predicted spread of each row's log latency."""
        spread = np.array([self._spread(stratum) for stratum in range(len(self._weights))])[self._strata]
        reach = np.array([max(float(np.linalg.norm(p, axis=1).max()), 1e-9) if len(p) else 1.0 for p in self._points])
        return np.asarray(np.where(np.isnan(spread), self._half, spread) * self._away / reach[self._strata])

    def _spread(self, stratum: int) -> float:
        """Return the spread of a stratum's log residuals without the noise of the clock; NaN while few are known."""
        residuals = self._residuals[stratum]
        if len(residuals) < FEWEST_FOR_SPREAD:
            return float("nan")
        noise = float(np.median(np.square(self._noise[stratum])))
        variance = float(np.var(residuals)) - noise
        return float(max(variance, LEAST_SPREAD**2) ** 0.5)

    def next(self, left_s: float) -> int | None:
        """Return the row to measure next that fits into the seconds that are left, or None."""
        fits = self._open & (self.seconds() <= left_s)
        while self._first:
            _, index = self._first[0]
            if fits[index]:
                return index
            del self._first[0]  # measured already, or too long
        if not fits.any():
            return None
        score = np.where(fits, self.uncertainty() * self._weights[self._strata] / self.seconds(), -1.0)
        return int(np.argmax(score))
