"""What a station network is made of. Frozen descriptions; the engines run them (semantics: docs/station-networks.md).

Items have a class (a small whole number), a size in bytes, the tick of their birth and a serial number. They enter at
sources, move from element to element by routes, and end at exits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError
from simulator.queues.arrivals import Arrivals
from simulator.queues.laws import CONSTANT, Law

Polynomial = tuple[float, ...]
"""Coefficients a0, a1, a2, a3 of powers of bytes (or of items in a batch), in seconds."""


@dataclass(frozen=True)
class Route:
    """Where an item goes when it leaves an element.

    `weights` are shares over `targets`: one row for all classes, or a row a class. A row with a single share of 1
    draws nothing. `cycle` takes the targets in turn, `shortest` the one with the fewest items present (ties: first in
    the list).
    """

    targets: tuple[str, ...]
    weights: tuple[float, ...] | Mapping[int, tuple[float, ...]] | None = None
    how: Literal["random", "cycle", "shortest"] = "random"


def to(target: str) -> Route:
    """Return the route to one element."""
    return Route((target,))


@dataclass(frozen=True)
class Source:
    """Items come at the instants of `arrivals`; `classes` are shares of the classes 0, 1, ...; sizes are whole bytes.

    `priority` of a class is its number: class 0 goes first where a station has the discipline `priority`.
    """

    name: str
    arrivals: Arrivals
    route: Route
    classes: tuple[float, ...] = (1.0,)
    size_bytes: Law = field(default=Law("constant", 0.0))


@dataclass(frozen=True)
class Service:
    """Time of an item on a server of speed 1: polynomial(bytes) x a draw of `spread` (mean 1), rounded once."""

    polynomial_s: Polynomial
    spread: Law = CONSTANT


@dataclass(frozen=True)
class Batch:
    """A server takes up to `size` waiting items at once, when `size` wait or the oldest has waited `max_wait_s`.

    `time_s[n-1]` is the time of a batch of n (times the spread of the station's service); the station's polynomial is
    not used.
    """

    size: int
    time_s: tuple[float, ...]
    max_wait_s: float = 0.0


@dataclass(frozen=True)
class Outages:
    """Servers that stop and go on: drawn up and down times of each server, or a duty cycle of all together.

    Up and down times are seconds. What a server works on when it stops: `resume` goes on after it, `restart` begins
    anew after it with the same duration, `lose` is lost (cause `failure`), `finish` (duty cycle) ends first.
    """

    up_s: Law
    down_s: Law
    work: Literal["resume", "restart", "lose", "finish"] = "resume"
    together: bool = False
    offset_s: float = 0.0


@dataclass(frozen=True)
class Station:
    """`servers` servers and `places` waiting places (None: no limit) with one line.

    `priority` serves the lowest class first, first come first served within; `share` is processor sharing of one
    server of speed 1 (no batch, speeds or outages). A full station drops what comes, or blocks what would send:
    the sender's server holds its item until a place is free (blocking after service).
    """

    name: str
    service: Service | Mapping[int, Service]
    route: Route
    servers: int = 1
    discipline: Literal["fifo", "priority", "share"] = "fifo"
    places: int | None = None
    places_bytes: int | None = None
    when_full: Literal["drop", "block"] = "drop"
    speeds: tuple[float, ...] = ()
    batch: Batch | None = None
    outages: Outages | None = None
    returns: str | None = None


@dataclass(frozen=True)
class Delay:
    """Every item spends a time of its own here; there is no line. `returns` names a pool that gets a credit back."""

    name: str
    service: Service
    route: Route
    returns: str | None = None


@dataclass(frozen=True)
class Rules:
    """Trigger rules: an item is dropped (cause `rule`) if it would be more than `accepts` accepted ones in `window_s`.

    With rules ((k, w), ...): dropped where the k-th last accepted one passed less than w seconds ago. `dead_s` closes
    the element after each accepted item (not extendable), or after each arriving one (extendable).
    """

    name: str
    route: Route
    rules: tuple[tuple[int, float], ...] = ()
    dead_s: float = 0.0
    extendable: bool = False


@dataclass(frozen=True)
class Gate:
    """Items wait here, in order, for one of `credits` credits, and take it along until an element `returns` it."""

    name: str
    credits: int
    route: Route
    places: int | None = None
    when_full: Literal["drop", "block"] = "drop"


@dataclass(frozen=True)
class Fork:
    """An item becomes one part for each branch (target, bytes of the part; None: those of the item)."""

    name: str
    branches: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True)
class Join:
    """Parts of one item wait until all that its fork made have come; then the item goes on, with its parts' bytes.

    If a part is lost, the item is lost there too when its last part has come or is lost (cause `part`).
    """

    name: str
    route: Route


@dataclass(frozen=True)
class Pack:
    """`count` items become one packet with the sum of their bytes; `Unpack` makes them items again."""

    name: str
    count: int
    route: Route


@dataclass(frozen=True)
class Unpack:
    """The items of a packet go on, in their order. An item that is no packet passes."""

    name: str
    route: Route


@dataclass(frozen=True)
class Exit:
    """The end of items; their times from birth to here are recorded."""

    name: str


@dataclass(frozen=True)
class Custom:
    """Logic of one's own, on simpy only: `logic(env, item, network)` is a generator; when it returns, the item leaves.

    `item` has serial, kind, size_bytes and born_s. Times in `env.timeout` are whole ticks
    (`network.ticks(seconds)`). What the generator returns is the name of the next element, or None for the route.
    """

    name: str
    logic: Callable[..., Any]
    route: Route


Element = (
    Source | Station | Delay | Rules | Gate | Fork | Join | Pack | Unpack | Exit | Custom
)  # fmt: skip

CAUSES = ("full", "rule", "failure", "part", "blocked")
"""Why an item is lost: no place, a trigger rule or dead time, its server failed, a part of it was lost, or a source
that cannot wait met a full element that blocks."""


@dataclass(frozen=True)
class Network:
    """Elements by name; `ticks_per_second` sets the tick (10**12: picoseconds).

    Raises:
        BadValueError: an unknown target, a name given twice, or a value that an element cannot have.
    """

    elements: tuple[Element, ...]
    ticks_per_second: int = 10**12

    def __post_init__(self) -> None:
        from simulator.queues.checks import check_network

        check_network(self)


def seconds(name: str, value: object, *, strict: bool = False) -> float:
    """Return a time that fits into a run. Raises BadValueError."""
    return finite_number(name, value, high=1e9, strict=strict)


def count(name: str, value: object, *, low: int = 1) -> int:
    """Return a number of things. Raises BadValueError."""
    return whole_number(name, value, low=low, high=10**9)


__all__ = [
    "CAUSES", "BadValueError", "Batch", "Custom", "Delay", "Element", "Exit", "Fork", "Gate", "Join", "Network",
    "Outages", "Pack", "Polynomial", "Route", "Rules", "Service", "Source", "Station", "Unpack", "count", "seconds",
    "to",
]  # fmt: skip
