"""Requests that wait: the most urgent first, of those the first that came."""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterator


class Urgent:
    """A queue by (priority, order of coming) with the methods of a deque that a lane uses; smaller goes first."""

    def __init__(self, priority: list[int]) -> None:
        self.priority = priority
        self.came: dict[int, int] = {}
        self.count = 0
        self.rows: list[tuple[int, int, int]] = []

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> int:
        return self.rows[index][2]

    def __iter__(self) -> Iterator[int]:
        return (request for _, _, request in self.rows)

    def append(self, request: int) -> None:
        """Let a request come."""
        self.count += 1
        self.came[request] = self.count
        self.appendleft(request)

    def appendleft(self, request: int) -> None:
        """Put a request that came before back to where it was."""
        insort(self.rows, (self.priority[request], self.came[request], request))

    def popleft(self) -> int:
        return self.rows.pop(0)[2]

    def clear(self) -> None:
        self.rows.clear()
        self.came.clear()
