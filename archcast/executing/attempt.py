"""One try at a chunk, in any process: the result, or what went wrong as words that survive the way back.

Exceptions themselves do not travel: one that cannot be unpickled would take the pool of processes down.
"""

from __future__ import annotations

import pickle
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from archcast.executing.chunks import Task
from foundation.errors import ArchcastError, InputError, UnsupportedError

TRIES = 3
"""Workers that a chunk may take down before it is given up."""

NO_GUARD = (
    "Worker processes die before they work: a script that uses several must do so under "
    'if __name__ == "__main__":, since every worker reads the script again.'
)


class ChunkError(ArchcastError):
    """A chunk that cannot be worked out: its task failed, or its workers died."""


@dataclass(frozen=True)
class Fault:
    """What a task raised: `kind` is input, archcast or other."""

    kind: str
    message: str
    trace: str = ""


def attempt(task: Task, chunk: Any) -> Any:
    """Return the task's result of a chunk, or a `Fault`."""
    try:
        return task(chunk)
    except InputError as error:
        return Fault("input", str(error))
    except ArchcastError as error:
        return Fault("archcast", str(error))
    except Exception as error:  # of a user's function: any
        return Fault("other", f"{type(error).__name__}: {error}", traceback.format_exc())


def taken(found: Any, chunk: Any) -> Any:
    """Return a result. Raises what a fault stands for."""
    if not isinstance(found, Fault):
        return found
    if found.kind == "input":
        raise InputError(found.message)
    if found.kind == "archcast":
        raise ArchcastError(found.message)
    error = ChunkError(f"The {chunk} failed: {found.message}")
    if found.trace:
        error.add_note(found.trace)
    raise error


def lost(chunk: Any) -> ChunkError:
    """Return the error of a chunk that took its workers down every time."""
    return ChunkError(
        f"The {chunk} took down {TRIES} workers or more, one after the other (out of memory, or killed); "
        "make chunks smaller, or workers fewer."
    )


_held: tuple[str, Task] | None = None
"""The task that this worker last had, so that it is not read anew with every chunk."""


def work(key: str, payload: bytes, chunk: Any) -> Any:
    """Return the result of a chunk, or a `Fault` (a worker's part); `key` is that of `payload`, a pickled task."""
    global _held
    try:
        if _held is None or _held[0] != key:
            _held = (key, pickle.loads(payload))
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return Fault("archcast", f"A worker cannot read the task ({text}); put what it calls in a module.")
    return attempt(_held[1], chunk)


def work_together(key: str, payload: bytes, chunks: Sequence[Any]) -> tuple[float, list[Any]]:
    """Return the seconds that several chunks took in a worker, and the result of each."""
    started = time.perf_counter()
    found = [work(key, payload, chunk) for chunk in chunks]
    return time.perf_counter() - started, found


def shipped(task: Task) -> bytes:
    """Return a task as it travels to workers of this program.

    Functions of a notebook travel where cloudpickle is installed (extra `cluster`).

    Raises:
        UnsupportedError: it cannot travel.
    """
    try:
        dumps = import_module("cloudpickle").dumps
    except ImportError:
        dumps = pickle.dumps
    try:
        return bytes(dumps(task))
    except Exception as error:
        raise UnsupportedError(
            f"This task cannot travel to other processes ({error}): put its function in a module of its own, or "
            "install archcast[cluster], which also sends functions of a notebook."
        ) from None
