"""Where independent runs are computed: one after another, or in processes. Results come in the order of the tasks.

An executor is anything with `run`; a cluster's scheduler fits behind the same call.
"""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Protocol, Self, TypeVar

from foundation.checks import whole_number
from foundation.errors import ArchcastError, UnsupportedError

Task = TypeVar("Task")
Answer = TypeVar("Answer")

MAX_WORKERS = 256


class Executor(Protocol):
    """Computes a function of each task."""

    workers: int
    """How many tasks are worth handing over at a time."""

    def run(self, function: Callable[[Task], Answer], tasks: Sequence[Task]) -> list[Answer]:
        """Return function(task) of each task, in their order. The first task that fails raises its error."""
        ...


class Serial:
    """One task after another, in this process."""

    workers = 1

    def run(self, function: Callable[[Task], Answer], tasks: Sequence[Task]) -> list[Answer]:
        """Return function(task) of each task, in order."""
        return [function(task) for task in tasks]


class Processes:
    """Tasks in processes of their own, started anew ("spawn": the same on every system); use it in a `with` block.

    The function and the tasks are pickled: the function stands at the top level of a module, and a script that uses
    this does so under `if __name__ == "__main__":`.
    """

    def __init__(self, workers: int = 2) -> None:
        self.workers = whole_number("workers", workers, high=MAX_WORKERS)
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the processes; the next `run` starts new ones."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def run(self, function: Callable[[Task], Answer], tasks: Sequence[Task]) -> list[Answer]:
        """Return function(task) of each task, in order.

        Raises:
            UnsupportedError: a task that cannot be pickled. ArchcastError: a process ended without an answer.
        """
        try:
            pickle.dumps((function, tasks[:1]))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UnsupportedError(
                f"This cannot be sent to another process ({error}). Put functions at the top level of a module, give "
                "a factory that builds the network there, or run serially."
            ) from None
        if self._pool is None:
            self._pool = ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context("spawn"))
        try:
            return list(self._pool.map(function, tasks))
        except BrokenProcessPool as error:
            self._pool = None
            raise ArchcastError(
                f"A process ended without an answer ({error}). A script must start its runs under "
                '`if __name__ == "__main__":`; else memory may have run out.'
            ) from None
