"""`allocate`: from a file to the answer."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from archcast.allocating.allocate_file import Study, read_allocate
from archcast.allocating.answer import Allocation, Change, Chosen, Lacking, Point
from archcast.allocating.chance import ChanceSolution
from archcast.allocating.costs import Costs
from archcast.allocating.knapsack import NONE, Knapsack, Solution
from archcast.allocating.margins import EXACT_CELLS, side, used_of
from archcast.allocating.risks import Posed, draws_of, limited, pose, solve
from archcast.allocating.shares import solve_shares
from archcast.allocating.shortfall import least_use
from costmodel.estimate import Quantity
from foundation.checks import whole_number
from foundation.errors import BadFileError, InputError
from workloads.table import Array

SCALES = (0.25, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
"""Budgets of the frontier, as multiples of the file's."""
SHOWN_CHANGES = 3
TRIED_CHANGES = 80
NONE_WORDS = "nothing"


def allocate(
    file: str | Path | Mapping[str, Any], *, settings: Mapping[str, Any] | None = None, seed: int | None = None
) -> Allocation:
    """Return who gets which option so that the expected worth is largest within the budgets.

    Args:
        file: a YAML file of kind `allocate` (docs/allocate.md), or a mapping with its keys.
        settings: values by dotted path that take the place of the file's, such as {"budgets.cost_usd": 30}.
        seed: of the joint draws; None: the file's, else 0.

    Raises:
        BadFileError: file, line and key of what cannot be.

    Budgets that no choice meets are an answer: `verdict` is "infeasible" and `lacking` says what is missing.
    """
    begun = time.monotonic()
    changes = dict(settings or {})
    if seed is not None:
        changes["seed"] = whole_number("seed", seed, low=0, high=2**32)
    study = read_allocate(file, changes)
    try:
        return _allocate(study, begun)
    except BadFileError:
        raise
    except InputError as error:
        raise BadFileError(study.settings.document.path, str(error)) from None


def _allocate(study: Study, begun: float) -> Allocation:
    if study.table is not None:
        from archcast.allocating.table_costs import table_costs as find
    else:
        from archcast.allocating.model_costs import model_costs as find
    costs = find(study)
    draws = draws_of(study, costs)
    mask, reason, held = limited(study, costs, draws)
    if study.choose != "at most one" and not mask.any(axis=1).all():
        return _nowhere(study, costs, mask, reason, held, begun)
    posed = pose(study, costs, mask, draws)
    if study.choose == "shares":
        return _shares(study, costs, posed, reason, begun)
    found, chance = solve(study, posed, costs)
    if not found.feasible:
        return _too_little(study, costs, posed, found, reason, begun)
    return _answer(study, costs, posed, found, chance, reason, begun)


def _answer(
    study: Study,
    costs: Costs,
    posed: Posed,
    found: Solution,
    chance: ChanceSolution | None,
    reason: Array,
    begun: float,
) -> Allocation:
    problem = posed.problem
    level = posed.level(found.choice)
    used = used_of(posed, found, level, chance)
    if chance is not None:
        nominal = chance.nominal  # the one whose coverage is told
    else:
        nominal = found if study.risk.kind == "nominal" else side(problem)
    main = max(range(len(used)), key=lambda k: (used[k].binds, used[k].price * used[k].budget, -k))
    weights = np.zeros(problem.value.shape)
    taken = np.flatnonzero(found.choice != NONE)
    weights[taken, found.choice[taken]] = 1.0
    chosen = _chosen(study, costs, weights, posed.draws)
    chosen += [Chosen(costs.items[i], NONE_WORDS, 1.0, float(costs.count[i]), None, 0.0, {}, {})
               for i in np.flatnonzero(found.choice == NONE)]  # fmt: skip
    method = chance.method if chance is not None else found.method
    return _built(
        study, costs, reason, begun, chosen=tuple(chosen), worth=found.value, bound=found.bound,
        bound_by=found.bound_by, status=found.status, method=method, basis=posed.basis,
        totals=_totals(study, costs, weights, posed.draws),
        used=used, nearest=tuple(_changes(study, costs, posed, found.choice)), main=used[main].name,
        frontier=tuple(_frontier(problem, main, float(problem.used(found.choice)[main]))),
        nominal_worth=max(nominal.value, found.value) if nominal.feasible else found.value,
        notes=(*_notes(study, chance, posed), *found.notes), all_best=_all_best(problem, found.value),
    )  # fmt: skip


