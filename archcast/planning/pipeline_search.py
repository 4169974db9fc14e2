"""The smallest farm of each buffer, the front of both, and the best by the objective: bisection on the closed form.

Loss and latency fall as servers or parts are added, and loss falls with the buffer; so the least number that holds is
found by bisection, in as many steps as the logarithm of the choices.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from archcast.planning.pipeline_chain import rates_with
from archcast.planning.pipeline_choices import MOST_UNITS, Span
from archcast.planning.pipeline_farm import AS_GIVEN, Adjust, Farm, Site, Stressed, as_it_is, farm_of, loss_of
from archcast.planning.pipeline_file import FarmStudy

LATENCY_SHARE = 0.999
Found = TypeVar("Found")


@dataclass(frozen=True)
class Judged:
    """A farm with what it does with the failing share down; power and price are those of the whole farm, all up."""

    farm: Farm
    loss: float
    closed_loss: float
    load: float
    power_w: float
    price_usd: float
    objective: float
    latency_p999_s: float = math.nan


@dataclass(frozen=True)
class Search:
    """What the search found. `rows`: the least farm of each buffer, alternative and size of a part, best first;
    `front`: those that no other beats in both objective and buffer. `missing`: the limit that keeps all out.
    `least`: of what is missing, what the least farm takes (W or USD)."""

    rows: tuple[Judged, ...]
    front: tuple[Judged, ...]
    best: Judged | None
    evaluated: int
    missing: str = ""
    least: float = math.nan


class Searcher:
    """Looks for farms of a study. `adjust` takes the closed form's loss to the one that events ask for."""

    def __init__(self, study: FarmStudy, sites: Sequence[Site], adjust: Adjust = as_it_is) -> None:
        self.study, self.sites, self.adjust, self.evaluated = study, sites, adjust, 0

    def judge(self, farm: Farm, stress: Stressed = AS_GIVEN, *, latency: bool = False) -> Judged:
        """Return what a farm does."""
        self.evaluated += 1
        study = self.study
        failing = study.failing if stress.failing is None else stress.failing
        part = farm.part(farm.units_down(failing), stress)
        loss = loss_of(farm, study, stress, self.adjust)
        closed = loss if self.adjust is as_it_is else loss_of(farm, study, stress)
        power, price = power_w(farm), price_usd(farm, study)
        objective = {"servers": float(farm.total), "price": price, "power": power}[study.objective]
        found = Judged(farm, loss, closed, part.load, power, price, objective)
        wants = latency or math.isfinite(study.limits.latency_p999_s)
        return replace(found, latency_p999_s=self._latency_s(farm, stress)) if wants else found

    def _latency_s(self, farm: Farm, stress: Stressed) -> float:
        """Return the p99.9 of wait and service of what is kept; NaN where nothing is left up."""
        failing = self.study.failing if stress.failing is None else stress.failing
        part = farm.part(farm.units_down(failing), stress)
        if math.isinf(part.load):
            return math.nan
        return part.latency_quantile_s(LATENCY_SHARE) + _collecting_s(farm, part.arrival_hz)

    def holds(self, farm: Farm, stress: Stressed = AS_GIVEN) -> bool:
        """Tell whether a farm keeps the limits of loss and latency (those that more servers help)."""
        self.evaluated += 1
        limits = self.study.limits
        if loss_of(farm, self.study, stress, self.adjust) > limits.loss:
            return False
        return math.isinf(limits.latency_p999_s) or not self._latency_s(farm, stress) > limits.latency_p999_s

    def least(self, farm: Farm, span: Span, stress: Stressed = AS_GIVEN) -> Farm | None:
        """Return the farm with the fewest of what is sought that holds, None where the largest does not."""
        index = first_true(len(span), lambda i: self.holds(farm.with_sought(span.at(i)), stress))
        return None if index is None else farm.with_sought(span.at(index))

    def search(self) -> Search:
        """Return the least farms of all choices and the best of them."""
        rows, missing, least = list[Judged](), "", math.nan
        for site in self.sites:
            others = site.servers if site.seeks_parts else site.parts
            for other in (others.at(i) for i in range(len(others))):
                rows += self._rows(site, other)
        within = [row for row in rows if self.within(row)]
        if not within:
            missing, least = self._missing(rows)
        ordered = sorted(within, key=self._order)
        best = self._smaller_buffer(ordered[0]) if ordered else None
        if best is not None and best.farm != ordered[0].farm:
            ordered = sorted([best, *ordered], key=self._order)
        return Search(tuple(ordered), front_of(ordered), best, self.evaluated, missing, least)

    def within(self, row: Judged) -> bool:
        """Tell whether the price, and the power of the whole pipeline with that farm, are within their limits."""
        limits = self.study.limits
        return row.price_usd <= limits.price_usd and (math.isinf(limits.power_w) or chain_w(row) <= limits.power_w)

    def below(self, farm: Farm) -> list[tuple[str, Farm]]:
        """Return the next smaller choices: one below in what is sought, and one below in the buffer."""
        found = []
        fewer = farm.site.sought.below(farm.sought)
        if fewer is not None:
            found.append(("parts" if farm.site.seeks_parts else "servers", farm.with_sought(fewer)))
        sizes = farm.site.buffers
        now = farm.buffer_bytes if sizes.in_bytes else float(farm.places)
        smaller = max((v for v in sizes.values if v < now), default=None)
        if smaller is not None and sizes.free:
            smaller = (farm.places - 1) * (max(1.0, farm.site.size_bytes) if sizes.in_bytes else 1.0)
        if smaller is not None:
            found.append(("buffer", farm_of(farm.site, farm.parts, farm.servers, smaller)))
        return found

    def _rows(self, site: Site, other: int) -> list[Judged]:
        found, span = [], site.sought
        for buffer in site.buffers.values:
            parts, servers = (span.at(0), other) if site.seeks_parts else (other, span.at(0))
            least = self.least(farm_of(site, parts, servers, buffer), span)
            if least is not None:
                found.append(self.judge(least))
        return found

    def _order(self, row: Judged) -> tuple[float, float, float]:
        return (row.objective, row.farm.buffer_total_bytes, row.farm.total)

    def _smaller_buffer(self, best: Judged) -> Judged:
        """Return the best farm with the least buffer with which it still holds, where any size may be taken."""
        farm, sizes = best.farm, best.farm.site.buffers
        if not sizes.free:
            return best
        low = max((v for v in sizes.values if v < (farm.buffer_bytes if sizes.in_bytes else farm.places)), default=None)
        if low is None:
            return best
        unit = max(1.0, farm.site.size_bytes) if sizes.in_bytes else 1.0
        first = int(low / unit) + 1

        def sized(index: int) -> Farm:
            return farm_of(farm.site, farm.parts, farm.servers, (first + index) * unit)

        index = first_true(farm.places - first + 1, lambda i: self.holds(sized(i)))
        return best if index is None else self.judge(sized(index))

    def _missing(self, rows: Sequence[Judged]) -> tuple[str, float]:
        """Return which limit keeps every choice from holding, and what the least farm takes of it."""
        if not rows:
            return "loss", math.nan
        if all(row.price_usd > self.study.limits.price_usd for row in rows):
            return "price_usd", min(row.price_usd for row in rows)
        return "power_w", min(chain_w(row) for row in rows)

    def beyond(self) -> Judged | None:
        """Return the least farm that would hold with any number of what is sought, with the largest buffer."""
        found = []
        for site in self.sites:
            others = site.servers if site.seeks_parts else site.parts
            farm = farm_of(
                site, 1 if site.seeks_parts else others.at(len(others) - 1),
                others.at(len(others) - 1) if site.seeks_parts else 1, site.buffers.values[-1],
            )  # fmt: skip
            least = self.least(farm, Span(1, MOST_UNITS))
            if least is not None:
                found.append(self.judge(least))
        return min(found, key=self._order, default=None)


