"""Random laws of positive quantities: a mean and a shape, drawn by numpy in blocks.

All draws happen here, outside the event loops, so that every engine sees the same numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from foundation.checks import finite_number
from foundation.errors import BadValueError, UnknownNameError

Floats = npt.NDArray[np.float64]

LAWS = (
    "constant", "exponential", "erlang", "hyperexponential", "lognormal", "gamma", "uniform", "weibull", "table",
)  # fmt: skip

MOST_CV = 1e6
"""Largest coefficient of variation: beyond it a mean says nothing, and its square leaves the range of floats."""


@dataclass(frozen=True)
class Law:
    """A positive random variable with a mean (any unit) and a coefficient of variation.

    `cv` is fixed by the constant (0) and the exponential (1) law. Erlang needs 1/cv^2 to be a whole number; the
    hyperexponential has two phases with balanced means (cv >= 1); uniform needs cv <= 1/sqrt(3). `table` draws from
    `values` with `weights`.

    Raises:
        UnknownNameError: no such law. BadValueError: a mean or cv that the law cannot have.
    """

    kind: str = "constant"
    mean: float = 1.0
    cv: float | None = None
    values: tuple[float, ...] = field(default=(), repr=False)
    weights: tuple[float, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if self.kind not in LAWS:
            raise UnknownNameError("law", self.kind, LAWS)
        if self.kind == "table":
            self._check_table()
        finite_number("The mean of a law", self.mean)
        cv = {"constant": 0.0, "exponential": 1.0}.get(self.kind, self.cv)
        if self.cv is not None and cv != self.cv:
            raise BadValueError(f"The cv of a {self.kind} law is {cv:g}, not {self.cv!r}.")
        if cv is None:
            raise BadValueError(f"A {self.kind} law needs its cv (standard deviation / mean).")
        finite_number("The cv of a law", cv, high=MOST_CV)
        object.__setattr__(self, "cv", float(cv))
        self._check_cv(float(cv))

    def _check_table(self) -> None:
        try:
            values = np.array([float(each) for each in self.values])
            weights = np.array([float(each) for each in self.weights] or [1.0] * len(values))
        except (TypeError, ValueError):
            raise BadValueError(
                f"A table law has a tuple of numbers as values and as weights, not {self.values!r} and "
                f"{self.weights!r}."
            ) from None
        if not len(values) or len(values) != len(weights) or not np.isfinite(values).all() or (values < 0).any():
            raise BadValueError("A table law needs finite values of at least 0, and one weight each (or none).")
        if not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
            raise BadValueError("The weights of a table law must be at least 0, with a sum above 0.")
        mean = float((values * weights).sum() / weights.sum())
        variance = float((weights * (values - mean) ** 2).sum() / weights.sum())
        object.__setattr__(self, "mean", mean)
        object.__setattr__(self, "cv", math.sqrt(variance) / mean if mean else 0.0)

    def _check_cv(self, cv: float) -> None:
        if self.kind == "erlang":
            phases = 1 / cv**2 if cv else 0.0
            if phases < 0.5 or abs(phases - round(phases)) > 1e-9 * phases:
                raise BadValueError(f"An Erlang law has cv = 1/sqrt(k) with a whole k, not {cv:g}.")
        elif self.kind == "hyperexponential" and cv < 1:
            raise BadValueError(f"A hyperexponential law has cv of at least 1, not {cv:g}.")
        elif self.kind == "uniform" and cv > 1 / math.sqrt(3) + 1e-12:
            raise BadValueError(f"A uniform law of positive values has cv of at most 0.577, not {cv:g}.")
        elif self.kind in ("lognormal", "gamma", "weibull") and cv <= 0:
            raise BadValueError(f"A {self.kind} law has cv above 0, not {cv:g}.")

    @property
    def cv2(self) -> float:
        """Squared coefficient of variation."""
        assert self.cv is not None
        return self.cv**2

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        """Return `count` values."""
        unit = getattr(self, f"_{self.kind}")(rng, count)
        found: Floats = np.asarray(unit * self.mean if self.kind != "table" else unit, dtype=np.float64)
        return found

    def _constant(self, rng: np.random.Generator, count: int) -> Any:
        return np.ones(count)

    def _exponential(self, rng: np.random.Generator, count: int) -> Any:
        return rng.standard_exponential(count)

    def _erlang(self, rng: np.random.Generator, count: int) -> Any:
        phases = round(1 / self.cv2)
        return rng.standard_gamma(phases, count) / phases

    def _gamma(self, rng: np.random.Generator, count: int) -> Any:
        return rng.standard_gamma(1 / self.cv2, count) * self.cv2

    def _hyperexponential(self, rng: np.random.Generator, count: int) -> Any:
        share = (1 + math.sqrt((self.cv2 - 1) / (self.cv2 + 1))) / 2
        drawn = rng.random(count), rng.standard_exponential(count)
        return np.where(drawn[0] < share, drawn[1] / (2 * share), drawn[1] / (2 * (1 - share)) if share < 1 else 0.0)

    def _lognormal(self, rng: np.random.Generator, count: int) -> Any:
        variance = math.log1p(self.cv2)
        return np.exp(math.sqrt(variance) * rng.standard_normal(count) - variance / 2)

    def _uniform(self, rng: np.random.Generator, count: int) -> Any:
        assert self.cv is not None
        half = self.cv * math.sqrt(3)
        return 1 - half + 2 * half * rng.random(count)

    def _weibull(self, rng: np.random.Generator, count: int) -> Any:
        shape = _weibull_shape(self.cv2)
        return rng.standard_exponential(count) ** (1 / shape) / math.gamma(1 + 1 / shape)

    def _table(self, rng: np.random.Generator, count: int) -> Any:
        weights = np.asarray(self.weights or [1.0] * len(self.values))
        index = np.searchsorted(np.cumsum(weights), rng.random(count) * weights.sum(), side="right")
        return np.asarray(self.values, dtype=float)[np.minimum(index, len(weights) - 1)]


CONSTANT = Law()
EXPONENTIAL = Law("exponential")


def _weibull_shape(cv2: float) -> float:
    """Return the shape k with Gamma(1+2/k)/Gamma(1+1/k)^2 - 1 = cv2, by bisection (it falls with k)."""
    low, high = 0.05, 200.0
    for _ in range(200):
        middle = math.sqrt(low * high)
        found = math.exp(math.lgamma(1 + 2 / middle) - 2 * math.lgamma(1 + 1 / middle)) - 1
        low, high = (middle, high) if found > cv2 else (low, middle)
    return math.sqrt(low * high)
