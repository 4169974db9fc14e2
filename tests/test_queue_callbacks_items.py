"""Delays, rules, gates, parts, packets, routes, samples and warm-up, against traces worked out by hand."""

from __future__ import annotations

from queue_traces import at, follows, lost, run, takes, total

from simulator.queues.elements import Delay, Exit, Fork, Gate, Join, Pack, Route, Rules, Station, Unpack, to


def test_items_of_a_delay_do_not_wait_for_each_other() -> None:
    found = run(20, at([0, 1], "d", "long", size=9), at([2], "d", "short", size=1), Delay("d", takes(0, 1), to("out")))
    assert follows(found, "d", (3, 2), (9, 0), (10, 1))
    assert total(found, "d", "area_present") == 1 + 9 + 9


def test_ends_of_a_delay_at_one_tick_come_in_the_order_of_serials() -> None:
    found = run(20, at([0], "d", "long", size=5), at([3], "d", "short", size=2), Delay("d", takes(0, 1), to("out")))
    assert follows(found, "d", (5, 0), (5, 1))


def test_a_rule_drops_the_item_that_would_be_one_too_many() -> None:
    # at most 2 in 5 s: 0 1 pass; 3, 4 lie within 5 of tick 0; 5 passes (5 - 0 is not below 5); 6 passes (6 - 1)
    found = run(20, at([0, 1, 3, 4, 5, 6, 7], "r"), Rules("r", to("out"), rules=((2, 5.0),)))
    assert follows(found, "r", (0, 0), (1, 1), (3, 2, "rule"), (4, 3, "rule"), (5, 4), (6, 5), (7, 6, "rule"))


def test_dead_time_that_is_not_extendable_counts_from_what_was_accepted() -> None:
    found = run(20, at([0, 2, 3, 5, 6], "r"), Rules("r", to("out"), dead_s=3.0))
    assert follows(found, "r", (0, 0), (2, 1, "rule"), (3, 2), (5, 3, "rule"), (6, 4))


def test_extendable_dead_time_counts_from_every_arrival() -> None:
    found = run(20, at([0, 2, 4, 8], "r"), Rules("r", to("out"), dead_s=3.0, extendable=True))
    assert follows(found, "r", (0, 0), (2, 1, "rule"), (4, 2, "rule"), (8, 3))


def test_a_gate_lets_through_as_many_as_it_has_credits() -> None:
    found = run(
        30, at([0, 1, 2], "g"), Gate("g", 2, to("d")), Delay("d", takes(5), to("out"), returns="g"), observe=["g"]
    )
    # 0, 1 pass at once; 2 waits for the credit of 0, back at 5
    assert follows(found, "g", (0, 0), (1, 1), (5, 2))
    assert follows(found, "d", (5, 0), (6, 1), (10, 2))
    assert found.waits["g"].tolist() == [0, 0, 3]
    assert total(found, "g", "area_waiting") == 3


def test_a_full_gate_drops_and_a_lost_item_gives_its_credit_back() -> None:
    # 0 is in service; 1 passes the gate and is lost at the full station, so that 2 passes too; 3 likewise
    station = Station("q", takes(9), to("out"), places=0, returns="g")
    found = run(30, at([0, 1, 2], "g"), Gate("g", 2, to("q"), places=0), station)
    assert follows(found, "q", (1, 1, "full"), (2, 2, "full"), (9, 0))
    found = run(30, at([0, 1, 2], "g"), Gate("g", 1, to("d"), places=1), Delay("d", takes(5), to("out"), returns="g"))
    assert follows(found, "g", (0, 0), (2, 2, "full"), (5, 1))


def test_an_exit_gives_back_what_an_item_still_holds() -> None:
    found = run(30, at([0, 0, 0], "g"), Gate("g", 1, to("d")), Delay("d", takes(4), to("out")))
    assert follows(found, "out", (4, 0), (8, 1), (12, 2))


def test_a_blocking_gate_holds_its_sender() -> None:
    found = run(
        40, at([0, 0, 0], "a"), Station("a", takes(1), to("g")), Gate("g", 1, to("d"), places=0, when_full="block"),
        Delay("d", takes(6), to("out"), returns="g"),
    )  # fmt: skip
    assert follows(found, "a", (1, 0), (7, 1), (13, 2))
    assert follows(found, "d", (7, 0), (13, 1), (19, 2))


def test_the_credit_is_used_before_the_item_that_returned_it_goes_on() -> None:
    # the credit that item 0 returns at 4 lets item 1 pass the gate and enter q before item 0 does
    found = run(
        40, at([0, 1], "g"), Gate("g", 1, Route(("d", "q"), how="cycle")),
        Delay("d", takes(4), to("q"), returns="g"), Station("q", takes(3), to("out")),
    )  # fmt: skip
    assert follows(found, "q", (7, 1), (10, 0))


