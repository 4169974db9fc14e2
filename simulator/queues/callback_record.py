"""From the state of callback elements to totals and records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from foundation.errors import BadValueError
from simulator.queues.callback_core import Element
from simulator.queues.callback_ends import Exit
from simulator.queues.elements import CAUSES
from simulator.queues.record import HISTOGRAM_BINS, SUMS, Ints, RunRecord, Totals

ATTRIBUTES = {"sojourn_ticks": "sojourn"}
"""Sums that elements keep under another name; `area_waiting` follows from the histogram."""
MOST = 2**62


@dataclass
class Samples:
    """The series that a run samples."""

    at: list[int] = field(default_factory=list)
    waiting: list[list[int]] = field(default_factory=list)
    busy: list[list[int]] = field(default_factory=list)


def too_large(name: str, element: str, tick: int) -> BadValueError:
    """Return the error of a sum that comes near the end of 64 bits; bytes do not depend on the tick."""
    hint = "Declare a coarser tick (ticks_per_second)."
    if name.startswith("bytes"):
        hint = "Give a shorter horizon, or sizes in a larger unit."
    return BadValueError(f"{name} of '{element}' comes near the end of 64 bits at tick {tick}. {hint}")


def totals(elements: Sequence[Element], now: int) -> Totals:
    """Close all elements at `now` and return their sums.

    Raises:
        BadValueError: an area comes near the end of 64 bits.
    """
    histogram = np.zeros((len(elements), HISTOGRAM_BINS), dtype=np.int64)
    columns: dict[str, list[int]] = {name: [] for name in SUMS}
    for at, element in enumerate(elements):
        element.close(now)
        element.fold(now)
        ticks = element.waiting_ticks
        for name, column in columns.items():
            if name == "area_waiting":
                column.append(sum(n * t for n, t in enumerate(ticks)))
            else:
                column.append(getattr(element, ATTRIBUTES.get(name, name)))
        short = min(len(ticks), HISTOGRAM_BINS - 1)
        histogram[at, :short] = ticks[:short]
        histogram[at, -1] = sum(ticks[short:])
    for name, column in columns.items():
        for element, value in zip(elements, column, strict=True):
            if value >= MOST:
                raise too_large(name, element.name, now)
    return Totals(
        now,
        {name: np.array(column, dtype=np.int64) for name, column in columns.items()},
        np.array([element.lost for element in elements], dtype=np.int64).reshape(len(elements), len(CAUSES)),
        histogram,
        np.array([element.area_bytes for element in elements], dtype=np.float64),
        np.array([e.left if isinstance(e, Exit) else 0 for e in elements], dtype=np.int64),
    )


def nothing(elements: Sequence[Element]) -> Totals:
    """Return totals of 0 at tick 0."""
    n = len(elements)
    zeros = np.zeros(n, dtype=np.int64)
    return Totals(
        0,
        {name: zeros.copy() for name in SUMS},
        np.zeros((n, len(CAUSES)), dtype=np.int64),
        np.zeros((n, HISTOGRAM_BINS), dtype=np.int64),
        np.zeros(n),
        zeros.copy(),
    )


def present(elements: Sequence[Element], now: int) -> tuple[Ints, Ints]:
    """Return the items in each element, found one by one, and the sum of the ticks since they entered."""
    inside = [element.inside() for element in elements]
    for element in elements:
        for item, owner, server in element.held:
            if owner is not None and server is None:
                inside[owner.at] = inside[owner.at] + owner.stands_for(item)
    count = np.array([len(items) for items in inside], dtype=np.int64)
    since = np.array([sum(now - item[4] for item in items) for items in inside], dtype=np.int64)
    return count, since


def make_record(
    elements: Sequence[Element], ticks_per_second: int, now: int, warm: Totals | None, samples: Samples, events: int,
    failure: str,
) -> RunRecord:  # fmt: skip
    """Return the record of a run that stands at `now`."""
    end = totals(elements, now)
    count, since = present(elements, now)
    n = len(elements)
    series = (np.array(rows, dtype=np.int64).reshape(-1, n).T.copy() for rows in (samples.waiting, samples.busy))
    return RunRecord(
        names=tuple(element.name for element in elements),
        ticks_per_second=ticks_per_second,
        warm=nothing(elements) if warm is None else warm,
        end=end,
        present=count,
        present_since=since,
        most_waiting=np.array([_most(element) for element in elements], dtype=np.int64),
        sojourns={e.name: _joined(e.sojourns) for e in elements if isinstance(e, Exit)},
        waits={e.name: np.array(e.waits, dtype=np.int64) for e in elements if e.waits is not None},
        sampled_at=np.array(samples.at, dtype=np.int64),
        sampled_waiting=next(series),
        sampled_busy=next(series),
        hashes=np.array([element.hash for element in elements], dtype=np.uint64),
        events=events,
        engine="callbacks",
        failure=failure,
    )


def _joined(blocks: list[Ints]) -> Ints:
    return np.concatenate([np.zeros(0, dtype=np.int64), *blocks])


def _most(element: Element) -> int:
    """Return the largest number of waiting items that lasted."""
    return max((n for n, ticks in enumerate(element.waiting_ticks) if ticks), default=0)
