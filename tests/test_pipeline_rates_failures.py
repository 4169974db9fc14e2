"""Lines whose servers fail: the chain against the balance of all states, laws without failures, and events."""

from __future__ import annotations

import numpy as np
import pytest
from test_pipeline_rates import one
from test_pipeline_rates_batches import both

from simulator.pipelines.rates_failures import FailingLine
from simulator.pipelines.rates_queues import Line


def by_states(rate: float, time_s: float, servers: int, places: int, mtbf: float, mttr: float) -> tuple[float, float]:
    """(loss, wait) from the balance of all states (up, here) at once."""
    most = servers + places
    index = {(k, n): k * (most + 1) + n for k in range(servers + 1) for n in range(most + 1)}
    flow = np.zeros((len(index), len(index)))
    for (k, n), i in index.items():
        for to, speed in (
            ((k, n + 1), rate), ((k, n - 1), min(k, n) / time_s), ((k - 1, n), k / mtbf),
            ((k + 1, n), (servers - k) / mttr),
        ):  # fmt: skip
            if to in index and speed:
                flow[i, index[to]] += speed
    flow -= np.diag(flow.sum(axis=1))
    system = flow.T.copy()
    system[-1] = 1
    pi = np.linalg.solve(system, np.eye(len(index))[-1])
    loss = sum(pi[i] for (k, n), i in index.items() if n == most)
    waiting = sum(pi[i] * (n - min(k, n)) for (k, n), i in index.items())
    return float(loss), float(waiting / (rate * (1 - loss)))


@pytest.mark.parametrize(("servers", "places"), [(1, 0), (1, 5), (2, 3), (3, 0), (4, 12), (2, 60)])
@pytest.mark.parametrize("slow", [0.1, 10.0, 1000.0])
def test_the_chain_by_levels_is_that_of_all_states(servers: int, places: int, slow: float) -> None:
    line = Line(servers, 0.8 * servers, "exponential", 1.0, places)
    found = FailingLine(line, 9 * slow, slow).means(1.0)
    assert found == pytest.approx(by_states(1.0, 0.8 * servers, servers, places, 9 * slow, slow), rel=1e-6)


def test_without_limit_the_wait_is_that_of_very_many_places() -> None:
    endless = FailingLine(Line(2, 1.2, "exponential", 1.0, None), 90.0, 10.0).means(1.0)
    many = FailingLine(Line(2, 1.2, "exponential", 1.0, 100_000), 90.0, 10.0).means(1.0)
    assert endless[0] == 0
    assert endless[1] == pytest.approx(many[1], rel=1e-6)
    assert many[0] == pytest.approx(0, abs=1e-12)
    assert by_states(1.0, 1.2, 2, 150, 90.0, 10.0)[1] == pytest.approx(endless[1], rel=0.02)


def test_servers_that_hardly_ever_fail_lose_what_others_do() -> None:
    line = Line(5, 4.5, "exponential", 1.0, 10)
    assert FailingLine(line, 1e9, 1e-3).means(1.0) == pytest.approx((line.loss(1.0), line.wait_s(1.0)), rel=1e-6)


def test_five_servers_that_fail_lose_thousands_of_times_more_than_their_mean_capacity_says() -> None:
    failures = {"mtbf_s": "1 s", "mttr_s": "0.1 s"}
    stage = one(service={"time_s": "3 ms", "law": "exponential"}, servers=5, places=50, failures=failures)
    # 4.2e-4 by events (400 s, three replications)
    assert stage.losses["full"].value == pytest.approx(4.2e-4, rel=0.25)


def test_the_wait_of_servers_that_fail_is_that_of_events() -> None:
    stage = {"service": {"time_s": "3 ms", "law": "exponential"}, "servers": 5, "places": 50,
             "failures": {"mtbf_s": "1 s", "mttr_s": "0.1 s"}}  # fmt: skip
    wait_s, latency_s, events_wait_s, events_latency_s = both(stage, 1000.0, 60.0)
    assert wait_s == pytest.approx(events_wait_s, rel=0.3)
    assert latency_s == pytest.approx(events_latency_s, rel=0.15)


def test_many_servers_are_taken_one_number_up_at_a_time() -> None:
    # 40 servers, 5 % down: with k up and overloaded for far longer than the place takes to fill, Erlang's share is lost
    found, _ = FailingLine(Line(40, 38.0, "exponential", 1.0, 1), 95e6, 5e6).means(1.0)
    line = [Line(k, 38.0, "exponential", 1.0, 1) for k in range(41)]
    weights = [np.exp(_log_binomial(40, 0.95, k)) for k in range(41)]
    by_hand = sum(w * (line[k].loss(1.0) if k else 1.0) for k, w in enumerate(weights))
    assert found == pytest.approx(by_hand, rel=1e-3)


def _log_binomial(n: int, p: float, k: int) -> float:
    choose = np.sum(np.log(np.arange(1, n + 1))) - np.sum(np.log(np.arange(1, k + 1)))
    return float(choose - np.sum(np.log(np.arange(1, n - k + 1))) + k * np.log(p) + (n - k) * np.log(1 - p))
