"""Why nothing holds: the least use of each budget alone, and by how much all of them would have to grow together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archcast.allocating.knapsack import Knapsack
from archcast.allocating.solver import silent
from workloads.table import Array

TIME_LIMIT_S = 3.0


@dataclass(frozen=True)
class LeastUse:
    """What a problem needs at least.

    Attributes:
        alone: the least use of each budget, whatever the others; inf where an item has no option, shape (budgets,).
        over: by how much that exceeds the budget, at least 0.
        together: the factor by which every budget would have to grow so that some choice holds all; None where a
            budget of 0 makes that impossible. `proved`: it is the least such factor, else one that is enough.
        choice: one that holds the budgets so grown.
    """

    alone: Array
    over: Array
    together: float | None
    proved: bool
    choice: Array | None


def least_use(problem: Knapsack) -> LeastUse:
    """Return what a problem needs at least of every budget, alone and together."""
    whole = problem.extended()
    alone = np.where(whole.mask[:, :, None], whole.cost, np.inf).min(axis=1).sum(axis=0)
    over = np.maximum(alone - problem.budget, 0.0)
    if not np.isfinite(alone).all() or ((problem.budget == 0) & (alone > 0)).any():
        return LeastUse(alone, over, None, True, None)
    factor, choice, proved = _grown(whole)
    return LeastUse(alone, over, factor, proved, choice)


def _grown(problem: Knapsack) -> tuple[float | None, Array | None, bool]:
    """Minimise t so that some choice uses at most t times every budget."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix

    held = problem.budget > 0
    item, option = np.nonzero(problem.mask & (problem.cost[:, :, ~held] == 0).all(axis=2))
    count = len(item)
    one = csr_matrix((np.ones(count), (item, np.arange(count))), shape=(problem.items, count + 1))
    share = (problem.cost[item, option][:, held] / problem.budget[held]).T
    rows = np.hstack([share, -np.ones((len(share), 1))])
    with silent():
        found = milp(
            np.r_[np.zeros(count), 1.0], integrality=np.r_[np.ones(count), 0],
            bounds=Bounds(0, np.r_[np.ones(count), np.inf]),
            constraints=[LinearConstraint(one, 1, 1), LinearConstraint(rows, -np.inf, 0)],
            options={"time_limit": TIME_LIMIT_S},
        )  # fmt: skip
    if found.x is None:
        return None, None, found.status == 2
    choice = np.zeros(problem.items, dtype=int)
    taken = np.flatnonzero(found.x[:count] > 0.5)
    choice[item[taken]] = option[taken]
    used = problem.used(choice)
    return float((used[held] / problem.budget[held]).max()), choice, found.status == 0
