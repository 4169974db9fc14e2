"""The answer of `grow`: what to buy now and later, what it costs and emits, what binds, and what else could be done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from archcast.growing.break_even import BreakEven
from archcast.growing.capacity import Capacity
from archcast.growing.course import WAYS, Course
from archcast.growing.dates import month_text
from archcast.growing.intervals import Intervals
from archcast.growing.options import Books, Options
from archcast.growing.program import PARTS
from archcast.growing.solve import Solved
from archcast.growing.study import GrowthStudy
from archcast.growing.values import Other, Values
from workloads.table import Array

MOST_SHOWN = 12
"""Scenarios in the text; the JSON document and the page have all."""


@dataclass(frozen=True)
class Growth:
    """The answer. `verdict` is infeasible where some requests cannot be served although each should be."""

    file: str
    study: GrowthStudy
    capacity: Capacity
    options: Options
    books: Books
    solved: Solved
    course: Course
    intervals: Intervals
    values: Values
    break_evens: tuple[BreakEven, ...]
    binds: tuple[str, ...]
    summary: str
    notes: tuple[str, ...]
    seed: int
    wall_s: float
    versions: Mapping[str, str]

    @property
    def verdict(self) -> str:
        missing = self.study.shortage_usd_per_million is None and self.solved.short > 0
        return "infeasible" if missing else "feasible"

    @property
    def dates(self) -> list[str]:
        return [month_text(year) for year in self.study.years]

    def text(self) -> str:
        """Return the answer as lines for a terminal."""
        from archcast.render.growth_text import growth_text

        return growth_text(self)

    def page(self) -> str:
        """Return the answer as a page."""
        from archcast.render.growth import growth_page

        return growth_page(self)

    def quantity(self, value: float, lo: float, hi: float) -> dict[str, float | None]:
        return {key: x if math.isfinite(x) else None for key, x in (("value", value), ("lo", lo), ("hi", hi))}

    def to_json(self) -> dict[str, Any]:
        """Return the answer as plain JSON values (names end in their unit)."""
        study, tree = self.study, self.solved.program.tree
        expected = self.solved.expected
        return {
            "kind": "growth", "file": self.file, "model": self.capacity.model, "verdict": self.verdict,
            "summary": self.summary, "objective": study.objective,
            "cost_usd": self.quantity(expected, *self.intervals.expected_usd),
            "served_cost_usd": self.solved.served_usd, "carbon_kg": self._expected_carbon(),
            "demand": {**self.capacity.demand.to_json(), "peak_ratio": study.peak.ratio,
                       "peak_share": study.peak.share},
            "periods": [{"from": date, "months": study.months} for date in self.dates],
            "options": [self._option(o) for o in range(len(self.options))],
            "now": self._orders(0, 0),
            "scenarios": [self._scenario(s) for s in range(tree.scenarios)],
            "shortfall": self._shortfall(), "binds": list(self.binds), "values": self._values(),
            "break_even": [one.to_json() for one in self.break_evens],
            "cannot": [{"device": device, "reason": words} for device, words in self.capacity.cannot],
            "solver": {"gap": self.solved.gap, "bound": self.solved.bound, "value": self.solved.value,
                       "columns": len(self.solved.x), "rows": len(self.solved.program.rows)},
            "notes": list(self.notes), "seed": self.seed, "versions": dict(self.versions),
        }  # fmt: skip

    def _shortfall(self) -> list[dict[str, Any]]:
        """Return where some demand is not served, as a share of it in the worst hours."""
        shorts, names = self.solved.shorts, self.solved.program.tree.names
        return [
            {"scenario": names[s], "from": self.dates[t], "share": float(shorts[s, t])}
            for s, t in zip(*np.nonzero(shorts), strict=True)
        ]

    def _expected_carbon(self) -> dict[str, float | None]:
        share = self.solved.program.tree.probability
        lo, hi = (float(share @ x.sum(axis=1)) for x in self.intervals.carbon_kg)
        return self.quantity(float(share @ self.course.total_kg.sum(axis=1)), lo, hi)

    def _option(self, o: int) -> dict[str, Any]:
        options = self.options
        return {
            "device": options.device[o], "region": options.region[o], "devices_per_instance": int(options.devices[o]),
            "devices_per_unit": int(options.unit_devices[o]), "from": self.dates[int(options.first[o])]
            if options.first[o] < self.study.periods else None,
            "rate_hz": options.hz[o].tolist(), "unit_usd": _plain(options.buy_usd[o]),
            "lease_usd_per_period": _plain(options.lease_usd[o]), "rent_usd_per_period": _plain(options.rent_usd[o]),
            "unit_peak_w": float(options.peak_w[o]),
        }  # fmt: skip

    def _orders(self, s: int, t: int) -> list[dict[str, Any]]:
        """Return what is bought and leased anew in a period of a scenario."""
        found = []
        for i, way in enumerate(("buy", "lease")):
            for o in np.flatnonzero(self.course.ordered[i, s, t] > 1e-6):
                amount = float(self.course.ordered[i, s, t, o])
                each = self.options.unit_devices[o] if way == "buy" else self.options.devices[o]
                found.append({
                    "way": way, "device": self.options.device[o], "region": self.options.region[o],
                    "units": round(amount), "devices": round(amount * float(each)),
                })  # fmt: skip
        return found

    def _scenario(self, s: int) -> dict[str, Any]:
        course, ends = self.course, self.intervals
        lo, hi = ends.by_scenario_usd
        tree = self.solved.program.tree
        return {
            "name": tree.names[s], "probability": float(tree.probability[s]),
            "cost_usd": self.quantity(float(self.solved.costs[s]), float(lo[s]), float(hi[s])),
            "periods": [self._period(s, t) for t in range(tree.periods)],
            "regret_usd": float(self.values.own_regret_usd[s]),
        } | {"demand_hz": course.mean_hz[s].tolist()}  # fmt: skip

    def _period(self, s: int, t: int) -> dict[str, Any]:
        course, ends = self.course, self.intervals
        cost, kilos = ends.cost_usd, ends.carbon_kg
        return {
            "from": self.dates[t], "orders": self._orders(s, t), "demand_peak_hz": float(course.demand_hz[s, t]),
            **{f"{way}_hz": float(course.capacity_hz[i, s, t]) for i, way in enumerate(WAYS)},
            "cost_usd": self.quantity(float(course.total_usd[s, t]), float(cost[0][s, t]), float(cost[1][s, t])),
            "cost_by_part_usd": {name: float(course.cost_usd[i, t, s]) for i, name in enumerate(PARTS)},
            "carbon_kg": self.quantity(float(course.total_kg[s, t]), float(kilos[0][s, t]), float(kilos[1][s, t])),
            "power_w": float(course.power_w[s, t]),
            "hall_w": {region: float(course.hall_w[r, s, t]) for r, region in enumerate(self.study.regions)},
        }  # fmt: skip

    def _values(self) -> dict[str, Any]:
        values = self.values
        names = self.solved.program.tree.names
        return {
            "cost_usd": values.cost_usd,
            "value_of_stochastic_solution_usd": values.vss_usd,
            "expected_value_of_perfect_information_usd": values.evpi_usd,
            "for_the_mean": self._other(values.mean),
            "bought_for": [
                {**self._other(one), "regret_usd": dict(zip(names, _plain(row), strict=True))}
                for one, row in zip(values.bought, values.regret_usd, strict=True)
            ],
            "sensitivity": [{**self._other(one), "group": one.group, "end": one.end} for one in values.sensitivity],
            "alternatives": [self._other(one) for one in values.alternatives],
        }

    def _other(self, one: Other) -> dict[str, Any]:
        more = one.beside(self.values.cost_usd)
        return {
            "name": one.name, "cost_usd": _plain_one(one.cost_usd), "more_usd": _plain_one(more),
            "carbon_kg": _plain_one(one.carbon_kg), "serves_all": math.isfinite(one.cost_usd) and not one.short,
        }  # fmt: skip


def _plain_one(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _plain(values: Array) -> list[float | None]:
    return [_plain_one(float(x)) for x in values]
