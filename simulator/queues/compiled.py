"""A network as arrays: indices, tick polynomials, cumulative routes and feeds of variates. Both engines run on this.

Elements and targets are numbers in the order of the network. -1 stands for none (no limit, no feed, no gate).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from simulator.queues import feeds
from simulator.queues.checks_of_paths import joins_of_forks
from simulator.queues.elements import (
    Custom,
    Delay,
    Exit,
    Fork,
    Gate,
    Join,
    Network,
    Pack,
    Route,
    Rules,
    Service,
    Source,
    Station,
    Unpack,
)  # fmt: skip
from simulator.queues.feeds import Feed, Floats, Ints, one_rounded
from simulator.streams import RandomStreams

Flags = npt.NDArray[np.bool_]


class Kind(IntEnum):
    """Kinds of elements, as numbers."""

    SOURCE = 0
    STATION = 1
    DELAY = 2
    RULES = 3
    GATE = 4
    FORK = 5
    JOIN = 6
    PACK = 7
    UNPACK = 8
    EXIT = 9
    CUSTOM = 10


class How(IntEnum):
    """How a route chooses. A fork's targets are its branches; an exit has none."""

    RANDOM = 0
    CYCLE = 1
    SHORTEST = 2
    FORK = 3
    NONE = 4


KINDS = {
    Source: Kind.SOURCE, Station: Kind.STATION, Delay: Kind.DELAY, Rules: Kind.RULES, Gate: Kind.GATE, Fork: Kind.FORK,
    Join: Kind.JOIN, Pack: Kind.PACK, Unpack: Kind.UNPACK, Exit: Kind.EXIT, Custom: Kind.CUSTOM,
}  # fmt: skip
HOWS = {"random": How.RANDOM, "cycle": How.CYCLE, "shortest": How.SHORTEST}
DISCIPLINES = {"fifo": 0, "priority": 1, "share": 2}
WORKS = {"resume": 0, "restart": 1, "lose": 2, "finish": 3}


@dataclass
class Compiled:
    """Columns by element (n), class (c), target (t), rule (r). Feeds are numbers in `feeds`.

    The time of an item of class c at element e: `service_ticks[e, c]` where that is at least 0 (constant); else the
    next number of feed `service_feed[e, c]` where `service_ready[e, c]`; else by the rule of the law, with
    `polynomial_s[e, c]`, the next number of the feed (1.0 where it is -1) and the server's speed.
    """

    network: Network
    ticks_per_second: int
    names: tuple[str, ...]
    kind: Ints
    n_classes: int
    feeds: list[Feed] = field(repr=False, default_factory=list)
    # routes
    how: Ints = field(init=False)
    n_targets: Ints = field(init=False)
    targets: Ints = field(init=False)
    """n x t"""
    fixed: Ints = field(init=False)
    """n x c: the one target of a class, which draws nothing"""
    cumulative: Floats = field(init=False)
    """n x c x t"""
    route_feed: Ints = field(init=False)
    # times
    polynomial_s: Floats = field(init=False)
    """n x c x 4: a0 to a3"""
    service_ticks: Ints = field(init=False)
    service_feed: Ints = field(init=False)
    service_ready: Flags = field(init=False)
    # sources
    arrivals_feed: Ints = field(init=False)
    class_feed: Ints = field(init=False)
    only_class: Ints = field(init=False)
    """class of all items of a source without a class feed"""
    size_feed: Ints = field(init=False)
    only_size: Ints = field(init=False)
    """bytes of all items of a source without a size feed"""
    # stations and gates
    servers: Ints = field(init=False)
    discipline: Ints = field(init=False)
    places: Ints = field(init=False)
    places_bytes: Ints = field(init=False)
    blocks: Flags = field(init=False)
    """a full one holds the sender (stations and gates)"""
    speeds: list[tuple[float, ...]] = field(init=False)
    batch_size: Ints = field(init=False)
    """0: no batches"""
    batch_wait_ticks: Ints = field(init=False)
    batch_time_s: list[tuple[float, ...]] = field(init=False)
    outage_work: Ints = field(init=False)
    """resume 0, restart 1, lose 2, finish 3; -1 no outages"""
    together: Flags = field(init=False)
    outage_feeds: list[tuple[int, ...]] = field(init=False)
    """one feed a server, or one for all together; the ticks at which they go down, up, down, ..."""
    returns: Ints = field(init=False)
    credits: Ints = field(init=False)
    gate_bit: Ints = field(init=False)
    """number of a gate among the gates: the bit of an item that holds its credit"""
    # others
    rules: list[tuple[tuple[int, int], ...]] = field(init=False)
    """(accepts, window in ticks)"""
    dead_ticks: Ints = field(init=False)
    extendable: Flags = field(init=False)
    branch_bytes: Ints = field(init=False)
    """n x t; -1: as the item"""
    join_of: Ints = field(init=False)
    """the join of a fork"""
    pack_count: Ints = field(init=False)
    only_bytes: int = -1
    """bytes of every item, where all have the same"""

    def add(self, feed: Feed) -> int:
        """Keep a feed and return its number."""
        self.feeds.append(feed)
        return len(self.feeds) - 1


