"""The hot elements: sources, exits, and the station that most networks are made of.

A plain station has one server of speed 1, one line, the same ready time for all classes, no outages, batches or
credits, and neither blocks nor is blocked. It keeps one histogram of present items; all its times and areas follow.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush, heapreplace
from typing import Any

from simulator.queues.callback_core import (
    BIRTH,
    BLOCKED,
    EMISSION,
    END,
    ENTERED,
    FULL,
    GATES,
    SERIAL,
    SIZE,
    Element,
    Item,
    Shared,
)  # fmt: skip
from simulator.queues.callback_routes import numbers, plain_onward, plain_service
from simulator.queues.compiled import Compiled, Kind

UNLIMITED = 2**62


class Source(Element):
    """Emits items, one event each; the next arrival alone is in the heap."""

    __slots__ = ("code", "draw_class", "draw_instant", "draw_size", "kind", "onward", "size")

    def __init__(self, compiled: Compiled, at: int, shared: Shared) -> None:
        super().__init__(compiled, at, shared)
        feeds = compiled.feeds
        self.draw_instant = numbers(feeds[compiled.arrivals_feed[at]])
        self.kind, self.size = int(compiled.only_class[at]), int(compiled.only_size[at])
        self.draw_class = numbers(feeds[compiled.class_feed[at]]) if compiled.class_feed[at] >= 0 else None
        self.draw_size = numbers(feeds[compiled.size_feed[at]]) if compiled.size_feed[at] >= 0 else None
        self.code = 0
        self.onward: Callable[[Item, int], None] = self._to_any

    def link(self, compiled: Compiled, elements: list[Any]) -> None:
        super().link(compiled, elements)
        plain = self.draw_class is None and self.draw_size is None
        targets = compiled.targets[self.at, : compiled.n_targets[self.at]]
        if not compiled.blocks[targets].any():
            self.onward = plain_onward(compiled, self.at, elements)
        self.shared.handle(EMISSION, self.at, 0, self.emit_plain if plain else self.emit, self._known)

    def _known(self, code: int) -> None:
        self.code = code

    def start(self) -> None:
        heappush(self.heap, (self.draw_instant(), self.code))

    def emit_plain(self, now: int) -> None:
        """Emit an item of the only class and size."""
        shared = self.shared
        serial = shared.serial
        shared.serial = serial + 1
        heapreplace(self.heap, (self.draw_instant(), self.code))
        self.log.append(now + 2 * serial + 1)
        self.onward([serial, self.kind, self.size, now, now, 0, None, None], now)

    def emit(self, now: int) -> None:
        """Emit an item with drawn class or size."""
        serial = self.shared.serial
        self.shared.serial = serial + 1
        heapreplace(self.heap, (self.draw_instant(), self.code))
        self.log.append(now + 2 * serial + 1)
        kind = self.kind if self.draw_class is None else self.draw_class()
        size = self.size if self.draw_size is None else self.draw_size()
        self.bytes_in += size
        self.onward([serial, kind, size, now, now, 0, None, None], now)

    def _to_any(self, item: Item, now: int) -> None:
        target = self.choose(item)
        if target.blocks and not target.room(item):
            target.close(now)
            target.refuse(item, now, BLOCKED)
        else:
            target.enter(item, now)

    def fold(self) -> None:
        count = len(self.log)
        self.arrived += count
        self.left += count
        if self.draw_class is None and self.draw_size is None:
            self.bytes_in += count * self.size
        self.bytes_out = self.bytes_in
        super().fold()


class Exit(Element):
    """Ends items and records their times from birth to here."""

    __slots__ = ("sojourns",)

    def __init__(self, compiled: Compiled, at: int, shared: Shared) -> None:
        super().__init__(compiled, at, shared)
        self.sojourns = array("q")

    def enter(self, item: Item, now: int) -> None:
        self.sojourns.append(now - item[BIRTH])
        self.log.append(now + 2 * item[SERIAL] + 1)
        self.bytes_in += item[SIZE]
        if item[GATES]:
            self.shared.give_all(item, now)

    def fold(self) -> None:
        self.arrived = self.left = len(self.sojourns)
        self.bytes_out = self.bytes_in
        super().fold()


class PlainStation(Element):
    """See the head of this file. `ticks_at[n]` are the ticks with n items present."""

    __slots__ = ("_line", "code", "current", "draw", "limit", "noted", "onward", "size", "take", "ticks_at")

    def __init__(self, compiled: Compiled, at: int, shared: Shared, observed: bool) -> None:
        super().__init__(compiled, at, shared)
        draw = plain_service(compiled, at)
        assert draw is not None
        self.draw = draw
        places = int(compiled.places[at])
        self.limit = 1 + places if places >= 0 else UNLIMITED
        self.size = compiled.only_bytes
        self._line: deque[Item] = deque()
        self.take = self._line.popleft
        self.current: Item = []
        self.ticks_at = [0]
        self.noted = array("q")  # waits that were not folded
        self.waits = array("q") if observed else None
        self.code = 0

    def link(self, compiled: Compiled, elements: list[Any]) -> None:
        self.onward = plain_onward(compiled, self.at, elements)
        self.shared.handle(END, self.at, 0, self.end, self._known)

    def _known(self, code: int) -> None:
        self.code = code

    def enter(self, item: Item, now: int) -> None:
        present = self.present
        if present >= self.limit:
            self.refuse(item, now, FULL)
            return
        try:
            self.ticks_at[present] += now - self.last
        except IndexError:
            self.ticks_at.append(now - self.last)
        self.last = now
        self.present = present + 1
        self.arrived += 1
        item[ENTERED] = now
        if present:
            self._line.append(item)
        else:
            self.current = item
            self.noted.append(0)
            heappush(self.heap, (now + self.draw(), self.code))

    def end(self, now: int) -> None:
        """End the service of the present item; the next one starts, then this one enters its target."""
        present = self.present
        try:
            self.ticks_at[present] += now - self.last
        except IndexError:
            self.ticks_at.append(now - self.last)
        self.last = now
        self.present = present - 1
        item = self.current
        if present > 1:
            following = self.current = self.take()
            self.noted.append(now - following[ENTERED])
            heapreplace(self.heap, (now + self.draw(), self.code))
        else:
            heappop(self.heap)
        self.sojourn += now - item[ENTERED]
        self.left += 1
        self.log.append(now + 2 * item[SERIAL] + 1)
        self.onward(item, now)

    def close(self, now: int) -> None:
        self.ticks_at.extend([0] * (self.present + 1 - len(self.ticks_at)))
        self.ticks_at[self.present] += now - self.last
        self.last = now
        self.waiting_n = max(self.present - 1, 0)
        self.waiting_bytes = self.waiting_n * self.size
        at = self.ticks_at
        self.waiting_ticks = [sum(at[:2]), *at[2:]]
        self.busy_ticks = sum(at[1:])
        self.area_present = sum(n * ticks for n, ticks in enumerate(at))
        waiting = sum(n * ticks for n, ticks in enumerate(self.waiting_ticks))
        self.area_bytes = float(waiting) * float(self.size)

    def refuse(self, item: Item, now: int, cause: int) -> None:
        self.arrived += 1
        self.lose(item, now, cause)

    def lose(self, item: Item, now: int, cause: int) -> None:
        self.end_lost(item, now, cause)

    def waiting_now(self) -> int:
        return max(self.present - 1, 0)

    def busy_now(self) -> int:
        return 1 if self.present else 0

    def inside(self) -> list[Item]:
        return [self.current, *self._line] if self.present else []

    def fold(self) -> None:
        noted = self.noted
        self.started += len(noted)
        self.waited += len(noted) - noted.count(0)
        self.wait_ticks += sum(noted)
        if self.waits is not None:
            self.waits.extend(noted)
        del noted[:]
        self.bytes_in, self.bytes_out = self.arrived * self.size, self.left * self.size
        self.bytes_lost = sum(self.lost) * self.size
        super().fold()


def is_plain(compiled: Compiled, at: int) -> bool:
    """Say whether a `PlainStation` can stand for an element."""
    targets = compiled.targets[at, : compiled.n_targets[at]]
    simple = (
        compiled.kind[at] == Kind.STATION
        and compiled.servers[at] == 1
        and compiled.discipline[at] == 0
        and compiled.batch_size[at] == 0
        and compiled.outage_work[at] < 0
        and not compiled.speeds[at]
        and compiled.returns[at] < 0
        and compiled.places_bytes[at] < 0
        and compiled.only_bytes >= 0
    )
    if not simple or compiled.blocks[at] or compiled.blocks[targets].any():
        return False
    ticks, feeds = compiled.service_ticks[at], compiled.service_feed[at]
    same = len(set(ticks.tolist())) == 1 and len(set(feeds.tolist())) == 1
    return bool(same and (ticks.min() >= 0 or compiled.service_ready[at].all()))
