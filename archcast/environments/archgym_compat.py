"""ArchGym's old interface over these environments: `reset() -> observation`, `step(action) -> 4 values`.

Search agents written for ArchGym (github.com/srivatsankrishnan/oss-arch-gym, Apache-2.0) run on it: its names of
environments, actions as a mapping of parameters or a flat array, its observations and its rewards. gymnasium is not
needed. Rewards are ArchGym's `target / |x - target|`, where a larger one is nearer to the target; with
`rl_agent=True` its inverse, as ArchGym gives to agents (which makes larger ones farther away).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from archcast.environments.task import Task, make_task
from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError, UnknownNameError
from workloads.table import Array

STEPS = 100
"""Of an episode, as in ArchGym."""
NEAREST = 1e-12
"""A value this near to its target (relatively) is taken to be so far from it, where ArchGym divides by zero."""
FAILED = 1e10
"""What is observed of a design that does not stand: the upper bound of ArchGym's observations."""
REWARDS = ("power", "latency", "energy", "area", "both")
OBSERVED: dict[str, tuple[tuple[str, float], ...]] = {
    "dram-controller": (("energy_j", 1e3), ("power_w", 1.0), ("duration_s", 1e3)),
    "npu-array": (("energy_j", 1e6), ("area_mm2", 1.0), ("latency_s", 1e9)),
    "gpu-serving": (("energy_j", 1.0), ("power_w", 1.0), ("latency_s", 1.0)),
}
"""Values and their factors: mJ, W and ms of the whole trace for DRAM (ArchGym's are pJ / 1e9, mW / 1e3, ps / 1e9); uJ,
mm2 and cycles of 1 GHz for arrays; SI for the rest."""
TARGETS = {"power": 1.0, "latency": 0.1, "energy": 1.0, "area": 1.0}
DECODED: dict[str, Sequence[Any]] = {
    "PagePolicy": ("Open", "OpenAdaptive", "Closed", "ClosedAdaptive"), "Scheduler": ("Fifo", "FrFcfsGrp", "FrFcfs"),
    "SchedulerBuffer": ("Bankwise", "ReadWrite", "Shared"), "RequestBufferSize": (1, 2, 4, 8, 16, 32, 64, 128),
    "RespQueue": ("Fifo", "Reorder"), "RefreshPolicy": ("NoRefresh", "AllBank"), "RefreshMaxPostponed": (1, 2, 4, 8),
    "RefreshMaxPulledin": (1, 2, 4, 8), "Arbiter": ("Simple", "Fifo", "Reorder"),
    "MaxActiveTransactions": (1, 2, 4, 8, 16, 32, 64, 128),
}  # fmt: skip
"""The ten places of ArchGym's flat DRAM action, in its order (envHelpers.action_decoder_rl)."""


