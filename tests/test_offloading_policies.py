"""Policies, the environment's methods, and studies: what a policy sees, failures, front, common random numbers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from offloading_samples import plain_server, system_of

from foundation.errors import BadValueError, InputError, UnknownNameError
from simulator.offloading.demand import Tasks
from simulator.offloading.environment import OffloadingEnv
from simulator.offloading.pareto import front, hypervolume
from simulator.offloading.policies import POLICIES, PolicyError, find_policy
from simulator.offloading.settings import OffloadingConfig, ServerKind, paper_config
from simulator.offloading.stability import near_one
from simulator.offloading.state import State
from simulator.offloading.study import Plan, Study, run_once, run_study
from simulator.offloading.system import System

SMALL = OffloadingConfig(tasks=300, load=0.4)
POINTS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=8)


def small_study(**changes: Any) -> Study:
    plan: dict[str, Any] = {"config": SMALL, "replications": 3, "weights": (1.0, 0.6), **changes}
    return run_study(Plan(**plan))


def two_edges() -> OffloadingEnv:
    """A cloud and two edges; user 0 sends a task of 4 Mbit, then user 1 decides on one of 2 Mbit."""
    config = OffloadingConfig(users=2, edges=2, cloud=plain_server(4e9), edge=plain_server(2e9))
    rates = np.full((3, 2), 1e9)
    distance = np.array([[1000.0, 1000.0], [300.0, 200.0], [100.0, 400.0]])
    system = System.of(config, np.array([4e9, 2e9, 2e9]), distance, np.ones((3, 2)), rate_bits_per_s=rates)
    tasks = Tasks.of(config, np.array([0.0, 0.5]), np.array([4e6, 2e6]), np.array([0, 1]))
    env = OffloadingEnv(config, system=system, demand=tasks)
    env.reset()
    return env


def test_each_policy_takes_the_server_it_says() -> None:
    env = two_edges()
    state = env.state()
    assert [POLICIES[name](state) for name in ("all-cloud", "nearest-edge", "least-loaded")] == [0, 2, 0]
    env.step(0)
    state = env.state()
    assert (state.user, state.size_bits, state.time_s, state.step) == (1, 2e6, 0.5, 2)
    assert state.running.tolist() == [1, 0, 0]
    # On the cloud 0.5 s of work meets 0.5 s that is left (both wait for each other); on an edge it takes 1 s alone.
    assert state.delay_increase_s() == pytest.approx([1.5, 1.0, 1.0], abs=0.01)
    assert [POLICIES[name](state) for name in ("nearest-edge", "least-loaded")] == [1, 1]
    assert POLICIES["greedy"](replace(state, weight=1.0)) == 1
    assert POLICIES["greedy"](replace(state, weight=0.0)) == int(np.argmin(state.energy_j)) == 1
    assert POLICIES["greedy"](replace(state, weight=1.0, added_delays=lambda: [0.1, 1.0, 1.0])) == 0


def test_greedy_takes_the_least_of_weighted_cost_at_every_decision() -> None:
    env = OffloadingEnv(replace(SMALL, tasks=150, weight=0.7, delay_cost_per_s=2.0, energy_cost_per_j=0.5))
    env.reset()
    while not env.world.done:
        state = env.state()
        delay_s = state.delay_increase_s()
        cost = 0.7 * 2.0 * delay_s + 0.3 * 0.5 * state.energy_j
        chosen = POLICIES["greedy"](state)
        assert cost[chosen] == cost.min()
        _, reward, _, _, info = env.step(chosen)
        assert reward == pytest.approx(-cost.min())
        assert info["delay_increase_s"] == pytest.approx(delay_s[chosen])
        with pytest.raises(BadValueError, match="before the next step"):
            state.delay_increase_s()


def test_an_environment_repeats_with_its_seed_and_goes_on_without() -> None:
    env = OffloadingEnv(paper_config(steps=5), seed=3)
    first, _ = env.reset()
    second, _ = env.reset()
    again, about = env.reset(seed=3)
    assert about == {"seed": 3, "replication": 0}
    assert np.array_equal(first, again)
    assert first.shape != second.shape or not np.array_equal(first, second)
    assert env.observation_space.shape == again.shape
    assert env.action_space.n == again.shape[1]


def test_a_physical_episode_is_cut_when_the_last_task_is_assigned() -> None:
    env = OffloadingEnv(replace(SMALL, tasks=20))
    env.reset(seed=1)
    ends = [env.step(0)[2:4] for _ in range(20)]
    assert ends == [(False, False)] * 19 + [(False, True)]
    with pytest.raises(BadValueError, match="reset"):
        env.step(0)


@pytest.mark.parametrize("action", [-1, 4, 1.5, None, True, np.True_])
def test_an_action_that_is_no_server_names_step_time_and_user(action: Any) -> None:
    env = OffloadingEnv(SMALL)
    env.reset()
    with pytest.raises(BadValueError, match=r"from 0 to 3.*step 1, time .* user \d"):
        env.step(action)
    assert len(env.record) == 0


def failing(state: State) -> int:
    if state.step == 120:
        raise ZeroDivisionError("no luck")
    return state.user % state.servers


@pytest.mark.parametrize("config", [SMALL, paper_config(steps=200, edges=3)], ids=["physical", "published"])
def test_a_policy_that_raises_is_named_with_step_time_and_user_and_nothing_is_lost(config: OffloadingConfig) -> None:
    plan = Plan(config, "mine", compare=("mine",), own={"mine": failing})
    with pytest.raises(PolicyError, match=r"'mine' raised ZeroDivisionError: no luck, at step 120, time") as caught:
        run_study(plan)
    error = caught.value
    assert f"for user {error.user}" in str(error)
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert len(error.record) == 119
    whole = run_once(replace(plan, own={"mine": lambda state: state.user % state.servers}), "mine", 0.5, 0).record
    for name in ("arrival_s", "size_bits", "user", "server", "sending_energy_j", "execution_energy_j"):
        assert (error.record.column(name) == whole.column(name)[:119]).all()
    done = np.isfinite(error.record.column("finish_s"))
    assert done.sum() > 50
    assert (error.record.column("finish_s")[done] <= error.time_s).all()


@pytest.mark.parametrize(("answer", "words"), [(7, "server 7"), (-1, "server -1"), ("edge", "'edge'"), (True, "True")])
def test_a_policy_that_answers_no_server_is_refused(answer: Any, words: str) -> None:
    plan = Plan(SMALL, "mine", compare=("mine",), own={"mine": lambda state: answer})
    with pytest.raises(PolicyError, match=rf"'mine' answered .*{words}.*step 1, time .*user \d") as caught:
        run_study(plan)
    assert len(caught.value.record) == 0


def test_an_unknown_policy_is_met_with_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError, match=r"Nearest: least-loaded"):
        find_policy("least-load")
    with pytest.raises(UnknownNameError):
        Plan(SMALL, "greedi")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mean_bits": -1.0}, "mean_bits"), ({"mean_bits": 0}, "mean_bits"), ({"least_bits": -5.0}, "least_bits"),
        ({"edges": (3, 2)}, "edges"), ({"edges": (1, 2, 3)}, "edges"), ({"edges": "few"}, "edges"),
        ({"most_bits": "a"}, "most_bits"), ({"cloud": None}, "cloud"), ({"edge": 5}, "edge"),
        ({"paper_mode": "x"}, "paper_mode"), ({"wave_bits": 5.0}, "wave_bits"), ({"published": "x"}, "multi-edge"),
        ({"most_bits": -1.0}, "most_bits"), ({"edges": 0}, "edges"), ({"edges": (0, 3)}, "edges"),
        ({"users": 0}, "users"), ({"tasks": 0}, "tasks"), ({"rate_hz": 0}, "rate_hz"), ({"load": float("nan")}, "load"),
        ({"law": "exponental"}, "exponential"), ({"sending": "que"}, "queue"), ({"weight": 1.5}, "weight"),
        ({"law": "erlang", "cv": 2.0}, "cv"), ({"law": "hyperexponential", "cv": 0.5}, "cv"),
    ],
)  # fmt: skip
def test_a_study_that_cannot_be_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        OffloadingConfig(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"policy": None}, "policy"), ({"compare": (None,)}, "policy"), ({"reference": (1,)}, "reference"),
        ({"reference": 5}, "reference"), ({"weights": 0.5}, "weights"), ({"config": None}, "config"),
        ({"compare": "greedy"}, "compare"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused_before_it_runs(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadValueError, match=words):
        Plan(**{"config": SMALL, **changes})


def test_a_published_environment_takes_no_change_that_it_would_ignore() -> None:
    for changes in ({"load": 0.5}, {"sending": "queue"}, {"tasks": 5}, {"noise_figure_db": 2.0}):
        with pytest.raises(BadValueError, match="does not look at"):
            paper_config(**changes)


def test_a_server_kind_that_cannot_be_is_refused() -> None:
    for changes in ({"frequency_hz": 0.0}, {"frequency_spread_hz": 4e9}, {"nearest_m": 0.0}, {"farthest_m": 1.0}):
        given: dict[str, float] = {
            "frequency_hz": 4e9, "frequency_spread_hz": 0.0, "nearest_m": 5.0, "farthest_m": 9.0, **changes
        }  # fmt: skip
        with pytest.raises(BadValueError, match=next(iter(changes))):
            ServerKind(**given)


def test_a_system_without_servers_and_tasks_of_negative_size_are_refused() -> None:
    config = OffloadingConfig(users=1)
    with pytest.raises(BadValueError, match="at least one server"):
        System.of(config, np.zeros(0), np.zeros((0, 1)), np.zeros((0, 1)))
    with pytest.raises(BadValueError, match="size_bits"):
        Tasks.of(config, np.array([0.0]), np.array([-1.0]), np.array([0]))
    with pytest.raises(BadValueError, match="arrival_s"):
        Tasks.of(config, np.array([1.0, 0.5]), np.ones(2), np.zeros(2))
    with pytest.raises(BadValueError, match="user"):
        Tasks.of(config, np.array([1.0]), np.ones(1), np.ones(1))
    with pytest.raises(BadValueError, match="rate_bits_per_s"):
        system_of(config, (4e9, 2e9), 0.0)


def test_all_policies_see_the_same_systems_and_tasks() -> None:
    plan = Plan(SMALL, "greedy")
    runs = [run_once(plan, name, 0.5, 1) for name in POLICIES]
    for run in runs[1:]:
        for name in ("arrival_s", "size_bits", "user"):
            assert (run.record.column(name) == runs[0].record.column(name)).all()
        assert (run.system.rate_bits_per_s == runs[0].system.rate_bits_per_s).all()
    assert len({run.record.trace_hash for run in runs}) == len(POLICIES)
    assert run_once(plan, "random", 0.5, 1).record.trace_hash == runs[0].record.trace_hash
    assert run_once(plan, "random", 0.5, 2).record.trace_hash != runs[0].record.trace_hash


def test_every_task_ends_and_energies_add_up() -> None:
    run = run_once(Plan(SMALL, "random"), "random", 0.5, 0)
    record, numbers = run.record, run.numbers
    assert len(record) == run.tasks.sum() == SMALL.tasks
    arrival, sent, finish = (record.column(name) for name in ("arrival_s", "sent_s", "finish_s"))
    assert ((finish >= sent) & (sent >= arrival)).all()
    work_s = record.column("size_bits") / run.system.speed_bits_per_s[record.column("server")]
    assert (finish - sent >= work_s * (1 - 1e-12)).all()
    spent = record.column("sending_energy_j").sum() + record.column("execution_energy_j").sum()
    assert numbers["energy_j"] == pytest.approx(spent)
    assert numbers["delay_s"] == pytest.approx(numbers["sending_s"] + numbers["execution_s"])


def test_idle_power_is_drawn_all_the_time() -> None:
    edge = replace(SMALL.edge, idle_power_w=3.0)
    plain, idle = (
        run_once(Plan(config, "least-loaded"), "least-loaded", 0.5, 0)
        for config in (SMALL, replace(SMALL, edge=edge, cloud=replace(SMALL.cloud, idle_power_w=5.0)))
    )
    assert idle.numbers["energy_j"] - plain.numbers["energy_j"] == pytest.approx(14.0 * plain.numbers["time_s"])
    assert idle.numbers["power_w"] == pytest.approx(plain.numbers["power_w"] + 14.0)
    more = idle.numbers["energy_per_task_j"] - plain.numbers["energy_per_task_j"]
    span = np.ptp(plain.record.column("arrival_s")[plain.counted]) / (len(plain.counted) - 1)
    assert more == pytest.approx(14.0 * span)


def test_the_front_and_its_hypervolume_by_hand() -> None:
    points = [(1.0, 5.0), (2.0, 3.0), (2.5, 4.0), (4.0, 1.0), (9.0, 0.5), (2.0, 3.0)]
    assert front(points) == [0, 1, 3, 4]
    # Up to (5, 6): 4 x 1 + 3 x 2 + 1 x 2; what lies beyond the reference adds nothing.
    assert hypervolume(points, (5.0, 6.0)) == 12.0
    assert hypervolume([], (5.0, 6.0)) == 0.0


@settings(max_examples=200, deadline=None)
@given(POINTS)
def test_the_hypervolume_counts_the_cells_that_some_point_dominates(points: list[tuple[int, int]]) -> None:
    cells = sum(any(x <= i and y <= j for x, y in points) for i in range(10) for j in range(10))
    assert hypervolume([(float(x), float(y)) for x, y in points], (10.0, 10.0)) == cells
    for i in front([(float(x), float(y)) for x, y in points]):
        x, y = points[i]
        assert not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)


def test_a_study_has_means_intervals_a_front_and_a_stated_reference() -> None:
    study = small_study(compare=("random", "least-loaded", "greedy"))
    assert [(one.policy, one.weight) for one in study.outcomes] == [
        ("greedy", 0.5), ("random", None), ("least-loaded", None), ("greedy", 1.0), ("greedy", 0.6),
    ]  # fmt: skip
    for outcome in study.outcomes:
        delay = outcome.numbers["delay_s"]
        values = np.array([one["delay_s"] for one in outcome.each])
        half = 4.303 * values.std(ddof=1) / np.sqrt(3)
        assert delay.value == pytest.approx(values.mean())
        assert delay.hi == pytest.approx(values.mean() + half)
        assert outcome.difference["delay_s"].value == pytest.approx(delay.value - study.main.numbers["delay_s"].value)
    largest = np.max([one.point for one in study.outcomes], axis=0)
    assert study.reference == pytest.approx(1.1 * largest)
    assert study.hypervolumes["all"] >= max(study.hypervolumes[x] for x in ("random", "greedy"))
    assert {study.outcomes[i].policy for i in study.front} <= {"greedy", "least-loaded"}


def test_the_weight_trades_delay_for_energy() -> None:
    study = small_study(compare=("greedy",), weights=(1.0, 0.8, 0.6, 0.4))
    points = [one.point for one in study.outcomes[1:]]
    assert all(a[0] < b[0] and a[1] > b[1] for a, b in pairwise(points))


def test_a_load_of_one_or_more_is_flagged_and_not_averaged() -> None:
    study = small_study(config=replace(SMALL, load=1.2), compare=("random", "greedy"))
    for outcome in study.outcomes:
        assert outcome.unstable
        assert outcome.unstable_runs == 3
        assert not outcome.numbers
        assert "1.2" in outcome.overload
    assert study.front == ()
    assert study.reference is None


def test_a_server_that_gets_more_than_it_can_do_is_flagged_though_the_whole_could() -> None:
    study = small_study(policy="all-cloud", compare=("least-loaded",))
    assert study.main.unstable
    assert "cloud gets" in study.main.overload
    assert not study.outcomes[1].unstable
    assert study.outcomes[1].difference == {}


def test_a_radio_that_is_asked_to_send_all_the_time_is_flagged() -> None:
    far = replace(SMALL.cloud, farthest_m=40_000.0, nearest_m=39_000.0)
    study = small_study(config=replace(SMALL, cloud=far, load=0.2), policy="all-cloud", compare=("nearest-edge",))
    assert study.main.unstable
    assert "radio of user" in study.main.overload


def steady(load: float, tasks: int = 400) -> OffloadingConfig:
    """A cloud and three edges that are alike, so that `random` loads each with `load` exactly."""
    same = plain_server(2e9, bandwidth_hz=1e9, sending_power_w=1e3)
    return OffloadingConfig(cloud=same, edge=same, load=load, tasks=tasks)


def test_stability_of_random_is_that_of_its_stated_load_whatever_a_short_run_measures() -> None:
    study = small_study(config=steady(0.97, tasks=60), policy="random", compare=("all-cloud",))
    assert max(study.main.busy_share) > 1
    assert study.main.stable is True
    assert study.main.numbers
    assert study.outcomes[1].unstable_runs == 3
    assert study.outcomes[1].overload == "cloud gets 3.88 of the work that it can do"
    over = small_study(config=steady(0.999), policy="random", compare=("random",)).main
    assert over.stable is True


def test_too_few_tasks_say_nothing_of_a_policy_that_looks_at_the_state() -> None:
    short = small_study(config=replace(SMALL, tasks=1), compare=("least-loaded",))
    assert [one.stable for one in short.outcomes] == [None, None]
    assert "too short to tell: 3 tasks in all, and 800 are needed" in short.main.overload
    assert short.main.numbers
    assert small_study(compare=("least-loaded",)).main.stable is True


def test_a_measured_share_is_judged_by_its_chance() -> None:
    own = {"second": lambda state: 1}
    near = small_study(config=steady(0.25, tasks=700), policy="second", compare=("second",), own=own).main
    assert near.stable in (None, True)
    over = small_study(config=steady(0.4, tasks=700), policy="second", compare=("second",), own=own).main
    assert over.stable is False
    assert over.overload.startswith("edge 1 gets 1.")
    one = small_study(config=steady(0.4, tasks=900), policy="second", compare=("second",), own=own, replications=1).main
    assert one.stable is False


def test_shares_near_one_have_more_digits() -> None:
    assert [near_one(x) for x in (1.0184, 0.9996, 1.49123, 0.1234)] == ["1.018", "1.000", "1.49", "0.123"]


def test_runs_that_no_policy_can_make_stable_are_cut() -> None:
    far = {"nearest_m": 39_000.0, "farthest_m": 40_000.0}
    weak = replace(SMALL, tasks=5000, load=0.2, cloud=replace(SMALL.cloud, **far), edge=replace(SMALL.edge, **far))
    for config, words in ((replace(SMALL, tasks=5000, load=2.0), "all servers is 2"), (weak, "on its best link")):
        study = small_study(config=config, compare=("greedy",), replications=1)
        assert [one.stable for one in study.outcomes] == [False] * 3
        assert words in study.main.overload
        assert len(study.first.record) == 300
