"""Prices of budgets: any prices bound the worth of every choice; the best prices bound it tightest.

    bound(prices) = prices . budget + sum_i max_j (value_ij - prices . cost_ij)     for any prices >= 0

This is Lagrange's relaxation of the budgets (equal, at its least, to the bound of the linear relaxation). The least is
found by the ellipsoid method (Shor 1977; Bland, Goldfarb and Todd 1981) with numpy alone: budgets are few, and the
result needs no trust, for whatever the prices, the bound that is computed from them holds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from archcast.allocating.knapsack import ROUNDING, Knapsack
from workloads.table import Array

PRECISION = 1e-9
"""Of the bound, relative, at which the ellipsoid is small enough."""
STEPS_PER_BUDGET = 260
"""Most evaluations are this times the number of budgets (at least one) times one more than it."""


@dataclass(frozen=True)
class Priced:
    """Prices of the budgets (worth per unit of each), the bound they prove, and the best choice at them."""

    prices: Array
    bound: float
    choice: Array


def certified_bound(problem: Knapsack, keep: Array, prices: Array) -> float:
    """Return an upper bound on the worth of every choice from `keep`, with all roundings on the safe side.

    Needs prices of at least 0; nothing else is assumed of them, so that it does not matter where they are from.
    """
    net, size = problem.value - problem.cost @ prices, np.abs(problem.value) + problem.cost @ prices
    best = np.where(keep, net, -np.inf).max(axis=1)
    largest = np.where(keep, size, 0.0).max(axis=1)
    terms = [*best.tolist(), *(prices * problem.budget).tolist()]
    margin = (float(largest.sum()) + float(prices @ problem.budget)) * ROUNDING * (problem.budgets + 4)
    return math.fsum(terms) + margin


def best_prices(problem: Knapsack, keep: Array) -> Priced:
    """Return the prices with the least bound over options `keep`."""
    budget = np.where(problem.budget > 0, problem.budget, 1.0)
    scaled = problem.cost / budget
    room = np.where(problem.budget > 0, 1.0, 0.0)
    if problem.budgets == 1:
        found = _one_price(problem.value, scaled[:, :, 0], float(room[0]), keep)
    else:
        found = _ellipsoid(problem.value, scaled, room, keep)
    prices = found / budget
    net = np.where(keep, problem.value - problem.cost @ prices, -np.inf)
    return Priced(prices, certified_bound(problem, keep, prices), net.argmax(axis=1))


def _largest(value: Array, cost: Array, room: Array, keep: Array) -> Array:
    """Return prices that the best ones do not exceed, where a choice with spare room is at hand; else a large guess."""
    low = np.where(keep, cost.max(axis=2), np.inf).argmin(axis=1)
    rows = np.arange(len(low))
    spread = np.where(keep, value, -np.inf).max(axis=1).sum() - value[rows, low].sum()
    spare = np.maximum(room - cost[rows, low].sum(axis=0), 1e-3)
    return np.asarray(np.maximum(spread, 1e-12) / spare.min() * np.ones_like(room))


def _one_price(value: Array, cost: Array, room: float, keep: Array) -> Array:
    """Return the best price of one budget: bisection, the use falls as the price rises."""
    rows = np.arange(len(value))

    def use(price: float) -> float:
        return float(cost[rows, np.where(keep, value - price * cost, -np.inf).argmax(axis=1)].sum())

    if use(0.0) <= room:
        return np.zeros(1)
    low, high = 0.0, float(_largest(value, cost[:, :, None], np.array([room]), keep)[0])
    for _ in range(60):
        if use(high) <= room:
            break
        low, high = high, high * 4
    for _ in range(70):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if use(middle) > room else (low, middle)
        if high - low <= 1e-13 * high:
            break
    return np.array([high])


def _ellipsoid(value: Array, cost: Array, room: Array, keep: Array) -> Array:
    """Return the prices (of costs as shares of budgets) with the least bound that the steps allowed find."""
    n = len(room)
    most = _largest(value, cost, room, keep)
    rows = np.arange(len(value))
    net_value = np.where(keep, value, -np.inf)
    columns = [np.ascontiguousarray(cost[:, :, k]) for k in range(n)]
    best, best_at = np.inf, np.zeros(n)

    def evaluate(at: Array) -> tuple[float, Array]:
        net = net_value.copy()
        for k in range(n):
            if at[k]:
                net -= at[k] * columns[k]
        pick = net.argmax(axis=1)
        return float(at @ room + net[rows, pick].sum()), room - cost[rows, pick].sum(axis=0)

    start, slope = evaluate(np.zeros(n))
    if (slope >= 0).all():
        return np.zeros(n)
    best = start
    centre, shape = most / 2, np.diag(most**2 * n / 4.0)
    for _ in range(STEPS_PER_BUDGET * n * (n + 1)):
        if not (np.diag(shape) > 0).all():  # as small as rounding lets it be
            break
        below = centre < 0
        if below.any():
            gradient = np.zeros(n)
            worst = int(np.argmin(centre / np.sqrt(np.diag(shape))))
            gradient[worst] = -1.0
            depth = -float(centre[worst])
        else:
            found, gradient = evaluate(centre)
            if found < best:
                best, best_at = found, centre.copy()
            depth = found - best
        reach = math.sqrt(max(float(gradient @ shape @ gradient), 0.0))
        if reach <= 0 or (not below.any() and reach <= PRECISION * max(abs(best), 1e-300)):
            break
        alpha = depth / reach  # a deep cut: the best bound so far cuts more than the centre does
        if alpha >= 1:
            break
        step = shape @ gradient / reach
        centre = centre - (1 + n * alpha) / (n + 1) * step
        shape = (n * n / (n * n - 1.0)) * (1 - alpha * alpha) * (
            shape - 2 * (1 + n * alpha) / ((n + 1) * (1 + alpha)) * np.outer(step, step)
        )  # fmt: skip
    return best_at
