"""What happened to requests, and what an engine's lanes did, in time."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from workloads.table import Array


class Segment(NamedTuple):
    """Equal steps in a row: `steps` steps from tick `start`, the first of `first` ticks, each `more` ticks longer.

    decodes: requests that decoded in each step; tokens: tokens computed in each step; running, waiting: requests
    that held blocks, and that had none, during the steps; blocks: KV blocks in use at their end (idle blocks of a
    prefix cache are not); lane: who made them.
    """

    start: int
    steps: int
    first: int
    more: int
    decodes: int
    tokens: int
    running: int
    waiting: int
    blocks: int
    lane: int

    @property
    def end(self) -> int:
        return self.start + self.steps * self.first + self.more * (self.steps * (self.steps - 1) // 2)


class Segments:
    """Segments in the order in which they were made, 88 bytes each. Those of one lane are in the order of time."""

    width = len(Segment._fields)

    def __init__(self) -> None:
        self.cells = array("q")
        self.energy_j = array("d")

    def __len__(self) -> int:
        return len(self.energy_j)

    def __getitem__(self, index: int) -> Segment:
        at = range(len(self))[index] * self.width
        return Segment(*self.cells[at : at + self.width])

    def __iter__(self) -> Iterator[Segment]:
        return (self[i] for i in range(len(self)))

    def cut(self, index: int, steps: int, began: int, took: int, joules: float, spent_j: float) -> None:
        """Let the last of the `steps` steps of a segment end early: after `took` ticks and `spent_j` joules."""
        row = self[index]
        short = row._replace(start=began, steps=1, first=took, more=0, tokens=0)
        at = index * self.width
        if steps == 1:
            self.cells[at : at + self.width] = array("q", short)
            self.energy_j[index] = spent_j
            return
        self.cells[at + Segment._fields.index("steps")] = steps - 1
        self.energy_j[index] -= joules
        self.cells.extend(short)
        self.energy_j.append(spent_j)

    def columns(self) -> dict[str, Array]:
        """Return an int64 array of shape (segments,) by field of `Segment`, with `end` (ticks) and `energy_j`.

        The energy is that of one rank. A step that a failure cut short is a segment of one step that computed nothing.
        """
        table = np.array(self.cells, dtype=np.int64).reshape(-1, self.width)
        found: dict[str, Array] = {name: table[:, i] for i, name in enumerate(Segment._fields)}
        steps = found["steps"]
        found["end"] = found["start"] + steps * found["first"] + found["more"] * (steps * (steps - 1) // 2)
        return {**found, "energy_j": np.array(self.energy_j)}


@dataclass
class Log:
    """What happened: ticks by request number (-1 = not yet), and segments where they are asked for (else None).

    preempted: times that a request gave its blocks back; hit: tokens of its prompt that a prefix cache held, in sum
    over its admissions; energy_j: of one rank of every lane that writes here.
    """

    first_token: list[int]
    done: list[int]
    admitted: list[int]
    preempted: list[int]
    segments: Segments | None = field(default_factory=Segments)
    hit: list[int] = field(default_factory=list)
    energy_j: float = 0.0

    @staticmethod
    def of(requests: int, segments: bool = True) -> Log:
        """Return the empty log of so many requests."""
        log = Log([], [], [], [], Segments() if segments else None)
        log.grow(requests)
        return log

    def __len__(self) -> int:
        return len(self.done)

    def grow(self, requests: int) -> None:
        """Make room for as many more requests."""
        for ticks in (self.first_token, self.done, self.admitted):
            ticks.extend([-1] * requests)
        self.preempted.extend([0] * requests)
        self.hit.extend([0] * requests)

    def occupancy(self, lane: int | None = None) -> dict[str, Array]:
        """Return `start`, `end` (ticks), `blocks`, `running` and `waiting` over time, of one lane or of all."""
        if self.segments is None:
            return {name: np.zeros(0, dtype=np.int64) for name in ("start", "end", "blocks", "running", "waiting")}
        found = self.segments.columns()
        kept = slice(None) if lane is None else found["lane"] == lane
        return {name: found[name][kept] for name in ("start", "end", "blocks", "running", "waiting")}
