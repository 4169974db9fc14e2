"""A fleet keeps the laws of queues, of conservation and of determinism, whichever way its time is advanced."""

from __future__ import annotations

from dataclasses import replace
from math import factorial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_fleets import SECOND, STEP_S, asked, constant_costs, exponential, mixed, pool, slots, usual_costs, within

from foundation.errors import BadValueError, UnknownNameError
from simulator.serving.autoscaling import Autoscaling
from simulator.serving.closed_loop import ClosedLoop
from simulator.serving.failures import Failures, Outage, PowerCap
from simulator.serving.fleet import Fleet, FleetRun, Pool, run_fleet
from simulator.serving.policy import Policy
from simulator.serving.replica import Log, Replica
from simulator.serving.requests import Requests
from simulator.serving.results import times_s
from simulator.serving.routers import ROUTERS
from simulator.serving.speculation import Speculation
from simulator.serving.step_costs import StepCosts
from simulator.serving.workflows import Node, Workflow
from simulator.streams import RandomStreams
from workloads.traffic.stream import Traffic

STEPS = 1000.0
"""Mean steps of a service: of one millisecond each, a service takes one second in the mean."""
ALONE = Workflow((Node("a", "a"),))
"""A request is one job of pool a: like no workflow at all, but its end is looked at."""


def erlang_wait(servers: int, load: float) -> float:
    """Return the mean wait of M/M/c in mean services: C / (c (1 - rho)), C by Erlang (des.md section 2)."""
    offered = servers * load
    blocked = (offered**servers / factorial(servers)) / sum(offered**k / factorial(k) for k in range(servers + 1))
    return blocked / (1 - load * (1 - blocked)) / (servers * (1 - load))


@pytest.mark.parametrize(("servers", "load"), [(1, 0.6), (4, 0.8)])
def test_exponential_services_in_slots_wait_as_in_a_queue_with_as_many_servers(servers: int, load: float) -> None:
    waits = []
    for replication in range(10):
        random = RandomStreams(11, replication)
        requests = exponential(random, 2_500, 1 / (servers * load), STEPS)
        run = run_fleet([Pool("a", constant_costs(), slots(servers))], requests, random)
        waits.append(float(times_s(requests, run.log)["queue_s"][300:].mean()))
    within(waits, erlang_wait(servers, load), 0.1)


def test_a_full_queue_loses_the_share_that_a_queue_with_so_many_places_loses() -> None:
    load, places = 0.8, 5
    theory = (1 - load) * load**places / (1 - load ** (places + 1))
    shares = []
    for replication in range(10):
        random = RandomStreams(12, replication)
        requests = exponential(random, 2_500, 1 / load, STEPS)
        run = run_fleet([Pool("a", constant_costs(), slots(1), max_queue=places - 1)], requests, random)
        shares.append(len(run.lost.get("rejected", [])) / len(requests))
    within(shares, theory, 0.1)


