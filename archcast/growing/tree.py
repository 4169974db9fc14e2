"""Courses of demand as a tree: which scenarios cannot be told apart when a decision is taken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archcast.growing.study import GrowthStudy, Lognormal
from workloads.table import Array


@dataclass(frozen=True)
class Tree:
    """Scenarios and periods. `factor` multiplies the first period's rate; `known` numbers, for each period, the groups
    of scenarios that are one and the same to whoever decides then, `seen` those with the same demand so far."""

    names: tuple[str, ...]
    probability: Array
    factor: Array
    known: Array
    seen: Array

    @property
    def scenarios(self) -> int:
        return len(self.names)

    @property
    def periods(self) -> int:
        return int(self.factor.shape[1])

    @property
    def two_stage(self) -> bool:
        """Return whether everything is known after the first decision."""
        return bool((self.known[1:].max(axis=1) == self.scenarios - 1).all()) if self.periods > 1 else True

    def only(self, chosen: list[int]) -> Tree:
        """Return the tree of some scenarios, with probabilities that sum to 1."""
        share = self.probability[chosen]
        total = float(share.sum())
        weight = share / total if total > 0 else np.full(len(chosen), 1 / len(chosen))
        known, seen = (np.array([_numbered(row[chosen]) for row in ids]) for ids in (self.known, self.seen))
        return Tree(tuple(self.names[i] for i in chosen), weight, self.factor[chosen], known, seen)

    def mean(self) -> Tree:
        """Return the tree of one scenario, the mean of all."""
        zeros = np.zeros((self.periods, 1), dtype=int)
        return Tree(("mean",), np.ones(1), (self.probability @ self.factor)[None, :], zeros, zeros)

    def faster(self, power: float) -> Tree:
        """Return the tree with the logarithm of every factor times `power`."""
        return tree_of(self.names, self.probability, self.factor**power, known=self.known)

    def times(self, factor: float) -> Tree:
        """Return the tree with all demand times a factor."""
        return tree_of(self.names, self.probability, self.factor * factor, known=self.known)


def tree_of(
    names: tuple[str, ...], probability: Array, factor: Array, seen_after: int = 0, known: Array | None = None
) -> Tree:
    """Return the tree of scenarios with these factors, shape (scenarios, periods).

    A decision of period t knows the demand of all periods up to t - seen_after (and of the first).
    """
    plain = np.array([[float(f"{x:.9g}") for x in row] for row in factor])
    periods = range(factor.shape[1])
    seen = np.array([_groups(plain[:, : t + 1]) for t in periods])
    if known is None:
        known = np.array([_groups(plain[:, : max(t - seen_after, 0) + 1]) for t in periods])
    # a group that decides as one may see several demands, but none is in two groups
    both = np.array([_groups(np.stack([known[t], seen[t]], axis=1)) for t in periods])
    return Tree(names, np.asarray(probability, dtype=float), factor, known, both)


def demand_tree(study: GrowthStudy) -> Tree:
    """Return the tree of a study."""
    if study.lognormal is not None:
        factor, share = _lognormal(study, study.lognormal)
        names = tuple(f"path {i + 1}" for i in range(len(share)))
        return tree_of(names, share, factor, study.seen_after)
    years = np.arange(study.periods) * study.months / 12
    rows = [
        np.array(one.path) if one.per_year is None else (1 + one.per_year) ** years for one in study.scenarios
    ]  # fmt: skip
    share = np.array([one.probability for one in study.scenarios])
    return tree_of(tuple(one.name for one in study.scenarios), share, np.array(rows), study.seen_after)


def _lognormal(study: GrowthStudy, band: Lognormal) -> tuple[Array, Array]:
    """Return (factors, probabilities): drawn paths, split at each branching into equal groups by what they have grown
    to; a group's factor is the mean of its paths, so that the mean of all is that of the draws."""
    rng = np.random.default_rng(band.seed)
    step = study.months / 12
    drift, spread = np.log1p(band.per_year) * step, band.spread * np.sqrt(step)
    logs = np.cumsum(rng.normal(drift, spread, (band.draws, study.periods - 1)), axis=1)
    paths = np.exp(np.hstack([np.zeros((band.draws, 1)), logs]))
    groups = [np.arange(band.draws)]
    factor = np.ones((band.draws, study.periods))
    for t in range(1, study.periods):
        if t <= len(band.branches):
            groups = [
                part for group in groups
                for part in np.array_split(group[np.argsort(paths[group, t], kind="stable")], band.branches[t - 1])
            ]  # fmt: skip
        for group in groups:
            factor[group, t] = paths[group, t].mean()
    firsts = [group[0] for group in groups]
    return factor[firsts], np.array([len(group) for group in groups]) / band.draws


def _groups(rows: Array) -> Array:
    """Number rows so that equal ones have equal numbers, in the order in which they first stand."""
    _, inverse = np.unique(rows, axis=0, return_inverse=True)
    return _numbered(np.asarray(inverse).ravel())


def _numbered(ids: Array) -> Array:
    found: dict[int, int] = {}
    return np.array([found.setdefault(int(x), len(found)) for x in ids], dtype=int)
