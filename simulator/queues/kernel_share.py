"""Shared stations of the kernel: rounds, as `simulator/stations.py` describes, on a heap of (round, serial)."""
# mypy: disable-error-code=no-any-return
# (the fields of rows are numbers; mypy does not know numpy records)

from __future__ import annotations

from typing import Any

from simulator.queues.kernel_flow import close, come, later, spent
from simulator.queues.kernel_heap import push_event
from simulator.queues.kernel_items import count_start
from simulator.queues.kernel_jit import compiled, inlined
from simulator.queues.kernel_layout import FEED, NEED_SHIFT, R_END, ROUTE, SHARED_NEXT, SHARES, State
from simulator.queues.kernel_rows import element_at, item_at, service_at, shared_at
from simulator.queues.kernel_station import duration


@compiled
def enter_shared(s: State, e: int, i: int) -> int:
    """Take an item into the round that begins next; it fits. Returns what is missing, or 0."""
    el = element_at(s, e)
    feed = service_at(s, e * s.classes + item_at(s, i).kind).feed
    if spent(s, feed):
        return FEED << NEED_SHIFT | feed
    if el.share_n >= s.shares_full:
        return SHARES << NEED_SHIFT
    close(s, e)
    come(s, e, i)
    el.busy = 1
    count_start(s, e, i)
    advance(s, e)
    push_shared(s, e, el.rounds + duration(s, e, i, 1.0), i)
    set_end(s, e)
    return 0


@inlined
def advance(s: State, e: int) -> None:
    """Move to the first end of a round that is not before now."""
    el, now = element_at(s, e), s.now
    if now <= el.round_ends:
        return
    if el.share_n == 0:
        el.round_ends = now
        return
    rounds = (now - el.round_ends + el.share_n - 1) // el.share_n
    el.rounds += rounds
    el.round_ends += rounds * el.share_n


@inlined
def set_end(s: State, e: int) -> None:
    """Set the event of the next end."""
    el = element_at(s, e)
    if el.share_n == 0:
        return
    ends = el.round_ends + (shared_at(s, el.share_at * s.shares_full).round - el.rounds) * el.share_n
    if ends != el.timer:
        el.timer = ends
        push_event(s, el.timer, R_END, e, 0, -1)


@compiled
def end_shared(s: State, e: int) -> None:
    """Let those leave that a round completes, in the order of (round, serial)."""
    el, last = element_at(s, e), -1
    close(s, e)
    advance(s, e)
    while el.share_n > 0 and shared_at(s, el.share_at * s.shares_full).round <= el.rounds:
        i = pop_shared(s, e)
        item_at(s, i).next = -1
        if last < 0:
            el.leaving = i
        else:
            item_at(s, last).next = i
        last = i
    el.timer = -1
    el.busy = el.share_n > 0
    set_end(s, e)
    later(s, SHARED_NEXT, e, -1, -1)


@compiled
def next_shared(s: State, e: int) -> None:
    """Let the first of those leave that a round completed; then the others."""
    el = element_at(s, e)
    i = el.leaving
    if i < 0:
        return
    el.leaving = item_at(s, i).next
    item_at(s, i).next = -1
    later(s, SHARED_NEXT, e, -1, -1)
    later(s, ROUTE, e, i, -1)


@inlined
def put(row: Any, round_: int, serial: int, item: int) -> None:
    """Write an item into a row of a heap."""
    row.round, row.serial, row.item = round_, serial, item


@compiled
def push_shared(s: State, e: int, round_: int, i: int) -> None:
    """Add an item to the heap of a shared station."""
    el, serial = element_at(s, e), item_at(s, i).serial
    first, at = el.share_at * s.shares_full, el.share_n
    el.share_n += 1
    while at > 0:
        above = shared_at(s, first + ((at - 1) >> 1))
        if above.round < round_ or (above.round == round_ and above.serial < serial):
            break
        put(shared_at(s, first + at), above.round, above.serial, above.item)
        at = (at - 1) >> 1
    put(shared_at(s, first + at), round_, serial, i)


@compiled
def pop_shared(s: State, e: int) -> int:
    """Remove and return the first item of the heap of a shared station."""
    el = element_at(s, e)
    first, last = el.share_at * s.shares_full, el.share_n - 1
    el.share_n = last
    found, row = shared_at(s, first).item, shared_at(s, first + last)
    round_, serial, item, at = row.round, row.serial, row.item, 0
    while True:
        below = 2 * at + 1
        if below >= last:
            break
        one = shared_at(s, first + below)
        if below + 1 < last:
            other = shared_at(s, first + below + 1)
            if other.round < one.round or (other.round == one.round and other.serial < one.serial):
                below, one = below + 1, other
        if round_ < one.round or (round_ == one.round and serial < one.serial):
            break
        put(shared_at(s, first + at), one.round, one.serial, one.item)
        at = below
    put(shared_at(s, first + at), round_, serial, item)
    return found