def compile_network(network: Network, streams: RandomStreams) -> Compiled:
    """Return the arrays and feeds of a network. Use fresh streams for each run: feeds go on where a stream stands."""
    elements = network.elements
    sources = [element for element in elements if isinstance(element, Source)]
    found = Compiled(
        network,
        int(network.ticks_per_second),
        tuple(element.name for element in elements),
        np.array([KINDS[type(element)] for element in elements], dtype=np.int64),
        max((len(source.classes) for source in sources), default=1),
    )
    index = {name: at for at, name in enumerate(found.names)}
    _routes(found, index, streams)
    _times(found, streams)
    _sources(found, streams)
    _stations(found, streams)
    _control(found, index)
    found.only_bytes = _only_bytes(found)
    return found


def cumulative_shares(weights: Iterable[float]) -> Floats:
    """Return cumulative shares; 1 from the last weight above 0 on, so that every uniform variate finds one."""
    row = np.asarray(tuple(weights), dtype=np.float64)
    found: Floats = np.cumsum(row) / row.sum()
    found[np.flatnonzero(row)[-1] :] = 1.0
    return found


def _routes(found: Compiled, index: Mapping[str, int], streams: RandomStreams) -> None:
    elements, classes = found.network.elements, found.n_classes
    targets = [_targets(element) for element in elements]
    n, most = len(elements), max(1, *map(len, targets)) if targets else 1
    found.how = np.full(n, How.NONE, dtype=np.int64)
    found.n_targets = np.array([len(row) for row in targets], dtype=np.int64)
    found.targets = np.full((n, most), -1, dtype=np.int64)
    found.fixed = np.full((n, classes), -1, dtype=np.int64)
    found.cumulative = np.zeros((n, classes, most))
    found.route_feed = np.full(n, -1, dtype=np.int64)
    for at, element in enumerate(elements):
        found.targets[at, : len(targets[at])] = [index[name] for name in targets[at]]
        if isinstance(element, Fork):
            found.how[at] = How.FORK
        elif not isinstance(element, Exit):
            found.how[at] = HOWS[element.route.how]
            if _shares_of(found, at, element.route):
                name = f"{element.name}/route"
                found.route_feed[at] = found.add(feeds.uniforms(name, streams.get(name)))


def _targets(element: object) -> tuple[str, ...]:
    if isinstance(element, Fork):
        return tuple(target for target, _ in element.branches)
    route = getattr(element, "route", None)
    return route.targets if isinstance(route, Route) else ()


def _shares_of(found: Compiled, at: int, route: Route) -> bool:
    """Fill the rows of one route; return whether it draws."""
    count = len(route.targets)
    if count == 1:
        found.fixed[at] = found.targets[at, 0]
        return False
    if route.how != "random":
        return False
    weights = route.weights if route.weights is not None else (1.0,) * count
    drawn = False
    for kind in range(found.n_classes):
        row = weights.get(kind) if isinstance(weights, Mapping) else weights
        if row is None:
            continue
        found.cumulative[at, kind, :count] = cumulative_shares(row)
        kept = np.flatnonzero(np.asarray(row))
        if len(kept) == 1:
            found.fixed[at, kind] = found.targets[at, kept[0]]
        else:
            drawn = True
    return drawn


def _times(found: Compiled, streams: RandomStreams) -> None:
    n, classes = len(found.names), found.n_classes
    found.polynomial_s = np.zeros((n, classes, 4))
    found.service_ticks = np.full((n, classes), -1, dtype=np.int64)
    found.service_feed = np.full((n, classes), -1, dtype=np.int64)
    found.service_ready = np.zeros((n, classes), dtype=bool)
    for at, element in enumerate(found.network.elements):
        if not isinstance(element, (Station, Delay)):
            continue
        scaled = isinstance(element, Station) and (bool(element.speeds) or element.batch is not None)
        name = f"{element.name}/service"
        if isinstance(element.service, Mapping):
            for kind, service in element.service.items():
                if kind < classes:
                    _service(found, (at, [kind]), service, f"{name}/{kind}", streams, scaled)
        else:
            _service(found, (at, list(range(classes))), element.service, name, streams, scaled)


def _service(
    found: Compiled, where: tuple[int, list[int]], service: Service, name: str, streams: RandomStreams, scaled: bool
) -> None:
    """Fill the time of some classes. `scaled`: it depends on the server or the batch, so it is never ready."""
    at, kinds = where
    found.polynomial_s[at, kinds, : len(service.polynomial_s)] = service.polynomial_s
    plain = not scaled and not any(service.polynomial_s[1:])
    scale = service.polynomial_s[0] * found.ticks_per_second
    if service.spread.kind == "constant":
        if plain:
            found.service_ticks[at, kinds] = one_rounded(scale)
        return
    rng = streams.get(name)
    feed = feeds.ready_ticks(name, service.spread, scale, rng) if plain else feeds.draws(name, service.spread, rng)
    found.service_feed[at, kinds] = found.add(feed)
    found.service_ready[at, kinds] = plain


