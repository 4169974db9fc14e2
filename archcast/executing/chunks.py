"""`Task` and its chunks: what is done, to which designs, and the digest that says whether two are the same."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from foundation.checks import whole_number
from workloads.table import Array


class Chunk(Protocol):
    """Some of the designs of a sweep; two chunks of one `digest` have one result."""

    @property
    def digest(self) -> str: ...
    @property
    def designs(self) -> int: ...


class Task(ABC):
    """What is done to every chunk. It travels to workers (pickled), and its result depends on the chunk alone."""

    digest: str
    """Of all that decides the results."""

    @abstractmethod
    def __call__(self, chunk: Any) -> Any:
        """Return the result of a chunk."""

    def pack(self, result: Any) -> Mapping[str, Array]:
        """Return a result as arrays without objects, for a file. Of results that are columns already: themselves."""
        return dict(result)

    def unpack(self, arrays: Mapping[str, Array], chunk: Any) -> Any:
        """Return the result that `pack` wrote. Raises ValueError or KeyError where it cannot be one of this chunk."""
        return dict(arrays)


@dataclass(frozen=True)
class Span:
    """Designs numbered from `start` to before `stop`."""

    start: int
    stop: int

    @property
    def digest(self) -> str:
        return f"{self.start}-{self.stop}"

    @property
    def designs(self) -> int:
        return self.stop - self.start

    def __str__(self) -> str:
        return f"designs {self.start:,} to {self.stop - 1:,}"


def spans(start: int, stop: int, chunk: int) -> list[Span]:
    """Return the spans from `start` to before `stop`, cut at multiples of `chunk`.

    Cut there, a part of a space (`--shard i/n`) and the whole have most of their spans in common, so that one can use
    what the other left in a folder.
    """
    whole_number("chunk", chunk)
    first = start // chunk * chunk
    return [Span(max(at, start), min(at + chunk, stop)) for at in range(first, stop, chunk)]


@dataclass(frozen=True)
class Rows:
    """Rows of columns by name; `start` is the number of the first. Columns hold numbers, truth values or text."""

    columns: Mapping[str, Array] = field(repr=False)
    start: int = 0

    @cached_property
    def digest(self) -> str:
        return digest_of(self.columns)

    @property
    def designs(self) -> int:
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __str__(self) -> str:
        return f"rows {self.start:,} to {self.start + self.designs - 1:,}"


def digest_of(columns: Mapping[str, Array]) -> str:
    """Return a digest of the names, types and content of columns."""
    found = hashlib.sha256()
    for name, column in columns.items():
        array = np.ascontiguousarray(column)
        found.update(repr((name, array.dtype.str, array.shape)).encode())
        found.update(array.tobytes())
    return found.hexdigest()
