"""Users in service all the time: one is a batch of one, many are what the events say, and a stack adds its terms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import archcast as ac
from archcast.in_service import InService, seen_of
from archcast.question import ask
from archcast.render.breakdown import energy_by_family
from archcast.render.header import answer_section, header
from costmodel.estimate import Estimate, Quantity
from costmodel.protocol import PhysicsModel
from costmodel.stack import PLAIN, Stack, find_stack, shipped_stacks
from foundation.errors import BadValueError, MappingError, UnsupportedError
from simulator.clock import PICOSECONDS_PER_SECOND
from simulator.serving.policy import Policy
from simulator.serving.pricing import Engine, step_costs
from simulator.serving.replica import Log, Replica
from workloads.mapping import Mapping
from workloads.table import Array

ASKED: dict[str, Any] = {"on": "h100-sxm", "prompt": 512, "generate": 65, "model": "physics"}
TIMES = ("latency_s", "ttft_s", "tpot_s", "rate_hz", "cost_usd", "tokens_per_s", "usd_per_million_tokens")
ENERGIES = ("energy_j", "power_w", "energy_per_token_j")
FIELDS = (*TIMES, *ENERGIES)


def value(quantity: Quantity | None) -> float:
    assert quantity is not None
    return quantity.value


def numbers(found: Estimate, names: tuple[str, ...]) -> Array:
    return np.array([value(getattr(found, name)) for name in names])


@pytest.mark.parametrize(
    ("model", "asked"),
    [
        ("llama-3.1-8b", {}),
        ("llama-3.1-8b", {"tp": 4, "dtype": "fp8"}),
        ("llama-3.1-8b", {"pp": 2}),
        ("mixtral-8x7b", {"tp": 4, "ep": 4}),
        ("deepseek-v2-lite", {}),  # whose decode steps absorb products that its prefills do not
        ("mamba-2.8b", {}),
        ("gpt-2", {}),  # whose table of positions ends before a step's budget of tokens
        ("llava-1.5-7b", {}),  # whose image is encoded before the first token only
        ("t5-base", {}),
    ],
)
def test_one_user_is_a_batch_of_one(model: str, asked: dict[str, Any]) -> None:
    user, batch = (ac.predict(model, **(ASKED | asked | how)) for how in ({"concurrency": 1}, {"batch": 1}))
    np.testing.assert_allclose(numbers(user, TIMES), numbers(batch, TIMES), rtol=5e-3)
    assert value(user.memory_bytes) == value(batch.memory_bytes)


def test_one_user_burns_what_a_batch_of_one_burns_where_boards_are_not_measured_serving() -> None:
    asked: dict[str, Any] = {"on": "raspberry-pi-5", "prompt": 64, "generate": 9, "model": "physics"}
    user, batch = (ac.predict("qwen2.5-0.5b", **(asked | how)) for how in ({"concurrency": 1}, {"batch": 1}))
    np.testing.assert_allclose(numbers(user, ENERGIES), numbers(batch, ENERGIES), rtol=5e-3)


def test_many_users_see_what_the_events_say() -> None:
    users, prompt, generate = 16, 512, 65
    found = ac.predict("llama-3.1-8b", concurrency=users, **ASKED)
    question = ask("llama-3.1-8b", "h100-sxm")
    engine = Engine(question.model, question.target.spec, question.target.rates, Mapping(), PhysicsModel())
    costs, total = step_costs(engine, 2048, users, prompt + generate, exact=False), 20 * users
    log = Log.of(total)
    lane = Replica(costs, Policy(2048, users, 16, 10**7), [prompt] * total, [generate] * total, log)
    arrival = np.zeros(total)
    # users begin apart, so that their prompts do not all meet
    begin = (np.linspace(0, value(found.latency_s), users, endpoint=False) * PICOSECONDS_PER_SECOND).astype(int)
    asked = 0
    for at in begin.tolist():
        while lane.advance(at, one_end=True):
            asked = again(lane, arrival, asked, total)
        arrival[asked] = at
        lane.enqueue(asked, at)
        asked += 1
    while asked < total and lane.advance(one_end=True):
        asked = again(lane, arrival, asked, total)
    lane.advance()
    middle = slice(4 * users, 16 * users)
    first, done = (np.array(x, dtype=float)[middle] / PICOSECONDS_PER_SECOND for x in (log.first_token, log.done))
    assert value(found.tpot_s) == pytest.approx(float((done - first).mean()) / (generate - 1), rel=0.05)
    each = float((done - arrival[middle] / PICOSECONDS_PER_SECOND).mean())
    assert value(found.rate_hz) == pytest.approx(users / each, rel=0.05)


def again(lane: Replica, arrival: Array, asked: int, total: int) -> int:
    """Let the user whose request is done ask the next one; return how many were asked."""
    if asked < total:
        arrival[asked] = lane.now
        lane.enqueue(asked, lane.now)
    return min(asked + 1, total)


def test_what_follows_from_rate_and_power() -> None:
    found = ac.predict("llama-3.1-8b", concurrency=8, dp=2, **ASKED)
    assert value(found.latency_s) == pytest.approx(8 / value(found.rate_hz), rel=1e-12)
    assert value(found.tokens_per_s) == pytest.approx(65 * value(found.rate_hz), rel=1e-12)
    assert value(found.energy_per_token_j) == pytest.approx(value(found.power_w) / value(found.tokens_per_s), rel=1e-9)
    assert value(found.energy_j) == pytest.approx(8 * 65 * value(found.energy_per_token_j), rel=1e-12)
    assert value(found.usd_per_million_tokens) == pytest.approx(1e6 * value(found.cost_usd) / (8 * 65), rel=1e-12)
    document = found.to_json()
    for name in FIELDS:
        assert document[name]["lo"] <= document[name]["value"] <= document[name]["hi"], name
    assert sum(part.value for part in energy_by_family(found)) == pytest.approx(value(found.energy_j), rel=1e-6)
    half = ac.predict("llama-3.1-8b", concurrency=4, **ASKED)  # a replica of two that share eight
    assert value(found.rate_hz) == pytest.approx(2 * value(half.rate_hz), rel=1e-9)
    assert value(found.energy_per_token_j) == pytest.approx(value(half.energy_per_token_j), rel=1e-9)


def test_more_users_are_served_faster_together_and_slower_each() -> None:
    found = [ac.predict("llama-3.1-8b", concurrency=users, **ASKED) for users in (1, 4, 16, 64)]
    for name, sign in (("tokens_per_s", 1), ("tpot_s", 1), ("power_w", 1), ("energy_per_token_j", -1)):
        assert np.all(sign * np.diff([value(getattr(one, name)) for one in found]) > 0), name


def test_stages_of_a_pipeline_work_side_by_side() -> None:
    alone, staged = (ac.predict("llama-3.1-8b", concurrency=16, pp=pp, **ASKED) for pp in (1, 4))
    assert 1.3 < value(staged.rate_hz) / value(alone.rate_hz) < 4
    assert not any("microbatches" in note for note in staged.notes)


def test_a_stack_adds_its_terms_and_widens_intervals_in_quadrature() -> None:
    row = np.array([1.0, 0.8, 1.5])
    engine = InService(0.1 * row, 0.02 * row, 4.0 * row, 500.0 * row, 2.0 * row)
    stack = Stack("made-up", 1.25, 1.1, 3.0, 0.05, tpot_half=0.3, ttft_half=0.6)
    seen = seen_of(engine, stack, 100.0, 550.0)
    assert seen.tpot_s[0] == pytest.approx(0.025)
    assert seen.ttft_s[0] == pytest.approx(1.1 * 0.1 + 3 * 0.02 + 0.05)
    assert seen.rate_hz[0] == pytest.approx(3.2)
    assert seen.power_w[[0, 2]] == pytest.approx([400, 550])  # no more than the limit
    assert seen.energy_per_token_j.tolist() == engine.energy_per_token_j.tolist()
    for mine, half in ((seen.tpot_s, 0.3), (seen.rate_hz, 0.3)):
        assert np.log(mine[2] / mine[0]) == pytest.approx(np.hypot(np.log(1.5), half))
        assert np.log(mine[0] / mine[1]) == pytest.approx(np.hypot(np.log(1 / 0.8), half))
    assert np.log(seen.ttft_s[2] / seen.ttft_s[0]) > 0.6
    plain = seen_of(engine, PLAIN, 0.0, 1e9)
    for name in InService.__dataclass_fields__:
        np.testing.assert_allclose(getattr(plain, name), getattr(engine, name), rtol=1e-12)
    single = replace(engine, tpot_s=np.full(3, np.nan))  # one token is generated
    assert np.isfinite(seen_of(single, stack, 0.0, 1e9).ttft_s).all()


def test_a_named_stack_is_added_and_none_is_said_to_be_missing() -> None:
    plain, named = (ac.predict("llama-3.1-8b", concurrency=4, software=s, **ASKED) for s in ("", "vllm"))
    stack = find_stack("vllm")
    assert value(named.tpot_s) == pytest.approx(stack.step_factor * value(plain.tpot_s))
    assert value(named.rate_hz) == pytest.approx(value(plain.rate_hz) / stack.step_factor)
    assert value(named.ttft_s) == pytest.approx(
        float(stack.ttft_s(*(np.array(value(q)) for q in (plain.ttft_s, plain.tpot_s))))
    )
    assert named.ttft_s is not None
    assert named.ttft_s.hi / named.ttft_s.value >= np.exp(stack.ttft_half)
    assert any("The engine and its kernels alone" in note for note in plain.notes)
    assert any("Added for vllm" in note and "silicon sample" in note for note in named.notes)
    other = ac.predict("llama-3.1-8b", concurrency=4, software="my-engine", **ASKED)
    assert value(other.tpot_s) == pytest.approx(shipped_stacks()[""].step_factor * value(plain.tpot_s))
    assert any("'my-engine' is none of" in note for note in other.notes)


@pytest.mark.parametrize("how", ["batch", "concurrency"])
@pytest.mark.parametrize("asked", [{}, {"tp": 2}, {"dp": 2}, {"dtype": "fp8"}])
def test_the_largest_batch_fits_and_one_more_does_not(how: str, asked: dict[str, Any]) -> None:
    given: dict[str, Any] = ASKED | asked | {"prompt": 4096}
    largest = ac.predict("llama-3.1-8b", **(given | {how: 8})).largest_batch
    assert largest is not None
    fits, over = (ac.predict("llama-3.1-8b", **(given | {how: n})) for n in (largest, largest + 1))
    assert (fits.verdict, over.verdict) == ("feasible", "infeasible")
    assert fits.largest_batch == over.largest_batch == largest


def test_a_network_that_does_not_fit_has_room_for_none_and_one_without_tokens_has_no_largest_batch() -> None:
    assert ac.predict("llama-3.1-70b", concurrency=4, **ASKED).largest_batch == 0
    found = ac.predict("resnet-50", on="h100-sxm", model="physics").to_json()
    assert not {"largest_batch", "tokens_per_s", "energy_per_token_j", "usd_per_million_tokens"} & set(found)


def test_explanations_are_of_prefills_apart_from_decode_steps() -> None:
    found = ac.predict("llama-3.1-8b", concurrency=16, **ASKED)
    assert found.detail is not None
    apart = sum(step.added_s for step in found.explain().steps)
    one, full = (ac.predict("llama-3.1-8b", batch=b, **ASKED) for b in (1, 16))
    assert apart == pytest.approx(16 * value(one.ttft_s) + value(full.latency_s) - value(full.ttft_s), rel=1e-9)
    assert value(found.latency_s) < apart < 1.2 * value(found.latency_s)


def test_replicas_need_no_links_and_divided_networks_do() -> None:
    asked: dict[str, Any] = {"on": "raspberry-pi-5", "dtype": "int8", "prompt": 64, "generate": 9, "model": "physics"}
    one, two = (ac.predict("qwen2.5-0.5b", concurrency=n, dp=n, **asked) for n in (1, 2))
    assert value(two.rate_hz) == pytest.approx(2 * value(one.rate_hz), rel=1e-9)
    with pytest.raises(MappingError, match="no link"):
        ac.predict("qwen2.5-0.5b", concurrency=2, tp=2, **asked)


def test_steps_of_tokens_do_not_stand_for_encoders() -> None:
    question = ask("llava-1.5-7b", "h100-sxm")
    engine = Engine(question.model, question.target.spec, question.target.rates, Mapping(), PhysicsModel())
    with pytest.raises(UnsupportedError, match="more than tokens before its first one"):
        step_costs(engine, 64, 4, 256)
    assert any("computes more than tokens" in n for n in ac.predict("llava-1.5-7b", concurrency=4, **ASKED).notes)


def test_steps_may_be_longer_than_a_table_of_positions_and_requests_may_not() -> None:
    question = ask("gpt-2", "h100-sxm")
    engine = Engine(question.model, question.target.spec, question.target.rates, Mapping(), PhysicsModel())
    assert step_costs(engine, 2048, 4, 1024, exact=False).most_tokens == 2048
    for exact in (True, False):
        with pytest.raises(BadValueError, match="made for 1,024"):
            step_costs(engine, 64, 4, 1025, exact=exact)


def test_a_page_says_what_users_in_service_get() -> None:
    found = ac.predict("llama-3.1-8b", concurrency=8, **ASKED)
    words = header(found)
    assert f"8 users get <b>{value(found.tokens_per_s):,.0f} tokens</b> a second" in words
    assert "a million" in words
    assert "in which each of the users is answered once" in answer_section(found)
