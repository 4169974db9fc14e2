"""How each kind of risk picks a choice, and what it holds against the budgets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from archcast.allocating.allocate_file import Study
from archcast.allocating.chance import ChanceSolution, solve_chance
from archcast.allocating.costs import Costs
from archcast.allocating.exact import solve_exact
from archcast.allocating.greedy import solve_greedy
from archcast.allocating.knapsack import NONE, Knapsack, Solution, knapsack
from archcast.allocating.robust import solve_gamma, worst_use
from archcast.allocating.scenarios import Cases
from archcast.allocating.words import plain
from workloads.table import Array

DRAWS = 1000
LEAST_SCENARIOS = 300
MOST_DRAWN = 40_000_000


@dataclass(frozen=True)
class Posed:
    """The knapsack of a study: `problem` has the values' costs of all requests of an item, by shared budget.

    Attributes:
        spread: upper ends less costs, same shape as the costs. draws: costs of one request, (n, items, options,
            quantities). level: choice -> what it holds against each budget under the study's risk. kind, gamma: of the
            risk.
    """

    problem: Knapsack
    spread: Array
    draws: Array
    level: Callable[[Array], Array]
    basis: str
    kind: str
    gamma: float


def pose(study: Study, costs: Costs, mask: Array, draws: Array) -> Posed:
    """Return the knapsack of a study over the options that its limits leave."""
    places = [costs.of(budget.name) for budget in study.total]
    count = costs.count[:, None, None]
    cost = count * np.where(mask[:, :, None], costs.cost[:, :, places], 0.0)
    high = count * np.where(mask[:, :, None], costs.hi[:, :, places], 0.0)
    problem = knapsack(
        costs.count[:, None] * costs.value, cost, [b.most for b in study.total], mask,
        optional=study.choose == "at most one", names=[b.name for b in study.total],
    )  # fmt: skip
    spread, risk = np.maximum(high - cost, 0.0), study.risk

    def upper(choice: Array) -> Array:
        return worst_use(problem, spread, problem.items, choice)

    def robust(choice: Array) -> Array:
        return worst_use(problem, spread, risk.gamma, choice)

    def quantile(choice: Array) -> Array:
        totals = total_draws(costs, draws, choice, places)
        return np.asarray(np.quantile(totals, risk.probability, axis=0, method="higher"))

    level, basis = {
        "nominal": (problem.used, "most likely costs"), "upper": (upper, "all costs at their upper ends"),
        "chance": (quantile, f"what {100 * risk.probability:g} % of scenarios do not exceed"),
        "robust": (robust, f"the upper ends of at most {risk.gamma:g} item{'' if risk.gamma == 1 else 's'} at once"),
    }[risk.kind]  # fmt: skip
    return Posed(problem, spread, draws, level, basis, risk.kind, risk.gamma)


def safe_problem(posed: Posed, choice: Array, level: Array) -> Knapsack:
    """Return a knapsack without risk that stands for the study's near a choice, for prices and side questions.

    Upper ends are costs; Gamma items at once are thresholds at the Gamma-th largest spread of the choice (exact there,
    Bertsimas and Sim); with a probability, costs are scaled to the quantile of the choice's sums.
    """
    problem, gamma = posed.problem, posed.gamma
    if posed.kind == "upper":
        return replace(problem, cost=problem.cost + posed.spread)
    if posed.kind == "robust":
        taken = np.flatnonzero(choice != NONE)
        over = -np.sort(-posed.spread[taken, choice[taken]], axis=0)
        z = over[int(gamma)] if int(gamma) < len(over) else np.zeros(problem.budgets)
        room = np.maximum(problem.budget - gamma * z, 0.0)
        return replace(problem, cost=problem.cost + np.maximum(posed.spread - z, 0.0), budget=room)
    used = problem.used(choice)
    return replace(problem, cost=problem.cost * np.where(used > 0, level / np.where(used > 0, used, 1.0), 1.0))


def total_draws(costs: Costs, draws: Array, choice: Array, places: list[int]) -> Array:
    """Return the draws of sums over items of a choice, shape (n, places)."""
    taken = np.flatnonzero(choice != NONE)
    chosen = draws[:, taken, choice[taken]][:, :, places]
    return np.asarray((chosen * costs.count[taken, None]).sum(axis=1))


def draws_of(study: Study, costs: Costs) -> Array:
    """Return joint draws of the costs of one request; fewer where the table is large."""
    wanted = study.risk.scenarios if study.risk.kind == "chance" else DRAWS
    count = int(max(60, min(wanted, MOST_DRAWN // costs.cost.size)))
    if study.risk.kind == "chance" and count < LEAST_SCENARIOS:
        raise study.settings.fault(
            ("risk", "kind"), f"{costs.value.size:,} pairs of items and options leave room for {count} scenarios only; "
            f"a probability needs {LEAST_SCENARIOS}.", "Give fewer options, or risk: upper.",
        )  # fmt: skip
    return costs.draw(count)


def limited(study: Study, costs: Costs, draws: Array) -> tuple[Array, Array, Array]:
    """Return (mask, reason, cost held against limits) of the limits that hold for each request by itself."""
    if study.risk.kind == "chance":
        held = np.quantile(draws, study.risk.probability, axis=0, method="higher")
    else:
        held = costs.hi if study.risk.kind in ("upper", "robust") else costs.cost
    over = held > costs.limits[:, None, :]
    reason, mask = costs.reason.copy(), costs.mask & ~over.any(axis=2)
    for i, j in np.argwhere(costs.mask & over.any(axis=2)):
        names = [plain(costs.quantities[k]) for k in np.flatnonzero(over[i, j])]
        reason[i, j] = "over the limit of " + ", ".join(names)
    return mask, reason, held


def solve(study: Study, posed: Posed, costs: Costs) -> tuple[Solution, ChanceSolution | None]:
    """Return the choice under a study's risk."""
    problem, risk = posed.problem, study.risk

    def plain(asked: Knapsack) -> Solution:
        if study.method == "greedy":
            return solve_greedy(asked)
        return solve_exact(asked, time_limit_s=study.time_limit_s, gap=study.gap)

    if risk.kind == "upper":
        found = plain(replace(problem, cost=problem.cost + posed.spread))
        return (replace(found, used=problem.used(found.choice)) if found.feasible else found), None
    if risk.kind == "robust":
        return solve_gamma(problem, posed.spread, risk.gamma, time_limit_s=study.time_limit_s), None
    if risk.kind == "chance":
        places = [costs.of(budget.name) for budget in study.total]
        scaled = np.nan_to_num(posed.draws[:, :, :, places]) * costs.count[None, :, None, None]
        chance = solve_chance(
            problem, Cases(scaled), probability=risk.probability, joint=risk.joint, time_limit_s=study.time_limit_s
        )  # fmt: skip
        return chance.solution, chance
    return plain(problem), None
