"""Routes: which share of each class of requests goes where, so that most of them succeed within budgets.

A linear program: shares are fractions, so that nothing is left to certify but the solver, and duality does that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from archcast.allocating.solver import silent
from foundation.errors import BadValueError
from workloads.table import Array


@dataclass(frozen=True)
class Routing:
    """Shares of classes by route.

    Attributes:
        share: (classes, routes); rows add up to 1 (less where requests may be dropped). Empty where infeasible.
        value: count x success, added up. used: of each budget. prices: worth of one more unit of each budget.
        bound: from the prices alone; equal to `value` up to rounding where the solver is right.
    """

    share: Array
    value: float
    used: Array
    prices: Array
    bound: float
    feasible: bool

    @property
    def gap(self) -> float:
        return max(self.bound - self.value, 0.0) / abs(self.value) if self.value else max(self.bound, 0.0)


def route(
    count: object, success: object, cost: object, budget: object, mask: object = None, *, drop: bool = False
) -> Routing:
    """Return the shares with the most expected success.

    Args:
        count: requests of each class, (classes,). success: worth of a request of a class by route, (classes, routes),
            given by the caller. cost: of one request, (classes, routes, budgets). budget: (budgets,).
        mask: (classes, routes), which routes may be used. drop: whether requests may be left unanswered.

    Raises:
        BadValueError: shapes that do not fit together, negative numbers.
    """
    n, v = np.asarray(count, dtype=float), np.asarray(success, dtype=float)
    c, b = np.asarray(cost, dtype=float), np.atleast_1d(np.asarray(budget, dtype=float))
    c = c[:, :, None] if c.ndim == 2 else c
    if v.ndim != 2 or n.shape != v.shape[:1] or c.shape != (*v.shape, b.size):
        raise BadValueError(
            f"count is (classes,), success (classes, routes), cost (classes, routes, budgets); got {n.shape}, "
            f"{v.shape} and {c.shape}."
        )
    allowed = np.ones(v.shape, dtype=bool) if mask is None else np.array(mask, dtype=bool)
    allowed &= np.isfinite(v) & np.isfinite(c).all(axis=2)
    if (n < 0).any() or not np.isfinite(n).all() or (c[allowed] < 0).any() or (b < 0).any() or np.isnan(b).any():
        raise BadValueError("counts, costs and budgets must be finite numbers of at least 0.")
    return _program(n, np.where(allowed, v, 0.0), np.where(allowed[:, :, None], c, 0.0), b, allowed, drop)


def _program(count: Array, success: Array, cost: Array, budget: Array, allowed: Array, drop: bool) -> Routing:
    from scipy.optimize import linprog
    from scipy.sparse import csr_matrix

    row, column = np.nonzero(allowed)
    worth = count[row] * success[row, column]
    use = (count[row, None] * cost[row, column]).T
    scale = np.where((budget > 0) & np.isfinite(budget), budget, 1.0)
    whole = csr_matrix((np.ones(len(row)), (row, np.arange(len(row)))), shape=(len(count), len(row)))
    top = max(float(np.abs(worth).max(initial=0.0)), 1e-300)
    bounded = np.isfinite(budget)
    rows, room = csr_matrix(use[bounded] / scale[bounded, None]), budget[bounded] / scale[bounded]
    with silent():
        if drop:
            from scipy.sparse import vstack

            found = linprog(-worth / top, A_ub=vstack([rows, whole]), b_ub=np.r_[room, np.ones(len(count))])
        else:
            found = linprog(-worth / top, A_ub=rows, b_ub=room, A_eq=whole, b_eq=np.ones(len(count)))
    if found.x is None:
        nothing = np.full(len(budget), np.nan)
        return Routing(np.zeros((0, 0)), -np.inf, nothing, np.zeros(len(budget)), -np.inf, False)
    share = np.zeros_like(success)
    share[row, column] = np.clip(found.x, 0.0, 1.0)
    prices = np.zeros(len(budget))
    prices[bounded] = np.maximum(-found.ineqlin.marginals[: int(bounded.sum())], 0.0) * top / scale[bounded]
    net = np.where(allowed, count[:, None] * (success - cost @ prices), -np.inf).max(axis=1)
    net = np.maximum(net, 0.0) if drop else net
    bound = float(net.sum() + (prices[bounded] * budget[bounded]).sum())
    value = float((count[:, None] * success * share).sum())
    return Routing(share, value, np.einsum("c,cr,crk->k", count, share, cost), prices, bound, True)


def pure_costs(cost: float, savings: Sequence[float]) -> list[float]:
    """Return what each pure route costs when a mixture costs `cost`, that share less than the route: cost / (1 - s).

    Raises:
        BadValueError: a saving of all or more.
    """
    if any(not s < 1 for s in savings):
        raise BadValueError("a saving is a share below 1.")
    return [cost / (1 - s) for s in savings]


def mixed_cost(shares: Sequence[float], costs: Sequence[float]) -> float:
    """Return the mean cost when a share of the tokens or requests goes to each model.

    Raises:
        BadValueError: shares that do not add up to 1, or another number of costs.
    """
    if len(shares) != len(costs) or abs(sum(shares) - 1) > 1e-9 or min(shares, default=0) < 0:
        raise BadValueError("shares are one a model, at least 0, and add up to 1.")
    return float(np.dot(shares, costs))
