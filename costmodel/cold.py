"""Weights that come from memory: what a loop over one kernel does not show, and a network does.

Kernels are measured in loops, in which operands that fit the last cache stay there: on devices with 50 to 128 MB of it
most layers of a sharded model do. In a network every layer displaces the one before, so once all its weights are larger
than that cache, each operator reads its own from memory anew (and its part of the KV cache).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from costmodel.costs import SOURCES, OpCosts
from costmodel.rates import Rates
from workloads.table import OpTable
from workloads.work import count_work

PHYSICS = SOURCES.index("physics")
"""The closed form reads stored operands from memory as it is."""


def from_memory(costs: OpCosts, table: OpTable, rates: Rates, weights_bytes: float) -> OpCosts:
    """Return costs in which no operator is faster than its stored operands come from memory.

    Args:
        weights_bytes: of the whole network on one device; where the last cache holds them all, nothing changes.
    """
    physics = costs.source == PHYSICS
    if weights_bytes <= rates.cache_bytes or physics.all() or not rates.dram_bytes_per_s < np.inf:
        return costs
    stored = np.where(physics, 0.0, np.broadcast_to(count_work(table).weight_bytes, (table.rows,)))
    fastest = stored * rates.inverses.dram_byte_s
    usual = fastest * rates.inverses.memory[0][table.full("op")]
    value = np.maximum(costs.latency_s, usual)
    added = value - costs.latency_s
    lo = np.minimum(np.maximum(costs.latency_lo_s, fastest), value)
    hi = np.maximum(costs.latency_hi_s, value * (costs.latency_hi_s / costs.latency_s))
    idle, idle_lo, idle_hi = rates.idle_w
    return replace(
        costs, latency_s=value, latency_lo_s=lo, latency_hi_s=hi, energy_j=costs.energy_j + idle * added,
        energy_lo_j=costs.energy_lo_j + idle_lo * added, energy_hi_j=costs.energy_hi_j + idle_hi * added,
    )  # fmt: skip
