"""Stations that serve in batches, and servers that stop and go on."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any

from simulator.queues.callback_core import ENTERED, FAILURE, FULL, OUTAGE, TIMER, Item, Shared
from simulator.queues.callback_routes import batch_times, numbers
from simulator.queues.callback_servers import BUSY, FREE, STOPPED, Server, Station
from simulator.queues.compiled import WORKS, Compiled

RESTART, LOSE, FINISH = WORKS["restart"], WORKS["lose"], WORKS["finish"]


class BatchStation(Station):
    """A free server takes up to `size` of the line when so many wait, or when the oldest has waited long enough."""

    __slots__ = ("batch_time", "longest", "size", "timer", "timer_code")

    def __init__(self, compiled: Compiled, at: int, shared: Shared, observed: bool) -> None:
        super().__init__(compiled, at, shared, observed)
        self.size, self.longest = int(compiled.batch_size[at]), int(compiled.batch_wait_ticks[at])
        self.batch_time = batch_times(compiled, at)
        self.timer, self.timer_code = -1, 0

    def link(self, compiled: Compiled, elements: list[Any]) -> None:
        super().link(compiled, elements)
        self.shared.handle(TIMER, self.at, 0, self.waited_enough, self._timer_known)

    def _timer_known(self, code: int) -> None:
        self.timer_code = code

    def fits(self, item: Item) -> bool:
        return self.has_place(item)

    def enter(self, item: Item, now: int) -> None:
        if not self.has_place(item):
            self.refuse(item, now, FULL)
            return
        self.come(item, now)
        self.line_up(item)
        self.take_batches(now)

    def dispatch(self, now: int) -> None:
        self.take_batches(now)
        if self.held:
            self.admit(now)

    def take_batches(self, now: int) -> None:
        """Let free servers take batches that are ready, else set the timer of the oldest item."""
        while self.free and self.waiting_n:
            if self.waiting_n < self.size:
                due = min(line[0][ENTERED] for line in self.lines if line) + self.longest
                if due > now:
                    self.set_timer(due)
                    return
            self.close(now)
            server = self.by_rank[heappop(self.free)]
            for _ in range(min(self.size, self.waiting_n)):
                item = self.take()
                self.note_start(item, now)
                server.items.append(item)
            self.work(server, self.batch_time(len(server.items), server.speed), now)
            self.admit(now)

    def set_timer(self, due: int) -> None:
        """Set the timer; the oldest item's due tick never goes back, so one that is set already is the last one set."""
        if due != self.timer:
            self.timer = due
            heappush(self.heap, (due, self.timer_code))

    def waited_enough(self, now: int) -> None:
        """Handle the timer; an old one changes nothing, as what is due is looked at anew."""
        heappop(self.heap)
        self.take_batches(now)


class Switch:
    """The servers that go down and up together, and the ticks at which they do."""

    __slots__ = ("code", "draw", "servers")

    def __init__(self, servers: list[Server], draw: Callable[[], int]) -> None:
        self.servers, self.draw, self.code = servers, draw, 0

    def known(self, code: int) -> None:
        """Note the code of this switch."""
        self.code = code


class FailingStation(Station):
    """A station with outages."""

    __slots__ = ()

    def __init__(self, compiled: Compiled, at: int, shared: Shared, observed: bool) -> None:
        super().__init__(compiled, at, shared, observed)
        ticks = [numbers(compiled.feeds[feed]) for feed in compiled.outage_feeds[self.at]]
        groups = [self.servers] if compiled.together[self.at] else [[server] for server in self.servers]
        self.switches = [Switch(servers, draw) for servers, draw in zip(groups, ticks, strict=True)]
        self.on_stop = int(compiled.outage_work[self.at])

    def link(self, compiled: Compiled, elements: list[Any]) -> None:
        super().link(compiled, elements)
        for slot, switch in enumerate(self.switches):
            self.shared.handle(OUTAGE, self.at, slot, partial(self.change, switch), switch.known)

    def start(self) -> None:
        for switch in self.switches:
            heappush(self.heap, (switch.draw(), switch.code))

    def change(self, switch: Switch, now: int) -> None:
        """Take servers down, or let them work again."""
        heapreplace(self.heap, (switch.draw(), switch.code))
        self.close(now)
        lost: list[Item] = []
        down = switch.servers[0].up
        for server in switch.servers:
            if down:
                self.stop(server, now, lost)
            else:
                self.go_on(server, now)
        for item in lost:
            self.close(now)
            self.present -= 1
            self.lose(item, now, FAILURE)
        if not down:
            self.dispatch(now)

    def stop(self, server: Server, now: int, lost: list[Item]) -> None:
        """Take one server down; `lost` gets what it loses. A blocked one stays blocked."""
        server.up = False
        if server.state == FREE:
            self.free.remove(server.rank)
            heapify(self.free)
            self.down += 1
        elif server.state == BUSY and self.on_stop != FINISH:
            self.busy -= 1
            self.down += 1
            server.rest = server.ticks if self.on_stop == RESTART else server.ends - now
            server.ends = -1
            server.state = STOPPED
            if self.on_stop == LOSE:
                lost.extend(server.items)
                server.items.clear()
                server.state = FREE

    def go_on(self, server: Server, now: int) -> None:
        """Let one server work again; a free one may then take what waits."""
        server.up = True
        if server.state == FREE:
            self.down -= 1
            heappush(self.free, server.rank)
        elif server.state == STOPPED:
            self.down -= 1
            ticks = server.ticks
            self.work(server, server.rest, now)
            server.ticks = ticks


class FailingBatchStation(FailingStation, BatchStation):
    """A batch station with outages."""

    __slots__ = ()