def _shares(study: Study, costs: Costs, posed: Posed, reason: Array, begun: float) -> Allocation:
    """Return the answer where shares of an item's requests may go to several options."""
    plan = solve_shares(study, costs, posed)
    if plan is None:
        return _too_little(study, costs, posed, None, reason, begun)
    weights, used, value, bound, nominal, frontier = plan
    main = max(range(len(used)), key=lambda k: (used[k].binds, used[k].price * used[k].budget, -k))
    return _built(
        study, costs, reason, begun, chosen=tuple(_chosen(study, costs, weights, posed.draws)), worth=value,
        bound=bound, bound_by="prices", status="optimal", method="linear program", basis=posed.basis,
        totals=_totals(study, costs, weights, posed.draws), used=used, nearest=(), main=used[main].name,
        frontier=frontier, nominal_worth=nominal, notes=_notes(study, None, posed),
        all_best=_all_best(posed.problem, value),
    )  # fmt: skip


def _all_best(problem: Knapsack, worth: float) -> bool:
    """Return whether no budget could make a choice worth more."""
    whole = problem.extended()
    most = float(np.where(whole.mask, whole.value, -np.inf).max(axis=1).sum())
    return worth >= most - 1e-9 * abs(most)


def _built(study: Study, costs: Costs, reason: Array, begun: float, **parts: Any) -> Allocation:
    """Return an answer with what all answers have."""
    from archcast.allocating.words import summary_of

    refused = Counter(str(words) for words in reason.ravel() if words)
    empty: dict[str, Any] = {
        "chosen": (), "worth": 0.0, "bound": 0.0, "bound_by": "", "status": "infeasible", "method": "", "basis": "",
        "totals": {}, "used": (), "nearest": (), "frontier": (), "main": "", "nominal_worth": 0.0, "lacking": (),
        "grown": None,
    }  # fmt: skip
    notes = (*study.notes, *costs.notes, *parts.pop("notes", ()))
    size = {"items": len(costs.items), "options": len(costs.options), "open": int((reason == "").sum())}
    from archcast import __version__

    answer = Allocation(
        study=study, size=size, refused=dict(refused.most_common(8)), wall_s=time.monotonic() - begun, summary="",
        notes=notes, versions={"archcast": __version__, **costs.versions}, **(empty | parts),
    )  # fmt: skip
    return replace(answer, summary=summary_of(answer))


def _chosen(study: Study, costs: Costs, weights: Array, draws: Array) -> list[Chosen]:
    rows = []
    for i, j in np.argwhere(weights > 1e-9):
        shown = {
            name: Quantity(float(costs.cost[i, j, k]), float(costs.lo[i, j, k]), float(costs.hi[i, j, k]))
            for k, name in enumerate(costs.quantities) if np.isfinite(costs.cost[i, j, k])
        }  # fmt: skip
        kept = {
            name: float((draws[:, i, j, k] <= costs.limits[i, k]).mean())
            for k, name in enumerate(costs.quantities) if np.isfinite(costs.limits[i, k])
        }  # fmt: skip
        success = None if costs.success is None else float(costs.success[i, j])
        rows.append(Chosen(costs.items[i], costs.options[j], float(weights[i, j]), float(costs.count[i]),
                           success, float(costs.value[i, j]), shown, kept))  # fmt: skip
    return rows


def _totals(study: Study, costs: Costs, weights: Array, draws: Array) -> dict[str, Quantity]:
    """Return sums over all requests of what adds up; the ends hold 90 % of the joint draws."""
    added = [b.name for b in study.total] + [n for n in ("energy_j", "cost_usd") if n in costs.quantities]
    rows, columns = np.nonzero(weights > 1e-9)
    amount = costs.count[rows] * weights[rows, columns]
    found = {}
    for name in dict.fromkeys(added):
        k = costs.of(name)
        value = float((amount * costs.cost[rows, columns, k]).sum())
        lo, hi = np.quantile((draws[:, rows, columns, k] * amount).sum(axis=1), (0.05, 0.95))
        found[name] = Quantity(value, min(float(lo), value), max(float(hi), value))
    return found


