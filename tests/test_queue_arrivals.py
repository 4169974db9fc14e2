"""Arrival processes of the time engine: hand-computed instants, rates and dispersion with fixed seeds, bad input."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BadFileError, BadValueError
from simulator.queues.arrivals import BLOCK, Arrivals, Periodic, Recorded, Renewal, poisson, recorded_csv
from simulator.queues.bursts import Switching, Together, Windows, on_off
from simulator.queues.crossings import Crossings
from simulator.queues.fill_patterns import runs
from simulator.queues.laws import Law
from simulator.streams import RandomStreams

PS = 10**12
NS = 10**9


def instants(
    process: Arrivals, count: int, *, tps: int = PS, seed: int = 1
) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the first `count` instants of a process (fewer where it ends)."""
    found: list[np.ndarray[tuple[int], np.dtype[np.int64]]] = []
    for block in process.blocks(RandomStreams(seed).get("source/arrivals"), tps):
        found.append(block)
        if sum(map(len, found)) >= count:
            break
    return np.concatenate(found)[:count]


def rate_is(process: Arrivals, count: int, cv: float) -> None:
    """Check the mean rate within 4 standard errors, cv being that of the gaps."""
    found = instants(process, count)
    measured = count / (found[-1] / PS)
    assert measured == pytest.approx(process.mean_rate_hz(), rel=4 * cv / count**0.5)


EVERY_KIND = [
    poisson(1e6),
    Renewal(Law("gamma", 1e-6, 2.0)),
    Periodic(1e6, 1e-6, 5e-7),
    Recorded(tuple(np.linspace(0, 1, 40_000))),
    Crossings(40e6, 0.1, runs([(3, 2)])),
    Switching(1e7, 1e5, 1e-4, 3e-4),
    Windows(poisson(1e6), 1e-3, 4e-3, 1e-3),
    Windows(Periodic(1e6), 1e-3, 4e-3, outside="drop"),
    Together(poisson(1e6), Law("table", values=(1.0, 7.0))),
]


@pytest.mark.parametrize("process", EVERY_KIND, ids=lambda p: type(p).__name__)
def test_every_process_gives_blocks_of_int64_in_order_from_0_and_repeats(process: Arrivals) -> None:
    first, again = (list(islice(process.blocks(RandomStreams(5).get("s"), NS), 4)) for _ in range(2))
    last = 0
    for one, other in zip(first, again, strict=True):
        assert one.dtype == np.int64
        assert len(one) > 0
        assert one[0] >= last
        assert (np.diff(one) >= 0).all()
        np.testing.assert_array_equal(one, other)
        last = int(one[-1])


@pytest.mark.parametrize(
    ("process", "cv"),
    [
        (poisson(3e5), 1.0),
        (Renewal(Law("erlang", 1e-5, 0.5)), 0.5),
        (Crossings(40e6, 0.02), 1.0),
        (Crossings(40e6, 0.02, runs([(3, 5)])), 1.3),
        (Windows(poisson(1e6), 1e-3, 4e-3), 1.0),
        (Windows(poisson(1e6), 1e-3, 4e-3, outside="drop"), 1.0),
        (Together(poisson(1e5), Law("table", values=(1.0, 3.0), weights=(3.0, 1.0))), 1.5),
        (Switching(1e6, 0.0, 1e-5, 1e-5), 4.0),
    ],
    ids=str,
)
def test_the_rate_is_the_mean_rate(process: Arrivals, cv: float) -> None:
    rate_is(process, 200_000, cv)


def test_periodic_instants_are_rounded_one_by_one() -> None:
    # A third of a second is 333,333,333,333.3 ps: three of them are a second, without drift.
    assert instants(Periodic(3.0, 0.5), 4).tolist() == [
        500_000_000_000,
        833_333_333_333,
        1_166_666_666_667,
        1_500_000_000_000,
    ]
    assert instants(Periodic(3.0), 3_000_001)[-1] == 10**6 * PS


def test_jitter_makes_late_by_at_most_its_bound_and_uniformly() -> None:
    late = instants(Periodic(1e3, jitter_s=1e-3), 40_000) - np.arange(40_000) * 10**9
    assert late.min() >= 0
    assert late.max() <= 10**9
    assert late.mean() == pytest.approx(5e8, abs=4 * 1e9 / 12**0.5 / 200)


def test_poisson_counts_have_the_dispersion_of_1_and_gaps_the_cv_of_1() -> None:
    found = instants(poisson(1e6), 400_000)
    counts = np.bincount(found // 10**8)[:-1]  # windows of 100 us, of 100 arrivals in the mean
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=4 * (2 / len(counts)) ** 0.5)
    gaps = np.diff(found)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=4 / len(gaps) ** 0.5)


