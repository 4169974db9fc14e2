"""Means of a stage's line and servers, and of a link's, from the closed forms of queues.

Arrivals are Poisson: Bernoulli triggers come close where a service takes many crossings. Of laws that have no closed
form for several servers and a limit, two moments are taken: the room to wait counts 2 / (1 + cv^2) fold in M/M/c/K, the
wait is (1 + cv^2) / 2 of that (exact for cv = 1; heavy traffic: Kimura, Two-moment approximations for the M/G/c/K
queue, Operations Research 48, 2000). Arrivals at one of n parts that take events in turn are more even than Poisson
(squared cv 1/n): many servers then wait as those of Hayward's approximation, c/z servers for a load of a/z with the
peakedness z = (1 + cv^2) / 2 (Whitt, Approximations for the GI/G/m queue, Production and Operations Mgmt 2, 1993).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from simulator.queues.closed_erlang import erlang_c
from simulator.queues.closed_finite import mgcc, mmck
from simulator.queues.closed_mg1k import mg1k
from simulator.queues.closed_stations import ggc, mg1

_EXACT_PLACES = 400
"""M/G/1/K is solved exactly up to so many places; its cost grows with their square."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line and its servers. `places` are those to wait in (None: no limit).

    `cv2` is the squared cv of a service, `arrival_cv2` that of the gaps between arrivals (1: Poisson).
    """

    servers: int
    service_s: float
    law: str = "constant"
    cv2: float = 0.0
    places: int | None = None
    arrival_cv2: float = 1.0

    def load(self, arrival_hz: float) -> float:
        """Return the load that is offered to each server; 1 and more is too much."""
        return arrival_hz * self.service_s / self.servers

    def loss(self, arrival_hz: float) -> float:
        """Return the share of arrivals that find no place."""
        return self._means(arrival_hz)[0]

    def wait_s(self, arrival_hz: float) -> float:
        """Return the mean wait before service; infinite where nothing limits a line that grows."""
        return self._means(arrival_hz)[1]

    def _means(self, arrival_hz: float) -> tuple[float, float]:
        if self.service_s <= 0 or arrival_hz <= 0:
            return 0.0, 0.0
        if self.places is None and self.load(arrival_hz) >= 1:
            return 0.0, math.inf
        if self.arrival_cv2 != 1:
            return self._even(arrival_hz)
        if self.places is None:
            if self.servers == 1:
                return 0.0, mg1(arrival_hz, self.service_s, self.cv2).wait_s
            return 0.0, ggc(arrival_hz, self.service_s, self.servers, 1.0, self.cv2).wait_s
        if self.places == 0:
            return mgcc(arrival_hz, self.service_s, self.servers).loss, 0.0
        if self.servers == 1 and self.places < _EXACT_PLACES:
            cv2 = None if self.law in ("constant", "exponential") else self.cv2
            exact = mg1k(arrival_hz, self.service_s, self.places + 1, self.law, cv2)
            return exact.loss, exact.wait_s
        spread = (1 + self.cv2) / 2
        means = mmck(arrival_hz, self.service_s, self.servers, self.servers + _folded(self.places, spread))
        return means.loss, means.wait_s * spread

    def _even(self, arrival_hz: float) -> tuple[float, float]:
        """Return (loss, wait) for arrivals that are not Poisson: Hayward's servers, spread of both kinds of gaps."""
        if self.servers == 1 and self.places is None:
            return 0.0, _one_even_wait_s(self.load(arrival_hz), self.service_s, self.arrival_cv2, self.cv2)
        peakedness = (1 + self.arrival_cv2) / 2
        servers = max(1, round(self.servers / peakedness))
        spread = (self.arrival_cv2 + self.cv2) / 2
        # the same load on each of them: the wait of more servers is shorter by their number
        rate_hz = arrival_hz * servers / self.servers
        if self.places is None:
            wait_s = ggc(rate_hz, self.service_s, servers, 1.0, 1.0).wait_s
            return 0.0, wait_s * servers / self.servers * spread
        room = 0 if self.places == 0 else _folded(self.places, max(spread, 1e-6))
        means = mmck(rate_hz, self.service_s, servers, servers + room)
        return means.loss, means.wait_s * servers / self.servers * spread


def _one_even_wait_s(load: float, service_s: float, arrival_cv2: float, cv2: float) -> float:
    """Return the mean wait of GI/G/1 with arrivals more even than Poisson (Kraemer and Langenbach-Belz, 8th
    International Teletraffic Congress, 1976): Kingman's x exp(-2/3 (1 - load) (1 - ca2)^2 / load / (ca2 + cs2))."""
    spread = arrival_cv2 + cv2
    less = math.exp(-2 / 3 * (1 - load) * (1 - arrival_cv2) ** 2 / (load * spread)) if spread > 0 else 0.0
    return service_s * load / (1 - load) * spread / 2 * less


def _folded(places: int, spread: float) -> int:
    """Return the places of M/M/c/K that hold as much as `places` of a line with another spread of gaps."""
    return min(max(1, round(places / spread)), 10**11)


def servers_for_load(arrival_hz: float, service_s: float) -> int:
    """Return the fewest servers with a load below 1 each."""
    return math.floor(arrival_hz * service_s * (1 + 1e-12)) + 1


def waiting_share(line: Line, arrival_hz: float) -> float:
    """Return the share of events that wait at all (Erlang C; exact for exponential services without limit)."""
    if line.load(arrival_hz) >= 1:
        return 1.0
    return erlang_c(line.servers, arrival_hz * line.service_s) if line.service_s > 0 else 0.0


def overload_share(servers: int, availability: float, needed: int) -> float:
    """Return the share of time in which fewer than `needed` of the servers are up (binomial, servers independent)."""
    if availability >= 1 or needed <= 0:
        return 0.0 if needed <= servers else 1.0
    if needed > servers:
        return 1.0
    down_from = servers - needed + 1  # so many down are too many
    p = 1 - availability
    first = (
        math.lgamma(servers + 1) - math.lgamma(down_from + 1) - math.lgamma(servers - down_from + 1)
        + down_from * math.log(p) + (servers - down_from) * math.log1p(-p)
    )  # fmt: skip
    if down_from <= servers * p:  # the sum from the other side has the falling terms
        below = sum(_binomial(servers, p, k) for k in range(down_from))
        return max(0.0, 1.0 - below)
    share, term, k = 0.0, math.exp(first), down_from
    while k <= servers and term > 1e-18 * share:
        share += term
        term *= (servers - k) / (k + 1) * p / (1 - p)
        k += 1
    return min(share, 1.0)


def _binomial(n: int, p: float, k: int) -> float:
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) + k * math.log(p) + (n - k) * math.log1p(-p)
    return math.exp(log)
