"""Budgets that hold with a probability: P(sum of costs <= budget) >= 0.95, over jointly sampled scenarios.

Scenarios are cut in three: on the first the choice is made, on the second its safety is set, and the third, which had
no part in the choice, says how often the budgets hold. Where few choices exist all are tried, best first. Small
problems are solved exactly over the first part (a binary for each case that may break a budget); large ones by a
knapsack with costs between mean and quantile, the share found by bisection, then with each option's mean cost in the
cases near the quantile of the sum (Euler's allocation).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from archcast.allocating.exact import solve_exact
from archcast.allocating.greedy import infeasible, solve_greedy
from archcast.allocating.knapsack import NONE, Knapsack, Solution
from archcast.allocating.scenarios import Cases, Scenarios, as_scenarios
from archcast.allocating.shortfall import least_use
from archcast.allocating.solver import silent
from foundation.errors import BadValueError
from workloads.table import Array

SMALL_CELLS, SMALL_CASES = 400, 300
MOST_CHOICES = 60_000
"""Choices in all up to which each is tried."""
MOST_AGAIN = 150_000
"""Choices times items up to which each is tried again with other budgets."""
BATCH = 256
HALVINGS = 9
GAP = 3e-4
"""Of the knapsacks on the way."""
MOST_SAFETY = 3.0
"""Times the way from the mean to the quantile: beyond it nothing is tried."""
NEAR = 0.04
"""Cases whose place among all is this near to the probability count as near the quantile."""
TIME_LIMIT_S = 2.0


@dataclass(frozen=True)
class ChanceSolution:
    """A choice whose budgets hold with a probability.

    Attributes:
        solution: the choice (its `bound` is that of the problem as it was posed to the solver).
        nominal: the choice that takes the problem's own (most likely) costs as certain.
        probability: asked for. joint: whether all budgets together are meant, else each by itself.
        in_sample, out_of_sample: share of cases in which each budget holds (one number where joint), on the cases that
            made the choice and on cases that had no part in it. `assured`: a lower end of the latter (95 %, Clopper
            and Pearson). nominal_coverage: out of sample, of the nominal choice.
        method: `enumeration`, `scenario program` or `safety factor`. safety: found by bisection.
    """

    solution: Solution
    nominal: Solution
    probability: float
    joint: bool
    in_sample: Array
    out_of_sample: Array
    assured: Array
    nominal_coverage: Array
    method: str
    safety: float
    again: Callable[[Array], Solution] | None = None
    """The best choice with other budgets on the same scenarios, where all choices are tried."""

    @property
    def price(self) -> float:
        """Return what the safety costs: the share of the nominal choice's worth that is given up."""
        if not self.solution.feasible:
            return 1.0
        worth = self.nominal.value
        return (worth - self.solution.value) / abs(worth) if worth else worth - self.solution.value

    @property
    def kept(self) -> bool:
        """Return whether the budgets hold as often as asked, on cases that had no part in the choice."""
        return self.solution.feasible and bool((self.out_of_sample >= self.probability).all())


