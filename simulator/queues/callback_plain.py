"""The hot elements: sources, exits, and the station that most networks are made of.

They note ticks and serial numbers in lists; sums, histograms and hashes are made of those by numpy, in blocks. A plain
station has one server of speed 1, one line, the same ready time for all classes, no outages, batches or credits, and
neither blocks nor is blocked. It serves in the order of entering, so that the k-th that leaves is the k-th that
entered, and its service starts when it has entered and the one before it has left.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappop, heappush, heapreplace
from itertools import chain, repeat
from typing import Any

import numpy as np

from simulator.queues.callback_core import (
    BIRTH,
    BLOCKED,
    EMISSION,
    END,
    FULL,
    GATES,
    SERIAL,
    SIZE,
    Element,
    Ints,
    Item,
    Shared,
    as_ints,
)  # fmt: skip
from simulator.queues.callback_routes import NEVER, numbers, plain_onward, plain_service
from simulator.queues.compiled import Compiled, How, Kind
from simulator.queues.feeds import Feed


class Source(Element):
    """Emits items, one event each; the next arrival alone is in the heap."""

    __slots__ = ("blocks_drawn", "code", "draw_class", "draw_instant", "draw_size", "kind", "onward", "size")

    def __init__(self, compiled: Compiled, at: int, shared: Shared) -> None:
        super().__init__(compiled, at, shared)
        feeds = compiled.feeds
        self.blocks_drawn: deque[Ints] = deque()
        self.draw_instant = chain.from_iterable(self._instants(feeds[compiled.arrivals_feed[at]])).__next__
        self.kind, self.size = int(compiled.only_class[at]), int(compiled.only_size[at])
        self.draw_class = numbers(feeds[compiled.class_feed[at]]) if compiled.class_feed[at] >= 0 else None
        self.draw_size = numbers(feeds[compiled.size_feed[at]]) if compiled.size_feed[at] >= 0 else None
        self.code = 0
        self.onward: Callable[[Item, int], None] = self._to_any

    def _instants(self, feed: Feed) -> Iterator[Any]:
        """Yield blocks of instants; their arrays are kept, as they are the ticks of the emissions."""
        while True:
            block = feed.next_block()
            if not len(block):
                yield repeat(NEVER)
            self.blocks_drawn.append(block)  # type: ignore[arg-type]
            yield block.tolist()

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
        self.serials.append(serial)
        self.onward([serial, self.kind, self.size, now, now, 0, None, None], now)

    def emit(self, now: int) -> None:
        """Emit an item with drawn class or size."""
        serial = self.shared.serial
        self.shared.serial = serial + 1
        heapreplace(self.heap, (self.draw_instant(), self.code))
        self.serials.append(serial)
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

    def fold(self, now: int) -> None:
        count = len(self.serials)
        self.arrived += count
        self.left += count
        if self.draw_class is None and self.draw_size is None:
            self.bytes_in += count * self.size
        self.bytes_out = self.bytes_in
        while count:
            block = self.blocks_drawn.popleft()
            if len(block) > count:
                self.blocks_drawn.appendleft(block[count:])
                block = block[:count]
            count -= len(block)
            self.ticks.extend(block.tolist())
        super().fold(now)


class Exit(Element):
    """Ends items and records their times from birth to here. `plain`: items have one size and hold no credits."""

    __slots__ = ("births", "plain", "size", "sojourns")

    def __init__(self, compiled: Compiled, at: int, shared: Shared) -> None:
        super().__init__(compiled, at, shared)
        self.births: list[int] = []
        self.sojourns: list[Ints] = []
        self.size = compiled.only_bytes
        self.plain = self.size >= 0 and not (compiled.kind == Kind.GATE).any()

    def entry(self) -> Callable[[Item, int], None]:
        return self.enter_plain if self.plain else self.enter

    def enter_plain(self, item: Item, now: int) -> None:
        """Take in an item of the only size, without credits."""
        self.ticks.append(now)
        self.serials.append(item[SERIAL])
        self.births.append(item[BIRTH])

    def enter(self, item: Item, now: int) -> None:
        self.ticks.append(now)
        self.serials.append(item[SERIAL])
        self.births.append(item[BIRTH])
        if not self.plain:
            self.bytes_in += item[SIZE]
            if item[GATES]:
                self.shared.give_all(item, now)

    def fold(self, now: int) -> None:
        if not self.ticks:
            return
        ticks = as_ints(self.ticks)
        self.sojourns.append(ticks - as_ints(self.births))
        self.births.clear()
        self.arrived += len(ticks)
        if self.plain:
            self.bytes_in = self.arrived * self.size
        self.left, self.bytes_out = self.arrived, self.bytes_in
        self.fold_log(ticks)


class PlainStation(Element):
    """See the head of this file. `ticks_at[n]` are the ticks with n items present; the first of the line is served."""

    __slots__ = ("code", "counted", "draw", "entered", "limit", "line", "onward", "open", "size", "ticks_at", "vacant")

    def __init__(self, compiled: Compiled, at: int, shared: Shared, observed: bool) -> None:
        super().__init__(compiled, at, shared)
        draw = plain_service(compiled, at)
        assert draw is not None
        self.draw = draw
        self.limit = 1 + int(compiled.places[at])
        self.size = compiled.only_bytes
        self.line: deque[Item] = deque()
        self.entered: list[int] = []
        self.open = np.zeros(0, dtype=np.int64)  # ticks at which those entered that were here at the last fold
        self.counted = 0  # of those, how many had started (0 or 1)
        self.vacant = 0  # tick at which the last one left
        self.ticks_at = np.zeros(1, dtype=np.int64)
        self.waits = array("q") if observed else None
        self.code = 0

    def link(self, compiled: Compiled, elements: list[Any]) -> None:
        self.onward = plain_onward(compiled, self.at, elements)
        self.shared.handle(END, self.at, 0, self.end, self._known)

    def _known(self, code: int) -> None:
        self.code = code

    def enter(self, item: Item, now: int) -> None:
        if not self.line:
            heappush(self.heap, (now + self.draw(), self.code))
        self.line.append(item)
        self.entered.append(now)

    def end(self, now: int) -> None:
        """End the service of the first of the line; the next one starts, then this one enters its target."""
        line = self.line
        item = line.popleft()
        if line:
            heapreplace(self.heap, (now + self.draw(), self.code))
        else:
            heappop(self.heap)
        self.ticks.append(now)
        self.serials.append(item[SERIAL])
        self.onward(item, now)

    def fold(self, now: int) -> None:
        if self.entered or self.ticks:
            self._fold(now)

    def _fold(self, now: int) -> None:
        entered, ticks = as_ints(self.entered), as_ints(self.ticks)
        self.entered.clear()
        left = ticks[ticks >= 0]
        self._fold_areas(entered, left, now)
        self.arrived += len(entered) + len(ticks) - len(left)
        self.left += len(left)
        stays = np.concatenate([self.open, entered])
        self.sojourn += int((left - stays[: len(left)]).sum())
        starts = len(left) + bool(self.line)
        free = np.concatenate([[self.vacant], left])
        waits = (np.maximum(stays[:starts], free[:starts]) - stays[:starts])[self.counted :]
        self.started += len(waits)
        self.waited += int(np.count_nonzero(waits))
        self.wait_ticks += int(waits.sum())
        if self.waits is not None:
            self.waits.frombytes(waits.tobytes())
        self.open, self.counted, self.vacant = stays[len(left) :], int(bool(self.line)), int(free[-1])
        self.bytes_in, self.bytes_out = self.arrived * self.size, self.left * self.size
        self.bytes_lost = sum(self.lost) * self.size
        if len(ticks):
            self.fold_log(ticks)

    def _fold_areas(self, entered: Ints, left: Ints, now: int) -> None:
        """Add up the ticks with n items present, over entries and departures in order (the last bit says which)."""
        changes = np.concatenate([entered << 1, (left << 1) | 1])
        changes.sort()
        present = len(self.open) + np.concatenate([[0], np.cumsum(1 - 2 * (changes & 1))])
        edges = np.concatenate([[self.last], changes >> 1, [now]])
        lasted = np.diff(edges)
        kept = lasted > 0
        if kept.any():
            present, lasted = present[kept], lasted[kept]
            more = int(present.max()) + 1 - len(self.ticks_at)
            if more > 0:
                self.ticks_at = np.concatenate([self.ticks_at, np.zeros(more, dtype=np.int64)])
            np.add.at(self.ticks_at, present, lasted)
        self.last = now

    def close(self, now: int) -> None:
        self._fold(now)
        self.present = len(self.line)
        at = self.ticks_at.tolist()
        self.waiting_ticks = [sum(at[:2]), *at[2:]]
        self.busy_ticks = sum(at[1:])
        self.area_present = sum(n * ticks for n, ticks in enumerate(at))
        waiting = sum(n * ticks for n, ticks in enumerate(self.waiting_ticks))
        self.area_bytes = float(waiting) * float(self.size)

    def present_now(self) -> int:
        return len(self.line)

    def waiting_now(self) -> int:
        return max(len(self.line) - 1, 0)

    def busy_now(self) -> int:
        return 1 if self.line else 0

    def inside(self) -> list[Item]:
        for item, tick in zip(self.line, self.open.tolist(), strict=True):
            item[4] = tick
        return list(self.line)


class LimitedStation(PlainStation):
    """A plain station with a number of places; what comes when it is full is lost."""

    __slots__ = ()

    def enter(self, item: Item, now: int) -> None:
        if len(self.line) < self.limit:
            super().enter(item, now)
        else:
            self.end_lost(item, now, FULL)


def is_plain(compiled: Compiled, at: int) -> bool:
    """Say whether a `PlainStation` can stand for an element.

    A route to the shortest is decided while the item is still here, which matters where it may come back here.
    """
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
        and not (compiled.how[at] == How.SHORTEST and at in targets)
    )
    if not simple or compiled.blocks[at] or compiled.blocks[targets].any():
        return False
    ticks, feeds = compiled.service_ticks[at], compiled.service_feed[at]
    same = len(set(ticks.tolist())) == 1 and len(set(feeds.tolist())) == 1
    return bool(same and (ticks.min() >= 0 or compiled.service_ready[at].all()))
