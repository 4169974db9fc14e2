"""One server that is away at times: vacations, and breakdowns with repair.

Sources: Doshi, Queueing systems with vacations, Queueing Systems 1 (1986); Fuhrmann and Cooper, Operations Research 33
(1985), for the split of the wait; Avi-Itzhak and Naor, Operations Research 11 (1963), for breakdowns.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from foundation.errors import BadValueError
from simulator.queues.closed_means import QueueMeans, not_negative, positive


class Completion(NamedTuple):
    """Time from the start of a service to its end, repairs in it included."""

    mean_s: float
    second_moment_s2: float


def availability(mtbf_s: float, mttr_s: float) -> float:
    """Return the share of time that a server is up: mtbf / (mtbf + mttr)."""
    return positive("mtbf_s", mtbf_s) / (mtbf_s + not_negative("mttr_s", mttr_s))


def mg1_vacations(
    arrival_hz: float, service_s: float, cv2: float, vacation_s: float, vacation_cv2: float
) -> QueueMeans:
    """Return the means of M/G/1 whose server leaves for a vacation when it is empty, and again if it finds no one.

    Wait = that of M/G/1 + E[V^2] / (2 E[V]) (Doshi 1986, multiple vacations).

    Raises:
        BadValueError: a negative rate or cv2, a service time or vacation not above 0.
    """
    rho = not_negative("arrival_hz", arrival_hz) * positive("service_s", service_s)
    spread = 1.0 + not_negative("cv2", cv2)
    away_s = positive("vacation_s", vacation_s) * (1.0 + not_negative("vacation_cv2", vacation_cv2)) / 2.0
    wait_s = math.inf if rho >= 1.0 else rho * service_s * spread / (2.0 * (1.0 - rho)) + away_s
    return _means(arrival_hz, rho, wait_s, wait_s + service_s)


def completion(
    service_s: float, cv2: float, mtbf_s: float, mttr_s: float, repair_cv2: float = 1.0, lost: str = "resume"
) -> Completion:
    """Return the moments of the time that a service takes on a server that fails at rate 1/mtbf while it is up.

    `resume`: the service goes on where it stopped: C = S + the repairs of a Poisson number of failures in S, for any
    law of the service. `restart`: it begins anew, with the same need: for a constant service the number of failures is
    geometric; an exponential service that draws anew is as `resume`.

    Raises:
        BadValueError: an impossible time or cv2, an unknown `lost`, or a restart whose service is neither constant
            (cv2 0) nor exponential (cv2 1).
    """
    fail_hz = 1.0 / positive("mtbf_s", mtbf_s)
    service_s, mttr_s = positive("service_s", service_s), not_negative("mttr_s", mttr_s)
    square_s2 = service_s**2 * (1.0 + not_negative("cv2", cv2))
    repair_s2 = mttr_s**2 * (1.0 + not_negative("repair_cv2", repair_cv2))
    if lost == "restart" and cv2 == 0.0:
        return _restarted(service_s, fail_hz, mttr_s, repair_s2)
    if lost == "resume" or (lost == "restart" and cv2 == 1.0):
        stretch = 1.0 + fail_hz * mttr_s
        return Completion(service_s * stretch, square_s2 * stretch**2 + fail_hz * service_s * repair_s2)
    if lost == "restart":
        raise BadValueError(f"a restarted service must be constant (cv2 0) or exponential (1), not of cv2 {cv2:g}.")
    raise BadValueError(f"lost must be 'resume' or 'restart', not {lost!r}.")


def mg1_breakdowns(
    arrival_hz: float,
    service_s: float,
    cv2: float,
    mtbf_s: float,
    mttr_s: float,
    repair_cv2: float = 1.0,
    lost: str = "resume",
    idle_fails: bool = True,
) -> QueueMeans:
    """Return the means of M/G/1 whose server fails at rate 1/mtbf while up, and is repaired; exact.

    Wait = that of M/G/1 with the completion time as its service, and, where an idle server fails as well, alpha E[R^2]
    / (2 (1 + alpha E[R])) for those who find it idle but down (the split of Fuhrmann and Cooper; the tests hold it
    to the chain of up, down and number). Of M/M/1 it is Avi-Itzhak and Naor's model A. `utilisation` is the share of
    time in which a customer occupies the server, repairs included. Raises as `completion`.
    """
    done = completion(service_s, cv2, mtbf_s, mttr_s, repair_cv2, lost)
    rho = not_negative("arrival_hz", arrival_hz) * done.mean_s
    wait_s = math.inf
    if rho < 1.0:
        wait_s = arrival_hz * done.second_moment_s2 / (2.0 * (1.0 - rho))
        if idle_fails:
            wait_s += mttr_s**2 * (1.0 + repair_cv2) / (2.0 * (mtbf_s + mttr_s))
    return _means(arrival_hz, rho, wait_s, wait_s + done.mean_s)


def _restarted(service_s: float, fail_hz: float, mttr_s: float, repair_s2: float) -> Completion:
    """Return the completion of a constant service that begins anew after each failure."""
    x = fail_hz * service_s
    if x > 300.0:
        return Completion(math.inf, math.inf)
    failures = math.expm1(x)
    fail = -math.expm1(-x)
    # Moments of the time to a failure, given that it comes before the service ends.
    first_s = (1.0 - math.exp(-x) * (1.0 + x)) / fail / fail_hz if x > 1e-4 else service_s * (0.5 - x / 12.0)
    second_s2 = (
        (2.0 - math.exp(-x) * (2.0 + 2.0 * x + x * x)) / fail / fail_hz**2
        if x > 1e-3
        else service_s**2 * (1.0 / 3.0 - x / 12.0)
    )
    attempt_s = first_s + mttr_s
    attempt_s2 = second_s2 + 2.0 * first_s * mttr_s + repair_s2
    mean_s = failures * attempt_s + service_s
    variance_s2 = failures * (attempt_s2 - attempt_s**2) + failures * (1.0 + failures) * attempt_s**2
    return Completion(mean_s, variance_s2 + mean_s**2)


def _means(arrival_hz: float, rho: float, wait_s: float, response_s: float) -> QueueMeans:
    """Return the means of a queue with one server, whose wait is infinite where it is saturated."""
    if math.isinf(wait_s):
        served_hz = arrival_hz / rho if math.isfinite(rho) else 0.0
        return QueueMeans(1.0, served_hz, 0.0, math.inf, math.inf, math.inf, math.inf)
    return QueueMeans(rho, arrival_hz, 0.0, wait_s, response_s, arrival_hz * wait_s, arrival_hz * response_s)
