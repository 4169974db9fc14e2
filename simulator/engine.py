"""The event engine: one heap, plain callbacks, and a total order of events.

Events run in the order (time, priority, sequence): earlier first, then the lower priority number, then the one
scheduled first. Nothing depends on dict order, on memory addresses or on the wall clock, so a run repeats exactly.
About 1 us an event (reference: own heap of (time, sequence, callback, argument), the fastest form in plain Python).
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from foundation.errors import ArchcastError, BadValueError
from simulator.clock import MAX_TICKS


class InvariantError(ArchcastError):
    """A law that every run must keep was broken: a fault of the simulator, not of its input."""


class EventEngine:
    """Runs callbacks in the order (time, priority, sequence). Times are int ticks.

    `now` is the time of the event that runs; `events` counts those that have run.
    """

    __slots__ = ("_heap", "_sequence", "events", "now")

    def __init__(self) -> None:
        self.now = 0
        self.events = 0
        self._sequence = 0
        self._heap: list[tuple[int, int, int, Callable[[Any], None], Any]] = []

    def at(self, time: int, callback: Callable[[Any], None], argument: Any = None, *, priority: int = 0) -> None:
        """Call `callback(argument)` at tick `time`.

        Raises:
            InvariantError: `time` lies in the past.
            BadValueError: `time` does not fit into 64 bits.
        """
        if time < self.now:
            raise InvariantError(f"An event was scheduled at tick {time}, before the present tick {self.now}.")
        if time > MAX_TICKS:
            raise BadValueError("Simulated time exceeds 64 bits. Declare a coarser tick (ticks_per_second).")
        self._sequence = sequence = self._sequence + 1
        heappush(self._heap, (time, priority, sequence, callback, argument))

    def after(self, delay: int, callback: Callable[[Any], None], argument: Any = None, *, priority: int = 0) -> None:
        """Call `callback(argument)` `delay` ticks from now. Raises as `at`."""
        self.at(self.now + delay, callback, argument, priority=priority)

    def run(self, until: int | None = None) -> int:
        """Run until no event is left, or up to and including tick `until`; return the present tick.

        With `until`, the clock ends at `until` even where the last event is earlier.
        """
        heap = self._heap
        while heap and (until is None or heap[0][0] <= until):
            time, _, _, callback, argument = heappop(heap)
            self.now = time
            self.events += 1
            callback(argument)
        if until is not None and until > self.now:
            self.now = until
        return self.now

    @property
    def pending(self) -> int:
        """Number of events that have not run yet."""
        return len(self._heap)
