"""Whether the parts of an element are of the kinds that they must be: before their values are looked at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from foundation.errors import BadValueError
from simulator.queues.arrivals import Arrivals
from simulator.queues.elements import (
    Batch,
    Delay,
    Element,
    Exit,
    Fork,
    Outages,
    Route,
    Rules,
    Service,
    Source,
    Station,
)  # fmt: skip
from simulator.queues.laws import Law

MOST_SHOWN = 80
"""Characters of a wrong value in a message."""


def check_kinds(element: object) -> None:
    """Check what an element is made of. Raises BadValueError naming the element and the part."""
    if not isinstance(element, Element):
        raise BadValueError(f"A network is made of elements (Source, Station, ..., Exit), not {shown(element)}.")
    if not isinstance(element.name, str) or not element.name:
        raise BadValueError(f"Every element of a network needs a name, not {shown(element.name)}.")
    where = f"'{element.name}'"
    if isinstance(element, Source):
        _is(f"The arrivals of source {where}", element.arrivals, Arrivals, "arrivals, e.g. poisson(100.0)")
        row(f"The class shares of source {where}", element.classes)
        _is(f"The size of source {where}", element.size_bytes, Law, "a Law of bytes, e.g. Law('constant', 8.0)")
    elif isinstance(element, Station):
        _station(element, where)
    elif isinstance(element, Delay):
        _service(f"The time of delay {where}", element.service)
    elif isinstance(element, Rules):
        _pairs(f"The rules of {where}", element.rules, "((accepts, window_s), ...)")
    elif isinstance(element, Fork):
        _pairs(f"The branches of fork {where}", element.branches, "((target, bytes or None), ...)")
        _names(where, [target for target, _ in element.branches])
    if not isinstance(element, (Fork, Exit)):
        _route(element.route, where)


def _station(station: Station, where: str) -> None:
    if isinstance(station.service, Mapping):
        if not station.service:
            raise BadValueError(f"Station {where} needs a service for at least one class.")
        for kind, service in station.service.items():
            _service(f"The service of class {kind} of station {where}", service)
    else:
        _service(f"The service of station {where}", station.service)
    row(f"The speeds of station {where}", station.speeds)
    if station.batch is not None:
        _is(f"The batch of station {where}", station.batch, Batch, "a Batch or None")
        row(f"The times of batches of station {where}", station.batch.time_s)
    if station.outages is not None:
        _is(f"The outages of station {where}", station.outages, Outages, "Outages or None")
        for what, law in (("up", station.outages.up_s), ("down", station.outages.down_s)):
            _is(f"The {what} times of station {where}", law, Law, "a Law of seconds, e.g. Law('exponential', 60.0)")


def _service(what: str, service: object) -> None:
    _is(what, service, Service, "a Service, e.g. Service((1e-6,))")
    assert isinstance(service, Service)
    row(f"{what}, its polynomial,", service.polynomial_s)
    _is(f"{what}, its spread,", service.spread, Law, "a Law with a mean of 1")


def _route(route: object, where: str) -> None:
    _is(f"The route of {where}", route, Route, "a Route, e.g. to('out')")
    assert isinstance(route, Route)
    _names(where, row(f"The targets of the route of {where}", route.targets))
    weights = route.weights
    if weights is not None:
        for each in weights.values() if isinstance(weights, Mapping) else [weights]:
            row(f"The route weights of {where}", each)


def _names(where: str, targets: Iterable[object]) -> None:
    for target in targets:
        if not isinstance(target, str):
            raise BadValueError(f"A target of {where} must be the name of an element, not {shown(target)}.")


def _pairs(what: str, values: object, form: str) -> None:
    for each in row(what, values):
        if not isinstance(each, (tuple, list)) or len(each) != 2:
            raise BadValueError(f"{what} must be pairs, {form}, not {shown(values)}.")


def row(what: str, values: Any) -> Iterable[Any]:
    """Return values that come in a row. Raises BadValueError for one value, a text or a mapping."""
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__len__") or not hasattr(values, "__iter__"):
        raise BadValueError(f"{what} must be a tuple, not {shown(values)}.")
    found: Iterable[Any] = values
    return found


def _is(what: str, value: object, kind: type, form: str) -> None:
    if not isinstance(value, kind):
        raise BadValueError(f"{what} must be {form}, not {shown(value)}.")


def shown(value: object) -> str:
    """Return a value as a message shows it."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


__all__ = ["check_kinds", "row", "shown"]
