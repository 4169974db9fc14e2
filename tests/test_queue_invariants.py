"""Laws of finished runs: a record that was tampered with is refused, with element and law."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from queue_traces import at, takes

from simulator.engine import InvariantError
from simulator.queues.callbacks import run_callbacks
from simulator.queues.elements import Exit, Network, Outages, Station, to
from simulator.queues.invariants_of_run import check_record
from simulator.queues.laws import Law
from simulator.queues.record import RunRecord, Totals
from simulator.streams import RandomStreams

NETWORK = Network((at([0, 1, 2, 3], "q", size=5), Station("q", takes(3), to("out"), places=1), Exit("out")), 1)


@pytest.fixture
def record() -> RunRecord:
    return run_callbacks(NETWORK, RandomStreams(1), 8, 4)


def changed(totals: Totals, name: str, by: int, element: int = 1) -> Totals:
    """Return totals with one sum changed."""
    column = totals.sums[name].copy()
    column[element] += by
    return replace(totals, sums={**totals.sums, name: column})


def test_a_record_as_it_is_keeps_every_law(record: RunRecord) -> None:
    check_record(record, NETWORK)


@pytest.mark.parametrize(
    ("name", "by", "law"),
    [
        ("arrived", 1, "arrived = left + lost + present"),
        ("left", -1, "arrived = left + lost + present"),
        ("bytes_out", 1_000, "bytes in"),
        ("busy_ticks", 100, "busy"),
        ("down_ticks", 100, "busy"),
        ("area_waiting", 1, "the histogram gives the waiting area"),
        ("sojourn_ticks", 1, "present area"),
        ("area_present", -1, "present area"),
        ("waited", 100, "starts"),
    ],
)
def test_a_sum_that_is_wrong_is_refused(record: RunRecord, name: str, by: int, law: str) -> None:
    with pytest.raises(InvariantError, match=f"'q' breaks the law that .*{re.escape(law)}"):
        check_record(replace(record, end=changed(record.end, name, by)), NETWORK)


def test_a_histogram_that_misses_time_is_refused(record: RunRecord) -> None:
    histogram = record.end.histogram.copy()
    histogram[2, 0] -= 1
    with pytest.raises(InvariantError, match=r"'out' .*histogram sums to the ticks"):
        check_record(replace(record, end=replace(record.end, histogram=histogram)), NETWORK)


def test_a_present_item_that_is_forgotten_is_refused(record: RunRecord) -> None:
    assert record.present[1] == 1
    with pytest.raises(InvariantError, match="'q'"):
        check_record(replace(record, present=np.zeros(3, dtype=np.int64)), NETWORK)


def test_bytes_that_vanish_from_an_empty_element_are_refused(record: RunRecord) -> None:
    with pytest.raises(InvariantError, match=r"'out' .*nothing present"):
        check_record(replace(record, end=changed(record.end, "bytes_out", -1, 2)), NETWORK)


def test_a_sum_that_falls_after_the_warm_up_is_refused(record: RunRecord) -> None:
    with pytest.raises(InvariantError, match=r"'q' .*'started' does not fall"):
        check_record(replace(record, warm=changed(record.warm, "started", 100)), NETWORK)


def test_items_that_fail_in_service_may_leave_area_behind() -> None:
    outages = Outages(Law("constant", 2.0), Law("constant", 2.0), "lose")
    network = Network((at([0], "q"), Station("q", takes(5), to("out"), outages=outages), Exit("out")), 1)
    record = run_callbacks(network, RandomStreams(1), 10)
    assert record.end.sums["area_present"][1] == 2
    assert record.end.sums["sojourn_ticks"][1] == 0
