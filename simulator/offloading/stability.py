"""Whether a policy can go on for ever: from stated loads where they are known, else from what was measured.

A stated load is exact: under `random`, `all-cloud` and `nearest-edge` the share of each server follows from the system
alone. Other policies look at the state, so their shares are measured, with the chance of that in mind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from simulator.intervals import half_width
from simulator.offloading.settings import OffloadingConfig
from simulator.offloading.system import System, server_name
from workloads.table import Array

TASKS_A_SERVER = 200
"""Of all runs together: with fewer a measured share says nothing (its error is then about 10 %)."""
SURELY = 3.0
"""Standard errors by which a share measured in one run must be above 1: one case in 700 by chance."""
TASKS_OF_THE_DOOMED = 300
"""Where no policy can be stable there are no means to find: a run is cut after so many tasks."""
CRITICAL = "not judged: critical by design"


@dataclass(frozen=True)
class Loads:
    """Of one run: work that comes over what can be done, of servers and then of radios (where tasks queue there).

    doomed: why no policy at all is stable, else empty. error: standard error, 0 where `stated`.
    """

    doomed: str
    share: Array
    error: Array
    servers: int
    stated: bool
    tasks: int

    def words(self, place: int, share: float) -> str:
        """Return in words that a server or radio gets so much work."""
        if place < self.servers:
            return f"{server_name(place)} gets {near_one(share)} of the work that it can do"
        return f"the radio of user {place - self.servers} is asked to send {near_one(share)} of the time"

    @property
    def overload(self) -> str:
        """Say what surely gets more work than it can do; empty where nothing does."""
        if self.doomed:
            return self.doomed
        least = self.share - SURELY * self.error
        fullest = int(np.argmax(least))
        over = least[fullest] >= 1 if self.stated else least[fullest] > 1
        return self.words(fullest, float(self.share[fullest])) if over else ""


@dataclass(frozen=True)
class Verdict:
    """stable: None where it cannot be told; reason: why, unless it is stable."""

    stable: bool | None
    reason: str
    unstable_runs: int = 0


def near_one(share: float) -> str:
    """Return a share with three digits, and with three decimals near 1, where they decide."""
    return f"{share:.3f}" if 0.9 < share < 1.1 else f"{share:.3g}"


def doomed(config: OffloadingConfig, system: System) -> str:
    """Say why no policy can be stable, from stated loads alone: all servers, or a radio even on its best link."""
    if config.paper_mode or config.clipped:
        return ""
    load = system.offered_load(config)
    if load >= 1:
        return f"the load offered to all servers is {near_one(load)}"
    if config.sending != "queue":
        return ""
    bits_per_s = config.rate_hz * system.mean_bits(config) / config.users
    least = bits_per_s / system.rate_bits_per_s.max(axis=0)
    worst = int(np.argmax(least))
    if least[worst] < 1:
        return ""
    return f"the radio of user {worst} is asked to send {near_one(float(least[worst]))} of the time on its best link"


def loads_of(
    policy: str | None, config: OffloadingConfig, system: System, columns: Mapping[str, Array], comes_s: float
) -> Loads:
    """Return the loads of a run. policy: its name where it is one whose shares are known by it, else None."""
    no_policy = doomed(config, system)
    tasks, radios = int((columns["size_bits"] > 0).sum()), config.sending == "queue"
    goes = None if config.clipped else _goes(policy, system)
    if goes is not None:
        bits_per_s = goes * config.rate_hz * system.mean_bits(config) / config.users
        share = bits_per_s.sum(axis=1) / system.speed_bits_per_s
        if radios:
            share = np.concatenate([share, (bits_per_s / system.rate_bits_per_s).sum(axis=0)])
        return Loads(no_policy, share, np.zeros(len(share)), system.servers, True, tasks)
    server, user, size = columns["server"], columns["user"], columns["size_bits"]
    work_s = size / system.speed_bits_per_s[server]
    parts = [(server, work_s, system.servers)]
    if radios:
        parts.append((user, size / system.rate_bits_per_s[server, user], config.users))
    share = np.concatenate([np.bincount(of, work, most) for of, work, most in parts]) / comes_s
    squares = np.concatenate([np.bincount(of, work**2, most) for of, work, most in parts])
    return Loads(no_policy, share, np.sqrt(squares) / comes_s, system.servers, False, tasks)


def _goes(policy: str | None, system: System) -> Array | None:
    """Return the share of each user's tasks that goes to each server, (servers, users); None: it depends."""
    goes: Array = np.zeros_like(system.rate_bits_per_s)
    if policy == "random":
        goes[:] = 1 / system.servers
    elif policy == "all-cloud":
        goes[0] = 1
    elif policy == "nearest-edge":
        goes[1 + np.argmin(system.distance_m[1:], axis=0), np.arange(len(system.rate_bits_per_s[0]))] = 1
    else:
        return None
    return goes


def judged(runs: Sequence[Loads]) -> Verdict:
    """Return the verdict on a policy from all its replications (each has its own system)."""
    words = [run.overload for run in runs if run.stated or run.doomed]
    if any(words):
        return Verdict(False, next(filter(None, words)), sum(map(bool, words)))
    if all(run.stated for run in runs):
        return Verdict(True, "")
    tasks, needed = sum(run.tasks for run in runs), TASKS_A_SERVER * max(run.servers for run in runs)
    if tasks < needed:
        return Verdict(None, f"too short to tell: {tasks:,} tasks in all, and {needed:,} are needed")
    words = [run.overload for run in runs]
    if any(words):
        return Verdict(False, next(filter(None, words)), sum(map(bool, words)))
    return _over_all(runs)


def _over_all(runs: Sequence[Loads]) -> Verdict:
    """Judge by the t interval over replications of each server and radio (of its number)."""
    widest = max(runs, key=lambda run: run.servers)
    radios = len(widest.share) - widest.servers
    places = [(i, [run.share[i] for run in runs if i < run.servers]) for i in range(widest.servers)]
    places += [(widest.servers + i, [run.share[run.servers + i] for run in runs]) for i in range(radios)]
    place, found = max(places, key=lambda one: float(np.mean(one[1])))
    for place_, values in places:
        if np.mean(values) - half_width(values) > 1:
            over = sum(value > 1 for value in values)
            return Verdict(False, widest.words(place_, float(np.mean(values))), over)
    mean = float(np.mean(found))
    if mean > 1:
        return Verdict(None, f"too near to its limit to tell: {widest.words(place, mean)}, which may be chance")
    return Verdict(True, "")
