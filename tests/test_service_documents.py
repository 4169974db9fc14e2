"""Documents as Python's readers of YAML give them, and files that nobody sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service_server import shared_server

from archcast.service.client import Client
from archcast.service.jobs import JobStore
from archcast.service.transports import sent
from foundation.errors import ArchcastError, BadValueError

EXAMPLE = Path(__file__).parents[1] / "examples" / "test_time_budget.yaml"
TABLE = b"arrival_s,prompt,generate\n0,10,10\n1,20,10\n"


@pytest.fixture(scope="module", params=["in process", "over http"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    with Client(shared_server().url if request.param == "over http" else "") as found:
        yield found


def test_a_file_read_by_pyyaml_is_allocated(client: Client) -> None:
    yaml = pytest.importorskip("yaml")
    found = client.allocate(yaml.safe_load(EXAMPLE.read_text(encoding="utf-8")))
    assert found["verdict"] == "feasible"
    assert found["summary"] == client.allocate(EXAMPLE)["summary"]


def test_what_cannot_be_sent_is_refused_with_a_sentence(client: Client) -> None:
    refused: list[dict[str, dict[Any, Any] | object]] = [
        {"knobs": {1: 2}},
        {"knobs": {"x": object()}},
        {"knobs": {(1, 2): 3}},
        {"batch": object()},
    ]
    for asked in refused:
        with pytest.raises(ArchcastError):
            client.predict("resnet-50", on="h100-sxm", **asked)
    with pytest.raises(BadValueError, match=r"\(1, 2\)"):
        client.submit("simulate", {"file": {(1, 2): 3}})
    with pytest.raises(BadValueError, match="must be text or a whole number"):
        client.submit("simulate", {"file": {False: 3}})


def test_keys_that_meet_as_text_are_refused() -> None:
    assert json.loads(sent({"a": {1: [{True: 2}]}})) == {"a": {"1": [{"on": 2}]}}
    with pytest.raises(BadValueError, match="the same once they are text"):
        sent(dict([(1, 2), ("1", 3)]))  # type: ignore[list-item]


def test_a_key_that_yaml_1_1_turned_into_true_is_on(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "jobs.sqlite")
    asked: list[dict[Any, Any]] = [{"file": {"kind": "x", key: "l40s"}} for key in ("on", "true", True)]
    jobs = [store.submit("simulate", one, key="same") for one in asked]
    assert len({job.id for job in jobs}) == 1
    assert store.request(jobs[0].id)["file"]["on"] == "l40s"
    store.close()


def test_a_file_that_is_no_upload_is_refused_before_the_job_is_queued(client: Client) -> None:
    files: list[tuple[str, dict[str, Any]]] = [
        ("plan", {"kind": "plan", "trace": "traffic.csv"}),
        ("simulate", {"kind": "serving", "traffic": {"trace": {"file": "mine.parquet"}}}),
        ("simulate", {"kind": "run", "workload": "0123456789abcdef-net.onnx", "on": "h100-sxm"}),
    ]
    for kind, file in files:
        with pytest.raises(BadValueError, match="is not among the uploads; send it to /v1/uploads"):
            client.submit(kind, {"file": file})


def test_an_upload_and_a_name_for_people_are_taken(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "traffic.csv"
    file.write_bytes(TABLE)
    name = client.upload(file)["name"]
    request = {"file": {"kind": "plan", "name": "plan.yaml", "trace": name}}
    assert client.submit("plan", request)["kind"] == "plan"


@pytest.mark.parametrize("device", ["h100-sxm", "rk3588", "gemmini-128x128"])
def test_the_answer_about_a_device_is_taken_back_as_a_device(client: Client, device: str) -> None:
    known = client.predict("mobilenet-v2", on=device)
    assert client.predict("mobilenet-v2", on=client.device(device)) == known
    question = {"workload": "mobilenet-v2", "on": client.device(device)}
    assert client.curve(question, "batch", [1, 2]) == client.curve({**question, "on": device}, "batch", [1, 2])


def test_what_was_changed_in_a_device_changes_the_answer_or_is_refused_with_its_key(client: Client) -> None:
    device = client.device("h100-sxm")
    faster = {"value": 6.7e12, "lo": 6e12, "hi": 7e12, "source": "", "estimated": True}
    pins = {"bus_width_bits": None, "transfer_rate_hz": None}
    memory = [{**device["memory"][0], **pins, "bandwidth_bytes_per_s": faster}, *device["memory"][1:]]
    asked = {"prompt": 64, "generate": 64, "model": "physics"}
    plain, quick = (client.predict("llama-3.1-8b", on=on, **asked) for on in (device, {**device, "memory": memory}))
    assert quick["latency_s"]["value"] < 0.8 * plain["latency_s"]["value"]
    refused = {
        r"key 'memory\[0\]\.bandwidth_bytes_per_s': the value 9\.9e\+12 lies outside its range": {
            "memory": [{**memory[0], "bandwidth_bytes_per_s": {**faster, "value": 9.9e12}}]
        },
        "key 'vendoor'": {"vendoor": "x"},
        "looks like a path": {"like": "../../etc/passwd"},
    }
    for sentence, change in refused.items():
        with pytest.raises(ArchcastError, match=sentence):
            client.predict("llama-3.1-8b", on={**device, **change})
