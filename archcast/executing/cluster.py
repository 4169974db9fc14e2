"""The executor `dask`: chunks as tasks of Dask distributed, on this machine or on a cluster (extra `cluster`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any

from archcast.executing.attempt import TRIES, ChunkError, lost, shipped, taken, work
from archcast.executing.chunks import Chunk, Task
from archcast.executing.shards import code_version
from foundation.errors import BadValueError, UnsupportedError

AHEAD = 4
"""Chunks given out for each worker: enough that none waits, few enough that results do not pile up."""
CONNECT_S = 30.0


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
            # nannies replace workers that die; each worker is one process with one thread
            self._cluster = self._dask.LocalCluster(
                n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
            )
        try:
            self.client: Any = self._dask.Client(self._cluster or address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise BadValueError(f"no Dask scheduler answers at {address} ({error}).") from None
        self.workers = workers if not address else max(sum(self.client.nthreads().values()), 1)

    def map(self, task: Task, chunks: Sequence[Chunk]) -> Iterator[tuple[int, Any]]:
        """Yield places and results as they come.

        A chunk is a pure task under a key made of the task, the chunk and the code. The scheduler gives what a dead
        worker had to another; a chunk whose future is lost is given out again, and none is yielded twice.
        """
        payload = shipped(task)
        digest = hashlib.sha256(payload).hexdigest()
        name = hashlib.sha256(f"{task.digest} {code_version()} {digest}".encode()).hexdigest()[:24]
        places: dict[str, int] = {}
        tries: dict[int, int] = {}

        def give(place: int) -> Any:
            tries[place] = tries.get(place, 0) + 1
            key = f"archcast-{name}-{chunks[place].digest}-{place}-{tries[place]}"
            places[key] = place
            return self.client.submit(work, digest, payload, chunks[place], key=key, pure=True, retries=TRIES)

        ahead = AHEAD * self.workers
        waiting = iter(range(len(chunks)))
        first = [give(place) for _, place in zip(range(ahead), waiting, strict=False)]
        running = self._dask.as_completed(first, loop=self.client.loop)
        del first
        for future in running:
            place = places.pop(future.key)
            if future.status == "finished":
                found = future.result()[1]
                if (after := next(waiting, None)) is not None:
                    running.add(give(after))
                yield place, taken(found, chunks[place])
            elif tries[place] < TRIES and future.status in ("lost", "cancelled"):
                running.add(give(place))
            else:
                raise self._failed(future, chunks[place])

    def _failed(self, future: Any, chunk: Chunk) -> ChunkError:
        error = future.exception() if future.status == "error" else None
        if isinstance(error, self._dask.KilledWorker):
            return lost(chunk)
        return ChunkError(f"The {chunk} came to nothing on the cluster ({error or future.status}).")

    def close(self) -> None:
        self.client.close()
        if self._cluster is not None:
            self._cluster.close()

    def __enter__(self) -> Dask:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
