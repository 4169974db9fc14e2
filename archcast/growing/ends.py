"""Which end of every figure's range a plan is made with: most likely, or the cheap or dear end of some groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hardware_specs.figures import Figure

GROUPS = {
    "purchase": "purchase prices", "rental": "rental prices", "electricity": "electricity prices",
    "hall": "hall and cooling", "grid": "carbon of the grid", "capacity": "what a device serves",
    "technology": "gains of later devices",
}  # fmt: skip
"""Figures that are wrong together, and their names."""


@dataclass(frozen=True)
class Ends:
    """For each group -1 (the cheap end), 0 or 1 (the dear end)."""

    by_group: Mapping[str, int] = field(default_factory=dict)

    def of(self, group: str) -> int:
        return self.by_group.get(group, 0)

    def pick(self, figure: Figure, group: str, dearer: int = 1) -> float:
        """Return a figure's value at the end of its group; `dearer` is -1 where a larger figure is cheaper."""
        side = self.of(group) * dearer
        return figure.value if side == 0 else figure.hi if side > 0 else figure.lo
