"""Graph files: what they say, what can be overridden, and how faults are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from archcast.simulation import Simulation, simulate
from foundation.errors import BadFileError, BadValueError, InputError
from simulator import example_files, load_graph_file, simulate_file

GOOD = """\
kind: graph
policy: critical-path
engines:
  - {name: gpu, kind: compute, device: node}
  - name: link
    kind: link
    bandwidth_bytes_per_s: 1e9
tasks:
  - {name: layer.0.forward, engine: gpu, duration_s: 1e-3, repeat: 4, category: gemm}
  - name: send
    engine: link
    bytes: 2e6
    after: [layer.0.forward]
  - {name: next, engine: gpu, duration_s: 0.5e-3, after: layer.0.forward}
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path


def _refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        simulate_file(path)
    assert isinstance(caught.value, BadFileError)
    assert caught.value.exit_code == 2
    return str(caught.value).removeprefix(str(path))


def test_a_file_gives_its_graph_and_policy(good: Path) -> None:
    graph, policy = load_graph_file(good)
    assert policy == "critical-path"
    assert graph.names == ("layer.0.forward", "send", "next")
    assert graph.duration_ticks.tolist() == [4 * 10**9, 2 * 10**9, 5 * 10**8]
    assert simulate_file(good).makespan_s == pytest.approx(6e-3)


def test_the_seed_does_not_change_a_graph(good: Path) -> None:
    assert simulate_file(good, seed=7).trace_hash == simulate_file(good).trace_hash


@pytest.mark.parametrize(
    ("overrides", "makespan_s"),
    [
        ({"tasks.layer.0.forward.duration_s": 2e-3}, 10e-3),
        ({"tasks.layer.0.forward.repeat": "1"}, 3e-3),
        ({"tasks.send.repeat": "2"}, 8e-3),
        ({"tasks.1.bytes": "4e6"}, 8e-3),
        ({"engines.link.bandwidth_bytes_per_s": "2e9"}, 5e-3),
        ({"tasks.send.after": "[next]"}, 6.5e-3),
        ({"policy": "in-order", "engines.gpu.capacity": 2}, 6e-3),
    ],
)
def test_single_values_can_be_overridden(good: Path, overrides: dict[str, Any], makespan_s: float) -> None:
    assert simulate_file(good, overrides=overrides).makespan_s == pytest.approx(makespan_s, rel=1e-12)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("tasks.sned.bytes", "1", "'sned' is not in the list. Nearest: send"),
        ("tsks.send.bytes", "1", "unknown key 'tsks'. Nearest: tasks"),
        ("tasks.send.byts", "1", "unknown key 'byts'. Nearest: bytes"),
        ("tasks.send.bytes", "-4", "bytes of transfer 'send' must be a whole number from 0 .* An override gave this"),
        ("tasks.send.bytes", "nan", "setting of tasks.send.bytes.*nan is not a usable number"),
        ("tasks.send.bytes", "", "has no value"),
        ("tasks.send.bytes.deeper", "1", "leads nowhere"),
        ("tasks", "5", "'tasks' must be a list"),
        ("kind", "serving", "kind 'serving' is not a task graph"),
        ("policy", "random", "unknown policy 'random'"),
        ("", "1", "has an empty part"),
        ("tasks.", "1", "has an empty part"),
    ],
)
def test_an_override_that_cannot_be_is_refused(good: Path, key: str, value: str, words: str) -> None:
    with pytest.raises((BadFileError, BadValueError), match=words):
        simulate_file(good, overrides={key: value})


