"""Export to Chrome's trace event format (JSON), as Perfetto and chrome://tracing read it.

Source: "Trace Event Format" (Google, 2016). A process is a device, a thread is an engine, or one row of an engine
that ran several tasks at once: slices of one thread must nest, and Perfetto drops those that overlap in part.
Perfetto counts whole nanoseconds, so both ends of a slice are rounded to nanoseconds, which keeps neighbours apart;
the exact ticks stand in `args`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from simulator.lanes import lanes, task_category
from simulator.timeline import Timeline


def chrome_trace(timeline: Timeline, *, flows: bool = True) -> dict[str, Any]:
    """Return the JSON object: metadata, one complete event (`X`) a task, and with `flows` an arrow a dependency."""
    graph = timeline.graph
    devices = list(dict.fromkeys(e.device for e in graph.engines))
    pid_of = [devices.index(e.device) + 1 for e in graph.engines]
    events = [_metadata("process_name", i + 1, 0, name=device or "simulation") for i, device in enumerate(devices)]
    events += [_metadata("process_sort_index", i + 1, 0, sort_index=i) for i in range(len(devices))]
    tid_of = [0] * len(timeline)
    for tid, lane in enumerate(lanes(timeline), start=1):
        engine = graph.engines[lane.engine]
        name = engine.name if not lane.row else f"{engine.name} ({lane.row + 1})"
        events.append(_metadata("thread_name", pid_of[lane.engine], tid, name=name))
        events.append(_metadata("thread_sort_index", pid_of[lane.engine], tid, sort_index=tid))
        for task in lane.tasks:
            tid_of[task] = tid
    events += _slices(timeline, pid_of, tid_of, flows)
    return {
        "traceEvents": events,
        "displayTimeUnit": "ns",
        "otherData": {
            "producer": "archcast",
            "policy": timeline.policy,
            "makespan_s": timeline.makespan_s,
            "ticks_per_second": graph.ticks_per_second,
            "trace_hash": timeline.trace_hash,
        },
    }


def _slices(timeline: Timeline, pid_of: list[int], tid_of: list[int], flows: bool) -> list[dict[str, Any]]:
    """Return the slices by start; each is followed by the arrows that end and begin at it, so that they bind to it."""
    graph = timeline.graph
    rate = graph.ticks_per_second
    begins = [_nanoseconds(t, rate) for t in timeline.start_ticks.tolist()]
    ends = [_nanoseconds(t, rate) for t in timeline.end_ticks.tolist()]
    arrows: dict[int, list[tuple[int, str]]] = {}
    if flows:
        for arrow, (source, target) in enumerate(zip(graph.before.tolist(), graph.after.tolist(), strict=True)):
            arrows.setdefault(target, []).insert(0, (arrow, "f"))
            arrows.setdefault(source, []).append((arrow, "s"))
    events: list[dict[str, Any]] = []
    place = np.array(graph.order or [], dtype=np.int64).argsort()
    for task in np.lexsort((place, timeline.start_ticks)).tolist():
        engine = int(graph.task_engine[task])
        where = {"pid": pid_of[engine], "tid": tid_of[task], "ts": microseconds(begins[task])}
        events.append(
            {
                "ph": "X",
                "name": graph.names[task],
                "cat": task_category(timeline, task),
                **where,
                "dur": microseconds(ends[task] - begins[task]),
                "args": _arguments(timeline, task),
            }
        )
        for arrow, phase in arrows.get(task, ()):
            bind = {"bp": "e"} if phase == "f" else {}
            events.append({"ph": phase, "name": "after", "cat": "dependency", "id": arrow + 1, **where, **bind})
    return events


def _arguments(timeline: Timeline, task: int) -> dict[str, Any]:
    graph = timeline.graph
    found: dict[str, Any] = {
        "start_ticks": int(timeline.start_ticks[task]),
        "duration_ticks": int(timeline.end_ticks[task] - timeline.start_ticks[task]),
    }
    if graph.repeat[task] > 1:
        found["repeat"] = int(graph.repeat[task])
    if graph.size_bytes[task]:
        found["bytes"] = int(graph.size_bytes[task])
    return found


def _metadata(what: str, pid: int, tid: int, **args: str | int) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": dict(args)}


def _nanoseconds(ticks: int, ticks_per_second: int) -> int:
    """Return ticks as whole nanoseconds, rounded half up in integers (later ticks never become earlier)."""
    return (2 * ticks * 10**9 + ticks_per_second) // (2 * ticks_per_second)


def microseconds(nanoseconds: int) -> float:
    """Return the float of microseconds that reads back as these nanoseconds, whether the reader rounds or truncates
    (Perfetto did the latter before it did the former)."""
    value = nanoseconds / 1000
    while int(value * 1000.0) < nanoseconds:
        value = math.nextafter(value, math.inf)
    return value
