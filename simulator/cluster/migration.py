"""Moving running tasks: what a move costs, and who decides on it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from foundation.checks import finite_number
from foundation.errors import BadValueError
from simulator.cluster.trace import TICKS_PER_SECOND

if TYPE_CHECKING:
    from simulator.cluster.state import State

LOAD = 0.9
"""Utilisation of the fullest resource above which a machine is overloaded (estimated, 0.8 to 0.95)."""


class Rebalancer(Protocol):
    """Says at times which running tasks move where: pairs (attempt, machine). Called every `Migration.period_s`."""

    def __call__(self, state: State) -> Iterable[tuple[int, int]]: ...


@dataclass(frozen=True)
class Migration:
    """What a move costs: the task's state over a link, and a pause.

    state_bytes_per_unit: bytes of state a unit of requested memory (1 where memory is in bytes; for shares the bytes of
    the largest machine). The state goes at bandwidth_bytes_per_s; the task pauses for downtime_s at the end of it
    (live) or all the while and downtime_s more (not live). A machine sends or receives one task at a time. Both places
    are held until the task has moved.

    Raises:
        BadValueError: a bandwidth, time or period that is not positive or not finite.
    """

    rebalancer: Rebalancer
    period_s: float = 300.0
    bandwidth_bytes_per_s: float = 1.25e9
    downtime_s: float = 0.0
    live: bool = True
    state_bytes_per_unit: float = 1.0

    def __post_init__(self) -> None:
        for name in ("period_s", "bandwidth_bytes_per_s", "state_bytes_per_unit"):
            finite_number(f"migration: {name}", getattr(self, name), strict=True)
        finite_number("migration: downtime_s", self.downtime_s, high=1e9)
        if self.period_ticks < 1:
            raise BadValueError("migration: period_s must be at least one microsecond.")

    @property
    def period_ticks(self) -> int:
        return round(self.period_s * TICKS_PER_SECOND)

    @property
    def downtime_ticks(self) -> int:
        return round(self.downtime_s * TICKS_PER_SECOND)

    def state_bytes(self, memory: float) -> float:
        """Return the bytes that a task of so much memory (in the trace's unit) has to move."""
        return memory * self.state_bytes_per_unit

    def transfer_ticks(self, state_bytes: float) -> int:
        """Return how long the state is on the link, rounded up."""
        return math.ceil(state_bytes / self.bandwidth_bytes_per_s * TICKS_PER_SECOND)


@dataclass(frozen=True)
class RelieveOverload:
    """Moves tasks off machines that are fuller than `threshold` to the emptiest one with room.

    Of each such machine the smallest task whose leaving brings it under the threshold goes, or the largest if none
    does; the fullest machines come first, and at most `moves` at a time. The target stays under the threshold.
    """

    threshold: float = LOAD
    moves: int = 16

    def __post_init__(self) -> None:
        finite_number("threshold", self.threshold, high=1.0, strict=True)

    def __call__(self, state: State) -> list[tuple[int, int]]:
        bins = state.bins
        load = np.where(bins.up, bins.load, -1.0)
        hot = np.flatnonzero(load > self.threshold)
        hot = hot[np.argsort(-load[hot], kind="stable")][: self.moves]
        found, taken = list[tuple[int, int]](), set[int]()
        for machine in hot.tolist():
            attempt = self._leaves(state, machine)
            if attempt is None:
                continue
            target = self._target(state, attempt, machine, taken)
            if target is not None:
                found.append((attempt, target))
                taken.add(target)
        return found

    def _leaves(self, state: State, machine: int) -> int | None:
        """Return who leaves an overloaded machine."""
        bins = state.bins
        tasks = [a for a in state.tasks_on(machine) if not state.is_moving(a)]
        if not tasks:
            return None
        capacity = bins.capacity[:, machine].astype(float)
        used = capacity - bins.free[:, machine]
        kept = [r for r in bins.counted if capacity[r] > 0]
        requests = np.array([state.request[a] for a in tasks], dtype=float)
        after = ((used - requests)[:, kept] / capacity[kept]).max(axis=1)
        size = (requests[:, kept] / capacity[kept]).max(axis=1)
        enough = after <= self.threshold
        order = np.where(enough, size, np.inf) if enough.any() else -size
        return tasks[int(order.argmin())]

    def _target(self, state: State, attempt: int, source: int, taken: set[int]) -> int | None:
        """Return the emptiest machine that stays under the threshold with the task."""
        bins, request = state.bins, state.request[attempt]
        fits = state.may_run(attempt)
        for machine in (source, *taken):
            fits[machine] = False
        for r in bins.counted:
            capacity = np.maximum(bins.capacity[r], 1)
            fits &= bins.capacity[r] - bins.free[r] + request[r] <= self.threshold * capacity
        if not fits.any():
            return None
        return int(np.where(fits, bins.load, np.inf).argmin())
