"""When requests arrive: processes that draw times from a numpy generator, each with a mean rate.

A process draws its times in chunks, so the first n times are the same however many are asked for.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError
from workloads.table import Array

MAX_REQUESTS = 10_000_000
CHUNK = 1024
"""Times that are drawn together."""


@dataclass(frozen=True)
class Arrivals(ABC):
    """A process of arrivals with a mean of `rate_hz` requests a second."""

    kind: ClassVar[str]
    rate_hz: float

    def __post_init__(self) -> None:
        self._take("rate_hz", low=0, high=1e9, strict=True)
        self._check()

    def _take(self, name: str, *, low: float = 0.0, high: float = math.inf, strict: bool = False) -> None:
        """Check a parameter and keep it as a float, whatever kind of number it came as."""
        object.__setattr__(self, name, finite_number(name, getattr(self, name), low=low, high=high, strict=strict))

    def _check(self) -> None:  # noqa: B027 (some have a rate and nothing else)
        """Check the parameters of the kind. Raises `BadValueError`."""

    @abstractmethod
    def _chunks(self, random: np.random.Generator) -> Iterator[Array]:
        """Yield ascending times without end, chunk after chunk; a chunk may be empty."""

    def at_rate(self, rate_hz: float) -> Self:
        """Return the same process at another mean rate: bursts keep their length in seconds and their relative size."""
        return replace(self, rate_hz=rate_hz)

    def times(
        self, random: np.random.Generator, *, requests: int | None = None, horizon_s: float | None = None
    ) -> Array:
        """Return ascending arrival times in seconds: the first `requests`, those before `horizon_s`, or both bounds.

        Raises:
            BadValueError: neither is given, or they ask for more than ten million requests.
        """
        if requests is None and horizon_s is None:
            raise BadValueError("Say how much traffic to draw: a number of requests, or horizon_s in seconds.")
        most = MAX_REQUESTS if requests is None else whole_number("requests", requests, high=MAX_REQUESTS)
        end_s = math.inf if horizon_s is None else finite_number("horizon_s", horizon_s, strict=True)
        if requests is None and self.rate_hz * end_s > MAX_REQUESTS:
            raise BadValueError(
                f"{self.rate_hz:g} requests a second over {end_s:g} s are more than {MAX_REQUESTS:,}; "
                "shorten horizon_s or name a number of requests."
            )
        found: list[Array] = []
        count = 0
        for chunk in self._chunks(random):
            found.append(chunk)
            count += len(chunk)
            if count >= most or (len(chunk) and chunk[-1] >= end_s):
                break
        times = np.concatenate(found)[:most]
        inside: Array = times[: np.searchsorted(times, end_s)]
        return inside


@dataclass(frozen=True)
class _Renewal(Arrivals):
    """Processes whose gaps are independent and alike."""

    @abstractmethod
    def _gaps(self, random: np.random.Generator) -> Array:
        """Return the next `CHUNK` gaps in seconds."""

    def _chunks(self, random: np.random.Generator) -> Iterator[Array]:
        now_s = 0.0
        while True:
            times = now_s + np.cumsum(self._gaps(random))
            now_s = float(times[-1])
            yield times


@dataclass(frozen=True)
class Constant(_Renewal):
    """A clock: one request every 1/rate seconds, the first after one gap."""

    kind: ClassVar[str] = "constant"

    def _gaps(self, random: np.random.Generator) -> Array:
        return np.full(CHUNK, 1 / self.rate_hz)


@dataclass(frozen=True)
class Poisson(_Renewal):
    """Independent arrivals: exponential gaps."""

    kind: ClassVar[str] = "poisson"

    def _gaps(self, random: np.random.Generator) -> Array:
        return random.exponential(1 / self.rate_hz, CHUNK)


@dataclass(frozen=True)
class Gamma(_Renewal):
    """Gamma gaps whose standard deviation is `cv` times their mean: 1 is Poisson, above it bursty."""

    kind: ClassVar[str] = "gamma"
    cv: float = 1.0

    def _check(self) -> None:
        self._take("cv", low=0.01, high=100)

    def _gaps(self, random: np.random.Generator) -> Array:
        shape = self.cv**-2
        return random.gamma(shape, 1 / (self.rate_hz * shape), CHUNK)


@dataclass(frozen=True)
class Diurnal(Arrivals):
    """Poisson arrivals at rate_hz (1 + amplitude cos(2 pi (t - peak_s) / period_s)), by thinning.

    The mean over whole periods is `rate_hz`.
    """

    kind: ClassVar[str] = "diurnal"
    amplitude: float = 0.5
    period_s: float = 86_400.0
    peak_s: float = 0.0

    def _check(self) -> None:
        self._take("amplitude", high=1)
        self._take("period_s", strict=True)
        self._take("peak_s")

    def _chunks(self, random: np.random.Generator) -> Iterator[Array]:
        now_s = 0.0
        peak_hz = self.rate_hz * (1 + self.amplitude)
        while True:
            times = now_s + np.cumsum(random.exponential(1 / peak_hz, CHUNK))
            now_s = float(times[-1])
            wave = 1 + self.amplitude * np.cos(2 * np.pi * (times - self.peak_s) / self.period_s)
            yield times[random.random(CHUNK) * (1 + self.amplitude) < wave]


@dataclass(frozen=True)
class Batch(Arrivals):
    """Groups of `size` requests that arrive together; the groups come as a clock or as a Poisson process.

    `rate_hz` counts requests, so groups come at rate_hz / size.
    """

    kind: ClassVar[str] = "batch"
    size: int = 1
    spacing: str = "constant"

    def _check(self) -> None:
        object.__setattr__(self, "size", whole_number("size", self.size, high=MAX_REQUESTS))
        if self.spacing not in ("constant", "poisson"):
            raise BadValueError(f"spacing must be 'constant' or 'poisson', not {self.spacing!r}.")

    def _chunks(self, random: np.random.Generator) -> Iterator[Array]:
        groups = (Poisson if self.spacing == "poisson" else Constant)(self.rate_hz / self.size)
        now = max(1, CHUNK // self.size)
        for times in groups._chunks(random):
            for part in np.split(times, range(now, len(times), now)):
                yield np.repeat(part, self.size)


@dataclass(frozen=True)
class AtOnce(Arrivals):
    """Every request at time 0, as in an offline benchmark; the rate means nothing."""

    kind: ClassVar[str] = "at-once"
    rate_hz: float = 1.0

    def times(
        self, random: np.random.Generator, *, requests: int | None = None, horizon_s: float | None = None
    ) -> Array:
        if requests is None:
            raise BadValueError("Arrivals of kind 'at-once' need a number of requests; a horizon does not bound them.")
        return np.zeros(whole_number("requests", requests, high=MAX_REQUESTS))

    def _chunks(self, random: np.random.Generator) -> Iterator[Array]:
        while True:
            yield np.zeros(CHUNK)
