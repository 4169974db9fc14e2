"""Loss of one part of a farm in closed form: exact laws, limits, and events of what is approximated."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.planning.pipeline_bounds import beta_share, lower_bound, upper_bound
from archcast.planning.pipeline_loss import Part, shared_minimum
from simulator.queues.arrivals import Renewal
from simulator.queues.closed_erlang import erlang_b
from simulator.queues.closed_finite import mmck
from simulator.queues.closed_mg1k import md1k
from simulator.queues.elements import Exit, Network, Service, Source, Station, to
from simulator.queues.laws import Law
from simulator.queues.run import run_network


@pytest.mark.parametrize(
    ("servers", "room", "load"), [(1, 4, 0.7), (10, 60, 1.1), (10, 3, 0.9), (256, 60, 0.97), (100_000, 900, 0.999)]
)
def test_poisson_arrivals_and_exponential_services_are_the_exact_chain(servers: int, room: int, load: float) -> None:
    part = Part(servers, room, load * servers, 1.0, "exponential", 1.0)
    assert part.exact
    assert part.loss() == pytest.approx(mmck(load * servers, 1.0, servers, servers + room).loss, rel=1e-9)


def test_without_room_the_law_of_the_service_does_not_matter() -> None:
    part = Part(40, 0, 35.0, 1.0, "lognormal", 4.0)
    assert part.exact
    assert part.loss() == pytest.approx(erlang_b(40, 35.0), rel=1e-9)


def test_one_server_of_constant_services_is_the_exact_chain() -> None:
    assert Part(1, 7, 0.8, 1.0).loss() == pytest.approx(md1k(0.8, 1.0, 8).loss, rel=1e-12)


def test_shared_minimum_of_two_services_is_as_by_hand() -> None:
    assert shared_minimum("constant", 0.0) == 1.0
    assert shared_minimum("exponential", 1.0) == 0.5
    sigma = math.sqrt(math.log(2.0))  # lognormal of cv 1: E[min] = 2 E[S] P(N > sigma / sqrt 2)
    assert shared_minimum("lognormal", 1.0) == pytest.approx(math.erfc(sigma / 2.0))
    assert shared_minimum("gamma", 0.5) == pytest.approx(0.625, rel=0.01)  # Erlang of two phases: 1 - 3/8


@pytest.mark.parametrize(("room", "within"), [(0, 0.06), (4, 0.12), (10, 0.25)])
def test_even_arrivals_lose_as_events_do(room: int, within: float) -> None:
    part = Part(32, room, 31.0, 1.0, "lognormal", 1.0, 1 / 400)
    arrivals = Renewal(Law("gamma", 1 / part.arrival_hz, math.sqrt(part.arrival_cv2)))
    farm = Station("farm", Service((1.0,), Law("lognormal", 1.0, 1.0)), to("done"), servers=32, places=room)
    network = Network((Source("events", arrivals, to("farm")), farm, Exit("done")), ticks_per_second=10**9)
    run = run_network(network, horizon_s=3_000.0, warm_up_s=100.0, seed=7, engine="callbacks")
    assert run.element("farm").loss_share == pytest.approx(part.loss(), rel=within)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 400), st.integers(0, 300), st.floats(0.3, 1.3), st.sampled_from(["exponential", "lognormal"]),
    st.floats(0.2, 3.0), st.floats(1e-4, 1.0),
)  # fmt: skip
def test_loss_falls_with_servers_and_with_room(
    servers: int, room: int, load: float, law: str, cv: float, arrival_cv2: float
) -> None:
    cv2 = 1.0 if law == "exponential" else cv**2
    part = Part(servers, room, load * servers, 1.0, law, cv2, arrival_cv2)
    loss = part.loss()
    assert 0.0 <= loss <= 1.0
    more = Part(servers + 1, room, load * servers, 1.0, law, cv2, arrival_cv2).loss()
    roomier = Part(servers, room + 1, load * servers, 1.0, law, cv2, arrival_cv2).loss()
    assert more <= loss * (1 + 1e-9) + 1e-300
    assert roomier <= loss * (1 + 1e-9) + 1e-300


def test_latency_of_a_single_server_is_that_of_mm1() -> None:
    part = Part(1, 2_000, 0.5, 1.0, "exponential", 1.0)
    assert part.latency_quantile_s(0.999) == pytest.approx(-math.log(0.001) / 0.5, rel=0.02)


def test_nobody_waits_longer_than_the_room_lets() -> None:
    part = Part(8, 20, 7.5, 1.0, "exponential", 1.0)
    tails = part.wait_tails(np.linspace(0.0, 4.0, 50))
    assert (np.diff(tails) <= 1e-12).all()
    assert tails[-1] == 0.0


def test_bounds_of_counts_are_those_of_clopper_and_pearson() -> None:
    assert upper_bound(0, 3_000_000) == pytest.approx(2.9957 / 3e6, rel=1e-4)
    assert upper_bound(5, 100, 0.975) == pytest.approx(0.11283, abs=2e-5)
    assert lower_bound(5, 100, 0.975) == pytest.approx(0.01643, abs=2e-5)
    assert lower_bound(0, 100) == 0.0
    assert upper_bound(7, 7) == 1.0


@given(st.integers(1, 30), st.integers(1, 30), st.floats(0.01, 0.99))
def test_incomplete_beta_is_the_tail_of_the_binomial(a: int, b: int, x: float) -> None:
    n = a + b - 1
    tail = math.fsum(math.comb(n, k) * x**k * (1 - x) ** (n - k) for k in range(a, n + 1))
    assert beta_share(x, a, b) == pytest.approx(tail, rel=1e-9, abs=1e-12)
