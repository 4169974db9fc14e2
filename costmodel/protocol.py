"""What a cost model is, and the one that needs no measurements."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from costmodel.collectives import Fabric
from costmodel.costs import OpCosts
from costmodel.physics import predict_physics
from costmodel.rates import Rates
from workloads.table import OpTable

SHIPPED = Path(__file__).parent / "shipped"
"""The artefact that comes with the package (docs/shipped.md)."""


class CostModel(Protocol):
    """Anything that prices operators. `name` and `version` are printed with every answer."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def predict(self, table: OpTable, rates: Rates, fabric: Fabric | None = None, *, software: str = "") -> OpCosts:
        """Return the cost of one instance of every row of `table` on one device."""
        ...


@dataclass(frozen=True)
class PhysicsModel:
    """The closed form alone; intervals are propagated from the ranges of the device's figures."""

    name: str = "physics"
    version: str = "1"

    def predict(self, table: OpTable, rates: Rates, fabric: Fabric | None = None, *, software: str = "") -> OpCosts:
        return predict_physics(table, rates, fabric)