def _sources(found: Compiled, streams: RandomStreams) -> None:
    n = len(found.names)
    found.arrivals_feed, found.class_feed, found.size_feed = (np.full(n, -1, dtype=np.int64) for _ in range(3))
    found.only_class, found.only_size = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    for at, element in enumerate(found.network.elements):
        if not isinstance(element, Source):
            continue
        name = f"{element.name}/arrivals"
        found.arrivals_feed[at] = found.add(
            feeds.instants(name, element.arrivals, found.ticks_per_second, streams.get(name))
        )
        kept = np.flatnonzero(np.asarray(element.classes))
        found.only_class[at] = kept[0]
        if len(kept) > 1:
            name = f"{element.name}/class"
            found.class_feed[at] = found.add(feeds.classes(name, cumulative_shares(element.classes), streams.get(name)))
        found.only_size[at] = one_rounded(element.size_bytes.mean)
        if element.size_bytes.kind != "constant":
            name = f"{element.name}/size"
            found.size_feed[at] = found.add(feeds.ready_ticks(name, element.size_bytes, 1.0, streams.get(name)))


def _column(found: Compiled, name: str, otherwise: int, change: Callable[[float], int] = int) -> Ints:
    """Return one number an element: its attribute, or `otherwise` where it has none."""
    values = (getattr(element, name, None) for element in found.network.elements)
    return np.array([otherwise if value is None else change(value) for value in values], dtype=np.int64)


def _stations(found: Compiled, streams: RandomStreams) -> None:
    elements, tps = found.network.elements, found.ticks_per_second
    stations = [element if isinstance(element, Station) else None for element in elements]
    batches = [None if station is None else station.batch for station in stations]
    outages = [None if station is None else station.outages for station in stations]
    found.servers = _column(found, "servers", 0)
    found.places = _column(found, "places", -1)
    found.places_bytes = _column(found, "places_bytes", -1)
    found.discipline = np.array([DISCIPLINES[s.discipline] if s else 0 for s in stations], dtype=np.int64)
    found.blocks = np.array([getattr(element, "when_full", "") == "block" for element in elements], dtype=bool)
    found.speeds = [tuple(map(float, station.speeds)) if station else () for station in stations]
    found.batch_size = np.array([batch.size if batch else 0 for batch in batches], dtype=np.int64)
    found.batch_wait_ticks = np.array([one_rounded(b.max_wait_s * tps) if b else 0 for b in batches], dtype=np.int64)
    found.batch_time_s = [tuple(map(float, batch.time_s)) if batch else () for batch in batches]
    found.outage_work = np.array([WORKS[each.work] if each else -1 for each in outages], dtype=np.int64)
    found.together = np.array([bool(each and each.together) for each in outages], dtype=bool)
    found.outage_feeds = [()] * len(elements)
    for at, (station, each) in enumerate(zip(stations, outages, strict=True)):
        if station is None or each is None:
            continue
        ends = [""] if each.together else [f"/{server}" for server in range(station.servers)]
        names = [f"{station.name}/outages{end}" for end in ends]
        found.outage_feeds[at] = tuple(found.add(feeds.switches(name, each, tps, streams.get(name))) for name in names)


def _control(found: Compiled, index: Mapping[str, int]) -> None:
    elements, tps = found.network.elements, found.ticks_per_second
    found.returns = np.array([index.get(getattr(each, "returns", None) or "", -1) for each in elements], dtype=np.int64)
    found.credits = _column(found, "credits", 0)
    gates = [at for at, element in enumerate(elements) if isinstance(element, Gate)]
    found.gate_bit = np.full(len(elements), -1, dtype=np.int64)
    found.gate_bit[gates] = range(len(gates))
    found.rules = [
        tuple((int(k), one_rounded(window * tps)) for k, window in element.rules) if isinstance(element, Rules) else ()
        for element in elements
    ]
    found.dead_ticks = _column(found, "dead_s", 0, lambda value: one_rounded(value * tps))
    found.extendable = np.array([bool(getattr(element, "extendable", False)) for element in elements], dtype=bool)
    found.branch_bytes = np.full(found.targets.shape, -1, dtype=np.int64)
    for at, element in enumerate(elements):
        if isinstance(element, Fork):
            found.branch_bytes[at, : len(element.branches)] = [
                -1 if size is None else one_rounded(size) for _, size in element.branches
            ]
    found.join_of = np.full(len(elements), -1, dtype=np.int64)
    for fork, join in joins_of_forks(found.network).items():
        found.join_of[index[fork]] = index[join]
    found.pack_count = np.array([e.count if isinstance(e, Pack) else 0 for e in elements], dtype=np.int64)


def _only_bytes(found: Compiled) -> int:
    """Return the bytes that all items have, or -1 where they differ."""
    if np.isin(found.kind, (Kind.FORK, Kind.PACK, Kind.CUSTOM)).any() or (found.size_feed >= 0).any():
        return -1
    sizes = {int(size) for size in found.only_size[found.kind == Kind.SOURCE]}
    return sizes.pop() if len(sizes) == 1 else -1
