"""How often to repeat, which repeats to believe, and their typical value.

Other work on the machine only adds time. A repeat during which the scheduler took a core away from this process (its
count of involuntary context switches rose) is disturbed; where enough are quiet, only those count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import nan

import numpy as np

from workloads.table import Array

FEWEST, WANTED = 5, 15
"""Repeats that are made in any case, and quiet ones after which more would change little."""
ENOUGH_QUIET = 3
AGREE = 1.1
LEAST_TIME_S = 0.03
"""Short operators are repeated until this much time has passed: clocks and caches settle in it."""


@dataclass(frozen=True)
class Timing:
    """What was measured of one operator or network; NaN where it was not.

    latency_s is the typical time, latency_std_s the spread of the `n_repeat` repeats that it was taken from, power_w
    that of the whole device meanwhile, energy_j = power_w x latency_s, memory_bytes the peak.
    """

    latency_s: float
    latency_std_s: float
    n_repeat: int
    power_w: float = nan
    energy_j: float = nan
    memory_bytes: float = nan


def switches() -> int:
    """Return how often the scheduler has taken a core away from this process (0 where the system does not count)."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw


def repeat(
    call: Callable[[int], object], limit_s: float, *, fewest: int = FEWEST, wanted: int = WANTED,
    counter: Callable[[], int] = switches, clock: Callable[[], float] = time.perf_counter,
) -> tuple[Array, Array]:  # fmt: skip
    """Call with 0, 1, 2, ... and return (seconds, quiet) of each, shape (repeats,).

    Ends when `wanted` were quiet and `LEAST_TIME_S` passed, or at `limit_s`; `fewest` are made in any case.
    """
    seconds: list[float] = []
    quiet: list[bool] = []
    begin = clock()
    while True:
        before, start = counter(), clock()
        call(len(seconds))
        end = clock()
        seconds.append(end - start)
        quiet.append(counter() == before)
        passed = end - begin
        enough = sum(quiet) >= wanted and passed >= LEAST_TIME_S
        if len(seconds) >= fewest and (enough or passed >= limit_s):
            return np.array(seconds), np.array(quiet)


def typical(seconds: Array, quiet: Array) -> tuple[float, float, int]:
    """Return (typical time, spread of the repeats, repeats that it was taken from).

    Where the repeats agree, the mean of their middle half: as robust as the median, and finer where a clock ticks in
    whole microseconds. Where their median lies more than `AGREE` above their fastest tenth, other work has taken cores
    away (also from threads that wait, which no counter shows): then the mean of the fastest fifth. Repeats that are
    not quiet are left out, unless fewer than `ENOUGH_QUIET` are.
    """
    believed = np.sort(seconds[quiet] if quiet.sum() >= ENOUGH_QUIET else seconds)
    spread = float(believed.std())
    if np.median(believed) <= AGREE * np.quantile(believed, 0.1):
        quarter = len(believed) // 4
        used = believed[quarter : len(believed) - quarter]
    else:
        used = believed[: max(1, len(believed) // 5)]
    return float(used.mean()), spread, len(used)
