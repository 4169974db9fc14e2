"""Choose now, correct later: two-stage robust programs by column-and-constraint generation.

    minimise  c x + max over u of  min over y of  d y
    so that   T x + W y >= h + H u,   A x <= a,   low <= x <= high,   y >= 0

x is chosen before u is known (whole numbers where marked), y after. u lies in a list of scenarios or in a budget set
{base + deviation w : 0 <= w <= 1, sum w <= gamma} with gamma whole, whose corners have w in {0, 1}. The master problem
knows some u, each with a y of its own, and bounds the optimum from below; the subproblem finds the worst u for its x
and bounds it from above (Zeng and Zhao, Solving two-stage robust optimization problems using a column-and-constraint
generation method, 2013). Over a budget set the subproblem is the dual of the recourse with products of a bounded dual
and a binary made linear.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from archcast.allocating.solver import silent
from foundation.errors import BadValueError, UnsupportedError
from workloads.table import Array

MOST_STEPS = 60
GAP = 1e-6
TIME_LIMIT_S = 5.0
"""Of each program."""
MOST_CORNERS = 20_000


@dataclass(frozen=True)
class BudgetSet:
    """u = base + deviation w, each w in [0, 1], at most `gamma` (whole) in sum."""

    base: Array
    deviation: Array
    gamma: int

    def corners(self) -> Array:
        """Return all corners, shape (corners, dimensions). Raises UnsupportedError: too many of them."""
        n, most = len(self.base), min(self.gamma, len(self.base))
        if (count := sum(math.comb(n, k) for k in range(most + 1))) > MOST_CORNERS:
            raise UnsupportedError(f"{count:,} corners are more than {MOST_CORNERS:,}.")
        rows = [
            self.base + self.deviation * np.isin(np.arange(n), chosen)
            for k in range(most + 1) for chosen in itertools.combinations(range(n), k)
        ]  # fmt: skip
        return np.array(rows)


@dataclass(frozen=True)
class TwoStage:
    """The data of a program, as in this file's docstring. Rows of `need`, `by_first`, `by_second`, `by_case` agree."""

    first_cost: Array
    second_cost: Array
    by_first: Array
    by_second: Array
    need: Array
    by_case: Array
    low: Array
    high: Array
    whole: Array
    rows: Array = field(default_factory=lambda: np.zeros((0, 0)))
    limits: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        m, n1, n2 = len(self.need), len(self.first_cost), len(self.second_cost)
        shapes = {
            "by_first": (self.by_first.shape, (m, n1)), "by_second": (self.by_second.shape, (m, n2)),
            "low": (self.low.shape, (n1,)), "high": (self.high.shape, (n1,)), "whole": (self.whole.shape, (n1,)),
        }  # fmt: skip
        for name, (given, wanted) in shapes.items():
            if given != wanted:
                raise BadValueError(f"{name} has the shape {given}; it must be {wanted}.")
        if self.by_case.ndim != 2 or len(self.by_case) != m:
            raise BadValueError(f"by_case has the shape {self.by_case.shape}; it must have {m} rows.")


@dataclass(frozen=True)
class TwoStageSolution:
    """What to choose now; its worst cost (`upper`) and what no choice beats (`lower`), by step; the worst case met."""

    first: Array
    lower: float
    upper: float
    worst: Array
    steps: tuple[tuple[float, float], ...]
    cases: int
    feasible: bool = True

    @property
    def gap(self) -> float:
        return (self.upper - self.lower) / max(abs(self.upper), 1e-12)

    def text(self) -> str:
        """Return the bounds by step as lines."""
        lines = [f"step {i + 1}: {low:.6g} .. {high:.6g}" for i, (low, high) in enumerate(self.steps)]
        return "\n".join(lines)


