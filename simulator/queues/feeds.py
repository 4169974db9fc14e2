"""Variates in blocks: what both engines draw, in the same order, by stream name."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from foundation.errors import BadValueError
from simulator.queues.arrivals import BLOCK, Arrivals
from simulator.queues.elements import Outages
from simulator.queues.laws import Law

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Block = Ints | Floats

OUTAGE_BLOCK = 256
"""Up and down times a block: they are few, and a farm has a stream for each server."""
LONGEST_TICKS = 2**61
"""No duration is longer, and no horizon later, so that sums of two of them fit into 64 bits."""


class Feed:
    """Blocks of numbers of one stream. `ready` feeds give int64 (ticks, bytes, classes), others float64.

    `next_block` returns an empty array when nothing is left (arrivals of a trace).
    """

    __slots__ = ("_draw", "name", "ready")

    def __init__(self, name: str, draw: Callable[[], Block], ready: bool) -> None:
        self.name, self.ready, self._draw = name, ready, draw

    def next_block(self) -> Block:
        """Return the next numbers of the stream."""
        return self._draw()


def rounded(values: npt.ArrayLike) -> Ints:
    """Return floor(values + 0.5) as int64, within 0 and `LONGEST_TICKS`: the one rounding of durations and bytes."""
    whole = np.floor(np.asarray(values, dtype=np.float64) + 0.5)
    return np.clip(whole, 0.0, float(LONGEST_TICKS)).astype(np.int64)


def one_rounded(value: float) -> int:
    """Return what `rounded` gives for one number."""
    return int(rounded(value))


def draws(name: str, law: Law, rng: np.random.Generator) -> Feed:
    """Return the plain variates of a law."""
    return Feed(name, lambda: law.draw(rng, BLOCK), ready=False)


def uniforms(name: str, rng: np.random.Generator) -> Feed:
    """Return uniform variates in [0, 1)."""
    return Feed(name, lambda: rng.random(BLOCK), ready=False)


def ready_ticks(name: str, law: Law, scale: float, rng: np.random.Generator) -> Feed:
    """Return durations floor(scale x draw + 0.5) in ticks (or bytes, with a scale of 1)."""
    return Feed(name, lambda: rounded(scale * law.draw(rng, BLOCK)), ready=True)


def classes(name: str, cumulative: Floats, rng: np.random.Generator) -> Feed:
    """Return classes: the first whose cumulative share is above a uniform variate."""
    return Feed(name, lambda: np.searchsorted(cumulative, rng.random(BLOCK), side="right").astype(np.int64), ready=True)


def instants(name: str, arrivals: Arrivals, ticks_per_second: int, rng: np.random.Generator) -> Feed:
    """Return the instants of arrivals; the feed ends where they leave 64 bits, which no run reaches."""
    blocks = _sorted_blocks(name, arrivals.blocks(rng, ticks_per_second))
    return Feed(name, lambda: next(blocks, np.zeros(0, dtype=np.int64)), ready=True)


def _sorted_blocks(name: str, blocks: Iterator[Ints]) -> Iterator[Ints]:
    last = 0
    for block in blocks:
        steps = np.diff(block, prepend=last)
        back = np.flatnonzero(steps < 0)
        if len(back):
            if block[back[0]] >= 0:
                raise BadValueError(f"The arrivals of '{name}' are not in order: {block[back[0]]} ticks comes late.")
            block = block[: back[0]]  # the sum of gaps left 64 bits
        if len(block):
            last = int(block[-1])
            yield block
        if len(back):
            return


def switches(name: str, outages: Outages, ticks_per_second: int, rng: np.random.Generator) -> Feed:
    """Return the ticks at which servers go down, up, down, ...; a block draws its up times, then its down times."""
    state = [one_rounded(outages.offset_s * ticks_per_second)]

    def block() -> Block:
        gaps = np.empty(2 * OUTAGE_BLOCK, dtype=np.int64)
        gaps[0::2] = rounded(outages.up_s.draw(rng, OUTAGE_BLOCK) * ticks_per_second)
        gaps[1::2] = rounded(outages.down_s.draw(rng, OUTAGE_BLOCK) * ticks_per_second)
        found: Ints = state[0] + np.cumsum(gaps)
        late = np.flatnonzero(np.diff(found, prepend=state[0]) < 0)
        if len(late):  # past 64 bits: never
            found[late[0] :] = 2**63 - 1
        state[0] = int(found[-1])
        return found

    return Feed(name, block, ready=True)
