"""DRAM commands: sequences worked out by hand from the timing table, and rules that a checker of its own reads anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foundation.errors import BadValueError, UnknownNameError
from simulator.dram.checker import violations
from simulator.dram.configuration import CHOICES, Configuration
from simulator.dram.device import DDR4_2400, DEVICES, LPDDR4_3200, DramDevice, find_dram
from simulator.dram.kernel import COMMANDS
from simulator.dram.run import Commands, DramRun, simulate
from simulator.dram.traces import KINDS, Trace, make_trace

PLAIN = {"RefreshPolicy": "NoRefresh"}


def at(bank: int, row: int, column: int = 0, device: DramDevice = DDR4_2400) -> int:
    return (row * device.banks + bank) * device.page_bytes + column * device.access_bytes


def served(requests: list[tuple[int, int, int, int]], device: DramDevice = DDR4_2400, **knobs: Any) -> DramRun:
    """Serve requests of (arrival, bank, row, write)."""
    arrival, bank, row, write = zip(*requests, strict=True)
    address = [at(b, r, 0, device) for b, r in zip(bank, row, strict=True)]
    run = simulate(
        device, Configuration.of({**PLAIN, **knobs}), Trace.of(np.array(arrival), np.array(address), np.array(write))
    )
    assert violations(run) == []
    return run


def issued(run: DramRun) -> list[tuple[int, str]]:
    return [(int(t), COMMANDS[k]) for t, k in zip(run.commands.cycle, run.commands.kind, strict=True)]


def test_a_read_of_a_closed_bank_takes_activation_latency_and_burst() -> None:
    assert served([(0, 0, 0, 0)]).final.tolist() == [16 + 16 + 4]


def test_a_row_hit_follows_after_tccd_l() -> None:
    assert served([(0, 0, 0, 0), (0, 0, 0, 0)]).final.tolist() == [36, 16 + 6 + 20]


def test_a_conflict_waits_for_tras_trp_and_trcd() -> None:
    run = served([(0, 0, 0, 0), (0, 0, 1, 0)])
    assert issued(run) == [(0, "ACT"), (16, "RD"), (39, "PRE"), (55, "ACT"), (71, "RD")]
    assert run.final.tolist() == [36, 91]


def test_reading_what_was_written_waits_for_the_write_to_end() -> None:
    assert served([(0, 0, 0, 1), (0, 0, 0, 0)]).final.tolist() == [36, 36 + 9 + 20]
    assert served([(0, 0, 0, 1), (0, 1, 0, 0)]).final.tolist() == [36, 36 + 3 + 20]


def test_writing_after_reading_turns_the_bus_round() -> None:
    assert served([(0, 0, 0, 0), (0, 0, 0, 1)]).final.tolist() == [36, 16 + 6 + 20]


def test_the_fifth_activate_waits_for_tfaw() -> None:
    run = served([(0, bank, 0, 0) for bank in (0, 1, 2, 3, 4)])
    assert [t for t, name in issued(run) if name == "ACT"] == [0, 4, 8, 12, 26]


def test_a_refresh_holds_up_what_comes_after_it_for_trfc() -> None:
    run = served([(9361, 0, 0, 0)], RefreshPolicy="AllBank")
    assert issued(run)[0] == (9360, "REF")
    assert run.final.tolist() == [9360 + 313 + 16 + 20]


def test_a_busy_bank_postpones_its_refresh_as_far_as_it_may() -> None:
    busy = [(5 * i, 0, i % 2, 0) for i in range(5000)]
    for postponed in (0, 2):
        run = served(busy, RefreshPolicy="AllBank", RefreshMaxPostponed=postponed)
        first = next(t for t, name in issued(run) if name == "REF")
        assert (postponed + 1) * 9360 <= first < (postponed + 1) * 9360 + 100


def test_refreshes_are_pulled_in_while_nothing_waits() -> None:
    run = served([(2000, 0, 0, 0)], RefreshPolicy="AllBank", RefreshMaxPulledin=3)
    assert [name for _, name in issued(run)].count("REF") == 3
    assert run.final.tolist() == [2000 + 36]


def test_refreshing_costs_its_share_of_the_bandwidth() -> None:
    trace = make_trace("stream", 8000, 5.0, DDR4_2400)
    runs = [simulate(DDR4_2400, Configuration(RefreshPolicy=name), trace) for name in ("NoRefresh", "AllBank")]
    assert runs[1].cycles / runs[0].cycles == pytest.approx(1 / (1 - 313 / 9360), rel=0.02)


def test_no_more_leaves_than_the_bus_carries() -> None:
    alone = served([(0, 0, 0, 0)] * 200)  # one row: a burst every tCCD_L
    assert alone.final[-1] == 16 + 6 * 199 + 20
    apart = served([(0, bank, 0, 0) for _ in range(100) for bank in range(4)], SchedulerBuffer="Bankwise")
    assert apart.cycles < alone.cycles * 2 * 4.5 / 6
    assert apart.bandwidth_bytes_per_s <= DDR4_2400.peak_bytes_per_s


def test_closed_pages_cost_hits_and_save_conflicts() -> None:
    hits, conflicts = [(100 * i, 0, 0, 0) for i in range(20)], [(100 * i, 0, i, 0) for i in range(20)]
    assert served(hits, PagePolicy="Closed").latency_s > served(hits, PagePolicy="Open").latency_s
    assert served(conflicts, PagePolicy="Closed").latency_s < served(conflicts, PagePolicy="Open").latency_s


def test_adaptive_pages_look_at_what_waits() -> None:
    requests = [(0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 1, 0)]
    names = {
        policy: [name for _, name in issued(served(requests, PagePolicy=policy))] for policy in CHOICES["PagePolicy"]
    }
    assert names["Open"] == ["ACT", "RD", "RD", "PRE", "ACT", "RD"]
    assert names["OpenAdaptive"] == ["ACT", "RD", "RDA", "ACT", "RD"]
    assert names["ClosedAdaptive"] == ["ACT", "RD", "RDA", "ACT", "RDA"]
    assert names["Closed"] == ["ACT", "RDA", "ACT", "RDA", "ACT", "RDA"]


def test_first_ready_serves_a_later_hit_first_and_fifo_does_not() -> None:
    requests = [(0, 0, 0, 0), (0, 0, 1, 0), (0, 0, 0, 0)]
    assert np.argsort(served(requests, Scheduler="FrFcfs").final).tolist() == [0, 2, 1]
    assert np.argsort(served(requests, Scheduler="Fifo").final).tolist() == [0, 1, 2]
    assert np.argsort(served(requests, Scheduler="FrFcfs", CmdMux="Strict").final).tolist() == [0, 1, 2]


def test_grouping_serves_a_hit_of_the_same_kind_first() -> None:
    requests = [(0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 0)]
    assert np.argsort(served(requests, Scheduler="FrFcfs").final).tolist() == [0, 1, 2]
    assert np.argsort(served(requests, Scheduler="FrFcfsGrp").final).tolist() == [0, 2, 1]


def test_reordered_responses_leave_in_the_order_of_entry() -> None:
    requests = [(0, 0, 0, 0), (0, 0, 1, 0), (0, 0, 0, 0), (0, 1, 0, 0)]
    for knobs in ({"RespQueue": "Reorder"}, {"Arbiter": "Reorder"}):
        final = served(requests, **knobs).final
        assert (np.diff(final) >= 0).all()
    assert not (np.diff(served(requests).final) >= 0).all()


def test_one_active_transaction_is_one_at_a_time() -> None:
    run = served([(0, bank, 0, 0) for bank in range(4)], Arbiter="Fifo", MaxActiveTransactions=1)
    assert run.final.tolist() == [36, 72, 108, 144]


def test_a_buffer_of_one_place_holds_back_the_next_request() -> None:
    run = served([(0, bank, 0, 0) for bank in range(3)], SchedulerBuffer="Shared", RequestBufferSize=1)
    assert [t for t, name in issued(run) if name == "ACT"] == [0, 17, 34]


def test_powering_down_costs_txp_and_saves_power() -> None:
    requests = [(0, 0, 0, 0), (5000, 0, 0, 0)]
    awake, asleep = (served(requests, PowerDownPolicy=name) for name in ("NoPowerDown", "Staggered"))
    assert asleep.final[1] - awake.final[1] == 8
    assert asleep.power_w < 0.7 * awake.power_w


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_no_configuration_breaks_a_rule_or_loses_a_request(data: st.DataObject):
    device = data.draw(st.sampled_from(list(DEVICES.values())))
    knobs: dict[str, Any] = {name: data.draw(st.sampled_from(known)) for name, known in CHOICES.items()}
    knobs |= {name: data.draw(st.integers(0, 8)) for name in ("RefreshMaxPostponed", "RefreshMaxPulledin")}
    knobs |= {"RequestBufferSize": data.draw(st.integers(1, 8)),
              "MaxActiveTransactions": 2 ** data.draw(st.integers(0, 7))}  # fmt: skip
    kind, load = data.draw(st.sampled_from(KINDS)), data.draw(st.sampled_from([0.03, 0.3, 0.9, 3.0]))
    run = simulate(device, Configuration.of(knobs), make_trace(kind, 120, load, device, data.draw(st.integers(0, 99))))
    assert violations(run) == []


@pytest.mark.parametrize(("early", "name"), [(1, "RD"), (3, "ACT")])
def test_the_checker_sees_a_command_that_comes_too_early(early: int, name: str):
    run = served([(0, 0, 0, 0), (0, 0, 1, 0)])
    cycle = run.commands.cycle.copy()
    cycle[early] -= 1
    assert COMMANDS[run.commands.kind[early]] == name
    wrong = DramRun(run.device, run.configuration, run.trace, run.final,
                    Commands(cycle, run.commands.kind, run.commands.bank, run.commands.row))  # fmt: skip
    assert violations(wrong)


def test_a_command_that_is_missing_is_seen() -> None:
    run = served([(0, 0, 0, 0), (0, 0, 1, 0)])
    without = [np.delete(column, 2) for column in
               (run.commands.cycle, run.commands.kind, run.commands.bank, run.commands.row)]  # fmt: skip
    wrong = DramRun(run.device, run.configuration, run.trace, run.final, Commands(*without))
    assert any("is open" in text for text in violations(wrong))


def test_lpddr4_takes_its_own_times() -> None:
    k = LPDDR4_3200.timing
    assert served([(0, 0, 0, 0)], LPDDR4_3200).final.tolist() == [k.rcd + k.rl + k.burst]


def test_what_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(UnknownNameError, match="OpenAdaptive"):
        Configuration(PagePolicy="open-adaptiv")
    with pytest.raises(UnknownNameError, match="Scheduler"):
        Configuration.of({"Schedular": "Fifo"})
    with pytest.raises(BadValueError, match="RequestBufferSize"):
        Configuration(RequestBufferSize=0)
    with pytest.raises(UnknownNameError):
        find_dram("ddr4-2401")
    with pytest.raises(BadValueError):
        Trace.of(np.array([3, 1]), np.array([0, 0]), np.array([0, 0]))
