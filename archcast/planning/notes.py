"""What qualifies the answer of a plan, in sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from archcast.cost_models import find_serving_model
from archcast.planning.confirm import Confirmer, Outcome
from archcast.planning.demand import LEAST_S, STAYS, Demand
from archcast.planning.plan_file import Study
from archcast.planning.search import WORDS, Fleet
from archcast.render.human import percent, text
from costmodel.stack import unknown_stack

NEARLY = 0.8
"""Of the least time of a replication that will do: times are scaled, so that all ask for the rate on average."""


def notes_of(study: Study, demand: Demand, fleets: Sequence[Fleet], confirmer: Confirmer) -> tuple[str, ...]:
    """Return what qualifies the answer."""
    unknown = unknown_stack(study.software, find_serving_model(study.cost_model))
    found = [unknown] if unknown else []
    if len(demand.runs) == 1:
        found.append("A trace is one run: intervals for chance are not known.")
    if fleets:
        best = fleets[0]
        found += [*_too_short(demand, best.outcome), *_bound_kept(best, confirmer), *_chance(study, best.outcome)]
        found += _pipelined(best.outcome)
    return tuple(found)


def _pipelined(outcome: Outcome) -> Iterator[str]:
    """Lanes of a pipeline are run as if none waited for another's stage."""
    stages = outcome.candidate.engine.mapping.pp
    if stages > 1:
        yield (
            "The chosen fleet is a pipeline, and pipeline lanes are taken to overlap without bubbles: real steps may "
            f"take up to {percent((stages - 1) / stages)} more ((pp-1)/pp, estimated)."
        )


def _too_short(demand: Demand, outcome: Outcome) -> Iterator[str]:
    """Queues take some times as long as a request stays to grow."""
    stays_s = float(np.nanmean(np.concatenate([run.latency_s for run in outcome.runs])))
    least_s = max(LEAST_S, STAYS * stays_s)
    lasts_s = float(np.mean([run.arrival_s[-1] for run in demand.runs]))
    needed = math.ceil(least_s * demand.rate_hz)
    if lasts_s < NEARLY * least_s:
        key = "trace.requests" if demand.trace else "traffic.requests"
        yield (
            f"The sample is too short: a replication is over in {text(lasts_s, 's')}, and "
            f"queues take {text(least_s, 's')} to grow ({LEAST_S:g} s, or {STAYS:g} times the {text(stays_s, 's')} "
            f"that a request stays). Set {key}: at least {needed:,}."
        )


def _bound_kept(fleet: Fleet, confirmer: Confirmer) -> Iterator[str]:
    """Where fewer instances than the closed form's bound seem to serve, the bound stands."""
    least, outcome = fleet.screened.least, fleet.outcome
    fewer = confirmer.known(outcome.candidate, least - 1)
    if outcome.instances == least and fewer is not None and fewer.meets:
        yield (
            f"The events of this sample would let {least - 1} instances serve; the closed form says that {least} are "
            "the least, and that bound is kept."
        )


def _chance(study: Study, outcome: Outcome) -> Iterator[str]:
    for name, limit in (("ttft_s", study.slo.ttft_s), ("tpot_s", study.slo.tpot_s)):
        quantity = getattr(outcome, name)
        if limit is not None and quantity.known and quantity.hi > limit:
            yield (
                f"Chance alone could put {study.slo.name} {WORDS[name]} at {text(quantity.lo, 's')} to "
                f"{text(quantity.hi, 's')}: more replications may ask for an instance more."
            )
