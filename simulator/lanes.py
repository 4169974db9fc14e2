"""What every drawing of a timeline needs: rows in which no two tasks overlap, and few enough shapes to draw."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from simulator.timeline import Timeline


@dataclass(frozen=True, slots=True)
class Lane:
    """One row of an engine: its tasks do not overlap and stand in order of time."""

    engine: int
    row: int
    tasks: tuple[int, ...]


@dataclass(slots=True)
class Block:
    """One shape on a row, from x0 to x1: a task, or `count` tasks too short to see apart.

    `category` is the one that fills most of it, `busy` the part of its width that tasks cover.
    """

    x0: float
    x1: float
    category: str
    first: int
    count: int
    busy: float
    merged: bool


def task_category(timeline: Timeline, task: int) -> str:
    """Return the task's category, or the kind of its engine where it has none."""
    graph = timeline.graph
    return graph.category[task] or graph.engines[int(graph.task_engine[task])].kind


def categories(timeline: Timeline) -> list[str]:
    """Return the categories in program order of first use."""
    return list(dict.fromkeys(task_category(timeline, task) for task in range(len(timeline))))


def lanes(timeline: Timeline) -> list[Lane]:
    """Return at least one lane per engine, in the order of the engines; concurrent tasks get rows of their own."""
    graph = timeline.graph
    order = np.lexsort((np.array(graph.order or [], dtype=np.int64).argsort(), timeline.start_ticks, graph.task_engine))
    edges = np.searchsorted(graph.task_engine[order], np.arange(1, len(graph.engines)))
    result: list[Lane] = []
    for engine, tasks in enumerate(np.split(order, edges) if graph.engines else []):
        rows = _rows(tasks.tolist(), timeline.start_ticks[tasks].tolist(), timeline.end_ticks[tasks].tolist())
        result.extend(Lane(engine, row, tuple(members)) for row, members in enumerate(rows or [[]]))
    return result


def _rows(tasks: list[int], start: list[int], end: list[int]) -> list[list[int]]:
    """Give each task, in order of start, the first row that is free."""
    rows: list[list[int]] = []
    free: list[int] = []
    taken: list[tuple[int, int]] = []
    for task, begins, ends in zip(tasks, start, end, strict=True):
        while taken and taken[0][0] <= begins:
            heappush(free, heappop(taken)[1])
        if not free:
            heappush(free, len(rows))
            rows.append([])
        row = heappop(free)
        rows[row].append(task)
        heappush(taken, (ends, row))
    return rows


def blocks(timeline: Timeline, lane: Lane, x_per_tick: float, least: float) -> list[Block]:
    """Return the shapes of a lane. Tasks narrower than `least` merge with their neighbours in the same column of that
    width, and columns of one category merge with each other, so a row has at most about 2 x width / least shapes."""
    members = np.array(lane.tasks, dtype=np.int64)
    x0s = (timeline.start_ticks[members] * x_per_tick).tolist()
    x1s = (timeline.end_ticks[members] * x_per_tick).tolist()
    result: list[Block] = []
    column: _Column | None = None
    for task, x0, x1 in zip(lane.tasks, x0s, x1s, strict=True):
        category = task_category(timeline, task)
        at = int(x0 / least)
        if column is not None and (x1 - x0 >= least or column.at != at):
            column.close(result, least)
            column = None
        if x1 - x0 >= least:
            result.append(Block(x0, x1, category, task, 1, x1 - x0, False))
            continue
        if column is None:
            column = _Column(at, x0, task)
        column.add(x1, x1 - x0, category)
    if column is not None:
        column.close(result, least)
    return result


class _Column:
    """Short tasks that begin within one column of the drawing."""

    def __init__(self, at: int, x0: float, first: int) -> None:
        self.at, self.x0, self.x1, self.first, self.count = at, x0, x0, first, 0
        self.by_category: dict[str, float] = {}

    def add(self, x1: float, width: float, category: str) -> None:
        self.x1, self.count = max(self.x1, x1), self.count + 1
        self.by_category[category] = self.by_category.get(category, 0.0) + width

    def close(self, result: list[Block], least: float) -> None:
        """Append to the block before where that is the same, else as a block of its own."""
        category = max(self.by_category, key=lambda name: self.by_category[name])
        busy, x1 = sum(self.by_category.values()), max(self.x1, self.x0 + least)
        last = result[-1] if result else None
        if last is not None and last.merged and last.category == category and self.x0 - last.x1 < least:
            last.x1, last.count, last.busy = x1, last.count + self.count, last.busy + busy
            return
        result.append(Block(self.x0, x1, category, self.first, self.count, busy, True))
