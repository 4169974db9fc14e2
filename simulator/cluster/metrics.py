"""What a replay shows: waits, how full the machines were, overload, moves, evictions, stranded room, energy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foundation.checks import finite_number
from simulator.cluster.curves import Curves, curves_of
from simulator.cluster.migration import LOAD
from simulator.cluster.record import DONE, UNPLACEABLE, WAITING, Record
from simulator.cluster.trace import RESOURCES, TICKS_PER_SECOND, Column

PERCENTILES = (50, 90, 99)
SPANS = 120
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """Means over equal spans of time; arrays of shape (spans,). utilisation: by resource; waiting: tasks."""

    at_s: Floats
    utilisation: Mapping[str, Floats]
    waiting: Floats
    running: Floats


@dataclass(frozen=True)
class Metrics:
    """Numbers of one replay by name, each a float (NaN: there is none), counts by cause, and levels over time."""

    numbers: Mapping[str, float]
    states: Mapping[str, int]
    evictions: Mapping[str, int]
    reasons: Mapping[str, int]
    migrations: Mapping[str, int]
    series: Series


def metrics_of(record: Record, *, overload: float = LOAD, idle_w: float = np.nan, busy_w: float = np.nan) -> Metrics:
    """Return the metrics of a record.

    overload: utilisation of the fullest resource above which a machine counts as overloaded. A machine draws idle_w,
    and up to busy_w in proportion to its requested CPU (NaN: not given); one that is away draws nothing.

    Raises:
        BadValueError: a threshold outside (0, 1], or a power below 0.
    """
    finite_number("overload", overload, high=1.0, strict=True)
    for name, power in (("idle_w", idle_w), ("busy_w", busy_w)):
        if not np.isnan(power):
            finite_number(name, power)
    curves = curves_of(record)
    known = [r for r in range(3) if record.machines.known[r]]
    seconds = record.end / TICKS_PER_SECOND
    numbers = {**_waits(record), **_utilisation(curves, known), **_shares(curves, known, record, overload)}
    up_s = float(curves.ticks[curves.up].sum()) / TICKS_PER_SECOND
    busy_s = _busy_s(curves) if 0 in known else np.nan
    energy_j = idle_w * up_s + (busy_w - idle_w) * busy_s
    counts = record.counts()
    numbers |= {
        "energy_j": energy_j, "power_w": energy_j / seconds if seconds else np.nan, "duration_s": seconds,
        "machines_mean": up_s / seconds if seconds else np.nan, "evictions": float(sum(record.evictions.values())),
        "migrations": float(record.migrations.get("completed", 0)), "moved_bytes": record.moved_bytes,
        "unplaced": float(counts["waiting"] + counts["unplaceable"]), "done": float(counts["done"]),
        "task_rate_hz": counts["done"] / seconds if seconds else np.nan,
        "slowdown_mean": _slowdown(record),
    }  # fmt: skip
    series = _series(record, curves, known)
    return Metrics(numbers, counts, record.evictions, record.reasons, record.migrations, series)


def _waits(record: Record) -> dict[str, float]:
    """Return percentiles of the time in the queue; tasks that wait to the end count with what they waited up to it.

    Who was withdrawn before it ever ran is left out: its time in the queue says when its owner gave up.
    """
    counted = (record.first_start >= 0) | (record.state == WAITING)
    waits = record.waited[counted] / TICKS_PER_SECOND
    if not len(waits):
        return {f"wait_{name}_s": np.nan for name in ("mean", *(f"p{q}" for q in PERCENTILES))}
    found = {"wait_mean_s": float(waits.mean())}
    for q in PERCENTILES:
        found[f"wait_p{q}_s"] = float(np.percentile(waits, q, method="inverted_cdf"))
    return found


def _utilisation(curves: Curves, known: list[int]) -> dict[str, float]:
    """Return requested over available, weighted by time, by resource."""
    ticks, found = curves.ticks.astype(float), {}
    for r in range(3):
        available = float((curves.capacity[:, r] * ticks).sum()) if r in known else 0.0
        taken = float((curves.used[:, r] * ticks).sum())
        found[f"utilisation_{RESOURCES[r]}"] = taken / available if available else np.nan
    return found


def _shares(curves: Curves, known: list[int], record: Record, overload: float) -> dict[str, float]:
    """Return the share of machine time that is overloaded, and the share of the free CPU that is stranded.

    Room is stranded on a machine where the median task (of each resource the median request) does not fit.
    """
    up = float(curves.ticks[curves.up].sum())
    fullest = np.zeros(len(curves.ticks))
    for r in known:
        fullest = np.maximum(fullest, curves.used[:, r] / np.maximum(curves.capacity[:, r], 1))
    over = float(curves.ticks[curves.up & (fullest > overload)].sum())
    free = curves.capacity - curves.used
    requests = record.attempts.request[record.state != UNPLACEABLE]
    stranded = np.nan
    if len(requests) and known:
        median = np.percentile(requests, 50, axis=0, method="inverted_cdf")
        fits = (free >= median).all(axis=1)
        room = free[:, known[0]] * curves.ticks.astype(float) * curves.up
        total = float(room.sum())
        stranded = float(room[~fits].sum()) / total if total else 0.0
    return {"overload_share": over / up if up else np.nan, "fragmentation": stranded}


def _busy_s(curves: Curves) -> float:
    share = curves.used[:, 0] / np.maximum(curves.capacity[:, 0], 1)
    return float((share * curves.ticks)[curves.up].sum()) / TICKS_PER_SECOND


def _slowdown(record: Record) -> float:
    """Return the mean of (end - submission) / duration over tasks that are done and whose duration is known."""
    attempts = record.attempts
    there = (record.state == DONE) & (attempts.duration > 0)
    if not there.any():
        return float("nan")
    return float(((record.finished - attempts.submit)[there] / attempts.duration[there]).mean())


def _series(record: Record, curves: Curves, known: list[int]) -> Series:
    """Return means over spans: of what is requested over what is there, and of tasks that wait and run."""
    edges = np.linspace(0.0, float(record.end), SPANS + 1)
    names = [RESOURCES[r] for r in known]
    if not record.end or not len(curves.time):
        empty = np.zeros(0)
        return Series(empty, {name: empty for name in names}, empty, empty)
    until = curves.time + curves.ticks
    found = {}
    for r, name in zip(known, names, strict=True):
        used = _mean_of(curves.time, until, curves.used[:, r].astype(float), edges)
        room = _mean_of(curves.time, until, curves.capacity[:, r].astype(float), edges)
        found[name] = used / np.where(room > 0, room, np.nan)
    log = record.segments
    own = log["copy"] == 0
    running = _mean_of(log["begin"][own], log["end"][own], np.ones(int(own.sum())), edges)
    begin, end = queue_stays(record)
    waiting = _mean_of(begin, end, np.ones(len(begin)), edges)
    return Series(edges[:-1] / TICKS_PER_SECOND, found, waiting, running)


def queue_stays(record: Record) -> tuple[Column, Column]:
    """Return (begin, end) in ticks of every stay in the queue, of all attempts whatever became of them.

    An attempt waits from its submission to its first stay on a machine and from each stay to the next; what it waited
    beyond these comes after its last one (who waits at the end, was withdrawn, or became too large).
    """
    log = record.segments
    own = np.flatnonzero(log["copy"] == 0)
    own = own[np.lexsort((log["end"][own], log["begin"][own], log["attempt"][own]))]
    who, starts, ends = log["attempt"][own], log["begin"][own], log["end"][own]
    first = np.concatenate([[True], who[1:] != who[:-1]]) if len(who) else np.zeros(0, dtype=bool)
    before = np.where(first, record.attempts.submit[who], np.concatenate([[0], ends[:-1]]) if len(who) else ends)
    last = record.attempts.submit.copy()
    last[who] = ends  # in the order of time: the last one stays
    left = record.waited.copy()
    np.subtract.at(left, who, starts - before)
    begin, end = np.concatenate([before, last]), np.concatenate([starts, last + left])
    return begin[end > begin], end[end > begin]


def _mean_of(begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64], height: Floats, edges: Floats) -> Floats:
    """Return the mean of a sum of boxes in each span: the integral of each box up to an edge is a ramp."""
    times = np.concatenate([begin, end]).astype(float)
    slopes = np.concatenate([height, -height])
    order = np.argsort(times, kind="stable")
    times, slopes = times[order], slopes[order]
    slope = np.concatenate([[0.0], np.cumsum(slopes)])
    offset = np.concatenate([[0.0], np.cumsum(slopes * times)])
    place = np.searchsorted(times, edges, side="right")
    area = slope[place] * edges - offset[place]
    return np.asarray(np.diff(area) / np.diff(edges))
