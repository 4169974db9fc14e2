"""Events: a fleet of equal instances serves the demand in time, and what its users see is counted.

Every candidate and every size of fleet sees the same requests (common random numbers), so that differences between two
fleets are theirs and not chance. The first `warmup` share of each replication is served but not counted.
Objectives are those of all counted requests of all replications together, as bursts that last longer than a replication
make one replication busier than another. The busiest comes first: a fleet that loses more requests there than the
objective admits in all has failed, whatever the others give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from archcast.planning.closed_form import Profiles
from archcast.planning.demand import Demand
from archcast.planning.engines import Candidate, stack_of_study
from archcast.planning.plan_file import Slo, Study
from simulator.clock import to_seconds
from simulator.intervals import Uncertain, combined, half_width, t_975
from simulator.serving.fleet import Fleet
from simulator.serving.fleet_run import FleetRun
from simulator.serving.pools import Pool
from simulator.serving.requests import Requests
from simulator.serving.results import times_s
from simulator.serving.step_costs import StepCosts
from simulator.streams import RandomStreams
from workloads.table import Array

GROWING = 2.0
"""A fleet whose requests wait so many times longer in the last third than in the first cannot keep up (estimated)."""

FEWEST = 3
"""Replications of which a percentile has an interval."""
SHOWN = (50.0, 90.0, 99.0)
"""Percentiles that an answer shows beside the objective's."""


@dataclass(frozen=True)
class Seen:
    """One replication: times of the requests that count, by arrival, and what the fleet burned."""

    arrival_s: Array
    ttft_s: Array
    tpot_s: Array
    latency_s: Array
    lost: int
    power_w: float
    busy_share: float
    preempted: int
    trace_hash: str

    @property
    def counted(self) -> int:
        """Return the requests that count, lost ones included."""
        return len(self.ttft_s) + self.lost

    def over(self, name: str, limit: float | None) -> int:
        """Return how many requests take longer than a limit."""
        return 0 if limit is None else int(np.count_nonzero(getattr(self, name) > limit))

    def goodput(self, slo: Slo) -> float:
        """Return the share of requests, lost ones included, that keep every objective."""
        met = np.ones(len(self.ttft_s), dtype=bool)
        for values, limit in ((self.ttft_s, slo.ttft_s), (self.tpot_s, slo.tpot_s)):
            if limit is not None:
                met &= ~(values > limit)
        return float(met.sum()) / max(self.counted, 1)

    @cached_property
    def growing(self) -> bool:
        """Return whether requests wait longer and longer."""
        third = len(self.ttft_s) // 3
        if third < 30:
            return False
        first, last = float(np.mean(self.ttft_s[:third])), float(np.mean(self.ttft_s[-third:]))
        return last > GROWING * first and last > 1.0


