"""Keys and values of prompts that outlive their request, by the ids of the prompts' blocks.

A block can be used only with all blocks before it. Blocks that nobody uses are idle: they count as free, and the one
whose last use is longest ago goes first when room is needed; of one request's blocks the last goes first (the order of
vLLM and of SGLang's radix tree, Zheng et al. 2024). A block that several requests use is there once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from foundation.errors import BadValueError
from simulator.serving.requests import Requests


class PrefixCache:
    """Blocks by id. `unit` is how many KV blocks one of them takes.

    Idle blocks are evicted when somebody looks (`settle`), in the order in which they would have been at once: between
    two looks none becomes idle or used.
    """

    def __init__(self, unit: int) -> None:
        if unit < 1:
            raise BadValueError(f"A block of a prefix takes at least one KV block, not {unit}.")
        self.unit = unit
        self.users: dict[int, int] = {}
        self.idle: OrderedDict[int, None] = OrderedDict()

    def settle(self, free: int) -> None:
        """Evict what no longer fits into the free KV blocks."""
        while len(self.idle) * self.unit > free:
            del self.users[self.idle.popitem(last=False)[0]]

    def find(self, ids: Sequence[int], most: int) -> tuple[int, int]:
        """Return how many of the first `most` ids are here with all before them, and how many of those are idle."""
        found = idle = 0
        for block in ids[:most]:
            users = self.users.get(block, -1)
            if users < 0:
                break
            found += 1
            idle += users == 0
        return found, idle

    def take(self, ids: Sequence[int]) -> None:
        """Use blocks that are here."""
        for block in ids:
            if not self.users[block]:
                del self.idle[block]
            self.users[block] += 1

    def add(self, block: int) -> bool:
        """Use a block that was just computed; returns whether another user's copy makes this one superfluous."""
        users = self.users.get(block, 0)
        if users == 0:
            self.idle.pop(block, None)
        self.users[block] = users + 1
        return users > 0

    def release(self, ids: Sequence[int]) -> int:
        """Stop using blocks, the last first; returns how many became idle."""
        idle = 0
        for block in reversed(ids):
            self.users[block] -= 1
            if not self.users[block]:
                self.idle[block] = None
                idle += 1
        return idle

    def clear(self) -> None:
        self.users.clear()
        self.idle.clear()


def unit_of(prefix_tokens: int, block_tokens: int) -> int:
    """Return the KV blocks that one block of a prefix takes.

    Raises:
        BadValueError: it is not a whole number.
    """
    if prefix_tokens < 1 or prefix_tokens % block_tokens:
        raise BadValueError(
            f"Blocks of prefixes of {prefix_tokens} tokens cannot be cached in KV blocks of {block_tokens} tokens: the "
            "first must be a multiple of the second."
        )
    return prefix_tokens // block_tokens


def prefixes_of(requests: Requests) -> list[list[int]]:
    """Return the ids of each request's prefix, as a `Replica` takes them."""
    ids, start = requests.prefix_ids.tolist(), requests.prefix_start.tolist()
    return [ids[a:b] for a, b in pairwise(start)]
