"""ArchGym's ways: its step of four values, its rewards, its flat actions, its files read safely and written back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.environments.archgym_compat import DECODED, FAILED, ArchGymEnv, make
from archcast.environments.archgym_files import (
    Designs,
    Step,
    as_designs,
    read_designs,
    read_trajectory,
    write_designs,
    write_trajectory,
)
from foundation.errors import BadFileError, BadValueError, UnknownNameError

DATA = Path(os.environ.get("ARCHCAST_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")
ACTION = {
    "PagePolicy": "Open", "Scheduler": "FrFcfs", "SchedulerBuffer": "Bankwise", "RequestBufferSize": 8,
    "RespQueue": "Fifo", "RefreshPolicy": "AllBank", "RefreshMaxPostponed": 1, "RefreshMaxPulledin": 1,
    "Arbiter": "Simple", "MaxActiveTransactions": 128,
}  # fmt: skip


def dram(**options: Any) -> ArchGymEnv:
    return make("DRAMEnv", fixed={"requests": 50}, **options)


def test_a_step_gives_four_values_and_a_reset_an_observation() -> None:
    env = dram()
    assert env.reset().shape == (1, 3)
    observation, reward, done, info = env.step(ACTION)
    assert observation.shape == (1, 3)
    assert (done, info["feasible"]) == (False, True)
    assert reward > 0


def test_a_flat_action_is_what_its_places_stand_for() -> None:
    flat = [known.index(ACTION[name]) for name, known in DECODED.items()]
    env = dram()
    assert np.array_equal(env.step(flat)[0], env.step(ACTION)[0])
    assert env.decoded(np.full(10, 99.0))["MaxActiveTransactions"] == 128


def test_energy_is_power_times_time() -> None:
    (energy_mj, power_w, time_ms), *_ = dram().step(ACTION)[0]
    assert energy_mj == pytest.approx(power_w * time_ms)


def test_rewards_are_target_over_distance_and_inverted_for_agents() -> None:
    observation = [3.0, 2.5, 0.4]
    env = dram(reward_formulation="power", target={"power": 1.0})
    assert env.reward(observation) == pytest.approx(1 / 1.5)
    env = dram(reward_formulation="both", target={"power": 1.0, "latency": 0.1})
    assert env.reward(observation) == pytest.approx((1 / 1.5) * (0.1 / 0.3))
    assert dram(rl_agent=True).reward(observation) == pytest.approx(1.5)
    assert np.isfinite(dram().reward([0.0, 1.0, 0.0]))


def test_an_episode_ends_after_its_steps_and_begins_again() -> None:
    env = dram(max_steps=3)
    assert [env.step(ACTION)[2] for _ in range(6)] == [False, False, True] * 2
    assert env.episode == 2


def test_a_design_that_does_not_stand_is_seen_at_the_upper_bound() -> None:
    env = make("TimeloopEnv", reward_formulation="latency", constraints={"area_mm2": 1e-3})
    observation, reward, _, info = env.step([0] * len(env.task.space.knobs))
    assert (observation == FAILED).all()
    assert (reward, info["feasible"]) == (0.0, False)


def test_wrong_actions_are_named() -> None:
    with pytest.raises(BadValueError, match="places"):
        dram().step([1, 2])
    with pytest.raises(UnknownNameError, match="PagePolicy"):
        dram().step({**ACTION, "PagePolicies": "Open"})
    with pytest.raises(BadValueError, match="finite"):
        dram().step([np.nan] * 10)
    with pytest.raises(UnknownNameError, match="power"):
        dram(reward_formulation="powr")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(
    st.floats(allow_nan=False, allow_infinity=False), st.integers(-(10**12), 10**12),
    st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=20),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=3, max_size=3),
), min_size=1, max_size=5))  # fmt: skip
def test_a_trajectory_reads_back_as_it_was_written(tmp_path_factory: Any, rows: list[Any]):
    path = tmp_path_factory.mktemp("trajectory") / "t.csv"
    steps = [Step(reward, {"number": number, "text": text}, tuple(values)) for reward, number, text, values in rows]
    write_trajectory(path, steps)
    assert read_trajectory(path) == steps
    assert len(as_designs(steps)) == len(steps)


def test_a_line_as_archgym_writes_it_is_read(tmp_path: Path):
    path = tmp_path / "trajectory.csv"
    path.write_text("0.52,\"{'PagePolicy': 'Open', 'RequestBufferSize': 8}\",\"[[1.2e-03 2.5 \n 0.4]]\"\n")
    assert read_trajectory(path) == [Step(0.52, {"PagePolicy": "Open", "RequestBufferSize": 8}, (1.2e-3, 2.5, 0.4))]


@pytest.mark.parametrize("line", [
    '1,"__import__(\'os\').system(\'true\')","[[1 2 3]]"', '1,"{\'a\': [1]}","[[1 2 3]]"', '1,"{1: 2}","[[1]]"',
    '1,"{\'a\': 1}","[[]]"', 'nan,"{}","[[1]]"', '1,"' + "(" * 5000 + '","[[1]]"', '1,"{\'a\': 1}"', "",
])  # fmt: skip
def test_hostile_lines_are_refused(tmp_path: Path, line: str):
    path = tmp_path / "t.csv"
    path.write_text(line + "\n")
    with pytest.raises(BadFileError):
        read_trajectory(path)


def test_aligned_tables_read_back_as_they_were_written(tmp_path: Path):
    designs = Designs({"a": np.array([1, 2]), "b": np.array(["x", 'y,"z'])}, {"latency": np.array([0.1, 1 / 3])})
    write_designs(tmp_path, designs)
    found = read_designs(tmp_path)
    for mine, theirs in ((designs.actions, found.actions), (designs.observations, found.observations)):
        assert list(mine) == list(theirs)
        assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    (tmp_path / "observations_feasible.csv").write_text("latency\n1\n")
    with pytest.raises(BadFileError, match="rows"):
        read_designs(tmp_path)


def test_archgyms_own_tables_are_read(tmp_path: Path):
    folder = DATA / "archgym-astrasim"
    if not folder.is_dir():
        pytest.skip("ArchGym's AstraSim tables are not there (set ARCHCAST_DATA)")
    found = read_designs(folder)
    assert len(found) == 1792
    assert (len(found.actions), len(found.observations)) == (34, 5)
    write_designs(tmp_path, found)
    again = read_designs(tmp_path)
    assert all(np.array_equal(column, again.observations[name]) for name, column in found.observations.items())
