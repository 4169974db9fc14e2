"""Kernels that wait for the host: what a loop over one kernel shows, and a captured network does not.

Tables are measured in loops that a host starts. Where it needs longer for a call than the device (block-scaled fp8 and
4-bit experts of some stacks: 60 to 270 us), the loop shows the host's time, the same for 1 token as for 100. In
a network the device works from a queue or a captured graph. A kernel whose time for a single token is both long and far
above the closed form's is such a one; rows that take hardly longer keep the closed form.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from costmodel.costs import NUMERIC, SOURCES, OpCosts
from costmodel.physics import predict_physics
from costmodel.rates import Rates
from workloads.table import OP_CODES, OpTable

LEARNED, EXTRAPOLATED = SOURCES.index("learned"), SOURCES.index("extrapolated")
LONG_S = 20e-6
"""A call that takes longer than this for one token may be the host's (estimated, 10e-6 to 40e-6)."""
FAR = 3.0
"""Times the closed form's for one token, beyond which it is (estimated, 2 to 5)."""
FLAT = 1.5
"""Up to so many times its time for one token a row shows the host, not the device (estimated, 1.2 to 2)."""
SIZES = {OP_CODES["gemm"]: "m", OP_CODES["moe"]: "tokens"}


def without_host(
    costs: OpCosts, table: OpTable, rates: Rates, price: Callable[[OpTable], OpCosts]
) -> OpCosts:  # fmt: skip
    """Return costs in which learned rows that show the host's time have the closed form's, marked extrapolated.

    Args:
        price: what the cost model says of other rows, in the same stack.
    """
    ops = table.full("op")
    rows = np.flatnonzero((costs.source == LEARNED) & (costs.latency_s > LONG_S) & np.isin(ops, list(SIZES)))
    if not len(rows):
        return costs
    mine = table.take(rows)
    one = {name: np.where(ops[rows] == op, 1.0, mine.full(name)) for op, name in SIZES.items()}
    single = OpTable(mine.rows, {**mine.columns, **one})
    alone, closed = price(single).latency_s, predict_physics(single, rates).latency_s
    hosts = (alone > LONG_S) & (alone > FAR * closed) & (costs.latency_s[rows] < FLAT * alone)
    rows = rows[hosts]
    if not len(rows):
        return costs
    physics = predict_physics(table.take(rows), rates)
    columns = {name: getattr(costs, name).copy() for name in (*NUMERIC, "source")}
    for name in NUMERIC:
        columns[name][rows] = getattr(physics, name)
    columns["latency_hi_s"][rows] = np.maximum(physics.latency_hi_s, costs.latency_s[rows])
    columns["source"][rows] = EXTRAPOLATED
    return replace(costs, **columns, interval_kind="propagated", shared_log_error=1.0)
