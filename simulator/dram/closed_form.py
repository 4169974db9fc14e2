"""What a controller does to a trace, estimated without serving it: for many configurations at once.

A request costs the data bus, its bank, the limit on activates and a place in the buffer; the slowest of these gives the
rate at which requests can leave. Below that rate they wait as in a G/G/1 queue (Kingman 1961), above it as a fluid. Row
hits are those of the trace within so many requests of one bank as the scheduler sees at once. Where data must leave in
order (`CmdMux` Strict), banks prepare side by side but wait for their turn: the trace itself says how long
(`simulator.dram.in_order`). It ranks configurations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from simulator.dram.configuration import Knobs
from simulator.dram.device import DramDevice
from simulator.dram.in_order import Order, in_order
from simulator.dram.power import Costs
from simulator.dram.traces import Trace
from workloads.table import Array

WINDOW = 16
"""Requests of one bank that the scheduler is taken to see at once at most."""
LARGE = 1e12
SERVICE_CV2 = 0.5
"""Squared coefficient of variation of the time that a request takes (estimated, 0 to 1)."""
Columns = dict[str, Array]


@dataclass(frozen=True)
class Estimate:
    """Arrays of shape (configurations,)."""

    latency_s: Array
    energy_j: Array
    duration_s: Array

    @property
    def power_w(self) -> Array:
        return np.asarray(self.energy_j / self.duration_s)


@dataclass(frozen=True)
class ClosedForm:
    """A trace on a channel. What does not depend on the configuration is worked out once."""

    device: DramDevice
    trace: Trace

    @cached_property
    def hits(self) -> Array:
        """Return the share of requests with one of the last 1, 2, ... `WINDOW` of their bank in their row."""
        bank, row = self.trace.placed(self.device)
        order = np.argsort(bank, kind="stable")
        banks, rows = bank[order], row[order]
        seen = np.zeros(len(rows), dtype=bool)
        found = []
        for back in range(1, WINDOW + 1):
            same = np.zeros(len(rows), dtype=bool)
            same[back:] = (banks[back:] == banks[:-back]) & (rows[back:] == rows[:-back])
            seen |= same
            found.append(seen.mean())
        return np.array(found)

    @cached_property
    def burstiness(self) -> float:
        """Return the squared coefficient of variation of the time between arrivals."""
        gaps = np.diff(self.trace.arrival)
        return float(gaps.var() / gaps.mean() ** 2) if len(gaps) and gaps.any() else 1.0

    @cached_property
    def _trace(self) -> tuple[float, float, float, float, float]:
        """Return (writes, changes between read and write, cycles between arrivals, banks in use, threads)."""
        bank, _ = self.trace.placed(self.device)
        shares = np.bincount(bank, minlength=self.device.banks) / len(bank)
        busy = 1.0 / float((shares**2).sum())  # as many banks of equal share
        changes = float(np.mean(np.diff(self.trace.write) != 0)) if len(bank) > 1 else 0.0
        gap = float(self.trace.arrival[-1]) / max(len(bank) - 1, 1)
        return float(self.trace.write.mean()), changes, max(gap, 1e-3), busy, float(self.trace.thread.max() + 1)

    @cached_property
    def order(self) -> Order:
        """Return the cycles of a request where data leave in order."""
        return in_order(self.device, self.trace)

    def estimate(self, knobs: Knobs) -> Estimate:
        """Return what configurations do; every field of `knobs` is an array of shape (configurations,)."""
        k, count = self.device.timing, len(self.trace)
        writes, changes, gap, busy, threads = self._trace
        sees = self._sees(knobs, busy)
        hit = self._hits(knobs, sees, busy, gap)
        closes = (knobs.page == 2) | (knobs.page == 3)
        lost = np.where(closes, 0.0, np.where(knobs.page == 1, 0.5, 1.0)) * (1 - hit) * k.rp
        alone = lost + (1 - hit) * k.rcd + writes * k.wl + (1 - writes) * k.rl + k.burst
        bus = self._bus(knobs, sees, changes)
        bank = ((1 - hit) * k.rc + hit * k.ccd_l) / busy
        bank = np.where(knobs.strict == 1, self._ordered(knobs, busy), bank)
        inside = (
            lost + (1 - hit) * np.maximum(k.rcd, k.rc / 2) + k.long_command
        )  # a place of the buffer is taken so long
        ahead = self._places(knobs, busy)
        limit = np.where(knobs.arbiter > 0, knobs.most_active * threads, LARGE)
        each = np.maximum.reduce([bus, bank, (1 - hit) * k.faw / 4, inside / ahead, alone / limit])
        each = each / np.where(knobs.refresh == 1, 1 - k.rfc / k.refi, 1.0)
        load = each / gap
        queue = each * np.minimum(load, 0.98) / (1 - np.minimum(load, 0.98)) * (self.burstiness + SERVICE_CV2) / 2
        built = each * np.sqrt(count * max(self.burstiness, 1.0))  # what chance builds up in a run of this length
        queue = np.minimum(queue, built) + count / 2 * np.maximum(each - gap, 0.0)
        idle = np.maximum(1 - np.minimum(load, 1.0), 0.0)
        late = np.where(knobs.refresh == 1, k.rfc / k.refi * k.rfc / 2, 0.0)
        late = (
            late * np.where(knobs.postponed > 0, 1 - 0.5 * idle, 1.0) * np.where(knobs.pulled_in > 0, 1 - 0.3 * idle, 1)
        )
        woken = knobs.power_down * idle * np.exp(-alone / gap) * k.xp
        held = np.where(knobs.reorder_responses == 1, 0.3, np.where(knobs.arbiter == 2, 0.3 / threads, 0.0)) * queue
        latency = alone + queue + late + woken + held
        duration = np.maximum(count * each, count * gap) + alone
        second = self.device.cycle_s
        joules = self._energy(knobs, hit, writes, duration, np.minimum(load, 1.0), np.exp(-alone / gap))
        return Estimate(latency * second, joules, duration * second)

    def _sees(self, knobs: Knobs, busy: float) -> Array:
        """Return how many requests of one bank the scheduler chooses among."""
        return np.where((knobs.scheduler == 0) | (knobs.strict == 1), 1.0, self._queued(knobs, busy))

    def _queued(self, knobs: Knobs, busy: float) -> Array:
        """Return how many requests of one bank a full buffer holds, at most `WINDOW`."""
        whole = np.where(knobs.buffer == 0, knobs.buffer_size, knobs.buffer_size * (1 + (knobs.buffer == 1)) / busy)
        return np.asarray(np.clip(whole, 1.0, WINDOW))

    def _ordered(self, knobs: Knobs, busy: float) -> Array:
        """Return the cycles of a request where data leave in order.

        With queues by bank and an arbiter that lets threads pass each other, every thread waits in the end for a bank
        whose queue is full, and a place that comes free there goes to the thread that waits for it. So the requests
        that follow each other are those of one thread, up to as many as a queue holds. This takes threads that may have
        as many requests under way as a queue has places, and a backlog that fills queues: the share of the run after it
        has.
        """
        gap = self._trace[2]
        order, closed = self.order, knobs.page == 2
        plain = np.where(closed, order.closed, order.open)
        runs = order.spread + (np.where(closed, order.same_closed, order.same_open) - order.spread) * order.same * (
            1 - 1 / knobs.buffer_size
        )
        backlog = len(self.trace) * np.maximum(1 - gap / plain, 1e-9) / busy  # of a bank, when the last has come
        passing = (knobs.buffer == 0) & (knobs.arbiter > 0) & (knobs.most_active > knobs.buffer_size)
        full = np.clip(1 - knobs.buffer_size / backlog, 0.0, 1.0)
        return np.asarray(np.where(passing, plain + (runs - plain) * full, plain))

    def _places(self, knobs: Knobs, busy: float) -> Array:
        """Return how many requests the buffer holds that can be worked on side by side."""
        size = knobs.buffer_size * np.where(knobs.buffer == 1, 1.5, 1.0)
        return np.asarray(np.where(knobs.buffer == 0, busy * np.minimum(size, 2.0), np.minimum(size, 2 * busy)))

    def _hits(self, knobs: Knobs, sees: Array, busy: float, gap: float) -> Array:
        """Return the share of requests that find their row open.

        An adaptive policy leaves a row open for a request that waits for it, whether or not the scheduler may prefer
        it; where data leave in order slower than requests come, one waits.
        """
        share = np.interp(sees, np.arange(1, WINDOW + 1), self.hits)
        k = self.device.timing
        there = np.clip(k.rc / (gap * self.device.banks), 0.05, 1.0)
        there = np.where((knobs.strict == 1) & (self.order.open > gap), 1.0, there)
        waiting = there * np.minimum(self._queued(knobs, busy) - 1.0, 4.0) / 4.0
        return np.asarray(np.where(knobs.page == 2, 0.0, np.where(knobs.page == 3, share * waiting, share)))

    def _bus(self, knobs: Knobs, sees: Array, changes: float) -> Array:
        """Return the cycles of the bus of one request, turning round included."""
        k = self.device.timing
        grouped = np.where(knobs.scheduler == 2, 1 / (1 + sees / 8), 1.0)
        turn = (k.wl + k.wtr_l + k.rtw) / 2
        return np.asarray(max(k.burst, k.ccd_s) + changes * grouped * turn)

    def _energy(
        self, knobs: Knobs, hit: Array, writes: float, duration: Array, load: Array, asleep: Array
    ) -> Array:  # fmt: skip
        costs, count, k = Costs.of(self.device), len(self.trace), self.device.timing
        moved = (1 - hit) * costs.activate_j + writes * costs.write_j + (1 - writes) * costs.read_j
        refreshes = np.where(knobs.refresh == 1, np.floor(duration / k.refi), 0.0)
        closes = (knobs.page == 2) | (knobs.page == 3)
        opened = np.where(closes, 1 - np.exp(-2 * load), 1.0)
        down = knobs.power_down * np.where(load < 1, asleep * (1 - load), 0.0)
        awake = opened * costs.active_w + (1 - opened) * costs.precharged_w
        resting = np.where(closes, costs.precharged_down_w, costs.active_down_w)
        background = ((1 - down) * awake + down * resting) * duration * self.device.cycle_s
        return np.asarray(count * moved + refreshes * costs.refresh_j + background)
