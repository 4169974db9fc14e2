"""Freed memory goes back to the system, so that what a process holds follows what it uses.

Answers of many sizes come and go, and the C library hands each new one whatever hole fits. Nothing grows by it in
number or in bytes, but page after page of the heap that no block had reached is touched, and none is returned: without
this the resident memory creeps up to the heap's extent (docs/service.md, "Memory").
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
from collections.abc import Callable
from functools import cache
from time import monotonic

EVERY_S = 10.0
"""Least time between two passes; one takes about half a millisecond where some megabytes are free."""


@cache
def _trim() -> Callable[[int], int] | None:
    """Return glibc's malloc_trim(3); None under another C library, which has none."""
    if not sys.platform.startswith("linux"):
        return None
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found


def hand_back() -> bool:
    """Return whole free pages to the system; tells whether there were any (False where that cannot be asked for)."""
    trim = _trim()
    return trim is not None and bool(trim(0))


class Freed:
    """Hands memory back a while after requests: at most once in `every_s`, and once more after the last of them."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self.every_s, self.passes = every_s, 0
        self._timer: asyncio.TimerHandle | None = None
        self._last_s = monotonic()

    def soon(self) -> None:
        """Have it done by the event loop, which a request has just used."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self.every_s, self._now)

    def between(self) -> None:
        """Do it now, where the last time is long enough ago: for a loop that answers one question after the other."""
        if monotonic() - self._last_s >= self.every_s:
            self._now()

    def _now(self) -> None:
        self._timer = None
        self.passes += 1
        hand_back()
        self._last_s = monotonic()
