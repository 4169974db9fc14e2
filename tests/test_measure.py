"""The sweep: which points it chooses, when it stops, what survives an interruption, and which repeats it believes."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runner import archcast
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.cli.measure import seconds_of
from archcast.measuring import pool
from archcast.measuring.backends.base import Network, Row
from archcast.measuring.backends.numpy_host import NumpyBackend
from archcast.measuring.choose import FIRST, Chooser, directions, farthest_first
from archcast.measuring.machine import EnergyCounter, busy_share, pinned
from archcast.measuring.repeats import Timing, repeat, typical
from archcast.measuring.rows_file import NETWORK_COLUMNS, OPERATOR_COLUMNS, RowsFile
from archcast.measuring.sweep import measure, networks_path, operator_table
from costmodel.physics import price
from costmodel.rates import compile_rates
from foundation.errors import BadFileError, BadValueError, UnknownNameError, UnsupportedError
from hardware_specs import load_device
from hardware_specs.host import usable_cores
from workloads.measurements import read_measurements

ROWS: list[dict[str, Any]] = [*pool.gemms(40, "fp32"), *pool.pointwise(30, "fp32", "softmax", [(1, 0.0)], 4096)]


class Clock:
    """Time that passes only where something says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Scripted:
    """A backend whose operators take twice the closed form, and whose every measurement takes `each_s`."""

    device, software = "host-cpu", "scripted 1.0 threads 1"

    def __init__(self, clock: Clock, each_s: float = 1.0, stop_after: int | None = None) -> None:
        self.clock, self.each_s, self.stop_after = clock, each_s, stop_after
        self.asked: list[Row] = []

    def candidates(self) -> Sequence[Row]:
        return ROWS

    def networks(self) -> Sequence[Network]:
        return (Network("resnet-18"), Network("gpt-2", {"layers": 2}, prompt=16, decode=True))

    def measure(self, row: Row, limit_s: float) -> Timing:
        self.asked.append(row)
        if self.stop_after is not None and len(self.asked) > self.stop_after:
            raise KeyboardInterrupt
        self.clock.now += self.each_s
        latency = 2.0 * float(price(operator_table([row]), compile_rates(load_device("host-cpu"))).costs.latency_s[0])
        return Timing(latency, 0.0, 5)

    def measure_network(self, network: Network, limit_s: float) -> Timing:
        self.clock.now += self.each_s
        return Timing(0.01, 0.001, 7)


def sweep(
    out: Path, *, budget_s: float, each_s: float = 1.0, resume: bool = False, stop_after: int | None = None
) -> Any:
    """Run a scripted sweep; returns (what it did, the backend)."""
    clock = Clock()
    backend = Scripted(clock, each_s, stop_after)
    return measure(out, budget_s=budget_s, resume=resume, backends=[backend], clock=clock), backend


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def test_the_pool_is_the_same_in_every_run_and_holds_no_operator_twice() -> None:
    make: Callable[[], list[dict[str, Any]]] = lambda: [*pool.convolutions(200, "fp32"), *pool.attentions(100, "fp32")]  # noqa: E731
    assert make() == make()
    assert len({tuple(row.items()) for row in make()}) == len(make()) == 300
    assert operator_table(make()).faults() == []


@given(dimensions=st.integers(1, 6), count=st.integers(64, 300))
@settings(deadline=None, max_examples=20)
def test_filling_points_leave_no_half_of_the_box_empty(dimensions: int, count: int) -> None:
    points = pool.filling(count, dimensions)
    assert points.shape == (count, dimensions)
    below = (points < 0.5).mean(axis=0)
    assert np.all((below > 0.4) & (below < 0.6))


def test_farthest_first_takes_the_middle_and_then_the_ends() -> None:
    line = np.array([[0.0], [1.0], [2.0], [3.0], [4.0], [10.0]])
    # the mean is 3.33: row 3 is nearest; the farthest from it is 10; then 0; then 1 or 5 away
    assert farthest_first(line, 3) == [3, 5, 0]


def test_directions_hold_the_distances_of_what_varies() -> None:
    random = np.random.default_rng(0)
    wide = random.standard_normal((50, 1))
    found = directions(np.concatenate([wide, 2 * wide, np.ones((50, 1))], axis=1))
    assert found.shape == (50, 1)  # two columns that say the same, and one that says nothing
    assert abs(np.corrcoef(found[:, 0], wide[:, 0])[0, 1]) == pytest.approx(1.0)


def chooser() -> Chooser:
    strata = np.array([0 if row["op"] == "gemm" else 1 for row in ROWS])
    return Chooser(operator_table(ROWS), strata, [1.0, 1.0], compile_rates(load_device("host-cpu")))


