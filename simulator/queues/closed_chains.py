"""Stations one after another and side by side: blocking tandem, fork and join, pipelines of constant times.

Sources: Perros, Queueing Networks with Blocking (1994), chapter 2; Neuts, Matrix-Geometric Solutions (1981); Flatto and
Hahn, SIAM Journal on Applied Mathematics 44 (1984); Nelson and Tantawi, IEEE Transactions on Computers 37 (1988).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from foundation.errors import BadValueError
from simulator.queues.closed_finite import mm1k
from simulator.queues.closed_markov import level_rates, stationary
from simulator.queues.closed_means import Array, count, not_negative, positive


class TandemMeans(NamedTuple):
    """Steady state of two stations in a row, the second with a limit that blocks the first."""

    throughput_hz: float
    loss: float
    blocked: float
    """Share of time in which the first server holds a customer that it cannot pass on."""
    first_number: float
    """Mean number at the first station, the blocked one included."""
    second_number: float
    response_s: float
    """Mean time from the first arrival to the second departure of an accepted customer."""


def tandem_with_blocking(
    arrival_hz: float, first_s: float, second_s: float, places: int, first_places: int | None = None
) -> TandemMeans:
    """Return the means of M/M/1 before a station with `places` (the one in service counted), exactly.

    Blocking after service: who is done at the first server stays on it until the second has a place. Numerical, to
    rounding: the number at the first station is the level of a chain whose phase is the state of the second
    (matrix-geometric without a limit, elimination with one).

    Args:
        first_places: customers the first station holds, the one on its server counted; None: without limit.
    Raises:
        BadValueError: a negative rate, a time not above 0, or no place.
    """
    rate_hz, mu1, mu2 = (
        not_negative("arrival_hz", arrival_hz),
        1.0 / positive("first_s", first_s),
        1.0 / positive("second_s", second_s),
    )
    places = count("places", places)
    if rate_hz == 0.0:
        return TandemMeans(0.0, 0.0, 0.0, 0.0, 0.0, first_s + second_s)
    most_hz = tandem_capacity_hz(first_s, second_s, places)
    if first_places is None and rate_hz >= most_hz:
        busy = mm1k(mu1, second_s, places + 1)
        return TandemMeans(most_hz, 0.0, busy.loss, math.inf, busy.number - busy.loss, math.inf)
    if first_places is None:
        levels = _tandem_levels(rate_hz, mu1, mu2, places)
    else:
        levels = _tandem_finite(rate_hz, mu1, mu2, places, count("first_places", first_places))
    phases, first_number, loss = levels
    blocked = float(phases[-1])
    second = float(phases @ np.minimum(np.arange(places + 2), places))
    through_hz = rate_hz * (1.0 - loss)
    return TandemMeans(through_hz, loss, blocked, first_number, second, (first_number + second) / through_hz)


def tandem_capacity_hz(first_s: float, second_s: float, places: int) -> float:
    """Return the most that two exponential servers pass with blocking after service, `places` at the second.

    With the first never empty, the second and the blocked customer are M/M/1/(places + 1) fed at 1/first_s.
    """
    return mm1k(1.0 / positive("first_s", first_s), second_s, count("places", places) + 1).throughput_hz


def _tandem_blocks(rate_hz: float, mu1: float, mu2: float, places: int) -> tuple[Array, Array, Array, Array, Array]:
    """Return the rates up, within and down of levels above 0, and those within and up of level 0.

    Phase j = 0..places: customers at the second station; phase places + 1: the first server is blocked.
    """
    size = places + 2
    up, down, local = rate_hz * np.eye(size), np.zeros((size, size)), np.zeros((size, size))
    for j in range(places + 1):
        if j < places:
            down[j, j + 1] = mu1
        else:
            local[j, j + 1] = mu1
        if j:
            local[j, j - 1] = mu2
    # A departure from the second lets the blocked customer in: the first station loses one, the second stays full.
    down[places + 1, places] = mu2
    empty_local = np.zeros((size, size))
    for j in range(1, places + 1):
        empty_local[j, j - 1] = mu2
    return up, local, down, empty_local, up


def _tandem_levels(rate_hz: float, mu1: float, mu2: float, places: int) -> tuple[Array, float, float]:
    """Return phase probabilities, the mean number at the first station, and the loss (0), by the matrix R."""
    up, local, down, empty_local, empty_up = _tandem_blocks(rate_hz, mu1, mu2, places)
    size = places + 2
    ratio = level_rates(up, local, down)
    # Level 0 has no blocked phase; its balance: x0 (local + up R down-part) = 0.
    use = size - 1
    inner = empty_local - np.diag((empty_local + empty_up).sum(axis=1))
    balance = (inner + ratio @ down)[:use, :use]
    system = balance.T.copy()
    rest = np.linalg.inv(np.eye(size) - ratio)
    system[-1] = rest.sum(axis=1)[:use]
    zero = np.zeros(size)
    zero[:use] = np.linalg.solve(system, np.eye(1, use, use - 1)[0])
    phases = zero @ rest
    number = float((zero @ ratio @ rest @ rest).sum())
    return phases, number, 0.0


def _tandem_finite(
    rate_hz: float, mu1: float, mu2: float, places: int, first_places: int
) -> tuple[Array, float, float]:
    """Return phase probabilities, the mean number at the first station, and the loss, of the finite chain."""
    up, local, down, empty_local, _ = _tandem_blocks(rate_hz, mu1, mu2, places)
    size = places + 2
    states = size * (first_places + 1)
    rates = np.zeros((states, states))
    for n in range(first_places + 1):
        here = slice(n * size, (n + 1) * size)
        rates[here, here] = local if n else empty_local
        if n < first_places:
            rates[here, (n + 1) * size : (n + 2) * size] = up
        if n:
            rates[here, (n - 1) * size : n * size] = down
    keep = np.delete(np.arange(states), size - 1)  # an empty first station cannot be blocked
    x = np.zeros(states)
    x[keep] = stationary(rates[np.ix_(keep, keep)])
    levels = x.reshape(first_places + 1, size)
    return levels.sum(axis=0), float(levels.sum(axis=1) @ np.arange(first_places + 1)), float(levels[-1].sum())


def fork_join_response_s(arrival_hz: float, service_s: float, branches: int = 2) -> float:
    """Return the mean response of a fork to equal M/M/1 branches and a join of their parts.

    Two branches: (12 - rho) / 8 x s / (1 - rho), exact (Flatto and Hahn; the tests find the same from the truncated
    chain of both queues to 1e-9). More: Nelson and Tantawi's approximation, [H_n / H_2 + 4 rho / 11 (1 - H_n / H_2)] x
    that of two, within 5 % of simulations up to 32 branches by their paper. Infinite at rho of 1 and more.

    Raises:
        BadValueError: a negative rate, a time not above 0, or no branch.
    """
    rho = not_negative("arrival_hz", arrival_hz) * positive("service_s", service_s)
    branches = count("branches", branches)
    if rho >= 1.0:
        return math.inf
    alone_s = service_s / (1.0 - rho)
    if branches == 1:
        return alone_s
    ratio = sum(1.0 / k for k in range(1, branches + 1)) / 1.5
    return (ratio + 4.0 * rho / 11.0 * (1.0 - ratio)) * (12.0 - rho) / 8.0 * alone_s


class PipelineTimes(NamedTuple):
    """A pipeline of constant times, fed without a break."""

    throughput_hz: float
    latency_s: float
    makespan_s: float
    slowest: int
    """Place of the stage that sets the rate."""


def constant_pipeline(stages_s: Sequence[float], servers: Sequence[int] | None = None, items: int = 1) -> PipelineTimes:
    """Return rate, latency and time for `items` of stages with constant times and room between them.

    Throughput = min c_i / s_i; latency of one item = sum of s_i. Makespan with one server a stage = latency + (items -
    1) x slowest; with several it is followed item by item, each server taking the next (exact).

    Raises:
        BadValueError: no stage, a time not above 0, no server, no item, or lists of different lengths.
    """
    times = [positive("a stage's time", s) for s in stages_s]
    lanes = [1] * len(times) if servers is None else [count("servers", c) for c in servers]
    items = count("items", items)
    if not times or len(lanes) != len(times):
        raise BadValueError("a pipeline needs one stage at least, and as many entries of servers as stages.")
    per_item = [s / c for s, c in zip(times, lanes, strict=True)]
    slowest = per_item.index(max(per_item))
    latency_s = math.fsum(times)
    if max(lanes) == 1:
        makespan_s = latency_s + (items - 1) * per_item[slowest]
    else:
        done = np.zeros(items)
        for time_s, lane in zip(times, lanes, strict=True):
            # Constant times keep the order, so item i follows item i - c on its server.
            for first in range(min(lane, items)):
                own = done[first::lane]
                n = np.arange(1, len(own) + 1)
                done[first::lane] = np.maximum.accumulate(own - (n - 1) * time_s) + n * time_s
        makespan_s = float(done.max())
    return PipelineTimes(1.0 / per_item[slowest], latency_s, makespan_s, slowest)
