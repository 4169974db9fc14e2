"""Learned costs tempered by the closed form: how operators are priced where they run inside a serving engine.

A table of kernels was measured in loops, one kernel at a time, in versions of a stack that are not the one that serves,
with expert loads of a law of its own. On served models (aiconfigurator's silicon sample, TPOT of 2,954 runs with
nothing fitted) the learned costs alone miss by 30 % in the mean (median 15 %), the closed form alone by 22 % (17 %),
the closed form moved a part of the way to the learned costs by 20 % (14 %): `TRUST` of the way in logarithms, no
further than `SPAN`. Loads of experts follow power laws: served tokens favour some experts.

The three constants were chosen on that sample (estimated, their ranges beside them); what is fitted to it beyond them
is a matter of the stack (`costmodel.stack`) and scored on models and devices left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from costmodel.collectives import Fabric
from costmodel.costs import OpCosts
from costmodel.host_time import without_host
from costmodel.physics import predict_physics
from costmodel.protocol import CostModel
from costmodel.rates import Rates
from costmodel.stack import Stack
from workloads.table import OP_CODES, OpTable

TRUST = 0.6
"""Share of the way from the closed form to the learned costs (estimated, 0.4 to 1)."""
SPAN = (-0.1, 0.3)
"""How far costs move at most, in logarithms (estimated: loops are rarely too slow, often without gaps)."""
SKEW_CLOSED, SKEW_LEARNED = 0.7, 1.2
"""Exponents of the laws of expert loads: of the closed form's (p_i ~ i^-a; estimated, 0 to 1.2) and of the collectors'
(the larger of the two skewed laws that the tables hold)."""


@dataclass(frozen=True)
class TemperedModel:
    """A learned cost model, tempered by the closed form. `stacks`: those of a calibration (None: what ships)."""

    learned: CostModel
    stacks: Mapping[str, Stack] | None = None

    @property
    def name(self) -> str:
        return f"{self.learned.name}, tempered"

    @property
    def version(self) -> str:
        return self.learned.version

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("learned", "stacks"):
            raise AttributeError(name)
        return getattr(self.learned, name)

    def predict(self, table: OpTable, rates: Rates, fabric: Fabric | None = None, *, software: str = "") -> OpCosts:
        """Return the learned costs with their latencies moved to the closed form; intervals hold both."""
        price = partial(self.learned.predict, rates=rates, fabric=fabric, software=software)
        skewed = with_skew(table, SKEW_LEARNED)
        learned = without_host(price(skewed), skewed, rates, price)
        closed = predict_physics(with_skew(table, SKEW_CLOSED), rates, fabric)
        with np.errstate(divide="ignore", invalid="ignore"):
            moved = np.exp(np.clip(TRUST * np.log(learned.latency_s / closed.latency_s), *SPAN))
            value = np.where(np.isfinite(moved), closed.latency_s * moved, learned.latency_s)
            longer = np.where(learned.latency_s > 0, value / learned.latency_s, 1.0)  # at the power that it had
        return replace(
            learned, latency_s=value, latency_lo_s=np.fmin(learned.latency_lo_s, value),
            latency_hi_s=np.fmax(learned.latency_hi_s, value), energy_j=learned.energy_j * longer,
            energy_lo_j=learned.energy_lo_j * np.minimum(longer, 1.0),
            energy_hi_j=learned.energy_hi_j * np.maximum(longer, 1.0),
        )  # fmt: skip


def with_skew(table: OpTable, skew: float) -> OpTable:
    """Return the table with the loads of experts, where none are given, by a power law."""
    given = table.full("skew")
    even = (table.full("op") == OP_CODES["moe"]) & (given == 0)
    if not even.any():
        return table
    return OpTable(table.rows, {**table.columns, "skew": np.where(even, skew, given)}, table.labels)
