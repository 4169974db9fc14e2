"""Data that leave in order: cycles by hand, and against the commands of a controller that does so."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.dram.closed_form import ClosedForm
from simulator.dram.configuration import Configuration, Knobs
from simulator.dram.device import DDR4_2400, DEVICES, find_dram
from simulator.dram.in_order import in_order, served
from simulator.dram.run import simulate
from simulator.dram.traces import Trace, make_trace

K = DDR4_2400.timing


def test_reads_of_one_bank_take_a_row_cycle_each_where_rows_are_closed() -> None:
    assert served(DDR4_2400, [0] * 9, [5] * 9, [0] * 9, closed=True) * 8 == pytest.approx(8 * K.rc)


def test_reads_of_an_open_row_follow_each_other_by_the_long_column_delay() -> None:
    assert served(DDR4_2400, [0] * 9, [5] * 9, [0] * 9, closed=False) == pytest.approx(K.ccd_l)


def test_writes_hold_their_bank_until_they_are_recovered() -> None:
    cycle = K.rcd + K.wl + K.burst + K.wr + K.rp  # longer than a row cycle of reads
    assert cycle > K.rc
    assert served(DDR4_2400, [0] * 5, [1, 2, 3, 4, 5], [1] * 5, closed=False) == pytest.approx(cycle)


def test_two_banks_prepare_side_by_side() -> None:
    total = served(DDR4_2400, [0, 1] * 100, [1] * 200, [0] * 200, closed=True) * 199
    assert total == pytest.approx(99 * K.rc + K.ccd_s)


def test_a_second_request_of_a_bank_holds_up_the_bank_behind() -> None:
    total = served(DDR4_2400, [0, 0, 1, 1] * 50, [1] * 200, [0] * 200, closed=True) * 199
    assert total == pytest.approx(100 * K.rc + 99 * K.ccd_s)  # each pair a row cycle, the next bank's at once after it


@pytest.mark.parametrize("channel", list(DEVICES))
@pytest.mark.parametrize("kind", ["cloud-1", "cloud-2", "random"])
@pytest.mark.parametrize("page", ["Closed", "Open"])
def test_it_takes_as_long_as_the_commands_of_a_controller(channel: str, kind: str, page: str):
    device = find_dram(channel)
    drawn = make_trace(kind, 500, 0.5, device, 3)
    trace = Trace.of(np.zeros(500), drawn.address, drawn.write, drawn.thread)
    strict = Configuration(
        PagePolicy=page, Scheduler="Fifo", SchedulerBuffer="Shared", RequestBufferSize=256, CmdMux="Strict",
        RefreshPolicy="NoRefresh",
    )  # fmt: skip
    run = simulate(device, strict, trace)
    expected = in_order(device, trace).closed if page == "Closed" else in_order(device, trace).open
    assert expected == pytest.approx(run.cycles / 500, rel=0.05)


def closed_form(trace: Trace, **knobs: object) -> float:
    found = Configuration(**knobs).knobs  # type: ignore[arg-type]
    return float(ClosedForm(DDR4_2400, trace).estimate(Knobs(*(np.array([float(x)]) for x in found))).duration_s[0])  # type: ignore[arg-type]


def test_queues_by_bank_behind_passing_threads_slow_strict_order_down() -> None:
    """A thread that waits for a full queue fills each place of it: its run of one bank stays together."""
    trace = make_trace("cloud-2", 600, 0.5, DDR4_2400, 3)
    plain = {"PagePolicy": "Closed", "CmdMux": "Strict", "RequestBufferSize": 8}
    together = {**plain, "Arbiter": "Fifo"}
    measured = [simulate(DDR4_2400, Configuration(**one), trace).duration_s for one in (plain, together)]
    assert closed_form(trace, **plain) == pytest.approx(measured[0], rel=0.1)
    assert closed_form(trace, **together) > closed_form(trace, **plain)
    assert measured[1] > measured[0]


def test_a_queue_of_one_place_spreads_requests_over_banks() -> None:
    trace = make_trace("cloud-1", 600, 0.5, DDR4_2400, 3)
    plain = {"PagePolicy": "Closed", "CmdMux": "Strict", "Arbiter": "Fifo"}
    values = [{**plain, "RequestBufferSize": size} for size in (1, 2, 8)]
    assert sorted(closed_form(trace, **one) for one in values) == [closed_form(trace, **one) for one in values]
    measured = [simulate(DDR4_2400, Configuration(**one), trace).duration_s for one in values]
    assert sorted(measured) == measured
