"""Dead time of detectors: how many of the events that come are recorded.

Sources: Knoll, Radiation Detection and Measurement (4th ed., 2010), section 4.7; Lee and Gardner, A new G-M counter
dead time model, Applied Radiation and Isotopes 53 (2000); Muller, Dead-time problems, NIM 112 (1973). Events come by
a Poisson process. All functions take numbers or numpy arrays.
"""

from __future__ import annotations

import math
from typing import Any, overload

import numpy as np

from foundation.errors import BadValueError
from simulator.queues.closed_means import Array


@overload
def non_paralyzable_hz(true_hz: float, dead_time_s: float) -> float: ...
@overload
def non_paralyzable_hz(true_hz: Array, dead_time_s: float | Array) -> Array: ...
def non_paralyzable_hz(true_hz: Any, dead_time_s: Any) -> Any:
    """Return the recorded rate where each recorded event blocks for `dead_time_s`: n / (1 + n tau). Knoll eq. 4.23.

    It holds for any law of the dead time with this mean: a renewal is one dead time and one gap.
    Raises BadValueError for a negative rate or dead time, as do all functions here.
    """
    _check(true_hz, dead_time_s)
    return true_hz / (1.0 + true_hz * dead_time_s)


@overload
def paralyzable_hz(true_hz: float, dead_time_s: float) -> float: ...
@overload
def paralyzable_hz(true_hz: Array, dead_time_s: float | Array) -> Array: ...
def paralyzable_hz(true_hz: Any, dead_time_s: Any) -> Any:
    """Return the recorded rate where every event, recorded or not, blocks anew: n exp(-n tau). Knoll eq. 4.27."""
    _check(true_hz, dead_time_s)
    return true_hz * _exp(-true_hz * dead_time_s)


@overload
def hybrid_hz(true_hz: float, fixed_s: float, extendable_s: float) -> float: ...
@overload
def hybrid_hz(true_hz: Array, fixed_s: float | Array, extendable_s: float | Array) -> Array: ...
def hybrid_hz(true_hz: Any, fixed_s: Any, extendable_s: Any) -> Any:
    """Return the recorded rate of a fixed dead time followed by an extendable one: n exp(-n tau_p) / (1 + n tau_n).

    Lee and Gardner (2000). The model: an event that comes while the fixed part runs is not seen at all; one in the
    extendable part is not recorded and begins both parts anew. The seen events are a renewal process with gaps of
    tau_n plus an exponential time, and one is recorded where its gap is above tau_n + tau_p.
    """
    _check(true_hz, fixed_s)
    _check(true_hz, extendable_s)
    return true_hz * _exp(-true_hz * extendable_s) / (1.0 + true_hz * fixed_s)


def live_share(true_hz: float, dead_time_s: float, extendable: bool = False) -> float:
    """Return the share of the events that is recorded, which is the share of time that the detector is live."""
    recorded_hz = (paralyzable_hz if extendable else non_paralyzable_hz)(true_hz, dead_time_s)
    return recorded_hz / true_hz if true_hz > 0.0 else 1.0


def true_rate_hz(recorded_hz: float, dead_time_s: float, extendable: bool = False) -> float:
    """Return the rate of events that gives a recorded rate; of an extendable dead time, the lower of the two.

    Raises:
        BadValueError: no rate gives it: it is 1/tau or more, or above 1/(e tau) where the dead time is extendable.
    """
    _check(recorded_hz, dead_time_s)
    x = recorded_hz * dead_time_s
    limit = math.exp(-1.0) if extendable else 1.0
    if x > limit or (x == limit and not extendable):
        raise BadValueError(
            f"a dead time of {dead_time_s:g} s records at most {limit / dead_time_s:g} Hz, not {recorded_hz:g} Hz."
        )
    if not extendable:
        return recorded_hz / (1.0 - x)
    if x == 0.0:
        return recorded_hz
    low, high = 0.0, 1.0  # y exp(-y) = x grows on [0, 1]
    for _ in range(80):
        middle = (low + high) / 2.0
        low, high = (middle, high) if middle * math.exp(-middle) < x else (low, middle)
    return high / dead_time_s


def bernoulli_live_share(probability: float, dead_slots: int) -> float:
    """Return the share of triggers kept where each kept one blocks the next `dead_slots` slots: 1 / (1 + p d).

    Triggers come in each slot with `probability`; a renewal is d slots and a geometric gap. Exact.
    """
    if not 0.0 <= probability <= 1.0 or dead_slots < 0:
        raise BadValueError(
            f"a probability from 0 to 1 and 0 or more slots are needed, not {probability}, {dead_slots}."
        )
    return 1.0 / (1.0 + probability * dead_slots)


def _check(*values: Any) -> None:
    for value in values:
        good = (
            0.0 <= value < math.inf
            if isinstance(value, float)
            else bool(np.all((np.asarray(value) >= 0.0) & np.isfinite(value)))
        )
        if not good:
            raise BadValueError(f"rates and dead times must be finite and at least 0, not {value!r}.")


def _exp(value: Any) -> Any:
    return math.exp(value) if isinstance(value, float) else np.exp(value)
