"""The answer of a plan: the fleet, what came next and why it lost, the front, how far it holds, and what could not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archcast.planning.confirm import SHOWN, Outcome
from archcast.planning.demand import Demand
from archcast.planning.engines import Site
from archcast.planning.front import Point
from archcast.planning.plan_file import Study
from archcast.planning.robustness import Stress
from archcast.planning.screen import SECONDS_PER_HOUR, Rejected, counts_by_constraint
from archcast.planning.search import Fleet
from archcast.planning.words import binds_of
from simulator.intervals import Uncertain

UNITS = {"cost": "usd_per_hour", "power": "w", "energy": "j_per_token", "carbon": "kg_per_hour"}
TOKENS = 1e6
MOST_LISTED = 200
"""Of the candidates that cannot; the JSON document counts the others."""


@dataclass(frozen=True)
class Effort:
    """How much was looked at: candidates, those that the closed form left, fleets and requests that were simulated."""

    candidates: int
    screened: int
    runs: int
    fleets: int
    requests: int


@dataclass(frozen=True)
class Plan:
    """The answer of `plan`. `verdict` is feasible or infeasible; `nearest` is what came nearest where none serves,
    `beyond` the fleet that would serve were it not for the limits."""

    file: str
    study: Study
    model: str
    demand: Demand
    seed: int
    fleets: tuple[Fleet, ...]
    rejected: tuple[Rejected, ...]
    points: tuple[Point, ...]
    stresses: tuple[Stress, ...]
    nearest: Rejected | None
    beyond: Outcome | None
    summary: str
    why: str
    sites: tuple[Site, ...]
    effort: Effort
    versions: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        return "feasible" if self.fleets else "infeasible"

    @property
    def chosen(self) -> Fleet | None:
        return self.fleets[0] if self.fleets else None

    @property
    def runner_up(self) -> Fleet | None:
        return self.fleets[1] if len(self.fleets) > 1 else None

    @property
    def price_dates(self) -> dict[str, str]:
        """Return the day of each device's price, or where it is from."""
        return {site.id: site.price_date for site in self.sites if site.price_date}

    def to_json(self) -> dict[str, Any]:
        """Return the answer as plain JSON values (names end in their unit)."""
        study = self.study
        return {
            "kind": "plan", "file": self.file, "model": self.model, "verdict": self.verdict, "summary": self.summary,
            "objective": {"name": study.objective, "unit": UNITS[study.objective]},
            "demand": self.demand.to_json(), "slo": study.slo.to_json(), "limits": _limits(study),
            "chosen": self.fleet_json(self.fleets[0]) if self.fleets else None,
            "runner_up": {**self.fleet_json(self.fleets[1]), "why": self.why} if len(self.fleets) > 1 else None,
            "fleets": [self.fleet_json(fleet) for fleet in self.fleets],
            "front": [_point_json(point) for point in self.points],
            "robustness": [stress.to_json() for stress in self.stresses],
            "binding": None if self.fleets or self.nearest is None else self.nearest.to_json(),
            "beyond_limits": None if self.beyond is None else self.outcome_json(self.beyond),
            "cannot": [one.to_json() for one in self.rejected[:MOST_LISTED]],
            "cannot_by_constraint": counts_by_constraint(self.rejected),
            "search": self.effort.__dict__, "notes": list(self.notes), "price_dates": self.price_dates,
            "seed": self.seed, "versions": dict(self.versions),
        }  # fmt: skip

    def fleet_json(self, fleet: Fleet) -> dict[str, Any]:
        """Return a fleet: what it is, what it costs, and what its users see. Intervals of times are those of chance."""
        found = self.outcome_json(fleet.outcome)
        return {
            "objective": _plain(fleet.objective),
            **found,
            "binds": _binds_json(fleet.outcome, fleet.screened.least),
        }

    def outcome_json(self, outcome: Outcome) -> dict[str, Any]:
        study, candidate = self.study, outcome.candidate
        price, devices = candidate.site.usd_per_hour, outcome.devices
        power = outcome.power_w
        times = {
            f"{name.removesuffix('_s')}_{key}_s": outcome.quantity(name, rank).to_json()
            for name in ("ttft_s", "tpot_s", "latency_s") for key, rank in ((f"p{rank:g}", rank) for rank in SHOWN)
        }  # fmt: skip
        facility = _scaled(power, study.pue)
        hourly = Uncertain(*(devices * x for x in (price.value, price.lo, price.hi)))
        return {
            **candidate.to_json(), "instances": outcome.instances, "devices": devices,
            "usd_per_hour": hourly.to_json(),
            "usd_per_million_tokens": _scaled(hourly, TOKENS / self.demand.tokens_per_s / SECONDS_PER_HOUR).to_json(),
            "price_date": candidate.site.price_date, "power_w": power.to_json(), "facility_power_w": facility.to_json(),
            "energy_per_token_j": _scaled(facility, 1 / self.demand.tokens_per_s).to_json(),
            "carbon_kg_per_hour": None if study.grid_kg_per_j is None
            else _scaled(facility, study.grid_kg_per_j * SECONDS_PER_HOUR).to_json(),
            "ttft_s": outcome.ttft_s.to_json(), "tpot_s": outcome.tpot_s.to_json(), **times,
            "binds": _binds_json(outcome),
            "goodput_share": outcome.goodput_share.to_json(), "meets": outcome.meets, "unstable": outcome.unstable,
            "utilisation": outcome.busy_share, "replications": len(outcome.runs),
            "preemptions": sum(run.preempted for run in outcome.runs), "trace_hashes": outcome.trace_hashes,
        }  # fmt: skip


def _scaled(quantity: Uncertain, factor: float) -> Uncertain:
    return Uncertain(quantity.value * factor, quantity.lo * factor, quantity.hi * factor)


def _binds_json(outcome: Outcome, least: int = 1) -> dict[str, Any]:
    """Return the objective that is used up most: its value, its limit and the share of it that is used up."""
    name, used = outcome.worst
    value = getattr(outcome, name).value
    return {
        "objective": name, "value": _plain(value), "limit": getattr(outcome.slo, name), "used_share": used,
        "words": binds_of(outcome, least),
    }  # fmt: skip


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _limits(study: Study) -> dict[str, Any]:
    limits = study.limits
    return {
        "devices": limits.devices, "usd_per_hour": _plain(limits.usd_per_hour), "available": dict(limits.available)
    }  # fmt: skip


def _point_json(point: Point) -> dict[str, Any]:
    outcome = point.outcome
    return {
        "label": outcome.candidate.label, "device": outcome.candidate.site.id, "instances": outcome.instances,
        "devices": outcome.devices, "usd_per_hour": _plain(outcome.usd_per_hour), "ttft_s": outcome.ttft_s.to_json(),
        "tpot_s": outcome.tpot_s.to_json(), "power_w": outcome.power_w.to_json(), "meets": point.meets,
        "front": point.front,
    }  # fmt: skip
