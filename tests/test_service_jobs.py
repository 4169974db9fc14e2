"""Jobs and uploads over HTTP: thin routes over the store, which has tests of its own."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from service_server import shared_server

TABLE = b"device,op,dtype,m,n,k,batch,latency_s\nh100-sxm,gemm,bf16,64,64,64,1,0.00001\n"


@pytest.fixture(scope="module")
def http() -> Any:
    with httpx.Client(base_url=shared_server().url, timeout=30) as client:
        yield client


def submitted(http: httpx.Client, **asked: Any) -> httpx.Response:
    return http.post("/v1/jobs", json={"kind": "simulate", "request": {"file": "overlap"}, **asked})


def test_a_job_is_taken_watched_and_answered(http: httpx.Client) -> None:
    answer = submitted(http)
    assert answer.status_code == 202
    job = answer.json()["id"]
    last = time.monotonic() + 20
    while http.get(f"/v1/jobs/{job}").json()["state"] != "done":
        assert time.monotonic() < last
        time.sleep(0.05)
    found = http.get(f"/v1/jobs/{job}/result").json()
    assert found["result"]["makespan_s"] > 0
    assert job in [one["id"] for one in http.get("/v1/jobs?state=done").json()["jobs"]]
    assert job not in [one["id"] for one in http.get("/v1/jobs?state=queued&state=running").json()["jobs"]]


def test_a_short_job_is_answered_at_once_where_asked(http: httpx.Client) -> None:
    answer = submitted(http, wait_s=15)
    assert answer.status_code == 200
    assert answer.json()["result"]["makespan_s"] > 0


def test_progress_is_a_stream_that_ends_with_the_job(http: httpx.Client) -> None:
    job = submitted(http).json()["id"]
    names, last = [], {}
    with http.stream("GET", f"/v1/jobs/{job}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        for line in stream.iter_lines():
            if line.startswith("event: "):
                names.append(line.removeprefix("event: "))
            elif line.startswith("data: "):
                last = json.loads(line.removeprefix("data: "))
    assert names[-1] == "end"
    assert set(names[:-1]) <= {"progress"}
    assert last["state"] == "done"


def test_the_same_key_is_the_same_job_and_another_request_under_it_is_a_409(http: httpx.Client) -> None:
    first, again = submitted(http, key="http-once"), submitted(http, key="http-once")
    assert first.json()["id"] == again.json()["id"]
    other = http.post("/v1/jobs", json={"kind": "simulate", "request": {"file": "dune-fd"}, "key": "http-once"})
    assert other.status_code == 409


def test_a_cancelled_job_has_no_result(http: httpx.Client) -> None:
    slow = {"file": "cms-run5-pu200", "replications": 50}
    job = submitted(http, request=slow).json()["id"]
    assert http.delete(f"/v1/jobs/{job}").status_code == 200
    last = time.monotonic() + 20
    while (state := http.get(f"/v1/jobs/{job}").json()["state"]) not in ("cancelled", "done"):
        assert time.monotonic() < last
        time.sleep(0.05)
    assert state == "cancelled"
    assert http.get(f"/v1/jobs/{job}/result").status_code == 409
    assert http.delete(f"/v1/jobs/{job}?forget=true").status_code == 200
    assert http.get(f"/v1/jobs/{job}").status_code == 404


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"kind": "dream"}, 422),
        ({"request": {}}, 422),
        ({"request": {"file": "/etc/passwd"}}, 422),
        ({"request": {"file": {"include": "../../etc/passwd"}}}, 422),
        ({"request": {"file": "overlap", "seed": 10**30}}, 422),
        ({"request": []}, 422),
        ({"wait_s": -1}, 422),
        ({"key": "a b"}, 422),
        ({"other": 1}, 422),
    ],
)
def test_a_job_that_could_never_run_is_refused_at_once(http: httpx.Client, asked: dict[str, Any], status: int) -> None:
    answer = submitted(http, **asked)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/jobs/none", "/v1/jobs/none/result", "/v1/jobs/none/events", "/v1/jobs/%2e%2e"])
def test_an_unknown_job_is_a_404(http: httpx.Client, path: str) -> None:
    assert http.get(path).status_code == 404


@pytest.mark.parametrize("query", ["?state=dreaming", "?limit=0", "?limit=x", "?before=nope"])
def test_a_list_is_asked_for_sanely(http: httpx.Client, query: str) -> None:
    assert http.get(f"/v1/jobs{query}").status_code in (404, 422)


def test_a_table_is_sent_named_listed_and_deleted(http: httpx.Client) -> None:
    answer = http.post("/v1/uploads?name=mine.csv", content=TABLE, headers={"content-type": "text/csv"})
    assert answer.status_code == 201
    name, rows = answer.json()["name"], answer.json()["rows"]
    assert rows == 1
    assert name in [one["name"] for one in http.get("/v1/uploads").json()["uploads"]]
    assert http.delete(f"/v1/uploads/{name}").status_code == 200
    assert name not in [one["name"] for one in http.get("/v1/uploads").json()["uploads"]]


@pytest.mark.parametrize(
    ("name", "kind", "body", "status"),
    [
        ("x.csv", "application/json", TABLE, 415),
        ("x.csv", "text/csv", b"", 422),
        ("x.csv", "text/csv", b"\x00\xff\x00\xff", 422),
        ("x.parquet", "application/octet-stream", b"PAR1 and nothing", 422),
        ("../../x.exe", "application/octet-stream", TABLE, 422),
        ("", "application/octet-stream", TABLE, 422),
    ],
)
def test_an_upload_that_is_no_table_is_refused(
    http: httpx.Client, name: str, kind: str, body: bytes, status: int
) -> None:
    answer = http.post("/v1/uploads", params={"name": name}, content=body, headers={"content-type": kind})
    assert answer.status_code == status, answer.text
    assert "/tmp" not in answer.text


def test_jobs_are_counted_by_state(http: httpx.Client) -> None:
    submitted(http, wait_s=15)
    assert 'archcast_jobs{state="done"}' in http.get("/metrics").text
