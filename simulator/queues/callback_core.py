"""What all elements of the callback engine share: items, sums, hashes, leaving, losing, and held senders.

The law is docs/station-networks.md. An item is a list, the cheapest thing that Python can change; its places are named
here. Every handler of an event first takes its own event off the heap (it is the smallest), or replaces it.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from simulator.queues.compiled import Compiled
from simulator.queues.elements import CAUSES

SERIAL, KIND, SIZE, BIRTH, ENTERED, GATES, FAMILY, CONTENTS = range(8)
"""Places of an item: GATES are the bits of the credits that it holds, FAMILY is a `Family` for a part of a fork,
CONTENTS the items of a packet."""
Item = list[Any]
Ints = npt.NDArray[np.int64]
Handler = Callable[[int], None]
"""Takes the tick of its event (or a code)."""
FULL, RULE, FAILURE, PART, BLOCKED = range(len(CAUSES))
OUTAGE, END, DELAYED, TIMER, EMISSION, SAMPLE, WARM = range(7)
"""Ranks of events."""

FACTOR = np.uint64(6364136223846793005)
FOLD = 1 << 16
"""Most departures of an element that wait for their turn in the hash."""
_POWERS = np.full(FOLD + 1, FACTOR)
_POWERS[0] = 1
_POWERS = np.multiply.accumulate(_POWERS)


def fold_hash(before: np.uint64, values: Ints) -> np.uint64:
    """Return h after h = h * FACTOR + x mod 2^64 for each x: a sum of powers, so that numpy does it in blocks."""
    found = np.array([before], dtype=np.uint64)
    every = values.astype(np.uint64)
    for first in range(0, len(every), FOLD):
        block = every[first : first + FOLD]
        n = len(block)
        found = found * _POWERS[n] + np.sum(block * _POWERS[n - 1 :: -1][:n], keepdims=True)
    return found[0]  # type: ignore[no-any-return]


def as_ints(values: list[int]) -> Ints:
    """Return a list of whole numbers as int64."""
    return np.fromiter(values, np.int64, len(values))


class Shared:
    """What the elements of one run share: the heap of (tick, code), the counter of serials, and the gates."""

    __slots__ = ("elements", "events", "gates", "heap", "horizon", "serial")

    def __init__(self) -> None:
        self.heap: list[tuple[int, int]] = []
        self.serial = 0
        self.gates: list[Any] = []
        self.elements: list[Element] = []
        self.events: list[tuple[int, int, int, Handler, Handler]] = []
        """(rank, element, slot, handler, setter of its code)"""

    def handle(
        self, rank: int, at: int, slot: int, handler: Callable[[int], None], known: Callable[[int], None]
    ) -> None:
        """Announce a handler; `known(code)` is called once all are known, as codes follow (rank, element, slot)."""
        self.events.append((rank, at, slot, handler, known))

    def give_all(self, item: Item, now: int) -> None:
        """Return all credits that an ended item holds, lowest gate first."""
        for gate in self.gates:
            if item[GATES] & gate.bit:
                item[GATES] &= ~gate.bit
                gate.give(now)

    def give_back(self, item: Item, now: int) -> None:
        """Return the credits of an item that ends at an exit, those of a packet's items first."""
        for each in item[CONTENTS] or ():
            self.give_back(each, now)
        self.give_all(item, now)


