"""Stations on the callback engine, against traces worked out by hand (one tick a second)."""

from __future__ import annotations

import numpy as np
from queue_traces import at, follows, lost, run, takes, total

from simulator.queues.arrivals import Recorded
from simulator.queues.elements import Route, Source, Station, to
from simulator.queues.laws import Law


def test_one_server_serves_in_order_and_counts_waits_and_areas() -> None:
    # in: 0 1 2 9; each takes 3: ends 3 6 9 12; waits 0 2 4 0
    found = run(20, at([0, 1, 2, 9], "q"), Station("q", takes(3), to("out")), observe=["q"])
    assert follows(found, "in", (0, 0), (1, 1), (2, 2), (9, 3))
    assert follows(found, "q", (3, 0), (6, 1), (9, 2), (12, 3))
    assert follows(found, "out", (3, 0), (6, 1), (9, 2), (12, 3))
    assert found.sojourns["out"].tolist() == [3, 5, 7, 3]
    assert found.waits["q"].tolist() == [0, 2, 4, 0]
    assert (total(found, "q", "wait_ticks"), total(found, "q", "waited"), total(found, "q", "started")) == (6, 2, 4)
    assert total(found, "q", "busy_ticks") == 12
    assert total(found, "q", "area_waiting") == 6
    assert total(found, "q", "area_present") == 18
    # waiting: 0 in [0,1), 1 in [1,2), 2 in [2,3), 1 in [3,6), 0 after
    assert found.end.histogram[found.at("q"), :4].tolist() == [15, 4, 1, 0]
    assert found.most_waiting[found.at("q")] == 2


def test_what_is_present_at_the_horizon_is_counted() -> None:
    found = run(5, at([0, 1, 2], "q"), Station("q", takes(3), to("out")))
    assert found.present.tolist() == [0, 2, 0]
    assert found.present_since.tolist() == [0, (5 - 1) + (5 - 2), 0]
    assert total(found, "q", "busy_ticks") == 5


def test_an_event_at_the_horizon_still_runs() -> None:
    assert follows(run(3, at([0], "q"), Station("q", takes(3), to("out"))), "out", (3, 0))


def test_a_full_station_drops_and_a_service_that_ends_at_the_same_tick_makes_room_first() -> None:
    # server busy 0-3 with item 0, item 1 waits; item 2 at tick 2 is lost; item 3 at 3 comes after the end of item 0
    found = run(20, at([0, 1, 2, 3], "q"), Station("q", takes(3), to("out"), places=1))
    assert follows(found, "q", (2, 2, "full"), (3, 0), (6, 1), (9, 3))
    assert lost(found, "q", "full") == 1
    assert total(found, "q", "arrived") == 4


def test_no_places_is_a_loss_system() -> None:
    found = run(20, at([0, 1, 4], "q"), Station("q", takes(3), to("out"), places=0))
    assert follows(found, "q", (1, 1, "full"), (3, 0), (7, 2))


def test_a_free_server_with_the_lowest_number_takes_an_item() -> None:
    # ends at the same tick come in the order of servers: item 2 is on server 0 (free since 2), item 1 on server 1
    found = run(20, at([0, 1, 2], "q"), Station("q", {0: takes(2)}, to("out"), servers=2, speeds=(1.0, 0.5)))
    # item 0: server 0, 0-2; item 1: server 1 at half speed, 1-5; item 2: server 0 (its end runs first), 2-4
    assert follows(found, "q", (2, 0), (4, 2), (5, 1))


def test_the_fastest_free_server_goes_first() -> None:
    found = run(20, at([0, 0, 0], "q"), Station("q", takes(6), to("out"), servers=3, speeds=(1.0, 3.0, 2.0)))
    assert follows(found, "q", (2, 0), (3, 1), (6, 2))


def test_several_servers_share_one_line() -> None:
    found = run(20, at([0, 0, 1, 1], "q"), Station("q", takes(4), to("out"), servers=2))
    assert follows(found, "q", (4, 0), (4, 1), (8, 2), (8, 3))
    assert total(found, "q", "busy_ticks") == 16
    assert total(found, "q", "area_waiting") == 6


def test_the_lowest_class_goes_first_and_within_a_class_the_first_come() -> None:
    low = Source("low", Recorded((0, 1, 3)), to("q"), classes=(0.0, 1.0))
    high = Source("high", Recorded((2, 4)), to("q"))
    found = run(40, low, high, Station("q", takes(5), to("out"), discipline="priority"))
    # serials: low 0 at 0, low 1 at 1, high 2 at 2, low 3 at 3, high 4 at 4
    assert follows(found, "q", (5, 0), (10, 2), (15, 4), (20, 1), (25, 3))


