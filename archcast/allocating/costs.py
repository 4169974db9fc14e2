"""What every item costs by every option, with intervals and joint draws: from the models, or from a caller's table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from workloads.table import Array

NORMAL_95 = 1.6448536269514722
"""The 95 % quantile of the normal distribution: intervals of 90 % end there on both sides."""


@dataclass(frozen=True)
class Costs:
    """Of one request: `cost`, `lo`, `hi` have shape (items, options, quantities), NaN without an answer.

    Attributes:
        value: what a request is worth, (items, options). success: how often it succeeds, None: not said.
        count: requests, (items,).
        limits: of each request, (items, quantities), inf without one.
        reason: why an option is not there, (items, options). draw: n -> draws, (n, items, options, quantities).
        group: whose errors go together, by option.
    """

    items: tuple[str, ...]
    options: tuple[str, ...]
    quantities: tuple[str, ...]
    count: Array
    value: Array
    success: Array | None
    cost: Array
    lo: Array
    hi: Array
    limits: Array
    mask: Array
    reason: Array
    draw: Callable[[int], Array]
    versions: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def of(self, name: str) -> int:
        return self.quantities.index(name)


def two_sided(cost: Array, lo: Array, hi: Array, normal: Array) -> Array:
    """Return draws of two-sided log-normals whose 5 % and 95 % quantiles are `lo` and `hi`; `normal` broadcasts."""
    with np.errstate(divide="ignore", invalid="ignore"):
        up = np.nan_to_num(np.log(hi / cost) / NORMAL_95, posinf=0.0, neginf=0.0)
        down = np.nan_to_num(np.log(cost / np.maximum(lo, 1e-9 * cost)) / NORMAL_95, posinf=0.0, neginf=0.0)
    return np.asarray(cost * np.exp(np.where(normal > 0, up, down) * normal))
