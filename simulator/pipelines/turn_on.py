"""Turn-on curves of CMS triggers: the share of objects of an energy that a trigger accepts.

Each curve is a sum of steps height / (1 + (midpoint / energy)^sharpness), fitted by least squares to the digitised
points (level 1: and to the published interpolation between them); `rms` and `worst` are residuals in efficiency at the
points. Points: public results of CMS (level 1: performance of the Run 2 trigger; high level: HighLevelTriggerRunII-
Results of 2018) as digitised in github.com/wilkieolin/system_flow at dc62d1ee (BSD, UChicago Argonne).
tests/test_pipeline_classifiers.py holds the fits against these points.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class TurnOn:
    """One curve. `steps` are (height, midpoint in GeV, sharpness); points were taken from `first_gev` to `last_gev`.

    `tail` is how the published level-1 code goes on after the last point: (origin in GeV, coefficients of a cubic in
    the distance from it), the last piece of its interpolation. For taus that falls to 0 at 290 GeV.
    """

    name: str
    first_gev: float
    last_gev: float
    steps: tuple[tuple[float, float, float], ...]
    rms: float
    worst: float
    tail: tuple[float, ...] = ()

    def efficiency(self, energy_gev: Any) -> Array:
        """Return the share that is accepted, in [0, 1]; beyond the last point the curve goes on as fitted."""
        energy = np.maximum(np.asarray(energy_gev, float), 1e-9)
        total = np.zeros_like(energy)
        with np.errstate(over="ignore"):
            for height, midpoint_gev, sharpness in self.steps:
                total += height / (1.0 + (midpoint_gev / energy) ** sharpness)
        clipped: Array = np.clip(total, 0.0, 1.0)
        return clipped

    def with_tail(self, energy_gev: Array) -> Array:
        """Return the efficiency as the published level-1 code takes it: beyond the last point the `tail`."""
        if not self.tail:
            return self.efficiency(energy_gev)
        origin_gev, *coefficients = self.tail
        cubic = np.polyval(coefficients[::-1], energy_gev - origin_gev)
        return np.where(energy_gev > self.last_gev, np.clip(cubic, 0.0, 1.0), self.efficiency(energy_gev))

    def midpoint_gev(self) -> float:
        """Return the first energy at which half of the objects pass (a search in rounds of 64 steps)."""
        low, high = self.first_gev, self.last_gev
        for _ in range(6):
            grid = np.linspace(low, high, 65)
            above = max(int(np.argmax(self.efficiency(grid) >= 0.5)), 1)
            low, high = float(grid[above - 1]), float(grid[above])
        return 0.5 * (low + high)


JET = TurnOn(
    "jet", 53.96, 691.8,
    ((0.0403, 288.6, 82.62), (0.0322, 258.3, 78.48), (0.3246, 258.5, 10.12), (0.5968, 298.3, 20.87)), 0.0011, 0.0036,
)  # fmt: skip
MUON = TurnOn(
    "muon", 3.563, 97.66,
    (
        (0.1218, 14.44, 3.841), (0.2667, 14.4, 11.89), (0.0374, 11.37, 41.36), (0.4401, 20.25, 12.92),
        (0.0772, 17.94, 32.83),
    ),
    0.0017, 0.0047, tail=(92.65, 0.94081, 0.0, -1.4785e-4, 9.9064e-6),
)  # fmt: skip
EGAMMA = TurnOn(
    "e/gamma", 1.0, 798.0,
    (
        (0.081, 44.02, 3.861), (0.1301, 29.52, 79.6), (0.0164, 9.831, 6.723), (0.1897, 30.9, 85.21),
        (0.5698, 30.48, 21.5),
    ),
    0.0031, 0.0106,
)  # fmt: skip
TAU = TurnOn(
    "tau", 0.2516, 100.0,
    ((0.0236, 24.53, 19.82), (0.2074, 35.02, 21.37), (0.0604, 27.12, 2.328), (0.7061, 40.3, 8.834)), 0.0013, 0.0030,
    tail=(80.0, 0.99135, 2.1073e-4, -2.5314e-6, -9.1226e-8),
)  # fmt: skip

B2G = TurnOn("B2G", 200.0, 796.6, ((0.6916, 374.1, 46.82), (0.3043, 389.2, 25.5)), 0.0061, 0.0232)
HIGGS = TurnOn("Higgs", 200.0, 738.8, ((0.8476, 360.1, 15.12), (0.1, 529.0, 188.3)), 0.0199, 0.0409)
HLT_MUON = TurnOn("muon path", 12.71, 358.5, ((0.8539, 24.69, 88.3), (0.061, 35.11, 18.24)), 0.0061, 0.0149)
# The point at 744 GeV (0.67, between points of 1.0) was left out of the fit; it is in the residuals.
SUSY = TurnOn("SUSY", 72.55, 843.8, ((0.9385, 111.2, 87.5),), 0.0499, 0.2703)
TRACKING = TurnOn(
    "tracking",
    0.3528,
    177.8,
    ((0.3203, 0.4425, 87.87), (0.4344, 1.042, 2.132), (-0.1289, 97.87, 26.23)),
    0.0198,
    0.0425,
)
HLT_TAU = TurnOn("tau path", 20.0, 321.4, ((0.5481, 27.56, 32.56), (0.3907, 36.11, 4.481)), 0.0139, 0.0336)

LEVEL_1_CURVES = (JET, MUON, EGAMMA, TAU)
HIGH_LEVEL_CURVES = (B2G, HIGGS, HLT_MUON, SUSY, TRACKING, HLT_TAU)

_POINTS = 481  # of Simpson's rule over the logarithm of the energy: the curves rise over a small part of their range


@cache
def _simpson() -> tuple[Array, Array]:
    """Return the points and weights of Simpson's rule on [0, 1]."""
    weights = np.where(np.arange(_POINTS) % 2, 4.0, 2.0)
    weights[[0, -1]] = 1.0
    return np.linspace(0.0, 1.0, _POINTS), weights / (3.0 * (_POINTS - 1))


