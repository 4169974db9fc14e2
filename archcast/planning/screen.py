"""The closed form over all candidates: what cannot serve at all and why, and for the rest the least fleet it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archcast.planning.closed_form import SLACK, Form, Profiles, Steady, closed_forms
from archcast.planning.demand import Demand
from archcast.planning.engines import Binding, Candidate, stack_of_study
from archcast.planning.plan_file import Study
from archcast.render.human import text

SECONDS_PER_HOUR = 3600.0
MODEST = 0.85
"""Closed-form power times this is still a lower bound of what the events burn (estimated)."""


@dataclass(frozen=True)
class Screened:
    """A candidate that could serve: requests a second of one instance, within the objectives and at all; and bounds.

    `least` instances are a lower bound; `objective` is that of the least fleet; `tpot_s` the limit of the study.
    """

    candidate: Candidate
    form: Form
    most_hz: float
    least: int
    objective: float
    tpot_s: float | None = None

    @property
    def steady(self) -> Steady:
        return self.form.steady

    @property
    def saturated_hz(self) -> float:
        return self.form.steady.saturated_hz

    def least_at(self, rate_hz: float, slower: float = 1.0) -> int:
        """Return the least instances for a rate of requests, where steps take `slower` times as long."""
        return least_instances(self.form.steady, rate_hz, self.tpot_s, slower)


@dataclass(frozen=True)
class Rejected:
    """A candidate that no number of instances helps, or whose least fleet is over a limit (`screened` has it)."""

    label: str
    device: str
    binding: Binding
    candidate: Candidate | None = None
    screened: Screened | None = None

    def to_json(self) -> dict[str, Any]:
        return {"label": self.label, "device": self.device, **self.binding.to_json()}


def objective_of(study: Study, demand: Demand, usd_per_hour: float, power_w: float) -> float:
    """Return what is to be least: USD an hour, watts, joules a generated token, or kg of CO2 an hour."""
    facility_w = power_w * study.pue
    if study.objective == "cost":
        return usd_per_hour
    if study.objective == "power":
        return facility_w
    if study.objective == "energy":
        return facility_w / demand.tokens_per_s
    return facility_w * SECONDS_PER_HOUR * (study.grid_kg_per_j or 0.0)


def power_bound_w(screened: Screened, instances: int, rate_hz: float) -> float:
    """Return a lower bound of the mean power of a fleet: its idle power, and the steps that the demand needs."""
    candidate = screened.candidate
    idle_w = candidate.site.idle_w * candidate.devices
    return MODEST * instances * screened.steady.power_at(rate_hz / instances, idle_w)


def bound_of(study: Study, demand: Demand, screened: Screened, instances: int) -> float:
    """Return a lower bound of the objective of a fleet."""
    power = power_bound_w(screened, instances, demand.rate_hz) if study.objective != "cost" else 0.0
    return objective_of(study, demand, screened.candidate.usd_per_hour * instances, power)


def available(study: Study, candidate: Candidate) -> int:
    """Return how many devices of a candidate's type a fleet may have."""
    return min(study.limits.of(name) for name in candidate.site.names)


def most_instances(study: Study, candidate: Candidate) -> int:
    """Return how many instances the limits admit: devices, those of the type, and money."""
    most = available(study, candidate) // candidate.devices
    if math.isfinite(study.limits.usd_per_hour) and candidate.usd_per_hour > 0:
        most = min(most, int(study.limits.usd_per_hour / candidate.usd_per_hour * (1 + 1e-12)))
    return most


def screen(
    study: Study, demand: Demand, candidates: list[Candidate], profiles: Profiles
) -> tuple[list[Screened], list[Rejected]]:
    """Return what could serve, best bound first, and what cannot."""
    good: list[Screened] = []
    bad: list[Rejected] = []
    stack = stack_of_study(study)
    forms = closed_forms(candidates, profiles, demand.prompt, demand.generate, study.slo.percentile, stack)
    for candidate, form in zip(candidates, forms, strict=True):
        found = _one(study, demand, candidate, form)
        if isinstance(found, Screened):
            good.append(found)
        else:
            bad.append(found)
    good.sort(key=lambda s: (s.objective, s.candidate.label))
    return good, bad


