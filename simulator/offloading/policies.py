"""Policies: callables that take a `State` and answer the number of a server.

Others join through the entry point group `archcast.offloading_policies`, or are given to a study by name.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping

import numpy as np

from foundation.errors import BadValueError, InputError, UnknownNameError
from simulator.offloading.record import Record
from simulator.offloading.state import State

ENTRY_POINTS = "archcast.offloading_policies"
Policy = Callable[[State], int]


def random_server(state: State) -> int:
    """Take any server, each as likely."""
    return int(state.random.integers(state.servers))


def all_cloud(state: State) -> int:
    """Take the cloud."""
    return 0


def nearest_edge(state: State) -> int:
    """Take the edge at the least distance."""
    return 1 + int(np.argmin(state.distance_m[1:]))


def least_loaded(state: State) -> int:
    """Join the shortest queue (tasks that run or are on their way); of equals the fastest server."""
    queue = state.sending + state.running
    return int(np.lexsort((-state.speed_bits_per_s, queue))[0])


def greedy(state: State) -> int:
    """Take the server where the weighted cost of delay and energy grows least."""
    return int(np.argmin(state.cost()))


POLICIES: dict[str, Policy] = {
    "random": random_server, "all-cloud": all_cloud, "nearest-edge": nearest_edge, "least-loaded": least_loaded,
    "greedy": greedy,
}  # fmt: skip
WITHOUT_WEIGHT = ("random", "all-cloud", "nearest-edge", "least-loaded")
"""Policies that do not look at the weight: one run stands for all weights."""


class PolicyError(InputError):
    """A policy that failed or answered what is no server; `record` has all that happened before."""

    def __init__(self, policy: str, problem: str, state: State, record: Record) -> None:
        self.policy, self.record = policy, record
        self.step, self.time_s, self.user = state.step, state.time_s, state.user
        super().__init__(
            f"The policy '{policy}' {problem} at step {state.step}, time {state.time_s:.9g} s, for user {state.user} "
            f"(servers 0 to {state.servers - 1}; {len(record)} decisions before it are in the error's record)."
        )


def find_policy(name: str, own: Mapping[str, Policy] | None = None) -> Policy:
    """Return a policy by name: the caller's own, a built-in, or one of an installed package.

    Raises:
        UnknownNameError: with the nearest names.
        BadValueError: an installed policy cannot be loaded.
    """
    known = {**POLICIES, **(own or {})}
    if name in known:
        return known[name]
    from importlib.metadata import entry_points  # opens every installed package: only for an unknown name

    points = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name not in points:
        names = (*known, *points)
        raise UnknownNameError("policy", name, names, f"Known: {', '.join(names)}.")
    try:
        found: Policy = points[name].load()
    except Exception as error:
        raise BadValueError(f"The policy '{name}' of {points[name].value} cannot be loaded: {error}") from error
    return found


def decide(policy: Policy, name: str, state: State, record: Record) -> int:
    """Ask a policy. Raises PolicyError, with the record so far, for what it raises and for what is no server."""
    try:
        answer = policy(state)
    except Exception as error:
        raise PolicyError(name, f"raised {type(error).__name__}: {error},", state, record) from error
    try:
        server = operator.index(answer)
    except TypeError:
        raise PolicyError(name, f"answered {answer!r}, which is no whole number,", state, record) from None
    if isinstance(answer, bool) or not 0 <= server < state.servers:
        raise PolicyError(name, f"answered server {answer!r}, which does not exist,", state, record)
    return server
