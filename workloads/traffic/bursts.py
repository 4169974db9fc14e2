"""Bursty arrivals: Poisson processes whose rate switches at random (Markov-modulated), alone or added up.

A component is on for a share of the time and off else, with exponential times in both. Adding components of several
time scales gives the burstiness of measured traffic over those scales (Andersen and Nielsen, IEEE JSAC 16 (1998),
719-732, do so with symmetric two-state sources). Its counts have an index of dispersion in closed form, which is what
`workloads.traffic.fit` inverts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from foundation.checks import finite_number
from foundation.errors import BadValueError
from workloads.table import Array
from workloads.traffic.arrivals import CHUNK, Arrivals

MAX_COMPONENTS = 16
LEAST_DISPERSION = 0.01
"""A component that adds less than this to the index of dispersion, at this rate, is drawn as a steady stream: nothing
could tell it from one, and following each of its many switches would take long."""


@dataclass(frozen=True)
class Switching:
    """A Poisson source that is on `on_share` of the time and then sends at share / on_share of the process's rate.

    `share` is its part of all requests. `time_s` is the time constant with which the state is forgotten:
    1 / time_s = 1 / mean on time + 1 / mean off time.
    """

    share: float
    on_share: float
    time_s: float

    def __post_init__(self) -> None:
        checked = {
            "share": finite_number("share", self.share, high=1, strict=True),
            "on_share": finite_number("on_share", self.on_share, low=0.001, high=0.999),
            "time_s": finite_number("time_s", self.time_s, low=1e-6, high=1e9),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    @property
    def on_s(self) -> float:
        """Mean time that it stays on."""
        return self.time_s / (1 - self.on_share)

    @property
    def off_s(self) -> float:
        """Mean time that it stays off."""
        return self.time_s / self.on_share

    @property
    def variance(self) -> float:
        """Variance of its rate in units of the process's mean rate squared."""
        return self.share**2 * (1 - self.on_share) / self.on_share


@dataclass(frozen=True)
class Bursty(Arrivals):
    """A steady Poisson stream plus switching sources; what their shares leave of the rate is the steady stream.

    With `rounded_s` above 0 times are rounded to its multiples, as the clocks of some traces do.
    """

    kind: ClassVar[str] = "bursty"
    components: tuple[Switching, ...] = ()
    rounded_s: float = 0.0

    def _check(self) -> None:
        self._take("rounded_s", high=1e6)
        if len(self.components) > MAX_COMPONENTS:
            raise BadValueError(f"components: at most {MAX_COMPONENTS} switching sources, not {len(self.components)}.")
        if self.steady_share < -1e-9:
            raise BadValueError("components: their shares of the requests add up to more than 1.")

    @property
    def steady_share(self) -> float:
        """Part of the requests that no component sends."""
        return 1 - sum(part.share for part in self.components)

    def dispersion(self, window_s: float) -> float:
        """Return the index of dispersion of counts in windows of `window_s`, in closed form (without rounding)."""
        growth = dispersion_growth(np.array([window_s]), [part.time_s for part in self.components])[0]
        return float(1 + self.rate_hz * growth @ np.array([part.variance for part in self.components]))

    def _chunks(self, random: np.random.Generator) -> Iterator[Array]:
        slab_s = CHUNK / self.rate_hz
        switching = [p for p in self.components if 2 * p.variance * p.time_s * self.rate_hz >= LEAST_DISPERSION]
        sources = [_source(part, self.rate_hz, slab_s, random) for part in switching]
        steady_share = max(0.0, 1 - sum(part.share for part in switching))
        sources.append(_steady(steady_share * self.rate_hz, slab_s, random))
        for parts in zip(*sources, strict=True):
            times = np.sort(np.concatenate(parts))
            # Rounding to nearest keeps the order; chunks meet at slab ends, where both sides round alike.
            yield np.round(times / self.rounded_s) * self.rounded_s if self.rounded_s else times


def two_state(rate_hz: float, ratio: float, burst_s: float, calm_s: float) -> Bursty:
    """Return the two-state Markov-modulated Poisson process of mean `rate_hz`.

    Bursts of mean `burst_s` with `ratio` times the rate of the calm times between them, of mean `calm_s`. It equals
    the calm rate as a steady stream plus one source that is on in bursts.

    Raises:
        BadValueError: a ratio that is not above 1, or a time that is not above 0.
    """
    ratio = finite_number("ratio", ratio, low=1, high=1e9, strict=True)
    burst_s = finite_number("burst_s", burst_s, strict=True)
    calm_s = finite_number("calm_s", calm_s, strict=True)
    on_share = burst_s / (burst_s + calm_s)
    share = on_share * (ratio - 1) / (1 + on_share * (ratio - 1))
    return Bursty(rate_hz, (Switching(share, on_share, burst_s * calm_s / (burst_s + calm_s)),))


def dispersion_growth(window_s: Array, time_s: Sequence[float]) -> Array:
    """Return what one unit of rate variance over mean rate adds to the index of dispersion, shape (windows, times).

    For a Poisson process whose rate has the covariance v exp(-t / time_s), the counts of a window w have
    variance / mean = 1 + (v / rate) 2 time_s (1 - (time_s / w) (1 - exp(-w / time_s))) (Cox and Isham, Point
    Processes, 1980, section 3.3: the integral of the covariance over the window).
    """
    theta = np.asarray(time_s, dtype=float).reshape(1, -1)
    turns = np.asarray(window_s, dtype=float).reshape(-1, 1) / theta
    growth: Array = 2 * theta * (1 + np.expm1(-turns) / turns)
    return growth


def _steady(rate_hz: float, slab_s: float, random: np.random.Generator) -> Iterator[Array]:
    """Yield the Poisson arrivals of one slab of time after another."""
    start_s = 0.0
    while True:
        yield start_s + slab_s * random.random(random.poisson(rate_hz * slab_s))
        start_s += slab_s


def _source(part: Switching, rate_hz: float, slab_s: float, random: np.random.Generator) -> Iterator[Array]:
    """Yield the arrivals of one switching source, one slab of time after another; it begins in its steady state."""
    on_rate_hz = rate_hz * part.share / part.on_share
    mean_s = (part.off_s, part.on_s)
    on = bool(random.random() < part.on_share)
    start_s, change_s = 0.0, random.exponential(mean_s[on])
    while True:
        edges, end_s = [start_s], start_s + slab_s
        first_on = on
        while change_s < end_s:
            edges.append(change_s)
            on = not on
            change_s += random.exponential(mean_s[on])
        edges.append(end_s)
        low, length = np.array(edges[:-1]), np.diff(edges)
        counts = random.poisson(on_rate_hz * length * (np.arange(len(length)) % 2 == (0 if first_on else 1)))
        yield np.repeat(low, counts) + np.repeat(length, counts) * random.random(counts.sum())
        start_s = end_s
