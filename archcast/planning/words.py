"""Sentences of a plan: what was chosen, why the runner-up lost, and what keeps every fleet from serving."""

from __future__ import annotations

import math

from archcast.planning.confirm import Confirmer, Outcome
from archcast.planning.demand import Demand
from archcast.planning.plan_file import Study
from archcast.planning.screen import Rejected, over
from archcast.planning.search import WORDS, Fleet
from archcast.render.human import digits, percent, text

SAID = {"cost": "costs", "power": "draws", "energy": "takes", "carbon": "emits"}
BEST = {"cost": "cheapest", "power": "coolest", "energy": "most frugal", "carbon": "lowest-carbon"}

NEAR = 0.9
"""Share of an objective beyond which it is said to bind a single instance too."""


def amount(study: Study, objective: float) -> str:
    """Return an objective with its unit."""
    if study.objective == "cost":
        return text(objective, "usd_per_hour")
    if study.objective == "power":
        return text(objective, "w") + (f" (PUE {study.pue:g} included)" if study.pue > 1 else "")
    return f"{digits(objective)} {'J a token' if study.objective == 'energy' else 'kg CO2/h'}"


def name_of(outcome: Outcome) -> str:
    """Return a fleet in words, e.g. `3 instances of 2 x h100-sxm (tp=2, fp8, most_tokens 2048)`."""
    candidate = outcome.candidate
    count = "1 instance" if outcome.instances == 1 else f"{outcome.instances} instances"
    mapping = candidate.engine.mapping.label()
    inside = [] if mapping == "one device" else mapping.split(" ")
    how = ", ".join([*inside, candidate.format, candidate.policy_label])
    return f"{count} of {candidate.devices} x {candidate.site.id} ({how})"


def times_of(study: Study, outcome: Outcome) -> str:
    """Return the times at the percentile of the objectives."""
    return f"{study.slo.name} TTFT {text(outcome.ttft_s.value, 's')} and TPOT {text(outcome.tpot_s.value, 's')}"


def summary_of(study: Study, demand: Demand, model: str, fleets: tuple[Fleet, ...]) -> str:
    """Return the answer in a sentence."""
    best = fleets[0]
    outcome = best.outcome
    total = "1 device" if outcome.devices == 1 else f"{outcome.devices} devices"
    return (
        f"The {BEST[study.objective]} fleet for {model} at {digits(demand.rate_hz)} requests/s is {name_of(outcome)}, "
        f"{total}: it {SAID[study.objective]} {amount(study, best.objective)}, with {times_of(study, outcome)} "
        f"(objectives {objectives(study)})."
    )


def objectives(study: Study) -> str:
    """Return the objectives in words."""
    slo = study.slo
    found = [
        f"{name} {text(limit, 's')}"
        for name, limit in (("TTFT", slo.ttft_s), ("TPOT", slo.tpot_s))
        if limit is not None
    ]
    said = f"{slo.name} {' and '.join(found)}"
    return f"{said}, goodput {percent(slo.goodput_share)}" if slo.goodput_share is not None else said


def binds_of(outcome: Outcome, least: int = 1) -> str:
    """Return which objective is used up most, e.g. `TPOT binds: 49.9 ms of 50.0 ms; engines are 23 % busy`.

    A single instance is the least there is, so its nearest objective need not bind; nor need it where the fleet has the
    `least` instances of the closed form.
    """
    name, used = outcome.worst
    if name == "goodput_share":
        spent = f"{percent(outcome.goodput_share.value)}, at least {percent(outcome.slo.goodput_share or 0.0)}"
    else:
        spent = f"{text(getattr(outcome, name).value, 's')} of {text(getattr(outcome.slo, name), 's')}"
    verb = "binds" if outcome.instances > least or used > NEAR else "is nearest to its limit"
    if outcome.instances == least > 1 and used <= NEAR:
        verb = f"is nearest to its limit, and the closed form's bound of {least} instances binds"
    return f"{WORDS[name]} {verb}: {spent}; engines are {percent(outcome.busy_share)} busy"


