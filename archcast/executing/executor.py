"""The seam `Executor`: chunks in, results out in any order, each exactly once; and the executors by name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from archcast.executing.attempt import attempt, taken
from archcast.executing.chunks import Chunk, Task
from foundation.checks import whole_number
from foundation.errors import BadValueError, UnknownNameError

EXECUTORS = ("serial", "processes", "dask")
MOST_WORKERS = 4096


class Executor(Protocol):
    """Where chunks are worked out. Close it, or use it in a `with`."""

    workers: int

    def map(self, task: Task, chunks: Sequence[Chunk]) -> Iterator[tuple[int, Any]]:
        """Yield each chunk's place and result as it comes, exactly once.

        Raises:
            InputError, ArchcastError: as the task raised them.
            ChunkError: another exception of the task, or a chunk that took its workers down.
        """
        ...

    def close(self) -> None: ...
    def __enter__(self) -> Executor: ...
    def __exit__(self, *_: object) -> None: ...


class Serial:
    """One chunk after the other, in this process."""

    workers = 1

    def map(self, task: Task, chunks: Sequence[Chunk]) -> Iterator[tuple[int, Any]]:
        for place, chunk in enumerate(chunks):
            yield place, taken(attempt(task, chunk), chunk)

    def close(self) -> None:
        """Nothing to close."""

    def __enter__(self) -> Serial:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def find_executor(name: str = "serial", workers: int = 0, address: str = "") -> Executor:
    """Return an executor: `serial`, `processes` of this machine, or `dask` (extra `cluster`).

    Args:
        workers: processes; 0 is one for every core that this process may use. With an address the cluster decides.
        address: of a Dask scheduler, such as tcp://head:8786; "" starts a cluster on this machine.

    Raises:
        UnknownNameError: no such executor.
        BadValueError: bad workers, or an address for an executor that has none.
        UnsupportedError: the extra is not installed.
    """
    if name not in EXECUTORS:
        raise UnknownNameError("executor", name, EXECUTORS, f"Known: {', '.join(EXECUTORS)}.")
    if address and name != "dask":
        raise BadValueError(f"an address is for the executor dask, not for {name}.")
    count = whole_number("workers", workers, low=0, high=MOST_WORKERS) or cores()
    if name == "processes":
        from archcast.executing.processes import Processes

        return Processes(count)
    if name == "dask":
        from archcast.executing.cluster import Dask

        return Dask(count, address)
    return Serial()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
