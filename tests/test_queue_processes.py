"""Elements with logic of their own, on simpy: exact against the plain engine, and nothing lost when logic fails."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest
import simpy

from foundation.errors import UnknownNameError
from simulator.queues.arrivals import Arrivals, Periodic, Recorded, poisson
from simulator.queues.elements import Custom, Delay, Exit, Gate, Network, Route, Service, Source, Station, to
from simulator.queues.laws import EXPONENTIAL
from simulator.queues.processes import CustomLogicError, LogicItem, LogicNetwork
from simulator.queues.replications import replicate
from simulator.queues.run import run_network
from simulator.queues.statistics import NetworkRun

US = 10**6
Logic = Callable[[simpy.Environment, LogicItem, LogicNetwork], Any]
Steps = Generator[Any, Any, Any]


def one_server(env: simpy.Environment, item: LogicItem, network: LogicNetwork) -> Steps:
    """One server of mean 1 s, first come first served, as a simpy user writes it."""
    server = network.shared("server", lambda: simpy.Resource(env, capacity=1))
    with server.request() as turn:
        yield turn
        yield env.timeout(network.ticks(network.random("line/service").standard_exponential()))


def around(logic: Logic, arrivals: Arrivals | None = None, *more: Any, route: Route | None = None) -> Network:
    """Return a network of a source, one custom element `line` and an exit `out`."""
    source = Source("in", arrivals or poisson(0.8), to("line"))
    return Network((source, Custom("line", logic, route or to("out")), *more, Exit("out")), US)


def station() -> Network:
    return Network(
        (Source("in", poisson(0.8), to("line")), Station("line", Service((1.0,), EXPONENTIAL), to("out")), Exit("out")),
        US,
    )  # fmt: skip


def test_a_resource_of_simpy_gives_the_times_of_a_station_tick_for_tick() -> None:
    """The same streams: each item waits, is served and leaves at the same ticks as on the plain engine."""
    own = run_network(around(one_server), horizon_s=5000.0, warm_up_s=100.0)
    ours = run_network(station(), horizon_s=5000.0, warm_up_s=100.0, engine="callbacks")
    assert own.record.engine == "simpy"
    np.testing.assert_array_equal(own.record.sojourns["out"], ours.record.sojourns["out"])
    assert own.trace_hash == ours.trace_hash
    assert own.element("line").mean_present == ours.element("line").mean_present


def test_mm1_on_simpy_and_on_callbacks_agrees_with_theory() -> None:
    for network, engine in ((around(one_server), "simpy"), (station(), "callbacks")):
        found = replicate(network, 12, horizon_s=9000.0, warm_up_s=1000.0, seed=11, engine=engine)  # type: ignore[arg-type]
        waits = found.estimate("line.mean_sojourn_s")
        # Wq = rho / (1 - rho) = 4 at 0.8, and 1 s of service.
        assert waits.value - 1 == pytest.approx(4.0, abs=4 * waits.standard_error)
        assert waits.standard_error < 0.4


def test_logic_that_never_returns_is_told_with_the_time_since_when() -> None:
    def forever(env: simpy.Environment, item: LogicItem, network: LogicNetwork) -> Steps:
        yield env.event()

    run = run_network(around(forever, Periodic(1.0, 20.0)), horizon_s=1000.0)
    assert run.deadlock == ("line",)
    assert 20.0 <= run.deadlock_since_s <= 20.0 + 1000.0 / 64
    assert run_network(around(one_server), horizon_s=1000.0).deadlock == ()


def test_plain_functions_are_routes() -> None:
    def by_size(env: simpy.Environment, item: LogicItem, network: LogicNetwork) -> str | None:
        return ("even", "odd")[item.serial % 2] if item.serial < 10 else None

    network = Network(
        (
            Source("in", Periodic(1.0), to("sort")),
            Custom("sort", by_size, Route(("odd", "even"), (1.0, 0.0))),
            Exit("odd"),
            Exit("even"),
        ),
        1000,
    )
    run = run_network(network, horizon_s=19.5)
    assert len(run.record.sojourns["even"]) == 5
    assert len(run.record.sojourns["odd"]) == 15  # five named, ten by the route


def test_logic_sees_its_item_and_the_network() -> None:
    seen: list[tuple[int, int, float, float, int, int]] = []

    def look(env: simpy.Environment, item: LogicItem, network: LogicNetwork) -> Steps:
        yield env.timeout(network.ticks(0.25))
        seen.append(
            (item.serial, item.size_bytes, item.born_s, network.now_s, network.present("line"), network.waiting("next"))
        )

    network = around(look, Recorded((1.0, 1.1, 4.0)), Station("next", Service((1.0,)), to("out")), route=to("next"))
    run_network(network, horizon_s=10.0)
    assert seen == [(0, 0, 1.0, 1.25, 2, 0), (1, 0, 1.1, 1.35, 1, 0), (2, 0, 4.0, 4.25, 1, 0)]


def test_networks_with_custom_logic_keep_their_laws_and_repeat() -> None:
    """Feedback through a blocking station and a gate, with a retry that custom logic decides."""

    def retry(env: simpy.Environment, item: LogicItem, network: LogicNetwork) -> Steps:
        yield env.timeout(network.ticks(0.1))
        return "gate" if network.random("retry/coin").random() < 0.3 else "out"

    def network() -> Network:
        return Network(
            (
                Source("in", poisson(0.5), to("gate")),
                Gate("gate", 3, to("work")),
                Station("work", Service((1.0,), EXPONENTIAL), to("flight"), places=1, when_full="block"),
                Delay("flight", Service((0.5,)), to("retry"), returns="gate"),
                Custom("retry", retry, Route(("gate", "out"))),
                Exit("out"),
            ),
            US,
        )

    first, again = (run_network(network(), horizon_s=3000.0, seed=4) for _ in range(2))
    assert first.trace_hash == again.trace_hash
    assert first.element("work").arrived_hz == pytest.approx(0.5 / 0.7, rel=0.1)


def fails_at(serial: int) -> Logic:
    def logic(env: simpy.Environment, item: LogicItem, network: LogicNetwork) -> Steps:
        yield env.timeout(network.ticks(0.5))
        if item.serial == serial:
            raise ZeroDivisionError("no weights")

    return logic


def failure(network: Network, horizon_s: float = 100.0) -> CustomLogicError:
    with pytest.raises(CustomLogicError) as found:
        run_network(network, horizon_s=horizon_s)
    return found.value


def test_failing_logic_names_element_item_and_time_and_keeps_the_record() -> None:
    error = failure(around(fails_at(7), Periodic(1.0)))
    for part in ("'line'", "item 7", "born at 7 s", "ZeroDivisionError: no weights", "Time 7.5 s"):
        assert part in str(error)
    assert isinstance(error.__cause__, ZeroDivisionError)
    record = error.record
    assert record is not None
    assert record.end.tick == 7_500_000
    assert record.sojourns["out"].tolist() == [500_000] * 7
    assert record.present[record.at("line")] == 1
    assert record.end.sums["arrived"][record.at("line")] == 8
    assert "item 7" in record.failure


def test_the_error_keeps_its_record_on_the_way_out_of_a_process() -> None:
    error = pickle.loads(pickle.dumps(failure(around(fails_at(3), Periodic(1.0)))))
    assert error.record.sojourns["out"].tolist() == [500_000] * 3
    assert "item 3" in str(error)


def test_functions_that_fail_at_once_are_told_the_same_way() -> None:
    def wrong(env: simpy.Environment, item: LogicItem, network: LogicNetwork) -> str:
        raise KeyError(item.serial)

    error = failure(around(wrong, Periodic(1.0, 2.0)))
    assert "item 0" in str(error)
    assert "Time 2 s" in str(error)
    assert error.record is not None
    assert error.record.present.tolist() == [0, 1, 0]


def test_processes_that_logic_starts_beside_its_own_are_told_too() -> None:
    def beside(env: simpy.Environment) -> Steps:
        yield env.timeout(10)
        raise OSError("disk gone")

    def logic(env: simpy.Environment, item: LogicItem, network: LogicNetwork) -> Steps:
        env.process(beside(env))
        yield env.timeout(US)

    error = failure(around(logic, Periodic(1.0)))
    assert "disk gone" in str(error)
    assert error.record is not None


@pytest.mark.parametrize("wait", [0.5, 1.0, math.pi])
def test_times_that_are_no_whole_ticks_are_refused(wait: float) -> None:
    def logic(env: simpy.Environment, item: LogicItem, network: LogicNetwork) -> Steps:
        yield env.timeout(wait)

    error = failure(around(logic, Periodic(1.0)))
    assert "whole ticks" in str(error)
    assert error.record is not None


@pytest.mark.parametrize("target", ["in", "nowhere", 3])
def test_targets_that_the_route_does_not_have_are_refused(target: Any) -> None:
    error = failure(around(lambda env, item, network: target, Periodic(1.0)))
    assert "none of its route's" in str(error)


def test_items_that_go_round_without_time_are_stopped() -> None:
    def first(env: simpy.Environment, item: LogicItem, network: LogicNetwork) -> str:
        return "again"

    def again(env: simpy.Environment, item: LogicItem, network: LogicNetwork) -> str:
        return "line"

    network = around(first, Periodic(1.0), Custom("again", again, to("line")), route=Route(("again", "out")))
    assert "without any time" in str(failure(network))


def test_an_unknown_element_is_told_to_the_logic() -> None:
    def logic(env: simpy.Environment, item: LogicItem, network: LogicNetwork) -> None:
        network.present("lime")

    error = failure(around(logic, Periodic(1.0)))
    assert isinstance(error.__cause__, UnknownNameError)


def test_custom_elements_run_on_simpy_alone() -> None:
    from foundation.errors import UnsupportedError

    for engine in ("callbacks", "kernel"):
        with pytest.raises(UnsupportedError, match="simpy"):
            run_network(around(one_server), horizon_s=1.0, engine=engine)


def test_networks_without_custom_elements_run_on_simpy_with_the_same_trace() -> None:
    def run(engine: Any) -> NetworkRun:
        return run_network(station(), horizon_s=500.0, engine=engine)

    assert run("simpy").trace_hash == run("callbacks").trace_hash
