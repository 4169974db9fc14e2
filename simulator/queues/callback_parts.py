"""Items made of items: forks and joins, packets."""

from __future__ import annotations

from typing import Any

from simulator.queues.callback_core import (
    BIRTH,
    CONTENTS,
    FAMILY,
    GATES,
    KIND,
    PART,
    SERIAL,
    SIZE,
    Element,
    Item,
    Shared,
)  # fmt: skip
from simulator.queues.compiled import Compiled


class Family:
    """The parts of one item: how many are still on their way, which came to the join, and whether any was lost."""

    __slots__ = ("came", "item", "join", "lost", "missing")

    def __init__(self, item: Item, join: Join, parts: int) -> None:
        self.item, self.join, self.missing = item, join, parts
        self.came: list[Item] = []
        self.lost = False

    def part_lost(self, now: int) -> None:
        """Note that a part was lost somewhere."""
        self.lost = True
        self.missing -= 1
        if not self.missing:
            self.join.settle(self, now)


class Fork(Element):
    """Makes the parts of an item."""

    __slots__ = ("branches", "join")

    def __init__(self, compiled: Compiled, at: int, shared: Shared) -> None:
        super().__init__(compiled, at, shared)
        self.branches: list[tuple[Element, int]] = []
        self.join: Any = None

    def link(self, compiled: Compiled, elements: list[Any]) -> None:
        targets = compiled.targets[self.at].tolist()
        sizes = compiled.branch_bytes[self.at].tolist()
        self.branches = [(elements[t], size) for t, size in zip(targets, sizes, strict=True) if t >= 0]
        self.join = elements[int(compiled.join_of[self.at])] if compiled.join_of[self.at] >= 0 else None

    def enter(self, item: Item, now: int) -> None:
        self.come(item, now)
        self.depart(item, now)
        family = Family(item, self.join, len(self.branches))
        serial = self.shared.serial
        self.shared.serial = serial + len(self.branches)
        for number, (target, size) in enumerate(self.branches, serial):
            part_size = item[SIZE] if size < 0 else size
            part: Item = [number, item[KIND], part_size, item[BIRTH], now, 0, family, None]
            if target.blocks and not target.room(part):
                target.held.append((part, None, None))
            else:
                target.enter(part, now)


class Join(Element):
    """Puts parts together. What a held item counts as here are its parts."""

    __slots__ = ("held_parts", "here")

    def __init__(self, compiled: Compiled, at: int, shared: Shared) -> None:
        super().__init__(compiled, at, shared)
        self.here: dict[int, Item] = {}
        self.held_parts: dict[int, list[Item]] = {}

    def enter(self, item: Item, now: int) -> None:
        self.come(item, now)
        self.waiting_n += 1
        self.waiting_bytes += item[SIZE]
        self.here[item[SERIAL]] = item
        family: Family = item[FAMILY]
        family.came.append(item)
        family.missing -= 1
        if not family.missing:
            self.settle(family, now)

    def settle(self, family: Family, now: int) -> None:
        """All parts have come or are lost: the item goes on, or is lost."""
        item, came = family.item, family.came
        self.close(now)
        for part in came:
            del self.here[part[SERIAL]]
            self.waiting_n -= 1
            self.waiting_bytes -= part[SIZE]
        if family.lost:
            for part in came:
                super().depart(part, now)
            self.refuse(item, now, PART)
        else:
            item[SIZE] = sum(part[SIZE] for part in came)
            self.held_parts[item[SERIAL]] = came
            self.forward(item, now)

    def depart(self, item: Item, now: int) -> None:
        for part in self.held_parts.pop(item[SERIAL]):
            super().depart(part, now)

    def inside(self) -> list[Item]:
        return list(self.here.values())

    def stands_for(self, item: Item) -> list[Item]:
        return self.held_parts[item[SERIAL]]


class Pack(Element):
    """Puts `count` items into a packet."""

    __slots__ = ("count", "gathered")

    def __init__(self, compiled: Compiled, at: int, shared: Shared) -> None:
        super().__init__(compiled, at, shared)
        self.count = int(compiled.pack_count[at])
        self.gathered: list[Item] = []

    def enter(self, item: Item, now: int) -> None:
        self.come(item, now)
        self.waiting_n += 1
        self.waiting_bytes += item[SIZE]
        self.gathered.append(item)
        if len(self.gathered) < self.count:
            return
        items, self.gathered = self.gathered, []
        self.waiting_n = self.waiting_bytes = 0
        serial = self.shared.serial
        self.shared.serial = serial + 1
        size = sum(each[SIZE] for each in items)
        self.forward([serial, items[0][KIND], size, items[0][BIRTH], now, 0, None, items], now)

    def depart(self, item: Item, now: int) -> None:
        for each in item[CONTENTS]:
            super().depart(each, now)

    def inside(self) -> list[Item]:
        return list(self.gathered)

    def stands_for(self, item: Item) -> list[Item]:
        found: list[Item] = item[CONTENTS]
        return found


class Unpack(Element):
    """Makes the items of a packet go on; an item that is no packet passes."""

    __slots__ = ()

    def enter(self, item: Item, now: int) -> None:
        self.come(item, now)
        if item[CONTENTS] is None:
            self.forward(item, now)
            return
        self.depart(item, now)
        if item[GATES]:
            self.shared.give_all(item, now)
        for each in item[CONTENTS]:
            target = self.choose(each)
            if target.blocks and not target.room(each):
                target.held.append((each, None, None))
            else:
                target.enter(each, now)
