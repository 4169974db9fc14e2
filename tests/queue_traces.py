"""Small networks at one tick a second, and what their traces must be, written out."""

from __future__ import annotations

from collections.abc import Sequence

from simulator.queues.arrivals import Recorded
from simulator.queues.callbacks import run_callbacks
from simulator.queues.elements import CAUSES, Element, Exit, Network, Service, Source, to
from simulator.queues.laws import Law
from simulator.queues.record import RunRecord
from simulator.streams import RandomStreams

Step = tuple[int, int] | tuple[int, int, str]
"""(tick, serial) for an item that leaves, (tick, serial, cause) for one that is lost."""


def at(times: Sequence[float], target: str, name: str = "in", size: float = 0.0) -> Source:
    """Return a source of items at given seconds."""
    return Source(name, Recorded(tuple(times)), to(target), size_bytes=Law("constant", size))


def takes(*coefficients_s: float) -> Service:
    """Return a constant service, or a polynomial of the bytes."""
    return Service(tuple(coefficients_s))


def run(horizon: int, *elements: Element, warm: int = 0, step: int = 0, observe: Sequence[str] = ()) -> RunRecord:
    """Run elements, and an exit `out`, at one tick a second."""
    network = Network((*elements, Exit("out")), ticks_per_second=1)
    return run_callbacks(network, RandomStreams(1), horizon, warm, step, observe)


def hash_of(steps: Sequence[Step]) -> int:
    """Return the hash of an element's steps by the formula of the law, in plain Python."""
    found = 0
    for tick, serial, *cause in steps:
        more = (CAUSES.index(str(cause[0])) + 1) << 56 if cause else 1
        found = (found * 6364136223846793005 + tick + serial * 2 + more) % 2**64
    return found


def follows(record: RunRecord, name: str, *steps: Step) -> bool:
    """Say whether an element was left and lost items in exactly these steps."""
    return int(record.hashes[record.at(name)]) == hash_of(steps)


def total(record: RunRecord, name: str, column: str) -> int:
    """Return one sum of an element."""
    return int(record.end.sums[column][record.at(name)])


def lost(record: RunRecord, name: str, cause: str) -> int:
    """Return the losses of an element by one cause."""
    return int(record.end.lost[record.at(name), CAUSES.index(cause)])
