"""Power of served steps: watts x time in every step, between idle power and limit, in events and in closed form."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.question import ask
from costmodel.collectives import fabric_of
from costmodel.protocol import PhysicsModel
from costmodel.rates import compile_rates
from costmodel.served_power import shipped_served_power
from costmodel.served_work import PARTS, Served, served_work
from simulator.clock import PICOSECONDS_PER_SECOND
from simulator.serving.closed_loop import ClosedLoop
from simulator.serving.fleet import Fleet, Pool
from simulator.serving.fleet_run import FleetRun
from simulator.serving.policy import Policy
from simulator.serving.power import NOTE, busy_of, costs_with_power, is_measured, power_notes, with_served_power
from simulator.serving.pricing import Engine
from simulator.serving.profile import ENERGIES, TIMES, Profile, profile_of
from simulator.serving.requests import Requests
from simulator.serving.scenario import priced
from simulator.serving.step_costs import StepCosts
from simulator.streams import RandomStreams
from workloads.mapping import Mapping
from workloads.table import Array
from workloads.traffic import Traffic

TOKENS, REQUESTS, LONGEST = 512, 64, 8192
MODELS = ("llama-3-8b", "qwen3-30b-a3b")
PARTS_OF_A_STEP = ("work", "sampling", "decode", "chunk")


@cache
def engine_on(device: str, model: str = MODELS[0], tp: int = 1, software: str = "vllm 0.11.1") -> Engine:
    question = ask(model, device)
    mapping = Mapping(tp=tp, software=software)
    return Engine(question.model, question.target.spec, question.target.rates, mapping, PhysicsModel())


@cache
def profiles(device: str = "h100-sxm") -> tuple[tuple[Engine, ...], Profile, Profile]:
    """Return two engines, and their profile with the joules of operators and with those of boards."""
    engines = (engine_on(device), engine_on(device, MODELS[1], tp=2))
    before = profile_of(engines, TOKENS, REQUESTS, LONGEST)
    return engines, before, with_served_power(before, engines)


@cache
def costs() -> tuple[Engine, StepCosts, StepCosts]:
    engine = engine_on("h100-sxm")
    before = profiles()[1].step_costs(TOKENS, REQUESTS)
    return engine, before, costs_with_power(before, engine)


def step_of(costs: StepCosts, decodes: int, cached: int) -> tuple[float, float]:
    """Return (seconds, joules) of a step of decodes alone."""
    ticks = costs.work[decodes] + costs.sampling[decodes] + costs.decode_ticks(decodes, cached)
    joules = costs.work_j[decodes] + costs.sampling_j[decodes] + costs.decode_energy_j(decodes, cached)
    return ticks / PICOSECONDS_PER_SECOND, joules


def test_times_stay_as_they_are() -> None:
    _, before, after = profiles()
    for name in PARTS_OF_A_STEP:
        assert np.array_equal(getattr(before, name)[..., TIMES], getattr(after, name)[..., TIMES])
        assert not np.array_equal(getattr(before, name)[..., ENERGIES], getattr(after, name)[..., ENERGIES])


@pytest.mark.parametrize("device", ["h100-sxm", "a100-sxm-80gb", "b200", "l40s"])
def test_every_part_of_a_step_burns_between_idle_power_and_limit(device: str) -> None:
    _, _, after = profiles(device)
    for name in PARTS_OF_A_STEP:
        table = getattr(after, name)
        seconds, joules = table[..., TIMES], table[..., ENERGIES]
        wide = (-1, *(1,) * (table.ndim - 2), 3)
        assert (joules >= (after.idle_w.reshape(wide) * seconds) * (1 - 1e-9)).all()
        rising = (
            np.maximum.accumulate(after.limit_w[:, None, None, None] * seconds, axis=2)
            if name == "decode"
            else (after.limit_w.reshape(-1, *(1,) * (table.ndim - 1)) * seconds)
        )
        assert (joules <= rising * (1 + 1e-9)).all()
        assert (joules[..., 1] <= joules[..., 0] * (1 + 1e-9)).all()
        assert (joules[..., 2] >= joules[..., 0] * (1 - 1e-9)).all()


def test_a_step_of_decodes_burns_its_watts_times_its_time_at_the_points_of_the_grid() -> None:
    engine, _, after = costs()
    for decodes in (1, 8, 64):
        column = len(after.contexts) // 2
        context = int(after.contexts[column])
        seconds, joules = step_of(after, decodes, decodes * context)
        watts = busy_of([engine]).watts(np.array([decodes]), np.array([context]), np.array([[[seconds]]]))
        assert joules / seconds == pytest.approx(watts[0, 0, 0, 0], rel=1e-6)


def test_a_prompt_alone_burns_the_watts_of_so_many_tokens() -> None:
    engine, _, after = costs()
    place = int(np.searchsorted(after.chunks, 256))
    chunk = int(after.chunks[place])
    seconds = after.time.work[chunk] + after.time.chunk[place, 0]
    joules = after.energy.work[chunk] + after.energy.chunk[place, 0]
    watts = busy_of([engine]).watts(np.array([chunk]), None, np.array([[[after.time.work[chunk]]]]))
    assert joules / seconds == pytest.approx(watts[0, 0, 0, 0], rel=1e-9)


def test_signals_are_those_of_the_work_that_power_was_fitted_to() -> None:
    """Watts of the columns of `served_work` without prompts, over the same seconds, are watts of a step of decodes."""
    for engine in profiles()[0]:
        spec, mapping = engine.spec, engine.mapping
        served = Served(engine.model, compile_rates(spec), fabric_of(spec, mapping.devices), mapping, PhysicsModel())
        batch, prompt = np.array([16.0, 64.0, 256.0]), 1023.0
        work = served_work(served, batch, np.full(3, prompt), np.ones(3), spread=-1.0)
        work |= {f"{PARTS[1]}_{name}_s": np.zeros(3) for name in ("dram", "flop")}
        seconds = np.array([0.01, 0.012, 0.02])
        expected = shipped_served_power().device_w(work, seconds)
        found = busy_of([engine]).watts(batch, np.array([prompt + 1]), seconds[None, :, None])
        assert found[0, :, 0, 0] == pytest.approx(expected, rel=0.01)


def test_tables_of_a_profile_and_of_its_step_costs_say_the_same() -> None:
    after = costs()[2]
    whole = profiles()[2].step_costs(TOKENS, REQUESTS)
    for decodes in (1, 4, 8, 32, 64):
        for cached in (decodes * 64, decodes * 1024):
            assert step_of(whole, decodes, cached)[1] == pytest.approx(step_of(after, decodes, cached)[1], rel=0.02)


@given(st.integers(1, REQUESTS), st.integers(1, LONGEST // 2), st.integers(1, 400), st.integers(0, 4096))
@settings(max_examples=60, deadline=None)
def test_any_step_burns_between_idle_power_and_limit(decodes: int, context: int, chunk: int, before: int) -> None:
    engine, _, after = costs()
    cached = decodes * context
    ticks = after.work[decodes + chunk] + after.sampling[decodes + 1] + after.decode_ticks(decodes, cached)
    joules = after.work_j[decodes + chunk] + after.sampling_j[decodes + 1] + after.decode_energy_j(decodes, cached)
    more_ticks, more_joules = after.chunk_costs(chunk, before)
    watts = (joules + more_joules) / ((ticks + more_ticks) / PICOSECONDS_PER_SECOND)
    assert engine.rates.idle_w[0] <= watts <= engine.rates.limit_w * (1 + 1e-6)


def test_more_cached_tokens_never_burn_less() -> None:
    _, _, after = profiles()
    assert (np.diff(after.decode[..., ENERGIES], axis=2) >= 0).all()


def test_engines_together_have_the_joules_that_each_has_alone() -> None:
    engines, before, after = profiles()
    for place, engine in enumerate(engines):
        one = replace(before, **{name: getattr(before, name)[place : place + 1] for name in PARTS_OF_A_STEP})
        alone = with_served_power(one, engine)
        for name in PARTS_OF_A_STEP:
            assert np.allclose(getattr(alone, name)[0], getattr(after, name)[place], rtol=1e-12)


def test_steps_that_a_stack_slows_burn_the_joules_of_the_longer_time() -> None:
    engine, before, _ = costs()
    factor = 1.25
    slow = costs_with_power(before.slowed(factor), engine)
    profile = with_served_power(profiles()[1], profiles()[0], factor).step_costs(TOKENS, REQUESTS).slowed(factor)
    for decodes in (1, 8, 64):
        cached = decodes * 1024
        assert step_of(profile, decodes, cached)[1] == pytest.approx(step_of(slow, decodes, cached)[1], rel=0.02)
        longer = step_of(slow, decodes, cached)[1] / step_of(costs()[2], decodes, cached)[1]
        assert longer == pytest.approx(factor, rel=0.05)


def test_a_device_that_is_no_gpu_keeps_the_joules_of_its_operators() -> None:
    engine = engine_on("tpu-v5e", software="")
    before = profile_of(engine, TOKENS, REQUESTS, LONGEST)
    assert with_served_power(before, engine) is before
    table = before.step_costs(TOKENS, REQUESTS)
    assert costs_with_power(table, engine) is table
    assert power_notes([engine]) == ()
    engines = [engine, engine_on("h100-sxm")]
    mixed = profile_of(engines, TOKENS, REQUESTS, LONGEST)
    found = with_served_power(mixed, engines)
    assert np.array_equal(found.work[0], mixed.work[0])
    assert not np.array_equal(found.work[1], mixed.work[1])


def test_intervals_are_wider_where_nothing_was_measured() -> None:
    def width(engine: Engine) -> Array:
        watts = busy_of([engine]).watts(np.array([32]), None, np.array([[[0.01]]]))[0, 0, 0]
        return np.asarray(np.log(watts[0] / watts[1]))

    assert is_measured(engine_on("h100-sxm"))
    assert is_measured(engine_on("h100-sxm", software=""))
    assert width(engine_on("h100-sxm", software="sglang 0.5")) == pytest.approx(2 * width(engine_on("h100-sxm")))
    assert width(engine_on("a100-sxm-80gb")) == pytest.approx(2 * width(engine_on("h100-sxm")))
    assert power_notes([engine_on("a100-sxm-80gb")]) == (NOTE,)


def test_a_cap_holds_but_does_not_lower_what_work_would_draw_below_it() -> None:
    engine = engine_on("h100-sxm")
    free = busy_of([engine]).watts(np.array([64]), None, np.array([[[0.01]]]))[0, 0, 0, 0]
    for cap_w, expected in ((400.0, 400.0), (690.0, free)):
        capped = replace(engine, rates=replace(engine.rates, limit_w=cap_w))
        assert busy_of([capped]).watts(np.array([64]), None, np.array([[[0.01]]]))[0, 0, 0, 0] == expected


def served(pool: Pool, count: int = 60) -> FleetRun:
    lengths = np.random.default_rng(1)
    traffic = Traffic.of(np.zeros(count), lengths.integers(50, 400, count), lengths.integers(20, 200, count))
    return Fleet(
        [pool], Requests.from_traffic(traffic), RandomStreams(0), closed_loop=ClosedLoop(8), segments=True
    ).run()


def test_joules_of_a_fleet_are_those_of_its_steps_and_of_idle_devices() -> None:
    engine, _, after = costs()
    idle_w = engine.rates.idle_w[0]
    run = served(Pool("engine", after, Policy(TOKENS, REQUESTS), instances=2, idle_w=idle_w))
    assert run.log.segments is not None
    steps = run.log.segments.columns()
    busy_s = (steps["end"] - steps["start"]).sum() / PICOSECONDS_PER_SECOND
    horizon_s = run.horizon / PICOSECONDS_PER_SECOND
    assert run.energy_j == pytest.approx(steps["energy_j"].sum() + idle_w * (2 * horizon_s - busy_s), rel=1e-9)
    assert 2 * idle_w <= run.energy_j / horizon_s <= 2 * engine.rates.limit_w


def test_a_scenario_prices_steps_with_the_power_of_boards_at_every_level() -> None:
    engine = engine_on("h100-sxm")
    found = priced(engine, Policy(128, 16), 2048, intervals=True)
    watts = [joules / seconds for seconds, joules in (step_of(found[level], 16, 16_384) for level in found)]
    assert engine.rates.idle_w[0] < watts[1] < watts[0] < watts[2] <= engine.rates.limit_w
    assert 400 < watts[0] < 600  # ML.ENERGY measures 0.6 to 0.85 of 700 W