def first_true(count: int, good: Callable[[int], bool]) -> int | None:
    """Return the first of 0..count-1 for which `good`, which stays true once it is; None where it never is."""
    if count < 1 or not good(count - 1):
        return None
    low, high = -1, count - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high


def front_of(rows: Sequence[Judged]) -> tuple[Judged, ...]:
    """Return the farms that no other beats in the objective and the buffer of a part, by rising buffer."""
    found, best = list[Judged](), math.inf
    for row in sorted(rows, key=lambda r: (r.farm.buffer_bytes, r.objective)):
        if row.objective < best:
            best = row.objective
            found.append(row)
    return tuple(found)


def chain_w(row: Judged) -> float:
    """Return the power of the whole pipeline with a farm (W), as the plan reports it: after technology scaling."""
    return rates_with(row.farm).power_w.value


def power_w(farm: Farm) -> float:
    """Return the power of the servers (W) at the given rate, all up; 0 where the stage has no such figures."""
    stage = farm.site.stage
    if stage.idle_power_w is None and stage.busy_power_w is None:
        return 0.0
    idle = stage.idle_power_w.value if stage.idle_power_w is not None else 0.0
    busy = stage.busy_power_w.value if stage.busy_power_w is not None else idle
    working = min(farm.total, farm.site.rate_hz / farm.site.batch * farm.site.service_s[0])
    return idle * farm.total + max(0.0, busy - idle) * working


def price_usd(farm: Farm, study: FarmStudy) -> float:
    """Return the price of the servers and the buffers of all parts; 0 where there are no prices."""
    price = farm.site.stage.price_usd
    return (0.0 if price is None else price.value) * farm.total + study.buffer_usd_per_byte * farm.buffer_total_bytes


def _collecting_s(farm: Farm, batch_hz: float) -> float:
    """Return the time that the first event of a batch waits for the others, at most what the stage allows."""
    if farm.site.batch == 1 or farm.site.stage.batch is None:
        return 0.0
    longest = farm.site.stage.batch.max_wait_s
    filling = (farm.site.batch - 1) / (farm.site.batch * batch_hz)
    return filling if longest is None else min(filling, longest.value)
