"""Files of kind `edge`: what is read, the answer as JSON, text, trace and page, and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_runner import ROOT

from archcast.offloading import Offloading, serve_file
from foundation.errors import BadFileError
from foundation.yaml_file import load_yaml
from simulator.offloading.policies import PolicyError

SMALL = "kind: edge\ntasks: 500\nreplications: 2\nweights: [1.0, 0.6]\n"
HOSTILE = "<img src=x onerror=alert(1)>"


def run(folder: Path, text: str = SMALL, settings: dict[str, Any] | None = None, **more: Any) -> Offloading:
    file = folder / "edge.yaml"
    file.write_text(text, encoding="utf-8")
    return serve_file(load_yaml(file), settings, 7, None, str(file), **more)


def refused(folder: Path, text: str, settings: dict[str, Any] | None = None) -> str:
    with pytest.raises(BadFileError) as caught:
        run(folder, text, settings)
    return str(caught.value)


def test_the_answer_has_suffixed_numbers_with_intervals(tmp_path: Path) -> None:
    doc = json.loads(json.dumps(run(tmp_path).to_json(), allow_nan=False))
    for name in ("latency_s", "energy_j", "energy_per_task_j", "power_w", "task_rate_hz", "sending_s", "execution_s"):
        assert doc[name]["lo"] <= doc[name]["value"] <= doc[name]["hi"], name
    assert set(doc["latency_s"]) == {"value", "lo", "hi", "mean", "p50", "p90", "p99"}
    assert (doc["kind"], doc["verdict"], doc["stable"], doc["seed"], doc["replications"]) == (
        "edge", "feasible", True, 7, 2,
    )  # fmt: skip
    assert set(doc["versions"]) == {"archcast", "numpy"}
    assert len(doc["trace_hash"]) == 64
    assert doc["reference"]["rule"].startswith("1.1 x")
    stable = [one for one in doc["outcomes"] if not one["unstable"]]
    assert doc["reference"]["latency_s"] == pytest.approx(1.1 * max(one["latency_s"]["value"] for one in stable))
    assert len(doc["front"]) == sum(one["on_front"] for one in doc["outcomes"])
    assert sum(one["task_share"] for one in doc["servers"]) == pytest.approx(1.0)


def test_an_unstable_policy_has_a_reason_and_no_mean(tmp_path: Path) -> None:
    answer = run(tmp_path, settings={"load": 1.5, "policy": "random"})
    doc = answer.to_json()
    assert (doc["stable"], doc["unstable"], doc["unstable_replications"]) == (False, True, 2)
    assert "1.5" in doc["reason"]
    assert "latency_s" not in doc
    assert "UNSTABLE in 2 of 2 runs" in answer.text()
    assert "<b>Unstable.</b>" in answer.page()
    assert "NaN" not in answer.page()


def test_the_published_environment_is_one_key(tmp_path: Path) -> None:
    text = "kind: edge\npaper_mode: true\nsteps: 30\nreplications: 2\nweights: [1.0]\nedges: [1, 4]\n"
    doc = run(tmp_path, text).to_json()
    assert doc["asked"]["mode"] == "paper"
    assert doc["asked"]["offered_load"] == pytest.approx(1.0)
    assert 1e-3 < doc["energy_per_task_j"]["value"] < 0.2
    assert "estimated_delay_s" in doc
    assert any("load of 1" in note for note in doc["notes"])
    single = run(tmp_path, text.replace("true", "single-edge").replace("edges: [1, 4]\n", "")).to_json()
    assert [one["name"] for one in single["servers"]] == ["cloud", "edge 1"]


@pytest.mark.parametrize(
    "line",
    [
        "load: 0.4", "sending: queue", "tasks: 100", "warm_up: 0.1", "noise_figure_db: 3", "cloud: {latency_s: 1}",
        "cloud: {antenna_gain_db: 3}", "edge: {latency_s: 1}",
    ],
)  # fmt: skip
def test_keys_that_the_published_environment_would_ignore_are_refused(tmp_path: Path, line: str) -> None:
    message = refused(tmp_path, f"kind: edge\npaper_mode: true\n{line}\n")
    assert "edge.yaml:3" in message
    assert "does not look at" in message


def test_the_head_says_what_of_the_published_environment_was_changed(tmp_path: Path) -> None:
    text = "kind: edge\npaper_mode: true\nsteps: 100\nreplications: 1\ncompare: [random]\n"
    plain = run(tmp_path, text)
    assert plain.to_json()["asked"]["changed"] == []
    assert plain.to_json()["asked"]["edges"] == [1, 10]
    assert plain.to_json()["asked"]["weight"] == 1
    assert "(published environment, multi-edge)" in plain.text().splitlines()[0]
    more = "edges: 3\nweight: 0.5\nedge: {idle_power_w: 2}\n"
    head = run(tmp_path, text + more).text().splitlines()[0]
    assert "(published environment, multi-edge, changed: edges 3, edge.idle_power_w 2, weight 0.5)" in head
    assert "load" not in head
    single = run(tmp_path, text.replace("true", "single-edge")).text().splitlines()[0]
    assert "1 cloud and 1 edge:" in single
    assert "(published environment, single-edge)" in single


def test_the_published_environment_is_neither_stable_nor_unstable(tmp_path: Path) -> None:
    answer = run(tmp_path, "kind: edge\npaper_mode: true\nreplications: 2\ncompare: [all-cloud]\npolicy: all-cloud\n")
    doc = answer.to_json()
    assert (doc["verdict"], doc["stable"], doc["unstable"]) == ("feasible", None, False)
    assert doc["reason"] == "not judged: critical by design"
    assert doc["outcomes"][0]["stable"] is None
    assert "all-cloud: stability: not judged: critical by design" in answer.text()
    assert "<b>Stable.</b>" not in answer.page()


def test_the_hypervolume_is_that_of_the_points_shown(tmp_path: Path) -> None:
    doc = run(tmp_path).to_json()
    reach = (doc["reference"]["latency_s"], doc["reference"]["energy_per_task_j"])
    area, above = 0.0, reach[1]
    for point in doc["front"]:
        delay_s, energy_j = point["latency_s"]["value"], point["energy_per_task_j"]["value"]
        area += (reach[0] - delay_s) * (above - energy_j)
        above = energy_j
    assert doc["hypervolume_j_s"]["all"]["value"] == pytest.approx(area)
    each = doc["hypervolume_j_s"]["all"]["of_each_replication"]
    assert each["lo"] <= each["value"] <= each["hi"]


def test_erlang_sizes_need_no_cv(tmp_path: Path) -> None:
    assert (
        run(tmp_path, settings={"law": "erlang", "tasks": 50, "compare": ["random"]}).to_json()["asked"]["law"]
        == "erlang"
    )


def test_a_reference_point_and_settings_of_servers_are_taken(tmp_path: Path) -> None:
    more = "reference: {latency_s: 30, energy_per_task_j: 9.5}\ncloud: {frequency_hz: 6e9, frequency_spread_hz: 0}\n"
    doc = run(tmp_path, SMALL + more, {"edges": 2}).to_json()
    assert doc["reference"] == {"latency_s": 30, "energy_per_task_j": 9.5, "rule": "given"}
    assert doc["servers"][0]["frequency_hz"] == 6e9
    assert len(doc["servers"]) == 3


def test_the_same_seed_gives_the_same_answer(tmp_path: Path) -> None:
    assert run(tmp_path).to_json() == run(tmp_path).to_json()


def test_the_page_and_the_trace_tell_of_the_first_run(tmp_path: Path) -> None:
    answer = run(tmp_path)
    page = answer.page()
    for words in ("Delay against energy", "All policies", "Tasks in the system", "greedy w=0.5", "Hypervolume up to"):
        assert words in page, words
    assert page.count('<svg class="chart"') == 3
    assert "NaN" not in page
    trace = answer.to_chrome_trace()
    slices = [event for event in trace["traceEvents"] if event["ph"] == "b"]
    assert len(slices) == 2 * 500
    assert trace["otherData"]["trace_hash"] == answer.to_json()["trace_hash"]


def test_a_file_name_from_a_stranger_is_escaped(tmp_path: Path) -> None:
    answer = run(tmp_path, settings={"tasks": 50, "replications": 1, "compare": ["random"]})
    object.__setattr__(answer, "file", HOSTILE)
    assert HOSTILE not in answer.page()


def test_a_policy_of_the_callers_own_joins_by_name(tmp_path: Path) -> None:
    own = {"second": lambda state: 1}
    answer = run(tmp_path, SMALL + "policy: second\ncompare: [second, random]\nedges: 3\nload: 0.1\n", policies=own)
    assert answer.study.main.task_share.tolist() == [0.0, 1.0, 0.0, 0.0]

    def broken(state: object) -> int:
        raise RuntimeError("out of ideas")

    with pytest.raises(PolicyError, match="out of ideas") as caught:
        run(tmp_path, SMALL + "policy: bad\ncompare: [bad]\n", policies={"bad": broken})
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("policy: greedly", [":5", "policy", "greedy"]), ("compare: [random, al-cloud]", ["compare[1]", "all-cloud"]),
        ("compare: []", ["compare"]), ("weights: [0.5, 1.5]", ["weights[1]", "1.5"]),
        ("edges: 0", ["edges", "from 1 to 999"]),
        ("edges: [3, 1]", ["edges"]), ("mean_bits: -1", [":5", "mean_bits", "-1"]), ("least_bits: -3", ["least_bits"]),
        ("law: exponental", ["exponential"]), ("loda: 0.5", ["loda", "load"]), ("load: many", ["load", "many"]),
        ("load: -0.5", ["load"]), ("cloud: {frequency_hz: 0}", ["cloud.frequency_hz", "at least 1"]),
        ("edge: {frequncy_hz: 1e9}", ["frequncy_hz", "frequency_hz"]), ("users: 2.5", ["users", "2.5"]),
        ("reference: {latency_s: 3}", ["energy_per_task_j"]), ("reference: {delay_s: 3}", ["delay_s"]),
        ("paper_mode: singel", ["single-edge"]), ("warm_up: 0.6", ["warm_up"]), ("cloud: 5", ["cloud", "mapping"]),
        ("replications: 0", ["replications"]), ("wave_bits: 5e5", [":5", "wave_bits", "published environment"]),
        ("steps: 30", [":5", "steps", "published environment"]), ("cv: 1.5", [":5", "cv", "exponential"]),
        ("edges: 1000", ["edges", "from 1 to 999"]), ("edge: {bandwidth_hz: 1e-300}", ["bandwidth_hz", "at least 1"]),
        ("edge: {sending_power_w: 1e-300}", ["sending_power_w", "at least 1e-09"]),
    ],
)  # fmt: skip
def test_bad_input_names_file_line_and_key(tmp_path: Path, line: str, words: list[str]) -> None:
    key = line.split(":")[0]
    text = "".join(x for x in SMALL.splitlines(keepends=True) if not x.startswith(f"{key}:")) + line + "\n"
    message = refused(tmp_path, text)
    assert "edge.yaml" in message
    assert all(word in message for word in words if word != ":5" or text.count("\n") == 5), message


def test_a_bad_override_is_named_as_such(tmp_path: Path) -> None:
    assert "override" in refused(tmp_path, SMALL, {"edge.frequency_hz": -2e9})


def test_the_example_answers(tmp_path: Path) -> None:
    path = ROOT / "examples" / "edge_offloading.yaml"
    answer = serve_file(load_yaml(path), {"tasks": 500, "replications": 2}, 20_260_101, None, str(path))
    assert answer.stable
    assert answer.to_json()["asked"]["offered_load"] == pytest.approx(0.6)
