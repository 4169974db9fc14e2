"""The published offloading environment: step energy, completion times, rewards and observations, worked out by hand."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from offloading_samples import one_a_step, published, shared_schedule, system_of

from foundation.errors import BadValueError
from simulator.offloading.demand import Lots
from simulator.offloading.environment import OffloadingEnv
from simulator.offloading.radio import published_rates
from simulator.offloading.settings import paper_config
from simulator.offloading.sharing import added_delay_s
from simulator.offloading.stepped import published_increase_s
from simulator.offloading.system import draw_system
from simulator.streams import RandomStreams

EXACT = 1e-9
GHZ = (4e9, 2e9, 2.5e9)
TASKS = (
    (4.0e6, 0), (2.0e6, 1), (9.3e6, 2), (0.1e6, 0), (31.0e6, 1), (5.7e6, 2), (1.2e6, 0), (7.7e6, 1), (0.4e6, 2),
    (100.0e6, 0), (3.3e6, 1), (2.2e6, 2),
)  # fmt: skip
ACTIONS = (0, 0, 1, 1, 2, 1, 0, 2, 2, 0, 0, 1)
RATES = np.array([[8e6, 3.1e6, 0.9e6], [7.4e8, 2e6, 41e6], [5e5, 6.6e8, 1.7e6]])


def played(weight: float = 0.5, steps: int = 60) -> tuple[OffloadingEnv, list[float], list[dict[str, Any]]]:
    """Play the fixed actions; after them tasks of size 0 go anywhere."""
    config = published(steps, 3, weight=weight)
    env = OffloadingEnv(config, system=system_of(config, GHZ, RATES), demand=one_a_step(config, TASKS))
    env.reset()
    rewards, infos = [], []
    for step in range(steps):
        _, reward, _, _, info = env.step(ACTIONS[step] if step < len(ACTIONS) else step % 3)
        rewards.append(reward)
        infos.append(info)
    return env, rewards, infos


def test_completion_times_equal_a_schedule_worked_out_in_fractions() -> None:
    env, _, infos = played()
    seen = {task["task"]: task for info in infos for task in info["finished"]}
    for server in range(3):
        tasks = [i for i, action in enumerate(ACTIONS) if action == server]
        joins = [
            i + Fraction(TASKS[i][0]) / Fraction(float(RATES[server, TASKS[i][1]])) for i in tasks
        ]  # task i is decided on at second i  # fmt: skip
        work = [Fraction(TASKS[i][0]) * 1000 / Fraction(GHZ[server]) for i in tasks]
        ends = shared_schedule(list(zip(joins, work, strict=True)))
        for i, join, end in zip(tasks, joins, ends, strict=True):
            assert abs(seen[i]["finish_s"] - end) < EXACT
            assert abs(seen[i]["sending_s"] - (join - i)) < EXACT
            assert abs(seen[i]["delay_s"] - (end - i)) < EXACT
    assert env.record.column("finish_s")[:12] == pytest.approx([seen[i]["finish_s"] for i in range(12)], abs=0)


def test_the_energy_of_a_step_is_that_of_sending_and_of_all_cycles() -> None:
    _, _, infos = played()
    for i, ((size, user), server) in enumerate(zip(TASKS, ACTIONS, strict=True)):
        sending = Fraction(size) / Fraction(float(RATES[server, user])) * Fraction(1, 100)
        execution = Fraction(size) * 1000 * Fraction(5, 10**31) * Fraction(GHZ[server]) ** 2
        assert abs(infos[i]["energy_j"] - (sending + execution)) < EXACT * float(sending + execution)
        assert infos[i]["sending_energy_j"] == pytest.approx(float(sending), rel=EXACT)
    assert all(info["energy_j"] == 0 for info in infos[len(TASKS) :])


def test_two_tasks_by_hand() -> None:
    # Cloud: 4 Mbit/s of work, links of 8 Mb/s. The first joins at 0.5 s with 1 s of work; the second is decided on at
    # 1 s and joins at 1.25 s with 0.5 s. From there both get a half: the first, 0.25 s left, ends at 1.75 s; the
    # second then has 0.25 s left, alone, and ends at 2 s.
    config = published(4, 1, weight=0.25)
    env = OffloadingEnv(config, system=system_of(config, GHZ, 8e6), demand=one_a_step(config, [(4e6, 0), (2e6, 0)]))
    env.reset()
    steps = [env.step(0) for _ in range(4)]
    finished = [(task["task"], task["finish_s"]) for step in steps for task in step[4]["finished"]]
    assert finished[0] == (0, pytest.approx(1.75, abs=EXACT))
    assert (1, pytest.approx(2.0, abs=EXACT)) in finished
    # 8 nJ a bit in the cloud and 10 mW for 0.5 s.
    energies = [4e6 * 8e-9 + 0.005, 2e6 * 8e-9 + 0.0025]
    assert [step[4]["energy_j"] for step in steps[:2]] == pytest.approx(energies, rel=1e-12)
    # Alone: 1 s more. At 1 s the first has 0.5 s left: alone the sum is 0.5. With the second: 0.25 s to its join,
    # then 1 Mbit and 2 Mbit share: 2 x 0.5 + 0.25. So 1.5 - 0.5 = 1 s more.
    assert [step[4]["delay_increase_s"] for step in steps[:2]] == pytest.approx([1.0, 1.0], rel=1e-12)
    rewards = [0.25 * -0.01 * 1.0 + 0.75 * -50 * energy for energy in energies]
    assert [step[1] for step in steps] == pytest.approx([*rewards, 0.0, 0.0], rel=1e-12)


def test_the_published_estimate_keeps_what_it_leaves_out() -> None:
    # Tasks of 2, 4 and 6 Mbit share 4 Mbit/s; alone they end after 1.5, 2.5 and 3 s, in sum 7. One of 3 Mbit comes
    # after 0.75 s, in which each of the three gets 0.75 s x 4 / 3 = 1 Mbit: 3 x 0.75 s, and 1, 3 and 5 Mbit are left.
    # With the new one these end 1, 2.5, 2.5 and 3 s later, in sum 9: the true growth is 2.25 + 9 - 7 = 4.25 s.
    left, speed = [6e6, 2e6, 4e6], 4e6
    assert added_delay_s([x / speed for x in left], [], 0.75, 3e6 / speed) == pytest.approx(4.25 + 0.75, rel=1e-12)
    # Published, the second and third keep what they have got: 1, 3, 4 and 6 Mbit end after 1, 2.5, 3 and 3.5 s.
    assert published_increase_s(np.array(left), speed, 0.75, 3e6) == pytest.approx(2.25 + 10 - 7, rel=1e-12)
    # All end before it joins: nothing is taken off, as if they were still there.
    assert published_increase_s(np.array([2e6]), speed, 1.0, 2e6) == pytest.approx(0.5 + 1.0 + 1.0 - 0.5, rel=1e-12)


def test_tasks_of_size_zero_are_decided_on_and_change_nothing() -> None:
    env, rewards, infos = played()
    empty = len(TASKS)
    assert rewards[empty:] == [0.0] * (60 - empty)
    assert all(info["size_bits"] == 0 and info["delay_increase_s"] == 0 for info in infos[empty:])
    record = env.record
    zero = record.column("size_bits") == 0
    assert zero.sum() == 60 - empty
    assert (record.column("finish_s")[zero] == record.column("arrival_s")[zero]).all()


def test_more_tasks_than_steps_wait_for_a_decision() -> None:
    config = published(4, 2)
    counts, users = np.array([3, 0, 2, 0, 0]), np.array([0, 1, 0, 1, 0])
    lots = Lots.of(config, counts, np.array([1e6, 2e6, 3e6, 4e6, 5e6]), users, np.zeros(5))
    env = OffloadingEnv(config, system=system_of(config, GHZ, 1e8), demand=lots)
    obs, _ = env.reset()
    assert obs[3].tolist() == [1.0, 1.0, 1.0]
    infos = [env.step(0)[4] for _ in range(4)]
    assert [info["size_bits"] for info in infos] == [1e6, 2e6, 3e6, 4e6]
    # After the first step two of the first lot wait, of which one is shown; the lot of step 2 comes after it.
    assert [info["waiting"] for info in infos] == [1, 2, 1, 1]


def test_the_observation_has_seven_features_and_sixty_bins_a_server() -> None:
    config = published(3, 1)
    env = OffloadingEnv(
        config, system=system_of(config, GHZ, 2e8), demand=one_a_step(config, [(61.5e6, 0), (9e6, 0), (1e6, 0)])
    )  # fmt: skip
    env.reset()
    env.step(1)
    obs, _, terminated, truncated, _ = env.step(0)
    assert obs.shape == (67, 3) == env.observation_space.shape
    assert obs[:6, 0].tolist() == [1.0, 4.0, 2.0, 1.0, 1.0, 2.0]
    assert obs[1].tolist() == [4.0, 2.0, 2.5]
    assert obs[6].tolist() == [1.0, 1.0, 0.0]
    # Edge 1 after 2 s: 0.3075 s to send, 1.6925 s at 2 Mbit/s, 58.1 Mbit left; the cloud: 9 - 4 x (1 - 0.045) Mbit.
    assert np.flatnonzero(obs[7:, 1]).tolist() == [58]
    assert np.flatnonzero(obs[7:, 0]).tolist() == [5]
    assert (terminated, truncated) == (False, False)
    last, _, terminated, truncated, _ = env.step(0)
    assert terminated
    assert not truncated
    assert last[4].tolist() == [0.0, 0.0, 0.0]
    assert last[7 + 56, 1] == 1
    with pytest.raises(BadValueError, match="over"):
        env.step(0)


def test_what_is_larger_than_the_last_bin_is_counted_in_it() -> None:
    config = published(2, 1)
    env = OffloadingEnv(config, system=system_of(config, GHZ, 1e9), demand=one_a_step(config, [(100e6, 0)]))
    env.reset()
    obs, *_ = env.step(1)
    assert np.flatnonzero(obs[7:, 1]).tolist() == [59]


@pytest.mark.parametrize(("distance_m", "about_bits_per_s"), [(1500.0, 440e6), (250.0, 740e6)])
def test_published_rates_divide_by_the_noise_twice(distance_m: float, about_bits_per_s: float) -> None:
    config = paper_config(users=1)
    noise_w = 1e-3 * 10**-17.4 * 16.6e6
    normalised = 10 ** (-(35 * math.log10(distance_m / 1000) + 133.6 + 8) / 10) / noise_w
    expected = 16.6e6 * math.log2(1 + 0.01 * normalised**2 / noise_w)
    found = published_rates(config, np.array([[distance_m]]), np.ones((1, 1)))
    assert found[0, 0] == pytest.approx(expected, rel=1e-12)
    assert found[0, 0] == pytest.approx(about_bits_per_s, rel=0.02)


def test_a_drawn_system_has_the_published_ranges_and_load_one() -> None:
    config = paper_config()
    edges = set()
    for seed in range(60):
        system = draw_system(config, RandomStreams(seed))
        edges.add(system.servers - 1)
        assert 3e9 <= system.frequency_hz[0] <= 5e9
        assert ((system.frequency_hz[1:] >= 1.5e9) & (system.frequency_hz[1:] <= 2.5e9)).all()
        assert ((system.distance_m[0] >= 1000) & (system.distance_m[0] <= 2000)).all()
        assert ((system.distance_m[1:] >= 50) & (system.distance_m[1:] <= 500)).all()
        assert system.offered_load(config) == pytest.approx(1.0)
    assert edges == set(range(1, 11))


def test_published_sizes_are_clipped_and_as_many_as_the_rate_says() -> None:
    config = paper_config(steps=20_000, single_edge=True)
    env = OffloadingEnv(config)
    lots = env.world.demand  # type: ignore[attr-defined]
    assert lots.size_bits.min() == 0.1e6
    assert lots.size_bits.max() == 30e6
    count = len(lots.size_bits)
    assert abs(count - 20_001) < 4 * math.sqrt(20_001)
    # Mean of an exponential of mean m clipped to [a, b]: a + m (e^(-a/m) - e^(-b/m)).
    mean = 0.1e6 + 6e6 * (math.exp(-0.1 / 6) - math.exp(-5))
    assert abs(lots.size_bits.mean() - mean) < 4 * lots.size_bits.std() / math.sqrt(count)


def test_the_constants_are_those_of_the_published_file() -> None:
    data = Path(os.environ.get("ARCHCAST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    file = data / "mec_offload" / "config.yaml"
    if not file.exists():
        pytest.skip("the published constants (mec_offload/config.yaml) are not on this machine: set ARCHCAST_DATA")
    import yaml

    configs = yaml.safe_load(file.read_text())["configs"]
    for single, name in ((True, "MEC_Config1"), (False, "multi-edge")):
        given = {key: entry["value"] for key, entry in configs[name].items()}
        config = paper_config(single_edge=single)
        for key, kind in (("cloud", config.cloud), ("edge", config.edge)):
            frequency = given[f"{key}_cpu_freq"]
            assert kind.frequency_hz == (frequency[0] if isinstance(frequency, list) else frequency)
            assert kind.frequency_spread_hz == given.get(f"{key}_cpu_freq_peak", 0.0)
            assert kind.cycles_per_bit == given[f"{key}_C"]
            assert kind.energy_j_per_cycle_hz2 == float(given[f"{key}_k"])
            assert kind.sending_power_w == given[f"{key}_off_power"]
            assert (kind.nearest_m, kind.farthest_m) == (given[f"{key}_user_dist_L"], given[f"{key}_user_dist_H"])
            assert kind.bandwidth_hz == given[f"{key}_off_band_width"]
        low, high = given.get("edge_num_L", given.get("edge_num")), given.get("edge_num_H", given.get("edge_num"))
        assert config.edge_range == (low, high)
        assert (config.step_s, config.steps, config.users) == (given["dt"], given["Tmax"], given["user_num"])
        assert (config.rate_hz, config.wave_bits) == (given["possion_lamda"], given["wave_peak"])
        assert (config.least_bits, config.most_bits) == (given["task_size_L"], given["task_size_H"])
        assert config.noise_dbm_per_hz == given["noise_dBm"]