def test_parts_join_when_all_have_come_and_add_up_their_bytes() -> None:
    found = run(
        40, at([0, 1], "f", size=10), Fork("f", (("a", 3.0), ("b", None))), Station("a", takes(2), to("j")),
        Station("b", takes(5), to("j")), Join("j", to("out")),
    )  # fmt: skip
    # item 0 -> parts 1 2; item 3 -> parts 4 5. a: 1 at 2, 4 at 4; b: 2 at 5, 5 at 10
    assert follows(found, "f", (0, 0), (1, 3))
    assert follows(found, "a", (2, 1), (4, 4))
    assert follows(found, "b", (5, 2), (10, 5))
    assert follows(found, "j", (5, 1), (5, 2), (10, 4), (10, 5))
    assert follows(found, "out", (5, 0), (10, 3))
    assert found.sojourns["out"].tolist() == [5, 9]
    assert total(found, "out", "bytes_in") == 26
    assert total(found, "j", "area_present") == 3 + 6


def test_an_item_is_lost_at_the_join_if_a_part_was_lost() -> None:
    found = run(
        40, at([0, 1], "f", size=10), Fork("f", (("a", 3.0), ("b", 4.0))), Station("a", takes(4), to("j"), places=0),
        Station("b", takes(5), to("j")), Join("j", to("out")),
    )  # fmt: skip
    # item 3's part 4 finds a full at 1; its part 5 comes at 10, and item 3 ends there
    assert follows(found, "j", (5, 1), (5, 2), (10, 5), (10, 3, "part"))
    assert total(found, "j", "bytes_lost") == 10
    assert total(found, "j", "arrived") == 4


def test_an_item_of_which_all_parts_are_lost_ends_at_the_join_at_once() -> None:
    found = run(
        40, at([0, 1], "f"), Fork("f", (("a", None), ("a", None))), Station("a", takes(4), to("j"), places=1),
        Join("j", to("out")),
    )  # fmt: skip
    assert follows(found, "a", (1, 4, "full"), (1, 5, "full"), (4, 1), (8, 2))
    assert follows(found, "j", (1, 3, "part"), (8, 1), (8, 2))


def test_forks_can_be_within_forks() -> None:
    found = run(
        40, at([0], "f"), Fork("f", (("g", None), ("d", None))), Fork("g", (("d2", None), ("d3", None))),
        Delay("d2", takes(2), to("j2")), Delay("d3", takes(3), to("j2")), Join("j2", to("j")),
        Delay("d", takes(1), to("j")), Join("j", to("out")),
    )  # fmt: skip
    assert follows(found, "j2", (3, 3), (3, 4))
    assert follows(found, "j", (3, 2), (3, 1))
    assert follows(found, "out", (3, 0))


def test_a_packet_leaves_when_it_is_full_and_is_taken_apart_in_order() -> None:
    found = run(
        40, at([0, 1, 2, 5], "p", size=10), Pack("p", 2, to("link")), Station("link", takes(0, 0.1), to("u")),
        Unpack("u", to("out")),
    )  # fmt: skip
    # items 0 1 -> packet 2 at 1 (20 bytes: 2 ticks); items 3 4 -> packet 5 at 5
    assert follows(found, "p", (1, 0), (1, 1), (5, 3), (5, 4))
    assert follows(found, "link", (3, 2), (7, 5))
    assert follows(found, "u", (3, 2), (7, 5))
    assert follows(found, "out", (3, 0), (3, 1), (7, 3), (7, 4))
    assert total(found, "link", "bytes_in") == 40
    assert total(found, "p", "area_present") == 1 + 3


def test_a_packet_that_is_lost_takes_its_items_along() -> None:
    found = run(
        40, at([0, 0, 1, 1], "p", size=10), Pack("p", 2, to("link")), Station("link", takes(9), to("u"), places=0),
        Unpack("u", to("out")),
    )  # fmt: skip
    assert follows(found, "link", (1, 5, "full"), (1, 3, "full"), (1, 4, "full"), (9, 2))
    assert lost(found, "link", "full") == 3
    assert total(found, "link", "bytes_lost") == 20


def test_routes_in_turn_and_to_the_shortest() -> None:
    found = run(
        9, at([0, 1, 2, 3], "r"), Rules("r", Route(("a", "out"), how="cycle")), Station("a", takes(20), to("out"))
    )
    assert follows(found, "out", (1, 1), (3, 3))
    found = run(
        9, at([0, 1, 2, 3], "r"), Rules("r", Route(("a", "b"), how="shortest")),
        Station("a", takes(20), to("out")), Delay("b", takes(20), to("out")),
    )  # fmt: skip
    assert found.present.tolist()[2:4] == [2, 2]


def test_samples_and_the_warm_up_come_after_everything_of_their_tick() -> None:
    found = run(12, at([0, 1, 2, 4], "q"), Station("q", takes(4), to("out")), warm=4, step=4)
    assert found.sampled_at.tolist() == [4, 8, 12]
    assert found.sampled_waiting[found.at("q")].tolist() == [2, 1, 0]
    assert found.sampled_busy[found.at("q")].tolist() == [1, 1, 1]
    assert found.warm.tick == 4
    assert found.warm.sums["left"].tolist() == [4, 1, 1]
    assert found.window.sums["left"].tolist() == [0, 2, 2]
    assert found.window.sums["area_waiting"][1] == 8 + 4
    assert found.window.histogram[1, :3].tolist() == [0, 4, 4]


def test_two_exits_record_their_own_items() -> None:
    found = run(20, at([0, 1], "d"), Delay("d", takes(2), Route(("out", "away"), how="cycle")), Exit("away"))
    assert found.sojourns["out"].tolist() == [2]
    assert found.sojourns["away"].tolist() == [2]
