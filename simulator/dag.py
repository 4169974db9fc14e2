"""Orders, cycles and longest paths of a dependency graph given as two arrays of task indices.

Edge i says that task `before[i]` must end before task `after[i]` starts.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def neighbours(count: int, source: Indices, target: Indices) -> tuple[list[int], list[int]]:
    """Return (start, index): the targets of task i are `index[start[i]:start[i + 1]]`, in the order of the edges.

    Plain lists, since the loops over them run in plain Python.
    """
    order = np.argsort(source, kind="stable")
    start = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(source, minlength=count), out=start[1:])
    return start.tolist(), target[order].tolist()


def topological_order(count: int, before: Indices, after: Indices) -> list[int] | None:
    """Return the tasks so that each stands after all it waits for; None where the graph has a cycle.

    Tasks already listed in such an order keep it.
    """
    if bool(np.all(before < after)):
        return list(range(count))
    start, index = neighbours(count, before, after)
    waiting = np.bincount(after, minlength=count).tolist()
    order = [task for task in range(count) if not waiting[task]]
    for task in order:
        for follower in index[start[task] : start[task + 1]]:
            waiting[follower] -= 1
            if not waiting[follower]:
                order.append(follower)
    return order if len(order) == count else None


def find_cycle(count: int, before: Indices, after: Indices) -> list[int]:
    """Return the tasks of one cycle, each before the one that waits for it; empty where there is none."""
    start, index = neighbours(count, before, after)
    state = [0] * count  # 0 = not seen, 1 = on the path, 2 = done
    for root in range(count):
        if state[root]:
            continue
        path, cursor = [root], [start[root]]
        state[root] = 1
        while path:
            task = path[-1]
            if cursor[-1] == start[task + 1]:
                state[task] = 2
                path.pop()
                cursor.pop()
                continue
            follower = index[cursor[-1]]
            cursor[-1] += 1
            if state[follower] == 1:
                return path[path.index(follower) :]
            if not state[follower]:
                state[follower] = 1
                path.append(follower)
                cursor.append(start[follower])
    return []


def upward_rank(duration: list[int], order: list[int], start: list[int], index: list[int]) -> list[int]:
    """Return, per task, the longest sum of durations from its start to the end of the graph (itself included).

    Source: Topcuoglu, Hariri, Wu, "Performance-effective and low-complexity task scheduling", 2002 (HEFT), eq. 2,
    with transfers as tasks of their own. The largest rank is the critical path.
    """
    rank = list(duration)
    for task in reversed(order):
        longest = 0
        for follower in index[start[task] : start[task + 1]]:
            if rank[follower] > longest:
                longest = rank[follower]
        rank[task] += longest
    return rank


def cycle_text(names: tuple[str, ...], cycle: list[int]) -> str:
    """Return `a -> b -> c -> a`, shortened in the middle where it is long."""
    shown = [names[task] for task in cycle]
    if len(shown) > 8:
        shown = [*shown[:4], f"... ({len(shown) - 7} more)", *shown[-3:]]
    return " -> ".join([*shown, shown[0]])
