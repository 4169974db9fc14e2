"""Items between elements in the kernel: emission, routing, holding, admission, exits."""
# mypy: disable-error-code=no-any-return
# (the fields of rows are numbers; mypy does not know numpy records)

from __future__ import annotations

from simulator.queues.kernel_flow import (
    ADMITTED,
    FROM_SOURCE,
    NEWCOMER,
    close,
    come,
    enter_later,
    fits,
    go,
    holds_back,
    later,
    mark,
    no_route,
    spent,
    take,
    target_of,
)  # fmt: skip
from simulator.queues.kernel_heap import push_event
from simulator.queues.kernel_items import END_AFTER, ENDED, end_item, log, new_item, no_item
from simulator.queues.kernel_jit import compiled, inlined
from simulator.queues.kernel_layout import (
    ADMIT,
    CREDITS,
    FEED,
    FREE,
    GIVE,
    HOLDING,
    ITEMS,
    JOIN,
    MEMBERS,
    MORE,
    NEED_SHIFT,
    PACK,
    R_DELAY,
    R_EMIT,
    WORKING,
    State,
)  # fmt: skip
from simulator.queues.kernel_line import hold, hold_first, take_held
from simulator.queues.kernel_parts import leave_join, leave_pack
from simulator.queues.kernel_rows import element_at, feed_at, item_at, server_at, service_at, whole_at
from simulator.queues.kernel_station import duration


@inlined
def emit(s: State, e: int) -> int:
    """Make the next item of a source and set the tick of the one after it. Returns what is missing, or 0."""
    el = element_at(s, e)
    if no_item(s):
        return ITEMS << NEED_SHIFT
    if spent(s, el.arrivals_feed):
        return FEED << NEED_SHIFT | el.arrivals_feed
    if spent(s, el.class_feed):
        return FEED << NEED_SHIFT | el.class_feed
    if spent(s, el.size_feed):
        return FEED << NEED_SHIFT | el.size_feed
    kind = el.only_class
    if el.class_feed >= 0:
        kind = whole_at(s, feed_at(s, el.class_feed).base + feed_at(s, el.class_feed).at).value
    if no_route(s, e, kind):
        return FEED << NEED_SHIFT | el.route_feed
    if el.class_feed >= 0:
        take(s, el.class_feed)
    i = new_item(s, s.serial)
    s.serial += 1
    item = item_at(s, i)
    item.kind, item.born, item.at, item.entered = kind, s.now, e, s.now
    item.size = whole_at(s, take(s, el.size_feed)).value if el.size_feed >= 0 else el.only_size
    el.arrived += 1
    el.left += 1
    el.bytes_in += item.size
    el.bytes_out += item.size
    mark(s, e, item.serial)
    push_event(s, whole_at(s, take(s, el.arrivals_feed)).value, R_EMIT, e, 0, -1)
    enter_later(s, target_of(s, e, kind), i, FROM_SOURCE)
    return 0


@inlined
def send(s: State, e: int, i: int, v: int) -> int:
    """Route an item out of an element, or hold it where its target is full (v: the server behind it, or -1)."""
    kind = item_at(s, i).kind
    if no_route(s, e, kind):
        return FEED << NEED_SHIFT | element_at(s, e).route_feed
    target = target_of(s, e, kind)
    if holds_back(s, target, i):
        if v >= 0:
            close(s, e)
            server_at(s, v).state = HOLDING
            element_at(s, e).busy -= 1
            element_at(s, e).blocked += 1
        hold(s, target, i, v)
        return 0
    last = v >= 0 and server_at(s, v).first < 0
    if v >= 0 and not last:
        later(s, MORE, e, -1, v)
    enter_later(s, target, i, NEWCOMER)
    leave(s, e, i)
    vacate(s, e, i)
    admit_shared(s, e)
    if last:
        later(s, FREE, e, -1, v)
    return 0


@inlined
def leave(s: State, e: int, i: int) -> None:
    """Count what leaves an element: the item, or the parts or items that it is made of."""
    close(s, e)
    kind = element_at(s, e).kind
    if kind == JOIN:
        leave_join(s, e, i)
    elif kind == PACK:
        leave_pack(s, e, i)
    else:
        go(s, e, i)


@inlined
def vacate(s: State, e: int, i: int) -> None:
    """An item that leaves an element gives up the credit that it holds of its gate, which goes back later."""
    gate, item = element_at(s, e).returns, item_at(s, i)
    if gate >= 0 and (item.credits & element_at(s, gate).bit) != 0:
        item.credits &= ~element_at(s, gate).bit
        later(s, GIVE, gate, -1, -1)


@inlined
def admit_shared(s: State, e: int) -> None:
    """After an item has left a shared station, held ones may enter it."""
    if element_at(s, e).share and element_at(s, e).held_n > 0:
        later(s, ADMIT, e, -1, -1)


@compiled
def admit(s: State, e: int) -> None:
    """Let the first held item enter, if it fits; then the next."""
    el = element_at(s, e)
    if el.held_n == 0 or not fits(s, e, el.held_head):
        return
    i = take_held(s, e)
    item = item_at(s, i)
    old, v = item.at, item.server
    later(s, ADMIT, e, -1, -1)
    if old >= 0:
        close(s, old)
        last = v >= 0 and server_at(s, v).first < 0
        if v >= 0:
            server_at(s, v).state = WORKING
            element_at(s, old).blocked -= 1
            element_at(s, old).busy += 1
            if not last:
                later(s, MORE, old, -1, v)
        leave(s, old, i)
        vacate(s, old, i)
        admit_shared(s, old)
        if last:
            later(s, FREE, old, -1, v)
        if not fits(s, e, i):  # it fitted by the credit of this gate that it has just given up
            hold_first(s, e, i)
            return
    enter_later(s, e, i, ADMITTED)


@inlined
def enter_delay(s: State, e: int, i: int) -> int:
    """Start the time of an item's own. Returns what is missing, or 0."""
    feed = service_at(s, e * s.classes + item_at(s, i).kind).feed
    if spent(s, feed):
        return FEED << NEED_SHIFT | feed
    close(s, e)
    come(s, e, i)
    push_event(s, s.now + duration(s, e, i, 1.0), R_DELAY, e, item_at(s, i).serial, i)
    return 0


@inlined
def enter_exit(s: State, e: int, i: int) -> None:
    """End an item: its time from birth is recorded, and the credits that it still holds go back."""
    item = item_at(s, i)
    close(s, e)
    come(s, e, i)
    go(s, e, i)
    log(s, e, s.now - item.born)
    if item.credits != 0 or item.head >= 0:
        later(s, CREDITS, e, i, END_AFTER)
        if item.head >= 0:
            later(s, MEMBERS, e, i, ENDED)
    else:
        end_item(s, i)
