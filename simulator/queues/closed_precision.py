"""How many customers a simulation needs: the asymptotic variance of a mean.

Sources: Asmussen and Glynn, Stochastic Simulation (2007), chapter IV; Whitt, Planning queueing simulations, Management
Science 35 (1989).
"""

from __future__ import annotations

import math
from statistics import NormalDist

from foundation.errors import BadValueError
from simulator.queues.closed_means import positive, share


def mm1_wait_variance_s2(arrival_hz: float, service_s: float) -> float:
    """Return lim n x variance of the mean wait of n customers of M/M/1, FCFS, in s^2; infinite where saturated.

    s^2 rho (2 + 5 rho - 4 rho^2 + rho^3) / (1 - rho)^4. Derived: with X = service - gap, the wait is W' = (W + X)^+.
    Poisson's equation g - Pg = W - E[W] has the solution g = (w^2 + 2 w / lambda) / (-2 E[X]), as the two terms that X
    below -w brings, 2 a / lambda^2 and -b / lambda, cancel for b = 2 a / lambda. The variance is 2 cov(W, g) - var(W),
    and the moments of W (0 with 1 - rho, else exponential with rate mu - lambda) give the above.

    Raises:
        BadValueError: a rate or time that is not above 0.
    """
    rho = positive("arrival_hz", arrival_hz) * positive("service_s", service_s)
    if rho >= 1.0:
        return math.inf
    return service_s**2 * rho * (2.0 + rho * (5.0 + rho * (rho - 4.0))) / (1.0 - rho) ** 4


def mm1_customers_for(rho: float, relative_half_width: float, confidence: float = 0.95) -> float:
    """Return the customers after which the mean wait of M/M/1 is known to +- a share of itself; inf where saturated."""
    rho, confidence = positive("rho", rho), share("confidence", confidence)
    if rho >= 1.0:
        return math.inf
    mean = rho / (1.0 - rho)
    return samples_for(mm1_wait_variance_s2(rho, 1.0), relative_half_width * mean, confidence)


def samples_for(variance: float, half_width: float, confidence: float = 0.95) -> float:
    """Return the n with z sqrt(variance / n) = `half_width`, z the normal quantile of a two-sided interval.

    Raises:
        BadValueError: a half width or variance that is not above 0, or a confidence not between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise BadValueError(f"confidence must be between 0 and 1, not {confidence!r}.")
    z = NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    return z * z * positive("variance", variance) / positive("half_width", half_width) ** 2
