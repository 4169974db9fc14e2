"""Whether a run may be averaged: lines that grow, and networks that stand still.

Both rules read the sums and samples of the window after the warm-up; a run takes at least LEAST_SAMPLES samples for
them. They are rules of thumb with stated bounds, not proofs: a flag means that the means of the window say little.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from simulator.queues.elements import Custom, Delay, Element, Exit, Fork, Gate, Network, Source, Station
from simulator.queues.record import RunRecord

Bools = npt.NDArray[np.bool_]

LEAST_SAMPLES = 64
"""Samples of a run, so that growth and standstill can be told."""
GROWTH = 1.5
"""A line grows where the second half of the window has this many times the first half's mean (estimated, 1.2 to 3)."""
ALWAYS_BUSY = 0.9999
STANDING_SHARE = 0.1
"""Part of the window, at its end, over which nothing moves in a deadlock (estimated, 0.05 to 0.3)."""


@dataclass(frozen=True)
class Shape:
    """What the rules need to know of a network, an entry an element."""

    kinds: tuple[str, ...]
    servers: tuple[int, ...]
    """0 for elements without servers."""
    endless: tuple[bool, ...]
    """The line may grow without limit."""
    batches: tuple[bool, ...]
    shared: tuple[bool, ...]
    """Processor sharing."""
    cycles: tuple[tuple[int, ...], ...]
    """Elements that block each other in a circle."""


def shape_of(network: Network) -> Shape:
    """Return the shape of a network."""
    elements = network.elements
    endless = tuple(
        isinstance(e, (Station, Gate)) and e.places is None and getattr(e, "places_bytes", None) is None
        for e in elements
    )  # fmt: skip
    return Shape(
        tuple(type(e).__name__.lower() for e in elements),
        tuple(e.servers if isinstance(e, Station) else 0 for e in elements),
        endless,
        tuple(isinstance(e, Station) and e.batch is not None for e in elements),
        tuple(isinstance(e, Station) and e.discipline == "share" for e in elements),
        _cycles(elements),
    )


def _cycles(elements: tuple[Element, ...]) -> tuple[tuple[int, ...], ...]:
    """Return the groups of elements that lie on circles of blocking elements.

    A circle can stand still only where each element on it can be held up by the next: it has a limit and blocks, or it
    passes items on without room of its own.
    """
    index = {e.name: i for i, e in enumerate(elements)}

    def holds(element: Element) -> bool:
        if isinstance(element, (Station, Gate)):
            limited = element.places is not None or getattr(element, "places_bytes", None) is not None
            return limited and element.when_full == "block"
        return not isinstance(element, (Delay, Exit, Custom))

    edges: dict[int, set[int]] = {}
    for element in elements:
        targets = set()
        if isinstance(element, Fork):
            targets = {target for target, _ in element.branches}
        elif not isinstance(element, Exit):
            targets = set(element.route.targets)
        if holds(element) and not isinstance(element, Source):
            edges[index[element.name]] = {index[t] for t in targets if holds(elements[index[t]])}
    return _circles(edges)


def _circles(edges: dict[int, set[int]]) -> tuple[tuple[int, ...], ...]:
    """Return the groups of nodes that reach each other."""
    kept = dict(edges)
    while ends := [node for node, targets in kept.items() if not targets & kept.keys()]:
        for node in ends:
            del kept[node]
    reach: dict[int, set[int]] = {}
    for node in kept:
        seen: set[int] = set()
        todo = list(kept[node] & kept.keys())
        while todo:
            at = todo.pop()
            if at not in seen:
                seen.add(at)
                todo += kept[at] & kept.keys()
        reach[node] = seen
    groups = {tuple(sorted(m for m in seen if node in reach[m])) for node, seen in reach.items() if node in seen}
    return tuple(sorted(groups))


def unstable(record: RunRecord, shape: Shape) -> Bools:
    """Return which elements have a line that the window cannot average.

    An endless line is unstable where (1) a station (without batches) is asked for all of its servers' time or more:
    (busy + blocked) / (servers x window - down) x accepted / started >= 1, and the line grew by at least the square
    root of what it accepted, or the servers never rested; or (2) the samples' mean of the second half of the window
    is at least GROWTH times that of the first half, and their last tenth lies above the first tenth by at least the
    square root of what was accepted (a line at a load below 1 moves by an amount that does not grow with the window).
    For a shared station, what left stands for what started, and the number of items for the line.
    """
    window, servers = record.window, np.array(shape.servers)
    sums = window.sums
    accepted = (sums["arrived"] - window.lost.sum(axis=1)).astype(float)
    served = np.where(shape.shared, sums["left"], sums["started"]).astype(float)
    up = servers * float(window.tick) - sums["down_ticks"]
    with np.errstate(divide="ignore", invalid="ignore"):
        worked = np.where(up > 0, (sums["busy_ticks"] + sums["blocked_ticks"]) / up, 0.0)
        asked = np.where(served > 0, worked * accepted / served, np.where(accepted > 0, np.inf, 0.0))
    grew = accepted - served >= np.sqrt(np.maximum(accepted, 1.0))
    station = (servers > 0) & ~np.array(shape.batches)
    over: Bools = station & (asked >= 1 - 1e-9) & (grew | (worked >= ALWAYS_BUSY)) & (accepted > 0)
    found: Bools = np.array(shape.endless, dtype=bool) & (over | _grows(record, accepted))
    return found


