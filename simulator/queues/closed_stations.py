"""Single stations with room for everyone: M/M/1, M/M/c, M/G/1, G/G/c, processor sharing.

Sources: Kleinrock, Queueing Systems I (1975) and II (1976); Gross, Shortle, Thompson and Harris, Fundamentals of
Queueing Theory (4th ed., 2008); Harchol-Balter, Performance Modeling and Design of Computer Systems (2013); Allen,
Probability, Statistics, and Queueing Theory (2nd ed., 1990). See `closed_means` for units and saturation.
"""

from __future__ import annotations

import math

import numpy as np

from simulator.queues.closed_erlang import erlang_c
from simulator.queues.closed_means import (
    Array,
    QueueMeans,
    count,
    not_negative,
    positive,
    quantile_share,
    without_loss,
)


def mm1(arrival_hz: float, service_s: float) -> QueueMeans:
    """Return the means of M/M/1: wait = rho s / (1 - rho) (Kleinrock I, section 3.2)."""
    return mg1(arrival_hz, service_s, 1.0)


def mm1_distribution(arrival_hz: float, service_s: float, most: int) -> Array:
    """Return the probabilities of 0, 1, .. `most` in an M/M/1 system: (1 - rho) rho^n; zeros where it is saturated."""
    rho = not_negative("arrival_hz", arrival_hz) * positive("service_s", service_s)
    n = np.arange(count("most", most, 0) + 1)
    probabilities: Array = np.zeros(len(n)) if rho >= 1.0 else (1.0 - rho) * np.power(rho, n, dtype=np.float64)
    return probabilities


def mm1_wait_quantile_s(arrival_hz: float, service_s: float, quantile: float) -> float:
    """Return the quantile of the wait in M/M/1, first come first served: P(W > t) = rho exp(-(mu - lambda) t)."""
    return mmc_wait_quantile_s(arrival_hz, service_s, 1, quantile)


def mm1_response_quantile_s(arrival_hz: float, service_s: float, quantile: float) -> float:
    """Return the quantile of the response in M/M/1, FCFS: exponential with rate mu - lambda (Kleinrock I, 5.7)."""
    rho = not_negative("arrival_hz", arrival_hz) * positive("service_s", service_s)
    quantile = quantile_share(quantile)
    return math.inf if rho >= 1.0 else -math.log1p(-quantile) * service_s / (1.0 - rho)


def mg1(arrival_hz: float, service_s: float, cv2: float) -> QueueMeans:
    """Return the means of M/G/1 by Pollaczek and Khinchine: wait = rho s (1 + cv2) / (2 (1 - rho)).

    Kleinrock I, eq. 5.72. `cv2` is the squared coefficient of variation of the service: 0 constant, 1 exponential.

    Raises:
        BadValueError: a negative rate or cv2, or a service time that is not above 0.
    """
    rho = not_negative("arrival_hz", arrival_hz) * positive("service_s", service_s)
    spread = 1.0 + not_negative("cv2", cv2)
    wait_s = math.inf if rho >= 1.0 else rho * service_s * spread / (2.0 * (1.0 - rho))
    return without_loss(arrival_hz, service_s, 1, wait_s)


def md1(arrival_hz: float, service_s: float) -> QueueMeans:
    """Return the means of M/D/1: half the wait of M/M/1 (Pollaczek and Khinchine with cv2 = 0)."""
    return mg1(arrival_hz, service_s, 0.0)


def mmc(arrival_hz: float, service_s: float, servers: int) -> QueueMeans:
    """Return the means of M/M/c: wait = C s / (c - a), C by Erlang (Kleinrock I, section 3.5). Raises as `mg1`."""
    load = not_negative("arrival_hz", arrival_hz) * positive("service_s", service_s)
    servers = count("servers", servers)
    wait_s = math.inf if load >= servers else erlang_c(servers, load) * service_s / (servers - load)
    return without_loss(arrival_hz, service_s, servers, wait_s)


def mmc_wait_probability(arrival_hz: float, service_s: float, servers: int) -> float:
    """Return the share of customers that wait in M/M/c (Erlang C); 1 where it is saturated."""
    return erlang_c(servers, not_negative("arrival_hz", arrival_hz) * positive("service_s", service_s))


def mmc_wait_quantile_s(arrival_hz: float, service_s: float, servers: int, quantile: float) -> float:
    """Return the quantile of the wait in M/M/c, FCFS: P(W > t) = C exp(-(c mu - lambda) t) (Gross & Harris, 2.3)."""
    probability = mmc_wait_probability(arrival_hz, service_s, servers)
    left, load = 1.0 - quantile_share(quantile), arrival_hz * service_s
    if load >= servers:
        return math.inf
    return max(0.0, math.log(probability / left)) * service_s / (servers - load) if probability > 0.0 else 0.0


