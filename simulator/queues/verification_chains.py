"""Answers that the verification needs beyond `closed_forms`: small chains solved state by state, and GI/M/1."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from simulator.queues.closed_markov import stationary
from simulator.queues.closed_means import Array

State = tuple[int, ...]
Moves = Callable[[State], Iterable[tuple[float, State]]]


class Chain(NamedTuple):
    """The steady state of a finite chain."""

    states: tuple[State, ...]
    probabilities: Array

    def mean(self, value: Callable[[State], float]) -> float:
        """Return the mean of a function of the state."""
        return float(self.probabilities @ np.array([value(state) for state in self.states]))


def solve(start: State, moves: Moves) -> Chain:
    """Return the steady state of the chain whose `moves(state)` are pairs of a rate and the next state."""
    order, todo, edges = {start: 0}, [start], []
    while todo:
        state = todo.pop()
        for rate, after in moves(state):
            if after not in order:
                order[after] = len(order)
                todo.append(after)
            edges.append((order[state], order[after], rate))
    rates = np.zeros((len(order), len(order)))
    for source, target, rate in edges:
        rates[source, target] += rate
    return Chain(tuple(order), stationary(rates))


class Line(NamedTuple):
    """Means of a station that a chain describes."""

    number: float
    utilisation: float
    loss: float


def two_speeds(arrival_hz: float, fast_hz: float, slow_hz: float, most: int) -> Line:
    """Return M/M/2 whose servers have rates of their own; who finds both free takes the fast one.

    `most` customers at most are in the system (choose it so large that none is lost, or as the limit). State: (in the
    system, whether the one alone is on the slow server). A customer never moves to the other server.
    """

    def moves(state: State) -> Iterable[tuple[float, State]]:
        n, on_slow = state
        if n < most:
            yield arrival_hz, (n + 1, on_slow if n == 0 else 0)
        if n == 1:
            yield (slow_hz if on_slow else fast_hz), (0, 0)
        elif n == 2:
            yield fast_hz, (1, 1)
            yield slow_hz, (1, 0)
        elif n > 2:
            yield fast_hz + slow_hz, (n - 1, 0)

    chain = solve((0, 0), moves)
    return Line(
        chain.mean(lambda s: s[0]),
        chain.mean(lambda s: min(s[0], 2) / 2),
        chain.mean(lambda s: float(s[0] == most)),
    )


def shortest_of_two(arrival_hz: float, service_hz: float, most: int = 26) -> float:
    """Return the mean number in two M/M/1 stations whose customers join the one with fewer present.

    State: (more, fewer). `most` cuts each line; the weight beyond falls by rho^2 a customer.
    """

    def moves(state: State) -> Iterable[tuple[float, State]]:
        more, fewer = state
        if fewer < most:
            yield arrival_hz, (max(more, fewer + 1), min(more, fewer + 1))
        if more:
            yield service_hz, (max(more - 1, fewer), min(more - 1, fewer))
        if fewer:
            yield service_hz, (more, fewer - 1)

    return solve((0, 0), moves).mean(sum)


def lossy_failures(arrival_hz: float, service_hz: float, fail_hz: float, repair_hz: float, most: int = 150) -> Line:
    """Return M/M/1 whose server fails, idle or not, and loses the customer in service; `most` cuts the line.

    State: (in the system, up).
    """

    def moves(state: State) -> Iterable[tuple[float, State]]:
        n, up = state
        if n < most:
            yield arrival_hz, (n + 1, up)
        if not up:
            yield repair_hz, (n, 1)
            return
        if n:
            yield service_hz, (n - 1, 1)
        yield fail_hz, (max(n - 1, 0), 0)

    chain = solve((0, 1), moves)
    busy = chain.mean(lambda s: float(s[0] > 0 and s[1] == 1))
    return Line(chain.mean(lambda s: s[0]), busy, fail_hz * busy / arrival_hz)


def switching_line(
    high_hz: float, low_hz: float, high_s: float, low_s: float, service_hz: float, most: int = 200
) -> Line:
    """Return MMPP/M/1: Poisson arrivals whose rate switches between two values; `most` cuts the line."""

    def moves(state: State) -> Iterable[tuple[float, State]]:
        n, high = state
        rate_hz = high_hz if high else low_hz
        if n < most and rate_hz:
            yield rate_hz, (n + 1, high)
        if n:
            yield service_hz, (n - 1, high)
        yield 1 / (high_s if high else low_s), (n, 1 - high)

    chain = solve((0, 1), moves)
    return Line(chain.mean(lambda s: s[0]), chain.mean(lambda s: float(s[0] > 0)), 0.0)


def gi_m_1_wait_s(transform: Callable[[float], float], service_s: float) -> float:
    """Return the mean wait of GI/M/1: sigma s / (1 - sigma), sigma the root in (0, 1) of sigma = A*((1 - sigma) / s).

    A*(x) is the Laplace transform of a gap (Kleinrock, Queueing Systems I, section 6.4).
    """
    low, high = 0.0, 1.0 - 1e-9
    for _ in range(200):
        sigma = (low + high) / 2
        low, high = (sigma, high) if transform((1 - sigma) / service_s) > sigma else (low, sigma)
    return low * service_s / (1 - low)


def erlang_gaps(rate_hz: float, phases: int) -> Callable[[float], float]:
    """Return the Laplace transform of a gap of `phases` exponential parts, each at `rate_hz`."""
    return lambda x: float((rate_hz / (rate_hz + x)) ** phases)


def constant_gaps(gap_s: float) -> Callable[[float], float]:
    """Return the Laplace transform of a constant gap."""
    return lambda x: float(np.exp(-gap_s * x))
