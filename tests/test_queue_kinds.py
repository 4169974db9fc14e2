"""Parts of a network that are of the wrong kind, and times that no run gets through: one sentence each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from queue_traces import at, takes

from foundation.errors import ArchcastError, BadValueError, UnknownNameError
from simulator.queues.arrivals import Arrivals, Periodic, Recorded, Renewal, poisson
from simulator.queues.bursts import Together
from simulator.queues.callbacks import run_callbacks
from simulator.queues.elements import (
    Batch,
    Delay,
    Exit,
    Fork,
    Network,
    Outages,
    Route,
    Rules,
    Service,
    Source,
    Station,
    to,
)  # fmt: skip
from simulator.queues.laws import EXPONENTIAL, Law
from simulator.queues.replications import estimate, replicate
from simulator.queues.run import run_network
from simulator.streams import RandomStreams

OUT = Exit("out")
Some = Any
"""Values of the wrong kind."""


def q(**more: Some) -> Station:
    """Return a station of one second."""
    return Station(**{"name": "q", "service": takes(1), "route": to("out"), **more})


def source(**more: Some) -> Source:
    """Return a source."""
    return Source(**{"name": "in", "arrivals": Recorded((0.0,)), "route": to("out"), **more})


WRONG: list[tuple[str, Some]] = [
    ("The route of 'q' must be a Route", q(route="out")),
    ("targets of the route of 'q' must be a tuple, not 'out'", q(route=Route("out"))),  # type: ignore[arg-type]
    ("A target of 'q' must be the name", q(route=Route((["out"],)))),  # type: ignore[arg-type]
    ("weights of 'q' must be a tuple", q(route=Route(("out",), 1.0))),  # type: ignore[arg-type]
    ("service of station 'q' must be a Service", q(service=1.0)),
    ("service of station 'q' must be a Service", q(service=None)),
    ("service of class 0 of station 'q' must be a Service", q(service={0: 1.0})),
    ("needs a service for at least one class", q(service={})),
    ("service of station 'q', its polynomial, must be a tuple", q(service=Service(1.0))),  # type: ignore[arg-type]
    ("service of station 'q', its spread, must be a Law", q(service=Service((1.0,), None))),  # type: ignore[arg-type]
    ("time of delay 'd' must be a Service", Delay("d", {0: takes(1)}, to("out"))),  # type: ignore[arg-type]
    ("arrivals of source 'in' must be arrivals", source(arrivals=None)),
    ("arrivals of source 'in' must be arrivals", source(arrivals=1.0)),
    ("size of source 'in' must be a Law", source(size_bytes=5)),
    ("class shares of source 'in' must be a tuple", source(classes=2)),
    ("batch of station 'q' must be a Batch", q(batch=3)),
    ("times of batches of station 'q' must be a tuple", q(batch=Batch(1, 1.0))),  # type: ignore[arg-type]
    ("outages of station 'q' must be Outages", q(outages=3)),
    ("up times of station 'q' must be a Law", q(outages=Outages(3.0, EXPONENTIAL))),  # type: ignore[arg-type]
    ("speeds of station 'q' must be a tuple", q(speeds=2.0)),
    ("A speed of station 'q'", q(speeds=(1e-300,))),
    ("rules of 'r' must be pairs", Rules("r", to("out"), (1, 1.0))),  # type: ignore[arg-type]
    ("branches of fork 'f' must be pairs", Fork("f", ("out",))),  # type: ignore[arg-type]
    ("made of elements", "q"),
    ("made of elements", Station),
    ("without any time passing: q", q(route=Route(("q", "out")), batch=Batch(2, (0.0, 1.0)))),
    ("up and down times of station 'q'.*finer tick", q(outages=Outages(Law("constant", 0.1), Law("constant", 0.1)))),
]


@pytest.mark.parametrize(("message", "element"), WRONG, ids=[f"{n}-{case[0]}" for n, case in enumerate(WRONG)])
def test_a_part_of_the_wrong_kind_is_refused_with_element_and_field(message: str, element: Some) -> None:
    with pytest.raises(BadValueError, match=message):
        Network((Source("first", Recorded((0.0,)), to("out")), element, OUT), 1)


LAWS: list[tuple[type[ArchcastError], Callable[[], object]]] = [
    (BadValueError, lambda: Law("lognormal", cv=1e200)),
    (BadValueError, lambda: Law("table", values=("a",))),  # type: ignore[arg-type]
    (BadValueError, lambda: Law("table", values=5)),  # type: ignore[arg-type]
    (UnknownNameError, lambda: Law(["x"])),  # type: ignore[arg-type]
    (BadValueError, lambda: Recorded(("a",))),  # type: ignore[arg-type]
    (BadValueError, lambda: Recorded(None)),  # type: ignore[arg-type]
    (BadValueError, lambda: Renewal(1.0)),  # type: ignore[arg-type]
    (BadValueError, lambda: replicate(lambda: None, 2, horizon_s=1.0)),  # type: ignore[arg-type,return-value]
    (BadValueError, lambda: estimate([run_network(Network((source(), OUT), 1), horizon_s=1.0)], None)),  # type: ignore[arg-type]
    (BadValueError, lambda: run_network(Network((source(), OUT), 1), horizon_s=1.0, observe="q")),
    (BadValueError, lambda: run_network(None, horizon_s=1.0)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("error", "made"), LAWS, ids=range(len(LAWS)))
def test_a_value_of_the_wrong_kind_is_refused(error: type[ArchcastError], made: Callable[[], object]) -> None:
    with pytest.raises(error):
        made()


@pytest.mark.parametrize("arrivals", [poisson(1e15), poisson(1e308), Periodic(2e9), Together(poisson(2e9), Law())])
def test_more_than_one_instant_a_tick_is_refused(arrivals: Arrivals) -> None:
    with pytest.raises(BadValueError, match=r"Source 'in' emits at .* more than one a tick.*finer tick"):
        Network((source(arrivals=arrivals), OUT), 10**9)


def test_many_at_one_instant_and_instants_of_a_trace_are_not_refused() -> None:
    crowd = Source("a", Together(Periodic(1.0), Law("constant", 50.0)), to("out"))
    network = Network((crowd, at([0] * 50, "out"), OUT), 1)
    assert run_callbacks(network, RandomStreams(1), 2).end.sums["left"].tolist() == [150, 50, 200]


def test_too_many_bytes_are_refused_without_talk_of_ticks() -> None:
    heavy = Source("in", Periodic(1.0), to("out"), size_bytes=Law("constant", 2.0**53))
    with pytest.raises(BadValueError, match=r"bytes_in of 'in' comes near the end of 64 bits.*sizes in a larger unit"):
        run_callbacks(Network((heavy, OUT), 1), RandomStreams(1), 1000)
