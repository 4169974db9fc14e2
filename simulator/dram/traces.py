"""Traces of memory requests: streams, random accesses, and mixes as servers see them; generated from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from foundation.checks import finite_number, whole_number
from foundation.errors import BadValueError, UnknownNameError
from simulator.dram.device import DramDevice
from simulator.streams import RandomStreams
from workloads.table import Array

KINDS = ("stream", "random", "cloud-1", "cloud-2")
MOST = 10_000_000
STREAMS, WRITE_EVERY = 3, 3
"""A triad, a[i] = b[i] + s c[i]: two streams that are read and one that is written (McCalpin's STREAM)."""
RANDOM_WRITES = 0.3
CLOUD = {
    "cloud-1": {"threads": 4, "write": 0.3, "run": 4.0, "hot": 0.6, "hot_pages": 64, "burst": 8.0},
    "cloud-2": {"threads": 4, "write": 0.45, "run": 1.6, "hot": 0.2, "hot_pages": 1024, "burst": 2.0},
}
"""Mixes like those of servers: threads; share of writes; mean accesses in a row to one page; share of pages from a hot
set, and its size; mean requests of a burst. All estimated: write 0.1 to 0.5, run 1 to 16, hot 0 to 0.9, burst 1 to
32."""


@dataclass(frozen=True)
class Trace:
    """Requests by arrival: cycle, byte address, whether it writes, and the thread that asks; shape (requests,)."""

    arrival: Array
    address: Array
    write: Array
    thread: Array
    name: str = ""

    def __len__(self) -> int:
        return len(self.arrival)

    @staticmethod
    def of(arrival: Array, address: Array, write: Array, thread: Array | None = None, name: str = "") -> Trace:
        """Return a checked trace. Raises BadValueError: no request, times that fall, or negative numbers."""
        columns = [np.asarray(x, dtype=np.int64) for x in (arrival, address, write)]
        columns.append(np.zeros(len(columns[0]), np.int64) if thread is None else np.asarray(thread, dtype=np.int64))
        count = len(columns[0])
        if not 0 < count <= MOST or any(len(one) != count for one in columns):
            raise BadValueError(f"a trace has from 1 to {MOST:,} requests, and a value of each column for each.")
        if (np.diff(columns[0]) < 0).any() or any((one < 0).any() for one in columns) or columns[3].max() > 1023:
            raise BadValueError("arrivals of a trace must not fall, and nothing in it may be negative.")
        return Trace(columns[0], columns[1], columns[2], columns[3], name)

    def placed(self, device: DramDevice) -> tuple[Array, Array]:
        """Return (bank, row) of each request: consecutive bursts fill a row, then go on in the next bank's."""
        burst = self.address // device.access_bytes // device.columns
        return burst % device.banks, burst // device.banks % device.rows


def make_trace(kind: str, requests: int, load: float, device: DramDevice, seed: int = 0) -> Trace:
    """Return a generated trace that asks for `load` times the peak bandwidth of a channel.

    Raises:
        UnknownNameError: no such kind. BadValueError: a number that cannot be.
    """
    count = whole_number("requests", requests, high=MOST)
    finite_number("load", load, high=10.0, strict=True)
    if kind not in KINDS:
        raise UnknownNameError("kind of trace", kind, KINDS, f"Known: {', '.join(KINDS)}.")
    random = RandomStreams(seed).get(f"dram/{kind}")
    gap = device.timing.burst / load
    if kind == "stream":
        arrival = np.floor(np.arange(count) * gap)
        stream, place = np.arange(count) % STREAMS, np.arange(count) // STREAMS
        apart = device.page_bytes * device.banks * (device.rows // (2 * STREAMS)) + device.page_bytes
        address = stream * apart + place * device.access_bytes
        return Trace.of(arrival, address, stream == WRITE_EVERY - 1, None, kind)
    if kind == "random":
        arrival = np.floor(np.cumsum(random.exponential(gap, count)))
        span = device.page_bytes * device.banks * device.rows // device.access_bytes
        address = random.integers(0, span, count) * device.access_bytes
        return Trace.of(arrival, address, random.random(count) < RANDOM_WRITES, None, kind)
    return _cloud(kind, count, gap, device, random)


def _cloud(kind: str, count: int, gap: float, device: DramDevice, random: np.random.Generator) -> Trace:
    mix = CLOUD[kind]
    threads = int(mix["threads"])
    thread = random.integers(0, threads, count)
    starts = random.random(count) < 1 / mix["burst"]
    starts[0] = True
    gaps = np.where(starts, random.exponential(gap * mix["burst"], count), 0.0)
    pages = device.banks * device.rows
    hot = random.integers(0, pages, int(mix["hot_pages"]))
    fresh = np.where(random.random(count) < mix["hot"], hot[random.integers(0, len(hot), count)],
                     random.integers(0, pages, count))  # fmt: skip
    again = random.random(count) < 1 - 1 / mix["run"]
    column = random.integers(0, device.columns, count)
    page = fresh.copy()
    for one in range(threads):  # each thread goes on in its own page
        mine = np.flatnonzero(thread == one)
        new = ~again[mine]
        if len(new):
            new[0] = True
        last = np.maximum.accumulate(np.where(new, np.arange(len(mine)), 0))
        page[mine] = fresh[mine][last]
        column[mine] = (column[mine][last] + np.arange(len(mine)) - last) % device.columns
    address = page * device.page_bytes + column * device.access_bytes
    return Trace.of(np.floor(np.cumsum(gaps)), address, random.random(count) < mix["write"], thread, kind)
