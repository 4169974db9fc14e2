"""Shared budgets at the margin: what more of each really buys, which of them bind, and their relaxed prices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from archcast.allocating.answer import Used
from archcast.allocating.chance import ChanceSolution
from archcast.allocating.exact import SMALL, solve_exact
from archcast.allocating.greedy import solve_greedy
from archcast.allocating.knapsack import Knapsack, Solution
from archcast.allocating.prices import best_prices
from archcast.allocating.reduction import undominated
from archcast.allocating.risks import Posed, safe_problem
from archcast.allocating.robust import solve_gamma
from workloads.table import Array

EXACT_CELLS = 3000
"""Options up to which side questions (the frontier, what 10 % more buys) are answered exactly."""
SIDE_LIMIT_S = 0.4
NOISE = 1e-9
"""Of the worth: less is rounding."""
RELAXED_NOISE = 1e-6
"""Of the worth: a price times its budget that is less is the ellipsoid's tolerance, not a price."""

Shares = tuple[float | None, float | None, float | None, float | None]
Again = Callable[[Array], Solution]
"""From what is added to each budget to the answer."""


def side(problem: Knapsack) -> Solution:
    """Return the answer to a side question: exact where that is quick."""
    if problem.value.size <= EXACT_CELLS:
        return solve_exact(problem, time_limit_s=SIDE_LIMIT_S)
    return solve_greedy(problem)


def used_of(posed: Posed, found: Solution, level: Array, chance: ChanceSolution | None) -> tuple[Used, ...]:
    """Return the budgets with what more of each buys under the study's risk.

    A budget binds where a tenth more of it (one more, where it is 0) buys a choice that is worth more than the bound
    without it; where the question is too large to prove that, where its relaxed price says so too.
    """
    problem = posed.problem
    risky = safe_problem(posed, found.choice, level)
    whole = risky.extended()
    prices = best_prices(whole, undominated(whole)).prices
    again, same = _again(posed, risky, chance)
    now = found if same and found.status == "optimal" else again(np.zeros(problem.budgets))
    rows = []
    for k, name in enumerate(problem.names):
        more, sure = _gain(now, again, k, 0.1 * float(problem.budget[k]), problem.budgets)
        one, sure_one = _gain(now, again, k, 1.0, problem.budgets)
        tight = one if problem.budget[k] == 0 else more
        room = float(problem.budget[k]) or 1.0
        priced = float(prices[k]) * room > RELAXED_NOISE * max(abs(found.value), 1e-300)
        rows.append(Used(
            name, float(problem.budget[k]), float(level[k]), float(prices[k]) if priced else 0.0, more,
            *_shares(chance, k), binds=tight > 0 and (sure or priced), one_more=one if same and sure_one else None,
        ))  # fmt: skip
    return tuple(rows)


def _shares(chance: ChanceSolution | None, k: int) -> Shares:
    """Return the shares of scenarios in which budget k holds, as `Used` has them."""
    if chance is None:
        return None, None, None, None
    at = 0 if chance.joint else k
    parts = (chance.in_sample, chance.out_of_sample, chance.assured, chance.nominal_coverage)
    made, fresh, assured, nominal = (float(part[at]) for part in parts)
    return made, fresh, assured, nominal


def _again(posed: Posed, risky: Knapsack, chance: ChanceSolution | None) -> tuple[Again, bool]:
    """Return what answers with larger budgets, and whether it is the study's own question, not one near the choice."""
    problem, small = posed.problem, posed.problem.value.size <= EXACT_CELLS

    def near(added: Array) -> Solution:
        return side(replace(risky, budget=risky.budget + added))

    def at_once(added: Array) -> Solution:
        larger = replace(problem, budget=problem.budget + added)
        return solve_gamma(larger, posed.spread, posed.gamma, time_limit_s=SIDE_LIMIT_S)

    if chance is not None:
        if chance.again is None:
            return near, False
        tried = chance.again
        return (lambda added: tried(problem.budget + added)), True
    if posed.kind == "robust":
        return (at_once, True) if problem.value.size <= SMALL else (near, False)
    return near, small


def _gain(now: Solution, again: Again, k: int, extra: float, budgets: int) -> tuple[float, bool]:
    """Return what so much more of budget k buys, and whether both answers are proved best."""
    if not now.feasible:
        return 0.0, False
    added = np.zeros(budgets)
    added[k] = extra
    then = again(added) if extra > 0 else now
    more = then.value - now.value if then.feasible else 0.0
    sure = now.status == "optimal" and then.status == "optimal"
    least = max(NOISE * abs(now.value), now.bound - now.value if sure else 0.0)
    return (more if more > least else 0.0), sure
