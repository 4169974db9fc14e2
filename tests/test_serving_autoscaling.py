"""Pools grow and shrink with their load; what a start costs is waited for and paid."""

from __future__ import annotations

import numpy as np
import pytest
from serving_fleets import SECOND, asked, constant_costs, slots

from foundation.errors import BadValueError, UnknownNameError
from simulator.serving.autoscaling import Autoscaling, Scaler
from simulator.serving.fleet import FleetRun, Pool, run_fleet
from simulator.serving.requests import Requests
from simulator.streams import RandomStreams


def run(requests: Requests, instances: int, rule: Autoscaling | None, slots_: int = 1) -> FleetRun:
    pool = Pool("a", constant_costs(), slots(slots_), instances=instances, autoscaling=rule)
    return run_fleet([pool], requests, RandomStreams(1))


def constant(count: int, gap_s: float, service_s: float) -> Requests:
    return asked(np.arange(count) * gap_s, np.ones(count), np.full(count, round(service_s * 1000)))


@pytest.mark.parametrize("cold_start_s", [0.0, 3.5, 40.0])
def test_a_cold_start_shifts_the_first_token_by_its_length(cold_start_s: float) -> None:
    requests = asked([2.0], [1], [10])
    warm = run(requests, 1, None).log.first_token[0]
    rule = Autoscaling(1.0, 1, least=0, cold_start_s=cold_start_s)
    assert run(requests, 0, rule).log.first_token[0] - warm == round(cold_start_s * SECOND)


def test_an_instance_is_paid_from_its_start_until_its_last_request_is_done() -> None:
    """Wanted at 2 s, up at 5 s, done at 6 s; at the evaluation of 10 s it is let go."""
    requests = asked([2.0, 30.0], [1, 1], [1000, 1000])
    found = run(requests, 0, Autoscaling(1.0, 1, least=0, cold_start_s=3.0, period_s=5.0)).pools[0]
    assert found.sizes == [(5 * SECOND, 1), (10 * SECOND, 0), (33 * SECOND, 1)]
    assert found.paid_s == pytest.approx((10 - 2) + (34 - 30))


def test_draining_lets_requests_end() -> None:
    """Two long requests, two instances; the rule wants one at 1 s. The one let go is paid until its request is done."""
    requests = asked([0.0, 0.0, 12.0], [1, 1, 1], [4000, 4000, 1000])
    found = run(requests, 2, Autoscaling(10.0, 2, period_s=1.0))
    assert found.log.done == [4 * SECOND, 4 * SECOND, 13 * SECOND]
    assert found.pools[0].paid_s == pytest.approx(13 + 4)


def test_the_size_follows_the_load() -> None:
    """Eight services a second of one second each at a target of two an instance need four instances."""
    found = run(constant(400, 0.125, 1.0), 1, Autoscaling(2.0, 10, period_s=1.0, cold_start_s=2.0), slots_=4)
    sizes = dict(found.pools[0].sizes)
    late = [size for at, size in sizes.items() if at > 20 * SECOND]
    assert [size for at, size in sorted(sizes.items()) if at <= 20 * SECOND][-1] in (4, 5)
    assert all(3 <= size <= 5 for size in late)


def test_what_was_wanted_within_the_hold_is_kept() -> None:
    hold = Scaler(Autoscaling(1.0, 9, hold_s=10.0))
    assert [hold.want(t * SECOND, signal, 5) for t, signal in ((0, 5), (5, 1), (11, 1), (16, 1))] == [5, 5, 1, 1]
    none = Scaler(Autoscaling(1.0, 9))
    assert [none.want(t * SECOND, signal, 5) for t, signal in ((0, 5), (5, 1))] == [5, 1]


def test_the_signal_is_bounded_by_least_and_most() -> None:
    scaler = Scaler(Autoscaling(4.0, 6, least=2))
    assert [scaler.want(i, signal, 2) for i, signal in enumerate((0, 9, 20, 500))] == [2, 3, 5, 6]


def test_rules_that_cannot_be_are_refused() -> None:
    with pytest.raises(BadValueError, match="between 3 and 2"):
        Autoscaling(1.0, 2, least=3)
    with pytest.raises(BadValueError, match="target"):
        Autoscaling(0.0, 2)
    with pytest.raises(BadValueError, match="cold_start_s"):
        Autoscaling(1.0, 2, cold_start_s=-1.0)
    with pytest.raises(UnknownNameError, match="load"):
        Autoscaling(1.0, 2, signal="loads")
