"""`Allocation`: who gets which option, what it costs with intervals, which budget binds, and how far it is proved."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from archcast.allocating.allocate_file import Study
from costmodel.estimate import Quantity


@dataclass(frozen=True)
class Chosen:
    """An item with its option (or one of its options and the share that goes there).

    `success` is a share (None where a table gives values only), `value` what one request is worth with it.
    """

    item: str
    option: str
    share: float
    count: float
    success: float | None
    value: float
    costs: dict[str, Quantity]
    kept: dict[str, float]
    """Share of scenarios in which a limit of its own holds, by quantity."""

    def to_json(self) -> dict[str, Any]:
        costs = {name: quantity.to_json() for name, quantity in self.costs.items()}
        return {"item": self.item, "option": self.option, "share": self.share, "count": self.count,
                "success": self.success, "value": self.value, **costs, "limits_kept": self.kept}  # fmt: skip


@dataclass(frozen=True)
class Used:
    """A shared budget: what is held against it (`level`, by the risk), and what more of it would buy.

    `price` is worth per unit in the relaxed problem; `more` the worth that 10 % more budget adds, `one_more` that one
    unit more adds (None: too large to solve again). `binds`: a little more of it makes the best choice worth more.
    """

    name: str
    budget: float
    level: float
    price: float
    more: float
    in_sample: float | None = None
    coverage: float | None = None
    assured: float | None = None
    nominal_coverage: float | None = None
    binds: bool = False
    one_more: float | None = None

    @property
    def share(self) -> float:
        """Return the share of the budget that is held; 0 of a budget of nothing."""
        return self.level / self.budget if self.budget else 0.0

    def to_json(self) -> dict[str, Any]:
        found = {"budget": self.budget, "held": self.level, "share": self.share, "binds": self.binds,
                 "price_per_unit": self.price, "worth_of_10_percent_more": self.more}  # fmt: skip
        extra = {
            "coverage_in_sample": self.in_sample,
            "coverage": self.coverage,
            "coverage_at_least": self.assured,
            "nominal_coverage": self.nominal_coverage,
            "worth_of_one_more": self.one_more,
        }
        return found | {key: value for key, value in extra.items() if value is not None}


@dataclass(frozen=True)
class Change:
    """A change of one item that keeps every budget, and what it does to the worth."""

    item: str
    before: str
    after: str
    worth: float

    def to_json(self) -> dict[str, Any]:
        return {"item": self.item, "from": self.before, "to": self.after, "worth": self.worth}


@dataclass(frozen=True)
class Point:
    """The best worth, at most likely costs, with a budget times `scale`; `spent` of it."""

    scale: float
    spent: float
    worth: float
    bound: float


@dataclass(frozen=True)
class Lacking:
    """What cannot be met: a limit of an item or a shared budget, the least possible use, and what is allowed."""

    what: str
    item: str
    least: float
    most: float

    def to_json(self) -> dict[str, Any]:
        known = math.isfinite(self.least)
        least, most, short = (self.least, self.most, self.least - self.most) if known else (None, None, None)
        return {"what": self.what, "item": self.item, "least_possible": least, "allowed": most, "short_by": short}


@dataclass(frozen=True)
class Allocation:
    """The answer of `archcast allocate`."""

    study: Study
    chosen: tuple[Chosen, ...]
    worth: float
    bound: float
    bound_by: str
    status: str
    method: str
    basis: str
    totals: dict[str, Quantity]
    used: tuple[Used, ...]
    nearest: tuple[Change, ...]
    frontier: tuple[Point, ...]
    main: str
    nominal_worth: float
    lacking: tuple[Lacking, ...]
    grown: float | None
    size: dict[str, int]
    refused: dict[str, int]
    wall_s: float
    summary: str
    notes: tuple[str, ...]
    versions: dict[str, str] = field(default_factory=dict)
    all_best: bool = False
    """Whether every item has its most valuable option."""

    @property
    def verdict(self) -> str:
        return "feasible" if self.chosen else "infeasible"

    @property
    def gap(self) -> float:
        from archcast.allocating.knapsack import relative_gap

        return relative_gap(self.worth, self.bound)

    @property
    def price_of_risk(self) -> float:
        """Return the share of the worth at most likely costs that safety gives up."""
        lost = self.nominal_worth - self.worth
        return lost / abs(self.nominal_worth) if self.nominal_worth else lost

    def to_json(self) -> dict[str, Any]:
        """Return the answer as one JSON document."""
        risk = self.study.risk
        found: dict[str, Any] = {
            "kind": "allocate", "name": self.study.name, "verdict": self.verdict, "summary": self.summary,
            "choose": self.study.choose,
            "risk": {"kind": risk.kind, "probability": risk.probability, "gamma": risk.gamma, "joint": risk.joint},
            "size": self.size, "refused": self.refused,
        }  # fmt: skip
        if self.chosen:
            found |= {
                "items": [one.to_json() for one in self.chosen], "worth": self.worth, "bound": self.bound,
                "bound_by": self.bound_by, "gap": self.gap, "status": self.status, "method": self.method,
                "held_against_budgets": self.basis, "totals": {k: q.to_json() for k, q in self.totals.items()},
                "budgets": {one.name: one.to_json() for one in self.used},
                "nearest_changes": [one.to_json() for one in self.nearest],
                "worth_at_most_likely_costs": self.nominal_worth, "price_of_risk": self.price_of_risk,
                "frontier": {"budget": self.main, "points": [vars(point) for point in self.frontier]},
            }  # fmt: skip
        else:
            found |= {"lacking": [one.to_json() for one in self.lacking], "budgets_times": self.grown}
        return found | {
            "seed": self.study.seed,
            "wall_s": self.wall_s,
            "notes": list(self.notes),
            "versions": self.versions,
        }

    def text(self) -> str:
        """Return the answer as lines for a terminal."""
        from archcast.render.allocate_text import allocate_text

        return allocate_text(self)
