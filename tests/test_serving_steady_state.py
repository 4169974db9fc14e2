"""The closed form of a serving engine: equal to the events with one user, near them with many, and lawful beyond."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.prediction import predict
from archcast.question import ask
from archcast.serving_columns import Policies, serve_columns, steady_answer
from costmodel.in_network import costs_in_network
from costmodel.protocol import PhysicsModel
from foundation.errors import BadValueError
from simulator.clock import PICOSECONDS_PER_SECOND
from simulator.serving.kv_blocks import kv_blocks
from simulator.serving.pricing import Engine, step_costs
from simulator.serving.profile import Axes, Profile, profile_of
from simulator.serving.replica import Log, Policy, Replica
from simulator.serving.steady_state import Lengths, Limits, SteadyState, open_arrivals, steady_state
from workloads.lowering import lower
from workloads.mapping import Mapping
from workloads.table import Array

ENOUGH = 10**7
"""KV blocks that never run out."""


def made_up(most_tokens: int = 512, most_requests: int = 64, longest: int = 16_384) -> Profile:
    """Return costs with round numbers: a step is 10 ms + 20 us a token, an output 5 us, a cached token 30 ns."""
    axes = Axes.reach(most_tokens, most_requests, longest)
    ends = np.array([1.0, 0.9, 1.2, 300.0, 250.0, 400.0])  # time lo and hi, energy at 300 W

    def spread(values: Array) -> Array:
        return np.asarray(np.asarray(values)[None, ..., None] * ends)

    decode = np.outer(axes.decodes, axes.contexts) * 30e-9
    chunk = np.outer(axes.chunks, np.ones(len(axes.before))) * (axes.before + axes.chunks[:, None] / 2) * 1e-9
    return Profile(
        axes, spread(10e-3 + 20e-6 * axes.tokens), spread(5e-6 * np.maximum(axes.decodes - 1, 0)), spread(decode),
        spread(chunk), np.array([1]), np.array([1]), np.array([1]), np.array([[60.0, 50.0, 70.0]]), np.array([400.0]),
    )  # fmt: skip


@cache
def physical(most_tokens: int = 512) -> tuple[Engine, Profile]:
    question = ask("llama-3-8b", "h100-sxm")
    engine = Engine(question.model, question.target.spec, question.target.rates, Mapping(), PhysicsModel())
    return engine, profile_of(engine, most_tokens, 64, 16_384)


def closed_loop(
    profile: Profile, policy: Policy, users: int, prompt: list[int], generate: list[int], apart_s: float = 0.0
) -> tuple[float, float, float]:  # fmt: skip
    """Serve requests by events, `users` at a time, each begun anew when one ends; return (ttft_s, tpot_s, rate_hz).

    The users begin one after the other within `apart_s` seconds. Means are over the middle half of the requests.
    """
    log, total = Log.of(len(prompt)), len(prompt)
    replica = Replica(profile.step_costs(policy.most_tokens, policy.most_requests), policy, prompt, generate, log)
    begin = np.sort(np.random.default_rng(0).random(users) * apart_s * PICOSECONDS_PER_SECOND).astype(int).tolist()
    arrival, coming, running = [0] * total, 0, set[int]()
    while coming < users or running:
        until = begin[coming] if coming < users else 2**63 - 1
        ended = replica.advance(until, one_end=True)
        for done in [r for r in running if log.done[r] >= 0]:
            running.discard(done)
            if len(begin) < total:
                begin.append(log.done[done])
                arrival[len(begin) - 1] = log.done[done]
                replica.enqueue(len(begin) - 1, log.done[done])
                running.add(len(begin) - 1)
        if not ended and coming < users:
            arrival[coming] = begin[coming]
            replica.enqueue(coming, begin[coming])
            running.add(coming)
            coming += 1
    middle = slice(total // 4, total * 3 // 4)
    first, over, start, made = (
        np.array(x, dtype=float)[middle] for x in (log.first_token, log.done, arrival, generate)
    )
    ends = np.sort(np.array(log.done, dtype=float)) / PICOSECONDS_PER_SECOND
    rate = (total * 3 // 4 - total // 4) / (ends[total * 3 // 4] - ends[total // 4])
    tpot = (over - first).sum() / max((made - 1).sum(), 1)
    return (first - start).mean() / PICOSECONDS_PER_SECOND, tpot / PICOSECONDS_PER_SECOND, float(rate)


def limits(most_tokens: int = 512, most_requests: int = 64, blocks: int = ENOUGH) -> Limits:
    return Limits.of(Policy(most_tokens, most_requests, 16, blocks))


@pytest.mark.parametrize("tokens", [64, 512])
@pytest.mark.parametrize(
    ("prompt", "generate"), [(1, 1), (1, 2), (40, 3), (512, 50), (513, 2), (777, 120), (900, 1), (1024, 300)]
)
def test_with_one_user_the_closed_form_equals_the_events(tokens: int, prompt: int, generate: int) -> None:
    for profile in (made_up(), physical()[1]):
        found = steady_state(profile, Lengths.constant(prompt, generate), 1, limits(tokens, 1))
        ttft, tpot, rate = closed_loop(profile, Policy(tokens, 1, 16, ENOUGH), 1, [prompt] * 8, [generate] * 8)
        assert found.ttft_s[0, 0] == pytest.approx(ttft, rel=1e-7)  # whole picoseconds, and their slopes
        assert found.request_rate_hz[0, 0] == pytest.approx(rate, rel=1e-7)
        if generate > 1:
            assert found.tpot_s[0, 0] == pytest.approx(tpot, rel=1e-7)


def test_one_request_by_hand() -> None:
    found = steady_state(made_up(), Lengths.constant(600, 3), 1, limits())
    first = (10e-3 + 512 * 20e-6) + (10e-3 + 88 * 20e-6) + (512 * 256 + 88 * (512 + 44)) * 1e-9
    steps = 2 * (10e-3 + 20e-6) + (601 + 602) * 30e-9
    assert found.ttft_s[0, 0] == pytest.approx(first, rel=2e-3)  # a square between two points of the chunks' axis
    assert found.tpot_s[0, 0] == pytest.approx(steps / 2, rel=1e-9)
    assert found.energy_per_token_j[0, 0] == pytest.approx(300 * found.latency_s[0, 0] / 3, rel=1e-9)
    assert found.power_w[0] == pytest.approx([300, 250 / 1.2, 400], rel=1e-9)  # least energy in the longest time
    assert found.steps[0] == 4


@pytest.mark.parametrize("users", [2, 8, 24, 64])
@pytest.mark.parametrize(("prompt", "generate"), [(1000, 100), (200, 200), (3000, 300), (100, 400)])
def test_users_that_start_apart_see_nearly_what_the_events_say(users: int, prompt: int, generate: int) -> None:
    found = steady_state(made_up(), Lengths.constant(prompt, generate), users, limits())
    apart = float(found.latency_s[0, 0])
    count = 8 * users
    ttft, tpot, rate = closed_loop(
        made_up(), Policy(512, 64, 16, ENOUGH), users, [prompt] * count, [generate] * count, apart
    )
    assert found.tpot_s[0, 0] == pytest.approx(tpot, rel=0.03)
    assert found.ttft_s[0, 0] == pytest.approx(ttft, rel=0.1)
    assert found.request_rate_hz[0, 0] == pytest.approx(rate, rel=0.03)


@pytest.mark.parametrize(("users", "prompt", "generate"), [(4, 800, 100), (16, 300, 150), (32, 500, 100)])
def test_lengths_that_vary_enter_by_their_means_and_variances(users: int, prompt: int, generate: int) -> None:
    rng = np.random.default_rng(1)
    prompts = np.maximum(rng.gamma(4, prompt / 4, 1600), 1).astype(int)
    made = np.maximum(rng.gamma(4, generate / 4, 1600), 2).astype(int)
    found = steady_state(made_up(), Lengths.of(prompts, made), users, limits())
    ttft, tpot, rate = closed_loop(made_up(), Policy(512, 64, 16, ENOUGH), users, prompts.tolist(), made.tolist())
    assert found.tpot_s[0, 0] == pytest.approx(tpot, rel=0.03)
    assert found.ttft_s[0, 0] == pytest.approx(ttft, rel=0.1)
    assert found.request_rate_hz[0, 0] == pytest.approx(rate, rel=0.03)


def test_prompts_that_began_together_share_their_steps() -> None:
    count = [1000] * 160, [100] * 160
    policy = Policy(2048, 8, 16, ENOUGH)
    ttft, tpot, _ = closed_loop(made_up(2048), policy, 8, *count)
    found = steady_state(made_up(2048), Lengths.constant(1000, 100, together=True), 8, Limits.of(policy))
    apart = steady_state(made_up(2048), Lengths.constant(1000, 100), 8, Limits.of(policy))
    assert found.ttft_s[0, 0] == pytest.approx(ttft, rel=0.03)
    assert found.tpot_s[0, 0] == pytest.approx(tpot, rel=0.03)
    assert apart.ttft_s[0, 0] < 0.8 * ttft


def test_requests_beyond_the_kv_blocks_wait_by_littles_law() -> None:
    blocks = 10 * 1050 // 16
    found = steady_state(made_up(), Lengths.constant(1000, 100), [4, 40], limits(blocks=blocks))
    assert found.batch + found.waiting == pytest.approx([4, 40])
    assert found.batch[1] == pytest.approx((blocks * 16 - 512 / 2) / (1050 + 15 / 2))  # half a chunk stays free
    assert (found.latency_s[:, 0] * found.request_rate_hz[:, 0]) == pytest.approx([4, 40])
    assert found.kv_tokens[1] <= blocks * 16
    roomy = steady_state(made_up(), Lengths.constant(1000, 100), 40, limits())
    assert found.ttft_s[1, 0] > roomy.ttft_s[0, 0]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 800), st.integers(1, 300), st.integers(64, 512), st.integers(70, 3000))
def test_laws_hold_for_any_load(prompt: int, generate: int, users: int, tokens: int, blocks: int) -> None:
    found = steady_state(made_up(), Lengths.constant(prompt, generate), [users, users + 7], limits(tokens, 64, blocks))
    for name in ("ttft_s", "latency_s", "request_rate_hz", "tokens_per_s", "power_w", "energy_per_token_j"):
        value, lo, hi = getattr(found, name).T
        assert np.isfinite(value).all()
        assert (lo <= value * (1 + 1e-9)).all()
        assert (value <= hi * (1 + 1e-9)).all()
        assert (lo > 0).all()
    assert found.latency_s[:, 0] * found.request_rate_hz[:, 0] == pytest.approx([users, users + 7], rel=1e-6)
    assert found.steps[0] * (1 + 1e-9) >= generate - 1
    # no more tokens a step than the budget
    assert (found.batch * (prompt + generate - 1) / found.steps <= tokens * (1 + 1e-6)).all()
    if generate > 1:
        assert (found.ttft_s[:, 0] + (generate - 1) * found.tpot_s[:, 0]) == pytest.approx(found.latency_s[:, 0])


def test_arrivals_that_are_rare_find_the_engine_empty_and_those_beyond_its_capacity_are_unstable() -> None:
    lengths = Lengths.constant(400, 50)
    alone = steady_state(made_up(), lengths, 1, limits())
    capacity = steady_state(made_up(), lengths, 64, limits()).request_rate_hz[0, 0]
    found = open_arrivals(made_up(), lengths, [1e-4, 0.5 * capacity, 0.95 * capacity, 1.01 * capacity], limits())
    assert found.unstable.tolist() == [False, False, False, True]
    assert found.ttft_s[0, 0] == pytest.approx(alone.ttft_s[0, 0], rel=1e-3)
    assert found.tpot_s[0, 0] == pytest.approx(alone.tpot_s[0, 0], rel=1e-3)
    assert found.power_w[0, 0] == pytest.approx(60, rel=0.01)  # idle
    assert (np.diff(found.ttft_s[:3, 0]) > 0).all()
    assert np.isnan(found.ttft_s[3]).all()


def _poisson(profile: Profile, policy: Policy, rate: float, count: int) -> tuple[float, float]:
    """Return (mean ttft_s, mean tpot_s) of equal requests that arrive at random, by events."""
    gaps = np.random.default_rng(2).exponential(1 / rate, count)
    arrival = (np.cumsum(gaps) * PICOSECONDS_PER_SECOND).astype(int).tolist()
    log = Log.of(count)
    replica = Replica(
        profile.step_costs(policy.most_tokens, policy.most_requests), policy, [400] * count, [50] * count, log
    )
    for request, at in enumerate(arrival):
        replica.advance(at)
        replica.enqueue(request, at)
    replica.advance()
    first, done, start = (
        np.array(x)[count // 5 :] / PICOSECONDS_PER_SECOND for x in (log.first_token, log.done, arrival)
    )
    return float((first - start).mean()), float((done - first).mean() / 49)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.7])
def test_random_arrivals_see_nearly_what_the_events_say(share: float) -> None:
    lengths, policy = Lengths.constant(400, 50), Policy(512, 64, 16, ENOUGH)
    capacity = float(steady_state(made_up(), lengths, 64, limits()).request_rate_hz[0, 0])
    found = open_arrivals(made_up(), lengths, share * capacity, limits())
    ttft, tpot = _poisson(made_up(), policy, share * capacity, 3000)
    assert found.tpot_s[0, 0] == pytest.approx(tpot, rel=0.05)
    assert found.ttft_s[0, 0] == pytest.approx(ttft, rel=0.15)


def test_a_sparse_profile_has_the_exact_costs_at_its_points() -> None:
    engine, profile = physical()
    exact = step_costs(engine, 512, 64, 16_384)
    sparse = step_costs(engine, 512, 64, 16_384, exact=False)
    for tokens in profile.axes.tokens.tolist():
        assert sparse.work[tokens] == pytest.approx(exact.work[tokens], rel=1e-6)
    for decodes in (1, 4, 64):
        assert sparse.decode_ticks(decodes, decodes * 1024) == pytest.approx(
            exact.decode_ticks(decodes, decodes * 1024), rel=1e-3
        )
    assert sparse.chunk_ticks(512, 0) == pytest.approx(exact.chunk_ticks(512, 0), rel=1e-6)
    ratio = np.array(sparse.work[1:]) / np.array(exact.work[1:])
    assert np.abs(ratio - 1).mean() < 0.01


def test_engines_of_a_profile_are_priced_as_each_alone() -> None:
    engine, _ = physical()
    several = [replace(engine, mapping=m, dtype=d) for m in (Mapping(), Mapping(tp=4, pp=2)) for d in ("bf16", "fp8")]
    whole = profile_of(several, 512, 64, 8192)
    for i, one in enumerate(several):
        alone = profile_of(one, 512, 64, 8192)
        for name in ("work", "sampling", "decode", "chunk"):
            assert np.allclose(getattr(whole, name)[i], getattr(alone, name)[0], rtol=1e-12, atol=0)
    assert whole.lanes.tolist() == [1, 1, 2, 2]
    assert whole.ranks.tolist() == [1, 1, 4, 4]


def test_serving_prices_operators_as_a_network_runs_them() -> None:
    question = ask("llama-3-8b", "h100-sxm")
    from archcast.cost_models import shipped

    engine = Engine(question.model, question.target.spec, question.target.rates, Mapping(), shipped())
    run, _ = engine.run("decode", np.array([1, 8]), np.array([100, 900]))
    table = lower([run], engine.mapping).table
    told = costs_in_network(shipped(), table, engine.rates, engine.fabric, "", engine.weights_bytes)
    mine = engine.price(table)
    for name in ("latency_s", "latency_lo_s", "latency_hi_s", "energy_j"):
        assert np.array_equal(getattr(mine, name), getattr(told, name))


def test_seconds_of_the_host_stand_in_every_step_and_idle() -> None:
    profile = made_up()
    plain = steady_state(profile, Lengths.constant(300, 11), 1, limits())
    slow = steady_state(profile.with_host(2e-3), Lengths.constant(300, 11), 1, limits())
    assert slow.tpot_s[0, 0] - plain.tpot_s[0, 0] == pytest.approx(2e-3)
    assert slow.latency_s[0, 0] - plain.latency_s[0, 0] == pytest.approx(11 * 2e-3)
    more = slow.energy_per_token_j[0, 0] - plain.energy_per_token_j[0, 0]
    assert more == pytest.approx(2e-3 * 60)


def columns(**changes: object) -> dict[str, Array]:
    asked = {
        "on": ["h100-sxm"], "count": 8, "dtypes": ("bf16", "fp8"), "prompt": 1000, "generate": 100,
        "concurrency": [1, 16, 128], "cost_model": "physics",
    }  # fmt: skip
    return serve_columns("llama-3.1-70b", **(asked | changes))  # type: ignore[arg-type]


def test_columns_have_a_row_for_each_engine_and_load() -> None:
    found = columns()
    rows = len(found["on"])
    assert {len(column) for column in found.values()} == {rows}
    assert rows % 6 == 0
    assert found["concurrency"][:3].tolist() == [1, 16, 128]
    tight = (found["dtype"] == "bf16") & (found["dp"] == 8)
    assert set(found["verdict"][tight]) == {"infeasible"}
    assert all("short of memory" in reason for reason in found["reason"][tight])
    assert np.isnan(found["ttft_s"][tight]).all()
    fine = found["verdict"] == "feasible"
    assert fine.sum() > rows / 2
    assert np.isfinite(found["tokens_per_s"][fine]).all()
    assert (found["cost_per_million_tokens_lo_usd"][fine] <= found["cost_per_million_tokens_usd"][fine]).all()


def test_kv_blocks_of_columns_are_those_of_kv_blocks() -> None:
    found = columns(mappings=[Mapping(tp=8)], dtypes=("fp8",), prompt=1, generate=1, concurrency=1)
    question = ask("llama-3.1-70b", "h100-sxm", dtype="fp8")
    engine = Engine(question.model, question.target.spec, question.target.rates, Mapping(tp=8), PhysicsModel(), "fp8")
    assert found["largest_batch"][0] == kv_blocks(engine, most_tokens=Policies().most_tokens)


def test_one_user_of_columns_gets_what_predict_says() -> None:
    found = columns(mappings=[Mapping(tp=4)], dtypes=("fp8",), concurrency=1)
    told = predict("llama-3.1-70b", on="h100-sxm", tp=4, dtype="fp8", prompt=1000, generate=100, model="physics")
    assert told.tpot_s is not None
    assert told.ttft_s is not None
    assert found["tpot_s"][0] == pytest.approx(told.tpot_s.value, rel=0.01)
    assert found["ttft_s"][0] == pytest.approx(told.ttft_s.value, rel=0.02)


@pytest.mark.parametrize(("users", "prompt", "generate"), [(1, 1000, 100), (16, 2500, 60), (64, 150, 300)])
def test_the_few_points_of_one_load_say_what_the_grid_says(users: int, prompt: int, generate: int) -> None:
    mapping = Mapping(tp=4)
    asked = ask("llama-3.1-70b", "h100-sxm", dtype="fp8", prompt=prompt, generate=generate, concurrency=users)
    engine = Engine(asked.model, asked.target.spec, asked.target.rates, mapping, PhysicsModel(), "fp8")
    found = steady_answer(asked, mapping, PhysicsModel(), engine.weights_bytes)
    grid = columns(mappings=[mapping], dtypes=("fp8",), concurrency=users, prompt=prompt, generate=generate)
    assert found.ttft_s[0, 0] == pytest.approx(grid["ttft_s"][0], rel=0.04)
    assert found.tpot_s[0, 0] == pytest.approx(grid["tpot_s"][0], rel=0.02)
    assert found.power_w[0, 0] == pytest.approx(grid["power_w"][0], rel=0.02)
    if users == 1:
        told = predict("llama-3.1-70b", on="h100-sxm", tp=4, dtype="fp8", prompt=prompt, generate=generate,
                       model="physics")  # fmt: skip
        assert told.latency_s is not None
        assert found.latency_s[0] == pytest.approx(
            (told.latency_s.value, told.latency_s.lo, told.latency_s.hi), rel=5e-3
        )
        idle, limit = (4 * watts for watts in (asked.target.rates.idle_w[0], asked.target.rates.limit_w))
        assert idle < found.energy_per_token_j[0, 0] * generate / found.latency_s[0, 0] <= limit


def test_networks_whose_state_does_not_grow_are_bounded_by_requests() -> None:
    found = serve_columns("mamba-2.8b", on="h100-sxm", prompt=[100, 100_000], generate=100, concurrency=16,
                          cost_model="physics")  # fmt: skip
    assert found["verdict"].tolist() == ["feasible", "feasible"]
    assert found["largest_batch"][0] == found["largest_batch"][1] > 1000
    assert found["memory_bytes"][0] == found["memory_bytes"][1]


def test_replicas_share_the_users_and_the_money_is_that_of_all_devices() -> None:
    found = columns(mappings=[Mapping(tp=4), Mapping(tp=4, dp=2)], dtypes=("fp8",), concurrency=[16, 32])
    one, two = 0, 3  # 16 users of one engine, 32 of two replicas
    assert found["tpot_s"][two] == pytest.approx(found["tpot_s"][one])
    assert found["tokens_per_s"][two] == pytest.approx(2 * found["tokens_per_s"][one])
    assert found["power_w"][two] == pytest.approx(2 * found["power_w"][one])
    assert found["cost_per_million_tokens_usd"][two] == pytest.approx(found["cost_per_million_tokens_usd"][one])


@pytest.mark.parametrize(
    ("change", "words"),
    [({"prompt": 0}, "prompt"), ({"generate": 0}, "generate"), ({"concurrency": [1, 0]}, "concurrency"),
     ({"prompt": float("nan")}, "prompt"), ({"prompt": [1, 2]}, "different lengths"), ({"count": 0}, "count")],
)  # fmt: skip
def test_loads_that_nobody_can_have_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(BadValueError, match=words):
        columns(**change)


def test_what_a_device_or_a_mapping_cannot_do_is_the_reason_of_its_rows() -> None:
    found = columns(mappings=[Mapping(tp=3), Mapping(tp=8)], dtypes=("nvfp4", "bf16"), on=["tpu-v5e", "h100-sxm"])
    three = found["tp"] == 3
    assert set(found["verdict"][three]) == {"infeasible"}
    assert any("does not divide" in reason for reason in found["reason"][three])
    assert "feasible" in found["verdict"][(found["tp"] == 8) & (found["on"] == "h100-sxm")]


def test_devices_without_links_and_models_without_tokens_are_named() -> None:
    alone = columns(on=["jetson-orin-nx", "h100-sxm"], mappings=[Mapping(tp=8)], dtypes=("bf16",), concurrency=1)
    assert "no link" in alone["reason"][0]
    assert alone["verdict"][1] == "feasible"
    picture = serve_columns("resnet50", on="h100-sxm", prompt=10, generate=10, concurrency=1, cost_model="physics")
    assert "generates no tokens" in picture["reason"][0]


def test_a_profile_that_does_not_reach_the_budget_is_refused() -> None:
    with pytest.raises(BadValueError, match="most_tokens"):
        steady_state(made_up(512), Lengths.constant(10, 10), 1, limits(1024))
    with pytest.raises(BadValueError, match="above 0"):
        steady_state(made_up(), Lengths.constant(10, 10), 0, limits())
    with pytest.raises(BadValueError, match="at least 1"):
        Lengths.constant(0, 10)


def test_all_fields_of_an_answer_have_one_entry_a_candidate() -> None:
    found = steady_state(made_up(), Lengths.constant([10, 20, 30], 5), 2, limits())
    assert isinstance(found, SteadyState)
    assert found.ttft_s.shape == (3, 3)
    assert found.batch.shape == (3,)
