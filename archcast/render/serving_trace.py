"""Steps and requests of a serving simulation in Chrome's trace event format, as Perfetto reads it.

A process is a pool's engines or the requests; a thread is a lane, whose slices are runs of equal steps. Requests are
async slices (queue, prompt, answer). Counters show the queue and the KV blocks in use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simulator.chrome_trace import microseconds

if TYPE_CHECKING:
    from archcast.serving import Serving
    from simulator.serving.results import Run
    from simulator.serving.series import Level

TICKS_PER_NANOSECOND = 1000
MOST_SLICES = 200_000
MOST_REQUESTS = 20_000
ENGINES, REQUESTS = 1, 2


def serving_trace(answer: Serving) -> dict[str, Any]:
    """Return the JSON object for the first replication; what is beyond the limits of size is left out and counted."""
    study = answer.study
    if study is None:
        return {"traceEvents": [], "otherData": {"producer": "archcast", "verdict": answer.verdict}}
    run = study.first
    events = [_named("process_name", ENGINES, 0, "engines"), _named("process_name", REQUESTS, 0, "requests")]
    events += [_named("thread_name", ENGINES, lane + 1, name) for lane, name in enumerate(run.lanes)]
    events += _steps(run)
    events += _requests(run)
    for key, name in (("queue", "waiting"), ("running", "running"), ("kv", "KV share")):
        events += _counter(name, study.levels[key])
    return {
        "traceEvents": events,
        "displayTimeUnit": "ms",
        "otherData": {
            "producer": "archcast", "trace_hash": run.trace_hash,
            "steps_left_out": max(len(run.steps["start"]) - MOST_SLICES, 0),
            "requests_left_out": max(len(run.requests) - MOST_REQUESTS, 0),
        },
    }  # fmt: skip


def _steps(run: Run) -> list[dict[str, Any]]:
    steps = {name: column[:MOST_SLICES].tolist() for name, column in run.steps.items()}
    events = []
    for i, (start, end) in enumerate(zip(steps["start"], steps["end"], strict=True)):
        decodes, prompts = steps["decodes"][i], steps["tokens"][i] - steps["decodes"][i]
        name = f"decode {decodes}" if prompts <= 0 else f"prompt {prompts}" + (f" + {decodes}" if decodes else "")
        begin = _nanoseconds(start)
        events.append(
            {
                "ph": "X",
                "name": name,
                "cat": "decode" if prompts <= 0 else "prompt",
                "pid": ENGINES,
                "tid": steps["lane"][i] + 1,
                "ts": microseconds(begin),
                "dur": microseconds(_nanoseconds(end) - begin),
                "args": {
                    "steps": steps["steps"][i],
                    "tokens_a_step": steps["tokens"][i],
                    "running": steps["running"][i],
                    "waiting": steps["waiting"][i],
                    "kv_blocks": steps["blocks"][i],
                },
            }
        )
    return events


def _requests(run: Run) -> list[dict[str, Any]]:
    log, events = run.log, []
    for request, arrival in enumerate(run.requests.arrival[:MOST_REQUESTS].tolist()):
        if log.done[request] < 0:
            continue
        times = (arrival, log.admitted[request], log.first_token[request], log.done[request])
        about = {
            "prompt": int(run.requests.prompt[request]), "generate": int(run.requests.generate[request]),
            "preempted": log.preempted[request],
        }  # fmt: skip
        same = {"cat": "request", "id": request + 1, "pid": REQUESTS, "tid": 0}
        for name, begin, end in zip(("queue", "prompt", "answer"), times[:-1], times[1:], strict=True):
            edges = (microseconds(_nanoseconds(begin)), microseconds(_nanoseconds(end)))
            events.append({"ph": "b", "name": name, "ts": edges[0], **same, "args": about})
            events.append({"ph": "e", "name": name, "ts": edges[1], **same})
    return events


def _counter(name: str, level: Level) -> list[dict[str, Any]]:
    return [
        {"ph": "C", "name": name, "pid": ENGINES, "ts": round(1e6 * at, 3), "args": {name: value}}
        for at, value in zip(level.at_s.tolist(), np.round(level.value, 6).tolist(), strict=True)
    ]


def _named(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": {"name": name}}


def _nanoseconds(ticks: int) -> int:
    return (ticks + TICKS_PER_NANOSECOND // 2) // TICKS_PER_NANOSECOND
