"""Routes and variates of the callback engine, as the cheapest function that does the job."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from math import floor
from typing import Any

from simulator.queues.callback_core import KIND, Item
from simulator.queues.compiled import Compiled, How
from simulator.queues.feeds import LONGEST_TICKS, Feed

NEVER = 2**62
"""An instant after every horizon: what a feed gives that has ended."""


def numbers(feed: Feed) -> Callable[[], Any]:
    """Return a function that gives the next number of a feed (no Python code runs between two blocks)."""
    return chain.from_iterable(_lists(feed)).__next__


def _lists(feed: Feed) -> Iterator[Any]:
    while True:
        block = feed.next_block().tolist()
        if not block:
            yield repeat(NEVER)
        yield block


def chooser(compiled: Compiled, at: int, elements: list[Any]) -> Callable[[Item], Any]:
    """Return the function that gives an item's target."""
    how = compiled.how[at]
    targets = [elements[t] for t in compiled.targets[at, : compiled.n_targets[at]].tolist()]
    if how in (How.FORK, How.NONE):
        return _none
    fixed = compiled.fixed[at].tolist()
    if min(fixed) >= 0:
        return _fixed([elements[t] for t in fixed])
    if how == How.CYCLE:
        turns = chain.from_iterable(repeat(targets)).__next__
        return lambda item: turns()
    if how == How.SHORTEST:
        return lambda item: min(targets, key=_present)
    return _random(compiled, at, targets, [elements[t] if t >= 0 else None for t in fixed])


def _none(item: Item) -> Any:
    raise AssertionError("This element has no route.")


def _present(element: Any) -> int:
    found: int = element.present_now()
    return found


def _fixed(by_kind: list[Any]) -> Callable[[Item], Any]:
    only = by_kind[0]
    if all(target is only for target in by_kind):
        return lambda item: only
    return lambda item: by_kind[item[KIND]]


def _random(compiled: Compiled, at: int, targets: list[Any], fixed: list[Any]) -> Callable[[Item], Any]:
    draw = numbers(compiled.feeds[compiled.route_feed[at]])
    rows = [row[: len(targets)].tolist() for row in compiled.cumulative[at]]
    if all(row == rows[0] for row in rows):
        row = rows[0]
        return lambda item: targets[bisect_right(row, draw())]

    def by_class(item: Item) -> Any:
        kind = item[KIND]
        return fixed[kind] or targets[bisect_right(rows[kind], draw())]

    return by_class


def durations(compiled: Compiled, at: int) -> Callable[[Item, float], int]:
    """Return the function (item, speed) -> ticks of one service; the speed counts only where a station has speeds."""
    by_kind = _by_kind(compiled, at)
    if len(by_kind) == 1:
        return by_kind[0]
    return lambda item, speed: by_kind[item[KIND]](item, speed)


def _by_kind(compiled: Compiled, at: int) -> list[Callable[[Item, float], int]]:
    """Return a function a class; classes with the same feed share one reader."""
    readers: dict[int, Callable[[], Any]] = {}
    made: dict[tuple[Any, ...], Callable[[Item, float], int]] = {}
    found = []
    for kind in range(compiled.n_classes):
        feed, ticks = int(compiled.service_feed[at, kind]), int(compiled.service_ticks[at, kind])
        if feed >= 0 and feed not in readers:
            readers[feed] = numbers(compiled.feeds[feed])
        key = (feed, ticks, *compiled.polynomial_s[at, kind].tolist())
        if key not in made:
            made[key] = _duration(compiled, at, kind, readers.get(feed))
        found.append(made[key])
    return found if len(made) > 1 else found[:1]


def _duration(compiled: Compiled, at: int, kind: int, draw: Callable[[], Any] | None) -> Callable[[Item, float], int]:
    ticks = int(compiled.service_ticks[at, kind])
    if ticks >= 0:
        return lambda item, speed: ticks
    if compiled.service_ready[at, kind]:
        assert draw is not None
        return lambda item, speed: draw()
    a0, a1, a2, a3 = compiled.polynomial_s[at, kind].tolist()
    tps, divided = float(compiled.ticks_per_second), bool(compiled.speeds[at])

    def duration(item: Item, speed: float) -> int:
        size = float(item[2])
        ticks = ((((a3 * size + a2) * size + a1) * size + a0) * tps) * (1.0 if draw is None else draw())
        return whole_ticks(ticks / speed if divided else ticks)

    return duration


def whole_ticks(ticks: float) -> int:
    """Return floor(ticks + 0.5) within 0 and `LONGEST_TICKS`, as `feeds.rounded` does."""
    return min(max(floor(ticks + 0.5), 0), LONGEST_TICKS)


def batch_times(compiled: Compiled, at: int) -> Callable[[int, float], int]:
    """Return the function (items, speed) -> ticks of one batch."""
    feed = int(compiled.service_feed[at, 0])
    draw = numbers(compiled.feeds[feed]) if feed >= 0 else None
    times, tps, divided = compiled.batch_time_s[at], float(compiled.ticks_per_second), bool(compiled.speeds[at])

    def duration(count: int, speed: float) -> int:
        ticks = (times[count - 1] * tps) * (1.0 if draw is None else draw())
        return whole_ticks(ticks / speed if divided else ticks)

    return duration


def plain_service(compiled: Compiled, at: int) -> Callable[[], int] | None:
    """Return a function that gives ticks without arguments, where all classes have the same ready or constant time."""
    ticks, feeds = set(compiled.service_ticks[at].tolist()), set(compiled.service_feed[at].tolist())
    if len(ticks) > 1 or len(feeds) > 1:
        return None
    if min(ticks) >= 0:
        return repeat(ticks.pop()).__next__
    return numbers(compiled.feeds[feeds.pop()]) if compiled.service_ready[at].all() else None


def plain_onward(compiled: Compiled, at: int, elements: list[Any]) -> Callable[[Item, int], None]:
    """Return the function (item, now) that lets an item enter its target, where no target blocks."""
    choose = chooser(compiled, at, elements)
    fixed = set(compiled.fixed[at].tolist())
    if len(fixed) == 1 and min(fixed) >= 0:
        found: Callable[[Item, int], None] = elements[fixed.pop()].entry()
        return found
    return lambda item, now: choose(item).enter(item, now)
