"""The method `grid`: every design of a space, in chunks, so that memory does not grow with the space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from archcast.searching.front import Archive
from archcast.searching.problem import Evaluated, Problem, evaluate
from archcast.searching.space import DesignSpace
from workloads.table import Array

CHUNK = 65536
"""Designs at a time."""


@dataclass
class Refused:
    """Designs rejected for one reason; `least` and `most` bytes that were missing (0 where bytes were not it)."""

    designs: int = 0
    least_bytes: float = np.inf
    most_bytes: float = 0.0

    def add(self, designs: int, least: float, most: float) -> None:
        self.designs += designs
        self.least_bytes, self.most_bytes = min(self.least_bytes, least), max(self.most_bytes, most)


@dataclass
class Tally:
    """What is kept of all designs: the front, counts, and the best of each objective for every value of every knob.

    Tallies of parts add up to that of the whole, in any order.
    """

    objectives: tuple[str, ...]
    archive: Archive
    best: list[Array]
    designs: int = 0
    feasible: int = 0
    refused: dict[str, Refused] = field(default_factory=dict)

    @classmethod
    def of(cls, space: DesignSpace, objectives: tuple[str, ...]) -> Tally:
        """Return the tally of no design."""
        best = [np.full((len(knob.values), len(objectives)), np.inf) for knob in space.knobs]
        return cls(objectives, Archive(len(objectives)), best)

    def add(self, index: Array, codes: Array, found: Evaluated) -> None:
        """Take a chunk of designs in."""
        where = np.flatnonzero(found.feasible)
        values = found.table(self.objectives)
        self.designs += len(index)
        self.feasible += len(where)
        for column, row in zip(self.best, codes, strict=True):
            for k in range(len(self.objectives)):
                np.minimum.at(column[:, k], row[where], values[:, k])
        for number, name in enumerate(found.reasons, start=1):
            bad = found.reason == number
            if bad.any():
                lacking = found.shortfall_bytes[bad]
                known = self.refused.setdefault(name, Refused())
                known.add(int(bad.sum()), float(lacking.min()), float(lacking.max()))
        self.archive.add(index[where], values)

    def merge(self, other: Tally) -> None:
        """Take the designs of another part in."""
        self.designs += other.designs
        self.feasible += other.feasible
        for mine, theirs in zip(self.best, other.best, strict=True):
            np.minimum(mine, theirs, out=mine)
        for name, found in other.refused.items():
            self.refused.setdefault(name, Refused()).add(found.designs, found.least_bytes, found.most_bytes)
        self.archive.add(other.archive.index, other.archive.values)


def run_grid(
    problem: Problem, start: int, stop: int, *, chunk: int = CHUNK, progress: Callable[[int], None] | None = None
) -> Tally:
    """Return the tally of the designs numbered from `start` to before `stop`; equal for any `chunk`.

    `progress` is told the number of designs done after each chunk.
    """
    tally = Tally.of(problem.space, problem.objectives)
    for first in range(start, stop, chunk):
        index = np.arange(first, min(first + chunk, stop), dtype=np.int64)
        codes = problem.space.codes(index)
        tally.add(index, codes, evaluate(problem, problem.space.columns(codes)))
        if progress is not None:
            progress(int(index[-1]) + 1 - start)
    return tally
