"""Which replica serves a request. A router sees the replicas as they are when the request arrives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from foundation.errors import UnknownNameError
from simulator.serving.replica import Replica

Random = np.random.Generator


class Router(ABC):
    """Chooses among replicas. `looks` says whether it must know their state at the time of arrival."""

    looks = True

    @abstractmethod
    def choose(self, request: int, replicas: Sequence[Replica]) -> int:
        """Return the index of the replica for a request; at least one replica is given."""


class RoundRobin(Router):
    """One after the other."""

    looks = False

    def __init__(self) -> None:
        self.next = 0

    def choose(self, request: int, replicas: Sequence[Replica]) -> int:
        self.next += 1
        return (self.next - 1) % len(replicas)


class Uniform(Router):
    """At random."""

    looks = False

    def __init__(self, random: Random) -> None:
        self.random = random

    def choose(self, request: int, replicas: Sequence[Replica]) -> int:
        return int(self.random.integers(len(replicas)))


class LeastLoaded(Router):
    """The one with the fewest requests; of equals the first."""

    def choose(self, request: int, replicas: Sequence[Replica]) -> int:
        return min(range(len(replicas)), key=lambda i: (replicas[i].load, i))


class PowerOfTwo(Router):
    """The less loaded of two at random (Mitzenmacher 2001)."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def choose(self, request: int, replicas: Sequence[Replica]) -> int:
        if len(replicas) == 1:
            return 0
        one, other = (int(i) for i in self.random.choice(len(replicas), size=2, replace=False))
        return one if replicas[one].load <= replicas[other].load else other


ROUTERS: tuple[str, ...] = ("round-robin", "random", "least-loaded", "power-of-two")


def router_of(name: str, random: Random) -> Router:
    """Return a router by its name.

    Raises:
        UnknownNameError: there is none of this name.
    """
    if name == "round-robin":
        return RoundRobin()
    if name == "random":
        return Uniform(random)
    if name == "least-loaded":
        return LeastLoaded()
    if name == "power-of-two":
        return PowerOfTwo(random)
    raise UnknownNameError("router", name, ROUTERS)