def mmc_response_tail(arrival_hz: float, service_s: float, servers: int, time_s: float) -> float:
    """Return P(response > `time_s`) in M/M/c, FCFS; 1 where it is saturated.

    The response is an exponential service after a wait that is 0 with 1 - C, else exponential (Gross & Harris, 2.3).
    """
    probability = mmc_wait_probability(arrival_hz, service_s, servers)
    spare = servers - arrival_hz * service_s
    if spare <= 0.0:
        return 1.0
    x = not_negative("time_s", time_s) / service_s
    if abs(spare - 1.0) < 1e-7:
        late = (1.0 + x) * math.exp(-x)  # two phases of one rate
    else:
        late = (spare * math.exp(-x) - math.exp(-spare * x)) / (spare - 1.0)
    return (1.0 - probability) * math.exp(-x) + probability * late


def mmc_response_quantile_s(arrival_hz: float, service_s: float, servers: int, quantile: float) -> float:
    """Return the quantile of the response in M/M/c, FCFS, by bisection on its tail (relative error 1e-12)."""
    left = 1.0 - quantile_share(quantile)
    if arrival_hz * service_s >= servers or left >= 1.0:
        mmc_wait_probability(arrival_hz, service_s, servers)  # refuses impossible inputs
        return 0.0 if left >= 1.0 else math.inf
    low_s, high_s = 0.0, service_s
    while mmc_response_tail(arrival_hz, service_s, servers, high_s) > left:
        low_s, high_s = high_s, 2.0 * high_s
    while high_s - low_s > 1e-12 * high_s:
        middle_s = (low_s + high_s) / 2.0
        if mmc_response_tail(arrival_hz, service_s, servers, middle_s) > left:
            low_s = middle_s
        else:
            high_s = middle_s
    return high_s


def mmc_distribution(arrival_hz: float, service_s: float, servers: int, most: int) -> Array:
    """Return the probabilities of 0, 1, .. `most` in an M/M/c system; zeros where it is saturated.

    From the state where all servers are just busy, p_c = C (1 - rho), up and down by the balance of neighbours.
    """
    load = not_negative("arrival_hz", arrival_hz) * positive("service_s", service_s)
    servers, n = count("servers", servers), np.arange(count("most", most, 0) + 1)
    if load >= servers or load == 0.0:
        return np.where(n == 0, 1.0, 0.0) if load == 0.0 else np.zeros(len(n))
    weights = np.cumsum(np.log(load / np.minimum(np.arange(1, max(servers, most) + 1), servers)))
    weights = np.concatenate(([0.0], weights))
    full = weights[servers]
    top = max(float(weights.max()), 0.0)
    total = float(np.exp(weights[:servers] - top).sum()) + math.exp(full - top) / (1.0 - load / servers)
    probabilities: Array = np.exp(weights[: len(n)] - top) / total
    return probabilities


def ggc(arrival_hz: float, service_s: float, servers: int, arrival_cv2: float, service_cv2: float) -> QueueMeans:
    """Return the approximation of Allen and Cunneen for G/G/c: the wait of M/M/c times (ca2 + cs2) / 2.

    An approximation (Allen 1990, section 5.3). Exact for M/M/c and M/G/1. With Poisson arrivals and constant service
    it is 0 to 15 % low for rho from 0.7 and 2 to 8 servers; at light load, with smooth arrivals (ca2 below 1) or with
    cs2 far above 1 it can be wrong by half and more. The tests hold it to simulated queues in the range 0.8 to 0.9.
    """
    base = mmc(arrival_hz, service_s, servers)
    spread = (not_negative("arrival_cv2", arrival_cv2) + not_negative("service_cv2", service_cv2)) / 2.0
    return base if math.isinf(base.wait_s) else without_loss(arrival_hz, service_s, servers, base.wait_s * spread)


def mg1_ps(arrival_hz: float, service_s: float) -> QueueMeans:
    """Return the means of M/G/1 with processor sharing: response = s / (1 - rho), whatever the service law.

    Kleinrock II, section 4.4. `wait_s` is the mean delay over a run alone, `waiting` the number beyond one server's.
    """
    return mm1(arrival_hz, service_s)


def mg1_ps_response_s(arrival_hz: float, service_s: float, own_s: float) -> float:
    """Return the mean response of a customer of size `own_s` in M/G/1 with processor sharing: own_s / (1 - rho)."""
    rho = not_negative("arrival_hz", arrival_hz) * positive("service_s", service_s)
    return math.inf if rho >= 1.0 else not_negative("own_s", own_s) / (1.0 - rho)


def mgc_ps(arrival_hz: float, service_s: float, servers: int) -> QueueMeans:
    """Return the means of M/G/c with processor sharing (n customers share min(n, c) servers evenly, at most one each).

    The number in the system is that of M/M/c, whatever the service law (a symmetric queue: Kelly, Reversibility and
    Stochastic Networks, 1979, section 3.3).
    """
    return mmc(arrival_hz, service_s, servers)
