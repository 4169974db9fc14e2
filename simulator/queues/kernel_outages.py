"""Servers that stop and go on, in the kernel (docs/station-networks.md, Stations, 7)."""
# mypy: disable-error-code=no-any-return
# (the fields of rows are numbers; mypy does not know numpy records)

from __future__ import annotations

from simulator.queues.kernel_flow import close, later, spent, take
from simulator.queues.kernel_heap import push_event
from simulator.queues.kernel_items import lose
from simulator.queues.kernel_jit import compiled
from simulator.queues.kernel_layout import (
    ADMIT,
    FAIL,
    FAILING,
    FAILURE,
    FEED,
    FINISH,
    HEAP,
    IDLE,
    LOSE,
    NEED_SHIFT,
    NEXT,
    R_END,
    R_OUTAGE,
    RESTART,
    STOPPED,
    WORKING,
    State,
)  # fmt: skip
from simulator.queues.kernel_line import make_idle
from simulator.queues.kernel_rows import element_at, item_at, server_at, whole_at


@compiled
def switch(s: State, e: int, slot: int) -> int:
    """Stop a server, or all together, or let them go on. Returns what is missing, or 0."""
    el, first = element_at(s, e), element_at(s, e).server_at
    leader = server_at(s, first + slot)
    if spent(s, leader.switch_feed):
        return FEED << NEED_SHIFT | leader.switch_feed
    count = el.servers if el.together else 1
    if s.heap_n + count + 1 > s.heap_full:  # each may go on with its item
        return HEAP << NEED_SHIFT
    push_event(s, whole_at(s, take(s, leader.switch_feed)).value, R_OUTAGE, e, slot, -1)
    close(s, e)
    goes_up = leader.up == 0
    if not goes_up:
        later(s, FAIL, e, -1, first + slot)
    else:
        later(s, ADMIT, e, -1, -1)
        later(s, NEXT, e, -1, -1)
    for v in range(first + slot, first + slot + count):
        if goes_up:
            go_on(s, e, v)
        else:
            stop(s, e, v)
    return 0


@compiled
def stop(s: State, e: int, v: int) -> None:
    """A server goes down; one that holds an item for a full target stays blocked."""
    el, server = element_at(s, e), server_at(s, v)
    server.up = 0
    if server.state == IDLE:
        el.idle -= 1
        el.down += 1
    elif server.state == WORKING and el.work != FINISH:
        el.busy -= 1
        el.down += 1
        server.state = FAILING if el.work == LOSE else STOPPED
        if el.work != RESTART:
            server.work = server.ends - s.now
        server.ends = -1


@compiled
def go_on(s: State, e: int, v: int) -> None:
    """A server is up again: it goes on with its item, or is free."""
    el, server = element_at(s, e), server_at(s, v)
    server.up = 1
    if server.state == STOPPED:
        el.down -= 1
        el.busy += 1
        server.state = WORKING
        server.ends = s.now + server.work
        push_event(s, server.ends, R_END, e, v - el.server_at, -1)
    elif server.state == IDLE:
        el.down -= 1
        make_idle(s, e, v)


@compiled
def fail(s: State, e: int, v: int) -> None:
    """Lose the first item of the first server, from v on, whose work is lost; then the others."""
    el = element_at(s, e)
    until = el.server_at + el.servers if el.together else v + 1
    while v < until:
        server = server_at(s, v)
        if server.state == FAILING:
            if server.first >= 0:
                i = server.first
                server.first = item_at(s, i).next
                item_at(s, i).next = -1
                later(s, FAIL, e, -1, v)
                lose(s, e, i, FAILURE)
                return
            server.state = IDLE
        v += 1
