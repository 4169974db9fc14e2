"""A trigger chain of two levels in columns: a first level, links, and a farm of servers with places to wait.

`estimate` is exact for Poisson arrivals and exponential service (M/D/1 on the links, M/M/c/K in the farm: Gross et al.,
Fundamentals of Queueing Theory, chapter 2), vectorised over chains; `simulate` follows events one by one. Both levels
select as a Gaussian score does whose means for signal and background are so many standard deviations apart.
`simulator.pipelines.rates` takes whole descriptions of experiments, one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from scipy.special import ndtr, ndtri

from workloads.table import Array

OVERLOADED = 1.0 - 1e-9


@dataclass(frozen=True)
class Chains:
    """Columns of shape (chains,). reductions: events in over events out of a level; apart: standard deviations between
    signal and background; link_bytes_per_s: of all links together; servers, places: of the farm, beside them."""

    crossing_hz: float
    first_reduction: Array
    second_reduction: Array
    first_apart: float
    second_apart: float
    event_bytes: float
    link_bytes_per_s: Array
    servers: Array
    places: Array
    service_s: float

    @property
    def first_hz(self) -> Array:
        """Return what the first level lets through."""
        return self.crossing_hz / self.first_reduction

    @property
    def link_s(self) -> Array:
        """Return how long the links take for an event."""
        return self.event_bytes / self.link_bytes_per_s

    @property
    def efficiency(self) -> Array:
        """Return the share of signal that both levels keep, losses apart."""
        return np.asarray(
            kept_signal(1 / self.first_reduction, self.first_apart)
            * kept_signal(1 / self.second_reduction, self.second_apart)
        )


@dataclass(frozen=True)
class Means:
    """Arrays of shape (chains,): share lost after the first level, mean time of what is kept, busy servers."""

    loss: Array
    latency_s: Array
    busy: Array


def kept_signal(background: Array, apart: float) -> Array:
    """Return the share of signal above the threshold that keeps a share of the background."""
    return np.asarray(ndtr(apart + ndtri(background)))


def erlang_b(load: Array, servers: Array) -> Array:
    """Return the share of arrivals that find all servers busy where none can wait, by recursion over servers."""
    found, blocked = np.ones(len(load)), np.ones(len(load))
    for number in range(1, int(servers.max(initial=0)) + 1):
        blocked = load * blocked / (number + load * blocked)
        found = np.where(servers == number, blocked, found)
    return found


def estimate(chains: Chains) -> Means:
    """Return loss, latency and busy servers of chains."""
    use = chains.first_hz * chains.link_s
    link_loss = np.maximum(1 - 1 / use, 0.0)  # the links' buffer is long, but not without end
    arrivals = chains.first_hz * (1 - link_loss)
    held = np.minimum(use, OVERLOADED)
    link_wait = np.where(use < 1, held * chains.link_s / (2 * (1 - held)), np.inf)
    c, k = chains.servers, chains.places
    load = arrivals * chains.service_s
    each = load / c
    none = erlang_b(load, c)
    near = np.abs(each - 1) < 1e-9
    ratio = np.where(near, 1.0 + 1e-9, each)
    # sums over the places of ratio^i and i ratio^i; where they grow, both are divided by ratio^k, their largest power
    grown, first = np.minimum(ratio, 1.0) ** k, np.maximum(ratio, 1.0) ** -k
    waiting = np.where(near, k, ratio * (first - grown) / (1 - ratio))
    line = np.where(near, k * (k + 1) / 2, ratio * (first - (k + 1) * grown + k * grown * ratio) / (1 - ratio) ** 2)
    whole = first + none * waiting
    lost = none * grown / whole
    kept = arrivals * (1 - lost)
    queue = none * line / whole / np.maximum(kept, 1e-300)
    loss = 1 - (1 - link_loss) * (1 - lost)
    return Means(loss, link_wait + chains.link_s + queue + chains.service_s, kept * chains.service_s)


def simulate(chains: Chains, place: int, gaps: Array, work: Array) -> tuple[float, float, float]:
    """Return (loss, mean latency of what is kept, mean busy servers until the last event came) of one chain.

    `gaps` and `work` are exponential numbers of mean 1 for the times between events and their service; links that are
    overloaded make the latency grow with the run, as they lose nothing here.
    """
    rate, link_s = float(chains.first_hz[place]), float(chains.link_s[place])
    servers, places = int(chains.servers[place]), int(chains.places[place])
    arrival = np.cumsum(gaps) / rate
    count = np.arange(1, len(arrival) + 1)
    # a line of equal services: the end is the last start since which it was never empty, and all services since
    sent = np.maximum.accumulate(arrival - (count - 1) * link_s) + count * link_s
    service = (work * chains.service_s).tolist()
    last = float(sent[-1])
    ends: list[float] = []  # of what is in the farm, served or waiting, in the order of ending
    free: list[float] = [0.0] * servers
    lost, total, busy = 0, 0.0, 0.0
    for i, (t, came) in enumerate(zip(sent.tolist(), arrival.tolist(), strict=True)):
        while ends and ends[0] <= t:
            heappop(ends)
        if len(ends) >= servers + places:
            lost += 1
            continue
        start = max(t, heappop(free))
        end = start + service[i]
        heappush(free, end)
        heappush(ends, end)
        total += end - came
        busy += min(end, last) - min(start, last)
    kept = len(arrival) - lost
    return lost / len(arrival), total / max(kept, 1), busy / last
