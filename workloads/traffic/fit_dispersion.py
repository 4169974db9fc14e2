"""Fit bursty arrivals to the times of a trace, by the index of dispersion of its counts over several windows."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np

from foundation.errors import BadValueError
from workloads.table import Array
from workloads.traffic.bursts import Bursty, Switching, dispersion_growth
from workloads.traffic.statistics import WINDOWS_S, dispersion

FIT_WINDOWS_S = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
TIMES_S = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
"""Time constants that a component may have."""
MOST_COMPONENTS = 4
REPORTED_WEIGHT = 3.0
"""Of the windows that `summary` reports against the others, in the fit."""
LEAST_WINDOWS = 8
LEAST_REQUESTS = 100


def fit_arrivals(arrival_s: Array, rounded_s: float = 0.0) -> Bursty:
    """Return switching sources that are as bursty as the times, over windows from 0.2 to 300 s.

    The index of dispersion is linear in the variances of the components, so for each set of time constants they follow
    by least squares of the relative errors; the best set with no negative variance is taken. `rounded_s` is the clock
    that the times are rounded to: windows are then whole numbers of it, set between its ticks.

    Raises:
        BadValueError: there are too few requests, or they span too little time.
    """
    span_s = float(arrival_s[-1] - arrival_s[0]) if len(arrival_s) else 0.0
    windows = _windows(span_s, rounded_s)
    if len(arrival_s) < LEAST_REQUESTS or len(windows) < 3:
        raise BadValueError(
            f"{len(arrival_s)} requests in {span_s:g} s are too few to fit burstiness; "
            f"it takes {LEAST_REQUESTS} of them and {LEAST_WINDOWS} windows."
        )
    rate_hz = (len(arrival_s) - 1) / span_s
    start_s = float(arrival_s[0]) - rounded_s / 2
    target = np.array([dispersion(arrival_s, window, from_s=start_s) for window in windows])
    count = np.floor(span_s / windows)
    weight = np.where(np.isin(windows, WINDOWS_S), REPORTED_WEIGHT, 1.0) / target
    growth = rate_hz * expected_growth(windows, count, span_s)
    times, variance = _best(weight[:, None] * growth, weight * (target - (1 - 1 / count)))
    return Bursty(rate_hz, switching_sources(times, variance), rounded_s)


def expected_growth(window_s: Array, count: Array, span_s: float) -> Array:
    """Return what a unit of relative rate variance adds to the index that a trace of `span_s` shows, for `TIMES_S`.

    A trace is as long as it is: the mean over its `count` windows moves with it, which hides the slowest changes. The
    expected variance around the sample's own mean is Var(N_window) - Var(N_span) / count^2.
    """
    whole = dispersion_growth(np.array([span_s]), TIMES_S)
    found: Array = dispersion_growth(window_s, TIMES_S) - whole / count[:, None]
    return found


def switching_sources(time_s: Array, variance: Array) -> tuple[Switching, ...]:
    """Return components with these relative variances (of the rate, over the mean rate squared).

    A source that is on half of the time varies by as much as it sends; where that would take more than all requests,
    all are on for an equal, smaller share of the time.
    """
    deviation = np.sqrt(variance)
    total = float(deviation.sum())
    if total <= 1:
        shares, on_share = deviation, 0.5
    else:
        shares, on_share = deviation / total, 1 / (1 + total**2)
    return tuple(
        Switching(float(share), on_share, float(time)) for share, time in zip(shares, time_s, strict=True) if share > 0
    )


def _windows(span_s: float, rounded_s: float) -> Array:
    windows = np.array(FIT_WINDOWS_S)
    if rounded_s:
        windows = np.unique(np.maximum(1, np.round(windows / rounded_s))) * rounded_s
    found: Array = windows[windows * LEAST_WINDOWS <= span_s]
    return found


def _best(growth: Array, wanted: Array) -> tuple[Array, Array]:
    """Return (time constants, variances) of the set with the least error; no set at all is Poisson."""
    best, error = (np.zeros(0), np.zeros(0)), float(wanted @ wanted)
    for size in range(1, MOST_COMPONENTS + 1):
        for chosen in combinations(range(len(TIMES_S)), size):
            part = growth[:, chosen]
            variance = np.linalg.lstsq(part, wanted, rcond=None)[0]
            miss = part @ variance - wanted
            # One component more has to earn its place.
            if (variance > 0).all() and float(miss @ miss) < error * (1 - 1e-3) and math.isfinite(error):
                best, error = (np.array(TIMES_S)[list(chosen)], variance), float(miss @ miss)
    return best
