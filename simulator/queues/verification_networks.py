"""Checks of several stations: open and closed networks, blocking, fork and join, packets, and ways to route."""

from __future__ import annotations

from functools import partial

import numpy as np

from simulator.queues import closed_forms as forms
from simulator.queues.arrivals import Recorded, poisson
from simulator.queues.elements import (
    Delay,
    Element,
    Exit,
    Fork,
    Gate,
    Join,
    Network,
    Pack,
    Route,
    Service,
    Source,
    Station,
    Unpack,
    to,
)  # fmt: skip
from simulator.queues.laws import EXPONENTIAL
from simulator.queues.replications import value_of
from simulator.queues.statistics import NetworkRun
from simulator.queues.verification import TICKS_PER_SECOND, Check, Measure, exact
from simulator.queues.verification_chains import erlang_gaps, gi_m_1_wait_s, shortest_of_two

JACKSON_P = (
    (0.0, 0.5, 0.3, 0.0, 0.0), (0.2, 0.0, 0.0, 0.5, 0.1), (0.0, 0.25, 0.1, 0.0, 0.4), (0.0, 0.0, 0.0, 0.0, 0.6),
    (0.1, 0.0, 0.0, 0.2, 0.0),
)  # fmt: skip
"""Routing of the larger network; what a row leaves open goes out."""
JACKSON_IN = (0.5, 0.0, 0.3, 0.0, 0.0)
JACKSON_S = (0.9, 1.4, 1.2, 0.8, 2.0)
JACKSON_SERVERS = (1, 2, 2, 1, 3)


def _network(*elements: Element) -> Network:
    return Network(elements, TICKS_PER_SECOND)


def _exponential(name: str, service_s: float, route: Route, servers: int = 1) -> Station:
    return Station(name, Service((service_s,), EXPONENTIAL), route, servers)


def _at_rate(rate_hz: float, target: str = "first", name: str = "source") -> Source:
    return Source(name, poisson(rate_hz), to(target))


def open_networks() -> list[Check]:
    """Jackson: two nodes with feedback; five nodes, some of several servers, fed at two."""
    first = _exponential("first", 1.0, Route(("exit", "second"), (0.5, 0.5)))
    second = _exponential("second", 1 / 0.6, to("first"))
    small = forms.jackson((0.35, 0.0), ((0.0, 0.5), (1.0, 0.0)), (1.0, 1 / 0.6))
    measures = [
        Measure(f"number at {name}", f"{name}.mean_present", exact(x.number), bound)
        for name, x, bound in zip(("first", "second"), small.stations, (0.08, 0.075), strict=True)
    ]
    measures += [
        Measure("utilisation of first", "first.utilisation", exact(0.7), 0.025),
        Measure("response / s", "exit.sojourn_mean_s", exact(small.response_s), 0.07),
    ]
    pair = Check("Open networks", "Jackson, 2 nodes with feedback", "traffic equations, rho_i / (1 - rho_i)",
                 partial(_network, _at_rate(0.35), first, second, Exit("exit")), tuple(measures), 5_000,
                 0.35)  # fmt: skip
    return [pair, _five_nodes()]


def _five_nodes() -> Check:
    means = forms.jackson(JACKSON_IN, JACKSON_P, JACKSON_S, JACKSON_SERVERS)
    names = [f"node {k}" for k in range(5)]
    stations = [
        _exponential(name, s, Route((*names, "exit"), (*row, 1 - sum(row))), c)
        for name, s, row, c in zip(names, JACKSON_S, JACKSON_P, JACKSON_SERVERS, strict=True)
    ]
    sources = [_at_rate(rate, names[k], f"source {k}") for k, rate in enumerate(JACKSON_IN) if rate]
    measures = [
        Measure(f"number at {name}", f"{name}.mean_present", exact(x.number), bound)
        for name, x, bound in zip(names, means.stations, (0.08, 0.05, 0.05, 0.06, 0.05), strict=True)
    ]
    measures.append(Measure("rate at node 3 / Hz", "node 3.arrived_hz", exact(float(means.rates_hz[3])), 0.03))
    return Check("Open networks", "Jackson, 5 nodes with 1, 2, 2, 1 and 3 servers", "traffic equations, M/M/c",
                 partial(_network, *sources, *stations, Exit("exit")), tuple(measures), 4_000,
                 sum(JACKSON_IN))  # fmt: skip


def closed_networks() -> list[Check]:
    """Gordon and Newell: items that go round for ever, with single servers, several, a delay; and behind credits."""
    return [_circle(), _circle_of_servers(), _behind_credits()]


