"""Machines as bins of several resources: what is free, where something fits, and the first place where it does."""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt

from simulator.cluster.trace import UNLIMITED

Mask = npt.NDArray[np.bool_]
Request = tuple[int, int, int]
NO_MACHINE = -1


class Bins:
    """The state of all machines. `free` and `capacity` have shape (3, machines), int64; a machine that is away has -1.

    loose: weighted free share of each machine, the sum over resources, each as a share of the largest machine (float).
    load: its fullest resource, used over capacity (inf where it is away). Both are functions of the counts alone, so
    they never drift.
    """

    def __init__(self, machines: int, largest: tuple[int, int, int]) -> None:
        self.machines = machines
        self.free = np.full((3, machines), -1, dtype=np.int64)
        self.capacity = np.full((3, machines), -1, dtype=np.int64)
        self.up = np.zeros(machines, dtype=bool)
        self.loose = np.full(machines, -1.0)
        self.load = np.full(machines, np.inf)
        self.counted = tuple(r for r in range(3) if 0 < largest[r] < UNLIMITED)
        self.weights = tuple(1.0 / largest[r] if r in self.counted else 0.0 for r in range(3))

    def read_only(self) -> Bins:
        """Return bins that show these and refuse to be written to."""
        found = copy.copy(self)
        for name in ("free", "capacity", "up", "loose", "load"):
            shown = getattr(self, name).view()
            shown.flags.writeable = False
            setattr(found, name, shown)
        return found

    def fits(self, request: Request) -> Mask:
        """Return where the request has room now, shape (machines,)."""
        free = self.free
        found: Mask = free[0] >= request[0]
        found &= free[1] >= request[1]
        if request[2] or not self.machines:
            found &= free[2] >= request[2]
        return found

    def has_room(self, machine: int, request: Request) -> bool:
        free = self.free
        return bool(
            free[0, machine] >= request[0] and free[1, machine] >= request[1] and free[2, machine] >= request[2]
        )

    def take(self, machine: int, request: Request) -> None:
        self._add(machine, -request[0], -request[1], -request[2])

    def give(self, machine: int, request: Request) -> None:
        self._add(machine, *request)

    def set_capacity(self, machine: int, capacity: Request, used: Request) -> None:
        """Let a machine be there with a capacity of which `used` is taken."""
        self.up[machine] = True
        for r in range(3):
            self.capacity[r, machine] = capacity[r]
            self.free[r, machine] = capacity[r] - used[r]
        self._add(machine, 0, 0, 0)

    def remove(self, machine: int) -> None:
        """Let a machine be away: nothing fits there (a request is at least 0)."""
        self.up[machine] = False
        self.capacity[:, machine] = -1
        self.free[:, machine] = -1
        self.loose[machine], self.load[machine] = -1.0, np.inf

    def _add(self, machine: int, cpu: int, memory: int, disk: int) -> None:
        column = self.free[:, machine]
        free = column.tolist()
        free[0] += cpu
        free[1] += memory
        free[2] += disk
        column[:] = free
        weights, loose, load = self.weights, 0.0, 0.0
        capacity = self.capacity[:, machine].tolist()
        for r in self.counted:
            loose += weights[r] * free[r]
            if capacity[r]:
                load = max(load, 1.0 - free[r] / capacity[r])
        self.loose[machine], self.load[machine] = loose, load
