"""Bounds of a rare share from counts: Clopper and Pearson's interval, and what bursts do to it.

Source: Clopper and Pearson, Biometrika 26 (1934): the ends are quantiles of beta distributions. With no loss in n
trials the one-sided 95 % bound is 1 - 0.05^(1/n), about 3/n (the rule of three). Losses of a full buffer come in
bursts: the counts are divided by their index of dispersion (variance over mean of equal stretches), as of a compound
Poisson law.
"""

from __future__ import annotations

import math
from collections.abc import Callable


def upper_bound(losses: float, trials: float, confidence: float = 0.95) -> float:
    """Return the one-sided upper bound of a share after `losses` in `trials` (real numbers of effective counts)."""
    if losses >= trials or trials <= 0:
        return 1.0
    if losses == 0:
        return -math.expm1(math.log1p(-confidence) / trials)
    return _solve(lambda p: beta_share(p, losses + 1, trials - losses) - confidence)


def lower_bound(losses: float, trials: float, confidence: float = 0.95) -> float:
    """Return the one-sided lower bound of a share."""
    if losses <= 0 or trials <= 0:
        return 0.0
    return _solve(lambda p: beta_share(p, losses, trials - losses + 1) - (1 - confidence))


def _solve(gap: Callable[[float], float]) -> float:
    """Return the p in (0, 1) where a rising function crosses 0, by bisection in the logarithm."""
    low, high = -690.0, 0.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (low, middle) if gap(math.exp(middle)) > 0 else (middle, high)
    return math.exp(high)


def beta_share(x: float, a: float, b: float) -> float:
    """Return the regularised incomplete beta function I_x(a, b), by Lentz's continued fraction.

    Source: Press et al., Numerical Recipes (3rd ed., 2007), section 6.4.
    """
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    log = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    if x < (a + 1) / (a + b + 2):
        return math.exp(log) * _fraction(x, a, b) / a
    return 1 - math.exp(log) * _fraction(1 - x, b, a) / b


def _fraction(x: float, a: float, b: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    found = d
    for m in range(1, 5000):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + step * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + step / c
            c = c if abs(c) > tiny else tiny
            change = d * c
            found *= change
        if abs(change - 1) < 1e-13:
            break
    return found
