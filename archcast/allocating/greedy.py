"""The greedy answer with a certified gap, numpy alone: steps along each item's hull, best worth per cost first."""

from __future__ import annotations

import numpy as np

from archcast.allocating.improvement import improved, repaired
from archcast.allocating.knapsack import NONE, Knapsack, Solution, relative_gap
from archcast.allocating.prices import Priced, best_prices
from archcast.allocating.reduction import affordable, hull, undominated
from workloads.table import Array

CLOSED = 1e-9
"""A relative gap below this is rounding: the answer is called optimal."""


def solve_greedy(problem: Knapsack) -> Solution:
    """Return a good choice and how much more there may be at most. Needs no solver.

    With one budget: from every item's lightest option, the steps of the convex hulls in order of worth per cost. With
    several: the same with one cost, the budgets weighed by their prices (a surrogate), and from the best choice at
    these prices, repaired; the better of both, improved by moves and pairs of moves. The bound is that of the prices.
    """
    whole = problem.extended()
    keep = undominated(whole)
    keep = affordable(whole, keep)
    if not keep.any(axis=1).all():
        return infeasible(problem, "greedy")
    priced = best_prices(whole, keep)
    choice = start(whole, keep, priced)
    if choice is None:
        return infeasible(problem, "greedy", proved=False)
    choice = improved(whole, keep, choice, priced.prices)
    return solution(problem, whole, choice, priced, "greedy", int(keep.sum()))


def start(problem: Knapsack, keep: Array, priced: Priced) -> Array | None:
    """Return the best of three first choices, None where none holds the budgets."""
    found = []
    weight = problem.cost[:, :, 0] if problem.budgets == 1 else problem.cost @ _weights(problem, priced.prices)
    for choice in (
        _along_hulls(problem, keep, weight), repaired(problem, keep, priced.choice, priced.prices),
        _dearer(problem, keep, priced.prices),
    ):  # fmt: skip
        if choice is not None and problem.holds(choice):
            found.append(choice)
    return max(found, key=problem.worth, default=None)


def _dearer(problem: Knapsack, keep: Array, prices: Array) -> Array | None:
    """Return the best choice at prices just so much above the best ones that it holds the budgets."""
    for above in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3):
        net = np.where(keep, problem.value - problem.cost @ (prices * (1 + above)), -np.inf)
        choice = net.argmax(axis=1)
        if problem.holds(choice):
            return np.asarray(choice)
    return None


def _weights(problem: Knapsack, prices: Array) -> Array:
    """Return the share of each budget in the one surrogate cost: its price, and a little of every budget's share."""
    plain = 1.0 / np.where(problem.budget > 0, problem.budget, 1.0)
    whole = float(prices @ problem.budget)
    return np.asarray(prices / whole + 1e-6 * plain if whole > 0 else plain)


def _along_hulls(problem: Knapsack, keep: Array, weight: Array) -> Array | None:
    """Return the choice after all steps of the hulls that fit, best worth per weight first; None if none fits."""
    steps, choice = [], np.zeros(problem.items, dtype=int)
    for i in range(problem.items):
        options = np.flatnonzero(keep[i])
        corners = options[hull(weight[i, options], problem.value[i, options])]
        choice[i] = corners[0]
        rises = np.diff(problem.value[i, corners]) / np.maximum(np.diff(weight[i, corners]), 1e-300)
        steps += [(-rise, i, place, to) for place, (rise, to) in enumerate(zip(rises, corners[1:], strict=True))]
    used = problem.cost[np.arange(problem.items), choice].sum(axis=0)
    if (used > problem.budget).any():
        return repaired(problem, keep, choice, np.zeros(problem.budgets))
    for _, i, _, to in sorted(steps):
        then = used + problem.cost[i, to] - problem.cost[i, choice[i]]
        if (then <= problem.budget).all():
            choice[i], used = to, then
    return choice


def solution(problem: Knapsack, whole: Knapsack, choice: Array, priced: Priced, method: str, left: int) -> Solution:
    """Return the answer for a choice of the extended problem, with the bound of the prices."""
    own = np.where(choice >= problem.value.shape[1], NONE, choice)
    value = problem.worth(own)
    bound = max(priced.bound, value)
    status = "optimal" if relative_gap(value, bound) <= CLOSED else "within gap"
    return Solution(
        own, value, problem.used(own), bound, "prices", priced.bound, priced.prices, status, method, left
    )  # fmt: skip


def infeasible(problem: Knapsack, method: str, *, proved: bool = True) -> Solution:
    """Return the answer where no choice holds the budgets (`proved`), or none was found."""
    nothing = np.zeros(0, dtype=int)
    empty = np.full(problem.budgets, np.nan)
    notes = () if proved else ("No choice was found that holds the budgets; one may exist.",)
    return Solution(
        nothing, -np.inf, empty, -np.inf, "prices", -np.inf, np.zeros(problem.budgets), "infeasible", method, 0, notes
    )
