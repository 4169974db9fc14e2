"""A watch over requests whose bodies do not come: one timer for all, which is cheaper than one for each."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any


class Watch:
    """Cancels the tasks that wait for a body for too long."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self._since: dict[asyncio.Task[Any], float] = {}
        self._expired: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> asyncio.Task[Any]:
        """Watch the task of this request while it waits; it is told to `end` afterwards."""
        task = asyncio.current_task()
        assert task is not None
        self._since[task] = monotonic()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.limit_s / 4, self._look)
        return task

    def end(self, task: asyncio.Task[Any]) -> None:
        """Watch it no more."""
        del self._since[task]

    def expired(self) -> bool:
        """Tell whether it was this watch that cancelled the task of this request; the task may then go on."""
        task = asyncio.current_task()
        if task is None or task not in self._expired:
            return False
        self._expired.discard(task)
        task.uncancel()
        return True

    def _look(self) -> None:
        now, self._timer = monotonic(), None
        for task, since in self._since.items():
            if now - since > self.limit_s:
                self._expired.add(task)
                task.cancel()
        if self._since:
            self._timer = asyncio.get_running_loop().call_later(self.limit_s / 4, self._look)
