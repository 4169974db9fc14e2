"""Windows of a pipeline in Chrome's trace event format, as Perfetto reads it; the first replication of each.

A process is a window. Counters are the waiting events and busy servers of each stage at the samples of the run. Slices
are the warm-up and the counted part, and for each stage the spans in which samples find all servers busy or no place
left: they begin and end at samples, whose distance stands in `otherData`.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from archcast.render.human import printable
from archcast.render.pipeline_rows import servers_and_room
from foundation.errors import BadValueError

if TYPE_CHECKING:
    import numpy.typing as npt

    from archcast.pipeline import Pipeline
    from simulator.pipelines.window_run import WindowRun

MOST_SPANS = 50_000
"""Of one window; more are left out and counted."""


def pipeline_trace(answer: Pipeline) -> dict[str, Any]:
    """Return the JSON object. Raises BadValueError where no window was simulated."""
    if not answer.windows:
        why = "fidelity=rates simulates none" if answer.fidelity == "rates" else "the description has none (`events`)"
        raise BadValueError(f"A trace is of the windows that were simulated, and {why}.")
    events: list[dict[str, Any]] = []
    about: dict[str, Any] = {
        "producer": "archcast", "pipeline": answer.spec.id, "seed": answer.seed, "windows": {},
        "unstable": list(answer.unstable),
    }  # fmt: skip
    for pid, window in enumerate(answer.windows, start=1):
        events.append(_named("process_name", pid, 0, f"window {printable(window.name)}"))
        events += _phases(window, pid)
        spans = 0
        for tid, stage in enumerate((name for name, row in window.stages.items() if row.line), start=2):
            found = _stage_spans(window, stage, pid, tid)
            events += [_named("thread_name", pid, tid, printable(stage)), *_counters(window, stage, pid)]
            events += found[: max(0, MOST_SPANS - spans)]
            spans += len(found)
        about["windows"][window.name] = {
            "trace_hash": window.runs[0].trace_hash, "begins_with_accepted_events": window.network.begins_accepted,
            "sample_s": _sample_s(window), "spans_left_out": max(0, spans - MOST_SPANS),
        }  # fmt: skip
    return {"traceEvents": events, "displayTimeUnit": "ns", "otherData": about}


def _phases(window: WindowRun, pid: int) -> list[dict[str, Any]]:
    begin, end = window.runs[0].warm_up_s, window.runs[0].horizon_s
    parts = [("warm-up", 0.0, begin)] if begin > 0 else []
    return [
        _named("thread_name", pid, 1, "run"),
        *(_slice(name, "run", pid, 1, start, stop) for name, start, stop in (*parts, ("counted", begin, end))),
    ]


def _counters(window: WindowRun, stage: str, pid: int) -> list[dict[str, Any]]:
    at, waiting, busy = window.series(stage)
    stamps = np.round(at * 1e6, 3).tolist()
    found = []
    for what, values in (("waiting", waiting), ("busy", busy)):
        name = f"{printable(stage)} {what}"
        found += [
            {"ph": "C", "name": name, "pid": pid, "ts": ts, "args": {what: value}}
            for ts, value in zip(stamps, values.tolist(), strict=True)
        ]
    return found


def _stage_spans(window: WindowRun, stage: str, pid: int, tid: int) -> list[dict[str, Any]]:
    servers, room = servers_and_room(window, stage)
    at, waiting, busy = window.series(stage)
    states = np.zeros(len(at), dtype=int)
    if servers:
        states[busy >= servers] = 1
    if math.isfinite(room) and room > 0:
        states[waiting >= room] = 2
    names = {1: "all servers busy", 2: "no place left"}
    return [
        _slice(names[int(states[first])], "stage", pid, tid, float(at[first]), float(at[last]))
        for first, last in _runs(states)
        if states[first] and at[last] > at[first]
    ]


def _runs(states: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return (first sample, first sample of the next run or the last of all) of each run of equal states."""
    if len(states) == 0:
        return []
    edges = [0, *(np.flatnonzero(np.diff(states)) + 1).tolist(), len(states) - 1]
    return list(pairwise(edges))


def _sample_s(window: WindowRun) -> float:
    times = np.asarray(window.runs[0].record.sampled_at, dtype=float) / window.runs[0].record.ticks_per_second
    return float(times[1] - times[0]) if len(times) > 1 else window.runs[0].horizon_s


def _slice(name: str, category: str, pid: int, tid: int, begin_s: float, end_s: float) -> dict[str, Any]:
    start = round(begin_s * 1e6, 3)
    return {
        "ph": "X", "name": name, "cat": category, "pid": pid, "tid": tid, "ts": start,
        "dur": round(round(end_s * 1e6, 3) - start, 3),
    }  # fmt: skip


def _named(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}
