"""Small offloading systems for tests, and a processor-sharing schedule worked out in whole fractions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from simulator.offloading.demand import Lots
from simulator.offloading.settings import OffloadingConfig, ServerKind, paper_config
from simulator.offloading.system import System

Exact = Fraction


def published(steps: int, users: int, **changes: Any) -> OffloadingConfig:
    return paper_config(steps=steps, users=users, edges=2, **changes)


def system_of(config: OffloadingConfig, frequency_hz: Sequence[float], rate_bits_per_s: Any) -> System:
    """A system with rates as given; distances do not matter then."""
    shape = (len(frequency_hz), config.users)
    rates = np.broadcast_to(np.asarray(rate_bits_per_s, dtype=float), shape)
    return System.of(config, np.array(frequency_hz), np.full(shape, 100.0), np.ones(shape), rate_bits_per_s=rates)


def one_a_step(config: OffloadingConfig, tasks: Sequence[tuple[float, int]]) -> Lots:
    """One task (bits, user) in each of the first steps, then none."""
    counts = [1 if i < len(tasks) else 0 for i in range(config.steps + 1)]
    sizes, users = [size for size, _ in tasks], [user for _, user in tasks]
    return Lots.of(config, np.array(counts), np.array(sizes), np.array(users), np.zeros(config.steps + 1))


def plain_server(frequency_hz: float, **changes: Any) -> ServerKind:
    return ServerKind(frequency_hz, 0.0, 100.0, 100.0, **changes)


def shared_schedule(tasks: Sequence[tuple[Fraction, Fraction]]) -> list[Fraction]:
    """Return when each task (join, work) ends on a server that n tasks share, without rounding.

    Between two joins no task comes, and then there is a closed form: with what is left sorted as r1 <= r2 .. <= rn,
    the k-th ends (n) r1 + (n - 1) (r2 - r1) + .. + (n - k + 1) (rk - r(k-1)) later.
    """
    order = sorted(range(len(tasks)), key=lambda i: tasks[i][0])
    ends: dict[int, Fraction] = {}
    left: dict[int, Fraction] = {}
    for place, task in enumerate(order):
        now = tasks[task][0]
        left[task] = tasks[task][1]
        until = tasks[order[place + 1]][0] if place + 1 < len(order) else None
        left, done = _worked(left, now, until)
        ends |= done
    return [ends[i] for i in range(len(tasks))]


def _worked(
    left: dict[int, Fraction], now: Fraction, until: Fraction | None
) -> tuple[dict[int, Fraction], dict[int, Fraction]]:
    """Return what is left of each task at `until`, and when those that are done by then ended."""
    queue = sorted(left, key=lambda i: left[i])
    done: dict[int, Fraction] = {}
    at, served = now, Fraction(0)
    for place, task in enumerate(queue):
        count = len(queue) - place
        ends = at + count * (left[task] - served)
        if until is not None and ends > until:
            served += (until - at) / count
            return {i: left[i] - served for i in queue[place:]}, done
        at, served = ends, left[task]
        done[task] = ends
    return {}, done
