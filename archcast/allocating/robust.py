"""Budgets that hold whatever happens within limits: costs at their upper ends, or at most Gamma of them at once.

Bertsimas and Sim (The price of robustness, 2004): of the items, at most Gamma cost as much as their upper end at once
(a fraction of one more by that fraction). Its dual is a linear program:

    sum_i c_i + Gamma z + sum_i p_i <= budget,   z + p_i >= d_i,   z, p >= 0      (d_i = the chosen option's spread)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from archcast.allocating.exact import solve_exact
from archcast.allocating.greedy import infeasible
from archcast.allocating.knapsack import NONE, Knapsack, Solution
from archcast.allocating.solver import silent
from foundation.errors import BadValueError
from workloads.table import Array

SMALL = 2000
"""Options up to which the whole program goes to HiGHS at once."""
TIME_LIMIT_S = 3.0
ROUNDS = 8


def worst_use(problem: Knapsack, spread: Array, gamma: Array | float, choice: Array) -> Array:
    """Return the most that a choice uses of each budget when at most `gamma` items are at their upper ends.

    Args:
        spread: (items, options, budgets), upper end less cost. gamma: number of items, one for all or by budget.
    """
    taken = np.flatnonzero(choice != NONE)
    most = np.broadcast_to(np.asarray(gamma, dtype=float), (problem.budgets,))
    over = -np.sort(-spread[taken, choice[taken]], axis=0)  # largest first
    place = np.arange(len(over))[:, None]
    return np.asarray(problem.used(choice) + (np.clip(most - place, 0.0, 1.0) * over).sum(axis=0))


def solve_upper(problem: Knapsack, spread: Array, *, time_limit_s: float = TIME_LIMIT_S) -> Solution:
    """Return the best choice whose budgets hold with every cost at its upper end (the full box)."""
    found = solve_exact(replace(problem, cost=problem.cost + _checked(problem, spread)), time_limit_s=time_limit_s)
    return replace(found, used=problem.used(found.choice)) if found.feasible else found


def solve_gamma(
    problem: Knapsack, spread: Array, gamma: Array | float, *, time_limit_s: float = TIME_LIMIT_S
) -> Solution:
    """Return the best choice whose budgets hold with at most `gamma` items at their upper ends.

    Up to 2,000 options the whole program is solved; beyond, thresholds z come from its linear relaxation, for which
    what is left is a knapsack (cost + max(spread - z, 0), budget - gamma z); z and the choice improve in turns. Either
    way the bound is the solver's: of the tree, or of the relaxation.

    Raises:
        BadValueError: a negative spread or gamma.
    """
    over = _checked(problem, spread)
    most = np.broadcast_to(np.asarray(gamma, dtype=float), (problem.budgets,))
    if not np.isfinite(most).all() or (most < 0).any():
        raise BadValueError(f"gamma must be a number of items of at least 0, not {most.min():g}.")
    whole = problem.extended()
    wide = np.concatenate([over, np.zeros((problem.items, whole.value.shape[1] - over.shape[1], problem.budgets))], 1)
    small = whole.value.size <= SMALL
    x, bound, status, z = _dual_program(whole, wide, most, small, time_limit_s)
    if x is None:
        return infeasible(problem, "gamma", proved=status == 2)
    if small and (found := _from_program(problem, whole, wide, most, x, bound, status)):
        return found
    return _in_turns(problem, whole, wide, most, z, bound, time_limit_s)


def _checked(problem: Knapsack, spread: Array) -> Array:
    over = np.asarray(spread, dtype=float).reshape(problem.cost.shape)
    over = np.where(problem.mask[:, :, None], over, 0.0)
    if not np.isfinite(over).all() or (over < 0).any():
        raise BadValueError("a spread is negative or not finite; it is the upper end of a cost less the cost.")
    return over


def _dual_program(
    problem: Knapsack, spread: Array, gamma: Array, whole_numbers: bool, time_limit_s: float
) -> tuple[Array | None, float, int, Array]:
    """Return (choice weights by option, bound, solver status, z by budget) of the program in this file's docstring."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix, hstack, identity, vstack

    item, option = np.nonzero(problem.mask)
    count, n, many = len(item), problem.items, problem.budgets
    scale = np.where(problem.budget > 0, problem.budget, 1.0)
    extra = many + many * n  # z, then p by budget and item
    one = csr_matrix((np.ones(count), (item, np.arange(count))), shape=(n, count + extra))
    held, covers = [], []
    for k in range(many):
        p = np.zeros((1, many * n))
        p[0, k * n : (k + 1) * n] = 1.0
        z = np.zeros((1, many))
        z[0, k] = gamma[k]
        held.append(
            hstack([csr_matrix(problem.cost[item, option, k][None, :] / scale[k]), csr_matrix(z), csr_matrix(p)])
        )
        chosen = csr_matrix((-spread[item, option, k] / scale[k], (item, np.arange(count))), shape=(n, count))
        own = csr_matrix(np.repeat((np.arange(many) == k)[None, :].astype(float), n, axis=0))
        covers.append(
            hstack([chosen, own, *(identity(n) if j == k else csr_matrix((n, n)) for j in range(many))])
        )  # fmt: skip
    integer = np.r_[np.full(count, float(whole_numbers)), np.zeros(extra)]
    with silent():
        found = milp(
            np.r_[-problem.value[item, option], np.zeros(extra)], integrality=integer,
            bounds=Bounds(0, np.r_[np.ones(count), np.full(extra, np.inf)]),
            constraints=[LinearConstraint(one, 1, 1),
                         LinearConstraint(vstack(held), -np.inf, np.where(problem.budget > 0, 1.0, 0.0)),
                         LinearConstraint(vstack(covers), 0, np.inf)],
            options={"time_limit": time_limit_s},
        )  # fmt: skip
    if found.x is None:
        return None, -np.inf, int(found.status), np.zeros(many)
    bound = -float(found.mip_dual_bound) if whole_numbers else -float(found.fun)
    weights = np.zeros_like(problem.value)
    weights[item, option] = found.x[:count]
    return weights, bound, int(found.status), found.x[count : count + many] * scale


