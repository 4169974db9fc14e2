"""What a closed form of a queue answers, and the checks of its inputs.

Conventions of every `closed_*` module. A rate is in hertz, a time in seconds, `service_s` is the mean time of one
customer on one server. `load` is the offered load in erlang, arrival rate x service time; `rho` is the load per server.
A queue without limit whose rho is 1 or more has no steady state: its waits and numbers are `math.inf`, not an error.
An input that no queue can have (a negative rate, zero servers) raises BadValueError.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from foundation.errors import BadValueError

Array = NDArray[np.float64]


class QueueMeans(NamedTuple):
    """Steady state of one station; Little's law ties its numbers to its times."""

    utilisation: float
    """Mean share of the servers that are busy, 0 to 1."""
    throughput_hz: float
    """Customers served per second, the lost ones left out."""
    loss: float
    """Share of the arrivals that is lost, 0 to 1."""
    wait_s: float
    """Mean wait before service of an accepted customer."""
    response_s: float
    """Mean time from arrival to departure of an accepted customer."""
    waiting: float
    """Mean number that waits."""
    number: float
    """Mean number in the system, those in service included."""


def positive(name: str, value: float) -> float:
    """Return `value` as a float above 0 and finite. Raises BadValueError otherwise."""
    if not 0.0 < value < math.inf:
        raise BadValueError(f"{name} must be a finite number above 0, not {value!r}.")
    return float(value)


def not_negative(name: str, value: float) -> float:
    """Return `value` as a float of at least 0 and finite. Raises BadValueError otherwise."""
    if not 0.0 <= value < math.inf:
        raise BadValueError(f"{name} must be a finite number of at least 0, not {value!r}.")
    return float(value)


def share(name: str, value: float) -> float:
    """Return `value` as a float in [0, 1]. Raises BadValueError otherwise."""
    if not 0.0 <= value <= 1.0:
        raise BadValueError(f"{name} must be from 0 to 1, not {value!r}.")
    return float(value)


def count(name: str, value: int, low: int = 1) -> int:
    """Return `value` as an int of at least `low`. Raises BadValueError otherwise."""
    if isinstance(value, bool) or not low <= value < 10**12 or value != int(value):
        raise BadValueError(f"{name} must be a whole number of at least {low}, not {value!r}.")
    return int(value)


def quantile_share(value: float) -> float:
    """Return `value`, a quantile's share in [0, 1). Raises BadValueError otherwise."""
    if not 0.0 <= value < 1.0:
        raise BadValueError(f"a quantile must be at least 0 and below 1, not {value!r}.")
    return float(value)


def without_loss(arrival_hz: float, service_s: float, servers: int, wait_s: float) -> QueueMeans:
    """Return the means of a queue without limit from its mean wait (Little's law gives the rest).

    A saturated queue serves what its servers can, and its wait, response and numbers are infinite.
    """
    load = arrival_hz * service_s
    if load >= servers or math.isinf(wait_s):
        throughput_hz = min(arrival_hz, servers / service_s if service_s else math.inf)
        return QueueMeans(min(1.0, load / servers), throughput_hz, 0.0, math.inf, math.inf, math.inf, math.inf)
    waiting = arrival_hz * wait_s
    return QueueMeans(load / servers, arrival_hz, 0.0, wait_s, wait_s + service_s, waiting, waiting + load)


def with_loss(arrival_hz: float, service_s: float, servers: int, loss: float, waiting: float) -> QueueMeans:
    """Return the means of a queue with a limit from its loss and the mean number that waits (Little's law)."""
    throughput_hz = arrival_hz * (1.0 - loss)
    busy = throughput_hz * service_s
    wait_s = waiting / throughput_hz if throughput_hz > 0.0 else 0.0
    return QueueMeans(busy / servers, throughput_hz, loss, wait_s, wait_s + service_s, waiting, waiting + busy)
