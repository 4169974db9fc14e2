"""Servers that fail, in the mean: what a line loses and waits while some of them are down.

Up to 24 servers: the Markov chain of (servers up, events here) for Poisson arrivals, exponential services, times up and
down, solved exactly by levels; another law of the service folds the places as in `rates_queues`. More servers: the
steady loss with k servers up, averaged over the binomial law of k (quasi-static). There an overload of k servers that
lasts D on average and brings e events a second too many loses them after the places are full: times exp(-places/(e D)).
That holds for times up and down long against the line's own; it is an order of magnitude, not a percentage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from simulator.pipelines.rates_queues import Line
from simulator.pipelines.turn_on import Array

_MOST_SERVERS, _MOST_LEVELS = 24, 800
"""The chain is solved up to here: a level costs some 10 microseconds."""


@dataclass(frozen=True, slots=True)
class FailingLine:
    """A line whose servers fail on their own, times up and down exponential. `line.service_s` is the time on one up."""

    line: Line
    mtbf_s: float
    mttr_s: float

    def means(self, arrival_hz: float) -> tuple[float, float]:
        """Return (share lost for want of a place, mean wait in s of those kept); an endless line waits without end."""
        line = self.line
        available = self.mtbf_s / (self.mtbf_s + self.mttr_s)
        if line.service_s <= 0 or arrival_hz <= 0:
            return 0.0, 0.0
        if line.places is None and line.load(arrival_hz) >= available:
            return 0.0, math.inf
        spread = (1 + line.cv2) / 2
        if line.servers <= _MOST_SERVERS:
            places = None if line.places is None else round(line.places / spread)
            found = _chain(arrival_hz, line.service_s, line.servers, places, self.mtbf_s, self.mttr_s)
            if found is not None:
                return found[0], found[1] * spread
        return self._quasi_static(arrival_hz, available)

    def _quasi_static(self, arrival_hz: float, available: float) -> tuple[float, float]:
        """Return (loss, wait) as means over the number of servers up."""
        line, lost, waited = self.line, 0.0, 0.0
        slowed = Line(line.servers, line.service_s / available, line.law, line.cv2, line.places, line.arrival_cv2)
        if line.places is None:
            return slowed.loss(arrival_hz), slowed.wait_s(arrival_hz)
        for up in range(line.servers + 1):
            weight = math.exp(
                math.lgamma(line.servers + 1) - math.lgamma(up + 1) - math.lgamma(line.servers - up + 1)
                + up * math.log(available) + (line.servers - up) * math.log1p(-available)
            )  # fmt: skip
            if weight < 1e-15:
                continue
            excess_hz = arrival_hz - up / line.service_s
            steady = Line(up, line.service_s, line.law, line.cv2, line.places, line.arrival_cv2)
            loss = steady.loss(arrival_hz) if up else 1.0
            if excess_hz > 0:
                lasts_s = 1 / ((line.servers - up) / self.mttr_s + up / self.mtbf_s)
                lost += weight * loss * math.exp(-line.places / (excess_hz * lasts_s))
                waited += weight * min(excess_hz * lasts_s, line.places) / arrival_hz
            else:
                lost += weight * loss
                waited += weight * steady.wait_s(arrival_hz)
        return min(lost, 1.0), waited


def _chain(
    arrival_hz: float, service_s: float, servers: int, places: int | None, mtbf_s: float, mttr_s: float
) -> tuple[float, float] | None:
    """Return (loss, wait) of the chain; None where its levels do not settle within those that are solved.

    pi(n) = pi(n - 1) R(n), from the top: R = rate (rate + served(n) - Q - R(n + 1) served(n + 1))^-1. Far from the top
    R no longer changes, so that any number of places is a power of it.
    """
    up = np.arange(servers + 1.0)
    change = _changes(servers, mtbf_s, mttr_s)
    full = np.diag(up / service_s)
    rate = arrival_hz * np.eye(servers + 1)
    top, settled = [arrival_hz * _inverse((rate if places is None else 0 * rate) + full - change)], False
    while places is None or len(top) < places:
        if len(top) >= _MOST_LEVELS:
            return None
        top.append(arrival_hz * _inverse(rate + full - change - top[-1] @ full))
        if np.abs(top[-1] - top[-2]).max() <= 1e-11 * np.abs(top[-1]).max():
            settled = True
            break
    if places == 0:
        top = []
    # R of the levels with a free server, down to 1, where level `servers` is the last one without anyone waiting
    factor = top[-1] if top else None
    low: list[Array] = []
    for n in range(servers, 0, -1):
        served = np.diag(np.minimum(n, up) / service_s)
        above = np.diag(np.minimum(n + 1, up) / service_s)
        inner = (rate if factor is not None else 0 * rate) + served - change
        factor = arrival_hz * _inverse(inner if factor is None else inner - factor @ above)
        low.append(factor)
    ground = rate - change - low[-1] @ np.diag(np.minimum(1, up) / service_s)
    start = _null(ground)
    return _sums(start, low[::-1], top[::-1], places, settled, up, arrival_hz)


def _sums(
    start: Array, low: list[Array], top: list[Array], places: int | None, settled: bool, up: Array, arrival_hz: float
) -> tuple[float, float]:
    """Return (loss, wait) from the levels: `low` up to that of the servers, then R repeated, then `top`."""
    pi, weight, waiting, n = start, float(start.sum()), 0.0, 0
    for step in low:
        pi, n = pi @ step, n + 1
        weight += float(pi.sum())
        waiting += float(pi @ np.maximum(0, n - up))
    if settled:
        repeat, eye = top[0], np.eye(len(up))
        times = None if places is None else places - len(top)
        inverse = _inverse(eye - repeat)
        if times is None:
            tail = pi @ repeat @ inverse
            weight += float(tail.sum())
            waiting += float(tail @ (n - up)) + float((tail @ inverse).sum())
            return 0.0, waiting / weight / arrival_hz
        power = np.asarray(np.linalg.matrix_power(repeat, times), dtype=np.float64)
        # sums of R^j and j R^j over j = 1..times
        first = repeat @ (eye - power) @ inverse
        second = (first - times * power @ repeat) @ inverse
        weight += float((pi @ first).sum())
        waiting += float(pi @ first @ (n - up)) + float((pi @ second).sum())
        pi, n = pi @ power, n + times
    for step in top:
        pi, n = pi @ step, n + 1
        weight += float(pi.sum())
        waiting += float(pi @ (n - up))
    loss = float(pi.sum()) / weight
    return loss, waiting / weight / (arrival_hz * (1 - loss)) if loss < 1 else 0.0


def _changes(servers: int, mtbf_s: float, mttr_s: float) -> Array:
    """Return the rates between numbers of servers up (rows sum to 0)."""
    found = np.zeros((servers + 1, servers + 1))
    for up in range(servers + 1):
        if up:
            found[up, up - 1] = up / mtbf_s
        if up < servers:
            found[up, up + 1] = (servers - up) / mttr_s
        found[up, up] = -found[up].sum()
    return found


def _null(ground: Array) -> Array:
    """Return the row vector that a matrix of rank one less takes to 0, of sum 1."""
    system = ground.T.copy()
    system[-1] = 1.0
    target = np.zeros(len(system))
    target[-1] = 1.0
    return np.asarray(np.linalg.solve(system, target), dtype=np.float64)


def _inverse(matrix: Array) -> Array:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)
