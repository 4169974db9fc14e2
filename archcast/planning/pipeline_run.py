"""`plan` of a pipeline's farm: closed form first, events against it, and the answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from archcast.planning.pipeline_answer import Confirmation, PipelinePlan, Smaller
from archcast.planning.pipeline_binds import binds_of
from archcast.planning.pipeline_chain import rates_with
from archcast.planning.pipeline_confirm import (
    SHARES,
    Confirmer,
    Counted,
    Ratio,
    Seen,
    live_part,
    measured_at,
    seen_loss,
    with_dispersion,
)
from archcast.planning.pipeline_farm import Farm, Site, sites_of
from archcast.planning.pipeline_file import FarmStudy, read_farm_plan
from archcast.planning.pipeline_search import Judged, Search, Searcher, front_of
from archcast.planning.pipeline_stress import stresses
from archcast.planning.pipeline_words import (
    confirmed_words,
    moved_words,
    summary_of,
    why_none,
    why_not_smaller,
)
from foundation.checks import whole_number
from foundation.errors import BadFileError, InputError
from foundation.yaml_file import YamlDocument
from simulator.streams import DEFAULT_SEED, MAX_SEED

ROUNDS = 2
"""Times that events are held against the closed form, each at the farm that the last ones led to."""


def plan_pipeline(
    document: YamlDocument, file: str, settings: Mapping[str, Any] | None = None, seed: int = DEFAULT_SEED
) -> PipelinePlan:
    """Return the least farm and buffer of a pipeline's stage within the limits of a plan file.

    Raises:
        BadFileError: file, line and key of what cannot be.

    A demand that no choice serves is an answer: `verdict` is "infeasible" and `summary` says what is missing.
    """
    whole_number("seed", seed, low=0, high=MAX_SEED)
    study = read_farm_plan(document, settings)
    try:
        sites = sites_of(study)
        _check_figures(study, sites)
        return _plan(study, sites, file, seed)
    except BadFileError:
        raise
    except InputError as error:
        raise BadFileError(document.path, str(error)) from None


def _check_figures(study: FarmStudy, sites: tuple[Site, ...]) -> None:
    """Refuse an objective or a limit that the figures of a server cannot be held against."""
    limits, asks = study.limits, list[tuple[tuple[str, ...], str]]()
    if study.objective in ("price", "power"):
        asks.append((("objective",), study.objective))
    asks += [(("limits", "price_usd"), "price")] * math.isfinite(limits.price_usd)
    asks += [(("limits", "power_w"), "power")] * math.isfinite(limits.power_w)
    for (at, what), site in ((ask, site) for ask in asks for site in sites):
        stage = site.stage
        limited = f", so {what} cannot be limited" if at[0] == "limits" else ""
        if what == "price" and stage.price_usd is None and not study.buffer_usd_per_byte:
            hint = "Give settings: {stages.NAME.price_usd: 50 USD}."
            raise study.settings.fault(at, f"the stage '{stage.name}' has no price_usd of a server{limited}.", hint)
        if what == "power" and stage.idle_power_w is None and stage.busy_power_w is None:
            hint = "Give settings: {stages.NAME.idle_power_w: 2 W, stages.NAME.busy_power_w: 5 W}."
            raise study.settings.fault(at, f"the stage '{stage.name}' has no power of a server{limited}.", hint)


@dataclass(frozen=True)
class _Found:
    """The search that counts in the end, with its searcher and what events said on the way."""

    search: Search
    searcher: Searcher
    ratio: Ratio | None


def _plan(study: FarmStudy, sites: tuple[Site, ...], file: str, seed: int) -> PipelinePlan:
    closed = Searcher(study, sites)
    first = closed.search()
    if first.best is None:
        return _infeasible(study, sites, file, seed, closed, first)
    confirmer, notes = Confirmer(study, seed), list[str]()
    found = _Found(first, closed, None)
    if study.confirm.engine != "none":
        found = _corrected(study, sites, found, confirmer, notes)
    best = found.search.best
    assert best is not None
    counted: Counted | None = None
    if found.ratio is not None:
        counted = _counted(study, best, found.ratio, confirmer, SHARES["best"])
        if counted.lower > study.limits.loss:
            found, counted = _moved_up(study, sites, found, counted, confirmer)
            best = found.search.best or best
    best = found.searcher.judge(best.farm, latency=True)
    smaller = _smaller(study, best, found, confirmer)
    confirmation = None
    if found.ratio is not None and counted is not None:
        confirmation = _confirmation(study, first.best, best, found.ratio, counted, confirmer)

    def seen(farm: Farm) -> Seen:
        return _seen(study, farm, found.ratio, confirmer)

    summary = summary_of(study, best, seen(best.farm), confirmation)
    why = why_not_smaller(study, smaller, seen, lambda farm: measured_at(farm, confirmer.ratios) is not None)
    rows = tuple(best if row.farm == best.farm else row for row in found.search.rows)
    return PipelinePlan(
        file=file, study=study, sites=sites, seed=seed, chosen=best, rows=rows, front=found.search.front,
        closed_front=first.front, smaller=smaller, confirmation=confirmation,
        stresses=stresses(best.farm, found.searcher), beyond=None, chain=rates_with(best.farm),
        summary=summary, binds=binds_of(study, best, smaller), why=why,
        evaluated=closed.evaluated + found.searcher.evaluated, notes=(*notes, *_notes(study, best)),
        versions=_versions(),
    )  # fmt: skip


def _seen(study: FarmStudy, farm: Farm, ratio: Ratio | None, confirmer: Confirmer) -> Seen:
    """Return the loss of a farm as events say it: by its own levels where they were run, else by the last ones."""
    return seen_loss(farm, study, measured_at(farm, confirmer.ratios) or ratio)


def _corrected(
    study: FarmStudy, sites: tuple[Site, ...], found: _Found, confirmer: Confirmer, notes: list[str]
) -> _Found:  # fmt: skip
    """Hold events against the closed form at the best farm and search anew with what they say, until it stays."""
    for _ in range(ROUNDS):
        best = found.search.best
        assert best is not None
        ratio = confirmer.ratio(best.farm)
        if not ratio.known and found.ratio is not None:
            return found  # what the levels of the farm before said is more than nothing
        if not ratio.known or live_part(best.farm, study).exact:
            return replace(found, ratio=ratio)
        searcher = Searcher(study, sites, ratio.upper)
        search = searcher.search()
        if search.best is None:
            notes.append("With the upper end of what events say no choice holds; the farm before that is given.")
            return replace(found, ratio=ratio)
        same = search.best.farm == best.farm
        if not same and measured_at(search.best.farm, confirmer.ratios) is not None and searcher.holds(best.farm):
            search, same = _kept(search, searcher.judge(best.farm)), True
        found = _Found(search, searcher, ratio)
        if same:
            break
    return found


def _kept(search: Search, best: Judged) -> Search:
    """Return a search that stays at a farm, as events at the levels of the smaller one have ruled that out."""
    assert search.best is not None
    gone = search.best.farm
    rows = (best, *(row for row in search.rows if row.farm not in (gone, best.farm)))
    return replace(search, best=best, rows=rows, front=front_of(rows))


def _moved_up(
    study: FarmStudy, sites: tuple[Site, ...], found: _Found, counted: Counted, confirmer: Confirmer
) -> tuple[_Found, Counted]:
    """Search anew where the farm's own events are over the limit: losses are at least as many more as they saw."""
    ratio = found.ratio
    assert ratio is not None
    more = max(1.0, counted.loss / max(ratio.upper(counted.closed_loss), 1e-300))
    searcher = Searcher(study, sites, lambda loss: more * ratio.upper(loss))
    search = searcher.search()
    if search.best is None:
        return found, counted
    return _Found(search, searcher, ratio), _counted(study, search.best, ratio, confirmer, SHARES["best"])


