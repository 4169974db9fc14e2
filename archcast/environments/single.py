"""`DesignEnv`: one design, or one change of a design, a step. docs/environments.md describes spaces and rewards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from archcast.environments.history import History
from archcast.environments.task import LARGEST_LOG, Single, Task, make_task
from foundation.checks import whole_number
from foundation.errors import BadValueError, UnknownNameError
from workloads.table import Array

MODES = ("bandit", "sequential")
ACTIONS = ("codes", "dict")
DOWN, STAY, UP = 0, 1, 2
"""Moves of the sequential mode."""


class Interval(Mapping[str, tuple[float, float]]):
    """The ends of a design's values, worked out when they are looked at: that takes longer than the values."""

    def __init__(self, task: Task, codes: Array) -> None:
        self.task, self.codes = task, codes
        self._found: dict[str, tuple[float, float]] | None = None

    def _known(self) -> dict[str, tuple[float, float]]:
        if self._found is None:
            shown = self.task.problem.details(self.codes[:, None])[0]
            self._found = {
                name: (value["lo"], value["hi"]) for name, value in shown.items()
                if isinstance(value, dict) and "lo" in value
            }  # fmt: skip
        return self._found

    def __getitem__(self, name: str) -> tuple[float, float]:
        return self._known()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known())

    def __len__(self) -> int:
        return len(self._known())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Interval) and np.array_equal(self.codes, other.codes)

    __hash__ = None  # type: ignore[assignment]


def observation_space(task: Task) -> spaces.Box:
    """Return the bounds of what is observed: logarithms of values, whether the design stands, its place by knob."""
    values, knobs = len(task.observed), len(task.counts)
    low = np.r_[np.full(values, -LARGEST_LOG), np.zeros(1 + knobs)]
    high = np.r_[np.full(values, LARGEST_LOG), np.ones(1 + knobs)]
    return spaces.Box(low.astype(np.float32), high.astype(np.float32))


def info_of(task: Task, found: Single, codes: Array) -> dict[str, Any]:
    """Return what is known of one design; None where a value is not."""
    shown: dict[str, Any] = {"latency_s": None, "energy_j": None, "memory_bytes": None}
    for name, value in found.values.items():
        shown[name] = value if math.isfinite(value) else None
    shown["feasible"], shown["reason"], shown["fidelity"] = found.feasible, found.reason, task.fidelity
    shown["interval"] = Interval(task, codes) if found.feasible else None
    shown["cost_s"] = task.cost_s
    return shown


class DesignEnv(gymnasium.Env[Any, Any]):
    """One environment.

    bandit: an action is a whole design, and the episode ends with it; the reward is the design's score.
    sequential: an episode starts from a design drawn at random (or `options={"design": {...}}`), an action moves one
    knob to the next value below or above, the reward is what the score gains; it is cut off after `horizon` steps.

    Args:
        name, options: see `make_task`. reward_formulation: ArchGym's name of `objective`.
        action: codes (MultiDiscrete), where a mapping of names to values is taken too, or dict (a mapping of names to
            codes, Dict of Discrete).
        record: keep every evaluated design for `log`.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (gymnasium's own attribute)

    def __init__(
        self, name: str, *, mode: str = "bandit", horizon: int = 50, action: str = "codes", record: bool = False,
        reward_formulation: str = "", render_mode: str | None = None, **options: Any,
    ) -> None:  # fmt: skip
        for what, value, known in (("mode", mode, MODES), ("action", action, ACTIONS)):
            if value not in known:
                raise UnknownNameError(what, value, known, f"Known: {', '.join(known)}.")
        if reward_formulation:
            options["objective"] = reward_formulation
        self.task = make_task(name, **options)
        self.coded = action == "dict"
        self.mode, self.horizon = mode, whole_number("horizon", horizon, low=2)
        self.history = History(self.task.space) if record else None
        self.render_mode = render_mode
        counts = self.task.counts
        names = [knob.name for knob in self.task.space.knobs]
        self.observation_space = observation_space(self.task)
        if mode == "sequential":
            self.action_space: Any = spaces.MultiDiscrete([len(counts), 3])
        elif action == "dict":
            self.action_space = spaces.Dict(
                {one: spaces.Discrete(int(n)) for one, n in zip(names, counts, strict=True)}
            )
        else:
            self.action_space = spaces.MultiDiscrete(counts)
        self.codes = np.zeros(len(counts), dtype=np.int64)
        self.score, self.steps = 0.0, 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Array, dict[str, Any]]:  # fmt: skip
        """Start an episode. In the bandit mode nothing is known yet: the observation is that of no design."""
        super().reset(seed=seed)
        self.steps = 0
        if self.mode == "bandit":
            return self._nothing(), {}
        if options and "design" in options:
            self.codes = self.task.codes_of(options["design"])
        else:
            self.codes = self.np_random.integers(0, self.task.counts)
        found = self._evaluated()
        self.score = found.score
        return found.observation, info_of(self.task, found, self.codes)

    def _nothing(self) -> Array:
        found = np.zeros(self.observation_space.shape or (), dtype=np.float32)
        found[: len(self.task.observed)] = LARGEST_LOG
        return found

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Evaluate a design, or change one knob of it. Raises BadValueError, UnknownNameError: no action."""
        if self.mode == "bandit":
            named = isinstance(action, Mapping)
            self.codes = self.task.codes_of(action, coded=self.coded) if named else self.task.checked(action)
        else:
            self.codes = self._moved(action)
        found = self._evaluated()
        info = info_of(self.task, found, self.codes)
        if self.mode == "bandit":
            return found.observation, found.score, True, False, info
        gained, self.score = found.score - self.score, found.score
        self.steps += 1
        info["score"] = found.score
        return found.observation, gained, False, self.steps >= self.horizon, info

    def _moved(self, action: Any) -> Array:
        """Return the codes after one move: numbers stop at their ends, names go round."""
        found = np.asarray(action)
        if found.shape != (2,) or not 0 <= found[0] < len(self.codes) or not 0 <= found[1] < 3:
            raise BadValueError(f"an action is (knob below {len(self.codes)}, 0 down, 1 stay, 2 up), not {action!r}.")
        knob, codes = int(found[0]), self.codes.copy()
        count, to = int(self.task.counts[knob]), int(codes[knob]) + int(found[1]) - STAY
        codes[knob] = to % count if self.task.space.knobs[knob].category else min(max(to, 0), count - 1)
        return codes

    def _evaluated(self) -> Single:
        found = self.task.evaluate_one(self.codes)
        if self.history is not None:
            self.history.add_one(self.codes, found)
        return found

    def log(self, path: str | Path, *, feasible_only: bool = False) -> tuple[Path, Path]:
        """Write what was evaluated (with record=True); see `History.write`."""
        if self.history is None:
            raise BadValueError("this environment keeps no record; make it with record=True.")
        return self.history.write(path, feasible_only=feasible_only)