def test_each_kernel_gets_its_spread_points_before_uncertainty_decides() -> None:
    choose = chooser()
    chosen: list[int] = []
    for _ in range(2 * FIRST):
        index = choose.next(math.inf)
        assert index is not None
        chosen.append(index)
        choose.record(index, float(choose.physics_s[index]), 0.1)
    assert len(set(chosen)) == 2 * FIRST
    assert sum(ROWS[i]["op"] == "gemm" for i in chosen) == FIRST
    # turn by turn: neither kernel waits for the other
    assert [ROWS[i]["op"] for i in chosen[:4]] == ["gemm", "softmax", "gemm", "softmax"]


def test_after_the_spread_points_the_kernel_that_surprises_is_measured_more() -> None:
    choose = chooser()
    random = np.random.default_rng(0)
    later: list[str] = []
    for turn in range(2 * FIRST + 12):
        index = choose.next(math.inf)
        assert index is not None
        surprise = float(np.exp(random.normal(0, 1.5))) if ROWS[index]["op"] == "gemm" else 1.0
        choose.record(index, float(choose.physics_s[index]) * surprise, 0.1)
        if turn >= 2 * FIRST:
            later.append(ROWS[index]["op"])
    assert later == ["gemm"] * 12


def test_uncertainty_falls_where_a_neighbour_was_measured() -> None:
    choose = chooser()
    before = choose.uncertainty()
    index = choose.next(math.inf)
    assert index is not None
    choose.record(index, float(choose.physics_s[index]), 0.1)
    after = choose.uncertainty()
    assert after[index] == 0
    assert np.all(after <= before + 1e-12)


def test_nothing_is_chosen_that_does_not_fit_into_the_time_left() -> None:
    choose = chooser()
    assert choose.next(1e-6) is None
    index = choose.next(0.102)
    assert index is None or choose.seconds()[index] <= 0.102


def test_the_sweep_ends_with_its_budget_and_keeps_a_part_for_networks(tmp_path: Path) -> None:
    done, backend = sweep(tmp_path / "m.csv", budget_s=30.0)
    assert done.seconds <= 31.0
    assert done.stopped == "budget spent"
    assert 20 <= done.rows <= 26  # a fifth is kept for the networks
    assert done.networks == 2
    assert len(backend.asked) == done.rows


def test_the_sweep_ends_with_its_pool(tmp_path: Path) -> None:
    done, _ = sweep(tmp_path / "m.csv", budget_s=5000.0)
    assert done.rows == len(ROWS)
    assert done.stopped == "nothing is left to measure"


def test_the_table_is_one_that_calibrate_reads_and_networks_stand_beside_it(tmp_path: Path) -> None:
    out = tmp_path / "m.csv"
    done, _ = sweep(out, budget_s=5000.0)
    table = read_measurements(out, devices=["host-cpu"])
    assert table.rows == done.rows
    assert set(table.table.names("op")) == {"gemm", "softmax"}
    assert np.all(table.value("latency_s") > 0)
    networks = list(csv.DictReader(networks_path(out).open()))
    assert [row["workload"] for row in networks] == ["resnet-18", "gpt-2"]
    assert networks[0]["latency_s"] == "0.01"
    # a decode step is the time of a token, and its row says which network it was
    assert (networks[1]["latency_s"], networks[1]["tpot_s"]) == ("", "0.01")
    assert networks[1]["params"] == '{"layers": 2}'


def test_an_interrupted_sweep_keeps_its_rows_and_goes_on_without_measuring_any_twice(tmp_path: Path) -> None:
    out = tmp_path / "m.csv"
    first, _ = sweep(out, budget_s=5000.0, stop_after=7)
    assert (first.stopped, first.rows) == ("interrupted", 7)
    second, backend = sweep(out, budget_s=5000.0, resume=True)
    assert second.earlier_rows == 7
    assert second.rows == len(ROWS) - 7 == len(backend.asked)
    assert len(set(lines(out))) == len(ROWS) + 1


def test_a_resumed_sweep_knows_what_the_earlier_rows_taught(tmp_path: Path) -> None:
    whole, stepped = tmp_path / "whole.csv", tmp_path / "stepped.csv"
    sweep(whole, budget_s=5000.0)
    sweep(stepped, budget_s=5000.0, stop_after=30)
    sweep(stepped, budget_s=5000.0, resume=True)
    assert set(lines(whole)) == set(lines(stepped))
    assert lines(whole)[:31] == lines(stepped)[:31]


