"""The kernel's loop: takes events in order and the steps that they cause, until a table or feed is used up.

A step checks what it needs before it changes anything; what is missing is returned as code << 32 | which, and the same
step runs again when Python has filled it up. So nothing depends on the sizes of blocks and tables.
"""
# mypy: disable-error-code=no-any-return
# (the fields of rows are numbers; mypy does not know numpy records)

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simulator.queues.kernel_flow import ADMITTED, FROM_SOURCE, close, come, fits, later
from simulator.queues.kernel_heap import pop_event
from simulator.queues.kernel_items import lose, lose_members, return_credits
from simulator.queues.kernel_jit import compiled, entry, fingerprint, inlined
from simulator.queues.kernel_layout import (
    ADMIT,
    BLOCKED,
    BRANCH,
    CREDITS,
    DELAY,
    DONE,
    ELEMENT_SHIFT,
    ELEMENTS,
    EMIT,
    EXIT,
    FAIL,
    FAMILY,
    FORK,
    FREE,
    FULL,
    GATE,
    GIVE,
    HEAP,
    JOIN,
    LOG,
    MEMBERS,
    MORE,
    NEED_SHIFT,
    NEXT,
    OUTAGE,
    PACK,
    R_BATCH,
    R_DELAY,
    R_EMIT,
    R_END,
    R_OUTAGE,
    R_SAMPLE,
    RANK_SHIFT,
    ROUTE,
    RULES,
    SAMPLE,
    SHARED_END,
    SHARED_NEXT,
    SLOTS,
    STACK,
    STATION,
    STUCK,
    UNTIE,
    WARM,
    State,
)  # fmt: skip
from simulator.queues.kernel_line import hold
from simulator.queues.kernel_moves import admit, emit, enter_delay, enter_exit, send
from simulator.queues.kernel_outages import fail, switch
from simulator.queues.kernel_parts import (
    branch,
    enter_fork,
    enter_gate,
    enter_join,
    enter_pack,
    enter_rules,
    enter_unpack,
    give,
    part_lost,
    untie,
)  # fmt: skip
from simulator.queues.kernel_rows import element_at, event_at, item_at, server_at, step_at
from simulator.queues.kernel_series import sample
from simulator.queues.kernel_share import end_shared, enter_shared, next_shared
from simulator.queues.kernel_station import enter_station, free_server, next_of


@inlined
def next_event(s: State) -> int:
    """Take the next event and leave its step for later. Returns DONE, WARM or STUCK where the loop must stop, or -1."""
    if s.heap_n == 0 or event_at(s, 0).tick > s.horizon:
        return DONE
    tick, code, item = event_at(s, 0).tick, event_at(s, 0).code, event_at(s, 0).item
    if tick > s.now:
        s.tick_from = s.events
    elif s.events - s.tick_from >= s.most_at_tick:
        return STUCK
    pop_event(s)
    s.now = tick
    s.events += 1
    rank, e, slot = code >> RANK_SHIFT, (code >> ELEMENT_SHIFT) & ELEMENTS, code & SLOTS
    el = element_at(s, e)
    if rank == R_END:
        if el.share:
            if el.timer == tick:
                later(s, SHARED_END, e, -1, -1)
            return -1
        server = server_at(s, el.server_at + slot)
        if server.ends == tick:
            server.ends = -1
            later(s, MORE, e, -1, el.server_at + slot)
    elif rank == R_EMIT:
        later(s, EMIT, e, -1, -1)
    elif rank == R_DELAY:
        later(s, ROUTE, e, item, -1)
    elif rank == R_BATCH:
        later(s, NEXT, e, -1, -1)  # an old timer changes nothing
    elif rank == R_OUTAGE:
        later(s, OUTAGE, e, -1, slot)
    elif rank == R_SAMPLE:
        later(s, SAMPLE, 0, -1, -1)
    else:
        return WARM
    return -1


