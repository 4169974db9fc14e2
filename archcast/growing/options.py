"""Devices in regions as columns of numbers: what a unit costs to buy, keep, lease and rent in each period."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from archcast.growing.capacity import Capacity, Instance
from archcast.growing.dates import year_of
from archcast.growing.ends import Ends
from archcast.growing.study import Future, GrowthStudy
from hardware_specs.books import PURCHASES, REGIONS, TRENDS, BookSpec, Purchase, Region, Trends, load_book
from workloads.table import Array

USE_RANGE = (0.6, 0.85)
"""Ends of `use_share`, as shares of its default; see growth_file.USE_SHARE (estimated)."""
DEFAULT_USE = 0.72
EPS = 1e-9


@dataclass(frozen=True)
class Books:
    """The books of a study."""

    purchases: BookSpec
    regions: BookSpec
    trends: Trends


@dataclass(frozen=True)
class Kind:
    """A device type as it is sold, not yet in a region; prices are of one device. nan: none is known.

    gain_usd and gain_w divide what a later device costs and burns for the work of its like.
    """

    name: str
    instance: Instance
    purchase: Purchase | None
    since: float
    times: float
    years: float


@dataclass(frozen=True)
class Options:
    """One row a device in a region. Arrays of shape (options, periods) unless said; money undiscounted, USD.

    hz: requests/s that an instance is loaded to. unit: instances in a unit that is bought. buy_usd: of a unit with its
    share of the box; keep_usd: idle power of a unit a period; hall_usd: rent of the hall for it, (options,);
    care_share: maintenance a period as a share of what was paid; run_usd: energy of an instance that is fully loaded
    all the period, beyond idle; lease_usd and rent_usd: an instance all the period; idle_kg, run_kg: carbon of an
    instance likewise; peak_w: the hall's power for a unit; idle_w, run_w: mean power of a unit with nothing to do, and
    what a loaded instance adds, the hall's part in it; resale: share of the price by periods of age.
    """

    device: tuple[str, ...]
    region: tuple[str, ...]
    devices: Array
    unit: Array
    unit_devices: Array
    first: Array
    hz: Array
    buy_usd: Array
    keep_usd: Array
    hall_usd: Array
    care_share: float
    run_usd: Array
    lease_usd: Array
    rent_usd: Array
    idle_kg: Array
    run_kg: Array
    embodied_kg: Array
    peak_w: Array
    idle_w: Array
    run_w: Array
    resale: Array
    lease_periods: int

    def __len__(self) -> int:
        return len(self.device)

    def name(self, i: int, several: bool) -> str:
        """Return e.g. `b200 in fr-paris`."""
        return f"{self.device[i]} in {self.region[i]}" if several else self.device[i]


def load_books(study: GrowthStudy) -> Books:
    """Return the books of a study, its own files where it names some. Raises BadFileError."""
    found = {}
    for name in (PURCHASES, REGIONS, TRENDS):
        given = study.books.get(name, name)
        place = ("growth", "books", name)
        found[name] = study.settings.at(place, lambda given=given: load_book(given))  # type: ignore[misc]
    trends = found[TRENDS].trends
    if trends is None:
        raise study.settings.fault(("growth", "books", TRENDS), "the book has no trends.")
    for i, name in enumerate(study.regions):
        study.settings.at(("growth", "regions", i), lambda name=name: found[REGIONS].region(name))  # type: ignore[misc]
    return Books(found[PURCHASES], found[REGIONS], trends)


def kinds_of(study: GrowthStudy, capacity: Capacity, books: Books) -> list[Kind]:
    """Return the device types that can be had, now and later."""
    kinds = []
    for instance in capacity.instances:
        site = instance.site
        since = year_of("released", site.target.spec.released)
        kinds.append(Kind(site.id, instance, books.purchases.purchase(site.id), since, 1.0, 0.0))
    by_name = {name: kind for kind in kinds for name in kind.instance.site.names}
    return kinds + [_later(one, by_name[one.like]) for one in study.future if one.like in by_name]


def _later(future: Future, like: Kind) -> Kind:
    return replace(
        like, name=future.name, since=future.year, times=future.times_faster, years=max(future.year - like.since, 0.0)
    )


def options_of(study: GrowthStudy, kinds: Sequence[Kind], books: Books, ends: Ends) -> Options:
    """Return the columns with some figures at an end of their range."""
    rows = [_row(study, kind, books.regions.region(region), books.trends, ends)
            for region in study.regions for kind in kinds]  # fmt: skip
    trends = books.trends
    months = study.months
    first = ends.pick(trends.resale_first, "purchase", -1)
    fall = ends.pick(trends.resale_decline, "purchase")
    ages = np.arange(max(study.periods, study.life) + 2)
    resale = np.where(ages < study.life, first * (1 - fall) ** (ages * months / 12), 0.0)
    care = ends.pick(trends.maintenance, "purchase") * months / 12
    columns = {name: np.array([row[name] for row in rows]) for name in rows[0] if name not in ("device", "region")}
    return Options(
        device=tuple(str(row["device"]) for row in rows), region=tuple(str(row["region"]) for row in rows),
        care_share=care, resale=resale, lease_periods=max(1, round(12 / months)), **columns,
    )  # fmt: skip


def _row(study: GrowthStudy, kind: Kind, region: Region, trends: Trends, ends: Ends) -> dict[str, object]:
    """Return the numbers of one device in one region."""
    instance = kind.instance
    years, hours = np.array(study.years), study.hours
    middle = years + study.months / 24
    devices = instance.candidate.devices
    box = instance.site.together if study.sold_in == "boxes" else devices
    unit_devices = max(box, devices) // devices * devices
    unit = unit_devices // devices
    gain_w = (1 + ends.pick(trends.performance_per_w, "technology", -1)) ** kind.years
    watts = kind.times / gain_w if kind.years else 1.0
    host_w = instance.host_w * devices * watts
    idle_w, full_w = instance.idle_w * watts + host_w, instance.full_w * watts + host_w
    pue = ends.pick(region.pue, "hall")
    usd_j, kg_j = _energy(region, trends, ends, middle)
    seconds = hours * 3600
    peak_w = (instance.limit_w * devices * watts + host_w) * pue
    hosting = ends.pick(region.hosting_usd_per_kw_month, "hall") / 1000 * study.months
    buy = _buy(kind, trends, ends, years) * unit_devices
    rent = _rent(kind, trends, ends, middle) * devices * hours
    lease = _rent(kind, trends, ends, years) * devices * hours * ends.pick(trends.reserved_share, "rental")
    embodied = kind.purchase.embodied_kg.value * kind.times**0.5 if kind.purchase else 0.0
    first = max(0, math.ceil((kind.since - study.start) * 12 / study.months - EPS))
    return {
        "device": kind.name, "region": region.region, "devices": devices, "unit": unit, "unit_devices": unit_devices,
        "first": first, "hz": _hz(study, instance, ends) * kind.times, "buy_usd": buy,
        "keep_usd": unit * idle_w * pue * seconds * usd_j, "hall_usd": unit * hosting * peak_w / pue,
        "run_usd": (full_w - idle_w) * pue * seconds * usd_j, "lease_usd": lease, "rent_usd": rent,
        "idle_kg": idle_w * pue * seconds * kg_j, "run_kg": (full_w - idle_w) * pue * seconds * kg_j,
        "embodied_kg": embodied * unit_devices, "peak_w": peak_w * unit, "idle_w": idle_w * pue * unit,
        "run_w": (full_w - idle_w) * pue,
    }  # fmt: skip


def _hz(study: GrowthStudy, instance: Instance, ends: Ends) -> Array:
    """Return the rate that an instance is loaded to; its ends are those of the cost model and of `use_share`."""
    side, share = ends.of("capacity"), study.use_share
    if side == 0:
        return instance.hz * share
    end = USE_RANGE[0] if side > 0 else USE_RANGE[1]
    scaled = min(share * end / DEFAULT_USE, 1.0)
    ratio = instance.hz_slow / np.maximum(instance.hz, 1e-300)
    return np.asarray(instance.hz * (ratio if side > 0 else 1 / np.maximum(ratio, 1e-3)) * scaled)


def _energy(region: Region, trends: Trends, ends: Ends, years: Array) -> tuple[Array, Array]:
    """Return (dollars, kg of CO2e) a joule of the hall's power."""
    price, grid = region.electricity[-1], region.grid[-1]
    rise = ends.pick(trends.electricity_rise, "electricity")
    fall = ends.pick(trends.grid_decline, "grid", -1)
    usd = ends.pick(price.usd_per_kwh, "electricity") * (1 + rise) ** (years - year_of("date", price.date))
    grams = ends.pick(grid.g_per_kwh, "grid") * (1 - fall) ** (years - year_of("date", grid.date))
    return usd / 3.6e6, grams / 1000 / 3.6e6


