"""Operators as they run in a network: started from a queue, with weights that come from memory."""

from __future__ import annotations

import numpy as np

from costmodel.cold import from_memory
from costmodel.collectives import Fabric
from costmodel.costs import OpCosts
from costmodel.host_time import without_host
from costmodel.protocol import CostModel
from costmodel.rates import Rates
from foundation.errors import UnsupportedError
from foundation.formats import FORMATS
from workloads.table import OPS, OpTable


def costs_in_network(
    cost_model: CostModel, table: OpTable, rates: Rates, fabric: Fabric | None, software: str, weights_bytes: float
) -> OpCosts:  # fmt: skip
    """Return the costs of operators of a network with `weights_bytes` on its fullest device.

    Raises:
        UnsupportedError: an operator that no unit of the device can compute.
    """
    return from_memory(costs_of_queue(cost_model, table, rates, fabric, software), table, rates, weights_bytes)


def costs_of_queue(
    cost_model: CostModel, table: OpTable, rates: Rates, fabric: Fabric | None, software: str
) -> OpCosts:  # fmt: skip
    """Return the costs of operators that start from a queue, whatever else the network holds.

    Raises:
        UnsupportedError: an operator that no unit of the device can compute.
    """

    def price(rows: OpTable) -> OpCosts:
        return cost_model.predict(rows, rates, fabric, software=software)

    costs = price(table)
    require_times(costs, table, rates)
    return without_host(costs, table, rates, price)


def require_times(costs: OpCosts, table: OpTable, rates: Rates) -> None:
    """Refuse an operator that no unit of the device can compute, not even widened.

    Raises:
        UnsupportedError: names the operator and its format.
    """
    unpriced = np.isnan(np.reshape(costs.latency_s, (table.rows, -1))).any(axis=1)
    if unpriced.any():
        row = int(np.argmax(unpriced))
        name = table.labels[row] if table.labels else OPS[int(table.full("op")[row])]
        dtype = list(FORMATS)[int(table.full("dtype")[row])]
        raise UnsupportedError(f"{rates.device} has no unit that can compute the operator '{name}' in {dtype}.")
