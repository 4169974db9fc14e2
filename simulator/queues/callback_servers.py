"""Stations in general: c servers with speeds, first come or priority, places and bytes, drop or block, held senders."""

from __future__ import annotations

from array import array
from collections import deque
from functools import partial
from heapq import heappop, heappush
from typing import Any

from simulator.queues.callback_core import END, ENTERED, FULL, KIND, SIZE, Element, Item, Shared
from simulator.queues.callback_routes import durations
from simulator.queues.compiled import Compiled

FREE, BUSY, HOLDING, STOPPED = range(4)
"""States of a server: HOLDING has an item that a full target holds, STOPPED is down with work that goes on later."""


class Server:
    """One server: what it works on, when that ends, and whether it is up."""

    __slots__ = ("code", "ends", "items", "number", "rank", "rest", "speed", "state", "ticks", "up")

    def __init__(self, number: int, speed: float) -> None:
        self.number, self.speed, self.rank = number, speed, number
        self.items: deque[Item] = deque()
        self.state, self.up, self.ends = FREE, True, -1
        self.ticks = self.rest = 0  # of the present service, and what is left of it
        self.code = 0

    def known(self, code: int) -> None:
        """Note the code of the ends of this server."""
        self.code = code


class Station(Element):
    """Servers and one line. `free` is a heap of ranks: the fastest, then the lowest number, goes first."""

    __slots__ = (
        "blocked", "busy", "by_rank", "discipline", "down", "duration", "free", "lines", "on_stop", "places",
        "places_bytes", "servers", "switches",
    )  # fmt: skip

    def __init__(self, compiled: Compiled, at: int, shared: Shared, observed: bool) -> None:
        super().__init__(compiled, at, shared)
        speeds = compiled.speeds[at] or (1.0,) * int(compiled.servers[at])
        self.servers = [Server(number, speed) for number, speed in enumerate(speeds)]
        self.by_rank = sorted(self.servers, key=lambda server: (-server.speed, server.number))
        for rank, server in enumerate(self.by_rank):
            server.rank = rank
        self.free = list(range(len(self.servers)))
        self.busy = self.blocked = self.down = 0
        self.discipline = int(compiled.discipline[at])
        self.lines: list[deque[Item]] = [deque() for _ in range(compiled.n_classes if self.discipline else 1)]
        self.places, self.places_bytes = int(compiled.places[at]), int(compiled.places_bytes[at])
        self.duration = durations(compiled, at)
        self.waits = array("q") if observed else None
        self.switches: list[Any] = []
        self.on_stop = -1

    def link(self, compiled: Compiled, elements: list[Any]) -> None:
        super().link(compiled, elements)
        for server in self.servers:
            self.shared.handle(END, self.at, server.number, partial(self.end, server), server.known)

    def close(self, now: int) -> None:
        ticks = now - self.last
        if not ticks:
            return
        self.last = now
        self.area_present += ticks * self.present
        if self.busy:
            self.busy_ticks += ticks * self.busy
        if self.blocked:
            self.blocked_ticks += ticks * self.blocked
        if self.down:
            self.down_ticks += ticks * self.down
        waiting = self.waiting_n
        try:
            self.waiting_ticks[waiting] += ticks
        except IndexError:
            self.more_waiting(waiting, ticks)
        if self.waiting_bytes:
            self.area_bytes += float(self.waiting_bytes) * float(ticks)

    def fits(self, item: Item) -> bool:
        if self.free and not self.waiting_n:
            return True
        return self.has_place(item)

    def has_place(self, item: Item) -> bool:
        """Say whether an item may wait."""
        if 0 <= self.places <= self.waiting_n:
            return False
        return self.places_bytes < 0 or self.waiting_bytes + int(item[SIZE]) <= self.places_bytes

    def enter(self, item: Item, now: int) -> None:
        if self.free and not self.waiting_n:
            self.come(item, now)
            self.begin(self.by_rank[heappop(self.free)], item, now)
        elif self.has_place(item):
            self.come(item, now)
            self.line_up(item)
        else:
            self.refuse(item, now, FULL)

    def line_up(self, item: Item) -> None:
        """Put an item at the end of its line."""
        self.lines[item[KIND] if self.discipline else 0].append(item)
        self.waiting_n += 1
        self.waiting_bytes += item[SIZE]

    def take(self) -> Item:
        """Remove and return the item that is served next."""
        for line in self.lines:
            if line:
                item = line.popleft()
                self.waiting_n -= 1
                self.waiting_bytes -= item[SIZE]
                return item
        raise AssertionError("Nobody waits.")

    def note_start(self, item: Item, now: int) -> None:
        """Count a service start."""
        wait = now - item[ENTERED]
        self.started += 1
        if wait:
            self.waited += 1
            self.wait_ticks += wait
        if self.waits is not None:
            self.waits.append(wait)

    def begin(self, server: Server, item: Item, now: int) -> None:
        """Let a free server work on one item; the areas are closed."""
        self.note_start(item, now)
        server.items.append(item)
        ticks = self.duration(item, server.speed)
        server.state, server.ticks, server.ends = BUSY, ticks, now + ticks
        self.busy += 1
        heappush(self.heap, (server.ends, server.code))

    def work(self, server: Server, ticks: int, now: int) -> None:
        """Set the end of a server's work."""
        server.state, server.ticks, server.ends = BUSY, ticks, now + ticks
        self.busy += 1
        heappush(self.heap, (server.ends, server.code))

    def end(self, server: Server, now: int) -> None:
        """Handle the end of a service, unless it was stopped."""
        heappop(self.heap)
        if server.ends == now:
            server.ends = -1
            self.hand_over(server, now)

    def hand_over(self, server: Server, now: int) -> None:
        """Let the items of a server leave in order, until one is held."""
        items = server.items
        while items:
            item = items[0]
            target = self.choose(item)
            if target.blocks and not target.room(item):
                self.hold_back(server, now)
                target.held.append((item, self, server))
                return
            items.popleft()
            self.depart(item, now)
            owed, last = self.gives_up(item), not items
            if last:
                self.release(server, now)
            self.vacated(owed, now)
            target.take_in(item, now)
            if last:
                return

    def hold_back(self, server: Server, now: int) -> None:
        """Note that a server is blocked."""
        if server.state == BUSY:
            self.close(now)
            self.busy -= 1
            self.blocked += 1
            server.state = HOLDING

    def after(self, owed: bool, now: int, server: Server) -> None:
        server.items.popleft()
        if server.items:
            self.vacated(owed, now)
            self.hand_over(server, now)
        else:
            self.release(server, now)
            self.vacated(owed, now)

    def release(self, server: Server, now: int) -> None:
        """Free a server that has handed over everything; what waits may start, what is held may enter.

        The areas are closed: its last item has just left.
        """
        if server.state == BUSY:
            self.busy -= 1
        else:
            self.blocked -= 1
        server.state = FREE
        if server.up:
            heappush(self.free, server.rank)
            self.dispatch(now)
        else:
            self.down += 1

    def dispatch(self, now: int) -> None:
        """Let free servers take what waits; then held items may enter. The areas are closed."""
        while self.free and self.waiting_n:
            self.begin(self.by_rank[heappop(self.free)], self.take(), now)
            if self.held:
                self.admit(now)
        if self.held:
            self.admit(now)

    def busy_now(self) -> int:
        return self.busy

    def inside(self) -> list[Item]:
        served = [item for server in self.servers for item in server.items]
        return served + [item for line in self.lines for item in line]
