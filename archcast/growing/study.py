"""What a growth plan asks: scenarios of demand, regions, ways to acquire, bounds and the purpose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from archcast.planning.plan_file import Study
from archcast.yaml_settings import Settings


@dataclass(frozen=True)
class Scenario:
    """A course of demand: growth a year, or its multiples of the first period's rate, one a period."""

    name: str
    probability: float
    per_year: float | None
    path: tuple[float, ...]


@dataclass(frozen=True)
class Lognormal:
    """Growth a year whose logarithm is normal and anew each year: median, spread (of the logarithm), branches."""

    per_year: float
    spread: float
    branches: tuple[int, ...]
    draws: int
    seed: int


@dataclass(frozen=True)
class Peak:
    """A share of the hours has `ratio` times the mean rate."""

    ratio: float = 1.0
    share: float = 1.0


@dataclass(frozen=True)
class Mix:
    """From a date on, prompts and answers are so many times as long."""

    year: float
    prompt: float
    generate: float


@dataclass(frozen=True)
class Owned:
    """Devices that are there at the start."""

    device: str
    region: str
    devices: int
    year: float


@dataclass(frozen=True)
class Future:
    """A device that is not sold yet: like one of the catalogue, so many times as fast, from a date on."""

    name: str
    like: str
    year: float
    times_faster: float


@dataclass(frozen=True)
class Bounds:
    """What no period may exceed. power_w by region (the hall, all of the building); available by device and date."""

    power_w: Mapping[str, float]
    capital_usd: float
    capital_usd_per_period: float
    available: Mapping[str, tuple[tuple[float, int], ...]]
    carbon_kg: float


@dataclass(frozen=True)
class GrowthStudy:
    """A whole file. `base` has the model, the demand at the start, the objectives of service and the devices."""

    settings: Settings
    base: Study
    start: float
    periods: int
    months: int
    scenarios: tuple[Scenario, ...]
    lognormal: Lognormal | None
    seen_after: int
    peak: Peak
    mix: tuple[Mix, ...]
    regions: tuple[str, ...]
    acquire: frozenset[str]
    buy_lead: int
    use_share: float
    sold_in: str
    life: int
    retire: bool
    owned: tuple[Owned, ...]
    future: tuple[Future, ...]
    bounds: Bounds
    carbon_usd_per_tonne: float
    discount_per_year: float
    shortage_usd_per_million: float | None
    objective: str
    tail: float
    books: Mapping[str, str]

    @property
    def years(self) -> list[float]:
        """Return the date at which each period begins."""
        return [self.start + t * self.months / 12 for t in range(self.periods)]

    @property
    def hours(self) -> float:
        """Return the hours of a period."""
        return 8766.0 * self.months / 12