@inlined
def enter(s: State, kind: int, e: int, i: int, how: int) -> int:
    """Let an item enter an element of a kind. Returns what is missing, or 0."""
    if kind in (STATION, GATE):
        if how != ADMITTED:
            el = element_at(s, e)
            if el.held_n > 0 or not fits(s, e, i):
                return turn_away(s, e, i, how)
        if kind == STATION:
            return enter_shared(s, e, i) if element_at(s, e).share else enter_station(s, e, i)
        enter_gate(s, e, i)
    elif kind == EXIT:
        enter_exit(s, e, i)
    elif kind == DELAY:
        return enter_delay(s, e, i)
    elif kind == RULES:
        enter_rules(s, e, i)
    elif kind == FORK:
        enter_fork(s, e, i)
    elif kind == JOIN:
        enter_join(s, e, i)
    elif kind == PACK:
        return enter_pack(s, e, i)
    else:
        enter_unpack(s, e, i)
    return 0


@compiled
def turn_away(s: State, e: int, i: int, how: int) -> int:
    """Lose an item that meets a full element, or hold it there if it may wait for it."""
    if element_at(s, e).blocks and how != FROM_SOURCE:
        item_at(s, i).at = -1
        hold(s, e, i, -1)
        return 0
    if element_at(s, e).blocks:
        close(s, e)
    come(s, e, i)
    lose(s, e, i, BLOCKED if element_at(s, e).blocks else FULL)
    return 0


@inlined
def server_hands_over(s: State, e: int, v: int) -> int:
    """Let the next item in a server's hands go. Returns what is missing, or 0."""
    server = server_at(s, v)
    i = server.first
    server.first = item_at(s, i).next
    found = send(s, e, i, v)
    if found > 0:
        server.first = i
    return found


@compiled
def seldom(s: State, step: int, e: int, i: int, v: int) -> int:
    """Run a step of the less common elements. Returns what is missing, or 0."""
    if step == ADMIT:
        admit(s, e)
    elif step == GIVE:
        give(s, e)
    elif step == CREDITS:
        return_credits(s, e, i, v)
    elif step == FAMILY:
        part_lost(s, i)
    elif step == MEMBERS:
        lose_members(s, e, i, v)
    elif step == BRANCH:
        return branch(s, e, i, v)
    elif step == UNTIE:
        return untie(s, e, i)
    elif step == SHARED_END:
        end_shared(s, e)
    elif step == SHARED_NEXT:
        next_shared(s, e)
    elif step == OUTAGE:
        return switch(s, e, v)
    elif step == FAIL:
        fail(s, e, v)
    else:
        return sample(s)
    return 0


@compiled
def loop(s: State) -> int:
    """Run until the horizon, the end of the warm-up, or until something is missing; return code << 32 | which."""
    while True:
        if s.stack_n == 0:
            found = next_event(s)
            if found >= 0:
                return found << NEED_SHIFT
            if s.stack_n == 0:
                continue
        if s.heap_n + 2 > s.heap_full:
            return HEAP << NEED_SHIFT
        if s.stack_n + 8 > s.stack_full:
            return STACK << NEED_SHIFT
        if s.log_n >= s.log_full:
            return LOG << NEED_SHIFT
        s.stack_n -= 1
        top = step_at(s, s.stack_n)
        step, e, i, v = top.step, top.element, top.item, top.server
        if step < ROUTE:
            found = enter(s, step, e, i, v)
        elif step == MORE:
            found = server_hands_over(s, e, v)
        elif step == FREE:
            free_server(s, e, v)
            found = 0
        elif step == NEXT:
            found = next_of(s, e)
        elif step == EMIT:
            found = emit(s, e)
        elif step == ROUTE:
            found = send(s, e, i, -1)
        else:
            found = seldom(s, step, e, i, v)
        if found > 0:
            s.stack_n += 1  # the step is still there: it runs again
            return found


def make_loop() -> Callable[[Any], int]:
    """Return the compiled loop; the checksum of the sources is part of its name in numba's cache."""
    sources = fingerprint()

    def go_on(run: Any) -> int:
        return loop(run[0]) if sources else -1

    return entry(go_on)
