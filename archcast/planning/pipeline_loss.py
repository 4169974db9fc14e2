"""Loss and waits of one part of a farm in closed form: arrivals and services of any spread, c servers, room for r.

M/M/c/K is exact, and so are M/G/c/c (Erlang B whatever the law) and M/G/1/K. Everything else is the exact M/M/c/K of a
smaller farm: c/z servers at a/z erlang with room r/v, real numbers. z is the peakedness of the arrivals, by which the
number in an unlimited farm varies (z = 1 + (ca^2 - 1) E[min(S, S')]/E[S]; Fredericks, Congestion in blocking systems,
Bell System Technical Journal 59, 1980, after Hayward; Whitt, Heavy-traffic approximations for service systems with
blocking, AT&T Bell Laboratories Technical Journal 63, 1984). v = (ca^2 + cs^2)/2 is the spread by which the line grows
(Kimura, Operations Research 48, 2000). With both it is the steady state of the diffusion of Whitt (A diffusion
approximation for the G/GI/n/m queue, Operations Research 52, 2004): the flux is continuous where the last server is
taken. Its error grows with the depth of the buffer; events measure it (`pipeline_confirm`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from simulator.queues.closed_erlang import erlang_b
from simulator.queues.closed_mg1k import mg1k
from simulator.queues.laws import Law

Array = npt.NDArray[np.float64]

EXACT_PLACES = 400
"""M/G/1/K is solved exactly up to so many places; its cost grows with their square."""
LEAST_PEAK = 1e-4
"""Of arrivals and services that hardly vary; below, the scaled farm would be beyond 10^4 times the true one."""
DRAWS = 1 << 17
"""Of a law whose shared minimum or quantiles have no closed form here (0.3 % of the mean)."""
STRIDE = 16
"""Every sixteenth of them stands for its neighbours in a latency."""
_SEED = 20260101


@dataclass(frozen=True)
class Part:
    """One part as events see it. `arrival_cv2` and `cv2` are squared coefficients of variation; times in s."""

    servers: int
    room: int
    arrival_hz: float
    service_s: float
    law: str = "constant"
    cv2: float = 0.0
    arrival_cv2: float = 1.0

    @property
    def load(self) -> float:
        """Offered load of each server; 1 and more is too much."""
        return self.arrival_hz * self.service_s / self.servers

    @property
    def spread(self) -> float:
        """Return v: by how much the line varies, 1 for Poisson arrivals and exponential services."""
        return max(LEAST_PEAK, (self.arrival_cv2 + self.cv2) / 2)

    @property
    def peakedness(self) -> float:
        return max(LEAST_PEAK, 1 + (self.arrival_cv2 - 1) * shared_minimum(self.law, round(self.cv2, 12)))

    @property
    def exact(self) -> bool:
        """Tell whether the closed form is exact."""
        poisson = abs(self.arrival_cv2 - 1) < 1e-12
        return poisson and (self.law == "exponential" or self.room == 0 or self._one_server)

    @property
    def named(self) -> str:
        """Return the name of the law that `loss` takes."""
        if self.room == 0 and self.exact:
            return "M/G/c/c (Erlang B), exact"
        if self.exact:
            return "M/G/1/K, exact" if self._one_server else "M/M/c/K, exact"
        return "G/G/c/K by peakedness and spread (Hayward, Kimura, Whitt 2004), approximate"

    @property
    def _one_server(self) -> bool:
        return self.servers == 1 and self.room < EXACT_PLACES

    def loss(self) -> float:
        """Return the share of arrivals that find no place."""
        if self.arrival_hz <= 0 or self.service_s <= 0:
            return 0.0
        if self.exact and self._one_server and self.room > 0 and self.law != "exponential":
            cv2 = None if self.law == "constant" else self.cv2
            return mg1k(self.arrival_hz, self.service_s, self.room + 1, self.law, cv2).loss
        z = self.peakedness
        inverse = _inverse_b(self.servers / z, self.load * self.servers / z)
        return _full(inverse, self.load, self.room / self.spread)

    def wait_tails(self, waits_s: Array) -> Array:
        """Return the shares of the kept events that wait longer than each time.

        The share that waits is that of the states with all servers busy; of these the wait is exponential with rate
        c (1 - rho) / (S v) (exact for M/M/c; heavy traffic else), cut where the room ends.
        """
        z, v, rho = self.peakedness, self.spread, self.load
        inverse, room = _inverse_b(self.servers / z, rho * self.servers / z), self.room / v
        if self.room == 0 or (math.isinf(inverse) and rho < 1):
            return np.zeros(len(waits_s))
        waits = 1.0
        if rho <= 0 or room * math.log(rho) < 600:
            busy = _power_sum(rho, 0.0, room - 1)
            waits = busy / (inverse - 1 + busy)
        rate_hz, longest_s = self.servers * (1 - rho) / (self.service_s * v), self._longest_s
        left_s = np.maximum(0.0, longest_s - waits_s)
        if abs(rate_hz * longest_s) < 1e-9:
            beyond = left_s / longest_s
        elif rate_hz > 0:
            last = math.exp(-rate_hz * longest_s)
            beyond = (np.exp(-rate_hz * np.minimum(waits_s, longest_s)) - last) / (1 - last)
        else:
            beyond = np.expm1(rate_hz * left_s) / math.expm1(rate_hz * longest_s)
        return np.clip(waits * beyond, 0.0, 1.0)

    @property
    def _longest_s(self) -> float:
        return (self.room + 1) * self.service_s / self.servers

    def latency_quantile_s(self, share: float) -> float:
        """Return the time (wait and service) that a share of the events that are kept does not exceed."""
        services = self.service_s * quantiles_of(self.law, round(self.cv2, 12))[STRIDE // 2 :: STRIDE]
        if not len(services):
            services = np.array([self.service_s])
        longest = self._longest_s
        waits = np.concatenate(([0.0], np.geomspace(1e-6 * longest, longest, 200)))
        tails = self.wait_tails(waits)

        def beyond(t: float) -> float:
            left = t - services
            return float(np.where(left < 0, 1.0, np.interp(left, waits, tails, right=0.0)).mean())

        low, high = 0.0, float(services[-1]) + longest
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if beyond(middle) > 1 - share else (low, middle)
        return high


def _inverse_b(servers: float, load: float) -> float:
    """Return 1 / Erlang B of a real number of servers: logarithms of the whole ones beside it, joined by a line."""
    below = math.floor(servers)
    ends = [erlang_b(n, load) for n in (below, below + 1)]
    if ends[1] <= 0:
        return math.inf
    part = servers - below
    log = (1 - part) * math.log(ends[0]) + part * math.log(ends[1])
    return math.exp(-log) if log > -700 else math.inf


def _full(inverse: float, rho: float, room: float) -> float:
    """Return the share of the full state: weights 1/B below the last server, rho^j for j in the line."""
    if rho <= 1:
        weight = math.exp(room * math.log(rho)) if rho > 0 else 0.0
        total = inverse - 1 + _power_sum(rho, 0.0, room)
        return weight / total if math.isfinite(total) else 0.0
    # weights relative to the full state, so that none overflows
    back = math.exp(-min(700.0, room * math.log(rho)))
    return 1 / (back * (inverse - 1) + _power_sum(1 / rho, 0.0, room))


def _power_sum(x: float, first: float, last: float) -> float:
    """Return the sum of x^j over j = first..last with real ends: (x^first - x^(last + 1)) / (1 - x)."""
    if last + 1 <= first:
        return 0.0
    log = math.log(x) if x > 0 else -math.inf
    if abs(log) * (last + 1) < 1e-9:
        return last + 1 - first
    if log == -math.inf:
        return 1.0 if first == 0 else 0.0
    shift = math.exp(first * log) if first * log < 700 else math.inf
    return shift * math.expm1((last + 1 - first) * log) / math.expm1(log)


@lru_cache(maxsize=256)
def shared_minimum(law: str, cv2: float) -> float:
    """Return E[min(S, S')]/E[S] of two independent services: 1 for constant ones, 1/2 for exponential ones."""
    if law == "constant":
        return 1.0
    if law == "exponential":
        return 0.5
    if law == "lognormal":
        return math.erfc(math.sqrt(math.log1p(cv2)) / 2)
    values = quantiles_of(law, cv2)
    n = len(values)
    weights = 2 * (n - np.arange(n)) - 1
    return float((values * weights).sum() / n**2)


@lru_cache(maxsize=32)
def quantiles_of(law: str, cv2: float) -> Array:
    """Return services of mean 1, rising: those of equal shares of the law (drawn; at most `DRAWS`)."""
    if law == "constant":
        return np.ones(1)
    one = Law("exponential") if law == "exponential" else Law(law, 1.0, math.sqrt(cv2))
    drawn = np.sort(one.draw(np.random.default_rng(_SEED), DRAWS))
    found: Array = drawn / drawn.mean()
    return found