def solve_chance(
    problem: Knapsack, scenarios: object, *, probability: float = 0.95, joint: bool = False,
    fresh: object | None = None, time_limit_s: float = TIME_LIMIT_S,
) -> ChanceSolution:  # fmt: skip
    """Return the best choice found whose budgets hold with a probability.

    Args:
        scenarios: (cases, items, options, budgets) or `SharedErrors`; independent draws in any order.
        probability: for each budget by itself, or for all together where `joint`.
        fresh: cases for the last check; None: a third of `scenarios` is kept for it.

    Raises:
        BadValueError: a probability outside [0.5, 1), scenarios of another shape.
    """
    if not 0.5 <= probability < 1:
        raise BadValueError(f"probability must be at least 0.5 and below 1, not {probability:g}.")
    cases = as_scenarios(scenarios, problem.cost.shape)
    places = np.arange(cases.count)
    parts = 3 if fresh is None else 2
    made, tuned = cases.part(places[places % parts == 0]), cases.part(places[places % parts == 1])
    last = cases.part(places[places % 3 == 2]) if fresh is None else as_scenarios(fresh, problem.cost.shape)
    many = math.prod(int(n) for n in problem.extended().mask.sum(axis=1))
    few, anew = many <= MOST_CHOICES, many * problem.items <= MOST_AGAIN
    nominal = solve_exact(problem, time_limit_s=time_limit_s)
    small = isinstance(made, Cases) and problem.value.size <= SMALL_CELLS and made.count <= SMALL_CASES
    if few:
        found, safety = _enumerated(problem, made, tuned, probability, joint), 0.0
    elif not nominal.feasible:
        found, safety = nominal, 0.0
    elif small and isinstance(made, Cases):
        found, safety = _program(problem, made, tuned, probability, joint, time_limit_s)
    else:
        found, safety = _factor(problem, made, tuned, probability, joint, time_limit_s)
    if found.feasible and found.value > nominal.value and problem.holds(found.choice):
        nominal = found  # the solver ran out of time before it met this one

    def again(budget: Array) -> Solution:
        return _enumerated(replace(problem, budget=budget), made, tuned, probability, joint)

    method = "enumeration" if few else "scenario program" if small else "safety factor"
    return ChanceSolution(
        found, nominal, probability, joint, _coverage(problem, made, found, joint),
        _coverage(problem, last, found, joint), _assured(_coverage(problem, last, found, joint), last.count),
        _coverage(problem, last, nominal, joint), method, safety, again if few and anew else None,
    )  # fmt: skip


def asked_of_tuning(probability: float, count: int) -> float:
    """Return the share that the tuning cases must keep: the probability and one standard error of a share of them.

    A choice that is only just safe on the cases that picked it is a little less so on others.
    """
    return min(probability + math.sqrt(probability * (1 - probability) / count), 1 - 1 / count)


def coverage(problem: Knapsack, scenarios: Scenarios, choice: Array, joint: bool = False) -> Array:
    """Return the share of cases in which each budget holds, shape (budgets,), or all of them, shape (1,)."""
    holds = scenarios.totals(choice) <= problem.budget
    return np.asarray(holds.all(axis=1, keepdims=True).mean(axis=0) if joint else holds.mean(axis=0))


def _coverage(problem: Knapsack, scenarios: Scenarios, found: Solution, joint: bool) -> Array:
    if not found.feasible:
        return np.zeros(1 if joint else problem.budgets)
    return coverage(problem, scenarios, found.choice, joint)


def _assured(shares: Array, count: int) -> Array:
    """Return the lower end of a one-sided 95 % interval of shares of `count` cases."""
    from scipy.stats import beta

    good = np.round(shares * count)
    return np.where(good > 0, beta.ppf(0.05, np.maximum(good, 1), count - good + 1), 0.0)


def _enumerated(
    problem: Knapsack, made: Scenarios, tuned: Scenarios, probability: float, joint: bool
) -> Solution:  # fmt: skip
    """Return the most valuable of all choices that holds often enough on the first and on the second cases."""
    whole = problem.extended()
    options = [np.flatnonzero(row) for row in whole.mask]
    choices = np.stack(np.meshgrid(*options, indexing="ij"), axis=-1).reshape(-1, problem.items)
    rows = np.arange(problem.items)
    choices = choices[np.argsort(-whole.value[rows, choices].sum(axis=1), kind="stable")]
    parts = [_by_option(whole, part) for part in (made, tuned)]
    for start in range(0, len(choices), BATCH):
        batch = choices[start : start + BATCH]
        good = np.ones(len(batch), dtype=bool)
        for part, least in zip(parts, (probability, asked_of_tuning(probability, tuned.count)), strict=True):
            totals = sum(part[:, i, batch[:, i]] for i in rows)  # (cases, batch, budgets)
            holds = totals <= problem.budget
            share = holds.all(axis=2).mean(axis=0) if joint else holds.mean(axis=0).min(axis=1)
            good &= share >= least
        if good.any():
            choice = batch[int(good.argmax())]
            own = np.where(choice >= problem.value.shape[1], NONE, choice)
            worth, none = problem.worth(own), np.zeros(problem.budgets)
            return Solution(
                own, worth, problem.used(own), worth, "enumeration", np.inf, none, "optimal", "enumeration",
                len(choices),
            )  # fmt: skip
    return infeasible(problem, "enumeration")


