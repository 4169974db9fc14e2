"""Random station networks for tests of laws: a chain of random stages, with every kind of element."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

from simulator.queues.arrivals import Arrivals, Periodic, Recorded, Renewal
from simulator.queues.elements import (
    Batch,
    Delay,
    Element,
    Exit,
    Fork,
    Gate,
    Join,
    Network,
    Outages,
    Pack,
    Route,
    Rules,
    Service,
    Source,
    Station,
    Unpack,
    to,
)  # fmt: skip
from simulator.queues.laws import Law

CLASSES = 2


def random_network(seed: int, plain: bool | None = None) -> Network:
    """Return a network that depends on the seed alone: coarse ticks, so that many events fall on one tick.

    `plain` asks for stations of the simplest kind alone.
    """
    rng = random.Random(seed)
    chance = rng.random() < 0.25
    plain = chance if plain is None else plain
    stages = [_plain if plain else rng.choice(STAGES) for _ in range(rng.randint(1, 5))]
    elements: list[Element] = []
    for number, stage in enumerate(stages):
        following = f"{number + 1}" if number + 1 < len(stages) else "out"
        elements += stage(rng, f"{number}", following)
    sources = [_source(rng, f"source{n}", "0") for n in range(rng.randint(1, 3))]
    if plain:
        sources = [replace(source, size_bytes=Law("constant", 8.0)) for source in sources]
    elements += [*sources, Exit("out")]
    if rng.random() < 0.3:
        rng.shuffle(elements)
    return Network(tuple(elements), ticks_per_second=rng.choice((1, 2, 10, 1000)))


def _source(rng: random.Random, name: str, target: str) -> Source:
    choices: list[Arrivals] = [
        Renewal(Law("exponential", rng.choice((1.0, 2.0, 5.0)))),
        Periodic(rng.choice((0.2, 0.5, 1.0)), rng.choice((0.0, 3.0))),
        Recorded(tuple(sorted(float(rng.randint(0, 60)) for _ in range(rng.randint(1, 60))))),
    ]
    size = rng.choice((Law("constant", 0.0), Law("constant", 8.0), Law("uniform", 10.0, 0.5)))
    classes = rng.choice(((1.0,), (0.4, 0.6), (0.0, 1.0)))
    return Source(name, rng.choice(choices), to(target), classes, size)


def _law(rng: random.Random) -> Law:
    return rng.choice((Law(), Law("exponential"), Law("gamma", cv=0.5)))


def _service(rng: random.Random) -> Service:
    return Service(rng.choice(((1.0,), (2.0,), (0.5, 0.1), (0.6, 0.0, 0.01, 0.001))), _law(rng))


def _onward(rng: random.Random, name: str, following: str) -> Route:
    """Return a route: mostly on, sometimes back to the start of the stage, or out."""
    kind = rng.random()
    if kind < 0.6:
        return to(following)
    if kind < 0.75:
        return Route((following, name), (0.7, 0.3))
    if kind < 0.9:
        return Route((following, name), {0: (1.0, 0.0), 1: (0.8, 0.2)})
    return Route((following, following, name), how=rng.choice(("cycle", "shortest")))


def _outages(rng: random.Random, batch: bool) -> Outages | None:
    if rng.random() < 0.6:
        return None
    law = rng.choice((Law("exponential", 10.0), Law("constant", 7.0), Law("uniform", 6.0, 0.5)))
    work = rng.choice(("resume", "restart", "lose", "finish"))
    return Outages(law, Law("exponential", 4.0), work, rng.random() < 0.4, float(rng.randint(0, 3)))  # type: ignore[arg-type]


def station(
    rng: random.Random, name: str, following: str, returns: str | None = None, route: Route | None = None
) -> list[Element]:
    """Return a stage of one random station."""
    servers = rng.choice((1, 1, 2, 3))
    places, when_full = rng.choice((None, 0, 1, 3)), rng.choice(("drop", "block"))
    route = route or _onward(rng, name, following)
    if rng.random() < 0.15:
        shared = Station(
            name, _service(rng), route, discipline="share", places=places, when_full=when_full, returns=returns  # type: ignore[arg-type]
        )  # fmt: skip
        return [shared]
    size = rng.randint(1, 4)
    batch = None
    if rng.random() < 0.25:
        batch = Batch(size, tuple(1.0 + n for n in range(size)), rng.choice((0.0, 2.0)))
        places = places or None
    service: Service | dict[int, Service] = _service(rng)
    if batch is None and rng.random() < 0.3:
        service = {kind: _service(rng) for kind in range(CLASSES)}
    room = rng.choice((None, None, 15))
    made = Station(
        name, service, route, servers, rng.choice(("fifo", "priority")), places, room, when_full,  # type: ignore[arg-type]
        tuple(rng.choice((0.5, 1.0, 2.0)) for _ in range(servers)) if rng.random() < 0.3 else (), batch,
        _outages(rng, batch is not None), returns,
    )  # fmt: skip
    return [made]


def _delay(rng: random.Random, name: str, following: str) -> list[Element]:
    return [Delay(name, _service(rng), _onward(rng, name, following))]


def _rules(rng: random.Random, name: str, following: str) -> list[Element]:
    rules = tuple((rng.randint(1, 3), float(rng.randint(1, 6))) for _ in range(rng.randint(0, 2)))
    return [Rules(name, to(following), rules, float(rng.randint(0, 3)), rng.random() < 0.5)]


def _gate(rng: random.Random, name: str, following: str) -> list[Element]:
    gate = Gate(name, rng.randint(1, 3), to(f"{name}s"), rng.choice((None, 0, 2)), rng.choice(("drop", "block")))  # type: ignore[arg-type]
    if rng.random() < 0.3:
        return [gate, Delay(f"{name}s", _service(rng), to(following), returns=name)]
    return [gate, *station(rng, f"{name}s", following, returns=name)]


def _parts(rng: random.Random, name: str, following: str) -> list[Element]:
    join = f"{name}j"
    branches = [f"{name}b{n}" for n in range(rng.randint(1, 3))]
    within = [each for branch in branches for each in station(rng, branch, join, route=to(join))]
    fork = Fork(name, tuple((branch, rng.choice((None, 3.0))) for branch in branches))
    return [fork, *within, Join(join, to(following))]


def _packets(rng: random.Random, name: str, following: str) -> list[Element]:
    link, unpack = f"{name}l", f"{name}u"
    within = station(rng, link, unpack, route=to(unpack))
    return [Pack(name, rng.randint(1, 3), to(link)), *within, Unpack(unpack, to(following))]


def _plain(rng: random.Random, name: str, following: str) -> list[Element]:
    """Return a station of the simplest kind, which engines may treat in a way of its own."""
    service = Service((rng.choice((1.0, 1.5)),), _law(rng))
    return [Station(name, service, _onward(rng, name, following), places=rng.choice((None, None, 0, 2)))]


def _wide(rng: random.Random, name: str, following: str) -> list[Element]:
    """Return one station that feeds two, of which either may block it."""
    how = rng.choice(("random", "cycle", "shortest"))
    route = Route((f"{name}a", f"{name}b"), (0.5, 0.5) if how == "random" else None, how)  # type: ignore[arg-type]
    first = station(rng, name, following, route=route)
    return [*first, *station(rng, f"{name}a", following), *station(rng, f"{name}b", following)]


def _nested(rng: random.Random, name: str, following: str) -> list[Element]:
    """Return a fork, one branch of which is a fork or makes packets."""
    inner, join = f"{name}i", f"{name}j"
    within = rng.choice((_parts, _packets))(rng, inner, join)
    other = station(rng, f"{name}b", join, route=to(join))
    branches = [(inner, None), (f"{name}b", 3.0)]
    rng.shuffle(branches)
    return [Fork(name, tuple(branches)), *within, *other, Join(join, to(following))]


def _built(rng: random.Random, name: str, following: str) -> list[Element]:
    """Return event building: items, or packets of items, that hold a credit until the last station."""
    last = f"{name}z"
    gate = Gate(name, rng.randint(1, 4), to(f"{name}m"), rng.choice((None, 1)), rng.choice(("drop", "block")))  # type: ignore[arg-type]
    within = rng.choice((_parts, _packets, _rules))(rng, f"{name}m", last)
    return [gate, *within, *station(rng, last, following, returns=rng.choice((name, name, None)))]


Stage = Callable[[random.Random, str, str], list[Element]]
STAGES: tuple[Stage, ...] = (station, station, _wide, _delay, _rules, _gate, _parts, _packets, _nested, _built)