def _circle() -> Check:
    routes = ((0.0, 0.6, 0.4), (1.0, 0.0, 0.0), (1.0, 0.0, 0.0))
    services, names = (1.0, 1.2, 2.0), ("first", "second", "third")
    means = forms.mean_value_analysis(6, (1.0, 0.6, 0.4), services)
    stations = [_exponential(n, s, Route(names, row)) for n, s, row in zip(names, services, routes, strict=True)]
    source = Source("source", Recorded((0.0,) * 6), to("first"))
    measures = [Measure("throughput / Hz", "first.left_hz", exact(means.throughput_hz), 0.02)]
    measures += [
        Measure(f"number at {name}", f"{name}.mean_present", exact(float(x)), 0.06)
        for name, x in zip(names, means.number, strict=True)
    ]
    return Check("Closed networks", "6 items, 3 single servers", "mean value analysis",
                 partial(_network, source, *stations), tuple(measures), 4_000, means.throughput_hz)  # fmt: skip


def _circle_of_servers() -> Check:
    means = forms.closed_network(10, (1.0, 1.0, 0.5), (0.5, 2.0, 1.0), (1, 3, 1), 4.0)
    first = _exponential("first", 0.5, to("second"))
    second = _exponential("second", 2.0, Route(("third", "thinking"), (0.5, 0.5)), 3)
    third = _exponential("third", 1.0, to("thinking"))
    thinking = Delay("thinking", Service((4.0,), EXPONENTIAL), to("first"))
    source = Source("source", Recorded((0.0,) * 10), to("thinking"))
    measures = [Measure("throughput / Hz", "first.left_hz", exact(means.throughput_hz), 0.015)]
    measures += [
        Measure(f"number at {name}", f"{name}.mean_present", exact(float(means.number[k])), 0.06)
        for k, name in enumerate(("first", "second", "third"))
    ]
    return Check("Closed networks", "10 items, 1, 3 and 1 servers and a delay", "convolution",
                 partial(_network, source, first, second, third, thinking), tuple(measures), 3_000,
                 means.throughput_hz)  # fmt: skip


def _behind_credits() -> Check:
    """So many come that all credits are always out: what the gate lets in is a closed network."""
    means = forms.mean_value_analysis(4, (1.0, 1.0), (1.0, 0.7))
    gate = Gate("gate", 4, to("first"), places=60)
    second = Station("second", Service((0.7,), EXPONENTIAL), to("exit"), returns="gate")
    elements = (_at_rate(1.6, "gate"), gate, _exponential("first", 1.0, to("second")), second, Exit("exit"))
    measures = (
        Measure("throughput / Hz", "second.left_hz", exact(means.throughput_hz), 0.018),
        Measure("number at first", "first.mean_present", exact(float(means.number[0])), 0.03),
        Measure("number behind the gate", lambda run: run.element("first").mean_present
                + run.element("second").mean_present, exact(4.0), 1e-12),
    )  # fmt: skip
    return Check("Closed networks", "4 credits in front of 2 servers, always asked for", "mean value analysis",
                 partial(_network, *elements), measures, 4_000, 1.6)  # fmt: skip


def blocking() -> list[Check]:
    """Two servers in a row, the second with a limit that blocks the first."""
    found = []
    for first_places in (None, 4):
        means = forms.tandem_with_blocking(0.6, 1.0, 0.9, 3, first_places)
        room = None if first_places is None else first_places - 1
        first = Station("first", Service((1.0,), EXPONENTIAL), to("second"), places=room)
        second = Station("second", Service((0.9,), EXPONENTIAL), to("exit"), places=2, when_full="block")
        wide = 0.12 if first_places is None else 0.035
        measures = [
            Measure("number at first", "first.mean_present", exact(means.first_number), wide),
            Measure("number at second", "second.mean_present", exact(means.second_number), 0.04),
            Measure("share blocked", "first.blocked_share", exact(means.blocked), 0.11),
            Measure("response / s", "exit.sojourn_mean_s", exact(means.response_s), wide),
        ]
        if first_places is not None:
            measures.append(Measure("loss", "first.loss_share", exact(means.loss), 0.09))
        name = "an endless line" if first_places is None else "4 places"
        found.append(
            Check("Blocking", f"tandem, 3 places at the second, {name} at the first", "chain of both stations",
                  partial(_network, _at_rate(0.6), first, second, Exit("exit")), tuple(measures), 4_000, 0.6)
        )  # fmt: skip
    return found


