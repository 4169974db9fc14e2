"""Answers about queues that use none of the formulas under test: chains solved state by state, and simulated waits."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Moves = Callable[[Any], Iterable[tuple[float, Hashable]]]


def solve_chain(start: Hashable, moves: Moves) -> dict[Any, float]:
    """Return the steady state of the chain whose `moves(state)` are (rate, next state), by numpy.linalg.solve."""
    order: dict[Any, int] = {start: 0}
    todo, edges = [start], []
    while todo:
        state = todo.pop()
        for rate, after in moves(state):
            if after not in order:
                order[after] = len(order)
                todo.append(after)
            edges.append((order[state], order[after], rate))
    balance = np.zeros((len(order), len(order)))
    for source, target, rate in edges:
        balance[target, source] += rate
        balance[source, source] -= rate
    balance[-1] = 1.0
    solved = np.linalg.solve(balance, np.eye(1, len(order), len(order) - 1)[0])
    return dict(zip(order, solved.tolist(), strict=True))


def mean_of(chain: Mapping[Any, float], value: Callable[[Any], float]) -> float:
    """Return the mean of a function of the state."""
    return sum(weight * value(state) for state, weight in chain.items())


def lindley_waits(gaps: Array, services: Array) -> Array:
    """Return the waits of customers at one server, first come first served: W' = max(0, W + S - T)."""
    steps = np.concatenate(([0.0], np.cumsum(services[:-1] - gaps[1:])))
    return steps - np.minimum.accumulate(steps)


def server_waits(gaps: Array, services: Array, servers: int) -> Array:
    """Return the waits at several servers, first come first served, by a heap of the times at which they are free."""
    free, now, waits = [0.0] * servers, 0.0, []
    for gap, service in zip(gaps.tolist(), services.tolist(), strict=True):
        now += gap
        begin = max(now, free[0])
        heapq.heapreplace(free, begin + service)
        waits.append(begin - now)
    return np.array(waits)


def mean_and_error(values: Array, batches: int = 40) -> tuple[float, float]:
    """Return the mean of a series after its first tenth, and its standard error by batch means."""
    kept = values[len(values) // 10 :]
    means = kept[: len(kept) // batches * batches].reshape(batches, -1).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / batches**0.5)