def _by_option(whole: Knapsack, cases: Scenarios) -> Array:
    """Return costs by case, item and option (the empty choice too), shape (cases, items, options, budgets)."""
    if isinstance(cases, Cases):
        costs = cases.costs
    else:
        every = [cases.averaged(np.array([s])) for s in range(cases.count)]
        costs = np.stack(every)
    added = whole.value.shape[1] - costs.shape[2]
    return np.concatenate([costs, np.zeros((len(costs), whole.items, added, whole.budgets))], axis=2)


def _factor(
    problem: Knapsack, made: Scenarios, tuned: Scenarios, probability: float, joint: bool, time_limit_s: float
) -> tuple[Solution, float]:
    """Return the best of two families of cost tables that keeps the probability on the tuning cases."""
    mean, high = made.mean(), made.quantile(probability)

    def good(found: Solution) -> bool:
        return found.feasible and all(
            bool((coverage(problem, part, found.choice, joint) >= least).all())
            for part, least in ((made, probability), (tuned, asked_of_tuning(probability, tuned.count)))
        )

    def between(safety: float) -> Knapsack:
        return replace(problem, cost=np.maximum(mean + safety * (high - mean), 0.0))

    best, safety = _least_safe(between, good, 0.0, MOST_SAFETY, time_limit_s)
    if not best.feasible:
        safest = _safest(replace(problem, cost=high))
        enough = safest.feasible and all(  # nothing safer is known: the plain share is enough
            bool((coverage(problem, part, safest.choice, joint) >= probability).all()) for part in (made, tuned)
        )
        best = safest if enough else best
    for _ in range(2):
        base = best if best.feasible else solve_greedy(between(0.0))
        if not base.feasible:
            break
        table = np.maximum(_near_quantile(made, base.choice, probability), 0.0)

        def scaled(share: float, table: Array = table) -> Knapsack:
            return replace(problem, cost=table * share)

        other, _ = _least_safe(scaled, good, 0.9, 1.25, time_limit_s)
        if not other.feasible or (best.feasible and other.value <= best.value):
            break
        best = other
    if not best.feasible:
        return infeasible(problem, "safety factor", proved=False), safety
    if not math.isfinite(best.bound):  # the safest choice: no bound but that without risk
        whole = replace(problem, cost=np.zeros_like(problem.cost))
        best = replace(best, bound=solve_greedy(whole).bound)
    return replace(best, used=problem.used(best.choice)), safety


def _safest(problem: Knapsack) -> Solution:
    """Return the choice that uses the least share of the budgets at quantiles of costs, whatever it is worth."""
    choice = least_use(problem).choice
    if choice is None:
        return infeasible(problem, "safety factor", proved=False)
    own = np.where(choice >= problem.value.shape[1], NONE, choice)
    none = np.zeros(problem.budgets)
    return Solution(own, problem.worth(own), problem.used(own), np.inf, "prices", np.inf, none, "within gap", "safest")


def _least_safe(
    posed: Callable[[float], Knapsack], good: Callable[[Solution], bool], low: float, high: float, time_limit_s: float
) -> tuple[Solution, float]:
    """Return the most valuable good solution met while halving the range of a safety, and its safety.

    Too much safety fits no budget, too little does not hold often enough: either says on which side to look. On the
    way the greedy answer is enough; the exact one is asked for at the end.
    """
    best, at = replace(solve_greedy(posed(low)), status="infeasible", choice=np.zeros(0, dtype=int)), high
    for step in range(HALVINGS + 1):
        middle = low if step == 0 else 0.5 * (low + high)
        found = solve_greedy(posed(middle))
        if not found.feasible:
            high = middle
        elif good(found):
            high = middle
            if not best.feasible or found.value >= best.value:
                best, at = found, middle
            if step == 0:
                break
        elif step:
            low = middle
    if best.feasible:
        last = solve_exact(posed(at), time_limit_s=time_limit_s, gap=GAP)
        best = last if last.value > best.value and good(last) else best
    return best, at


