"""Jointly sampled costs: what a choice would have used in each of many equally likely cases.

Errors of one device go the same way, so that costs of one scenario belong together; the ends of single intervals say
nothing about sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from archcast.allocating.knapsack import NONE
from foundation.errors import BadValueError
from workloads.table import Array

MOST_CELLS = 60_000_000
BLOCK_CELLS = 8_000_000


class Scenarios(Protocol):
    """Cases of the costs of a knapsack, shape (cases, items, options, budgets), perhaps never written out."""

    @property
    def count(self) -> int: ...

    def totals(self, choice: Array) -> Array:
        """Return what a choice uses in each case, shape (cases, budgets)."""
        ...

    def mean(self) -> Array:
        """Return the mean costs, shape (items, options, budgets)."""
        ...

    def quantile(self, probability: float) -> Array:
        """Return the cost of each option that is not exceeded in a share of the cases, like `mean`."""
        ...

    def averaged(self, cases: Array) -> Array:
        """Return the mean costs over some cases (their places), like `mean`."""
        ...

    def part(self, cases: Array) -> Scenarios:
        """Return some of the cases (their places)."""
        ...


@dataclass(frozen=True)
class Cases:
    """Scenarios as one array, shape (cases, items, options, budgets)."""

    costs: Array

    @property
    def count(self) -> int:
        return len(self.costs)

    def totals(self, choice: Array) -> Array:
        taken = np.flatnonzero(choice != NONE)
        return np.asarray(self.costs[:, taken, choice[taken], :].sum(axis=1))

    def mean(self) -> Array:
        return np.asarray(self.costs.mean(axis=0))

    def quantile(self, probability: float) -> Array:
        return np.asarray(np.quantile(self.costs, probability, axis=0, method="higher"))

    def averaged(self, cases: Array) -> Array:
        return np.asarray(self.costs[cases].mean(axis=0))

    def part(self, cases: Array) -> Cases:
        return Cases(self.costs[cases])


@dataclass(frozen=True)
class SharedErrors:
    """Costs with log errors that options of one group (a device) share.

    cost_sijk = cost_ijk exp(down_ijk z) for z < 0, exp(up_ijk z) for z >= 0, z = normal[s, group_ij].

    Attributes:
        cost: (items, options, budgets). down, up: deviation of the log on either side, same shape.
        group: (items, options), the column of `normal`. normal: (cases, groups).
    """

    cost: Array
    down: Array
    up: Array
    group: Array
    normal: Array

    @property
    def count(self) -> int:
        return len(self.normal)

    def totals(self, choice: Array) -> Array:
        taken = np.flatnonzero(choice != NONE)
        own = choice[taken]
        rows = self.cost[taken, own], self.down[taken, own], self.up[taken, own], self.group[taken, own]
        return np.asarray(self._factors(self.normal, *rows).sum(axis=1))

    def mean(self) -> Array:
        return self.averaged(np.arange(self.count))

    def quantile(self, probability: float) -> Array:
        z = np.quantile(self.normal, probability, axis=0, method="higher")[self.group][:, :, None]
        return np.asarray(self.cost * np.exp(np.where(z < 0, self.down, self.up) * z))

    def averaged(self, cases: Array) -> Array:
        flat = self.cost.reshape(-1, self.cost.shape[2])
        down, up = self.down.reshape(flat.shape), self.up.reshape(flat.shape)
        group, out = self.group.ravel(), np.empty_like(flat)
        step = max(1, BLOCK_CELLS // max(1, len(cases) * flat.shape[1]))
        for start in range(0, len(flat), step):
            rows = slice(start, start + step)
            out[rows] = self._factors(self.normal[cases], flat[rows], down[rows], up[rows], group[rows]).mean(axis=0)
        return np.asarray(out.reshape(self.cost.shape))

    def part(self, cases: Array) -> SharedErrors:
        return SharedErrors(self.cost, self.down, self.up, self.group, self.normal[cases])

    @staticmethod
    def _factors(normal: Array, cost: Array, down: Array, up: Array, group: Array) -> Array:
        """Return costs by case, shape (cases, options, budgets), of options given as rows."""
        z = normal[:, group][:, :, None]
        return np.asarray(cost * np.exp(np.where(z < 0, down, up) * z))


def as_scenarios(given: object, shape: tuple[int, ...]) -> Scenarios:
    """Return scenarios from an array of shape (cases, items, options, budgets).

    Raises:
        BadValueError: another shape, fewer than 20 cases, negative or not finite costs, too many numbers.
    """
    if isinstance(given, (Cases, SharedErrors)):
        return given
    costs = np.asarray(given, dtype=float)
    if costs.ndim == 3:
        costs = costs[..., None]
    if costs.ndim != 4 or costs.shape[1:] != shape:
        raise BadValueError(f"scenarios have the shape (cases, {', '.join(map(str, shape))}), not {costs.shape}.")
    if len(costs) < 20:
        raise BadValueError(f"{len(costs)} scenarios are too few; at least 20 are needed.")
    if costs.size > MOST_CELLS:
        raise BadValueError(f"{costs.size:,} costs in scenarios are more than {MOST_CELLS:,}; give shared errors.")
    if not np.isfinite(costs).all() or (costs < 0).any():
        raise BadValueError("a cost in the scenarios is negative or not finite.")
    return Cases(costs)


def within(samples: Array, limit: float, probability: float) -> Array:
    """Return which options keep a limit of their own with a probability: share of samples at most `limit`.

    Args:
        samples: (cases, items, options). Returns (items, options): a mask for `knapsack`.
    """
    return np.asarray((np.asarray(samples) <= limit).mean(axis=0) >= probability - 1e-12)
