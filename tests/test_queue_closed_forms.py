"""Closed forms of single stations against solved chains, exact recursions and simulated waits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from queue_oracles import lindley_waits, mean_and_error, mean_of, server_waits, solve_chain

from foundation.errors import BadValueError
from simulator.queues import closed_forms as cf

RHO = st.floats(0.01, 0.98)


def exact_erlang_b(servers: int, load: float) -> float:
    """Erlang B by its recursion, server by server."""
    inverse = 1.0
    for k in range(1, servers + 1):
        inverse = 1.0 + inverse * k / load
    return 1.0 / inverse


def birth_death(arrival_hz: float, service_s: float, servers: int, places: int) -> dict[int, float]:
    def moves(n: int) -> list[tuple[float, int]]:
        up = [(arrival_hz, n + 1)] if n < places else []
        return up + ([(min(n, servers) / service_s, n - 1)] if n else [])

    return solve_chain(0, moves)


@pytest.mark.parametrize(("rho", "wait"), [(0.8, 4.0), (0.9, 9.0), (0.5, 1.0)])
def test_the_wait_of_mm1_has_its_reference_values(rho: float, wait: float) -> None:
    means = cf.mm1(rho, 1.0)
    assert means.wait_s == pytest.approx(wait, rel=1e-12)
    assert means.number == pytest.approx(rho / (1 - rho), rel=1e-12)
    assert means.utilisation == rho


@pytest.mark.parametrize(("cv2", "wait"), [(0.0, 2.0), (0.25, 2.5), (4.0, 10.0)])
def test_the_wait_of_mg1_has_its_reference_values(cv2: float, wait: float) -> None:
    assert cf.mg1(0.8, 1.0, cv2).wait_s == pytest.approx(wait, rel=1e-12)


def test_erlang_c_and_the_wait_of_mmc_have_their_reference_values() -> None:
    assert cf.mmc_wait_probability(1.6, 1.0, 2) == pytest.approx(0.711111, abs=1e-6)
    assert cf.mmc(1.6, 1.0, 2).wait_s == pytest.approx(1.7778, abs=5e-5)


@pytest.mark.parametrize(("load", "servers", "loss"), [(8, 8, 0.2356), (12, 16, 0.0604)])
def test_erlang_b_has_its_reference_values(load: float, servers: int, loss: float) -> None:
    assert cf.erlang_b(servers, load) == pytest.approx(loss, abs=5e-5)


@pytest.mark.parametrize("servers", [1, 7, 160, 161, 1_000, 30_000, 1_000_000])
@pytest.mark.parametrize("share", [0.5, 0.95, 0.999, 1.0, 1.001, 1.5, 50.0])
def test_erlang_b_equals_the_recursion_up_to_a_million_servers(servers: int, share: float) -> None:
    exact = exact_erlang_b(servers, servers * share)
    assert cf.erlang_b(servers, servers * share) == pytest.approx(exact, rel=1e-9, abs=1e-300)


def test_erlang_b_of_many_servers_equals_a_row_of_single_values() -> None:
    row = cf.erlang_b_up_to(300, 250.0)
    assert row.tolist() == pytest.approx([cf.erlang_b(k, 250.0) for k in range(301)], rel=1e-9)


@given(load=st.floats(0.1, 500.0), loss=st.floats(1e-9, 0.5))
def test_the_servers_for_a_loss_are_the_fewest(load: float, loss: float) -> None:
    servers = cf.servers_for_loss(load, loss)
    assert cf.erlang_b(servers, load) <= loss
    assert servers == 0 or cf.erlang_b(servers - 1, load) > loss


@given(load=st.floats(0.1, 500.0), wait_s=st.floats(1e-6, 10.0))
def test_the_servers_for_a_wait_are_the_fewest(load: float, wait_s: float) -> None:
    servers = cf.servers_for_wait(load, 1.0, wait_s)
    assert cf.mmc(load, 1.0, servers).wait_s <= wait_s * (1 + 1e-9)
    assert servers - 1 <= load or cf.mmc(load, 1.0, servers - 1).wait_s > wait_s * (1 - 1e-9)


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (3, 2.0), (8, 5.0)])
def test_mmc_equals_its_solved_chain(servers: int, load: float) -> None:
    chain = birth_death(load, 1.0, servers, 120)
    means = cf.mmc(load, 1.0, servers)
    assert means.number == pytest.approx(mean_of(chain, float), rel=1e-9)
    assert means.waiting == pytest.approx(mean_of(chain, lambda n: max(0, n - servers)), rel=1e-9)
    assert cf.mmc_distribution(load, 1.0, servers, 20).tolist() == pytest.approx([chain[n] for n in range(21)])
    if servers == 1:
        assert cf.mm1_distribution(load, 1.0, 20).tolist() == pytest.approx([chain[n] for n in range(21)])


@pytest.mark.parametrize(
    ("servers", "places", "load"), [(1, 1, 0.7), (1, 5, 0.8), (1, 10, 1.2), (3, 9, 3.0), (4, 4, 9.0), (2, 30, 1.9998)]
)
def test_mmck_equals_its_solved_chain(servers: int, places: int, load: float) -> None:
    chain = birth_death(load, 1.0, servers, places)
    means = cf.mmck(load, 1.0, servers, places)
    assert means.loss == pytest.approx(chain[places], rel=1e-9)
    assert means.number == pytest.approx(mean_of(chain, float), rel=1e-9)
    waiting = mean_of(chain, lambda n: max(0, n - servers))
    assert means.wait_s == pytest.approx(waiting / (load * (1 - chain[places])), rel=1e-9)
    assert cf.mmck_distribution(load, 1.0, servers, places).tolist() == pytest.approx(
        [chain[n] for n in range(places + 1)]
    )


@pytest.mark.parametrize(("places", "rho", "loss"), [(5, 0.8, 0.0888), (10, 0.95, 0.0694), (10, 1.2, 0.1926)])
def test_the_loss_of_mm1k_has_its_reference_values(places: int, rho: float, loss: float) -> None:
    assert cf.mm1k(rho, 1.0, places).loss == pytest.approx(loss, abs=5e-5)
    assert cf.mm1k(rho, 1.0, places).loss == pytest.approx((1 - rho) * rho**places / (1 - rho ** (places + 1)))


@given(rho=RHO, servers=st.integers(1, 40))
def test_a_limit_far_away_changes_nothing(rho: float, servers: int) -> None:
    limited, free = cf.mmck(rho * servers, 1.0, servers, servers + 4_000), cf.mmc(rho * servers, 1.0, servers)
    assert limited.loss < 1e-30
    assert limited.number == pytest.approx(free.number, rel=1e-8)


@given(rho=st.floats(0.01, 5.0), servers=st.integers(1, 30), room=st.integers(0, 2_000))
def test_loss_is_a_share_and_numbers_obey_little(rho: float, servers: int, room: int) -> None:
    means = cf.mmck(rho * servers, 2.0 / 3.0, servers, servers + room)
    assert 0.0 <= means.loss <= 1.0
    assert 0.0 <= means.utilisation <= 1.0 + 1e-12
    assert 0.0 <= means.waiting <= room * (1 + 1e-9)
    assert means.number == pytest.approx(means.throughput_hz * means.response_s, rel=1e-9)


@given(rho=RHO, step=st.floats(1.001, 1.02), servers=st.integers(1, 300), cv2=st.floats(0, 20))
def test_waits_grow_with_the_load(rho: float, step: float, servers: int, cv2: float) -> None:
    low, high = rho * servers, rho * servers * step
    assert cf.mmc(low, 1.0, servers).wait_s <= cf.mmc(high, 1.0, servers).wait_s
    assert cf.mg1(rho, 1.0, cv2).wait_s < cf.mg1(rho * step, 1.0, cv2).wait_s
    assert cf.mmck(low, 1.0, servers, servers + 5).loss <= cf.mmck(high, 1.0, servers, servers + 5).loss


@given(rate_hz=st.floats(0.1, 100.0), loss=st.floats(1e-9, 0.2), servers=st.integers(1, 20))
def test_the_places_for_a_loss_are_the_fewest(rate_hz: float, loss: float, servers: int) -> None:
    service_s = 0.9 * servers / rate_hz
    places = cf.places_for_loss(rate_hz, service_s, servers, loss)
    assert cf.mmck(rate_hz, service_s, servers, places).loss <= loss
    assert places == servers or cf.mmck(rate_hz, service_s, servers, places - 1).loss > loss


@pytest.mark.parametrize("servers", [1, 4])
def test_quantiles_of_wait_and_response_are_those_of_a_simulated_queue(servers: int) -> None:
    rng = np.random.default_rng(71)
    gaps, services = rng.exponential(1.0, 400_000), rng.exponential(0.7 * servers, 400_000)
    waits = server_waits(gaps, services, servers)[20_000:]
    responses = waits + services[20_000:]
    for q in (0.5, 0.9, 0.99):
        wait_s = cf.mmc_wait_quantile_s(1.0, 0.7 * servers, servers, q)
        response_s = cf.mmc_response_quantile_s(1.0, 0.7 * servers, servers, q)
        assert np.mean(waits <= wait_s) == pytest.approx(max(q, np.mean(waits == 0.0)), abs=0.012)
        assert np.mean(responses <= response_s) == pytest.approx(q, abs=0.012)


@given(rho=RHO, q=st.floats(0.0, 0.999))
def test_quantiles_of_one_server_are_the_known_exponentials(rho: float, q: float) -> None:
    assert cf.mm1_response_quantile_s(rho, 1.0, q) == pytest.approx(
        cf.mmc_response_quantile_s(rho, 1.0, 1, q), rel=1e-6
    )
    t = cf.mm1_wait_quantile_s(rho, 1.0, q)
    assert rho * math.exp(-(1 - rho) * t) == pytest.approx(min(1 - q, rho))


@given(rho=RHO, servers=st.integers(1, 50))
def test_the_tail_of_the_response_integrates_to_its_mean(rho: float, servers: int) -> None:
    means = cf.mmc(rho * servers, 1.0, servers)
    t = np.linspace(0.0, 45.0 * means.response_s / min(1.0, 1.0), 40_001)
    tail = np.array([cf.mmc_response_tail(rho * servers, 1.0, servers, x) for x in t[::40].tolist()])
    step = t[40] - t[0]
    simpson = step / 3 * (tail[0] + 4 * tail[1:-1:2].sum() + 2 * tail[2:-1:2].sum() + tail[-1])
    assert simpson == pytest.approx(means.response_s, rel=1e-4)


@pytest.mark.parametrize(
    ("servers", "rho", "arrival_cv2", "service_cv2"), [(1, 0.8, 1.0, 0.25), (2, 0.85, 1.0, 0.0), (4, 0.85, 0.25, 1.0)]
)
def test_allen_and_cunneen_are_near_a_simulated_queue(
    servers: int, rho: float, arrival_cv2: float, service_cv2: float
) -> None:
    rng = np.random.default_rng([72, servers])
    n = 300_000
    gaps = rng.gamma(1 / arrival_cv2, arrival_cv2, n)
    services = rho * servers * (rng.gamma(1 / service_cv2, service_cv2, n) if service_cv2 else np.ones(n))
    mean, error = mean_and_error(server_waits(gaps, services, servers))
    named = cf.ggc(1.0, rho * servers, servers, arrival_cv2, service_cv2).wait_s
    assert abs(mean - named) < 0.15 * mean + 4 * error


@pytest.mark.parametrize("cv2", [0.0, 1.0, 3.0])
def test_pollaczek_and_khinchine_give_the_simulated_wait(cv2: float) -> None:
    rng = np.random.default_rng([73, int(cv2)])
    n = 2_000_000
    services = 0.7 * (rng.gamma(1 / cv2, cv2, n) if cv2 else np.ones(n))
    mean, error = mean_and_error(lindley_waits(rng.exponential(1.0, n), services))
    assert abs(mean - cf.mg1(1.0, 0.7, cv2).wait_s) < 4 * error


def test_processor_sharing_of_two_phases_has_the_response_of_mm1() -> None:
    # Erlang-2 services: the state is the number in each phase; each customer gets 1/n of the server.
    rate, phase_hz, most = 0.6, 2.0, 45

    def moves(state: tuple[int, int]) -> list[tuple[float, tuple[int, int]]]:
        a, b = state
        found = [(rate, (a + 1, b))] if a + b < most else []
        found += [(phase_hz * a / (a + b), (a - 1, b + 1))] if a else []
        return found + ([(phase_hz * b / (a + b), (a, b - 1))] if b else [])

    chain = solve_chain((0, 0), moves)
    assert cf.mg1_ps(rate, 1.0).number == pytest.approx(mean_of(chain, sum), rel=1e-6)
    assert cf.mg1_ps_response_s(rate, 1.0, 2.0) == pytest.approx(2.0 / (1 - rate))


def test_processor_sharing_on_two_servers_has_the_number_of_mm2() -> None:
    rate, phase_hz, most = 1.1, 2.0, 45

    def moves(state: tuple[int, int]) -> list[tuple[float, tuple[int, int]]]:
        a, b = state
        n = a + b
        each = phase_hz * min(1.0, 2.0 / n) if n else 0.0
        found = [(rate, (a + 1, b))] if n < most else []
        return found + ([(each * a, (a - 1, b + 1))] if a else []) + ([(each * b, (a, b - 1))] if b else [])

    chain = solve_chain((0, 0), moves)
    assert cf.mgc_ps(rate, 1.0, 2).number == pytest.approx(mean_of(chain, sum), rel=1e-6)


@pytest.mark.parametrize(
    "answer", [cf.mm1(1.0, 1.0), cf.mg1(2.0, 1.0, 0.0), cf.mmc(8.0, 1.0, 8), cf.ggc(9, 1, 8, 1, 2)]
)
def test_a_saturated_queue_waits_for_ever_and_serves_what_it_can(answer: cf.QueueMeans) -> None:
    assert answer.wait_s == answer.response_s == answer.number == math.inf
    assert answer.utilisation == 1.0
    assert answer.throughput_hz in (1.0, 8.0)


def test_quantiles_of_a_saturated_queue_are_infinite() -> None:
    assert cf.mm1_response_quantile_s(1.0, 1.0, 0.5) == cf.mmc_wait_quantile_s(3.0, 1.0, 2, 0.5) == math.inf
    assert cf.mmc_response_quantile_s(3.0, 1.0, 2, 0.5) == math.inf


@pytest.mark.parametrize(
    ("function", "arguments", "word"),
    [
        (cf.mm1, (-1.0, 1.0), "arrival_hz"),
        (cf.mm1, (0.5, 0.0), "service_s"),
        (cf.mg1, (0.5, 1.0, -0.1), "cv2"),
        (cf.mg1, (math.nan, 1.0, 1.0), "arrival_hz"),
        (cf.mmc, (0.5, 1.0, 0), "servers"),
        (cf.mmc, (0.5, 1.0, 1.5), "servers"),
        (cf.mmck, (0.5, 1.0, 4, 3), "places"),
        (cf.mm1k, (0.5, 1.0, 0), "places"),
        (cf.erlang_b, (-1, 1.0), "servers"),
        (cf.erlang_c, (2, math.inf), "load"),
        (cf.places_for_loss, (2.0, 1.0, 1, 0.4), "with any buffer"),
        (cf.mmc_wait_quantile_s, (0.5, 1.0, 1, 1.0), "quantile"),
    ],
)
def test_an_impossible_input_is_named(function: Any, arguments: tuple[Any, ...], word: str) -> None:
    with pytest.raises(BadValueError, match=word):
        function(*arguments)
