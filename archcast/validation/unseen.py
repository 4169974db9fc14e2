"""Which rows an artefact may have been trained on, by its card: those are never scored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from costmodel.artefact import load_card
from workloads.measurements import MeasurementTable
from workloads.table import OPS, Array


@dataclass(frozen=True)
class Seen:
    """Families ('device/op') that a card lists as learned from, all their rows."""

    families: frozenset[str]

    @classmethod
    def of(cls, folder: str | Path) -> Seen:
        """Return what the card of an artefact lists. Raises BadFileError."""
        card = load_card(folder)
        return cls(frozenset((*card.groups, *(f"{device}/{op}" for op, _, device, _ in card.scope.kernels))))

    def unseen(self, tables: list[MeasurementTable]) -> tuple[list[MeasurementTable], int]:
        """Return the rows that cannot have been learned from, and how many others there are."""
        left_out, kept = 0, []
        for table in tables:
            new = ~self.mask(table)
            left_out += int((~new).sum())
            if new.any():
                kept.append(table.take(np.flatnonzero(new)))
        return kept, left_out

    def mask(self, table: MeasurementTable) -> Array:
        """Return True for every row that may have been learned from."""
        names = [f"{d}/{OPS[int(o)]}" for d, o in zip(table.device, table.table.full("op"), strict=True)]
        return np.isin(np.array(names, dtype=str), sorted(self.families))
