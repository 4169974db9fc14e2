"""The kinds of jobs as strangers ask for them: names of catalogues and uploads answer, names of files do not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archcast.service.jobs import Job, JobStore, Runner
from archcast.service.jobs.kinds import TAKEN
from archcast.service.jobs.owner import Owner
from foundation.errors import ArchcastError, BadValueError, UnknownNameError
from foundation.yaml_file import load_yaml

SPACE = {
    "cols": [8, 16], "rows": [8, 16], "input_buffer_bytes": "64 KiB", "weight_buffer_bytes": "64 KiB",
    "output_buffer_bytes": "32 KiB", "dataflow": "ws", "dram_bandwidth_bytes_per_s": "16 GB/s",
}  # fmt: skip
SEARCH = {"workload": "resnet-50", "kind": "search", "space": SPACE}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JobStore]:
    """One store with a runner for all tests of this file."""
    store = JobStore(tmp_path_factory.mktemp("jobs") / "jobs.sqlite")
    with Runner(store, workers=2):
        yield store


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> JobStore:
    """A store that nobody works through."""
    return JobStore(tmp_path_factory.mktemp("idle") / "jobs.sqlite")


def ended(store: JobStore, kind: str, request: dict[str, Any]) -> Job:
    return store.wait(store.submit(kind, request).id, 60)


def until(holds: Callable[[], bool], timeout_s: float = 30.0) -> None:
    last = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < last, "it did not come about in time"
        time.sleep(0.005)


OUTSIDE = [
    "/etc/passwd", "~/secrets", "~root/x", "../../x", "..", "a/../../x", "./../x", "file:///etc/passwd",
    "http://127.0.0.1/", "C:\\windows\\win.ini", "c:/windows", "\\\\host\\share", " /etc/passwd", "x\0y",
    "kineto=../x", "/proc/self/environ",
]  # fmt: skip


@pytest.mark.parametrize("path", OUTSIDE)
def test_paths_are_refused_wherever_they_stand_in_a_request(store: JobStore, path: str) -> None:
    asked: list[tuple[str, dict[str, Any]]] = [
        ("simulate", {"file": {"kind": "cluster", "trace": {"tasks": path}}}),
        ("simulate", {"file": {"kind": "cluster", "trace": {"tasks": [path]}}}),
        ("simulate", {"file": {"kind": "run", "workload": path, "on": "h100-sxm"}}),
        ("simulate", {"file": {"kind": "serving", "traffic": {"trace": {"file": path}}}}),
        ("simulate", {"file": "overlap", "settings": {"trace.tasks": path}}),
        ("simulate", {"file": {path: 1}}),
        ("plan", {"file": {"kind": "plan", "model": path}}),
        ("plan", {"file": {"kind": "plan", "trace": path}, "settings": {"cost_model": path}}),
        ("search", {"file": {**SEARCH, "workload": path}}),
        ("allocate", {"file": {"table": path}}),
        ("calibrate", {"uploads": [path]}),
        ("calibrate", {"uploads": ["x.csv"], "exclude": path}),
    ]
    for kind, request in asked:
        with pytest.raises(BadValueError, match="looks like a path"):
            store.submit(kind, request)
    with pytest.raises(ArchcastError):
        store.submit("simulate", {"file": path})


def test_ordinary_words_are_not_taken_for_paths() -> None:
    from archcast.service.jobs.requests import no_paths

    no_paths({"a": ["3.35 TB/s", "tp=2/pp=4", "1..5", "8..256", "a - b", "wait...", "cells[0]/2", "40 GB", "ü", ""]})


def test_a_file_of_the_server_cannot_be_named_as_the_file_itself(store: JobStore, repository: Path) -> None:
    for name in (str(repository / "examples" / "cluster_replay.yaml"), "cluster_replay.yaml", "examples/x.yaml"):
        with pytest.raises(ArchcastError):
            store.submit("simulate", {"file": name})
    with pytest.raises(UnknownNameError, match="Nearest: overlap"):
        store.submit("simulate", {"file": "overlapp"})
    for kind in ("search", "plan", "allocate"):
        with pytest.raises(BadValueError, match="needs 'file'"):
            store.submit(kind, {"file": "pyproject.toml"})


@pytest.mark.parametrize(
    ("kind", "request_", "says"),
    [
        ("simulate", {"file": "overlap", "trace": "x"}, "Unknown key of a simulate job"),
        ("simulate", {}, "needs 'file'"),
        ("simulate", {"file": ["overlap"]}, "needs 'file'"),
        ("simulate", {"file": {"kind": ["graph"]}}, "must be a word"),
        ("simulate", {"file": "overlap", "settings": [1]}, "settings must be"),
        ("plan", {"file": 7}, "needs 'file'"),
        ("search", {"file": {"design": "daq-chain", "fidelity": "proxy"}}, "knows no proxy.*--proxy-from LOG"),
        ("search", {"file": {"design": "daq-chain"}, "fidelity": "proxy"}, "knows no proxy"),
        ("calibrate", {}, "needs 'uploads'"),
        ("calibrate", {"uploads": []}, "needs 'uploads'"),
        ("calibrate", {"uploads": [7]}, "needs 'uploads'"),
        ("calibrate", {"uploads": ["absent.csv"]}, "Unknown upload"),
        ("calibrate", {"uploads": ["absent.csv"], "imports": ["kineto=x"]}, "Unknown key"),
        ("calibrate", {"uploads": ["absent.csv"], "devices": "h100"}, "devices must be"),
        ("exec", {"file": "overlap"}, "Unknown kind of job"),
    ],
)
def test_what_could_never_run_is_refused_before_it_is_queued(
    store: JobStore, kind: str, request_: dict[str, Any], says: str
) -> None:
    with pytest.raises(ArchcastError, match=says):
        store.submit(kind, request_)


WORDS = st.one_of(st.text(max_size=20), st.sampled_from(["overlap", "kind", "search", "../x", "\ud800", "1e999", "/"]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=12,
)
NAMES = st.sampled_from(sorted({name for names in TAKEN.values() for name in names} | {"other"}))


@settings(max_examples=300)
@given(kind=st.sampled_from(sorted(TAKEN)), request_=st.one_of(VALUES, st.dictionaries(NAMES, VALUES, max_size=4)))
def test_whatever_is_asked_is_queued_or_refused_in_a_sentence(idle: JobStore, kind: str, request_: Any) -> None:
    refused = ""
    try:
        job = idle.submit(kind, request_)
    except ArchcastError as error:
        refused = str(error)
    if not refused:
        assert job.state == "queued"
        assert idle.request(job.id) == request_


def test_an_example_of_the_catalogue_runs(store: JobStore) -> None:
    job = ended(store, "simulate", {"file": "overlap", "seed": 3})
    found = store.result(job.id)
    assert (found["file"], found["seed"], found["makespan_s"]) == ("overlap", 3, pytest.approx(0.0114))


def test_a_fault_in_a_file_is_told_with_its_key_and_no_place_of_the_server(store: JobStore, repository: Path) -> None:
    ids = [
        store.submit("simulate", request).id
        for request in (
            {"file": {"kind": "graph", "engines": 7}},
            {"file": "overlap", "settings": {"no.such": 1}},
            {"file": {"kind": "cluster", "trace": {"tasks": "etc/passwd"}, "machines": [{"count": 1}]}},
        )
    ]
    errors = [store.wait(id, 60).error for id in ids]
    assert errors[0].startswith("request.yaml:3, key 'engines'")
    assert "key 'no" in errors[1]
    assert all(errors)
    assert not [error for error in errors if str(repository) in error or str(store.folders) in error]


def test_a_search_answers_as_in_process_and_tells_its_progress(store: JobStore) -> None:
    import archcast

    job = ended(store, "search", {"file": SEARCH})
    found, here = store.result(job.id), archcast.search(SEARCH).to_json()
    assert (job.done, job.whole) == (4, 4)
    assert found["front"] == here["front"]
    assert len(found["front"]) >= 1


def test_a_search_whose_process_is_killed_goes_on_with_what_was_done(store: JobStore) -> None:
    import archcast

    space = {**SPACE, "cols": list(range(1, 201)), "rows": list(range(1, 401))}
    large = {**SEARCH, "objectives": ["latency_s"], "space": space}
    id = store.submit("search", {"file": large}).id
    shards = store.folder(id) / "shards"

    def kept() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in shards.rglob("*") if path.is_file()}

    until(lambda: shards.is_dir() and len(kept()) >= 3)
    with store.database.read() as db:
        row = db.execute("SELECT child_pid, child_start, host FROM jobs WHERE id = ?", (id,)).fetchone()
    Owner(row["child_pid"], row["child_start"], row["host"]).kill()
    until(lambda: store.get(id).attempts == 2)
    before = {name: at for name, at in kept().items() if "part" not in name}
    until(lambda: len(kept()) > len(before) + 1)
    after = kept()
    assert len(before) >= 2
    assert {name: after.get(name) for name in before} == before, "a shard was written again"
    job = store.wait(id, 60)
    assert (job.state, job.attempts, job.done) == ("done", 2, 80_000)
    assert store.result(id)["front"] == archcast.search(large).to_json()["front"]


def test_a_search_that_stops_before_its_budget_is_wholly_done(store: JobStore) -> None:
    job = ended(store, "search", {"file": SEARCH, "method": "random", "evaluations": 150})
    assert (job.done, job.whole, job.note) == (4, 4, "designs")


def test_an_adaptive_search_is_a_job_too(store: JobStore) -> None:
    import archcast

    asked: dict[str, Any] = {"method": "random", "evaluations": 50, "seed": 3}
    job = ended(store, "search", {"file": {**SEARCH, "space": {**SPACE, "rows": [1, 64]}}, **asked})
    assert job.error == ""
    here = archcast.search({**SEARCH, "space": {**SPACE, "rows": [1, 64]}}, **asked).to_json()
    assert store.result(job.id)["front"] == here["front"]


def test_a_trace_that_was_uploaded_is_found_by_its_name(store: JobStore, repository: Path) -> None:
    with (repository / "examples" / "cluster_replay.csv").open("rb") as file:
        upload = store.uploads.store("replay.csv", file)
    document = load_yaml(repository / "examples" / "cluster_replay.yaml").data
    document["trace"]["tasks"] = upload.name
    job = ended(store, "simulate", {"file": document})
    assert job.error == ""
    assert store.result(job.id)["asked"]["tasks"] == 151


def test_a_network_that_was_uploaded_is_found_by_its_name(store: JobStore, repository: Path) -> None:
    pytest.importorskip("onnx")
    with (repository / "examples" / "trigger_nn.onnx").open("rb") as file:
        upload = store.uploads.store("nn.onnx", file)
    job = ended(store, "simulate", {"file": {"kind": "run", "workload": upload.name, "on": "h100-sxm"}})
    assert job.error == ""
    assert store.result(job.id)["makespan_s"] > 0


def test_an_uploaded_table_calibrates_and_the_card_comes_back(store: JobStore, tmp_path: Path) -> None:
    pytest.importorskip("xgboost")
    from test_calibration import measured

    measured(tmp_path, groups=30, rows=6)
    upload = store.uploads.store("my gemms.csv", (tmp_path / "m.csv").open("rb"))
    assert (upload.kind, upload.rows) == ("measurements", 180)
    job = ended(store, "calibrate", {"uploads": [upload.name], "seed": 1})
    assert job.error == ""
    assert (job.done, job.whole, job.note) == (1, 1, "")
    card = store.result(job.id)
    assert card["folder"] == "artefact"
    assert "mape" in str(card["scores"])
    assert (store.folder(job.id) / "artefact").is_dir()
    assert len(list(store.folder(job.id).iterdir())) == 1
    size = sum(path.stat().st_size for path in (store.folder(job.id) / "artefact").iterdir())
    with store.database.read() as db:
        row = db.execute("SELECT bytes, length(document) AS packed FROM results WHERE job = ?", (job.id,)).fetchone()
    assert row["bytes"] == size + row["packed"] > size  # so that models count among what is kept
