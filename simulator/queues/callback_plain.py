"""Stations of one server that serve in the order of entering: what most networks are made of.

They note ticks in lists; sums, areas and hashes are made of those by numpy, in blocks. A plain station has one server
of speed 1, one line, no outages, batches or credits, no limit of bytes, and neither blocks nor is blocked. So the k-th
that leaves is the k-th that entered, and its service starts when it has entered and the one before it has left.
"""

from __future__ import annotations

from array import array
from collections import deque
from heapq import heappop, heappush, heapreplace
from typing import Any

import numpy as np

from simulator.queues.callback_core import (
    END,
    FULL,
    SERIAL,
    SIZE,
    Element,
    Ints,
    Item,
    Shared,
    as_ints,
)  # fmt: skip
from simulator.queues.callback_routes import durations, plain_onward, plain_service
from simulator.queues.compiled import Compiled, How, Kind

UNLIMITED = 2**62


class PlainStation(Element):
    """All items have the same bytes, and times that do not depend on the item: the cheapest kind.

    `ticks_at[n]` are the ticks with n items present; the first of the line is served.
    """

    __slots__ = ("code", "counted", "draw", "entered", "limit", "line", "onward", "open", "size", "ticks_at", "vacant")

    def __init__(self, compiled: Compiled, at: int, shared: Shared, observed: bool) -> None:
        super().__init__(compiled, at, shared)
        self.draw = plain_service(compiled, at) or _no_draw
        self.limit = 1 + int(compiled.places[at]) if compiled.places[at] >= 0 else UNLIMITED
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
        self.arrived += len(entered)
        self.left += len(left)
        stays = np.concatenate([self.open, entered])
        self.sojourn += int((left - stays[: len(left)]).sum())
        starts = len(left) + bool(self.line)
        free = np.concatenate([[self.vacant], left])
        began = np.maximum(stays[:starts], free[:starts])
        waits = (began - stays[:starts])[self.counted :]
        self.started += len(waits)
        self.waited += int(np.count_nonzero(waits))
        self.wait_ticks += int(waits.sum())
        if self.waits is not None:
            self.waits.frombytes(waits.tobytes())
        self._fold_bytes(stays, began, len(left), now)
        self.open, self.counted, self.vacant = stays[len(left) :], int(bool(self.line)), int(free[-1])
        if len(ticks):
            self.fold_log(ticks)

    def _fold_bytes(self, stays: Ints, began: Ints, left: int, now: int) -> None:
        """Add up bytes: those present at the last fold and those entered since came at `stays`; some `began`."""
        self.bytes_in, self.bytes_out = self.arrived * self.size, self.left * self.size
        self.bytes_lost = sum(self.lost) * self.size

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
        if self.size >= 0:
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
            self.arrived += 1
            self.end_lost(item, now, FULL)


class SizedStation(PlainStation):
    """A plain station whose items have bytes of their own, or times that depend on bytes or class."""

    __slots__ = ("duration", "folded", "open_sizes", "sizes")

    def __init__(self, compiled: Compiled, at: int, shared: Shared, observed: bool) -> None:
        super().__init__(compiled, at, shared, observed)
        self.duration = durations(compiled, at)
        self.sizes: list[int] = []
        self.open_sizes = np.zeros(0, dtype=np.int64)
        self.folded = 0  # tick of the last fold: waiting bytes were added up until then
        self.size = -1

    def enter(self, item: Item, now: int) -> None:
        line = self.line
        if not line:
            heappush(self.heap, (now + self.duration(item, 1.0), self.code))
        elif len(line) >= self.limit:
            self.refuse(item, now, FULL)
            return
        line.append(item)
        self.entered.append(now)
        self.sizes.append(item[SIZE])

    def end(self, now: int) -> None:
        line = self.line
        item = line.popleft()
        if line:
            heapreplace(self.heap, (now + self.duration(line[0], 1.0), self.code))
        else:
            heappop(self.heap)
        self.ticks.append(now)
        self.serials.append(item[SERIAL])
        self.onward(item, now)

    def _fold_bytes(self, stays: Ints, began: Ints, left: int, now: int) -> None:
        sizes = np.concatenate([self.open_sizes, as_ints(self.sizes)])
        self.bytes_in += sum(self.sizes)
        self.bytes_out += int(sizes[:left].sum())
        until = np.full(len(stays), now)
        until[: len(began)] = began
        waited = np.maximum(until - np.maximum(stays, self.folded), 0)  # since the last fold
        self.area_bytes += float(waited.astype(np.float64) @ sizes.astype(np.float64))
        self.sizes.clear()
        self.open_sizes, self.folded = sizes[left:], now


def _no_draw() -> int:
    raise AssertionError("This station's times depend on the item.")


def serves_in_order(compiled: Compiled, at: int) -> bool:
    """Say whether one of these classes can stand for an element.

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
        and not (compiled.how[at] == How.SHORTEST and at in targets)
    )
    return bool(simple and not compiled.blocks[at] and not compiled.blocks[targets].any())


def is_plain(compiled: Compiled, at: int) -> bool:
    """Say whether moreover all items have the same bytes, and times that do not depend on the item."""
    ticks, feeds = compiled.service_ticks[at], compiled.service_feed[at]
    same = len(set(ticks.tolist())) == 1 and len(set(feeds.tolist())) == 1
    ready = same and (ticks.min() >= 0 or compiled.service_ready[at].all())
    return bool(ready and compiled.only_bytes >= 0 and serves_in_order(compiled, at))


def in_order_station(compiled: Compiled, at: int, shared: Shared, observed: bool) -> PlainStation:
    """Return the cheapest of these classes for an element that `serves_in_order`."""
    if not is_plain(compiled, at):
        return SizedStation(compiled, at, shared, observed)
    return (PlainStation if compiled.places[at] < 0 else LimitedStation)(compiled, at, shared, observed)