def _near_quantile(made: Scenarios, choice: Array, probability: float) -> Array:
    """Return each option's mean cost in the cases whose total for `choice` is near its quantile, by budget."""
    totals = made.totals(choice)
    width = max(int(NEAR * made.count), 3)
    middle = min(int(probability * made.count), made.count - 1)
    lo, hi = max(middle - width, 0), min(middle + width + 1, made.count)
    tables = [made.averaged(np.argsort(totals[:, k])[lo:hi])[:, :, k] for k in range(totals.shape[1])]
    return np.stack(tables, axis=2)


def _program(
    problem: Knapsack, made: Cases, tuned: Scenarios, probability: float, joint: bool, time_limit_s: float
) -> tuple[Solution, float]:
    """Return the exact choice over the cases, with fewer cases let go until the tuning cases agree."""
    most = int(np.floor((1 - probability) * made.count + 1e-9))
    found = infeasible(problem, "scenario program")
    for let_go in dict.fromkeys([most, most * 3 // 4, most // 2, most // 4, 0]):
        found = _scenario_milp(problem, made.costs, let_go, joint, time_limit_s)
        if not found.feasible:
            return found, 0.0
        least = asked_of_tuning(probability, tuned.count)
        if (coverage(problem, tuned, found.choice, joint) >= least).all():
            return found, 1 - let_go / made.count
    return found, 1.0


def _scenario_milp(problem: Knapsack, costs: Array, let_go: int, joint: bool, time_limit_s: float) -> Solution:
    """Maximise worth so that at most `let_go` cases break each budget (any budget where `joint`)."""
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix, hstack, identity, vstack

    whole = problem.extended()
    added = np.zeros((len(costs), problem.items, whole.value.shape[1] - problem.value.shape[1], problem.budgets))
    costs = np.concatenate([costs, added], axis=2)
    item, option = np.nonzero(whole.mask)
    count, n, many = len(item), len(costs), problem.budgets
    scale = np.where(problem.budget > 0, problem.budget, 1.0)
    rows = (costs[:, item, option] / scale).transpose(2, 0, 1).reshape(many * n, count)  # budgets, then cases
    room = np.repeat(np.where(problem.budget > 0, 1.0, 0.0), n)
    worst = (costs.max(axis=2).sum(axis=1) / scale).T.ravel()
    excess = np.maximum(worst - room, 0.0)
    held = identity(n) if joint else identity(many * n)
    broken = vstack([held] * many) if joint else held
    binaries = broken.shape[1]
    one = csr_matrix((np.ones(count), (item, np.arange(count))), shape=(problem.items, count + binaries))
    groups = np.kron(np.eye(1 if joint else many), np.ones(n))
    few = hstack([csr_matrix((len(groups), count)), csr_matrix(groups)])
    keep = hstack([csr_matrix(rows), -broken.multiply(excess[:, None])])
    with silent():
        found = milp(
            np.r_[-whole.value[item, option], np.zeros(binaries)], integrality=np.ones(count + binaries),
            bounds=Bounds(0, 1),
            constraints=[LinearConstraint(one, 1, 1), LinearConstraint(keep, -np.inf, room),
                         LinearConstraint(few, -np.inf, let_go)],
            options={"time_limit": time_limit_s},
        )  # fmt: skip
    if found.x is None:
        return infeasible(problem, "scenario program", proved=found.status == 2)
    choice = np.zeros(problem.items, dtype=int)
    taken = np.flatnonzero(found.x[:count] > 0.5)
    choice[item[taken]] = option[taken]
    own = np.where(choice >= problem.value.shape[1], -1, choice)
    value = problem.worth(own)
    bound = max(-float(found.mip_dual_bound), value)
    return Solution(
        own, value, problem.used(own), bound, "solver", np.inf, np.zeros(many),
        "optimal" if found.status == 0 else "time limit", "scenario program",
    )  # fmt: skip