def _gain_usd(kind: Kind, trends: Trends, ends: Ends) -> float:
    """Return what a later device costs over what its like does."""
    if not kind.years:
        return 1.0
    return float(kind.times / (1 + ends.pick(trends.performance_per_usd, "technology", -1)) ** kind.years)


def _buy(kind: Kind, trends: Trends, ends: Ends, years: Array) -> Array:
    """Return what one device costs with its share of the box; infinite where no price is known."""
    book = kind.purchase
    if book is None:
        return np.full(len(years), np.inf)
    price = ends.pick(book.price_usd, "purchase") * _gain_usd(kind, trends, ends)
    since = max(year_of("date", book.date), kind.since)
    fall = ends.pick(trends.purchase_decline, "purchase", -1)
    return price * (1 - fall) ** (years - since) + ends.pick(book.server_usd, "purchase")


def _rent(kind: Kind, trends: Trends, ends: Ends, years: Array) -> Array:
    """Return what an hour of one device costs on demand; infinite where no price is known."""
    site = kind.instance.site
    price = site.usd_per_hour
    if not math.isfinite(price.value):
        return np.full(len(years), np.inf)
    side = ends.of("rental")
    now = price.value if side == 0 else price.hi if side > 0 else price.lo
    fall = ends.pick(trends.rental_decline, "rental", -1)
    own = site.price_date == "plan file"
    since = years[0] if own else max(year_of("date", site.price_date), kind.since)
    return np.asarray(now * _gain_usd(kind, trends, ends) * (1 - fall) ** (years - since))
