"""Erlang's loss and delay formulas, for one server to millions.

Sources: Kleinrock, Queueing Systems I (1975), sections 3.4 and 3.5; Jagerman, Some properties of the Erlang loss
function, Bell System Technical Journal 53 (1974), for the integral 1/B = int_0^inf exp(-t) (1 + t/a)^c dt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from simulator.queues.closed_means import Array, count, not_negative, positive

_RECURSION_MAX = 160
_DROP = 42.0
"""The integral is cut where the integrand has fallen by exp(-42) = 6e-19 of its peak."""


@lru_cache(maxsize=1)
def _nodes() -> tuple[Array, Array]:
    """Return 64 Gauss-Legendre nodes and weights on [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(64)
    return (x + 1.0) / 2.0, w / 2.0


def erlang_b(servers: int, load: float) -> float:
    """Return the share of arrivals that find all `servers` busy in M/G/c/c at `load` erlang.

    Kleinrock I, eq. 3.46; it depends on the service law by its mean alone. Up to 160 servers by the recursion
    1/B_k = 1 + k / (a B_{k-1}); above, by Jagerman's integral with Gauss-Legendre nodes (relative error below 1e-9
    down to B = 1e-300, checked against the recursion up to 10^6 servers).

    Raises:
        BadValueError: the load is negative or not finite, or the number of servers is not a whole number from 0.
    """
    servers, load = count("servers", servers, 0), not_negative("load", load)
    if servers == 0:
        return 1.0
    if load == 0.0:
        return 0.0
    if servers <= _RECURSION_MAX:
        inverse = 1.0
        for k in range(1, servers + 1):
            inverse = 1.0 + inverse * k / load
        return 1.0 / inverse
    return math.exp(-_log_inverse_b(servers, load))


def _log_inverse_b(c: float, a: float) -> float:
    """Return ln(1/B) of c servers at a erlang by the integral of exp(f), f(t) = c ln(1 + t/a) - t, concave."""
    peak = max(0.0, c - a)
    top = c * math.log1p(peak / a) - peak
    x, w = _nodes()
    total = 0.0
    for sign in (1.0, -1.0) if peak > 0.0 else (1.0,):
        end = _fall(c, a, peak, top, sign)
        t = peak + (end - peak) * x
        total += abs(end - peak) * float(w @ np.exp(c * np.log1p(t / a) - t - top))
    return top + math.log(total)


def _fall(c: float, a: float, peak: float, top: float, sign: float) -> float:
    """Return the t on one side of the peak where f is 42 below it (or 0 where it is not that low on the left)."""
    if sign < 0.0 and top <= _DROP:
        return 0.0
    # A first step from the second derivative, or from the slope where the peak is the edge; Newton on a concave f
    # from outside the root goes towards it without passing.
    curve, slope = c / (a + peak) ** 2, 1.0 - c / (a + peak)
    step = (
        2.0 * _DROP / (slope + math.sqrt(slope * slope + 2.0 * _DROP * curve))
        if slope > 0.0
        else math.sqrt(2.0 * _DROP / curve)
    )
    t = max(peak + sign * step, 0.0)
    for _ in range(60):
        gap = c * math.log1p(t / a) - t - top + _DROP
        change = gap / (c / (a + t) - 1.0)
        t = max(t - change, 0.0)
        if abs(change) <= 1e-3 * (abs(t - peak) + 1e-300):
            break
    return t


def erlang_c(servers: int, load: float) -> float:
    """Return the share of arrivals that wait in M/M/c at `load` erlang; 1 where the load is `servers` or more.

    Kleinrock I, eq. 3.40, written by Erlang B: C = B / (1 - rho (1 - B)). Raises as `erlang_b`; zero servers as well.
    """
    servers = count("servers", servers)
    if load >= servers and load < math.inf:
        return 1.0
    b = erlang_b(servers, load)
    return servers * b / (servers - load + load * b)


def erlang_b_up_to(servers: int, load: float) -> Array:
    """Return Erlang B of 0, 1, .. `servers` servers at `load` erlang, as an array. Raises as `erlang_b`."""
    servers, load = count("servers", servers, 0), not_negative("load", load)
    losses = np.ones(servers + 1)
    if load == 0.0:
        losses[1:] = 0.0
        return losses
    loss = 1.0
    for k in range(1, servers + 1):
        loss = load * loss / (k + load * loss)
        losses[k] = loss
    return losses


def servers_for_loss(load: float, loss: float) -> int:
    """Return the smallest number of servers whose Erlang B at `load` erlang is at most `loss` (above 0)."""
    loss, load = positive("loss", loss), not_negative("load", load)
    return _smallest(lambda c: erlang_b(c, load) <= loss, 0, load)


def servers_for_wait(load: float, service_s: float, wait_s: float) -> int:
    """Return the smallest number of servers whose mean wait in M/M/c at `load` erlang is at most `wait_s` (above 0)."""
    wait_s, service_s, load = positive("wait_s", wait_s), positive("service_s", service_s), not_negative("load", load)
    least = math.floor(load) + 1
    return _smallest(lambda c: erlang_c(c, load) * service_s <= wait_s * (c - load), least, load)


def _smallest(good: Callable[[int], bool], low: int, load: float) -> int:
    """Return the smallest c of at least `low` for which `good`, which stays true once it is."""
    if good(low):
        return low
    step = 1 + math.isqrt(int(load))
    high = max(low, math.floor(load)) + step
    while not good(high):
        low, step = high, 2 * step
        high += step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if good(middle) else (middle, high)
    return high