@given(cut=st.integers(1, 60))
@settings(deadline=None, max_examples=15)
def test_a_line_torn_anywhere_is_cut_off_and_measured_again(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    out = tmp_path_factory.mktemp("torn") / "m.csv"
    sweep(out, budget_s=5000.0, stop_after=5)
    size = out.stat().st_size
    os.truncate(out, size - cut)  # less than the last line
    done, _ = sweep(out, budget_s=5000.0, resume=True)
    assert done.earlier_rows == 4
    assert read_measurements(out).rows == len(ROWS)


def test_a_file_torn_in_its_header_starts_anew(tmp_path: Path) -> None:
    out = tmp_path / "m.csv"
    out.write_text("device,softw")
    file = RowsFile(out, OPERATOR_COLUMNS, resume=True)
    file.close()
    assert lines(out) == [",".join(OPERATOR_COLUMNS)]


def test_a_table_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    out = tmp_path / "m.csv"
    sweep(out, budget_s=5.0)
    before = out.read_bytes()
    with pytest.raises(BadFileError, match="--resume"):
        sweep(out, budget_s=5.0)
    assert out.read_bytes() == before
    out.unlink()
    networks_path(out).write_text("mine")
    with pytest.raises(BadFileError, match="networks"):
        sweep(out, budget_s=5.0)
    assert not out.exists()


def test_without_networks_there_is_no_file_of_them(tmp_path: Path) -> None:
    class Bare(Scripted):
        def networks(self) -> Sequence[Network]:
            return ()

    clock = Clock()
    done = measure(tmp_path / "m.csv", budget_s=10.0, backends=[Bare(clock)], clock=clock)
    assert done.rows > 0
    assert not networks_path(tmp_path / "m.csv").exists()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("op,m,n,k,latency_s\ngemm,1,1,1,1\n", "not a table of `archcast measure`"),
        (",".join(OPERATOR_COLUMNS) + "\na,b,c\nd,e,f\n", "the row has 3 cells"),
        (",".join(OPERATOR_COLUMNS) + "\nhost-cpu,x" + "," * (len(OPERATOR_COLUMNS) - 2) + "\n", "not of this machine"),
    ],
)
def test_a_file_that_no_sweep_of_this_machine_wrote_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    out = tmp_path / "m.csv"
    out.write_text(text)
    with pytest.raises(BadFileError, match=problem):
        sweep(out, budget_s=5.0, resume=True)
    assert out.read_text() == text


def test_rows_of_another_software_version_are_measured_again(tmp_path: Path) -> None:
    out = tmp_path / "m.csv"
    sweep(out, budget_s=5000.0)
    out.write_text(out.read_text().replace("scripted 1.0", "scripted 0.9"))
    done, _ = sweep(out, budget_s=5000.0, resume=True)
    assert done.rows == done.earlier_rows == len(ROWS)


def test_what_a_backend_refuses_is_said_and_not_asked_again(tmp_path: Path) -> None:
    class Refusing(Scripted):
        def measure(self, row: Row, limit_s: float) -> Timing:
            if row["op"] == "softmax":
                raise UnsupportedError("no softmax here.")
            return super().measure(row, limit_s)

    clock = Clock()
    done = measure(tmp_path / "m.csv", budget_s=5000.0, backends=[Refusing(clock)], clock=clock)
    assert set(done.operators) == {"gemm"}
    assert any("no softmax here" in reason for reason in done.missing)
    assert "Not measured: softmax in fp32" in done.text()


def test_quiet_repeats_decide_and_disturbed_ones_do_not() -> None:
    seconds = np.array([1.0, 1.04, 9.0, 1.08, 8.0, 1.0])
    quiet = np.array([True, True, False, True, False, True])
    value, spread, used = typical(seconds, quiet)
    assert used == 2
    assert value == pytest.approx(1.02)  # the middle half of 1.0, 1.0, 1.04, 1.08
    assert spread == pytest.approx(np.std([1.0, 1.0, 1.04, 1.08]))


def test_repeats_that_do_not_agree_are_believed_where_they_are_fastest() -> None:
    # two cores in three of ten repeats, one core in the others: the median is twice what the device takes
    seconds = np.array([2.1, 1.02, 2.0, 2.2, 1.0, 2.1, 1.01, 2.0, 2.3, 2.1])
    for quiet in (np.ones(10, dtype=bool), np.zeros(10, dtype=bool)):
        value, spread, used = typical(seconds, quiet)
        assert used == 2
        assert value == pytest.approx(1.005)
        assert spread > 0.3  # and the row says how uneven they were


