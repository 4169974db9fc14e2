"""The method `grid`: every design of a space, in chunks, so that memory does not grow with the space."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from archcast.executing import Executor, Span, Task, results, spans
from archcast.searching.front import Archive
from archcast.searching.problem import Evaluated, Problem, evaluate
from archcast.searching.space import DesignSpace
from foundation.errors import BadValueError
from workloads.table import Array

CHUNK = 65536
"""Designs at a time, in one process."""
PART = 8192
"""Designs at a time where parts travel or are kept: at least 1,000, so that what is done once a part stays small."""


AT_ONCE = 8192
"""Designs of fronts of parts that are merged at a time."""


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

    def merge(self, *others: Tally) -> None:
        """Take the designs of other parts in; many at once cost little more than one."""
        for other in others:
            self.designs += other.designs
            self.feasible += other.feasible
            for mine, theirs in zip(self.best, other.best, strict=True):
                np.minimum(mine, theirs, out=mine)
            for name, found in other.refused.items():
                self.refused.setdefault(name, Refused()).add(found.designs, found.least_bytes, found.most_bytes)
        if others:
            index = np.concatenate([other.archive.index for other in others])
            self.archive.add(index, np.concatenate([other.archive.values for other in others]))

    def arrays(self) -> dict[str, Array]:
        """Return all of it as arrays, for a file; `from_arrays` is the inverse, to the bit."""
        names = list(self.refused)
        bounds = [[found.least_bytes, found.most_bytes] for found in self.refused.values()]
        return {
            "designs": np.array([self.designs, self.feasible]), "best": np.concatenate([*self.best, self._no_best()]),
            "index": self.archive.index, "values": self.archive.values, "reasons": np.array(names, dtype=str),
            "refused": np.array([found.designs for found in self.refused.values()], dtype=np.int64),
            "refused_bytes": np.array(bounds, dtype=float).reshape(-1, 2),
        }  # fmt: skip

    def _no_best(self) -> Array:
        return np.zeros((0, len(self.objectives)))

    @classmethod
    def from_arrays(
        cls, space: DesignSpace, objectives: tuple[str, ...], arrays: Mapping[str, Array], span: Span
    ) -> Tally:
        """Return the tally of a span of designs. Raises ValueError, KeyError: it cannot be that."""
        tally = cls.of(space, objectives)
        tally.designs, tally.feasible = (int(number) for number in arrays["designs"])
        index, values, best = arrays["index"].astype(np.int64), arrays["values"], arrays["best"]
        for name, designs, (least, most) in zip(
            arrays["reasons"], arrays["refused"], arrays["refused_bytes"], strict=True
        ):
            tally.refused[str(name)] = Refused(int(designs), float(least), float(most))
        refused = sum(found.designs for found in tally.refused.values())
        rows = sum(len(part) for part in tally.best)
        inside = not len(index) or (span.start <= index.min() and index.max() < span.stop and np.isfinite(values).all())
        shapes = (len(index), len(objectives)), (rows, len(objectives))
        counts = tally.designs == span.designs == tally.feasible + refused
        if not (inside and counts and (values.shape, best.shape) == shapes):
            raise ValueError(f"no tally of the {span}")
        tally.best = [part.copy() for part in np.split(best, np.cumsum([len(part) for part in tally.best])[:-1])]
        tally.archive.index, tally.archive.values = index, values
        return tally


_problems: dict[str, Problem] = {}
"""Problems of this process by digest, so that a worker makes each once."""
MOST_PROBLEMS = 8


@dataclass(frozen=True)
class GridTask(Task):
    """The tally of a span of designs of one study. A worker makes the problem anew from `file`, the study's mapping
    as JSON; without one the problem itself travels. `digest` is that of the study."""

    digest: str
    file: str = ""
    problem: Problem | None = None

    @property
    def here(self) -> Problem:
        """Return the problem in this process. Raises BadValueError where another comes of the file here."""
        if self.problem is not None:
            return self.problem
        if self.digest not in _problems:
            from archcast.searching.search_file import read_search

            study = read_search(json.loads(self.file))
            if study.digest != self.digest:
                raise BadValueError("a worker reads another search from this file: it has another version of archcast.")
            self.hold(study.problem)
        return _problems[self.digest]

    def hold(self, problem: Problem) -> None:
        """Use a problem that is made already in this process."""
        while self.digest not in _problems and len(_problems) >= MOST_PROBLEMS:
            _problems.pop(next(iter(_problems)))
        _problems[self.digest] = problem

    def __call__(self, chunk: Span) -> Tally:
        problem = self.here
        tally = Tally.of(problem.space, problem.objectives)
        index = np.arange(chunk.start, chunk.stop, dtype=np.int64)
        codes = problem.space.codes(index)
        tally.add(index, codes, evaluate(problem, problem.space.columns(codes)))
        return tally

    def pack(self, result: Tally) -> Mapping[str, Array]:
        return result.arrays()

    def unpack(self, arrays: Mapping[str, Array], chunk: Span) -> Tally:
        problem = self.here
        return Tally.from_arrays(problem.space, problem.objectives, arrays, chunk)


def run_grid(
    problem: Problem, start: int, stop: int, *, chunk: int = 0, progress: Callable[[int], None] | None = None,
    executor: Executor | None = None, task: GridTask | None = None, folder: str | Path | None = None,
) -> Tally:  # fmt: skip
    """Return the tally of the designs numbered from `start` to before `stop`; equal for any `chunk` and executor.

    Args:
        chunk: designs at a time; 0 is CHUNK in one process, PART with an executor or a folder.
        progress: told the number of designs done after each chunk.
        executor: where chunks are worked out; None is here.
        task: how workers come by the problem; without one the problem is sent to them.
        folder: where finished chunks are kept, so that a run that was killed goes on. It needs `task`.

    Raises:
        BadValueError: a folder without a task. As `archcast.executing.sweep`.
    """
    tally = Tally.of(problem.space, problem.objectives)
    if executor is None and folder is None:
        for span in spans(start, stop, chunk or CHUNK):
            index = np.arange(span.start, span.stop, dtype=np.int64)
            codes = problem.space.codes(index)
            tally.add(index, codes, evaluate(problem, problem.space.columns(codes)))
            if progress is not None:
                progress(span.stop - start)
        return tally
    if task is None:
        if folder is not None:
            raise BadValueError("a folder of shards needs the task of a study, whose digest names them.")
        task = GridTask("problem", problem=problem)
    else:
        task.hold(problem)
    told = None if progress is None else (lambda done, whole: progress(done))
    parts = spans(start, stop, chunk or PART)
    waiting: list[Tally] = []
    for part in results(task, parts, executor=executor, folder=folder, progress=told):
        waiting.append(part)
        if sum(len(one.archive.index) for one in waiting) >= AT_ONCE:
            tally.merge(*waiting)
            waiting.clear()
    tally.merge(*waiting)
    return tally