@pytest.mark.parametrize(
    "process", [Switching(5e6, 2e5, 2e-5, 6e-5), on_off(1e6, 1e-4, 1e-4)], ids=["two-state", "on-off"]
)
def test_bursts_have_the_dispersion_of_their_closed_form(process: Switching) -> None:
    found = instants(process, 2_000_000)
    for window_s in (2e-6, 2e-5, 1e-3):
        counts = np.bincount(found // round(window_s * PS))[:-1].astype(float)
        parts = np.array_split(counts, 20)
        ratios = [part.var() / part.mean() for part in parts]
        error = np.std(ratios, ddof=1) / 20**0.5
        assert np.mean(ratios) == pytest.approx(process.dispersion(window_s), abs=4 * error)


def test_an_on_off_source_is_silent_for_its_share_of_the_time() -> None:
    process = on_off(1e7, 1e-4, 3e-4)
    gaps = np.diff(instants(process, 1_000_000))
    silent = gaps[gaps > 2e6].sum() / gaps.sum()  # gaps above 2 us hold e^-20 of what comes within a burst
    assert silent == pytest.approx(0.75, abs=0.02)


def test_a_rate_that_is_always_high_is_poisson() -> None:
    process = Switching(1e6, 1e6, 1e-5, 1e-5)
    assert process.mean_rate_hz() == pytest.approx(1e6)
    assert process.dispersion(1e-3) == pytest.approx(1.0)


def test_recorded_instants_come_as_they_are() -> None:
    assert instants(Recorded((0.0, 0.25, 0.25, 1.5)), 10, tps=4).tolist() == [0, 1, 1, 6]
    assert Recorded((0.0, 1.0, 2.0)).mean_rate_hz() == 1.5


def test_windows_that_pause_shift_and_windows_that_drop_leave_out() -> None:
    # One every 2 ticks. On for 4 of 10 ticks, the first window at 3.
    every = Recorded(tuple(float(x) for x in range(0, 20, 2)))
    pause, drop = (Windows(every, 4.0, 10.0, 3.0, how) for how in ("pause", "drop"))
    assert instants(pause, 10, tps=1).tolist() == [3, 5, 13, 15, 23, 25, 33, 35, 43, 45]
    assert instants(drop, 10, tps=1).tolist() == [4, 6, 14, 16]


@given(
    on=st.integers(1, 50),
    more=st.integers(0, 50),
    offset=st.integers(0, 100),
    outside=st.sampled_from(["pause", "drop"]),
)
def test_nothing_comes_outside_the_windows(on: int, more: int, offset: int, outside: str) -> None:
    process = Windows(poisson(0.3), float(on), float(on + more), float(offset), outside)  # type: ignore[arg-type]
    found = instants(process, 300, tps=1)
    assert (found >= offset).all()
    assert ((found - offset) % (on + more) < on).all()


def test_arrivals_together_share_their_instant() -> None:
    assert instants(Together(Periodic(1.0), Law("constant", 3.0)), 7, tps=1).tolist() == [0, 0, 0, 1, 1, 1, 2]
    sizes = np.bincount(
        instants(Together(Periodic(1.0), Law("table", values=(2.0, 4.0), weights=(1.0, 3.0))), 70_000, tps=1)
    )
    assert set(sizes[:-1].tolist()) == {2, 4}
    assert (sizes[:-1] == 4).mean() == pytest.approx(0.75, abs=4 * 0.433 / 20_000**0.5)


def test_a_trace_is_read_from_a_column(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("name,t_ms\na,0\nb,2.5\nc,10\n")
    assert recorded_csv(file, "t_ms", scale_s=1e-3).times_s == (0.0, 0.0025, 0.01)


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("time_s\n0\n2\n1\n", 4, "above"),
        ('time_s\n0\n""\n', 3, "finite"),
        ("time_s\n0\nnan\n", 3, "finite"),
        ("time_s\n-1\n", 2, "at least 0"),
        ("time_s\n0\nsoon\n", 3, "finite"),
        ("other\n0\n", 1, "no column 'time_s'"),
    ],
)
def test_a_bad_trace_names_its_line(tmp_path: Path, text: str, line: int, word: str) -> None:
    file = tmp_path / "trace.csv"
    file.write_text(text)
    with pytest.raises(BadFileError, match=word) as found:
        recorded_csv(file)
    assert found.value.line == line


def test_an_empty_or_absent_trace_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "trace.csv"
    file.write_text("time_s\n")
    with pytest.raises(BadFileError):
        recorded_csv(file)
    with pytest.raises(BadFileError, match="no such file"):
        recorded_csv(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    "make",
    [
        lambda: poisson(0.0),
        lambda: poisson(float("nan")),
        lambda: Periodic(1e6, jitter_s=2e-6),
        lambda: Periodic(-1.0),
        lambda: Recorded(()),
        lambda: Recorded((1.0, 0.5)),
        lambda: Recorded((-1.0,)),
        lambda: Switching(1.0, 2.0, 1.0, 1.0),
        lambda: Switching(0.0, 0.0, 1.0, 1.0),
        lambda: Switching(1.0, 0.0, 0.0, 1.0),
        lambda: Switching(1.0, 0.0, 1e-6, 1e-6),
        lambda: Windows(poisson(1.0), 2.0, 1.0),
        lambda: Windows(poisson(1.0), 1.0, 2.0, -1.0),
        lambda: Windows(poisson(1.0), 1.0, 2.0, 0.0, "skip"),  # type: ignore[arg-type]
        lambda: Together(poisson(1.0), Law("exponential", 2.0)),
        lambda: Together(poisson(1.0), Law("constant", 1.5)),
        lambda: Together(poisson(1.0), Law("constant", 0.0)),
    ],
)
def test_processes_that_cannot_be_are_refused(make: object) -> None:
    with pytest.raises(BadValueError):
        make()  # type: ignore[operator]


def test_a_window_below_a_tick_is_refused() -> None:
    with pytest.raises(BadValueError, match="shorter than a tick"):
        instants(Windows(poisson(1.0), 1e-3, 2e-3), 1, tps=100)


def test_a_long_run_of_bursts_stays_exact_and_in_order() -> None:
    # 100 days of picoseconds: starts of phases are whole ticks, so nothing is lost to rounding.
    found = instants(Switching(1.0, 0.0, 1e3, 1e3), 4_000_000)
    assert found[-1] > 80 * 86_400 * PS
    assert (np.diff(found) >= 0).all()
    assert len(found) > BLOCK
