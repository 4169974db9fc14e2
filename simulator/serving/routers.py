"""Which instance serves a request. A router sees the instances as they are when the request arrives."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from foundation.errors import UnknownNameError

Random = np.random.Generator

OVERLOAD_REQUESTS = 32
OVERLOAD_RATIO = 1.5
"""A prefix is not followed to an instance with this many requests more, and this many times as many, as the least
loaded has (estimated; SGLang's router ships thresholds of this kind, 16 to 64 requests and 1.0 to 1.5)."""
BLOCK = 4096
"""Random numbers are drawn so many at a time."""


class Target(Protocol):
    """What a router may look at: an engine instance, or one lane of it."""

    number: int

    @property
    def load(self) -> int:
        """Requests that wait or run."""

    @property
    def tokens_waiting(self) -> int:
        """Tokens of prompts that are not computed yet."""

    def prefix_hits(self, request: int) -> int:
        """Tokens of the request's prompt that are cached now."""


class Router(ABC):
    """Chooses among targets. `looks` says what it must know at the time of arrival.

    looks: "" nothing, "load" how many requests each has, "state" all that changes with every step.
    """

    looks = ""

    @abstractmethod
    def choose(self, request: int, targets: Sequence[Target]) -> int:
        """Return the index of the target for a request; at least one target is given."""


class RoundRobin(Router):
    """One after the other."""

    def __init__(self) -> None:
        self.next = 0

    def choose(self, request: int, targets: Sequence[Target]) -> int:
        self.next += 1
        return (self.next - 1) % len(targets)


class Uniform(Router):
    """At random."""

    def __init__(self, random: Random) -> None:
        self.draws = _Draws(random)

    def choose(self, request: int, targets: Sequence[Target]) -> int:
        return int(self.draws.next() * len(targets))


class LeastLoaded(Router):
    """The one with the fewest requests; of equals the first."""

    looks = "load"

    def choose(self, request: int, targets: Sequence[Target]) -> int:
        return least(targets)


class LeastTokens(Router):
    """The one with the fewest tokens of prompts to compute; of equals the one with the fewest requests."""

    looks = "state"

    def choose(self, request: int, targets: Sequence[Target]) -> int:
        return min(range(len(targets)), key=lambda i: (targets[i].tokens_waiting, targets[i].load, i))


class PowerOfTwo(Router):
    """The less loaded of two at random (Mitzenmacher 2001)."""

    looks = "load"

    def __init__(self, random: Random) -> None:
        self.draws = _Draws(random)

    def choose(self, request: int, targets: Sequence[Target]) -> int:
        count = len(targets)
        one = int(self.draws.next() * count)
        other = int(self.draws.next() * (count - 1))
        if count == 1:
            return 0
        other += other >= one
        return one if targets[one].load <= targets[other].load else other


class PrefixAware(Router):
    """The one that has most of the prompt cached, unless it is overloaded; then the least loaded."""

    looks = "state"

    def choose(self, request: int, targets: Sequence[Target]) -> int:
        idle = least(targets)
        hits = [target.prefix_hits(request) for target in targets]
        best = min(range(len(targets)), key=lambda i: (-hits[i], targets[i].load, i))
        if hits[best] == 0:
            return idle
        load, low = targets[best].load, targets[idle].load
        return idle if load - low > OVERLOAD_REQUESTS and load > OVERLOAD_RATIO * low else best


class Sticky(Router):
    """The same for every request of a session, by rendezvous hashing: when an instance goes, only its sessions move.

    A request without a session goes to the least loaded.
    """

    looks = "load"

    def __init__(self, session: Sequence[int]) -> None:
        self.session = session

    def choose(self, request: int, targets: Sequence[Target]) -> int:
        session = self.session[request]
        if session < 0:
            return least(targets)
        return max(range(len(targets)), key=lambda i: _weight(session, targets[i].number))


class _Draws:
    """Uniform numbers in [0, 1), drawn in blocks."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.block: list[float] = []

    def next(self) -> float:
        if not self.block:
            self.block = self.random.random(BLOCK).tolist()
        return self.block.pop()


def least(targets: Sequence[Target]) -> int:
    """Return the first of the targets with the fewest requests."""
    if len(targets) == 1:
        return 0
    loads = [target.load for target in targets]
    return loads.index(min(loads))


def _weight(session: int, number: int) -> bytes:
    return hashlib.blake2b(f"{session}/{number}".encode(), digest_size=8).digest()


ROUTERS: tuple[str, ...] = (
    "round-robin", "random", "least-loaded", "least-tokens", "power-of-two", "prefix-aware", "session",
)  # fmt: skip


def router_of(name: str, random: Random, session: Sequence[int] = ()) -> Router:
    """Return a router by its name; `session` is that of each request (-1 = none).

    Raises:
        UnknownNameError: there is none of this name.
    """
    made: dict[str, Callable[[], Router]] = {
        "round-robin": RoundRobin, "least-loaded": LeastLoaded, "least-tokens": LeastTokens,
        "prefix-aware": PrefixAware,
    }  # fmt: skip
    if name in made:
        return made[name]()
    if name == "random":
        return Uniform(random)
    if name == "power-of-two":
        return PowerOfTwo(random)
    if name == "session":
        return Sticky(session)
    raise UnknownNameError("router", name, ROUTERS)