def forks() -> list[Check]:
    """Fork to two M/M/1 and join."""
    found = []
    for load, bound in ((0.3, 0.04), (0.6, 0.07)):
        fork = Fork("fork", (("left", None), ("right", None)))
        stations = [_exponential(name, 1.0, to("join")) for name in ("left", "right")]
        elements: tuple[Element, ...] = (
            _at_rate(load, "fork"),
            fork,
            *stations,
            Join("join", to("exit")),
            Exit("exit"),
        )
        response = Measure("response / s", "exit.sojourn_mean_s", exact(forms.fork_join_response_s(load, 1.0)), bound)
        busy = Measure("utilisation of left", "left.utilisation", exact(load), 0.025)
        found.append(
            Check("Fork and join", f"2 M/M/1, load {load:g}", "(12 - rho) / 8 x s / (1 - rho)",
                  partial(_network, *elements), (response, busy), 3_000, load)
        )  # fmt: skip
    return found


def packets() -> list[Check]:
    """Packets of four: the wait for the others, and an Erlang stream behind."""
    link = _exponential("link", 2.0, to("unpack"))
    elements = (_at_rate(1.4, "pack"), Pack("pack", 4, to("link")), link, Unpack("unpack", to("exit")), Exit("exit"))
    filling_s, wait_s = 1.5 / 1.4, gi_m_1_wait_s(erlang_gaps(1.4, 4), 2.0)
    measures = (
        Measure("time in the pack / s", "pack.mean_sojourn_s", exact(filling_s), 0.02),
        Measure("wait of packets / s", "link.mean_wait_s", exact(wait_s), 0.16),
        Measure("response of items / s", "exit.sojourn_mean_s", exact(filling_s + wait_s + 2.0), 0.08),
        Measure("utilisation of the link", "link.utilisation", exact(0.7), 0.025),
    )
    return [
        Check("Packets", "4 items a packet, E4/M/1 behind", "(N - 1) / (2 lambda) + GI/M/1",
              partial(_network, *elements), measures, 8_000, 1.4)
    ]  # fmt: skip


def routing() -> list[Check]:
    """Two equal stations: taken in turn, by the shorter one, by shares."""
    found = []
    in_turn = gi_m_1_wait_s(erlang_gaps(1.4, 2), 1.0)
    shares = np.array([0.7, 0.3]) * 1.4
    split = [forms.mm1(float(rate), s).number for rate, s in zip(shares, (0.7, 1.5), strict=True)]
    cases = (
        ("in turn", Route(("left", "right"), how="cycle"), (1.0, 1.0), "E2/M/1", [1.4 * (in_turn + 1.0)], (0.08,)),
        ("the shorter one", Route(("left", "right"), how="shortest"), (1.0, 1.0), "chain of both lines",
         [shortest_of_two(1.4, 1.0)], (0.07,)),
        ("70 % and 30 %", Route(("left", "right"), (0.7, 0.3)), (0.7, 1.5), "M/M/1 each", split, (0.09, 0.12)),
    )  # fmt: skip
    for name, route, services, form, numbers, bounds in cases:
        stations = [_exponential(n, s, to("exit")) for n, s in zip(("left", "right"), services, strict=True)]
        elements: tuple[Element, ...] = (Source("source", poisson(1.4), route), *stations, Exit("exit"))
        if len(numbers) == 1:
            measures = [Measure("number in both", _both, exact(numbers[0]), bounds[0])]
        else:
            measures = [
                Measure(f"number at {n}", f"{n}.mean_present", exact(x), bound)
                for n, x, bound in zip(("left", "right"), numbers, bounds, strict=True)
            ]
        busy = Measure("utilisation of left", "left.utilisation", exact(0.98 * 0.7 if len(numbers) > 1 else 0.7), 0.025)
        if name == "the shorter one":
            measures.append(Measure("rate of both / Hz", "exit.left_hz", exact(1.4), 0.02))
        else:
            measures.append(busy)
        found.append(
            Check("Routing", f"2 stations, {name}", form, partial(_network, *elements), tuple(measures), 5_000, 1.4)
        )
    return found


def _both(run: NetworkRun) -> float:
    return sum(value_of(run, f"{name}.mean_present") for name in ("left", "right"))


def network_checks() -> list[Check]:
    """Return all checks of this file."""
    return [
        *open_networks(), *closed_networks(), *blocking(), *forks(), *packets(), *routing(),
    ]  # fmt: skip
