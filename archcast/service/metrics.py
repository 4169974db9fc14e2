"""Counts of requests, cheap to add to: a block of numbers in memory, or in a file each where several processes serve.

The exposition is that of Prometheus; the counts of a process that ended stay, so that no counter falls.
"""

from __future__ import annotations

import mmap
import os
import uuid
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

BUCKETS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0)
STATUSES = (200, 201, 202, 204, 304, 400, 401, 403, 404, 405, 408, 409, 413, 415, 421, 422, 429, 500, 503, 0)
"""Of answers; 0 stands for any other."""
OTHER = "other"
"""The route of requests that no route takes: their paths are not repeated."""
_CELLS = ("seconds", "rows", "hits", "misses")
_WIDTH = len(STATUSES) + len(BUCKETS_S) + 1 + len(_CELLS)
_FIRST_BUCKET = len(STATUSES)
_FIRST_CELL = _FIRST_BUCKET + len(BUCKETS_S) + 1
_STATUS = {status: place for place, status in enumerate(STATUSES)}


class Metrics:
    """Counts by route. `folder` is where several processes keep theirs; None keeps them in memory."""

    def __init__(self, routes: tuple[str, ...], folder: Path | None = None) -> None:
        self.routes = (*routes, OTHER)
        self.folder = folder
        self._row = {route: place * _WIDTH for place, route in enumerate(self.routes)}
        size = 8 * _WIDTH * len(self.routes)
        if folder is None:
            self._cells = memoryview(bytearray(size)).cast("d")
        else:
            with (folder / f"{os.getpid()}-{uuid.uuid4().hex[:8]}.counts").open("w+b") as file:
                file.truncate(size)
                self._cells = memoryview(mmap.mmap(file.fileno(), size)).cast("d")

    def add(self, route: str, status: int, seconds: float, rows: int = 0, hit: bool | None = None) -> None:
        """Count one request; `hit` says whether its answer was kept from before (None: not asked)."""
        row = self._row.get(route)
        if row is None:
            row = self._row[OTHER]
        cells = self._cells
        cells[row + _STATUS.get(status, len(STATUSES) - 1)] += 1
        cells[row + _FIRST_BUCKET + bisect_left(BUCKETS_S, seconds)] += 1
        cell = row + _FIRST_CELL
        cells[cell] += seconds
        cells[cell + 1] += rows
        if hit is not None:
            cells[cell + (2 if hit else 3)] += 1

    def whole(self) -> Any:
        """Return the counts of all processes, shape (routes, cells)."""
        if self.folder is None:
            return np.asarray(self._cells).reshape(len(self.routes), _WIDTH).copy()
        total = np.zeros(len(self.routes) * _WIDTH)
        for file in self.folder.glob("*.counts"):
            found = np.fromfile(file)
            if found.size == total.size:
                total += found
        return total.reshape(len(self.routes), _WIDTH)

    def exposition(self, jobs: Mapping[str, int], versions: Mapping[str, str], cache_bytes: int) -> bytes:
        """Return the text that Prometheus reads."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(_Collector(list(self._families(jobs, versions, cache_bytes))))
        text: bytes = generate_latest(registry)
        return text

    def _families(self, jobs: Mapping[str, int], versions: Mapping[str, str], cache_bytes: int) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
        from prometheus_client.core import InfoMetricFamily as Info

        whole = self.whole()
        requests = CounterMetricFamily("archcast_requests", "Requests answered.", labels=["route", "status"])
        times = HistogramMetricFamily(
            "archcast_request_seconds", "Time from a request's headers to its answer.", labels=["route"]
        )
        rows = CounterMetricFamily("archcast_rows", "Rows answered.", labels=["route"])
        cache = CounterMetricFamily("archcast_cache", "Answers looked for among those kept.", labels=["route", "found"])
        for route, cells in zip(self.routes, whole, strict=True):
            counts = cells[: len(STATUSES)]
            if not counts.any():
                continue
            for status, count in zip(STATUSES, counts, strict=True):
                if count:
                    requests.add_metric([route, str(status) if status else "other"], count)
            heights = np.cumsum(cells[_FIRST_BUCKET:_FIRST_CELL])
            ends = [*(f"{end:g}" for end in BUCKETS_S), "+Inf"]
            times.add_metric([route], list(zip(ends, heights.tolist(), strict=True)), cells[_FIRST_CELL])
            rows.add_metric([route], cells[_FIRST_CELL + 1])
            for found, count in (("hit", cells[_FIRST_CELL + 2]), ("miss", cells[_FIRST_CELL + 3])):
                if count:
                    cache.add_metric([route, found], count)
        states = GaugeMetricFamily("archcast_jobs", "Jobs by state.", labels=["state"])
        for state, number in jobs.items():
            states.add_metric([state], number)
        kept = GaugeMetricFamily("archcast_cache_bytes", "Bytes of kept answers of this process.", value=cache_bytes)
        yield from (requests, times, rows, cache, states, kept, Info("archcast", "What answers.", value=dict(versions)))


class _Collector:
    def __init__(self, families: list[Any]) -> None:
        self.families = families

    def collect(self) -> Iterator[Any]:
        yield from self.families
