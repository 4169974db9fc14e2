"""`BookSpec`: what devices cost to buy and rent over time, electricity and carbon by region, what later devices gain.

Three books of the catalogue, one file each: `purchase-prices`, `regions` and `trends`. A user's own file takes the
place of one. Shares and changes a year are fractions (0.1 is 10 %).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import field_validator, model_validator

from foundation.errors import UnknownNameError
from hardware_specs.figures import Figure, Sourced, Spec, fault
from hardware_specs.schema import date_text
from hardware_specs.units import Quantity

PURCHASES, REGIONS, TRENDS = "purchase-prices", "regions", "trends"
_YEARLY = Quantity("", -0.9, 5.0)
_SHARE = Quantity("", 0.0, 1.0)


class _Dated(Spec):
    """Something that held on a day (YYYY, YYYY-MM or YYYY-MM-DD)."""

    date: str

    @field_validator("date")
    @classmethod
    def _is_date(cls, text: str) -> str:
        return date_text(text)


class Purchase(_Dated):
    """What one device costs to buy, its share of the box and network, and the CO2e of making it (kg)."""

    device: str
    price_usd: Annotated[Figure, Quantity("USD", 1, 1e7)]
    server_usd: Annotated[Figure, Quantity("USD", 0, 1e7)]
    embodied_kg: Annotated[Figure, Quantity("", 0, 1e5)]


class Electricity(_Dated):
    """What a kilowatt-hour costs a large customer."""

    usd_per_kwh: Annotated[Figure, Quantity("", 1e-4, 10)]


class Grid(_Dated):
    """Grams of CO2e that a kilowatt-hour of the grid emits, mean of a year."""

    g_per_kwh: Annotated[Figure, Quantity("", 0, 3000)]


class Region(Spec):
    """A place for devices. Electricity and grid by date, oldest first; hosting is rent of the hall by power."""

    region: str
    electricity: tuple[Electricity, ...]
    grid: tuple[Grid, ...]
    pue: Annotated[Figure, Quantity("", 1, 5)]
    hosting_usd_per_kw_month: Annotated[Figure, Quantity("", 0, 1e4)]

    @model_validator(mode="after")
    def _dates_rise(self) -> Region:
        for name in ("electricity", "grid"):
            dates = [one.date for one in getattr(self, name)]
            if not dates or dates != sorted(dates):
                raise fault(f"{name} needs at least one entry, oldest first.", (name,))
        return self


class Trends(Spec):
    """Changes a year. Declines: what the same thing costs less; gains: what new devices do more."""

    purchase_decline: Annotated[Figure, _YEARLY]
    rental_decline: Annotated[Figure, _YEARLY]
    resale_decline: Annotated[Figure, _YEARLY]
    resale_first: Annotated[Figure, _SHARE]
    reserved_share: Annotated[Figure, _SHARE]
    maintenance: Annotated[Figure, _SHARE]
    electricity_rise: Annotated[Figure, _YEARLY]
    grid_decline: Annotated[Figure, _YEARLY]
    performance_per_usd: Annotated[Figure, _YEARLY]
    performance_per_w: Annotated[Figure, _YEARLY]


class BookSpec(Sourced):
    """One book: any of purchases, regions and trends."""

    purchases: tuple[Purchase, ...] = ()
    regions: tuple[Region, ...] = ()
    trends: Trends | None = None

    @model_validator(mode="after")
    def _once(self) -> BookSpec:
        for field, names in (
            ("purchases", [(one.device, one.date) for one in self.purchases]),
            ("regions", [one.region for one in self.regions]),
        ):
            if len(set(names)) != len(names):
                raise fault("an entry stands twice.", (field,))
        return self

    def region(self, name: str) -> Region:
        """Return a region. Raises UnknownNameError with the nearest."""
        for one in self.regions:
            if one.region == name:
                return one
        raise UnknownNameError("region", name, [one.region for one in self.regions], "docs/books.md lists them.")

    def purchase(self, device: str) -> Purchase | None:
        """Return the latest price of a device, None where the book has none."""
        found = [one for one in self.purchases if one.device == device]
        return max(found, key=lambda one: one.date, default=None)


@lru_cache(maxsize=64)
def load_book(name_or_path: str | Path) -> BookSpec:
    """Return a book of the catalogue by name, or the one of a YAML file. Raises UnknownNameError or BadFileError."""
    from hardware_specs.catalogue import compiled_entries, is_path

    if is_path(name_or_path):
        from hardware_specs.reader import read_file

        return read_file(name_or_path, BookSpec)
    books = compiled_entries("books")
    if str(name_or_path) not in books:
        raise UnknownNameError("book", str(name_or_path), books, "A path to a YAML file works too.")
    return BookSpec.model_validate(books[str(name_or_path)])
