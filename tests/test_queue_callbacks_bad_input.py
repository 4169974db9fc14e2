"""Networks that cannot run, each with one sentence that names the element."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from queue_traces import at, takes

from foundation.errors import BadValueError, UnknownNameError, UnsupportedError
from simulator.clock import Ticks
from simulator.queues.arrivals import Arrivals
from simulator.queues.callbacks import run_callbacks
from simulator.queues.elements import (
    Batch,
    Custom,
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
    to,
)  # fmt: skip
from simulator.queues.laws import EXPONENTIAL, Law
from simulator.streams import RandomStreams

OUT = Exit("out")
UP = Outages(EXPONENTIAL, EXPONENTIAL)


def q(name: str = "q", **more: object) -> Station:
    """Return a station of one second."""
    return Station(name, **{"service": takes(1), "route": to("out"), **more})  # type: ignore[arg-type]


CASES: list[tuple[str, list[Element]]] = [
    ("name 'q' is given to two", [q(), q()]),
    ("needs a name", [q("")]),
    ("servers of station 'q'", [q(servers=0)]),
    ("servers of station 'q'", [q(servers=1.5)]),
    ("waiting places of 'q'", [q(places=-1)]),
    ("waiting bytes of station 'q'", [q(places_bytes=-1)]),
    ("when it is full must be one of drop, block", [q(when_full="wait")]),
    ("discipline of station 'q' must be one of", [q(discipline="lifo")]),
    ("2 servers but 1 speeds", [q(servers=2, speeds=(1.0,))]),
    ("A speed of station 'q'", [q(speeds=(0.0,))]),
    ("shares one server", [q(discipline="share", servers=2)]),
    ("shares one server", [q(discipline="share", outages=UP)]),
    ("1 to 4 coefficients", [q(service=Service(()))]),
    ("must be a time of at least 0", [q(service=takes(-1))]),
    ("finite number", [q(service=takes(float("nan")))]),
    ("mean of 1, not 2", [q(service=Service((1.0,), Law("exponential", 2.0)))]),
    ("no service for class 0", [q(service={1: takes(1)})]),
    ("batches of 1 to 3, that is 3 times, not 1", [q(batch=Batch(3, (1.0,)))]),
    ("at least one waiting place", [q(batch=Batch(1, (1.0,)), places=0)]),
    ("one service", [q(batch=Batch(1, (1.0,)), service={0: takes(1)})]),
    ("mean up time of station 'q'", [q(outages=Outages(Law("constant", 0.0), EXPONENTIAL))]),
    ("outages of station 'q' do to work", [q(outages=Outages(EXPONENTIAL, EXPONENTIAL, "stop"))]),  # type: ignore[arg-type]
    ("at least one target", [q(route=Route(()))]),
    ("one a target", [q(route=Route(("out", "q"), (1.0,)))]),
    ("sum above 0", [q(route=Route(("out", "q"), (0.0, 0.0)))]),
    ("finite number at least 0", [q(route=Route(("out", "q"), (1.5, -0.5)))]),
    ("it has no weights", [q(route=Route(("out", "q"), (0.5, 0.5), "cycle"))]),
    ("must be one of random, cycle, shortest", [q(route=Route(("out", "q"), how="longest"))]),  # type: ignore[arg-type]
    ("no weights for class 0", [q(route=Route(("out", "q"), {1: (0.5, 0.5)}))]),
    ("sends items to the source", [q(route=to("in"))]),
    ("credits of gate 'q'", [Gate("q", 0, to("out"))]),
    ("A rule of 'q', the number it accepts,", [Rules("q", to("out"), ((0, 1.0),))]),
    ("dead time of 'q'", [Rules("q", to("out"), dead_s=-1.0)]),
    ("at least one branch", [Fork("q", ())]),
    ("The packet of 'q'", [Pack("q", 0, to("out"))]),
    ("logic of 'q' must be a function", [Custom("q", "logic", to("out"))]),  # type: ignore[arg-type]
    ("without any time passing: a, q", [Rules("q", to("a")), Rules("a", Route(("out", "q"), (0.5, 0.5)))]),
    ("without any time passing: q", [Delay("q", takes(0), Route(("out", "q"), (0.5, 0.5)))]),
    ("an item that no fork made", [Join("q", to("out"))]),
    ("can end at exit 'out' before it comes to a join", [Fork("q", (("out", None),))]),
    ("can come to 'q' again before", [Fork("q", (("a", None),)), q("a", route=to("q"))]),
    ("come to two joins", [Fork("q", (("j", None), ("k", None))), Join("j", to("out")), Join("k", to("out"))]),
    ("come to no join", [Fork("q", (("a", None),)), q("a", route=to("a"))]),
    ("can get a packet of 'p'", [Fork("q", (("p", None),)), Pack("p", 2, to("j")), Join("j", to("out"))]),
]


@pytest.mark.parametrize(("message", "elements"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)])
def test_what_cannot_run_is_refused(message: str, elements: list[Element]) -> None:
    with pytest.raises(BadValueError, match=message):
        Network((at([0], "q"), *elements, OUT), 1)


def test_an_unknown_target_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown element 'ou'\. Nearest: out.*target of 'q'"):
        Network((at([0], "q"), q(route=to("ou")), OUT), 1)


def test_an_unknown_gate_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown gate 'gat'\. Nearest: gate.*'q' returns"):
        Network((at([0], "gate"), Gate("gate", 1, to("q")), q(returns="gat"), OUT), 1)
    with pytest.raises(UnknownNameError, match="Unknown gate 'out'"):
        Network((at([0], "q"), q(returns="out"), OUT), 1)


@pytest.mark.parametrize("tick", [0, -5, 1.5, "s"])
def test_a_tick_that_is_none_is_refused(tick: object) -> None:
    with pytest.raises(BadValueError, match="ticks_per_second"):
        Network((at([0], "q"), q(), OUT), tick)  # type: ignore[arg-type]


def test_a_network_without_elements_is_refused() -> None:
    with pytest.raises(BadValueError, match="1 to 16384 elements"):
        Network(())


@pytest.mark.parametrize("horizon", [0, -1, 2**62, 1.5])
def test_a_horizon_that_is_none_is_refused(horizon: int) -> None:
    with pytest.raises(BadValueError, match="horizon"):
        run_callbacks(Network((at([0], "q"), q(), OUT), 1), RandomStreams(1), horizon)


def test_a_warm_up_beyond_the_horizon_is_refused() -> None:
    with pytest.raises(BadValueError, match="warm-up"):
        run_callbacks(Network((at([0], "q"), q(), OUT), 1), RandomStreams(1), 10, 11)


def test_waits_of_what_has_no_line_are_refused() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown station 'qq'\. Nearest: q"):
        run_callbacks(Network((at([0], "q"), q(), OUT), 1), RandomStreams(1), 10, observe=["qq"])


def test_areas_beyond_64_bits_are_refused() -> None:
    network = Network((at([0] * 100, "q"), q(service=takes(1e9)), OUT), 10**9)
    with pytest.raises(BadValueError, match=r"of 'q' comes near the end of 64 bits.*coarser tick"):
        run_callbacks(network, RandomStreams(1), 10**17)


def test_logic_of_its_own_is_left_to_simpy() -> None:
    network = Network((at([0], "q"), Custom("q", lambda env, item, network: iter(()), to("out")), OUT), 1)
    with pytest.raises(UnsupportedError, match="'q' has logic of its own"):
        run_callbacks(network, RandomStreams(1), 10)


class _Backwards(Arrivals):
    def mean_rate_hz(self) -> float:
        return 1.0

    def blocks(self, rng: np.random.Generator, ticks_per_second: int) -> Iterator[Ticks]:
        yield np.array([5, 3], dtype=np.int64)


def test_arrivals_that_go_back_are_refused_and_those_beyond_64_bits_never_come() -> None:
    with pytest.raises(BadValueError, match="arrivals of 'in/arrivals' are not in order"):
        run_callbacks(Network((Source("in", _Backwards(), to("q")), q(), OUT), 1), RandomStreams(1), 10)
    from simulator.queues.arrivals import Renewal

    rare = Network((Source("in", Renewal(Law("exponential", 1e9)), to("q")), q(), OUT), 10**12)
    assert run_callbacks(rare, RandomStreams(1), 2**60).end.sums["arrived"][0] == 0


def test_a_loop_of_times_that_round_to_no_tick_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.queues.callbacks.MOST_AT_ONE_TICK", 1 << 17)
    network = Network((at([3], "q"), q(service=takes(0.1), route=Route(("q", "q"), how="cycle")), OUT), 1)
    with pytest.raises(BadValueError, match=r"events at tick 3, the next one at 'q'.*finer tick"):
        run_callbacks(network, RandomStreams(1), 10)
