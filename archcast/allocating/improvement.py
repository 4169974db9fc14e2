"""From a choice that may break budgets to one that holds them, and from there to a better one: moves and pairs of them.

A move gives an item another option. At good prices most moves lose much; only those that lose little are looked at in
pairs, all at once.
"""

from __future__ import annotations

import numpy as np

from archcast.allocating.knapsack import Knapsack
from workloads.table import Array

PAIRED = 700
"""Moves that are tried in pairs: 490,000 pairs at once."""
ROUNDS = 400
PAIR_ROUNDS = 60
REPAIRS = 250
"""Moves that may repair a choice; where more are needed, prices raised a little give a better start."""


def repaired(problem: Knapsack, keep: Array, choice: Array, prices: Array) -> Array | None:
    """Return a choice near `choice` that holds all budgets, None where none is found. Loses least worth per excess."""
    found = choice.copy()
    rows = np.arange(problem.items)
    scale = np.where(problem.budget > 0, problem.budget, 1.0)
    net = problem.value - problem.cost @ prices
    for _ in range(REPAIRS):
        used = problem.cost[rows, found].sum(axis=0)
        over = np.maximum(used - problem.budget, 0.0) / scale
        if not over.any():
            if problem.holds(found):
                return found
            over = np.where(used >= problem.budget * (1 - 1e-12), 1e-15, 0.0)
        after = np.maximum(used + problem.cost - problem.cost[rows, found][:, None, :] - problem.budget, 0.0) / scale
        relief = over.sum() - after.sum(axis=2)
        loss = (net[rows, found][:, None] - net) + 1e-12 * np.abs(problem.value).max()
        score = np.where(keep & (relief > 1e-15), np.maximum(loss, 1e-300) / np.maximum(relief, 1e-300), np.inf)
        place = int(score.argmin())
        if not np.isfinite(score.flat[place]):
            return None
        found[place // score.shape[1]] = place % score.shape[1]
    return None


def improved(
    problem: Knapsack, keep: Array, choice: Array, prices: Array, enough: float = np.inf
) -> Array:  # fmt: skip
    """Return a choice worth at least as much: best single moves, then best pairs, until neither helps.

    Args:
        enough: worth at which to stop.
    """
    found, pairs = choice.copy(), 0
    for _ in range(ROUNDS):
        better = _single(problem, keep, found)
        if better is None:
            pairs += 1
            if pairs > PAIR_ROUNDS or problem.worth(found) >= enough:
                return found
            better = _pair(problem, keep, found, prices)
        if better is None:
            return found
        if not problem.holds(better):  # the sum in floats fits, the exact one does not
            return found
        found = better
    return found


def _single(problem: Knapsack, keep: Array, choice: Array) -> Array | None:
    rows = np.arange(problem.items)
    spare = problem.budget - problem.cost[rows, choice].sum(axis=0)
    gain = problem.value - problem.value[rows, choice][:, None]
    fits = keep & (gain > 0)
    for k in range(problem.budgets):
        fits &= problem.cost[:, :, k] - problem.cost[rows, choice, k][:, None] <= spare[k]
    if not fits.any():
        return None
    place = int(np.where(fits, gain, -np.inf).argmax())
    better = choice.copy()
    better[place // gain.shape[1]] = place % gain.shape[1]
    return better


def _pair(problem: Knapsack, keep: Array, choice: Array, prices: Array) -> Array | None:
    """Return the choice after the best pair of moves of two items among those that lose least at the prices."""
    rows = np.arange(problem.items)
    net = problem.value - problem.cost @ prices
    loss = np.where(keep, net[rows, choice][:, None] - net, np.inf)
    loss[rows, choice] = np.inf
    count = min(PAIRED, loss.size - 1)
    nearest = np.argpartition(loss.ravel(), count)[:count]
    nearest = nearest[np.isfinite(loss.ravel()[nearest])]
    item, option = np.divmod(nearest, loss.shape[1])
    gain = problem.value[item, option] - problem.value[item, choice[item]]
    more = problem.cost[item, option] - problem.cost[item, choice[item]]
    spare = problem.budget - problem.cost[rows, choice].sum(axis=0)
    both = gain[:, None] + gain[None, :]
    fits = (both > 1e-13 * np.abs(problem.value).max()) & (item[:, None] != item[None, :])
    for k in range(problem.budgets):
        fits &= more[:, None, k] + more[None, :, k] <= spare[k]
    if not fits.any():
        return None
    a, b = divmod(int(np.where(fits, both, -np.inf).argmax()), len(gain))
    better = choice.copy()
    better[item[a]], better[item[b]] = option[a], option[b]
    return better
