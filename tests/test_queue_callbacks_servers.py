"""Blocking, batches and outages on the callback engine, against traces worked out by hand (one tick a second)."""

from __future__ import annotations

from queue_traces import at, follows, lost, run, takes, total

from simulator.queues.callbacks import run_callbacks
from simulator.queues.compiled import compile_network
from simulator.queues.elements import Batch, Delay, Exit, Network, Outages, Station, to
from simulator.queues.laws import Law
from simulator.streams import RandomStreams


def outages(up: float, down: float, work: str, offset: float = 0.0, together: bool = False) -> Outages:
    """Return outages with constant times."""
    return Outages(Law("constant", up), Law("constant", down), work, together, offset)  # type: ignore[arg-type]


def test_a_server_is_blocked_until_its_target_has_a_place() -> None:
    # a: takes 1; b: takes 5, no places, blocks. Items at 0, 0, 0.
    found = run(
        40, at([0, 0, 0], "a"), Station("a", takes(1), to("b")),
        Station("b", takes(5), to("out"), places=0, when_full="block"),
    )  # fmt: skip
    # 0: a 0-1, b 1-6; 1: a 1-2, held to 6, b 6-11; 2: a 6-7, held to 11, b 11-16
    assert follows(found, "a", (1, 0), (6, 1), (11, 2))
    assert follows(found, "b", (6, 0), (11, 1), (16, 2))
    assert total(found, "a", "busy_ticks") == 3
    assert total(found, "a", "blocked_ticks") == 4 + 4
    assert total(found, "a", "area_present") == 1 + 6 + 11


def test_senders_enter_in_the_order_in_which_they_were_held() -> None:
    found = run(
        60, at([0], "b", "first"), at([1], "x", "left"), at([0], "y", "right"),
        Station("x", takes(3), to("b")), Station("y", takes(3), to("b")),
        Station("b", takes(10), to("out"), places=0, when_full="block"),
    )  # fmt: skip
    # serials: first 0, right 1 (tick 0, later element), left 2. y ends at 3, x at 4; b free at 10, 20
    assert follows(found, "y", (10, 1))
    assert follows(found, "x", (20, 2))
    assert follows(found, "b", (10, 0), (20, 1), (30, 2))


def test_a_place_that_becomes_free_goes_through_a_chain_of_blocked_servers_at_one_tick() -> None:
    stations = [
        Station("a", takes(1), to("b"), places=0, when_full="block"),
        Station("b", takes(1), to("c"), places=0, when_full="block"),
        Station("c", takes(10), to("out"), places=0, when_full="block"),
    ]
    found = run(60, at([0, 3, 6], "a"), *stations)
    # 0: a-1 b-2 c 2-12; 1: a 3-4, b 4-5, held; 2: a 6-7, held at a; at 12 b hands over, then a
    assert follows(found, "c", (12, 0), (22, 1), (32, 2))
    assert follows(found, "b", (2, 0), (12, 1), (22, 2))
    assert follows(found, "a", (1, 0), (4, 1), (12, 2))


def test_a_source_cannot_wait_for_a_full_blocking_station() -> None:
    found = run(20, at([0, 1, 5], "b"), Station("b", takes(5), to("out"), places=0, when_full="block"))
    assert follows(found, "b", (1, 1, "blocked"), (5, 0), (10, 2))
    assert follows(found, "in", (0, 0), (1, 1), (5, 2))


def test_what_comes_from_a_delay_is_held_without_a_server() -> None:
    found = run(
        40, at([0, 0, 0], "d"), Delay("d", takes(2), to("b")),
        Station("b", takes(5), to("out"), places=0, when_full="block"),
    )  # fmt: skip
    assert follows(found, "d", (2, 0), (7, 1), (12, 2))
    assert total(found, "d", "sojourn_ticks") == 2 + 7 + 12


def test_nobody_overtakes_what_is_held_even_where_it_would_fit() -> None:
    found = run(
        60, at([0, 0], "b", "full", size=10), at([1], "x", "big", size=40), at([2], "y", "small", size=5),
        Station("x", takes(1), to("b")), Station("y", takes(1), to("b")),
        Station("b", takes(10), to("out"), places_bytes=45, when_full="block"),
    )  # fmt: skip
    # b serves 0, 1 (10 bytes) waits; 2 (40 bytes) at 2 does not fit; 3 (5 bytes) at 3 would, but is held behind
    assert follows(found, "b", (10, 0), (20, 1), (30, 2), (40, 3))
    assert total(found, "y", "blocked_ticks") == 7


def test_a_batch_starts_when_it_is_full_or_the_oldest_has_waited_long_enough() -> None:
    batch = Batch(3, (2.0, 3.0, 4.0), max_wait_s=5.0)
    found = run(60, at([0, 1, 2, 10, 12], "b"), Station("b", takes(0), to("out"), batch=batch))
    # 0 1 2 start at 2, take 4; 3 at 10 waits to 15 with 4 (came at 12): two take 3
    assert follows(found, "b", (6, 0), (6, 1), (6, 2), (18, 3), (18, 4))
    assert total(found, "b", "wait_ticks") == 2 + 1 + 0 + 5 + 3
    assert total(found, "b", "busy_ticks") == 4 + 3


