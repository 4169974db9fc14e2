"""Sources and exits. They note ticks and serial numbers in lists, of which numpy makes sums and hashes in blocks."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from heapq import heappush, heapreplace
from itertools import chain, repeat
from typing import Any

from simulator.queues.callback_core import (
    BIRTH,
    BLOCKED,
    CONTENTS,
    EMISSION,
    GATES,
    SERIAL,
    SIZE,
    Element,
    Ints,
    Item,
    Shared,
    as_ints,
)  # fmt: skip
from simulator.queues.callback_routes import NEVER, numbers, plain_onward
from simulator.queues.compiled import Compiled, Kind
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
            if item[GATES] or item[CONTENTS]:
                self.shared.give_back(item, now)

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
