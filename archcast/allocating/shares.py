"""Shares of classes by option (`choose: shares`): the routing of a study, with prices and the frontier."""

from __future__ import annotations

import numpy as np

from archcast.allocating.allocate_file import Study
from archcast.allocating.answer import Point, Used
from archcast.allocating.costs import Costs
from archcast.allocating.risks import Posed
from archcast.allocating.routing import Routing, route
from workloads.table import Array

SCALES = (0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 2.0, 3.0)

NOISE = 1e-7
"""Of the worth: less is the tolerance of the linear program."""

Plan = tuple[Array, tuple[Used, ...], float, float, float, tuple[Point, ...]]


def solve_shares(study: Study, costs: Costs, posed: Posed) -> Plan | None:
    """Return (shares, budgets, worth, bound, worth at most likely costs, frontier), None where nothing holds."""
    problem = posed.problem
    sure = problem.cost / costs.count[:, None, None]
    held = (problem.cost + posed.spread) / costs.count[:, None, None] if study.risk.kind == "upper" else sure

    def solved(cost: Array, budget: Array) -> Routing:
        return route(costs.count, costs.value, cost, budget, problem.mask)

    found = solved(held, problem.budget)
    if not found.feasible:
        return None
    used = []
    for k, name in enumerate(problem.names):
        larger = problem.budget.copy()
        larger[k] *= 1.1
        unit = problem.budget.copy()
        unit[k] += 1.0
        gains = [solved(held, budget).value - found.value for budget in (larger, unit)]
        more, one_more = (gain if gain > NOISE * abs(found.value) else 0.0 for gain in gains)
        tight = (more if problem.budget[k] > 0 else one_more) > 0
        used.append(Used(name, float(problem.budget[k]), float(found.used[k]), float(found.prices[k]) if tight else 0.0,
                         more, binds=tight, one_more=one_more))  # fmt: skip
    main = int(np.argmax(found.prices * problem.budget))
    points = []
    for scale in SCALES:
        budget = problem.budget.copy()
        budget[main] *= scale
        one = solved(sure, budget)
        if one.feasible:
            points.append(Point(scale, float(one.used[main]), one.value, one.bound))
    nominal = solved(sure, problem.budget).value
    return found.share, tuple(used), found.value, max(found.bound, found.value), nominal, tuple(points)
