"""The allocator's verbs over HTTP: a JSON object with the arguments of each function of `archcast.oracle`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from archcast.service.settings import Limits

VERBS = ("cost_table", "curve", "marginal", "max_within", "iso", "break_even", "cost_of_pass", "scenarios",
         "sensitivities")  # fmt: skip


def oracle_routes(limits: Limits) -> dict[str, Callable[[bytes, Mapping[str, str]], Any]]:
    """Return route -> what answers it, for every verb."""
    return {}
