"""Whether a network can run: names, numbers and connections. Every fault is one sentence that names the element."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError, UnknownNameError
from simulator.clock import checked_rate
from simulator.queues.arrivals import Arrivals, Recorded
from simulator.queues.checks_of_kinds import check_kinds, row
from simulator.queues.checks_of_paths import check_paths
from simulator.queues.elements import (
    Custom,
    Delay,
    Element,
    Fork,
    Gate,
    Network,
    Outages,
    Pack,
    Route,
    Rules,
    Service,
    Source,
    Station,
    count,
    seconds,
)  # fmt: skip
from simulator.queues.laws import Law

MAX_ELEMENTS = 2**14
"""The order of events keeps 14 bits for the element."""
MAX_GATES = 62
"""An item keeps one bit for the credit of each gate."""
MAX_SERVERS = 10**6
MAX_BYTES = 2.0**53
LEAST_SPEED = 1e-12
"""Speeds lie between it and its inverse, so that no duration leaves the range of floats."""


def check_network(network: Network) -> None:
    """Check names, numbers, connections and paths of a network.

    Raises:
        BadValueError: a value that an element cannot have, a name given twice, or a path that cannot work.
        UnknownNameError: a target or gate that does not exist, with the nearest names.
    """
    ticks_per_second = checked_rate(network.ticks_per_second)
    row("The elements of a network", network.elements)
    if not 0 < len(network.elements) <= MAX_ELEMENTS:
        raise BadValueError(f"A network has 1 to {MAX_ELEMENTS} elements, not {len(network.elements)}.")
    names: dict[str, Element] = {}
    for element in network.elements:
        check_kinds(element)
        if element.name in names:
            raise BadValueError(f"The name '{element.name}' is given to two elements. Names must differ.")
        names[element.name] = element
    if sum(isinstance(element, Gate) for element in network.elements) > MAX_GATES:
        raise BadValueError(f"A network has at most {MAX_GATES} gates.")
    for element in network.elements:
        check_element(element, names)
        _ticks(element, ticks_per_second)
    check_paths(network)


def check_element(element: Element, names: Mapping[str, Element]) -> None:
    """Check one element. Raises as `check_network`."""
    where = f"'{element.name}'"
    if isinstance(element, Source):
        _shares(f"The class shares of source {where}", element.classes, len(element.classes))
        if not element.classes:
            raise BadValueError(f"Source {where} needs at least one class.")
        finite_number(f"The mean size of source {where}", element.size_bytes.mean, high=MAX_BYTES)
    elif isinstance(element, Station):
        _station(element, where, names)
    elif isinstance(element, Delay):
        _service(f"The delay of {where}", element.service)
        _returns(element.returns, where, names)
    elif isinstance(element, Rules):
        for accepts, window in element.rules:
            count(f"A rule of {where}, the number it accepts,", accepts)
            seconds(f"A rule of {where}, its window in seconds,", window)
        seconds(f"The dead time of {where}", element.dead_s)
    elif isinstance(element, Gate):
        count(f"The credits of gate {where}", element.credits)
        _room(element, where)
    elif isinstance(element, Fork):
        if not element.branches:
            raise BadValueError(f"Fork {where} needs at least one branch.")
        for target, size in element.branches:
            _target(target, where, names)
            if size is not None:
                finite_number(f"The bytes of branch '{target}' of fork {where}", size, high=MAX_BYTES)
    elif isinstance(element, Pack):
        count(f"The packet of {where}", element.count)
    elif isinstance(element, Custom) and not callable(element.logic):
        raise BadValueError(f"The logic of {where} must be a function, not {element.logic!r}.")
    route = getattr(element, "route", None)
    if route is not None:
        _route(route, where, names)


def _ticks(element: Element, ticks_per_second: int) -> None:
    """Check that time passes between arrivals and between outages: a run would not leave a tick, or take for ever."""
    if isinstance(element, Source) and not isinstance(element.arrivals, Recorded):
        instants = element.arrivals
        while isinstance(inner := getattr(instants, "process", None), Arrivals):
            instants = inner  # several at an instant, or within windows: the instants are those of the process inside
        rate_hz = instants.mean_rate_hz()
        if not rate_hz <= ticks_per_second:
            raise BadValueError(
                f"Source '{element.name}' emits at {rate_hz:g} instants a second on average, more than one a tick "
                f"({ticks_per_second:g} ticks a second). Declare a finer tick (ticks_per_second) or a lower rate."
            )
    if isinstance(element, Station) and element.outages is not None:
        cycle = (element.outages.up_s.mean, element.outages.down_s.mean)
        if all(time_s * ticks_per_second < 0.5 for time_s in cycle):
            raise BadValueError(
                f"The up and down times of station '{element.name}' have means of {cycle[0]:g} and {cycle[1]:g} s, "
                "which round to 0 ticks. Declare a finer tick (ticks_per_second)."
            )


def _station(station: Station, where: str, names: Mapping[str, Element]) -> None:
    whole_number(f"The servers of station {where}", station.servers, low=1, high=MAX_SERVERS)
    _one_of(f"The discipline of station {where}", station.discipline, ("fifo", "priority", "share"))
    _room(station, where)
    if station.places_bytes is not None:
        whole_number(f"The waiting bytes of station {where}", station.places_bytes, low=0, high=int(MAX_BYTES))
    services = station.service if isinstance(station.service, Mapping) else {0: station.service}
    for key, service in services.items():
        whole_number(f"A class of the services of station {where}", key, low=0)
        _service(f"The service of station {where}", service)
    if station.speeds:
        if len(station.speeds) != station.servers:
            raise BadValueError(f"Station {where} has {station.servers} servers but {len(station.speeds)} speeds.")
        for speed in station.speeds:
            finite_number(f"A speed of station {where}", speed, low=LEAST_SPEED, high=1 / LEAST_SPEED)
    if station.batch is not None:
        _batch(station, where)
    if station.outages is not None:
        _outages(station.outages, where)
    odd = station.batch or station.speeds or station.outages or station.places_bytes is not None
    if station.discipline == "share" and (odd or station.servers != 1):
        raise BadValueError(
            f"Station {where} shares one server of speed 1: it cannot have more servers, speeds, batches, outages or "
            "waiting bytes."
        )
    _returns(station.returns, where, names)


def _batch(station: Station, where: str) -> None:
    batch = station.batch
    assert batch is not None
    whole_number(f"The batch of station {where}", batch.size, low=1, high=10**5)
    if len(batch.time_s) != batch.size:
        raise BadValueError(
            f"Station {where} needs the time of batches of 1 to {batch.size}, that is {batch.size} times, "
            f"not {len(batch.time_s)}."
        )
    for time_s in batch.time_s:
        seconds(f"A batch time of station {where}", time_s)
    seconds(f"The longest wait for a batch of station {where}", batch.max_wait_s)
    if isinstance(station.service, Mapping):
        raise BadValueError(f"Station {where} works in batches, so it has one service (its spread) for all classes.")
    if station.places == 0:
        raise BadValueError(f"Station {where} works in batches, so it needs at least one waiting place.")


def _outages(outages: Outages, where: str) -> None:
    seconds(f"The mean up time of station {where}", outages.up_s.mean, strict=True)
    seconds(f"The mean down time of station {where}", outages.down_s.mean)
    seconds(f"The offset of the outages of station {where}", outages.offset_s)
    _one_of(f"What outages of station {where} do to work", outages.work, ("resume", "restart", "lose", "finish"))


def _service(what: str, service: Service) -> None:
    if not 1 <= len(service.polynomial_s) <= 4:
        raise BadValueError(f"{what} has 1 to 4 coefficients, not {len(service.polynomial_s)}.")
    for coefficient in service.polynomial_s:
        finite_number(what, coefficient, low=-1e9, high=1e9)
    if service.polynomial_s[0] < 0 and not any(service.polynomial_s[1:]):
        raise BadValueError(f"{what} must be a time of at least 0, not {service.polynomial_s[0]!r} s.")
    _mean_of_one(what, service.spread)


def _mean_of_one(what: str, law: Law) -> None:
    if abs(law.mean - 1) > 1e-9:
        raise BadValueError(f"{what}: the spread is a factor with a mean of 1, not {law.mean:g}.")


def _room(element: Station | Gate, where: str) -> None:
    if element.places is not None:
        whole_number(f"The waiting places of {where}", element.places, low=0, high=10**9)
    _one_of(f"What {where} does when it is full", element.when_full, ("drop", "block"))


def _route(route: Route, where: str, names: Mapping[str, Element]) -> None:
    if not route.targets:
        raise BadValueError(f"The route of {where} needs at least one target.")
    for target in route.targets:
        _target(target, where, names)
    _one_of(f"The route of {where}", route.how, ("random", "cycle", "shortest"))
    if route.weights is None:
        return
    if route.how != "random":
        raise BadValueError(f"The route of {where} is '{route.how}', so it has no weights.")
    rows = route.weights if isinstance(route.weights, Mapping) else {0: route.weights}
    for key, weights in rows.items():
        whole_number(f"A class of the route of {where}", key, low=0)
        _shares(f"The route weights of {where}", weights, len(route.targets))


def _target(target: str, where: str, names: Mapping[str, Element]) -> None:
    if target not in names:
        raise UnknownNameError("element", target, names, f"It is a target of {where}.")
    if isinstance(names[target], Source):
        raise BadValueError(f"{where} sends items to the source '{target}'. Sources only emit.")


def _returns(gate: str | None, where: str, names: Mapping[str, Element]) -> None:
    if gate is None:
        return
    gates = [name for name, element in names.items() if isinstance(element, Gate)]
    if gate not in gates:
        raise UnknownNameError("gate", gate, gates, f"{where} returns its credits.")


def _shares(what: str, weights: Iterable[float], expected: int) -> None:
    found = [finite_number(what, weight) for weight in weights]
    if len(found) != expected:
        raise BadValueError(f"{what} must be {expected} numbers, one a target, not {len(found)}.")
    if expected and sum(found) <= 0:
        raise BadValueError(f"{what} must have a sum above 0.")


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise BadValueError(f"{what} must be one of {', '.join(known)}, not {value!r}.")


__all__ = ["MAX_ELEMENTS", "MAX_GATES", "check_element", "check_network"]
