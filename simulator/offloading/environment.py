"""`OffloadingEnv`: the offloading environment with the methods of a gymnasium environment, which it does not need."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np

from foundation.errors import BadValueError
from simulator.offloading.demand import Lots, Tasks, draw_lots, draw_tasks
from simulator.offloading.record import Record
from simulator.offloading.settings import OffloadingConfig
from simulator.offloading.state import State
from simulator.offloading.system import System, draw_system
from simulator.offloading.worlds import ContinuousWorld, SteppedWorld, World
from simulator.streams import DEFAULT_SEED, RandomStreams
from workloads.table import Array

BINS = 60
BIN_BITS = 1e6
FEATURES = 7 + BINS


@dataclass(frozen=True)
class Discrete:
    """Whole numbers from 0 to n - 1."""

    n: int


@dataclass(frozen=True)
class Box:
    """Arrays of a shape, of numbers that are at least `low`."""

    shape: tuple[int, ...]
    low: float = 0.0
    high: float = float("inf")
    dtype: str = "float64"


def build_world(
    config: OffloadingConfig, streams: RandomStreams, system: System | None = None, demand: Lots | Tasks | None = None
) -> World:  # fmt: skip
    """Return a world at its first decision; the system and the tasks are drawn where they are not given.

    Raises:
        BadValueError: tasks of the other mode.
    """
    system = system or draw_system(config, streams)
    if config.paper_mode:
        lots = draw_lots(config, system.mean_bits(config), streams) if demand is None else demand
        if not isinstance(lots, Lots):
            raise BadValueError("The published mode takes its tasks in lots a step (Lots).")
        return SteppedWorld(config, system, lots)
    tasks = draw_tasks(config, system.mean_bits(config), streams) if demand is None else demand
    if not isinstance(tasks, Tasks):
        raise BadValueError("The physical mode takes its tasks one by one (Tasks).")
    return ContinuousWorld(config, system, tasks)


def observe(world: World) -> Array:
    """Return the observation (67, servers), as published: seven features and a histogram of what is left, by server.

    Features: 1, GHz, edges, Mbit of the task, 1 until done, its user's rate in 100 Mb/s, running tasks; then 60 bins
    of 1 Mbit, the last open.
    """
    system, servers = world.system, world.system.servers
    found = np.empty((FEATURES, servers))
    remaining = world.remaining_bits()
    found[0] = 1
    found[1] = system.frequency_hz / 1e9
    found[2] = servers - 1
    found[3] = world.size_bits / 1e6
    found[4] = 1 - world.done
    found[5] = system.rate_bits_per_s[:, world.user] / 1e6 / 100
    found[6] = [len(bits) for bits in remaining]
    for server, bits in enumerate(remaining):
        places = np.minimum((bits / BIN_BITS).astype(np.int64), BINS - 1)
        found[7:, server] = np.bincount(np.maximum(places, 0), minlength=BINS)
    return found


class OffloadingEnv:
    """One task a step is sent to a server. `reset` draws a new system; spaces are those of the present one.

    As published (`paper_config()`) an episode ends after `steps` steps (terminated); in physical mode when the last
    task is assigned (truncated). The reward is w x (-delay cost x growth of the summed delay) + (1 - w) x (-energy
    cost x joules), 0 for a task of size 0.
    """

    def __init__(
        self, config: OffloadingConfig, seed: int = DEFAULT_SEED, *, replication: int = 0,
        system: System | None = None, demand: Lots | Tasks | None = None,
    ) -> None:  # fmt: skip
        self.config, self.seed, self.replication = config, seed, replication
        self._given: tuple[System | None, Lots | Tasks | None] = (system, demand)
        self._fresh = True
        self._build()

    def _build(self) -> None:
        self.streams = RandomStreams(self.seed, self.replication)
        self.world = build_world(self.config, self.streams, *self._given)
        self.action_space = Discrete(self.world.system.servers)
        self.observation_space = Box((FEATURES, self.world.system.servers))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin an episode: with a seed the one of that seed, else the next one of this environment."""
        if seed is not None:
            self.seed, self.replication = seed, 0
        elif not self._fresh:
            self.replication += 1
        self._fresh = False
        self._build()
        return observe(self.world), {"seed": self.seed, "replication": self.replication}

    def step(self, action: int) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Send the task to server `action`; return observation, reward, terminated, truncated and what happened.

        info: energy_j and its parts, delay_increase_s, sending_s, and `finished`, the tasks that ended with the parts
        of their delays.

        Raises:
            BadValueError: no such server, or the episode is over.
        """
        self._fresh = False
        if self.world.done:
            raise BadValueError("The episode is over; call reset().")
        try:
            server = -1 if isinstance(action, bool | np.bool_) else operator.index(action)
        except TypeError:
            server = -1
        if not 0 <= server < self.action_space.n:
            raise BadValueError(
                f"The action must be a server from 0 to {self.action_space.n - 1}, not {action!r} "
                f"(step {self.world.step + 1}, time {self.world.now_s:g} s, user {self.world.user})."
            )
        info = self.world.assign(server)
        over = self.world.done
        published = self.config.paper_mode
        return observe(self.world), reward_of(self.config, info), over and published, over and not published, info

    def state(self) -> State:
        """Return what a policy sees now."""
        return self.world.state(self.streams.get("offloading/policy"))

    @property
    def record(self) -> Record:
        """What happened so far."""
        return self.world.record


def reward_of(config: OffloadingConfig, info: dict[str, Any]) -> float:
    """Return the reward of a step."""
    if info["size_bits"] == 0:
        return 0.0
    delay = -info["delay_increase_s"] * config.delay_cost_per_s
    energy = -info["energy_j"] * config.energy_cost_per_j
    return float(config.weight * delay + (1.0 - config.weight) * energy)
