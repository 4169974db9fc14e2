"""The usual benchmark of a served model: so many users who start at once and ask anew as soon as they are answered.

The load generators of vLLM, SGLang and InferenceX (`--max-concurrency`, ten prompts a user, random lengths down to 0.8
of what is asked for) report means over all requests, the first wave's included: where every user's first prompt meets
those of all others, a tenth of the requests has the wave's time to the first token.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.clock import to_seconds
from simulator.serving.log import Log
from simulator.serving.policy import Policy
from simulator.serving.replica import Replica
from simulator.serving.step_costs import StepCosts

WAVES = 10
"""Requests a user (`--num-prompts` is ten times `--max-concurrency` in InferenceX's scripts)."""
SHORTEST = 0.8
"""Lengths are uniform from this share of what is asked for (`--random-range-ratio` of the same scripts)."""
MOST_REQUESTS = 1500
"""Requests beyond which fewer waves, at least three, tell the mean as well."""


@dataclass(frozen=True)
class BenchmarkTimes:
    """Means over all requests, seconds: to the first token, between tokens, and in the queue."""

    ttft_s: float
    tpot_s: float
    queue_s: float


def benchmark_times(
    costs: StepCosts, policy: Policy, users: int, prompt: int, generate: int, *, seed: int = 0,
    shortest: float = SHORTEST,
) -> BenchmarkTimes:  # fmt: skip
    """Return what the benchmark shows of one lane.

    Args:
        users: requests in flight. prompt, generate: lengths of the longest. shortest: share of those that the
            shortest has.
    """
    count = max(min(WAVES * users, MOST_REQUESTS), 3 * users)
    random = np.random.Generator(np.random.PCG64(seed))
    prompts, generates = (
        np.maximum(np.round(size * random.uniform(shortest, 1.0, count)), 1).astype(np.int64)
        for size in (prompt, generate)
    )
    log = Log.of(count, segments=False)
    arrival = _asked_anew(Replica(costs, policy, prompts.tolist(), generates.tolist(), log), users, count)
    first, done, admitted = (np.array(x, dtype=np.int64) for x in (log.first_token, log.done, log.admitted))
    several = generates > 1
    gaps = to_seconds(done - first)[several] / (generates[several] - 1)
    return BenchmarkTimes(
        float(to_seconds(first - arrival).mean()), float(gaps.mean()) if len(gaps) else float("nan"),
        float(to_seconds(admitted - arrival).mean()),
    )  # fmt: skip


def _asked_anew(lane: Replica, users: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Run all requests, each user's next one at the tick at which the last was done; return when they arrived."""
    arrival = np.zeros(count, dtype=np.int64)
    asked = min(users, count)
    for request in range(asked):
        lane.enqueue(request, 0)
    while asked < count and lane.advance(one_end=True):
        for request in range(asked, min(asked + users - lane.load, count)):
            arrival[request] = lane.now
            lane.enqueue(request, lane.now)
            asked += 1
    lane.advance()
    return arrival
