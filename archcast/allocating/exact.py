"""The exact answer: reductions and prices first, then HiGHS (through scipy) on the options that are still open."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from archcast.allocating.greedy import CLOSED, infeasible, solution, start
from archcast.allocating.improvement import improved, repaired
from archcast.allocating.knapsack import Knapsack, Solution, relative_gap
from archcast.allocating.prices import best_prices
from archcast.allocating.reduction import affordable, undominated, worth_keeping
from archcast.allocating.solver import silent
from workloads.table import Array

TIME_LIMIT_S = 3.0
SMALL = 2000
"""Options of a problem up to which the best choice itself is looked for unless a gap is given."""
GAP = 1e-4
"""Relative gap at which the search in a larger problem ends."""
SOLVER_GAP = 2e-6
"""HiGHS calls a tree closed at an absolute gap of 1e-6 of the largest value."""
TIGHTER = 1e-6
"""HiGHS holds rows to 1e-6: where its choice breaks a budget, it is asked again with budgets smaller by this share."""


def solve_exact(problem: Knapsack, *, time_limit_s: float = TIME_LIMIT_S, gap: float | None = None) -> Solution:
    """Return the best choice, or the best found in time, with a certified bound.

    Dominated options and those that no budget has room for are dropped; prices bound the worth; with a first choice
    (greedy, improved) the bound also rules out most options (reduced costs). What is left goes to HiGHS.

    Args:
        time_limit_s: of the whole, after which the best choice so far is returned with its gap.
        gap: the relative gap at which to stop; None: 0 for up to 2,000 options in all, 1e-4 for more.
    """
    begun = time.monotonic()
    gap = (0.0 if problem.value.size <= SMALL else GAP) if gap is None else gap

    def left_s() -> float:
        return max(time_limit_s - (time.monotonic() - begun), 0.1)

    whole = problem.extended()
    keep = affordable(whole, undominated(whole))
    if not keep.any(axis=1).all():
        return infeasible(problem, "exact")
    priced = best_prices(whole, keep)
    choice = start(whole, keep, priced)
    first: Solution | None = None
    if choice is not None:
        choice = improved(whole, keep, choice, priced.prices, priced.bound - gap * abs(priced.bound))
        first = solution(problem, whole, choice, priced, "exact", int(keep.sum()))
        if first.gap <= max(gap, CLOSED):
            return first
        keep = worth_keeping(whole, keep, priced.prices, first.value)
        first = replace(first, left=int(keep.sum()))
    choice, bound, closed = _solved(whole, keep, left_s(), gap)
    if choice is None:
        return _without(problem, first, closed)
    if not whole.holds(choice):
        again, _, _ = _solved(whole, keep, left_s(), gap, 1 - TIGHTER)
        choice = again if again is not None and whole.holds(again) else repaired(whole, keep, choice, priced.prices)
        closed = False
        if choice is None:
            return _without(problem, first, closed)
    choice = improved(whole, keep, choice, priced.prices, bound)
    found = solution(problem, whole, choice, priced, "exact", int(keep.sum()))
    if first is not None and first.value > found.value:
        found = first
    return _bounded(found, bound, closed, gap)


def _without(problem: Knapsack, first: Solution | None, closed: bool) -> Solution:
    """Return the answer where the solver has no choice: the first one, proved the best where the solver says so."""
    if first is None:
        return infeasible(problem, "exact", proved=closed)
    if closed:  # no option that could make a better choice is left
        return replace(first, bound=first.value, bound_by="solver", status="optimal")
    return replace(first, status="time limit")


def _bounded(found: Solution, bound: float, closed: bool, gap: float) -> Solution:
    """Return the answer with the solver's bound where that is tighter than the prices'."""
    bound = max(bound, found.value)  # what the reduction took out is worth no more than the value found
    by = "solver" if bound < found.bound else found.bound_by
    bound = min(bound, found.bound)
    over = relative_gap(found.value, bound)
    if over <= CLOSED or (closed and over <= SOLVER_GAP):
        status = "optimal"
    else:
        status = "within gap" if closed or over <= gap else "time limit"
    return replace(found, bound=bound, bound_by=by, status=status)


def _solved(
    problem: Knapsack, keep: Array, time_limit_s: float, gap: float, budgets: float = 1.0
) -> tuple[Array | None, float, bool]:  # fmt: skip
    """Return (choice, bound on its worth, whether the solver closed its tree) from HiGHS over options `keep`."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix

    item, option = np.nonzero(keep)
    count = len(item)
    budget = np.where(problem.budget > 0, problem.budget, 1.0)
    cost = (problem.cost[item, option] / budget).T
    scale = max(float(np.abs(problem.value[item, option]).max()), 1e-300)
    largest = np.maximum(cost.max(axis=1), 1e-300)  # rows whose largest entry is 1
    one = csr_matrix((np.ones(count), (item, np.arange(count))), shape=(problem.items, count))
    room = np.where(problem.budget > 0, budgets, 0.0) / largest
    with silent():
        found = milp(
            -problem.value[item, option] / scale, integrality=np.ones(count), bounds=Bounds(0, 1),
            constraints=[LinearConstraint(one, 1, 1), LinearConstraint(cost / largest[:, None], -np.inf, room)],
            options={"time_limit": time_limit_s, "mip_rel_gap": gap},
        )  # fmt: skip
    closed = found.status in (0, 2)
    if found.x is None:
        return None, np.inf, closed
    choice = np.zeros(problem.items, dtype=int)
    taken = found.x > 0.5
    choice[item[taken]] = option[taken]
    bound = -float(found.mip_dual_bound) * scale if found.mip_dual_bound is not None else np.inf
    return choice, bound, closed
