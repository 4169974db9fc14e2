"""Intervals of a plan that stays as it is while prices, power and carbon are at other ends of their ranges.

Groups of figures are independent and each is wrong together, so their deviations add as squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from archcast.growing.ends import GROUPS, Ends
from archcast.growing.options import options_of
from archcast.growing.program import Program, build
from archcast.growing.solve import Solved
from archcast.growing.values import World
from workloads.table import Array

FIXED = tuple(group for group in GROUPS if group != "capacity")
"""What a device serves changes what has to be rented: that is a sensitivity, not an interval of a plan that stays."""


@dataclass(frozen=True)
class Intervals:
    """(lo, hi) of cost and carbon by scenario and period, of discounted costs by scenario, and of the expected cost."""

    cost_usd: tuple[Array, Array]
    carbon_kg: tuple[Array, Array]
    by_scenario_usd: tuple[Array, Array]
    expected_usd: tuple[float, float]


def intervals_of(world: World, solved: Solved) -> Intervals:
    """Return the intervals of a solution."""
    share = world.tree.probability
    middle = _read(solved, solved.program)
    down, up = [np.zeros_like(x) for x in middle], [np.zeros_like(x) for x in middle]
    for group in FIXED:
        for end in (-1, 1):
            options = options_of(world.study, world.kinds, world.books, Ends({group: end}))
            program = build(world.study, options, world.tree, world.rate_hz, relaxed=solved.program.relaxed)
            for i, (x, base) in enumerate(zip(_read(solved, program), middle, strict=True)):
                down[i] += np.minimum(x - base, 0) ** 2
                up[i] += np.maximum(x - base, 0) ** 2
    ends = [(m - np.sqrt(a), m + np.sqrt(b)) for m, a, b in zip(middle, down, up, strict=True)]
    cost, kilos, whole = ends
    return Intervals(cost, kilos, whole, (float(share @ whole[0]), float(share @ whole[1])))


def _read(solved: Solved, program: Program) -> list[Array]:
    """Return cost and carbon by (scenario, period), and discounted cost by scenario, at a program's prices."""
    return [
        program.parts(solved.x).sum(axis=0).T,
        program.parts(solved.x, "carbon").sum(axis=0).T,
        program.costs(solved.x),
    ]
