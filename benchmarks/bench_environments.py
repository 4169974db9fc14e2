"""Steps a second of vector environments, beside gymnasium's SyncVectorEnv of the same environments, one process.

    python benchmarks/bench_environments.py [--seconds 1] [--envs 4096]

CPU seconds of this process, distinct designs in every step. Overhead: what a single step takes outside the
evaluation of its design.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np

from archcast.environments import IDS, make, task
from archcast.searching.problem import evaluate

TARGET = 50_000
SYNCED = 64
"""Environments of the SyncVectorEnv."""


def steps_per_s(env: Any, seconds: float) -> float:
    """Return steps of single environments a CPU second."""
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(8)]
    env.step(actions[0])
    done, at, started = 0, 0, time.process_time()
    while time.process_time() - started < seconds:
        env.step(actions[at % len(actions)])
        done, at = done + env.num_envs, at + 1
    return done / (time.process_time() - started)


def overhead_us(env: Any, repeats: int = 1500) -> float:
    """Return the microseconds of a step outside its own evaluation (`evaluate`): the median over steps."""
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(16)]
    clock, inside, found = time.process_time_ns, [0], np.zeros(repeats)

    def timed(problem: Any, columns: Any) -> Any:
        started = clock()
        answer = evaluate(problem, columns)
        inside[0] += clock() - started
        return answer

    with patch.object(task, "evaluate", timed):
        for at in range(repeats):
            before, started = inside[0], clock()
            env.step(actions[at % len(actions)])
            found[at] = clock() - started - (inside[0] - before)
    return float(np.median(found)) / 1e3


def _same(env: Any) -> Any:
    return env


def main() -> None:
    from gymnasium.vector import AutoresetMode, SyncVectorEnv

    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--envs", type=int, default=4096)
    given = parser.parse_args()
    print(f"{'environment':22} {'steps/s':>12} {'SyncVectorEnv':>14} {'ratio':>8} {'overhead us':>12}")
    slowest = np.inf
    for name in IDS:
        fast = steps_per_s(make(name, num_envs=given.envs), given.seconds)
        one = make(name)
        synced = SyncVectorEnv([partial(_same, one)] * SYNCED, autoreset_mode=AutoresetMode.SAME_STEP)
        slow = steps_per_s(synced, given.seconds)
        slowest = min(slowest, fast)
        print(f"{name:22} {fast:12,.0f} {slow:14,.0f} {fast / slow:8.0f} {overhead_us(one):12.1f}")
    print(f"slowest {slowest:,.0f} steps/s; must reach {TARGET:,}: {'reached' if slowest >= TARGET else 'missed'}")


if __name__ == "__main__":
    main()
