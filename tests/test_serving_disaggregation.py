"""Prefill and decode apart: what crosses the link, how long it takes, and what it does to a request's times."""

from __future__ import annotations

import numpy as np
import pytest
from serving_fleets import SECOND, asked, constant_costs, mixed, pool, slots

from foundation.errors import BadValueError
from simulator.serving.disaggregation import Link, Transfer
from simulator.serving.failures import Failures
from simulator.serving.fleet import Fleet, Pool, run_fleet
from simulator.serving.policy import Policy
from simulator.streams import RandomStreams

MILLISECOND = SECOND // 1000
LINK = Transfer(kv_bytes_per_token=1000.0, bandwidth_bytes_per_s=1e6, latency_s=0.002)
"""A millisecond a token, and two on the way."""


def split(prefill: int = 1, decode: int = 1) -> list[Pool]:
    costs = constant_costs()
    return [
        Pool("prompts", costs, slots(4), instances=prefill, role="prefill"),
        Pool("tokens", costs, slots(4), instances=decode, role="decode"),
    ]


def test_a_request_pays_its_prefill_the_link_and_its_other_steps() -> None:
    """Prefill of one step; 40 tokens cross in 40 ms and 2 ms of latency; nine steps remain."""
    run = run_fleet(split(), asked([0.0], [40], [10]), RandomStreams(1), transfer=LINK)
    assert run.log.first_token == [MILLISECOND]
    assert run.log.done == [(1 + 40 + 2 + 9) * MILLISECOND]
    assert run.pool.tolist() == [1]


def test_bytes_and_time_of_the_link_have_a_closed_form() -> None:
    requests = mixed(5, 200, 1e-3)
    pools = [pool("p", role="prefill", instances=2), pool("d", role="decode", instances=2)]
    run = run_fleet(pools, requests, RandomStreams(1), transfer=Transfer(1000.0, 1e9, 1e-5))
    sent = int(requests.prompt[requests.generate > 1].sum()) * 1000.0
    assert run.transfer is not None
    assert run.transfer.sent_bytes == sent
    assert run.transfer.transfers == int((requests.generate > 1).sum())
    assert run.transfer.busy_s == pytest.approx(sent / 1e9, rel=1e-9)
    assert run.lost == {}


def test_caches_cross_the_link_one_after_the_other() -> None:
    link = Link(LINK)
    assert [link.send(10, 0), link.send(5, 0), link.send(1, 100 * MILLISECOND)] == [
        12 * MILLISECOND, 17 * MILLISECOND, 103 * MILLISECOND,
    ]  # fmt: skip
    assert (link.busy, link.waited) == (16 * MILLISECOND, 10 * MILLISECOND)


def test_a_request_of_one_token_never_crosses() -> None:
    run = run_fleet(split(), asked([0.0], [40], [1]), RandomStreams(1), transfer=LINK)
    assert run.log.done == [MILLISECOND]
    assert run.transfer is not None
    assert run.transfer.transfers == 0
    assert run.pool.tolist() == [0]


def test_prompts_no_longer_delay_the_tokens_of_others() -> None:
    """A decode beside a long prompt waits for its chunks where both share an engine, and not where they are apart."""
    requests = asked([0.0, 0.0005], [1, 1000], [300, 2])
    link = Transfer(1.0, 1e12)
    sizes = Policy(64, 8, 16, 200)
    apart = [pool("p", role="prefill", policy=sizes), pool("d", role="decode", policy=sizes)]
    alone = run_fleet(apart, asked([0.0], [1], [300]), RandomStreams(1), transfer=link)
    both = run_fleet(apart, requests, RandomStreams(1), transfer=link)
    shared = run_fleet([pool(policy=sizes)], requests, RandomStreams(1))
    assert both.log.done[0] - alone.log.done[0] < (shared.log.done[0] - alone.log.done[0]) / 5


def test_failures_of_either_pool_lose_no_request() -> None:
    requests = mixed(6, 200, 2e-4)
    pools = [
        pool("p", role="prefill", instances=2, failures=Failures(5e-3, 1e-3)),
        pool("d", role="decode", instances=3, failures=Failures(5e-3, 1e-3)),
    ]
    run = run_fleet(pools, requests, RandomStreams(1), transfer=Transfer(1000.0, 1e9, 1e-5))
    assert run.lost == {}
    assert min(one.interrupted for one in run.pools) > 0
    assert np.all(np.array(run.log.done) >= np.array(run.log.first_token))


def test_a_request_that_no_decode_engine_can_hold_is_lost_before_its_prefill() -> None:
    pools = [pool("p", role="prefill"), pool("d", role="decode", policy=Policy(64, 8, 16, 4))]
    run = run_fleet(pools, asked([0.0, 0.0], [60, 20], [20, 20]), RandomStreams(1), transfer=LINK)
    assert run.lost == {"too long": [0]}
    assert run.transfer is not None
    assert run.transfer.transfers == 1


def test_a_split_without_a_link_or_a_partner_is_refused() -> None:
    requests = mixed(1, 3, 1.0)
    with pytest.raises(BadValueError, match="transfer"):
        Fleet(split(), requests, RandomStreams(1))
    with pytest.raises(BadValueError, match="role"):
        Fleet(split()[:1], requests, RandomStreams(1), transfer=LINK)
    with pytest.raises(BadValueError, match="bandwidth"):
        Transfer(1.0, 0.0)
