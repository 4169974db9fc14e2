"""Stations with exponential service and a limit: M/M/1/K, M/M/c/K and the loss system M/G/c/c.

Source: Gross, Shortle, Thompson and Harris, Fundamentals of Queueing Theory (4th ed., 2008), sections 2.4 to 2.6.
`places` counts the customers in the system, those in service included. No load saturates these: what is too much
is lost.
"""

from __future__ import annotations

import math

import numpy as np

from foundation.errors import BadValueError
from simulator.queues.closed_erlang import erlang_b
from simulator.queues.closed_means import Array, QueueMeans, count, not_negative, positive, with_loss


def mm1k(arrival_hz: float, service_s: float, places: int) -> QueueMeans:
    """Return the means of M/M/1/K: loss = (1 - rho) rho^K / (1 - rho^(K + 1)) (Gross & Harris, 2.4)."""
    return mmck(arrival_hz, service_s, 1, places)


def mgcc(arrival_hz: float, service_s: float, servers: int) -> QueueMeans:
    """Return the means of M/G/c/c, c servers and no room to wait: loss by Erlang B, whatever the service law."""
    load = not_negative("arrival_hz", arrival_hz) * positive("service_s", service_s)
    return with_loss(arrival_hz, service_s, servers, erlang_b(count("servers", servers), load), 0.0)


def mmck(arrival_hz: float, service_s: float, servers: int, places: int) -> QueueMeans:
    """Return the means of M/M/c/K (Gross & Harris, 2.4), with the states up to c summed by Erlang B.

    The cost does not grow with servers or places.

    Raises:
        BadValueError: a negative rate, a service time not above 0, no server, or fewer places than servers.
    """
    load, room = _room(arrival_hz, service_s, servers, places)
    if load == 0.0:
        return with_loss(arrival_hz, service_s, servers, 0.0, 0.0)
    b, rho = erlang_b(servers, load), load / servers
    if b == 0.0:
        return with_loss(arrival_hz, service_s, servers, 0.0, 0.0)
    # Weights relative to the state of c customers (rho <= 1) or to the full state (rho > 1), so that none overflows.
    if rho <= 1.0:
        zeroth, first = _sums(rho, room)
        full = 1.0 / (1.0 / b + zeroth - 1.0)
        return with_loss(arrival_hz, service_s, servers, full * rho**room, full * first)
    zeroth, first = _sums(1.0 / rho, room)
    loss = 1.0 / (rho**-room * (1.0 / b - 1.0) + zeroth)
    return with_loss(arrival_hz, service_s, servers, loss, loss * (room * zeroth - first))


def mmck_distribution(arrival_hz: float, service_s: float, servers: int, places: int) -> Array:
    """Return the probabilities of 0, 1, .. `places` in an M/M/c/K system. Raises as `mmck`."""
    load, _ = _room(arrival_hz, service_s, servers, places)
    if load == 0.0:
        nobody: Array = np.eye(1, places + 1)[0]
        return nobody
    weights = np.concatenate(([0.0], np.cumsum(np.log(load / np.minimum(np.arange(1, places + 1), servers)))))
    weights = np.exp(weights - weights.max())
    probabilities: Array = weights / weights.sum()
    return probabilities


def places_for_loss(arrival_hz: float, service_s: float, servers: int, loss: float) -> int:
    """Return the fewest places of M/M/c/K, servers included, whose loss is at most `loss`.

    Raises:
        BadValueError: no number of places reaches it, as 1 - 1/rho is lost at least, or an input is impossible.
    """
    loss = positive("loss", loss)
    rho = not_negative("arrival_hz", arrival_hz) * positive("service_s", service_s) / count("servers", servers)
    if 1.0 - loss > 0.0 and rho * (1.0 - loss) >= 1.0:
        raise BadValueError(f"a load of {rho:g} per server loses {1 - 1 / rho:.3g} with any buffer, not {loss:g}.")
    low, high = servers, servers + 1
    if mmck(arrival_hz, service_s, servers, low).loss <= loss:
        return low
    while mmck(arrival_hz, service_s, servers, high).loss > loss:
        low, high = high, servers + 2 * (high - servers)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if mmck(arrival_hz, service_s, servers, middle).loss <= loss else (middle, high)
    return high


def _room(arrival_hz: float, service_s: float, servers: int, places: int) -> tuple[float, int]:
    """Return the load in erlang and the places to wait. Raises as `mmck`."""
    load = not_negative("arrival_hz", arrival_hz) * positive("service_s", service_s)
    servers, places = count("servers", servers), count("places", places)
    if places < servers:
        raise BadValueError(
            f"places must be at least the {servers} servers, not {places}: they count those in service."
        )
    return load, places - servers


def _sums(x: float, n: int) -> tuple[float, float]:
    """Return the sums of x^j and of j x^j over j = 0..n, for x in (0, 1], without cancellation near 1."""
    e = math.log(x)
    if -e * n < 0.02:
        # Taylor series in e = ln x with the sums of powers; the terms left out are below 1e-11 of the result.
        s1 = n * (n + 1) / 2.0
        s2, s3 = s1 * (2 * n + 1) / 3.0, s1 * s1
        s4 = s2 * (3 * n * n + 3 * n - 1) / 5.0
        s5 = s3 * (2 * n * n + 2 * n - 1) / 3.0
        zeroth = n + 1 + e * (s1 + e * (s2 / 2 + e * (s3 / 6 + e * (s4 / 24 + e * s5 / 120))))
        return zeroth, s1 + e * (s2 + e * (s3 / 2 + e * (s4 / 6 + e * s5 / 24)))
    gap = -math.expm1(e)
    last = math.exp(e * n)
    zeroth = -math.expm1(e * (n + 1)) / gap
    return zeroth, x * (zeroth - (n + 1) * last) / gap