def test_services_and_routes_follow_the_class() -> None:
    a = Source("a", Recorded((0,)), to("q"))
    b = Source("b", Recorded((0,)), to("q"), classes=(0.0, 1.0))
    route = Route(("x", "out"), {0: (1.0, 0.0), 1: (0.0, 1.0)})
    station = Station("q", {0: takes(2), 1: takes(3)}, route)
    found = run(40, a, b, station, Station("x", takes(4), to("out")))
    assert follows(found, "q", (2, 0), (5, 1))
    assert follows(found, "x", (6, 0))
    assert follows(found, "out", (5, 1), (6, 0))


def test_a_service_is_a_polynomial_of_the_bytes_rounded_once() -> None:
    # 1 + 0.25 x 7 + 0.01 x 49 = 3.24 -> 3
    found = run(20, at([0], "q", size=7), Station("q", takes(1, 0.25, 0.01), to("out")))
    assert follows(found, "q", (3, 0))
    assert total(found, "q", "bytes_in") == total(found, "q", "bytes_out") == 7


def test_half_a_tick_rounds_up() -> None:
    found = run(20, at([0, 10], "q"), Station("q", takes(2.5), to("out")))
    assert follows(found, "q", (3, 0), (13, 1))


def test_waiting_bytes_are_limited() -> None:
    small, large = at([0, 2], "q", "small", size=10), at([1], "q", "large", size=30)
    found = run(40, small, large, Station("q", takes(5), to("out"), places_bytes=30))
    # 0 is served, 1 (30 bytes) waits, 2 (10 bytes) does not fit
    assert follows(found, "q", (2, 2, "full"), (5, 0), (10, 1))
    assert total(found, "q", "bytes_lost") == 10
    assert found.end.area_bytes[found.at("q")] == 30 * 4


def test_sharing_gives_each_item_a_tick_of_work_a_round() -> None:
    # 0 alone to 2 (2 of 4 done), then rounds of 2 ticks with item 1: both need 2 more rounds and end at 6
    found = run(20, at([0, 2], "q"), Station("q", {0: takes(4)}, to("out"), discipline="share"))
    # item 0: work 4; item 1: work 4: at 6 item 0 has 4; item 1 has 2, alone to 8
    assert follows(found, "q", (6, 0), (8, 1))
    assert total(found, "q", "busy_ticks") == 8
    assert total(found, "q", "area_present") == 6 + 6


def test_a_shared_station_takes_an_arrival_in_at_the_end_of_the_round() -> None:
    # items 0, 1 from tick 0 with rounds of 2; item 2 comes at 3, joins at 4 (round 2 done): one round of 3 to 7
    found = run(30, at([0, 0, 3], "q"), Station("q", takes(3), to("out"), discipline="share"))
    # at 7 items 0 and 1 have 3; item 2 has 1 and ends alone at 9
    assert follows(found, "q", (7, 0), (7, 1), (9, 2))


def test_a_full_shared_station_drops() -> None:
    found = run(30, at([0, 1, 2], "q"), Station("q", takes(4), to("out"), discipline="share", places=1))
    assert lost(found, "q", "full") == 1
    assert total(found, "q", "started") == 2


def test_a_plain_station_gives_what_a_general_one_gives() -> None:
    from simulator.queues import callbacks

    source = Source("in", Recorded(tuple(np.cumsum(np.arange(900) * 7 % 5).tolist())), to("q"))
    station = Station("q", {0: takes(2)}, Route(("out", "q2"), (0.5, 0.5)), places=4)
    network = (source, station, Station("q2", takes(3), to("out")))
    plain = run(1_500, *network, warm=333, observe=["q"])
    before, callbacks.serves_in_order = callbacks.serves_in_order, lambda compiled, index: False
    try:
        general = run(1_500, *network, warm=333, observe=["q"])
    finally:
        callbacks.serves_in_order = before
    assert plain.trace_hash == general.trace_hash
    for name, column in general.end.sums.items():
        assert plain.end.sums[name].tolist() == column.tolist(), name
        assert plain.warm.sums[name].tolist() == general.warm.sums[name].tolist(), name
    assert (plain.end.histogram == general.end.histogram).all()
    assert (plain.warm.histogram == general.warm.histogram).all()
    assert plain.waits["q"].tolist() == general.waits["q"].tolist()
    assert plain.most_waiting.tolist() == general.most_waiting.tolist()
    assert plain.present_since.tolist() == general.present_since.tolist()


def test_random_services_have_the_mean_that_they_are_given() -> None:
    source = Source("in", Recorded(tuple(range(0, 40_000, 40))), to("q"))
    spread = Law("gamma", cv=0.5)
    found = run(50_000, source, Station("q", type(takes(1))((10.0,), spread), to("out")))
    assert abs(found.sojourns["out"].mean() - 10) < 4 * 5 / np.sqrt(1_000) + 0.5