class ArchGymEnv:
    """One environment with ArchGym's interface.

    Args:
        name: ArchGym's name ("DRAMEnv", "TimeloopEnv", ...) or an id. reward_formulation: one of `REWARDS`.
        target: what rewards aim at, in the units of the observation, by the names of `TARGETS`.
        rl_agent: give the inverse of the reward. options: those of `make_task` (DRAM is simulated unless they say
            `fidelity="closed_form"`).
    """

    def __init__(
        self, name: str, *, reward_formulation: str = "power", target: Mapping[str, float] | None = None,
        rl_agent: bool = False, max_steps: int = STEPS, **options: Any,
    ) -> None:  # fmt: skip
        if reward_formulation not in REWARDS:
            raise UnknownNameError("reward formulation", reward_formulation, REWARDS, f"Known: {', '.join(REWARDS)}.")
        self.task = _task(name, options)
        self.reward_formulation, self.rl_agent = reward_formulation, bool(rl_agent)
        self.target = {**TARGETS, **{key: finite_number(key, value) for key, value in (target or {}).items()}}
        self.max_steps, self.steps, self.episode = whole_number("max_steps", max_steps), 0, 0
        self.observed = OBSERVED.get(self.task.name) or tuple(
            (name, 1.0) for name in ("energy_j", "power_w", "latency_s")
        )

    def reset(self) -> Array:
        """Begin an episode; returns an observation of nothing (zeros), shape (1, 3), where ArchGym draws one."""
        self.steps = 0
        return np.zeros((1, len(self.observed)))

    def step(self, action: Mapping[str, Any] | Sequence[float] | Array) -> tuple[Array, float, bool, dict[str, Any]]:
        """Evaluate a design; returns (observation, reward, done, info). Raises BadValueError, UnknownNameError."""
        codes = self.task.codes_of(self.decoded(action))
        found = self.task.evaluate_one(codes)
        row = [factor * found.values[name] if found.feasible else FAILED for name, factor in self.observed]
        observation = np.array([row])
        self.steps += 1
        done = self.steps >= self.max_steps
        if done:
            self.steps, self.episode = 0, self.episode + 1
        reward = self.reward(observation[0]) if found.feasible else 0.0
        return observation, reward, done, {"feasible": found.feasible, "reason": found.reason}

    def reward(self, observation: Sequence[float] | Array) -> float:
        """Return ArchGym's reward of an observation."""
        wanted = ("power", "latency") if self.reward_formulation == "both" else (self.reward_formulation,)
        names = [name.split("_")[0].replace("duration", "latency") for name, _ in self.observed]
        found = 1.0
        for name in wanted:
            if name not in names:
                raise UnknownNameError("reward formulation", name, names, f"Observed are {', '.join(names)}.")
            value, target = float(observation[names.index(name)]), self.target[name]
            found *= target / max(abs(value - target), NEAREST * max(abs(target), 1e-300))
        return 1.0 / found if self.rl_agent else found

    def decoded(self, action: Mapping[str, Any] | Sequence[float] | Array) -> dict[str, Any]:
        """Return a design by names. A flat array has a place a knob (or ArchGym's ten for DRAM), each a code."""
        space = self.task.space
        if isinstance(action, Mapping):
            rest = {knob.name: knob.value(0) for knob in space.knobs if knob.name not in action}
            if self.task.name != "dram-controller" and rest:
                raise BadValueError(f"the design says nothing about {', '.join(rest)}.")
            return {**rest, **action}
        flat = np.asarray(action, dtype=float).ravel()
        if not np.isfinite(flat).all():
            raise BadValueError("an action is made of finite numbers.")
        if self.task.name == "dram-controller" and len(flat) == len(DECODED):
            chosen = {name: known[int(np.clip(code, 0, len(known) - 1))]
                      for (name, known), code in zip(DECODED.items(), flat, strict=True)}  # fmt: skip
            return {knob.name: knob.value(0) for knob in space.knobs} | chosen
        if len(flat) != len(space.knobs):
            raise BadValueError(f"a flat action has {len(space.knobs)} places, not {len(flat)}.")
        return {
            knob.name: knob.value(int(np.clip(math.floor(code), 0, len(knob.values) - 1)))
            for knob, code in zip(space.knobs, flat, strict=True)
        }


def _task(name: str, options: Mapping[str, Any]) -> Task:
    """Return the task; DRAM is simulated, over ArchGym's own ranges with NoRefresh among them."""
    from archcast.environments.kinds import environment_id

    given = dict(options)
    if environment_id(name) == "dram-controller":
        given.setdefault("fidelity", "events")
        if "space" not in given:
            space = {key: list(values) for key, values in DECODED.items()}
            given["space"] = {**space, "CmdMux": ["Oldest", "Strict"], "PowerDownPolicy": ["NoPowerDown", "Staggered"]}
    return make_task(name, **given)


def make(name: str, **options: Any) -> ArchGymEnv:
    """Return an environment with ArchGym's interface; see `ArchGymEnv`."""
    return ArchGymEnv(name, **options)
