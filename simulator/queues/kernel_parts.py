"""Elements without servers in the kernel: rules, gates, forks and joins, packets."""
# mypy: disable-error-code=no-any-return
# (the fields of rows are numbers; mypy does not know numpy records)

from __future__ import annotations

from simulator.queues.kernel_flow import NEWCOMER, close, come, enter_later, go, later, mark_loss, no_route, target_of
from simulator.queues.kernel_items import KEEP, after_loss, count_start, end_item, lose, new_item, no_item
from simulator.queues.kernel_jit import compiled
from simulator.queues.kernel_layout import (
    ADMIT,
    BRANCH,
    CREDITS,
    FEED,
    ITEMS,
    NEED_SHIFT,
    PART_LOST,
    ROUTE,
    RULE,
    UNTIE,
    State,
)  # fmt: skip
from simulator.queues.kernel_line import line_up, take_first
from simulator.queues.kernel_rows import branch_at, element_at, item_at, line_at, ring_at, rule_at, target_at


@compiled
def enter_rules(s: State, e: int, i: int) -> None:
    """Let an item pass, or drop it by a rule or within the dead time."""
    el, now = element_at(s, e), s.now
    close(s, e)
    come(s, e, i)
    passes = now >= el.dead_until
    for r in range(el.rules_at, el.rules_at + el.rules_n):
        rule = rule_at(s, r)
        last = ring_at(s, rule.ring_at + rule.turn).value
        passes = passes and (last < 0 or now - last >= rule.window)
    if passes or el.extendable:
        el.dead_until = now + el.dead
    if not passes:
        lose(s, e, i, RULE)
        return
    for r in range(el.rules_at, el.rules_at + el.rules_n):
        rule = rule_at(s, r)
        ring_at(s, rule.ring_at + rule.turn).value = now
        rule.turn = rule.turn + 1 if rule.turn + 1 < rule.accepts else 0
    later(s, ROUTE, e, i, -1)


@compiled
def enter_gate(s: State, e: int, i: int) -> None:
    """Let an item pass with a credit (or one that it holds), or wait; it fits."""
    el, item = element_at(s, e), item_at(s, i)
    close(s, e)
    come(s, e, i)
    if (item.credits & el.bit) == 0:
        if el.waiting > 0 or el.credits == 0:
            line_up(s, e, i)
            return
        el.credits -= 1
        item.credits |= el.bit
    count_start(s, e, i)
    later(s, ROUTE, e, i, -1)


@compiled
def give(s: State, e: int) -> None:
    """Take a credit back: the first waiting item passes with it."""
    el = element_at(s, e)
    if el.waiting == 0:
        el.credits += 1
        if el.held_n > 0:
            later(s, ADMIT, e, -1, -1)
        return
    close(s, e)
    i = take_first(s, e)
    item_at(s, i).credits |= el.bit
    count_start(s, e, i)
    if el.blocks:
        later(s, ADMIT, e, -1, -1)
    later(s, ROUTE, e, i, -1)


@compiled
def enter_fork(s: State, e: int, i: int) -> None:
    """Let an item leave as parts, which take their numbers; it waits for its join."""
    el, item = element_at(s, e), item_at(s, i)
    close(s, e)
    come(s, e, i)
    go(s, e, i)
    item.missing, item.join, item.first_part = el.n_targets, el.join, s.serial
    item.parts_lost = item.parts_size = 0
    item.parts = item.last_part = -1
    s.serial += el.n_targets
    later(s, BRANCH, e, i, 0)


@compiled
def branch(s: State, e: int, i: int, j: int) -> int:
    """Make one part, which enters its target; then the next. Returns what is missing, or 0."""
    if no_item(s):
        return ITEMS << NEED_SHIFT
    part = new_item(s, item_at(s, i).first_part + j)
    made, item = item_at(s, part), item_at(s, i)
    made.kind, made.born, made.parent, made.at = item.kind, item.born, i, -1
    size = branch_at(s, e * s.targets_n + j).value
    made.size = size if size >= 0 else item.size
    if j + 1 < element_at(s, e).n_targets:
        later(s, BRANCH, e, i, j + 1)
    enter_later(s, target_at(s, e * s.targets_n + j).value, part, NEWCOMER)
    return 0


