"""`DesignVectorEnv`: many one-step environments whose step is one evaluation of columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from archcast.environments.history import History
from archcast.environments.single import observation_space
from archcast.environments.task import LARGEST_LOG, make_task
from foundation.checks import whole_number
from foundation.errors import BadValueError
from workloads.table import Array

MOST_ENVS = 1_000_000


class DesignVectorEnv(VectorEnv[Any, Any, Any]):
    """`num_envs` bandits side by side, each a whole design a step.

    Every step ends all episodes and starts the next ones at once (gymnasium's SAME_STEP): what was observed of the
    designs is `info["final_obs"]`, an array (num_envs, observed), and the values are arrays of `info`. Rewards are
    those of `DesignEnv`. Args: those of `make_task`, and `record`.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self, name: str, num_envs: int = 1, *, record: bool = False, reward_formulation: str = "", **options: Any
    ) -> None:  # fmt: skip
        if options.pop("mode", "bandit") != "bandit":
            raise BadValueError("a vector environment has whole designs as actions (mode 'bandit').")
        for unused in ("horizon", "action", "render_mode"):
            options.pop(unused, None)
        if reward_formulation:
            options["objective"] = reward_formulation
        self.num_envs = whole_number("num_envs", num_envs, high=MOST_ENVS)
        self.task = make_task(name, **options)
        self.history = History(self.task.space) if record else None
        self.single_observation_space = observation_space(self.task)
        self.single_action_space = spaces.MultiDiscrete(self.task.counts)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._nothing = np.zeros((self.num_envs, *(self.single_observation_space.shape or ())), dtype=np.float32)
        self._nothing[:, : len(self.task.observed)] = LARGEST_LOG
        self._ended, self._going = np.ones(self.num_envs, dtype=bool), np.zeros(self.num_envs, dtype=bool)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:  # fmt: skip
        """Start all episodes; nothing is drawn, as designs are the actions."""
        super().reset(seed=seed if isinstance(seed, int) else None)
        return self._nothing.copy(), {}

    def step(self, actions: Any) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """Evaluate a design each. Raises BadValueError: codes out of range."""
        found = np.asarray(actions)
        counts = self.task.counts
        if found.shape != (self.num_envs, len(counts)) or found.dtype.kind not in "iu":
            raise BadValueError(
                f"actions are whole numbers of shape ({self.num_envs}, {len(counts)}), not {found.shape}."
            )
        codes = np.ascontiguousarray(found.T, dtype=np.int64)
        if ((codes < 0) | (codes >= counts[:, None])).any():
            raise BadValueError(f"codes of knobs are below {counts.tolist()}, and not negative.")
        outcome = self.task.evaluate(codes)
        if self.history is not None:
            self.history.add(codes, outcome)
        info: dict[str, Any] = {
            **outcome.values, "feasible": outcome.feasible, "fidelity": self.task.fidelity,
            "cost_s": self.task.cost_s, "final_obs": outcome.observation, "_final_obs": self._ended,
        }  # fmt: skip
        return self._nothing.copy(), outcome.score, self._ended.copy(), self._going.copy(), info

    def log(self, path: str | Path, *, feasible_only: bool = False) -> tuple[Path, Path]:
        """Write what was evaluated (with record=True); see `History.write`."""
        if self.history is None:
            raise BadValueError("this environment keeps no record; make it with record=True.")
        return self.history.write(path, feasible_only=feasible_only)