@dataclass(frozen=True)
class Outcome:
    """A fleet of `instances` of a candidate under a demand, over the replications that were run (`whole`: all)."""

    candidate: Candidate
    instances: int
    slo: Slo
    runs: tuple[Seen, ...] = field(repr=False)
    whole: bool = True

    @property
    def devices(self) -> int:
        return self.candidate.devices * self.instances

    @property
    def usd_per_hour(self) -> float:
        return self.candidate.usd_per_hour * self.instances

    def quantity(self, name: str, percentile: float | None = None) -> Uncertain:
        """Return a time at a percentile (default: the objective's) of all requests, with its interval for chance.

        Ends of intervals rise with the percentile.
        """
        rank = self.slo.percentile if percentile is None else percentile
        parts = [getattr(run, name) for run in self.runs]
        below = [_jackknife(parts, other) for other in (*SHOWN, self.slo.percentile) if other < rank]
        found = _jackknife(parts, rank)
        if not found.known:
            return found
        ends = [q for q in (*below, found) if q.known]
        return Uncertain(found.value, max(q.lo for q in ends), max(q.hi for q in ends))

    @cached_property
    def ttft_s(self) -> Uncertain:
        return self.quantity("ttft_s")

    @cached_property
    def tpot_s(self) -> Uncertain:
        return self.quantity("tpot_s")

    @cached_property
    def goodput_share(self) -> Uncertain:
        """Return the share of all requests that keep every objective."""
        each = [run.goodput(self.slo) for run in self.runs]
        value = float(np.average(each, weights=[run.counted for run in self.runs]))
        half = half_width(each)
        return Uncertain(value, max(value - half, 0.0), min(value + half, 1.0)) if half == half else Uncertain(value)

    @property
    def power_w(self) -> Uncertain:
        each = [run.power_w for run in self.runs]
        return combined(each, half_width(each))

    @property
    def busy_share(self) -> float:
        return float(np.mean([run.busy_share for run in self.runs]))

    @property
    def unstable(self) -> bool:
        """Return whether waiting grows without end in most replications."""
        return 2 * sum(run.growing for run in self.runs) > len(self.runs)

    @cached_property
    def ratios(self) -> dict[str, float]:
        """Return how much of each objective is used up, by its name; above 1 it is missed."""
        found: dict[str, float] = {}
        for name, limit in (("ttft_s", self.slo.ttft_s), ("tpot_s", self.slo.tpot_s)):
            if limit is None:
                continue
            times = np.concatenate([getattr(run, name) for run in self.runs])
            value = _percentile(times[np.isfinite(times)], self.slo.percentile)
            if math.isfinite(value):
                found[name] = value / limit
        if self.slo.goodput_share is not None:
            missed = max(1.0 - self.goodput_share.value, 0.0)
            found["goodput_share"] = missed / max(1.0 - self.slo.goodput_share, 1e-9)
        return found

    @property
    def worst(self) -> tuple[str, float]:
        """Return the objective that binds, and how much of it is used up."""
        ratios = self.ratios
        name = max(ratios, key=lambda key: ratios[key], default="ttft_s")
        return name, ratios.get(name, 0.0)

    @property
    def meets(self) -> bool:
        """Return whether every objective holds, no request is lost and the fleet keeps up."""
        lost = any(run.lost for run in self.runs)
        return self.worst[1] <= 1.0 and not lost and not self.unstable

    def missed(self, requests: int) -> bool:
        """Return whether so many requests miss an objective that it is missed among `requests` in all."""
        late = {
            "ttft_s": sum(run.over("ttft_s", self.slo.ttft_s) for run in self.runs),
            "tpot_s": sum(run.over("tpot_s", self.slo.tpot_s) for run in self.runs),
        }
        allowed = (1.0 - self.slo.percentile / 100.0) * requests
        if max(late.values()) > allowed:
            return True
        bad = sum((1.0 - run.goodput(self.slo)) * run.counted for run in self.runs)
        return self.slo.goodput_share is not None and bad > (1.0 - self.slo.goodput_share) * requests

    @property
    def trace_hashes(self) -> list[str]:
        return [run.trace_hash for run in self.runs]


def _jackknife(parts: Sequence[Array], percentile: float) -> Uncertain:
    """Return a percentile of all parts together; the interval (95 %) is the jackknife's, leaving one part out a time.

    It is taken in logarithms, as times are above 0 and skewed. Of fewer than `FEWEST` parts there is none: the t of one
    degree of freedom would say nothing. Efron and Tibshirani, An Introduction to the Bootstrap, chapter 11.
    """
    known = [part[np.isfinite(part)] for part in parts]
    value = _percentile(np.concatenate(known), percentile)
    count = len(known)
    if count < FEWEST:
        return Uncertain(value)
    without = np.array([_percentile(np.concatenate(known[:i] + known[i + 1 :]), percentile) for i in range(count)])
    if not (np.isfinite(without) & (without > 0)).all():
        return Uncertain(value)
    logs = np.log(without)
    half = t_975(count - 1) * math.sqrt((count - 1) / count * float(((logs - logs.mean()) ** 2).sum()))
    return Uncertain(value, value * math.exp(-half), value * math.exp(half))


def _percentile(values: Array, percentile: float) -> float:
    """Return the least value with at least that share of the values at or below it (NaN: there is none)."""
    return float(np.percentile(values, percentile, method="inverted_cdf")) if len(values) else math.nan


