"""Networks, tandems, fork and join, pipelines and the precision of means, against solved chains and recursions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from queue_oracles import lindley_waits, mean_of, solve_chain

from foundation.errors import BadValueError
from simulator.queues import closed_forms as cf
from simulator.queues.closed_markov import stationary

State = tuple[int, ...]


def test_two_nodes_with_feedback_have_their_reference_values() -> None:
    network = cf.jackson([0.35, 0.0], [[0.0, 0.5], [1.0, 0.0]], [1.0, 1 / 0.6])
    assert network.rates_hz.tolist() == pytest.approx([0.7, 0.35])
    assert [s.number for s in network.stations] == pytest.approx([7 / 3, 1.4])
    assert network.response_s == pytest.approx((7 / 3 + 1.4) / 0.35)


def test_a_jackson_network_equals_its_solved_chain() -> None:
    routing = [[0.0, 0.6, 0.0], [0.2, 0.1, 0.3], [0.5, 0.0, 0.0]]
    external, services, servers, most = [0.1, 0.05, 0.02], [1.0, 1.5, 0.8], [1, 2, 1], 9

    def moves(state: State) -> list[tuple[float, State]]:
        found: list[tuple[float, State]] = []
        for i in range(3):
            up = list(state)
            up[i] += 1
            if up[i] <= most:
                found.append((external[i], tuple(up)))
            if not state[i]:
                continue
            rate = min(state[i], servers[i]) / services[i]
            for j in range(3):
                to = list(state)
                to[i] -= 1
                to[j] += 1
                if routing[i][j] and to[j] <= most:
                    found.append((rate * routing[i][j], tuple(to)))
            out = list(state)
            out[i] -= 1
            found.append((rate * (1 - sum(routing[i])), tuple(out)))
        return found

    chain = solve_chain((0, 0, 0), moves)
    network = cf.jackson(external, routing, services, servers)
    for i in range(3):
        assert network.stations[i].number == pytest.approx(mean_of(chain, lambda s, i=i: s[i]), rel=1e-4)  # type: ignore[misc]


def test_a_saturated_station_makes_the_response_of_the_network_infinite() -> None:
    network = cf.jackson([0.6], [[0.5]], [1.0])
    assert network.response_s == math.inf
    assert network.stations[0].utilisation == 1.0


def closed_chain(customers: int, routing: list[list[float]], services: list[float], servers: list[int]) -> list[float]:
    """Return the mean numbers at three stations of a closed network from its chain."""

    def moves(state: State) -> list[tuple[float, State]]:
        found: list[tuple[float, State]] = []
        for i, row in enumerate(routing):
            for j, share in enumerate(row):
                if state[i] and share and i != j:
                    to = list(state)
                    to[i] -= 1
                    to[j] += 1
                    found.append((min(state[i], servers[i]) / services[i] * share, tuple(to)))
        return found

    chain = solve_chain((customers, 0, 0), moves)
    return [mean_of(chain, lambda s, i=i: s[i]) for i in range(3)]  # type: ignore[misc]


@pytest.mark.parametrize("servers", [[1, 1, 1], [2, 1, 3], [8, 2, 1]])
def test_a_closed_network_equals_its_solved_chain(servers: list[int]) -> None:
    routing, services = [[0.0, 0.7, 0.3], [0.5, 0.0, 0.5], [1.0, 0.0, 0.0]], [1.0, 0.6, 1.4]
    visits = cf.visit_ratios(routing).tolist()
    numbers = closed_chain(8, routing, services, servers)
    network = cf.closed_network(8, visits, services, servers)
    assert network.number.tolist() == pytest.approx(numbers, rel=1e-8)
    assert network.number.sum() == pytest.approx(8)
    if max(servers) == 1:
        assert cf.mean_value_analysis(8, visits, services).number.tolist() == pytest.approx(numbers, rel=1e-8)


@given(
    customers=st.integers(1, 120),
    demands=st.lists(st.floats(0.01, 5.0), min_size=1, max_size=5),
    think_s=st.floats(0.0, 50.0),
)
@settings(max_examples=60, deadline=None)
def test_mean_value_analysis_and_convolution_agree_and_keep_their_bounds(
    customers: int, demands: list[float], think_s: float
) -> None:
    ones = [1.0] * len(demands)
    mva = cf.mean_value_analysis(customers, ones, demands, think_s)
    product = cf.closed_network(customers, ones, demands, [1] * len(demands), think_s)
    assert product.throughput_hz == pytest.approx(mva.throughput_hz, rel=1e-8)
    assert product.number.tolist() == pytest.approx(mva.number.tolist(), rel=1e-6, abs=1e-9)
    assert mva.throughput_hz <= min(1 / max(demands), customers / (sum(demands) + think_s)) * (1 + 1e-9)
    assert mva.number.sum() + mva.throughput_hz * think_s == pytest.approx(customers, rel=1e-9)


def test_a_station_with_a_server_for_everyone_is_a_delay() -> None:
    delay = cf.closed_network(30, [1.0, 1.0], [1.0, 20.0], [1, None])
    think = cf.mean_value_analysis(30, [1.0], [1.0], 20.0)
    assert delay.throughput_hz == pytest.approx(think.throughput_hz, rel=1e-10)
    assert delay.response_s[1] == pytest.approx(20.0)


def tandem_chain(rate: float, first_s: float, second_s: float, places: int, most: int) -> dict[State, float]:
    """States (at the first, at the second, blocked) with blocking after service, counted customer by customer."""

    def moves(state: State) -> list[tuple[float, State]]:
        n, m, blocked = state
        found: list[tuple[float, State]] = [(rate, (n + 1, m, blocked))] if n < most else []
        if n and not blocked:
            found.append((1 / first_s, (n - 1, m + 1, 0) if m < places else (n, m, 1)))
        if m:
            found.append((1 / second_s, (n - 1, m, 0) if blocked else (n, m - 1, 0)))
        return found

    return solve_chain((0, 0, 0), moves)


@pytest.mark.parametrize(("first_s", "second_s", "places"), [(1.0, 1.0, 1), (1.0, 0.7, 3), (0.6, 1.2, 4)])
def test_a_tandem_that_blocks_equals_its_solved_chain(first_s: float, second_s: float, places: int) -> None:
    chain = tandem_chain(0.4, first_s, second_s, places, 150)
    means = cf.tandem_with_blocking(0.4, first_s, second_s, places)
    assert means.first_number == pytest.approx(mean_of(chain, lambda s: s[0]), rel=1e-7)
    assert means.second_number == pytest.approx(mean_of(chain, lambda s: s[1]), rel=1e-7)
    assert means.blocked == pytest.approx(mean_of(chain, lambda s: s[2]), rel=1e-7)


def test_a_tandem_with_two_limits_equals_its_solved_chain() -> None:
    chain = tandem_chain(0.9, 1.0, 1.1, 2, 5)
    means = cf.tandem_with_blocking(0.9, 1.0, 1.1, 2, 5)
    assert means.loss == pytest.approx(mean_of(chain, lambda s: s[0] == 5), rel=1e-9)
    assert means.first_number == pytest.approx(mean_of(chain, lambda s: s[0]), rel=1e-9)
    assert means.throughput_hz == pytest.approx(mean_of(chain, lambda s: s[1] > 0) / 1.1, rel=1e-9)


def test_a_tandem_with_much_room_is_two_single_stations() -> None:
    means = cf.tandem_with_blocking(0.5, 1.0, 0.8, 40)
    assert means.response_s == pytest.approx(cf.mm1(0.5, 1.0).response_s + cf.mm1(0.5, 0.8).response_s, rel=1e-8)


def test_a_tandem_passes_at_most_what_its_never_empty_first_server_passes() -> None:
    chain = tandem_chain(50.0, 1.0, 1.0, 3, 12)
    assert cf.tandem_capacity_hz(1.0, 1.0, 3) == pytest.approx(mean_of(chain, lambda s: s[1] > 0), rel=1e-9)
    saturated = cf.tandem_with_blocking(0.9, 1.0, 1.0, 3)
    assert saturated.throughput_hz == pytest.approx(0.8)
    assert saturated.response_s == math.inf
    assert saturated.blocked == pytest.approx(mean_of(chain, lambda s: s[2]), rel=1e-9)


@pytest.mark.parametrize("rho", [0.1, 0.3, 0.5])
def test_fork_and_join_of_two_equals_the_chain_of_both_queues(rho: float) -> None:
    # Parts leave in order, so max(n1, n2) jobs are under way; their mean over the rate is the response (Little).
    most = 44

    def moves(state: State) -> list[tuple[float, State]]:
        a, b = state
        found: list[tuple[float, State]] = [(rho, (a + 1, b + 1))] if max(a, b) < most else []
        return found + ([(1.0, (a - 1, b))] if a else []) + ([(1.0, (a, b - 1))] if b else [])

    response = mean_of(solve_chain((0, 0), moves), max) / rho
    assert cf.fork_join_response_s(rho, 1.0) == pytest.approx(response, rel=1e-9)


def test_fork_and_join_of_two_holds_at_a_high_load() -> None:
    # The same chain by elimination of levels, which takes the states that numpy.linalg cannot.
    assert cf.fork_join_response_s(0.7, 1.0) == pytest.approx(levels_fork_join(0.7, 85), rel=1e-8)


def levels_fork_join(rho: float, most: int) -> float:
    """Return the response of fork and join from the chain of (n1, n2), one level n1 at a time from the top."""
    size = most + 1
    n2 = np.arange(size)
    serve = np.diag(np.ones(most), -1)
    up = rho * np.diag(np.ones(most), 1)
    arrive = np.where(n2 < most, rho, 0.0)
    leave = np.where(n2 > 0, 1.0, 0.0)
    eye, ratios = np.eye(size), []
    local = serve - np.diag(leave + 1.0)  # the top level takes no arrivals
    for level in range(most, 0, -1):
        ratio = np.linalg.solve(-local.T, up.T).T
        ratios.append(ratio)
        local = serve - np.diag(leave + arrive + (1.0 if level > 1 else 0.0)) + ratio @ eye
    weights = [stationary_of(local)]
    for ratio in reversed(ratios):
        weights.append(weights[-1] @ ratio)
    table = np.array(weights)
    number = float((table * np.maximum(n2[:, None], n2[None, :])).sum() / table.sum())
    return number / rho


def stationary_of(
    generator: np.ndarray[tuple[int, int], np.dtype[np.float64]],
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    system = generator.T.copy()
    system[-1] = 1.0
    return np.linalg.solve(system, np.eye(1, len(system), len(system) - 1)[0])  # type: ignore[no-any-return]


def test_fork_and_join_of_eight_is_near_a_simulation() -> None:
    rng = np.random.default_rng(111)
    gaps = rng.exponential(1.0, 300_000)
    parts = []
    for _ in range(8):
        services = rng.exponential(0.7, 300_000)
        parts.append(lindley_waits(gaps, services) + services)
    simulated = float(np.max(parts, axis=0)[20_000:].mean())
    assert cf.fork_join_response_s(1.0, 0.7, 8) == pytest.approx(simulated, rel=0.05)


@given(times=st.lists(st.floats(0.1, 5.0), min_size=1, max_size=6), items=st.integers(1, 40), data=st.data())
def test_a_constant_pipeline_takes_what_an_event_count_takes(
    times: list[float], items: int, data: st.DataObject
) -> None:
    servers = data.draw(st.lists(st.integers(1, 4), min_size=len(times), max_size=len(times)))
    done = [0.0] * items
    for time_s, lanes in zip(times, servers, strict=True):
        free = [0.0] * lanes
        for i in range(items):
            done[i] = max(done[i], free[i % lanes]) + time_s
            free[i % lanes] = done[i]
    pipeline = cf.constant_pipeline(times, servers, items)
    assert pipeline.makespan_s == pytest.approx(max(done), rel=1e-9)
    assert pipeline.latency_s == pytest.approx(sum(times))
    assert pipeline.throughput_hz == pytest.approx(min(c / s for c, s in zip(servers, times, strict=True)))


@pytest.mark.parametrize(("rho", "variance"), [(0.5, 29), (0.8, 1976), (0.9, 35900)])
def test_the_variance_of_the_mean_wait_has_its_reference_values(rho: float, variance: float) -> None:
    assert cf.mm1_wait_variance_s2(rho, 1.0) == pytest.approx(variance, rel=5e-4)


def test_the_variance_of_the_mean_wait_is_that_of_many_simulated_means() -> None:
    rng = np.random.default_rng(112)
    n, runs, rho = 4_000, 4_000, 0.5
    means = np.empty(runs)
    for run in range(runs):
        services = rho * rng.standard_exponential(n)
        gaps = rng.standard_exponential(n)
        start = rho * rng.standard_exponential() / (1 - rho) if rng.random() < rho else 0.0  # steady from the start
        services[0] += start
        means[run] = (lindley_waits(gaps, services)[1:].sum() + start) / n
    # The start leaves a term of order 1/n; the sample variance of `runs` means has the relative error sqrt(2 / runs).
    expected = cf.mm1_wait_variance_s2(1.0, rho)
    assert n * means.var(ddof=1) == pytest.approx(expected, rel=4 * (2 / runs) ** 0.5)


@pytest.mark.parametrize("rho", [0.3, 0.7])
def test_the_variance_of_the_mean_wait_solves_poissons_equation_on_a_grid(rho: float) -> None:
    # An independent number: W' = (W + S - T)^+ on a lattice of geometric steps, which tends to M/M/1 as they shrink.
    found = [lattice_variance(rho, step) for step in (0.1, 0.05)]
    refined = (4 * found[1] - found[0]) / 3  # the error falls with the square of the step
    assert refined == pytest.approx(cf.mm1_wait_variance_s2(rho, 1.0), rel=1e-4)


def lattice_variance(rho: float, step: float) -> float:
    """Return the asymptotic variance of the mean wait where services and gaps are geometric on a lattice."""
    size = int(22.0 / (1 - rho) / step)
    a, b = math.exp(-step), math.exp(-rho * step)  # tails of service (rate 1) and gap (rate rho) per cell
    k = np.arange(-size, size + 1)
    up = (1 - a) * (1 - b) / (1 - a * b)
    law = np.where(k >= 0, up * a ** np.maximum(k, 0), up * b ** np.maximum(-k, 0))
    steps = np.zeros((size, size))
    for w in range(size):
        row = law[size - w : 2 * size - w].copy()
        row[0] = 1.0 - row[1:].sum()  # all steps below -w; those above the top are below 1e-9
        steps[w] = row
    state = stationary_of(steps - np.eye(size))
    values = np.arange(size) * step
    centred = values - float(state @ values)
    solved = np.linalg.solve(np.eye(size) - steps + np.outer(np.ones(size), state), centred)
    return float(2 * (state * centred) @ solved - state @ centred**2)


@pytest.mark.parametrize(("rho", "customers"), [(0.5, 1.1e6), (0.8, 4.7e6), (0.9, 1.7e7)])
def test_the_customers_for_one_per_cent_have_their_reference_values(rho: float, customers: float) -> None:
    assert cf.mm1_customers_for(rho, 0.01) == pytest.approx(customers, rel=0.02)


@given(st.lists(st.lists(st.floats(0.01, 10.0), min_size=5, max_size=5), min_size=5, max_size=5))
def test_elimination_solves_the_balance_of_a_chain(rates: list[list[float]]) -> None:
    a = np.array(rates)
    np.fill_diagonal(a, 0.0)
    x = stationary(a)
    assert x.sum() == pytest.approx(1.0)
    assert (x @ a).tolist() == pytest.approx((x * a.sum(axis=1)).tolist(), rel=1e-12)


def test_impossible_networks_are_named() -> None:
    with pytest.raises(BadValueError, match="can never leave"):
        cf.traffic_rates_hz([1.0, 0.0], [[0.0, 1.0], [1.0, 0.0]])
    with pytest.raises(BadValueError, match="shares of station 0 sum to"):
        cf.traffic_rates_hz([1.0, 0.0], [[0.6, 0.6], [0.0, 0.0]])
    with pytest.raises(BadValueError, match="square"):
        cf.traffic_rates_hz([1.0], [[0.0, 0.0]])
    with pytest.raises(BadValueError, match="rows sum to 1"):
        cf.visit_ratios([[0.0, 0.5], [1.0, 0.0]])
    with pytest.raises(BadValueError, match="one closed network"):
        cf.visit_ratios([[1.0, 0.0], [0.0, 1.0]])
    with pytest.raises(BadValueError, match="customers"):
        cf.mean_value_analysis(0, [1.0], [1.0])
    with pytest.raises(BadValueError, match="entries of servers"):
        cf.closed_network(3, [1.0], [1.0], [1, 2])
    with pytest.raises(BadValueError, match="places"):
        cf.tandem_with_blocking(0.5, 1.0, 1.0, 0)
    with pytest.raises(BadValueError, match="branches"):
        cf.fork_join_response_s(0.5, 1.0, 0)
    with pytest.raises(BadValueError, match="one stage at least"):
        cf.constant_pipeline([])
    with pytest.raises(BadValueError, match="confidence"):
        cf.samples_for(1.0, 0.1, 1.0)
