"""Heaps of the kernel: pending events by (tick, code), and free servers by their rank."""
# mypy: disable-error-code=no-any-return
# (the fields of rows are numbers; mypy does not know numpy records)

from __future__ import annotations

from typing import Any

from simulator.queues.kernel_jit import inlined
from simulator.queues.kernel_layout import ELEMENT_SHIFT, RANK_SHIFT, State
from simulator.queues.kernel_rows import event_at


@inlined
def put(row: Any, tick: int, code: int, item: int) -> None:
    """Write an event into a row of the heap."""
    row.tick, row.code, row.item = tick, code, item


@inlined
def push_event(s: State, tick: int, rank: int, element: int, slot: int, item: int) -> None:
    """Add an event; `item` is the item's row where the slot is its serial number."""
    code = (rank << RANK_SHIFT) | (element << ELEMENT_SHIFT) | slot
    at = s.heap_n
    s.heap_n = at + 1
    while at > 0:
        above = event_at(s, (at - 1) >> 1)
        if above.tick < tick or (above.tick == tick and above.code <= code):
            break
        put(event_at(s, at), above.tick, above.code, above.item)
        at = (at - 1) >> 1
    put(event_at(s, at), tick, code, item)


@inlined
def pop_event(s: State) -> None:
    """Remove the first event: the last one sinks from its place."""
    last = s.heap_n - 1
    s.heap_n = last
    tick, code, item = event_at(s, last).tick, event_at(s, last).code, event_at(s, last).item
    at = 0
    while True:
        below = 2 * at + 1
        if below >= last:
            break
        one = event_at(s, below)
        if below + 1 < last:
            other = event_at(s, below + 1)
            if other.tick < one.tick or (other.tick == one.tick and other.code < one.code):
                below, one = below + 1, other
        if tick < one.tick or (tick == one.tick and code <= one.code):
            break
        put(event_at(s, at), one.tick, one.code, one.item)
        at = below
    put(event_at(s, at), tick, code, item)
