"""Stations with classes of priority, the first class the most urgent, first come first served within a class.

Sources: Cobham, Operations Research 2 (1954); Kleinrock, Queueing Systems II (1976), sections 3.3 and 3.4; Gross and
Harris, Fundamentals of Queueing Theory (4th ed., 2008), section 3.4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from foundation.errors import BadValueError
from simulator.queues.closed_erlang import erlang_c
from simulator.queues.closed_means import QueueMeans, count, not_negative, positive, without_loss


def mg1_priority(
    arrivals_hz: Sequence[float], services_s: Sequence[float], cv2s: Sequence[float], preemptive: bool = False
) -> list[QueueMeans]:
    """Return the means of each class of M/G/1 with priorities.

    Non-preemptive (Cobham): wait_k = R / ((1 - sigma_{k-1}) (1 - sigma_k)), R the mean work left in the service under
    way, sigma_k the load of classes 1..k. Preemptive-resume (Kleinrock II, 3.4): response_k = s_k / (1 - sigma_{k-1})
    + R_k / ((1 - sigma_{k-1}) (1 - sigma_k)), R_k of classes 1..k alone; its `wait_s` is the response less the service.
    A class whose sigma_k is 1 or more waits for ever; the classes before it keep finite waits.

    Raises:
        BadValueError: lists of different lengths or none, a negative rate or cv2, or a service time not above 0.
    """
    if not arrivals_hz or not len(arrivals_hz) == len(services_s) == len(cv2s):
        raise BadValueError("arrivals_hz, services_s and cv2s need one value for each class, and one class at least.")
    residual_s, sigma, left_s = 0.0, 0.0, []
    for rate_hz, service_s, cv2 in zip(arrivals_hz, services_s, cv2s, strict=True):
        load = not_negative("arrival_hz", rate_hz) * positive("service_s", service_s)
        # What a saturated class gets is the time that is left; classes after it get none.
        residual_s += min(load, max(0.0, 1.0 - sigma)) * service_s * (1.0 + not_negative("cv2", cv2)) / 2.0
        sigma += load
        left_s.append(residual_s)
    answers, before = [], 0.0
    for k, (rate_hz, service_s) in enumerate(zip(arrivals_hz, services_s, strict=True)):
        after = before + rate_hz * service_s
        wait_s = math.inf
        if after < 1.0:
            wait_s = (left_s[k] if preemptive else residual_s) / ((1.0 - before) * (1.0 - after))
            wait_s += service_s * before / (1.0 - before) if preemptive else 0.0
        answers.append(_class(rate_hz, service_s, 1, wait_s, before))
        before = after
    return answers


def mmc_priority(arrivals_hz: Sequence[float], service_s: float, servers: int) -> list[QueueMeans]:
    """Return the means of each class of M/M/c with non-preemptive priorities and one service law for all.

    wait_k = C s / c / ((1 - sigma_{k-1}) (1 - sigma_k)), sigma per server, C of Erlang at the total load (Cobham 1954).
    Raises as `mg1_priority`.
    """
    if not arrivals_hz:
        raise BadValueError("arrivals_hz needs one value for each class, and one class at least.")
    servers, service_s = count("servers", servers), positive("service_s", service_s)
    loads = [not_negative("arrival_hz", rate_hz) * service_s / servers for rate_hz in arrivals_hz]
    first_s = erlang_c(servers, sum(loads) * servers) * service_s / servers
    answers, before = [], 0.0
    for rate_hz, load in zip(arrivals_hz, loads, strict=True):
        after = before + load
        wait_s = math.inf if after >= 1.0 else first_s / ((1.0 - before) * (1.0 - after))
        answers.append(_class(rate_hz, service_s, servers, wait_s, before))
        before = after
    return answers


def _class(rate_hz: float, service_s: float, servers: int, wait_s: float, before: float) -> QueueMeans:
    """Return the means of one class; a saturated one is served in the time that those before it leave."""
    if math.isfinite(wait_s):
        return without_loss(rate_hz, service_s, servers, wait_s)
    share = min(rate_hz * service_s / servers, max(0.0, 1.0 - before))
    return QueueMeans(share, share * servers / service_s, 0.0, math.inf, math.inf, math.inf, math.inf)