def solve_two_stage(problem: TwoStage, uncertain: BudgetSet | Array, *, gap: float = GAP) -> TwoStageSolution:
    """Return the choice with the least worst cost.

    Args:
        uncertain: a budget set, or scenarios of shape (cases, dimensions). gap: relative, at which to stop.

    Raises:
        BadValueError: recourse that is not bounded by what a shortage costs (every row of `by_second` needs a column
            without negative entries and with a positive one there), or shapes that do not fit.
    """
    most = _most_dual(problem)
    known = [uncertain.base if isinstance(uncertain, BudgetSet) else np.atleast_2d(uncertain)[0]]
    if len(known[0]) != problem.by_case.shape[1]:
        raise BadValueError(f"by_case has {problem.by_case.shape[1]} columns and a case {len(known[0])} numbers.")
    lower, upper, best, worst = -np.inf, np.inf, np.zeros(0), known[0]
    steps: list[tuple[float, float]] = []
    for _ in range(MOST_STEPS):
        first, value = master(problem, known)
        if first is None:
            return TwoStageSolution(best, np.inf, np.inf, worst, tuple(steps), len(known), False)
        lower = max(lower, value)
        later, case = _worst(problem, uncertain, first, most)
        total = float(problem.first_cost @ first) + later
        if total < upper:
            upper, best, worst = total, first, case
        steps.append((lower, upper))
        if upper - lower <= gap * max(abs(upper), 1e-12) or any(np.array_equal(case, one) for one in known):
            break
        known.append(case)
    return TwoStageSolution(best, min(lower, upper), upper, worst, tuple(steps), len(known))


def master(problem: TwoStage, cases: list[Array]) -> tuple[Array | None, float]:
    """Return (choice, bound) over known cases; over all cases this is the extensive form. None: nothing is feasible."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import block_diag, csr_matrix, hstack

    n1, n2, s, m = len(problem.first_cost), len(problem.second_cost), len(cases), len(problem.need)
    own = block_diag([csr_matrix(problem.by_second)] * s) if n2 else csr_matrix((s * m, 0))
    rows = hstack([csr_matrix(np.tile(problem.by_first, (s, 1))), csr_matrix((s * m, 1)), own])
    need = np.concatenate([problem.need + problem.by_case @ u for u in cases])
    later = np.hstack([np.zeros((s, n1)), np.ones((s, 1)), -np.kron(np.eye(s), problem.second_cost)])
    constraints = [LinearConstraint(rows, need, np.inf), LinearConstraint(later, 0, np.inf)]
    if len(problem.rows):
        wide = np.hstack([problem.rows, np.zeros((len(problem.rows), 1 + s * n2))])
        constraints.append(LinearConstraint(wide, -np.inf, problem.limits))
    free = np.full(1 + s * n2, np.inf)
    with silent():
        found = milp(
            np.r_[problem.first_cost, 1.0, np.zeros(s * n2)], constraints=constraints,
            integrality=np.r_[problem.whole.astype(float), np.zeros(1 + s * n2)],
            bounds=Bounds(np.r_[problem.low, -np.inf, np.zeros(s * n2)], np.r_[problem.high, free]),
            options={"time_limit": TIME_LIMIT_S, "mip_rel_gap": 1e-9},
        )  # fmt: skip
    if found.x is None:
        return None, np.inf
    first = np.where(problem.whole, np.round(found.x[:n1]), found.x[:n1])
    bound = found.fun if found.mip_dual_bound is None else found.mip_dual_bound
    return first, float(bound)


def recourse(problem: TwoStage, first: Array, case: Array) -> float:
    """Return what correcting costs once a case is known."""
    from scipy.optimize import linprog

    short = problem.need + problem.by_case @ case - problem.by_first @ first
    with silent():
        found = linprog(problem.second_cost, A_ub=-problem.by_second, b_ub=-short)
    return float(found.fun) if found.status == 0 else np.inf


def _worst(problem: TwoStage, uncertain: BudgetSet | Array, first: Array, most: Array) -> tuple[float, Array]:
    """Return (cost of correcting, case) in the worst case for a first choice."""
    if isinstance(uncertain, BudgetSet):
        case = _worst_corner(problem, uncertain, first, most)
        return recourse(problem, first, case), case
    cases = np.atleast_2d(uncertain)
    costs = [recourse(problem, first, case) for case in cases]
    place = int(np.argmax(costs))
    return costs[place], cases[place]


def _worst_corner(problem: TwoStage, uncertain: BudgetSet, first: Array, most: Array) -> Array:
    """Maximise the dual of the recourse over duals p and binaries w, with r = p w made linear by bounds of p."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    m, n = len(problem.need), len(uncertain.base)
    effect = problem.by_case * uncertain.deviation  # what w adds to each need, (rows, dimensions)
    row, column = np.nonzero(effect)
    count = len(row)
    pick_p, pick_w, pick_r = np.eye(m)[row], np.eye(n)[column], np.eye(count)
    bound = most[row][:, None]
    none_p, none_w = np.zeros((count, m)), np.zeros((count, n))
    rows = [
        LinearConstraint(np.hstack([problem.by_second.T, np.zeros((len(problem.second_cost), n + count))]), -np.inf,
                         problem.second_cost),
        LinearConstraint(np.r_[np.zeros(m), np.ones(n), np.zeros(count)][None, :], -np.inf, uncertain.gamma),
        LinearConstraint(np.hstack([none_p, -bound * pick_w, pick_r]), -np.inf, 0),  # r <= most w
        LinearConstraint(np.hstack([-pick_p, none_w, pick_r]), -np.inf, 0),  # r <= p
        LinearConstraint(np.hstack([-pick_p, -bound * pick_w, pick_r]), -most[row], np.inf),  # r >= p - most (1 - w)
    ]  # fmt: skip
    short = problem.need + problem.by_case @ uncertain.base - problem.by_first @ first
    with silent():
        found = milp(
            -np.r_[short, np.zeros(n), effect[row, column]], constraints=rows,
            integrality=np.r_[np.zeros(m), np.ones(n), np.zeros(count)],
            bounds=Bounds(0, np.r_[most, np.ones(n), most[row]]),
            options={"time_limit": TIME_LIMIT_S, "mip_rel_gap": 1e-9},
        )  # fmt: skip
    if found.x is None:
        raise UnsupportedError(
            "the worst case of a first choice was not found in time; use scenarios or a smaller set."
        )
    return np.asarray(uncertain.base + uncertain.deviation * np.round(found.x[m : m + n]))


