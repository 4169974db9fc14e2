"""Two stations on the event engine: slots of full speed, and one rate that all share.

A station takes items (int ids) with a whole number of ticks of work, and calls `finished(item)` when one is done.
Arrivals of one instant are gathered and taken in together by `settle`, so that the order in which events of the same
tick run never decides who goes first.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from simulator.engine import EventEngine

Started = Callable[[int], None]


class SlotStation:
    """`capacity` items run at a time, each at full speed, without preemption.

    Waiting items start in the order of their key (lower first). With `strict`, keys must be 0, 1, 2, ... and an item
    starts only after all items of lower keys have started: a stream with head-of-line blocking.
    """

    __slots__ = ("_engine", "_finished", "_next_key", "_started", "_waiting", "free", "strict", "work")

    def __init__(
        self, engine: EventEngine, work: list[int], capacity: int, started: Started, finished: Started, strict: bool
    ) -> None:
        self._engine, self._started, self._finished = engine, started, finished
        self.work, self.free, self.strict = work, capacity, strict
        self._next_key = 0
        self._waiting: list[tuple[Any, int]] = []

    def arrive(self, item: int, key: Any) -> None:
        """Queue an item that is ready."""
        heappush(self._waiting, (key, item))

    @property
    def has_work(self) -> bool:
        """Whether a departure may let something else start."""
        return bool(self._waiting)

    def settle(self) -> None:
        """Start what can start now."""
        waiting, engine = self._waiting, self._engine
        while self.free and waiting:
            if self.strict:
                if waiting[0][0] != self._next_key:
                    return
                self._next_key += 1
            item = heappop(waiting)[1]
            self.free -= 1
            self._started(item)
            engine.at(engine.now + self.work[item], self._done, item)

    def _done(self, item: int) -> None:
        self.free += 1
        self._finished(item)


class SharedStation:
    """All items run at once and share one rate equally (processor sharing), in whole ticks.

    Time passes in rounds: with k items in service a round takes k ticks and gives each item one tick of work. An item
    that arrives within a round joins at its end, and all items that a round completes leave at its end. So the
    station is never idle while it has work, work is conserved to the tick, and an item's end differs from ideal fair
    sharing by less than k ticks (picoseconds). An arrival or a departure costs one heap operation, however many items
    are in service.
    """

    __slots__ = ("_active", "_at", "_engine", "_finished", "_generation", "_joining", "_rounds", "_started", "work")

    def __init__(self, engine: EventEngine, work: list[int], started: Started, finished: Started) -> None:
        self._engine, self._started, self._finished, self.work = engine, started, finished, work
        self._active: list[tuple[int, int]] = []  # (round in which it completes, item)
        self._joining: list[int] = []
        self._rounds = 0  # rounds completed at tick `_at`, which is the end of a round and may lie ahead
        self._at = 0
        self._generation = 0  # only the event of the latest generation counts

    def arrive(self, item: int, key: Any) -> None:
        """Note an item that is ready; the key does not matter here."""
        self._joining.append(item)

    @property
    def has_work(self) -> bool:
        """Whether a departure changes the rate of others."""
        return bool(self._active)

    def settle(self) -> None:
        """Take in the arrivals and set the next departure."""
        self._advance()
        for item in self._joining:
            heappush(self._active, (self._rounds + self.work[item], item))
            self._started(item)
        self._joining.clear()
        self._generation += 1
        if self._active:
            leaves = self._at + (self._active[0][0] - self._rounds) * len(self._active)
            self._engine.at(leaves, self._depart, self._generation)

    def _advance(self) -> None:
        """Move to the first end of a round that is not before now."""
        now, count = self._engine.now, len(self._active)
        if now <= self._at:
            return
        if not count:
            self._at = now
            return
        rounds = -((self._at - now) // count)
        self._rounds += rounds
        self._at += rounds * count

    def _depart(self, generation: int) -> None:
        if generation != self._generation:
            return
        self._advance()
        active, leaving = self._active, []
        while active and active[0][0] <= self._rounds:
            leaving.append(heappop(active)[1])
        for item in leaving:
            self._finished(item)
