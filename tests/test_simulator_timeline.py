"""Timelines: what they report, and the files made from them."""

from __future__ import annotations

import json
import os
import shutil
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.errors import UnsupportedError
from simulator import Engine, TaskGraph, TaskGraphBuilder, Timeline, pipeline_graph, simulate_graph
from simulator.chrome_trace import microseconds
from simulator.lanes import blocks, lanes
from simulator.time_axis import axis_ticks, time_text


def _example() -> Timeline:
    """Two devices, a shared link with contention, a repeat, a name that needs escaping."""
    builder = TaskGraphBuilder()
    for device in ("gpu0", "gpu1"):
        builder.engine(device, device=device)
    builder.engine("link", kind="link", device="fabric", bandwidth_bytes_per_s=1e9)
    for device in ("gpu0", "gpu1"):
        builder.task(f"<step> & '{device}'", device, 1.3e-6, repeat=3, category="forward")
        builder.transfer(f"send {device}", "link", 2_001, after=f"<step> & '{device}'")
    builder.task("end", "gpu0", 0.7e-6, after=["send gpu0", "send gpu1"])
    return simulate_graph(builder.build())


def _noise(count: int = 20_000) -> Timeline:
    rng = np.random.default_rng(1)
    engines = [Engine("a"), Engine("b", capacity=3), Engine("c", kind="link")]
    index = np.arange(1, count)
    before = np.maximum(index - rng.integers(1, 30, count - 1), 0)
    names = [f"c{i % 5}" for i in range(count)]
    where, seconds = rng.integers(0, 3, count), rng.exponential(1e-7, count)
    return simulate_graph(TaskGraph.from_arrays(engines, where, seconds, before, index, category=names))


def test_the_summary_is_json_with_units_in_its_names() -> None:
    summary = json.loads(json.dumps(_example().summary()))
    assert summary["makespan_s"] == pytest.approx(3 * 1.3e-6 + 2 * 2.001e-6 + 0.7e-6)
    assert summary["tasks"] == 5
    assert [e["name"] for e in summary["engines"]] == ["gpu0", "gpu1", "link"]
    for engine in summary["engines"]:
        assert engine["busy_s"] + engine["idle_s"] == pytest.approx(summary["makespan_s"])


def test_the_columns_have_a_row_for_each_task() -> None:
    columns = _example().columns()
    assert {len(column) for column in columns.values()} == {5}
    assert columns["engine"][-1] == "gpu0"
    assert columns["critical"].any()


def test_the_trace_hash_is_pinned_and_changes_with_any_time() -> None:
    """The pinned value holds on every machine; it may change only together with the rules of the simulation."""
    graph = TaskGraph.from_arrays([Engine("a")], [0, 0], [1e-9, 2e-9])
    assert simulate_graph(graph).trace_hash == "4362734971a566b8de5a8146b78c8930f692fa8f661371e76eddb81971557b59"
    longer = TaskGraph.from_arrays([Engine("a")], [0, 0], [1e-9, 2.001e-9])
    assert simulate_graph(longer).trace_hash != simulate_graph(graph).trace_hash


