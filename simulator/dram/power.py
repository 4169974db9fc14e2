"""Energy of a command trace from the currents of a data sheet (Micron TN-40-07; Chandrasekar et al., DRAMPower, 2011).

Above the background, an activate with its precharge takes VDD (IDD0 tRC - IDD3N tRAS - IDD2N (tRC - tRAS)), a burst
VDD (IDD4 - IDD3N) tBURST, a refresh VDD (IDD5 - IDD3N) tRFC; the background is IDD3N while a row is open, IDD2N while
none is, IDD3P and IDD2P powered down. What drives the bus and its termination is not counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulator.dram import kernel
from simulator.dram.device import DramDevice
from workloads.table import Array


@dataclass(frozen=True)
class Energy:
    """Joules of all chips by what they were for."""

    activate_j: float
    read_j: float
    write_j: float
    refresh_j: float
    background_j: float

    @property
    def total_j(self) -> float:
        return self.activate_j + self.read_j + self.write_j + self.refresh_j + self.background_j


@dataclass(frozen=True)
class Costs:
    """Joules of one command, and watts of the background, of all chips."""

    activate_j: float
    read_j: float
    write_j: float
    refresh_j: float
    active_w: float
    precharged_w: float
    active_down_w: float
    precharged_down_w: float

    @staticmethod
    def of(device: DramDevice) -> Costs:
        """Return what commands cost on a channel; nothing is below zero."""
        k, cycle = device.timing, device.cycle_s
        sums = np.zeros(8)
        for rail in device.rails:
            above = [
                (rail.idd0 * k.rc - rail.idd3n * k.ras - rail.idd2n * (k.rc - k.ras)) * cycle,
                (rail.idd4r - rail.idd3n) * k.burst * cycle, (rail.idd4w - rail.idd3n) * k.burst * cycle,
                (rail.idd5 - rail.idd3n) * k.rfc * cycle, rail.idd3n, rail.idd2n, rail.idd3p, rail.idd2p,
            ]  # fmt: skip
            sums += device.chips * rail.volt * np.maximum(above, 0.0)
        return Costs(*map(float, sums))


def energy_of(device: DramDevice, cycle: Array, kind: Array, bank: Array, cycles: int) -> Energy:
    """Return the energy of the commands issued in so many cycles."""
    costs = Costs.of(device)
    count = np.bincount(kind, minlength=len(kernel.COMMANDS))
    starts, ends = open_spans(device, cycle, kind, bank, cycles)
    active = union_length(starts, ends)
    down = [np.minimum(cycle[kind == one], cycles) for one in (kernel.PDE, kernel.PDX)]
    asleep = int((down[1] - down[0]).sum())
    opened = np.searchsorted(np.sort(starts), down[0], side="right") - np.searchsorted(
        np.sort(ends), down[0], side="right"
    )
    asleep_active = int((down[1] - down[0])[opened > 0].sum())
    second = device.cycle_s
    background = (
        costs.active_w * (active - asleep_active) + costs.active_down_w * asleep_active
        + costs.precharged_down_w * (asleep - asleep_active)
        + costs.precharged_w * (cycles - active - (asleep - asleep_active))
    ) * second  # fmt: skip
    return Energy(
        float(count[kernel.ACT] * costs.activate_j), float((count[kernel.RD] + count[kernel.RDA]) * costs.read_j),
        float((count[kernel.WR] + count[kernel.WRA]) * costs.write_j), float(count[kernel.REF] * costs.refresh_j),
        float(background),
    )  # fmt: skip


def open_spans(device: DramDevice, cycle: Array, kind: Array, bank: Array, cycles: int) -> tuple[Array, Array]:
    """Return from when until when each activated row was open, in cycles."""
    k = device.timing
    begun: dict[int, int] = {}
    closes: dict[int, int] = {}
    starts: list[int] = []
    ends: list[int] = []
    for t, what, b in zip(cycle.tolist(), kind.tolist(), bank.tolist(), strict=True):
        if what == kernel.ACT:
            begun[b], closes[b] = t, t + k.ras
        elif what in (kernel.RD, kernel.RDA, kernel.WR, kernel.WRA):
            reads = what in (kernel.RD, kernel.RDA)
            closes[b] = max(closes[b], t + (k.rtp if reads else k.wl + k.burst + k.wr))
            if what in (kernel.RDA, kernel.WRA):
                starts.append(begun.pop(b))
                ends.append(closes[b])
        elif what in (kernel.PRE, kernel.PREA):
            for one in [b] if what == kernel.PRE else list(begun):
                starts.append(begun.pop(one))
                ends.append(t)
    starts += begun.values()
    ends += [cycles] * len(begun)
    return np.minimum(np.array(starts, dtype=np.int64), cycles), np.minimum(np.array(ends, dtype=np.int64), cycles)


def union_length(starts: Array, ends: Array) -> int:
    """Return how many cycles at least one of the spans covers."""
    if not len(starts):
        return 0
    order = np.argsort(starts, kind="stable")
    first, last = starts[order], np.maximum.accumulate(ends[order])
    before = np.concatenate(([first[0]], last[:-1]))
    return int(np.maximum(last - np.maximum(first, before), 0).sum())
