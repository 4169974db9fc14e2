"""Waiting lines, free servers and held items of the kernel."""
# mypy: disable-error-code=no-any-return
# (the fields of rows are numbers; mypy does not know numpy records)

from __future__ import annotations

from simulator.queues.kernel_jit import compiled, inlined
from simulator.queues.kernel_layout import State
from simulator.queues.kernel_rows import by_rank_at, element_at, free_at, item_at, line_at, server_at


@inlined
def line_up(s: State, e: int, i: int) -> None:
    """Put an item at the end of its class's line (one line for all where the discipline is fifo)."""
    el, item = element_at(s, e), item_at(s, i)
    line = line_at(s, el.line_at + min(item.kind, el.lines - 1))
    if line.head < 0:
        line.head = i
    else:
        item_at(s, line.tail).next = i
    line.tail = i
    item.next = -1
    el.waiting += 1
    el.waiting_bytes += item.size


@inlined
def first_line(s: State, e: int) -> int:
    """Return the line of the lowest class that has somebody waiting; there must be one."""
    at = element_at(s, e).line_at
    while line_at(s, at).head < 0:
        at += 1
    return at


@inlined
def take_first(s: State, e: int) -> int:
    """Remove and return the item that is served next."""
    el = element_at(s, e)
    line = line_at(s, first_line(s, e))
    i = line.head
    line.head = item_at(s, i).next
    item_at(s, i).next = -1
    el.waiting -= 1
    el.waiting_bytes -= item_at(s, i).size
    return i


@compiled
def oldest(s: State, e: int) -> int:
    """Return the tick at which the first of all waiting items came; there must be one."""
    el, found = element_at(s, e), -1
    for at in range(el.line_at, el.line_at + el.lines):
        i = line_at(s, at).head
        if i >= 0 and (found < 0 or item_at(s, i).entered < found):
            found = item_at(s, i).entered
    return found


@inlined
def make_idle(s: State, e: int, v: int) -> None:
    """Add an up server without work to the free ones: a heap of ranks (speed, then number)."""
    el, server = element_at(s, e), server_at(s, v)
    el.idle += 1
    if server.in_free:
        return
    server.in_free = 1
    base = el.server_at
    at = el.free_n
    el.free_n += 1
    while at > 0 and free_at(s, base + ((at - 1) >> 1)).value > server.rank:
        free_at(s, base + at).value = free_at(s, base + ((at - 1) >> 1)).value
        at = (at - 1) >> 1
    free_at(s, base + at).value = server.rank


@inlined
def take_idle(s: State, e: int) -> int:
    """Remove and return the best free server; there must be one (those that went down meanwhile are passed over)."""
    el = element_at(s, e)
    base = el.server_at
    while True:
        v = by_rank_at(s, base + free_at(s, base).value).value
        server_at(s, v).in_free = 0
        el.free_n -= 1
        last, at = free_at(s, base + el.free_n).value, 0
        while True:
            below = 2 * at + 1
            if below >= el.free_n:
                break
            if below + 1 < el.free_n and free_at(s, base + below + 1).value < free_at(s, base + below).value:
                below += 1
            if last <= free_at(s, base + below).value:
                break
            free_at(s, base + at).value = free_at(s, base + below).value
            at = below
        free_at(s, base + at).value = last
        if server_at(s, v).up and server_at(s, v).state == 0:
            el.idle -= 1
            return v


@compiled
def hold(s: State, target: int, i: int, server: int) -> None:
    """Put an item, and the server behind it (-1: none), at the end of those that a full element holds."""
    el, item = element_at(s, target), item_at(s, i)
    item.server, item.next = server, -1
    if el.held_head < 0:
        el.held_head = i
    else:
        item_at(s, el.held_tail).next = i
    el.held_tail = i
    el.held_n += 1


@compiled
def hold_first(s: State, target: int, i: int) -> None:
    """Put an item, with nothing behind it, in front of those that a full element holds."""
    el, item = element_at(s, target), item_at(s, i)
    item.at, item.server, item.next = -1, -1, el.held_head
    if el.held_head < 0:
        el.held_tail = i
    el.held_head = i
    el.held_n += 1


@compiled
def take_held(s: State, target: int) -> int:
    """Remove and return the first held item."""
    el = element_at(s, target)
    i = el.held_head
    el.held_head = item_at(s, i).next
    item_at(s, i).next = -1
    el.held_n -= 1
    return i
