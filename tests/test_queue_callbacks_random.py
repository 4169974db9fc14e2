"""Random networks on the callback engine: they keep every law, repeat exactly, and do not disturb each other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queue_networks import random_network

from foundation.errors import UnknownNameError
from simulator.queues.arrivals import Recorded, poisson
from simulator.queues.callbacks import CallbackNetwork, run_callbacks
from simulator.queues.compiled import compile_network
from simulator.queues.elements import Custom, Exit, Network, Outages, Route, Service, Source, Station, to
from simulator.queues.laws import EXPONENTIAL, Law
from simulator.queues.record import RunRecord
from simulator.streams import RandomStreams

SECONDS = 80
EXPONENTIAL_SERVICE = Service((1.0,), EXPONENTIAL)


def run(network: Network, seed: int = 3, **more: int) -> RunRecord:
    return run_callbacks(network, RandomStreams(seed), SECONDS * network.ticks_per_second, **more)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_a_random_network_keeps_every_law_and_repeats_exactly(seed: int) -> None:
    network = random_network(seed)
    first = run(network, seed)  # `check_record` runs within
    again = run(network, seed, warm_ticks=SECONDS * network.ticks_per_second // 3, sample_ticks=7)
    assert first.trace_hash == again.trace_hash
    for name, column in first.end.sums.items():
        assert column.tolist() == again.end.sums[name].tolist(), name
    assert first.hashes.tolist() == again.hashes.tolist()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_a_run_that_is_driven_event_by_event_is_the_same_run(seed: int, pause: int) -> None:
    network = random_network(seed)
    whole = run(network, seed)
    driven = CallbackNetwork(compile_network(network, RandomStreams(seed)), whole.end.tick)
    driven.run_until(pause * network.ticks_per_second)
    for _ in range(20):
        driven.run_one()
    tick = driven.next_tick()
    assert tick is None or tick >= driven.now
    driven.run_until(whole.end.tick)
    record = driven.record()
    assert record.trace_hash == whole.trace_hash
    assert record.events == whole.events


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_other_seeds_give_other_traces_where_anything_is_drawn(seed: int) -> None:
    network = Network((Source("in", poisson(1.0), to("q")), Station("q", EXPONENTIAL_SERVICE, to("out")), Exit("out")))
    assert run(network, seed).trace_hash != run(network, seed + 1).trace_hash


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_the_way_of_plain_stations_changes_nothing(seed: int) -> None:
    network = random_network(seed, plain=bool(seed % 2))
    quick = run(network, seed, warm_ticks=network.ticks_per_second)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulator.queues.callbacks.serves_in_order", lambda compiled, index: False)
        general = run(network, seed, warm_ticks=network.ticks_per_second)
    assert quick.trace_hash == general.trace_hash
    for name, column in quick.end.sums.items():
        assert column.tolist() == general.end.sums[name].tolist(), name
    assert (quick.end.histogram == general.end.histogram).all()
    assert quick.end.area_bytes.tolist() == pytest.approx(general.end.area_bytes.tolist())


def departures(record: RunRecord, name: str) -> list[int]:
    return record.sojourns[name].tolist()


def test_an_added_element_with_streams_of_its_own_shifts_nobody_else() -> None:
    own = (
        Source("in", poisson(1.0), Route(("q", "out"), (0.7, 0.3))),
        Station("q", EXPONENTIAL_SERVICE, to("out"), outages=Outages(EXPONENTIAL, EXPONENTIAL)),
        Exit("out"),
    )
    other = (
        Source("in2", poisson(2.0), Route(("q2", "out2"), (0.5, 0.5))),
        Station("q2", Service((0.2,), Law("gamma", cv=2.0)), to("out2"), servers=2),
        Exit("out2"),
    )
    alone = run(Network(own))
    for order in (own + other, other + own):
        together = run(Network(order))
        assert departures(together, "out") == departures(alone, "out")
        for name in ("arrived", "left", "wait_ticks", "busy_ticks", "down_ticks", "area_waiting"):
            assert together.end.sums[name][together.at("q")] == alone.end.sums[name][alone.at("q")]


def test_two_variants_of_a_system_see_the_same_arrivals() -> None:
    source, station = Source("in", poisson(1.0), to("q")), Station("q", EXPONENTIAL_SERVICE, to("out"))
    slow = run(Network((source, station, Exit("out"))))
    fast = run(Network((source, replace(station, servers=3), Exit("out"))))
    assert slow.hashes[0] == fast.hashes[0]
    assert slow.trace_hash != fast.trace_hash


def test_blocks_of_variates_that_are_used_up_are_followed_by_the_next() -> None:
    # more than two blocks of 16,384 arrivals; a load of 0.5 gives a mean wait of 1
    network = Network(
        (Source("in", poisson(0.5), to("q")), Station("q", EXPONENTIAL_SERVICE, to("out")), Exit("out")), 10**6
    )
    record = run_callbacks(network, RandomStreams(5), 80_000 * 10**6)
    assert record.end.sums["left"][0] > 2.4 * 16_384
    wait = record.end.sums["wait_ticks"][1] / record.end.sums["started"][1] / 10**6
    assert wait == pytest.approx(1.0, abs=4 * np.sqrt(28 / 40_000))


def test_a_long_chain_of_blocked_stations_gives_way_at_once() -> None:
    count = 400
    stations = [
        Station(f"{n}", Service((1.0,)), to(f"{n + 1}" if n + 1 < count else "last"), places=0, when_full="block")
        for n in range(count)
    ]
    last = Station("last", Service((9_000.0,)), to("out"), places=0, when_full="block")
    network = Network((Source("in", poisson(1.0), to("0")), *stations, last, Exit("out")), 1)
    record = run_callbacks(network, RandomStreams(1), 12_000)
    # the first item leaves `last` 9,000 s after about 400 s: every station then hands over at that tick, each within
    # the call of the one before it, deeper than Python goes by itself
    assert record.end.sums["left"][record.at("out")] == 1
    assert record.present[1:-1].sum() >= count


def test_logic_from_outside_takes_items_and_lets_them_go() -> None:
    custom = Custom("own", lambda env, item, network: iter(()), to("q"))
    station = Station("q", Service((2.0,)), to("out"), places=0, when_full="block")
    network = Network((Source("in", Recorded((1.0, 2.0, 3.0)), to("own")), custom, station, Exit("out")), 1)
    taken: list[tuple[str, int, int]] = []
    items = []

    def take(name: str, item: list[int], now: int) -> None:
        taken.append((name, item[0], now))
        items.append(item)

    driven = CallbackNetwork(compile_network(network, RandomStreams(1)), 20, taken=take)
    driven.run_until(3)
    assert taken == [("own", 0, 1), ("own", 1, 2), ("own", 2, 3)]
    driven.leave("own", items[0], 3)  # q: 3 to 5
    driven.leave("own", items[1], 3)  # held until 5, q: 5 to 7
    driven.leave("own", items[2], 3, "out")
    assert driven.next_tick() == 5
    assert not driven.enter("q", driven.new_item(0, 0, 3), 3)
    driven.run_until(20)
    record = driven.record("stopped for a test")
    assert record.failure == "stopped for a test"
    assert record.sojourns["out"].tolist() == [0, 4, 5]
    assert record.end.sums["sojourn_ticks"][1] == 2 + 3 + 0
    with pytest.raises(UnknownNameError, match="Unknown element 'nowhere'"):
        driven.leave("own", items[2], 20, "nowhere")


def test_an_error_within_a_run_keeps_what_was_recorded_until_then() -> None:
    custom = Custom("own", lambda env, item, network: iter(()), to("out"))
    network = Network((Source("in", Recorded((1.0, 2.0, 7.0)), to("own")), custom, Exit("out")), 1)

    def take(name: str, item: list[int], now: int) -> None:
        if now == 7:
            raise RuntimeError("no more")

    driven = CallbackNetwork(compile_network(network, RandomStreams(1)), 20, taken=take)
    with pytest.raises(RuntimeError, match="no more"):
        driven.run_until(20)
    record = driven.record("no more")
    assert record.end.tick == 7
    assert record.present.tolist() == [0, 3, 0]
    assert record.events == 2