def _one(study: Study, demand: Demand, candidate: Candidate, form: Form) -> Screened | Rejected:
    slo = study.slo
    for name, value, limit in (
        ("ttft", form.ttft_alone_s, slo.ttft_s), ("tpot", form.tpot_alone_s, slo.tpot_s),
    ):  # fmt: skip
        if limit is not None and value > limit:
            words = f"{slo.name} {name.upper()} of requests that are alone on the instance is {over(value, limit, 's')}"
            return _no(candidate, f"{name}_alone", value, limit, "s", words)
    if study.objective == "cost" and not math.isfinite(candidate.usd_per_hour):
        words = f"no price of {candidate.site.id} is known; give prices: {{{candidate.site.id}: USD an hour}}"
        return _no(candidate, "unpriced", math.nan, math.nan, "", words)
    most_hz = form.steady.most_hz(slo.tpot_s)
    if most_hz <= 0:
        mean_s = float(np.nanmin(form.steady.tpot_s))
        limit = slo.tpot_s or mean_s
        words = f"its mean TPOT beside the prompts of others is at least {over(mean_s, limit, 's')}"
        return _no(candidate, "tpot", mean_s, limit, "s", words)
    least = least_instances(form.steady, demand.rate_hz, slo.tpot_s)
    screened = Screened(candidate, form, most_hz, least, 0.0, slo.tpot_s)
    bound = over_limit(study, candidate, least)
    if bound is not None:
        return Rejected(candidate.label, candidate.site.id, bound, candidate, screened)
    return replace(screened, objective=bound_of(study, demand, screened, least))


def least_instances(steady: Steady, rate_hz: float, tpot_s: float | None, slower: float = 1.0) -> int:
    """Return the least instances by the closed form: any fewer miss the limit of TPOT, or cannot keep up.

    Where steps that are slower keep the limit at no rate, what an instance serves at all bounds the number.
    """
    most_hz = steady.most_hz(None if tpot_s is None else tpot_s / slower) or steady.saturated_hz
    return max(1, math.ceil((1 - SLACK) * rate_hz * slower / most_hz))


def over(value: float, limit: float, kind: str) -> str:
    """Return that a value is over a limit, with as many digits as tell them apart."""
    if text(value, kind) != text(limit, kind):
        return f"{text(value, kind)}, over {text(limit, kind)}"
    return f"just over {text(limit, kind)}"


def _no(candidate: Candidate, constraint: str, value: float, limit: float, kind: str, words: str) -> Rejected:
    return Rejected(candidate.label, candidate.site.id, Binding(constraint, value, limit, kind, words), candidate)


def over_limit(study: Study, candidate: Candidate, instances: int) -> Binding | None:
    """Return the limit that a fleet exceeds, None where it keeps them all."""
    devices, usd = candidate.devices * instances, candidate.usd_per_hour * instances
    most = available(study, candidate)
    count = "1 instance is" if instances == 1 else f"{instances} instances are"
    if devices > most:
        words = f"at least {count} needed, {devices:,} devices; {most:,} {'is' if most == 1 else 'are'} available"
        return Binding("devices", devices, most, "", words)
    if usd > study.limits.usd_per_hour * (1 + 1e-12):
        limit = study.limits.usd_per_hour
        words = f"at least {count} needed, at {over(usd, limit, 'usd_per_hour')}"
        return Binding("price", usd, limit, "usd_per_hour", words)
    return None


STAGES = (
    "format",
    "mapping",
    "memory",
    "ttft_alone",
    "tpot_alone",
    "tpot",
    "ttft",
    "goodput",
    "unpriced",
    "devices",
    "price",
)
"""Constraints in the order in which a candidate meets them: one that falls later came nearer."""


def nearest(rejected: Sequence[Rejected]) -> Rejected | None:
    """Return what came nearest to serving: the one that failed last, of those the least over its limit."""
    known = [r for r in rejected if np.isfinite(r.binding.ratio)]
    return min(known, key=lambda r: (-STAGES.index(r.binding.constraint), r.binding.ratio, r.label), default=None)


def counts_by_constraint(rejected: Sequence[Rejected]) -> Mapping[str, int]:
    """Return how many candidates each constraint keeps out, most first."""
    found: dict[str, int] = {}
    for one in rejected:
        found[one.binding.constraint] = found.get(one.binding.constraint, 0) + 1
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
