"""How far an answer holds: more demand, an instance down, steps that are slower than predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archcast.planning.confirm import Confirmer, Outcome
from archcast.planning.engines import Binding
from archcast.planning.plan_file import Study
from archcast.planning.screen import most_instances, over_limit
from archcast.planning.search import Fleet, least_fleet
from archcast.render.human import text

GROWTHS = (1.1, 1.3, 2.0)
SLOWEST = 2.0
"""Steps are tried up to so many times as slow; an interval that ends beyond says that the cost model does not know."""


@dataclass(frozen=True)
class Stress:
    """One change and what the chosen fleet does under it.

    `needed` instances keep the objectives under the change (None: no fleet of it within the limits does; `binding` is
    why). `least` is the closed form's bound under the change: fewer do not hold, whatever a short sample shows.
    """

    name: str
    outcome: Outcome | None
    needed: Outcome | None
    binding: Binding | None = None
    least: int = 1
    remark: str = ""

    @property
    def holds(self) -> bool:
        return self.outcome is not None and self.outcome.meets and self.outcome.instances >= self.least

    @property
    def verdict(self) -> str:
        """Return in words whether the fleet holds."""
        if self.holds:
            return "holds"
        if self.outcome is None or self.outcome.unstable:
            return "cannot keep up"
        return "is below the closed form's bound" if self.outcome.meets else "misses"

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"change": self.name, "holds": self.holds}
        if self.outcome is not None:
            found |= {
                "instances": self.outcome.instances, "ttft_s": self.outcome.ttft_s.to_json(),
                "tpot_s": self.outcome.tpot_s.to_json(), "goodput_share": self.outcome.goodput_share.to_json(),
                "unstable": self.outcome.unstable,
            }  # fmt: skip
        found["instances_needed"] = self.needed.instances if self.needed else None
        found["usd_per_hour_needed"] = self.needed.usd_per_hour if self.needed else None
        if self.binding is not None:
            found["binding"] = self.binding.to_json()
        return {**found, "remark": self.remark} if self.remark else found


def stresses(study: Study, fleet: Fleet, confirmer: Confirmer) -> Sequence[Stress]:
    """Return what the fleet does under each change, and how many instances would keep the objectives.

    Steps are slower by as much as the cost model's interval for the time per output token allows, at most `SLOWEST`.
    """
    found = [
        _stress(study, fleet, confirmer, f"demand +{100 * (growth - 1):.0f} %", growth=growth) for growth in GROWTHS
    ]
    found.append(_one_down(study, fleet, confirmer))
    steady = fleet.screened.steady
    rate = confirmer.demand.rate_hz / fleet.outcome.instances
    end = round(float(np.interp(rate, steady.rate_hz, steady.slower)), 2)
    slower = min(end, SLOWEST)
    if slower > 1.0:
        stress = _stress(study, fleet, confirmer, f"steps {100 * (slower - 1):.0f} % slower", slower=slower)
        if end > slower:
            said = f"the cost model's own interval ends at +{100 * (end - 1):,.0f} %: it hardly knows these steps"
            stress = replace(stress, remark=said)
        found.append(stress)
    return found


def _stress(
    study: Study, fleet: Fleet, confirmer: Confirmer, name: str, growth: float = 1.0, slower: float = 1.0
) -> Stress:
    candidate, instances = fleet.screened.candidate, fleet.outcome.instances
    outcome = confirmer.outcome(candidate, instances, growth=growth, slower=slower, whole=True)
    least = fleet.screened.least_at(confirmer.demand.rate_hz * growth, slower)
    if outcome.meets and instances >= least:
        return Stress(name, outcome, outcome, least=least)
    most = most_instances(study, candidate)
    first = max(instances + 1, round(instances * growth * slower))
    needed = least_fleet(confirmer, fleet.screened, most, growth=growth, slower=slower, start=first)
    return Stress(name, outcome, needed, None if needed else over_limit(study, candidate, most + 1), least)


def _one_down(study: Study, fleet: Fleet, confirmer: Confirmer) -> Stress:
    """With one instance fewer the fleet misses an objective, or it would have been smaller; one more covers that."""
    candidate, instances = fleet.screened.candidate, fleet.outcome.instances
    outcome = confirmer.outcome(candidate, instances - 1, whole=True) if instances > 1 else None
    name, least = "one instance down", fleet.screened.least
    if outcome is not None and outcome.meets and instances - 1 >= least:
        return Stress(name, outcome, fleet.outcome, least=least)
    most = most_instances(study, candidate)
    if instances + 1 > most:
        return Stress(name, outcome, None, over_limit(study, candidate, instances + 1), least)
    return Stress(name, outcome, confirmer.outcome(candidate, instances + 1, whole=True), least=least)


def sentence(stress: Stress, fleet: Fleet, percentile: str) -> str:
    """Return one line on a change, e.g. `demand +30 %: misses, p99 TTFT 4.2 s; 5 instances (+1) would hold`."""
    said = _said(stress, fleet, percentile)
    return f"{said} ({stress.remark})" if stress.remark else said


def _said(stress: Stress, fleet: Fleet, percentile: str) -> str:
    outcome = stress.outcome
    if outcome is None:
        said = "nothing is left that serves"
    else:
        times = f"{percentile} TTFT {text(outcome.ttft_s.value, 's')}, TPOT {text(outcome.tpot_s.value, 's')}"
        said = f"{stress.verdict}, {times}"
    if stress.holds and stress.name != "one instance down":
        return f"{stress.name}: {said}"
    if stress.needed is None:
        why = f" ({stress.binding.words})" if stress.binding else ""
        return f"{stress.name}: {said}; no fleet of this kind within the limits would hold{why}"
    more = stress.needed.instances - fleet.outcome.instances
    if more <= 0:
        return f"{stress.name}: {said}"
    cost = text(stress.needed.usd_per_hour, "usd_per_hour")
    verb = "covers it" if stress.name == "one instance down" else "would hold"
    return f"{stress.name}: {said}; {stress.needed.instances} instances (+{more}, {cost}) {verb}"
