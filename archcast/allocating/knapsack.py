"""The multiple-choice knapsack: one option an item, several budgets. Its data, its answer and the exact checks.

    maximise  sum_i value[i, choice_i]   so that   sum_i cost[i, choice_i, k] <= budget[k]   for every k

A budget is held when the exact sum of the chosen costs does not exceed it: no tolerance (`math.fsum` is the exact sum
rounded once, so that the sign of `fsum(costs) - budget` is right to the last bit).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from foundation.errors import BadValueError
from workloads.table import Array

NONE = -1
"""Choice of an item that gets no option (only where that is allowed)."""
MOST_CELLS = 20_000_000
"""Items x options x budgets of one problem: 160 MB of costs."""
ROUNDING = 8.0 * float(np.finfo(float).eps)


@dataclass(frozen=True)
class Knapsack:
    """A checked problem. Build it with `knapsack`; arrays are not to be changed.

    Attributes:
        value: shape (items, options), the worth of an option (any sign, any unit).
        cost: shape (items, options, budgets), at least 0, in the unit of its budget.
        budget: shape (budgets,).
        mask: shape (items, options), which options may be chosen.
        optional: whether an item may also get none (worth 0, cost 0).
        names: of the budgets.
    """

    value: Array
    cost: Array
    budget: Array
    mask: Array
    optional: bool = False
    names: tuple[str, ...] = ()

    @property
    def items(self) -> int:
        return int(self.value.shape[0])

    @property
    def budgets(self) -> int:
        return int(self.budget.shape[0])

    def extended(self) -> Knapsack:
        """Return the problem with the empty choice as a last option of every item, where it is allowed."""
        if not self.optional:
            return self
        zero = np.zeros((self.items, 1))
        return Knapsack(
            np.hstack([self.value, zero]), np.concatenate([self.cost, np.zeros((self.items, 1, self.budgets))], axis=1),
            self.budget, np.hstack([self.mask, np.ones((self.items, 1), dtype=bool)]), False, self.names,
        )  # fmt: skip

    def worth(self, choice: Array) -> float:
        """Return the value of a choice, shape (items,), correctly rounded."""
        taken = np.flatnonzero(choice >= 0)
        return math.fsum(self.value[taken, choice[taken]].tolist())

    def used(self, choice: Array) -> Array:
        """Return what a choice uses of every budget, correctly rounded, shape (budgets,)."""
        taken = np.flatnonzero(choice >= 0)
        rows = self.cost[taken, choice[taken]]
        return np.array([math.fsum(rows[:, k].tolist()) for k in range(self.budgets)])

    def holds(self, choice: Array) -> bool:
        """Return whether a choice is allowed and holds every budget exactly."""
        taken = np.flatnonzero(choice >= 0)
        if (len(taken) < self.items and not self.optional) or not self.mask[taken, choice[taken]].all():
            return False
        rows = self.cost[taken, choice[taken]]
        return all(math.fsum([*rows[:, k].tolist(), -float(self.budget[k])]) <= 0.0 for k in range(self.budgets))


@dataclass(frozen=True)
class Solution:
    """A choice with its certificate.

    Attributes:
        choice: option of each item, `NONE` for none, shape (items,); empty where there is no feasible choice.
        value: its worth. used: of each budget.
        bound: no choice is worth more.
        bound_by: what proves it: `prices` (any prices of the budgets give a bound, checked here without the solver),
            `solver` (HiGHS closed its tree) or `enumeration`.
        price_bound: the bound from prices alone.
        prices: worth of one more unit of each budget, shape (budgets,), from the relaxed problem.
        status: `optimal`, `within gap`, `time limit` or `infeasible`.
        method: what found it. left: options that were still open after all reductions.
    """

    choice: Array
    value: float
    used: Array
    bound: float
    bound_by: str
    price_bound: float
    prices: Array
    status: str
    method: str
    left: int = 0
    notes: tuple[str, ...] = field(default=())

    @property
    def feasible(self) -> bool:
        return self.status != "infeasible"

    @property
    def gap(self) -> float:
        """Return how much more worth there may be, as a share of the value found."""
        if not self.feasible:
            return math.inf
        return relative_gap(self.value, self.bound)


def relative_gap(value: float, bound: float) -> float:
    """Return (bound - value) / |value|, at least 0; absolute where the value is 0."""
    over = max(bound - value, 0.0)
    return over / abs(value) if value else over


def knapsack(
    value: object, cost: object, budget: object, mask: object = None, *, optional: bool = False,
    names: Sequence[str] = (),
) -> Knapsack:  # fmt: skip
    """Return a checked problem.

    Args:
        value: (items, options). cost: (items, options, budgets), or (items, options) with one budget.
        budget: (budgets,) or a number. mask: (items, options), None: all; options whose value or cost is not finite
            (what does not fit on a device) are taken out.
        optional: whether an item may get none. names: of the budgets.

    Raises:
        BadValueError: shapes that do not fit together, a negative cost or budget, too large a problem.
    """
    v, b = _array("value", value), np.atleast_1d(_array("budget", budget))
    c = _array("cost", cost)
    if c.ndim == 2:
        c = c[:, :, None]
    if v.ndim != 2 or not v.size or c.shape != (*v.shape, b.size) or b.ndim != 1:
        raise BadValueError(
            f"value is (items, options), cost (items, options, budgets) and budget (budgets,); got {v.shape}, "
            f"{c.shape} and {b.shape}."
        )
    if c.size > MOST_CELLS:
        raise BadValueError(f"{c.size:,} costs are more than the {MOST_CELLS:,} of one problem; split the items.")
    if not np.isfinite(b).all() or (b < 0).any():
        raise BadValueError(f"every budget must be a finite number of at least 0, not {b.min():g}.")
    allowed = np.ones(v.shape, dtype=bool) if mask is None else np.array(mask, dtype=bool)
    if allowed.shape != v.shape:
        raise BadValueError(f"mask has the shape of value, {v.shape}, not {allowed.shape}.")
    allowed &= np.isfinite(v) & np.isfinite(c).all(axis=2)
    if (c[allowed] < 0).any():
        raise BadValueError("a cost is negative; costs are at least 0 (what is earned belongs to the value).")
    v, c = np.where(allowed, v, 0.0), np.where(allowed[:, :, None], c, 0.0)
    named = tuple(names) or tuple(f"budget {k + 1}" for k in range(b.size))
    if len(named) != b.size:
        raise BadValueError(f"{len(named)} names for {b.size} budgets.")
    return Knapsack(v, c, b, allowed, optional, named)


def _array(name: str, given: object) -> Array:
    try:
        return np.array(given, dtype=float)
    except (TypeError, ValueError):
        raise BadValueError(f"{name} must be an array of numbers with rows of equal length.") from None
