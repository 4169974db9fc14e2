"""All checks of the verification, in the order of the table."""

from __future__ import annotations

from functools import cache

from simulator.queues.verification import Check
from simulator.queues.verification_exact import exact_checks
from simulator.queues.verification_limits import limit_checks
from simulator.queues.verification_networks import network_checks
from simulator.queues.verification_published import published_checks
from simulator.queues.verification_stations import station_checks


@cache
def checks() -> tuple[Check, ...]:
    """Return every check."""
    return (*station_checks(), *limit_checks(), *network_checks(), *published_checks(), *exact_checks())


@cache
def named(name: str) -> Check:
    """Return the check of a name. Raises KeyError where there is none."""
    return {check.name: check for check in checks()}[name]
