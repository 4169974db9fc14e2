"""`simulate`: a trace served by a controller on a channel, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from simulator.dram import kernel
from simulator.dram.configuration import Configuration
from simulator.dram.device import DramDevice
from simulator.dram.kernel import Machine
from simulator.dram.power import Energy, energy_of
from simulator.dram.traces import Trace
from simulator.engine import InvariantError
from workloads.table import Array


@dataclass(frozen=True)
class Commands:
    """What was issued: cycle, kind (a place in `kernel.COMMANDS`), bank and row (-1 where it is for all)."""

    cycle: Array
    kind: Array
    bank: Array
    row: Array

    def __len__(self) -> int:
        return len(self.cycle)

    def count(self, *kinds: int) -> int:
        """Return how many commands of these kinds there are."""
        return int(np.isin(self.kind, kinds).sum())


@dataclass(frozen=True)
class DramRun:
    """One run. `final`: cycle in which each request has its answer."""

    device: DramDevice
    configuration: Configuration
    trace: Trace
    final: Array
    commands: Commands

    @property
    def latency_s(self) -> float:
        """Return the mean time from arrival to answer."""
        return float((self.final - self.trace.arrival).mean()) * self.device.cycle_s

    @property
    def cycles(self) -> int:
        """Return the cycles from 0 to the last answer."""
        return int(self.final.max())

    @property
    def duration_s(self) -> float:
        return self.cycles * self.device.cycle_s

    @property
    def bandwidth_bytes_per_s(self) -> float:
        return len(self.trace) * self.device.access_bytes / self.duration_s

    @property
    def hit_share(self) -> float:
        """Return the share of requests that found their row open: those for which no row was activated."""
        columns = self.commands.count(kernel.RD, kernel.RDA, kernel.WR, kernel.WRA)
        return 1.0 - min(self.commands.count(kernel.ACT), columns) / columns

    @cached_property
    def energy(self) -> Energy:
        return energy_of(self.device, self.commands.cycle, self.commands.kind, self.commands.bank, self.cycles)

    @property
    def energy_j(self) -> float:
        return self.energy.total_j

    @property
    def power_w(self) -> float:
        return self.energy_j / self.duration_s


def simulate(device: DramDevice, configuration: Configuration, trace: Trace, *, compiled: bool = False) -> DramRun:
    """Serve a trace. `compiled`: with numba, which takes half a minute once a machine; the commands are the same.

    Raises:
        UnsupportedError: numba is asked for and not installed.
        InvariantError: a request was not answered (a fault of the simulator).
    """
    machine = _machine(device, configuration, trace, arrays=compiled)
    if compiled:
        from simulator.dram.kernel_compiled import compiled_serve

        compiled_serve()(machine)
    else:
        kernel.serve(machine)
    final = np.asarray(machine.final, dtype=np.int64)
    issued = int(machine.v[kernel.ISSUED])
    if (final < trace.arrival).any():
        raise InvariantError("a request of a DRAM trace was not answered, or before it came.")
    columns = (np.asarray(one[:issued], dtype=np.int64) for one in
               (machine.cmd_cycle, machine.cmd_kind, machine.cmd_bank, machine.cmd_row))  # fmt: skip
    return DramRun(device, configuration, trace, final, Commands(*columns))


def _machine(device: DramDevice, configuration: Configuration, trace: Trace, *, arrays: bool) -> Machine:
    """Return the machine before its first cycle."""
    bank, row = trace.placed(device)
    count, threads = len(trace), int(trace.thread.max()) + 1
    follower, heads = _followers(trace.thread, threads)
    slow = device.timing.rc + device.timing.wl + device.timing.wr + device.timing.rfc
    refreshes = (int(trace.arrival[-1]) + count * slow) // device.timing.refi + 32
    # At most three commands a request and a rest beside; a refresh may close as many rows as there are banks.
    commands = (
        6 * count + (device.banks + 8) * min(refreshes, int(trace.arrival[-1]) // device.timing.refi + count) + 64
    )

    def column(values: Any, size: int = 0) -> Any:
        found = np.full(size, values, dtype=np.int64) if size else np.asarray(values, dtype=np.int64)
        return found if arrays else found.tolist()

    banks, groups = device.banks, device.groups
    return Machine(
        device.timing, configuration.knobs, groups, column(0, kernel.NUMBERS), column(trace.arrival), column(bank),
        column(row), column(trace.write), column(trace.thread), column(follower), column(-1, count), column(-1, count),
        column(-1, count), column(-1, count), column(-1, count), column(-1, banks), column(0, banks), column(0, banks),
        column(0, banks), column(-1, banks), column(-1, banks), column(0, banks), column(-2, banks), column(0, groups),
        column(0, groups), column(0, groups), column(0, 4), column(heads), column(0, threads), column(heads),
        column(0, threads), column(0, count), column(0, count), column(0, commands), column(0, commands),
        column(-1, commands), column(-1, commands),
    )  # fmt: skip


def _followers(thread: Array, threads: int) -> tuple[Array, list[int]]:
    """Return the next request of the same thread of each (-1: none), and the first of each thread."""
    follower = np.full(len(thread), -1, dtype=np.int64)
    heads = []
    for one in range(threads):
        mine = np.flatnonzero(thread == one)
        heads.append(int(mine[0]) if len(mine) else -1)
        for a, b in pairwise(mine):
            follower[a] = b
    return follower, heads