def _frontier(problem: Knapsack, main: int, spent: float) -> list[Point]:
    """Return the best worth at most likely costs for multiples of one budget and for what the choice spends of it."""
    points: list[Point] = []
    scales = list(SCALES if problem.value.size <= 10 * EXACT_CELLS else SCALES[1::3])
    if problem.budget[main] > 0 and 0 < spent < problem.budget[main]:
        scales.append(spent * (1 + 1e-12) / float(problem.budget[main]))
    for scale in sorted(scales):
        budget = problem.budget.copy()
        budget[main] *= scale
        found = side(replace(problem, budget=budget))
        if found.feasible:
            points.append(Point(scale, float(found.used[main]), found.value, found.bound))
            if len(points) > 1 and points[-1].worth <= points[-2].worth and scale > 1:
                break
    return points


def _changes(study: Study, costs: Costs, posed: Posed, choice: Array) -> list[Change]:
    """Return the changes of one item that lose least (or gain, where the answer is not proved best)."""
    problem = posed.problem
    rows = np.arange(problem.items)
    now = np.where(choice == NONE, 0.0, problem.value[rows, np.maximum(choice, 0)])
    gain = np.where(problem.mask, problem.value - now[:, None], -np.inf)
    gain[rows[choice != NONE], choice[choice != NONE]] = -np.inf
    found: list[Change] = []
    for place in np.argsort(-gain, axis=None)[:TRIED_CHANGES]:
        i, j = divmod(int(place), gain.shape[1])
        if not np.isfinite(gain[i, j]) or len(found) == SHOWN_CHANGES:
            break
        other = choice.copy()
        other[i] = j
        if (posed.level(other) <= problem.budget).all():
            before = NONE_WORDS if choice[i] == NONE else costs.options[choice[i]]
            found.append(Change(costs.items[i], before, costs.options[j], float(gain[i, j])))
    return found


def _notes(study: Study, chance: ChanceSolution | None, posed: Posed) -> tuple[str, ...]:
    notes = ["Success is the caller's: archcast prices what it costs and never guesses how often answers are right."]
    if chance is not None:
        third, exact = len(posed.draws) // 3, chance.method == "enumeration"
        notes.append(
            f"Scenarios: {third:,} made the choice, {third:,} set its safety, and {third:,} others that had no part in "
            "it gave the coverage."
        )
        if not exact:
            notes.append("The bound is of the problem that the safety poses, not of all choices that are safe enough.")
        if not chance.kept:
            notes.append("On the scenarios kept back a budget holds less often than asked; ask for a little more.")
    return tuple(notes)


def _nowhere(study: Study, costs: Costs, mask: Array, reason: Array, held: Array, begun: float) -> Allocation:
    """Return the answer where an item has no option within its own limits."""
    lacking = []
    for i in np.flatnonzero(~mask.any(axis=1)):
        if not costs.mask[i].any():
            lacking.append(Lacking(str(reason[i, 0]) or "no option", costs.items[i], np.nan, np.nan))
            continue
        bound = costs.limits[i]
        over = np.where(np.isfinite(bound), held[i] - bound, -np.inf)
        share = np.max(over / np.where(np.isfinite(bound), np.maximum(bound, 1e-300), 1.0), axis=1)
        best = int(np.where(costs.mask[i], share, np.inf).argmin())
        for k in np.flatnonzero(over[best] > 0):
            least = float(np.where(costs.mask[i], held[i, :, k], np.inf).min())
            shown = least if least > costs.limits[i, k] else float(held[i, best, k])
            lacking.append(Lacking(costs.quantities[k], costs.items[i], shown, float(costs.limits[i, k])))
    return _built(study, costs, reason, begun, lacking=tuple(lacking))


def _too_little(
    study: Study, costs: Costs, posed: Posed, found: Solution | None, reason: Array, begun: float
) -> Allocation:
    """Return the answer where the shared budgets have room for no choice."""
    problem = posed.problem
    if study.risk.kind == "upper":
        problem = replace(problem, cost=problem.cost + posed.spread)
    elif study.risk.kind == "chance":
        places = [costs.of(budget.name) for budget in study.total]
        high = np.quantile(posed.draws[:, :, :, places], study.risk.probability, axis=0)
        problem = replace(problem, cost=costs.count[:, None, None] * np.where(problem.mask[:, :, None], high, 0.0))
    least = least_use(problem)
    lacking = tuple(
        Lacking(name, "", float(least.alone[k]), float(problem.budget[k]))
        for k, name in enumerate(problem.names) if least.over[k] > 0
    )  # fmt: skip
    return _built(
        study, costs, reason, begun, lacking=lacking, grown=least.together, notes=found.notes if found else ()
    )  # fmt: skip
