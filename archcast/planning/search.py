"""The search: candidates in the order of their lower bounds, each enlarged or shrunk by events until it just serves.

An engine (device, mapping, formats) with each of its policies needs some least number of instances. It lies at or above
the closed form's bound, which holds even where a sample that is too short to fill queues seems to allow fewer; the
events find it by bisection, as more instances never serve worse. An engine whose bound is
not below the second best that was found cannot be the answer or the runner-up, so the search ends there: with the least
number of instances exact, the answer is that of trying everything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from archcast.planning.confirm import Confirmer, Outcome
from archcast.planning.demand import Demand
from archcast.planning.engines import Binding
from archcast.planning.plan_file import Study
from archcast.planning.screen import Rejected, Screened, bound_of, most_instances, objective_of, over, over_limit
from archcast.render.human import percent

WORDS = {"ttft_s": "TTFT", "tpot_s": "TPOT", "goodput_share": "goodput"}


@dataclass(frozen=True)
class Fleet:
    """A confirmed fleet: its outcome over all replications, and its objective."""

    screened: Screened
    outcome: Outcome
    objective: float

    @property
    def rank(self) -> tuple[float, int, float, str]:
        """Return what orders fleets: the objective; of equals the one that loses fewer devices with an instance, then
        the one that uses up less of the objectives of service."""
        candidate = self.screened.candidate
        return (float(f"{self.objective:.9g}"), candidate.devices, self.outcome.worst[1], candidate.label)


@dataclass
class Found:
    """What the search found, best first: one fleet an engine; engines that no size within the limits helps; and those
    that were left since their bound is not below the second best."""

    fleets: list[Fleet] = field(default_factory=list)
    failed: list[Rejected] = field(default_factory=list)
    left: list[Screened] = field(default_factory=list)
    beaten: list[tuple[Screened, Outcome]] = field(default_factory=list)


def search(study: Study, demand: Demand, screened: Sequence[Screened], confirmer: Confirmer) -> Found:
    """Return the confirmed fleets of the engines that could be best, at least `study.confirm` of them."""
    found = Found()
    for group in _engines(screened):
        bound = min(s.objective for s in group)
        enough = len(found.fleets) >= max(2, study.confirm)
        ceiling = found.fleets[1].objective if len(found.fleets) > 1 else math.inf
        if enough and bound >= ceiling:
            found.left.extend(group)
            continue
        if len(found.fleets) >= max(2, study.confirm):
            best = _within(study, demand, group, confirmer, ceiling, found)
        else:
            best = _best(study, demand, group, confirmer, found)
        if best is not None:
            found.fleets.append(best)
            found.fleets.sort(key=lambda fleet: fleet.rank)
    return found


def _engines(screened: Sequence[Screened]) -> list[list[Screened]]:
    """Return the candidates by engine, engines and their policies in the order of their bounds."""
    groups: dict[tuple[Any, ...], list[Screened]] = {}
    for one in screened:
        groups.setdefault(one.candidate.engine_key, []).append(one)
    return sorted(groups.values(), key=lambda group: (group[0].objective, group[0].candidate.label))


def _best(study: Study, demand: Demand, group: list[Screened], confirmer: Confirmer, found: Found) -> Fleet | None:
    """Return the best fleet of an engine over its policies."""
    best: Fleet | None = None
    for one in group:
        most, start = most_instances(study, one.candidate), 0
        if best is not None:  # of policies with as many instances the one that keeps more in hand is taken
            most = start = min(most, best.outcome.instances)
        outcome = least_fleet(confirmer, one, most, start=start)
        if outcome is None:
            if best is None:
                found.failed.append(_failed(study, confirmer, one, most))
            continue
        fleet = fleet_of(study, demand, one, outcome)
        if best is None or fleet.rank < best.rank:
            best = fleet
    return best


def _within(
    study: Study, demand: Demand, group: list[Screened], confirmer: Confirmer, ceiling: float, found: Found
) -> Fleet | None:
    """Return the best fleet of an engine if it is below a ceiling; one run tells for most engines that none is."""
    kept = []
    for one in group:
        most = most_instances(study, one.candidate)
        while most >= one.least and bound_of(study, demand, one, most) >= ceiling:
            most -= 1
        if most < one.least:
            found.left.append(one)
            continue
        outcome = confirmer.outcome(one.candidate, most)
        if outcome.meets:
            kept.append(one)
        else:
            found.beaten.append((one, outcome))
    return _best(study, demand, kept, confirmer, found) if kept else None


def least_fleet(
    confirmer: Confirmer, screened: Screened, most: int, *, growth: float = 1.0, slower: float = 1.0, start: int = 0
) -> Outcome | None:
    """Return the smallest fleet of a candidate that meets the objectives, None where none of up to `most` does.

    From `start`, or the bound, upwards in steps that double, then bisection; where `start` itself meets them,
    downwards, but never below the bound of the closed form.
    """
    candidate = screened.candidate

    def run(instances: int, whole: bool = False) -> Outcome:
        return confirmer.outcome(candidate, instances, whole=whole, growth=growth, slower=slower)

    floor = screened.least_at(confirmer.demand.rate_hz * growth, slower)
    if most < floor:
        return None
    at = min(max(start, floor), most)
    low, high, step = floor - 1, at, 1
    if run(at).meets:
        while high > floor:
            at = max(high - step, floor)
            if not run(at).meets:
                low = at
                break
            high, step = at, 2 * step
    else:
        while not run(at).meets:
            if at >= most:
                return None
            low, at, step = at, min(at + step, most), 2 * step
        high = at
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if run(middle).meets else (middle, high)
    while not run(high, whole=True).meets:  # a narrow case that all replications decide otherwise
        high += 1
        if high > most:
            return None
    return run(high, whole=True)


def fleet_of(study: Study, demand: Demand, screened: Screened, outcome: Outcome) -> Fleet:
    """Return a confirmed fleet with its objective by the events."""
    objective = objective_of(study, demand, outcome.usd_per_hour, outcome.power_w.value)
    return Fleet(screened, outcome, objective)


def _failed(study: Study, confirmer: Confirmer, screened: Screened, most: int) -> Rejected:
    """Return why the largest fleet that the limits admit does not serve."""
    candidate = screened.candidate
    outcome = confirmer.outcome(candidate, most, whole=True)
    name, ratio = outcome.worst
    limit = over_limit(study, candidate, most + 1)
    by = {"devices": "available devices admit", "price": "budget admits"}[limit.constraint] if limit else "limits admit"
    count = "1 instance, all" if most == 1 else f"{most} instances, all"
    if name == "goodput_share":
        said = f"keep every objective for {percent(outcome.goodput_share.value)} of the requests"
    else:
        value, allowed = getattr(outcome, name).value, getattr(study.slo, name)
        said = f"give {study.slo.name} {WORDS[name]} of {over(value, allowed, 's')}"
    words = f"{count} that the {by}, {said}{' and cannot keep up' if outcome.unstable else ''}"
    constraint = limit.constraint if limit else name.removesuffix("_s").removesuffix("_share")
    return Rejected(candidate.label, candidate.site.id, Binding(constraint, ratio, 1.0, "", words), candidate, screened)