def test_a_fleet_of_one_lane_equals_a_bare_engine() -> None:
    requests, policy = mixed(1, 200, 3e-4), Policy(64, 8, 16, 40)
    log = Log.of(len(requests))
    engine = Replica(usual_costs(), policy, requests.prompt.tolist(), requests.generate.tolist(), log)
    for i, at in enumerate(requests.arrival.tolist()):
        engine.advance(at)
        engine.enqueue(i, at)
    engine.advance()
    run = run_fleet([pool(policy=policy)], requests, RandomStreams(1))
    assert (run.log.first_token, run.log.done) == (log.first_token, log.done)
    assert sum(log.preempted) > 0
    assert run.pools[0].preempted == sum(log.preempted)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from([3e-5, 1e-4, 3e-4, 2e-3]), st.sampled_from(ROUTERS[:5] + ROUTERS[6:]),
    st.integers(1, 4), st.integers(1, 2), st.integers(0, 20), st.sampled_from([None, 0, 3]),
    st.sampled_from([None, 2e-3, 2e-2]), st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_requests_tokens_and_blocks_are_conserved_whichever_way_time_is_advanced(
    seed: int, gap_s: float, router: str, instances: int, lanes: int, spare: int, max_queue: int | None,
    mtbf_s: float | None, scaled: bool, capped: bool, prompts_first: bool,
) -> None:  # fmt: skip
    """The run itself checks conservation; the fleet that looks at every end must give the trace of the one that does
    not, under failures, preemptions, rejections, caps and scaling alike."""
    requests = mixed(seed, 60, gap_s)
    one = pool(
        policy=Policy(64, 8, 16, 14 + spare, prompts_first=prompts_first), instances=instances, lanes=lanes,
        router=router, max_queue=max_queue, failures=Failures(mtbf_s, mtbf_s / 5) if mtbf_s else None,
        autoscaling=Autoscaling(3, 4, period_s=1e-3, cold_start_s=2e-3, hold_s=4e-3) if scaled else None,
        power_caps=(PowerCap(1e-3, 1.7), PowerCap(4e-3, 1.0)) if capped else (),
    )  # fmt: skip
    lazy = run_fleet([one], requests, RandomStreams(seed))
    watched = run_fleet([one], requests, RandomStreams(seed), workflow=ALONE)
    assert lazy.trace_hash == watched.trace_hash
    assert lazy.log.first_token == watched.log.first_token
    lost = {request for found in lazy.lost.values() for request in found}
    assert {i for i, tick in enumerate(lazy.log.done) if tick >= 0} == set(range(60)) - lost
    assert max_queue is not None or not lost


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 12)), min_size=1, max_size=30), st.sampled_from(ROUTERS[:5]),
    st.integers(1, 3), st.integers(1, 2), st.sampled_from([None, 0, 2]),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 40), st.integers(1, 9)), max_size=4), st.booleans(),
)  # fmt: skip
def test_events_of_one_tick_have_one_order_whichever_way_time_is_advanced(
    rows: list[tuple[int, int]], router: str, instances: int, lanes: int, max_queue: int | None,
    outages: list[tuple[int, int, int]], scaled: bool,
) -> None:  # fmt: skip
    """All times are whole milliseconds, as all steps are: arrivals, ends, failures and scaling meet in one tick."""
    requests = asked(np.sort([at for at, _ in rows]) * STEP_S, np.ones(len(rows)), [steps for _, steps in rows])
    could_fail = outages[: 3 if scaled else instances]
    given_outages = tuple(Outage(k, at * STEP_S, down * STEP_S) for k, (_, at, down) in enumerate(could_fail))
    one = Pool(
        "a", constant_costs(), slots(2), instances=instances, lanes=lanes, router=router, max_queue=max_queue,
        failures=Failures(given=given_outages),
        autoscaling=Autoscaling(2, 3, period_s=0.004, cold_start_s=0.003) if scaled else None,
    )  # fmt: skip
    lazy = run_fleet([one], requests, RandomStreams(1))
    watched = run_fleet([one], requests, RandomStreams(1), workflow=ALONE)
    assert lazy.trace_hash == watched.trace_hash
    assert lazy.pools[0].paid_s == watched.pools[0].paid_s


