"""Independent random streams, spawned by stable name.

A stream's numbers depend on (seed, replication, name) alone, so adding a component shifts no other stream: two
variants of a system see the same arrivals (common random numbers), and replications are disjoint substreams.
"""

from __future__ import annotations

import hashlib

import numpy as np

from foundation.checks import whole_number

DEFAULT_SEED = 20_260_101
"""Fixed, so that every run repeats unless the user asks otherwise. Its value has no meaning."""
MAX_SEED = 2**53
"""Whole numbers up to here survive the way through JSON and YAML."""


class RandomStreams:
    """Hands out one numpy generator per name, e.g. `streams.get("gpu0/service")`.

    Asking again for a name continues its stream. Names are `component/purpose` by convention.
    """

    def __init__(self, seed: int = DEFAULT_SEED, replication: int = 0) -> None:
        self.seed = whole_number("seed", seed, low=0, high=MAX_SEED)
        self.replication = whole_number("replication", replication, low=0, high=2**31)
        self._streams: dict[str, np.random.Generator] = {}

    def get(self, name: str) -> np.random.Generator:
        """Return the stream of `name` (PCG64, named so that a change of numpy's default changes nothing)."""
        if name not in self._streams:
            sequence = np.random.SeedSequence(self.seed, spawn_key=(self.replication, *_words(name)))
            self._streams[name] = np.random.Generator(np.random.PCG64(sequence))
        return self._streams[name]


def _words(name: str) -> tuple[int, ...]:
    """Return 128 bits of the name's SHA-256 as 32-bit words (Python's own `hash` differs from run to run)."""
    digest = hashlib.sha256(name.encode()).digest()
    return tuple(int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4))