def _from_program(
    problem: Knapsack, whole: Knapsack, spread: Array, gamma: Array, x: Array, bound: float, status: int
) -> Solution | None:
    """Return the program's choice, None where rounding made it break a budget."""
    choice = x.argmax(axis=1)
    if (worst_use(whole, spread, gamma, choice) > whole.budget).any():
        return None
    return _solution(problem, choice, bound, "optimal" if status == 0 else "time limit")


def _solution(problem: Knapsack, choice: Array, bound: float, status: str) -> Solution:
    own = np.where(choice >= problem.value.shape[1], NONE, choice)
    value = problem.worth(own)
    none = np.zeros(problem.budgets)
    return Solution(own, value, problem.used(own), max(bound, value), "solver", np.inf, none, status, "gamma")


def _in_turns(
    problem: Knapsack, whole: Knapsack, spread: Array, gamma: Array, z: Array, bound: float, time_limit_s: float
) -> Solution:
    """Return the best choice met when thresholds and the choice are improved in turns, from the relaxation's."""
    best: Array | None = None
    for _ in range(ROUNDS):
        room = whole.budget - gamma * z
        if (room < 0).any():
            break
        cost = whole.cost + np.maximum(spread - z, 0.0)
        found = solve_exact(replace(whole, cost=cost, budget=room, optional=False), time_limit_s=time_limit_s)
        if not found.feasible or (best is not None and found.value <= whole.worth(best)):
            break
        if (worst_use(whole, spread, gamma, found.choice) <= whole.budget).all():
            best = found.choice
        over = -np.sort(-spread[np.arange(whole.items), found.choice], axis=0)
        z = np.array([over[int(g), k] if int(g) < len(over) else 0.0 for k, g in enumerate(gamma)])
    if best is None:
        return infeasible(problem, "gamma", proved=False)
    return _solution(problem, best, bound, "within gap")
