"""The queue: tasks that wait for room, the most important first, then in the order of submission."""

from __future__ import annotations

import numpy as np

from simulator.cluster.bins import Request

_NEVER = np.iinfo(np.int64).max
MOST_PRIORITY = 2**20
_ROWS = 2**40


def key_of(priority: int, row: int) -> int:
    """Return the place in the queue: smaller goes first."""
    return (MOST_PRIORITY - priority) * _ROWS + row


class WaitingRoom:
    """Slots of tasks as columns, so that who fits into a machine is one comparison of arrays.

    `only` is the one machine that a task may go to (-1: any); `constraint` its row in the table of who may run where.
    An empty slot asks for more than any machine has.
    """

    def __init__(self, slots: int = 64) -> None:
        self._free_slots = list(range(slots - 1, -1, -1))
        self._slot: dict[int, int] = {}
        self.columns = np.zeros((7, slots), dtype=np.int64)
        self.columns[:4] = _NEVER
        self._top = 0  # slots at and beyond are empty

    def __len__(self) -> int:
        return len(self._slot)

    def __contains__(self, attempt: int) -> bool:
        return attempt in self._slot

    def add(self, attempt: int, key: int, request: Request, constraint: int, only: int) -> None:
        if not self._free_slots:
            self._grow()
        slot = self._free_slots.pop()
        self._slot[attempt] = slot
        self.columns[:, slot] = (*request, key, attempt, constraint, only)
        self._top = max(self._top, slot + 1)

    def remove(self, attempt: int) -> None:
        slot = self._slot.pop(attempt)
        self.columns[:4, slot] = _NEVER
        self._free_slots.append(slot)
        if not self._slot:
            self._top = 0
            self._free_slots = list(range(self.columns.shape[1] - 1, -1, -1))

    def head(self) -> int:
        """Return who is first; the room must not be empty."""
        return int(self.columns[4, int(self.columns[3, : self._top].argmin())])

    def next_fitting(
        self, machine: int, free: Request, allowed: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], after: int
    ) -> tuple[int, int] | None:  # fmt: skip
        """Return (key, attempt) of who is first among those that fit into a machine with so much free. None: nobody.

        Args:
            allowed: by constraint, whether the machine meets it. after: only keys above it count.
        """
        part = self.columns[:, : self._top]
        found = part[0] <= free[0]
        found &= part[1] <= free[1]
        found &= part[2] <= free[2]
        found &= part[3] > after
        slots = np.flatnonzero(found)
        if not len(slots):
            return None
        only = part[6, slots]
        slots = slots[allowed[part[5, slots]] & ((only < 0) | (only == machine))]
        if not len(slots):
            return None
        slot = slots[int(part[3, slots].argmin())]
        return int(part[3, slot]), int(part[4, slot])

    def _grow(self) -> None:
        slots = self.columns.shape[1]
        more = np.zeros_like(self.columns)
        more[:4] = _NEVER
        self.columns = np.concatenate([self.columns, more], axis=1)
        self._free_slots = list(range(2 * slots - 1, slots - 1, -1))