def _check_chrome_trace(trace: dict[str, Any], tasks: int, edges: int) -> None:
    """Hold a trace to the Trace Event Format, read as Perfetto reads it: whole nanoseconds, slices that nest."""
    trace = json.loads(json.dumps(trace, allow_nan=False))
    assert set(trace) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert trace["displayTimeUnit"] in ("ns", "ms")
    threads, processes, slices, arrows = {}, set(), [], {}
    for event in trace["traceEvents"]:
        assert isinstance(event["pid"], int)
        assert event["pid"] > 0
        assert isinstance(event["tid"], int)
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "process_sort_index", "thread_name", "thread_sort_index")
            if event["name"] == "process_name":
                processes.add(event["pid"])
            if event["name"] == "thread_name":
                assert event["tid"] not in threads
                threads[event["tid"]] = (event["pid"], event["args"]["name"])
            continue
        assert threads[event["tid"]][0] == event["pid"]
        assert event["pid"] in processes
        assert event["ts"] >= 0
        assert isinstance(event["name"], str)
        assert isinstance(event["cat"], str)
        if event["ph"] == "X":
            assert event["dur"] >= 0
            slices.append(event)
        else:
            arrows.setdefault((event["cat"], event["id"]), []).append((event["ph"], event["ts"], event["tid"]))
            assert event["ph"] in ("s", "f")
            assert (event["ts"], event["tid"]) == (slices[-1]["ts"], slices[-1]["tid"]), "binds to the slice before it"
            assert event["ph"] == "s" or event["bp"] == "e"
    assert len(slices) == tasks
    assert [s["ts"] for s in slices] == sorted(s["ts"] for s in slices)
    assert len(arrows) == edges
    assert all([phase for phase, _, _ in ends] == ["s", "f"] for ends in arrows.values())
    for read in (int, round):  # readers that truncate and readers that round
        ends: dict[int, int] = {}
        for event in slices:
            start = read(event["ts"] * 1000.0)
            assert start >= ends.get(event["tid"], 0), "slices of one thread overlap"
            ends[event["tid"]] = start + read(event["dur"] * 1000.0)


def test_the_chrome_trace_keeps_the_rules_of_its_format() -> None:
    line = _example()
    trace = line.to_chrome_trace()
    _check_chrome_trace(trace, tasks=5, edges=4)
    names = {e["args"]["name"] for e in trace["traceEvents"] if e["name"] in ("process_name", "thread_name")}
    assert {"gpu0", "gpu1", "fabric", "link", "link (2)"} <= names
    end = next(e for e in trace["traceEvents"] if e["name"] == "end")
    assert (end["ts"], end["dur"]) == (7.902, 0.7)
    assert end["args"]["start_ticks"] == 7_902_000


def test_the_chrome_trace_of_a_large_random_graph_keeps_the_rules() -> None:
    line = _noise(4_000)
    _check_chrome_trace(line.to_chrome_trace(), tasks=4_000, edges=3_999)
    _check_chrome_trace(line.to_chrome_trace(flows=False), tasks=4_000, edges=0)


def test_the_chrome_trace_of_an_empty_graph_keeps_the_rules() -> None:
    _check_chrome_trace(simulate_graph(TaskGraph.from_arrays([Engine("a")], [], [])).to_chrome_trace(), 0, 0)


@given(st.integers(0, 2**52))
def test_microseconds_read_back_as_the_same_nanoseconds(nanoseconds: int) -> None:
    read = json.loads(json.dumps(microseconds(nanoseconds)))
    assert int(read * 1000.0) == round(read * 1000.0) == nanoseconds


def _trace_processor() -> str | None:
    """Perfetto's own loader, where this machine has it: the `perfetto` package does not contain the binary, it
    downloads it on first use, which a test must not do."""
    found = os.environ.get("PERFETTO_TRACE_PROCESSOR") or shutil.which("trace_processor_shell")
    if found:
        return found
    cache = Path.home() / ".local" / "share" / "perfetto" / "prebuilts"
    return next((str(path) for path in sorted(cache.glob("trace_processor_shell-*")) if path.suffix != ".tmp"), None)


def test_perfetto_loads_the_chrome_trace(tmp_path: Path) -> None:
    binary = _trace_processor()
    if binary is None:
        pytest.skip(
            "no trace_processor_shell: the perfetto package downloads it on first use; set PERFETTO_TRACE_PROCESSOR "
            "to its path (the format itself is held by the tests above)"
        )
    api = pytest.importorskip("perfetto.trace_processor")
    line, file = _example(), tmp_path / "trace.json"
    file.write_text(json.dumps(line.to_chrome_trace()))
    config = api.TraceProcessorConfig(bin_path=binary)
    with api.TraceProcessor(trace=str(file), config=config) as loaded:
        rows = {r.name: (r.ts, r.dur) for r in loaded.query("select name, ts, dur from slice")}
        flows = next(iter(loaded.query("select count(*) as n from flow"))).n
        faults = next(iter(loaded.query("select sum(value) as n from stats where severity = 'error'"))).n
    assert len(rows) == len(line)
    first = min(ts for ts, _ in rows.values())
    assert (rows["end"][0] - first, rows["end"][1]) == (7_902, 700)
    assert (flows, faults or 0) == (4, 0)


