"""Environments by gymnasium's own checker: spaces, seeds, rewards, actions by name, batches equal to single steps."""

from __future__ import annotations

import warnings
from functools import cache
from typing import Any

import numpy as np
import pytest

from archcast.environments import IDS, environment_id, make
from archcast.environments.task import WORST
from foundation.errors import BadFileError, BadValueError, UnknownNameError

gymnasium = pytest.importorskip("gymnasium", reason="environments need gymnasium: pip install archcast[gym]")


@cache
def shared(name: str, **options: Any) -> Any:
    return make(name, **options)


def sampled(env: Any, seed: int = 0) -> np.ndarray:
    env.action_space.seed(seed)
    return np.asarray(env.action_space.sample())


@pytest.mark.parametrize("mode", ["bandit", "sequential"])
@pytest.mark.parametrize("name", IDS)
def test_the_checker_of_gymnasium_finds_nothing(name: str, mode: str):
    from gymnasium.utils.env_checker import check_env

    env = gymnasium.make(f"archcast/{name}-v0", mode=mode).unwrapped
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env)


@pytest.mark.parametrize("name", IDS)
def test_a_batch_gives_what_single_steps_give(name: str):
    env, many = shared(name), shared(name, num_envs=20)
    many.action_space.seed(4)
    actions = many.action_space.sample()
    many.reset(seed=0)
    _, rewards, ended, cut, info = many.step(actions)
    assert ended.all()
    assert not cut.any()
    for i in range(0, 20, 4):
        env.reset(seed=1)
        observed, reward, terminated, truncated, known = env.step(actions[i])
        assert (terminated, truncated) == (True, False)
        assert reward == rewards[i]
        assert np.array_equal(observed, info["final_obs"][i])
        assert known["feasible"] == info["feasible"][i]
        assert known["latency_s"] is None or known["latency_s"] == info["latency_s"][i]


@pytest.mark.parametrize("name", IDS)
def test_info_holds_what_allocators_ask_for(name: str):
    env = shared(name)
    env.reset(seed=0)
    info = next(one for one in (env.step(sampled(env, seed))[4] for seed in range(40)) if one["feasible"])
    assert {"latency_s", "energy_j", "memory_bytes", "feasible", "interval", "fidelity", "cost_s"} <= set(info)
    assert info["latency_s"] > 0
    low, high = info["interval"]["latency_s"]
    assert low <= info["latency_s"] <= high
    assert info["cost_s"] > 0


def test_seeded_episodes_are_equal_bit_by_bit() -> None:
    runs = []
    for _ in range(2):
        env = make("npu-array", mode="sequential", horizon=6)
        env.action_space.seed(5)
        rows = [env.reset(seed=7)[0]]
        for _ in range(6):
            observed, reward, _, cut, _ = env.step(env.action_space.sample())
            rows.append(np.append(observed, reward))
        assert cut
        runs.append(np.concatenate(rows))
    assert np.array_equal(runs[0], runs[1])


def test_gains_of_a_sequence_add_up_to_the_score() -> None:
    env = make("npu-array", mode="sequential", horizon=30)
    env.reset(seed=3)
    start, gained = env.score, 0.0
    env.action_space.seed(1)
    for _ in range(30):
        _, reward, ended, cut, info = env.step(env.action_space.sample())
        gained += reward
    assert (ended, cut) == (False, True)
    assert start + gained == pytest.approx(info["score"])


def test_a_move_stops_at_the_ends_of_numbers_and_goes_round_among_names() -> None:
    env = make("dram-controller", mode="sequential")
    names = [knob.name for knob in env.task.space.knobs]
    size, page = names.index("RequestBufferSize"), names.index("PagePolicy")
    design = {knob.name: knob.values[0] for knob in env.task.space.knobs}
    env.reset(options={"design": design})
    env.step((size, 0))
    assert env.codes[size] == 0
    env.step((page, 0))
    assert env.codes[page] == 3
    env.step((size, 2))
    assert env.codes[size] == 1