def fitted_scale_per_gev(
    curve: TurnOn, rate: float, low_per_gev: float, high_per_gev: float, *, whole_range: bool = False
) -> float:
    """Return 1 / (mean energy) of exponential energies of which the trigger accepts the share `rate`.

    The share is the integral over the digitised points' range (with `whole_range`: also a tenth of it beyond, where the
    published code takes 1). Where two scales give the rate, the larger one in [low, high] is taken; where none does,
    the one that comes nearest, as the published fit does.
    """
    (nodes, weights), span = _simpson(), np.log(curve.last_gev / curve.first_gev)
    energy = curve.first_gev * np.exp(span * nodes)
    accepted = span * weights * energy * curve.efficiency(energy)
    beyond_gev = 1.1 * curve.last_gev - 0.1 * curve.first_gev

    def share(scale: Array) -> Array:
        found: Array = scale * (np.exp(-np.multiply.outer(scale, energy)) * accepted).sum(axis=1)
        if whole_range:
            found += np.exp(-scale * curve.last_gev) - np.exp(-scale * beyond_gev)
        return found

    for _ in range(6):  # each round narrows to one of 16 steps, or two around the nearest (of equals: the largest)
        scales = np.linspace(high_per_gev, low_per_gev, 17)
        gap = share(scales) - rate
        crossing = np.nonzero(gap[:-1] * gap[1:] <= 0)[0]
        at = int(crossing[0]) if crossing.size else int(np.argmin(np.abs(gap)))
        high_per_gev, low_per_gev = float(scales[max(at - (not crossing.size), 0)]), float(scales[min(at + 1, 16)])
    return 0.5 * (low_per_gev + high_per_gev)


def bounded_efficiency(curve: TurnOn, energy_gev: Array) -> Array:
    """Return the efficiency as the published high-level code takes it: 0 below the first point, 1 above the last."""
    inside = np.where(energy_gev > curve.last_gev, 1.0, curve.efficiency(energy_gev))
    return np.where(energy_gev < curve.first_gev, 0.0, inside)
