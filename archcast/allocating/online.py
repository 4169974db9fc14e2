"""Knapsacks whose items come one by one: each is decided at once and for good.

- `threshold`: knows nothing but the least and most worth per cost. Its price of a budget rises with the share used as
  (most e / least)^share least / e; with one budget and items small beside it, the hindsight best is worth at most
  ln(most / least) + 1 times as much (Zhou, Chakrabarty and Lukose, Budget constrained bidding in keyword auctions and
  online knapsack problems, 2008), and no policy can promise better.
- `forecast`: prices learned from another problem (last week's), and learned again from it for the budget that is left.
- `prefix`: watches the first items under the threshold policy, then prices from all that it has seen, at every
  doubling (Agrawal, Wang and Ye, A dynamic near-optimal algorithm for online linear programming, 2014).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from archcast.allocating.exact import solve_exact
from archcast.allocating.knapsack import NONE, Knapsack
from archcast.allocating.prices import best_prices
from foundation.errors import BadValueError
from workloads.table import Array


class Policy(Protocol):
    """Says the prices of the budgets for the next item; sees all items before it."""

    def prices(self, problem: Knapsack, seen: int, left: Array) -> Array:
        """Return prices, shape (budgets,), before item `seen` (from 0); `left` of the budgets is unspent.

        Only the first `seen` items of `problem` may be looked at.
        """
        ...


@dataclass(frozen=True)
class Threshold:
    """The policy of Zhou et al. `least` and `most`: worth per unit of budget, by budget."""

    least: Array
    most: Array

    def prices(self, problem: Knapsack, seen: int, left: Array) -> Array:
        share = 1 - left / np.where(problem.budget > 0, problem.budget, 1.0)
        return np.asarray((self.most * np.e / self.least) ** share * self.least / np.e / problem.budgets)

    @property
    def ratio(self) -> Array:
        """Return the competitive ratio of one budget: ln(most / least) + 1."""
        return np.asarray(np.log(self.most / self.least) + 1)


def threshold_of(problem: Knapsack) -> Threshold:
    """Return the threshold policy with the ends of worth per cost over a problem's options (of a forecast, or told).

    Raises:
        BadValueError: no option has both a worth and a cost.
    """
    ends = []
    for k in range(problem.budgets):
        used = problem.mask & (problem.cost[:, :, k] > 0) & (problem.value > 0)
        if not used.any():
            raise BadValueError(f"no option costs anything of {problem.names[k]}; it needs no policy.")
        rate = problem.value[used] / problem.cost[:, :, k][used]
        ends.append((rate.min(), rate.max()))
    least, most = np.array(ends).T
    return Threshold(least, most)


class Forecast:
    """Prices learned from a problem that stands for the items to come, `refresh` times along the way."""

    def __init__(self, past: Knapsack, coming: int, refresh: int = 20) -> None:
        self.past, self.coming, self.every = past, coming, max(1, coming // max(1, refresh))
        self.held = np.zeros(past.budgets)

    def prices(self, problem: Knapsack, seen: int, left: Array) -> Array:
        if seen % self.every == 0:
            self.held = _learned(self.past, left * self.past.items / max(self.coming - seen, 1))
        return self.held


class Prefix:
    """The threshold policy for a share of the items, then prices from all that was seen, anew at each doubling."""

    def __init__(self, first: Threshold, coming: int, share: float = 0.1) -> None:
        self.first, self.coming = first, coming
        self.start = max(1, int(share * coming))
        self.held = np.zeros(len(first.least))
        self.learned = 0

    def prices(self, problem: Knapsack, seen: int, left: Array) -> Array:
        if seen == 0:
            self.learned = 0
        if seen < self.start:
            return self.first.prices(problem, seen, left)
        if self.learned == 0 or seen >= 1.5 * self.learned:
            past = Knapsack(
                problem.value[:seen], problem.cost[:seen], problem.budget, problem.mask[:seen], problem.optional,
                problem.names,
            )  # fmt: skip
            self.held, self.learned = _learned(past, left * seen / max(self.coming - seen, 1)), seen
        return self.held


def _learned(past: Knapsack, budget: Array) -> Array:
    whole = replace(past, budget=np.maximum(budget, 0.0)).extended()
    return best_prices(whole, whole.mask).prices


def run_online(problem: Knapsack, policy: Policy) -> Array:
    """Return the choices of a policy for items in their order, shape (items,); none where nothing pays or fits.

    Raises:
        BadValueError: items that may not be left out: nothing could be promised then.
    """
    if not problem.optional:
        raise BadValueError("an online knapsack must be allowed to give an item nothing (optional=True).")
    choice = np.full(problem.items, NONE)
    left = problem.budget.copy()
    for i in range(problem.items):
        net = problem.value[i] - problem.cost[i] @ policy.prices(problem, i, left)
        fits = problem.mask[i] & (problem.cost[i] <= left).all(axis=1) & (net > 0)
        if fits.any():
            j = int(np.where(fits, net, -np.inf).argmax())
            trial = left - problem.cost[i, j]
            choice[i], left = j, np.maximum(trial, 0.0)
    while not problem.holds(choice):  # what floats rounded away in `left`: give the last one back
        choice[np.flatnonzero(choice != NONE)[-1]] = NONE
    return choice


@dataclass(frozen=True)
class Regret:
    """How a policy did over seeds: its worth, the hindsight best (and its bound), each of shape (seeds,)."""

    name: str
    worth: Array
    best: Array
    bound: Array

    @property
    def share(self) -> Array:
        """Return the share of the hindsight bound that was lost, shape (seeds,)."""
        return np.asarray(1 - self.worth / self.bound)

    @property
    def ratio(self) -> float:
        """Return the worst hindsight bound over worth."""
        return float((self.bound / np.maximum(self.worth, 1e-300)).max())


def regrets(
    make: Callable[[int], Knapsack], policies: dict[str, Callable[[Knapsack], Policy]], seeds: range
) -> list[Regret]:
    """Return the regret of each policy over problems drawn by seed.

    Args:
        make: seed -> problem, its items in the order they come. policies: name -> how to make one for a problem (it
            may look at its size and budgets, not at its items).
    """
    problems = [make(seed) for seed in seeds]
    best = [solve_exact(problem) for problem in problems]
    hindsight, bound = np.array([b.value for b in best]), np.array([b.bound for b in best])
    return [
        Regret(name, np.array([p.worth(run_online(p, maker(p))) for p in problems]), hindsight, bound)
        for name, maker in policies.items()
    ]