class Element:
    """An element without time of its own: what enters goes on at once, or is held by a full target.

    Sums are exact Python ints. `waiting_ticks[n]` are the ticks with n waiting items (it grows as needed).
    """

    __slots__ = (
        "area_bytes",
        "area_present",
        "arrived",
        "at",
        "blocked_ticks",
        "blocks",
        "busy_ticks",
        "bytes_in",
        "bytes_lost",
        "bytes_out",
        "causes",
        "choose",
        "down_ticks",
        "gate",
        "hash",
        "heap",
        "held",
        "last",
        "left",
        "lost",
        "name",
        "present",
        "serials",
        "shared",
        "sojourn",
        "started",
        "ticks",
        "wait_ticks",
        "waited",
        "waiting_bytes",
        "waiting_n",
        "waiting_ticks",
        "waits",
    )  # fmt: skip

    def __init__(self, compiled: Compiled, at: int, shared: Shared) -> None:
        self.at, self.name, self.shared, self.heap = at, compiled.names[at], shared, shared.heap
        self.blocks = bool(compiled.blocks[at])
        self.held: deque[tuple[Item, Element | None, Any]] = deque()
        self.choose: Callable[[Item], Any] = _nowhere
        self.gate: Any = None
        self.ticks: list[int] = []
        self.serials: list[int] = []
        self.causes: list[int] = []
        self.hash = np.uint64(0)
        self.lost = [0] * len(CAUSES)
        self.arrived = self.left = self.started = self.waited = self.wait_ticks = self.sojourn = 0
        self.bytes_in = self.bytes_out = self.bytes_lost = 0
        self.busy_ticks = self.blocked_ticks = self.down_ticks = 0
        self.present = self.area_present = self.last = 0
        self.waiting_n = self.waiting_bytes = 0
        self.waiting_ticks: list[int] = [0]
        self.area_bytes = 0.0
        self.waits: array[int] | None = None

    def link(self, compiled: Compiled, elements: list[Any]) -> None:
        """Find the other elements that this one calls; all exist now."""
        from simulator.queues.callback_routes import chooser

        self.choose = chooser(compiled, self.at, elements)
        if compiled.returns[self.at] >= 0:
            self.gate = elements[int(compiled.returns[self.at])]

    def start(self) -> None:
        """Set the first events."""

    def close(self, now: int) -> None:
        """Bring areas to now, before a change."""
        ticks = now - self.last
        if ticks:
            self.last = now
            self.area_present += ticks * self.present
            waiting = self.waiting_n
            try:
                self.waiting_ticks[waiting] += ticks
            except IndexError:
                self.more_waiting(waiting, ticks)
            if self.waiting_bytes:
                self.area_bytes += float(self.waiting_bytes) * float(ticks)

    def more_waiting(self, waiting: int, ticks: int) -> None:
        """Add ticks where the histogram must grow."""
        self.waiting_ticks.extend([0] * (waiting + 1 - len(self.waiting_ticks)))
        self.waiting_ticks[waiting] = ticks

    def come(self, item: Item, now: int) -> None:
        """Count an item that enters and stays."""
        self.close(now)
        item[ENTERED] = now
        self.arrived += 1
        self.bytes_in += item[SIZE]
        self.present += 1

    def enter(self, item: Item, now: int) -> None:
        """Take an item in. Where this element blocks, the caller has asked for `room`."""
        self.come(item, now)
        self.forward(item, now)

    def entry(self) -> Callable[[Item, int], None]:
        """Return the method by which items come that need not ask for room."""
        return self.enter

    def forward(self, item: Item, now: int) -> None:
        """Let an item go on to its target, or be held by it."""
        target = self.choose(item)
        if target.blocks and not target.room(item):
            target.held.append((item, self, None))
            return
        self.depart(item, now)
        self.vacated(self.gives_up(item), now)
        target.take_in(item, now)

    def take_in(self, item: Item, now: int) -> None:
        """Take in an item that has left; what that caused may have filled this element, which then holds the item."""
        if self.blocks and not self.room(item):
            self.held.append((item, None, None))
        else:
            self.enter(item, now)

    def depart(self, item: Item, now: int) -> None:
        """Count an item that leaves."""
        self.close(now)
        self.present -= 1
        self.left += 1
        self.bytes_out += item[SIZE]
        self.sojourn += now - item[ENTERED]
        self.ticks.append(now)
        self.serials.append(item[SERIAL])

    def gives_up(self, item: Item) -> bool:
        """Take the credit that this element returns from an item that leaves; return whether it held one."""
        gate = self.gate
        if gate is None or not item[GATES] & gate.bit:
            return False
        item[GATES] &= ~gate.bit
        return True

    def vacated(self, owed: bool, now: int) -> None:
        """Do what the leaving of an item causes here, before it enters its target. `owed`: it gave up a credit."""
        if owed:
            self.gate.give(now)

    def after(self, owed: bool, now: int, server: Any) -> None:
        """Do what the leaving of a held item causes here, after it has entered its target."""
        self.vacated(owed, now)

    def room(self, item: Item) -> bool:
        """Say whether a newcomer may enter; nobody overtakes held items."""
        return not self.held and self.fits(item)

    def fits(self, item: Item) -> bool:
        """Say whether there is a place."""
        return True

    def admit(self, now: int) -> None:
        """Let held items enter, in order, while there is room."""
        held = self.held
        while held and self.fits(held[0][0]):
            item, owner, server = held.popleft()
            if owner is None:
                self.enter(item, now)
            else:
                owner.depart(item, now)
                owed = owner.gives_up(item)
                if not owed or self.fits(item):
                    self.enter(item, now)
                else:  # it fitted by the credit of this gate that it has just given up
                    held.appendleft((item, None, None))
                owner.after(owed, now, server)

    def refuse(self, item: Item, now: int, cause: int) -> None:
        """Lose an item that enters but may not stay."""
        self.arrived += 1
        self.bytes_in += item[SIZE]
        self.lose(item, now, cause)

    def lose(self, item: Item, now: int, cause: int) -> None:
        """Count a loss, and all that it causes."""
        self.bytes_lost += item[SIZE]
        self.end_lost(item, now, cause)

    def end_lost(self, item: Item, now: int, cause: int) -> None:
        self.lost[cause] += 1
        self.ticks.append(~now)
        self.serials.append(item[SERIAL])
        self.causes.append(cause)
        if item[CONTENTS] is not None:
            for each in item[CONTENTS]:
                self.arrived += 1
                self.end_lost(each, now, cause)
        if item[FAMILY] is not None:
            item[FAMILY].part_lost(now)
        if item[GATES]:
            self.shared.give_all(item, now)

    def waiting_now(self) -> int:
        """Return the number of waiting items (a sample)."""
        return self.waiting_n

    def busy_now(self) -> int:
        """Return the number of servers at work (a sample)."""
        return 0

    def inside(self) -> list[Item]:
        """Return the items that are here, but for those held elsewhere that come from here."""
        return []

    def stands_for(self, item: Item) -> list[Item]:
        """Return what a held item counts as here."""
        return [item]

    def present_now(self) -> int:
        """Return the number of items here."""
        return self.present

    def fold(self, now: int) -> None:
        """Take what was noted so far into sums and hash; `now` is the present tick."""
        if self.ticks:
            self.fold_log(as_ints(self.ticks))

    def fold_log(self, ticks: Ints) -> None:
        """Take departures (ticks) and losses (~ticks) into the hash, and forget them."""
        values = ticks + 2 * as_ints(self.serials) + 1
        if self.causes:
            values[ticks < 0] += 2 * ~ticks[ticks < 0] + ((as_ints(self.causes) + 1) << 56)
        self.hash = fold_hash(self.hash, values)
        self.ticks.clear()
        self.serials.clear()
        self.causes.clear()


def _nowhere(item: Item) -> Any:
    raise AssertionError("An element that was not linked.")
