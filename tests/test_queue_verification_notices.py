"""The verification can fail: engines that are wrong by a little, imitated by networks that differ, are noticed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from simulator.queues.elements import (
    Batch,
    Delay,
    Element,
    Gate,
    Network,
    Outages,
    Route,
    Rules,
    Service,
    Source,
    Station,
)
from simulator.queues.laws import Law
from simulator.queues.verification import replications_of, run_check
from simulator.queues.verification_cases import named
from simulator.queues.verification_chains import two_speeds

Change = Callable[[Element], Element]


def _service(
    service: Service | Mapping[int, Service], change: Callable[[Service], Service]
) -> Service | Mapping[int, Service]:
    return {k: change(x) for k, x in service.items()} if isinstance(service, Mapping) else change(service)


def longer_services(factor: float) -> Change:
    """Return the change of all service, batch and dead times by a factor."""

    def times(service: Service) -> Service:
        return replace(service, polynomial_s=tuple(factor * a for a in service.polynomial_s))

    def change(element: Element) -> Element:
        if isinstance(element, Station):
            batch = element.batch and Batch(
                element.batch.size, tuple(factor * t for t in element.batch.time_s), element.batch.max_wait_s
            )
            return replace(element, service=_service(element.service, times), batch=batch)
        if isinstance(element, Delay):
            return replace(element, service=times(element.service))
        if isinstance(element, Rules):
            return replace(element, dead_s=factor * element.dead_s)
        return element

    return change


def other_spread(law: Law) -> Change:
    """Return the change of the law of services: the same mean, another variance."""

    def change(element: Element) -> Element:
        if not isinstance(element, Station):
            return element
        return replace(element, service=_service(element.service, lambda s: replace(s, spread=law)))

    return change


def station(**values: object) -> Change:
    """Return the change of fields of stations that have another value there than the default."""

    def change(element: Element) -> Element:
        if not isinstance(element, Station):
            return element
        changed = {k: x(getattr(element, k)) if callable(x) else x for k, x in values.items()}
        return replace(element, **changed)  # type: ignore[arg-type]

    return change


def one_more_place(element: Element) -> Element:
    return replace(element, places=element.places + 1) if isinstance(element, Station) and element.places else element


def one_more_credit(element: Element) -> Element:
    return replace(element, credits=element.credits + 1) if isinstance(element, Gate) else element


def one_crossing_more(element: Element) -> Element:
    if not isinstance(element, Rules):
        return element
    return replace(element, rules=tuple((k, w + 1.0) for k, w in element.rules))


def one_slot_less(element: Element) -> Element:
    return replace(element, dead_s=element.dead_s - 1.0) if isinstance(element, Rules) else element


def shares_for_turns(element: Element) -> Element:
    return replace(element, route=Route(element.route.targets, (0.5, 0.5))) if isinstance(element, Source) else element


def anew(element: Element) -> Element:
    if isinstance(element, Station) and element.outages:
        return replace(element, outages=Outages(element.outages.up_s, element.outages.down_s, "restart"))
    return element


FASTEST = ("M/M/1, load 0.5", "M/G/8/8, exponential, 8 erlang", "M/M/1/5, load 0.8", "6 items, 3 single servers",
           "non-paralyzable dead time, lambda tau 1", "at most 2 in 25 crossings, 0.02 a crossing",
           "4 slots after each trigger, 0.3 a slot", "3 stages, room between")  # fmt: skip
"""The others are slow in sum."""
SLIGHTLY_WRONG = (
    *((name, f"services {factor:g} x", longer_services(factor)) for factor in (1.03, 0.97) for name in (
        "M/M/1, load 0.5", "M/D/1, load 0.8", "M/M/2, load 0.8", "M/G/1-PS, exponential, load 0.7",
        "M/G^[1,4]/1, constant", "M/G/1, work resumed, constant", "M/G/8/8, exponential, 8 erlang",
        "M/M/3/8, 2.7 erlang", "non-paralyzable dead time, lambda tau 1", "6 items, 3 single servers",
        "2 M/M/1, load 0.6", "4 places, uniform, 750 kHz, readout of 48 crossings", "3 stages, room between",
    )),
    ("M/D/1, load 0.8", "services that vary a little", other_spread(Law("uniform", cv=0.5))),
    ("M/M/1, load 0.5", "services that vary less", other_spread(Law("gamma", cv=0.8))),
    ("M/M/1/5, load 0.8", "one more place", one_more_place),
    ("M/D/1/8, load 0.9", "one more place", one_more_place),
    ("tandem, 3 places at the second, 4 places at the first", "one more place", one_more_place),
    ("tandem, 3 places at the second, 4 places at the first", "losses for blocking", station(when_full="drop")),
    ("4 credits in front of 2 servers, always asked for", "one more credit", one_more_credit),
    ("M/M/3 as 3 credits and a delay", "one more credit", one_more_credit),
    ("at most 2 in 25 crossings, 0.02 a crossing", "one crossing more", one_crossing_more),
    ("at most 1 in 3, 2 in 25 crossings, 0.02 a crossing", "one crossing more", one_crossing_more),
    ("4 slots after each trigger, 0.3 a slot", "one slot less", one_slot_less),
    ("M/M/2, two classes", "no priority", station(discipline="fifo")),
    ("M/G/1, three classes", "no priority", station(discipline="fifo")),
    ("M/G/1-PS, constant, load 0.7", "in a line", station(discipline="fifo")),
    ("M/G/1, work resumed, constant", "work begins anew", anew),
    ("2 stations, in turn", "by chance", shares_for_turns),
)  # fmt: skip


WRONG = [
    pytest.param(name, change, id=f"{name}: {what}", marks=[] if name in FASTEST else [pytest.mark.demand])
    for name, what, change in SLIGHTLY_WRONG
]


@pytest.mark.parametrize(("name", "change"), WRONG)
def test_a_slightly_wrong_engine_is_noticed(name: str, change: Change) -> None:
    network = named(name).network()
    wrong = Network(tuple(change(element) for element in network.elements), network.ticks_per_second)
    assert wrong != network
    assert not all(row.passed for row in run_check(named(name), network=wrong))


def test_a_choice_of_the_slow_server_first_would_be_noticed() -> None:
    rows = run_check(named("M/M/2 of speeds 1 and 0.5, the fast one first, 2 places"))
    other = two_speeds(1.0, 0.5, 1.0, 4)
    wrong = [replace(row, expected=x) for row, x in zip(rows, other, strict=True)]
    assert all(row.passed for row in rows)
    assert not all(row.passed for row in wrong)


def test_replications_share_no_random_numbers() -> None:
    check = named("M/M/1/5, load 0.8")
    assert len(set(replications_of(check).trace_hashes)) == check.replications
