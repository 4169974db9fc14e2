"""How fast data leave a channel where they must leave in order: banks prepare side by side, each waits for its turn."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from simulator.dram.device import DramDevice
from simulator.dram.traces import Trace

MOST = 10_000
"""Requests of a trace that are looked at: its first."""


class Order(NamedTuple):
    """Cycles of a request that does not wait for its arrival, and what they are made of.

    `closed`, `open`: in the order of the trace, rows closed after each access or left open. `same`: share of requests
    that go to the bank of the one before of their thread; `same_closed`, `same_open`: their cycles from that one to
    them; `spread`: cycles of a request where each thread keeps a bank of its own busy with new rows.
    """

    closed: float
    open: float
    same: float
    same_closed: float
    same_open: float
    spread: float


def in_order(device: DramDevice, trace: Trace) -> Order:
    """Return how fast a trace is served in order on a channel."""
    bank, row = (one[:MOST] for one in trace.placed(device))
    write, thread = trace.write[:MOST], trace.thread[:MOST]
    k = device.timing
    mine = np.argsort(thread, kind="stable")
    follows = (np.diff(bank[mine]) == 0) & (np.diff(thread[mine]) == 0)
    hits = follows & (np.diff(row[mine]) == 0)
    again = max(int(follows.sum()), 1)
    writes = float(write.mean())
    apart = max(k.rc, k.rcd + writes * (k.wl + k.burst + k.wr) + (1 - writes) * k.rtp + k.rp)
    hit = float(hits.sum()) / again
    threads = min(len(np.unique(thread)), device.banks)
    return Order(
        served(device, bank.tolist(), row.tolist(), write.tolist(), closed=True),
        served(device, bank.tolist(), row.tolist(), write.tolist(), closed=False),
        float(follows.sum()) / max(len(bank) - threads, 1), apart, hit * k.ccd_l + (1 - hit) * apart,
        max(apart / threads, k.faw / 4, k.burst),
    )  # fmt: skip


def served(device: DramDevice, bank: list[int], row: list[int], write: list[int], *, closed: bool) -> float:
    """Return the cycles of a request, from the first column command to the last, all requests known from the start.

    A bank opens the row of its next request as soon as the one before is done with it, whatever other banks do; the
    column command then waits for that of the request before. JEDEC's times of one bank, of the turn between reading
    and writing, and of four activates are kept; those between banks of a group are kept for columns.
    """
    k = device.timing
    open_row, free = [-1] * device.banks, [0] * device.banks
    activates = [-k.faw] * 4
    first, last, group, wrote = 0, -k.burst, -1, 0
    for i, (b, r, w) in enumerate(zip(bank, row, write, strict=True)):
        turn = k.ccd_l if b % device.groups == group else k.ccd_s
        if wrote and not w:
            turn = k.wl + k.burst + (k.wtr_l if b % device.groups == group else k.wtr_s)
        elif w and not wrote:
            turn = k.rtw
        at = last + turn
        if open_row[b] != r:
            opens = max(free[b], activates[0] + k.faw, activates[3] + k.rrd_s)
            activates = [*activates[1:], opens]
            at = max(at, opens + k.rcd)
            kept = opens + k.ras
        else:
            kept = 0
        # `free`: from when the bank may open another row.
        free[b] = max(kept, at + (k.wl + k.burst + k.wr if w else k.rtp), free[b] - k.rp) + k.rp
        open_row[b] = -1 if closed else r
        first = at if i == 0 else first
        last, group, wrote = at, b % device.groups, w
    return (last - first) / max(len(bank) - 1, 1)
