"""Arrivals on a fill pattern of bunch crossings, and the dead times and losses that they give (daq.md, section B)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import BadValueError
from simulator.queues.crossings import Crossings, crossings_at, rule_window_s
from simulator.queues.elements import Element, Exit, Network, Rules, Service, Source, Station, to
from simulator.queues.fill_patterns import EVERY_CROSSING, FillPattern, from_mask, lhc_trains, runs
from simulator.queues.replications import Estimate, replicate
from simulator.queues.run import EngineName, run_network
from simulator.streams import RandomStreams

PS = 10**12
LHC_HZ = 40.0789e6
PATTERNS = {"uniform": EVERY_CROSSING, "trains": lhc_trains()}
RULES = ((1, 3), (2, 25), (3, 100), (4, 240))
"""At most k accepted in n crossings; dropped where the k-th last accepted one passed less than n crossings ago."""
REPLICATIONS = 8
DEAD_TIMES = [
    ("uniform", 100e3, 0.900, 0.018, 3),
    ("trains", 100e3, 1.072, 0.010, 3),
    ("uniform", 750e3, 35.9, 0.0, 1),
    ("trains", 750e3, 36.4, 0.0, 1),
]
"""Pattern, triggers a second, dead time in percent, its standard error where it is given, its decimals."""
DERANDOMIZERS = [
    ("uniform", 0.9, 4, 8.91, 2),
    ("uniform", 0.9, 8, 2.62, 2),
    ("uniform", 0.9, 16, 0.40, 2),
    ("uniform", 0.9, 32, 0.01, 2),
    ("trains", 0.9, 4, 9.61, 2),
    ("trains", 0.9, 8, 2.80, 2),
    ("trains", 0.9, 16, 0.42, 2),
    ("trains", 0.9, 32, 0.015, 3),
    ("uniform", 0.8, 8, 0.82, 2),
    ("uniform", 0.8, 16, 0.02, 2),
    ("trains", 0.8, 8, 0.94, 2),
    ("trains", 0.8, 16, 0.03, 2),
]
"""Pattern, load, places in the system, loss in percent at 750 kHz, its decimals."""


def first(process: Crossings, tps: int = PS, seed: int = 1) -> list[int]:
    found: list[int] = next(process.blocks(RandomStreams(seed).get("beam/arrivals"), tps)).tolist()
    return found


def test_runs_are_filled_and_empty_in_turn_and_repeat_up_to_the_slots() -> None:
    assert runs([(2, 1), (1, 3)]) == FillPattern(7, (0, 1, 3))
    assert runs([(2, 1)], slots=7) == FillPattern(7, (0, 1, 3, 4, 6))
    assert runs([(0, 2), (1, 0)]).filled == (2,)
    assert from_mask([False, True]) == FillPattern(2, (1,))


def test_the_trains_of_the_lhc_fill_2808_of_3564_slots() -> None:
    pattern = lhc_trains()
    assert (pattern.slots, len(pattern.filled)) == (3_564, 2_808)
    mask = np.zeros(pattern.slots + 1, int)
    mask[list(pattern.filled)] = 1
    edges = np.diff(mask, prepend=0)
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    assert len(starts) == 39
    assert set((ends - starts).tolist()) == {72}
    gaps, counts = np.unique(np.append(starts[1:], pattern.slots) - ends, return_counts=True)
    assert dict(zip(gaps.tolist(), counts.tolist(), strict=True)) == {8: 27, 38: 8, 39: 3, 119: 1}


def test_crossing_numbers_of_filled_ones_go_through_the_orbit() -> None:
    pattern = runs([(2, 1), (1, 3)])
    assert pattern.crossings(np.arange(8)).tolist() == [0, 1, 3, 7, 8, 10, 14, 15]


def test_every_filled_crossing_gives_one_where_the_probability_is_1() -> None:
    # Crossing n of 3 Hz: n / 3 s, each rounded on its own.
    found = first(Crossings(3.0, 1.0, runs([(2, 1)])))
    assert found[:4] == [0, 333_333_333_333, 1_000_000_000_000, 1_333_333_333_333]


def test_instants_come_from_crossing_numbers_by_hand() -> None:
    process = Crossings(10.0, 0.3, runs([(2, 3)]))
    gaps = RandomStreams(7).get("beam/arrivals").geometric(0.3, 16_384)
    want, filled = [], -1
    for gap in gaps[:100].tolist():
        filled += gap
        want.append(filled // 2 * 5 + filled % 2)
    assert first(process, tps=10, seed=7)[:100] == want


@given(
    mask=st.lists(st.booleans(), min_size=1, max_size=30).filter(any),
    probability=st.floats(0.01, 1.0),
    seed=st.integers(0, 1000),
)
def test_arrivals_lie_in_filled_crossings_each_at_most_once(mask: list[bool], probability: float, seed: int) -> None:
    found = np.array(first(Crossings(1.0, probability, from_mask(mask)), tps=1, seed=seed)[:2000])
    assert np.array(mask)[found % len(mask)].all()
    assert (np.diff(found) > 0).all()


def test_each_filled_slot_has_its_share() -> None:
    pattern = runs([(3, 2), (1, 1)])
    blocks = Crossings(1.0, 0.1, pattern).blocks(RandomStreams(3).get("b"), 1)
    found = np.concatenate([next(blocks) for _ in range(20)])
    counts = np.bincount(found % pattern.slots, minlength=pattern.slots)
    mean = len(found) / 4
    assert counts[[3, 4, 6]].sum() == 0
    assert counts[[0, 1, 2, 5]] == pytest.approx(mean, abs=4 * (mean * 0.75) ** 0.5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: FillPattern(0, (0,)),
        lambda: FillPattern(3, ()),
        lambda: FillPattern(3, (0, 3)),
        lambda: FillPattern(3, (1, 1)),
        lambda: FillPattern(3, (2, 1)),
        lambda: FillPattern(3, (0.5,)),  # type: ignore[arg-type]
        lambda: runs([(0, 5)]),
        lambda: runs([]),
        lambda: runs([(-1, 5)]),
        lambda: runs([(5, 5)], slots=0),
        lambda: from_mask([False]),
        lambda: Crossings(0.0, 0.5),
        lambda: Crossings(40e6, 0.0),
        lambda: Crossings(40e6, 1.5),
        lambda: crossings_at(31e6, 40e6, runs([(3, 1)])),
    ],
)
def test_patterns_and_rates_that_cannot_be_are_refused(make: object) -> None:
    with pytest.raises(BadValueError):
        make()  # type: ignore[operator]


def test_the_rate_that_was_asked_for_is_the_mean_rate() -> None:
    process = crossings_at(750e3, LHC_HZ, lhc_trains())
    assert process.mean_rate_hz() == pytest.approx(750e3)
    assert process.probability == pytest.approx(750e3 / LHC_HZ * 3564 / 2808)


def losses(element: Element, rate_hz: float, pattern: str, items: int, engine: EngineName = "callbacks") -> Estimate:
    """Return the share that an element of a beam's triggers loses, over replications of `items` triggers."""
    source = Source("beam", crossings_at(rate_hz, LHC_HZ, PATTERNS[pattern]), to(element.name))
    network = Network((source, element, Exit("done")))
    # A seed for each case: equal ones would let all fail or pass together.
    seed = 1000 + list(PATTERNS).index(pattern) + 2 * (getattr(element, "places", None) or 0)
    horizon_s, warm_up_s = 1.02 * items / rate_hz, 0.02 * items / rate_hz
    found = replicate(network, REPLICATIONS, horizon_s=horizon_s, warm_up_s=warm_up_s, seed=seed, engine=engine)
    return found.estimate(f"{element.name}.loss_share")


