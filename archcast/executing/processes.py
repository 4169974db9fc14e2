"""The executor `processes`: a pool of this machine's processes that survives the death of any of them."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait as wait_for
from threading import Thread
from typing import Any

from archcast.executing.attempt import NO_GUARD, TRIES, lost, shipped, taken, work
from archcast.executing.chunks import Chunk, Task
from foundation.errors import ArchcastError, UnsupportedError

AHEAD = 2
"""Chunks given out for each worker, so that it never waits for this process."""
SURROUNDINGS = {
    "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": str(2**26), "MALLOC_TRIM_THRESHOLD_": str(2**28),
}  # fmt: skip
"""What workers start with. One is one core's worth: libraries in it start no threads of their own. glibc keeps freed
memory for the next chunk: a worker that returns it after each operation spends near half of its time on page faults.
"""


class Processes:
    """`workers` processes, started with the first chunk and kept until `close`."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def map(self, task: Task, chunks: Sequence[Chunk]) -> Iterator[tuple[int, Any]]:
        """Yield places and results as they come.

        When a worker dies the pool is replaced, and what was under way is tried again, one chunk at a time until each
        has passed: so only the chunk that takes workers down is blamed, and it is given up after TRIES workers.
        """
        payload = shipped(task)
        key = hashlib.sha256(payload).hexdigest()
        waiting, suspects = deque(range(len(chunks))), deque[int]()
        deaths: dict[int, int] = {}
        running: dict[Future[Any], int] = {}
        try:
            while waiting or suspects or running:
                room = 1 if suspects else AHEAD * self.workers
                try:
                    while len(running) < room and (suspects or waiting):
                        place = suspects[0] if suspects else waiting[0]
                        running[self._submit(key, payload, chunks[place])] = place
                        (suspects or waiting).popleft()
                        if room == 1:
                            break
                    done = wait(running, return_when=FIRST_COMPLETED).done
                    for future in done:
                        found = future.result()
                        place = running.pop(future)
                        yield place, taken(found, chunks[place])
                except BrokenProcessPool:
                    self.close()
                    places = sorted(running.values())
                    if len(places) == 1:
                        deaths[places[0]] = deaths.get(places[0], 0) + 1
                        if deaths[places[0]] >= TRIES:
                            raise self._blamed(chunks[places[0]]) from None
                    suspects.extendleft(reversed(places))
                    running.clear()
        finally:
            for future in running:
                future.cancel()

    def _submit(self, key: str, payload: bytes, chunk: Chunk) -> Future[Any]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.workers, mp_context=context, initializer=end_with_parent)
        with surroundings():  # processes start as chunks come
            return self._pool.submit(work, key, payload, chunk)

    def _blamed(self, chunk: Chunk) -> ArchcastError:
        """Return the error of a chunk that took its workers down; another where workers die before any chunk."""
        with surroundings(), ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            try:
                pool.submit(os.getpid).result()
            except BrokenProcessPool:
                return UnsupportedError(NO_GUARD)
        return lost(chunk)

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            with suppress(BrokenProcessPool):
                pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def end_with_parent() -> None:
    """End this worker when the process that started it is gone, even by kill -9 (a pool's worker would stay)."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    Thread(target=watch, daemon=True).start()


@contextmanager
def surroundings() -> Iterator[None]:
    """Have processes that start in the block start with SURROUNDINGS; what the user has set stands."""
    added = {name: value for name, value in SURROUNDINGS.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
