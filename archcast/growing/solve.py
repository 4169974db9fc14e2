"""Solving a program: expected cost, the mean of the worst tail, the worst case, or carbon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from archcast.allocating.solver import silent
from archcast.growing.program import PARTS, Program
from foundation.errors import UnsupportedError
from workloads.table import Array

GAP = 1e-4
NOW = ("buy", "lease")
"""Decisions of the first period that hold in every scenario."""
TIME_LIMIT_S = 20.0
CARBON_TIE = 1e-3
"""Kilograms that a dollar counts for where carbon is to be least: of equal ones the cheaper (estimated, any small)."""
LOST = 1e-6
"""Share of the demand that counts as served although the solver left it out."""


@dataclass(frozen=True)
class Solved:
    """The best choice found: columns, the objective, what no choice beats, and discounted costs by scenario."""

    program: Program
    x: Array
    value: float
    bound: float
    costs: Array

    @property
    def gap(self) -> float:
        """Return how far, at most, the choice is from the best one, as a share."""
        return max(self.value - self.bound, 0.0) / max(abs(self.value), 1e-9)

    @property
    def expected(self) -> float:
        return float(self.program.tree.probability @ self.costs)

    @property
    def root(self) -> Array:
        """Return what is bought and leased now, (2, options)."""
        return np.array([
            [self.program.value(self.x, name, o, 0, 0) for o in range(len(self.program.options))]
            for name in NOW
        ])  # fmt: skip

    @property
    def shorts(self) -> Array:
        """Return the share of the demand that is not served, the worst hours of each (scenario, period)."""
        tree = self.program.tree
        found = np.zeros((tree.scenarios, tree.periods))
        for key, i in self.program.columns.items():
            if key[0] == "short" and (share := float(self.x[i]) / max(self.program.demand[key[1:]], 1e-12)) > LOST:
                who = tree.seen[key[2]] == key[3]
                found[who, key[2]] = np.maximum(found[who, key[2]], share)
        return found

    @property
    def short(self) -> float:
        """Return the largest share of a period's demand that is not served in any scenario."""
        return float(self.shorts.max(initial=0.0))

    @property
    def served_usd(self) -> float:
        """Return the expected cost without what requests that are not served are counted at."""
        lost = self.program.parts(self.x)[PARTS.index("short")]
        return self.expected - float(self.program.discount @ lost @ self.program.tree.probability)


def solve(
    program: Program, *, objective: str = "", root: Array | None = None, gap: float = GAP,
    time_limit_s: float = TIME_LIMIT_S,
) -> Solved:  # fmt: skip
    """Return the best choice.

    Args:
        objective: expected, cvar, worst or carbon; "" for the study's.
        root: what is bought and leased now, where that is fixed, (2, options).

    Raises:
        UnsupportedError: the solver found no choice in time, or limits that contradict each other.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix

    name = objective or program.study.objective
    count = len(program.high)
    costs, share = program.by_scenario(), program.tree.probability
    extra, weights, tail = _tail(name, costs, share, program.study.tail)
    aim = _aim(program, name, costs, share)
    unit = max(float(np.abs(aim).max(initial=0.0)), float(np.abs(costs).max(initial=0.0)), 1e-300) / 1e3
    low, high = _ends(program, extra, root)
    limits = [LinearConstraint(_rows(program, extra), *(np.array([one[i] for one in program.rows]) for i in (2, 3)))]
    if tail is not None:  # costs in the units of the aim
        limits.append(LinearConstraint(csr_matrix(np.hstack([-costs / unit, tail])), 0, np.inf))
    whole = np.concatenate([np.array(program.whole, dtype=float), np.zeros(extra)])

    def minimised(aim: Array) -> Any:
        with silent():
            return milp(aim, constraints=limits, bounds=Bounds(low, high), integrality=whole,
                        options={"time_limit": time_limit_s, "mip_rel_gap": gap})  # fmt: skip

    found = minimised(np.concatenate([aim / unit, weights]))
    if found.x is None:
        raise UnsupportedError(
            "no plan keeps the limits of halls, money, devices and carbon in every scenario; loosen one of them, or "
            "allow renting." if found.status == 2 else "the solver found no plan in time; ask for fewer periods, "
            "scenarios or devices."
        )  # fmt: skip
    best = found.x
    if tail is not None:  # of the plans with this risk the one that is cheapest in expectation
        risk = np.concatenate([np.zeros(count), weights])
        limits.append(LinearConstraint(risk[None, :], -np.inf, found.fun + 1e-6 * abs(found.fun)))
        low, high = _fixed(program, best, low, high)
        again = minimised(np.concatenate([share @ costs / unit, np.zeros(extra)]))
        best = best if again.x is None else again.x
    x = np.where(program.whole, np.round(best[:count]), best[:count])
    bound = found.fun if found.mip_dual_bound is None else found.mip_dual_bound
    bound = bound if math.isfinite(bound) else -math.inf
    return Solved(program, x, float(found.fun) * unit, float(bound) * unit, costs @ x)


def _rows(program: Program, extra: int) -> Any:
    """Return the rows as a sparse matrix, with columns without entries for a risk."""
    from scipy.sparse import csr_matrix

    rows = np.repeat(np.arange(len(program.rows)), [len(one[0]) for one in program.rows])
    places = np.concatenate([np.array(one[0], dtype=int) for one in program.rows])
    factors = np.concatenate([np.array(one[1]) for one in program.rows])
    return csr_matrix((factors, (rows, places)), shape=(len(program.rows), len(program.high) + extra))


def _ends(program: Program, extra: int, root: Array | None) -> tuple[Array, Array]:
    """Return bounds of all columns; the first of a risk is free, and what is decided now may be given."""
    count = len(program.high)
    low, high = np.zeros(count + extra), np.concatenate([program.high, np.full(extra, np.inf)])
    if extra:
        low[count] = -np.inf
    if root is not None:
        for i, kind in enumerate(NOW):
            for o in range(len(program.options)):
                place = program.columns.get((kind, o, 0, 0))
                if place is not None:
                    low[place] = high[place] = round(float(root[i, o]))
    return low, high


def _fixed(program: Program, x: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Return bounds that hold what is decided now."""
    low, high = low.copy(), high.copy()
    for key, place in program.columns.items():
        if key[0] in NOW and key[2] == 0:
            low[place] = high[place] = round(float(x[place]))
    return low, high


def _aim(program: Program, name: str, costs: Array, share: Array) -> Array:
    """Return what each column adds to the objective itself."""
    if name == "expected":
        return np.asarray(share @ costs)
    if name == "carbon":
        return np.asarray(share @ program.by_scenario("carbon") + CARBON_TIE * (share @ costs))
    return np.zeros(costs.shape[1])


def _tail(name: str, costs: Array, share: Array, tail: float) -> tuple[int, Array, Array | None]:
    """Return (further columns, their weights, their part of the rows) of a risk over scenarios.

    worst: theta >= cost of each; cvar: eta + sum of p xi / (1 - tail), xi >= cost - eta (Rockafellar and Uryasev 2000).
    """
    count = len(costs)
    if name == "worst":
        return 1, np.ones(1), np.ones((count, 1))
    if name == "cvar":
        return 1 + count, np.concatenate([[1.0], share / (1 - tail)]), np.hstack([np.ones((count, 1)), np.eye(count)])
    return 0, np.zeros(0), None
