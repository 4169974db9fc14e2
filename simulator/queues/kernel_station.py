"""Stations with servers in the kernel: starting, batches, freeing and admitting."""
# mypy: disable-error-code=no-any-return
# (the fields of rows are numbers; mypy does not know numpy records)

from __future__ import annotations

import math

from simulator.queues.kernel_flow import close, come, later, spent, take
from simulator.queues.kernel_heap import push_event
from simulator.queues.kernel_items import count_start
from simulator.queues.kernel_jit import compiled, inlined
from simulator.queues.kernel_layout import ADMIT, FEED, IDLE, NEED_SHIFT, NEXT, R_BATCH, R_END, WORKING, State
from simulator.queues.kernel_line import first_line, line_up, make_idle, oldest, take_first, take_idle
from simulator.queues.kernel_rows import (
    batch_at,
    drawn_at,
    element_at,
    item_at,
    line_at,
    server_at,
    service_at,
    whole_at,
)  # fmt: skip

LONGEST = float(2**61)


@inlined
def rounded(ticks: float) -> int:
    """Return whole ticks from 0 to 2^61."""
    return int(min(max(math.floor(ticks + 0.5), 0.0), LONGEST))


@inlined
def duration(s: State, e: int, i: int, speed: float) -> int:
    """Return the ticks of an item's service, in the law's order of operations; the feed is not spent."""
    item = item_at(s, i)
    service = service_at(s, e * s.classes + item.kind)
    if service.ticks >= 0:
        return service.ticks
    if service.ready:
        return whole_at(s, take(s, service.feed)).value
    size = float(item.size)
    seconds = ((service.a3 * size + service.a2) * size + service.a1) * size + service.a0
    u = drawn_at(s, take(s, service.feed)).value if service.feed >= 0 else 1.0
    ticks = (seconds * s.ticks_per_second) * u
    return rounded(ticks / speed if element_at(s, e).speeds else ticks)


@inlined
def begin(s: State, e: int, v: int, ticks: int) -> None:
    """Let a server work for so many ticks on the items in its list."""
    el, server = element_at(s, e), server_at(s, v)
    server.state, server.work = WORKING, ticks
    server.ends = s.now + ticks
    el.busy += 1
    push_event(s, server.ends, R_END, e, v - el.server_at, -1)


@inlined
def start(s: State, e: int, i: int) -> None:
    """Start an item on the best free server; the element is closed already."""
    v = take_idle(s, e)
    server_at(s, v).first = i
    item_at(s, i).next = -1
    count_start(s, e, i)
    begin(s, e, v, duration(s, e, i, server_at(s, v).speed))


@inlined
def enter_station(s: State, e: int, i: int) -> int:
    """Start an item that came, or let it wait; it fits. Returns what is missing, or 0."""
    el = element_at(s, e)
    if el.batch == 0 and el.idle > 0 and el.waiting == 0:
        feed = service_at(s, e * s.classes + item_at(s, i).kind).feed
        if spent(s, feed):
            return FEED << NEED_SHIFT | feed
        close(s, e)
        come(s, e, i)
        start(s, e, i)
        return 0
    close(s, e)
    come(s, e, i)
    line_up(s, e, i)
    if el.batch > 0 and el.idle > 0:
        later(s, NEXT, e, -1, -1)
    return 0


@inlined
def next_of(s: State, e: int) -> int:
    """Let the best free server take what waits; then held items may enter. Returns what is missing, or 0."""
    el = element_at(s, e)
    if el.idle == 0 or el.waiting == 0:
        return 0
    if el.batch > 0:
        return next_batch(s, e)
    feed = service_at(s, e * s.classes + item_at(s, line_at(s, first_line(s, e)).head).kind).feed
    if spent(s, feed):
        return FEED << NEED_SHIFT | feed
    close(s, e)
    start(s, e, take_first(s, e))
    if el.idle > 0:
        later(s, NEXT, e, -1, -1)
    if el.held_n > 0:
        later(s, ADMIT, e, -1, -1)
    return 0


@compiled
def next_batch(s: State, e: int) -> int:
    """Let a free server take a batch that is full or has waited long enough, else set the timer of the oldest."""
    el, now = element_at(s, e), s.now
    due = oldest(s, e) + el.max_wait
    if el.waiting < el.batch and due > now:
        if el.timer != due:
            el.timer = due
            push_event(s, due, R_BATCH, e, 0, -1)
        return 0
    service = service_at(s, e * s.classes)
    if spent(s, service.feed):
        return FEED << NEED_SHIFT | service.feed
    close(s, e)
    v, size, last = take_idle(s, e), min(el.batch, el.waiting), -1
    server = server_at(s, v)
    for k in range(size):
        i = take_first(s, e)
        if k == 0:
            server.first = i
        else:
            item_at(s, last).next = i
        last = i
        count_start(s, e, i)
    u = drawn_at(s, take(s, service.feed)).value if service.feed >= 0 else 1.0
    ticks = (batch_at(s, el.batch_at + size - 1).value * s.ticks_per_second) * u
    begin(s, e, v, rounded(ticks / server.speed if el.speeds else ticks))
    later(s, NEXT, e, -1, -1)
    if el.held_n > 0:
        later(s, ADMIT, e, -1, -1)
    return 0


@inlined
def free_server(s: State, e: int, v: int) -> None:
    """A server has nothing in its hands: if up, it takes what waits, and held items may enter."""
    el, server = element_at(s, e), server_at(s, v)
    close(s, e)
    server.state = IDLE
    el.busy -= 1
    if server.up == 0:
        el.down += 1
        return
    make_idle(s, e, v)
    if el.waiting > 0:
        later(s, NEXT, e, -1, -1)
    elif el.held_n > 0:
        later(s, ADMIT, e, -1, -1)
