"""Laws that every finished run of a station network keeps, whatever engine made it: exact, in ticks and items."""

from __future__ import annotations

import numpy as np

from simulator.engine import InvariantError
from simulator.queues.elements import CAUSES, Network, Station
from simulator.queues.record import SUMS, Ints, RunRecord

FAILURE = CAUSES.index("failure")


def check_record(record: RunRecord, network: Network) -> None:
    """Check that items, bytes and ticks add up in every element.

    - arrived = left + lost + present, and bytes in = out + lost where nothing is present;
    - busy + blocked + down <= servers x ticks of the run (the rest is idle);
    - the rows of the histogram sum to the ticks of the run, and give the waiting area where no bin is capped;
    - present area = sojourns of what left + time so far of what is present (Little's law over a finite run; items lost
      by a failure were there too, so that elements with such losses have at least that area);
    - no sum falls from the warm-up to the end.

    Raises:
        InvariantError: naming the element and the law.
    """
    sums, end = record.end.sums, record.end
    lost = end.lost.sum(axis=1)
    _equal(record, "arrived = left + lost + present", sums["arrived"], sums["left"] + lost + record.present)
    _bytes(record, network)
    _servers(record, network)
    ticks = np.full(len(record.names), end.tick)
    _equal(record, "the histogram sums to the ticks of the run", end.histogram.sum(axis=1), ticks)
    known = end.histogram[:, -1] == 0
    waiting = end.histogram[known, :-1] @ np.arange(end.histogram.shape[1] - 1)
    _equal(record, "the histogram gives the waiting area", waiting, sums["area_waiting"][known], known)
    _little(record)
    for name in SUMS:
        _at_least(record, f"'{name}' does not fall after the warm-up", end.sums[name], record.warm.sums[name])
    _at_least(record, "losses do not fall after the warm-up", lost, record.warm.lost.sum(axis=1))
    _at_least(record, "waits after a wait are among the starts", sums["started"], sums["waited"])


def _bytes(record: RunRecord, network: Network) -> None:
    """Bytes in = out + lost + present. What is present has at least 0 bytes, and none where nothing is present."""
    sums = record.end.sums
    gone = sums["bytes_out"] + sums["bytes_lost"]
    _at_least(record, "bytes in >= bytes out + lost", sums["bytes_in"], gone)
    empty = record.present == 0
    _equal(record, "bytes in = bytes out + lost, with nothing present", sums["bytes_in"][empty], gone[empty], empty)


def _servers(record: RunRecord, network: Network) -> None:
    sums = record.end.sums
    servers = np.array([e.servers if isinstance(e, Station) else 0 for e in network.elements], dtype=np.int64)
    used = sums["busy_ticks"] + sums["blocked_ticks"] + sums["down_ticks"]
    _at_least(record, "busy + blocked + down <= servers x ticks", servers * record.end.tick, used)


def _little(record: RunRecord) -> None:
    sums = record.end.sums
    known = sums["sojourn_ticks"] + record.present_since
    failed = record.end.lost[:, FAILURE] > 0
    law = "present area = sojourns + time so far of what is present"
    _equal(record, law, sums["area_present"][~failed], known[~failed], ~failed)
    _at_least(record, "present area >= sojourns + time so far of what is present", sums["area_present"], known)
    _at_least(record, "present area >= waiting area", sums["area_present"], sums["area_waiting"])


def _equal(record: RunRecord, law: str, found: Ints, expected: Ints, rows: np.ndarray | None = None) -> None:
    _refuse(record, law, found, expected, found != expected, rows)


def _at_least(record: RunRecord, law: str, found: Ints, low: Ints) -> None:
    _refuse(record, law, found, low, found < low, None)


def _refuse(record: RunRecord, law: str, found: Ints, expected: Ints, bad: np.ndarray, rows: np.ndarray | None) -> None:
    if bad.any():
        at = int(np.argmax(bad))
        element = at if rows is None else int(np.flatnonzero(rows)[at])
        raise InvariantError(
            f"'{record.names[element]}' breaks the law that {law}: {found[at]} against {expected[at]} at tick "
            f"{record.end.tick} ({record.engine})."
        )