def test_repeating_ends_at_enough_quiet_repeats_or_at_the_limit() -> None:
    clock, calm = Clock(), iter([0] * 10_000)

    def call(turn: int) -> None:
        clock.now += 0.01

    seconds, quiet = repeat(call, 10.0, wanted=15, counter=lambda: next(calm), clock=clock)
    assert len(seconds) == 15
    assert quiet.all()
    disturbed = iter(range(10_000))
    seconds, quiet = repeat(call, 0.5, wanted=15, counter=lambda: next(disturbed), clock=clock)
    assert not quiet.any()
    assert 49 <= len(seconds) <= 51
    seconds, _ = repeat(call, 0.0, fewest=3, counter=lambda: next(disturbed), clock=clock)
    assert len(seconds) == 3


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not keep processes on cores")
def test_the_process_stays_on_its_cores_while_it_is_measured() -> None:
    before = usable_cores()
    with pinned() as cores:
        assert set(usable_cores()) == set(cores) <= set(before)
    assert usable_cores() == before


def test_energy_is_the_counter_of_all_packages_and_survives_its_wrap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for zone in ("intel-rapl:0", "intel-rapl:1", "intel-rapl:0:0"):
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "energy_uj").write_text("900000")
        (tmp_path / zone / "max_energy_range_uj").write_text("999999")
    times = iter([0.0, 2.0])
    monkeypatch.setattr("archcast.measuring.machine.time.perf_counter", lambda: next(times))
    counter = EnergyCounter(tmp_path)
    assert counter.available
    counter.start()
    (tmp_path / "intel-rapl:0/energy_uj").write_text("400000")  # wrapped: 0.5 J
    (tmp_path / "intel-rapl:1/energy_uj").write_text("1000000")  # 0.1 J; the part of a package does not count again
    assert counter.power_w() == pytest.approx(0.3)


def test_the_share_of_other_work_is_what_is_not_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    # 200 ticks later: 120 of them idle, 20 waiting for a disk
    later = "cpu  140 0 70 920 70 0 0 0 0 0\n"
    monkeypatch.setattr("archcast.measuring.machine.time.sleep", lambda seconds: stat.write_text(later))
    assert busy_share(1.0, stat) == pytest.approx(0.3)
    assert math.isnan(busy_share(1.0, tmp_path / "none"))


def test_without_a_counter_energy_stays_empty(tmp_path: Path) -> None:
    counter = EnergyCounter(tmp_path)
    counter.start()
    assert not counter.available
    assert math.isnan(counter.power_w())
    file = RowsFile(tmp_path / "m.csv", NETWORK_COLUMNS)
    file.append({"device": "host-cpu", "energy_j": math.nan, "latency_s": 0.5})
    file.close()
    assert lines(tmp_path / "m.csv")[1] == "host-cpu" + "," * 10 + "0.5" + "," * 6


def test_numpy_products_are_timed_near_what_the_processor_can_do() -> None:
    backend = NumpyBackend(1)
    small, large = (backend.measure({"op": "gemm", "dtype": "fp32", "batch": 1, "m": m, "n": 256, "k": 256}, 0.05)
                    for m in (8, 512))  # fmt: skip
    assert 0 < small.latency_s < large.latency_s
    # 67 MFLOP cannot be faster than twice the peak of the fastest clock of this machine
    peak = load_device("host-cpu").unit("matrix").peak_flop_per_s["fp32"].hi
    assert large.latency_s > 2 * 512 * 256 * 256 / (2 * peak)
    with pytest.raises(UnsupportedError):
        backend.measure({"op": "gemm", "dtype": "int8", "batch": 1, "m": 8, "n": 8, "k": 8}, 0.01)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90.0), ("2min", 120.0), ("1h", 3600.0), ("1.5m", 90.0), ("7", 7.0)]
)
def test_a_budget_is_a_time(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-5s", "1e9s", "nan", "5 days"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(BadValueError, match="90s, 10min or 1h"):
        seconds_of(text)


def test_a_budget_or_device_that_cannot_be_is_refused_before_a_file_is_made(tmp_path: Path) -> None:
    with pytest.raises(BadValueError, match="budget_s"):
        measure(tmp_path / "m.csv", budget_s=0.0)
    with pytest.raises(UnknownNameError, match="h100-sxm"):
        measure(tmp_path / "m.csv", on="h100-sxm")
    assert not (tmp_path / "m.csv").exists()
    ended = archcast("measure", "--on", "hostcpu", "--out", tmp_path / "m.csv")
    assert ended.code == 2
    assert "host-cpu" in ended.stderr
    with pytest.raises(BadFileError, match="no folder"):
        measure(tmp_path / "none" / "m.csv")


def test_pool_sizes_grow_evenly_on_a_logarithmic_scale() -> None:
    sizes = [pool.spread(u, 64, 4096, 8) for u in np.linspace(0, 0.999, 200)]
    assert all(low <= high for low, high in pairwise(sizes))
    assert sizes[0] == 64
    assert sizes[100] == pytest.approx(512, rel=0.05)  # half way, the geometric mean
    assert sizes[-1] <= 4096