def test_the_svg_is_well_formed_and_names_what_it_shows() -> None:
    text = _example().to_svg(title="A <title>")
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    titles = " ".join(element.text or "" for element in root.iter("{http://www.w3.org/2000/svg}title"))
    for words in ("<step> & 'gpu0'", "3 times", "2,001 bytes", "the rest is contention", "forward on gpu1"):
        assert words in titles
    shown = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "A <title>" in shown
    assert any(text and text.startswith("critical chain") for text in shown)


def test_the_svg_has_no_ids_scripts_or_links_so_that_many_fit_in_one_page() -> None:
    text = _example().to_svg()
    assert " id=" not in text
    assert "<script" not in text
    assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_names_with_characters_that_xml_forbids_do_not_break_the_svg() -> None:
    graph = TaskGraph.from_arrays([Engine('e"\x01\ud800')], [0], [1e-3], names=["\x00\x1b]]>"])
    ElementTree.fromstring(simulate_graph(graph).to_svg().encode())


def test_the_svg_of_many_tasks_stays_small() -> None:
    line = _noise()
    text = line.to_svg(width_px=1_000)
    shapes = text.count("<rect")
    rows = min(len(lanes(line)), 8)
    assert shapes < rows * 3 * (1_000 / 1.5)
    assert len(text) < 1_500_000
    ElementTree.fromstring(text)


def test_merged_shapes_lose_no_task_and_no_time() -> None:
    line = _noise(3_000)
    scale = 868 / line.makespan_ticks
    for lane in lanes(line):
        shapes = blocks(line, lane, scale, 1.5)
        taken = (line.end_ticks - line.start_ticks)[list(lane.tasks)].sum() * scale
        assert sum(shape.count for shape in shapes) == len(lane.tasks)
        assert sum(shape.busy for shape in shapes) == pytest.approx(float(taken))
        assert all(shape.x1 - shape.x0 >= 1.5 - 1e-9 for shape in shapes)


def test_more_engines_than_fit_are_mentioned() -> None:
    engines = [Engine(f"e{i}") for i in range(70)]
    line = simulate_graph(TaskGraph.from_arrays(engines, range(70), np.ones(70)))
    assert "6 more engines not drawn" in line.to_svg()


def test_an_empty_timeline_can_be_drawn() -> None:
    ElementTree.fromstring(simulate_graph(TaskGraph.from_arrays([Engine("a")], [], [])).to_svg())
    ElementTree.fromstring(simulate_graph(TaskGraph.from_arrays([Engine("a")], [0], [0.0])).to_svg())


def test_a_figure_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is an extra")
    path = simulate_graph(pipeline_graph(3, 4, 1e-3, 2e-3)).to_figure(tmp_path / "figure.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(UnsupportedError, match=r"cannot write '\.xyz' files"):
        _example().to_figure(tmp_path / "figure.xyz")


def test_a_figure_without_matplotlib_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UnsupportedError, match="need matplotlib"):
        _example().to_figure(tmp_path / "figure.png")


def test_times_are_written_as_people_read_them() -> None:
    wanted = {0.0: "0 s", 1.5e-12: "1.5 ps", 2.3456e-6: "2.346 µs", 0.0114: "11.4 ms", 59.0: "59 s", 7_200.0: "2 h"}
    assert {time_s: time_text(time_s) for time_s in wanted} == wanted


@given(st.floats(1e-12, 1e6))
def test_axis_ticks_are_round_evenly_spaced_and_cover_the_span(span_s: float) -> None:
    ticks = axis_ticks(span_s)
    times = [time_s for time_s, _ in ticks]
    assert times[0] == 0
    assert 3 <= len(ticks) <= 10
    assert times[-1] <= span_s * (1 + 1e-9) < times[-1] + 1.01 * (times[1] - times[0])
    assert len({label for _, label in ticks}) == len(ticks)