def _grows(record: RunRecord, accepted: npt.NDArray[np.float64]) -> Bools:
    """Return where the samples of the window show a line that grows."""
    waiting = _in_window(record, record.sampled_waiting).astype(float)
    count = waiting.shape[1]
    if count < 20:
        return np.zeros(len(record.names), dtype=bool)
    first, second = waiting[:, : count // 2].mean(axis=1), waiting[:, count // 2 :].mean(axis=1)
    tenth = count // 10
    rise = waiting[:, -tenth:].mean(axis=1) - waiting[:, :tenth].mean(axis=1)
    found: Bools = (second >= GROWTH * first) & (rise >= np.sqrt(np.maximum(accepted, 1.0)))
    return found


def deadlocked(record: RunRecord, shape: Shape) -> tuple[str, ...]:
    """Return the elements that hold each other up for good: nothing moved there over the last tenth of the window.

    Either a circle of elements that block each other, all occupied, with no server at work and no line that moved; or
    gates where items wait while nothing works anywhere; or elements with logic of their own that had items in all of
    that tenth, and that none left in the window. A station that is occupied and not blocked waits for its repair: that
    is no deadlock.
    """
    waiting, busy = (_in_window(record, x) for x in (record.sampled_waiting, record.sampled_busy))
    last = int(waiting.shape[1] * STANDING_SHARE)
    if last < 5:
        return ()
    waiting, busy = waiting[:, -last:], busy[:, -last:]
    steps = np.diff(waiting, axis=1)
    occupied = record.present > 0
    station = np.array(shape.servers) > 0
    ticks = int(record.sampled_at[-1] - record.sampled_at[-last])
    held = ~station | (record.window.sums["blocked_ticks"] >= ticks)
    still = (busy == 0).all(axis=1) & (steps == 0).all(axis=1) & occupied & held
    found: set[int] = set()
    for cycle in shape.cycles:
        members = [i for i in cycle if station[i] or shape.kinds[i] == "gate"]
        if members and still[members].all():
            found.update(members)
    gate = np.array([kind == "gate" for kind in shape.kinds])
    waits = gate & (waiting > 0).all(axis=1) & (steps >= 0).all(axis=1)  # newcomers may still line up
    others = np.array([kind in ("delay", "custom", "join", "pack") for kind in shape.kinds])
    if waits.any() and not busy.any() and not (occupied & (others | (station & ~held))).any():
        found.update(np.flatnonzero(waits).tolist())
    custom = np.array([kind == "custom" for kind in shape.kinds])
    found.update(np.flatnonzero(custom & (busy > 0).all(axis=1) & (record.window.sums["left"] == 0)).tolist())
    return tuple(record.names[i] for i in sorted(found))


def standing_since_s(record: RunRecord, shape: Shape, names: tuple[str, ...]) -> float:
    """Return since when none of these elements moved, to a sample of the window; NaN for no element.

    A station or gate moves where a server works or its line becomes shorter; an element with logic of its own where it
    has no items.
    """
    if not names:
        return math.nan
    rows = [record.at(name) for name in names]
    waiting, busy = (_in_window(record, x)[rows] for x in (record.sampled_waiting, record.sampled_busy))
    custom = np.array([shape.kinds[i] == "custom" for i in rows])[:, None]
    moved = np.where(custom, busy == 0, busy > 0)
    moved[:, 1:] |= np.diff(waiting, axis=1) < 0
    at = np.flatnonzero(moved.any(axis=0))
    after = np.asarray(record.sampled_at)[np.asarray(record.sampled_at) > record.warm.tick]
    return float(after[min(at[-1] + 1, len(after) - 1) if len(at) else 0]) / record.ticks_per_second


def _in_window(record: RunRecord, samples: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the samples after the warm-up, elements x samples."""
    shaped = np.asarray(samples).reshape(len(record.names), -1)
    return shaped[:, np.asarray(record.sampled_at) > record.warm.tick]


def names_where(record: RunRecord, flags: Bools) -> tuple[str, ...]:
    """Return the names of the elements with a flag."""
    return tuple(name for name, flag in zip(record.names, flags.tolist(), strict=True) if flag)


__all__ = ["LEAST_SAMPLES", "Shape", "deadlocked", "names_where", "shape_of", "standing_since_s", "unstable"]
