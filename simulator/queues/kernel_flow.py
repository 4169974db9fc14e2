"""How items move in the kernel: steps left for later, sums, routes, entering and leaving."""
# mypy: disable-error-code=no-any-return
# (the fields of rows are numbers; mypy does not know numpy records)

from __future__ import annotations

import numpy as np

from simulator.queues.kernel_jit import inlined
from simulator.queues.kernel_layout import BY_ROWS, CAUSES, GATE, SHORTEST, State
from simulator.queues.kernel_rows import (
    cumulative_at,
    drawn_at,
    element_at,
    feed_at,
    fixed_at,
    histogram_at,
    item_at,
    lost_at,
    step_at,
    target_at,
)  # fmt: skip

BINS = 4_096  # the last bin of a histogram
FACTOR = np.uint64(6364136223846793005)
CAUSE = np.uint64(1 << 56)
NEWCOMER, FROM_SOURCE, ADMITTED = -1, -2, -3  # how an item enters


@inlined
def later(s: State, step: int, element: int, item: int, server: int) -> None:
    """Leave a step for later: the one left last runs first."""
    top = step_at(s, s.stack_n)
    top.step, top.element, top.item, top.server = step, element, item, server
    s.stack_n += 1


@inlined
def enter_later(s: State, e: int, i: int, how: int) -> None:
    """Let an item enter an element when what was left after this is done."""
    later(s, element_at(s, e).kind, e, i, how)


@inlined
def close(s: State, e: int) -> None:
    """Bring an element's areas and times to now, before it changes."""
    el = element_at(s, e)
    ticks = s.now - el.last
    if ticks > 0:
        el.last += ticks
        el.area_present += ticks * el.present
        el.busy_ticks += ticks * el.busy
        el.blocked_ticks += ticks * el.blocked
        el.down_ticks += ticks * el.down
        histogram_at(s, e * (BINS + 1) + min(el.waiting, BINS)).value += ticks
        if el.waiting > 0:
            el.area_waiting += ticks * el.waiting
            el.area_bytes += float(el.waiting_bytes) * float(ticks)
            el.most_waiting = max(el.most_waiting, el.waiting)


@inlined
def come(s: State, e: int, i: int) -> None:
    """Count an item that enters an element, which is closed already."""
    el, item = element_at(s, e), item_at(s, i)
    item.at, item.entered = e, s.now
    el.arrived += 1
    el.bytes_in += item.size
    el.present += 1


@inlined
def go(s: State, e: int, i: int) -> None:
    """Count an item that leaves an element, which is closed already."""
    el, item, now = element_at(s, e), item_at(s, i), s.now
    el.left += 1
    el.bytes_out += item.size
    el.sojourn_ticks += now - item.entered
    el.present -= 1
    mark(s, e, item.serial)


@inlined
def mark(s: State, e: int, serial: int) -> None:
    """Add a departure to the hash of an element."""
    el = element_at(s, e)
    el.hash = el.hash * FACTOR + np.uint64(s.now) + np.uint64(serial * 2 + 1)


@inlined
def mark_loss(s: State, e: int, serial: int, cause: int) -> None:
    """Add a loss to the hash of an element."""
    el = element_at(s, e)
    lost_at(s, e * CAUSES + cause).value += 1
    el.hash = el.hash * FACTOR + np.uint64(s.now) + np.uint64(serial * 2) + np.uint64(cause + 1) * CAUSE


@inlined
def spent(s: State, f: int) -> bool:
    """Say whether a feed has no number left (-1: nothing is drawn)."""
    return f >= 0 and feed_at(s, f).at >= feed_at(s, f).n


@inlined
def take(s: State, f: int) -> int:
    """Move a feed that is not spent on; return the place of its number."""
    feed = feed_at(s, f)
    feed.at += 1
    return feed.base + feed.at - 1


@inlined
def no_route(s: State, e: int, kind: int) -> bool:
    """Say whether the route of a class needs a variate that is not there."""
    return fixed_at(s, e * s.classes + kind).value < 0 and spent(s, element_at(s, e).route_feed)


@inlined
def target_of(s: State, e: int, kind: int) -> int:
    """Return the element to which an item of a class goes; the route's feed is not spent."""
    found = fixed_at(s, e * s.classes + kind).value
    if found >= 0:
        return found
    el = element_at(s, e)
    if el.how == BY_ROWS:
        u, j = drawn_at(s, take(s, el.route_feed)).value, 0
        row = (e * s.classes + kind) * s.targets_n
        while u >= cumulative_at(s, row + j).value:  # 1 from the last that can be taken on
            j += 1
        return target_at(s, e * s.targets_n + j).value
    found = target_at(s, e * s.targets_n).value
    if el.how == SHORTEST:
        for j in range(1, el.n_targets):
            other = target_at(s, e * s.targets_n + j).value
            if element_at(s, other).present < element_at(s, found).present:
                found = other
        return found
    found = target_at(s, e * s.targets_n + el.turn).value
    el.turn = (el.turn + 1) % el.n_targets
    return found


@inlined
def fits(s: State, e: int, i: int) -> bool:
    """Say whether a station or gate can take an item that nobody overtakes: it starts or passes at once, or waits."""
    el, item = element_at(s, e), item_at(s, i)
    if el.share:
        return el.places < 0 or el.present < 1 + el.places
    if el.kind == GATE:
        if (item.credits & el.bit) != 0 or (el.waiting == 0 and el.credits > 0):
            return True
    elif el.batch == 0 and el.idle > 0 and el.waiting == 0:
        return True
    if el.places >= 0 and el.waiting >= el.places:
        return False
    return el.places_bytes < 0 or el.waiting_bytes + item.size <= el.places_bytes


@inlined
def holds_back(s: State, e: int, i: int) -> bool:
    """Say whether a newcomer would be held here: a full element that blocks, or others that are held already."""
    el = element_at(s, e)
    return el.blocks != 0 and (el.held_n > 0 or not fits(s, e, i))
