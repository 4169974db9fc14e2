"""Networks of stations: open (Jackson) and closed (Gordon and Newell).

Sources: Jackson, Operations Research 5 (1957); Gordon and Newell, Operations Research 15 (1967); Reiser and Lavenberg,
Journal of the ACM 27 (1980), for mean value analysis; Buzen, Communications of the ACM 16 (1973), for the convolution;
Bolch, Greiner, de Meer and Trivedi, Queueing Networks and Markov Chains (2nd ed., 2006), chapters 7 and 8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from foundation.errors import BadValueError
from simulator.queues.closed_means import Array, QueueMeans, count, not_negative, positive
from simulator.queues.closed_stations import mmc


class OpenNetwork(NamedTuple):
    """Steady state of an open network; where a station is saturated, so are the times and numbers of the whole."""

    rates_hz: Array
    """Arrivals at each station, feedback included."""
    stations: list[QueueMeans]
    response_s: float
    """Mean time of a customer from entry to exit."""
    number: float


class ClosedNetwork(NamedTuple):
    """Steady state of a closed network."""

    throughput_hz: float
    """Cycles per second: visits to a station whose visit ratio is 1."""
    response_s: Array
    """Mean time of a visit to each station."""
    number: Array
    """Mean number at each station."""
    utilisation: Array
    """Share of the servers that is busy; of a delay (no queue), the mean number in it."""


def traffic_rates_hz(external_hz: ArrayLike, routing: ArrayLike) -> Array:
    """Return the arrivals at each station that solve lambda = gamma + lambda P (Jackson's traffic equations).

    Args:
        external_hz: arrivals from outside at each station. routing: P[i, j], the share that goes from i to j; what a
            row lacks to 1 leaves.
    Raises:
        BadValueError: negative numbers, shapes that do not fit, a row above 1, or customers that can never leave.
    """
    external, p = np.asarray(external_hz, dtype=np.float64), np.asarray(routing, dtype=np.float64)
    if external.ndim != 1 or p.shape != (len(external), len(external)):
        raise BadValueError("routing must be a square with one row and one column for each of the external rates.")
    if not (np.isfinite(external).all() and np.isfinite(p).all()) or (external < 0).any() or (p < 0).any():
        raise BadValueError("external rates and routing shares must be finite and at least 0.")
    sums = p.sum(axis=1)
    if (sums > 1.0 + 1e-9).any():
        worst = int(sums.argmax())
        raise BadValueError(f"the routing shares of station {worst} sum to {sums[worst]:g}; they must be at most 1.")
    _check_exits(p, sums)
    rates: Array = np.maximum(np.linalg.solve((np.eye(len(p)) - p).T, external), 0.0).astype(np.float64)
    return rates


def _check_exits(p: Array, sums: Array) -> None:
    """Raise where a station has no way out of the network."""
    leaves = sums < 1.0 - 1e-12
    for _ in range(len(p)):
        leaves = leaves | ((p > 0.0) @ leaves)
    if not leaves.all():
        stuck = int(np.flatnonzero(~leaves)[0])
        raise BadValueError(f"customers of station {stuck} can never leave: no path of routing shares leads outside.")


def jackson(
    external_hz: ArrayLike, routing: ArrayLike, services_s: Sequence[float], servers: Sequence[int] | None = None
) -> OpenNetwork:
    """Return the means of an open Jackson network: each station is as an M/M/c on its own. Raises as above."""
    rates = traffic_rates_hz(external_hz, routing)
    servers = [1] * len(rates) if servers is None else servers
    if not len(rates) == len(services_s) == len(servers):
        raise BadValueError(f"{len(rates)} stations need as many service times and servers.")
    stations = [mmc(r, s, c) for r, s, c in zip(rates.tolist(), services_s, servers, strict=True)]
    number = math.fsum(station.number for station in stations)
    entering = float(np.asarray(external_hz, dtype=np.float64).sum())
    return OpenNetwork(rates, stations, number / entering if entering > 0.0 else 0.0, number)


def visit_ratios(routing: ArrayLike, reference: int = 0) -> Array:
    """Return how often each station of a closed network is visited for one visit to station `reference`: v = v P.

    Raises:
        BadValueError: a row does not sum to 1, or the stations do not form one network.
    """
    p = np.asarray(routing, dtype=np.float64)
    n = len(p)
    if p.shape != (n, n) or (p < 0).any() or np.abs(p.sum(axis=1) - 1.0).max() > 1e-9:
        raise BadValueError("the routing of a closed network must be a square whose rows sum to 1.")
    balance = np.vstack((p.T - np.eye(n), np.eye(1, n, count("reference", reference, 0))))
    ratios, _, rank, _ = np.linalg.lstsq(balance, np.append(np.zeros(n), 1.0), rcond=None)
    if rank < n or (ratios < -1e-9).any():
        raise BadValueError("the stations of this routing do not form one closed network.")
    found: Array = np.maximum(ratios, 0.0).astype(np.float64)
    return found


def mean_value_analysis(
    customers: int, visits: Sequence[float], services_s: Sequence[float], think_s: float = 0.0
) -> ClosedNetwork:
    """Return the means of a closed network of single servers and a delay, by exact mean value analysis.

    A visit takes s_i (1 + the mean number found), which is that of the network with one customer less (Reiser and
    Lavenberg). `think_s` is spent without queueing once a cycle. Cost: customers x stations.

    Raises:
        BadValueError: no customer, no station, lists of different lengths, a negative visit ratio, a time not above 0.
    """
    customers = count("customers", customers)
    v, s = _demands(visits, services_s)
    think_s = not_negative("think_s", think_s)
    number = np.zeros(len(v))
    throughput_hz, response_s = 0.0, s
    for n in range(1, customers + 1):
        response_s = s * (1.0 + number)
        throughput_hz = n / (think_s + float(v @ response_s))
        number = throughput_hz * v * response_s
    return ClosedNetwork(throughput_hz, response_s, number, throughput_hz * v * s)


def closed_network(
    customers: int,
    visits: Sequence[float],
    services_s: Sequence[float],
    servers: Sequence[int | None],
    think_s: float = 0.0,
) -> ClosedNetwork:
    """Return the means of a closed network of stations with several servers, exactly, by convolution.

    The same as mean value analysis with marginal probabilities, without its subtractions, which lose all digits where
    many servers are busy. A `None` among `servers` is a delay (a server for everyone). Cost: stations x customers^2.
    Raises as `mean_value_analysis`, and for zero servers.
    """
    customers = count("customers", customers)
    v, s = _demands(visits, services_s)
    if len(servers) != len(v):
        raise BadValueError(f"{len(v)} stations need as many entries of servers, not {len(servers)}.")
    limits = [customers if c is None else count("servers", c) for c in servers]
    demands = v * s
    # Times in units of the slowest station keep the factors within range; G(N - 1) / G(N) is then in that unit.
    unit_s = float(max((demands / np.minimum(limits, customers)).max(), think_s / customers))
    factors = [_factors(d / unit_s, c, customers) for d, c in zip(demands.tolist(), limits, strict=True)]
    thinking = [_factors(think_s / unit_s, customers, customers)]
    whole = _convolve(factors + thinking, customers)
    throughput_hz = float(np.exp(whole[-2] - whole[-1])) / unit_s
    number = np.zeros(len(v))
    for i, own in enumerate(factors):
        others = _convolve(factors[:i] + factors[i + 1 :] + thinking, customers)
        logs = own + others[::-1] - whole[-1]
        number[i] = float(np.arange(customers + 1) @ np.exp(logs))
    visits_hz = np.maximum(throughput_hz * v, 1e-300)
    busy = throughput_hz * demands / np.array([1 if c is None else c for c in servers])
    return ClosedNetwork(throughput_hz, number / visits_hz, number, busy)


def _demands(visits: Sequence[float], services_s: Sequence[float]) -> tuple[Array, Array]:
    if not visits or len(visits) != len(services_s):
        raise BadValueError("visits and services_s need one value for each station, and one station at least.")
    v = np.array([not_negative("a visit ratio", x) for x in visits])
    s = np.array([positive("service_s", x) for x in services_s])
    if not (v > 0.0).any():
        raise BadValueError("one station at least must be visited.")
    return v, s


def _factors(demand: float, servers: int, customers: int) -> Array:
    """Return the logs of demand^n / (product of min(k, c) for k = 1..n), n = 0..customers."""
    if demand == 0.0:
        return np.append(0.0, np.full(customers, -np.inf))
    n = np.arange(1, customers + 1)
    return np.append(0.0, np.cumsum(math.log(demand) - np.log(np.minimum(n, servers))))


def _convolve(factors: list[Array], customers: int) -> Array:
    """Return the log of the convolution of all factors, scaled at each step so that nothing overflows."""
    total, scale = np.eye(1, customers + 1)[0], 0.0
    for logs in factors:
        top = float(logs.max())
        total = np.convolve(total, np.exp(logs - top))[: customers + 1]
        high = float(total.max())
        total, scale = total / high, scale + top + math.log(high)
    with np.errstate(divide="ignore"):
        found: Array = np.log(total) + scale
    return found
