"""Files of kind `cluster`: what is answered, and what is refused with file, line and key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from archcast.cluster import Cluster, cluster_file
from foundation.errors import BadFileError, BadValueError
from foundation.yaml_file import load_yaml, parse_yaml

TASKS = """submit_s,duration_s,cpu_cores,memory_bytes,priority
0,10,3,1e9,0
1,5,2,1e9,0
2,5,9,1e9,0
"""
FILE = """kind: cluster
trace: {format: csv, tasks: tasks.csv}
machines: [{count: 1, cpu_cores: 4, memory_bytes: 8 GB}]
placement: first-fit
power: {idle_w: 100, busy_w: 200}
"""


def answered(folder: Path, text: str = FILE, settings: dict[str, Any] | None = None, **options: Any) -> Cluster:
    (folder / "tasks.csv").write_text(TASKS)
    document = parse_yaml(text, folder / "cluster.yaml")
    return cluster_file(document, settings, options.get("seed", 1), options.get("replications"), "cluster.yaml")


def refused(folder: Path, text: str, settings: dict[str, Any] | None = None) -> str:
    with pytest.raises((BadFileError, BadValueError)) as found:
        answered(folder, text, settings)
    return str(found.value)


def test_the_answer_has_suffixed_names_and_uncertain_numbers(tmp_path: Path) -> None:
    doc = answered(tmp_path).to_json()
    json.dumps(doc, allow_nan=False)
    assert doc["wait_s"]["mean"] == {"value": 4.5, "lo": None, "hi": None}
    assert doc["duration_s"]["value"] == 15
    assert doc["utilisation"]["cpu"]["value"] == pytest.approx(40 / 60)
    assert doc["energy_j"]["value"] == pytest.approx(100 * 15 + 100 * 40 / 4)
    assert doc["tasks"]["unplaceable"] == 1
    assert doc["tasks"]["reasons"] == {"asks for more than any machine has": 1}
    assert set(doc["versions"]) >= {"archcast", "numpy"}
    assert len(doc["trace_hash"]) == 16


def test_the_example_answers_in_all_forms(repository: Path) -> None:
    path = repository / "examples" / "cluster_replay.yaml"
    found = cluster_file(load_yaml(path), None, 1, None, str(path))
    doc = found.to_json()
    assert doc["tasks"]["done"] == 150
    assert set(doc["compared"]) == {"best-fit", "first-fit", "spread", "dot-product"}
    assert "best-fit" in found.text()
    page = found.page()
    assert page.startswith("<!doctype html>")
    assert "Utilisation" in page
    assert found.to_chrome_trace()["traceEvents"]


def test_a_made_trace_has_intervals_over_replications_and_repeats(tmp_path: Path) -> None:
    text = "kind: cluster\ntrace: {format: made, machines: 20, task_events: 1500, load: 0.5, horizon_s: 200000}\n"
    first, again = answered(tmp_path, text), answered(tmp_path, text)
    assert first.hashes == again.hashes
    assert len(set(first.hashes)) == 5
    number = first.to_json()["utilisation"]["cpu"]
    assert number["lo"] < number["value"] < number["hi"]
    assert "synthetic" in first.text()


def test_names_from_files_are_escaped_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "<script>.csv").write_text(TASKS)
    page = answered(tmp_path, FILE.replace("tasks.csv", '"<script>.csv"')).page()
    assert "<script>.csv" not in page


def test_a_google_trace_is_named_by_its_tables(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(
        "0,,1,0,,0,u,0,0,0.5,0.5,0,0\n1,,1,0,7,1,u,0,0,0.5,0.5,0,0\n9,,1,0,7,4,u,0,0,0.5,0.5,0,0\n"
    )
    (tmp_path / "m.csv").write_text("0,7,0,p,1,1\n")
    text = "kind: cluster\ntrace: {format: google-2011, task_events: [t.csv], machine_events: m.csv}\n"
    doc = answered(tmp_path, text).to_json()
    assert doc["tasks"]["done"] == 1
    assert doc["utilisation"]["disk"]["value"] is None
    assert "trace needs 'machine_events'" in refused(tmp_path, text.replace(", machine_events: m.csv", ""))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("first-fit", "frist-fit", ":4, key 'placement': Unknown placement 'frist-fit'. Nearest: first-fit"),
        ("format: csv", "format: cvs", "cluster.yaml:2, key 'trace.format': Unknown format 'cvs'"),
        ("tasks.csv", "absent.csv", "absent.csv: there is no such file"),
        ("count: 1", "count: 0", "cluster.yaml:3, key 'machines[0].count'"),
        ("cpu_cores: 4", "cpu_cores: -4", "cluster.yaml:3, key 'machines[0].cpu_cores'"),
        ("8 GB", "8 Hz", "cluster.yaml:3, key 'machines[0].memory_bytes'"),
        ("cpu_cores", "cores", "unknown key 'cores'. Nearest: cpu_cores"),
        ("idle_w: 100", "idle_w: -1", "cluster.yaml:5, key 'power.idle_w'"),
        ("power:", "queue: lifo\npower:", "key 'queue': Unknown queue 'lifo'"),
        ("power:", "migration: {bandwidth_bytes_per_s: 0}\npower:", "bandwidth_bytes_per_s must be a finite number"),
        ("power:", "migration: {threshold: 2}\npower:", "threshold must be a finite number above 0 and at most 1"),
        ("power:", "interference: {kind: constant}\npower:", "constant interference needs 'loss'"),
        ("power:", "horizon_s: -5\npower:", "key 'horizon_s'"),
        ("power:", "compare: [worstfit]\npower:", "key 'compare[0]': Unknown placement 'worstfit'. Nearest: worst-fit"),
        ("power:", "preemption: maybe\npower:", "'preemption' must be true or false"),
        ("machines: [{count: 1, cpu_cores: 4, memory_bytes: 8 GB}]\n", "", "the cluster needs machines"),
    ],
)  # fmt: skip
def test_bad_keys_are_refused_with_their_place(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in FILE
    assert says in refused(tmp_path, FILE.replace(old, new, 1))


def test_a_load_that_cannot_be_reached_is_refused(tmp_path: Path) -> None:
    text = "kind: cluster\ntrace: {format: made, machines: 500, task_events: 30, load: 0.9}\n"
    assert "cannot be reached" in refused(tmp_path, text)


def test_overrides_change_the_answer_and_are_named_in_faults(tmp_path: Path) -> None:
    doc = answered(tmp_path, FILE, {"machines.0.cpu_cores": "16"}).to_json()
    assert doc["wait_s"]["value"] == 0
    assert "An override gave this value" in refused(tmp_path, FILE, {"placement": "none"})


def test_the_comparison_says_how_long_each_placement_took(repository: Path) -> None:
    path = repository / "examples" / "cluster_replay.yaml"
    answer = cluster_file(load_yaml(path), None, 1, None, str(path))
    head = next(line for line in answer.text().splitlines() if line.startswith("placement"))
    assert head.split()[:2] == ["placement", "duration"]
    page = answer.page()
    assert "<th>duration</th>" in page
    assert "<pre>" not in page
    assert ">Migrations<" in page
