"""Customers that come or are served in groups: M^[X]/M/1, M^[X]/G/1, and one server that takes several at once.

Sources: Gross, Shortle, Thompson and Harris, Fundamentals of Queueing Theory (4th ed., 2008), sections 3.1 (bulk input)
and 3.2 (bulk service); the general bulk service rule is Neuts, Annals of Mathematical Statistics 38 (1967).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from foundation.errors import BadValueError
from simulator.queues.closed_counts import arrivals_in_a_service
from simulator.queues.closed_means import Array, QueueMeans, count, not_negative, positive, without_loss

_MOST_STATES = 6000


def batch_arrivals(
    batch_hz: float, service_s: float, batch_mean: float, batch_variance: float, cv2: float = 1.0
) -> QueueMeans:
    """Return the means of M^[X]/G/1: batches by a Poisson process, served one by one, first come first served.

    Wait = [rho s (1 + cv2) + s (E[X^2] / E[X] - 1)] / (2 (1 - rho)), rho = batch rate x E[X] s: the wait of the batch
    as in M/G/1, and that for the mates before one. With cv2 = 1 it is Gross & Harris, section 3.1. Rates and numbers in
    the answer count customers, not batches.

    Raises:
        BadValueError: a mean batch below 1, a negative variance, rate or cv2, or a service time not above 0.
    """
    mean = positive("batch_mean", batch_mean)
    if mean < 1.0:
        raise BadValueError(f"batch_mean must be at least 1, not {mean!r}: an empty batch is no arrival.")
    arrival_hz = not_negative("batch_hz", batch_hz) * mean
    rho = arrival_hz * positive("service_s", service_s)
    mates = mean + not_negative("batch_variance", batch_variance) / mean - 1.0
    spread = 1.0 + not_negative("cv2", cv2)
    wait_s = math.inf if rho >= 1.0 else service_s * (rho * spread + mates) / (2.0 * (1.0 - rho))
    return without_loss(arrival_hz, service_s, 1, wait_s)


class BulkMeans(NamedTuple):
    """Steady state of a server that takes several customers at once."""

    utilisation: float
    """Share of time in which the server works."""
    throughput_hz: float
    """Customers served per second."""
    wait_s: float
    response_s: float
    waiting: float
    number: float
    batch: float
    """Mean size of a batch; of a saturated server the largest."""


def bulk_service(
    arrival_hz: float,
    service_s: float | Sequence[float],
    most: int,
    least: int = 1,
    law: str = "exponential",
    cv2: float | None = None,
) -> BulkMeans:
    """Return the means of M/G^[a,b]/1: the server takes up to `most` waiting customers, and waits for `least`.

    Who comes during a service waits for the next one. `service_s` is the mean time of a batch, one number or one for
    each size 1..`most`; its law is one of `closed_counts.LAWS`. Solved numerically: the chain of those left behind at
    the ends of services, cut where its geometric tail is below 1e-13, with exact time averages over the cycles.

    Raises:
        BadValueError: `least` above `most`, a number of times that is not `most`, a time not above 0, or a load so near
            saturation that the chain has more than 6,000 states.
    """
    rate_hz = not_negative("arrival_hz", arrival_hz)
    most, least = count("most", most), count("least", least)
    times = _times(service_s, most, least)
    if rate_hz * times[-1] >= most:
        full_hz = most / float(times[-1])
        return BulkMeans(1.0, full_hz, math.inf, math.inf, math.inf, math.inf, float(most))
    if rate_hz == 0.0:
        waits = float(times[least - 1]) if least == 1 else math.inf
        return BulkMeans(0.0, 0.0, 0.0 if least == 1 else math.inf, waits, 0.0, 0.0, float(least))
    size = 4 * most + 64
    while True:
        left = _left(rate_hz, times, most, least, size, law, cv2)
        if float(left[-most:].sum()) < 1e-13:
            break
        if 2 * size > _MOST_STATES:
            raise BadValueError(f"bulk service at {rate_hz * times[-1] / most:.6g} of its capacity is too near to 1.")
        size *= 2
    return _bulk_means(rate_hz, times, most, least, left, law, cv2)


def _times(service_s: float | Sequence[float], most: int, least: int) -> Array:
    """Return the mean time of a batch of each size 1..`most`. Raises as `bulk_service`."""
    if least > most:
        raise BadValueError(f"least must be at most {most}, the largest batch, not {least}.")
    times = (
        np.broadcast_to(np.asarray(service_s, dtype=np.float64), (most,))
        if np.ndim(service_s) == 0
        else (np.asarray(service_s, dtype=np.float64))
    )
    if len(times) != most:
        raise BadValueError(f"service_s must have one time for each batch of 1 to {most}, not {len(times)}.")
    for time_s in times.tolist():
        positive("service_s", time_s)
    return times


def _left(rate_hz: float, times: Array, most: int, least: int, size: int, law: str, cv2: float | None) -> Array:
    """Return the probabilities of 0..size-1 customers left waiting at the end of a service."""
    steps = np.zeros((size, size))
    for j in range(least, most + 1):
        exactly = arrivals_in_a_service(rate_hz * float(times[j - 1]), size, law, cv2).exactly[:size]
        if j < most:
            steps[j] = exactly
            if j == least:
                steps[:j] = exactly
            continue
        for q in range(0 if most == least else most, size):
            rest = max(0, q - most)
            steps[q, rest:] = exactly[: size - rest]
    steps[:, -1] += 1.0 - steps.sum(axis=1)
    balance = steps.T - np.eye(size)
    balance[-1] = 1.0
    target = np.zeros(size)
    target[-1] = 1.0
    left = np.maximum(np.linalg.solve(balance, target), 0.0)
    found: Array = left / left.sum()
    return found


def _bulk_means(
    rate_hz: float, times: Array, most: int, least: int, left: Array, law: str, cv2: float | None
) -> BulkMeans:
    """Return time averages over a cycle (end of one service to the end of the next), weighted by who is left behind."""
    q = np.arange(len(left))
    batch = np.clip(q, least, most)
    spread = _second_moment(law, cv2)
    time_s = times[batch - 1]
    short = np.maximum(least - q, 0)
    idle_s = short / rate_hz
    # While the server waits for `least`, q, q + 1, .. least - 1 wait, each 1/rate long.
    idle_area = (q + (short - 1) / 2.0) * idle_s
    rest = np.maximum(q - most, 0)
    busy_area = rest * time_s + rate_hz * spread * time_s**2 / 2.0
    cycle_s, busy_s = float(left @ (idle_s + time_s)), float(left @ time_s)
    waiting = float(left @ (idle_area + busy_area)) / cycle_s
    serving = float(left @ (batch * time_s)) / cycle_s
    wait_s = waiting / rate_hz
    return BulkMeans(
        busy_s / cycle_s, rate_hz, wait_s, (waiting + serving) / rate_hz, waiting, waiting + serving,
        float(left @ batch),
    )  # fmt: skip


def _second_moment(law: str, cv2: float | None) -> float:
    """Return E[S^2] / E[S]^2 of a law."""
    return 1.0 + {"constant": 0.0, "exponential": 1.0}.get(law, cv2 if cv2 is not None else 0.0)
