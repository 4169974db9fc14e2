"""Processor sharing in whole ticks: rounds, as `simulator/stations.py` describes."""

from __future__ import annotations

from array import array
from heapq import heappop, heappush
from typing import Any

from simulator.queues.callback_core import END, FULL, SERIAL, Element, Item, Shared
from simulator.queues.callback_routes import durations
from simulator.queues.compiled import Compiled


class SharedStation(Element):
    """With k items in service a round takes k ticks and gives each one tick of work."""

    __slots__ = ("active", "code", "duration", "ends", "places", "round_end", "rounds")

    def __init__(self, compiled: Compiled, at: int, shared: Shared, observed: bool) -> None:
        super().__init__(compiled, at, shared)
        self.waits = array("q") if observed else None
        self.places = int(compiled.places[at])
        self.duration = durations(compiled, at)
        self.active: list[tuple[int, int, Item]] = []  # (round in which it completes, serial, item)
        self.rounds = self.round_end = 0  # rounds completed at tick `round_end`, which may lie ahead
        self.ends, self.code = -1, 0

    def link(self, compiled: Compiled, elements: list[Any]) -> None:
        super().link(compiled, elements)
        self.shared.handle(END, self.at, 0, self.end, self._known)

    def _known(self, code: int) -> None:
        self.code = code

    def close(self, now: int) -> None:
        if self.active:
            self.busy_ticks += now - self.last
        super().close(now)

    def fits(self, item: Item) -> bool:
        return self.places < 0 or self.present <= self.places

    def enter(self, item: Item, now: int) -> None:
        if not self.fits(item):
            self.refuse(item, now, FULL)
            return
        self.come(item, now)
        self.started += 1
        if self.waits is not None:
            self.waits.append(0)
        self.advance(now)
        heappush(self.active, (self.rounds + self.duration(item, 1.0), item[SERIAL], item))
        self.set_end()

    def advance(self, now: int) -> None:
        """Move to the first end of a round that is not before now."""
        if now <= self.round_end:
            return
        count = len(self.active)
        if not count:
            self.round_end = now
            return
        rounds = -((self.round_end - now) // count)
        self.rounds += rounds
        self.round_end += rounds * count

    def set_end(self) -> None:
        """Set the next end, where it has changed."""
        if not self.active:
            self.ends = -1
            return
        ends = self.round_end + (self.active[0][0] - self.rounds) * len(self.active)
        if ends != self.ends:
            self.ends = ends
            heappush(self.heap, (ends, self.code))

    def end(self, now: int) -> None:
        """Let all items leave that the present round completes; all stop working before the first one leaves."""
        heappop(self.heap)
        if self.ends != now:
            return
        self.close(now)
        self.advance(now)
        leaving: list[Item] = []
        while self.active and self.active[0][0] <= self.rounds:
            leaving.append(heappop(self.active)[2])
        self.ends = -1
        self.set_end()
        for item in leaving:
            self.forward(item, now)

    def vacated(self, owed: bool, now: int) -> None:
        if self.held:
            self.admit(now)
        super().vacated(owed, now)

    def busy_now(self) -> int:
        return 1 if self.active else 0

    def inside(self) -> list[Item]:
        return [item for _, _, item in self.active]