def _counted(study: FarmStudy, judged: Judged, ratio: Ratio, confirmer: Confirmer, share: float) -> Counted:
    part = live_part(judged.farm, study)
    return with_dispersion(confirmer.count(judged.farm, part, share, judged.closed_loss), ratio.levels)


def _smaller(study: FarmStudy, best: Judged, found: _Found, confirmer: Confirmer) -> tuple[Smaller, ...]:
    rows = []
    for what, farm in found.searcher.below(best.farm):
        judged = found.searcher.judge(farm)
        runs = found.ratio is not None and math.isfinite(judged.load)
        ratio = found.ratio
        counted = _counted(study, judged, ratio, confirmer, SHARES["below"]) if runs and ratio is not None else None
        rows.append(Smaller(what, judged, counted))
    return tuple(rows)


def _confirmation(
    study: FarmStudy, first: Judged, best: Judged, ratio: Ratio, counted: Counted, confirmer: Confirmer
) -> Confirmation:
    own = measured_at(best.farm, confirmer.ratios) or ratio
    verdict, words = confirmed_words(study, own, counted, _seen(study, best.farm, ratio, confirmer))
    moved = best.farm != first.farm
    if moved:
        words = f"{moved_words(first, best, _seen(study, first.farm, ratio, confirmer))} {words}"
    return Confirmation(
        own, tuple(confirmer.ratios), counted, first, moved, verdict, words, confirmer.runs, confirmer.events
    )


def _infeasible(
    study: FarmStudy, sites: tuple[Site, ...], file: str, seed: int, searcher: Searcher, search: Search
) -> PipelinePlan:
    beyond = searcher.beyond() if search.missing == "loss" else None
    return PipelinePlan(
        file=file, study=study, sites=sites, seed=seed, chosen=None, rows=(), front=(), closed_front=(), smaller=(),
        confirmation=None, stresses=(), beyond=beyond, chain=None,
        summary=why_none(study, sites, search, beyond), binds="", why="", evaluated=searcher.evaluated, notes=(),
        versions=_versions(),
    )  # fmt: skip


def _notes(study: FarmStudy, best: Judged) -> list[str]:
    farm, found = best.farm, list[str]()
    if farm.parts > 1 and study.failing > 0:
        found.append(
            "Parts fail whole: those that are left share the events in turn, and the buffers of the others are gone."
        )
    if farm.parts > 1:
        found.append(
            f"Parts take events in turn, so that of {farm.parts:,} parts each sees nearly even arrivals; a farm that "
            "hands events out at random needs more (`parts: 1` of that rate shows how many)."
        )
    if study.failures is not None:
        found.append(
            "Units that break at random are averaged over the numbers that are down (independent, repairs longer than "
            "a buffer remembers); events run with their mean number down."
        )
    if farm.site.stage.when_full == "block":
        found.append("The stage blocks when it is full; the loss is the share of events that would wait before it.")
    return found


def _versions() -> dict[str, str]:
    from archcast import __version__

    return {"archcast": __version__, "numpy": np.__version__}
