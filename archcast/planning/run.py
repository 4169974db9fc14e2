"""`plan`: from a file to the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from archcast.cost_models import find_serving_model
from archcast.planning.answer import Effort, Plan
from archcast.planning.closed_form import Profiles
from archcast.planning.confirm import Confirmer, Outcome
from archcast.planning.demand import Demand, demand_of
from archcast.planning.engines import Site, candidates_of, model_of, sites_of
from archcast.planning.front import points_of
from archcast.planning.notes import notes_of
from archcast.planning.plan_file import MOST_DEVICES, Limits, Study, read_plan
from archcast.planning.robustness import stresses
from archcast.planning.screen import Rejected, Screened, bound_of, most_instances, nearest, screen
from archcast.planning.search import Found, search
from archcast.planning.words import summary_of, why_lost, why_none
from foundation.checks import whole_number
from foundation.errors import BadFileError, InputError
from foundation.yaml_file import YamlDocument, load_yaml
from simulator.streams import DEFAULT_SEED, MAX_SEED

if TYPE_CHECKING:
    from archcast.growing.answer import Growth
    from archcast.planning.pipeline_answer import PipelinePlan

MORE_INSTANCES = (2, 1)
"""The best and the next fleet are also run with so many more instances, to show what more money buys."""
BEYOND = 4 * MOST_DEVICES
"""Devices up to which a fleet is looked for that would serve were it not for the limits."""


def plan(
    file: str | Path | Mapping[str, Any], *, settings: Mapping[str, Any] | None = None, seed: int = DEFAULT_SEED
) -> Plan | PipelinePlan | Growth:
    """Return the fleet that serves a demand within its objectives at the least cost (power, energy, carbon).

    A file with the key `pipeline` asks for the farm of a pipeline's stage (docs/plan-pipeline.md), one with the key
    `growth` for what to buy now and later while the demand grows (docs/growth.md).

    Args:
        file: a YAML file of kind `plan` (docs/plan.md), or a mapping with its keys.
        settings: values by dotted path that take the place of the file's, such as {"trace": "trace.csv"}.
        seed: of every random stream; equal seeds give equal answers.

    Raises:
        BadFileError: file, line and key of what cannot be.

    A demand that no fleet meets is an answer: `verdict` is "infeasible" and `summary` says what binds.
    """
    whole_number("seed", seed, low=0, high=MAX_SEED)
    name = "plan" if isinstance(file, Mapping) else str(file)
    document = YamlDocument(Path("plan"), dict(file)) if isinstance(file, Mapping) else load_yaml(file)
    if isinstance(document.data, dict) and "pipeline" in document.data:
        from archcast.planning.pipeline_run import plan_pipeline

        return plan_pipeline(document, name, settings, seed)
    if isinstance(document.data, dict) and "growth" in document.data:
        from archcast.growing.run import grow_document

        return grow_document(document, name, settings, seed)
    study = read_plan(file, settings)
    try:
        return _plan(study, name, seed)
    except BadFileError:
        raise
    except InputError as error:
        raise BadFileError(study.settings.document.path, str(error)) from None


def _plan(study: Study, file: str, seed: int) -> Plan:
    sites, model = sites_of(study), model_of(study)
    demand = demand_of(study, seed)
    candidates, left = candidates_of(study, sites, model, demand.longest)
    profiles = Profiles(candidates, demand.longest)
    screened, bad = screen(study, demand, candidates, profiles)
    confirmer = Confirmer(study, demand, profiles, seed)
    found = search(study, demand, screened, confirmer)
    rejected = [*(Rejected(*one) for one in left), *bad, *found.failed]
    fleets = tuple(found.fleets)
    if fleets:
        _more(study, found, confirmer)
        holds = stresses(study, fleets[0], confirmer)
        summary, why = summary_of(study, demand, model.name, fleets), why_lost(study, fleets, confirmer)
        near, beyond = None, None
    else:
        holds, why = [], ""
        near = nearest(rejected)
        beyond = _beyond(study, rejected, confirmer)
        summary = why_none(study, demand, model.name, near, beyond)
    points = points_of(o for o in _shown(screened, confirmer) if np.isfinite(o.ttft_s.value))
    return Plan(
        file=file, study=study, model=model.name, demand=demand, seed=seed, fleets=fleets, rejected=tuple(rejected),
        points=tuple(points), stresses=tuple(holds), nearest=near, beyond=beyond, summary=summary, why=why, sites=sites,
        effort=Effort(len(candidates) + len(left), len(screened), confirmer.runs, len(points), confirmer.requests),
        versions=_versions(study, sites), notes=(*demand.notes, *notes_of(study, demand, fleets, confirmer)),
    )  # fmt: skip


def _shown(screened: Sequence[Screened], confirmer: Confirmer) -> list[Outcome]:
    """Return the fleets that were run, less those below the closed form's bound."""
    least = {id(one.candidate): one.least for one in screened}
    return [o for o in confirmer.outcomes.values() if o.instances >= least.get(id(o.candidate), 1)]


def _more(study: Study, found: Found, confirmer: Confirmer) -> None:
    """Run the best fleets with more instances too, for the front."""
    for fleet, many in zip(found.fleets, MORE_INSTANCES, strict=False):
        candidate, instances = fleet.outcome.candidate, fleet.outcome.instances
        for more in range(1, many + 1):
            if instances + more <= most_instances(study, candidate):
                confirmer.outcome(candidate, instances + more, whole=True)


def _beyond(study: Study, rejected: Sequence[Rejected], confirmer: Confirmer) -> Outcome | None:
    """Return the best fleet without the limits on devices and money, where these keep some from serving."""
    free = replace(study, limits=Limits(BEYOND), confirm=1)
    screened = [_unbound(free, one.screened, confirmer.demand) for one in rejected if one.screened is not None]
    if not screened:
        return None
    found = search(free, confirmer.demand, screened, confirmer)
    return found.fleets[0].outcome if found.fleets else None


def _unbound(study: Study, screened: Screened, demand: Demand) -> Screened:
    return replace(screened, objective=bound_of(study, demand, screened, screened.least))


def _versions(study: Study, sites: Sequence[Site]) -> dict[str, str]:
    from archcast import __version__

    cost_model = find_serving_model(study.cost_model)
    devices = {f"device {site.id}": site.target.rates.digest() for site in sites}
    return {
        "archcast": __version__, "cost_model": f"{cost_model.name} {cost_model.version}", **devices,
        "numpy": np.__version__,
    }  # fmt: skip