def trigger_rules() -> Rules:
    return Rules("rules", to("done"), tuple((k, rule_window_s(crossings, LHC_HZ)) for k, crossings in RULES))


def derandomizer(load: float, places: int) -> Station:
    """K places in the system, that in service among them; the service is a constant of load / rate, not of whole
    crossings; a service that ends at the instant of a trigger makes room for it."""
    return Station("buffer", Service((load / 750e3,)), to("done"), places=places - 1)


def agrees(found: Estimate, percent: float, error: float, decimals: int) -> bool:
    """Say whether a share agrees with a reference in percent, within 3 standard errors of both and its last digit."""
    bound = 3 * np.hypot(100 * found.standard_error, error) + 0.5 * 10**-decimals
    return bool(abs(100 * found.value - percent) <= bound)


@pytest.mark.parametrize(("pattern", "rate_hz", "percent", "error", "decimals"), DEAD_TIMES)
def test_the_four_trigger_rules_cost_the_dead_time_of_the_reference(
    pattern: str, rate_hz: float, percent: float, error: float, decimals: int
) -> None:
    found = losses(trigger_rules(), rate_hz, pattern, 30_000)
    assert found.standard_error < 0.03 * found.value
    assert agrees(found, percent, error, decimals)


@pytest.mark.parametrize(("pattern", "load", "places", "percent", "decimals"), DERANDOMIZERS)
def test_a_derandomizer_loses_what_the_reference_says(
    pattern: str, load: float, places: int, percent: float, decimals: int
) -> None:
    assert agrees(losses(derandomizer(load, places), 750e3, pattern, 20_000), percent, 0.0, decimals)


@pytest.mark.demand
def test_the_reference_holds_with_ten_times_the_triggers() -> None:
    for pattern, rate_hz, percent, error, decimals in DEAD_TIMES:
        found = losses(trigger_rules(), rate_hz, pattern, 200_000, "auto")
        assert agrees(found, percent, error, decimals), (pattern, rate_hz, found)
    for pattern, load, places, percent, decimals in DERANDOMIZERS:
        found = losses(derandomizer(load, places), 750e3, pattern, 200_000, "auto")
        assert agrees(found, percent, 0.0, decimals), (pattern, load, places, found)


def test_rules_drop_by_crossing_numbers_as_a_plain_loop_does() -> None:
    """The same triggers as whole crossing numbers, in a loop over them, drop the same ones."""
    process = crossings_at(750e3, LHC_HZ, lhc_trains())
    network = Network((Source("beam", process, to("rules")), trigger_rules(), Exit("done")))
    run = run_network(network, horizon_s=0.02, seed=4, engine="callbacks")
    instants = next(process.blocks(RandomStreams(4).get("beam/arrivals"), PS))
    crossing = np.rint(instants[instants <= 0.02 * PS] / PS * LHC_HZ).astype(int)
    passed: list[int] = []
    for at in crossing.tolist():
        if not any(len(passed) >= k and at - passed[-k] < n for k, n in RULES):
            passed.append(at)
    assert len(crossing) < 16_384
    assert run.record.end.sums["left"][1] == len(passed)
    assert run.record.end.sums["arrived"][1] == len(crossing)
