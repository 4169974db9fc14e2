"""One server with a limit and any service law, against solved chains, other formulas and simulated buffers."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queue_oracles import mean_of, solve_chain

from foundation.errors import BadValueError, UnknownNameError
from simulator.queues import closed_forms as cf
from simulator.queues.closed_counts import arrivals_in_a_service, binomial_counts
from simulator.queues.laws import Law

CROSSING_HZ = 40.0789e6


@pytest.mark.parametrize(("places", "rho", "loss"), [(4, 0.8, 0.05876), (8, 0.9, 0.02726), (16, 0.9, 0.00434)])
def test_the_loss_of_md1k_has_its_reference_values(places: int, rho: float, loss: float) -> None:
    assert cf.md1k(rho, 1.0, places).loss == pytest.approx(loss, abs=6e-6)


@pytest.mark.parametrize("rho", [0.3, 0.9, 1.0, 1.7])
@pytest.mark.parametrize("places", [1, 2, 7, 60])
def test_exponential_service_gives_mm1k(rho: float, places: int) -> None:
    general, known = cf.mg1k(rho, 1.0, places, "exponential"), cf.mm1k(rho, 1.0, places)
    assert general == pytest.approx(known, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("rho", "places"), [(0.7, 3), (0.95, 6), (1.4, 5)])
def test_erlang_service_equals_its_solved_chain(rho: float, places: int) -> None:
    # Four phases: the state is the number of phases of work left, in whole customers and a rest.
    def moves(work: int) -> list[tuple[float, int]]:
        full = (work + 3) // 4 >= places
        return ([] if full else [(rho, work + 4)]) + ([(4.0, work - 1)] if work else [])

    chain = solve_chain(0, moves)
    loss = mean_of(chain, lambda work: (work + 3) // 4 == places)
    means = cf.mg1k(rho, 1.0, places, "erlang", 0.25)
    assert means.loss == pytest.approx(loss, rel=1e-9)
    assert means.number == pytest.approx(mean_of(chain, lambda work: (work + 3) // 4), rel=1e-9)
    states = [mean_of(chain, lambda work, n=n: (work + 3) // 4 == n) for n in range(places + 1)]  # type: ignore[misc]
    assert cf.mg1k_distribution(rho, 1.0, places, "erlang", 0.25).tolist() == pytest.approx(states)


def test_hyperexponential_service_equals_its_solved_chain() -> None:
    rho, places, cv2 = 0.8, 6, 5.0
    share = (1 + ((cv2 - 1) / (cv2 + 1)) ** 0.5) / 2
    rates = (2 * share, 2 * (1 - share))

    def moves(state: tuple[int, int]) -> list[tuple[float, tuple[int, int]]]:
        n, kind = state
        if n == 0:
            return [(rho * share, (1, 0)), (rho * (1 - share), (1, 1))]
        up = [(rho, (n + 1, kind))] if n < places else []
        if n == 1:
            return [*up, (rates[kind], (0, 0))]
        return [*up, (rates[kind] * share, (n - 1, 0)), (rates[kind] * (1 - share), (n - 1, 1))]

    chain = solve_chain((0, 0), moves)
    means = cf.mg1k(rho, 1.0, places, "hyperexponential", cv2)
    assert means.loss == pytest.approx(mean_of(chain, lambda s: s[0] == places), rel=1e-9)
    assert means.number == pytest.approx(mean_of(chain, lambda s: s[0]), rel=1e-9)


@pytest.mark.parametrize(
    ("law", "cv2"),
    [("constant", 0.0), ("erlang", 0.2), ("gamma", 3.0), ("lognormal", 2.0), ("uniform", 0.3), ("weibull", 4.0)],
)
def test_a_limit_far_away_gives_pollaczek_and_khinchine(law: str, cv2: float) -> None:
    assert cf.mg1k(0.7, 1.0, 1_500, law, cv2).wait_s == pytest.approx(cf.mg1(0.7, 1.0, cv2).wait_s, rel=1e-6)


@pytest.mark.parametrize(
    ("law", "cv2"),
    [("constant", None), ("exponential", None), ("erlang", 0.5), ("gamma", 0.4), ("gamma", 4.0)]
    + [("hyperexponential", 6.0), ("lognormal", 1.5), ("uniform", 0.1), ("weibull", 2.0)],
)
def test_counts_of_arrivals_are_those_of_drawn_services(law: str, cv2: float | None) -> None:
    rng = np.random.default_rng(81)
    services = Law(law, 1.0, None if cv2 is None else cv2**0.5).draw(rng, 200_000)
    drawn = np.bincount(rng.poisson(1.3 * services), minlength=40)[:8] / 200_000
    counts = arrivals_in_a_service(1.3, 40, law, cv2)
    assert counts.exactly[:8].tolist() == pytest.approx(drawn.tolist(), abs=4.5e-3)
    assert counts.at_least.tolist() == pytest.approx(
        (1 - np.cumsum(counts.exactly) + counts.exactly).tolist(), abs=1e-12
    )
    assert counts.beyond[0] == pytest.approx(1.3, rel=1e-9)
    assert counts.beyond[5] == pytest.approx(1.3 - counts.at_least[1:6].sum(), abs=1e-9)


def test_losses_far_below_rounding_keep_their_digits() -> None:
    assert cf.mg1k(0.5, 1.0, 90, "exponential").loss == pytest.approx(cf.mm1k(0.5, 1.0, 90).loss, rel=1e-9)
    ratio = cf.md1k(0.5, 1.0, 41).loss / cf.md1k(0.5, 1.0, 40).loss
    # The tail of M/D/1 falls by 1 / z with z = exp(rho (z - 1)), z > 1.
    z = 1.0 / ratio
    assert z == pytest.approx(np.exp(0.5 * (z - 1.0)), rel=1e-9)
    assert cf.md1k(0.5, 1.0, 40).loss < 1e-20


@given(rho=st.floats(0.01, 4.0), places=st.integers(1, 80), cv2=st.floats(1.0, 30.0))
@settings(max_examples=50, deadline=None)
def test_more_places_lose_less_and_more_load_loses_more(rho: float, places: int, cv2: float) -> None:
    for law, spread in (("constant", None), ("hyperexponential", cv2), ("gamma", cv2)):
        loss = cf.mg1k(rho, 1.0, places, law, spread).loss
        assert max(0.0, 1 - 1 / rho) * (1 - 1e-9) <= loss <= 1.0
        assert cf.mg1k(rho, 1.0, places + 1, law, spread).loss <= loss * (1 + 1e-9)
        assert cf.mg1k(rho * 1.05, 1.0, places, law, spread).loss >= loss * (1 - 1e-9)


@pytest.mark.parametrize(("places", "slots", "p"), [(1, 5, 0.1), (3, 4, 0.3), (5, 3, 0.3), (4, 50, 0.018)])
def test_a_slotted_buffer_equals_the_chain_of_its_work(places: int, slots: int, p: float) -> None:
    steps = np.zeros((places * slots + 1, places * slots + 1))
    for work in range(places * slots + 1):
        left = max(0, work - 1)
        room = left <= (places - 1) * slots
        steps[work, left + slots if room else left] += p
        steps[work, left] += 1 - p
    n = len(steps)
    balance = np.vstack((steps.T - np.eye(n), np.ones(n)))
    state = np.linalg.lstsq(balance, np.append(np.zeros(n), 1.0), rcond=None)[0]
    loss = sum(state[work] for work in range(n) if max(0, work - 1) > (places - 1) * slots)
    assert cf.slotted_buffer_loss(p, slots, places) == pytest.approx(loss, rel=1e-8)
    assert cf.filled_buffer_loss(p, slots, places, np.ones(20)) == pytest.approx(loss, rel=1e-7)


@pytest.mark.parametrize(
    ("load", "places", "share", "digits"),
    [
        (0.9, 4, 0.0891, 5e-4),
        (0.9, 8, 0.0262, 1e-4),
        (0.9, 16, 0.0040, 1e-4),
        (0.9, 32, 1e-4, 5e-5),
        (0.8, 8, 0.0082, 1e-4),
    ],
)
def test_a_derandomizer_at_750_khz_has_its_reference_losses(
    load: float, places: int, share: float, digits: float
) -> None:
    p = 750e3 / CROSSING_HZ
    assert cf.slotted_buffer_loss(p, load / p, places) == pytest.approx(share, abs=digits)


def test_many_slots_a_service_approach_continuous_time() -> None:
    assert cf.slotted_buffer_loss(0.9 / 20_000, 20_000, 8) == pytest.approx(cf.md1k(0.9, 1.0, 8).loss, rel=1e-3)


def test_trains_lose_more_than_the_same_rate_spread_evenly_and_as_a_simulated_buffer() -> None:
    filled = np.tile(np.repeat([1.0, 0.0], [72, 28]), 3)
    p, slots, places = 0.026, 48, 4
    loss = cf.filled_buffer_loss(p, slots, places, filled)
    rng = np.random.default_rng(82)
    hits = np.flatnonzero((rng.random(6_000_000) < p) & np.resize(filled, 6_000_000).astype(bool)).tolist()
    ends: deque[int] = deque()
    lost = 0
    for slot in hits:
        while ends and ends[0] <= slot:
            ends.popleft()
        if len(ends) == places:
            lost += 1
        else:
            ends.append((ends[-1] if ends else slot) + slots)
    assert abs(loss - lost / len(hits)) < 4 * (3 * loss / len(hits)) ** 0.5
    assert loss > cf.slotted_buffer_loss(p * filled.mean(), slots, places)


@given(trials=st.integers(0, 60), p=st.floats(0.0, 1.0))
def test_binomial_counts_sum_to_one_and_to_their_mean(trials: int, p: float) -> None:
    counts = binomial_counts(trials, p, trials)
    assert counts.exactly.sum() == pytest.approx(1.0)
    assert float(counts.exactly @ np.arange(trials + 1)) == pytest.approx(trials * p, abs=1e-9)


def test_impossible_laws_and_buffers_are_named() -> None:
    with pytest.raises(UnknownNameError, match="gamma"):
        cf.mg1k(0.5, 1.0, 3, "gama", 1.0)
    with pytest.raises(BadValueError, match="at least 1"):
        cf.mg1k(0.5, 1.0, 3, "hyperexponential", 0.5)
    with pytest.raises(BadValueError, match="1/k"):
        cf.mg1k(0.5, 1.0, 3, "erlang", 0.3)
    with pytest.raises(BadValueError, match="constant has cv2 0"):
        cf.mg1k(0.5, 1.0, 3, "constant", 0.3)
    with pytest.raises(BadValueError, match="1/3"):
        cf.mg1k(0.5, 1.0, 3, "uniform", 0.5)
    with pytest.raises(BadValueError, match="places"):
        cf.md1k(0.5, 1.0, 0)
    with pytest.raises(BadValueError, match="probability"):
        cf.slotted_buffer_loss(1.5, 3, 3)
    with pytest.raises(BadValueError, match="filled slots"):
        cf.filled_buffer_loss(0.5, 3, 3, np.zeros(4))
