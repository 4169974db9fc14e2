"""The usual benchmark: one user sees what an engine alone takes; equal requests stay together in waves."""

from __future__ import annotations

import pytest
from plain_scheduler import costs

from simulator.serving.benchmark import benchmark_times
from simulator.serving.policy import Policy


def test_one_user_sees_the_engine_alone() -> None:
    prices = costs()
    found = benchmark_times(prices, Policy(64, 8, 16, 1000), 1, 40, 3, shortest=1.0)
    first = prices.work[40] + prices.sampling[1] + prices.chunk_ticks(40, 0)
    steps = [prices.work[1] + prices.sampling[1] + prices.decode_ticks(1, 40 + j) for j in (1, 2)]
    assert found.ttft_s == pytest.approx(first * 1e-12)
    assert found.tpot_s == pytest.approx(sum(steps) / 2 * 1e-12)
    assert found.queue_s == 0.0


def test_equal_requests_stay_together_and_their_wave_waits_for_itself() -> None:
    together = benchmark_times(costs(), Policy(64, 8, 16, 1000), 8, 64, 40, shortest=1.0)
    apart = benchmark_times(costs(), Policy(64, 8, 16, 1000), 8, 64, 40, shortest=0.3)
    assert together.ttft_s > apart.ttft_s


def test_the_same_seed_gives_the_same_times() -> None:
    one, other = (benchmark_times(costs(), Policy(64, 8, 16, 1000), 4, 50, 20, seed=5) for _ in range(2))
    assert one == other
