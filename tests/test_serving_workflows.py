"""Workflows of several models: branches by their probabilities, times along the graph, work by expectation."""

from __future__ import annotations

from math import factorial, sqrt

import numpy as np
import pytest
from serving_fleets import SECOND, asked, constant_costs, mixed, pool, slots, within

from foundation.errors import BadValueError, UnknownNameError
from simulator.serving.closed_loop import ClosedLoop
from simulator.serving.disaggregation import Transfer
from simulator.serving.failures import Failures
from simulator.serving.fleet import FleetRun, Pool, run_fleet
from simulator.serving.policy import Policy
from simulator.serving.results import times_s
from simulator.serving.workflows import (
    Edge,
    Node,
    Tokens,
    Workflow,
    cascade,
    plan_of,
    retrieval,
    route,
    tool_calls,
)  # fmt: skip
from simulator.streams import RandomStreams

MILLISECOND = SECOND // 1000


def engines(*names: str) -> list[Pool]:
    """Return a pool by name, of steps of a millisecond, with more slots than requests."""
    return [Pool(name, constant_costs(), slots(8), instances=4) for name in names]


def one(workflow: Workflow, pools: list[Pool], prompt: int = 5, generate: int = 10) -> FleetRun:
    return run_fleet(pools, asked([0.0], [prompt], [generate]), RandomStreams(1), workflow=workflow)


def test_a_cascade_gives_the_big_model_its_share_of_the_requests() -> None:
    requests, share = mixed(1, 3000, 1e-2), 0.3
    run = run_fleet([pool("small"), pool("big")], requests, RandomStreams(1), workflow=cascade("small", "big", share))
    assert run.node_counts is not None
    assert run.node_counts["small"] == 3000
    assert abs(run.node_counts["big"] - 3000 * share) < 4 * sqrt(3000 * share * (1 - share))
    assert int((run.pool == 1).sum()) == run.node_counts["big"]


def test_the_mean_time_of_a_cascade_is_the_small_answer_and_the_share_of_the_big() -> None:
    """No request waits for another, so each takes 10 steps, or 10 and 30."""
    count, share = 2000, 0.25
    requests = asked(np.arange(count) * 1.0, np.ones(count), np.full(count, 10))
    big = Node("big", "big", generate=Tokens(fixed=30))
    workflow = Workflow((Node("small", "small"), big), (Edge("small", "big", share),))
    run = run_fleet(engines("small", "big"), requests, RandomStreams(2), workflow=workflow)
    times = times_s(requests, run.log)["latency_s"]
    assert set(np.round(times * 1000).astype(int).tolist()) == {10, 40}
    assert abs(times.mean() - 0.001 * (10 + share * 30)) < 4 * 0.030 * sqrt(share * (1 - share) / count)
    taken = run.requests.generate == 30
    assert np.all(times[taken] > 0.035)


def test_the_first_token_of_a_cascade_is_that_of_the_answer() -> None:
    run = one(cascade("small", "big", 1.0), engines("small", "big"))
    assert (run.log.first_token, run.log.done) == ([11 * MILLISECOND], [20 * MILLISECOND])
    assert run.log.admitted == [0]


def test_a_route_splits_by_its_shares_and_takes_no_time() -> None:
    requests, shares = mixed(1, 3000, 1e-2), {"x": 0.5, "y": 0.2, "z": 0.3}
    run = run_fleet([pool(name) for name in shares], requests, RandomStreams(3), workflow=route(shares))
    found = np.bincount(run.pool, minlength=3)
    for count, share in zip(found, shares.values(), strict=True):
        assert abs(count - 3000 * share) < 4 * sqrt(3000 * share * (1 - share))
    alone = run_fleet([pool("x")], requests, RandomStreams(3), workflow=Workflow((Node("x", "x"),)))
    assert min(run.log.first_token) >= min(alone.log.first_token)


def test_retrieval_comes_before_the_answer_and_makes_its_prompt_longer() -> None:
    run = one(retrieval("a", 0.05, 1, 100), [pool("a")])
    plain = run_fleet([pool("a")], asked([0.0], [105], [10]), RandomStreams(1))
    assert run.log.done[0] == plain.log.done[0] + 50 * MILLISECOND


def test_a_station_of_exponential_services_waits_as_theory_says() -> None:
    servers, load, waits = 3, 0.7, []
    offered = servers * load
    blocked = (offered**servers / factorial(servers)) / sum(offered**k / factorial(k) for k in range(servers + 1))
    theory = blocked / (1 - load * (1 - blocked)) / (servers * (1 - load))
    station = Node("s", delay_s=1.0, servers=servers, service="exponential")
    for replication in range(10):
        streams = RandomStreams(5, replication)
        arrival = np.cumsum(streams.get("arrivals").exponential(1 / offered, 5000))
        requests = asked(arrival, np.ones(5000), np.ones(5000))
        run = run_fleet(engines("a"), requests, streams, workflow=Workflow((station,)))
        service_s = plan_of(Workflow((station,)), requests, RandomStreams(5, replication)).service[0] / SECOND
        waits.append(float((times_s(requests, run.log)["latency_s"] - service_s)[300:].mean()))
    within(waits, theory, 0.1)


