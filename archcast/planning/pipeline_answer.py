"""The answer of a plan of a pipeline's farm: the farm, the front, what events show, and how far it holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from archcast.planning.pipeline_chain import chain_rows
from archcast.planning.pipeline_confirm import Counted, Ratio, Seen, measured_at, room_events, seen_loss
from archcast.planning.pipeline_farm import Farm, Site
from archcast.planning.pipeline_file import FarmStudy
from archcast.planning.pipeline_search import Judged
from archcast.planning.pipeline_stress import Stress
from simulator.pipelines.rates_results import PipelineRates


@dataclass(frozen=True)
class Smaller:
    """A choice one below the chosen farm in `what`: its loss, and what events saw of it."""

    what: str
    judged: Judged
    counted: Counted | None


@dataclass(frozen=True)
class Confirmation:
    """What events show of the chosen farm. `first` is the farm of the closed form alone, which `moved` says was left.

    `ratio` holds events against the closed form, the last of `ratios`, each of which is at the levels of one farm;
    `counted` is the chosen farm itself.
    """

    ratio: Ratio
    ratios: tuple[Ratio, ...]
    counted: Counted
    first: Judged
    moved: bool
    verdict: str
    words: str
    runs: int
    events: int


@dataclass(frozen=True)
class PipelinePlan:
    """The answer. Where no choice holds `chosen` is None, and `beyond` the least farm that would, if there is one."""

    file: str
    study: FarmStudy
    sites: tuple[Site, ...]
    seed: int
    chosen: Judged | None
    rows: tuple[Judged, ...]
    front: tuple[Judged, ...]
    closed_front: tuple[Judged, ...]
    smaller: tuple[Smaller, ...]
    confirmation: Confirmation | None
    stresses: tuple[Stress, ...]
    beyond: Judged | None
    chain: PipelineRates | None
    summary: str
    binds: str
    why: str
    evaluated: int
    notes: tuple[str, ...]
    versions: Mapping[str, str]

    @property
    def verdict(self) -> str:
        """Return feasible or infeasible; open or contradicted where events leave the chosen farm so."""
        if self.chosen is None:
            return "infeasible"
        found = "" if self.confirmation is None else self.confirmation.verdict
        return found if found in ("open", "contradicted") else "feasible"

    @property
    def site(self) -> Site:
        return self.sites[0] if self.chosen is None else self.chosen.farm.site

    def seen(self, judged: Judged) -> Seen:
        """Return the loss as events say it, of a farm whose own levels were run by those; of other alternatives than
        the chosen one the closed form's."""
        if self.confirmation is None or judged.farm.site is not self.site:
            return seen_loss(judged.farm, self.study, None)
        ratio = measured_at(judged.farm, self.confirmation.ratios) or self.confirmation.ratio
        return seen_loss(judged.farm, self.study, ratio)

    def to_json(self) -> dict[str, Any]:
        """Return the answer as plain JSON values (names end in their unit)."""
        study, site = self.study, self.site
        return {
            "kind": "plan", "file": self.file, "pipeline": site.spec.id, "stage": site.stage.name,
            "verdict": self.verdict, "summary": self.summary, "binds": self.binds, "why_not_smaller": self.why,
            "objective": study.objective, "limits": study.limits.to_json(), "failing_share": study.failing,
            "demand": {
                "rate_hz": site.rate_hz, "event_size_bytes": site.size_bytes,
                "service_time_s": _ends(site.service_s), "law": site.law, "cv": _ends(site.cv), "batch": site.batch,
            },
            "chosen": None if self.chosen is None else self.farm_json(self.chosen),
            "next": [self.farm_json(row) for row in self.rows if row is not self.chosen][:20],
            "front": [self.farm_json(row) for row in self.front],
            "front_closed_form": [self.farm_json(row) for row in self.closed_front],
            "one_smaller": [self._smaller_json(one) for one in self.smaller],
            "confirmation": None if self.confirmation is None else confirmation_json(self.confirmation),
            "robustness": [stress.to_json() for stress in self.stresses],
            "beyond_choices": None if self.beyond is None else self.farm_json(self.beyond),
            "power_w": self.chain.power_w.json() if self.chain is not None and self.chain.power_known else None,
            "chain": [] if self.chain is None else [row.to_json() for row in chain_rows(self.chain)],
            "closed_form": None if self.chosen is None else self.chosen.farm.part(0).named,
            "candidates_evaluated": self.evaluated, "notes": list(self.notes), "seed": self.seed,
            "versions": dict(self.versions),
        }  # fmt: skip

    def farm_json(self, judged: Judged) -> dict[str, Any]:
        """Return a farm and what it does with the failing share down."""
        seen = self.seen(judged)
        return {
            **shape_json(judged.farm),
            "loss_share": {key: _plain(getattr(seen, key)) for key in ("value", "lo", "hi")},
            "closed_form_loss_share": _plain(judged.closed_loss), "utilisation": _plain(judged.load),
            "latency_p999_s": _plain(judged.latency_p999_s), "power_w": _plain(judged.power_w) or None,
            "price_usd": _plain(judged.price_usd) or None,
        }  # fmt: skip

    def _smaller_json(self, one: Smaller) -> dict[str, Any]:
        counted = None if one.counted is None else counted_json(one.counted)
        return {"one_below_in": one.what, **self.farm_json(one.judged), "events": counted}

    def text(self) -> str:
        """Return the answer for a terminal."""
        from archcast.render.pipeline_plan_text import pipeline_plan_text

        return pipeline_plan_text(self)

    def page(self) -> str:
        """Return the answer as one self-contained page."""
        from archcast.render.pipeline_plan import pipeline_plan_page

        return pipeline_plan_page(self)


def shape_json(farm: Farm) -> dict[str, Any]:
    """Return what a farm is."""
    return {
        "alternative": farm.site.name or None, "parts": farm.parts, "servers_per_part": farm.servers,
        "servers": farm.total, "buffer_events_per_part": farm.places, "buffer_bytes_per_part": farm.buffer_bytes,
        "buffer_bytes": farm.buffer_total_bytes,
    }  # fmt: skip


def counted_json(counted: Counted) -> dict[str, Any]:
    """Return what events counted."""
    return {
        "events": counted.events, "lost": counted.losses, "loss_share": _plain(counted.loss),
        "upper_95_loss_share": counted.upper, "upper_95_if_independent_loss_share": counted.upper_if_single,
        "dispersion": counted.dispersion, "closed_form_loss_share": counted.closed_loss,
        "buffer_events": room_events(counted.farm, counted.part), "utilisation": counted.part.load,
        "replications": len(counted.arrived), "horizon_s": counted.horizon_s, "warm_up_s": counted.warm_up_s,
        "engine": counted.engine, "trace_hash": counted.trace_hash,
    }  # fmt: skip


def confirmation_json(found: Confirmation) -> dict[str, Any]:
    """Return what events show."""
    return {
        "verdict": found.verdict, "words": found.words, "chosen": counted_json(found.counted),
        "levels": [counted_json(one) for one in found.ratio.levels],
        "fit": None if not found.ratio.known else dict(zip(("intercept", "slope"), found.ratio.fits[0], strict=True)),
        "closed_form_alone": shape_json(found.first.farm), "moved": found.moved, "runs": found.runs,
        "events": found.events,
    }  # fmt: skip


def _ends(values: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("value", "lo", "hi"), values, strict=True))


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
