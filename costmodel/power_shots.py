"""What a few rows of a new device say: the log error of the model on them, carried to like operators (kriging).

The error is a Gaussian process: one part for the device, one for each family, framework and family in a framework, and
one that falls with the distance of signals within a family (Rasmussen and Williams 2006, chapter 2). So a row says
much of its like, less of its family, and little of the rest. Far readings count less (Huber).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from costmodel.power_physics import SIGNALS
from workloads.table import Array

DEVICE, FAMILY, FRAMEWORK, BOTH, LIKE = 0.1, 0.2, 0.12, 0.12, 0.2
"""Standard deviations of the parts (estimated, half to twice: the error changes by less than 0.4 points)."""
REACH = 1.5
"""Distance over which likeness fades (estimated, 1 to 3)."""
NOISE = 0.15
"""Standard deviation of a reading that was repeated for another shape (estimated, 0.1 to 0.2)."""
WEIGHT: dict[str, float] = {
    "compute": 1.0, "vector": 0.7, "dram": 1.0, "time": 0.5, "over_cache": 0.7, "causal": 1.0, "window": 0.7, "k": 0.7,
    "skew": 0.5, "cast": 0.5, "weight_bits": 0.7, "m": 0.5, "n": 0.5,
}  # fmt: skip
"""How much each signal counts in the distance of two operators (estimated)."""
LEVEL = 3.0
"""How much the log of the expected power counts."""
_AT: Array = np.array([SIGNALS.index(name) for name in WEIGHT])
_WEIGHTS: Array = np.array(list(WEIGHT.values()))[:, None]
PLACES = len(WEIGHT) + 1
POOL = 4000
"""Rows among which shots are chosen; of more, a random part."""


@dataclass(frozen=True)
class Shots:
    """The rows of one device: their families, frameworks and places (rows, PLACES), and the weight of each."""

    family: Array
    framework: Array
    place: Array
    weight: Array

    def error(self, family: int, framework: str, place: Array) -> Array:
        """Return the expected log error of rows of one family and framework, shape (rows,)."""
        like, stack = self.family == family, self.framework == framework
        fixed = (DEVICE**2 + FAMILY**2 * like + FRAMEWORK**2 * stack + BOTH**2 * (like & stack)) @ self.weight
        if not like.any():
            return np.full(len(place), fixed)
        near = np.exp(_squares(place, self.place[like]) / (-2.0 * REACH**2))
        return np.asarray(fixed + LIKE**2 * (near @ self.weight[like]))

    def to_plain(self) -> dict[str, Any]:
        return {name: np.asarray(getattr(self, name)).tolist() for name in ("family", "framework", "place", "weight")}

    @staticmethod
    def from_plain(plain: Mapping[str, Any]) -> Shots:
        """Read what `to_plain` wrote. Raises ValueError, KeyError or TypeError where it is something else."""
        family, framework = np.array(plain["family"]), np.array([str(name) for name in plain["framework"]])
        place, weight = np.array(plain["place"], dtype=np.float64), np.array(plain["weight"], dtype=np.float64)
        rows = len(weight)
        if family.shape != (rows,) or framework.shape != (rows,) or place.shape != (rows, PLACES):
            raise ValueError("shots")
        if family.dtype.kind != "i" or not (np.isfinite(place).all() and (np.abs(weight) < 1e6).all()):
            raise ValueError("shots")
        return Shots(family, framework, place, weight)


def place_of(standard: Array, log_share: Array) -> Array:
    """Return where rows stand among operators, shape (rows, PLACES), from the network's standard inputs."""
    return np.concatenate([standard[_AT] * _WEIGHTS, LEVEL * log_share[None]]).T


def _squares(a: Array, b: Array) -> Array:
    """Return squared distances, shape (rows of a, rows of b)."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2.0 * (a @ b.T)
    return np.asarray(np.maximum(squares, 0.0))


def fit_shots(family: Array, framework: Array, place: Array, error: Array) -> Shots:
    """Return what rows with these log errors say of others."""
    like, stack = family[:, None] == family, framework[:, None] == framework
    near = np.exp(_squares(place, place) / (-2.0 * REACH**2))
    kernel = DEVICE**2 + FAMILY**2 * like + FRAMEWORK**2 * stack + BOTH**2 * (like & stack) + LIKE**2 * like * near
    noise = np.full(len(error), NOISE**2)
    weight = np.zeros(len(error))
    for _ in range(10):
        weight = np.linalg.solve(kernel + np.diag(noise), error)
        noise = NOISE**2 * np.maximum(1.0, np.abs(error - kernel @ weight) / (2.0 * NOISE))
    return Shots(family, framework, place, weight)


def representative(family: Array, framework: Array, place: Array, pool: Array, count: int, seed: int = 0) -> Array:
    """Return the indices of `count` rows of `pool` that stand for it: of each family and framework in proportion.

    Within one, rows nearest to the centres of clusters (k-means; Lloyd 1982).
    """
    if len(pool) > POOL:
        pool = np.sort(np.random.default_rng(seed).permutation(pool)[:POOL])
    names = np.char.add(family[pool].astype(str), framework[pool].astype(str))
    strata = [pool[names == name] for name in np.unique(names)]
    chosen = [int(rows[i]) for rows, share in zip(strata, _shares(strata, count), strict=True)
              for i in _centres(place[rows], share)]  # fmt: skip
    return np.array(sorted(set(chosen)), dtype=np.intp)


def _shares(strata: Sequence[Array], count: int) -> list[int]:
    """Return how many rows of each stratum are taken: at least one, else in proportion; `count` in all."""
    sizes = np.array([len(rows) for rows in strata], dtype=float)
    wanted = count * sizes / sizes.sum()
    given = np.minimum(np.maximum(np.floor(wanted), 1), sizes)
    while given.sum() < min(count, sizes.sum()):
        given[int(np.argmax(np.where(given < sizes, wanted - given, -np.inf)))] += 1
    while given.sum() > count:
        given[int(np.argmax(np.where(given > 1, given - wanted, given - 1e9)))] -= 1
    return [int(x) for x in given]


def _centres(place: Array, count: int) -> list[int]:
    """Return the rows nearest to the centres of `count` clusters."""
    if count <= 0:
        return []
    chosen = [int(np.argmin(((place - place.mean(axis=0)) ** 2).sum(axis=1)))]
    distance = ((place - place[chosen[0]]) ** 2).sum(axis=1)
    while len(chosen) < min(count, len(place)):
        chosen.append(int(np.argmax(distance)))
        distance = np.minimum(distance, ((place - place[chosen[-1]]) ** 2).sum(axis=1))
    centres = place[chosen]
    for _ in range(15):
        nearest = _squares(place, centres).argmin(axis=1)
        centres = np.array([
            place[nearest == i].mean(axis=0) if (nearest == i).any() else centre for i, centre in enumerate(centres)
        ])  # fmt: skip
    free = _squares(place, centres)
    found = []
    for i in range(len(centres)):  # a row stands for one cluster only
        found.append(int(np.argmin(free[:, i])))
        free[found[-1]] = np.inf
    return found
