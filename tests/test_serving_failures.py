"""Engines fail and come back: no request is lost, and what was lost of it is computed anew."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from serving_fleets import SECOND, asked, constant_costs, mixed, pool, slots

from foundation.errors import BadValueError
from simulator.serving.autoscaling import Autoscaling
from simulator.serving.closed_loop import ClosedLoop
from simulator.serving.disaggregation import Transfer
from simulator.serving.failures import Failures, Outage, PowerCap
from simulator.serving.fleet import Pool, run_fleet
from simulator.serving.workflows import Node, retrieval
from simulator.streams import RandomStreams

MILLISECOND = SECOND // 1000


def steps(count: int, **options: object) -> Pool:
    """Return a pool of engines whose steps take a millisecond."""
    return Pool("a", constant_costs(), slots(4), instances=count, **options)  # type: ignore[arg-type]


def test_a_failure_at_time_zero_delays_until_the_engine_is_back() -> None:
    requests = asked([0.0, 0.5], [1, 1], [10, 10])
    run = run_fleet([steps(1, failures=Failures(given=(Outage(0, 0.0, 2.0),)))], requests, RandomStreams(1))
    assert run.log.first_token == [2 * SECOND + MILLISECOND] * 2
    assert run.lost == {}


def test_a_request_goes_on_elsewhere_with_the_tokens_that_its_user_has() -> None:
    """It fails at 5.5 ms: five tokens are out, the sixth is lost; elsewhere a step computes prompt and tokens."""
    requests = asked([0.0], [1], [10])
    run = run_fleet([steps(2, failures=Failures(given=(Outage(0, 0.0055),)))], requests, RandomStreams(1))
    assert run.log.first_token == [MILLISECOND]
    assert run.log.done == [5 * MILLISECOND + MILLISECOND // 2 + 5 * MILLISECOND]
    assert (run.instance.tolist(), run.pools[0].interrupted, run.pools[0].outages) == ([1], 1, 1)


def test_a_step_that_ends_at_the_failure_counts() -> None:
    requests = asked([0.0], [1], [5])
    run = run_fleet([steps(2, failures=Failures(given=(Outage(0, 0.005, 1.0),)))], requests, RandomStreams(1))
    assert run.log.done == [5 * MILLISECOND]
    assert run.pools[0].interrupted == 0


def test_many_failures_lose_no_request() -> None:
    requests = mixed(4, 400, 1e-4)
    for router in ("least-loaded", "power-of-two", "random"):
        run = run_fleet([pool(instances=3, router=router, failures=Failures(3e-3, 1e-3))], requests, RandomStreams(4))
        assert run.lost == {}
        assert min(run.log.done) > 0
        assert run.pools[0].interrupted > 100


def test_up_and_down_times_have_their_means() -> None:
    random = np.random.default_rng(1)
    times, last, up, down = Failures(50.0, 5.0).of(0, 0, random), 0, [], []
    for _ in range(4000):
        at, back = next(times)
        assert back is not None
        up.append((at - last) / SECOND)
        down.append((back - at) / SECOND)
        last = back
    assert np.mean(up) == pytest.approx(50.0, abs=4 * 50 / math.sqrt(4000))
    assert np.mean(down) == pytest.approx(5.0, abs=4 * 5 / math.sqrt(4000))


def test_what_no_instance_will_ever_serve_is_lost_by_that_cause() -> None:
    requests = asked([0.0, 1.0], [1, 1], [10, 10])
    run = run_fleet([steps(1, failures=Failures(given=(Outage(0, 0.5),)))], requests, RandomStreams(1))
    assert run.lost == {"no instance": [1]}
    assert run.log.done[0] == 10 * MILLISECOND
    assert run.pools[0].paid_s == pytest.approx(0.5)


def test_users_who_find_no_instance_ask_again_and_are_lost_in_the_order_of_time() -> None:
    requests = asked([0.0] * 30, [1] * 30, [10] * 30)
    one = steps(1, failures=Failures(given=(Outage(0, 0.05),)))
    run = run_fleet([one], requests, RandomStreams(1), closed_loop=ClosedLoop(2, think_s=0.01))
    done = [tick for tick in run.log.done if tick >= 0]
    assert len(done) + len(run.lost["no instance"]) == 30
    assert max(done) <= SECOND // 20
    assert np.all(np.diff(run.requests.arrival) >= 0)


def test_failures_that_leave_no_time_to_serve_are_refused() -> None:
    requests = asked([0.0], [1], [1])
    with pytest.raises(BadValueError, match="mtbf_s"):
        run_fleet([steps(1, failures=Failures(1e-6, 1e-6))], requests, RandomStreams(1))


def test_a_power_cap_stretches_the_steps_that_start_under_it() -> None:
    requests = asked([0.0], [1], [10])
    caps = (PowerCap(0.0045, 2.0), PowerCap(0.009, 1.0))
    run = run_fleet([steps(1, power_caps=caps)], requests, RandomStreams(1))
    assert run.log.done == [(5 * 1 + 2 * 2 + 3 * 1) * MILLISECOND]


def test_outages_that_cannot_be_are_refused() -> None:
    with pytest.raises(BadValueError, match="still down"):
        Failures(given=(Outage(0, 1.0, 5.0), Outage(0, 3.0, 1.0)))
    with pytest.raises(BadValueError, match="mtbf_s"):
        Failures(mtbf_s=5.0)
    with pytest.raises(BadValueError, match="at_s"):
        Outage(0, -1.0)
    with pytest.raises(BadValueError, match="down_s"):
        Outage(0, 1.0, 0.0)
    with pytest.raises(BadValueError, match="factor"):
        PowerCap(0.0, 0.0)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("at_s of an outage", lambda x: Outage(0, x)),
        ("down_s of an outage", lambda x: Outage(0, 1.0, x)),
        ("mttr_s", lambda x: Failures(mtbf_s=1.0, mttr_s=x)),
        ("at_s of a power cap", lambda x: PowerCap(x, 1.0)),
        ("period_s of autoscaling", lambda x: Autoscaling(1.0, 2, period_s=x)),
        ("cold_start_s", lambda x: Autoscaling(1.0, 2, cold_start_s=x)),
        ("hold_s", lambda x: Autoscaling(1.0, 2, hold_s=x)),
        ("think_s", lambda x: ClosedLoop(1, think_s=x)),
        ("ramp_s", lambda x: ClosedLoop(1, ramp_s=x)),
        ("latency_s of the KV link", lambda x: Transfer(1.0, 1.0, x)),
        ("delay_s of node 'n'", lambda x: Node("n", delay_s=x)),
    ],
)
def test_a_time_longer_than_any_run_is_refused_by_key_and_limit(name: str, make: Callable[[float], object]) -> None:
    make(9e6)
    with pytest.raises(BadValueError, match=f"{name} .* at most 9e\\+06, not 10000000.0"):
        make(1e7)


def test_a_mean_time_between_failures_may_be_longer_than_any_run() -> None:
    one = steps(1, failures=Failures(mtbf_s=1e9, mttr_s=60.0))
    assert run_fleet([one], asked([0.0, 1.0], [1, 1], [10, 10]), RandomStreams(1)).pools[0].outages == 0


def test_outages_that_sum_to_more_than_a_run_can_last_are_refused_in_one_sentence() -> None:
    """The second outage delays nothing that is done before it."""
    one = steps(1, failures=Failures(given=(Outage(0, 0.0, 8e6), Outage(0, 8e6 + 1, 8e6))))
    run = run_fleet([one], asked([0.0], [1], [10]), RandomStreams(1))
    assert run.log.done == [8_000_000 * SECOND + 10 * MILLISECOND]
    with pytest.raises(BadValueError, match="the longest that a run can last"):
        run_fleet([one], asked([0.0], [1], [10_000]), RandomStreams(1))
    with pytest.raises(BadValueError, match="the longest that a run can last"):
        run_fleet([steps(1)], asked([0.0] * 2, [1] * 2, [1] * 2), RandomStreams(1), workflow=retrieval("a", 9e6, 1, 1))


def test_requests_that_nothing_can_serve_any_more_are_lost_also_where_they_were_interrupted() -> None:
    """The first is done, the second is interrupted for ever, the third comes too late."""
    for lanes in (1, 2):
        one = steps(1, lanes=lanes, failures=Failures(given=(Outage(0, 1.0, math.inf),)))
        run = run_fleet([one], asked([0.0, 0.9995, 2.0], [1] * 3, [10] * 3), RandomStreams(1))
        assert run.lost == {"no instance": [1, 2]}
        assert run.log.done == [10 * MILLISECOND, -1, -1]


def test_an_outage_of_an_instance_that_never_starts_is_refused() -> None:
    with pytest.raises(BadValueError, match=r"instance 2 of pool 'a'.*from 0 to 1"):
        steps(2, failures=Failures(given=(Outage(2, 1.0),)))
    assert steps(2, failures=Failures(given=(Outage(1, 1.0),)))
    assert steps(1, failures=Failures(given=(Outage(2, 1.0),)), autoscaling=Autoscaling(1.0, most=3))
    with pytest.raises(BadValueError, match="from 0 to 2"):
        steps(1, failures=Failures(given=(Outage(3, 1.0),)), autoscaling=Autoscaling(1.0, most=3))
