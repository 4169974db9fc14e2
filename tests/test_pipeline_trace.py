"""The Chrome trace of a pipeline: counters of waiting and busy, spans of what is full, and Perfetto's own loader."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from pipeline_samples import CHAIN, overloaded, shown, small

from archcast.render.pipeline_trace import _runs
from foundation.errors import BadValueError


def test_counters_are_the_samples_of_the_run() -> None:
    answer = small()
    events = answer.to_chrome_trace()["traceEvents"]
    at, waiting, busy = answer.windows[0].series("Farm")
    for name, values in (("waiting", waiting), ("busy", busy)):
        track = [e for e in events if e["ph"] == "C" and e["name"] == f"Farm {name}"]
        assert [e["ts"] for e in track] == pytest.approx((at * 1e6).tolist(), abs=1e-3)
        assert [e["args"][name] for e in track] == values.tolist()


def test_spans_say_when_samples_find_no_place_or_all_busy() -> None:
    answer = small()
    trace = answer.to_chrome_trace()
    threads = {e["args"]["name"]: e["tid"] for e in trace["traceEvents"] if e["name"] == "thread_name"}
    at, waiting, busy = answer.windows[0].series("Buffer")
    spans = [e for e in trace["traceEvents"] if e["ph"] == "X" and e["tid"] == threads["Buffer"]]
    assert {e["name"] for e in spans} <= {"all servers busy", "no place left"}
    inside = np.zeros(len(at), dtype=bool)
    for span in spans:
        inside |= (at * 1e6 >= span["ts"] - 1e-3) & (at * 1e6 < span["ts"] + span["dur"] - 1e-3)
    full = (busy >= 1) | (waiting >= 4)
    full[-1] = inside[-1]  # the last sample begins no span
    assert inside.tolist() == full.tolist()


def test_the_warm_up_and_what_is_counted_fill_the_run() -> None:
    phases = [e for e in small().to_chrome_trace()["traceEvents"] if e.get("cat") == "run"]
    assert [(e["name"], e["ts"], e["dur"]) for e in phases] == [("warm-up", 0, 2000), ("counted", 2000, 18000)]


def test_without_windows_there_is_no_trace() -> None:
    with pytest.raises(BadValueError, match="fidelity=rates simulates none"):
        shown(fidelity="rates").to_chrome_trace()
    with pytest.raises(BadValueError, match="the description has none"):
        shown(CHAIN[: CHAIN.index("events:")]).to_chrome_trace()


def test_the_trace_says_what_it_is_of() -> None:
    assert small().to_chrome_trace()["otherData"]["pipeline"] == "small"
    assert overloaded().to_chrome_trace()["otherData"]["unstable"][0] == "Farm"


def test_slices_of_a_thread_do_not_overlap_and_end_on_nanoseconds() -> None:
    for answer in (small(), overloaded()):
        last: dict[int, float] = {}
        for e in answer.to_chrome_trace()["traceEvents"]:
            if e["ph"] != "X":
                continue
            assert e["ts"] >= last.get(e["tid"], 0.0) - 1e-6
            assert e["ts"] == round(e["ts"], 3)
            assert e["dur"] > 0
            last[e["tid"]] = e["ts"] + e["dur"]


@pytest.mark.parametrize(
    ("states", "runs"), [([], []), ([0, 1, 1, 0], [(0, 1), (1, 3), (3, 3)]), ([2, 2, 2], [(0, 2)]), ([1], [(0, 0)])]
)
def test_runs_of_equal_states(states: list[int], runs: list[tuple[int, int]]) -> None:
    assert _runs(np.array(states, dtype=np.int64)) == runs


def test_perfetto_loads_the_counters(tmp_path: Path) -> None:
    binary = _trace_processor()
    if binary is None:
        pytest.skip(
            "no trace_processor_shell: the perfetto package downloads it on first use; set PERFETTO_TRACE_PROCESSOR "
            "to its path (the format itself is held by the tests above)"
        )
    api = pytest.importorskip("perfetto.trace_processor")
    file, trace = tmp_path / "trace.json", small().to_chrome_trace()
    file.write_text(json.dumps(trace))
    with api.TraceProcessor(trace=str(file), config=api.TraceProcessorConfig(bin_path=binary)) as loaded:
        names = {row.name for row in loaded.query("select distinct name from counter_track")}
        counters = next(iter(loaded.query("select count(*) as n from counter"))).n
        slices = next(iter(loaded.query("select count(*) as n from slice"))).n
        faults = next(iter(loaded.query("select sum(value) as n from stats where severity = 'error'"))).n
    assert {"Buffer waiting", "Buffer busy", "Farm waiting", "Farm busy"} <= names
    assert counters == sum(e["ph"] == "C" for e in trace["traceEvents"])
    assert slices == sum(e["ph"] == "X" for e in trace["traceEvents"])
    assert not faults


def _trace_processor() -> str | None:
    found = os.environ.get("PERFETTO_TRACE_PROCESSOR") or shutil.which("trace_processor_shell")
    if found:
        return found
    cache = Path.home() / ".local" / "share" / "perfetto" / "prebuilts"
    return next((str(path) for path in sorted(cache.glob("trace_processor_shell-*")) if path.suffix != ".tmp"), None)
