"""Delays, trigger rules, gates with credits, and elements whose logic lies outside."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from simulator.queues.callback_core import DELAYED, ENTERED, FULL, GATES, RULE, SERIAL, Element, Item, Shared
from simulator.queues.callback_routes import durations
from simulator.queues.compiled import Compiled


class Delay(Element):
    """Every item spends a time of its own. Its ends are in a heap of this element: (tick, serial, item)."""

    __slots__ = ("code", "duration", "pending")

    def __init__(self, compiled: Compiled, at: int, shared: Shared) -> None:
        super().__init__(compiled, at, shared)
        self.duration = durations(compiled, at)
        self.pending: list[tuple[int, int, Item]] = []
        self.code = 0

    def link(self, compiled: Compiled, elements: list[Any]) -> None:
        super().link(compiled, elements)
        self.shared.handle(DELAYED, self.at, 0, self.end, self._known)

    def _known(self, code: int) -> None:
        self.code = code

    def enter(self, item: Item, now: int) -> None:
        self.come(item, now)
        due = now + self.duration(item, 1.0)
        heappush(self.pending, (due, item[SERIAL], item))
        heappush(self.heap, (due, self.code))

    def end(self, now: int) -> None:
        """Let the item go that is due; of several the one with the lowest serial number."""
        heappop(self.heap)
        self.forward(heappop(self.pending)[2], now)

    def busy_now(self) -> int:
        return self.present

    def inside(self) -> list[Item]:
        return [item for _, _, item in self.pending]


class Rules(Element):
    """Drops what would break a rule or comes in a dead time."""

    __slots__ = ("accepted", "dead", "dead_until", "extendable")

    def __init__(self, compiled: Compiled, at: int, shared: Shared) -> None:
        super().__init__(compiled, at, shared)
        self.accepted: list[tuple[int, int, deque[int]]] = [(k, w, deque(maxlen=k)) for k, w in compiled.rules[at]]
        self.dead, self.extendable = int(compiled.dead_ticks[at]), bool(compiled.extendable[at])
        self.dead_until = 0

    def enter(self, item: Item, now: int) -> None:
        closed = now < self.dead_until or any(
            len(ticks) == k and now - ticks[0] < window for k, window, ticks in self.accepted
        )
        if not closed or self.extendable:
            self.dead_until = now + self.dead
        if closed:
            self.refuse(item, now, RULE)
            return
        for _, _, ticks in self.accepted:
            ticks.append(now)
        self.come(item, now)
        self.forward(item, now)


class Gate(Element):
    """Items wait, in order, for a credit, and hold it until an element returns it."""

    __slots__ = ("bit", "credits", "line", "places")

    def __init__(self, compiled: Compiled, at: int, shared: Shared, observed: bool) -> None:
        super().__init__(compiled, at, shared)
        self.bit = 1 << int(compiled.gate_bit[at])
        self.credits, self.places = int(compiled.credits[at]), int(compiled.places[at])
        self.line: deque[Item] = deque()
        self.waits = array("q") if observed else None
        shared.gates.append(self)

    def fits(self, item: Item) -> bool:
        if item[GATES] & self.bit or (self.credits and not self.line):
            return True
        return self.places < 0 or self.waiting_n < self.places

    def enter(self, item: Item, now: int) -> None:
        if item[GATES] & self.bit:
            self.come(item, now)
            self.go_through(item, now)
        elif self.credits and not self.line:
            self.come(item, now)
            self.credits -= 1
            item[GATES] |= self.bit
            self.go_through(item, now)
        elif self.fits(item):
            self.come(item, now)
            self.line.append(item)
            self.waiting_n += 1
            self.waiting_bytes += item[2]
        else:
            self.refuse(item, now, FULL)

    def go_through(self, item: Item, now: int) -> None:
        """Let an item pass that holds its credit."""
        wait = now - item[ENTERED]
        self.started += 1
        if wait:
            self.waited += 1
            self.wait_ticks += wait
        if self.waits is not None:
            self.waits.append(wait)
        self.forward(item, now)

    def give(self, now: int) -> None:
        """Take a credit back that an item gave up; the first that waits passes with it, then held items may enter."""
        if self.line:
            self.close(now)
            following = self.line.popleft()
            self.waiting_n -= 1
            self.waiting_bytes -= following[2]
            following[GATES] |= self.bit
            self.go_through(following, now)
        else:
            self.credits += 1
        if self.held:
            self.admit(now)

    def inside(self) -> list[Item]:
        return list(self.line)


class CustomElement(Element):
    """Logic from outside: `taken(name, item, now)` is told of each item; `leave` lets it go on."""

    __slots__ = ("by_name", "items", "taken")

    def __init__(self, compiled: Compiled, at: int, shared: Shared, taken: Callable[[str, Item, int], None]) -> None:
        super().__init__(compiled, at, shared)
        self.taken = taken
        self.items: dict[int, Item] = {}
        self.by_name: dict[str, Element] = {}

    def link(self, compiled: Compiled, elements: list[Any]) -> None:
        super().link(compiled, elements)
        self.by_name = {element.name: element for element in elements}

    def enter(self, item: Item, now: int) -> None:
        self.come(item, now)
        self.items[item[SERIAL]] = item
        self.taken(self.name, item, now)

    def leave(self, item: Item, now: int, target: str | None = None) -> None:
        """Let an item go on, to an element by name or by the route. Raises KeyError where there is no such element."""
        del self.items[item[SERIAL]]
        if target is None:
            self.forward(item, now)
            return
        chosen, choose = self.by_name[target], self.choose
        self.choose = lambda item: chosen
        try:
            self.forward(item, now)
        finally:
            self.choose = choose

    def busy_now(self) -> int:
        return self.present

    def inside(self) -> list[Item]:
        return list(self.items.values())
