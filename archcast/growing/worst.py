"""The plan with the least worst cost, scenarios added one by one (column-and-constraint generation).

The master knows some scenarios and bounds the worst cost from below; each scenario on its own, with what the master
buys now, bounds it from above (Zeng and Zhao 2013, as in archcast.allocating.two_stage; here what comes later is whole
too). It is exact where everything is known after the first period, so that scenarios share the first decision only.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from archcast.growing.options import Options
from archcast.growing.program import build
from archcast.growing.solve import GAP, Solved, solve
from archcast.growing.study import GrowthStudy
from archcast.growing.tree import Tree


def separable(study: GrowthStudy, tree: Tree) -> bool:
    """Return whether scenarios share the first decision only (what stands there at the start is sold by all alike)."""
    return tree.scenarios > 1 and tree.two_stage and not study.owned


def solve_worst(
    study: GrowthStudy, options: Options, tree: Tree, rate_hz: float, *, gap: float = GAP, relaxed: bool = False
) -> Solved:  # fmt: skip
    """Return the plan with the least worst cost; later decisions are the best for each scenario.

    Raises UnsupportedError: no plan keeps the limits.
    """
    known = [int(np.argmax(tree.factor[:, -1]))]
    lower, upper, best = -np.inf, np.inf, np.zeros((2, len(options)))
    for _ in range(tree.scenarios):
        program = build(study, options, tree.only(known), rate_hz, relaxed=relaxed)
        master = solve(program, objective="worst", gap=gap / 4)
        lower = max(lower, master.bound)
        costs = [
            solve(build(study, options, tree.only([s]), rate_hz, relaxed=relaxed), root=master.root,
                  objective="expected", gap=gap / 4).value
            for s in range(tree.scenarios)
        ]  # fmt: skip
        worst = int(np.argmax(costs))
        if costs[worst] < upper:
            upper, best = costs[worst], master.root
        if worst in known or upper - lower <= gap * abs(upper):
            break
        known.append(worst)
    whole = build(study, options, tree, rate_hz, relaxed=relaxed)
    found = solve(whole, root=best, objective="expected", gap=gap / 4)
    return replace(found, value=max(upper, float(found.costs.max())), bound=min(lower, upper))