class Confirmer:
    """Runs fleets. Step costs are priced once an engine and policy, runs once a (candidate, instances, demand)."""

    def __init__(self, study: Study, demand: Demand, profiles: Profiles, seed: int) -> None:
        self.study, self.demand, self.profiles, self.seed = study, demand, profiles, seed
        self.stack = stack_of_study(study)
        self.requests = 0
        self.runs = 0
        self._costs: dict[tuple[object, ...], StepCosts] = {}
        self._seen: dict[tuple[object, ...], list[Seen]] = {}
        self.outcomes: dict[tuple[object, ...], Outcome] = {}

    def outcome(
        self, candidate: Candidate, instances: int, *, whole: bool = False, growth: float = 1.0, slower: float = 1.0
    ) -> Outcome:
        """Return what a fleet does under the demand `growth` times as fast, with steps that take `slower` as long.

        With `whole` every replication is run; else only as many as decide: none but the busiest where it keeps the
        objectives by itself, and no more after too many requests have missed one.
        """
        key = (id(candidate), instances, growth, slower)
        seen = self._seen.setdefault(key, [])
        demand = self.demand.grown(growth) if growth != 1.0 else self.demand
        order = demand.busiest_first
        requests = sum(len(run) - int(self.study.warmup_share * len(run)) for run in demand.runs)
        while True:
            if not seen:
                seen.append(self._run(candidate, instances, demand, order[0], slower))
            found = Outcome(candidate, instances, self.study.slo, tuple(seen), len(seen) == len(order))
            kept = len(seen) == 1 and found.meets
            if found.whole or (not whole and (kept or found.missed(requests))):
                break
            seen.append(self._run(candidate, instances, demand, order[len(seen)], slower))
        if growth == slower == 1.0:
            self.outcomes[key] = found
        return found

    def known(self, candidate: Candidate, instances: int) -> Outcome | None:
        """Return the outcome of a fleet under the demand as it is, where it was run."""
        return self.outcomes.get((id(candidate), instances, 1.0, 1.0))

    def _run(self, candidate: Candidate, instances: int, demand: Demand, replication: int, slower: float) -> Seen:
        """Serve one replication."""
        requests = Requests.from_traffic(demand.runs[replication])
        self.requests += len(requests)
        self.runs += 1
        streams = RandomStreams(self.seed, replication)
        run = Fleet([self._pool(candidate, instances, slower)], requests, streams, segments=True).run()
        first = int(self.study.warmup_share * len(requests))
        found = times_s(requests, run.log, self.stack)
        counted = found["request"] >= first
        times = {name: found[name][counted] for name in ("ttft_s", "tpot_s", "latency_s")}
        power_w, busy_share = _drawn(run, candidate, instances, first)
        lost = sum(sum(number >= first for number in numbers) for numbers in run.lost.values())
        return Seen(
            to_seconds(requests.arrival)[found["request"][counted]], **times, lost=lost,
            power_w=power_w, busy_share=busy_share, preempted=int(sum(run.log.preempted)), trace_hash=run.trace_hash,
        )  # fmt: skip

    def _pool(self, candidate: Candidate, instances: int, slower: float) -> Pool:
        mapping, site = candidate.engine.mapping, candidate.site
        costs = self.costs(candidate).slowed(slower * self.stack.step_factor)
        return Pool(
            "engines", costs, candidate.policy, instances=instances, lanes=candidate.lanes, devices=mapping.devices,
            tp=mapping.tp, idle_w=site.idle_w, router=self.study.router,
        )  # fmt: skip

    def costs(self, candidate: Candidate) -> StepCosts:
        """Return the step costs of a candidate."""
        policy = candidate.policy
        key = (candidate.engine_key, policy.most_tokens, policy.most_requests)
        if key not in self._costs:
            profile, place = self.profiles.profile, self.profiles.place[candidate.engine_key]
            assert profile is not None
            self._costs[key] = profile.step_costs(policy.most_tokens, policy.most_requests, place)
        return self._costs[key]


def _drawn(run: FleetRun, candidate: Candidate, instances: int, first: int) -> tuple[float, float]:
    """Return (mean power of all devices in W, share of the time in which a lane computes).

    Both are those of the time from the first request that counts to the last: before it the fleet fills, and after it
    small batches run out that no fleet in service sees.
    """
    assert run.log.segments is not None
    steps, arrival = run.log.segments.columns(), run.requests.arrival
    begin, end = int(arrival[first]), int(arrival[-1])
    if end <= begin:
        begin, end = 0, max(run.horizon, 1)
    took = np.maximum(steps["end"] - steps["start"], 1)
    inside = np.maximum(np.minimum(steps["end"], end) - np.maximum(steps["start"], begin), 0)
    ranks, window_s = candidate.engine.mapping.tp, float(to_seconds(end - begin))
    busy_s = float(to_seconds(int(inside.sum())))
    steps_w = ranks * float((inside / took * steps["energy_j"]).sum()) / window_s
    devices = candidate.devices * instances
    power_w = steps_w + candidate.site.idle_w * max(devices - ranks * busy_s / window_s, 0.0)
    return power_w, busy_s / (window_s * candidate.lanes * instances)
