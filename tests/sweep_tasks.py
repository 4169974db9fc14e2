"""Tasks that tests of sweeps share; they live in a module, so that workers can import them.

Each notes every chunk that it works out in a file (one line each, appended by one system call), so that tests can
count what ran where.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from archcast.executing import Span, Task, find_executor, shards, spans, sweep
from foundation.errors import UnknownNameError

CODE = "the code of these tests"
"""Stands for the version of the code, so that files that change while tests run do not matter."""


@dataclass(frozen=True)
class Noted(Task):
    """Sines of the numbers of a span, after a wait."""

    log: str = ""
    wait_s: float = 0.0
    digest: str = "sines"

    def __call__(self, chunk: Span) -> dict[str, Any]:
        time.sleep(self.wait_s)
        if self.log:
            handle = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(handle, f"{chunk.start} {os.getpid()}\n".encode())
            os.close(handle)
        number = np.arange(chunk.start, chunk.stop, dtype=float)
        return {"sine": np.sin(number), "sum": np.array(np.sum(np.sqrt(number)))}


@dataclass(frozen=True)
class Deadly(Noted):
    """Kills its own process at one span, `times` times (counted by marks in a folder), or always where 0."""

    at: int = 3
    times: int = 0
    marks: str = ""

    def __call__(self, chunk: Span) -> dict[str, Any]:
        if chunk.start == self.at:
            died = len(list(Path(self.marks).iterdir())) if self.marks else 0
            if not self.times or died < self.times:
                if self.marks:
                    (Path(self.marks) / f"{died}-{os.getpid()}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(chunk)


@dataclass(frozen=True)
class Failing(Task):
    """Raises at one span: archcast's error, which does not unpickle, or another."""

    own: bool = True
    digest: str = "failing"

    def __call__(self, chunk: Span) -> Mapping[str, Any]:
        if chunk.start == 4:
            if self.own:
                raise UnknownNameError("device", "h1000", ["h100"])
            raise ZeroDivisionError("nothing to divide by")
        return {}


def ran(log: Path) -> Counter[int]:
    """Return how often each span was worked out, by its first number."""
    return Counter(int(line.split()[0]) for line in log.read_text().splitlines()) if log.exists() else Counter()


def same(one: list[Any], other: list[Any]) -> bool:
    """Return whether results are equal to the bit, types included."""

    def flat(results: list[Any]) -> list[Any]:
        return [[(k, np.asarray(v).dtype, np.asarray(v).tobytes()) for k, v in one.items()] for one in results]

    return flat(one) == flat(other)


def twice(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return a column of twice `x`, and names."""
    x = np.asarray(columns["x"])
    return {"double": 2 * x, "name": np.array([f"x{value:.0f}" for value in x], dtype=object)}


@dataclass(frozen=True)
class Tallied:
    """A function with something of its own."""

    by: int

    def __call__(self, columns: Mapping[str, Any]) -> dict[str, Any]:
        return {"y": self.by * np.asarray(columns["x"])}


def main() -> None:
    """Sweep in a process of its own: folder, log, executor, chunks, wait."""
    folder, log, executor, chunks, wait_s = sys.argv[1:]
    shards.code_version = lambda: CODE
    with find_executor(executor, 2) as where:
        sweep(Noted(log, float(wait_s)), spans(0, int(chunks), 1), executor=where, folder=folder)


if __name__ == "__main__":
    main()