@compiled
def enter_join(s: State, e: int, i: int) -> None:
    """Let a part wait for the others of its item."""
    el, whole = element_at(s, e), item_at(s, item_at(s, i).parent)
    close(s, e)
    come(s, e, i)
    el.waiting += 1
    el.waiting_bytes += item_at(s, i).size
    if whole.parts < 0:
        whole.parts = i
    else:
        item_at(s, whole.last_part).next = i
    whole.last_part = i
    item_at(s, i).next = -1
    whole.parts_size += item_at(s, i).size
    one_less(s, item_at(s, i).parent)


@compiled
def part_lost(s: State, i: int) -> None:
    """Tell the family of a part that it is lost."""
    p = item_at(s, i).parent
    item_at(s, i).parent = -1
    item_at(s, p).parts_lost += 1
    one_less(s, p)


@compiled
def one_less(s: State, p: int) -> None:
    """A part has come or is lost: after the last one the item goes on from its join, or is lost there."""
    whole = item_at(s, p)
    whole.missing -= 1
    if whole.missing > 0:
        return
    e, i = whole.join, whole.parts
    close(s, e)
    while i >= 0:
        element_at(s, e).waiting -= 1
        element_at(s, e).waiting_bytes -= item_at(s, i).size
        i = item_at(s, i).next
    if whole.parts_lost == 0:
        whole.size, whole.at = whole.parts_size, e
        later(s, ROUTE, e, p, -1)
        return
    leave_join(s, e, p)
    el = element_at(s, e)
    el.arrived += 1
    el.bytes_in += whole.size
    el.bytes_lost += whole.size
    mark_loss(s, e, whole.serial, PART_LOST)
    after_loss(s, e, p, PART_LOST)


@compiled
def leave_join(s: State, e: int, p: int) -> None:
    """Let the parts of an item end, in the order in which they came; the join is closed already."""
    i = item_at(s, p).parts
    while i >= 0:
        following = item_at(s, i).next
        go(s, e, i)
        end_item(s, i)
        i = following
    item_at(s, p).parts = -1


@compiled
def enter_pack(s: State, e: int, i: int) -> int:
    """Let an item wait for its packet; the last one makes it. Returns what is missing, or 0."""
    el, line = element_at(s, e), line_at(s, element_at(s, e).line_at)
    if el.waiting + 1 == el.pack and no_item(s):
        return ITEMS << NEED_SHIFT
    close(s, e)
    come(s, e, i)
    line_up(s, e, i)
    if el.waiting < el.pack:
        return 0
    p = new_item(s, s.serial)
    s.serial += 1
    packet, first = item_at(s, p), item_at(s, line.head)
    packet.kind, packet.born, packet.head, packet.at, packet.size = first.kind, first.born, line.head, e, 0
    i = line.head
    while i >= 0:
        packet.size += item_at(s, i).size
        i = item_at(s, i).next
    line.head = -1
    el.waiting = el.waiting_bytes = 0
    later(s, ROUTE, e, p, -1)
    return 0


@compiled
def leave_pack(s: State, e: int, p: int) -> None:
    """Let the items of a packet leave, in order; the pack is closed already."""
    i = item_at(s, p).head
    while i >= 0:
        go(s, e, i)
        i = item_at(s, i).next


@compiled
def enter_unpack(s: State, e: int, i: int) -> None:
    """End a packet, whose items go on; what is no packet passes."""
    close(s, e)
    come(s, e, i)
    if item_at(s, i).head < 0:
        later(s, ROUTE, e, i, -1)
        return
    go(s, e, i)
    later(s, UNTIE, e, i, -1)
    if item_at(s, i).credits != 0:
        later(s, CREDITS, e, i, KEEP)


@compiled
def untie(s: State, e: int, p: int) -> int:
    """Let the first item of an ended packet enter its next element; then the others. Returns what is missing, or 0."""
    i = item_at(s, p).head
    if i < 0:
        end_item(s, p)
        return 0
    if no_route(s, e, item_at(s, i).kind):
        return FEED << NEED_SHIFT | element_at(s, e).route_feed
    item_at(s, p).head = item_at(s, i).next
    item_at(s, i).next = item_at(s, i).at = -1
    later(s, UNTIE, e, p, -1)
    enter_later(s, target_of(s, e, item_at(s, i).kind), i, NEWCOMER)
    return 0
