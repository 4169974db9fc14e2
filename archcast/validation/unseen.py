"""Which rows an artefact may have been trained on, by its card: those are never scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.artefact import Card, load_card
from costmodel.calibration.rows import group_hash
from costmodel.calibration.split import HELD_OUT, split
from costmodel.features import GROUP_OF, GROUPS
from foundation.errors import BadFileError
from workloads.measurements import MeasurementTable
from workloads.table import OPS, Array

OP_GROUP: Array = np.array(GROUP_OF, dtype=object)
"""The group of operators of each operator's code: shapes are split for a whole group at once."""


@dataclass(frozen=True)
class Seen:
    """Families ('device/op') that a card lists as learned from, and the shape groups of each group of operators that it
    lists as held out (from training and from intervals); `counts` and `seed` reproduce those that it does not list."""

    families: frozenset[str]
    held_out: Mapping[str, frozenset[int]]
    counts: Mapping[str, int]
    seed: int

    @classmethod
    def of(cls, folder: str | Path) -> Seen:
        """Return what the card of an artefact lists. Raises BadFileError."""
        card = load_card(folder)
        try:
            return cls.from_card(card)
        except (TypeError, ValueError, AttributeError):
            raise BadFileError(folder, "the card's list of held-out groups cannot be read.") from None

    @classmethod
    def from_card(cls, card: Card) -> Seen:
        """Return what a card lists; raises TypeError, ValueError or AttributeError where it is garbled."""
        scope = {f"{device}/{op}" for op, _, device, _ in card.scope.kernels}
        families = frozenset((*card.groups, *scope, *card.transfer.adapted))
        given: Any = card.settings.get("held_out", {})
        held = {str(group): frozenset(int(word, 16) for word in words) for group, words in given.items()}
        counts = {name: sum(parts.values()) for name, parts in card.groups.items()}
        return cls(families, held, counts, int(card.settings.get("seed", 0)))

    def unseen(self, tables: list[MeasurementTable]) -> tuple[list[MeasurementTable], int]:
        """Return the rows that cannot have been learned from, and how many others there are."""
        held = {**self._reproduced(tables), **self.held_out}
        left_out, kept = 0, []
        for table in tables:
            new = ~self.mask(table, held)
            left_out += int((~new).sum())
            if new.any():
                kept.append(table.take(np.flatnonzero(new)))
        return kept, left_out

    def mask(self, table: MeasurementTable, held: Mapping[str, frozenset[int]]) -> Array:
        """Return True for every row that may have been learned from: of a known family, and of no held-out group."""
        seen = np.isin(_families(table), sorted(self.families))
        if not held:
            return np.asarray(seen)
        groups, kinds = group_hash(table.table), OP_GROUP[table.table.full("op").astype(int)]
        for kind, hashes in held.items():
            seen &= ~((kinds == kind) & np.isin(groups, np.array(sorted(hashes), dtype=np.uint64)))
        return np.asarray(seen)

    def _reproduced(self, tables: Sequence[MeasurementTable]) -> dict[str, frozenset[int]]:
        """Return the groups that the split of calibration holds out, where the tables hold just the groups it had.

        The split orders the groups of each family by a hash and the seed; with all of them here it comes out the same.
        """
        found: dict[str, frozenset[int]] = {}
        for kind, ops in GROUPS.items():
            known = {name: count for name, count in self.counts.items() if name.rsplit("/", 1)[1] in ops}
            parts = [(group_hash(t.table), _families(t)) for t in tables]
            if not known or not parts:
                continue
            group, family = (np.concatenate(columns) for columns in zip(*parts, strict=True))
            mine = np.isin(family, sorted(known))
            here = {name: len(np.unique(group[family == name])) for name in known}
            if here == known:
                part = split(group[mine], family[mine], self.seed)
                found[kind] = frozenset(int(g) for g in np.unique(group[mine][part == HELD_OUT]))
        return found


def _families(table: MeasurementTable) -> Array:
    names = [f"{d}/{OPS[int(o)]}" for d, o in zip(table.device, table.table.full("op"), strict=True)]
    return np.array(names, dtype=str)
