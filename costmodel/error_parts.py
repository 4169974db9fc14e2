"""What the error of a workload's cost is made of: a part that cells of one device share, by operator family, and rest.

`compose` adds the deviations of rows: those of the shared part of the log error add up (S), those of the rest add in
quadrature (Q): deviation^2 = shared S^2 + (1 - shared) Q^2. Two workloads on one device and software have the first
term in common, as far as they spend their error in the same operator families.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costmodel.costs import OpCosts
from costmodel.estimate import owners_of
from workloads.graph import Workload
from workloads.lowering import Lowered
from workloads.table import OPS, Array


@dataclass(frozen=True)
class ErrorParts:
    """`shared`: share of the variance that is in common, shape (requests,); `deviation`: S by operator family,
    shape (requests, families), in the unit of the quantity (the mean of both sides)."""

    shared: Array
    deviation: Array


def error_parts(workload: Workload, lowered: Lowered, costs: OpCosts) -> dict[str, ErrorParts]:
    """Return the parts of the error of latency_s and energy_j."""
    count = lowered.table.full("count")
    owner, everyone = owners_of(workload, lowered)
    family = lowered.table.full("op").astype(np.intp)
    found = {}
    for name, lo, hi in (
        ("latency_s", costs.latency_lo_s, costs.latency_hi_s), ("energy_j", costs.energy_lo_j, costs.energy_hi_j)
    ):  # fmt: skip
        deviation = np.broadcast_to(0.5 * (hi - lo) * count, owner.shape)
        by_family = _by_family(deviation, owner, everyone, family, workload.requests)
        found[name] = ErrorParts(_shared(deviation, by_family, owner, everyone, costs.shared_log_error), by_family)
    return found


def _by_family(deviation: Array, owner: Array, everyone: Array, family: Array, requests: int) -> Array:
    """Return sums of deviations, shape (requests, families)."""
    own = np.where(everyone, 0.0, deviation) if everyone.any() else deviation
    sums = np.bincount(owner * len(OPS) + family, weights=own, minlength=requests * len(OPS))
    found = np.asarray(sums.reshape(requests, len(OPS)))
    if everyone.any():
        found = found + np.bincount(family[everyone], weights=deviation[everyone], minlength=len(OPS))
    return found


def _shared(deviation: Array, by_family: Array, owner: Array, everyone: Array, shared: float) -> Array:
    """Return the share of the variance that is in common, shape (requests,)."""
    if shared >= 1:
        return np.ones(len(by_family))
    square = np.where(everyone, 0.0, deviation**2)
    own = np.bincount(owner, weights=square, minlength=len(by_family)) + (deviation[everyone] ** 2).sum()
    together = shared * by_family.sum(axis=1) ** 2
    whole = together + (1 - shared) * own
    return np.asarray(np.divide(together, whole, out=np.ones(len(whole)), where=whole > 0))
