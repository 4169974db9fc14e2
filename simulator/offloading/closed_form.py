"""What offloading systems do in the mean, estimated without a run: for many systems at once.

Tasks go to servers in the shares that a policy has in the long run; a server shares itself among its tasks (M/G/1-PS,
whose mean does not depend on the law of sizes). `least-loaded` and `greedy` look before they choose: of their waiting
`LOOKING` is left. Where more comes than a server does, the work of a run of so many tasks piles up as a fluid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from workloads.table import Array

LOOKING = 0.5
"""Of the waiting that shares alone give, what is left to a policy that looks at the servers (estimated, 0.3 to 0.8)."""
FULL = 0.97
"""Load from which a server is taken to be as slow as at this one, and a queue to build up over the run."""


@dataclass(frozen=True)
class Systems:
    """Columns of shape (systems, servers), zeros where a system has fewer; the cloud is the first server.

    task_s: a task alone on a server. sending_s: on the way to it, of a mean user. nearest: share of the users to whom
    it is the nearest edge. task_j, sending_j: of a task. policy: shape (systems,), as a place in `POLICY_NAMES`.
    """

    there: Array
    task_s: Array
    sending_s: Array
    nearest: Array
    task_j: Array
    sending_j: Array
    policy: Array
    weight: Array
    rate_hz: float
    tasks: int


POLICY_NAMES = ("random", "all-cloud", "nearest-edge", "least-loaded", "greedy")


def shares(systems: Systems) -> Array:
    """Return the share of tasks that each server gets, shape (systems, servers)."""
    there = systems.there.astype(float)
    speed = np.where(systems.there, 1 / systems.task_s, 0.0)
    w = systems.weight[:, None]
    cost = w * (systems.task_s + systems.sending_s) + (1 - w) * (systems.task_j + systems.sending_j)
    least = np.where(systems.there, cost, np.inf).min(axis=1, keepdims=True)
    drawn = speed * np.where(systems.there, np.exp(-(cost - least) / least), 0.0)
    cloud = np.zeros_like(there)
    cloud[:, 0] = 1.0
    by_policy = (there, cloud, systems.nearest * there, speed, drawn)
    found = np.select([(systems.policy == k)[:, None] for k in range(len(by_policy))], by_policy)
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def estimate(systems: Systems) -> tuple[Array, Array]:
    """Return (mean delay in s, joules a task), shape (systems,); power at rest is not in it."""
    share = shares(systems)
    load = systems.rate_hz * share * systems.task_s
    held = np.minimum(load, FULL)
    looks = np.isin(systems.policy, (3, 4))[:, None]
    wait = systems.task_s * held / (1 - held) * np.where(looks, LOOKING, 1.0)
    piled = np.maximum(load - 1, 0.0) * systems.tasks / systems.rate_hz / 2
    delay = (share * (systems.sending_s + systems.task_s + wait + piled)).sum(axis=1)
    return delay, (share * (systems.task_j + systems.sending_j)).sum(axis=1)