def _most_dual(problem: TwoStage) -> Array:
    """Return a bound of each row's dual: what one more unit of its need costs at most, by its dearest-free column."""
    plain = (problem.by_second >= 0).all(axis=0)
    with np.errstate(divide="ignore"):
        rate = np.where(plain & (problem.by_second > 0), problem.second_cost / problem.by_second, np.inf)
    most = rate.min(axis=1, initial=np.inf)
    if not np.isfinite(most).all():
        raise BadValueError(
            f"row {int(np.argmax(~np.isfinite(most)))} cannot always be corrected; add a column of `by_second` for "
            "what is missing there, at the cost of a unit."
        )
    return np.asarray(most)


def reserve(
    price_now: object, price_later: object, need: object, extra: object, gamma: int, most: object, *,
    units: object = None,
) -> tuple[TwoStage, BudgetSet]:  # fmt: skip
    """Return the program of reserving capacity now and buying what is missing later, at another price.

    Args:
        price_now, price_later: of a unit of each resource, (resources,). need: what each class needs of each resource
            for certain, (classes, resources); extra: how much more if it comes worst; at most `gamma` classes do.
        most: units of each resource that can be reserved. units: of each resource in one reserved piece (1).
    """
    now, later = np.asarray(price_now, dtype=float), np.asarray(price_later, dtype=float)
    base, more = np.asarray(need, dtype=float), np.asarray(extra, dtype=float)
    n, classes = len(now), len(base)
    size = np.ones(n) if units is None else np.asarray(units, dtype=float)
    problem = TwoStage(
        now * size, later, np.diag(size), np.eye(n), base.sum(axis=0), more.T, np.zeros(n),
        np.asarray(most, dtype=float), np.ones(n, dtype=bool),
    )  # fmt: skip
    return problem, BudgetSet(np.zeros(classes), np.ones(classes), gamma)
