"""Items of the kernel: rows of their table, starts and recorded times, losses and what they cause."""
# mypy: disable-error-code=no-any-return
# (the fields of rows are numbers; mypy does not know numpy records)

from __future__ import annotations

from simulator.queues.kernel_flow import later, mark_loss
from simulator.queues.kernel_jit import compiled, inlined
from simulator.queues.kernel_layout import CREDITS, FAMILY, GIVE, MEMBERS, State
from simulator.queues.kernel_rows import element_at, gate_at, item_at, logged_at

ENDED = -1  # in place of a cause: the items end with their packet at an exit
KEEP, END_AFTER = 0, 1  # what becomes of the row of an item that has given its credits back


@inlined
def no_item(s: State) -> bool:
    """Say whether the table of items is used up."""
    return s.free_item < 0 and s.items_n >= s.items_full


@inlined
def new_item(s: State, serial: int) -> int:
    """Take a row of the table of items; there must be one."""
    i = s.free_item
    if i >= 0:
        s.free_item = item_at(s, i).next
    else:
        i = s.items_n
        s.items_n += 1
    item = item_at(s, i)
    item.serial, item.credits = serial, 0
    item.next, item.server, item.parent, item.head = -1, -1, -1, -1
    return i


@inlined
def end_item(s: State, i: int) -> None:
    """Give a row of the table of items back."""
    item_at(s, i).next = s.free_item
    s.free_item = i


@inlined
def log(s: State, e: int, value: int) -> None:
    """Record a wait or sojourn; Python empties the log before it is full."""
    logged_at(s, s.log_n).element, logged_at(s, s.log_n).value = e, value
    s.log_n += 1


@inlined
def count_start(s: State, e: int, i: int) -> None:
    """Count an item that starts."""
    el, wait = element_at(s, e), s.now - item_at(s, i).entered
    el.started += 1
    if wait > 0:
        el.waited += 1
        el.wait_ticks += wait
    if el.log_waits:
        log(s, e, wait)


@compiled
def lose(s: State, e: int, i: int, cause: int) -> None:
    """Count the loss of an item that is in an element, which is closed already."""
    el, item = element_at(s, e), item_at(s, i)
    el.present -= 1
    el.bytes_lost += item.size
    el.lost_ticks += s.now - item.entered
    mark_loss(s, e, item.serial, cause)
    after_loss(s, e, i, cause)


@inlined
def after_loss(s: State, e: int, i: int, cause: int) -> None:
    """Leave for later what a loss causes: a packet's items are lost, the family learns of it, credits return."""
    later(s, CREDITS, e, i, END_AFTER)
    if item_at(s, i).parent >= 0:
        later(s, FAMILY, e, i, -1)
    if item_at(s, i).head >= 0:
        later(s, MEMBERS, e, i, cause)


@compiled
def lose_members(s: State, e: int, i: int, cause: int) -> None:
    """Lose the first item of a lost packet (or end it: cause ENDED), with all that it causes; then the others."""
    m = item_at(s, i).head
    if m < 0:
        return
    item_at(s, i).head = item_at(s, m).next
    item_at(s, m).next = -1
    if cause != ENDED:
        element_at(s, e).arrived += 1
        mark_loss(s, e, item_at(s, m).serial, cause)
    later(s, MEMBERS, e, i, cause)
    after_loss(s, e, m, cause)


@compiled
def return_credits(s: State, e: int, i: int, after: int) -> None:
    """Give back the credits that an ended item holds, lowest gate first; then its row may be free."""
    item = item_at(s, i)
    if item.credits == 0:
        if after == END_AFTER:
            end_item(s, i)
        return
    bit = item.credits & -item.credits
    item.credits &= ~bit
    later(s, CREDITS, e, i, after)
    at = 0
    while element_at(s, gate_at(s, at).value).bit != bit:
        at += 1
    later(s, GIVE, gate_at(s, at).value, -1, -1)
