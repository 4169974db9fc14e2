"""Processor sharing in continuous time: exact schedules, M/G/1-PS, energies of the physical mode."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offloading_samples import plain_server, shared_schedule, system_of

from simulator.intervals import half_width, t_975
from simulator.offloading.constants import CONSTANTS, SOURCES
from simulator.offloading.demand import Tasks, unit_sizes
from simulator.offloading.environment import OffloadingEnv
from simulator.offloading.radio import mean_efficiency, physical_rates
from simulator.offloading.settings import LAWS, OffloadingConfig
from simulator.offloading.sharing import SharedServer, added_delay_s, summed_delay_s
from simulator.offloading.study import Plan, run_once

SIXTEENTHS = st.integers(0, 640).map(lambda x: x / 16)
LISTS = st.lists(st.tuples(SIXTEENTHS, SIXTEENTHS), min_size=1, max_size=9)


@settings(max_examples=150, deadline=None)
@given(LISTS, st.lists(SIXTEENTHS, max_size=5))
def test_ends_equal_the_schedule_in_fractions_however_time_is_cut(
    tasks: list[tuple[float, float]], cuts: list[float]
) -> None:  # fmt: skip
    server, ended = SharedServer(), dict[int, float]()
    for i, (join, work) in enumerate(tasks):
        server.add(i, join, work)
    for cut in (*sorted(cuts), math.inf):
        ended |= dict(server.advance(cut))
    exact = shared_schedule([(Fraction(join), Fraction(work)) for join, work in tasks])
    assert sorted(ended) == list(range(len(tasks)))
    for i, end in enumerate(exact):
        assert abs(ended[i] - end) < 1e-9


@settings(max_examples=150, deadline=None)
@given(LISTS, SIXTEENTHS, SIXTEENTHS, SIXTEENTHS)
def test_the_added_delay_is_what_the_schedule_says(
    tasks: list[tuple[float, float]], now: float, wait: float, work: float
) -> None:  # fmt: skip
    server = SharedServer()
    for i, (join, needs) in enumerate(tasks):
        server.add(i, join, needs)
    server.advance(now)
    found = added_delay_s(server.remaining_s(), server.joins_s(), wait, work)
    before = shared_schedule([(Fraction(a), Fraction(b)) for a, b in tasks])
    after = shared_schedule([*((Fraction(a), Fraction(b)) for a, b in tasks), (Fraction(now + wait), Fraction(work))])
    assert abs(found - (sum(after) - sum(before) - Fraction(now))) < 1e-9


def test_the_closed_form_of_a_task_that_joins_at_once_equals_the_schedule() -> None:
    left, work = [0.5, 2.0, 3.0], 1.0
    closed = added_delay_s(left, [], 0.0, work)
    assert closed == work + 2 * (0.5 + 1.0 + 1.0)
    assert closed == pytest.approx(summed_delay_s(left, [(0.0, work)]) - summed_delay_s(left, []))


def cloud_alone(law: str, load: float, **changes: Any) -> OffloadingConfig:
    """Tasks of mean `load` seconds of the cloud, one a second, all sent at once at a rate that hardly matters."""
    cloud = plain_server(4e9)
    base = OffloadingConfig(
        rate_hz=1.0, edges=1, cloud=cloud, edge=plain_server(4e9), mean_bits=load * 4e6, law=law, sending="together",
        tasks=3000,
    )  # fmt: skip
    return replace(base, **changes)


@pytest.mark.parametrize(
    ("law", "cv"), [("constant", 1.0), ("exponential", 1.0), ("hyperexponential", 2.0), ("lognormal", 1.5)]
)
def test_the_mean_time_in_a_shared_processor_is_s_over_one_minus_rho_whatever_the_law(law: str, cv: float) -> None:
    load, runs = 0.6, 12
    plan = Plan(cloud_alone(law, load, cv=cv), "all-cloud", compare=("all-cloud",), warm_up=0.1, seed=20_260_101)
    means = [run_once(plan, "all-cloud", 1.0, i).numbers["execution_s"] for i in range(runs)]
    error = half_width(means) / t_975(runs - 1)
    assert abs(np.mean(means) - load / (1 - load)) < 4 * error
    assert error < 0.08 * load / (1 - load)


def test_small_and_large_tasks_are_slowed_by_the_same_factor() -> None:
    load, runs = 0.5, 12
    plan = Plan(cloud_alone("exponential", load), "all-cloud", compare=("all-cloud",), warm_up=0.1)
    slowed: dict[bool, list[float]] = {False: [], True: []}
    for i in range(runs):
        run = run_once(plan, "all-cloud", 1.0, i)
        work_s = (run.record.column("size_bits") / 4e6)[run.counted]
        time_s = (run.record.column("finish_s") - run.record.column("sent_s"))[run.counted]
        for large in (False, True):
            chosen = (work_s > load) == large
            slowed[large].append(float(time_s[chosen].sum() / work_s[chosen].sum()))
    for values in slowed.values():
        assert abs(np.mean(values) - 1 / (1 - load)) < 4 * half_width(values) / t_975(runs - 1)


@pytest.mark.parametrize("law", LAWS)
def test_sizes_of_every_law_have_mean_one(law: str) -> None:
    config = OffloadingConfig(law=law, cv=0.5 if law == "erlang" else 1.5)
    sizes = unit_sizes(config, 200_000, np.random.default_rng(7))
    assert abs(sizes.mean() - 1) <= 4 * sizes.std() / math.sqrt(len(sizes))
    asked = {"exponential": 1.0, "constant": 0.0, "uniform": 1 / math.sqrt(3), "erlang": 0.5}.get(law, 1.5)
    assert sizes.std() == pytest.approx(asked, abs=0.06)


def test_the_mean_size_follows_from_the_stated_load() -> None:
    config = OffloadingConfig(load=0.7, rate_hz=2.5)
    env = OffloadingEnv(config)
    system = env.world.system
    assert system.mean_bits(config) == pytest.approx(0.7 * system.frequency_hz.sum() / 1000 / 2.5)
    assert system.offered_load(config) == pytest.approx(0.7)


def test_a_radio_sends_one_task_after_the_other_and_its_energy_is_power_times_time() -> None:
    config = OffloadingConfig(users=2, edges=1, cloud=plain_server(4e9, latency_s=0.1), edge=plain_server(2e9))
    system = system_of(config, (4e9, 2e9), [[2e6, 1e6], [4e6, 4e6]])
    tasks = Tasks.of(config, [0.0, 0.5, 0.5], [2e6, 4e6, 1e6], [0, 0, 1])  # type: ignore[arg-type]
    env = OffloadingEnv(config, system=system, demand=tasks)
    env.reset()
    infos = [env.step(action)[4] for action in (0, 1, 0)]
    env.world.drain()
    sent, finish = env.record.column("sent_s"), env.record.column("finish_s")
    # The radio of user 0 is busy until 1 s, then sends 4 Mbit at 4 Mb/s; the cloud's way takes 0.1 s more.
    assert sent == pytest.approx([1.1, 2.0, 1.6])
    # Cloud: 0.5 s of work from 1.1 s is done at 1.6 s, as the other comes. Edge: 2 s from 2 s.
    assert finish == pytest.approx([1.6, 4.0, 1.85])
    k = 1e-28
    joules = [0.2 * 1 + 2e9 * k * 16e18, 0.2 * 1 + 4e9 * k * 4e18, 0.2 * 1 + 1e9 * k * 16e18]
    assert [info["energy_j"] for info in infos] == pytest.approx(joules, rel=1e-12)


def test_physical_rates_are_shannons_with_the_noise_once() -> None:
    config = OffloadingConfig(users=1, edges=1, fading="fixed")
    ones = np.ones((2, 1))
    rates = physical_rates(config, np.array([[1500.0], [250.0]]), ones, 0 * ones)
    for place, (km, antenna) in enumerate(((1.5, 15.0), (0.25, 5.0))):
        level_db = 10 * math.log10(0.2) + antenna - 35 * math.log10(km) - 133.6
        noise_db = -204 + 5 + 10 * math.log10(1.8e6)
        expected = 1.8e6 * math.log2(1 + 10 ** ((level_db - noise_db) / 10))
        assert rates[place, 0] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("snr", [1e-3, 0.3, 10.0, 1e5])
def test_the_average_over_fading_is_the_integral(snr: float) -> None:
    x = np.linspace(0, 60, 3_000_001)
    expected = float(np.trapezoid(np.exp(-x) * np.log2(1 + snr * x), x))
    assert mean_efficiency(np.array([snr]))[0] == pytest.approx(expected, rel=1e-4)
    assert mean_efficiency(np.array([snr]))[0] < math.log2(1 + snr)


def test_every_constant_has_a_source_or_a_range() -> None:
    for name, figure in CONSTANTS.items():
        assert figure.source in SOURCES or (figure.estimated and figure.lo < figure.hi), name
    config = OffloadingConfig()
    for name, figure in CONSTANTS.items():
        place, _, field = name.partition(".")
        kind = getattr(config, place) if field else None
        found = getattr(kind, field) if field else getattr(config, name, getattr(config.edge, name, None))
        assert found == figure.value, name


TIMES = st.floats(0.0, 5.0) | st.sampled_from([0.0, 1.0, 2.0])


@settings(max_examples=300)
@given(st.lists(TIMES, max_size=6), st.lists(st.tuples(TIMES, TIMES), max_size=5), TIMES, TIMES)
def test_the_growth_of_the_delay_is_the_difference_of_two_sums(
    running: list[float], joins: list[tuple[float, float]], wait: float, work: float
) -> None:
    expected = summed_delay_s(running, (*joins, (wait, work))) - summed_delay_s(running, joins)
    assert added_delay_s(running, joins, wait, work) == pytest.approx(expected, abs=1e-9)
