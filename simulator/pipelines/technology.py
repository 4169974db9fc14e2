"""Technology scaling: how much less power the same work takes in a later year.

Power of a result is divided by exp(growth x (year - reference year)), growth 0.18717361 a year from 2022: the fit of
transistor density in system_flow (models.py; IEDM 2022). The published study takes energy per operation to fall as
density rises, which is optimistic; so the growth has an estimated range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.pipelines.rates_ranges import ONE, Range

if TYPE_CHECKING:
    from hardware_specs.pipeline_parts import TechnologySpec

ESTIMATED_GROWTH = (0.13, 0.24)
"""Range of the growth a year where a file gives the published value without one (estimated)."""

FIRST_YEAR, LAST_YEAR = 2022, 2032
"""Years for which the published study uses its fit; outside, the scaling is an extrapolation."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """What power is divided by, and what to know about it."""

    factor: Range
    warnings: tuple[str, ...] = ()


def technology_scaling(technology: TechnologySpec, year: int | None) -> Scaling:
    """Return the factor that power is divided by in `year`; None means the year of the given figures."""
    if year is None:
        return Scaling(ONE)
    growth = technology.growth_per_year
    lo, hi = growth.lo, growth.hi
    if lo == hi:  # a file that quotes the published value still does not know the future
        lo, hi = min(growth.value, ESTIMATED_GROWTH[0]), max(growth.value, ESTIMATED_GROWTH[1])
    years = year - technology.reference_year
    value, *ends = (math.exp(rate * years) for rate in (growth.value, lo, hi))
    factor = Range(value, min(ends), max(ends))
    if FIRST_YEAR <= year <= LAST_YEAR:
        return Scaling(factor)
    return Scaling(
        factor,
        (
            f"Power is scaled to {year} by a factor of {value:.3g}, but the fit is used from {FIRST_YEAR} to "
            f"{LAST_YEAR} only: beyond, this is an extrapolation; leave out year for the technology of the figures.",
        ),
    )