def talking(seed: int, count: int, gap_s: float) -> Requests:
    """Return requests of which some share the beginnings of their prompts, and some are urgent."""
    random = np.random.default_rng(seed)
    prompt, depth = random.integers(1, 150, count), random.integers(0, 5, count)
    prefix = [[100 * (d > 0) + k for k in range(min(d, p // 32))] for d, p in zip(depth, prompt, strict=True)]
    arrival = np.cumsum(random.exponential(gap_s, count))
    return Requests.from_traffic(
        Traffic.of(
            arrival, prompt, random.integers(1, 40, count), session=random.integers(-1, 8, count),
            priority=random.integers(0, 3, count), prefix=prefix, prefix_tokens=32,
        )
    )  # fmt: skip


POLICIES: dict[str, dict[str, Any]] = {
    "prefixes": {"prefix_cache": True},
    "urgent first": {"order": "priority"},
    "swap": {"preemption": "swap", "swap_bytes_per_s": 1e9, "kv_bytes_per_token": 1e3},
    "decodes first": {"decodes_first": True},
    "expected drafts": {"speculation": Speculation(3, 0.6, draft_s=1e-6)},
    "drawn drafts": {"speculation": Speculation(2, 0.6, drawn=True)},
    "all": {"prefix_cache": True, "order": "priority", "speculation": Speculation(2, 0.6, drawn=True)},
}


@pytest.mark.parametrize("name", POLICIES)
@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from([3e-5, 3e-4]), st.sampled_from(ROUTERS), st.integers(1, 3),
    st.integers(0, 8), st.sampled_from([None, 4e-3]),
)  # fmt: skip
def test_every_policy_conserves_whichever_way_time_is_advanced(
    name: str, seed: int, gap_s: float, router: str, instances: int, spare: int, mtbf_s: float | None
) -> None:
    policy = Policy(64, 8, 16, 14 + spare, **POLICIES[name])
    failures = Failures(mtbf_s, mtbf_s / 5) if mtbf_s else None
    one = pool(policy=policy, instances=instances, router=router, failures=failures)
    requests = talking(seed, 40, gap_s)
    lazy = run_fleet([one], requests, RandomStreams(seed))
    watched = run_fleet([one], requests, RandomStreams(seed), workflow=ALONE)
    assert lazy.trace_hash == watched.trace_hash
    assert lazy.lost == {}


def test_a_prefix_aware_router_finds_more_of_the_prompts_than_chance() -> None:
    random = np.random.default_rng(1)
    family = random.integers(0, 24, 400)
    traffic = Traffic.of(
        np.cumsum(random.exponential(2e-3, 400)), np.full(400, 150), np.full(400, 5),
        prefix=[[10 * f + k for k in range(4)] for f in family], prefix_tokens=32,
    )  # fmt: skip
    hits = {}
    for router in ("prefix-aware", "random"):
        one = pool(policy=Policy(64, 8, 16, 60, prefix_cache=True), instances=4, router=router)
        run = run_fleet([one], Requests.from_traffic(traffic), RandomStreams(1))
        hits[router] = sum(run.log.hit)
    assert hits["prefix-aware"] > 1.5 * hits["random"] > 0


def test_the_same_seed_gives_the_same_trace_and_another_seed_another() -> None:
    def trace(seed: int) -> str:
        one = pool(instances=3, router="power-of-two", failures=Failures(5e-3, 1e-3))
        return run_fleet([one], mixed(1, 200, 1e-4), RandomStreams(seed)).trace_hash

    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


def test_another_pool_shifts_no_stream_of_the_first() -> None:
    first = pool(instances=3, router="power-of-two", failures=Failures(5e-3, 1e-3))
    other = pool("b", instances=2, router="random", failures=Failures(2e-3, 1e-3))
    requests = mixed(1, 200, 1e-4)
    alone = run_fleet([first], requests, RandomStreams(5), workflow=ALONE)
    both = run_fleet([other, first], requests, RandomStreams(5), workflow=ALONE)
    assert alone.log.done == both.log.done
    assert both.pools[0].outages > 0


def closed(users: int, count: int, think_s: float = 0.0, ramp_s: float = 0.0) -> FleetRun:
    requests = mixed(2, count, 1.0)
    return run_fleet([pool(instances=2)], requests, RandomStreams(1), closed_loop=ClosedLoop(users, think_s, ramp_s))


def test_a_user_asks_again_after_the_answer_and_the_thought() -> None:
    run = closed(1, 20, think_s=0.25)
    assert run.requests.arrival[0] == 0
    gaps = run.requests.arrival[1:] - np.array(run.log.done[:-1])
    assert set(gaps.tolist()) == {SECOND // 4}


def test_no_more_requests_are_in_flight_than_there_are_users() -> None:
    run = closed(7, 300)
    events = sorted([(t, 1) for t in run.requests.arrival.tolist()] + [(t, -1) for t in run.log.done])
    flight = np.cumsum([change for _, change in events])
    assert flight.max() == 7
    assert len(run.log.done) == 300


def test_users_start_evenly_over_the_ramp() -> None:
    run = closed(4, 4, ramp_s=8.0, think_s=100.0)
    assert run.requests.arrival.tolist() == [0, 2 * SECOND, 4 * SECOND, 6 * SECOND]


def test_the_law_of_response_times_holds_in_a_closed_loop() -> None:
    """Users = throughput x (response + thought): exact over the whole run when every user's cycles are counted."""
    users, count = 6, 600
    run = closed(users, count, think_s=0.002)
    done = np.array(run.log.done)
    cycles = float((done - run.requests.arrival + SECOND * 0.002).sum())
    assert cycles / float(done.max()) == pytest.approx(users, rel=0.02)


def test_a_request_that_never_fits_is_lost_and_the_others_are_served() -> None:
    requests = asked([0.0, 0.0, 0.001], [40, 900, 40], [5, 5, 5])
    run = run_fleet([pool(policy=Policy(64, 8, 16, 20))], requests, RandomStreams(1))
    assert run.lost == {"too long": [1]}
    assert [tick >= 0 for tick in run.log.done] == [True, False, True]


def test_a_queue_of_none_rejects_whoever_would_wait() -> None:
    requests = asked([0.0, 0.5, 0.6, 3.0], [1] * 4, [1000] * 4)
    run = run_fleet([Pool("a", constant_costs(), slots(1), max_queue=1)], requests, RandomStreams(1))
    assert run.lost == {"rejected": [2]}


def test_energy_is_that_of_the_steps_and_of_what_idles() -> None:
    requests = asked([1.0], [1], [3])  # three steps of a joule a rank; the run ends at 1.003 s
    one = Pool("a", constant_costs(), slots(1), instances=2, devices=4, tp=2, lanes=2, idle_w=100.0)
    run = run_fleet([one], requests, RandomStreams(1))
    assert run.horizon == SECOND + 3 * SECOND // 1000
    idle_s = 2 * 4 * 1.003 - 2 * 3 * STEP_S
    assert run.energy_j == pytest.approx(2 * 3 * 1.0 + 100.0 * idle_s)
    assert run.device_s == pytest.approx(8 * 1.003)


def test_requests_at_one_time_spread_over_the_lanes_of_an_instance() -> None:
    requests = asked([0.0] * 4, [1] * 4, [10] * 4)
    one = Pool("a", constant_costs(), slots(1), instances=2, lanes=2)
    run = run_fleet([one], requests, RandomStreams(1))
    assert sorted(run.lane.tolist()) == [0, 1, 2, 3]
    assert run.log.done == [SECOND // 100] * 4


@pytest.mark.parametrize("users", [1, 2, 4, 8])
def test_a_pipeline_with_fewer_batches_than_stages_idles_by_its_bubble(users: int) -> None:
    """Each of four lanes is a batch on its way through four stages: with m of them, m of four stages are busy."""
    requests = asked(np.zeros(80), np.ones(80), np.full(80, 10))
    one = Pool("a", constant_costs(), slots(1), lanes=4, devices=4)
    run = run_fleet([one], requests, RandomStreams(1), closed_loop=ClosedLoop(users))
    assert sum(run.pools[0].busy) * 4 == min(users, 4) * 4 * run.horizon
    assert run.horizon == 80 // min(users, 4) * 10 * SECOND // 1000


def test_pools_that_do_not_go_together_are_refused() -> None:
    requests = mixed(1, 3, 1.0)
    with pytest.raises(BadValueError, match="one pool"):
        Fleet([pool("a"), pool("b")], requests, RandomStreams(1))
    with pytest.raises(BadValueError, match="same name"):
        Fleet([pool("a"), pool("a")], requests, RandomStreams(1))
    with pytest.raises(BadValueError, match="instances"):
        pool(instances=-1)
    with pytest.raises(BadValueError, match="no instance"):
        pool(instances=0)
    with pytest.raises(UnknownNameError, match="least-loaded"):
        pool(router="least-load")
    with pytest.raises(BadValueError, match="users"):
        ClosedLoop(0)


def test_the_blocks_of_the_policy_are_those_of_each_lane() -> None:
    policy = Policy(64, 8, 16, 200)
    run = run_fleet([pool(policy=policy, lanes=2, instances=3)], mixed(1, 20, 1e-3), RandomStreams(1))
    assert run.blocks == run.pools[0].blocks == 6 * 200


@pytest.mark.parametrize("bad", [-1e-9, float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["work", "sampling", "decode", "chunk"])
def test_step_costs_that_are_negative_or_missing_are_refused(part: str, bad: float) -> None:
    costs = constant_costs()
    values = getattr(costs.time, part).copy()
    values.flat[-1] = bad
    wrong = replace(costs.time, **{part: values})
    grids = costs.contexts, costs.chunks, costs.before
    with pytest.raises(BadValueError, match=rf"'{part}' \(seconds\)"):
        StepCosts(wrong, costs.energy, *grids)
    with pytest.raises(BadValueError, match=rf"'{part}' \(joules\)"):
        StepCosts(costs.time, wrong, *grids)
