"""What surrogates believe of designs: one Gaussian process an objective over knobs and a cheap guess, one of standing.

With a guess (closed form, proxy) a process learns what is left of the logarithm of a value over that of the guess, and
takes the logarithms of all guesses as columns too: a guess that is off by a factor costs nothing to correct.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from archcast.searching.candidates import thinned_front
from archcast.searching.sampler import Prior, keys_of
from archcast.searching.space import DesignSpace
from archcast.searching.surrogate import GaussianProcess
from workloads.table import Array

MOST = 600
"""Designs that a process is fitted to: the best, and others drawn at random."""
MOST_KNOWN = 200_000
"""Guesses that are kept."""
TRUST = 2.0
"""How many designs the belief is worth that values go with the guess, one to one in logarithms."""


class Features:
    """Columns of a surrogate: the unit cube, one for each name of a category, and the guesses' logarithms."""

    def __init__(self, space: DesignSpace, prior: Prior | None, objectives: int) -> None:
        self.space, self.prior, self.objectives = space, prior, objectives
        groups: list[int] = []
        for place, knob in enumerate(space.knobs):
            groups += [place] * (len(knob.values) if knob.category else 1)
        extra = range(len(space.knobs), len(space.knobs) + (objectives if prior is not None else 0))
        self.groups = np.array([*groups, *extra])
        self._known: dict[int, Array] = {}

    def points(self, codes: Array, guesses: Array | None) -> Array:
        """Return points (designs, columns); guesses are centred and of spread 1 by `standard` of the told designs."""
        units = self.space.encode(codes)
        columns = []
        for place, knob in enumerate(self.space.knobs):
            if knob.category:
                columns += [(codes[place] == code) * math.sqrt(0.5) for code in range(len(knob.values))]
            else:
                columns.append(units[:, place])
        found = np.stack(columns, axis=1)
        return found if guesses is None else np.concatenate((found, guesses), axis=1)

    def guesses(self, codes: Array) -> Array | None:
        """Return what the guess says, NaN where it says nothing; None without one. A design is asked for once."""
        if self.prior is None:
            return None
        keys = keys_of(codes)
        fresh = [place for place, key in enumerate(keys) if key not in self._known]
        if len(self._known) + len(fresh) > MOST_KNOWN:
            self._known.clear()
            fresh = list(range(len(keys)))
        if fresh:
            found = np.asarray(self.prior(self.space.columns(codes[:, fresh])), dtype=float)
            found = np.where(np.isfinite(found), found, np.nan)
            self._known.update(zip((keys[place] for place in fresh), found, strict=True))
        return np.array([self._known[key] for key in keys]).reshape(len(keys), self.objectives)


@dataclass
class Belief:
    """Surrogates of one moment. `logs`: whether an objective is modelled by its logarithm."""

    features: Features
    logs: Array
    processes: list[GaussianProcess]
    slopes: list[Array]
    middle: Array
    spread: Array
    standing: GaussianProcess | None
    unknown: float = 0.0
    """The largest share of an objective's variance that the surrogates miss, each design left out in turn."""

    def points(self, codes: Array, guesses: Array | None) -> tuple[Array, Array | None]:
        """Return the points of designs and their standardised guesses."""
        if guesses is None:
            return self.features.points(codes, None), None
        known = (_shaped(guesses, self.logs) - self.middle) / self.spread
        known = np.clip(np.where(np.isfinite(known), known, 0.0), -6.0, 6.0)
        return self.features.points(codes, known / 4.0), known

    def predict(self, codes: Array, guesses: Array | None) -> tuple[Array, Array]:
        """Return means and spreads of (the logarithm of) each objective, (designs, objectives)."""
        points, known = self.points(codes, guesses)
        means, variances = zip(*(process.predict(points) for process in self.processes), strict=True)
        mean = np.stack(means, axis=1)
        if known is not None:
            mean = mean + np.stack([known @ slope for slope in self.slopes], axis=1)
        return mean, np.sqrt(np.stack(variances, axis=1))

    def stands(self, codes: Array, guesses: Array | None) -> Array:
        """Return the chance that each design stands."""
        from scipy.special import ndtr

        if self.standing is None:
            return np.ones(codes.shape[1])
        mean, variance = self.standing.predict(self.points(codes, guesses)[0])
        return np.asarray(ndtr(mean / np.sqrt(variance + 0.05)))


def _shaped(values: Array, logs: Array) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.where(logs, np.log(np.where(values > 0, values, np.nan)), values)
    return np.asarray(found)


def believe(
    features: Features, codes: Array, values: Array, guesses: Array | None, feasible: Array, rng: np.random.Generator
) -> Belief:
    """Return surrogates fitted to told designs, of which at least two stand."""
    good = _chosen(values, feasible, rng)
    logs = np.asarray((values[good] > 0).all(axis=0))
    if guesses is not None:
        logs = logs & np.asarray((guesses[good] > 0) | np.isnan(guesses[good])).all(axis=0)
    shaped = _shaped(values[good], logs)
    known, middle, spread = None, np.zeros(values.shape[1]), np.ones(values.shape[1])
    if guesses is not None:
        table = _shaped(guesses[good], logs)
        some = np.asarray(np.isfinite(table).any(axis=0))
        table = np.where(np.isfinite(table), table, np.nan)
        middle = np.array([float(np.nanmean(table[:, k])) if some[k] else 0.0 for k in range(len(some))])
        spread = np.array([float(np.nanstd(table[:, k])) if some[k] else 1.0 for k in range(len(some))])
        spread = np.where(spread > 1e-12, spread, 1.0)
        known = np.where(np.isfinite(table), (table - middle) / spread, 0.0)
    belief = Belief(features, logs, [], [], middle, spread, None)
    points = belief.points(codes[:, good], None if guesses is None else guesses[good])[0]
    for k in range(values.shape[1]):
        target = shaped[:, k]
        if known is not None:
            slope = _slope(known, target, k, spread[k])
            belief.slopes.append(slope)
            target = target - known @ slope
        belief.processes.append(GaussianProcess(points, target, features.groups))
        whole = float(shaped[:, k].var())
        missed = belief.processes[-1].left_out_error() / whole if whole > 0 else 0.0
        belief.unknown = max(belief.unknown, min(missed, 1.0))
    if not feasible.all():
        some_of = np.sort(rng.permutation(len(feasible))[:MOST])
        every = belief.points(codes[:, some_of], None if guesses is None else guesses[some_of])[0]
        belief.standing = GaussianProcess(every, np.where(feasible[some_of], 1.0, -1.0), features.groups)
    return belief


def _slope(known: Array, target: Array, own: int, spread: float) -> Array:
    """Return how a value goes with the guesses: least squares, drawn to one to one with its own guess."""
    expected = np.zeros(known.shape[1])
    expected[own] = spread
    left = target - target.mean() - (known - known.mean(axis=0)) @ expected
    centred = known - known.mean(axis=0)
    found = np.linalg.solve(centred.T @ centred + TRUST * np.eye(known.shape[1]), centred.T @ left)
    return np.asarray(expected + found)


def _chosen(values: Array, feasible: Array, rng: np.random.Generator) -> Array:
    """Return places of designs that stand: all, or the best and some others."""
    places = np.flatnonzero(feasible)
    if len(places) <= MOST:
        return places
    best = thinned_front(values[places], MOST // 2)
    rest = np.setdiff1d(np.arange(len(places)), best)
    return np.sort(places[np.concatenate((best, rng.permutation(rest)[: MOST - len(best)]))])
