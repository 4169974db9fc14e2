"""What engines run on: numbers of elements and routes, durations that are ready, and streams by name."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.queues.arrivals import BLOCK, Periodic, poisson
from simulator.queues.compiled import compile_network, cumulative_shares
from simulator.queues.elements import Exit, Network, Outages, Route, Service, Source, Station, to
from simulator.queues.feeds import OUTAGE_BLOCK, one_rounded
from simulator.queues.laws import EXPONENTIAL, Law
from simulator.streams import RandomStreams

TPS = 1_000
SOURCE = Source("in", poisson(1.0), to("q"))


def station(**more: object) -> Network:
    """Return a network of one station."""
    made = Station("q", **{"service": Service((0.25,), EXPONENTIAL), "route": to("out"), **more})  # type: ignore[arg-type]
    return Network((SOURCE, made, Exit("out")), TPS)


def test_ready_ticks_follow_the_rule_of_the_law() -> None:
    compiled = compile_network(station(), RandomStreams(4))
    assert compiled.service_ready[1].all()
    found = compiled.feeds[compiled.service_feed[1, 0]].next_block()
    variates = RandomStreams(4).get("q/service").standard_exponential(BLOCK)
    assert found.tolist() == [math.floor((0.25 * TPS) * u + 0.5) for u in variates.tolist()]


@pytest.mark.parametrize("more", [{"speeds": (2.0,)}, {"service": Service((0.25, 1e-3), EXPONENTIAL)}])
def test_durations_that_depend_on_server_or_bytes_are_not_ready(more: dict[str, object]) -> None:
    compiled = compile_network(station(**more), RandomStreams(4))
    assert not compiled.service_ready[1].any()
    assert (compiled.service_ticks[1] == -1).all()
    variates = RandomStreams(4).get("q/service").standard_exponential(BLOCK)
    assert (compiled.feeds[compiled.service_feed[1, 0]].next_block() == variates).all()


def test_constant_durations_and_routes_to_one_target_draw_nothing() -> None:
    compiled = compile_network(station(service=Service((0.25,))), RandomStreams(4))
    assert [feed.name for feed in compiled.feeds] == ["in/arrivals"]
    assert compiled.service_ticks[1].tolist() == [250]
    assert compiled.fixed[:, 0].tolist() == [1, 2, -1]


def test_each_class_may_have_a_stream_of_its_own() -> None:
    source = Source("in", poisson(1.0), to("q"), classes=(0.5, 0.5))
    services = {0: Service((1.0,), EXPONENTIAL), 1: Service((1.0,), Law("gamma", cv=0.5))}
    route = Route(("out", "q"), {0: (1.0, 0.0), 1: (0.5, 0.5)})
    compiled = compile_network(Network((source, Station("q", services, route), Exit("out")), TPS), RandomStreams(4))
    names = {feed.name for feed in compiled.feeds}
    assert names == {"in/arrivals", "in/class", "q/service/0", "q/service/1", "q/route"}
    assert compiled.fixed[1].tolist() == [2, -1]


def test_switching_ticks_are_a_block_of_up_times_and_a_block_of_down_times_in_turn() -> None:
    law = Law("exponential", 3.0)
    compiled = compile_network(station(outages=Outages(law, law, offset_s=0.5)), RandomStreams(4))
    found = compiled.feeds[compiled.outage_feeds[1][0]]
    rng = RandomStreams(4).get("q/outages/0")
    expected, tick = [], 500
    for _ in range(2):
        up, down = rng.standard_exponential(OUTAGE_BLOCK) * 3.0, rng.standard_exponential(OUTAGE_BLOCK) * 3.0
        for gap in np.stack([up, down], axis=1).ravel().tolist():
            tick += math.floor(gap * TPS + 0.5)
            expected.append(tick)
    assert [*found.next_block().tolist(), *found.next_block().tolist()] == expected


def test_every_uniform_variate_finds_a_target() -> None:
    shares = cumulative_shares((0.1,) * 10 + (0.0,))
    assert shares[9] == shares[10] == 1.0
    assert np.searchsorted(shares, np.nextafter(1.0, 0.0), side="right") == 9
    assert np.searchsorted(cumulative_shares((0.0, 1.0)), 0.0, side="right") == 1


def test_arrivals_of_a_trace_end() -> None:
    from simulator.queues.arrivals import Recorded

    source = Source("in", Recorded((1.0, 2.0)), to("out"))
    feed = compile_network(Network((source, Exit("out")), TPS), RandomStreams(1)).feeds[0]
    assert feed.next_block().tolist() == [1_000, 2_000]
    assert len(feed.next_block()) == len(feed.next_block()) == 0


def test_bytes_that_all_items_share_are_known() -> None:
    def only(*sizes: Law) -> int:
        sources = [Source(f"in{n}", Periodic(1.0), to("out"), size_bytes=size) for n, size in enumerate(sizes)]
        return compile_network(Network((*sources, Exit("out"))), RandomStreams(1)).only_bytes

    assert only(Law("constant", 7.4)) == 7
    assert only(Law("constant", 7.0), Law("constant", 8.0)) == -1
    assert only(Law("exponential", 7.0)) == -1


@pytest.mark.parametrize(("value", "ticks"), [(-3.0, 0), (0.49, 0), (0.5, 1), (2.5, 3), (1e30, 2**61)])
def test_durations_are_rounded_half_up_and_stay_within_64_bits(value: float, ticks: int) -> None:
    assert one_rounded(value) == ticks