def test_rewards_are_logarithms_of_how_many_times_better_than_the_reference() -> None:
    reference = {"latency_s": 1e-3, "energy_j": 1e-3}
    for objective, terms in (("latency", ["latency_s"]), ("energy", ["energy_j"]), ("edp", ["latency_s", "energy_j"])):
        env = make("npu-array", objective=objective, reference=reference)
        env.reset(seed=0)
        _, reward, _, _, info = env.step(sampled(env))
        assert reward == pytest.approx(-sum(np.log(info[name] / reference[name]) for name in terms))
    env = make("npu-array", reward_formulation="joint", objectives=["latency_s", "energy_j"], reference=reference)
    env.reset(seed=0)
    _, reward, _, _, info = env.step(sampled(env))
    assert reward == pytest.approx(-np.mean([np.log(info[name] / reference[name]) for name in reference]))


def test_a_design_beyond_a_constraint_is_not_feasible_and_has_the_worst_reward() -> None:
    env = make("npu-array", constraints={"area_mm2": 0.01})
    env.reset(seed=0)
    _, reward, _, _, info = env.step(sampled(env))
    assert reward == WORST
    assert not info["feasible"]
    assert "area_mm2 above 0.01" in info["reason"]


def test_a_design_by_its_names_is_that_of_its_codes() -> None:
    env = shared("dram-controller")
    codes = sampled(env, 3)
    named = env.task.space.values(codes)
    env.reset()
    assert env.step(codes)[1] == env.step(named)[1]
    other = make("dram-controller", action="dict")
    other.reset(seed=0)
    assert other.step(dict(zip(named, codes, strict=True)))[1] == env.step(codes)[1]


def test_wrong_actions_and_options_are_named() -> None:
    env = shared("dram-controller")
    env.reset()
    with pytest.raises(BadValueError, match="code for each of 12 knobs"):
        env.step(np.zeros(3, dtype=int))
    with pytest.raises(BadValueError, match="below"):
        env.step(np.full(12, 99))
    with pytest.raises(UnknownNameError, match="PagePolicy"):
        env.step({"PagePolicie": "Open"})
    with pytest.raises(BadValueError, match="says nothing about"):
        env.step({"PagePolicy": "Open"})
    with pytest.raises(UnknownNameError, match="npu-array"):
        make("npu-arry")
    with pytest.raises(UnknownNameError, match="latency"):
        make("npu-array", objective="latncy")
    with pytest.raises(BadFileError, match="area_mm2"):
        make("npu-array", constraints={"area_mm": 3})
    with pytest.raises(BadValueError, match="shape"):
        shared("npu-array", num_envs=20).step(np.zeros((3, 3), dtype=int))


def test_names_of_archgym_are_known() -> None:
    assert environment_id("DRAMGym") == environment_id("DRAMEnv") == environment_id("DRAMEnv_RL") == "dram-controller"
    assert environment_id("TimeloopEnv") == environment_id("archcast/npu-array-v0") == "npu-array"
    assert environment_id("AstraSimEnv") == "gpu-serving"


def test_events_are_a_fidelity_of_their_own() -> None:
    env = make("dram-controller", fidelity="events", fixed={"requests": 60})
    env.reset(seed=0)
    observed, _, _, _, info = env.step(sampled(env))
    assert info["fidelity"] == "events"
    assert observed in env.observation_space


def test_gymnasium_makes_vector_environments_by_the_same_id() -> None:
    many = gymnasium.make_vec("archcast/dram-controller-v0", num_envs=3, vectorization_mode="vector_entry_point")
    many.reset(seed=0)
    observed, rewards, *_ = many.step(many.action_space.sample())
    assert observed in many.observation_space
    assert rewards.shape == (3,)


def test_a_record_is_written_as_two_aligned_tables(tmp_path) -> None:
    env = make("dram-controller", record=True, num_envs=5)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.step(env.action_space.sample())
    actions, observations = env.log(tmp_path / "run")
    rows = [path.read_text().splitlines() for path in (actions, observations)]
    assert [len(one) for one in rows] == [11, 11]
    assert rows[0][0].startswith("PagePolicy,Scheduler")
    assert "reward" in rows[1][0]
    pytest.importorskip("pyarrow", reason="Parquet needs pyarrow")
    import pyarrow.parquet

    for path in env.log(tmp_path / "run.parquet"):
        assert pyarrow.parquet.read_table(path).num_rows == 10
    with pytest.raises(BadValueError, match="record"):
        make("dram-controller").log(tmp_path)


@pytest.mark.parametrize("name", IDS)
def test_no_design_at_all_is_no_fault(name: str):
    task = shared(name).task
    outcome = task.evaluate(np.zeros((len(task.counts), 0), dtype=np.int64))
    assert outcome.score.shape == outcome.feasible.shape == (0,)