def why_lost(study: Study, fleets: tuple[Fleet, ...], confirmer: Confirmer) -> str:
    """Return one sentence on why the second best is not the best."""
    if len(fleets) < 2:
        return ""
    best, other = fleets[0], fleets[1]
    outcome = other.outcome
    dearer = other.objective / best.objective - 1 if best.objective > 0 else math.inf
    head = f"The runner-up, {name_of(outcome)}, {SAID[study.objective]} {amount(study, other.objective)}"
    if dearer < 5e-4:
        lost = [fleet.outcome.candidate.devices for fleet in (other, best)]
        if lost[0] != lost[1]:
            return (
                f"{head}, as much, but loses {lost[0]} devices with an instance where the chosen fleet loses {lost[1]}."
            )
        used = [f"{percent(fleet.outcome.worst[1])} of its {WORDS[fleet.outcome.worst[0]]}" for fleet in (other, best)]
        return f"{head}, as much, but uses up {used[0]} objective, the chosen fleet {used[1]} objective."
    head = f"{head}, {percent(dearer)} more"
    if study.objective != "cost":
        return f"{head}: its {_burns(outcome)}, the chosen fleet's {_burns(best.outcome)}."
    fewer = confirmer.known(outcome.candidate, outcome.instances - 1)
    if fewer is not None:
        fewer = confirmer.outcome(outcome.candidate, outcome.instances - 1, whole=True)
    if fewer is None or fewer.meets:
        hz = other.screened.most_hz
        return f"{head}: one of its instances serves at most {digits(hz)} requests/s within the objectives."
    name, _ = fewer.worst
    value, limit = getattr(fewer, name).value, getattr(study.slo, name)
    said = "" if name == "goodput_share" else f"{study.slo.name} {WORDS[name]} is {over(value, limit, 's')}"
    if name == "goodput_share":
        said = f"goodput is {percent(value)}, under {percent(limit)}"
    end = " and its queue grows without end" if fewer.unstable else ""
    count = "1 instance" if fewer.instances == 1 else f"{fewer.instances} instances"
    return f"{head}: with {count} its {said}{end}."


def _burns(outcome: Outcome) -> str:
    """Return where the power of a fleet goes."""
    idle_w = outcome.devices * outcome.candidate.site.idle_w
    count = "1 device" if outcome.devices == 1 else f"{outcome.devices} devices"
    return f"{count} idle at {text(idle_w, 'w')} and add {text(max(outcome.power_w.value - idle_w, 0.0), 'w')} to serve"


def why_none(study: Study, demand: Demand, model: str, nearest: Rejected | None, beyond: Outcome | None) -> str:
    """Return why no fleet serves: what binds, how near the nearest came, and what would serve without the limits."""
    asked = f"{model} at {digits(demand.rate_hz)} requests/s within {objectives(study)}"
    head = f"No fleet of {', '.join(study.devices)} serves {asked}"
    if nearest is None:
        return f"{head}: no candidate could be evaluated."
    binding = nearest.binding
    times = f", {binding.ratio:.3g} times the limit" if 1.01 < binding.ratio < math.inf else ""
    said = f"{head}: {_constraint(binding.constraint)} binds. Nearest is {nearest.label}: {binding.words}{times}."
    if beyond is not None:
        cost = f" at {text(beyond.usd_per_hour, 'usd_per_hour')}" if math.isfinite(beyond.usd_per_hour) else ""
        total = "1 device" if beyond.devices == 1 else f"{beyond.devices} devices"
        said += f" Without limits on devices and money {name_of(beyond)}, {total}, would serve{cost}."
    return said


def _constraint(name: str) -> str:
    return {
        "memory": "memory", "ttft_alone": "the TTFT of requests that are alone",
        "tpot_alone": "the TPOT of requests that are alone", "tpot": "TPOT", "ttft": "TTFT", "goodput": "goodput",
        "devices": "the number of devices", "price": "the price",
        "unpriced": "an unknown price", "format": "the number format", "mapping": "the mapping",
    }[name]  # fmt: skip
