"""Which machine meets which constraints, kept up to date as attributes of machines change."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from foundation.errors import BadValueError
from simulator.cluster.trace import AttributeChange, Constraint

MOST_CELLS = 400_000_000
"""Sets of constraints times machines: one byte each."""


class Allowed:
    """`table[s, m]`: machine m meets all constraints of set s. Row 0, no constraints, is always true.

    Raises:
        BadValueError: sets times machines is more than MOST_CELLS.
    """

    def __init__(self, sets: Sequence[Sequence[Constraint]], machines: int, changes: Sequence[AttributeChange]) -> None:
        if len(sets) * machines > MOST_CELLS:
            raise BadValueError(
                f"{len(sets):,} sets of constraints on {machines:,} machines are more than {MOST_CELLS:,} pairs; "
                "take a part of the trace."
            )
        self.sets = sets
        self._value: dict[tuple[str, int], str] = {}
        self._by_name: dict[str, list[int]] = {}
        for number, demands in enumerate(sets):
            for name in {demand.attribute for demand in demands}:
                self._by_name.setdefault(name, []).append(number)
        start = [all(demand.holds(None) for demand in demands) for demands in sets]
        self.table = np.repeat(np.array(start, dtype=bool)[:, None], machines, axis=1)
        self._changes = changes
        self._machines = machines

    def change(self, change: AttributeChange) -> None:
        """Let a machine's attribute change."""
        key = (change.name, change.machine)
        if change.value is None:
            self._value.pop(key, None)
        else:
            self._value[key] = change.value
        for number in self._by_name.get(change.name, ()):
            self.table[number, change.machine] = all(
                demand.holds(self._value.get((demand.attribute, change.machine))) for demand in self.sets[number]
            )

    def ever(self, number: int) -> npt.NDArray[np.bool_]:
        """Return the machines that may meet a set at some time (each of its constraints, perhaps not all at once)."""
        found = np.ones(self._machines, dtype=bool)
        for demand in self.sets[number]:
            if demand.holds(None):
                continue
            met = [c.machine for c in self._of(demand.attribute) if demand.holds(c.value)]
            here = np.zeros(self._machines, dtype=bool)
            here[met] = True
            found &= here
        return found

    def _of(self, name: str) -> list[AttributeChange]:
        if not hasattr(self, "_named"):
            self._named: dict[str, list[AttributeChange]] = {}
            for change in self._changes:
                self._named.setdefault(change.name, []).append(change)
        return self._named.get(name, [])
