"""Where a task goes: policies as plug-ins. One is a name of POLICIES, or a function of (task, machines).

Every policy only sees machines where the task fits and whose attributes meet its constraints. Ties go to the machine of
the lowest number. Scores follow Panigrahy, Talwar, Uyeda and Wieder, "Heuristics for Vector Bin Packing" (2011), with
each resource as a share of the largest machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from foundation.errors import UnknownNameError
from simulator.cluster.bins import Bins, Mask, Request


@dataclass(frozen=True)
class Task:
    """What a policy knows of a task. `request` is (cpu, memory, disk) in units of the trace; `now` in ticks."""

    attempt: int
    name: str
    request: Request
    priority: int
    now: int


@dataclass(frozen=True)
class Machines:
    """What a policy knows of the machines; `fits` marks those that it may choose. Arrays are read only."""

    bins: Bins
    fits: Mask
    random: np.random.Generator

    @property
    def candidates(self) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        """Return the machines where the task may go, in rising order; at least one."""
        return np.flatnonzero(self.fits)


Policy = Callable[[Task, Machines], int | None]
"""Chooses a machine among `machines.fits`, or None: the task waits on."""


def _least(score: np.ndarray[tuple[int, ...], np.dtype[np.float64]], fits: Mask) -> int:
    return int(np.where(fits, score, np.inf).argmin())


def first_fit(task: Task, machines: Machines) -> int:
    """The machine of the lowest number."""
    return int(machines.fits.argmax())


def best_fit(task: Task, machines: Machines) -> int:
    """The machine with the least free room: tasks are packed closely."""
    return _least(machines.bins.loose, machines.fits)


def worst_fit(task: Task, machines: Machines) -> int:
    """The machine with the most free room: tasks are spread."""
    return _least(-machines.bins.loose, machines.fits)


def lowest_utilisation(task: Task, machines: Machines) -> int:
    """The machine whose fullest resource is the least full, as a share of its own capacity."""
    return _least(machines.bins.load, machines.fits)


def dot_product(task: Task, machines: Machines) -> int:
    """The machine whose free room points most in the direction of the request."""
    bins, request = machines.bins, task.request
    score = np.zeros(bins.machines)
    for r in bins.counted:
        score += (request[r] * bins.weights[r] ** 2) * bins.free[r]
    return _least(-score, machines.fits)


def random_fit(task: Task, machines: Machines) -> int:
    """Any machine with room, each as likely."""
    found = machines.candidates
    return int(found[int(machines.random.integers(len(found)))])


POLICIES: dict[str, Policy] = {
    "first-fit": first_fit, "best-fit": best_fit, "worst-fit": worst_fit, "spread": worst_fit, "random": random_fit,
    "dot-product": dot_product, "lowest-utilisation": lowest_utilisation,
}  # fmt: skip
AS_IN_TRACE = "as_in_trace"
"""Not a policy of its own: each task goes to the machine that it had, from when it had it."""
NAMES = (*POLICIES, AS_IN_TRACE)


def policy_of(policy: str | Policy) -> tuple[str, Policy]:
    """Return the name and the function of a policy. Raises UnknownNameError, with the nearest names."""
    if callable(policy):
        return str(getattr(policy, "__name__", type(policy).__name__)), policy
    if policy == AS_IN_TRACE:
        return AS_IN_TRACE, first_fit  # one machine at most is left to choose from
    if policy not in POLICIES:
        raise UnknownNameError("placement", str(policy), NAMES, f"Known: {', '.join(NAMES)}.")
    return policy, POLICIES[policy]
