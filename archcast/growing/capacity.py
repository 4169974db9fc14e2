"""What one instance of each device serves within the objectives, and its power, for each mix of requests."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from archcast.growing.study import GrowthStudy
from archcast.planning.closed_form import Form, Profiles, closed_forms
from archcast.planning.demand import Demand, demand_of
from archcast.planning.engines import Candidate, Site, candidates_of, model_of, sites_of, stack_of_study
from foundation.errors import BadFileError
from hardware_specs.catalogue import node_of
from workloads.table import Array

NEAR = 0.99
"""Instances that serve so much of the best one's rate a device are as good; the one of fewest devices is taken."""


@dataclass(frozen=True)
class Instance:
    """The instance of one device type that serves most requests a device. Arrays are by period.

    hz is the closed form's rate within the objectives, hz_slow with steps at the upper end of the cost model's
    interval, full_w its power at `use_share` of hz; host_w is a device's share of the box.
    """

    site: Site
    candidate: Candidate
    hz: Array
    hz_slow: Array
    full_w: Array
    host_w: float
    limit_w: float

    @property
    def idle_w(self) -> float:
        """Return the power of all devices of the instance with nothing to do, without the box."""
        return self.site.idle_w * self.candidate.devices


@dataclass(frozen=True)
class Capacity:
    """The demand's first period, the instances that can serve it, and why other devices cannot."""

    demand: Demand
    model: str
    instances: tuple[Instance, ...]
    cannot: tuple[tuple[str, str], ...]
    sites: tuple[Site, ...]
    candidates: int


def capacity_of(study: GrowthStudy, seed: int) -> Capacity:
    """Return what each device serves: one evaluation of all candidates a mix. Raises BadFileError: none serves."""
    base = study.base
    sites, model = sites_of(base), model_of(base)
    demand = demand_of(base, seed)
    mixes, by_period = _mixes(study)
    longest = math.ceil(demand.longest * max(max(one) for one in mixes))
    candidates, left = candidates_of(base, sites, model, longest)
    profiles, stack = Profiles(candidates, longest), stack_of_study(base)
    forms = [
        closed_forms(
            candidates, profiles, np.maximum(np.round(demand.prompt * prompt), 1),
            np.maximum(np.round(demand.generate * generate), 1), base.slo.percentile, stack,
        )
        for prompt, generate in mixes
    ]  # fmt: skip
    reasons = {device: binding.words for _, device, binding in reversed(left)}
    found: list[Instance] = []
    for site in sites:
        places = [i for i, c in enumerate(candidates) if c.site.id == site.id]
        rate = np.array([[_most(study, one[i]) for one in forms] for i in places])
        if not places or not rate.min(axis=1).any():
            if places:
                reasons[site.id] = "no instance keeps the objectives in every period"
            continue
        reasons.pop(site.id, None)
        count = np.array([candidates[i].devices for i in places])
        worth = (rate / count[:, None]).min(axis=1)
        good = np.flatnonzero(worth >= NEAR * worth.max())
        chosen = places[int(good[np.argmin(count[good])])]
        found.append(_instance(study, candidates[chosen], [one[chosen] for one in forms], by_period))
    if not found:
        why = "; ".join(f"{device}: {words}" for device, words in reasons.items())
        raise BadFileError(study.settings.document.path, f"no device serves the demand within the objectives ({why}).")
    return Capacity(demand, model.name, tuple(found), tuple(reasons.items()), sites, len(candidates) + len(left))


def _mixes(study: GrowthStudy) -> tuple[list[tuple[float, float]], list[int]]:
    """Return the different mixes, and the place of each period's."""
    found: list[tuple[float, float]] = []
    places = []
    for year in study.years:
        now = [(one.prompt, one.generate) for one in study.mix if one.year <= year + 1e-9]
        mix = now[-1] if now else (1.0, 1.0)
        if mix not in found:
            found.append(mix)
        places.append(found.index(mix))
    return found, places


def _most(study: GrowthStudy, form: Form, slower: float = 1.0) -> float:
    """Return the most requests a second within the objectives, 0 where even a request that is alone misses them."""
    slo = study.base.slo
    for value, limit in ((form.ttft_alone_s, slo.ttft_s), (form.tpot_alone_s, slo.tpot_s)):
        if limit is not None and value > limit:
            return 0.0
    most = form.steady.most_hz(None if slo.tpot_s is None else slo.tpot_s / slower)
    return (most or form.steady.saturated_hz) / slower if slower > 1 else most


def _instance(study: GrowthStudy, candidate: Candidate, forms: list[Form], by_period: list[int]) -> Instance:
    site = candidate.site
    hz = np.array([_most(study, form) for form in forms])
    slower = [float(np.interp(x, form.steady.rate_hz, form.steady.slower)) for x, form in zip(hz, forms, strict=True)]
    slow = np.array([min(_most(study, form, s), x) for form, s, x in zip(forms, slower, hz, strict=True)])
    idle = site.idle_w * candidate.devices
    share = study.use_share
    power = np.array([form.steady.power_at(share * float(x), idle) for x, form in zip(hz, forms, strict=True)])
    node = node_of(site.id)
    host = node.host_power_w.value / node.count if node else 0.0
    limit = float(site.target.spec.power.limit_w.value)
    return Instance(site, candidate, hz[by_period], slow[by_period], power[by_period], host, limit)
