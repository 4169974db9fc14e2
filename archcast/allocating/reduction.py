"""Options that no best choice needs: dominated ones, ones that break a budget alone, and ones that prices rule out."""

from __future__ import annotations

import numpy as np

from archcast.allocating.knapsack import ROUNDING, Knapsack
from workloads.table import Array

BLOCK_CELLS = 4_000_000
"""Comparisons of pairs of options at once: 4 MB of booleans."""


def undominated(problem: Knapsack) -> Array:
    """Return which options remain, shape (items, options): no other of the item is worth as much and costs as little.

    Of options that are equal in everything the first remains. Valid for exact answers with any number of budgets.
    """
    keep = problem.mask.copy()
    items, options = keep.shape
    step = max(1, BLOCK_CELLS // (options * options))
    later = np.arange(options)[:, None] > np.arange(options)[None, :]  # [j, other]: the other comes first
    for start in range(0, items, step):
        block = slice(start, min(start + step, items))
        value, cost = problem.value[block], problem.cost[block]
        no_worse = value[:, None, :] >= value[:, :, None]
        better = value[:, None, :] > value[:, :, None]
        for k in range(problem.budgets):
            column = cost[:, :, k]
            no_worse &= column[:, None, :] <= column[:, :, None]
            better |= column[:, None, :] < column[:, :, None]
        no_worse &= problem.mask[block][:, None, :]
        keep[block] &= ~(no_worse & (better | later)).any(axis=2)
    return keep


def affordable(problem: Knapsack, keep: Array) -> Array:
    """Return which options fit when every other item takes its least of each budget, shape (items, options)."""
    cost = np.where(keep[:, :, None], problem.cost, np.inf)
    least = cost.min(axis=1)  # (items, budgets)
    if not np.isfinite(least).all():
        return keep
    total = least.sum(axis=0)
    spare = problem.budget - total + (problem.budget + total) * ROUNDING * len(least)
    return np.asarray(keep & (problem.cost - least[:, None, :] <= spare).all(axis=2))


def worth_keeping(problem: Knapsack, keep: Array, prices: Array, least_value: float) -> Array:
    """Return which options a choice worth more than `least_value` may hold, by the bound at `prices`.

    An option loses `max_j(value - prices cost) - (value - prices cost)` of the bound; where that leaves less than the
    value already found, no better choice has it (reduced-cost fixing).
    """
    net = np.where(keep, problem.value - problem.cost @ prices, -np.inf)
    best = net.max(axis=1)
    bound = float(prices @ problem.budget + best.sum())
    slack = (abs(bound) + float(np.abs(best).sum()) + float(prices @ problem.budget)) * ROUNDING * 4
    return np.asarray(keep & (best[:, None] - net <= bound - least_value + slack))


def hull(weight: Array, value: Array) -> Array:
    """Return the places of the upper convex hull of points (weight, value), by rising weight, from the lightest.

    The lightest (the most valuable of these) comes first; each further point is heavier and worth more, with falling
    worth per weight. These are the options that the relaxed problem uses (Sinha and Zoltners 1979).
    """
    order = np.lexsort((-value, weight))
    found: list[int] = []
    for place in order.tolist():
        if found and value[place] <= value[found[-1]]:
            continue
        while len(found) >= 2:
            a, b = found[-2], found[-1]
            first = (value[b] - value[a]) * (weight[place] - weight[b])
            if first > (value[place] - value[b]) * (weight[b] - weight[a]):
                break
            found.pop()
        if found and weight[found[-1]] == weight[place]:
            found.pop()
        found.append(place)
    return np.array(found)