def test_without_a_wait_a_free_server_takes_what_is_there() -> None:
    batch = Batch(4, (5.0, 5.0, 5.0, 5.0))
    found = run(60, at([0, 1, 2, 3, 4, 4], "b"), Station("b", takes(0), to("out"), batch=batch))
    assert follows(found, "b", (5, 0), (10, 1), (10, 2), (10, 3), (10, 4), (15, 5))


def test_a_batch_takes_the_lowest_classes_first_but_its_timer_is_that_of_the_oldest() -> None:
    from simulator.queues.arrivals import Recorded
    from simulator.queues.elements import Source

    low = Source("low", Recorded((0, 1)), to("b"), classes=(0.0, 1.0))
    high = Source("high", Recorded((3,)), to("b"))
    station = Station("b", takes(0), to("out"), discipline="priority", batch=Batch(4, (2.0,) * 4, max_wait_s=6.0))
    found = run(60, low, high, station)
    assert follows(found, "b", (8, 2), (8, 0), (8, 1))


def test_a_batch_whose_item_is_held_keeps_its_server_blocked() -> None:
    found = run(
        60, at([0, 0, 0], "a"), Station("a", takes(0), to("b"), batch=Batch(2, (3.0, 3.0))),
        Station("b", takes(4), to("out"), places=0, when_full="block"),
    )  # fmt: skip
    # 0 alone 0-3; 1, 2 3-6: 0 in b 3-7, so 1 is held to 7, then 2 to 11
    assert follows(found, "a", (3, 0), (7, 1), (11, 2))
    assert total(found, "a", "blocked_ticks") == 5
    assert follows(found, "b", (7, 0), (11, 1), (15, 2))


def test_work_goes_on_after_an_outage() -> None:
    station = Station("q", takes(4), to("out"), outages=outages(3, 10, "resume"))
    found = run(30, at([1], "q"), station)
    assert follows(found, "q", (15, 0))  # 1-3, 13-15
    assert total(found, "q", "busy_ticks") == 4
    # down 3-13, 16-26, 29-30
    assert total(found, "q", "down_ticks") == 10 + 10 + 1


def test_work_begins_anew_after_an_outage() -> None:
    found = run(40, at([3], "q"), Station("q", takes(4), to("out"), outages=outages(5, 2, "restart")))
    assert follows(found, "q", (11, 0))  # 3-5 in vain, 7-11
    assert total(found, "q", "busy_ticks") == 2 + 4


def test_work_is_lost_in_an_outage_and_what_waits_starts_after_it() -> None:
    found = run(12, at([3, 4], "q"), Station("q", takes(4), to("out"), outages=outages(5, 2, "lose")))
    assert follows(found, "q", (5, 0, "failure"), (11, 1))
    assert lost(found, "q", "failure") == 1
    assert total(found, "q", "area_present") == 2 + 7


def test_a_batch_that_fails_loses_all_its_items() -> None:
    station = Station("q", takes(0), to("out"), batch=Batch(2, (4.0, 4.0), 1.0), outages=outages(5, 2, "lose"))
    found = run(12, at([3, 3], "q"), station)
    assert follows(found, "q", (5, 0, "failure"), (5, 1, "failure"))


def test_work_ends_within_a_duty_cycle_that_lets_it_finish() -> None:
    station = Station("q", takes(4), to("out"), servers=2, outages=outages(5, 10, "finish", together=True))
    found = run(25, at([3, 4, 6], "q"), station)
    assert follows(found, "q", (7, 0), (8, 1), (19, 2))
    # down: 5-15 of two servers, less 2 and 3 ticks of work; 20-25 of two servers
    assert total(found, "q", "down_ticks") == 20 - 5 + 10


def test_each_server_has_outages_of_its_own() -> None:
    law = Law("uniform", 20.0, 0.5)
    station = Station("q", takes(2), to("out"), servers=3, outages=Outages(law, law))
    network = Network((station, at([0], "q"), Exit("out")), ticks_per_second=1)
    compiled = compile_network(network, RandomStreams(1))
    switches = [compiled.feeds[feed].next_block().tolist() for feed in compiled.outage_feeds[0]]
    pairs = [pair for each in switches for pair in zip(each[::2], each[1::2], strict=True)]
    expected = sum(min(up, 100) - min(down, 100) for down, up in pairs)
    found = run_callbacks(network, RandomStreams(1), 100)
    assert len({tuple(each) for each in switches}) == 3
    assert total(found, "q", "down_ticks") == expected > 0


def test_an_offset_moves_all_outages() -> None:
    found = run(30, at([0], "q"), Station("q", takes(8), to("out"), outages=outages(3, 10, "resume", offset=4.0)))
    assert follows(found, "q", (18, 0))  # 0-7, 17-18


def test_a_blocked_server_that_goes_down_still_hands_over() -> None:
    found = run(
        30, at([0, 0, 0], "a"), Station("a", takes(1), to("b"), outages=outages(3, 10, "lose")),
        Station("b", takes(5), to("out"), places=0, when_full="block"),
    )  # fmt: skip
    # a: item 1 held from 2, down 3-13: handed over at 6; item 2 starts at 13
    assert follows(found, "a", (1, 0), (6, 1), (14, 2))
    assert total(found, "a", "blocked_ticks") == 4
    assert total(found, "a", "down_ticks") == 7 + 10 + 1  # 6-13, 16-26, 29-30
    assert total(found, "a", "busy_ticks") == 3