def test_a_fork_ends_with_its_slowest_branch_and_a_join_waits_for_all() -> None:
    nodes = (
        Node("ask", split="each"), Node("left", "a", generate=Tokens(fixed=5)),
        Node("right", "b", generate=Tokens(fixed=30)), Node("both", "a", Tokens(parents_generate=1.0)),
    )  # fmt: skip
    edges = (Edge("ask", "left"), Edge("ask", "right"), Edge("left", "both"), Edge("right", "both"))
    assert one(Workflow(nodes[:3], edges[:2]), engines("a", "b")).log.done == [30 * MILLISECOND]
    joined = one(Workflow(nodes, edges), engines("a", "b"))
    assert joined.log.first_token == [31 * MILLISECOND]
    assert joined.log.done == [40 * MILLISECOND]


def test_tool_calls_add_their_delay_and_each_turn_sees_all_before_it() -> None:
    workflow = tool_calls("a", 3, 1.0, delay_s=0.5, result_tokens=7)
    requests = asked([0.0], [5], [10])
    plan = plan_of(workflow, requests, RandomStreams(1))
    turns = [i for i, node in enumerate(workflow.nodes) if node.pool]
    assert plan.prompt[turns, 0].tolist() == [5, 5 + 10 + 7, 22 + 10 + 7]
    assert one(workflow, engines("a")).log.done == [(3 * 10 + 2 * 500) * MILLISECOND]


def test_the_number_of_turns_is_geometric_up_to_its_most() -> None:
    requests = mixed(3, 4000, 1.0)
    plan = plan_of(tool_calls("a", 4, 0.6, 0.1, 5), requests, RandomStreams(6))
    turns = plan.active[::2].sum(axis=0)
    expected = 1 + 0.6 + 0.36 + 0.216
    assert abs(turns.mean() - expected) < 4 * turns.std() / sqrt(4000)


def test_lengths_may_be_drawn_and_a_new_node_shifts_no_other() -> None:
    drawn = Tokens(draw=lambda random, count: random.geometric(0.02, count))
    requests = mixed(3, 500, 1.0)
    short = Workflow((Node("x", "a", generate=drawn),))
    longer = Workflow((Node("w", "a", generate=drawn), Node("x", "a", generate=drawn)), (Edge("w", "x", 0.5),))
    alone, both = (plan_of(flow, requests, RandomStreams(6)) for flow in (short, longer))
    assert np.array_equal(alone.generate[0], both.generate[1])
    assert not np.array_equal(both.generate[0], both.generate[1])
    assert abs(alone.generate.mean() - 50) < 4 * 50 / sqrt(500)


def test_users_of_a_workflow_ask_again_after_its_last_node() -> None:
    requests = asked(np.zeros(5), np.ones(5), np.full(5, 10))
    run = run_fleet(
        engines("small", "big"), requests, RandomStreams(1), workflow=cascade("small", "big", 1.0),
        closed_loop=ClosedLoop(1),
    )  # fmt: skip
    assert run.requests.arrival.tolist() == [i * 20 * MILLISECOND for i in range(5)]


def test_a_workflow_on_engines_that_fail_and_reject_still_accounts_for_every_request() -> None:
    requests = mixed(7, 300, 1e-4)
    pools = [
        pool("small", instances=2, failures=Failures(4e-3, 1e-3), policy=Policy(64, 8, 16, 30)),
        pool("big", max_queue=0, policy=Policy(64, 8, 16, 30)),
    ]
    run = run_fleet(pools, requests, RandomStreams(1), workflow=cascade("small", "big", 1.0))
    lost = run.lost["rejected"]
    assert len(lost) + int((np.array(run.log.done) >= 0).sum()) == 300
    assert run.pools[0].interrupted > 0
    assert set(run.lane[lost].tolist()) == {-1}


def test_a_node_may_be_split_into_prefill_and_decode() -> None:
    pools = [
        Pool("small", constant_costs(), slots(8)), Pool("p", constant_costs(), slots(8), role="prefill"),
        Pool("d", constant_costs(), slots(8), role="decode"),
    ]  # fmt: skip
    run = run_fleet(
        pools, asked([0.0], [5], [10]), RandomStreams(1), workflow=cascade("small", "p", 1.0),
        transfer=Transfer(1000.0, 1e6),
    )  # fmt: skip
    assert run.log.first_token == [11 * MILLISECOND]
    assert run.log.done == [(10 + 1 + 5 + 9) * MILLISECOND]


def test_workflows_that_cannot_be_are_refused() -> None:
    x, y = Node("x", "a"), Node("y", "a")
    with pytest.raises(BadValueError, match="cycle among x, y"):
        Workflow((x, y), (Edge("x", "y"), Edge("y", "x")))
    with pytest.raises(BadValueError, match=r"sum to 1\.5"):
        Workflow((x, y, Node("z", "a")), (Edge("x", "y", 0.75), Edge("x", "z", 0.75)))
    with pytest.raises(UnknownNameError, match="z"):
        Workflow((x, Node("zz", "a")), (Edge("x", "z"),))
    with pytest.raises(BadValueError, match="probability"):
        Workflow((x, y), (Edge("x", "y", 1.5),))
    with pytest.raises(UnknownNameError, match="pool"):
        one(Workflow((Node("x", "c"),)), engines("a", "b"))
    with pytest.raises(BadValueError, match="either a model"):
        Node("x", "a", delay_s=1.0)
    with pytest.raises(BadValueError, match=r"sum to 0\.9"):
        route({"a": 0.5, "b": 0.4})
