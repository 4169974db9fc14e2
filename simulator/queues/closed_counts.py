"""How many Poisson arrivals fall into one service time: the steps of the embedded chains of M/G/1 and its kin.

Source: Kleinrock, Queueing Systems I (1975), section 5.3. A law is named as in a pipeline: constant, exponential,
erlang, gamma, hyperexponential (two phases with balanced means). Only its mean and cv2 are asked for.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from foundation.errors import BadValueError, UnknownNameError
from simulator.queues.closed_means import Array, count, not_negative, positive

LAWS = ("constant", "exponential", "erlang", "gamma", "hyperexponential", "lognormal", "uniform", "weibull")


class Counts(NamedTuple):
    """The law of a number of arrivals A, up to some number; all arrays are indexed from 0."""

    exactly: Array
    """P(A = k)."""
    at_least: Array
    """P(A >= k)."""
    beyond: Array
    """E[max(A - k, 0)]."""
    mean: float


def arrivals_in_a_service(load: float, most: int, law: str = "constant", cv2: float | None = None) -> Counts:
    """Return the law of the arrivals during one service, `load` of them in the mean, for k = 0..`most`.

    Constant: Poisson. Gamma of shape 1/cv2 (Erlang where that is whole): negative binomial. Exponential: geometric.
    Hyperexponential: a mixture of two geometric laws. Tails are sums of positive terms, exact to their last digits.
    Lognormal, uniform and Weibull: quadrature over the service time; their tails are exact to 1e-14 absolute.

    Raises:
        BadValueError: the load is not above 0, or the law cannot have this cv2.
        UnknownNameError: no such law.
    """
    load, most = positive("load", load), count("most", most, 0)
    shape = _shape(law, cv2)
    if law == "hyperexponential":
        p = (1.0 + math.sqrt((shape - 1.0) / (shape + 1.0))) / 2.0
        first, second = _geometric(load / (2.0 * p), most), _geometric(load / (2.0 * (1.0 - p)), most)
        parts = [p * a + (1.0 - p) * b for a, b in zip(first[:3], second[:3], strict=True)]
        return Counts(parts[0], parts[1], parts[2], load)
    if law in ("lognormal", "uniform", "weibull"):
        times, weights = _points(law, shape)
        return mixed_counts(load * times, weights, most)
    if shape == 1.0:
        return _geometric(load, most)
    return _summed(load, most, shape)


def binomial_counts(trials: float, probability: float, most: int) -> Counts:
    """Return the law of the successes in `trials` independent trials, for k = 0..`most`.

    A number of trials that is not whole stands for the mixture of its two neighbours.
    """
    lower = math.floor(trials)
    fraction = trials - lower
    counts = _binomial(lower, probability, most)
    if fraction == 0.0:
        return counts
    above = _binomial(lower + 1, probability, most)
    mixed = [(1.0 - fraction) * a + fraction * b for a, b in zip(counts[:3], above[:3], strict=True)]
    return Counts(mixed[0], mixed[1], mixed[2], trials * probability)


def mixed_counts(loads: Array, weights: Array, most: int) -> Counts:
    """Return the law of the arrivals in a service of one of several constant times, for k = 0..`most`.

    Args:
        loads: the mean number of arrivals in each time (rate x time). weights: the probability of each; sums to 1.
    """
    k = np.arange(1, most + 1)
    logs = np.log(np.maximum(loads, 1e-300))[:, None]
    steps = np.concatenate((np.zeros((len(loads), 1)), np.cumsum(logs - np.log(k), axis=1)), axis=1)
    exactly: Array = weights @ np.exp(steps - loads[:, None])
    mean = float(weights @ loads)
    at_least = np.maximum(1.0 - np.concatenate(([0.0], np.cumsum(exactly)[:-1])), 0.0)
    beyond = np.maximum(mean - np.concatenate(([0.0], np.cumsum(at_least[1:]))), 0.0)
    return Counts(exactly, at_least, beyond, mean)


def _points(law: str, shape: float) -> tuple[Array, Array]:
    """Return times of mean 1 and their weights: the trapezoidal rule where it converges faster than any power."""
    if law == "uniform":
        x, weights = np.polynomial.legendre.leggauss(64)
        return 1.0 + math.sqrt(3.0 * shape) * x, weights / 2.0
    if law == "lognormal":
        variance = math.log1p(shape)
        z = np.linspace(-9.0, 9.0, 400)
        times, weights = np.exp(math.sqrt(variance) * z - variance / 2.0), np.exp(-z * z / 2.0)
    else:
        y = np.linspace(-45.0, 4.0, 1200)
        times, weights = np.exp(y * shape), np.exp(y - np.exp(y))
    weights /= weights.sum()
    return times / float(weights @ times), weights


def _weibull_power(cv2: float) -> float:
    """Return 1/k of the Weibull law with this cv2 = Gamma(1 + 2/k) / Gamma(1 + 1/k)^2 - 1, by bisection."""
    low, high = 1e-4, 20.0
    for _ in range(80):
        middle = (low + high) / 2.0
        excess = math.lgamma(1.0 + 2.0 * middle) - 2.0 * math.lgamma(1.0 + middle) - math.log1p(cv2)
        low, high = (middle, high) if excess < 0.0 else (low, middle)
    return high


def _shape(law: str, cv2: float | None) -> float:
    """Return the shape of the gamma law (inf: constant, 1: exponential), the 1/k of Weibull, the cv2 of the others."""
    if law not in LAWS:
        raise UnknownNameError("service law", law, LAWS)
    fixed = {"constant": 0.0, "exponential": 1.0}.get(law)
    if fixed is not None:
        if cv2 is not None and cv2 != fixed:
            raise BadValueError(f"a service that is {law} has cv2 {fixed:g}, not {cv2:g}: name another law.")
        return math.inf if fixed == 0.0 else 1.0
    cv2 = not_negative(f"cv2 of the {law} law", math.nan if cv2 is None else cv2)
    if law == "hyperexponential":
        if cv2 < 1.0:
            raise BadValueError(f"a hyperexponential law has a cv2 of at least 1, not {cv2:g}: take erlang or gamma.")
        return cv2
    if law == "uniform" and cv2 > 1.0 / 3.0 + 1e-12:
        raise BadValueError(f"a uniform law of positive times has a cv2 of at most 1/3, not {cv2:g}.")
    if law in ("uniform", "lognormal", "weibull"):
        return _weibull_power(positive("cv2 of the weibull law", cv2)) if law == "weibull" else cv2
    shape = 1.0 / cv2 if cv2 > 0.0 else math.inf
    if law == "erlang" and math.isfinite(shape):
        if abs(shape - round(shape)) > 1e-6 * shape:
            raise BadValueError(f"an Erlang law of k phases has cv2 1/k, not {cv2:g}: take gamma.")
        return float(round(shape))
    return shape


def _geometric(load: float, most: int) -> Counts:
    """Return the law of the Poisson arrivals in an exponential time."""
    k = np.arange(most + 1)
    at_least = np.exp(k * (math.log(load) - math.log1p(load)))
    return Counts(at_least / (1.0 + load), at_least, load * at_least, load)


def _summed(load: float, most: int, shape: float) -> Counts:
    """Return the law of the Poisson arrivals in a constant or gamma time; tails by sums from the far end."""
    theta = 0.0 if math.isinf(shape) else load / shape
    spread = math.sqrt(load * (1.0 + theta))
    # Past the mean and 12 standard deviations, terms fall at least as theta / (1 + theta) a step, and as load / k.
    extra = 60 + (math.ceil(40.0 * (1.0 + theta)) if theta else 0)
    top = max(most, math.ceil(load + 12.0 * spread)) + extra
    k = np.arange(1, top + 1)
    if theta == 0.0:
        logs = np.concatenate(([-load], -load + np.cumsum(np.log(load / k))))
    else:
        start = -shape * math.log1p(theta)
        ratios = (shape + k - 1.0) / k * (theta / (1.0 + theta))
        logs = np.concatenate(([start], start + np.cumsum(np.log(ratios))))
    return _with_tails(np.exp(logs), most, load)


def _binomial(trials: int, probability: float, most: int) -> Counts:
    """Return the law of the successes in a whole number of trials."""
    k = np.arange(1, trials + 1)
    if probability in (0.0, 1.0):
        exactly = np.eye(1, trials + 1, 0 if probability == 0.0 else trials)[0]
    else:
        odds = math.log(probability) - math.log1p(-probability)
        start = trials * math.log1p(-probability)
        exactly = np.exp(np.concatenate(([start], start + np.cumsum(np.log((trials - k + 1) / k) + odds))))
    padded = np.concatenate((exactly, np.zeros(max(0, most + 1 - len(exactly)))))
    return _with_tails(padded, most, trials * probability)


def _with_tails(exactly: Array, most: int, mean: float) -> Counts:
    """Return the law with its tails, summed from the far end so that small ones keep their digits."""
    at_least = np.cumsum(exactly[::-1])[::-1]
    sums = np.cumsum(at_least[::-1])[::-1]
    beyond = np.concatenate((sums[1:], [0.0]))
    return Counts(exactly[: most + 1], at_least[: most + 1], beyond[: most + 1], mean)
