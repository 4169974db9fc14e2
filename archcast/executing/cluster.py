"""The executor `dask`: chunks as tasks of Dask distributed, on this machine or on a cluster (extra `cluster`)."""

from __future__ import annotations

import hashlib
import logging
import math
import os
import time
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from archcast.executing.attempt import NO_GUARD, TRIES, ChunkError, lost, shipped, taken, work_together
from archcast.executing.chunks import Chunk, Task
from archcast.executing.processes import SURROUNDINGS
from archcast.executing.shards import code_version
from foundation.errors import BadValueError, UnsupportedError

AHEAD = 3
"""Tasks given out for each worker: enough that none waits, few enough that results do not pile up."""
TASK_S = 0.25
"""Time of one Dask task: some milliseconds of the scheduler, the client and the worker beside it do not count."""
MOST_CHUNKS = 64
"""Of one Dask task, so that its results stay small."""
CONNECT_S = 30.0
QUIET = {"distributed.worker.profile.enabled": False, "distributed.admin.tick.interval": "1s"}
"""Dask's sampling of a worker's stack each 10 ms and its clock of 20 ms, which a sweep has no use for."""
COUNT_S = 5.0
"""Between two looks at how large a cluster is."""


class Dask:
    """A client of a scheduler at `address`; without one, a cluster of `workers` processes of this machine.

    Raises:
        UnsupportedError: the extra is not installed. BadValueError: no scheduler answers.
    """

    def __init__(self, workers: int, address: str = "") -> None:
        try:
            self._dask: Any = import_module("distributed")
        except ImportError:
            raise UnsupportedError("The executor dask needs Dask distributed; pip install archcast[cluster].") from None
        self._cluster: Any = None
        if not address:
            self._cluster = self._local(workers)
        try:
            self.client: Any = self._dask.Client(self._cluster or address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise BadValueError(f"no Dask scheduler answers at {address} ({error}).") from None
        self._counted_s = -math.inf
        self.workers = workers if not address else self._count()

    def _local(self, workers: int) -> Any:
        """Return a cluster of this machine: one process with one thread a worker; what dies is replaced."""
        config = import_module("dask.config")
        place = "distributed.nanny.pre-spawn-environ"
        around = {name: os.environ.get(name, value) for name, value in SURROUNDINGS.items()}
        try:
            with config.set({place: {**config.get(place, {}), **around}, **QUIET}):
                return self._dask.LocalCluster(
                    n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1",
                    dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
                )  # fmt: skip
        except RuntimeError as error:  # a worker that reads a script without a guard would start workers of its own
            raise UnsupportedError(f"{NO_GUARD} ({str(error).splitlines()[0]})") from None

    def _count(self) -> int:
        """Return how many threads the cluster has now, 1 at least: jobs of a batch system join one by one."""
        if self._cluster is None and time.monotonic() - self._counted_s > COUNT_S:
            self._counted_s = time.monotonic()
            self.workers = max(sum(self.client.nthreads().values()), 1)
        return self.workers

    def map(self, task: Task, chunks: Sequence[Chunk]) -> Iterator[tuple[int, Any]]:
        """Yield places and results as they come.

        A Dask task is pure, under a key made of the task, its chunks and the code, and holds as many chunks as take
        about TASK_S, since one costs the scheduler some milliseconds. The scheduler gives what a dead worker had to
        another. Chunks whose task is lost, or took its workers down in company, are given out again alone; none is
        yielded twice, and what another worker found a second time is never asked for.
        """
        payload = shipped(task)
        digest = hashlib.sha256(payload).hexdigest()
        name = hashlib.sha256(f"{task.digest} {code_version()} {digest}".encode()).hexdigest()[:24]
        plan = _Plan(len(chunks), self._count())
        given: dict[str, list[int]] = {}

        def give(places: list[int]) -> Any:
            part = [chunks[place] for place in places]
            what = hashlib.sha256(" ".join(chunk.digest for chunk in part).encode()).hexdigest()[:24]
            key = f"archcast-{name}-{what}-{places[0]}-{plan.give(places)}"
            given[key] = places
            return self.client.submit(work_together, digest, payload, part, key=key, pure=True, retries=TRIES)

        running = self._dask.as_completed([give(places) for places in plan.first()], loop=self.client.loop)
        for future in running:
            places = given.pop(future.key)
            if future.status == "finished":
                seconds, found = future.result()
                plan.took(seconds / len(places))
                future.release()
            else:
                error = future.exception() if future.status == "error" else None
                killed = isinstance(error, self._dask.KilledWorker)
                if not plan.again(places, killed):
                    raise lost(chunks[places[0]]) if killed else _failed(error or future.status, chunks[places[0]])
                found = []
            plan.workers = self._count()
            while len(given) < AHEAD * plan.workers and (after := plan.next()):
                running.add(give(after))
            for place, one in zip(places, found, strict=False):
                yield place, taken(one, chunks[place])

    def close(self) -> None:
        self.client.close()
        if self._cluster is not None:
            self._cluster.close()

    def __enter__(self) -> Dask:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _failed(error: object, chunk: Chunk) -> ChunkError:
    return ChunkError(f"The {chunk} came to nothing on the cluster ({error}).")


class _Plan:
    """Which chunks go into one Dask task: those that failed alone, the others as many as take about TASK_S."""

    def __init__(self, chunks: int, workers: int) -> None:
        self.chunks, self.workers, self.at, self.size = chunks, workers, 0, 1
        self.alone: list[int] = []
        self.tries: dict[int, int] = {}

    def first(self) -> list[list[int]]:
        return [places for _ in range(AHEAD * self.workers) if (places := self.next())]

    def next(self) -> list[int]:
        """Return the places of the next task; none where all are given out."""
        if self.alone:
            return [self.alone.pop()]
        size = min(self.size, -(-(self.chunks - self.at) // self.workers))
        places = list(range(self.at, min(self.at + size, self.chunks)))
        self.at += len(places)
        return places

    def give(self, places: list[int]) -> int:
        """Return how often the first of these chunks was given out, this time included."""
        for place in places:
            self.tries[place] = self.tries.get(place, 0) + 1
        return self.tries[places[0]]

    def took(self, seconds: float) -> None:
        """Take in how long one chunk took."""
        self.size = int(min(max(TASK_S / max(seconds, 1e-6), 1), MOST_CHUNKS))

    def again(self, places: list[int], killed: bool) -> bool:
        """Take back chunks whose task failed. Return False where one alone took its workers down, or fails again."""
        if len(places) == 1 and (killed or self.tries[places[0]] >= TRIES):
            return False
        self.alone += places
        return True