def test_faults_name_file_line_and_key(tmp_path: Path) -> None:
    assert _refused(tmp_path, GOOD.replace("2e6", "-2e6")).startswith(
        ":12, key 'tasks[1].bytes': bytes of transfer 'send'"
    )
    assert _refused(tmp_path, GOOD.replace("duration_s: 0.5e-3", "duration_s: soon")).startswith(
        ":14, key 'tasks[2].duration_s': duration_s of task 'next' must be a finite number"
    )
    assert _refused(tmp_path, GOOD.replace("capacity", "x").replace("device: node", "capacity: 0")).startswith(
        ":4, key 'engines[0].capacity'"
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: graph", "kind: grahp", "unknown kind 'grahp'. This version runs files of kind: graph"),
        (
            "kind: graph",
            "kind: training",
            "kind 'training' are not supported yet. This version runs files of kind: graph, run, serving, pipeline,",
        ),
        ("kind: graph", "kind: serving", "kind 'serving' is not a task graph: `archcast simulate` runs such a file."),
        ("kind: graph", "kind: plan", "kind 'plan' is not a task graph: `archcast plan` runs such a file."),
        ("kind: graph", "name: x", "the key 'kind' is missing. This version runs"),
        ("policy: critical-path", "policy: critical", "unknown policy 'critical'. Nearest: critical-path"),
        ("policy: critical-path", "policy: [send, nxt]", "task 'nxt'. Nearest: next"),
        ("policy: critical-path", "policy: 4", "a policy is in-order or critical-path, a list"),
        ("policy: critical-path", "ticks_per_second: 1.5", "ticks_per_second must be a whole number"),
        ("policy: critical-path", "polizy: in-order", "unknown key 'polizy'. Nearest: policy"),
        ("duration_s: 0.5e-3", "duration_s: .nan", ".nan is not a usable number"),
        ("duration_s: 0.5e-3", "duration_s: 1e9", "64 bits"),
        ("duration_s: 0.5e-3", "duration: 0.5e-3", "unknown key 'duration'. Nearest: duration_s"),
        ("duration_s: 0.5e-3", "category: x", "needs either duration_s or bytes"),
        ("duration_s: 0.5e-3", "duration_s: 1, bytes: 3", "needs either duration_s or bytes"),
        ("duration_s: 0.5e-3", "bytes: 3", "engine 'gpu' has no bandwidth_bytes_per_s"),
        ("category: gemm", "category: [a]", "'category' must be text"),
        ("category: gemm", "after: next", "in a circle"),
        ("[layer.0.forward]", "[layer.0.forwrd]", "waits for unknown task 'layer.0.forwrd'. Nearest: layer.0.forward"),
        ("[layer.0.forward]", "{a: 1}", "'after' must be a task name or a list"),
        ("[layer.0.forward]", "[[send]]", "waits for unknown task"),
        ("engine: link", "engine: lnk", "engine 'lnk'. Nearest: link"),
        ("    engine: link\n", "", "task 'send' names no engine"),
        ("name: send", "name: next", "Two tasks are named 'next'"),
        ("name: send", "name: 7", "no name, or one that is not text"),
        ("kind: link", "kind: lnk", "engine kind 'lnk'. Nearest: link"),
        ("kind: link", "kind: link\n    capacity: 2", "capacity must be 1, not 2"),
    ],
)
def test_what_a_file_cannot_say_is_refused_in_one_sentence(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in GOOD
    message = _refused(tmp_path, GOOD.replace(old, new))
    assert words in message
    assert len(message) < 600


@pytest.mark.parametrize(
    "text",
    ["", "[]", "7", "kind: graph", "kind: graph\nengines: []\ntasks: {}", "kind: [graph]", "kind: graph\nengines: [4]"],
)
def test_files_without_the_needed_parts_are_refused(tmp_path: Path, text: str) -> None:
    _refused(tmp_path, text)


def test_nan_is_refused_before_the_kind_is_looked_at(tmp_path: Path) -> None:
    assert ".nan is not a usable number" in _refused(tmp_path, "kind: serving\nrate_hz: .nan\n")


def test_the_shipped_example_overlaps_transfers_with_compute() -> None:
    """Worked out by hand, in ms. gpu0 computes 0.8 to 6.8 and gpu1 1.6 to 7.6. The link has 2 + 2 + 1 + 1 = 6 of work
    and is never idle from the first gradient at 4.8 on, so it ends at 10.8; the optimizers add 0.6."""
    line = simulate_file(example_files()["overlap"])
    assert line.makespan_ticks == 11_400_000_000
    assert line.busy_ticks[line.graph.engine_index("nvlink")] == 6_000_000_000


def test_every_shipped_graph_runs_under_every_policy() -> None:
    graphs = [path for path in example_files().values() if "kind: graph" in path.read_text(encoding="utf-8")]
    assert graphs
    for path in graphs:
        for policy in ("in-order", "critical-path"):
            assert simulate_file(path, overrides={"policy": policy}).makespan_s > 0


def test_the_example_of_the_documentation_runs(repository: Path, tmp_path: Path) -> None:
    text = (repository / "docs" / "simulation.md").read_text(encoding="utf-8")
    path = tmp_path / "example.yaml"
    path.write_text(text.split("```yaml\n")[1].split("```")[0])
    assert simulate_file(path).makespan_s == pytest.approx(6.5e-3)


@pytest.mark.parametrize("text", ["[1, 2]", "7"])
def test_a_file_that_is_no_mapping_is_told_of_all_kinds(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(BadFileError, match=r"a mapping with the key kind \(graph, run, serving\)"):
        simulate(path)


def test_the_kind_of_a_file_cannot_be_set(good: Path, tmp_path: Path) -> None:
    served = tmp_path / "served.yaml"
    served.write_text("kind: serving\nmodel: llama-3.1-8b\non: h100-sxm\ntraffic: {rate_hz: 1, requests: 5}\n")
    with pytest.raises(BadValueError, match=r"kind cannot be set to 'graph': .* is of kind 'serving'"):
        simulate(served, settings={"kind": "graph"})
    with pytest.raises(BadValueError, match=r"kind cannot be set to 'serving': .* is of kind 'graph'"):
        simulate(good, settings={"kind": "serving"})
    assert isinstance(simulate(good, settings={"kind": "graph"}), Simulation)


def test_the_option_replications_has_the_limit_of_the_key(good: Path) -> None:
    assert isinstance(simulate(good, replications=10_000), Simulation)
    with pytest.raises(BadValueError, match="replications must be a whole number from 1 to 10000"):
        simulate(good, replications=10_001)


def test_a_kind_that_is_no_word_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "odd.yaml"
    file.write_text("kind: [graph]\n", encoding="utf-8")
    with pytest.raises(InputError, match="kind"):
        simulate(file)
